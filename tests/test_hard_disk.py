"""A disk that is full for real: the old file stays, an error is named, no half is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import Server
from torch import nn
from training_toy import Toy

from coursekit import cli, notebooks, recipes, report
from coursekit.core import atomic, checkpoints, runtime, weights
from coursekit.core.errors import CourseError, DataError, ImageError, WeightsError
from coursekit.core.images import save_image
from coursekit.core.timeline import Timeline
from coursekit.datasets import archives, base
from coursekit.exercises import progress
from coursekit.exercises.engine import check

Full = Callable[[], AbstractContextManager[None]]


# --- Two ways of having no room -------------------------------------------------------------------


@contextlib.contextmanager
def short_files() -> Iterator[None]:
    """The system refuses every byte of a file beyond 4 KiB: works for everyone, but on Windows."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Every free byte of the disk that holds ``folder`` is taken."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    with pytest.raises(OSError) as refused, open(folder / "probe", "wb", buffering=0) as file:
        file.write(b"x")
    assert refused.value.errno == errno.ENOSPC
    (folder / "probe").unlink(missing_ok=True)
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 2 MiB in memory, where this user may mount one."""
    folder = tmp_path_factory.mktemp("small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small disk; the file size limit is tried too")
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted in this container; the file size limit is tried too")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["short files", "small disk"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Full]]:
    """A folder to write to, and what takes the room away."""
    if request.param == "short files":
        yield tmp_path, short_files
        return
    top = request.getfixturevalue("small_disk")
    folder = top / "work"
    folder.mkdir()
    yield folder, lambda: filled(top)
    subprocess.run(["rm", "-r", str(folder)], check=True)


# --- What writes ----------------------------------------------------------------------------------


def facts(version: int) -> dict[str, Any]:
    about = {"recipe": "toy", "data": "d", "steps": version, "seed": 0}
    return about | {"settings": {}, "notes": f"{version}" * 20_000}


def write_checkpoint(folder: Path, version: int) -> object:
    torch.manual_seed(version)
    return checkpoints.save(nn.Linear(60, 80), folder / "c.safetensors", facts(version))


def write_snapshot(folder: Path, version: int) -> object:
    return Toy().run(3 * version, folder)


def write_film(folder: Path, version: int) -> object:
    film = Timeline(about=str(version))
    for step in range(8):
        film.add(step, torch.rand(4, 3, 32, 32), {"loss": float(version)})
    return film.save(folder / "film.zip")


def write_image(folder: Path, version: int) -> object:
    torch.manual_seed(version)
    return save_image(torch.rand(3, 64, 64), folder / "картина 1.png")


def write_text(folder: Path, version: int) -> object:
    return atomic.write_text(folder / "study.json", json.dumps(facts(version)))


def write_published(folder: Path, version: int) -> object:
    """What a recipe made lies elsewhere, where there is room."""
    made = Path(os.environ["MADE_ELSEWHERE"]) / f"{version}" / "course.safetensors"
    if not made.exists():
        checkpoints.save(nn.Linear(60, 80), made, facts(version))
    return recipes.publish([made], "toy")


def notebook(version: int) -> dict[str, Any]:
    source = ["# an answer\n", f"{version}\n" * 3000]
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def write_notebook(folder: Path, version: int) -> object:
    return notebooks.write(folder / "01_x.ipynb", notebook(version))


def write_report(folder: Path, version: int) -> object:
    done = Path(os.environ["MADE_ELSEWHERE"]) / "submitted"
    done.mkdir(exist_ok=True)
    for number in range(20 * version):
        status = {"exercises": {f"toy.{number}": {"status": "passed", "mistakes": {"m": 1}}}}
        (done / f"student {number}.json").write_text(json.dumps(status))
    return report.write(done, folder / "report.html")


WRITERS: dict[str, tuple[Callable[[Path, int], object], type[CourseError]]] = {
    "a checkpoint of the course": (write_checkpoint, WeightsError),
    "a checkpoint to go on from": (write_snapshot, WeightsError),
    "a film": (write_film, DataError),
    "a picture": (write_image, ImageError),
    "a study": (write_text, DataError),
    "published results": (write_published, DataError),
    "a notebook": (write_notebook, DataError),
    "a report": (write_report, DataError),
}


def listing(folder: Path) -> dict[str, bytes]:
    """Every file with its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("what", WRITERS)
