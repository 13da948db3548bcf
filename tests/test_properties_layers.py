"""Layers and filters for any size and batch: ProGAN's, StyleGAN2's, SPADE's; and schedules."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from property_inputs import (
    FLOATS,
    NO_NUMBERS,
    SEEDS,
    SHARES,
    bad_shapes,
    maps,
    random,
    refused,
    shapes,
)
from torch import Tensor
from torch.nn import functional as F

from coursekit import progan_distance, stylegan2, stylegan2_layers
from coursekit.core.errors import SettingError, ShapeError
from coursekit.progan import real_at
from coursekit.progan_layers import (
    EqualisedConv2d,
    EqualisedLinear,
    equalised_scale,
    minibatch_stddev,
    pixel_norm,
)
from coursekit.progan_networks import Stage, Widths, fade
from coursekit.progan_schedule import Level, Schedule
from coursekit.spade_networks import SPADE, normalise
from coursekit.stylegan2_adain import dominance
from coursekit.stylegan2_networks import Sizes

pytestmark = pytest.mark.properties

FILTERS = st.lists(st.floats(0.1, 4), min_size=1, max_size=6)
EVEN_FILTERS = FILTERS.filter(lambda taps: len(taps) % 2 == 0)


# --- ProGAN ---------------------------------------------------------------------------------------


@given(maps(dtypes=FLOATS[:2]), st.floats(0.1, 10))
def test_pixel_norm_gives_every_pixel_a_mean_square_of_1(x: Tensor, factor: float) -> None:
    found = pixel_norm(x, epsilon=1e-12)
    assert found.shape == x.shape and found.dtype == x.dtype
    size, before = found.square().mean(dim=1), x.square().mean(dim=1)
    loud = before > 1e-8
    torch.testing.assert_close(size[loud], torch.ones_like(size[loud]), atol=1e-3, rtol=0)
    assert bool((size <= 1 + 1e-5).all())
    torch.testing.assert_close(
        pixel_norm(factor * x, 1e-12)[loud[:, None].expand_as(x)],
        found[loud[:, None].expand_as(x)],
        atol=1e-3,
        rtol=1e-3,
    )
    flat = x.flatten(1)
    assert pixel_norm(flat).shape == flat.shape


@given(st.integers(0, 9), st.integers(-1, 9), st.integers(1, 4), SEEDS)
def test_the_deviation_of_a_batch_is_one_number_a_group(
    count: int, group: int, side: int, seed: int
) -> None:
    x = random((count, 2, side, side), seed)
    size = min(group, count)
    if size < 1 or count % size:
        assert isinstance(refused(minibatch_stddev, x, group), ShapeError)
        return
    found = minibatch_stddev(x, group)
    assert found.shape == (count, 3, side, side)
    assert torch.equal(found[:, :2], x)
    number = found[:, 2]
    assert torch.equal(number, number[:, :1, :1].expand_as(number))
    groups = count // size
    for member in range(count):
        mates = x[member % groups :: groups]
        expected = (mates.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(number[member, 0, 0], expected)
    alike = minibatch_stddev(x[:1].repeat(4, 1, 1, 1))[:, 2]
    torch.testing.assert_close(alike, torch.full_like(alike, 1e-4))


@given(bad_shapes())
def test_the_deviation_of_no_maps_is_refused(shape: tuple[int, ...]) -> None:
    assert isinstance(refused(minibatch_stddev, torch.zeros(shape)), ShapeError)


@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.1, 3), st.floats(0.01, 10), SEEDS)
def test_the_multiplier_of_a_linear_layer_does_not_change_what_it_gives(
    before: int, after: int, gain: float, multiplier: float, seed: int
) -> None:
    torch.manual_seed(seed)
    plain = EqualisedLinear(before, after, gain=gain)
    torch.manual_seed(seed)
    slowed = EqualisedLinear(before, after, gain=gain, multiplier=multiplier)
    x = random((3, before), seed)
    torch.testing.assert_close(slowed(x), plain(x), rtol=1e-4, atol=1e-5)
    assert plain.scale == pytest.approx(gain / math.sqrt(before))


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from((1, 3, 5)), maps(channels=(1, 4)))
def test_an_equalised_convolution_keeps_the_size(
    before: int, after: int, kernel: int, x: Tensor
) -> None:
    assume(x.shape[1] == before)
    layer = EqualisedConv2d(before, after, kernel)
    found = layer(x)
    assert found.shape == (len(x), after, *x.shape[2:])
    scale = equalised_scale(before * kernel**2)
    expected = F.conv2d(x, layer.weight * scale, padding=kernel // 2)
    torch.testing.assert_close(found, expected)


@given(st.integers(-3, 0), st.integers(1, 5), st.sampled_from((0, 2, 4)))
def test_layers_without_inputs_or_a_middle_are_refused(before: int, after: int, kernel) -> None:
    assert isinstance(refused(equalised_scale, before), SettingError)
    assert isinstance(refused(EqualisedLinear, 0, after), SettingError)
    assert isinstance(refused(EqualisedLinear, after, after, multiplier=0.0), SettingError)
    assert isinstance(refused(EqualisedConv2d, after, after, kernel), SettingError)


@given(maps(), SEEDS, SHARES)
def test_fading_stays_between_old_and_new(old: Tensor, seed: int, alpha: float) -> None:
    new = random(old.shape, seed)
    found = fade(old, new, alpha)
    slack = 1e-5 * (1 + float(old.abs().max()))
    assert bool((found >= torch.minimum(old, new) - slack).all())
    assert bool((found <= torch.maximum(old, new) + slack).all())
    assert torch.equal(fade(old, new, 0.0), old)
    torch.testing.assert_close(fade(old, new, 1.0), new)
    assert isinstance(refused(fade, old, new[None], alpha), ShapeError)


@given(st.integers(1, 3), st.sampled_from((1, 2, 4, 8)), st.integers(1, 12), SHARES, SEEDS)
def test_real_images_keep_their_mean_at_every_stage(
    count: int, times: int, resolution: int, alpha: float, seed: int
) -> None:
    images = random((count, 3, times * resolution, times * resolution), seed)
    if resolution % 2 and alpha < 1:
        assert isinstance(refused(real_at, images, Stage(resolution, alpha)), ShapeError)
        return
    found = real_at(images, Stage(resolution, alpha))
    assert found.shape == (count, 3, resolution, resolution)
    torch.testing.assert_close(found.mean((2, 3)), images.mean((2, 3)), atol=1e-4, rtol=1e-4)


@given(shapes(sides=(1, 7)), st.integers(0, 8))
def test_images_that_cannot_be_averaged_evenly_are_refused(shape, resolution: int) -> None:
    images, even = torch.zeros(shape), shape[2] == shape[3]
    if resolution and even and shape[2] % resolution == 0:
        assert real_at(images, Stage(resolution)).shape[2:] == (resolution, resolution)
    else:
        assert isinstance(refused(real_at, images, Stage(resolution)), ShapeError)


# --- How ProGAN grows -----------------------------------------------------------------------------


@st.composite
def schedules(draw) -> Schedule:
    first, count = draw(st.sampled_from((4, 8))), draw(st.integers(1, 4))
    levels = []
    for number in range(count):
        images = st.integers(0 if number else 1, 60)
        fade_in = draw(st.integers(1, 60)) if number and draw(st.booleans()) else 0
        stable = draw(images.filter(lambda n, f=fade_in: n + f > 0))
        levels.append(Level(first * 2**number, draw(st.integers(1, 9)), fade_in, stable))
    return Schedule(tuple(levels))


@given(schedules())
def test_a_schedule_goes_up_and_alpha_with_it(schedule: Schedule) -> None:
    places = [schedule.at(number) for number in range(1, schedule.steps + 3)]
    stages = [place.stage for place in places]
    assert [s.resolution for s in stages] == sorted(s.resolution for s in stages)
    assert all(0 <= s.alpha <= 1 for s in stages)
    for before, after in itertools.pairwise(stages):
        assert after.resolution > before.resolution or after.alpha >= before.alpha
    for level in schedule.levels:
        mine = [place for place in places[: schedule.steps] if place.level == level]
        assert len(mine) == level.steps
        assert mine[0].seen == 0 and mine[0].stage.alpha == (0 if level.fade else 1)
    assert stages[-1].alpha == 1 or schedule.levels[-1].stable == 0


@given(schedules(), st.floats(0.01, 5))
def test_other_schedules_of_the_same_images(schedule: Schedule, share: float) -> None:
    assert schedule.without_fade_in().steps == schedule.steps
    assert schedule.without_fade_in().images == schedule.images
    assert not any(level.fade for level in schedule.without_fade_in().levels)
    at_once, batch = schedule.at_once(), schedule.levels[-1].batch
    assert schedule.images <= at_once.images < schedule.images + batch
    scaled = schedule.scaled(share)
    for old, new in zip(schedule.levels, scaled.levels, strict=True):
        assert (old.resolution, old.batch) == (new.resolution, new.batch)
        for before, after in ((old.fade, new.fade), (old.stable, new.stable)):
            assert (before > 0) == (after > 0) and after % new.batch == 0
            assert abs(after - before * share) <= new.batch


@given(schedules(), st.integers(0, 3), st.integers(0, 3), st.integers(-2, 9))
def test_a_schedule_is_sound_or_refused(schedule: Schedule, row: int, column: int, value) -> None:
    levels = [list(level) for level in schedule.levels]
    levels[row % len(levels)][column] = value
    sizes = [level[0] for level in levels]
    sound = sizes[0] >= 1 and levels[0][2] == 0
    sound = sound and all(b == 2 * a for a, b in itertools.pairwise(sizes))
    for _, batch, fade_in, stable in levels:
        sound = sound and batch >= 1 and min(fade_in, stable) >= 0 and fade_in + stable >= 1
    if sound:
        assert Schedule(tuple(levels)).steps >= len(levels)
    else:
        assert isinstance(refused(Schedule, tuple(levels)), SettingError)
    assert isinstance(refused(Schedule, ()), SettingError)


@given(schedules(), st.sampled_from((*NO_NUMBERS, 0.0, -1.0)), st.integers(-5, 0))
def test_places_and_shares_that_do_not_exist_are_refused(schedule, share, number: int) -> None:
    assert isinstance(refused(schedule.scaled, share), SettingError)
    assert isinstance(refused(schedule.at, number), SettingError)


@given(st.integers(-4, 130) | st.floats(), st.integers(0, 300), st.integers(0, 9))
def test_widths_are_sound_or_refused(size: float, base: int, most: int) -> None:
    power = size >= 4 and math.isfinite(size) and math.log2(size) % 1 == 0
    for kind, least, factor in ((Widths, 4, 2), (Sizes, 8, 1)):
        if power and size >= least and min(factor * base // size, most) >= 1:
            found = kind(size, base, most)
            assert found.resolutions[0] == 4 and found.resolutions[-1] == size
        else:
            assert isinstance(refused(kind, size, base, most), SettingError)


# --- StyleGAN2: filters ---------------------------------------------------------------------------


@given(FILTERS)
def test_a_filter_sums_to_1_and_is_separable(taps: list[float]) -> None:
    kernel = stylegan2_layers.filter_2d(taps)
    assert kernel.shape == (len(taps), len(taps))
    torch.testing.assert_close(kernel.sum(), torch.ones(()))
    torch.testing.assert_close(kernel, torch.outer(kernel.sum(1), kernel.sum(0)))


@given(st.lists(st.sampled_from((*NO_NUMBERS, 0.0, 1.0, -1.0)), max_size=4))
def test_taps_that_are_no_filter_are_refused(taps: list[float]) -> None:
    if math.isfinite(sum(taps)) and sum(taps) != 0:
        assert bool(torch.isfinite(stylegan2_layers.filter_2d(taps)).all())
    else:
        assert isinstance(refused(stylegan2_layers.filter_2d, taps), SettingError)


@given(maps(sides=(2, 9)), EVEN_FILTERS)
def test_the_fast_ways_equal_upfirdn(x: Tensor, taps: list[float]) -> None:
    x, kernel = x.double(), stylegan2_layers.filter_2d(taps).double()
    size = len(taps)
    wide = stylegan2_layers.upsample(x, kernel)
    assert wide.shape == (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    before = size // 2
    expected = stylegan2_layers.upfirdn(
        x, kernel, up=2, padding=(before, size - 1 - before), gain=4.0
    )
    torch.testing.assert_close(wide, expected)
    if x.shape[2] % 2 or x.shape[3] % 2:
        assert isinstance(refused(stylegan2_layers.downsample, x, kernel), ShapeError)
        return
    small = stylegan2_layers.downsample(x, kernel)
    assert small.shape == (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)
    before = (size - 2) // 2
    expected = stylegan2_layers.upfirdn(x, kernel, down=2, padding=(before, before))
    torch.testing.assert_close(small, expected)


@given(maps(sides=(1, 6)), FILTERS, st.integers(1, 3), st.integers(1, 3), st.integers(0, 4))
def test_upfirdn_is_what_its_words_say(
    x: Tensor, taps: list[float], up: int, down: int, padding: int
) -> None:
    x, kernel = x.double(), stylegan2_layers.filter_2d(taps).double()
    count, channels, height, width = x.shape
    wide = torch.zeros(
        count, channels, height * up + 2 * padding, width * up + 2 * padding
    ).double()
    wide[:, :, padding : padding + height * up : up, padding : padding + width * up : up] = x
    settings = {"up": up, "down": down, "padding": (padding, padding)}
    if min(wide.shape[2:]) < len(taps):
        assert isinstance(refused(stylegan2_layers.upfirdn, x, kernel, **settings), ShapeError)
        return
    found = stylegan2_layers.upfirdn(x, kernel, **settings)
    weight = kernel.flip(0, 1).expand(channels, 1, -1, -1)
    expected = F.conv2d(wide, weight, groups=channels)[:, :, ::down, ::down]
    torch.testing.assert_close(found, expected)


@given(maps(batch=(1, 1), channels=(1, 2), sides=(2, 3), kinds=("noise", "flat")), EVEN_FILTERS)
def test_a_filter_is_differentiable_twice(x: Tensor, taps: list[float]) -> None:
    kernel = stylegan2_layers.filter_2d(taps).double()
    x = x.double().requires_grad_(True)
    assert torch.autograd.gradgradcheck(
        lambda y: stylegan2_layers.upsample(y, kernel).square(), x, fast_mode=True
    )


@given(bad_shapes(), FILTERS, st.integers(-1, 0))
def test_filters_refuse_what_they_are_not_defined_for(shape, taps: list[float], up: int) -> None:
    kernel, wrong = stylegan2_layers.filter_2d(taps), torch.ones(shape)
    for call in (stylegan2_layers.upsample, stylegan2_layers.downsample):
        assert isinstance(refused(call, wrong, kernel), ShapeError)
        if len(taps) % 2:
            assert isinstance(refused(call, torch.ones(1, 2, 4, 4), kernel), ShapeError)
    assert isinstance(refused(stylegan2_layers.blur, wrong, kernel, 1), ShapeError)
    assert isinstance(refused(stylegan2_layers.upfirdn, wrong, kernel), ShapeError)
    good = torch.ones(1, 2, 4, 4)
    assert isinstance(refused(stylegan2_layers.upfirdn, good, kernel, up=up), SettingError)
    assert isinstance(refused(stylegan2_layers.upfirdn, good, kernel, down=up), SettingError)


# --- StyleGAN2: modulation ------------------------------------------------------------------------


@given(
    maps(sides=(2, 6)),
    st.integers(1, 4),
    st.sampled_from((1, 3, 5)),
    st.booleans(),
    st.booleans(),
    SEEDS,
)
def test_the_two_formulations_of_modulation_are_one(
    x: Tensor, outputs: int, side: int, demodulate: bool, doubling: bool, seed: int
) -> None:
    x = x.double()
    weight = random((outputs, x.shape[1], side, side), seed, torch.float64)
    style = random(x.shape[:2], seed + 1, torch.float64)
    kernel = stylegan2_layers.filter_2d().double() if doubling else None
    found = [
        stylegan2_layers.modulated_conv2d(
            x, weight, style, demodulate=demodulate, kernel=kernel, way=way
        )
        for way in stylegan2_layers.WAYS
    ]
    times = 2 if doubling else 1
    assert found[0].shape == (len(x), outputs, times * x.shape[2], times * x.shape[3])
    # The factors of demodulation are computed in float32.
    scale = float(found[0].abs().max()) + 1e-6
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5 * scale, rtol=0)
    if demodulate:
        louder = stylegan2_layers.modulated_conv2d(x, weight, 7 * style, kernel=kernel)
        torch.testing.assert_close(louder, found[0], atol=1e-3 * scale, rtol=0)


@given(shapes(batch=(0, 3), sides=(1, 4)), st.integers(1, 5), st.integers(0, 5), SEEDS)
def test_modulation_refuses_shapes_that_do_not_fit(shape, inputs: int, side: int, seed) -> None:
    x, weight = torch.ones(shape), torch.ones(2, inputs, side, side)
    style = random((shape[0], inputs), seed)
    call = stylegan2_layers.modulated_conv2d
    if inputs == shape[1] and side % 2 and shape[0]:
        assert bool(torch.isfinite(call(x, weight, style)).all())
        assert isinstance(refused(call, x, weight, style[:, :-1]), ShapeError)
        assert isinstance(refused(call, x, weight, style, way="fused"), SettingError)
    else:
        assert isinstance(refused(call, x, weight, style), ShapeError)


@given(maps(sides=(2, 7), kinds=("noise", "large", "shifted", "flat")), SEEDS, st.floats(0.5, 20))
def test_adain_sets_mean_and_deviation_of_every_map(x: Tensor, seed: int, factor: float) -> None:
    x = x.double()
    scale, bias = (random(x.shape[:2], seed + i, torch.float64) for i in range(2))
    found = stylegan2_layers.adain(x, scale, bias)
    torch.testing.assert_close(found.mean((2, 3)), bias, atol=1e-6, rtol=1e-6)
    lively = x.std(dim=(2, 3), correction=0) > 1e-2
    torch.testing.assert_close(
        found.std(dim=(2, 3), correction=0)[lively], scale.abs()[lively], atol=1e-3, rtol=1e-3
    )
    again = stylegan2_layers.adain(factor * x + 3, scale, bias)
    torch.testing.assert_close(again, found, atol=2e-3, rtol=1e-3)


@given(maps(sides=(1, 7)), st.sampled_from((1, 3, 5)), st.floats(0.5, 20), st.floats(-3, 3))
def test_dominance_is_a_share_that_adain_does_not_change(
    x: Tensor, window: int, factor: float, lighter: float
) -> None:
    if min(x.shape[2:]) < window:
        assert isinstance(refused(dominance, x, window), ShapeError)
        return
    found = dominance(x, window)
    assert found.shape == x.shape[:2]
    assert found.min() >= 0 and found.max() <= 1 + 1e-4
    lively = x.std(dim=(2, 3), correction=0) > 0.1 * (1 + x.abs().amax(dim=(2, 3)) / 100)
    again = dominance(factor * x + lighter, window)
    torch.testing.assert_close(again[lively], found[lively], atol=1e-3, rtol=1e-3)


@given(st.floats(1e-5, 1), st.tuples(SHARES, SHARES), st.integers(-3, 20))
def test_lazy_steps_keep_the_speed(rate: float, betas: tuple[float, float], every: int) -> None:
    if every < 0:
        assert isinstance(refused(stylegan2.lazy, rate, betas, every), SettingError)
        return
    found, slower = stylegan2.lazy(rate, betas, every)
    steps = (every + 1) / every if every else 1  # so many more steps in the same time
    assert found * steps == pytest.approx(rate)
    for beta, new in zip(betas, slower, strict=True):
        assert 0 <= new <= 1 and new**steps == pytest.approx(beta, abs=1e-9)


# --- SPADE and the pyramid ------------------------------------------------------------------------


@given(
    maps(sides=(1, 6)),
    st.sampled_from(((0, 2, 3), (2, 3))),
)
def test_normalised_maps_have_mean_0_and_deviation_1_at_most(x: Tensor, over) -> None:
    found = normalise(x.double(), over=over)
    mean, deviation = found.mean(over), found.std(over, correction=0)
    assert float(mean.abs().max()) < 1e-6
    assert float(deviation.max()) <= 1 + 1e-6
    flat = x.double().std(over, correction=0) < 1e-6
    assert bool((deviation[flat] < 1e-3).all())


@given(
    maps(batch=(2, 3), channels=(1, 3), sides=(1, 6), kinds=("noise", "flat")),
    st.integers(1, 4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(("batch", "instance")),
    SEEDS,
)
def test_spade_takes_label_maps_of_any_size(x: Tensor, labels: int, size, norm: str, seed) -> None:
    assume(x.shape[2] * x.shape[3] > 1 or norm == "batch")
    torch.manual_seed(seed)
    layer = SPADE(x.shape[1], labels, hidden=2, norm=norm)
    planes = F.one_hot(torch.randint(labels, (len(x), *size)), labels).movedim(-1, 1).float()
    found = layer(x, planes)
    assert found.shape == x.shape and bool(torch.isfinite(found).all())
    for parameter in layer.gamma_beta.parameters():
        torch.nn.init.zeros_(parameter)
    over = (0, 2, 3) if norm == "batch" else (2, 3)
    torch.testing.assert_close(layer(x, planes), normalise(x, over=over), atol=1e-4, rtol=1e-4)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(4, 6), st.integers(4, 6), SEEDS)
def test_a_pyramid_adds_up_to_its_images(
    levels: int, count: int, high: int, wide: int, seed
) -> None:
    unit = 2 ** (levels - 1)
    images = random((count, 3, high * unit, wide * unit), seed, torch.float64)
    found = progan_distance.laplacian_pyramid(images, levels)
    assert len(found) == levels
    rebuilt = found[-1]
    for level in reversed(found[:-1]):
        rebuilt = level + progan_distance.double(rebuilt)
    torch.testing.assert_close(rebuilt, images)


@given(shapes(sides=(0, 9)), st.integers(-1, 4))
def test_a_pyramid_that_cannot_be_built_is_refused(shape, levels: int) -> None:
    unit = 2 ** max(levels - 1, 0)
    fits = levels >= 1 and all(side % unit == 0 and side >= 4 * unit for side in shape[2:])
    if fits:
        assert len(progan_distance.laplacian_pyramid(torch.zeros(shape), levels)) == levels
    else:
        refused(progan_distance.laplacian_pyramid, torch.zeros(shape), levels)
