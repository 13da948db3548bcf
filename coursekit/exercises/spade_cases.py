"""Inputs of the exercises of topic 14: features, label maps, opinions, and toy layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.core.runtime import generator as random

Map = Callable[[Tensor], Tensor]
Norm = Callable[[Tensor, Tensor], Tensor]
Shape = tuple[int, ...]
Opinion = list[list[Tensor]]
Make = Callable[[], tuple[Any, ...]]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed)) + 0.3


def drawn_labels(shape: Shape, classes: int, seed: int) -> Tensor:
    return torch.randint(classes, shape, generator=random(seed))


# --- The layer


def modulated(shape: Shape, scale: float = 1.0, shift: float = 0.0) -> Make:
    """Features, and γ and β that differ from pixel to pixel."""

    def make() -> tuple[Tensor, Tensor, Tensor]:
        offsets = shift * normal(1, shape[1], 1, 1, seed=4)
        features = scale * normal(*shape, seed=1) + offsets
        return features, normal(*shape, seed=2), normal(*shape, seed=3)

    return make


# --- Label maps


def maps(shape: Shape, found: int, classes: int, size: tuple[int, int]) -> Make:
    """Maps of noise with the classes 0 … found − 1, of ``classes``; the last class is there."""

    def make() -> tuple[Tensor, int, tuple[int, int]]:
        labels = drawn_labels(shape, found, seed=5)
        labels[0, 0, 0] = found - 1
        return labels, classes, size

    return make


# --- What the discriminator says


def opinion(count: int, scales: Sequence[int], seed: int, scale: float = 1.0) -> Opinion:
    """For each scale three layers of features and the logits, ever smaller."""
    found = []
    for number, side in enumerate(scales):
        layers = [(3, side, side + 2), (4, side, side), (2, side - 1, side)]
        shapes = [*layers, (1, side - 1, side - 1)]
        first = seed + 10 * number
        found.append([scale * normal(count, *s, seed=first + i) for i, s in enumerate(shapes)])
    return found


def opinions(count: int, *scales: int, scale: float = 1.0) -> Make:
    """What the discriminator says of true and of generated pictures."""
    return lambda: (opinion(count, scales, 100, scale), opinion(count, scales, 200, scale))


# --- The style's distribution


def gaussians(count: int, latent: int, scale: float = 1.0) -> Make:
    return lambda: (scale * normal(count, latent, seed=6), scale * normal(count, latent, seed=7))


# --- The residual block


def toy_norm(seed: int) -> Norm:
    """Normalises, then modulates by a mixture of the label planes; takes any channels."""
    weight = 0.5 * normal(2, 8, 8, seed=seed)

    def norm(x: Tensor, planes: Tensor) -> Tensor:
        small = F.interpolate(planes, x.shape[2:])
        parts = weight[:, : x.shape[1], : planes.shape[1]]
        gamma, beta = torch.einsum("gck,nkhw->gnchw", parts, small)
        return F.instance_norm(x) * (1 + gamma) + beta

    return norm


def toy_convolution(after: int, seed: int, reach: int = 1) -> Map:
    """Mixes channels, and neighbours in a row, into ``after`` new channels; takes any channels."""
    weight = 0.6 * normal(2, after, 8, seed=seed)

    def convolution(x: Tensor) -> Tensor:
        here, there = weight[:, :, : x.shape[1]]
        mixed = torch.einsum("kc,nchw->nkhw", here, x)
        return mixed + reach * torch.einsum("kc,nchw->nkhw", there, x.roll(1, dims=3))

    return convolution


def block(before: int, after: int, *, count: int = 2) -> Make:
    """Features, label planes, and the layers of a block; a learned shortcut where it needs one."""

    def make() -> tuple[Any, ...]:
        x, labels = normal(count, before, 4, 3, seed=8), drawn_labels((count, 8, 6), 3, seed=9)
        planes = F.one_hot(labels, 3).movedim(3, 1).float()
        norms = [toy_norm(seed) for seed in (10, 11)]
        convolutions = [toy_convolution(min(before, after), 12), toy_convolution(after, 13)]
        learned = (toy_norm(14), toy_convolution(after, 15, 0)) if before != after else (None,) * 2
        return x, planes, norms, convolutions, *learned

    return make
