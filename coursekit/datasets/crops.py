"""Random squares of photographs, as many as a training asks for, none of them stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from coursekit.core import runtime
from coursekit.core.errors import DataError, ImageError, SettingError
from coursekit.datasets import photos
from coursekit.datasets.collections import check_sizes, to_bytes


class Crops:
    """Squares of photographs: entry ``i`` is always the same one, made when it is asked for.

    Photographs take turns. The side of a square is drawn between ``size`` and the photograph's
    shorter side, evenly in its logarithm, so that there are details and wholes; half of them are
    mirrored. Feed it to `coursekit.core.training.Batches`.

    Args:
        source: a folder of photographs, its subfolders included, or pictures (1, 3, H, W) in
            [0, 1]. Pictures smaller than ``size`` and files that are none are left out and named.
        size: side of a square in pixels.
        count: how many entries there are.
        seed: of places, sizes and mirrors.

    Raises:
        SettingError: a size or a count below 1.
        DataError: no folder, or no picture that is large enough.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Sequence[Tensor],
        size: int = 256,
        *,
        count: int = 20_000,
        seed: int = 0,
    ) -> None:
        check_sizes(size, count)
        self.size, self.count, self.seed = size, count, seed
        if isinstance(source, Sequence) and not isinstance(source, str):
            found: Iterable[Tensor] = map(_checked, source)
        else:
            found = _read(Path(source))
        # Bytes take a quarter of the memory of floats; a photograph had no more to begin with.
        self.pictures = [to_bytes(each[0]) for each in found if min(each.shape[-2:]) >= size]
        if not self.pictures:
            raise DataError(
                f"No picture with sides of {size} pixels or more in {_name(source)}. Give a folder "
                "of photographs, or a smaller size."
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        """Entry ``index``: (3, size, size) float in [0, 1]."""
        if not 0 <= index < self.count:
            raise IndexError(f"There are {self.count} crops; there is no {index}.")
        picture = self.pictures[index % len(self.pictures)]
        random = runtime.generator((self.seed * 1_000_003 + index) % 2**63)
        draws = torch.rand(4, generator=random).tolist()
        height, width = picture.shape[-2:]
        side = round(self.size * (min(height, width) / self.size) ** draws[0])
        top, left = round(draws[1] * (height - side)), round(draws[2] * (width - side))
        square = picture[:, top : top + side, left : left + side].float() / 255
        square = transforms.resize(square, [self.size, self.size], antialias=True)
        return (square.flip(-1) if draws[3] < 0.5 else square).clamp(0, 1)

    def batch(
        self, indices: Sequence[int] | Tensor, device: torch.device | str = "cpu"
    ) -> dict[str, Tensor]:
        """The entries at ``indices``: ``{"image": (n, 3, size, size)}`` on a device."""
        squares = [self[index] for index in torch.as_tensor(indices).tolist()]
        return {"image": torch.stack(squares).to(runtime.find_device(device))}


def _checked(picture: Tensor) -> Tensor:
    if picture.dim() != 4 or picture.shape[:2] != (1, 3):
        raise SettingError(f"Give pictures (1, 3, H, W) in [0, 1], not {tuple(picture.shape)}.")
    return picture


def _read(place: Path) -> Iterator[Tensor]:
    """The pictures of a folder and its subfolders, by path; those that are none are named."""
    from coursekit.core.images import load_image

    photos.files_of(place)  # says so if there is no such folder
    skipped = []
    for file in sorted(place.rglob("*")):
        if not file.is_file() or file.name.startswith("."):
            continue
        try:
            yield load_image(file)
        except ImageError:
            skipped.append(file.name)
    photos.tell_skipped(skipped, place.name)


def _name(source: str | os.PathLike[str] | Sequence[Tensor]) -> str:
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    return f"the {len(source)} pictures given"
