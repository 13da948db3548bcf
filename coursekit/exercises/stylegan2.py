"""Exercises of topic 13: AdaIN, demodulation, truncation, mixing, and the two lazy regularisers."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit import stylegan2_layers, stylegan2_styles
from coursekit.exercises import stylegan2_cases as cases
from coursekit.exercises import stylegan2_right as right
from coursekit.exercises import stylegan2_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake
from coursekit.exercises.stylegan2_regularisers import REGULARISERS

# --- References ----------------------------------------------------------------------------------


def demodulate(weight: Tensor, style: Tensor, epsilon: float = 1e-8) -> Tensor:
    """w″ = s_i w_jik / √(Σ_{i,k} (s_i w_jik)² + ε) (Karras et al. 2020, equations 1 and 3)."""
    modulated = weight[None] * style[:, None, :, None, None]
    power = modulated.square().sum(dim=(2, 3, 4), keepdim=True)
    return modulated * (power + epsilon).rsqrt()


def truncate(w: Tensor, mean: Tensor, psi: float, layers: int) -> Tensor:
    """w̄ + ψ (w − w̄) in the first layers (Karras et al. 2019, section 2 and appendix B)."""
    nearer = mean + psi * (w - mean)
    return torch.cat([nearer[:, :layers], w[:, layers:]], dim=1)


def mix_styles(styles: Tensor, others: Tensor, first: int, last: int) -> Tensor:
    """A's styles, but those of the layers first … last − 1 from B (2019, section 3.1)."""
    mixed = styles.clone()
    mixed[:, first:last] = others[:, first:last]
    return mixed


# --- AdaIN ---------------------------------------------------------------------------------------

