"""Filters against SciPy; the two ways of a modulated convolution against its equations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator
from coursekit.stylegan2_layers import (
    TAPS,
    WAYS,
    activate,
    adain,
    blur,
    demodulation,
    downsample,
    filter_2d,
    modulated_conv2d,
    upfirdn,
    upsample,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.double)


# --- resampling ---------------------------------------------------------------------------------


def scipy_upfirdn(x: Tensor, taps: tuple[float, ...], up: int, down: int) -> np.ndarray:
    """The full convolution, by SciPy, one axis after the other."""
    line = np.asarray(taps) / np.sum(taps)
    once = scipy.signal.upfirdn(line, x.numpy(), up, down, axis=2)
    return scipy.signal.upfirdn(line, once, up, down, axis=3)


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("taps", [TAPS, (1.0, 2.0, 4.0)])
def test_upfirdn_is_scipy_s(up: int, down: int, taps: tuple[float, ...]) -> None:
    x, edge = noise(2, 3, 5, 6), len(taps) - 1
    # SciPy puts no zeros behind the last pixel: its result ends up - 1 pixels earlier.
    found = upfirdn(x, filter_2d(taps), up=up, down=down, padding=(edge, edge)).numpy()
    wanted = scipy_upfirdn(x, taps, up, down)
    rows, columns = wanted.shape[2:]
    assert np.allclose(found[:, :, :rows, :columns], wanted, atol=1e-6)
    assert np.allclose(found[:, :, rows:], 0) and np.allclose(found[..., columns:], 0)


def test_a_shortcut_is_the_definition() -> None:
    x, kernel = noise(2, 3, 6, 8), filter_2d()
    assert torch.allclose(upsample(x, kernel), upfirdn(x, kernel, up=2, padding=(2, 1), gain=4.0))
    assert torch.allclose(downsample(x, kernel), upfirdn(x, kernel, down=2, padding=(1, 1)))
    assert torch.allclose(blur(x, kernel, 2, 3.0), upfirdn(x, kernel, padding=(2, 2), gain=3.0))
    lopsided = filter_2d((1.0, 2.0, 4.0, 1.0))
    wanted = upfirdn(x, lopsided, up=2, padding=(2, 1), gain=4.0)
    assert torch.allclose(upsample(x, lopsided), wanted)
    assert torch.allclose(downsample(x, lopsided), upfirdn(x, lopsided, down=2, padding=(1, 1)))


def test_a_constant_stays_constant_away_from_the_edge() -> None:
    x = torch.full((1, 2, 8, 8), 3.0)
    for found in (upsample(x, filter_2d()), downsample(x, filter_2d())):
        assert torch.allclose(found[..., 2:-2, 2:-2], torch.tensor(3.0))


def test_a_filter_removes_the_checkerboard() -> None:
    checks = (torch.arange(8).view(-1, 1) + torch.arange(8)).remainder(2).double()[None, None]
    found = downsample(checks, filter_2d())
    assert torch.allclose(found[..., 1:-1, 1:-1], torch.tensor(0.5, dtype=torch.double))


def test_bad_input_to_a_filter() -> None:
    with pytest.raises(SettingError, match="no low-pass filter"):
        filter_2d((1.0, -1.0))
    with pytest.raises(ShapeError, match="N, C, H, W"):
        upfirdn(torch.ones(3, 4, 4), filter_2d())
    with pytest.raises(SettingError, match="up=0"):
        upfirdn(torch.ones(1, 3, 4, 4), filter_2d(), up=0)
    with pytest.raises(ShapeError, match="the filter has 4 a side"):
        upfirdn(torch.ones(1, 3, 2, 2), filter_2d())


# --- modulated convolution ----------------------------------------------------------------------


def by_loop(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """Equations 1 to 3 as they stand, sample by sample; upsampling as filter, then convolution."""
    found = []
    for image, scales in zip(x, style, strict=True):
        modulated = weight * scales.view(1, -1, 1, 1)
        if demodulate:
            power = modulated.pow(2).sum(dim=(1, 2, 3), keepdim=True)
            modulated = modulated / torch.sqrt(power + 1e-8)
        if up:
            wide = upfirdn(image[None], filter_2d(), up=2, padding=(3, 2), gain=4.0)
            found.append(F.conv2d(wide, modulated.flip(2, 3)))
        else:
            found.append(F.conv2d(image[None], modulated, padding=weight.shape[-1] // 2))
    return torch.cat(found)


CASES = [(side, demodulate, up) for side in (1, 3) for demodulate in (True, False) for up in (0, 1)]
CASES = [case for case in CASES if case[0] == 3 or not case[2]]


@pytest.mark.parametrize(("side", "demodulate", "up"), CASES)
@pytest.mark.parametrize("way", WAYS)
def test_both_ways_are_the_equations(side: int, demodulate: bool, up: int, way: str) -> None:
    x, weight, style = noise(3, 4, 5, 6), noise(2, 4, side, side, seed=1), noise(3, 4, seed=2)
    kernel = filter_2d() if up else None
    settings = {"demodulate": demodulate, "kernel": kernel, "way": way}
    found = modulated_conv2d(x, weight, style, **settings)
    wanted = by_loop(x, weight, style, demodulate=demodulate, up=bool(up))
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-5)


def _derivatives(way: str, up: bool) -> list[Tensor]:
    """Output, first derivatives, and the derivatives of their squared norm (as R1 needs)."""
    x, weight, style = noise(2, 3, 4, 6), noise(2, 3, 3, 3, seed=1), noise(2, 3, seed=2)
    leaves = [leaf.requires_grad_() for leaf in (x, weight, style)]
    found = modulated_conv2d(*leaves, kernel=filter_2d() if up else None, way=way)
    weights = noise(*found.shape, seed=3)
    first = torch.autograd.grad((found * weights).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), leaves)
    return [found, *first, *second]


@pytest.mark.parametrize("up", [False, True])
def test_both_ways_have_the_same_first_and_second_derivatives(up: bool) -> None:
    pairs = zip(_derivatives("grouped", up), _derivatives("scaled", up), strict=True)
    for one, other in pairs:
        assert (one - other).abs().max() <= 1e-4 * max(1.0, float(one.detach().abs().max()))


def test_gradients_are_those_of_finite_differences() -> None:
    leaves = [noise(2, 2, 3, 4), noise(2, 2, 3, 3, seed=1), noise(2, 2, seed=2)]
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def run(way: str) -> Callable[..., Tensor]:
        return lambda x, weight, style: modulated_conv2d(x, weight, style, way=way)

    for way in ("grouped", "scaled"):
        # Demodulation computes in float32, whatever comes in.
        assert torch.autograd.gradcheck(run(way), leaves, eps=1e-2, atol=5e-3, rtol=1e-2)


def test_demodulation_gives_unit_variance_and_forgets_the_scale_of_the_style() -> None:
    x, weight = noise(4, 32, 16, 16), noise(24, 32, 3, 3, seed=1)
    style = 10 ** noise(4, 32, seed=2)
    found = modulated_conv2d(x, weight, style)[..., 1:-1, 1:-1]
    assert found.std().item() == pytest.approx(1, abs=0.1)
    again = modulated_conv2d(x, weight, 5 * style)[..., 1:-1, 1:-1]
    assert torch.allclose(found, again, atol=1e-4)
    power = (weight[None] * style[:, None, :, None, None]).square().sum(dim=(2, 3, 4))
    assert torch.allclose(demodulation(weight, style).double(), power.rsqrt(), rtol=1e-4)


def test_shapes_that_do_not_fit() -> None:
    x, weight, style = torch.ones(2, 3, 4, 4), torch.ones(5, 3, 3, 3), torch.ones(2, 3)
    with pytest.raises(ShapeError, match="do not fit"):
        modulated_conv2d(x, torch.ones(5, 4, 3, 3), style)
    with pytest.raises(ShapeError, match=r"here \(2, 3\) is needed"):
        modulated_conv2d(x, weight, torch.ones(1, 3))
    with pytest.raises(SettingError, match="no way 'fast'"):
        modulated_conv2d(x, weight, style, way="fast")


# --- AdaIN and activation -----------------------------------------------------------------------


def test_adain_is_instance_norm_with_given_statistics() -> None:
    x, scale, bias = noise(2, 3, 5, 4), noise(2, 3, seed=1), noise(2, 3, seed=2)
    found = adain(x, scale, bias)
    assert torch.allclose(found.mean(dim=(2, 3)), bias)
    assert torch.allclose(found.std(dim=(2, 3), unbiased=False), scale.abs(), atol=1e-6)
    plain = F.instance_norm(x, eps=1e-8)
    assert torch.allclose(found, plain * scale[..., None, None] + bias[..., None, None])


def test_adain_forgets_how_large_a_map_was_and_demodulation_does_not() -> None:
    x, ones = noise(1, 4, 8, 8), torch.ones(1, 4, dtype=torch.double)
    louder = x.clone()
    louder[:, 0] *= 100
    assert torch.allclose(adain(x, ones, 0 * ones), adain(louder, ones, 0 * ones), atol=1e-5)
    weight = noise(4, 4, 3, 3, seed=1)
    quiet, loud = (modulated_conv2d(each, weight, ones) for each in (x, louder))
    assert (loud / quiet).abs().median() > 5


def test_the_activation_keeps_the_mean_square() -> None:
    x = noise(1000, 100)
    found = activate(x, torch.full((100,), 0.5))
    assert torch.allclose(found, F.leaky_relu(x + 0.5, 0.2) * math.sqrt(2))
    assert activate(x).square().mean().item() == pytest.approx(1.04, abs=0.05)
    maps = activate(noise(2, 3, 4, 4), torch.tensor([0.0, 100.0, 0.0]))
    assert maps[:, 1].min() > 100 and maps[:, 0].max() < 100
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(SettingError, match="gain"):
            activate(x, gain=wrong)


@pytest.mark.parametrize("gain", [math.sqrt(2), 1.0])
def test_the_activation_has_the_derivatives_of_its_formula(gain: float) -> None:
    """First ones, and those of their squared norm, through a map that is no ReLU alone."""

    def derivatives(active: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        leaves = [noise(5, 4, 3), noise(4, seed=1)]
        x, bias = (leaf.requires_grad_() for leaf in leaves)
        found = active(x**3, bias)
        first = torch.autograd.grad(found.square().sum(), (x, bias), create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), (x, bias))
        return [*first, *second]

    mine = derivatives(lambda x, bias: activate(x, bias, gain))
    formula = derivatives(lambda x, bias: F.leaky_relu(x + bias[:, None], 0.2) * gain)
    for one, other in zip(mine, formula, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("shape", "resample"),
    [
        ((2, 3, 5, 7), lambda x, k: upfirdn(x, k, down=2, padding=(2, 1))),
        ((2, 3, 5, 4), lambda x, k: upfirdn(x, k, up=2, down=3, padding=(1, 2), gain=4.0)),
        ((2, 3, 4, 6), upsample),
        ((2, 3, 6, 4), downsample),
        ((2, 3, 5, 5), lambda x, k: blur(x, k, padding=2)),
    ],
)
def test_filters_have_the_derivatives_of_finite_differences(
    shape: tuple[int, ...], resample: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """First and second ones, with a kernel that has no symmetry to hide behind."""
    random = generator(3)
    kernel = torch.rand(4, 4, generator=random, dtype=torch.float64)
    x = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return resample(x, kernel).square()  # linear alone has no second derivative

    assert torch.autograd.gradcheck(run, x)
    assert torch.autograd.gradgradcheck(run, x)


def test_the_second_derivative_of_a_filter_has_no_step_for_every_channel() -> None:
    x = torch.randn(1, 64, 8, 8, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as watched:
        found = blur(x, filter_2d(), padding=2)
        (first,) = torch.autograd.grad(found.square().sum(), x, create_graph=True)
        first.square().sum().backward()
    counts = {event.key: event.count for event in watched.key_averages()}
    assert 0 < counts["aten::convolution"] <= 4
