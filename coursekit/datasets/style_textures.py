"""Two colour textures made by code, alike everywhere: pebbles and fallen leaves.

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
    fractal_noise,
    grid,
    palette,
    ramp,
    sample,
    scatter,
    shrink,
    smoothstep,
    to_bytes,
    value_noise,
)

STONE = palette(
    *[
        "3a3f4a",
        "5d6470",
        "8a8f94",
        "c9c6bd",
        "e8e2d2",
        "b99a78",
        "8f5f45",
        "6a3f35",
        "4a5a52",
        "a8793f",
    ]
)


def pebbles(size: int, seed: int = 7) -> NDArray[np.uint8]:
    """Wet river stones of many colours, packed, with veins, speckles and dark gaps."""
    rng = np.random.default_rng(seed)
    side = size * SUPERSAMPLE
    x, y = grid(side)
    xy = np.stack([x, y], axis=-1)
    warp = np.stack([fractal_noise(rng, cells=14, octaves=2) for _ in range(2)], axis=-1)
    bent = xy + 0.0035 * sample(warp, xy)
    centres = _relax(scatter(rng, 300, margin=0.06))
    distance, nearest = cKDTree(centres).query(bent, k=2)
    first = nearest[..., 0]
    gap = (distance[..., 1] - distance[..., 0]).astype(np.float32)
    small = rng.uniform(0.004, 0.011, len(centres))[first]
    dome = np.sqrt(np.clip(1 - (1 - np.clip((gap - small) / 0.036, 0, 1)) ** 2, 0, 1))
    local = bent - centres[first]
    stone, rough = _stone(rng, x, y, local, first, len(centres))

    bump = ndimage.gaussian_filter(dome, side / 700) * 0.020 + 0.0007 * rough
    gy, gx = np.gradient(bump.astype(np.float32), 1 / side)
    normal = np.stack([-gx, -gy, np.ones_like(gx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    sun = np.array([-0.50, -0.62, 0.61], np.float32)
    diffuse = np.clip(normal @ sun, 0, 1)
    half = sun + np.array([0, 0, 1], np.float32)
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 60
    rim = smoothstep(0.0, 0.5, dome)
    lit = stone * (0.22 + 1.05 * diffuse[..., None]) * (0.30 + 0.70 * rim[..., None])
    lit = lit + 0.30 * (gloss * rim)[..., None]
    sand = ramp(palette("0c0b0a", "241d18", "4a3c30"), 0.4 + 0.25 * value_noise(rng, side, 130))
    ground = smoothstep(0.02, 0.16, dome)[..., None]
    return to_bytes(shrink(sand * (1 - ground) + lit * ground, SUPERSAMPLE))


def _relax(centres: Array) -> Array:
    """Two rounds of Lloyd's algorithm on a coarse grid: stones of nearly even size."""
    spots = np.stack(grid(256), axis=-1).reshape(-1, 2) * 1.12 - 0.06
    for _ in range(2):
        owner = cKDTree(centres).query(spots)[1]
        count = np.bincount(owner, minlength=len(centres))
        for axis in range(2):
            total = np.bincount(owner, spots[:, axis], len(centres))
            mean = total / np.maximum(count, 1)
            centres[:, axis] = np.where(count > 0, mean, centres[:, axis])
    return centres


def _stone(
    rng: np.random.Generator, x: Array, y: Array, local: NDArray, first: NDArray, count: int
) -> tuple[Array, Array]:
    """Colour (S, S, 3) and roughness (S, S): each stone its own hue, layers, veins and speckle."""
    side = len(x)
    base: NDArray = STONE[rng.integers(len(STONE), size=count)]
    base = base * rng.uniform(0.75, 1.15, (count, 1)) + 0.03 * rng.standard_normal((count, 3))
    turn = rng.uniform(0, np.pi, count)[first]
    across = local[..., 0] * np.cos(turn) + local[..., 1] * np.sin(turn)
    cloud = sample(fractal_noise(rng, cells=26, octaves=4, gain=0.7), np.stack([x, y], -1))
    layered = rng.uniform(0, 1, count)[first] ** 2
    period = rng.uniform(300, 900, count)[first]
    layers = np.sin(across * period + 2.5 * cloud)
    speckle = value_noise(rng, side, 210) + value_noise(rng, side, 120)
    spotted = rng.uniform(0, 1, count)[first] ** 2
    tone = 1 + 0.12 * cloud + 0.16 * layered * layers + 0.13 * spotted * speckle
    colour = base[first] * tone[..., None]
    place = rng.uniform(-0.012, 0.012, count)[first]
    vein = smoothstep(0.0026, 0.0010, np.abs(across - place + 0.003 * cloud))
    vein = vein * (rng.uniform(0, 1, count) < 0.22)[first]
    colour = colour * (1 - 0.7 * vein[..., None]) + 0.7 * palette("efe9dc") * vein[..., None]
    return colour.astype(np.float32), (cloud + 0.8 * speckle * spotted).astype(np.float32)


