"""Pictures to translate: the archives of pix2pix (pairs) and of CycleGAN (two heaps)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import DataError, ImageError, SettingError
from coursekit.core.images import load_image, resize
from coursekit.datasets import archives, photos
from coursekit.datasets.base import Dataset, Fields, Info, cached
from coursekit.datasets.collections import check_sizes, squares, to_bytes

# As published: plain HTTP, so only a SHA-256 can vouch for a file.
ADDRESS = "http://efrosgans.eecs.berkeley.edu"
ENDINGS = (".jpg", ".jpeg", ".png")
_LICENCE = "no licence comes with the archive"

T = TypeVar("T")
Named: TypeAlias = tuple[str, bytes]
Reader: TypeAlias = Callable[[Iterator[Named], int, "int | None", Path], Fields]


@dataclass(frozen=True)
class Pairs:
    """A pix2pix archive: photograph and ``other`` (the field's name) side by side.

    ``test`` is the folder of held-out pairs.
    """

    content: str
    other: str
    photo_on_left: bool
    source: str
    test: str = "val"


PAIRS = {
    "facades": Pairs("house fronts and their labels", "labels", True, "CMP Facades", test="test"),
    "maps": Pairs("aerial photographs and maps", "map", True, "Google Maps"),
    "edges2shoes": Pairs("shoes and their edges", "edges", False, "UT Zappos50K"),
    "edges2handbags": Pairs("handbags and their edges", "edges", False, "Amazon, through iGAN"),
}
HEAPS = {
    "apple2orange": ("apples", "oranges"),
    "summer2winter_yosemite": ("Yosemite in summer", "Yosemite in winter"),
    "horse2zebra": ("horses", "zebras"),
    "monet2photo": ("paintings by Monet", "landscape photographs"),
    "cezanne2photo": ("paintings by Cézanne", "landscape photographs"),
    "ukiyoe2photo": ("ukiyo-e prints", "landscape photographs"),
    "vangogh2photo": ("paintings by Van Gogh", "landscape photographs"),
    "maps": ("aerial photographs", "maps"),
    "facades": ("house fronts", "labels of house fronts"),
    "iphone2dslr_flower": ("flowers by telephone", "flowers by reflex camera"),
}


def paired(
    name: str = "facades",
    split: str = "train",
    size: int = 64,
    *,
    count: int | None = None,
    sha256: str | None = None,
    progress: bool = True,
) -> Dataset:
    """Pairs of pictures from a pix2pix archive (Isola et al. 2017).

    Fields: ``image`` uint8 (N, 3, size, size), the photograph, and its other half under the name
    in `PAIRS`, of the same shape: ``labels``, ``map`` or ``edges``.

    No digest of these archives is known to the course: it was written without access to them. On
    the first download the SHA-256 of what came is printed; give it as ``sha256`` from then on.

    Args:
        name: one of `PAIRS`.
        split: ``"train"``, ``"test"``, or a folder of the archive by its own name (``"val"``).
        size: pixels a side.
        count: the first so many in the archive's order; all by default.
        sha256: of the archive; another one is refused.
        progress: show a bar while downloading.

    Raises:
        SettingError: no such name or folder, or a size or count below 1.
        DataError: the archive is not to be had, damaged, refused (`archives.members`), or its
            layout is not NAME/SPLIT/picture with two squares side by side in a picture.
    """
    entry = _find(PAIRS, name)
    check_sizes(size, count)
    source = _Source("pix2pix", f"{name}.tar.gz", sha256, progress)
    folder = entry.test if split == "test" else split
    halves = source.read(folder, size, count, _halves)
    names = ("image", entry.other) if entry.photo_on_left else (entry.other, "image")
    fields = {name: halves[half] for name, half in zip(names, ("left", "right"), strict=True)}
    info = Info(name, entry.content, _LICENCE, synthetic=False, source=entry.source)
    return Dataset(info, fields, ("image", entry.other))


def unpaired(
    name: str = "horse2zebra",
    split: str = "train",
    size: int = 64,
    *,
    count: int | None = None,
    sha256: str | None = None,
    progress: bool = True,
) -> tuple[Dataset, Dataset]:
    """The two heaps of pictures, A and B, of a CycleGAN archive (Zhu et al. 2017).

    Field of each: ``image`` uint8 (N, 3, size, size), the middle square. The heaps need not have
    the same length. As for `paired`, no digest of the archives is known to the course.

    Args:
        name: one of `HEAPS`.
        split: ``"train"`` or ``"test"``.
        size: pixels a side.
        count: the first so many of each heap, in the archive's order; all by default.
        sha256: of the archive; another one is refused.
        progress: show a bar while downloading.

    Raises:
        SettingError: no such name or split, or a size or count below 1.
        DataError: the archive is not to be had, damaged, refused (`archives.members`), or has no
            pictures in its folder's folders (NAME/trainA, trainB, testA, testB).
    """
    contents = _find(HEAPS, name)
    check_sizes(size, count)
    if split not in ("train", "test"):
        raise SettingError(f"There is no split {split!r}; choose 'train' or 'test'.")
    source = _Source("cyclegan", f"{name}.zip", sha256, progress)

    def heap(half: str, content: str) -> Dataset:
        info = Info(f"{name} {half}", content, _LICENCE, synthetic=False, source="CycleGAN")
        return Dataset(info, source.read(split + half, size, count, _whole))

    return heap("A", contents[0]), heap("B", contents[1])


def _find(known: Mapping[str, T], name: str) -> T:
    if name not in known:
        raise SettingError(f"There is no set {name!r}; choose one of {', '.join(known)}.")
    return known[name]


class _Source:
    """An archive in the cache, fetched if need be. One that came just now must be sound to stay."""

    def __init__(self, paper: str, file: str, sha256: str | None, progress: bool) -> None:
        self.path = runtime.cache_dir() / "published" / paper / file
        url = f"{ADDRESS}/{paper}/datasets/{file}"
        self.fresh = archives.fetch(url, self.path, sha256=sha256, progress=progress)

    def read(self, folder: str, size: int, count: int | None, read: Reader) -> Fields:
        """The fields that ``read`` makes of a folder's pictures; kept for this very archive."""
        about = self.path.stat()
        key = {"folder": folder, "size": size, "count": count, "version": 1}
        key |= {"bytes": about.st_size, "modified": about.st_mtime_ns}
        name = f"{self.path.parent.name}-{self.path.name}"
        try:
            return cached(name, key, lambda: read(self._pictures(folder), size, count, self.path))
        except DataError as error:
            way_out = f"delete {self.path} to fetch it again"
            if self.fresh:
                self.path.unlink(missing_ok=True)
                way_out = "it was deleted, so that the next call fetches it again"
            raise DataError(f"{str(error).rstrip('.')}; {way_out}.") from error

    def _pictures(self, folder: str) -> Iterator[Named]:
        """The pictures in NAME/folder/."""
        seen: set[str] = set()

        def wanted(path: PurePosixPath) -> bool:
            picture = path.suffix.lower() in ENDINGS and not path.name.startswith(".")
            if picture and len(path.parts) == 3:
                seen.add(path.parts[1])
            return picture and path.parts[1:-1] == (folder,)

        for path, data in archives.members(self.path, wanted):
            yield path.name, data
        name = self.path.name
        if not seen:
            raise DataError(f"{name} has no pictures in the folders of its folder: another layout")
        if folder not in seen:
            raise SettingError(
                f"{name} has no pictures in {folder!r}; it has {', '.join(sorted(seen))}."
            )


def _whole(pictures: Iterator[Named], size: int, count: int | None, where: Path) -> Fields:
    found = squares(pictures, size, count=count, where=where.name)
    if not found:
        raise DataError(f"No picture in {where.name} can be read.")
    return {"image": torch.stack(found)}


def _halves(pictures: Iterator[Named], size: int, count: int | None, where: Path) -> Fields:
    left: list[Tensor] = []
    right: list[Tensor] = []
    skipped: list[str] = []
    for name, data in pictures:
        try:
            both = load_image(data)
        except ImageError:
            skipped.append(name)
            continue
        height, width = both.shape[-2:]
        if width != 2 * height:
            raise DataError(
                f"{name} in {where.name} is {width} × {height} pixels, not two squares side by "
                "side: this is another layout than that of pix2pix."
            )
        for heap, half in ((left, both[..., :height]), (right, both[..., height:])):
            heap.append(to_bytes(resize(half, size)[0].clamp(0, 1)))
        if len(left) == count:
            break
    photos.tell_skipped(skipped, where.name)
    if not left:
        raise DataError(f"No picture in {where.name} can be read.")
    return {"left": torch.stack(left), "right": torch.stack(right)}
