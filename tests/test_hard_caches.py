"""Two processes that fill one empty cache at the same moment, and one that is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, picture, zip_of

# Everything that writes into the cache, but for weights (test_weights.py) and paintings
# (test_paintings.py): rendered sets, photographs cut to squares, archives, published sets.
FILL = """
import hashlib, os, sys, time
from pathlib import Path
import torch
from coursekit import dfi_faces
from coursekit.datasets import archives, base, collections, faces, published, scenes

work, address = Path(sys.argv[1]), sys.argv[2]

def log(what):
    with (work / "log").open("a") as file:
        file.write(what + "\\n")

def slow_fields():
    log("toy made")
    time.sleep(0.3)
    return {"image": torch.arange(200_000, dtype=torch.float32)}

def download(folder):
    log("set downloaded")
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 1000)
        time.sleep(0.05)

(work / str(os.getpid())).touch()
while not (work / "go").exists():
    time.sleep(0.002)
found = {"toy": base.digest(base.cached("toy", {"size": 1}, slow_fields))}
found["faces"] = faces.faces(3, 16, seed=5).digest()
found["scenes"] = scenes.scenes(2, 32, seed=5).digest()
found["patches"] = collections.patches(6, 16, names=("chelsea",)).digest()
path = work / "cache" / "published" / "set.zip"
archives.fetch(f"{address}/set.zip", path, progress=False)
inside = sorted(str(name) for name, _ in archives.members(path, lambda inside: True))
found["archive"] = " ".join(inside)
place = published._folder("toy set", download)
found["set"] = hashlib.sha256(b"".join(sorted(f.read_bytes() for f in place.iterdir()))).hexdigest()
print("\\n".join(f"{name} {digest}" for name, digest in found.items()))
"""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.files["/set.zip"] = zip_of({f"set/train/{n}.png": picture(8, 8) for n in range(4)})
    yield running
    running.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "общая папка [1]"
    folder.mkdir()
    return folder


def start(work: Path, server: Server) -> subprocess.Popen[str]:
    environment = {**os.environ, "COURSEKIT_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    environment.pop("COURSEKIT_OFFLINE", None)
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", FILL, str(work), server.address],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def go(work: Path, count: int) -> None:
    """Let them run when all of them are ready."""
    deadline = time.monotonic() + 120
    while len(list(work.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    (work / "go").touch()


def left_over(work: Path) -> list[str]:
    """Files of the cache that are neither results nor locks."""
    files = (path for path in (work / "cache").rglob("*") if path.is_file())
    results = (".safetensors", ".zip", ".bin", ".lock")
    return [path.name for path in files if path.suffix not in results or ".part" in path.name]


def results_of(process: subprocess.Popen[str]) -> dict[str, str]:
    told, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    lines = [line.partition(" ") for line in told.splitlines() if not line.startswith("Fetched")]
    return {name: digest for name, _, digest in lines}


def test_two_processes_fill_one_cache_and_both_are_right(work: Path, server: Server) -> None:
    both = [start(work, server) for _ in range(2)]
    go(work, 2)
    first, second = (results_of(process) for process in both)
    assert first == second and len(first) == 6
    assert not left_over(work)
    logged = (work / "log").read_text().splitlines()
    assert logged.count("set downloaded") == 1 and server.hits["/set.zip"] == 1
    assert 1 <= logged.count("toy made") <= 2  # rendering twice costs time, waiting could hang
    (work / "log").unlink()
    third = results_of(start(work, server))  # from the cache alone
    assert third == first and not (work / "log").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_process_that_is_killed_while_it_fills_leaves_a_cache_that_works(
    work: Path, server: Server
) -> None:
    (work / "go").touch()
    expected = None
    for delay in (0.2, 0.7):
        victim = start(work, server)
        deadline = time.monotonic() + 120
        while not (work / str(victim.pid)).exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        found = results_of(start(work, server))
        expected = expected or found
        assert found == expected
        # The next one has to fill it again.
        for path in (work / "cache" / "datasets").glob("[!.]*.safetensors"):
            path.unlink()
        shutil.rmtree(work / "cache" / "published" / "toy set")
    # Of the published set, no half folder is left; those of files go after a day.
    assert [each.name for each in (work / "cache" / "published").glob("toy set.*")] == [
        "toy set.lock"
    ]
