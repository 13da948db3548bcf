"""Topic 09, measured: does the generator make what it is asked for, and does it keep the variety?

Two questions that pull apart: a generator with one perfect 7 agrees with every 7 that is asked
for. So agreement (the course's digit recogniser reads the asked class) stands beside two numbers
for the variety within a class: modes reached, and spread relative to real digits.

Source: none; measures of this course.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import cgan, dcgan
from coursekit.core import recognise
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import Estimate, mean_interval, proportion
from coursekit.datasets.digits import digits

Reader = Callable[[Tensor], Tensor]


def reader() -> Reader:
    """The course's digit recogniser as a function: images (N, 1, H, W) → classes (N,).

    Raises:
        WeightsError: its file is missing or damaged.
    """
    recogniser = recognise.load("digits")
    return lambda images: recogniser.predict(images)["label"]


def asked_samples(generator: cgan.Generator, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Fresh images with what was asked for: (count, C, H, W) in [0, 1] and (count,).

    The classes come in turn, so that each is asked for equally often.
    """
    label = torch.arange(count) % generator.classes
    z = dcgan.sample_latent(count, generator.latent, seed=seed)
    return cgan.samples(generator, z, label), label


def agreement(read: Reader, images: Tensor, asked: Tensor) -> Estimate:
    """The share of images that are read as the class that was asked for, Wilson interval.

    ``images`` are (N, 1, H, W) in [0, 1], ``asked`` is (N,). The reader errs too: on real held-out
    digits the share is its accuracy, not 1.
    """
    right = read(images) == asked
    return proportion(int(right.sum()), len(right), name="agreement")


def agreement_by_class(read: Reader, images: Tensor, asked: Tensor) -> dict[int, Estimate]:
    """`agreement` of each class that was asked for; arguments as for `agreement`."""
    found, shares = read(images), {}
    for digit in asked.unique().tolist():
        right = found[asked == digit] == digit
        shares[digit] = proportion(int(right.sum()), len(right), name=f"agreement on {digit}")
    return shares


# --- Variety within a class ----------------------------------------------------------------------


@dataclass(frozen=True)
class Modes:
    """Ways to write each class: clusters of real digits in a space of principal components.

    Attributes:
        mean: of the training pixels, (D,).
        axes: the first principal components, (D, k).
        centres: by class, (modes, k + 1).
        radii: by class, (modes,): within it lie 95 % of the cluster's own digits.
    """

    mean: Tensor
    axes: Tensor
    centres: dict[int, Tensor]
    radii: dict[int, Tensor]

    def project(self, images: Tensor) -> Tensor:
        """Images (N, 1, H, W) in [0, 1] as points (N, k + 1).

        The last number is the length of what the components leave out, so that noise, which
        would look like a digit along them, lies far from every digit.

        Raises:
            ShapeError: not grey images (N, 1, H, W).
        """
        centred = _pixels(images) - self.mean
        inside = centred @ self.axes
        outside = (centred - inside @ self.axes.T).norm(dim=1, keepdim=True)
        return torch.cat([inside, outside], dim=1)

    def reached(self, images: Tensor, label: Tensor) -> dict[int, Tensor]:
        """By class, which modes (modes,) have an image of that class within their radius.

        ``images`` as for `project`, ``label`` (N,).
        """
        points, found = self.project(images), {}
        for digit, centres in self.centres.items():
            distance, nearest = torch.cdist(points[label == digit], centres).min(dim=1)
            close = nearest[distance <= self.radii[digit][nearest]]
            found[digit] = torch.bincount(close, minlength=len(centres)) > 0
        return found

    def coverage(self, images: Tensor, label: Tensor) -> float:
        """The share of all modes that are reached. Real held-out digits show the ceiling.

        It grows with the number of images: compare equal numbers a class. ``images`` as for
        `project`.
        """
        return float(torch.cat(list(self.reached(images, label).values())).float().mean())

    def spread(self, images: Tensor, label: Tensor) -> float:
        """Mean distance between two images of one class, averaged over the classes.

        ``images`` as for `project`, ``label`` (N,).
        """
        points = self.project(images)
        each = [torch.pdist(points[label == digit]).mean() for digit in self.centres]
        return float(torch.stack(each).mean())


