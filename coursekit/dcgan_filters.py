"""Topic 07, the filters of a trained generator: which maps draw an attribute, and what goes
when they are switched off (Radford et al. 2016, §6.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import Estimate, proportion
from coursekit.dcgan import Generator, to_unit
from coursekit.dcgan_latent import other_factors, read

if TYPE_CHECKING:
    from coursekit.core.recogniser import Recogniser


def boxes_to_positions(boxes: Tensor, side: int, size: int) -> Tensor:
    """Which positions of a ``side``² map lie in boxes drawn on ``size``² pictures (§6.3.1).

    Args:
        boxes: (N, 4): left, top, right, bottom in pixels; one a picture.
        side: of the activation maps.
        size: of the pictures.

    Returns:
        bool (N, side, side); a position counts if its centre is inside.

    Raises:
        ShapeError: not (N, 4).
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"Boxes have the shape (N, 4), not {tuple(boxes.shape)}.")
    centres = (torch.arange(side) + 0.5) * size / side
    left, top, right, bottom = (edge[:, None] for edge in boxes.unbind(1))
    across = (centres >= left) & (centres <= right)
    down = (centres >= top) & (centres <= bottom)
    return down[:, :, None] & across[:, None, :]


def filter_weights(
    activations: Tensor, inside: Tensor, *, seed: int = 0, strength: float = 0.05
) -> Tensor:
    """Which feature maps speak for a drawn region: weights (C,) of a logistic regression.

    Positions inside the region are positives; as many random positions of the same pictures
    outside it are negatives (§6.3.1). Activations are standardised per map before the fit.

    Args:
        activations: (N, C, h, w), from `Generator.up_to_block`.
        inside: bool (N, h, w), from `boxes_to_positions`.
        seed: of the choice of negatives.
        strength: scikit-learn's C; smaller holds the weights closer to zero.

    Raises:
        ShapeError: the two do not fit.
        SettingError: no position inside, or none outside.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if activations.dim() != 4 or inside.shape != activations[:, 0].shape:
        raise ShapeError(
            f"Activations {tuple(activations.shape)} and positions {tuple(inside.shape)} do not "
            "fit: (N, C, h, w) and (N, h, w)."
        )
    rows = activations.movedim(1, -1)
    positives, negatives = rows[inside], rows[~inside]
    if not len(positives) or not len(negatives):
        raise SettingError("The regions must cover some positions, and leave some out.")
    order = torch.randperm(len(negatives), generator=runtime.generator(seed))
    negatives = negatives[order[: len(positives)]]
    features = torch.cat([positives, negatives]).double().numpy()
    truth = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    scaled = StandardScaler().fit_transform(features)
    fit = LogisticRegression(C=strength, max_iter=500).fit(scaled, truth)
    return torch.from_numpy(fit.coef_[0]).float()


def strongest(weights: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest positive weights (§6.3.1); fewer if fewer are positive.

    ``weights`` are (C,), as `filter_weights` gives them.
    """
    order = weights.argsort(descending=True)[:count]
    return order[weights[order] > 0]


@torch.no_grad()
def without_filters(generator: Generator, latents: Tensor, block: int, filters: Tensor) -> Tensor:
    """Images (N, C, H, W) in [0, 1] with some feature maps of one block set to zero (§6.3.1).

    Args:
        generator: in eval mode.
        latents: (N, latent).
        block: how many blocks come before the maps.
        filters: indices (n,) of the maps to switch off.

    Raises:
        SettingError: no such map.
    """
    images, device = [], next(generator.parameters()).device
    for z in latents.split(100):
        activations = generator.up_to_block(z.to(device), block).clone()
        if len(filters) and filters.max() >= activations.shape[1]:
            raise SettingError(f"{filters=}: block {block} has {activations.shape[1]} maps.")
        activations[:, filters] = 0
        images.append(to_unit(generator.from_block(activations, block)).cpu())
    return torch.cat(images).clamp(0, 1)


@dataclass(frozen=True)
class FilterStudy:
    """What goes when filters are switched off, against as many filters chosen at random.

    Attributes:
        counts: how many maps were switched off.
        gone: by way (``"chosen"``, ``"random"``), for each count the share of pictures that lost
            the attribute.
        kept: by way, for each count the share whose other factors are read as before.
    """

    counts: list[int]
    gone: dict[str, list[Estimate]]
    kept: dict[str, list[Estimate]]


def study_filters(
    generator: Generator,
    recogniser: Recogniser,
    latents: Tensor,
    attribute: str,
    block: int,
    weights: Tensor,
    *,
    counts: Sequence[int] = (4, 8, 16, 32),
    seed: int = 0,
) -> FilterStudy:
    """Switch off the maps that speak most for an attribute (§6.3.1), and as many random ones.

    Args:
        generator, recogniser: as elsewhere.
        latents: (N, latent) of pictures that show the attribute.
        attribute: a binary factor.
        block: where the maps are.
        weights: (C,), from `filter_weights`, fitted on other pictures than these.
        counts: how many maps to switch off.
        seed: of the random choice.

    Raises:
        SettingError: the recogniser does not read the attribute, or nothing that should stay.
    """
    before = read(generator, recogniser, latents)
    others = other_factors(before, attribute)
    shuffled = torch.randperm(len(weights), generator=runtime.generator(seed))
    ways = {"chosen": weights.argsort(descending=True), "random": shuffled}
    gone: dict[str, list[Estimate]] = {way: [] for way in ways}
    kept: dict[str, list[Estimate]] = {way: [] for way in ways}
    for way, order in ways.items():
        for count in counts:
            after = recogniser.predict(without_filters(generator, latents, block, order[:count]))
            lost = int((after[attribute] == 0).sum())
            gone[way].append(proportion(lost, len(latents), name="gone"))
            same = torch.stack([before[name] == after[name] for name in others]).all(0)
            kept[way].append(proportion(int(same.sum()), len(same), name="kept"))
    return FilterStudy(list(counts), gone, kept)
