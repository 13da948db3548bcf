"""Menus beside a canvas: drawings to load, reference pictures and uploads, without a browser."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from coursekit import widgets
from coursekit.core.errors import SettingError

CLASSES, PALETTE = ("sky", "grass", "tree"), ((120, 180, 230), (120, 180, 80), (30, 90, 40))


def _map(value: int) -> Tensor:
    return torch.full((1, 16, 16), value)


def _grey(value: float) -> Tensor:
    return torch.full((1, 3, 8, 8), value)


def _shown(menu: Any) -> tuple[int, ...]:
    return Image.open(io.BytesIO(menu._image.value)).getpixel((5, 5))


def _file(grey: int, size: tuple[int, int] = (20, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(buffer, "png")
    return buffer.getvalue()


def test_a_drawing_is_loaded_again_and_again() -> None:
    canvas = widgets.label_painter(16, classes=CLASSES, palette=PALETTE)
    menu = widgets.drawing_menu(canvas, {"meadow": _map(1), "wood": _map(2)})
    for name, value in [("wood", 2), ("meadow", 1), ("meadow", 1)]:
        canvas.stroke([(8, 8)], ink=0, width=4)
        menu.value = name
        assert (canvas.value == value).all() and menu.label == "load a map …"
    canvas.undo()
    assert canvas.value[0, 8, 8] == 0


def test_a_reference_is_used_at_once_and_when_another_is_chosen() -> None:
    used: list[float] = []
    menu = widgets.reference_menu(
        {"day": _grey(0.8), "night": _grey(0.2)}, lambda picture: used.append(float(picture.mean()))
    )
    assert used == pytest.approx([0.8]) and _shown(menu) == (204, 204, 204)
    menu.menu.value = "night"
    assert used == pytest.approx([0.8, 0.2]) and _shown(menu) == (51, 51, 51)
    assert torch.equal(menu.chosen, _grey(0.2))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name, data: ({"name": name, "content": memoryview(data)},),
        lambda name, data: {name: {"content": data}},
    ],
)
def test_an_upload_becomes_a_reference(wrap: Callable[[str, bytes], Any]) -> None:
    used: list[Tensor] = []
    menu = widgets.reference_menu({"day": _grey(0.8)}, used.append)
    menu._uploaded(wrap("mine.png", _file(102)))
    assert menu.menu.value == "mine.png" and menu.chosen.shape == (1, 3, 8, 8)
    assert used[-1].mean().item() == pytest.approx(0.4, abs=1e-3)
    menu._uploaded(wrap("mine.png", _file(153)))  # another picture under the same name
    assert used[-1].mean().item() == pytest.approx(0.6, abs=1e-3) and len(used) == 3
    menu._uploaded(wrap("broken.png", b"no picture"))
    assert "Not loaded" in menu.message.value and len(used) == 3
    assert menu.menu.options == ("day", "mine.png")


def test_menus_need_something_to_choose_from() -> None:
    canvas = widgets.label_painter(16, classes=CLASSES, palette=PALETTE)
    with pytest.raises(SettingError, match="at least one drawing"):
        widgets.drawing_menu(canvas, {})
    with pytest.raises(SettingError, match="at least one picture"):
        widgets.reference_menu({}, np.asarray)
