"""Right answers of topic 12 in other words, and what must hold for every right answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.exercises.engine import Property

Map = Callable[[Tensor], Tensor]
Answer = Callable[..., Any]

# --- The equalised learning rate


def equalised_after(x: Tensor, weight: Tensor, bias: Tensor, gain: float = 2**0.5) -> Tensor:
    """The constant may as well be taken out of the convolution."""
    scale = gain * weight[0].numel() ** -0.5
    raw = F.conv2d(x, weight, padding="same")
    return scale * raw + bias[:, None, None]


def equalised_by_patches(x: Tensor, weight: Tensor, bias: Tensor, gain: float = 2**0.5) -> Tensor:
    inputs, side = weight.shape[1:3]
    columns = F.unfold(x, side, padding=side // 2)
    scaled = weight.flatten(1) * (gain / (inputs * side * side) ** 0.5)
    return (scaled @ columns + bias[None, :, None]).unflatten(2, x.shape[2:])


def _speed(answer: Answer, x: Tensor, weight: Tensor, bias: Tensor, *gain: float) -> bool:
    """Twice the gain, twice the weights' part; the bias is what it was."""
    zero = torch.zeros_like(bias)
    once, twice = answer(x, weight, zero, 1.0), answer(x, weight, zero, 2.0)
    return torch.allclose(2 * once, twice, rtol=1e-4, atol=1e-5) and torch.allclose(
        answer(x, weight, bias, 1.0) - once, bias.view(1, -1, 1, 1).expand_as(once), atol=1e-4
    )


EQUALISED = (
    Property(
        "the constant stands before the weights and nothing else",
        _speed,
        "Doubling the gain must double what the weights make, and leave the bias alone.",
    ),
)


# --- Pixel norm


