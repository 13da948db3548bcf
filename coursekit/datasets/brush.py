"""A painter's hand in numpy: noise, flow fields, strokes with bristles, thick paint under light.

Strokes follow Haeberli 1990 (a painting is an ordered list of strokes), Litwinowicz 1997 (strokes
turned along a field) and Hertzmann 1998 (curved strokes laid from coarse to fine). Coordinates are
fractions of the picture's side, x to the right and y down, so that a painting looks the same at
every size; random numbers never depend on the size. Only the size of a picture and the side of a
field are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
FIELD = 320  # side of the grids on which scenes are planned
SUPERSAMPLE = 2


def palette(*codes: str) -> Array:
    """Hex colours such as "1b2a6b" as an array (n, 3) in [0, 1]."""
    rows = [[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes]
    return np.asarray(rows, np.float32)


def ramp(colours: Array, value: NDArray) -> Array:
    """Colours (…, 3) along a palette; ``value`` in [0, 1], first to last colour."""
    stops = np.linspace(0, 1, len(colours))
    value = np.clip(value, 0, 1)
    channels = [np.interp(value, stops, colours[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def grid(side: int = FIELD) -> tuple[NDArray, NDArray]:
    """Pixel centres (x, y), each (side, side), as fractions of the side."""
    line = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(line, line)
    return x, y


def smoothstep(low: float | NDArray, high: float | NDArray, value: NDArray) -> NDArray:
    """0 below ``low``, 1 above ``high``, a cubic between; ``low`` may be the larger one."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def value_noise(
    rng: np.random.Generator, side: int, cells: float, stretch: tuple[float, float] = (1.0, 1.0)
) -> Array:
    """Smooth noise (side, side) of mean 0 and deviation about 1, ``cells`` bumps along a side.

    The lattice is drawn before it is sampled: the same seed gives the same noise at every size.
    """
    fx, fy = cells * stretch[0], cells * stretch[1]
    lattice = rng.standard_normal((int(np.ceil(fy)) + 4, int(np.ceil(fx)) + 4))
    line = (np.arange(side) + 0.5) / side
    spot = np.meshgrid(line * fy + 1.5, line * fx + 1.5, indexing="ij")
    noise = ndimage.map_coordinates(lattice, spot, order=3, mode="reflect", output=np.float32)
    return noise / 0.7


def fractal_noise(
    rng: np.random.Generator,
    side: int = FIELD,
    cells: float = 4,
    octaves: int = 4,
    stretch: tuple[float, float] = (1.0, 1.0),
    gain: float = 0.5,
) -> Array:
    """A sum of ``octaves`` value noises, each twice as fine and ``gain`` times as strong."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        total += gain**octave * value_noise(rng, side, cells * 2**octave, stretch)
    return total / np.sqrt(sum(gain ** (2 * octave) for octave in range(octaves)))


def sample(plane: NDArray, xy: NDArray) -> Array:
    """Bilinear values of ``plane`` (H, W) or (H, W, C) at points (…, 2) in unit coordinates."""
    height, width = plane.shape[:2]
    spot = np.stack([xy[..., 1] * height - 0.5, xy[..., 0] * width - 0.5])
    if plane.ndim == 2:
        return ndimage.map_coordinates(plane, spot, order=1, mode="nearest", output=np.float32)
    return np.stack([sample(plane[..., c], xy) for c in range(plane.shape[2])], axis=-1)


def unit(flow: NDArray) -> Array:
    """A vector field (H, W, 2) scaled to unit length."""
    return (flow / np.maximum(np.linalg.norm(flow, axis=-1, keepdims=True), 1e-6)).astype(
        np.float32
    )


def trace(flow: NDArray, start: NDArray, length: NDArray, points: int) -> NDArray:
    """Streamlines (n, points, 2) of a unit field through ``start`` (n, 2), of the given lengths."""
    half = points // 2
    step = (length / max(points - 1, 1))[:, None]
    forward: list[NDArray] = [start.astype(np.float32)]
    for _ in range(points - half - 1):
        forward.append(forward[-1] + step * unit(sample(flow, forward[-1])))
    backward: list[NDArray] = [start.astype(np.float32)]
    for _ in range(half):
        backward.append(backward[-1] - step * unit(sample(flow, backward[-1])))
    return np.stack(backward[:0:-1] + forward, axis=1)


def smear(noise: NDArray, flow: NDArray, length: float = 0.2, steps: int = 24) -> Array:
    """Line integral convolution: ``noise`` averaged along the field, of deviation 1 again."""
    side = noise.shape[0]
    start = np.stack(grid(side), axis=-1).reshape(-1, 2)
    paths = trace(flow, start, np.full(len(start), length, np.float32), steps)
    streaks = sample(noise, paths).mean(axis=1).reshape(side, side)
    return ((streaks - streaks.mean()) / (streaks.std() + 1e-6)).astype(np.float32)


def scatter(rng: np.random.Generator, count: int, margin: float = 0.04) -> Array:
    """About ``count`` jittered points (n, 2) that cover the picture evenly, in random order."""
    side = int(np.ceil(np.sqrt(count)))
    line = np.linspace(-margin, 1 + margin, side)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    points += rng.uniform(-0.75, 0.75, points.shape) * (line[1] - line[0])
    return rng.permutation(points).astype(np.float32)


@dataclass
class Brush:
    """How paint leaves the brush. Widths and lengths are fractions of the picture's side."""

    width: float = 0.012
    length: float = 0.06
    vary: float = 0.35  # relative spread of width and length
    jitter: float = 0.03  # colour difference from stroke to stroke
    streak: float = 0.10  # colour difference between the bristles of one stroke
    dry: float = 0.25  # share of the bristles that run out of paint before the end
    body: float = 1.0  # thickness of the paint
    taper: float = 0.55  # 0 a flat brush, 1 a pointed one


