"""The course's own trained networks: small safetensors files whose header says what they are."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from coursekit.core import runtime
from coursekit.core.atomic import replacing
from coursekit.core.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)
_NEEDED = ("recipe", "data", "steps", "seed", "date", "settings")
# What constructors and `load_state_dict` say to settings and weights of something else.
_OF_ANOTHER_NETWORK = (TypeError, ValueError, LookupError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is known about them.

    Attributes:
        weights: the state dict, float32.
        about: recipe, data, steps, seed, date, settings of the network, and what was measured.
        file: the name of the file that it came from.
    """

    weights: dict[str, Tensor]
    about: dict[str, Any]
    file: str = "the checkpoint"

    def label(self) -> str:
        """One line for the foot of a figure."""
        return f"{self.about['recipe']}, {self.about['data']}, {self.about['steps']:,} steps"

    def network(self, make: Callable[..., Network], what: str) -> Network:
        """``make(**settings)`` with these weights, in eval mode and frozen.

        Args:
            make: makes the network from the settings in the header.
            what: the network in a word or two, for the error.

        Raises:
            WeightsError: the file holds another network, such as that of another topic.
        """
        try:
            network = make(**self.about["settings"])
            network.load_state_dict(self.weights)
        except _OF_ANOTHER_NETWORK as error:
            reason = str(error).strip().splitlines()[0].rstrip(".:")
            raise WeightsError(
                f"{self.file} is no {what} of this course's make ({reason}); take a fresh copy."
            ) from error
        return network.eval().requires_grad_(False)


def path_of(topic: str, name: str = "course") -> Path:
    """Where the checkpoint ``name`` of a topic lies."""
    return runtime.data_dir() / "checkpoints" / topic / f"{name}.safetensors"


def save(module: nn.Module, path: Path | str, about: Mapping[str, Any]) -> Path:
    """Write a network's weights in half precision, with the facts in the file's header.

    Args:
        module: the network; every floating-point tensor is stored as float16.
        path: the file; it appears only when it is whole.
        about: at least recipe, data, steps, seed and settings (the network's arguments); the
            date is added.

    Raises:
        WeightsError: a fact is missing or no plain value, a weight is too large for half precision,
            or the file cannot be written. An older file of that name is still there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    about = {"date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), **about}
    missing = [name for name in _NEEDED if name not in about]
    if missing:
        raise WeightsError(f"A checkpoint must say its {', '.join(missing)}.")
    weights = {name: _half(name, tensor) for name, tensor in module.state_dict().items()}
    try:
        header = json.dumps(about)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"What {path.name} should say about itself cannot be written ({error}); give plain "
            "numbers and words."
        ) from error
    try:
        with replacing(path) as half:
            save_file(weights, half, metadata={"about": header})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The checkpoint {path} cannot be written: {error}.") from error
    return path


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.detach().cpu().contiguous()
    half = tensor.detach().cpu().to(torch.float16).contiguous()
    if not torch.isfinite(half).all():
        raise WeightsError(f"{name} has values that half precision cannot hold; it was not saved.")
    return half


def load(topic: str, name: str = "course") -> Checkpoint:
    """Read a checkpoint of the course.

    Raises:
        WeightsError: it is not there, damaged, another topic's, or its header does not say what it
            is.
    """
    found = read(path_of(topic, name))
    recipe = str(found.about["recipe"])
    if recipe.partition(" ")[0] != topic:  # of the same layers perhaps, but with other weights
        raise WeightsError(
            f"{found.file} was made by the recipe {recipe!r}, not by one of {topic!r}; take a "
            f"fresh copy of data/checkpoints/{topic}."
        )
    return found


def read(path: Path | str) -> Checkpoint:
    """Read a checkpoint file that `save` wrote.

    Raises:
        WeightsError: it is not there, damaged, or its header does not say what it is.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise WeightsError(
            f"There is no checkpoint {path}. Take it from a complete checkout of the course, or "
            "train it with `coursekit train`."
        ) from error
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise WeightsError(f"The checkpoint {path} is damaged; take a fresh copy.") from error
    if not isinstance(about, dict) or any(name not in about for name in _NEEDED):
        raise WeightsError(f"The header of {path} does not say what it is; take a fresh copy.")
    full = {name: _full(tensor) for name, tensor in weights.items()}
    return Checkpoint(full, about, Path(path).name)


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
