"""What a check says of two results: what explains a difference or a shape, where to look."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from coursekit.exercises.compare import few, ratio, relation, shape_relation, where_to_look


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = random(2, 3, 4)
EXPLAINED: dict[str, tuple[Tensor, Tensor, str]] = {
    "factor": (3 * X, X, "3 times what is expected"),
    "offset": (X + 2, X, "larger by 2 everywhere"),
    "transposed": (random(2, 3, 3).mT, random(2, 3, 3), "the transpose"),
    "squared": (X.abs().square(), X.abs(), "the square of"),
    "root": (X.abs().sqrt(), X.abs(), "the square root of"),
    "flipped": (X.flip(1), X, "backwards along axis 1"),
    "axes": (random(3, 3, 3).permute(2, 0, 1), random(3, 3, 3), r"axes in another order"),
    "an image's own factor": (
        X * torch.tensor([2.0, 5.0]).view(2, 1, 1),
        X,
        "Along axis 0.*factor",
    ),
    "a column's own factor": (X * torch.arange(1, 5.0), X, "Along axis 2.*factor"),
    "a row's own offset": (X + torch.arange(3.0).view(3, 1), X, "Along axis 1.*offset"),
    "the first alone": (
        torch.cat([X[:1], random(1, 3, 4, seed=5)]),
        X,
        "first of the batch is right",
    ),
    "nothing": (random(2, 3, 4, seed=9), X, "largest difference"),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_explains_a_difference(name: str) -> None:
    found, target, message = EXPLAINED[name]
    assert re.search(message, relation(found, target)), relation(found, target)


SHAPES: dict[str, tuple[Tensor, Tensor, str]] = {
    "no batch": (X[0], X, "the batch dimension is missing"),
    "summed": (X.sum(0), X, "the sum of what is expected over the batch"),
    "averaged": (X.mean(0), X, "the mean of what is expected over the batch"),
    "summed and scaled": (7 * X.sum(0), X, "over the batch, times 7"),
    "one too many": (X[:, None], X, "a dimension of size 1"),
    "kept": (X.sum((1, 2), keepdim=True), X.sum((1, 2)), "a dimension of size 1"),
    "transposed": (X.mT, X, r"in another order: \(0, 2, 1\)"),
    "counts channels": (torch.zeros(3), torch.zeros(2), "length of the input's C"),
    "says nothing": (torch.zeros(7), torch.zeros(2), "^$"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_explains_a_shape(name: str) -> None:
    found, target, message = SHAPES[name]
    text = shape_relation(found, target, random(2, 3, 4, 5))
    assert re.search(message, text), text


def test_the_values_shown_begin_where_they_differ() -> None:
    target = torch.arange(10.0)
    late, early = target.clone(), target.clone()
    late[8], early[2] = 80.0, 20.0
    assert where_to_look(late, target) == 8
    assert where_to_look(early, target) == where_to_look(target, target) == 0
    assert few(late, 8) == "…, 80, 9"
    assert few(late) == "0, 1, 2, 3, 4, 5, …"
    assert few(late, 2) == "…, 2, 3, 4, 5, 6, 7, …"
    assert ratio(late + 1, target + 1).endswith("…, 9, 1")
