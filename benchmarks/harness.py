"""What the benchmarks share: both sides of a ratio are timed in turn, A B A B, in one run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine(threads: int, device: str = "cpu") -> str:
    """One line: torch, threads, processor and the flags that decide its speed, load, GPU if any."""
    import torch

    found = "flags unknown"
    if Path("/proc/cpuinfo").is_file():
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("flags", 1)[-1].split()
        found = " ".join(flag for flag in CPU_FLAGS if flag in flags) or "none of the wide flags"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    line = (
        f"torch {torch.__version__} · {threads} threads · {platform.system()} "
        f"{platform.machine()} · {found} · load {load}"
    )
    return f"{line} · {torch.cuda.get_device_name(device)}" if "cuda" in device else line


def race(
    sides: dict[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every side in every round; the sides take turns, so that noise hits them all."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + rounds):
        for name, side in sides.items():
            begun = clock()
            side()
            if turn >= warm_up:
                seconds[name].append(clock() - begun)
    return seconds


def ratio(side: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of side / reference, each pair measured next to each other."""
    return statistics.median(a / b for a, b in zip(side, reference, strict=True))


def summary(side: Sequence[float], reference: Sequence[float]) -> list[str]:
    """Median and fastest time, `ratio`, and the middle half of the ratios round by round: cells."""
    ratios = [a / b for a, b in zip(side, reference, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    times = [f"{seconds * 1e3:.0f} ms" for seconds in (statistics.median(side), min(side))]
    return [*times, f"{ratio(side, reference):.2f}", f"{low:.2f} to {high:.2f}"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with columns of equal width."""
    rows = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


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
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
