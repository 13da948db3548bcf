"""Topic 14, measured: does a generated picture show what its label map asks for?

A segmenter that was trained on true scenes labels the generated ones; its answer is compared with
the map that was painted (Park et al. 2019, §4). What it scores on the true pictures of the same
maps is the ceiling. LPIPS to the true picture says how much of its look the style code carries.

Source: none; measures of this course.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from coursekit import dcgan, spade
from coursekit.core import runtime, segmenter
from coursekit.core.errors import SettingError
from coursekit.core.estimates import LEVEL, Estimate, mean_interval
from coursekit.core.perceptual import LPIPS
from coursekit.core.segmenter import Segmentation
from coursekit.datasets import base, scenes

TRAINING, HELD_OUT = 0, 1000  # seeds of scenes; the segmenter has learned from others
RARE = ("sun or moon", "window", "door")  # each below 1 % of the training scenes' pixels
STYLES = ("its own", "another picture's", "random")
_RESAMPLES = 1000


def both_times(count: int, seed: int = TRAINING, *, size: int = 64) -> base.Dataset:
    """Every scene twice, by day and by night: "image" and "labels", the days first.

    Args:
        count: of scenes, half the number of entries.
        seed: of the scenes: `TRAINING` or `HELD_OUT`.
        size: in pixels.
    """
    found = scenes.scenes(count, size, seed=seed)
    fields = {
        "image": torch.cat([found.fields["image"], found.fields["night"]]),
        "labels": found.fields["labels"].repeat(2, 1, 1),
    }
    info = {"name": "scenes by day and night", "content": "landscapes with label maps"}
    return base.Dataset(found.info, fields).renamed(**info)


def by_day(count: int, seed: int = TRAINING, *, size: int = 64) -> base.Dataset:
    """Scenes by day only: "image" and "labels"; arguments as in `both_times`."""
    found = scenes.scenes(count, size, seed=seed)
    fields = {name: found.fields[name] for name in ("image", "labels")}
    return base.Dataset(found.info, fields).renamed(name="scenes by day")


# --- Scores --------------------------------------------------------------------------------------


def figures(found: Segmentation) -> dict[str, Estimate]:
    """The three numbers of the topic: pixel accuracy, mean IoU, and mean IoU of `RARE` classes.

    The first two are those of Park et al. 2019, §4. Rare classes that are neither in the maps nor
    found are left out.
    """
    numbers = {"pixel accuracy": found.pixel_accuracy, "mean IoU": found.mean_iou}
    rare = [name for name in RARE if name in found.iou]
    return numbers | ({"rare mean IoU": found.mean_of(rare)} if rare else {})


def relative(found: Segmentation, real: Segmentation) -> Estimate:
    """Pixel accuracy as a share of what real pictures of the same maps reach.

    The interval is a bootstrap over maps: a hard map is hard for both.

    Raises:
        SettingError: other numbers of pictures.
    """
    if len(found.counts) != len(real.counts):
        raise SettingError(f"{len(found.counts)} pictures against {len(real.counts)} real ones.")
    right = torch.stack([_right(each.counts) for each in (found, real)])
    draw = runtime.generator(0)
    chosen = torch.randint(right.shape[1], (_RESAMPLES, right.shape[1]), generator=draw)
    looks = right[:, chosen].sum(dim=2)
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.double)
    low, high = (looks[0] / looks[1]).quantile(tails).tolist()
    value = float(right[0].sum() / right[1].sum())
    return Estimate("pixel accuracy, share of real", value, (low, high), right.shape[1])


def _right(counts: Tensor) -> Tensor:
    """Right pixels of each picture, double (N,)."""
    return counts.diagonal(dim1=1, dim2=2).sum(dim=1).double()


@dataclass(frozen=True)
class Report:
    """What was measured of one painter.

    Attributes:
        scores: by style, what the segmenter finds in the painted pictures.
        lpips: by style, distance of the painted picture to the true one.
        real: what the segmenter finds in the true pictures.
    """

    scores: Mapping[str, Segmentation]
    lpips: Mapping[str, Estimate]
    real: Segmentation

    def relative(self, style: str) -> Estimate:
        """`relative` of the pictures painted in one style.

        Raises:
            SettingError: it was not painted in that style.
        """
        if style not in self.scores:
            raise SettingError(f"No style {style!r}; there are {', '.join(self.scores)}.")
        return relative(self.scores[style], self.real)

    def facts(self) -> dict[str, object]:
        """The figures as plain numbers, for a header."""
        painted = {
            style: {name: asdict(each) for name, each in figures(found).items()}
            | {"share of real": asdict(self.relative(style)), "LPIPS": asdict(self.lpips[style])}
            for style, found in self.scores.items()
        }
        real = {name: asdict(each) for name, each in figures(self.real).items()}
        return {"real pictures": real, "painted, style": painted}


class Bench:
    """Held-out scenes with their maps, and the instruments.

    Args:
        count: of scenes.
        night: whether each is there by night as well.

    Attributes:
        images: (N, 3, 64, 64) in [0, 1], the true pictures.
        labels: int64 (N, 64, 64), theirs.
    """

    def __init__(self, count: int = 200, *, night: bool = True) -> None:
        data = (both_times if night else by_day)(count, HELD_OUT)
        everything = data.batch(torch.arange(len(data)))
        self.images, self.labels = everything["image"], everything["labels"].long()
        self.segmenter, self.lpips = segmenter.load("scenes"), LPIPS().eval()

    def score(self, pictures: Tensor) -> Segmentation:
        """What the segmenter finds in pictures (N, 3, 64, 64) in [0, 1] of `labels`.

        Raises:
            ShapeError: another number or size of pictures.
        """
        return segmenter.score(self.segmenter.predict(pictures), self.labels, scenes.CLASSES)

    def measure(self, painter: spade.Painter, *, seed: int = 0) -> Report:
        """Paint every map and compare.

        Args:
            painter: with or without styles.
            seed: of the random styles.
        """
        scores, distances = {}, {}
        for name, style in self.styles(painter, seed).items():
            pictures = spade.paint(painter, self.labels, style)
            scores[name] = self.score(pictures)
            distances[name] = mean_interval(self.distance(pictures), name="LPIPS")
        return Report(scores, distances, self.score(self.images))

    def styles(self, painter: spade.Painter, seed: int = 0) -> dict[str, Tensor | None]:
        """The codes (N, latent) of each of `STYLES`; one entry, None, for a painter without.

        ``"another picture's"`` is that of a picture seven places on, at the same time of the day
        but for the seam; ``"random"`` is drawn from N(0, 1).
        """
        own = spade.style_of(painter, self.images)
        if own is None:
            return {"none": None}
        drawn = dcgan.sample_latent(len(own), own.shape[1], seed=seed)
        return dict(zip(STYLES, (own, own.roll(7, dims=0), drawn), strict=True))

    @torch.no_grad()
    def distance(self, pictures: Tensor) -> Tensor:
        """LPIPS of each picture to the true one, (N,)."""
        pairs = zip(pictures.split(50), self.images.split(50), strict=True)
        return torch.cat([self.lpips(*pair) for pair in pairs])
