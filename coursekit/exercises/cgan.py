"""Exercises of topic 09: the label in G and in D, the loss, the projection, a round, the walk."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit import cgan, dcgan
from coursekit.exercises import cgan_cases as cases
from coursekit.exercises import cgan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

Network = Callable[[Tensor, Tensor], Tensor]

# --- References ----------------------------------------------------------------------------------


def round_losses(
    generator: Network, discriminator: Network, real: Tensor, latent: Tensor, label: Tensor
) -> dict[str, Tensor]:
    """Both losses of one conditional round, each of which may be differentiated on its own."""
    fake = generator(latent, label)
    real_logits = discriminator(real, label)
    d_loss = dcgan.discriminator_loss(real_logits, discriminator(fake.detach(), label))
    return {"d_loss": d_loss, "g_loss": dcgan.generator_loss(discriminator(fake, label))}


def agreement_by_class(read: Tensor, asked: Tensor, classes: int) -> Tensor:
    """Of the images asked for as class k, the share read as k; 0 where none was asked for."""
    hits = torch.bincount(asked[read == asked], minlength=classes)
    return hits / torch.bincount(asked, minlength=classes).clamp(min=1)


EXERCISES = (
    Exercise(
        id="cgan.join_latent",
        title="The label beside z",
        points=1,
        stub='''
def join_latent(latent, label, classes):
    """[z, one-hot label]: latent (N, D) and class indices label (N,) -> (N, D + classes)."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cgan.join_latent,
        cases=(
            Case("five vectors", cases.vectors(3, 0, 2, 1, 3, latent=6, classes=4)),
            Case("one vector", cases.vectors(1, latent=3, classes=10)),
        ),
        hints=(
            "Two blocks of columns side by side: z, then the label.",
            "Class 2 is not twice class 1. How do you write a class so that no class is larger?",
            "torch.nn.functional.one_hot gives integers; torch.cat wants what z is.",
        ),
        difficulty="easy",
        mistakes=(
            Mistake(
                "label first",
                wrong.label_first,
                "The right numbers, in the wrong columns.",
                "the label stands before z.",
            ),
            Mistake(
                "label as a number",
                wrong.latent_number,
                "Your label columns hold the class's number.",
                "the index is used where its one-hot vector should be: 8 is not twice 4 here.",
            ),
            Mistake(
                "off by one",
                wrong.latent_off_by_one,
                "The 1 stands one column too far.",
                "classes count from 0.",
            ),
            Mistake(
                "first label for all",
                wrong.latent_first_label,
                "Every row has the first image's label.",
                "one row was broadcast over the batch.",
            ),
            Mistake(
                "softened",
                wrong.latent_softened,
                "Your label columns are all positive.",
                "a softmax over the one-hot vector: it is a probability already.",
            ),
            Mistake(
                "latent detached",
                wrong.latent_detached,
                "The value is right, but nothing flows back to z.",
                "a .detach(), or a new tensor made from z's numbers.",
            ),
        ),
    ),
    Exercise(
        id="cgan.join_planes",
        title="The label beside an image",
        points=2,
        stub='''
def join_planes(images, label, classes):
    """Images (N, C, H, W) and their label as planes -> (N, C + classes, H, W).

    Plane k of an image is 1 everywhere if k is its class, else 0 everywhere.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cgan.join_planes,
        cases=(
            # As many images as classes, and as wide: every wrong broadcast goes through.
            Case(
                "three images of three classes", cases.pictures(1, 0, 1, shape=(2, 5, 3), classes=3)
            ),
            Case("five images", cases.pictures(3, 0, 2, 2, 1, shape=(1, 4, 6), classes=4)),
        ),
        hints=(
            "First the one-hot vector (N, classes), then make it as large as the image.",
            "Which two dimensions of (N, classes, H, W) does the vector not know about?",
            "Index with None to add them, expand to H and W, then torch.cat along dim=1.",
        ),
        mistakes=(
            Mistake(
                "planes first",
                wrong.planes_first,
                "The right planes, in the wrong order.",
                "the label's planes stand before the image's channels.",
            ),
            Mistake(
                "number planes",
                wrong.planes_number,
                "Your planes are filled with the class's number.",
                "the index is used where its one-hot vector should be.",
            ),
            Mistake(
                "along the width",
                wrong.planes_along_width,
                "Each plane is the one-hot vector laid out as columns of pixels.",
                "the vector was broadcast along W, not along the channels.",
            ),
            Mistake(
                "batch and class mixed up",
                wrong.planes_transposed,
                "Image i has the planes that belong to class i.",
                "the one-hot matrix is transposed: images are its rows.",
            ),
            Mistake(
                "one pixel",
                wrong.planes_one_pixel,
                "Only the first pixel of a plane is set.",
                "the plane was never filled: expand it to H and W.",
            ),
            Mistake(
                "multiplied",
                wrong.planes_multiplied,
                "Your planes hold a copy of the image.",
                "the one-hot vector was multiplied with the image, not set beside it.",
            ),
        ),
    ),
    Exercise(
        id="cgan.discriminator_loss",
        title="The loss with mismatched pairs",
        points=2,
        stub='''
def discriminator_loss(real_logits, fake_logits, mismatched_logits):
    """-log D for real pairs; -log(1 - D) for the two kinds of wrong pairs, half the weight each.

    Logits, before the sigmoid, of different lengths; each kind is averaged on its own.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cgan.discriminator_loss,
        cases=(
            Case("three kinds of pairs", cases.logits((4, 5, 3), 1.0)),
            Case("a discriminator that is very sure", cases.logits((3, 3, 3), 80.0)),
        ),
        hints=(
            "Three means. Which of them want a high logit, which a low one?",
            "A real photograph with a wrong label is a wrong pair, however real it looks.",
            "−log sigmoid(a) = softplus(−a), and −log(1 − sigmoid(a)) = softplus(a).",
        ),
        mistakes=(
            Mistake(
                "mismatched as real",
                wrong.mismatched_as_real,
                "Wrong pairs of real images are pushed up.",
                "the mismatched pairs are counted as real because their images are.",
            ),
            Mistake(
                "full weight",
                wrong.mismatched_unweighted,
                "Wrong pairs weigh twice as much as real ones.",
                "the two kinds of wrong pairs share one term: half the weight each.",
            ),
            Mistake(
                "mismatched ignored",
                wrong.mismatched_ignored,
                "The loss does not depend on the mismatched pairs.",
                "their term is missing.",
            ),
            Mistake(
                "signs swapped",
                wrong.loss_swapped,
                "The loss is small where the discriminator is wrong.",
                "softplus of the wrong sign: real pairs are to go up.",
            ),
            Mistake(
                "summed",
                wrong.loss_summed,
                "Your value grows with the batch.",
                "a sum where the expectation is a mean.",
            ),
            Mistake(
                "sigmoid twice",
                wrong.double_sigmoid,
                "Your loss hardly moves with the logits.",
                "a sigmoid before a function that has one inside.",
            ),
        ),
    ),
    Exercise(
        id="cgan.projection_logit",
        title="The projection",
        points=2,
        stub='''
def projection_logit(features, weights, embedding, psi):
    """y^T V phi(x) + psi(phi(x)), one number an image.

    features phi (N, D); weights y (N, classes), one-hot or a mixture of classes;
    embedding V (classes, D); psi (N,). Returns (N,).
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cgan.projection_logit,
        cases=(
            # Square, so that every wrong axis goes through.
            Case("four images, four classes, four features", cases.projection_inputs(4, 4, 4)),
            Case("mixtures of classes", cases.projection_inputs(5, 7, 3, mixed=True)),
        ),
        hints=(
            "First yᵀV: one row of D numbers an image. Then compare it with φ.",
            "An inner product an image: over which dimension do you sum?",
            "A matrix product, a product, a sum over features, and one more term.",
        ),
        mistakes=(
            Mistake(
                "no psi",
                wrong.no_psi,
                "Only the label speaks; how real the image is, nobody asks.",
                "ψ(φ(x)) is missing.",
            ),
            Mistake(
                "summed over the batch",
                wrong.summed_over_batch,
                "Every image got the same label term.",
                "the inner product is summed over the images too: give the sum a dimension.",
            ),
            Mistake(
                "wrong dimension",
                wrong.wrong_dimension,
                "Your label term belongs to a feature, not to an image.",
                "the sum runs over the batch, dim=0, instead of over the features.",
            ),
            Mistake(
                "embedding transposed",
                wrong.embedding_transposed,
                "Features are looked up where classes should be.",
                "V is (classes, D): y must meet its rows.",
            ),
            Mistake(
                "mean",
                wrong.mean_product,
                "The label term is too small by the number of features.",
                "a mean over the features where an inner product is a sum.",
            ),
            Mistake(
                "largest class",
                wrong.largest_class,
                "Right for one-hot labels, wrong for mixtures.",
                "the largest class is looked up; yᵀV mixes the rows of V.",
            ),
            Mistake(
                "psi multiplied",
                wrong.psi_multiplied,
                "The two terms are multiplied.",
                "ψ is added: it is the part of the logit that needs no label.",
            ),
        ),
    ),
    Exercise(
        id="cgan.round_losses",
        title="One round of the conditional game",
        points=3,
        stub='''
def round_losses(generator, discriminator, real, latent, label):
    """{"d_loss": ..., "g_loss": ...} of one round; fakes are made for the labels of the real batch.

    generator(latent, label) -> images; discriminator(images, label) -> logits.
    Use coursekit.dcgan: discriminator_loss, generator_loss. No gradient of d_loss reaches G.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=round_losses,
        constants=("real", "latent"),
        cases=(
            Case("four pairs", cases.round_inputs(0, 2, 1, 1)),
            Case("three pairs of one class", cases.round_inputs(2, 2, 2)),
        ),
        hints=(
            "Make the fakes once; both losses look at them.",
            "Three times a network is asked about images. Which label does it hear each time?",
            "d_loss sees fake.detach(), g_loss sees fake; everybody hears `label`.",
        ),
        difficulty="hard",
        mistakes=(
            Mistake(
                "not detached",
                wrong.NOT_DETACHED,
                "The values are right, but the discriminator's loss moves the generator.",
                "fake.detach() is missing in the discriminator's loss.",
            ),
            Mistake(
                "detached for the generator",
                wrong.DETACHED_FOR_G,
                "The values are right, but the generator learns nothing.",
                "the detached fakes are used for the generator's loss as well.",
            ),
            Mistake(
                "output detached",
                wrong.OUTPUT_DETACHED,
                "The values are right, but the discriminator never learns from fakes.",
                "the .detach() is on the discriminator's output; it belongs on its input.",
            ),
            Mistake(
                "asked for class 0",
                wrong.ASKED_FOR_ONE_CLASS,
                "The generator makes another class than the discriminator is told.",
                "the generator was not given the batch's labels.",
            ),
            Mistake(
                "discriminator not told",
                wrong.NOT_TOLD,
                "The discriminator hears the same label for every image.",
                "the label does not reach the discriminator: then the generator may ignore it too.",
            ),
            Mistake(
                "told for real images only",
                wrong.TOLD_FOR_REAL_ONLY,
                "Fakes are judged under a label they were not made for.",
                "the discriminator hears `label` beside real images, something else beside fakes.",
            ),
            Mistake(
                "labels in another order",
                wrong.OTHER_ORDER,
                "Each fake is judged under another fake's label.",
                "the labels were shuffled or flipped between the two networks.",
            ),
            Mistake(
                "saturating",
                wrong.SATURATING,
                "Your g_loss is negative.",
                "log(1 − D) where the course's generator minimises −log D.",
            ),
        ),
    ),
    Exercise(
        id="cgan.class_path",
        title="A walk between two classes",
        points=2,
        stub='''
def class_path(first, second, steps, classes):
    """Weights (steps, classes) from class `first` to class `second` in equal steps, both included.

    Row 0 is all `first`, the last row all `second`; each row sums to 1.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cgan.class_path,
        cases=(
            Case("from 3 to 7", lambda: (3, 7, 5, 10)),
            Case("from 4 back to 1", lambda: (4, 1, 7, 6)),
            Case("from 2 to itself", lambda: (2, 2, 4, 5)),
        ),
        hints=(
            "Halfway from 3 to 7 the label is not 5. What is it?",
            "Two one-hot rows, and a share that runs from 0 to 1.",
            "A share of the shape (steps, 1) mixes all rows at once; what if both classes are one?",
        ),
        mistakes=(
            Mistake(
                "through the classes between",
                wrong.path_of_indices,
                "From 3 to 7 your path visits 4, 5 and 6.",
                "the index is interpolated; classes have no order, mix their one-hot vectors.",
            ),
            Mistake(
                "backwards",
                wrong.path_backwards,
                "Your path begins at its end.",
                "the two shares are swapped.",
            ),
            Mistake(
                "without the end",
                wrong.path_without_end,
                "Your path stops before `second`.",
                "steps divided by `steps`; with both ends there are steps − 1 of them.",
            ),
            Mistake(
                "start never fades",
                wrong.path_keeps_start,
                "Your rows sum to more than 1.",
                "the weight of `first` must fall as that of `second` grows.",
            ),
            Mistake(
                "switch",
                wrong.path_switches,
                "Your path jumps in the middle.",
                "the share was rounded to 0 or 1.",
            ),
            Mistake(
                "second written over first",
                wrong.path_overwritten,
                "From a class to itself your rows do not sum to 1.",
                "the two shares are set, one over the other; add them.",
            ),
        ),
        gradient=False,
    ),
    Exercise(
        id="cgan.agreement_by_class",
        title="Does the generator listen?",
        points=1,
        stub='''
def agreement_by_class(read, asked, classes):
    """Of the images asked for as class k, the share that was read as k: (classes,).

    read, asked: class indices (N,). A class that nobody asked for gets 0.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=agreement_by_class,
        cases=(
            Case("sixty images", cases.readings(0, 60, 4)),
            Case("a class nobody asked for", cases.readings(1, 40, 3)),
            Case("classes asked for once or twice", cases.readings(3, 7, 4)),
        ),
        hints=(
            "A share has a number above and a number below the line. Which images are below?",
            "All images asked for as k, whatever they were read as.",
            "torch.bincount with minlength=classes, twice; mind the division by zero.",
        ),
        difficulty="easy",
        mistakes=(
            Mistake(
                "one share for all",
                wrong.overall_share,
                "Every class has the same share.",
                "the mean runs over all images at once.",
            ),
            Mistake(
                "of those read",
                wrong.share_of_read,
                "You divide by how often a class was read.",
                "the question is about the images that were *asked for* as k.",
            ),
            Mistake(
                "of all images",
                wrong.share_of_all,
                "Your shares are too small by the number of classes or so.",
                "each class is divided by the number of all images.",
            ),
            Mistake(
                "equal parts assumed",
                wrong.share_of_equal_parts,
                "Right only if every class was asked for equally often.",
                "N / classes is divided by, not the class's own number.",
            ),
            Mistake(
                "counts",
                wrong.plain_counts,
                "You count, and do not divide.",
                "the division by the class's own number is missing.",
            ),
            Mistake(
                "errors",
                wrong.errors_instead,
                "You have the share of errors.",
                "!= where it should be ==.",
            ),
        ),
        gradient=False,
    ),
)
