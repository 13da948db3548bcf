"""Topic 14: the painter, the two steps, training, painting and checkpoints."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from coursekit import spade
from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.datasets.base import Dataset, Info


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


# --- The painter


def small_painter(latent: int = 4) -> spade.Painter:
    settings = {"labels": 3, "width": 2, "size": 16, "hidden": 4, "doublings": 2}
    generator = spade.Generator(**settings, latent=latent)
    return spade.Painter(generator, spade.StyleEncoder(2, 16, latent) if latent else None)


def small_game(seed: int = 1, latent: int = 4, **options: object) -> spade.Game:
    runtime.seed_everything(seed)
    judge = spade.MultiscaleDiscriminator(3, width=2, layers=2, scales=2)
    return spade.Game(small_painter(latent), judge, **options)


def loud(module: nn.Module, seed: int = 300) -> nn.Module:
    """With weights that make maps and styles count; the published start is close to 0."""
    before = module.training
    for number, parameter in enumerate(module.parameters()):
        parameter.data.copy_(0.3 * normal(*parameter.shape, seed=seed + number))
    for part in module.train().modules():
        for _ in range(20 * parametrize.is_parametrized(part)):
            part.weight  # noqa: B018 - in train mode a look is a power iteration
    return module.train(before)


def few_maps(count: int = 12, size: int = 16) -> Dataset:
    """Three classes in blocks, each in a colour of its own."""
    rough = torch.randint(3, (count, size // 4, size // 4), generator=runtime.generator(3))
    labels = rough.repeat_interleave(4, 1).repeat_interleave(4, 2)
    colours = torch.tensor([[200, 30, 40], [20, 180, 60], [90, 90, 220]])
    images = colours[labels].movedim(3, 1)
    info = Info("blocks", "coloured blocks", "none", True, "the test")
    return Dataset(info, {"image": images.byte(), "labels": labels.byte()}, ("image",))


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    """Label planes, and pictures in [-1, 1]."""
    found = few_maps(count).batch(range(count))
    return spade.one_hot(found["labels"].long(), 3), spade.from_unit(found["image"])


def test_a_painter_draws_the_style_around_the_encoder_s_mean() -> None:
    runtime.seed_everything(0)
    painter = loud(small_painter()).eval()
    planes, images = batch()
    torch.manual_seed(4)
    found, kl = painter(planes, images)
    torch.manual_seed(4)
    mean, log_variance = painter.encoder(images)
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    torch.testing.assert_close(found, painter.generator(planes, z))
    torch.testing.assert_close(kl, spade.kl_divergence(mean, log_variance))


def test_a_painter_without_styles_has_no_divergence() -> None:
    painter = small_painter(0).eval()
    planes, images = batch()
    found, kl = painter(planes, images)
    assert float(kl) == 0
    torch.testing.assert_close(found, painter.generator(planes))


def test_an_encoder_that_does_not_fit_is_named() -> None:
    settings = {"labels": 3, "width": 2, "size": 16, "hidden": 4, "doublings": 2}
    with pytest.raises(SettingError, match="codes of 5 numbers, the generator takes 4"):
        spade.Painter(spade.Generator(**settings, latent=4), spade.StyleEncoder(2, 16, 5))
    with pytest.raises(SettingError, match="codes of 0 numbers"):
        spade.Painter(spade.Generator(**settings, latent=4))
    with pytest.raises(SettingError, match="takes 0"):
        spade.Painter(spade.Generator(**settings), spade.StyleEncoder(2, 16, 5))


# --- The steps


def near(found: Tensor, expected: Tensor) -> None:
    """To three digits of the largest value; 0 where a normalisation takes a bias away again."""
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-3 * float(expected.abs().max()) + 1e-7
    )


def test_the_discriminator_step_lowers_its_loss_and_leaves_the_painter() -> None:
    game, (planes, images) = small_game(), batch()
    fake, found = game.painter(planes, images)[0], []
    for _ in range(30):
        terms = spade.discriminator_step(game.discriminator, game.d_optimiser, planes, images, fake)
        found.append(float(terms["d_loss"]))
    assert found[-1] < found[0]
    assert set(terms) == {"d_loss", "d_real", "d_fake"}
    assert not any(term.requires_grad for term in terms.values())
    assert all(parameter.grad is None for parameter in game.painter.parameters())


def test_the_discriminator_s_gradient_is_that_of_the_hinge() -> None:
    game, (planes, images) = small_game(), batch()
    judge, fake = loud(game.discriminator.eval(), 500), images.flip(0)  # no power iterations
    real, made = judge(planes, images), judge(planes, fake)
    expected = sum(
        (1 - x[-1]).clamp(min=0).mean() + (1 + y[-1]).clamp(min=0).mean()
        for x, y in zip(real, made, strict=True)
    )
    parameters = list(judge.parameters())
    wanted = torch.autograd.grad(expected / 2, parameters)
    terms = spade.discriminator_step(judge, game.d_optimiser, planes, images, fake)
    assert float(terms["d_loss"]) == pytest.approx(expected.item() / 2, rel=1e-4)
    assert float(terms["d_real"]) == pytest.approx(real[0][-1].mean().item(), rel=1e-3, abs=1e-6)
    assert float(terms["d_fake"]) == pytest.approx(made[0][-1].mean().item(), rel=1e-3, abs=1e-6)
    for parameter, slope in zip(parameters, wanted, strict=True):
        near(parameter.grad, slope)


def test_the_painter_s_gradient_is_that_of_the_whole_objective() -> None:
    game, (planes, images) = small_game(), batch()
    perceptual = spade.PerceptualLoss({"relu1_1": 1.0}, precision="float32", weights="random")
    judge, painter = loud(game.discriminator.eval(), 500), loud(game.painter.eval())
    torch.manual_seed(2)
    fake, kl = painter(planes, images)
    made, real = judge(planes, fake), judge(planes, images)
    whole = -(made[0][-1].mean() + made[1][-1].mean()) / 2 + 0.3 * kl
    for ours, theirs in zip(real, made, strict=True):
        for x, y in zip(ours[:-1], theirs[:-1], strict=True):
            whole = whole + 7.0 / 2 * (x.detach() - y).abs().mean()
    whole = whole + 2.0 * perceptual(fake, images)
    parameters = list(painter.parameters())
    wanted = torch.autograd.grad(whole, parameters, retain_graph=True)
    assert 0.1 < float(fake.detach().abs().mean()) < 0.9  # tanh lets gradients through
    weights = spade.Weights(features=7.0, perceptual=2.0, kl=0.3)
    terms = spade.generator_step(
        judge,
        game.g_optimiser,
        planes,
        images,
        fake,
        kl,
        weights=weights,
        perceptual=perceptual,
    )
    for parameter, slope in zip(parameters, wanted, strict=True):
        near(parameter.grad, slope)
    total = terms["g_loss"] + 7 * terms["features"] + 2 * terms["perceptual"] + 0.3 * terms["kl"]
    assert float(total) == pytest.approx(whole.item(), rel=1e-4)
    assert all(p.grad is None and p.requires_grad for p in judge.parameters())


def test_the_weights_of_the_paper() -> None:
    assert spade.Weights() == spade.Weights(features=10.0, perceptual=10.0, kl=0.05)


def test_each_term_can_be_left_out() -> None:
    perceptual = spade.PerceptualLoss({"relu1_1": 1.0}, weights="random")
    always = {"d_loss", "d_real", "d_fake", "g_loss", "kl"}
    found = few_maps(4).batch(range(4))
    for weights, network, names in (
        (spade.Weights(), perceptual, always | {"features", "perceptual"}),
        (spade.Weights(), None, always | {"features"}),
        (spade.Weights(features=0), perceptual, always | {"perceptual"}),
        (spade.Weights(features=0, perceptual=0), perceptual, always),
    ):
        game = small_game(weights=weights, perceptual=network)
        assert set(game.step(found["labels"], found["image"])) == names


def test_a_round_moves_painter_and_discriminator_once() -> None:
    game, found = small_game(), few_maps(4).batch(range(4))
    parts = (game.painter.generator, game.painter.encoder, game.discriminator)
    before = [[p.detach().clone() for p in part.parameters()] for part in parts]
    terms = game.step(found["labels"], found["image"])
    for part, old in zip(parts, before, strict=True):
        moved = [not torch.equal(p, o) for p, o in zip(part.parameters(), old, strict=True)]
        assert sum(moved) > len(moved) / 2
    assert not any(term.requires_grad for term in terms.values())
    for optimiser in (game.g_optimiser, game.d_optimiser):
        assert {int(state["step"]) for state in optimiser.state.values()} == {1}


def test_the_game_is_played_in_minus_one_to_one_with_one_painting() -> None:
    game, found = small_game(latent=0), few_maps(4).batch(range(4))
    seen: list[tuple[Tensor, Tensor]] = []
    calls: list[Tensor] = []
    game.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given))
    game.painter.generator.register_forward_hook(lambda module, given, made: calls.append(made))
    game.step(found["labels"], found["image"])
    assert len(calls) == 1 and len(seen) == 4
    planes = F.one_hot(found["labels"].long(), 3).movedim(3, 1).float()
    assert all(torch.equal(given[0], planes) for given in seen)
    true = 2 * found["image"] - 1
    for given, expected in zip(seen, (true, calls[0], calls[0], true), strict=True):
        torch.testing.assert_close(given[1], expected)
    assert not seen[1][1].requires_grad and seen[2][1].requires_grad


def test_two_time_scales_and_how_they_fall() -> None:
    game = small_game()
    for optimiser, rate in ((game.g_optimiser, 1e-4), (game.d_optimiser, 4e-4)):
        assert optimiser.defaults["lr"] == rate and optimiser.defaults["betas"] == (0.0, 0.9)
    game.slow_down(0.25)
    for optimiser, rate in ((game.g_optimiser, 1e-4), (game.d_optimiser, 4e-4)):
        assert [group["lr"] for group in optimiser.param_groups] == [pytest.approx(rate / 4)]


def test_feature_matching_alone_teaches_the_colours() -> None:
    """Against a discriminator that stands still, on one batch: its features come closer."""
    game, (planes, images) = small_game(latent=0), batch()
    optimiser, found = torch.optim.Adam(game.painter.parameters(), 1e-2), []
    for _ in range(40):
        fake, kl = game.painter(planes, images)
        terms = spade.generator_step(
            game.discriminator, optimiser, planes, images, fake, kl, weights=spade.Weights(100.0)
        )
        found.append(float(terms["features"]))
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


# --- Training


def short_training(
    folder: Path | None, steps: int, *, stop_at: int | None = None, **options: object
) -> tuple[dict[str, Tensor], training.TrainingResult]:
    game = small_game(perceptual=None)
    plain = game.step

    def step(labels: Tensor, images: Tensor) -> dict[str, Tensor]:
        if game.ema.updates + 1 == stop_at:
            signal.raise_signal(signal.SIGINT)
        return plain(labels, images)

    game.step = step
    result = spade.train(
        game,
        training.Batches(few_maps(), 4),
        rate=lambda number: 1 / number,
        steps=steps,
        folder=folder,
        progress=False,
        log_every=1,
        previews=3,
        **options,
    )
    weights = {**game.ema.module.state_dict(), **game.discriminator.state_dict()}
    return weights, result


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not() -> None:
    first, second, third = (short_training(None, 4, seed=seed)[0] for seed in (0, 0, 1))
    assert same(first, second)
    assert not same(first, third)  # the styles are drawn from other noise


def test_resume_is_exact(tmp_path: Path) -> None:
    whole, result = short_training(None, 7)
    short_training(tmp_path, 3)
    resumed, second = short_training(tmp_path, 7)
    assert same(whole, resumed)
    assert second.curve("features") == result.curve("features")


def test_an_interrupt_loses_no_step(tmp_path: Path) -> None:
    whole, _ = short_training(None, 6)
    _, result = short_training(tmp_path, 6, stop_at=3)
    assert result.interrupted and result.steps == 3
    resumed, second = short_training(tmp_path, 6)
    assert same(whole, resumed)
    assert not second.interrupted and second.steps == 6


def test_training_shows_pictures_of_the_averaged_painter() -> None:
    _, result = short_training(None, 3)
    assert {"d_loss", "g_loss", "features", "kl"} <= set(result.history[0])
    assert result.timeline.picture(-1).shape[1] == 3


def test_the_preview_paints_what_it_was_given() -> None:
    game, shown = small_game(), few_maps(3).batch(range(3))
    seen: list[Tensor] = []
    spade.train(
        game,
        training.Batches(few_maps(), 4),
        shown=shown,
        steps=1,
        previews=1,
        progress=False,
        callback=lambda step, pictures, history: seen.append(pictures),
    )
    style = spade.style_of(game.ema.module, shown["image"])
    expected = spade.paint(game.ema.module, shown["labels"].long(), style)
    torch.testing.assert_close(seen[-1], expected)


# --- Painting


def drawn_labels(count: int, seed: int = 9) -> Tensor:
    return torch.randint(3, (count, 16, 16), generator=runtime.generator(seed))


def test_paint_is_the_same_alone_and_among_others() -> None:
    painter, labels, style = loud(small_painter()).train(), drawn_labels(5), normal(5, 4)
    whole = spade.paint(painter, labels, style, batch=2)
    assert whole.shape == (5, 3, 16, 16)
    assert float(whole.min()) >= 0 and float(whole.max()) <= 1
    alone = spade.paint(painter, labels[3:4], style[3:4])
    torch.testing.assert_close(alone, whole[3:4], rtol=1e-4, atol=1e-4)
    assert painter.training and not whole.requires_grad
    expected = painter.eval().generator(F.one_hot(labels, 3).movedim(3, 1).float(), style)
    torch.testing.assert_close(whole, (expected.detach() + 1) / 2, rtol=1e-4, atol=1e-4)


def test_one_style_for_all_or_one_each_or_drawn() -> None:
    painter, labels, style = loud(small_painter()), drawn_labels(3), normal(3, 4, seed=2)
    one = spade.paint(painter, labels, style[:1])
    torch.testing.assert_close(one, spade.paint(painter, labels, style[:1].repeat(3, 1)))
    assert float((one - spade.paint(painter, labels, style))[1:].abs().max()) > 1e-3
    torch.manual_seed(5)
    first = spade.paint(painter, labels)
    torch.manual_seed(5)
    z = spade.sample_latent(3, 4)
    torch.testing.assert_close(first, spade.paint(painter, labels, z))


def test_a_painter_without_styles_takes_none() -> None:
    painter, labels = loud(small_painter(0)), drawn_labels(2)
    before = torch.random.get_rng_state()
    assert torch.equal(spade.paint(painter, labels), spade.paint(painter, labels))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert spade.style_of(painter, torch.rand(2, 3, 16, 16)) is None
    with pytest.raises(ShapeError, match="expected None"):
        spade.paint(painter, labels, normal(2, 4))


def test_what_cannot_be_painted_is_named() -> None:
    painter = loud(small_painter()).train()
    for labels, style, error, words in (
        (drawn_labels(3), normal(2, 4), ShapeError, r"\(2, 4\) for 3 maps"),
        (drawn_labels(3), normal(4), ShapeError, r"\(4,\) for 3 maps"),
        (drawn_labels(3), normal(1, 5), ShapeError, r"got \(3, 5\)"),
        (drawn_labels(3)[:, :8], None, ShapeError, r"\(3, 3, 8, 16\)"),
        (drawn_labels(3) + 1, None, SettingError, "1 to 3"),
    ):
        with pytest.raises(error, match=words):
            spade.paint(painter, labels, style)
    assert painter.training  # also behind an error


def test_style_of_is_the_encoder_s_mean() -> None:
    painter = loud(small_painter()).train()
    images = normal(2, 3, 16, 16, seed=8).sigmoid()
    found = spade.style_of(painter, images)
    assert painter.training and not found.requires_grad
    torch.testing.assert_close(found, painter.eval().encoder(2 * images - 1)[0].detach())
    painter.train()
    with pytest.raises(ShapeError, match="16, 16"):
        spade.style_of(painter, images[..., :8])
    assert painter.training


# --- Checkpoints


def test_a_saved_painter_paints_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    (tmp_path / "checkpoints" / "spade").mkdir(parents=True)
    painter = loud(small_painter()).half().float().eval()  # what the file can hold
    generator = {
        "labels": 3,
        "width": 2,
        "size": 16,
        "latent": 4,
        "hidden": 4,
        "doublings": 2,
    }
    encoder = {"width": 2, "size": 16, "latent": 4}
    about = {
        "recipe": "spade test",
        "data": "none",
        "steps": 0,
        "seed": 0,
        "settings": {"generator": generator, "encoder": encoder},
    }
    checkpoints.save(painter, tmp_path / "checkpoints" / "spade" / "mine.safetensors", about)
    loaded, checkpoint = spade.load("mine")
    assert checkpoint.about["recipe"] == "spade test"
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    labels, images = drawn_labels(2), normal(2, 3, 16, 16).sigmoid()
    style = spade.style_of(painter, images)
    torch.testing.assert_close(spade.style_of(loaded, images), style, rtol=1e-4, atol=1e-4)
    first, second = (spade.paint(each, labels, style) for each in (painter, loaded))
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_that_is_not_there_is_named() -> None:
    with pytest.raises(WeightsError, match="nothing"):
        spade.load("nothing")
