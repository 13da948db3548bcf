"""Topic 01: right answers written differently, and what holds for every right answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit.exercises.declarations import Property

Loss = Callable[[Tensor], Tensor]
Pairwise = Callable[[Tensor, Tensor], Tensor]


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two results agree to four digits."""
    return torch.allclose(first.double(), second.double(), rtol=1e-3, atol=1e-6)


# --- Total variation -----------------------------------------------------------------------------


def variation_by_diff(images: Tensor) -> Tensor:
    down, right = (images.diff(dim=axis).pow(2).sum() for axis in (2, 3))
    return (down + right) / len(images)


def variation_by_picture(images: Tensor) -> Tensor:
    """One picture after the other, in float64."""
    totals = []
    for picture in images.double():
        right, left = picture[:, :, 1:], picture[:, :, :-1]
        lower, upper = picture[:, 1:], picture[:, :-1]
        totals.append(((right - left) ** 2).sum() + ((lower - upper) ** 2).sum())
    return torch.stack(totals).mean()


VARIATION = (
    Property(
        "a constant added",
        lambda answer, images: close(answer(images + 0.3), answer(images)),
        "Adding a constant to a picture changes your value; only differences of neighbours count.",
    ),
    Property(
        "rows and columns exchanged",
        lambda answer, images: close(answer(images.mT), answer(images)),
        "A picture and its transpose have different values in yours.",
    ),
)

# --- Feature loss --------------------------------------------------------------------------------


def relative_by_image(features: Tensor, target: Tensor) -> Tensor:
    ratios = []
    for number, mine in enumerate(features):
        theirs = target[number % len(target)]
        ratios.append((mine - theirs).pow(2).sum() / theirs.pow(2).sum())
    return torch.stack(ratios).mean()


def relative_by_einsum(features: Tensor, target: Tensor) -> Tensor:
    gap = features - target
    above = torch.einsum("nchw,nchw->n", gap, gap)
    return (above / torch.einsum("nchw,nchw->n", target, target)).mean()


RELATIVE = (
    Property(
        "both scaled",
        lambda answer, features, target: close(
            answer(3 * features, 3 * target), answer(features, target)
        ),
        "Features and target, both times 3, give another value in yours; the loss is relative.",
    ),
)

# --- A step of gradient descent ------------------------------------------------------------------


def step_by_backward(images: Tensor, loss: Loss, rate: float) -> Tensor:
    pixels = torch.nn.Parameter(images.clone())
    loss(pixels).backward()
    assert pixels.grad is not None
    with torch.no_grad():
        return torch.clamp(pixels - rate * pixels.grad, min=0, max=1)


def step_by_function(images: Tensor, loss: Loss, rate: float) -> Tensor:
    moved = images.detach() - rate * torch.func.grad(loss)(images.detach())
    return moved.maximum(torch.zeros_like(moved)).minimum(torch.ones_like(moved))


def descends(answer: Callable[..., Tensor], images: Tensor, loss: Loss, rate: float) -> bool:
    """Whether five small steps lower the loss."""
    pixels = images
    for _ in range(5):
        pixels = answer(pixels, loss, 1e-3).detach()  # it may still have the step's history
    return bool(loss(pixels).detach() < loss(images).detach())


STEP = (
    Property(
        "descent",
        descends,
        "Five small steps of yours do not lower the loss.",
        layer="behaviour",
    ),
)

# --- Distances -----------------------------------------------------------------------------------


def decibels_of_the_root(images: Tensor, others: Tensor) -> Tensor:
    return 20 * torch.log10(1 / (images - others).pow(2).mean((1, 2, 3)).sqrt())


def decibels_by_pair(images: Tensor, others: Tensor) -> Tensor:
    values = []
    for mine, theirs in zip(images, others, strict=True):
        energy = torch.linalg.vector_norm(mine - theirs) ** 2
        values.append(10 * torch.log10(mine.numel() / energy))
    return torch.stack(values)


def _symmetric(answer: Pairwise, first: Tensor, second: Tensor) -> bool:
    return close(answer(first, second), answer(second, first))


DECIBELS = (
    Property(
        "pictures exchanged",
        _symmetric,
        "Your value changes when the two pictures are exchanged.",
    ),
)


def unit_by_norm(features: Tensor, others: Tensor) -> Tensor:
    units = [each / (each.norm(dim=1, keepdim=True) + 1e-8) for each in (features, others)]
    return (units[0] - units[1]).pow(2).sum(1).flatten(1).mean(1)


def unit_by_cosine(features: Tensor, others: Tensor) -> Tensor:
    """|a - b|² = |a|² + |b|² - 2 a·b, where a length is 1, or 0 where nothing responds."""
    lengths = [each.double().square().sum(1).sqrt() for each in (features, others)]
    there = [(length > 0).double() for length in lengths]
    product = torch.einsum("nchw,nchw->nhw", features.double(), others.double())
    cosine = product / (lengths[0] * lengths[1]).clamp(min=1e-12)
    return (there[0] + there[1] - 2 * cosine).mean((1, 2)).to(features)


UNIT = (
    Property(
        "one side scaled",
        lambda answer, features, others: close(
            answer(5 * features, others), answer(features, others)
        ),
        "Features times 5 give another value in yours; only the direction at a position counts.",
    ),
    Property("maps exchanged", _symmetric, "Your value changes when the two maps are exchanged."),
)
