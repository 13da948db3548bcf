"""Inputs of the exercises of topic 11: small pictures, toy generators and toy discriminators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from coursekit.core.runtime import generator as random

Map = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int, int]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed)) + 0.3


class ToY(NamedTuple):
    """A toy G: darker, and the channels exchanged.

    A tuple of its weights, as `ToX` is, so that the engine compares their gradients.
    """

    scale: Tensor
    shift: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return (self.scale * images.flip(1) + self.shift).tanh()


class ToX(NamedTuple):
    """A toy F, which is not the inverse of `ToY`: brighter, and moved by a pixel."""

    scale: Tensor
    shift: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return (self.scale * images.roll(1, dims=3) + self.shift).tanh()


def generators() -> tuple[ToY, ToX]:
    """Both, with fresh weights."""
    to_y = ToY(torch.tensor(0.6), torch.tensor(-0.3))
    return to_y, ToX(torch.tensor(1.1), torch.tensor(0.2))


def judge_x(images: Tensor) -> Tensor:
    return 0.7 * images.mean(dim=1, keepdim=True)[:, :, ::2] + 0.4


def judge_y(images: Tensor) -> Tensor:
    return images.amax(dim=1, keepdim=True)[..., ::2] - 0.1


def heaps(shape_x: Shape, shape_y: Shape) -> Callable[[], tuple[ToY, ToX, Tensor, Tensor]]:
    """Both generators, and pictures of two heaps."""
    return lambda: (*generators(), normal(*shape_x, seed=1), normal(*shape_y, seed=2))


def whole_game(
    shape_x: Shape, shape_y: Shape, cycle: float, identity: float
) -> Callable[[], tuple[ToY, ToX, Map, Map, Tensor, Tensor, float, float]]:
    def make() -> tuple[ToY, ToX, Map, Map, Tensor, Tensor, float, float]:
        x, y = normal(*shape_x, seed=3), normal(*shape_y, seed=4)
        return *generators(), judge_x, judge_y, x, y, cycle, identity

    return make


def scores(
    real: tuple[int, ...], fake: tuple[int, ...], scale: float
) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (scale * normal(*real, seed=5), scale * normal(*fake, seed=6))


def pool(
    kept: int, new: int, size: int, seed: int, channels: int = 2
) -> Callable[[], tuple[Tensor, Tensor, int, Tensor, Tensor]]:
    def make() -> tuple[Tensor, Tensor, int, Tensor, Tensor]:
        draw = random(seed)
        coins = torch.rand(new, generator=draw)
        places = torch.randint(max(size, 1), (new,), generator=draw)
        old = normal(kept, channels, 3, 2, seed=seed + 10)
        return old, normal(new, channels, 3, 2, seed=seed + 20), size, coins, places

    return make


def repeated_place(size: int) -> Callable[[], tuple[Tensor, Tensor, int, Tensor, Tensor]]:
    """Two new pictures want the same place: the second one is given the first. A coin is 0.5."""

    def make() -> tuple[Tensor, Tensor, int, Tensor, Tensor]:
        old, new = normal(size, 1, 2, 3, seed=7), normal(4, 1, 2, 3, seed=8)
        coins, places = torch.tensor([0.9, 0.5, 0.1, 0.7]), torch.tensor([1, 1, 0, 0])
        return old, new, size, coins, places

    return make
