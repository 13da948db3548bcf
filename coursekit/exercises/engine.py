"""Checks that understand mistakes: ``check("texture.gram_matrix", mine)``.

A check goes through layers and stops at the first that fails: not started, contract (types,
shapes, side effects), values or behaviour, gradient, properties. A wrong result is compared with
the exercise's catalogue of named mistakes, each a real wrong implementation, and with two of them
at once. The student's code runs under a `guard.Guard`.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any

import torch
from torch import Tensor

from coursekit.core.errors import CheckFailed, SettingError
from coursekit.exercises import blocking, guard, matching, progress, running, shrink
from coursekit.exercises.compare import (
    agree,
    few,
    one_kind,
    ratio,
    relation,
    shape_relation,
    where_to_look,
)
from coursekit.exercises.declarations import (
    Answer,
    Case,
    Exercise,
    Failed,
    Mistake,
    Property,
    Unusable,
)
from coursekit.exercises.messages import data, say
from coursekit.exercises.registry import find, of_topic
from coursekit.exercises.results import Result
from coursekit.exercises.running import Parts, Trial, case_name
from coursekit.topics import TOPICS

__all__ = [
    "TOPICS",
    "Case",
    "Exercise",
    "Mistake",
    "Property",
    "Result",
    "Unusable",
    "check",
    "find",
    "judge",
    "of_topic",
]


def check(id: str, answer: Answer, *, use: str = "course") -> Result:
    """Compare a student's function with the course's own, and say what is wrong with it.

    Args:
        id: the exercise, such as ``"texture.gram_matrix"``.
        answer: the student's function.
        use: what ``.function`` of the result is, which later cells may run: ``"course"`` for the
            course's own function, ``"mine"`` for the student's as soon as it passes.

    Returns:
        A result that shows itself in a notebook; ``.hint()`` gives one hint after another. The
        outcome is noted for `coursekit.progress`.

    Raises:
        SettingError: there is no such exercise. A wrong answer raises nothing.
        CheckFailed: the answer did not pass and ``COURSEKIT_GRADING`` is set (to anything but 0):
            then the result is shown first.
    """
    if use not in ("course", "mine"):
        raise SettingError(f'use is {use!r}; give "course" or "mine".')
    grading = os.environ.get("COURSEKIT_GRADING", "0") not in ("", "0")
    # nbgrader gives no points to a cell that wrote to stderr, and any warning does.
    with contextlib.redirect_stderr(sys.stdout) if grading else contextlib.nullcontext():
        result = judge(find(id), answer)
        result.use = use
        progress.record(result)
    if grading:
        _show(result)
        if not result.passed:
            raise CheckFailed(say("check failed", id=id, status=result.status), result=result)
    return result


def _show(result: Result) -> None:
    """Now, and no second time as the value of a cell."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        ipython.display.display(result)
    else:
        print(result)
    result.shown = True


def judge(exercise: Exercise, answer: Any, *, explain: bool = True) -> Result:
    """`check` for an exercise at hand; nothing is noted, shown or raised.

    Without ``explain`` a wrong answer is not looked into: neither named nor cut down.
    """
    with guard.Interrupts() as interrupts:
        watch = guard.Guard(interrupts=interrupts)
        trial = Trial(exercise, answer, _siblings(exercise), guard=watch, explain=explain)
        try:
            return _judged(trial)
        finally:
            watch.say_what_was_cut()


def _judged(trial: Trial) -> Result:
    exercise, answer = trial.exercise, trial.answer
    try:
        # Whatever mode the notebook is in, gradients exist here, and its random numbers stay.
        with guard.kept(), torch.inference_mode(False), torch.enable_grad():
            note = _layers(trial)
        return Result(exercise, "passed", note=note, answer=answer)
    except NotImplementedError:
        return Result(exercise, "not started", answer=answer)
    except Failed as failure:
        layer, message = failure.layer, failure.message
        return Result(exercise, "wrong", layer, message, answer=answer, **failure.known)


def _siblings(exercise: Exercise) -> tuple[Exercise, ...]:
    try:
        return of_topic(exercise.topic)
    except ImportError:
        return (exercise,)


def _layers(trial: Trial) -> str:
    """Go through all layers; return a note on what is not wrong but worth a word."""
    exercise = trial.exercise
    _check_function(trial)
    notes = [_check_case(trial, case) for case in exercise.cases]
    for case in exercise.cases if exercise.gradient else ():
        _check_gradient(trial, case)
    for layer in ("property", "behaviour"):
        for each in exercise.properties:
            if each.layer == layer:
                _check_property(trial, each)
    return next(filter(None, notes), "")


