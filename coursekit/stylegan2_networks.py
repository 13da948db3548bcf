"""The generator of StyleGAN2, and of the steps on the way there from StyleGAN.

At NVIDIA's published settings it has the published number of parameters, and every parameter has
the name and shape that it has in NVIDIA's state dicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coursekit.core import checks, training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.progan_layers import equalised_scale, pixel_norm
from coursekit.stylegan2_layers import (
    activate,
    adain,
    filter_2d,
    modulated_conv2d,
    upsample,
)

LATENT = 512  # dimensions of z and w in both papers
_W_AVERAGE = 0.998  # decay of the running mean of w, for truncation
BLOCKS = ("demodulated", "adain")
OUTPUTS = ("skip", "plain")


@dataclass(frozen=True)
class Sizes:
    """How large the networks are; the defaults are NVIDIA's for 256 pixels.

    Source: none; the settings of the published code.

    Attributes:
        size: of the image in pixels, 4 · 2ⁿ.
        base, most: a resolution r has min(base / r, most) channels.
        channels: of the image.

    Raises:
        SettingError: another size, or a layer that would have no channel.
    """

    size: int = 256
    base: int = 32768
    most: int = 512
    channels: int = 3

    def __post_init__(self) -> None:
        levels = math.log2(self.size / 4) if self.size >= 8 else 0.5
        if levels != int(levels):
            raise SettingError(f"size={self.size} must be 4 doubled a few times: 8, 16, 32, 64 ….")
        if self.width(self.size) < 1 or self.channels < 1:
            raise SettingError(f"base={self.base}, most={self.most}: a layer has no channels left.")

    @property
    def resolutions(self) -> list[int]:
        """4, 8, … size."""
        return [4 * 2**level for level in range(int(math.log2(self.size / 4)) + 1)]

    def width(self, resolution: int) -> int:
        """Channels at a resolution."""
        return min(self.base // resolution, self.most)


PUBLISHED = Sizes()


class Linear(nn.Module):
    """A linear layer with equalised learning rate (Karras et al. 2018, section 4.1) and gain 1.

    Args:
        before, after: sizes.
        bias: what the bias starts at.
        multiplier: of the learning rate (the mapping network: 0.01).
        active: whether `activate` follows.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        bias: float = 0.0,
        multiplier: float = 1.0,
        active: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / multiplier)
        self.bias = nn.Parameter(torch.full((after,), float(bias)))
        self.scale = equalised_scale(before, gain=1.0) * multiplier
        self.multiplier, self.active = multiplier, active

    def forward(self, x: Tensor) -> Tensor:
        """x (N, before) → (N, after)."""
        found = nn.functional.linear(x, self.weight * self.scale, self.bias * self.multiplier)
        return activate(found) if self.active else found


class Mapping(nn.Module):
    """The mapping network f: z → w (Karras et al. 2019, section 2).

    z is normalised first, so that only its direction counts. Beside it runs the mean of w, for
    the truncation trick.

    Args:
        latent: dimensions of z and w.
        layers: how many, 8 as published.
        multiplier: of their learning rate.

    Raises:
        SettingError: no dimension of z, or a negative number of layers.
    """

    w_avg: Tensor

    def __init__(self, latent: int = LATENT, layers: int = 8, multiplier: float = 0.01) -> None:
        super().__init__()
        checks.at_least(1, latent=latent)
        checks.at_least(0, layers=layers)
        self.latent, self.layers = latent, layers
        for number in range(layers):
            layer = Linear(latent, latent, multiplier=multiplier, active=True)
            self.add_module(f"fc{number}", layer)
        self.register_buffer("w_avg", torch.zeros(latent))

    def forward(self, z: Tensor, *, update_average: bool = False) -> Tensor:
        """z (N, latent) → w (N, latent).

        Args:
            z: latent vectors.
            update_average: move the running mean of w, as training does.

        Raises:
            ShapeError: the vectors are not (N, latent).
        """
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise ShapeError(f"Latent vectors are (N, {self.latent}), not {tuple(z.shape)}.")
        w = pixel_norm(z)
        for number in range(self.layers):
            w = self.get_submodule(f"fc{number}")(w)
        if update_average:
            self.w_avg.lerp_(w.detach().mean(dim=0), 1 - _W_AVERAGE)
        return w

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """w′ = w̄ + ψ (w − w̄), (…, latent): nearer to the mean, better and more uniform images.

        Raises:
            SettingError: a ψ that is not finite.
        """
        checks.finite(psi=psi)
        return self.w_avg + psi * (w - self.w_avg)


