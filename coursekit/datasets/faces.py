"""Rendered faces of which every factor is known: who it is, pose, expression, hair, glasses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.datasets import base, faces_wear
from coursekit.datasets.faces_factors import (
    FACTORS,
    Factor,
    Factors,
    all_checked,
    change,
    same_person,
    sample_factors,
)
from coursekit.datasets.faces_features import Nose, Point, paint_eyes
from coursekit.datasets.faces_hair import Hair
from coursekit.datasets.faces_head import Head, paint_ears, paint_head
from coursekit.datasets.faces_look import MASK_CLASSES
from coursekit.datasets.faces_mouth import Mouth, paint_beard, paint_moustache
from coursekit.datasets.sdf import Canvas

__all__ = [
    "FACTORS",
    "LANDMARKS",
    "MASK_CLASSES",
    "Factor",
    "Rendered",
    "change",
    "faces",
    "render",
    "same_person",
    "sample_factors",
]

VERSION = 1  # of the pictures; a trained checkpoint depends on them
LABELS_VERSION = 2  # of mask and landmarks
REACH = 0.92  # the face fills the picture as in a portrait crop
SMALLEST = 16
LANDMARKS = (
    "left eye",
    "right eye",
    "left brow",
    "right brow",
    "nose",
    "left mouth",
    "right mouth",
    "chin",
)


class Rendered(NamedTuple):
    """What `render` returns.

    Attributes:
        image: float (N, 3, H, W) in [0, 1].
        mask: uint8 (N, H, W), an index into `MASK_CLASSES` for each pixel.
        landmarks: float (N, K, 2), x and y in pixels of each of `LANDMARKS`.
    """

    image: Tensor
    mask: Tensor
    landmarks: Tensor


def faces(count: int = 6000, size: int = 64, *, seed: int = 0, **fixed: object) -> base.Dataset:
    """Portraits drawn by the course itself, rendered once and then read from the cache.

    Fields: ``image`` uint8 (N, 3, size, size), ``mask`` uint8 (N, size, size) with an index into
    `MASK_CLASSES`, ``landmarks`` float (N, K, 2) in pixels, and every one of `FACTORS` (N,).
    "Left" is left in the picture. With the same seed, fewer faces are the first of more faces.

    Args:
        count: how many.
        size: pixels a side, at least 16.
        seed: of the factors.
        fixed: factors that are not drawn, as in `sample_factors`.

    Raises:
        SettingError: a number too small, no such factor, or a value out of its range.
    """
    _check_size(size)
    factors = sample_factors(count, seed=seed, **fixed)
    versions = {"version": VERSION, "labels": LABELS_VERSION}
    key = {**versions, "size": size, "factors": base.digest(factors)}

    def make() -> base.Fields:
        image, mask, landmarks = render(factors, size)
        image = (image * 255).round().to(torch.uint8)
        return {"image": image, "mask": mask, "landmarks": landmarks, **factors}

    info = base.Info("faces", "faces with every factor known", "MIT", True, "drawn by the course")
    return base.Dataset(info, base.cached("faces", key, make))


def _check_size(size: int) -> None:
    if size < SMALLEST:
        raise SettingError(f"size={size} is too small for a face; take {SMALLEST} or more.")


def render(factors: Factors, size: int = 64, *, chunk: int = 32) -> Rendered:
    """Draw the faces that these factors describe.

    Args:
        factors: from `sample_factors`, `same_person` or `change`.
        size: pixels a side, at least 16.
        chunk: how many faces at a time; the result does not depend on it.

    Raises:
        SettingError: a factor is missing or out of range, or ``size`` or ``chunk`` too small.
    """
    _check_size(size)
    if chunk < 1:
        raise SettingError(f"chunk={chunk} faces at a time cannot be drawn; take 1 or more.")
    factors = all_checked(factors)
    order = _alike(factors)

    def draw(some: Tensor) -> Rendered:
        return _render_chunk({name: values[some] for name, values in factors.items()}, size)

    parts = base.in_parts(draw, order.split(chunk))
    back = torch.argsort(order)
    return Rendered(*(torch.cat(fields)[back] for fields in zip(*parts, strict=True)))


def _alike(factors: Factors) -> Tensor:
    """An order with like faces next to one another: what nobody in a chunk wears costs no time."""
    key = factors["hair"]
    for has in ("glasses", "beard", "moustache", "mouth_open"):
        key = key * 2 + (factors[has] > 0)
    return torch.argsort(key, stable=True)


def _render_chunk(factors: Factors, size: int) -> Rendered:
    canvas = Canvas(len(factors["yaw"]), size, REACH)
    head = Head(factors, canvas)
    hair = Hair(head)
    faces_wear.paint_background(head, canvas)
    hair.paint_back(canvas)
    faces_wear.paint_body(head, canvas)
    marks = _paint_face(head, hair, canvas)
    faces_wear.paint_glasses(head, canvas)
    hair.paint_front(canvas)
    paint_ears(head, hair.s["ears"], canvas)
    return Rendered(canvas.finish(), canvas.label, _landmarks(head, marks, size))


def _paint_face(head: Head, hair: Hair, canvas: Canvas) -> dict[str, Point]:
    """Head, eyes, beard, mouth and nose; returns the landmarks (x, y) before rolling."""
    tone, mouth, nose = head.tone(hair.line), Mouth(head, canvas), Nose(head, canvas)
    paint_head(head, tone, canvas)
    marks = paint_eyes(head, canvas)
    paint_beard(head, mouth, tone, canvas)
    paint_moustache(head, mouth, canvas)
    mouth.paint()
    nose.paint()
    chin = head.middle + head.half_height
    ends = {"nose": (nose.x, nose.y), "chin": (head.point(0.0, chin), chin)}
    return {**marks, **mouth.landmarks(), **ends}


def _landmarks(head: Head, marks: dict[str, Point], size: int) -> Tensor:
    """Roll the landmarks with the head and count in pixels, (N, K, 2)."""
    x = torch.cat([marks[name][0].flatten(1) for name in LANDMARKS], dim=1)
    y = torch.cat([marks[name][1].flatten(1) for name in LANDMARKS], dim=1) - head.PIVOT
    cosine, sine = (value.flatten(1) for value in head.roll)
    turned = torch.stack([cosine * x - sine * y, sine * x + cosine * y + head.PIVOT], dim=-1)
    return (turned / REACH + 1) * (size / 2)
