"""Wrong implementations that people write in topic 07, for the catalogue of named mistakes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

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


def _plain_softplus(logits: Tensor) -> Tensor:
    """log(1 + e^a), infinite where e^a is."""
    return (1 + logits.exp()).log()


def by_exp(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return _plain_softplus(-real_logits).mean() + _plain_softplus(fake_logits).mean()


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


def smoothed_by_exp(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    costs = _plain_softplus(-real_logits), _plain_softplus(real_logits)
    real_part = real_label * costs[0] + (1 - real_label) * costs[1]
    return real_part.mean() + _plain_softplus(fake_logits).mean()


# --- The latent space ----------------------------------------------------------------------------


def signed(*factors: float) -> Sum:
    """The three means with these factors."""

    def function(plus: Tensor, minus: Tensor, target: Tensor) -> Tensor:
        groups = zip(factors, (plus, minus, target), strict=True)
        return torch.stack([factor * group.mean(0) for factor, group in groups]).sum(0)

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


def line_if(together: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """One decision for the whole batch between the arc and the straight line."""

    def function(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
        omega = _angle(start, end, limit=1)
        if together(omega.sin() < 1e-3):
            return straight(start, end, share)
        return _arc(start, end, share, omega)

    return function


# --- The detach ----------------------------------------------------------------------------------


def _told_apart(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def not_detached(generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor) -> Tensor:
    return _told_apart(discriminator(real), discriminator(generator(z)))


def logits_detached(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    """The gradient ends one network too early."""
    return _told_apart(discriminator(real), discriminator(generator(z)).detach())


def real_detached(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    return _told_apart(discriminator(real).detach(), discriminator(generator(z).detach()))


def all_detached(generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor) -> Tensor:
    return not_detached(generator, discriminator, real, z).detach()


def frozen_for_good(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    generator.requires_grad_(False)
    return not_detached(generator, discriminator, real, z)


def called_real(generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor) -> Tensor:
    """The label of the generator's step for the images of the discriminator's."""
    return _told_apart(discriminator(real), -discriminator(generator(z).detach()))


def exchanged(generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor) -> Tensor:
    return _told_apart(discriminator(generator(z).detach()), discriminator(real))


# --- A block of the generator --------------------------------------------------------------------


def block(
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    kernel: tuple[int, int, int, int] = (4, 2, 1, 0),
    bias: bool = False,
    norm: str = "between",
    upsample: bool = False,
) -> Callable[[int, int], nn.Module]:
    """A block that breaks one rule; ``kernel`` is size, stride, padding and output padding."""

    def function(before: int, after: int) -> nn.Module:
        up: list[nn.Module] = [nn.ConvTranspose2d(before, after, *kernel, bias=bias)]
        if upsample:
            up = [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers = {
            "between": lambda: [*up, nn.BatchNorm2d(after), activation()],
            "none": lambda: [*up, activation()],
            "last": lambda: [*up, activation(), nn.BatchNorm2d(after)],
            "first": lambda: [nn.BatchNorm2d(before), *up, activation()],
        }
        return nn.Sequential(*layers[norm]())

    return function


# --- Weights at the start ------------------------------------------------------------------------

KINDS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def started(
    *,
    deviation: float = 0.02,
    scale: float | None = 1.0,
    biases: bool = True,
    kinds: tuple[type[nn.Module], ...] = KINDS,
    parts: Callable[[nn.Module], Iterable[nn.Module]] = nn.Module.modules,
    draw: Callable[[Tensor, float, float], object] = nn.init.normal_,
) -> Callable[[nn.Module], None]:
    """An initialisation that differs in one respect; ``scale`` is None where it is left out."""

    def function(module: nn.Module) -> None:
        for part in parts(module):
            if isinstance(part, kinds):
                draw(part.get_parameter("weight"), 0.0, deviation)
            elif isinstance(part, nn.BatchNorm2d) and scale is not None:
                draw(part.weight, scale, deviation)
            if biases and isinstance(part, (*kinds, nn.BatchNorm2d)) and part.bias is not None:
                nn.init.zeros_(part.get_parameter("bias"))

    return function


def even(weights: Tensor, middle: float, width: float) -> None:
    """A uniform draw with the deviation taken for its half width."""
    nn.init.uniform_(weights, middle - width, middle + width)


def on_a_copy(module: nn.Module) -> None:
    started()(copy.deepcopy(module))


def replaced(module: nn.Module) -> None:
    """New parameters, which an optimiser made before does not know."""
    for part in module.modules():
        if isinstance(part, (*KINDS, nn.BatchNorm2d)):
            middle = float(isinstance(part, nn.BatchNorm2d))
            weight = part.get_parameter("weight")
            part.weight = nn.Parameter(middle + 0.02 * torch.randn_like(weight))
            if part.bias is not None:
                part.bias = nn.Parameter(torch.zeros_like(part.get_parameter("bias")))


def frozen(module: nn.Module) -> None:
    started()(module)
    module.requires_grad_(False)


# --- The whole round -----------------------------------------------------------------------------


class Table(NamedTuple):
    """All that a round is given."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimiser: Optimizer
    d_optimiser: Optimizer
    real: Tensor
    z: Tensor

    def fake(self) -> Tensor:
        return self.generator(self.z)

    def d_loss(self, fake: Tensor) -> Tensor:
        return _told_apart(self.discriminator(self.real), self.discriminator(fake))

    def g_loss(self, fake: Tensor) -> Tensor:
        return F.softplus(-self.discriminator(fake)).mean()

    def d_step(self) -> Tensor:
        return _descend(self.d_loss(self.fake().detach()), self.d_optimiser)

    def g_step(self) -> Tensor:
        return _descend(self.g_loss(self.fake()), self.g_optimiser)


