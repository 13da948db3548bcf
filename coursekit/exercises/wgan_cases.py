"""Inputs of the exercises of topic 08: heaps of numbers, toy critics, and a measure."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core.runtime import generator


def numbers(*shape: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)) + shift


def two(*shape: int, shift: float = 0.7) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (numbers(*shape, seed=0), numbers(*shape, seed=1, shift=shift))


class TinyCritic(NamedTuple):
    """Two layers with a kink between them: images (N, …) → scores (N,).

    A tuple of its weights, so that the engine finds them and compares their gradients. Between
    kinks it is linear in the image: its slope has no derivative with respect to the image, and
    answers that detach their points and answers that do not have the same gradients.
    """

    first: Tensor
    second: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return F.leaky_relu(images.flatten(1) @ self.first, 0.2) @ self.second


def _tiny_critic(inputs: int, scale: float) -> TinyCritic:
    return TinyCritic(scale * numbers(inputs, 6, seed=7) / 2, numbers(6, seed=8))


def penalty_inputs(
    *shape: int, scale: float = 1.0, shift: float = 0.7
) -> Callable[[], tuple[object, ...]]:
    """A critic, both kinds of images, ε; where scale and shift fit, slopes on both sides of 1."""

    def make() -> tuple[object, ...]:
        inputs = torch.Size(shape[1:]).numel()
        epsilon = torch.rand(shape[0], generator=generator(9))
        return (_tiny_critic(inputs, scale), *two(*shape, shift=shift)(), epsilon)

    return make


def quotient_inputs(*shape: int) -> Callable[[], tuple[object, ...]]:
    return lambda: penalty_inputs(*shape)()[:3]


def module(limit: float) -> Callable[[], tuple[nn.Module, float]]:
    """A critic with layers of several kinds, some deeper inside."""

    def make() -> tuple[nn.Module, float]:
        features = nn.Sequential(nn.Conv2d(1, 2, 2), nn.GroupNorm(1, 2), nn.LeakyReLU(0.2))
        critic = nn.Sequential(features, nn.Flatten(), nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 1))
        with torch.no_grad():
            for index, parameter in enumerate(critic.parameters()):
                parameter.copy_(numbers(*parameter.shape, seed=index) / 2 - 0.1)
        return critic, limit

    return make


def clipping_facts(answer: Callable[..., Any], critic: nn.Module, limit: float) -> dict[str, Any]:
    """What has become of the critic itself; what the answer returned does not matter."""
    before = list(critic.parameters())
    answer(critic, limit)
    now = dict(critic.named_parameters())
    facts: dict[str, Any] = {name: each.detach().clone() for name, each in now.items()}
    return facts | {
        "the parameters are those that an optimiser knows": (
            len(before) == len(now) and all(map(operator.is_, before, now.values()))
        ),
        "parameters that can still learn": sum(each.requires_grad for each in now.values()),
    }
