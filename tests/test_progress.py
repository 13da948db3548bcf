"""What has been done is kept in a small file, whatever happens to the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import coursekit
from coursekit.exercises import engine, progress
from coursekit.exercises.engine import check

RIGHT = "inversion.total_variation"


def total_variation(images: Tensor) -> Tensor:
    across = images.diff(dim=3).square().sum()
    return (across + images.diff(dim=2).square().sum()) / len(images)


def across_only(images: Tensor) -> Tensor:
    return images.diff(dim=3).square().sum() / len(images)


def untouched(images: Tensor) -> Tensor:
    raise NotImplementedError("your turn")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kept" / "progress.json"
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(path))
    monkeypatch.setattr(progress, "_told", False)
    return path


def test_the_file_says_what_happened(file: Path) -> None:
    for answer in (untouched, across_only, across_only, lambda images: images.sum()):
        check(RIGHT, answer)
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content == {
        "version": 1,
        "exercises": {
            RIGHT: {
                "status": "wrong",
                "mistake": None,
                "attempts": 3,
                "mistakes": {"across only": 2},
            }
        },
    }
    check(RIGHT, total_variation)
    check(RIGHT, untouched)  # the notebook run again from a fresh copy takes nothing back
    record = json.loads(file.read_text(encoding="utf-8"))["exercises"][RIGHT]
    assert (record["status"], record["attempts"]) == ("passed", 4)
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".part"] == []


def test_progress_shows_every_exercise(file: Path) -> None:
    check(RIGHT, total_variation)
    check("texture.gram_matrix", lambda features: features)
    shown = coursekit.progress()
    assert [line.exercise.id for line in shown.of("passed")] == [RIGHT]
    assert [line.exercise.id for line in shown.of("wrong")] == ["texture.gram_matrix"]
    topics = [line.exercise.topic for line in shown.lines]
    assert {"inversion", "texture", "gatys", "dcgan", "wgan", "cgan"} <= set(topics)
    assert list(dict.fromkeys(topics)) == [t for t in engine.TOPICS if t in topics]
    count = len(shown.lines)
    assert len(shown.of("not started")) == count - 2
    text, page = str(shown), shown._repr_html_()
    assert text.startswith(f"1 of {count} exercises done, 2 of ")
    assert "● Total variation" in text
    assert "◐ Gram matrix" in text
    for status in ("done", "wrong", "not started"):
        assert status in page
    assert "<script" not in page
    assert page.count("<tr>") == page.count("</tr>") == count + len(set(topics))


def test_nothing_is_written_by_tests_of_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COURSEKIT_PROGRESS")
    monkeypatch.setenv("COURSEKIT_PRESET", "ci")
    assert progress.path() is None
    assert progress.read() == {}
    check(RIGHT, total_variation)
    assert coursekit.progress().of("passed") == ()
    monkeypatch.setenv("COURSEKIT_PRESET", "quick")
    assert progress.path().name == "progress.json"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"exercises": 3}', '{"exercises": {"a.b": 3}}', "\0"]
)
def test_a_damaged_file_is_begun_again(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    assert coursekit.progress().of("passed") == ()
    check(RIGHT, total_variation)
    assert len(coursekit.progress().of("passed")) == 1


def test_an_unknown_status_and_unknown_exercises_do_no_harm(file: Path) -> None:
    file.parent.mkdir()
    records = {RIGHT: {"status": "strange"}, "old.exercise": {"status": "passed"}}
    file.write_text(json.dumps({"version": 1, "exercises": records}), encoding="utf-8")
    assert coursekit.progress().of("passed") == ()
    check("texture.gram_matrix", lambda features: features)
    assert "old.exercise" in json.loads(file.read_text(encoding="utf-8"))["exercises"]


@pytest.mark.parametrize("obstacle", ["a file where the folder should be", "full", "read-only"])
def test_what_cannot_be_written_costs_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: Path,
    obstacle: str,
) -> None:
    def no(*arguments: object, **keywords: object) -> None:
        raise OSError(28 if obstacle == "full" else 30, "no")

    if obstacle.startswith("a file"):
        file.parent.write_text("")
    elif obstacle == "full":
        monkeypatch.setattr(json, "dump", no)
    else:
        monkeypatch.setattr(Path, "mkdir", no)
    for _ in range(3):
        assert check(RIGHT, total_variation).passed
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "cannot be written" in told[0]
    if file.parent.is_dir():
        assert not [path for path in file.parent.iterdir() if path.suffix == ".part"]


WRITER = """
import sys
from coursekit.exercises import engine, progress
from coursekit.exercises.results import Result
exercise = engine.find("inversion.total_variation")
for number in range(40):
    progress.record(Result(exercise, "wrong", mistake=sys.argv[1]))
"""


def test_two_kernels_at_once_lose_nothing(file: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, name], env={**os.environ})
        for name in ("first", "second")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    record = json.loads(file.read_text(encoding="utf-8"))["exercises"][RIGHT]
    assert record["attempts"] == 80
    assert record["mistakes"] == {"first": 40, "second": 40}


def test_the_check_is_not_slowed_down_by_a_lock_for_ever(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(progress, "WAIT", 0.1)
    file.parent.mkdir()
    with FileLock(f"{file}.lock"):
        assert check(RIGHT, total_variation).passed
    assert "cannot be written" in capsys.readouterr().err
    assert torch.is_grad_enabled()
