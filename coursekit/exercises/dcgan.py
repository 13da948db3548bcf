"""Exercises of topic 07: the losses of the game, and the list of all exercises of the topic.

Those about z are in `dcgan_vectors`, those about networks and training in `dcgan_networks`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import dcgan
from coursekit.core.runtime import generator
from coursekit.exercises import dcgan_networks, dcgan_vectors
from coursekit.exercises import dcgan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- Inputs --------------------------------------------------------------------------------------


def _numbers(*shape: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return scale * torch.randn(*shape, generator=generator(seed)) + shift


def _logits(real: int, fake: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Batches of different size, which the discriminator tells apart more or less."""
    return (
        _numbers(real, seed=seed, scale=2, shift=0.8),
        _numbers(fake, seed=seed + 1, scale=2, shift=-0.5),
    )


def _sure() -> tuple[Tensor, Tensor]:
    """Far beyond what a sigmoid in float32 can tell from 0 and 1, on both sides."""
    return torch.tensor([100.0, -60.0, -120.0]), torch.tensor([-100.0, 60.0, 0.5, 100.0])


def _with_label(label: float, *sizes: int) -> Callable[[], tuple[Tensor, Tensor, float]]:
    return lambda: (*(_logits(*sizes) if sizes else _sure()), label)


def smoothed_loss(real_logits: Tensor, fake_logits: Tensor, real_label: float) -> Tensor:
    """The discriminator's loss with the label ``real_label`` for real images only."""
    real_part = real_label * F.softplus(-real_logits) + (1 - real_label) * F.softplus(real_logits)
    return real_part.mean() + F.softplus(fake_logits).mean()


# --- Losses --------------------------------------------------------------------------------------

_UNSTABLE = Mistake(
    "logarithm of a sigmoid",
    wrong.logarithms(),
    "Where the discriminator is sure, the loss is infinite.",
    "the sigmoid rounds to 0 or 1 there, and log(0) follows; logsigmoid, softplus or "
    "binary_cross_entropy_with_logits take the logit itself.",
)

_OVERFLOW = Mistake(
    "exp overflows",
    wrong.by_exp,
    "Where the discriminator is sure, the loss is infinite.",
    "exp(100) is more than float32 can hold, and log(1 + exp(a)) is infinite with it; softplus or "
    "binary_cross_entropy_with_logits compute the same without the large number.",
)

