"""Topic 01: what is left of an image in a network's features, and features as a distance.

Here: inversion of a feature map with a total variation prior (Mahendran & Vedaldi 2015). What is
measured between patches (Zhang et al. 2018) is in `coursekit.inversion_distances`. Images are
(N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from coursekit.core.errors import LayerError, SettingError, ShapeError
from coursekit.core.features import FeatureExtractor, layer_names, of_layers
from coursekit.core.images import check_images, sides_of
from coursekit.core.losses import isotropic_total_variation
from coursekit.core.optimise import PixelResult, optimise_pixels
from coursekit.core.runtime import find_device, generator
from coursekit.inversion_distances import (
    DISTORTIONS,
    Distortion,
    Metric,
    Trial,
    agreement,
    blur,
    colour,
    disagreements,
    dissimilarity,
    jpeg,
    noise,
    psnr,
    shift,
    squared_error,
    two_alternatives,
    unit_feature_distance,
)

__all__ = [
    "DISTORTIONS",
    "NOISE",
    "TV_BETA",
    "TV_WEIGHTS",
    "Distortion",
    "Metric",
    "Trial",
    "agreement",
    "as_extractor",
    "blur",
    "colour",
    "conv_layers",
    "difference_map",
    "disagreements",
    "dissimilarity",
    "feature_errors",
    "feature_loss",
    "features_of",
    "gradient_step",
    "invert",
    "invert_layers",
    "jpeg",
    "noise",
    "objective",
    "psnr",
    "relative_errors",
    "shift",
    "squared_error",
    "tv_prior",
    "two_alternatives",
    "unit_feature_distance",
    "white_noise",
]

# Found by looking at every layer of both networks (notebook 01 shows what other values do).
# AlexNet needs more: its first layer, large filters at every fourth pixel, misses fine patterns.
TV_WEIGHTS = {"alexnet": 1.0, "vgg16": 0.5, "vgg19": 0.5}
TV_BETA = 1.5
NOISE = 0.02


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Relative feature loss :math:`\|\Phi(x) - \Phi_0\|^2 / \|\Phi_0\|^2`, mean over the batch.

    Mahendran & Vedaldi 2015, eq. 2, normalised as in their section on balancing the terms: 0 is a
    perfect match and 1 is what an all-zero feature map scores, in every layer.

    Args:
        features: :math:`\Phi(x)`, (N, C, H, W).
        target: :math:`\Phi_0`, (N or 1, C, H, W).

    Raises:
        ShapeError: the maps differ in size, or the target is zero everywhere.
    """
    return relative_errors(features, target).mean()


def relative_errors(features: Tensor, target: Tensor) -> Tensor:
    """`feature_loss` of each image, (N,) (Mahendran & Vedaldi 2015, eq. 2).

    Raises:
        ShapeError: the maps differ in size, or the target is zero everywhere.
    """
    maps = features.dim() == 4 and features.shape[1:] == target.shape[1:] and features.numel()
    if not maps or target.shape[0] not in (1, features.shape[0]):
        raise ShapeError(
            f"Features {tuple(features.shape)} cannot be compared with {tuple(target.shape)}. "
            "Take both (N, C, H, W) from one layer, at one image size."
        )
    energy = target.square().flatten(1).sum(1)
    if not energy.all():
        raise ShapeError("The target features are zero everywhere. Choose an earlier layer.")
    return (features - target).square().flatten(1).sum(1) / energy


def tv_prior(images: Tensor, beta: float = TV_BETA) -> Tensor:
    r"""Total variation per pixel, :math:`\frac{1}{HW}\sum (\Delta_x^2+\Delta_y^2)^{\beta/2}`, of
    images (N, 3, H, W): a scalar.

    Differs from Mahendran & Vedaldi 2015 in the division by H·W: one weight then serves all sizes.

    Raises:
        ShapeError: the images are less than 2 pixels wide or high.
    """
    return isotropic_total_variation(images, beta) / (images.shape[-2] * images.shape[-1])


def objective(
    network: Callable[[Tensor], Mapping[str, Tensor]],
    layer: str,
    target: Tensor,
    *,
    weight: float,
    beta: float = TV_BETA,
) -> Callable[[Tensor], dict[str, Tensor]]:
    r"""The function of the pixels that inversion minimises (Mahendran & Vedaldi 2015, eq. 1):

    :math:`E(x) = \|\Phi(x) - \Phi_0\|^2 / \|\Phi_0\|^2 + \lambda R(x)`.

    Args:
        network: maps images (N, 3, H, W) in [0, 1] to ``{layer: features}``.
        layer: whose features are compared.
        target: :math:`\Phi_0`, (N or 1, C, h, w).
        weight: :math:`\lambda`, from 0 upwards.
        beta: the exponent of R, see `tv_prior`.

    Returns:
        A loss for `optimise_pixels` with the terms ``features`` and ``tv`` (weighted).

    Raises:
        SettingError: a weight below 0 or a beta that is not above 0.
    """
    if not (weight >= 0 and beta > 0):
        raise SettingError(f"weight={weight}, beta={beta}: use a weight >= 0 and a beta > 0.")

    def loss(images: Tensor) -> dict[str, Tensor]:
        features = network(images)[layer]
        return {
            "features": feature_loss(features, target),
            "tv": weight * tv_prior(images, beta),
        }

    return loss


