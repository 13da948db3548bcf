"""How far generated images are from real ones: FID and KID with our extractors, PSNR, SSIM.

FID: Heusel et al. 2017, eq. 6. KID: Bińkowski et al. 2018, section 4. A score carries the name
of its feature extractor, how many images it saw and an interval, and refuses to be compared
across extractors. torchmetrics does the sums; it is imported on first use.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.estimates import (
    LEVEL,
    Comparison,
    Estimate,
    Score,
    compare,
    mean_interval,
    proportion,
    spearman,
)
from coursekit.core.recogniser import unit_images

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchvision.models import WeightsEnum

Generate: TypeAlias = Callable[[int, torch.Generator], Tensor]

__all__ = [
    "Comparison",
    "Estimate",
    "Extractor",
    "RealStatistics",
    "Score",
    "compare",
    "digit_extractor",
    "fid",
    "fid_of",
    "inception_extractor",
    "kid",
    "kid_of",
    "mean_interval",
    "proportion",
    "psnr",
    "recogniser_extractor",
    "spearman",
    "ssim",
    "vgg_extractor",
]

# Below this FID is refused. Real digits against other real digits should give zero: from 100
# images they give a fifth of what blurred digits give, from 25 half of it (tests/test_metrics.py).
FID_MINIMUM = 100


class Extractor:
    """A frozen network as a measuring instrument: images in, one feature vector each out.

    Args:
        name: with the version or digest of the weights; two extractors of one name must be the
            same instrument.
        features: images (n, channels, H, W) in [0, 1] -> (n, D).
        channels: 1 or 3; images with the other number are converted.
        batch: how many images go through at once.
        device: where the network lies.
    """

    def __init__(
        self,
        name: str,
        features: Callable[[Tensor], Tensor],
        *,
        channels: int = 3,
        batch: int = 100,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.features, self.channels = name, features, channels
        self.batch, self.device = batch, runtime.find_device(device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, D), float32 on the CPU, of images (N, 1|3, H, W).

        Args:
            images: float in [0, 1] or uint8, on any device.

        Raises:
            ImageError: another shape or range.
            ShapeError: the network's answer is not (N, D), or not finite.
        """
        parts = [
            self.features(unit_images(part.to(self.device), self.channels)).float().cpu()
            for part in images.split(self.batch)
        ]
        found = torch.cat(parts)
        if found.dim() != 2 or len(found) != len(images):
            raise ShapeError(f"{self.name} gives {tuple(found.shape)}; expected (N, D).")
        if not torch.isfinite(found).all():
            raise ShapeError(f"{self.name} gives features that are not finite.")
        return found

    def __repr__(self) -> str:
        return f"Extractor({self.name})"


def recogniser_extractor(name: str, device: torch.device | str = "cpu") -> Extractor:
    """The features that the heads of one of the course's recognisers read.

    Raises:
        WeightsError: the recogniser is missing or damaged.
    """
    from coursekit.core import recognise

    recogniser = recognise.load(name, device)
    label = f"{recogniser.name} recogniser {recogniser.digest[:8]}"
    return Extractor(label, recogniser.features, channels=recogniser.channels, device=device)


def digit_extractor(device: torch.device | str = "cpu") -> Extractor:
    """64 features of the course's digit recogniser; looks at 28×28 grey.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    return recogniser_extractor("digits", device)


def vgg_extractor(layer: str = "relu4_3", device: torch.device | str = "cpu") -> Extractor:
    """One layer of VGG-16 (ImageNet), averaged over all positions.

    ``relu4_3`` (512 features) because one of its units sees 92 pixels, a whole picture of 64×64;
    the fifth block sees 132 and more, at that size mostly the padding around it.

    Raises:
        LayerError: VGG-16 has no such layer.
        WeightsError: the weights are neither in the cache nor to be had.
    """
    from coursekit.core import weights
    from coursekit.core.features import FeatureExtractor

    network = FeatureExtractor("vgg16", layer).to(runtime.find_device(device))
    digest = weights.DIGESTS["vgg16"] or ""
    return Extractor(
        f"VGG-16 {layer} mean {digest[:8]}",
        lambda images: network(images)[layer].mean(dim=(2, 3)),
        batch=50,
        device=device,
    )


def inception_extractor(device: torch.device | str = "cpu") -> Extractor:
    """2,048 pooled features of torchvision's Inception-v3 (108 MB, downloaded once).

    Differs from Heusel et al. 2017: torchvision's weights, not the TensorFlow ones of the
    original FID, because they come without a further package; the numbers are not those of papers.

    Raises:
        WeightsError: it is neither in torch's cache nor to be had.
    """
    from torchvision.models import Inception_V3_Weights, inception_v3
    from torchvision.transforms.v2 import functional as transforms

    network = inception_v3(init_weights=False, aux_logits=True)
    network.load_state_dict(_downloaded(Inception_V3_Weights.IMAGENET1K_V1))
    network.fc = nn.Identity()
    network.requires_grad_(False).eval().to(runtime.find_device(device))

    def features(images: Tensor) -> Tensor:
        return network(2 * transforms.resize(images, [299, 299], antialias=True) - 1)

    return Extractor("Inception-v3 torchvision v1 pool", features, batch=32, device=device)


def _downloaded(known: WeightsEnum) -> Mapping[str, Tensor]:
    """A state dict of torchvision from torch's cache, else from the network; hash checked."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / known.url.rsplit("/", 1)[-1]
    advice = "Connect to the internet once, or measure with vgg_extractor() instead."
    if runtime.offline() and not path.is_file():
        raise WeightsError(f"Inception-v3 is not cached and COURSEKIT_OFFLINE is set. {advice}")
    try:
        # A file in torch's cache is not compared with its hash: it must not be able to run code.
        return known.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"Inception-v3 could not be fetched ({error}). {advice}") from error


