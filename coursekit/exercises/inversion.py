"""Exercises of topic 01: total variation, feature loss, a descent step, PSNR, feature distance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit import inversion
from coursekit.core import losses
from coursekit.core.runtime import generator
from coursekit.exercises import inversion_right as right
from coursekit.exercises import inversion_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- Inputs --------------------------------------------------------------------------------------


def _pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


def _maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)) + 0.4


def _ramp() -> tuple[Tensor]:
    """Steeper across than down, so that the two directions cannot be mixed up."""
    rows, columns = torch.arange(4.0).view(4, 1), torch.arange(6.0).view(1, 6)
    return ((0.02 * rows + 0.05 * columns.square()).expand(1, 3, 4, 6).clone(),)


def _feature_pair() -> tuple[Tensor, Tensor]:
    """Images of a batch whose target features differ in energy."""
    scale = torch.tensor([1.0, 4.0]).view(2, 1, 1, 1)
    return _maps(2, 5, 3, 4) * 2, _maps(2, 5, 3, 4, seed=1) * scale


def _shared_target() -> tuple[Tensor, Tensor]:
    return _maps(3, 4, 2, 5, seed=2), _maps(1, 4, 2, 5, seed=3)


def _distorted() -> tuple[Tensor, Tensor]:
    """Two images with errors of very different size, different in each channel."""
    images = _pictures(2, 3, 5, 7)
    strength = torch.tensor([0.3, 0.02]).view(2, 1, 1, 1) * torch.tensor([1.0, 2, 3]).view(3, 1, 1)
    noise = strength * torch.randn(images.shape, generator=generator(1))
    return images, (images + noise).clamp(0, 1)


def _silent_position() -> tuple[Tensor, Tensor]:
    features, others = _maps(1, 6, 2, 3, seed=4), _maps(1, 6, 2, 3, seed=5)
    features[..., 0, 1] = 0
    return features, others


def _bowl(images: Tensor) -> Tensor:
    return (images.sum(dim=1) - 2.2).pow(2).sum() + images.pow(3).sum()


def _uneven(images: Tensor) -> Tensor:
    """Every pixel has its own slope, large enough to push some of them out of [0, 1]."""
    slopes = torch.linspace(-6, 6, images.numel()).view_as(images)
    return (slopes * images).sum()


def _start(rate: float, loss: Callable[[Tensor], Tensor]) -> Callable[[], tuple[object, ...]]:
    return lambda: (_pictures(2, 3, 4, 5), loss, rate)


# --- References ----------------------------------------------------------------------------------


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """`inversion.feature_loss` in one piece (Mahendran & Vedaldi 2015, eq. 2, normalised)."""
    energy = target.square().flatten(1).sum(1)
    return ((features - target).square().flatten(1).sum(1) / energy).mean()


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """`inversion.psnr` in one piece."""
    return -10 * (images - others).square().mean(dim=(1, 2, 3)).log10()


# --- The two terms of the objective --------------------------------------------------------------

_TOTAL_VARIATION = Exercise(
    id="inversion.total_variation",
    title="Total variation",
    points=2,
    stub='''
def total_variation(images):
    """Sum of squared differences between neighbouring pixels, across and down, mean over N.

    images is (N, C, H, W); the result is one number.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=losses.total_variation,
    cases=(
        # Not two: then "counted twice" and "not divided by N" would be the same.
        Case("three random pictures, 5×7", lambda: (_pictures(3, 3, 5, 7),)),
        Case("a ramp, steeper across than down", _ramp),
        Case("one row of pixels", lambda: (_pictures(3, 1, 1, 6),)),
    ),
    hints=(
        "A neighbour's difference is the picture minus the picture moved by one pixel.",
        "Slices do the moving: everything but the first column, minus everything but the last. "
        "The result is one column narrower; nothing wraps around.",
        "Square and sum both differences separately (their shapes differ), add the two sums, then "
        "divide by the number of pictures.",
    ),
    difficulty="easy",
    alternatives=(right.variation_by_diff, right.variation_by_picture),
    properties=right.VARIATION,
    mistakes=(
        Mistake(
            "across only",
            wrong.variation(down=False),
            "Horizontal stripes cost nothing.",
            "the differences down the columns are missing.",
        ),
        Mistake(
            "down only",
            wrong.variation(across=False),
            "Vertical stripes cost nothing.",
            "the differences along the rows are missing.",
        ),
        Mistake(
            "wraps around",
            wrong.wrapped_variation,
            "The left border is compared with the right one.",
            "torch.roll makes the picture a ring; slices do not.",
        ),
        Mistake(
            "absolute differences",
            wrong.variation(power=1),
            "Small differences count for too much.",
            "absolute values are summed where the lecture's formula has squares.",
        ),
        Mistake(
            "mean of the squares",
            wrong.mean_variation,
            "The value does not grow with the picture.",
            "mean() is used where the formula has a sum over all pixels.",
        ),
        Mistake(
            "batch summed",
            wrong.variation(batch_mean=False),
            "The value grows with the number of pictures.",
            "the sum is not divided by N.",
        ),
        Mistake(
            "cut from the graph",
            wrong.cut,
            "The value is right, but no gradient reaches the picture.",
            "a detach(), item() or no_grad() cuts the loss off from its pixels.",
            wraps=True,
        ),
    ),
)

