"""Where and how the course runs: device, seeds, preset, folders, and the label under a result."""

from __future__ import annotations

import numbers
import os
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from coursekit.core.errors import DataError, SettingError

if TYPE_CHECKING:
    import torch

PRESETS = ("ci", "quick", "full")
DEVICES = ("cpu", "cuda", "mps")
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What ``setup`` found and chose for this session.

    Attributes:
        preset: ``"ci"`` (tests), ``"quick"`` (a laptop CPU) or ``"full"`` (a GPU).
        device: where tensors and networks go.
        seed: the seed that every random number generator was given.
    """

    preset: str
    device: torch.device
    seed: int

    def pick(self, *, ci: T, quick: T, full: T) -> T:
        """Return the value that belongs to this session's preset."""
        return {"ci": ci, "quick": quick, "full": full}[self.preset]

    def label(self, **facts: object) -> str:
        """One line for the foot of a figure: the facts given, then preset and seed.

        >>> run.label(weights="VGG-16 ImageNet", data="chelsea", steps=200)
        'weights VGG-16 ImageNet · data chelsea · steps 200 · preset quick · seed 0'
        """
        facts = {**facts, "preset": self.preset, "seed": self.seed}
        return " · ".join(f"{name} {value}" for name, value in facts.items())


def setup(preset: str | None = None, *, seed: int = 0, quiet: bool = False) -> Run:
    """Prepare a notebook: preset, device, seeds, threads and inline figures.

    The preset is the argument, else ``COURSEKIT_PRESET``, else ``full`` on a GPU and ``quick``
    on a CPU. ``COURSEKIT_DEVICE`` chooses another device than the best one, and
    ``COURSEKIT_THREADS`` limits torch's threads.

    Raises:
        SettingError: the preset, the device or the number of threads is not one that exists.
    """
    import torch

    device = best_device()
    chosen = _choose_preset(preset, dict(os.environ), device.type)
    threads = os.environ.get("COURSEKIT_THREADS")
    if threads:
        torch.set_num_threads(_positive_whole(threads, "COURSEKIT_THREADS"))
    seed_everything(seed)
    inline_jpeg()
    run = Run(preset=chosen, device=device, seed=seed)
    if not quiet:
        print(_greeting(run))
        if chosen == "full" and device.type == "cpu":
            print(
                "The preset full is meant for a GPU, and this is a CPU: a notebook takes hours. "
                "Leave the preset out, or choose 'quick'."
            )
    return run


def cpu() -> str:
    """This processor in words, with torch's threads: ``"CPU, 2 threads"``."""
    import torch

    count = torch.get_num_threads()
    return f"CPU, {count} thread{'s' if count > 1 else ''}"


def _greeting(run: Run) -> str:
    import torch

    import coursekit

    where = torch.cuda.get_device_name() if run.device.type == "cuda" else f"{run.device.type}"
    if run.device.type == "cpu":
        where = cpu()
    return (
        f"coursekit {coursekit.__version__} · torch {torch.__version__} · {where} · "
        f"preset {run.preset} · seed {run.seed}"
    )


def _choose_preset(argument: str | None, environment: Mapping[str, str], device: str) -> str:
    asked = argument or environment.get("COURSEKIT_PRESET")
    if not asked:
        return "quick" if device == "cpu" else "full"
    if asked not in PRESETS:
        raise SettingError(
            f"There is no preset {asked!r}. Choose one of {', '.join(PRESETS)}, as the argument "
            "of setup() or in the environment variable COURSEKIT_PRESET."
        )
    return asked


def _positive_whole(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise SettingError(f"{name} is {text!r}; give a whole number from 1 upwards, or unset it.")
    return int(text)


def find_device(name: str | torch.device) -> torch.device:
    """The device of that name: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises:
        SettingError: there is no such device, or this machine or this torch does not have it.
    """
    import torch

    try:
        found = torch.device(name)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in (*DEVICES, "meta"):  # meta: torch's, without any values
        raise SettingError(f"There is no device {name!r}. Choose one of {', '.join(DEVICES)}.")
    missing = _missing(found)
    if missing:
        raise SettingError(
            f"The device {str(found)!r} was asked for, but {missing}. Leave it out to work with "
            f"what there is ({best_device_here().type}); `coursekit doctor` says more."
        )
    return found


def _missing(device: torch.device) -> str:
    """Why this machine does not have the device; nothing if it has."""
    import torch

    if device.type == "mps" and not torch.backends.mps.is_available():
        return "this torch sees no Apple GPU"
    if device.type != "cuda":
        return ""
    if not torch.cuda.is_available():
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        return "torch sees no GPU here" if built else "this torch is built for CPUs alone"
    count = torch.cuda.device_count()
    return f"there are {count} GPUs, counted from 0" if (device.index or 0) >= count else ""


def best_device() -> torch.device:
    """The device that ``COURSEKIT_DEVICE`` asks for, else the best one of this machine.

    Raises:
        SettingError: the variable asks for what is not there.
    """
    asked = os.environ.get("COURSEKIT_DEVICE")
    return find_device(asked) if asked else best_device_here()


def best_device_here() -> torch.device:
    """CUDA if there is one, then Apple's MPS, then the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself.

    That are GPUs of capability 8.0 upwards, and x86 processors with AVX-512-BF16 or AMX. Others
    can take many times as long in bfloat16 as in float32.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu":
        return False
    # torch has no public question for it. Where these are gone, the answer is no.
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices).

    Raises:
        SettingError: the seed is no whole number of 64 bits.
    """
    import numpy as np
    import torch

    random.seed(_whole_seed(seed))
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh torch generator, so that one result never depends on what ran before it.

    Raises:
        SettingError: the seed is no whole number of 64 bits, or there is no such device.
    """
    import torch

    return torch.Generator(device=find_device(device)).manual_seed(_whole_seed(seed))


def _whole_seed(seed: int) -> int:
    if not isinstance(seed, numbers.Integral) or not -(2**63) <= seed < 2**64:
        raise SettingError(f"seed={seed!r} must be a whole number of 64 bits, such as 0.")
    return int(seed)


def in_colab() -> bool:
    """Whether this Python runs in Google Colab."""
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def inline_jpeg(quality: int = 72, dpi: int = 85) -> bool:
    """Show figures as JPEG in this notebook (a tenth of the size of PNG).

    Args:
        quality: of the JPEG files, up to 95.
        dpi: pixels an inch of a figure.

    Returns whether there was a notebook to set up.
    """
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    shell.run_line_magic("matplotlib", "inline")
    settings = {"quality": quality, "optimize": True, "progressive": True}
    set_matplotlib_formats("jpeg", pil_kwargs=settings)
    import matplotlib as mpl

    mpl.rcParams["figure.dpi"] = dpi
    return True


def cache_dir() -> Path:
    """The user's folder for downloads: ``COURSEKIT_CACHE``, or the system's cache folder."""
    if os.environ.get("COURSEKIT_CACHE"):
        return Path(os.environ["COURSEKIT_CACHE"]).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("coursekit", appauthor=False))


def data_dir() -> Path:
    """The project's own data: ``data/`` of a checkout, or the copy inside an installed wheel.

    Raises:
        DataError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data", package.parent / "data"):
        if (folder / "README.md").is_file():
            return folder
    raise DataError(
        "The course's data folder is missing. Install the package again, or run from a complete "
        "checkout that has data/ beside coursekit/."
    )


def offline() -> bool:
    """Whether the user asked for no network (``COURSEKIT_OFFLINE=1``)."""
    return os.environ.get("COURSEKIT_OFFLINE", "0") not in ("", "0")
