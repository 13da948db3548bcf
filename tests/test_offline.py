"""The network cut off: what is refused and where, what is not, and that coursekit asks for none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coursekit import execute

# Addresses and names that are reserved for documentation: nobody is there.
_CALLS = {
    "connect": "socket.socket().connect(('192.0.2.1', 80))",
    "connect_ex": "socket.socket().connect_ex(('192.0.2.1', 80))",
    "create_connection": "socket.create_connection(('example.org', 80), timeout=5)",
    "IPv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
    "IPv4 in IPv6": "socket.socket(socket.AF_INET6).connect(('::ffff:192.0.2.1', 80))",
    "datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "name": "socket.getaddrinfo('example.org', 80)",
    "name in bytes": "socket.getaddrinfo(b'example.org', 80)",
    "old name": "socket.gethostbyname('example.org')",
    "number that looks local": "socket.gethostbyname('127.0.0.1.example.org')",
    "below socket": "__import__('_socket').socket().connect(('192.0.2.1', 80))",
    "urllib": "urllib.request.urlopen('http://example.org', timeout=5)",
    "asyncio": "asyncio.run(asyncio.open_connection('192.0.2.1', 80))",
}
_LOCAL = """
import http.server, socket, threading, urllib.request
server = http.server.HTTPServer(('localhost', 0), http.server.BaseHTTPRequestHandler)
threading.Thread(target=server.handle_request, daemon=True).start()
try:
    urllib.request.urlopen(f'http://localhost:{server.server_port}', timeout=20)
except urllib.error.HTTPError as error:
    print('answered', error.code)
socket.getaddrinfo(None, 80), socket.getaddrinfo('::1', 80), socket.getaddrinfo('127.0.0.2', 80)
try:
    socket.socket(getattr(socket, 'AF_UNIX', socket.AF_INET)).connect('example.org')
except (OSError, TypeError) as error:
    print(type(error).__name__)
"""


def _surroundings(checkout: Path, log: Path) -> dict[str, str]:
    guard = str(checkout / "tests" / "offline")
    return {**os.environ, "PYTHONPATH": guard, "COURSEKIT_NETWORK_LOG": str(log)}


def _python(code: str, checkout: Path, log: Path, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**_surroundings(checkout, log), **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    ).stdout


def test_every_way_out_is_refused_and_noted(checkout: Path, tmp_path: Path) -> None:
    code = f"""
import asyncio, json, socket, urllib.request
said = {{}}
for name, call in {_CALLS!r}.items():
    try:
        eval(call)
        said[name] = 'went through'
    except OSError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
    log = tmp_path / "network.txt"
    # A proxy on this machine would be a way out for urllib.
    said = json.loads(_python(code, checkout, log, http_proxy="http://127.0.0.1:9"))
    assert list(said) == list(_CALLS)
    for name, text in said.items():
        assert "The network is cut off (course.py test --offline)" in text, name
    noted = log.read_text(encoding="utf-8").splitlines()
    assert len(noted) == len(_CALLS)
    assert noted[0].startswith("192.0.2.1 (socket.connect): ") and "<string>" in noted[0]


def test_this_machine_is_no_network(checkout: Path, tmp_path: Path) -> None:
    log = tmp_path / "network.txt"
    answered, other = _python(_LOCAL, checkout, log).splitlines()
    assert answered == "answered 501" and other != "NetworkCutOff"
    assert not log.exists()


def test_without_the_folder_nothing_is_cut_off(checkout: Path, tmp_path: Path) -> None:
    """The difference is the folder on PYTHONPATH, and nothing that happens to be so here."""
    code = "import sys; print('NetworkCutOff' in dir(sys.modules.get('sitecustomize')))"
    assert _python(code, checkout, tmp_path / "log") == "True\n"
    assert _python(code, checkout, tmp_path / "log", PYTHONPATH="") == "False\n"


def test_the_kernel_of_a_notebook_is_cut_off(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "network.txt"
    for name, value in _surroundings(checkout, log).items():
        monkeypatch.setenv(name, value)
    code = "import socket\nsocket.create_connection(('example.org', 80), timeout=5)"
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": code, "outputs": []}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    failure = execute.execute(notebook, folder=tmp_path, preset="ci")
    assert failure is not None and "The network is cut off" in failure.traceback
    assert log.read_text(encoding="utf-8").startswith("example.org (socket.getaddrinfo)")


_USE = """
import importlib, pkgutil, sys
opened = []
sys.addaudithook(lambda event, arguments: event.startswith('socket.') and opened.append(event))

import coursekit
for module in pkgutil.walk_packages(coursekit.__path__, 'coursekit.'):
    if not module.name.endswith('__main__'):
        importlib.import_module(module.name)

from coursekit.core.features import FeatureExtractor
from coursekit.datasets import digits, faces, paintings, photos, scenes
coursekit.setup()
FeatureExtractor('vgg16', ['relu1_1'])(photos.photo('coffee', 64, crop=True))
paintings.style('starry_night', 64), digits.digits('test'), faces.faces(2, 32), scenes.scenes(2, 32)

def gram_matrix(features):
    return features

assert not coursekit.check('texture.gram_matrix', gram_matrix).passed
coursekit.progress()
print(len(sys.modules), opened)
import socket
socket.socket().close()
print(opened)
"""


def test_coursekit_opens_no_socket_when_offline_is_asked_for() -> None:
    environment = {**os.environ, "COURSEKIT_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _USE],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    before, after = done.stdout.splitlines()[-2:]
    assert re.fullmatch(r"\d{3,} \[\]", before)
    assert after == "['socket.__new__']"  # the hook does see one
