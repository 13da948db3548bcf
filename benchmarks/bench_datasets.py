"""Rendering: pictures a second of faces and scenes.

1,024 pictures of each kind at 64×64: faces with masks and landmarks, scenes with label maps. Of
scenes by day and night each of the two counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import harness

from coursekit.bench_results import Table
from coursekit.datasets import faces, scenes

SIZE = 64


def renderers(count: int) -> dict[str, tuple[Callable[[], object], int]]:
    """What draws, and how many pictures at once."""
    of_faces, of_scenes = faces.sample_factors(count), scenes.sample_factors(count)
    return {
        "faces": (lambda: faces.render(of_faces, SIZE), count),
        "scenes by day": (lambda: scenes.render(of_scenes, SIZE, night=False), count),
        "scenes by day and night": (lambda: scenes.render(of_scenes, SIZE), 2 * count),
    }


def rates(pictures: int, times: list[float]) -> str:
    low, middle, high = (
        pictures / seconds for seconds in (max(times), sorted(times)[len(times) // 2], min(times))
    )
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=1024, help="pictures of each kind")


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    jobs = renderers(options.count)
    calls = {name: draw for name, (draw, _) in jobs.items()}
    seconds = harness.race(calls, options, warm_up=1)
    more = {
        name: {"pictures a second (range)": rates(jobs[name][1], times)}
        for name, times in seconds.items()
    }
    yield harness.table(f"{options.count} pictures", seconds, more=more, ratios=False)


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=5, add_options=add_options)
