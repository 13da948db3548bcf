"""Train networks: a step function is driven, watched, saved and resumed exactly.

A topic writes its training step in the open; `run` only calls it, again and again::

    result = training.run(step, state, steps=2000, folder="runs/dcgan")

where ``step(number)`` returns the loss terms by name and ``state`` names everything that changes
while training: networks, optimisers, `EMA` copies, `Batches`, generators of random numbers.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import swa_utils
from tqdm.auto import tqdm

from coursekit.core import runtime
from coursekit.core.batches import Batches, Indexed
from coursekit.core.budget import Pace, duration, parse_budget
from coursekit.core.errors import SettingError, TrainingError
from coursekit.core.interrupts import stop_button
from coursekit.core.snapshot import load_snapshot, random_numbers_kept, save_snapshot
from coursekit.core.timeline import Timeline, frame_steps

Terms = Mapping[str, "Tensor | float"]
Step = Callable[[int], Terms]
State = Mapping[str, Any]
Callback = Callable[[int, Tensor, "list[dict[str, float]]"], None]
Network = TypeVar("Network", bound=nn.Module)

PRECISIONS = ("float32", "bfloat16", "auto")
_DIRECTIONS = ("._u", "._v")  # of torch.nn.utils.parametrizations.spectral_norm


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """The context for a network's forward pass: bfloat16 where asked, else nothing.

    ``"auto"`` means bfloat16 where the device multiplies it (`core.runtime.multiplies_bfloat16`)
    and float32 everywhere else. bfloat16 has float32's range, so losses need no scaling.

    Raises:
        SettingError: the precision is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"There is no precision {precision!r}; use one of {PRECISIONS}.")
    if precision == "auto":
        precision = "bfloat16" if runtime.multiplies_bfloat16(device) else "float32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


