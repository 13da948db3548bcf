"""The lecture's quiz, "click on the person who is real", with this course's faces.

Rendered faces stand for the real ones: no photograph of a person is carried here. A folder of
photographs can take their place.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from coursekit import stylegan2_styles
from coursekit.core.errors import SettingError
from coursekit.datasets.collections import folder_dataset
from coursekit.datasets.faces import faces
from coursekit.stylegan2_networks import Generator

HELD_OUT = 1300  # seed of the rendered faces; trainings and measurements use others
PSI = 0.7


def pairs(
    count: int = 8,
    *,
    generator: Generator | None = None,
    psi: float = PSI,
    photos: Path | str | None = None,
    seed: int = 0,
) -> list[tuple[str, Tensor, Tensor]]:
    """Pairs for `widgets.which_is_real`: a real face and one that StyleGAN2 made, none chosen.

    Args:
        count: pairs.
        generator: that of the course by default.
        psi: ψ of the truncation; below 1 for better and more uniform faces.
        photos: a folder of pictures to take the real ones from, instead of rendered faces.
        seed: of the faces.

    Returns:
        (title, real, made), images (1, 3, S, S) in [0, 1].

    Raises:
        DataError: a folder without pictures.
        SettingError: no pairs, or more than the folder has pictures.
        WeightsError: the course's checkpoint is missing or damaged.
    """
    if count < 1:
        raise SettingError(f"count={count}: a quiz needs at least one pair.")
    generator = generator or stylegan2_styles.load_generator()[0]
    size = generator.synthesis.sizes.size
    known = faces(count, size, seed=HELD_OUT + seed) if photos is None else None
    data = known or folder_dataset(photos, size)
    if len(data) < count:
        raise SettingError(
            f"{photos} has {len(data)} pictures; ask for no more than so many pairs."
        )
    real = data.batch(range(count))["image"]
    w = stylegan2_styles.draw_w(generator, count, seed=HELD_OUT + seed)
    short = stylegan2_styles.truncate(w, generator.mapping.w_avg.cpu(), psi)
    made = stylegan2_styles.pictures(generator, short)
    return [(f"pair {n + 1}", real[n : n + 1], made[n : n + 1]) for n in range(count)]
