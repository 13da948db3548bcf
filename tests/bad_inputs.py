"""What the catalogue of bad inputs is made of: a case, and the good inputs that cases spoil.

The catalogue itself lies in ``bad_inputs_*.py``, by area, and test_bad_inputs.py goes through it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from coursekit import (
    cgan,
    cyclegan,
    dcgan_networks,
    pix2pix_networks,
    progan_networks,
    spade,
    spade_networks,
    stylegan2_discriminator,
    stylegan2_networks,
    texture,
    wct,
    wct_networks,
    wgan,
)
from coursekit.core.errors import CourseError
from coursekit.core.features import FeatureExtractor

# Beside the empty folder that every case runs in (see the fixtures of test_bad_inputs.py).
SHELF = Path("..") / "shelf"
NAN = float("nan")
RANDOM = {"weights": "random"}  # no case needs the pretrained weights
QUIET = {"progress": False, "steps": 1}


@dataclass(frozen=True)
class Case:
    """One thing that a student may get wrong.

    Attributes:
        name: ``"topic: what is wrong"``.
        call: does it.
        error: what must come, of `coursekit.core.errors`.
        words: what the sentence must hold: the value that was wrong, and what was expected.
    """

    name: str
    call: Callable[[], object]
    error: type[CourseError]
    words: tuple[str, ...]


def case(name: str, call: Callable[[], object], error: type[CourseError], words: str) -> Case:
    """A case; its words stand between ``" & "``."""
    return Case(name, call, error, tuple(words.split(" & ")))


@dataclass(frozen=True)
class Command:
    """One wrong command line: what stands after ``coursekit``, the exit status, the words."""

    name: str
    arguments: Sequence[str]
    status: int
    words: tuple[str, ...]


def command(line: str, status: int, words: str) -> Command:
    """A command line without ``coursekit``; its words stand between ``" & "``."""
    return Command(f"coursekit {line}", line.split(), status, tuple(words.split(" & ")))


# --- Good inputs ---------------------------------------------------------------------------------


def picture(side: int = 32, *, count: int = 1, channels: int = 3) -> Tensor:
    """Ramps (count, channels, side, side) in [0, 1]."""
    return torch.linspace(0, 1, count * channels * side * side).view(count, channels, side, side)


def ones(*shape: int) -> Tensor:
    return torch.ones(shape)


def in_bytes(image: Tensor) -> Tensor:
    """As uint8 0 … 255, which most functions do not take."""
    return (255 * image).byte()


def channels_last(image: Tensor) -> Tensor:
    """As (H, W, 3), which numpy and matplotlib have."""
    return image[0].permute(1, 2, 0)


def broken(image: Tensor) -> Tensor:
    """With one NaN."""
    spoilt = image.clone()
    spoilt.view(-1)[0] = NAN
    return spoilt


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), 0.1)


def flat(images: Tensor) -> Tensor:
    """The simplest space of features."""
    return images.flatten(1)


def squared(images: Tensor, others: Tensor) -> Tensor:
    """The simplest distance, (N,)."""
    return (images - others).square().mean(dim=(1, 2, 3))


@functools.cache
def vgg(*layers: str) -> FeatureExtractor:
    return FeatureExtractor(layers=layers, **RANDOM)


def grams() -> dict[str, Tensor]:
    """Texture targets in the layers of ``vgg("relu1_1", "relu2_1")``."""
    return texture.gram_targets(vgg("relu1_1", "relu2_1"), picture())


# --- Small networks, made once -------------------------------------------------------------------


@functools.cache
def dcgan_pair() -> tuple[dcgan_networks.Generator, dcgan_networks.Discriminator]:
    return dcgan_networks.Generator(8, 4, 16), dcgan_networks.Discriminator(4, 16)


@functools.cache
def critic() -> nn.Module:
    return wgan.convolutional_critic(4, 16)


@functools.cache
def digit_pair() -> tuple[cgan.Generator, cgan.Discriminator]:
    return cgan.Generator(8, 4), cgan.Discriminator(width=4)


@functools.cache
def unet() -> pix2pix_networks.UNetGenerator:
    return pix2pix_networks.UNetGenerator(width=4, depth=3, max_width=8)


@functools.cache
def patches(channels: int = 6) -> pix2pix_networks.PatchDiscriminator:
    return pix2pix_networks.PatchDiscriminator(channels, width=4, layers=1)


@functools.cache
def translators() -> cyclegan.Translators:
    def network() -> Any:
        return cyclegan.ResNetGenerator(width=4, blocks=1)

    return cyclegan.Translators(network(), network())


WIDTHS = progan_networks.Widths(16, base=32, most=8)


@functools.cache
def growing() -> tuple[progan_networks.Generator, progan_networks.Critic]:
    return progan_networks.Generator(WIDTHS, latent=8), progan_networks.Critic(WIDTHS)


SIZES = stylegan2_networks.Sizes(16, base=64, most=8)


@functools.cache
def styled() -> tuple[stylegan2_networks.Generator, stylegan2_discriminator.Discriminator]:
    generator = stylegan2_networks.Generator(SIZES, latent=8, mapping_layers=2)
    return generator, stylegan2_discriminator.Discriminator(SIZES)


@torch.no_grad()
def styles(count: int = 2) -> Tensor:
    """w for each layer, (count, 6, 8)."""
    return styled()[0].styles(torch.linspace(-1, 1, count * 8).view(count, 8))


LABELS = torch.zeros(2, 32, 32, dtype=torch.long)


@functools.cache
def painter(latent: int = 0) -> spade.Painter:
    generator = spade_networks.Generator(5, 4, 32, latent, hidden=8, doublings=3)
    encoder = spade_networks.StyleEncoder(4, 32, latent) if latent else None
    return spade.Painter(generator, encoder)


@functools.cache
def universal() -> wct.Universal:
    """A model of the levels 1 and 2, its encoder with random weights."""
    untrained = functools.partial(FeatureExtractor, **RANDOM)
    with (
        mock.patch.object(wct, "FeatureExtractor", untrained),
        mock.patch.object(wct_networks, "FeatureExtractor", untrained),
    ):
        decoders = {level: wct_networks.Decoder(level, (4,) * 4) for level in (1, 2)}
        return wct.Universal({n: wct_networks.Autoencoder(each) for n, each in decoders.items()})
