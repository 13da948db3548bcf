"""How many pictures a second the renderers draw: faces, and scenes by day and night."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import harness
import torch

from coursekit.datasets import faces, scenes

COUNT, SIZE, ROUNDS = 1024, 64, 5


def pictures_per_second(draw: Callable[[], object], pictures: int) -> list[float]:
    """Rates of ``ROUNDS`` calls, after one that warms up."""
    draw()
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        draw()
        rates.append(pictures / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Print a line for each renderer."""
    of_faces, of_scenes = faces.sample_factors(COUNT), scenes.sample_factors(COUNT)
    print(f"{COUNT} of each at {SIZE}×{SIZE} · {harness.machine(torch.get_num_threads())}")
    renderers = {
        "faces": (lambda: faces.render(of_faces, SIZE), COUNT),
        "scenes, day": (lambda: scenes.render(of_scenes, SIZE, night=False), COUNT),
        "scenes, day and night": (lambda: scenes.render(of_scenes, SIZE), 2 * COUNT),
    }
    for name, (draw, pictures) in renderers.items():
        rates = pictures_per_second(draw, pictures)
        low, high = min(rates), max(rates)
        print(f"{name:<22} {statistics.median(rates):6.0f} pictures/s ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
