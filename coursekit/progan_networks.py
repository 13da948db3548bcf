"""Generator and critic that grow (Karras et al. 2018, section 2 and appendix A).

Both networks hold all their resolutions from the start. A `Stage` says how far they have grown: up
to which resolution, and how far its newest layers are faded in. Images are in [-1, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core import training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.dcgan_networks import LatentGenerator
from coursekit.progan_layers import EqualisedConv2d, minibatch_stddev, pixel_norm

LATENT = 512


class Stage(NamedTuple):
    """How far the networks have grown (section 2).

    Attributes:
        resolution: of the images, in pixels.
        alpha: α in [0, 1]; below 1 the newest layers are being faded in. As a tensor of one number
            it may change in a recorded step.
    """

    resolution: int
    alpha: float | Tensor = 1.0

    @property
    def fading(self) -> bool:
        """Whether the newest layers are being faded in; they are if α is a tensor."""
        return isinstance(self.alpha, Tensor) or self.alpha < 1


@dataclass(frozen=True)
class Ingredients:
    """What the paper adds to a convolutional GAN, each of which can be switched off.

    Attributes:
        equalised: the learning rate is equalised; off: He's initialisation (2015), once.
        pixel_norm: pixelwise normalisation in the generator.
        minibatch_stddev: the critic sees how much a batch varies.
    """

    equalised: bool = True
    pixel_norm: bool = True
    minibatch_stddev: bool = True


ALL = Ingredients()


@dataclass(frozen=True)
class Widths:
    """Channels by resolution r: min(2 · base / r, most), as in appendix A.

    Attributes:
        size: the last resolution, 4 · 2ⁿ.
        base, most: as above; 8192 and 512 in the paper.
        channels: of the image.

    Raises:
        SettingError: another size, or a layer that would have no channel.
    """

    size: int = 1024
    base: int = 8192
    most: int = 512
    channels: int = 3

    def __post_init__(self) -> None:
        levels = math.log2(self.size / 4) if self.size >= 4 else 0.5
        if levels != int(levels):
            raise SettingError(f"size={self.size} must be 4 doubled a few times: 8, 16, 32, 64 ….")
        if self.at(self.size) < 1 or self.channels < 1:
            raise SettingError(f"base={self.base}, most={self.most}: a layer has no channels left.")

    def at(self, resolution: int) -> int:
        """Channels at a resolution."""
        return min(2 * self.base // resolution, self.most)

    @property
    def resolutions(self) -> list[int]:
        """4, 8, … size."""
        return [4 * 2**level for level in range(int(math.log2(self.size / 4)) + 1)]

    def check(self, stage: Stage) -> None:
        """Refuse a stage that networks of these widths cannot be at.

        Raises:
            SettingError: a resolution that is not one of these, or α outside [0, 1].
        """
        if stage.resolution not in self.resolutions:
            raise SettingError(f"resolution={stage.resolution} is none of {self.resolutions}.")
        if not isinstance(stage.alpha, Tensor) and not 0 <= stage.alpha <= 1:
            raise SettingError(f"alpha={stage.alpha} is no share; give a number from 0 to 1.")


PUBLISHED = Widths()


def fade(old: Tensor, new: Tensor, alpha: float | Tensor) -> Tensor:
    """(1 − α) · old + α · new: the new layers as a residual block whose weight α grows (Figure 2).

    Raises:
        ShapeError: the two differ in shape.
    """
    if old.shape != new.shape:
        raise ShapeError(f"{tuple(old.shape)} cannot be faded into {tuple(new.shape)}.")
    return torch.lerp(old, new, alpha)


class Conv(nn.Module):
    """A convolution with what follows it in Table 2: LeakyReLU, and in the generator pixel norm.

    Args:
        before, after: channels.
        kernel: side of the kernel.
        rules: `Ingredients`.
        padding: zeros on each side; those that keep the size by default.
        normalise: whether pixel norm follows (if the rules have it).
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        rules: Ingredients,
        *,
        padding: int | None = None,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.conv = convolution(before, after, kernel, rules, padding=padding)
        self.normalise = normalise and rules.pixel_norm

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) → (N, after, H′, W′)."""
        x = F.leaky_relu(self.conv(x), 0.2)
        return pixel_norm(x) if self.normalise else x


def convolution(
    before: int,
    after: int,
    kernel: int,
    rules: Ingredients,
    *,
    gain: float = math.sqrt(2),
    padding: int | None = None,
) -> nn.Module:
    """A convolution with an equalised learning rate (section 4.1), or with the usual one.

    With the usual one its weights begin as He et al. 2015 have them.
    """
    if rules.equalised:
        return EqualisedConv2d(before, after, kernel, gain=gain, padding=padding)
    padding = (kernel - 1) // 2 if padding is None else padding
    plain = nn.Conv2d(before, after, kernel, padding=padding)
    nn.init.normal_(plain.weight, 0.0, gain / math.sqrt(before * kernel**2))
    nn.init.zeros_(plain.get_parameter("bias"))
    return plain


class Generator(LatentGenerator):
    """z (N, latent) → images (N, C, r, r) at the stage's resolution r; about [-1, 1], no tanh.

    With the defaults (1024 pixels) it has 23.1 M parameters besides the layers to RGB of lower
    resolutions, as Table 2 says.

    Args:
        widths: resolutions and channels.
        latent: dimensions of z.
        rules: ingredients to use.
        precision: of the layers, as in `core.training.autocast`; images are float32.
    """

    def __init__(
        self,
        widths: Widths = PUBLISHED,
        *,
        latent: int = LATENT,
        rules: Ingredients = ALL,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.widths, self.latent, self.precision = widths, latent, precision
        self.rules = rules
        self.blocks, self.to_rgb = nn.ModuleDict(), nn.ModuleDict()
        before = latent
        for r in widths.resolutions:
            after = widths.at(r)
            first = Conv(before, after, 3, rules, normalise=True)
            if r == 4:  # 1x1 -> 4x4
                first = Conv(before, after, 4, rules, padding=3, normalise=True)
            second = Conv(after, after, 3, rules, normalise=True)
            self.blocks[str(r)] = nn.Sequential(first, second)
            self.to_rgb[str(r)] = convolution(after, widths.channels, 1, rules, gain=1.0)
            before = after

    def forward(self, z: Tensor, stage: Stage | None = None) -> Tensor:
        """Images at a stage, by default the last.

        Raises:
            ShapeError: the vectors are not (N, latent).
            SettingError: there is no such stage.
        """
        stage = stage or Stage(self.widths.size)
        self.widths.check(stage)
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise ShapeError(f"Latent vectors are (N, {self.latent}), not {tuple(z.shape)}.")
        with training.autocast(z.device, self.precision):
            x = before = self.blocks["4"](pixel_norm(z)[:, :, None, None])
            for r in self.widths.resolutions[1:]:
                if r > stage.resolution:
                    break
                before, x = x, self.blocks[str(r)](F.interpolate(x, scale_factor=2))
            image = self.to_rgb[str(stage.resolution)](x)
            if stage.resolution == 4 or not stage.fading:
                return image.float()
            old = self.to_rgb[str(stage.resolution // 2)](before)
        return fade(F.interpolate(old.float(), scale_factor=2), image.float(), stage.alpha)


class Critic(nn.Module):
    """Images (N, C, r, r) at the stage's resolution r → scores (N,).

    With the defaults (1024 pixels) it has 23.1 M parameters besides the layers from RGB of lower
    resolutions, as Table 2 says.

    Args:
        widths: resolutions and channels.
        rules: ingredients to use.
        group: of the minibatch standard deviation.
        precision: of the layers, as in `core.training.autocast`.
    """

    def __init__(
        self,
        widths: Widths = PUBLISHED,
        *,
        rules: Ingredients = ALL,
        group: int = 4,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.widths, self.group, self.precision = widths, group, precision
        self.seen = rules.minibatch_stddev
        self.blocks, self.from_rgb = nn.ModuleDict(), nn.ModuleDict()
        for r in widths.resolutions:
            width = widths.at(r)
            self.from_rgb[str(r)] = Conv(widths.channels, width, 1, rules)
            if r > 4:
                layers = Conv(width, width, 3, rules), Conv(width, widths.at(r // 2), 3, rules)
                self.blocks[str(r)] = nn.Sequential(*layers, nn.AvgPool2d(2))
        width = widths.at(4)
        self.blocks["4"] = nn.Sequential(
            Conv(width + self.seen, width, 3, rules),
            Conv(width, width, 4, rules, padding=0),
            convolution(width, 1, 1, rules, gain=1.0),
        )

    def forward(self, images: Tensor, stage: Stage | None = None) -> Tensor:
        """Scores at a stage, by default the last.

        Raises:
            ShapeError: the images have not the stage's resolution.
            SettingError: there is no such stage.
        """
        stage = stage or Stage(self.widths.size)
        self.widths.check(stage)
        r = stage.resolution
        if images.dim() != 4 or images.shape[1:] != (self.widths.channels, r, r):
            raise ShapeError(
                f"Images are {tuple(images.shape)}, not (N, {self.widths.channels}, {r}, {r})."
            )
        with training.autocast(images.device, self.precision):
            x = self.from_rgb[str(r)](images)
            if r > 4:
                x = self.blocks[str(r)](x)
                if stage.fading:
                    old = self.from_rgb[str(r // 2)](F.avg_pool2d(images, 2))
                    x = fade(old, x, stage.alpha)
            for below in reversed(self.widths.resolutions[1 : self.widths.resolutions.index(r)]):
                x = self.blocks[str(below)](x)
            x = minibatch_stddev(x, self.group) if self.seen else x
            return self.blocks["4"](x).float().flatten()
