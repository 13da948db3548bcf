"""Wrong implementations that people write in topic 01, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from coursekit.core import losses

Loss: TypeAlias = Callable[[Tensor], Tensor]
Update: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]


def cut(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The right value, to which no gradient belongs."""
    return lambda images, *others: right(images.detach(), *others)


# --- Total variation


def variation(
    across: bool = True, down: bool = True, power: int = 2, batch_mean: bool = True
) -> Loss:
    def function(images: Tensor) -> Tensor:
        rows = (images[..., :, 1:] - images[..., :, :-1]).abs().pow(power).sum()
        columns = (images[..., 1:, :] - images[..., :-1, :]).abs().pow(power).sum()
        total = across * rows + down * columns
        return total / images.shape[0] if batch_mean else total

    return function


def wrapped_variation(images: Tensor) -> Tensor:
    moved = (images - images.roll(1, 3)).square() + (images - images.roll(1, 2)).square()
    return moved.sum() / images.shape[0]


def mean_variation(images: Tensor) -> Tensor:
    return losses.total_variation(images) / images[0].numel()


# --- Feature loss


def _energy(features: Tensor) -> Tensor:
    return features.square().flatten(1).sum(1)


def plain_feature_loss(features: Tensor, target: Tensor) -> Tensor:
    return _energy(features - target).mean()


def own_energy(features: Tensor, target: Tensor) -> Tensor:
    return (_energy(features - target) / _energy(features)).mean()


def unsquared(features: Tensor, target: Tensor) -> Tensor:
    return (_energy(features - target) / _energy(target)).sqrt().mean()


def pooled_ratio(features: Tensor, target: Tensor) -> Tensor:
    return _energy(features - target).sum() / _energy(target.expand_as(features)).sum()


def summed_ratios(features: Tensor, target: Tensor) -> Tensor:
    return (_energy(features - target) / _energy(target)).sum()


# --- A step of gradient descent


def stepped(update: Update) -> Callable[[Tensor, Loss, float], Tensor]:
    """A step whose update rule is ``update(images, gradient, rate)``."""

    def function(images: Tensor, loss: Loss, rate: float) -> Tensor:
        pixels = images.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(pixels), pixels)
        return update(pixels.detach(), gradient, rate)

    return function


# --- Distances


def decibels(factor: float = -10.0, offset: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    def function(images: Tensor, others: Tensor) -> Tensor:
        return factor * (images - others).square().mean(dim=(1, 2, 3)).log10() + offset

    return function


def pooled_psnr(images: Tensor, others: Tensor) -> Tensor:
    return (-10 * (images - others).square().mean().log10()).expand(images.shape[0])


def channel_psnr(images: Tensor, others: Tensor) -> Tensor:
    return (-10 * (images - others).square().mean(dim=(2, 3)).log10()).mean(dim=1)


def unit_distance(
    dims: int | tuple[int, ...] | None, scale: str = "", root: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """Lengths over ``dims``; ``scale`` names the axis whose count is (mis)handled."""

    def unit(features: Tensor) -> Tensor:
        if dims is None:
            return features
        return features / (features.square().sum(dims, keepdim=True).sqrt() + 1e-10)

    def function(features: Tensor, others: Tensor) -> Tensor:
        squared = (unit(features) - unit(others)).square().sum(dim=1)
        distance = (squared.sqrt() if root else squared).mean(dim=(1, 2))
        if scale == "positions":
            return distance * squared[0].numel()
        return distance / features.shape[1] if scale == "channels" else distance

    return function
