"""What the property-based tests draw: tensors made from a shape, a seed and a kind.

Drawing every number would be slow and would find less: what breaks formulas is the shape, the
type, and that a map is flat, empty of contrast, one spike, or far from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from coursekit.core.errors import CourseError

Range = tuple[int, int]

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NO_FLOATS = (torch.uint8, torch.int32, torch.int64, torch.bool, torch.complex64)
KINDS = ("noise", "flat", "zero", "spike", "large", "small", "shifted")
NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.floats(0, 1, width=32)


def random(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers of a seed."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


def filled(kind: str, shape: Sequence[int], seed: int, dtype: torch.dtype) -> Tensor:
    """Numbers of a kind that formulas stumble over."""
    noise = random(shape, seed)
    made = {
        "noise": noise,
        "flat": torch.full_like(noise, 0.3),
        "zero": torch.zeros_like(noise),
        "spike": torch.zeros_like(noise).index_fill_(-1, torch.tensor([0]), 20.0),
        "large": 1e3 * noise,
        "small": 1e-3 * noise,
        "shifted": 10 + noise,
    }
    return made[kind].to(dtype)


@st.composite
def shapes(
    draw: Any, batch: Range = (1, 3), channels: Range = (1, 5), sides: Range = (1, 9)
) -> tuple[int, int, int, int]:
    """(N, C, H, W), each within its bounds."""
    ranges = (batch, channels, sides, sides)
    found = tuple(draw(st.integers(*each)) for each in ranges)
    assert len(found) == 4
    return found


@st.composite
def maps(
    draw: Any,
    batch: Range = (1, 3),
    channels: Range = (1, 5),
    sides: Range = (1, 9),
    *,
    kinds: Sequence[str] = KINDS,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Feature maps (N, C, H, W), or any tensor of a given shape."""
    wanted = draw(shapes(batch, channels, sides)) if shape is None else shape
    kind, dtype = draw(st.sampled_from(kinds)), draw(st.sampled_from(dtypes))
    return filled(kind, wanted, draw(SEEDS), dtype)


@st.composite
def pictures(
    draw: Any,
    batch: Range = (1, 3),
    channels: Range = (3, 3),
    sides: Range = (1, 12),
    *,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Pictures (N, C, H, W) in [0, 1]: noise, one colour, black, white, only black and white."""
    wanted = draw(shapes(batch, channels, sides)) if shape is None else tuple(shape)
    kind, dtype = draw(st.sampled_from(("noise", "one", "black", "white", "ink"))), draw(SEEDS)
    noise = torch.rand(wanted, generator=torch.Generator().manual_seed(dtype))
    made = {
        "noise": noise,
        "one": noise[..., :1, :1].expand(wanted),
        "black": torch.zeros(wanted),
        "white": torch.ones(wanted),
        "ink": noise.round(),
    }
    return made[kind].clone().to(draw(st.sampled_from(dtypes)))


def bad_shapes(dimensions: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes that have another number of dimensions, or no numbers in them."""
    other = st.lists(st.integers(1, 3), max_size=6).filter(lambda shape: len(shape) != dimensions)
    empty = st.lists(st.integers(0, 3), min_size=dimensions, max_size=dimensions)
    return (other | empty.filter(lambda shape: 0 in shape)).map(tuple)


def refused(call: Callable[..., object], *arguments: object, **settings: object) -> CourseError:
    """The named error that a call ends in: a sentence. Anything else fails the test."""
    with pytest.raises(CourseError) as caught:
        call(*arguments, **settings)
    text = str(caught.value)
    assert len(text) > 10, text
    assert text.endswith((".", "!", "?")), text
    return caught.value


def refused_or_finite(call: Callable[..., Tensor], *arguments: object, **settings: object) -> None:
    """A call that may be refused by name; where it is not, every number of its result is one."""
    try:
        found = call(*arguments, **settings)
    except CourseError:
        return
    assert bool(torch.isfinite(found).all()), found
