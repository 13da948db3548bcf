"""Exercises of topic 14: label planes, the layer, the block; the loss terms are in spade_terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises import spade_cases as cases
from coursekit.exercises import spade_right as right
from coursekit.exercises import spade_terms as terms
from coursekit.exercises import spade_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake
from coursekit.exercises.spade_cases import Map, Norm

# --- References ----------------------------------------------------------------------------------


def normalise_and_modulate(
    features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5
) -> Tensor:
    """(1 + γ) · (x − μ) / σ + β, μ and σ a channel, γ and β a pixel (Park et al. 2019, eq. 1)."""
    mean = features.mean(dim=(0, 2, 3), keepdim=True)
    variance = (features - mean).square().mean(dim=(0, 2, 3), keepdim=True)
    normal = (features - mean) / (variance + epsilon).sqrt()
    return normal * (1 + gamma) + beta


def one_hot_labels(labels: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
    """One plane a class, at another size by the nearest pixel."""
    planes = F.one_hot(labels, classes).permute(0, 3, 1, 2).float()
    return F.interpolate(planes, size, mode="nearest")


def residual_block(
    x: Tensor,
    planes: Tensor,
    norms: Sequence[Norm],
    convolutions: Sequence[Map],
    shortcut_norm: Norm | None = None,
    shortcut: Map | None = None,
) -> Tensor:
    """The SPADE ResBlk (Park et al. 2019, fig. 4)."""
    straight = x
    if shortcut is not None and shortcut_norm is not None:
        straight = shortcut(shortcut_norm(x, planes))
    for norm, convolution in zip(norms, convolutions, strict=True):
        x = convolution(F.leaky_relu(norm(x, planes), 0.2))
    return straight + x


# --- The layer -----------------------------------------------------------------------------------

_MODULATE = Exercise(
    id="spade.normalise_and_modulate",
    title="The layer: normalise, then let the map speak",
    points=2,
    stub='''
def normalise_and_modulate(features, gamma, beta, epsilon=1e-5):
    """(1 + gamma) * (x - mean) / sqrt(variance + epsilon) + beta.

    features, gamma, beta: (N, C, H, W). Mean and variance: one each a channel, over all pictures
    and positions of the batch (the variance divides by the count, not by count - 1). gamma and
    beta come from the label map and differ from pixel to pixel.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=normalise_and_modulate,
    cases=(
        Case("two pictures", cases.modulated((2, 3, 4, 5))),
        Case("one picture, far from 0", cases.modulated((1, 5, 3, 2), 0.8, 4.0), 1e-3),
        Case("features close to flat", cases.modulated((3, 2, 5, 4), 2e-3)),
        Case(
            "a large epsilon",
            cases.modulated((2, 4, 3, 6)),
            keywords=lambda: {"epsilon": 0.5},
        ),
    ),
    hints=(
        "Two things of different size: the statistics belong to a channel, γ and β to a pixel.",
        "Over which dimensions of (N, C, H, W) do you take the mean, if a channel is to have one?",
        "dim=(0, 2, 3) with keepdim=True; divide by the root; then times (1 + γ), plus β.",
    ),
    alternatives=(right.modulate_by_batch_norm, right.modulate_by_channel),
    properties=right.MODULATE,
    mistakes=(
        Mistake(
            "γ without 1",
            wrong.GAMMA_ALONE,
            "With γ = 0 your layer gives β alone; it should give the normalised features plus β.",
            "the factor is 1 + γ, so that an untrained layer is plain normalisation.",
        ),
        Mistake(
            "one γ for the whole picture",
            wrong.ONE_FOR_ALL,
            "Every pixel of a channel gets the same γ and β.",
            "they are averaged over the picture: that is conditional normalisation, which does "
            "not know where anything is.",
        ),
        Mistake(
            "modulated before normalised",
            wrong.modulated_first,
            "The normalisation takes away part of what the map said.",
            "γ and β come first in yours. They come last: that is the point of the layer.",
        ),
        Mistake(
            "each picture by itself",
            wrong.INSTANCE,
            "Right for one picture, wrong for several.",
            "the statistics are those of each picture: instance normalisation.",
        ),
        Mistake(
            "over the channels",
            wrong.LAYER,
            "All channels of a picture share one mean.",
            "dimension 1 is in the mean: layer normalisation. A channel has its own statistics.",
        ),
        Mistake(
            "over the channels of a pixel",
            wrong.PIXEL,
            "Every pixel is normalised by itself.",
            "the mean runs over dimension 1 alone; it is to run over all the others.",
        ),
        Mistake(
            "divided by count − 1",
            wrong.UNBIASED,
            "Your values are a little too small, most of all for few pixels.",
            "the unbiased variance (the default of .var()); here it divides by the count.",
        ),
        Mistake(
            "not centred",
            wrong.NOT_CENTRED,
            "The mean of the features is still in your result.",
            "x is divided by σ, but μ is not taken off.",
        ),
        Mistake(
            "divided by the variance",
            wrong.BY_THE_VARIANCE,
            "The size of your result falls where the features grow.",
            "the root is missing.",
        ),
        Mistake(
            "epsilon outside of the root",
            wrong.EPSILON_OUTSIDE,
            "Right for small epsilon, wrong for a large one and for features close to flat.",
            "epsilon is added to σ; it belongs to σ².",
        ),
        Mistake(
            "epsilon forgotten",
            wrong.EPSILON_FORGOTTEN,
            "Features close to flat are blown up to full size.",
            "nothing is added to the variance.",
        ),
        Mistake(
            "epsilon fixed",
            wrong.EPSILON_FIXED,
            "Right for the usual epsilon, wrong for others.",
            "1e-5 is written into the function, or is the default of one; use the argument.",
        ),
        Mistake(
            "β scaled too",
            wrong.BETA_SCALED,
            "β is multiplied by 1 + γ in your result.",
            "the brackets: β is added last.",
        ),
        Mistake(
            "γ and β exchanged",
            wrong.EXCHANGED,
            "γ shifts and β scales in yours.",
            "the two have changed places.",
        ),
        Mistake(
            "statistics detached",
            wrong.STATISTICS_DETACHED,
            "The values are right, the gradient is not that of a normalisation.",
            "a .detach() (or no_grad) on mean and variance: they depend on the features too.",
        ),
    ),
)

