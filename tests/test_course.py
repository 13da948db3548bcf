"""course.py: its sentences, its stages, and what it does to a real environment."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coursekit import run_table

Recorded = list[tuple[list[str], dict[str, str]]]


@pytest.fixture
def course(checkout: Path) -> ModuleType:
    """course.py as a module of its own, so that a test may change it."""
    spec = importlib.util.spec_from_file_location("course_under_test", checkout / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_syntax_is_readable_by_python_2(checkout: Path) -> None:
    source = (checkout / "course.py").read_bytes()
    source.decode("ascii")
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Nonlocal, ast.Match, ast.Await)
    for node in ast.walk(ast.parse(source)):
        assert not isinstance(node, newer), f"line {node.lineno}"
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, node.args.vararg, node.args.kwarg]
            assert not any(argument and argument.annotation for argument in arguments)
            assert not node.returns and not node.args.kwonlyargs and not node.args.posonlyargs
        if isinstance(node, ast.Raise):
            assert node.cause is None, f"line {node.lineno}"
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            assert not any(isinstance(part, ast.Starred) for part in node.elts)
        if isinstance(node, ast.Call):
            stars = [isinstance(part, ast.Starred) for part in node.args]
            assert not any(stars[:-1]), f"line {node.lineno}"


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 9, 18)])
def test_an_old_python_gets_a_sentence(checkout: Path, version: tuple[int, ...]) -> None:
    pretend = f"import sys, runpy; sys.version_info = {version}; runpy.run_path('course.py')"
    done = subprocess.run(
        [sys.executable, "-c", pretend], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"this is Python {version[0]}.{version[1]}" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("[Errno -3] Temporary failure in name resolution", "No network"),
        ("NewConnectionError('…: [WinError 10061]')", "No network"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: No matching distribution found for torch", "no build that fits"),
        ("ERROR: something new", "its last lines above say why"),
    ],
)
def test_pip_failures_are_told_apart(course: ModuleType, complaint: str, sentence: str) -> None:
    text = course.why_pip_failed(complaint, "installing torch")
    assert sentence in text and "installing torch" in text


@pytest.mark.parametrize(
    ("change", "version", "index", "reason"),
    [
        ({}, "3.11", None, None),
        ({}, "3.11", "http://a", "another package index"),
        ({"torch_index": "http://a"}, "3.11", None, None),
        ({"torch_index": "http://a"}, "3.11", "http://a", None),
        ({"place": "/elsewhere"}, "3.11", None, "another folder"),
        ({"python": "3.10"}, "3.11", None, "was made for Python 3.10"),
        ({}, None, None, "does not work"),
        ({}, "3.9", None, "has Python 3.9"),
    ],
)
def test_when_an_environment_is_made_anew(
    course: ModuleType, change: dict[str, str], version: str, index: str, reason: str
) -> None:
    stamp = {"python": "3.11", "place": course.ROOT, "torch_index": None, **change}
    answer = course.why_anew(stamp, version, index)
    assert (answer is None) if reason is None else (reason in answer)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_damaged_stamp_counts_as_none(course: ModuleType, tmp_path: Path, text: str) -> None:
    course.STAMP = str(tmp_path / "course.json")
    Path(course.STAMP).write_text(text)
    assert course.read_stamp() == {}


def test_no_ensurepip_is_a_sentence(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    course.VENV = str(tmp_path / ".venv")
    with pytest.raises(course.Stop, match="apt install python3-venv"):
        course.make_venv()
    assert not Path(course.VENV).exists()


def test_it_does_not_delete_the_environment_that_it_runs_in(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".venv").mkdir()
    course.VENV = str(tmp_path / ".venv")
    monkeypatch.setattr(sys, "prefix", course.VENV)
    with pytest.raises(course.Stop, match="deactivate"):
        course.remove_venv("does not work")
    assert (tmp_path / ".venv").exists()


def test_children_see_no_foreign_packages(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PIP_USER", "1")
    environment = course.child_environment({"COURSEKIT_PRESET": "ci"})
    assert "PYTHONPATH" not in environment and environment["PIP_USER"] == "0"
    assert environment["COURSEKIT_PRESET"] == "ci"


def test_any_text_can_be_said_on_any_terminal(course: ModuleType) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    course.say("Курс", stream)
    assert raw.getvalue().split() == [b"????"]


@pytest.fixture
def recorded(course: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorded:
    """What course.py would run; the stage named "notebooks" fails."""
    course.MEASURED = str(tmp_path / "measured")
    calls: Recorded = []

    def run(arguments: list[str], env: dict[str, str] | None = None) -> int:
        calls.append((arguments, env or {}))
        return 1 if "--nbval-lax" in arguments else 0

    monkeypatch.setattr(course, "run", run)
    monkeypatch.setattr(course, "prepare", lambda extra, index: None)
    return calls


_PLAIN = {
    "torch_index": None,
    "slow": False,
    "only_slow": False,
    "offline": False,
    "coverage": False,
    "preset": None,
}


def _options(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**_PLAIN, **given})


def test_every_stage_runs_and_one_failure_fails_all(
    course: ModuleType, recorded: Recorded, capfd: pytest.CaptureFixture[str]
) -> None:
    assert course.test(_options()) == 1
    fetched, *stages, table = recorded
    assert fetched[0] == ["-m", "coursekit.cli", "fetch"]
    assert [arguments[1] for arguments, _ in stages] == ["pytest", "pytest", "ruff", "ruff"]
    for _, env in stages:
        assert env == {"COURSEKIT_PRESET": "ci", "COURSEKIT_THREADS": "1", "OMP_NUM_THREADS": "1"}
    assert table[0] == ["-m", "coursekit.run_table", course.MEASURED]
    ended = re.findall(r"^== (.*), \d+ s$", capfd.readouterr().out, re.MULTILINE)
    assert ended == ["unit tests passed", "notebooks failed", "style passed", "format passed"]


def test_what_the_table_reads_is_what_the_stages_write(
    course: ModuleType, recorded: Recorded
) -> None:
    course.test(_options())
    folder = Path(course.MEASURED)
    for arguments, _ in recorded:
        if "--tally" in arguments:
            measured = {"notebooks": [], "all": {"cells": 7, "peak": 2**21}}
            Path(arguments[-1]).write_text(json.dumps(measured))
    text, passed = run_table.table(folder)
    lines = [line.split() for line in text.splitlines()[1:]]
    assert not passed and [line[-1] for line in lines][1::3] == ["failed", "failed"]
    assert lines[0] == ["unit", "tests", "7", "tests", "0", "2", "passed"]
    assert lines[1] == ["notebooks", "7", "tests", "0", "2", "failed"]
    assert [line[0] for line in lines[2:]] == ["style", "format", "all"]


def test_measurements_of_an_earlier_run_are_gone(course: ModuleType, recorded: Recorded) -> None:
    earlier = Path(course.MEASURED) / "unit_tests.json"
    earlier.parent.mkdir()
    earlier.touch()
    course.test(_options())
    assert not earlier.exists()


def test_a_table_that_fails_fails_the_run(
    course: ModuleType, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does when the network was cut off and something tried to use it."""
    for status in (0, 1):
        monkeypatch.setattr(course, "run", lambda a, env=None, s=status: s * ("run_table" in a[1]))
        assert course.test(_options(offline=True)) == status


