"""The command ``coursekit bench``: every benchmark in a process of its own, then their README.

The scripts are in ``benchmarks/`` of a checkout; a script runs alone too. Standard library only,
so that the command line starts at once.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from coursekit.core.errors import CourseError, DataError, SettingError
from coursekit.notebooks import COURSE_TOML

# The scripts in the order of the README, and what they can measure on.
BENCHES: dict[str, tuple[str, ...]] = {
    "gatys": ("cpu",),
    "fast_style": ("cpu",),
    "wct": ("cpu",),
    "dfi": ("cpu",),
    "dcgan": ("cpu",),
    "pix2pix": ("cpu",),
    "cyclegan": ("cpu",),
    "stylegan2": ("cpu", "cuda"),
    "spade": ("cpu",),
    "datasets": ("cpu",),
    "import": ("cpu",),
}


class BenchError(CourseError, RuntimeError):
    """Some of the benchmarks stopped; the results of the others are kept."""


# --- Options -------------------------------------------------------------------------------------


def add_measuring_options(
    parser: argparse.ArgumentParser,
    *,
    rounds: int | None = None,
    devices: Sequence[str] = ("cpu", "cuda"),
) -> None:
    """Add what one script and all of them together understand.

    Args:
        parser: of the script or of the command.
        rounds: the default; ``None`` for each script's own.
        devices: kinds that can be asked for.
    """

    def device(text: str) -> str:
        if text.partition(":")[0] not in devices:
            raise argparse.ArgumentTypeError(f"{text!r}; choose from {', '.join(devices)}")
        return text

    usual = rounds or "each script's own"
    parser.add_argument(
        "--rounds", type=_positive, default=rounds, metavar="N", help=f"turns ({usual})"
    )
    parser.add_argument("--threads", type=_positive, default=2, metavar="N", help="of torch (2)")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time of all threads, for a busy machine",
    )
    parser.add_argument("--device", type=device, default="cpu", help=" or ".join(devices))
    parser.add_argument(
        "--bfloat16",
        choices=("auto", "yes", "no"),
        default="auto",
        help="measure it too (auto: unless the processor is known to have no instructions for it)",
    )
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure peak memory, in a process of its own for each side",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the whole command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    add_measuring_options(parser)
    parser.add_argument("--resume", action="store_true", help="skip what is measured already")
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        help="write benchmarks/README.md at the end; done anyway when no NAME is given",
    )
    parser.add_argument(
        "--only-write", action="store_true", help="measure nothing, write the README again"
    )


def arguments_of(options: argparse.Namespace) -> list[str]:
    """The measuring options as words of a command line, in one order; defaults are left out."""
    parser = argparse.ArgumentParser()
    add_measuring_options(parser)
    words = []
    for name, usual in vars(parser.parse_args([])).items():
        value = getattr(options, name)
        if value is False:
            words.append(f"--no-{name}")
        elif value != usual:
            words += [f"--{name}", str(value)]
    return words


def without_json(arguments: Sequence[str]) -> tuple[str, ...]:
    """A script's arguments without ``--json FILE``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json")
    return tuple(parser.parse_known_args(arguments)[1])


# --- Places --------------------------------------------------------------------------------------


def checkout() -> Path:
    """The folder of the checkout that has the benchmarks.

    Raises:
        SettingError: there is none.
    """
    for place in (COURSE_TOML.parents[1], Path.cwd()):
        if (place / "benchmarks" / "harness.py").is_file():
            return place
    raise SettingError(
        "The benchmarks are not in the installed package. Go to a checkout of the course, the "
        "folder that holds benchmarks/, and run it there."
    )


def script(top: Path, name: str) -> Path:
    """The file of a benchmark."""
    return top / "benchmarks" / f"bench_{name}.py"


def title(path: Path) -> str:
    """What a script compares, in a line: the first of its docstring, without the full stop."""
    return about(path)[0]


def about(path: Path) -> tuple[str, str]:
    """The first line and the rest of a script's docstring; the script is not run.

    Raises:
        DataError: there is no such script, or it says nothing.
    """
    try:
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read ({error}). Restore it.") from error
    if not doc:
        raise DataError(f"{path} has no docstring; what it compares should stand there.")
    head, _, rest = doc.partition("\n")
    return head.removesuffix("."), rest.strip()


