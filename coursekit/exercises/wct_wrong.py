"""Wrong implementations that people write in topic 05, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import wct
from coursekit.core.images import resize
from coursekit.wct_roots import FLOOR

Matrix: TypeAlias = Tensor
Root: TypeAlias = "Callable[[Tensor, float], Matrix]"


# --- Roots of a covariance matrix


def symmetric(covariance: Tensor, exponent: float) -> Matrix:
    values, vectors = torch.linalg.eigh(covariance)
    keep = values > FLOOR * values[..., -1:]
    return vectors @ (torch.where(keep, values.abs() ** exponent, 0.0)[..., None] * vectors.mT)


def not_truncated(covariance: Tensor, exponent: float) -> Matrix:
    values, vectors = torch.linalg.eigh(covariance)
    powers = values.abs().clamp_min(1e-12) ** exponent
    return vectors @ (powers[..., None] * vectors.mT)


def fixed_threshold(covariance: Tensor, exponent: float) -> Matrix:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ (
        torch.where(values > FLOOR, values.abs() ** exponent, 0.0)[..., None] * vectors.mT
    )


def plain_power(covariance: Tensor, exponent: float) -> Matrix:
    """NaN for eigenvalues below 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ (values[..., None] ** exponent * vectors.mT)


def other_power(factor: float) -> Root:
    return lambda covariance, exponent: symmetric(covariance, factor * exponent)


def not_turned_back(covariance: Tensor, exponent: float) -> Matrix:
    """PCA: D^p Eᵀ, in the coordinates of the eigenvectors."""
    values, vectors = torch.linalg.eigh(covariance)
    keep = values > FLOOR * values[..., -1:]
    return torch.where(keep, values.abs() ** exponent, 0.0)[..., None] * vectors.mT


def not_turned_in(covariance: Tensor, exponent: float) -> Matrix:
    """E D^p: the features are taken for coordinates along the eigenvectors."""
    return not_turned_back(covariance, exponent).mT


def turned_the_wrong_way(covariance: Tensor, exponent: float) -> Matrix:
    """Eᵀ D^p E."""
    values, vectors = torch.linalg.eigh(covariance)
    keep = values > FLOOR * values[..., -1:]
    return vectors.mT @ (torch.where(keep, values.abs() ** exponent, 0.0)[..., None] * vectors)


def triangular(covariance: Tensor, exponent: float) -> Matrix:
    identity = torch.eye(covariance.shape[-1])
    trace = covariance.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
    lower = torch.linalg.cholesky(covariance + 1e-5 * trace * identity)
    return lower if exponent > 0 else torch.linalg.inv(lower)


def diagonal(covariance: Tensor, exponent: float) -> Matrix:
    variances = covariance.diagonal(dim1=1, dim2=2)
    return torch.diag_embed(variances.clamp_min(1e-12) ** exponent)


# --- Whitening and colouring


def _rows(features: Tensor, centre: bool = True) -> Tensor:
    rows = features.flatten(2)
    return rows - rows.mean(2, keepdim=True) if centre else rows


def _covariance(rows: Tensor, correction: int = 0, divide: bool = True) -> Tensor:
    total = rows @ rows.mT
    return total / (rows.shape[2] - correction) if divide else total


def whitened(
    take: Root = symmetric, *, centre: bool = True, correction: int = 0, divide: bool = True
) -> Callable[[Tensor], Tensor]:
    def function(features: Tensor) -> Tensor:
        rows = _rows(features, centre)
        matrix = take(_covariance(rows, correction, divide), -0.5)
        return (matrix @ rows).view_as(features)

    return function


def mean_left_in(features: Tensor) -> Tensor:
    matrix = symmetric(_covariance(_rows(features)), -0.5)
    return (matrix @ features.flatten(2)).view_as(features)


def mean_put_back(features: Tensor) -> Tensor:
    return whitened()(features) + features.mean((2, 3), keepdim=True)


def batch_pooled(features: Tensor) -> Tensor:
    together = features.transpose(0, 1).flatten(1)[None, :, None]
    back = whitened()(together)[0, :, 0].unflatten(1, (len(features), *features.shape[2:]))
    return back.transpose(0, 1)


def coloured(
    take: Root = symmetric, *, mean: bool = True, centre: bool = True, divide: bool = True
) -> Callable[[Tensor, Tensor], Tensor]:
    def function(features: Tensor, style: Tensor) -> Tensor:
        matrix = take(_covariance(_rows(style, centre), divide=divide), 0.5)
        result = (matrix @ features.flatten(2)).view_as(features)
        return result + style.mean((2, 3), keepdim=True) if mean else result

    return function


