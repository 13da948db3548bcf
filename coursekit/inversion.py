"""Topic 01: what is left of an image in a network's features, and features as a distance.

First half: inversion of a feature map with a total variation prior (Mahendran & Vedaldi 2015).
Second half: distances between patches on a two-alternatives test (Zhang et al. 2018).
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.features import FeatureExtractor, layer_names
from coursekit.core.images import load_image, to_pil
from coursekit.core.losses import isotropic_total_variation
from coursekit.core.optimise import PixelResult, optimise_pixels
from coursekit.core.runtime import generator

# Found by looking at every layer of both networks (notebook 01 shows what other values do).
# AlexNet needs more: its first layer takes every fourth pixel and is blind to fine patterns.
TV_WEIGHTS = {"alexnet": 1.0, "vgg16": 0.5, "vgg19": 0.5}
TV_BETA = 1.5
NOISE = 0.02

Metric: TypeAlias = Callable[[Tensor, Tensor], Tensor]


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
    if features.shape[1:] != target.shape[1:] or target.shape[0] not in (1, features.shape[0]):
        raise ShapeError(
            f"Features {tuple(features.shape)} cannot be compared with {tuple(target.shape)}. "
            "Take both from one layer, at one image size."
        )
    energy = target.square().flatten(1).sum(1)
    if not energy.all():
        raise ShapeError("The target features are zero everywhere. Choose an earlier layer.")
    return (features - target).square().flatten(1).sum(1) / energy


def tv_prior(images: Tensor, beta: float = TV_BETA) -> Tensor:
    r"""Total variation per pixel, :math:`\frac{1}{HW}\sum (\Delta_x^2+\Delta_y^2)^{\beta/2}`.

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
        target: :math:`\Phi_0`, (N or 1, C, h, w).
        weight: :math:`\lambda`, from 0 upwards.

    Returns:
        A loss for `optimise_pixels` with the terms ``features`` and ``tv`` (weighted).

    Raises:
        SettingError: a weight below 0 or a beta that is not above 0.
    """
    if weight < 0 or beta <= 0:
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

    Noise far stronger than this leaves traces that deep layers do not see and nothing removes.
    """
    noise = torch.randn(1, 3, *size, generator=generator(seed))
    return (0.5 + amplitude * noise).clamp(0, 1).to(device)


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
        start: first image; by default white noise from ``seed`` with amplitude ``noise``.
        settings: passed on to `optimise_pixels` (``steps``, ``method``, ``snapshots`` …).

    Returns:
        Image, history with the terms ``features`` and ``tv``, snapshots.

    Raises:
        LayerError: the network has no such layer.
        ImageError: the image is too small for the layer.
        SettingError: a setting that cannot be used.
    """
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
    L-BFGS. ``images`` is not changed.
    """
    pixels = images.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(pixels), pixels)
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
    """Feature maps (N, C, h, w) of ``images``, without a gradient."""
    return extractor(images)[layer]


@torch.no_grad()
def feature_errors(
    network: str | FeatureExtractor, layer: str, images: Tensor, original: Tensor
) -> list[float]:
    """`relative_errors` (eq. 2) of each image's features in ``layer`` against ``original``'s."""
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
    """`invert` (eq. 1) from each of ``layers`` (by default every convolution), by layer name."""
    names = conv_layers(network) if layers is None else layers
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


# Distances between patches.


def squared_error(images: Tensor, others: Tensor) -> Tensor:
    """L2: mean squared difference of the pixels, (N,); 0 for twins."""
    _same_size(images, others)
    return (images - others).square().mean(dim=(1, 2, 3))