class EMA(Generic[Network]):
    """An exponential moving average of a network's parameters and buffers.

    After every step: average ← decay · average + (1 − decay) · value, with a smaller decay
    (1 + t) / (10 + t) in the first steps t, so that the initial weights are soon forgotten. Counts,
    and the singular vectors of spectral norm, are copied.

    Args:
        module: the network that is trained.
        decay: from 0 up to below 1.

    Attributes:
        module: the averaged copy, in eval mode, without gradients.

    Raises:
        SettingError: a decay outside that range.
    """

    def __init__(self, module: Network, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise SettingError(f"decay={decay} is no share; give a number from 0 up to below 1.")
        self.source, self.decay, self.updates = module, decay, 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network as it is now."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, values = [], []
        pairs = zip(_tensors(self.module), _tensors(self.source), strict=True)
        for (name, average), (_, value) in pairs:
            # A mean of unit vectors is shorter than 1: σ would be too small, every layer too loud.
            if average.is_floating_point() and not name.endswith(_DIRECTIONS):
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        move(averages, values, share)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and how often they were updated."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]


def move(averages: Sequence[Tensor], values: Sequence[Tensor], share: float) -> None:
    """Move each average towards its value, of the same shape, by a share of the way.

    All in a few GPU calls.
    """
    if averages:
        swa_utils.get_ema_multi_avg_fn(1 - share)(averages, values, None)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@dataclass
class TrainingResult:
    """What a training left behind.

    Attributes:
        history: one entry every ``log_every`` steps: ``step``, ``seconds`` and the mean of each
            term since the last entry.
        steps: how many steps the networks have had, those before a resume included.
        seconds: how long all of them took.
        interrupted: whether it was stopped before its end.
        checkpoint: the file to go on from, if a folder was given.
        timeline: sample grids along the way.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    checkpoint: Path | None = None
    timeline: Timeline = field(default_factory=Timeline)

    def curve(self, name: str) -> list[float]:
        """The values of one term over the history.

        Raises:
            SettingError: there is no such term.
        """
        known = dict.fromkeys(key for entry in self.history for key in entry)
        if name not in known:
            there = ", ".join(known) or "nothing"
            raise SettingError(f"The history has no {name!r}; it has {there}.")
        return [entry.get(name, math.nan) for entry in self.history]


def run(
    step: Step,
    state: State,
    *,
    steps: int | None = None,
    budget: str | float | None = None,
    folder: Path | str | None = None,
    checkpoint_every: int = 500,
    resume: bool = True,
    seed: int = 0,
    log_every: int = 10,
    preview: Callable[[], Tensor] | None = None,
    previews: int = 24,
    callback: Callback | None = None,
    progress: bool = True,
    about: str = "",
) -> TrainingResult:
    """Call ``step(1)``, ``step(2)``, … and keep everything that is needed to go on.

    Args:
        step: one training step; returns its loss terms by name (for reading, not for backward).
        state: everything that changes, by name: modules, optimisers, schedulers, `EMA` copies
            (updated here after every step), `Batches`, ``torch.Generator``.
        steps: how many steps in all, those before a resume included.
        budget: time for this call: seconds, or text such as ``"4 min"``. The first steps are
            timed and it is said what fits.
        folder: where ``checkpoint.pt`` goes. Without one nothing is written.
        checkpoint_every: steps between two checkpoints.
        resume: go on from the folder's checkpoint; ``False`` starts anew and replaces it.
        seed: of the global random numbers at a fresh start.
        log_every: steps between two entries of the history.
        preview: returns pictures (N, C, H, W) in [0, 1]; what it or ``callback`` draws from the
            global random numbers does not change the training.
        previews: about how many of them the timeline keeps, denser at the beginning.
        callback: called with (step, pictures, history) after each preview, to draw it.
        progress: show a progress bar.
        about: a line that the timeline keeps: what was trained on what.

    Returns:
        The result; after an interrupt (Ctrl-C, the kernel's stop button) too: the current step
        is finished and saved first.

    Raises:
        SettingError: neither steps nor budget, a step that returns no terms, or a state that does
            not match the checkpoint.
        TrainingError: a term or a weight is not finite any more. Nothing of that is saved.
        WeightsError: the checkpoint is damaged, or cannot be written.
    """
    if steps is None and budget is None:
        raise SettingError("Say how long to train: steps=2000, or budget='4 min'.")
    if (steps is not None and steps < 1) or min(checkpoint_every, log_every, previews) < 1:
        raise SettingError("steps, checkpoint_every, log_every and previews count from 1.")
    seconds = None if budget is None else parse_budget(budget)
    path = None if folder is None else Path(folder) / "checkpoint.pt"
    trainer = _Trainer(step, state, path, checkpoint_every, log_every, preview, previews, callback)
    trainer.result.timeline.about = about
    trainer.begin(resume, seed, progress)
    return trainer.train(steps, seconds, progress)


class _Trainer:
    """One call of `run`: where it stands, and what to do after each step."""

    def __init__(
        self,
        step: Step,
        state: State,
        path: Path | None,
        checkpoint_every: int,
        log_every: int,
        preview: Callable[[], Tensor] | None,
        previews: int,
        callback: Callback | None,
    ) -> None:
        self.step, self.state, self.path = step, state, path
        self.checkpoint_every, self.log_every = checkpoint_every, log_every
        self.preview, self.previews, self.callback = preview, previews, callback
        self.result = TrainingResult(checkpoint=path)
        self.sums: dict[str, Tensor | float] = {}
        self.saved: int | None = None  # the step of the checkpoint, when there is one
        self.averages = [value for value in state.values() if isinstance(value, EMA)]
        self.frames: frozenset[int] = frozenset()
        self.writes = int(os.environ.get("RANK", "0")) == 0  # one process of a torchrun writes

    def begin(self, resume: bool, seed: int, progress: bool) -> None:
        """Start anew, or where the checkpoint stands."""
        if self.path is None or not resume or not self.path.is_file():
            runtime.seed_everything(seed)
            return
        kept = load_snapshot(self.path, self.state)
        self.result.history, self.sums = kept["history"], kept["sums"]
        self.result.steps, self.result.seconds = kept["step"], kept["seconds"]
        self.result.timeline.frames = kept["frames"]
        self.saved = kept["step"]
        if progress:
            print(f"Going on from step {self.result.steps:,} ({self.path}).")

    def train(self, steps: int | None, seconds: float | None, progress: bool) -> TrainingResult:
        pace = Pace(self.result.steps, steps, seconds)
        self._plan(pace)
        start, before = time.perf_counter(), self.result.seconds
        done, total = self.result.steps, pace.last if pace.known else None
        with (
            stop_button() as stop,
            tqdm(
                total=total, initial=done, disable=not progress, unit="step", mininterval=0.5
            ) as bar,
        ):
            while self.result.steps < pace.last and not stop.is_set():
                self._one_step()
                elapsed = time.perf_counter() - start
                self.result.seconds = before + elapsed
                if pace.after_step(self.result.steps, elapsed):
                    self._plan(pace)
                    bar.total = pace.last
                    if progress:
                        tqdm.write(pace.sentence)
                self._after_step(pace, bar)
            self.result.interrupted = stop.is_set() and self.result.steps < pace.last
            if self.saved != self.result.steps:
                self.save()
        return self.result

    def _plan(self, pace: Pace) -> None:
        if self.preview is not None and pace.known:
            self.frames = frozenset(frame_steps(pace.last, self.previews))

    def _one_step(self) -> None:
        number = self.result.steps + 1
        if number == 1 and self.preview is not None:
            self._show(0, self.preview)
        terms = self.step(number)
        if not isinstance(terms, Mapping):
            raise SettingError(f"step({number}) returned {terms!r}; return the terms by name.")
        for average in self.averages:
            average.update()
        for name, value in terms.items():
            value = value.detach() if isinstance(value, Tensor) else value
            if isinstance(value, str) or (isinstance(value, Tensor) and value.numel() != 1):
                raise SettingError(f"step({number}): the term {name!r} must be one number.")
            # Reading a number off a GPU waits for it; there the sums are looked at when logged.
            if not (isinstance(value, Tensor) and value.is_cuda):
                value = self._finite(name, float(value), number)
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.result.steps = number

    def _after_step(self, pace: Pace, bar: tqdm) -> None:
        number, last = self.result.steps, self.result.steps >= pace.last
        if number % self.log_every == 0 or last:
            self._log()
            bar.set_postfix({k: f"{v:.3g}" for k, v in self._terms().items()}, refresh=False)
        bar.update(number - bar.n)
        if self.preview is not None and (last or number in self.frames):
            self._show(number, self.preview)
        if number % self.checkpoint_every == 0:
            self.save()

    def _log(self) -> None:
        number = self.result.steps
        count = number - (self.result.history[-1]["step"] if self.result.history else 0)
        means = {k: self._finite(k, float(v) / count, number) for k, v in self.sums.items()}
        seconds = round(self.result.seconds, 3)
        self.result.history.append({"step": number, "seconds": seconds, **means})
        self.sums = {}

    def _terms(self) -> dict[str, float]:
        return {k: v for k, v in self.result.history[-1].items() if k not in ("step", "seconds")}

    def _finite(self, name: str, value: float, number: int) -> float:
        if math.isfinite(value):
            return value
        raise self._broken(f"Step {number}: the term {name!r} is {value}.", name)

    def _broken(self, what: str, name: str) -> TrainingError:
        return TrainingError(
            f"{what} {self._way_back()} A lower learning rate, or a look at what the "
            "loss divides by, is the usual cure.",
            result=self.result,
            term=name,
            checkpoint=self.path if self.saved is not None else None,
        )

    def _way_back(self) -> str:
        if self.saved is None:
            return "There is no checkpoint of this run to go back to (folder= keeps them)."
        return f"The last good checkpoint is from step {self.saved}: {self.path}."

    def _show(self, number: int, preview: Callable[[], Tensor]) -> None:
        with random_numbers_kept():
            with torch.no_grad():
                pictures = preview().detach().float().clamp(0, 1).cpu()
            terms = self._terms() if self.result.history else {}
            self.result.timeline.add(number, pictures, terms)
            if self.callback is not None:
                self.callback(number, pictures, self.result.history)

    def save(self) -> None:
        """Write the checkpoint, if there is a folder, unless something in it is not finite."""
        self._check_finite()
        if self.path is None or not self.writes or not self.result.steps:
            return
        kept = {
            "step": self.result.steps,
            "seconds": self.result.seconds,
            "history": self.result.history,
            "sums": self.sums,
            "frames": self.result.timeline.frames,
        }
        save_snapshot(self.path, self.state, kept)
        self.saved = self.result.steps

    def _check_finite(self) -> None:
        for name, value in self.sums.items():
            self._finite(name, float(value), self.result.steps)
        for name, part in self.state.items():
            module = part.module if isinstance(part, EMA) else part
            if isinstance(module, nn.Module) and not _all_finite(module):
                raise self._broken(
                    f"Step {self.result.steps}: weights of {name!r} are not finite.", name
                )


def _all_finite(module: nn.Module) -> bool:
    return all(bool(each.isfinite().all()) for _, each in _tensors(module))


def run_through(step: Step, state: State, *, steps: int, folder: Path | None) -> None:
    """`run` for what is of no use before its last step: it ends there, or it raises.

    The global random numbers stay as they are: ``state`` has to bring its own.

    Raises:
        KeyboardInterrupt: it was stopped; the step was finished and saved first.
    """
    with random_numbers_kept():
        result = run(step, state, steps=steps, folder=folder, progress=False)
    if result.interrupted:
        raise KeyboardInterrupt


def restore(folder: Path | str, state: State) -> int:
    """Put networks, optimisers and random numbers back to the folder's checkpoint.

    Returns:
        The step it was written after.

    Raises:
        WeightsError: there is no checkpoint, or it is damaged.
        SettingError: it belongs to another state.
    """
    return int(load_snapshot(Path(folder) / "checkpoint.pt", state)["step"])


__all__ = [
    "EMA",
    "Batches",
    "Indexed",
    "TrainingResult",
    "autocast",
    "duration",
    "restore",
    "run",
    "run_through",
]
