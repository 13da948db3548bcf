"""The whole round with nbgrader: release, three submissions, grades, feedback, the class page."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coursekit import instructor, notebooks, report

NAME = "02_gram_textures"
NOT_DIVIDED = """\
def gram_matrix(features):
    rows = features.flatten(2)
    return rows @ rows.mT"""
WARNS = """\
def gram_matrix(features):
    import sys
    print("thinking", file=sys.stderr)
    rows = features.flatten(2)
    return rows @ rows.mT / rows.shape[2]"""
ENDLESS = """\
def gram_matrix(features):
    while True:
        pass"""


def nbgrader(course: Path, *arguments: str) -> str:
    """Run nbgrader as an instructor does in the activated environment."""
    scripts = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    env.pop("COURSEKIT_GRADING", None)
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def submit(course: Path, student: str, answers: dict[str, str]) -> None:
    """Hand in the released notebook with some of its answer cells filled in."""
    released = course / "release" / NAME / f"{NAME}.ipynb"
    notebook = notebooks.read(released)
    for index, exercise in instructor.exercises_of(notebook).items():
        if exercise.id in answers:
            notebooks.set_source(notebook["cells"][index], answers[exercise.id])
    place = course / "submitted" / student / NAME
    place.mkdir(parents=True)
    notebooks.write(place / released.name, notebook)


@pytest.mark.slow
def test_three_submissions_from_release_to_grades(tmp_path: Path, checkout: Path) -> None:
    course = tmp_path / "course"
    (source,) = instructor.release([checkout / "notebooks" / f"{NAME}.ipynb"], course)
    exercises = list(instructor.exercises_of(notebooks.read(source)).values())
    nbgrader(course, "generate_assignment", NAME)
    right = {exercise.id: instructor.solution(exercise) for exercise in exercises}
    submit(course, "ada", right | {"texture.gram_matrix": WARNS})
    submit(course, "ben", {"texture.gram_matrix": NOT_DIVIDED})
    submit(course, "cai", right | {"texture.gram_matrix": ENDLESS})

    said = nbgrader(course, "autograde", NAME)
    assert "Cell output is" not in said  # its complaint about a value that is no number
    nbgrader(course, "generate_feedback", NAME)
    nbgrader(course, "export")

    whole = sum(exercise.points for exercise in exercises)
    gram = next(e.points for e in exercises if e.id == "texture.gram_matrix")
    with (course / "grades.csv").open(encoding="utf-8", newline="") as file:
        grades = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {float(row["max_score"]) for row in grades.values()} == {whole}
    scores = {student: float(row["score"]) for student, row in grades.items()}
    assert scores == {"ada": whole, "ben": 0, "cai": whole - gram}

    feedback = course / "feedback" / "ben" / NAME / f"{NAME}.html"
    text = feedback.read_text(encoding="utf-8")
    assert "The numbers grow with the size of the picture" in text
    assert instructor.BEGIN not in text

    found = report.read(course)
    assert found.students == ("ada", "ben", "cai")
    assert found.mistakes() == [("texture.gram_matrix", "not divided by M", 1)]
    assert found.status("ada", "texture.gram_matrix") == "passed"
    assert found.status("cai", "texture.gram_matrix") == "wrong"
    assert found.status("ben", "texture.style_loss") == "not started"
    assert "not divided by M" in report.html(found)
