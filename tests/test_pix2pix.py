"""Topic 10: the objective against independent statements, steps, resume, the checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import pix2pix, pix2pix_tasks
from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.timeline import of_topic
from coursekit.datasets.base import Dataset, Info


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def small_game(**options: object) -> pix2pix.Game:
    runtime.seed_everything(1)
    generator = pix2pix.UNetGenerator(width=4, depth=3)
    return pix2pix.Game(generator, pix2pix.PatchDiscriminator(width=4, layers=1), **options)


def few_pairs(count: int = 12, size: int = 16) -> Dataset:
    """Squares and their colour: the target is the input with its channels mixed."""
    random = runtime.generator(3)
    drawn = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=random)
    info = Info("pairs", "noise", "none", True, "the test")
    return Dataset(info, {"input": drawn, "target": drawn.flip(1)}, ("input", "target"))


# --- The objective


def test_discriminator_loss_by_hand() -> None:
    zero = torch.zeros(2, 1, 3, 4)
    assert float(pix2pix.discriminator_loss(zero, zero)) == pytest.approx(math.log(2))
    real, fake = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5], [1.5]])
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    up = -(math.log(sigmoid(2.0)) + math.log(sigmoid(-1.0))) / 2
    down = -(math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(1.5))) / 2
    assert float(pix2pix.discriminator_loss(real, fake)) == pytest.approx((up + down) / 2)


def test_discriminator_loss_is_binary_cross_entropy_with_its_gradient() -> None:
    real, fake = (normal(2, 1, 3, 4, seed=s).requires_grad_() for s in (1, 2))
    expected = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 0.9))
    expected = (expected + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))) / 2
    found = pix2pix.discriminator_loss(real, fake, real_label=0.9)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        *(torch.autograd.grad(loss, (real, fake)) for loss in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_l1_loss_and_its_gradient_by_hand() -> None:
    output = torch.tensor([0.5, -1.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    target = torch.tensor([0.0, 1.0, 0.25]).view(1, 3, 1, 1)
    loss = pix2pix.l1_loss(output, target)
    assert float(loss.detach()) == pytest.approx((0.5 + 2 + 0.25) / 3)
    (gradient,) = torch.autograd.grad(loss, output)
    torch.testing.assert_close(gradient.flatten(), torch.tensor([1.0, -1.0, -1.0]) / 3)
    with pytest.raises(ShapeError, match=r"\(1, 3, 1, 1\)"):
        pix2pix.l1_loss(output, target[:, :1])


def test_pairs_are_stacked_and_other_sizes_named() -> None:
    source, output = normal(2, 1, 4, 6), normal(2, 3, 4, 6, seed=1)
    both = pix2pix.pair(source, output)
    assert torch.equal(both[:, :1], source) and torch.equal(both[:, 1:], output)
    for other in (output[:1], output[:, :, :3], output[..., :5]):
        with pytest.raises(ShapeError, match="no pairs"):
            pix2pix.pair(source, other)


# --- The steps


def inputs(count: int = 4, size: int = 16) -> tuple[Tensor, Tensor]:
    return normal(count, 3, size, size).tanh(), normal(count, 3, size, size, seed=1).tanh()


def test_the_discriminator_step_lowers_its_loss_and_leaves_the_generator() -> None:
    game, (source, target) = small_game(), inputs()
    fake, found = game.generator(source), []
    for _ in range(12):
        terms = pix2pix.discriminator_step(
            game.discriminator, game.d_optimiser, source, target, fake
        )
        found.append(float(terms["d_loss"]))
    assert found[-1] < found[0]
    assert set(terms) == {"d_loss", "d_real", "d_fake"}
    assert not any(term.requires_grad for term in terms.values())
    assert all(p.grad is None for p in game.generator.parameters())


def test_the_generator_s_gradient_is_that_of_the_whole_objective() -> None:
    game, (source, target) = small_game(), inputs()
    fake = game.generator(source)
    logits = game.discriminator(torch.cat([source, fake], dim=1))
    whole = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    whole = whole + 7 * (fake - target).abs().mean()
    parameters = list(game.generator.parameters())
    expected = torch.autograd.grad(whole, parameters, retain_graph=True)
    terms = pix2pix.generator_step(
        game.discriminator, game.g_optimiser, source, target, fake, l1_weight=7.0
    )
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
    assert float(terms["g_loss"] + 7 * terms["l1"]) == pytest.approx(whole.item(), rel=1e-4)
    assert all(p.grad is None and p.requires_grad for p in game.discriminator.parameters())


def test_each_term_can_be_left_out() -> None:
    source, target = inputs()
    for adversarial, weight, names in (
        (True, 100.0, {"d_loss", "d_real", "d_fake", "g_loss", "l1"}),
        (True, 0.0, {"d_loss", "d_real", "d_fake", "g_loss"}),
        (False, 100.0, {"l1"}),
    ):
        game = small_game(adversarial=adversarial, l1_weight=weight)
        before = [p.clone() for p in game.discriminator.parameters()]
        terms = game.step(1, pix2pix.to_unit(source), pix2pix.to_unit(target))
        assert set(terms) == names
        same = all(map(torch.equal, before, game.discriminator.parameters()))
        assert same is not adversarial
    with pytest.raises(SettingError, match="nothing to learn"):
        small_game(adversarial=False, l1_weight=0.0).step(1, source, target)


def test_l1_alone_learns_a_simple_pair() -> None:
    """Colours turned round: after a few steps nearer than at the start, without any game."""
    game = small_game(adversarial=False, learning_rates=(1e-2, 2e-4))
    source = torch.rand(4, 3, 1, 1, generator=runtime.generator(0)).expand(-1, -1, 16, 16)
    found = [float(game.step(number, source, 1 - source)["l1"]) for number in range(1, 41)]
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


def test_the_game_is_played_in_minus_one_to_one() -> None:
    game, (source, target) = small_game(adversarial=False), inputs()
    game.generator.eval()
    with torch.no_grad():
        expected = (game.generator(source) - target).abs().mean()
    terms = game.step(1, pix2pix.to_unit(source), pix2pix.to_unit(target))
    assert float(terms["l1"]) == pytest.approx(float(expected), rel=1e-3)


# --- Moving pairs


def test_jitter_moves_both_halves_alike() -> None:
    drawn = normal(16, 1, 12, 10)
    source, target = pix2pix.jitter(drawn, drawn.expand(-1, 3, -1, -1), runtime.generator(0))
    assert source.shape == (16, 1, 12, 10) and target.shape == (16, 3, 12, 10)
    assert torch.equal(source.expand(-1, 3, -1, -1), target)
    changed = [not torch.equal(one, other) for one, other in zip(source, drawn, strict=True)]
    assert sum(changed) >= 12  # one in 162 stays where it was


def test_jitter_moves_by_whole_pixels_up_to_the_limit() -> None:
    drawn = normal(40, 1, 9, 9)
    moved, _ = pix2pix.jitter(drawn, drawn, runtime.generator(1), shift=2, flip=False)
    wide, found = F.pad(drawn, (2, 2, 2, 2), mode="replicate"), set()
    for one, whole in zip(moved, wide, strict=True):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(whole[:, top : top + 9, left : left + 9], one)
        ]
        assert places
        found |= set(places)
    assert {0, 4} <= {top for top, _ in found} and {0, 4} <= {left for _, left in found}


def test_jitter_mirrors_about_half_and_can_be_switched_off() -> None:
    drawn = normal(64, 1, 4, 4)
    turned, _ = pix2pix.jitter(drawn, drawn, runtime.generator(2), shift=0)
    mirrored = sum(torch.equal(a, b.flip(-1)) for a, b in zip(turned, drawn, strict=True))
    plain = sum(torch.equal(a, b) for a, b in zip(turned, drawn, strict=True))
    assert mirrored + plain == 64 and 16 <= mirrored <= 48
    still = pix2pix.jitter(drawn, drawn, runtime.generator(2), shift=0, flip=False)
    assert torch.equal(still[0], drawn)


# --- Training


def short_training(folder: Path | None, steps: int, **options: object) -> dict[str, Tensor]:
    game = small_game()
    batches = training.Batches(few_pairs(), 4)
    pix2pix.train(
        game,
        batches,
        shift=1,
        flip=True,
        steps=steps,
        folder=folder,
        rate=lambda number: 1 / number,
        progress=False,
        **options,
    )
    return game.ema.module.state_dict()


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not() -> None:
    first, second, third = (short_training(None, 4, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_resume_is_exact(tmp_path: Path) -> None:
    whole = short_training(None, 7)
    short_training(tmp_path, 3)
    resumed = short_training(tmp_path, 7)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_keeps_previews_and_terms() -> None:
    game = small_game()
    result = pix2pix.train(
        game, training.Batches(few_pairs(), 4), steps=3, log_every=1, previews=2, progress=False
    )
    assert len(result.curve("l1")) == len(result.curve("g_loss")) == 3
    assert result.timeline.picture(-1).shape[1] == 3


# --- Using it


def test_translate_is_the_same_alone_and_among_others() -> None:
    network = pix2pix.UNetGenerator(width=4, depth=3).train()
    pictures = normal(5, 3, 16, 24).sigmoid()
    whole = pix2pix.translate(network, pictures, batch=2)
    assert whole.shape == pictures.shape
    assert float(whole.min()) >= 0 and float(whole.max()) <= 1
    torch.testing.assert_close(pix2pix.translate(network, pictures[3:4]), whole[3:4])
    assert network.training and not whole.requires_grad
    grey = pictures[:, :1]
    torch.testing.assert_close(
        pix2pix.translate(network, grey), pix2pix.translate(network, grey.repeat(1, 3, 1, 1))
    )
    with pytest.raises(ShapeError, match="multiples of 8"):
        pix2pix.translate(network, pictures[..., :20])


def test_noise_is_drawn_where_asked_and_has_a_seed() -> None:
    network = pix2pix.UNetGenerator(width=4, depth=3).eval()
    picture = normal(1, 3, 16, 16).sigmoid()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (
        pix2pix.translate(network, picture, noise=True, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(pix2pix.translate(network, picture), first)


def test_patch_logits_are_those_of_the_pair() -> None:
    network = pix2pix.PatchDiscriminator(width=4, layers=1)
    source, output = normal(2, 3, 16, 16).sigmoid(), normal(2, 3, 16, 16, seed=1).sigmoid()
    found = pix2pix.patch_logits(network, source, output)
    assert network.training and not found.requires_grad
    expected = network.eval()(torch.cat([2 * source - 1, 2 * output - 1], dim=1))
    torch.testing.assert_close(found, expected)


def test_the_course_s_generator_is_there_and_colours_drawings() -> None:
    generator, checkpoint = pix2pix.load()
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    assert checkpoint.about["recipe"] == "pix2pix course"
    measured = checkpoint.about["measured"]
    for name in ("L1", "LPIPS"):  # better than the nearest neighbour, by the whole interval
        assert measured["generator - nearest neighbour"][name]["interval"][1] < 0
    held_out = pix2pix_tasks.task("emoji", "test", 64, count=8).batch(range(8))
    made = pix2pix.translate(generator, held_out["input"])
    assert made.shape == (8, 3, 64, 64)
    # Drawings are grey; what comes back is not.
    assert float((made.amax(1) - made.amin(1)).mean()) > 0.03
    region = held_out["region"].expand(-1, 3, -1, -1)
    error = [(each - held_out["target"]).abs()[region].mean() for each in (made, held_out["input"])]
    assert error[0] < error[1]


def test_the_course_s_timeline_has_a_few_frames() -> None:
    film = of_topic("pix2pix")
    assert 4 <= len(film) <= 10
    assert film.steps[-1] == pix2pix.load()[1].about["steps"]


def test_a_checkpoint_that_is_not_there_is_named() -> None:
    with pytest.raises(WeightsError, match="nothing"):
        pix2pix.load("nothing")


@pytest.mark.slow
def test_the_recipe_trains_on_any_pairs_saves_and_goes_on(tmp_path: Path) -> None:
    from PIL import Image

    from coursekit.recipes import pix2pix as recipe

    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in range(20):
        wide = Image.new("RGB", (64, 32), (12 * number, 40, 90))
        wide.paste((255 - 12 * number, 200, 10), (32, 0, 64, 32))
        wide.save(folder / f"{number:02}.png")
    options = {"data": str(folder), "size": 32, "width": 4, "max_width": 8, "progress": False}
    files = recipe.course(tmp_path / "run", steps=2, **options)
    assert [file.name for file in files] == ["course.safetensors", "course.timeline.zip"]
    about = checkpoints.read(files[0]).about
    assert about["steps"] == 2 and about["settings"]["depth"] == 5
    assert about["measured"]["generator"]["LPIPS"]["count"] == 2
    again = recipe.course(tmp_path / "run", steps=3, **options)
    assert checkpoints.read(again[0]).about["steps"] == 3
