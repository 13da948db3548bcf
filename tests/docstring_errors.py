"""Which named errors a function can raise, read with `ast`, against what its docstring says.

Two questions with two answers. `unsaid` counts only what is certain: an error that the body raises,
or a private helper of the same module that it calls, unless a handler around catches it. `unraised`
counts whatever might be: an error that the function, or anything it names, and so on, mentions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from docstring_rules import COMMANDS, Function, Item, Package, texts

# Each named error and what catches it besides itself.
CAUGHT_BY = {
    "SettingError": {"ValueError"},
    "ImageError": {"ValueError"},
    "ShapeError": {"ValueError"},
    "LayerError": {"ValueError"},
    "WeightsError": {"RuntimeError"},
    "DataError": {"RuntimeError"},
    "OptimisationError": {"ArithmeticError"},
    "TrainingError": {"ArithmeticError"},
    "CheckFailed": {"AssertionError"},
}
ERRORS_AS = re.compile(r"\berrors\s+as\s+(for\s+)?`", re.I)
ANY = {"CourseError", "Exception", "BaseException"}


def _called(node: ast.expr) -> str:
    """``"f"`` for ``f(x)``, ``"self.f"`` for ``self.f(x)``, else empty."""
    target = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(target) if isinstance(target, ast.Name | ast.Attribute) else ""


def _names(node: ast.AST | None) -> set[str]:
    """Every name and attribute that is read in a tree."""
    each = ast.walk(node) if node is not None else ()
    return {
        child.id if isinstance(child, ast.Name) else child.attr
        for child in each
        if isinstance(child, ast.Name | ast.Attribute)
    }


@dataclass(frozen=True)
class Scope:
    """Where a statement stands.

    Attributes:
        module: whose names it sees.
        owner: the class of the method, if it is one.
        inner: functions that are defined inside the function.
        seen: helpers that are being followed already.
    """

    module: str
    owner: ast.ClassDef | None
    inner: Mapping[str, Function]
    seen: frozenset[str]


class Raised:
    """The errors that functions certainly raise.

    By themselves, or through private helpers of their module, private methods of their class, and
    public functions that only check: all of ``core.checks``, and every ``check_…``.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self.defined = {
            (module, node.name): node
            for module, tree in package.trees.items()
            for node in tree.body
            if isinstance(node, Function | ast.ClassDef)
        }

    def by(self, module: str, function: Function, owner: ast.ClassDef | None) -> set[str]:
        """By a function or method of a module."""
        scope = Scope(module, owner, _inner(function), frozenset({function.name}))
        return self._in(function.body, scope)

    def _in(self, body: Iterable[ast.AST], scope: Scope) -> set[str]:
        found: set[str] = set()
        for node in body:
            if isinstance(node, Function | ast.ClassDef | ast.Lambda):
                continue  # defined here, not run here
            if isinstance(node, ast.Try):
                found |= self._tried(node, scope)
                continue
            if isinstance(node, ast.Raise) and node.exc is not None:
                found |= self._errors(_called(node.exc), scope)
            if isinstance(node, ast.Call):
                found |= self._through(_called(node), scope)
            found |= self._in(ast.iter_child_nodes(node), scope)
        return found

    def _tried(self, node: ast.Try, scope: Scope) -> set[str]:
        """What no handler catches, or hands on, and what the handlers raise themselves."""
        tried = self._in(node.body, scope)
        caught = [_names(each.type) if each.type else ANY for each in node.handlers]
        kept = {e for e in tried if not any({e, *CAUGHT_BY[e], *ANY} & names for names in caught)}
        for handler in node.handlers:
            if any(isinstance(each, ast.Raise) and each.exc is None for each in handler.body):
                kept |= tried
        return kept | self._in([*node.handlers, *node.orelse, *node.finalbody], scope)

    def _errors(self, raised: str, scope: Scope) -> set[str]:
        """The error itself, or the ones that a function which makes it says it returns."""
        name = raised.rpartition(".")[2]
        maker = self.defined.get((scope.module, name))
        made = _names(maker.returns) if isinstance(maker, Function) else {name}
        return made & CAUGHT_BY.keys()

    def _through(self, called: str, scope: Scope) -> set[str]:
        """What the call of a helper raises."""
        before, _, name = called.rpartition(".")
        module, owner, helper = scope.module, scope.owner, None
        if before in ("self", "cls") and owner is not None and name.startswith("_"):
            above = self.package.lineage(module, owner)
            methods = [m for each in above for m in each.body if isinstance(m, Function)]
            helper = next((m for m in methods if m.name == name), None)
        elif not before and name in scope.inner:
            helper = scope.inner[name]
        elif not before and name.startswith("_"):
            helper, owner = self.defined.get((module, name)), None
        else:
            home = self.package.imports[module].get(before or name, "" if before else module)
            if home == "core.checks" or name.startswith("check_"):
                module, helper, owner = home, self.defined.get((home, name)), None
        if name in scope.seen or helper is None:
            return set()
        functions = [helper] if isinstance(helper, Function) else _constructors(helper)
        owner = owner if isinstance(helper, Function) else helper
        return set().union(
            *(
                self._in(
                    each.body,
                    Scope(module, owner, {**scope.inner, **_inner(each)}, scope.seen | {name}),
                )
                for each in functions
            )
        )


