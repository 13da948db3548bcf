"""Topics 08–14: wrong answers that once passed, right ones once refused, false diagnoses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import cyclegan, dcgan, spade, stylegan2_styles, wgan
from coursekit.exercises import blocking, engine

Answer = Callable[..., Any]
softplus = F.softplus


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The course's own functions are closed, as they are for a student."""
    monkeypatch.setattr(blocking, "_open", 0)


# --- 08 ------------------------------------------------------------------------------------------


def copies_returned(critic, limit):
    return {name: p.detach().clamp(-limit, limit) for name, p in critic.named_parameters()}


def left_frozen(critic, limit):
    for parameter in critic.parameters():
        parameter.requires_grad_(False)
        parameter.clamp_(-limit, limit)
    return dict(critic.named_parameters())


def linear_layers(critic, limit):
    for layer in critic.modules():
        if isinstance(layer, nn.Linear):
            for parameter in layer.parameters():
                parameter.data.clamp_(-limit, limit)


def new_parameters(critic, limit):
    for layer in critic.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(parameter.data.clamp(-limit, limit)))


def clipped_through_data(critic, limit):
    for parameter in critic.parameters():
        parameter.data.clamp_(-limit, limit)


def clipped_and_returned(critic, limit):
    """The last line of the stub as it once was."""
    clipped_through_data(critic, limit)
    return dict(critic.named_parameters())


def quotients_without_gradient(critic, first, second):
    with torch.no_grad():
        distance = (first - second).flatten(1).norm(dim=1)
        return (critic(first) - critic(second)).abs() / distance


def penalty_with_abs(critic, real, fake, epsilon):
    share = epsilon.view(-1, *[1] * (real.dim() - 1))
    points = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).abs().mean()


# --- 09 ------------------------------------------------------------------------------------------


def round_with_deaf_discriminator(generator, discriminator, real, latent, label):
    fake = generator(latent, label)
    logits = discriminator(fake, label).detach()
    d_loss = dcgan.discriminator_loss(discriminator(real, label), logits)
    return {"d_loss": d_loss, "g_loss": dcgan.generator_loss(discriminator(fake, label))}


def round_with_detached_data(generator, discriminator, real, latent, label):
    fake = generator(latent.detach(), label)
    logits = discriminator(fake.detach(), label)
    d_loss = dcgan.discriminator_loss(discriminator(real.detach(), label), logits)
    return {"d_loss": d_loss, "g_loss": dcgan.generator_loss(discriminator(fake, label))}


def path_written_over(first, second, steps, classes):
    share = torch.linspace(0, 1, steps)
    weights = torch.zeros(steps, classes)
    weights[:, first] = 1 - share
    weights[:, second] = share
    return weights


# --- 10 ------------------------------------------------------------------------------------------


def _both_sides(real: Tensor, made: Tensor) -> Tensor:
    return (softplus(-real).mean() + softplus(made).mean()) / 2


def made_pair_detached(discriminator, source, target, fake):
    real = discriminator(torch.cat([source, target], 1))
    return _both_sides(real, discriminator(torch.cat([source, fake], 1).detach()))


def made_pair_without_grad(discriminator, source, target, fake):
    with torch.no_grad():
        pair = torch.cat([source, fake], 1)
    return _both_sides(discriminator(torch.cat([source, target], 1)), discriminator(pair))


def all_data_detached(discriminator, source, target, fake):
    source, target, fake = source.detach(), target.detach(), fake.detach()
    pairs = (torch.cat([source, output], 1) for output in (target, fake))
    return _both_sides(*map(discriminator, pairs))


def made_output_detached(discriminator, source, target, fake):
    real = discriminator(torch.cat([source, target], 1))
    return _both_sides(real, discriminator(torch.cat([source, fake], 1)).detach())


def target_detached(fake_logits, fake, target, l1_weight):
    return softplus(-fake_logits).mean() + l1_weight * F.l1_loss(fake, target.detach())


