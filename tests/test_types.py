"""The types of the package hold: mypy, as `pyproject.toml` sets it up, finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_mypy_finds_nothing_in_the_package(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: pip install -e '.[slow]'")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), "--no-color-output"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    files = len(list((ROOT / "coursekit").rglob("*.py")))
    assert f"no issues found in {files} source files" in found.stdout
