"""Two pictures built from pieces: a stained-glass window and a tangle of cubist planes.

``size`` is the side in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from coursekit.datasets.brush import (
    SUPERSAMPLE,
    Array,
    Brush,
    Canvas,
    fractal_noise,
    grid,
    palette,
    ramp,
    sample,
    scatter,
    shrink,
    smoothstep,
    to_bytes,
    trace,
    value_noise,
)

GLASS = {
    "sun": palette("fff2a8", "fbd24a", "f7a823", "f08a1c"),
    "ray": palette("f9c34a", "ef7f2a", "d94a2b", "b52a3a"),
    "sky": palette("0f2a7a", "1f56b8", "3f8fdc", "7cc4ee", "34308f"),
    "hill": palette("0e5a3c", "1f8a4a", "6ab23c", "b8cc3a", "0f6a6a"),
    "river": palette("0c4a8a", "1f9ab8", "8fe0dc", "d8f4ee", "1668a8"),
    "bloom": palette("c81f4a", "e8487a", "8f1f7a", "f28ab0", "b0182a"),
    "leaf": palette("0c4a2a", "2a7a2c", "58a03a", "0f5a4a"),
}


def _window(x: Array, y: Array) -> tuple[NDArray[np.int32], list[str]]:
    """Regions of the window: an index (H, W) and the kind of glass of each region."""
    kinds: list[str] = ["sky"]
    region = np.zeros(x.shape, np.int32)

    def paint(mask: NDArray, kind: str, part: NDArray | int = 0, parts: int = 1) -> None:
        base = len(kinds)
        kinds.extend([kind] * parts)
        np.copyto(region, base + np.asarray(part, np.int32), where=mask)

    cx, cy = 0.62, 0.27
    d, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    ring = np.floor(d / 0.10).astype(int)
    paint(d > 0, "sky", np.clip(ring, 0, 9), 10)
    spoke = np.floor((angle + np.pi) / (2 * np.pi) * 24).astype(int) % 24
    reach = 0.205 + 0.045 * (spoke % 2)
    paint(d < reach, "ray", spoke, 24)
    paint(d < 0.125, "sun", spoke // 3, 8)
    paint(d < 0.055, "sun")
    for level, rise, turn in ((0.56, 0.07, 0.7), (0.65, 0.06, 2.4)):
        ridge = level + rise * np.sin(5.5 * x + turn)
        strip = np.clip(np.floor((y - ridge) / 0.06), 0, 3).astype(int)
        paint(y > ridge, "hill", strip, 4)
    bed = 0.46 + 0.17 * np.sin(6 * (y - 0.45)) + 0.25 * (y - 0.7)
    half = 0.02 + 0.34 * np.clip(y - 0.56, 0, 1)
    lane = np.clip(np.floor((x - bed + half) / (half + 1e-6) * 2), 0, 3).astype(int)
    paint((np.abs(x - bed) < half) & (y > 0.60), "river", lane, 4)
    for fx, fy, radius, petals in (
        (0.17, 0.73, 0.135, 8),
        (0.86, 0.80, 0.12, 7),
        (0.12, 0.30, 0.09, 6),
    ):
        d, angle = np.hypot(x - fx, y - fy), np.arctan2(y - fy, x - fx)
        stem = (np.abs(x - fx - 0.03 * np.sin(9 * (y - fy))) < 0.014) & (y > fy)
        paint(stem, "leaf")
        for side in (-1, 1):
            u, v = (x - fx) * side - 0.075, y - fy - radius * 1.35
            paint((u + 0.4 * v) ** 2 / 0.065**2 + (v - 0.4 * u) ** 2 / 0.026**2 < 1, "leaf")
        lobe = np.abs(np.cos(angle * petals / 2)) ** 0.6
        petal = np.floor((angle + np.pi) / (2 * np.pi) * petals + 0.5).astype(int) % petals
        paint(d < radius * (0.45 + 0.55 * lobe), "bloom", petal, petals)
        paint(d < radius * 0.32, "sun")
    return region, kinds


def stained_glass(size: int, seed: int = 1144) -> NDArray[np.uint8]:
    """A leaded window of sun, hills, a river and flowers; every pane has its own glass."""
    rng = np.random.default_rng(seed)
    side = size * SUPERSAMPLE
    x, y = grid(side)
    xy = np.stack([x, y], axis=-1)
    warp = np.stack([fractal_noise(rng, cells=5, octaves=2) for _ in range(2)], axis=-1)
    bent = xy + 0.006 * sample(warp, xy)
    region, kinds = _window(bent[..., 0], bent[..., 1])
    seeds = scatter(rng, 420, margin=0.02)
    nearest = cKDTree(seeds).query(bent + 0.010 * sample(warp[::-1], xy))[1]
    label = region.astype(np.int64) * len(seeds) + nearest
    _, pane = np.unique(label, return_inverse=True)
    pane = pane.reshape(side, side)

    edge = np.ones((side, side), bool)
    edge[:, 1:] &= pane[:, 1:] == pane[:, :-1]
    edge[1:] &= pane[1:] == pane[:-1]
    inside = ndimage.distance_transform_edt(edge).astype(np.float32) / side
    glass = _glass(rng, x, y, region, nearest, kinds, len(seeds))
    glass *= (0.62 + 0.50 * smoothstep(0.0035, 0.016, inside))[..., None]
    came = 0.0038 + 0.0008 * sample(fractal_noise(rng, cells=20, octaves=2), xy)
    lead = smoothstep(came, came - 0.0012, inside)
    bead = np.sqrt(np.clip(1 - (inside / came) ** 2, 0, 1))
    gy, gx = np.gradient(ndimage.gaussian_filter(bead, side / 900))
    metal = 0.13 + 0.05 * value_noise(rng, side, 120) - 0.55 * (gx + gy) * side / 1024
    metal = metal[..., None] * palette("d8dce8")
    picture = glass * (1 - lead[..., None]) + metal * lead[..., None]
    return to_bytes(shrink(picture, SUPERSAMPLE))


def _glass(
    rng: np.random.Generator,
    x: Array,
    y: Array,
    region: NDArray,
    nearest: NDArray,
    kinds: list[str],
    seeds: int,
) -> Array:
    """Colour of mouth-blown glass: a tint for each pane, streaks, ripples, bubbles, firing."""
    side = len(x)
    mix = rng.uniform(size=(len(kinds), 1)) * 0.55 + rng.uniform(size=(1, seeds)) * 0.45
    turn = rng.uniform(0, np.pi, seeds)[nearest]
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    wisp = fractal_noise(rng, 512, cells=16, octaves=4, stretch=(0.35, 2.2), gain=0.65)
    place = np.stack([along * 0.7 + turn, across * 0.7 + 2 * turn], axis=-1) % 1.0
    streak = sample(wisp, place)
    value = np.clip(mix[region, nearest] + 0.16 * streak, 0, 1)
    glass = np.zeros((side, side, 3), np.float32)
    for kind, colours in GLASS.items():
        here = np.isin(region, [i for i, k in enumerate(kinds) if k == kind])
        glass[here] = ramp(colours, value[here])
    ripple = value_noise(rng, side, 70) + 0.8 * value_noise(rng, side, 130)
    gy, gx = np.gradient(ripple, 1024 / side)
    bubbles = smoothstep(2.0, 2.9, value_noise(rng, side, 150))
    light = 1.16 + 0.10 * streak + 0.9 * (gx + gy) + 0.45 * bubbles
    smoke = sample(fractal_noise(rng, cells=6, octaves=5, gain=0.7), np.stack([x, y], -1))
    return glass * (light - 0.10 * np.maximum(smoke, 0))[..., None]


OCHRE = palette("c8842e", "e0a848", "b8692a", "8a4a22", "e8c68a", "f0dcb8")
ROSE = palette("c87a6a", "e0a090", "a85a50", "d88a80", "f0c8b8")
SMOKE = palette("14141a", "2a2a32", "4a4a52", "7a7a80", "b0aeb0", "e8e4dc", "f8f4ea")
ACCENT = palette("1f4a9a", "12306a", "6a2a8a", "8a2a3a", "2a6a6a")


def cubist_shards(size: int, seed: int = 1913) -> NDArray[np.uint8]:
    """Overlapping shaded planes in ochre, rose, black and white, brushed along each plane."""
    rng = np.random.default_rng(seed)
    colour, angle, lines = _planes(rng, 768)
    flow = np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)
    canvas = Canvas(size, colour, seed)
    plan = (
        (5200, Brush(0.0150, 0.034, jitter=0.025, streak=0.06, dry=0.9, body=0.7, taper=0.3)),
        (9000, Brush(0.0080, 0.024, jitter=0.035, streak=0.07, dry=0.9, body=0.8, taper=0.3)),
        (9000, Brush(0.0045, 0.016, jitter=0.035, streak=0.06, dry=0.8, body=0.7, taper=0.5)),
    )
    for count, brush in plan:
        at = scatter(rng, count)
        paths = trace(flow, at, np.full(len(at), brush.length), 4)
        ends = np.abs(sample(colour, paths[:, 0]) - sample(colour, paths[:, -1])).sum(axis=-1)
        paths = paths[ends < 0.16]  # a stroke stays within its plane
        canvas.lay(paths, sample(colour, paths[:, 2]), brush)
    pen = Brush(0.0045, 0.1, vary=0.5, jitter=0.02, streak=0.03, dry=0.5, body=0.9, taper=0.8)
    dark = np.tile(palette("16141a"), (len(lines), 1))
    canvas.lay(lines, dark, pen, rng.uniform(0.5, 1.5, len(lines)))
    return canvas.finish(relief=0.24, weave=0.03)


def _planes(rng: np.random.Generator, side: int) -> tuple[Array, Array, Array]:
    """Colour (side, side, 3), brush angle (side, side) and contours (n, 12, 2) of the planes."""
    colour = ramp(OCHRE, 0.4 + 0.3 * fractal_noise(rng, side, 3))
    angle = np.full((side, side), 0.6, np.float32)
    main = rng.permutation(np.concatenate([np.full(3, 0.55), np.full(2, 2.1)]))
    count = 230
    lines = []
    for index in range(count):
        size = 0.32 * (1 - index / count) ** 1.5 + 0.045
        centre = rng.uniform(-0.05, 1.05, 2)
        if index > 90:
            centre = 0.5 + 0.26 * rng.standard_normal(2)
        turn = main[index % 5] + 0.35 * rng.standard_normal()
        outline = _lay_plane(rng, colour, angle, centre, size, turn, index)
        if index > count - 45 and index % 2:
            spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            lines.append(centre + size * outline @ spin)
    return colour, angle, np.asarray(lines, np.float32)


def _lay_plane(
    rng: np.random.Generator,
    colour: Array,
    angle: Array,
    centre: NDArray,
    size: float,
    turn: float,
    index: int,
) -> NDArray:
    """Paint one plane into ``colour`` and ``angle``; returns one of its edges in its own axes."""
    side = len(colour)
    low = np.clip(((centre - 1.6 * size) * side).astype(int), 0, side)
    high = np.clip(((centre + 1.6 * size) * side).astype(int) + 1, 0, side)
    here = (slice(low[1], high[1]), slice(low[0], high[0]))
    x, y = (plane[here] - c for plane, c in zip(grid(side), centre, strict=True))
    u = (x * np.cos(turn) + y * np.sin(turn)) / size
    v = (y * np.cos(turn) - x * np.sin(turn)) / size
    depth, outline = _shard(rng, u, v)
    shape = smoothstep(-0.012, 0.012, depth)
    shade = rng.uniform(0.2, 0.8) + rng.uniform(0.35, 0.65) * (u if index % 2 else v)
    hue = rng.choice(4, p=(0.34, 0.19, 0.37, 0.10))
    paint = ramp((OCHRE, ROSE, SMOKE, ACCENT)[hue], shade)
    rim = smoothstep(0.035, 0.0, depth * size / 0.12) * smoothstep(-0.1, 0.4, v)
    fade = smoothstep(1.3, -0.6, v) if index % 3 == 0 else np.ones_like(v)
    mask = (shape * fade)[..., None]
    colour[here] = colour[here] * (1 - mask) + paint * (1 - 0.75 * rim[..., None]) * mask
    angle[here] = np.where(shape > 0.5, turn + (0.0 if index % 2 else np.pi / 2), angle[here])
    return outline


def _shard(rng: np.random.Generator, u: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:
    """One plane in its own axes: depth inside its edge (H, W) and one edge as a line (12, 2)."""
    kind = rng.integers(4)
    t = np.linspace(-1, 1, 12)
    if kind == 0:  # a slanted quadrilateral
        slant, thin = rng.uniform(-0.5, 0.5), rng.uniform(0.25, 0.8)
        depth = np.minimum(1 - np.abs(u - slant * v), thin - np.abs(v))
        outline = np.stack([t + slant * thin, np.full(12, thin)], axis=1)
    elif kind == 1:  # a wedge
        open_ = rng.uniform(0.25, 0.6)
        depth = np.minimum(open_ * (u + 1) - np.abs(v), 1 - u)
        outline = np.stack([t, open_ * (t + 1)], axis=1)
    elif kind == 2:  # a half disc
        depth = np.minimum(0.85 - np.hypot(u, v), v + rng.uniform(0.0, 0.3))
        outline = 0.85 * np.stack(
            [np.cos(np.pi * (t + 1) / 2), np.sin(np.pi * (t + 1) / 2)], axis=1
        )
    else:  # a crescent
        shift, radius = rng.uniform(0.25, 0.5), rng.uniform(0.75, 0.95)
        depth = np.minimum(radius - np.hypot(u, v), np.hypot(u + 0.1, v + shift) - 0.8 * radius)
        arc = np.pi * (0.08 + 0.84 * (t + 1) / 2)
        outline = radius * np.stack([np.cos(arc), np.sin(arc)], axis=1)
    return depth, outline
