"""Exercises of topic 07 on networks: the detach, a block, weights at the start, a whole round.

Their answers return modules, change them, or train; `dcgan_measures` runs them on small problems.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coursekit import dcgan
from coursekit.exercises import dcgan_measures as measures
from coursekit.exercises import dcgan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def discriminator_step_terms(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Tensor:
    """The discriminator's loss; its gradient ends at the generated images."""
    fake_logits = discriminator(generator(z).detach())
    return dcgan.discriminator_loss(discriminator(real), fake_logits)


def up_block(before: int, after: int) -> nn.Module:
    """A block of the generator by the guidelines of Radford et al. 2016."""
    convolution = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def play_round(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> tuple[Tensor, Tensor]:
    """One step of the discriminator, then one of the generator."""
    fake = generator(z)
    d_loss = dcgan.discriminator_loss(discriminator(real), discriminator(fake.detach()))
    d_optimiser.zero_grad()
    d_loss.backward()
    d_optimiser.step()

    g_loss = dcgan.generator_loss(discriminator(fake))
    g_optimiser.zero_grad()
    g_loss.backward()
    g_optimiser.step()
    return d_loss.detach(), g_loss.detach()


# --- The exercises -------------------------------------------------------------------------------

STEP_TERMS = Exercise(
    id="dcgan.discriminator_step_terms",
    title="The detach",
    points=2,
    stub='''
def discriminator_step_terms(generator, discriminator, real, z):
    """The loss of the discriminator's step, one number; .backward() is left to the caller.

    generator: z (M, latent) -> images. discriminator: images -> logits, one an image.
    real is a batch of N real images. The loss is -mean(log D(real)) - mean(log(1 - D(G(z)))),
    D = sigmoid(logit). Its gradient reaches the discriminator's weights through both halves, and
    none of the generator's. Both networks stay as they are, in training mode.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=discriminator_step_terms,
    cases=(
        Case("points: 5 real ones, 3 generated", measures.points),
        Case("pictures: 2 real ones, 4 generated", measures.pictures),
    ),
    hints=(
        "The loss depends on the weights of both networks. Only one of them is to learn from it.",
        "A tensor's .detach() has the same values and no history. Where on the way from z to the "
        "loss does the generator end and the discriminator begin?",
        "Make the images, detach them, then ask the discriminator; its logits keep their history.",
    ),
    mistakes=(
        Mistake(
            "not detached",
            wrong.not_detached,
            "The gradient goes on into the generator, and tells it to be found out.",
            "the generated images still have their history; detach them.",
        ),
        Mistake(
            "logits detached",
            wrong.logits_detached,
            "The discriminator learns nothing from the generated images.",
            "its logits are detached (or computed under no_grad); only the images should be.",
        ),
        Mistake(
            "real half detached",
            wrong.real_detached,
            "The discriminator learns nothing from the real images.",
            "their logits are detached too (or computed under no_grad).",
        ),
        Mistake(
            "loss detached",
            wrong.all_detached,
            "Nobody learns.",
            "the loss has no history: it is detached, turned into a number, or computed under "
            "no_grad.",
        ),
        Mistake(
            "frozen for good",
            wrong.frozen_for_good,
            "This step is right, but the generator cannot learn in its own step any more.",
            "its weights were told to ask for no gradient, and that was not undone.",
        ),
        Mistake(
            "generated images called real",
            wrong.called_real,
            "The discriminator is asked to be deceived.",
            "the generated half is that of the generator's step, -mean(log D(G(z))).",
        ),
        Mistake(
            "real and generated exchanged",
            wrong.exchanged,
            "The discriminator is asked to call real images generated.",
            "the two batches, or the two labels, are exchanged.",
        ),
    ),
    gradient=False,
    measure=measures.reached,
    allowed=("discriminator_loss",),
)

UP_BLOCK = Exercise(
    id="dcgan.up_block",
    title="A block of the generator",
    points=3,
    stub='''
def up_block(before, after):
    """A module: (N, before, h, w) -> (N, after, 2h, 2w), as in the middle of DCGAN's generator.

    A transposed convolution with kernel 4 doubles the size, batch normalisation follows, then the
    activation that the guidelines ask for in the generator. No weights without an effect.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=up_block,
    cases=(
        Case("6 channels to 3", lambda: (6, 3)),
        Case("4 channels to 8", lambda: (4, 8)),
    ),
    hints=(
        "Three layers in torch.nn.Sequential will do.",
        "The output of a transposed convolution has (size - 1) · stride - 2 · padding + kernel "
        "pixels; the kernel is 4, the result 2 · size.",
        "Batch normalisation subtracts each channel's mean: a constant that was added just before "
        "it has no effect. Which argument of the convolution is that?",
    ),
    mistakes=(
        Mistake(
            "leaky",
            wrong.block(activation=lambda: nn.LeakyReLU(0.2)),
            "Negative values come out.",
            "LeakyReLU is the discriminator's activation; the guidelines give the generator ReLU.",
        ),
        Mistake(
            "sigmoid",
            wrong.block(activation=nn.Sigmoid),
            "All values lie between 0 and 1, and gradients become small.",
            "a sigmoid saturates on both sides; hidden layers of the generator have ReLU.",
        ),
        Mistake(
            "tanh",
            wrong.block(activation=nn.Tanh),
            "All values lie between -1 and 1.",
            "tanh belongs to the generator's last layer only.",
        ),
        Mistake(
            "no activation",
            wrong.block(activation=nn.Identity),
            "Stacked blocks can do no more than one.",
            "there is no activation after the batch normalisation.",
        ),
        Mistake(
            "bias kept",
            wrong.block(bias=True),
            "There are weights without an effect, one a channel.",
            "the convolution has a bias, which batch normalisation takes away again.",
        ),
        Mistake(
            "no batch normalisation",
            wrong.block(norm="none"),
            "The scale of the activations is left to chance.",
            "the batch normalisation is missing.",
        ),
        Mistake(
            "normalised last",
            wrong.block(norm="last"),
            "Negative values come out: what ReLU cut off is shifted again.",
            "batch normalisation comes after the activation; it belongs before it.",
        ),
        Mistake(
            "normalised first",
            wrong.block(norm="first"),
            "The output is not normalised, the input is.",
            "batch normalisation comes before the convolution; it belongs behind it.",
        ),
        Mistake(
            "upsampling",
            wrong.block(upsample=True),
            "The size is doubled by copying pixels.",
            "the guidelines replace fixed upsampling by transposed convolutions that are learned.",
        ),
        Mistake(
            "kernel of 3",
            wrong.block(kernel=(3, 2, 1, 1)),
            "Output pixels are reached by 1, 2 or 4 inputs in turn: a checkerboard.",
            "the kernel is 3, no multiple of the stride 2; a kernel of 4 overlaps evenly.",
        ),
        Mistake(
            "size kept",
            wrong.block(kernel=(3, 1, 1, 0)),
            "The output is as small as the input.",
            "the stride is 1; each block doubles height and width.",
        ),
        Mistake(
            "padding forgotten",
            wrong.block(kernel=(4, 2, 0, 0)),
            "The output has two pixels too many each way.",
            "(size - 1) · 2 + 4 is 2 · size + 2; padding=1 takes one pixel from each side.",
        ),
    ),
    gradient=False,
    measure=measures.block_facts,
)

INITIALISE = Exercise(
    id="dcgan.initialise",
    title="Weights at the start",
    points=2,
    stub='''
def initialise(module):
    """Set the weights of all layers inside module, in place; it may itself be a layer.

    Conv2d, ConvTranspose2d and Linear: weights from a normal distribution with mean 0 and
    standard deviation 0.02. BatchNorm2d: scales (its weight) with mean 1 and standard deviation
    0.02. All their biases: 0. Other layers have no weights. Nothing need be returned.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dcgan.initialise,
    cases=(
        Case("a network with nested parts", measures.network, tolerance=0.05),
        Case("one convolution", measures.one_layer, tolerance=0.05),
    ),
    hints=(
        "Go through the layers; what is done depends on the kind of layer.",
        "module.modules() gives the module, its parts, their parts and so on; isinstance tells "
        "what each is.",
        "torch.nn.init.normal_(weight, mean, std) and torch.nn.init.zeros_(bias) work in place. A "
        "layer may have bias=None.",
    ),
    mistakes=(
        Mistake(
            "variance for deviation",
            wrong.started(deviation=0.02**0.5),
            "The weights are seven times too large.",
            "0.02 is the standard deviation; its root is taken as if it were the variance.",
        ),
        Mistake(
            "deviation squared",
            wrong.started(deviation=0.02**2),
            "The weights are fifty times too small.",
            "normal_ takes the standard deviation, not the variance.",
        ),
        Mistake(
            "scales around 0",
            wrong.started(scale=0.0),
            "Batch normalisation erases nearly all of the signal.",
            "its scales were drawn around 0 like the other weights; theirs lie around 1.",
        ),
        Mistake(
            "scales left at 1",
            wrong.started(scale=None),
            "All batch-norm scales are exactly 1.",
            "they were left as they are; they are to vary by 0.02.",
        ),
        Mistake(
            "biases left",
            wrong.started(biases=False),
            "The biases are what they were.",
            "only weights are set; biases are to be 0.",
        ),
        Mistake(
            "transposed convolutions left",
            wrong.started(kinds=(nn.Conv2d, nn.Linear)),
            "The generator keeps its old weights.",
            "ConvTranspose2d is no Conv2d to isinstance; name both.",
        ),
        Mistake(
            "linear layers left",
            wrong.started(kinds=(nn.Conv2d, nn.ConvTranspose2d)),
            "Fully connected layers keep their old weights.",
            "Linear is not among the kinds of layers.",
        ),
        Mistake(
            "nested parts left",
            wrong.started(parts=nn.Module.children),
            "Layers inside of other modules keep their old weights.",
            "children() goes one level down; modules() goes through all, and includes the module "
            "itself.",
        ),
        Mistake(
            "uniform",
            wrong.started(draw=wrong.even),
            "The weights vary too little, and none is larger than 0.02.",
            "they were drawn evenly from [-0.02, 0.02], not from a normal distribution.",
        ),
        Mistake(
            "not in place",
            wrong.on_a_copy,
            "Nothing has changed.",
            "the new weights were given to a copy or to a local name; the functions of "
            "torch.nn.init that end in an underscore write into the weight itself.",
        ),
        Mistake(
            "new parameters",
            wrong.replaced,
            "The layers have other weights now, which an optimiser made before does not know.",
            "layer.weight was set to a new nn.Parameter; write into the one that is there.",
        ),
        Mistake(
            "frozen",
            wrong.frozen,
            "The weights start right and can never learn.",
            "requires_grad was switched off and not on again; torch.no_grad() is enough.",
        ),
    ),
    gradient=False,
    measure=measures.statistics,
)

PLAY_ROUND = Exercise(
    id="dcgan.play_round",
    title="A whole round",
    points=4,
    stub='''
def play_round(generator, discriminator, g_optimiser, d_optimiser, real, z):
    """One step of the discriminator, then one of the generator; return (d_loss, g_loss).

    generator: z (M, latent) -> images. discriminator: images -> logits, one an image. real is a
    batch of N real images. Each optimiser has the weights of its own network.
    The discriminator minimises -mean(log D(real)) - mean(log(1 - D(G(z)))), and only its weights
    move. The generator then minimises -mean(log D(G(z))) against the new discriminator with the
    same z, and only its weights move. The losses are those before each step. Both networks stay
    in training mode.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=play_round,
    cases=(
        Case(
            "points, plain gradient descent",
            measures.game(measures.points, torch.optim.SGD, 0.3, 0.2),
        ),
        Case(
            "pictures, Adam",
            measures.game(measures.pictures, measures.adam, 0.02, 0.01),
            tolerance=1e-3,
        ),
    ),
    hints=(
        "Twice the same four lines: a loss, zero_grad(), backward(), step(). What differs is whose "
        "optimiser it is, and what is detached.",
        "The generator's loss runs back through the discriminator and leaves gradients in its "
        "weights. They must be gone when its own turn comes.",
        "Discriminator: its loss on real and on detached generated images. Generator: the loss on "
        "the discriminator's new logits for the images, not detached. Empty the gradients right "
        "before each backward().",
    ),
    difficulty="hard",
    mistakes=(
        Mistake(
            "not detached",
            wrong.round_not_detached,
            "The generator's step also follows the discriminator's loss, which pulls the other "
            "way.",
            "the images are not detached in the discriminator's step, and the gradients that this "
            "leaves in the generator are not emptied before its own.",
        ),
        Mistake(
            "the discriminator's gradients not emptied",
            wrong.round_d_not_emptied,
            "The first round is right, later ones are not: the discriminator follows old "
            "gradients, those of the generator's step among them.",
            "d_optimiser.zero_grad() is missing.",
        ),
        Mistake(
            "the generator's gradients not emptied",
            wrong.round_g_not_emptied,
            "The first round is right, in later ones the generator follows old gradients.",
            "g_optimiser.zero_grad() is missing.",
        ),
        Mistake(
            "gradients never emptied",
            wrong.round_never_emptied,
            "The first round is right, in later ones both networks follow old gradients.",
            "backward() adds to what is there; zero_grad() is missing.",
        ),
        Mistake(
            "optimisers exchanged",
            wrong.round_optimisers_swapped,
            "The generator never moves, and the discriminator learns to be deceived.",
            "each loss is followed by a step of the other network's optimiser.",
        ),
        Mistake(
            "detached in both steps",
            wrong.round_detached_twice,
            "The generator never moves.",
            "its images are detached in its own step too, so that no gradient reaches it; or its "
            "backward() or step() is missing.",
        ),
        Mistake(
            "saturating",
            wrong.round_saturating,
            "The generator learns slowly where the discriminator is sure.",
            "it minimises mean(log(1 - D)); -mean(log D) is asked for.",
        ),
        Mistake(
            "generator first",
            wrong.round_generator_first,
            "The discriminator's loss is measured on images of the next generator.",
            "the order is exchanged: the discriminator's step comes first.",
        ),
        Mistake(
            "both step on the generator's loss",
            wrong.round_both_step,
            "The discriminator unlearns what it has learned.",
            "d_optimiser.step() is called after the generator's backward() too.",
        ),
        Mistake(
            "no step at all",
            wrong.round_without_step,
            "Neither network moves.",
            "backward() only computes gradients; the optimisers' step() moves the weights.",
        ),
    ),
    gradient=False,
    measure=measures.three_rounds,
    allowed=("discriminator_loss", "generator_loss"),
)
