"""Topics 02 to 05 on any maps and pictures: colours, weights, whitening, strengths and masks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from property_inputs import (
    NO_FLOATS,
    NO_NUMBERS,
    SEEDS,
    SHARES,
    bad_shapes,
    maps,
    pictures,
    random,
    refused,
    refused_or_finite,
    shapes,
)
from torch import Tensor

from coursekit import gatys, texture, wct, wct_roots
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.losses import channel_statistics
from coursekit.fast_style import Objective, flicker, paint, pan
from coursekit.fast_style_networks import TransformerNetwork, instance_norm

pytestmark = pytest.mark.properties

COLOURS = (
    (texture.rgb_to_yiq, texture.yiq_to_rgb),
    (texture.rgb_to_lalphabeta, texture.lalphabeta_to_rgb),
)
LIVELY = ("noise", "large", "small", "shifted")  # maps that vary in every direction
weights_of_two = st.lists(st.floats(0, 100), min_size=2, max_size=2).filter(lambda w: sum(w) > 1e-3)


# --- Topic 02: colours ----------------------------------------------------------------------------


@given(pictures())
def test_colour_spaces_there_and_back(images: Tensor) -> None:
    for there, back in COLOURS:
        assert bool(torch.isfinite(there(images)).all())
        found = back(there(images.double()))
        torch.testing.assert_close(found, images.double(), atol=2e-5, rtol=1e-4)


@given(pictures())
def test_grey_has_no_chroma(images: Tensor) -> None:
    grey = images[:, :1].expand(-1, 3, -1, -1).double()
    light, *chroma = texture.rgb_to_yiq(grey).unbind(1)
    torch.testing.assert_close(light, grey[:, 0])
    assert max(each.abs().max() for each in chroma) < 1e-7
    # The cones' responses to grey differ by a thousandth.
    _, *chroma = texture.rgb_to_lalphabeta(grey).unbind(1)
    assert max(each.abs().max() for each in chroma) < 0.01


@given(
    st.sampled_from([way for pair in COLOURS for way in pair]),
    bad_shapes() | shapes().filter(lambda shape: shape[1] != 3),
    st.sampled_from(NO_FLOATS),
)
def test_colour_spaces_refuse_what_is_no_picture(way, shape: tuple[int, ...], kind) -> None:
    if len(shape) != 4 or shape[1] != 3:
        assert isinstance(refused(way, torch.zeros(shape)), ShapeError)
    assert isinstance(refused(way, torch.ones(1, 3, 2, 2).to(kind)), ShapeError)


@given(maps(channels=(3, 3), sides=(2, 9), kinds=LIVELY), maps(channels=(3, 3), batch=(1, 1)))
def test_matched_channels_have_the_mean_and_deviation_of_the_reference(
    image: Tensor, reference: Tensor
) -> None:
    found = texture.match_channel_statistics(image.double(), reference.double())
    wanted = [
        each.expand(len(image), -1, -1, -1) for each in channel_statistics(reference.double())
    ]
    scale = float(reference.abs().max()) + 1
    for have, want in zip(channel_statistics(found), wanted, strict=True):
        torch.testing.assert_close(have, want, atol=1e-5 * scale, rtol=1e-5)


@given(
    maps(channels=(3, 3), sides=(4, 9), kinds=LIVELY),
    maps(channels=(3, 3), batch=(1, 1), sides=(4, 9), kinds=LIVELY),
)
def test_matched_covariance_is_that_of_the_reference(image: Tensor, reference: Tensor) -> None:
    found = texture.match_covariance(image.double(), reference.double())
    wanted = texture.colour_covariance(reference.double())
    scale = float(wanted.abs().max())
    torch.testing.assert_close(
        texture.colour_covariance(found), wanted.expand(len(image), -1, -1),
        atol=1e-4 * scale, rtol=1e-4,
    )  # fmt: skip


@given(pictures(), pictures(batch=(1, 1)), st.sampled_from(texture.SPACES))
def test_colour_transfer_gives_a_picture_for_any_two(
    image: Tensor, reference: Tensor, space: str
) -> None:
    found = texture.colour_transfer(image, reference, space)
    assert found.shape == image.shape
    assert found.min() >= 0 and found.max() <= 1


@given(pictures(batch=(1, 1)))
def test_a_picture_in_its_own_palette_is_itself(image: Tensor) -> None:
    for space in ("rgb", "covariance"):
        found = texture.colour_transfer(image, image, space)
        torch.testing.assert_close(found, image, atol=2e-3, rtol=0)


@given(
    st.sampled_from((texture.match_channel_statistics, texture.match_covariance, wct.wct)),
    shapes(batch=(0, 3), sides=(0, 3)),
    shapes(batch=(0, 3), sides=(0, 3)),
    st.sampled_from((*NO_NUMBERS, 0.5)),
)
def test_pairs_of_maps_are_matched_or_refused_never_nan(match, shape, other, value) -> None:
    first, second = torch.rand(shape), torch.rand(other)
    fits = shape[1] == other[1] and other[0] in (1, shape[0]) and 0 not in (*shape, *other)
    if fits and math.isfinite(value):
        found = match(first, second)
        assert found.shape == first.shape and bool(torch.isfinite(found).all())
    elif not fits:
        assert isinstance(refused(match, first, second), ShapeError)
    elif match is not texture.match_channel_statistics:
        first[0, 0, 0, 0] = value
        assert isinstance(refused(match, first, second), ShapeError)


@given(st.integers(1, 12), st.integers(1, 12), SEEDS, pictures(batch=(1, 1)))
def test_texture_noise_is_a_picture_of_the_size_asked_for(
    height: int, width: int, seed: int, original: Tensor
) -> None:
    found = texture.texture_noise(original, (height, width), seed)
    assert found.shape == (1, 3, height, width)
    assert found.min() >= 0 and found.max() <= 1
    assert torch.equal(texture.texture_noise(original, (height, width), seed), found)


# --- Topics 02 and 03: weights --------------------------------------------------------------------


def grams(seed: int, *sizes: int) -> dict[str, Tensor]:
    made = {f"layer{i}": random((1, n, n), seed + i) for i, n in enumerate(sizes)}
    return {name: each @ each.mT + 1e-3 for name, each in made.items()}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), SEEDS, st.floats(1e-3, 1e6))
def test_with_balanced_weights_no_layer_decides_alone(sizes, seed: int, total: float) -> None:
    targets = grams(seed, *sizes)
    weights = texture.balanced_weights(targets, total)
    empty = {name: float(t.square().sum()) / (4 * t.shape[1] ** 2) for name, t in targets.items()}
    assert sum(weights[name] * value for name, value in empty.items()) == pytest.approx(total, 1e-4)
    products = [weights[name] * value**0.5 for name, value in empty.items()]
    assert products == pytest.approx([products[0]] * len(products), rel=1e-4)


@given(SEEDS, weights_of_two, st.floats(0.01, 100))
def test_mixed_styles_do_not_depend_on_the_scale_of_their_weights(
    seed: int, weights: list[float], factor: float
) -> None:
    styles = [grams(seed, 3, 2), grams(seed + 7, 3, 2)]
    mixed = gatys.mix_grams(styles, weights)
    again = gatys.mix_grams(styles, [factor * each for each in weights])
    for name, found in mixed.items():
        torch.testing.assert_close(found, again[name], rtol=1e-4, atol=1e-5)
        first, second = styles[0][name], styles[1][name]
        assert bool((found <= torch.maximum(first, second) + 1e-4).all())
        assert bool((found >= torch.minimum(first, second) - 1e-4).all())
    alone = gatys.mix_grams(styles, [weights[0] + 1, 0])
    torch.testing.assert_close(alone["layer0"], styles[0]["layer0"])


ODD = st.sampled_from((*NO_NUMBERS, -1.0, 0.0, 1.0))
WRONG_WEIGHTS = (st.tuples(ODD, ODD) | st.lists(ODD, max_size=3)).filter(
    lambda w: len(w) != 2 or not min(w) >= 0 or not 0 < sum(w) < math.inf
)


@given(WRONG_WEIGHTS)
def test_weights_that_are_no_shares_are_refused(weights) -> None:
    styles = [grams(1, 3), grams(2, 3)]
    assert isinstance(refused(gatys.mix_grams, styles, weights), SettingError)
    parts = [torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)]
    assert isinstance(refused(wct.mix_styles, parts, weights), SettingError)


TERMS = ("content_weight", "style_weight", "smoothness_weight")


@given(st.sampled_from(TERMS), st.sampled_from((math.nan, -math.inf, -1e-3)), st.floats(0, 10))
def test_no_term_has_a_negative_weight_or_none(term: str, wrong: float, other: float) -> None:
    settings = dict.fromkeys(TERMS, other) | {term: wrong}
    picture = torch.full((1, 3, 8, 8), 0.5)
    assert isinstance(refused(gatys.transfer_loss, None, picture, {}, **settings), SettingError)
    assert isinstance(refused(Objective, picture, **settings), SettingError)


@given(
    maps(channels=(2, 2), kinds=("noise",)),
    st.fixed_dictionaries({"a": st.floats(0, 10), "b": st.floats(0, 10)}),
    st.dictionaries(st.sampled_from(("a", "b", "c")), st.sampled_from((-1.0, math.nan, 1.0))),
)
def test_the_texture_loss_is_the_weighted_sum_of_its_layers(
    features: Tensor, weights, wrong
) -> None:
    made = {"a": features, "b": 2 * features}
    targets = {name: torch.zeros(1, 2, 2) for name in made}
    each = {n: texture.texture_loss(made, {n: targets[n]}, {n: 1.0}) for n in made}
    whole = texture.texture_loss(made, targets, weights)
    torch.testing.assert_close(whole, sum(weights[n] * each[n] for n in made), rtol=1e-4, atol=1e-6)
    if wrong != {"a": 1.0, "b": 1.0}:
        assert isinstance(refused(texture.texture_loss, made, targets, wrong), SettingError)


@given(pictures(batch=(1, 1)), pictures(batch=(1, 1)))
def test_kept_colours_are_those_of_the_content(result: Tensor, content: Tensor) -> None:
    if result.shape != content.shape:
        refused(gatys.keep_colours, result, content)
    torch.testing.assert_close(gatys.keep_colours(content, content), content, atol=1e-5, rtol=0)
    grey = gatys.luminance(content)
    assert torch.equal(grey[:, 0], grey[:, 1])
    torch.testing.assert_close(gatys.keep_colours(grey, content), content, atol=1e-5, rtol=0)
    matched = gatys.match_luminance(gatys.luminance(result), grey)
    assert matched.min() >= 0 and matched.max() <= 1 and matched.shape == result.shape


# --- Topic 04 -------------------------------------------------------------------------------------


@given(maps(sides=(2, 9), kinds=LIVELY), st.floats(0.5, 50), st.floats(-20, 20))
def test_instance_norm_takes_brightness_and_contrast_out(
    features: Tensor, contrast: float, lighter: float
) -> None:
    features, channels = features.double(), features.shape[1]
    ones, zeros = torch.ones(channels).double(), torch.zeros(channels).double()
    found = instance_norm(features, ones, zeros, epsilon=1e-12)
    torch.testing.assert_close(
        instance_norm(contrast * features + lighter, ones, zeros, epsilon=1e-12),
        found,
        atol=1e-4,
        rtol=1e-4,
    )
    torch.testing.assert_close(instance_norm(features, ones, zeros + 3, 1e-12), found + 3)
    alone = instance_norm(features[:1], ones, zeros, epsilon=1e-12)
    torch.testing.assert_close(alone, found[:1])


@given(pictures(sides=(1, 21)), st.sampled_from(("instance", "batch", "none")))
def test_a_painting_has_the_size_of_its_photograph(images: Tensor, norm: str) -> None:
    torch.manual_seed(0)
    network = TransformerNetwork(width=1, blocks=1, norm=norm)
    if min(images.shape[2:]) < 5:
        refused(paint, network, images)
        return
    found = paint(network, images)
    assert found.shape == images.shape and network.training
    assert found.min() >= 0 and found.max() <= 1


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(-1, 4), st.integers(-1, 4)),
    st.integers(0, 4),
    st.integers(2, 4),
    st.integers(0, 3),
    SEEDS,
)
def test_a_pan_never_flickers(size, more, shift: int, frames: int, border: int, seed: int) -> None:
    width = size[1] + (frames - 1) * shift + more[1]
    photograph = random((1, 3, size[0] + more[0], width), seed)
    if min(more) < 0:
        assert isinstance(refused(pan, photograph, size, shift, frames), SettingError)
        return
    windows = pan(photograph, size, shift, frames)
    assert windows.shape == (frames, 3, *size)
    assert isinstance(refused(pan, photograph, size, -1, frames), SettingError)
    assert isinstance(refused(pan, photograph, size, shift, 1), SettingError)
    if size[0] <= 2 * border or size[1] <= shift + 2 * border:
        assert isinstance(refused(flicker, windows, shift, border), SettingError)
        return
    still = flicker(windows, shift, border)
    assert still.shape == (size[0] - 2 * border, size[1] - shift - 2 * border)
    assert float(still.max()) == 0


# --- Topic 05: strengths --------------------------------------------------------------------------


@given(
    maps(channels=(3, 3)),
    maps(batch=(1, 1), channels=(3, 3)),
    st.sampled_from(wct_roots.METHODS),
)
def test_strength_0_gives_the_content(content: Tensor, style: Tensor, method: str) -> None:
    found = wct.wct(content, style, 0.0, method=method)
    assert torch.equal(found, content)
    assert torch.equal(wct.adain(content, style, 0.0), content)


@given(
    maps(batch=(1, 2), channels=(3, 3), sides=(3, 7), kinds=LIVELY),
    maps(batch=(1, 1), channels=(3, 3), sides=(3, 7), kinds=LIVELY),
    st.sampled_from(wct_roots.METHODS),
)
def test_full_strength_gives_mean_and_covariance_of_the_style(
    content: Tensor, style: Tensor, method: str
) -> None:
    found = wct.wct(content.double(), style.double(), method=method)
    mean, covariance = wct_roots.moments(found)
    wanted_mean, wanted = wct_roots.moments(style.double())
    scale = float(wanted.abs().max())
    torch.testing.assert_close(mean, wanted_mean.expand_as(mean), atol=1e-3 * scale**0.5, rtol=1e-3)
    # A direction with less than 1e-5 of the largest variance may be left out.
    torch.testing.assert_close(covariance, wanted.expand_as(covariance), atol=0.02 * scale, rtol=0)


@given(
    maps(batch=(1, 2), channels=(3, 3), sides=(3, 7)),
    maps(batch=(1, 1), channels=(3, 3), sides=(3, 7)),
    SHARES,
    SHARES,
)
def test_strength_is_a_straight_line_from_content_to_style(
    content: Tensor, style: Tensor, first: float, second: float
) -> None:
    content, style = content.double(), style.double()
    full = wct.wct(content, style)
    scale = float(full.abs().max() + content.abs().max()) + 1e-6
    for share in (first, second):
        expected = wct.blend(full, content, share)
        found = wct.wct(content, style, share)
        torch.testing.assert_close(found, expected, atol=1e-9 * scale, rtol=1e-9)
    lengths = [(wct.wct(content, style, each) - content).norm() for each in (first, second)]
    distances = lengths if first <= second else lengths[::-1]
    assert distances[0] <= distances[1] + 1e-9 * scale, "more strength, nearer to the content"


@given(st.sampled_from((*NO_NUMBERS, 1e9)), maps(kinds=("noise",)))
def test_a_strength_that_is_no_number_is_refused(strength: float, content: Tensor) -> None:
    for call in (wct.wct, wct.adain, wct.blend):
        assert isinstance(refused(call, content, content, strength), SettingError)


@given(maps(sides=(1, 5)), st.sampled_from(wct_roots.METHODS))
def test_whitening_never_makes_up_numbers(features: Tensor, method: str) -> None:
    found = wct.whiten(features, method=method)
    assert found.shape == features.shape and bool(torch.isfinite(found).all())
    if method == "eigh":
        _, covariance = wct_roots.moments(found.double())
        values = torch.linalg.eigvalsh(covariance)
        assert values.max() < 1.1, "no direction varies by more than 1"
        there = (values - 1).abs() < 0.1
        assert bool((there | (values.abs() < 0.1)).all()), "a projector: 0 or 1"


@given(
    maps(batch=(1, 2), channels=(1, 4), sides=(1, 5)),
    st.floats(-5, 5),
    st.floats(0.1, 10),
)
def test_white_features_forget_brightness_and_contrast(
    features: Tensor, lighter: float, contrast: float
) -> None:
    features = features.double()
    found = wct.whiten(features)
    assume(float(features.std(dim=(2, 3), correction=0).max()) > 1e-3 * (1 + abs(lighter)))
    torch.testing.assert_close(
        wct.whiten(contrast * features + lighter), found, atol=1e-4, rtol=1e-4
    )


@given(bad_shapes(), st.sampled_from(NO_FLOATS), st.sampled_from(("qr", "", "EIGH")))
def test_whitening_refuses_what_it_is_not_defined_for(shape, kind, method: str) -> None:
    assert isinstance(refused(wct.whiten, torch.ones(shape)), ShapeError)
    assert isinstance(refused(wct.whiten, torch.ones(1, 2, 3, 3).to(kind)), ShapeError)
    assert isinstance(refused(wct.whiten, torch.ones(1, 2, 3, 3), method=method), SettingError)


# --- Topic 05: masks ------------------------------------------------------------------------------


@given(
    maps(batch=(1, 2), channels=(2, 2), sides=(1, 6)),
    SEEDS,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(("all 0", "all 1", "one pixel", "soft")),
)
def test_mixing_by_any_mask_stays_between_the_two(features: Tensor, seed, size, kind: str) -> None:
    other = random(features.shape, seed)
    mask = {
        "all 0": torch.zeros(1, 1, *size),
        "all 1": torch.ones(1, 1, *size),
        "one pixel": torch.zeros(1, 1, *size).index_fill_(-1, torch.tensor([0]), 1),
        "soft": torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(seed)),
    }[kind]
    found = wct.mix_by_mask(features, other, mask)
    low, high = torch.minimum(features, other), torch.maximum(features, other)
    slack = 1e-5 * (1 + float(high.abs().max()))
    assert bool((found >= low - slack).all()) and bool((found <= high + slack).all())
    if kind in ("all 0", "all 1"):
        torch.testing.assert_close(found, features if kind == "all 1" else other)


@given(
    maps(batch=(1, 2), channels=(2, 3), sides=(2, 6)),
    SEEDS,
    st.sampled_from(("all 0", "all 1", "one pixel", "soft")),
)
def test_any_weights_of_positions_give_numbers(features: Tensor, seed: int, kind: str) -> None:
    size = features.shape[2:]
    weights = {
        "all 0": torch.zeros(1, 1, *size),
        "all 1": torch.ones(1, 1, *size),
        "one pixel": torch.zeros(1, 1, *size),
        "soft": torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(seed)),
    }[kind]
    if kind == "one pixel":
        weights[..., 0, 0] = 1
    found = wct.wct(features, features, weights=weights)
    assert bool(torch.isfinite(found).all())
    if kind == "all 1":
        torch.testing.assert_close(found, wct.wct(features, features), rtol=1e-3, atol=1e-2)


@given(bad_shapes(), st.sampled_from((*NO_NUMBERS, -0.5)))
def test_masks_that_are_none_are_refused(shape: tuple[int, ...], value: float) -> None:
    features = torch.rand(1, 2, 4, 4)
    refused(wct.mix_by_mask, features, features, torch.zeros(shape))
    refused(wct.mix_by_mask, features, features, torch.zeros(1, 1, 0, 4))
    refused(wct_roots.moments, features, torch.zeros(shape))
    wrong = torch.zeros(1, 1, 4, 4)
    wrong[0, 0, 1, 2] = value
    refused(wct_roots.moments, features, wrong)
    refused(wct.as_mask, wrong)
    refused_or_finite(wct.mix_by_mask, features, features, wrong)


@given(pictures(channels=(1, 1), batch=(1, 1)), st.sampled_from((torch.float32, torch.uint8)))
def test_a_mask_comes_back_whatever_it_was_given_as(mask: Tensor, kind: torch.dtype) -> None:
    given_as = (mask * 255).round().to(kind) if kind == torch.uint8 else mask
    wanted = given_as.float() / 255 if kind == torch.uint8 else mask
    for each in (given_as, given_as[0], given_as[0, 0], given_as[0, 0].numpy()):
        torch.testing.assert_close(wct.as_mask(each), wanted, atol=1e-6, rtol=0)
    ink = mask.round()
    torch.testing.assert_close(wct.as_mask(ink.bool()[0, 0]), ink)


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=4).filter(lambda w: sum(w) > 1e-3),
    shapes(channels=(1, 3), sides=(1, 4)),
    SEEDS,
)
def test_mixed_features_are_a_weighted_mean(shares: list[float], shape, seed: int) -> None:
    parts = [random(shape, seed + i) for i in range(len(shares))]
    found = wct.mix_styles(parts, shares)
    expected = sum(share / sum(shares) * part for share, part in zip(shares, parts, strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(wct.mix_styles([parts[0]] * len(shares), shares), parts[0])
