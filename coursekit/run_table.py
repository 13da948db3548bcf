"""The table at the end of `python3 course.py test`: what ran, how long, in how much memory.

Reads a folder with ``stages.json`` (written by course.py), one JSON file a stage (by
`coursekit.tally`) and, if the network was cut off, ``network.txt`` with the attempts to use it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coursekit.core.errors import CourseError, DataError

Line = tuple[str, str, str, str, str, str]

_HEAD = ("", "cells", "seconds", "exercises", "peak MiB", "")


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when a stage has written none."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Run course.py test again.") from error
    return facts


def _verdict(failed: object) -> str:
    return "failed" if failed else "passed"


def _line(name: str, facts: dict[str, Any], seconds: float, verdict: str, unit: str = "") -> Line:
    cells, exercises, peak = (facts.get(key, 0) for key in ("cells", "exercises", "peak"))
    counted = f"{cells}{unit}" if cells else ""
    known = [str(number or "") for number in (exercises, peak // 2**20)]
    return name, counted, f"{seconds:.0f}", known[0], known[1], verdict


def stage_lines(stage: dict[str, Any], facts: dict[str, Any]) -> list[Line]:
    """A stage's line with its sums and the time on the clock, and under it one a notebook.

    Args:
        stage: its name, exit status and seconds.
        facts: what `coursekit.tally` wrote of it; empty if it did not run there.
    """
    notebooks = facts.get("notebooks", [])
    unit, verdict = "" if notebooks else " tests", _verdict(stage["status"])
    lines = [_line(stage["name"], facts.get("all", {}), stage["seconds"], verdict, unit)]
    for row in notebooks:
        failed = row["failed"]
        verdict = f"failed ({failed} of its cells)" if failed and row["cells"] else _verdict(failed)
        lines.append(_line(f"  {row['name']}", row, row["seconds"], verdict))
    return lines


def _layout(rows: Sequence[Line]) -> str:
    """Rows as text in columns: the first and the last to the left, numbers to the right."""
    texts = [[str(part) for part in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = []
    for name, *numbers, verdict in texts:
        columns = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False)]
        lines.append("  ".join([name.ljust(widths[0]), *columns, verdict]).rstrip())
    return "\n".join(lines)


def table(folder: Path) -> tuple[str, bool]:
    """The table of a run whose measurements lie in ``folder``, and whether all passed.

    Raises:
        DataError: the folder holds no run, or a file of it is damaged.
    """
    run = _read(folder / "stages.json")
    if not run:
        raise DataError(f"{folder} holds no run of course.py test.")
    rows, peak, failed = [_HEAD], 0, False
    for stage in run["stages"]:
        facts = _read(folder / f"{stage['name'].replace(' ', '_')}.json")
        rows += stage_lines(stage, facts)
        peak = max(peak, facts.get("all", {}).get("peak", 0))
        failed = failed or stage["status"] != 0
    attempts = _attempts(folder) if run["offline"] else []
    if run["offline"]:
        tries = "1 try" if len(attempts) == 1 else f"{len(attempts)} tries"
        rows.append(("network cut off", tries, "", "", "", _verdict(attempts)))
    failed = failed or bool(attempts)
    seconds = sum(stage["seconds"] for stage in run["stages"])
    rows.append(_line("all together", {"peak": peak}, seconds, _verdict(failed)))
    tried = [f"Something tried to use the network: {attempt}" for attempt in attempts]
    return "\n".join([_layout(rows), *tried]), not failed


def _attempts(folder: Path) -> list[str]:
    try:
        return (folder / "network.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def main(arguments: Sequence[str]) -> int:
    """Print the table of the folder that is named; 1 if anything failed."""
    try:
        text, passed = table(Path(arguments[0]))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{text}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
