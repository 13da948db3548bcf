"""The quiz of faces: what is real is real, what is made comes from a generator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit import dcgan, face_quiz, progan, stylegan2_styles
from coursekit.core.errors import DataError, SettingError
from coursekit.core.images import save_image
from coursekit.datasets.faces import faces


def grey(count: int, seed: int) -> Tensor:
    """A maker whose pictures tell their number and seed."""
    return (torch.arange(count) / 10 + seed / 10_000).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)


def test_one_is_a_held_out_face_and_one_is_made() -> None:
    found = face_quiz.pairs(3, grey)
    real = faces(3, 16, seed=face_quiz.HELD_OUT).batch(range(3))["image"]
    for number, (title, first, second) in enumerate(found):
        assert title == f"pair {number + 1}"
        assert torch.equal(first, real[number : number + 1])
        assert torch.equal(second, grey(3, face_quiz.HELD_OUT)[number : number + 1])


def test_seeds_give_other_pairs() -> None:
    first, second = (face_quiz.pairs(1, grey, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(first[1], second[1])
    assert not torch.equal(first[2], second[2])


def test_photographs_take_the_place_of_rendered_faces(tmp_path: Path) -> None:
    for number in range(2):
        save_image(torch.full((1, 3, 20, 30), 0.2 + 0.5 * number), tmp_path / f"{number}.png")
    found = face_quiz.pairs(2, grey, photos=tmp_path)
    assert [round(float(real.mean()), 1) for _, real, _ in found] == [0.2, 0.7]
    with pytest.raises(SettingError, match="2 pictures"):
        face_quiz.pairs(3, grey, photos=tmp_path)


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="at least one"):
        face_quiz.pairs(0, grey)
    with pytest.raises(DataError):
        face_quiz.pairs(1, grey, photos=tmp_path / "none")


def test_the_courses_progan_takes_part() -> None:
    made = face_quiz.by_progan(2, 7)
    generator, _ = progan.load_generator()
    images = dcgan.to_unit(generator(dcgan.sample_latent(2, generator.latent, seed=7)))
    torch.testing.assert_close(made, images.clamp(0, 1))
    assert made.shape == (2, 3, 64, 64)
    assert torch.equal(face_quiz.pairs(1)[0][2], face_quiz.by_progan(1, face_quiz.HELD_OUT))


def test_the_courses_stylegan2_takes_part_truncated() -> None:
    made = face_quiz.by_stylegan2(2, 7, psi=0.5)
    generator, _ = stylegan2_styles.load_generator()
    z = dcgan.sample_latent(2, generator.latent, seed=7)
    images = dcgan.to_unit(generator(z, psi=0.5, noise="const")).clamp(0, 1)
    torch.testing.assert_close(made, images)
