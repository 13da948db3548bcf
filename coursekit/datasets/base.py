"""One look for every data set: ``len``, ``[i]``, ``batch``, ``sheet`` and ``describe``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.atomic import replacing
from coursekit.core.errors import DataError, SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Fields = Mapping[str, Tensor]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Info:
    """What a data set is, in words.

    Attributes:
        name: short, as in the code: ``"faces"``.
        content: what is in it, half a sentence.
        licence: the licence of the pictures.
        synthetic: whether the pictures were rendered rather than photographed, drawn or scanned.
        source: where they come from.
    """

    name: str
    content: str
    licence: str
    synthetic: bool
    source: str


class Dataset(torch.utils.data.Dataset):
    """Pictures and what is known about each, held in memory.

    Args:
        info: what it is.
        fields: tensors by name, all of the same length N. A picture field is uint8 (N, C, H, W);
            any other field has one entry a picture.
        pictures: the names of the picture fields, the one to look at first.

    Raises:
        DataError: no pictures, fields of different lengths, or a picture field that is not uint8
            (N, C, H, W).
    """

    def __init__(self, info: Info, fields: Fields, pictures: Sequence[str] = ("image",)) -> None:
        lengths = {len(field) if field.dim() else 0 for field in fields.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise DataError(f"The fields of {info.name} have {sorted(lengths)} entries, not one N.")
        for name in pictures:
            field = fields.get(name)
            if field is None or field.dtype != torch.uint8 or field.dim() != 4:
                raise DataError(f"{name!r} of {info.name} is not a uint8 tensor (N, C, H, W).")
        self.info, self.fields, self.pictures = info, dict(fields), tuple(pictures)

    def __len__(self) -> int:
        return len(self.fields[self.pictures[0]])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One entry: pictures (C, H, W) float in [0, 1], everything else as it is."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.info.name} has {len(self)} entries; there is no {index}.")
        return {name: field[0] for name, field in self.batch([index % len(self)]).items()}

    def batch(
        self, indices: Sequence[int] | Tensor, device: torch.device | str = "cpu"
    ) -> dict[str, Tensor]:
        """The entries at ``indices`` on a device: pictures (n, C, H, W) float in [0, 1].

        ``indices`` may also be a bool tensor of length N, here and in `take`.

        Raises:
            SettingError: there is no such entry, or a bool tensor of another length.
        """
        where = self._where(indices)
        device = runtime.find_device(device)
        chosen = {name: field[where].to(device) for name, field in self.fields.items()}
        return {n: f.float() / 255 if n in self.pictures else f for n, f in chosen.items()}

    def take(self, indices: Sequence[int] | Tensor) -> Dataset:
        """A data set of these entries, (n,) indices or a bool tensor (N,), in this order.

        Raises:
            SettingError: there is no such entry, or a bool tensor of another length.
        """
        where = self._where(indices)
        fields = {name: field[where] for name, field in self.fields.items()}
        return Dataset(self.info, fields, self.pictures)

    def _where(self, indices: Sequence[int] | Tensor) -> Tensor:
        where = torch.as_tensor(indices).cpu()
        if where.dtype != torch.bool:
            outside = (where < -len(self)) | (where >= len(self))
            if outside.any():
                first = where[outside][0].item()
                raise SettingError(
                    f"{self.info.name} has {len(self)} entries; there is no {first}."
                )
            return where.long()
        if where.shape != (len(self),):
            shape = tuple(where.shape)
            raise SettingError(f"A bool tensor of shape {shape} cannot choose from {len(self)}.")
        return where.nonzero()[:, 0]

    def split(self, held_out: float = 0.1, *, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two disjoint halves: the larger one to train on, ``held_out`` of it to test on.

        Raises:
            SettingError: one of the halves would be empty.
        """
        count = round(len(self) * held_out) if 0 < held_out < 1 else 0
        if not 0 < count < len(self):
            raise SettingError(f"held_out={held_out} of {len(self)} leaves one half empty.")
        order = torch.randperm(len(self), generator=runtime.generator(seed))
        return self.take(order[count:]), self.take(order[:count])

    def sheet(self, count: int = 32, *, columns: int = 8, seed: int | None = None) -> Figure:
        """A contact sheet: the first ``count`` entries, or a random draw if a seed is given.

        Further picture fields stand in rows under the first one, column by column.
        """
        from coursekit.core import show

        count = min(count, len(self))
        columns = min(columns, count)
        order = torch.arange(len(self))
        if seed is not None:
            order = torch.randperm(len(self), generator=runtime.generator(seed))
        batch, rows = self.batch(order[:count]), []
        for start in range(0, count, columns):
            rows += [batch[name][start : start + columns] for name in self.pictures]
        pictures: list[Tensor] = []
        for row in rows:
            pictures += row.expand(-1, 3, -1, -1)
            # White paper at the end of a short row: what stands below it must keep its column.
            pictures += [torch.ones_like(pictures[-1])] * (columns - len(row))
        return show.images(pictures, columns=columns, size=1.3, heading=self.describe())

    def describe(self) -> str:
        """One line: what, how many, of what size, synthetic or real, the licence."""
        height, width = self.fields[self.pictures[0]].shape[-2:]
        kind = "rendered, not photographed" if self.info.synthetic else "real"
        return (
            f"{self.info.name}: {len(self):,} × {self.info.content}, {height}×{width}, {kind}; "
            f"{self.info.source}; {self.info.licence}"
        )

    def renamed(self, **changes: Any) -> Dataset:
        """The same entries under another `Info`: ``renamed(name="day")``."""
        return Dataset(replace(self.info, **changes), self.fields, self.pictures)

    def digest(self) -> str:
        """SHA-256 of the content, to tell whether two data sets are the same."""
        return digest(self.fields)


