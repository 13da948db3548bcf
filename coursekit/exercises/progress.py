"""Which exercises are done: a small file in the user's data folder, and how it is shown.

The file is ``{"version": 1, "exercises": {id: {"status", "mistake", "attempts", "mistakes"}}}``:
the latest status (``"passed"``, ``"wrong"`` or ``"not started"``), the latest named mistake, how
often an answer that was begun was checked, and how often each named mistake was made. An untouched
stub never takes back what was noted before. `check` goes on where the file cannot be written.
"""

from __future__ import annotations

import html
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursekit.exercises import registry
from coursekit.exercises.messages import data, say
from coursekit.topics import TOPICS

if TYPE_CHECKING:
    from coursekit.exercises.declarations import Exercise
    from coursekit.exercises.results import Result

VERSION = 1
WAIT = 5.0
Records = dict[str, dict[str, Any]]
_told = False

_COLOURS = {"passed": "#2e7d32", "wrong": "#c62828", "not started": "#757575"}
_MARKS = {"passed": "●", "wrong": "◐", "not started": "○"}
_WORDS = {
    "passed": "progress done",
    "wrong": "progress wrong",
    "not started": "progress not started",
}


def path() -> Path | None:
    """The file: ``COURSEKIT_PROGRESS``, or one in the user's data folder; none on ``ci``."""
    given = os.environ.get("COURSEKIT_PROGRESS")
    if given:
        return Path(given).expanduser()
    if os.environ.get("COURSEKIT_PRESET") == "ci":
        return None
    import platformdirs

    return Path(platformdirs.user_data_dir("coursekit", appauthor=False)) / "progress.json"


def read(file: Path | None = None) -> Records:
    """What has been noted, by exercise; nothing where there is no file or no sense in it."""
    file = file or path()
    try:
        records = json.loads(file.read_text(encoding="utf-8"))["exercises"] if file else {}
        return {id: {**_blank(), **record} for id, record in records.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _blank() -> dict[str, Any]:
    return {"status": "not started", "mistake": None, "attempts": 0, "mistakes": {}}


def record(result: Result) -> None:
    """Note the outcome of a check. Prints one line in a session if that is impossible."""
    global _told
    file = path()
    if file is None or result.exercise.topic == registry.DEMONSTRATION:
        return
    from filelock import FileLock, Timeout

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=WAIT):
            records = read(file)
            _note(records.setdefault(result.exercise.id, _blank()), result)
            _replace(file, {"version": VERSION, "exercises": records})
    except (OSError, Timeout, ValueError, NotImplementedError) as error:
        if not _told:
            print(say("progress unwritable", reason=type(error).__name__), file=sys.stderr)
            _told = True


def _note(record: dict[str, Any], result: Result) -> None:
    if result.status == "not started":
        return
    record["status"], record["mistake"] = result.status, result.mistake
    record["attempts"] += 1
    if result.mistake is not None:
        counts = record["mistakes"]
        counts[result.mistake] = counts.get(result.mistake, 0) + 1


def _replace(file: Path, content: dict[str, Any]) -> None:
    """Write all of it or nothing."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, ensure_ascii=False, indent=1, sort_keys=True)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# --- Shown ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One exercise and what has become of it."""

    exercise: Exercise
    status: str
    attempts: int
    mistake: str | None


@dataclass(frozen=True)
class Progress:
    """All exercises of the course, in order; shows itself as text or HTML.

    Attributes:
        lines: one an exercise.
    """

    lines: tuple[Line, ...]

    def of(self, status: str) -> tuple[Line, ...]:
        """The exercises with this status: ``"passed"``, ``"wrong"`` or ``"not started"``."""
        return tuple(line for line in self.lines if line.status == status)

    @property
    def summary(self) -> str:
        """How many are done, in one line."""
        done = self.of("passed")
        return say(
            "progress",
            done=len(done),
            all=len(self.lines),
            points=sum(line.exercise.points for line in done),
            points_all=sum(line.exercise.points for line in self.lines),
        )

    def _topics(self) -> Iterator[tuple[str, list[Line]]]:
        for topic in dict.fromkeys(line.exercise.topic for line in self.lines):
            yield topic, [line for line in self.lines if line.exercise.topic == topic]

    def __str__(self) -> str:
        text = [self.summary]
        for topic, lines in self._topics():
            text.append(topic)
            for line in lines:
                word = say(_WORDS[line.status])
                text.append(f"  {_MARKS[line.status]} {_title(line):<52} {word}")
        return "\n".join(text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for topic, lines in self._topics():
            rows.append(
                '<tr><th colspan="3" style="text-align:left;padding:8px 12px 2px 4px">'
                f"{html.escape(topic)}</th></tr>"
            )
            rows += [_row(line) for line in lines]
        table = f'<table style="border-collapse:collapse">{"".join(rows)}</table>'
        return f"<div><b>{html.escape(self.summary)}</b>{table}</div>"


def _title(line: Line) -> str:
    return data(f"{line.exercise.id}/title", line.exercise.title)


def _row(line: Line) -> str:
    colour = _COLOURS[line.status]
    word = html.escape(say(_WORDS[line.status]))
    cell = "text-align:left;padding:1px 12px 1px 4px"
    return (
        f'<tr><td style="{cell}">{html.escape(_title(line))}</td>'
        f'<td style="{cell};color:{colour}">{_MARKS[line.status]} {word}</td>'
        f'<td style="{cell}">{html.escape(line.mistake or "")}</td></tr>'
    )


def progress() -> Progress:
    """Done, wrong or not started, for every exercise of the course: `coursekit.progress()`."""
    records, lines = read(), []
    for topic in TOPICS:
        if importlib.util.find_spec(f"coursekit.exercises.{topic}") is None:
            continue
        for exercise in registry.of_topic(topic):
            known = records.get(exercise.id, _blank())
            status = known["status"] if known["status"] in _MARKS else "not started"
            lines.append(Line(exercise, status, known["attempts"], known["mistake"]))
    return Progress(tuple(lines))
