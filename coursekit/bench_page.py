"""benchmarks/README.md, made from results by a template; it can be made again at any time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coursekit import bench, bench_results
from coursekit.bench_results import Report
from coursekit.core.atomic import write_text

TEMPLATE, RESULTS, PAGE = "README.md.j2", "results.json", "README.md"
EARLIER = "earlier.md"  # measured by hand on machines that are not at hand any more
CLOCKS = {"wall": "", "cpu": ", processor time"}


@dataclass(frozen=True)
class Section:
    """One benchmark in the README.

    Attributes:
        name: the script's.
        title, text: its docstring.
        reports: what was measured with it, on one device after the other.
    """

    name: str
    title: str
    text: str
    reports: tuple[Report, ...]


def write(top: Path, files: Mapping[str, Path] | None = None) -> Path:
    """Write the README, from the results that are kept and these new ones, and keep them too.

    Args:
        top: the checkout.
        files: new results by key; results of other keys stay as they are.

    Returns:
        The README's path.

    Raises:
        DataError: a result or a script cannot be read, or a file cannot be written.
    """
    folder = top / "benchmarks"
    reports = bench_results.read(folder / RESULTS) if (folder / RESULTS).is_file() else {}
    for key, file in (files or {}).items():
        (reports[key],) = bench_results.read(file).values()
    if files:
        write_text(folder / RESULTS, bench_results.text(dict(sorted(reports.items()))))
    write_text(folder / PAGE, render(top, reports))
    return folder / PAGE


def render(top: Path, reports: Mapping[str, Report]) -> str:
    """The README as text; one that has no result is listed, without a section."""
    from jinja2 import Environment

    folder = top / "benchmarks"
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters.update(table=bench_results.markdown, measured=measured, link=anchor)
    earlier = folder / EARLIER
    template = environment.from_string((folder / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        sections=list(_sections(top, reports)),
        earlier=earlier.read_text(encoding="utf-8").strip() if earlier.is_file() else "",
    )


def _sections(top: Path, reports: Mapping[str, Report]) -> Iterator[Section]:
    for name in bench.BENCHES:
        keys = [key for key in reports if key == name or key.startswith(f"{name}-")]
        title, text = bench.about(bench.script(top, name))
        yield Section(name, title, text, tuple(reports[key] for key in sorted(keys)))


def measured(report: Report) -> str:
    """Where, when and how, in two sentences."""
    found, rounds = report.measured, report.tables[0].rounds
    command = " ".join(["python", f"benchmarks/bench_{report.name}.py", *found.arguments])
    turns = "one round" if rounds == 1 else f"{rounds} rounds"
    threads = "one thread" if found.threads == 1 else f"{found.threads} threads"
    versions = ", ".join(f"{package} {version}" for package, version in found.versions.items())
    load = "" if found.load is None else f"; load {found.load} at the start"
    return (
        f"Measured on {found.date} with `{command}`: {turns}, {threads}{CLOCKS[found.clock]}, "
        f"{found.machine}{load}. {versions}."
    )


def anchor(title: str) -> str:
    """The fragment that GitHub gives a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
