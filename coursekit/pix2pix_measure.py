"""Topic 10, measured: how near is a translated picture to the true one, and how colourful is it?

Every measure gives one number a picture, so that two methods can be compared picture by picture on
the same held-out drawings, and the interval of the difference says what such a sample can say.

Source: none; measures of this course.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import LEVEL, Estimate
from coursekit.core.perceptual import LPIPS

MEASURES = ("L1", "LPIPS", "colourfulness")
_RESAMPLES = 2000
_BLURRED = 16  # pixels a side at which drawings are compared


# --- One number a picture ------------------------------------------------------------------------


def l1(output: Tensor, target: Tensor, region: Tensor | None = None) -> Tensor:
    """Mean absolute error of each picture on the region that counts, (N,).

    Args:
        output, target: (N, 3, H, W) in [0, 1].
        region: bool (N, 1, H, W); everything by default.

    Raises:
        ShapeError: sizes that differ, or a region without a pixel.
    """
    _same_size(output, target)
    weight = _weights(output, region)
    error = (output - target).abs().mean(dim=1, keepdim=True)
    return (error * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


@torch.no_grad()
def lpips(output: Tensor, target: Tensor, *, batch: int = 32) -> Tensor:
    """LPIPS with AlexNet (Zhang et al. 2018) of each pair of pictures, (N,), on the CPU.

    Pictures (N, 3, H, W) in [0, 1], from 32 pixels a side.

    Raises:
        ShapeError: sizes that differ.
        WeightsError: AlexNet is neither in the cache nor to be had.
    """
    _same_size(output, target)
    network, parts = (
        _lpips(),
        zip(output.cpu().split(batch), target.cpu().split(batch), strict=True),
    )
    return torch.cat([network(*part) for part in parts])


@functools.cache
def _lpips() -> LPIPS:
    return LPIPS("alex").eval().requires_grad_(False)


def colourfulness(pictures: Tensor, region: Tensor | None = None) -> Tensor:
    r"""How colourful each picture looks, (N,): :math:`\hat M^{(3)} = \sigma + 0.3\,\mu`.

    Hasler & Süsstrunk 2003: :math:`\sigma` and :math:`\mu` are the lengths of the standard
    deviations and of the means of rg = R − G and yb = (R + G) / 2 − B, for colours from 0 to 255.
    0 is grey; the authors' panel called 33 "moderately" and 82 "highly colourful".

    Args:
        pictures: (N, 3, H, W) in [0, 1].
        region: bool (N, 1, H, W), where to look; everywhere by default.

    Raises:
        ShapeError: other pictures, or a region without a pixel.
    """
    if pictures.dim() != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"Expected pictures (N, 3, H, W), got {tuple(pictures.shape)}.")
    weight = _weights(pictures, region)
    weight = weight / weight.sum(dim=(1, 2, 3), keepdim=True)
    opponent = _opponent(pictures)
    mean = (opponent * weight).sum(dim=(2, 3))
    variance = ((opponent - mean[:, :, None, None]).square() * weight).sum(dim=(2, 3))
    return variance.sum(dim=1).sqrt() + 0.3 * mean.norm(dim=1)


def sharpness(pictures: Tensor, region: Tensor | None = None) -> Tensor:
    """How abruptly colours change, (N,): the root mean square of the differences between neighbours
    in rg = R − G and yb = (R + G) / 2 − B, for colours from 0 to 255.

    In the sum of squares an edge over two pixels counts for half of the same edge over one. Noise
    counts as well: compare with the truth, more is not better. Brightness is left out, because
    the lines of a drawing, which are black, are copied by every network with skip connections.

    Args:
        pictures: (N, 3, H, W) in [0, 1].
        region: bool (N, 1, H, W); both neighbours have to lie in it. Everywhere by default.

    Raises:
        ShapeError: other pictures, or a region without a pixel.
    """
    if pictures.dim() != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"Expected pictures (N, 3, H, W), got {tuple(pictures.shape)}.")
    weight, opponent = _weights(pictures, region), _opponent(pictures)
    total, count = pictures.new_zeros(len(pictures)), pictures.new_zeros(len(pictures))
    for dim in (2, 3):
        length = pictures.shape[dim] - 1
        both = weight.narrow(dim, 0, length) * weight.narrow(dim, 1, length)
        squares = opponent.diff(dim=dim).square().sum(dim=1, keepdim=True)
        total += (squares * both).sum(dim=(1, 2, 3))
        count += both.sum(dim=(1, 2, 3))
    return (total / count.clamp(min=1)).sqrt()


def colour_spread(pictures: Tensor, region: Tensor | None = None) -> Tensor:
    """How far the mean colour of each picture lies from the mean over all pictures, (N,).

    Euclidean distance of colours from 0 to 255. A method that gives every drawing the same safe
    colour, the median of all that are possible, has little of it (Isola et al. 2017, section 4.2,
    compare distributions of colours for the same reason).

    Args:
        pictures: (N, C, H, W) in [0, 1].
        region: bool (N, 1, H, W), where to look; everywhere by default.

    Raises:
        ShapeError: a region of another size or without a pixel.
    """
    weight = _weights(pictures, region)
    colour = 255 * (pictures * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))
    return (colour - colour.mean(dim=0)).norm(dim=1)


def _opponent(pictures: Tensor) -> Tensor:
    """rg and yb of Hasler & Süsstrunk 2003, (N, 2, H, W), for pictures in [0, 1]."""
    red, green, blue = (255 * pictures.float()).unbind(dim=1)
    return torch.stack([red - green, (red + green) / 2 - blue], dim=1)


def _same_size(output: Tensor, target: Tensor) -> None:
    if output.shape != target.shape or output.dim() != 4:
        raise ShapeError(
            f"Expected two batches (N, C, H, W) of one size, got {tuple(output.shape)} and "
            f"{tuple(target.shape)}."
        )


def _weights(pictures: Tensor, region: Tensor | None) -> Tensor:
    if pictures.dim() != 4 or not pictures.numel():
        raise ShapeError(f"Expected pictures (N, C, H, W), got {tuple(pictures.shape)}.")
    shape = (len(pictures), 1, *pictures.shape[-2:])
    if region is None:
        return pictures.new_ones(shape)
    if tuple(region.shape) != shape:
        raise ShapeError(f"The region is {tuple(region.shape)}; expected {shape}.")
    if not bool(region.flatten(1).any(dim=1).all()):
        raise ShapeError("A picture has a region without a single pixel; leave that picture out.")
    return region.to(pictures.dtype)


def measure(output: Tensor, target: Tensor, region: Tensor | None = None) -> dict[str, Tensor]:
    """All `MEASURES` of each picture, (N,) each: the error and the colours on the region, LPIPS on
    the whole picture.

    Args:
        output, target: (N, 3, H, W) in [0, 1].
        region: bool (N, 1, H, W); everything by default.

    Raises:
        ShapeError: sizes that do not fit each other.
    """
    return {
        "L1": l1(output, target, region),
        "LPIPS": lpips(output, target),
        "colourfulness": colourfulness(output, region),
    }


# --- The baseline --------------------------------------------------------------------------------


def nearest_neighbour(known: Tensor, asked: Tensor) -> Tensor:
    """For each input the index of the training input that looks most like it, (N,).

    Smallest squared difference after both were made small by averaging, so that a line that moved
    by a pixel still counts. The training *target* at that index is the baseline's answer: what a
    method gives that remembers everything and understands nothing.

    Args:
        known: training inputs (M, C, H, W), uint8 or float.
        asked: inputs (N, C, H, W) of the same type.

    Raises:
        ShapeError: other channels or another size.
    """
    if known.dim() != 4 or known.shape[1:] != asked.shape[1:]:
        raise ShapeError(f"Inputs differ: {tuple(known.shape)} and {tuple(asked.shape)}.")
    side = min(_BLURRED, *known.shape[-2:])
    small = [F.adaptive_avg_pool2d(each.float(), side).flatten(1) for each in (known, asked)]
    return torch.cdist(small[1], small[0]).argmin(dim=1)


# --- What the numbers say ------------------------------------------------------------------------


def mean(values: Tensor, name: str, *, seed: int = 0) -> Estimate:
    """The mean over pictures with a 95 % bootstrap interval over them (Efron 1979).

    Args:
        values: (N,), one a picture.
        name: what it is.
        seed: of the resampling. The same seed draws the same pictures, whatever the values.

    Raises:
        SettingError: fewer than two pictures, or a value that is not finite.
    """
    array = values.detach().cpu().double()
    if array.dim() != 1 or len(array) < 2 or not bool(torch.isfinite(array).all()):
        raise SettingError(f"{name}: expected finite values of 2 pictures or more, (N,).")
    draws = torch.randint(len(array), (_RESAMPLES, len(array)), generator=runtime.generator(seed))
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.double)
    low, high = array[draws].mean(dim=1).quantile(tails).tolist()
    return Estimate(name, float(array.mean()), (low, high), len(array))


def paired_difference(first: Tensor, second: Tensor, name: str, *, seed: int = 0) -> Estimate:
    """Mean of ``first`` − ``second`` over the *same* pictures, with its bootstrap interval.

    Much narrower than the interval of two independent means: how hard a picture is cancels. Where
    the interval covers 0, these pictures do not say which of the two is better.

    Args:
        first, second: (N,), picture by picture.
        name: what it is.
        seed: of the resampling.

    Raises:
        ShapeError: not the same pictures.
        SettingError: as `mean`.
    """
    if first.shape != second.shape:
        raise ShapeError(f"Not the same pictures: {tuple(first.shape)}, {tuple(second.shape)}.")
    return mean(first - second, name, seed=seed)
