"""Exercises of topic 03: the two losses, their sum, mixing styles, keeping colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coursekit import gatys
from coursekit.core import losses
from coursekit.core.runtime import generator
from coursekit.exercises import gatys_right as right
from coursekit.exercises import gatys_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

Grams = Sequence[Mapping[str, Tensor]]

# --- Inputs --------------------------------------------------------------------------------------


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)) + 0.2


def _pair(*shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (_random(*shape, seed=0), _random(*shape, seed=1))


def _features(seed: int) -> dict[str, Tensor]:
    shapes = {"relu1_1": (1, 3, 6, 8), "relu2_1": (1, 5, 3, 4), "relu4_2": (1, 7, 2, 3)}
    return {
        name: (1 + i) * _random(*shape, seed=seed + i)
        for i, (name, shape) in enumerate(shapes.items())
    }


def _total_inputs(alpha: float, beta: float) -> Callable[[], tuple[object, ...]]:
    def make() -> tuple[object, ...]:
        other = _features(seed=10)
        content = {"relu4_2": other["relu4_2"]}
        grams = {name: losses.gram_matrix(other[name]) for name in ("relu1_1", "relu2_1")}
        return _features(seed=0), content, grams, alpha, beta

    return make


def _two_content_layers() -> tuple[object, ...]:
    """One of the content layers is a style layer too."""
    inputs: Any = _total_inputs(2.0, 0.5)()
    features, content, grams, *_ = inputs
    return features, {"relu2_1": _features(seed=10)["relu2_1"], **content}, grams, 2.0, 0.5


def _styles() -> list[dict[str, Tensor]]:
    names = ("relu1_1", "relu2_1")
    return [
        {name: losses.gram_matrix(_features(seed=seed)[name]) for name in names}
        for seed in (0, 5, 9)
    ]


def _pictures() -> tuple[Tensor, ...]:
    return tuple(torch.rand(2, 3, 4, 5, generator=generator(seed)) for seed in (0, 1))


# --- References and mistakes ---------------------------------------------------------------------


def total_loss(
    features: Mapping[str, Tensor],
    content: Mapping[str, Tensor],
    grams: Mapping[str, Tensor],
    alpha: float,
    beta: float,
) -> Tensor:
    """αL_content + βL_style with equal layer weights 1/L (Gatys et al. 2015, eq. 7)."""
    content_part = sum(losses.content_loss(features[name], p) for name, p in content.items())
    return alpha * content_part + beta * _style_part(features, grams) / len(grams)


def _style_part(features: Mapping[str, Tensor], grams: Mapping[str, Tensor]) -> Tensor:
    terms = [losses.style_loss(losses.gram_matrix(features[n]), a) for n, a in grams.items()]
    return torch.stack(terms).sum()


def gradient_step(image: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    """One step of gradient descent on the pixels, kept in [0, 1]."""
    return (image - step_size * gradient).clamp(0, 1)


def _descent_inputs() -> tuple[Tensor, Tensor, float]:
    return torch.rand(2, 3, 4, 5, generator=generator(3)), _random(2, 3, 4, 5, seed=4), 0.7


EXERCISES = (
    Exercise(
        id="gatys.content_loss",
        title="The content loss",
        points=2,
        stub='''
def content_loss(features, target):
    """Half the sum of squared differences of (N, C, H, W), averaged over the batch only."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=losses.content_loss,
        constants=("target",),
        cases=(
            Case("one image", _pair(1, 4, 5, 6)),
            Case("three images", _pair(3, 4, 5, 6)),
        ),
        hints=(
            "Write the formula with torch: a difference, a square, a sum.",
            "The sum runs over channels and positions. What should happen with the batch?",
            "Half of the sum over everything, divided by the number of images.",
        ),
        difficulty="easy",
        alternatives=(right.content_by_mean, right.content_by_einsum),
        properties=right.CONTENT,
        mistakes=(
            Mistake(
                "mean",
                lambda f, p: (f - p).square().mean() / 2,
                "Your value is smaller by the number of feature values.",
                "a mean where the formula has a sum.",
            ),
            Mistake(
                "batch summed",
                lambda f, p: (f - p).square().sum() / 2,
                "Right for one image, too large for several.",
                "the batch is summed, not averaged.",
            ),
            Mistake(
                "no half",
                lambda f, p: (f - p).square().sum() / f.shape[0],
                "Your value is twice what is expected.",
                "the factor 1/2 of equation 1 is missing.",
            ),
            Mistake(
                "absolute",
                lambda f, p: (f - p).abs().sum() / (2 * f.shape[0]),
                "Your gradient has the same size everywhere.",
                "absolute differences where the formula squares them.",
            ),
            Mistake(
                "detached",
                wrong.cut,
                "The value is right, but nothing flows back to the features.",
                "a .detach() or no_grad() on the side of the image that is being made.",
                wraps=True,
            ),
        ),
    ),
    Exercise(
        id="gatys.total_loss",
        title="The loss of style transfer",
        points=3,
        stub='''
def total_loss(features, content, grams, alpha, beta):
    """alpha * content + beta * style.

    features: {layer: (1, C, H, W)} of the image; content: {layer: target features};
    grams: {layer: target Gram matrix}. The content term is the sum over its layers, however many
    there are; style layers have weight 1 / (number of style layers).
    Use coursekit.losses: content_loss, gram_matrix, style_loss.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=total_loss,
        constants=("content", "grams"),
        cases=(
            Case("α = 1, β = 1000", _total_inputs(1.0, 1000.0)),
            Case("α = 2, β = 0.5", _total_inputs(2.0, 0.5)),
            Case("content alone", _total_inputs(1.0, 0.0)),
            Case("two content layers", _two_content_layers),
        ),
        hints=(
            "Two sums: one over the layers of `content`, one over the layers of `grams`.",
            "`content` holds features, `grams` holds Gram matrices: which of the two must be made "
            "from `features` before it can be compared?",
            "One Gram matrix a style layer, one loss a matrix, the mean of those losses.",
        ),
        difficulty="hard",
        alternatives=(right.total_by_loops, right.total_by_einsum),
        properties=right.TOTAL,
        mistakes=(
            Mistake(
                "weights swapped",
                lambda f, c, g, alpha, beta: total_loss(f, c, g, beta, alpha),
                "The two terms have each other's weight.",
                "α belongs to content, β to style.",
            ),
            Mistake(
                "style layers summed",
                lambda f, c, g, alpha, beta: total_loss(f, c, g, alpha, beta * len(g)),
                "The style term is as many times too large as there are style layers.",
                "the layer weights 1/L are missing.",
            ),
            Mistake(
                "first style layer only",
                lambda f, c, g, alpha, beta: total_loss(
                    f, c, dict([next(iter(g.items()))]), alpha, beta
                ),
                "Only one style layer counts.",
                "a `return` or an assignment inside the loop that should add up.",
            ),
            Mistake(
                "last content layer only",
                lambda f, c, g, alpha, beta: total_loss(
                    f, dict([list(c.items())[-1]]), g, alpha, beta
                ),
                "Only one content layer counts.",
                "the content term is overwritten in the loop instead of added to.",
            ),
            Mistake(
                "first content layer only",
                lambda f, c, g, alpha, beta: total_loss(
                    f, dict([next(iter(c.items()))]), g, alpha, beta
                ),
                "Only one content layer counts.",
                "there is no loop over the layers of `content`, or it is left after one turn.",
            ),
            Mistake(
                "content layers averaged",
                lambda f, c, g, alpha, beta: total_loss(f, c, g, alpha / len(c), beta),
                "The content term is as many times too small as there are content layers.",
                "a mean over the content layers; their losses are added up.",
            ),
            Mistake(
                "sum of the Gram un-normalised",
                lambda f, c, g, alpha, beta: (
                    alpha * sum(losses.content_loss(f[n], p) for n, p in c.items())
                    + beta
                    * sum(
                        losses.style_loss(losses.gram_matrix(f[n], normalise=False), a)
                        for n, a in g.items()
                    )
                    / len(g)
                ),
                "The style term is far too large.",
                "your Gram matrix is a plain sum, the targets are divided by H·W.",
            ),
            Mistake(
                "no Gram matrix",
                wrong.without_grams,
                "The style term does not depend on the style targets.",
                "features are compared where Gram matrices should be.",
            ),
        ),
    ),
    Exercise(
        id="gatys.gradient_step",
        title="One step of gradient descent on an image",
        points=1,
        stub='''
def gradient_step(image, gradient, step_size):
    """Move the image against the gradient, keep it in [0, 1], leave the input as it is."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=gradient_step,
        gradient=False,
        cases=(Case("a step", _descent_inputs),),
        hints=(
            "Which direction makes the loss smaller?",
            "A pixel is a colour: what must hold for it after the step?",
            "Subtract step_size times the gradient, then clamp.",
        ),
        difficulty="easy",
        alternatives=(right.step_by_parts, right.step_on_a_copy),
        properties=right.STEP,
        mistakes=(
            Mistake(
                "uphill",
                lambda x, g, step: (x + step * g).clamp(0, 1),
                "Your step goes uphill.",
                "a plus where gradient descent has a minus.",
            ),
            Mistake(
                "no clamp",
                lambda x, g, step: x - step * g,
                "Some pixels leave [0, 1].",
                "the clamp is missing.",
            ),
            Mistake(
                "sign only",
                lambda x, g, step: (x - step * g.sign()).clamp(0, 1),
                "All pixels move equally far.",
                "the sign of the gradient is used, not the gradient.",
            ),
            Mistake(
                "gradient of unit length",
                lambda x, g, step: (x - step * g / g.norm()).clamp(0, 1),
                "Your step is as long as step_size says, however steep the loss is.",
                "the gradient is divided by its norm; plain descent uses it as it is.",
            ),
            Mistake(
                "gradient clamped",
                lambda x, g, step: (x - step * g.clamp(0, 1)).clamp(0, 1),
                "Pixels only ever become darker.",
                "the clamp is put around the gradient, too; only the image has a range.",
            ),
        ),
    ),
    Exercise(
        id="gatys.mix_grams",
        title="Mixing styles",
        points=2,
        stub='''
def mix_grams(grams, weights):
    """The weighted mean of several styles' Gram matrices, layer by layer.

    grams: a list of {layer: (1, C, C)}, one dict a style; weights: one number a style, any scale.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=gatys.mix_grams,
        gradient=False,
        cases=(
            Case("weights that sum to 1", lambda: (_styles(), [0.5, 0.3, 0.2])),
            Case("weights that do not", lambda: (_styles(), [2.0, 1.0, 5.0])),
            Case("one style switched off", lambda: (_styles()[:2], [0.0, 4.0])),
        ),
        hints=(
            "A mean of matrices is taken entry by entry.",
            "What must the weights sum to, so that three equal styles give that style back?",
            "Scale the weights first; then a dict over the layers, a sum over the styles.",
        ),
        difficulty="core",
        alternatives=(right.mixed_by_tensordot, right.mixed_one_by_one),
        properties=right.MIXED,
        mistakes=(
            Mistake(
                "weights not scaled",
                wrong.mixed(lambda grams, weights: weights),
                "Right as long as the weights sum to 1.",
                "the weights are not divided by their sum.",
            ),
            Mistake(
                "plain mean",
                wrong.mixed(lambda grams, weights: [1 / len(grams)] * len(grams)),
                "Every style counts the same.",
                "the weights are not used.",
            ),
            Mistake(
                "divided by the number of styles",
                wrong.mixed(lambda grams, weights: [w / len(grams) for w in weights]),
                "Too small by a constant factor.",
                "the sum is divided by the number of styles, not by the sum of the weights.",
            ),
            Mistake(
                "softmax",
                wrong.mixed(wrong.softmax),
                "A style with weight 0 still counts.",
                "softmax of the weights; dividing by their sum is all that is asked for.",
            ),
            Mistake(
                "largest weight only",
                wrong.mixed(wrong.largest),
                "One style has it all.",
                "the style with the largest weight is picked, the others are dropped.",
            ),
            Mistake(
                "weights in another order",
                wrong.mixed(lambda grams, weights: [w / sum(weights) for w in reversed(weights)]),
                "Each style has another one's weight.",
                "the weights are walked backwards.",
            ),
        ),
    ),
    Exercise(
        id="gatys.keep_colours",
        title="Keeping the colours",
        points=2,
        stub='''
def keep_colours(result, content):
    """Brightness of result, colours of content: both (N, 3, H, W) in [0, 1], and so is the answer.

    Use coursekit.texture: rgb_to_yiq, yiq_to_rgb. Channel 0 of YIQ is the luminance.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=gatys.keep_colours,
        gradient=False,
        cases=(Case("two pictures", _pictures),),
        hints=(
            "In YIQ, brightness and colour stand in different channels.",
            "Take channel 0 from one picture, channels 1 and 2 from the other.",
            "torch.cat along dim=1, back to RGB, then see whether every value is still a colour.",
        ),
        difficulty="core",
        alternatives=(right.colours_by_luminance, right.colours_in_place),
        properties=right.COLOURS,
        mistakes=(
            Mistake(
                "swapped",
                wrong.swapped,
                "You kept the brightness of the content and the colours of the result.",
                "the two pictures are swapped.",
            ),
            Mistake(
                "in RGB",
                wrong.rgb_first_channel,
                "The red channel went where the luminance should go.",
                "the pictures were not converted to YIQ.",
            ),
            Mistake(
                "mean brightness",
                wrong.mean_of_rgb,
                "The brightness is slightly off.",
                "brightness as the plain mean of R, G and B; YIQ weighs them 0.299, 0.587, 0.114.",
            ),
            Mistake(
                "no clamp",
                wrong.unclamped,
                "Some values leave [0, 1].",
                "the clamp after the conversion back to RGB is missing.",
            ),
            Mistake(
                "clamped too early",
                wrong.clamped_in_yiq,
                "Some hues are gone: greens and blues turn grey.",
                "I and Q may be negative; the clamp to [0, 1] belongs after the way back to RGB.",
            ),
            Mistake(
                "brightness averaged",
                wrong.half_way,
                "The brightness is that of neither picture.",
                "the two luminances are averaged; take the result's alone.",
            ),
        ),
    ),
)
