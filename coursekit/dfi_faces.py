"""Faces with known attributes for topic 06, and how the source and target sets are chosen.

Rendered portraits (with a *twin*: the same face with one attribute really changed), CelebA, or any
folder of pictures with a table of attributes.

Source: none; the data of this course, and others in the same form.
"""

from __future__ import annotations

import copy
import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coursekit import dfi_align
from coursekit.core import runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.core.images import resize
from coursekit.datasets import base, faces_factors, published
from coursekit.datasets.base import Dataset
from coursekit.datasets.collections import check_sizes, squares
from coursekit.datasets.faces_factors import Factors
from coursekit.dfi import as_float, nearest

# --- Rendered portraits and their twins


@dataclass(frozen=True)
class Attribute:
    """What can be changed about a rendered portrait.

    Attributes:
        without, present: the factors of `faces.FACTORS` that make a face without and with it;
            nothing in ``without``: any other value will do.
    """

    without: Mapping[str, object]
    present: Mapping[str, object]


ATTRIBUTES: dict[str, Attribute] = {
    "glasses": Attribute({"glasses": "none"}, {"glasses": "clear"}),
    "beard": Attribute({"beard": "no"}, {"beard": "yes"}),
    "smile": Attribute({"smile": -0.1}, {"smile": 0.9}),
    "blond hair": Attribute({}, {"hair_colour": "blond"}),
}
#: Half of what the renderer can turn a head: no flat map of landmarks undoes more. Mouths are
#: closed, and there are no moustaches or sunglasses.
TURN = 0.5
_POSED = {"moustache": 0, "mouth_open": 0.0}


def portrait_factors(count: int, *, seed: int = 0, **fixed: object) -> Factors:
    """Factors of portraits: a coin tossed for each attribute, every colour of hair as often.

    Args:
        count: how many.
        seed: of the draw; the first n faces do not depend on ``count``.
        fixed: factors to set, as in `faces.sample_factors`.
    """
    factors = faces_factors.sample_factors(count, seed=seed, **_POSED)
    factors["yaw"] = factors["yaw"] * TURN
    colours, numbers = len(faces_factors.FACTORS["hair_colour"].values), _numbers(count, seed, 0)
    factors["hair_colour"] = (numbers * colours).long()
    coins = [attribute for attribute in ATTRIBUTES.values() if attribute.without]
    for number, attribute in enumerate(coins, start=1):
        heads = _numbers(count, seed, number) < 0.5
        for side, here in ((attribute.without, ~heads), (attribute.present, heads)):
            factors = _changed_where(factors, here, side)
    return faces_factors.change(factors, **fixed)


def _numbers(count: int, seed: int, stream: int) -> Tensor:
    return torch.rand(count, generator=runtime.generator(1_000 * (seed + 1) + stream))


def _changed_where(factors: Factors, where: Tensor, values: Mapping[str, object]) -> Factors:
    changed = faces_factors.change(factors, **values)
    return {name: torch.where(where, changed[name], old) for name, old in factors.items()}


def twin(factors: Factors, attribute: str, *, present: bool = True) -> Factors:
    """The same faces with the attribute really there (or really gone): the ground truth.

    Raises:
        SettingError: no such attribute.
    """
    found = _attribute(attribute)
    return faces_factors.change(factors, **(found.present if present else found.without))


def _attribute(name: str) -> Attribute:
    if name not in ATTRIBUTES:
        raise SettingError(f"There is no attribute {name!r}; there are {', '.join(ATTRIBUTES)}.")
    return ATTRIBUTES[name]