def zeros_for_skips(layers, encoded, skips=True):
    x = layers[0](encoded[-1])
    for layer, skip in zip(layers[1:], encoded[-2::-1], strict=True):
        x = layer(torch.cat([x, skip if skips else torch.zeros_like(skip)], 1))
    return x


def normalisations_resting(network):
    network.train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


# --- 11 ------------------------------------------------------------------------------------------


def cycle_of_detached_data(to_y, to_x, x, y):
    x, y = x.detach(), y.detach()
    return F.l1_loss(to_x(to_y(x)), x) + F.l1_loss(to_y(to_x(y)), y)


def cycle_without_the_first(to_y, to_x, x, y):
    return F.l1_loss(to_x(to_y(x).detach()), x) + F.l1_loss(to_y(to_x(y).detach()), y)


def identity_of_detached_data(to_y, to_x, x, y):
    return F.l1_loss(to_y(y), y.detach()) + F.l1_loss(to_x(x), x.detach())


def objective(to_y, to_x, judge_x, judge_y, x, y, cycle_weight, identity_weight):
    x, y = x.detach(), y.detach()
    fake_y, fake_x = to_y(x), to_x(y)
    fooled = (judge_y(fake_y) - 1).square().mean() + (judge_x(fake_x) - 1).square().mean()
    cycle = F.l1_loss(to_x(fake_y), x) + F.l1_loss(to_y(fake_x), y)
    identity = F.l1_loss(to_y(y), y) + F.l1_loss(to_x(x), x)
    return fooled + cycle_weight * cycle + identity_weight * identity


def objective_with_one_mean(to_y, to_x, judge_x, judge_y, x, y, cycle_weight, identity_weight):
    rest = (x, y, cycle_weight, identity_weight)
    nothing = objective(to_y, to_x, torch.ones_like, torch.ones_like, *rest)
    scores = torch.cat([judge_y(to_y(x)).flatten(), judge_x(to_x(y)).flatten()])
    return nothing + 2 * (scores - 1).square().mean()


def pool_with(passes, copied=True):
    def pool_exchange(kept, images, size, coins, places):
        pool, shown = kept.clone(), []
        for i in range(len(images)):
            if len(pool) < size:
                pool = torch.cat([pool, images[i : i + 1]])
                shown.append(images[i])
            elif passes(coins[i]):
                shown.append(images[i])
            else:
                old = pool[places[i]]
                shown.append(old.clone() if copied else old)
                pool[places[i]] = images[i]
        return {"shown": torch.stack(shown), "kept": pool}

    return pool_exchange


def losses_of_the_course(real_scores, fake_scores):
    d_loss = cyclegan.lsgan_discriminator_loss(real_scores, fake_scores)
    return {"d_loss": d_loss, "g_loss": (fake_scores - 1).square().mean()}


def generator_loss_of_the_course(real_scores, fake_scores):
    d_loss = (real_scores - 1).square().mean() / 2 + fake_scores.square().mean() / 2
    return {"d_loss": d_loss, "g_loss": cyclegan.lsgan_generator_loss(fake_scores)}


# --- 12 ------------------------------------------------------------------------------------------


