"""The segmenter that measures scenes: ``coursekit train segment --recipe scenes``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from coursekit.core import segmenter
from coursekit.datasets.scenes import CLASSES, scenes

TRAIN, HELD_OUT, BATCH = 4000, 500, 32
# No topic draws its scenes from these seeds: what it measures with has not seen what it measures.
TRAIN_SEED, HELD_OUT_SEED = 2000, 2001


def scenes_by_day_and_night(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """``count`` scenes twice: pictures uint8 (2 · count, 3, 64, 64), labels (2 · count, 64, 64)."""
    fields = scenes(count, 64, seed=seed).fields
    return torch.cat([fields["image"], fields["night"]]), fields["labels"].repeat(2, 1, 1)


def course(folder: Path, *, steps: int = 1500, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train the segmenter of 64-pixel scenes by day and by night, and measure it on other scenes.

    About ten minutes on one core. The header holds pixel accuracy, mean IoU and the IoU of every
    class on held-out scenes by day and by night.

    Args:
        folder: keeps ``checkpoint.pt`` while it trains, and gets ``scenes.safetensors``.
        steps: training steps of 32 pictures.
        seed: of the weights and batches.
        progress: print the loss now and then.
    """
    images, labels = scenes_by_day_and_night(TRAIN, TRAIN_SEED)

    def report(step: int, loss: float) -> None:
        if progress and (step + 1) % 100 == 0:
            print(f"step {step + 1:,} of {steps:,}: loss {loss:.3f}", flush=True)

    found = segmenter.fit(
        images,
        labels,
        len(CLASSES),
        steps=steps,
        batch=BATCH,
        seed=seed,
        folder=folder,
        report=report,
    )
    about = {
        "recipe": "segment scenes",
        "data": f"{TRAIN:,} scenes by day and by night, 64×64, seed {TRAIN_SEED}",
        "steps": steps,
        "seed": seed,
        "measured": measure(found),
    }
    return [segmenter.save(found, folder / "scenes.safetensors", about)]


def measure(network: segmenter.Segmenter) -> dict[str, dict[str, object]]:
    """The segmenter's own scores on scenes it has not seen, by day and by night."""
    images, labels = scenes_by_day_and_night(HELD_OUT, HELD_OUT_SEED)
    predicted = network.predict(images)
    halves = {"day": slice(0, HELD_OUT), "night": slice(HELD_OUT, None)}
    return {
        time: segmenter.score(predicted[half], labels[half].long(), CLASSES).facts()
        for time, half in halves.items()
    }
