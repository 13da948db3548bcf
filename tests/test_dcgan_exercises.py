"""Topic 07's exercises: right answers in other words, and wrong ones that have no name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from coursekit.exercises.engine import check, of_topic

# --- Losses ---------------------------------------------------------------------------------------


def bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def by_logsumexp(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    def softplus(x: Tensor) -> Tensor:
        return torch.logaddexp(x, torch.zeros_like(x)).sum() / len(x)

    return softplus(-real_logits) + softplus(fake_logits)


def by_absolute_values(fake_logits: Tensor) -> Tensor:
    """log(1 + e^-x) = max(-x, 0) + log(1 + e^-|x|)."""
    return ((-fake_logits).clamp(min=0) + torch.log1p((-fake_logits.abs()).exp())).mean()


def smoothed_by_loop(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    real = [
        -real_label * F.logsigmoid(a) - (1 - real_label) * F.logsigmoid(-a) for a in real_logits
    ]
    return sum(real) / len(real) + bce(fake_logits, 0.0)


# --- The latent space -----------------------------------------------------------------------------


def slerp_by_cases(start: Tensor, end: Tensor, share: Any) -> Tensor:
    """A straight line where the angle is tiny, which a formula without it cannot do."""
    cosine = F.cosine_similarity(start, end, dim=-1)[..., None].clamp(-1, 1)
    omega = cosine.acos()
    line = (1 - share) * start + share * end
    safe = torch.where(omega > 1e-3, omega, torch.ones_like(omega))
    arc = (torch.sin((1 - share) * safe) * start + torch.sin(share * safe) * end) / safe.sin()
    return torch.where(omega > 1e-3, arc, line)


# --- Networks and steps ---------------------------------------------------------------------------


def terms_without_grad(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    with torch.no_grad():
        fake = generator(z)
    return bce(discriminator(real.detach()), 1.0) + bce(discriminator(fake), 0.0)


def terms_in_one_batch(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    logits = discriminator(torch.cat([real, generator(z).detach()]))
    return bce(logits[: len(real)], 1.0) + bce(logits[len(real) :], 0.0)


def terms_frozen_for_a_moment(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    generator.requires_grad_(False)
    fake = generator(z)
    generator.requires_grad_(True)
    return bce(discriminator(real), 1.0) + bce(discriminator(fake), 0.0)


class Block(nn.Module):
    """Declared in another order, with the activation as a function."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(after)
        self.up = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.up(x)))


def block_in_place(before: int, after: int) -> nn.Module:
    up = nn.ConvTranspose2d(before, after, (4, 4), (2, 2), (1, 1), bias=False)
    inner = nn.Sequential(nn.BatchNorm2d(after), nn.ReLU(inplace=True))
    return nn.Sequential(up, inner).to(memory_format=torch.channels_last)


def initialise_by_names(module: nn.Module) -> None:
    def visit(part: nn.Module) -> None:
        name = type(part).__name__
        if "Conv" in name or "Linear" in name:
            part.weight.data.normal_(0.0, 0.02)
        elif "BatchNorm" in name:
            part.weight.data.normal_(1.0, 0.02)
        if getattr(part, "bias", None) is not None:
            part.bias.data.fill_(0)

    module.apply(visit)


