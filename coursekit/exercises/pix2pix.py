"""Exercises of topic 10: skips, the receptive field, dropout as noise, and the list of all of them.

Both objectives are in `pix2pix_objectives`.
"""

from __future__ import annotations

from torch import nn

from coursekit import pix2pix_networks
from coursekit.exercises import pix2pix_cases as cases
from coursekit.exercises import pix2pix_objectives as objectives
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

EXERCISES = (_DECODE, _SEEN, objectives.GENERATOR, objectives.DISCRIMINATOR, _NOISE)
