"""Wrong implementations that people write in topic 02, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from coursekit import texture
from coursekit.core import losses

# --- Colour statistics

Dims: TypeAlias = "tuple[int, ...]"


def statistics(
    image: Tensor, reference: Tensor, dims: Dims = (2, 3), correction: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and deviation of both, over ``dims``."""
    found = [
        (each.mean(dims, keepdim=True), each.std(dims, keepdim=True, correction=correction))
        for each in (image, reference)
    ]
    return (*found[0], *found[1])


def matched_over(dims: Dims, correction: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    def function(image: Tensor, reference: Tensor) -> Tensor:
        mean, std, mean_r, std_r = statistics(image, reference, dims, correction)
        return (image - mean) / std * std_r + mean_r

    return function


def variance_ratio(image: Tensor, reference: Tensor) -> Tensor:
    mean, std, mean_r, std_r = statistics(image, reference)
    return (image - mean) / std**2 * std_r**2 + mean_r


def ratio_upside_down(image: Tensor, reference: Tensor) -> Tensor:
    mean, std, mean_r, std_r = statistics(image, reference)
    return (image - mean) * std / std_r + mean_r


def own_mean_kept(image: Tensor, reference: Tensor) -> Tensor:
    mean, std, _, std_r = statistics(image, reference)
    return (image - mean) / std * std_r + mean


def not_centred(image: Tensor, reference: Tensor) -> Tensor:
    _, std, mean_r, std_r = statistics(image, reference)
    return image / std * std_r + mean_r


# --- Second moments


def as_rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, M)."""
    return features.flatten(2)


def centred(features: Tensor) -> Tensor:
    return features - features.mean(dim=(2, 3), keepdim=True)


def same(features: Tensor) -> Tensor:
    return features


Prepare: TypeAlias = "Callable[[Tensor], Tensor]"


def product(prepare: Prepare, power_m: float, power_c: float = 0) -> Prepare:
    """F Fᵀ · M^power_m · C^power_c."""

    def second_moment(features: Tensor) -> Tensor:
        rows = as_rows(prepare(features))
        return rows @ rows.mT * rows.shape[2] ** power_m * rows.shape[1] ** power_c

    return second_moment


def positions(prepare: Prepare) -> Prepare:
    def function(features: Tensor) -> Tensor:
        rows = as_rows(prepare(features))
        return rows.mT @ rows / rows.shape[2]

    return function


def batch_flattened(prepare: Prepare) -> Prepare:
    def function(features: Tensor) -> Tensor:
        rows = prepare(features).transpose(0, 1).flatten(1)
        gram = rows @ rows.mT / rows.shape[1]
        return gram.expand(features.shape[0], *gram.shape)

    return function


def one_mean(features: Tensor) -> Tensor:
    return features - features.mean(dim=(1, 2, 3), keepdim=True)


def less_one(features: Tensor) -> Tensor:
    rows = as_rows(centred(features))
    return rows @ rows.mT / (rows.shape[2] - 1)


def first_for_all(right: Prepare) -> Prepare:
    """The first picture's matrix for the whole batch."""
    return lambda features: right(features[:1]).expand(features.shape[0], -1, -1)


def cut(right: Prepare) -> Prepare:
    """The right values, to which no gradient belongs."""
    return lambda features: right(features.detach())


# --- Losses


def scaled_loss(power_n: int, quarter: bool, batch_mean: bool = True) -> Callable[..., Tensor]:
    def function(gram: Tensor, target: Tensor) -> Tensor:
        total = (gram - target).square().sum() / gram.shape[1] ** power_n
        total = total / 4 if quarter else total
        return total / gram.shape[0] if batch_mean else total

    return function


def absolute(gram: Tensor, target: Tensor) -> Tensor:
    return (gram - target).abs().sum() / (4 * gram.shape[0] * gram.shape[1] ** 2)


def diagonal(gram: Tensor, target: Tensor) -> Tensor:
    difference = (gram - target).diagonal(dim1=1, dim2=2)
    return difference.square().sum() / (4 * gram.shape[0] * gram.shape[1] ** 2)


Layers: TypeAlias = "Mapping[str, Tensor]"
Weights: TypeAlias = "Mapping[str, float]"


def layer_terms(features: Layers, targets: Layers, normalise: bool = True) -> dict[str, Tensor]:
    return {
        name: losses.style_loss(losses.gram_matrix(features[name], normalise), target)
        for name, target in targets.items()
    }


def weights_ignored(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    return torch.stack(list(layer_terms(features, targets).values())).sum()


def averaged(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    return texture.texture_loss(features, targets, layer_weights) / len(targets)


def weights_to_one(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    total = sum(layer_weights.values())
    return texture.texture_loss(features, targets, layer_weights) / total


def last_layer(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    total: Any = 0.0
    for name, term in layer_terms(features, targets).items():
        total = layer_weights[name] * term
    return total


def detached(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    quiet = {name: each.detach() for name, each in features.items()}
    return texture.texture_loss(quiet, targets, layer_weights)


def plain_sums(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    terms = layer_terms(features, targets, normalise=False)
    return torch.stack([layer_weights[name] * term for name, term in terms.items()]).sum()


def paired_by_order(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    pairs = zip(features.values(), targets.values(), layer_weights.values(), strict=False)
    terms = [w * losses.style_loss(losses.gram_matrix(f), t) for f, t, w in pairs]
    return torch.stack(terms).sum()