def test_on_a_full_disk_the_file_before_stays_and_an_error_is_named(
    what: str, disk: tuple[Path, Full], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, full = disk
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("MADE_ELSEWHERE", str(elsewhere))
    monkeypatch.setattr(runtime, "data_dir", lambda: folder)
    write, kind = WRITERS[what]
    write_published(folder, 2) if what == "published results" else None
    write(folder, 1)
    before = listing(folder)
    assert len(before) == 1 and len(next(iter(before.values()))) > 4096
    with full(), pytest.raises(kind) as told:
        write(folder, 2)
    assert listing(folder) == before
    message = str(told.value)
    assert ("No space left" in message or "too large" in message) and len(message) < 500
    write(folder, 2)
    after = listing(folder)
    assert after.keys() == before.keys() and after != before


# --- Caches: a result is worth more than its copy -------------------------------------------------


def test_a_data_set_that_cannot_be_kept_is_returned_all_the_same(
    disk: tuple[Path, Full],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, full = disk
    monkeypatch.setenv("COURSEKIT_CACHE", str(folder))
    fields = {"image": torch.arange(30_000)}
    base.cached("toy", {"size": 1}, lambda: fields)
    before = listing(folder)
    with full():
        found = base.cached("toy", {"size": 2}, lambda: fields)
    assert torch.equal(found["image"], fields["image"])
    assert listing(folder) == before
    assert "could not be written" in capsys.readouterr().out
    base.cached("toy", {"size": 2}, lambda: fields)
    assert len(listing(folder)) == 2


def test_weights_that_cannot_be_kept_are_told_and_the_others_stay(
    disk: tuple[Path, Full], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, full = disk
    monkeypatch.setenv("COURSEKIT_CACHE", str(folder))
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    arrays = {"features.0.weight": np.arange(9000, dtype=np.float32)}
    for name in ("alexnet", "vgg16"):
        monkeypatch.setitem(weights.DIGESTS, name, weights.digest(arrays))
    monkeypatch.setattr(weights, "_verified", set())
    provide = [("here", lambda progress: {"alexnet": arrays})]
    monkeypatch.setattr(weights, "_providers", lambda name: provide)
    weights.store("vgg16", arrays)
    before = listing(folder)
    with full(), pytest.raises(WeightsError, match=r"Cannot write to the cache.*COURSEKIT_CACHE"):
        weights.fetch("alexnet")
    after = listing(folder)
    after.pop("weights/weights.lock", None)
    assert after == before and weights.status("vgg16").present
    assert weights.fetch("alexnet").is_file()


def test_a_download_that_finds_no_room_leaves_nothing(
    disk: tuple[Path, Full], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, full = disk
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    server = Server()
    try:
        server.files["/set.zip"] = bytes(200_000)
        path = folder / "published" / "set.zip"
        with full(), pytest.raises(DataError, match=r"the cache cannot be written.*put the file"):
            archives.fetch(f"{server.address}/set.zip", path, sha256="0" * 64, progress=False)
        left = [name for name in listing(folder) if not name.endswith(".lock")]
        assert not left
    finally:
        server.close()


def test_progress_that_cannot_be_kept_costs_one_line(
    disk: tuple[Path, Full],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, full = disk
    path = folder / "progress.json"
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(path))
    monkeypatch.setattr(progress, "_told", False)
    many = {f"toy.{number}": progress._blank() for number in range(100)}
    path.write_text(json.dumps({"version": 1, "exercises": many}))
    check("inversion.total_variation", lambda images: images.sum())
    before = path.read_bytes()
    with full():
        for _ in range(2):
            check("inversion.total_variation", lambda images: images.sum())
    assert path.read_bytes() == before
    assert capsys.readouterr().err.count("cannot be written") == 1
    assert set(listing(folder)) <= {"progress.json", "progress.json.lock"}


# --- The commands that write notebooks ------------------------------------------------------------


def test_strip_and_badge_on_a_full_disk_leave_the_students_work(
    disk: tuple[Path, Full], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, full = disk
    place = folder / "notebooks"
    place.mkdir()
    monkeypatch.setattr(notebooks, "folder", lambda: place)
    monkeypatch.setattr(notebooks, "COURSE_TOML", folder / "course.toml")
    (folder / "course.toml").write_text('repository = "owner/course"\n')
    work = notebook(1)
    badge = notebooks.badge_line("01_x.ipynb", "owner/course") + "\n# Title"
    work["cells"].insert(0, {"cell_type": "markdown", "source": badge, "metadata": {"scrolled": 1}})
    (place / "01_x.ipynb").write_text(json.dumps(work))
    before = listing(folder)
    for command in (["strip", str(place / "01_x.ipynb")], ["badge", "other/name"]):
        with full():
            assert cli.main(command) == 1
        told = capsys.readouterr()
        assert "01_x.ipynb cannot be written" in told.err and "Traceback" not in told.err
        assert listing(folder) == before
    assert cli.main(["badge", "other/name"]) == 0
    assert "other/name" in (place / "01_x.ipynb").read_text()


# --- The helper itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_whatever_stops_a_write_the_old_file_stays(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a [1] (2).json"
    path.write_text("old")
    with pytest.raises(type(error)), atomic.replacing(path) as half:
        half.write_text("new")
        raise error
    assert listing(tmp_path) == {path.name: b"old"}


def test_a_link_stays_a_link_and_rights_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    atomic.write_text(link, "new\r\n")
    assert link.is_symlink() and real.read_bytes() == b"new\r\n"
    assert os.name == "nt" or real.stat().st_mode & 0o777 == 0o640


def test_what_killed_processes_left_goes_after_a_day(tmp_path: Path) -> None:
    path = tmp_path / "film [1].zip"
    old, young, other = (
        tmp_path / name
        for name in (".film [1].7.part.zip", ".film [1].8.part.zip", ".film 1.7.part.zip")
    )
    for half in (old, young, other):
        half.write_text("half")
    for half in (old, other):
        os.utime(half, (0, 0))
    atomic.write_text(path, "whole")
    assert set(listing(tmp_path)) == {path.name, young.name, other.name}


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    program = (
        "import sys; from pathlib import Path; from coursekit.core import atomic\n"
        "for _ in range(60): atomic.write_text(Path(sys.argv[1]), sys.argv[2] * 50_000)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, path, each]) for each in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        with contextlib.suppress(FileNotFoundError):
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 50_000, "b" * 50_000} and seen
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_is_tried_before_long_work_and_not_made(tmp_path: Path) -> None:
    new = tmp_path / "a" / "b"
    atomic.check_writable(new)
    atomic.check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="another folder"):
        atomic.check_writable(tmp_path / "file" / "below")