@torch.no_grad()
def initialise_backwards(module: nn.Module) -> nn.Module:
    """Other random numbers for each layer than the reference draws."""
    for part in reversed(list(module.modules())):
        if isinstance(part, nn.BatchNorm2d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            noise = 0.02 * torch.randn(part.weight.shape)
            part.weight.copy_(noise + isinstance(part, nn.BatchNorm2d))
            if part.bias is not None:
                part.bias.zero_()
    return module


Loss = tuple[Any, Any]


def round_with_fresh_images(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> Loss:
    """Images made twice, and numbers returned."""
    d_optimiser.zero_grad()
    d_loss = bce(discriminator(real), 1.0) + bce(discriminator(generator(z).detach()), 0.0)
    d_loss.backward()
    d_optimiser.step()
    g_optimiser.zero_grad()
    g_loss = bce(discriminator(generator(z)), 1.0)
    g_loss.backward()
    g_optimiser.step()
    return d_loss.item(), g_loss.item()


def round_emptied_at_the_end(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> Loss:
    """Images made once, two backward() for the discriminator, gradients emptied afterwards."""
    fake = generator(z)
    real_loss, fake_loss = bce(discriminator(real), 1.0), bce(discriminator(fake.detach()), 0.0)
    real_loss.backward()
    fake_loss.backward()
    d_optimiser.step()
    g_loss = bce(discriminator(fake), 1.0)
    g_loss.backward()
    g_optimiser.step()
    for optimiser in (d_optimiser, g_optimiser):
        optimiser.zero_grad(set_to_none=False)
    return real_loss + fake_loss, g_loss


def round_by_hand(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> list[Tensor]:
    """Gradients asked for by name: nothing has to be emptied."""

    def descend(loss: Tensor, network: nn.Module, optimiser: Optimizer) -> Tensor:
        weights = list(network.parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        optimiser.step()
        return loss

    d_loss = bce(discriminator(real), 1.0) + bce(discriminator(generator(z)), 0.0)
    descend(d_loss, discriminator, d_optimiser)
    g_loss = bce(discriminator(generator(z)), 1.0)
    return [d_loss, descend(g_loss, generator, g_optimiser)]


RIGHT: list[tuple[str, Callable[..., Any]]] = [
    ("discriminator_loss", lambda real, fake: bce(real, 1.0) + bce(fake, 0.0)),
    ("discriminator_loss", by_logsumexp),
    ("discriminator_loss", lambda r, f: -F.logsigmoid(r).mean() - F.logsigmoid(-f).mean()),
    ("generator_loss", lambda fake_logits: bce(fake_logits, 1.0)),
    ("generator_loss", by_absolute_values),
    ("discriminator_step_terms", terms_without_grad),
    ("discriminator_step_terms", terms_in_one_batch),
    ("discriminator_step_terms", terms_frozen_for_a_moment),
    ("smoothed_loss", lambda real, fake, label: bce(real, label) + bce(fake, 0.0)),
    ("smoothed_loss", smoothed_by_loop),
    ("up_block", Block),
    ("up_block", block_in_place),
    ("initialise", initialise_by_names),
    ("initialise", initialise_backwards),
    ("arithmetic", lambda p, m, t: t.mean(0) + (p.sum(0) / len(p) - m.sum(0) / len(m))),
    ("arithmetic", lambda p, m, t: torch.stack([p.mean(0), -m.mean(0), t.mean(0)]).sum(0)),
    ("slerp", slerp_by_cases),
    ("play_round", round_with_fresh_images),
    ("play_round", round_emptied_at_the_end),
    ("play_round", round_by_hand),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_in_other_words(name: str, answer: Callable[..., Any]) -> None:
    result = check(f"dcgan.{name}", answer)
    assert result.passed, str(result)


def test_every_exercise_has_a_right_answer_in_other_words() -> None:
    assert {f"dcgan.{name}" for name, _ in RIGHT} == {e.id for e in of_topic("dcgan")}


# --- Wrong in a way that the catalogue does not know ----------------------------------------------


def backward_inside(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    loss = terms_without_grad(generator, discriminator, real, z)
    loss.backward()
    return loss


def block_and_more(before: int, after: int) -> nn.Module:
    return nn.Sequential(Block(before, after), nn.Conv2d(after, after, 1), nn.ReLU())


def even_with_the_right_deviation(module: nn.Module) -> None:
    initialise_by_names(module)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            half = 0.02 * 3**0.5
            nn.init.uniform_(part.weight, -half, half)


def initialise_with_bias(module: nn.Module) -> None:
    for part in module.modules():
        if hasattr(part, "weight"):
            nn.init.zeros_(part.bias)


def old_logits(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> Loss:
    """The generator's loss is built before the discriminator moves."""
    fake = generator(z)
    d_loss = bce(discriminator(real), 1.0) + bce(discriminator(fake.detach()), 0.0)
    g_loss = bce(discriminator(fake), 1.0)
    for optimiser, loss in ((d_optimiser, d_loss), (g_optimiser, g_loss)):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return d_loss, g_loss


def graph_used_twice(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> Loss:
    fake = generator(z)
    d_loss = bce(discriminator(real), 1.0) + bce(discriminator(fake), 0.0)
    d_optimiser.zero_grad()
    d_loss.backward()
    d_optimiser.step()
    g_loss = bce(discriminator(fake), 1.0)
    g_loss.backward()
    return d_loss, g_loss


def torch_fails(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> Loss:
    return discriminator(z), generator(real)


UNNAMED: list[tuple[str, Callable[..., Any], str]] = [
    ("discriminator_loss", lambda real, fake: 3 * by_logsumexp(real, fake), "3 times"),
    ("discriminator_step_terms", backward_inside, r"leave \.backward\(\) to"),
    ("discriminator_step_terms", lambda g, d, real, z: d(real), r"got shape \(5,\)"),
    ("up_block", lambda before, after: nn.ReLU, "got ReLU"),
    ("up_block", lambda before, after: Block(after, before), "RuntimeError"),
    ("up_block", block_and_more, "parameters: expected 294, got 306"),
    ("initialise", even_with_the_right_deviation, "share of the weights within one deviation"),
    ("initialise", initialise_with_bias, "AttributeError|TypeError"),
    ("slerp", lambda start, end, share: slerp_by_cases(start, end, share) * 2, "2 times"),
    ("play_round", old_logits, "Ask the discriminator again"),
    ("play_round", graph_used_twice, "used up its graph"),
    ("play_round", torch_fails, "mat1 and mat2"),
    ("play_round", lambda *players: 0.5, "Expected two losses"),
    ("play_round", lambda g, d, go, do, real, z: (d(real), 0.0), r"got shape \(5,\)"),
]


@pytest.mark.parametrize(("name", "answer", "message"), UNNAMED)
def test_wrong_answers_without_a_name(name: str, answer: Callable[..., Any], message: str) -> None:
    result = check(f"dcgan.{name}", answer)
    assert (result.status, result.mistake) == ("wrong", None)
    assert re.search(message, str(result)), str(result)
