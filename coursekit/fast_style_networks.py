"""The network that paints in one pass: Johnson, Alahi & Fei-Fei 2016, supplementary table 1."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from coursekit.core.errors import ImageError, SettingError, ShapeError
from coursekit.core.training import autocast

NORMS = ("instance", "batch", "none")
# The 9×9 convolutions mirror four pixels at each border, and torch mirrors no more than there are.
MINIMUM_SIZE = 5
# A step of Adam moves all weights of the last layer by about as much, and it sums up 81 places of
# every channel: undivided, one step could turn black into white.
_CALM = 10.0


def instance_norm(features: Tensor, scale: Tensor, shift: Tensor, epsilon: float = 1e-5) -> Tensor:
    r"""Instance normalisation (Ulyanov, Vedaldi & Lempitsky 2016):
    :math:`\gamma_c\, (x - \mu_{nc}) / \sqrt{\sigma_{nc}^2 + \epsilon} + \beta_c`.

    Mean and variance are those of one channel of one image, over its positions alone: the contrast
    of the photograph is taken out, whoever else is in the batch.

    Args:
        features: (N, C, H, W).
        scale: :math:`\gamma`, (C,).
        shift: :math:`\beta`, (C,).
        epsilon: keeps flat channels from a division by zero.

    Returns:
        (N, C, H, W).

    Raises:
        ShapeError: other shapes.
    """
    if features.dim() != 4 or not features.shape[1:2] == scale.shape == shift.shape:
        raise ShapeError(
            f"Features {tuple(features.shape)}, scale {tuple(scale.shape)} and shift "
            f"{tuple(shift.shape)} do not fit: (N, C, H, W), (C,), (C,)."
        )
    variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True, correction=0)
    normalised = (features - mean) * (variance + epsilon).rsqrt()
    return normalised * scale[:, None, None] + shift[:, None, None]


def normalisation(kind: str, channels: int) -> nn.Module:
    """The layer after a convolution: ``"instance"``, ``"batch"`` or ``"none"``.

    Raises:
        SettingError: another kind.
    """
    if kind not in NORMS:
        raise SettingError(f"There is no norm {kind!r}. Choose one of {', '.join(NORMS)}.")
    if kind == "none":
        return nn.Identity()
    return (
        nn.InstanceNorm2d(channels, affine=True) if kind == "instance" else nn.BatchNorm2d(channels)
    )


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that sees a mirror beyond the border: zeros there would paint a frame.

    Kernel and stride in pixels.
    """
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect")


