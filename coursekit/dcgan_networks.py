"""The networks of topic 07: small fully connected ones for digits, and DCGAN's.

DCGAN follows Radford et al. 2016, at the widths and kernels of the authors' Torch code (the paper's
figure 1 has twice the channels and kernels of 5); each of its guidelines is a switch.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coursekit.core import checks, training
from coursekit.core.errors import SettingError, ShapeError

LATENT = 100  # dimensions of z in Radford et al. 2016


class LatentGenerator(nn.Module):
    """G(z) of Goodfellow et al. 2014, §3: z (N, latent) → images in [-1, 1].

    Attributes:
        latent: dimensions of z.
    """

    latent: int


# --- Fully connected networks, for digits --------------------------------------------------------


def _check_latent(latent: Tensor, width: int) -> None:
    if latent.dim() != 2 or latent.shape[1] != width:
        raise ShapeError(
            f"Latent vectors have the shape {tuple(latent.shape)}; this generator takes "
            f"(N, {width})."
        )


class MLPGenerator(LatentGenerator):
    """z (N, latent) → (N, channels, size, size) in [-1, 1] through two hidden layers.

    Fully connected, as the first ones were (Goodfellow et al. 2014); ``size`` in pixels."""

    def __init__(
        self, latent: int = 64, hidden: int = 256, size: int = 28, channels: int = 1
    ) -> None:
        super().__init__()
        self.latent, self.shape = latent, (channels, size, size)
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, math.prod(self.shape)),
            nn.Tanh(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Images for latent vectors.

        Raises:
            ShapeError: the vectors are not (N, latent).
        """
        _check_latent(latent, self.latent)
        return self.layers(latent).unflatten(1, self.shape)


class MLPDiscriminator(nn.Module):
    """(N, channels, size, size) in [-1, 1] → one logit an image, through two hidden layers.

    Fully connected, as the first ones were (Goodfellow et al. 2014); ``size`` in pixels."""

    def __init__(self, hidden: int = 256, size: int = 28, channels: int = 1) -> None:
        super().__init__()
        self.shape = (channels, size, size)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size * size, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,).

        Raises:
            ShapeError: the images have another size, type or number of channels.
        """
        _check_images(images, self.shape)
        return self.layers(images).flatten()


# --- DCGAN ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guidelines:
    """The guidelines of Radford et al. 2016, §3, each of which can be switched off.

    Attributes:
        strided: strided convolutions in D and fractionally-strided ones in G; off: max pooling in
            D, nearest-neighbour upsampling in G.
        batch_norm: batch normalisation in both, except G's output and D's input layer.
        fully_convolutional: no fully connected hidden layers; off: one in G and one in D.
        relu: ReLU in G and tanh at its output; off: sigmoid in G's hidden layers.
        leaky_relu: LeakyReLU with slope 0.2 in D; off: ReLU.
    """

    strided: bool = True
    batch_norm: bool = True
    fully_convolutional: bool = True
    relu: bool = True
    leaky_relu: bool = True


ALL = Guidelines()


def _levels(size: int) -> int:
    """How many times 4 is doubled to reach ``size``."""
    levels = int(math.log2(size / 4)) if size >= 8 else 0
    if levels < 1 or 4 * 2**levels != size:
        raise SettingError(f"size={size} must be 4 doubled a few times: 8, 16, 32, 64 or 128.")
    return levels


def _check_images(images: Tensor, shape: tuple[int, int, int]) -> None:
    if images.shape[1:] != shape or not images.is_floating_point():
        raise ShapeError(
            f"Images have the shape {tuple(images.shape)} and the type {images.dtype}; this "
            f"discriminator takes (N, {', '.join(map(str, shape))}) of floats."
        )


class Generator(LatentGenerator):
    """DCGAN's generator: z (N, latent) → (N, channels, size, size) in [-1, 1].

    Radford et al. 2016, figure 1, as in the authors' Torch code: at latent 100, width 64 and size
    64 it has 3,576,704 parameters.

    Args:
        latent: dimensions of z.
        width: channels before the last layer (ngf); each level before it has twice as many.
        size: of the image in pixels, 4 · 2ⁿ.
        channels: of the image.
        rules: guidelines to follow.
        precision: of the forward pass, as in `core.training.autocast`.

    Raises:
        SettingError: the size cannot be reached from 4 by doubling, or a count below 1.
    """

    def __init__(
        self,
        latent: int = LATENT,
        width: int = 64,
        size: int = 64,
        channels: int = 3,
        *,
        rules: Guidelines = ALL,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        checks.at_least(1, latent=latent, width=width, channels=channels)
        self.latent, self.precision = latent, precision
        widths = [width * 2**level for level in reversed(range(_levels(size)))]
        blocks = [_first_block(latent, widths[0], rules)]  # 1x1 -> 4x4
        for before, after in itertools.pairwise(widths):  # each doubles the size
            blocks.append(_up_block(before, after, rules))
        blocks.append(nn.Sequential(*_up(widths[-1], channels, rules), nn.Tanh()))
        self.blocks = nn.ModuleList(blocks)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, latent: Tensor) -> Tensor:
        """Images for latent vectors.

        Raises:
            ShapeError: the vectors are not (N, latent).
        """
        return self.from_block(self.up_to_block(latent, len(self.blocks)), len(self.blocks))

    def up_to_block(self, latent: Tensor, count: int) -> Tensor:
        """Activations (N, C, h, w) after the first ``count`` blocks.

        Raises:
            ShapeError: the vectors are not (N, latent).
        """
        _check_latent(latent, self.latent)
        x = latent[:, :, None, None].contiguous(memory_format=torch.channels_last)
        with training.autocast(latent.device, self.precision):
            for block in self.blocks[:count]:
                x = block(x)
        return x.float()

    def from_block(self, activations: Tensor, count: int) -> Tensor:
        """Images from the activations after the first ``count`` blocks."""
        x = activations
        with training.autocast(x.device, self.precision):
            for block in self.blocks[count:]:
                x = block(x)
        return x.float()


class Discriminator(nn.Module):
    """DCGAN's discriminator: (N, channels, size, size) in [-1, 1] → one logit an image (N,).

    Radford et al. 2016, §3, as in the authors' Torch code: at width 64 and size 64 it has 2,765,568
    parameters. Arguments and errors as for `Generator`; ``width`` is ndf.
    """

    def __init__(
        self,
        width: int = 64,
        size: int = 64,
        channels: int = 3,
        *,
        rules: Guidelines = ALL,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        checks.at_least(1, width=width, channels=channels)
        self.precision, self.shape = precision, (channels, size, size)
        widths = [width * 2**level for level in range(_levels(size))]
        # No batch normalisation at the input: it would hide the images' own statistics.
        blocks = [nn.Sequential(*_down(channels, widths[0], rules), _d_activation(rules))]
        for before, after in itertools.pairwise(widths):  # each halves the size
            blocks.append(_down_block(before, after, rules))
        blocks.append(_last_block(widths[-1], rules))  # 4x4 -> 1x1
        self.blocks = nn.Sequential(*blocks)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,).

        Raises:
            ShapeError: the images have another size, type or number of channels.
        """
        _check_images(images, self.shape)
        with training.autocast(images.device, self.precision):
            logits = self.blocks(images.contiguous(memory_format=torch.channels_last))
        return logits.flatten().float()