@dataclass
class Canvas:
    """Colour (S, S, 3) and paint thickness (S, S), drawn ``SUPERSAMPLE`` times too large."""

    size: int
    ground: NDArray
    seed: int = 0
    colour: Array = field(init=False)
    height: Array = field(init=False)

    def __post_init__(self) -> None:
        self.side = self.size * SUPERSAMPLE
        self.rng = np.random.default_rng(self.seed)
        if self.ground.ndim == 1:
            self.colour = np.empty((self.side, self.side, 3), np.float32)
            self.colour[:] = self.ground
        else:
            xy = np.stack(grid(self.side), axis=-1)
            self.colour = sample(self.ground, xy)
        self.height = np.zeros((self.side, self.side), np.float32)
        self.bristles = _bristle_texture(self.rng)

    def lay(self, paths: NDArray, colours: NDArray, brush: Brush, scale: NDArray | None = None):
        """Lay strokes in order; later ones cover earlier ones.

        paths (n, K, 2) centre lines, colours (n, 3), scale (n,) multiplies the brush's width.
        """
        count = len(paths)
        rng = self.rng
        width = brush.width * np.exp(brush.vary * 0.6 * rng.standard_normal(count))
        width = width * (1 if scale is None else scale)
        tint = brush.jitter * (
            rng.standard_normal((count, 1)) + 0.6 * rng.standard_normal((count, 3))
        )
        second = brush.streak * (
            rng.standard_normal((count, 1)) + 0.5 * rng.standard_normal((count, 3))
        )
        offset = rng.uniform(0, 1, (count, 2))
        dry = brush.dry * rng.uniform(0, 1.6, count)
        chunk = 256
        for i in range(0, count, chunk):
            part = slice(i, i + chunk)
            self._stamp(
                paths[part].astype(np.float32),
                (colours[part] + tint[part]).astype(np.float32),
                second[part].astype(np.float32),
                width[part].astype(np.float32),
                offset[part].astype(np.float32),
                dry[part].astype(np.float32),
                brush,
            )

    def _stamp(
        self,
        paths: Array,
        colours: Array,
        second: Array,
        width: Array,
        offset: Array,
        dry: Array,
        brush: Brush,
    ) -> None:
        """Rasterise one batch: every stroke is a ribbon of samples less than a pixel apart."""
        lengths = np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(axis=1)
        along = int(np.clip(np.ceil(lengths.max() * self.side * 1.35), 3, 900))
        across = int(np.clip(np.ceil(width.max() * self.side * 1.35), 3, 300))
        u = np.linspace(0, 1, along, dtype=np.float32)
        v = np.linspace(-1, 1, across, dtype=np.float32)
        line = _resample(paths, along)
        tangent = np.gradient(line, axis=1)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=-1, keepdims=True), 1e-9)
        normal = np.stack([-tangent[..., 1], tangent[..., 0]], axis=-1)
        half = 0.5 * width[:, None] * _profile(u, brush.taper)[None]
        spot = line[:, :, None] + normal[:, :, None] * (half[..., None] * v)[..., None]

        # Bristles: streaks of a shared texture, shifted at random from stroke to stroke.
        rows = (offset[:, 0, None] + v * width[:, None] * 4)[:, None, :]
        columns = (offset[:, 1, None] + u * lengths[:, None] * 0.9)[:, :, None]
        side = self.bristles.shape[0]
        iy = (rows * side).astype(np.int32) % side
        ix = (columns * side).astype(np.int32) % side
        hair = self.bristles[iy, ix]
        paint = colours[:, None, None] + second[:, None, None] * hair[..., None]
        edge = 1 - np.abs(v[None, None]) ** 4
        thick = brush.body * (0.55 * edge + 0.28 * hair + 0.25 * np.abs(v) ** 3 * edge)
        gone = hair < -2.2 + 3.0 * dry[:, None, None] * (0.25 + u[None, :, None] ** 2 * 1.6)

        px = np.floor(spot * self.side).astype(np.int32)
        keep = ~gone & (px >= 0).all(axis=-1) & (px < self.side).all(axis=-1)
        flat = px[..., 1][keep] * self.side + px[..., 0][keep]
        self.colour.reshape(-1, 3)[flat] = paint[keep]
        below = self.height.reshape(-1)
        below[flat] = 0.35 * below[flat] + np.broadcast_to(thick, keep.shape)[keep] * np.sqrt(
            np.broadcast_to(width[:, None, None] / 0.012, keep.shape)[keep]
        )

    def finish(
        self, relief: float = 0.35, weave: float = 0.02, threads: int = 150, grain: float = 0.012
    ) -> NDArray[np.uint8]:
        """The picture (size, size, 3): thick paint lit from the top left, on woven canvas."""
        unit_px = self.side / 1024
        surface = ndimage.gaussian_filter(self.height, 0.7 * unit_px)
        gy, gx = np.gradient(surface, 1 / unit_px)
        light = relief * np.tanh(1.2 * (0.75 * gx + 1.0 * gy))
        x, y = grid(self.side)
        turn = 2 * np.pi * threads
        cloth = np.sin(turn * x) * np.sin(turn * y)
        thin = np.exp(-np.abs(self.height))
        light += weave * cloth * (0.4 + thin)
        light += grain * value_noise(self.rng, self.side, 260)
        lit = self.colour * (1 + light[..., None]) + 0.35 * np.maximum(light, 0)[..., None] ** 1.5
        return to_bytes(shrink(lit, SUPERSAMPLE))


