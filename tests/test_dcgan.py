"""The adversarial game: its losses against torch and by hand, its two steps, the whole round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_toy import same, tensors

from coursekit import dcgan
from coursekit.core import checkpoints, losses, runtime, training
from coursekit.core.errors import SettingError, WeightsError
from coursekit.datasets.base import Dataset, Info

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 0.7, 4.0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clones(module: nn.Module) -> list[Tensor]:
    return list(tensors(module.state_dict()))


def gradient(function, at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    function(at).backward()
    return at.grad


# --- Losses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [1.0, 0.9, 0.5])
def test_the_discriminator_s_loss_is_cross_entropy(label: float) -> None:
    real, fake = normal(6, seed=1) * 3, normal(4, seed=2) * 3
    expected = F.binary_cross_entropy_with_logits(real, torch.full((6,), label))
    expected = expected + F.binary_cross_entropy_with_logits(fake, torch.zeros(4))
    found = dcgan.discriminator_loss(real, fake, real_label=label)
    torch.testing.assert_close(found, expected)


def test_the_discriminator_s_loss_by_hand() -> None:
    """D = 0.8 and 0.5 for real images, 0.25 for a generated one."""
    real, fake = torch.tensor([math.log(4.0), 0.0]), torch.tensor([-math.log(3.0)])
    plain = -(math.log(0.8) + math.log(0.5)) / 2 - math.log(0.75)
    assert float(dcgan.discriminator_loss(real, fake)) == pytest.approx(plain, rel=1e-6)
    smooth = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2) + math.log(0.5)) / 2 - math.log(0.75)
    found = dcgan.discriminator_loss(real, fake, real_label=0.9)
    assert float(found) == pytest.approx(smooth, rel=1e-6)
    undecided = dcgan.discriminator_loss(torch.zeros(3, 2), torch.zeros(5, 1))
    assert float(undecided) == pytest.approx(math.log(4))


def test_the_generator_s_losses() -> None:
    probability = LOGITS.double().sigmoid()
    saturating = float(torch.log(1 - probability).mean())
    kept = float(-torch.log(probability).mean())
    assert float(dcgan.generator_loss(LOGITS)) == pytest.approx(kept, rel=1e-6)
    assert float(dcgan.generator_loss(LOGITS, "saturating")) == pytest.approx(saturating, rel=1e-6)
    ones = F.binary_cross_entropy_with_logits(LOGITS, torch.ones(5))
    torch.testing.assert_close(dcgan.generator_loss(LOGITS), ones)


def test_gradients_of_the_losses() -> None:
    """Saturating: −D/N, which vanishes where D is sure. Non-saturating: −(1 − D)/N."""
    d = LOGITS.sigmoid()
    found = gradient(lambda at: dcgan.generator_loss(at, "saturating"), LOGITS)
    torch.testing.assert_close(found, -d / 5)
    found = gradient(dcgan.generator_loss, LOGITS)
    torch.testing.assert_close(found, (d - 1) / 5)
    found = gradient(lambda at: dcgan.discriminator_loss(at, LOGITS, real_label=0.9), LOGITS)
    torch.testing.assert_close(found, (d - 0.9) / 5)
    found = gradient(lambda at: dcgan.discriminator_loss(LOGITS, at), LOGITS)
    torch.testing.assert_close(found, d / 5)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_sure_discriminators_give_finite_losses(size: float) -> None:
    for sign in (-1, 1):
        logits = torch.tensor([sign * size])
        for function in (
            dcgan.generator_loss,
            lambda at: dcgan.generator_loss(at, "saturating"),
            lambda at: dcgan.discriminator_loss(at, -at, real_label=0.9),
        ):
            assert math.isfinite(float(function(logits)))
            assert bool(gradient(function, logits).isfinite())


def test_smoothing_stops_the_logit_of_a_real_image() -> None:
    """The minimum over the logit is log(0.9 / 0.1), not infinity."""
    best = torch.tensor([math.log(9.0)])
    found = gradient(lambda at: dcgan.discriminator_loss(at, LOGITS, real_label=0.9), best)
    assert abs(float(found)) < 1e-6
    assert float(gradient(lambda at: dcgan.discriminator_loss(at, LOGITS), best)) < -0.05


def test_settings_that_cannot_be() -> None:
    for label in (0.0, -0.1, 1.01, math.nan):
        with pytest.raises(SettingError, match="no probability in"):
            dcgan.discriminator_loss(LOGITS, LOGITS, real_label=label)
    with pytest.raises(SettingError, match="'non-saturating' or 'saturating'"):
        dcgan.generator_loss(LOGITS, "wasserstein")


def test_the_optimal_discriminator_is_what_training_finds() -> None:
    """Five places; real images and generated ones fall on them so many times."""
    real, fake = torch.tensor([8, 1, 4, 3, 4]), torch.tensor([2, 9, 4, 1, 4])
    logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    places = torch.arange(5)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10, tolerance_change=0)

    def loss() -> Tensor:
        optimiser.zero_grad()
        at_real, at_fake = (
            logits[places.repeat_interleave(real)],
            logits[places.repeat_interleave(fake)],
        )
        value = dcgan.discriminator_loss(at_real, at_fake)
        value.backward()
        return value

    optimiser.step(loss)
    p, q = real.double() / 20, fake.double() / 20
    best = dcgan.optimal_discriminator(p, q)
    torch.testing.assert_close(logits.detach().sigmoid(), best, rtol=0, atol=1e-5)
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    # Theorem 1: the value of the game is 2 JSD − log 4.
    assert float(loss().detach()) == pytest.approx(math.log(4) - 2 * float(divergence), abs=1e-8)


# --- R1 -------------------------------------------------------------------------------------------


def test_r1_of_a_linear_discriminator_is_the_squared_length_of_its_weights() -> None:
    weight, images = normal(12), normal(5, 3, 2, 2).requires_grad_()
    penalty = losses.r1_penalty(images.flatten(1) @ weight, images)
    torch.testing.assert_close(penalty, weight.square().sum())


def test_r1_by_hand() -> None:
    """D(x) = x₁² + 3 x₂ has the gradient (2 x₁, 3)."""
    images = torch.tensor([[1.0, 5.0], [-2.0, 0.0]]).view(2, 1, 1, 2).requires_grad_()
    logits = images[:, 0, 0, 0].square() + 3 * images[:, 0, 0, 1]
    assert float(losses.r1_penalty(logits, images).detach()) == (4 + 9 + 16 + 9) / 2


def test_r1_can_be_differentiated_once_more() -> None:
    images = normal(3, 2, 3, 3).double()
    first, second = normal(4, 18, seed=1).double(), normal(4, seed=2).double()

    def penalty(a: Tensor, b: Tensor) -> Tensor:
        at = images.clone().requires_grad_()
        return losses.r1_penalty((at.flatten(1) @ a.T).tanh() @ b, at)

    inputs = [each.clone().requires_grad_() for each in (first, second)]
    assert torch.autograd.gradcheck(penalty, inputs)


class Linear(nn.Module):
    """D(x) = w · x."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


