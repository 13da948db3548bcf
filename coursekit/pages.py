"""All notebooks as HTML pages, and the start page that leads to them in lecture order."""

from __future__ import annotations

import base64
import binascii
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coursekit import execute, notebooks
from coursekit.core.atomic import write_text
from coursekit.core.errors import DataError

TEMPLATE = Path(__file__).with_name("index.html.j2")
START_PAGE = "index.html"
_PICTURE = re.compile(r'<img\b[^>]*?\bsrc="data:image/(?:png|jpeg);base64,([^"]+)"')
_LECTURE = re.compile(r"^\*\*(?:In the lecture|Lecture):\*\* (.+(?:\n.+)*)", re.MULTILINE)
_WIDTH, _HEIGHT = 640, 400  # of a card's picture, in pixels, at most


@dataclass(frozen=True)
class Card:
    """One notebook on the start page.

    Attributes:
        page: the file name of its HTML page.
        number, title: as in its heading, ``## · title``.
        lecture: the slide titles that it belongs to, as it names them; empty if it names none.
        picture: the first picture of the page as an address ``data:…``; empty if it has none.
        problem: why the page is not whole; empty if it is.
    """

    page: str
    number: str
    title: str
    lecture: str
    picture: str
    problem: str = ""


def write(
    paths: Sequence[Path], out: Path, *, preset: str | None = None, start_page: bool = True
) -> list[Path]:
    """Write a page for each notebook under ``out``, with progress, and the start page.

    Args:
        paths: notebooks, in the order of their cards.
        out: the folder; it is made if need be.
        preset: execute each notebook on it first (one that nothing has changed for since it was
            executed is not executed again); ``None`` takes the outputs that the files hold.
        start_page: whether to write ``index.html`` as well.

    Returns:
        The files, the start page last.

    Raises:
        NotebookError: a notebook stopped. The others are there, and its page and card say so.
        DataError: a file cannot be read or written.
        KeyboardInterrupt: the user stopped it; finished pages stay.
    """
    if preset is None:
        problems = dict.fromkeys(paths, "")
        targets = execute.render(paths, out)
    else:
        problems = _run_all(paths, out, preset)
        targets = [out / f"{path.stem}.html" for path in paths]
    if start_page:
        cards = [card(*pair, problems[pair[0]]) for pair in zip(paths, targets, strict=True)]
        write_text(out / START_PAGE, start_page_of(cards, preset))
        targets.append(out / START_PAGE)
    stopped = [problem for problem in problems.values() if problem]
    if stopped:
        raise execute.NotebookError("\n\n".join(stopped))
    return targets


def _run_all(paths: Sequence[Path], out: Path, preset: str) -> dict[Path, str]:
    """Execute all notebooks, also after one that stops; what stopped each, or ``""``."""
    problems = {}
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem}", file=sys.stderr, flush=True)
        problems[path] = ""
        try:
            _, executed = execute.run_notebook(path, out, preset=preset)
        except execute.NotebookError as error:
            problems[path] = str(error)
        else:
            if not executed:
                print("  nothing has changed since its last run", file=sys.stderr, flush=True)
    return problems


def card(path: Path, target: Path, problem: str = "") -> Card:
    """The card of a notebook whose page is ``target``.

    Raises:
        DataError: the notebook or the page cannot be read.
    """
    cells = notebooks.read(path)["cells"]
    text = "\n".join(notebooks.source(c) for c in cells if c["cell_type"] == "markdown")
    heading = re.search(r"^# (?:(\d\d) · )?(.+)$", text, re.MULTILINE)
    number, title = heading.groups() if heading else (None, path.stem)
    lecture = _LECTURE.search(text)
    return Card(
        page=target.name,
        number=number or path.stem[:2],
        title=title,
        lecture=re.sub(r"[*`]", "", lecture[1]).replace("\n", " ") if lecture else "",
        picture=first_picture(target),
        problem=problem.partition(":\n")[0],
    )


def first_picture(page: Path) -> str:
    """The first photograph or figure in an HTML page, made small, as an address ``data:…``.

    Returns an empty text if the page has none.

    Raises:
        DataError: the page cannot be read.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{page} cannot be read ({error.strerror}). Render it again.") from error
    found = _PICTURE.search(text)
    return _small(found[1], page) if found else ""


def _small(encoded: str, page: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    except (binascii.Error, UnidentifiedImageError, OSError) as error:
        raise DataError(f"The first picture of {page} is damaged. Render it again.") from error
    white = Image.new("RGBA", picture.size, "white")
    small = Image.alpha_composite(white, picture).convert("RGB")
    small.thumbnail((_WIDTH, _HEIGHT))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def start_page_of(cards: Sequence[Card], preset: str | None) -> str:
    """The start page as HTML: a title, where the outputs come from, one card a notebook.

    It loads nothing from elsewhere; its links lead to files beside it.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(cards=cards, origin=execute.origin(preset))
