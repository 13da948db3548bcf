"""Optimise the pixels of an image: L-BFGS, Adam or plain gradient descent on any loss."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from tqdm.auto import tqdm

from coursekit.core.errors import OptimisationError, SettingError
from coursekit.core.images import resize
from coursekit.core.interrupts import stop_button

Terms: TypeAlias = Mapping[str, Tensor]
Loss: TypeAlias = Callable[[Tensor], "Mapping[str, Tensor | float] | Tensor"]
Callback: TypeAlias = Callable[[int, Tensor, dict[str, float]], None]

LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.02, "sgd": 1.0}
# How far L-BFGS moves a pixel, on average, in its first step.
FIRST_MOVE = 0.005
_NUMBER = (Tensor, float, int)


@dataclass
class PixelResult:
    """What an optimisation left behind.

    Attributes:
        image: the image with the lowest loss seen, (N, 3, H, W).
        history: one dict a step: ``step``, ``seconds``, ``total`` and each term by name.
        snapshots: (step, image) pairs on the way.
        interrupted: whether it was stopped by hand before its time.
    """

    image: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    snapshots: list[tuple[int, Tensor]] = field(default_factory=list)
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """Evaluations of the loss and its gradient."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """Seconds from the start to the last step."""
        return self.history[-1]["seconds"] if self.history else 0.0

    @property
    def loss(self) -> float:
        """The lowest total loss: that of ``image`` (at the last size, when there are several)."""
        last = self.history[-1].get("size") if self.history else None
        totals = [entry["total"] for entry in self.history if entry.get("size") == last]
        return min(totals, default=float("nan"))

    def curve(self, term: str = "total") -> list[float]:
        """One term of the loss at every step."""
        return [entry[term] for entry in self.history]


def optimise_pixels(
    loss: Loss,
    start: Tensor,
    *,
    steps: int = 200,
    method: str = "lbfgs",
    lr: float | None = None,
    seconds: float | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    callback: Callback | None = None,
    snapshots: int = 0,
    progress: bool = True,
) -> PixelResult:
    """Change the pixels of ``start`` so that ``loss`` falls.

    Args:
        loss: maps the image to named, already weighted terms ``{"content": …, "style": …}`` whose
            sum is minimised, or to one tensor.
        start: where to begin, (N, 3, H, W), floating and finite; not changed.
        steps: how many times loss and gradient are evaluated.
        method: ``"lbfgs"`` (one evaluation a step, no line search), ``"adam"``, or ``"sgd"``,
            plain gradient descent.
        lr: step size; by default 1 for L-BFGS, 0.02 for Adam, 1 for gradient descent.
        seconds: stop after this time even when steps are left.
        bounds: range that the pixels are clamped to before each step, or ``None``.
        callback: called after each step with (step, a copy of the image, entry of the history).
        snapshots: how many images to keep on the way, evenly in the logarithm of the step.
        progress: show a progress bar.

    Returns:
        The best image and its history. Ctrl-C (or the stop button) finishes the step and returns
        what there is; a second one does so at once.

    Raises:
        SettingError: an unknown method, neither a step nor a second to work with, a start that
            is not finite, or a loss that is no number or does not depend on the image.
        OptimisationError: a term became NaN or infinite; the message names it and ``.result``
            holds the best image before that.
    """
    _check_settings(method, start, steps, seconds)
    _check_numbers(lr, snapshots, bounds)
    # Gradients are needed whatever mode the caller is in.
    with torch.inference_mode(False), torch.enable_grad():
        run = _Run(loss, start, bounds, callback, _snapshot_steps(steps, snapshots))
        step = _stepper(method, run, LEARNING_RATES[method] if lr is None else lr)
        with (
            stop_button() as stop,
            tqdm(total=steps, desc=method, disable=not progress, leave=False) as bar,
        ):
            try:
                while run.done < steps and not stop.is_set():
                    if seconds is not None and run.elapsed() >= seconds:
                        break
                    step()
                    bar.update()
                    bar.set_postfix_str(f"loss {run.result.history[-1]['total']:.4g}")
            except KeyboardInterrupt:  # the second Ctrl-C
                stop.set()
            run.result.interrupted = stop.is_set()
    return run.result


def _check_settings(method: str, start: Tensor, steps: int, seconds: float | None) -> None:
    if method not in LEARNING_RATES:
        known = ", ".join(LEARNING_RATES)
        raise SettingError(f"There is no method {method!r}. Choose one of {known}.")
    if steps < 1 or not (seconds is None or seconds > 0):
        raise SettingError(f"Nothing to do: steps={steps}, seconds={seconds}. Give at least 1.")
    if not start.is_floating_point() or not torch.isfinite(start).all():
        raise SettingError(
            f"The start ({start.dtype}) must be an image of finite floating numbers; "
            "load_image gives one."
        )


def _check_numbers(lr: float | None, snapshots: int, bounds: tuple[float, float] | None) -> None:
    if lr is not None and not 0 < lr < math.inf:
        raise SettingError(f"lr={lr}: a step size is a number above 0.")
    if bounds is not None and not bounds[0] < bounds[1]:
        raise SettingError(f"bounds={bounds}: give the lower one first, such as (0, 1).")
    if snapshots < 0:
        raise SettingError(f"snapshots={snapshots}: keep 0 images or more on the way.")


def _snapshot_steps(steps: int, count: int) -> frozenset[int]:
    """``count`` steps from the first to the last, evenly in the logarithm."""
    count = min(count, steps)
    if count < 2:
        return frozenset([steps] if count else [])
    chosen: list[int] = []
    for index in range(count):
        # Early steps lie so close that rounding would make some of them the same.
        step = max(round(steps ** (index / (count - 1))), chosen[-1] + 1 if chosen else 1)
        chosen.append(min(step, steps - (count - 1 - index)))
    return frozenset(chosen)


class _Run:
    """One optimisation: evaluates the loss, keeps the best image, watches for NaN."""

    def __init__(
        self,
        loss: Loss,
        start: Tensor,
        bounds: tuple[float, float] | None,
        callback: Callback | None,
        snapshot_steps: frozenset[int],
    ) -> None:
        self.loss, self.bounds, self.callback = loss, bounds, callback
        self.snapshot_steps = snapshot_steps
        self.image = start.detach().clone(memory_format=torch.contiguous_format)
        if bounds is not None:
            self.image.clamp_(*bounds)
        self.image.requires_grad_(True)
        self.result = PixelResult(self.image.detach().clone())
        self.lowest = float("inf")
        self.done = 0
        self.scale = 1.0
        self.begun = time.perf_counter()

    def elapsed(self) -> float:
        return time.perf_counter() - self.begun

    def evaluate(self) -> Tensor:
        """Clamp, evaluate, differentiate, record. Returns the total loss."""
        if self.bounds is not None:
            with torch.no_grad():
                self.image.clamp_(*self.bounds)
        self.image.grad = None
        with torch.enable_grad():  # torch.optim calls this without
            terms = self.loss(self.image)
            terms = _numbers({"loss": terms} if isinstance(terms, Tensor) else terms)
            total = torch.stack(list(terms.values())).sum()
            if total.requires_grad:
                total.backward()
        self._record(terms, float(total.detach()), self.slope())
        return total.detach()

    def slope(self) -> Tensor:
        """The gradient that `evaluate` found, the tensor itself."""
        if self.image.grad is None:
            raise SettingError(
                "The loss does not depend on the image. Look for a .detach(), .item(), .numpy() or "
                "no_grad() on the way."
            )
        return self.image.grad

    def evaluate_inside(self) -> Tensor:
        """`evaluate` for L-BFGS: the slope on a scale of 1, and none for pixels at a bound that
        would only leave it.

        L-BFGS reckons with the step that it took; where the clamp takes steps back, its curvature
        is wrong and it stalls (on a quadratic in a box it never arrives).
        """
        total, slope = self.evaluate(), self.slope()
        if self.done == 1:
            size = float(slope.abs().mean())
            self.scale = 1 / size if 0 < size < math.inf else 1.0
        # torch skips curvature below a fixed 1e-10: a loss must not be small to be minimised.
        slope.mul_(self.scale)
        if self.bounds is not None:
            image = self.image.detach()
            out = ((image <= self.bounds[0]) & (slope > 0)) | (
                (image >= self.bounds[1]) & (slope < 0)
            )
            slope.masked_fill_(out, 0)
        return total

    def _record(self, terms: Terms, total: float, slope: Tensor) -> None:
        self.done += 1
        values = {name: float(term.detach()) for name, term in terms.items()}
        self._refuse_nan(values, total, slope)
        entry = {"step": self.done, "seconds": self.elapsed(), "total": total, **values}
        if total < self.lowest:
            self.lowest = total
            self.result.image.copy_(self.image.detach())
        self.result.history.append(entry)
        if self.done in self.snapshot_steps:
            self.result.snapshots.append((self.done, self.image.detach().clone()))
        if self.callback is not None:
            self.callback(self.done, self.image.detach().clone(), entry)

    def _refuse_nan(self, values: dict[str, float], total: float, slope: Tensor) -> None:
        if math.isfinite(total) and torch.isfinite(slope).all():
            return
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        what = "the gradient" if math.isfinite(total) else "the sum of all terms"
        what = f"the term {', '.join(map(repr, bad))}" if bad else what
        raise OptimisationError(
            f"Step {self.done}: {what} is not a finite number. Lower the learning rate or the "
            "weight of that term; the best image so far is in the error's .result.",
            self.result,
        )


def _numbers(terms: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    """The terms as scalars of one type, at least float32."""
    if not isinstance(terms, Mapping) or not all(isinstance(v, _NUMBER) for v in terms.values()):
        raise SettingError(f"The loss returned {terms!r}; return a tensor, or tensors by name.")
    found = {name: torch.as_tensor(term) for name, term in terms.items()}
    wrong = [f"{name!r} has shape {tuple(t.shape)}" for name, t in found.items() if t.dim()]
    if wrong or not found:
        raise SettingError(
            f"The loss must be a number, or numbers by name; {', '.join(wrong) or 'it is empty'}. "
            "Sum or average it first."
        )
    types = [term.dtype for term in found.values()]
    dtype = functools.reduce(torch.promote_types, types, torch.float32)
    device = max((t.device for t in found.values()), key=lambda device: device.type != "cpu")
    return {name: term.to(device, dtype) for name, term in found.items()}


def _stepper(method: str, run: _Run, lr: float) -> Callable[[], object]:
    if method == "lbfgs":
        return _lbfgs_stepper(run, lr)
    kind = torch.optim.Adam if method == "adam" else torch.optim.SGD
    optimiser = kind([run.image], lr)

    def step() -> None:
        run.evaluate()
        optimiser.step()

    return step


def _lbfgs_stepper(run: _Run, lr: float) -> Callable[[], object]:
    """One evaluation a step, without line search; the curvature is kept from step to step.

    Tolerances are 0: a loss on a small scale is not a converged one. The first step has no
    curvature to go by: torch would move all pixels together by 1, which is nothing for an image.
    """
    optimiser = torch.optim.LBFGS(
        [run.image], lr, max_iter=1, history_size=20, tolerance_grad=0, tolerance_change=0
    )
    group = optimiser.param_groups[0]

    def step() -> None:
        group["lr"] = lr if run.done else lr * FIRST_MOVE * run.image.numel()
        optimiser.step(run.evaluate_inside)

    return step


def coarse_to_fine(
    make_loss: Callable[[int], Loss],
    start: Tensor,
    sizes: Sequence[int],
    steps: int | Sequence[int],
    **settings: Any,
) -> PixelResult:
    """Optimise a small image, enlarge the result, go on from there (Gatys et al. 2017, sec. 6).

    Args:
        make_loss: returns the loss for images whose shorter side has that many pixels.
        start: the image to begin with, (N, 3, H, W); it is resized to ``sizes[0]``.
        sizes: shorter sides, ascending.
        steps: steps at every size, or one number for each.
        settings: passed on to `optimise_pixels`, at every size; so ``seconds`` is for each.

    Returns:
        The result at the last size; its history goes through all of them, with ``size`` in each
        entry and seconds counted from the start.

    Raises:
        SettingError: the sizes are not ascending, or the numbers of steps do not match them.
        OptimisationError: as in `optimise_pixels`; ``.result`` goes through all sizes until then.
    """
    counts = [steps] * len(sizes) if isinstance(steps, int) else list(steps)
    if list(sizes) != sorted(set(sizes)) or not sizes or len(counts) != len(sizes):
        raise SettingError(f"Sizes {list(sizes)} must ascend, with one of {counts} steps each.")
    with stop_button() as stop:
        whole = _through_sizes(make_loss, start, sizes, counts, settings, stop)
        whole.interrupted |= stop.is_set()
    return whole


def _through_sizes(
    make_loss: Callable[[int], Loss],
    start: Tensor,
    sizes: Sequence[int],
    counts: Sequence[int],
    settings: dict[str, Any],
    stop: threading.Event,
) -> PixelResult:
    whole, image = PixelResult(start), start
    for size, count in zip(sizes, counts, strict=True):
        # The proportions are always those of the start: rounding must not add up.
        height, width = resize(start, size).shape[-2:]
        image = resize(image, (height, width))
        loss = make_loss(size)
        if stop.is_set():
            break
        try:
            part = optimise_pixels(loss, image, steps=count, **settings)
        except OptimisationError as error:
            _append(whole, error.result, size)
            error.result = whole
            raise
        _append(whole, part, size)
        image = part.image
        if part.interrupted or stop.is_set():
            break
    return whole


def _append(whole: PixelResult, part: PixelResult, size: int) -> None:
    steps, seconds = whole.steps, whole.seconds
    whole.snapshots += [(step + steps, image) for step, image in part.snapshots]
    for entry in part.history:
        moved = {"step": entry["step"] + steps, "seconds": entry["seconds"] + seconds, "size": size}
        whole.history.append({**entry, **moved})
    if part.history or not whole.history:  # else no loss was measured of the enlarged image
        whole.image = part.image
    whole.interrupted = part.interrupted
