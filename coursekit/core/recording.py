"""Play a training step on a GPU as one recording, instead of kernel by kernel.

A step of a small network is a few thousand short kernels, and starting one from Python takes longer
than it runs. CUDA can record them once and start them all together. What the recording may not do
is look at a number, move something from the CPU, or take another branch: such things come in as
tensors, or as the key under which another recording is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import torch
from torch import Tensor

Terms = Mapping[str, Tensor]
WARM_UP = 3  # times that a step is played as usual before it is recorded, as CUDA asks


class Recorder:
    """Plays steps; on a GPU, from their fourth time on, as recordings.

    On any other device it calls the step, and nothing else.

    Attributes:
        recordings: by key: the graph, its inputs, its results.
    """

    def __init__(self) -> None:
        self.recordings: dict[Hashable, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Terms]] = {}
        self._played: dict[Hashable, int] = {}

    def __deepcopy__(self, memo: object) -> Recorder:
        """A copied game begins without recordings: they hold the weights of the first one."""
        return Recorder()

    def __call__(self, key: Hashable, step: Callable[..., Terms], *inputs: Tensor) -> Terms:
        """What ``step(*inputs)`` returns.

        Args:
            key: everything that a step decides by other than ``inputs``: which terms it has, how
                large its batch is. One recording is kept for each.
            step: uses nothing that changes from call to call but its inputs, weights, and random
                numbers of the GPU.
            inputs: tensors on the device, always of the same shapes under one key.

        Returns:
            The terms; the next call with this key overwrites them.
        """
        if not _on_gpu(inputs):
            return step(*inputs)
        if key not in self.recordings:
            self._played[key] = self._played.get(key, 0) + 1
            if self._played[key] <= WARM_UP:
                return _aside(step, inputs)
            self.recordings[key] = _record(step, inputs)
        graph, places, terms = self.recordings[key]
        for place, value in zip(places, inputs, strict=True):
            place.copy_(value)
        graph.replay()
        return terms


def _on_gpu(inputs: tuple[Tensor, ...]) -> bool:
    return all(each.is_cuda for each in inputs)


def _aside(step: Callable[..., Terms], inputs: tuple[Tensor, ...]) -> Terms:
    """Play a step on a stream of its own, as must be done before a recording."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        terms = step(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return terms


def _record(
    step: Callable[..., Terms], inputs: tuple[Tensor, ...]
) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Terms]:
    """A graph of the step, which has not been played by that."""
    places = tuple(each.clone() for each in inputs)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        terms = step(*places)
    return graph, places, terms


def prepare(optimiser: torch.optim.Optimizer) -> None:
    """Let a recording hold an update of Adam: on a GPU, counts and learning rate are tensors.

    Elsewhere they are numbers again, so that a training can go on there. Does nothing twice.
    """
    for group in optimiser.param_groups:
        device = group["params"][0].device
        group["capturable"] = device.type == "cuda"
        if group["capturable"] and not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(group["lr"], device=device)
        elif not group["capturable"]:
            group["lr"] = float(group["lr"])


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group, in place where a recording reads it."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
