"""A network that says what every pixel shows, and the scores that are read off its answer.

Pictures made from label maps are judged this way (Isola et al. 2017, section 4.1; Park et al. 2019,
section 4): a segmenter trained on true pictures labels the made ones, and its labels are compared
with those that the pictures were made from. The score of the true pictures is the ceiling.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import LEVEL, Estimate
from coursekit.core.recogniser import unit_images

_RESAMPLES = 1000


class Segmenter(nn.Module):
    """A small U-Net (Ronneberger et al. 2015) with batch norm: pictures in, one class a pixel out.

    Args:
        classes: how many there are.
        width: channels at full size; twice and four times as many at half and at smaller sizes.
        seed: of the initial weights.

    Attributes:
        name: ``"scenes"`` once it was loaded under that name.
        header: what is known about its training, with its own score on held-out pictures.

    Raises:
        SettingError: fewer than two classes or a width below 1.
    """

    def __init__(self, classes: int, *, width: int = 12, seed: int = 0) -> None:
        super().__init__()
        if classes < 2 or width < 1:
            raise SettingError(f"{classes=} and {width=}: give two classes and a width of 1.")
        self.classes, self.width = classes, width
        self.name, self.header = "unsaved", dict[str, Any]()
        sizes = [width, 2 * width, 4 * width, 4 * width]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down = nn.ModuleList(
                nn.Sequential(_block(before, after), _block(after, after))
                for before, after in zip([3, *sizes], sizes, strict=False)
            )
            self.up = nn.ModuleList(
                _block(below + beside, beside)
                for below, beside in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
            )
            self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes, H, W) of images (N, 3, H, W), float in [0, 1] or uint8.

        Raises:
            ImageError: another shape or range.
            ShapeError: a height or width that 8 does not divide.
        """
        x, beside = 2 * unit_images(images, 3) - 1, []
        if images.shape[-2] % 8 or images.shape[-1] % 8:
            raise ShapeError(f"{tuple(images.shape[-2:])} pixels: both sides must be 8, 16, 24 …")
        for number, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if number else x)
            beside.append(x)
        beside.pop()
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2), beside.pop()], dim=1))
        return self.head(x)

    @torch.no_grad()
    def predict(self, images: Tensor, *, batch: int = 100) -> Tensor:
        """The likeliest class of every pixel, int64 (N, H, W) on the CPU; input as `forward`."""
        training, device = self.training, self.head.weight.device
        self.eval()
        try:
            parts = [self(part.to(device)).argmax(dim=1).cpu() for part in images.split(batch)]
        finally:
            self.train(training)
        return torch.cat(parts)


