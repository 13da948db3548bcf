"""Three oil paintings made by code: a night sky, a burning evening, a garden in dots.

``size`` is the side in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coursekit.datasets.brush import (
    Array,
    Brush,
    Canvas,
    fractal_noise,
    grid,
    palette,
    ramp,
    sample,
    scatter,
    smear,
    smoothstep,
    trace,
    unit,
)

SKY = palette(
    "0b1030", "101c56", "1a3585", "2455a8", "3f7fc0", "79b3d2", "bcd9d0", "efe8ae", "f2d24a"
)
STAR = palette("f6b93a", "fff6cf", "fdf0a8", "f8d95a", "f3cf52", "e3dd9a", "a8cdd0", "5f9fcf")
HILL = palette("060b1e", "0d1a3c", "16305a", "1f4a72", "2f6a80", "5b94a0")
FIELD_GREEN = palette("0c1a1c", "173428", "2c5436", "5a7c3a", "9a9c48", "d6bc56")
CYPRESS = palette("04070a", "0b1613", "14261a", "243a1e", "4a4a20", "6a3a1c")


def _vortex(x: Array, y: Array, cx: float, cy: float, radius: float, spin: float) -> NDArray:
    """Velocity (H, W, 2) of an eddy that draws its surroundings slowly inwards."""
    dx, dy = x - cx, y - cy
    weight = np.exp(-(dx * dx + dy * dy) / radius**2)[..., None]
    round_ = np.stack([-dy, dx], axis=-1) * spin
    inward = np.stack([-dx, -dy], axis=-1) * 0.35
    return weight * (round_ + inward) / radius * 3.2


def _overlay(base: NDArray, new: NDArray, mask: NDArray) -> Array:
    """``new`` where ``mask`` is 1, ``base`` where it is 0."""
    mask = mask[..., None] if base.ndim == 3 else mask
    return (base * (1 - mask) + new * mask).astype(np.float32)


def night_strokes(size: int, seed: int = 1889) -> NDArray[np.uint8]:
    """Stars and eddies over hills, after the manner of Saint-Rémy: thick, turning strokes."""
    rng = np.random.default_rng(seed)
    x, y = grid()
    wave = 0.30 * np.cos(2 * np.pi * (x * 0.9 + 0.1) + 3 * y)
    flow = np.stack([np.ones_like(x), wave], axis=-1)
    for eddy in ((0.40, 0.36, 0.17, 1), (0.66, 0.46, 0.105, -1), (0.10, 0.20, 0.10, -1)):
        flow = flow + 1.5 * _vortex(x, y, *eddy)
    flow = unit(flow)

    streaks = smear(fractal_noise(rng, cells=26, octaves=2), flow, 0.30, 40)
    broad = smear(fractal_noise(rng, cells=7, octaves=2), flow, 0.40, 40)
    glow = sum(
        np.exp(-((np.hypot(x - cx, y - cy) - r * 0.62) ** 2) / (0.30 * r) ** 2)
        for cx, cy, r in ((0.40, 0.36, 0.17), (0.66, 0.46, 0.105))
    )
    band = np.exp(-((y - 0.60 - 0.05 * np.sin(5 * x + 1)) ** 2) / 0.05**2)
    value = 0.33 + 0.12 * broad + 0.12 * streaks + 0.20 * glow + 0.26 * band
    value = value - 0.10 * smoothstep(0.25, 0.0, y)
    colour = ramp(SKY, value)
    scale = np.ones_like(x)

    stars = [
        (0.845, 0.165, 0.125, 1.0),
        (0.155, 0.47, 0.075, 0.9),
        (0.58, 0.11, 0.058, 0.8),
        (0.27, 0.10, 0.050, 0.8),
        (0.91, 0.44, 0.052, 0.7),
        (0.045, 0.06, 0.05, 0.7),
        (0.44, 0.61, 0.040, 0.7),
    ]
    starry = np.zeros_like(x)
    for cx, cy, radius, strength in stars:
        dx, dy = x - cx, y - cy
        d = np.hypot(dx, dy) / radius
        mask = smoothstep(1.5, 0.9, d)
        flow = unit(_overlay(flow, np.stack([-dy, dx], -1) / (radius * d[..., None] + 1e-6), mask))
        rings = 0.07 * np.sin(d * 21) + 0.07 * streaks
        light = ramp(STAR, np.clip(d * 0.80 + rings * (d > 0.25), 0, 1))
        colour = _overlay(colour, light, strength * smoothstep(1.35, 0.75, d + 0.16 * streaks))
        scale = _overlay(scale, np.full_like(x, 0.62), mask)
        starry = np.maximum(starry, mask)

    for depth, (level, colours, height) in enumerate(
        ((0.70, HILL, 0.075), (0.78, HILL, 0.05), (0.86, FIELD_GREEN, 0.035))
    ):
        ridge = level + height * np.sin(2 * np.pi * (x * (0.8 + 0.35 * depth) + 0.37 * depth))
        ridge = ridge + 0.4 * height * np.sin(2 * np.pi * (2.3 * x + 0.2 + 0.5 * depth))
        slope = np.gradient(ridge, axis=1) * x.shape[1]
        below = y - ridge
        mask = smoothstep(-0.002, 0.002, below)
        fold = 0.8 * np.sin(40 * below + 6 * x * (depth + 1)) * smoothstep(0, 0.05, below)
        direction = unit(np.stack([np.ones_like(x), slope * np.exp(-4 * below) + fold], -1))
        flow = _overlay(flow, direction, mask)
        rough = smear(fractal_noise(rng, cells=30, octaves=2), unit(flow), 0.12, 16)
        tone = 0.30 + 0.16 * depth + 0.20 * rough + 0.25 * np.sin(46 * below + 5 * x)
        tone = tone * smoothstep(-0.01, 0.02 + 0.02 * depth, below)
        colour = _overlay(colour, ramp(colours, tone), mask)
        scale = _overlay(scale, np.full_like(x, 0.8), mask)

    flow, colour, scale = _cypresses(rng, x, y, flow, colour, scale)

    canvas = Canvas(size, palette("1a2a55")[0] * 0.8, seed)
    plan = (
        (1500, Brush(0.030, 0.10, jitter=0.02, streak=0.05, dry=0.1), 0.00),
        (5200, Brush(0.0145, 0.066, jitter=0.035, streak=0.08, dry=0.3), 0.05),
        (7500, Brush(0.0085, 0.046, jitter=0.05, streak=0.09, dry=0.35), 0.12),
    )
    for count, brush, accent in plan:
        at = scatter(rng, count)
        stretch = np.exp(0.3 * rng.standard_normal(len(at)))
        paths = trace(flow, at, brush.length * stretch * sample(scale, at), 10)
        tone = sample(colour, at)
        tone = _accents(rng, tone, accent * (1 - 0.85 * sample(starry, at)))
        canvas.lay(paths, tone, brush, sample(scale, at))
    return canvas.finish(relief=0.38)


def _accents(rng: np.random.Generator, tone: Array, share: Array) -> Array:
    """Some strokes much lighter or darker than their place: what makes a surface shimmer."""
    pick = rng.uniform(size=len(tone))
    lift = 1.0 + 0.75 * rng.uniform(size=(len(tone), 1))
    warm = tone * lift + np.array([0.10, 0.08, -0.02], np.float32)
    dark = tone * 0.45 + np.array([0.0, 0.0, 0.03], np.float32)
    tone = np.where((pick < share)[:, None], warm, tone)
    return np.where((pick > 1 - share * 0.8)[:, None], dark, tone).astype(np.float32)


def _cypresses(
    rng: np.random.Generator, x: Array, y: Array, flow: Array, colour: Array, scale: Array
) -> tuple[Array, Array, Array]:
    """Two dark trees like flames, with strokes that climb and waver."""
    for cx, top, width in ((0.765, 0.52, 0.075), (0.855, 0.40, 0.095)):
        climb = np.clip((y - top) / (1.02 - top), 0, 1)
        sway = 0.018 * np.sin(13 * y + 30 * cx) + 0.008 * np.sin(34 * y)
        body = width * (climb**0.7) * (1 + 0.22 * np.sin(42 * y + 9 * np.sin(20 * y)))
        side = (x - cx - sway) / np.maximum(body, 1e-4)
        mask = smoothstep(1.08, 0.92, np.abs(side)) * (y > top)
        lean = 0.30 * np.sin(30 * y + 4 * side) - 0.28 * side * (1 - climb)
        flow = _overlay(flow, unit(np.stack([lean, -np.ones_like(x)], -1)), mask)
        tone = 0.30 + 0.22 * fractal_noise(rng, cells=40, octaves=2, stretch=(1.6, 0.5))
        colour = _overlay(colour, ramp(CYPRESS, tone + 0.15 * side), mask)
        scale = _overlay(scale, np.full_like(x, 0.7), mask)
    return flow, colour, scale


DUSK = palette("7c1c14", "b5301a", "d8491f", "ea6f2a", "f2a23e", "f3cf78", "d9b48a", "9c6a5c")
FJORD = palette("0a1220", "142338", "1f3c52", "2f5a68", "5a7f7c", "a39a72", "d9a45e")
LAND = palette("0d0f16", "1c1f28", "33302e", "523c2c", "6e5330", "87733f")
PLANK = palette("2a1512", "4a2218", "74351f", "9c5029", "bd7a3c", "d9b070")


def fire_fjord(size: int, seed: int = 1893) -> NDArray[np.uint8]:
    """A burning evening sky over a dark inlet, in long wavering strokes."""
    rng = np.random.default_rng(seed)
    x, y = grid()
    slope = 0.40 * np.cos(2 * np.pi * (1.15 * x + 0.6 * y)) + 0.22 * np.cos(15 * x - 9 * y)
    flow = unit(np.stack([np.ones_like(x), slope * smoothstep(0.44, 0.25, y)], -1))
    level = y - 0.06 * np.sin(2 * np.pi * (1.15 * x + 0.6 * y)) - 0.02 * np.sin(15 * x - 9 * y)
    streaks = smear(fractal_noise(rng, cells=18, octaves=2), flow, 0.45, 40)
    bands = 0.5 + 0.30 * np.sin(2 * np.pi * level * 8.5 + 1.5 * streaks) + 0.20 * streaks
    colour = ramp(DUSK, bands * (0.72 + 0.4 * y))
    blue = smoothstep(0.86, 0.97, np.sin(2 * np.pi * level * 4.2 + 2.0)) * smoothstep(0.05, 0.2, y)
    colour = _overlay(colour, np.broadcast_to(palette("7f9a9a"), colour.shape), 0.75 * blue)

    water = 0.36 + 0.018 * np.sin(7 * x + 1) + 0.012 * np.sin(19 * x)
    mask = smoothstep(-0.003, 0.003, y - water)
    bend = np.stack([np.ones_like(x), 0.9 * np.sin(5.2 * x + 5 * y) * smoothstep(0.4, 0.6, y)], -1)
    flow = unit(_overlay(flow, bend, mask))
    swell = smear(fractal_noise(rng, cells=20, octaves=2), flow, 0.40, 40)
    shine = np.exp(-((y - 0.46 - 0.03 * np.sin(6 * x)) ** 2) / 0.035**2)
    far = smoothstep(0.065, 0.0, y - water)
    tone = 0.30 + 0.17 * swell + 0.42 * shine - 0.24 * far
    colour = _overlay(colour, ramp(FJORD, tone), mask)

    colour, flow = _shore(rng, x, y, colour, flow)
    colour, flow = _pier(rng, x, y, colour, flow)

    canvas = Canvas(size, palette("5a3a2a")[0], seed)
    plan = (
        (900, Brush(0.030, 0.16, jitter=0.02, streak=0.06, dry=0.2, body=0.7), 0.00),
        (3200, Brush(0.0135, 0.130, jitter=0.03, streak=0.09, dry=0.5, body=0.8), 0.06),
        (4800, Brush(0.0075, 0.085, jitter=0.04, streak=0.10, dry=0.6, body=0.7), 0.12),
    )
    for count, brush, accent in plan:
        at = scatter(rng, count)
        stretch = np.exp(0.35 * rng.standard_normal(len(at)))
        paths = trace(flow, at, brush.length * stretch, 14)
        canvas.lay(paths, _accents(rng, sample(colour, at), accent * sample(0.25 + y, at)), brush)
    return canvas.finish(relief=0.26, weave=0.035)


def _shore(
    rng: np.random.Generator, x: Array, y: Array, colour: Array, flow: Array
) -> tuple[Array, Array]:
    """The near bank on the right: strokes that turn round a hollow and run down."""
    dx, dy = x - 1.10, y - 0.70
    reach = np.hypot(dx / 0.47, dy / 0.31) + 0.03 * np.sin(9 * np.arctan2(dy, dx))
    mask = smoothstep(1.008, 0.992, reach)
    turn = unit(np.stack([dy / 0.31, -dx * 0.31 / 0.47**2], -1))
    flow = unit(_overlay(flow, turn, mask))
    rough = smear(fractal_noise(rng, cells=24, octaves=2), flow, 0.30, 30)
    rings = np.sin(reach * 30 + 0.8 * rough)
    tone = 0.36 + 0.22 * rough + 0.18 * rings
    bank = ramp(LAND, tone) + 0.12 * smoothstep(0.7, 1.0, rings)[..., None] * palette("8fa090")
    return _overlay(colour, bank, mask), flow


def _pier(
    rng: np.random.Generator, x: Array, y: Array, colour: Array, flow: Array
) -> tuple[Array, Array]:
    """Planks and two rails that run from the far left to the near right."""
    vanish = np.array([-0.06, 0.415], np.float32)
    dx, dy = x - vanish[0], y - vanish[1]
    angle = np.arctan2(dy, np.maximum(dx, 1e-4))
    floor = smoothstep(0.62, 0.635, angle)
    ray = unit(np.stack([dx, dy], -1))
    rough = smear(fractal_noise(rng, cells=30, octaves=2), ray, 0.25, 24)
    planks = 0.46 + 0.22 * np.sin(angle * 60) + 0.24 * rough
    colour = _overlay(colour, ramp(PLANK, planks), floor)
    flow = _overlay(flow, ray, floor)
    for middle, half in ((0.585, 0.020), (0.465, 0.014)):
        rail = smoothstep(half, half * 0.8, np.abs(angle - middle))
        tone = 0.30 + 0.20 * rough + 0.35 * smoothstep(0.0, -half, angle - middle)
        colour = _overlay(colour, ramp(PLANK, tone), rail)
        flow = _overlay(flow, ray, rail)
    return colour, unit(flow)


PETALS = palette("e8487a", "f28a3c", "f7d048", "b04ac0", "f4f0e6", "d8283c", "f29ab0", "5a5ad0")


def dotted_garden(size: int, seed: int = 1886) -> NDArray[np.uint8]:
    """A pond between trees and flower beds, in dots of unmixed colour that the eye blends."""
    rng = np.random.default_rng(seed)
    x, y = grid()
    colour, dense = _garden_scene(rng, x, y)
    flow = unit(np.stack([np.ones_like(x), 0.8 * fractal_noise(rng, cells=5, octaves=2)], -1))
    canvas = Canvas(size, colour, seed)
    ground = Brush(0.030, 0.05, jitter=0.03, streak=0.03, body=0.3, dry=0.1)
    at = scatter(rng, 1500)
    canvas.lay(trace(flow, at, np.full(len(at), 0.05), 5), sample(colour, at), ground)
    for count, width in ((7000, 0.0150), (15000, 0.0108), (13000, 0.0080)):
        at = scatter(rng, count)
        tone = _divide(rng, sample(colour, at))
        dot = Brush(width, width, vary=0.3, jitter=0.015, streak=0.02, dry=0.0, body=0.8, taper=0.9)
        length = width * rng.uniform(0.9, 1.6, len(at))
        canvas.lay(trace(flow, at, length, 3), tone, dot, sample(dense, at))
    return canvas.finish(relief=0.22, weave=0.02)


def _divide(rng: np.random.Generator, tone: Array) -> Array:
    """Divisionism: a colour as neighbouring hues, lights and a share of its complement."""
    grey = tone.mean(axis=1, keepdims=True)
    pure = np.clip(grey + (tone - grey) * 1.55, 0, 1)
    left, right = np.roll(pure, 1, axis=1), np.roll(pure, -1, axis=1)
    kinds = np.stack(
        [
            pure,
            0.72 * pure + 0.28 * left,
            0.72 * pure + 0.28 * right,
            np.clip(pure * 1.12 + 0.08, 0, 1),
            pure * 0.74 + np.array([0.0, 0.0, 0.10], np.float32),
            np.clip(grey + 0.8 * (grey - tone), 0, 1) * 0.9,
        ]
    )
    kind = rng.choice(len(kinds), len(tone), p=(0.36, 0.15, 0.15, 0.14, 0.12, 0.08))
    return kinds[kind, np.arange(len(tone))]


def _garden_scene(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array]:
    """Local colours of the garden and the relative size of its dots."""
    sky = ramp(palette("3f8fd8", "7fbbe6", "c9dcd8", "f6d79a", "f2a878"), y / 0.40)
    cloud = smoothstep(0.3, 1.3, fractal_noise(rng, cells=3, octaves=4, stretch=(1, 2)))
    colour = _overlay(sky, np.broadcast_to(palette("fff3e4"), sky.shape), 0.75 * cloud)
    leaf = palette("1c1f5c", "12506a", "1d7a4c", "5da038", "b4c03c", "f0dc6a")
    wood = fractal_noise(rng, cells=9, octaves=4)
    hedge = 0.36 + 0.03 * np.sin(11 * x) + 0.03 * wood
    light = 0.42 + 0.17 * wood + 0.16 * np.sin(9 * x + 2)
    colour = _overlay(colour, ramp(leaf, light), smoothstep(-0.004, 0.004, y - hedge))
    for cx, cy, rx, ry in ((0.16, 0.24, 0.20, 0.20), (0.90, 0.28, 0.17, 0.17)):
        d = np.hypot((x - cx) / rx, (y - cy) / ry) + 0.10 * wood
        trunk = smoothstep(0.022, 0.016, np.abs(x - cx - 0.02 * np.sin(14 * y))) * (y > cy)
        trunk = trunk * (y < 0.52)
        colour = _overlay(colour, np.broadcast_to(palette("5a2f4a"), colour.shape), trunk)
        shade = 0.47 - 0.42 * ((x - cx) / rx * 0.6 + (y - cy) / ry * 0.7) + 0.16 * wood
        colour = _overlay(colour, ramp(leaf, shade), smoothstep(1.03, 0.95, d))
    lawn = ramp(leaf, 0.54 + 0.15 * wood + 0.12 * np.sin(24 * y + 5 * x))
    colour = _overlay(colour, lawn, smoothstep(0.495, 0.505, y + 0.02 * np.sin(6 * x)))
    pond = np.hypot((x - 0.56) / 0.40, (y - 0.66) / 0.115) + 0.04 * np.sin(20 * x)
    mirror = colour[::-1][(np.arange(len(y)) + int(0.02 * len(y))) % len(y)]
    ripple = 0.45 + 0.28 * fractal_noise(rng, cells=8, octaves=3, stretch=(0.8, 6))
    water = 0.30 * mirror + 0.70 * ramp(palette("102c86", "2f6cc4", "8fcbe4"), ripple)
    colour = _overlay(colour, water, smoothstep(1.02, 0.97, pond))
    for _ in range(26):
        cx, cy = rng.uniform(0.25, 0.88), rng.uniform(0.60, 0.74)
        pad = np.hypot((x - cx) / 0.030, (y - cy) / 0.009) < 1
        colour = _overlay(colour, np.broadcast_to(leaf[2 + int(4 * cx) % 3], colour.shape), pad)
        lily = np.hypot(x - cx, y - cy + 0.008) < 0.008
        colour = _overlay(colour, np.broadcast_to(PETALS[int(90 * cx) % 8], colour.shape), lily)
    path = np.abs(x - 0.30 + 0.25 * (y - 0.75)) - 0.10 * (y - 0.62)
    sand = ramp(palette("9a5fa8", "e8a070", "f8d898"), 0.5 + 0.2 * wood)
    colour = _overlay(colour, sand, smoothstep(0.01, -0.01, path) * smoothstep(0.78, 0.82, y))
    return _flower_beds(rng, x, y, colour)


def _flower_beds(
    rng: np.random.Generator, x: Array, y: Array, colour: Array
) -> tuple[Array, Array]:
    """Clumps of petals in the foreground; dots grow towards the viewer."""
    for index in range(240):
        cy = 0.76 + 0.26 * rng.uniform() ** 0.8
        cx = rng.uniform(-0.02, 1.02)
        if abs(cx - 0.30 + 0.25 * (cy - 0.75)) < 0.10 * (cy - 0.62) + 0.03:
            continue
        radius = (0.010 + 0.045 * (cy - 0.72)) * rng.uniform(0.7, 1.5)
        d = np.hypot(x - cx, (y - cy) * 1.3) / radius
        bloom = PETALS[(index + rng.integers(3)) % len(PETALS)]
        colour = _overlay(colour, np.broadcast_to(bloom, colour.shape), smoothstep(1.1, 0.7, d))
    return colour, (0.72 + 0.6 * smoothstep(0.4, 1.0, y)).astype(np.float32)
