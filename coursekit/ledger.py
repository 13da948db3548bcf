"""The ledger: which paper says it, which function does it, which test proves it, what differs.

Nothing is entered by hand. Sources and deviations are read from docstrings and comments, tests are
found in ``tests/``, all with `ast`: nothing is imported or run. What the ledger reads:

- **A source** is a paper in the docstring, by authors and year, if possible with the place:
  ``(Li et al. 2017, eq. 2)``, ``Umeyama 1991``, ``Radford et al. 2016, §3``. A place alone,
  ``(eq. 3)`` or ``(2020, figure 7b)``, is one in the first paper (of that year) that the module's
  docstring names, or else the docstring of the topic's first module.
- **A module of one source** says so on a line of its docstring, for all that names no paper
  itself: ``Source: Karras et al. 2018, section 5.``
- **What comes from no paper** says why: ``Source: none; a measure of this course.`` in its
  docstring or in its module's. Dataclasses without methods hold values; `ROLES` names what is the
  same in every topic, `NO_PAPER` what else is plumbing. These need no such line.
- **A deviation** is what follows ``Differs from`` in a docstring or comment, up to the end of its
  paragraph. It belongs to the function, class or constant it stands in or above.
- **A test** is a test function that names the function or class, itself or by what it calls in
  the tests' own files. A class is also tested where a subclass of it is, or a function that is
  annotated to return it.

Every public name of a topic's modules has an entry. Of ``core``, the data sets and the recipes
only what names a paper or a deviation has one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from coursekit.core.errors import SettingError
from coursekit.ledger_uses import Uses, parse, stand_ins
from coursekit.topics import TOPICS

PACKAGE = Path(__file__).resolve().parent
FOUNDATIONS = ("core", "datasets")
ROLES = {  # names, with * for any ending, that mean the same in every topic
    "train": "hands the topic's steps to core.training.run",
    "load*": "reads what the course trained or measured",
    "save": "writes what `load` reads",
    "make_game": "builds the networks and the game of a variant",
    "samples": "runs a trained network",
    "sampler": "runs a trained network, as core.metrics asks for it",
    "overview": "lays out pictures",
    "as_*": "brings its argument into another form",
    "check_*": "refuses bad input",
}

# And single names that come from no paper, by reason.
NO_PAPER = {
    "mathematics of textbooks": (
        "inversion_distances.squared_error",
        "inversion_distances.psnr",
        "texture.colour_covariance",
        "texture.eigen_power",
        "dfi.line",
        "wgan.lipschitz_quotients",
        "cgan_networks.class_path",
        "spade_networks.one_hot",
    ),
    "a standard colour space": ("texture.rgb_to_yiq", "texture.yiq_to_rgb", "gatys.luminance"),
    "where an optimisation starts": ("inversion.white_noise",),
    "asks a network what it has": (
        "inversion.features_of",
        "inversion.conv_layers",
        "fast_style_networks.layer_table",
        "wct_networks.layer_of",
        "cyclegan_networks.reach",
    ),
    "sets up a layer of torch": (
        "fast_style_networks.normalisation",
        "fast_style_networks.convolution",
    ),
    "runs a trained network": (
        "fast_style.paint",
        "cgan.sheet",
        "cgan.walk",
        "spade.paint",
        "spade.style_of",
    ),
    "a measure or a control of this course": (
        "inversion.difference_map",
        "inversion_distances.agreement",
        "inversion_distances.disagreements",
        "fast_style.evaluate",
        "fast_style.pan",
        "fast_style.flicker",
        "wct.colour_only",
        "wct_networks.measure",
        "dfi.pixel_edit",
        "dfi.feature_line",
        "dfi_identity.standardised",
        "dfi_identity.verification",
        "dcgan_latent.Pool",
        "dcgan_latent.read",
        "dcgan_latent.other_factors",
        "dcgan_latent.make_pool",
        "dcgan_latent.draw",
        "dcgan_latent.random_like",
        "spade_networks.ConcatBlock",
    ),
    "this course's own way": (
        "gatys.content_energies",
        "gatys.mix_grams",
        "wct_networks.begin_from",
        "wct_networks.begin_linear",
        "wct_networks.fit_front",
    ),
    "the lecture's own formula": ("dfi_identity.mixed_loss", "dfi_identity.reconstruct_mixed"),
    "data": ("dfi_identity.people", "cyclegan.two_heaps"),
    "saves work": ("dcgan.frozen",),
}

Definition = ast.FunctionDef | ast.ClassDef
DOCUMENTED = (ast.FunctionDef, ast.ClassDef)
_YEAR = r"(?:19|20)\d\d[a-z]?"
_AUTHOR = r"[A-ZÀ-Þ][\w’'-]*[a-zß-ÿ][\w’'-]*"
_AUTHORS = rf"{_AUTHOR} et al\.|{_AUTHOR}(?:, {_AUTHOR})* (?:&|and) {_AUTHOR}|{_AUTHOR}"
_NUMBER = r"(?:\d+(?:\.\d+)*[a-z]?|[A-Z](?:\.\d+)*)\b"
_KIND = (
    r"(?:eqs?\.|sec\.|figs?\.|alg\.|prop\.|[Ee]quations?|[Ss]ections?|§|[Aa]ppendix|[Ff]igures?|"
    r"[Tt]ables?|[Aa]lgorithms?|[Tt]heorem)"
)
_PLACE = rf"{_KIND} ?{_NUMBER}(?:(?:–| to | and ){_NUMBER})*"
_CITATION = re.compile(
    rf"(?:\b(?P<before>{_PLACE}) of )?"
    rf"\b(?P<authors>{_AUTHORS}) (?P<years>{_YEAR}(?:(?:, | and ){_YEAR})*)\b"
    rf"|(?:\b(?P<year>{_YEAR}), )?(?P<place>{_PLACE})"
)
# What may stand between a paper and its place: a name or a title, then a comma or a bracket.
_BETWEEN = re.compile(r"(?: \([^()]*\))?(?:, \"[^\"]*\")?(?:,| \(| and|;)? ?(?:supplementary )?")


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        topic: one of `TOPICS` or `FOUNDATIONS`.
        module: below ``coursekit``, such as ``"wct"`` or ``"core.losses"``.
        name: of the function, class or constant.
        kind: ``"function"``, ``"class"`` or ``"constant"``.
        line: where it begins in the module.
        sources: papers with places, ``"Li et al. 2017, eq. 2"``.
        reason: why there is no source; empty if there is one, or if nobody has said why.
        tests: ``"tests/test_wct.py::test_…"``; None where the tests are not there.
        differs: declared deviations, one sentence or more each.
        public: whether it owes a source and a test.
    """

    topic: str
    module: str
    name: str
    kind: str
    line: int
    sources: tuple[str, ...] = ()
    reason: str = ""
    tests: tuple[str, ...] | None = None
    differs: tuple[str, ...] = ()
    public: bool = False

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing: ``"source"``, ``"test"``; nothing for what is not `public`."""
        if not self.public:
            return ()
        source = () if self.sources or self.reason else ("source",)
        return source + (("test",) if self.tests == () else ())


# --- Papers and places ---------------------------------------------------------------------------


def citations(text: str, home: Sequence[str] = ()) -> list[str]:
    """The papers that a docstring names, with their places, each once and in order.

    Args:
        text: the docstring.
        home: papers, such as ``"Karras et al. 2018"``, that a place alone may refer to.
    """
    found: dict[str, list[str]] = {}
    text, end, paper = " ".join(text.split()), 0, ""
    for match in _CITATION.finditer(text):
        if match["authors"]:
            for year in re.findall(_YEAR, match["years"]):
                paper = f"{_short(match['authors'])} {year}"
                found.setdefault(paper, [])
        elif match["year"] or not paper or not _BETWEEN.fullmatch(text[end : match.start()]):
            paper = _at_home(home, match["year"]) or paper
        if paper:
            places = found.setdefault(paper, [])
            places += [place for place in (match["place"], match["before"]) if place not in places]
        end = match.end()
    return [", ".join([paper, *filter(None, places)]) for paper, places in found.items()]


def _short(authors: str) -> str:
    """Three authors and more become the first ``et al.``, so that a paper has one name."""
    return f"{authors.split(',')[0]} et al." if "," in authors else authors


def _at_home(home: Sequence[str], year: str | None) -> str:
    return next((paper for paper in home if not year or paper.endswith(year)), "")


def papers(text: str) -> list[str]:
    """The papers that a docstring names, without places."""
    return [found.split(", ")[0] for found in citations(text)]


def _paragraph(lines: list[str]) -> str:
    """The first line up to the end of its paragraph, or of its entry under ``Args:``."""
    kept = lines[:1]
    indent = len(kept[0]) - len(kept[0].lstrip())
    for line in lines[1:]:
        inward = len(line) - len(line.lstrip())
        if not line.strip() or inward < indent:
            break
        if inward == indent and re.match(r"\s*[a-z_][\w, *]*: ", kept[0]):
            break
        kept.append(line)
    return " ".join(" ".join(kept).split())


def _after(text: str, start: str) -> list[str]:
    """What follows each ``start``, itself included, up to the end of its paragraph."""
    found = []
    for match in re.finditer(r"\s+".join([*start.split(), ""]), text):
        line = text.rfind("\n", 0, match.start()) + 1
        before = " ".join(text[line : match.start()].split())
        found.append(_paragraph(text[line:].splitlines())[len(before) :].strip())
    return found


def _declared(docstring: str) -> str:
    """What a docstring says after ``Source:``."""
    return next(iter(_after(docstring, "Source:")), "").removeprefix("Source:").strip()


def _comments(source: str) -> list[tuple[int, int, str]]:
    """Blocks of whole-line comments: first line, last line, text."""
    blocks: list[tuple[int, int, str]] = []
    for number, line in enumerate(source.splitlines(), 1):
        text = re.match(r"\s*#:? ?(.*)", line)
        if text is None:
            continue
        if blocks and blocks[-1][1] == number - 1:
            blocks[-1] = (blocks[-1][0], number, f"{blocks[-1][2]}\n{text[1]}")
        else:
            blocks.append((number, number, text[1]))
    return blocks


# --- Modules -------------------------------------------------------------------------------------


def _name(path: Path, package: Path) -> str:
    """``"core.losses"`` for ``coursekit/core/losses.py``."""
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")


class Module:
    """One module as text.

    Args:
        path: of the file.
        package: the folder that is ``coursekit``.

    Raises:
        DataError: it is no Python.
    """

    def __init__(self, path: Path, package: Path = PACKAGE) -> None:
        self.name = _name(path, package)
        self.tree = parse(path)
        self.source = path.read_text(encoding="utf-8")
        self.docstring = ast.get_docstring(self.tree) or ""

    @cached_property
    def definitions(self) -> list[Definition]:
        """Functions and classes at the top, in order."""
        return [n for n in self.tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]

    @cached_property
    def exported(self) -> set[str]:
        """What ``__all__`` names."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return {str(n.value) for n in ast.walk(node) if isinstance(n, ast.Constant)}
        return set()

    @cached_property
    def comments(self) -> list[tuple[int, int, str]]:
        """Its comments, where one mentions a deviation at all."""
        return _comments(self.source) if "Differs" in self.source else []

    def differs(self, node: ast.stmt) -> tuple[str, ...]:
        """Deviations that are declared inside a statement or in the comment right above it."""
        begin = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        texts = [ast.get_docstring(n) or "" for n in ast.walk(node) if isinstance(n, DOCUMENTED)]
        for first, last, text in self.comments:
            if begin <= first <= (node.end_lineno or begin) or last == begin - 1:
                texts.append(text)
        return tuple(found for text in texts for found in _after(text, "Differs from"))