# --- Running -------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks``: the same as ``coursekit bench``."""
    from coursekit import cli

    return cli.main(["bench", *(sys.argv[1:] if arguments is None else arguments)])


def run(options: argparse.Namespace) -> int:
    """Measure, keep each result under ``build/bench/``, and write the README if that is asked for.

    Raises:
        SettingError: no checkout, or a name that no benchmark has.
        BenchError: some benchmarks stopped.
        KeyboardInterrupt: the user stopped it; what was measured is kept.
    """
    from coursekit import bench_page

    top = checkout()
    if options.only_write:
        if options.names or options.write is False:
            raise SettingError("--only-write writes the page of what was measured, nothing else.")
        print(bench_page.write(top))
        return 0
    names = _chosen(options)
    words, kept = arguments_of(options), top / "build" / "bench"
    files, failed = measure(top, names, words, kept, options)
    if options.write or (options.write is None and not options.names):
        print(bench_page.write(top, files))
    elif files:
        print(f"Kept in {kept}. --write puts it into benchmarks/README.md.")
    if failed:
        raise BenchError(
            f"Stopped with an error: {', '.join(failed)}. What they printed says why; the same "
            "command with --resume measures only them."
        )
    return 0


def _chosen(options: argparse.Namespace) -> list[str]:
    """The names asked for, all if none, those that can measure on the device."""
    for name in options.names:
        if name not in BENCHES:
            raise SettingError(f"There is no benchmark {name!r}. Choose from {', '.join(BENCHES)}.")
    kind = options.device.partition(":")[0]
    wanted = list(dict.fromkeys(options.names)) or list(BENCHES)
    for name in wanted:
        if kind not in BENCHES[name]:
            print(f"{name} is left out: it measures on {' and '.join(BENCHES[name])} only.")
    left = [name for name in wanted if kind in BENCHES[name]]
    if not left:
        raise SettingError(f"Nothing is left to measure on {options.device}.")
    return left


def measure(
    top: Path, names: Sequence[str], words: Sequence[str], kept: Path, options: argparse.Namespace
) -> tuple[dict[str, Path], list[str]]:
    """Run the benchmarks one after another.

    Returns:
        The files with their results by key, and the names of those that stopped with an error.
    """
    files: dict[str, Path] = {}
    failed = []
    for number, name in enumerate(names, start=1):
        key = key_of(name, options.device)
        file, place = kept / f"{key}.json", f"[{number}/{len(names)}] {name}"
        if options.resume and _is_measured(file, words):
            print(f"{place} is measured already.", flush=True)
            files[key] = file
            continue
        print(f"\n{place}: {title(script(top, name))}", flush=True)
        try:
            minutes = _run_one(top, name, words, file)
        except KeyboardInterrupt:
            said = f"kept: {len(files)} of {len(names)}, in {kept}"
            print(f"\n{name} was interrupted. --resume goes on with it; {said}.", file=sys.stderr)
            raise
        if file.is_file():
            print(f"{place} took {minutes:.1f} minutes.", flush=True)
            files[key] = file
        else:
            print(f"{place} stopped with an error.", file=sys.stderr, flush=True)
            failed.append(name)
    return files, failed


def key_of(name: str, device: str) -> str:
    """What a result is kept under: the name, with the kind of device unless that is the CPU."""
    kind = device.partition(":")[0]
    return name if kind == "cpu" else f"{name}-{kind}"


def _run_one(top: Path, name: str, words: Sequence[str], file: Path) -> float:
    """Run a script; its result is in ``file`` only if all went well. Returns the minutes."""
    file.unlink(missing_ok=True)  # an older one must not be taken for this one's
    begun = time.monotonic()
    command = [sys.executable, str(script(top, name)), *words, "--json", str(file)]
    subprocess.run(command, check=False, cwd=top)
    return (time.monotonic() - begun) / 60


def _is_measured(file: Path, words: Sequence[str]) -> bool:
    """Whether the file holds a result that was measured with the same options."""
    from coursekit import bench_results

    try:
        reports = bench_results.read(file)
    except DataError:
        return False
    return [report.measured.arguments for report in reports.values()] == [tuple(words)]
