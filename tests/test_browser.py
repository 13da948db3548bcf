"""Notebook 00 in JupyterLab in a real browser: it runs from top to bottom and the quiz answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browsing import chromium, errors, find, jupyter, opened, run_all

from coursekit import texture_quiz
from coursekit.widgets import real_sides

pytestmark = pytest.mark.slow
FACES = 8  # pairs that the notebook asks for


def test_notebook_runs_and_the_quiz_answers(checkout: Path, tmp_path: Path) -> None:
    chromium()  # skips before a server is started
    shutil.copy(checkout / "notebooks" / "00_start_here.ipynb", tmp_path)
    # Two quizzes, of faces and of textures: JupyterLab draws one, or both if both are in view.
    sides = real_sides(2, seed=0)
    for pairs in (len(texture_quiz.load()), FACES):
        assert real_sides(pairs, seed=0)[:2] == sides
    with jupyter(tmp_path) as address, opened(address.format("00_start_here.ipynb")) as page:
        run_all(page)
        drawn = find(page, page.locator(".jp-CodeCell:has(button:has-text('This one is real'))"))
        buttons = drawn.first.locator("button:has-text('This one is real')")
        assert buttons.count() == 2
        buttons.nth(sides[0]).click()
        page.wait_for_selector("b:text-is('Right.')", timeout=10_000)
        buttons.nth(1 - sides[1]).click()
        page.wait_for_selector("b:text-is('No: that one was made.')", timeout=10_000)
        assert page.locator(".jp-OutputArea-output img").count() >= 1
        assert not errors(page)