def _inner(function: Function) -> dict[str, Function]:
    return {n.name: n for n in ast.walk(function) if isinstance(n, Function) and n is not function}


def _constructors(node: ast.ClassDef) -> list[Function]:
    made = ("__init__", "__post_init__")
    return [each for each in node.body if isinstance(each, Function) and each.name in made]


def said(item: Item) -> set[str]:
    """The named errors under ``Raises:``."""
    entries = item.entries("Raises")
    return {name for name in entries if name in CAUGHT_BY or name in ANY}


def unsaid(package: Package) -> Iterator[str]:
    """An error that is raised stands under ``Raises:``."""
    raised = Raised(package)
    for item in package.items:
        if isinstance(item.node, ast.Module) or item.module == COMMANDS:
            continue
        made = item.node if isinstance(item.node, ast.ClassDef) else None
        functions = _constructors(made) if made else [item.node]
        owner = made or item.owner
        certain = set().union(*(raised.by(item.module, each, owner) for each in functions))
        said_of_it = " ".join(texts(package, item)) if ERRORS_AS.search(item.docstring) else ""
        mentioned = set(re.findall(r"\w+Error|CheckFailed", item.docstring + said_of_it))
        if not mentioned & ANY:
            for error in sorted(certain - mentioned):
                yield f"{item.where}: does not say that it raises {error}"


# --- The reverse ----------------------------------------------------------------------------------


Place = tuple[str, str]  # module, and a name in it: "f", "Class" or "Class.f"


class Reach:
    """What may happen when something of the package is called: a guess that leaves nothing out.

    A name stands for whatever the module defines or imports under it, ``module.name`` for what it
    is there, and a class, be it only in an annotation, for all its methods and those of its bases
    and of what is derived from it.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self.nodes: dict[Place, ast.AST] = {}
        derived: dict[Place, set[Place]] = {}
        for module, tree in package.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    methods = [each for each in node.body if isinstance(each, Function)]
                    self.nodes |= {(module, f"{node.name}.{each.name}"): each for each in methods}
            self.nodes |= {(module, name): node for node in tree.body for name in _defined(node)}
        for (module, name), node in package.classes.items():
            for home, above in package.bases(module, node):
                derived.setdefault((home, above.name), set()).add((module, name))
        self.derived = derived

    @cached_property
    def errors(self) -> dict[Place, set[str]]:
        """All named errors that may be raised from each definition on."""
        found = {where: _names(node) & CAUGHT_BY.keys() for where, node in self.nodes.items()}
        callers: dict[Place, set[Place]] = {}
        for where, node in self.nodes.items():
            for other in self._named_by(where[0], node) | self.derived.get(where, set()):
                callers.setdefault(other, set()).add(where)
        todo = set(found)
        while todo:
            where = todo.pop()
            for caller in callers.get(where, ()):
                if not found[where] <= found[caller]:
                    found[caller] |= found[where]
                    todo.add(caller)
        return found

    def _named_by(self, module: str, definition: ast.AST) -> set[Place]:
        imports = self.package.imports[module]
        found: set[Place] = set()
        for node in ast.walk(definition):
            if isinstance(node, ast.Name):
                found |= {(module, node.id), (imports.get(node.id, module), node.id)}
            elif isinstance(node, ast.Attribute):
                value = node.value.id if isinstance(node.value, ast.Name) else ""
                home = imports.get(value, "")
                found.add((home, node.attr))
        return found & self.nodes.keys()


def _defined(node: ast.AST) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [each.id for each in targets if isinstance(each, ast.Name)]


def unraised(package: Package) -> Iterator[str]:
    """An error under ``Raises:`` is one that something reachable mentions."""
    reach = Reach(package)
    for item in package.items:
        reachable = set(reach.errors.get((item.module, item.name), ()))
        if item.owner is not None:
            reachable |= reach.errors.get((item.module, item.owner.name), set())
        for error in sorted(said(item) - ANY - reachable):
            yield f"{item.where}: says {error}, which nothing that it calls raises"
