"""Topic 10, what to translate: every task of the lecture as pairs of pictures, input and target.

A task is a data set with two pictures an entry, ``"input"`` and ``"target"``, both with three
channels, and ``"region"``, the part of the target that counts. Nothing else changes from one task
to the next: the same networks, the same loss (Isola et al. 2017, section 4). A ``size`` is the side
of a square in pixels.

Source: none; data as pairs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import images
from coursekit.core.errors import DataError, ImageError, SettingError, ShapeError
from coursekit.datasets import collections, emoji, faces, photos, scenes, translation
from coursekit.datasets.base import Dataset, Fields, Info

SPLITS = ("train", "test")
COUNTS = {"train": 1450, "test": 160}  # as many rendered pairs as there are emoji
SEEDS = {"train": 0, "test": 1000}  # of rendered pictures
# Photographs behind the faces: those of the held-out faces are new too.
BACKGROUNDS = {"train": ("chelsea", "astronaut", "coffee", "rocket"), "test": ("china", "flower")}
COLOURS = 4  # in a palette
_BLACK = 40  # of 255: what is darker is the pen
_ALIKE, _RARE = 24.0, 0.03  # colours nearer than this are one; a smaller share is an edge
_LUMA = (0.299, 0.587, 0.114)

Make = Callable[[str, int, "int | None"], Dataset]


@dataclass(frozen=True)
class Task:
    """A task of the course.

    Attributes:
        title: input → target, in words.
        slide: what the lecture calls it.
        make: (split, size, count) → the pairs.
    """

    title: str
    slide: str
    make: Make


def task(name: str, split: str = "train", size: int = 64, *, count: int | None = None) -> Dataset:
    """The pairs of a task.

    Fields: ``input`` and ``target`` uint8 (N, 3, size, size); ``region`` bool (N, 1, size, size),
    the part of the target where an error counts. The halves share no picture, and no drawing that
    looks like one of the other half.

    Args:
        name: one of `TASKS`.
        split: ``"train"`` or ``"test"``, the held-out half.
        size: pixels a side.
        count: the first so many pairs; all emoji, or `COUNTS` rendered pairs, by default.

    Raises:
        SettingError: no such task or split, or a size or count that cannot be had.
    """
    if name not in TASKS or split not in SPLITS:
        raise SettingError(
            f"There is no task {name!r} with split={split!r}; choose a task of {', '.join(TASKS)} "
            f"and a split of {', '.join(SPLITS)}."
        )
    return TASKS[name].make(split, size, count).renamed(name=name, content=TASKS[name].title)


def pairs(
    source: str | os.PathLike[str],
    split: str = "train",
    size: int = 64,
    *,
    count: int | None = None,
) -> Dataset:
    """Pairs from anywhere, by one argument; fields as those of `task`.

    Args:
        source: a task of `TASKS`; a published set of `translation.PAIRS` (``"facades"``,
            ``"maps"``, ``"edges2shoes"``, ``"edges2handbags"``; downloaded); or a folder with
            pictures A|B, input on the left, target on the right, as `folder` reads them.
        split: ``"train"`` or ``"test"``.
        size: pixels a side.
        count: the first so many.

    Raises:
        SettingError: no such split, size or count.
        DataError: the source is none of the three, or holds no pairs.
    """
    name = str(source)
    if name in TASKS:
        return task(name, split, size, count=count)
    if split not in SPLITS:
        raise SettingError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    if name in translation.PAIRS:
        return published(name, split, size, count=count)
    if Path(source).expanduser().is_dir():
        return folder(source, split, size, count=count)
    known = ", ".join([*TASKS, *translation.PAIRS])
    raise DataError(f"{name!r} is no folder and no set of pairs; those are {known}.")


def published(
    name: str = "facades", split: str = "train", size: int = 64, *, count: int | None = None
) -> Dataset:
    """A set of the paper: from labels, map or edges to the photograph.

    Raises:
        SettingError, DataError: as `translation.paired`.
    """
    both = translation.paired(name, split, size, count=count)
    drawn = both.fields[translation.PAIRS[name].other]
    return _pairs(both.info, drawn, both.fields["image"])


def folder(
    path: str | os.PathLike[str],
    split: str = "train",
    size: int = 64,
    *,
    count: int | None = None,
    held_out: float = 0.1,
) -> Dataset:
    """Pairs from a folder of pictures A|B, twice as wide as high: input left, target right.

    Subfolders ``train`` and ``test`` are used where they are; else every tenth picture, in the
    order of the names, is held out.

    Args:
        path: the folder.
        split, size, count: as for `pairs`.
        held_out: the share of pictures for ``"test"`` where there are no subfolders.

    Raises:
        DataError: no folder, no picture, or one that is not twice as wide as high.
        SettingError: ``held_out`` leaves one half empty, or a size or count below 1.
    """
    collections.check_sizes(size, count)
    place = Path(path).expanduser()
    own = place / split
    files = photos.files_of(own if own.is_dir() else place)
    if not files:
        raise DataError(f"The folder {str(path)!r} holds no picture; put JPEG or PNG files in it.")
    if not own.is_dir():
        files = _half(files, split, held_out)
    left, right = zip(*(_halves(file, size) for file in files[:count]), strict=True)
    info = Info(place.name, "pairs A|B", "that of the pictures", False, "a folder")
    return _pairs(info, torch.stack(left), torch.stack(right))


def _half(files: list[Path], split: str, held_out: float) -> list[Path]:
    every = round(1 / held_out) if 0 < held_out <= 0.5 else 0
    test = files[:: every or 1]
    if not every or len(test) == len(files):
        raise SettingError(f"held_out={held_out} of {len(files)} pictures leaves one half empty.")
    return test if split == "test" else [file for file in files if file not in set(test)]


def _halves(file: Path, size: int) -> tuple[Tensor, Tensor]:
    try:
        both = images.load_image(file)
    except ImageError as error:
        raise DataError(f"{file.name} in the folder is no picture: {error}") from error
    height, width = both.shape[-2:]
    if width != 2 * height:
        raise DataError(
            f"{file.name} is {width} × {height} pixels; a pair A|B is twice as wide as high."
        )
    halves = images.resize(torch.cat(both.split(height, dim=3)), size).clamp(0, 1)
    return collections.to_bytes(halves[0]), collections.to_bytes(halves[1])


# --- The tasks of the course ---------------------------------------------------------------------


def _pairs(info: Info, drawn: Tensor, target: Tensor, region: Tensor | None = None) -> Dataset:
    if region is None:
        region = torch.ones_like(target[:, :1], dtype=torch.bool)
    fields: Fields = {"input": drawn, "target": target, "region": region}
    return Dataset(info, fields, ("input", "target"))


def _colour(split: str, size: int, count: int | None) -> Dataset:
    data = emoji.emoji(split, size, count=count)
    line = data.fields["line"].expand(-1, 3, -1, -1).contiguous()
    return _pairs(data.info, line, data.fields["image"], data.fields["drawn"])


def _palette(split: str, size: int, count: int | None) -> Dataset:
    data = _colour(split, size, count)
    image, region = data.fields["target"], data.fields["region"]
    chosen = torch.stack([palette(*each) for each in zip(image, region, strict=True)])
    return _pairs(data.info, add_palette(data.fields["input"], chosen), image, region)


def _scenes(split: str, size: int, count: int | None) -> Dataset:
    data = scenes.scenes(count or COUNTS[split], size, seed=SEEDS[split])
    drawn = scenes.colourise(data.fields["labels"])
    return _pairs(data.info, drawn, data.fields["image"])


def _night(split: str, size: int, count: int | None) -> Dataset:
    data = scenes.scenes(count or COUNTS[split], size, seed=SEEDS[split])
    return _pairs(data.info, data.fields["image"], data.fields["night"])


def _grey(split: str, size: int, count: int | None) -> Dataset:
    data = faces.faces(count or COUNTS[split], size, seed=SEEDS[split])
    image = data.fields["image"]
    return _pairs(data.info, grey(image), image)


def _background(split: str, size: int, count: int | None) -> Dataset:
    # Drawn twice as large and made small: a face that is cut out has soft edges then.
    count = count or COUNTS[split]
    data = faces.faces(count, 2 * size, seed=SEEDS[split])
    behind = collections.patches(count, 2 * size, names=BACKGROUNDS[split], seed=SEEDS[split])
    face, kept = data.fields["image"], data.fields["mask"][:, None] > 0
    pasted = torch.where(kept, face, behind.fields["image"])
    alone = torch.where(kept, face, torch.full_like(face, 255))
    region = F.avg_pool2d(kept.float(), 2) >= 0.5
    return _pairs(data.info, _smaller(pasted), _smaller(alone), region)


def _smaller(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures.float(), 2).round().to(torch.uint8)


TASKS = {
    "emoji": Task("line drawing → colours", "Edges to Photo, #edges2cats", _colour),
    "scenes": Task("label map → landscape", "Labels to Street Scene", _scenes),
    "background": Task(
        "face before a photograph → face on white", "Background removal", _background
    ),
    "grey": Task("greyscale → colours", "BW to Color", _grey),
    "palette": Task("line drawing and four colours → colours", "Palette generation", _palette),
    "night": Task("landscape by day → by night", "Day to Night", _night),
}


# --- Making inputs -------------------------------------------------------------------------------


def grey(pictures: Tensor) -> Tensor:
    """Brightness (ITU-R BT.601) in all three channels, of the shape and type of the input.

    Args:
        pictures: (N, 3, H, W), uint8 or float.

    Raises:
        ShapeError: another shape.
    """
    if pictures.dim() != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"Expected pictures (N, 3, H, W), got {tuple(pictures.shape)}.")
    weights = torch.tensor(_LUMA, device=pictures.device).view(1, 3, 1, 1)
    luma = (pictures.float() * weights).sum(dim=1, keepdim=True)
    luma = luma if pictures.is_floating_point() else luma.round()
    return luma.to(pictures.dtype).expand_as(pictures).contiguous()


def palette(picture: Tensor, region: Tensor, colours: int = COLOURS) -> Tensor:
    """The most frequent colours of a flat drawing, without black, the most frequent first.

    Args:
        picture: uint8 (3, H, W).
        region: bool (1, H, W), where to look.
        colours: how many; where there are fewer, white fills up.

    Returns:
        uint8 (colours, 3).

    Raises:
        ShapeError: a picture or a region of another shape.
    """
    if picture.dim() != 3 or region.shape != (1, *picture.shape[1:]) or region.dtype != torch.bool:
        raise ShapeError(
            f"The picture {tuple(picture.shape)} and the {region.dtype} region "
            f"{tuple(region.shape)} do not fit: (3, H, W) and bool (1, H, W)."
        )
    pixels = picture[:, region[0]].T
    pixels = pixels[pixels.amax(dim=1) > _BLACK]
    found, counts = pixels.unique(dim=0, return_counts=True)
    chosen: list[Tensor] = []
    for colour in found[counts.argsort(descending=True, stable=True)].float():
        share = (pixels.float() - colour).norm(dim=1).lt(_ALIKE).float().mean()
        new = all((colour - other).norm() >= 2 * _ALIKE for other in chosen)
        if new and share >= _RARE and len(chosen) < colours:
            chosen.append(colour)
    white = [torch.full((3,), 255.0)] * (colours - len(chosen))
    return torch.stack(chosen + white).to(torch.uint8)


def add_palette(drawings: Tensor, colours: Tensor) -> Tensor:
    """Drawings with a strip of colours along the lower edge, a sixteenth of the height.

    Args:
        drawings: (N, 3, H, W), in any range.
        colours: (N, k, 3), of the same type.

    Raises:
        ShapeError: another shape or another number of palettes.
    """
    if drawings.dim() != 4 or colours.dim() != 3 or len(colours) != len(drawings):
        raise ShapeError(
            f"{tuple(drawings.shape)} drawings and {tuple(colours.shape)} colours: give "
            "(N, 3, H, W) and (N, k, 3)."
        )
    height, width = drawings.shape[-2:]
    which = torch.arange(width, device=drawings.device) * colours.shape[1] // width
    painted = drawings.clone()
    strip = colours[:, which].transpose(1, 2)[:, :, None]
    painted[:, :, height - max(height // 16, 1) :] = strip
    return painted