def test_offline_cuts_off_every_stage_but_not_what_comes_before(
    course: ModuleType, recorded: Recorded, checkout: Path
) -> None:
    course.test(_options(offline=True))
    fetched, *stages, _ = recorded
    assert fetched[1] == {} and len(stages) == 4
    for _, env in stages:
        environment = course.child_environment(env)
        assert Path(environment["PYTHONPATH"]) == checkout / "tests" / "offline"
        assert environment["COURSEKIT_OFFLINE"] == "1" and environment["COURSEKIT_PRESET"] == "ci"
        assert Path(environment["COURSEKIT_NETWORK_LOG"]).parent == Path(course.MEASURED)
    assert json.loads((Path(course.MEASURED) / "stages.json").read_text())["offline"] is True


@pytest.mark.parametrize("other", ["--slow", "--only-slow"])
def test_slow_tests_install_packages_and_are_no_offline_tests(checkout: Path, other: str) -> None:
    command = [sys.executable, "course.py", "test", "--offline", other]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 2 and "not allowed with argument" in done.stderr


def test_coverage_is_counted_in_one_process_and_has_a_floor(
    course: ModuleType, recorded: Recorded, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extras: list[str] = []
    monkeypatch.setattr(course, "prepare", lambda extra, index: extras.append(extra))
    assert course.test(_options(coverage=True)) == 0
    _, (tests, env), _ = recorded
    assert extras == ["coverage"] and env["COURSEKIT_PRESET"] == "ci"
    assert "--cov=coursekit" in tests and "tests" in tests and "-n" not in tests
    assert "fail_under = 90\n" in (checkout / "pyproject.toml").read_text(encoding="utf-8")


def test_slow_and_usual_tests_share_nothing(course: ModuleType, recorded: Recorded) -> None:
    course.test(_options(only_slow=True))
    (tests, _), *rest = recorded[1:]
    assert tests[:6] == ["-m", "pytest", "-n", "2", "--only-slow", "tests"]
    recorded.clear()
    course.test(_options(slow=True))
    assert "--slow" in recorded[1][0] and "--slow" not in recorded[2][0]
    assert recorded[-len(rest) :] == rest


def test_solved_notebooks_run_in_the_slow_part_and_a_wrong_answer_is_an_error_there(
    course: ModuleType, recorded: Recorded
) -> None:
    assert course.test(_options(only_slow=True)) == 1
    (solving, _), (running, env) = recorded[-3:-1]
    assert solving[:3] == ["-m", "coursekit.cli", "solve"]
    assert "--nbval-lax" in running and running[running.index("-p") - 1] == solving[-1]
    assert env["COURSEKIT_GRADING"] == "1" and env["COURSEKIT_PRESET"] == "ci"
    assert "COURSEKIT_GRADING" not in recorded[1][1]


def test_pages_as_they_lie_need_no_weights(course: ModuleType, recorded: Recorded) -> None:
    course.render(_options())
    assert [arguments for arguments, _ in recorded] == [["-m", "coursekit.cli", "render"]]


def test_pages_of_executed_notebooks_do(course: ModuleType, recorded: Recorded) -> None:
    course.render(_options(preset="quick"))
    fetched, rendered = (arguments for arguments, _ in recorded)
    assert fetched[-1] == "fetch" and rendered[-3:] == ["render", "--preset", "quick"]


def test_missing_weights_stop_the_command(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "prepare", lambda extra, index: None)
    monkeypatch.setattr(course, "run", lambda arguments, env=None: 1)
    with pytest.raises(course.Stop, match="weights are not there"):
        course.demo(_options())


# The rest makes real environments for a small project that stands in for the course: its torch
# is one line, so that what course.py itself does is seen in seconds and without a network.

_BACKEND = """
import os, zipfile

def _wheel(folder, files):
    name = "coursekit-0.1.0-py3-none-any.whl"
    info = "coursekit-0.1.0.dist-info/"
    meta = "Metadata-Version: 2.1\\nName: coursekit\\nVersion: 0.1.0\\nRequires-Dist: torch\\n"
    meta += "Requires-Dist: torchvision\\n"
    meta += "".join("Provides-Extra: %s\\n" % extra for extra in ("lab", "run", "test"))
    files[info + "METADATA"] = meta
    files[info + "WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[info + "RECORD"] = "".join("%s,,\\n" % path for path in [*files, info + "RECORD"])
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name

def build_editable(folder, config_settings=None, metadata_directory=None):
    line = "import sys; sys.path.append(%s)" % ascii(os.getcwd())
    return _wheel(folder, {"coursekit.pth": line})
"""
_LOGGING_MODULE = """
import os, sys
print("RAN", *sys.argv[1:], "in", ascii(os.getcwd()))
"""


def _tiny_wheel(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def project(checkout: Path, tmp_path: Path) -> Path:
    """A stand-in for the course in a folder with spaces and Cyrillic letters."""
    top = tmp_path / "Курс по синтезу" / "мой проект"
    (top / "coursekit").mkdir(parents=True)
    shutil.copy(checkout / "course.py", top)
    (top / "backend.py").write_text(_BACKEND)
    (top / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (top / "coursekit" / "__init__.py").touch()
    commands = ("coursekit/cli.py", "coursekit/run_table.py")
    for module in (*commands, "pytest.py", "ruff.py", "jupyterlab.py"):
        (top / module).write_text(_LOGGING_MODULE)
    for name in ("torch", "torchvision"):
        _tiny_wheel(tmp_path / "wheels", name, "99.0")
        wheel = _tiny_wheel(tmp_path / "index" / name, name, "99.0+cpu")
        link = f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>'
        (wheel.parent / "index.html").write_text(f"<!DOCTYPE html><body>{link}</body>")
    return top


@pytest.fixture
def command(project: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the stand-in's course.py as a user would, in the plainest locale."""

    def call(
        *arguments: str, top: Path = project, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LC_ALL": "C", "PIP_FIND_LINKS": (tmp_path / "wheels").as_uri()}
        # A machine may cap torch's version for everybody; the stand-ins have one of their own.
        (tmp_path / "free.txt").touch()
        env["PIP_CONSTRAINT"] = str(tmp_path / "free.txt")
        env.update(environment)
        return subprocess.run(
            [sys.executable, str(top / "course.py"), *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=300,
        )

    return call


def _version_of_torch(project: Path) -> str:
    folder = "Scripts" if os.name == "nt" else "bin"
    python = project / ".venv" / folder / "python"
    question = "import torch; print(torch.__version__)"
    return subprocess.check_output([str(python), "-c", question], text=True).strip()


@pytest.mark.slow
def test_the_life_of_an_environment(
    project: Path, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    stamp = project / ".venv" / "course.json"

    first = command("test")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Making the environment" in first.stdout and "RAN fetch" in first.stdout
    assert json.loads(stamp.read_text(encoding="utf-8"))["extras"] == ["test"]

    second = command("test")
    assert second.returncode == 0 and "Install" not in second.stdout

    lab = command("lab")
    assert lab.returncode == 0 and "Install" in lab.stdout and "00_start_here" in lab.stdout
    assert json.loads(stamp.read_text(encoding="utf-8"))["extras"] == ["lab", "test"]
    assert "Install" not in command("test").stdout

    stamp.unlink()
    assert "is unfinished: completing it" in command("demo").stdout
    assert stamp.exists()

    (project / "pyproject.toml").open("a").write("# a new dependency\n")
    assert "pyproject.toml has changed" in command("demo").stdout

    shutil.rmtree(project / ".venv" / "bin", ignore_errors=True)
    shutil.rmtree(project / ".venv" / "Scripts", ignore_errors=True)
    broken = command("demo")
    assert broken.returncode == 0 and "does not work: making it anew" in broken.stdout

    assert _version_of_torch(project) == "99.0"
    other = command("demo", "--torch-index", (tmp_path / "index").as_uri())
    assert "has torch from another package index" in other.stdout
    assert other.returncode == 0 and _version_of_torch(project) == "99.0+cpu"
    assert "Install" not in command("demo").stdout

    moved = project.rename(project.with_name("moved"))
    done = command("demo", top=moved)
    assert done.returncode == 0 and "was made in another folder" in done.stdout
    assert "moved" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_no_network_is_one_clear_sentence(
    project: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command(
        "test",
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="",
        PIP_RETRIES="1",
    )
    assert done.returncode == 1
    assert "No network: the package index could not be reached" in done.stderr
    assert "Traceback" not in done.stderr
    stamp = (project / ".venv" / "course.json").read_text(encoding="utf-8")
    assert "extras" not in json.loads(stamp)
    mended = command("test")
    assert mended.returncode == 0 and "unfinished" in mended.stdout


@pytest.mark.slow
def test_a_failing_stage_is_the_exit_status(
    project: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (project / "ruff.py").write_text("raise SystemExit(3)")
    done = command("test")
    assert done.returncode == 1
    ended = re.findall(r"^== (.*) (passed|failed), \d+ s$", done.stdout, re.MULTILINE)
    assert ended[1:3] == [("notebooks", "passed"), ("style", "failed")]
    assert "RAN" in done.stdout.splitlines()[-1]  # the table comes all the same
