"""The losses of the course: one small function a formula. Each returns a scalar.

Sums run over one image; the batch is averaged, so that a batch of twins costs what one costs.
Half-precision inputs are summed in float32; float32 and float64 stay what they are. Images may
have any range.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coursekit.core.errors import ShapeError


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Content loss :math:`\frac12 \sum_{ij} (F_{ij} - P_{ij})^2` (Gatys et al. 2015, eq. 1).

    Args:
        features: :math:`F`, feature maps (N, C, H, W) of the image being made.
        target: :math:`P`, those of the content image, (N or 1, C, H, W).

    Raises:
        ShapeError: the maps differ in size, or are not four-dimensional.
    """
    _dimensions(features, 4)
    _same(features, target)
    return _wide(features - target).square().sum() / (2 * features.shape[0])


def gram_matrix(features: Tensor, normalise: bool = True) -> Tensor:
    r"""Gram matrix :math:`G_{ij} = \frac1M \sum_k F_{ik} F_{jk}` (Gatys et al. 2015, eq. 3).

    Args:
        features: (N, C, H, W); each channel, flattened, is one row of :math:`F` (C, M = H·W).
        normalise: divide by M, so that pictures of different sizes can be compared; ``False``
            gives the paper's plain sum.

    Returns:
        (N, C, C), symmetric and positive semi-definite.

    Raises:
        ShapeError: not four dimensions.
    """
    _dimensions(features, 4)
    # Transposing first keeps channels_last maps where they lie: no copy before the product.
    rows = features.permute(0, 2, 3, 1).flatten(1, 2)
    gram = _Gram.apply(rows.float() if rows.dtype == torch.float16 else rows)
    return gram / rows.shape[1] if normalise else gram


class _Gram(torch.autograd.Function):
    """Rows (N, M, C) -> (N, C, C). The matrix is symmetric, so its derivative needs one product.

    Autograd would take two, one for each factor, and add them. In bfloat16 the derivative is
    computed where it ends, in bfloat16 (float16 has not the range for that).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        wide = _wide(rows)
        return wide.mT @ wide

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        return rows @ (upstream + upstream.mT).to(rows.dtype)


def style_loss(gram: Tensor, target: Tensor) -> Tensor:
    r"""Style loss of one layer, :math:`E = \frac{1}{4 N^2} \sum_{ij} (G_{ij} - A_{ij})^2`.

    That is eq. 4 of Gatys et al. 2015, where :math:`G` and :math:`A` are plain sums and the
    factor is :math:`1 / (4 N^2 M^2)`: here both Gram matrices are divided by their own M.

    Args:
        gram: :math:`G`, Gram matrices (N, C, C) of the image being made.
        target: :math:`A`, those of the style image, (N or 1, C, C).

    Raises:
        ShapeError: the matrices differ in size, or are not three-dimensional.
    """
    _dimensions(gram, 3)
    _same(gram, target)
    difference = _wide(gram - target)
    return difference.square().sum() / (4 * gram.shape[0] * gram.shape[1] ** 2)


def total_variation(images: Tensor) -> Tensor:
    r"""Squared total variation :math:`\sum (x_{i,j+1}-x_{i,j})^2 + (x_{i+1,j}-x_{i,j})^2`.

    The regulariser of the lecture: summed over channels and positions of (N, C, H, W).

    Raises:
        ShapeError: not four dimensions.
    """
    _dimensions(images, 4)
    images = _wide(images)
    across = images[..., :, 1:] - images[..., :, :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    return (across.square().sum() + down.square().sum()) / images.shape[0]


def isotropic_total_variation(images: Tensor, beta: float = 1.0, epsilon: float = 1e-8) -> Tensor:
    r"""Total variation :math:`\sum (\Delta_x^2 + \Delta_y^2)^{\beta/2}` (Mahendran & Vedaldi
    2015, section 2).

    Summed over channels and positions of (N, C, H, W). ``beta=1`` keeps edges, ``beta=2`` is the
    squared form without the last row and column. ``epsilon`` keeps the root differentiable where
    the image is flat.

    Raises:
        ShapeError: not four dimensions, or less than 2 pixels wide or high.
    """
    _dimensions(images, 4)
    images = _wide(images)
    if min(images.shape[-2:]) < 2:
        raise ShapeError(f"Images of at least 2×2 pixels are needed, got {tuple(images.shape)}.")
    across = (images[..., :-1, 1:] - images[..., :-1, :-1]).square()
    down = (images[..., 1:, :-1] - images[..., :-1, :-1]).square()
    squared = across + down
    if beta == 2:
        return squared.sum() / images.shape[0]
    return (squared + epsilon).pow(beta / 2).sum() / images.shape[0]


def channel_statistics(features: Tensor, epsilon: float = 0.0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the positions of (N, C, H, W): two of (N, C, 1, 1).

    The standard deviation divides by M, not M - 1; ``epsilon`` is added to the variance.

    Raises:
        ShapeError: not four dimensions.
    """
    _dimensions(features, 4)
    variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True, correction=0)
    return mean, (variance + epsilon).sqrt()


