"""Topic 13, from StyleGAN to StyleGAN2: the steps of the revision, and where droplets come from.

StyleGAN's block (Karras et al. 2019) is `StyledConv` with ``block="adain"``; it begins from a
learned constant, as StyleGAN2's does. `VARIANTS` are the steps of the revision as settings of the
same code. The rest looks for droplets: places that dominate the statistics of a whole map, with
which a generator gets signal strength past AdaIN (Karras et al. 2020, section 2).

Source: none; measures of this course.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import stylegan2
from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.stylegan2_layers import adain, demodulation
from coursekit.stylegan2_networks import Generator, Sizes
from coursekit.stylegan2_projection import noisy_layers
from coursekit.stylegan2_styles import draw_w

# --- The steps of the revision -------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One step on the way from StyleGAN to StyleGAN2.

    Attributes:
        block, output: of the generator, as for `Synthesis`.
        critic: as for `Discriminator`.
        mapping_layers: 0 hands the normalised z to the layers.
        r1, path_weight: of the game; 0 leaves the term out.
        mixing: the probability of style mixing while training.
    """

    block: str = "demodulated"
    output: str = "skip"
    critic: str = "residual"
    mapping_layers: int = 8
    r1: float = 1.0
    path_weight: float = 2.0
    mixing: float = 0.9


_PLAIN: dict[str, Any] = {"output": "plain", "critic": "plain", "r1": 0.0, "path_weight": 0.0}
VARIANTS: Mapping[str, Variant] = {
    "Z → AdaIN": Variant(block="adain", mapping_layers=0, **_PLAIN),
    "+ mapping network": Variant(block="adain", **_PLAIN),
    "+ demodulation": Variant(**_PLAIN),
    "+ skip / residual": Variant(r1=0.0, path_weight=0.0),
    "+ R1 / path length": Variant(),
}


def make_game(
    variant: Variant,
    sizes: Sizes,
    *,
    latent: int = 128,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    **settings: Any,
) -> stylegan2.Game:
    """The networks and the game of a variant; ``settings`` are `stylegan2.Game`'s other ones."""
    generator = Generator(
        sizes,
        latent=latent,
        mapping_layers=variant.mapping_layers,
        block=variant.block,
        output=variant.output,
        precision=precision,
    ).to(runtime.find_device(device))
    critic = stylegan2.Discriminator(sizes, critic=variant.critic, precision=precision).to(device)
    terms = {"r1": variant.r1, "path_weight": variant.path_weight, "mixing": variant.mixing}
    settings = terms | settings
    return stylegan2.Game(generator, critic, **settings)


# --- How much one place dominates a map ----------------------------------------------------------