def _is_record(node: Definition) -> bool:
    """Whether it is a dataclass that only holds values: properties and dunders, no methods."""
    if not any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        return False
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    return all(
        each.name.startswith("_") or any("property" in ast.unparse(d) for d in each.decorator_list)
        for each in methods
    )


def _why_no_source(module: str, node: Definition, docstring: str, inherited: str) -> str:
    own = _declared(docstring)
    if own.startswith("none"):
        return own.removeprefix("none").strip(" ;,.")
    if _is_record(node):
        return "holds values"
    for reason, names in NO_PAPER.items():
        if f"{module}.{node.name}" in names:
            return reason
    for pattern, reason in ROLES.items():
        if fnmatch(node.name, pattern):
            return reason
    return inherited.removeprefix("none").strip(" ;,.") if inherited.startswith("none") else ""


def _entry(topic: str, module: Module, node: Definition, home: Sequence[str]) -> Entry:
    docstring = ast.get_docstring(node) or ""
    sources = citations(docstring, home)
    inherited = _declared(module.docstring)
    reason = "" if sources else _why_no_source(module.name, node, docstring, inherited)
    if not sources and not reason:
        sources = citations(inherited, home)
    return Entry(
        topic=topic,
        module=module.name,
        name=node.name,
        kind="class" if isinstance(node, ast.ClassDef) else "function",
        line=node.lineno,
        sources=tuple(sources),
        reason=reason,
        differs=module.differs(node),
        public=_is_public(module, node) and _owes(topic, module),
    )


