"""The exercises of topic 10: as many as promised, of every level, and what a check says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coursekit import pix2pix_networks
from coursekit.exercises import engine, pix2pix
from coursekit.exercises.declarations import DIFFICULTIES
from coursekit.exercises.engine import check


def test_five_exercises_of_every_level_with_alternatives_and_mistakes() -> None:
    exercises = engine.of_topic("pix2pix")
    assert len(exercises) == 5
    assert {exercise.difficulty for exercise in exercises} == set(DIFFICULTIES)
    for exercise in exercises:
        assert len(exercise.mistakes) >= 5, exercise.id
        assert len(exercise.alternatives) >= 2, exercise.id


def test_the_exercise_agrees_with_the_course_s_discriminators() -> None:
    """Two ways to the receptive field: the list of convolutions, and the network itself."""
    for layers in range(6):
        network = pix2pix_networks.PatchDiscriminator(width=1, layers=layers).network
        parts = [part for part in network if isinstance(part, nn.Conv2d)]
        convolutions = [(part.kernel_size[0], part.stride[0]) for part in parts]
        seen = pix2pix.pixels_seen(convolutions)
        assert seen == pix2pix_networks.receptive_field(layers)


def test_two_mistakes_at_once_are_seen_through() -> None:
    def mine(discriminator, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        real = discriminator(torch.cat([source, target], dim=1))
        made = discriminator(torch.cat([source, fake], dim=1))
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(made).mean()

    result = check("pix2pix.discriminator_objective", mine)
    assert not result.passed
    assert result.mistake == "no half"  # the values come first; the gradient would come next
    assert "half" in str(result)


def test_an_answer_that_fails_on_other_sizes_is_told_the_case() -> None:
    def mine(layers, encoded, skips=True):
        x = encoded[-1]
        for number, layer in enumerate(layers):
            if number:
                x = torch.cat([x, encoded[number - 1]], dim=1)
            x = layer(x)
        return x

    result = check("pix2pix.decode", mine)
    assert result.mistake == "not mirrored"


def test_noise_on_is_judged_by_what_the_network_does() -> None:
    def mine(network: nn.Module) -> None:
        network.train()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 0.0  # keeps the statistics, but still uses the batch's own

    result = check("pix2pix.noise_on", mine)
    assert not result.passed and result.layer == "behaviour"