def _block(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


# --- scores -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segmentation:
    """How well predicted label maps agree with the true ones.

    Attributes:
        pixel_accuracy: the share of all pixels that is right.
        mean_iou: the mean of ``iou``.
        iou: intersection over union by class, over all pictures together; a class that is neither
            in the truth nor predicted is left out.
        counts: int64 (N, C, C), the pixels of each picture by true class (row) and predicted one.
    """

    pixel_accuracy: Estimate
    mean_iou: Estimate
    iou: dict[str, Estimate]
    counts: Tensor

    def mean_of(self, classes: Sequence[str]) -> Estimate:
        """`mean_iou` of some classes only, such as the rare ones.

        Raises:
            SettingError: a class that is not in ``iou``.
        """
        unknown = [name for name in classes if name not in self.iou]
        if unknown or not classes:
            raise SettingError(f"No class {unknown}; there are {', '.join(self.iou)}.")
        columns = [list(self.iou).index(name) for name in classes]
        kept = _present(self.counts.sum(0))
        shares = [ious(counts)[kept][columns].nanmean() for counts in _resampled(self.counts)]
        value = float(ious(self.counts.sum(0))[kept][columns].mean())
        return _estimate(f"mean IoU of {', '.join(classes)}", value, shares, len(self.counts))

    def facts(self) -> dict[str, Any]:
        """The figures as plain numbers, for a checkpoint's header."""
        by_class = {name: round(each.value, 4) for name, each in self.iou.items()}
        figures = {"pixel accuracy": self.pixel_accuracy, "mean IoU": self.mean_iou}
        return {name: asdict(each) for name, each in figures.items()} | {"IoU": by_class}


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often each true class (row) was called each class (column), by picture.

    Args:
        predicted, labels: whole numbers (N, H, W) from 0 to ``classes`` − 1.
        classes: how many there are.

    Returns:
        int64 (N, classes, classes).

    Raises:
        ShapeError: other shapes, no pictures, fractions, or a number that is no class.
    """
    for name, maps in (("predicted", predicted), ("labels", labels)):
        whole = not (maps.is_floating_point() or maps.is_complex())
        if maps.dim() != 3 or not whole or not maps.numel():
            raise ShapeError(f"{name}: whole numbers (N, H, W), not {maps.dtype} {maps.shape}.")
        if int(maps.min()) < 0 or int(maps.max()) >= classes:
            raise ShapeError(f"{name} runs from {maps.min()} to {maps.max()}, not in 0…{classes}.")
    if predicted.shape != labels.shape:
        raise ShapeError(f"predicted {tuple(predicted.shape)}, labels {tuple(labels.shape)}.")
    each = torch.arange(len(labels), device=labels.device).view(-1, 1, 1)
    cells = (each * classes + labels.long()) * classes + predicted.long()
    counts = cells.flatten().bincount(minlength=len(labels) * classes**2)
    return counts.view(-1, classes, classes).cpu()


def ious(counts: Tensor) -> Tensor:
    """Intersection over union by class of a confusion matrix (C, C); NaN where the union is empty.

    IoU = TP / (TP + FP + FN).
    """
    both = counts.diagonal().double()
    return both / (counts.sum(0) + counts.sum(1) - both)


def score(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> Segmentation:
    """Compare label maps, with 95 % intervals by a bootstrap over the pictures.

    Args:
        predicted, labels: whole numbers (N, H, W), indices into ``classes``.
        classes: their names.

    Raises:
        ShapeError: as `confusion`.
        SettingError: fewer than two pictures.
    """
    counts = confusion(predicted, labels, len(classes))
    if len(counts) < 2:
        raise SettingError("One picture gives no interval; compare two or more.")
    total, drawn, number = counts.sum(0), list(_resampled(counts)), len(counts)
    kept, found = _present(total), ious(total)
    looks = torch.stack([ious(each) for each in drawn])
    accuracies = [each.diagonal().sum() / each.sum() for each in drawn]
    by_class = {
        name: _estimate(f"IoU of {name}", float(found[index]), looks[:, index], number)
        for index, name in enumerate(classes)
        if kept[index]
    }
    right = float(total.diagonal().sum() / total.sum())
    mean = float(found[kept].mean())
    return Segmentation(
        _estimate("pixel accuracy", right, accuracies, number),
        _estimate("mean IoU", mean, looks[:, kept].nanmean(dim=1), number),
        by_class,
        counts,
    )


def _present(total: Tensor) -> Tensor:
    return total.sum(0) + total.sum(1) > 0


def _resampled(counts: Tensor) -> Iterator[Tensor]:
    """Confusion matrices of as many pictures, drawn again and again with replacement."""
    draws = runtime.generator(0)
    for _ in range(_RESAMPLES):
        chosen = torch.randint(len(counts), (len(counts),), generator=draws)
        often = chosen.bincount(minlength=len(counts))
        yield (often.double() @ counts.flatten(1).double()).view(counts.shape[1:])


def _estimate(name: str, value: float, draws: Sequence[Tensor] | Tensor, count: int) -> Estimate:
    looks = torch.as_tensor(draws).double()
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.double)
    low, high = looks[~looks.isnan()].quantile(tails)
    return Estimate(name, value, (float(low), float(high)), count)


# --- training and keeping -----------------------------------------------------------------------


def fit(
    images: Tensor,
    labels: Tensor,
    classes: int,
    *,
    steps: int,
    batch: int = 32,
    width: int = 12,
    lr: float = 4e-3,
    noise: float = 0.03,
    seed: int = 0,
    folder: Path | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Segmenter:
    """Train a segmenter: Adam under a one-cycle schedule, cross-entropy by pixel.

    Pictures are mirrored at random, and get noise of a random strength, so that the small faults of
    made pictures are nothing new. Weights are rounded to half precision at the end, as `save` keeps
    them. The same seed on the same machine gives the same weights.

    Args:
        images: uint8 (N, 3, H, W).
        labels: whole numbers (N, H, W), 0 … ``classes`` − 1.
        classes, width: as for `Segmenter`.
        steps, batch: how many gradient steps, on how many random pictures each.
        lr: the highest learning rate of the cycle.
        noise: the largest standard deviation of the noise, on values in [0, 1].
        seed: of the initial weights, the order, the mirroring and the noise.
        folder: keeps ``checkpoint.pt``, so that a second call goes on where the first stopped.
        report: called with (step, loss) after each step.

    Raises:
        SettingError: no steps or an empty batch.
        ShapeError: images or labels that do not fit each other.
        KeyboardInterrupt: it was stopped; the step was finished and saved first.
    """
    if steps < 1 or batch < 1:
        raise SettingError(f"Training needs a step and a picture; got {steps=}, {batch=}.")
    if images.dtype != torch.uint8 or images.dim() != 4 or labels.shape != images[:, 0].shape:
        raise ShapeError(f"Expected uint8 (N, 3, H, W) and (N, H, W), got {images.shape}.")
    segmenter, draw = Segmenter(classes, width=width, seed=seed), runtime.generator(seed)
    optimiser = torch.optim.Adam(segmenter.parameters(), lr, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)

    def step(number: int) -> training.Terms:
        chosen = torch.randint(len(images), (batch,), generator=draw)
        pictures, wanted = _moved(images[chosen].float() / 255, labels[chosen].long(), noise, draw)
        loss = F.cross_entropy(segmenter(pictures), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if report is not None:
            report(number - 1, loss.item())
        return {"loss": loss}

    state = {"segmenter": segmenter, "optimiser": optimiser, "schedule": schedule, "draw": draw}
    training.run_through(step, state, steps=steps, folder=folder)
    return _rounded(segmenter.eval())


def _moved(
    pictures: Tensor, labels: Tensor, noise: float, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    mirrored = torch.rand(len(pictures), generator=draw) < 0.5
    pictures[mirrored], labels[mirrored] = pictures[mirrored].flip(-1), labels[mirrored].flip(-1)
    strength = noise * torch.rand(len(pictures), 1, 1, 1, generator=draw)
    return (pictures + strength * torch.randn(pictures.shape, generator=draw)).clamp(0, 1), labels


@torch.no_grad()
def _rounded(segmenter: Segmenter) -> Segmenter:
    for tensor in segmenter.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    return segmenter


def path_of(name: str | os.PathLike[str]) -> Path:
    """Where the segmenter ``name`` of the course lies; a path with an ending stays as it is."""
    path = Path(name)
    return path if path.suffix else checkpoints.path_of("segment", str(name))


def save(segmenter: Segmenter, name: str | os.PathLike[str], about: dict[str, Any]) -> Path:
    """Write a segmenter; ``about`` goes into the header with its settings and today's date.

    Raises:
        WeightsError: ``about`` lacks recipe, data, steps or seed, or a weight is
            too large for half precision.
    """
    settings = {"classes": segmenter.classes, "width": segmenter.width}
    return checkpoints.save(segmenter, path_of(name), about | {"settings": settings})


def load(name: str | os.PathLike[str] = "scenes", device: torch.device | str = "cpu") -> Segmenter:
    """Read a segmenter back, frozen and in evaluation mode.

    Args:
        name: a name such as ``"scenes"``, or a path with an ending.
        device: where it goes.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    path = path_of(name)
    found = checkpoints.read(path)
    segmenter = found.network(Segmenter, "segmenter")
    segmenter.name, segmenter.header = path.stem, found.about
    return segmenter.to(runtime.find_device(device))
