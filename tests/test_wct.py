"""Topic 05: whitening and colouring in float64, against scipy and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from coursekit import wct
from coursekit.core.errors import ImageError, SettingError, ShapeError
from coursekit.wct_roots import FLAT, METHODS, least_variance, moments, root, rounding


def maps(*shape: int, seed: int = 0, mean: float = 2.0, dtype: torch.dtype = torch.float64):
    """Correlated features of full rank, each channel with a mean and a size of its own."""
    generator = torch.Generator().manual_seed(seed)
    n, c, h, w = shape
    mix = torch.randn(n, c, c, generator=generator, dtype=dtype) + 2 * torch.eye(c, dtype=dtype)
    rows = mix @ torch.randn(n, c, h * w, generator=generator, dtype=dtype)
    return (rows + mean * torch.arange(c, dtype=dtype).view(1, c, 1)).view(shape)


def with_spectrum(channels: int, positions: int, decades: float, seed: int = 0) -> Tensor:
    """float32 features whose variances fall evenly over so many powers of ten."""
    generator = torch.Generator().manual_seed(seed)
    options = dict(generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(channels, channels, **options))
    size = torch.logspace(0, -decades / 2, channels, dtype=torch.float64)
    rows = turn @ (size[:, None] * torch.randn(channels, positions, **options)) + 1
    return rows.view(1, channels, 1, positions).float()


def numpy_moments(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    rows = features.flatten(1).numpy()
    return rows.mean(1), np.cov(rows, bias=True)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# --- What the issue of the paper is: covariances -------------------------------------------------


def test_covariance_and_mean_become_the_styles() -> None:
    content, style = maps(2, 9, 8, 13), maps(2, 9, 11, 7, seed=1, mean=-1.0)
    found = wct.wct(content, style)
    for one, wanted in zip(found, style, strict=True):
        (mean, covariance), (style_mean, style_covariance) = map(numpy_moments, (one, wanted))
        error = np.linalg.norm(covariance - style_covariance) / np.linalg.norm(style_covariance)
        assert error < 1e-8
        np.testing.assert_allclose(mean, style_mean, atol=1e-9)


def test_whitening_gives_the_identity() -> None:
    for one in wct.whiten(maps(2, 9, 8, 13)):
        mean, covariance = numpy_moments(one)
        np.testing.assert_allclose(covariance, np.eye(9), atol=1e-9)
        np.testing.assert_allclose(mean, 0, atol=1e-12)


def test_whole_transform_is_the_one_by_scipys_matrix_roots() -> None:
    """The symmetric square root is unique, whoever computes it."""
    content, style = maps(1, 6, 9, 8), maps(1, 6, 5, 9, seed=1)
    (mean, covariance), (style_mean, style_covariance) = map(numpy_moments, (content[0], style[0]))
    move = scipy.linalg.sqrtm(style_covariance) @ np.linalg.inv(scipy.linalg.sqrtm(covariance))
    expected = move @ (content[0].flatten(1).numpy() - mean[:, None]) + style_mean[:, None]
    found = wct.wct(content, style)[0].flatten(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_two_channels_by_hand() -> None:
    """Variances 4 and 1, no correlation: whitening halves the first channel."""
    content = torch.tensor([[3.0, -1.0, 3.0, -1.0], [6.0, 6.0, 4.0, 4.0]]).double()
    white = wct.whiten(content.view(1, 2, 2, 2))
    by_hand = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]]).double()
    torch.testing.assert_close(white, by_hand.view(1, 2, 2, 2))
    # A style with covariance [[5, 4], [4, 5]]: its symmetric root is [[2, 1], [1, 2]].
    style = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double() @ by_hand + 10
    found = wct.colour(white, style.view(1, 2, 1, 4))
    torch.testing.assert_close(found.view(2, 4), style)


def test_fewer_positions_than_channels_give_the_projector_on_what_is_there() -> None:
    content = maps(1, 12, 2, 4)
    centred = (content - content.mean((2, 3), keepdim=True)).flatten(2)[0]
    left = torch.linalg.svd(centred, full_matrices=False)[0][:, :7]
    _, covariance = moments(wct.whiten(content))
    torch.testing.assert_close(covariance[0], left @ left.T, atol=1e-9, rtol=0)
    assert abs(float(covariance[0].trace()) - 7) < 1e-8  # 8 positions less their mean


def test_rank_of_a_deep_layer_is_at_most_positions_less_one() -> None:
    """relu5_1 of 64 pixels is 4×4: rank 15 of 512 channels."""
    content = maps(1, 64, 4, 4, dtype=torch.float32)
    white = wct.whiten(content)
    assert torch.linalg.matrix_rank(white.flatten(2)[0].double(), rtol=1e-3) == 15
    assert float(moments(white)[1].diagonal(dim1=1, dim2=2).sum()) == pytest.approx(15, rel=1e-3)


def test_style_mean_survives_whatever_the_sizes() -> None:
    style = maps(1, 5, 3, 4, seed=3, mean=7.0)
    for size in ((3, 4), (10, 2), (1, 1), (2, 31)):
        found = wct.wct(maps(1, 5, *size), style)
        torch.testing.assert_close(found.mean((2, 3)), style.mean((2, 3)))


def test_flat_features_become_the_styles_mean() -> None:
    style = maps(1, 5, 3, 4, dtype=torch.float32)
    flat = torch.full((1, 5, 6, 6), 0.1) * torch.arange(1, 6).view(1, 5, 1, 1)
    single = torch.rand(1, 5, 1, 1)
    for content in (flat, flat + 1e-8 * torch.randn_like(flat), single, torch.zeros(1, 5, 2, 3)):
        found = wct.wct(content, style)
        expected = style.mean((2, 3), keepdim=True).expand_as(content)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
        assert not wct.whiten(content).abs().max() > 1e-3


def test_a_flat_style_gives_a_flat_result() -> None:
    found = wct.wct(maps(1, 4, 5, 6), torch.full((1, 4, 1, 1), 3.0).double())
    torch.testing.assert_close(found, torch.full((1, 4, 5, 6), 3.0).double())


def test_a_grey_picture_passes_through_the_network_and_the_transform() -> None:
    from coursekit.core.features import FeatureExtractor

    extractor = FeatureExtractor(layers=["relu2_1"], padding="reflect")
    grey = extractor(torch.full((1, 3, 24, 24), 0.5))["relu2_1"]
    style = extractor(torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)))
    found = wct.wct(grey, style["relu2_1"])
    assert found.isfinite().all()
    assert float(found.std((2, 3)).max()) < 1e-2 * float(style["relu2_1"].std((2, 3)).max())


# --- Which root ----------------------------------------------------------------------------------


def test_methods_with_symmetric_roots_agree() -> None:
    content, style = maps(2, 7, 6, 9), maps(1, 7, 6, 9, seed=1)
    expected = wct.wct(content, style)
    for method in ("svd", "newton_schulz"):
        found = wct.wct(content, style, method=method, floor=1e-13)
        assert relative(found, expected) < 1e-5, method


def test_cholesky_has_the_right_covariance_and_is_turned() -> None:
    content, style = maps(1, 7, 6, 9), maps(1, 7, 6, 9, seed=1)
    found, expected = (wct.wct(content, style, method=m, floor=1e-13) for m in ("cholesky", "eigh"))
    assert relative(moments(found)[1], moments(style)[1]) < 1e-5
    assert relative(found, expected) > 0.05
    # Its whitening differs from the symmetric one by an orthogonal matrix alone.
    covariance = moments(content)[1]
    turn = root(covariance, -0.5, "cholesky", floor=1e-13) @ root(covariance, 0.5)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(7).double()[None], atol=1e-5, rtol=0)


def test_only_the_symmetric_root_does_not_care_how_channels_are_turned() -> None:
    content = maps(1, 6, 7, 8)
    turn, _ = torch.linalg.qr(maps(1, 6, 2, 3)[0].flatten(1))

    def after(method: str) -> float:
        turned = (turn @ content.flatten(2)).view_as(content)
        white = wct.whiten(turned, method=method)
        expected = (turn @ wct.whiten(content, method=method).flatten(2)).view_as(content)
        return relative(white, expected)

    assert after("eigh") < 1e-9
    assert after("cholesky") > 0.1


def test_roots_of_each_method_are_roots() -> None:
    covariance = moments(maps(2, 6, 9, 9))[1]
    for method in METHODS:
        half = root(covariance, 0.5, method)
        torch.testing.assert_close(half @ half.mT, covariance, rtol=1e-6, atol=1e-6)
        inverse = root(covariance, -0.5, method, floor=1e-13)
        identity = torch.eye(6).double().expand(2, 6, 6)
        torch.testing.assert_close(inverse @ covariance @ inverse.mT, identity, rtol=0, atol=1e-5)


def test_float32_on_ill_conditioned_features_stays_near_float64() -> None:
    """Variances over six powers of ten: the decomposition moves to float64 by itself."""
    content, style = with_spectrum(96, 800, 6), with_spectrum(96, 700, 2, seed=1)
    assert rounding(torch.linalg.eigvalsh(moments(content)[1])) > 2e-4
    found = wct.wct(content, style)
    assert found.dtype == torch.float32
    assert relative(found.double(), wct.wct(content.double(), style.double())) < 1e-2


def test_rounding_knows_good_from_bad() -> None:
    even, steep = torch.ones(1, 8), torch.logspace(-7, 0, 8)[None]
    assert rounding(even) == pytest.approx(torch.finfo(torch.float32).eps / 2)
    assert rounding(steep, floor=1e-5) > 1e3 * rounding(even)
    assert rounding(steep.double(), floor=1e-5) < 1e-10


def test_truncation_leaves_small_directions_out() -> None:
    features = with_spectrum(32, 400, 8)
    white = wct.whiten(features.double(), floor=1e-4)
    kept = (torch.linalg.eigvalsh(moments(white)[1]) > 0.5).sum()
    assert int(kept) == int((torch.logspace(0, -8, 32) > 1e-4).sum())


# --- Strength, AdaIN, weights --------------------------------------------------------------------


def test_wct_is_whiten_colour_blend() -> None:
    content, style = maps(2, 5, 6, 7), maps(1, 5, 4, 4, seed=1)
    for strength in (0.0, 0.3, 1.0):
        expected = wct.blend(wct.colour(wct.whiten(content), style), content, strength)
        torch.testing.assert_close(wct.wct(content, style, strength), expected)
    torch.testing.assert_close(wct.wct(content, style, 0.0), content)


def test_a_picture_in_its_own_style_stays_what_it_is() -> None:
    content = maps(2, 5, 6, 7)
    torch.testing.assert_close(wct.wct(content, content), content)


def test_adain_is_wct_where_channels_do_not_correlate() -> None:
    def uncorrelated(seed: int) -> Tensor:
        white = wct.whiten(maps(1, 4, 5, 8, seed=seed))
        return white * torch.tensor([0.5, 1, 2, 3]).double().view(1, 4, 1, 1) + seed

    content, style = uncorrelated(1), uncorrelated(2).flip(1)
    torch.testing.assert_close(wct.adain(content, style), wct.wct(content, style))
    correlated = maps(1, 4, 5, 8, seed=3)
    assert relative(wct.adain(content, correlated), wct.wct(content, correlated)) > 0.05
    half = wct.adain(content, style, 0.5)
    torch.testing.assert_close(half, (content + wct.adain(content, style)) / 2)


def test_weights_choose_the_positions_that_count() -> None:
    content, style = maps(1, 4, 6, 8), maps(1, 4, 7, 7, seed=1)
    region = torch.zeros(1, 1, 6, 8)
    region[..., :3] = 1
    found = wct.wct(content, style, weights=region)
    torch.testing.assert_close(found[..., :3], wct.wct(content[..., :3], style))
    with pytest.raises(ShapeError, match="do not fit"):
        wct.wct(content, style, weights=region[..., 1:])


def test_an_empty_region_gives_the_styles_mean() -> None:
    content, style = maps(1, 4, 6, 8), maps(1, 4, 7, 7, seed=1)
    found = wct.wct(content, style, weights=torch.zeros(1, 1, 6, 8))
    torch.testing.assert_close(found, style.mean((2, 3), keepdim=True).expand_as(found))


def test_skipping_the_whitening_keeps_the_contents_own_correlations() -> None:
    content, style = maps(1, 4, 6, 8), maps(1, 4, 7, 7, seed=1)
    half = root(moments(style)[1], 0.5)
    found = moments(wct.colour_only(content, style))[1]
    torch.testing.assert_close(found, half @ moments(content)[1] @ half)


def test_half_precision_comes_back_as_it_went_in() -> None:
    content, style = maps(1, 4, 6, 8).bfloat16(), maps(1, 4, 7, 7, seed=1).bfloat16()
    found = wct.wct(content, style)
    assert found.dtype == torch.bfloat16
    assert relative(found.float(), wct.wct(content.float(), style.float())) < 1e-2


@pytest.mark.parametrize(
    ("content", "style"),
    [((1, 3, 4, 4), (1, 4, 4, 4)), ((3, 4, 4), (1, 4, 4, 4)), ((2, 4, 4, 4), (3, 4, 4, 4))],
)
def test_shapes_that_do_not_match_are_refused(content, style) -> None:
    for function in (wct.wct, wct.colour, wct.adain):
        with pytest.raises(ShapeError):
            function(torch.rand(content), torch.rand(style))


def test_unknown_settings_are_refused() -> None:
    content = maps(1, 3, 4, 4)
    with pytest.raises(SettingError, match="Choose"):
        wct.wct(content, content, method="qr")
    with pytest.raises(SettingError, match="strength"):
        wct.wct(content, content, float("nan"))
    with pytest.raises(SettingError):
        root(torch.eye(3)[None], 2.0)


# --- Mixing --------------------------------------------------------------------------------------


def test_shares_mix_features() -> None:
    first, second = maps(1, 3, 4, 5), maps(1, 3, 4, 5, seed=1)
    torch.testing.assert_close(
        wct.mix_styles([first, second], [3, 1]), 0.75 * first + 0.25 * second
    )
    for shares in ([1], [0, 0], [2, -1]):
        with pytest.raises(SettingError, match="share"):
            wct.mix_styles([first, second], shares)


def test_a_mask_is_averaged_to_the_maps() -> None:
    inside, outside = torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :, :4] = 1
    found = wct.mix_by_mask(inside, outside, mask)
    # The antialiased filter reaches a little beyond the two halves.
    assert (found[..., 0] > 0.8).all() and (found[..., 1] < 0.2).all()
    torch.testing.assert_close(found[..., 0], 1 - found[..., 1])
    whole = wct.mix_by_mask(inside, outside, torch.ones(1, 1, 5, 3))
    torch.testing.assert_close(whole, inside)
    for wrong in (torch.ones(8, 8), torch.ones(1, 3, 8, 8)):
        with pytest.raises(ShapeError, match="mask"):
            wct.mix_by_mask(inside, outside, wrong)


def test_masks_come_as_arrays_tensors_and_images(tmp_path) -> None:
    from PIL import Image

    array = np.zeros((6, 8), dtype=bool)
    array[:, 4:] = True
    Image.fromarray(array.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    expected = torch.from_numpy(array).float()[None, None]
    tensor = torch.from_numpy(array)
    for given in (array, tensor, tensor.float(), expected, tmp_path / "mask.png"):
        torch.testing.assert_close(wct.as_mask(given), expected)
    with pytest.raises(ImageError):
        wct.as_mask(3 * expected)


def test_features_that_are_not_finite_are_refused() -> None:
    content = maps(1, 3, 4, 4)
    content[0, 1, 2, 2] = float("nan")
    with pytest.raises(ShapeError, match="NaN"):
        wct.wct(content, maps(1, 3, 4, 4))


def test_where_float32_fails_without_a_word_float64_takes_over(monkeypatch) -> None:
    """As LAPACK does on 512 channels at 3×5 positions: NaN, and no error."""
    right, seen = torch.linalg.eigh, []

    def failing(matrix: Tensor):
        seen.append(matrix.dtype)
        values, vectors = right(matrix)
        single = matrix.dtype == torch.float32
        return values, vectors * float("nan") if single else vectors

    content, style = maps(1, 5, 6, 7).float(), maps(1, 5, 4, 4, seed=1).float()
    expected = wct.wct(content, style)
    monkeypatch.setattr(torch.linalg, "eigh", failing)
    torch.testing.assert_close(wct.wct(content, style), expected, rtol=1e-3, atol=1e-3)
    assert seen == [torch.float32, torch.float64] * 2


def test_the_whole_transform_is_one_affine_map() -> None:
    content, style = maps(2, 3, 5, 6), maps(1, 3, 4, 4, seed=1)
    matrix, shift = wct.transfer_map(content, style)
    assert matrix.shape == (2, 3, 3) and shift.shape == (2, 3, 1)
    rows = matrix @ content.flatten(2) + shift
    torch.testing.assert_close(rows.view_as(content), wct.wct(content, style))
    _, expected = numpy_moments(style[0])
    for each in rows:
        np.testing.assert_allclose(np.cov(each.numpy(), bias=True), expected, rtol=1e-6)


def test_a_variance_below_the_least_one_is_rounding() -> None:
    mean = torch.tensor([[[3.0], [4.0]]])
    covariance = torch.diag(torch.tensor([1.0, 2.0]))[None]
    found = least_variance(mean, covariance)
    assert found.item() == pytest.approx(FLAT * (1.5 + (9 + 16) / 2))


def test_levels_hand_the_clamped_picture_on() -> None:
    """Encoders add their level, decoders take nothing away: 0.2 + 5 is cut to 1 before level 3."""
    seen = []

    def transform(features: Tensor, style: Tensor) -> Tensor:
        seen.append((features.flatten()[0].item(), style.item()))
        return features

    styles = {level: torch.tensor(10.0 * level) for level in (3, 5)}
    picture = torch.full((1, 3, 2, 2), 0.2)
    out = wct.level_by_level(
        picture, styles, lambda x, level: x + level, lambda f, level: f, transform, levels=(5, 3)
    )
    assert seen == [(pytest.approx(5.2), 50), (4, 30)]
    assert torch.equal(out, torch.ones_like(picture))