def _profile(u: Array, taper: float) -> Array:
    """Width of a stroke along its length: round at the start, drawn out at the end."""
    start = np.sqrt(np.clip(1 - (1 - np.clip(u / 0.12, 0, 1)) ** 2, 0, 1))
    end = np.clip((1 - u) / 0.45, 0, 1) ** 0.6
    return (start * (1 - taper + taper * end) * np.clip((1 - u) / 0.04, 0, 1) ** 0.5).astype(
        np.float32
    )


def _resample(paths: Array, points: int) -> Array:
    """Paths (n, K, 2) at ``points`` evenly spaced parameters, smooth to second order."""
    knots = paths.shape[1]
    where = np.linspace(0, knots - 1, points)
    low = np.minimum(where.astype(int), knots - 2)
    t = (where - low).astype(np.float32)[None, :, None]
    return paths[:, low] * (1 - t) + paths[:, low + 1] * t


def _bristle_texture(rng: np.random.Generator, side: int = 512) -> Array:
    """Streaky noise (side, side), long along x, of mean 0 and deviation 1; it tiles."""
    total = np.zeros((side, side), np.float32)
    for across, along, weight in ((1.0, 30, 1.0), (2.2, 60, 0.9), (5.0, 20, 0.5)):
        noise = rng.standard_normal((side, side)).astype(np.float32)
        noise = ndimage.gaussian_filter(noise, (across, along), mode="wrap")
        total += weight * noise / noise.std()
    return total / total.std()


def shrink(image: NDArray, factor: int) -> Array:
    """Area average by a whole factor: (H, W, C) -> (H / factor, W / factor, C)."""
    height, width, channels = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, channels)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def to_bytes(image: NDArray) -> NDArray[np.uint8]:
    """Floats in [0, 1] as bytes; what lies outside is clipped."""
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
