"""Rendered landscapes: every scene by day and by night, with its label map and all its factors.

The pictures are synthetic, and mountains, grass and water in them are made of gradient noise
(Perlin 2002, "Improving noise", SIGGRAPH). Nothing in them depends on chance but the factors:
`sample_factors` draws those, `render` turns them into pictures. A ``size`` is a side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from coursekit.core.errors import SettingError, ShapeError
from coursekit.datasets import base, scenes_light, scenes_things
from coursekit.datasets.scenes_canvas import CLASSES, PALETTE, Canvas
from coursekit.datasets.scenes_factors import (
    FACTORS,
    HOUSE_KINDS,
    ROAD_KINDS,
    SEASONS,
    TREE_KINDS,
    Factors,
    check_factors,
    sample_factors,
)
from coursekit.datasets.scenes_land import Painter

__all__ = [
    "CLASSES", "FACTORS", "HOUSE_KINDS", "PALETTE", "ROAD_KINDS", "SEASONS", "TREE_KINDS",
    "Rendered", "colourise", "render", "sample_factors", "scenes", "unpaired",
]  # fmt: skip

VERSION = 1  # of the renderer: raise it whenever a picture changes
SMALLEST, LARGEST = 32, 512
_CHUNK = 64 * 64 * 64  # pixels drawn at once: few enough to stay near the processor

_INFO = base.Info(
    name="scenes",
    content="landscapes by day and by night with label maps",
    licence="MIT",
    synthetic=True,
    source="rendered by the course",
)


class Rendered(NamedTuple):
    """N scenes as pictures.

    Attributes:
        day: uint8 (N, 3, S, S).
        night: the same scenes by moonlight, uint8 (N, 3, S, S); None if not asked for.
        labels: uint8 (N, S, S), indices into `CLASSES`, true of both.
    """

    day: Tensor
    night: Tensor | None
    labels: Tensor


def render(factors: Mapping[str, Tensor], size: int = 64, *, night: bool = True) -> Rendered:
    """Draw scenes; the same factors give the same bytes, alone or among others.

    Args:
        factors: as `sample_factors` returns them; tensors under other names are left out.
        size: side of the pictures in pixels, 32 to 512.
        night: whether to light every scene a second time, by the moon.

    Raises:
        SettingError: a size out of range, or factors that `FACTORS` does not allow.
    """
    _check_size(size)
    factors = check_factors(factors)
    count, chunk = len(factors["texture"]), max(1, _CHUNK // size**2)
    day = torch.empty(count, 3, size, size, dtype=torch.uint8)
    dark = torch.empty_like(day) if night else None
    labels = torch.empty(count, size, size, dtype=torch.uint8)

    def draw(part: slice) -> None:
        drawn = _draw({name: factor[part] for name, factor in factors.items()}, size, night)
        day[part], labels[part] = drawn.day, drawn.labels
        if dark is not None and drawn.night is not None:
            dark[part] = drawn.night

    base.in_parts(draw, [slice(start, start + chunk) for start in range(0, count, chunk)])
    return Rendered(day, dark, labels)


def _check_size(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise SettingError(f"size={size}; scenes can be drawn from {SMALLEST} to {LARGEST} pixels.")


def _draw(factors: Factors, size: int, night: bool) -> Rendered:
    """One chunk: paint once, light once or twice."""
    canvas = Canvas(len(factors["texture"]), size)
    sky = scenes_light.Sky(canvas, factors)
    painter = Painter(canvas, factors)
    painter.paint()
    scenes_things.draw(painter)
    day = _bytes(scenes_light.shine(canvas, sky, scenes_light.daylight(factors)))
    dark = None
    if night:
        dark = _bytes(scenes_light.shine(canvas, sky, scenes_light.moonlight(factors)))
    return Rendered(day, dark, canvas.labels.to(torch.uint8))


def _bytes(picture: Tensor) -> Tensor:
    """(3, N, S, S) in [0, 1] as uint8 (N, 3, S, S)."""
    return (picture * 255).round().to(torch.uint8).transpose(0, 1)


def scenes(count: int = 4000, size: int = 64, *, seed: int = 0) -> base.Dataset:
    """Landscapes with day and night twins; kept in the cache from the second time on.

    Fields: "image" (day) and "night", uint8 (N, 3, S, S); "labels", uint8 (N, S, S), indices into
    `CLASSES`; and every factor of `FACTORS`. The first n scenes do not depend on ``count``.

    Raises:
        SettingError: a count below 1 or a size that cannot be drawn.
    """
    _check_size(size)
    factors = sample_factors(count, seed=seed)
    key = {"count": count, "size": size, "seed": seed, "version": VERSION}
    fields = base.cached("scenes", key, lambda: _fields(factors, size))
    return base.Dataset(_INFO, fields, pictures=("image", "night"))


def _fields(factors: Factors, size: int) -> base.Fields:
    day, night, labels = render(factors, size)
    assert night is not None  # that is the default
    return {"image": day, "night": night, "labels": labels, **factors}


def unpaired(
    count: int = 2000, size: int = 64, *, seed: int = 0
) -> tuple[base.Dataset, base.Dataset]:
    """Day pictures and night pictures of different scenes, for translation without pairs.

    Returns:
        Two data sets of ``count`` entries, by day and by night, that share no scene. Each keeps
        what the same scene looks like at the other time in the field "twin", uint8
        (N, 3, S, S): to measure with, not to train on, and so not one of its pictures. The other
        fields are those of `scenes`. The first n entries do not depend on ``count``.

    Raises:
        SettingError: a count below 1 or a size that cannot be drawn.
    """
    if count < 1:
        raise SettingError(f"{count} scenes cannot be drawn; ask for 1 or more.")
    whole = scenes(2 * count, size, seed=seed)
    by_day = _one_sided(whole.take(range(0, 2 * count, 2)), "image", "night")
    by_night = _one_sided(whole.take(range(1, 2 * count, 2)), "night", "image")
    return by_day, by_night


def _one_sided(both: base.Dataset, shown: str, hidden: str) -> base.Dataset:
    fields = {k: v for k, v in both.fields.items() if k not in (shown, hidden)}
    fields |= {"image": both.fields[shown], "twin": both.fields[hidden]}
    time = "day" if shown == "image" else "night"
    one = base.Dataset(both.info, fields)
    return one.renamed(name=f"scenes by {time}", content=f"landscapes by {time} with label maps")


def colourise(labels: Tensor) -> Tensor:
    """Label maps (N, S, S) as pictures uint8 (N, 3, S, S) in the colours of `PALETTE`.

    Raises:
        ShapeError: not three dimensions, not whole numbers, or an index that no class has.
    """
    if labels.dim() != 3 or labels.is_floating_point() or labels.is_complex():
        raise ShapeError(
            f"Label maps are whole numbers (N, S, S), not {labels.dtype} {tuple(labels.shape)}."
        )
    index = labels.long()
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(CLASSES):
        raise ShapeError(
            f"Labels run from {int(index.min())} to {int(index.max())}; "
            f"the classes have the numbers 0 to {len(CLASSES) - 1}."
        )
    palette = torch.tensor(PALETTE, dtype=torch.uint8, device=labels.device)
    return palette[index].movedim(-1, 1).contiguous()