_FEATURE_LOSS = Exercise(
    id="inversion.feature_loss",
    title="Relative feature loss",
    points=2,
    stub='''
def feature_loss(features, target):
    """||features - target||^2 / ||target||^2 of each image, then the mean over the batch.

    features is (N, C, H, W), target (N or 1, C, H, W); the result is one number.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=feature_loss,
    twins=(inversion.relative_errors,),
    constants=("target",),
    cases=(
        Case("two images, targets of different energy", _feature_pair),
        Case("three images, one target", _shared_target),
    ),
    hints=(
        "Both norms run over channels and positions of one image, not over the batch.",
        "flatten(1) turns each image's features into one long vector; sum(1) then leaves (N,).",
        "Divide the (N,) sums of squared differences by the sums of the squared target, then take "
        "the mean of the ratios.",
    ),
    difficulty="core",
    alternatives=(right.relative_by_image, right.relative_by_einsum),
    properties=right.RELATIVE,
    mistakes=(
        Mistake(
            "not relative",
            wrong.plain_feature_loss,
            "The loss depends on how strongly the layer responds.",
            "the division by the target's squared norm is missing.",
        ),
        Mistake(
            "divided by its own features",
            wrong.own_energy,
            "Large features are rewarded: the denominator moves with the image.",
            "the norm below the line is that of the features, not of the target.",
        ),
        Mistake(
            "norms not squared",
            wrong.unsquared,
            "The loss is the root of the right one.",
            "the formula has squared norms; norm() takes the root.",
        ),
        Mistake(
            "ratio of batch sums",
            wrong.pooled_ratio,
            "Images with strong features dominate the batch.",
            "everything is summed before the division; each image has its own ratio.",
        ),
        Mistake(
            "batch summed",
            wrong.summed_ratios,
            "The loss grows with the number of images.",
            "the ratios are summed over the batch; the mean is asked for.",
        ),
        Mistake(
            "cut from the graph",
            wrong.cut,
            "The value is right, but no gradient reaches the features.",
            "a detach(), item() or no_grad() cuts the loss off from the features.",
            wraps=True,
        ),
    ),
)

_GRADIENT_STEP = Exercise(
    id="inversion.gradient_step",
    title="One step of gradient descent on the pixels",
    points=3,
    stub='''
def gradient_step(images, loss, rate):
    """Return images (N, 3, H, W) after one descent step of size rate, clamped to [0, 1].

    loss maps images to one number. The images that were given stay as they are.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=inversion.gradient_step,
    cases=(
        Case("a smooth loss", _start(0.05, _bowl)),
        Case("a step that leaves [0, 1]", _start(0.2, _uneven)),
        Case("a rate of 0", _start(0.0, _bowl)),
    ),
    hints=(
        "The pixels are the parameters here, and the network stays as it is.",
        "Make a copy that requires a gradient: images.detach().clone().requires_grad_(True). "
        "torch.autograd.grad(value, copy) returns a tuple with one gradient.",
        "Downhill is against the gradient. Clamp after the step, and detach what you return.",
    ),
    difficulty="hard",
    alternatives=(right.step_by_backward, right.step_by_function),
    properties=right.STEP,
    mistakes=(
        Mistake(
            "uphill",
            wrong.stepped(lambda x, g, rate: (x + rate * g).clamp(0, 1)),
            "The loss rises.",
            "the gradient points uphill: it is subtracted, not added.",
        ),
        Mistake(
            "not clamped",
            wrong.stepped(lambda x, g, rate: x - rate * g),
            "Some pixels are below 0 or above 1.",
            "the result is not clamped to the range of a picture.",
        ),
        Mistake(
            "sign of the gradient",
            wrong.stepped(lambda x, g, rate: (x - rate * g.sign()).clamp(0, 1)),
            "Every pixel moves by the same amount.",
            "only the gradient's sign is used; steep pixels should move further.",
        ),
        Mistake(
            "gradient of unit length",
            wrong.stepped(lambda x, g, rate: (x - rate * g / g.norm()).clamp(0, 1)),
            "The step has the same length everywhere.",
            "the gradient was scaled to length 1; plain descent uses it as it is.",
        ),
        Mistake(
            "two gradients added",
            wrong.stepped(lambda x, g, rate: (x - 2 * rate * g).clamp(0, 1)),
            "The step is twice as long as asked for.",
            "backward() ran twice and .grad adds up; start each step from an empty gradient.",
        ),
    ),
    gradient=False,
)

# --- Distances -----------------------------------------------------------------------------------

_PSNR = Exercise(
    id="inversion.psnr",
    title="Peak signal-to-noise ratio",
    points=1,
    stub='''
def psnr(images, others):
    """PSNR in dB of each pair, (N,), for images (N, 3, H, W) in [0, 1]."""
    raise NotImplementedError("your turn")
'''.strip(),
    reference=psnr,
    twins=(inversion.squared_error,),
    gradient=False,
    cases=(
        Case("a strong and a weak distortion", _distorted),
        Case("random pictures", lambda: (_pictures(3, 3, 4, 6), _pictures(3, 3, 4, 6, seed=1))),
    ),
    hints=(
        "PSNR is a logarithm of the mean squared error.",
        "The mean runs over channels and pixels of one pair: the result has N numbers.",
        "10 log10(peak² / MSE), and the peak of a picture in [0, 1] is 1.",
    ),
    difficulty="easy",
    alternatives=(right.decibels_of_the_root, right.decibels_by_pair),
    properties=right.DECIBELS,
    mistakes=(
        Mistake(
            "peak of 255",
            wrong.decibels(offset=48.1308036),
            "The values are 48 dB too high.",
            "the peak is 255 only for bytes; these pictures lie in [0, 1].",
        ),
        Mistake(
            "natural logarithm",
            wrong.decibels(factor=-10 * 2.302585093),
            "The values are 2.3 times too large.",
            "log() is the natural logarithm; decibels use log10().",
        ),
        Mistake(
            "sign",
            wrong.decibels(factor=10),
            "Better pictures have lower values.",
            "the fraction is upside down: the error belongs below the peak.",
        ),
        Mistake(
            "squared twice",
            wrong.decibels(factor=-20),
            "The values are twice too large.",
            "20 log10 belongs to the root of the mean squared error, 10 log10 to the MSE itself.",
        ),
        Mistake(
            "batch pooled",
            wrong.pooled_psnr,
            "Every pair has the same value.",
            "the mean runs over the batch too.",
        ),
        Mistake(
            "mean of the channels' PSNR",
            wrong.channel_psnr,
            "The values are a little too high where the channels differ.",
            "the logarithm was taken before the mean over the channels.",
        ),
    ),
)

_UNIT_DISTANCE = Exercise(
    id="inversion.unit_feature_distance",
    title="The core of LPIPS",
    points=3,
    stub='''
def unit_feature_distance(features, others):
    """Scale the channel vector at each position to length 1; return the mean squared distance.

    Both are (N, C, H, W); the result is (N,): a sum over channels, a mean over positions. Where no
    channel responds, the vector has length 0 and stays 0.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=inversion.unit_feature_distance,
    cases=(
        Case("two images, 5 channels, 3×4 positions", _feature_pair),
        Case("a position where no channel responds", _silent_position),
    ),
    hints=(
        "At each position there is a vector with C numbers. Only its direction counts.",
        "The length is the root of the sum over axis 1; keepdim=True keeps it for broadcasting. "
        "A small number below the line saves positions where all channels are 0.",
        "Subtract the two unit maps, square, sum over the channels, average over height and width.",
    ),
    difficulty="hard",
    alternatives=(right.unit_by_norm, right.unit_by_cosine),
    properties=right.UNIT,
    mistakes=(
        Mistake(
            "not scaled",
            wrong.unit_distance(None),
            "Strong positions dominate.",
            "the vectors were not scaled to length 1.",
        ),
        Mistake(
            "scaled over positions",
            wrong.unit_distance((2, 3)),
            "Each channel was scaled by itself.",
            "the length was taken over height and width; it belongs to the channels at one "
            "position.",
        ),
        Mistake(
            "scaled as a whole",
            wrong.unit_distance((1, 2, 3)),
            "The values are far too small.",
            "one length for the whole map was used instead of one at each position.",
        ),
        Mistake(
            "sum over positions",
            wrong.unit_distance(1, scale="positions"),
            "The values grow with the size of the map.",
            "the positions are summed; the mean is asked for.",
        ),
        Mistake(
            "mean over channels",
            wrong.unit_distance(1, scale="channels"),
            "The values are C times too small.",
            "the channels are averaged; the squared distance of two vectors is a sum.",
        ),
        Mistake(
            "distance not squared",
            wrong.unit_distance(1, root=True),
            "Small differences count for too much.",
            "the root was taken at each position.",
        ),
    ),
    gradient=False,
)

EXERCISES: tuple[Exercise, ...] = (
    _TOTAL_VARIATION,
    _FEATURE_LOSS,
    _GRADIENT_STEP,
    _PSNR,
    _UNIT_DISTANCE,
)
