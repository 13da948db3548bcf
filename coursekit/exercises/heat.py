"""Small pictures of two tensors and their difference, as an inline PNG of a few hundred bytes."""

from __future__ import annotations

import base64
import html
import io

import torch
from torch import Tensor

from coursekit.exercises.messages import say

CELLS = 24
SIDE = 120


def heat_map(expected: Tensor, got: Tensor) -> str:
    """Three panels as HTML: expected, got, difference; "" where there is nothing to draw.

    Of a batch the image that differs most is shown. Blue is below 0, red above; the two values
    share a scale, the difference has its own, which is written beside it.
    """
    if expected.shape != got.shape or expected.numel() < 2:
        return ""
    wanted, mine = (_flat(each) for each in _worst(expected.double(), got.double()))
    difference = mine - wanted
    if not (wanted.isfinite().all() and mine.isfinite().all()):
        return ""
    scale = float(torch.stack([wanted.abs().max(), mine.abs().max()]).max())
    largest = float(difference.abs().max())
    panels = [
        (say("heat expected"), wanted, scale),
        (say("heat got"), mine, scale),
        (f"{say('heat difference')} (±{largest:.3g})", difference, largest),
    ]
    cells = "".join(_panel(*panel) for panel in panels)
    return f'<table style="border:none;margin-top:6px"><tr>{cells}</tr></table>'


def _worst(expected: Tensor, got: Tensor) -> tuple[Tensor, Tensor]:
    """From a batch of maps down to one map."""
    while expected.dim() > 2:
        gaps = (expected - got).abs().flatten(1).amax(1)
        index = int(gaps.nan_to_num(nan=torch.inf).argmax())
        expected, got = expected[index], got[index]
    return expected, got


def _flat(values: Tensor) -> Tensor:
    """Two axes, at most `CELLS` along each."""
    return torch.atleast_2d(values.detach())[:CELLS, :CELLS]


def _panel(title: str, values: Tensor, scale: float) -> str:
    height, width = values.shape
    pixels = max(1, SIDE // max(height, width))
    size = f"width:{width * pixels}px;height:{height * pixels}px"
    return (
        '<td style="border:none;text-align:left;vertical-align:top;padding:0 12px 0 0">'
        f'<small>{html.escape(title)}</small><br><img alt="{html.escape(title)}" '
        f'style="{size};image-rendering:pixelated" src="{_png(values, scale, pixels)}"></td>'
    )


def _png(values: Tensor, scale: float, pixels: int) -> str:
    from PIL import Image

    share = (values / scale).clamp(-1, 1) if scale else torch.zeros_like(values)
    up, down = share.clamp(min=0), (-share).clamp(min=0)
    colours = torch.stack([1 - 0.80 * down, 1 - 0.75 * (up + down), 1 - 0.80 * up], dim=-1)
    picture = Image.fromarray((colours * 255).round().byte().numpy())
    size = (values.shape[1] * pixels, values.shape[0] * pixels)
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
