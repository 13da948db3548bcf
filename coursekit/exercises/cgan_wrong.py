"""Wrong implementations that people write in topic 09, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import cgan, dcgan

Losses: TypeAlias = "dict[str, Tensor]"
Network: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# --- The label beside z


def label_first(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return torch.cat([cgan.label_weights(label, classes), latent], dim=1)


def latent_number(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return torch.cat([latent, label[:, None].float().expand(-1, classes)], dim=1)


def latent_off_by_one(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return cgan.join_latent(latent, (label + 1) % classes, classes)


def latent_first_label(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return cgan.join_latent(latent, label[:1].expand(len(label)), classes)


def latent_softened(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return torch.cat([latent, cgan.label_weights(label, classes).softmax(dim=1)], dim=1)


def latent_detached(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return cgan.join_latent(latent.detach(), label, classes) + 0 * latent.sum()


# --- The label beside an image


def planes_first(images: Tensor, label: Tensor, classes: int) -> Tensor:
    joined = cgan.join_planes(images, label, classes)
    return torch.cat([joined[:, -classes:], joined[:, :-classes]], dim=1)


def _with_planes(images: Tensor, planes: Tensor, classes: int) -> Tensor:
    planes = planes.expand(len(images), classes, *images.shape[2:])
    return torch.cat([images, planes], dim=1)


def planes_number(images: Tensor, label: Tensor, classes: int) -> Tensor:
    return _with_planes(images, label[:, None, None, None].float(), classes)


def planes_along_width(images: Tensor, label: Tensor, classes: int) -> Tensor:
    return _with_planes(images, cgan.label_weights(label, classes)[:, None, None, :], classes)


def planes_transposed(images: Tensor, label: Tensor, classes: int) -> Tensor:
    return _with_planes(images, cgan.label_weights(label, classes).T[:, :, None, None], classes)


def planes_one_pixel(images: Tensor, label: Tensor, classes: int) -> Tensor:
    planes = images.new_zeros(len(images), classes, *images.shape[2:])
    planes[:, :, 0, 0] = cgan.label_weights(label, classes)
    return torch.cat([images, planes], dim=1)


def planes_multiplied(images: Tensor, label: Tensor, classes: int) -> Tensor:
    weights = cgan.label_weights(label, classes)[:, :, None, None]
    return torch.cat([images, weights * images.mean(dim=1, keepdim=True)], dim=1)


# --- The conditional loss


def mismatched_as_real(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    up = (F.softplus(-real).mean() + F.softplus(-mismatched).mean()) / 2
    return up + F.softplus(fake).mean()


def mismatched_unweighted(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    return dcgan.discriminator_loss(real, fake) + F.softplus(mismatched).mean()


def mismatched_ignored(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    return dcgan.discriminator_loss(real, fake) + 0 * mismatched.sum()


def loss_swapped(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    return cgan.discriminator_loss(-real, -fake, -mismatched)


def loss_summed(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    wrong = (F.softplus(fake).sum() + F.softplus(mismatched).sum()) / 2
    return F.softplus(-real).sum() + wrong


def double_sigmoid(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    return cgan.discriminator_loss(real.sigmoid(), fake.sigmoid(), mismatched.sigmoid())


# --- The projection


def no_psi(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    return cgan.projection_logit(features, weights, embedding, 0 * psi)


def summed_over_batch(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    return ((weights @ embedding) * features).sum() + psi


def wrong_dimension(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    return ((weights @ embedding) * features).sum(dim=0) + psi


def embedding_transposed(
    features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor
) -> Tensor:
    return cgan.projection_logit(features, weights, embedding.T, psi)


def mean_product(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    return ((weights @ embedding) * features).mean(dim=1) + psi


def largest_class(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    return (embedding[weights.argmax(dim=1)] * features).sum(dim=1) + psi


def psi_multiplied(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    return ((weights @ embedding) * features).sum(dim=1) * psi


# --- The path between two classes


def path_of_indices(first: int, second: int, steps: int, classes: int) -> Tensor:
    between = torch.linspace(first, second, steps).round().long()
    return F.one_hot(between, classes).float()


def path_backwards(first: int, second: int, steps: int, classes: int) -> Tensor:
    return cgan.class_path(second, first, steps, classes)


def path_without_end(first: int, second: int, steps: int, classes: int) -> Tensor:
    return cgan.class_path(first, second, steps + 1, classes)[:-1]


def path_keeps_start(first: int, second: int, steps: int, classes: int) -> Tensor:
    weights = cgan.class_path(first, second, steps, classes)
    weights[:, first] = 1.0
    return weights


def path_overwritten(first: int, second: int, steps: int, classes: int) -> Tensor:
    share = torch.linspace(0, 1, steps)
    weights = torch.zeros(steps, classes)
    weights[:, first] = 1 - share
    weights[:, second] = share
    return weights


def path_switches(first: int, second: int, steps: int, classes: int) -> Tensor:
    share = (torch.linspace(0, 1, steps) > 0.5).long()
    return cgan.label_weights(first + (second - first) * share, classes)


# --- One round


def _round(
    generator: Network,
    discriminator: Network,
    real: Tensor,
    latent: Tensor,
    label: Tensor,
    *,
    detach_d: bool = True,
    detach_g: bool = False,
    heard: Callable[[Tensor], Tensor] = lambda logits: logits,
    real_told: Callable[[Tensor], Tensor] = lambda y: y,
    fake_told: Callable[[Tensor], Tensor] = lambda y: y,
    made: Callable[[Tensor], Tensor] = lambda y: y,
    kind: str = "non-saturating",
) -> Losses:
    fake = generator(latent, made(label))
    for_d, for_g = (fake.detach() if off else fake for off in (detach_d, detach_g))
    real_logits = discriminator(real, real_told(label))
    fake_logits = heard(discriminator(for_d, fake_told(label)))
    d_loss = dcgan.discriminator_loss(real_logits, fake_logits)
    g_loss = dcgan.generator_loss(discriminator(for_g, fake_told(label)), kind)
    return {"d_loss": d_loss, "g_loss": g_loss}


def _nothing(label: Tensor) -> Tensor:
    return torch.zeros_like(label)


def round_with(**changes: Any) -> Callable[..., Losses]:
    """A round in which one thing is wrong."""

    def wrong(
        generator: Network, discriminator: Network, real: Tensor, latent: Tensor, label: Tensor
    ) -> Losses:
        return _round(generator, discriminator, real, latent, label, **changes)

    return wrong


ASKED_FOR_ONE_CLASS = round_with(made=_nothing)
NOT_TOLD = round_with(real_told=_nothing, fake_told=_nothing)
TOLD_FOR_REAL_ONLY = round_with(fake_told=_nothing)
OTHER_ORDER = round_with(fake_told=lambda label: label.flip(0))
NOT_DETACHED = round_with(detach_d=False)
DETACHED_FOR_G = round_with(detach_g=True)
OUTPUT_DETACHED = round_with(heard=Tensor.detach)
SATURATING = round_with(kind="saturating")


# --- The measurement


def overall_share(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    return (read == asked).float().mean().expand(classes)


def share_of_read(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    hits = torch.bincount(asked[read == asked], minlength=classes)
    return hits / torch.bincount(read, minlength=classes).clamp(min=1)


def share_of_all(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    return torch.bincount(asked[read == asked], minlength=classes) / len(asked)


def share_of_equal_parts(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    return torch.bincount(asked[read == asked], minlength=classes) * classes / len(asked)


def plain_counts(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    return torch.bincount(asked[read == asked], minlength=classes).float()


def errors_instead(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    misses = torch.bincount(asked[read != asked], minlength=classes)
    return misses / torch.bincount(asked, minlength=classes).clamp(min=1)
