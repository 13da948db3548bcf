"""Exercises of topic 13: the two regularisers that are taken now and then."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.exercises import stylegan2_cases as cases
from coursekit.exercises import stylegan2_right as right
from coursekit.exercises import stylegan2_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def r1_penalty(discriminator: cases.Critic, real: Tensor, gamma: float) -> Tensor:
    """γ/2 · E[‖∇D(x)‖²] on real images (Mescheder et al. 2018, equation 9)."""
    images = real.detach().requires_grad_()
    logits = discriminator(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gamma / 2 * gradient.square().flatten(1).sum(dim=1).mean()


def path_length(synthesis: cases.Synthesis, w: Tensor, noise: Tensor, mean: float) -> Tensor:
    """E[(‖Jᵀ_w y‖₂ − a)²] with y = noise / √(H·W) (Karras et al. 2020, equation 4)."""
    images = synthesis(w)
    height, width = images.shape[2:]
    scalar = (images * noise).sum() / (height * width) ** 0.5
    (gradient,) = torch.autograd.grad(scalar, w, create_graph=True)
    lengths = gradient.square().sum(dim=1).sqrt()
    return (lengths - mean).square().mean()


# --- R1 ------------------------------------------------------------------------------------------

_R1 = Exercise(
    id="stylegan2.r1_penalty",
    title="The R1 penalty",
    points=2,
    stub='''
def r1_penalty(discriminator, real, gamma):
    """gamma / 2 times the mean of |grad D(x)|^2 over the real images: a number to learn from.

    discriminator: images (N, C, H, W) -> logits (N,). real: (N, C, H, W). One squared norm for
    each image.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=r1_penalty,
    cases=(
        Case("four images", cases.judged(4, 3, 4, 1.0)),
        Case("one image", cases.judged(1, 2, 5, 10.0)),
        Case("seven grey images", cases.judged(7, 1, 3, 0.2)),
    ),
    hints=(
        "The gradient is taken with respect to the images. What must they know about themselves?",
        "The sum of the logits has all N gradients at once: no logit depends on another image.",
        "torch.autograd.grad(logits.sum(), images, create_graph=True); square, sum over C, H, W, "
        "mean over N.",
    ),
    difficulty="core",
    alternatives=(right.r1_by_backward, right.r1_by_each),
    properties=right.R1,
    mistakes=(
        Mistake(
            "no graph",
            wrong.r1_with(graph=False),
            "The number is right, but the discriminator learns nothing from it.",
            "create_graph=True is missing in torch.autograd.grad.",
        ),
        Mistake(
            "no half",
            wrong.r1_with(half=False),
            "Your penalty is twice too large.",
            "γ / 2.",
        ),
        Mistake(
            "norm not squared",
            wrong.r1_with(squared=False),
            "Steep places cost too little.",
            "the root was taken: R1 penalises the squared norm.",
        ),
        Mistake(
            "slope of 1",
            wrong.r1_with(one=True),
            "A flat discriminator is punished.",
            "(‖∇‖ − 1)² is the gradient penalty of WGAN-GP; R1 wants the slope to be 0.",
        ),
        Mistake(
            "mean over the pixels",
            wrong.r1_with(mean=True),
            "Too small by the number of pixels.",
            "a mean over all elements; the norm has a sum over C, H and W.",
        ),
        Mistake(
            "sum over the images",
            wrong.r1_with(summed=True),
            "Too large by the number of images.",
            "the expectation is a mean over the batch.",
        ),
        Mistake(
            "gradient of the mean",
            wrong.r1_mean_logit,
            "Too small by the square of the number of images.",
            "the gradient of logits.mean(): every image's own gradient was divided by N.",
        ),
    ),
)

# --- Path length ---------------------------------------------------------------------------------

_PATH = Exercise(
    id="stylegan2.path_length",
    title="Path length regularisation",
    points=3,
    stub='''
def path_length(synthesis, w, noise, mean):
    """The mean of (|J^T y| - a)^2 over the samples: how uneven the steps of the generator are.

    synthesis: w (N, latent) -> images (N, C, H, W). w has requires_grad=True already. y is
    noise (N, C, H, W) divided by the root of H * W. mean: a, the running mean of the lengths.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=path_length,
    constants=("noise",),
    cases=(
        Case("three samples", cases.walked(3, 5, 4, 4, 0.5)),
        Case("images wider than high", cases.walked(4, 4, 2, 8, 1.5)),
        Case("a sample alone, no mean yet", cases.walked(1, 6, 3, 5, 0.0)),
    ),
    hints=(
        "J is never built: Jᵀy is the gradient of one number with respect to w. Which number?",
        "The number is the sum of images · y. Its gradient has the shape of w: one row a sample.",
        "torch.autograd.grad(scalar, w, create_graph=True), the norm of every row, minus a, "
        "squared, mean.",
    ),
    difficulty="hard",
    alternatives=(right.path_by_rows, right.path_by_each),
    properties=right.PATH,
    mistakes=(
        Mistake(
            "no graph",
            wrong.path_with(graph=False),
            "The number is right, but the generator learns nothing from it.",
            "create_graph=True is missing in torch.autograd.grad.",
        ),
        Mistake(
            "w detached",
            wrong.path_w_detached,
            "The number is right, but the mapping network learns nothing from it.",
            "w was detached: it requires its gradient already, use it as it is.",
        ),
        Mistake(
            "not divided",
            wrong.path_with(scaled=False),
            "Your lengths grow with the picture.",
            "y is noise / √(H·W).",
        ),
        Mistake(
            "divided by the pixels",
            wrong.path_with(by_pixels=True),
            "Your lengths shrink as the picture grows.",
            "H·W without its root.",
        ),
        Mistake(
            "length squared",
            wrong.path_with(root=False),
            "You compare squared lengths with a length.",
            "the root of the sum of squares is missing.",
        ),
        Mistake(
            "no goal",
            wrong.path_with(goal=False),
            "The shortest path is the best one: a picture that never changes.",
            "a is not subtracted.",
        ),
        Mistake(
            "not squared",
            wrong.path_with(squared=False),
            "Far too long costs hardly more than a little too long.",
            "the absolute value where the square belongs.",
        ),
        Mistake(
            "no noise",
            wrong.path_with(noise_used=False),
            "You follow the sum of all pixels, one direction out of thousands.",
            "the images are not multiplied with y.",
        ),
        Mistake(
            "one length for all",
            wrong.path_with(one_length=True),
            "All samples share one length.",
            "a norm without dim: it has to be one number a sample.",
        ),
        Mistake(
            "mean of squares",
            wrong.path_with(mean_square=True),
            "Your lengths are too small by the root of the number of dimensions of w.",
            "a mean over w's numbers where the norm has a sum.",
        ),
        Mistake(
            "sum over the samples",
            wrong.path_with(summed=True),
            "Too large by the number of samples.",
            "the expectation is a mean over the batch.",
        ),
    ),
)

REGULARISERS = (_R1, _PATH)