@pytest.mark.parametrize("r1", [0.0, 0.5, 16.0])
def test_r1_in_the_discriminator_s_step(r1: float) -> None:
    """γ/2 ‖w‖² pulls with γ w."""
    weight, real, fake = normal(12), normal(4, 3, 2, 2, seed=1), normal(4, 3, 2, 2, seed=2)
    plain = gradient(
        lambda w: dcgan.discriminator_loss(real.flatten(1) @ w, fake.flatten(1) @ w), weight
    )
    discriminator = Linear(weight)
    optimiser = torch.optim.SGD(discriminator.parameters(), lr=1.0)
    terms = dcgan.discriminator_step(discriminator, optimiser, real, fake, r1=r1)
    torch.testing.assert_close(discriminator.weight.detach(), weight - plain - r1 * weight)
    expected = dcgan.discriminator_loss(real.flatten(1) @ weight, fake.flatten(1) @ weight)
    torch.testing.assert_close(terms["d_loss"], expected)  # the penalty is not part of what is told
    torch.testing.assert_close(terms["d_real"], (real.flatten(1) @ weight).mean())
    torch.testing.assert_close(terms["d_fake"], (fake.flatten(1) @ weight).mean())


# --- The two steps --------------------------------------------------------------------------------


def pair(size: int = 8) -> tuple[dcgan.Generator, dcgan.Discriminator]:
    torch.manual_seed(0)
    return dcgan.Generator(6, 2, size), dcgan.Discriminator(2, size)


