"""Batches in a shuffled order that a checkpoint can go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.errors import DataError, SettingError


class Indexed(Protocol):
    """Anything with a length and a ``batch(indices, device)``: every data set of the course."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, device: torch.device | str) -> Any:
        """The entries at ``indices`` (N,), on that device."""


def with_fields(batch: Any, *names: str) -> Mapping[str, Tensor]:
    """A batch of `Batches`, known to have these fields, each of shape (batch_size, …).

    Raises:
        DataError: it is a tensor, or of a data set that lacks one.
    """
    there = ", ".join(batch) if isinstance(batch, Mapping) else "a tensor without fields"
    if not isinstance(batch, Mapping) or any(name not in batch for name in names):
        raise DataError(
            f"The batches hold {there}; this training needs {' and '.join(names)}. Give the "
            "data set of the topic, such as datasets.digits()."
        )
    return batch


class Batches:
    """Endless batches in a shuffled order that a checkpoint can go on from.

    Every epoch has its own order, made from ``seed`` and the epoch's number alone. The last
    batch of an epoch is dropped when it is not full.

    Args:
        data: a data set of the course, or a tensor whose first dimension counts.
        batch_size: entries a batch.
        seed: of the order.
        device: where the batches go.

    Raises:
        SettingError: the batch is larger than the data, or smaller than 1.
    """

    def __init__(
        self,
        data: Indexed | Tensor,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 1 <= batch_size <= len(data):
            raise SettingError(f"batch_size={batch_size} does not fit {len(data)} entries.")
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.device = runtime.find_device(device)
        self.drawn, self._epoch, self._order = 0, -1, torch.empty(0, dtype=torch.long)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        indices = self.indices(self.drawn)
        self.drawn += 1
        return self._entries(indices)

    def first(self, count: int) -> Any:
        """The data's first entries, ``count`` or all of them, for a preview; draws nothing."""
        return self._entries(torch.arange(min(count, len(self.data))))

    def _entries(self, indices: Tensor) -> Any:
        if isinstance(self.data, Tensor):
            return self.data[indices].to(self.device)
        return self.data.batch(indices, self.device)

    def indices(self, number: int) -> Tensor:
        """The entries (batch_size,) of batch ``number`` (from 0): the same whenever asked for."""
        epoch, position = divmod(number, len(self.data) // self.batch_size)
        if epoch != self._epoch:
            order = runtime.generator((self.seed * 1_000_003 + epoch) % 2**63)
            self._order, self._epoch = torch.randperm(len(self.data), generator=order), epoch
        return self._order[position * self.batch_size :][: self.batch_size]

    def state_dict(self) -> dict[str, int]:
        """How many batches were drawn, and the seed."""
        return {"drawn": self.drawn, "seed": self.seed, "length": len(self.data)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after that many batches.

        Raises:
            SettingError: the checkpoint was made with another seed or other data.
        """
        mine = self.state_dict()
        if any(state[name] != mine[name] for name in ("seed", "length")):
            raise SettingError(
                f"The checkpoint's batches come from {state['length']} entries with seed "
                f"{state['seed']}, these from {mine['length']} with seed {mine['seed']}. Use the "
                "same data and seed, or another folder."
            )
        self.drawn = state["drawn"]
