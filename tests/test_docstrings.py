"""Docstrings say shapes, ranges, units and errors: a small package with every fault, then ours.

Sources are checked by `test_ledger.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import docstring_errors
import docstring_rules
import pytest
from docstring_rules import Package

import coursekit
from coursekit.core import errors

Rule = Callable[[Package], Iterator[str]]

RULES: tuple[Rule, ...] = (
    docstring_rules.without_a_sentence,
    docstring_rules.wrong_names,
    docstring_rules.without_a_shape,
    docstring_rules.without_a_range,
    docstring_rules.without_a_unit,
    docstring_errors.unsaid,
    docstring_errors.unraised,
)
# How a complaint begins, and why it is none.
EXCEPTIONS = {
    "datasets.faces_features.Eye: 'side'": "which eye: -1 or 1",
    "datasets.faces_features.eye_window: 'side'": "which eye: -1 or 1",
    "datasets.faces_head.Head.point: 'radius'": "in head radii, as it says",
    "dfi_identity.cosine_margin_loss: 'margin'": "between cosines: a number without a unit",
    "pix2pix.translate: says ShapeError": "raised by the network that it is given",
}


def package_of(tmp_path: Path, **modules: str) -> Package:
    """A package of these modules; ``core__errors`` is ``core.errors``."""
    for name, text in modules.items():
        path = tmp_path / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Package(tmp_path)


# --- Every rule finds its fault -------------------------------------------------------------------


def test_a_docstring_is_missed_and_a_fragment_is_no_sentence(tmp_path: Path) -> None:
    text = '''
"""A module (Li et al. 2017)."""

def sound(): """Does it: twice."""
def cited(): """Is it so? (Wang et al. 2004)"""
def formula(): """w′ = w + ψ (w − w̄)."""
def bare(): return 1
def fragment(): """No full stop"""
def lower(): """begins small."""
def _private(): return 1

class Outer:
    """One."""

    @property
    def value(self): return 1

    def _hidden(self): return 1
'''
    package = package_of(tmp_path, a=text, empty="", exercises__a_wrong="def swapped(): return 1")
    assert list(docstring_rules.without_a_sentence(package)) == [
        "a.bare: no docstring",
        "a.fragment: 'No full stop' is no sentence",
        "a.lower: 'begins small.' is no sentence",
        "a.Outer.value: no docstring",
        "empty: no docstring",
    ]


def test_parameters_and_fields_are_compared_with_what_is_listed(tmp_path: Path) -> None:
    text = '''
"""A module."""
from dataclasses import dataclass

def both(x, y, *rest, z=1):
    """Fine; ``z`` is said here.

    Args:
        x, y: numbers,
            on two lines: with a colon.
        rest: more.
    """

def one(x, y):
    """One is missing, one is not there.

    Args:
        x: a number.
        q: another.
    """

@dataclass
class Base:
    """A base.

    Attributes:
        name: of it.
    """
    name: str
    _cache: int = 0

@dataclass
class Record(Base):
    """A record.

    Attributes:
        value: of it.
        size: of it.
    """
    value: float
    unit: str = ""

class Network:
    """A class that is no record.

    Args:
        width: of it.

    Attributes:
        report: made later.
        colour: nowhere.
    """
    def __init__(self, width, depth):
        self.report = {}
'''
    assert list(docstring_rules.wrong_names(package_of(tmp_path, a=text))) == [
        "a.one: does not name 'y'",
        "a.one: names 'q', which is not there",
        "a.Record: does not name 'name'",
        "a.Record: does not name 'unit'",
        "a.Record: names 'size', which is not there",
        "a.Network: does not name 'depth'",
        "a.Network: names 'colour', which is not there",
    ]


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        ("Maps (N, C, H, W) to (N, C).", True),
        ("Of (N or 1, C, h, w).", True),
        ("Rows (steps, classes) and (2 · count, 3, H, W).", True),
        ("Vectors (N, latent), kernels (C_out, C_in, k, k), any (…, 2).", True),
        ("One logit an image, (N,).", True),
        ("A scalar.", True),
        ("Any shape.", True),
        ("As for `sound`.", True),
        ("Arguments as in\n    `sound`.", True),
        ("Beside `sound`.", False),
        ("As for `shapeless`.", False),
        ("Whitening (Li et al. 2017, eq. 2), in the paper (2020).", False),
        ("Values in [0, 1] (colours, greys).", False),
    ],
)
def test_a_shape_is_told_from_other_brackets(tmp_path: Path, docstring: str, found: bool) -> None:
    text = f'''
"""A module."""

def sound(x: Tensor) -> Tensor:
    """Maps (N, C)."""

def shapeless(x: int) -> int:
    """A number."""

def asked(x: Sequence[Tensor]) -> int:
    """{docstring}"""

def taken(callback: Callable[[Tensor], Tensor]) -> int:
    """Takes no tensor itself."""
'''
    complaints = list(docstring_rules.without_a_shape(package_of(tmp_path, a=text)))
    assert complaints == ([] if found else ["a.asked: no shape"])


def test_every_tensor_under_args_has_its_shape(tmp_path: Path) -> None:
    text = '''
"""A module."""

def some(x: Tensor, y: Tensor, z: Tensor | None, w: Tensor, *, v: Tensor, grams: Grams) -> None:
    """Mix ``w`` (N, C) in.

    Args:
        x: (N,
            C).
        y: like x.
        z: another, with ``x``.
        w: the third.
        v: as in `other`.
        grams: of layers, with ``z``.
    """
'''
    found = list(docstring_rules.without_a_shape(package_of(tmp_path, a=text)))
    assert found == ["a.some: 'z' has no shape"]


def test_pictures_have_a_range(tmp_path: Path) -> None:
    text = '''
"""A module."""

def bare(images: Tensor, style: Tensor) -> Tensor:
    """Of (N, 3, H, W)."""

def said(images: Tensor) -> Tensor:
    """Of (N, 3, H, W) in [0, 1]."""

def free(images: Tensor) -> Tensor:
    """Of (N, 3, H, W), in any range."""

def referred(images: Tensor) -> Tensor:
    """As for `said`."""

def scores(real: Tensor, style: Tensor) -> Tensor:
    """A loss.

    Args:
        real: logits (N,).
        style: s, (N, C).
    """

class Judge:
    """Pictures in [-1, 1] → logits."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,)."""