# --- Contract ------------------------------------------------------------------------------------


def _check_function(trial: Trial) -> None:
    exercise, answer = trial.exercise, trial.answer
    if not callable(answer):
        raise Failed("contract", say("not callable", found=type(answer).__name__))
    if blocking.is_own(exercise, answer):
        raise Failed("contract", say("own function"))
    try:
        signature = inspect.signature(answer)
    except (ValueError, TypeError):  # a builtin without a signature is simply called
        return
    for case in exercise.cases:
        arguments, keywords = case.make(), case.keywords()
        try:
            signature.bind(*arguments, **keywords)
        except TypeError as error:
            expected = tuple(inspect.signature(exercise.reference).parameters)
            message = say("parameters", found=f"{signature}", expected=f"({', '.join(expected)})")
            raise Failed("contract", message) from error


def _check_case(trial: Trial, case: Case) -> str:
    exercise = trial.exercise
    expected, drawn = _expected(exercise, case)
    arguments = case.make()
    output = running.told(
        trial,
        case,
        lambda: running.plainly(exercise, trial.answer, case, arguments),
        show=True,
    )
    seeded, drawn = trial.guard.seeded, trial.guard.drawn - drawn
    note = say("drawn", names=", ".join(sorted(drawn))) if drawn else ""
    try:
        _check_contract(exercise, output, expected, case)
    except Failed as failure:
        raise _named(trial, case, output, failure) from failure
    if exercise.measure is None:
        _check_inputs(trial, arguments, case)
    found = running.parts(output)
    for part, target in expected.items():
        if not agree(found[part], target, case.tolerance):
            raise _wrong_values(trial, case, part, found, target, note)
    if seeded:
        names = ", ".join(sorted(seeded))
        raise Failed("contract", say("seeded", names=names, case=case_name(exercise, case)))
    return note


def _expected(exercise: Exercise, case: Case) -> tuple[Parts, set[str]]:
    """What the reference returns, and whose random numbers it draws."""
    watch = guard.Guard()
    output = watch.run(lambda: running.plainly(exercise, exercise.reference, case), show=False)
    return running.parts(output), watch.drawn


def _kind(parts: Parts) -> str:
    return "one tensor" if list(parts) == [""] else f"{len(parts)} tensors"


_STRANGE = (
    (type(None), "nothing"),
    ((GeneratorType, AsyncGeneratorType), "generator"),
    (CoroutineType, "coroutine"),
    ((FunctionType, type), "function"),
)


def _check_contract(exercise: Exercise, output: Any, expected: Parts, case: Case) -> None:
    facts = {"case": case_name(exercise, case)}
    for kind, key in _STRANGE:
        if isinstance(output, kind):
            if isinstance(output, CoroutineType):
                output.close()
            raise Failed("contract", say(key, **facts))
    try:
        found = running.parts(output)
    except TypeError as error:
        names = {"found": f"a {error}", "expected": _kind(expected)}
        key = "numpy" if type(output).__module__ == "numpy" else "type"
        names["found"] = str(error) if key == "numpy" else names["found"]
        raise Failed("contract", say(key, **names, **facts)) from error
    if len(found) != len(expected) or ("" in found) != ("" in expected):
        names = {"found": _kind(found), "expected": _kind(expected)}
        raise Failed("contract", say("type", **names, **facts))
    if set(found) != set(expected):
        names = {"found": "".join(found), "expected": "".join(expected)}
        raise Failed("contract", say("keys", **names, **facts))
    for part, target in expected.items():
        _check_tensor(found[part], target, part, case, facts)


def _check_tensor(
    found: Tensor, target: Tensor, part: str, case: Case, facts: dict[str, str]
) -> None:
    if found.shape != target.shape:
        shapes = {"found": tuple(found.shape), "expected": tuple(target.shape)}
        inputs = [each for each in case.make() if isinstance(each, Tensor)]
        more = shape_relation(found, target, inputs[0] if inputs else None)
        raise Failed("contract", say("shape", **shapes, part=part, **facts) + more)
    if not one_kind(found, target):
        types = {"found": found.dtype, "expected": target.dtype}
        raise Failed("contract", say("dtype", **types, part=part, **facts))
    if found.is_floating_point() and not torch.isfinite(found).all():
        raise Failed("contract", say("not finite", part=part, **facts))


