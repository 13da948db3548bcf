"""The command ``coursekit``: doctor, fetch, run, render, train, solve, release, report, …

Nothing heavy is imported at module level, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from coursekit import __version__
from coursekit import bench as benchmarks
from coursekit.core.errors import CourseError, SettingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    That is 0, 1 for what went wrong, 130 for Ctrl-C, 141 if nobody reads on (``| head``).
    """
    options = _parser().parse_args(arguments)
    try:
        status = options.function(options)
        sys.stdout.flush()  # here, where a closed pipe can still be caught
        return status
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # What is still in the buffer goes nowhere, or Python would complain of it as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def doctor(options: argparse.Namespace) -> int:
    """say what is there and what is missing, with the command that mends it"""
    from coursekit import doctor as examination

    checks = examination.examine()
    print(examination.report(checks))
    return 1 if any(check.needed and not check.ok for check in checks) else 0


def fetch(options: argparse.Namespace) -> int:
    """fetch pretrained weights into the cache (all that the course needs, or those named)"""
    from coursekit.core import weights

    names = options.names or weights.COURSE_NAMES
    unknown = [name for name in names if name not in (*weights.NAMES, "paintings")]
    if unknown:
        there = ", ".join((*weights.NAMES, "paintings"))
        raise SettingError(f"There is nothing called {unknown[0]!r} to fetch. Choose from {there}.")
    for name in names:
        if name == "paintings":
            _fetch_paintings()
        else:
            path = weights.fetch(name)
            print(f"{name:<12} ready, {path.stat().st_size / 2**20:6.2f} MiB  {path}")
    return 0


def _fetch_paintings() -> None:
    """Fetch every painting that can be had; the first failure is raised after the last try."""
    from coursekit.datasets import paintings

    failures = []
    for name in paintings.PAINTINGS:
        try:
            print(f"{name:<20} ready  {paintings.fetch(name)}")
        except CourseError as error:
            failures.append(error)
            print(f"{name:<20} not to be had")
    if failures:
        raise failures[0]


def run(options: argparse.Namespace) -> int:
    """execute a notebook and write it as one self-contained HTML file"""
    from coursekit import execute, notebooks

    path, start = notebooks.find(options.notebook), time.time()
    target, executed = execute.run_notebook(
        path, options.out, preset=options.preset, force=options.force
    )
    if executed:
        print(f"{path.name} ran in {execute.seconds_since(start)}. The page: {target.resolve()}")
    else:
        print(f"Nothing has changed since the last run (--force runs again): {target.resolve()}")
    return 0


def render(options: argparse.Namespace) -> int:
    """write notebooks as HTML, all of them with a start page: as they lie, or executed first"""
    from coursekit import notebooks, pages

    chosen = [notebooks.find(which) for which in options.notebooks]
    # Pages as they lie must not replace those that took minutes, nor one preset's another's.
    default = f"notebooks-{options.preset}" if options.preset else "notebooks"
    out = options.out or Path("build") / default
    targets = pages.write(
        chosen or notebooks.paths(), out, preset=options.preset, start_page=not chosen
    )
    for target in targets:
        print(target.resolve())
    return 0


def train(options: argparse.Namespace) -> int:
    """train one of the course's own checkpoints; goes on where an earlier run stopped"""
    from coursekit import recipes
    from coursekit.core.atomic import check_writable

    recipe = recipes.find(options.topic, options.recipe)
    folder = options.folder or Path("runs") / f"{options.topic}-{options.recipe}"
    names = ("steps", "seed", "size", "style", "photos")
    given = recipes.accepted(recipe, {name: getattr(options, name) for name in names})
    check_writable(folder)
    files = recipe(folder, **given)
    if not files:
        print(f"Stopped. The same command goes on from where it was ({folder}).")
        return 130
    if options.publish:
        files = recipes.publish(files, options.topic)
    for file in files:
        print(f"{file.stat().st_size / 2**20:6.2f} MiB  {file}")
    return 0


def solve(options: argparse.Namespace) -> int:
    """write notebooks with the course's own solutions in their answer cells (for instructors)"""
    from coursekit import instructor, notebooks

    chosen = [notebooks.find(which) for which in options.notebooks]
    for target in instructor.solve(chosen or instructor.graded(notebooks.paths()), options.out):
        print(target.resolve())
    return 0


def release(options: argparse.Namespace) -> int:
    """make an nbgrader course directory: notebooks with solution markers, points, locked checks"""
    from coursekit import instructor, notebooks

    chosen = [notebooks.find(which) for which in options.notebooks] or notebooks.paths()
    for target in instructor.release(chosen, options.out):
        print(target.resolve())
    print(f"Next, in {options.out}: nbgrader generate_assignment NAME")
    if notebooks.repository() == notebooks.UNNAMED:
        print(
            "Colab finds these notebooks, and the package in them, only once you have put the "
            "course on GitHub: run coursekit badge NAME/REPOSITORY first, then this again."
        )
    return 0


