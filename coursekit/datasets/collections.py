"""Data sets made of pictures at hand: any folder, or patches of the photographs in the course.

A ``size`` is the side of a square in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coursekit.core import runtime
from coursekit.core.errors import DataError, ImageError, SettingError
from coursekit.datasets import photos
from coursekit.datasets.base import Dataset, Fields, Info, cached

if TYPE_CHECKING:
    from torch import Tensor

# Colour photographs of everyday scale: no microscope, no telescope, no retina.
PATCH_SOURCES = ("chelsea", "astronaut", "coffee", "rocket", "china", "flower")


def folder_dataset(
    path: str | os.PathLike[str],
    size: int = 64,
    *,
    count: int | None = None,
    licence: str = "that of the pictures in the folder",
) -> Dataset:
    """The pictures of a folder, each cut to the square in its middle.

    Field: ``image`` uint8 (N, 3, size, size), in the order of the file names. Hidden files and
    subfolders are left out; files that cannot be read as pictures are left out and named in one
    printed line.

    Args:
        path: the folder.
        size: pixels a side.
        count: the first so many readable pictures; all by default.
        licence: what to say in `Dataset.describe`.

    Raises:
        DataError: there is no such folder, or no picture in it.
        SettingError: the size or the count is below 1.
    """
    check_sizes(size, count)
    place = Path(path).expanduser()
    files = photos.files_of(place)
    pictures = squares(((file.name, file) for file in files), size, count=count, where=place.name)
    if not pictures:
        raise DataError(f"The folder {str(path)!r} holds no picture; put JPEG or PNG files in it.")
    info = Info(place.name or "folder", "pictures", licence, synthetic=False, source="a folder")
    return Dataset(info, {"image": torch.stack(pictures)})


def check_sizes(size: int, count: int | None) -> None:
    """SettingError unless both are positive."""
    if size < 1 or (count is not None and count < 1):
        raise SettingError(f"size={size} and count={count} must be 1 or more.")


def squares(
    sources: Iterable[tuple[str, Path | bytes]],
    size: int,
    *,
    count: int | None = None,
    where: str,
) -> list[Tensor]:
    """Named pictures as uint8 (3, size, size): the middle square of each.

    Those that cannot be read are left out and named in one printed line.
    """
    from coursekit.core.images import load_image

    pictures: list[Tensor] = []
    skipped: list[str] = []
    for name, source in sources:
        if count is not None and len(pictures) == count:
            break
        try:
            pictures.append(to_bytes(load_image(source, size, crop=True)[0]))
        except ImageError:
            skipped.append(name)
    photos.tell_skipped(skipped, where)
    return pictures


def to_bytes(image: Tensor) -> Tensor:
    """Float in [0, 1], of any shape -> uint8, rounded."""
    return image.mul(255).round().byte()


def patches(
    count: int = 2000,
    size: int = 64,
    *,
    names: Sequence[str] = PATCH_SOURCES,
    seed: int = 0,
) -> Dataset:
    """Random squares of the photographs in `photos`, half of them mirrored.

    Fields: ``image`` uint8 (count, 3, size, size); ``photo`` int64 (count,), the index in
    ``names``. The side of a square is drawn between ``size`` and the photograph's shorter side,
    evenly in its logarithm, so that there are details and wholes. Squares overlap: to test on
    pictures that are new, give other ``names``.

    Raises:
        SettingError: no name, a size larger than a photograph, or a count below 1.
        DataError: there is no photograph of that name.
    """
    check_sizes(size, count)
    smallest = min((min(photos.find(name).size) for name in names), default=0)
    if size > smallest:
        raise SettingError(f"No {size}-pixel squares in {list(names)}; choose {smallest} or less.")
    key = {"names": tuple(names), "count": count, "size": size, "seed": seed, "version": 1}
    fields = cached("patches", key, lambda: _cut(names, count, size, seed))
    credits = sorted({photos.find(name).licence for name in names})
    info = Info(
        "patches",
        f"squares of {len(names)} photographs",
        licence=", ".join(credits),
        synthetic=False,
        source="scikit-image and scikit-learn",
    )
    return Dataset(info, fields)


def _cut(names: Sequence[str], count: int, size: int, seed: int) -> Fields:
    from coursekit.core.images import resize

    sources = [photos.photo(name) for name in names]
    generator = runtime.generator(seed)
    which = torch.randint(len(names), (count,), generator=generator)
    draws = torch.rand(count, 4, generator=generator).tolist()
    squares = []
    for index, (scale, down, right, mirror) in zip(which.tolist(), draws, strict=True):
        source = sources[index]
        height, width = source.shape[-2:]
        side = round(size * (min(height, width) / size) ** scale)
        top, left = round(down * (height - side)), round(right * (width - side))
        square = resize(source[..., top : top + side, left : left + side], size)[0].clamp(0, 1)
        squares.append(to_bytes(square.flip(-1) if mirror < 0.5 else square))
    return {"image": torch.stack(squares), "photo": which}
