"""Other right answers to the exercises of topic 05: written differently, they pass as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.images import resize
from coursekit.exercises.engine import check


def whiten_by_svd_of_the_features(features: Tensor) -> Tensor:
    """U Vᵀ √M of the centred features, one picture after the other."""
    white = []
    for one in features.double():
        rows = one.flatten(1) - one.flatten(1).mean(1, keepdim=True)
        u, s, v = torch.linalg.svd(rows, full_matrices=False)
        kept = s.square() > 1e-5 * s[0] ** 2
        white.append((u[:, kept] @ v[kept] * rows.shape[1] ** 0.5).view_as(one))
    return torch.stack(white).float()


def whiten_direction_by_direction(features: Tensor) -> Tensor:
    n, c, h, w = features.shape
    rows = features.reshape(n, c, h * w)
    rows = rows - rows.mean(-1, keepdim=True)
    result = torch.zeros_like(rows)
    for i in range(n):
        values, vectors = torch.linalg.eigh(torch.cov(rows[i], correction=0))
        for value, vector in zip(values, vectors.T, strict=True):
            if value > 1e-5 * values.max():
                result[i] += torch.outer(vector, vector @ rows[i]) / value.sqrt()
    return result.reshape(n, c, h, w)


def colour_by_scipy(whitened: Tensor, style: Tensor) -> Tensor:
    import scipy.linalg

    results = []
    for i, white in enumerate(whitened):
        rows = style[i % len(style)].flatten(1).double()
        root = scipy.linalg.sqrtm(torch.cov(rows, correction=0).numpy())
        coloured = torch.from_numpy(root).double() @ white.flatten(1).double()
        results.append((coloured + rows.mean(1, keepdim=True)).view_as(white))
    return torch.stack(results).float()


def colour_by_einsum(whitened: Tensor, style: Tensor) -> Tensor:
    centred = style - style.mean((2, 3), keepdim=True)
    covariance = torch.einsum("nihw,njhw->nij", centred, centred) / style[0, 0].numel()
    values, e = torch.linalg.eigh(covariance)
    root = torch.einsum("nik,nk,njk->nij", e, values.clamp(min=0).sqrt(), e)
    root = root.expand(len(whitened), -1, -1)
    return torch.einsum("nij,njhw->nihw", root, whitened) + style.mean((2, 3), keepdim=True)


def blend_by_lerp(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return torch.lerp(content, transformed, strength)


def blend_by_difference(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    return content + strength * (transformed - content)


def mix_in_a_loop(transformed: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = torch.zeros_like(transformed[0])
    for share, each in zip(shares, transformed, strict=True):
        total = total + share * each
    return total / sum(shares)


def mix_by_tensordot(transformed: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    weights = torch.tensor(shares) / sum(shares)
    return torch.tensordot(weights, torch.stack(list(transformed)), dims=1)


def mask_by_interpolate(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    size = inside.shape[2:]
    share = F.interpolate(mask, size, mode="bilinear", antialias=True, align_corners=False)
    return outside + share * (inside - outside)


def mask_by_lerp(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    height, width = inside.shape[-2:]
    return torch.lerp(outside, inside, resize(mask, (height, width)).expand_as(inside))


Step = Callable[[Tensor, int], Tensor]


def levels_recursively(
    content: Tensor,
    styles: Mapping[int, Tensor],
    encode: Step,
    decode: Step,
    transform: Callable[[Tensor, Tensor], Tensor],
    levels: Sequence[int],
) -> Tensor:
    if not levels:
        return content
    first, *rest = levels
    features = transform(encode(content, first), styles[first])
    picture = torch.clamp(decode(features, first), min=0, max=1)
    return levels_recursively(picture, styles, encode, decode, transform, rest)


def levels_by_reduce(
    content: Tensor,
    styles: Mapping[int, Tensor],
    encode: Step,
    decode: Step,
    transform: Callable[[Tensor, Tensor], Tensor],
    levels: Sequence[int],
) -> Tensor:
    import functools

    def one(picture: Tensor, level: int) -> Tensor:
        found = decode(transform(encode(picture, level), styles[level]), level)
        return found.maximum(torch.zeros(())).minimum(torch.ones(()))

    return functools.reduce(one, levels, content)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("whiten", whiten_by_svd_of_the_features),
        ("whiten", whiten_direction_by_direction),
        ("colour", colour_by_scipy),
        ("colour", colour_by_einsum),
        ("blend", blend_by_lerp),
        ("blend", blend_by_difference),
        ("mix_styles", mix_in_a_loop),
        ("mix_styles", mix_by_tensordot),
        ("mix_by_mask", mask_by_interpolate),
        ("mix_by_mask", mask_by_lerp),
        ("level_by_level", levels_recursively),
        ("level_by_level", levels_by_reduce),
    ],
)
def test_other_right_answers_pass(exercise: str, answer: Callable[..., Tensor]) -> None:
    result = check(f"wct.{exercise}", answer)
    assert result.passed, str(result)
