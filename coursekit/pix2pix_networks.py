"""The networks of Pix2Pix (Isola et al. 2017, §3.2 and appendix 6.1): U-Net and PatchGAN.

In the paper's own letters: ``Ck`` is Convolution-BatchNorm-ReLU with k feature maps, ``CDk`` the
same with a dropout of 50 % behind the normalisation. All convolutions are 4×4; those that change
the size do it by 2. Pictures inside the networks lie in [-1, 1].
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coursekit.core import training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.dcgan_networks import initialise as init_weights

__all__ = [
    "PatchDiscriminator",
    "UNetGenerator",
    "decode",
    "init_weights",
    "patch_box",
    "receptive_field",
]

NORMS = ("batch", "instance")
_NOISY = 3  # the paper's decoder starts with three CDk


# --- The generator -------------------------------------------------------------------------------


class UNetGenerator(nn.Module):
    """A picture in, a picture of the same size out: (N, C, H, W) in [-1, 1] both.

    The encoder halves the picture ``depth`` times, the decoder doubles it as often. The skip
    connection: layer n − i of the decoder also sees what layer i of the encoder made, stacked along
    the channels. At the published settings (U-Net-256: width 64, depth 8) it has 54,413,955
    parameters.

    Args:
        in_channels, out_channels: of the pictures.
        width: feature maps of the first layer; each halving doubles them, up to ``max_width``.
        depth: halvings. The sides of a picture must be multiples of 2 to that power; with 8, one
            of 256 pixels becomes a single position.
        max_width: where the doubling ends; 8 · width by default.
        skips: off makes the paper's plain encoder-decoder (§4.3).
        dropout: of the decoder's first three layers: the only noise z there is (§3.2.1).
        precision: of the forward pass, as in `core.training.autocast`; the output is float32.

    Raises:
        SettingError: a width below 1, a depth below 2, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        width: int = 64,
        depth: int = 8,
        max_width: int | None = None,
        skips: bool = True,
        dropout: float = 0.5,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if width < 1 or depth < 2 or not 0 <= dropout < 1:
            raise SettingError(f"{width=} counts from 1, {depth=} from 2; {dropout=} is in [0, 1).")
        self.in_channels, self.depth, self.skips = in_channels, depth, skips
        self.precision = precision
        most = 8 * width if max_width is None else max_width
        widths = [min(width * 2**level, most) for level in range(depth)]
        # C64-C128-C256-C512-C512-C512-C512-C512. No normalisation at the first layer, nor at the
        # last: one position of one picture, normalised, would always be 0.
        down = [nn.Sequential(_halve(in_channels, widths[0]))]
        down += [_down(*pair) for pair in itertools.pairwise(widths[:-1])]
        down += [nn.Sequential(nn.LeakyReLU(0.2), _halve(*widths[-2:]))]
        # CD512-CD512-CD512-C512-C256-C128-C64, then to the picture's channels and a tanh.
        up = [_up(widths[-1], widths[-2], dropout)]
        for number, (after, before) in enumerate(reversed([*itertools.pairwise(widths[:-1])]), 1):
            up.append(_up(self._seen(before), after, dropout if number < _NOISY else 0.0))
        last = nn.ConvTranspose2d(self._seen(widths[0]), out_channels, 4, stride=2, padding=1)
        up.append(nn.Sequential(nn.ReLU(), last, nn.Tanh()))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        init_weights(self)
        self.to(memory_format=torch.channels_last)

    def _seen(self, width: int) -> int:
        """Channels that a decoder layer gets: its own, and those of the skip connection."""
        return 2 * width if self.skips else width

    def forward(self, images: Tensor) -> Tensor:
        """Translated pictures.

        Raises:
            ShapeError: another number of channels, or sides that cannot be halved so often.
        """
        self._check(images)
        x = images.contiguous(memory_format=torch.channels_last)
        with training.autocast(images.device, self.precision):
            encoded = []
            for layer in self.down:  # H -> H/2 -> … -> H/2^depth
                x = layer(x)
                encoded.append(x)
            return decode(self.up, encoded, self.skips).float()

    def _check(self, images: Tensor) -> None:
        unit, shape = 2**self.depth, tuple(images.shape)
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise ShapeError(f"Expected pictures (N, {self.in_channels}, H, W), got {shape}.")
        if any(side % unit or side < unit for side in shape[2:]):
            raise ShapeError(
                f"{shape[2]} × {shape[3]} pixels cannot be halved {self.depth} times: both sides "
                f"must be multiples of {unit}. Use a smaller depth, or resize."
            )

    @contextlib.contextmanager
    def noisy(self) -> Iterator[None]:
        """Inside, dropout draws noise although the rest is in eval mode; afterwards as before."""
        layers = [part for part in self.modules() if isinstance(part, nn.Dropout)]
        before = [layer.training for layer in layers]
        try:
            for layer in layers:
                layer.train()
            yield
        finally:
            for layer, mode in zip(layers, before, strict=True):
                layer.train(mode)


