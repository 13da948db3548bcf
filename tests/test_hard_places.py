"""Time zones, locales, Cyrillic folders, no home, narrow rights: the same course everywhere.

What is done there is listed in hard_places.py.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hard_places import STEPS

FOLDER = Path("Курс по синтезу") / "мои файлы (1)"
# What a test process has been given, and a student's shell has not.
OURS = ("COURSEKIT_PRESET", "COURSEKIT_PROGRESS", "PYTHONUTF8", "PYTHONIOENCODING", "LANG")


@pytest.fixture(scope="session")
def russian(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The locale ru_RU.UTF-8: made here where the system has not got it, and tools to make it."""
    place = tmp_path_factory.mktemp("locales")
    make = ["localedef", "-i", "ru_RU", "-f", "UTF-8", str(place / "ru_RU.UTF-8")]
    if shutil.which("localedef"):
        subprocess.run(make, capture_output=True)
    made = (place / "ru_RU.UTF-8").is_dir()
    return {"LC_ALL": "ru_RU.UTF-8"} | ({"LOCPATH": str(place)} if made else {})


def live(checkout: Path, folder: Path, umask: int = -1, **environment: str) -> str:
    """Everything in hard_places.py, in a process of its own; what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    inherited |= {"PYTHONPATH": str(checkout), "COURSEKIT_CACHE": str(folder.parent / "кэш [1]")}
    inherited |= {"OMP_NUM_THREADS": "1", "COURSEKIT_OFFLINE": "1"}
    settings = {"encoding": "utf-8", "errors": "replace", "capture_output": True}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hard_places.py")), str(folder)],
        env={name: value for name, value in {**inherited, **environment}.items() if value},
        timeout=600,
        umask=umask,
        **settings,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("did ") == len(STEPS), done.stdout
    assert "Traceback" not in done.stderr and "UnicodeEncodeError" not in done.stdout
    return done.stdout


def film_of(told: str) -> str:
    return next(line for line in told.splitlines() if line.startswith("film"))


@pytest.mark.slow
def test_in_russian_on_the_far_side_of_the_date_line(
    checkout: Path, tmp_path: Path, russian: dict[str, str]
) -> None:
    told = live(checkout, tmp_path / FOLDER, TZ="Pacific/Kiritimati", **russian)
    assert "не снимок.txt" in told


@pytest.mark.slow
def test_in_plain_c_at_half_past(checkout: Path, tmp_path: Path, russian: dict[str, str]) -> None:
    """And the file of a film is the same in every time zone."""
    here = live(checkout, tmp_path / "a" / FOLDER, TZ="America/St_Johns", LC_ALL="C")
    there = live(checkout, tmp_path / "b" / FOLDER, TZ="Pacific/Kiritimati", **russian)
    assert film_of(here) == film_of(there)


@pytest.mark.slow
def test_without_a_home_to_write_to(checkout: Path, tmp_path: Path) -> None:
    """HOME is a file: no cache, no progress, no configuration can be kept, by root neither."""
    home = tmp_path / "home"
    home.write_text("a file")
    told = live(checkout, tmp_path / "work", HOME=str(home), COURSEKIT_CACHE="")
    assert told.count("The cache could not be written") == 2
    assert home.read_text() == "a file"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
def test_with_files_for_oneself_alone(checkout: Path, tmp_path: Path) -> None:
    live(checkout, tmp_path / FOLDER, umask=0o077)
    written = [*(tmp_path / FOLDER).rglob("*"), *(tmp_path / FOLDER.parent).glob("кэш*/**/*")]
    ours = [path for path in written if path.suffix in (".pt", ".zip", ".png", ".safetensors")]
    assert len(ours) >= 6
    assert all(path.stat().st_mode & 0o077 == 0 for path in ours)


@pytest.mark.slow
def test_a_checkout_in_a_folder_with_cyrillic_spaces_and_brackets(
    checkout: Path, tmp_path: Path, russian: dict[str, str]
) -> None:
    copy = tmp_path / "Курс по синтезу" / "копия (2) [новая]"
    for part in ("coursekit", "notebooks"):
        shutil.copytree(checkout / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data").symlink_to(checkout / "data")
    live(copy, tmp_path / FOLDER, **russian)


def test_every_text_file_is_opened_with_its_encoding(checkout: Path) -> None:
    """Else it is read and written in the system's own, which need not know Cyrillic."""
    lacking = []
    for file in sorted((checkout / "coursekit").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if _opens_text(call) and not _says_encoding(call):
                lacking.append(f"{file.name}:{call.lineno}")
    assert not lacking


def _opens_text(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Name) and call.func.id == "open"
    method = isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text")
    if method and isinstance(call.func.value, ast.Name) and call.func.value.id == "atomic":
        return False
    modes = [each.value for each in call.args[1:2] if isinstance(each, ast.Constant)]
    return method or (named and not any("b" in str(mode) for mode in modes))


def _says_encoding(call: ast.Call) -> bool:
    given = [each.value for each in call.args if isinstance(each, ast.Constant)]
    return "utf-8" in given or any(keyword.arg == "encoding" for keyword in call.keywords)
