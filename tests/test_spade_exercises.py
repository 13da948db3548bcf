"""The exercises of topic 14: as many as promised, of every level, and what a check says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import spade
from coursekit.exercises import engine
from coursekit.exercises import spade as exercises
from coursekit.exercises.declarations import DIFFICULTIES
from coursekit.exercises.engine import check


def test_six_exercises_of_every_level_with_alternatives_and_mistakes() -> None:
    found = engine.of_topic("spade")
    assert [exercise.name for exercise in found] == [
        "one_hot_labels",
        "normalise_and_modulate",
        "residual_block",
        "hinge_losses",
        "feature_matching",
        "kl_divergence",
    ]
    assert {exercise.difficulty for exercise in found} == set(DIFFICULTIES)
    for exercise in found:
        assert len(exercise.mistakes) >= 5, exercise.id
        assert len(exercise.alternatives) >= 2, exercise.id
        assert exercise.properties, exercise.id


def test_label_planes_are_the_course_s() -> None:
    labels = torch.randint(4, (2, 9, 6), generator=torch.Generator().manual_seed(0))
    expected = spade.resize_labels(spade.one_hot(labels, 5), (3, 4))
    assert torch.equal(exercises.one_hot_labels(labels, 5, (3, 4)), expected)


def test_the_classic_of_mixed_class_numbers_is_named() -> None:
    def mine(labels: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
        small = F.interpolate(labels[:, None].float(), size, mode="bilinear").round().long()
        return F.one_hot(small[:, 0], classes).permute(0, 3, 1, 2).float()

    result = check("spade.one_hot_labels", mine)
    assert result.mistake == "class numbers mixed"
    assert "Classes turn up" in str(result)


def test_a_batch_norm_of_one_s_own_is_told_what_the_map_is_for() -> None:
    def mine(features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5) -> Tensor:
        x = F.batch_norm(features, None, None, training=True, eps=epsilon)
        return x * (1 + gamma.mean((2, 3), keepdim=True)) + beta.mean((2, 3), keepdim=True)

    result = check("spade.normalise_and_modulate", mine)
    assert result.mistake == "one γ for the whole picture"


def test_instance_norm_is_wrong_from_the_second_picture_on() -> None:
    def mine(features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5) -> Tensor:
        mean = features.mean((2, 3), keepdim=True)
        variance = features.var((2, 3), keepdim=True, correction=0)
        return (features - mean) / (variance + epsilon).sqrt() * (1 + gamma) + beta

    assert check("spade.normalise_and_modulate", mine).mistake == "each picture by itself"


def test_values_come_before_gradients() -> None:
    def mine(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
        total = torch.zeros(())
        for ours, theirs in zip(real, fake, strict=True):
            for x, y in zip(ours[:-1], theirs[:-1], strict=True):
                total = total + (x - y).abs().mean()  # the target is not detached
        return total  # and the scales are summed

    result = check("spade.feature_matching", mine)
    assert not result.passed and result.mistake == "scales summed"

    def better(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
        return mine(real, fake) / len(real)

    result = check("spade.feature_matching", better)
    assert result.layer == "gradient" and result.mistake == "target not detached"


def test_an_answer_that_never_looks_at_the_shortcut_is_found() -> None:
    def mine(x, planes, norms, convolutions, shortcut_norm=None, shortcut=None):
        way = x
        for norm, convolution in zip(norms, convolutions, strict=True):
            way = convolution(F.leaky_relu(norm(way, planes), 0.2))
        return x + way if shortcut is None else shortcut(x) + way

    assert check("spade.residual_block", mine).mistake == "shortcut without its norm"


def test_inputs_that_are_changed_in_place_are_refused() -> None:
    def mine(mean: Tensor, log_variance: Tensor) -> Tensor:
        variance = log_variance.exp()
        return (mean.square_() + variance - log_variance - 1).sum(dim=1).mean() / 2

    result = check("spade.kl_divergence", mine)
    assert not result.passed and result.layer == "contract"
