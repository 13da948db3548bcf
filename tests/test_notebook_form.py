"""The form of every committed notebook: what a reader, Colab and nbgrader rely on."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from coursekit import notebooks

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
TOPICS = [path for path in PATHS if not path.name.startswith("00_")]
ABSOLUTE = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|work|mnt|var|content)/|[A-Z]:\\\\?Users"
)

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
every_topic = pytest.mark.parametrize("path", TOPICS, ids=lambda path: path.stem)


def _code_cells(path: Path) -> list[dict[str, Any]]:
    cells = notebooks.read(path)["cells"]
    return [c for c in cells if c["cell_type"] == "code" and notebooks.source(c).strip()]


def _outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in _code_cells(path) for output in cell["outputs"]]


def _texts(output: dict[str, Any]) -> list[str]:
    """What a reader can read in an output: streams, texts and HTML, not the pictures."""
    data = output.get("data", {})
    parts = [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
    texts = ["".join(part) for part in parts]
    return [re.sub(r"data:[\w/+.;-]+base64,[\w+/=\s]+", "", text) for text in texts]


def test_there_are_notebooks_and_all_are_numbered() -> None:
    assert PATHS and notebooks.paths() == PATHS


@every_notebook
def test_it_is_a_valid_notebook(path: Path) -> None:
    import nbformat

    nbformat.validate(nbformat.read(path, as_version=4))


@every_notebook
def test_it_is_in_the_form_that_is_committed(path: Path) -> None:
    stripped = notebooks.strip(notebooks.read(path))
    text = json.dumps(stripped, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    same = path.read_text(encoding="utf-8") == text
    assert same, f"run: coursekit strip {path.stem}"


@every_notebook
def test_badge_and_setup_cell_name_the_repository(path: Path) -> None:
    cells = notebooks.read(path)["cells"]
    repository = notebooks.repository()
    first_line = notebooks.source(cells[0]).split("\n")[0]
    assert cells[0]["cell_type"] == "markdown"
    assert first_line == notebooks.badge_line(path.name, repository)
    assert notebooks.source(_code_cells(path)[0]) == notebooks.setup_cell(repository)


@every_notebook
def test_it_ran_from_top_to_bottom_without_errors(path: Path) -> None:
    cells = _code_cells(path)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    assert [out for out in _outputs(path) if out["output_type"] == "error"] == []


@every_notebook
def test_no_output_names_a_place_on_a_machine(path: Path) -> None:
    texts = [text for output in _outputs(path) for text in _texts(output)]
    found = [match[0] for text in texts for match in ABSOLUTE.finditer(text)]
    assert found == []


@every_notebook
def test_it_is_small_enough(path: Path) -> None:
    assert path.stat().st_size <= 3_000_000
    lengths = [len(notebooks.source(cell).splitlines()) for cell in _code_cells(path)]
    assert max(lengths) <= 40


@every_topic
def test_it_shows_pictures(path: Path) -> None:
    kinds = [kind for output in _outputs(path) for kind in output.get("data", {})]
    assert sum(kind.startswith("image/") for kind in kinds) >= 3


@every_topic
def test_its_exercises_exist(path: Path) -> None:
    from coursekit.exercises import engine

    source = "\n".join(notebooks.source(cell) for cell in _code_cells(path))
    checked = re.findall(r"""\bcheck\(\s*["']([\w.]+)["']""", source)
    assert len(set(checked)) >= 4
    # 02_gram_textures checks texture.…, 07_gan_dcgan checks dcgan.…
    (topic,) = {exercise.partition(".")[0] for exercise in checked}
    assert topic in path.stem
    for exercise in checked:
        assert engine.find(exercise).id == exercise


@every_topic
def test_each_answer_is_followed_by_its_check(path: Path) -> None:
    """Nbgrader's metadata: a cell to write in, then a locked one that gives the points."""
    marked = [c for c in notebooks.read(path)["cells"] if "nbgrader" in c["metadata"]]
    grader = [cell["metadata"]["nbgrader"] for cell in marked]
    pairs = [
        (answer, test)
        for answer, test in pairwise(grader)
        if answer.get("solution") and not answer.get("grade") and test.get("grade")
    ]
    assert len(pairs) >= 4
    assert all(test["locked"] and not test["solution"] and test["points"] > 0 for _, test in pairs)


@every_notebook
def test_grader_ids_are_unique(path: Path) -> None:
    cells = notebooks.read(path)["cells"]
    ids = [c["metadata"]["nbgrader"]["grade_id"] for c in cells if "nbgrader" in c["metadata"]]
    assert len(ids) == len(set(ids)) and all(ids)


def test_the_search_for_places_finds_them() -> None:
    for top in ("home", "root", "tmp"):
        assert ABSOLUTE.search(f"in /{top}/ada/x") and ABSOLUTE.search(f"'/{top}/.cache'"), top
    assert ABSOLUTE.search("C:\\" + "Users\\ada")
    for fine in ("https://a.org/home/x", "data/styles/a.jpg", "and/or", "1/var/2"):
        assert not ABSOLUTE.search(fine), fine
