"""Inputs of the exercises of topic 09: small tensors, labels and two toy networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from coursekit import cgan
from coursekit.core.runtime import generator as random


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed)) + 0.3


def vectors(*labels: int, latent: int, classes: int) -> Callable[[], tuple[Tensor, Tensor, int]]:
    return lambda: (normal(len(labels), latent, seed=0), torch.tensor(labels), classes)


def pictures(
    *labels: int, shape: tuple[int, int, int], classes: int
) -> Callable[[], tuple[Tensor, Tensor, int]]:
    return lambda: (normal(len(labels), *shape, seed=1), torch.tensor(labels), classes)


def logits(counts: tuple[int, int, int], scale: float) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(scale * normal(n, seed=i) for i, n in enumerate(counts))


def projection_inputs(
    count: int, features: int, classes: int, mixed: bool = False
) -> Callable[[], tuple[Tensor, ...]]:
    def make() -> tuple[Tensor, ...]:
        label = torch.arange(count).flip(0) % classes
        weights = cgan.label_weights(label, classes)
        if mixed:
            weights = 0.6 * weights + 0.4 * weights.roll(1, dims=1)
        phi, embedding = normal(count, features, seed=3), normal(classes, features, seed=4)
        return phi, weights, embedding, normal(count, seed=5)

    return make


class Generate(NamedTuple):
    """A toy G: latent vectors (N, 4) and labels → images (N, 8).

    A tuple of its weights, as `Judge` is, so that the engine compares their gradients.
    """

    weight: Tensor

    def __call__(self, latent: Tensor, label: Tensor) -> Tensor:
        return (cgan.join_latent(latent, label, 3) @ self.weight).tanh()


class Judge(NamedTuple):
    """A toy D: images (N, 8) and labels → logits (N,)."""

    psi: Tensor
    embedding: Tensor

    def __call__(self, images: Tensor, label: Tensor) -> Tensor:
        weights = cgan.label_weights(label, 3)
        return cgan.projection_logit(images, weights, self.embedding, images @ self.psi)


def round_inputs(*labels: int) -> Callable[[], tuple[Generate, Judge, Tensor, Tensor, Tensor]]:
    def make() -> tuple[Generate, Judge, Tensor, Tensor, Tensor]:
        count = len(labels)
        real, latent = normal(count, 8, seed=9).tanh(), normal(count, 4, seed=10)
        judge = Judge(normal(8, seed=7), normal(3, 8, seed=8))
        return Generate(normal(7, 8, seed=6)), judge, real, latent, torch.tensor(labels)

    return make


def readings(seed: int, count: int, asked_of: int) -> Callable[[], tuple[Tensor, Tensor, int]]:
    def make() -> tuple[Tensor, Tensor, int]:
        draw = random(seed)
        asked = torch.randint(asked_of, (count,), generator=draw)
        other = torch.randint(4, (count,), generator=draw)
        sound = torch.rand(count, generator=draw) < 0.6
        return torch.where(sound, asked, other), asked, 4

    return make
