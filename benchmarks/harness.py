"""What the benchmarks share: options, turns, memory, and one form for what they find.

A script defines ``measure``, which yields tables, and ends with `main`. Its docstring is what
benchmarks/README.md says of it: the first line is the heading.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is imported: waiting threads sleep instead of spinning. On a busy machine, and on the
# clock of the processor, the spinning would be timed with the work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from coursekit import bench, bench_results
from coursekit.bench_results import Measured, Report, Table
from coursekit.core.atomic import write_text

if TYPE_CHECKING:
    from torch import Tensor, nn

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# What decides a processor's speed here, as it is called in Linux's list and in words.
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "bfloat16",
    "amx_bf16": "AMX",
    "asimd": "NEON",
    "bf16": "bfloat16",
}
# How a package that the course is compared with is installed, by its name.
PEERS = {
    "pystiche": 'pip install -e ".[bench]"',
    "stylegan2-torch": 'pip install -e ".[bench]"',
    "stylegan2-pytorch": "pip install --no-deps stylegan2-pytorch==1.9.0",
}
Measure = Callable[[argparse.Namespace], Iterator[Table | str]]
# From the name of a side to what is run for its memory; all that is set up belongs before it.
Peak = Callable[[argparse.Namespace, str], Callable[[], object]]


# --- Time ----------------------------------------------------------------------------------------


def race(
    sides: dict[str, Callable[[], object]],
    options: argparse.Namespace,
    *,
    rounds: int | None = None,
    warm_up: int = 2,
    clock: str | None = None,
) -> dict[str, list[float]]:
    """Seconds of every side in every round; the sides take turns, so that noise hits them all."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    now = CLOCKS[clock or options.clock]
    for turn in range(warm_up + (rounds or options.rounds)):
        for name, side in sides.items():
            begun = now()
            side()
            if turn >= warm_up:
                seconds[name].append(now() - begun)
    return seconds


def table(
    title: str,
    seconds: dict[str, list[float]],
    *,
    check: str = "",
    notes: Sequence[str] = (),
    **columns: Any,
) -> Table:
    """A table of what `race` gave; ``columns`` as `bench_results.sides` takes them."""
    rows = bench_results.sides(seconds, **columns)
    return Table(title, rows, len(next(iter(seconds.values()))), check, tuple(notes))


# --- Memory --------------------------------------------------------------------------------------


def peaks(
    options: argparse.Namespace, names: Sequence[str], *words: str
) -> dict[str, tuple[float, float]]:
    """The highest memory of each side in a process of its own, and what was there before, in MiB.

    The process is this script again, with this command's options and ``words``. Empty with
    ``--no-memory``, and on Windows, where that is not measured.
    """
    if sys.platform == "win32" or not options.memory:
        return {}
    found = {}
    for name in names:
        again = [sys.argv[0], *sys.argv[1:], *words, "--peak", name]
        peak, before = in_new_process(*again).split()[-2:]
        found[name] = float(peak), float(before)
    return found


def print_peak(run: Callable[[], object], device: str) -> None:
    """What `peaks` starts."""
    import torch

    if "cuda" in device:
        before = torch.cuda.memory_allocated(device)
        run()
        print(torch.cuda.max_memory_allocated(device) / 2**20, before / 2**20)
        return
    reset_peak()
    before = peak_memory()
    run()
    print(f"{peak_memory():.0f} {before:.0f}")


def reset_peak() -> None:
    """Forget this process's highest memory use so far (Linux; elsewhere it stays)."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> float:
    """Highest resident memory of this process in MiB, since `reset_peak` where that works."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_new_process(*arguments: str) -> str:
    """Run this Python with ``arguments`` and return what it printed."""
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"A process of its own stopped with {done.returncode}: {arguments}")
    return done.stdout.strip()


# --- The same work -------------------------------------------------------------------------------


def same_weights(target: nn.Module, source: nn.Module) -> nn.Module:
    """``target`` with the weights of ``source``, in order, in the usual memory format."""
    import torch

    values = [value.detach().clone() for value in source.state_dict().values()]
    target.load_state_dict(dict(zip(target.state_dict(), values, strict=True)))
    return target.to(memory_format=torch.contiguous_format)


def same_losses(
    steps: dict[str, Callable[..., dict[str, float]]],
    inputs: Callable[[int], tuple[Tensor, ...]],
    tolerances: tuple[float, float],
    rounds: int = 3,
) -> str:
    """Stop unless every side reports the first side's losses, step after step; say how near.

    Args:
        inputs: from the number of a step to what the sides are called with.
        tolerances: at the first step, and from then on: Adam makes full steps of gradients that are
            rounding errors, from the first step on.
    """
    farthest = 0.0
    for number in range(rounds):
        given = inputs(number)
        (_, expected), *others = [(name, step(*given)) for name, step in steps.items()]
        for name, found in others:
            for loss, value in expected.items():
                error = abs(found[loss] - value) / max(abs(value), 1)
                farthest = max(farthest, error)
                if error > tolerances[min(number, 1)]:
                    raise SystemExit(
                        f"{name}, {loss} of step {number + 1}: {found[loss]:.5f}, not {value:.5f}."
                    )
    return f"the losses of {rounds} steps agree to {farthest:.1e}"


