"""Inputs of the exercises of topic 12: small features, toy layers, scores, places in a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from coursekit.core.runtime import generator as random

Map = Callable[[Tensor], Tensor]


def normal(*shape: int, seed: int, shift: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=random(seed)) + shift


def features(*shape: int, scale: float = 1.0, seed: int = 1) -> Callable[[], tuple[Tensor]]:
    return lambda: (scale * normal(*shape, seed=seed),)


def convolved(
    shape: tuple[int, ...], outputs: int, kernel: int, *gain: float
) -> Callable[[], tuple[Any, ...]]:
    """Features, weights from N(0, 1), a bias, and perhaps another gain."""

    def make() -> tuple[Any, ...]:
        weight = normal(outputs, shape[1], kernel, kernel, seed=3, shift=0.0)
        return (normal(*shape, seed=2), weight, normal(outputs, seed=4), *gain)

    return make


def batch(*shape: int, group: int) -> Callable[[], tuple[Tensor, int]]:
    """Images of which some differ more from each other than others do, feature by feature."""

    def make() -> tuple[Tensor, int]:
        count, channels = shape[:2]
        spread = torch.linspace(0.4, 2.0, count).view(-1, 1, 1, 1)
        spread = spread * torch.linspace(0.5, 1.5, channels).view(1, -1, 1, 1)
        return spread * normal(*shape, seed=5), group

    return make


def twins(*shape: int, group: int) -> Callable[[], tuple[Tensor, int]]:
    """Faint images; those of the first group are equal, so that the 1e-8 counts, and its place."""

    def make() -> tuple[Tensor, int]:
        images = 0.01 * normal(*shape, seed=6)
        images[:: len(images) // group] = images[0].clone()
        return images, group

    return make


def mixing(before: int, after: int, seed: int, smooth: bool = False) -> Map:
    """A 1×1 convolution from ``before`` channels to ``after``; with ``smooth``, one that sees
    its neighbours too, and a kink."""
    weight = normal(after, before, seed=seed)

    def layer(x: Tensor) -> Tensor:
        if smooth:
            x = (x + 0.5 * x.roll(1, dims=2) - 0.3 * x.roll(1, dims=3)).clamp(min=-1)
        return torch.einsum("kc,nchw->nkhw", weight[:, : x.shape[1]], x)

    return layer


def growing(
    shape: tuple[int, int, int, int], after: int, alpha: float
) -> Callable[[], tuple[Any, ...]]:
    """Features, the new block, both layers to RGB, α.

    Both layers to RGB take the channels that they get, so that mix-ups run.
    """

    def make() -> tuple[Any, ...]:
        channels = shape[1]
        block = mixing(channels, after, 11, smooth=True)
        layers = (mixing(max(channels, after), 3, seed) for seed in (12, 13))
        return (normal(*shape, seed=10), block, *layers, alpha)

    return make


def scored(
    real: int, fake: int, scale: float, penalty_weight: float, drift_weight: float
) -> Callable[[], tuple[Any, ...]]:
    """Scores of real and generated images, slopes between them, both weights."""

    def make() -> tuple[Any, ...]:
        slopes = normal(real, seed=22, shift=0.9).abs()
        scores = scale * normal(real, seed=20, shift=1.0), scale * normal(fake, seed=21)
        return (*scores, slopes, penalty_weight, drift_weight)

    return make


def place(images: int, *schedule: int) -> Callable[[], tuple[int, ...]]:
    return lambda: (images, *schedule)
