"""Running an answer on a case: its outputs as named tensors, its gradients, its errors."""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coursekit.exercises import blocking, guard
from coursekit.exercises.compare import agree, one_kind
from coursekit.exercises.declarations import PACKAGE, Answer, Case, Exercise, Failed, Unusable
from coursekit.exercises.guard import Guard, OutOfTime
from coursekit.exercises.messages import data, say

Parts = dict[str, Tensor]
Gradients = list["Tensor | None"]

_LIBRARIES = tuple(
    {sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "purelib", "platlib")}
)


@dataclass
class Trial:
    """One answer to one exercise under one guard."""

    exercise: Exercise
    answer: Answer
    topic: tuple[Exercise, ...] = ()
    guard: Guard = field(default_factory=Guard)
    explain: bool = True

    def __post_init__(self) -> None:
        self.blocked = blocking.closed_to(self.exercise, self.topic)

    def guarded(self, call: Callable[[], Any], *, show: bool = False) -> Any:
        """``call()`` with the student's code in it."""
        within = blocking.closed(self.blocked)
        return self.guard.run(call, show=show, within=within)


def case_name(exercise: Exercise, case: Case) -> str:
    """The case's name in the language chosen."""
    return data(f"{exercise.id}/case/{case.name}", case.name)


def plainly(
    exercise: Exercise, function: Answer, case: Case, arguments: tuple[Any, ...] | None = None
) -> Any:
    """What ``function`` returns for a case, or for other arguments of its kind."""
    arguments = case.make() if arguments is None else arguments
    guard.seed_all(0)
    if exercise.measure is not None:
        return exercise.measure(function, *arguments, **case.keywords())
    return function(*arguments, **case.keywords())


def told(trial: Trial, case: Case, call: Callable[[], Any], *, show: bool = False) -> Any:
    """``call()`` with the student's code in it; what goes wrong in it is told as `Failed`."""
    facts = {"case": case_name(trial.exercise, case)}
    try:
        return trial.guarded(call, show=show)
    except Unusable as error:
        raise Failed("contract", say("unusable", text=str(error), **facts)) from error
    except OutOfTime as error:
        where = _place("time where", trial.answer, error)
        message = say("time", where=where, seconds=trial.guard.seconds, **facts)
        raise Failed("contract", message) from None
    except blocking.Blocked as error:
        where = _place("blocked where", trial.answer, error)
        raise Failed("contract", say("blocked", where=where, name=str(error))) from None
    except (KeyboardInterrupt, Failed, BackwardError):
        raise
    except BaseException as error:
        if isinstance(error, NotImplementedError) and _is_stub(trial.answer, error):
            raise
        raise Failed("contract", _exception(trial, error, facts)) from None


def _exception(trial: Trial, error: BaseException, facts: dict[str, Any]) -> str:
    if isinstance(error, SystemExit):
        return say("exit", where=_place("blocked where", trial.answer, error), **facts)
    if isinstance(error, RecursionError):
        return say("recursion", where=_place("blocked where", trial.answer, error), **facts)
    if guard.is_memory_error(error):
        limit = (trial.guard.memory or guard.MEMORY) / 2**30
        where = _place("blocked where", trial.answer, error)
        return say("memory", where=where, limit=limit, **facts)
    kind = type(error).__name__
    where = _where(trial.answer, error)
    return say("exception", where=where, kind=kind, text=str(error), **facts)


# --- Where in the student's code -----------------------------------------------------------------


def _is_stub(answer: Answer, error: NotImplementedError) -> bool:
    """Whether the answer itself says that it is not begun; libraries raise this error too."""
    own = getattr(getattr(answer, "__code__", None), "co_filename", None)
    return own is None or traceback.extract_tb(error.__traceback__)[-1].filename == own


def _frames(answer: Answer, error: BaseException) -> list[tuple[int, str]]:
    """Line numbers and lines of the student's own code on the way to the error."""
    own = getattr(getattr(answer, "__code__", None), "co_filename", None)
    summary = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), lookup_lines=False
    )
    frames = [f for f in summary if f.filename == own or _is_students(f.filename)]
    return [(f.lineno or 0, linecache.getline(f.filename, f.lineno or 0).strip()) for f in frames]


