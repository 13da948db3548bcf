"""Wrong implementations that people write in topic 12, for the catalogue of named mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Map = Callable[[Tensor], Tensor]
Answer = Callable[..., Any]

# --- The equalised learning rate


def equalised(
    scale: Callable[[Tensor, float], float] = lambda w, gain: gain / w[0].numel() ** 0.5,
    *,
    bias_too: bool = False,
    detached: bool = False,
    padded: bool = True,
) -> Answer:
    """A layer in which one thing is wrong."""

    def wrong(x: Tensor, weight: Tensor, bias: Tensor, gain: float = 2**0.5) -> Tensor:
        factor = scale(weight, gain)
        used = (weight.detach() if detached else weight) * factor
        bias = bias * factor if bias_too else bias
        return F.conv2d(x, used, bias, padding=weight.shape[-1] // 2 if padded else 0)

    return wrong


UNSCALED = equalised(lambda w, gain: 1.0)
NO_GAIN = equalised(lambda w, gain: w[0].numel() ** -0.5)
DEFAULT_GAIN = equalised(lambda w, gain: (2 / w[0].numel()) ** 0.5)
NO_ROOT = equalised(lambda w, gain: gain / w[0].numel())
CHANNELS_ONLY = equalised(lambda w, gain: gain / w.shape[1] ** 0.5)
FAN_OUT = equalised(lambda w, gain: gain / (w.shape[0] * w.shape[2] ** 2) ** 0.5)
MULTIPLIED = equalised(lambda w, gain: gain * w[0].numel() ** 0.5)
BIAS_TOO = equalised(bias_too=True)
NOT_PADDED = equalised(padded=False)
WEIGHT_DETACHED = equalised(detached=True)
KERNEL_SIDE = equalised(lambda w, gain: gain / (w.shape[1] * w.shape[2]) ** 0.5)


# --- Pixel norm


def pixel_norm_with(square: Callable[[Tensor], Tensor]) -> Answer:
    """x / √(square + ε), with another ``square``."""

    def wrong(x: Tensor, epsilon: float = 1e-8) -> Tensor:
        return x / (square(x) + epsilon).sqrt()

    return wrong


def _mean_square(*dims: int) -> Callable[[Tensor], Tensor]:
    def square(x: Tensor) -> Tensor:
        there = [dim for dim in dims if dim < x.dim()]
        return x.square().mean(dim=there, keepdim=True) if there else x.square()

    return square


UNIT_LENGTH = pixel_norm_with(lambda x: x.square().sum(dim=1, keepdim=True))
INSTANCE = pixel_norm_with(_mean_square(2, 3))
WHOLE_IMAGE = pixel_norm_with(_mean_square(1, 2, 3))
OVER_BATCH = pixel_norm_with(_mean_square(0))
LAST_AXIS = pixel_norm_with(lambda x: x.square().mean(dim=-1, keepdim=True))
NORM_DETACHED = pixel_norm_with(lambda x: x.detach().square().mean(dim=1, keepdim=True))


def root_forgotten(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + epsilon)


def epsilon_outside(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True).sqrt() + epsilon)


def epsilon_fixed(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def mean_taken_off(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    x = x - x.mean(dim=1, keepdim=True)
    return x / (x.square().mean(dim=1, keepdim=True) + epsilon).sqrt()


def absolute_mean(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    return x / (x.abs().mean(dim=1, keepdim=True) + epsilon)


# --- Minibatch standard deviation


def _apart(x: Tensor, group: int) -> Tensor:
    return x.unflatten(0, (group, len(x) // group))


def _neighbours(x: Tensor, group: int) -> Tensor:
    return x.unflatten(0, (len(x) // group, group)).transpose(0, 1)


def _deviation(groups: Tensor) -> Tensor:
    return (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))


def stddev(
    split: Callable[[Tensor, int], Tensor] = _apart,
    number: Callable[[Tensor], Tensor] = _deviation,
    spread: Callable[[Tensor, int], Tensor] = lambda each, group: each.repeat(group),
    join: Callable[[Tensor, Tensor], Tensor] = lambda x, new: torch.cat([x, new], dim=1),
) -> Answer:
    """The layer in which one thing is wrong."""

    def wrong(x: Tensor, group: int) -> Tensor:
        group = min(group, len(x))
        each = spread(number(split(x, group)), group)
        return join(x, each.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:]))

    return wrong


def whole_batch(x: Tensor, group: int) -> Tensor:
    return stddev()(x, len(x))


def per_pixel(x: Tensor, group: int) -> Tensor:
    groups = _apart(x, min(group, len(x)))
    each = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=1, keepdim=True)
    return torch.cat([x, each.repeat(len(groups), 1, 1, 1)], dim=1)


NEIGHBOURS = stddev(_neighbours, spread=lambda each, group: each.repeat_interleave(group))
UNBIASED = stddev(number=lambda groups: (groups.var(dim=0) + 1e-8).sqrt().mean(dim=(1, 2, 3)))
VARIANCE = stddev(number=lambda groups: groups.var(dim=0, unbiased=False).mean(dim=(1, 2, 3)))
ROOT_LAST = stddev(
    number=lambda groups: (groups.var(dim=0, unbiased=False).mean(dim=(1, 2, 3)) + 1e-8).sqrt()
)
NO_EPSILON = stddev(
    number=lambda groups: groups.var(dim=0, unbiased=False).sqrt().mean(dim=(1, 2, 3))
)
OF_EVERYTHING = stddev(
    number=lambda groups: (groups.transpose(0, 1).flatten(1).var(dim=1, unbiased=False)).sqrt()
)
ONE_NUMBER = stddev(number=lambda groups: _deviation(groups).mean().expand(groups.shape[1]))
GIVEN_BACK_WRONG = stddev(spread=lambda each, group: each.repeat_interleave(group))
CHANNEL_FIRST = stddev(join=lambda x, new: torch.cat([new, x], dim=1))
STDDEV_DETACHED = stddev(join=lambda x, new: torch.cat([x, new.detach()], dim=1))
WITHIN_IMAGE = stddev(
    number=lambda groups: groups.flatten(2).std(dim=2, unbiased=False).mean(dim=0)
)
REPLACED = stddev(join=lambda x, new: torch.cat([x[:, :-1], new], dim=1))


# --- Fade-in


def faded(
    mix: Callable[[Tensor, Tensor, float], Tensor] = lambda old, new, a: (1 - a) * old + a * new,
    *,
    enlarge: Map = lambda x: F.interpolate(x, scale_factor=2),
    old_image: Callable[[Tensor, Tensor, Map, Map], Tensor] | None = None,
    swapped: bool = False,
    late: bool = False,
) -> Answer:
    """The image while a block is faded in, with one thing wrong."""

    def wrong(before: Tensor, block: Map, old_rgb: Map, new_rgb: Map, alpha: float) -> Tensor:
        x = enlarge(block(before)) if late else block(enlarge(before))
        first, second = (new_rgb, old_rgb) if swapped else (old_rgb, new_rgb)
        old = enlarge(first(before)) if old_image is None else old_image(before, x, first, enlarge)
        return mix(old, second(x), alpha)

    return wrong


ALPHA_TURNED = faded(lambda old, new, a: a * old + (1 - a) * new)
ADDED_WHOLE = faded(lambda old, new, a: old + a * new)
NEW_ONLY = faded(lambda old, new, a: new)
OLD_ONLY = faded(lambda old, new, a: old)
NEW_UNWEIGHTED = faded(lambda old, new, a: (1 - a) * old + new)
OLD_DETACHED = faded(lambda old, new, a: torch.lerp(old.detach(), new, a))
BILINEAR = faded(
    enlarge=lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
)
RGB_SWAPPED = faded(swapped=True)
BLOCK_FIRST = faded(late=True)
OLD_FROM_NEW = faded(old_image=lambda before, x, rgb, enlarge: rgb(x))


# --- The discriminator's loss


def loss(
    wasserstein: Callable[[Tensor, Tensor], Tensor] = lambda real, fake: fake.mean() - real.mean(),
    penalty: Map = lambda slopes: (slopes - 1).square().mean(),
    drift: Callable[[Tensor, Tensor], Tensor] = lambda real, fake: real.square().mean(),
    weights: Callable[[float, float], tuple[float, float]] = lambda a, b: (a, b),
) -> Answer:
    """The loss with one term wrong."""

    def wrong(
        real_scores: Tensor,
        fake_scores: Tensor,
        slopes: Tensor,
        penalty_weight: float,
        drift_weight: float,
    ) -> Tensor:
        first, second = weights(penalty_weight, drift_weight)
        return (
            wasserstein(real_scores, fake_scores)
            + first * penalty(slopes)
            + second * drift(real_scores, fake_scores)
        )

    return wrong


SIGN = loss(lambda real, fake: real.mean() - fake.mean())
LOGARITHMS = loss(lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean())
SUMMED = loss(lambda real, fake: fake.sum() - real.sum())
TOWARDS_0 = loss(penalty=lambda slopes: slopes.square().mean())
ONE_SIDED = loss(penalty=lambda slopes: (slopes - 1).clamp(min=0).square().mean())
MEAN_SLOPE = loss(penalty=lambda slopes: (slopes.mean() - 1).square())
NO_DRIFT = loss(drift=lambda real, fake: 0 * real.mean())
DRIFT_OF_MEAN = loss(drift=lambda real, fake: real.mean().square())
DRIFT_OF_FAKES = loss(drift=lambda real, fake: fake.square().mean())
DRIFT_OF_BOTH = loss(drift=lambda real, fake: real.square().mean() + fake.square().mean())
DRIFT_ABSOLUTE = loss(drift=lambda real, fake: real.abs().mean())
DRIFT_SIGNED = loss(drift=lambda real, fake: real.mean())
DRIFT_DETACHED = loss(drift=lambda real, fake: real.detach().square().mean())
WEIGHTS_SWAPPED = loss(weights=lambda penalty, drift: (drift, penalty))
WEIGHTS_FORGOTTEN = loss(weights=lambda penalty, drift: (1.0, 1.0))


# --- The schedule


def stage(
    resolution: Callable[[int, int], int] = lambda first, number: first * 2**number,
    alpha: Callable[[int, int, int], float] = lambda seen, fade, stable: min(seen / fade, 1.0),
    *,
    before: int = 1,
    capped: bool = True,
    first_fades: bool = False,
) -> Answer:
    """Resolution and α with one thing wrong."""

    def wrong(images: int, first: int, last: int, fade: int, stable: int) -> tuple[int, float]:
        images = images + (0 if first_fades else before * fade)
        number, seen = divmod(images, fade + stable)
        final = round(math.log2(last / first))
        if capped and number > final:
            number, seen = final, fade
        if number == 0 and not first_fades:
            return first, 1.0
        return resolution(first, number), alpha(seen, fade, stable)

    return wrong


def alpha_not_capped(
    images: int, first: int, last: int, fade: int, stable: int
) -> tuple[int, float]:
    resolution, alpha = NEVER_ENDS(images, first, last, fade, stable)
    return min(resolution, last), alpha


def last_at_once(images: int, first: int, last: int, fade: int, stable: int) -> tuple[int, float]:
    resolution, alpha = stage()(images, first, last, fade, stable)
    return resolution, 1.0 if resolution >= last else alpha


LINEAR = stage(lambda first, number: first * (1 + number))
NEVER_ENDS = stage(capped=False)
FIRST_FADES = stage(first_fades=True)
ALPHA_DOWN = stage(alpha=lambda seen, fade, stable: 1 - min(seen / fade, 1.0))
ALPHA_ABOVE_1 = stage(alpha=lambda seen, fade, stable: seen / fade)
ALPHA_TOO_SLOW = stage(alpha=lambda seen, fade, stable: seen / (fade + stable))
ALPHA_JUMPS = stage(alpha=lambda seen, fade, stable: float(seen >= fade))
STABLE_FIRST = stage(alpha=lambda seen, fade, stable: min(max((seen - stable) / fade, 0.0), 1.0))
NO_FADE_IN = stage(alpha=lambda seen, fade, stable: 1.0)
ONE_TOO_EARLY = stage(lambda first, number: first * 2 ** (number + 1))