def channel_statistics_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Distance of channel statistics:
    :math:`\sum_c (\mu_c - \hat\mu_c)^2 + (\sigma_c - \hat\sigma_c)^2`
    (Huang & Belongie 2017, eq. 13; Li et al. 2017, "Demystifying neural style transfer").

    The maps (N, C, H, W) may differ in height and width, not in channels.

    Raises:
        ShapeError: the channels differ, or the maps are not four-dimensional.
    """
    _dimensions(features, 4)
    _dimensions(target, 4)
    _same(features, target, compared=slice(1, 2))
    # A flat channel has variance 0, where the root has no derivative.
    (mean, std), (target_mean, target_std) = (
        channel_statistics(_wide(each), epsilon=1e-8) for each in (features, target)
    )
    return ((mean - target_mean).square() + (std - target_std).square()).sum() / features.shape[0]


def _wide(values: Tensor) -> Tensor:
    """float16 and bfloat16 -> float32: sums of many squares need the digits and the range."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _dimensions(values: Tensor, count: int) -> None:
    if values.dim() != count or not values.numel():
        names = "(N, C, H, W)" if count == 4 else "(N, C, C)"
        raise ShapeError(f"Expected a tensor {names}, got {tuple(values.shape)}.")
    if not values.is_floating_point():
        raise ShapeError(f"Expected floating-point numbers, got {values.dtype}; use .float().")


def _same(found: Tensor, expected: Tensor, compared: slice = slice(1, None)) -> None:
    sizes = f"{tuple(found.shape)} against {tuple(expected.shape)}"
    if found.shape[compared] != expected.shape[compared]:
        raise ShapeError(
            f"The two sides differ: {sizes}. Take both from the same layer, at the "
            "same image size where positions count."
        )
    # More targets than images would broadcast and be summed as if there were more images.
    if expected.shape[0] not in (1, found.shape[0]):
        raise ShapeError(
            f"The batches differ: {sizes}. Give one target for all images, or one for each."
        )


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """R1: E[‖∇ₓ D(x)‖²] on real images, to be weighted by γ/2 (Mescheder et al. 2018, eq. 9).

    Args:
        logits: (N,), computed from ``images``.
        images: (N, C, H, W), with ``requires_grad``.

    Returns:
        The mean squared norm of the gradient, differentiable once more.

    Raises:
        ShapeError: the logits were not computed from these images with ``requires_grad``.
    """
    if not (logits.requires_grad and images.requires_grad):
        raise ShapeError(
            f"Logits {tuple(logits.shape)} must depend on images {tuple(images.shape)}: call "
            "images.requires_grad_() before the discriminator sees them."
        )
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return _wide(gradient).square().flatten(1).sum(1).mean()
