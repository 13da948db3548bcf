"""Rendered faces: hair in eight styles, all drawn by the same few curves."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.faces_head import Head
from coursekit.datasets.faces_look import LABEL, STYLES
from coursekit.datasets.sdf import Box, Canvas, crop

FAR = 9.0  # as a distance: not there


class Hair:
    """The hair of a chunk of faces.

    Attributes:
        s: the numbers of each face's `Style`, (N, 1, 1).
        outline: the shape of all hair, (N, h, w).
        line: distance below the hairline: positive on the bare face, (N, h, w).
    """

    def __init__(self, head: Head) -> None:
        table = torch.tensor([list(vars(style).values()) for style in STYLES.values()])
        chosen = table[head.choice["hair"]]
        self.s = {n: chosen[:, i, None, None] for i, n in enumerate(vars(STYLES["crop"]))}
        self.head = head
        self.hangs = self.s["length"] > 0
        self.outline = self._outline()
        self.line = self._line()

    def _outline(self) -> Tensor:
        head, s = self.head, self.s
        full = 0.6 + 0.8 * head.t["hair_volume"]
        width = head.half_width * (1 + (s["wide"] - 1) * full)
        height = head.half_height * (0.80 + s["rise"] * full)
        x = head.x - head.shift + 0.13 * head.turn
        y = head.y - head.middle
        bumps = s["wave"] * self._waves() if s["wave"].any() else torch.zeros(1)
        shape = self._piled(sdf.ellipse(x, y + 0.20 * head.half_height, width, height), x, y)
        if self.hangs.any():
            shape = sdf.join(shape, self._hanging(x, y, width, bumps), 0.04)
        return shape - bumps

    def _waves(self) -> Tensor:
        """Curls all around short hair; waves along hair that hangs."""
        x, y = self.head.x, self.head.y
        curls = torch.sin(15 * x) * torch.sin(15 * y + 1)
        waves = torch.sin(10 * y + 2) * sdf.step(y, -0.30, 0.15)
        return torch.where(self.hangs, waves * x.sign(), curls)

    def _piled(self, cap: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Add a quiff in front or a bun on top."""
        head, high = self.head, self.head.half_height
        if self.s["quiff"].any():
            lean = 0.10 * head.half_width
            x_quiff = x - lean - 0.12 * head.turn
            quiff = sdf.ellipse(x_quiff, y + 0.84 * high, 0.78 * head.half_width, 0.27 * high)
            cap = sdf.join(cap, quiff + (1 - self.s["quiff"]) * FAR, 0.12)
        if self.s["bun"].any():
            bun = sdf.ellipse(x + 0.10 * head.turn, y + 1.02 * high, 0.20, 0.16)
            cap = sdf.join(cap, bun + (1 - self.s["bun"]) * FAR, 0.03)
        return cap

    def _hanging(self, x: Tensor, y: Tensor, width: Tensor, bumps: Tensor) -> Tensor:
        """A column behind and beside the face, rounded below."""
        widest = self.head.half_width * self.s["hang"]
        column = torch.lerp(width * 0.93, widest, sdf.step(y, -0.15, 0.45))
        across = x / width
        below = self.head.y - self.s["length"] + 0.05 * (across * across)
        hanging = -sdf.join(column + 0.5 * bumps - x.abs(), -below, 0.16)
        return torch.maximum(hanging, -y - 0.12) + (1 - self.hangs.float()) * FAR

    def _line(self) -> Tensor:
        head, s = self.head, self.s
        beside, turned = (head.angle - s["part"]).abs(), head.angle.abs()
        drop = s["fall"] * sdf.step(beside, -0.15, 1.25) + 0.05 * (head.angle * head.angle)
        line = head.middle + head.half_height * (s["top"] + drop)
        curls = torch.where(self.hangs, 0.0, 0.6 * s["wave"])
        if curls.any():
            line = line + curls * torch.sin(13 * head.angle)
        to_side = sdf.step(turned, s["temple"] - 0.20, s["temple"] + 0.12)
        line = line + (s["side"] - line) * to_side
        nape = torch.maximum(s["side"], head.middle + 0.42)
        line = line + (nape - line) * sdf.step(turned, 1.58, 1.85)
        # Where the line runs steeply down the temple, the height above it exaggerates.
        return (head.y - line) * (1 - 0.45 * to_side * (1 - to_side) * 4)

    def _colour(self, at: Box) -> Tensor:
        """Hair with a broad sheen and a few wide strands, (N, 3, h, w)."""
        head, lamp = self.head, self.head.t["light"]
        u, v, angle = crop(head.u, at), crop(head.v, at), crop(head.angle, at)
        light = 0.30 * u * lamp - 0.35 * v
        strands = 0.05 * torch.sin(9 * angle + 3 * v) * sdf.step(v, -1.0, -0.6)
        tone = (0.72 + 0.30 * light.clamp(-1, 1) + strands)[:, None]
        sheen = sdf.bump(v + 0.66 - 0.22 * (angle * angle), 0.16)
        sheen = sheen * sdf.bump(angle - 0.5 * lamp, 1.3)
        return head.hair * tone + (0.10 * sheen)[:, None] * (0.5 + head.hair)

    def paint_back(self, canvas: Canvas) -> None:
        """What is seen behind neck and shoulders."""
        head = self.head
        end = torch.where(self.hangs, self.s["length"], head.middle + 0.36)
        behind = torch.maximum(self.outline, head.y - end)
        canvas.paint(behind, head.hair * 0.58, LABEL["back hair"], soft=0.03)

    def paint_front(self, canvas: Canvas) -> None:
        """Hair over the forehead and beside the face."""
        at = canvas.window(-1, 1, -1, 1 if self.hangs.any() else 0.62)
        front = torch.maximum(crop(self.outline, at), crop(self.line, at))
        canvas.paint(front, self._colour(at), LABEL["hair"], soft=0.03, at=at)
