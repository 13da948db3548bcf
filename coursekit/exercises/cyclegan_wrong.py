"""Wrong implementations that people write in topic 11, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises.cyclegan_cases import Map
from coursekit.exercises.cyclegan_right import Losses, decay_by_branches

Distance = Callable[[Tensor, Tensor], Tensor]
OfHeaps = Callable[[Map, Map, Tensor, Tensor], Tensor]


def mean_l1(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs().mean()


def mean_l2(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).square().mean()


def summed_l1(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs().sum()


# --- Least squares -------------------------------------------------------------------------------


def lsgan_with(
    *,
    real_target: float = 1.0,
    fake_target: float = 0.0,
    wanted: float = 1.0,
    half_d: float = 0.5,
    half_g: float = 1.0,
    before: Callable[[Tensor], Tensor] = lambda scores: scores,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Callable[[Tensor, Tensor], Losses]:
    """The two losses with one thing wrong."""

    def wrong(real_scores: Tensor, fake_scores: Tensor) -> Losses:
        real, fake = before(real_scores), before(fake_scores)
        d_loss = mean((real - real_target).square()) + mean((fake - fake_target).square())
        return {"d_loss": half_d * d_loss, "g_loss": half_g * mean((fake - wanted).square())}

    return wrong


NO_HALF = lsgan_with(half_d=1.0)
TARGETS_SWAPPED = lsgan_with(real_target=0.0, fake_target=1.0)
G_WANTS_ZERO = lsgan_with(wanted=0.0)
HALF_FOR_G = lsgan_with(half_g=0.5)
SIGMOID_FIRST = lsgan_with(before=torch.sigmoid)
SUMMED_SCORES = lsgan_with(mean=torch.sum)
MINUS_ONE = lsgan_with(fake_target=-1.0)


def cross_entropy(real_scores: Tensor, fake_scores: Tensor) -> Losses:
    d_loss = F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()
    return {"d_loss": d_loss / 2, "g_loss": F.softplus(-fake_scores).mean()}


# --- The cycle -----------------------------------------------------------------------------------


def cycle_with(
    distance: Distance = mean_l1,
    *,
    between: Callable[[Tensor], Tensor] = lambda fake: fake,
    weight_y: float = 1.0,
    half: float = 1.0,
) -> OfHeaps:
    """The cycle loss with one thing wrong."""

    def wrong(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
        first = distance(to_x(between(to_y(x))), x)
        second = distance(to_y(between(to_x(y))), y)
        return half * (first + weight_y * second)

    return wrong


CYCLE_SQUARED = cycle_with(mean_l2)
CYCLE_SUMMED = cycle_with(summed_l1)
CYCLE_DETACHED = cycle_with(between=Tensor.detach)
CYCLE_HALVED = cycle_with(half=0.5)
ONE_DIRECTION = cycle_with(weight_y=0.0)


def against_the_translation(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    fake_y, fake_x = to_y(x), to_x(y)
    return mean_l1(to_x(fake_y), fake_y) + mean_l1(to_y(fake_x), fake_x)


def twice_the_same(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    return mean_l1(to_y(to_y(x)), x) + mean_l1(to_x(to_x(y)), y)


def wrong_order(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    return mean_l1(to_y(to_x(x)), x) + mean_l1(to_x(to_y(y)), y)


# --- The identity --------------------------------------------------------------------------------


def identity_with(
    distance: Distance = mean_l1,
    *,
    weight_x: float = 1.0,
    weight_y: float = 1.0,
    after: Callable[[Tensor], Tensor] = lambda mapped: mapped,
) -> OfHeaps:
    """The identity loss with one thing wrong."""

    def wrong(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
        first, second = distance(after(to_y(y)), y), distance(after(to_x(x)), x)
        return weight_y * first + weight_x * second

    return wrong


IDENTITY_SQUARED = identity_with(mean_l2)
IDENTITY_SUMMED = identity_with(summed_l1)
IDENTITY_HALVED = identity_with(weight_x=0.5, weight_y=0.5)
IDENTITY_OF_Y_ONLY = identity_with(weight_x=0.0)
IDENTITY_DETACHED = identity_with(after=lambda mapped: mapped.detach() + 0 * mapped.sum())


def nothing_translated(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    return mean_l1(to_y(x), x) + mean_l1(to_x(y), y)


def identity_of_the_cycle(to_y: Map, to_x: Map, x: Tensor, y: Tensor) -> Tensor:
    return mean_l1(to_x(to_y(x)), x) + mean_l1(to_y(to_x(y)), y)


# --- The pool ------------------------------------------------------------------------------------


def pool_with(
    *,
    keep: Callable[[float], bool] = lambda coin: coin < 0.5,
    filling: bool = True,
    exchange: bool = True,
    store: bool = True,
    at_place: bool = True,
    old_while_filling: bool = False,
) -> Callable[..., Losses]:
    """A pool with one thing wrong."""

    def wrong(kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor) -> Losses:
        held, shown = list(kept), []
        for image, coin, where in zip(images, coins.tolist(), places.tolist(), strict=True):
            place = where if at_place else 0
            if filling and len(held) < size:
                held.append(image)
                shown.append(held[0] if old_while_filling else image)
            elif not held or keep(coin):
                shown.append(image)
            else:
                place %= len(held)
                shown.append(held[place] if exchange else image)
                held[place] = image if store else held[place]
        return {"shown": torch.stack(shown), "kept": torch.stack(held)}

    return wrong


KEPT_AT_HALF = pool_with(keep=lambda coin: coin <= 0.5)
ALWAYS_OLD = pool_with(keep=lambda coin: False)
COIN_TURNED = pool_with(keep=lambda coin: coin >= 0.5)
NEVER_EXCHANGED = pool_with(exchange=False)
NEVER_RENEWED = pool_with(store=False)
FIRST_PLACE = pool_with(at_place=False)
OLD_TOO_EARLY = pool_with(old_while_filling=True)


def never_full(kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor) -> Losses:
    return {"shown": images.clone(), "kept": torch.cat([kept, images])}


def shown_as_views(
    kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor
) -> Losses:
    held, shown = kept.clone(), []
    for image, coin, place in zip(images, coins.tolist(), places.tolist(), strict=True):
        if len(held) < size:
            held = torch.cat([held, image[None]])
            shown.append(image)
        elif coin < 0.5:
            shown.append(image)
        else:
            shown.append(held[place])  # a view, which the next line changes
            held[place] = image
    return {"shown": torch.stack(shown), "kept": held}


def one_coin(kept: Tensor, images: Tensor, size: int, coins: Tensor, places: Tensor) -> Losses:
    return pool_with()(kept, images, size, coins[:1].expand(len(coins)), places)


# --- The decay -----------------------------------------------------------------------------------


def decay_from_the_start(step: int, steps: int, constant: float) -> float:
    return (steps - step + 1) / steps


def decay_to_zero(step: int, steps: int, constant: float) -> float:
    return decay_by_branches(step + 1, steps, constant)


def decay_with_a_jump(step: int, steps: int, constant: float) -> float:
    left = (steps - step + 1) / steps
    return 1.0 if left >= 1 - constant else left


def decay_after_the_constant(step: int, steps: int, constant: float) -> float:
    return decay_by_branches(step, steps, 1 - constant) if constant else 1.0


def decay_in_half(step: int, steps: int, constant: float) -> float:
    return decay_by_branches(step, steps, 0.5)


def decay_squared(step: int, steps: int, constant: float) -> float:
    return decay_by_branches(step, steps, constant) ** 2


# --- The whole objective -------------------------------------------------------------------------


def objective_with(
    *,
    judges_swapped: bool = False,
    judged_together: bool = False,
    adversarial: float = 1.0,
    wanted: float = 1.0,
    identity_scale: float = 1.0,
    cycle_scale: float = 1.0,
    shown: Callable[[Tensor], Tensor] = lambda fake: fake,
    identity_of: OfHeaps | None = None,
) -> Callable[..., Tensor]:
    """The objective with one thing wrong."""
    same = identity_of or identity_with()

    def wrong(
        to_y: Map,
        to_x: Map,
        judge_x: Map,
        judge_y: Map,
        x: Tensor,
        y: Tensor,
        cycle_weight: float,
        identity_weight: float,
    ) -> Tensor:
        if judges_swapped:
            judge_x, judge_y = judge_y, judge_x
        scores = judge_y(shown(to_y(x))), judge_x(shown(to_x(y)))
        if judged_together:
            scores = (torch.cat([each.flatten() for each in scores]),) * 2
        fooled = sum((each - wanted).square().mean() for each in scores)
        cycle = cycle_scale * cycle_weight * cycle_with()(to_y, to_x, x, y)
        identity = identity_scale * identity_weight * same(to_y, to_x, x, y)
        return adversarial * fooled + cycle + identity

    return wrong


JUDGES_SWAPPED = objective_with(judges_swapped=True)
JUDGED_TOGETHER = objective_with(judged_together=True)
HALF_THE_GAME = objective_with(adversarial=0.5)
WANTED_ZERO = objective_with(wanted=0.0)
IDENTITY_HALF_WEIGHT = objective_with(identity_scale=0.5)
NO_IDENTITY = objective_with(identity_scale=0.0)
CYCLE_TWICE = objective_with(cycle_scale=2.0)
JUDGED_DETACHED = objective_with(shown=Tensor.detach)
IDENTITY_OF_THE_SOURCE = objective_with(identity_of=nothing_translated)
