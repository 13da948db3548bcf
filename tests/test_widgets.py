"""The slider shows the picture that it stands on; bad input is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit import texture_quiz
from coursekit.core import runtime, training
from coursekit.core.errors import DataError, SettingError
from coursekit.core.timeline import Timeline
from coursekit.widgets import (
    live_preview,
    live_training,
    picture_slider,
    real_sides,
    replay,
    which_is_real,
)


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


# --- Trainings ------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Image.Image]]:
    """What was drawn in the output, and whether it was new or took the place of the last."""
    from IPython import display

    found: list[tuple[str, Image.Image]] = []
    for way in ("display", "update"):

        def draw(self, picture, way=way) -> None:
            found.append((way, Image.open(io.BytesIO(picture.data))))

        monkeypatch.setattr(display.DisplayHandle, way, draw)
    return found


def train(callback, steps: int = 6) -> training.TrainingResult:
    return training.run(
        lambda number: {"loss": 1.0 / number},
        {},
        steps=steps,
        log_every=1,
        preview=lambda: torch.full((4, 3, 8, 8), 0.5),
        previews=50,
        callback=callback,
        progress=False,
        about="greys",
    )


def test_live_training_redraws_one_figure(drawn) -> None:
    train(live_training(every=0), steps=2)
    assert [way for way, _ in drawn] == ["display", "update", "update"]
    assert drawn[0][1].format == "JPEG"
    assert len({image.size for _, image in drawn}) == 1
    first, last = (np.asarray(image.convert("L")).astype(int) for _, image in (drawn[0], drawn[-1]))
    assert abs(first - last).max() > 100  # the curve has come


def test_live_training_waits_between_drawings(drawn) -> None:
    train(live_training(every=3600), steps=12)
    assert [way for way, _ in drawn] == ["display"]


def test_replay_plays_a_training_of_one_s_own() -> None:
    timeline = train(None).timeline
    slider, image = replay(timeline, height=44).children
    labels = [label for label, _ in slider.options]
    assert labels[0] == "step 0"
    assert labels[-1] == "step 6  loss 0.167"
    assert len(labels) == len(timeline) == 7
    assert slider.value == 6  # it begins with the end
    for index in range(7):
        slider.value = index
        expected = np.asarray(Image.open(io.BytesIO(timeline.frames[index][1])))
        found = np.asarray(shown(image).resize(expected.shape[1::-1]))
        assert abs(found.astype(int) - expected).mean() < 16


def test_replay_of_a_topic_needs_no_training(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(training, "run", lambda *_: pytest.fail("it trained"))
    film = Timeline(about="greys")
    for step, value in ((0, 0.1), (2500, 0.9)):
        film.add(step, torch.full((4, 3, 32, 32), value), {"d_loss": value, "g_loss": 2.0})
    film.save(tmp_path / "checkpoints" / "dcgan" / "course.timeline.zip")
    slider, image = replay("dcgan").children
    assert [label for label, _ in slider.options] == [
        "step 0  d_loss 0.1  g_loss 2",
        "step 2,500  d_loss 0.9  g_loss 2",
    ]
    for index, grey in ((0, 25), (1, 230)):
        slider.value = index
        assert shown(image).height == 200
        assert abs(np.median(np.asarray(shown(image))[..., 0]) - grey) < 12


def test_replay_of_what_is_not_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    with pytest.raises(DataError, match="There is no timeline"):
        replay("dcgan")
    with pytest.raises(SettingError):
        replay(Timeline())
