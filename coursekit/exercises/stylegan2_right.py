"""Right answers of topic 13 in other words, and what must hold for every right answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.exercises.engine import Property

Map = Callable[[Tensor], Tensor]
Answer = Callable[..., Any]

# --- AdaIN


def adain_by_instance_norm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-8) -> Tensor:
    normalised = F.instance_norm(x, eps=epsilon)
    return normalised * scale.unsqueeze(-1).unsqueeze(-1) + bias.unsqueeze(-1).unsqueeze(-1)


def adain_by_rows(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-8) -> Tensor:
    rows = x.flatten(2)
    centred = rows - rows.mean(dim=2, keepdim=True)
    deviation = (centred.square().mean(dim=2, keepdim=True) + epsilon).sqrt()
    found = scale[..., None] * centred / deviation + bias[..., None]
    return found.reshape(x.shape)


def _forgets_the_statistics(
    answer: Answer, x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-8
) -> bool:
    x = x + torch.arange(x.numel()).sin().view_as(x)  # no map without contrast
    factor = torch.linspace(0.5, 3.0, x.shape[1])[:, None, None]
    return torch.allclose(answer(factor * x + 2, scale, bias), answer(x, scale, bias), atol=1e-3)


ADAIN = (
    Property(
        "the maps' own scale and shift are forgotten",
        _forgets_the_statistics,
        "Scaling and shifting a map of x must change nothing: AdaIN takes both away.",
    ),
)


# --- Demodulation


def demodulate_by_einsum(weight: Tensor, style: Tensor, epsilon: float = 1e-8) -> Tensor:
    modulated = torch.einsum("ni,oihw->noihw", style, weight)
    power = torch.einsum("noihw,noihw->no", modulated, modulated)
    return torch.einsum("noihw,no->noihw", modulated, (power + epsilon).rsqrt())


def demodulate_by_loop(weight: Tensor, style: Tensor, epsilon: float = 1e-8) -> Tensor:
    each = []
    for s in style:
        modulated = weight * s.view(1, -1, 1, 1)
        norms = (modulated.flatten(1).square().sum(1) + epsilon).sqrt()
        each.append(modulated / norms.view(-1, 1, 1, 1))
    return torch.stack(each)


def _unit_norms(answer: Answer, weight: Tensor, style: Tensor, epsilon: float = 1e-8) -> bool:
    norms = answer(weight, _present(style)).flatten(2).norm(dim=2)
    return torch.allclose(norms, torch.ones_like(norms), atol=1e-3)


def _size_of_style(answer: Answer, weight: Tensor, style: Tensor, epsilon: float = 1e-8) -> bool:
    style = _present(style)
    return torch.allclose(answer(weight, 5 * style), answer(weight, style), atol=1e-3)


def _present(style: Tensor) -> Tensor:
    """Without numbers so near to 0 that ε counts."""
    return torch.where(style.abs() < 0.1, torch.ones_like(style), style)


DEMODULATE = (
    Property(
        "every filter of every sample has length 1",
        _unit_norms,
        "The weights of one sample and one output channel must have the sum of squares 1.",
    ),
    Property(
        "a style five times as large gives the same weights",
        _size_of_style,
        "A style five times as large must change nothing: only its direction is left.",
    ),
)


# --- Truncation


def truncate_by_lerp(w: Tensor, mean: Tensor, psi: float, layers: int) -> Tensor:
    share = torch.ones(w.shape[1])
    share[:layers] = psi
    return torch.lerp(mean.expand_as(w), w, share[None, :, None].expand_as(w))


def truncate_by_where(w: Tensor, mean: Tensor, psi: float, layers: int) -> Tensor:
    coarse = (torch.arange(w.shape[1]) < layers)[None, :, None]
    return torch.where(coarse, psi * w + (1 - psi) * mean, w)


TRUNCATE = (
    Property(
        "ψ = 1 changes nothing",
        lambda answer, w, mean, psi, layers: torch.allclose(
            answer(w, mean, 1.0, layers), w, atol=1e-5
        ),
        "With ψ = 1 every w must stay where it is.",
    ),
    Property(
        "ψ = 0 gives everybody the mean",
        lambda answer, w, mean, psi, layers: torch.allclose(
            answer(w, mean, 0.0, w.shape[1]), mean.expand_as(w), atol=1e-5
        ),
        "With ψ = 0 in all layers every w must be the mean.",
    ),
)


# --- Mixing


def mix_by_cat(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    return torch.cat([styles[:, :first], others[:, first:last], styles[:, last:]], dim=1)


def mix_by_where(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    layer = torch.arange(styles.shape[1])
    from_b = (layer >= first) & (layer < last)
    return torch.where(from_b[:, None], others, styles)


MIX = (
    Property(
        "mixed with itself a style stays",
        lambda answer, styles, others, first, last: torch.equal(
            answer(styles, styles, first, last), styles
        ),
        "A mixed with A is A.",
    ),
    Property(
        "what one mixture takes from B, the other takes from A",
        lambda answer, styles, others, first, last: torch.allclose(
            answer(styles, others, first, last) + answer(others, styles, first, last),
            styles + others,
            atol=1e-5,
        ),
        "Every layer comes from A or from B: swapped, the two mixtures must add up to A + B.",
    ),
)


# --- R1


def r1_by_backward(discriminator: Map, real: Tensor, gamma: float) -> Tensor:
    images = real.detach().requires_grad_(True)
    slope = torch.autograd.grad([discriminator(images).sum()], [images], create_graph=True)[0]
    return gamma * 0.5 * (slope**2).sum() / len(real)


def r1_by_each(discriminator: Map, real: Tensor, gamma: float) -> Tensor:
    penalties = []
    for image in real.detach().split(1):
        image = image.requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(image).sum(), image, create_graph=True)
        penalties.append(slope.flatten().dot(slope.flatten()))
    return gamma / 2 * torch.stack(penalties).mean()


def _grows_with_gamma(answer: Answer, discriminator: Map, real: Tensor, gamma: float) -> bool:
    twice = answer(discriminator, real, 2 * gamma)
    return torch.allclose(twice, 2 * answer(discriminator, real, gamma), rtol=1e-4)


def _steeper(answer: Answer, discriminator: Map, real: Tensor, gamma: float) -> bool:
    once = answer(discriminator, real, gamma)
    steep = answer(lambda images: 3 * discriminator(images) + 7, real, gamma)
    return torch.allclose(steep, 9 * once, rtol=1e-4)


R1 = (
    Property(
        "γ is a factor",
        _grows_with_gamma,
        "Twice the γ must cost twice as much.",
    ),
    Property(
        "three times as steep costs nine times as much, and the height costs nothing",
        _steeper,
        "For 3·D(x) + 7 the penalty must be nine times that of D: the slope counts, squared.",
    ),
)


# --- Path length


def path_by_rows(synthesis: Map, w: Tensor, noise: Tensor, mean: float) -> Tensor:
    images = synthesis(w)
    size = images.shape[-1] * images.shape[-2]
    scalar = (images * noise / size**0.5).flatten(1).sum(1)
    slope = torch.autograd.grad(scalar, w, torch.ones_like(scalar), create_graph=True)[0]
    return ((slope.norm(dim=1) - mean) ** 2).mean()


def path_by_each(synthesis: Map, w: Tensor, noise: Tensor, mean: float) -> Tensor:
    penalties = []
    for one, y in zip(w.split(1), noise, strict=True):
        image = synthesis(one)[0]
        scalar = (image * y).sum() / image[0].numel() ** 0.5
        slope = torch.autograd.grad(scalar, one, create_graph=True)[0]
        penalties.append((slope.square().sum().sqrt() - mean) ** 2)
    return torch.stack(penalties).mean()


def _sign_of_the_noise(
    answer: Answer, synthesis: Map, w: Tensor, noise: Tensor, mean: float
) -> bool:
    other = answer(synthesis, w, -noise, mean)
    return torch.allclose(other, answer(synthesis, w, noise, mean), rtol=1e-4)


def _length_is_reached(
    answer: Answer, synthesis: Map, w: Tensor, noise: Tensor, mean: float
) -> bool:
    """For one sample the penalty is 0 where a is its length."""
    one = w[:1].detach().requires_grad_()
    images = synthesis(one)
    (slope,) = torch.autograd.grad((images * noise[:1]).sum(), one)
    length = float(slope.norm()) / images[0, 0].numel() ** 0.5
    return float(answer(synthesis, one, noise[:1], length).detach()) <= 1e-4 * length**2


PATH = (
    Property(
        "the noise's sign does not matter",
        _sign_of_the_noise,
        "A direction and its opposite must have the same length.",
    ),
    Property(
        "a sample whose length is a costs nothing",
        _length_is_reached,
        "Where ‖Jᵀy‖ is exactly a, the penalty must be 0.",
    ),
)
