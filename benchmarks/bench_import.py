"""How long ``import coursekit`` takes in fresh processes."""

from __future__ import annotations

import argparse
import statistics
import time

import harness

INSIDE = "import time; t = time.perf_counter(); import coursekit; print(time.perf_counter() - t)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    inside: list[float] = []
    whole = harness.race(
        {
            "python -c 'import coursekit'": lambda: harness.in_new_process(
                "-c", "import coursekit"
            ),
            "python -c pass": lambda: harness.in_new_process("-c", "pass"),
            "inside": lambda: inside.append(float(harness.in_new_process("-c", INSIDE))),
        },
        rounds,
        warm_up=1,
    )
    del whole["inside"]
    rows = [[name, f"{statistics.median(times):.3f} s"] for name, times in whole.items()]
    rows.append(["the import statement alone", f"{statistics.median(inside):.3f} s"])
    print(time.strftime("%Y-%m-%d"), f"medians of {rounds} fresh processes")
    print(harness.table(["what", "seconds"], rows))


if __name__ == "__main__":
    main()
