"""How many wrong answers the checks reject: `coursekit exercises --score`.

The wrong answers are `mutate.mutants` of each reference. A mutant that passes is equivalent if it
has the reference's values and gradients on other random inputs of every case too, or if a person
has said so in `EQUIVALENT`; all others that pass are holes in the exercise.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from coursekit.exercises import blocking, engine, guard, running
from coursekit.exercises.declarations import Answer, Case, Exercise
from coursekit.exercises.equivalent import EQUIVALENT
from coursekit.exercises.mutate import Mutant, mutants

INPUTS = 4


@dataclass(frozen=True)
class Score:
    """The outcome for one exercise.

    Attributes:
        exercise: which one.
        rejected: how many mutants the check rejects.
        equivalent: mutants that pass and compute the same.
        survivors: mutants that pass and do not.
    """

    exercise: Exercise
    rejected: int
    equivalent: tuple[str, ...]
    survivors: tuple[str, ...]

    @property
    def share(self) -> float:
        """Rejected of all that are not equivalent."""
        return self.rejected / max(self.rejected + len(self.survivors), 1)


def score(exercise: Exercise, step: int = 1) -> Score:
    """Check every mutant of the reference; with ``step``, every so many."""
    with blocking.off():
        passing = mutants(exercise.reference, step)
        total = len(passing)
        passing = [mutant for mutant in passing if _passes(exercise, mutant)]
        same = [mutant.name for mutant in passing if _is_equivalent(exercise, mutant)]
    survivors = tuple(mutant.name for mutant in passing if mutant.name not in same)
    return Score(exercise, total - len(passing), tuple(same), survivors)


def _passes(exercise: Exercise, mutant: Mutant) -> bool:
    return engine.judge(exercise, mutant.function, explain=False).passed


def _is_equivalent(exercise: Exercise, mutant: Mutant) -> bool:
    if mutant.name in EQUIVALENT.get(exercise.id, {}):
        return True
    with guard.kept():
        return all(
            _same(exercise, mutant.function, case, number)
            for number in range(1, INPUTS + 1)
            for case in exercise.cases
        )


def _same(exercise: Exercise, function: Answer, case: Case, number: int) -> bool:
    """Whether values and gradients agree on a case with other inputs."""
    other = _other_inputs(exercise, case, number)
    if other is None:
        return True
    with reseeded(1000 * number):
        try:
            mine, theirs = (
                running.parts(running.plainly(exercise, each, other))
                for each in (function, exercise.reference)
            )
            if not running.same_parts(mine, theirs, case.tolerance):
                return False
            if not exercise.gradient:
                return True
            both = (function, exercise.reference)
            found, expected = (running.gradients(exercise, each, other) for each in both)
        except Exception:
            return False
    return running.same_gradients(found, expected, case.tolerance)


def _other_inputs(exercise: Exercise, case: Case, number: int) -> Case | None:
    """The case with other random numbers; what is fixed in it is moved a little.

    Whole numbers move too, unless the reference cannot do with them.
    """
    for whole in (number, 0):

        def make(whole: int = whole) -> tuple[Any, ...]:
            usual = case.make()
            with reseeded(1000 * number):
                other = case.make()
            random = torch.Generator().manual_seed(number)
            pairs = zip(other, usual, strict=True)
            return tuple(_moved(each, before, random, whole) for each, before in pairs)

        moved = dataclasses.replace(case, make=make)
        try:
            running.parts(running.plainly(exercise, exercise.reference, moved))
        except Exception:
            continue
        return moved
    return None


def _moved(value: Any, usual: Any, random: torch.Generator, whole: int) -> Any:
    """``value``; where it is what it always is, a smaller number or a larger whole number."""
    if isinstance(value, torch.Tensor):
        same = value.shape == usual.shape and torch.equal(value, usual)
        if not same or not value.is_floating_point():
            return value
        return value * (1 - 0.3 * torch.rand(value.shape, generator=random))
    if isinstance(value, float):
        return value * (1 - 0.3 * float(torch.rand((), generator=random)))
    if isinstance(value, int) and not isinstance(value, bool):
        return value + whole
    if type(value) in (list, tuple):
        pairs = zip(value, usual, strict=True)
        return type(value)(_moved(each, before, random, whole) for each, before in pairs)
    return value


@contextmanager
def reseeded(offset: int) -> Iterator[None]:
    """Cases draw their inputs from generators with a seed; here with another one."""
    real = torch.Generator

    class Other:
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            self._generator = real(*arguments, **keywords)

        def manual_seed(self, seed: int) -> torch.Generator:
            return self._generator.manual_seed(seed + offset)

    with mock.patch.object(torch, "Generator", Other):
        yield


def exercises(topics: Sequence[str] = ()) -> list[Exercise]:
    """All exercises of these topics, or of every topic that has some."""
    chosen = topics or engine.TOPICS
    there = [t for t in chosen if importlib.util.find_spec(f"coursekit.exercises.{t}")]
    return [exercise for topic in there for exercise in engine.of_topic(topic)]


def table(topics: Sequence[str] = (), *, scored: bool = False) -> Iterator[str]:
    """Lines that list the exercises; with ``scored``, what their checks reject."""
    head = f"{'exercise':<36} {'level':<5} {'points':>6} {'mistakes':>8}"
    yield head + (f" {'mutants':>7} {'equal':>5} {'rejected':>8}" if scored else "")
    for exercise in exercises(topics):
        facts = f"{exercise.points:>6} {len(exercise.mistakes):>8}"
        line = f"{exercise.id:<36} {exercise.difficulty:<5} {facts}"
        if scored:
            found = score(exercise)
            count = found.rejected + len(found.survivors) + len(found.equivalent)
            line += f" {count:>7} {len(found.equivalent):>5} {found.share:>8.1%}"
            line += "".join(f"\n    passes: {name}" for name in found.survivors)
        yield line
