"""What a check says: as text, as HTML, and as data for a report."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from coursekit.exercises.declarations import Answer, Exercise
from coursekit.exercises.heat import heat_map
from coursekit.exercises.messages import data, say

CHECK_MIME = "application/vnd.coursekit.check+json"
_COLOURS = {"passed": "#2e7d32", "wrong": "#c62828"}


@dataclass
class Result:
    """The outcome of a check.

    Attributes:
        exercise: what was checked.
        status: ``"passed"``, ``"wrong"`` or ``"not started"``.
        layer: where it stopped: ``"contract"``, ``"values"``, ``"gradient"``, ``"property"``,
            ``"behaviour"`` (of what was measured, too), or ``""``.
        message: what is wrong and the likely cause, in a few sentences.
        mistake: the name of the catalogued mistake that does the same, if one does; of two at
            once, both names with a plus between them.
        certainty: how much of the answer that mistake reproduces: ``"certain"`` (values and
            gradients of all cases), ``"likely"`` (the values), ``"possible"`` (this case), or
            ``""`` without a mistake.
        note: a remark that changes nothing, such as that chance is involved.
        answer: what the student wrote, if there was anything to run.
        use: what later cells run, ``"course"`` or ``"mine"`` (see `function`).
        expected, got: the values that differ, where there are any to show.
        shown: whether `check` has shown it; then it is not shown again as the value of a cell.
    """

    exercise: Exercise
    status: str
    layer: str = ""
    message: str = ""
    mistake: str | None = None
    certainty: str = ""
    note: str = ""
    answer: Answer | None = field(default=None, repr=False)
    use: str = "course"
    expected: Tensor | None = field(default=None, repr=False)
    got: Tensor | None = field(default=None, repr=False)
    shown: bool = field(default=False, repr=False)
    _hints_given: int = field(default=0, repr=False)

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.status == "passed"

    @property
    def function(self) -> Answer:
        """What later cells run: the course's own function, whatever the student wrote.

        With ``check(…, use="mine")`` it is the student's, once that has passed.
        """
        if self._own_is_used and self.answer is not None:
            return self.answer
        return self.exercise.reference

    @property
    def _own_is_used(self) -> bool:
        return self.use == "mine" and self.passed

    def hint(self) -> str:
        """The next hint; call again for the one after it."""
        hints = self.exercise.hints
        if self._hints_given >= len(hints):
            return say("no more hints")
        self._hints_given += 1
        number = self._hints_given
        text = data(f"{self.exercise.id}/hint/{number}", hints[number - 1])
        return say("hint", number=number, count=len(hints), text=text)

    def __str__(self) -> str:
        title = data(f"{self.exercise.id}/title", self.exercise.title)
        facts = {"message": self.message, "cases": len(self.exercise.cases)}
        lines = [say(self.status, title=title, **facts), self.note]
        if self._own_is_used:
            lines.append(say("downstream mine"))
        elif self.status == "wrong" or (self.use == "mine" and self.status != "not started"):
            lines.append(say("downstream course"))
        return "\n".join(line for line in lines if line)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # Inline styles only: they survive a notebook that is not trusted.
        colour = _COLOURS.get(self.status, "#757575")
        text = html.escape(str(self)).replace("\n", "<br>")
        if self.status == "wrong" and self.expected is not None and self.got is not None:
            text += heat_map(self.expected, self.got)
        if self.status == "wrong" and self.exercise.hints:
            text += f"<br><small>{html.escape(say('more'))}</small>"
        return (
            f'<div style="border-left:4px solid {colour};padding:4px 10px;font-family:monospace;'
            'white-space:pre-wrap">'
            f"{text}</div>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        facts = {
            "id": self.exercise.id,
            "status": self.status,
            "layer": self.layer,
            "mistake": self.mistake,
            "points": self.exercise.points,
        }
        return {"text/plain": str(self), "text/html": self._repr_html_(), CHECK_MIME: facts}

    def _ipython_display_(self) -> None:
        # Not as a cell's last value once it was shown: nbgrader takes that for points.
        if not self.shown:
            raise NotImplementedError("IPython asks the methods above then")
