"""The losses, for any maps: scale, symmetry, order of positions, gradients, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from property_inputs import (
    FLOATS,
    NO_FLOATS,
    SEEDS,
    SHARES,
    bad_shapes,
    filled,
    maps,
    pictures,
    random,
    refused,
    shapes,
)
from torch import Tensor

from coursekit import inversion
from coursekit.core import losses
from coursekit.core.errors import ShapeError
from coursekit.cyclegan import cycle_loss, identity_loss
from coursekit.fast_style import perceptual_content_loss
from coursekit.pix2pix import l1_loss

pytestmark = pytest.mark.properties

Pair = Callable[[Tensor, Tensor], Tensor]
PAIRS: dict[str, Pair] = {
    "content": losses.content_loss,
    "statistics": losses.channel_statistics_loss,
    "style": lambda a, b: losses.style_loss(losses.gram_matrix(a), losses.gram_matrix(b)),
    "perceptual": perceptual_content_loss,
}
DISTANCES: dict[str, Pair] = {
    **PAIRS,
    "cycle": cycle_loss,
    "identity": identity_loss,
    "L1": l1_loss,
}
PRIORS: dict[str, Callable[[Tensor], Tensor]] = {
    "total variation": losses.total_variation,
    "isotropic": losses.isotropic_total_variation,
    "per pixel": inversion.tv_prior,
}
names_of_pairs, names_of_distances = (
    st.sampled_from(sorted(PAIRS)),
    st.sampled_from(sorted(DISTANCES)),
)


@st.composite
def twins(draw, sides: tuple[int, int] = (1, 7)) -> tuple[Tensor, Tensor]:
    """Two stacks of maps of one shape."""
    shape = draw(shapes(sides=sides))
    return draw(maps(shape=shape)), draw(maps(shape=shape))


# --- Distances ------------------------------------------------------------------------------------


@given(names_of_distances, twins())
def test_a_distance_is_symmetric_not_negative_and_zero_for_twins(name: str, pair) -> None:
    distance, (first, second) = DISTANCES[name], pair
    there, back = distance(first, second), distance(second, first)
    assert there.dim() == 0 and there >= 0
    torch.testing.assert_close(there, back, rtol=1e-4, atol=1e-6)
    assert distance(first, first) == 0


@given(names_of_pairs, twins(), st.floats(0.1, 10))
def test_a_distance_grows_with_the_power_of_its_formula(name: str, pair, factor: float) -> None:
    first, second = (each.double() for each in pair)
    power = 4 if name == "style" else 2
    scaled = PAIRS[name](factor * first, factor * second)
    # 1e-8 is added to every variance of the statistics.
    slack = 1e-3 * (1 + factor**2) if name == "statistics" else 1e-12
    expected = factor**power * PAIRS[name](first, second)
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=slack)


@given(st.sampled_from(("statistics", "style")), twins(), SEEDS)
def test_statistics_and_style_forget_where_things_are(name: str, pair, seed: int) -> None:
    first, second = (each.double() for each in pair)
    places = first[0, 0].numel()
    order = torch.randperm(places, generator=torch.Generator().manual_seed(seed))
    mixed = first.flatten(2)[..., order].view_as(first)
    torch.testing.assert_close(PAIRS[name](mixed, second), PAIRS[name](first, second))


@given(names_of_pairs, twins(), st.integers(2, 4))
def test_a_batch_of_twins_costs_what_one_costs(name: str, pair, count: int) -> None:
    first, second = (each[:1].double() for each in pair)
    many = PAIRS[name](first.repeat(count, 1, 1, 1), second.repeat(count, 1, 1, 1))
    torch.testing.assert_close(many, PAIRS[name](first, second))
    if name != "perceptual":  # one target for all
        torch.testing.assert_close(PAIRS[name](first.repeat(count, 1, 1, 1), second), many)


@given(names_of_pairs, twins())
def test_gradients_of_a_distance_are_finite(name: str, pair) -> None:
    first, second = pair[0].requires_grad_(True), pair[1]
    (gradient,) = torch.autograd.grad(PAIRS[name](first, second), first)
    assert gradient.shape == first.shape and bool(torch.isfinite(gradient).all())


@given(names_of_pairs, shapes(), SEEDS, st.sampled_from(FLOATS))
def test_half_types_are_summed_in_float32(name: str, shape, seed: int, kind: torch.dtype) -> None:
    first, second = random(shape, seed, kind), random(shape, seed + 1, kind)
    found = PAIRS[name](first, second)
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    exact = PAIRS[name](first.double(), second.double())
    # The difference of the two is rounded to eight bits in bfloat16.
    torch.testing.assert_close(found.double(), exact, rtol=0.03, atol=0.02)


@given(names_of_distances, bad_shapes())
def test_maps_that_are_none_have_no_distance(name: str, shape: tuple[int, ...]) -> None:
    wrong = torch.zeros(shape)
    if name in PAIRS:
        assert isinstance(refused(PAIRS[name], wrong, wrong), ShapeError)
    assert isinstance(refused(DISTANCES[name], wrong, torch.zeros(2, 3, 4, 5)), ShapeError)


@given(names_of_distances, shapes(), st.integers(0, 3), st.integers(1, 4))
def test_sizes_that_do_not_fit_have_no_distance(name: str, shape, place: int, side: int) -> None:
    other = (*shape[:place], side, *shape[place + 1 :])
    first, second = torch.zeros(shape), torch.zeros(other)
    fits = shape == other
    if name in PAIRS:
        compared = {"statistics": slice(1, 2), "style": slice(1, 2)}.get(name, slice(1, None))
        fits = shape[compared] == other[compared] and other[0] in (1, shape[0])
    if fits:
        assert DISTANCES[name](first, second) == 0
    else:
        assert isinstance(refused(DISTANCES[name], first, second), ShapeError)


@given(names_of_pairs, st.sampled_from(NO_FLOATS), shapes())
def test_whole_numbers_have_no_distance(name: str, kind: torch.dtype, shape) -> None:
    wrong = torch.ones(shape).to(kind)
    assert isinstance(refused(PAIRS[name], wrong, wrong), ShapeError)


# --- Gram matrices --------------------------------------------------------------------------------


@given(maps(), SEEDS)
def test_a_gram_matrix_is_symmetric_and_positive_semi_definite(features: Tensor, seed: int) -> None:
    gram = losses.gram_matrix(features.double())
    assert gram.shape == (features.shape[0], features.shape[1], features.shape[1])
    torch.testing.assert_close(gram, gram.mT)
    direction = random((features.shape[1],), seed, torch.float64)
    assert bool((direction @ gram @ direction >= -1e-9 * gram.abs().sum()).all())


@given(maps(), st.floats(-3, 3), st.integers(1, 3))
def test_a_gram_matrix_of_a_scaled_or_repeated_picture(
    features: Tensor, factor: float, times: int
) -> None:
    features = features.double()
    gram = losses.gram_matrix(features)
    torch.testing.assert_close(losses.gram_matrix(factor * features), factor**2 * gram)
    tiled = features.repeat(1, 1, times, 1)
    torch.testing.assert_close(losses.gram_matrix(tiled), gram)
    plain = losses.gram_matrix(features, normalise=False)
    torch.testing.assert_close(plain, gram * features[0, 0].numel())


@given(maps(channels=(1, 3), sides=(1, 3), kinds=("noise", "flat", "zero")))
def test_the_gram_matrix_s_own_derivative_is_right(features: Tensor) -> None:
    features = features.double().requires_grad_(True)
    assert torch.autograd.gradcheck(losses.gram_matrix, (features,))


@given(bad_shapes(), st.sampled_from((True, False)))
def test_a_gram_matrix_of_no_maps_is_refused(shape: tuple[int, ...], normalise: bool) -> None:
    assert isinstance(refused(losses.gram_matrix, torch.zeros(shape), normalise), ShapeError)


# --- Smoothness -----------------------------------------------------------------------------------


@given(st.sampled_from(sorted(PRIORS)), pictures(sides=(2, 9)), st.floats(-2, 2))
def test_a_prior_is_not_negative_and_blind_to_brightness(
    name: str, images: Tensor, lighter: float
) -> None:
    prior, images = PRIORS[name], images.double()
    value = prior(images)
    assert value >= 0
    torch.testing.assert_close(prior(images + lighter), value)
    torch.testing.assert_close(prior(images.repeat(2, 1, 1, 1)), value)
    flat = prior(images[..., :1, :1].expand_as(images))
    assert flat <= value + 1e-12 and flat < 1e-4 * images[0].numel() + 1e-12


@given(pictures(sides=(1, 9)), st.floats(-4, 4))
def test_total_variation_is_quadratic_and_the_same_in_a_mirror(
    images: Tensor, factor: float
) -> None:
    images = images.double()
    value = losses.total_variation(images)
    torch.testing.assert_close(losses.total_variation(factor * images), factor**2 * value)
    for turned in (images.flip(-1), images.flip(-2), images.mT):
        torch.testing.assert_close(losses.total_variation(turned), value)


@given(pictures(sides=(2, 9)), st.floats(1, 2))
def test_gradients_of_priors_are_finite(images: Tensor, beta: float) -> None:
    for prior in (losses.total_variation, lambda x: losses.isotropic_total_variation(x, beta)):
        pixels = images.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(prior(pixels), pixels)
        assert bool(torch.isfinite(gradient).all())
        # What is added to a pixel is taken from its neighbours: blind to brightness.
        assert float(gradient.double().sum().abs()) < 1e-3 * (1 + float(gradient.abs().sum()))


@given(st.sampled_from(sorted(PRIORS)), bad_shapes())
def test_priors_refuse_what_is_no_picture(name: str, shape: tuple[int, ...]) -> None:
    assert isinstance(refused(PRIORS[name], torch.zeros(shape)), ShapeError)


@given(st.sampled_from(sorted(PRIORS)), st.sampled_from(NO_FLOATS))
def test_priors_refuse_whole_numbers(name: str, kind: torch.dtype) -> None:
    assert isinstance(refused(PRIORS[name], torch.ones(1, 3, 4, 4).to(kind)), ShapeError)


# --- Statistics -----------------------------------------------------------------------------------


@given(maps(dtypes=(torch.float32, torch.float64)), st.floats(-3, 3), st.floats(-5, 5))
def test_mean_and_deviation_follow_what_is_done_to_the_maps(
    features: Tensor, factor: float, offset: float
) -> None:
    mean, std = losses.channel_statistics(features.double())
    assert mean.shape == std.shape == (*features.shape[:2], 1, 1)
    assert std.min() >= 0
    moved_mean, moved_std = losses.channel_statistics(factor * features.double() + offset)
    torch.testing.assert_close(moved_mean, factor * mean + offset, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moved_std, abs(factor) * std, rtol=1e-4, atol=1e-4)


@given(bad_shapes(), st.sampled_from(NO_FLOATS))
def test_statistics_of_nothing_are_refused(shape: tuple[int, ...], kind: torch.dtype) -> None:
    assert isinstance(refused(losses.channel_statistics, torch.zeros(shape)), ShapeError)
    whole = torch.ones(1, 2, 3, 3).to(kind)
    assert isinstance(refused(losses.channel_statistics, whole), ShapeError)


# --- Topic 01 -------------------------------------------------------------------------------------


@given(twins(), st.floats(0.1, 10))
def test_the_relative_loss_is_0_for_twins_1_for_nothing_and_blind_to_scale(
    pair, factor: float
) -> None:
    features, target = (each.double() for each in pair)
    if not target.flatten(1).any(1).all():
        assert isinstance(refused(inversion.feature_loss, features, target), ShapeError)
        return
    assert inversion.feature_loss(target, target) == 0
    torch.testing.assert_close(
        inversion.feature_loss(torch.zeros_like(target), target), torch.ones(()).double()
    )
    value = inversion.feature_loss(features, target)
    torch.testing.assert_close(inversion.feature_loss(factor * features, factor * target), value)
    torch.testing.assert_close(inversion.relative_errors(features, target).mean(), value)


@given(bad_shapes() | bad_shapes(3))
def test_the_relative_loss_of_nothing_is_refused(shape: tuple[int, ...]) -> None:
    wrong = torch.ones(shape)
    if len(shape) != 4 or not wrong.numel():
        assert isinstance(refused(inversion.feature_loss, wrong, wrong), ShapeError)


@given(twins(), st.floats(0.1, 10), SHARES)
def test_unit_feature_distance_lies_in_0_to_4_and_sees_directions_alone(
    pair, factor: float, share: float
) -> None:
    first, second = pair
    distance = inversion.unit_feature_distance(first, second)
    assert distance.shape == (len(first),)
    assert distance.min() >= 0 and distance.max() <= 4 + 1e-5
    torch.testing.assert_close(
        inversion.unit_feature_distance(factor * first, second), distance, atol=1e-5, rtol=1e-4
    )
    assert inversion.unit_feature_distance(first, first).max() < 1e-6


@given(
    pictures(sides=(1, 12)),
    st.sampled_from(sorted(inversion.DISTORTIONS)),
    st.integers(0, 2),
    SEEDS,
)
def test_distortions_keep_size_and_range_and_follow_their_seed(
    images: Tensor, name: str, strength: int, seed: int
) -> None:
    distort, strengths = inversion.DISTORTIONS[name]
    found = distort(images, strengths[strength], seed)
    assert found.shape == images.shape
    assert found.min() >= 0 and found.max() <= 1
    assert torch.equal(distort(images, strengths[strength], seed), found)


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), SEEDS, st.floats(0, 5))
def test_the_start_of_an_inversion_is_a_picture(size, seed: int, amplitude: float) -> None:
    found = inversion.white_noise(size, seed=seed, amplitude=amplitude)
    assert found.shape == (1, 3, *size)
    assert found.min() >= 0 and found.max() <= 1
    assert torch.equal(inversion.white_noise(size, seed=seed, amplitude=amplitude), found)
    assert filled("flat", (1, 3, *size), 0, torch.float32).shape == found.shape
