"""What a drawing canvas draws on: plain arrays, without a browser.

A `Raster` keeps the drawing itself, in the size that a network takes; `coursekit.widgets_canvas`
shows it and turns the mouse into calls of it. So what is drawn by hand and what is drawn by code
are the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.segmentation import flood

from coursekit.core.errors import SettingError, ShapeError

Point = tuple[float, float]
Box = tuple[int, int, int, int]

_MOST_UNDONE = 50
_DETAIL = 4  # a sketch is kept so many times finer, for smooth lines


class Raster:
    """A square of values 0 … 255 (greys, or indices of classes) that can be painted on.

    Points are (x, y) in pixels of the picture: (0, 0) is the corner at the top left, (size, size)
    the one at the bottom right. They may lie outside.

    Args:
        size: pixels a side.
        background: the value that it begins with and that `clear` goes back to.
        smooth: keep it finer than ``size`` and average, for lines with soft edges; off for classes,
            which have no in-between.
        highest: the largest value that may be painted.

    Raises:
        SettingError: a size below 1 or a background that may not be painted.
    """

    def __init__(
        self, size: int, *, background: int = 0, smooth: bool = False, highest: int = 255
    ) -> None:
        if size < 1 or not 0 <= background <= highest <= 255:
            raise SettingError(f"{size=} counts from 1, {background=} is 0 … {highest=} ≤ 255.")
        self.size, self.background, self.highest = size, background, highest
        self.detail = _DETAIL if smooth else 1
        side = size * self.detail
        self.fine = np.full((side, side), background, dtype=np.uint8)
        self._past: list[np.ndarray] = []

    @property
    def values(self) -> np.ndarray:
        """The drawing, uint8 (size, size): a copy."""
        if self.detail == 1:
            return self.fine.copy()
        parts = self.fine.reshape(self.size, self.detail, self.size, self.detail)
        return parts.mean(axis=(1, 3)).round().astype(np.uint8)

    def remember(self) -> None:
        """Keep the drawing as it is now, for `undo`; call it before every stroke."""
        self._past = [*self._past[1 - _MOST_UNDONE :], self.fine.copy()]

    def stroke(self, points: Sequence[Point], value: int, width: float) -> Box:
        """A line through points with round ends; one point makes a dot.

        Args:
            points: at least one.
            value: what to paint.
            width: of the brush in pixels of the picture.

        Returns:
            The part of `fine` that may have changed: left, top, right, bottom, ends excluded.

        Raises:
            SettingError: no points, a point that is no number, a width that is not positive, or a
                value that may not be painted.
        """
        self._check(value)
        where = _places(points)
        if where is None or not width > 0:
            raise SettingError(f"A stroke needs points (x, y) and a width; got {points}, {width}.")
        # Far outside nothing is seen.
        where = where.clip(-2 * self.size, 3 * self.size) * self.detail
        radius = max(width * self.detail / 2, 0.75)
        left, top, right, bottom = box = self._box(where, radius)
        part = self.fine[top:bottom, left:right]
        ends = where[1:] if len(where) > 1 else where
        for start, end in zip(where, ends, strict=False):
            part[_near(box, start, end) <= radius] = value
        return box

    def _box(self, where: np.ndarray, radius: float) -> Box:
        side = len(self.fine)
        low = np.floor(where.min(axis=0) - radius).clip(0, side).astype(int)
        high = np.ceil(where.max(axis=0) + radius).clip(0, side).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def fill(self, point: Point, value: int) -> None:
        """Paint the connected area of one value around a point; nothing if it lies outside.

        Raises:
            SettingError: a value that may not be painted, or a point that is no number.
        """
        self._check(value)
        if _places([point]) is None:
            raise SettingError(f"An area is filled from a point (x, y); got {point}.")
        column, row = (int(np.floor(each * self.detail)) for each in point)
        if 0 <= row < len(self.fine) and 0 <= column < len(self.fine):
            # Soft edges of a line belong neither to it nor to the area: a tolerance takes them in.
            tolerance = 0 if self.detail == 1 else 60
            # In whole numbers with a sign: a difference of bytes would wrap around.
            whole = self.fine.astype(np.int16)
            self.fine[flood(whole, (row, column), connectivity=1, tolerance=tolerance)] = value

    def _check(self, value: int) -> None:
        if not 0 <= value <= self.highest or value % 1:
            raise SettingError(f"{value} cannot be painted; the values are 0 to {self.highest}.")

    def undo(self) -> bool:
        """Back to what was last remembered; False if there is nothing left to undo."""
        if not self._past:
            return False
        *self._past, self.fine = self._past
        return True

    def clear(self) -> None:
        """All background; can be undone."""
        self.remember()
        self.fine = np.full_like(self.fine, self.background)

    def load(self, values: np.ndarray) -> None:
        """Put another drawing in its place; can be undone.

        Args:
            values: whole numbers (size, size).

        Raises:
            ShapeError: another shape, or fractions.
            SettingError: a value that may not be painted. The drawing stays as it was.
        """
        if values.shape != (self.size, self.size) or values.dtype.kind not in "iu":
            raise ShapeError(
                f"A drawing is whole numbers ({self.size}, {self.size}), not {values.dtype} "
                f"{values.shape}."
            )
        for value in (int(values.min()), int(values.max())):
            self._check(value)
        self.remember()
        self.fine = values.astype(np.uint8).repeat(self.detail, 0).repeat(self.detail, 1)


def _places(points: Sequence[Point]) -> np.ndarray | None:
    """Points as numbers (n, 2), or ``None`` if that is not what they are."""
    try:
        where = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    proper = where.ndim == 2 and where.shape[1] == 2 and where.size and np.isfinite(where).all()
    return where if proper else None


def _near(box: Box, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How far the centre of every pixel in the box is from the line between two points."""
    left, top, right, bottom = box
    x = np.arange(left, right) + 0.5 - start[0]
    y = np.arange(top, bottom)[:, None] + 0.5 - start[1]
    along = end - start
    share = (x * along[0] + y * along[1]) / max(float(along @ along), 1e-12)
    share = share.clip(0, 1)
    return np.hypot(x - share * along[0], y - share * along[1])
