"""Houses as lists of convex faces: a cottage, a farmhouse, a town house, a church.

A house is about one unit wide and stands on the origin, x to the right and y up; its faces are
drawn in the order of the list, seen from a little to the right of its front.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.datasets.scenes_canvas import LAMP, ROOF, WALL, Paint, colour, index_of
from coursekit.datasets.scenes_factors import WINTER
from coursekit.datasets.scenes_land import Painter
from coursekit.datasets.scenes_noise import bell, mix, smoothstep
from coursekit.datasets.scenes_sprites import Sprites, Things

Point = tuple[float, float]
Face = tuple[str, tuple[Point, ...]]

GLASS, DOOR, BRICK, SNOW = colour("57697d", "5f3f2b", "8d5a4a", "eef3fa")
_EDGES = 4  # of a face; a triangle repeats its last corner
_FAR = 1e3


@dataclass(frozen=True)
class Role:
    """What a face is made of and how it faces the light.

    Attributes:
        label: its class.
        light: how much light it gets with the light straight from the front.
        turned: how much more with the light from its own side.
        lamp: how bright it is at night when the house is lit.
    """

    label: str
    light: float
    turned: float
    lamp: float = 0.0


ROLES = {
    "front": Role("wall", 0.66, -0.16),
    "side": Role("wall", 0.54, 0.36),
    "roof": Role("roof", 0.66, 0.26),
    "eaves": Role("roof", 0.34, 0.0),
    "chimney": Role("wall", 0.55, 0.2),
    "window": Role("window", 0.6, 0.0, 1.0),
    "door": Role("door", 0.55, 0.0),
}


def _box(left: float, right: float, bottom: float, top: float) -> tuple[Point, ...]:
    return (left, bottom), (right, bottom), (right, top), (left, top)


def _beside(at: Point, width: float, height: float, rise: float) -> tuple[Point, ...]:
    """A window on a wall that runs back to the right, ``rise`` units up for each to the right."""
    x, y = at
    up = rise * width
    return (x, y), (x + width, y + up), (x + width, y + up + height), (x, y + height)


def _cottage() -> list[Face]:
    return [
        ("chimney", _box(0.16, 0.26, 0.55, 0.88)),
        ("side", ((0.0, 0.0), (0.5, 0.07), (0.5, 0.48), (0.0, 0.42))),
        ("front", _box(-0.48, 0.01, 0.0, 0.42)),
        ("front", ((-0.48, 0.40), (0.01, 0.40), (-0.235, 0.70))),
        ("roof", ((-0.235, 0.74), (0.03, 0.36), (0.55, 0.43), (0.28, 0.79))),
        ("eaves", ((-0.235, 0.69), (-0.235, 0.76), (-0.55, 0.37), (-0.53, 0.33))),
        ("eaves", ((-0.235, 0.69), (0.02, 0.33), (0.045, 0.36), (-0.235, 0.76))),
        ("window", _box(-0.43, -0.31, 0.17, 0.32)),
        ("window", _box(-0.29, -0.18, 0.45, 0.56)),
        ("door", _box(-0.21, -0.08, 0.0, 0.27)),
        ("window", _beside((0.09, 0.19), 0.12, 0.15, 0.14)),
        ("window", _beside((0.30, 0.22), 0.12, 0.15, 0.14)),
    ]


def _farmhouse() -> list[Face]:
    return [
        ("chimney", _box(-0.42, -0.33, 0.5, 0.78)),
        ("chimney", _box(0.12, 0.21, 0.5, 0.78)),
        ("side", ((0.34, 0.0), (0.60, 0.06), (0.60, 0.38), (0.34, 0.34))),
        ("side", ((0.34, 0.32), (0.60, 0.36), (0.46, 0.64))),
        ("front", _box(-0.66, 0.35, 0.0, 0.34)),
        ("roof", ((-0.71, 0.30), (0.37, 0.30), (0.47, 0.67), (-0.58, 0.67))),
        ("eaves", ((0.45, 0.68), (0.62, 0.33), (0.65, 0.36), (0.48, 0.70))),
        ("window", _box(-0.58, -0.46, 0.12, 0.26)),
        ("window", _box(-0.34, -0.22, 0.12, 0.26)),
        ("door", _box(-0.11, 0.01, 0.0, 0.25)),
        ("window", _box(0.12, 0.24, 0.12, 0.26)),
        ("window", _beside((0.42, 0.17), 0.09, 0.13, 0.2)),
    ]


def _town_house() -> list[Face]:
    return [
        ("chimney", _box(0.10, 0.18, 0.8, 1.16)),
        ("side", ((0.02, 0.0), (0.40, 0.05), (0.40, 0.80), (0.02, 0.76))),
        ("front", _box(-0.42, 0.03, 0.0, 0.76)),
        ("front", ((-0.42, 0.74), (0.03, 0.74), (-0.195, 1.02))),
        ("roof", ((-0.195, 1.07), (0.05, 0.70), (0.45, 0.75), (0.20, 1.11))),
        ("eaves", ((-0.195, 1.02), (-0.195, 1.09), (-0.48, 0.71), (-0.46, 0.67))),
        ("eaves", ((-0.195, 1.02), (0.04, 0.67), (0.065, 0.70), (-0.195, 1.09))),
        ("window", _box(-0.36, -0.24, 0.46, 0.63)),
        ("window", _box(-0.15, -0.03, 0.46, 0.63)),
        ("window", _box(-0.36, -0.24, 0.14, 0.31)),
        ("door", _box(-0.15, -0.03, 0.0, 0.29)),
        ("window", _beside((0.10, 0.48), 0.11, 0.17, 0.1)),
        ("window", _beside((0.26, 0.495), 0.11, 0.17, 0.1)),
        ("window", _beside((0.18, 0.17), 0.11, 0.17, 0.1)),
    ]


def _church() -> list[Face]:
    return [
        ("side", ((-0.12, 0.0), (0.62, 0.06), (0.62, 0.42), (-0.12, 0.37))),
        ("roof", ((-0.14, 0.33), (0.66, 0.38), (0.52, 0.74), (-0.14, 0.70))),
        ("side", ((-0.18, 0.0), (-0.08, 0.02), (-0.08, 0.87), (-0.18, 0.85))),
        ("front", _box(-0.46, -0.17, 0.0, 0.85)),
        ("eaves", ((-0.49, 0.82), (-0.16, 0.82), (-0.275, 1.33))),
        ("roof", ((-0.17, 0.82), (-0.05, 0.85), (-0.275, 1.33))),
        ("window", _box(-0.36, -0.27, 0.55, 0.72)),
        ("door", _box(-0.38, -0.25, 0.0, 0.26)),
        ("window", _beside((0.02, 0.11), 0.09, 0.19, 0.1)),
        ("window", _beside((0.21, 0.125), 0.09, 0.19, 0.1)),
        ("window", _beside((0.40, 0.14), 0.09, 0.19, 0.1)),
    ]


HOUSES: tuple[list[Face], ...] = (_cottage(), _farmhouse(), _town_house(), _church())
_ROLE_NAMES = tuple(ROLES)


def _half_planes(corners: tuple[Point, ...]) -> list[list[float]]:
    """(a, b, c) of each edge: a·x + b·y + c is the distance inside of it."""
    twice_area = sum(
        x0 * y1 - x1 * y0
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True)
    )
    ring = corners if twice_area > 0 else corners[::-1]
    planes = []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        a, b = (y0 - y1) / length, (x1 - x0) / length
        planes.append([a, b, -a * x0 - b * y0])
    return planes + [[0.0, 0.0, _FAR]] * (_EDGES - len(planes))


def _tables() -> tuple[Tensor, Tensor]:
    """Edges (kinds, faces, 4, 3) and roles (kinds, faces); absent faces are nowhere."""
    most = max(len(house) for house in HOUSES)
    edges = torch.full((len(HOUSES), most, _EDGES, 3), -_FAR)
    roles = torch.zeros(len(HOUSES), most, dtype=torch.int64)
    edges[..., :2] = 0
    for kind, house in enumerate(HOUSES):
        for number, (role, corners) in enumerate(house):
            edges[kind, number] = torch.tensor(_half_planes(corners))
            roles[kind, number] = _ROLE_NAMES.index(role)
    return edges, roles


def _boxes() -> Tensor:
    """Left, right, bottom and top (kinds, 2, 4) of each kind, its side to the right or left."""
    boxes = []
    for house in HOUSES:
        corners = torch.tensor([corner for _, face in house for corner in face])
        (left, bottom), (right, top) = corners.amin(0) - 0.05, corners.amax(0) + 0.05
        boxes.append([[left, right, bottom, top], [-right, -left, bottom, top]])
    return torch.tensor(boxes)


_EDGE_TABLE, _ROLE_TABLE = _tables()
_LABELS = torch.tensor([index_of(role.label) for role in ROLES.values()])
_BOXES = _boxes()
_GLOW_BOX = torch.tensor([-0.9, 0.9, -0.52, 0.96])
_LAMPS = torch.tensor([role.lamp for role in ROLES.values()])
_LIGHTS = torch.tensor([(role.light, role.turned) for role in ROLES.values()])


def scale_of(painter: Painter, houses: Things) -> Tensor:
    """Lengths (n,) of the houses' units, as fractions of the picture."""
    size = painter.factors["house_size"][houses.scenes, houses.slots]
    return painter.terrain.scale(houses.y) * (0.34 + 0.14 * size)


