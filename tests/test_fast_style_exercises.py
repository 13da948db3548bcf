"""Topic 04's exercises: right answers in other words, and wrong ones that have no name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises.engine import check, of_topic

# --- Right answers --------------------------------------------------------------------------------


def norm_by_torch(features: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    return F.instance_norm(features, weight=scale, bias=shift, eps=epsilon)


def norm_by_rows(features: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    rows = features.flatten(2)
    centred = rows - rows.mean(2, keepdim=True)
    deviation = torch.sqrt((centred**2).mean(2, keepdim=True) + epsilon)
    return (centred / deviation).reshape(features.shape) * scale.view(1, -1, 1, 1) + shift.view(
        1, -1, 1, 1
    )


def block_in_steps(x: Tensor, conv1: Any, norm1: Any, conv2: Any, norm2: Any) -> Tensor:
    y = norm1(conv1(x)).clamp(min=0)
    y = norm2(conv2(y))
    return y + x


def block_by_loop(x: Tensor, conv1: Any, norm1: Any, conv2: Any, norm2: Any) -> Tensor:
    y = x
    for layer in (conv1, norm1, F.relu, conv2, norm2):
        y = layer(y)
    return torch.add(x, y)


def enlarge_by_repeating(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(torch.nn.ReflectionPad2d(1)(x), weight, bias)


def enlarge_with_repeated_border(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """After the repeating, a mirror of one pixel shows the same colour as the border itself."""
    x = F.pad(torch.nn.Upsample(scale_factor=2)(x), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(x, weight) + bias[:, None, None]


def content_by_sums(features: Tensor, target: Tensor) -> Tensor:
    n, c, h, w = features.shape
    return ((features - target) ** 2).sum(dim=(1, 2, 3)).div(c * h * w).sum() / n


def style_by_einsum(features: Any, grams: Any, weights: Any) -> Tensor:
    total = torch.zeros(())
    for name, target in grams.items():
        f = features[name]
        gram = torch.einsum("nchw,ndhw->ncd", f, f) / (f.shape[2] * f.shape[3])
        error = ((gram - target) ** 2).sum((1, 2)) / (4 * f.shape[1] ** 2)
        total = total + weights[name] * error.mean()
    return total


def style_by_mean_squares(features: Any, grams: Any, weights: Any) -> Tensor:
    def one(name: str) -> Tensor:
        rows = features[name].flatten(2)
        gram = rows @ rows.mT / rows.shape[2]
        return weights[name] * F.mse_loss(gram, grams[name].expand_as(gram)) / 4

    return sum(one(name) for name in grams)


def step_emptied_last(network: Any, optimiser: Any, objective: Any, photographs: Tensor) -> Tensor:
    terms = objective(network(photographs), objective.content_features(photographs))
    loss = terms["content"] + terms["style"]
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return loss


def step_by_grad(network: Any, optimiser: Any, objective: Any, photographs: Tensor) -> float:
    content = objective.content_features(photographs)
    loss = torch.stack(list(objective(network(photographs), content).values())).sum()
    parameters = list(network.parameters())
    for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = slope
    optimiser.step()
    return loss.item()


RIGHT = [
    ("instance_norm", norm_by_torch),
    ("instance_norm", norm_by_rows),
    ("residual_block", block_in_steps),
    ("residual_block", block_by_loop),
    ("enlarge", enlarge_by_repeating),
    ("enlarge", enlarge_with_repeated_border),
    ("perceptual_content_loss", lambda features, target: F.mse_loss(features, target)),
    ("perceptual_content_loss", content_by_sums),
    ("style_term", style_by_einsum),
    ("style_term", style_by_mean_squares),
    ("training_step", step_emptied_last),
    ("training_step", step_by_grad),
]


@pytest.mark.parametrize(
    ("name", "answer"), RIGHT, ids=lambda each: getattr(each, "__name__", each)
)
def test_right_answers_in_other_words_pass(name: str, answer: Callable[..., Any]) -> None:
    result = check(f"fast_style.{name}", answer)
    assert result.passed, str(result)


def test_every_exercise_has_two_right_answers() -> None:
    named = [name for name, _ in RIGHT]
    ids = [exercise.id.partition(".")[2] for exercise in of_topic("fast_style")]
    assert all(named.count(name) >= 2 for name in ids)
    assert len(ids) == 6


# --- Wrong answers --------------------------------------------------------------------------------


def emptied_too_late(network: Any, optimiser: Any, objective: Any, photographs: Tensor) -> Tensor:
    loss = sum(objective(network(photographs), objective.content_features(photographs)).values())
    loss.backward()
    optimiser.zero_grad()
    optimiser.step()
    return loss


def style_alone(network: Any, optimiser: Any, objective: Any, photographs: Tensor) -> Tensor:
    loss = objective(network(photographs), objective.content_features(photographs))["style"]
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss


def pooled_gram(features: Any, grams: Any, weights: Any) -> Tensor:
    def one(name: str) -> Tensor:
        rows = features[name].transpose(0, 1).flatten(1)
        gram = rows @ rows.T / rows.shape[1]
        return weights[name] * (gram - grams[name]).square().mean() / 4

    return sum(one(name) for name in grams)


@pytest.mark.parametrize(
    ("name", "answer", "mistake"),
    [
        ("training_step", emptied_too_late, "no step"),
        ("training_step", style_alone, "no content"),
        ("style_term", pooled_gram, "mean of the Gram matrices"),
    ],
)
def test_another_way_to_make_a_mistake_has_its_name(name, answer, mistake) -> None:
    assert check(f"fast_style.{name}", answer).mistake == mistake


def step_before_backward(network: Any, optimiser: Any, objective: Any, photographs: Any) -> Tensor:
    loss = sum(objective(network(photographs), objective.content_features(photographs)).values())
    optimiser.step()
    optimiser.zero_grad()
    loss.backward()
    return loss


def photographs_judged(network: Any, optimiser: Any, objective: Any, photographs: Any) -> Tensor:
    loss = sum(objective(photographs, objective.content_features(photographs)).values())
    loss.backward()
    return loss


def all_terms(network: Any, optimiser: Any, objective: Any, photographs: Any) -> Any:
    return objective(network(photographs), objective.content_features(photographs))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (step_before_backward, "optimiser.step"),
        (photographs_judged, "does not depend on the network"),
        (all_terms, "one number"),
    ],
)
def test_a_step_that_breaks_is_explained(answer: Callable[..., Any], message: str) -> None:
    result = check("fast_style.training_step", answer)
    assert (result.status, message in result.message) == ("wrong", True), result.message
