"""What StyleGAN and StyleGAN2 are made of (Karras et al. 2019, 2020), in plain PyTorch.

Resampling with a small filter, modulated convolutions in two formulations, AdaIN, noise. No layer
needs a compiled extension: every one is made of convolutions that any device has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.errors import SettingError, ShapeError

TAPS = (1.0, 3.0, 3.0, 1.0)  # of the filter, in each direction
SLOPE = 0.2
WAYS = ("scaled", "grouped")


# --- resampling ---------------------------------------------------------------------------------


def filter_2d(taps: Sequence[float] = TAPS) -> Tensor:
    """The separable low-pass filter (2019, appendix C) as a matrix (K, K) that sums to 1.

    Raises:
        SettingError: no taps, or they sum to 0 or to no number.
    """
    if not math.isfinite(sum(taps)) or sum(taps) == 0:
        raise SettingError(
            f"{tuple(taps)} is no low-pass filter: its taps have no sum to divide by."
        )
    line = torch.tensor(list(taps), dtype=torch.float32) / sum(taps)
    return torch.outer(line, line)


def upfirdn(
    x: Tensor,
    kernel: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int] = (0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Upsample by zeros, filter, downsample, the same in both directions and in every channel.

    ``up`` − 1 zeros follow every pixel; the result gets ``padding`` zeros before and after,
    is convolved with the kernel, and every ``down``-th pixel is kept. `upsample`, `downsample`
    and `blur` are the cases that the networks use, and faster.

    Source: none; an operation of signal processing.

    Args:
        x: (N, C, H, W).
        kernel: (K, K).
        up, down: whole factors from 1.
        padding: zeros (before, after).
        gain: a factor on the kernel.

    Returns:
        (N, C, (H·up + before + after − K) // down + 1, and W likewise).

    Raises:
        ShapeError: x has not four dimensions, or the padded image is smaller than the kernel.
        SettingError: a factor below 1.
    """
    _check_images(x)
    if up < 1 or down < 1:
        raise SettingError(f"{up=} and {down=} must be whole numbers from 1.")
    count, channels, height, width = x.shape
    wide = x.new_zeros(count, channels, height, up, width, up)
    wide[:, :, :, 0, :, 0] = x
    wide = F.pad(wide.reshape(count, channels, height * up, width * up), (*padding, *padding))
    _check_sides(wide, kernel)
    return _filter(wide, kernel.flip(0, 1) * gain, stride=down)


def _check_images(x: Tensor) -> None:
    if x.dim() != 4 or not x.numel():
        raise ShapeError(f"Images are (N, C, H, W), not {tuple(x.shape)}.")


def _check_sides(x: Tensor, kernel: Tensor, padding: int = 0) -> None:
    sides = tuple(side + 2 * padding for side in x.shape[2:])
    if min(sides) < len(kernel):
        raise ShapeError(f"{sides} pixels are too few: the filter has {len(kernel)} a side.")


def _half(kernel: Tensor) -> int:
    """The padding with which an even kernel doubles or halves the size exactly."""
    if len(kernel) % 2:
        raise ShapeError(f"The filter has {len(kernel)} taps a side; take an even number of them.")
    return (len(kernel) - 2) // 2


