"""The networks of SPADE (Park et al. 2019, §3 and appendix A): generator, encoder, discriminator.

The label map comes into the generator at every normalisation and nowhere else. `ConcatGenerator`
is what it is compared with: the same blocks, the label map stacked beside the features, and
plain instance normalisation. Pictures inside the networks lie in [-1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from coursekit.core import training
from coursekit.core.errors import SettingError, ShapeError

__all__ = [
    "SPADE",
    "ConcatBlock",
    "ConcatGenerator",
    "Generator",
    "MultiscaleDiscriminator",
    "PatchDiscriminator",
    "SPADEBlock",
    "StyleEncoder",
    "normalise",
    "one_hot",
    "resize_labels",
]

SLOPE = 0.2  # of the leaky ReLUs
NORMS = ("batch", "instance")


# --- Label maps ----------------------------------------------------------------------------------


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class indices int64 (N, H, W) as one plane a class: float32 (N, classes, H, W), 0 and 1.

    Raises:
        ShapeError: not three dimensions, or not int64.
        SettingError: an index that is no class.
    """
    if labels.dim() != 3 or labels.dtype != torch.long:
        raise ShapeError(
            f"Label maps are int64 (N, H, W), not {labels.dtype} {tuple(labels.shape)}."
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.numel() else (0, 0)
    if low < 0 or high >= classes:
        raise SettingError(
            f"Labels run from {low} to {high}; there are classes 0 to {classes - 1}."
        )
    planes = torch.zeros(len(labels), classes, *labels.shape[1:], device=labels.device)
    return planes.scatter_(1, labels[:, None], 1.0)


def resize_labels(planes: Tensor, size: Sequence[int]) -> Tensor:
    """One-hot planes (N, C, H, W) at another (height, width), by the nearest pixel.

    As a `SPADE` layer needs them (Park et al. 2019, §3). Any smoother way would mix classes:
    halfway between class 1 and class 3 there is no class 2.

    Raises:
        ShapeError: no planes, or a size below 1 pixel.
    """
    if planes.dim() != 4 or len(size) != 2 or min(*planes.shape, *size) < 1:
        raise ShapeError(f"Planes {tuple(planes.shape)} cannot be resized to {tuple(size)}.")
    return planes if planes.shape[2:] == tuple(size) else F.interpolate(planes, tuple(size))


# --- The SPADE layer -----------------------------------------------------------------------------


def normalise(
    features: Tensor, *, over: Sequence[int] = (0, 2, 3), epsilon: float = 1e-5
) -> Tensor:
    """(x − μ) / σ without weights (Park et al. 2019, eq. 2 and 3).

    Args:
        features: (N, C, H, W).
        over: the dimensions that μ and σ² are taken over; (0, 2, 3) is batch normalisation,
            (2, 3) instance normalisation.
        epsilon: added to σ².
    """
    variance, mean = torch.var_mean(features, dim=tuple(over), keepdim=True, correction=0)
    return (features - mean) * torch.rsqrt(variance + epsilon)


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: γ(m) · (x − μ) / σ + β(m), γ and β for every pixel (eq. 1).

    A small network makes γ and β from the label map: a shared 3×3 convolution with a ReLU, then one
    3×3 convolution each. As in the authors' code, γ is written as 1 + γ, so that an untrained layer
    is close to plain normalisation.

    Args:
        channels: of the features.
        labels: planes of the label map.
        hidden: channels of the shared convolution; 128 in the paper.
        norm: ``"batch"``, as in the paper (synchronised there, which is the same on one device), or
            ``"instance"``; both without weights of their own.

    Raises:
        SettingError: no such norm, or fewer than one channel.
    """

    def __init__(
        self, channels: int, labels: int, *, hidden: int = 128, norm: str = "batch"
    ) -> None:
        super().__init__()
        if norm not in NORMS or min(channels, labels, hidden) < 1:
            raise SettingError(f"{channels=}, {labels=}, {hidden=} count from 1; {norm=}: {NORMS}.")
        kind = nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d
        self.norm = kind(channels, affine=False)
        self.shared = nn.Conv2d(labels, hidden, 3, padding=1)
        # γ and β in one convolution: the same weights as two, and faster.
        self.gamma_beta = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def modulation(self, planes: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """γ and β, two of (N, channels, *size), for label planes (N, labels, H, W).

        Raises:
            ShapeError: another number of planes.
        """
        if planes.dim() != 4 or planes.shape[1] != self.shared.in_channels:
            wanted = f"(N, {self.shared.in_channels}, H, W)"
            raise ShapeError(f"Expected label planes {wanted}, got {tuple(planes.shape)}.")
        hidden = F.relu(self.shared(resize_labels(planes, size)))
        gamma, beta = self.gamma_beta(hidden).chunk(2, dim=1)
        return gamma, beta

    def forward(self, features: Tensor, planes: Tensor) -> Tensor:
        """(N, channels, h, w) under label planes (N, labels, H, W) → (N, channels, h, w)."""
        gamma, beta = self.modulation(planes, features.shape[2:])
        return self.norm(features) * (1 + gamma) + beta


class SPADEBlock(nn.Module):
    """The SPADE ResBlk (fig. 4 left): two times SPADE-ReLU-convolution, beside a shortcut.

    Where the number of channels changes the shortcut is learned too: SPADE and a 1×1 convolution.
    All convolutions are spectrally normalised.

    Args:
        before, after: channels.
        labels, hidden, norm: as in `SPADE`.
    """

    def __init__(
        self, before: int, after: int, labels: int, *, hidden: int = 128, norm: str = "batch"
    ) -> None:
        super().__init__()
        middle = min(before, after)
        self.norms = nn.ModuleList(
            SPADE(channels, labels, hidden=hidden, norm=norm) for channels in (before, middle)
        )
        self.convolutions = _two_convolutions(before, middle, after)
        self.shortcut = None
        if before != after:
            self.shortcut = spectral_norm(nn.Conv2d(before, after, 1, bias=False))
            self.shortcut_norm = SPADE(before, labels, hidden=hidden, norm=norm)

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        """(N, before, h, w) and label planes → (N, after, h, w)."""
        straight = x
        if self.shortcut is not None:
            straight = self.shortcut(self.shortcut_norm(x, planes))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = convolution(F.leaky_relu(norm(x, planes), SLOPE))
        return straight + x


class ConcatBlock(nn.Module):
    """The same block for the comparison: instance norm, and the label map beside the features.

    Args:
        before, after: channels of the features.
        labels: planes of the label map, stacked before each 3×3 convolution.
    """

    def __init__(self, before: int, after: int, labels: int) -> None:
        super().__init__()
        self.convolutions = _two_convolutions(before, min(before, after), after, labels)
        self.shortcut = None
        if before != after:
            self.shortcut = spectral_norm(nn.Conv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        """(N, before, h, w) and label planes → (N, after, h, w)."""
        small = resize_labels(planes, x.shape[2:])
        straight = x if self.shortcut is None else self.shortcut(x)
        for convolution in self.convolutions:
            x = F.leaky_relu(F.instance_norm(x), SLOPE)
            x = convolution(torch.cat([x, small.to(x.dtype)], dim=1))
        return straight + x


def _two_convolutions(before: int, middle: int, after: int, further: int = 0) -> nn.ModuleList:
    pairs = ((before, middle), (middle, after))
    return nn.ModuleList(
        spectral_norm(nn.Conv2d(first + further, second, 3, padding=1)) for first, second in pairs
    )


# --- Generators ----------------------------------------------------------------------------------


class Generator(nn.Module):
    """SPADE generator (fig. 4 right): a few positions grow to a picture, the map steers each block.

    At the published settings (COCO-Stuff: 184 label planes, width 64, 256 pixels, five doublings)
    it has 97,480,899 parameters when it starts from the label map (``latent=0``), 112,626,883 when
    it starts from a style code of 256 numbers.

    Args:
        labels: planes of the label map.
        width: channels of the last block; each block before has twice as many, up to
            ``max_width``.
        size: of the picture in pixels, a multiple of 2 to the power of ``doublings``.
        latent: length of the style code z; 0 starts from the label map itself instead.
        hidden: as in `SPADE`.
        doublings: how often the size doubles: 5 is the authors' setting 'normal'.
        max_width: 16 · width at five doublings by default.
        norm: as in `SPADE`.
        precision: of the forward pass, as in `core.training.autocast`; the output is float32.

    Raises:
        SettingError: a setting out of range.
    """

    def __init__(
        self,
        labels: int = 184,
        width: int = 64,
        size: int = 256,
        latent: int = 0,
        *,
        hidden: int = 128,
        doublings: int = 5,
        max_width: int | None = None,
        norm: str = "batch",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        _check_growth(width, size, doublings)
        self.labels, self.size, self.latent, self.precision = labels, size, latent, precision
        self.start = size >> doublings
        self.hidden, self.norm = hidden, norm
        widths = _widths(width, doublings, max_width)
        if latent:
            self.first: nn.Module = nn.Linear(latent, widths[0] * self.start**2)
        else:
            self.first = nn.Conv2d(labels, widths[0], 3, padding=1)
        # head at the smallest size, two in the middle at twice that, then one a doubling
        pairs = [(widths[0], widths[0])] * 3 + list(itertools.pairwise(widths))
        self.blocks = nn.ModuleList(self.block(before, after) for before, after in pairs)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)
        _initialise(self)
        self.to(memory_format=torch.channels_last)

    def block(self, before: int, after: int) -> nn.Module:
        """One residual block; `ConcatGenerator` has another one."""
        return SPADEBlock(before, after, self.labels, hidden=self.hidden, norm=self.norm)

    def forward(self, planes: Tensor, latent: Tensor | None = None) -> Tensor:
        """Pictures (N, 3, size, size) in [-1, 1].

        Args:
            planes: one-hot label maps (N, labels, size, size).
            latent: style codes (N, latent) where the generator takes them.

        Raises:
            ShapeError: maps or codes of another shape.
        """
        self._check(planes, latent)
        planes = planes.contiguous(memory_format=torch.channels_last)
        with training.autocast(planes.device, self.precision):
            x = self._first(planes, latent)
            for number, block in enumerate(self.blocks):
                if number not in (0, 2):  # the two middle blocks work at the same size
                    x = F.interpolate(x, scale_factor=2)
                x = block(x, planes)
            return torch.tanh(self.last(F.leaky_relu(x, SLOPE)).float())

    def _first(self, planes: Tensor, latent: Tensor | None) -> Tensor:
        if latent is None:
            return self.first(resize_labels(planes, (self.start, self.start)))
        return self.first(latent).unflatten(1, (-1, self.start, self.start))

    def _check(self, planes: Tensor, latent: Tensor | None) -> None:
        wanted, shape = (self.labels, self.size, self.size), tuple(planes.shape)
        if shape[1:] != wanted or len(shape) != 4:
            raise ShapeError(
                f"Expected label planes (N, {', '.join(map(str, wanted))}), got {shape}."
            )
        found = None if latent is None else tuple(latent.shape)
        if found != ((len(planes), self.latent) if self.latent else None):
            raise ShapeError(
                f"Style codes: expected {(len(planes), self.latent) if self.latent else None}, "
                f"got {found}."
            )


class ConcatGenerator(Generator):
    """What SPADE is compared with: the label map stacked beside the features at every convolution.

    Differs from pix2pixHD (Wang et al. 2018), where the map is only stacked to the input of an
    encoder: here it comes in at every scale, as SPADE's does, in the same blocks at the same
    sizes. What is left is *how* it comes in: through the convolutions, past instance norm.
    Arguments as in `Generator`; ``hidden`` and ``norm`` have no meaning here.
    """

    def block(self, before: int, after: int) -> nn.Module:
        """One residual block with instance norm."""
        return ConcatBlock(before, after, self.labels)


def _widths(width: int, doublings: int, max_width: int | None) -> list[int]:
    """Channels from the head to the last block: 1024, 512, 256, 128, 64 as published."""
    most = width << (doublings - 1) if max_width is None else max_width
    return [min(width << level, most) for level in reversed(range(doublings))]


def _check_growth(width: int, size: int, doublings: int) -> None:
    if width < 1 or doublings < 2 or size < 1 << doublings or size % (1 << doublings):
        raise SettingError(
            f"{width=} counts from 1, {doublings=} from 2, and {size=} must be a multiple of "
            f"{1 << max(doublings, 0)}."
        )


# --- Style encoder -------------------------------------------------------------------------------


class StyleEncoder(nn.Module):
    """Pictures → mean and log-variance of their style code (appendix A).

    3×3 convolutions of stride 2 with spectral and instance norm, down to 4×4, then two linear
    layers. At the published settings (width 64, 256 pixels, 256 numbers) 10,463,424 parameters.

    Args:
        width: channels of the first layer: then 2, 4, 8, 8, … times as many, up to ``max_width``.
        size: of the pictures, 4 times a power of two.
        latent: length of the code.
        max_width: 8 · width by default.
        precision: of the forward pass, as in `core.training.autocast`; the output is float32.

    Raises:
        SettingError: a size that does not halve to 4.
    """

    def __init__(
        self,
        width: int = 64,
        size: int = 256,
        latent: int = 256,
        *,
        max_width: int | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        halvings = size.bit_length() - 3
        if size != 4 << halvings or halvings < 1 or min(width, latent) < 1:
            raise SettingError(f"{size=} must be 8, 16, 32 …; {width=} and {latent=} count from 1.")
        self.size, self.latent, self.precision = size, latent, precision
        most = 8 * width if max_width is None else max_width
        widths = [3] + [min(width << level, most) for level in range(halvings)]
        layers = []
        for before, after in itertools.pairwise(widths):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [spectral_norm(convolution), nn.InstanceNorm2d(after), nn.LeakyReLU(SLOPE)]
        self.network = nn.Sequential(*layers)
        self.mean = nn.Linear(16 * widths[-1], latent)
        self.log_variance = nn.Linear(16 * widths[-1], latent)
        _initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, two of (N, latent), of pictures (N, 3, size, size) in [-1, 1].

        Raises:
            ShapeError: pictures of another size.
        """
        if tuple(images.shape[1:]) != (3, self.size, self.size):
            raise ShapeError(
                f"Expected pictures (N, 3, {self.size}, {self.size}), got {tuple(images.shape)}."
            )
        with training.autocast(images.device, self.precision):
            features = self.network(images.contiguous(memory_format=torch.channels_last)).flatten(1)
            return self.mean(features).float(), self.log_variance(features).float()


# --- Discriminator -------------------------------------------------------------------------------


class PatchDiscriminator(nn.Module):
    """One scale: convolutions 4×4 with spectral and instance norm; every layer's output counts.

    Park et al. 2019, appendix A, after Isola et al. 2017.

    Args:
        channels: of label planes and picture together.
        width: channels of the first layer; each further one has twice as many, up to 8 times.
        layers: 4 in the paper: two of stride 2 behind the first one, then one of stride 1.
    """

    def __init__(self, channels: int, *, width: int = 64, layers: int = 4) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(layers)]
        first = nn.Conv2d(channels, width, 4, stride=2, padding=2)
        parts: list[nn.Module] = [nn.Sequential(first, nn.LeakyReLU(SLOPE))]
        for number, (before, after) in enumerate(itertools.pairwise(widths), 2):
            stride = 1 if number == layers else 2
            convolution = nn.Conv2d(before, after, 4, stride=stride, padding=2, bias=False)
            norm = nn.InstanceNorm2d(after)
            parts.append(nn.Sequential(spectral_norm(convolution), norm, nn.LeakyReLU(SLOPE)))
        parts.append(nn.Conv2d(widths[-1], 1, 4, padding=2))
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        """What every layer makes, the logits (N, 1, h, w) last."""
        found = []
        for part in self.parts:
            x = part(x)
            found.append(x)
        return found


