"""Discs on paper: two small tasks that show what a translation can and cannot do.

*Left to right.* X holds discs in the left half, Y discs in the right one. To translate is to move
by half a picture; how far a generator can move anything, the size of its receptive field says.

*Many colours to one.* X holds discs of all colours, Y discs of one colour. What colour a disc had
is not to be seen in Y; the cycle asks for it all the same.

Source: none; a small world of this course.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.datasets.base import Dataset, Info

ORANGE, BLUE, PAPER = (0.95, 0.5, 0.15), (0.2, 0.4, 0.9), 0.92
SIDES = ("left", "right", "anywhere")
_FINE = 4  # each pixel is the mean of so many by so many
_FAINT = 0.15  # what differs less from the paper is no ink


def discs(
    count: int,
    size: int = 32,
    *,
    side: str = "anywhere",
    colour: tuple[float, float, float] | None = None,
    seed: int = 0,
) -> Dataset:
    """One disc a picture, on light paper. Field: "image" uint8 (N, 3, size, size).

    Args:
        count: how many.
        size: pixels a side; a disc's radius is a tenth to a sixth of it.
        side: the half of the picture in which the disc lies whole: one of `SIDES`.
        colour: of all discs; a random hue each by default.
        seed: of places, sizes and hues.

    Raises:
        SettingError: a count below 1, a size below 16, or no such side.
    """
    if count < 1 or size < 16 or side not in SIDES:
        raise SettingError(f"{count=} counts from 1, {size=} from 16; {side=} is one of {SIDES}.")
    draw = runtime.generator(seed)
    radius = (0.1 + 0.06 * torch.rand(count, generator=draw)) * size
    place = torch.rand(count, 2, generator=draw)
    first = size / 2 if side == "right" else 0.0
    width = size if side == "anywhere" else size / 2
    across = first + radius + place[:, 0] * (width - 2 * radius)
    down = radius + place[:, 1] * (size - 2 * radius)
    paint = hues(torch.rand(count, generator=draw)) if colour is None else torch.tensor([colour])
    masks = _masks(across, down, radius, size)
    images = masks * paint[:, :, None, None] + (1 - masks) * PAPER
    content = f"discs {'anywhere' if side == 'anywhere' else f'on the {side}'}"
    info = Info("discs", content, "MIT", synthetic=True, source="drawn by the course")
    return Dataset(info, {"image": (255 * images).round().to(torch.uint8)})


def hues(turn: Tensor) -> Tensor:
    """Strong colours around the colour circle: (N,) in [0, 1) → RGB (N, 3) in [0, 1]."""
    shifts = torch.tensor([0.0, 2 / 3, 1 / 3])
    distance = ((turn[:, None] + shifts) % 1 - 0.5).abs()  # 0.5 at the colour's own third
    return 0.1 + 0.8 * (6 * distance - 1).clamp(0, 1)


def _masks(across: Tensor, down: Tensor, radius: Tensor, size: int) -> Tensor:
    """The share of each pixel that a disc covers, (N, 1, size, size)."""
    grid = (torch.arange(size * _FINE) + 0.5) / _FINE
    x, y = grid - across[:, None], grid - down[:, None]
    inside = x[:, None, :].square() + y[:, :, None].square() <= radius[:, None, None].square()
    return F.avg_pool2d(inside[:, None].float(), _FINE)


def ink(images: Tensor) -> Tensor:
    """How far each pixel is from the paper, whatever the colour: (N, H, W); 0 where nearly paper.

    Pictures are (N, 3, H, W) in [0, 1].

    Raises:
        ShapeError: not (N, 3, H, W).
    """
    if images.dim() != 4 or images.shape[1] != 3:
        raise ShapeError(f"Expected (N, 3, H, W), got {tuple(images.shape)}.")
    distance = (images - PAPER).abs().amax(dim=1)
    return torch.where(distance > _FAINT, distance, 0.0)


def across(images: Tensor) -> Tensor:
    """Where the ink lies from left to right, (N,): 0 the left edge, 1 the right one.

    NaN where there is no ink. Images (N, 3, H, W) in [0, 1].
    """
    profile = ink(images).sum(dim=1)
    places = (torch.arange(profile.shape[1]) + 0.5) / profile.shape[1]
    return (profile * places).sum(dim=1) / profile.sum(dim=1)


def colour_error(images: Tensor, originals: Tensor) -> Tensor:
    """How far the mean colour under the original's disc is from the original's, (N,) in [0, 1].

    The mean absolute difference of the three channels. Both (N, 3, H, W) in [0, 1].

    Raises:
        ShapeError: the two differ in shape.
    """
    if images.shape != originals.shape:
        raise ShapeError(f"{tuple(images.shape)} against {tuple(originals.shape)}.")
    weight = (ink(originals) > 0).float()[:, None]
    total = weight.sum(dim=(2, 3)).clamp(min=1)
    means = [(weight * each).sum(dim=(2, 3)) / total for each in (images, originals)]
    return (means[0] - means[1]).abs().mean(dim=1)
