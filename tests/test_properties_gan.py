"""The games and their labels, for any batch: topics 07 to 11 and 14."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from property_inputs import NO_NUMBERS, SEEDS, bad_shapes, pictures, random, refused
from torch import Tensor, nn

from coursekit import cgan, dcgan, spade_losses, wgan
from coursekit.core import losses
from coursekit.core.errors import SettingError, ShapeError
from coursekit.cyclegan import (
    ImagePool,
    linear_decay,
    lsgan_discriminator_loss,
    lsgan_generator_loss,
)
from coursekit.pix2pix import jitter, pair
from coursekit.progan_distance import sliced_wasserstein

pytestmark = pytest.mark.properties

LOGITS = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6).map(torch.tensor)
NEAR_1 = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=3).map(torch.tensor)
WHOLE_OR_NOT = st.sampled_from((*NO_NUMBERS, 0.0, -1.0, 1.5))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- Losses of the games --------------------------------------------------------------------------


@given(LOGITS, LOGITS, st.floats(0.5, 1, exclude_min=True))
def test_the_discriminator_s_loss_is_finite_positive_and_falls_with_a_better_answer(
    real: Tensor, fake: Tensor, label: float
) -> None:
    loss = dcgan.discriminator_loss(real, fake, real_label=label)
    assert loss.dim() == 0 and math.isfinite(loss) and loss >= 0
    assert dcgan.discriminator_loss(real, fake - 1, real_label=label) <= loss
    assert dcgan.discriminator_loss(real + 1, fake) <= dcgan.discriminator_loss(real, fake)
    swapped = dcgan.discriminator_loss(-fake, -real)
    torch.testing.assert_close(swapped, dcgan.discriminator_loss(real, fake))


@given(LOGITS)
def test_generators_gain_from_every_fooled_judge(fake: Tensor) -> None:
    for loss in (
        dcgan.generator_loss,
        lambda logits: dcgan.generator_loss(logits, "saturating"),
        wgan.generator_loss,
        lambda logits: spade_losses.hinge_generator([[logits]]),
    ):
        assert math.isfinite(loss(fake)) and loss(fake + 1) <= loss(fake) + 1e-6
    assert lsgan_generator_loss(fake) >= 0
    assert lsgan_generator_loss(torch.ones_like(fake)) == 0


@given(NEAR_1, NEAR_1)
def test_least_squares_and_hinge_are_zero_for_the_right_answer_alone(
    real: Tensor, fake: Tensor
) -> None:
    assert lsgan_discriminator_loss(real, fake) >= 0
    assert lsgan_discriminator_loss(torch.ones_like(real), torch.zeros_like(fake)) == 0
    hinge = spade_losses.hinge_discriminator([[real]], [[fake]])
    sure = spade_losses.hinge_discriminator([[1 + real.abs()]], [[-1 - fake.abs()]])
    assert sure == 0, "right by the margin is left alone"
    right = bool((real >= 1).all() and (fake <= -1).all())
    assert hinge >= 0 and (hinge == 0) == right


@given(WHOLE_OR_NOT, st.text("abc-", max_size=5), LOGITS)
def test_labels_and_kinds_that_do_not_exist_are_refused(label: float, kind: str, logits) -> None:
    call = dcgan.discriminator_loss
    assert isinstance(refused(call, logits, logits, real_label=label), SettingError)
    assert isinstance(refused(dcgan.generator_loss, logits, kind), SettingError)


@given(st.integers(1, 6), st.integers(1, 5), SEEDS)
def test_the_penalties_of_a_linear_critic_are_those_of_its_slope(
    count: int, size: int, seed: int
) -> None:
    critic = nn.Linear(size, 1).double()
    real, fake = (random((count, size), seed + i, torch.float64) for i in range(2))
    slope = critic.weight.detach().norm()
    penalty = wgan.gradient_penalty(lambda x: critic(x).flatten(), real, fake)
    torch.testing.assert_close(penalty.detach(), (slope - 1).square())
    quotients = wgan.lipschitz_quotients(critic, real, fake)
    assert quotients.shape == (count,)
    assert bool((quotients <= slope + 1e-9).all())
    images = real[:, :, None, None].requires_grad_(True)
    r1 = losses.r1_penalty(critic(images.flatten(1)).flatten(), images)
    torch.testing.assert_close(r1.detach(), slope.square())


@given(st.integers(1, 6), SEEDS, st.floats(1e-4, 10))
def test_clipped_weights_lie_within_the_limit(size: int, seed: int, limit: float) -> None:
    torch.manual_seed(seed)
    critic = nn.Sequential(nn.Linear(size, 3), nn.Linear(3, 1))
    before = [parameter.clone() for parameter in critic.parameters()]
    wgan.clip_weights(critic, limit)
    for old, new in zip(before, critic.parameters(), strict=True):
        assert new.abs().max() <= limit * (1 + 1e-6)
        assert torch.equal(new, old.clamp(-limit, limit))
    for wrong in (0.0, -limit, math.nan):
        assert isinstance(refused(wgan.clip_weights, critic, wrong), SettingError)


VALUES = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=7)


@given(VALUES, SEEDS, st.floats(-100, 100), st.floats(-3, 3))
def test_wasserstein_is_a_distance(values: list[float], seed: int, offset: float, factor) -> None:
    first = torch.tensor(values).double()
    second, third = (random(first.shape, seed + i, torch.float64) for i in range(2))
    order = torch.randperm(len(first), generator=generator(seed))
    distance = wgan.wasserstein_1d
    assert distance(first, first[order]) == 0
    torch.testing.assert_close(distance(first, second), distance(second, first))
    torch.testing.assert_close(
        distance(first, first + offset),
        torch.tensor(abs(offset), dtype=torch.float64),
        atol=1e-9,
        rtol=1e-9,
    )
    assert distance(first, third) <= distance(first, second) + distance(second, third) + 1e-9
    torch.testing.assert_close(
        distance(factor * first, factor * second), abs(factor) * distance(first, second)
    )


@given(st.integers(1, 9), st.integers(1, 4), SEEDS)
def test_the_sliced_distance_is_zero_for_the_same_set_in_any_order(
    count: int, size: int, seed: int
) -> None:
    points = random((count, size), seed)
    order = torch.randperm(count, generator=generator(seed))
    found = sliced_wasserstein(points, points[order], generator(seed), directions=5)
    assert found.shape == (5,) and float(found.max()) < 1e-5
    other = sliced_wasserstein(points, points + 1, generator(seed), directions=5)
    assert float(other.max()) <= size**0.5 + 1e-4 and float(other.min()) >= 0


@given(bad_shapes(1), bad_shapes(2))
def test_samples_that_are_none_have_no_distance(line, table) -> None:
    wrong = torch.zeros(line)
    assert isinstance(refused(wgan.wasserstein_1d, wrong, wrong), ShapeError)
    wrong = torch.zeros(table)
    refused(sliced_wasserstein, wrong, wrong, generator(0))


@given(st.integers(1, 5), st.integers(1, 4), SEEDS)
def test_points_between_real_and_fake_lie_on_their_line(count: int, size: int, seed: int) -> None:
    real, fake = random((count, size, size), seed), random((count, size, size), seed + 1)
    found = wgan.interpolate(real, fake, generator=generator(seed))
    low, high = torch.minimum(real, fake), torch.maximum(real, fake)
    assert bool(((found >= low - 1e-5) & (found <= high + 1e-5)).all())
    assert torch.equal(wgan.interpolate(real, fake, torch.ones(count)), real)
    assert torch.equal(wgan.interpolate(real, fake, torch.zeros(count)), fake)
    assert isinstance(refused(wgan.interpolate, real, fake, torch.ones(count + 1)), ShapeError)
    assert isinstance(refused(wgan.interpolate, real, fake[:, :, 1:]), ShapeError)


# --- Topic 09: labels -----------------------------------------------------------------------------


@given(st.lists(st.integers(-2, 11), max_size=8), st.integers(1, 10))
def test_class_indices_become_one_hot_rows_or_a_named_error(labels, classes: int) -> None:
    label = torch.tensor(labels, dtype=torch.long)
    if any(not 0 <= each < classes for each in labels):
        assert isinstance(refused(cgan.label_weights, label, classes), SettingError)
        return
    weights = cgan.label_weights(label, classes)
    assert weights.shape == (len(labels), classes) and weights.dtype == torch.float32
    assert torch.equal(weights.sum(1), torch.ones(len(labels)))
    assert torch.equal(weights.argmax(1)[: len(labels)], label)
    assert torch.equal(cgan.label_weights(weights, classes), weights)


@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from((torch.int32, torch.uint8, torch.float32, torch.bool, torch.int64)),
)
def test_labels_of_another_type_or_shape_are_refused(shape: list[int], kind: torch.dtype) -> None:
    label = torch.zeros(shape, dtype=kind)
    indices = len(shape) == 1 and kind == torch.int64
    weights = len(shape) == 2 and shape[1] == 3 and kind.is_floating_point
    if not indices and not weights:
        assert isinstance(refused(cgan.label_weights, label, 3), ShapeError)
    else:
        assert cgan.label_weights(label, 3).shape == (shape[0], 3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(1, 4), SEEDS)
def test_labels_come_in_beside_what_is_there(labels, size: int, seed: int) -> None:
    label, count = torch.tensor(labels), len(labels)
    z, images = random((count, size), seed), random((count, 2, size, size), seed)
    joined = cgan.join_latent(z, label, 5)
    assert torch.equal(joined[:, :size], z)
    assert torch.equal(joined[:, size:].argmax(1), label)
    planes = cgan.join_planes(images, label, 5)
    assert torch.equal(planes[:, :2], images)
    assert torch.equal(planes[:, 2:].argmax(1), label[:, None, None].expand(-1, size, size))
    assert torch.equal(planes[:, 2:].sum(1), torch.ones(count, size, size))
    for call, things in ((cgan.join_latent, z), (cgan.join_planes, images)):
        more = torch.cat([label, label[:1]])
        assert isinstance(refused(call, things, more, 5), ShapeError)


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(0, 10), SEEDS)
def test_wrong_labels_are_classes_and_never_the_right_one(labels, classes: int, seed: int) -> None:
    label = torch.tensor(labels, dtype=torch.long)
    torch.manual_seed(seed)
    if classes < 2:
        assert isinstance(refused(cgan.wrong_labels, label, classes), SettingError)
        return
    label = label % classes
    found = cgan.wrong_labels(label, classes)
    assert found.shape == label.shape
    assert bool((found != label).all())
    assert bool(((found >= 0) & (found < classes)).all())


@given(st.integers(-1, 5), st.integers(-1, 5), st.integers(-1, 6), st.integers(1, 5))
def test_a_path_between_classes_is_a_mixture_all_along(
    first: int, second: int, steps: int, classes: int
) -> None:
    if steps < 2 or not all(0 <= each < classes for each in (first, second)):
        assert isinstance(refused(cgan.class_path, first, second, steps, classes), SettingError)
        return
    path = cgan.class_path(first, second, steps, classes)
    assert path.shape == (steps, classes)
    torch.testing.assert_close(path.sum(1), torch.ones(steps))
    assert path[0, first] == 1 and path[-1, second] == 1 and path.min() >= 0


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_the_projection_of_a_mixture_is_the_mixture_of_projections(
    count: int, size: int, classes: int, seed: int
) -> None:
    features, embedding = random((count, size), seed), random((classes, size), seed + 1)
    psi = random((count,), seed + 2)
    weights = torch.softmax(random((count, classes), seed + 3), dim=1)
    each = torch.stack(
        [
            cgan.projection_logit(features, torch.eye(classes)[[k] * count], embedding, psi)
            for k in range(classes)
        ],
        dim=1,
    )
    found = cgan.projection_logit(features, weights, embedding, psi)
    torch.testing.assert_close(found, (weights * each).sum(1), atol=1e-4, rtol=1e-4)


# --- Topics 10 and 11 -----------------------------------------------------------------------------


@given(pictures(), pictures(channels=(1, 2)), st.integers(-1, 6), st.booleans(), SEEDS)
def test_jitter_moves_both_halves_alike_and_makes_no_colours_up(
    source: Tensor, target: Tensor, shift: int, flip: bool, seed: int
) -> None:
    if (len(source), *source.shape[2:]) != (len(target), *target.shape[2:]):
        assert isinstance(refused(jitter, source, target, generator(seed)), ShapeError)
        assert isinstance(refused(pair, source, target), ShapeError)
    twin = source[:, :1]
    if shift < 0:
        assert isinstance(
            refused(jitter, source, twin, generator(seed), shift=shift, flip=flip), SettingError
        )
        return
    found, other = jitter(source, twin, generator(seed), shift=shift, flip=flip)
    assert found.shape == source.shape and torch.equal(found[:, :1], other)
    for before, after in zip(source, found, strict=True):
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist())
    if not shift and not flip:
        assert torch.equal(found, source)
    again = jitter(source, twin, generator(seed), shift=shift, flip=flip)
    assert torch.equal(again[0], found)


@given(st.integers(-2, 6), st.lists(st.integers(1, 4), min_size=1, max_size=6), SEEDS)
def test_a_pool_gives_back_what_it_was_given(size: int, batches: list[int], seed: int) -> None:
    if size < 0:
        assert isinstance(refused(ImagePool, size), SettingError)
        return
    pool, seen, number = ImagePool(size, seed=seed), set(), 0
    for count in batches:
        images = torch.arange(number, number + count).float().view(-1, 1, 1, 1)
        number += count
        seen |= set(images.flatten().tolist())
        found = pool.query(images)
        assert found.shape == images.shape
        assert set(found.flatten().tolist()) <= seen
        assert len(pool.images) == min(size, number)
        kept = [float(each) for each in pool.images]
        assert len(set(kept)) == len(kept)
        assert size or torch.equal(found, images)
    twin = ImagePool(size, seed=seed + 1)
    twin.load_state_dict(pool.state_dict())
    more = torch.arange(100.0, 106.0).view(-1, 1, 1, 1)
    assert torch.equal(twin.query(more), pool.query(more))


@given(st.integers(-1, 30), st.integers(0, 25), st.floats(-0.5, 1.5) | st.just(math.nan))
def test_the_learning_rate_stays_then_falls_to_nothing(step: int, steps: int, constant) -> None:
    if not 1 <= step <= steps or not 0 <= constant < 1:
        assert isinstance(refused(linear_decay, step, steps, constant), SettingError)
        return
    shares = [linear_decay(each, steps, constant) for each in range(1, steps + 1)]
    assert shares[0] == 1 and shares == sorted(shares, reverse=True)
    assert all(0 < share <= 1 for share in shares)
    assert linear_decay(step, steps, 0.0) == pytest.approx(1 - (step - 1) / steps)


# --- Topic 14 -------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 6), SEEDS, st.floats(-3, 3), st.floats(-5, 5))
def test_the_divergence_from_a_normal_is_zero_for_it_alone(
    count: int, size: int, seed: int, mean: float, log_variance: float
) -> None:
    shape = (count, size)
    assert spade_losses.kl_divergence(torch.zeros(shape), torch.zeros(shape)) == 0
    found = spade_losses.kl_divergence(
        torch.full(shape, mean, dtype=torch.float64),
        torch.full(shape, log_variance, dtype=torch.float64),
    )
    expected = size * (mean**2 + math.exp(log_variance) - log_variance - 1) / 2
    assert float(found) == pytest.approx(expected, abs=1e-9) and found >= 0
    codes = [random(shape, seed + i, torch.float64) for i in range(2)]
    assert spade_losses.kl_divergence(*codes) >= 0


@given(bad_shapes(2), st.integers(1, 3))
def test_codes_that_are_none_have_no_divergence(shape: tuple[int, ...], count: int) -> None:
    wrong = torch.zeros(shape)
    assert isinstance(refused(spade_losses.kl_divergence, wrong, wrong), ShapeError)
    good = torch.zeros(count, 4)
    assert isinstance(refused(spade_losses.kl_divergence, good, good[:, 1:]), ShapeError)
