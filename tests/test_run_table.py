"""What course.py test measures (coursekit.tally) and the table that it prints of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coursekit import notebooks, run_table, tally
from coursekit.core.errors import DataError
from coursekit.exercises.results import CHECK_MIME

_LARGE = 300  # MiB that one cell holds for a moment
_CHECKED = f"display({{{tally.CHECK_MIME!r}: {{'id': %r, 'status': 'wrong'}}}}, raw=True)"
_REFUSED = "import socket\nsocket.create_connection(('example.org', 80), timeout=5)"


def _notebook(path: Path, *sources: str) -> None:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(sources)
    ]
    notebooks.write(path, {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def _pytest(folder: Path, checkout: Path, *arguments: str) -> tuple[dict[str, Any], int, str]:
    """Run pytest as course.py test --offline does; the measurements, exit status, what it said."""
    command = [sys.executable, "-m", "pytest", "-n", "1", "--dist", "loadscope", "--nbval-lax"]
    command += ["--nbval-current-env", "-p", "coursekit.tally", "--tally", "m/t.json", *arguments]
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment["PYTHONPATH"] = str(checkout / "tests" / "offline")
    environment["COURSEKIT_NETWORK_LOG"] = str(folder / "network.txt")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    facts = json.loads((folder / "m" / "t.json").read_text(encoding="utf-8"))
    return facts, done.returncode, done.stdout


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, checkout: Path
) -> tuple[dict[str, Any], int, str, str]:
    """A run over two notebooks and a test: rows by name, exit status, output, network log."""
    folder = tmp_path_factory.mktemp("run")
    large = f"_ = b'x' * ({_LARGE} * 2**20)\ndel _"
    checks = [_CHECKED % "a.one", _CHECKED % "a.two", _CHECKED % "a.one"]
    _notebook(folder / "01_good.ipynb", large, *checks, "import time\ntime.sleep(1.2)")
    _notebook(folder / "02_bad.ipynb", _CHECKED % "b.one", _REFUSED, "1 / 0", "print(1)")
    (folder / "test_worker.py").write_text(
        "import pytest, socket\n"
        "def test_refused():\n"
        "    with pytest.raises(OSError, match='network is cut off'):\n"
        "        socket.create_connection(('example.org', 80), timeout=5)\n"
        "def test_two(worker_id): assert worker_id == 'gw0'\n"
    )
    facts, status, said = _pytest(folder, checkout, ".")
    return facts, status, said, (folder / "network.txt").read_text(encoding="utf-8")


def test_a_notebook_is_measured(measured: tuple[dict[str, Any], int, str, str]) -> None:
    good, bad = measured[0]["notebooks"]
    assert (good["name"], good["cells"], good["failed"]) == ("01_good", 5, 0)
    assert good["exercises"] == 2  # different ones, though a check ran thrice
    assert 1.2 < good["seconds"] < 120
    assert good["peak"] > _LARGE * 2**20 > bad["peak"] > 20 * 2**20


def test_a_failing_notebook_gets_its_row(measured: tuple[dict[str, Any], int, str, str]) -> None:
    facts, status, said, _ = measured
    bad = facts["notebooks"][1]
    assert status == 1 and "The network is cut off" in said
    assert (bad["name"], bad["cells"], bad["failed"], bad["exercises"]) == ("02_bad", 4, 2, 1)


def test_sums_include_the_tests(measured: tuple[dict[str, Any], int, str, str]) -> None:
    sums = measured[0]["all"]
    assert (sums["cells"], sums["failed"], sums["exercises"]) == (5 + 4 + 2, 2, 3)
    assert sums["peak"] == measured[0]["notebooks"][0]["peak"]


def test_workers_and_their_kernels_are_cut_off(
    measured: tuple[dict[str, Any], int, str, str],
) -> None:
    noted = measured[3].splitlines()
    assert len(noted) == 2 and all(line.startswith("example.org (") for line in noted)
    assert sum("test_worker.py" in line for line in noted) == 1


def test_a_notebook_that_cannot_be_read_gets_its_row(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "03_damaged.ipynb").write_text("{", encoding="utf-8")
    _notebook(tmp_path / "04_good.ipynb", "1")
    facts, status, _ = _pytest(tmp_path, checkout, ".")
    damaged, good = facts["notebooks"]
    assert status != 0
    assert (damaged["name"], damaged["cells"], damaged["failed"]) == ("03_damaged", 0, 1)
    assert (good["name"], good["cells"], good["failed"]) == ("04_good", 1, 0)


def test_a_run_that_is_not_cut_off_does_not_claim_to_be(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSEKIT_NETWORK_LOG", str(tmp_path / "log"))
        patch.setitem(sys.modules, "sitecustomize", SimpleNamespace(__file__="of_this_system.py"))
        with pytest.raises(pytest.UsageError, match=r"not cut off.*of_this_system\.py"):
            tally.pytest_configure(SimpleNamespace())
        patch.delenv("COURSEKIT_NETWORK_LOG")
        tally.pytest_configure(SimpleNamespace(getoption=lambda _: None))


def test_the_check_s_data_are_known_by_the_engine_s_name() -> None:
    assert tally.CHECK_MIME == CHECK_MIME


@pytest.fixture
def process() -> Iterator[int]:
    """A process that has held 100 MiB for a moment and goes on without them."""
    code = "held = b'x' * (100 * 2**20); del held; print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as child:
        child.stdout.readline()
        yield child.pid
        child.communicate(b"\n")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS tells no peak of another process")
def test_memory_given_back_counts(process: int) -> None:
    assert 100 < tally.peak_memory(process) / 2**20 < 150


def test_memory_without_proc(process: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", gone)
    most = 150 if os.name == "nt" else 50  # elsewhere what it holds now
    assert most - 50 < tally.peak_memory(process) / 2**20 < most


def test_the_memory_of_a_process_that_is_gone_is_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert tally.peak_memory(process.pid) == 0


def test_a_crashed_worker_counts_as_a_failure(tmp_path: Path) -> None:
    counted = tally.Tally(tmp_path / "t.json", ["01_a", "02_b"])
    crash = dict(user_properties=[], duration=0.0, when="???", failed=True)
    counted.pytest_runtest_logreport(SimpleNamespace(nodeid="n/01_a.ipynb::Cell 3", **crash))
    counted.pytest_sessionfinish()
    first, second = json.loads((tmp_path / "t.json").read_text())["notebooks"]
    assert (first["name"], first["failed"], first["cells"]) == ("01_a", 1, 0)
    assert (second["name"], second["failed"], second["cells"]) == ("02_b", 1, 0)


# --- The table ------------------------------------------------------------------------------------


def _row(name: str, **facts: float) -> dict[str, Any]:
    return {
        "name": name,
        "cells": 0,
        "seconds": 0.0,
        "exercises": 0,
        "peak": 0,
        "failed": 0,
    } | facts


def _run(folder: Path, *, offline: bool = False, **status: int) -> None:
    """Lay down a run of three stages; ``status`` by the stage's name."""
    seconds = {"unit_tests": 201.4, "notebooks": 98.6, "style": 0.7}
    stages = [
        {"name": name.replace("_", " "), "status": status.get(name, 0), "seconds": value}
        for name, value in seconds.items()
    ]
    run = {"stages": stages, "offline": offline}
    (folder / "stages.json").write_text(json.dumps(run))
    first = _row("01_a", cells=12, seconds=30.0, exercises=5, peak=700 * 2**20)
    second = _row("02_b", cells=9, seconds=61.2, peak=900 * 2**20, failed=2)
    sums = _row("", cells=21, seconds=91.2, exercises=5, peak=900 * 2**20, failed=2)
    nothing = _row("03_c", failed=1)
    measured = {"notebooks": [first, second, nothing], "all": sums}
    (folder / "notebooks.json").write_text(json.dumps(measured))
    tests = {"notebooks": [], "all": _row("", cells=4000, seconds=390.0, peak=1100 * 2**20)}
    (folder / "unit_tests.json").write_text(json.dumps(tests))


