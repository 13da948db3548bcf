"""A JupyterLab of its own and a Chromium that uses it, for tests of what a student sees."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

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
SCROLL = """share => {
    const outer = document.querySelector('.jp-WindowedPanel-outer');
    if (outer) outer.scrollTop = outer.scrollHeight * share;
}"""


def chromium() -> str:
    """Where Chromium is; a machine without it skips, continuous integration must have it."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium or Chrome on this machine")
    assert found, "continuous integration has to install chromium"
    return found


@contextmanager
def jupyter(folder: Path, *, application: str = "jupyterlab") -> Iterator[str]:
    """A server on a folder, kernels on preset ci; its address, to be filled with a file's name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", application, "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--IdentityProvider.token=t", f"--notebook-dir={folder}"]
    surroundings = {**os.environ, "COURSEKIT_PRESET": "ci"}
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token=t", process)
            tree = {"jupyterlab": "lab/tree", "notebook": "notebooks"}[application]
            yield f"http://127.0.0.1:{port}/{tree}/{{}}?token=t"
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(address: str, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "Jupyter ended by itself"
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("Jupyter did not answer")


@contextmanager
def opened(address: str, *, height: int = 1000) -> Iterator[Page]:
    """The notebook at an address in a browser, its kernel ready."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1300, "height": height})
            page.goto(address)
            wait_for_kernel(page)
            yield page
        finally:
            browser.close()


def wait_for_kernel(page: Page) -> None:
    """Wait until a notebook is open and its kernel does nothing."""
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    page.wait_for_selector("text=| Idle", timeout=60_000)


def run_all(page: Page) -> None:
    """Start every cell; does not wait for them."""
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells >> nth=0")


def find(page: Page, what: Locator, *, seconds: float = 60, shares: int = 5) -> Locator:
    """Scroll up and down until something is there: JupyterLab draws only what is in view.

    Args:
        page: with a notebook.
        what: to look for.
        seconds: how long.
        shares: places to look at, from the top of the notebook to its end.
    """
    end, attempt = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        page.evaluate(SCROLL, (attempt % shares) / max(shares - 1, 1))
        page.wait_for_timeout(500)
        if what.count():
            what.first.scroll_into_view_if_needed()
            return what
        attempt += 1
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")


def errors(page: Page) -> list[str]:
    """What a notebook's outputs in view say of errors."""
    outputs = page.locator(f"{WRONG.format('stderr')}, {WRONG.format('error')}")
    return outputs.filter(has_text="Error").all_inner_texts()