# --- Label maps ----------------------------------------------------------------------------------

_PLANES = Exercise(
    id="spade.one_hot_labels",
    title="Label planes at every size",
    points=1,
    difficulty="easy",
    stub='''
def one_hot_labels(labels, classes, size):
    """One plane a class, 0.0 and 1.0: float (N, classes, h, w), for size = (h, w).

    labels: int64 (N, H, W), from 0 to classes - 1. Row i of the result is row floor(i * H / h) of
    the map, and columns alike, whether it shrinks or grows.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=one_hot_labels,
    cases=(
        Case("half the size", cases.maps((2, 8, 12), 5, 5, (4, 6))),
        Case("a quarter, and a class that is not there", cases.maps((3, 8, 16), 4, 7, (2, 4))),
        Case("twice the size", cases.maps((1, 3, 5), 3, 3, (6, 10))),
        Case("the same size", cases.maps((2, 4, 6), 4, 4, (4, 6))),
        Case("an odd size", cases.maps((2, 7, 9), 6, 6, (3, 4))),
    ),
    hints=(
        "Halfway between the classes 1 and 3, is there class 2?",
        "F.one_hot puts the classes last; where do channels belong?",
        "permute to (N, classes, H, W), float(), then F.interpolate, which is nearest by itself.",
    ),
    alternatives=(right.planes_by_index, right.planes_by_comparison),
    properties=right.PLANES,
    gradient=False,
    mistakes=(
        Mistake(
            "class numbers mixed",
            wrong.numbers_mixed,
            "Classes turn up that were not in the map.",
            "the class *numbers* are interpolated: between sky (0) and tree (4) there is no 2.",
        ),
        Mistake(
            "planes mixed",
            wrong.BILINEAR,
            "Your planes have values between 0 and 1.",
            "a bilinear resize: at the borders a pixel is half of one class and half of another.",
        ),
        Mistake(
            "averaged",
            wrong.AREA,
            "Your planes hold shares of classes.",
            "a mean over each cell (area, average pooling) where the nearest pixel is asked for.",
        ),
        Mistake(
            "the largest of each cell",
            wrong.LARGEST,
            "Some pixels have several classes at once.",
            "max pooling of the planes: every class in the cell wins.",
        ),
        Mistake(
            "the pixel in the middle",
            wrong.MIDDLE,
            "The right idea, and one pixel further down and right.",
            "nearest-exact looks at the middle of each cell; floor(i · H / h) at its first pixel.",
        ),
        Mistake(
            "width first",
            wrong.WIDTH_FIRST,
            "Height and width of your planes are exchanged.",
            "size is (height, width).",
        ),
        Mistake(
            "cut out",
            wrong.CUT_OUT,
            "Your planes show a corner of the map.",
            "the map is cut (or padded) to the size; it is to shrink as a whole.",
        ),
        Mistake(
            "channels last",
            wrong.channels_last,
            "The planes are your last dimension.",
            "F.one_hot puts the classes last; a network wants them behind the batch.",
        ),
        Mistake(
            "view instead of permute",
            wrong.viewed,
            "The right shape, with everything in the wrong place.",
            "view (or reshape) keeps the order in memory; permute moves the dimension.",
        ),
        Mistake(
            "whole numbers",
            wrong.whole_numbers,
            "Your planes are integers.",
            ".float() is missing: a convolution takes no integers.",
        ),
        Mistake(
            "classes counted in the map",
            wrong.classes_of_the_map,
            "Right where the last class is in the map, too few planes where it is not.",
            "the number of planes is `classes`, whatever this map holds.",
        ),
    ),
)

# --- The residual block --------------------------------------------------------------------------

_BLOCK = Exercise(
    id="spade.residual_block",
    title="The residual block and its learned shortcut",
    points=3,
    difficulty="hard",
    stub='''
def residual_block(x, planes, norms, convolutions, shortcut_norm=None, shortcut=None):
    """Two times SPADE - leaky ReLU (slope 0.2) - convolution, beside a shortcut; the sum of both.

    x: (N, before, h, w). planes: label planes. norms: two functions (features, planes) ->
    features, and convolutions: two functions of features. shortcut is a 1×1 convolution where the
    number of channels changes, with its own shortcut_norm before it and no activation; None where
    it does not change: then x itself is the shortcut.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=residual_block,
    cases=(
        Case("as many channels as before", cases.block(3, 3)),
        Case("fewer channels", cases.block(5, 2)),
        Case("more channels, one picture", cases.block(2, 4, count=1)),
    ),
    hints=(
        "Draw it: one way with two convolutions, one way with one or none, and a plus.",
        "Keep the x that came in: the loop will overwrite it.",
        "Normalise, activate, convolve, in this order. A learned shortcut is normalised too, but "
        "not activated.",
    ),
    alternatives=(right.block_in_lines, right.block_with_a_helper),
    properties=right.BLOCK,
    mistakes=(
        Mistake(
            "convolution first",
            wrong.CONVOLVED_FIRST,
            "Your result was normalised last.",
            "convolution, norm, activation is the order of a DCGAN; here the norm comes first.",
        ),
        Mistake(
            "activation before the norm",
            wrong.ACTIVATED_FIRST,
            "Your convolutions see negative numbers in full size.",
            "the leaky ReLU stands before the norm; it belongs behind it.",
        ),
        Mistake(
            "no activation",
            wrong.NO_ACTIVATION,
            "Two of your layers in a row are one linear map.",
            "the leaky ReLU is missing.",
        ),
        Mistake(
            "plain ReLU",
            wrong.RELU,
            "Negative numbers are lost in yours.",
            "a ReLU where a leaky one is asked for.",
        ),
        Mistake(
            "default slope",
            wrong.DEFAULT_SLOPE,
            "Negative numbers are almost lost in yours.",
            "F.leaky_relu has a slope of 0.01 if you do not say 0.2.",
        ),
        Mistake(
            "shortcut without its norm",
            wrong.SHORTCUT_NOT_NORMALISED,
            "Right where nothing is learned, wrong where the channels change.",
            "the learned shortcut has a SPADE of its own before the 1×1 convolution.",
        ),
        Mistake(
            "shortcut activated",
            wrong.SHORTCUT_ACTIVATED,
            "Your learned shortcut bends what goes through.",
            "a leaky ReLU in the shortcut: it has none.",
        ),
        Mistake(
            "shortcut turned round",
            wrong.SHORTCUT_TURNED,
            "Your shortcut ends with its norm.",
            "the norm comes before the 1×1 convolution.",
        ),
        Mistake(
            "one norm twice",
            wrong.SAME_NORM_TWICE,
            "The second half of your block is modulated by the first one's γ and β.",
            "each convolution has a norm of its own.",
        ),
        Mistake(
            "norms exchanged",
            wrong.NORMS_EXCHANGED,
            "The two norms have changed places.",
            "norms[0] comes first.",
        ),
        Mistake(
            "shortcut too late",
            wrong.SHORTCUT_LATE,
            "Your shortcut starts where the other way ends.",
            "x was overwritten before the shortcut was taken.",
        ),
        Mistake(
            "no shortcut",
            wrong.NO_SHORTCUT,
            "Your result is one way alone.",
            "the sum is missing.",
        ),
        Mistake(
            "averaged",
            wrong.AVERAGED,
            "Your result is half of what it should be.",
            "the two ways are added, not averaged.",
        ),
        Mistake(
            "activated at last",
            wrong.ACTIVATED_LAST,
            "Your block ends with a leaky ReLU.",
            "nothing comes after the sum.",
        ),
        Mistake(
            "shortcut detached",
            wrong.SHORTCUT_DETACHED,
            "The values are right, but no gradient goes through the shortcut.",
            "a .detach() on the way that gradients need most.",
        ),
    ),
)

EXERCISES = (_PLANES, _MODULATE, _BLOCK, *terms.EXERCISES)