def test_the_table_in_full(tmp_path: Path) -> None:
    _run(tmp_path, notebooks=1)
    text, passed = run_table.table(tmp_path)
    assert not passed
    assert text.splitlines() == [
        "                   cells  seconds  exercises  peak MiB",
        "unit tests    4000 tests      201                 1100  passed",
        "notebooks             21       99          5       900  failed",
        "  01_a                12       30          5       700  passed",
        "  02_b                 9       61                  900  failed (2 of its cells)",
        "  03_c                          0                       failed",
        "style                           1                       passed",
        "all together                  301                 1100  failed",
    ]


def test_all_passed_is_exit_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path)
    assert run_table.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-1] == "passed"


def test_an_attempt_to_use_the_network_fails_a_run_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(tmp_path, offline=True)
    assert run_table.main([str(tmp_path)]) == 0
    assert "network cut off     0 tries" in capsys.readouterr().out
    (tmp_path / "network.txt").write_text("example.org (socket.connect): a.py:3\n")
    assert run_table.main([str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "Something tried to use the network: example.org (socket.connect): a.py:3"
    assert "1 try" in said[-3] and said[-3].endswith("failed")


@pytest.mark.parametrize(
    ("name", "text"), [("stages.json", "{"), ("notebooks.json", "[1"), ("", "")]
)
def test_a_damaged_measurement_is_a_sentence(
    tmp_path: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name:
        _run(tmp_path)
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name or "holds no run"):
        run_table.table(tmp_path)
    assert run_table.main([str(tmp_path)]) == 1
    assert "Traceback" not in capsys.readouterr().err
