"""LPIPS against the authors' own package on the same trunk weights."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from skimage import data
from torch import Tensor, nn
from torchvision import models

from coursekit.core import weights
from coursekit.core.errors import ImageError, SettingError, ShapeError
from coursekit.core.perceptual import LPIPS, _unit

NETWORKS = ("alex", "vgg")


@functools.cache
def authors(network: str, spatial: bool = False) -> nn.Module:
    """The `lpips` package with its own heads and our ImageNet trunk (its own would be fetched)."""
    import lpips

    name, maker = {"alex": ("alexnet", models.alexnet), "vgg": ("vgg16", models.vgg16)}[network]
    with torch.device("meta"):
        trunk = maker().features
    state = {key.removeprefix("features."): v for key, v in weights.load(name).items()}
    trunk.load_state_dict(state, assign=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in an older way
        built = lpips.LPIPS(net=network, pnet_rand=True, spatial=spatial, verbose=False)
    # Its slices hold torchvision's layers under their numbers.
    for slice_name in ("slice1", "slice2", "slice3", "slice4", "slice5"):
        part = getattr(built.net, slice_name)
        for number in dict(part.named_children()):
            setattr(part, number, trunk[int(number)])
    return built.eval()


@functools.cache
def ours(network: str, spatial: bool = False) -> LPIPS:
    return LPIPS(network, spatial=spatial)


def photographs() -> Tensor:
    """Two crops 72×96 of two photographs."""
    crops = [data.astronaut()[20:92, 160:256], data.chelsea()[80:152, 120:216]]
    return torch.stack([torch.from_numpy(crop.copy()).permute(2, 0, 1) for crop in crops]) / 255


def noise(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 72, 96, generator=torch.Generator().manual_seed(seed))


def pairs() -> dict[str, tuple[Tensor, Tensor]]:
    photos = photographs()
    blurred = nn.functional.avg_pool2d(photos, 5, 1, 2, count_include_pad=False)
    return {
        "two photographs": (photos, photos.flip(0)),
        "a photograph and its blur": (photos, blurred),
        "a photograph and noise": (photos, noise()),
        "noise": (noise(1), noise(2)),
        "black and white": (torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)),
        "nearly equal": (photos, (photos + 0.002 * noise()).clamp(0, 1)),
    }


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", pairs())
@torch.no_grad()
def test_equal_to_the_authors_package(network: str, name: str) -> None:
    first, second = pairs()[name]
    expected = authors(network)(first, second, normalize=True).flatten()
    found = ours(network)(first, second)
    assert found.shape == (first.shape[0],)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_maps_equal_to_the_authors_package(network: str) -> None:
    first, second = photographs(), photographs().flip(3)
    expected = authors(network, spatial=True)(first, second, normalize=True)
    found = ours(network, spatial=True)(first, second)
    assert found.shape == (2, 1, 72, 96)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_gradient_equal_to_the_authors_package() -> None:
    first, second = photographs()[:1], photographs()[1:]
    gradients = []
    for metric in (ours("alex"), lambda a, b: authors("alex")(a, b, normalize=True)):
        leaf = first.clone().requires_grad_()
        metric(leaf, second).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_zero_for_twins_symmetric_and_never_negative(network: str) -> None:
    metric, first, second = ours(network), photographs(), noise()
    assert torch.equal(metric(first, first.clone()), torch.zeros(2))
    torch.testing.assert_close(metric(first, second), metric(second, first))
    assert (metric(first, second) > 0.1).all()
    alone = torch.cat([metric(first[i : i + 1], second[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(metric(first, second), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", ["identical", "black twins", "black against a photograph"])
def test_gradient_is_finite_where_features_are_zero_or_equal(network: str, case: str) -> None:
    photo = photographs()[:1]
    start, other = {
        "identical": (photo.clone(), photo),
        "black twins": (torch.zeros_like(photo), torch.zeros_like(photo)),
        "black against a photograph": (torch.zeros_like(photo), photo),
    }[case]
    start.requires_grad_()
    ours(network)(start, other).sum().backward()
    assert torch.isfinite(start.grad).all()
    assert (start.grad.abs().max() > 0) == (case == "black against a photograph")


def test_gradient_is_finite_where_all_features_of_a_position_are_zero() -> None:
    features = torch.zeros(1, 4, 2, 2)
    features[0, :, 0, 0] = torch.tensor([3.0, 0.0, 4.0, 0.0])
    features.requires_grad_()
    scaled = _unit(features)
    assert scaled[0, :, 0, 0].tolist() == pytest.approx([0.6, 0, 0.8, 0])
    assert not scaled[0, :, 1, 1].any()
    (scaled - torch.ones(1, 4, 2, 2)).square().sum().backward()
    assert torch.isfinite(features.grad).all()


@torch.no_grad()
def test_blur_is_far_for_lpips_though_near_for_pixels() -> None:
    """The paper's point (its figure 1), on a texture: L2 prefers the blur, LPIPS the shift."""
    grass = torch.from_numpy(data.grass()[:130, :130].copy()).float()[None, None] / 255
    grass = grass.expand(-1, 3, -1, -1)
    original, shifted = grass[..., :128, :128], grass[..., 1:129, 1:129]
    blurred = nn.functional.avg_pool2d(original, 5, 1, 2, count_include_pad=False)
    assert (blurred - original).square().mean() < (shifted - original).square().mean()
    metric = ours("alex")
    assert metric(blurred, original) > metric(shifted, original)


def test_the_metric_is_frozen() -> None:
    metric = ours("alex")
    assert not any(parameter.requires_grad for parameter in metric.parameters())
    assert not any(buffer.requires_grad for buffer in metric.buffers())
    metric.train()
    assert not metric.features.training


def test_errors() -> None:
    with pytest.raises(SettingError, match=r"'squeeze'.*alex.*vgg"):
        LPIPS("squeeze")
    with pytest.raises(ShapeError, match=r"\(2, 3, 72, 96\).*\(1, 3, 72, 96\)"):
        ours("alex")(noise(), noise()[:1])
    with pytest.raises(ImageError, match="too small"):
        ours("alex")(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
