"""The smallest input on which an answer is still wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from coursekit.exercises import running
from coursekit.exercises.compare import agree, few
from coursekit.exercises.declarations import Case
from coursekit.exercises.messages import say
from coursekit.exercises.running import Trial

TRIES, SECONDS = 60, 2.0
SMALL = 8  # numbers in all inputs together that can be read as they are
Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Smallest:
    """Arguments on which the answer differs, and both results."""

    arguments: Arguments
    expected: Tensor
    got: Tensor

    def said(self, both: bool) -> str:
        """The inputs in one line, their values where there are few; with ``both`` the results."""
        inputs = "; ".join(_said(leaf) for leaf in running.leaves(self.arguments))
        if not both:
            return say("smallest", inputs=inputs)
        values = {"expected": few(self.expected), "got": few(self.got)}
        return say("smallest of one", inputs=inputs, **values)


def _said(leaf: Tensor) -> str:
    shape = tuple(leaf.shape)
    return f"{shape}: {few(leaf)}" if 0 < leaf.numel() <= 6 else f"{shape}"


def smallest(trial: Trial, case: Case, part: str) -> Smallest | None:
    """Drop images, channels and positions while the answer still differs in ``part``.

    Tensors that have the same length along an axis are cut together first, then one by one. What
    the reference cannot compute, or what gives infinities, is not tried further.

    Returns:
        ``None`` if nothing can be dropped.
    """
    inputs = case.make()
    changing = any(isinstance(each, nn.Module) for each in inputs)
    small = sum(leaf.numel() for leaf in running.leaves(inputs)) <= SMALL
    if trial.exercise.measure is not None or changing or small:
        return None
    end, tries = time.monotonic() + SECONDS, 0
    arguments, best = case.make(), None
    progress = True
    while progress:
        progress = False
        for change in _changes(arguments):
            tries += 1
            if tries > TRIES or time.monotonic() > end:
                return best
            smaller = _differing(trial, case, part, lambda: change(arguments))  # noqa: B023
            if smaller is not None:
                arguments, best, progress = smaller.arguments, smaller, True
                break
    return best


def _differing(
    trial: Trial, case: Case, part: str, make: Callable[[], Arguments]
) -> Smallest | None:
    """Both results on new arguments, if they can be had and differ."""
    try:
        exercise = trial.exercise
        expected = running.parts(running.plainly(exercise, exercise.reference, case, make()))
        got = running.parts(
            running.told(trial, case, lambda: running.plainly(exercise, trial.answer, case, make()))
        )
        mine, theirs = got[part].detach(), expected[part].detach()
        finite = mine.isfinite().all() and theirs.isfinite().all()
        if mine.shape != theirs.shape or not finite or agree(mine, theirs, 10 * case.tolerance):
            return None
    except Exception:
        return None
    return Smallest(make(), theirs, mine)


def _changes(arguments: Arguments) -> list[Callable[[Arguments], Arguments]]:
    """Cuts to try, the boldest first."""
    axes = {
        (axis, size)
        for leaf in running.leaves(arguments)
        for axis, size in enumerate(leaf.shape)
        if size > 1
    }
    together = [
        _cut(axis, size, kept, None) for axis, size in sorted(axes) for kept in _lengths(size)
    ]
    alone = [
        _cut(axis, size, kept, number)
        for number, leaf in enumerate(running.leaves(arguments))
        for axis, size in enumerate(leaf.shape)
        if size > 1
        for kept in _lengths(size)
    ]
    return together + (alone if len(running.leaves(arguments)) > 1 else [])


def _lengths(size: int) -> list[int]:
    return sorted({1, 2, size // 2} & set(range(1, size)))


def _cut(axis: int, size: int, kept: int, number: int | None) -> Callable[[Arguments], Arguments]:
    """Keep the first entries along an axis, of one leaf or of all that are as long."""

    def change(arguments: Arguments) -> Arguments:
        count = iter(range(10**6))

        def cut(leaf: Tensor) -> Tensor:
            chosen = next(count) == number or number is None
            fits = leaf.dim() > axis and leaf.shape[axis] == size
            return (leaf.narrow(axis, 0, kept) if chosen and fits else leaf).clone()

        return _mapped(arguments, cut)

    return change


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with every tensor changed."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _mapped(each, function) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(each, function) for each in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(each, function) for each in value)
    return value
