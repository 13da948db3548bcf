"""What a benchmark found, as data: to JSON and back, and as Markdown tables."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursekit.core.errors import DataError


@dataclass(frozen=True)
class Ratio:
    """A time over another, round by round.

    Attributes:
        median: over the rounds.
        low, high: the middle half of them; ``None`` after a single round.
    """

    median: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Side:
    """One row of a table.

    Attributes:
        name: whose time it is.
        milliseconds: the median over the rounds; ``None`` where no time was taken.
        ratios: that time ÷ another side's, by the other's name.
        peak, before: the highest resident memory of a process of its own, and what of it was there
            before the first step, in MiB; ``None`` if they were not measured.
        more: further cells, by the heading of their column.
    """

    name: str
    milliseconds: float | None = None
    ratios: dict[str, Ratio] = field(default_factory=dict)
    peak: float | None = None
    before: float | None = None
    more: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Sides that did the same work in one process, in turn.

    Attributes:
        title: what each did; it heads the first column.
        sides: the rows.
        rounds: how many were timed.
        check: how far the sides agreed before they were timed.
        notes: sentences that go under the table.
    """

    title: str
    sides: tuple[Side, ...]
    rounds: int
    check: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Where, when and how.

    Attributes:
        date: the day, as ``2026-11-28``.
        arguments: the options of the command.
        versions: of Python and the packages, by name.
        machine: the processor or GPU in words.
        threads: of torch.
        clock: ``"wall"``, or ``"cpu"`` for the processor time of all threads.
        load: the machine's load average at the start; ``None`` where there is none.
        seconds: that the whole took.
    """

    date: str
    arguments: tuple[str, ...]
    versions: dict[str, str]
    machine: str
    threads: int
    clock: str
    load: float | None
    seconds: float


@dataclass(frozen=True)
class Report:
    """All that one script found.

    Attributes:
        name: the script's, as in ``bench_NAME.py``.
        tables: at least one.
        notes: what was left out, and why.
        measured: where, when and how.
    """

    name: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    measured: Measured


# --- From times ----------------------------------------------------------------------------------


def ratio(side: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Median and middle half of side ÷ reference, each pair measured next to each other."""
    ratios = [a / b for a, b in zip(side, reference, strict=True)]
    if len(ratios) < 2:
        return Ratio(round(ratios[0], 4))
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(round(statistics.median(ratios), 4), round(low, 4), round(high, 4))


def sides(
    seconds: Mapping[str, Sequence[float]],
    *,
    ratios: bool = True,
    references: Sequence[str] = (),
    peaks: Mapping[str, tuple[float, float]] | None = None,
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[Side, ...]:
    """Rows from the seconds of every side in every round.

    Args:
        seconds: by side, one number a round.
        ratios: whether the sides did the same, so that they can be compared.
        references: the sides to divide by; the first side if empty.
        peaks: (highest, before the first step) in MiB, by side.
        more: further cells, by side and heading.
    """
    peaks, more = peaks or {}, more or {}
    references = (references or [next(iter(seconds))]) if ratios else ()
    rows = []
    for name, times in seconds.items():
        peak, before = peaks.get(name, (None, None))
        over = {other: ratio(times, seconds[other]) for other in references if other != name}
        median = round(1e3 * statistics.median(times), 3)
        rows.append(Side(name, median, over, peak, before, dict(more.get(name, {}))))
    return tuple(rows)


# --- As Markdown ---------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The table, its check and its notes."""
    parts = [grid(*_cells(table))]
    parts += [f"Checked first: {table.check}."] if table.check else []
    return "\n\n".join([*parts, *table.notes])


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with columns of equal width."""
    rows = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows; columns that no side fills are left out."""
    divided = {name for side in table.sides for name in side.ratios}
    references = [side.name for side in table.sides if side.name in divided]
    more = list(dict.fromkeys(name for side in table.sides for name in side.more))
    columns = {
        table.title: [side.name for side in table.sides],
        "median": [_time(side) for side in table.sides],
        **{f"÷ {name}": [_ratio(side, name) for side in table.sides] for name in references},
        **{name: [side.more.get(name, "") for side in table.sides] for name in more},
        "peak MiB (before)": [_peak(side) for side in table.sides],
    }
    filled = {head: cells for head, cells in columns.items() if any(cells)}
    return list(filled), [list(row) for row in zip(*filled.values(), strict=True)]


def _time(side: Side) -> str:
    return "" if side.milliseconds is None else duration(side.milliseconds)


def _peak(side: Side) -> str:
    return "" if side.peak is None else f"{side.peak:.0f} ({side.before or 0:.0f})"


def _ratio(side: Side, reference: str) -> str:
    if side.name == reference:
        return "1"
    return str(side.ratios[reference]) if reference in side.ratios else ""


def duration(milliseconds: float) -> str:
    """Three digits or so: ``7.4 ms``, ``612 ms``, ``1.23 s``, ``12.3 s``."""
    if milliseconds >= 999.5:
        return f"{milliseconds / 1e3:.{1 if milliseconds >= 9995 else 2}f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 99.95 else f"{milliseconds:.1f} ms"


# --- As JSON -------------------------------------------------------------------------------------


def to_data(report: Report) -> dict[str, Any]:
    """What `from_data` reads; only dictionaries, lists, numbers and strings."""
    return dataclasses.asdict(report)


def from_data(data: Mapping[str, Any]) -> Report:
    """The report that `to_data` took apart.

    Raises:
        KeyError, TypeError, AttributeError: these are not the data of a report.
    """
    measured = Measured(**data["measured"] | {"arguments": tuple(data["measured"]["arguments"])})
    tables = tuple(_table(each) for each in data["tables"])
    return Report(**{**data, "tables": tables, "notes": tuple(data["notes"]), "measured": measured})


def _table(data: Mapping[str, Any]) -> Table:
    rows = tuple(
        Side(**each | {"ratios": {name: Ratio(**r) for name, r in each["ratios"].items()}})
        for each in data["sides"]
    )
    return Table(**{**data, "sides": rows, "notes": tuple(data["notes"])})


def read(path: Path) -> dict[str, Report]:
    """The reports in a file, by their keys.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {key: from_data(each) for key, each in data.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no results of benchmarks ({type(error).__name__}: {error}). Delete it "
            "and measure again, or restore it from the repository."
        ) from error


def text(reports: Mapping[str, Report]) -> str:
    """The reports as `read` takes them."""
    data = {key: to_data(report) for key, report in reports.items()}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
