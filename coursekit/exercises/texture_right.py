"""Topic 02: right answers written differently, and what holds for every right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from coursekit.core import losses
from coursekit.exercises.declarations import Property
from coursekit.exercises.inversion_right import close

Layers = Mapping[str, Tensor]
Weights = Mapping[str, float]
Moment = Callable[[Tensor], Tensor]

# --- Colour statistics ---------------------------------------------------------------------------


def statistics_by_loops(image: Tensor, reference: Tensor) -> Tensor:
    result = torch.empty_like(image)
    for number in range(image.shape[0]):
        for channel in range(image.shape[1]):
            mine, theirs = image[number, channel], reference[number, channel]
            stretch = theirs.std(correction=0) / mine.std(correction=0).clamp(min=1e-8)
            result[number, channel] = (mine - mine.mean()) * stretch + theirs.mean()
    return result


def statistics_by_rows(image: Tensor, reference: Tensor) -> Tensor:
    """On rows of pixels, the deviation as the root of the mean square."""
    rows, goal = image.flatten(2), reference.flatten(2)
    mean, mean_goal = rows.mean(2, keepdim=True), goal.mean(2, keepdim=True)
    spread = (rows - mean).square().mean(2, keepdim=True).sqrt()
    spread_goal = (goal - mean_goal).square().mean(2, keepdim=True).sqrt()
    unit = torch.where(spread > 0, (rows - mean) / spread, torch.zeros_like(rows))
    return (unit * spread_goal + mean_goal).view_as(image)


STATISTICS = (
    Property(
        "contrast doubled",
        lambda answer, image, reference: close(
            answer(2 * image, reference), answer(image, reference)
        ),
        "The picture times 2 gives another result in yours; its own contrast should not matter.",
    ),
)

# --- Second moments ------------------------------------------------------------------------------


def covariance_of_products(images: Tensor) -> Tensor:
    """E[x xᵀ] - E[x] E[x]ᵀ, in float64, where the difference of large numbers keeps its digits."""
    rows = images.double().flatten(2)
    mean = rows.mean(2)
    products = torch.einsum("ncm,ndm->ncd", rows, rows) / rows.shape[2]
    return (products - torch.einsum("nc,nd->ncd", mean, mean)).to(images)


def covariance_by_picture(images: Tensor) -> Tensor:
    return torch.stack([torch.cov(picture.flatten(1), correction=0) for picture in images])


def gram_by_einsum(features: Tensor) -> Tensor:
    return torch.einsum("nchw,ndhw->ncd", features, features) / features[0, 0].numel()


def gram_by_loops(features: Tensor) -> Tensor:
    """One entry after the other: how strongly two channels respond together."""
    channels = features.unbind(1)
    entries = [[(first * second).mean((1, 2)) for second in channels] for first in channels]
    return torch.stack([torch.stack(row, dim=1) for row in entries], dim=1)


def _positions_reordered(answer: Moment, features: Tensor) -> bool:
    return close(answer(features.flip(2, 3)), answer(features))


_REORDERED = Property(
    "positions reordered",
    _positions_reordered,
    "Yours changes when all positions are put in another order; the matrix does not know places.",
)

COVARIANCE = (
    _REORDERED,
    Property(
        "constants added",
        lambda answer, images: torch.allclose(answer(images + 1), answer(images), atol=1e-4),
        "Adding 1 to every pixel changes yours; a covariance does not see the mean.",
    ),
)
GRAM = (
    _REORDERED,
    Property(
        "scaled",
        lambda answer, features: close(answer(3 * features), 9 * answer(features)),
        "Features times 3 should give 9 times the matrix; yours does something else.",
    ),
)

# --- Losses --------------------------------------------------------------------------------------


def style_by_mean(gram: Tensor, target: Tensor) -> Tensor:
    return (gram - target.expand_as(gram)).pow(2).mean() / 4


def style_by_picture(gram: Tensor, target: Tensor) -> Tensor:
    terms = []
    for number, mine in enumerate(gram):
        gap = mine - target[number % len(target)]
        terms.append(torch.einsum("ij,ij->", gap, gap) / (2 * gram.shape[1]) ** 2)
    return torch.stack(terms).mean()


STYLE = (
    Property(
        "no difference",
        lambda answer, gram, target: float(answer(gram, gram.clone())) == 0,
        "Two equal matrices should have the loss 0.",
    ),
    Property(
        "twice the difference",
        lambda answer, gram, target: close(
            answer(target + 2 * (gram - target), target), 4 * answer(gram, target)
        ),
        "Twice the difference should cost four times as much.",
    ),
)


def texture_by_loop(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    total = torch.zeros(())
    for name, target in targets.items():
        term = losses.style_loss(losses.gram_matrix(features[name]), target)
        total = total + layer_weights[name] * term
    return total


def texture_by_einsum(features: Layers, targets: Layers, layer_weights: Weights) -> Tensor:
    terms = []
    for name, weight in layer_weights.items():
        maps = features[name]
        gram = torch.einsum("nchw,ndhw->ncd", maps, maps) / maps[0, 0].numel()
        terms.append(weight * (gram - targets[name]).square().mean() / 4)
    return torch.stack(terms).sum()


TEXTURE = (
    Property(
        "all weights doubled",
        lambda answer, features, targets, layer_weights: close(
            answer(features, targets, {name: 2 * w for name, w in layer_weights.items()}),
            2 * answer(features, targets, layer_weights),
        ),
        "Twice the weights should give twice the loss.",
    ),
)