def _pixels(images: Tensor) -> Tensor:
    """Every second pixel after a blur: a stroke that moved by one pixel is still near."""
    if images.dim() != 4 or images.shape[1] != 1:
        raise ShapeError(f"Expected grey images (N, 1, H, W), got {tuple(images.shape)}.")
    return F.avg_pool2d(images, 2).flatten(1)


def fit_modes(
    images: Tensor, label: Tensor, modes: int = 20, *, components: int = 30, seed: int = 0
) -> Modes:
    """Find the ways to write each class: PCA over all digits, then k-means within each class.

    Args:
        images: real digits (N, 1, H, W) in [0, 1].
        label: (N,).
        modes: clusters a class.
        components: principal components that are kept.
        seed: of k-means.

    Raises:
        SettingError: a class with fewer digits than modes.
        ShapeError: not grey images (N, 1, H, W).
    """
    from sklearn.cluster import KMeans

    pixels = _pixels(images)
    mean = pixels.mean(dim=0)
    axes = torch.linalg.svd(pixels - mean, full_matrices=False).Vh[:components].T
    found = Modes(mean, axes, {}, {})
    points = found.project(images)
    for digit in label.unique().tolist():
        mine = points[label == digit]
        if len(mine) < modes:
            raise SettingError(f"{len(mine)} digits of class {digit} hold no {modes} clusters.")
        fitted = KMeans(modes, n_init=3, random_state=seed).fit(mine.numpy())
        centres = torch.from_numpy(fitted.cluster_centers_).float()
        distance, nearest = torch.cdist(mine, centres).min(dim=1)
        radii = [distance[nearest == mode].quantile(0.95) for mode in range(modes)]
        found.centres[digit], found.radii[digit] = centres, torch.stack(radii)
    return found


@dataclass(frozen=True)
class Report:
    """What was measured of one generator.

    Attributes:
        agreement: share of images read as asked.
        by_class: the same a class.
        coverage: share of modes reached, over several draws.
        spread: mean distance within a class divided by that of real digits, over several draws.
    """

    agreement: Estimate
    by_class: Mapping[int, Estimate]
    coverage: Estimate
    spread: Estimate


class Bench:
    """The instruments, set up once: the reader, modes of the training digits, held-out digits.

    Args:
        size: of the digits, pixels a side.

    Attributes:
        read: the course's recogniser.
        modes: of the 4,000 training digits.
        images, label: the 1,000 held-out digits, 100 a class: the ceiling for every number.
    """

    def __init__(self, size: int = cgan.SIZE) -> None:
        train, held_out = digits("train", size=size), digits("test", size=size)
        self.read = reader()
        everything = train.batch(torch.arange(len(train)))
        self.modes = fit_modes(everything["image"], everything["label"])
        rest = held_out.batch(torch.arange(len(held_out)))
        self.images, self.label = rest["image"], rest["label"]
        self.real_spread = self.modes.spread(self.images, self.label)

    def ceiling(self) -> dict[str, float]:
        """What real held-out digits reach on the same instruments."""
        return {
            "agreement": agreement(self.read, self.images, self.label).value,
            "coverage": self.modes.coverage(self.images, self.label),
            "spread": 1.0,
        }

    def measure(self, generator: cgan.Generator, *, count: int = 1000, draws: int = 5) -> Report:
        """Measure a generator: ``count`` images a draw; agreement on the first draw alone.

        Raises:
            SettingError: fewer than two draws.
        """
        coverage, spread = [], []
        for seed in range(draws):
            images, asked = asked_samples(generator, count, seed=seed)
            if seed == 0:
                right = agreement(self.read, images, asked)
                by_class = agreement_by_class(self.read, images, asked)
            coverage.append(self.modes.coverage(images, asked))
            spread.append(self.modes.spread(images, asked) / self.real_spread)
        return Report(
            right,
            by_class,
            mean_interval(coverage, name="modes reached"),
            mean_interval(spread, name="spread"),
        )
