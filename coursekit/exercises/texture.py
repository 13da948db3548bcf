"""Exercises of topic 02: colour statistics, Gram matrices, the texture loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit import texture
from coursekit.core import losses
from coursekit.core.runtime import generator
from coursekit.exercises import texture_right as right
from coursekit.exercises import texture_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- Inputs --------------------------------------------------------------------------------------


def _random(*shape: int, seed: int, shift: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)) + shift


def _stacks(*shapes: tuple[int, ...]) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(_random(*shape, seed=index) for index, shape in enumerate(shapes))


def _scaled_pair() -> tuple[Tensor, Tensor]:
    """Channels that differ in mean and spread, and pictures of a batch that differ too."""
    spread = torch.tensor([0.2, 1.0, 3.0]).view(1, 3, 1, 1)
    image = _random(2, 3, 5, 7, seed=0) * spread + spread
    image[1] = image[1] * 2 - 1
    return image, _random(2, 3, 4, 6, seed=1) * spread.flip(1) - 0.5


def _flat_channel() -> tuple[Tensor, Tensor]:
    image = _random(1, 3, 4, 8, seed=2)
    image[:, 1] = 0.5
    return image, _random(1, 3, 4, 4, seed=3)


def _large_mean() -> tuple[Tensor]:
    offsets = torch.tensor([5.0, -3.0, 0.0, 1.0]).view(1, 4, 1, 1)
    return (_random(2, 4, 5, 6, seed=4) + offsets,)


def _grams() -> tuple[Tensor, ...]:
    return tuple(losses.gram_matrix(_random(3, 5, 4, 6, seed=seed) * (1 + seed)) for seed in (0, 1))


def _one_target() -> tuple[Tensor, Tensor]:
    gram, target = _grams()
    return gram, target[:1]


def _layers() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
    features = {
        "conv1_1": _random(2, 4, 6, 8, seed=0),
        "pool1": 2 * _random(2, 4, 3, 4, seed=1),
        "pool2": _random(2, 7, 2, 3, seed=2),
    }
    made_from = {name: each.flip(0, 3) * 1.5 + 0.2 for name, each in features.items()}
    targets = {name: losses.gram_matrix(each)[:1] for name, each in made_from.items()}
    return features, targets, {"conv1_1": 0.5, "pool1": 2.0, "pool2": 3.0}


def _other_order() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
    features, targets, weights = _layers()
    names = ["pool1", "conv1_1"]
    return (
        features,
        {name: targets[name] for name in names},
        {name: weights[name] for name in names},
    )


# --- References ----------------------------------------------------------------------------------


def colour_covariance(images: Tensor) -> Tensor:
    """`texture.colour_covariance` in one piece."""
    rows = (images - images.mean(dim=(2, 3), keepdim=True)).flatten(2)
    return rows @ rows.mT / rows.shape[2]


# --- Colour statistics ---------------------------------------------------------------------------

_CHANNEL_STATISTICS = Exercise(
    id="texture.match_channel_statistics",
    title="Colour transfer by mean and standard deviation",
    points=2,
    stub='''
def match_channel_statistics(image, reference):
    """Give each channel of image (N, C, H, W) the mean and deviation of reference (N, C, h, w).

    Deviations divide by the number of pixels. A flat channel becomes the reference's mean.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=texture.match_channel_statistics,
    cases=(
        Case("two pictures of different sizes", _scaled_pair),
        Case("a channel that is flat", _flat_channel),
    ),
    hints=(
        "Three moves: take the picture's own mean away, stretch, add the reference's mean.",
        "The statistics belong to one channel of one picture: which axes are averaged over, and "
        "which argument of mean() keeps them for broadcasting?",
        "Stretch by the ratio of two standard deviations (correction=0). Where the picture's is 0, "
        "divide by a small positive number instead.",
    ),
    difficulty="core",
    alternatives=(right.statistics_by_loops, right.statistics_by_rows),
    properties=right.STATISTICS,
    mistakes=(
        Mistake(
            "batch pooled",
            wrong.matched_over((0, 2, 3)),
            "The pictures of a batch share their statistics.",
            "the mean runs over the batch axis 0 as well as over the pixels.",
        ),
        Mistake(
            "channels pooled",
            wrong.matched_over((1, 2, 3)),
            "All channels get the same mean and deviation.",
            "the mean runs over the channel axis 1 as well as over the pixels.",
        ),
        Mistake(
            "divided by M - 1",
            wrong.matched_over((2, 3), correction=1),
            "The deviations are a little too large, by the factor √(M / (M − 1)).",
            "torch.std divides by M − 1 unless it is told correction=0.",
        ),
        Mistake(
            "variance for deviation",
            wrong.variance_ratio,
            "The spread comes out squared.",
            "the ratio of variances is used where the ratio of standard deviations belongs.",
        ),
        Mistake(
            "ratio upside down",
            wrong.ratio_upside_down,
            "The means are right; the more the reference varies, the less the result does.",
            "the ratio of deviations is upside down.",
        ),
        Mistake(
            "own mean added back",
            wrong.own_mean_kept,
            "The spread is right, the mean is still the picture's own.",
            "at the end the picture's mean is added instead of the reference's.",
        ),
        Mistake(
            "not centred",
            wrong.not_centred,
            "The spread is right, the mean is off by the picture's stretched mean.",
            "the picture's own mean was not taken away before stretching.",
        ),
        Mistake(
            "no guard",
            wrong.matched_over((2, 3)),
            "A flat channel becomes NaN.",
            "its deviation is 0, and 0/0 follows; divide by a small positive number instead.",
        ),
    ),
    gradient=False,
)


