"""What an exercise consists of: cases, named mistakes, properties, and how its answer is run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Answer = Callable[..., Any]

PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep

DIFFICULTIES = ("easy", "core", "hard")


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
    """A wrong implementation that people write, what it looks like, and the likely cause.

    With ``wraps``, ``wrong`` is given the right function and returns the wrong one: a wrong scale,
    a wrong axis, a forgotten gradient. Such mistakes are also tried on top of the others.
    """

    name: str
    wrong: Callable[..., Any]
    symptom: str
    cause: str
    wraps: bool = False

    def of(self, function: Answer) -> Answer:
        """The wrong function; one that wraps makes it out of ``function``."""
        return self.wrong(function) if self.wraps else self.wrong


@dataclass(frozen=True)
class Property:
    """An invariance of the formula, tried on inputs that are no case.

    Attributes:
        name: what holds, such as ``"the order of the positions does not matter"``.
        holds: called as ``holds(answer, *arguments)`` for every case; whether it does hold.
        message: what a student is told when it does not.
        layer: ``"property"``, or ``"behaviour"`` for what only a few steps show.
    """

    name: str
    holds: Callable[..., bool]
    message: str
    layer: str = "property"


@dataclass(frozen=True)
class Exercise:
    """A function to write: its stub, the reference, the cases and the known mistakes.

    ``hints`` come in tiers, from a nudge to a plan; none gives the answer away. ``gradient``
    says whether gradients are compared too.

    ``measure`` is for answers that return a module, change their input or train. It is called as
    ``measure(answer, *arguments)``, runs the answer as often as it needs, and returns what is
    compared: numbers, yes or no, tensors, by name. It may change the arguments, and raises
    `Unusable` for an output that it can do nothing with.

    ``alternatives`` are right answers written differently. ``allowed`` names functions of the
    same topic that an answer may call, besides those that a sentence of the stub beginning with
    "Use" names; ``twins`` are the course's functions that are the answer under another name, which
    it may not call. ``constants`` are parameters whose gradients nobody needs, such as data: an
    answer may detach them; ``counted`` says of each parameter whether it is none of those.
    """

    id: str
    title: str
    points: int
    stub: str
    reference: Answer
    cases: tuple[Case, ...]
    hints: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()
    gradient: bool = True
    measure: Callable[..., Any] | None = None
    properties: tuple[Property, ...] = ()
    alternatives: tuple[Answer, ...] = ()
    difficulty: str = "core"
    allowed: tuple[str, ...] = ()
    twins: tuple[Answer, ...] = ()
    constants: tuple[str, ...] = ()
    counted: tuple[bool, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        # Now, since the code inside the reference is another one while a check runs.
        names = inspect.signature(self.reference).parameters if self.constants else ()
        object.__setattr__(self, "counted", tuple(name not in self.constants for name in names))

    @property
    def topic(self) -> str:
        """The topic's module name: the first half of the id."""
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        """The name of the function to write: the second half of the id."""
        return self.id.partition(".")[2]


class Unusable(Exception):
    """What the answer returned cannot be measured; the text is one sentence for the student."""


class Failed(Exception):
    """A layer that the answer does not get through, with what is known about it."""

    def __init__(self, layer: str, message: str, **known: Any) -> None:
        super().__init__(message)
        self.layer, self.message = layer, message
        self.known: Mapping[str, Any] = known
