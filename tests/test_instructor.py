"""Solved editions and the nbgrader course: right everywhere, and nothing given away."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from coursekit import instructor, notebooks
from coursekit.core.errors import DataError
from coursekit.exercises import engine
from coursekit.exercises.engine import Case, Exercise, check
from coursekit.notebooks import Notebook

HERE = [
    topic for topic in engine.TOPICS if importlib.util.find_spec(f"coursekit.exercises.{topic}")
]
EXERCISES = [exercise for topic in HERE for exercise in engine.of_topic(topic)]
GRADED = instructor.graded(notebooks.paths())

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.id)
every_notebook = pytest.mark.parametrize("path", GRADED, ids=lambda path: path.stem)

LIMIT = 3


def reference(values: list[float], scale: float = 2.0, *, most: int = LIMIT) -> list[float]:
    """Not this docstring."""
    kept: list[Any] = [each * scale for each in values]

    def cut(part: list[float]) -> list[float]:
        # A comment of the solution.
        return part[:most]

    return cut(kept) if ast else []


def lines(*text: str) -> str:
    return "\n".join(text)


DEMO = Exercise(
    id="demo.reference",
    title="Demo",
    points=1,
    stub=lines(
        "def demo(",
        "    values,",
        "):",
        '    """Double the first three.',
        "",
        "    Two lines.",
        '    """',
        '    raise NotImplementedError("your turn")',
    ),
    reference=reference,
    cases=(Case("some", lambda: ([1.0],)),),
    hints=(),
)


def as_function(source: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    name = ast.parse(source).body[0].name
    return namespace[name]


# --- One answer -----------------------------------------------------------------------------------


def test_a_solution_has_the_stubs_head_and_the_references_body() -> None:
    source = instructor.solution(DEMO, marked=True)
    assert source.startswith(DEMO.stub[: DEMO.stub.index("    raise")])
    assert source.splitlines()[7:] == [
        "    ### BEGIN SOLUTION",
        "    import ast",
        "    from test_instructor import LIMIT",
        "    from typing import Any",
        "",
        "    scale = 2.0",
        "    most = LIMIT",
        "    kept: list[Any] = [each * scale for each in values]",
        "",
        "    def cut(part: list[float]) -> list[float]:",
        "        # A comment of the solution.",
        "        return part[:most]",
        "",
        "    return cut(kept) if ast else []",
        "    ### END SOLUTION",
    ]
    assert instructor.solution(DEMO) == "\n".join(
        line for line in source.splitlines() if "###" not in line
    )
    assert as_function(source)([1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0]


@every_exercise
def test_every_solution_stands_alone_and_passes(exercise: Exercise) -> None:
    source = instructor.solution(exercise)
    assert "NotImplementedError" not in source
    result = check(exercise.id, as_function(source))
    assert result.passed, f"{result}\n{source}"


def test_a_reference_without_source_is_said() -> None:
    import dataclasses

    with pytest.raises(DataError, match="cannot be read"):
        instructor.solution(dataclasses.replace(DEMO, reference=len))


# --- Notebooks ------------------------------------------------------------------------------------


@every_notebook
def test_a_solved_edition_differs_in_its_answers_alone(path: Path, tmp_path: Path) -> None:
    (written,) = instructor.solve([path], tmp_path / "solved")
    before, after = notebooks.read(path), notebooks.read(written)
    answers = instructor.exercises_of(before)
    assert len(answers) >= 4
    for index, (old, new) in enumerate(zip(before["cells"], after["cells"], strict=True)):
        assert old["metadata"] == new["metadata"]
        if index in answers:
            assert "NotImplementedError" in notebooks.source(old)
            assert notebooks.source(new) == instructor.solution(answers[index])
        else:
            assert notebooks.source(old) == notebooks.source(new)
        assert not new.get("outputs")


@every_notebook
def test_without_what_stands_between_the_markers_it_is_the_students_notebook(path: Path) -> None:
    """What nbgrader will do: the part between the markers becomes the stub's last line."""
    before = notebooks.read(path)
    marked = instructor.solved(before, marked=True)
    for old, new in zip(before["cells"], marked["cells"], strict=True):
        head, begin, rest = notebooks.source(new).partition(f"    {instructor.BEGIN}\n")
        source = head
        if begin:
            _, end, tail = rest.partition(f"    {instructor.END}")
            assert end
            source = head + '    raise NotImplementedError("your turn")' + tail
        assert source.rstrip() == notebooks.source(old).rstrip()


def test_the_points_of_a_notebook_are_those_of_its_exercises() -> None:
    for path in GRADED:
        notebook = notebooks.read(path)
        cells, exercises = notebook["cells"], instructor.exercises_of(notebook)
        points = [c["metadata"]["nbgrader"] for c in cells if "nbgrader" in c["metadata"]]
        assert [each["points"] for each in points if each.get("grade")] == [
            exercise.points for exercise in exercises.values()
        ]


def test_the_notebooks_themselves_are_not_replaced(tmp_path: Path) -> None:
    notebooks.write(tmp_path / "01_a.ipynb", notebook())
    with pytest.raises(DataError, match="choose another folder"):
        instructor.solve([tmp_path / "01_a.ipynb"], tmp_path)


def notebook(*cells: tuple[str, dict[str, Any]]) -> Notebook:
    return {
        "cells": [
            {
                "cell_type": "code",
                "source": source,
                "metadata": {"nbgrader": grader} if grader else {},
                "outputs": [],
                "execution_count": 1,
            }
            for source, grader in cells
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_a_graded_cell_without_a_check_is_said() -> None:
    broken = notebook(("def f(): ...", {"solution": True}), ("f()", {"grade": True}))
    with pytest.raises(DataError, match="no check"):
        instructor.exercises_of(broken)


# --- The nbgrader course --------------------------------------------------------------------------


def test_a_course_directory_is_made_and_made_again(tmp_path: Path) -> None:
    written = instructor.release(notebooks.paths(), tmp_path)
    assert [path.stem for path in written] == [path.stem for path in GRADED]
    assert all(path.parent == tmp_path / "source" / path.stem for path in written)
    config = tmp_path / instructor.CONFIG
    config.write_text(config.read_text() + "\n# mine\n")
    (tmp_path / "submitted" / "ada").mkdir(parents=True)
    written[0].write_text("damaged")
    assert instructor.release(notebooks.paths(), tmp_path) == written
    assert config.read_text().endswith("# mine\n")
    assert (tmp_path / "submitted" / "ada").is_dir()
    assert instructor.BEGIN in written[0].read_text(encoding="utf-8")


def test_nothing_to_grade_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    (empty := tmp_path / "00_empty.ipynb").write_text("")
    notebooks.write(empty, notebook(("1 + 1", {})))
    with pytest.raises(DataError, match="nothing to grade"):
        instructor.release([empty], tmp_path / "course")
    assert not (tmp_path / "course").exists()
