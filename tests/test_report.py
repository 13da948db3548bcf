"""The page for the class: what it reads, what it counts, and that it lets no markup through."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from coursekit import notebooks, report
from coursekit.core.errors import DataError

GRAM, STYLE = "texture.gram_matrix", "texture.style_loss"


def output(exercise: str, status: str, mistake: str | None = None) -> dict[str, Any]:
    found = {"id": exercise, "status": status, "layer": "", "mistake": mistake, "points": 2}
    return {"output_type": "display_data", "data": {report.MIME: found}, "metadata": {}}


def graded(path: Path, *outputs: dict[str, Any]) -> None:
    cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": list(outputs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    notebooks.write(path, {"cells": [cell, {"cell_type": "markdown", "source": ""}]})


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Three students of an nbgrader course; what was submitted must not be read."""
    place = tmp_path / "autograded"
    graded(
        place / "ada" / "02_gram_textures" / "02_gram_textures.ipynb",
        output(GRAM, "passed"),
        output(STYLE, "not started"),
    )
    graded(
        place / "Ben" / "02_gram_textures" / "02_gram_textures.ipynb",
        output(GRAM, "wrong", "not divided by M"),
        output(STYLE, "not started"),
    )
    graded(
        place / "chloë" / "02_gram_textures" / "02_gram_textures.ipynb",
        output(GRAM, "wrong", "not divided by M"),
        output("dcgan.slerp", "wrong"),
    )
    graded(tmp_path / "submitted" / "dan" / "a.ipynb", output(GRAM, "passed"))
    return tmp_path


def test_an_nbgrader_course(course: Path) -> None:
    found = report.read(course)
    assert found.students == ("ada", "Ben", "chloë")
    assert found.exercises == (GRAM, STYLE, "dcgan.slerp")
    assert found.status("ada", GRAM) == "passed"
    assert found.status("Ben", GRAM) == "wrong"
    assert found.status("chloë", STYLE) == ""
    assert found.mistakes() == [(GRAM, "not divided by M", 2)]
    assert found.never_started() == [STYLE]


def test_files_of_students_and_progress_files(tmp_path: Path) -> None:
    graded(tmp_path / "ada.ipynb", output(GRAM, "passed"))
    entries = {
        GRAM: {"status": "wrong", "attempts": 5, "mistakes": {"not divided by M": 3}},
        STYLE: {"status": "passed", "attempts": 1, "mistakes": {}},
    }
    (tmp_path / "ben.json").write_text(json.dumps({"version": 1, "exercises": entries}))
    (tmp_path / "settings.json").write_text('["something else"]')
    found = report.read(tmp_path)
    assert found.students == ("ada", "ben")
    assert found.status("ben", STYLE) == "passed"
    assert found.mistakes() == [(GRAM, "not divided by M", 1)]


def test_of_two_results_the_better_one_counts_and_mistakes_add_up(tmp_path: Path) -> None:
    graded(tmp_path / "ada" / "a.ipynb", output(GRAM, "wrong", "divided by C"))
    graded(tmp_path / "ada" / "b.ipynb", output(GRAM, "passed"))
    graded(tmp_path / "ada" / "c.ipynb", output(GRAM, "wrong", "not divided by M"))
    found = report.read(tmp_path)
    assert found.status("ada", GRAM) == "passed"
    assert {name for _, name, _ in found.mistakes()} == {"divided by C", "not divided by M"}


def test_damaged_files_are_named_and_the_others_are_read(course: Path) -> None:
    place = course / "autograded"
    (place / "eve").mkdir()
    (place / "eve" / "a.ipynb").write_text("{")
    graded(place / "fay" / "a.ipynb", output(GRAM, "perhaps"))
    (place / "gil.json").write_text("{")
    (place / "hal.json").write_text('{"exercises": {"texture.gram_matrix": 5}}')
    found = report.read(course)
    assert found.students == ("ada", "Ben", "chloë")
    assert len(found.unreadable) == 4
    assert not any(str(course) in line for line in found.unreadable)
    assert all(name in report.html(found) for name in ("gil.json", "hal.json", "fay", "eve"))


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        report.read(tmp_path / "none")
    graded(tmp_path / "ada.ipynb")
    with pytest.raises(DataError, match="No check has left a result"):
        report.write(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_page(course: Path, tmp_path: Path) -> None:
    path = report.write(course, tmp_path / "new" / "report.html")
    page = path.read_text(encoding="utf-8")
    assert "3 students, 3 exercises" in page
    assert "Gram matrix" in page and "not divided by M" in page and "chloë" in page
    assert "The numbers grow with the size of the picture." in page  # the symptom
    row = re.search(rf"{re.escape(GRAM)}.*?</tr>", page, re.DOTALL)[0]
    assert re.findall(r'class="number">(\d)', row) == ["1", "2", "0"]
    assert row.count('class="mark passed"') == 1 and row.count('class="mark wrong"') == 2
    assert "http" not in page and "<script" not in page


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    graded(tmp_path / "ada" / "a.ipynb", output(f"texture.{evil}", "wrong", evil))
    page = report.html(report.read(tmp_path))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_an_exercise_of_another_edition_is_shown_by_its_name(tmp_path: Path) -> None:
    graded(tmp_path / "a.ipynb", output("later.one", "wrong", "odd"), output(GRAM, "passed"))
    found = report.read(tmp_path)
    assert found.exercises == (GRAM, "later.one")
    assert "later.one" in report.html(found)


def test_a_report_that_cannot_be_written(course: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        report.write(course, tmp_path / "file" / "report.html")
