"""Topic 14: right answers written differently, and what holds for every right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises.declarations import Answer, Property
from coursekit.exercises.spade_cases import Map, Norm, Opinion

Losses = dict[str, Tensor]


def close(first: Tensor | float, second: Tensor | float) -> bool:
    """Whether two results agree to four digits."""
    one, other = (torch.as_tensor(x).double() for x in (first, second))
    return torch.allclose(one, other, 1e-3, 1e-5)


# --- The layer -----------------------------------------------------------------------------------


def modulate_by_batch_norm(
    features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5
) -> Tensor:
    normal = F.batch_norm(features, None, None, training=True, eps=epsilon)
    return torch.addcmul(beta, normal, gamma + 1)


def modulate_by_channel(
    features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5
) -> Tensor:
    channels = []
    for x, g, b in zip(*(each.unbind(dim=1) for each in (features, gamma, beta)), strict=True):
        variance = x.pow(2).mean() - x.mean().pow(2)
        normal = (x - x.mean()) * (variance + epsilon).pow(-0.5)
        channels.append(normal + g * normal + b)
    return torch.stack(channels, dim=1)


def _flat_is_beta(
    answer: Answer, features: Tensor, gamma: Tensor, beta: Tensor, **keywords: float
) -> bool:
    whole = torch.arange(features.shape[1], dtype=features.dtype)  # no rounding in their mean
    flat = whole.view(1, -1, 1, 1).expand_as(features).clone()
    return close(answer(flat, gamma, beta, **keywords), beta)


def _one_pixel_of_gamma(
    answer: Answer, features: Tensor, gamma: Tensor, beta: Tensor, **keywords: float
) -> bool:
    """γ of one pixel moves this pixel of this channel, and nothing else."""
    other = gamma.clone()
    other[0, 0, 1, 0] += 5
    first, second = (answer(features, each, beta, **keywords) for each in (gamma, other))
    moved = (first - second).abs() > 1e-7 * float(first.abs().max())
    moved[0, 0, 1, 0] = False
    return not bool(moved.any())


MODULATE = (
    Property(
        "flat features come out as β",
        _flat_is_beta,
        "Where the features say nothing, what is left is β.",
    ),
    Property(
        "γ acts on its own pixel",
        _one_pixel_of_gamma,
        "Another γ at one pixel must change this pixel of this channel alone.",
    ),
)

# --- Label maps ----------------------------------------------------------------------------------


def planes_by_index(labels: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
    rows, columns = (
        torch.arange(new) * old // new for new, old in zip(size, labels.shape[1:], strict=True)
    )
    small = labels[:, rows][:, :, columns]
    return torch.eye(classes)[small].movedim(-1, 1)


def planes_by_comparison(labels: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
    small = F.interpolate(labels[:, None].double(), size=tuple(size), mode="nearest")
    return (small == torch.arange(classes).view(1, -1, 1, 1)).float()


def _one_class_a_pixel(answer: Answer, labels: Tensor, classes: int, size: Any) -> bool:
    planes = answer(labels, classes, size)
    return bool((planes.sum(dim=1) == 1).all() and ((planes == 0) | (planes == 1)).all())


def _there_and_back(answer: Answer, labels: Tensor, classes: int, size: Any) -> bool:
    return torch.equal(answer(labels, classes, labels.shape[1:]).argmax(dim=1), labels)


PLANES = (
    Property(
        "every pixel has one class",
        _one_class_a_pixel,
        "At every pixel exactly one plane is 1, and the others are 0.",
    ),
    Property(
        "nothing is lost at the same size",
        _there_and_back,
        "At the size of the map, argmax over the planes must give the map back.",
    ),
)

# --- Hinge ---------------------------------------------------------------------------------------


def hinge_by_clamp(real: Opinion, fake: Opinion) -> Losses:
    d_loss, g_loss = torch.zeros(()), torch.zeros(())
    for ours, theirs in zip(real, fake, strict=True):
        right, wrong = ours[len(ours) - 1], theirs[len(theirs) - 1]
        d_loss = d_loss + (1 - right).clamp(min=0).mean() + (1 + wrong).clamp(min=0).mean()
        g_loss = g_loss - wrong.mean()
    return {"d_loss": d_loss / len(real), "g_loss": g_loss / len(fake)}


def hinge_by_minimum(real: Opinion, fake: Opinion) -> Losses:
    """As the authors write it: −E[min(0, −1 + D)]."""
    zero = torch.zeros(())
    up = torch.stack([torch.minimum(zero, scale[-1] - 1).mean() for scale in real])
    down = torch.stack([torch.minimum(zero, -scale[-1] - 1).mean() for scale in fake])
    logits = torch.stack([scale[-1].mean() for scale in fake])
    return {"d_loss": -(up + down).mean(), "g_loss": -logits.mean()}


def _sure(opinion: Opinion, logit: float) -> Opinion:
    return [[*scale[:-1], torch.full_like(scale[-1], logit)] for scale in opinion]


HINGE = (
    Property(
        "right by a margin is left alone",
        lambda answer, real, fake: close(answer(_sure(real, 1.5), _sure(fake, -1.5))["d_loss"], 0),
        "Logits of 1.5 for true and −1.5 for generated pictures leave D nothing to learn: loss 0.",
    ),
    Property(
        "the generator is never done",
        lambda answer, real, fake: close(answer(real, _sure(fake, 7.0))["g_loss"], -7),
        "Logits of 7 for all generated pictures give G a loss of −7: there is no margin for it.",
    ),
)

# --- Feature matching ----------------------------------------------------------------------------


def match_by_l1(real: Opinion, fake: Opinion) -> Tensor:
    scales = []
    for ours, theirs in zip(real, fake, strict=True):
        pairs = list(zip(ours, theirs, strict=True))[:-1]
        gaps = [F.l1_loss(made, true.detach()) for true, made in pairs]
        scales.append(torch.stack(gaps).sum())
    return torch.stack(scales).mean()


def match_without_gradient(real: Opinion, fake: Opinion) -> Tensor:
    with torch.no_grad():
        targets = [[layer.clone() for layer in scale] for scale in real]
    total = torch.zeros(())
    for wanted, found in zip(targets, fake, strict=True):
        for index in range(len(wanted) - 1):
            total = total + torch.mean(torch.abs(wanted[index] - found[index])) / len(fake)
    return total


def _doubled(opinion: Opinion) -> Opinion:
    return [[torch.cat([layer, layer]) for layer in scale] for scale in opinion]


MATCHING = (
    Property(
        "the same pictures match",
        lambda answer, real, fake: close(answer(real, real), 0),
        "Where both opinions are the same, nothing is missing: the loss is 0.",
    ),
    Property(
        "a batch of twins costs what one costs",
        lambda answer, real, fake: close(
            answer(_doubled(real), _doubled(fake)), answer(real, fake)
        ),
        "Twice the same batch must cost what it costs once: means, not sums.",
    ),
)

# --- KL ------------------------------------------------------------------------------------------


def kl_by_distributions(mean: Tensor, log_variance: Tensor) -> Tensor:
    found = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    wanted = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(found, wanted).sum(dim=-1).mean()


def kl_as_published(mean: Tensor, log_variance: Tensor) -> Tensor:
    inner = 1 + log_variance - mean.pow(2) - log_variance.exp()
    return -0.5 * torch.sum(inner) / len(mean)


KL = (
    Property(
        "N(0, 1) is at no distance",
        lambda answer, mean, log_variance: close(answer(0 * mean, 0 * log_variance), 0),
        "Mean 0 and log-variance 0 are the prior itself: the divergence is 0.",
    ),
    Property(
        "independent numbers add up",
        lambda answer, mean, log_variance: close(
            answer(torch.cat([mean, mean], dim=1), torch.cat([log_variance, log_variance], dim=1)),
            2 * answer(mean, log_variance),
        ),
        "A code with every number twice is twice as far: sum over the code, mean over pictures.",
    ),
)

# --- The residual block --------------------------------------------------------------------------


def block_in_lines(
    x: Tensor,
    planes: Tensor,
    norms: Sequence[Norm],
    convolutions: Sequence[Map],
    shortcut_norm: Norm | None = None,
    shortcut: Map | None = None,
) -> Tensor:
    hidden = norms[0](x, planes)
    hidden = convolutions[0](torch.where(hidden > 0, hidden, 0.2 * hidden))
    hidden = norms[1](hidden, planes)
    hidden = convolutions[1](torch.maximum(hidden, 0.2 * hidden))
    if shortcut is None or shortcut_norm is None:
        return hidden + x
    return hidden + shortcut(shortcut_norm(x, planes))


def block_with_a_helper(
    x: Tensor,
    planes: Tensor,
    norms: Sequence[Norm],
    convolutions: Sequence[Map],
    shortcut_norm: Norm | None = None,
    shortcut: Map | None = None,
) -> Tensor:
    def half(features: Tensor, number: int) -> Tensor:
        return convolutions[number](F.leaky_relu(norms[number](features, planes), 2e-1))

    way = half(half(x, 0), 1)
    if shortcut is None or shortcut_norm is None:
        return way + x
    return way + shortcut(shortcut_norm(x, planes))


def _only_the_shortcut(
    answer: Answer,
    x: Tensor,
    planes: Tensor,
    norms: Sequence[Norm],
    convolutions: Sequence[Map],
    shortcut_norm: Norm | None,
    shortcut: Map | None,
) -> bool:
    """With convolutions that give 0, what is left is the shortcut."""
    dead = [lambda h, each=each: 0 * each(h) for each in convolutions]
    found = answer(x, planes, norms, dead, shortcut_norm, shortcut)
    if shortcut is None or shortcut_norm is None:
        return close(found, x)
    return close(found, shortcut(shortcut_norm(x, planes)))


BLOCK = (
    Property(
        "dead convolutions leave the shortcut",
        _only_the_shortcut,
        "With convolutions that give 0, the block must return its shortcut, unchanged.",
    ),
)
