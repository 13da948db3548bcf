"""One page for the class: who solved what, which named mistakes were made, what nobody began.

Reads graded notebooks (the outputs of their checks) or progress files. No network, no database.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursekit import notebooks
from coursekit.core.atomic import write_text
from coursekit.core.errors import CourseError, DataError
from coursekit.exercises import engine

MIME = "application/vnd.coursekit.check+json"
STATUSES = ("passed", "wrong", "not started")
_PAGE = Path(__file__).with_name("report.html.j2")
_SIGNS = {"passed": "✓", "wrong": "✗", "not started": "·", "": ""}


@dataclass(frozen=True)
class Record:
    """How one student stands with one exercise; ``mistakes`` counts the named ones by name."""

    student: str
    exercise: str
    status: str
    mistakes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Class:
    """Everything that was found.

    Attributes:
        records: by student and exercise.
        students: their names, sorted.
        exercises: those that somebody's file names, in the order of the course.
        unreadable: files that could not be read, and why.
    """

    records: dict[tuple[str, str], Record]
    students: tuple[str, ...]
    exercises: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    def status(self, student: str, exercise: str) -> str:
        """One of `STATUSES`, or ``""`` where there is no record."""
        found = self.records.get((student, exercise))
        return found.status if found else ""

    def mistakes(self) -> list[tuple[str, str, int]]:
        """(exercise, name of the mistake, how many students made it), the most frequent first."""
        made = Counter(
            (record.exercise, name) for record in self.records.values() for name in record.mistakes
        )
        return [(*key, count) for key, count in sorted(made.items(), key=lambda e: (-e[1], e[0]))]

    def never_started(self) -> list[str]:
        """Exercises that no student has begun."""
        begun = {r.exercise for r in self.records.values() if r.status in ("passed", "wrong")}
        return [exercise for exercise in self.exercises if exercise not in begun]


def read(submissions: Path | str) -> Class:
    """Read a folder of submissions.

    Args:
        submissions: an nbgrader course directory (its ``autograded`` folder is read), or any
            folder with executed notebooks or progress files (``*.json``): one folder a student,
            or one file a student, ``ada.ipynb``, ``ada.json``.

    Raises:
        DataError: there is no such folder, or nothing in it that a check has left.
    """
    top = Path(submissions)
    if not top.is_dir():
        raise DataError(f"There is no folder {str(top)!r}; give the folder of submissions.")
    top = top / "autograded" if (top / "autograded").is_dir() else top
    records: dict[tuple[str, str], Record] = {}
    unreadable = []
    for path in sorted(top.rglob("*")):
        if path.suffix not in (".ipynb", ".json") or ".ipynb_checkpoints" in path.parts:
            continue
        try:
            found = _read_one(path, _student(path.relative_to(top)))
        except CourseError as error:
            unreadable.append(str(error).replace(f"{top}{os.sep}", ""))
            continue
        for record in found:
            key = record.student, record.exercise
            records[key] = _joined(records.get(key), record)
    if not records:
        raise DataError(
            f"No check has left a result under {str(top)!r}. Grade the notebooks first (nbgrader "
            "autograde), or give a folder of executed notebooks or progress files."
        )
    students = tuple(sorted({record.student for record in records.values()}, key=str.casefold))
    named = {record.exercise for record in records.values()}
    return Class(records, students, tuple(_in_order(named)), tuple(unreadable))


def _student(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else path.stem


def _read_one(path: Path, student: str) -> list[Record]:
    if path.is_symlink():  # it could show the work of somebody else
        raise DataError(f"{path} is a link; hand in the file itself.")
    read = _from_notebook if path.suffix == ".ipynb" else _progress
    try:
        return list(read(path, student))
    except (AttributeError, TypeError, ValueError, LookupError) as error:  # not of that form
        raise DataError(f"{path} is not of the form that the course writes ({error}).") from error


def _from_notebook(path: Path, student: str) -> Iterator[Record]:
    """What the checks of an executed notebook left in its outputs."""
    for cell in notebooks.read(path)["cells"]:
        for output in cell.get("outputs", ()):
            found = output.get("data", {}).get(MIME)
            if isinstance(found, dict):
                yield _record(student, found, path)


def _record(student: str, found: dict[str, Any], path: Path) -> Record:
    exercise, status, mistake = (found.get(name) for name in ("id", "status", "mistake"))
    if not isinstance(exercise, str) or status not in STATUSES:
        raise DataError(f"{path} holds a result of a check that cannot be read.")
    return Record(student, exercise, status, {str(mistake): 1} if mistake else {})


def _progress(path: Path, student: str) -> Iterator[Record]:
    """A progress file; another JSON file yields nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a readable progress file ({error}).") from error
    entries = found.get("exercises") if isinstance(found, dict) else None
    for exercise, entry in entries.items() if isinstance(entries, dict) else ():
        if not isinstance(entry, dict) or entry.get("status") not in STATUSES:
            raise DataError(f"{path} is no progress file of this course: {exercise!r} is odd.")
        yield Record(student, exercise, entry["status"], dict(entry.get("mistakes") or {}))


def _joined(before: Record | None, record: Record) -> Record:
    """The better of two statuses, and the mistakes of both."""
    if before is None:
        return record
    status = min(before.status, record.status, key=STATUSES.index)
    mistakes = Counter(before.mistakes) + Counter(record.mistakes)
    return Record(record.student, record.exercise, status, dict(mistakes))


def _in_order(named: Iterable[str]) -> list[str]:
    """Exercises in the order of the course; unknown ones last."""
    places = {topic: place for place, topic in enumerate(engine.TOPICS)}
    known = {
        exercise.id: index
        for topic in {name.split(".")[0] for name in named} & places.keys()
        for index, exercise in enumerate(engine.of_topic(topic))
    }

    def place(name: str) -> tuple[int, int, str]:
        return places.get(name.split(".")[0], len(places)), known.get(name, len(known)), name

    return sorted(named, key=place)


# --- The page -------------------------------------------------------------------------------------


def write(submissions: Path | str, path: Path | str) -> Path:
    """Read the submissions and write the page, one self-contained HTML file.

    Raises:
        DataError: as `read`; or the page cannot be written (an older one is still there).
    """
    page, path = html(read(submissions)), Path(path)
    write_text(path, page)
    return path


def html(found: Class) -> str:
    """The page as text. Everything that comes from submissions is escaped."""
    from jinja2 import Environment

    rows = [(exercise, _title(exercise), _shares(found, exercise)) for exercise in found.exercises]
    mistakes = [(e, _title(e), name, _symptom(e, name), n) for e, name, n in found.mistakes()]
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(_PAGE.read_text(encoding="utf-8")).render(
        found=found,
        rows=rows,
        mistakes=mistakes,
        never=[(exercise, _title(exercise)) for exercise in found.never_started()],
        signs=_SIGNS,
    )


def _exercise(id: str) -> engine.Exercise | None:
    try:
        return engine.find(id)
    except CourseError:
        return None


def _title(id: str) -> str:
    found = _exercise(id)
    return found.title if found else id


def _symptom(id: str, mistake: str) -> str:
    found = _exercise(id)
    named = {each.name: each.symptom for each in found.mistakes} if found else {}
    return named.get(mistake, "")


def _shares(found: Class, exercise: str) -> dict[str, int]:
    return Counter(found.status(student, exercise) for student in found.students)
