"""The notebooks as files: where they lie, their first two cells, and their one normal form.

Standard library only, so that the command line starts at once and works in a broken environment.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coursekit.core.atomic import write_bytes, write_text
from coursekit.core.errors import DataError, SettingError

Notebook = dict[str, Any]

COURSE_TOML = Path(__file__).with_name("course.toml")
PICTURE_TAG = "picture"  # of the cell whose figure stands for the notebook in the README
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
UNNAMED = "OWNER/NAME"  # what stands for the repository until `coursekit badge` has named it
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?/[A-Za-z0-9._-]{1,100}")
_REPOSITORY_LINE = re.compile(r'^repository = "([^"\n]*)"$', re.MULTILINE)
_BADGE_START = "[![Open in Colab]"


def repository() -> str:
    """Return the course's public ``OWNER/NAME``, as ``course.toml`` has it.

    Raises:
        DataError: the file is missing or has no such line.
    """
    try:
        found = _REPOSITORY_LINE.search(COURSE_TOML.read_text(encoding="utf-8"))
    except OSError:
        found = None
    if found is None:
        raise DataError(
            f'{COURSE_TOML} has no line repository = "OWNER/NAME". Install the package again, '
            "or restore the file from the repository."
        )
    return found[1]


def check_name(name: str) -> str:
    """Return ``name`` if it can be a GitHub repository.

    Raises:
        SettingError: it cannot.
    """
    tail = name.rpartition("/")[2]
    if not _NAME.fullmatch(name) or tail in (".", "..") or tail.endswith(".git"):
        raise SettingError(
            f"{name!r} is not the name of a GitHub repository. Give OWNER/NAME, for example "
            "coursekit badge ada/image-synthesis."
        )
    return name


def badge_line(file_name: str, name: str) -> str:
    """The first line of a notebook: the badge that opens it in Colab."""
    colab = "https://colab.research.google.com"
    return (
        f"{_BADGE_START}({colab}/assets/colab-badge.svg)]"
        f"({colab}/github/{name}/blob/main/notebooks/{file_name})"
    )


def setup_cell(name: str) -> str:
    """The first code cell of a notebook: import the package, or install it in Colab."""
    return (
        "try:\n"
        "    import coursekit\n"
        "except ImportError:  # Colab, or a fresh environment\n"
        f'    %pip install -q "coursekit @ git+https://github.com/{name}"\n'
        "    import coursekit\n"
        "\n"
        "run = coursekit.setup()"
    )


def folder() -> Path:
    """The folder with the notebooks: the checkout's, else one in or at the current directory.

    Raises:
        DataError: there is none.
    """
    here = Path.cwd()
    for place in (COURSE_TOML.parents[1] / "notebooks", here / "notebooks", here):
        if any(place.glob("[0-9][0-9]_*.ipynb")):
            return place
    raise DataError(
        f"There are no course notebooks here ({here}). Go to a checkout of the course, or give "
        "the path of a notebook."
    )


def paths() -> list[Path]:
    """Every notebook of the course, in order."""
    return sorted(folder().glob("[0-9][0-9]_*.ipynb"))


def find(which: str) -> Path:
    """Return the notebook for a number (``3``, ``03``), a name (``gatys``) or a path.

    Raises:
        DataError: there is no such notebook; the message lists those that exist.
    """
    given = Path(which)
    if given.suffix == ".ipynb" and given.is_file():
        return given.resolve()
    wanted = which.zfill(2) if which.isdigit() else which.removesuffix(".ipynb")
    there = paths()
    for path in there:
        if wanted in (path.stem, path.stem[:2], path.stem[3:]):
            return path
    listed = ", ".join(path.stem for path in there)
    raise DataError(f"There is no notebook {which!r}. Choose one of {listed}.")


def read(path: Path) -> Notebook:
    """Read a notebook's JSON.

    Raises:
        DataError: the file is not a notebook.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not a readable notebook ({error}). Restore it from the repository."
        ) from error
    if not isinstance(notebook, dict) or not _are_cells(notebook.get("cells")):
        raise DataError(f"{path} is not a notebook: it has no cells. Restore it.")
    return {"metadata": {}, "nbformat": 4, "nbformat_minor": 5} | notebook


def _are_cells(cells: Any) -> bool:
    return isinstance(cells, list) and all(
        isinstance(cell, dict) and {"cell_type", "source"} <= set(cell) for cell in cells
    )


def write(path: Path, notebook: Notebook) -> bool:
    """Write a notebook the way Jupyter does; return whether the file changed.

    Raises:
        DataError: it cannot be written. The notebook is as it was.
    """
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    data = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == data:
        return False
    write_text(path, text)
    return True