# --- Second moments: covariance and Gram matrix --------------------------------------------------


def _shared_mistakes(prepare: wrong.Prepare) -> tuple[Mistake, ...]:
    return (
        Mistake(
            "positions by positions",
            wrong.positions(prepare),
            "Each number compares two positions, not two channels.",
            "the transposed factor is on the wrong side, Fᵀ F instead of F Fᵀ (or a reshape stands "
            "where a transpose belongs).",
        ),
        Mistake(
            "not divided by M",
            wrong.product(prepare, 0),
            "The numbers grow with the size of the picture.",
            "the sum over positions is not divided by their number M = H·W.",
        ),
        Mistake(
            "divided by C",
            wrong.product(prepare, 0, -1),
            "The numbers are M / C times too large.",
            "the sum is divided by the number of channels instead of the number of positions.",
        ),
        Mistake(
            "batch flattened together",
            wrong.batch_flattened(prepare),
            "Every picture of the batch has the same matrix.",
            "the batch axis is flattened together with the positions.",
        ),
        Mistake(
            "first picture for all",
            wrong.first_for_all,
            "Every picture of the batch has the first one's matrix.",
            "an index [0] where the whole batch belongs.",
            wraps=True,
        ),
        Mistake(
            "cut from the graph",
            wrong.cut,
            "The values are right, but no gradient reaches the input.",
            "a detach(), numpy() or no_grad() on the way.",
            wraps=True,
        ),
    )


_SECOND_MOMENT_CASES = (
    # As many channels as positions: then even Fᵀ F has the right size.
    Case("6 channels, 2×3 positions", _stacks((2, 6, 2, 3))),
    Case("channels with large means", _large_mean),
    Case("more channels than positions", _stacks((1, 9, 1, 4))),
)

_COVARIANCE = Exercise(
    id="texture.colour_covariance",
    title="Covariance of the channels",
    points=2,
    stub='''
def colour_covariance(images):
    """Covariance matrices (N, C, C) of the channels of images (N, C, H, W), divided by H*W."""
    raise NotImplementedError("your turn")
'''.strip(),
    reference=colour_covariance,
    twins=(texture._second_moment,),
    cases=_SECOND_MOMENT_CASES,
    hints=(
        "Write each picture as a matrix with a row for each channel and a column for each pixel.",
        "Take away each row's mean. Then the covariance is a product of that matrix with another.",
        "Rows times rows: X Xᵀ is (C, M) times (M, C). `@` does it for the whole batch; `.mT` "
        "transposes the last two axes.",
    ),
    difficulty="core",
    alternatives=(right.covariance_of_products, right.covariance_by_picture),
    properties=right.COVARIANCE,
    mistakes=(
        *_shared_mistakes(wrong.centred),
        Mistake(
            "mean kept",
            wrong.product(wrong.same, -1),
            "Channels with a large mean get large numbers, even where they do not vary.",
            "the mean was not taken away: this is the Gram matrix, not the covariance.",
        ),
        Mistake(
            "one mean for all channels",
            wrong.product(wrong.one_mean, -1),
            "Part of each channel's mean is still in the matrix.",
            "one mean of the whole picture was taken away instead of one a channel.",
        ),
        Mistake(
            "divided by M - 1",
            wrong.less_one,
            "The numbers are M / (M − 1) times too large.",
            "the sum is divided by M − 1, as torch.cov does; here it is M.",
        ),
    ),
)

_GRAM = Exercise(
    id="texture.gram_matrix",
    title="Gram matrix",
    points=2,
    stub='''
def gram_matrix(features):
    """Gram matrices (N, C, C) of feature maps (N, C, H, W), divided by H*W."""
    raise NotImplementedError("your turn")
'''.strip(),
    reference=losses.gram_matrix,
    cases=_SECOND_MOMENT_CASES,
    hints=(
        "Entry (i, j) asks: how strongly do channels i and j respond at the same positions?",
        "Flatten the two axes of positions into one: F becomes (N, C, M).",
        "The sum over positions k of F[i, k] F[j, k] is one matrix product of F with its own "
        "transpose. Mind which side the transpose is on, and what to divide by.",
    ),
    difficulty="core",
    alternatives=(right.gram_by_einsum, right.gram_by_loops),
    properties=right.GRAM,
    mistakes=(
        *_shared_mistakes(wrong.same),
        Mistake(
            "divided by C·M",
            wrong.product(wrong.same, -1, -1),
            "The numbers are C times too small.",
            "the sum is divided by all C·H·W values; M counts the positions alone.",
        ),
        Mistake(
            "mean removed",
            wrong.product(wrong.centred, -1),
            "Channels that respond everywhere the same count for nothing.",
            "the mean of each channel was taken away: this is the covariance.",
        ),
    ),
)


