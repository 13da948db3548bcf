"""The catalogue of bad inputs: each ends in a named error whose sentence helps, and in no file."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from coursekit import cli, topics
from coursekit.core import errors
from coursekit.core.errors import CourseError
from coursekit.core.runtime import data_dir

# By name, so that `coursekit ledger`, which reads what tests name, does not take a refusal for a
# proof of the formula.
_AREAS = sorted(
    path.stem
    for path in Path(__file__).parent.glob("bad_inputs_*.py")
    if "commands" not in path.stem
)
CASES = [case for area in _AREAS for case in importlib.import_module(area).CASES]
COMMANDS = importlib.import_module("bad_inputs_commands").COMMANDS
IN_A_PROCESS = (
    "run 99",
    "train sculpture",
    "badge name",
    "render --preset slow",
    "frobnicate",
)

# What a case says that it is about, it must have gone through.
ROOMS = {*topics.TOPICS, *(path.stem for path in Path(errors.__file__).parent.glob("*.py"))}
LONGEST = 900  # characters: the names of all layers, or of all factors, are many
NONSENSE = re.compile(r"Traceback|object at 0x|torch\.Size|NoneType|<lambda>|[\[(]Errno(?! 21)")


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the empty ``work`` and ``cache``, and a ``shelf`` of files to stumble over."""
    top = tmp_path_factory.mktemp("bad inputs")
    for name in ("work", "cache", "shelf", "shelf/texts", "shelf/void", "shelf/faces"):
        (top / name).mkdir()
    shelf, picture = top / "shelf", io.BytesIO()
    Image.linear_gradient("L").save(picture, "PNG")
    (shelf / "torn.png").write_bytes(picture.getvalue()[:200])
    (shelf / "faces" / "one.png").write_bytes(picture.getvalue())
    (shelf / "faces" / "attributes.csv").write_text("file,beard\none.png,maybe\n")
    (shelf / "empty.png").write_bytes(b"")
    (shelf / "diary.jpg").write_text("Dear diary, today I rename a text.")
    (shelf / "texts" / "a.txt").write_text("no picture")
    (shelf / "notes.ipynb").write_text("no notebook")
    (shelf / "torn.ipynb").write_text("{}")
    checkpoints = data_dir() / "checkpoints"
    for source, name in (
        ("wct/level1", "level1"),
        ("dcgan/course", "dcgan"),
        ("segment/scenes", "scenes"),
    ):
        shutil.copyfile(checkpoints / f"{source}.safetensors", shelf / f"{name}.safetensors")
    return top


@pytest.fixture(autouse=True)
def nothing_written(grounds: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, with an empty cache and without a network; look at all afterwards."""
    monkeypatch.chdir(grounds / "work")
    monkeypatch.setenv("COURSEKIT_CACHE", str(grounds / "cache"))
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    before = _files(grounds)
    yield
    assert _files(grounds) == before


def _files(top: Path) -> dict[str, int]:
    return {str(path.relative_to(top)): path.stat().st_mtime_ns for path in top.rglob("*")}


def _check_sentences(message: str, words: tuple[str, ...]) -> None:
    for word in words:
        assert word in message
    assert message.endswith((".", ")."))
    assert 1 <= len(re.findall(r"[.!?](?=\s|$)", message)) <= 4
    assert len(message) <= LONGEST and "\n" not in message
    assert not NONSENSE.search(message)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_input_is_refused_by_name_and_nothing_is_written(case: Any) -> None:
    state = torch.get_rng_state()
    try:
        with pytest.raises(CourseError) as told:
            case.call()
    finally:
        torch.set_rng_state(state)  # what is refused must not make other tests depend on order
    assert isinstance(told.value, case.error)
    _check_sentences(str(told.value), case.words)
    room = case.name.split(":")[0].removeprefix("core.")
    assert room not in ROOMS or any(
        Path(str(entry.path)).stem.startswith(room) for entry in told.traceback
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_wrong_command_line_says_so_in_a_sentence(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(command.arguments)
    except SystemExit as left:  # as argparse does
        status = left.code
    error = capsys.readouterr().err
    assert status == command.status
    if status == 1:
        _check_sentences(error.removesuffix("\n"), command.words)
    else:
        assert error.startswith("usage: coursekit")
        assert all(word in error.splitlines()[-1] for word in command.words)


@pytest.mark.parametrize("line", IN_A_PROCESS)
def test_a_wrong_command_line_in_a_process_of_its_own(line: str, checkout: Path) -> None:
    (command,) = (each for each in COMMANDS if each.name == f"coursekit {line}")
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "coursekit", *command.arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == command.status and not run.stdout
    assert "Traceback" not in run.stderr
    assert all(word in run.stderr for word in command.words)


# --- The catalogue itself ------------------------------------------------------------------------


def test_the_catalogue_is_long_and_names_every_case_once() -> None:
    assert len(CASES) + len(COMMANDS) >= 400
    names = [each.name for each in (*CASES, *COMMANDS)]
    assert len(set(names)) == len(names)
    assert all(len(each.words) and all(each.words) for each in (*CASES, *COMMANDS))


def test_every_topic_has_many_cases() -> None:
    counts = Counter(case.name.split(":")[0] for case in CASES)
    assert {topic: counts[topic] for topic in topics.TOPICS if counts[topic] < 15} == {}


def test_every_command_has_a_wrong_line() -> None:
    (commands,) = (
        action.choices for action in cli._parser()._actions if action.dest == "==SUPPRESS=="
    )
    named = {command.arguments[0] for command in COMMANDS}
    assert set(commands) <= named


def test_every_kind_of_error_occurs() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, CourseError) and kind is not CourseError
    }
    kinds -= {errors.CheckFailed}  # no bad input: a wrong answer where it is graded
    assert kinds == {case.error for case in CASES}