def build(painter: Painter, houses: Things) -> list[Sprites]:
    """The sprites of all houses, and of the light around their windows."""
    if len(houses.x) == 0:
        return []
    return [_walls(painter, houses), _glow(painter, houses)]


def _walls(painter: Painter, houses: Things) -> Sprites:
    kind, turn, wall, roof, lit = _of(painter, houses, "kind", "turn", "wall", "roof", "lit")
    sprites = Sprites(painter.canvas, houses, scale_of(painter, houses), _BOXES[kind, turn])
    mirror = 1.0 - 2.0 * turn
    side_light = painter.side_light[houses.scenes, 0, 0] * mirror
    colours = _colours(wall, roof, painter.factors["season"][houses.scenes] == WINTER)
    u, number = sprites.u * sprites.per(mirror), torch.arange(len(kind))
    grain = 0.95 + 0.07 * smoothstep(0.0, 0.5, sprites.v)
    haze = sprites.per(houses.haze)
    for face in range(_EDGE_TABLE.shape[1]):
        role = _ROLE_TABLE[kind, face]
        light, turned = _LIGHTS[role].T
        paint = Paint(
            own=sprites.per(colours[number, role].T) * grain,
            light=sprites.per(light + turned * side_light),
            haze=haze,
            label=sprites.per(_LABELS[role]),
            lamp=sprites.per(_LAMPS[role] * lit),
        )
        sprites.lay(sprites.edge(_inside(sprites, _EDGE_TABLE[kind, face], u)), paint)
    return sprites


