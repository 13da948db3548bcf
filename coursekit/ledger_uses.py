"""Which test functions use which names of ``coursekit``: read from ``tests/`` with `ast`.

A test uses what it names, and what the fixtures, helpers and constants name that it names, in its
own file or in another file of the tests. Nothing is imported or run.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from coursekit.core.errors import DataError

Trees = Mapping[str, ast.Module]  # modules by their names below coursekit, such as "core.losses"


def parse(path: Path) -> ast.Module:
    """A Python file as a tree.

    Raises:
        DataError: it cannot be read as Python.
    """
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as Python: {error}") from error


class Uses:
    """Which tests use a name; `of` answers.

    Args:
        folder: the tests.
        modules: of the package, for names that one module takes from another.

    Raises:
        DataError: a test file is no Python.
    """

    def __init__(self, folder: Path, modules: Trees) -> None:
        self._taken = {
            f"coursekit.{module}.{local}": full
            for module, tree in modules.items()
            for local, full in imports(tree.body).items()
            if full.startswith("coursekit.")
        }
        self._named: dict[str, set[str]] = {}  # what each item at the top of a test file names
        self._tests: dict[str, set[str]] = defaultdict(set)
        trees = {path.stem: parse(path) for path in sorted(folder.glob("*.py"))}
        for stem, tree in trees.items():  # conftest comes before the tests that use its fixtures
            self._read(stem, tree)
        for stem, tree in trees.items():
            if stem.startswith("test_"):
                for label, item in tests_in(tree):
                    for used in self._reached(f"{stem}.{item}"):
                        self._tests[used].add(f"{folder.name}/{stem}.py::{label}")

    def of(self, module: str, name: str) -> set[str]:
        """The tests that use ``coursekit.MODULE.NAME``, as ``"tests/test_wct.py::test_…"``."""
        return self._tests.get(f"coursekit.{module}.{name}", set())

    def _read(self, stem: str, tree: ast.Module) -> None:
        known = {name: f"{stem}.{name}" for node in tree.body for name in _bound(node)}
        known |= imports(ast.walk(tree))
        for node in tree.body:
            named = {self._full(chain, known) for chain in chains(node)} - {""}
            for name in _bound(node):
                self._named.setdefault(f"{stem}.{name}", set()).update(named)

    def _full(self, chain: str, known: Mapping[str, str]) -> str:
        """``"wct.whiten"`` as ``"coursekit.wct.whiten"``; empty for what is unknown here."""
        first, *rest = chain.split(".")
        fixture = f"conftest.{first}"
        full = known.get(first) or (fixture if fixture in self._named else "")
        full = self._taken.get(full, full)
        for part in rest if full else ():
            full = f"{full}.{part}"
            full = self._taken.get(full, full)
        return full

    def _reached(self, item: str) -> set[str]:
        """What an item of a test file names, by itself or through other items."""
        seen: set[str] = set()
        ahead = [item]
        while ahead:
            new = self._named.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen


def stand_ins(modules: Trees) -> dict[str, set[str]]:
    """For each class by its full name what is tested in its place, as ``"MODULE.NAME"``.

    That is a subclass, a function that is annotated to return it (or the class whose method does),
    and a constant that is made of it.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules.items():
        known = imports(tree.body)
        for node in tree.body:
            for chain in (c for said in _promises(node) for c in chains(said)):
                first, _, rest = chain.partition(".")
                full = known.get(first, f"coursekit.{module}.{first}")
                for name in _bound(node):
                    found[f"{full}.{rest}" if rest else full].add(f"{module}.{name}")
    return found


def _promises(node: ast.stmt) -> list[ast.expr]:
    """Bases, return annotations, or what a constant is made of."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return [node.value] if node.value else []
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    inside = [n.returns for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n.returns]
    return [*bases, *inside]


def tests_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(label as pytest prints it, item at the top of the file) of every test."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            yield node.name, node.name
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name.startswith("test"):
                    yield f"{node.name}::{part.name}", node.name


def imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> dict[str, str]:
    """Local names of what is imported: ``{"w": "coursekit.wct.whiten"}``."""
    found = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for each in node.names:
                whole = each.name if each.asname else each.name.split(".")[0]
                found[each.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for each in node.names:
                found[each.asname or each.name] = f"{node.module}.{each.name}"
    return found


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a file defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return []
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not _is_read(n)]


def _is_read(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)


def chains(node: ast.AST) -> Iterator[str]:
    """Every name read, dotted (``wct.whiten``), and every argument: it may be a fixture."""
    for each in ast.walk(node):
        if isinstance(each, ast.arg):
            yield each.arg
        elif isinstance(each, ast.Name | ast.Attribute) and _is_read(each):
            text = _dotted(each)
            if text:
                yield text


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return ""
    before = _dotted(node.value)
    return f"{before}.{node.attr}" if before else ""