class StyledConv(nn.Module):
    """Style, 3×3 convolution, noise, bias, activation: one layer of the synthesis network.

    With ``block="demodulated"`` this is the revised layer of StyleGAN2 (2020, Figure 2d): the
    convolution is modulated and demodulated. With ``block="adain"`` it is StyleGAN's (2019,
    Figure 1b): a plain convolution, noise, bias, activation, then AdaIN.

    Args:
        before, after: channels.
        latent: dimensions of w.
        resolution: of the output.
        up: whether the output is twice as large as the input.
        block: one of `BLOCKS`.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, before: int, after: int, latent: int, resolution: int, *, up: bool, block: str
    ) -> None:
        super().__init__()
        self.up, self.block, self.resolution = up, block, resolution
        styles = before if block == "demodulated" else 2 * after
        self.affine = Linear(latent, styles, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, 3, 3))
        self.bias = nn.Parameter(torch.zeros(after))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", filter_2d())
        if block == "adain":  # y = (y_s, y_b) starts at (1, 0)
            nn.init.zeros_(self.affine.bias[after:])
        self.scale = equalised_scale(before * 9, gain=1.0)

    def forward(self, x: Tensor, w: Tensor, noise: str = "random") -> Tensor:
        """x (N, before, H, W), w (N, latent) → (N, after, resolution, resolution).

        ``noise`` is ``"random"``, ``"const"`` (the same in every image) or ``"none"``.
        """
        kernel = self.resample_filter if self.up else None
        if self.block == "demodulated":
            found = modulated_conv2d(x, self.weight, self.affine(w), kernel=kernel)
            return activate(self._noisy(found, noise), self.bias)
        ones = x.new_ones(x.shape[:2])
        weight = self.weight * self.scale
        found = modulated_conv2d(x, weight, ones, demodulate=False, kernel=kernel)
        scale, bias = self.affine(w).chunk(2, dim=1)
        return adain(activate(self._noisy(found, noise), self.bias), scale, bias)

    def _noisy(self, x: Tensor, noise: str) -> Tensor:
        if noise == "none":
            return x
        if noise == "const":
            return x + self.noise_const * self.noise_strength
        fresh = torch.randn(len(x), 1, *x.shape[2:], device=x.device, dtype=x.dtype)
        return x + fresh * self.noise_strength


class ToRGB(nn.Module):
    """A modulated 1×1 convolution to the image's channels, without demodulation or activation.

    tRGB in Karras et al. 2020, Figure 7.
    """

    def __init__(self, before: int, channels: int, latent: int) -> None:
        super().__init__()
        self.affine = Linear(latent, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, before, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = equalised_scale(before, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x (N, before, H, W), w (N, latent) → (N, channels, H, W)."""
        style = self.affine(w) * self.scale
        found = modulated_conv2d(x, self.weight, style, demodulate=False)
        return found + self.bias.to(found.dtype).view(-1, 1, 1)


class SynthesisBlock(nn.Module):
    """One resolution of the synthesis network: two layers (one at 4×4) and an image.

    Karras et al. 2020, Figure 7b; without the image, Karras et al. 2019, Figure 1b.

    Args:
        before, after: channels; the first block, which begins from a constant, has ``before`` 0.
        latent: dimensions of w.
        resolution: of the output.
        channels: of the image.
        block: one of `BLOCKS`.
        to_rgb: whether this resolution makes an image.
    """

    resample_filter: Tensor

    def __init__(
        self,
        before: int,
        after: int,
        latent: int,
        resolution: int,
        channels: int,
        *,
        block: str,
        to_rgb: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("resample_filter", filter_2d())
        if before:
            self.conv0 = StyledConv(before, after, latent, resolution, up=True, block=block)
        else:
            self.const = nn.Parameter(torch.randn(after, resolution, resolution))
        self.conv1 = StyledConv(after, after, latent, resolution, up=False, block=block)
        self.layers = [self.conv0, self.conv1] if before else [self.conv1]
        self.torgb = ToRGB(after, channels, latent) if to_rgb else None

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: Tensor, noise: str
    ) -> tuple[Tensor, Tensor | None]:
        """Features and image at half the resolution, w for each layer (N, L, latent) → both.

        The image is a sum over resolutions and may have any range.
        """
        if x is None:
            x = self.const.expand(len(styles), -1, -1, -1)
        for number, layer in enumerate(self.layers):
            x = layer(x, styles[:, number], noise)
        if image is not None:
            image = upsample(image, self.resample_filter)
        if self.torgb is not None:
            # The style of an image layer is that of the next resolution's first layer.
            own = self.torgb(x, styles[:, len(self.layers)]).float()
            image = own if image is None else image + own
        return x, image