def _g_activation(rules: Guidelines) -> nn.Module:
    return nn.ReLU(inplace=True) if rules.relu else nn.Sigmoid()


def _d_activation(rules: Guidelines) -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True) if rules.leaky_relu else nn.ReLU(inplace=True)


def _norm(channels: int, rules: Guidelines) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if rules.batch_norm else []


def _first_block(latent: int, width: int, rules: Guidelines) -> nn.Sequential:
    layers: list[nn.Module] = []
    if not rules.fully_convolutional:
        layers = [nn.Flatten(), nn.Linear(latent, 4 * width), _g_activation(rules)]
        layers += [nn.Linear(4 * width, 16 * width), nn.Unflatten(1, (width, 4, 4))]
    else:
        layers = [nn.ConvTranspose2d(latent, width, 4, bias=not rules.batch_norm)]
    return nn.Sequential(*layers, *_norm(width, rules), _g_activation(rules))


def _up(before: int, after: int, rules: Guidelines, bias: bool = False) -> list[nn.Module]:
    if rules.strided:
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)]
    upsample = nn.Upsample(scale_factor=2, mode="nearest")
    return [upsample, nn.Conv2d(before, after, 3, padding=1, bias=bias)]


def _up_block(before: int, after: int, rules: Guidelines) -> nn.Sequential:
    up = _up(before, after, rules, bias=not rules.batch_norm)
    return nn.Sequential(*up, *_norm(after, rules), _g_activation(rules))


def _down(before: int, after: int, rules: Guidelines, bias: bool = False) -> list[nn.Module]:
    if rules.strided:
        return [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)]
    return [nn.Conv2d(before, after, 3, padding=1, bias=bias), nn.MaxPool2d(2)]


def _down_block(before: int, after: int, rules: Guidelines) -> nn.Sequential:
    down = _down(before, after, rules, bias=not rules.batch_norm)
    return nn.Sequential(*down, *_norm(after, rules), _d_activation(rules))


def _last_block(width: int, rules: Guidelines) -> nn.Sequential:
    if rules.fully_convolutional:
        return nn.Sequential(nn.Conv2d(width, 1, 4, bias=False))
    hidden = nn.Linear(16 * width, 4 * width)
    return nn.Sequential(nn.Flatten(), hidden, _d_activation(rules), nn.Linear(4 * width, 1))


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02²), batch-norm scales from N(1, 0.02²), biases 0 (Radford, §4)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
        if isinstance(bias := getattr(part, "bias", None), Tensor):
            nn.init.zeros_(bias)