@pytest.mark.parametrize("r1", [0.0, 1.0])
def test_the_discriminator_s_step_leaves_the_generator_alone(r1: float) -> None:
    generator, discriminator = pair()
    fake, before = generator(normal(4, 6)), clones(generator)
    weights = [p.detach().clone() for p in discriminator.parameters()]
    optimiser = torch.optim.Adam(discriminator.parameters(), 0.01)
    real = normal(4, 3, 8, 8).clamp(-1, 1)
    dcgan.discriminator_step(discriminator, optimiser, real, fake, r1=r1)
    assert all(p.grad is None for p in generator.parameters())
    assert same(clones(generator), before)
    moved = [
        not torch.equal(a, b) for a, b in zip(weights, discriminator.parameters(), strict=True)
    ]
    assert all(moved)
    assert real.grad is None and not real.requires_grad
    fake.sum().backward()  # its graph is still there, for the generator's step
    assert all(p.grad is not None for p in generator.parameters())


def test_the_generator_s_step_leaves_the_discriminator_alone() -> None:
    generator, discriminator = pair()
    weights = [p.detach().clone() for p in discriminator.parameters()]
    marks = [torch.full_like(p, 7.0) for p in discriminator.parameters()]
    for parameter, mark in zip(discriminator.parameters(), marks, strict=True):
        parameter.grad = mark.clone()
    before = [p.detach().clone() for p in generator.parameters()]
    optimiser = torch.optim.Adam(generator.parameters(), 0.01)
    dcgan.generator_step(discriminator, optimiser, generator(normal(4, 6)))
    after = list(discriminator.parameters())
    assert all(map(torch.equal, weights, after))
    assert all(torch.equal(p.grad, mark) for p, mark in zip(after, marks, strict=True))
    assert all(p.requires_grad for p in after)
    assert not any(map(torch.equal, before, generator.parameters()))


@pytest.mark.parametrize("kind", ["non-saturating", "saturating"])
def test_the_generator_s_gradient_is_that_of_its_loss(kind: str) -> None:
    generator, discriminator = pair()
    z = normal(4, 6)
    loss = dcgan.generator_loss(discriminator(generator(z)), kind)
    expected = torch.autograd.grad(loss, list(generator.parameters()))
    optimiser = torch.optim.SGD(generator.parameters(), lr=0.0)
    for _ in range(2):  # the second time with old gradients lying there
        terms = dcgan.generator_step(discriminator, optimiser, generator(z), kind=kind)
    torch.testing.assert_close(terms["g_loss"], loss.detach())
    for parameter, wanted in zip(generator.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted)


def test_terms_carry_no_graph() -> None:
    generator, discriminator = pair()
    optimisers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (generator, discriminator)]
    fake, real = generator(normal(4, 6)), normal(4, 3, 8, 8)
    terms = dcgan.discriminator_step(discriminator, optimisers[1], real, fake)
    terms |= dcgan.generator_step(discriminator, optimisers[0], fake)
    assert {name: term.requires_grad for name, term in terms.items()} == dict.fromkeys(terms, False)


def test_frozen_puts_back_what_was() -> None:
    _, discriminator = pair()
    first, *others = discriminator.parameters()
    first.requires_grad_(False)
    with dcgan.frozen(discriminator):
        assert not any(p.requires_grad for p in discriminator.parameters())
    assert not first.requires_grad
    assert all(p.requires_grad for p in others)
    with pytest.raises(ZeroDivisionError), dcgan.frozen(discriminator):
        1 / 0  # noqa: B018
    assert not first.requires_grad
    assert all(p.requires_grad for p in others)


# --- The game -------------------------------------------------------------------------------------


def game(**options) -> dcgan.Game:
    return dcgan.Game(*pair(), **options)


def noise_data(count: int = 12, size: int = 8) -> Dataset:
    image = torch.randint(0, 256, (count, 3, size, size), generator=runtime.generator(1))
    info = Info("noise", "noise", "none", True, "the test")
    return Dataset(info, {"image": image.to(torch.uint8)})


def test_two_players_learn_at_their_own_rates() -> None:
    @dataclass
    class Players(dcgan.TwoPlayers[nn.Linear]):
        generator: nn.Linear
        discriminator: nn.Module
        learning_rates: tuple[float, float] = (0.1, 0.4)
        ema_decay: float = 0.5

    generator, discriminator = nn.Linear(2, 1), nn.Linear(1, 1)
    players = Players(generator, discriminator)
    state = players.state()
    for name, network, rate in (("g", generator, 0.1), ("d", discriminator, 0.4)):
        (group,) = state[f"{name}_optimiser"].param_groups
        assert (group["lr"], group["betas"]) == (rate, (0.5, 0.999))
        assert {*map(id, group["params"])} == {*map(id, network.parameters())}
    players.slow_down(0.5)
    players.slow_down(0.25)  # of the first rates, not of the last ones
    rates = [state[name].param_groups[0]["lr"] for name in ("g_optimiser", "d_optimiser")]
    assert rates == pytest.approx([0.025, 0.1])
    assert state["ema"].source is generator
    assert (state["generator"], state["discriminator"]) == (generator, discriminator)


