"""Exercises of topic 10: skips, the receptive field, both objectives, dropout as noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import pix2pix_networks
from coursekit.exercises import pix2pix_cases as cases
from coursekit.exercises import pix2pix_right as right
from coursekit.exercises import pix2pix_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def pixels_seen(convolutions: list[tuple[int, int]]) -> int:
    """Backwards: n positions behind a convolution come from (n − 1) · stride + kernel in front."""
    seen = 1
    for kernel, stride in reversed(convolutions):
        seen = (seen - 1) * stride + kernel
    return seen


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


def noise_on(network: nn.Module) -> None:
    """Dropout draws, everything else is in eval mode."""
    network.eval()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.train()


# --- The skip connection -------------------------------------------------------------------------

_DECODE = Exercise(
    id="pix2pix.decode",
    title="The skip connection",
    points=2,
    stub='''
def decode(layers, encoded, skips=True):
    """Run the decoder of a U-Net.

    layers: n functions, the innermost first. encoded: n feature maps, the outermost first, so
    that encoded[-1] is the innermost. The first layer gets the innermost features; each further
    one gets what the layer before it made and, behind that along the channels, the features
    that mirror it. skips=False leaves those out. Returns what the last layer made.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=pix2pix_networks.decode,
    cases=(
        Case("four layers, all features of one size", cases.one_size(4)),
        Case("features halved three times", cases.pyramid(2, 3, 5)),
        Case("no skips", cases.one_size(3), keywords=lambda: {"skips": False}),
    ),
    hints=(
        "Draw the U: which features of the encoder lie at the height of the decoder's layer 2?",
        "encoded[-1] goes in at the bottom, and is not joined to anything.",
        "A loop with a number: before every layer but the first, "
        "torch.cat([x, encoded[-1 - number]], dim=1).",
    ),
    alternatives=(right.decode_with_a_stack, right.decode_by_recursion),
    properties=right.DECODE,
    mistakes=(
        Mistake(
            "skip before the own features",
            wrong.SKIP_FIRST,
            "The right features, in the wrong channels.",
            "the encoder's features stand before the decoder's; the layer's weights expect them "
            "behind.",
        ),
        Mistake(
            "added",
            wrong.ADDED,
            "Your layers get half as many channels.",
            "the features are added, as in a ResNet; a U-Net stacks them along the channels.",
        ),
        Mistake(
            "not mirrored",
            wrong.NOT_MIRRORED,
            "The layer above the bottom was given the encoder's outermost features.",
            "the encoder's list is read from its beginning; inside out is from its end.",
        ),
        Mistake(
            "one layer off",
            wrong.ONE_LAYER_OFF,
            "Each layer was given the features of the floor below.",
            "the index is off by one: encoded[-1] went in at the bottom, the next one is "
            "encoded[-2].",
        ),
        Mistake(
            "no skips at all",
            wrong.skips_ignored,
            "Only the innermost features reach the result.",
            "nothing is joined: that is a plain encoder and decoder.",
        ),
        Mistake(
            "bottom joined to itself",
            wrong.bottleneck_twice,
            "The innermost layer got its features twice.",
            "the first layer of the decoder has no mirror: its features have just been made.",
        ),
        Mistake(
            "averaged",
            wrong.AVERAGED,
            "Your layers get the mean of two things.",
            "the features are mixed into one; stack them, and let the layer's weights mix.",
        ),
        Mistake(
            "flag ignored",
            wrong.flag_ignored,
            "Right with skips, wrong without.",
            "skips=False changes nothing.",
        ),
        Mistake(
            "zeros in place of skips",
            wrong.zeros_without_skips,
            "Without skips your layers still get the channels of the skips, filled with zeros.",
            "skips=False leaves the features out: nothing is joined.",
        ),
        Mistake(
            "skip detached",
            wrong.SKIP_DETACHED,
            "The values are right, but the encoder learns nothing through the skips.",
            "a .detach(), or features copied out of the graph.",
        ),
    ),
)

# --- The receptive field -------------------------------------------------------------------------