_ADAIN = Exercise(
    id="stylegan2.adain",
    title="Adaptive instance normalisation",
    points=1,
    stub='''
def adain(x, scale, bias):
    """AdaIN: every map of every sample to mean 0 and variance 1, then times y_s, plus y_b.

    x: (N, C, H, W). scale, bias: y_s and y_b, (N, C). The variance divides by the number of
    pixels; 1e-8 is added to it.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=stylegan2_layers.adain,
    cases=(
        # As many samples as channels, as high as wide: every wrong broadcast goes through.
        Case("three samples of three maps of 3×3", cases.maps(3, 3, 3, 3)),
        Case("two samples of five maps", cases.maps(2, 5, 4, 6)),
        Case("a map without contrast", cases.flat_map),
        Case("maps of little contrast", cases.maps(2, 3, 4, 4, spread=2e-4), tolerance=1e-3),
    ),
    hints=(
        "One mean and one standard deviation for every map of every sample. Over which dimensions?",
        "keepdim=True leaves (N, C, 1, 1). What shape must y_s get to fit that?",
        "The 1e-8 goes under the root. y_s and y_b become (N, C, 1, 1): scale[:, :, None, None].",
    ),
    difficulty="easy",
    alternatives=(right.adain_by_instance_norm, right.adain_by_rows),
    properties=right.ADAIN,
    mistakes=(
        Mistake(
            "statistics of the batch",
            wrong.adain_with((0, 2, 3)),
            "Your maps depend on the other samples.",
            "that is batch normalisation: the mean must not run over the samples.",
        ),
        Mistake(
            "statistics of the layer",
            wrong.adain_with((1, 2, 3)),
            "All maps of a sample got the same statistics.",
            "that is layer normalisation: the mean must not run over the channels.",
        ),
        Mistake(
            "no mean",
            wrong.adain_with(centred=False),
            "The old mean of a map is still in it.",
            "μ is not subtracted.",
        ),
        Mistake(
            "divided by the variance",
            wrong.adain_with(root=False),
            "Strong maps come out too weak, weak maps too strong.",
            "the root is missing: divide by the standard deviation.",
        ),
        Mistake(
            "no epsilon",
            wrong.adain_with(epsilon=0.0),
            "A map without contrast gives NaN.",
            "0 / 0: the 1e-8 is missing under the root.",
        ),
        Mistake(
            "epsilon outside the root",
            wrong.adain_with(outside=True),
            "Maps of little contrast come out too strong, and a map without any has no gradient.",
            "1e-8 is added to the deviation; it belongs under the root, to the variance.",
        ),
        Mistake(
            "one pixel fewer",
            wrong.adain_with(correction=1),
            "Your result is a little too small, the more so the smaller the map.",
            "the variance divides by the number of pixels − 1, torch's default.",
        ),
        Mistake(
            "scale and bias swapped",
            wrong.adain_with(swapped=True),
            "y_b multiplies, and y_s is added.",
            "the two styles are swapped.",
        ),
        Mistake(
            "one plus",
            wrong.adain_with(one_plus=True),
            "The scale is too large by 1.",
            "1 + y_s: here y_s is the whole factor.",
        ),
        Mistake(
            "statistics taken for constants",
            wrong.adain_constants,
            "The values are right, the gradient to x is not.",
            "mean or deviation was detached: they depend on x too.",
        ),
        Mistake(
            "styles detached",
            wrong.adain_styles_detached,
            "The values are right, but the mapping network would learn nothing.",
            "a .detach() on the way from scale and bias.",
        ),
    ),
)

# --- Demodulation --------------------------------------------------------------------------------

_DEMODULATE = Exercise(
    id="stylegan2.demodulate",
    title="Modulation and demodulation",
    points=2,
    stub='''
def demodulate(weight, style):
    """The weights of every sample: weight (O, I, k, k), style s (N, I) -> (N, O, I, k, k).

    Scale input channel i by s_i; then divide by the length: the root of (the sum of its squares +
    1e-8), one length for each output channel, over all its inputs and positions.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=demodulate,
    cases=(
        # As many samples as outputs and inputs.
        Case("three samples, 3 → 3 channels, 3×3", cases.weights(3, 3, 3, 3)),
        Case("two samples, 4 → 5 channels, 1×1", cases.weights(5, 4, 1, 2)),
        Case("a style of nothing", cases.style_of_nothing),
        Case("styles that are nearly nothing", cases.weights(3, 4, 3, 2, 2e-5), tolerance=1e-3),
    ),
    hints=(
        "The style belongs to the input channels. Which dimension of (N, O, I, k, k) is that?",
        "One length for each sample and output channel: what does the sum run over?",
        "weight[None] · style[:, None, :, None, None], then a sum of squares over dim=(2, 3, 4).",
    ),
    alternatives=(right.demodulate_by_einsum, right.demodulate_by_loop),
    properties=right.DEMODULATE,
    mistakes=(
        Mistake(
            "style on the outputs",
            wrong.demodulate_with(outputs=True),
            "The style scales output channels, and demodulation takes it away again.",
            "s_i belongs to the input channels, the third dimension.",
        ),
        Mistake(
            "not modulated",
            wrong.demodulate_with(modulate=False),
            "The plain weights are divided by the lengths of the scaled ones.",
            "the style is in the divisor only.",
        ),
        Mistake(
            "not demodulated",
            wrong.demodulate_with(divide=False),
            "Your weights grow with the style.",
            "the division is missing: that is modulation alone.",
        ),
        Mistake(
            "length of the kernel alone",
            wrong.demodulate_with((3, 4)),
            "Every input channel has length 1: of the style only the sign is left.",
            "the sum must run over the input channels too.",
        ),
        Mistake(
            "one length for a sample",
            wrong.demodulate_with((1, 2, 3, 4)),
            "The output channels keep their different strengths.",
            "the sum runs over the output channels too.",
        ),
        Mistake(
            "root forgotten",
            wrong.demodulate_with(root=False),
            "Strong filters come out weak.",
            "you divide by the sum of squares, not by its root.",
        ),
        Mistake(
            "mean of squares",
            wrong.demodulate_with(mean=True),
            "Your weights are too large by the root of the number of inputs.",
            "a mean where the length has a sum.",
        ),
        Mistake(
            "no epsilon",
            wrong.demodulate_with(epsilon=0.0),
            "A style of 0 gives NaN.",
            "0 / 0: the 1e-8 is missing under the root.",
        ),
        Mistake(
            "epsilon outside the root",
            wrong.demodulate_with(outside=True),
            "Styles that are nearly nothing come out too strong.",
            "1e-8 is added to the length; it belongs under the root, to the sum of squares.",
        ),
        Mistake(
            "lengths taken for constants",
            wrong.demodulate_constants,
            "The values are right, the gradient is not.",
            "the divisor was detached: it depends on weight and style too.",
        ),
        Mistake(
            "style detached",
            wrong.demodulate_style_detached,
            "The values are right, but the style learns nothing.",
            "a .detach() on the way from style.",
        ),
    ),
)

# --- Truncation ----------------------------------------------------------------------------------

_TRUNCATE = Exercise(
    id="stylegan2.truncate",
    title="The truncation trick",
    points=1,
    stub='''
def truncate(w, mean, psi, layers):
    """Move w nearer to its mean in the first `layers` layers; the others stay as they are.

    w: (N, count, latent), one for each layer. mean: (latent,). psi: the share of the distance
    to the mean that is left.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=truncate,
    constants=("mean",),
    cases=(
        # Six layers: in five, w[:, :-2] would look like one layer too many.
        Case("half way, in two of six layers", cases.truncations(3, 6, 4, 0.5, 2)),
        Case("ψ = 0.7 in all layers", cases.truncations(4, 4, 4, 0.7, 4)),
        Case("a negative ψ in one layer", cases.truncations(2, 6, 3, -1.0, 1)),
        Case("in no layer", cases.truncations(2, 3, 5, 0.5, 0)),
    ),
    hints=(
        "ψ = 1 changes nothing, ψ = 0 leaves the mean.",
        "What is scaled by ψ: w, or the way from the mean to w?",
        "w[:, :layers] are the layers to change; torch.cat puts the others behind, as they are.",
    ),
    difficulty="easy",
    alternatives=(right.truncate_by_lerp, right.truncate_by_where),
    properties=right.TRUNCATE,
    mistakes=(
        Mistake(
            "towards 0",
            wrong.truncate_with(lambda w, mean, psi: psi * w),
            "Your w shrinks towards 0.",
            "the mean of w is not 0: only the distance to it is scaled.",
        ),
        Mistake(
            "mean not added",
            wrong.truncate_with(lambda w, mean, psi: psi * (w - mean)),
            "Your w lies around 0, not around the mean.",
            "the mean was subtracted and never added again.",
        ),
        Mistake(
            "ψ the wrong way round",
            wrong.truncate_with(lambda w, mean, psi: wrong.nearer(w, mean, 1 - psi)),
            "ψ = 1 gives the mean, ψ = 0 changes nothing.",
            "ψ is the share that is left, not the share that is taken away.",
        ),
        Mistake(
            "away from the mean",
            wrong.truncate_with(lambda w, mean, psi: mean + psi * (mean - w)),
            "Everybody becomes their opposite.",
            "the difference is w − mean.",
        ),
        Mistake(
            "clipped",
            wrong.truncate_with(lambda w, mean, psi: w.clamp(mean - abs(psi), mean + abs(psi))),
            "Far numbers are cut, near ones stay.",
            "a clamp; every w moves by the same share.",
        ),
        Mistake(
            "all layers",
            wrong.truncate_all,
            "The last layers are truncated too.",
            "`layers` is ignored.",
        ),
        Mistake(
            "the other layers",
            wrong.truncate_with(wrong.nearer, lambda layers: slice(layers, None)),
            "The last layers are truncated, the first ones are not.",
            "the slice begins where it should end.",
        ),
        Mistake(
            "one layer too many",
            wrong.truncate_with(wrong.nearer, lambda layers: slice(0, layers + 1)),
            "One layer too many is truncated.",
            "w[:, :layers] has `layers` layers already.",
        ),
        Mistake(
            "the mean of this batch",
            wrong.truncate_with(
                lambda w, mean, psi: wrong.nearer(w, w.mean(dim=0, keepdim=True), psi)
            ),
            "Your result depends on who else is in the batch.",
            "the batch's own mean is used; `mean` is an average over thousands of w.",
        ),
    ),
)

