"""What a rendered face is made of: the table of factors, and how they are drawn at random."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import SettingError
from coursekit.datasets.faces_look import HAIR, IRIS, SKIN, STYLES

Factors = dict[str, Tensor]


@dataclass(frozen=True)
class Factor:
    """One thing that can be chosen about a face.

    Attributes:
        group: ``"identity"`` (who it is), ``"pose"``, ``"expression"``, ``"wear"`` or ``"scene"``.
        meaning: in words, with the direction of the sign.
        low, high: the range of a continuous factor.
        values: the names of the values of a binary or categorical factor.
        weights: how often each value is drawn; all alike if empty.
        zeros: the share of faces in which a continuous factor is exactly ``low``.
        usual: the rest is drawn between this and ``high``; from ``low`` if not given.
    """

    group: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    values: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    zeros: float = 0.0
    usual: float | None = None

    @property
    def kind(self) -> str:
        """``"continuous"``, ``"binary"`` or ``"categorical"``."""
        if not self.values:
            return "continuous"
        return "binary" if self.values == ("no", "yes") else "categorical"

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value; named values count from 0."""
        return (0, len(self.values) - 1) if self.values else (self.low, self.high)

    def draw(self, uniform: Tensor) -> Tensor:
        """Values from numbers in [0, 1): float32 if continuous, int64 where values have names."""
        if self.values:
            weights = self.weights or (1.0,) * len(self.values)
            edges = torch.tensor(weights, dtype=torch.float64).cumsum(0)
            return torch.bucketize(uniform, edges[:-1] / edges[-1], right=True)
        least = self.low if self.usual is None else self.usual
        spread = (uniform - self.zeros) / (1 - self.zeros)
        drawn = least + spread.clamp(min=0) * (self.high - least)
        return torch.where(uniform < self.zeros, self.low, drawn).float()


def _shape(low: float, high: float, meaning: str) -> Factor:
    return Factor("identity", meaning, low, high)


def _named(
    group: str, meaning: str, values: Iterable[str], weights: Sequence[float] = ()
) -> Factor:
    return Factor(group, meaning, values=tuple(values), weights=tuple(weights))


def _whether(meaning: str, share: float) -> Factor:
    return _named("identity", meaning, ("no", "yes"), (1 - share, share))


def _both_ways(group: str, meaning: str, most: float = 1.0) -> Factor:
    return Factor(group, meaning, -most, most)


GLASSES = ("none", "clear", "sunglasses")

FACTORS: dict[str, Factor] = {
    "face_width": _shape(0.50, 0.57, "half the width of the head, in half pictures"),
    "face_height": _shape(0.66, 0.73, "half the height of the head, in half pictures"),
    "jaw": _shape(0.0, 1.0, "0 pointed, 1 square"),
    "eye_size": _shape(0.125, 0.150, "half the width of an eye, in half pictures"),
    "eye_spacing": _shape(0.40, 0.46, "the angle from the nose to an eye, in radians"),
    "nose_width": _shape(0.060, 0.095, "half the width of the nose, in half pictures"),
    "nose_length": _shape(0.20, 0.27, "from the eyes to the tip, in half pictures"),
    "mouth_width": _shape(0.15, 0.20, "half the width of the mouth, in half pictures"),
    "lips": _shape(0.024, 0.042, "how full the lips are, in half pictures"),
    "lip_tint": _shape(0.0, 1.0, "0 near the skin, 1 rose"),
    "brow_width": _shape(0.020, 0.034, "how thick the brows are, in half pictures"),
    "hair_volume": _shape(0.0, 1.0, "0 flat, 1 full"),
    "skin": _named("identity", "skin tone", SKIN),
    "hair": _named("identity", "hair style", STYLES),
    "hair_colour": _named(
        "identity", "colour of hair, brows and beard", HAIR, (3, 3, 3, 2, 1, 2, 1)
    ),
    "eye_colour": _named("identity", "colour of the iris", IRIS, (3, 2, 2, 1)),
    "beard": _whether("a full, short beard", 0.3),
    "moustache": _whether("a moustache", 0.2),
    "yaw": _both_ways("pose", "head turned, radians; positive to the right of the picture", 0.55),
    "roll": _both_ways("pose", "head tilted, radians; positive clockwise", 0.12),
    "smile": _both_ways("expression", "-1 corners of the mouth down, 1 up"),
    "mouth_open": Factor("expression", "0 closed, 1 wide open", zeros=0.55),
    "eye_open": Factor("expression", "0 closed, 1 wide", zeros=0.05, usual=0.5725),
    "brow": _both_ways("expression", "-1 lowered, 1 raised"),
    "gaze": _both_ways("expression", "-1 to the left of the picture, 1 to the right"),
    "glasses": _named("wear", "what kind of glasses", GLASSES, (13, 5, 2)),
    "shirt": Factor("scene", "a place on the circle of shirt colours"),
    "background": Factor("scene", "a place on the circle of background colours"),
    "background_light": Factor("scene", "0 dim, 1 bright"),
    "light": _both_ways("scene", "where the light stands: -1 left, 1 right"),
}


