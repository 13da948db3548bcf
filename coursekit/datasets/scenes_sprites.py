"""Sprites: the trees and houses of many scenes computed at once, then laid on in their order.

Things differ in size by a factor of ten, so that a common frame would be mostly empty. Here the
pixels of all things of a family lie one after the other in flat tensors (P,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.datasets.scenes_canvas import (
    COVER,
    HAZE,
    LAMP,
    LIGHT,
    PLANES,
    Canvas,
    Paint,
    over,
)

_CLAIM = 0.15  # of a pixel: how much less than half of one is enough, so that no seam stays open


@dataclass(frozen=True)
class Things:
    """n things of one family, in n places.

    Attributes:
        scenes: (n,) the scene of each.
        slots: (n,) its number among the scene's trees or houses.
        order: (n,) how many things of the scene are drawn before it; never falls.
        x, y: (n,) its foot, fractions of the picture.
        haze: (n,) how pale it is.
    """

    scenes: Tensor
    slots: Tensor
    order: Tensor
    x: Tensor
    y: Tensor
    haze: Tensor

    def where(self, chosen: Tensor) -> Things:
        """Those for which ``chosen`` (n,) is true."""
        return Things(
            self.scenes[chosen], self.slots[chosen], self.order[chosen], self.x[chosen],
            self.y[chosen], self.haze[chosen],
        )  # fmt: skip


class Sprites:
    """The pixels of n things, nothing on them at first.

    Args:
        canvas: they will be laid on.
        things: which.
        scale: (n,) length of a thing's own unit, fraction of the picture.
        boxes: (n, 4) or (4,), left, right, bottom and top of a thing in its own units.

    Attributes:
        thing: (P,) the thing that a pixel belongs to.
        u, v: (P,) place in the thing's own units, from its foot to the right and up.
        planes: (8, P), multiplied by cover, as those of the canvas.
        labels: (P,), -1 where there is nothing.
    """

    def __init__(self, canvas: Canvas, things: Things, scale: Tensor, boxes: Tensor) -> None:
        side, (left, right, bottom, top) = canvas.side, boxes.expand(len(scale), 4).T
        first_column, columns = _span(things.x + left * scale, things.x + right * scale, side)
        first_row, rows = _span(things.y - top * scale, things.y - bottom * scale, side)
        self.count = rows * columns
        self.thing = torch.repeat_interleave(self.count)
        start = self.count.cumsum(0) - self.count
        number = torch.arange(len(self.thing)) - self.per(start)
        row = torch.div(number, self.per(columns), rounding_mode="floor")
        column = number - row * self.per(columns) + self.per(first_column)
        row = row + self.per(first_row)
        self.canvas, self.things, self.resolution = canvas, things, self.per(scale * side)
        self.index = (self.per(things.scenes) * side + row) * side + column
        scale = self.per(scale)
        self.u = ((column + 0.5) / side - self.per(things.x)) / scale
        self.v = (self.per(things.y) - (row + 0.5) / side) / scale
        self.planes = torch.zeros(len(PLANES), len(self.thing))
        self.labels = torch.full((len(self.thing),), -1.0)

    def per(self, value: Tensor) -> Tensor:
        """Values (…, n) of things as values (…, P) of their pixels."""
        return value.index_select(-1, self.thing)

    def edge(self, inside: Tensor) -> Tensor:
        """How much of a pixel lies inside; ``inside`` is a distance in the thing's own units."""
        return (inside * self.resolution + 0.5).clamp(0, 1)

    def lay(self, alpha: Tensor, paint: Paint) -> None:
        """Lay an opaque part on the sprites; every value of ``paint`` must be given."""
        assert paint.light is not None and paint.haze is not None and paint.label is not None
        over(self.planes[:3], paint.own, alpha)
        over(self.planes[LIGHT], paint.light, alpha)
        over(self.planes[HAZE], paint.haze, alpha)
        over(self.planes[COVER], 1.0, alpha)
        over(self.planes[LAMP], paint.lamp, alpha)
        over(self.labels, paint.label, (alpha + _CLAIM).round())

    def ranks(self) -> Tensor:
        """First pixel of each rank in the drawing order, (ranks + 1,)."""
        order = self.things.order
        counts = torch.zeros(int(order[-1]) + 2, dtype=torch.int64)
        counts.index_add_(0, order + 1, self.count)
        return counts.cumsum(0)


def _span(start: Tensor, end: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """First pixel and number of pixels between two fractions of the picture."""
    first = (start * side).floor().clamp(0, side).to(torch.int64)
    last = (end * side).ceil().clamp(0, side).to(torch.int64)
    return first, last - first


def compose(canvas: Canvas, families: Sequence[Sprites]) -> None:
    """Lay the sprites of all families on the canvas, the farthest first."""
    planes, labels = canvas.planes.flatten(1), canvas.labels.view(-1)
    ranks = [family.ranks().tolist() for family in families]
    for rank in range(max((len(starts) for starts in ranks), default=1) - 1):
        for family, starts in zip(families, ranks, strict=True):
            if rank + 1 < len(starts) and starts[rank] < starts[rank + 1]:
                _put(planes, labels, family, slice(starts[rank], starts[rank + 1]))


def _put(planes: Tensor, labels: Tensor, family: Sprites, part: slice) -> None:
    index, sprite = family.index[part], family.planes[:, part]
    under = planes.index_select(1, index) * (1 - sprite[COVER])
    planes.index_copy_(1, index, under.add_(sprite))
    label = family.labels[part]
    labels.index_copy_(0, index, torch.where(label < 0, labels[index], label))