def _of(painter: Painter, houses: Things, *names: str) -> list[Tensor]:
    return [painter.factors[f"house_{name}"][houses.scenes, houses.slots] for name in names]


def _inside(sprites: Sprites, edges: Tensor, u: Tensor) -> Tensor:
    """Distance inside a convex face (P,), negative outside; edges (n, 4, 3)."""
    a, b, c = sprites.per(edges.permute(2, 1, 0).contiguous())
    return (a * u + b * sprites.v + c).amin(0)


def _colours(wall: Tensor, roof: Tensor, winter: Tensor) -> Tensor:
    """The colour of each role, (n, roles, 3)."""
    tiles = mix(ROOF[roof], SNOW, 0.8 * winter[:, None].float())
    one = torch.ones(len(wall), 1)
    by_role = {
        "front": WALL[wall], "side": WALL[wall], "roof": tiles, "eaves": tiles * 0.9,
        "chimney": one * BRICK, "window": one * GLASS, "door": one * DOOR,
    }  # fmt: skip
    return torch.stack([by_role[name] for name in _ROLE_NAMES], dim=1)


def _glow(painter: Painter, houses: Things) -> Sprites:
    """Light that windows throw around them; it counts at night only."""
    (lit,) = _of(painter, houses, "lit")
    sprites = Sprites(painter.canvas, houses, scale_of(painter, houses), _GLOW_BOX)
    high = sprites.v - 0.22
    away = (sprites.u * sprites.u + high * high * 1.5).sqrt()
    halo = bell(away, 0.6) * smoothstep(0.9, 0.4, away) * 0.46
    sprites.planes[LAMP] = halo * sprites.per(lit.float())
    return sprites
