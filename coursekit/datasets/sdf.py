"""A small drawing kit: shapes as signed distances, painted in batches on a canvas with labels.

A shape is a tensor (N, h, w): the distance of each pixel to its edge, negative inside. The origin
is the middle of the picture, x points to the right and y down; a canvas says how far it reaches.
"""

from __future__ import annotations

import torch
from torch import Tensor

Box = tuple[slice, slice]
WHOLE: Box = (slice(None), slice(None))


def ellipse(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """Distance to an ellipse around the origin with these half axes (first order, fast)."""
    across, along = x / width, y / height
    radius = (across * across + along * along).add_(1e-9).sqrt_()
    across, along = across.div_(width), along.div_(height)
    slope = (across.mul_(across) + along.mul_(along)).add_(1e-9).sqrt_()
    return (radius - 1).mul_(radius).div_(slope)


def box(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """Distance to a rectangle around the origin with these half sides (corners stay sharp)."""
    return torch.maximum(x.abs() - width, y.abs() - height)


def join(a: Tensor, b: Tensor, blend: float) -> Tensor:
    """The union of two shapes with a rounded seam as wide as ``blend``."""
    seam = (blend - (a - b).abs()).clamp_(min=0)
    return torch.minimum(a, b).sub_((seam * seam).div_(4 * blend))


def step(value: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Rise smoothly from 0 (``value <= low``) to 1 (``value >= high``)."""
    t = ((value - low) / (high - low)).clamp_(0, 1)
    return (t * -2).add_(3).mul_(t * t)


def bump(value: Tensor, width: Tensor | float) -> Tensor:
    """1 at 0 and falling to both sides: a cheap bell of this width."""
    q = value / width
    wide = (q * q).add_(1)
    return 1 / wide.mul_(wide)


def crop(field: Tensor, at: Box) -> Tensor:
    """The part of a field (..., h, w) inside a window."""
    return field[..., at[0], at[1]]


class Canvas:
    """Pictures in the making, with one label a pixel.

    Args:
        count: how many pictures.
        size: pixels a side of the finished pictures; painting happens at twice that.
        reach: the coordinates run from ``-reach`` (left, top) to ``reach`` (right, bottom).

    Attributes:
        image: float (N, 3, 2 size, 2 size).
        label: uint8 (N, size, size).
        x, y: the coordinates of the painted pixels, (2 size, 2 size).
        pixel: the side of a painted pixel.
    """

    def __init__(self, count: int, size: int, reach: float = 1.0) -> None:
        side = 2 * size
        axis = ((torch.arange(side) + 0.5) / side * 2 - 1) * reach
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")
        self.image = torch.zeros(count, 3, side, side)
        self.label = torch.zeros(count, size, size, dtype=torch.uint8)
        self.reach, self.pixel = reach, 2 * reach / side

    def window(self, left: float, right: float, top: float, bottom: float) -> Box:
        """The part of the canvas that covers these bounds, on even pixels."""

        def span(low: float, high: float) -> slice:
            cells = self.image.shape[-1] // 2
            low, high = ((edge / self.reach + 1) / 2 * cells for edge in (low, high))
            return slice(2 * max(0, int(low)), 2 * min(cells, int(high) + 1))

        return span(top, bottom), span(left, right)

    def cover(
        self, distance: Tensor, soft: float = 0.0, opacity: Tensor | float | None = None
    ) -> Tensor:
        """How much of each pixel a shape covers, (N, h, w) in [0, 1].

        Args:
            distance: the shape.
            soft: how wide its edge fades out; at least one pixel.
            opacity: a factor on the result.
        """
        width = max(soft, self.pixel)
        alpha = (distance * (-1 / width)).add_(0.5).clamp_(0, 1)
        if soft > 2 * self.pixel:
            alpha = (alpha * -2).add_(3).mul_(alpha * alpha)
        return alpha if opacity is None else alpha.mul_(opacity)

    def paint(
        self,
        distance: Tensor,
        colour: Tensor,
        label: int | None = None,
        *,
        soft: float = 0.0,
        opacity: Tensor | float | None = None,
        at: Box = WHOLE,
    ) -> None:
        """Lay a colour, (N, 3, 1, 1) or (N, 3, h, w), over the pixels of a shape."""
        alpha = self.cover(distance, soft, opacity)
        crop(self.image, at).lerp_(colour, alpha[:, None])
        if label is not None:
            self._mark(alpha[:, ::2, ::2] > 0.5, label, at)

    def mark(self, distance: Tensor, label: int, at: Box = WHOLE) -> None:
        """Label the pixels of a shape and leave the picture as it is."""
        self._mark(distance[:, ::2, ::2] < 0, label, at)

    def _mark(self, inside: Tensor, label: int, at: Box) -> None:
        rows, columns = (
            slice(None) if s == slice(None) else slice(s.start // 2, s.stop // 2) for s in at
        )
        self.label[:, rows, columns].masked_fill_(inside, label)

    def finish(self) -> Tensor:
        """The pictures (N, 3, size, size) in [0, 1]."""
        return torch.nn.functional.avg_pool2d(self.image.clamp_(0, 1), 2)