def test_r1_is_taken_rarely_and_weighs_as_much_more(monkeypatch) -> None:
    played, seen = game(r1=0.5, r1_every=4, real_label=0.8), []
    step = dcgan.discriminator_step

    def record(*arguments, **options):
        seen.append((options["r1"], options["real_label"]))
        return step(*arguments, **options)

    monkeypatch.setattr(dcgan, "discriminator_step", record)
    for number in range(1, 9):
        played.step(number, torch.rand(4, 3, 8, 8))
    assert seen == [(0.0, 0.8)] * 3 + [(2.0, 0.8)] + [(0.0, 0.8)] * 3 + [(2.0, 0.8)]


def test_a_round_is_the_two_steps_on_the_same_fakes() -> None:
    played, real = game(learning_rates=(1e-3, 5e-3)), torch.rand(4, 3, 8, 8)
    torch.manual_seed(5)
    terms = played.step(1, real)
    generator, discriminator = pair()
    torch.manual_seed(5)
    fake = generator(torch.randn(4, 6))
    optimisers = [
        torch.optim.Adam(net.parameters(), rate, (0.5, 0.999))
        for net, rate in ((generator, 1e-3), (discriminator, 5e-3))
    ]
    expected = dcgan.discriminator_step(discriminator, optimisers[1], real * 2 - 1, fake)
    expected |= dcgan.generator_step(discriminator, optimisers[0], fake)
    assert terms.keys() == expected.keys() == {"d_loss", "d_real", "d_fake", "g_loss"}
    assert all(torch.equal(terms[name], expected[name]) for name in terms)
    assert same(clones(played.generator), clones(generator))
    assert same(clones(played.discriminator), clones(discriminator))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_exactly_the_same(precision: str) -> None:
    results = []
    for _ in range(2):
        played = game(r1=1.0, r1_every=2)
        played.generator.precision = played.discriminator.precision = precision
        batches = training.Batches(noise_data(), 4)
        result = dcgan.train(played, batches, steps=5, log_every=1, progress=False)
        assert result.curve("step") == [1, 2, 3, 4, 5]
        results.append([*tensors({k: v.state_dict() for k, v in played.state().items()})])
    assert same(*results)


def test_bfloat16_trains_like_float32() -> None:
    curves = []
    for precision in ("float32", "bfloat16"):
        played = game()
        played.generator.precision = played.discriminator.precision = precision
        batches = training.Batches(noise_data(), 4)
        curves.append(dcgan.train(played, batches, steps=6, log_every=1, progress=False))
    for name in ("d_loss", "g_loss"):
        exact, rough = (torch.tensor(result.curve(name)) for result in curves)
        torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)


def test_train_averages_previews_and_slows_down() -> None:
    played, rates, seen = game(learning_rates=(0.1, 0.2)), [], []
    batches = training.Batches(noise_data(), 4)

    def rate(number: int) -> float:
        seen.append(
            [g["lr"] for g in (*played.g_optimiser.param_groups, *played.d_optimiser.param_groups)]
        )
        rates.append(1 / number)
        return rates[-1]

    result = dcgan.train(played, batches, rate=rate, steps=4, previews=2, progress=False)
    assert rates == [1, 1 / 2, 1 / 3, 1 / 4]
    for found, share in zip(seen[1:], rates, strict=False):
        assert found == pytest.approx([0.1 * share, 0.2 * share])
    assert played.ema.updates == 4
    assert batches.drawn == 4
    assert result.timeline.steps == [0, 1, 4]
    assert result.timeline.picture(0).shape == (1, 3, 22, 82)  # 16 pictures of 8 in two rows


def test_the_average_stays_behind_the_generator() -> None:
    played = game(ema_decay=0.9)
    start = [p.detach().clone() for p in played.generator.parameters()]
    dcgan.train(played, training.Batches(noise_data(), 4), steps=3, progress=False)
    for before, average, now in zip(
        start, played.ema.module.parameters(), played.generator.parameters(), strict=True
    ):
        assert (average - before).norm() < (now - before).norm()


