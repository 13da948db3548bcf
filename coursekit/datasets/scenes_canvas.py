"""What a scene is painted on: not colours under a light, but what is where and how it stands.

A scene is painted once, from back to front, and lit twice (`scenes_light`), by day and by night.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLASSES = (
    "sky", "cloud", "sun or moon", "mountain", "snow", "grass", "water", "road", "tree", "wall",
    "roof", "window", "door",
)  # fmt: skip
# Colours of label maps: near the things' own, yet far from each other.
PALETTE = (
    (126, 186, 232), (240, 242, 248), (255, 214, 64), (128, 118, 128), (196, 216, 240),
    (124, 184, 80), (42, 104, 200), (96, 88, 84), (26, 98, 48), (232, 184, 140), (184, 60, 44),
    (92, 52, 168), (112, 64, 30),
)  # fmt: skip
# Colour is the thing's own, multiplied by cover; light runs from 0 (in shade) to 1 (facing the
# light), haze from 0 (near) to 1 (as pale as the horizon); cover is 0 where the sky is seen.
PLANES = ("red", "green", "blue", "light", "haze", "cover", "wet", "lamp")
LIGHT, HAZE, COVER, WET, LAMP = range(3, 8)


def colour(*codes: str) -> Tensor:
    """Hex colours such as "1b2a6b" as a tensor (n, 3) in [0, 1]."""
    rows = [[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes]
    return torch.tensor(rows)


WALL = colour("f3eee2", "e8d5a6", "d9a066", "d8a79b", "b9c7cf", "a5523f")  # of houses
ROOF = colour("b5563a", "6f5140", "59616e", "8f3a35")


def index_of(label: str) -> float:
    """The class as the canvas stores it."""
    return float(CLASSES.index(label))


@dataclass(frozen=True)
class Paint:
    """What is laid over a part of the canvas or of a sprite; every value broadcasts to it.

    Attributes:
        own: the thing's colour, (3, …).
        light, haze: see `PLANES`; None keeps what is below.
        label: index of the class; None keeps the class below and its cover.
        lamp: 1 for a window that is lit at night.
    """

    own: Tensor
    light: Tensor | float | None = None
    haze: Tensor | float | None = None
    label: Tensor | float | None = None
    lamp: Tensor | float = 0.0


def over(below: Tensor, value: Tensor | float, alpha: Tensor) -> None:
    """Lay ``value`` over ``below``, in place."""
    below += (value - below) * alpha


def lay(planes: Tensor, labels: Tensor, alpha: Tensor, paint: Paint) -> None:
    """Paint on planes (8, …) and labels (…) where ``alpha`` (…) is above 0, in place.

    The label changes where ``alpha`` is more than half.
    """
    over(planes[:3], paint.own, alpha)
    if paint.light is not None:
        over(planes[LIGHT], paint.light, alpha)
    if paint.haze is not None:
        over(planes[HAZE], paint.haze, alpha)
    if paint.label is not None:
        over(planes[COVER], 1.0, alpha)
        over(planes[WET], 0.0, alpha)
        over(planes[LAMP], paint.lamp, alpha)
        over(labels, paint.label, alpha.round())


@dataclass(frozen=True)
class Mirror:
    """Which pixel of the sky each pixel of a lake shows.

    Attributes:
        scenes: (M,) those with a lake.
        rows: that the lakes can reach.
        source: (M, R, S), index into the S·S pixels of the scene.
        glitter: (M, R, S), how much of the sun or moon sparkles there.
    """

    scenes: Tensor
    rows: slice
    source: Tensor
    glitter: Tensor


class Canvas:
    """Planes (8, N, S, S) and labels (N, S, S) of a batch of N scenes of side S.

    Attributes:
        planes: see `PLANES`; at first nothing but open sky.
        labels: float, indices into `CLASSES`.
        mirror: what the lake shows of the sky, once there is a lake.
        x: (1, 1, S) and y: (1, S, 1), centres of the pixels as fractions of the picture.
    """

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side
        self.mirror: Mirror | None = None
        self.planes = torch.zeros(len(PLANES), count, side, side)
        self.labels = torch.zeros(count, side, side)
        line = (torch.arange(side) + 0.5) / side
        self.x, self.y = line.view(1, 1, -1), line.view(1, -1, 1)

    def rows(self, reach: tuple[float, float]) -> slice:
        """The rows between two heights of the picture."""
        return slice(int(reach[0] * self.side), int(-(-reach[1] * self.side // 1)))

    def edge(self, inside: Tensor) -> Tensor:
        """How much of a pixel lies inside; ``inside`` is the distance to the edge, positive in."""
        return (inside * self.side + 0.5).clamp(0, 1)

    def paint(self, rows: slice, alpha: Tensor, paint: Paint) -> None:
        """Lay paint over whole rows; ``alpha`` is (N, R, S)."""
        lay(self.planes[:, :, rows], self.labels[:, rows], alpha, paint)

    def relabel(self, rows: slice, alpha: Tensor, label: str) -> None:
        """Give another class to what is painted already, where ``alpha`` is more than half."""
        over(self.labels[:, rows], index_of(label), alpha.round())
