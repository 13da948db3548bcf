"""Latent vectors and styles, for any number and length: topics 07 and 13."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from property_inputs import NO_NUMBERS, SEEDS, SHARES, random, refused
from torch import Tensor

from coursekit import dcgan_latent, stylegan2
from coursekit import stylegan2_styles as styles
from coursekit.core.errors import SettingError, ShapeError
from coursekit.stylegan2_networks import Sizes, mix

pytestmark = pytest.mark.properties


# --- Latent vectors -------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(2, 8), SEEDS, SHARES)
def test_slerp_keeps_ends_and_length(count: int, size: int, seed: int, share: float) -> None:
    start, end = random((count, size), seed), random((count, size), seed + 1)
    torch.testing.assert_close(dcgan_latent.slerp(start, end, 0.0), start, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dcgan_latent.slerp(start, end, 1.0), end, atol=1e-4, rtol=1e-4)
    unit, other = (each / each.norm(dim=1, keepdim=True) for each in (start, end))
    assume(bool(((unit * other).sum(1).abs() < 0.999).all()))
    length = dcgan_latent.slerp(unit, other, share).norm(dim=1)
    torch.testing.assert_close(length, torch.ones(count), atol=1e-3, rtol=0)


@given(
    st.sampled_from(("zero", "twins", "opposite", "far")),
    st.integers(1, 8),
    SEEDS,
    SHARES,
    st.sampled_from((torch.float32, torch.float64)),
)
def test_slerp_never_makes_up_numbers(kind: str, size: int, seed, share: float, dtype) -> None:
    start = random((1, size), seed, dtype)
    end = {"zero": 0 * start, "twins": start, "opposite": -start, "far": 1e6 * start}[kind]
    for first, second in ((start, end), (end, start)):
        assert bool(torch.isfinite(dcgan_latent.slerp(first, second, share)).all())
    if kind == "twins":
        torch.testing.assert_close(dcgan_latent.slerp(start, end, share), start, atol=1e-3, rtol=0)


@given(st.integers(0, 4), st.integers(-1, 5), st.integers(1, 4), st.booleans(), SEEDS)
def test_a_walk_passes_through_its_points(count: int, steps: int, size: int, closed, seed) -> None:
    points = random((count, size), seed)
    if count < 2 or steps < 1:
        refused(styles.walk, points, steps, closed=closed)
        refused(dcgan_latent.walk, points, steps)
        return
    path = styles.walk(points, steps, closed=closed)
    assert len(path) == (count if closed else count - 1) * steps + (not closed)
    torch.testing.assert_close(path[::steps][:count], points)
    round_path = dcgan_latent.walk(points, steps)
    assert len(round_path) == (count - 1) * steps + 1
    torch.testing.assert_close(round_path[::steps], points, atol=1e-3, rtol=1e-3)


@given(st.integers(1, 5), st.integers(1, 6), SEEDS)
def test_arithmetic_cancels(count: int, size: int, seed: int) -> None:
    plus, minus = random((count, size), seed), random((count + 1, size), seed + 1)
    found = dcgan_latent.arithmetic(plus, minus, minus)
    torch.testing.assert_close(found, plus.mean(0), atol=1e-5, rtol=1e-4)
    turn = dcgan_latent.pose_vector(plus, minus)
    torch.testing.assert_close(turn, -dcgan_latent.pose_vector(minus, plus))
    control = dcgan_latent.random_like(turn, seed=seed)
    torch.testing.assert_close(control.norm(), turn.norm())


# --- Topic 13: styles -----------------------------------------------------------------------------


@st.composite
def latents(draw, dimensions: int | None = None) -> Tensor:
    dimensions = draw(st.sampled_from((2, 3))) if dimensions is None else dimensions
    shape = [draw(st.integers(1, 4)) for _ in range(dimensions)]
    return random(shape, draw(SEEDS))


@given(latents(), SEEDS, st.floats(-1, 1.5), st.integers(0, 5))
def test_truncation_goes_straight_to_the_mean(w: Tensor, seed: int, psi: float, layers) -> None:
    mean = random(w.shape[-1:], seed)
    torch.testing.assert_close(styles.truncate(w, mean, 1.0), w, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(styles.truncate(w, mean, 0.0), mean.expand_as(w))
    found = styles.truncate(w, mean, psi)
    torch.testing.assert_close((found - mean).norm(), abs(psi) * (w - mean).norm())
    if w.dim() == 2:
        assert isinstance(refused(styles.truncate, w, mean, psi, layers), SettingError)
        return
    part = styles.truncate(w, mean, psi, layers)
    assert torch.equal(part[:, :layers], found[:, :layers])
    assert torch.equal(part[:, layers:], w[:, layers:])


@given(latents(), st.sampled_from(NO_NUMBERS), st.integers(-4, -1))
def test_truncation_by_no_number_is_refused(w: Tensor, psi: float, layers: int) -> None:
    mean = torch.zeros(w.shape[-1])
    assert isinstance(refused(styles.truncate, w, mean, psi), SettingError)
    assert isinstance(refused(styles.truncate, w, mean, 0.5, layers), SettingError)


@given(latents(3), SEEDS, st.integers(-2, 6), st.integers(0, 4), st.integers(0, 4))
def test_mixed_styles_take_every_layer_from_one_of_two(
    first: Tensor, seed: int, crossover: int, begin: int, end: int
) -> None:
    second, count = random(first.shape, seed), first.shape[1]
    if not 0 <= crossover <= count:
        assert isinstance(refused(mix, first, second, crossover), SettingError)
    else:
        found = mix(first, second, crossover)
        assert torch.equal(found[:, :crossover], first[:, :crossover])
        assert torch.equal(found[:, crossover:], second[:, crossover:])
        assert torch.equal(styles.replace_layers(first, second, slice(crossover, None)), found)
    replaced = styles.replace_layers(first, second[:1], slice(begin, end))
    chosen = range(count)[begin:end]
    for layer in range(count):
        source = second[:1].expand_as(first) if layer in chosen else first
        assert torch.equal(replaced[:, layer], source[:, layer])
    assert isinstance(refused(styles.replace_layers, first, second[0], slice(0)), ShapeError)


@given(st.sampled_from((8, 16, 32, 64, 256, 1024)), st.integers(2, 4096), st.integers(2, 4096))
def test_the_groups_of_styles_are_all_styles_once(size: int, coarse: int, middle: int) -> None:
    assume(coarse <= middle)
    groups = styles.style_groups(Sizes(size), (coarse, middle))
    count = 2 * len(Sizes(size).resolutions)
    assert [each for part in groups.values() for each in range(count)[part]] == list(range(count))
    assert tuple(groups) == styles.GROUPS


@given(latents(), SEEDS, st.floats(-3, 3), st.integers(0, 4))
def test_an_edit_is_undone_by_its_opposite(w: Tensor, seed: int, amount: float, layers) -> None:
    along, before = random(w.shape[-1:], seed), w.clone()
    there = styles.edit(w, along, amount, slice(layers))
    assert torch.equal(w, before)
    back = styles.edit(there, along, -amount, slice(layers))
    torch.testing.assert_close(back, w, atol=1e-4, rtol=1e-4)
    if w.dim() == 3:
        assert torch.equal(there[:, layers:], w[:, layers:])


@given(st.integers(3, 12), st.integers(1, 4), SEEDS, st.floats(0.1, 50), st.floats(-10, 10))
def test_a_direction_does_not_depend_on_the_factor_s_unit(
    count: int, size: int, seed: int, unit: float, zero: float
) -> None:
    w, values = random((count, size), seed), random((count,), seed + 1)
    found = styles.direction(w, values)
    assert found.shape == (size,) and bool(torch.isfinite(found).all())
    torch.testing.assert_close(
        styles.direction(w, unit * values + zero), found, atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(styles.direction(w, -values), -found, atol=1e-4, rtol=1e-4)


@given(st.integers(0, 4), st.integers(1, 3), st.floats(-5, 5), st.booleans(), SEEDS)
def test_a_direction_of_nothing_is_refused(
    count: int, size, value: float, flat: bool, seed
) -> None:
    w = torch.full((count, size), value) if flat else random((count, size), seed)
    values = random((count,), seed) if flat else torch.full((count,), value)
    refused(styles.direction, w, values)
    refused(styles.direction, w, torch.zeros(count + 1))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), SEEDS, st.floats(0.1, 5))
def test_path_lengths_of_a_linear_generator_are_those_of_its_matrix(
    count: int, layers: int, size: int, seed: int, factor: float
) -> None:
    w = random((count, layers, size), seed, torch.float64).requires_grad_(True)
    matrix = random((size, 4), seed + 1, torch.float64)
    noise = random((count, 1, 2, 2), seed + 2, torch.float64)
    images = (w.sum(1) @ matrix).view(count, 1, 2, 2)
    found = stylegan2.path_lengths(images, w, noise)
    expected = (noise.flatten(1) / 2 @ matrix.T).norm(dim=1)
    torch.testing.assert_close(found.detach(), expected)
    louder = stylegan2.path_lengths(factor * (w.sum(1) @ matrix).view_as(noise), w, noise)
    torch.testing.assert_close(louder.detach(), factor * expected)
