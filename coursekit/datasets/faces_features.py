"""Rendered faces: eyes, brows, nose, mouth, beard and glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.faces_head import LABEL, Head
from coursekit.datasets.sdf import Box, Canvas

IRIS = torch.tensor(
    [[0.36, 0.22, 0.13], [0.32, 0.52, 0.68], [0.36, 0.50, 0.32], [0.46, 0.50, 0.54]]
)
SIDES = (-1, 1)


def rgb(red: float, green: float, blue: float) -> Tensor:
    """One colour, (3, 1, 1)."""
    return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]


def eye_window(canvas: Canvas, side: int) -> Box:
    """The part of the canvas where the left (-1) or the right (1) eye can be, with its brow."""
    left, right = (-0.72, 0.30) if side < 0 else (-0.30, 0.72)
    return canvas.window(left, right, -0.45, 0.25)


def local(head: Head, at: Box, x: Tensor, y: Tensor | float) -> tuple[Tensor, Tensor]:
    """Coordinates inside a window, from a point of the face."""
    return head.x[:, at[0], at[1]] - x, head.y[:, at[0], at[1]] - y


def eye_places(head: Head) -> dict[int, tuple[Tensor, Tensor]]:
    """Where the two eyes stand across the picture and how narrow they look, by side."""
    places = {}
    for side in SIDES:
        angle = side * head.t["eye_spacing"]
        places[side] = (
            head.point(angle, torch.full_like(head.turn, head.eye_y)),
            head.narrowing(angle),
        )
    return places


def paint_eyes(head: Head, canvas: Canvas) -> dict[str, tuple[Tensor, Tensor]]:
    """Both eyes and brows; returns their landmarks (x, y) before rolling."""
    marks = {}
    for side, (x, narrow) in eye_places(head).items():
        at = eye_window(canvas, side)
        dx, dy = local(head, at, x, head.eye_y)
        _eye(head, canvas, at, dx, dy, narrow)
        lift = _brow(head, canvas, at, dx, dy, narrow, side)
        name = "left" if side < 0 else "right"
        marks[f"{name} eye"] = (x, torch.full_like(x, head.eye_y))
        marks[f"{name} brow"] = (x, head.eye_y - lift)
    return marks


def _eye(head: Head, canvas: Canvas, at: Box, dx: Tensor, dy: Tensor, narrow: Tensor) -> None:
    t = head.t
    half = t["eye_size"] * narrow
    squint = 1 - 0.22 * t["smile"].clamp(min=0)
    open_ = t["eye_open"] * squint
    bow = (1 - (dx / half) ** 2).clamp_(min=-0.6)
    upper = bow * t["eye_size"] * (0.70 * open_ - 0.10)
    lower = bow * t["eye_size"] * (0.26 + 0.16 * open_)
    corner = (dx.abs() - half).clamp_(min=0)
    corner = torch.maximum(corner, head.outline[:, at[0], at[1]] + 0.02)
    white = torch.maximum(-dy - upper, dy - lower) + corner
    socket = sdf.ellipse(dx, dy + 0.05, half * 1.45, t["eye_size"] * 0.95)
    socket = torch.maximum(socket, head.outline[:, at[0], at[1]] + 0.08)
    canvas.paint(socket, head.shadow, soft=0.16, opacity=0.38, at=at)
    canvas.paint(white, rgb(0.95, 0.94, 0.93), LABEL["eye"], at=at)
    _iris(head, canvas, at, dx, dy, white, narrow)
    lash = (-dy - upper).abs() + 1.4 * corner - 0.020 * (0.55 + 0.45 * bow.clamp(min=0))
    dark = head.hair * 0.25 + head.shadow * 0.12
    canvas.paint(lash, dark, soft=0.022, at=at)
    crease = (-dy - upper - 0.048).abs() + 1.2 * corner - 0.010
    canvas.paint(crease, head.shadow * 0.8, soft=0.03, opacity=0.5 * t["eye_open"], at=at)
    pouch = (dy - lower - 0.006).abs() + 1.2 * corner - 0.008
    canvas.paint(pouch, head.shadow * 0.85, soft=0.03, opacity=0.45, at=at)


def _iris(
    head: Head, canvas: Canvas, at: Box, dx: Tensor, dy: Tensor, white: Tensor, narrow: Tensor
) -> None:
    t = head.t
    size = t["eye_size"] * 0.50
    dx = (dx - t["gaze"] * 0.28 * t["eye_size"] * narrow) / narrow.clamp(min=0.75)
    dy = dy - 0.006
    radius = torch.sqrt(dx * dx + dy * dy)
    colour = IRIS[head.choice["eye_colour"]][:, :, None, None]
    glow = (0.80 + 0.35 * (dy / size).clamp(-1, 1))[:, None]
    canvas.paint(torch.maximum(radius - size, white), colour * glow, LABEL["iris"], at=at)
    pupil = torch.maximum(radius - size * 0.52, white)
    canvas.paint(pupil, rgb(0.06, 0.05, 0.06), at=at)
    spot = torch.sqrt((dx - 0.35 * size * t["light"]) ** 2 + (dy + 0.38 * size) ** 2) - size * 0.30
    canvas.paint(torch.maximum(spot, white), rgb(1, 1, 1), opacity=0.9, at=at)


def _brow(
    head: Head, canvas: Canvas, at: Box, dx: Tensor, dy: Tensor, narrow: Tensor, side: int
) -> Tensor:
    t = head.t
    lift = 0.155 + 0.030 * t["brow"]
    half = t["eye_size"] * 1.22 * narrow
    along = (dx / half - 0.10 * side) * side  # -1 at the nose, 1 at the temple
    arch = 0.032 * (1 - (along - 0.05) ** 2) - (0.002 + 0.007 * t["brow"]) * along
    inside = along.clamp(-1, 1)
    thick = t["brow_width"] * (0.85 - 0.35 * inside)
    over = (along.abs() - 1).clamp(min=0) * half
    shape = (dy + lift + arch).abs() + over - thick
    shape = torch.maximum(shape, head.outline[:, at[0], at[1]] + 0.02)
    colour = head.hair * 0.72 + head.shadow * 0.16
    canvas.paint(shape, colour, LABEL["brow"], soft=0.035, opacity=0.92, at=at)
    return lift


def paint_nose(head: Head, canvas: Canvas) -> tuple[Tensor, Tensor]:
    """A nose made of light and shade; returns its tip."""
    t = head.t
    tip_y = head.eye_y + t["nose_length"]
    tip_x = head.point(0.0, tip_y, 1.20)
    root_x = head.point(0.0, torch.full_like(tip_y, head.eye_y), 1.04)
    at = canvas.window(-0.50, 0.50, -0.30, 0.45)
    dx, dy = local(head, at, tip_x, tip_y)
    rise = (dy / t["nose_length"]).clamp(-1, 0.3)  # -1 between the eyes, 0 at the tip
    ridge = dx + (root_x - tip_x) * rise
    width = t["nose_width"]
    reach = (-dy - t["nose_length"] * 0.85).clamp(min=0) + dy.clamp(min=0)
    for side in SIDES:
        facing = side * (-0.6 * t["light"] - 1.3 * head.turn)
        flank = (ridge - side * width * (0.72 + 0.16 * rise)).abs() + reach - 0.030
        canvas.paint(
            flank, head.shadow, soft=0.10, opacity=(0.30 + 0.40 * facing).clamp(0, 0.75), at=at
        )
    canvas.paint(ridge.abs() + reach - 0.018, head.lit, soft=0.07, opacity=0.45, at=at)
    wings = sdf.ellipse(dx, dy - 0.004, width * 1.05, width * 0.58)
    canvas.paint(wings, head.skin * 0.97, soft=0.06, opacity=0.75, at=at)
    under = torch.maximum(sdf.ellipse(dx, dy - 0.032, width * 0.98, width * 0.42), -(dy - 0.018))
    canvas.paint(under, head.shadow * 0.82, soft=0.045, opacity=0.85, at=at)
    canvas.paint(
        sdf.ellipse(dx - 0.015 * t["light"], dy + 0.020, width * 0.5, width * 0.40),
        head.lit,
        soft=0.06,
        opacity=0.6,
        at=at,
    )
    nose = torch.maximum(
        ridge.abs() - width * (1.05 + 0.75 * rise),
        (dy + t["nose_length"] * 0.4).abs() - t["nose_length"] * 0.4 - 0.035,
    )
    canvas.mark(nose, LABEL["nose"], at)
    return tip_x, tip_y


class Mouth:
    """The curves of a mouth, shared by lips, teeth and moustache."""

    def __init__(self, head: Head, canvas: Canvas) -> None:
        t = head.t
        self.head, self.at = head, canvas.window(-0.62, 0.62, 0.12, 0.72)
        self.y = head.mouth_y
        self.x = head.point(0.0, self.y, 1.02)
        narrow = head.narrowing(0.0).clamp(min=0.7)
        self.half = (
            t["mouth_width"]
            * narrow
            * (1 + 0.16 * t["smile"].clamp(min=0) - 0.12 * t["mouth_open"])
        )
        self.bend = 0.008 + torch.where(t["smile"] > 0, 0.082, 0.024) * t["smile"]
        self.dx, dy = local(head, self.at, self.x, self.y)
        self.along = (self.dx / self.half).clamp(-1.3, 1.3)
        bow = self.along**2
        self.dy = dy + self.bend * (bow - 0.30)
        self.lens = (1 - bow).clamp(min=0)
        self.corner = (self.dx.abs() - self.half).clamp(min=0)
        self.gap = t["mouth_open"] * 0.125
        self.top, self.bottom = self.gap * 0.36 * self.lens, self.gap * 0.64 * self.lens

    def corners(self) -> tuple[Tensor, Tensor, Tensor]:
        """Left x, right x and the height of both."""
        return self.x - self.half, self.x + self.half, self.y - self.bend * 0.70


def paint_mouth(head: Head, mouth: Mouth, canvas: Canvas) -> None:
    """Lips, and what is seen between them."""
    t, at = head.t, mouth.at
    cupid = 1 - 0.30 * sdf.bump(mouth.along, 0.28)
    upper = mouth.top + t["lips"] * 1.15 * cupid * mouth.lens
    lower = mouth.bottom + t["lips"] * 1.30 * mouth.lens
    tint = t["lip_tint"][:, None]
    natural = head.skin * rgb(0.88, 0.66, 0.62)
    rose = torch.lerp(head.skin * rgb(0.86, 0.52, 0.52), rgb(0.72, 0.30, 0.34), 0.35)
    lips = torch.lerp(natural, rose, tint)
    shape = torch.maximum(-mouth.dy - upper, mouth.dy - lower) + mouth.corner
    fold = sdf.ellipse(mouth.dx, mouth.dy - lower - 0.040, mouth.half * 0.62, 0.030)
    canvas.paint(fold, head.shadow, soft=0.07, opacity=0.55, at=at)
    shade = (0.94 + 0.10 * (mouth.dy / 0.04).clamp(-1, 1))[:, None]
    canvas.paint(shape, lips * shade, LABEL["lip"], soft=0.024, at=at)
    seam = mouth.dy.abs() + mouth.corner * 1.2 - 0.010 * (0.5 + 0.5 * mouth.lens)
    canvas.paint(seam, head.shadow * rgb(0.52, 0.38, 0.38), soft=0.022, opacity=0.9, at=at)
    inside = torch.maximum(-mouth.dy - mouth.top, mouth.dy - mouth.bottom) + mouth.corner
    opened = sdf.step(t["mouth_open"], 0.02, 0.15)
    canvas.paint(inside, rgb(0.36, 0.12, 0.13), LABEL["mouth"], opacity=opened, at=at)
    tongue = torch.maximum(inside, 0.30 * mouth.gap - mouth.dy + 0.1 * mouth.along**2)
    canvas.paint(tongue, rgb(0.74, 0.36, 0.36), soft=0.03, opacity=opened, at=at)
    teeth = torch.maximum(inside + 0.006, mouth.dy + mouth.top - (0.008 + 0.32 * mouth.gap))
    canvas.paint(teeth, rgb(0.95, 0.94, 0.91), opacity=opened, at=at)


def paint_beard(head: Head, mouth: Mouth, canvas: Canvas) -> None:
    """A beard along the jaw and a moustache, both with a soft edge."""
    at = mouth.at
    wide = canvas.window(-0.85, 0.85, -0.05, 0.90)
    beard, moustache = head.t["beard"], head.t["moustache"]
    x, y = head.x[:, wide[0], wide[1]], head.y[:, wide[0], wide[1]]
    angle = head.angle[:, wide[0], wide[1]].abs()
    cheek = head.middle + 0.02 + (head.mouth_y - head.middle) * (1 - sdf.step(angle, 0.45, 1.25))
    jaw = torch.maximum(2.5 * (head.outline[:, wide[0], wide[1]] - 0.015), (cheek - y) * 0.8)
    free = sdf.ellipse(
        x - mouth.x, y - mouth.y - 0.3 * mouth.gap, mouth.half * 1.10, 0.070 + 0.6 * mouth.gap
    )
    jaw = torch.maximum(jaw, torch.maximum(angle - 1.46, -free))
    tone = 0.62 + 0.38 * head.tone[:, :, wide[0], wide[1]]
    colour = (head.hair * 0.85 + head.shadow * 0.13) * tone
    canvas.paint(jaw, colour, LABEL["beard"], soft=0.09, opacity=0.94 * beard, at=wide)
    arch = mouth.dy + 0.052 + 0.36 * mouth.gap + 0.05 * mouth.lens * 0.4 - 0.045 * mouth.along**2
    thick = 0.034 * (1.15 - 0.55 * mouth.along.abs()) - 0.006 * sdf.bump(mouth.along, 0.15)
    shape = arch.abs() + (mouth.dx.abs() - mouth.half * 1.05).clamp(min=0) - thick
    canvas.paint(
        shape,
        head.hair * 0.78 + head.shadow * 0.14,
        LABEL["beard"],
        soft=0.045,
        opacity=0.94 * moustache,
        at=at,
    )


def paint_glasses(head: Head, canvas: Canvas) -> None:
    """Two lenses, a bridge, and temples that run to the ears."""
    kind = head.choice["glasses"][:, None, None]
    worn, dark = (kind > 0).float(), (kind == 2).float()
    frame = torch.where(dark[:, None] > 0, rgb(0.10, 0.10, 0.12), rgb(0.22, 0.17, 0.16))
    places = eye_places(head)
    inner = {}
    for side, (x, narrow) in places.items():
        at = eye_window(canvas, side)
        dx, dy = local(head, at, x, head.eye_y + 0.012)
        half = 0.178 * narrow.clamp(min=0.5)
        inner[side] = x - side * half
        lens = _lens(dx, dy, half, 0.140)
        glass = rgb(0.10, 0.11, 0.14) * (1.0 + 0.9 * (dy / 0.14).clamp(-1, 1))[:, None]
        canvas.paint(lens, glass, LABEL["glasses"], opacity=0.94 * dark, at=at)
        glare = torch.maximum(lens + 0.02, (dx + dy * 0.8 + 0.07).abs() - 0.025)
        canvas.paint(glare, rgb(1, 1, 1), soft=0.05, opacity=0.16 * worn, at=at)
        canvas.paint(lens.abs() - 0.0135, frame, LABEL["glasses"], opacity=worn, at=at)
        _temple(head, canvas, lens, frame, worn, at, side)
    at = canvas.window(-0.40, 0.40, -0.20, 0.10)
    middle, half = (inner[-1] + inner[1]) / 2, (inner[1] - inner[-1]) / 2
    dx, dy = local(head, at, middle, head.eye_y - 0.020)
    bridge = sdf.box(dx, dy - 0.5 * dx**2, half.clamp(min=0.01) + 0.01, 0.0125)
    canvas.paint(bridge, frame, LABEL["glasses"], opacity=worn, at=at)


def _lens(dx: Tensor, dy: Tensor, half: Tensor, high: float) -> Tensor:
    """A rounded rectangle between an ellipse and a box."""
    u, v = dx / half, dy / high
    radius = torch.sqrt(u * u + v * v - 0.55 * (u * v).clamp(-1.3, 1.3) ** 2 + 1e-6)
    return (radius - 1) * torch.minimum(half, torch.full_like(half, high))


def _temple(
    head: Head, canvas: Canvas, lens: Tensor, frame: Tensor, worn: Tensor, at: Box, side: int
) -> None:
    angle = head.angle[:, at[0], at[1]] * side
    y = head.y[:, at[0], at[1]] - head.eye_y + 0.03
    strip = torch.maximum(y.abs() - 0.013, (0.60 - angle) * 0.4)
    strip = torch.maximum(strip, torch.maximum((angle - 1.42) * 0.4, -lens))
    strip = torch.maximum(strip, head.outline[:, at[0], at[1]])
    canvas.paint(strip, frame, LABEL["glasses"], opacity=worn, at=at)
