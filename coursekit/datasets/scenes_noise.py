"""Noise for the rendered scenes: one large tile, read at other places for every scene.

The renderer adds, multiplies, divides, rounds and takes square roots, and nothing else. These
operations are exact in IEEE arithmetic, so that a scene does not depend on which scenes are drawn
beside it, on the number of threads or on the vector unit of the processor.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.core import runtime

CELLS = 32  # bumps of the coarsest octave along a side of the tile
SIDE = 1024  # texels along a side of the tile
_OCTAVES = 5
_SPREAD = 1.4  # of gradient noise: brings its values to about [-1, 1]
_SEED = 20_160_813


def clip(value: Tensor) -> Tensor:
    """``value`` cut to [0, 1]."""
    return value.clamp(0, 1)


def smoothstep(low: float | Tensor, high: float | Tensor, value: Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, a cubic between; ``low`` may be the larger one."""
    t = clip((value - low) / (high - low))
    return t * t * (3 - 2 * t)


def mix(first: Tensor | float, second: Tensor | float, share: Tensor) -> Tensor:
    """``first`` where ``share`` is 0, ``second`` where it is 1."""
    return first + (second - first) * share


def bell(distance: Tensor, width: float | Tensor) -> Tensor:
    """A bump that is 1 at distance 0 and falls off like a Lorentz curve squared."""
    t = distance / width
    t = 1 / (1 + t * t)
    return t * t


def hashed(texture: Tensor, purpose: int) -> Tensor:
    """A number in [0, 1) for each of ``texture`` (int64, any shape), another for each purpose."""
    value = (texture * 0x9E3779B1 + purpose * 0x85EBCA77) & 0xFFFFFFFF
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1)):
        value = ((value ^ (value >> shift)) * factor) & 0xFFFFFFFF
    return (value >> 8).float() / 2**24


@dataclass(frozen=True)
class Tile:
    """A periodic picture of noise and its halved copies, each flattened to one dimension."""

    levels: tuple[Tensor, ...]

    def at(self, u: Tensor, v: Tensor, step: float = 0.0) -> Tensor:
        """Values at (u, v), both in cells; bilinear between the texels.

        ``u`` and ``v`` broadcast against each other. ``step``: cells between neighbouring points;
        the larger, the smoother the copy that is read.
        """
        level = self._level(step)
        table, side = self.levels[level], SIDE >> level
        columns, right = _split(u * (side / CELLS) - 0.5, side)
        rows, below = _split(v * (side / CELLS) - 0.5, side)
        (x0, x1), (y0, y1) = columns, rows
        y0, y1 = y0 * side, y1 * side
        top = mix(_take(table, y0 + x0), _take(table, y0 + x1), right)
        bottom = mix(_take(table, y1 + x0), _take(table, y1 + x1), right)
        return mix(top, bottom, below)

    def _level(self, step: float) -> int:
        level, texels = 0, step * SIDE / CELLS
        while texels > 1.5 and level < len(self.levels) - 1:
            level, texels = level + 1, texels / 2
        return level


def _split(position: Tensor, side: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Indices of the two neighbouring texels and how far the position is on its way."""
    whole = position.floor()
    first = whole.to(torch.int32) & (side - 1)
    return (first, (first + 1) & (side - 1)), position - whole


def _take(table: Tensor, index: Tensor) -> Tensor:
    return table.index_select(0, index.reshape(-1)).view(index.shape)


def _gradient_noise(cells: int, generator: torch.Generator) -> Tensor:
    """Periodic gradient noise (SIDE, SIDE) after Perlin 2002, "Improving noise"."""
    slopes = torch.rand(2, cells, cells, generator=generator) * 2 - 1
    slopes = slopes / (slopes.square().sum(0).sqrt() + 1e-3)
    place = (torch.arange(SIDE) + 0.5) * (cells / SIDE)
    first = place.floor().long()
    away = place - first
    total = torch.zeros(SIDE, SIDE)
    for dy in (0, 1):
        for dx in (0, 1):
            gx, gy = slopes[:, (first + dy) % cells][:, :, (first + dx) % cells]
            ramp = gx * (away - dx) + gy * (away - dy)[:, None]
            total += ramp * _fade(1 - (away - dx).abs()) * _fade(1 - (away - dy).abs())[:, None]
    return total * _SPREAD


def _fade(t: Tensor) -> Tensor:
    return t * t * t * (t * (t * 6 - 15) + 10)


def _tile(picture: Tensor) -> Tile:
    levels = [picture]
    while len(levels[-1]) > 2 * CELLS:
        last = levels[-1]
        rows = last[::2] + last[1::2]
        levels.append((rows[:, ::2] + rows[:, 1::2]) / 4)
    return Tile(tuple(level.reshape(-1) for level in levels))


@dataclass(frozen=True)
class Tiles:
    """The tiles that scenes are made of, values in about [-1, 1]; ``ridged`` in [0, 1].

    Attributes:
        smooth: one octave, soft bumps.
        fractal: five octaves, each half as strong as the one before.
        ridged: sharp crests at every scale, as mountains have.
        facing: the slope of ``ridged`` from left to right.
    """

    smooth: Tile
    fractal: Tile
    ridged: Tile
    facing: Tile


@functools.lru_cache(maxsize=1)
def tiles() -> Tiles:
    """The tiles, the same ones in every process."""
    generator = runtime.generator(_SEED)
    octaves = [_gradient_noise(CELLS << k, generator) for k in range(_OCTAVES)]
    fractal, ridged = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    for k, octave in enumerate(octaves):
        fractal += octave * 0.5**k
        ridged += (1 - octave.abs()) * 0.5**k
    ridged /= 2 - 0.5 ** (_OCTAVES - 1)
    facing = (ridged.roll(-3, 1) - ridged.roll(3, 1)) * 3
    return Tiles(_tile(octaves[0]), _tile(fractal), _tile(ridged), _tile(facing))