def stddev_with(deviation):
    def minibatch_stddev(x, group):
        group = min(group, len(x))
        each = deviation(x.unflatten(0, (group, len(x) // group))).mean(dim=(1, 2, 3))
        channel = each.repeat(group).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel], dim=1)

    return minibatch_stddev


def pixel_norm_of_usual_epsilon(x, epsilon=1e-8):
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def stage_with_alpha_going_round(images, first, last, fade, stable):
    if images < stable:
        return first, 1.0
    level, seen = divmod(images - stable, fade + stable)
    return min(first * 2 ** (level + 1), last), min(seen / fade, 1.0)


def stage_that_ends_early(images, first, last, fade, stable):
    resolution, seen = first, images
    if seen < stable:
        return resolution, 1.0
    seen, resolution = seen - stable, 2 * resolution
    while seen >= fade + stable:
        if resolution >= last:
            return last, 1.0
        seen, resolution = seen - fade - stable, 2 * resolution
    return (last, 1.0) if resolution >= last else (resolution, min(seen / fade, 1.0))


# --- 13 ------------------------------------------------------------------------------------------


def mean_detached(w, mean, psi, layers):
    mean = mean.detach()
    return torch.cat([mean + psi * (w[:, :layers] - mean), w[:, layers:]], 1)


def slice_from_the_end(w, mean, psi, layers):
    moved = w.clone()
    moved[:, :-layers] = mean + psi * (w[:, :-layers] - mean)
    return moved


def noise_detached(synthesis, w, noise, mean):
    images = synthesis(w)
    y = noise.detach() / (images.shape[2] * images.shape[3]) ** 0.5
    (slope,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
    return (slope.norm(dim=1) - mean).square().mean()


def adain_with_epsilon_outside(x, scale, bias):
    mean, deviation = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True, correction=0)
    return scale[..., None, None] * (x - mean) / (deviation + 1e-8) + bias[..., None, None]


def demodulate_with_epsilon_outside(weight, style):
    scaled = weight[None] * style[:, None, :, None, None]
    length = scaled.square().sum((2, 3, 4), keepdim=True).sqrt()
    return scaled / (length + 1e-8)


def mixed_by_the_course(styles, others, first, last):
    return stylegan2_styles.replace_layers(styles, others, slice(first, last))


# --- 14 ------------------------------------------------------------------------------------------


def modulate_with_usual_epsilon(features, gamma, beta, epsilon=1e-5):
    return F.batch_norm(features, None, None, training=True) * (1 + gamma) + beta


def hinge_of_the_course(real, fake):
    return {
        "d_loss": spade.hinge_discriminator(real, fake),
        "g_loss": torch.stack([-each[-1].mean() for each in fake]).mean(),
    }


def generators_hinge_of_the_course(real, fake):
    d_parts = [
        F.relu(1 - x[-1]).mean() + F.relu(1 + y[-1]).mean() for x, y in zip(real, fake, strict=True)
    ]
    return {"d_loss": torch.stack(d_parts).mean(), "g_loss": spade.hinge_generator(fake)}


# --- What must become of them --------------------------------------------------------------------

ACCEPTED: list[tuple[str, Answer]] = [
    ("wgan.clip_weights", clipped_through_data),
    ("wgan.clip_weights", clipped_and_returned),
    ("wgan.lipschitz_quotients", quotients_without_gradient),
    ("cgan.round_losses", round_with_detached_data),
    ("pix2pix.discriminator_objective", made_pair_detached),
    ("pix2pix.discriminator_objective", made_pair_without_grad),
    ("pix2pix.discriminator_objective", all_data_detached),
    ("pix2pix.generator_objective", target_detached),
    ("cyclegan.cycle_consistency", cycle_of_detached_data),
    ("cyclegan.identity_terms", identity_of_detached_data),
    ("cyclegan.generator_objective", objective),
    ("cyclegan.pool_exchange", pool_with(lambda coin: coin < 0.5)),
    ("progan.minibatch_stddev", stddev_with(lambda x: (x.var(0, correction=0) + 1e-8).sqrt())),
    ("stylegan2.truncate", mean_detached),
    ("stylegan2.path_length", noise_detached),
]

# With the mistake that it is to be called, if any.
REFUSED: list[tuple[str, Answer, str]] = [
    ("wgan.clip_weights", copies_returned, "not in place"),
    ("wgan.clip_weights", left_frozen, "frozen"),
    ("wgan.clip_weights", linear_layers, "linear layers only"),
    ("wgan.clip_weights", new_parameters, "new parameters"),
    ("wgan.gradient_penalty", penalty_with_abs, "absolute"),
    ("cgan.round_losses", round_with_deaf_discriminator, "output detached"),
    ("cgan.class_path", path_written_over, "second written over first"),
    ("pix2pix.discriminator_objective", made_output_detached, "output detached"),
    ("pix2pix.decode", zeros_for_skips, "zeros in place of skips"),
    ("pix2pix.noise_on", normalisations_resting, "normalisations only"),
    ("cyclegan.cycle_consistency", cycle_without_the_first, "detached in between"),
    ("cyclegan.generator_objective", objective_with_one_mean, "one mean over both judges"),
    ("cyclegan.pool_exchange", pool_with(lambda coin: coin <= 0.5), "passes at exactly 0.5"),
    (
        "cyclegan.pool_exchange",
        pool_with(lambda coin: coin < 0.5, copied=False),
        "shown without a copy",
    ),
    (
        "progan.minibatch_stddev",
        stddev_with(lambda x: x.var(0, correction=0).sqrt()),
        "no 1e-8 under the root",
    ),
    (
        "progan.minibatch_stddev",
        stddev_with(lambda x: x.var(0, correction=0).sqrt() + 1e-8),
        "no 1e-8 under the root",
    ),
    (
        "progan.minibatch_stddev",
        stddev_with(lambda x: x.std(0, correction=0)),
        "no 1e-8 under the root",
    ),
    ("progan.pixel_norm", pixel_norm_of_usual_epsilon, "ε fixed"),
    ("progan.stage_at", stage_with_alpha_going_round, "α goes round at the end"),
    ("progan.stage_at", stage_that_ends_early, "last one at once"),
    ("stylegan2.adain", adain_with_epsilon_outside, "epsilon outside the root"),
    ("stylegan2.demodulate", demodulate_with_epsilon_outside, "epsilon outside the root"),
    ("spade.normalise_and_modulate", modulate_with_usual_epsilon, "epsilon fixed"),
]

BLOCKED: list[tuple[str, Answer]] = [
    ("cyclegan.lsgan_losses", losses_of_the_course),
    ("cyclegan.lsgan_losses", generator_loss_of_the_course),
    ("stylegan2.mix_styles", mixed_by_the_course),
    ("spade.hinge_losses", hinge_of_the_course),
    ("spade.hinge_losses", generators_hinge_of_the_course),
]


def _name(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize(("id", "answer"), ACCEPTED, ids=_name)
def test_right_answers_pass(id: str, answer: Answer) -> None:
    result = engine.judge(engine.find(id), answer)
    assert result.status == "passed", str(result)


@pytest.mark.parametrize(("id", "answer", "mistake"), REFUSED, ids=_name)
def test_wrong_answers_are_refused_and_named(id: str, answer: Answer, mistake: str) -> None:
    result = engine.judge(engine.find(id), answer)
    assert result.status == "wrong"
    assert result.mistake == mistake, str(result)


@pytest.mark.parametrize(("id", "answer"), BLOCKED, ids=_name)
def test_the_answer_under_another_name_is_blocked(id: str, answer: Answer) -> None:
    result = engine.judge(engine.find(id), answer)
    assert result.status == "wrong" and result.layer == "contract"
    assert "Write it yourself" in str(result)


def test_a_slice_from_the_end_is_not_taken_for_one_layer_too_many() -> None:
    result = engine.judge(engine.find("stylegan2.truncate"), slice_from_the_end)
    assert result.status == "wrong" and result.mistake != "one layer too many", str(result)


def test_slopes_of_the_penalty_lie_on_both_sides_of_1() -> None:
    for case in engine.find("wgan.gradient_penalty").cases:
        critic, real, fake, epsilon = case.make()
        points = wgan.interpolate(real, fake, epsilon).requires_grad_()
        (slope,) = torch.autograd.grad(critic(points).sum(), points)
        norms = slope.flatten(1).norm(dim=1)
        assert norms.min() < 0.9 and norms.max() > 1.1, case.name