Losses: TypeAlias = tuple[Tensor, Tensor]
Round: TypeAlias = Callable[[nn.Module, nn.Module, Optimizer, Optimizer, Tensor, Tensor], Losses]


def _descend(loss: Tensor, *optimisers: Optimizer, empty: bool = True) -> Tensor:
    for optimiser in optimisers if empty else ():
        optimiser.zero_grad()
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()
    return loss.detach()


def _round(play: Callable[[Table], Losses]) -> Round:
    def function(
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimiser: Optimizer,
        d_optimiser: Optimizer,
        real: Tensor,
        z: Tensor,
    ) -> Losses:
        return play(Table(generator, discriminator, g_optimiser, d_optimiser, real, z))

    return function


@_round
def round_not_detached(table: Table) -> Losses:
    """Both gradients are emptied at the start, and the generator gets both losses' gradients."""
    table.d_optimiser.zero_grad()
    table.g_optimiser.zero_grad()
    d_loss = _descend(table.d_loss(table.fake()), table.d_optimiser, empty=False)
    return d_loss, _descend(table.g_loss(table.fake()), table.g_optimiser, empty=False)


@_round
def round_d_not_emptied(table: Table) -> Losses:
    """What the generator's step leaves in the discriminator's gradients stays there."""
    d_loss = _descend(table.d_loss(table.fake().detach()), table.d_optimiser, empty=False)
    return d_loss, table.g_step()


@_round
def round_g_not_emptied(table: Table) -> Losses:
    return table.d_step(), _descend(table.g_loss(table.fake()), table.g_optimiser, empty=False)


@_round
def round_never_emptied(table: Table) -> Losses:
    d_loss = _descend(table.d_loss(table.fake().detach()), table.d_optimiser, empty=False)
    return d_loss, _descend(table.g_loss(table.fake()), table.g_optimiser, empty=False)


@_round
def round_optimisers_swapped(table: Table) -> Losses:
    swapped = table._replace(g_optimiser=table.d_optimiser, d_optimiser=table.g_optimiser)
    return swapped.d_step(), swapped.g_step()


@_round
def round_detached_twice(table: Table) -> Losses:
    return table.d_step(), _descend(table.g_loss(table.fake().detach()), table.g_optimiser)


@_round
def round_saturating(table: Table) -> Losses:
    d_loss = table.d_step()
    loss = -F.softplus(table.discriminator(table.fake())).mean()
    return d_loss, _descend(loss, table.g_optimiser)


@_round
def round_generator_first(table: Table) -> Losses:
    g_loss = table.g_step()
    return table.d_step(), g_loss


@_round
def round_both_step(table: Table) -> Losses:
    """The discriminator's weights follow the generator's loss too."""
    d_loss = table.d_step()
    return d_loss, _descend(table.g_loss(table.fake()), table.g_optimiser, table.d_optimiser)


@_round
def round_without_step(table: Table) -> Losses:
    """Gradients everywhere, and nobody moves."""
    d_loss = table.d_loss(table.fake().detach())
    d_loss.backward()
    return d_loss.detach(), table.g_loss(table.fake()).detach()
