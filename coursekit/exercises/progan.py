"""Exercises of topic 12: three layers, fading in, the loss with drift, and the schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.exercises import progan_cases as cases
from coursekit.exercises import progan_right as right
from coursekit.exercises import progan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake
from coursekit.exercises.progan_training import TRAINING

# --- References ----------------------------------------------------------------------------------


def equalised_conv(x: Tensor, weight: Tensor, bias: Tensor, gain: float = 2**0.5) -> Tensor:
    """ŵ = w · gain / √fan_in, at every use (section 4.1)."""
    fan_in = weight[0].numel()
    return F.conv2d(x, weight * (gain / math.sqrt(fan_in)), bias, padding=weight.shape[2] // 2)


def pixel_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """a / √(1/C · Σ a² + ε), pixel by pixel (section 4.2)."""
    return x / (x.square().mean(dim=1, keepdim=True) + epsilon).sqrt()


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """One more channel: the deviation over each group, averaged to one number (section 3)."""
    group = min(group, len(x))
    groups = x.unflatten(0, (group, len(x) // group))
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt()
    each = deviation.mean(dim=(1, 2, 3)).repeat(group)
    channel = each.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel], dim=1)


# --- The equalised learning rate -----------------------------------------------------------------

_EQUALISED = Exercise(
    id="progan.equalised_conv",
    title="The equalised learning rate",
    points=2,
    stub='''
def equalised_conv(x, weight, bias, gain=2**0.5):
    """A convolution of stride 1 whose weights are scaled when they are used.

    x: (N, C, H, W). weight: (O, C, k, k), drawn from N(0, 1), k odd. bias: (O,). The weights are
    multiplied by gain / sqrt(fan_in); the bias is added as it is. Zeros around x keep the size:
    (N, O, H, W). Gradients reach all three.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=equalised_conv,
    cases=(
        Case("3×3, more channels out than in", cases.convolved((2, 3, 4, 6), 5, 3)),
        Case("1×1 to RGB, gain 1", cases.convolved((3, 6, 3, 2), 3, 1, 1.0)),
        Case("5×5, another gain", cases.convolved((2, 2, 7, 5), 3, 5, 0.7)),
    ),
    hints=(
        "F.conv2d does the convolution. What are the weights that it should be given?",
        "fan_in is the number of inputs that one output adds up: every channel, every place of "
        "the kernel.",
        "weight[0].numel() is fan_in; padding = k // 2; the bias is not scaled.",
    ),
    alternatives=(right.equalised_after, right.equalised_by_patches),
    properties=right.EQUALISED,
    mistakes=(
        Mistake(
            "not scaled",
            wrong.UNSCALED,
            "Your outputs are those of raw weights.",
            "the constant is missing: weights from N(0, 1) are far too large.",
        ),
        Mistake(
            "gain left out",
            wrong.NO_GAIN,
            "Your weights' part does not depend on the gain.",
            "1 / √fan_in alone: √2 makes up for what the leaky ReLU takes away.",
        ),
        Mistake(
            "gain fixed",
            wrong.DEFAULT_GAIN,
            "Right for the usual gain, wrong for others.",
            "√2 is written into the function; use the argument.",
        ),
        Mistake(
            "no root",
            wrong.NO_ROOT,
            "Your weights' part is too small.",
            "gain / fan_in: it is the variance that falls with fan_in, so the scale has its root.",
        ),
        Mistake(
            "kernel not counted",
            wrong.CHANNELS_ONLY,
            "Right for 1×1, too large for larger kernels.",
            "fan_in counts the channels alone; every place of the kernel is an input too.",
        ),
        Mistake(
            "one side of the kernel",
            wrong.KERNEL_SIDE,
            "Too large by the root of the kernel's side.",
            "the kernel has k · k places, not k.",
        ),
        Mistake(
            "fan_out",
            wrong.FAN_OUT,
            "Your scale depends on the number of outputs.",
            "fan_out where fan_in is asked for: weight is (outputs, inputs, k, k).",
        ),
        Mistake(
            "multiplied",
            wrong.MULTIPLIED,
            "Your weights' part is far too large.",
            "times √fan_in; divide by it.",
        ),
        Mistake(
            "bias scaled",
            wrong.BIAS_TOO,
            "The weights' part is right, the bias is not.",
            "the bias is multiplied by the constant too; it has no fan_in.",
        ),
        Mistake(
            "not padded",
            wrong.NOT_PADDED,
            "Your picture has become smaller.",
            "padding is missing: half a kernel on each side keeps the size.",
        ),
        Mistake(
            "weight detached",
            wrong.WEIGHT_DETACHED,
            "The values are right, but the layer cannot learn.",
            "a .detach(), .data or no_grad around the weights.",
        ),
    ),
)