'''
    package = package_of(
        tmp_path, a=text, b='"""Images are uint8."""\n' + text.split('"""\n', 1)[1]
    )
    assert list(docstring_rules.without_a_range(package)) == [
        "a.bare: 'images' has no range",
        "a.bare: 'style' has no range",
    ]


def test_lengths_and_times_have_a_unit(tmp_path: Path) -> None:
    text = '''
"""A module."""

def bare(size: int, timeout: float = 3.0, margin: Margin = 1) -> None:
    """Something."""

def pixels(size: int, window: tuple[int, int]) -> None:
    """Something, ``size`` pixels a side."""

def counted(size: int) -> None:
    """Groups of ``size`` faces."""

def waits(timeout: float) -> None:
    """Waits at most so many seconds."""

class Canvas:
    """A canvas."""
    def __init__(self, side: int) -> None: ...
'''
    assert list(docstring_rules.without_a_unit(package_of(tmp_path, a=text))) == [
        "a.bare: 'size' says neither pixels, inches nor what it counts",
        "a.bare: 'timeout' does not say seconds",
        "a.Canvas: 'side' says neither pixels, inches nor what it counts",
    ]


ERRORS = '''
"""Errors."""
class ShapeError(ValueError): """A shape."""
class DataError(RuntimeError): """Data."""
class SettingError(ValueError): """A setting."""
'''
CHECKS = '''
"""Checks."""
from coursekit.core.errors import SettingError

def positive(x):
    """Raise SettingError unless it is."""
    _refuse(x)

def _refuse(x):
    raise SettingError(x)
'''
RAISING = '''
"""A module."""
from coursekit.core import checks
from coursekit.core.errors import DataError, SettingError, ShapeError

def direct(x):
    """Something."""
    if x:
        raise ShapeError("no")

def through(x):
    """Something."""
    _helper(x)

def _helper(x):
    with open(x):
        _deeper(x)

def _deeper(x):
    raise _made(x)

def _made(x) -> DataError:
    return DataError(x)

def checked(x):
    """Something."""
    checks.positive(x)

def said(x):
    """Something.

    Raises:
        DataError: always.
    """
    _helper(x)

