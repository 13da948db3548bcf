"""Exercises of topic 12 about its training: fading in, the loss with drift, and the schedule."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from coursekit.exercises import progan_cases as cases
from coursekit.exercises import progan_right as right
from coursekit.exercises import progan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def fade_in(
    before: Tensor, block: cases.Map, old_rgb: cases.Map, new_rgb: cases.Map, alpha: float
) -> Tensor:
    """(1 − α) · old image, enlarged, + α · new image (Figure 2)."""
    old = F.interpolate(old_rgb(before), scale_factor=2)
    new = new_rgb(block(F.interpolate(before, scale_factor=2)))
    return (1 - alpha) * old + alpha * new


def discriminator_loss(
    real_scores: Tensor,
    fake_scores: Tensor,
    slopes: Tensor,
    penalty_weight: float,
    drift_weight: float,
) -> Tensor:
    """WGAN-GP's loss and the drift term (appendix A.1)."""
    wasserstein = fake_scores.mean() - real_scores.mean()
    penalty = (slopes - 1).square().mean()
    drift = real_scores.square().mean()
    return wasserstein + penalty_weight * penalty + drift_weight * drift


def stage_at(images: int, first: int, last: int, fade: int, stable: int) -> tuple[int, float]:
    """Phase by phase: the first resolution is stable at once, the last one stays."""
    resolution, seen = first, images
    if seen < stable:
        return resolution, 1.0
    seen, resolution = seen - stable, 2 * resolution
    while seen >= fade + stable and resolution < last:
        seen, resolution = seen - fade - stable, 2 * resolution
    return resolution, min(seen / fade, 1.0)


# --- Fade-in -------------------------------------------------------------------------------------