class _Filter(torch.autograd.Function):
    """One fixed kernel for every channel; its derivative is its transpose, and that one's it again.

    torch's own derivative of the derivative would compute the kernel's gradient too, which nobody
    needs, and would do so channel by channel.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernel: Tensor,
        stride: int,
        padding: int,
        transposed: bool,
        unreached: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.settings, ctx.sides = (stride, padding, transposed), x.shape[2:]
        weight = kernel.to(x).expand(x.shape[1], 1, -1, -1)
        settings: dict[str, Any] = {"stride": stride, "padding": padding, "groups": x.shape[1]}
        if transposed:
            return F.conv_transpose2d(x, weight, output_padding=unreached, **settings)
        return F.conv2d(x, weight, **settings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (kernel,) = ctx.saved_tensors
        stride, padding, transposed = ctx.settings
        # Rows and columns after the last stride have no part in the result.
        unreached = [(side + 2 * padding - len(kernel)) % stride for side in ctx.sides]
        after = (0, 0) if transposed else tuple(unreached)
        found = _Filter.apply(gradient, kernel, stride, padding, not transposed, after)
        return found, None, None, None, None, None


def _filter(
    x: Tensor, kernel: Tensor, *, stride: int = 1, padding: int = 0, transposed: bool = False
) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return _Filter.apply(x, kernel, stride, padding, transposed, (0, 0))


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the size: zeros between the pixels, then the filter with a gain of 4, in one go.

    The filter is to follow upsampling (2019, appendix C).

    A transposed convolution with stride 2 skips the zeros that `upfirdn` multiplies.

    Args:
        x: (N, C, H, W).
        kernel: (K, K), K even.

    Returns:
        (N, C, 2H, 2W).

    Raises:
        ShapeError: x has not four dimensions, or K is odd.
    """
    _check_images(x)
    padding = _half(kernel)
    return _filter(x, 4 * kernel, stride=2, padding=padding, transposed=True)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Half the size: the filter, which is to come first (2019, appendix C), at every second pixel.

    Args:
        x: (N, C, H, W), H and W even.
        kernel: (K, K), K even.

    Returns:
        (N, C, H/2, W/2).

    Raises:
        ShapeError: x has not four dimensions, or H, W or K is odd.
    """
    _check_images(x)
    padding = _half(kernel)
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ShapeError(f"{tuple(x.shape[2:])} pixels have no half; both sides must be even.")
    # On a CPU the derivative, a transposed convolution of single channels, is ten times slower in
    # bfloat16 than in float32; there and back costs less.
    wide = x.float() if x.device.type == "cpu" and x.dtype == torch.bfloat16 else x
    return _filter(wide, kernel.flip(0, 1), stride=2, padding=padding).to(x.dtype)


def blur(x: Tensor, kernel: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """The filter alone: (N, C, H, W) → (N, C, H + 2·padding − K + 1, and W likewise).

    As in Karras et al. 2019, appendix C, before and after changes of size.

    Raises:
        ShapeError: x has not four dimensions, or is smaller than the kernel with its padding.
    """
    _check_images(x)
    _check_sides(x, kernel, padding)
    return _filter(x, kernel.flip(0, 1) * gain, padding=padding)


# --- modulated convolution ----------------------------------------------------------------------


def demodulation(weight: Tensor, style: Tensor, epsilon: float = 1e-8) -> Tensor:
    """1 / √(Σ_{i,k} (s_i w_jik)² + ε) for every sample and output channel (2020, equation 3).

    The sum over the kernel does not depend on the sample: Σ_i s_i² Σ_k w_jik² is one small matrix
    product, and no sample needs weights of its own.

    Args:
        weight: (C_out, C_in, k, k).
        style: s, (N, C_in).
        epsilon: ε.

    Returns:
        (N, C_out).

    Raises:
        ShapeError: styles for other channels than the weights'.
    """
    if weight.dim() != 4 or style.dim() != 2 or weight.shape[1] != style.shape[1]:
        raise ShapeError(
            f"Weights {tuple(weight.shape)} and styles {tuple(style.shape)} do not fit: "
            "(C_out, C_in, k, k) and (N, C_in)."
        )
    power = weight.float().square().sum(dim=(2, 3))
    return (style.float().square() @ power.t() + epsilon).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    kernel: Tensor | None = None,
    way: str = "scaled",
) -> Tensor:
    """A convolution whose weights are scaled by each sample's style (Karras et al. 2020, eq. 1–3).

    w′_ijk = s_i · w_ijk, then w″_ijk = w′_ijk / √(Σ_{i,k} w′_ijk² + ε). Under unit-variance inputs
    the outputs have unit variance again, on average and not, as in AdaIN, in every single map: no
    statistics of the data are involved.

    Two formulations give the same numbers. ``"grouped"`` builds the weights of every sample and
    convolves each sample with its own, as one grouped convolution. ``"scaled"`` uses that a
    convolution is linear: scale the input channels by s, convolve all samples with the same
    weights, scale the output channels by `demodulation`.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in, k, k), k odd.
        style: s, (N, C_in).
        demodulate: whether to divide; the layer to RGB does not.
        kernel: with a filter (K, K) the result has twice the size: a transposed convolution with
            stride 2, then `blur` with it.
        way: one of `WAYS`; the first was faster on a GPU and at all but one size on CPUs
            (``benchmarks/bench_stylegan2.py``; the other at 256 pixels with 16 maps).

    Returns:
        (N, C_out, H, W), or twice as high and wide.

    Raises:
        ShapeError: the shapes do not fit each other.
        SettingError: no such way.
    """
    _check_modulated(x, weight, style, way)
    factors = demodulation(weight, style) if demodulate else None
    if way == "grouped":
        return _grouped(x, weight, style, factors, kernel)
    found = _convolve(x * style[:, :, None, None].to(x.dtype), weight, 1, kernel)
    return found if factors is None else found * factors[:, :, None, None].to(found.dtype)


def _check_modulated(x: Tensor, weight: Tensor, style: Tensor, way: str) -> None:
    if way not in WAYS:
        raise SettingError(f"There is no way {way!r}; choose one of {', '.join(WAYS)}.")
    maps = x.dim() == weight.dim() == 4 and x.numel() > 0
    if not maps or weight.shape[1] != x.shape[1] or weight.shape[-1] % 2 == 0:
        raise ShapeError(
            f"Features {tuple(x.shape)} and weights {tuple(weight.shape)} do not fit: (N, C_in, H, "
            "W) and (C_out, C_in, k, k), k odd."
        )
    if style.shape != x.shape[:2]:
        raise ShapeError(f"Styles are {tuple(style.shape)}; here {tuple(x.shape[:2])} is needed.")


def _grouped(
    x: Tensor, weight: Tensor, style: Tensor, factors: Tensor | None, kernel: Tensor | None
) -> Tensor:
    """Every sample as a group of one long sample, with the weights that are its own."""
    count = len(x)
    each = weight * style[:, None, :, None, None]
    if factors is not None:
        each = each * factors[:, :, None, None, None].to(each.dtype)
    found = _convolve(x.reshape(1, -1, *x.shape[2:]), each.flatten(0, 1).to(x.dtype), count, kernel)
    return found.reshape(count, -1, *found.shape[2:])


def _convolve(x: Tensor, weight: Tensor, groups: int, kernel: Tensor | None) -> Tensor:
    """A convolution that keeps the size, or with a filter one that doubles it."""
    side = weight.shape[-1]
    if kernel is None:
        return F.conv2d(x, weight, padding=side // 2, groups=groups)
    # A transposed convolution wants (groups · C_in, C_out, k, k).
    turned = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    wide = F.conv_transpose2d(x, turned, stride=2, groups=groups)
    return blur(wide, kernel, padding=(len(kernel) - side + 1) // 2, gain=4.0)


# --- the rest -----------------------------------------------------------------------------------


def adain(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-8) -> Tensor:
    """AdaIN(x_i, y) = y_s,i · (x_i − μ(x_i)) / σ(x_i) + y_b,i (Karras et al. 2019, equation 1).

    Every map of every sample is normalised by its own mean and standard deviation. What is lost
    with them, the magnitudes of maps relative to each other, is what StyleGAN's droplets smuggle
    past (Karras et al. 2020, section 2).

    Args:
        x: (N, C, H, W).
        scale, bias: y_s and y_b, (N, C).
        epsilon: added to the variance.

    Raises:
        ShapeError: features that are not (N, C, H, W), or styles of another shape.
    """
    if x.dim() != 4 or not x.shape[:2] == scale.shape == bias.shape:
        raise ShapeError(
            f"Features {tuple(x.shape)}, scale {tuple(scale.shape)} and bias {tuple(bias.shape)} "
            "do not fit: (N, C, H, W), (N, C), (N, C)."
        )
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, unbiased=False)
    normalised = (x - mean) * (variance + epsilon).rsqrt()
    return scale[:, :, None, None] * normalised + bias[:, :, None, None]


def activate(x: Tensor, bias: Tensor | None = None, gain: float = math.sqrt(2)) -> Tensor:
    """LeakyReLU(x + bias) · gain: the gain keeps the variance, so that no weight has to.

    √2 is the gain of He et al. 2015, who put it into the weights. It is positive, so it can go in
    first: LeakyReLU(gain · x + gain · bias) is the same in fewer passes.

    Args:
        x: (N, C, …).
        bias: (C,).
        gain: √2 by default.

    Raises:
        SettingError: a gain that is not positive.
    """
    if not 0 < gain < math.inf:
        raise SettingError(f"gain={gain} must be positive and finite.")
    if bias is None:
        louder = x * gain
    else:
        own = gain * bias.to(x.dtype).view(-1, *[1] * (x.dim() - 2))
        louder = torch.add(own, x, alpha=gain)
    return F.leaky_relu(louder, SLOPE, inplace=True)