# --- Pixel norm ----------------------------------------------------------------------------------

_PIXEL_NORM = Exercise(
    id="progan.pixel_norm",
    title="Pixel norm",
    points=1,
    difficulty="easy",
    stub='''
def pixel_norm(x, epsilon=1e-8):
    """Divide every pixel's features by sqrt(mean of their squares + epsilon).

    x: (N, C, H, W), or (N, C) for latent vectors. The mean runs over the C features of a pixel.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=pixel_norm,
    cases=(
        Case("pictures", cases.features(2, 5, 3, 4)),
        Case("latent vectors", cases.features(3, 6, seed=2)),
        Case("very small features", cases.features(2, 3, 4, 2, scale=1e-4, seed=3)),
        Case("a large ε", cases.features(2, 4, 2, 3, seed=7), keywords=lambda: {"epsilon": 0.5}),
    ),
    hints=(
        "Which dimension holds the features of a pixel?",
        "The mean of squares is (N, 1, H, W): keepdim=True lets it divide x.",
        "ε stands under the root, beside the mean.",
    ),
    alternatives=(right.pixel_norm_by_length, right.pixel_norm_by_einsum),
    properties=right.PIXEL_NORM,
    mistakes=(
        Mistake(
            "length 1",
            wrong.UNIT_LENGTH,
            "Too small by the root of the number of features.",
            "a sum of squares where the formula has their mean.",
        ),
        Mistake(
            "over the places",
            wrong.INSTANCE,
            "All places of a feature map share one divisor.",
            "the mean runs over height and width: that is how instance norm does it.",
        ),
        Mistake(
            "over the whole picture",
            wrong.WHOLE_IMAGE,
            "All pixels of a picture share one divisor.",
            "the mean runs over everything but the batch.",
        ),
        Mistake(
            "over the batch",
            wrong.OVER_BATCH,
            "What a picture becomes depends on the other pictures.",
            "the mean runs over dimension 0.",
        ),
        Mistake(
            "last axis",
            wrong.LAST_AXIS,
            "Right for vectors, wrong for pictures.",
            "dim=-1 is the width of a picture; the features are dim=1.",
        ),
        Mistake(
            "root forgotten",
            wrong.root_forgotten,
            "Large features become small.",
            "the divisor is the mean of squares itself.",
        ),
        Mistake(
            "ε outside the root",
            wrong.epsilon_outside,
            "Right for usual features, too large for very small ones.",
            "ε is added after the root.",
        ),
        Mistake(
            "ε fixed",
            wrong.epsilon_fixed,
            "Right for the usual ε, wrong for others.",
            "1e-8 is written into the function; use the argument.",
        ),
        Mistake(
            "mean taken off",
            wrong.mean_taken_off,
            "Your features have the mean 0.",
            "layer norm: pixel norm takes nothing off.",
        ),
        Mistake(
            "absolute values",
            wrong.absolute_mean,
            "Your divisor is the mean of absolute values.",
            "squares, their mean, its root.",
        ),
        Mistake(
            "divisor detached",
            wrong.NORM_DETACHED,
            "The values are right, the gradient is not.",
            "the divisor depends on x too; no .detach() there.",
        ),
    ),
)

# --- Minibatch standard deviation ----------------------------------------------------------------

_STDDEV = Exercise(
    id="progan.minibatch_stddev",
    title="The critic sees the batch",
    points=3,
    difficulty="hard",
    stub='''
def minibatch_stddev(x, group):
    """Add one channel, the last, that says how much the images of a group differ.

    x: (N, C, H, W). A group has ``group`` images, i, i + M, i + 2M, ... with M = N / group; a
    batch smaller than ``group`` is one group. For every feature at every place:
    sqrt(variance over the group + 1e-8), the variance without Bessel's correction. Its mean over
    all features and places is one number a group; each image gets its own group's number at
    every place. Returns (N, C + 1, H, W).
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=minibatch_stddev,
    cases=(
        Case("two groups of three", cases.batch(6, 2, 3, 4, group=3)),
        Case("four groups of two", cases.batch(8, 3, 2, 2, group=2)),
        Case("fewer images than a group", cases.batch(3, 2, 4, 3, group=4)),
        Case("a group of equal images", cases.twins(4, 2, 3, 2, group=2)),
    ),
    hints=(
        "unflatten(0, (group, M)) puts the members of a group along the first dimension.",
        "Deviation over dimension 0, then one mean over features and places: (M,) numbers.",
        "Image i belongs to group i % M: each.repeat(group), then view and expand to a channel.",
    ),
    alternatives=(right.stddev_by_loops, right.stddev_by_reshape),
    properties=right.STDDEV,
    mistakes=(
        Mistake(
            "groups of neighbours",
            wrong.NEIGHBOURS,
            "Images 0, 1, 2 … form your first group.",
            "the dimensions are (M, group) instead of (group, M).",
        ),
        Mistake(
            "the whole batch",
            wrong.whole_batch,
            "All your images get the same number.",
            "the groups are not used.",
        ),
        Mistake(
            "mean of all groups",
            wrong.ONE_NUMBER,
            "All your images get the mean over the groups.",
            "the last mean runs over the groups too.",
        ),
        Mistake(
            "handed to the wrong images",
            wrong.GIVEN_BACK_WRONG,
            "The numbers are right, the images that get them are not.",
            "repeat_interleave where the groups lie apart: image i belongs to group i % M.",
        ),
        Mistake(
            "Bessel's correction",
            wrong.UNBIASED,
            "Your numbers are too large, most in small groups.",
            "the variance divides by group − 1; unbiased=False.",
        ),
        Mistake(
            "variance",
            wrong.VARIANCE,
            "You averaged variances.",
            "the root is missing.",
        ),
        Mistake(
            "no 1e-8 under the root",
            wrong.NO_EPSILON,
            "Equal images give 0 and a gradient of NaN.",
            "the 1e-8 is missing, or is added after the root.",
        ),
        Mistake(
            "root at the end",
            wrong.ROOT_LAST,
            "Your numbers are a little too large.",
            "the root is taken of the mean; it comes first, feature by feature.",
        ),
        Mistake(
            "everything at once",
            wrong.OF_EVERYTHING,
            "Your number also says how much the pixels of one image differ.",
            "one deviation over group, features and places together.",
        ),
        Mistake(
            "within an image",
            wrong.WITHIN_IMAGE,
            "Your number says how much the features of one image differ.",
            "the deviation runs over the image; it has to run over the group.",
        ),
        Mistake(
            "a map",
            wrong.per_pixel,
            "Your channel differs from place to place.",
            "the mean over the places is missing.",
        ),
        Mistake(
            "channel first",
            wrong.CHANNEL_FIRST,
            "The new channel is the first.",
            "the order in torch.cat.",
        ),
        Mistake(
            "channel replaced",
            wrong.REPLACED,
            "The last feature is gone.",
            "the new channel stands in its place; it is one more.",
        ),
        Mistake(
            "detached",
            wrong.STDDEV_DETACHED,
            "The values are right, but the generator is not told how to vary more.",
            "a .detach() on the new channel.",
        ),
    ),
)

EXERCISES = (_EQUALISED, _PIXEL_NORM, _STDDEV, *TRAINING)
