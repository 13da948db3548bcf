"""What can be measured on a running GAN: accuracy, gradient, diversity, checkerboards.

Pure functions; `coursekit.core.gan_doctor` watches them over time and draws conclusions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.core.errors import ShapeError

_LOW_RESOLUTION = 8  # pixels a side, for diversity: shapes and colours, no texture
_MOST_SAMPLES = 64  # of a batch are looked at: enough for a mean distance, and cheap
SMALLEST = 16  # pixels a side, below which a spectrum has no surroundings to compare with


def discriminator_accuracy(real_logits: Tensor, fake_logits: Tensor) -> float:
    """Share of logits (N,) on the right side of 0, real and generated counting half each."""
    real, fake = (real_logits > 0).float().mean(), (fake_logits < 0).float().mean()
    return float((real + fake) / 2)


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Length of the gradient over all parameters of any shape; 0 where nothing flowed back."""
    norms = [p.grad.detach().float().norm() for p in parameters if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def pairwise_distances(batch: Tensor) -> Tensor:
    """Distances (n, n) between images (N, C, H, W), shrunk to 8×8, or between vectors (N, D)."""
    small = batch[:_MOST_SAMPLES].detach().float()
    if small.dim() == 4 and min(small.shape[-2:]) > _LOW_RESOLUTION:
        small = F.adaptive_avg_pool2d(small, _LOW_RESOLUTION)
    vectors = small.flatten(1)
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def diversity(samples: Tensor, real: Tensor) -> tuple[float, float]:
    """How far samples lie apart, as a share of how far real ones do.

    Args:
        samples, real: images (N, C, H, W) in one range, or vectors (N, D).

    Returns:
        (mean distance between two samples, median distance to the nearest other one), each
        divided by the same number for equally many real ones. The first falls when all samples
        look alike, the second also when they fall into a few groups.

    Raises:
        ShapeError: fewer than two of each, or of different shapes.
    """
    count = min(len(samples), len(real), _MOST_SAMPLES)
    if count < 2 or samples.shape[1:] != real.shape[1:]:
        raise ShapeError(
            f"Samples {tuple(samples.shape)} and real ones {tuple(real.shape)}: give two or more "
            "of each, of one shape."
        )
    found = [_spread(pairwise_distances(batch[:count])) for batch in (samples, real)]
    return tuple(ours / max(theirs, 1e-12) for ours, theirs in zip(*found, strict=True))


def _spread(distances: Tensor) -> tuple[float, float]:
    count = len(distances)
    mean = float(distances.sum()) / (count * (count - 1))
    nearest = distances + torch.diag(torch.full((count,), math.inf, device=distances.device))
    return mean, float(nearest.min(dim=1).values.median())


def checkerboard(samples: Tensor, real: Tensor) -> tuple[float, int]:
    """How far the harmonics of a stride stand out of the spectrum, against real images.

    A transposed convolution whose kernel overlaps unevenly repeats its pattern every 2 or 4
    pixels (Odena, Dumoulin & Olah 2016); in the mean power spectrum that is a peak at 1/2 or 1/4
    of the sampling frequency. The peak is divided by its surroundings, and that by the same for
    real images, which do have some energy there.

    Args:
        samples, real: images (N, C, H, W) of one size, at least `SMALLEST` pixels a side, which
            4 divides. They may have any range.

    Returns:
        (the larger excess, the stride it belongs to: 2 or 4).
    """
    found, expected = _peaks(samples), _peaks(real)
    half, quarter = (f / max(e, 1e-12) for f, e in zip(found, expected, strict=True))
    # What repeats every 4 pixels shows at 1/2 as well, often more; the reverse is not so.
    stride = 4 if quarter > max(half / 10, 2) else 2
    return max(half, quarter), stride


def _peaks(images: Tensor) -> tuple[float, float]:
    """Power at the harmonics of stride 2, and at those of 4 alone, over the power around them."""
    power = _power(images)
    steps = [[side * part // 4 for part in range(4)] for side in power.shape]
    sums = torch.zeros(2, 2)
    for down, row in enumerate(steps[0]):
        for right, column in enumerate(steps[1]):
            which = down % 2 or right % 2  # an odd quarter belongs to stride 4 alone
            if down or right:
                sums[which, 0] += power[row, column].cpu()
                sums[which, 1] += _surroundings(power, row, column).cpu()
    half, quarter = (sums[:, 0] / sums[:, 1].clamp(min=1e-20)).tolist()
    return half, quarter


def _power(images: Tensor) -> Tensor:
    """Mean power spectrum (H, W) of a batch, each image without its own mean."""
    batch = images[:_MOST_SAMPLES].detach().float()
    batch = batch - batch.mean(dim=(2, 3), keepdim=True)
    return torch.fft.fft2(batch).abs().square().mean(dim=(0, 1))


def _surroundings(power: Tensor, row: int, column: int) -> Tensor:
    """Mean power two bins away, along both axes and across."""
    height, width = power.shape
    near = [
        power[(row + down) % height, (column + right) % width]
        for down in (-2, 0, 2)
        for right in (-2, 0, 2)
        if down or right
    ]
    return torch.stack(near).mean()
