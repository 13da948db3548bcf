"""Canvases without a browser: drawing from code, the mouse's events, what is sent, and answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import ipycanvas
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from coursekit import widgets
from coursekit.core.errors import SettingError, ShapeError
from coursekit.widgets_canvas import LabelPainter, Painter, Sketch

CLASSES, PALETTE = ("sky", "grass", "tree"), ((120, 180, 230), (120, 180, 80), (30, 90, 40))


def painter(**settings: Any) -> LabelPainter:
    return widgets.label_painter(16, classes=CLASSES, palette=PALETTE, scale=4, **settings)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, int, int]]:
    """What is sent to the browser: pixels and where they go."""
    found: list[tuple[np.ndarray, int, int]] = []
    monkeypatch.setattr(
        ipycanvas.Canvas, "put_image_data", lambda _, pixels, x, y: found.append((pixels, x, y))
    )
    return found


def screen(sent: list[tuple[np.ndarray, int, int]], side: int) -> np.ndarray:
    """What the browser shows after all that was sent."""
    shown = np.zeros((side, side, 3), np.uint8)
    for pixels, x, y in sent:
        shown[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return shown


# --- drawing from code ----------------------------------------------------------------------------


def test_a_sketch_is_black_on_white() -> None:
    canvas = widgets.sketch(32)
    assert torch.equal(canvas.value, torch.ones(1, 3, 32, 32))
    canvas.stroke([(4, 16), (28, 16)], width=2)
    assert canvas.value.shape == (1, 3, 32, 32) and canvas.value[0, :, 15:17, 8:24].max() < 0.1
    assert canvas.value[0, :, :10].min() == 1
    canvas.undo()
    assert canvas.value.min() == 1


def test_a_label_map_is_whole_numbers() -> None:
    canvas = painter()
    canvas.choose("tree")
    canvas.stroke([(8, 8)], width=4)
    canvas.fill((0, 0), ink=1)
    assert canvas.value.dtype == torch.int64 and canvas.value.shape == (1, 16, 16)
    assert canvas.value[0, 8, 8] == 2 and canvas.value[0, 0, 0] == 1
    wanted = torch.tensor(PALETTE)[canvas.value[0]].movedim(-1, 0)[None] / 255
    assert torch.allclose(canvas.picture, wanted)
    with pytest.raises(SettingError, match="No class 'sea'; there are sky, grass, tree"):
        canvas.choose("sea")


def test_what_is_loaded_is_the_value() -> None:
    labels = torch.randint(0, 3, (1, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(painter(start=labels).value, labels)
    drawing = torch.rand(1, 3, 32, 32).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(widgets.sketch(32, start=drawing).value, drawing, atol=1 / 255)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (torch.zeros(1, 8, 8).long(), ShapeError),
        (torch.zeros(1, 16, 16), ShapeError),
        (torch.full((1, 16, 16), 3), SettingError),
    ],
)
def test_what_cannot_be_loaded_changes_nothing(values: Tensor, error: type) -> None:
    canvas, seen = painter(), []
    canvas.stroke([(8, 8)])
    before = canvas.value
    canvas.on_change(seen.append)
    with pytest.raises(error):
        canvas.load(values)
    with pytest.raises(SettingError):
        canvas.stroke([])
    assert torch.equal(canvas.value, before) and not seen
    canvas.undo()
    assert not canvas.value.any()


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(SettingError, match="2 classes and 3 colours"):
        widgets.label_painter(16, classes=CLASSES[:2], palette=PALETTE)
    with pytest.raises(SettingError, match="scale=0"):
        widgets.sketch(16, scale=0)
    with pytest.raises(ShapeError, match=r"\(1, 3, 16, 16\)"):
        widgets.sketch(16, start=torch.ones(1, 3, 8, 8))


# --- the mouse ------------------------------------------------------------------------------------


def test_the_mouse_draws_what_code_draws() -> None:
    by_hand, by_code = painter(), painter()
    by_hand.press(8, 8)
    for x in range(8, 48, 2):
        by_hand.move(x, 24)
    by_hand.release(48, 24)
    points = [(2, 2)] + [(x / 4, 6) for x in range(8, 48, 2)]
    by_code.stroke(points)
    assert torch.equal(by_hand.value, by_code.value) and by_hand.value.any()
    by_hand.move(2, 60)  # the button is up
    assert torch.equal(by_hand.value, by_code.value)
    by_hand.undo()
    assert not by_hand.value.any()


def test_erasing_and_filling() -> None:
    canvas = painter()
    canvas.tool = "fill"
    canvas.press(3, 3)
    canvas.release()
    assert (canvas.value == 1).all()
    canvas.tool = "erase"
    canvas.press(32, 32)
    canvas.release()
    assert canvas.value[0, 8, 8] == 0 and canvas.value[0, 0, 0] == 1
    canvas.undo()
    canvas.undo()
    assert not canvas.value.any()


@pytest.mark.parametrize("make", [lambda: widgets.sketch(16, scale=5), painter])
def test_parts_that_are_sent_add_up_to_the_drawing(
    make: Callable[[], Painter], sent: list[tuple[np.ndarray, int, int]]
) -> None:
    canvas = make()
    canvas.press(10, 12)
    for x, y in ((30, 20), (41, 55), (-5, 70), (20, 3)):
        canvas.move(x, y)
    canvas.release()
    side = 16 * canvas.scale
    shown = screen(sent, side)
    sent.clear()
    canvas._show()
    assert sent[0][0].shape == (side, side, 3)
    assert (shown == screen(sent, side)).all()


def test_a_small_stroke_sends_a_small_part(sent: list[tuple[np.ndarray, int, int]]) -> None:
    canvas = widgets.sketch(64)
    sent.clear()
    canvas.press(100, 100)
    assert len(sent) == 1 and sent[0][0].size < 64 * 64
    canvas.release()
    assert len(sent) == 1


def test_a_page_that_is_loaded_again_gets_the_whole_drawing(
    sent: list[tuple[np.ndarray, int, int]],
) -> None:
    canvas = painter()
    canvas.stroke([(8, 8)])
    before = screen(sent, 64)
    sent.clear()
    ipycanvas.canvas._CANVAS_MANAGER._current_canvas = "another"
    canvas._stage._handle_frontend_event(canvas._stage, {"event": "client_ready"}, [])
    assert ipycanvas.canvas._CANVAS_MANAGER._current_canvas is None
    assert (screen(sent, 64) == before).all()


# --- telling others -------------------------------------------------------------------------------


def test_a_callback_is_not_called_for_every_move_but_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("coursekit.widgets_canvas.time.perf_counter", lambda: clock[0])
    canvas, seen = painter(), []
    canvas.on_change(seen.append, every=1.0)
    canvas.press(4, 4)
    for x in range(4, 60, 4):  # 14 moves, a tenth of a second each
        clock[0] += 0.1
        canvas.move(x, 30)
    assert len(seen) == 2
    canvas.release()
    assert len(seen) == 3 and torch.equal(seen[-1], canvas.value)
    canvas.clear()
    assert len(seen) == 4 and not seen[-1].any()


def test_an_answer_follows_the_drawing() -> None:
    canvas = widgets.sketch(16)
    both = widgets.draw_and_see(canvas, lambda drawing: 1 - drawing, title="the negative")
    assert both.answer.max() == 0
    before = both._image.value
    canvas.stroke([(8, 8)], width=4)
    assert both.answer[0, :, 8, 8].min() > 0.9 and both._image.value != before
    shown = Image.open(io.BytesIO(both._image.value))
    assert shown.size == (80, 80) and shown.getpixel((40, 40))[0] > 230
    assert both._said.value.startswith("answered in ")


def test_an_error_of_the_answer_is_shown_and_the_drawing_stays() -> None:
    def respond(drawing: Tensor) -> Tensor:
        if drawing.min() < 0.5:
            raise ValueError("no <ink> please")
        return drawing

    canvas = widgets.sketch(16)
    both = widgets.draw_and_see(canvas, respond)
    kept = both._image.value
    canvas.stroke([(8, 8)], width=4)
    assert both._said.value == "ValueError: no &lt;ink&gt; please" and both._image.value == kept
    assert canvas.value.min() < 0.5
    canvas.undo()
    assert both._said.value.startswith("answered")


# --- uploads and where there is no canvas ---------------------------------------------------------


def _file(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "wrap", [lambda data: ({"content": memoryview(data)},), lambda data: {"a": {"content": data}}]
)
def test_an_upload_of_either_ipywidgets(wrap: Callable[[bytes], Any]) -> None:
    canvas, seen = painter(), []
    canvas.on_change(seen.append)
    colours = np.array(PALETTE, np.uint8)
    wanted = np.arange(16)[:, None].repeat(16, 1) % 3
    canvas._uploaded(wrap(_file(colours[wanted].repeat(2, 0).repeat(2, 1) + np.uint8(3))))
    assert (canvas.value[0].numpy() == wanted).all() and len(seen) == 1
    canvas._uploaded(wrap(b"no picture"))
    assert "Not loaded" in canvas.message.value and (canvas.value[0].numpy() == wanted).all()
    canvas._uploaded(())
    sheet = widgets.sketch(16)
    sheet._uploaded(wrap(_file(np.full((20, 20, 3), 51, np.uint8))))
    assert torch.allclose(sheet.value, torch.full((1, 3, 16, 16), 0.2), atol=0.01)


def test_without_ipycanvas_drawing_from_code_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipycanvas", None)
    canvas = widgets.sketch(16)
    both = widgets.draw_and_see(canvas, lambda drawing: drawing)
    assert "pip install ipycanvas" in canvas.message.value
    canvas.stroke([(8, 8)], width=5)
    assert both.answer[0, 0, 8, 8] < 0.1
    shown = Image.open(io.BytesIO(canvas._stage.value))
    assert shown.size == (80, 80) and shown.getpixel((40, 40))[0] < 30


def test_colab_is_asked_to_show_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    asked: list[bool] = []
    colab = types.ModuleType("google.colab")
    colab.output = types.SimpleNamespace(enable_custom_widget_manager=lambda: asked.append(True))
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert isinstance(widgets.sketch(8), Sketch) and asked == [True]


def test_names_are_reached_through_widgets() -> None:
    assert set(widgets.__all__) >= {"sketch", "label_painter", "draw_and_see"}
    with pytest.raises(AttributeError, match="paint"):
        _ = widgets.paint
