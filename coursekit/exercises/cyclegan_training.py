"""Exercises of topic 11 about its training: the pool of old fakes, and the rate that falls."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit import cyclegan
from coursekit.exercises import cyclegan_cases as cases
from coursekit.exercises import cyclegan_right as right
from coursekit.exercises import cyclegan_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- References ----------------------------------------------------------------------------------


def pool_exchange(
    kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor
) -> dict[str, Tensor]:
    """What the discriminator is shown, and what the pool of ``size`` pictures holds afterwards."""
    held, shown = [*kept], []
    for image, coin, place in zip(images, coins, places, strict=True):
        if len(held) < size:
            held.append(image)
            shown.append(image)
        elif coin < 0.5:
            shown.append(image)
        else:
            shown.append(held[place])
            held[place] = image
    return {"shown": torch.stack(shown), "kept": torch.stack(held)}


TRAINING = (
    Exercise(
        id="cyclegan.pool_exchange",
        title="The pool of old fakes",
        points=3,
        stub='''
def pool_exchange(kept, images, size, coins, places):
    """{"shown": what D sees (N, C, H, W), "kept": the pool after}, picture by picture.

    While the pool holds fewer than `size` pictures, a new one is kept and shown. Once it is full,
    coins[i] < 0.5 shows images[i] as it is; otherwise the picture at places[i] is shown and
    images[i] takes its place. kept (M, C, H, W), M <= size and size >= 1; coins (N,) in [0, 1);
    places (N,) whole numbers below size. Inputs stay as they are.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=pool_exchange,
        cases=(
            Case("a full pool", cases.pool(4, 6, 4, seed=0)),
            Case("a pool that fills up on the way", cases.pool(2, 7, 4, seed=1)),
            Case("an empty pool, not filled", cases.pool(0, 3, 5, seed=2)),
            Case("the same place twice", cases.repeated_place(3)),
        ),
        hints=(
            "Three situations for each picture: not full; full and kept out; full and exchanged.",
            "The pool changes with every picture, so that the next one meets another pool.",
            "A list of pictures, a loop with zip over three tensors, and torch.stack at the end.",
        ),
        alternatives=(right.pool_with_a_list, right.pool_by_index),
        properties=right.POOL,
        gradient=False,
        mistakes=(
            Mistake(
                "always an old one",
                wrong.ALWAYS_OLD,
                "A full pool never lets a new picture through.",
                "the coin is not looked at: half of the new pictures are shown at once.",
            ),
            Mistake(
                "coin turned",
                wrong.COIN_TURNED,
                "You exchange where the picture is to pass, and the other way round.",
                "the comparison with 0.5 is turned.",
            ),
            Mistake(
                "nothing old is shown",
                wrong.NEVER_EXCHANGED,
                "The pool is renewed, but D never sees an old picture.",
                "the new picture is returned instead of the one whose place it takes.",
            ),
            Mistake(
                "shown without a copy",
                wrong.shown_as_views,
                "What you show changes when its place in the pool is taken.",
                "pool[i] of a tensor is a view, not a copy; clone() it before you write there.",
            ),
            Mistake(
                "passes at exactly 0.5",
                wrong.KEPT_AT_HALF,
                "A coin of exactly 0.5 passes in yours.",
                "<= where the stub says < 0.5.",
            ),
            Mistake(
                "never renewed",
                wrong.NEVER_RENEWED,
                "The pool stays as it was when it became full.",
                "the new picture has to take the place of the one that is shown.",
            ),
            Mistake(
                "never full",
                wrong.never_full,
                "Your pool grows without end.",
                "`size` is not looked at.",
            ),
            Mistake(
                "always the first place",
                wrong.FIRST_PLACE,
                "Only the first kept picture is ever exchanged.",
                "`places` is not looked at.",
            ),
            Mistake(
                "old ones while it fills",
                wrong.OLD_TOO_EARLY,
                "Old pictures are shown before the pool is full.",
                "while it fills, each new picture is shown itself.",
            ),
            Mistake(
                "one coin for all",
                wrong.one_coin,
                "All pictures of the batch share the first coin.",
                "each picture has a coin of its own.",
            ),
        ),
    ),
    Exercise(
        id="cyclegan.linear_decay",
        title="The learning rate falls",
        points=1,
        stub='''
def linear_decay(step, steps, constant):
    """The share of the learning rate at a step, a float: 1 while at least (1 - constant) * steps
    steps are left, this one included; then in proportion to the steps left.

    step counts from 1 to steps; constant in [0, 1) is the part that keeps the full rate.
    """
    raise NotImplementedError("your turn")
'''.strip(),
        reference=cyclegan.linear_decay,
        cases=(
            Case("the first step", lambda: (1, 200, 0.5)),
            Case("the last full one", lambda: (101, 200, 0.5)),
            Case("on the way down", lambda: (150, 200, 0.5)),
            Case("the last step", lambda: (200, 200, 0.5)),
            Case("down from the start", lambda: (4, 10, 0.0)),
            Case("late", lambda: (97, 100, 0.9)),
        ),
        hints=(
            "How many steps are left at step 1, this one included? And at the last step?",
            "Draw it: a flat line, then a straight one. What is its slope?",
            "Divide the steps left by the length of the fall, and cut at 1.",
        ),
        difficulty="easy",
        alternatives=(right.decay_by_branches, right.decay_by_clamp),
        properties=right.DECAY,
        gradient=False,
        mistakes=(
            Mistake(
                "falls from the start",
                wrong.decay_from_the_start,
                "Your share falls from the first step on.",
                "`constant` is not looked at.",
            ),
            Mistake(
                "last step for nothing",
                wrong.decay_to_zero,
                "Your last step has a learning rate of 0.",
                "one step too early: steps count from 1, and this one is still to come.",
            ),
            Mistake(
                "a jump",
                wrong.decay_with_a_jump,
                "Your share jumps where the fall begins.",
                "the steps left are divided by all steps, not by the length of the fall.",
            ),
            Mistake(
                "parts exchanged",
                wrong.decay_after_the_constant,
                "The flat part and the fall have each other's length.",
                "`constant` is the part that is flat.",
            ),
            Mistake(
                "always half",
                wrong.decay_in_half,
                "Your fall always begins in the middle.",
                "0.5 is written where `constant` belongs.",
            ),
            Mistake(
                "not straight",
                wrong.decay_squared,
                "Your way down is a curve.",
                "the share is squared; the decay is linear.",
            ),
        ),
    ),
)
