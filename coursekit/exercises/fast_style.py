"""Exercises of topic 04: instance norm, two layers, two losses, the training step."""

from __future__ import annotations

import torch

from coursekit import fast_style, fast_style_networks
from coursekit.exercises import fast_style_cases as cases
from coursekit.exercises import fast_style_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- The exercises -------------------------------------------------------------------------------

INSTANCE_NORM = Exercise(
    id="fast_style.instance_norm",
    title="Instance normalisation",
    points=2,
    stub='''
def instance_norm(features, scale, shift, epsilon):
    """scale * (x - mean) / sqrt(variance + epsilon) + shift, for features (N, C, H, W).

    Mean and variance belong to one channel of one image; the variance divides by H·W.
    scale and shift are (C,), one number a channel.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=fast_style_networks.instance_norm,
    cases=(
        Case("two images that differ in contrast", lambda: (cases.maps(), *cases.affine(), 1e-5)),
        Case("a channel without contrast", lambda: (cases.flat_maps(), *cases.affine(), 1e-3)),
    ),
    hints=(
        "Batch normalisation averages over images and positions. Which of these does one image "
        "have for itself?",
        "torch.var_mean(features, dim=…, keepdim=True, correction=0) gives both; which two of the "
        "four axes are averaged over?",
        "scale and shift have the shape (C,): give them two axes of length 1 behind, so that they "
        "broadcast along the channels.",
    ),
    mistakes=(
        Mistake(
            "batch norm",
            wrong.normalised((0, 2, 3)),
            "The images of a batch share their statistics.",
            "the mean runs over the batch axis 0 too: that is batch normalisation.",
        ),
        Mistake(
            "layer norm",
            wrong.normalised((1, 2, 3)),
            "The channels of an image share their statistics.",
            "the mean runs over the channel axis 1 too: that is layer normalisation.",
        ),
        Mistake(
            "along rows only",
            wrong.normalised((3,)),
            "Every row of pixels is normalised for itself.",
            "the mean runs over one of the two axes of positions.",
        ),
        Mistake(
            "divided by M - 1",
            wrong.normalised(correction=1),
            "The values are a little too small.",
            "torch.var divides by H·W - 1 unless it is told correction=0.",
        ),
        Mistake(
            "no root",
            wrong.normalised(root=lambda variance, e: variance + e),
            "Channels come out with contrast 1/σ, not 1.",
            "the square root of the variance is missing.",
        ),
        Mistake(
            "epsilon outside the root",
            wrong.normalised(root=lambda variance, e: variance.sqrt() + e),
            "Right where there is contrast, off where there is hardly any.",
            "epsilon is added to the deviation; it belongs to the variance, under the root.",
        ),
        Mistake(
            "shift before scale",
            wrong.shifted_first,
            "The shift is multiplied by the scale.",
            "the order: scale first, then shift.",
        ),
        Mistake(
            "no scale",
            wrong.normalised(affine="shift"),
            "Every channel has the same contrast.",
            "scale is not used.",
        ),
        Mistake(
            "no shift",
            wrong.normalised(affine="scale"),
            "Every channel has the mean 0.",
            "shift is not used.",
        ),
        Mistake(
            "statistics detached",
            wrong.normalised(detached=True),
            "The values are right, the gradient is not.",
            "mean and variance are taken for constants; they depend on the features.",
        ),
    ),
)

RESIDUAL_BLOCK = Exercise(
    id="fast_style.residual_block",
    title="The residual block",
    points=1,
    difficulty="easy",
    stub='''
def residual_block(x, conv1, norm1, conv2, norm2):
    """x plus what two convolutions add to it; the four layers are functions of one tensor.

    convolution, norm, ReLU, convolution, norm, sum. There is no ReLU after the sum.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=cases.residual_block,
    cases=(
        Case("two images", cases.block_inputs(2, 3, 5, 7)),
        Case("one image", cases.block_inputs(1, 3, 4, 3)),
    ),
    hints=(
        "The layers come in the order of the sentence; each takes what the one before gave.",
        "Keep x for the end: do not overwrite it on the way.",
        "Five calls in a row (with torch.relu in the middle), then a plus.",
    ),
    mistakes=(
        Mistake(
            "no skip",
            wrong.no_skip,
            "The block forgets its input.",
            "x is not added at the end.",
        ),
        Mistake(
            "ReLU after the sum",
            wrong.relu_after_the_sum,
            "Nothing negative comes out.",
            "that is the block of the first ResNets; here the sum stays as it is.",
        ),
        Mistake(
            "ReLU before the sum",
            wrong.relu_before_the_sum,
            "The block can only make values larger.",
            "there is a second ReLU, after norm2.",
        ),
        Mistake(
            "no ReLU",
            wrong.no_relu,
            "Two convolutions do no more than one larger one could.",
            "the ReLU between them is missing.",
        ),
        Mistake(
            "ReLU before the norm",
            wrong.relu_before_the_norm,
            "Half of the signal is cut off before it is centred.",
            "norm1 comes first, ReLU after it.",
        ),
        Mistake(
            "skip from the middle",
            wrong.skip_from_the_middle,
            "What is added is the result of the first half.",
            "x was overwritten on the way; the sum takes the block's own input.",
        ),
        Mistake(
            "one convolution twice",
            wrong.one_convolution_twice,
            "Half of the weights have no effect.",
            "conv1 and norm1 are used twice.",
        ),
        Mistake(
            "second norm missing",
            wrong.second_norm_missing,
            "What is added has no fixed scale.",
            "norm2 is missing.",
        ),
    ),
)

ENLARGE = Exercise(
    id="fast_style.enlarge",
    title="Enlarge without a checkerboard",
    points=2,
    stub='''
def enlarge(x, weight, bias):
    """Repeat pixels twice each way, mirror the border, convolve: -> (N, K, 2H, 2W).

    x is (N, C, H, W), weight (K, C, 3, 3), bias (K,).
    Use torch.nn.functional: interpolate, pad, conv2d.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=cases.enlarge,
    cases=(
        Case("two maps", cases.enlarge_inputs(2, 3, 4, 5)),
        Case("one narrow map", cases.enlarge_inputs(1, 2, 5, 2)),
    ),
    hints=(
        "Three calls, in the order of the docstring.",
        "Which mode of interpolate repeats pixels? Which mode of pad mirrors them?",
        "A 3×3 convolution takes one pixel from each side: pad one to each side, "
        "(left, right, top, bottom).",
    ),
    mistakes=(
        Mistake(
            "bilinear",
            wrong.enlarged("bilinear"),
            "The enlarged map is smooth.",
            "interpolate with mode='bilinear'; 'nearest' repeats pixels.",
        ),
        Mistake(
            "zeros at the border",
            wrong.enlarged(padding="constant"),
            "Right inside, wrong along the border: it would paint a dark frame.",
            "the border is filled with zeros (conv2d's own padding too), not mirrored.",
        ),
        Mistake(
            "no border",
            wrong.enlarged(padding="none"),
            "The result has two pixels too few each way.",
            "nothing is padded before the convolution.",
        ),
        Mistake(
            "convolved first",
            wrong.convolved_first,
            "The result consists of blocks of four equal pixels.",
            "the convolution comes before the enlarging.",
        ),
        Mistake(
            "padded first",
            wrong.padded_first,
            "Right inside, wrong along the border.",
            "the small map is mirrored and then enlarged; mirror the large one.",
        ),
        Mistake(
            "transposed convolution",
            wrong.transposed,
            "Output pixels are reached by 1, 2 or 4 inputs in turn: a checkerboard.",
            "conv_transpose2d of stride 2 is the paper's way; here pixels are repeated first.",
        ),
        Mistake(
            "no bias",
            wrong.enlarged(biased=False),
            "Every output channel is off by a constant.",
            "bias is not given to conv2d.",
        ),
    ),
)

