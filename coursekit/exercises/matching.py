"""Which known mistake does what the student's function does, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from coursekit.exercises import running
from coursekit.exercises.declarations import Answer, Case, Exercise, Failed, Mistake
from coursekit.exercises.messages import data, say
from coursekit.exercises.running import Gradients, Parts, Trial

# How much of the answer a mistake reproduces, best first.
CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
_RANK = {CERTAIN: 2, LIKELY: 1, POSSIBLE: 0}


@dataclass(frozen=True)
class Suspect:
    """One known mistake, or one on top of another, as code."""

    mistakes: tuple[Mistake, ...]
    function: Answer

    @property
    def name(self) -> str:
        """The names of its mistakes, with a plus between two."""
        return " + ".join(mistake.name for mistake in self.mistakes)


@dataclass(frozen=True)
class Match:
    """A suspect that does the same on a case, and on how many of the others."""

    suspect: Suspect
    certainty: str

    def failed(self, exercise: Exercise, layer: str) -> Failed:
        """The failure by its name."""
        texts = [_text(exercise, mistake) for mistake in self.suspect.mistakes]
        message = texts[0]
        if len(texts) == 2:
            message = say("two mistakes", first=texts[0], second=texts[1])
        sure = say(self.certainty, cases=len(exercise.cases))
        name, certainty = self.suspect.name, self.certainty
        return Failed(layer, f"{message}\n{sure}", mistake=name, certainty=certainty)


def _text(exercise: Exercise, mistake: Mistake) -> str:
    key = f"{exercise.id}/mistake/{mistake.name}"
    symptom, cause = data(f"{key}/symptom", mistake.symptom), data(f"{key}/cause", mistake.cause)
    return say("mistake", symptom=symptom, cause=cause)


def singles(exercise: Exercise) -> Iterator[Suspect]:
    """Every catalogued mistake."""
    for mistake in exercise.mistakes:
        yield Suspect((mistake,), mistake.of(exercise.reference))


def pairs(exercise: Exercise) -> Iterator[Suspect]:
    """Every mistake that wraps, on top of every other one."""
    for outer in exercise.mistakes:
        for inner in exercise.mistakes if outer.wraps else ():
            if inner is not outer:
                yield Suspect((inner, outer), outer.wrong(inner.of(exercise.reference)))


def by_values(trial: Trial, case: Case, found: Parts, part: str | None = None) -> Match | None:
    """The mistake with the same result on ``case``; if none has it, one with the same ``part``.

    Of several the one that agrees on most of the other cases, gradients included.
    """
    exercise, partly = trial.exercise, None
    for group in (singles(exercise), pairs(exercise)):
        matching = []
        for suspect in group:
            theirs = _values(exercise, suspect.function, case)
            if theirs is None:
                continue
            if running.same_parts(found, theirs, case.tolerance):
                matching.append(suspect)
            elif part is not None and _says_much(found, theirs, part, case):
                partly = partly or suspect
        if matching:
            return _best(trial, matching)
    return Match(partly, POSSIBLE) if partly else None


def _says_much(found: Parts, theirs: Parts, part: str, case: Case) -> bool:
    """Whether one part is the same, and more than a yes or a count: those say little."""
    measured = found[part].is_floating_point()
    return measured and running.same_part(found, theirs, part, case.tolerance)


def by_gradients(trial: Trial, case: Case, found: Gradients) -> Match | None:
    """The mistake with the right values and the same gradients on ``case``."""
    exercise = trial.exercise
    right = _values(exercise, exercise.reference, case)
    matching = []
    for suspect in singles(exercise):
        theirs = _gradients(exercise, suspect.function, case)
        values = _values(exercise, suspect.function, case)
        if theirs is None or values is None or right is None:
            continue
        if running.same_gradients(theirs, found, case.tolerance) and running.same_parts(
            values, right, case.tolerance
        ):
            matching.append(suspect)
    return _best(trial, matching) if matching else None


def _best(trial: Trial, matching: list[Suspect]) -> Match | None:
    answers = _Answers(trial)
    found = [
        Match(suspect, answers.certainty(suspect))
        for suspect in matching
        if not answers.refute(suspect)
    ]
    return max(found, key=lambda match: _RANK[match.certainty], default=None)  # first of the best


class _Answers:
    """What the student's function does on every case, found out once."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._values = [self._try(_values, case) for case in trial.exercise.cases]
        self._gradients: list[Gradients | None] | None = None

    def refute(self, suspect: Suspect) -> bool:
        """Whether the student is right in a case in which this mistake is not."""
        exercise = self._trial.exercise
        for case, mine in zip(exercise.cases, self._values, strict=True):
            right = _values(exercise, exercise.reference, case)
            if mine is None or right is None or not running.same_parts(mine, right, case.tolerance):
                continue
            theirs = _values(exercise, suspect.function, case)
            if not _same_or_both_fail(right, theirs, case):
                return True
        return False

    def certainty(self, suspect: Suspect) -> str:
        exercise = self._trial.exercise
        for case, mine in zip(exercise.cases, self._values, strict=True):
            theirs = _values(exercise, suspect.function, case)
            if not _same_or_both_fail(mine, theirs, case):
                return POSSIBLE
        return CERTAIN if self._same_gradients(suspect) else LIKELY

    def _same_gradients(self, suspect: Suspect) -> bool:
        exercise = self._trial.exercise
        if not exercise.gradient:
            return True
        if self._gradients is None:
            self._gradients = [self._try(_gradients, case) for case in exercise.cases]
        for case, mine in zip(exercise.cases, self._gradients, strict=True):
            theirs = _gradients(exercise, suspect.function, case)
            if mine is None or theirs is None:
                if mine is not theirs:
                    return False
            elif not running.same_gradients(theirs, mine, case.tolerance):
                return False
        return True

    def _try(self, look: Callable[..., Any], case: Case) -> Any:
        trial = self._trial
        try:
            return running.told(
                trial, case, lambda: look(trial.exercise, trial.answer, case, caught=False)
            )
        except (Failed, NotImplementedError, running.BackwardError, TypeError):
            return None


def _same_or_both_fail(mine: Parts | None, theirs: Parts | None, case: Case) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return running.same_parts(mine, theirs, case.tolerance)


def _values(exercise: Exercise, function: Answer, case: Case, caught: bool = True) -> Parts | None:
    """Its outputs; ``None`` where a wrong implementation fails on a case."""
    try:
        return running.parts(running.plainly(exercise, function, case))
    except Exception:
        if not caught:
            raise
        return None


def _gradients(
    exercise: Exercise, function: Answer, case: Case, caught: bool = True
) -> Gradients | None:
    try:
        return running.gradients(exercise, function, case)
    except Exception:
        if not caught:
            raise
        return None
