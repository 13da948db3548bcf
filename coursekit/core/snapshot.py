"""The file that a training goes on from: everything that changes, written atomically.

A snapshot is read with torch's weights-only loader: it can hold tensors and plain values, and
running code is not among the things it can do.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coursekit.core.errors import SettingError, WeightsError

_FORMAT = 1


def save_snapshot(path: Path, state: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Write the state and the values in ``kept``; the old file stays until the new one is whole.

    Raises:
        WeightsError: it cannot be written, such as on a full disk. The old file is still there.
    """
    content = {
        "format": _FORMAT,
        "state": {name: _state_of(part) for name, part in state.items()},
        "random": _random_state(),
        **kept,
    }
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise WeightsError(
            f"The checkpoint {path} cannot be written: {error}. Make room or choose another "
            "folder; the last checkpoint is untouched."
        ) from error


def load_snapshot(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Put the state back and return what else was kept.

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
    for name, part in state.items():
        try:
            _restore(part, content["state"][name])
        except (RuntimeError, ValueError, KeyError) as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(
                f"{name!r} in {path} does not fit the network or optimiser of this run. Use "
                "another folder, or resume=False to start anew."
            ) from error
    _set_random_state(content["random"])
    return {k: v for k, v in content.items() if k not in ("format", "state", "random")}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint {path}. Train with this folder first.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path} is damaged or is no checkpoint of this course. Delete it to start anew."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise WeightsError(f"{path} was not written by this version. Delete it to start anew.")
    return content


def _state_of(part: Any) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _restore(part: Any, saved: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(saved)
    else:
        part.load_state_dict(saved)


def _random_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.random.get_rng_state(),
        "cuda": cuda,
    }


def _set_random_state(saved: Mapping[str, Any]) -> None:
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.random.set_rng_state(saved["torch"])
    if saved["cuda"] and len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["cuda"])
