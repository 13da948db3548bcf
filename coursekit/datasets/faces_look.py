"""Rendered faces: what the named choices look like. Colours are red, green, blue in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

MASK_CLASSES = (
    "background",
    "back hair",
    "cloth",
    "neck",
    "ear",
    "skin",
    "nose",
    "eye",
    "iris",
    "brow",
    "lip",
    "mouth",
    "beard",
    "hair",
    "glasses",
)
LABEL = {name: index for index, name in enumerate(MASK_CLASSES)}

Palette = Mapping[str, tuple[float, float, float]]

SKIN: Palette = {
    "porcelain": (0.98, 0.86, 0.78),
    "fair": (0.95, 0.78, 0.65),
    "tan": (0.87, 0.67, 0.51),
    "olive": (0.75, 0.54, 0.38),
    "brown": (0.59, 0.40, 0.28),
    "deep": (0.44, 0.29, 0.21),
}
HAIR: Palette = {
    "black": (0.13, 0.12, 0.14),
    "espresso": (0.24, 0.16, 0.13),
    "chestnut": (0.40, 0.25, 0.16),
    "auburn": (0.49, 0.22, 0.14),
    "ginger": (0.76, 0.40, 0.18),
    "blond": (0.88, 0.70, 0.42),
    "grey": (0.66, 0.66, 0.68),
}
IRIS: Palette = {
    "brown": (0.36, 0.22, 0.13),
    "blue": (0.32, 0.52, 0.68),
    "green": (0.36, 0.50, 0.32),
    "grey": (0.46, 0.50, 0.54),
}
SHIRTS: Palette = {
    "blue": (0.25, 0.38, 0.56),
    "teal": (0.24, 0.55, 0.58),
    "green": (0.36, 0.56, 0.42),
    "mustard": (0.86, 0.72, 0.38),
    "orange": (0.87, 0.52, 0.34),
    "red": (0.78, 0.34, 0.34),
    "pink": (0.82, 0.55, 0.60),
    "violet": (0.50, 0.38, 0.58),
    "white": (0.90, 0.88, 0.84),
    "charcoal": (0.28, 0.29, 0.34),
}
BACKGROUNDS: Palette = {
    "sky": (0.60, 0.76, 0.86),
    "mint": (0.58, 0.80, 0.78),
    "leaf": (0.68, 0.82, 0.66),
    "straw": (0.88, 0.86, 0.66),
    "peach": (0.95, 0.80, 0.62),
    "coral": (0.94, 0.72, 0.64),
    "rose": (0.90, 0.74, 0.80),
    "lilac": (0.76, 0.72, 0.88),
    "pearl": (0.84, 0.85, 0.88),
    "dusk": (0.62, 0.68, 0.80),
}


@dataclass(frozen=True)
class Style:
    """A hair style: where the hairline runs and how far the hair reaches.

    Attributes:
        top: height of the hairline from the middle of the head, in half heads (-1 is the crown).
        fall: how far the line comes down beside the parting, in half heads.
        part: the angle of the parting from the middle of the face, radians.
        temple: the angle at which the hair reaches down the side, radians.
        side: how far down it reaches there (height in the picture).
        rise: how much it adds to the height of the head.
        wide: its width in head widths.
        length: down to where it hangs (height in the picture); -1 for short hair.
        hang: half the width of the hanging part in head widths.
        wave: how wavy the outline is.
        quiff, bun: 1 if hair is piled up in front or on top.
        ears: 1 if the ears show.
    """

    top: float
    fall: float
    part: float
    temple: float
    side: float
    rise: float
    wide: float
    length: float = -1.0
    hang: float = 1.0
    wave: float = 0.0
    quiff: float = 0.0
    bun: float = 0.0
    ears: float = 0.0


STYLES = {
    "crop": Style(-0.60, 0.10, 0.0, 1.10, 0.02, 0.05, 1.035, ears=1),
    "swept": Style(-0.62, 0.34, -0.55, 1.12, 0.08, 0.12, 1.07, ears=1),
    "quiff": Style(-0.58, 0.06, 0.0, 1.10, 0.02, 0.06, 1.03, quiff=1, ears=1),
    "bob": Style(-0.40, 0.03, 0.0, 0.98, 2.0, 0.12, 1.12, 0.46, 1.16),
    "long": Style(-0.74, 0.62, 0.0, 1.00, 2.0, 0.09, 1.09, 1.6, 1.13),
    "wavy": Style(-0.70, 0.52, 0.50, 1.02, 2.0, 0.14, 1.13, 0.95, 1.24, wave=0.035),
    "curly": Style(-0.50, 0.06, 0.0, 1.04, 0.16, 0.18, 1.28, wave=0.028),
    "bun": Style(-0.62, 0.12, 0.0, 1.14, 0.06, 0.05, 1.035, bun=1, ears=1),
}


def rgb(red: float, green: float, blue: float) -> Tensor:
    """One colour, (3, 1, 1)."""
    return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]


def pick(palette: Palette, choice: Tensor) -> Tensor:
    """The chosen colours, (N, 3, 1, 1); ``choice`` is int64 (N,)."""
    return torch.tensor(list(palette.values()))[choice][:, :, None, None]


def blend(palette: Palette, place: Tensor) -> Tensor:
    """A colour between two neighbours of a closed circle of colours, (N, 3, 1, 1).

    Args:
        palette: the circle.
        place: where on it, in [0, 1], (N, 1, 1).
    """
    colours = torch.tensor(list(palette.values()))
    position = place.flatten().double() * len(colours)
    first = position.long() % len(colours)
    rest = (position - position.floor()).float()[:, None]
    between = torch.lerp(colours[first], colours[(first + 1) % len(colours)], rest)
    return between[:, :, None, None]
