"""Wrong answers that nobody thought of: small changes of a function's source.

Every mutant differs from the function in one place: an operator, a constant, a term, an argument,
a call. `score` counts how many of them the checks reject.
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
}
METHODS = {"sum": "mean", "mean": "sum", "square": "abs", "abs": "square", "norm": "sum"}


@dataclass(frozen=True)
class Mutant:
    """A changed function, and what was changed: ``"3: a + b -> a - b"``."""

    name: str
    function: Callable[..., Any]


def mutants(function: Callable[..., Any], step: int = 1) -> list[Mutant]:
    """Small changes of ``function``, and of the helpers beside it that it calls by name.

    With ``step``, every so many of them.
    """
    targets: list[Callable[..., Any]] = [function, *_helpers(function)]
    plans = [
        (target, tree, index, kind)
        for target in targets
        for tree in [_definition(target)]
        for index, (*_, node) in enumerate(_nodes(tree))
        for kind in range(len(list(_options(node, tree))))
    ]
    found: dict[str, Mutant] = {}
    seen: dict[str, int] = {}
    for target, tree, index, kind in plans[::step]:
        changed, told = _changed(tree, index, kind)
        name = told if target is function else f"{target.__name__} {told}"
        seen[name] = seen.get(name, 0) + 1
        name += f" ({seen[name]})" if seen[name] > 1 else ""
        mutant = Mutant(name, _compiled(function, changed, target))
        found.setdefault(f"{target.__name__} {ast.dump(changed)}", mutant)
    return list(found.values())


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The function's tree, without annotations, decorators and docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list, tree.returns = [], None
    for argument in (*tree.args.args, *tree.args.kwonlyargs, *tree.args.posonlyargs):
        argument.annotation = None
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:]
    return tree


def _helpers(function: Callable[..., Any]) -> list[types.FunctionType]:
    """Functions of the same module that it calls and that compute something."""
    names = {node.id for node in ast.walk(_definition(function)) if isinstance(node, ast.Name)}
    there = [function.__globals__.get(name) for name in sorted(names - {function.__name__})]
    return [
        each
        for each in there
        if isinstance(each, types.FunctionType)
        and each.__module__ == function.__module__
        and any(isinstance(node, ast.Return) for node in ast.walk(_definition(each)))
    ]


def _compiled(
    function: Callable[..., Any], tree: ast.FunctionDef, target: Callable[..., Any]
) -> Callable[..., Any]:
    """``function`` with ``target``, which may be itself, replaced by the changed tree."""
    space = dict(function.__globals__)
    code = ast.Module(body=[tree], type_ignores=[])
    exec(compile(code, "<mutant>", "exec"), space)
    if target is function:
        return space[tree.name]
    twin = types.FunctionType(
        function.__code__, space, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


# --- Changes -------------------------------------------------------------------------------------


def _changed(tree: ast.FunctionDef, index: int, kind: int) -> tuple[ast.FunctionDef, str]:
    """A copy with change number ``kind`` at node ``index``, and what was changed."""
    copied = copy.deepcopy(tree)
    parent, field, place, node = next(itertools.islice(_nodes(copied), index, None))
    new = list(_options(node, copied))[kind]
    told = f"{_text(node)} -> {_text(new)}"
    if new is None and len(getattr(parent, field)) == 1:
        new = ast.Pass()
    _put(parent, field, place, new)
    return ast.fix_missing_locations(copied), told


Place = tuple[ast.AST, str, "int | None", ast.AST]


def _nodes(tree: ast.AST) -> Iterator[Place]:
    """Every node under the tree with where it hangs, but for errors and what they say."""
    for field, value in ast.iter_fields(tree):
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not isinstance(node, ast.Raise):
                yield tree, field, place, node
                yield from _nodes(node)


def _put(parent: ast.AST, field: str, place: int | None, new: ast.AST | None) -> None:
    if place is None:
        setattr(parent, field, new)
    elif new is None:
        del getattr(parent, field)[place]
    else:
        getattr(parent, field)[place] = new


def _text(node: ast.AST | None) -> str:
    return "nothing" if node is None else ast.unparse(node).split("\n")[0]


def _options(node: ast.AST, tree: ast.FunctionDef) -> Iterator[ast.AST | None]:
    """What may stand in a node's place; ``None`` to leave it out."""
    if isinstance(node, ast.BinOp):
        yield from _binary(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield _with(node, ops=[COMPARISONS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, (ast.Expr, ast.AugAssign)) and not isinstance(
        getattr(node, "value", None), ast.Constant
    ):
        yield None
    elif isinstance(node, ast.With):
        yield ast.If(test=ast.Constant(True), body=node.body, orelse=[])
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
        yield from _tuples(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from _names(node, tree)


def _with(node: ast.AST, **changes: Any) -> ast.AST:
    new = copy.deepcopy(node)
    for field, value in changes.items():
        setattr(new, field, copy.deepcopy(value))
    return new


def _binary(node: ast.BinOp) -> Iterator[ast.AST]:
    for other in OPERATORS.get(type(node.op), ()):
        yield _with(node, op=other())
    yield node.left
    if not isinstance(node.op, (ast.Div, ast.Pow)):
        yield node.right
    if isinstance(node.op, (ast.MatMult, ast.Sub, ast.Div)):
        yield _with(node, left=node.right, right=node.left)


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
        if node.value > 0:
            yield ast.Constant(node.value - 1)
    elif isinstance(node.value, float):
        yield ast.Constant(2 * node.value if node.value else 0.5)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield node.func.value
        if node.func.attr in METHODS:
            yield _with(node, func=_with(node.func, attr=METHODS[node.func.attr]))
    elif len(node.args) == 1 and not isinstance(node.args[0], (ast.GeneratorExp, ast.Starred)):
        yield node.args[0]
    if len(node.args) >= 2 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
        yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])
    for number in range(len(node.keywords)):
        kept = [each for place, each in enumerate(node.keywords) if place != number]
        yield _with(node, keywords=kept)


def _is_module(node: ast.AST) -> bool:
    names = ("torch", "F", "nn", "losses", "texture", "dcgan", "cgan", "wgan", "inversion", "math")
    if isinstance(node, ast.Attribute):
        return _is_module(node.value)
    return isinstance(node, ast.Name) and node.id in names


def _tuples(node: ast.Tuple) -> Iterator[ast.AST]:
    numbers = all(isinstance(each, (ast.Constant, ast.UnaryOp)) for each in node.elts)
    for number in range(len(node.elts)) if numbers and len(node.elts) > 1 else ():
        yield _with(node, elts=[e for place, e in enumerate(node.elts) if place != number])


def _names(node: ast.Name, tree: ast.FunctionDef) -> Iterator[ast.AST]:
    """A parameter in the place of its neighbour, its first entry alone, or cut from the graph."""
    names = [argument.arg for argument in tree.args.args]
    if node.id not in names:
        return
    if len(names) > 1:
        yield ast.Name(names[(names.index(node.id) + 1) % len(names)], ast.Load())
    for change in (f"{node.id}[:1]", f"{node.id}.flip(0)", f"{node.id}.detach()"):
        yield ast.parse(change, mode="eval").body