def portraits(
    count: int = 1000, size: int = 128, *, seed: int = 0, factors: Factors | None = None
) -> Dataset:
    """Rendered portraits for DFI, drawn once and then read from the cache.

    Fields: ``image`` uint8 (N, 3, size, size), ``landmarks`` (N, K, 2) in pixels, every factor of
    `faces.FACTORS`, and ``"smile?"``, ``"blond hair?"`` …: int64 0 or 1 for each of `ATTRIBUTES`.

    Args:
        count, seed: as for `portrait_factors`.
        size: pixels a side.
        factors: draw these faces instead.
    """
    from coursekit.datasets.faces import LABELS_VERSION, VERSION, render

    if factors is None:
        factors = portrait_factors(count, seed=seed)

    def draw() -> base.Fields:
        image, _, landmarks = render(factors, size)
        return {"image": (image * 255).round().to(torch.uint8), "landmarks": landmarks}

    key = {
        "version": VERSION,
        "labels": LABELS_VERSION,
        "size": size,
        "factors": base.digest(factors),
    }
    info = base.Info(
        "portraits", "portraits, every factor known", "MIT", True, "drawn by the course"
    )
    flags = {f"{name}?": has(factors, name) for name in ATTRIBUTES}
    return Dataset(info, {**base.cached("portraits", key, draw), **factors, **flags})


def has(factors: Factors, attribute: str) -> Tensor:
    """1 where every factor is as the attribute wants it, else 0: int64 (N,).

    Raises:
        SettingError: there is no such attribute.
    """
    wanted = faces_factors.change(factors, **_attribute(attribute).present)
    same = [factors[name] == wanted[name] for name in _attribute(attribute).present]
    return torch.stack(same).all(dim=0).long()


# --- Published faces, or your own


def collection(
    source: str | os.PathLike[str] = "portraits", size: int = 128, *, count: int | None = 1000
) -> Dataset:
    """Faces with attributes, by one argument: ``"portraits"``, ``"celeba"``, or a folder.

    Args:
        source: the rendered portraits; CelebA (1.4 GB, needs a network once; its attributes are
            called ``"eyeglasses"``, ``"smiling"``, ``"no_beard"`` …); or the path of a folder with
            a table (`attribute_folder`).
        size: pixels a side.
        count: how many at most.

    Raises:
        DataError: the set is not to be had.
    """
    if source == "portraits":
        return portraits(count or 1000, size)
    if source == "celeba":
        return published.celeba("train", size, count=count)
    return attribute_folder(source, size, count=count)


def attribute_folder(
    path: str | os.PathLike[str],
    size: int = 128,
    *,
    table: str = "attributes.csv",
    count: int | None = None,
    licence: str = "that of the pictures in the folder",
) -> Dataset:
    """The pictures of a folder and the table that says what is in them.

    The table is a CSV file with a header. Its first column holds the file names; every other one is
    an attribute: 1 or 0 (or -1, as in CelebA's own list). Columns ``NAME_x`` and ``NAME_y``, in
    pixels of the file, are landmarks. Each picture is cut to the square in its middle.

    Fields: ``image`` uint8 (N, 3, size, size), an int64 (N,) field of 0 and 1 for each attribute,
    and ``landmarks`` (N, K, 2) in pixels of the result, if the table has any.

    Args:
        path: the folder.
        size: pixels a side.
        table: the name of the CSV file in it.
        count: the first so many rows; all by default.
        licence: what to say in `Dataset.describe`.

    Raises:
        DataError: no folder, table or row; a picture that is missing or damaged; a value that is
            not 1, 0 or -1.
        SettingError: the size or the count is below 1.
    """
    check_sizes(size, count)
    place = Path(path).expanduser()
    rows = _rows(place / table)[:count]
    key, *names = rows[0]
    files = [place / row[key] for row in rows]
    pictures = squares(((file.name, file) for file in files), size, where=place.name)
    if len(pictures) != len(files):
        raise DataError(f"{len(files) - len(pictures)} pictures of {table} are missing or damaged.")
    marks = [name[:-2] for name in names if name.endswith("_x") and f"{name[:-2]}_y" in names]
    placed = {f"{mark}_{axis}" for mark in marks for axis in "xy"}
    fields: dict[str, Tensor] = {"image": torch.stack(pictures)}
    for name in names:
        if name not in placed:
            fields[name.lower()] = torch.tensor([_flag(row[name], name, table) for row in rows])
    if marks:
        fields["landmarks"] = _landmarks(rows, marks, files, size)
    info = base.Info(place.name, "pictures with attributes", licence, False, "a folder")
    return Dataset(info, fields)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f"There is no table {table.name!r} in {str(table.parent)!r}. Put a CSV file there: "
            "file names in the first column, an attribute (1 or 0) in each other one."
        ) from error
    if not rows or any(None in row or None in row.values() for row in rows):
        raise DataError(f"{table.name} has no rows, or rows longer or shorter than its header.")
    return rows