def decode(
    layers: Iterable[Callable[[Tensor], Tensor]], encoded: Sequence[Tensor], skips: bool = True
) -> Tensor:
    """The decoder: n layers on the way back up, each fed by its mirror image as well (§3.2.1).

    The first layer gets the innermost features; every further one gets what the layer before it
    made and, behind that along the channels, the encoder's features of the same size.

    Args:
        layers: n of them, the innermost first.
        encoded: what the n encoder layers made, (N, C, h, w) each, the outermost first.
        skips: off leaves the encoder's features out.
    """
    x = encoded[-1]
    for number, layer in enumerate(layers):
        if number and skips:
            x = torch.cat([x, encoded[-1 - number]], dim=1)
        x = layer(x)
    return x


def _halve(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.LeakyReLU(0.2), _halve(before, after), nn.BatchNorm2d(after))


def _up(before: int, after: int, dropout: float) -> nn.Sequential:
    double = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)
    noise = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.ReLU(), double, nn.BatchNorm2d(after), *noise)


# --- The discriminator ---------------------------------------------------------------------------


class PatchDiscriminator(nn.Module):
    """Is each *patch* real? (N, channels, H, W) in [-1, 1] → logits (N, 1, h, w).

    Each logit sees `receptive_field` pixels a side, and nothing else (§3.2.2). With ``layers=3``
    that is the paper's 70×70 PatchGAN C64-C128-C256-C512: 2,768,705 parameters with the six
    channels of a pair, and 2,764,737 with three and instance normalisation, as CycleGAN has it.

    Args:
        channels: of the input picture and the output picture together.
        width: feature maps of the first layer; each further one has twice as many, up to 8 times.
        layers: convolutions of stride 2. 0 is the PixelGAN of the paper, all convolutions 1×1;
            1, 2, 3 see 16, 34, 70 pixels a side, and 5 sees 286, the paper's ImageGAN.
        norm: ``"batch"``, or ``"instance"`` (without weights of its own; then the convolutions
            have biases).
        precision: of the forward pass, as in `core.training.autocast`; the output is float32.

    Raises:
        SettingError: a width below 1, fewer than 0 layers, or no such norm.
    """

    def __init__(
        self,
        channels: int = 6,
        *,
        width: int = 64,
        layers: int = 3,
        norm: str = "batch",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if width < 1 or layers < 0 or norm not in NORMS:
            raise SettingError(f"{width=} counts from 1, {layers=} from 0; {norm=} is of {NORMS}.")
        self.channels, self.layers, self.precision = channels, layers, precision
        widths = [width * 2 ** min(level, 3) for level in range(max(layers, 1) + 1)]
        shapes = _shapes(layers)
        # No normalisation at the first layer: it would hide the picture's own colours.
        parts = [nn.Conv2d(channels, widths[0], **shapes[0]), nn.LeakyReLU(0.2, inplace=True)]
        for (before, after), shape in zip(itertools.pairwise(widths), shapes[1:-1], strict=True):
            parts.append(nn.Conv2d(before, after, **shape, bias=norm == "instance"))
            parts.append(nn.BatchNorm2d(after) if norm == "batch" else nn.InstanceNorm2d(after))
            parts.append(nn.LeakyReLU(0.2, inplace=True))
        parts.append(nn.Conv2d(widths[-1], 1, **shapes[-1]))
        self.network = nn.Sequential(*parts)
        init_weights(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """One logit a patch.

        Raises:
            ShapeError: another number of channels, or pictures too small for a single logit.
        """
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != self.channels:
            raise ShapeError(f"Expected pictures (N, {self.channels}, H, W), got {shape}.")
        least = 3 * 2**self.layers if self.layers else 1
        if min(shape[2:]) < least:
            raise ShapeError(
                f"{shape[2]} × {shape[3]} pixels leave no patch after {self.layers} halvings; "
                f"give {least} pixels a side or more, or use fewer layers."
            )
        x = images.contiguous(memory_format=torch.channels_last)
        with training.autocast(images.device, self.precision):
            return self.network(x).float()


def _shapes(layers: int) -> list[dict[str, Any]]:
    """Kernel, stride and padding of the discriminator's convolutions, from the picture on."""
    if layers == 0:
        return [{"kernel_size": 1, "stride": 1, "padding": 0}] * 3
    strides = [2] * layers + [1, 1]
    return [{"kernel_size": 4, "stride": stride, "padding": 1} for stride in strides]


def receptive_field(layers: int) -> int:
    """How many pixels a side one logit of `PatchDiscriminator` sees (the N of §3.2.2).

    Backwards from one logit: n positions behind a convolution of kernel k and stride s come from
    (n − 1) · s + k in front of it. 1, 16, 34, 70, 142, 286 for 0 to 5 layers.

    Raises:
        SettingError: fewer than 0 layers.
    """
    top, _, bottom, _ = patch_box(layers, 0, 0)
    return bottom - top


def patch_box(layers: int, row: int, column: int) -> tuple[int, int, int, int]:
    """The pixels that the logit at (row, column) sees: top, left, bottom, right, ends excluded.

    One of the patches of §3.2.2. The box may reach beyond the picture: there the convolutions'
    padding fills it with zeros.

    Raises:
        SettingError: fewer than 0 layers.
    """
    if layers < 0:
        raise SettingError(f"{layers=}: a discriminator has 0 layers or more.")
    first, last = [row, column], [row, column]
    for shape in reversed(_shapes(layers)):
        kernel, stride, padding = shape["kernel_size"], shape["stride"], shape["padding"]
        first = [place * stride - padding for place in first]
        last = [place * stride - padding + kernel - 1 for place in last]
    return first[0], first[1], last[0] + 1, last[1] + 1