# --- The machine ---------------------------------------------------------------------------------


def _processor() -> tuple[str, list[str]]:
    """Its family and its instruction sets in words, as far as the system says."""
    family, found = "", []
    if Path("/proc/cpuinfo").is_file():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        words = {key.strip(): value.strip() for key, value in lines.items()}
        family = words.get("model name", "")
        flags = words.get("flags", words.get("Features", "")).split()
        found = [word for flag, word in INSTRUCTIONS.items() if flag in flags]
    return family, found


def machine(device: str) -> str:
    """The processor, or the GPU, in words."""
    import torch

    if "cuda" in device:
        return torch.cuda.get_device_name(device)
    family, found = _processor()
    name = f"{platform.machine()} ({family})" if family else platform.machine()
    cores = f"{os.cpu_count()} cores of {platform.system()} {name}"
    return f"{cores} with {', '.join(found)}" if found else cores


def multiplies_bfloat16(options: argparse.Namespace) -> bool:
    """Whether the sides in bfloat16 are to run: unless the processor is known to lack it."""
    if options.bfloat16 == "auto":
        _, found = _processor()
        return "cuda" in options.device or not found or bool({"bfloat16", "AMX"} & set(found))
    return options.bfloat16 == "yes"


def precisions(options: argparse.Namespace) -> list[str]:
    """float32, and bfloat16 if it is to be measured."""
    return ["float32", "bfloat16"] if multiplies_bfloat16(options) else ["float32"]


WITHOUT_BFLOAT16 = (
    "The sides in bfloat16 are left out: this processor has no instructions for it "
    "(`--bfloat16 yes` measures them all the same)."
)


def is_there(peer: str) -> bool:
    """Whether a package that the course is compared with is installed."""
    try:
        importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def missing(*peers: str) -> list[str]:
    """A sentence for each of them that is not installed."""
    absent = [peer for peer in peers if not is_there(peer)]
    return [f"{p} is not installed: its rows are left out. `{PEERS[p]}`" for p in absent]


def versions() -> dict[str, str]:
    """Of Python and of what is installed of torch, torchvision and the peers."""
    packages = [name for name in ("torch", "torchvision", *PEERS) if is_there(name)]
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"Python": platform.python_version(), **found}


# --- A script ------------------------------------------------------------------------------------


def main(
    script: str,
    measure: Measure,
    *,
    rounds: int,
    peak: Peak | None = None,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Run one script: print its tables as they come, and keep them if ``--json`` says where.

    Args:
        script: its ``__file__``.
        measure: yields tables, and sentences for what is left out.
        rounds: by default.
        peak: what `peaks` runs; left out by scripts that measure no memory.
        add_options: adds the options that only this script has.
    """
    import torch

    name = Path(script).stem.removeprefix("bench_")
    parser = argparse.ArgumentParser(description=bench.title(Path(script)))
    bench.add_measuring_options(parser, rounds=rounds, devices=bench.BENCHES.get(name, ("cpu",)))
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was found there")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    if add_options:
        add_options(parser)
    options = parser.parse_args()
    if "cuda" in options.device and not torch.cuda.is_available():
        parser.error("there is no GPU here that torch can use; leave out --device")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module="torchvision")  # what peers ask of it is old
    try:
        if options.peak is not None and peak:
            print_peak(peak(options, options.peak), options.device)
        else:
            _report(name, measure, options)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _report(name: str, measure: Measure, options: argparse.Namespace) -> None:
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    date, begun = time.strftime("%Y-%m-%d"), time.perf_counter()
    print(f"{date}, torch on {options.threads} threads, {machine(options.device)}, load {load}")
    tables, notes = [], []
    for found in measure(options):
        if isinstance(found, Table):
            tables.append(found)
            print(f"\n{bench_results.markdown(found)}", flush=True)
        else:
            notes.append(found)
            print(f"\n{found}", flush=True)
    measured = Measured(
        date,
        bench.without_json(sys.argv[1:]),
        versions(),
        machine(options.device),
        options.threads,
        options.clock,
        load,
        round(time.perf_counter() - begun, 1),
    )
    report = Report(name, tuple(tables), tuple(notes), measured)
    if options.json:
        write_text(options.json, bench_results.text({name: report}))
