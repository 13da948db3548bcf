"""Topic 11: right answers written differently, and what holds for every right answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises.cyclegan_cases import Map
from coursekit.exercises.declarations import Property

Losses = dict[str, Tensor]


def close(first: Tensor | float, second: Tensor | float) -> bool:
    """Whether two results agree to four digits."""
    one, other = (torch.as_tensor(x).double() for x in (first, second))
    return torch.allclose(one, other, 1e-3, 1e-6)


def _same(images: Tensor) -> Tensor:
    return images


# --- Least squares -------------------------------------------------------------------------------


def lsgan_by_mse(real_scores: Tensor, fake_scores: Tensor) -> Losses:
    ones, zeros = torch.ones_like, torch.zeros_like
    d_loss = F.mse_loss(real_scores, ones(real_scores)) + F.mse_loss(
        fake_scores, zeros(fake_scores)
    )
    return {"d_loss": d_loss / 2, "g_loss": F.mse_loss(fake_scores, ones(fake_scores))}


def lsgan_expanded(real_scores: Tensor, fake_scores: Tensor) -> Losses:
    square = fake_scores.pow(2).mean()
    real = real_scores.pow(2).mean() - 2 * real_scores.mean() + 1
    return {"d_loss": 0.5 * real + 0.5 * square, "g_loss": square - 2 * fake_scores.mean() + 1}


LSGAN = (
    Property(
        "best scores",
        lambda answer, real, fake: close(
            answer(torch.ones_like(real), torch.zeros_like(fake))["d_loss"], 0.0
        ),
        "A discriminator that gives real pictures 1 and made ones 0 has nothing to learn: loss 0.",
    ),
    Property(
        "a batch twice",
        lambda answer, real, fake: all(
            close(answer(torch.cat([real, real]), torch.cat([fake, fake]))[name], loss)
            for name, loss in answer(real, fake).items()
        ),
        "The same scores twice change your loss; it is an expectation, not a sum.",
    ),
)

# --- The cycle and the identity ------------------------------------------------------------------


def cycle_by_l1(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    return F.l1_loss(to_x(to_y(x)), x) + F.l1_loss(to_y(to_x(y)), y)


def cycle_in_a_loop(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    total = x.new_zeros(())
    for first, second, images in ((to_y, to_x, x), (to_x, to_y, y)):
        total = total + torch.abs(images - second(first(images))).sum() / images.numel()
    return total


CYCLE = (
    Property(
        "perfect cycle",
        lambda answer, to_y, to_x, x, y: close(answer(_same, _same, x, y), 0.0),
        "Two generators that change nothing come back perfectly; your loss is not 0.",
    ),
    Property(
        "heaps exchanged",
        lambda answer, to_y, to_x, x, y: close(answer(to_x, to_y, y, x), answer(to_y, to_x, x, y)),
        "Which heap is called X must not matter; your two directions weigh differently.",
    ),
)


def identity_by_l1(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    return F.l1_loss(to_y(y), y) + F.l1_loss(to_x(x), x)


def identity_in_a_loop(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    costs = [(generate(own) - own).abs().mean() for generate, own in ((to_x, x), (to_y, y))]
    return torch.stack(costs).sum()


IDENTITY = (
    Property(
        "nothing to do",
        lambda answer, to_y, to_x, x, y: close(answer(_same, _same, x, y), 0.0),
        "Two generators that change nothing must cost nothing here.",
    ),
    Property(
        "heaps exchanged",
        lambda answer, to_y, to_x, x, y: close(answer(to_x, to_y, y, x), answer(to_y, to_x, x, y)),
        "Which heap is called X must not matter; your two terms weigh differently.",
    ),
)

# --- The pool ------------------------------------------------------------------------------------


def pool_with_a_list(
    kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor
) -> Losses:
    held, shown = list(kept), []
    for image, coin, place in zip(images, coins.tolist(), places.tolist(), strict=True):
        full = len(held) == size
        if full and coin >= 0.5:
            image, held[place] = held[place], image
        elif not full:
            held.append(image)
        shown.append(image)
    return {"shown": torch.stack(shown), "kept": torch.stack(held)}


def pool_by_index(kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor) -> Losses:
    """Which picture lies where, as numbers into all pictures there are."""
    everything, room = torch.cat([kept, images]), size - len(kept)
    held, shown = list(range(len(kept))), []
    for number in range(len(images)):
        new = len(kept) + number
        if number < room:
            held.append(new)
            shown.append(new)
        elif coins[number] < 0.5:
            shown.append(new)
        else:
            shown.append(held[places[number]])
            held[places[number]] = new
    return {"shown": everything[shown], "kept": everything[held]}


POOL = (
    Property(
        "nothing invented, nothing lost twice",
        lambda answer, kept, images, size, coins, places: all(
            any(torch.equal(image, one) for one in torch.cat([kept, images]))
            for image in answer(kept, images, size, coins, places)["shown"]
        ),
        "You show pictures that are neither new nor kept.",
    ),
)

# --- The decay -----------------------------------------------------------------------------------


def decay_by_branches(step: int, steps: int, constant: float) -> float:
    left, falling = steps - step + 1, (1 - constant) * steps
    if left >= falling:
        return 1.0
    return left / falling


def decay_by_clamp(step: int, steps: int, constant: float) -> float:
    begun = max((step - 1) / steps - constant, 0)
    return 1 - begun / (1 - constant)


DECAY = (
    Property(
        "never up",
        lambda answer, step, steps, constant: all(
            answer(k + 1, steps, constant) <= answer(k, steps, constant) + 1e-9
            for k in range(1, steps)
        ),
        "Your share grows somewhere.",
    ),
    Property(
        "first and last",
        lambda answer, step, steps, constant: (
            close(answer(1, steps, constant), 1.0) and answer(steps, steps, constant) > 0
        ),
        "The first step is to have the full rate, and the last one a little of it.",
    ),
)

# --- The whole objective -------------------------------------------------------------------------


def objective_by_mse(
    to_y: Map,
    to_x: Map,
    judge_x: Map,
    judge_y: Map,
    x: Tensor,
    y: Tensor,
    cycle: float,
    identity: float,
) -> Tensor:
    total = x.new_zeros(())
    for first, second, judge, mine, theirs in (
        (to_y, to_x, judge_y, x, y),
        (to_x, to_y, judge_x, y, x),
    ):
        made = first(mine)
        scores = judge(made)
        total = total + F.mse_loss(scores, torch.ones_like(scores))
        total = total + cycle * F.l1_loss(second(made), mine)
        total = total + identity * F.l1_loss(first(theirs), theirs)
    return total


def objective_in_parts(
    to_y: Map,
    to_x: Map,
    judge_x: Map,
    judge_y: Map,
    x: Tensor,
    y: Tensor,
    cycle: float,
    identity: float,
) -> Tensor:
    fooled = (1 - judge_y(to_y(x))).pow(2).mean() + (1 - judge_x(to_x(y))).pow(2).mean()
    return (
        fooled + cycle * cycle_by_l1(to_y, to_x, x, y) + identity * identity_by_l1(to_y, to_x, x, y)
    )


def _no_terms(answer: Callable[..., Tensor], *game: Any) -> bool:
    to_y, to_x, judge_x, judge_y, x, y = game[:6]
    fooled = (judge_y(to_y(x)) - 1).square().mean() + (judge_x(to_x(y)) - 1).square().mean()
    return close(answer(*game[:6], 0.0, 0.0), fooled)


OBJECTIVE = (
    Property(
        "weights of 0",
        _no_terms,
        "With both weights 0 only the two adversarial terms should be left.",
    ),
)