def digest(fields: Fields) -> str:
    """SHA-256 over names, types, shapes and values of tensors."""
    total = hashlib.sha256()
    for name in sorted(fields):
        tensor = fields[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # A single value counts as contiguous whatever its stride, and then has no view as bytes.
        values = tensor.reshape(-1).clone(memory_format=torch.contiguous_format)
        total.update(values.view(torch.uint8).numpy().data)
    return total.hexdigest()


def cached(name: str, key: Mapping[str, object], make: Callable[[], Fields]) -> Fields:
    """Return what ``make`` returns, kept in the cache from the second time on.

    Args:
        name: of the data set.
        key: everything that the content depends on: count, size, seed, version of the code.
        make: makes the fields; called when the cache has no sound copy.

    A copy whose content does not match its own SHA-256 is made again.
    """
    wanted = " ".join(f"{k}={key[k]}" for k in sorted(key))
    short = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    path = runtime.cache_dir() / "datasets" / f"{name}-{short}.safetensors"
    fields = _read(path, wanted)
    if fields is None:
        fields = {k: v.contiguous() for k, v in make().items()}
        _write(path, fields, wanted)
    return fields


def _read(path: Path, wanted: str) -> Fields | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            fields = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    sound = about.get("key") == wanted and about.get("sha256") == digest(fields)
    return fields if sound else None


def _write(path: Path, fields: Fields, wanted: str) -> None:
    """Write atomically; a cache that cannot be written costs time, never the result."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with replacing(path) as half:
            save_file(dict(fields), half, metadata={"key": wanted, "sha256": digest(fields)})
    except (OSError, SafetensorError) as error:  # the latter for a full disk
        reason = getattr(error, "strerror", None) or error
        print(f"The cache could not be written ({reason}); next time takes as long again.")


def in_parts(draw: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """``draw(part)`` of every part, in order, as many at a time as torch has threads.

    A renderer works on small tensors, for which torch's own threads wait for each other more than
    they work: a part a thread, one thread a part, is faster.
    """
    workers = min(torch.get_num_threads(), len(parts))
    if workers <= 1:
        return [draw(part) for part in parts]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(draw, parts))
    finally:
        torch.set_num_threads(before)