class Synthesis(nn.Module):
    """The synthesis network g: w → image.

    Args:
        sizes: resolutions and channels.
        latent: dimensions of w.
        block: one of `BLOCKS`.
        output: ``"skip"`` sums an image of every resolution, upsampled (2020, Figure 7b); with
            ``"plain"`` only the last resolution makes one.
        precision: of the layers, as in `core.training.autocast`; images are summed in float32.

    Raises:
        SettingError: no such block, output or precision.
    """

    def __init__(
        self,
        sizes: Sizes = PUBLISHED,
        latent: int = LATENT,
        *,
        block: str = "demodulated",
        output: str = "skip",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if block not in BLOCKS or output not in OUTPUTS:
            raise SettingError(f"{block=} and {output=}: choose from {BLOCKS} and {OUTPUTS}.")
        self.sizes, self.latent, self.precision = sizes, latent, precision
        before = 0
        for resolution in sizes.resolutions:
            after = sizes.width(resolution)
            made = SynthesisBlock(
                before,
                after,
                latent,
                resolution,
                sizes.channels,
                block=block,
                to_rgb=output == "skip" or resolution == sizes.size,
            )
            self.add_module(f"b{resolution}", made)
            before = after
        # A style for every 3×3 convolution, and one for the last image layer.
        self.count = 2 * len(sizes.resolutions)
        self.to(memory_format=torch.channels_last)  # what follows the weights follows their order

    def forward(self, styles: Tensor, *, noise: str = "random") -> Tensor:
        """w (N, latent), or one for each layer (N, count, latent) → images (N, C, S, S).

        Args:
            styles: as above; the first ones are for the coarsest layers.
            noise: ``"random"``, ``"const"`` or ``"none"``.

        Raises:
            ShapeError: another shape.
            SettingError: no such noise.
        """
        if noise not in ("random", "const", "none"):
            raise SettingError(f"There is no {noise=}; choose 'random', 'const' or 'none'.")
        if styles.dim() == 2:
            styles = styles[:, None].expand(-1, self.count, -1)
        if styles.dim() != 3 or styles.shape[1:] != (self.count, self.latent):
            raise ShapeError(
                f"Styles are {tuple(styles.shape)}; give (N, {self.latent}) or (N, {self.count}, "
                f"{self.latent})."
            )
        x: Any = None  # the first block has a constant of its own
        image: Any = None
        first = 0
        with training.autocast(styles.device, self.precision):
            for resolution in self.sizes.resolutions:
                block = self.get_submodule(f"b{resolution}")
                x, image = block(x, image, styles[:, first:], noise)
                first += 1 if resolution == 4 else 2  # its 3×3 convolutions
        return image.float()


class Generator(nn.Module):
    """StyleGAN2's generator: z → w → image (Karras et al. 2020).

    With the defaults it has 30,034,338 parameters, at 64 pixels 27,032,600. With
    ``block="adain"`` and ``output="plain"`` it is StyleGAN's.

    Differs from Karras et al. 2019: the layer to RGB is modulated in every variant, so that what
    is compared is the block and the output alone.

    Args:
        sizes: resolutions and channels.
        latent: dimensions of z and w.
        mapping_layers: of the mapping network.
        block, output, precision: as for `Synthesis`.
    """

    def __init__(
        self,
        sizes: Sizes = PUBLISHED,
        *,
        latent: int = LATENT,
        mapping_layers: int = 8,
        block: str = "demodulated",
        output: str = "skip",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.latent = latent
        self.mapping = Mapping(latent, mapping_layers)
        self.synthesis = Synthesis(sizes, latent, block=block, output=output, precision=precision)

    def forward(self, z: Tensor, *, psi: float = 1.0, noise: str = "random") -> Tensor:
        """z (N, latent) → images (N, C, S, S), about [-1, 1].

        Args:
            z: latent vectors.
            psi: ψ of `Mapping.truncate`; 1 leaves w as it is.
            noise: as for `Synthesis.forward`.
        """
        w = self.mapping(z)
        if psi != 1:
            w = self.mapping.truncate(w, psi)
        return self.synthesis(w, noise=noise)

    def styles(self, z: Tensor) -> Tensor:
        """z (N, latent) → one w for each layer (N, count, latent), to mix and to edit."""
        return self.mapping(z)[:, None].repeat(1, self.synthesis.count, 1)


def mix(styles: Tensor, others: Tensor, crossover: int) -> Tensor:
    """Style mixing (Karras et al. 2019, section 3.1): the layers from ``crossover`` on are B's.

    Args:
        styles, others: A's and B's, (N, count, latent).
        crossover: 0 takes all from B, count takes all from A.

    Raises:
        ShapeError: the shapes differ or are not of three dimensions.
        SettingError: there is no such layer.
    """
    if styles.shape != others.shape or styles.dim() != 3:
        raise ShapeError(f"Styles are {tuple(styles.shape)} and {tuple(others.shape)}.")
    if not 0 <= crossover <= styles.shape[1]:
        raise SettingError(f"crossover={crossover} is not in 0 … {styles.shape[1]}.")
    return torch.cat([styles[:, :crossover], others[:, crossover:]], dim=1)
