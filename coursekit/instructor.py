"""For instructors: solved editions of the notebooks, and a course directory for nbgrader.

An answer cell of a solved edition holds the stub's signature and the body of the course's own
function; for nbgrader the body stands between its solution markers, and what students get is
made by ``nbgrader generate_assignment``.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from coursekit import notebooks
from coursekit.core.atomic import write_text
from coursekit.core.errors import DataError
from coursekit.exercises import engine
from coursekit.exercises.engine import Exercise
from coursekit.notebooks import Notebook

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CONFIG = "nbgrader_config.py"

_CONFIG_TEXT = '''\
"""nbgrader's settings for this course. Autograding runs students' code: do it in a sandbox."""

import os

# Every kernel that grades inherits this: the small preset, no network, and checks that raise.
os.environ.update(
    COURSEKIT_PRESET="ci",
    COURSEKIT_GRADING="1",
    COURSEKIT_OFFLINE="1",
    COURSEKIT_THREADS="1",
    OMP_NUM_THREADS="1",
)

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "image-synthesis"
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your turn")'}
# Seconds a cell; a cell that takes longer is interrupted, and the rest of the notebook still runs.
c.ExecutePreprocessor.timeout = 180
c.ExecutePreprocessor.interrupt_on_timeout = True
'''


# --- One answer -----------------------------------------------------------------------------------


def solution(exercise: Exercise, *, marked: bool = False) -> str:
    """The answer cell with the course's own solution: the stub's head, the reference's body.

    What the body needs from the course's modules is imported inside the function, so that the
    cell depends on no other cell. Parameters that only the reference has keep their defaults as
    assignments.

    Args:
        exercise: what to solve.
        marked: put nbgrader's solution markers around what students must not see.

    Raises:
        DataError: the reference is no plain function whose source can be read.
    """
    stub, reference = _definition(exercise.stub), _definition(_source(exercise.reference))
    own = {each.arg for each in _parameters(stub)}
    body = [
        *_imports(exercise.reference, reference),
        *_defaults(reference, own),
        *_body(exercise.reference, reference),
    ]
    if marked:
        body = [BEGIN, *body, END]
    text = [*_head(exercise.stub, stub), *(f"    {line}".rstrip() for line in body)]
    return "\n".join(text + _tail(exercise.stub, stub) * marked)


def _source(function: Callable[..., Any]) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise DataError(f"The source of {function!r} cannot be read; give a function.") from error


def _definition(source: str) -> ast.FunctionDef:
    found = ast.parse(source).body[0]
    if not isinstance(found, ast.FunctionDef):
        raise DataError(f"No function in {source[:60]!r}; exercises and references need one.")
    return found


def _parameters(definition: ast.FunctionDef) -> list[ast.arg]:
    arguments = definition.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _head(source: str, stub: ast.FunctionDef) -> list[str]:
    """The stub's lines up to the end of its docstring."""
    last = stub.body[0].end_lineno if ast.get_docstring(stub) else stub.body[0].lineno - 1
    return source.splitlines()[:last]


def _tail(source: str, stub: ast.FunctionDef) -> list[str]:
    """What a stub has after the line that says it is not begun: students keep it."""
    begun = [each.end_lineno for each in stub.body if isinstance(each, ast.Raise)]
    return source.splitlines()[begun[0] :] if begun else []


def _body(function: Callable[..., Any], definition: ast.FunctionDef) -> list[str]:
    """The lines of the reference after its docstring, from its own margin."""
    first = 1 if ast.get_docstring(definition) is not None else 0
    lines = _source(function).splitlines()
    kept = lines[definition.body[first].lineno - 1 : definition.end_lineno]
    return textwrap.dedent("\n".join(kept)).splitlines()


def _defaults(definition: ast.FunctionDef, own: set[str]) -> Iterator[str]:
    """``name = default`` for each parameter that the stub does not have."""
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if argument.arg not in own and default is not None:
            yield f"{argument.arg} = {ast.unparse(default)}"


