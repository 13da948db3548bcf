"""Checks that understand mistakes: ``check("texture.gram_matrix", mine)``.

A check goes through layers and stops at the first that fails: not started, contract (types,
shapes, side effects), values or behaviour, gradient. A wrong result is compared with the exercise's
catalogue of named mistakes, each a real wrong implementation.
"""

from __future__ import annotations

import html
import importlib
import inspect
import linecache
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.exercises.compare import agree, few, relation
from coursekit.exercises.messages import say

TOPICS = (
    "inversion",
    "texture",
    "gatys",
    "fast_style",
    "wct",
    "dfi",
    "dcgan",
    "wgan",
    "cgan",
)


@dataclass(frozen=True)
class Case:
    """One input to try. ``make`` returns fresh positional arguments every time.

    ``tolerance`` is relative to the largest expected value.
    """

    name: str
    make: Callable[[], tuple[Any, ...]]
    tolerance: float = 1e-4
    keywords: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that people write, what it looks like, and the likely cause."""

    name: str
    wrong: Callable[..., Any]
    symptom: str
    cause: str


@dataclass(frozen=True)
class Exercise:
    """A function to write: its stub, the reference, the cases and the known mistakes.

    ``hints`` come in tiers, from a nudge to a plan; none gives the answer away. ``gradient``
    says whether gradients are compared too.

    ``measure`` is for answers that return a module, change their input or train. It is called as
    ``measure(answer, *arguments)``, runs the answer as often as it needs, and returns what is
    compared: numbers, yes or no, tensors, by name. It may change the arguments, and raises
    `Unusable` for an output that it can do nothing with.
    """

    id: str
    title: str
    points: int
    stub: str
    reference: Callable[..., Any]
    cases: tuple[Case, ...]
    hints: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()
    gradient: bool = True
    measure: Callable[..., Any] | None = None


class Unusable(Exception):
    """What the answer returned cannot be measured; the text is one sentence for the student."""


@dataclass
class Result:
    """The outcome of a check.

    Attributes:
        exercise: what was checked.
        status: ``"passed"``, ``"wrong"`` or ``"not started"``.
        layer: where it stopped: ``"contract"``, ``"values"``, ``"behaviour"`` (of what was
            measured), ``"gradient"``, or ``""``.
        message: what is wrong and the likely cause, in a sentence or two.
        mistake: the name of the catalogued mistake that does the same, if one does.
    """

    exercise: Exercise
    status: str
    layer: str = ""
    message: str = ""
    mistake: str | None = None
    _hints_given: int = field(default=0, repr=False)

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.status == "passed"

    def hint(self) -> str:
        """The next hint; call again for the one after it."""
        hints = self.exercise.hints
        if self._hints_given >= len(hints):
            return say("no more hints")
        self._hints_given += 1
        text = hints[self._hints_given - 1]
        return say("hint", number=self._hints_given, count=len(hints), text=text)

    def __str__(self) -> str:
        return say(
            self.status,
            title=self.exercise.title,
            message=self.message,
            cases=len(self.exercise.cases),
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = {"passed": "#2e7d32", "wrong": "#c62828"}.get(self.status, "#757575")
        text = html.escape(str(self)).replace("\n", "<br>")
        if self.status == "wrong" and self.exercise.hints:
            text += f"<br><small>{html.escape(say('more'))}</small>"
        return (
            f'<div style="border-left:4px solid {colour};padding:4px 10px;font-family:monospace">'
            f"{text}</div>"
        )


class _Failed(Exception):
    """A layer that the answer does not get through."""

    def __init__(self, layer: str, message: str, mistake: str | None = None) -> None:
        super().__init__(message)
        self.layer, self.message, self.mistake = layer, message, mistake


def find(id: str) -> Exercise:
    """The exercise called ``id``, such as ``"texture.gram_matrix"``.

    Raises:
        SettingError: there is none; the message lists those of the topic, or the topics.
    """
    topic = id.split(".")[0]
    if topic not in TOPICS:
        raise SettingError(f"There is no exercise {id!r}. Topics: {', '.join(TOPICS)}.")
    known = {exercise.id: exercise for exercise in of_topic(topic)}
    if id not in known:
        raise SettingError(f"There is no exercise {id!r}. In this topic: {', '.join(known)}.")
    return known[id]


def of_topic(topic: str) -> tuple[Exercise, ...]:
    """All exercises of a topic, in the order of the notebook."""
    return importlib.import_module(f"coursekit.exercises.{topic}").EXERCISES


def check(id: str, answer: Callable[..., Any]) -> Result:
    """Compare a student's function with the course's own, and say what is wrong with it.

    Args:
        id: the exercise, such as ``"texture.gram_matrix"``.
        answer: the student's function.

    Returns:
        A result that shows itself in a notebook; ``.hint()`` gives one hint after another.

    Raises:
        SettingError: there is no such exercise. A wrong answer raises nothing.
    """
    exercise = find(id)
    try:
        # Whatever mode the notebook is in, gradients exist here, and its random numbers stay.
        with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():
            _contract(exercise, answer)
            for case in exercise.cases:
                _check_case(exercise, case, answer)
            for case in exercise.cases if exercise.gradient else ():
                _check_gradient(exercise, case, answer)
    except NotImplementedError:
        return Result(exercise, "not started")
    except _Failed as failure:
        return Result(exercise, "wrong", failure.layer, failure.message, failure.mistake)
    return Result(exercise, "passed")


def _contract(exercise: Exercise, answer: Any) -> None:
    if not callable(answer):
        raise _Failed("contract", say("not callable", found=type(answer).__name__))
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
            raise _Failed("contract", message) from error


def _check_case(exercise: Exercise, case: Case, answer: Callable[..., Any]) -> None:
    expected = _parts(_run(exercise, exercise.reference, case.make(), case))
    arguments = case.make()
    output = _call(exercise, answer, arguments, case)
    try:
        _check_contract(output, expected, case)
    except _Failed as failure:
        raise _named(exercise, case, output, failure) from failure
    if exercise.measure is None:
        _check_inputs(arguments, case)
    found = _parts(output)
    for part, target in expected.items():
        if not agree(found[part], target, case.tolerance):
            raise _wrong_values(exercise, case, part, found, target)


def _run(
    exercise: Exercise, function: Callable[..., Any], arguments: tuple[Any, ...], case: Case
) -> Any:
    # Everybody draws the same random numbers, so that an initialisation can be compared too.
    torch.default_generator.manual_seed(0)
    if exercise.measure is not None:
        return exercise.measure(function, *arguments, **case.keywords())
    return function(*arguments, **case.keywords())


def _call(
    exercise: Exercise, answer: Callable[..., Any], arguments: tuple[Any, ...], case: Case
) -> Any:
    try:
        return _run(exercise, answer, arguments, case)
    except Unusable as error:
        raise _Failed("contract", say("unusable", text=str(error), case=case.name)) from error
    except Exception as error:
        if isinstance(error, NotImplementedError) and _is_stub(answer, error):
            raise
        message = say(
            "exception",
            where=_where(answer, error),
            kind=type(error).__name__,
            text=str(error),
            case=case.name,
        )
        raise _Failed("contract", message) from error


def _is_stub(answer: Callable[..., Any], error: NotImplementedError) -> bool:
    """Whether the answer itself says that it is not begun; libraries raise this error too."""
    own = getattr(getattr(answer, "__code__", None), "co_filename", None)
    return own is None or traceback.extract_tb(error.__traceback__)[-1].filename == own


def _where(answer: Callable[..., Any], error: Exception) -> str:
    """The last line of the student's own code on the way to the error."""
    own = getattr(getattr(answer, "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    if not frames:
        return ""
    line = frames[-1].lineno or 0
    return say("where", line=line, code=linecache.getline(frames[-1].filename, line).strip())


def _parts(output: Any) -> dict[str, Tensor]:
    """A tensor, a number, a tuple or a dict as named tensors; TypeError for anything else."""
    if isinstance(output, Mapping):
        return {f" [{key!r}]": _tensor(value) for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return {f" [{index}]": _tensor(value) for index, value in enumerate(output)}
    return {"": _tensor(output)}


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, (Tensor, bool, int, float)):
        raise TypeError(type(value).__name__)
    return torch.as_tensor(value)


def _kind(parts: dict[str, Tensor]) -> str:
    return "one tensor" if list(parts) == [""] else f"{len(parts)} tensors"


def _check_contract(output: Any, expected: dict[str, Tensor], case: Case) -> None:
    if output is None:
        raise _Failed("contract", say("nothing", case=case.name))
    try:
        found = _parts(output)
    except TypeError as error:
        names = {"found": f"a {error}", "expected": _kind(expected)}
        raise _Failed("contract", say("type", **names, case=case.name)) from error
    if len(found) != len(expected) or ("" in found) != ("" in expected):
        names = {"found": _kind(found), "expected": _kind(expected)}
        raise _Failed("contract", say("type", **names, case=case.name))
    if set(found) != set(expected):
        names = {"found": "".join(found), "expected": "".join(expected)}
        raise _Failed("contract", say("keys", **names, case=case.name))
    for part, target in expected.items():
        _check_tensor(found[part], target, part, case)


def _check_tensor(found: Tensor, target: Tensor, part: str, case: Case) -> None:
    facts = {"part": part, "case": case.name}
    if found.shape != target.shape:
        shapes = {"found": tuple(found.shape), "expected": tuple(target.shape)}
        raise _Failed("contract", say("shape", **shapes, **facts))
    if found.is_floating_point() != target.is_floating_point():
        raise _Failed("contract", say("dtype", found=found.dtype, expected=target.dtype, **facts))
    if found.is_floating_point() and not torch.isfinite(found).all():
        raise _Failed("contract", say("not finite", **facts))


def _check_inputs(arguments: tuple[Any, ...], case: Case) -> None:
    used, fresh = _leaves(arguments), _leaves(case.make())
    same = len(used) == len(fresh) and all(map(_unchanged, used, fresh))
    if not same:
        raise _Failed("contract", say("changed", case=case.name))


def _unchanged(used: Tensor, fresh: Tensor) -> bool:
    if used.shape != fresh.shape or not used.is_floating_point():
        return torch.equal(used, fresh)
    return torch.allclose(used, fresh, rtol=0, atol=0, equal_nan=True)


def _leaves(arguments: Any) -> list[Tensor]:
    if isinstance(arguments, Tensor):
        return [arguments]
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if isinstance(arguments, (tuple, list)):
        return [leaf for each in arguments for leaf in _leaves(each)]
    return []


def _named(exercise: Exercise, case: Case, output: Any, failure: _Failed) -> _Failed:
    """The failure by its name, if a catalogued mistake breaks the contract in the same way."""
    try:
        mistake = _find_mistake(exercise, case, _parts(output))
    except TypeError:  # nothing that could be compared
        return failure
    return failure if mistake is None else _by_name(failure.layer, mistake)


def _by_name(layer: str, mistake: Mistake) -> _Failed:
    message = say("mistake", symptom=mistake.symptom, cause=mistake.cause)
    return _Failed(layer, message, mistake.name)


def _wrong_values(
    exercise: Exercise, case: Case, part: str, found: dict[str, Tensor], target: Tensor
) -> _Failed:
    layer = "values" if exercise.measure is None else "behaviour"
    mistake = _find_mistake(exercise, case, found, part)
    if mistake is not None:
        return _by_name(layer, mistake)
    facts = {"case": case.name, "expected": few(target), "got": few(found[part])}
    if exercise.measure is not None and part and target.numel() == 1:
        return _Failed(layer, say("fact", name=part[3:-2], **facts))
    text = say("values", part=part, relation=relation(found[part], target), **facts)
    return _Failed(layer, text)


def _find_mistake(
    exercise: Exercise, case: Case, found: dict[str, Tensor], part: str | None = None
) -> Mistake | None:
    """The first mistake with the same result; if none has it, one with the same ``part``."""
    partly = None
    for mistake in exercise.mistakes:
        try:
            theirs = _parts(_run(exercise, mistake.wrong, case.make(), case))
        except Exception:  # a wrong implementation may fail on this case
            continue
        if all(_reproduced(found, theirs, each, case) for each in {*found, *theirs}):
            return mistake
        if partly is None and part is not None and _reproduced(found, theirs, part, case):
            partly = mistake
    return partly


def _reproduced(found: dict[str, Tensor], theirs: dict[str, Tensor], part: str, case: Case) -> bool:
    if part not in found or part not in theirs:
        return False
    mine, other = found[part], theirs[part]
    alike = mine.shape == other.shape and mine.is_floating_point() == other.is_floating_point()
    return alike and agree(mine, other, case.tolerance)


def _check_gradient(exercise: Exercise, case: Case, answer: Callable[..., Any]) -> None:
    expected = _gradients(exercise, exercise.reference, case)
    found = _gradients(exercise, answer, case) if expected else []
    if _same_gradients(found, expected, case):
        return
    for mistake in exercise.mistakes:
        if _reproduces_gradients(exercise, mistake, case, found):
            raise _by_name("gradient", mistake)
    lengths = [
        sum(float(each.norm()) for each in side if each is not None) for side in (expected, found)
    ]
    if lengths[1] == 0:
        raise _Failed("gradient", say("no gradient", case=case.name))
    raise _Failed("gradient", say("gradient", case=case.name, expected=lengths[0], got=lengths[1]))


def _reproduces_gradients(
    exercise: Exercise, mistake: Mistake, case: Case, found: list[Tensor | None]
) -> bool:
    try:
        return _same_gradients(_gradients(exercise, mistake.wrong, case), found, case)
    except Exception:  # a wrong implementation may fail on this case
        return False


def _same_gradients(found: list[Tensor | None], expected: list[Tensor | None], case: Case) -> bool:
    """Gradients that do not exist count as zero: both leave the input where it is."""
    width = max(len(found), len(expected))
    pairs = zip(_padded(found, width), _padded(expected, width), strict=True)
    for mine, theirs in pairs:
        if mine is None and theirs is None:
            continue
        template = theirs if theirs is not None else mine
        sides = [torch.zeros_like(template) if each is None else each for each in (mine, theirs)]
        if not agree(*sides, 10 * case.tolerance):
            return False
    return True


def _padded(gradients: list[Tensor | None], width: int) -> list[Tensor | None]:
    return gradients + [None] * (width - len(gradients))


def _gradients(exercise: Exercise, function: Callable[..., Any], case: Case) -> list[Tensor | None]:
    """Gradients of a weighted sum of the outputs with respect to every floating input."""
    arguments = case.make()
    leaves = [leaf for leaf in _leaves(arguments) if leaf.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_(True)
    total = torch.zeros((), dtype=torch.float64)
    for output in _parts(_call(exercise, function, arguments, case)).values():
        if output.is_floating_point():
            weights = torch.linspace(0.5, 1.5, max(output.numel(), 1), dtype=torch.float64)
            total = total + (output.flatten().double() * weights[: output.numel()]).sum()
    if not total.requires_grad or not leaves:
        return []
    try:
        return list(torch.autograd.grad(total, leaves, allow_unused=True))
    except RuntimeError as error:  # something that the backward pass needs was overwritten
        raise _Failed("gradient", say("backward", text=str(error), case=case.name)) from error