_DISCRIMINATOR_LOSS = Exercise(
    id="dcgan.discriminator_loss",
    title="The discriminator's loss",
    points=2,
    stub='''
def discriminator_loss(real_logits, fake_logits):
    """-mean(log D(x)) - mean(log(1 - D(G(z)))), where D = sigmoid(logit); one number.

    real_logits is (N,), for real images; fake_logits is (M,), for generated ones. Logits of
    ±100 happen: loss and gradient must be finite there.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dcgan.discriminator_loss,
    cases=(
        Case("5 real images, 3 generated", lambda: _logits(5, 3)),
        Case("2 real images, 6 generated", lambda: _logits(2, 6, seed=7)),
        Case("a discriminator that is sure, right and wrong", _sure),
    ),
    hints=(
        "Two classes, real and generated: each half of the formula is a cross-entropy.",
        "1 - sigmoid(a) = sigmoid(-a). So both halves are a logarithm of a sigmoid, and PyTorch "
        "has a function that computes it without the sigmoid in between.",
        "Take torch.nn.functional.logsigmoid of the real logits and of the generated ones with "
        "their sign turned; the mean of each half by itself, then minus both.",
    ),
    mistakes=(
        Mistake(
            "sign",
            wrong.by_labels(scale=-1),
            "The loss is negative, and falls when the discriminator gets worse.",
            "the game's value is maximised by the discriminator; a loss is minimised, so there is "
            "a minus in front.",
        ),
        Mistake(
            "labels swapped",
            wrong.by_labels(0.0, 1.0),
            "The discriminator is asked to call real images generated.",
            "the labels, or the signs of the logits, are exchanged.",
        ),
        Mistake(
            "real part only",
            wrong.real_half,
            "A discriminator that calls everything real pays nothing.",
            "the generated images do not appear in the loss.",
        ),
        Mistake(
            "generated part only",
            wrong.fake_half,
            "A discriminator that calls everything generated pays nothing.",
            "the real images do not appear in the loss.",
        ),
        Mistake(
            "sum",
            wrong.summed,
            "The loss grows with the batch.",
            "the logarithms are summed where the expectation is a mean.",
        ),
        Mistake(
            "half",
            wrong.by_labels(scale=0.5),
            "The loss is half as large as it should be.",
            "the two means are averaged; the formula adds them.",
        ),
        Mistake(
            "one mean over both batches",
            wrong.one_batch,
            "The larger of the two batches counts for more.",
            "real and generated images are put into one batch before the mean; each kind has a "
            "mean of its own.",
        ),
        Mistake(
            "sigmoid twice",
            wrong.on_probabilities,
            "However sure the discriminator is, the loss stays above 1.",
            "a function that expects logits was given probabilities, so the sigmoid is applied "
            "twice.",
        ),
        _UNSTABLE,
        _OVERFLOW,
        Mistake(
            "logarithm held above -100",
            wrong.clamped_logarithms,
            "A sure discriminator pays 100 whatever its logit is, and its gradient is gone.",
            "torch.nn.functional.binary_cross_entropy takes probabilities, which round to 0 and 1; "
            "use the form with logits.",
        ),
        Mistake(
            "a small number in the logarithm",
            wrong.logarithms(1e-8),
            "The cost of a sure mistake ends at 18.",
            "the 1e-8 inside the logarithm hides the rounding of the sigmoid, and cuts the "
            "gradient off.",
        ),
    ),
)


def _alone(function: wrong.Pair) -> Callable[[Tensor], Tensor]:
    """What a wrong discriminator's loss has for real images, as the generator's loss."""
    certain = torch.full((1,), -1e4)  # images that are generated for sure cost nothing
    return lambda fake_logits: function(fake_logits, certain.to(fake_logits))


_GENERATOR_LOSS = Exercise(
    id="dcgan.generator_loss",
    title="The generator's loss that does not saturate",
    points=2,
    stub='''
def generator_loss(fake_logits):
    """-mean(log D(G(z))), where D = sigmoid(logit): the non-saturating loss; one number.

    fake_logits is (N,), for generated images. Logits of ±100 happen: loss and gradient must be
    finite there.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dcgan.generator_loss,
    cases=(
        Case("5 images", lambda: (_logits(1, 5)[1],)),
        Case("8 images, most of them good", lambda: (_numbers(8, seed=3, scale=2, shift=1),)),
        Case("a discriminator that is sure", lambda: (torch.tensor([-120.0, 70, 100, -60]),)),
    ),
    hints=(
        "The generator wants its images to be called real.",
        "It is a cross-entropy with the label 1, for generated images.",
        "Minus the mean of torch.nn.functional.logsigmoid; or torch.nn.functional.softplus, with "
        "the right sign inside.",
    ),
    difficulty="easy",
    mistakes=(
        Mistake(
            "saturating",
            lambda fake_logits: dcgan.generator_loss(fake_logits, "saturating"),
            "The gradient vanishes where the discriminator sees through the generator.",
            "mean(log(1 - D)) is the game as it is written; the loss asked for is -mean(log D).",
        ),
        Mistake(
            "the discriminator's part",
            lambda fake_logits: wrong.fake_half(fake_logits, fake_logits),
            "The generator learns to be found out.",
            "-mean(log(1 - D)) is what the discriminator minimises on generated images.",
        ),
        Mistake(
            "sign",
            lambda fake_logits: -dcgan.generator_loss(fake_logits),
            "The loss is negative, and falls when the images get worse.",
            "log D is negative; the minus in front is missing.",
        ),
        Mistake(
            "sum",
            lambda fake_logits: dcgan.generator_loss(fake_logits) * len(fake_logits),
            "The loss grows with the batch.",
            "the logarithms are summed where the expectation is a mean.",
        ),
        Mistake(
            "sigmoid twice",
            lambda fake_logits: dcgan.generator_loss(fake_logits.sigmoid()),
            "The loss stays between 0.31 and 0.69.",
            "a function that expects logits was given probabilities, so the sigmoid is applied "
            "twice.",
        ),
        Mistake(
            "no logarithm",
            lambda fake_logits: -fake_logits.mean(),
            "The loss has no lower end.",
            "the mean logit is taken as it is, without a sigmoid and a logarithm: that is the "
            "loss of a Wasserstein GAN.",
        ),
        Mistake(
            "logarithm of the mean",
            wrong.log_of_mean,
            "One good image pays for the bad ones.",
            "the mean is taken before the logarithm.",
        ),
        # Both ways of writing it become infinite at the same logit, -89: they have one name.
        Mistake(
            "sigmoid or exp",
            _alone(wrong.logarithms()),
            "Where the discriminator is sure, the loss is infinite.",
            "sigmoid(-100) rounds to 0, and log(0) follows; in log(1 + exp(100)) it is exp that "
            "overflows. logsigmoid, softplus or binary_cross_entropy_with_logits take the logit "
            "itself.",
        ),
        Mistake(
            "logarithm held above -100",
            _alone(wrong.clamped_logarithms),
            "A hopeless image pays 100 whatever its logit is, and its gradient is gone.",
            "torch.nn.functional.binary_cross_entropy takes probabilities, which round to 0 and 1; "
            "use the form with logits.",
        ),
        Mistake(
            "detached",
            lambda fake_logits: dcgan.generator_loss(fake_logits.detach()),
            "The value is right, but the generator learns nothing.",
            "the logits are detached (or the loss is turned into a number): no gradient comes "
            "back. Only the discriminator's step detaches.",
        ),
    ),
)

_SMOOTHED_LOSS = Exercise(
    id="dcgan.smoothed_loss",
    title="One-sided label smoothing",
    points=3,
    stub='''
def smoothed_loss(real_logits, fake_logits, real_label):
    """The discriminator's loss with the label real_label, such as 0.9, for real images only.

    The cost of a logit with the label t is -(t log D + (1 - t) log(1 - D)), D = sigmoid(logit).
    Real images (N,) have the label real_label, generated ones (M,) keep 0. The result is one
    number: the mean over the real ones plus the mean over the generated ones.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=smoothed_loss,
    cases=(
        Case("5 real images, 3 generated, label 0.9", _with_label(0.9, 5, 3)),
        Case("2 real images, 6 generated, label 0.7", _with_label(0.7, 2, 6)),
        Case("a discriminator that is sure, label 0.9", _with_label(0.9)),
    ),
    hints=(
        "Only what is said about real images changes.",
        "With the label 0.9 a real image counts as nine tenths real and one tenth generated: its "
        "cost has both logarithms.",
        "torch.nn.functional.binary_cross_entropy_with_logits takes any label in [0, 1]: a tensor "
        "full of real_label for the real logits, zeros for the others.",
    ),
    difficulty="hard",
    mistakes=(
        Mistake(
            "two-sided",
            wrong.smoothed(lambda t: t, lambda t: 1 - t),
            "Generated images are called a little real.",
            "their label was smoothed too; then the discriminator rewards bad images, so the "
            "smoothing is one-sided.",
        ),
        Mistake(
            "the generated ones smoothed",
            wrong.smoothed(lambda t: 1.0, lambda t: 1 - t),
            "The discriminator still wants to be certain about real images.",
            "the label of the generated images was smoothed in place of that of the real ones.",
        ),
        Mistake(
            "label turned over",
            wrong.smoothed(lambda t: 1 - t, lambda t: 0.0),
            "Real images are called generated.",
            "their label became 1 - real_label; that is the weight of the second logarithm.",
        ),
        Mistake(
            "second term missing",
            wrong.without_second_term,
            "The discriminator is as certain as before, its loss only counts for less.",
            "-0.9 log D alone is a weight; (1 - 0.9) log(1 - D) belongs to it.",
        ),
        Mistake(
            "label not used",
            wrong.smoothed(lambda t: 1.0, lambda t: 0.0),
            "Nothing is smoothed.",
            "real images still have the label 1.",
        ),
        Mistake(
            "one label for all",
            wrong.smoothed(lambda t: t, lambda t: t),
            "The discriminator is told that all images are the same.",
            "the generated images have the real ones' label; theirs is 0.",
        ),
        Mistake(
            "logits multiplied",
            wrong.shrunken_logits,
            "The discriminator makes its logits larger, and is as certain as before.",
            "the label multiplies the logits; it belongs in front of the logarithm.",
        ),
        Mistake(
            "all multiplied",
            wrong.all_weighted,
            "The loss is smaller, but asks for the same.",
            "the label multiplies the whole loss.",
        ),
        Mistake(
            "sum",
            wrong.smoothed_sum,
            "The loss grows with the batch.",
            "the logarithms are summed where the expectation is a mean.",
        ),
        Mistake(_UNSTABLE.name, wrong.smoothed_logarithms, _UNSTABLE.symptom, _UNSTABLE.cause),
        Mistake(_OVERFLOW.name, wrong.smoothed_by_exp, _OVERFLOW.symptom, _OVERFLOW.cause),
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    _DISCRIMINATOR_LOSS,
    _GENERATOR_LOSS,
    dcgan_networks.STEP_TERMS,
    _SMOOTHED_LOSS,
    dcgan_networks.UP_BLOCK,
    dcgan_networks.INITIALISE,
    dcgan_vectors.ARITHMETIC,
    dcgan_vectors.SLERP,
    dcgan_networks.PLAY_ROUND,
)
