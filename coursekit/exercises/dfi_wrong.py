"""Wrong implementations that people write in topic 06, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import dfi
from coursekit.core.losses import total_variation

# --- Nearest neighbours


def cosines(query: Tensor, collection: Tensor) -> Tensor:
    return F.cosine_similarity(collection, query[None], dim=1)


def farthest(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return cosines(query, collection).topk(k, largest=False).indices


def euclid(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return (collection - query).norm(dim=1).topk(k, largest=False).indices


def dot_product(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return (collection @ query).topk(k).indices


def along_columns(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return (F.normalize(collection, dim=0) @ F.normalize(query, dim=0)).topk(k).indices


def farthest_first(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return cosines(query, collection).topk(k).indices.flip(0)


def first_dropped(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return cosines(query, collection).topk(k + 1).indices[1:]


def unsorted(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return cosines(query, collection).topk(k).indices.sort().values


def whole_collection(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return cosines(query, collection).argsort(descending=True)


# --- The attribute vector


def swapped(target: Tensor, source: Tensor) -> Tensor:
    return source.mean(0) - target.mean(0)


def over_features(target: Tensor, source: Tensor) -> Tensor:
    return target.mean(1) - source.mean(1)


def summed(target: Tensor, source: Tensor) -> Tensor:
    return target.sum(0) - source.sum(0)


def one_count(target: Tensor, source: Tensor) -> Tensor:
    return (target.sum(0) - source.sum(0)) / len(target)


def unit_length(target: Tensor, source: Tensor) -> Tensor:
    return F.normalize(dfi.attribute_vector(target, source), dim=0)


def from_everybody(target: Tensor, source: Tensor) -> Tensor:
    return target.mean(0) - torch.cat([target, source]).mean(0)


def first_pair(target: Tensor, source: Tensor) -> Tensor:
    return target[0] - source[0]


# --- The shift


def column(beta: Tensor) -> Tensor:
    return beta.reshape(-1, 1)


def blended(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return (1 - column(beta)) * features + column(beta) * vector


def away(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features - column(beta) * vector


def unit_vector(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features + column(beta) * F.normalize(vector, dim=-1)


def beta_along_features(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features + beta * vector


def whole_way(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features + vector


def first_strength(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features + beta.reshape(-1)[0] * vector


def squared_length(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return dfi.shift(features, vector, beta, scaling="paper")


# --- The reconstruction objective


def objective(
    *, half: bool = True, power: int = 2, over: str = "D", batch: str = "mean"
) -> Callable[..., dict[str, Tensor]]:
    """The objective with one thing changed in its first term."""

    def loss(
        features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float
    ) -> dict[str, Tensor]:
        distance = (features - target.detach()).abs().pow(power).sum()
        distance = distance / (2 if half else 1)
        distance = distance / (features.shape[1] if over == "D" else 1)
        distance = distance / (len(features) if batch == "mean" else 1)
        return {"features": distance, "tv": tv_weight * tv(images)}

    return loss


def tv(images: Tensor) -> Tensor:
    return total_variation(images) / images[0].numel()


def with_tv(change: Callable[[Tensor, float], Tensor]) -> Callable[..., dict[str, Tensor]]:
    """The objective with another second term."""

    def loss(
        features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float
    ) -> dict[str, Tensor]:
        right = dfi.reconstruction_loss(features, target, images, tv_weight=tv_weight)
        return {**right, "tv": change(images, tv_weight)}

    return loss


def tv_missing(images: Tensor, weight: float) -> Tensor:
    return 0 * images.sum()


def tv_unweighted(images: Tensor, weight: float) -> Tensor:
    return tv(images)


def tv_summed(images: Tensor, weight: float) -> Tensor:
    return weight * total_variation(images)


def tv_of_all(images: Tensor, weight: float) -> Tensor:
    return weight * total_variation(images) / images.numel()


def target_attached(
    features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float
) -> dict[str, Tensor]:
    return {
        "features": (features - target).square().mean() / 2,
        "tv": tv_weight * tv(images),
    }


def features_detached(
    features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float
) -> dict[str, Tensor]:
    return dfi.reconstruction_loss(features.detach(), target, images, tv_weight=tv_weight)


# --- Similarity from landmarks


def similarity(
    points: Tensor,
    target: Tensor,
    *,
    proper: bool = True,
    scaled: str = "yes",
    turned: str = "yes",
    offset: str = "yes",
) -> Tensor:
    """Umeyama's solution with one thing changed."""
    mean_p, mean_q = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    p, q = points - mean_p, (target - mean_q).expand_as(points)
    u, stretch, vh = torch.linalg.svd(q.mT @ p)
    sign = torch.ones_like(stretch)
    if proper:
        sign[:, -1] = torch.linalg.det(u @ vh).sign()
    rotation = u @ (sign[:, :, None] * vh)
    if turned == "back":
        rotation = rotation.mT
    if turned == "not":
        rotation = torch.eye(2).to(points).expand_as(rotation)
    size = {"p": p, "q": q}["q" if scaled == "by the target" else "p"].square().sum((1, 2))
    scale = (stretch * sign).sum(1) / size
    scale = torch.ones_like(scale) if scaled == "no" else scale
    scale = 1 / scale if scaled == "inverse" else scale
    linear = scale[:, None, None] * rotation
    moved = mean_p.mT if offset == "not turned" else linear @ mean_p.mT
    shift = mean_q.mT - (0 if offset == "mean of the target" else moved)
    return torch.cat([linear, shift.expand(len(points), 2, 1)], dim=2)


def changed(**settings: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda points, target: similarity(points, target, **settings)


def axes_swapped(points: Tensor, target: Tensor) -> Tensor:
    return similarity(points.flip(2), target.flip(2))


def other_way(points: Tensor, target: Tensor) -> Tensor:
    return similarity(target.expand_as(points), points)


# --- Perceptual and identity loss


def mixture(
    *, share: str = "right", identity: str = "right", batch: str = "mean", half: bool = True
) -> Callable[..., Tensor]:
    """The mixture with one thing changed."""

    def loss(features: Tensor, target: Tensor, vectors: Tensor, wanted: Tensor, m: float) -> Tensor:
        perceptual = (features - target.detach()).square().mean(1) / (2 if half else 1)
        cosine = F.cosine_similarity(vectors, wanted.detach(), dim=1)
        apart = {
            "right": 1 - cosine,
            "cosine": cosine,
            "dot": 1 - (vectors * wanted.detach()).sum(1),
            "squared": (vectors - wanted.detach()).square().sum(1),
        }[identity]
        first, second = {"right": (1 - m, m), "swapped": (m, 1 - m), "added": (1.0, m)}[share]
        each = first * perceptual + second * apart
        return each.mean() if batch == "mean" else each.sum()

    return loss


def attached(*names: str) -> Callable[..., Tensor]:
    """The mixture whose goals of these names get a gradient."""

    def loss(
        features: Tensor, target: Tensor, vectors: Tensor, wanted: Tensor, share: float
    ) -> Tensor:
        target = target if "target" in names else target.detach()
        wanted = wanted if "wanted" in names else wanted.detach()
        perceptual = (features - target).square().mean() / 2
        identity = (1 - F.cosine_similarity(vectors, wanted, dim=1)).mean()
        return (1 - share) * perceptual + share * identity

    return loss
