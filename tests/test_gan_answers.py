"""Topics 07 to 09: two right answers in other words to every exercise, on top of other tests'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.exercises import blocking
from coursekit.exercises.engine import check, of_topic

Critic = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def closed(course_functions_may_be_handed_in: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a student."""
    monkeypatch.setattr(blocking, "_open", 0)


# --- 08: Wasserstein ------------------------------------------------------------------------------


def by_quantiles(first: Tensor, second: Tensor) -> Tensor:
    """The area between the two distribution functions."""
    both = torch.cat([first, second]).sort().values
    shares = [(each[None] <= both[:-1, None]).double().mean(1) for each in (first, second)]
    return ((shares[0] - shares[1]).abs() * both.diff()).sum().to(first)


def by_topk(first: Tensor, second: Tensor) -> Tensor:
    ordered = [each.topk(len(each)).values for each in (first, second)]
    return sum(abs(a - b) for a, b in zip(*ordered, strict=True)) / len(first)


def clipped_in_place(critic: nn.Module, limit: float) -> dict[str, Tensor]:
    for parameter in critic.parameters():
        parameter.data.clamp_(min=-limit, max=limit)
    return dict(critic.named_parameters())


def clipped_by_copy(critic: nn.Module, limit: float) -> dict[str, Tensor]:
    with torch.no_grad():
        for _, parameter in critic.named_parameters():
            inside = torch.minimum(parameter, torch.full_like(parameter, limit))
            parameter.copy_(torch.maximum(inside, torch.full_like(parameter, -limit)))
    return dict(critic.named_parameters())


def quotients_by_loop(critic: Critic, first: Tensor, second: Tensor) -> Tensor:
    rise = critic(first) - critic(second)
    ways = [(x - y).square().sum().sqrt() for x, y in zip(first, second, strict=True)]
    return rise.abs() / torch.stack(ways)


def quotients_by_einsum(critic: Critic, first: Tensor, second: Tensor) -> Tensor:
    gap = (first - second).flatten(1)
    return ((critic(first) - critic(second)) ** 2 / torch.einsum("nd,nd->n", gap, gap)).sqrt()


def penalty_with_ones(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    share = epsilon[(...,) + (None,) * (real.dim() - 1)]
    points = torch.lerp(fake, real, share.expand_as(real)).detach().requires_grad_()
    scores = critic(points)
    gradient = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)[0]
    lengths = gradient.square().flatten(1).sum(1).sqrt()
    return sum((length - 1) ** 2 for length in lengths) / len(lengths)