def _is_students(file: str) -> bool:
    foreign = (PACKAGE, "<frozen", "<blocked>", "<__array_function__", *_LIBRARIES)
    return not file.startswith(foreign)


def _place(key: str, answer: Answer, error: BaseException) -> str:
    frames = _frames(answer, error)
    return say(key, line=frames[-1][0], code=frames[-1][1]) if frames else ""


def _where(answer: Answer, error: BaseException) -> str:
    """The student's last line, and the lines that called it if they are not the same."""
    frames = _frames(answer, error)
    if not frames:
        return ""
    *callers, (line, code) = frames
    via = [say("via", line=number, code=text) for number, text in callers[-2:] if text != code]
    return "".join(via) + say("where", line=line, code=code)


# --- Outputs as tensors --------------------------------------------------------------------------


def parts(output: Any) -> Parts:
    """A tensor, a number, a tuple or a dict as named tensors; TypeError for anything else."""
    if isinstance(output, Mapping):
        return {f" [{key!r}]": _tensor(value, output) for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return {f" [{index}]": _tensor(value, output) for index, value in enumerate(output)}
    return {"": _tensor(output)}


def _tensor(value: Any, inside: Any = None) -> Tensor:
    if isinstance(value, np.generic):  # one number of numpy
        value = value.item()
    if not isinstance(value, (Tensor, bool, int, float)):
        around = "" if inside is None else f"{type(inside).__name__} with a "
        raise TypeError(around + type(value).__name__)
    return torch.as_tensor(value)


def leaves(arguments: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(arguments, Tensor):
        return [arguments]
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if isinstance(arguments, (tuple, list)):
        return [leaf for each in arguments for leaf in leaves(each)]
    return []


def same_parts(found: Parts, theirs: Parts, tolerance: float) -> bool:
    """Whether two results agree in every part."""
    return all(same_part(found, theirs, each, tolerance) for each in {*found, *theirs})


def same_part(found: Parts, theirs: Parts, part: str, tolerance: float) -> bool:
    """Whether two results have this part and agree in it."""
    if part not in found or part not in theirs:
        return False
    mine, other = found[part], theirs[part]
    return mine.shape == other.shape and one_kind(mine, other) and agree(mine, other, tolerance)


# --- Gradients -----------------------------------------------------------------------------------


def gradients(exercise: Exercise, function: Answer, case: Case) -> Gradients:
    """Gradients of a weighted sum of the outputs with respect to every floating input that counts.

    Raises:
        BackwardError: something that the backward pass needs was overwritten.
        Failed: gradients were left behind in the inputs.
    """
    arguments = case.make()
    count = exercise.counted or (True,) * len(arguments)
    counted = [each for each, counts in zip(arguments, count, strict=False) if counts]
    inputs = [leaf for leaf in leaves(counted) if leaf.is_floating_point()]
    for leaf in inputs:
        leaf.requires_grad_(True)
    total = torch.zeros((), dtype=torch.float64)
    for output in parts(plainly(exercise, function, case, arguments)).values():
        if output.is_floating_point():
            weights = torch.linspace(0.5, 1.5, max(output.numel(), 1), dtype=torch.float64)
            total = total + (output.flatten().double() * weights[: output.numel()]).sum()
    if any(leaf.grad is not None for leaf in inputs):
        raise Failed("gradient", say("gradients left", case=case_name(exercise, case)))
    if not total.requires_grad or not inputs:
        return []
    try:
        return list(torch.autograd.grad(total, inputs, allow_unused=True))
    except RuntimeError as error:
        raise BackwardError(str(error)) from error


class BackwardError(Exception):
    """The backward pass through an answer fails; the text is autograd's."""


def same_gradients(found: Gradients, expected: Gradients, tolerance: float) -> bool:
    """Gradients that do not exist count as zero: both leave the input where it is."""
    width = max(len(found), len(expected))
    pairs = zip(_padded(found, width), _padded(expected, width), strict=True)
    for mine, theirs in pairs:
        if mine is None:
            if theirs is None:
                continue
            mine = torch.zeros_like(theirs)
        elif theirs is None:
            theirs = torch.zeros_like(mine)
        if not agree(mine, theirs, 10 * tolerance):
            return False
    return True


def _padded(found: Gradients, width: int) -> Gradients:
    return found + [None] * (width - len(found))
