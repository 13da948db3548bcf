"""The ledger in three forms: text for a terminal, Markdown, JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from coursekit.core.errors import SettingError
from coursekit.ledger import Entry

WIDTH = 100
NO_TESTS = (
    "The tests are not here: an installed package has none. Run this in a checkout of the course."
)
NAMED = 3  # tests of a row in Markdown, or files of tests in text, that are named


def render(entries: Sequence[Entry], form: str = "text") -> str:
    """The ledger as one string, without a line break at its end.

    Args:
        entries: as `ledger.read` gives them.
        form: one of `FORMS`. JSON has every test and every deviation in full.

    Raises:
        SettingError: no such form.
    """
    if form not in FORMS:
        raise SettingError(f"There is no form {form!r} of the ledger. Choose from {tuple(FORMS)}.")
    return "\n".join(FORMS[form](entries))


def _text(entries: Sequence[Entry]) -> Iterator[str]:
    for module, group in _by_module(entries):
        rows = [(entry, _said(entry)) for entry in group]
        names = max(len(entry.name) for entry, _ in rows)
        sources = min(max(len(said) for _, said in rows), 44)
        yield f"coursekit.{module}"
        for entry, said in rows:
            row = f"  {entry.name:<{names}}  {said:<{sources}}  {_counted(entry)}"
            yield row.rstrip()
            for differs in entry.differs:
                yield from textwrap.wrap(
                    differs, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 8
                )
        yield ""
    yield from summary(entries)


def _markdown(entries: Sequence[Entry]) -> Iterator[str]:
    for module, group in _by_module(entries):
        yield f"### `coursekit.{module}`\n"
        yield "| | source | tests | declared deviation |"
        yield "|---|---|---|---|"
        for entry in group:
            cells = [f"`{entry.name}`", _said(entry), _named(entry), " ".join(entry.differs)]
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""
    yield from (f"{line}  " for line in summary(entries))


def _json(entries: Sequence[Entry]) -> Iterator[str]:
    rows = [asdict(entry) | {"gaps": entry.gaps} for entry in entries]
    yield json.dumps(rows, ensure_ascii=False, indent=1)


FORMS: dict[str, Callable[[Sequence[Entry]], Iterator[str]]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
}


def summary(entries: Sequence[Entry]) -> Iterator[str]:
    """How much there is, and each gap by name."""
    public = [entry for entry in entries if entry.public]
    cited = sum(bool(entry.sources) for entry in public)
    told = sum(bool(entry.reason) for entry in public)
    deviations = sum(len(entry.differs) for entry in entries)
    yield (
        f"{len(public)} public names: {cited} with a source, {told} with a reason for having none. "
        f"Declared deviations: {deviations}."
    )
    for gap in ("source", "test"):
        names = [f"{entry.module}.{entry.name}" for entry in public if gap in entry.gaps]
        if names:
            yield from textwrap.wrap(f"Without a {gap}: {', '.join(names)}.", WIDTH)
    if any(entry.tests is None for entry in entries):
        yield NO_TESTS


def _by_module(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    for module, group in groupby(entries, key=lambda entry: entry.module):
        yield module, list(group)


def _said(entry: Entry) -> str:
    """The source, or in its place the reason, with a dash before it."""
    if entry.sources:
        return "; ".join(entry.sources)
    return f"– {entry.reason}" if entry.reason else "SOURCE MISSING" if entry.public else ""


def _counted(entry: Entry) -> str:
    """How many tests each file has: ``test_wct.py: 6``."""
    if not entry.tests:
        return _no_test(entry)
    files = Counter(test.split("::")[0].rsplit("/", 1)[-1] for test in entry.tests).most_common()
    said = [f"{file}: {count}" for file, count in files[:NAMED]]
    if len(files) > NAMED:
        said.append(f"{sum(count for _, count in files[NAMED:])} elsewhere")
    return ", ".join(said)


def _named(entry: Entry) -> str:
    """The first tests by name: ``test_wct.py::test_whitened…``."""
    if not entry.tests:
        return _no_test(entry)
    tests = entry.tests
    more = f" and {len(tests) - NAMED} more" if len(tests) > NAMED else ""
    return "<br>".join(f"`{test.split('/', 1)[1]}`" for test in tests[:NAMED]) + more


def _no_test(entry: Entry) -> str:
    """Nothing where none is owed: constants are tested through what uses them."""
    return "?" if entry.tests is None else "NO TEST" if entry.public else ""