def white_noise(
    size: tuple[int, int],
    *,
    seed: int = 0,
    amplitude: float = NOISE,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The start: mid grey plus Gaussian white noise, (1, 3, H, W), clamped to [0, 1].

    ``size`` is (height, width) in pixels, or one number for both. Noise far stronger than this
    leaves traces that deep layers do not see and nothing removes.
    """
    noise = torch.randn(1, 3, *sides_of(size), generator=generator(seed))
    return (0.5 + amplitude * noise).clamp(0, 1).to(find_device(device))


def invert(
    network: str | FeatureExtractor,
    layer: str,
    image: Tensor,
    *,
    weight: float | None = None,
    beta: float = TV_BETA,
    start: Tensor | None = None,
    noise: float = NOISE,
    seed: int = 0,
    **settings: Any,
) -> PixelResult:
    r"""Find an image whose features in ``layer`` are those of ``image``.

    Differs from Mahendran & Vedaldi 2015: pixels stay in [0, 1] instead of the second regulariser
    :math:`\|x\|_\alpha^\alpha`, and L-BFGS replaces gradient descent with momentum: it needs
    fewer steps.

    Args:
        network: ``"vgg16"``, ``"vgg19"``, ``"alexnet"``, or an extractor that has ``layer``.
        layer: the layer to invert, by its paper name.
        image: :math:`x_0` (1, 3, H, W) in [0, 1]; only its features are used.
        weight: :math:`\lambda` of the total variation per pixel (`tv_prior`); by default the
            network's in ``TV_WEIGHTS``.
        beta: its exponent; 1 keeps edges, 2 smooths.
        start: first image, like ``image``; by default white noise from ``seed`` with amplitude
            ``noise``.
        settings: passed on to `optimise_pixels` (``steps``, ``method``, ``snapshots`` …).

    Returns:
        Image, history with the terms ``features`` and ``tv``, snapshots.

    Raises:
        LayerError: the network has no such layer.
        ImageError: the image is too small for the layer.
        SettingError: a setting that cannot be used.
    """
    check_images(image, "image")
    extractor = as_extractor(network, layer).to(image.device)
    target = features_of(extractor, layer, image)
    if start is None:
        size = (image.shape[-2], image.shape[-1])
        start = white_noise(size, seed=seed, amplitude=noise, device=image.device)
    weight = TV_WEIGHTS[extractor.network] if weight is None else weight
    loss = objective(extractor, layer, target, weight=weight, beta=beta)
    return optimise_pixels(loss, start, **settings)


def gradient_step(images: Tensor, loss: Callable[[Tensor], Tensor], rate: float) -> Tensor:
    r"""One step of plain gradient descent, :math:`x \leftarrow x - \eta \nabla E(x)`, in [0, 1].

    The lecture's procedure at its simplest, for E of Mahendran & Vedaldi 2015, eq. 1; `invert` uses
    L-BFGS. ``images`` (N, 3, H, W) is not changed.

    Raises:
        SettingError: the loss is not one number that depends on the image.
    """
    pixels = images.detach().clone().requires_grad_(True)
    value = loss(pixels)
    if value.dim() or not value.requires_grad:
        raise SettingError(
            f"The loss {tuple(value.shape)} must be one number () that depends on the image. "
            "Sum or average it, and leave out .detach()."
        )
    (gradient,) = torch.autograd.grad(value, pixels)
    return (pixels.detach() - rate * gradient).clamp(0, 1)


def as_extractor(network: str | FeatureExtractor, layer: str) -> FeatureExtractor:
    """Return ``network`` if it already gives ``layer``, else a new extractor cut after it.

    Raises:
        LayerError: there is no such layer.
    """
    if isinstance(network, FeatureExtractor):
        if layer in network.layers:
            return network
        network = network.network
    return FeatureExtractor(network, [layer])


@torch.no_grad()
def features_of(extractor: FeatureExtractor, layer: str, images: Tensor) -> Tensor:
    """Feature maps (N, C, h, w) of ``images``, without a gradient.

    Raises:
        LayerError: the extractor was not asked for this layer.
    """
    return of_layers(extractor(images), [layer])[layer]


@torch.no_grad()
def feature_errors(
    network: str | FeatureExtractor, layer: str, images: Tensor, original: Tensor
) -> list[float]:
    """`relative_errors` (eq. 2) of each image's features in ``layer`` against ``original``'s.

    Images are (N, 3, H, W), the original is one of them or one for each.
    """
    extractor = as_extractor(network, layer).to(images.device)
    return relative_errors(extractor(images)[layer], extractor(original)[layer]).tolist()


def conv_layers(network: str) -> tuple[str, ...]:
    """The convolutional layers in order: 5 for AlexNet, 13 for VGG-16, 16 for VGG-19.

    Raises:
        SettingError: there is no such network.
    """
    return tuple(name for name in layer_names(network) if name.startswith("conv"))


def invert_layers(
    network: str,
    image: Tensor,
    layers: Sequence[str] | None = None,
    *,
    progress: bool = True,
    **settings: Any,
) -> dict[str, PixelResult]:
    """`invert` (eq. 1) from each of ``layers`` (by default every convolution), by layer name.

    ``image`` as for `invert`.

    Raises:
        LayerError: no layer is named, or one that the network does not have.
    """
    names = conv_layers(network) if layers is None else layers
    names = [names] if isinstance(names, str) else names
    if not names:
        raise LayerError("There is no layer to invert; name some, or leave ``layers`` out.")
    bar = tqdm(names, desc=network, disable=not progress, leave=False)
    return {name: invert(network, name, image, progress=False, **settings) for name in bar}


def difference_map(images: Tensor) -> Tensor:
    """What varies among N images: standard deviation per pixel, (H, W), mean over channels.

    Raises:
        ShapeError: fewer than two images.
    """
    if images.dim() != 4 or images.shape[0] < 2:
        raise ShapeError(f"At least two images (N, 3, H, W) are needed, got {tuple(images.shape)}.")
    return images.std(dim=0, correction=0).mean(dim=0)