CONTENT = Exercise(
    id="fast_style.perceptual_content_loss",
    title="The perceptual loss for content",
    points=1,
    difficulty="easy",
    stub='''
def perceptual_content_loss(features, target):
    """|features - target|^2 / (C·H·W) of each image, then the mean over the batch.

    features, target: (N, C, H, W), feature maps of the paintings and of the photographs.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=fast_style.perceptual_content_loss,
    constants=("target",),
    cases=(
        Case("three images", cases.feature_pair(3)),
        Case("one image", cases.feature_pair(1)),
    ),
    hints=(
        "A difference, a square, a sum over everything but the batch.",
        "flatten(1) leaves one row an image; sum(1) leaves one number an image.",
        "Every image has the same C·H·W: is there one torch function that divides by N·C·H·W?",
    ),
    mistakes=(
        Mistake(
            "half the sum",
            wrong.half_the_sum,
            "Your value is far too large, and grows with the picture.",
            "that is the content loss of Gatys et al., half a sum; here it is a mean.",
        ),
        Mistake(
            "batch summed",
            wrong.batch_summed,
            "Right for one image, too large for several.",
            "the images' losses are summed; the mean is asked for.",
        ),
        Mistake(
            "divided by positions only",
            wrong.per_position,
            "Your value is larger by the number of channels.",
            "the sum is divided by H·W; the channels count too.",
        ),
        Mistake(
            "divided by the target's energy",
            wrong.share,
            "Your value does not depend on how strong the features are.",
            "it is divided by |target|^2, a share; equation 2 divides by C·H·W.",
        ),
        Mistake(
            "root taken",
            wrong.root_mean_square,
            "You have the length of the error, not its square.",
            "a square root, or norm() without a square.",
        ),
        Mistake(
            "absolute",
            wrong.absolute,
            "Your gradient has the same size everywhere.",
            "absolute differences where the formula squares them.",
        ),
        Mistake(
            "detached",
            wrong.features_detached,
            "The value is right, but nothing flows back to the painting.",
            "a .detach() or no_grad() on the side of the painting.",
        ),
    ),
)

STYLE = Exercise(
    id="fast_style.style_term",
    title="One style, a batch of paintings",
    points=3,
    difficulty="hard",
    stub='''
def style_term(features, grams, weights):
    """sum over layers of weights[layer] * mean over images of |G - A|^2 / (4 C^2).

    features: {layer: (N, C, H, W)} of the paintings, G the Gram matrix of each, divided by H·W.
    grams: {layer: (1, C, C)}, A, those of the one style. weights: {layer: number}.
    Use coursekit.losses.gram_matrix.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=cases.style_term,
    constants=("grams",),
    cases=(
        Case("three paintings", cases.style_inputs(3)),
        Case("one painting", cases.style_inputs(1)),
    ),
    hints=(
        "gram_matrix gives (N, C, C), one matrix a painting: each of them is compared with the "
        "style's.",
        "(1, C, C) broadcasts against (N, C, C). Sum the squares over the last two axes.",
        "One number a painting: divide by 4·C², average over the paintings, weigh, add up the "
        "layers.",
    ),
    mistakes=(
        Mistake(
            "mean of the Gram matrices",
            wrong.style_with(wrong.mean_gram),
            "Right for one painting. In a batch, only the average painting must have the style.",
            "the Gram matrices are averaged before they are compared, or one is made of all "
            "positions of the batch; compare painting by painting, then average.",
        ),
        Mistake(
            "Gram not divided",
            wrong.style_with(wrong.plain_gram),
            "The term is far too large.",
            "your Gram matrix is a plain sum over positions; the style's is divided by H·W.",
        ),
        Mistake(
            "covariance",
            wrong.style_with(wrong.centred_gram),
            "The brightness of the features does not count.",
            "the mean was subtracted before the product: that is a covariance.",
        ),
        Mistake(
            "weights ignored",
            wrong.style_with(weighted=False),
            "All layers count the same.",
            "weights is not used.",
        ),
        Mistake(
            "batch summed",
            wrong.style_with(reduce="sum"),
            "Right for one painting, too large for several.",
            "the paintings' losses are summed; the mean is asked for.",
        ),
        Mistake(
            "first layer only",
            wrong.style_with(first_only=True),
            "Only one layer counts.",
            "a `return` or an assignment inside the loop that should add up.",
        ),
        Mistake(
            "not divided by 4C²",
            wrong.style_with(divided=False),
            "Layers with many channels count too much.",
            "the factor 1 / (4 C²) is missing.",
        ),
    ),
)

TRAINING_STEP = Exercise(
    id="fast_style.training_step",
    title="The training step",
    points=3,
    difficulty="hard",
    stub='''
def training_step(network, optimiser, objective, photographs):
    """One step of the painter; return the loss before it, one number.

    network: photographs -> paintings; the optimiser has its weights. objective.content_features
    gives what a painting must keep of its photograph; objective(paintings, content) gives the
    terms of the loss by name, and the loss is their sum. The loss network inside stays as it is,
    frozen; the painter stays in training mode.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=cases.training_step,
    cases=(
        Case("plain gradient descent", cases.training(torch.optim.SGD, 0.1)),
        Case("Adam", cases.training(torch.optim.Adam, 0.01), tolerance=1e-3),
    ),
    hints=(
        "Paint, judge, and then the three moves of every training step.",
        "Gradients add up from step to step unless they are emptied. When must that happen?",
        "content from the photographs, terms from the paintings, their sum; zero_grad(), "
        "backward(), step(); return the sum.",
    ),
    mistakes=(
        Mistake(
            "gradients never emptied",
            wrong.stepped("backward, step"),
            "The first step is right, later ones follow old gradients too.",
            "optimiser.zero_grad() is missing.",
        ),
        Mistake(
            "no step",
            wrong.stepped("zero, backward"),
            "The network never learns.",
            "optimiser.step() is missing, or zero_grad() stands right before it and throws the "
            "gradient away.",
        ),
        Mistake(
            "no content",
            wrong.stepped(content_of="paintings"),
            "The photograph is not asked: any picture with the style's texture would do.",
            "the content term is left out of the sum, or content_features was given the paintings, "
            "which always agree with themselves.",
        ),
        Mistake(
            "content alone",
            wrong.stepped(term=lambda terms: terms["content"]),
            "The network learns to hand the photograph through.",
            "only the content term goes into the loss; sum all of them.",
        ),
        Mistake(
            "uphill",
            wrong.stepped(term=lambda terms: -wrong.summed(terms)),
            "The loss has the wrong sign, and the network makes it worse.",
            "the optimiser minimises what backward() was called on.",
        ),
        Mistake(
            "two steps",
            wrong.stepped(steps=2),
            "The weights move twice.",
            "the moves are made twice; one step was asked for.",
        ),
        Mistake(
            "loss network trained",
            wrong.everything_trained,
            "The judge is bribed: the loss network changes too.",
            "only the painter's weights belong to an optimiser; VGG is a measuring instrument.",
        ),
        Mistake(
            "loss after the step",
            wrong.loss_after_the_step,
            "The weights move as they should, the number returned is another one.",
            "the loss was computed again after the step.",
        ),
    ),
    gradient=False,
    measure=cases.three_steps,
)

EXERCISES = (INSTANCE_NORM, RESIDUAL_BLOCK, ENLARGE, CONTENT, STYLE, TRAINING_STEP)
