"""The ledger: a small package and small tests whose entries are known, then the course's own."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import pytest

from coursekit import ledger, ledger_table, ledger_uses
from coursekit.core.errors import DataError, SettingError
from coursekit.exercises import engine
from coursekit.ledger import Entry

MODULE = '''
"""Whitening (Li, Fang & Yang 2017); Karras et al. 2020 do without."""

# Differs from Li et al. 2017: a floor, because features are flat.
FLOOR = 1e-3
OTHER = 2


def whiten(x):
    """Take the covariance away (eq. 2).

    Args:
        x: features.
        floor: a share. Differs from Karras et al. 2020, figure 3b, who have none,
            because they need none.
        y: more.
    """
    # Two sentences. Differs
    # from the paper's code: two lines of it.
    return x


def unsourced(x):
    """No paper here, and 2017 is only a number."""


class Report:
    """Numbers."""

    def value(self):
        """Differs from Li et al. 2017 in a method."""


def measure() -> Report:
    """Source: none; a measure of this course."""


def load_decoder():
    """Read one."""


def _hidden():
    """(Li et al. 2017)"""
'''
COMPANION = '''
"""A module of one source.

Source: Karras et al. 2018, section 5.
"""

from dataclasses import dataclass

from coursekit.wct import whiten


@dataclass
class Row:
    """One."""

    value: float

    @property
    def twice(self):
        return 2 * self.value


ROWS = (Row(1.0),)


def pyramid():
    """Halve."""


class Special(Base):
    """A subclass (2020, appendix B)."""


class Base:
    """Its base (eq. 1 of Umeyama 1991)."""
'''
TESTS = """
import pytest

from coursekit import wct, wct_roots
from coursekit.wct import measure as measured
from helper import built


@pytest.fixture
def rows():
    return wct_roots.ROWS


def through(x):
    return wct.whiten(x)


def test_direct():
    assert wct_roots.whiten(1) == 1


def test_through_a_helper():
    assert through(1)


def test_with_a_fixture(rows):
    assert rows


def test_by_another_name():
    measured()


@pytest.mark.parametrize("call", [wct_roots.pyramid])
class TestGroup:
    def test_special(self, call):
        assert wct_roots.Special


