"""The demonstration of notebook 00: an exercise that no notebook asks for and nobody grades."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit.core.runtime import generator
from coursekit.exercises.engine import Case, Exercise, Mistake


def grey(images: Tensor) -> Tensor:
    """Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601): (N, 3, H, W) to (N, 1, H, W)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype)
    return (weights.view(1, 3, 1, 1) * images).sum(dim=1, keepdim=True)


def _pictures(count: int, height: int, width: int) -> Callable[[], tuple[Tensor]]:
    return lambda: (torch.rand(count, 3, height, width, generator=generator(count)),)


EXERCISES = (
    Exercise(
        id="start.grey",
        title="From colours to grey",
        points=0,
        stub='''
def grey(images):
    """0.299 R + 0.587 G + 0.114 B of pictures (N, 3, H, W), as (N, 1, H, W)."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=grey,
        cases=(
            Case("two pictures", _pictures(2, 12, 12)),
            Case("a wide picture", _pictures(1, 6, 16)),
        ),
        hints=(
            "Green looks brighter than blue: the three channels do not count the same.",
            "Each channel has a weight of its own; what runs over the channels is a weighted sum.",
            "images[:, 1:2] is the green channel, and it keeps its axis.",
        ),
        difficulty="easy",
        mistakes=(
            Mistake(
                "plain mean",
                lambda images: images.mean(dim=1, keepdim=True),
                "Blue counts as much as green.",
                "the plain mean over the channels is taken: each should have its own weight.",
            ),
            Mistake(
                "blue and red exchanged",
                lambda images: grey(images.flip(1)),
                "Red is too dark and blue too bright.",
                "the weights stand in the order B, G, R.",
            ),
            Mistake(
                "axis lost",
                lambda images: grey(images)[:, 0],
                "The channel axis is gone.",
                "sum(dim=1) drops the axis: keepdim=True keeps it.",
            ),
        ),
    ),
)
