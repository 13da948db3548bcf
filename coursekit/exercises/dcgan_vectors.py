"""Exercises of topic 07 about z: arithmetic on averages, and a walk along the sphere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit import dcgan_latent
from coursekit.core.runtime import generator
from coursekit.exercises import dcgan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake


def _numbers(*shape: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return scale * torch.randn(*shape, generator=generator(seed)) + shift


def _groups(*counts: int, size: int) -> Callable[[], tuple[Tensor, ...]]:
    """z of three groups, in each of which another direction is frequent."""
    return lambda: tuple(_numbers(n, size, seed=i, shift=0.4 * i) for i, n in enumerate(counts))


def _short_ends() -> tuple[Tensor, Tensor, float]:
    """Vectors shorter than 1 and of different length: their dot product is no cosine."""
    return torch.tensor([0.3, -0.4, 0.2, 0.1]), torch.tensor([0.1, 0.6, 0.5, -0.2]), 0.3


def _walk_of_four() -> tuple[Tensor, Tensor, Tensor]:
    shares = torch.tensor([0.0, 0.2, 0.5, 1.0])[:, None]
    return _numbers(7, seed=4), _numbers(7, seed=5, scale=2), shares


def _same_direction() -> tuple[Tensor, Tensor, float]:
    start = torch.tensor([0.0, 2.0, 0.0])
    return start, 1.5 * start, 0.5


def _one_of_three_parallel() -> tuple[Tensor, Tensor, float]:
    start, end = _numbers(3, 4, seed=6), _numbers(3, 4, seed=7)
    start[1] = torch.tensor([0.0, 2.0, 0.0, 0.0])
    end[1] = 1.5 * start[1]
    return start, end, 0.4


ARITHMETIC = Exercise(
    id="dcgan.arithmetic",
    title="Arithmetic with faces",
    points=1,
    stub='''
def arithmetic(plus, minus, target):
    """mean(plus) - mean(minus) + mean(target), one vector (latent,).

    Each is (n, latent): z of n faces. plus have the attribute, minus do not, target are to get
    it. The three groups may differ in n.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dcgan_latent.arithmetic,
    gradient=False,
    cases=(
        Case("three faces each, 3 numbers a face", _groups(3, 3, 3, size=3)),
        Case("three faces each, 8 numbers a face", _groups(3, 3, 3, size=8)),
        Case("4, 2 and 3 faces", _groups(4, 2, 3, size=6)),
    ),
    hints=(
        "Single z are noisy; the mean face of a group is not.",
        "A group is (n, latent). The mean runs over the faces and leaves (latent,).",
        "mean(0) of each group, then two signs.",
    ),
    difficulty="easy",
    mistakes=(
        Mistake(
            "sum",
            wrong.over(lambda z: z.sum(0)),
            "The vector is far longer than those the generator was trained on.",
            "the faces of a group are summed, not averaged.",
        ),
        Mistake(
            "sign",
            wrong.signed(-1, 1, 1),
            "The attribute is taken away.",
            "plus and minus are exchanged.",
        ),
        Mistake(
            "target missing",
            wrong.signed(1, -1, 0),
            "The result is a direction, not a face.",
            "the mean of the faces that are to get the attribute is not added.",
        ),
        Mistake(
            "nothing subtracted",
            wrong.signed(1, 1, 1),
            "The result is a mixture of all three groups.",
            "the mean of minus is added.",
        ),
        Mistake(
            "divided by three",
            wrong.signed(1 / 3, -1 / 3, 1 / 3),
            "The result is close to the mean of all faces.",
            "the sum of the three means is averaged once more.",
        ),
        Mistake(
            "mean over the wrong axis",
            wrong.over(lambda z: z.mean(1)),
            "There is one number a face where there should be one a dimension of z.",
            "mean(1) runs over the dimensions; mean(0) runs over the faces.",
        ),
        Mistake(
            "mean over everything",
            wrong.over(lambda z: z.mean()),
            "The result is one number.",
            "mean() without an axis runs over the dimensions of z too.",
        ),
        Mistake(
            "first face only",
            wrong.over(lambda z: z[0]),
            "The result depends on which face comes first.",
            "one face of each group is used instead of their mean.",
        ),
        Mistake(
            "scaled to length 1",
            wrong.unit_sum,
            "The vector is far shorter than those the generator was trained on.",
            "the result was normalised; the length of z carries meaning too.",
        ),
    ),
)

SLERP = Exercise(
    id="dcgan.slerp",
    title="A walk along the sphere",
    points=3,
    stub='''
def slerp(start, end, share):
    """sin((1 - t)w)/sin(w) start + sin(t w)/sin(w) end, with w the angle between the two.

    start and end are (latent,) or (N, latent); t = share is a number in [0, 1], or a column
    (T, 1) of them, which gives (T, latent). Each pair has its own angle. Vectors that point the
    same way are allowed: they give the point on the straight line.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dcgan_latent.slerp,
    cases=(
        Case("two short vectors", _short_ends),
        Case("three pairs", lambda: (_numbers(3, 5, seed=1), _numbers(3, 5, seed=2), 0.75)),
        Case("one pair, four shares", _walk_of_four),
        Case("the same direction, another length", _same_direction),
        Case("three pairs, one of them with the same direction", _one_of_three_parallel),
    ),
    hints=(
        "The angle comes from the directions, the result from the vectors as they are.",
        "The cosine is the dot product of the two unit vectors, over the last axis with "
        "keepdim=True; acos gives the angle.",
        "Where the angle is 0, both sines are 0 as well. Keep the cosine a little away from ±1 "
        "with clamp before you take acos.",
    ),
    difficulty="hard",
    mistakes=(
        Mistake(
            "straight line",
            wrong.straight,
            "Halfway, the vectors are too short.",
            "the ends are mixed in a straight line, which passes close to the origin.",
        ),
        Mistake(
            "ends exchanged",
            wrong.swapped_ends,
            "The walk goes backwards.",
            "share = 0 must give start, and 1 must give end.",
        ),
        Mistake(
            "degrees",
            wrong.in_degrees,
            "The path jumps about.",
            "the angle is in degrees; sin takes radians.",
        ),
        Mistake(
            "dot product taken for the cosine",
            wrong.raw_angle,
            "The angle depends on how long the vectors are.",
            "they were not scaled to length 1 before the dot product.",
        ),
        Mistake(
            "length lost",
            wrong.unit_ends,
            "All results have length 1.",
            "the unit vectors are mixed; they are for the angle only.",
        ),
        Mistake(
            "not divided",
            wrong.undivided,
            "The walk does not begin at start.",
            "the division by the sine of the whole angle is missing.",
        ),
        Mistake(
            "one angle for the batch",
            wrong.one_angle,
            "A pair's result depends on the other pairs.",
            "the dot product and the lengths run over the whole batch; each row has its own.",
        ),
        Mistake(
            "no guard",
            wrong.unguarded,
            "Two vectors that point the same way give NaN.",
            "their angle is 0 and 0/0 follows; keep the cosine away from ±1.",
        ),
        Mistake(
            "straight line for the whole batch",
            wrong.line_if(torch.any),
            "One pair that points the same way puts all the others on a straight line.",
            "any() decides for the whole batch; each pair has its own angle (torch.where).",
        ),
        Mistake(
            "guard for the whole batch",
            wrong.line_if(torch.all),
            "A pair that points the same way gives NaN when other pairs do not.",
            "all() decides for the whole batch; each pair has its own angle (torch.where).",
        ),
    ),
    gradient=False,
)
