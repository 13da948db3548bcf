"""Topic 01, second half: distances between patches, and a test of two alternatives.

Which of two distorted patches is closer to the reference? Metrics answer as people do, or not
(Zhang et al. 2018). Patches are (N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.images import check_images, load_image, to_pil
from coursekit.core.runtime import generator

Metric: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# Distances between patches.


def squared_error(images: Tensor, others: Tensor) -> Tensor:
    """L2: mean squared difference of the pixels, (N,); 0 for twins.

    Raises:
        ShapeError: the batches differ in size, or are not (N, C, H, W).
    """
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
    """Gaussian blur (Zhang et al. 2018, section 2.1); ``sigma`` in pixels, borders mirrored.

    Raises:
        SettingError: a sigma below 0.
        ShapeError: not (N, C, H, W).
    """
    if not sigma >= 0:
        raise SettingError(f"sigma={sigma}: a blur has a width of 0 pixels or more.")
    if images.dim() != 4:
        raise ShapeError(f"Expected patches (N, C, H, W), got {tuple(images.shape)}.")
    radius = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    positions = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    line = torch.exp(-positions.square() / (2 * max(sigma, 1e-6) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(images, [radius] * 4, mode="reflect")
    channels = images.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels).clamp(0, 1)


def noise(images: Tensor, amplitude: float, seed: int = 0) -> Tensor:
    """Gaussian white noise (Zhang et al. 2018, section 2.1) of deviation ``amplitude``.

    Shapes as for `blur`.
    """
    values = torch.randn(images.shape, generator=generator(seed)).to(images)
    return (images + amplitude * values).clamp(0, 1)


def shift(images: Tensor, pixels: float, seed: int = 0) -> Tensor:
    """Move by ``pixels`` each way, signs by chance, borders repeated (Zhang et al. 2018, §2.1).

    Shapes as for `blur`.
    """
    signs = 2 * torch.randint(2, (2,), generator=generator(seed)) - 1
    down, across = (int(sign) * int(pixels) for sign in signs)
    pad = abs(int(pixels))
    padded = F.pad(images, [pad] * 4, mode="replicate")
    height, width = images.shape[-2:]
    return padded[..., pad + down : pad + down + height, pad + across : pad + across + width]


def jpeg(images: Tensor, quality: float, seed: int = 0) -> Tensor:
    """Save as JPEG of ``quality`` 1 … 95 and read again (Zhang et al. 2018, section 2.1).

    Shapes as for `blur`.

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
    """Add one colour of length ``amount``, random direction (Zhang et al. 2018, section 2.1).

    Shapes as for `blur`.
    """
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
        """0 if ``metric`` finds the left patch closer, 1 if the right one.

        Raises:
            SettingError: the metric was not asked.
        """
        left, right = self._pair(metric)
        return int(right < left)

    def margin(self, metric: str) -> float:
        """How sure ``metric`` is: the larger distance over the smaller, from 1 to infinity.

        Raises:
            SettingError: the metric was not asked.
        """
        near, far = sorted(self._pair(metric))
        return far / max(near, 1e-12)

    def _pair(self, metric: str) -> tuple[float, float]:
        if metric not in self.distances:
            there = ", ".join(self.distances)
            raise SettingError(f"The trials were not measured by {metric!r}, only by {there}.")
        return self.distances[metric]


def two_alternatives(
    patches: Tensor,
    metrics: Mapping[str, Metric],
    *,
    distortions: Mapping[str, tuple[Distortion, Sequence[float]]] | None = None,
    seed: int = 0,
) -> list[Trial]:
    """All questions that these patches and distortions allow, measured with every metric.

    Two alternatives, one to be chosen (Zhang et al. 2018, section 2.2). Each pair has two different
    kinds of distortion; which one is on the left is random.

    Args:
        patches: references (N, 3, H, W) in [0, 1].
        metrics: name -> function of two batches that returns distances (N,), 0 for twins.
        distortions: like `DISTORTIONS`, which is the default.
        seed: of the noise, the directions and the sides.

    Raises:
        SettingError: no metric, fewer than two kinds of distortion, or a metric that does not give
            one distance a patch.
        ImageError: the patches are no pictures.
    """
    check_images(patches, "patches")
    table = DISTORTIONS if distortions is None else distortions
    if not metrics or len(table) < 2:
        raise SettingError("Give at least one metric and two kinds of distortion.")
    made = _distort(patches, table, seed)
    distances = {
        (name, index): _distances(name, metric(distorted, patches), len(patches))
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


def _distances(name: str, found: Tensor, count: int) -> list[float]:
    if not isinstance(found, Tensor) or found.shape != (count,):
        got = tuple(found.shape) if isinstance(found, Tensor) else found
        raise SettingError(f"The metric {name!r} returned {got}; it must be distances ({count},).")
    return found.tolist()


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
