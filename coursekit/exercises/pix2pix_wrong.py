"""Wrong implementations that people write in topic 10, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]
Answer = Callable[..., Any]
Convolutions = list[tuple[int, int]]

# --- The skip connection


def _joined(
    layers: Iterable[Map],
    encoded: list[Tensor],
    skips: bool,
    join: Callable[[Tensor, Tensor], Tensor],
    mirror: Callable[[int], int] = lambda number: -1 - number,
) -> Tensor:
    x = encoded[-1]
    for number, layer in enumerate(layers):
        x = layer(join(x, encoded[mirror(number)]) if number and skips else x)
    return x


def _stack(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([x, skip], dim=1)


def decode_with(
    join: Callable[[Tensor, Tensor], Tensor] = _stack,
    mirror: Callable[[int], int] = lambda number: -1 - number,
) -> Answer:
    """A decoder in which one thing is wrong."""

    def wrong(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
        return _joined(layers, encoded, skips, join, mirror)

    return wrong


SKIP_FIRST = decode_with(join=lambda x, skip: _stack(skip, x))
ADDED = decode_with(join=lambda x, skip: x + skip if x.shape == skip.shape else _stack(x, skip))
AVERAGED = decode_with(join=lambda x, skip: (x + skip) / 2)
SKIP_DETACHED = decode_with(join=lambda x, skip: _stack(x, skip.detach()))
NOT_MIRRORED = decode_with(mirror=lambda number: number - 1)
ONE_LAYER_OFF = decode_with(mirror=lambda number: -number)


def zeros_without_skips(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
    return _joined(layers, encoded, True, lambda x, skip: _stack(x, skip if skips else 0 * skip))


def skips_ignored(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
    return _joined(layers, encoded, False, _stack)


def flag_ignored(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
    return _joined(layers, encoded, True, _stack)


def bottleneck_twice(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
    first = _stack(encoded[-1], encoded[-1]) if skips else encoded[-1]
    return _joined(layers, [*encoded[:-1], first], skips, _stack)


# --- The receptive field


def strides_forgotten(convolutions: Convolutions) -> int:
    return 1 + sum(kernel - 1 for kernel, _ in convolutions)


def kernels_multiplied(convolutions: Convolutions) -> int:
    seen = 1
    for kernel, _ in convolutions:
        seen *= kernel
    return seen


def walked_forwards(convolutions: Convolutions) -> int:
    seen = 1
    for kernel, stride in convolutions:
        seen = (seen - 1) * stride + kernel
    return seen


def one_too_many(convolutions: Convolutions) -> int:
    seen = 1
    for kernel, stride in reversed(convolutions):
        seen = seen * stride + kernel
    return seen


def begun_with_nothing(convolutions: Convolutions) -> int:
    seen = 0
    for kernel, stride in reversed(convolutions):
        seen = max((seen - 1) * stride, 0) + kernel
    return seen - 1


def own_stride_first(convolutions: Convolutions) -> int:
    """The step between two positions is multiplied before it is used."""
    seen, step = 1, 1
    for kernel, stride in convolutions:
        step *= stride
        seen += (kernel - 1) * step
    return seen


def padding_taken_off(convolutions: Convolutions) -> int:
    seen = 1
    for kernel, stride in reversed(convolutions):
        seen = (seen - 1) * stride + kernel - 2 * ((kernel - 1) // 2)
    return seen


# --- The combined objective


def combined(
    adversarial: Callable[[Tensor], Tensor] = lambda logits: F.softplus(-logits).mean(),
    distance: Callable[[Tensor, Tensor], Tensor] = F.l1_loss,
    weights: Callable[[float], tuple[float, float]] = lambda weight: (1.0, weight),
) -> Answer:
    """An objective in which one thing is wrong."""

    def wrong(fake_logits: Tensor, fake: Tensor, target: Tensor, l1_weight: float) -> Tensor:
        first, second = weights(l1_weight)
        return first * adversarial(fake_logits) + second * distance(fake, target)

    return wrong


SQUARED = combined(distance=F.mse_loss)
L1_SUMMED = combined(distance=lambda fake, target: (fake - target).abs().sum())
L1_SIGNED = combined(distance=lambda fake, target: (fake - target).mean())
PATCHES_SUMMED = combined(lambda logits: F.softplus(-logits).sum())
SATURATING = combined(lambda logits: -F.softplus(logits).mean())
DISCRIMINATORS_SIDE = combined(lambda logits: F.softplus(logits).mean())
SIGMOID_TWICE = combined(lambda logits: F.softplus(-logits.sigmoid()).mean())
MEAN_LOGIT = combined(lambda logits: F.softplus(-logits.mean()))
WEIGHT_FORGOTTEN = combined(weights=lambda weight: (1.0, 1.0))
OTHER_TERM_WEIGHTED = combined(weights=lambda weight: (weight, 1.0))
NO_GAME = combined(weights=lambda weight: (0.0, weight))
FAKE_DETACHED = combined(distance=lambda fake, target: F.l1_loss(fake.detach(), target))


# --- The discriminator's objective


def judged(
    *,
    real: Callable[[Tensor, Tensor, Tensor], list[Tensor]] = lambda x, y, fake: [x, y],
    made: Callable[[Tensor, Tensor, Tensor], list[Tensor]] = lambda x, y, fake: [x, fake],
    detached: bool = True,
    heard: Callable[[Tensor], Tensor] = lambda logits: logits,
    half: float = 0.5,
    loss: Callable[[Tensor, Tensor], Tensor] = lambda real, fake: (
        F.softplus(-real).mean() + F.softplus(fake).mean()
    ),
) -> Answer:
    """The discriminator's objective with one thing wrong."""

    def wrong(discriminator: Map, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        fake = fake.detach() if detached else fake
        pairs = (torch.cat(join(source, target, fake), dim=1) for join in (real, made))
        real_logits, fake_logits = map(discriminator, pairs)
        return half * loss(real_logits, heard(fake_logits))

    return wrong


NOT_DETACHED = judged(detached=False)
OUTPUT_DETACHED = judged(heard=Tensor.detach)
NO_HALF = judged(half=1.0)
INPUT_LEFT_OUT = judged(real=lambda x, y, fake: [y], made=lambda x, y, fake: [fake])
OUTPUT_FIRST = judged(real=lambda x, y, fake: [y, x], made=lambda x, y, fake: [fake, x])
TARGET_WITH_FAKE = judged(made=lambda x, y, fake: [y, fake])
LABELS_SWAPPED = judged(loss=lambda real, fake: F.softplus(real).mean() + F.softplus(-fake).mean())
REAL_FORGOTTEN = judged(loss=lambda real, fake: 0 * real.sum() + F.softplus(fake).mean())
JUDGED_SUMMED = judged(loss=lambda real, fake: F.softplus(-real).sum() + F.softplus(fake).sum())
CRITIC = judged(loss=lambda real, fake: fake.mean() - real.mean())
LOGIT_OF_THE_MEAN = judged(
    loss=lambda real, fake: F.softplus(-real.mean()) + F.softplus(fake.mean())
)


# --- Dropout as noise


def all_in_train_mode(network: nn.Module) -> None:
    network.train()


def no_noise(network: nn.Module) -> None:
    network.eval()


def children_only(network: nn.Module) -> None:
    network.eval()
    for part in network.children():
        if isinstance(part, nn.Dropout):
            part.train()


def eval_forgotten(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.train()


def share_changed(network: nn.Module) -> None:
    network.eval()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.train()
            part.p = 0.5


def normalisations_only(network: nn.Module) -> None:
    network.train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


def normalisation_instead(network: nn.Module) -> None:
    network.eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.train()
