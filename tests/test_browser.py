"""Notebook 00 in JupyterLab in a real browser: it runs from top to bottom and the quiz answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from coursekit import texture_quiz
from coursekit.widgets import real_sides

pytestmark = pytest.mark.slow

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
WRONG = "[data-mime-type='application/vnd.jupyter.{}']"
BOTTOM = """share => {
    const outer = document.querySelector('.jp-WindowedPanel-outer');
    if (outer) outer.scrollTop = outer.scrollHeight * share;
}"""


@pytest.fixture
def browser_path() -> str:
    """Where Chromium is; a machine without it skips, continuous integration must have it."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium or Chrome on this machine")
    assert found, "continuous integration has to install chromium"
    return found


@pytest.fixture
def lab(checkout: Path, tmp_path: Path) -> Iterator[str]:
    """A JupyterLab of its own on a copy of notebook 00; the address of that notebook."""
    shutil.copy(checkout / "notebooks" / "00_start_here.ipynb", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--IdentityProvider.token=t", f"--notebook-dir={tmp_path}"]
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "COURSEKIT_PRESET": "ci"}
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token=t", process)
            yield f"http://127.0.0.1:{port}/lab/tree/00_start_here.ipynb?token=t"
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(address: str, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "JupyterLab ended by itself"
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("JupyterLab did not answer")


def test_notebook_runs_and_the_quiz_answers(lab: str, browser_path: str) -> None:
    from playwright.sync_api import sync_playwright

    sides = real_sides(len(texture_quiz.load()), seed=0)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook", timeout=60_000)
        page.wait_for_selector("text=| Idle", timeout=60_000)
        page.click("text=Run >> nth=0")
        page.click("text=Run All Cells >> nth=0")
        buttons = page.locator("button:has-text('This one is real')")
        # JupyterLab draws only what is in view: look for the quiz up and down the page.
        for attempt in range(120):
            page.evaluate(BOTTOM, 0.5 + 0.1 * (attempt % 5))
            page.wait_for_timeout(500)
            if buttons.count() == 2:
                break
        assert buttons.count() == 2
        buttons.nth(sides[0]).click()
        page.wait_for_selector("b:text-is('Right.')", timeout=10_000)
        buttons.nth(1 - sides[1]).click()
        page.wait_for_selector("b:text-is('No: that one was made.')", timeout=10_000)
        assert page.locator(".jp-OutputArea-output img").count() >= 1
        errors = page.locator(f"{WRONG.format('stderr')}, {WRONG.format('error')}")
        assert errors.filter(has_text="Error").count() == 0
        browser.close()
