"""The pyramid gives images back, distances are SciPy's, and a fault shows at its own scale."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator
from coursekit.progan_distance import (
    double,
    halve,
    laplacian_pyramid,
    patches,
    sliced_wasserstein,
    standardise,
    swd,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def clouds(count: int, size: int = 32, seed: int = 0) -> Tensor:
    """Smooth shapes with detail at every scale."""
    levels = [
        F.interpolate(noise(count, 3, size // s, size // s, seed=seed + s), size, mode="bilinear")
        for s in (1, 4, 16)
    ]
    return 0.2 * levels[0] + levels[1] + 2 * levels[2]


def test_the_pyramid_gives_the_images_back() -> None:
    images = noise(2, 3, 32, 48)
    finest, middle, rest = laplacian_pyramid(images, 3)
    assert [tuple(each.shape[2:]) for each in (finest, middle, rest)] == [
        (32, 48),
        (16, 24),
        (8, 12),
    ]
    assert torch.allclose(double(double(rest) + middle) + finest, images, atol=1e-5)


def test_smoothing_keeps_a_constant_and_stops_the_checkerboard() -> None:
    grey = torch.full((1, 2, 8, 8), 3.0)
    assert torch.allclose(halve(grey), torch.tensor(3.0))
    assert torch.allclose(double(grey)[..., 2:-3, 2:-3], torch.tensor(3.0))
    assert (
        laplacian_pyramid(torch.full((1, 1, 16, 16), 2.0), 2)[0][..., 4:-4, 4:-4].abs().max() < 1e-6
    )
    checks = (torch.arange(16).view(-1, 1) + torch.arange(16)).remainder(2).float()[None, None]
    assert torch.allclose(halve(checks), torch.tensor(0.5), atol=1e-6)


def test_patches_are_cut_out_of_their_own_image() -> None:
    rows = torch.arange(20.0).view(1, 1, -1, 1).expand(2, 1, 20, 12)
    columns = torch.arange(12.0).expand(2, 1, 20, 12)
    number = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 20, 12)
    found = patches(torch.cat([rows, columns, number], dim=1), 30, generator(0))
    assert found.shape == (60, 3, 7, 7)
    down, right = found[:, 0].diff(dim=1), found[:, 1].diff(dim=2)
    assert (down == 1).all() and (right == 1).all()
    assert (found[:30, 2] == 0).all() and (found[30:, 2] == 1).all()
    assert found[:, 0].min() == 0 and found[:, 0].max() == 19
    assert len({float(patch[0, 0, 0]) for patch in found}) > 5


def test_standardised_patches() -> None:
    found = standardise(5 + 3 * noise(200, 3, 7, 7)).unflatten(1, (3, 49))
    assert torch.allclose(found.mean(dim=(0, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(found.std(dim=(0, 2)), torch.ones(3), atol=1e-3)


def test_the_distance_on_a_line_is_scipy_s() -> None:
    first, second = noise(50, 1), 2 * noise(50, 1, seed=1) + 1
    found = sliced_wasserstein(first, second, generator(0), directions=3)
    wanted = wasserstein_distance(first[:, 0].numpy(), second[:, 0].numpy())
    assert found.tolist() == pytest.approx([wanted] * 3, rel=1e-4)


def test_a_shift_has_a_known_distance() -> None:
    """E|cos| of a shift by d in D dimensions: d · E|u·e|, in two dimensions d · 2/π."""
    points = noise(40, 2)
    found = sliced_wasserstein(
        points, points + torch.tensor([3.0, 0.0]), generator(0), directions=4000
    )
    assert found.mean().item() == pytest.approx(3 * 2 / torch.pi, rel=0.05)
    with pytest.raises(ShapeError):
        sliced_wasserstein(points, points[:5], generator(0))


def test_a_fault_shows_at_its_own_scale() -> None:
    real, other = clouds(60, seed=0), clouds(60, seed=1000)
    floor = swd(real, other, descriptors=32)
    assert list(floor.by_size) == [32, 16]
    blurred = swd(real, F.avg_pool2d(other, 3, 1, 1), descriptors=32)
    assert blurred.by_size[32].value > 1.2 * floor.by_size[32].value
    stripes = other + 2 * torch.linspace(0, 4, 32).sin().view(1, 1, 1, -1)
    coarse = swd(real, stripes, descriptors=32)
    assert coarse.by_size[16].value > 1.2 * floor.by_size[16].value
    assert "16:" in str(coarse) and coarse.mean > floor.mean


def test_same_seed_same_distances() -> None:
    real, fake = clouds(10), clouds(10, seed=50)
    one, two = (swd(real, fake, descriptors=8, seed=3) for _ in range(2))
    assert one == two != swd(real, fake, descriptors=8, seed=4)
    assert one.by_size[32].covers(one.by_size[32].value)


def test_bad_input() -> None:
    images = noise(2, 3, 32, 32)
    for other in (images[:1], noise(2, 3, 16, 16)):
        with pytest.raises(ShapeError, match="equally many"):
            swd(images, other)
    with pytest.raises(ShapeError, match="cannot be halved"):
        laplacian_pyramid(noise(1, 3, 30, 32), 3)
    with pytest.raises(ShapeError, match="hold no patch"):
        patches(noise(1, 3, 6, 32), 1, generator(0))
    for wrong in ({"repeats": 1}, {"descriptors": 0}):
        with pytest.raises(SettingError):
            swd(images, images, **wrong)
    with pytest.raises(SettingError, match="levels=0"):
        laplacian_pyramid(images, 0)
