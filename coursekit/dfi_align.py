"""Alignment by landmarks: bring every face of a collection to where the test face is.

An attribute vector is a difference of means, position by position. Where eyes lie elsewhere in each
face, the mean has no glasses, only a haze.

Source: none; geometry of the plane and least squares.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError

KINDS = ("similarity", "affine")


def similarity_transform(points: Tensor, target: Tensor) -> Tensor:
    r"""Turn, scale and move ``points`` onto ``target`` with the least squared error.

    .. math:: \min_{s, R, t} \sum_k \lVert s R\, p_k + t - q_k \rVert^2, \quad
              R^T R = 1,\ \det R = 1

    by the singular value decomposition of the covariance (Umeyama 1991, eq. 40 to 43). Without the
    last condition a mirrored face would be allowed.

    Args:
        points: p, (N, K, 2), x and y in pixels.
        target: q, (N or 1, K, 2).

    Returns:
        (N, 2, 3): the matrix :math:`[sR \mid t]`, to be applied to columns :math:`(x, y, 1)`.

    Raises:
        ShapeError: other shapes, or fewer than two points.
    """
    _check_points(points, target, least=2)
    mean_p, mean_q = points.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    p, q = points - mean_p, (target - mean_q).expand_as(points)
    u, stretch, vh = torch.linalg.svd(q.mT @ p)
    sign = torch.ones_like(stretch)
    sign[:, -1] = torch.linalg.det(u @ vh).sign()
    rotation = u @ (sign[:, :, None] * vh)
    scale = (stretch * sign).sum(dim=1) / p.square().sum(dim=(1, 2)).clamp_min(1e-12)
    linear = scale[:, None, None] * rotation
    return torch.cat([linear, mean_q.mT - linear @ mean_p.mT], dim=2)


def affine_transform(points: Tensor, target: Tensor) -> Tensor:
    """The best 2×3 matrix of any kind, by least squares; shapes as in `similarity_transform`.

    Raises:
        ShapeError: other shapes, or fewer than three points.
    """
    _check_points(points, target, least=3)
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=2)
    return torch.linalg.lstsq(homogeneous, target.expand_as(points)).solution.mT


def _check_points(points: Tensor, target: Tensor, least: int) -> None:
    fits = points.dim() == 3 and points.shape[1:] == target.shape[1:] and points.shape[2] == 2
    if not fits or points.shape[1] < least or len(target) not in (1, len(points)):
        raise ShapeError(
            f"Landmarks {tuple(points.shape)} and {tuple(target.shape)}: give (N, K, 2) and "
            f"(N or 1, K, 2) with {least} points or more."
        )


def move_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Apply (N, 2, 3) to points (N, K, 2).

    Raises:
        ShapeError: not one matrix for each set of points.
    """
    if points.dim() != 3 or matrices.shape != (len(points), 2, 3):
        raise ShapeError(f"{tuple(points.shape)} points and matrices {tuple(matrices.shape)}.")
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Move images so that what was at p is at M p; borders are repeated.

    Args:
        images: (N, C, H, W) float, in any range.
        matrices: M, (N, 2, 3), in pixels; the middle of the first pixel is at (0.5, 0.5).

    Raises:
        ShapeError: not one 2×3 matrix an image.
        SettingError: a matrix that cannot be undone: it holds NaN, or maps the plane to a line.
    """
    if matrices.shape != (len(images), 2, 3):
        raise ShapeError(f"{len(images)} images and matrices {tuple(matrices.shape)}.")
    height, width = images.shape[-2:]
    size = matrices.new_tensor([width, height])
    # grid_sample asks, for each pixel of the result, where it comes from: the inverse, in [-1, 1].
    inverse, failed = torch.linalg.inv_ex(matrices[:, :, :2].double())
    if failed.any() or not (inverse.isfinite().all() and matrices.isfinite().all()):
        raise SettingError("A matrix cannot be undone; look whether landmarks lie on one line.")
    offset = -inverse @ matrices[:, :, 2:].double()
    unit = inverse * size[None, None] / size[None, :, None]
    centre = (2 * offset[:, :, 0] / size) + (inverse @ size.double()) / size - 1
    theta = torch.cat([unit, centre[:, :, None]], dim=2).to(images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def fit(points: Tensor, target: Tensor, kind: str = "affine") -> Tensor:
    """`similarity_transform` or `affine_transform`; shapes as for `similarity_transform`.

    Raises:
        SettingError: another kind.
    """
    if kind not in KINDS:
        raise SettingError(f"kind={kind!r} is not known; choose one of {KINDS}.")
    return (similarity_transform if kind == "similarity" else affine_transform)(points, target)


def residual(points: Tensor, matrices: Tensor, target: Tensor) -> Tensor:
    """Root mean square distance, in pixels, of the moved points to the target: (N,)."""
    apart = move_points(points, matrices) - target
    return apart.square().sum(dim=2).mean(dim=1).sqrt()


def misalign(
    images: Tensor,
    landmarks: Tensor,
    *,
    shift: float = 0.08,
    rotation: float = 15.0,
    scale: float = 0.15,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Shift, turn and scale every face at random, as in a collection of snapshots.

    Args:
        images: (N, 3, H, W) float, in any range.
        landmarks: (N, K, 2), in pixels.
        shift: the largest one, as a share of the width.
        rotation: in degrees, both ways.
        scale: natural logarithm of the factor, both ways.
        seed: of the numbers drawn.

    Returns:
        The moved images, and where their landmarks are now.
    """
    generator = runtime.generator(seed)
    draw = 2 * torch.rand(4, len(images), generator=generator) - 1
    angle, factor = draw[0] * rotation * torch.pi / 180, (draw[1] * scale).exp()
    cosine, sine = factor * angle.cos(), factor * angle.sin()
    linear = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)
    height, width = images.shape[-2:]
    middle = torch.tensor([width / 2, height / 2])
    offset = middle - linear @ middle + draw[2:].T * shift * width
    matrices = torch.cat([linear, offset[:, :, None]], dim=2)
    return warp(images, matrices.to(images)), move_points(landmarks, matrices.to(landmarks))