def test_elsewhere(decoder):
    assert built() and "wct.unsourced"
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A checkout with two modules of one topic and a file of tests."""
    files = {
        "pyproject.toml": "",
        "coursekit/wct.py": MODULE,
        "coursekit/wct_roots.py": COMPANION,
        "coursekit/cli.py": "def command():\n    pass\n",
        "tests/test_wct.py": TESTS,
        "tests/helper.py": "from coursekit import wct\n\ndef built():\n    return wct._hidden()\n",
        "tests/conftest.py": "from coursekit.wct import load_decoder\n\n"
        "def decoder():\n    return load_decoder()\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / "coursekit"


def by_name(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


# --- Papers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as said (Li et al. 2017, eq. 2).", ["Li et al. 2017, eq. 2"]),
        ("Johnson, Alahi & Fei-Fei 2016, supplementary table 1", ["Johnson et al. 2016, table 1"]),
        ("Umeyama 1991, eq. 40 to 43", ["Umeyama 1991, eq. 40 to 43"]),
        (
            "Krähenbühl et al. 2016 and Zou & Donner 2008",
            ["Krähenbühl et al. 2016", "Zou & Donner 2008"],
        ),
        ("(Wang et al. 2018 (pix2pixHD), eq. 2)", ["Wang et al. 2018, eq. 2"]),
        ("Karras et al. 2019, 2020", ["Karras et al. 2019", "Karras et al. 2020"]),
        ("That is eq. 4 of Gatys et al.\n    2015.", ["Gatys et al. 2015, eq. 4"]),
        ("Isola et al. 2017, §3.2 and appendix 6.1", ["Isola et al. 2017, §3.2, appendix 6.1"]),
        ("VGG-Face, Parkhi et al. 2015", ["Parkhi et al. 2015"]),
        ("since 2015; PASCAL VOC 2012; 4,000 digits", []),
        ("(eq. 3) and notebook 06", []),
    ],
)
def test_citations_are_read(text: str, expected: list[str]) -> None:
    assert ledger.citations(text) == expected


def test_a_place_alone_is_one_in_the_papers_at_home() -> None:
    home = ["Karras et al. 2019", "Karras et al. 2020"]
    assert ledger.citations("as in (eq. 3)", home) == ["Karras et al. 2019, eq. 3"]
    assert ledger.citations("(2020, Figure 7b)", home) == ["Karras et al. 2020, Figure 7b"]
    found = ledger.citations("Mao et al. 2017 began it. The half is theirs (section 4).", home)
    assert found == ["Mao et al. 2017", "Karras et al. 2019, section 4"]


# --- A small package ------------------------------------------------------------------------------


def test_sources_come_from_docstrings(package: Path) -> None:
    found = by_name(ledger.read(["wct"], package))
    assert found["whiten"].sources == (
        "Li et al. 2017, eq. 2",
        "Karras et al. 2020, figure 3b",
    )
    assert found["pyramid"].sources == ("Karras et al. 2018, section 5",)
    assert found["Special"].sources == ("Karras et al. 2020, appendix B",)
    assert found["Base"].sources == ("Umeyama 1991, eq. 1",)
    assert {name for name, entry in found.items() if "source" in entry.gaps} == {
        "unsourced",
        "Report",
    }


def test_reasons_are_told(package: Path) -> None:
    found = by_name(ledger.read(["wct"], package))
    assert found["measure"].reason == "a measure of this course"
    assert found["Row"].reason == "holds values"
    assert found["load_decoder"].reason == ledger.ROLES["load*"]
    assert all(not (entry.sources and entry.reason) for entry in found.values())


def test_deviations_are_whole_paragraphs_of_what_they_stand_in(package: Path) -> None:
    found = by_name(ledger.read(["wct"], package))
    assert found["whiten"].differs == (
        "Differs from Karras et al. 2020, figure 3b, who have none, because they need none.",
        "Differs from the paper's code: two lines of it.",
    )
    assert found["Report"].differs == ("Differs from Li et al. 2017 in a method.",)
    floor = found["FLOOR"]
    assert (floor.kind, floor.sources, floor.gaps) == ("constant", ("Li et al. 2017",), ())
    assert "OTHER" not in found and "_hidden" not in found and "command" not in found


def test_tests_are_found_by_what_they_name(package: Path) -> None:
    found = {
        name: [test.removeprefix("tests/test_wct.py::") for test in entry.tests or ()]
        for name, entry in by_name(ledger.read(["wct"], package)).items()
    }
    assert found["whiten"] == ["test_direct", "test_through_a_helper"]
    assert found["Row"] == ["test_with_a_fixture"]  # through the constant that is made of it
    assert found["measure"] == found["Report"] == ["test_by_another_name"]  # it returns one
    assert found["Special"] == found["Base"] == ["TestGroup::test_special"]
    assert found["pyramid"] == ["TestGroup::test_special"]
    assert found["load_decoder"] == ["test_elsewhere"]
    assert found["unsourced"] == []  # a string is no use


def test_all_of_a_module_counts_for_what_is_public(package: Path) -> None:
    with (package / "wct.py").open("a", encoding="utf-8") as file:
        file.write('\n\n__all__ = ["_hidden"]\n')
    entry = by_name(ledger.read(["wct"], package))["_hidden"]
    assert entry.public and entry.tests == ("tests/test_wct.py::test_elsewhere",)


def test_without_tests_the_ledger_says_so(package: Path) -> None:
    (package.parent / "pyproject.toml").unlink()  # as in a wheel, beside somebody else's tests/
    entries = ledger.read(["wct"], package)
    assert {entry.tests for entry in entries} == {None}
    assert not any("test" in entry.gaps for entry in entries)
    for form in ("text", "markdown"):
        assert "The tests are not here" in ledger_table.render(entries, form)
    assert {row["tests"] for row in json.loads(ledger_table.render(entries, "json"))} == {None}


def test_a_file_that_is_no_python_is_named(package: Path) -> None:
    (package / "wct.py").write_text("def", encoding="utf-8")
    with pytest.raises(DataError, match=r"wct\.py cannot be read"):
        ledger.read(["wct"], package)


def test_an_unknown_topic_or_form_is_refused() -> None:
    with pytest.raises(SettingError, match=r"'vae'.*wct"):
        ledger.read(["vae"])
    with pytest.raises(SettingError, match=r"'html'.*markdown"):
        ledger_table.render([], "html")


def test_the_table_has_every_entry_and_names_the_gaps(package: Path) -> None:
    entries = ledger.read(["wct"], package)
    text = ledger_table.render(entries)
    lines = text.splitlines()
    assert "coursekit.wct" in lines and "coursekit.wct_roots" in lines
    row = next(line for line in lines if line.startswith("  whiten"))
    assert "Li et al. 2017, eq. 2" in row and row.endswith("test_wct.py: 2")
    assert "      Differs from the paper's code: two lines of it." in lines
    assert "Without a source: wct.unsourced, wct.Report." in lines
    assert "Without a test: wct.unsourced." in lines
    markdown = ledger_table.render(entries, "markdown")
    cells = next(line for line in markdown.splitlines() if line.startswith("| `whiten`")).split("|")
    assert len(cells) == 6 and "`test_wct.py::test_direct`" in cells[3]
    rows = json.loads(ledger_table.render(entries, "json"))
    assert [row["name"] for row in rows] == [entry.name for entry in entries]
    assert {row["name"] for row in rows if row["gaps"]} == {"unsourced", "Report"}


# --- The course's own -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> list[Entry]:
    return ledger.read()


def test_topics_are_those_of_the_exercises() -> None:
    assert ledger.TOPICS == engine.TOPICS


@pytest.mark.parametrize("topic", ledger.TOPICS)
def test_every_public_name_of_a_topic_has_its_entry(topic: str, whole: list[Entry]) -> None:
    """A paper or a reason in the docstring, and a test that uses it; `ledger` says how."""
    lacking = {
        f"{entry.module}.{entry.name}": entry.gaps
        for entry in whole
        if entry.topic == topic and entry.gaps
    }
    assert not lacking


def test_every_public_name_that_python_sees_is_there(whole: list[Entry]) -> None:
    """The same question to Python itself: what a module defines without an underscore."""
    for name in sorted({entry.module for entry in whole if entry.public}):
        module = importlib.import_module(f"coursekit.{name}")
        defined = {
            key
            for key, value in vars(module).items()
            if (inspect.isfunction(value) or inspect.isclass(value))
            and value.__module__ == module.__name__
            and value.__name__ == key
            and not key.startswith("_")
        }
        found = {entry.name for entry in whole if entry.module == name and entry.public}
        assert found == defined, name


def test_what_is_listed_by_hand_is_there_and_has_no_paper(whole: list[Entry]) -> None:
    entries = {f"{entry.module}.{entry.name}": entry for entry in whole}
    for reason, names in ledger.NO_PAPER.items():
        for name in names:
            assert entries[name].reason == reason
    used = {entry.reason for entry in whole}
    assert used >= set(ledger.ROLES.values())


def test_formulas_of_the_foundations_are_tested(whole: list[Entry]) -> None:
    cited = [entry for entry in whole if entry.topic == "core" and entry.sources]
    assert {"gram_matrix", "r1_penalty", "LPIPS"} <= {entry.name for entry in cited}
    assert not [entry.name for entry in cited if not entry.tests]


def test_pytest_knows_the_tests_by_the_same_names(request: pytest.FixtureRequest) -> None:
    """What was collected for this run: every test of this file, or of all."""
    for path in {item.path for item in request.session.items if item.path.suffix == ".py"}:
        ours = {label for label, _ in ledger_uses.tests_in(ledger_uses.parse(path))}
        collected = [item.nodeid for item in request.session.items if item.path == path]
        theirs = {each.split("::", 1)[1].split("[")[0] for each in collected}
        assert theirs <= ours, path.name


def test_a_deviation_that_anybody_declares_is_in_the_ledger(whole: list[Entry]) -> None:
    """Counted a second way: every "Differs from" in the files of the topics and their recipes."""
    for path in sorted(ledger.PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ledger.PACKAGE).with_suffix("").parts)
        text = " ".join(path.read_text(encoding="utf-8").replace("#", " ").split())
        entries = [entry for entry in whole if entry.module == name]
        if entries:
            assert sum(len(entry.differs) for entry in entries) == text.count("Differs from")