AUTUMN = palette(
    *["7a1f14", "b8381a", "dc6a1e", "eda52c", "e8cc4a", "a8983a", "6a7a2e", "8a4a1e", "4a2a1a"]
)


def autumn_leaves(size: int, seed: int = 10) -> NDArray[np.uint8]:
    """Fallen leaves one over another, with veins, curled edges and the shadows they throw."""
    rng = np.random.default_rng(seed)
    side = size * SUPERSAMPLE
    colour = np.tile(palette("1c130d"), (side * side, 1))
    height = np.zeros(side * side, np.float32)
    shadow = np.ones(side * side, np.float32)
    centres = scatter(rng, 560, margin=0.08)
    hue = rng.uniform(0, 1, len(centres))
    for index, centre in enumerate(centres):
        length = 0.150 * np.exp(0.22 * rng.standard_normal())
        _leaf(rng, centre, length, AUTUMN, hue[index], colour, height, shadow, side)
    picture = colour.reshape(side, side, 3)
    relief = ndimage.gaussian_filter(height.reshape(side, side), side / 1000)
    gy, gx = np.gradient(relief, 1024 / side)
    light = 1 + np.clip(0.75 * (gx + 1.1 * gy), -0.45, 0.5)
    light = light * ndimage.gaussian_filter(shadow.reshape(side, side), side / 800)
    return to_bytes(shrink(picture * light[..., None], SUPERSAMPLE))


def _leaf(
    rng: np.random.Generator,
    centre: Array,
    length: float,
    colours: Array,
    hue: float,
    colour: Array,
    height: Array,
    shadow: Array,
    side: int,
) -> None:
    """Lay one leaf over what is there: blade, veins, spots; a shadow below and to the right."""
    slim = rng.uniform(0.34, 0.56)
    across = int(length * slim * side * 1.6) + 4
    along = int(length * side * 1.5) + 4
    u, v = np.meshgrid(np.linspace(-0.16, 1, along), np.linspace(-1, 1, across), indexing="ij")
    t = np.clip(u, 0, 1)
    tooth = 1 + 0.07 * ((t * rng.integers(9, 14)) % 1.0)
    half = 0.5 * slim * np.sin(np.pi * t**0.78) ** 0.9 * tooth + 0.012 * (1 - t)
    bend = rng.uniform(-0.25, 0.25) * (u - 0.3) ** 2
    px, py = (u - 0.45) * length, (v * half + bend) * length
    angle = rng.uniform(0, 2 * np.pi)
    at_x = centre[0] + px * np.cos(angle) - py * np.sin(angle)
    at_y = centre[1] + px * np.sin(angle) + py * np.cos(angle)

    w = np.abs(v) * half  # distance from the midrib
    rib = smoothstep(0.016, 0.006, w)
    pitch = rng.integers(8, 12)
    phase = ((t - 0.9 * w) * pitch) % 1.0
    side_rib = smoothstep(0.10, 0.03, np.abs(phase - 0.5)) * (u > 0.04) * (np.abs(v) < 0.93)
    mesh = np.sin(t * 150 + 8 * v) * np.sin(w * 260 + 30 * t)
    spots = smoothstep(0.9, 1.9, value_noise(rng, 64, 7))
    blotch = value_noise(rng, 64, 3.0)
    patch = np.stack([np.abs(v) * 0.5 + 0.25, t], axis=-1)
    tone = hue * 0.86 + 0.07 * sample(blotch, patch) + 0.10 * (np.abs(v) - 0.4) + 0.025 * mesh
    blade = ramp(colours, tone) * (1 - 0.55 * sample(spots, patch))[..., None]
    blade = blade * (1 - 0.22 * np.abs(v) ** 6)[..., None] * rng.uniform(0.78, 1.12)
    veins = np.clip(rib + 0.55 * side_rib, 0, 1)[..., None] * 0.55
    blade = blade * (1 - veins) + veins * (0.35 * blade + 0.65 * palette("e6c88a"))
    lift = 3.0 * np.abs(v) ** 2 - 1.5 * rib - 0.7 * side_rib + 0.25 * mesh + 1.2 * np.sin(5 * t)

    offset = 0.007
    _put(shadow, at_x + offset, at_y + offset, side, 0.50)
    _put(shadow, at_x, at_y, side, 1.0)
    _put(colour, at_x, at_y, side, blade)
    _put(height, at_x, at_y, side, lift + rng.uniform(0, 2))


def _put(target: Array, x: NDArray, y: NDArray, side: int, value: NDArray | float) -> None:
    """Write samples into a flat picture; what falls outside it is dropped."""
    ix, iy = np.floor(x * side).astype(np.int64), np.floor(y * side).astype(np.int64)
    keep = (ix >= 0) & (iy >= 0) & (ix < side) & (iy < side)
    flat = (iy * side + ix)[keep]
    target[flat] = value[keep] if isinstance(value, np.ndarray) else value