def divided_by_content(features: Tensor, style: Tensor) -> Tensor:
    """The style's sum divided by the content's positions."""
    rows = _rows(style)
    matrix = symmetric(rows @ rows.mT / features[0, 0].numel(), 0.5)
    coloured_rows = matrix @ features.flatten(2) + style.flatten(2).mean(2, keepdim=True)
    return coloured_rows.view_as(features)


def mean_of_everything(features: Tensor, style: Tensor) -> Tensor:
    return coloured(mean=False)(features, style) + style.mean((1, 2, 3), keepdim=True)


def whitened_again(features: Tensor, style: Tensor) -> Tensor:
    return coloured(other_power(-1))(features, style)


# --- Strength


def other_side(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return (1 - strength) * transformed + strength * content


def content_whole(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return strength * transformed + content


def strength_ignored(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return transformed * 1


def always_half(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return (transformed + content) / 2


def clipped(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return wct.blend(transformed, content, strength).clamp(0, 1)


def strength_held(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return wct.blend(transformed, content, min(max(strength, 0.0), 1.0))


def away_from_style(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return content + strength * (content - transformed)


# --- Several styles

Stack: TypeAlias = "Sequence[Tensor]"


def shares_not_scaled(transformed: Stack, shares: Sequence[float]) -> Tensor:
    pairs = zip(shares, transformed, strict=True)
    return torch.stack([share * each for share, each in pairs]).sum(0)


def equal_shares(transformed: Stack, shares: Sequence[float]) -> Tensor:
    return torch.stack(list(transformed)).mean(0)


def largest_share(transformed: Stack, shares: Sequence[float]) -> Tensor:
    return transformed[max(range(len(shares)), key=lambda index: shares[index])] * 1


def softmax(transformed: Stack, shares: Sequence[float]) -> Tensor:
    parts = torch.tensor(shares, dtype=torch.float32).softmax(0).tolist()
    return shares_not_scaled(transformed, parts)


def divided_by_count(transformed: Stack, shares: Sequence[float]) -> Tensor:
    return shares_not_scaled(transformed, shares) / len(shares)


# --- Masks


def masked(prepare: Callable[[Tensor, tuple[int, int]], Tensor]) -> Callable[..., Tensor]:
    def function(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
        height, width = inside.shape[-2:]
        share = prepare(mask, (height, width))
        return share * inside + (1 - share) * outside

    return function


def inverted(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return 1 - resize(mask, size).clamp(0, 1)


def nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask, size, mode="nearest")


def not_averaged(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask, size, mode="bilinear")


def hardened(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return (resize(mask, size) > 0.5).float()


def turned(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return resize(mask, (size[1], size[0])).clamp(0, 1).mT


def pasted_on_nothing(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    height, width = inside.shape[-2:]
    return resize(mask, (height, width)).clamp(0, 1) * inside


def outside_everywhere(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    return pasted_on_nothing(inside, outside, mask) + outside


# --- Levels

Encode: TypeAlias = "Callable[[Tensor, int], Tensor]"


def _chain(
    content: Tensor,
    styles: Mapping[int, Tensor],
    encode: Encode,
    decode: Encode,
    transform: Callable[..., Tensor],
    levels: Sequence[int],
    **wrong: Any,
) -> Tensor:
    picture = content
    for number, level in enumerate(levels):
        begun = content if wrong.get("from_content") else picture
        style = styles[levels[0] if wrong.get("first_style") else level]
        features = encode(begun, level)
        if number == 0 or not wrong.get("once"):
            features = transform(features, style)
        picture = decode(features, level)
        picture = picture if wrong.get("unclamped") else picture.clamp(0, 1)
        if wrong.get("stops"):
            break
    return picture


def chain(**wrong: Any) -> Callable[..., Tensor]:
    def function(
        content: Tensor,
        styles: Mapping[int, Tensor],
        encode: Encode,
        decode: Encode,
        transform: Callable[..., Tensor],
        levels: Sequence[int],
    ) -> Tensor:
        order = sorted(levels) if wrong.get("backwards") else levels
        return _chain(content, styles, encode, decode, transform, order, **wrong)

    return function


def clamped_at_the_end(*arguments: Any) -> Tensor:
    return chain(unclamped=True)(*arguments).clamp(0, 1)


def features_kept(
    content: Tensor,
    styles: Mapping[int, Tensor],
    encode: Encode,
    decode: Encode,
    transform: Callable[..., Tensor],
    levels: Sequence[int],
) -> Tensor:
    """All transforms on the content's features, the pictures averaged at the end."""
    pictures = [
        decode(transform(encode(content, level), styles[level]), level).clamp(0, 1)
        for level in levels
    ]
    return torch.stack(pictures).mean(0)
