"""A plugin for pytest that measures notebooks and tests: the numbers of course.py's table.

    pytest -p coursekit.tally --tally FILE …

writes FILE as JSON: one row a notebook (also for those that broke off or never began), and the
sums. It works with nbval, with and without pytest-xdist. Used by `python3 course.py test`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.core.atomic import write_text

if TYPE_CHECKING:
    import pytest

CHECK_MIME = "application/vnd.coursekit.check+json"
_PEAK, _CHECKS = "coursekit peak bytes", "coursekit checks"


def peak_memory(process: int) -> int:
    """The most memory that a process has held so far, in bytes; 0 if it is gone.

    Exact on Linux and Windows. On other systems it is what the process holds now.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return _peak_without_proc(process)


def _peak_without_proc(process: int) -> int:
    import psutil

    try:
        memory = psutil.Process(process).memory_info()
    except psutil.Error:
        return 0
    return getattr(memory, "peak_wset", memory.rss)


@dataclass
class Row:
    """What was measured of one notebook, or of all tests together.

    Attributes:
        name: the notebook's name without its ending; empty for tests.
        cells: how many cells, or tests, ran.
        seconds: their time, with the start and the end of the kernel.
        exercises: how many different exercises were checked.
        peak: the most memory of the kernel, or of a worker, in bytes.
        failed: how many cells, or tests, failed.
    """

    name: str = ""
    cells: int = 0
    seconds: float = 0.0
    exercises: int = 0
    peak: int = 0
    failed: int = 0


@dataclass
class Tally:
    """Adds up the reports of one pytest run; ``expected`` are the notebooks that it is asked for.

    A notebook without a single report counts as failed.
    """

    file: Path
    expected: list[str] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)
    _checks: dict[str, set[str]] = field(default_factory=dict)

    def row(self, nodeid: str) -> Row:
        """The row that a test belongs to: its notebook's, else that of all tests."""
        place = Path(nodeid.split("::")[0])
        name = place.stem if place.suffix == ".ipynb" else ""
        return self.rows.setdefault(name, Row(name))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase (setup, call or teardown) of one cell or test."""
        row = self.row(report.nodeid)
        facts: dict[str, Any] = dict(report.user_properties)
        row.seconds += report.duration
        row.cells += report.when == "call"
        row.failed += report.failed
        row.peak = max(row.peak, facts.get(_PEAK, 0))
        checked = self._checks.setdefault(row.name, set())
        checked.update(facts.get(_CHECKS, ()))
        row.exercises = len(checked)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that could not even be read."""
        if report.failed:
            self.row(report.nodeid).failed += 1

    def pytest_sessionfinish(self) -> None:
        """Write the file, at once or not at all."""
        for name in self.expected:
            self.rows.setdefault(name, Row(name, failed=1))
        rows = [self.rows[name] for name in sorted(self.rows)]
        sums = Row(
            cells=sum(row.cells for row in rows),
            seconds=sum(row.seconds for row in rows),
            exercises=sum(row.exercises for row in rows),
            peak=max((row.peak for row in rows), default=0),
            failed=sum(row.failed for row in rows),
        )
        facts = {"notebooks": [asdict(row) for row in rows if row.name], "all": asdict(sums)}
        write_text(self.file, json.dumps(facts, indent=1))


# --- Hooks of pytest ------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that turns the plugin on."""
    parser.addoption("--tally", type=Path, metavar="FILE", help="write measurements to FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Add up in the process that sees every report: the one that started the workers, if any.

    Raises:
        UsageError: the network should be cut off (`course.py test --offline`), and is not.
    """
    _check_cut_off()
    file = config.getoption("--tally")
    if file is not None and not hasattr(config, "workerinput"):
        tally = Tally(file, _asked_for(config.args))
        config.pluginmanager.register(tally, "coursekit-tally")


def _check_cut_off() -> None:
    """No run may say that it did without the network when it was never cut off."""
    guard = sys.modules.get("sitecustomize")
    if os.environ.get("COURSEKIT_NETWORK_LOG") and not hasattr(guard, "NetworkCutOff"):
        import pytest

        raise pytest.UsageError(
            "The network is not cut off: Python has loaded another sitecustomize than "
            f"tests/offline ({getattr(guard, '__file__', 'none')})."
        )


def _asked_for(arguments: list[str]) -> list[str]:
    places = [Path(argument.split("::")[0]) for argument in arguments]
    found = [path for place in places for path in (place, *place.glob("*.ipynb"))]
    return [path.stem for path in found if path.suffix == ".ipynb"]


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Hand on with the report what only the process that ran the test can know."""
    if call.when != "call":
        return
    running = getattr(item.parent, "kernel", None)
    outputs = getattr(item, "test_outputs", None) or ()
    process = os.getpid() if running is None else _kernel_process(running)
    item.user_properties.append((_PEAK, peak_memory(process) if process else 0))
    item.user_properties.append((_CHECKS, _checks(outputs)))


def _kernel_process(running: Any) -> int | None:
    """The process of nbval's kernel; None when it is gone."""
    manager = getattr(running, "km", None)
    return getattr(getattr(manager, "provisioner", None), "pid", None)


def _checks(outputs: Any) -> list[str]:
    """The exercises whose results are among a cell's outputs."""
    bundles = [output.get("data", {}) for output in outputs]
    return [bundle[CHECK_MIME]["id"] for bundle in bundles if CHECK_MIME in bundle]
