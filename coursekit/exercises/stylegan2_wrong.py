"""Wrong implementations that people write in topic 13, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
Adain = Callable[[Tensor, Tensor, Tensor], Tensor]


def _wide(values: Tensor) -> Tensor:
    return values[:, :, None, None]


# --- AdaIN


def adain_with(
    dim: tuple[int, ...] = (2, 3),
    *,
    centred: bool = True,
    root: bool = True,
    epsilon: float = 1e-8,
    outside: bool = False,
    correction: int = 0,
    swapped: bool = False,
    one_plus: bool = False,
) -> Adain:
    """AdaIN in which one thing is wrong."""

    def wrong(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=dim, keepdim=True, correction=correction)
        deviation = (variance + epsilon).sqrt() if root else variance + epsilon
        deviation = variance.sqrt() + epsilon if outside else deviation
        normalised = (x - mean if centred else x) / deviation
        if swapped:
            scale, bias = bias, scale
        return _wide(scale + one_plus) * normalised + _wide(bias)

    return wrong


def adain_styles_detached(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return adain_with()(x, scale.detach(), bias.detach()) + 0 * (scale.sum() + bias.sum())


def adain_constants(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """The statistics are taken for constants: the values are right, the gradient is not."""
    variance, mean = torch.var_mean(x.detach(), dim=(2, 3), keepdim=True, correction=0)
    return _wide(scale) * (x - mean) * (variance + 1e-8).rsqrt() + _wide(bias)


# --- Demodulation


def demodulate_with(
    dim: tuple[int, ...] = (2, 3, 4),
    *,
    root: bool = True,
    epsilon: float = 1e-8,
    outside: bool = False,
    divide: bool = True,
    mean: bool = False,
    modulate: bool = True,
    outputs: bool = False,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Demodulation in which one thing is wrong."""

    def wrong(weight: Tensor, style: Tensor) -> Tensor:
        factors = style[:, :, None, None, None] if outputs else style[:, None, :, None, None]
        modulated = weight * factors
        power = modulated.square()
        power = power.mean(dim=dim, keepdim=True) if mean else power.sum(dim=dim, keepdim=True)
        lengths = (power + epsilon).sqrt() if root else power + epsilon
        lengths = power.sqrt() + epsilon if outside else lengths
        kept = modulated if modulate else weight.expand_as(modulated)
        return kept / lengths if divide else modulated

    return wrong


def demodulate_style_detached(weight: Tensor, style: Tensor) -> Tensor:
    return demodulate_with()(weight, style.detach()) + 0 * style.sum()


def demodulate_constants(weight: Tensor, style: Tensor) -> Tensor:
    modulated = weight * style[:, None, :, None, None]
    power = modulated.detach().square().sum(dim=(2, 3, 4), keepdim=True)
    return modulated * (power + 1e-8).rsqrt()


# --- Truncation


def truncate_with(
    change: Callable[[Tensor, Tensor, float], Tensor],
    part: Callable[[int], slice] = lambda layers: slice(0, layers),
) -> Callable[[Tensor, Tensor, float, int], Tensor]:
    """Truncation by another formula, or in other layers."""

    def wrong(w: Tensor, mean: Tensor, psi: float, layers: int) -> Tensor:
        moved = w.clone()
        chosen = part(layers)
        moved[:, chosen] = change(w, mean, psi).expand_as(w)[:, chosen]
        return moved

    return wrong


def nearer(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    return mean + psi * (w - mean)


def truncate_all(w: Tensor, mean: Tensor, psi: float, layers: int) -> Tensor:
    return nearer(w, mean, psi)


def truncate_in_place(w: Tensor, mean: Tensor, psi: float, layers: int) -> Tensor:
    w[:, :layers] = nearer(w[:, :layers], mean, psi)
    return w


# --- Mixing


def mix_with(part: Callable[[int, int], slice]) -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """Mixing in other layers than asked for."""

    def wrong(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
        mixed = styles.clone()
        mixed[:, part(first, last)] = others[:, part(first, last)]
        return mixed

    return wrong


def mix_swapped(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    return mix_with(slice)(others, styles, first, last)


def mix_averaged(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    return mix_with(slice)(styles, (styles + others) / 2, first, last)


def mix_batch(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    mixed = styles.clone()
    mixed[first:last] = others[first:last]
    return mixed


def mix_latent(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    mixed = styles.clone()
    mixed[:, :, first:last] = others[:, :, first:last]
    return mixed


def mix_first_row(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    return mix_with(slice)(styles, others[:1].expand_as(styles), first, last)


# --- R1


def r1_with(
    *,
    half: bool = True,
    squared: bool = True,
    mean: bool = False,
    one: bool = False,
    graph: bool = True,
    summed: bool = False,
) -> Callable[[Map, Tensor, float], Tensor]:
    """R1 in which one thing is wrong."""

    def wrong(discriminator: Map, real: Tensor, gamma: float) -> Tensor:
        images = real.detach().requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
        slope = slope if graph else slope.detach()
        rows = slope.flatten(1)
        each = rows.square().mean(dim=1) if mean else rows.square().sum(dim=1)
        each = each if squared else (each + 1e-12).sqrt()
        each = (each.clamp(min=1e-12).sqrt() - 1).square() if one else each
        return (gamma / 2 if half else gamma) * (each.sum() if summed else each.mean())

    return wrong


def r1_mean_logit(discriminator: Map, real: Tensor, gamma: float) -> Tensor:
    images = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(images).mean(), images, create_graph=True)
    return gamma / 2 * slope.square().flatten(1).sum(dim=1).mean()


# --- Path length


def path_with(
    *,
    scaled: bool = True,
    by_pixels: bool = False,
    root: bool = True,
    goal: bool = True,
    squared: bool = True,
    graph: bool = True,
    noise_used: bool = True,
    one_length: bool = False,
    mean_square: bool = False,
    summed: bool = False,
) -> Callable[[Map, Tensor, Tensor, float], Tensor]:
    """The path length penalty in which one thing is wrong."""

    def wrong(synthesis: Map, w: Tensor, noise: Tensor, mean: float) -> Tensor:
        images = synthesis(w)
        pixels = images.shape[2] * images.shape[3]
        scale = (pixels if by_pixels else pixels**0.5) if scaled else 1.0
        scalar = (images * noise if noise_used else images).sum() / scale
        (slope,) = torch.autograd.grad(scalar, w, create_graph=True)
        slope = slope if graph else slope.detach()
        rows = slope.flatten()[None] if one_length else slope
        power = rows.square().mean(dim=1) if mean_square else rows.square().sum(dim=1)
        lengths = power.sqrt() if root else power
        off = lengths - mean if goal else lengths
        each = off.square() if squared else off.abs()
        return each.sum() if summed else each.mean()

    return wrong


def path_w_detached(synthesis: Map, w: Tensor, noise: Tensor, mean: float) -> Tensor:
    return path_with()(synthesis, w.detach().requires_grad_(), noise, mean) + 0 * w.sum()