def _check_inputs(trial: Trial, arguments: tuple[Any, ...], case: Case) -> None:
    if not _unchanged(arguments, case.make()):
        raise Failed("contract", say("changed", case=case_name(trial.exercise, case)))


def _unchanged(used: Any, fresh: Any) -> bool:
    if isinstance(fresh, Tensor):
        return _same_numbers(used, fresh)
    if isinstance(fresh, dict):
        used, fresh = list(used.items()), list(fresh.items())
    if isinstance(fresh, (list, tuple)):
        return len(used) == len(fresh) and all(map(_unchanged, used, fresh))
    return used == fresh or not isinstance(fresh, (bool, int, float, str))


def _same_numbers(used: Tensor, fresh: Tensor) -> bool:
    if used.requires_grad != fresh.requires_grad or used.grad is not None:
        return False
    if used.shape != fresh.shape or not used.is_floating_point():
        return torch.equal(used, fresh)
    return torch.allclose(used, fresh, rtol=0, atol=0, equal_nan=True)


def _named(trial: Trial, case: Case, output: Any, failure: Failed) -> Failed:
    """The failure by its name, if a catalogued mistake breaks the contract in the same way."""
    if not trial.explain:
        return failure
    try:
        match = matching.by_values(trial, case, running.parts(output))
    except TypeError:  # nothing that could be compared
        return failure
    return failure if match is None else match.failed(trial.exercise, failure.layer)


# --- Values, gradients, properties ---------------------------------------------------------------


def _wrong_values(
    trial: Trial, case: Case, part: str, found: Parts, target: Tensor, note: str
) -> Failed:
    exercise = trial.exercise
    layer = "values" if exercise.measure is None else "behaviour"
    if not trial.explain:
        return Failed(layer, "")
    shown = {"expected": target.detach(), "got": found[part].detach(), "note": note}
    match = matching.by_values(trial, case, found, part)
    if match is not None:
        failure = match.failed(exercise, layer)
        failure.known = {**failure.known, **shown}
        return failure
    facts = {"case": case_name(exercise, case)}
    if exercise.measure is not None and part and target.numel() == 1:
        values = {"expected": few(target), "got": few(found[part])}
        return Failed(layer, say("fact", name=part[3:-2], **values, **facts), note=note)
    smallest = shrink.smallest(trial, case, part)
    mine, related, alone = found[part], relation(found[part], target), target.numel() == 1
    if smallest is not None and not alone:
        target, mine = smallest.expected, smallest.got
    start = where_to_look(mine, target)
    values = {"expected": few(target, start), "got": few(mine, start)}
    text = say("values", part=part, relation=related, **values, **facts) + ratio(mine, target)
    return Failed(layer, text + (smallest.said(alone) if smallest else ""), **shown)


def _check_gradient(trial: Trial, case: Case) -> None:
    exercise = trial.exercise
    expected = running.gradients(exercise, exercise.reference, case)
    if not expected:
        return
    facts = {"case": case_name(exercise, case)}
    try:
        found = running.told(trial, case, lambda: running.gradients(exercise, trial.answer, case))
    except running.BackwardError as error:
        raise Failed("gradient", say("backward", text=str(error), **facts)) from error
    if running.same_gradients(found, expected, case.tolerance):
        return
    match = matching.by_gradients(trial, case, found) if trial.explain else None
    if match is not None:
        raise match.failed(exercise, "gradient")
    lengths = [
        sum(float(each.norm()) for each in side if each is not None) for side in (expected, found)
    ]
    if lengths[1] == 0:
        raise Failed("gradient", say("no gradient", **facts))
    raise Failed("gradient", say("gradient", expected=lengths[0], got=lengths[1], **facts))


def _check_property(trial: Trial, each: Property) -> None:
    exercise = trial.exercise
    for case in exercise.cases:
        arguments, keywords = case.make(), case.keywords()
        try:
            holds = running.told(
                trial,
                case,
                lambda: bool(each.holds(trial.answer, *arguments, **keywords)),  # noqa: B023
            )
        except Failed as failure:
            message = say("property failed", message=failure.message)
            raise Failed(each.layer, message) from failure
        if not holds:
            text = data(f"{exercise.id}/property/{each.name}", each.message)
            facts = {"case": case_name(exercise, case)}
            raise Failed(each.layer, say("property", message=text, **facts))