_SEEN = Exercise(
    id="pix2pix.pixels_seen",
    title="How much does a patch see?",
    points=1,
    difficulty="easy",
    stub='''
def pixels_seen(convolutions):
    """How many pixels a side one logit sees, an int.

    convolutions: a list of (kernel, stride), from the picture to the logits. Without any, a logit
    sees 1 pixel. Padding does not matter.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=pixels_seen,
    cases=(
        Case("four different ones", lambda: ([(3, 1), (4, 2), (2, 1), (5, 3)],)),
        Case("the paper's PatchGAN", lambda: ([(4, 2)] * 3 + [(4, 1)] * 2,)),
        Case("PixelGAN", lambda: ([(1, 1)] * 3,)),
        Case("kernels smaller than strides", lambda: ([(2, 3), (7, 1), (1, 2), (3, 2)],)),
    ),
    hints=(
        "Begin with one logit and walk back to the picture.",
        "Two neighbours behind a convolution of kernel 4 and stride 2: how many do they see "
        "together? And three?",
        "n positions stand (n − 1) · stride apart, first to last, and the last one needs a whole "
        "kernel.",
    ),
    alternatives=(right.seen_by_steps, right.seen_by_recursion),
    properties=right.SEEN,
    gradient=False,
    mistakes=(
        Mistake(
            "strides forgotten",
            wrong.strides_forgotten,
            "Your number grows by kernel − 1 from layer to layer.",
            "that is right for stride 1 only: strides make the later layers see farther.",
        ),
        Mistake(
            "kernels multiplied",
            wrong.kernels_multiplied,
            "Your number is the product of the kernels.",
            "neighbouring kernels overlap: they do not see new pixels each.",
        ),
        Mistake(
            "walked forwards",
            wrong.walked_forwards,
            "The formula is right, the direction is not.",
            "it goes from the logit back to the picture: the last convolution comes first.",
        ),
        Mistake(
            "one step too many",
            wrong.one_too_many,
            "Your number is too large, even for one convolution.",
            "between n positions there are n − 1 steps.",
        ),
        Mistake(
            "begun with nothing",
            wrong.begun_with_nothing,
            "Your number is too small, even for one convolution.",
            "one logit is one position, not none.",
        ),
        Mistake(
            "its own stride counted",
            wrong.own_stride_first,
            "Each kernel is spread by its own stride.",
            "the steps inside a kernel are those of the layers *before* it.",
        ),
        Mistake(
            "padding taken off",
            wrong.padding_taken_off,
            "You took the padding off the kernels.",
            "padding moves the field to the border; it does not make it smaller.",
        ),
    ),
)

# --- The objectives ------------------------------------------------------------------------------

_GENERATOR = Exercise(
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

_DISCRIMINATOR = Exercise(
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

# --- Dropout as noise ----------------------------------------------------------------------------

_NOISE = Exercise(
    id="pix2pix.noise_on",
    title="Dropout is the only noise",
    points=1,
    difficulty="easy",
    stub='''
def noise_on(network):
    """Prepare a trained network for drawing several answers to one input; returns nothing.

    Every nn.Dropout draws, with the share it was made with. Everything else is in eval mode:
    batch normalisation uses its running statistics, and keeps them.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=noise_on,
    cases=(
        Case("a network fresh from training", cases.network(training=True)),
        Case("a network in eval mode", cases.network(training=False)),
    ),
    hints=(
        "network.eval() and network.train() switch everything inside. You need one for most.",
        "First everything to eval, then the few layers back.",
        "network.modules() visits layers at any depth; isinstance(part, nn.Dropout).",
    ),
    alternatives=(right.noise_by_apply, right.noise_by_name),
    gradient=False,
    measure=cases.noise_facts,
    mistakes=(
        Mistake(
            "everything in train mode",
            wrong.all_in_train_mode,
            "The normalisations use the batch, and forget what they had learned.",
            "network.train() switches them too.",
        ),
        Mistake(
            "no noise",
            wrong.no_noise,
            "Every call gives the same picture.",
            "network.eval() switches dropout off.",
        ),
        Mistake(
            "eval forgotten",
            wrong.eval_forgotten,
            "Right for a network in eval mode, wrong for one fresh from training.",
            "the rest was left in the mode it came in.",
        ),
        Mistake(
            "normalisations only",
            wrong.normalisations_only,
            "Dropout draws and the normalisations rest, but all other layers are in train mode.",
            "everything to train, the normalisations back: other networks have other layers.",
        ),
        Mistake(
            "children only",
            wrong.children_only,
            "Dropout deeper inside does not draw.",
            "network.children() visits the first floor only.",
        ),
        Mistake(
            "share changed",
            wrong.share_changed,
            "All layers draw, but not with their own share.",
            "p was set; the mode is all there is to change.",
        ),
        Mistake(
            "normalisation instead",
            wrong.normalisation_instead,
            "The normalisations learn, dropout does not draw.",
            "the wrong kind of layer was switched.",
        ),
    ),
)

EXERCISES = (_DECODE, _SEEN, _GENERATOR, _DISCRIMINATOR, _NOISE)
