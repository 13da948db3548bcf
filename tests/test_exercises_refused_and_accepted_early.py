"""Topics 01 to 07: right answers that checks once refused, and wrong ones that they once passed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import inversion, texture
from coursekit.core import losses
from coursekit.core.images import resize
from coursekit.exercises import blocking
from coursekit.exercises.engine import find, judge


@pytest.fixture(autouse=True)
def course_functions_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_open", 0)


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.detach() for name, each in tensors.items()}


# --- Right: goals that are detached --------------------------------------------------------------


def relative_to_a_constant(features: Tensor, target: Tensor) -> Tensor:
    target = target.detach()
    gaps = (features - target).square().sum((1, 2, 3))
    return (gaps / target.square().sum((1, 2, 3))).mean()


def style_of_a_constant(gram: Tensor, target: Tensor) -> Tensor:
    return (gram - target.detach()).square().mean() / 4


def texture_of_constants(features: Any, targets: Any, layer_weights: Any) -> Tensor:
    terms = [
        layer_weights[name] * losses.style_loss(losses.gram_matrix(features[name]), target)
        for name, target in _detached(targets).items()
    ]
    return torch.stack(terms).sum()


def content_of_a_constant(features: Tensor, target: Tensor) -> Tensor:
    return (features - target.detach()).square().sum() / (2 * len(features))


def total_of_constants(
    features: Any, content: Any, grams: Any, alpha: float, beta: float
) -> Tensor:
    content, grams = _detached(content), _detached(grams)
    return alpha * _contents(features, content) + beta * _styles(features, grams)


def _contents(features: Any, content: Any) -> Any:
    return sum(losses.content_loss(features[name], p) for name, p in content.items())


def _styles(features: Any, grams: Any) -> Any:
    terms = [losses.style_loss(losses.gram_matrix(features[n]), a) for n, a in grams.items()]
    return sum(terms) / len(terms)


def style_term_of_constants(features: Any, grams: Any, weights: Any) -> Any:
    terms = []
    for name, gram in _detached(grams).items():
        gaps = losses.gram_matrix(features[name]) - gram
        terms.append(weights[name] * gaps.square().mean() / 4)
    return sum(terms)


# --- Right: no gradient where nobody needs one ----------------------------------------------------


@torch.no_grad()
def moved(image: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    return (image - step_size * gradient).clamp(0, 1)


@torch.no_grad()
def decibels(images: Tensor, others: Tensor) -> Tensor:
    return -10 * (images - others).square().mean((1, 2, 3)).log10()


def decibels_in_range(images: Tensor, others: Tensor) -> Tensor:
    return decibels(images.clamp(0, 1), others.clamp(0, 1))


@torch.no_grad()
def mixed(grams: Sequence[Any], weights: Sequence[float]) -> dict[str, Tensor]:
    total = sum(weights)
    pairs = list(zip(grams, weights, strict=True))
    return {name: sum(w / total * each[name] for each, w in pairs) for name in grams[0]}


@torch.no_grad()
def colours_kept(result: Tensor, content: Tensor) -> Tensor:
    mine, theirs = texture.rgb_to_yiq(result), texture.rgb_to_yiq(content)
    return texture.yiq_to_rgb(torch.cat([mine[:, :1], theirs[:, 1:]], dim=1)).clamp(0, 1)


@torch.no_grad()
def blended(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return strength * transformed + (1 - strength) * content


@torch.no_grad()
def styles_mixed(transformed: Sequence[Tensor], shares: Sequence[float]) -> Any:
    total = sum(shares)
    return sum(share / total * each for share, each in zip(shares, transformed, strict=True))


@torch.no_grad()
def masked(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    height, width = inside.shape[-2:]
    mask = resize(mask, (height, width))
    return mask * inside + (1 - mask) * outside


@torch.no_grad()
def through_levels(
    content: Tensor, styles: Any, encode: Any, decode: Any, transform: Any, levels: Any
) -> Tensor:
    for level in levels:
        features = transform(encode(content, level), styles[level])
        content = decode(features, level).clamp(0, 1)
    return content


@torch.no_grad()
def between_means(target: Tensor, source: Tensor) -> Tensor:
    return target.mean(0) - source.mean(0)


@torch.no_grad()
def shifted(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features + beta[:, None] * vector


@torch.no_grad()
def face_sum(plus: Tensor, minus: Tensor, target: Tensor) -> Tensor:
    return plus.mean(0) - minus.mean(0) + target.mean(0)


# --- Right: a step that keeps its history ---------------------------------------------------------


def step_by_backward(images: Tensor, loss: Callable[..., Tensor], rate: float) -> Tensor:
    pixels = images.clone().requires_grad_(True)
    loss(pixels).backward()
    assert pixels.grad is not None
    return (pixels - rate * pixels.grad).clamp(0, 1)


def step_by_grad(images: Tensor, loss: Callable[..., Tensor], rate: float) -> Tensor:
    pixels = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(pixels), pixels)
    return (pixels - rate * slope).clamp(0, 1)


# --- Right: guards --------------------------------------------------------------------------------


def coloured(whitened: Tensor, style: Tensor, least: float | None = 0.0) -> Tensor:
    rows = style.flatten(2)
    mean = rows.mean(2, keepdim=True)
    values, e = torch.linalg.eigh((rows - mean) @ (rows - mean).mT / rows.shape[2])
    values = values if least is None else values.clamp(min=least)
    root = e @ torch.diag_embed(values.sqrt()) @ e.mT
    return (root @ whitened.flatten(2) + mean).view_as(whitened)


def white(features: Tensor, limit: Callable[[Tensor], Any] = lambda v: 1e-5 * v[:, -1:]) -> Tensor:
    rows = features.flatten(2)
    rows = rows - rows.mean(2, keepdim=True)
    values, e = torch.linalg.eigh((rows.double() @ rows.double().mT) / rows.shape[2])
    scale = torch.where(values > limit(values), values.clamp(min=1e-30) ** -0.5, 0.0)
    return (e @ torch.diag_embed(scale) @ e.mT @ rows.double()).view_as(features).float()


def slerp(
    start: Tensor, end: Tensor, share: Any, alike: Callable[[Tensor], Any] = lambda each: each
) -> Tensor:
    """``alike`` turns "this pair points the same way" into what decides for it."""
    cosine = F.cosine_similarity(start, end, dim=-1)[..., None].clamp(-1, 1)
    omega = cosine.acos()
    line = (1 - share) * start + share * end
    arc = (((1 - share) * omega).sin() * start + (share * omega).sin() * end) / omega.sin()
    return torch.where(alike(omega.sin() < 1e-3), line, arc)


def started(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)):
            middle = 1.0 if isinstance(part, nn.BatchNorm2d) else 0.0
            part.weight.data = middle + 0.02 * torch.randn_like(part.weight)
            if part.bias is not None:
                part.bias.data.zero_()


def discriminator_terms(generator: Any, discriminator: Any, real: Tensor, z: Tensor) -> Tensor:
    fake = discriminator(generator(z).detach())
    return F.softplus(-discriminator(real)).mean() + F.softplus(fake).mean()


def round_played(
    generator: Any, discriminator: Any, g_optimiser: Any, d_optimiser: Any, real: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    d_loss = discriminator_terms(generator, discriminator, real, z)
    d_optimiser.zero_grad()
    d_loss.backward()
    d_optimiser.step()
    g_loss = F.softplus(-discriminator(generator(z))).mean()
    g_optimiser.zero_grad()
    g_loss.backward()
    g_optimiser.step()
    return d_loss, g_loss


def painter_trained(network: Any, optimiser: Any, objective: Any, photographs: Tensor) -> Tensor:
    content = objective.content_features(photographs)
    loss = sum(objective(network(photographs), content).values())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


def generator_in_eval_for_a_moment(generator: Any, *others: Any) -> Tensor:
    generator.eval()
    loss = discriminator_terms(generator, *others)
    generator.train()
    return loss


RIGHT: list[tuple[str, Callable[..., Any]]] = [
    ("inversion.feature_loss", relative_to_a_constant),
    ("texture.style_loss", style_of_a_constant),
    ("texture.texture_loss", texture_of_constants),
    ("gatys.content_loss", content_of_a_constant),
    ("gatys.total_loss", total_of_constants),
    ("fast_style.perceptual_content_loss", lambda f, target: F.mse_loss(f, target.detach())),
    ("fast_style.style_term", style_term_of_constants),
    ("gatys.gradient_step", moved),
    ("inversion.psnr", decibels),
    ("inversion.psnr", decibels_in_range),
    ("gatys.mix_grams", mixed),
    ("gatys.keep_colours", colours_kept),
    ("wct.blend", blended),
    ("wct.mix_styles", styles_mixed),
    ("wct.mix_by_mask", masked),
    ("wct.level_by_level", through_levels),
    ("dfi.attribute_vector", between_means),
    ("dfi.shift", shifted),
    ("dcgan.arithmetic", face_sum),
    ("inversion.gradient_step", step_by_backward),
    ("inversion.gradient_step", step_by_grad),
    ("wct.whiten", white),
    ("wct.colour", coloured),
    ("dcgan.slerp", slerp),
    ("dcgan.initialise", started),
    ("dcgan.discriminator_step_terms", discriminator_terms),
    ("dcgan.discriminator_step_terms", generator_in_eval_for_a_moment),
    ("dcgan.play_round", round_played),
    ("fast_style.training_step", painter_trained),
]


def _name(value: Any) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("id", "answer"), RIGHT, ids=_name)
def test_right_answers_pass(id: str, answer: Callable[..., Any]) -> None:
    result = judge(find(id), answer)
    assert result.status == "passed", str(result)


# --- Wrong: one case was too few ------------------------------------------------------------------


def content_overwritten(
    features: Any, content: Any, grams: Any, alpha: float, beta: float
) -> Tensor:
    term: Any = 0.0
    for name, p in content.items():
        term = losses.content_loss(features[name], p)
    return alpha * term + beta * _styles(features, grams)


def content_averaged(features: Any, content: Any, grams: Any, alpha: float, beta: float) -> Any:
    term = _contents(features, content) / len(content)
    return alpha * term + beta * _styles(features, grams)


def content_hard_coded(features: Any, content: Any, grams: Any, alpha: float, beta: float) -> Any:
    term = losses.content_loss(features["relu4_2"], content["relu4_2"])
    return alpha * term + beta * _styles(features, grams)


def replaced(module: nn.Module) -> None:
    started(module)
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(weight.detach().clone()))


def frozen(module: nn.Module) -> None:
    started(module)
    module.requires_grad_(False)


def generator_left_in_eval(generator: Any, *others: Any) -> Tensor:
    return discriminator_terms(generator.eval(), *others)


def discriminator_left_in_eval(generator: Any, discriminator: Any, *others: Any) -> Tensor:
    return discriminator_terms(generator, discriminator.eval(), *others)


def round_left_in_eval(generator: Any, discriminator: Any, *others: Any) -> Any:
    return round_played(generator, discriminator.eval(), *others)


def painter_left_in_eval(network: Any, *others: Any) -> Tensor:
    return painter_trained(network.eval(), *others)


def judge_thawed(network: Any, optimiser: Any, objective: Any, photographs: Tensor) -> Tensor:
    objective.extractor.requires_grad_(True)
    return painter_trained(network, optimiser, objective, photographs)


def unguarded_match(image: Tensor, reference: Tensor) -> Tensor:
    mean, goal = (each.mean((2, 3), keepdim=True) for each in (image, reference))
    deviation, wanted = (
        each.std((2, 3), keepdim=True, correction=0) for each in (image, reference)
    )
    return (image - mean) / deviation * wanted + goal


def by_exp(logits: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(logits)).mean()


def smoothed_by_exp(real: Tensor, fake: Tensor, label: float) -> Tensor:
    return label * by_exp(-real) + (1 - label) * by_exp(real) + by_exp(fake)


def mixture(features: Tensor, target: Tensor, vectors: Tensor, wanted: Tensor, s: float) -> Tensor:
    identity = (1 - F.cosine_similarity(vectors, wanted, dim=1)).mean()
    return (1 - s) * F.mse_loss(features, target) / 2 + s * identity


def target_attached(f: Tensor, target: Tensor, v: Tensor, wanted: Tensor, share: float) -> Tensor:
    return mixture(f, target, v, wanted.detach(), share)


def wanted_attached(f: Tensor, target: Tensor, v: Tensor, wanted: Tensor, share: float) -> Tensor:
    return mixture(f, target.detach(), v, wanted, share)


def counted_twice(images: Tensor) -> Tensor:
    return 2 * (images.diff(dim=2).square().sum() + images.diff(dim=3).square().sum()) / len(images)


def strength_held(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return blended(transformed, content, min(1.0, max(0.0, strength)))


WRONG: list[tuple[str, Callable[..., Any], str | None]] = [
    ("gatys.total_loss", content_overwritten, "last content layer only"),
    ("gatys.total_loss", content_averaged, "content layers averaged"),
    ("gatys.total_loss", content_hard_coded, "last content layer only"),
    ("wct.whiten", lambda features: white(features, lambda v: 1e-5), "threshold not relative"),
    (
        "wct.whiten",
        lambda features: white(features, lambda v: 1e-5 * v.max()),
        "threshold not relative",
    ),
    ("wct.colour", lambda w, style: coloured(w, style, None), "root of negative eigenvalues"),
    (
        "dcgan.slerp",
        lambda start, end, share: slerp(start, end, share, torch.any),
        "straight line for the whole batch",
    ),
    (
        "dcgan.slerp",
        lambda start, end, share: slerp(start, end, share, torch.all),
        "guard for the whole batch",
    ),
    ("dcgan.initialise", replaced, "new parameters"),
    ("dcgan.initialise", frozen, "frozen"),
    ("dcgan.discriminator_step_terms", generator_left_in_eval, None),
    ("dcgan.discriminator_step_terms", discriminator_left_in_eval, None),
    ("dcgan.play_round", round_left_in_eval, None),
    ("fast_style.training_step", painter_left_in_eval, None),
    ("fast_style.training_step", judge_thawed, None),
    ("texture.match_channel_statistics", unguarded_match, "no guard"),
    ("dcgan.generator_loss", lambda fake: by_exp(-fake), "sigmoid or exp"),
    ("dcgan.discriminator_loss", lambda r, f: by_exp(-r) + by_exp(f), "exp overflows"),
    ("dcgan.smoothed_loss", smoothed_by_exp, "exp overflows"),
    ("dfi.mixed_loss", target_attached, "target not detached"),
    ("dfi.mixed_loss", wanted_attached, "wanted not detached"),
    ("inversion.total_variation", counted_twice, None),
    ("wct.blend", strength_held, "strength held in [0, 1]"),
    ("inversion.feature_loss", lambda f, t: inversion.relative_errors(f, t).mean(), None),
    (
        "inversion.psnr",
        lambda x, y: -10 / math.log(10) * inversion.squared_error(x, y).log(),
        None,
    ),
    (
        "texture.colour_covariance",
        lambda x: texture._second_moment(x - x.mean((2, 3), keepdim=True)),
        None,
    ),
]


@pytest.mark.parametrize(("id", "answer", "mistake"), WRONG, ids=_name)
def test_wrong_answers_are_refused(
    id: str, answer: Callable[..., Any], mistake: str | None
) -> None:
    result = judge(find(id), answer)
    assert (result.status, result.mistake) == ("wrong", mistake), str(result)


def test_networks_that_were_left_in_eval_are_told() -> None:
    result = judge(find("dcgan.play_round"), round_left_in_eval)
    assert "the discriminator is still in training mode: expected yes, got no" in result.message


def test_the_loss_networks_parameters_stay_frozen() -> None:
    result = judge(find("fast_style.training_step"), judge_thawed)
    assert "the loss network is still frozen: expected yes, got no" in result.message


# --- References written out, because the course's own way to them is closed ----------------------


@pytest.mark.parametrize(
    ("id", "function"),
    [
        ("inversion.feature_loss", inversion.feature_loss),
        ("inversion.psnr", inversion.psnr),
        ("texture.colour_covariance", texture.colour_covariance),
    ],
)
def test_references_are_what_the_course_computes(id: str, function: Callable[..., Tensor]) -> None:
    for case in find(id).cases:
        arguments = case.make()
        torch.testing.assert_close(find(id).reference(*arguments), function(*arguments))
