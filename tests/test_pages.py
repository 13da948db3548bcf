"""All notebooks as pages, and the start page: its cards, links and pictures, read as HTML."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from coursekit import cli, execute, notebooks, pages
from coursekit.core.errors import DataError


def _encoded(width: int, height: int, colour: Any, kind: str = "PNG") -> str:
    data = io.BytesIO()
    Image.new("RGBA" if kind == "PNG" else "RGB", (width, height), colour).save(data, kind)
    return base64.b64encode(data.getvalue()).decode()


def _shown(kind: str, data: str) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": {kind: data}}


def _notebook(path: Path, text: str, source: str, *outputs: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    same = {"metadata": {}, "id": "a"}
    code = {"cell_type": "code", "execution_count": 1, "source": source, "outputs": list(outputs)}
    cells = [{"cell_type": "markdown", "source": text} | same, code | same | {"id": "b"}]
    notebooks.write(path, {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


_DRAW = """
from PIL import Image
display(Image.new("RGB", (90, 40), {colour!r}))
"""


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three notebooks; their files hold a red, a green and a large see-through picture."""
    top = tmp_path / "мой курс"
    head = "# 01 · First <things>\n\n**Lecture:** One (*Раз*) · Two\n(*Два*)\n\nMore"
    red, wrong = _encoded(60, 30, "red"), _encoded(60, 30, "blue")
    outputs = [_shown("image/png", picture) for picture in (red, wrong)]
    _notebook(top / "notebooks" / "01_first.ipynb", head, _DRAW.format(colour="black"), *outputs)
    drawn = _shown("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    green = _shown("image/jpeg", _encoded(50, 50, "green", "JPEG"))
    source = _DRAW.format(colour="white")
    _notebook(top / "notebooks" / "02_second.ipynb", "# Second", source, drawn, green)
    large = _shown("image/png", _encoded(1900, 400, (0, 0, 0, 0)))
    _notebook(top / "notebooks" / "03_third.ipynb", "no heading", "1", large)
    monkeypatch.setattr(notebooks, "COURSE_TOML", top / "coursekit" / "course.toml")
    monkeypatch.chdir(top)
    return top


class _Cards(HTMLParser):
    """Reads a start page: for each card its link, pictures and words; every link there is."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.cards: list[dict[str, Any]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "li":
            self.cards.append({"links": [], "pictures": [], "words": []})
        if tag == "a":
            self.links.append(given["href"] or "")
            self.cards[-1]["links"].append(given["href"])
        if tag == "img":
            assert given["alt"]
            self.cards[-1]["pictures"].append(given["src"])

    def handle_data(self, data: str) -> None:
        if data.strip():
            (self.cards[-1]["words"] if self.cards else self.words).append(data.strip())


def _picture(address: str) -> Image.Image:
    head, data = address.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def _check(folder: Path, names: list[str]) -> _Cards:
    """Every link of the start page leads to a file, every card has one picture, in this order."""
    page = folder / "index.html"
    read = _Cards(page)
    assert execute.external_references(page.read_text(encoding="utf-8")) == []
    assert read.links == [f"{name}.html" for name in names]
    assert all((folder / link).is_file() for link in read.links)
    assert [len(card["pictures"]) for card in read.cards] == [1] * len(names)
    assert all(_picture(card["pictures"][0]).size > (0, 0) for card in read.cards)
    return read


def test_the_start_page_of_notebooks_as_they_lie(course: Path) -> None:
    assert cli.main(["render"]) == 0
    read = _check(course / "build" / "notebooks", ["01_first", "02_second", "03_third"])
    first, second, third = (_picture(card["pictures"][0]) for card in read.cards)
    assert first.getpixel((30, 15))[0] > 200 and first.size == (60, 30)  # not the second one, blue
    assert second.getpixel((25, 25))[1] > 100 and second.size == (50, 50)
    assert third.width == 640 and third.getpixel((9, 9)) == (255, 255, 255)  # on white, and small
    words = [card["words"] for card in read.cards]
    assert words[0] == ["01", "First <things>", "In the lecture: One (Раз) · Two (Два)"]
    assert words[1:] == [["02", "Second"], ["03", "03_third"]]
    assert "3 notebooks" in read.words[-1] and "nothing was executed" in read.words[-1]


def test_executed_on_a_preset_the_pages_say_so_and_a_second_time_is_quick(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show = _DRAW.format(colour="yellow") + "import os; print('ON', os.environ['COURSEKIT_PRESET'])"
    _notebook(course / "notebooks" / "03_third.ipynb", "# 03 · Third", show)
    assert cli.main(["render", "--preset", "ci"]) == 0
    folder = course / "build" / "notebooks-ci"
    read = _check(folder, ["01_first", "02_second", "03_third"])
    assert "Executed for this page on the preset ci." in read.words[-1]
    page = (folder / "03_third.html").read_text(encoding="utf-8").split("<body")[1]
    assert "ON ci" in page and "Executed for this page on the preset ci." in page
    # The pictures are those that the execution made, not those in the files.
    colours = [_picture(card["pictures"][0]).getpixel((45, 20)) for card in read.cards]
    assert [sum(colour) for colour in colours] == [0, 765, pytest.approx(510, abs=6)]
    assert "[3/3] 03_third" in capsys.readouterr().err
    assert cli.main(["render", "--preset", "ci"]) == 0
    assert capsys.readouterr().err.count("nothing has changed") == 3
    _check(folder, ["01_first", "02_second", "03_third"])


def test_a_notebook_that_stops_does_not_stop_the_others(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _notebook(course / "notebooks" / "02_second.ipynb", "# 02 · Second", "value = 1\n1 / 0")
    (course / "notebooks" / "03_third.ipynb").unlink()
    _notebook(course / "notebooks" / "03_third.ipynb", "# Third", _DRAW.format(colour="red"))
    assert cli.main(["render", "--preset", "ci"]) == 1
    assert "02_second.ipynb stopped in code cell 1 (value = 1)" in capsys.readouterr().err
    folder = course / "build" / "notebooks-ci"
    read = _Cards(folder / "index.html")
    assert all((folder / link).is_file() for link in read.links) and len(read.links) == 3
    words = read.cards[1]["words"]
    assert words[0] == "no picture yet" and words[-1].startswith("02_second.ipynb stopped in code")
    assert [len(card["pictures"]) for card in read.cards] == [1, 0, 1]


def test_one_notebook_alone_leaves_the_start_page_as_it_is(course: Path) -> None:
    start = course / "build" / "notebooks" / "index.html"
    assert cli.main(["render", "2"]) == 0
    assert start.with_name("02_second.html").is_file() and not start.exists()
    cli.main(["render"])
    before = start.read_bytes()
    cli.main(["render", "2"])
    assert start.read_bytes() == before


def test_a_page_without_its_file_or_with_a_damaged_picture_is_a_sentence(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    with pytest.raises(DataError, match="cannot be read"):
        pages.first_picture(page)
    page.write_text('<img src="data:image/png;base64,AAAA">', encoding="utf-8")
    with pytest.raises(DataError, match="is damaged"):
        pages.first_picture(page)
    page.write_text("<p>nothing</p>", encoding="utf-8")
    assert pages.first_picture(page) == ""


@pytest.mark.slow
def test_the_start_page_of_the_course(tmp_path: Path) -> None:
    assert cli.main(["render", "--out", str(tmp_path)]) == 0
    names = [path.stem for path in notebooks.paths()]
    read = _check(tmp_path, names)
    for name, card in zip(names, read.cards, strict=True):
        assert card["words"][0] == name[:2] and len(card["words"][1]) > 3
        assert name.startswith("00") or card["words"][-1].startswith("In the lecture: "), name
