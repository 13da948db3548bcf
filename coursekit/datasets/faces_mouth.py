"""Rendered faces: mouth, beard and moustache."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.faces_head import Head
from coursekit.datasets.faces_look import LABEL, rgb
from coursekit.datasets.sdf import Canvas, crop


class Mouth:
    """The curves of a mouth, shared by lips, teeth and moustache.

    Attributes:
        x, y: its middle, (N, 1, 1).
        half: half its width as seen.
        dx, dy: coordinates from the line between the lips, which bends with a smile, (N, h, w).
        along: -1 at the left corner, 1 at the right.
        gap: how far the lips are apart.
    """

    def __init__(self, head: Head, canvas: Canvas) -> None:
        t = head.t
        self.head, self.canvas = head, canvas
        self.at = canvas.window(-0.62, 0.62, 0.12, 0.72)
        self.x, self.y = head.point(0.0, head.mouth_y, 1.02), head.mouth_y
        narrow = head.narrowing(0.0).clamp(min=0.7)
        wide = 1 + 0.16 * t["smile"].clamp(min=0) - 0.12 * t["mouth_open"]
        self.half = t["mouth_width"] * narrow * wide
        self.bend = 0.008 + torch.where(t["smile"] > 0, 0.082, 0.024) * t["smile"]
        self.dx, dy = head.around(self.at, self.x, self.y)
        self.along = (self.dx / self.half).clamp(-1.3, 1.3)
        bow = self.along * self.along
        self.dy = dy + self.bend * (bow - 0.30)
        self.lens = (1 - bow).clamp(min=0)
        self.corner = (self.dx.abs() - self.half).clamp(min=0)
        self.gap = t["mouth_open"] * 0.125
        self.top, self.bottom = self.gap * 0.36 * self.lens, self.gap * 0.64 * self.lens

    def landmarks(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The corners (x, y) before rolling."""
        height = self.y - self.bend * 0.70
        return {
            "left mouth": (self.x - self.half, height),
            "right mouth": (self.x + self.half, height),
        }

    def paint(self) -> None:
        """Lips, the line between them, and what an open mouth shows."""
        t, paint, at, shadow = self.head.t, self.canvas.paint, self.at, self.head.shadow
        cupid = 1 - 0.30 * sdf.bump(self.along, 0.28)
        upper = self.top + t["lips"] * 1.15 * cupid * self.lens
        lower = self.bottom + t["lips"] * 1.30 * self.lens
        fold = sdf.ellipse(self.dx, self.dy - lower - 0.040, self.half * 0.62, 0.030)
        paint(fold, shadow, soft=0.07, opacity=0.55, at=at)
        lips = torch.maximum(-self.dy - upper, self.dy - lower) + self.corner
        shade = (0.94 + 0.10 * (self.dy / 0.04).clamp(-1, 1))[:, None]
        paint(lips, self._colour() * shade, LABEL["lip"], soft=0.024, at=at)
        seam = self.dy.abs() + self.corner * 1.2 - 0.010 * (0.5 + 0.5 * self.lens)
        paint(seam, shadow * rgb(0.52, 0.38, 0.38), soft=0.022, opacity=0.9, at=at)
        if t["mouth_open"].any():
            self._inside()

    def _colour(self) -> Tensor:
        skin = self.head.skin
        rose = torch.lerp(skin * rgb(0.86, 0.52, 0.52), rgb(0.72, 0.30, 0.34), 0.35)
        return torch.lerp(skin * rgb(0.88, 0.66, 0.62), rose, self.head.t["lip_tint"][:, None])

    def _inside(self) -> None:
        paint, at = self.canvas.paint, self.at
        opened = sdf.step(self.head.t["mouth_open"], 0.02, 0.15)
        inside = torch.maximum(-self.dy - self.top, self.dy - self.bottom) + self.corner
        paint(inside, rgb(0.36, 0.12, 0.13), LABEL["mouth"], opacity=opened, at=at)
        low = 0.30 * self.gap - self.dy + 0.1 * (self.along * self.along)
        tongue = torch.maximum(inside, low)
        paint(tongue, rgb(0.74, 0.36, 0.36), soft=0.03, opacity=opened, at=at)
        edge = self.dy + self.top - (0.008 + 0.32 * self.gap)
        teeth = torch.maximum(inside + 0.006, edge)
        paint(teeth, rgb(0.95, 0.94, 0.91), opacity=opened, at=at)


def paint_beard(head: Head, mouth: Mouth, tone: Tensor, canvas: Canvas) -> None:
    """A beard along the jaw under this light; the lips stay free."""
    if not head.t["beard"].any():
        return
    at = canvas.window(-0.85, 0.85, -0.05, 0.90)
    dx, dy = head.around(at, mouth.x, mouth.y)
    angle = crop(head.angle, at).abs()
    fall = 1 - sdf.step(angle, 0.45, 1.25)
    cheek = head.middle + 0.02 + (head.mouth_y - head.middle) * fall
    jaw = 2.5 * (crop(head.outline, at) - 0.015)  # a sharper edge outside than on the cheek
    jaw = torch.maximum(jaw, (cheek - crop(head.y, at)) * 0.8)
    free = sdf.ellipse(dx, dy - 0.3 * mouth.gap, mouth.half * 1.10, 0.070 + 0.6 * mouth.gap)
    jaw = torch.maximum(jaw, torch.maximum(angle - 1.46, -free))
    colour = (head.hair * 0.85 + head.shadow * 0.13) * (0.62 + 0.38 * crop(tone, at))
    canvas.paint(jaw, colour, LABEL["beard"], soft=0.09, opacity=0.94 * head.t["beard"], at=at)


def paint_moustache(head: Head, mouth: Mouth, canvas: Canvas) -> None:
    """Two lobes over the upper lip with a soft edge."""
    worn = head.t["moustache"]
    if not worn.any():
        return
    along = mouth.along
    arch = mouth.dy + 0.052 + 0.36 * mouth.gap + 0.05 * mouth.lens * 0.4
    arch = arch - 0.045 * (along * along)
    thick = 0.034 * (1.15 - 0.55 * along.abs()) - 0.006 * sdf.bump(along, 0.15)
    shape = arch.abs() + (mouth.dx.abs() - mouth.half * 1.05).clamp(min=0) - thick
    colour = head.hair * 0.78 + head.shadow * 0.14
    canvas.paint(shape, colour, LABEL["beard"], soft=0.045, opacity=0.94 * worn, at=mouth.at)
