"""Exercises of topic 14 on the loss: hinge over scales, feature matching, KL."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import spade_losses
from coursekit.exercises import spade_cases as cases
from coursekit.exercises import spade_right as right
from coursekit.exercises import spade_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake
from coursekit.exercises.spade_cases import Opinion

# --- References ----------------------------------------------------------------------------------


def hinge_losses(real: Opinion, fake: Opinion) -> dict[str, Tensor]:
    """What D and what G minimise, the mean over scales (Park et al. 2019, §3.1)."""
    d_parts, g_parts = [], []
    for ours, theirs in zip(real, fake, strict=True):
        d_parts.append(F.relu(1 - ours[-1]).mean() + F.relu(1 + theirs[-1]).mean())
        g_parts.append(-theirs[-1].mean())
    return {"d_loss": torch.stack(d_parts).mean(), "g_loss": torch.stack(g_parts).mean()}


def feature_matching(real: Opinion, fake: Opinion) -> Tensor:
    """Mean absolute differences, summed over layers, the mean over scales (Wang et al. 2018)."""
    total = torch.zeros(())
    for ours, theirs in zip(real, fake, strict=True):
        for x, y in zip(ours[:-1], theirs[:-1], strict=True):
            total = total + (y - x.detach()).abs().mean()
    return total / len(real)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """½ Σ (μ² + σ² − log σ² − 1), the mean over pictures (Kingma & Welling 2014, appendix B)."""
    terms = mean.square() + log_variance.exp() - log_variance - 1
    return terms.sum(dim=1).mean() / 2


# --- The losses ----------------------------------------------------------------------------------

_HINGE = Exercise(
    id="spade.hinge_losses",
    title="Hinge losses over scales",
    points=2,
    stub='''
def hinge_losses(real, fake):
    """{"d_loss": ..., "g_loss": ...} of the hinge game, means over patches, then over scales.

    real, fake: what the discriminator made of true and of generated pictures: a list over scales
    of lists over layers, the logits (N, 1, h, w) last. Only the logits count here.
    D: max(0, 1 - logit) for true ones plus max(0, 1 + logit) for generated ones.
    G: minus the logit of generated ones.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=hinge_losses,
    twins=(spade_losses.hinge_discriminator, spade_losses.hinge_generator),
    cases=(
        Case("two scales", cases.opinions(2, 5, 3)),
        Case("one scale, and a judge that is sure", cases.opinions(3, 4, scale=3.0)),
        Case("three scales", cases.opinions(1, 6, 4, 2, scale=0.7)),
    ),
    hints=(
        "First one scale: which of its layers holds the logits?",
        "max(0, a) is F.relu(a); the mean comes after it, not before.",
        "A loop over zip(real, fake): collect one number a scale for D and one for G, then means.",
    ),
    alternatives=(right.hinge_by_clamp, right.hinge_by_minimum),
    properties=right.HINGE,
    mistakes=(
        Mistake(
            "no margin",
            wrong.NO_MARGIN,
            "Your d_loss can fall without end.",
            "the max with 0 is missing: that is Wasserstein's critic, without its condition.",
        ),
        Mistake(
            "margin of 0",
            wrong.MARGIN_OF_ZERO,
            "A logit is left alone as soon as its sign is right.",
            "the 1 is missing: it is to be right by a margin of 1.",
        ),
        Mistake(
            "sides swapped",
            wrong.SIDES_SWAPPED,
            "D is taught that true pictures score low.",
            "the signs of the two logits are exchanged.",
        ),
        Mistake(
            "cross entropy",
            wrong.CROSS_ENTROPY,
            "Your losses never become 0, however sure D is.",
            "softplus (binary cross entropy) where the hinge is asked for.",
        ),
        Mistake(
            "mean before the hinge",
            wrong.HINGE_OF_THE_MEAN,
            "One patch is made good by another.",
            "the mean is inside of max(0, ·); every patch has a margin of its own.",
        ),
        Mistake(
            "squared",
            wrong.HINGE_SQUARED,
            "Patches far on the wrong side weigh too much.",
            "the hinge is squared.",
        ),
        Mistake(
            "a margin for G",
            wrong.GENERATORS_HINGE,
            "Your generator stops learning where its logits are above 1.",
            "G has no max(0, ·): it only wants its logits up.",
        ),
        Mistake(
            "G's sign",
            wrong.GENERATORS_SIGN,
            "Your generator wants to be found out.",
            "the minus in g_loss is missing.",
        ),
        Mistake(
            "scales summed",
            wrong.SCALES_SUMMED,
            "Your values grow with the number of scales.",
            "a sum over scales where the mean is asked for.",
        ),
        Mistake(
            "patches of all scales together",
            wrong.SCALES_JOINED,
            "The finest scale outvotes the others: it has most patches.",
            "one mean over all patches; every scale is to count the same.",
        ),
        Mistake(
            "first scale alone",
            wrong.FIRST_SCALE,
            "Your values do not depend on the other scales.",
            "only the first entry of the list is looked at.",
        ),
        Mistake(
            "first layer",
            wrong.FIRST_LAYER,
            "Your values come from features, not from logits.",
            "index 0 where the logits are last: −1.",
        ),
        Mistake(
            "all layers",
            wrong.ALL_LAYERS,
            "Features are judged as if they were logits.",
            "the loop runs over the layers too; only the last one of each scale counts.",
        ),
        Mistake(
            "d_loss halved",
            wrong.D_HALVED,
            "Your d_loss is half of what it should be.",
            "the two sides are added, not averaged.",
        ),
    ),
)

