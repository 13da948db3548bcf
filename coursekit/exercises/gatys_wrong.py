"""Wrong implementations that people write in topic 03, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from coursekit import gatys
from coursekit.core import losses

Grams = Sequence[Mapping[str, Tensor]]
Pair = Callable[[Tensor, Tensor], Tensor]


def cut(right: Pair) -> Pair:
    """The right value, to which no gradient of the features belongs."""
    return lambda features, target: right(features.detach(), target) + 0 * target.sum()


def without_grams(
    features: Mapping[str, Tensor],
    content: Mapping[str, Tensor],
    grams: Mapping[str, Tensor],
    alpha: float,
    beta: float,
) -> Tensor:
    """The style term measures features, whatever the style is."""
    terms = [losses.content_loss(features[name], p) for name, p in content.items()]
    energies = [features[name].square().sum() for name in grams]
    return alpha * torch.stack(terms).sum() + beta * torch.stack(energies).mean()


def mixed(transform: Callable[[Grams, Sequence[float]], Sequence[float]]) -> Callable[..., object]:
    """Gram matrices summed with shares that are wrong."""

    def wrong(grams: Grams, weights: Sequence[float]) -> dict[str, Tensor]:
        pairs = list(zip(transform(grams, weights), grams, strict=True))
        return {
            name: torch.stack([share * each[name] for share, each in pairs]).sum(0)
            for name in grams[0]
        }

    return wrong


def swapped(result: Tensor, content: Tensor) -> Tensor:
    return gatys.keep_colours(content, result)


def rgb_first_channel(result: Tensor, content: Tensor) -> Tensor:
    return torch.cat([result[:, :1], content[:, 1:]], dim=1)


def mean_of_rgb(result: Tensor, content: Tensor) -> Tensor:
    shift = result.mean(1, keepdim=True) - content.mean(1, keepdim=True)
    return (content + shift).clamp(0, 1)


def unclamped(result: Tensor, content: Tensor) -> Tensor:
    yiq = torch.cat([gatys.rgb_to_yiq(result)[:, :1], gatys.rgb_to_yiq(content)[:, 1:]], dim=1)
    return gatys.yiq_to_rgb(yiq)


def clamped_in_yiq(result: Tensor, content: Tensor) -> Tensor:
    yiq = torch.cat([gatys.rgb_to_yiq(result)[:, :1], gatys.rgb_to_yiq(content)[:, 1:]], dim=1)
    return gatys.yiq_to_rgb(yiq.clamp(0, 1)).clamp(0, 1)


def half_way(result: Tensor, content: Tensor) -> Tensor:
    return gatys.keep_colours((result + content) / 2, content)


def softmax(grams: Grams, weights: Sequence[float]) -> list[float]:
    return torch.tensor(weights).softmax(0).tolist()


def largest(grams: Grams, weights: Sequence[float]) -> list[float]:
    return [float(weight == max(weights)) for weight in weights]