# --- Losses --------------------------------------------------------------------------------------


def _loss_mistakes() -> tuple[Mistake, ...]:
    return (
        Mistake(
            "the quarter forgotten",
            wrong.scaled_loss(2, quarter=False),
            "The loss is 4 times too large.",
            "the factor 1/4 is missing: the plain mean of the squares is 4 E.",
        ),
        Mistake(
            "divided by N",
            wrong.scaled_loss(1, quarter=True),
            "The loss is too large by the number of channels.",
            "the sum is divided by N; the matrix has N² numbers.",
        ),
        Mistake(
            "batch summed",
            wrong.scaled_loss(2, quarter=True, batch_mean=False),
            "The loss grows with the number of pictures.",
            "the batch is summed; the course averages over it.",
        ),
        Mistake(
            "absolute differences",
            wrong.absolute,
            "Large differences count for too little.",
            "absolute values are summed where squares belong.",
        ),
        Mistake(
            "diagonal only",
            wrong.diagonal,
            "Only how strong each channel is counts, not which ones respond together.",
            "the sum runs over the diagonal i = j alone.",
        ),
    )


_STYLE_LOSS = Exercise(
    id="texture.style_loss",
    title="Style loss of one layer",
    points=1,
    stub='''
def style_loss(gram, target):
    """Loss E of one layer: gram (N, C, C) against target (N or 1, C, C), mean over the batch."""
    raise NotImplementedError("your turn")
'''.strip(),
    reference=losses.style_loss,
    constants=("target",),
    cases=(
        Case("three pictures, 5 channels", _grams),
        Case("one target for the whole batch", _one_target),
    ),
    hints=(
        "It is a sum of squared differences over all pairs of channels, with a factor before it.",
        "In the formula N is the number of channels. Here the letter also names the batch: which "
        "axis is which?",
        "Sum over i and j, divide by four times the number of entries, then average the batch.",
    ),
    difficulty="easy",
    alternatives=(right.style_by_mean, right.style_by_picture),
    properties=right.STYLE,
    mistakes=_loss_mistakes(),
)

_TEXTURE_LOSS = Exercise(
    id="texture.texture_loss",
    title="Texture loss over layers",
    points=2,
    stub='''
def texture_loss(features, targets, layer_weights):
    """Weighted sum of the style losses of all layers in targets, a scalar.

    features {layer: (N, C, H, W)}, targets {layer: Gram matrix (1, C, C)},
    layer_weights {layer: number}. Use losses.gram_matrix and losses.style_loss.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=texture.texture_loss,
    constants=("targets",),
    cases=(
        Case("three layers", _layers),
        Case("fewer targets than features, in another order", _other_order),
    ),
    hints=(
        "One term a layer: its weight times its style loss. Which of the three dictionaries says "
        "which layers count?",
        "The Gram matrix of the picture is computed here; that of the texture is in `targets`.",
        "Look everything up by the layer's name, and add the terms up without leaving torch, so "
        "that the gradient can flow back.",
    ),
    difficulty="hard",
    alternatives=(right.texture_by_loop, right.texture_by_einsum),
    properties=right.TEXTURE,
    mistakes=(
        Mistake(
            "weights ignored",
            wrong.weights_ignored,
            "All layers count the same.",
            "the style losses are added without their weights.",
        ),
        Mistake(
            "averaged over the layers",
            wrong.averaged,
            "The loss is too small by the number of layers.",
            "a mean is taken where the formula has a sum; the weights already do that job.",
        ),
        Mistake(
            "weights scaled to 1",
            wrong.weights_to_one,
            "The loss is too small by the sum of the weights.",
            "the weights are divided by their sum; the formula uses them as they are.",
        ),
        Mistake(
            "last layer only",
            wrong.last_layer,
            "Only the last layer counts.",
            "the total is overwritten in the loop instead of added to.",
        ),
        Mistake(
            "plain sums against means",
            wrong.plain_sums,
            "The loss is far too large, and more so for larger pictures.",
            "the picture's Gram matrix is not divided by M, but the target is.",
        ),
        Mistake(
            "paired by order",
            wrong.paired_by_order,
            "Layers are compared with the targets of other layers.",
            "dictionaries are walked side by side; their orders need not agree. Look up by name.",
        ),
        Mistake(
            "cut from the graph",
            wrong.detached,
            "The value is right, but no gradient reaches the features.",
            "a detach(), item() or no_grad() cuts the loss off from the picture.",
        ),
    ),
)

EXERCISES = (_CHANNEL_STATISTICS, _COVARIANCE, _GRAM, _STYLE_LOSS, _TEXTURE_LOSS)