class Stage(nn.Module):
    """Enlarge (if asked), convolve, normalise, ReLU.

    ``upsample=2`` repeats each pixel before a stride-1 convolution (Odena et al. 2016) where the
    paper has a convolution of stride 1/2: that one leaves a checkerboard.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        upsample: int = 1,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.conv = convolution(inputs, outputs, kernel, stride)
        self.norm = normalisation(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H · upsample / stride, …), rounded up."""
        if self.upsample > 1:
            x = functional.interpolate(x, scale_factor=self.upsample, mode="nearest")
        return functional.relu(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """x + norm(conv(ReLU(norm(conv(x))))), with no ReLU after the sum (Gross & Wilber 2016).

    Differs from Johnson et al. 2016: they do not pad here, and cut four pixels off x; mirrored
    borders keep the size.
    """

    def __init__(self, channels: int, norm: str = "instance") -> None:
        super().__init__()
        self.conv1 = convolution(channels, channels, 3)
        self.norm1 = normalisation(norm, channels)
        self.conv2 = convolution(channels, channels, 3)
        self.norm2 = normalisation(norm, channels)
        # The block begins as the identity (Goyal et al. 2017, section 5.1). Otherwise five blocks
        # of unit variance drown the photograph before the first step.
        if norm != "none":
            nn.init.zeros_(self.norm2.get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        residual = functional.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(residual))


class TransformerNetwork(nn.Module):
    """Photograph in, painting out, of the same size (Johnson et al. 2016; no kin of attention).

    Differs from Johnson et al. 2016 as the widely used PyTorch version does: instance
    normalisation (Ulyanov et al. 2016) for batch normalisation, mirrored borders in every layer,
    nearest-neighbour enlargement for convolutions of stride 1/2. 1,679,235 parameters as published.

    Args:
        width: channels of the first layer; 32 is the published width, the course trains 16.
        blocks: residual blocks.
        norm: ``"instance"``, ``"batch"`` or ``"none"``.
        precision: of the forward pass, as in `core.training.autocast`.

    Raises:
        SettingError: a width or a number of blocks below 1, or an unknown norm or precision.
    """

    def __init__(
        self,
        width: int = 32,
        blocks: int = 5,
        *,
        norm: str = "instance",
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if min(width, blocks) < 1:
            raise SettingError(f"width={width} and blocks={blocks} count from 1.")
        self.precision = precision
        autocast(torch.device("cpu"), precision)  # says so if there is no such precision
        self.down = nn.Sequential(
            Stage(3, width, 9, norm=norm),
            Stage(width, 2 * width, 3, stride=2, norm=norm),
            Stage(2 * width, 4 * width, 3, stride=2, norm=norm),
        )
        self.body = nn.Sequential(*(ResidualBlock(4 * width, norm) for _ in range(blocks)))
        self.up = nn.Sequential(
            Stage(4 * width, 2 * width, 3, upsample=2, norm=norm),
            Stage(2 * width, width, 3, upsample=2, norm=norm),
        )
        self.paint = convolution(width, 3, 9)

    def forward(self, photographs: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to paintings of the same shape in [0, 1]; H, W of 5 or more.

        Raises:
            ImageError: another shape, or too small.
        """
        check_photographs(photographs)
        height, width = photographs.shape[-2:]
        with autocast(photographs.device, self.precision):
            x = self.up(self.body(self.down(photographs)))
            # Sides that 4 does not divide were rounded up on the way down.
            x = self.paint(x[..., :height, :width])
        return (torch.tanh(x.float() / _CALM) + 1) / 2


def check_photographs(photographs: Tensor) -> None:
    """Raise ImageError unless floats (N, 3, H, W) with sides of 5 pixels or more.

    That they lie in [0, 1] is not looked at.
    """
    if photographs.dim() != 4 or photographs.shape[1] != 3:
        raise ImageError(f"Expected images (N, 3, H, W), got {tuple(photographs.shape)}.")
    if not photographs.is_floating_point():
        raise ImageError(f"Expected images of floats in 0 … 1, got {photographs.dtype}.")
    if min(photographs.shape[-2:]) < MINIMUM_SIZE:
        raise ImageError(
            f"Images of {photographs.shape[-2]}×{photographs.shape[-1]} pixels are too small: the "
            f"network mirrors four pixels at the border and needs sides of {MINIMUM_SIZE} or more."
        )


def layer_table(network: TransformerNetwork, size: tuple[int, int] = (256, 256)) -> list[list[str]]:
    """Rows (layer, shape of its output, parameters) for an image of ``size`` pixels."""
    rows: list[list[str]] = []
    device = next(network.parameters()).device
    hooks = [
        stage.register_forward_hook(
            lambda module, _, out, name=name: rows.append(_row(name, module, out))
        )
        for name, stage in _stages(network)
    ]
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def _stages(network: TransformerNetwork) -> Iterator[tuple[str, nn.Module]]:
    for stage in network.down:
        conv = next(each for each in stage.modules() if isinstance(each, nn.Conv2d))
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        yield f"conv {kernel}×{kernel}" + (f" / {stride}" if stride > 1 else ""), stage
    for number, block in enumerate(network.body, start=1):
        yield f"residual block {number}", block
    for stage in network.up:
        yield "enlarge ×2, conv 3×3", stage
    yield "conv 9×9, tanh", network.paint


def _row(name: str, module: nn.Module, out: Tensor) -> list[str]:
    shape = " × ".join(map(str, out.shape[1:]))
    return [name, shape, f"{sum(p.numel() for p in module.parameters()):,}"]
