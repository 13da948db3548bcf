"""Layers that ProGAN introduced (Karras et al. 2018, sections 3 and 4); StyleGAN2 has them too."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core.errors import SettingError, ShapeError

HE = math.sqrt(2)  # the gain of He et al. 2015 for a layer that a (leaky) ReLU follows


def equalised_scale(fan_in: int, gain: float = HE) -> float:
    """The constant c of the equalised learning rate, ŵ = c · w: ``gain`` / √fan_in.

    The weights w are drawn from N(0, 1) and scaled at every use, not once at the start. Adam's step
    does not depend on the size of a gradient, so that with the constant outside every layer's
    effective weights move at the same speed (section 4.1).

    Raises:
        SettingError: no inputs.
    """
    if fan_in < 1:
        raise SettingError(f"A layer needs an input; fan_in={fan_in}.")
    return gain / math.sqrt(fan_in)


class EqualisedLinear(nn.Module):
    """A linear layer with an equalised learning rate (section 4.1): (N, before) → (N, after).

    Args:
        before, after: sizes.
        gain: of `equalised_scale`.
        bias: the initial value of the bias; None for no bias.
        multiplier: a factor on the layer's learning rate. The weights start at 1/multiplier and are
            scaled back when used (StyleGAN's mapping network: 0.01).

    Raises:
        SettingError: no inputs, or a multiplier that is not above 0.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        before: int,
        after: int,
        *,
        gain: float = HE,
        bias: float | None = 0.0,
        multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        if not multiplier > 0:
            raise SettingError(f"{multiplier=} stops the layer; give a number above 0.")
        self.weight = nn.Parameter(torch.randn(after, before) / multiplier)
        self.bias = None if bias is None else nn.Parameter(torch.full((after,), float(bias)))
        self.scale = equalised_scale(before, gain) * multiplier
        self.bias_scale = multiplier

    def forward(self, x: Tensor) -> Tensor:
        """x (N, before) → (N, after)."""
        bias = None if self.bias is None else self.bias * self.bias_scale
        return F.linear(x, self.weight * self.scale, bias)


class EqualisedConv2d(nn.Module):
    """A convolution with an equalised learning rate (section 4.1); its padding keeps the size.

    Args:
        before, after: channels.
        kernel: side of the kernel, odd unless ``padding`` is given.
        gain: of `equalised_scale`.
        bias: whether there is one; it starts at 0.
        padding: on each side; (kernel − 1) / 2 by default.

    Raises:
        SettingError: no inputs, or a kernel without a middle.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        *,
        gain: float = HE,
        bias: bool = True,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        if kernel < 1 or (padding is None and kernel % 2 == 0):
            raise SettingError(f"{kernel=} has no middle; take an odd one, or give the padding.")
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.scale = equalised_scale(before * kernel**2, gain)
        self.padding = (kernel - 1) // 2 if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        """x (N, before, H, W) → (N, after, H, W)."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def pixel_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """b = a / √(1/C · Σ_c a_c² + ε): every pixel's feature vector gets a mean square of 1.

    Keeps the generator's activations from running away in the competition with the critic
    (section 4.2). There is nothing to learn in it.

    Args:
        x: (N, C, H, W), or (N, C) for latent vectors.
        epsilon: ε.

    Raises:
        ShapeError: no channels.
    """
    if x.dim() < 2:
        raise ShapeError(f"Expected features (N, C, H, W) or (N, C), got {tuple(x.shape)}.")
    return x * (x.square().mean(dim=1, keepdim=True) + epsilon).rsqrt()


def minibatch_stddev(x: Tensor, group: int = 4, epsilon: float = 1e-8) -> Tensor:
    """Add one channel that says how much the images of a group differ from each other.

    The standard deviation over the group of every feature at every place, averaged over features
    and places to one number (section 3). A critic that sees it notices when a generator makes
    the same image again and again.

    Args:
        x: (N, C, H, W).
        group: images that are compared with each other: i, i + N/group, i + 2N/group …. A batch
            smaller than this is one group.
        epsilon: added to the variance, for its root has no gradient at 0.

    Returns:
        (N, C + 1, H, W); the new channel is the last.

    Raises:
        ShapeError: not four dimensions, or the batch cannot be divided into such groups.
    """
    if x.dim() != 4 or not x.numel():
        raise ShapeError(f"Features are (N, C, H, W), not {tuple(x.shape)}.")
    count, group = len(x), min(group, len(x))
    if group < 1 or count % group:
        raise ShapeError(f"A batch of {count} cannot be divided into groups of {group}.")
    groups = x.float().unflatten(0, (group, count // group))
    deviation = (groups.var(dim=0, unbiased=False) + epsilon).sqrt()
    each = deviation.mean(dim=(1, 2, 3)).repeat(group)
    channel = each.view(count, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel.to(x.dtype)], dim=1)
