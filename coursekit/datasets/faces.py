"""Rendered faces of which every factor is known: who it is, pose, expression, hair, glasses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from coursekit.datasets import base
from coursekit.datasets import faces_features as features
from coursekit.datasets.faces_factors import (
    FACTORS,
    Factor,
    Factors,
    same_person,
    sample_factors,
)
from coursekit.datasets.faces_head import (
    MASK_CLASSES,
    Hair,
    Head,
    paint_background,
    paint_body,
    paint_ears,
    paint_head,
)
from coursekit.datasets.sdf import Canvas

__all__ = [
    "FACTORS",
    "LANDMARKS",
    "MASK_CLASSES",
    "Factor",
    "Rendered",
    "faces",
    "render",
    "same_person",
    "sample_factors",
]

VERSION = 1
REACH = 0.92  # the face fills the picture as in a portrait crop
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
    """Pictures float (N, 3, H, W) in [0, 1], mask uint8 (N, H, W), landmarks (N, K, 2)."""

    image: Tensor
    mask: Tensor
    landmarks: Tensor


def render(factors: Factors, size: int = 64, *, chunk: int = 16) -> Rendered:
    count = len(factors["yaw"])
    parts = [
        _render_chunk({n: v[start : start + chunk] for n, v in factors.items()}, size)
        for start in range(0, count, chunk)
    ]
    return Rendered(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def faces(count: int = 6000, size: int = 64, *, seed: int = 0, **fixed: object) -> base.Dataset:
    factors = sample_factors(count, seed=seed, **fixed)
    key = {"version": VERSION, "size": size, "factors": base.digest(factors)}

    def make() -> dict[str, Tensor]:
        image, mask, landmarks = render(factors, size)
        image = (image * 255).round().to(torch.uint8)
        return {"image": image, "mask": mask, "landmarks": landmarks, **factors}

    info = base.Info("faces", "faces with all factors known", "MIT", True, "this course")
    return base.Dataset(info, base.cached("faces", key, make))


def _render_chunk(factors: Factors, size: int) -> Rendered:
    canvas = Canvas(len(factors["yaw"]), size, REACH)
    head = Head(factors, canvas)
    hair = Hair(head)
    head.colours(canvas, hair.line)
    paint_background(head, canvas)
    hair.paint_back(canvas)
    paint_body(head, canvas)
    paint_head(head, canvas)
    marks = features.paint_eyes(head, canvas)
    mouth = features.Mouth(head, canvas)
    features.paint_beard(head, mouth, canvas)
    features.paint_mouth(head, mouth, canvas)
    marks["nose"] = features.paint_nose(head, canvas)
    features.paint_glasses(head, canvas)
    hair.paint_front(canvas)
    paint_ears(head, hair, canvas)
    left, right, height = mouth.corners()
    marks["left mouth"], marks["right mouth"] = (left, height), (right, height)
    chin = head.middle + head.half_height
    marks["chin"] = (head.point(0.0, chin), chin)
    return Rendered(canvas.finish(), canvas.label, _landmarks(head, marks, size))


def _landmarks(head: Head, marks: dict[str, tuple[Tensor, Tensor]], size: int) -> Tensor:
    x = torch.cat([marks[name][0].flatten(1) for name in LANDMARKS], dim=1)
    y = torch.cat([marks[name][1].flatten(1) for name in LANDMARKS], dim=1) - head.PIVOT
    cosine, sine = (value.flatten(1) for value in head.roll)
    turned = torch.stack([cosine * x - sine * y, sine * x + cosine * y + head.PIVOT], dim=-1)
    return (turned / REACH + 1) * (size / 2)
