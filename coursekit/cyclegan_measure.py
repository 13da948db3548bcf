"""Topic 11, measured: how far is a translation from the hidden twin?

The paper had no true answer to compare with. Rendered scenes have one: every held-out scene was
drawn by day *and* by night. Training never sees the pair; here it is the ruler. Three numbers a
picture: LPIPS and PSNR to the twin, and the share of pixels in which a segmenter that was trained
on true scenes finds the true class. Next to them stand translations that cost nothing, and the
experiment that shows what the cycle hides: noise on the translation, and the way back.

Source: none; measures of this course.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from coursekit import cyclegan
from coursekit.core import losses, metrics, runtime, segmenter
from coursekit.core.errors import SettingError
from coursekit.core.estimates import Estimate, mean_interval
from coursekit.core.perceptual import LPIPS
from coursekit.datasets import scenes
from coursekit.datasets.base import Dataset

HELD_OUT = 1000  # seed of the held-out scenes: training uses 0, the segmenter 2000
MEASURES = ("LPIPS", "PSNR", "label accuracy")
Translation = Callable[[Tensor], Tensor]


# --- Translations that cost nothing --------------------------------------------------------------


def constant_colour(images: Tensor, heap: Tensor) -> Tensor:
    """The mean colour of the target heap (M, 3, H, W), as pictures of the shape of ``images``.

    The answer has the range of the heap; ``images`` may have any range.
    """
    return heap.mean(dim=(0, 2, 3)).view(1, 3, 1, 1).expand_as(images).clone()


def colour_transfer(images: Tensor, heap: Tensor) -> Tensor:
    """Each picture with the channel means and deviations that pictures of the target heap have.

    Reinhard et al. 2001 without pairs: the mean and the standard deviation of each channel are
    those of the heap's pictures, averaged; cut to [0, 1].

    Args:
        images: (N, 3, H, W) in [0, 1].
        heap: some pictures of the target heap (M, 3, H', W') in [0, 1].
    """
    mean, deviation = losses.channel_statistics(images, epsilon=1e-8)
    wanted = [each.mean(dim=0, keepdim=True) for each in losses.channel_statistics(heap)]
    return ((images - mean) / deviation * wanted[1] + wanted[0]).clamp(0, 1)


# --- Against the twin ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What was measured of one translation.

    Attributes:
        each: by measure, one number a picture (N,); `MEASURES` has the names.
        mean_iou: of the segmenter's label maps, over all pictures.
    """

    each: Mapping[str, Tensor]
    mean_iou: Estimate

    def __getitem__(self, measure: str) -> Estimate:
        """The mean of one measure over the pictures, with Student's t interval.

        Raises:
            SettingError: there is no such measure.
        """
        if measure not in self.each:
            raise SettingError(f"No measure {measure!r}; there are {', '.join(self.each)}.")
        return mean_interval(self.each[measure], name=measure)

    def advantage(self, other: Report, measure: str) -> Estimate:
        """The mean over the *same* pictures of this one's number minus the other's.

        Raises:
            SettingError: no such measure, or other numbers of pictures.
        """
        mine, theirs = self[measure], other[measure]
        if mine.count != theirs.count:
            raise SettingError(f"{mine.count} pictures against {theirs.count}: measure the same.")
        return mean_interval(
            self.each[measure] - other.each[measure], name=f"{measure}, difference"
        )

    def facts(self) -> dict[str, object]:
        """The figures as plain numbers, for a header or a file."""
        return {name: asdict(self[name]) for name in self.each} | {
            "mean IoU": asdict(self.mean_iou)
        }


class Bench:
    """Held-out scenes of one time of the day with their twins, and the instruments.

    Attributes:
        images: (N, 3, 64, 64) in [0, 1], what is translated.
        twins: the same scenes at the other time, the true answers.
        labels: int64 (N, 64, 64), true of both.
    """

    def __init__(self, count: int = 200, *, night_to_day: bool = False, size: int = 64) -> None:
        held_out = scenes.unpaired(count, size, seed=HELD_OUT)[int(night_to_day)]
        self.images, self.twins, self.labels = everything(held_out)
        self.segmenter, self.lpips = segmenter.load("scenes"), LPIPS().eval()

    def measure(self, pictures: Tensor) -> Report:
        """Compare translations of `images` with the twins.

        Args:
            pictures: (N, 3, H, W) in [0, 1], in the order of `images`.

        Raises:
            ShapeError: another shape than the twins have.
        """
        psnr = metrics.psnr(pictures, self.twins)
        found = self.segmenter.predict(pictures)
        with torch.no_grad():
            parts = zip(pictures.split(50), self.twins.split(50), strict=True)
            distance = torch.cat([self.lpips(*pair) for pair in parts])
        right = (found == self.labels).float().mean(dim=(1, 2))
        each = dict(zip(MEASURES, (distance, psnr, right), strict=True))
        return Report(each, segmenter.score(found, self.labels, scenes.CLASSES).mean_iou)

    def ceiling(self) -> Estimate:
        """The segmenter's accuracy on the true twins."""
        right = (self.segmenter.predict(self.twins) == self.labels).float().mean(dim=(1, 2))
        return mean_interval(right, name="label accuracy")

    def baselines(self, heap: Tensor) -> dict[str, Report]:
        """The translations that cost nothing: identity, one colour, colour transfer.

        Args:
            heap: training pictures of the target heap (M, 3, H, W) in [0, 1], without pairs.
        """
        return {
            "as it is": self.measure(self.images),
            "one colour": self.measure(constant_colour(self.images, heap)),
            "colour transfer": self.measure(colour_transfer(self.images, heap)),
        }


def everything(data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """All pictures (N, 3, H, W) of one half of `scenes.unpaired`, twins, labels (N, H, W).

    Pictures and twins are in [0, 1].
    """
    batch = data.batch(torch.arange(len(data)))
    return batch["image"], batch["twin"].float() / 255, batch["labels"].long()


# --- What the cycle hides ------------------------------------------------------------------------


def way_back(
    to_x: nn.Module,
    translated: Tensor,
    images: Tensor,
    levels: Sequence[float],
    *,
    seed: int = 0,
) -> list[Estimate]:
    """How well pictures come back when their translations were disturbed (Chu et al. 2017).

    Args:
        to_x: the generator of the way back.
        translated: (N, 3, H, W) in [0, 1]: translations of ``images``, or their true twins.
        images: what should come back, like ``translated``.
        levels: standard deviations of Gaussian noise on ``translated``, which is not cut to [0, 1]
            afterwards, so that dark pictures are disturbed as much as bright ones.
        seed: of the noise, the same for every level but for its strength.

    Returns:
        For each level the mean absolute error of the way back, in grey levels of 255.
    """
    noise = torch.randn(translated.shape, generator=runtime.generator(seed))
    errors = []
    for level in levels:
        back = cyclegan.translate(to_x, translated + level * noise, noisy=True)
        error = 255 * (back - images).abs().mean(dim=(1, 2, 3))
        errors.append(mean_interval(error, name="error of the way back"))
    return errors