def psnr(images: Tensor, others: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio :math:`-10 \log_{10} \mathrm{MSE}` in dB for [0, 1], (N,).

    It falls as `squared_error` grows and ranks pairs the same way; infinite for twins.
    """
    return -10 * squared_error(images, others).log10()


def dissimilarity(images: Tensor, others: Tensor) -> Tensor:
    """1 − SSIM (Wang et al. 2004: Gaussian window, sigma 1.5), (N,); 0 for twins.

    Raises:
        ShapeError: the batches differ in size, or a side is below the window's 11 pixels.
    """
    from skimage.metrics import structural_similarity

    _same_size(images, others)
    if min(images.shape[-2:]) < 11:
        raise ShapeError(f"SSIM needs sides of 11 pixels, got {tuple(images.shape[-2:])}.")
    settings = dict(data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5)
    pairs = zip(images.cpu().double().numpy(), others.cpu().double().numpy(), strict=True)
    scores = [
        structural_similarity(a, b, use_sample_covariance=False, **settings) for a, b in pairs
    ]
    return 1 - torch.tensor(scores, dtype=torch.float32)


def unit_feature_distance(features: Tensor, others: Tensor, epsilon: float = 1e-10) -> Tensor:
    r"""The core of LPIPS in one layer, before its calibration (Zhang et al. 2018, eq. 1, w = 1):

    :math:`\frac{1}{HW}\sum_{hw}\|\hat y_{hw} - \hat z_{hw}\|^2`, (N,), where the hat scales the
    vector of channels at each position to length 1. It lies in [0, 4].

    Raises:
        ShapeError: the maps (N, C, H, W) differ in size.
    """
    _same_size(features, others)
    unit, other = (F.normalize(each, dim=1, eps=epsilon) for each in (features, others))
    return (unit - other).square().sum(dim=1).mean(dim=(1, 2))


def _same_size(images: Tensor, others: Tensor) -> None:
    if images.shape != others.shape or images.dim() != 4:
        raise ShapeError(
            f"Two batches (N, C, H, W) of one size are needed, got {tuple(images.shape)} and "
            f"{tuple(others.shape)}."
        )


# Distortions. Each maps patches (N, 3, H, W) in [0, 1] to the same, is seeded, and gets stronger
# as its strength moves away from that of the identity.


def blur(images: Tensor, sigma: float, seed: int = 0) -> Tensor:
    """Gaussian blur (Zhang et al. 2018, section 3.1); ``sigma`` in pixels, borders mirrored."""
    radius = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    positions = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    line = torch.exp(-positions.square() / (2 * max(sigma, 1e-6) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(images, [radius] * 4, mode="reflect")
    channels = images.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels).clamp(0, 1)


def noise(images: Tensor, amplitude: float, seed: int = 0) -> Tensor:
    """Gaussian white noise (Zhang et al. 2018, section 3.1) of deviation ``amplitude``."""
    values = torch.randn(images.shape, generator=generator(seed)).to(images)
    return (images + amplitude * values).clamp(0, 1)


def shift(images: Tensor, pixels: float, seed: int = 0) -> Tensor:
    """Move by ``pixels`` each way, signs by chance, borders repeated (Zhang et al. 2018, §3.1)."""
    signs = 2 * torch.randint(2, (2,), generator=generator(seed)) - 1
    down, across = (int(sign) * int(pixels) for sign in signs)
    pad = abs(int(pixels))
    padded = F.pad(images, [pad] * 4, mode="replicate")
    height, width = images.shape[-2:]
    return padded[..., pad + down : pad + down + height, pad + across : pad + across + width]


def jpeg(images: Tensor, quality: float, seed: int = 0) -> Tensor:
    """Save as JPEG of ``quality`` 1 … 95 and read again (Zhang et al. 2018, section 3.1).

    Raises:
        SettingError: a quality outside that range.
    """
    if not 1 <= quality <= 95:
        raise SettingError(f"JPEG quality is {quality}; give 1 … 95.")
    return torch.cat([_through_jpeg(image, int(quality)) for image in images]).to(images)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    to_pil(image).save(file, format="JPEG", quality=quality)
    return load_image(Image.open(file))


def colour(images: Tensor, amount: float, seed: int = 0) -> Tensor:
    """Add one colour of length ``amount``, random direction (Zhang et al. 2018, section 3.1)."""
    direction = torch.randn(3, generator=generator(seed))
    tint = amount * direction / direction.norm()
    return (images + tint.view(1, 3, 1, 1).to(images)).clamp(0, 1)


Distortion: TypeAlias = Callable[[Tensor, float, int], Tensor]

#: Name -> (function, strengths from weak to strong).
DISTORTIONS: dict[str, tuple[Distortion, tuple[float, ...]]] = {
    "blur": (blur, (0.7, 1.2, 2.0)),
    "noise": (noise, (0.03, 0.07, 0.12)),
    "shift": (shift, (1, 2, 4)),
    "JPEG": (jpeg, (40, 15, 5)),
    "colour": (colour, (0.08, 0.16, 0.3)),
}


# The two-alternatives test.


@dataclass(frozen=True)
class Trial:
    """One question: which of two distorted patches is closer to the reference? (Zhang et al. 2018)

    Attributes:
        reference: (3, H, W), like ``left`` and ``right``.
        names: what was done on the left and on the right.
        distances: metric -> its distance of (left, right) to the reference.
        patch: which reference of the batch it is.
    """

    reference: Tensor
    left: Tensor
    right: Tensor
    names: tuple[str, str]
    distances: dict[str, tuple[float, float]]
    patch: int

    def closer(self, metric: str) -> int:
        """0 if ``metric`` finds the left patch closer, 1 if the right one."""
        left, right = self.distances[metric]
        return int(right < left)

    def margin(self, metric: str) -> float:
        """How sure ``metric`` is: the larger distance over the smaller, from 1 to infinity."""
        near, far = sorted(self.distances[metric])
        return far / max(near, 1e-12)


def two_alternatives(
    patches: Tensor,
    metrics: Mapping[str, Metric],
    *,
    distortions: Mapping[str, tuple[Distortion, Sequence[float]]] | None = None,
    seed: int = 0,
) -> list[Trial]:
    """All questions that these patches and distortions allow, measured with every metric.

    Two alternatives, one to be chosen (Zhang et al. 2018, section 3.2). Each pair has two different
    kinds of distortion; which one is on the left is random.

    Args:
        patches: references (N, 3, H, W) in [0, 1].
        metrics: name -> function of two batches that returns distances (N,), 0 for twins.
        distortions: like `DISTORTIONS`, which is the default.
        seed: of the noise, the directions and the sides.

    Raises:
        SettingError: no metric, or fewer than two kinds of distortion.
    """
    table = DISTORTIONS if distortions is None else distortions
    if not metrics or len(table) < 2:
        raise SettingError("Give at least one metric and two kinds of distortion.")
    made = _distort(patches, table, seed)
    distances = {
        (name, index): metric(distorted, patches).tolist()
        for name, metric in metrics.items()
        for index, (_, _, distorted) in enumerate(made)
    }
    sides = generator(seed)
    trials = []
    for patch in range(len(patches)):
        for pair in itertools.combinations(range(len(made)), 2):
            if made[pair[0]][0] == made[pair[1]][0]:
                continue
            left, right = pair if torch.rand((), generator=sides) < 0.5 else pair[::-1]
            measured = {m: (distances[m, left][patch], distances[m, right][patch]) for m in metrics}
            pictures = made[left][2][patch], made[right][2][patch]
            names = made[left][1], made[right][1]
            trials.append(Trial(patches[patch], *pictures, names, measured, patch))
    return trials


@torch.no_grad()
def _distort(
    patches: Tensor, table: Mapping[str, tuple[Distortion, Sequence[float]]], seed: int
) -> list[tuple[str, str, Tensor]]:
    """(kind, kind with strength, distorted patches) of every distortion and strength."""
    made: list[tuple[str, str, Tensor]] = []
    for kind, (function, strengths) in table.items():
        for strength in strengths:
            seeds = range(
                seed * 1000 + len(made), seed * 1000 + len(made) + 100 * len(patches), 100
            )
            each = [function(p[None], strength, s) for p, s in zip(patches, seeds, strict=True)]
            made.append((kind, f"{kind} {strength:g}", torch.cat(each)))
    return made


def agreement(trials: Sequence[Trial], metrics: Sequence[str]) -> list[list[int]]:
    """How many trials two metrics answer alike: ``table[i][j]`` for metrics[i], metrics[j]."""
    return [
        [sum(trial.closer(a) == trial.closer(b) for trial in trials) for b in metrics]
        for a in metrics
    ]


def disagreements(
    trials: Sequence[Trial], metric: str, others: Sequence[str], count: int = 4
) -> list[Trial]:
    """Trials in which all ``others`` answer one way and ``metric`` the other, surest first.

    Sorted by the smallest margin of all the metrics. Each pair of distortion kinds and each patch
    is taken once at most.
    """
    against = [
        trial
        for trial in trials
        if all(trial.closer(other) != trial.closer(metric) for other in others)
    ]
    against.sort(key=lambda trial: -min(trial.margin(name) for name in [metric, *others]))
    chosen: list[Trial] = []
    kinds: set[frozenset[str]] = set()
    for trial in against:
        pair = frozenset(name.split()[0] for name in trial.names)
        if pair not in kinds and trial.patch not in {other.patch for other in chosen}:
            kinds.add(pair)
            chosen.append(trial)
    return chosen[:count]
