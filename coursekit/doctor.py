"""``coursekit doctor``: what is there, what is missing, and the one command that mends it.

Standard library only at module level: this must run where torch does not even import. Every look
at something that may be broken happens inside its own check, and a check that fails says so.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from coursekit.core.errors import CourseError

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        ok: whether it is as the course needs it.
        found: what is there, or what is wrong.
        mend: the command or action that mends it; empty when nothing is wrong.
        needed: whether the course cannot run without it.
    """

    name: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True


def examine() -> list[Check]:
    """Look at everything, from Python up to the paintings in the cache. Never raises."""
    return [check for looker in LOOKERS for check in _guarded(looker)]


def _guarded(looker: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    name = looker.__name__.strip("_").replace("_", " ")
    try:
        yield from looker()
    except CourseError as error:
        yield Check(name, False, str(error), "do what this line says")
    except ImportError as error:
        found = f"cannot be looked at: {error.name or _brief(error)} does not import"
        yield Check(name, False, found, f"pip install --force-reinstall {error.name or 'torch'}")
    except Exception as error:
        found = f"cannot be looked at: {_brief(error)}"
        yield Check(name, False, found, "mend the lines above, then run coursekit doctor again")


def report(checks: list[Check]) -> str:
    """The lines that a person reads: a mark, the name, what was found, and the mending command."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else ("MISSING" if check.needed else "note   ")
        lines.append(f"{mark}  {check.name:<{width}}  {check.found}")
        if check.mend and not check.ok:
            lines.append(f"{'':9}{'':{width}}  -> {check.mend}")
    bad = sum(not check.ok and check.needed for check in checks)
    lines.append(
        f"\n{bad} of {len(checks)} need mending." if bad else "\nAll that is needed is here."
    )
    return "\n".join(lines)


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _import(name: str) -> tuple[Any, str]:
    """The module and "", or None and what went wrong: a broken install can raise anything."""
    try:
        return importlib.import_module(name), ""
    except ModuleNotFoundError as error:
        what = "not installed" if error.name == name else f"broken, {_brief(error)}"
        return None, what
    except Exception as error:
        return None, f"broken, {_brief(error)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[Check]:
    found = f"{sys.version.split()[0]} ({sys.executable})"
    yield Check("Python", sys.version_info >= (3, 10), found, "install Python 3.10 or newer")


def _torch() -> Iterator[Check]:
    torch, wrong = _import("torch")
    if torch is None:
        mend = "pip install --force-reinstall torch torchvision"
        yield Check(
            "torch", False, wrong, mend if "broken" in wrong else "pip install torch torchvision"
        )
        return
    yield Check("torch", True, str(torch.__version__))
    yield _pair(str(torch.__version__))
    yield _device(torch)


def _pair(torch_version: str) -> Check:
    """Torchvision's compiled operators load only beside the torch that they were built for."""
    vision, wrong = _import("torchvision")
    if vision is not None:
        return Check("torchvision", True, f"{vision.__version__}, fits torch {torch_version}")
    found = f"{wrong} (torch is {torch_version}, torchvision {_version('torchvision')})"
    mend = "pip install --force-reinstall torch torchvision (both from the same index)"
    return Check("torchvision", False, found, mend)


def _device(torch: Any) -> Check:
    from coursekit.core import runtime
    from coursekit.core.errors import SettingError

    try:
        runtime.best_device()
    except SettingError as error:
        return Check("device", False, str(error), "unset COURSEKIT_DEVICE")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        return Check("device", True, f"CUDA, {torch.cuda.get_device_name()}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        return Check("device", True, "MPS (Apple)")
    return Check("device", True, runtime.cpu())


def _memory() -> Iterator[Check]:
    memory = _total_memory()
    if memory is not None:
        mend = "close other programs; notebooks use about 3 GiB each"
        found = f"{memory / GIB:.1f} GiB"
        yield Check("memory", memory >= 3.5 * GIB, found, mend, needed=False)
    from coursekit.core import runtime

    folder = _existing(runtime.cache_dir())
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free at {folder}"
    yield Check("disk", free >= GIB, found, "free 1 GiB there, or set COURSEKIT_CACHE to a folder")


def _total_memory() -> int | None:
    """The machine's memory in bytes, or ``None`` where the system does not say."""
    if hasattr(os, "sysconf"):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (OSError, ValueError):
            return None
    if sys.platform != "win32":
        return None
    kilobytes = ctypes.c_ulonglong(0)
    ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
    return kilobytes.value * 1024 or None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    for place in (folder, *folder.parents):
        if place.exists():
            return place
    return folder


def _can_write(folder: Path) -> bool:
    """Try it: what the system says about permissions is not the whole truth everywhere."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _cache() -> Iterator[Check]:
    from coursekit.core import runtime

    folder = runtime.cache_dir()
    there = _existing(folder)
    mend = "set COURSEKIT_CACHE to a folder that you may write to"
    if not there.is_dir():
        yield Check("cache", False, f"{there} is not a folder", mend)
    elif not _can_write(there):
        yield Check("cache", False, f"{folder} cannot be written to", mend)
    else:
        state = "" if folder.exists() else " (made on first use)"
        yield Check("cache", True, f"{folder}{state}")


def _weights() -> Iterator[Check]:
    from coursekit.core import weights

    for name in weights.NAMES:
        status = weights.status(name)
        found = status.problem or f"{status.path.stat().st_size / 2**20:.2f} MiB"
        needed = name in weights.COURSE_NAMES
        mend = f"coursekit fetch {name}"
        yield Check(f"weights {name}", status.present and not status.problem, found, mend, needed)


def _data() -> Iterator[Check]:
    from coursekit.core import runtime

    try:
        folder = runtime.data_dir()
    except CourseError as error:
        mend = "git checkout -- data (in a checkout), or install the package again"
        yield Check("data", False, str(error).partition(". ")[0], mend)
        return
    yield Check("data", True, str(folder))


def _paintings() -> Iterator[Check]:
    from coursekit.datasets import paintings

    there = [name for name in paintings.PAINTINGS if paintings.cached(name)]
    found = f"{len(there)} of {len(paintings.PAINTINGS)} in the cache"
    mend = "coursekit fetch paintings (needs the internet; without it the course's own are used)"
    yield Check("paintings", len(there) == len(paintings.PAINTINGS), found, mend, needed=False)


def _notebook_tools() -> Iterator[Check]:
    widgets = _version("ipywidgets")
    yield Check(
        "ipywidgets", widgets is not None, widgets or "not installed", "pip install ipywidgets"
    )
    lab = _version("jupyterlab")
    mend = "python3 course.py lab"
    if not _colab():
        yield Check("JupyterLab", lab is not None, lab or "not installed", mend, needed=False)


def _colab() -> bool:
    from coursekit.core import runtime

    return runtime.in_colab()


def _session() -> Iterator[Check]:
    yield Check("Colab", True, "yes" if _colab() else "no")
    asked = os.environ.get("COURSEKIT_PRESET")
    from coursekit.core import runtime

    known = not asked or asked in runtime.PRESETS
    found = f"{asked} (from COURSEKIT_PRESET)" if asked else "chosen by the device"
    mend = f"set COURSEKIT_PRESET to one of {', '.join(runtime.PRESETS)}, or unset it"
    yield Check("preset", known, found, mend)


LOOKERS = (
    _python,
    _torch,
    _memory,
    _cache,
    _weights,
    _data,
    _paintings,
    _notebook_tools,
    _session,
)
