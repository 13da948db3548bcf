"""The ResNet generator of CycleGAN (Zhu et al. 2017, appendix 7.2).

Its parts, in the paper's own letters: ``c7s1-k`` a 7×7 convolution, ``dk`` a 3×3 one of stride 2,
``Rk`` a residual block of two 3×3 ones, ``uk`` a transposed one of stride 2; instance
normalisation and a ReLU behind each, and reflection instead of zeros at the borders. The
discriminator is the PatchGAN of topic 10, with instance normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn

from coursekit.core import training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.pix2pix_networks import init_weights


class ResidualBlock(nn.Module):
    """``Rk``: x + conv(relu(conv(x))), each convolution 3×3 with its normalisation.

    Zhu et al. 2017, appendix 7.2. There is no ReLU behind the sum, so that the identity is
    x ↦ x + 0.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(width, width, 3), nn.ReLU(inplace=True), *_convolution(width, width, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) → the same shape; H and W of 2 or more."""
        return x + self.layers(x)


def reach(blocks: int, halvings: int) -> int:
    """How far a pixel of `ResNetGenerator`'s output sees to each side, in pixels, at least.

    Backwards from one output pixel through the layers, as `pix2pix_networks.patch_box` does for the
    discriminator: what lies further away decides nothing but the normalisation's two numbers a
    channel, which know no place. 81 at the published settings. Pixels between two halvings see up
    to 2 ** ``halvings`` − 1 more on one side.

    Raises:
        SettingError: a negative number of blocks or halvings.
    """
    if min(blocks, halvings) < 0:
        raise SettingError(f"{blocks=} and {halvings=} count from 0.")
    unit = 2**halvings
    return min(_seen(place, blocks, halvings) for place in range(unit))


def _seen(place: int, blocks: int, halvings: int) -> int:
    first, last = place - 3, place + 3
    for _ in range(halvings):  # transposed: output o comes from (o − 1) / 2 … (o + 1) / 2
        first, last = first // 2, (last + 1) // 2
    first, last = first - 2 * blocks, last + 2 * blocks
    for _ in range(halvings):
        first, last = 2 * first - 1, 2 * last + 1
    return min(place - first, last - place) + 3


class ResNetGenerator(nn.Module):
    """A picture in, a picture of the same size out: (N, C, H, W) in [-1, 1] both.

    At the published settings (appendix 7.2: width 64, 9 blocks) it has 11,378,179 parameters. The
    paper uses 6 blocks for pictures of 128 pixels.

    Args:
        in_channels, out_channels: of the pictures.
        width: feature maps of the first layer, 64 in the paper; each halving doubles them.
        blocks: residual blocks in the middle.
        halvings: how often the picture is halved on the way there, 2 in the paper. A picture of 64
            pixels keeps more of its detail with 1.
        precision: of the forward pass, as in `core.training.autocast`; the output is float32.

    Raises:
        SettingError: a width below 1, or a negative number of blocks or halvings.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        width: int = 64,
        blocks: int = 9,
        halvings: int = 2,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if width < 1 or min(blocks, halvings) < 0:
            raise SettingError(f"{width=} counts from 1, {blocks=} and {halvings=} from 0.")
        self.in_channels, self.halvings, self.precision = in_channels, halvings, precision
        widths = [width * 2**number for number in range(halvings + 1)]
        self.first = nn.Sequential(*_convolution(in_channels, width, 7), nn.ReLU(inplace=True))
        self.down = nn.Sequential(*(layer for each in widths[:-1] for layer in _down(each)))
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(blocks)))
        self.up = nn.Sequential(*(layer for each in widths[:0:-1] for layer in _up(each)))
        self.last = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()
        )
        init_weights(self)

    def forward(self, images: Tensor) -> Tensor:
        """Translated pictures.

        Raises:
            ShapeError: another number of channels, or sides that cannot be halved so often.
        """
        shape, unit = tuple(images.shape), 2**self.halvings
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise ShapeError(f"Expected (N, {self.in_channels}, H, W), got {shape}.")
        least = max(2 * unit, 4)
        if any(side % unit or side < least for side in shape[2:]):
            size = f"{shape[2]} × {shape[3]} pixels"
            raise ShapeError(f"{size}: both sides must be multiples of {unit}, from {least} up.")
        with training.autocast(images.device, self.precision):
            x = self.first(images)  # H × W
            x = self.blocks(self.down(x))  # H/4 × W/4 with 2 halvings
            return self.last(self.up(x)).float()  # H × W


def _convolution(before: int, after: int, size: int) -> list[nn.Module]:
    return [
        nn.ReflectionPad2d(size // 2),
        nn.Conv2d(before, after, size),
        nn.InstanceNorm2d(after),
    ]


def _down(width: int) -> list[nn.Module]:
    conv = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
    return [conv, nn.InstanceNorm2d(2 * width), nn.ReLU(inplace=True)]


def _up(width: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
    return [conv, nn.InstanceNorm2d(width // 2), nn.ReLU(inplace=True)]