def sample_factors(count: int, *, seed: int = 0, **fixed: object) -> Factors:
    """Draw the factors of ``count`` faces, all of them independent of one another.

    Every factor has its own random numbers: fixing one leaves the others as they were, and the
    first n faces do not depend on ``count``.

    Args:
        count: how many faces, at least 1.
        seed: of the draw.
        fixed: factor = one value, its name (``hair="bob"``), or a tensor of ``count`` values.

    Returns:
        A tensor (count,) for each of `FACTORS`: float32 if continuous, int64 otherwise.

    Raises:
        SettingError: no faces asked for, no such factor, or a value out of its range.
    """
    if count < 1:
        raise SettingError(f"count={count} gives no face; ask for at least 1.")
    given = {name: checked(name, value, count) for name, value in fixed.items()}
    return {name: given[name] if name in given else _draw(name, count, seed) for name in FACTORS}


def _draw(name: str, count: int, seed: int) -> Tensor:
    own = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    numbers = runtime.generator(int.from_bytes(own[:7], "big"))
    return FACTORS[name].draw(torch.rand(count, generator=numbers, dtype=torch.float64))


def checked(name: str, value: object, count: int) -> Tensor:
    """A factor's values as a tensor (count,), from one value, a name or a tensor.

    Raises:
        SettingError: no such factor, another number of values, or one out of range.
    """
    if name not in FACTORS:
        raise SettingError(f"There is no factor {name!r}. There are: {', '.join(FACTORS)}.")
    factor = FACTORS[name]
    given = torch.as_tensor(_index(name, value) if isinstance(value, str) else value)
    if given.dim() == 0:
        given = given.expand(count)
    if given.shape != (count,):
        raise SettingError(
            f"{name} has shape {tuple(given.shape)}; give one value, or ({count},) for each face."
        )
    low, high = factor.range
    slack = 0 if factor.values else 1e-6  # a bound such as 0.55 is not exact in float32
    inside = (given >= low - slack) & (given <= high + slack)
    if factor.values:
        inside &= given == given.round() if given.is_floating_point() else inside
    if not bool(inside.all()):
        whole = "a whole number " if factor.values else ""
        raise SettingError(f"{name} must be {whole}in [{low}, {high}]: {factor.meaning}.")
    return given.to(torch.int64 if factor.values else torch.float32).clone()


def _index(name: str, value: str) -> int:
    values = FACTORS[name].values
    if value not in values:
        names = f"Choose one of {', '.join(values)}." if values else "It takes numbers, not names."
        raise SettingError(f"{name} cannot be {value!r}. {names}")
    return values.index(value)


def all_checked(factors: Factors) -> Factors:
    """Every factor, checked: the same number of values each.

    Raises:
        SettingError: one is missing, unknown, of another length, or out of range.
    """
    missing = [name for name in FACTORS if name not in factors]
    if missing:
        raise SettingError(f"Missing factors: {', '.join(missing)}. Start from sample_factors().")
    count = len(factors["yaw"])
    return {name: checked(name, value, count) for name, value in factors.items()}


def change(factors: Factors, **values: object) -> Factors:
    """The same faces with some factors set: ``change(factors, glasses="clear", yaw=0.3)``.

    Raises:
        SettingError: no such factor, or a value out of its range.
    """
    count = len(factors["yaw"])
    return {**factors, **{name: checked(name, value, count) for name, value in values.items()}}


def same_person(
    factors: Factors, index: int, count: int, *, seed: int = 0, **fixed: object
) -> Factors:
    """One face ``count`` times, with pose and expression drawn anew and all else kept.

    Args:
        factors: of some faces.
        index: which of them.
        count: how many pictures of that face.
        seed: of pose and expression.
        fixed: factors to set, as in `sample_factors`.

    Raises:
        SettingError: there is no such face, ``count`` is below 1, or a fixed value is wrong.
    """
    faces = len(factors["yaw"])
    if not -faces <= index < faces:
        raise SettingError(f"There is no face {index}: there are {faces}, counted from 0.")
    fresh = sample_factors(count, seed=seed)
    moving = {name for name, factor in FACTORS.items() if factor.group in ("pose", "expression")}
    kept = {name: factors[name][index].expand(count).clone() for name in FACTORS}
    return change({**kept, **{name: fresh[name] for name in moving}}, **fixed)
