"""Exercises of topic 10: what the generator and what the discriminator minimise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises import pix2pix_cases as cases
from coursekit.exercises import pix2pix_right as right
from coursekit.exercises import pix2pix_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def generator_objective(
    fake_logits: Tensor, fake: Tensor, target: Tensor, l1_weight: float
) -> Tensor:
    """−E[log D(x, G(x))] + λ E[‖y − G(x)‖₁] (Isola et al. 2017, eq. 4, non-saturating)."""
    adversarial = F.softplus(-fake_logits).mean()
    l1 = (target - fake).abs().mean()
    return adversarial + l1_weight * l1


def discriminator_objective(
    discriminator: cases.Map, source: Tensor, target: Tensor, fake: Tensor
) -> Tensor:
    """−½ (E[log D(x, y)] + E[log(1 − D(x, G(x)))]) (eq. 1, with the half of §3.3)."""
    real_logits = discriminator(torch.cat([source, target], dim=1))
    fake_logits = discriminator(torch.cat([source, fake.detach()], dim=1))
    return (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()) / 2


# --- The objectives ------------------------------------------------------------------------------

GENERATOR = Exercise(
    id="pix2pix.generator_objective",
    title="The combined objective",
    points=2,
    stub='''
def generator_objective(fake_logits, fake, target, l1_weight):
    """What the generator minimises: -E[log D(x, G(x))] + l1_weight * E|y - G(x)|.

    fake_logits: (N, 1, h, w), one a patch, before the sigmoid. fake, target: (N, C, H, W).
    Both expectations are means over all values. Works for logits of any size.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=generator_objective,
    constants=("target",),
    cases=(
        Case("two pictures", cases.made((2, 1, 3, 4), (2, 3, 5, 6), 100.0)),
        Case("a discriminator that is very sure", cases.made((3, 1, 2, 2), (3, 1, 4, 2), 2.0, 80)),
        Case("no L1", cases.made((2, 1, 1, 5), (2, 3, 2, 2), 0.0)),
    ),
    hints=(
        "Two terms. Which one looks at logits, which one at pictures?",
        "The generator wants its fakes to be taken for true: the label is 1.",
        "−log sigmoid(a) = softplus(−a). The mean of absolute differences, times the weight.",
    ),
    alternatives=(right.combined_by_cross_entropy, right.combined_by_logsigmoid),
    properties=right.TWINS,
    mistakes=(
        Mistake(
            "squared",
            wrong.SQUARED,
            "Small differences count for less, large ones for more.",
            "L2 where the paper has L1; squares blur even more.",
        ),
        Mistake(
            "L1 summed",
            wrong.L1_SUMMED,
            "Your value grows with the number of pixels.",
            "a sum where the expectation is a mean.",
        ),
        Mistake(
            "L1 without abs",
            wrong.L1_SIGNED,
            "Differences of different signs cancel.",
            "the absolute value is missing.",
        ),
        Mistake(
            "patches summed",
            wrong.PATCHES_SUMMED,
            "The game's part grows with the number of patches.",
            "a sum over the logits; the paper averages all responses.",
        ),
        Mistake(
            "saturating",
            wrong.SATURATING,
            "The game's part is negative.",
            "log(1 − D) is minimised; the paper maximises log D, whose gradient does not vanish.",
        ),
        Mistake(
            "the discriminator's label",
            wrong.DISCRIMINATORS_SIDE,
            "Your generator is rewarded for being found out.",
            "the fakes' label is 0 for the discriminator, 1 for the generator.",
        ),
        Mistake(
            "sigmoid twice",
            wrong.SIGMOID_TWICE,
            "The game's part hardly moves with the logits.",
            "a sigmoid before a function that has one inside.",
        ),
        Mistake(
            "loss of the mean logit",
            wrong.MEAN_LOGIT,
            "One bad patch is made good by another.",
            "the mean is taken before the loss; every patch is judged on its own.",
        ),
        Mistake(
            "weight forgotten",
            wrong.WEIGHT_FORGOTTEN,
            "Your value does not depend on l1_weight.",
            "the two terms are added as they are.",
        ),
        Mistake(
            "the other term weighted",
            wrong.OTHER_TERM_WEIGHTED,
            "The game counts a hundred times, L1 once.",
            "the weight stands before the wrong term.",
        ),
        Mistake(
            "no game",
            wrong.NO_GAME,
            "Your value does not depend on the logits.",
            "the adversarial term is missing.",
        ),
        Mistake(
            "fake detached",
            wrong.FAKE_DETACHED,
            "The value is right, but L1 teaches nothing.",
            "a .detach() on the generator's own picture: it belongs into the discriminator's loss.",
        ),
    ),
)

