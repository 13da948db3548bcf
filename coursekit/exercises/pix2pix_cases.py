"""Inputs of the exercises of topic 10: small pictures, toy networks, and measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from coursekit.core.runtime import generator as random

Map = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int, int]
Answer = Callable[..., Any]
Convolutions = list[tuple[int, int]]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed)) + 0.3


# --- The skip connection


def toy_layer(channels: int, seed: int, double: bool) -> Map:
    """Mixes whatever channels come into ``channels`` new ones, and may double the size.

    Channels of zeros count too: how many there are is added to the mixture.
    """
    weight = 0.5 * normal(channels, 40, seed=seed)

    def layer(x: Tensor) -> Tensor:
        mixed = torch.einsum("kc,nchw->nkhw", weight[:, : x.shape[1]], x)
        mixed = (mixed + 0.1 * x.shape[1]).tanh()
        return mixed.repeat_interleave(2, 2).repeat_interleave(2, 3) if double else mixed

    return layer


def one_size(count: int) -> Callable[[], tuple[list[Map], list[Tensor]]]:
    """All features of one size, so that every wrong order goes through."""

    def make() -> tuple[list[Map], list[Tensor]]:
        encoded = [normal(2, 3, 4, 5, seed=number) for number in range(count)]
        return [toy_layer(3, 10 + number, double=False) for number in range(count)], encoded

    return make


def pyramid(*channels: int) -> Callable[[], tuple[list[Map], list[Tensor]]]:
    """Features that are halved from layer to layer, as in a U-Net."""

    def make() -> tuple[list[Map], list[Tensor]]:
        count = len(channels)
        encoded = [
            normal(2, width, 2 ** (count - number), 3 * 2 ** (count - number), seed=20 + number)
            for number, width in enumerate(channels)
        ]
        return [toy_layer(width, 30 + width, double=True) for width in channels[::-1]], encoded

    return make


# --- The objectives


def made(patches: Shape, pictures: Shape, weight: float, scale: float = 1.0) -> Callable[[], Any]:
    """Logits of fakes, fakes, true pictures, and λ."""

    def make() -> tuple[Tensor, Tensor, Tensor, float]:
        fake, target = normal(*pictures, seed=40), normal(*pictures, seed=41)
        return scale * normal(*patches, seed=42), fake.tanh(), target.tanh(), weight

    return make


class Judge(NamedTuple):
    """A toy PatchGAN: it takes any number of channels and gives one logit each two columns.

    A tuple of its weights, so that the engine compares their gradients.
    """

    weight: Tensor

    def __call__(self, pair: Tensor) -> Tensor:
        mixed = torch.einsum("c,nchw->nhw", self.weight[: pair.shape[1]], pair)[:, None]
        return mixed[..., ::2] + 0.3 * mixed[..., ::2].tanh()


def judged(
    inputs: Shape, outputs: Shape, scale: float
) -> Callable[[], tuple[Judge, Tensor, Tensor, Tensor]]:
    def make() -> tuple[Judge, Tensor, Tensor, Tensor]:
        source, judge = normal(*inputs, seed=44), Judge(scale * normal(12, seed=43))
        return judge, source, normal(*outputs, seed=45), normal(*outputs, seed=46)

    return make


# --- Dropout as noise


def network(training: bool) -> Callable[[], tuple[nn.Module]]:
    """Dropout at several depths, two normalisations whose statistics are not those of the input."""

    def make() -> tuple[nn.Module]:
        inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.3))
        whole = nn.Sequential(
            nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Sequential(inner, nn.ReLU())
        )
        with torch.no_grad():
            for number, parameter in enumerate(whole.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=50 + number))
            for number, part in enumerate((whole[1], inner[1])):
                part.get_buffer("running_mean").copy_(normal(4, seed=60 + number))
        return (whole.train(training),)

    return make


def noise_facts(answer: Answer, whole: nn.Module) -> dict[str, Any]:
    """What the network does once the answer has had it."""
    answer(whole)
    layers = [part for part in whole.modules() if isinstance(part, nn.Dropout)]
    norms = [part for part in whole.modules() if isinstance(part, nn.BatchNorm2d)]
    others = [part for part in whole.modules() if part not in {*layers, *norms}]
    facts: dict[str, Any] = {
        "dropout layers that draw": sum(layer.training and layer.p > 0 for layer in layers),
        "shares dropped, in all": sum(layer.p for layer in layers),
        "normalisations that use the batch": sum(norm.training for norm in norms),
        "other parts in train mode": sum(part.training for part in others),
    }
    before = [norm.get_buffer("running_mean").clone() for norm in norms]
    pictures = normal(3, 2, 4, 6, seed=70)
    with torch.no_grad():
        first, second = whole(pictures), whole(pictures)
    same = all(map(torch.equal, before, (norm.get_buffer("running_mean") for norm in norms)))
    return facts | {
        "two calls give the same picture": torch.equal(first, second),
        "statistics are left alone": same,
    }
