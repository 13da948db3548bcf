"""What a reader follows exists: files, headings, sections; and outputs say no warning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[1]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))
PAGES = [TOP / "README.md", *sorted((TOP / "data").rglob("*.md")), TOP / "benchmarks/README.md"]
LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|href)=["']([^"']+)["']""")
OUTSIDE = re.compile(r"https?:|mailto:|data:|attachment:")
STUMBLE = re.compile(r"\w+Warning\b|Traceback \(most|^\w+Error: |\bdeprecated\b", re.MULTILINE)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def markdown_of(path: Path, *, code: bool = False) -> str:
    """The text of a page, or of a notebook's Markdown cells; code in a line only if asked for."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return text if code else re.sub(r"`[^`\n]*`", "", text)


def anchors(path: Path) -> set[str]:
    """What ``#…`` can name in a page: its headings, as GitHub writes them, and its own ids."""
    text = markdown_of(path, code=True)
    headings = re.findall(r"^#+ (.+?)\s*$", text, flags=re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept} | set(re.findall(r'id="([^"]+)"', text))


def broken(path: Path) -> list[str]:
    """The links of a page to files or headings that do not exist."""
    targets = ["".join(found) for found in LINK.findall(markdown_of(path))]
    return [each for each in targets if not OUTSIDE.match(each) and not _exists(path, each)]


def _exists(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    return file.exists() and (not anchor or anchor in anchors(file))


def outputs(path: Path) -> list[dict[str, Any]]:
    """All outputs of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def said(output: dict[str, Any]) -> str:
    """What an output says in words."""
    data = output.get("data", {})
    parts = [output.get("text", ""), *(data[kind] for kind in data if kind == "text/plain")]
    return "\n".join("".join(part) for part in parts)


@pytest.mark.parametrize(
    "path", [*PAGES, *NOTEBOOKS], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_link_leads_to_something_that_exists(path: Path) -> None:
    assert broken(path) == []


@every_notebook
def test_the_sections_that_a_notebook_speaks_of_exist(path: Path) -> None:
    text = markdown_of(path)
    sections = set(re.findall(r"^## (\d+) ·", text, flags=re.MULTILINE))
    assert set(re.findall(r"\b[Ss]ections? (\d+)\b", text)) <= sections


@every_notebook
def test_the_notebooks_that_a_notebook_speaks_of_exist(path: Path) -> None:
    numbers = set(re.findall(r"\b[Nn]otebooks? (\d\d)\b", markdown_of(path)))
    assert numbers <= {other.stem[:2] for other in NOTEBOOKS}


@every_notebook
def test_no_output_warns(path: Path) -> None:
    texts = [(output.get("name"), said(output)) for output in outputs(path)]
    assert [text for stream, text in texts if stream == "stderr" or STUMBLE.search(text)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One & two\n<a id='x'></a>\n## Größe\n", encoding="utf-8")
    page = tmp_path / "page.md"
    good = "[a](there.md) [b](there.md#one--two) [c](#top) [d](https://example.org/none) `[e](f)`"
    page.write_text(f"# Top\n{good} [g](there.md#größe)\n", encoding="utf-8")
    assert broken(page) == []
    page.write_text('[a](gone.md) [b](there.md#three) [c](#top) <img src="no.jpg">\n')
    assert broken(page) == ["gone.md", "there.md#three", "#top", "no.jpg"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x.py:3: UserWarning: careful", True),
        ("Traceback (most recent call last):", True),
        ("ValueError: no", True),
        ("the standard error: 0.2", False),
        ("FID 4.8 (standard error 0.1)", False),
    ],
)
def test_what_a_student_would_stumble_over(text: str, found: bool) -> None:
    assert bool(STUMBLE.search(text)) == found