_MATCHING = Exercise(
    id="spade.feature_matching",
    title="Feature matching",
    points=2,
    stub='''
def feature_matching(real, fake):
    """How far the features of generated pictures are from those of the true ones; a number.

    real, fake: lists over scales of lists over layers, the logits last, as in hinge_losses.
    Mean absolute difference of each layer but the logits, summed over layers, mean over scales.
    The true side is the target: it gets no gradient.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=feature_matching,
    cases=(
        Case("two scales", cases.opinions(2, 5, 3)),
        Case("one scale", cases.opinions(3, 4, scale=2.0)),
        Case("three scales", cases.opinions(1, 6, 4, 2)),
    ),
    hints=(
        "Two loops: over scales, and over the layers of a scale.",
        "Which layer is left out, and which side is only a target?",
        "zip(ours[:-1], theirs[:-1]); (y − x.detach()).abs().mean(); divide by the scales at last.",
    ),
    alternatives=(right.match_by_l1, right.match_without_gradient),
    properties=right.MATCHING,
    mistakes=(
        Mistake(
            "logits matched too",
            wrong.LOGITS_TOO,
            "The logits are in your sum.",
            "the last layer of each scale is for the hinge alone: leave it out.",
        ),
        Mistake(
            "logits alone",
            wrong.LOGITS_ALONE,
            "Only the logits are compared.",
            "[-1] where all but the last are wanted: [:-1].",
        ),
        Mistake(
            "last features alone",
            wrong.LAST_FEATURES,
            "One layer a scale is compared.",
            "every layer but the logits counts.",
        ),
        Mistake(
            "squared",
            wrong.MATCH_SQUARED,
            "Small differences count for less, large ones for more.",
            "squares where absolute values are asked for.",
        ),
        Mistake(
            "summed over positions",
            wrong.MATCH_SUMMED,
            "Your value grows with the size of the features.",
            "a sum over values; each layer gives a mean.",
        ),
        Mistake(
            "without abs",
            wrong.MATCH_SIGNED,
            "Differences of different signs cancel.",
            "the absolute value is missing.",
        ),
        Mistake(
            "means matched",
            wrong.MEANS_MATCHED,
            "Only the batch's mean features are compared.",
            "the mean over pictures is taken before the difference. Here each generated picture "
            "has its own true one.",
        ),
        Mistake(
            "layers averaged",
            wrong.LAYERS_AVERAGED,
            "Your value is too small by the number of layers.",
            "a mean over layers where the sum is asked for.",
        ),
        Mistake(
            "scales summed",
            wrong.MATCH_SCALES_SUMMED,
            "Your value grows with the number of scales.",
            "a sum over scales where the mean is asked for.",
        ),
        Mistake(
            "first scale alone",
            wrong.MATCH_FIRST_SCALE,
            "Your value does not depend on the other scales.",
            "only the first entry of the list is looked at.",
        ),
        Mistake(
            "target not detached",
            wrong.REAL_NOT_DETACHED,
            "The value is right, but a gradient goes into the true side.",
            "a .detach() on the true features is missing: they are the target.",
        ),
        Mistake(
            "fake detached",
            wrong.FAKE_DETACHED,
            "The value is right, but the generator learns nothing.",
            "the .detach() stands on the wrong side.",
        ),
    ),
)

_KL = Exercise(
    id="spade.kl_divergence",
    title="The style's distance to N(0, 1)",
    points=1,
    stub='''
def kl_divergence(mean, log_variance):
    """KL(N(mean, variance) || N(0, 1)) = 1/2 sum(mean² + variance - log variance - 1); a number.

    mean, log_variance: (N, latent), the second is log(sigma²). Summed over the code, the mean
    over pictures.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=kl_divergence,
    cases=(
        Case("three pictures", cases.gaussians(3, 5)),
        Case("one picture", cases.gaussians(1, 4)),
        Case("far from the prior", cases.gaussians(4, 2, 2.5)),
        Case("close to the prior", cases.gaussians(2, 6, 0.2)),
    ),
    hints=(
        "The network gives log σ². How do you get σ² from it?",
        "Four terms for each number of the code, then a sum, then a mean.",
        "It is 0 where the mean is 0 and σ is 1: that tells the signs of the four terms.",
    ),
    alternatives=(right.kl_by_distributions, right.kl_as_published),
    properties=right.KL,
    mistakes=(
        Mistake(
            "no half",
            wrong.NO_HALF,
            "Your value is twice as large.",
            "the ½ is missing.",
        ),
        Mistake(
            "sign turned",
            wrong.SIGN_TURNED,
            "Your divergence is negative.",
            "the sign: this is −KL, the term of the lower bound that is *maximised*.",
        ),
        Mistake(
            "averaged over the code",
            wrong.CODE_AVERAGED,
            "Your value does not grow with the length of the code.",
            "a mean over all; the numbers of a code add up, only pictures are averaged.",
        ),
        Mistake(
            "summed over pictures",
            wrong.BATCH_SUMMED,
            "Your value grows with the batch.",
            "a sum over all; pictures are averaged.",
        ),
        Mistake(
            "log σ for log σ²",
            wrong.LOG_SIGMA,
            "Your σ² is the square of what it should be.",
            "the input is taken for log σ; it is log σ².",
        ),
        Mistake(
            "σ for σ²",
            wrong.SIGMA_FOR_VARIANCE,
            "Your variance is its own root.",
            "exp(log_variance / 2) is σ; the formula wants σ².",
        ),
        Mistake(
            "log left out",
            wrong.LOG_LEFT_OUT,
            "Nothing keeps your variance from falling to 0.",
            "the term − log σ² is missing: it is what forbids a single code for a picture.",
        ),
        Mistake(
            "1 left out",
            wrong.ONE_LEFT_OUT,
            "The prior itself is at a distance from the prior.",
            "the − 1 is missing.",
        ),
        Mistake(
            "mean not squared",
            wrong.MEAN_NOT_SQUARED,
            "Means far away cost too little.",
            "an absolute value where the square is asked for.",
        ),
        Mistake(
            "the other direction",
            wrong.OTHER_DIRECTION,
            "You measure from N(0, 1) to the code's distribution.",
            "KL is not symmetric: the encoder's distribution comes first.",
        ),
        Mistake(
            "squares of both",
            wrong.LENGTHS,
            "You pull both numbers to 0 by their squares.",
            "that is weight decay on the code, not a divergence.",
        ),
    ),
)

EXERCISES = (_HINGE, _MATCHING, _KL)
