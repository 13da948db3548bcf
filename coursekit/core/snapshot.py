"""The file that a training goes on from: everything that changes, written atomically.

A snapshot is read with torch's weights-only loader: it can hold tensors and plain values, and
running code is not among the things it can do.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coursekit.core.atomic import replacing
from coursekit.core.errors import SettingError, WeightsError
from coursekit.core.zips import grows

_FORMAT = 1
_DAMAGED = "{path} is damaged or is no checkpoint of this course. Delete it to start anew."


def save_snapshot(path: Path, state: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Write the state and the values in ``kept``; the old file stays until the new one is whole.

    Raises:
        WeightsError: it cannot be written, such as on a full disk. The old file is still there.
    """
    content = {
        "format": _FORMAT,
        "state": {name: _state_of(part) for name, part in state.items()},
        "random": random_state(),
        **kept,
    }
    try:
        with replacing(path) as half, open(half, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise WeightsError(
            f"The checkpoint {path} cannot be written: {error}. Make room or choose another "
            "folder; the last checkpoint is untouched."
        ) from error


def load_snapshot(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Put the state back and return what else was kept; after an error it is as it was before.

    Raises:
        WeightsError: there is no such file, or it cannot be read.
        SettingError: it holds other parts, or parts of other shapes, than ``state``.
    """
    content = _read(path)
    if content["state"].keys() != state.keys():
        raise SettingError(
            f"{path} holds {sorted(content['state'])}, the training {sorted(state)}. Use another "
            "folder, or resume=False to start anew."
        )
    before = {name: copy.deepcopy(_state_of(part)) for name, part in state.items()}
    try:
        for name, part in state.items():
            _restore(name, part, content["state"][name], path)
    except SettingError:
        for name, part in state.items():
            _put(part, before[name])
        raise
    set_random_state(content["random"])
    return {k: v for k, v in content.items() if k not in ("format", "state", "random")}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint {path}. Train with this folder first.")
    try:
        # torch does not look at the checksums: a flipped bit would become a wrong weight.
        with zipfile.ZipFile(path) as archive:
            damaged = grows(archive) or archive.testzip()
        content: Any = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file can raise almost anything
        raise WeightsError(_DAMAGED.format(path=path)) from error
    if damaged:
        raise WeightsError(_DAMAGED.format(path=path))
    whole = isinstance(content, dict) and {"state", "random"} <= content.keys()
    if not whole or content.get("format") != _FORMAT:
        raise WeightsError(f"{path} was not written by this version. Delete it to start anew.")
    return content


def _state_of(part: Any) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _restore(name: str, part: Any, saved: Any, path: Path) -> None:
    try:
        _put(part, saved)
    except SettingError:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SettingError(
            f"{name!r} in {path} does not fit the network or optimiser of this run. Use "
            "another folder, or resume=False to start anew."
        ) from error


def _put(part: Any, saved: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(saved)
    else:
        part.load_state_dict(saved)


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """What is drawn inside from Python's, numpy's or torch's global random numbers is put back."""
    kept = random_state()
    try:
        yield
    finally:
        set_random_state(kept)


def random_state() -> dict[str, Any]:
    """Where the global random numbers of Python, numpy and torch (all devices) stand."""
    state: Any = np.random.get_state()  # a tuple, unless a dictionary is asked for
    kind, keys, *rest = state
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.random.get_rng_state(),
        "cuda": cuda,
    }


def set_random_state(saved: Mapping[str, Any]) -> None:
    """Go on from `random_state`."""
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.random.set_rng_state(saved["torch"])
    if saved["cuda"] and len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["cuda"])
