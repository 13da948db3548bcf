"""Exercises of topic 11: least squares, the cycle, the identity, and all that G minimises.

Those of the training around it are in `cyclegan_training`.
"""

from __future__ import annotations

from torch import Tensor

from coursekit import cyclegan
from coursekit.exercises import cyclegan_cases as cases
from coursekit.exercises import cyclegan_right as right
from coursekit.exercises import cyclegan_wrong as wrong
from coursekit.exercises.cyclegan_cases import Map
from coursekit.exercises.cyclegan_training import TRAINING
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def lsgan_losses(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    """What D and what G minimise in the least-squares game."""
    d_loss = ((real_scores - 1).square().mean() + fake_scores.square().mean()) / 2
    return {"d_loss": d_loss, "g_loss": (fake_scores - 1).square().mean()}


def cycle_consistency(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    """There and back, in both directions: mean absolute differences, summed."""
    forward = (to_x(to_y(x)) - x).abs().mean()
    backward = (to_y(to_x(y)) - y).abs().mean()
    return forward + backward


def identity_terms(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    """Each generator on pictures of the heap it translates into."""
    return (to_y(y) - y).abs().mean() + (to_x(x) - x).abs().mean()


def generator_objective(
    to_y: Map,
    to_x: Map,
    judge_x: Map,
    judge_y: Map,
    x: Tensor,
    y: Tensor,
    cycle_weight: float,
    identity_weight: float,
) -> Tensor:
    """Everything that the two generators minimise."""
    fake_y, fake_x = to_y(x), to_x(y)
    adversarial = (judge_y(fake_y) - 1).square().mean() + (judge_x(fake_x) - 1).square().mean()
    cycle = (to_x(fake_y) - x).abs().mean() + (to_y(fake_x) - y).abs().mean()
    identity = (to_y(y) - y).abs().mean() + (to_x(x) - x).abs().mean()
    return adversarial + cycle_weight * cycle + identity_weight * identity


EXERCISES = (
    Exercise(
        id="cyclegan.lsgan_losses",
        title="The least-squares game",
        points=1,
        stub='''
def lsgan_losses(real_scores, fake_scores):
    """{"d_loss": ..., "g_loss": ...} of the least-squares game (Mao et al. 2017).

    D: half of (the mean squared distance of real scores to 1, plus that of made scores to 0).
    G: the mean squared distance of made scores to 1. Scores have any shape; no sigmoid.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=lsgan_losses,
        twins=(cyclegan.lsgan_discriminator_loss, cyclegan.lsgan_generator_loss),
        cases=(
            Case("patches", cases.scores((3, 1, 4, 5), (3, 1, 4, 5), 1.0)),
            Case("more made than real", cases.scores((2, 1, 3, 3), (5, 1, 3, 4), 0.7)),
            Case("a discriminator far off", cases.scores((4,), (4,), 9.0)),
        ),
        hints=(
            "It is a regression: which number should each score be?",
            "D wants two different numbers; G wants the one that D keeps for real pictures.",
            "Squared differences, a mean for each of the three; only D's sum is halved.",
        ),
        difficulty="easy",
        alternatives=(right.lsgan_by_mse, right.lsgan_expanded),
        properties=right.LSGAN,
        mistakes=(
            Mistake(
                "cross entropy",
                wrong.cross_entropy,
                "Your losses are those of notebook 07.",
                "binary cross entropy where squared distances are asked for.",
            ),
            Mistake(
                "no half",
                wrong.NO_HALF,
                "D's loss is twice as large as it should be.",
                "the half in front of D's two terms is missing.",
            ),
            Mistake(
                "half for G too",
                wrong.HALF_FOR_G,
                "G's loss is half of what it should be.",
                "only D's sum is halved.",
            ),
            Mistake(
                "targets exchanged",
                wrong.TARGETS_SWAPPED,
                "D is taught that real pictures score 0.",
                "0 and 1 are exchanged in d_loss.",
            ),
            Mistake(
                "G wants 0",
                wrong.G_WANTS_ZERO,
                "G minimises what D minimises on made pictures.",
                "G wants its pictures to score like real ones: 1.",
            ),
            Mistake(
                "sigmoid first",
                wrong.SIGMOID_FIRST,
                "Your scores never leave the range from 0 to 1.",
                "a sigmoid before the squared distance; least squares takes the raw score.",
            ),
            Mistake(
                "summed",
                wrong.SUMMED_SCORES,
                "Your value grows with the number of patches.",
                "sums where the expectation is a mean.",
            ),
            Mistake(
                "made to -1",
                wrong.MINUS_ONE,
                "Made pictures are pushed to -1.",
                "the coding (0, 1) is asked for, not (-1, 1).",
            ),
        ),
    ),
    Exercise(
        id="cyclegan.cycle_consistency",
        title="There and back",
        points=2,
        stub='''
def cycle_consistency(to_y, to_x, x, y):
    """mean |F(G(x)) - x| + mean |G(F(y)) - y|, with G = to_y and F = to_x. A number.

    to_y, to_x: functions of pictures; x (N, C, H, W) and y (M, C, H', W'), the two heaps.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cycle_consistency,
        constants=("x", "y"),
        cases=(
            Case("two heaps", cases.heaps((2, 3, 4, 6), (2, 3, 4, 6))),
            Case("heaps of different sizes", cases.heaps((3, 3, 5, 4), (1, 3, 6, 7))),
        ),
        hints=(
            "A picture is compared with what has become of this same picture.",
            "x goes through to_y first. Which generator brings it back?",
            "Two means of absolute differences, added. Gradients go through both generators.",
        ),
        alternatives=(right.cycle_by_l1, right.cycle_in_a_loop),
        properties=right.CYCLE,
        mistakes=(
            Mistake(
                "one direction",
                wrong.ONE_DIRECTION,
                "Your value does not depend on y.",
                "only x makes the round trip; y needs one too.",
            ),
            Mistake(
                "wrong order",
                wrong.wrong_order,
                "x goes through F first.",
                "to_x expects a picture of Y: x must go through to_y before.",
            ),
            Mistake(
                "the same generator twice",
                wrong.twice_the_same,
                "Your way back goes on in the same direction.",
                "the way back needs the other generator.",
            ),
            Mistake(
                "against the translation",
                wrong.against_the_translation,
                "You compare what came back with the stop in between.",
                "compare it with where the trip began.",
            ),
            Mistake(
                "squared",
                wrong.CYCLE_SQUARED,
                "Large differences weigh too much in yours.",
                "squares where the paper takes absolute values.",
            ),
            Mistake(
                "summed",
                wrong.CYCLE_SUMMED,
                "Your value grows with the picture.",
                "sums over pixels where means are asked for.",
            ),
            Mistake(
                "detached in between",
                wrong.CYCLE_DETACHED,
                "The value is right, but the first generator learns nothing from it.",
                "a .detach() (or no_grad) on the translation.",
            ),
            Mistake(
                "averaged over the directions",
                wrong.CYCLE_HALVED,
                "Your value is half of what it should be.",
                "the two directions are added, not averaged.",
            ),
        ),
    ),
    Exercise(
        id="cyclegan.identity_terms",
        title="Leave alone what is right",
        points=1,
        stub='''
def identity_terms(to_y, to_x, x, y):
    """How much the generators change what needs no change: a number.

    G = to_y is shown pictures that are in Y already, F = to_x pictures that are in X already;
    the mean absolute changes are added.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=identity_terms,
        constants=("x", "y"),
        cases=(
            Case("two heaps", cases.heaps((2, 3, 6, 4), (2, 3, 6, 4))),
            Case("heaps of different sizes", cases.heaps((1, 3, 3, 5), (4, 3, 4, 6))),
        ),
        hints=(
            "to_y makes night pictures. Which picture should it leave as it is?",
            "One that is a night picture: y. And to_x?",
            "Two means of absolute differences, one a generator, added.",
        ),
        difficulty="easy",
        alternatives=(right.identity_by_l1, right.identity_in_a_loop),
        properties=right.IDENTITY,
        mistakes=(
            Mistake(
                "translations kept equal",
                wrong.nothing_translated,
                "Your term forbids to translate anything.",
                "to_y(x) is compared with x. It is to leave *y* alone; x is to change.",
            ),
            Mistake(
                "the cycle again",
                wrong.identity_of_the_cycle,
                "This is the cycle loss.",
                "each picture goes through one generator here, and only once.",
            ),
            Mistake(
                "one generator",
                wrong.IDENTITY_OF_Y_ONLY,
                "Your value does not depend on x.",
                "the term of to_x is missing.",
            ),
            Mistake(
                "squared",
                wrong.IDENTITY_SQUARED,
                "Large changes weigh too much in yours.",
                "squares where absolute values are asked for.",
            ),
            Mistake(
                "summed",
                wrong.IDENTITY_SUMMED,
                "Your value grows with the picture.",
                "sums over pixels where means are asked for.",
            ),
            Mistake(
                "averaged",
                wrong.IDENTITY_HALVED,
                "Your value is half of what it should be.",
                "the two terms are added; their weight comes in elsewhere.",
            ),
            Mistake(
                "detached",
                wrong.IDENTITY_DETACHED,
                "The value is right, but no generator learns from it.",
                "a .detach() (or no_grad) on what the generator returned.",
            ),
        ),
    ),
    *TRAINING,
    Exercise(
        id="cyclegan.generator_objective",
        title="All that the generators minimise",
        points=3,
        stub='''
def generator_objective(to_y, to_x, judge_x, judge_y, x, y, cycle_weight, identity_weight):
    """Least squares + cycle_weight * cycle + identity_weight * identity, both directions each.

    judge_x scores pictures as pictures of X, judge_y as pictures of Y (any shape, real is 1).
    cycle and identity are the sums of two means of absolute differences. Returns a number.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=generator_objective,
        constants=("x", "y"),
        cases=(
            Case("weights of the paper", cases.whole_game((2, 3, 4, 6), (2, 3, 4, 6), 10.0, 5.0)),
            Case("identity off", cases.whole_game((3, 3, 6, 4), (1, 3, 5, 8), 2.0, 0.0)),
            Case("cycle off", cases.whole_game((1, 3, 4, 4), (2, 3, 4, 6), 0.0, 1.5)),
        ),
        hints=(
            "Six terms: three kinds, two directions.",
            "to_y(x) claims to be a picture of Y. Who judges that?",
            "Translate x and y once; use each translation for its judge and for the way back.",
        ),
        difficulty="hard",
        alternatives=(right.objective_by_mse, right.objective_in_parts),
        properties=right.OBJECTIVE,
        mistakes=(
            Mistake(
                "judges exchanged",
                wrong.JUDGES_SWAPPED,
                "Night pictures are judged by the judge of day pictures.",
                "to_y(x) is a picture of Y: judge_y is to be asked.",
            ),
            Mistake(
                "wants 0",
                wrong.WANTED_ZERO,
                "Your generators want to be found out.",
                "they want the score of real pictures, 1.",
            ),
            Mistake(
                "half the game",
                wrong.HALF_THE_GAME,
                "The adversarial part weighs half of what it should.",
                "the half belongs to D's loss.",
            ),
            Mistake(
                "one mean over both judges",
                wrong.JUDGED_TOGETHER,
                "The judge with more scores weighs more in yours.",
                "one mean over the scores of both judges; each judge has a mean of its own.",
            ),
            Mistake(
                "no identity",
                wrong.NO_IDENTITY,
                "`identity_weight` changes nothing.",
                "the identity terms are missing.",
            ),
            Mistake(
                "identity halved",
                wrong.IDENTITY_HALF_WEIGHT,
                "The identity weighs half of what it should.",
                "the half of the paper (0.5 times lambda) is in `identity_weight` already.",
            ),
            Mistake(
                "cycle doubled",
                wrong.CYCLE_TWICE,
                "The cycle weighs twice what it should.",
                "each direction is counted once.",
            ),
            Mistake(
                "identity of the source",
                wrong.IDENTITY_OF_THE_SOURCE,
                "Your identity term forbids to translate.",
                "to_y is to leave y alone, not x.",
            ),
            Mistake(
                "judged without gradient",
                wrong.JUDGED_DETACHED,
                "The value is right, but no generator learns to fool its judge.",
                "a .detach() on the translations: that belongs to the discriminator's step.",
            ),
        ),
    ),
)