def referred(x):
    """Arguments and errors as for `said`."""
    _helper(x)

def caught(x):
    """Something."""
    try:
        _helper(x)
    except (KeyError, RuntimeError):
        return None

def turned(x):
    """Something."""
    try:
        _helper(x)
    except DataError as error:
        raise SettingError("no") from error

def handed_on(x):
    """Something."""
    try:
        _helper(x)
    except DataError:
        raise

def later(x):
    """Something: the error comes when the function that it returns is called."""
    def inner():
        raise ShapeError("no")
    return inner

def now(x):
    """Something."""
    def inner():
        raise ShapeError("no")
    return inner()

def public(x):
    """Something: who calls a public function says its errors only if it likes."""
    return said(x)

class Game:
    """A game."""
    def __post_init__(self):
        self._check()

    def _check(self):
        raise SettingError("no")
'''


def test_errors_that_are_raised_are_said(tmp_path: Path) -> None:
    modules = {"core__errors": ERRORS, "core__checks": CHECKS, "a": RAISING}
    assert list(docstring_errors.unsaid(package_of(tmp_path, **modules))) == [
        "a.direct: does not say that it raises ShapeError",
        "a.through: does not say that it raises DataError",
        "a.checked: does not say that it raises SettingError",
        "a.turned: does not say that it raises SettingError",
        "a.handed_on: does not say that it raises DataError",
        "a.now: does not say that it raises ShapeError",
        "a.Game: does not say that it raises SettingError",
    ]


def promise(error: str, indent: str = "    ") -> str:
    """A docstring that names an error."""
    lines = ('"""Something.', "", "Raises:", f"    {error}: always.", '"""')
    return f"\n{indent}".join(lines)


def test_errors_that_are_said_can_be_raised(tmp_path: Path) -> None:
    text = f'''
"""A module."""
from coursekit import a
from coursekit.a import Game

TABLE = {{"x": a.through}}

def far(x):
    {promise("DataError")}
    return a.public(x)

def by_a_table(x):
    {promise("DataError")}
    return TABLE["x"](x)

def by_a_parameter(game: Game):
    {promise("SettingError")}
    return game.step()

def never(x):
    {promise("ShapeError")}
    return a.said(x)

class Derived(Game):
    """A game that is derived."""

    def play(self):
        {promise("SettingError", "        ")}
        self._check()

    def idle(self):
        {promise("ShapeError", "        ")}
'''
    modules = {"core__errors": ERRORS, "core__checks": CHECKS, "a": RAISING, "b": text}
    assert list(docstring_errors.unraised(package_of(tmp_path, **modules))) == [
        "b.never: says ShapeError, which nothing that it calls raises",
        "b.Derived.idle: says ShapeError, which nothing that it calls raises",
    ]


# --- Ours -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course() -> Package:
    return Package(Path(coursekit.__file__).parent)


@pytest.fixture(scope="module")
def complaints(course: Package) -> dict[Rule, list[str]]:
    return {rule: list(rule(course)) for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_docstrings_of_the_course_keep_the_rule(
    rule: Rule, complaints: dict[Rule, list[str]]
) -> None:
    found = [each for each in complaints[rule] if not each.startswith(tuple(EXCEPTIONS))]
    assert not found, "\n".join([rule.__doc__ or "", *found])


def test_every_exception_is_still_needed(complaints: dict[Rule, list[str]]) -> None:
    found = [each for rule in RULES for each in complaints[rule]]
    assert not [start for start in EXCEPTIONS if not any(e.startswith(start) for e in found)]


def test_the_named_errors_are_all_known() -> None:
    named = {
        name: {base.__name__ for base in each.__mro__[2:]}
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.CourseError)
    }
    assert named.pop("CourseError")
    assert named.keys() == docstring_errors.CAUGHT_BY.keys()
    for name, caught_by in docstring_errors.CAUGHT_BY.items():
        assert caught_by <= named[name]


def test_everything_public_is_looked_at(course: Package) -> None:
    """Counted a second way: names without an underscore in every module's text."""
    looked_at = {(item.module, item.name) for item in course.items}
    for module, tree in course.trees.items():
        if docstring_rules.ANSWERS.fullmatch(module):
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                assert (module, node.name) in looked_at or module.endswith("__main__")