def source(cell: dict[str, Any]) -> str:
    """A cell's text; the format allows a string or a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def set_source(cell: dict[str, Any], text: str) -> None:
    """Give a cell its text, as the list of lines that Jupyter writes."""
    cell["source"] = text.splitlines(keepends=True)


def is_setup(cell: dict[str, Any]) -> bool:
    """Whether this is the cell that installs the package when it is missing."""
    return cell["cell_type"] == "code" and "coursekit @ git+https://" in source(cell)


def set_repository(notebook: Notebook, file_name: str, name: str) -> None:
    """Rewrite the badge and the setup cell of one notebook for the repository ``name``."""
    cells = notebook["cells"]
    if cells and cells[0]["cell_type"] == "markdown":
        head, _, rest = source(cells[0]).partition("\n")
        if not head.startswith(_BADGE_START):
            head, rest = "", "\n" + source(cells[0])
        set_source(cells[0], badge_line(file_name, name) + ("\n" + rest if rest else ""))
    for cell in filter(is_setup, cells):
        pattern = r"git\+https://github\.com/[^\s\"']+"
        set_source(cell, re.sub(pattern, f"git+https://github.com/{name}", source(cell)))


def strip(notebook: Notebook) -> Notebook:
    """Bring a notebook to the form that is committed, in place, and return it.

    Widget state and widget views go (they show nothing without a kernel), and so does what
    depends on the machine: timings of cells, the kernel's display name, the version of Python.
    """
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    for cell in notebook["cells"]:
        for noise in ("execution", "ExecuteTime", "collapsed", "scrolled", "jupyter"):
            cell["metadata"].pop(noise, None)
        if cell["cell_type"] == "code":
            cell["outputs"] = [out for out in cell["outputs"] if not is_widget(out)]
    return notebook


def is_widget(output: dict[str, Any]) -> bool:
    """Whether an output is a live control, which nothing but a running kernel can show."""
    return WIDGET_VIEW in output.get("data", {})


def picture(notebook: Notebook) -> bytes | None:
    """The last JPEG picture of the cell that is tagged ``picture``; `None` without such a cell.

    Raises:
        DataError: the tagged cell shows no picture.
    """
    tagged = [c for c in notebook["cells"] if PICTURE_TAG in c["metadata"].get("tags", ())]
    if not tagged:
        return None
    kinds = [output.get("data", {}) for output in tagged[0].get("outputs", ())]
    shown = [data["image/jpeg"] for data in kinds if "image/jpeg" in data]
    if not shown:
        raise DataError(
            f"The cell tagged {PICTURE_TAG!r} shows no picture. Run the notebook, or move the tag."
        )
    return base64.b64decode("".join(shown[-1]))


def write_pictures(chosen: Sequence[Path]) -> dict[Path, bool]:
    """Write the `picture` of each notebook to ``data/pictures``; whether each file changed.

    Raises:
        DataError: a notebook cannot be read or shows no picture, or a file cannot be written.
    """
    changed = {}
    for path in chosen:
        found = picture(read(path))
        target = path.parents[1] / "data" / "pictures" / f"{path.stem}.jpg"
        if found is not None:
            changed[target] = not target.is_file() or target.read_bytes() != found
            if changed[target]:
                write_bytes(target, found)
    return changed


def rewrite_repository(name: str) -> list[Path]:
    """Put ``OWNER/NAME`` into ``course.toml``, every notebook and the README.

    Returns the files that changed; a second call with the same name changes none.

    Raises:
        SettingError: the name cannot be a GitHub repository.
        DataError: there are no notebooks, or one cannot be read or written.
    """
    check_name(name)
    old, there = repository(), paths()
    loaded = [(path, read(path)) for path in there]
    changed = []
    for path, notebook in loaded:
        set_repository(notebook, path.name, name)
        if write(path, notebook):
            changed.append(path)
    readme = there[0].parents[1] / "README.md"
    for path, pattern in (
        (readme, rf"(?<=github\.com/){re.escape(old)}(?![\w-])|(?<=/github/){re.escape(old)}(?=/)"),
        (COURSE_TOML, rf'(?<=^repository = "){re.escape(old)}(?=")'),
    ):
        if path.is_file() and _substitute(path, pattern, name):
            changed.append(path)
    return changed


def _substitute(path: Path, pattern: str, replacement: str) -> bool:
    before = path.read_bytes().decode("utf-8")
    after = re.sub(pattern, replacement, before, flags=re.MULTILINE)
    if after == before:
        return False
    write_text(path, after)
    return True
