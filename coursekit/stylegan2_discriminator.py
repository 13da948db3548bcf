"""The discriminator of StyleGAN2, with and without its residual shortcuts.

At NVIDIA's published settings it has the published number of parameters, and every parameter has
the name and shape that it has in NVIDIA's state dicts.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from coursekit.core import training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.progan_layers import equalised_scale, minibatch_stddev
from coursekit.stylegan2_layers import activate, blur, downsample, filter_2d
from coursekit.stylegan2_networks import PUBLISHED, Linear, Sizes

CRITICS = ("residual", "plain")


class Conv(nn.Module):
    """A convolution with equalised learning rate (Karras et al. 2018, section 4.1) and gain 1.

    With ``down`` the result is half as high and wide.

    Args:
        before, after: channels.
        kernel: side of the kernel.
        down: whether to filter and take every second pixel.
        bias: whether there is one.
        active: whether `activate` follows.
    """

    resample_filter: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        *,
        down: bool = False,
        bias: bool = True,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.register_buffer("resample_filter", filter_2d())
        self.scale = equalised_scale(before * kernel**2, gain=1.0)
        self.down, self.active = down, active

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """x (N, before, H, W) → (N, after, H, W) or half as high and wide, times ``gain``."""
        weight, side = self.weight * self.scale, self.weight.shape[-1]
        if self.down and side == 1:  # filter first: a quarter of the pixels to convolve
            found = nn.functional.conv2d(downsample(x, self.resample_filter), weight)
        elif self.down:
            padding = (len(self.resample_filter) + side - 3) // 2
            found = blur(x, self.resample_filter, padding)
            found = nn.functional.conv2d(found, weight, stride=2)
        else:
            found = nn.functional.conv2d(x, weight, padding=side // 2)
        if self.active:
            return activate(found, self.bias, gain * math.sqrt(2))
        if self.bias is not None:
            found = found + self.bias.to(found.dtype).view(-1, 1, 1)
        return found * gain


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator: two convolutions, beside them a shortcut.

    The sum of both branches is divided by √2, so that the variance stays (Karras et al. 2020).

    Args:
        before, after: channels.
        channels: of the image if this is the first block, else 0.
        critic: one of `CRITICS`.
    """

    def __init__(self, before: int, after: int, channels: int, critic: str) -> None:
        super().__init__()
        self.fromrgb = Conv(channels, before, 1) if channels else None
        self.conv0 = Conv(before, before, 3)
        self.conv1 = Conv(before, after, 3, down=True)
        residual = critic == "residual"
        self.skip = (
            Conv(before, after, 1, down=True, bias=False, active=False) if residual else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Image or features (N, C, H, W) → (N, after, H/2, W/2)."""
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        if self.skip is None:
            return self.conv1(self.conv0(x))
        shortcut = self.skip(x, gain=math.sqrt(0.5))
        return shortcut + self.conv1(self.conv0(x), gain=math.sqrt(0.5))


class Epilogue(nn.Module):
    """The discriminator's end at 4×4: minibatch standard deviation, a convolution, two layers.

    As in Karras et al. 2018, Table 2.
    """

    def __init__(self, width: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.conv = Conv(width + 1, width, 3)
        self.fc = Linear(16 * width, width, active=True)
        self.out = Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, 4, 4) → logits (N,)."""
        x = self.conv(minibatch_stddev(x, self.group))
        return self.out(self.fc(x.float().flatten(1))).flatten()


class Discriminator(nn.Module):
    """StyleGAN2's discriminator: images → one logit each (Karras et al. 2020, Figure 7c).

    With the defaults it has 28,864,129 parameters, at 64 pixels 26,488,833.

    Args:
        sizes: resolutions and channels.
        critic: ``"residual"`` as in StyleGAN2, ``"plain"`` without shortcuts.
        group: of the minibatch standard deviation.
        precision: of the convolutions, as in `core.training.autocast`.

    Raises:
        SettingError: no such critic or precision.
    """

    def __init__(
        self,
        sizes: Sizes = PUBLISHED,
        *,
        critic: str = "residual",
        group: int = 4,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if critic not in CRITICS:
            raise SettingError(f"There is no {critic=}; choose one of {', '.join(CRITICS)}.")
        self.sizes, self.precision = sizes, precision
        for after, before in reversed(list(itertools.pairwise(sizes.resolutions))):
            channels = sizes.channels if before == sizes.size else 0
            widths = sizes.width(before), sizes.width(after)
            self.add_module(f"b{before}", DiscriminatorBlock(*widths, channels, critic))
        self.b4 = Epilogue(sizes.width(4), group)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] → logits (N,).

        Raises:
            ShapeError: another shape.
        """
        wanted = (self.sizes.channels, self.sizes.size, self.sizes.size)
        if images.dim() != 4 or images.shape[1:] != wanted:
            raise ShapeError(
                f"Images are {tuple(images.shape)}, not (N, {wanted[0]}, {wanted[1]}, …)."
            )
        x = images
        with training.autocast(images.device, self.precision):
            for resolution in reversed(self.sizes.resolutions[1:]):
                x = self.get_submodule(f"b{resolution}")(x)
            return self.b4(x).float()
