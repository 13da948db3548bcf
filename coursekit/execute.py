"""Run a notebook without a browser, and write notebooks as self-contained HTML files."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import html
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coursekit
from coursekit import notebooks
from coursekit.core.atomic import check_writable, write_text
from coursekit.core.errors import CourseError

if TYPE_CHECKING:
    from nbclient import NotebookClient

_MARK = '<meta name="coursekit-run" content="{}">'
_WIDGET_NOTE = (
    '<p style="color:#666;font-style:italic">Here stands a control that you can move when the '
    "notebook is open in Jupyter; the figures beside it show what it does.</p>"
)


class NotebookError(CourseError, RuntimeError):
    """A notebook could not be executed to its end."""


@dataclass(frozen=True)
class Failure:
    """Which cell stopped a notebook (counted from 1 among the code cells), and how."""

    cell: int
    first_line: str
    traceback: str
    interrupted: bool = False


def run_notebook(
    path: Path, out: Path, *, preset: str = "quick", force: bool = False
) -> tuple[Path, bool]:
    """Execute a notebook and write ``<out>/<name>.html``.

    A file that the same notebook, package and preset have already made is kept unless ``force``.

    Returns:
        The file, and whether the notebook was executed.

    Raises:
        NotebookError: a cell failed; the HTML as far as it came is there and says so.
        DataError: ``out`` cannot be written; nothing has been executed.
        KeyboardInterrupt: the user stopped it; the same holds.
    """
    target, mark = out / f"{path.stem}.html", _fingerprint(path, preset)
    if not force and target.is_file() and _MARK.format(mark) in _head(target):
        return target, False
    notebook = notebooks.read(path)
    check_writable(out)
    failure = execute(notebook, folder=path.parent, preset=preset, name=path.stem)
    if failure is None:
        write_html(notebook, target, source=path, mark=mark, note=origin(preset))
        return target, True
    what = "interrupted" if failure.interrupted else "stopped by an error"
    warning = f"Unfinished: {what} in code cell {failure.cell} ({failure.first_line})."
    write_html(notebook, target, source=path, note=origin(preset), warning=warning)
    if failure.interrupted:
        raise KeyboardInterrupt
    raise NotebookError(
        f"{path.name} stopped in code cell {failure.cell} ({failure.first_line}):\n"
        f"{failure.traceback}\nWhat ran before that is in {target}. Mend the cell and run again."
    )


def render(paths: Iterable[Path], out: Path) -> list[Path]:
    """Write notebooks as they lie, with the outputs they have, as HTML files under ``out``.

    Shows progress.

    Raises:
        NotebookError: the packages that write HTML are missing.
        DataError: a notebook cannot be read, or a file cannot be written.
    """
    from tqdm import tqdm

    targets = []
    with tqdm(list(paths), desc="pages", unit="page") as bar:
        for path in bar:
            bar.set_postfix_str(path.stem)
            target = out / f"{path.stem}.html"
            write_html(notebooks.read(path), target, source=path, note=origin(None))
            targets.append(target)
    return targets


def origin(preset: str | None) -> str:
    """One sentence for a page: where its outputs come from; ``None`` for those of the file."""
    if preset is None:
        return "Outputs as they lie in the course's files: nothing was executed for this page."
    return f"Executed for this page on the preset {preset}."


def _head(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(4000)


def _fingerprint(path: Path, preset: str) -> str:
    """A digest of what decides a notebook's outputs: its cells, the package, Python, the preset."""
    digest = hashlib.sha256(f"{preset} {sys.version} {coursekit.__version__}".encode())
    for cell in notebooks.read(path)["cells"]:
        digest.update(notebooks.source(cell).encode() + b"\0")
    for module in sorted(Path(coursekit.__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def execute(
    notebook: notebooks.Notebook, *, folder: Path, preset: str, name: str = "notebook"
) -> Failure | None:
    """Execute a notebook's cells in place in a kernel of this very Python, with progress.

    Returns what stopped it, or ``None``. The kernel is gone afterwards in either case.

    Raises:
        NotebookError: the packages that execute notebooks are missing.
    """
    try:
        import nbformat
        from nbclient.exceptions import CellExecutionError, DeadKernelError
    except ImportError as error:
        raise _packages_missing(error) from error
    node = nbformat.from_dict(_joined(notebook))
    runner = _Runner(node, folder, preset, name)
    failure = None
    try:
        asyncio.run(runner.main())
    except (_Stopped, KeyboardInterrupt, asyncio.CancelledError):
        failure = runner.failure("", interrupted=True)
    except CellExecutionError as error:
        interrupted = error.ename == "KeyboardInterrupt"
        failure = runner.failure(_plain(error.traceback), interrupted=interrupted)
    except DeadKernelError:
        text = "The kernel died. Most often the memory is full: close other programs."
        failure = runner.failure(text, interrupted=runner.interrupts > 0)
    finally:
        runner.bar.close()
    notebook.update(node)
    return failure


def _packages_missing(error: ImportError) -> NotebookError:
    return NotebookError(
        f"Executing notebooks needs the package {error.name}. Install the course's extra for it: "
        'pip install "coursekit[run]", or pip install -e ".[run]" in a checkout.'
    )


def _joined(notebook: notebooks.Notebook) -> notebooks.Notebook:
    """A copy with every cell's source as one string and no outputs, as nbclient wants it."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        cell["source"] = notebooks.source(cell)
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return notebook


def _plain(text: str, last: int = 15) -> str:
    """The last lines of a traceback without the terminal's colour codes."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    return "\n".join(lines[-last:])


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:60] if lines else "empty"


class _Stopped(Exception):
    """The user pressed Ctrl-C and the cell ended well all the same."""


class _Runner:
    """One execution: the client, its progress bar, and what Ctrl-C does to them."""

    def __init__(self, node: Any, folder: Path, preset: str, name: str) -> None:
        from tqdm import tqdm

        self.code_cells = [
            index
            for index, cell in enumerate(node.cells)
            if cell.cell_type == "code" and cell.source.strip()
        ]
        self.preset, self.current, self.interrupts = preset, 0, 0
        self.bar = tqdm(total=len(self.code_cells), desc=name, unit="cell")
        self.node = node
        self.client = self._client(node, folder)

    def _client(self, node: Any, folder: Path) -> NotebookClient:
        from nbclient import NotebookClient

        return NotebookClient(
            node,
            km=_kernel_manager(),
            timeout=None,
            store_widget_state=False,
            resources={"metadata": {"path": str(folder)}},
            on_cell_execute=self._starts,
            on_cell_executed=self._ended,
        )

    def failure(self, text: str, *, interrupted: bool) -> Failure:
        """What stopped the run at the cell that it had reached."""
        index = self.code_cells[self.current] if self.code_cells else 0
        first_line = _first_line(self.node.cells[index].source)
        return Failure(self.current + 1, first_line, text, interrupted)

    async def main(self) -> None:
        """Execute all cells; the clock beside the bar goes on during a long one."""
        self.task = asyncio.current_task()
        clock = asyncio.create_task(self._tick())
        env = {**os.environ, "COURSEKIT_PRESET": self.preset}
        try:
            await self.client.async_execute(env=env, cleanup_kc=True)
        finally:
            clock.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.bar.refresh()

    def _starts(self, cell: Any, cell_index: int) -> None:
        if not self.interrupts:
            self._catch_interrupts()
        self.current = self.code_cells.index(cell_index)
        self.bar.set_postfix_str(_first_line(cell.source)[:40])

    def _ended(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        self.bar.update()
        if self.interrupts and execute_reply["content"]["status"] == "ok":
            # The cell answered Ctrl-C by keeping its best result; the user still wants to stop.
            raise _Stopped

    def _catch_interrupts(self) -> None:
        """Ctrl-C interrupts the cell as in Jupyter, a second one ends the kernel at once."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
        except NotImplementedError:  # Windows: asyncio itself cancels the run
            return

    def _interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts == 1 and self.client.km is not None:
            self.stopping = asyncio.ensure_future(self._interrupt_kernel(self.client.km))
        elif self.task is not None:
            self.task.cancel()

    async def _interrupt_kernel(self, manager: Any) -> None:
        await manager.interrupt_kernel()


def _kernel_manager() -> Any:
    """A kernel of this Python, whatever kernels of that name the user has installed."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            command.append("--log-level=ERROR")
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())


def write_html(
    notebook: notebooks.Notebook,
    target: Path,
    *,
    source: Path,
    mark: str = "",
    note: str = "",
    warning: str = "",
) -> None:
    """Write one HTML file with every picture and formula inside it.

    A ``note`` and, on red, a ``warning`` head the page.

    Formulas become MathML, which browsers show without a script. Nothing on the page is loaded
    from elsewhere; links stay links. ``source`` is the notebook's file: it gives the title, and
    pictures that the text names lie beside it.

    Raises:
        NotebookError: the packages that write HTML are missing.
        DataError: the file cannot be written.
    """
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise _packages_missing(error) from error
    page = copy.deepcopy(notebook)
    formulas: list[str] = []
    for cell in page["cells"]:
        _prepare_cell(cell, formulas)
    exporter = HTMLExporter(embed_images=True)
    exporter.log.setLevel(logging.ERROR)  # it would warn of each figure without alternative text
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = ""
    resources = {"metadata": {"name": source.stem, "path": str(source.parent)}}
    text, _ = exporter.from_notebook_node(nbformat.from_dict(page), resources=resources)
    text = _without_scripts(text)
    text = _PLACE.sub(lambda place: formulas[int(place[1])], text)
    text = _HIDDEN_FOLD.sub(r"<\1>", text)
    text = text.replace("<head>", f"<head>{_MARK.format(mark)}", 1) if mark else text
    banners = _banner(warning, "#fde2e2") + _banner(note, "#eeeeee")
    text = re.sub(r"(<body[^>]*>)", lambda body: body[1] + banners, text, count=1)
    write_text(target, text)


def _banner(text: str, colour: str) -> str:
    style = f"background:{colour};color:#222;padding:0.6em 1em;margin:0"
    return f'<p style="{style}">{html.escape(text)}</p>' if text else ""


def _prepare_cell(cell: dict[str, Any], formulas: list[str]) -> None:
    """Make a cell ready for a page without network or kernel; its formulas are set aside."""
    cell["source"] = notebooks.source(cell)
    if cell["cell_type"] == "markdown":
        # The badge is a picture from elsewhere; its link stays.
        cell["source"] = re.sub(r"!\[Open in Colab\]\([^)]*\)", "Open in Colab", cell["source"])
        cell["source"] = _FOLD.sub(r"<!--\1-->", cell["source"])
        cell["source"] = formulas_to_mathml(cell["source"], formulas)
    for output in cell.get("outputs", []):
        if notebooks.is_widget(output):
            output["data"] = {"text/html": _WIDGET_NOTE}
        # A notebook's file has texts as lists of lines.
        for holder in (output, output.get("data", {})):
            lines = {key: "".join(each) for key, each in holder.items() if isinstance(each, list)}
            holder.update({key: each for key, each in lines.items() if key != "traceback"})


_CODE_OR_FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\w$])",
    re.DOTALL,
)


