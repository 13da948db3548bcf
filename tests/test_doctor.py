"""The doctor must be right above all where something is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coursekit import doctor
from coursekit.core import weights
from coursekit.core.errors import DataError

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
"""
NOWHERE = [Path(__file__) / "below_a_file"]
if sys.platform == "linux":
    NOWHERE.append(Path("/proc/coursekit"))  # not even root may write there


def _doctor(*before: Path, **environment: str) -> tuple[int, str]:
    """The exit status and the report of ``coursekit doctor`` in a process of its own."""
    paths = os.pathsep.join(str(path) for path in before)
    done = subprocess.run(
        [sys.executable, "-m", "coursekit.cli", "doctor"],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done.returncode, done.stdout


def _line(report: str, name: str) -> str:
    """The line about one thing, with the mending line under it."""
    lines = report.splitlines()
    (index,) = (i for i, line in enumerate(lines) if line[9:].startswith(name + " "))
    return "\n".join(lines[index : index + 2])


@pytest.fixture
def fetched() -> None:
    """The weights that the course needs are in the cache."""
    for name in weights.COURSE_NAMES:
        weights.fetch(name, progress=False)


@pytest.mark.usefixtures("fetched")
def test_here_all_that_is_needed_is_there() -> None:
    status, report = _doctor()
    assert status == 0, report
    assert report.endswith("All that is needed is here.\n")
    for name in ("Python", "torch", "device", "memory", "weights vgg16", "data", "Colab"):
        assert _line(report, name).startswith("ok "), report


@pytest.mark.usefixtures("fetched")
def test_a_missing_torch_is_named_and_the_rest_is_still_seen(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=["torch", "torchvision"]))
    status, report = _doctor(tmp_path)
    assert status == 1
    assert _line(report, "torch").startswith("MISSING")
    assert "not installed" in _line(report, "torch") and "pip install" in _line(report, "torch")
    for name in ("Python", "disk", "weights vgg16", "data", "ipywidgets"):
        assert _line(report, name).startswith("ok "), report


def test_missing_widgets_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    checks = {check.name: check for check in doctor._notebook_tools()}
    widgets, lab = checks["ipywidgets"], checks["JupyterLab"]
    assert not widgets.ok and widgets.needed and widgets.mend == "pip install ipywidgets"
    assert not lab.ok and not lab.needed and lab.mend == "python3 course.py lab"


def test_a_torch_that_does_not_load_is_reported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    status, report = _doctor(tmp_path)
    assert status == 1
    assert "OSError: libcudart.so.13: cannot open" in _line(report, "torch")
    assert "pip install --force-reinstall torch torchvision" in _line(report, "torch")


def test_a_torchvision_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "torchvision.py").write_text(text)
    status, report = _doctor(tmp_path)
    assert status == 1 and _line(report, "torch").startswith("ok ")
    assert "torchvision::nms" in _line(report, "torchvision")
    assert "same index" in _line(report, "torchvision")


@pytest.mark.parametrize("folder", NOWHERE, ids=lambda path: path.name)
def test_a_cache_that_cannot_be_written_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(folder))
    (check,) = doctor._cache()
    assert not check.ok and check.needed and "COURSEKIT_CACHE" in check.mend


def test_a_folder_that_does_not_exist_yet_is_a_good_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "new" / "folder"))
    (check,) = doctor._cache()
    assert check.ok and "made on first use" in check.found
    assert not (tmp_path / "new").exists()


def test_a_damaged_weight_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "weights" / "vgg16.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"\x08\0\0\0\0\0\0\0{} cut off")
    status, report = _doctor(COURSEKIT_CACHE=str(tmp_path))
    assert status == 1
    line = _line(report, "weights vgg16")
    assert line.startswith("MISSING") and "coursekit fetch vgg16" in line
    assert "not fetched yet" not in line and "not fetched yet" in _line(report, "weights alexnet")
    assert file.exists()


def test_an_unknown_preset_and_colab_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_PRESET", "fast")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    colab, preset = doctor._session()
    assert colab.found == "yes"
    assert not preset.ok and "ci, quick, full" in preset.mend
    assert "JupyterLab" not in [check.name for check in doctor._notebook_tools()]


@pytest.mark.parametrize("error", [DataError("no data."), ImportError(name="numpy"), KeyError("x")])
def test_a_look_that_fails_becomes_a_line(error: Exception) -> None:
    def _broken_look() -> Iterator[doctor.Check]:
        raise error
        yield

    (check,) = doctor._guarded(_broken_look)
    assert check.name == "broken look" and not check.ok and check.needed and check.mend


def test_only_needed_things_count() -> None:
    checks = [doctor.Check("a", True, "1"), doctor.Check("b", False, "2", "mend b", needed=False)]
    assert doctor.report(checks).endswith("All that is needed is here.")
    assert "-> mend b" in doctor.report(checks)
    checks.append(doctor.Check("c", False, "3", "mend c"))
    assert "1 of 3 need mending." in doctor.report(checks)


def test_no_heavy_import_at_module_level() -> None:
    code = "import coursekit.doctor, coursekit.cli, sys; print('torch' in sys.modules)"
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.strip() == "False"
