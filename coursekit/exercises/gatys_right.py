"""Topic 03: right answers written differently, and what holds for every right answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coursekit import texture
from coursekit.core import losses
from coursekit.exercises.declarations import Answer, Property
from coursekit.exercises.inversion_right import close

Layers = Mapping[str, Tensor]
Grams = Sequence[Mapping[str, Tensor]]

# --- The losses ----------------------------------------------------------------------------------


def content_by_mean(features: Tensor, target: Tensor) -> Tensor:
    return (features - target).pow(2).flatten(1).sum(1).mean() / 2


def content_by_einsum(features: Tensor, target: Tensor) -> Tensor:
    gap = features - target
    return 0.5 * torch.einsum("nchw,nchw->", gap, gap) / len(features)


CONTENT = (
    Property(
        "sides exchanged",
        lambda answer, features, target: close(answer(features, target), answer(target, features)),
        "Your value changes when features and target are exchanged.",
    ),
)


def total_by_loops(
    features: Layers, content: Layers, grams: Layers, alpha: float, beta: float
) -> Tensor:
    content_part = style_part = torch.zeros(())
    for name in content:
        content_part = content_part + losses.content_loss(features[name], content[name])
    for name in grams:
        gram = losses.gram_matrix(features[name])
        style_part = style_part + losses.style_loss(gram, grams[name]) / len(grams)
    return alpha * content_part + beta * style_part


def total_by_einsum(
    features: Layers, content: Layers, grams: Layers, alpha: float, beta: float
) -> Tensor:
    contents = [(features[n] - p).square().sum() / 2 for n, p in content.items()]
    styles = []
    for name, target in grams.items():
        maps = features[name]
        gram = torch.einsum("nchw,ndhw->ncd", maps, maps) / maps[0, 0].numel()
        styles.append((gram - target).square().mean() / 4)
    return alpha * torch.stack(contents).sum() + beta * torch.stack(styles).mean()


TOTAL = (
    Property(
        "both weights doubled",
        lambda answer, features, content, grams, alpha, beta: close(
            answer(features, content, grams, 2 * alpha, 2 * beta),
            2 * answer(features, content, grams, alpha, beta),
        ),
        "Twice α and β should give twice the loss.",
    ),
)

# --- A step, a mixture, colours ------------------------------------------------------------------


def step_by_parts(image: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    moved = torch.sub(image, gradient, alpha=step_size)
    return torch.where(moved < 0, 0.0, torch.where(moved > 1, 1.0, moved))


def step_on_a_copy(image: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    moved = image.clone()
    moved -= step_size * gradient
    return moved.clip_(0, 1)


STEP = (
    Property(
        "no step",
        lambda answer, image, gradient, step_size: close(answer(image, gradient, 0.0), image),
        "A step of size 0 should leave the image as it is.",
    ),
)


def mixed_by_tensordot(grams: Grams, weights: Sequence[float]) -> dict[str, Tensor]:
    share = torch.tensor(weights) / sum(weights)
    return {
        name: torch.tensordot(share, torch.stack([each[name] for each in grams]), dims=1)
        for name in grams[0]
    }


def mixed_one_by_one(grams: Grams, weights: Sequence[float]) -> dict[str, Tensor]:
    """The mean so far, moved towards each further style."""
    mean, total = {name: gram * 0 for name, gram in grams[0].items()}, 0.0
    for each, weight in zip(grams, weights, strict=True):
        total += weight
        step = weight / total if total else 0.0
        mean = {name: old + step * (each[name] - old) for name, old in mean.items()}
    return mean


def _weights_scaled(answer: Answer, grams: Grams, weights: Sequence[float]) -> bool:
    mine, scaled = answer(grams, weights), answer(grams, [3 * weight for weight in weights])
    return all(close(mine[name], scaled[name]) for name in mine)


MIXED = (
    Property(
        "weights scaled",
        _weights_scaled,
        "All weights times 3 should give the same mixture.",
    ),
)


def colours_by_luminance(result: Tensor, content: Tensor) -> Tensor:
    """The difference in brightness, added to all three colours."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    brighter = ((result - content) * weights).sum(1, keepdim=True)
    return (content + brighter).clamp(0, 1)


def colours_in_place(result: Tensor, content: Tensor) -> Tensor:
    mixed = texture.rgb_to_yiq(content).clone()
    mixed[:, 0] = texture.rgb_to_yiq(result)[:, 0]
    return texture.yiq_to_rgb(mixed).clip(0, 1)


COLOURS = (
    Property(
        "a picture with itself",
        lambda answer, result, content: torch.allclose(
            answer(content, content), content, atol=1e-3
        ),
        "A picture with its own colours should come out as it is.",
    ),
)
