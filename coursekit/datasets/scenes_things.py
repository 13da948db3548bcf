"""Trees and houses in their order from back to front, with their shadows on the meadow."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.datasets import scenes_houses, scenes_trees
from coursekit.datasets.scenes_canvas import LIGHT
from coursekit.datasets.scenes_land import Painter, near_haze
from coursekit.datasets.scenes_noise import smoothstep
from coursekit.datasets.scenes_sprites import Sprites, Things, compose

_SHADOW = torch.tensor([-1.05, 1.05, -0.12, 0.14])


def draw(painter: Painter) -> None:
    """Draw all trees and houses of the scenes, the farthest first."""
    trees, houses = _arranged(painter)
    if len(trees.x):
        _shadows(painter, trees, scenes_trees.scale_of(painter, trees), 0.34, 0.30)
    if len(houses.x):
        _shadows(painter, houses, scenes_houses.scale_of(painter, houses), 0.72, 0.28)
    compose(
        painter.canvas, scenes_trees.grow(painter, trees) + scenes_houses.build(painter, houses)
    )


def _arranged(painter: Painter) -> tuple[Things, Things]:
    """The trees and the houses that stand, each with its rank in its scene."""
    factors, kinds = painter.factors, ("tree", "house")
    x = torch.cat([factors[f"{kind}_x"] for kind in kinds], 1)
    depth = torch.cat([factors[f"{kind}_depth"] for kind in kinds], 1)
    slots = [torch.arange(factors[f"{kind}_x"].shape[1]) for kind in kinds]
    stands = torch.cat(
        [s < factors[f"{kind}_count"][:, None] for kind, s in zip(kinds, slots, strict=True)], 1
    )
    y = painter.terrain.ground(x, depth)
    order = torch.argsort(torch.where(stands, y, torch.full_like(y, 9.0)), dim=1, stable=True)
    rank, scenes = stands.gather(1, order).T.nonzero().T  # by rank, then by scene
    which = order[scenes, rank]
    slot = torch.cat(slots)[which]
    foot = y[scenes, which]
    haze = near_haze(foot, factors["haze"][scenes])
    things = Things(scenes, slot, rank, x[scenes, which], foot, haze)
    tree = which < len(slots[0])
    return things.where(tree), things.where(~tree)


def _shadows(painter: Painter, things: Things, scale: Tensor, wide: float, shift: float) -> None:
    """Soft shadows on the ground, away from the light."""
    sprites = Sprites(painter.canvas, things, scale, _SHADOW)
    toward = sprites.per(painter.side_light[things.scenes, 0, 0])
    across, along = (sprites.u + shift * toward) / wide, (sprites.v - 0.02) / 0.10
    dark = smoothstep(1.0, 0.25, (across * across + along * along).sqrt())
    shade = torch.zeros_like(painter.canvas.planes[LIGHT])
    shade.view(-1).scatter_reduce_(0, sprites.index, dark, "amax")
    painter.canvas.planes[LIGHT] *= 1 - 0.62 * shade
