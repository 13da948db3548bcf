"""The lecture's quiz, "click on the person who is real", with this course's faces.

Rendered faces stand for the real ones: no photograph of a person is carried here. A folder of
photographs can take their place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from coursekit import dcgan, progan, stylegan2_styles
from coursekit.core.errors import SettingError
from coursekit.datasets.collections import folder_dataset
from coursekit.datasets.faces import faces

HELD_OUT = 1300  # seed of the rendered faces; trainings and measurements use others
PSI = 0.7

Maker = Callable[[int, int], Tensor]


def by_progan(count: int, seed: int) -> Tensor:
    """Faces (count, 3, 64, 64) in [0, 1] by the ProGAN of the course.

    Raises:
        WeightsError: its checkpoint is missing or damaged.
    """
    generator, _ = progan.load_generator()
    return progan.samples(generator, dcgan.sample_latent(count, generator.latent, seed=seed))


def by_stylegan2(count: int, seed: int, psi: float = PSI) -> Tensor:
    """Faces (count, 3, 64, 64) in [0, 1] by the StyleGAN2 of the course.

    Args:
        count: how many.
        seed: of z.
        psi: ψ of the truncation; below 1 for better and more uniform faces.

    Raises:
        WeightsError: its checkpoint is missing or damaged.
    """
    generator, _ = stylegan2_styles.load_generator()
    w = stylegan2_styles.draw_w(generator, count, seed=seed)
    short = stylegan2_styles.truncate(w, generator.mapping.w_avg.cpu(), psi)
    return stylegan2_styles.pictures(generator, short)


def pairs(
    count: int = 8, made_by: Maker = by_progan, *, photos: Path | str | None = None, seed: int = 0
) -> list[tuple[str, Tensor, Tensor]]:
    """Pairs for `widgets.which_is_real`: a real face and one that a generator made, none chosen.

    Args:
        count: pairs.
        made_by: (count, seed) → faces (count, 3, S, S) in [0, 1].
        photos: a folder of pictures to take the real ones from, instead of rendered faces.
        seed: of the faces.

    Returns:
        (title, real, made), images (1, 3, S, S) in [0, 1].

    Raises:
        DataError: a folder without pictures.
        SettingError: no pairs, or more than the folder has pictures.
        WeightsError: a checkpoint of the course is missing or damaged.
    """
    if count < 1:
        raise SettingError(f"count={count}: a quiz needs at least one pair.")
    made = made_by(count, HELD_OUT + seed)
    size = made.shape[-1]
    if photos is None:
        data = faces(count, size, seed=HELD_OUT + seed)
    else:
        data = folder_dataset(photos, size)
    if len(data) < count:
        raise SettingError(
            f"{photos} has {len(data)} pictures; ask for no more than so many pairs."
        )
    real = data.batch(range(count))["image"]
    return [(f"pair {n + 1}", real[n : n + 1], made[n : n + 1]) for n in range(count)]
