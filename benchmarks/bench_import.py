"""Import: what `import coursekit` takes in fresh processes.

*Python alone* starts and ends; *with the course* imports it in between. On the wall clock, whatever
the others are on: the time passes in other processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import harness

from coursekit.bench_results import Table

PROGRAMS = {"Python alone": "pass", "with the course": "import coursekit"}


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    calls = {
        name: lambda code=code: harness.in_new_process("-c", code)
        for name, code in PROGRAMS.items()
    }
    seconds = harness.race(calls, options, warm_up=1, clock="wall")
    yield harness.table("a process", seconds)


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=15)