def _constants(topic: str, module: Module, home: Sequence[str]) -> Iterator[Entry]:
    """Constants whose comment declares a deviation."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            for text in module.differs(node):
                found = tuple(citations(text, home))
                yield Entry(
                    topic, module.name, ast.unparse(target), "constant", node.lineno, found,
                    differs=(text,),
                )  # fmt: skip


def _is_public(module: Module, node: Definition) -> bool:
    return node.name in module.exported or not node.name.startswith("_")


def _owes(topic: str, module: Module) -> bool:
    return topic not in FOUNDATIONS and not module.name.startswith("recipes.")


def _entries_of(topic: str, module: Module, home: Sequence[str]) -> list[Entry]:
    """All that a module owes, and what else declares a source or a deviation."""
    home = [*papers(module.docstring), *home]
    entries = [_entry(topic, module, node, home) for node in module.definitions]
    kept = [
        entry
        for entry, node in zip(entries, module.definitions, strict=True)
        if entry.public or entry.differs or (entry.sources and _is_public(module, node))
    ]
    return sorted([*kept, *_constants(topic, module, home)], key=lambda entry: entry.line)


def _topic_of(name: str) -> str:
    """``"dfi"`` for ``"dfi_align"`` and ``"recipes.dfi"``; empty for what is of no topic."""
    folder, _, last = name.rpartition(".")
    if folder and folder != "recipes":
        return folder if folder in FOUNDATIONS else ""
    fits = [t for t in TOPICS if last == t or last.startswith(f"{t}_")]
    return max(fits, key=len, default="")


# --- The ledger ----------------------------------------------------------------------------------


def read(topics: Sequence[str] = (), package: Path = PACKAGE) -> list[Entry]:
    """The entries of some topics, all by default, by topic and module.

    Args:
        topics: of `TOPICS` and `FOUNDATIONS`.
        package: the folder that is ``coursekit``; ``tests`` beside it is read as well.

    Raises:
        SettingError: there is no such topic.
        DataError: a file is no Python.
    """
    for topic in topics:
        if topic not in (*TOPICS, *FOUNDATIONS):
            there = ", ".join((*TOPICS, *FOUNDATIONS))
            raise SettingError(f"There is no topic {topic!r}. Choose from {there}.")
    modules = _modules(package)
    entries = []
    for topic in topics or (*TOPICS, *FOUNDATIONS):
        home = papers(modules[topic].docstring) if topic in modules else []
        for name in sorted((n for n in modules if _topic_of(n) == topic), key=_reading_order):
            entries += _entries_of(topic, modules[name], home)
    folder = tests_folder(package)
    return entries if folder is None else _with_tests(entries, folder, modules)


def _modules(package: Path) -> dict[str, Module]:
    """All modules that can have an entry, by name."""
    paths = [path for path in sorted(package.rglob("*.py")) if _topic_of(_name(path, package))]
    return {_name(path, package): Module(path, package) for path in paths}


def _reading_order(name: str) -> tuple[bool, str]:
    return "." in name, name


def _with_tests(entries: Sequence[Entry], folder: Path, modules: dict[str, Module]) -> list[Entry]:
    trees = {name: module.tree for name, module in modules.items()}
    uses, others = Uses(folder, trees), stand_ins(trees)
    found = []
    for entry in entries:
        tests = set(uses.of(entry.module, entry.name))
        if entry.kind == "class":
            for other in others.get(f"coursekit.{entry.module}.{entry.name}", ()):
                tests |= uses.of(*other.rsplit(".", 1))
        found.append(replace(entry, tests=tuple(sorted(tests))))
    return found


def tests_folder(package: Path = PACKAGE) -> Path | None:
    """The tests of the checkout that ``package`` lies in; None in an installed wheel."""
    top, tests = package.parent, package.parent / "tests"
    return tests if (top / "pyproject.toml").is_file() and tests.is_dir() else None
