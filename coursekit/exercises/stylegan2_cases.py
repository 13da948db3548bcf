"""Inputs of the exercises of topic 13: small maps, weights and styles, a critic and a generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.runtime import generator as random

Make = Callable[[], tuple[Any, ...]]


def normal(*shape: int, seed: int, shift: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=random(seed)) + shift


def maps(count: int, channels: int, height: int, width: int, spread: float = 1.0) -> Make:
    """Maps of different strengths, with y_s and y_b."""

    def make() -> tuple[Tensor, ...]:
        strength = spread * torch.linspace(0.5, 2.0, count * channels).view(count, channels, 1, 1)
        x = strength * normal(count, channels, height, width, seed=1) + 3 * strength
        return x, normal(count, channels, seed=2, shift=1.0), normal(count, channels, seed=3)

    return make


def flat_map() -> tuple[Tensor, ...]:
    """One map that is constant: its deviation is 0."""
    x, scale, bias = maps(2, 3, 4, 5)()
    x[1, 2] = 0.25  # exact in binary, so that its mean is too
    return x, scale, bias


def weights(outputs: int, inputs: int, kernel: int, count: int, spread: float = 1.0) -> Make:
    def make() -> tuple[Tensor, Tensor]:
        weight = normal(outputs, inputs, kernel, kernel, seed=4)
        return weight, spread * normal(count, inputs, seed=5, shift=1.0)

    return make


def style_of_nothing() -> tuple[Tensor, Tensor]:
    """One sample whose style is 0 everywhere."""
    weight, style = weights(3, 4, 3, 3)()
    style[1] = 0.0
    return weight, style


def truncations(count: int, layers: int, latent: int, psi: float, first: int) -> Make:
    return lambda: (
        normal(count, layers, latent, seed=6),
        normal(latent, seed=7, shift=1.0),
        psi,
        first,
    )


def mixtures(count: int, layers: int, latent: int, first: int, last: int) -> Make:
    return lambda: (
        normal(count, layers, latent, seed=8),
        normal(count, layers, latent, seed=9, shift=-0.5),
        first,
        last,
    )


class Critic(NamedTuple):
    """Two layers with a kink between them: images (N, …) → logits (N,).

    A tuple of its weights, so that the engine finds them and compares their gradients. Between
    kinks its slope does not depend on the image: answers that detach the images and answers that
    do not have the same gradients.
    """

    first: Tensor
    second: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return F.leaky_relu(images.flatten(1) @ self.first, 0.2) @ self.second


def judged(count: int, channels: int, side: int, gamma: float) -> Make:
    def make() -> tuple[Critic, Tensor, float]:
        inputs = channels * side * (side + 1)
        critic = Critic(normal(inputs, 6, seed=10, shift=0.0) / 3, normal(6, seed=11, shift=0.0))
        return critic, normal(count, channels, side, side + 1, seed=12), gamma

    return make


class Synthesis(NamedTuple):
    """A bent map from w (N, latent) to images (N, 2, H, W); ``like`` only lends its shape."""

    matrix: Tensor
    like: Tensor

    def __call__(self, w: Tensor) -> Tensor:
        flat = w @ self.matrix
        return (flat.tanh() + 0.2 * flat).reshape(len(w), 2, *self.like.shape)


def walked(count: int, latent: int, height: int, width: int, mean: float) -> Make:
    """A generator, w, y and a."""

    def make() -> tuple[Synthesis, Tensor, Tensor, float]:
        matrix = normal(latent, 2 * height * width, seed=14, shift=0.0) / 2
        w = normal(count, latent, seed=13).requires_grad_()
        noise = normal(count, 2, height, width, seed=15, shift=0.0)
        return Synthesis(matrix, torch.zeros(height, width)), w, noise, mean

    return make
