"""A server on this machine for tests of downloads: files in memory, some of them broken off."""

from __future__ import annotations

import functools
import gzip
import io
import socket
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


class Server:
    """Serves ``files`` by path; of those in ``short`` only half comes. Counts requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.short: set[str] = set()
        self.hits: Counter[str] = Counter()
        files, short, hits = self.files, self.short, self.hits

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(with_body=True)

            def do_HEAD(self) -> None:  # torchvision looks for redirects first
                self.answer(with_body=False)

            def answer(self, with_body: bool) -> None:
                hits[self.path] += with_body
                body = files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body[: len(body) // 2] if self.path in short else body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        # A short poll, or every test would wait half a second for the server to stop.
        serve = functools.partial(self._server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def closed_port() -> str:
    """An address at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def picture(*colours: tuple[int, int, int], side: int = 24, form: str = "PNG") -> bytes:
    """Squares of these colours side by side, as a file."""
    squares = [np.full((side, side, 3), colour, np.uint8) for colour in colours]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(squares, 1)).save(buffer, form)
    return buffer.getvalue()


def tar_of(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """A .tar.gz of files and of further entries without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in extra:
            archive.addfile(entry)
    return buffer.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)
