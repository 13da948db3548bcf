"""Rendered faces: eyes, brows and nose."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.faces_head import SIDES, Head
from coursekit.datasets.faces_look import IRIS, LABEL, pick, rgb
from coursekit.datasets.sdf import Box, Canvas, crop

Point = tuple[Tensor, Tensor]


def eye_window(canvas: Canvas, side: int) -> Box:
    """The part of the canvas where the left (-1) or the right (1) eye can be, with its brow."""
    left, right = sorted((side * 0.72, side * -0.30))
    return canvas.window(left, right, -0.45, 0.25)


def eye_places(head: Head) -> dict[int, Point]:
    """Where the two eyes stand across the picture and how narrow they look, by side."""
    angles = {side: side * head.t["eye_spacing"] for side in SIDES}
    return {s: (head.point(a, head.EYES), head.narrowing(a)) for s, a in angles.items()}


class Eye:
    """One eye and its brow.

    Args:
        head: whose eye.
        canvas: to paint on.
        side: -1 left, 1 right in the picture.
        place: from `eye_places`.
    """

    ARCH = 0.032  # from the ends of the brow to its top

    def __init__(self, head: Head, canvas: Canvas, side: int, place: Point) -> None:
        self.head, self.canvas, self.side = head, canvas, side
        self.x, self.narrow = place
        self.at = eye_window(canvas, side)
        self.dx, self.dy = head.around(self.at, self.x, head.EYES)
        self.outline = crop(head.outline, self.at)
        self.lift = 0.155 + 0.030 * head.t["brow"]  # of the brow above the eye

    def paint(self) -> None:
        """White, iris, lids and brow."""
        t, paint, at, shadow = self.head.t, self.canvas.paint, self.at, self.head.shadow
        half, size = t["eye_size"] * self.narrow, t["eye_size"]
        socket = sdf.ellipse(self.dx, self.dy + 0.05, half * 1.45, size * 0.95)
        socket = torch.maximum(socket, self.outline + 0.08)
        paint(socket, shadow, soft=0.16, opacity=0.38, at=at)
        opened = t["eye_open"] * (1 - 0.22 * t["smile"].clamp(min=0))
        across = self.dx / half
        bow = (1 - across * across).clamp_(min=-0.6)
        above = -self.dy - bow * size * (0.70 * opened - 0.10)
        below = self.dy - bow * size * (0.26 + 0.16 * opened)
        corner = (self.dx.abs() - half).clamp_(min=0)
        corner = torch.maximum(corner, self.outline + 0.02)
        white = torch.maximum(above, below) + corner
        paint(white, rgb(0.95, 0.94, 0.93), LABEL["eye"], at=at)
        self._iris(white)
        self._lids(above, below, corner, bow)
        self._brow()

    def _iris(self, white: Tensor) -> None:
        t, paint, at = self.head.t, self.canvas.paint, self.at
        size = t["eye_size"] * 0.50
        aside = t["gaze"] * 0.28 * t["eye_size"] * self.narrow
        dx, dy = (self.dx - aside) / self.narrow.clamp(min=0.75), self.dy - 0.006
        radius = torch.sqrt(dx * dx + dy * dy)
        colour = pick(IRIS, self.head.choice["eye_colour"])
        glow = (0.80 + 0.35 * (dy / size).clamp(-1, 1))[:, None]
        paint(torch.maximum(radius - size, white), colour * glow, LABEL["iris"], at=at)
        paint(torch.maximum(radius - size * 0.52, white), rgb(0.06, 0.05, 0.06), at=at)
        dx, dy = dx - 0.35 * size * t["light"], dy + 0.38 * size
        spot = torch.sqrt(dx * dx + dy * dy) - size * 0.30
        paint(torch.maximum(spot, white), rgb(1, 1, 1), opacity=0.9, at=at)

    def _lids(self, above: Tensor, below: Tensor, corner: Tensor, bow: Tensor) -> None:
        paint, at, shadow = self.canvas.paint, self.at, self.head.shadow
        lash = above.abs() + 1.4 * corner - 0.020 * (0.55 + 0.45 * bow.clamp(min=0))
        paint(lash, self.head.hair * 0.25 + shadow * 0.12, soft=0.022, at=at)
        closed = 1 - self.head.t["eye_open"]
        self.canvas.mark(lash - 0.010 * closed, LABEL["eye"], at)  # a closed eye is all lashes
        crease = (above - 0.048).abs() + 1.2 * corner - 0.010
        paint(crease, shadow * 0.8, soft=0.03, opacity=0.5 * self.head.t["eye_open"], at=at)
        pouch = (below - 0.006).abs() + 1.2 * corner - 0.008
        paint(pouch, shadow * 0.85, soft=0.03, opacity=0.45, at=at)

    def _brow(self) -> None:
        head, t = self.head, self.head.t
        half = t["eye_size"] * 1.22 * self.narrow
        along = (self.dx / half - 0.10 * self.side) * self.side  # -1 at the nose, 1 outside
        peak = along - 0.05
        arch = self.ARCH * (1 - peak * peak) - (0.002 + 0.007 * t["brow"]) * along
        thick = t["brow_width"] * (0.85 - 0.35 * along.clamp(-1, 1))
        over = (along.abs() - 1).clamp(min=0) * half
        shape = (self.dy + self.lift + arch).abs() + over - thick
        shape = torch.maximum(shape, self.outline + 0.02)
        colour = head.hair * 0.72 + head.shadow * 0.16
        self.canvas.paint(shape, colour, LABEL["brow"], soft=0.035, opacity=0.92, at=self.at)


def paint_eyes(head: Head, canvas: Canvas) -> dict[str, Point]:
    """Both eyes and brows; returns their landmarks (x, y) before rolling."""
    marks = {}
    for side, place in eye_places(head).items():
        eye, name = Eye(head, canvas, side, place), "left" if side < 0 else "right"
        eye.paint()
        marks[f"{name} eye"] = (eye.x, torch.full_like(eye.x, head.EYES))
        marks[f"{name} brow"] = (eye.x, head.EYES - eye.lift - eye.ARCH)
    return marks


class Nose:
    """A nose, made of light and shade."""

    def __init__(self, head: Head, canvas: Canvas) -> None:
        self.head, self.canvas = head, canvas
        self.width, self.length = head.t["nose_width"], head.t["nose_length"]
        self.y = head.EYES + self.length
        self.x = head.point(0.0, self.y, 1.20)
        root = head.point(0.0, head.EYES, 1.04)
        self.at = canvas.window(-0.50, 0.50, -0.30, 0.45)
        self.dx, self.dy = head.around(self.at, self.x, self.y)
        self.rise = (self.dy / self.length).clamp(-1, 0.3)  # -1 between the eyes, 0 at the tip
        self.ridge = self.dx + (root - self.x) * self.rise

    def paint(self) -> None:
        """Flanks and ridge, then the tip."""
        self._bridge()
        self._tip()
        long = self.length * 0.4
        across = self.ridge.abs() - self.width * (1.05 + 0.75 * self.rise)
        nose = torch.maximum(across, (self.dy + long).abs() - long - 0.035)
        self.canvas.mark(nose, LABEL["nose"], self.at)

    def _bridge(self) -> None:
        head, paint, at = self.head, self.canvas.paint, self.at
        over = (-self.dy - self.length * 0.85).clamp(min=0) + self.dy.clamp(min=0)
        for side in SIDES:
            away = side * (-0.6 * head.t["light"] - 1.3 * head.turn)
            flank = (self.ridge - side * self.width * (0.72 + 0.16 * self.rise)).abs()
            opacity = (0.30 + 0.40 * away).clamp(0, 0.75)
            paint(flank + over - 0.030, head.shadow, soft=0.10, opacity=opacity, at=at)
        paint(self.ridge.abs() + over - 0.018, head.lit, soft=0.07, opacity=0.45, at=at)

    def _tip(self) -> None:
        head, width, paint, at = self.head, self.width, self.canvas.paint, self.at
        dx, dy = self.dx, self.dy
        wings = sdf.ellipse(dx, dy - 0.004, width * 1.05, width * 0.58)
        paint(wings, head.skin * 0.97, soft=0.06, opacity=0.75, at=at)
        under = sdf.ellipse(dx, dy - 0.032, width * 0.98, width * 0.42)
        under = torch.maximum(under, -(dy - 0.018))
        paint(under, head.shadow * 0.82, soft=0.045, opacity=0.85, at=at)
        gleam = sdf.ellipse(dx - 0.015 * head.t["light"], dy + 0.020, width * 0.5, width * 0.40)
        paint(gleam, head.lit, soft=0.06, opacity=0.6, at=at)