DISCRIMINATOR = Exercise(
    id="pix2pix.discriminator_objective",
    title="The discriminator's two sides",
    points=3,
    difficulty="hard",
    stub='''
def discriminator_objective(discriminator, source, target, fake):
    """Half of -E[log D(x, y)] - E[log(1 - D(x, G(x)))], means over pictures and patches.

    discriminator(pair) -> logits, before the sigmoid; a pair (N, C + C', H, W) has the input's
    channels first, the output's behind. source: x. target: y. fake: G(x); no gradient reaches it.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=discriminator_objective,
    constants=("source", "target"),
    cases=(
        Case("two pairs", cases.judged((2, 3, 4, 6), (2, 3, 4, 6), 1.0)),
        Case("grey in, colours out", cases.judged((3, 1, 5, 4), (3, 3, 5, 4), 1.0)),
        Case("a discriminator that is very sure", cases.judged((2, 3, 2, 4), (2, 3, 2, 4), 40.0)),
    ),
    hints=(
        "Two pairs are judged. What do they share?",
        "A true pair is (x, y), a made one (x, G(x)): torch.cat along dim=1.",
        "softplus(−logit) for true pairs, softplus(logit) for made ones of fake.detach(), their "
        "means, half the sum.",
    ),
    alternatives=(right.judged_by_cross_entropy, right.judged_at_once),
    mistakes=(
        Mistake(
            "not detached",
            wrong.NOT_DETACHED,
            "The value is right, but the discriminator's loss moves the generator.",
            "fake.detach() is missing.",
        ),
        Mistake(
            "output detached",
            wrong.OUTPUT_DETACHED,
            "The value is right, but the discriminator's output is detached: it never learns from "
            "made pairs.",
            "the .detach() belongs on the discriminator's input, fake.",
        ),
        Mistake(
            "no half",
            wrong.NO_HALF,
            "Your value is twice as large.",
            "the half is missing, which lets D learn more slowly than G.",
        ),
        Mistake(
            "input left out",
            wrong.INPUT_LEFT_OUT,
            "Your discriminator does not see the drawing.",
            "only outputs are judged: then any real-looking picture will do, whatever was asked.",
        ),
        Mistake(
            "output first",
            wrong.OUTPUT_FIRST,
            "The right pairs, with their halves exchanged.",
            "the input's channels come first.",
        ),
        Mistake(
            "target beside fake",
            wrong.TARGET_WITH_FAKE,
            "The made pair has no input in it.",
            "fake is laid beside the target; its partner is the input.",
        ),
        Mistake(
            "labels swapped",
            wrong.LABELS_SWAPPED,
            "The loss is small where the discriminator is wrong.",
            "softplus of the wrong sign: true pairs are to go up.",
        ),
        Mistake(
            "true pairs forgotten",
            wrong.REAL_FORGOTTEN,
            "The loss does not depend on the target.",
            "only the made pairs are judged.",
        ),
        Mistake(
            "summed",
            wrong.JUDGED_SUMMED,
            "Your value grows with pictures and patches.",
            "a sum where the expectation is a mean.",
        ),
        Mistake(
            "logits without a loss",
            wrong.CRITIC,
            "Your value is a difference of logits.",
            "that is Wasserstein's critic (topic 08); here it is −log of a probability.",
        ),
        Mistake(
            "loss of the mean logit",
            wrong.LOGIT_OF_THE_MEAN,
            "One patch is made good by another.",
            "the mean is taken before the loss; every patch is judged on its own.",
        ),
    ),
)
