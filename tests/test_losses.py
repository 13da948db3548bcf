"""Every loss against numbers worked out by hand, einsum, scikit-image or plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from coursekit.core import losses
from coursekit.core.errors import CourseError, ShapeError


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# --- By hand --------------------------------------------------------------------------------------


def test_content_loss_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    target = torch.tensor([[[[0.0, 2.0], [5.0, 1.0]]]])
    # (1 + 0 + 4 + 9) / 2
    assert losses.content_loss(features, target).item() == 7.0


def test_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # two channels, two positions
    plain = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]])
    assert torch.equal(losses.gram_matrix(features, normalise=False), plain)
    assert torch.equal(losses.gram_matrix(features), plain / 2)


def test_style_loss_by_hand() -> None:
    gram = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]])
    target = torch.tensor([[[4.0, 3.0], [3.0, 10.0]]])
    # (1 + 4 + 4 + 0) / (4 · 2²)
    assert losses.style_loss(gram, target).item() == 9 / 16


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[1.0, 2.0, 4.0], [0.0, 5.0, 4.0]]]])
    across = 1 + 4 + 25 + 1
    down = 1 + 9 + 0
    assert losses.total_variation(image).item() == across + down


def test_isotropic_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 3.0, 3.0], [4.0, 9.0, 8.0]]]])
    # Position (0, 0): across 3, down 4, length 5. Position (0, 1): across 0, down 6, length 6.
    assert losses.isotropic_total_variation(image).item() == pytest.approx(11.0, rel=1e-6)
    assert losses.isotropic_total_variation(image, beta=2).item() == 25 + 36
    assert losses.isotropic_total_variation(image, beta=4).item() == pytest.approx(625 + 1296)


def test_channel_statistics_by_hand() -> None:
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]])
    mean, std = losses.channel_statistics(features)
    assert mean.flatten().tolist() == [2.0, 2.0]
    assert std.flatten().tolist() == [1.0, 0.0]


def test_channel_statistics_loss_by_hand() -> None:
    features = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]])  # means 2, 2; deviations 1, 2
    target = torch.tensor([[[[5.0, 5.0]], [[1.0, 7.0]]]])  # means 5, 4; deviations 0, 3
    expected = (9 + 4) + (1 + 1)
    loss = losses.channel_statistics_loss(features, target)
    assert loss.item() == pytest.approx(expected, rel=1e-3)


# --- Against other implementations ----------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_gram_matrix_equals_einsum(normalise: bool) -> None:
    features = random(3, 5, 7, 4)
    expected = torch.einsum("nchw,ndhw->ncd", features, features)
    expected = expected / 28 if normalise else expected
    found = losses.gram_matrix(features, normalise=normalise)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_style_loss_is_the_papers_equation_4() -> None:
    """1/(4 N² M²) Σ (G - A)² with plain sums, for maps of one size (double loop)."""
    image, style = random(1, 4, 3, 5, seed=1), random(1, 4, 3, 5, seed=2)
    channels, positions = 4, 15
    rows, style_rows = image[0].flatten(1).double(), style[0].flatten(1).double()
    total = 0.0
    for i in range(channels):
        for j in range(channels):
            gram = sum(float(rows[i, k] * rows[j, k]) for k in range(positions))
            target = sum(float(style_rows[i, k] * style_rows[j, k]) for k in range(positions))
            total += (gram - target) ** 2
    expected = total / (4 * channels**2 * positions**2)
    found = losses.style_loss(losses.gram_matrix(image), losses.gram_matrix(style))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_total_variation_equals_loops() -> None:
    images = random(2, 3, 5, 4)
    total = 0.0
    for n, c, i, j in np.ndindex(*images.shape):
        here = float(images[n, c, i, j])
        if j + 1 < 4:
            total += (float(images[n, c, i, j + 1]) - here) ** 2
        if i + 1 < 5:
            total += (float(images[n, c, i + 1, j]) - here) ** 2
    assert losses.total_variation(images).item() == pytest.approx(total / 2, rel=1e-5)


def test_isotropic_total_variation_falls_when_scikit_image_minimises_it() -> None:
    """`denoise_tv_chambolle` minimises this very term plus a distance to the noisy image."""
    noisy = random(1, 1, 24, 24).mul(0.2).add(0.5)
    amounts = [
        losses.isotropic_total_variation(
            torch.from_numpy(denoise_tv_chambolle(noisy[0, 0].numpy(), weight=weight))[None, None]
        ).item()
        for weight in (1e-3, 0.05, 0.2, 1.0)
    ]
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[-1] < 0.05 * losses.isotropic_total_variation(noisy).item()


def test_isotropic_beta_2_is_the_squared_form_without_the_last_row_and_column() -> None:
    images = random(2, 3, 6, 5)
    inner = losses.isotropic_total_variation(images, beta=2)
    last_row = images[..., -1, 1:] - images[..., -1, :-1]
    last_column = images[..., 1:, -1] - images[..., :-1, -1]
    border = (last_row.square().sum() + last_column.square().sum()) / 2
    torch.testing.assert_close(inner + border, losses.total_variation(images))


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_isotropic_total_variation_equals_numpy(beta: float) -> None:
    image = random(1, 2, 6, 7)
    array = image.double().numpy()[0]
    across, down = np.diff(array, axis=2)[:, :-1, :], np.diff(array, axis=1)[:, :, :-1]
    expected = (np.hypot(across, down) ** beta).sum()
    found = losses.isotropic_total_variation(image, beta=beta).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_channel_statistics_equal_torch() -> None:
    features = random(2, 3, 4, 5)
    mean, std = losses.channel_statistics(features)
    assert mean.shape == std.shape == (2, 3, 1, 1)
    torch.testing.assert_close(mean, features.mean((2, 3), keepdim=True))
    torch.testing.assert_close(std.square(), features.var((2, 3), correction=0, keepdim=True))
    _, wider = losses.channel_statistics(features, epsilon=0.25)
    torch.testing.assert_close(wider.square(), std.square() + 0.25)


# --- Properties -----------------------------------------------------------------------------------


def test_gram_matrix_forgets_positions_and_is_positive_semi_definite() -> None:
    features = random(2, 6, 4, 5)
    shuffled = features.flatten(2)[..., torch.randperm(20)].view_as(features)
    gram = losses.gram_matrix(features)
    torch.testing.assert_close(gram, losses.gram_matrix(shuffled))
    # A matrix product need not be symmetric to the last bit: that depends on the processor.
    torch.testing.assert_close(gram, gram.mT, rtol=0, atol=1e-6)
    assert torch.linalg.eigvalsh(gram.double()).min() > -1e-6


def test_gram_matrix_does_not_depend_on_the_size_of_a_repeated_picture() -> None:
    features = random(1, 3, 4, 4)
    tiled = features.repeat(1, 1, 2, 3)
    torch.testing.assert_close(losses.gram_matrix(features), losses.gram_matrix(tiled))


PAIRS = {
    "content": (losses.content_loss, (2, 3, 4, 5)),
    "style": (losses.style_loss, (2, 4, 4)),
    "statistics": (losses.channel_statistics_loss, (2, 3, 4, 5)),
}
SINGLES = {
    "squared": losses.total_variation,
    "isotropic": losses.isotropic_total_variation,
    "isotropic, beta 2": lambda images: losses.isotropic_total_variation(images, beta=2),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_costs_nothing_for_twins_and_a_batch_is_averaged(name: str) -> None:
    loss, shape = PAIRS[name]
    first, second = random(*shape, seed=1), random(*shape, seed=2)
    assert loss(first, first.clone()).item() == 0
    separately = [loss(first[i : i + 1], second[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(first, second), sum(separately) / 2)
    shared = [loss(first[i : i + 1], second[:1]) for i in range(2)]
    torch.testing.assert_close(loss(first, second[:1]), sum(shared) / 2)


@pytest.mark.parametrize("name", SINGLES)
def test_a_prior_averages_the_batch_and_ignores_a_constant(name: str) -> None:
    loss, images = SINGLES[name], random(2, 3, 4, 5)
    torch.testing.assert_close(loss(images), (loss(images[:1]) + loss(images[1:])) / 2)
    torch.testing.assert_close(loss(images + 3), loss(images), rtol=1e-4, atol=1e-4)
    assert loss(torch.full((1, 3, 4, 5), 0.5)).item() < 0.02  # isotropic: epsilon's root


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_pairs(name: str) -> None:
    loss, shape = PAIRS[name]
    inputs = [random(*shape, seed=seed, dtype=torch.float64).requires_grad_() for seed in (3, 4)]
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("loss", [*SINGLES.values(), losses.gram_matrix], ids=[*SINGLES, "gram"])
def test_gradients_of_singles(loss) -> None:
    images = random(2, 2, 3, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(loss, (images,))


def test_gradients_are_finite_on_flat_pictures() -> None:
    flat = torch.full((1, 3, 4, 4), 0.5)
    for loss in (
        *SINGLES.values(),
        lambda x: losses.isotropic_total_variation(x, beta=1.5),
        lambda x: losses.channel_statistics_loss(x, random(1, 3, 5, 5)),
    ):
        image = flat.clone().requires_grad_()
        loss(image).backward()
        assert torch.isfinite(image.grad).all()


# --- Memory formats and types ---------------------------------------------------------------------

ALL = {
    "content": lambda x: losses.content_loss(x, random(2, 8, 6, 5, seed=9).to(x.dtype)),
    "gram": losses.gram_matrix,
    "style": lambda x: losses.style_loss(
        losses.gram_matrix(x), losses.gram_matrix(random(2, 8, 6, 5, seed=9).to(x.dtype))
    ),
    "statistics": lambda x: losses.channel_statistics_loss(
        x, random(2, 8, 6, 5, seed=9).to(x.dtype)
    ),
    **SINGLES,
}


@pytest.mark.parametrize("name", ALL)
def test_memory_format_does_not_matter(name: str) -> None:
    loss, features = ALL[name], random(2, 8, 6, 5)
    expected = loss(features)
    wide = torch.zeros(2, 8, 6, 10)
    wide[..., ::2] = features
    for same in (features.to(memory_format=torch.channels_last), wide[..., ::2]):
        assert torch.equal(same, features)
        torch.testing.assert_close(loss(same), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_float64_stays_float64(name: str) -> None:
    features = random(2, 8, 6, 5, dtype=torch.float64)
    found = ALL[name](features)
    assert found.dtype == torch.float64
    assert not torch.equal(found, ALL[name](features.float()).double())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ALL)
def test_half_types_are_summed_in_float32(name: str, dtype: torch.dtype) -> None:
    features = random(2, 8, 6, 5).to(dtype).requires_grad_()
    found = ALL[name](features)
    assert found.dtype == torch.float32
    exact = ALL[name](features.detach().float())
    error = (found - exact).norm() / exact.norm()
    assert error < 4e-3
    found.sum().backward()
    assert features.grad.dtype == dtype
    assert torch.isfinite(features.grad).all()


def test_float16_sums_do_not_overflow() -> None:
    features = torch.full((1, 4, 32, 32), 100.0, dtype=torch.float16)
    assert losses.content_loss(features, torch.zeros_like(features)).item() == 4 * 1024 * 5000
    assert losses.gram_matrix(features, normalise=False).max().item() == 1024 * 10_000


# --- Errors ---------------------------------------------------------------------------------------

BAD_PAIRS = [
    (losses.content_loss, (1, 3, 4, 4), (1, 3, 4, 5)),
    (losses.content_loss, (1, 3, 4, 4), (1, 2, 4, 4)),
    (losses.content_loss, (3, 4, 4), (3, 4, 4)),
    (losses.content_loss, (1, 3, 4, 4), (2, 3, 4, 4)),
    (losses.content_loss, (4, 3, 4, 4), (2, 3, 4, 4)),
    (losses.style_loss, (1, 3, 3), (1, 4, 4)),
    (losses.style_loss, (3, 3), (3, 3)),
    (losses.style_loss, (1, 3, 3), (2, 3, 3)),
    (losses.channel_statistics_loss, (1, 3, 4, 4), (1, 4, 4, 4)),
    (losses.channel_statistics_loss, (1, 3, 4, 4), (2, 3, 4, 4)),
    (losses.channel_statistics_loss, (3, 4, 4), (3, 4, 4)),
]


@pytest.mark.parametrize(("loss", "shape", "other"), BAD_PAIRS)
def test_sizes_that_do_not_fit_are_refused(loss, shape, other) -> None:
    with pytest.raises(ShapeError) as caught:
        loss(torch.zeros(shape), torch.zeros(other))
    assert str(shape) in str(caught.value)
    assert isinstance(caught.value, CourseError)


@pytest.mark.parametrize(
    "function",
    [
        losses.gram_matrix,
        losses.total_variation,
        losses.isotropic_total_variation,
        losses.channel_statistics,
    ],
)
def test_three_dimensions_are_refused(function) -> None:
    with pytest.raises(ShapeError, match=r"\(N, C, H, W\)"):
        function(torch.zeros(3, 4, 4))


def test_isotropic_total_variation_needs_two_pixels() -> None:
    with pytest.raises(ShapeError, match="2×2"):
        losses.isotropic_total_variation(torch.zeros(1, 3, 1, 9))
    assert math.isfinite(losses.isotropic_total_variation(torch.zeros(1, 3, 2, 2)).item())


def test_statistics_may_come_from_maps_of_another_size() -> None:
    features, target = random(2, 3, 4, 5), random(2, 3, 9, 2)
    assert losses.channel_statistics_loss(features, target).item() > 0
