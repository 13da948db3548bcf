"""Every exercise that the course has: its stub, its reference, its catalogue of mistakes."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import stub_of

from coursekit.exercises import blocking, engine, running
from coursekit.exercises.declarations import DIFFICULTIES
from coursekit.exercises.engine import Exercise, Mistake, check

HERE = [
    topic for topic in engine.TOPICS if importlib.util.find_spec(f"coursekit.exercises.{topic}")
]
EXERCISES = [exercise for topic in HERE for exercise in engine.of_topic(topic)]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]


def test_ids_are_unique_and_begin_with_their_topic() -> None:
    ids = [exercise.id for exercise in EXERCISES]
    assert len(ids) == len(set(ids))
    for topic in HERE:
        assert len(engine.of_topic(topic)) >= 4
        assert all(exercise.id.startswith(f"{topic}.") for exercise in engine.of_topic(topic))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_an_exercise_is_complete(exercise: Exercise) -> None:
    assert exercise.title
    assert exercise.points > 0
    assert len(exercise.hints) == 3
    assert len(set(exercise.hints)) == 3
    assert exercise.mistakes
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(names) == len(set(names))
    assert all(mistake.symptom and mistake.cause for mistake in exercise.mistakes)
    case_names = [case.name for case in exercise.cases]
    assert len(case_names) == len(set(case_names))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_stub_has_the_references_parameters_and_is_not_started(exercise: Exercise) -> None:
    stub = stub_of(exercise)
    assert stub.__name__ == exercise.id.split(".")[1]
    assert stub.__doc__
    mine = list(inspect.signature(stub).parameters.values())
    theirs = list(inspect.signature(exercise.reference).parameters.values())
    assert [p.name for p in mine] == [p.name for p in theirs[: len(mine)]]
    assert all(p.default is not p.empty for p in theirs[len(mine) :])
    assert check(exercise.id, stub).status == "not started"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_reference_passes_and_cases_are_reproducible(exercise: Exercise) -> None:
    result = check(exercise.id, exercise.reference)
    assert result.passed, str(result)
    for case in exercise.cases:
        for first, second in zip(
            running.leaves(case.make()), running.leaves(case.make()), strict=True
        ):
            assert torch.equal(first, second)
            assert first.data_ptr() != second.data_ptr() or not first.numel()


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=lambda value: getattr(value, "id", None) or value.name
)
def test_every_mistake_is_found_and_named(exercise: Exercise, mistake: Mistake) -> None:
    result = check(exercise.id, mistake.of(exercise.reference))
    assert result.status == "wrong"
    assert result.mistake == mistake.name, str(result)
    assert mistake.symptom in str(result)


ALTERNATIVES = [(exercise, other) for exercise in EXERCISES for other in exercise.alternatives]


@pytest.mark.parametrize(
    ("exercise", "other"),
    ALTERNATIVES,
    ids=lambda value: getattr(value, "id", None) or value.__name__,
)
def test_right_answers_in_other_words_pass(
    exercise: Exercise, other: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the course's own functions closed as they are for a student."""
    monkeypatch.setattr(blocking, "_open", 0)
    result = check(exercise.id, other)
    assert result.passed, str(result)
    assert result.note == ""


def test_the_first_topics_have_two_alternatives_and_five_mistakes_each() -> None:
    for topic in ("inversion", "texture", "gatys"):
        for exercise in engine.of_topic(topic):
            assert len(exercise.alternatives) >= 2, exercise.id
            assert len(exercise.mistakes) >= 5, exercise.id
            assert exercise.properties, exercise.id
    for topic in ("dcgan", "wgan", "cgan"):
        assert all(len(exercise.mistakes) >= 5 for exercise in engine.of_topic(topic))


def test_exercises_are_easy_core_and_hard() -> None:
    assert {exercise.difficulty for exercise in EXERCISES} <= set(DIFFICULTIES)
    for topic in ("inversion", "texture", "gatys", "dcgan", "wgan", "cgan"):
        assert {e.difficulty for e in engine.of_topic(topic)} == set(DIFFICULTIES), topic


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_solved_editions_pass_with_the_courses_functions_closed(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `coursekit solve` writes into the answer cell."""
    from coursekit import instructor

    monkeypatch.setattr(blocking, "_open", 0)
    space: dict[str, Any] = {}
    exec(instructor.solution(exercise), space)
    result = check(exercise.id, space[exercise.name])
    assert result.passed, str(result)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
@pytest.mark.parametrize(
    "answer",
    [
        lambda *args, **kwargs: None,
        lambda *args, **kwargs: torch.zeros(1),
        lambda *args, **kwargs: np.zeros(3),
        lambda *args, **kwargs: args[0],
    ],
    ids=["none", "zero", "numpy", "its input"],
)
def test_trivial_answers_are_wrong(exercise: Exercise, answer: Callable[..., Any]) -> None:
    assert check(exercise.id, answer).status == "wrong"