# --- Mixing --------------------------------------------------------------------------------------

_MIX = Exercise(
    id="stylegan2.mix_styles",
    title="Style mixing",
    points=1,
    stub='''
def mix_styles(styles, others, first, last):
    """A's styles, but B's in the layers first ... last - 1.

    styles, others: A's and B's, (N, count, latent), the coarsest layer first. Neither is changed.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=mix_styles,
    twins=(stylegan2_styles.replace_layers,),
    cases=(
        Case("the coarse layers", cases.mixtures(4, 4, 4, 0, 2)),
        Case("the middle layers", cases.mixtures(3, 6, 5, 2, 4)),
        Case("the fine layers", cases.mixtures(5, 5, 3, 3, 5)),
        Case("no layer", cases.mixtures(2, 4, 3, 2, 2)),
    ),
    hints=(
        "Three blocks of layers: which of them are A's?",
        "The layers are the second dimension.",
        "A clone of A into which B's [:, first:last] is written, or three pieces and torch.cat.",
    ),
    difficulty="easy",
    alternatives=(right.mix_by_cat, right.mix_by_where),
    properties=right.MIX,
    mistakes=(
        Mistake(
            "A and B swapped",
            wrong.mix_swapped,
            "B with A's styles in it.",
            "the two are swapped: the layers asked for come from B.",
        ),
        Mistake(
            "from there on",
            wrong.mix_with(lambda first, last: slice(first, None)),
            "All layers from `first` on are B's.",
            "`last` is ignored: that is a crossover, not a group of layers.",
        ),
        Mistake(
            "up to there",
            wrong.mix_with(lambda first, last: slice(0, last)),
            "All layers up to `last` are B's.",
            "`first` is ignored.",
        ),
        Mistake(
            "last one too",
            wrong.mix_with(lambda first, last: slice(first, last + 1)),
            "One layer too many is B's.",
            "`last` itself does not belong to the group, as in Python's slices.",
        ),
        Mistake(
            "averaged",
            wrong.mix_averaged,
            "The layers are half A, half B.",
            "mixing means taking from one or the other, not their mean.",
        ),
        Mistake(
            "samples mixed",
            wrong.mix_batch,
            "Whole samples were exchanged.",
            "the slice runs over the batch, the first dimension.",
        ),
        Mistake(
            "inside w",
            wrong.mix_latent,
            "Every layer has numbers of both.",
            "the slice runs over the numbers of w, the last dimension.",
        ),
        Mistake(
            "one B for all",
            wrong.mix_first_row,
            "Every sample got its styles from the first B.",
            "B's first row was broadcast; sample n of A mixes with sample n of B.",
        ),
    ),
)

EXERCISES = (_ADAIN, _DEMODULATE, _TRUNCATE, _MIX, *REGULARISERS)
