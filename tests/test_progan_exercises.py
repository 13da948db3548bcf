"""The exercises of topic 12: as many as promised, of every level, and what a check says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import progan_layers
from coursekit.core.runtime import generator
from coursekit.exercises import engine, progan, progan_training
from coursekit.exercises.declarations import DIFFICULTIES
from coursekit.exercises.engine import check
from coursekit.progan_networks import Generator, Stage, Widths


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def test_six_exercises_of_every_level_with_alternatives_and_mistakes() -> None:
    exercises = engine.of_topic("progan")
    assert len(exercises) == 6
    assert {exercise.difficulty for exercise in exercises} == set(DIFFICULTIES)
    for exercise in exercises:
        assert len(exercise.mistakes) >= 10, exercise.id
        assert len(exercise.alternatives) == 2, exercise.id
        assert exercise.properties, exercise.id


def test_the_layers_of_the_course_and_of_the_exercises_agree() -> None:
    x = normal(8, 3, 4, 5, seed=1)
    torch.testing.assert_close(progan.pixel_norm(x), progan_layers.pixel_norm(x))
    for group in (2, 4, 20):
        mine, theirs = (module.minibatch_stddev(x, group) for module in (progan, progan_layers))
        torch.testing.assert_close(mine, theirs)
    torch.manual_seed(2)
    layer = progan_layers.EqualisedConv2d(3, 6, 3)
    with torch.no_grad():
        layer.bias += normal(6, seed=3)
    found = progan.equalised_conv(x, layer.weight, layer.bias)
    torch.testing.assert_close(found, layer(x))


def test_the_exercise_fades_in_as_the_generator_does() -> None:
    torch.manual_seed(0)
    network, z = Generator(Widths(8, base=16, most=4), latent=4), normal(2, 4, seed=4)
    before = network.blocks["4"](progan_layers.pixel_norm(z)[:, :, None, None])
    layers = network.blocks["8"], network.to_rgb["4"], network.to_rgb["8"]
    found = progan_training.fade_in(before, *layers, 0.3)
    torch.testing.assert_close(found, network(z, Stage(8, 0.3)))


def test_an_answer_with_whole_number_division_is_told_so() -> None:
    def mine(images, first, last, fade, stable):
        resolution, alpha = progan_training.stage_at(images, first, last, fade, stable)
        return resolution, float(int(alpha))

    result = check("progan.stage_at", mine)
    assert result.mistake == "α jumps"
    assert "//" in str(result)


def test_an_answer_for_large_batches_only_is_refused() -> None:
    def mine(x, group):
        groups = x.unflatten(0, (group, len(x) // group))
        deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        channel = deviation.repeat(group).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel], dim=1)

    result = check("progan.minibatch_stddev", mine)
    assert not result.passed and result.layer == "contract"
    assert "fewer images than a group" in str(result)


def test_two_mistakes_at_once_are_not_called_right() -> None:
    def mine(before, block, old_rgb, new_rgb, alpha):
        old = F.interpolate(old_rgb(before), scale_factor=2)
        new = new_rgb(F.interpolate(block(before), scale_factor=2))
        return alpha * old + (1 - alpha) * new

    assert check("progan.fade_in", mine).status == "wrong"


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_reference_of_the_loss_by_hand(weight: float) -> None:
    real, fake, slopes = torch.tensor([2.0, 4.0]), torch.tensor([1.0]), torch.tensor([1.0, 3.0])
    found = progan_training.discriminator_loss(real, fake, slopes, 10.0, weight)
    assert float(found) == pytest.approx(1 - 3 + 10 * 2 + weight * 10)
