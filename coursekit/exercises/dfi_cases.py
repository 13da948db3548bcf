"""Inputs for the exercises of topic 06."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from coursekit.core.runtime import generator


def random(*shape: int, seed: int, shift: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)) + shift


def faces() -> tuple[Tensor, Tensor, int]:
    """Vectors of very different lengths: then cosine, product and distance disagree."""
    lengths = torch.linspace(0.2, 6.0, 12)[torch.randperm(12, generator=generator(3))]
    columns = torch.tensor([4.0, 0.3, 1.0, 0.5, 3.0, 0.2])
    collection = random(12, 6, seed=1, shift=0.0) * lengths[:, None] * columns
    return random(6, seed=0), collection, 4


def one_neighbour() -> tuple[Tensor, Tensor, int]:
    query, collection, _ = faces()
    return 0.1 * query, collection[:9], 1


def sets(target: int, source: int, length: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (random(target, length, seed=0, shift=1.0), random(source, length, seed=1))


def strengths(count: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        random(count, length, seed=0),
        2 * random(length, seed=1, shift=0.5),
        torch.linspace(0.2, 1.4, count),
    )


def vector_each() -> tuple[Tensor, Tensor, Tensor]:
    features, _, beta = strengths(3, 7)
    return features, 2 * random(3, 7, seed=2), beta


def reconstruction() -> tuple[Tensor, Tensor, Tensor]:
    images = torch.rand(2, 3, 5, 8, generator=generator(2))
    return random(2, 11, seed=0), random(2, 11, seed=1, shift=-0.4), images


def one_image() -> tuple[Tensor, Tensor, Tensor]:
    features, target, images = reconstruction()
    return 3 * features[:1], target[:1], images[:1, :, :4]


def marks(count: int = 3, points: int = 6) -> tuple[Tensor, Tensor]:
    """Landmarks that were turned, scaled, moved and read off with some error."""
    p = 40 * torch.rand(count, points, 2, generator=generator(0)) + torch.tensor([30.0, 5.0])
    angle = torch.linspace(0.4, 1.1, count)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    scale = torch.linspace(0.6, 1.9, count).view(-1, 1, 1)
    error = random(count, points, 2, seed=1, shift=0.0)
    return p, scale * p @ turn.mT + torch.tensor([-7.0, 21.0]) + error


def one_template() -> tuple[Tensor, Tensor]:
    points, target = marks(2, 4)
    return points, target[:1]


def mirrored() -> tuple[Tensor, Tensor]:
    """Larger than the points: at the same size 1 and the scale would be easy to mix up."""
    points, _ = marks(2, 5)
    return points, points * torch.tensor([-1.4, 1.4]) + 90


def mixture() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    features, target = random(3, 10, seed=0), random(3, 10, seed=1)
    return features, target, 2 * random(3, 5, seed=2), random(3, 5, seed=3), 0.3


def mostly_identity() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    features, target, vectors, wanted, _ = mixture()
    return features[:2, :6], target[:2, :6], vectors[:2], 3 * wanted[:2], 0.8


def weight(value: float) -> Callable[[], dict[str, Any]]:
    return lambda: {"tv_weight": value}