class MultiscaleDiscriminator(nn.Module):
    """The same discriminator at several scales: each sees the pair at half the size of the last.

    Wang et al. 2018; Park et al. 2019, appendix A.

    Args:
        labels: planes of the label map.
        width, layers: as in `PatchDiscriminator`.
        scales: how many; 2 in the paper.
        precision: of the forward pass, as in `core.training.autocast`; outputs are float32.

    Raises:
        SettingError: a count below 1, or fewer than two layers.
    """

    def __init__(
        self,
        labels: int = 184,
        *,
        width: int = 64,
        layers: int = 4,
        scales: int = 2,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if min(labels, width, scales) < 1 or layers < 2:
            raise SettingError(f"{labels=}, {width=}, {scales=} count from 1, {layers=} from 2.")
        self.labels, self.precision = labels, precision
        self.scales = nn.ModuleList(
            PatchDiscriminator(labels + 3, width=width, layers=layers) for _ in range(scales)
        )
        _initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, planes: Tensor, images: Tensor) -> list[list[Tensor]]:
        """For each scale what every layer makes, the logits (N, 1, h, w) last.

        Args:
            planes: one-hot label maps (N, labels, H, W).
            images: (N, 3, H, W) in [-1, 1].

        Raises:
            ShapeError: planes and pictures that do not belong together.
        """
        if planes.shape[1] != self.labels or images.shape != (len(planes), 3, *planes.shape[2:]):
            raise ShapeError(
                f"Expected planes (N, {self.labels}, H, W) and pictures (N, 3, H, W), got "
                f"{tuple(planes.shape)} and {tuple(images.shape)}."
            )
        found = []
        x = torch.cat([planes, images], dim=1).contiguous(memory_format=torch.channels_last)
        with training.autocast(images.device, self.precision):
            for number, scale in enumerate(self.scales):
                if number:
                    x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
                found.append([each.float() for each in scale(x)])
        return found


def _initialise(module: nn.Module) -> None:
    """Glorot's normal with gain 0.02, as in the authors' code; biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            weight = getattr(part, "parametrizations", None)
            nn.init.xavier_normal_(weight.weight.original if weight else part.weight, gain=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
