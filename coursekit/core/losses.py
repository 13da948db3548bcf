"""The losses of the course: one small function a formula. Each returns a scalar.

Sums run over one image; the batch is averaged, so that a batch of twins costs what one costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.core.errors import ShapeError


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Content loss :math:`\frac12 \sum_{ij} (F_{ij} - P_{ij})^2` (Gatys et al. 2015, eq. 1).

    Args:
        features: :math:`F`, feature maps (N, C, H, W) of the image being made.
        target: :math:`P`, those of the content image, (N or 1, C, H, W).

    Raises:
        ShapeError: the maps differ in size.
    """
    _same(features.shape[1:], target.shape[1:])
    return (features - target).float().square().sum() / (2 * features.shape[0])


def gram_matrix(features: Tensor, normalise: bool = True) -> Tensor:
    r"""Gram matrix :math:`G_{ij} = \frac1M \sum_k F_{ik} F_{jk}` (Gatys et al. 2015, eq. 3).

    Args:
        features: (N, C, H, W); each channel, flattened, is one row of :math:`F` (C, M = H·W).
        normalise: divide by M, so that pictures of different sizes can be compared; ``False``
            gives the paper's plain sum.

    Returns:
        (N, C, C) float32, symmetric and positive semi-definite.

    Raises:
        ShapeError: not four dimensions.
    """
    if features.dim() != 4:
        raise ShapeError(f"Expected features (N, C, H, W), got {tuple(features.shape)}.")
    # Transposing first keeps channels_last maps where they lie: no copy before the product.
    rows = features.permute(0, 2, 3, 1).flatten(1, 2).float()
    gram = rows.mT @ rows
    return gram / rows.shape[1] if normalise else gram


def style_loss(gram: Tensor, target: Tensor) -> Tensor:
    r"""Style loss of one layer, :math:`E = \frac{1}{4 N^2} \sum_{ij} (G_{ij} - A_{ij})^2`.

    That is eq. 4 of Gatys et al. 2015, where :math:`G` and :math:`A` are plain sums and the
    factor is :math:`1 / (4 N^2 M^2)`: here both Gram matrices are divided by their own M.

    Args:
        gram: :math:`G`, Gram matrices (N, C, C) of the image being made.
        target: :math:`A`, those of the style image, (N or 1, C, C).

    Raises:
        ShapeError: the matrices differ in size.
    """
    _same(gram.shape[1:], target.shape[1:])
    return (gram - target).square().sum() / (4 * gram.shape[0] * gram.shape[1] ** 2)


def total_variation(images: Tensor) -> Tensor:
    r"""Squared total variation :math:`\sum (x_{i,j+1}-x_{i,j})^2 + (x_{i+1,j}-x_{i,j})^2`.

    The regulariser of the lecture: summed over channels and positions of (N, C, H, W).
    """
    across = images[..., :, 1:] - images[..., :, :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    return (across.square().sum() + down.square().sum()) / images.shape[0]


def isotropic_total_variation(images: Tensor, beta: float = 1.0, epsilon: float = 1e-8) -> Tensor:
    r"""Total variation :math:`\sum (\Delta_x^2 + \Delta_y^2)^{\beta/2}` (Mahendran & Vedaldi
    2015, eq. 3).

    ``beta=1`` keeps edges, ``beta=2`` is the squared form without the last row and column.
    ``epsilon`` keeps the root differentiable where the image is flat.

    Raises:
        ShapeError: the images are less than 2 pixels wide or high.
    """
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
    """
    variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True, correction=0)
    return mean, (variance + epsilon).sqrt()


def channel_statistics_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Distance of channel statistics:
    :math:`\sum_c (\mu_c - \hat\mu_c)^2 + (\sigma_c - \hat\sigma_c)^2`
    (Huang & Belongie 2017, eq. 13; Li et al. 2017, "Demystifying neural style transfer", eq. 12).

    The maps may differ in height and width, not in channels.

    Raises:
        ShapeError: the channels differ.
    """
    _same(features.shape[1:2], target.shape[1:2])
    # A flat channel has variance 0, where the root has no derivative.
    (mean, std), (target_mean, target_std) = (
        channel_statistics(each.float(), epsilon=1e-8) for each in (features, target)
    )
    return ((mean - target_mean).square() + (std - target_std).square()).sum() / features.shape[0]


def _same(found: torch.Size, expected: torch.Size) -> None:
    if found != expected:
        raise ShapeError(
            f"The two sides differ: {tuple(found)} against {tuple(expected)} (without the batch). "
            "Take both from the same layer, at the same image size where positions count."
        )
