"""The slider shows the picture that it stands on; bad input is refused."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from coursekit.core.errors import SettingError
from coursekit.widgets import live_preview, picture_slider


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
