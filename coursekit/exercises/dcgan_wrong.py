"""Wrong implementations that people write in topic 07, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Pair: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Smoothed: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
Sum: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

# --- Losses --------------------------------------------------------------------------------------


def by_labels(real: float = 1.0, fake: float = 0.0, scale: float = 1.0) -> Pair:
    """The discriminator's loss with these labels."""

    def function(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return scale * (_costs(real_logits, real).mean() + _costs(fake_logits, fake).mean())

    return function


def _costs(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, label), reduction="none"
    )


def real_half(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return F.softplus(-real_logits).mean()


def fake_half(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return F.softplus(fake_logits).mean()


def summed(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return F.softplus(-real_logits).sum() + F.softplus(fake_logits).sum()


def one_batch(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """One mean over all images, however many there are of each kind."""
    return torch.cat([F.softplus(-real_logits), F.softplus(fake_logits)]).mean()


def on_probabilities(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """A loss for logits that is given probabilities: the sigmoid is applied twice."""
    return by_labels()(real_logits.sigmoid(), fake_logits.sigmoid())


def logarithms(small: float = 0.0) -> Pair:
    """As the formula is written: the logarithm of a sigmoid, with a small number inside or not."""

    def function(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real_part = (real_logits.sigmoid() + small).log().mean()
        return -real_part - (1 - fake_logits.sigmoid() + small).log().mean()

    return function


def clamped_logarithms(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """PyTorch's loss for probabilities, whose logarithms end at -100."""
    real, fake = real_logits.sigmoid(), fake_logits.sigmoid()
    return F.binary_cross_entropy(real, torch.ones_like(real)) + F.binary_cross_entropy(
        fake, torch.zeros_like(fake)
    )


def log_of_mean(fake_logits: Tensor) -> Tensor:
    return -fake_logits.sigmoid().mean().log()


# --- Label smoothing


def smoothed(real: Callable[[float], float], fake: Callable[[float], float]) -> Smoothed:
    """The labels of both halves, each made from the label that was asked for."""

    def function(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
        return by_labels(real(real_label), fake(real_label))(real_logits, fake_logits)

    return function


def without_second_term(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    real_part = real_label * F.softplus(-real_logits)
    return real_part.mean() + F.softplus(fake_logits).mean()


def shrunken_logits(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    return by_labels()(real_label * real_logits, fake_logits)


def all_weighted(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    return real_label * by_labels()(real_logits, fake_logits)


def smoothed_sum(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    return _costs(real_logits, real_label).sum() + _costs(fake_logits, 0.0).sum()


def smoothed_logarithms(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    real, fake = real_logits.sigmoid(), fake_logits.sigmoid()
    real_part = real_label * real.log() + (1 - real_label) * (1 - real).log()
    return -real_part.mean() - (1 - fake).log().mean()


# --- The latent space ----------------------------------------------------------------------------


def signed(*factors: float) -> Sum:
    """The three means with these factors."""

    def function(plus: Tensor, minus: Tensor, target: Tensor) -> Tensor:
        groups = zip(factors, (plus, minus, target), strict=True)
        return sum(factor * group.mean(0) for factor, group in groups)

    return function


def over(reduce: Callable[[Tensor], Tensor]) -> Sum:
    """Something else than the mean of a group."""
    return lambda plus, minus, target: reduce(plus) - reduce(minus) + reduce(target)


def unit_sum(plus: Tensor, minus: Tensor, target: Tensor) -> Tensor:
    return F.normalize(plus.mean(0) - minus.mean(0) + target.mean(0), dim=0)


def _angle(start: Tensor, end: Tensor, limit: float = 1 - 1e-6) -> Tensor:
    cosine = F.cosine_similarity(start, end, dim=-1).unsqueeze(-1)
    return cosine.clamp(-limit, limit).acos()


def _arc(start: Tensor, end: Tensor, share: Tensor | float, omega: Tensor) -> Tensor:
    return (((1 - share) * omega).sin() * start + (share * omega).sin() * end) / omega.sin()


def straight(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    return start + share * (end - start)


def swapped_ends(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    return _arc(end, start, share, _angle(start, end))


def in_degrees(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    return _arc(start, end, share, _angle(start, end).rad2deg())


def raw_angle(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    """The dot product taken for the cosine, though the vectors are not of length 1."""
    omega = (start * end).sum(-1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return _arc(start, end, share, omega)


def unit_ends(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    return _arc(F.normalize(start, dim=-1), F.normalize(end, dim=-1), share, _angle(start, end))


def undivided(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    omega = _angle(start, end)
    return _arc(start, end, share, omega) * omega.sin()


def one_angle(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    """One angle for the whole batch."""
    return _arc(start, end, share, _angle(start.flatten(), end.flatten()))


def unguarded(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    """sin ω is 0 where both vectors point the same way."""
    units = start / start.norm(dim=-1, keepdim=True) * end / end.norm(dim=-1, keepdim=True)
    return _arc(start, end, share, units.sum(-1, keepdim=True).acos())
