"""Rendered faces: the head as a turned egg, and the light on it."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.faces_look import HAIR, LABEL, SKIN, pick, rgb
from coursekit.datasets.sdf import Box, Canvas, crop

SIDES = (-1, 1)  # left and right in the picture


class Head:
    """What every feature needs to know: coordinates, turn and colours of a chunk of faces.

    Lengths are those of the canvas, in half pictures before the crop.

    Args:
        factors: each (N,).
        canvas: to be painted on.

    Attributes:
        t: the factors as float32 (N, 1, 1).
        choice: the factors with named values, int64 (N,).
        turn: sine of the yaw, (N, 1, 1), as are the next five.
        half_width, half_height, middle: of the head; an open mouth makes it longer.
        shift: how far the head moves back, so that a turned face stays in the picture.
        mouth_y: height of the mouth; that of the eyes, ``EYES``, is the same for all.
        x, y: coordinates that roll with the head, (N, h, w), as are the next four.
        u, v: the same from the middle of the head, in half heads.
        outline: the shape of the head.
        angle: the angle around the head from the middle of the face, radians.
        skin, shadow, lit, hair: colours (N, 3, 1, 1).
    """

    MIDDLE = -0.01
    EYES = -0.04
    PIVOT = 0.30  # the head rolls around this height

    def __init__(self, factors: dict[str, Tensor], canvas: Canvas) -> None:
        self.choice = {n: v for n, v in factors.items() if v.dtype == torch.int64}
        self.t = {n: v.float()[:, None, None] for n, v in factors.items()}
        self._proportions({n: v.double()[:, None, None] for n, v in factors.items()})
        self._coordinates(canvas)
        self.skin = pick(SKIN, self.choice["skin"])
        self.shadow = self.skin * rgb(0.78, 0.67, 0.64)
        self.lit = self.skin + (1 - self.skin) * rgb(0.22, 0.18, 0.14)
        self.hair = pick(HAIR, self.choice["hair_colour"])

    def _proportions(self, t: dict[str, Tensor]) -> None:
        """Worked out in double: rounded to float32 they are the same in a chunk of any size."""
        turn, drop = torch.sin(t["yaw"]), 0.025 * t["mouth_open"]
        self.turn = turn.float()
        self.half_width = (t["face_width"] * (1 + 0.10 * turn**2)).float()
        self.half_height = (t["face_height"] + drop).float()
        self.middle = (self.MIDDLE + drop).float()
        self.shift = (-0.20 * turn).float()
        self.mouth_y = (self.MIDDLE + 0.56 * t["face_height"]).float()
        self.roll = torch.cos(t["roll"]).float(), torch.sin(t["roll"]).float()

    def _coordinates(self, canvas: Canvas) -> None:
        cosine, sine = self.roll
        below = canvas.y - self.PIVOT
        self.x = cosine * canvas.x + sine * below
        self.y = -sine * canvas.x + cosine * below + self.PIVOT
        self.v = v = (self.y - self.middle) / self.half_height
        self.u = u = (self.x - self._centre(v)) / self._width(v)
        square = self._square(v)
        radius = torch.sqrt(u * u + v * v - square * u * u * v * v + 1e-9)
        self.outline = (radius - 1) * self.half_width
        held = v.clamp(max=0.25)  # below the cheeks the hair hangs straight down
        across = (self.x - self._centre(held)) / (self._width(held) * self._edge(held))
        self.angle = torch.asin(across.clamp_(-1, 1)) - self.t["yaw"]

    def _square(self, v: Tensor) -> Tensor:
        """How square the outline is: 0 an ellipse, 1 a box."""
        return torch.where(v > 0, 0.15 + 0.40 * self.t["jaw"], 0.25)

    def _centre(self, v: Tensor) -> Tensor:
        """The middle of the outline at a height: a turned chin runs ahead of the skull."""
        low = v.clamp(0, 1)
        return self.shift + self.turn * self.half_width * (0.50 * low * low - 0.04)

    def _width(self, v: Tensor) -> Tensor:
        """Half the width of the egg at a height, before it closes above and below."""
        low = v.clamp(0, 1)
        return self.half_width * (1 - (0.30 - 0.14 * self.t["jaw"]) * low * low)

    def _edge(self, v: Tensor) -> Tensor:
        """Where the outline is at a height, in units of `_width`."""
        square = v * v
        inside = (1 - square) / (1 - self._square(v) * square)
        return torch.sqrt(inside.clamp(min=0.09))

    def point(self, angle: Tensor | float, height: Tensor | float, radius: float = 1.0) -> Tensor:
        """Where a point of the face stands across the picture before rolling, (N, 1, 1).

        Args:
            angle: from the middle of the face, radians.
            height: in the picture before rolling.
            radius: distance from the axis of the head in head radii (the nose is further out).
        """
        v = (height - self.middle) / self.half_height
        reach = radius * self._width(v) * self._edge(v)
        return self._centre(v) + reach * torch.sin((angle + self.t["yaw"]).double()).float()

    def narrowing(self, angle: Tensor | float) -> Tensor:
        """How much narrower something on the face looks because it is turned away, (N, 1, 1)."""
        return torch.cos((angle + self.t["yaw"]).double()).float().clamp(min=0.3)

    def around(self, at: Box, x: Tensor, y: Tensor | float) -> tuple[Tensor, Tensor]:
        """Coordinates inside a window of the canvas, from the point (x, y) of the face."""
        return crop(self.x, at) - x, crop(self.y, at) - y

    def tone(self, hairline: Tensor) -> Tensor:
        """How much light falls on the skin, in [0, 1], (N, 1, h, w).

        Args:
            hairline: distance below the hair, which throws a shadow.
        """
        u, v = self.u, self.v
        depth = torch.sqrt((1 - 0.9 * (u * u) - 0.6 * (v * v)).clamp_(min=0.02))
        facing = 0.42 * u * self.t["light"] - 0.26 * v + 0.80 * depth
        shade = (1 - hairline.clamp(0, 0.13) / 0.13) * 0.30
        return (sdf.step(facing, 0.05, 1.0) - shade).clamp_(0, 1)[:, None]


def paint_head(head: Head, tone: Tensor, canvas: Canvas) -> None:
    """Skin under this light, with colour in the cheeks."""
    canvas.paint(head.outline, torch.lerp(head.shadow, head.lit, tone), LABEL["skin"])
    height = head.middle + 0.26
    warm = head.skin * rgb(1.0, 0.74, 0.70)
    for side in SIDES:
        left, right = sorted((side * 0.75, side * -0.45))
        at = canvas.window(left, right, -0.1, 0.6)
        dx, dy = head.around(at, head.point(side * 0.62, height), height)
        cheek = sdf.ellipse(dx, dy, 0.15 * head.narrowing(side * 0.62), 0.11)
        cheek = torch.maximum(cheek, crop(head.outline, at) + 0.09)
        canvas.paint(cheek, warm, at=at, soft=0.18, opacity=0.25)


def paint_ears(head: Head, shown: Tensor, canvas: Canvas) -> None:
    """The ears, where the hair leaves them free; the head hides what is turned away.

    Args:
        head: whose ears.
        shown: 1 or 0, (N, 1, 1).
        canvas: to paint on.
    """
    if not shown.any():
        return
    height = head.middle + 0.03
    at = canvas.window(-1, 1, -0.35, 0.45)
    turned = (1.44 - crop(head.angle, at).abs()) * 0.4
    turned = torch.where(crop(head.outline, at) > 0, -1.0, turned)
    for side in SIDES:
        hidden = 0.25 * side * (side * head.turn).clamp(min=0)
        dx, dy = head.around(at, head.point(side * 1.52, height), height)
        dx = dx - side * 0.02 + hidden
        ear = torch.maximum(sdf.ellipse(dx + 0.15 * side * dy, dy, 0.085, 0.15), turned)
        canvas.paint(ear, head.skin * 0.93, LABEL["ear"], at=at, opacity=shown)
        inner = torch.maximum(sdf.ellipse(dx - side * 0.012, dy - 0.005, 0.04, 0.085), turned)
        canvas.paint(inner, head.shadow, at=at, soft=0.05, opacity=shown * 0.8)
