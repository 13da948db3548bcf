"""Checks at the entrance of a function: one line there, one sentence for who gave the wrong value.

Pictures have a check of their own, `coursekit.core.images.check_images`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from coursekit.core.errors import SettingError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def at_least(least: float, **values: float) -> None:
    """Raise SettingError unless every value is ``least`` or more; NaN is not."""
    _refuse({name: v for name, v in values.items() if not v >= least}, f"{least} or more")


def above(limit: float, **values: float) -> None:
    """Raise SettingError unless every value is above ``limit``; NaN is not."""
    _refuse({name: v for name, v in values.items() if not v > limit}, f"above {limit}")


def share(**values: float) -> None:
    """Raise SettingError unless every value lies in [0, 1]."""
    _refuse({name: v for name, v in values.items() if not 0 <= v <= 1}, "in 0 … 1")


def shares(weights: Sequence[float], count: int, name: str) -> list[float]:
    """The weights scaled to sum 1; SettingError unless there is one of 0 or more for each style.

    Args:
        weights: not all of them 0.
        count: of the styles.
        name: what a weight is called there.
    """
    total = sum(weights)
    if len(weights) != count or not min(weights, default=-1) >= 0 or not 0 < total < math.inf:
        raise SettingError(
            f"Give one {name} of 0 or more for each of {count} styles, not all of them 0; got "
            f"{list(weights)}."
        )
    return [weight / total for weight in weights]


def finite(**values: float) -> None:
    """Raise SettingError unless every value is a finite number."""
    _refuse({name: v for name, v in values.items() if not abs(v) < float("inf")}, "a finite number")


def _refuse(wrong: dict[str, float], wanted: str) -> None:
    if wrong:
        given = " and ".join(f"{name}={value}" for name, value in wrong.items())
        raise SettingError(f"{given} must be {wanted}.")


def one_shape(shape: str, dims: int, **tensors: Tensor) -> None:
    """Raise ShapeError unless all tensors have one shape, of so many dimensions.

    Args:
        shape: what is expected, in the words of the formula, such as ``"(N, C)"``.
        dims: how many dimensions that are.
        tensors: what is compared, by name; any shape is looked at.
    """
    sizes = {name: tuple(each.shape) for name, each in tensors.items()}
    if len(set(sizes.values())) != 1 or any(len(size) != dims for size in sizes.values()):
        raise ShapeError(f"Expected {_said(sizes)} of one shape {shape}.")


def same_width(**vectors: Tensor) -> None:
    """Raise ShapeError unless all are sets of vectors (n, D), none empty, of one length D."""
    sizes = {name: tuple(each.shape) for name, each in vectors.items()}
    proper = all(len(size) == 2 and size[0] for size in sizes.values())
    if not proper or len({size[1] for size in sizes.values()}) != 1:
        raise ShapeError(
            f"Expected {_said(sizes)} to be sets of vectors (n, D), none of them empty."
        )


def _said(sizes: dict[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{name} {size}" for name, size in sizes.items())