_FADE_IN = Exercise(
    id="progan.fade_in",
    title="Fading in a new resolution",
    points=2,
    stub='''
def fade_in(before, block, old_rgb, new_rgb, alpha):
    """The generator's image while a new block is faded in: (N, 3, 2H, 2W).

    before: (N, C, H, W), features at the old resolution. block: the new block, a function of
    features that were enlarged to (N, C, 2H, 2W). old_rgb, new_rgb: functions from features to
    an image, of the old resolution and of the new. alpha: 0 the old image, enlarged; 1 the new
    one. Enlarging doubles every pixel (nearest neighbour).
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=fade_in,
    cases=(
        Case("fewer channels", cases.growing((2, 4, 3, 5), 2, 0.3)),
        Case("as many channels", cases.growing((1, 3, 4, 2), 3, 0.75)),
        Case("just begun", cases.growing((2, 2, 2, 3), 4, 0.0)),
        Case("at its end", cases.growing((2, 3, 3, 2), 2, 1.0)),
    ),
    hints=(
        "There are two images, both of the new size. Which layer makes which?",
        "The old one: old_rgb(before), enlarged. The new one: enlarged features, block, new_rgb.",
        "F.interpolate(…, scale_factor=2) doubles pixels; then (1 − α) of one and α of the other.",
    ),
    alternatives=(right.fade_in_by_lerp, right.fade_in_by_rest),
    properties=right.FADE_IN,
    mistakes=(
        Mistake(
            "α turned round",
            wrong.ALPHA_TURNED,
            "Your training begins with the new block and fades it out.",
            "α belongs to the new image, 1 − α to the old one.",
        ),
        Mistake(
            "old image kept",
            wrong.ADDED_WHOLE,
            "At α = 1 the old image is still there.",
            "its weight 1 − α is missing.",
        ),
        Mistake(
            "new image whole",
            wrong.NEW_UNWEIGHTED,
            "At α = 0 the new image is there already.",
            "its weight α is missing.",
        ),
        Mistake(
            "no fade-in",
            wrong.NEW_ONLY,
            "Your image does not depend on α.",
            "only the new image is used.",
        ),
        Mistake(
            "never new",
            wrong.OLD_ONLY,
            "Your image is always the old one, enlarged.",
            "the new image is not used.",
        ),
        Mistake(
            "layers swapped",
            wrong.RGB_SWAPPED,
            "Each image is made by the other one's layer.",
            "old_rgb goes with the old features, new_rgb with the new ones.",
        ),
        Mistake(
            "old layer, new features",
            wrong.OLD_FROM_NEW,
            "Your old image is made of the new block's features.",
            "old_rgb is given what comes out of the block; it belongs before it.",
        ),
        Mistake(
            "enlarged after the block",
            wrong.BLOCK_FIRST,
            "Your block works at the old resolution.",
            "the features are enlarged first, then the block runs.",
        ),
        Mistake(
            "bilinear",
            wrong.BILINEAR,
            "Your pixels run into each other.",
            "another way to enlarge: each pixel is doubled here.",
        ),
        Mistake(
            "old image detached",
            wrong.OLD_DETACHED,
            "The values are right, but the old layers learn nothing from the old image.",
            "a .detach() or no_grad on the old path.",
        ),
    ),
)

# --- The loss ------------------------------------------------------------------------------------

_LOSS = Exercise(
    id="progan.discriminator_loss",
    title="The loss with drift",
    points=2,
    stub='''
def discriminator_loss(real_scores, fake_scores, slopes, penalty_weight, drift_weight):
    """What the critic minimises: three terms, each a mean.

    The Wasserstein term of notebook 08; penalty_weight times the gradient penalty, from the
    slopes |grad D| at points between the pairs; drift_weight times the mean square of the scores
    of real images. real_scores, slopes: (N,). fake_scores: (M,).
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=discriminator_loss,
    cases=(
        Case("five and four images", cases.scored(5, 4, 1.0, 10.0, 0.5)),
        Case("scores that have drifted", cases.scored(4, 6, 40.0, 10.0, 0.02)),
        Case("without drift", cases.scored(3, 3, 2.0, 4.0, 0.0)),
        Case("without a penalty", cases.scored(4, 3, 3.0, 0.0, 0.3)),
    ),
    hints=(
        "Real scores are to go up and generated ones down; slopes are to be 1.",
        "The first two terms only know differences of scores. Which one sees where they are?",
        "Penalty: λ times a mean over the slopes. Drift: ε times a mean over real scores. Of what?",
    ),
    alternatives=(right.loss_by_terms, right.loss_by_sums),
    properties=right.LOSS,
    mistakes=(
        Mistake(
            "sign",
            wrong.SIGN,
            "Your critic would score generated images higher.",
            "the Wasserstein term is turned round; an optimiser minimises.",
        ),
        Mistake(
            "logarithms",
            wrong.LOGARITHMS,
            "Your first term is the discriminator's loss of notebook 07.",
            "a critic has no sigmoid and no logarithm.",
        ),
        Mistake(
            "summed",
            wrong.SUMMED,
            "Your first term grows with the number of images.",
            "sums where expectations are means.",
        ),
        Mistake(
            "towards 0",
            wrong.TOWARDS_0,
            "Your slopes are pulled to 0.",
            "the −1 is missing.",
        ),
        Mistake(
            "one-sided",
            wrong.ONE_SIDED,
            "Slopes below 1 cost nothing.",
            "a clamp at 0; the paper penalises both sides.",
        ),
        Mistake(
            "mean slope",
            wrong.MEAN_SLOPE,
            "Steep and flat places make up for each other.",
            "the mean is taken before the square.",
        ),
        Mistake(
            "no drift",
            wrong.NO_DRIFT,
            "Your loss does not know where the scores are.",
            "the third term is missing.",
        ),
        Mistake(
            "drift of the mean",
            wrong.DRIFT_OF_MEAN,
            "Your drift term is too small.",
            "the square of the mean; it is the mean of the squares.",
        ),
        Mistake(
            "drift of the fakes",
            wrong.DRIFT_OF_FAKES,
            "Your drift term depends on the generated images.",
            "the scores of real images are the ones that are held.",
        ),
        Mistake(
            "drift of both",
            wrong.DRIFT_OF_BOTH,
            "Your drift term is too large.",
            "generated images are in it too; real ones are enough.",
        ),
        Mistake(
            "absolute scores",
            wrong.DRIFT_ABSOLUTE,
            "Scores far away cost too little.",
            "absolute values where the term has squares.",
        ),
        Mistake(
            "signed scores",
            wrong.DRIFT_SIGNED,
            "Your scores are pulled down, not to 0.",
            "the square is missing.",
        ),
        Mistake(
            "weights swapped",
            wrong.WEIGHTS_SWAPPED,
            "Each weight stands before the other term.",
            "the penalty is weighted by drift_weight, and drift by penalty_weight.",
        ),
        Mistake(
            "weights forgotten",
            wrong.WEIGHTS_FORGOTTEN,
            "Your loss does not depend on the weights.",
            "the terms are added as they are.",
        ),
        Mistake(
            "drift detached",
            wrong.DRIFT_DETACHED,
            "The value is right, but drift holds nothing.",
            "a .detach() on the scores of the third term.",
        ),
    ),
)

# --- The schedule --------------------------------------------------------------------------------

_STAGE = Exercise(
    id="progan.stage_at",
    title="How far has it grown?",
    points=2,
    stub='''
def stage_at(images, first, last, fade, stable):
    """Resolution (an int) and alpha (a float) when so many real images have been shown.

    At the resolution ``first`` the networks see ``stable`` images, with alpha 1. Every further
    resolution, twice the one before, fades in over ``fade`` images, alpha = shown here / fade
    from 0 on, and then sees ``stable`` images with alpha 1. At ``last`` everything stays.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=stage_at,
    cases=(
        Case("nothing shown", cases.place(0, 4, 64, 600, 800)),
        Case("the last image of the first resolution", cases.place(799, 4, 64, 600, 800)),
        Case("the first of the second", cases.place(800, 4, 64, 600, 800)),
        Case("half faded in", cases.place(1100, 4, 64, 600, 800)),
        Case("just faded in", cases.place(1400, 4, 64, 600, 800)),
        Case("the third, fading", cases.place(2350, 4, 64, 600, 800)),
        Case("the third, stable", cases.place(3500, 4, 64, 600, 800)),
        Case("the last, fading", cases.place(100, 8, 16, 40, 90)),
        Case("long after the last", cases.place(5000, 8, 32, 40, 100)),
        Case("a long fade-in", cases.place(700, 4, 32, 500, 30)),
    ),
    hints=(
        "Walk through the phases and take their images off, one after the other.",
        "Only the first resolution has no fade-in. When does the second one begin?",
        "Behind the first: while a whole level fits and it is not the last, take fade + stable off "
        "and double. Then alpha = what is left / fade, at most 1.",
    ),
    alternatives=(right.stage_by_counting, right.stage_by_list),
    properties=right.SCHEDULE,
    gradient=False,
    mistakes=(
        Mistake(
            "the first one fades too",
            wrong.FIRST_FADES,
            "Your first resolution fades in.",
            "there is nothing that it could be faded from.",
        ),
        Mistake(
            "added instead of doubled",
            wrong.LINEAR,
            "Right up to the second resolution.",
            "4, 8, 12 …: every resolution is twice the one before.",
        ),
        Mistake(
            "one too early",
            wrong.ONE_TOO_EARLY,
            "Your resolutions are twice too large.",
            "the exponent is off by one.",
        ),
        Mistake(
            "never ends",
            wrong.NEVER_ENDS,
            "Your networks grow beyond the last resolution.",
            "nothing stops them at ``last``.",
        ),
        Mistake(
            "α downwards",
            wrong.ALPHA_DOWN,
            "Your new layers are faded out.",
            "1 − α.",
        ),
        Mistake(
            "α above 1",
            wrong.ALPHA_ABOVE_1,
            "Your α goes on growing.",
            "it stays at 1 once all of ``fade`` has been shown.",
        ),
        Mistake(
            "α goes round at the end",
            wrong.alpha_not_capped,
            "Your resolution stays at the last one, but it is faded in again and again.",
            "only the resolution is held at ``last``; α has to stay at 1 there.",
        ),
        Mistake(
            "last one at once",
            wrong.last_at_once,
            "Your last resolution is not faded in.",
            "the walk ends with α = 1 when ``last`` is reached; it fades in like the others.",
        ),
        Mistake(
            "α too slow",
            wrong.ALPHA_TOO_SLOW,
            "Your α reaches 1 only when the next resolution comes.",
            "it is divided by fade + stable.",
        ),
        Mistake(
            "α jumps",
            wrong.ALPHA_JUMPS,
            "Your α is 0 or 1, nothing between.",
            "a division of whole numbers (//), or a comparison.",
        ),
        Mistake(
            "stable first",
            wrong.STABLE_FIRST,
            "Your new layers wait before they are faded in.",
            "the order of the phases: first fade, then stable.",
        ),
        Mistake(
            "no fade-in",
            wrong.NO_FADE_IN,
            "Your α is always 1.",
            "the new layers come in at once.",
        ),
    ),
)

TRAINING = (_FADE_IN, _LOSS, _STAGE)