def _flag(text: str, name: str, table: str) -> int:
    if text.strip() not in ("1", "0", "-1"):
        raise DataError(f"{name} in {table} is {text!r}; attributes are 1 or 0 (or -1).")
    return int(text.strip() == "1")


def _landmarks(
    rows: list[dict[str, str]], marks: list[str], files: list[Path], size: int
) -> Tensor:
    """Landmarks in pixels of the file -> of the square in its middle, made ``size`` wide."""
    from PIL import Image

    found = []
    for row, file in zip(rows, files, strict=True):
        with Image.open(file) as picture:
            width, height = picture.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        points = [(float(row[f"{m}_x"]) - left, float(row[f"{m}_y"]) - top) for m in marks]
        found.append(torch.tensor(points) * (size / side))
    return torch.stack(found)


# --- Step 2: who is compared with whom


class Gallery:
    """A collection in which source and target sets are looked for.

    Neighbours are searched among small copies, because every picture has to go through the network
    for that. With landmarks, the copies are brought to one template first (eyes on eyes), and the
    faces that were chosen are then warped at full size to where the test face's landmarks are: the
    slide's two kinds of alignment.

    Differs from the code of Upchurch et al. 2017, which takes the K faces whose landmarks an affine
    map fits best: here they are the K nearest in feature space, and then that map is applied.

    Args:
        data: ``image``, attributes as fields (N,), and perhaps ``landmarks``.
        space: φ for the search.
        search_size: pixels a side of the small copies.
        align: ``"affine"``, ``"similarity"``, or ``None`` to leave all faces where they are.
        device: where the network of ``space`` is; sets come back there.

    Attributes:
        features: φ of the small copies, (N, D), bfloat16.

    Raises:
        DataError: alignment is asked for and there are no landmarks.
        SettingError: another kind of alignment.
    """

    def __init__(
        self,
        data: Dataset,
        space: Any,
        *,
        search_size: int = 64,
        align: str | None = "affine",
        device: torch.device | str = "cpu",
    ) -> None:
        if align is not None and align not in dfi_align.KINDS:
            raise SettingError(f"align={align!r}; choose None or one of {dfi_align.KINDS}.")
        if align is not None and "landmarks" not in data.fields:
            raise DataError(f"{data.info.name} has no landmarks to align by; use align=None.")
        self.data, self.space, self.align = data, space, align
        self.search_size, self.device = search_size, device
        self.template = data.fields["landmarks"].mean(0, keepdim=True) if align else None
        images, marks = data.fields["image"], data.fields.get("landmarks")
        parts = [
            self._search_features(images[some], None if marks is None else marks[some])
            .bfloat16()
            .cpu()
            for some in torch.arange(len(data)).split(64)
        ]
        self.features = torch.cat(parts)

    def _search_features(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        images = as_float(images).to(self.device)
        if self.template is not None and landmarks is not None:
            matrices = dfi_align.similarity_transform(landmarks.cpu(), self.template)
            images = dfi_align.warp(images, matrices.to(self.device))
        return self.space.embed(resize(images, (self.search_size, self.search_size)))

    def take(self, where: Tensor) -> Gallery:
        """A gallery of the members with ``where`` (N,) bool; nothing is computed again."""
        some = copy.copy(self)
        some.data, some.features = self.data.take(where), self.features[where]
        return some

    def neighbours(
        self, image: Tensor, where: Tensor, k: int, *, landmarks: Tensor | None = None
    ) -> Tensor:
        """The k members with ``where`` (N,) bool that are nearest to an image (1, 3, H, W).

        The image is in [0, 1].

        Raises:
            SettingError: k is larger than that set.
        """
        allowed = where.nonzero()[:, 0]
        query = self._search_features(image, landmarks)[0].cpu()
        return allowed[nearest(query, self.features[allowed].to(query), k)]

    def sets(
        self,
        image: Tensor,
        attribute: str,
        *,
        k: int = 30,
        match: Mapping[str, int] | None = None,
        landmarks: Tensor | None = None,
        exclude: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Source and target set of one face: its k neighbours without and with the attribute.

        Args:
            image: the face to be edited, (1, 3, H, W) in [0, 1].
            attribute: a field of 0 and 1.
            k: neighbours in each set.
            match: other fields and the value that both sets must have: ``{"skin": 2}``.
            landmarks: of ``image``, (1, K, 2); the sets are warped to them.
            exclude: an entry that is the image itself.

        Returns:
            (source, target), float (k, 3, H, W) in [0, 1] each.

        Raises:
            SettingError: no such field, or k is larger than what is left.
        """
        if self.align is not None and landmarks is None:
            raise SettingError("This gallery is aligned: give the landmarks of the image as well.")
        flags, allowed = self._field(attribute), self._matching(match or {})
        if exclude is not None:
            allowed[exclude] = False
        chosen = [
            self.neighbours(image, allowed & (flags == side), k, landmarks=landmarks)
            for side in (0, 1)
        ]
        source, target = (self._fitted(each, landmarks) for each in chosen)
        return source, target

    def _field(self, name: str) -> Tensor:
        fields = {key: each for key, each in self.data.fields.items() if each.dim() == 1}
        if name not in fields:
            raise SettingError(f"There is no attribute {name!r}; there are {', '.join(fields)}.")
        return fields[name]

    def _matching(self, match: Mapping[str, int]) -> Tensor:
        allowed = torch.ones(len(self.data), dtype=torch.bool)
        for name, value in match.items():
            allowed &= self._field(name) == value
        return allowed

    def _fitted(self, chosen: Tensor, landmarks: Tensor | None) -> Tensor:
        images = as_float(self.data.fields["image"][chosen]).to(self.device)
        if self.align is None or landmarks is None:
            return images
        matrices = dfi_align.fit(self.data.fields["landmarks"][chosen], landmarks.cpu(), self.align)
        return dfi_align.warp(images, matrices.to(self.device))


@dataclass(frozen=True)
class HeldOut:
    """Held-out faces without an attribute, and their twins that really have it.

    Attributes:
        image, twin: float (N, 3, H, W).
        landmarks: (N, K, 2), alike for both.
        factors: of the faces without.
    """

    image: Tensor
    twin: Tensor
    landmarks: Tensor
    factors: Factors

    def to(self, device: torch.device | str) -> HeldOut:
        """The pictures on a device."""
        return replace(self, image=self.image.to(device), twin=self.twin.to(device))

    def take(self, *indices: int) -> HeldOut:
        """These faces alone."""
        some = list(indices)
        factors = {name: values[some] for name, values in self.factors.items()}
        return HeldOut(self.image[some], self.twin[some], self.landmarks[some], factors)


def held_out(count: int, size: int, attribute: str, *, seed: int = 1_000) -> HeldOut:
    """Faces that no gallery has, ``size`` pixels a side: ``seed`` differs from theirs.

    See `HeldOut`.
    """
    drawn = twin(portrait_factors(4 * count, seed=seed), attribute, present=False)
    lacking = (has(drawn, attribute) == 0).nonzero()[:count, 0]
    factors = {name: values[lacking] for name, values in drawn.items()}
    plain = portraits(size=size, factors=factors)
    changed = portraits(size=size, factors=twin(factors, attribute))
    image, other = (as_float(each.fields["image"]) for each in (plain, changed))
    return HeldOut(image, other, plain.fields["landmarks"], factors)