def dominance(maps: Tensor, window: int = 1) -> Tensor:
    """The share of a map's variance that comes from one place.

    max over places of Σ_window (x − μ)² / Σ_map (x − μ)². It does not change when a map is scaled
    or shifted: before and after AdaIN it is the same number.

    Args:
        maps: (N, C, H, W).
        window: side of the place in pixels, odd.

    Returns:
        (N, C), from about window² / (H·W), where all places are alike, to 1; 0 for flat maps.

    Raises:
        ShapeError: not four dimensions, or maps smaller than the window.
        SettingError: an even window.
    """
    if window < 1 or window % 2 == 0:
        raise SettingError(f"{window=}: a place has a middle; take an odd number of pixels.")
    if maps.dim() != 4 or min(maps.shape[2:]) < window:
        raise ShapeError(f"Maps are {tuple(maps.shape)}; (N, C, H, W) of {window} pixels or more.")
    deviation = (maps.float() - maps.float().mean(dim=(2, 3), keepdim=True)).square()
    inside = F.avg_pool2d(deviation, window, stride=1, padding=window // 2) * window**2
    total = deviation.sum(dim=(2, 3))
    return inside.amax(dim=(2, 3)) / total.clamp(min=1e-12)


def dominance_of_noise(size: int, window: int = 1, *, maps: int = 2000, seed: int = 0) -> float:
    """The median `dominance` of white noise of size² pixels: what is no droplet."""
    noise = torch.randn(maps, 1, size, size, generator=runtime.generator(seed))
    return float(dominance(noise, window).median())


@torch.no_grad()
def activations(generator: Generator, styles: Tensor, *, noise: str = "const") -> dict[str, Tensor]:
    """What every styled layer gives, (N, C, H, W) by name (``"b16.conv0"``), on the CPU."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Any, Any, Tensor], None]:
        return lambda layer, inputs, output: found.__setitem__(name, output.float().cpu())

    layers = noisy_layers(generator.synthesis)
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        generator.synthesis(styles.to(next(generator.parameters()).device), noise=noise)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@dataclass(frozen=True)
class Droplets:
    """How much single places dominate the maps of one layer.

    Attributes:
        layer: its name.
        size: of the maps in pixels.
        median, highest: over the maps of all pictures; the highest is the 99th percentile.
        noise: the median for white noise of that size.
        dominated: the share of maps of which one place holds more than half the variance.
    """

    layer: str
    size: int
    median: float
    highest: float
    noise: float
    dominated: float


def find_droplets(
    generator: Generator, *, count: int = 64, window: int = 3, seed: int = 0
) -> list[Droplets]:
    """`dominance` in every styled layer, the coarsest first; maps below 16 pixels are left out.

    Karras et al. 2020, section 2, see droplets from 64 pixels on.

    Args:
        generator: of either block.
        count: pictures.
        window: side of a place in pixels.
        seed: of the pictures.
    """
    found = activations(generator, draw_w(generator, count, seed=seed))
    return [_droplets(name, maps, window) for name, maps in found.items() if maps.shape[-1] >= 16]


def _droplets(name: str, maps: Tensor, window: int) -> Droplets:
    shares, size = dominance(maps, window).flatten(), maps.shape[-1]
    return Droplets(
        name,
        size,
        float(shares.median()),
        float(shares.quantile(0.99)),
        dominance_of_noise(size, window),
        float((shares > 0.5).float().mean()),
    )


# --- The case constructed ------------------------------------------------------------------------


def with_spike(maps: Tensor, height: float, place: tuple[int, int] = (0, 0)) -> Tensor:
    """The same maps (N, C, H, W), one pixel raised by ``height`` of each one's deviations.

    The strong, local spike that Karras et al. 2020, section 2, suspect.

    Raises:
        ShapeError: a place outside of the maps.
    """
    row, column = place
    if maps.dim() != 4 or not (0 <= row < maps.shape[2] and 0 <= column < maps.shape[3]):
        raise ShapeError(f"There is no place {place} in maps {tuple(maps.shape)}; (N, C, H, W).")
    spiked = maps.clone()
    spiked[:, :, row, column] += height * maps.std(dim=(2, 3), unbiased=False)
    return spiked


@dataclass(frozen=True)
class SpikeStudy:
    """What one strong pixel does to all the others, by block.

    Attributes:
        heights: of the pixel, in standard deviations of the map.
        rest: by block, the standard deviation of all other pixels behind the normalisation, as a
            share of what it is without the pixel.
        predicted: of AdaIN, 1 / √(1 + h² (n − 1) / n² + 2 h (x − μ) / (n σ)), without the last
            term: n pixels, and x the pixel's value before.
    """

    heights: list[float]
    rest: dict[str, list[float]] = field(default_factory=dict)
    predicted: list[float] = field(default_factory=list)


def study_spike(
    heights: Sequence[float] = (0, 10, 30, 100, 300), *, size: int = 64, seed: int = 0
) -> SpikeStudy:
    """One pixel against the statistics: AdaIN and demodulation on the same 16 maps of noise.

    AdaIN divides a map by its own standard deviation: a pixel that is large enough decides it, and
    the generator chooses by its height how strong everything else comes out. Demodulation divides
    by what the weights would give for unit-variance inputs: a pixel changes nothing but itself
    (Karras et al. 2020, section 2).
    """
    random = runtime.generator(seed)
    maps = torch.randn(1, 16, size, size, generator=random)
    weight = torch.randn(16, 16, 1, 1, generator=random)
    style = torch.ones(1, 16)
    normalise = {
        "AdaIN": lambda x: adain(x, style, torch.zeros_like(style)),
        "demodulation": lambda x: (
            F.conv2d(x, weight) * demodulation(weight, style)[:, :, None, None]
        ),
    }
    study, pixels = SpikeStudy(list(heights)), size * size
    for name, block in normalise.items():
        usual = _rest(block(maps))
        strengths = [_rest(block(with_spike(maps, height))) for height in heights]
        study.rest[name] = [float((each / usual).mean()) for each in strengths]
    study.predicted.extend(
        1 / math.sqrt(1 + height**2 * (pixels - 1) / pixels**2) for height in heights
    )
    return study


def _rest(maps: Tensor) -> Tensor:
    """The standard deviation of all pixels but the first, (N, C)."""
    return maps.flatten(2)[:, :, 1:].std(dim=2)
