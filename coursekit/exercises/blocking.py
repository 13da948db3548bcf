"""The course's own functions are no answers: while a check runs, they say "write it yourself".

Blocked are the functions that the exercises of the topic ask for, under whatever name they are
called: the code inside the function is exchanged for the time of the call, so that imports,
aliases, partials and lambdas all meet the block. The course's own code may go on calling them;
the function that is being checked may not even be reached through another one of the course.

An answer may use what its stub tells it to ("Use losses.gram_matrix …"), what the exercise lists
as ``allowed``, and what earlier topics asked for.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coursekit.exercises.declarations import PACKAGE, Exercise

EXERCISES = PACKAGE + "exercises"
_TEMPLATE = """
def blocked(*arguments, **keywords):
    from coursekit.exercises.blocking import gate
    return gate({key}, arguments, keywords)
"""
Functions = dict[types.FunctionType, tuple[str, bool]]
_open = 0
_closed: dict[int, tuple[types.FunctionType, str, bool]] = {}


class Blocked(BaseException):
    """The answer calls a function that the course asks it to write."""


@contextmanager
def off() -> Iterator[None]:
    """Block nothing: for whoever hands in the course's own functions on purpose, such as tests."""
    global _open
    _open += 1
    try:
        yield
    finally:
        _open -= 1


def is_off() -> bool:
    """Whether nothing is blocked just now."""
    return _open > 0


def own_functions(exercise: Exercise) -> list[types.FunctionType]:
    """The course's functions that answer this exercise: its reference, its twins, its namesakes."""
    found = [_plain(each) for each in (exercise.reference, *exercise.twins)]
    for module in _modules(exercise.topic):
        found.append(_plain(getattr(module, exercise.name, None)))
    return [each for each in dict.fromkeys(found) if each is not None and _of_the_course(each)]


def _modules(topic: str) -> list[types.ModuleType]:
    """The topic's modules that are loaded, and the losses of the course."""
    loaded = [sys.modules.get(name) for name in ("coursekit.core.losses", *_names(topic))]
    return [module for module in loaded if module is not None]


@functools.lru_cache(maxsize=64)
def _names(topic: str) -> tuple[str, ...]:
    """Modules ``coursekit.<topic>`` and ``coursekit.<topic>_…``."""
    names = sorted(path.stem for path in Path(PACKAGE).glob(f"{topic}*.py"))
    return tuple(
        f"coursekit.{name}" for name in names if name == topic or name.startswith(f"{topic}_")
    )


def _of_the_course(function: types.FunctionType) -> bool:
    return function.__code__.co_filename.startswith(PACKAGE)


def _plain(answer: Any) -> types.FunctionType | None:
    """The function under partials, methods and decorators."""
    for _ in range(20):
        if isinstance(answer, functools.partial):
            answer = answer.func
        elif isinstance(answer, types.MethodType):
            answer = answer.__func__
        elif hasattr(answer, "__wrapped__"):
            answer = answer.__wrapped__
        else:
            break
    return answer if isinstance(answer, types.FunctionType) else None


def is_own(exercise: Exercise, answer: Any) -> bool:
    """Whether the answer is one of the course's own functions, however it is wrapped."""
    function = _plain(answer)
    if is_off() or function is None:
        return False
    return any(function.__code__ is each.__code__ for each in own_functions(exercise))


def names_in_stub(stub: str) -> set[str]:
    """The words of every sentence in which the stub says what to use."""
    sentences = re.findall(r"\bUse\b(.*?)(?:\.\s|\.?$|\.?\"\"\")", stub, re.DOTALL)
    return {word for sentence in sentences for word in re.findall(r"\w+", sentence)}


def closed_to(exercise: Exercise, topic: tuple[Exercise, ...]) -> Functions:
    """What is blocked for an answer to ``exercise``: function -> its name, and whether it is it."""
    allowed = names_in_stub(exercise.stub) | set(exercise.allowed)
    found: Functions = {}
    for other in topic:
        if other.name not in allowed or other.id == exercise.id:
            for function in own_functions(other):
                found[function] = (function.__name__, other.id == exercise.id)
    return found


@contextmanager
def closed(functions: Functions) -> Iterator[None]:
    """Block these functions for the time of one call."""
    if is_off() or _closed:  # a check inside a check
        yield
        return
    codes: list[tuple[types.FunctionType, types.CodeType]] = []
    try:
        for function, (name, own) in functions.items():
            if function.__closure__ is None:
                codes.append((function, function.__code__))
                _closed[len(codes)] = (_copy(function), name, own)
                function.__code__ = _blocked_code(len(codes))
        yield
    finally:
        for function, code in codes:
            function.__code__ = code
        _closed.clear()


def _copy(function: types.FunctionType) -> types.FunctionType:
    twin = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


@functools.lru_cache(maxsize=64)
def _blocked_code(key: int) -> types.CodeType:
    space: dict[str, Any] = {}
    exec(compile(_TEMPLATE.format(key=key), "<blocked>", "exec"), space)
    return space["blocked"].__code__


def gate(key: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Where a blocked function ends up: on to the real one for the course itself.

    Raises:
        Blocked: the student's code called it.
    """
    real, name, own = _closed[key]
    if not _is_for_the_course(own):
        raise Blocked(name)
    return real(*arguments, **keywords)


def _is_for_the_course(own: bool) -> bool:
    caller = sys._getframe(3)  # past this one, the gate and the blocked function
    if not caller.f_code.co_filename.startswith(PACKAGE):
        return False
    frame: types.FrameType | None = caller
    while own and frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(EXERCISES):  # inputs and measures of exercises may use everything
            return True
        if not (file.startswith(PACKAGE) or file == "<blocked>" or _is_library(file)):
            return False
        frame = frame.f_back
    return True


def _is_library(file: str) -> bool:
    """Such as torch, between two functions of the course."""
    return "site-packages" in file or "dist-packages" in file
