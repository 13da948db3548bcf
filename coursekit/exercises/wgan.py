"""Exercises of topic 08: a distance, two losses, and three ways to look at a critic's slope."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit import wgan
from coursekit.exercises import wgan_cases as cases
from coursekit.exercises import wgan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def clip_weights(critic: nn.Module, limit: float) -> None:
    """Every parameter back into [−limit, limit], in place (Arjovsky et al. 2017, alg. 1)."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-limit, limit)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
) -> Tensor:
    """The mean of (‖∇D(x̂)‖ − 1)² with given ε (Gulrajani et al. 2017, eq. 3)."""
    share = epsilon.reshape(-1, *[1] * (real.dim() - 1))
    points = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


EXERCISES = (
    Exercise(
        id="wgan.wasserstein_1d",
        title="The Wasserstein distance of two heaps of numbers",
        points=1,
        stub='''
def wasserstein_1d(first, second):
    """How far a grain has to move on average so that one sample (N,) becomes the other (N,)."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=wgan.wasserstein_1d,
        cases=(
            Case("two samples", cases.two(9)),
            Case("far apart", cases.two(6, shift=5.0)),
            Case("same mean", lambda: (cases.numbers(8, seed=2), -cases.numbers(8, seed=2))),
        ),
        hints=(
            "On a line the cheapest plan never lets two grains cross.",
            "Which grain of the second heap does the leftmost grain of the first one become?",
            "Sort both. The distances of the pairs are then what has to be averaged.",
        ),
        difficulty="easy",
        mistakes=(
            Mistake(
                "not sorted",
                lambda a, b: (a - b).abs().mean(),
                "Your plan moves grains across each other, so it is too dear.",
                "the samples are paired in the order in which they came.",
            ),
            Mistake(
                "one sorted",
                lambda a, b: (a.sort().values - b).abs().mean(),
                "Only one heap is in order.",
                "`second` is not sorted.",
            ),
            Mistake(
                "difference of means",
                lambda a, b: (a.mean() - b.mean()).abs(),
                "Two heaps of different width with the same middle have distance 0.",
                "the absolute value is taken after the mean, or means are compared.",
            ),
            Mistake(
                "squared",
                lambda a, b: (a.sort().values - b.sort().values).square().mean(),
                "Long ways count too much.",
                "squared distances: W₁ averages the plain ones.",
            ),
            Mistake(
                "W₂",
                lambda a, b: (a.sort().values - b.sort().values).square().mean().sqrt(),
                "This is W₂, the root of the mean square.",
                "W₁ has no square and no root.",
            ),
            Mistake(
                "summed",
                lambda a, b: (a.sort().values - b.sort().values).abs().sum(),
                "Your value grows with the number of grains.",
                "a sum where each grain weighs 1/N.",
            ),
        ),
    ),
    Exercise(
        id="wgan.critic_loss",
        title="The critic's loss",
        points=1,
        stub='''
def critic_loss(real_scores, fake_scores):
    """What the critic minimises, so that real images get high scores and generated ones low."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=wgan.critic_loss,
        cases=(
            Case("real above fake", cases.two(8, shift=-0.7)),
            Case("fake above real", cases.two(8)),
            Case(
                "another number of fakes",
                lambda: (cases.numbers(5, seed=0), cases.numbers(7, seed=1)),
            ),
        ),
        hints=(
            "There is no logarithm and no sigmoid in it.",
            "The critic makes E[D(x)] − E[D(G(z))] as large as it can. What does it minimise then?",
            "Two means and one minus sign; see which of the two must go down.",
        ),
        difficulty="easy",
        mistakes=(
            Mistake(
                "absolute",
                lambda real, fake: -(real.mean() - fake.mean()).abs(),
                "The critic may also win with the signs turned round.",
                "an absolute value: the generator goes up, so up must mean real.",
            ),
            Mistake(
                "sign",
                lambda real, fake: real.mean() - fake.mean(),
                "The critic would learn to score generated images higher.",
                "this is what the critic maximises; an optimiser minimises.",
            ),
            Mistake(
                "sigmoid",
                lambda real, fake: fake.sigmoid().mean() - real.sigmoid().mean(),
                "Your scores are squeezed into (0, 1).",
                "a sigmoid. A critic gives any number; that is what makes its loss a distance.",
            ),
            Mistake(
                "logarithms",
                lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
                "This is the discriminator's loss of notebook 07.",
                "the logarithms of the GAN loss are still there.",
            ),
            Mistake(
                "summed",
                lambda real, fake: fake.sum() - real.sum(),
                "Your value grows with the batch.",
                "sums where expectations are means.",
            ),
            Mistake(
                "added",
                lambda real, fake: fake.mean() + real.mean(),
                "Both kinds of images are pushed down.",
                "a plus where the formula has a minus.",
            ),
        ),
    ),
    Exercise(
        id="wgan.generator_loss",
        title="The generator's loss",
        points=1,
        stub='''
def generator_loss(fake_scores):
    """What the generator minimises, given the critic's scores (N,) of its images."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=wgan.generator_loss,
        cases=(
            Case("a batch", lambda: (cases.numbers(8, seed=1),)),
            Case("large scores", lambda: (cases.numbers(5, seed=3, shift=30.0),)),
        ),
        hints=(
            "Which way do the scores of its images have to go?",
            "E[D(x)] does not depend on the generator: what is left of the distance?",
            "Minus a mean.",
        ),
        difficulty="easy",
        mistakes=(
            Mistake(
                "sign",
                lambda fake: fake.mean(),
                "The generator would make its own images worse.",
                "the minus sign is missing.",
            ),
            Mistake(
                "logarithm",
                lambda fake: F.softplus(-fake).mean(),
                "This is the non-saturating loss of notebook 07.",
                "the logarithm of the GAN loss is still there.",
            ),
            Mistake(
                "sigmoid",
                lambda fake: -fake.sigmoid().mean(),
                "Your gradient vanishes for large scores.",
                "a sigmoid; a critic's scores are no logits.",
            ),
            Mistake(
                "summed",
                lambda fake: -fake.sum(),
                "Your value grows with the batch.",
                "a sum where an expectation is a mean.",
            ),
            Mistake(
                "detached",
                lambda fake: -fake.detach().mean(),
                "The value is right, but nothing flows back to the generator.",
                "a .detach(): that belongs into the critic's step.",
            ),
        ),
    ),
    Exercise(
        id="wgan.clip_weights",
        title="Clipping the weights",
        points=1,
        stub='''
def clip_weights(critic, limit):
    """Put every parameter of the critic back into [-limit, limit], in place."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=clip_weights,
        gradient=False,
        measure=cases.clipping_facts,
        cases=(
            Case("c = 0.3", cases.module(0.3)),
            Case("c = 0.01", cases.module(0.01)),
        ),
        hints=(
            "critic.parameters() gives every tensor that an optimiser changes, biases too.",
            "A parameter is a leaf of the graph: in-place changes need torch.no_grad().",
            "clamp returns a new tensor; the method with an underscore changes the old one.",
        ),
        mistakes=(
            Mistake(
                "weights only",
                wrong.clipped(lambda name, p, c: p if "bias" in name else p.clamp(-c, c)),
                "The biases are not clipped.",
                "a loop over the weights of the layers, not over critic.parameters().",
            ),
            Mistake(
                "not in place",
                wrong.clipped(lambda name, p, c: p),
                "The weights are what they were.",
                "`p.clamp(…)` makes a new tensor, and so does `p = …`; or gradients were clipped.",
            ),
            Mistake(
                "above only",
                wrong.clipped(lambda name, p, c: p.clamp(max=c)),
                "Weights below −c stay.",
                "only the upper limit is given.",
            ),
            Mistake(
                "from 0",
                wrong.clipped(lambda name, p, c: p.clamp(0, c)),
                "There are no negative weights left.",
                "the interval is [0, c], not [−c, c].",
            ),
            Mistake(
                "sign",
                wrong.clipped(lambda name, p, c: c * p.sign()),
                "Every weight is ±c, small ones too.",
                "the sign times c: weights inside the interval stay as they are.",
            ),
            Mistake(
                "scaled",
                wrong.clipped(lambda name, p, c: p * min(1.0, c / float(p.norm()))),
                "All weights of a layer have shrunk by one factor.",
                "the norm of a tensor is clipped, not its elements.",
            ),
            Mistake(
                "linear layers only",
                wrong.linear_layers_only,
                "Only the linear layers are clipped.",
                "a critic has convolutions and normalisations too: critic.parameters() has all.",
            ),
            Mistake(
                "new parameters",
                wrong.parameters_replaced,
                "The critic has new parameters, and the optimiser goes on with the old ones.",
                "an nn.Parameter was put in the place of another; change the numbers in it.",
            ),
            Mistake(
                "frozen",
                wrong.frozen,
                "The weights are right, but the critic learns nothing more.",
                "requires_grad was set to False; torch.no_grad() is enough, and ends by itself.",
            ),
        ),
    ),
    Exercise(
        id="wgan.lipschitz_quotients",
        title="How steep is the critic?",
        points=2,
        stub='''
def lipschitz_quotients(critic, first, second):
    """|D(x) - D(y)| / |x - y| for each of N pairs of images (N, ...): (N,)."""
    raise NotImplementedError("your turn")
'''.strip(),
        reference=wgan.lipschitz_quotients,
        gradient=False,
        cases=(
            Case("pairs of pictures", cases.quotient_inputs(4, 2, 3, 4)),
            Case("pairs of points", cases.quotient_inputs(6, 2)),
        ),
        hints=(
            "A picture is one vector here, of C·H·W numbers; its length is Euclid's.",
            "The quotient is one number a pair: which dimensions does the norm run over?",
            "flatten(1), then norm(dim=1); the difference of scores needs its absolute value.",
        ),
        mistakes=(
            Mistake(
                "no absolute value",
                lambda d, x, y: (d(x) - d(y)) / (x - y).flatten(1).norm(dim=1),
                "Some quotients are negative.",
                "the absolute value of the scores' difference is missing.",
            ),
            Mistake(
                "norm of the batch",
                lambda d, x, y: (d(x) - d(y)).abs() / (x - y).norm(),
                "All pairs are divided by the same number.",
                "one norm over the whole batch.",
            ),
            Mistake(
                "squared norm",
                lambda d, x, y: (d(x) - d(y)).abs() / (x - y).flatten(1).square().sum(dim=1),
                "Your quotient halves when both pictures are moved apart.",
                "the square of the distance: the root is missing.",
            ),
            Mistake(
                "mean over elements",
                lambda d, x, y: (
                    (d(x) - d(y)).abs() / (x - y).flatten(1).square().mean(dim=1).sqrt()
                ),
                "Larger by the root of the number of pixels.",
                "a mean over the pixels where the norm has a sum.",
            ),
            Mistake(
                "city blocks",
                lambda d, x, y: (d(x) - d(y)).abs() / (x - y).flatten(1).abs().sum(dim=1),
                "The distance is not Euclid's.",
                "a sum of absolute values.",
            ),
            Mistake(
                "upside down",
                lambda d, x, y: (x - y).flatten(1).norm(dim=1) / (d(x) - d(y)).abs(),
                "A flat critic would have an infinite quotient.",
                "numerator and denominator are swapped.",
            ),
        ),
    ),
    Exercise(
        id="wgan.gradient_penalty",
        title="The gradient penalty",
        points=3,
        stub='''
def gradient_penalty(critic, real, fake, epsilon):
    """The mean of (|gradient| - 1)^2, with one gradient for each of N points between the pairs.

    critic: images (N, ...) -> scores (N,); real, fake: (N, ...); epsilon: (N,), 1 means real.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=gradient_penalty,
        cases=(
            # In all of them some slopes are above 1 and some below.
            Case(
                "a batch as large as the pictures are wide",
                cases.penalty_inputs(4, 2, 3, 4, scale=0.5, shift=0.0),
            ),
            Case("three pictures", cases.penalty_inputs(3, 1, 5, 4, scale=0.45)),
            Case("points in the plane", cases.penalty_inputs(5, 2)),
        ),
        hints=(
            "Three parts: the points in between, the critic's gradient there, the penalty.",
            "torch.autograd.grad(scores.sum(), points, …) gives all N gradients at once. What must "
            "it be told, so that the penalty can be differentiated in its turn?",
            "epsilon needs the shape (N, 1, …, 1). The gradient of one point is flattened before "
            "its norm is taken: N norms, N penalties, their mean.",
        ),
        difficulty="hard",
        mistakes=(
            Mistake(
                "along the width",
                wrong.along_the_width,
                "ε goes along the pictures' width.",
                "epsilon (N,) was multiplied with (N, C, H, W) as it is, and N fits W.",
            ),
            Mistake(
                "one ε",
                wrong.one_epsilon,
                "All points lie at the same share of their way.",
                "one ε for the whole batch.",
            ),
            Mistake(
                "turned round",
                lambda critic, real, fake, epsilon: gradient_penalty(critic, fake, real, epsilon),
                "Your ε counts from the other end.",
                "ε belongs to the real image, 1 − ε to the generated one.",
            ),
            Mistake(
                "norm of the batch",
                wrong.batch_norm_of_gradient,
                "One norm was taken over all N gradients together.",
                "a norm without dim: it has to be one number a point.",
            ),
            Mistake(
                "no graph",
                wrong.no_graph,
                "The number is right, but the critic learns nothing from it.",
                "create_graph=True is missing in torch.autograd.grad.",
            ),
            Mistake(
                "on real images",
                wrong.on_real,
                "The slope is taken at the real images.",
                "the points in between are not used.",
            ),
            Mistake(
                "on fake images",
                wrong.on_fake,
                "The slope is taken at the generated images.",
                "the points in between are not used.",
            ),
            Mistake(
                "root forgotten",
                wrong.squared_norm,
                "Steep places cost far too much.",
                "(‖∇‖² − 1)²: the root of the norm is missing.",
            ),
            Mistake(
                "not squared",
                wrong.unsquared,
                "Slopes above and below 1 cancel each other.",
                "the square around (‖∇‖ − 1) is missing.",
            ),
            Mistake(
                "absolute",
                wrong.absolute,
                "Slopes far from 1 cost too little, slopes near 1 too much.",
                "the absolute value of (‖∇‖ − 1) where its square belongs.",
            ),
            Mistake(
                "mean over elements",
                wrong.mean_over_elements,
                "Your norm is too small by the root of the number of pixels.",
                "a mean over the elements where a norm has a sum.",
            ),
            Mistake(
                "per pixel",
                wrong.norm_per_channel,
                "You have a norm for each pixel, not for each picture.",
                "norm(dim=1) on (N, C, H, W): flatten(1) comes first.",
            ),
            Mistake(
                "mean of the scores",
                wrong.mean_of_scores,
                "Your slopes are N times too flat.",
                "the gradient of scores.mean(); each image needs the gradient of its own score.",
            ),
            Mistake(
                "one-sided",
                wrong.one_sided,
                "Slopes below 1 cost nothing.",
                "a clamp at 0. (That is a known variant, but not equation 3.)",
            ),
            Mistake(
                "towards 0",
                wrong.zero_centred,
                "The slope is pulled to 0.",
                "the −1 is missing: that would be R1.",
            ),
        ),
    ),
)
