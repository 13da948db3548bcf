"""Label maps that come as pictures: each class in one colour, perhaps blurred by a JPEG file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coursekit.core.errors import SettingError, ShapeError

_STEP = 8  # colours are counted in cells of so many shades a channel
_APART = 40.0  # colours nearer than this, of 255, are one class: the noise of a JPEG file is less

Palette = Sequence[Sequence[int]]


def palette_of(pictures: Tensor, classes: int) -> list[tuple[int, int, int]]:
    """The colours that most pixels have, the most frequent first.

    Args:
        pictures: uint8 (N, 3, H, W).
        classes: at most so many colours; fewer if no more are far enough from each other.

    Raises:
        ShapeError: not such pictures.
        SettingError: ``classes`` below 1.
    """
    if classes < 1:
        raise SettingError(f"{classes=} counts from 1.")
    pixels = _pixels(pictures)
    cells, member, counts = (pixels // _STEP).unique(dim=0, return_inverse=True, return_counts=True)
    sums = torch.zeros(cells.shape, dtype=torch.long).index_add_(0, member, pixels.long())
    colours = (sums / counts[:, None]).round()
    chosen: list[Tensor] = []
    for index in counts.argsort(descending=True, stable=True).tolist():
        if all((colours[index] - each).norm() >= _APART for each in chosen):
            chosen.append(colours[index])
        if len(chosen) == classes:
            break
    return [(int(red), int(green), int(blue)) for red, green, blue in chosen]


def labels_of(pictures: Tensor, palette: Palette) -> Tensor:
    """For every pixel the colour of the palette that is nearest: uint8 (N, H, W).

    Args:
        pictures: uint8 (N, 3, H, W).
        palette: (red, green, blue) from 0 to 255, 1 to 256 of them.

    Raises:
        ShapeError: not such pictures.
        SettingError: no colours, too many, or one that is none.
    """
    if not 1 <= len(palette) <= 256:
        raise SettingError(f"A palette has 1 to 256 colours, not {len(palette)}.")
    wrong = [each for each in palette if len(each) != 3 or not all(0 <= c <= 255 for c in each)]
    if wrong:
        raise SettingError(f"{wrong[0]} is no colour; give (red, green, blue) from 0 to 255.")
    pixels, member = _pixels(pictures).unique(dim=0, return_inverse=True)
    colours = torch.tensor(palette, dtype=torch.float)
    nearest = torch.cat(
        [torch.cdist(part, colours).argmin(1) for part in pixels.float().split(4096)]
    )
    count, _, height, width = pictures.shape
    return nearest[member].to(torch.uint8).view(count, height, width)


def _pixels(pictures: Tensor) -> Tensor:
    shape = pictures.dim() == 4 and pictures.shape[1] == 3 and pictures.numel()
    if pictures.dtype != torch.uint8 or not shape:
        raise ShapeError(
            f"Expected pictures uint8 (N, 3, H, W), got {pictures.dtype} {tuple(pictures.shape)}."
        )
    return pictures.movedim(1, -1).reshape(-1, 3)