def test_a_game_on_greys_is_won() -> None:
    """Real images are one grey; the generator, which began at mid grey, finds it."""
    torch.manual_seed(0)
    networks = dcgan.MLPGenerator(8, 32, 4), dcgan.MLPDiscriminator(32, 4)
    rates = (2e-3, 2e-3)
    played = dcgan.Game(*networks, learning_rates=rates, r1=1.0, r1_every=1, ema_decay=0.95)
    image = torch.full((16, 1, 4, 4), 210, dtype=torch.uint8)
    data = Dataset(Info("grey", "grey", "none", True, "the test"), {"image": image})
    z = dcgan.sample_latent(64, 8, seed=3)
    before = float((dcgan.samples(played.generator, z) - 210 / 255).abs().mean())
    dcgan.train(played, training.Batches(data, 16), steps=100, progress=False)
    after = float((dcgan.samples(played.ema.module, z) - 210 / 255).abs().mean())
    assert before > 0.25
    assert after < 0.08


class Doctor:
    """Writes down what it is shown."""

    every = 3

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def observe(self, number: int, **signals: object) -> None:
        self.seen.append({"step": number, **signals})


def test_a_doctor_looks_on_without_changing_the_game() -> None:
    doctor, states = Doctor(), []
    for watched in (doctor, None):
        played = game(doctor=watched)
        dcgan.train(played, training.Batches(noise_data(), 4), steps=7, progress=False)
        states.append(clones(played.generator) + clones(played.discriminator))
    assert same(*states)
    assert [signals["step"] for signals in doctor.seen] == [3, 6]
    for signals in doctor.seen:
        assert signals["real_logits"].shape == signals["fake_logits"].shape == (4,)
        assert signals["samples"].shape == signals["real"].shape == (4, 3, 8, 8)
        assert 0 <= float(signals["samples"].min()) < float(signals["samples"].max()) <= 1
        assert not signals["samples"].requires_grad
        assert float(signals["fake_logits"].mean()) == float(signals["terms"]["d_fake"])
        assert float(signals["real_logits"].mean()) == float(signals["terms"]["d_real"])
        assert signals["generator_gradient_norm"] > 0


# --- Samples and the course's generator -----------------------------------------------------------


def test_to_unit_and_back() -> None:
    ends = torch.tensor([-1.0, 0.0, 1.0])
    assert dcgan.to_unit(ends).tolist() == [0, 0.5, 1]
    torch.testing.assert_close(dcgan.from_unit(dcgan.to_unit(LOGITS)), LOGITS)


def test_latent_vectors() -> None:
    assert dcgan.sample_latent(3).shape == (3, 100)
    first = dcgan.sample_latent(5000, 4, seed=2)
    assert torch.equal(first, dcgan.sample_latent(5000, 4, seed=2))
    assert not torch.equal(first, dcgan.sample_latent(5000, 4, seed=3))
    torch.testing.assert_close(first.mean(0), torch.zeros(4), rtol=0, atol=4 / 5000**0.5)
    torch.testing.assert_close(first.std(0), torch.ones(4), rtol=0, atol=4 / 10_000**0.5)
    state = torch.random.get_rng_state()
    dcgan.sample_latent(3, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(9)
    assert torch.equal(dcgan.sample_latent(2, 3), torch.randn(2, 3, generator=runtime.generator(9)))


def test_samples_come_in_batches() -> None:
    generator = pair()[0].eval()
    z = normal(7, 6) * 100
    whole = dcgan.samples(generator, z)
    assert whole.shape == (7, 3, 8, 8)
    assert not whole.requires_grad
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    torch.testing.assert_close(whole, (generator(z).detach() + 1) / 2)
    torch.testing.assert_close(dcgan.samples(generator, z, batch=2), whole)
    draw = dcgan.sampler(generator)
    drawn = draw(4, runtime.generator(1))
    assert torch.equal(drawn, draw(4, runtime.generator(1)))
    expected = dcgan.samples(generator, torch.randn(4, 6, generator=runtime.generator(1)))
    assert torch.equal(drawn, expected)


def test_the_course_s_generator_is_built_from_its_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    with pytest.raises(WeightsError, match="There is no checkpoint"):
        dcgan.load_generator()
    saved, z = pair()[0].eval(), normal(3, 6)
    settings = {"latent": 6, "width": 2, "size": 8}
    facts = {"recipe": "dcgan r", "data": "d", "steps": 3, "seed": 0, "settings": settings}
    checkpoints.save(saved, checkpoints.path_of("dcgan", "mine"), facts)
    loaded, checkpoint = dcgan.load_generator("mine")
    assert checkpoint.about["steps"] == 3
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    torch.testing.assert_close(loaded(z), saved(z), rtol=0, atol=2e-3)
