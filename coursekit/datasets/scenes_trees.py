"""Trees: layered spruces, and crowns made of a few round masses of leaves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.datasets.scenes_canvas import Paint, colour, index_of
from coursekit.datasets.scenes_factors import TREE_KINDS, WINTER
from coursekit.datasets.scenes_land import Painter
from coursekit.datasets.scenes_noise import CELLS, clip, hashed, mix, smoothstep, tiles
from coursekit.datasets.scenes_sprites import Sprites, Things

_MASSES = 6


@dataclass(frozen=True)
class Kind:
    """One kind of tree; lengths in heights of the tree.

    Attributes:
        height: relative to the other kinds.
        reach: how far it reaches to either side.
        trunk: half its width, and how high it is seen.
        bark: its colour.
        leaves: two colours a season (spring, summer, autumn, winter), each tree between the two.
        masses: (x, y, radius) of the parts of the crown; none for a spruce.
    """

    height: float
    reach: float
    trunk: tuple[float, float]
    bark: str
    leaves: tuple[tuple[str, str], ...]
    masses: tuple[tuple[float, float, float], ...] = ()


_SPRUCE = Kind(
    1.1, 0.34, (0.022, 0.2), "5a4030",
    (("2f6b45", "3a7a48"), ("275f3c", "336f40"), ("2a5f3c", "3a6a3c"), ("3f6b5c", "4f7868")),
)  # fmt: skip
_OAK = Kind(
    0.95, 0.5, (0.032, 0.5), "5d4330",
    (("5f9e3c", "7db548"), ("3c7a30", "518c38"), ("c9702a", "d99a33"), ("8d8790", "a6a3ad")),
    ((0, 0.66, 0.25), (-0.20, 0.55, 0.18), (0.21, 0.57, 0.18), (-0.09, 0.80, 0.17),
     (0.11, 0.77, 0.18), (0.02, 0.47, 0.19)),
)  # fmt: skip
_BIRCH = Kind(
    1.0, 0.34, (0.018, 0.72), "e6e2da",
    (("8cbf52", "a3cc62"), ("6ba24a", "7fb056"), ("e3b93a", "ecc94f"), ("a39da6", "b9b6bf")),
    ((0, 0.64, 0.16), (-0.10, 0.52, 0.12), (0.11, 0.55, 0.13), (0.02, 0.80, 0.13),
     (-0.02, 0.91, 0.085), (-0.09, 0.70, 0.12)),
)  # fmt: skip
_POPLAR = Kind(
    1.2, 0.2, (0.018, 0.3), "6a5844",
    (("6ba548", "7fb552"), ("447f3a", "568e40"), ("d3a83a", "ddb94a"), ("918b92", "a9a6ae")),
    ((0, 0.26, 0.085), (0.01, 0.40, 0.11), (-0.01, 0.55, 0.118), (0.01, 0.70, 0.105),
     (0, 0.83, 0.082), (0, 0.93, 0.052)),
)  # fmt: skip
_PINE = Kind(
    1.1, 0.46, (0.022, 0.8), "9a6242",
    (("3f7548", "4c8450"), ("376b40", "447a48"), ("3a6a40", "4a7546"), ("547a6c", "668a7a")),
    ((0, 0.86, 0.12), (-0.17, 0.79, 0.11), (0.17, 0.81, 0.11), (-0.08, 0.71, 0.09),
     (0.10, 0.69, 0.10), (0.27, 0.73, 0.065)),
)  # fmt: skip
_BUSH = Kind(
    0.3, 0.62, (0.02, 0.2), "5d4330",
    (("e59abf", "f0c2d4"), ("4a8238", "6a9a48"), ("b5562f", "c98a3a"), ("979099", "b0acb5")),
    ((0, 0.50, 0.42), (-0.24, 0.30, 0.22), (0.24, 0.32, 0.22), (-0.12, 0.60, 0.3),
     (0.15, 0.62, 0.28), (0, 0.26, 0.24)),
)  # fmt: skip
KINDS = (_SPRUCE, _OAK, _BIRCH, _POPLAR, _PINE, _BUSH)
SNOW = colour("f1f5fb")[0]
_HEIGHTS = torch.tensor([kind.height for kind in KINDS])
_BOXES = torch.tensor([(-kind.reach, kind.reach, -0.03, 1.06) for kind in KINDS])
_TRUNKS = torch.tensor([kind.trunk for kind in KINDS])
_BARKS = colour(*(kind.bark for kind in KINDS))
_LEAVES = torch.stack([torch.stack([colour(*pair) for pair in k.leaves]) for k in KINDS])
_MASS_TABLE = torch.tensor([k.masses or ((0, 0, 0.1),) * _MASSES for k in KINDS])
_BARE = torch.tensor([bool(k.masses) and k is not _PINE for k in KINDS]).float()  # in winter


def scale_of(painter: Painter, trees: Things) -> Tensor:
    """Heights (n,) of trees, as fractions of the picture."""
    where = trees.scenes, trees.slots
    kind, size = painter.factors["tree_kind"][where], painter.factors["tree_size"][where]
    return painter.terrain.scale(trees.y) * (0.34 + 0.36 * size) * _HEIGHTS[kind]


def grow(painter: Painter, trees: Things) -> list[Sprites]:
    """The sprites of all trees."""
    spruce = painter.factors["tree_kind"][trees.scenes, trees.slots] == TREE_KINDS.index("spruce")
    sprites = []
    for chosen, grow in ((spruce, _spruce), (~spruce, _crown)):
        if bool(chosen.any()):
            stand = _Stand(painter, trees.where(chosen))
            grow(stand)
            sprites.append(stand.sprites)
    return sprites


class _Stand:
    """n trees that grow in the same way, with what both ways need; values per pixel (P,)."""

    def __init__(self, painter: Painter, trees: Things) -> None:
        where = trees.scenes, trees.slots
        self.kind, tone = (painter.factors[f"tree_{name}"][where] for name in ("kind", "tone"))
        season = painter.factors["season"][trees.scenes]
        scale = scale_of(painter, trees)
        self.sprites = Sprites(painter.canvas, trees, scale, _BOXES[self.kind])
        self.per, self.u, self.v = self.sprites.per, self.sprites.u, self.sprites.v
        self.number = painter.factors["texture"][trees.scenes] * 64 + trees.slots
        self.winter = (season == WINTER).float()
        self.side_light = self.per(painter.side_light[trees.scenes, 0, 0])
        self.haze = self.per(trees.haze)
        pair = _LEAVES[self.kind, season]
        self.leaves = self.per(mix(pair[:, 0], pair[:, 1], tone[:, None]).T)

    def random(self, purpose: int) -> Tensor:
        """A number in [0, 1) a tree, (n,)."""
        return hashed(self.number, purpose)

    def noise(self, kind: str, cells: float) -> Tensor:
        """Noise that belongs to the tree."""
        u = self.u * cells + self.per(self.random(150) * CELLS)
        v = self.v * cells + self.per(self.random(151) * CELLS)
        return getattr(tiles(), kind).at(u, v, 0.03)

    def trunk(self, bare: Tensor | None = None) -> None:
        """The part of the trunk that leaves do not hide."""
        half, high = self.per(_TRUNKS[self.kind].T)
        if bare is not None:
            high = torch.maximum(high, 0.8 * bare)
        width = half * (1.3 - self.v)
        inside = torch.minimum(width - self.u.abs(), torch.minimum(high - self.v, self.v + 0.012))
        light = clip(0.5 + 0.45 * self.side_light * (self.u / half))
        self.lay(self.sprites.edge(inside), self.per(_BARKS[self.kind].T), light)

    def lay(self, alpha: Tensor, own: Tensor, light: Tensor) -> None:
        self.sprites.lay(alpha, Paint(own, light, self.haze, index_of("tree")))


def _spruce(trees: _Stand) -> None:
    """A cone of layers, each wider at its lower edge, where it hangs."""
    trees.trunk()
    noise, aside = trees.noise("fractal", 7.0), trees.u.abs()
    high = (trees.v - 0.08) / 0.92
    tiers = trees.per(5 + (trees.random(152) * 4).floor())
    place = (high + 0.45 * aside) * tiers + trees.per(trees.random(153))
    along = place - place.floor()
    width = trees.per(0.21 + 0.06 * trees.random(154)) * (1 - high)
    inside = width * (1.12 - 0.42 * along) * (1 + 0.35 * noise) - aside
    inside = torch.minimum(inside, high)
    round_ = clip(aside / (width + 0.01)) * trees.u.sign()
    light = 0.44 + 0.34 * trees.side_light * round_ + 0.22 * (along - 0.5) + 0.35 * noise
    snow = trees.per(trees.winter) * smoothstep(0.35, 0.75, along + 0.6 * noise + 0.15)
    own = mix(trees.leaves, SNOW[:, None], snow * 0.85)
    trees.lay(trees.sprites.edge(inside), own, clip(light))


def _crown(trees: _Stand) -> None:
    """Round masses one before the other, each with its own lit and shaded side."""
    bare = trees.per(trees.winter * _BARE[trees.kind])
    trees.trunk(bare)
    noise = trees.noise("fractal", 6.0)
    best, facing = _masses(trees)
    rough = trees.per(0.055 * (1 - 0.6 * (trees.kind == TREE_KINDS.index("bush")).float()))
    light = clip(0.50 + 0.40 * facing + 0.34 * noise)
    twigs = smoothstep(0.70, 0.88, trees.noise("ridged", 9.0))
    thin = mix(torch.ones_like(noise), 0.35 + 0.6 * twigs, bare)
    snow = trees.per(trees.winter) * clip(0.3 + 0.6 * facing + 0.5 * noise)
    own = mix(trees.leaves * (1 + 0.12 * noise), SNOW[:, None], snow * 0.8)
    trees.lay(trees.sprites.edge(best + noise * rough) * thin, own, light)


def _masses(trees: _Stand) -> tuple[Tensor, Tensor]:
    """Distance inside the crown, and how its foremost mass faces the light, from -1 to 1."""
    best, facing = torch.full_like(trees.u, -1.0), torch.zeros_like(trees.u)
    for mass in range(_MASSES):
        x, y, radius = _MASS_TABLE[trees.kind, mass].T
        x = x + (trees.random(160 + 2 * mass) - 0.5) * 0.5 * radius
        y = y + (trees.random(161 + 2 * mass) - 0.5) * 0.3 * radius
        x, y, radius = trees.per(torch.stack([x, y, radius]))
        du, dv = (trees.u - x) / radius, (trees.v - y) / radius
        inside = radius * 0.5 * (1 - du * du - dv * dv)
        here = 0.5 * trees.side_light * du + 0.5 * dv
        facing = mix(facing, here, clip((inside - best) * 40 + 0.5))
        best = torch.maximum(best, inside)
    return best, facing
