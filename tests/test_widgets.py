"""The slider shows the picture that it stands on; bad input is refused."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from coursekit import texture_quiz
from coursekit.core.errors import SettingError
from coursekit.widgets import live_preview, picture_slider, real_sides, which_is_real


def grey(value: float) -> torch.Tensor:
    return torch.full((1, 3, 20, 30), value)


def shown(image) -> Image.Image:
    return Image.open(io.BytesIO(image.value))


def test_slider_shows_the_picture_it_stands_on() -> None:
    box = picture_slider([grey(0.0), grey(0.5), grey(1.0)], [1, 10, 100], "β", start=1, height=40)
    slider, image = box.children
    assert slider.description == "β"
    assert shown(image).size == (60, 40)
    for index, level in enumerate((0, 128, 255)):
        slider.value = index
        assert abs(shown(image).getpixel((5, 5))[0] - level) <= 2


@pytest.mark.parametrize(
    ("pictures", "labels", "start"), [([], [], 0), ([grey(0)], [1, 2], 0), ([grey(0)], [1], 1)]
)
def test_slider_refuses_what_does_not_fit(pictures, labels, start) -> None:
    with pytest.raises(SettingError, match="one label a picture"):
        picture_slider(pictures, labels, start=start)


def test_live_preview_draws_once_then_waits(monkeypatch) -> None:
    from IPython import display

    drawn = []
    monkeypatch.setattr(display.DisplayHandle, "display", lambda self, obj: drawn.append(obj))
    monkeypatch.setattr(display.DisplayHandle, "update", lambda self, obj: drawn.append(obj))
    preview = live_preview(every=3600)
    for step in range(5):
        preview(step, grey(0.5), {})
    assert len(drawn) == 1
    preview = live_preview(every=0)
    for step in range(3):
        preview(step, grey(0.5), {})
    assert len(drawn) == 4


def quiz_of(count: int, seed: int):
    box = which_is_real([("a pair", grey(1.0), grey(0.0))] * count, seed=seed, height=20)
    columns, said = box.children
    pictures = [column.children[0] for column in columns.children]
    buttons = [column.children[1] for column in columns.children]
    return pictures, buttons, said


@pytest.mark.parametrize("seed", [0, 1])
def test_quiz_counts_the_real_ones_that_were_found(seed) -> None:
    pictures, buttons, said = quiz_of(4, seed)
    for round_ in range(4):
        real = int(shown(pictures[1]).getpixel((3, 3))[0] > 128)
        assert real == real_sides(4, seed)[round_]
        buttons[real if round_ else 1 - real].click()  # the first answer is wrong
        assert ("Right" in said.value) == bool(round_)
    assert "3 of 4" in said.value
    assert all(button.disabled for button in buttons)


def test_sides_of_the_quiz_differ_and_are_repeatable() -> None:
    assert real_sides(40, 3) == real_sides(40, 3)
    assert {0, 1} == set(real_sides(40, 3))
    with pytest.raises(SettingError, match="at least one pair"):
        which_is_real([])


def test_pairs_of_the_quiz_are_two_different_pictures_of_one_size() -> None:
    pairs = texture_quiz.load()
    assert len(pairs) >= 5
    for title, real, made in pairs:
        assert title
        assert real.shape == made.shape == (1, 3, 160, 160)
        assert float((real - made).abs().mean()) > 0.02
        # Synthesis matches colour and contrast: a twin is no other photograph.
        assert float((real.mean((2, 3)) - made.mean((2, 3))).abs().max()) < 0.06