def report(options: argparse.Namespace) -> int:
    """write one page for the class: who solved what, which mistakes were made, what nobody began"""
    from coursekit import report as page

    print(page.write(options.submissions, options.out).resolve())
    return 0


def exercises(options: argparse.Namespace) -> int:
    """list the exercises; with --score, how many wrong answers their checks reject"""
    from coursekit.exercises import engine, score

    for topic in options.topics:
        if topic not in engine.TOPICS:
            there = ", ".join(engine.TOPICS)
            raise SettingError(f"There is no topic {topic!r}. Choose from {there}.")
    for line in score.table(options.topics, scored=options.score):
        print(line, flush=True)
    return 0


def ledger(options: argparse.Namespace) -> int:
    """show which paper says it, which function does it, which tests prove it, and what differs"""
    from coursekit import ledger as book
    from coursekit import ledger_table

    print(ledger_table.render(book.read(options.topics), options.format))
    return 0


def bench(options: argparse.Namespace) -> int:
    """measure the course against plain code and other packages, and write benchmarks/README.md"""
    return benchmarks.run(options)


def badge(options: argparse.Namespace) -> int:
    """write the course's GitHub name into course.toml, every notebook and the README"""
    from coursekit import notebooks

    changed = notebooks.rewrite_repository(options.name)
    for path in changed:
        print(path)
    print(f"{len(changed)} files changed; the course is now {options.name}.")
    return 0


def strip(options: argparse.Namespace) -> int:
    """bring notebooks to the form that is committed: no widget state, nothing of this machine"""
    from coursekit import notebooks

    for path in [notebooks.find(which) for which in options.notebooks] or notebooks.paths():
        changed = notebooks.write(path, notebooks.strip(notebooks.read(path)))
        print(f"{path.name:<28} {'stripped' if changed else 'as it should be'}")
    return 0


def pictures(options: argparse.Namespace) -> int:
    """copy the figure that stands for each notebook, as it was run, to data/pictures"""
    from coursekit import notebooks

    chosen = [notebooks.find(which) for which in options.notebooks] or notebooks.paths()
    for path, changed in notebooks.write_pictures(chosen).items():
        print(f"{path.name:<24} {'written' if changed else 'as it should be'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coursekit", description="The course on image synthesis.")
    parser.add_argument("--version", action="version", version=f"coursekit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    added = {}
    for function in (
        doctor,
        fetch,
        run,
        render,
        train,
        solve,
        release,
        report,
        exercises,
        ledger,
        bench,
        badge,
        strip,
        pictures,
    ):
        text = function.__doc__ or ""
        added[function] = commands.add_parser(function.__name__, help=text, description=text)
        added[function].set_defaults(function=function)
    added[fetch].add_argument("names", nargs="*", metavar="NAME")
    added[run].add_argument("notebook", metavar="NN", help="a number, a name or a path")
    added[run].add_argument("--preset", choices=("ci", "quick", "full"), default="quick")
    added[run].add_argument("--force", action="store_true", help="run even if nothing changed")
    added[run].add_argument("--out", type=Path, default=Path("build"), metavar="FOLDER")
    added[render].add_argument("--preset", choices=("ci", "quick", "full"), help="execute on it")
    added[render].add_argument("--out", type=Path, metavar="FOLDER")
    for function in (render, strip, pictures, solve, release):
        added[function].add_argument("notebooks", nargs="*", metavar="NN")
    for function in (exercises, ledger):
        added[function].add_argument("topics", nargs="*", metavar="TOPIC")
    added[exercises].add_argument(
        "--score", action="store_true", help="change each reference in many ways and check that"
    )
    forms = ("text", "markdown", "json")
    added[ledger].add_argument("--format", choices=forms, default="text")
    added[report].add_argument("submissions", type=Path, metavar="SUBMISSIONS")
    for function, place, kind in (
        (solve, "build/solved", "FOLDER"),
        (release, "build/nbgrader", "FOLDER"),
        (report, "report.html", "FILE"),
    ):
        added[function].add_argument("-o", "--out", type=Path, default=Path(place), metavar=kind)
    added[train].add_argument("topic", metavar="TOPIC")
    added[train].add_argument("--recipe", default="course", metavar="NAME")
    added[train].add_argument("--steps", type=int, metavar="N", help="instead of the recipe's own")
    added[train].add_argument("--seed", type=int, metavar="N")
    added[train].add_argument("--size", type=int, metavar="PIXELS", help="of the pictures")
    added[train].add_argument(
        "--style", metavar="STYLE", help="a painting or style of the course, or a picture's path"
    )
    added[train].add_argument(
        "--photos", type=Path, metavar="DIR", help="a folder of photographs to train on"
    )
    added[train].add_argument(
        "--folder", type=Path, metavar="FOLDER", help="for its files (runs/TOPIC-NAME)"
    )
    added[train].add_argument(
        "--publish", action="store_true", help="copy the results to the course's data/checkpoints"
    )
    benchmarks.add_options(added[bench])
    added[badge].add_argument("name", metavar="OWNER/NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
