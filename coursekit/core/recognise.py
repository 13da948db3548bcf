"""Train, measure and keep the small classifiers that later topics measure with.

Which digit, are there glasses, what yaw: a recogniser is an instrument, so its own accuracy on
held-out pictures travels with it. `save` writes it into the file, `load` gives it back as
``.accuracy``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.estimates import Estimate, average, mean_interval, proportion
from coursekit.core.recogniser import Recogniser, Report, Spec

Targets: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Augmentation:
    """How much a training picture is moved before each look; drawn evenly up to these limits.

    There is no flip: a mirrored digit is no digit, and a mirrored face looks the other way.

    Attributes:
        shift: pixels of ``Recogniser.size``, both ways.
        rotation: degrees, both ways.
        scale: natural logarithm of the factor, both ways: 0.15 is about ±15 %.
        shear: as a slope, both ways.
        noise: standard deviation of Gaussian noise on values in [0, 1].
    """

    shift: float = 2.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    noise: float = 0.0

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move each picture of (N, C, H, W) in [0, 1] in its own way; edges are repeated."""
        count = len(images)

        def draw(limit: float) -> Tensor:
            return (2 * torch.rand(count, generator=generator) - 1) * limit

        angle, factor, shear = draw(math.radians(self.rotation)), draw(self.scale), draw(self.shear)
        across, down = (draw(2 * self.shift / side) for side in images.shape[:1:-1])
        cos, sin = angle.cos() * factor.exp(), angle.sin() * factor.exp()
        rows = [cos, shear - sin, across, sin, cos, down]
        matrices = torch.stack(rows, dim=1).view(-1, 2, 3).to(images)
        grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
        moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.noise:
            dither = torch.randn(moved.shape, generator=generator).to(moved)
            moved = (moved + self.noise * dither).clamp(0, 1)
        return moved