# A fold is hidden while markdown is turned into HTML, which would close it before its text.
_FOLD = re.compile("<(/?details)>")
_HIDDEN_FOLD = re.compile("<!--(/?details)-->")

# Where a formula stands while markdown is turned into HTML, whose sanitiser takes MathML apart.
_PLACE = re.compile("formula(\\d+)placeholder")


def formulas_to_mathml(text: str, formulas: list[str]) -> str:
    r"""Append the MathML of each ``$…$`` and ``$$…$$`` in markdown to ``formulas``.

    Returns the text with a placeholder for each of them. Code is left as it is, and a formula that
    cannot be converted stays as the TeX that it is.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return text

    def set_aside(found: re.Match[str]) -> str:
        mathml = None if found["code"] else _mathml(found, convert)
        if mathml is None:
            return found[0]
        formulas.append(mathml)
        return f"formula{len(formulas) - 1}placeholder"

    return _CODE_OR_FORMULA.sub(set_aside, text)


def _mathml(found: re.Match[str], convert: Callable[..., str]) -> str | None:
    block = found["block"] is not None
    try:
        return convert(found["block"] or found["inline"], display="block" if block else "inline")
    except Exception:  # the converter raises errors of many types; plain TeX is still readable
        return None


def _without_scripts(text: str) -> str:
    """Take out the scripts of nbconvert's template: each of them loads something from elsewhere."""
    text = re.sub(r"<script\b[^>]*>.*?</script\s*>", "", text, flags=re.DOTALL)
    return re.sub(r"<link\b[^>]*\bhref=\"https?:[^>]*>", "", text)


def external_references(text: str) -> list[str]:
    """What a browser would load from elsewhere to show this page: none, if it is self-contained."""
    loading = r"""<(?:script|img|iframe|audio|video|source|embed)\b[^>]*?\bsrc\s*=\s*["']([^"']+)"""
    linked = r"""<link\b[^>]*?\bhref\s*=\s*["']([^"']+)"""
    styles = r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)"""
    found = re.findall(loading, text) + re.findall(linked, text)
    found += ["".join(pair) for pair in re.findall(styles, text)]
    return [address for address in found if not address.startswith(("data:", "#"))]


def seconds_since(start: float) -> str:
    """A duration for people: ``75 s`` or ``3 min 5 s``."""
    seconds = round(time.time() - start)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60} s"
