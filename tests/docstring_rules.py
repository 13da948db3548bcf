"""What the docstrings of the package have to say, read with `ast`: nothing is imported or run.

Each rule is a function that takes the `Package` and gives complaints, one line each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
# The commands: what stands under their names is what ``coursekit --help`` prints, in its own form,
# and `main` prints every named error as one sentence.
COMMANDS = "cli"
# Collections of short right and wrong answers: their names say all, and engine.py documents them.
ANSWERS = re.compile(r"exercises\.\w+_(right|wrong|cases\w*)")
# Modules that draw: their tensors are planes of one picture in the making.
DRAWING = re.compile(r"datasets\.(scenes|faces|style)_\w+|datasets\.(sdf|brush)")
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples?):")
ENTRY = re.compile(r"    (\*{0,2}\w+(?:, \*{0,2}\w+)*):(?: |$)")


@dataclass(frozen=True)
class Item:
    """A public module, class, function, method or property, and where it stands."""

    module: str
    name: str
    node: ast.Module | ast.ClassDef | Function
    owner: ast.ClassDef | None = None

    @property
    def where(self) -> str:
        return f"{self.module}.{self.name}".rstrip(".")

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    @cached_property
    def sections(self) -> dict[str, list[str]]:
        """The lines below ``Args:`` and so on; what stands before them under an empty name."""
        found: dict[str, list[str]] = {"": []}
        current = ""
        for line in self.docstring.splitlines():
            heading = SECTION.fullmatch(line)
            if heading:
                current = heading[1]
            elif current and line and not line.startswith(" "):
                current = ""
            found.setdefault(current, []).extend([] if heading else [line])
        return found

    def entries(self, section: str) -> dict[str, str]:
        """What the section says about each name that it lists."""
        found: dict[str, str] = {}
        names: list[str] = []
        for line in self.sections.get(section, []):
            match = ENTRY.match(line)
            if match:
                names = match[1].replace("*", "").split(", ")
                line = line[match.end() :]
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        return found


def parameters(function: Function) -> dict[str, str]:
    """Annotation of each parameter, without ``self``."""
    each = function.args
    every = [*each.posonlyargs, *each.args, each.vararg, *each.kwonlyargs, each.kwarg]
    return {
        arg.arg: ast.unparse(arg.annotation) if arg.annotation else ""
        for arg in every
        if arg is not None and arg.arg not in ("self", "cls") and not arg.arg.startswith("_")
    }


class Package:
    """All modules below a folder, by dotted name.

    Args:
        folder: the package.
    """

    def __init__(self, folder: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
        self.classes = {
            (module, node.name): node
            for module, tree in self.trees.items()
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        }

    @cached_property
    def items(self) -> list[Item]:
        """Everything public that owes a docstring."""
        found: list[Item] = []
        for module, tree in self.trees.items():
            last = module.rpartition(".")[2]
            if not ANSWERS.fullmatch(module) and (not last.startswith("_") or last == "__init__"):
                found += [Item(module, "", tree), *_items_in(module, tree.body)]
        return found

    @property
    def functions(self) -> Iterator[tuple[Item, Function]]:
        """The public functions, methods and properties among the items."""
        for item in self.items:
            if isinstance(item.node, Function):
                yield item, item.node

    def lineage(self, module: str, node: ast.ClassDef) -> list[ast.ClassDef]:
        """A class and its bases inside the package."""
        above = [self.lineage(*each) for each in self.bases(module, node)]
        return [node, *(each for found in above for each in found)]

    def bases(self, module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
        """The modules and the classes that a class is derived from, as far as they are here."""
        places = []
        for base in node.bases:
            where, _, name = ast.unparse(base).rpartition(".")
            places.append((self.imports[module].get(where or name, "" if where else module), name))
        return [(place[0], self.classes[place]) for place in places if place in self.classes]

    @cached_property
    def imports(self) -> dict[str, dict[str, str]]:
        """Module by module, where each imported name of the package comes from."""
        found: dict[str, dict[str, str]] = {}
        for module, tree in self.trees.items():
            found[module] = names = {}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coursekit"):
                    home = (node.module or "").removeprefix("coursekit").lstrip(".")
                    for alias in node.names:
                        inside = f"{home}.{alias.name}".lstrip(".")
                        names[alias.asname or alias.name] = inside if inside in self.trees else home
        return found

    @cached_property
    def by_name(self) -> dict[str, list[Item]]:
        """Items by the last part of their name."""
        found: dict[str, list[Item]] = {}
        for item in self.items:
            found.setdefault(item.name.rpartition(".")[2], []).append(item)
        return found


def _items_in(
    module: str, body: Iterable[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[Item]:
    before = f"{owner.name}." if owner else ""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield Item(module, before + node.name, node)
            yield from _items_in(module, node.body, node)
        elif isinstance(node, Function) and not node.name.startswith("_") and not _is_setter(node):
            yield Item(module, before + node.name, node, owner)


def _is_setter(node: Function) -> bool:
    return any(ast.unparse(each).endswith(".setter") for each in node.decorator_list)


# --- There is one, and it begins with a sentence --------------------------------------------------

SENTENCE = re.compile(r"[.:?!…]$|[.:?!…][\"”)]$|[.:?!…] \([^()]*\)$")


def without_a_sentence(package: Package) -> Iterator[str]:
    """A docstring is there; its first paragraph ends as a sentence does."""
    for item in package.items:
        first = item.docstring.split("\n\n")[0].strip()
        lower = item.module != COMMANDS and re.match(r"[a-z]{2,} ", first)
        if not first:
            yield f"{item.where}: no docstring"
        elif lower or (item.module != COMMANDS and not SENTENCE.search(first)):
            yield f"{item.where}: {first[:60]!r} is no sentence"


# --- Args and Attributes name what there is -------------------------------------------------------


def _fields(package: Package, module: str, node: ast.ClassDef) -> tuple[set[str], set[str]]:
    """What a record is made with, and what may be asked of a class."""
    made: set[str] = set()
    there: set[str] = set()
    for each in package.lineage(module, node):
        record = any("dataclass" in ast.unparse(d) for d in each.decorator_list)
        record = record or any("NamedTuple" in ast.unparse(base) for base in each.bases)
        for child in each.body:
            if isinstance(child, ast.AnnAssign):
                name = ast.unparse(child.target)
                there.add(name)
                hidden = name.startswith("_") or "init=False" in ast.unparse(child)
                if record and not hidden and "ClassVar" not in ast.unparse(child.annotation):
                    made.add(name)
            elif isinstance(child, ast.Assign):
                there.update(ast.unparse(target) for target in child.targets)
            elif isinstance(child, Function):
                there.add(child.name)
        there.update(
            child.attr
            for child in ast.walk(each)
            if isinstance(child, ast.Attribute) and ast.unparse(child.value) == "self"
        )
    return made, made | there


def _constructor(node: ast.ClassDef) -> Function | None:
    found = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
    return found[0] if found else None


def wrong_names(package: Package) -> Iterator[str]:
    """Where parameters or fields are listed, all are named, and nothing that is not there."""
    for item in package.items:
        listed = {**item.entries("Args"), **item.entries("Attributes")}
        if not listed:
            continue
        if isinstance(item.node, ast.ClassDef):
            made, there = _fields(package, item.module, item.node)
            constructor = _constructor(item.node) if item.entries("Args") else None
            made = set(parameters(constructor)) if constructor else made
            there |= made
        else:
            made = there = set(parameters(item.node)) if isinstance(item.node, Function) else set()
        marked = set(re.findall(r"``(\w+)``", item.docstring))
        for name in sorted(made - set(listed) - marked):
            yield f"{item.where}: does not name {name!r}"
        for name in sorted(set(listed) - there):
            yield f"{item.where}: names {name!r}, which is not there"


# --- Shapes ---------------------------------------------------------------------------------------

_NAMED = "batch_size|classes|columns|count|groups|latent|layers|modes|points|rows|steps|ways"
_SIZE = rf"(?:[A-Z](?:_\w+|\w)?['′²]?|\d+|[hknrw]|{_NAMED}|…|\.\.\.)"
_EXTENT = rf"{_SIZE}(?: ?[·×*+/−-] ?{_SIZE})*(?: or {_SIZE})?"
_TUPLE = rf"\({_EXTENT},(?: ?(?:{_EXTENT}|\*?[a-z_]+(?: or \d)?),?)*\)"
SHAPE = re.compile(rf"{_TUPLE}|\bscalars?\b|\bshapes?\b|\bshaped\b")
REFERENCE = re.compile(r"\b(?:as(?: for| in)?|like|inverse of|see) `([\w.]+)`", re.I)

ALIKE = re.compile(r"\b(as|like|same|those)\b|(?<!`)`[\w.]+`(?!`)")


def texts(package: Package, item: Item, *, module: bool = True) -> list[str]:
    """The docstrings that speak for an item.

    Its own, those of its class and of its bases, those that it refers to ("as for `other`"), and
    that of its module.
    """
    owners = package.lineage(item.module, item.owner) if item.owner else []
    own = [item.docstring, *(ast.get_docstring(each) or "" for each in owners)]
    named = REFERENCE.findall(" ".join(" ".join(own).split()))
    others = [each for name in named for each in package.by_name.get(name.rpartition(".")[2], [])]
    own += [other.docstring for other in others]
    return [*own, ast.get_docstring(package.trees[item.module]) or ""] if module else own


def _is_tensor(annotation: str) -> bool:
    return bool(re.search(r"\bTensor\b", re.sub(r"Callable\[.*\]", "", annotation)))


def _mathematical(item: Item) -> bool:
    """Topics, ``core`` and the main data sets: whatever students call with tensors."""
    plumbing = re.match(r"(exercises|recipes)\.", item.module)
    return not plumbing and not DRAWING.fullmatch(item.module)


def without_a_shape(package: Package) -> Iterator[str]:
    """Whoever takes or returns tensors says of which shape, and so does each tensor under Args."""
    for item, function in package.functions:
        annotations = parameters(function)
        returned = ast.unparse(function.returns) if function.returns else ""
        tensors = any(map(_is_tensor, [*annotations.values(), returned]))
        if not _mathematical(item) or not tensors:
            continue
        if not any(map(SHAPE.search, texts(package, item, module=False))):
            yield f"{item.where}: no shape"
        for name, entry in item.entries("Args").items():
            tensor = re.fullmatch(r"Tensor( \| None)?", annotations.get(name, ""))
            elsewhere = rf"\b{name}\b`* {_TUPLE}"  # "Whiten ``features`` (N, C, H, W)."
            said = SHAPE.search(entry) or ALIKE.search(entry)
            if tensor and not said and not re.search(elsewhere, item.docstring):
                yield f"{item.where}: {name!r} has no shape"


# --- Ranges and units -----------------------------------------------------------------------------

PICTURES = re.compile(
    r"images?|pictures?|photos?|photographs?|real|fake|faces?|others?|content|style|edited|"
    r"originals?|textures?|reference|patches|portraits?|drawings?|paintings?"
)
RANGE = re.compile(r"\[0, 1\]|\[[-−]1, 1\]|\[0, 255\]|uint8|\bnormalised|\bany range")
# What a parameter of such a name may hold instead.
OTHER = re.compile(
    r"\b(features?|feature maps?|scores?|logits?|vectors?|labels|numbers|points)\b", re.I
)
LENGTHS = re.compile(
    r"(max_|search_|tile_)?sizes?|window|patch|margin|crop|sides?|radius|tile|overlap|stride"
)
DURATIONS = re.compile(r"(\w+_)?(seconds|timeout|delay|grace|wait)")


def _holds_pictures(name: str, annotation: str, said: str) -> bool:
    """Whether a parameter is a picture: by its name, and by the shape that it is said to have."""
    if not PICTURES.fullmatch(name) or not _is_tensor(annotation) or OTHER.search(said):
        return False
    shapes = re.findall(_TUPLE, said)
    flat = shapes and not any(re.search(r"\b[HWS]\b|size|\b[hw]\b", each) for each in shapes)
    return not flat and not re.match(r"(dict|Mapping)\b", annotation)


def without_a_range(package: Package) -> Iterator[str]:
    """Whoever takes pictures says which values they have."""
    for item, function in package.functions:
        if not _mathematical(item) or any(map(RANGE.search, texts(package, item))):
            continue
        entries = item.entries("Args")
        for name, annotation in parameters(function).items():
            if _holds_pictures(name, annotation, entries.get(name, item.docstring)):
                yield f"{item.where}: {name!r} has no range"


def without_a_unit(package: Package) -> Iterator[str]:
    """Whoever takes a length or a time says in which unit.

    A size may also count: "``size`` numbers each".
    """
    for item in package.items:
        if isinstance(item.node, ast.Module):
            continue
        made = _constructor(item.node) if isinstance(item.node, ast.ClassDef) else item.node
        said = " ".join(texts(package, item))
        for name, annotation in (parameters(made) if made else {}).items():
            if not re.match(r"(int|float|tuple\[(int|float))\b", annotation):
                continue
            length = rf"\bhow many\b|\bpixels?\b|\binch(es)?\b|\d×\d|``{name}`` (\w+ )?\w+s\b"
            if LENGTHS.fullmatch(name) and not re.search(length, said):
                yield f"{item.where}: {name!r} says neither pixels, inches nor what it counts"
            if DURATIONS.fullmatch(name) and not re.search(r"\b(second|minute)s?\b", said):
                yield f"{item.where}: {name!r} does not say seconds"