def fit(
    images: Tensor,
    targets: Targets,
    spec: Spec,
    *,
    steps: int,
    batch: int = 100,
    seed: int = 0,
    size: int = 28,
    width: int = 16,
    features: int = 64,
    lr: float = 1e-2,
    augment: Augmentation = Augmentation(),
    held_out: tuple[Tensor, Targets] | None = None,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Recogniser:
    """Train a recogniser: Adam under a one-cycle schedule, one loss a target, summed.

    The weights are rounded to half precision at the end, as `save` keeps them, so that what is
    measured here is exactly what `load` gives back. The same seed on the same device and number
    of threads gives the same weights.

    Args:
        images: uint8 (N, C, H, W).
        targets: (N,) each: class indices, 0/1, or real values, as ``spec`` says.
        spec, size, width, features: as for `Recogniser`.
        steps, batch: how many gradient steps, on how many random pictures each.
        lr: the highest learning rate of the cycle.
        augment: how each picture is moved.
        seed: of the initial weights, of the order and of the moves.
        held_out: (images, targets) to measure with afterwards; fills ``.report``.
        device: where it is trained.
        folder: keeps ``checkpoint.pt``, so that a second call goes on where the first stopped.
        report: called with (step, loss) after each step.

    Raises:
        SettingError: a spec that is not one, no steps, or an empty batch.
        ShapeError: images or targets that do not fit the spec or each other.
        KeyboardInterrupt: it was stopped; the step was finished and saved first.
    """
    if steps < 1 or batch < 2:
        raise SettingError(f"Training needs a step and two pictures; got {steps=}, {batch=}.")
    recogniser = Recogniser(
        spec, size=size, channels=images.shape[1], width=width, features=features, seed=seed
    ).to(runtime.find_device(device))
    _check_targets(images, targets, spec)
    _standardise(recogniser, targets)
    generator = runtime.generator(seed)
    optimiser = torch.optim.Adam(recogniser.parameters(), lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
    recogniser.train()

    def step(number: int) -> training.Terms:
        chosen = torch.randint(len(images), (batch,), generator=generator)
        pictures = augment.apply(images[chosen].float().to(device) / 255, generator)
        wanted = {name: targets[name][chosen].to(device) for name in spec}
        terms = losses(recogniser, recogniser(pictures), wanted)
        loss = sum(terms.values(), start=torch.zeros((), device=device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if report is not None:
            report(number - 1, loss.item())
        return terms

    state = {"recogniser": recogniser, "optimiser": optimiser, "schedule": schedule}
    training.run_through(step, state | {"draw": generator}, steps=steps, folder=folder)
    _round(recogniser.eval())
    if held_out is not None:
        recogniser.report = evaluate(recogniser, *held_out)
    return recogniser


def losses(
    recogniser: Recogniser, outputs: Mapping[str, Tensor], targets: Targets
) -> dict[str, Tensor]:
    """Cross-entropy, binary cross-entropy, or squared error in standard deviations, by target.

    ``outputs`` as `Recogniser.forward` gives them, ``targets`` (N,) each; every loss is a scalar.
    """
    found = {}
    for index, (name, raw) in enumerate(outputs.items()):
        kind, target = recogniser.spec[name], targets[name]
        if kind == "regression":
            wanted = (target.float() - recogniser.centre[index]) / recogniser.spread[index]
            found[name] = F.mse_loss(raw, wanted)
        elif kind == "binary":
            found[name] = F.binary_cross_entropy_with_logits(raw, target.float())
        else:
            found[name] = F.cross_entropy(raw, target.long())
    return found


def _check_targets(images: Tensor, targets: Targets, spec: Spec) -> None:
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise ShapeError(f"Expected uint8 images (N, C, H, W), got {images.dtype} {images.shape}.")
    for name, kind in spec.items():
        if name not in targets:
            raise ShapeError(f"There is no target {name!r}; there are {', '.join(targets)}.")
        target = targets[name]
        if target.shape != (len(images),):
            raise ShapeError(f"Target {name!r} is {tuple(target.shape)}, not ({len(images)},).")
        _check_values(name, kind, target)


def _check_values(name: str, kind: int | str, target: Tensor) -> None:
    low, high = float(target.min()), float(target.max())
    if kind == "regression":
        if not math.isfinite(low + high):
            raise ShapeError(f"Target {name!r} has values that are not finite.")
        return
    top = 1 if kind == "binary" else int(kind) - 1
    if low < 0 or high > top or bool((target != target.long()).any()):
        raise ShapeError(f"Target {name!r} must hold whole numbers 0 … {top}.")


def _standardise(recogniser: Recogniser, targets: Targets) -> None:
    for index, (name, kind) in enumerate(recogniser.spec.items()):
        if kind == "regression":
            values = targets[name].float()
            recogniser.centre[index] = values.mean()
            recogniser.spread[index] = values.std().clamp(min=1e-4)
    _round(recogniser)


@torch.no_grad()
def _round(recogniser: Recogniser) -> None:
    for tensor in recogniser.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())


def evaluate(recogniser: Recogniser, images: Tensor, targets: Targets) -> Report:
    """Measure on pictures that it was not trained on.

    Returns:
        By target. Classes and binary: ``accuracy`` (Wilson) and ``balanced accuracy`` (the mean
        of the shares right in each class that occurs). Regression: ``R²`` (bootstrap over the
        pictures) and ``MAE`` (mean absolute error in the target's unit).

    Raises:
        ShapeError: as for `fit`.
    """
    _check_targets(images, targets, recogniser.spec)
    predicted, report = recogniser.predict(images), {}
    for name, kind in recogniser.spec.items():
        target = targets[name].cpu()
        if kind == "regression":
            report[name] = _regression(predicted[name], target)
        else:
            report[name] = _classification(predicted[name], target.long())
    return report


def _classification(predicted: Tensor, target: Tensor) -> dict[str, Estimate]:
    right = predicted == target
    overall = proportion(int(right.sum()), len(right), name="accuracy")
    shares = [
        proportion(int(right[target == each].sum()), int((target == each).sum()))
        for each in target.unique()
    ]
    return {"accuracy": overall, "balanced accuracy": average(shares, "balanced accuracy")}


def _regression(predicted: Tensor, target: Tensor, resamples: int = 1000) -> dict[str, Estimate]:
    predicted, target = predicted.double(), target.double()
    errors = predicted - target
    order = torch.randint(len(target), (resamples, len(target)), generator=runtime.generator(0))
    tails = torch.tensor([0.025, 0.975], dtype=torch.double)
    low, high = _r_squared(errors[order], target[order]).quantile(tails)
    value = float(_r_squared(errors, target))
    return {
        "R²": Estimate("R²", value, (float(low), float(high)), len(target)),
        "MAE": mean_interval(errors.abs(), name="MAE"),
    }


def _r_squared(errors: Tensor, target: Tensor) -> Tensor:
    total = (target - target.mean(dim=-1, keepdim=True)).square().sum(dim=-1)
    return 1 - errors.square().sum(dim=-1) / total


def path_of(name: str | os.PathLike[str]) -> Path:
    """Where the recogniser ``name`` of the course lies; a path with an ending stays as it is."""
    path = Path(name)
    return path if path.suffix else checkpoints.path_of("recognise", str(name))


def save(
    recogniser: Recogniser,
    name: str | os.PathLike[str],
    *,
    data: str,
    steps: int,
    seed: int,
    recipe: str = "recognise",
) -> Path:
    """Write a recogniser with its spec, what it was trained on and its ``report``.

    Args:
        recogniser: trained and measured.
        name: a name such as ``"digits"`` (the course's folder), or a path with an ending.
        data, steps, seed, recipe: go into the header, with today's date.

    Raises:
        SettingError: it was never measured on held-out pictures.
        WeightsError: a weight is too large for half precision.
    """
    if not recogniser.report:
        raise SettingError("Measure the recogniser before you save it: give fit() held_out=….")
    about = {
        "recipe": recipe,
        "data": data,
        "steps": steps,
        "seed": seed,
        "settings": recogniser.settings,
        "digest": recogniser.digest,
        "report": {
            target: {name: asdict(figure) for name, figure in figures.items()}
            for target, figures in recogniser.report.items()
        },
    }
    return checkpoints.save(recogniser, path_of(name), about)


def load(name: str | os.PathLike[str], device: torch.device | str = "cpu") -> Recogniser:
    """Read a recogniser back, frozen and in evaluation mode.

    Args:
        name: a name such as ``"digits"``, or a path with an ending.
        device: where it goes.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    path = path_of(name)
    found = checkpoints.read(path)
    recogniser = found.network(Recogniser, "recogniser")
    try:
        recogniser.report = _report(found.about["report"])
        sound = recogniser.digest == found.about["digest"]
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path.name} is no recogniser of this course's make: its header has no {error}; "
            "take a fresh copy."
        ) from error
    if not sound:
        raise WeightsError(f"{path.name} does not match its own digest; take a fresh copy.")
    recogniser.name, recogniser.header = path.stem, found.about
    return recogniser.to(runtime.find_device(device))


def _report(stored: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Report:
    def estimate(facts: Mapping[str, Any]) -> Estimate:
        return Estimate(**{**facts, "interval": tuple(facts["interval"])})

    return {
        target: {name: estimate(facts) for name, facts in figures.items()}
        for target, figures in stored.items()
    }
