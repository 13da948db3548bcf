"""Canvases in JupyterLab in a real browser: drawn on, answered, there after a reload."""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import numpy as np
import pytest
from browsing import chromium, errors, find, jupyter, opened, run_all, wait_for_kernel
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.slow

CANVAS = ".jp-OutputArea-output canvas"
INSIDE_OUT = """
from coursekit import widgets
widgets.draw_and_see(widgets.sketch(64), lambda drawing: 1 - drawing)
"""
LAND = """
from coursekit import widgets
widgets.label_painter(64, classes=("sky", "grass"), palette=((255, 255, 255), (0, 0, 0)))
"""


def notebook(folder: Path, *cells: str) -> str:
    """A notebook of these cells; its name."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(made, folder / "canvas.ipynb")
    return "canvas.ipynb"


def pixels(what: Locator) -> np.ndarray:
    """What is seen of an element, grey values (height, width)."""
    return np.asarray(Image.open(io.BytesIO(what.screenshot())).convert("L")).astype(int)


def inside(what: Locator) -> np.ndarray:
    """What is seen of a canvas but for its frame, which changes under the mouse alone."""
    return pixels(what)[10:-10, 10:-10]


def drag(page: Page, what: Locator, *points: tuple[float, float]) -> None:
    """Draw through points, given as shares of an element's width and height."""
    what.scroll_into_view_if_needed()
    box = what.bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=12)
    page.mouse.up()


def soon(page: Page, true: Callable[[], bool], *, seconds: float = 20) -> bool:
    """Whether something becomes true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        page.wait_for_timeout(200)
    return False


def source(picture: Locator) -> str:
    """A digest of the picture in an image widget, wherever the browser keeps it."""
    read = """async image => {
        const data = await (await fetch(image.src)).arrayBuffer();
        return Array.from(new Uint8Array(data)).join();
    }"""
    return hashlib.sha256(picture.evaluate(read).encode()).hexdigest()


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A page with a notebook of the cells that the test asks for, all of them run."""
    chromium()  # skips before a server is started
    name = notebook(tmp_path, *request.param)
    with jupyter(tmp_path) as address, opened(address.format(name)) as found:
        run_all(found)
        find(found, found.locator(CANVAS))
        yield found


@pytest.mark.parametrize("page", [[INSIDE_OUT]], indirect=True)
def test_a_sketch_is_drawn_answered_undone_and_there_after_a_reload(page: Page) -> None:
    canvas, answer = page.locator(CANVAS), page.locator(".jp-OutputArea-output img")
    assert soon(page, lambda: (inside(canvas) > 200).all())
    assert soon(page, lambda: (inside(answer) < 50).all())

    drag(page, canvas, (0.2, 0.2), (0.8, 0.2))
    assert soon(page, lambda: pixels(canvas)[64, 160] < 50)
    assert soon(page, lambda: pixels(answer)[64, 160] > 150)
    assert pixels(canvas)[160, 160] > 200 and pixels(answer)[160, 160] < 50  # only the line

    drag(page, canvas, (0.2, 0.5), (0.8, 0.5))
    assert soon(page, lambda: pixels(answer)[160, 160] > 150)
    page.click("button:has-text('undo')")
    assert soon(page, lambda: pixels(answer)[160, 160] < 50)
    assert pixels(canvas)[160, 160] > 200 and pixels(canvas)[64, 160] < 50

    page.click("text=File >> nth=0")
    page.click("text=Save Notebook >> nth=0")
    page.wait_for_timeout(2500)
    page.reload()
    wait_for_kernel(page)
    canvas = find(page, page.locator(CANVAS))
    assert soon(page, lambda: pixels(canvas)[64, 160] < 50), "blank after a reload of the page"
    drag(page, canvas, (0.2, 0.8), (0.8, 0.8))
    assert soon(page, lambda: pixels(page.locator(".jp-OutputArea-output img"))[256, 160] > 150)


@pytest.mark.parametrize("page", [[LAND]], indirect=True)
def test_a_label_map_is_painted_filled_and_uploaded(page: Page, tmp_path: Path) -> None:
    canvas = page.locator(CANVAS)
    drag(page, canvas, (0.5, 0.01), (0.5, 0.5), (0.99, 0.5))  # cuts off the upper right quarter
    assert soon(page, lambda: pixels(canvas)[100, 160] < 50)
    assert pixels(canvas)[60, 260] > 200
    page.click("button:has-text('fill')")
    drag(page, canvas, (0.8, 0.2))
    assert soon(page, lambda: pixels(canvas)[60, 260] < 50)
    assert pixels(canvas)[260, 60] > 200

    half = np.full((64, 64, 3), 255, np.uint8)
    half[:, :32] = 0
    Image.fromarray(half).save(tmp_path / "half.png")
    with page.expect_file_chooser() as chooser:
        page.click("button:has-text('upload')")
    chooser.value.set_files(tmp_path / "half.png")
    assert soon(page, lambda: pixels(canvas)[260, 60] < 50)
    assert pixels(canvas)[260, 260] > 200


@pytest.mark.parametrize("name", ["10_pix2pix", "14_spade"])
def test_the_notebook_answers_what_the_mouse_draws(
    checkout: Path, tmp_path: Path, name: str
) -> None:
    chromium()
    shutil.copy(checkout / "notebooks" / f"{name}.ipynb", tmp_path)
    with jupyter(tmp_path) as address, opened(address.format(f"{name}.ipynb")) as page:
        run_all(page)
        canvas = find(page, page.locator(CANVAS), seconds=240, shares=40).first
        whole = page.locator(".jp-OutputArea-output", has=page.locator("canvas")).first
        answer = whole.locator("img").first
        assert answer.count(), "the canvas stands alone, without an answer beside it"
        before, blank = source(answer), inside(canvas)
        drag(page, canvas, (0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7), (0.3, 0.3))
        # The kernel draws, and it may have cells to run yet.
        assert soon(page, lambda: (inside(canvas) != blank).any(), seconds=240)
        assert soon(page, lambda: source(answer) != before, seconds=60), "the answer is as before"
        assert not errors(page)
