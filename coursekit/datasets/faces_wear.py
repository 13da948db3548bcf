"""Rendered faces: the wall behind, neck and shirt, and glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.faces_features import eye_places, eye_window
from coursekit.datasets.faces_head import Head
from coursekit.datasets.faces_look import BACKGROUNDS, LABEL, SHIRTS, blend, rgb
from coursekit.datasets.sdf import Box, Canvas, crop


def paint_background(head: Head, canvas: Canvas) -> None:
    """A soft wall with the light on one side."""
    t, x, y = head.t, canvas.x, canvas.y
    base = blend(BACKGROUNDS, t["background"])
    other = blend(BACKGROUNDS, (t["background"] + 0.12) % 1.0)
    bright = (0.72 + 0.36 * t["background_light"])[:, None]
    side = x * t["light"] * 0.5
    glow = sdf.bump(torch.sqrt(x**2 + (y + 0.1) ** 2), 1.5)
    level = (0.92 + 0.22 * (glow - 0.5) + 0.10 * side - 0.06 * y)[:, None]
    mixed = torch.lerp(base, other, (0.5 + 0.5 * y - side).clamp(0, 1)[:, None])
    canvas.image.copy_(mixed * level * bright)


def paint_body(head: Head, canvas: Canvas) -> None:
    """Neck and shirt."""
    at = canvas.window(-1, 1, 0.2, 1)
    x, y = canvas.x[at], canvas.y[at]
    neck_x = x - head.shift * 0.6
    neck = neck_x.abs() - 0.50 * head.half_width - 0.10 * (y - 0.80).clamp(min=0)
    chin = head.middle + head.half_height
    under = sdf.step(y, chin - 0.15, chin + 0.28)[:, None]  # the chin throws a shadow
    flesh = torch.lerp(head.shadow * 0.86, head.skin * 0.96, under)
    canvas.paint(neck, flesh, LABEL["neck"], at=at)
    slope = 0.78 + 0.30 * (x * x) - 0.06 * sdf.bump(x, 0.36)
    neckline = -sdf.ellipse(neck_x, y - 0.62, 0.38, 0.22)
    cloth = torch.maximum((slope - y) * 0.9, neckline)
    tone = (0.90 + 0.16 * x * head.t["light"] - 0.12 * (y - 0.8).abs())[:, None]
    shirt = blend(SHIRTS, head.t["shirt"]) * tone
    canvas.paint(cloth, shirt, LABEL["cloth"], at=at)
    collar = torch.maximum(cloth, neckline.abs() - 0.035)
    canvas.paint(collar, shirt * 0.84, at=at, soft=0.02)


def paint_glasses(head: Head, canvas: Canvas) -> None:
    """Two lenses, a bridge, and temples that run to the ears."""
    kind = head.choice["glasses"][:, None, None]
    worn, dark = (kind > 0).float(), (kind == 2).float()
    if not worn.any():
        return
    frame = torch.where(dark[:, None] > 0, rgb(0.10, 0.10, 0.12), rgb(0.22, 0.17, 0.16))
    inner = {}
    for side, (x, narrow) in eye_places(head).items():
        at = eye_window(canvas, side)
        dx, dy = head.around(at, x, head.EYES + 0.012)
        half = 0.178 * narrow.clamp(min=0.5)
        inner[side] = x - side * half
        lens = _lens(dx, dy, half, 0.140)
        _glass(canvas, at, lens, dx, dy, worn, dark)
        canvas.paint(lens.abs() - 0.0135, frame, LABEL["glasses"], opacity=worn, at=at)
        temple = _temple(head, at, lens, side)
        canvas.paint(temple, frame, LABEL["glasses"], opacity=worn, at=at)
    at = canvas.window(-0.40, 0.40, -0.20, 0.10)
    middle, half = (inner[-1] + inner[1]) / 2, (inner[1] - inner[-1]) / 2
    dx, dy = head.around(at, middle, head.EYES - 0.020)
    bridge = sdf.box(dx, dy - 0.5 * (dx * dx), half.clamp(min=0.01) + 0.01, 0.0125)
    canvas.paint(bridge, frame, LABEL["glasses"], opacity=worn, at=at)


def _lens(dx: Tensor, dy: Tensor, half: Tensor, high: float) -> Tensor:
    """A rounded rectangle between an ellipse and a box."""
    u, v = dx / half, dy / high
    corner = (u * v).clamp(-1.3, 1.3)
    radius = torch.sqrt(u * u + v * v - 0.55 * (corner * corner) + 1e-6)
    return (radius - 1) * torch.minimum(half, torch.full_like(half, high))


def _glass(
    canvas: Canvas, at: Box, lens: Tensor, dx: Tensor, dy: Tensor, worn: Tensor, dark: Tensor
) -> None:
    """Dark glass if the glasses are for the sun, and a glare on any glass."""
    if dark.any():
        glass = rgb(0.10, 0.11, 0.14) * (1.0 + 0.9 * (dy / 0.14).clamp(-1, 1))[:, None]
        canvas.paint(lens, glass, LABEL["glasses"], opacity=0.94 * dark, at=at)
    glare = torch.maximum(lens + 0.02, (dx + dy * 0.8 + 0.07).abs() - 0.025)
    canvas.paint(glare, rgb(1, 1, 1), soft=0.05, opacity=0.16 * worn, at=at)


def _temple(head: Head, at: Box, lens: Tensor, side: int) -> Tensor:
    """The bar along the side of the head."""
    angle = crop(head.angle, at) * side
    height = (crop(head.y, at) - head.EYES + 0.03).abs() - 0.013
    strip = torch.maximum(height, (0.60 - angle) * 0.4)
    strip = torch.maximum(strip, torch.maximum((angle - 1.42) * 0.4, -lens))
    return torch.maximum(strip, crop(head.outline, at))
