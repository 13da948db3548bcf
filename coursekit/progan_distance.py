"""Sliced Wasserstein distance by level of the Laplacian pyramid (Karras et al. 2018, section 5).

A generator that has learned all scales makes images whose patches look like those of real images
in every frequency band. FID sees the whole; this distance says at which scale something is amiss.
Images may have any range, as patches are standardised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import Estimate, mean_interval

SIDE = 7  # of a patch, in pixels
SMALLEST = 16  # pixels a side of the coarsest level
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def _smooth(x: Tensor, gain: float = 1.0) -> Tensor:
    """The 5×5 binomial filter of Burt and Adelson 1983, edges mirrored."""
    kernel = gain * torch.outer(_BINOMIAL, _BINOMIAL).to(x)
    weight = kernel.expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weight, groups=x.shape[1])


def halve(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C, H/2, W/2): smooth, then every second pixel.

    REDUCE of Burt & Adelson 1983."""
    return _smooth(x)[:, :, ::2, ::2]


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C, 2H, 2W): zeros between the pixels, then smooth with a gain of 4.

    EXPAND of Burt & Adelson 1983."""
    wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    wide[:, :, ::2, ::2] = x
    return _smooth(wide, gain=4.0)


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """What each halving loses, finest first, and what is left at the end (Burt & Adelson 1983).

    Adding up from the end, `double` by `double`, gives the images back exactly.

    Args:
        images: (N, C, H, W), sides that can be halved ``levels`` − 1 times.
        levels: how many, from 1.

    Raises:
        SettingError: fewer than 1 level.
        ShapeError: sides that cannot be halved so often.
    """
    if levels < 1:
        raise SettingError(f"levels={levels}: a pyramid has one level or more.")
    unit = 2 ** (levels - 1)
    if images.dim() != 4 or any(side % unit or side < 4 * unit for side in images.shape[2:]):
        raise ShapeError(f"{tuple(images.shape)} cannot be halved {levels - 1} times.")
    found = []
    for _ in range(levels - 1):
        smaller = halve(images)
        found.append(images - double(smaller))
        images = smaller
    return [*found, images]


def patches(images: Tensor, count: int, random: torch.Generator) -> Tensor:
    """``count`` random neighbourhoods of 7×7 pixels an image: (N · count, C, 7, 7) (section 5).

    Raises:
        ShapeError: images smaller than a patch.
    """
    number, _, height, width = images.shape
    if min(height, width) < SIDE:
        raise ShapeError(f"{height} × {width} pixels hold no patch of {SIDE}.")
    tops = torch.randint(height - SIDE + 1, (number, count, 1, 1), generator=random)
    lefts = torch.randint(width - SIDE + 1, (number, count, 1, 1), generator=random)
    reach = torch.arange(SIDE)
    rows, columns = tops + reach.view(-1, 1), lefts + reach
    each = torch.arange(number).view(-1, 1, 1, 1)
    return images.cpu()[each, :, rows, columns].permute(0, 1, 4, 2, 3).flatten(0, 1)


def standardise(found: Tensor) -> Tensor:
    """Patches (M, C, 7, 7) as vectors (M, C · 49), each colour with mean 0 and deviation 1.

    As in Karras et al. 2018, section 5."""
    deviation, mean = torch.std_mean(found, dim=(0, 2, 3), keepdim=True)
    return ((found - mean) / deviation.clamp(min=1e-8)).flatten(1)


def sliced_wasserstein(
    first: Tensor, second: Tensor, random: torch.Generator, *, directions: int = 128
) -> Tensor:
    """Mean Wasserstein-1 distance of two sets of points, projected on random lines.

    On a line the distance of two equally large sets is that of their sorted values (Rabin et al.
    2011): no optimal transport has to be solved.

    Args:
        first, second: (M, D) each.
        random: draws the lines.
        directions: how many.

    Returns:
        The distance on each line, (directions,).

    Raises:
        ShapeError: the sets differ in shape.
    """
    if first.dim() != 2 or first.shape != second.shape or not first.numel():
        raise ShapeError(f"{tuple(first.shape)} and {tuple(second.shape)} are no two sets (M, D).")
    lines = F.normalize(torch.randn(first.shape[1], directions, generator=random), dim=0).to(first)
    ordered = [_sorted(lines.t() @ points.t()) for points in (first, second)]
    return (ordered[0] - ordered[1]).abs().mean(dim=1)


def _sorted(rows: Tensor) -> Tensor:
    """Every row in order; on a CPU by numpy, which takes a tenth of the time."""
    if rows.device.type != "cpu" or rows.requires_grad:
        return rows.sort(dim=1).values
    return torch.from_numpy(np.sort(rows.contiguous().numpy(), axis=1))


@dataclass(frozen=True)
class Distances:
    """`swd` of one set of images against another.

    Attributes:
        by_size: side of the level in pixels → 1000 times the distance there, as in the paper's
            Table 1, with the interval over repeated projections.
    """

    by_size: dict[int, Estimate]

    @property
    def mean(self) -> float:
        """Over the levels."""
        return sum(each.value for each in self.by_size.values()) / len(self.by_size)

    def __str__(self) -> str:
        each = [f"{size}: {found.value:.1f}" for size, found in self.by_size.items()]
        return f"SWD × 1000 by level, {', '.join(each)}; mean {self.mean:.1f}"


def swd(
    real: Tensor, fake: Tensor, *, descriptors: int = 128, repeats: int = 4, seed: int = 0
) -> Distances:
    """The distance at every level of the pyramid, from the images' size down to 16 pixels.

    A set against another half of itself does not give 0: measure that floor too. Karras et al.
    2018 (section 5) use 16,384 images; the floor falls with their number.

    Args:
        real, fake: equally many images (N, C, S, S) of one size, 16 · 2ⁿ pixels.
        descriptors: patches an image and level.
        repeats: of 128 random lines each.
        seed: of patches and lines.

    Raises:
        ShapeError: the two differ in shape, or have no such size.
        SettingError: fewer than 2 repeats, or no patch.
    """
    if real.shape != fake.shape or real.dim() != 4 or real.shape[-1] < SMALLEST:
        raise ShapeError(
            f"{tuple(real.shape)} and {tuple(fake.shape)}: give equally many images (N, C, S, S) "
            f"of {SMALLEST} pixels or more."
        )
    if repeats < 2 or descriptors < 1:
        raise SettingError(f"{repeats=} counts from 2, {descriptors=} from 1.")
    levels, random = (real.shape[-1] // SMALLEST).bit_length(), runtime.generator(seed)
    pyramids = [laplacian_pyramid(images.float(), levels) for images in (real, fake)]
    found = {}
    for level in zip(*pyramids, strict=True):
        one, other = (standardise(patches(images, descriptors, random)) for images in level)
        drawn = [sliced_wasserstein(one, other, random).mean().item() for _ in range(repeats)]
        estimate = mean_interval([1000 * each for each in drawn], name="SWD × 1000")
        found[level[0].shape[-1]] = estimate
    return Distances(found)