def penalty_one_by_one(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    terms = []
    for x, y, share in zip(real, fake, epsilon, strict=True):
        point = (share * x + (1 - share) * y)[None].detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        terms.append((torch.linalg.vector_norm(slope) - 1).square())
    return torch.stack(terms).mean()


# --- 09: labels -----------------------------------------------------------------------------------


def latent_by_eye(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    return torch.hstack([latent, torch.eye(classes)[label]])


def latent_by_scatter(latent: Tensor, label: Tensor, classes: int) -> Tensor:
    columns = latent.new_zeros(len(latent), classes)
    return torch.cat([latent, columns.scatter(1, label[:, None], 1.0)], dim=1)


def planes_by_comparison(images: Tensor, label: Tensor, classes: int) -> Tensor:
    same = label.view(-1, 1, 1, 1) == torch.arange(classes).view(1, -1, 1, 1)
    return torch.cat([images, same.to(images).expand(-1, -1, *images.shape[2:])], dim=1)


def planes_by_loop(images: Tensor, label: Tensor, classes: int) -> Tensor:
    planes = images.new_zeros(len(images), classes, *images.shape[2:])
    for number, each in enumerate(label):
        planes[number, each] = 1
    return torch.cat([images, planes], dim=1)


def mismatched_by_logsigmoid(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    down = F.logsigmoid(-fake).mean() + F.logsigmoid(-mismatched).mean()
    return -F.logsigmoid(real).mean() - down / 2


def bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def projected_by_einsum(
    features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor
) -> Tensor:
    return torch.einsum("nk,kd,nd->n", weights, embedding, features) + psi


def projected_by_diagonal(
    features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor
) -> Tensor:
    return torch.diagonal(weights @ (embedding @ features.T)) + psi


def round_twice_made(
    generator: Any, discriminator: Any, real: Tensor, latent: Tensor, label: Tensor
) -> dict[str, Tensor]:
    with torch.no_grad():
        quiet = generator(latent, label)
    d_loss = dcgan.discriminator_loss(discriminator(real, label), discriminator(quiet, label))
    g_loss = dcgan.generator_loss(discriminator(generator(latent, label), label))
    return {"g_loss": g_loss, "d_loss": d_loss}


def round_by_hand(
    generator: Any, discriminator: Any, real: Tensor, latent: Tensor, label: Tensor
) -> dict[str, Tensor]:
    fake = generator(latent, label)
    d_loss = bce(discriminator(real, label), 1.0) + bce(discriminator(fake.detach(), label), 0.0)
    return {"d_loss": d_loss, "g_loss": bce(discriminator(fake, label), 1.0)}


def path_by_rows(first: int, second: int, steps: int, classes: int) -> Tensor:
    rows = torch.zeros(steps, classes)
    for number in range(steps):
        rows[number, first] = 1 - number / (steps - 1)
        rows[number, second] += number / (steps - 1)
    return rows


def path_by_lerp(first: int, second: int, steps: int, classes: int) -> Tensor:
    start, end = torch.eye(classes)[[first, second]]
    return torch.lerp(start[None], end[None], torch.linspace(0, 1, steps)[:, None])


def agreement_by_loop(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    shares = torch.zeros(classes)
    for k in range(classes):
        if (asked == k).any():
            shares[k] = (read[asked == k] == k).float().mean()
    return shares


def agreement_by_table(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    table = torch.bincount(asked * classes + read, minlength=classes**2).view(classes, classes)
    return table.diagonal() / table.sum(1).clamp(min=1)


# --- 07: second answers ---------------------------------------------------------------------------


def one_by_one(plus: Sequence[Tensor], minus: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    means = [sum(group) / len(group) for group in (plus, minus, target)]
    return means[0] - means[1] + means[2]


def slerp_by_rotation(start: Tensor, end: Tensor, share: Any) -> Tensor:
    """The angle by atan2 from the rejected part, which stays exact for small angles."""
    a, b = F.normalize(start, dim=-1), F.normalize(end, dim=-1)
    dot = (a * b).sum(-1, keepdim=True)
    angle = torch.atan2((b - dot * a).norm(dim=-1, keepdim=True), dot)
    sine = angle.sin()
    flat = sine < 1e-4
    sine = torch.where(flat, torch.ones_like(sine), sine)
    before = torch.where(flat, 1 - share + 0 * angle, torch.sin((1 - share) * angle) / sine)
    after = torch.where(flat, share + 0 * angle, torch.sin(share * angle) / sine)
    return before * start + after * end


ANSWERS: list[tuple[str, Callable[..., Any]]] = [
    ("dcgan.discriminator_loss", lambda real, fake: bce(real, 1.0) + bce(fake, 0.0)),
    ("dcgan.discriminator_loss", lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean()),
    ("dcgan.generator_loss", lambda fake: bce(fake, 1.0)),
    ("dcgan.generator_loss", lambda fake: -F.logsigmoid(fake).sum() / fake.numel()),
    ("dcgan.arithmetic", one_by_one),
    ("dcgan.arithmetic", lambda p, m, t: (p.double().mean(0) - m.mean(0) + t.mean(0)).float()),
    ("dcgan.slerp", slerp_by_rotation),
    ("wgan.wasserstein_1d", by_quantiles),
    ("wgan.wasserstein_1d", by_topk),
    ("wgan.critic_loss", lambda real, fake: fake.mean() - real.mean()),
    ("wgan.critic_loss", lambda r, f: -(r.sum() / r.numel()) + f.double().mean().float()),
    ("wgan.generator_loss", lambda fake: -fake.mean()),
    ("wgan.generator_loss", lambda fake: (0 - fake).sum() / len(fake)),
    ("wgan.clip_weights", clipped_in_place),
    ("wgan.clip_weights", clipped_by_copy),
    ("wgan.lipschitz_quotients", quotients_by_loop),
    ("wgan.lipschitz_quotients", quotients_by_einsum),
    ("wgan.gradient_penalty", penalty_with_ones),
    ("wgan.gradient_penalty", penalty_one_by_one),
    ("cgan.join_latent", latent_by_eye),
    ("cgan.join_latent", latent_by_scatter),
    ("cgan.join_planes", planes_by_comparison),
    ("cgan.join_planes", planes_by_loop),
    ("cgan.discriminator_loss", mismatched_by_logsigmoid),
    ("cgan.discriminator_loss", lambda r, f, m: bce(r, 1.0) + (bce(f, 0.0) + bce(m, 0.0)) / 2),
    ("cgan.projection_logit", projected_by_einsum),
    ("cgan.projection_logit", projected_by_diagonal),
    ("cgan.round_losses", round_twice_made),
    ("cgan.round_losses", round_by_hand),
    ("cgan.class_path", path_by_rows),
    ("cgan.class_path", path_by_lerp),
    ("cgan.agreement_by_class", agreement_by_loop),
    ("cgan.agreement_by_class", agreement_by_table),
]


@pytest.mark.parametrize(("id", "answer"), ANSWERS)
def test_right_answers_in_other_words(id: str, answer: Callable[..., Any]) -> None:
    result = check(id, answer)
    assert result.passed, str(result)


@pytest.mark.parametrize("topic", ["wgan", "cgan"])
def test_every_exercise_has_two(topic: str) -> None:
    given = [id for id, _ in ANSWERS]
    assert all(given.count(exercise.id) == 2 for exercise in of_topic(topic))
