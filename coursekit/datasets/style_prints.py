"""A wood-block print made by code: breaking waves, claws of foam, paper and grain.

``size`` is the side in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import CubicSpline

from coursekit.datasets.brush import (
    fractal_noise,
    grid,
    palette,
    ramp,
    sample,
    shrink,
    smoothstep,
    to_bytes,
    value_noise,
)

SCALE = 3
INK = "14234a"
CREAM = "f1e8cf"
BLUES = ("1b3468", "2c5288", "4d7da6", "86adbd", "c3d3c8")
Points = NDArray[np.float64]


def _curve(knots: list[tuple[float, float]], count: int = 160) -> Points:
    """A smooth curve (count, 2) through the knots, evenly spaced in chord length."""
    points = np.asarray(knots, float)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return CubicSpline(chord, points)(np.linspace(0, chord[-1], count))


class _Sheet:
    """A sheet drawn several times too large, in unit coordinates."""

    def __init__(self, size: int) -> None:
        self.side = size * SCALE
        self.image = Image.new("RGB", (self.side, self.side), f"#{CREAM}")
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: NDArray, fill: str) -> None:
        self.draw.polygon([tuple(p) for p in (points * self.side).tolist()], fill=f"#{fill}")

    def brushed(self, points: NDArray, width: NDArray | float, fill: str) -> None:
        """A line of changing width: ``width`` (n,) or one number, in fractions of the side."""
        tangent = np.gradient(points, axis=0)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        half = np.broadcast_to(np.asarray(width) / 2, (len(points),))[:, None]
        self.polygon(np.concatenate([points + normal * half, (points - normal * half)[::-1]]), fill)

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        box = [(c + s * radius) * self.side for s in (-1, 1) for c in (x, y)]
        self.draw.ellipse(box, fill=f"#{fill}")


def woodblock_sea(size: int, seed: int = 1831) -> NDArray[np.uint8]:
    """Curling waves in bands of blue and cream under a pale sun, as a worn colour print."""
    rng = np.random.default_rng(seed)
    sheet = _Sheet(size)
    _sky(sheet)
    _swell(sheet, rng, 0.70, 0.022, 5.0, 0.3)
    _breaker(sheet, rng, (0.80, 0.80), 0.27, 1)
    _swell(sheet, rng, 0.78, 0.030, 3.4, 1.9)
    _breaker(sheet, rng, (0.33, 0.84), 0.62, 1)
    _swell(sheet, rng, 0.87, 0.034, 2.6, 0.2)
    _breaker(sheet, rng, (0.74, 0.99), 0.30, -1)
    _swell(sheet, rng, 0.965, 0.030, 2.1, 2.6)
    _spray(sheet, rng, 260)
    return _pull(sheet, rng, size)


def _sky(sheet: _Sheet) -> None:
    """Paper, a sun and two long clouds."""
    sheet.dot(0.76, 0.22, 0.098, INK)
    sheet.dot(0.76, 0.22, 0.095, "d9704a")
    for y0, left, right in ((0.30, 0.55, 1.05), (0.345, 0.66, 1.05), (0.09, -0.05, 0.30)):
        x = np.linspace(left, right, 120)
        bank = np.stack([x, y0 + 0.008 * np.sin(30 * x) + 0.004 * np.sin(71 * x)], axis=1)
        ends = np.sqrt(np.clip(np.minimum(x - left, right - x) * 14, 0, 1))
        sheet.brushed(bank, 0.026 * ends + 1e-4, INK)
        sheet.brushed(bank, 0.022 * ends + 1e-4, "d8d3bf")


def _swell(
    sheet: _Sheet, rng: np.random.Generator, level: float, height: float, waves: float, phase: float
) -> None:
    """A rolling row of sea: stripes that follow its crest, foam along the top."""
    x = np.linspace(-0.02, 1.02, 300)
    turn = 2 * np.pi * waves * x + phase
    crest = level - height * (np.abs(np.sin(turn / 2)) ** 1.4 * 2 - 1) + 0.01 * np.sin(2.7 * turn)
    top = np.stack([x, crest], axis=1)
    floor = np.stack([x, np.full_like(x, level + 0.22)], axis=1)
    sheet.polygon(np.concatenate([top, floor[::-1]]), BLUES[0])
    shifts = np.cumsum(rng.uniform(0.006, 0.020, 14))
    for i, shift in enumerate(shifts):
        flat = np.exp(-shift * 9)
        y = level + shift + (crest - level) * flat + 0.003 * np.sin(40 * x + i)
        weight = 0.0055 * (0.35 + 0.65 * np.abs(np.sin(turn / 2 + 0.5 * i))) * rng.uniform(0.6, 1.6)
        line = np.stack([x, y], axis=1)
        sheet.brushed(line, weight, (BLUES[1], BLUES[2], BLUES[3], CREAM)[rng.integers(4)])
        sheet.brushed(line + [0, 0.006], 0.0012, INK)
    sheet.brushed(top, 0.004, INK)
    for i in range(6, 294, 4):
        if np.sin(turn[i]) + 0.5 * rng.standard_normal() > 0.35:
            _foam(sheet, rng, top[i], rng.uniform(0.006, 0.013))


def _breaker(
    sheet: _Sheet, rng: np.random.Generator, foot: tuple[float, float], scale: float, way: int
) -> None:
    """A wave about to break, ``scale`` high, that rolls to the right (way 1) or to the left."""
    back = _curve(
        [(-1.15, 0.1), (-0.75, 0.20), (-0.42, 0.44), (-0.12, 0.76), (0.16, 0.95)]
        + [(0.44, 0.97), (0.66, 0.84), (0.76, 0.64), (0.74, 0.50)]
    )
    face = _curve(
        [(1.25, -0.06), (0.80, -0.03), (0.45, 0.10), (0.25, 0.32), (0.23, 0.54)]
        + [(0.36, 0.70), (0.54, 0.73), (0.66, 0.64), (0.74, 0.50)]
    )

    def place(points: Points) -> Points:
        return np.asarray(foot) + points * [scale * way, -scale]

    sheet.polygon(
        place(np.concatenate([back, face[::-1], [[1.25, -0.5], [-1.15, -0.5]]])), BLUES[0]
    )
    _bands(sheet, rng, back, face, place, scale)
    sheet.brushed(place(back), 0.0048 * np.sqrt(scale / 0.5), INK)
    sheet.brushed(place(face), 0.0048 * np.sqrt(scale / 0.5), INK)
    spots = np.sort(rng.uniform(0.42, 1.0, int(90 + 130 * scale)))
    for t in spots:
        i = min(int(t * 159), 158)
        depth = rng.uniform(0, 0.12) ** 1.1
        inward = back[i] * (1 - depth) + face[i] * depth
        _foam(sheet, rng, place(inward[None])[0], scale * rng.uniform(0.014, 0.038))
    for t in np.linspace(0.50, 0.995, int(14 + 24 * scale)):
        i = min(int(t * 159), 158)
        heading = np.arctan2(*(back[i + 1] - back[i])[::-1])
        droop = -0.9 - 0.5 * t + 0.5 * rng.standard_normal()
        length = scale * rng.uniform(0.11, 0.21) * (0.7 + 0.5 * t)
        _claw(sheet, rng, place, back[i], heading + droop * 0.6, length / scale, scale, 2)


def _bands(sheet: _Sheet, rng: np.random.Generator, back, face, place, scale: float) -> None:
    """Stripes of water that climb from the foot to the lip, each with fine cut lines."""
    edges = np.cumsum(rng.uniform(0.3, 1.5, 17))
    edges = np.concatenate([[0], edges / edges[-1]]) ** 0.9
    colours = [CREAM, BLUES[3], BLUES[1], BLUES[4], BLUES[0], BLUES[2]]
    for i in range(len(edges) - 1):
        low, high = edges[i], edges[i + 1]
        inner = back * (1 - low) + face * low
        outer = back * (1 - high) + face * high
        shade = colours[i % 6] if i < 14 else BLUES[0]
        sheet.polygon(place(np.concatenate([inner, outer[::-1]])), shade)
        for cut in rng.uniform(low, high, int(2 + 2 * scale / 0.3)):
            a, b = np.sort(rng.integers(0, 159, 2))
            if b - a < 12:
                continue
            line = place((back * (1 - cut) + face * cut)[a:b])
            taper = np.sin(np.linspace(0, np.pi, b - a)) * 0.0034 + 1e-4
            sheet.brushed(line, taper, INK if shade != BLUES[0] else BLUES[3])
        sheet.brushed(place(inner), 0.0022, INK)


def _foam(sheet: _Sheet, rng: np.random.Generator, at: Points, radius: float) -> None:
    """A clump of scallops: cream rounds with an inked rim and a blue shadow."""
    count = int(rng.integers(3, 6))
    angle = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
    spread = radius * rng.uniform(0.5, 0.9, count)
    rounds = [
        (at[0] + s * np.cos(a), at[1] + s * np.sin(a)) for s, a in zip(spread, angle, strict=True)
    ]
    radii = radius * rng.uniform(0.35, 0.75, count)
    for (x, y), r in zip(rounds, radii, strict=True):
        sheet.dot(x, y, r + 0.0016, INK)
    for (x, y), r in zip(rounds, radii, strict=True):
        sheet.dot(x, y, r, CREAM)
    for (x, y), r in zip(rounds, radii, strict=True):
        if rng.uniform() < 0.55:
            sheet.dot(x + 0.25 * r, y + 0.30 * r, 0.5 * r, BLUES[3 + int(rng.integers(2))])
            sheet.dot(x, y + 0.02 * r, 0.42 * r, CREAM)


def _claw(
    sheet: _Sheet,
    rng: np.random.Generator,
    place,
    root: Points,
    heading: float,
    length: float,
    scale: float,
    depth: int,
) -> None:
    """A finger of foam that hooks over, with smaller fingers at its end (Hokusai's claws)."""
    t = np.linspace(0, 1, 26)
    bend = heading - (0.3 * t + 2.5 * t**3) * rng.uniform(0.7, 1.2)
    step = np.stack([np.cos(bend), np.sin(bend)], axis=1) * length / len(t)
    spine = root + np.cumsum(step, axis=0)
    width = 0.40 * length * scale * (1 - t) ** 0.75 + 2e-4
    line = place(spine)
    sheet.brushed(line, width + 0.0028, INK)
    sheet.brushed(line, width, CREAM)
    sheet.brushed(line[6:20], width[6:20] * 0.30, BLUES[3])
    if depth and length * scale > 0.026:
        for where in (8, 13, 18):
            turn = bend[where] + rng.uniform(0.3, 1.2)
            size = length * rng.uniform(0.38, 0.58)
            _claw(sheet, rng, place, spine[where], turn, size, scale, depth - 1)


def _spray(sheet: _Sheet, rng: np.random.Generator, count: int) -> None:
    """Drops thrown off the great wave's lip."""
    reach = np.minimum(np.abs(rng.standard_normal(count)) * 0.11, 0.22)
    angle = rng.uniform(-1.7, 1.1, count)
    for r, a in zip(reach, angle, strict=True):
        x, y = 0.72 + r * np.cos(a) * 1.3, 0.36 + r * np.sin(a) * 1.4
        radius = rng.uniform(0.0012, 0.0045)
        sheet.dot(x, y, radius + 0.0013, BLUES[1])
        sheet.dot(x, y, radius, CREAM)


def _pull(sheet: _Sheet, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Print the sheet: graded sky, wood grain, worn ink, fibres of the paper."""
    ink: NDArray = np.asarray(sheet.image, np.float32) / 255
    ink = shrink(ink, SCALE)
    x, y = grid(size)
    xy = np.stack([x, y], axis=-1)
    paper = 1 - np.clip(np.abs(ink - palette(CREAM)).sum(axis=-1) * 2.5, 0, 1)
    grade = ramp(palette("5f7f96", "c9c6b0", CREAM, CREAM, "dcb98e", "c99a7a"), y / 0.78)
    sky = (paper * smoothstep(0.80, 0.70, y))[..., None] * 0.75
    # Only open sky is graded: foam is the same cream, but stands in small islands.
    open_sky = ndimage.gaussian_filter(paper, size * 0.008) > 0.93
    sky = sky * ndimage.gaussian_filter(open_sky.astype(np.float32), size * 0.004)[..., None]
    ink = ink * (1 - sky) + grade * sky

    knots = fractal_noise(rng, cells=2.2, octaves=2, stretch=(0.7, 2.0))
    rings = np.sin(2 * np.pi * (26 * y + 1.6 * sample(knots, xy)))
    fine = value_noise(rng, size, 190, (0.07, 1.0))
    mottle = sample(fractal_noise(rng, cells=12, octaves=5, gain=0.7), xy)
    fibres = value_noise(rng, size, 210)
    dark = 1 - ink.mean(axis=-1)
    wear = smoothstep(1.2, 3.2, 0.7 * fine + 0.9 * mottle) * (0.08 + 0.4 * dark)
    tone = 1 + (0.028 * rings + 0.035 * fine) * (0.6 + dark) + 0.03 * mottle + 0.02 * fibres
    printed = ink * (1 - wear[..., None]) + palette("e6dcc2") * wear[..., None]
    return to_bytes(printed * tone[..., None] * palette("fdf8ea"))
