"""The quiz of faces: what is real is real, what is made comes from the generator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coursekit import dcgan, face_quiz
from coursekit.core.errors import DataError, SettingError
from coursekit.core.images import save_image
from coursekit.datasets.faces import faces
from coursekit.stylegan2_networks import Generator, Sizes


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    made = Generator(Sizes(16, base=64, most=8), latent=8).eval().requires_grad_(False)
    made.mapping.w_avg.normal_()
    return made


def test_one_is_a_held_out_face_and_one_is_made(generator: Generator) -> None:
    found = face_quiz.pairs(3, generator=generator, psi=0.5)
    real = faces(3, 16, seed=face_quiz.HELD_OUT).batch(range(3))["image"]
    z = dcgan.sample_latent(3, 8, seed=face_quiz.HELD_OUT)
    made = dcgan.to_unit(generator(z, psi=0.5, noise="const")).clamp(0, 1)
    for number, (title, first, second) in enumerate(found):
        assert title == f"pair {number + 1}"
        assert torch.equal(first, real[number : number + 1])
        torch.testing.assert_close(second, made[number : number + 1])


def test_seeds_give_other_pairs(generator: Generator) -> None:
    first, second = (face_quiz.pairs(1, generator=generator, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(first[1], second[1]) and not torch.equal(first[2], second[2])


def test_photographs_take_the_place_of_rendered_faces(generator: Generator, tmp_path: Path) -> None:
    for number in range(2):
        save_image(torch.full((1, 3, 20, 30), 0.2 + 0.5 * number), tmp_path / f"{number}.png")
    found = face_quiz.pairs(2, generator=generator, photos=tmp_path)
    assert [round(float(real.mean()), 1) for _, real, _ in found] == [0.2, 0.7]
    with pytest.raises(SettingError, match="2 pictures"):
        face_quiz.pairs(3, generator=generator, photos=tmp_path)


def test_bad_requests(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="at least one"):
        face_quiz.pairs(0, generator=generator)
    with pytest.raises(DataError):
        face_quiz.pairs(1, generator=generator, photos=tmp_path / "none")


def test_the_courses_own_faces_take_part() -> None:
    _, real, made = face_quiz.pairs(1)[0]
    assert real.shape == made.shape == (1, 3, 64, 64)
    assert float(made.min()) >= 0 and float(made.max()) <= 1 and float(made.std()) > 0.05