def _imports(function: Callable[..., Any], definition: ast.FunctionDef) -> list[str]:
    """Import lines for every global name of the body and the defaults, annotations included."""
    defaults = [*definition.args.defaults, *filter(None, definition.args.kw_defaults)]
    parts = [node for part in [*definition.body, *defaults] for node in ast.walk(part)]
    used = {node.id for node in parts if isinstance(node, ast.Name)}
    there = inspect.unwrap(function).__globals__
    plain: list[str] = []
    homes: dict[str, list[str]] = {}
    for name in sorted(used & there.keys()):
        home = _home(name, there)
        if home is not None:
            homes.setdefault(home, []).append(name)
        else:
            module = there[name].__name__
            plain.append(f"import {module}" + ("" if module == name else f" as {name}"))
    chosen = [f"from {home} import {', '.join(names)}" for home, names in sorted(homes.items())]
    return [*plain, *chosen, ""] if plain or chosen else []


def _home(name: str, there: dict[str, Any]) -> str | None:
    """The module or package to import ``name`` from; ``None`` for a module with another name."""
    value = there[name]
    if isinstance(value, ModuleType):
        package, _, last = value.__name__.rpartition(".")
        return package if package and last == name else None
    # Where the name itself lives: for a constant, that is the module of the reference.
    home = getattr(value, "__module__", None)
    named = isinstance(home, str) and getattr(value, "__name__", None) == name
    return home if named else there["__name__"]


# --- Whole notebooks ------------------------------------------------------------------------------


def exercises_of(notebook: Notebook) -> dict[int, Exercise]:
    """Index of each answer cell -> the exercise that the check after it names.

    Raises:
        DataError: a graded cell holds no check.
    """
    found, answer = {}, None
    for index, cell in enumerate(notebook["cells"]):
        grader = cell["metadata"].get("nbgrader", {})
        if grader.get("solution") and not grader.get("grade") and cell["cell_type"] == "code":
            answer = index
        elif grader.get("grade") and answer is not None:
            found[answer], answer = engine.find(_checked(notebooks.source(cell))), None
    return found


def _checked(source: str) -> str:
    """The exercise that a check cell names."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).split(".")[-1] == "check"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            return str(node.args[0].value)
    raise DataError(f"There is no check in the graded cell {source[:60]!r}.")


def solved(notebook: Notebook, *, marked: bool = False) -> Notebook:
    """A copy with every answer filled in (see `solution`) and without outputs."""
    notebook = copy.deepcopy(notebook)
    for index, exercise in exercises_of(notebook).items():
        notebooks.set_source(notebook["cells"][index], solution(exercise, marked=marked))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def solve(paths: Sequence[Path], out: Path) -> list[Path]:
    """Write the solved edition of each notebook into the folder ``out``.

    Raises:
        DataError: ``out`` is the folder that the notebooks lie in: they would be replaced.
    """
    for path in paths:
        if path.resolve().parent == out.resolve():
            raise DataError(f"{out} holds the notebooks themselves; choose another folder.")
    return [_written(solved(notebooks.read(path)), out / path.name) for path in paths]


def _written(notebook: Notebook, path: Path) -> Path:
    notebooks.write(path, notebook)
    return path


def graded(paths: Sequence[Path]) -> list[Path]:
    """Those of the notebooks that have exercises."""
    return [path for path in paths if exercises_of(notebooks.read(path))]


def release(paths: Sequence[Path], out: Path) -> list[Path]:
    """Make an nbgrader course directory: one assignment a notebook, and nbgrader's settings.

    The sources carry the solutions between markers, points and locked checks. What lies in the
    directory already (submissions, grades, settings that you changed) is left alone; only
    ``source/`` is written anew.

    Args:
        paths: notebooks; those without exercises are left out.
        out: the course directory.

    Returns:
        The source notebooks, ``<out>/source/<name>/<name>.ipynb``.

    Raises:
        DataError: none of the notebooks has an exercise.
    """
    chosen = graded(paths)
    if not chosen:
        raise DataError("None of these notebooks has an exercise, so there is nothing to grade.")
    config = out / CONFIG
    if not config.exists():
        write_text(config, _CONFIG_TEXT)
    return [
        _written(solved(notebooks.read(path), marked=True), out / "source" / path.stem / path.name)
        for path in chosen
    ]