def pixel_norm_by_length(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    length = x.pow(2).sum(1, keepdim=True) / x.size(1)
    return x / torch.sqrt(length + epsilon)


def pixel_norm_by_einsum(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    squares = torch.einsum("nc...,nc...->n...", x, x) / x.shape[1]
    return x / (squares + epsilon)[:, None] ** 0.5


def _pixels_are_alone(answer: Answer, x: Tensor, **keywords: float) -> bool:
    """What one pixel becomes does not depend on the others."""
    if x.dim() != 4 or x.shape[3] < 2:
        return True
    whole, part = answer(x, **keywords), answer(x[..., :1], **keywords)
    return torch.allclose(whole[..., :1], part, rtol=1e-4, atol=1e-6)


PIXEL_NORM = (
    Property(
        "every pixel is on its own",
        _pixels_are_alone,
        "Cutting a column out of the picture must not change what that column becomes.",
    ),
)


# --- Minibatch standard deviation


def stddev_by_loops(x: Tensor, group: int) -> Tensor:
    count = len(x)
    group = min(group, count)
    step = count // group
    channel = torch.empty_like(x[:, :1])
    for first in range(step):
        members = x[first::step]
        spread = (members - members.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt()
        channel[first::step] = spread.mean()
    return torch.cat([x, channel], dim=1)


def stddev_by_reshape(x: Tensor, group: int) -> Tensor:
    n, c, h, w = x.shape
    size = group if group < n else n
    parts = x.reshape(size, n // size, c, h, w)
    parts = parts - parts.mean(0, keepdim=True)
    number = ((parts**2).mean(0) + 1e-8).sqrt().mean([1, 2, 3], keepdim=True)
    return torch.cat((x, number.repeat(size, 1, h, w)), 1)


def _twins_have_none(answer: Answer, x: Tensor, group: int) -> bool:
    """A batch of the same image has no deviation."""
    return float(answer(x[:1].expand_as(x).contiguous(), group)[:, -1].max()) < 1e-3


STDDEV = (
    Property(
        "a batch of twins has no deviation",
        _twins_have_none,
        "If all images are the same, the new channel must be (nearly) 0.",
    ),
)


# --- Fade-in


def fade_in_by_lerp(before: Tensor, block: Map, old_rgb: Map, new_rgb: Map, alpha: float) -> Tensor:
    wide = before.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return torch.lerp(old_rgb(wide), new_rgb(block(wide)), alpha)


def fade_in_by_rest(before: Tensor, block: Map, old_rgb: Map, new_rgb: Map, alpha: float) -> Tensor:
    old = torch.nn.Upsample(scale_factor=2)(old_rgb(before))
    new = new_rgb(block(F.interpolate(before, size=old.shape[2:], mode="nearest")))
    return old + alpha * (new - old)


def _ends(
    answer: Answer, before: Tensor, block: Map, old_rgb: Map, new_rgb: Map, alpha: float
) -> bool:
    """At α = 0 nothing has changed, at α = 1 the old layer to RGB is not heard any more."""

    def silent(x: Tensor) -> Tensor:
        return torch.zeros_like(old_rgb(x))

    start = answer(before, block, old_rgb, new_rgb, 0.0)
    same = torch.allclose(F.avg_pool2d(start, 2), old_rgb(before), atol=1e-5)
    old, silenced = (answer(before, block, each, new_rgb, 1.0) for each in (old_rgb, silent))
    return same and torch.allclose(old, silenced, atol=1e-5)


FADE_IN = (
    Property(
        "it begins with the old image and ends with the new one",
        _ends,
        "At α = 0 the image is the old one, enlarged; at α = 1 the old layer to RGB has no say.",
    ),
)


# --- The discriminator's loss


def loss_by_terms(
    real_scores: Tensor,
    fake_scores: Tensor,
    slopes: Tensor,
    penalty_weight: float,
    drift_weight: float,
) -> Tensor:
    terms = (
        fake_scores.mean() - real_scores.mean(),
        penalty_weight * F.mse_loss(slopes, torch.ones_like(slopes)),
        drift_weight * (real_scores * real_scores).mean(),
    )
    return torch.stack(terms).sum()


def loss_by_sums(
    real_scores: Tensor,
    fake_scores: Tensor,
    slopes: Tensor,
    penalty_weight: float,
    drift_weight: float,
) -> Tensor:
    each = drift_weight * real_scores**2 - real_scores + penalty_weight * (1 - slopes) ** 2
    return each.sum() / len(real_scores) + fake_scores.sum() / fake_scores.numel()


def _drifts(
    answer: Answer, real: Tensor, fake: Tensor, slopes: Tensor, penalty: float, drift: float
) -> bool:
    """Without drift a shift of all scores changes nothing; with it, it does."""
    plain, shifted = (answer(real + s, fake + s, slopes, penalty, 0.0) for s in (0.0, 3.0))
    tied = [answer(real + s, fake + s, slopes, penalty, 1.0) for s in (0.0, 300.0)]
    return torch.allclose(plain, shifted, rtol=1e-3, atol=1e-3) and bool(tied[1] > tied[0])


LOSS = (
    Property(
        "only drift knows where the scores are",
        _drifts,
        "Adding one number to all scores changes the drift term and nothing else.",
    ),
)


# --- The schedule


def stage_by_counting(
    images: int, first: int, last: int, fade: int, stable: int
) -> tuple[int, float]:
    resolution, left = first, images - stable
    while left >= 0 and resolution < last:
        resolution *= 2
        if left < fade:
            return resolution, left / fade
        left -= fade + stable
    return resolution, 1.0


def stage_by_list(images: int, first: int, last: int, fade: int, stable: int) -> tuple[int, float]:
    begins, resolution = {first: -fade}, first
    while resolution < last:
        resolution *= 2
        begins[resolution] = max(begins.values()) + fade + stable
    resolution = max(r for r, begin in begins.items() if begin <= images)
    return resolution, min(max((images - begins[resolution]) / fade, 0.0), 1.0)


def _never_shrinks(
    answer: Answer, images: int, first: int, last: int, fade: int, stable: int
) -> bool:
    """Image by image: the resolution never falls, and α only at a new one."""
    before = (first, 1.0)
    for seen in range(0, 4 * (fade + stable), max((fade + stable) // 12, 1)):
        resolution, alpha = answer(seen, first, last, fade, stable)
        if resolution < before[0] or (resolution == before[0] and alpha < before[1]):
            return False
        before = (resolution, alpha)
    return True


SCHEDULE = (
    Property(
        "nothing ever shrinks",
        _never_shrinks,
        "From image to image the resolution never falls, and α falls only when it has doubled.",
    ),
)
