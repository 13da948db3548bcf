"""What a rendered face is made of: the table of factors, and how they are drawn at random."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import SettingError

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
    """

    group: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    values: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    zeros: float = 0.0

    @property
    def kind(self) -> str:
        """``"continuous"``, ``"binary"`` or ``"categorical"``."""
        if not self.values:
            return "continuous"
        return "binary" if self.values == ("no", "yes") else "categorical"

    def draw(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into values: float32, or int64 where values have names."""
        if self.values:
            weights = self.weights or (1.0,) * len(self.values)
            edges = torch.tensor(weights, dtype=torch.float64).cumsum(0)
            return torch.bucketize(uniform, edges[:-1] / edges[-1], right=True)
        spread = ((uniform - self.zeros) / (1 - self.zeros)).clamp(min=0)
        return (self.low + spread * (self.high - self.low)).float()


def _shape(low: float, high: float, meaning: str) -> Factor:
    return Factor("identity", meaning, low, high)


def _names(group: str, meaning: str, values: str, weights: Sequence[float] = ()) -> Factor:
    return Factor(group, meaning, values=tuple(values.split()), weights=tuple(weights))


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
    "skin": _names("identity", "skin tone", "porcelain fair tan olive brown deep"),
    "hair": _names("identity", "hair style", "crop swept quiff bob long wavy curly bun"),
    "hair_colour": _names(
        "identity",
        "colour of hair, brows and beard",
        "black espresso chestnut auburn ginger blond grey",
        (3, 3, 3, 2, 1, 2, 1),
    ),
    "eye_colour": _names("identity", "colour of the iris", "brown blue green grey", (3, 2, 2, 1)),
    "beard": _names("identity", "a full, short beard", "no yes", (7, 3)),
    "moustache": _names("identity", "a moustache", "no yes", (4, 1)),
    "yaw": Factor(
        "pose", "head turned, radians; positive to the right of the picture", -0.55, 0.55
    ),
    "roll": Factor("pose", "head tilted, radians; positive clockwise", -0.12, 0.12),
    "smile": Factor("expression", "-1 corners of the mouth down, 1 up", -1.0, 1.0),
    "mouth_open": Factor("expression", "0 closed, 1 wide open", zeros=0.55),
    "eye_open": Factor("expression", "0 closed, 1 wide", 0.0, 1.0),
    "brow": Factor("expression", "-1 lowered, 1 raised", -1.0, 1.0),
    "gaze": Factor("expression", "-1 to the left of the picture, 1 to the right", -1.0, 1.0),
    "glasses": _names("wear", "what kind of glasses", "none clear sunglasses", (13, 5, 2)),
    "shirt": Factor("scene", "a place on the circle of shirt colours"),
    "background": Factor("scene", "a place on the circle of background colours"),
    "background_light": Factor("scene", "0 dim, 1 bright"),
    "light": Factor("scene", "where the light stands: -1 left, 1 right", -1.0, 1.0),
}


def sample_factors(count: int, *, seed: int = 0, **fixed: object) -> Factors:
    """Draw the factors of ``count`` faces, all of them independent of one another.

    Every factor has its own random numbers, so fixing one leaves the others as they were, and the
    first n of ``count`` faces do not depend on ``count``.

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
    for name in fixed:
        _known(name)
    return {
        name: checked(name, fixed[name], count) if name in fixed else _draw(name, count, seed)
        for name in FACTORS
    }


def _draw(name: str, count: int, seed: int) -> Tensor:
    own = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    numbers = runtime.generator(int.from_bytes(own[:7], "big"))
    uniform = torch.rand(count, generator=numbers, dtype=torch.float64)
    if name == "eye_open":  # most people look at the camera with their eyes open
        uniform = torch.where(uniform < 0.05, 0.0, 0.55 + 0.45 * uniform)
    return FACTORS[name].draw(uniform)


def _known(name: str) -> Factor:
    if name not in FACTORS:
        raise SettingError(f"There is no factor {name!r}. There are: {', '.join(FACTORS)}.")
    return FACTORS[name]


def checked(name: str, value: object, count: int) -> Tensor:
    """A factor's values as a tensor (count,), from one value, a name or a tensor.

    Raises:
        SettingError: no such factor, another number of values, or one out of range.
    """
    factor = _known(name)
    if isinstance(value, str):
        value = _index(name, value)
    kind = torch.int64 if factor.values else torch.float32
    given = torch.as_tensor(value)
    tensor = given.to(kind)
    if tensor.dim() == 0:
        tensor = tensor.expand(count).clone()
    low, high = (0, len(factor.values) - 1) if factor.values else (factor.low, factor.high)
    if tensor.shape != (count,):
        raise SettingError(f"{name} has shape {tuple(tensor.shape)}; give one value or {count}.")
    inside = (given >= low - 1e-6) & (given <= high + 1e-6) & (tensor == given.to(kind))
    if not bool(inside.all()) or (factor.values and not bool((tensor == given).all())):
        raise SettingError(f"{name} must lie in [{low}, {high}]: {factor.meaning}.")
    return tensor


def _index(name: str, value: str) -> int:
    values = FACTORS[name].values
    if value not in values:
        raise SettingError(
            f"{name} is not {value!r}. Give a number or one of: {', '.join(values)}."
        )
    return values.index(value)


def same_person(factors: Factors, index: int, count: int, *, seed: int = 0) -> Factors:
    """``count`` factors of one face with pose and expression drawn anew, all else kept.

    Raises:
        SettingError: there is no face ``index`` in ``factors``, or ``count`` is below 1.
    """
    faces = len(factors["yaw"])
    if not -faces <= index < faces:
        raise SettingError(f"There is no face {index} among {faces}.")
    fresh = sample_factors(count, seed=seed)
    moving = {n for n, f in FACTORS.items() if f.group in ("pose", "expression")}
    return {
        n: fresh[n] if n in moving else factors[n][index].expand(count).clone() for n in FACTORS
    }
