"""What a scene is made of: the table of factors, and how they are drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import SettingError
from coursekit.datasets.scenes_canvas import ROOF, WALL
from coursekit.datasets.scenes_terrain import Terrain

Factors: TypeAlias = dict[str, Tensor]
Value: TypeAlias = "float | int | str | Sequence[float | int | str] | Tensor"

SEASONS = ("spring", "summer", "autumn", "winter")
WINTER = SEASONS.index("winter")
TREE_KINDS = ("spruce", "oak", "birch", "poplar", "pine", "bush")
HOUSE_KINDS = ("cottage", "farmhouse", "town house", "church")
ROAD_KINDS = ("none", "track", "paved")
TREES, HOUSES = 12, 3  # slots a scene


@dataclass(frozen=True)
class Factor:
    """One thing that differs from scene to scene.

    Attributes:
        low, high: the range, both ends included.
        meaning: in words.
        whole: whether only whole numbers are allowed (int64 rather than float32).
        slots: values a scene: shape (N,) for 1, else (N, slots). Of trees and houses only the
            first ``tree_count`` and ``house_count`` stand in the scene.
        values: the names of the values 0, 1, … where they have names.
    """

    low: float
    high: float
    meaning: str
    whole: bool = False
    slots: int = 1
    values: tuple[str, ...] = ()


def _named(meaning: str, values: tuple[str, ...], slots: int = 1) -> Factor:
    return Factor(0, len(values) - 1, meaning, whole=True, slots=slots, values=values)


def _count(most: int, meaning: str, slots: int = 1) -> Factor:
    return Factor(0, most, meaning, whole=True, slots=slots)


_NO_YES = ("no", "yes")
FACTORS: Mapping[str, Factor] = {
    "season": _named("time of year", SEASONS),
    "sun_x": Factor(0.08, 0.92, "sun or moon, fraction of the width from the left"),
    "sun_y": Factor(0.08, 0.30, "sun or moon, fraction of the height from the top"),
    "cloudiness": Factor(0, 1, "how much of the sky is under clouds, 0 none"),
    "haze": Factor(0, 1, "how much distance pales"),
    "mountain_height": Factor(0, 1, "0 low hills, 1 up to the clouds"),
    "mountain_roughness": Factor(0, 1, "0 round, 1 jagged"),
    "snow": Factor(0, 1, "how much of the mountains lies under snow, 0 none but in winter"),
    "forest": Factor(0, 1, "how much of the distant hills is under forest, 0 none"),
    "hill_height": Factor(0, 1, "0 a plain, 1 rolling hills"),
    "hill_tilt": Factor(-1, 1, "the meadow falls to the left (-1) or to the right (1)"),
    "water": _named("whether there is a lake", _NO_YES),
    "water_level": Factor(0, 1, "how much of the valley the lake fills, if there is one"),
    "road": _named("road across the meadow", ROAD_KINDS),
    "road_x": Factor(0.15, 0.85, "where the road leaves the picture at the bottom"),
    "road_bend": Factor(-1, 1, "bend of the road on its way back, to the left or to the right"),
    "tree_count": _count(TREES, "number of trees"),
    "tree_kind": _named("kind of each tree", TREE_KINDS, TREES),
    "tree_x": Factor(-0.05, 1.05, "place of each tree across the picture", slots=TREES),
    "tree_depth": Factor(0, 1, "0 on the crest of the meadow, 1 in front", slots=TREES),
    "tree_size": Factor(0, 1, "height of each tree", slots=TREES),
    "tree_tone": Factor(0, 1, "shade of each tree's leaves", slots=TREES),
    "house_count": _count(HOUSES, "number of houses"),
    "house_kind": _named("kind of each house", HOUSE_KINDS, HOUSES),
    "house_x": Factor(-0.05, 1.05, "place of each house across the picture", slots=HOUSES),
    "house_depth": Factor(0, 1, "0 on the crest of the meadow, 1 in front", slots=HOUSES),
    "house_size": Factor(0, 1, "size of each house", slots=HOUSES),
    "house_turn": _named("where each house shows its side", ("right", "left"), HOUSES),
    "house_wall": _count(len(WALL) - 1, "colour of each house's walls", HOUSES),
    "house_roof": _count(len(ROOF) - 1, "colour of each house's roof", HOUSES),
    "house_lit": _named("whether each house's windows are lit at night", _NO_YES, HOUSES),
    "texture": _count(2**31 - 1, "seed of clouds, ridges, grass and leaves"),
}
_SHARES = {  # of the values of a whole-numbered factor that is not uniform
    "season": (0.28, 0.32, 0.24, 0.16),
    "water": (0.5, 0.5),
    "road": (0.4, 0.3, 0.3),
    "house_count": (0.15, 0.35, 0.3, 0.2),
    "tree_kind": (0.28, 0.24, 0.14, 0.12, 0.1, 0.12),
    "house_kind": (0.38, 0.27, 0.22, 0.13),
    "house_lit": (0.15, 0.85),
}
_CURVES: dict[str, Callable[[Tensor], Tensor]] = {  # of a uniform draw, where not uniform
    "cloudiness": lambda u: u * (0.35 + 0.65 * u),
    "tree_depth": lambda u: u * (0.4 + 0.6 * u) * 0.9,
    "house_depth": lambda u: 0.04 + 0.5 * u,
}


def sample_factors(count: int, *, seed: int = 0, **fixed: Value) -> Factors:
    """Factors of ``count`` scenes, each from its range in `FACTORS`.

    Args:
        count: number of scenes N, at least 1.
        seed: of the draw; the factors of the first n scenes do not depend on ``count``.
        fixed: values to use instead of a draw: one for all scenes, or (N,); for a factor with
            slots (slots,) or (N, slots). Names of values count too: ``season="winter"``. Houses
            and trees are kept off the road, and trees from hiding houses, except where their
            own place is fixed. All other draws stay as they were.

    Returns:
        One tensor a factor, float32 or int64, (N,) or (N, slots).

    Raises:
        SettingError: a count below 1, an unknown name, a value out of its range, fractional where
            whole numbers are wanted, or of a wrong shape.
    """
    if count < 1:
        raise SettingError(f"{count} scenes cannot be drawn; ask for 1 or more.")
    given = {name: _fix(name, value, count) for name, value in fixed.items()}
    width = sum(factor.slots for factor in FACTORS.values())
    draws = torch.rand(count, width, generator=runtime.generator(seed))
    columns = draws.split([factor.slots for factor in FACTORS.values()], dim=1)
    factors = {name: _shape(name, u) for name, u in zip(FACTORS, columns, strict=True)} | given
    factors["tree_kind"] = given.get("tree_kind", _groves(factors))
    return _make_room(factors, frozenset(given))


def check_factors(factors: Mapping[str, Tensor]) -> Factors:
    """The factors that a scene needs, their names, shapes and ranges checked.

    Further tensors (pictures, label maps) may be among them and are left out.

    Raises:
        SettingError: one is missing, has a wrong shape or leaves its range.
    """
    missing = [name for name in FACTORS if name not in factors]
    if missing:
        raise SettingError(
            f"The factors lack {', '.join(missing)}; start from sample_factors and change a copy."
        )
    count = factors["texture"].numel()
    if count < 1:
        raise SettingError("The factors are those of no scene; give at least one.")
    return {name: _fix(name, factors[name], count) for name in FACTORS}


def _fix(name: str, value: Value, count: int) -> Tensor:
    if name not in FACTORS:
        raise SettingError(f"A scene has no factor {name!r}; it has {', '.join(FACTORS)}.")
    factor, tensor = FACTORS[name], _number(name, value)
    if not _fits(tensor, factor, count):
        shape = (count,) if factor.slots == 1 else (count, factor.slots)
        raise SettingError(f"{name} has shape {tuple(tensor.shape)}; give one number or {shape}.")
    outside = not bool(((tensor >= factor.low) & (tensor <= factor.high)).all())
    if outside or (factor.whole and bool((tensor != tensor.long()).any())):
        raise SettingError(
            f"{_allowed(name)}; got {tensor.min().item():g} to {tensor.max().item():g}."
        )
    tensor = tensor.to(torch.int64 if factor.whole else torch.float32)
    if factor.slots == 1:
        return tensor.expand(count).clone()
    return tensor.expand(count, factor.slots).clone()


def _number(name: str, value: Value) -> Tensor:
    """A tensor of what was given, names of values turned into their numbers."""
    values = FACTORS[name].values
    try:
        if isinstance(value, str):
            value = values.index(value)
        elif isinstance(value, (list, tuple)):
            value = [values.index(v) if isinstance(v, str) else v for v in value]
        tensor = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingError(f"{_allowed(name)}; got {value!r}.") from error
    if tensor.is_complex():
        raise SettingError(f"{_allowed(name)}; got complex numbers.")
    return tensor


def _allowed(name: str) -> str:
    factor = FACTORS[name]
    kind = "whole numbers" if factor.whole else "numbers"
    if factor.values:
        kind = f"one of {', '.join(factor.values)}, or whole numbers"
    return f"{name} ({factor.meaning}) must be {kind} from {factor.low:g} to {factor.high:g}"


def _fits(tensor: Tensor, factor: Factor, count: int) -> bool:
    if factor.slots == 1:
        return tuple(tensor.shape) in ((), (count,))
    return tuple(tensor.shape) in ((), (factor.slots,), (count, factor.slots))


def _shape(name: str, uniform: Tensor) -> Tensor:
    """A factor from uniform draws (N, slots) in [0, 1)."""
    factor = FACTORS[name]
    if name in _SHARES:
        ends = torch.tensor(_SHARES[name]).cumsum(0)[:-1]
        value = (uniform[..., None] >= ends).sum(-1)
    elif factor.whole:
        steps = factor.high - factor.low + 1
        value = (uniform.double() * steps).long().clamp(max=int(factor.high))
    else:
        curve = _CURVES.get(name)
        value = factor.low + (factor.high - factor.low) * (curve(uniform) if curve else uniform)
    return value[:, 0] if factor.slots == 1 else value


def _groves(factors: Factors) -> Tensor:
    """Two trees out of three are of the scene's first kind: woods are seldom evenly mixed."""
    kinds, tone = factors["tree_kind"], factors["tree_tone"]
    own = ((tone * 7) % 1 > 0.6) | (kinds[:, :1] == TREE_KINDS.index("bush"))
    return torch.where(own, kinds, kinds[:, :1])