class _Given(nn.Module):
    """Stands where torchmetrics expects a network: the features were computed before."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.num_features = count

    def forward(self, features: Tensor) -> Tensor:
        return features


class RealStatistics:
    """The real side of FID and KID, computed once and used for every comparison.

    Args:
        images: real images (N, 1|3, H, W), float in [0, 1] or uint8.
        extractor: the instrument.

    Attributes:
        features: (N, D).
        extractor: the instrument, for the generated side.
    """

    def __init__(self, images: Tensor, extractor: Extractor) -> None:
        self.extractor, self.features = extractor, extractor(images)
        self._metric: FrechetInceptionDistance | None = None

    def __len__(self) -> int:
        return len(self.features)

    def frechet_distance(self, features: Tensor) -> float:
        """FID to generated features (N, D); sums and matrix square root in float64."""
        metric = self._frechet()
        metric.reset()  # forgets the generated side alone
        metric.update(features.double(), real=False)
        return max(float(metric.compute()), 0.0)

    def _frechet(self) -> FrechetInceptionDistance:
        if self._metric is None:
            from torchmetrics.image.fid import FrechetInceptionDistance

            given = _Given(self.features.shape[1])
            self._metric = FrechetInceptionDistance(given, reset_real_features=False)
            self._metric.update(self.features.double(), real=True)
        return self._metric


def fid(real: Tensor | RealStatistics, fake: Tensor, extractor: Extractor | None = None) -> Score:
    r"""Fréchet distance between Gaussians fitted to real and generated features:

    :math:`\|\mu - \mu_w\|^2 + \mathrm{tr}(\Sigma + \Sigma_w - 2 (\Sigma \Sigma_w)^{1/2})`.

    One draw of the generator gives no interval (a bootstrap of FID is biased upwards, since a
    resample is poorer than a fresh draw): `fid_of` draws several times.

    Args:
        real: real images (M, C, H, W), float in [0, 1] or uint8, or their `RealStatistics`.
        fake: generated images (N, C, H, W) like them; C is 1 or 3.
        extractor: the instrument; may be left out where ``real`` knows it.

    Raises:
        SettingError: no extractor or two different ones, or fewer than `FID_MINIMUM` images on
            one side. With no more images than features the covariance has no full rank and FID
            mostly measures that: it is computed, with a warning that stays on the score.
    """
    known = _statistics(real, extractor)
    return _score_of_draws(known, [known.extractor(fake)])


def fid_of(
    generate: Generate,
    real: Tensor | RealStatistics,
    extractor: Extractor | None = None,
    *,
    count: int,
    draws: int = 5,
    seed: int = 0,
) -> Score:
    """FID of a generator: the mean over repeated draws, with Student's t interval over them.

    The interval says how much the value depends on which images were drawn. It does not remove
    FID's own bias at this ``count``, which is why scores of different counts refuse comparison.

    Args:
        generate: (n, generator) -> n images (n, 1|3, H, W), float in [0, 1] or uint8; all
            randomness from the torch generator it is handed.
        real, extractor: as for `fid`.
        count: images a draw.
        draws: at least two.
        seed: draw ``i`` uses ``seed + i``.

    Raises:
        SettingError: as for `fid`; fewer than two draws; or a generator that returns the same
            images for different seeds, or another number of them.
    """
    if draws < 2:
        raise SettingError(f"An interval needs two draws or more, not {draws}.")
    known = _statistics(real, extractor)
    drawn = _draws(generate, known.extractor, count, draws, seed)
    return _score_of_draws(known, drawn)


def _draws(
    generate: Generate, extractor: Extractor, count: int, draws: int, seed: int
) -> list[Tensor]:
    found: list[Tensor] = []
    for index in range(draws):
        images = generate(count, runtime.generator(seed + index))
        if len(images) != count:
            raise SettingError(
                f"The generator was asked for {count} images and gave {len(images)}."
            )
        found.append(extractor(images))
    if torch.equal(found[0], found[1]):
        raise SettingError(
            "The generator gives the same images for different seeds; take all randomness from "
            "the torch.Generator it is handed."
        )
    return found


def _score_of_draws(real: RealStatistics, fakes: list[Tensor]) -> Score:
    note = _check_counts(real, fakes[0])
    values = [real.frechet_distance(features) for features in fakes]
    mean, interval = values[0], None
    if len(values) > 1:
        over_draws = mean_interval(values)
        mean, interval = over_draws.value, over_draws.interval
    return Score("FID", mean, interval, len(fakes[0]), LEVEL, real.extractor.name, len(real), note)


def _check_counts(real: RealStatistics, fake: Tensor) -> str:
    least, features = min(len(real), len(fake)), fake.shape[1]
    if least < FID_MINIMUM:
        raise SettingError(
            f"FID from {least} images says more about the draw than about the generator; give "
            f"{FID_MINIMUM} or more on both sides, or use kid()."
        )
    if least > features:
        return ""
    note = f"rank deficient: {least} images for {features} features"
    warnings.warn(
        f"FID is {note}, and mostly measures that; give more images, or use kid().", stacklevel=4
    )
    return note


def _statistics(real: Tensor | RealStatistics, extractor: Extractor | None) -> RealStatistics:
    if isinstance(real, RealStatistics):
        if extractor is not None and extractor.name != real.extractor.name:
            raise SettingError(
                f"The real statistics are by {real.extractor.name}, not {extractor.name}."
            )
        return real
    if extractor is None:
        raise SettingError("Say which extractor measures, such as digit_extractor().")
    return RealStatistics(real, extractor)


def kid(
    real: Tensor | RealStatistics,
    fake: Tensor,
    extractor: Extractor | None = None,
    *,
    subsets: int = 10,
    subset_size: int | None = None,
    seed: int = 0,
) -> Score:
    r"""Kernel Inception distance: the unbiased squared MMD with :math:`(x^T y / D + 1)^3`.

    The mean over disjoint random subsets, with Student's t interval over them. Disjoint, because
    the values of overlapping subsets are not independent and their interval would be too narrow.
    The mean has no bias at any number of images, and can come out below zero.

    Args:
        real, fake, extractor: as for `fid`.
        subsets: how many, at least two.
        subset_size: images of each side in a subset; by default all there are, at most 1,000.
        seed: which image goes into which subset.

    Raises:
        SettingError: no extractor or two different ones, or too few images for the subsets.
    """
    from torchmetrics.image.kid import poly_mmd

    known = _statistics(real, extractor)
    features = known.extractor(fake)
    least = min(len(known), len(features))
    size = min(least // max(subsets, 1), 1000) if subset_size is None else subset_size
    if subsets < 2 or size < 2 or subsets * size > least:
        raise SettingError(
            f"KID over {subsets} disjoint subsets of {size} needs {max(subsets, 2) * max(size, 2)} "
            f"images on each side; there are {least}."
        )
    generator = runtime.generator(seed)
    parts = [
        side[torch.randperm(len(side), generator=generator)[: subsets * size]].double().split(size)
        for side in (known.features, features)
    ]
    values = [float(poly_mmd(*pair)) for pair in zip(*parts, strict=True)]
    mean = mean_interval(values)
    label = known.extractor.name
    return Score("KID", mean.value, mean.interval, len(features), LEVEL, label, len(known))


def kid_of(
    generate: Generate,
    real: Tensor | RealStatistics,
    extractor: Extractor | None = None,
    *,
    count: int,
    subsets: int = 10,
    seed: int = 0,
) -> Score:
    """KID of ``count`` images of a generator; arguments as for `fid_of` and `kid`."""
    fake = generate(count, runtime.generator(seed))
    return kid(real, fake, extractor, subsets=subsets, seed=seed)


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, (N,); infinite for twins.

    Args:
        images, references: (N, C, H, W) in [0, 1].

    Raises:
        ShapeError: the sizes differ.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _same_size(images, references)
    return peak_signal_noise_ratio(
        images, references, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity (N,), 1 for twins: Wang et al. 2004, Gaussian window σ = 1.5.

    Args:
        images, references: (N, C, H, W) in [0, 1], at least 11 pixels a side.

    Raises:
        ShapeError: the sizes differ, or are too small for the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _same_size(images, references)
    if min(images.shape[-2:]) < 11:
        raise ShapeError(f"SSIM's window is 11 pixels wide; got {tuple(images.shape)}.")
    _, whole = structural_similarity_index_measure(
        images, references, data_range=1.0, reduction="none", return_full_image=True
    )
    # Only where the window lies inside the picture, as Wang et al. and scikit-image have it.
    return whole[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))


def _same_size(images: Tensor, references: Tensor) -> None:
    if images.shape != references.shape or images.dim() != 4:
        raise ShapeError(
            f"Expected two batches (N, C, H, W) of one size, got {tuple(images.shape)} and "
            f"{tuple(references.shape)}."
        )
