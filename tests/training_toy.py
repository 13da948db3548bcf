"""A small training in which everything that a resume must bring back matters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coursekit.core import runtime, training


class Toy:
    """Batch norm, dropout, Adam with a schedule, an EMA, and every source of random numbers.

    Args:
        start: seed of the initial weights; a resume must not depend on it.
        data_seed: of the data's order.
        entries: how much data.
    """

    def __init__(self, start: int = 0, data_seed: int = 0, entries: int = 23) -> None:
        torch.manual_seed(start)
        self.net = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
        )
        self.optimiser = torch.optim.Adam(self.net.parameters(), 0.01)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimiser, 4, 0.8)
        self.ema = training.EMA(self.net, 0.9)
        data = torch.rand(entries, 6, generator=runtime.generator(5))
        self.batches = training.Batches(data, 5, seed=data_seed)
        self.random = runtime.generator(3)
        self.drawn: list[Tensor] = []

    def state(self) -> dict[str, Any]:
        names = ("net", "optimiser", "schedule", "ema", "batches", "random")
        return {name: getattr(self, name) for name in names}

    def step(self, number: int) -> dict[str, Tensor | float]:
        x = next(self.batches)
        self.drawn.append(x)
        noise = torch.rand(x.shape, generator=self.random) + torch.rand_like(x)
        noise = noise * random.random() + float(np.random.rand())
        loss = (self.net(x + 0.1 * noise) - x.sum(1, keepdim=True)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return {"loss": loss, "noise": float(noise.mean())}

    def preview(self) -> Tensor:
        """Two pictures that depend on the averaged network."""
        values = self.ema.module(torch.linspace(0, 1, 48).view(8, 6)).sigmoid()
        return values.view(2, 1, 2, 2).expand(2, 3, 2, 2)

    def run(self, steps: int, folder: Any = None, **options: Any) -> training.TrainingResult:
        usual = {"progress": False, "log_every": 5, "checkpoint_every": 1000}
        return training.run(self.step, self.state(), steps=steps, folder=folder, **usual | options)

    def everything(self) -> list[Tensor]:
        """All that was learnt, and the next numbers of every source."""
        parts = (part for name, part in self.state().items() if name != "random")
        found = [tensor for part in parts for tensor in tensors(part.state_dict())]
        following = [float(np.random.rand()), random.random()]
        return [*found, torch.tensor(following, dtype=torch.float64), *following_torch(self.random)]


def following_torch(generator: torch.Generator) -> list[Tensor]:
    return [torch.rand(2), torch.rand(2, generator=generator)]


def tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor and number in nested dicts and lists."""
    if isinstance(content, Tensor):
        yield content.detach().clone()
    elif isinstance(content, dict):
        for value in content.values():
            yield from tensors(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from tensors(value)
    elif isinstance(content, (int, float)):
        yield torch.tensor(content, dtype=torch.float64)


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Bit for bit."""
    return len(first) == len(second) and all(map(torch.equal, first, second))


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]