def _make_room(factors: Factors, fixed: frozenset[str]) -> Factors:
    """Houses stand side by side, off the road; trees stand off the road and behind houses."""
    terrain = Terrain(factors)
    if "house_x" not in fixed:
        slot = (torch.arange(HOUSES) + factors["texture"][:, None]) % HOUSES
        factors["house_x"] = (slot + 0.15 + 0.7 * _unit(factors, "house_x")) / HOUSES
        factors["house_x"] = _off_road(factors, terrain, "house", 0.30)
    if "tree_x" not in fixed:
        factors["tree_x"] = _off_road(factors, terrain, "tree", 0.08)
    if "tree_depth" not in fixed:
        factors["tree_depth"] = _behind_houses(factors)
    return factors


def _unit(factors: Factors, name: str) -> Tensor:
    factor = FACTORS[name]
    return (factors[name] - factor.low) / (factor.high - factor.low)


def _off_road(factors: Factors, terrain: Terrain, thing: str, room: float) -> Tensor:
    """Places across, moved sideways until ``room`` (times the perspective) is beside the road."""
    x, depth = factors[f"{thing}_x"], factors[f"{thing}_depth"]
    y = terrain.ground(x, depth)
    middle, half = terrain.road(y)
    apart = half + room * terrain.scale(y)
    side = torch.where(x < middle, -1.0, 1.0)
    near = ((x - middle).abs() < apart) & (factors["road"][:, None] > 0)
    factor = FACTORS[f"{thing}_x"]
    return torch.where(near, middle + side * apart, x).clamp(factor.low, factor.high)


def _behind_houses(factors: Factors) -> Tensor:
    """Depths of the trees; whoever would hide a house steps back behind it."""
    x, depth = factors["tree_x"], factors["tree_depth"]
    for slot in range(HOUSES):
        stands = (factors["house_count"] > slot)[:, None]
        far = factors["house_depth"][:, slot, None]
        hides = ((x - factors["house_x"][:, slot, None]).abs() < 0.13) & (depth > far - 0.02)
        depth = torch.where(stands & hides, (far * 0.9 - 0.03).clamp(min=0), depth)
    return depth
