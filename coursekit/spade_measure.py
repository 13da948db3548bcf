"""Measures of topic 14: does a generated picture show what its label map asks for?"""

from __future__ import annotations

import torch

from coursekit.datasets import base, scenes

TRAINING, HELD_OUT = 0, 1000  # seeds of scenes; the segmenter has learned from others


def both_times(count: int, seed: int = TRAINING, *, size: int = 64) -> base.Dataset:
    """Every scene twice, by day and by night: "image" and "labels", the days first.

    Args:
        count: of scenes, half the number of entries.
        seed: of the scenes: `TRAINING` or `HELD_OUT`.
        size: in pixels.
    """
    found = scenes.scenes(count, size, seed=seed)
    fields = {
        "image": torch.cat([found.fields["image"], found.fields["night"]]),
        "labels": found.fields["labels"].repeat(2, 1, 1),
    }
    info = {"name": "scenes by day and night", "content": "landscapes with label maps"}
    return base.Dataset(found.info, fields).renamed(**info)
