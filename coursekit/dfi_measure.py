"""What the paper could not measure: how far an edit is from the same face really changed.

Source: none; measures of this course.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.core.estimates import Estimate, mean_interval
from coursekit.datasets import faces_factors
from coursekit.datasets.faces_factors import Factors
from coursekit.dfi_faces import Gallery, HeldOut
from coursekit.dfi_identity import PERSON, IdentityNetwork

Distance = Callable[[Tensor, Tensor], Tensor]


def sets_of(
    gallery: Gallery,
    faces: HeldOut,
    attribute: str,
    *,
    k: int = 30,
    match: Sequence[str] = (),
) -> list[tuple[Tensor, Tensor]]:
    """`Gallery.sets` of every held-out face; ``match`` names factors that all must share with it.

    Raises:
        SettingError: as `Gallery.sets`.
    """
    return [
        gallery.sets(
            faces.image[each : each + 1],
            attribute,
            k=k,
            match={name: int(faces.factors[name][each]) for name in match},
            landmarks=faces.landmarks[each : each + 1],
        )
        for each in range(len(faces.image))
    ]


@torch.no_grad()
def remaining(distance: Distance, edited: Tensor, faces: HeldOut) -> Tensor:
    r"""The share of the way to the twin that is still to go, for each face: (N,).

    :math:`d(\text{edit}, \text{twin}) / d(\text{face}, \text{twin})`: 0 is the twin itself, 1 is as
    far away as the untouched face, above 1 the edit did harm. ``edited`` is (N, 3, H, W), and is
    clamped to [0, 1].
    """
    edited = edited.detach().clamp(0, 1)
    return distance(edited, faces.twin) / distance(faces.image, faces.twin)


def table(rows: dict[str, Tensor], name: str = "distance left") -> dict[str, Estimate]:
    """Each row's values (N,), one a face, as their mean with Student's t interval.

    Raises:
        SettingError: fewer than two faces.
    """
    return {key: mean_interval(values, name=name) for key, values in rows.items()}


def somebody_else(factors: Factors, *, seed: int = 7_000) -> Factors:
    """Other people in the same hair, beard, glasses, clothes, pose and light, one for each face.

    All measures of the head are drawn anew; skin and colour of the eyes stay, so that what is left
    to tell them apart is the face itself.
    """
    others = faces_factors.sample_factors(len(factors["yaw"]), seed=seed)
    shapes = {
        name: others[name] for name in PERSON if faces_factors.FACTORS[name].kind == "continuous"
    }
    return faces_factors.change(factors, **shapes)


@torch.no_grad()
def attribute_against_person(
    distance: Distance, face: Tensor, changed: Tensor, other: Tensor
) -> Estimate:
    r"""How much an attribute counts beside a person, in one distance.

    The mean over faces of :math:`\log_2 \frac{d(x, x\text{ with the attribute})}{d(x, \text{another
    person})}`: above 0 the attribute moves the distance more than another person does.

    Args:
        distance: of two batches, (N,).
        face, changed, other: (N, 3, H, W) in [0, 1].

    Raises:
        SettingError: a distance of 0, of which there is no ratio.
    """
    attribute, person = distance(face, changed), distance(face, other)
    if not bool((attribute > 0).all() & (person > 0).all()):
        raise SettingError("Two of the pictures are the same: their distance has no ratio.")
    return mean_interval((attribute / person).log2(), name="log2 attribute / person")


def identity_distance(network: IdentityNetwork) -> Distance:
    r"""The identity loss as a distance of two batches: :math:`1 - \cos(g(x), g(y))`, (N,)."""

    def distance(images: Tensor, others: Tensor) -> Tensor:
        return 1 - (network(images) * network(others)).sum(dim=1)

    return distance
