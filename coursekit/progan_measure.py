"""Topic 12, measured: FID, the distance by scale, and whether every kind of face is still there.

FID sees whole images through the course's face recogniser; the sliced Wasserstein distance sees
patches at each level of the Laplacian pyramid (Karras et al. 2018, section 5). Neither says which
faces are missing. Rendered faces have factors, and a recogniser reads them: `coverage` compares how
often each value occurs among generated and among real faces.

Source: none; measures of this course.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from coursekit import dcgan, progan_distance
from coursekit.core import checkpoints, metrics, recognise, runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.core.estimates import Estimate, Score, proportion
from coursekit.core.recogniser import Recogniser
from coursekit.datasets.base import Dataset
from coursekit.datasets.faces import faces
from coursekit.datasets.faces_factors import FACTORS
from coursekit.progan_distance import Distances

HELD_OUT = 1200  # seed of the held-out faces; training and recogniser use others
BANDS = {"yaw": ("left", "ahead", "right"), "smile": ("down", "even", "up")}
LEAST, KEPT = 0.05, 0.5  # values that are this frequent must keep this share of their frequency


# --- Which faces are there -----------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """One value of one factor: how often it is read among real and among generated faces.

    Attributes:
        factor, name: such as ``"hair"``, ``"bob"``.
        real, made: shares with Wilson intervals, both read by the same recogniser.
    """

    factor: str
    name: str
    real: Estimate
    made: Estimate

    @property
    def kept(self) -> float:
        """The share among generated faces divided by that among real ones."""
        return self.made.value / self.real.value if self.real.value else float("nan")


@dataclass(frozen=True)
class Coverage:
    """All values of all factors that the recogniser reads."""

    values: Sequence[Value]

    @property
    def frequent(self) -> list[Value]:
        """Those that at least 5 % of the real faces have, the worst kept first."""
        found = [value for value in self.values if value.real.value >= LEAST]
        return sorted(found, key=lambda value: value.kept)

    @property
    def lost(self) -> list[Value]:
        """The frequent ones that have less than half their frequency."""
        return [value for value in self.frequent if value.kept < KEPT]

    def __str__(self) -> str:
        worst = self.frequent[0]
        return (
            f"{len(self.lost)} of {len(self.frequent)} frequent values have less than half their "
            f"frequency; the least kept is {worst.factor}: {worst.name} ({worst.kept:.2f})"
        )


def reading(recogniser: Recogniser, images: Tensor) -> dict[str, Tensor]:
    """The factors of faces as indices (N,) into `names`.

    Yaw and smile, which are continuous, count by the third of their range they lie in.

    Args:
        recogniser: of faces.
        images: (N, 3, H, W) in [0, 1].
    """
    found = recogniser.predict(images)
    for factor in BANDS.keys() & found.keys():
        low, high = FACTORS[factor].range
        place = (found[factor] - low) / (high - low)
        found[factor] = (3 * place).long().clamp(0, 2)
    return found


def names(factor: str) -> tuple[str, ...]:
    """What the indices of `reading` mean; glasses are only worn or not."""
    if factor == "glasses":
        return ("no", "yes")
    return BANDS.get(factor) or FACTORS[factor].values


def coverage(real: dict[str, Tensor], made: dict[str, Tensor]) -> Coverage:
    """Compare how often every value occurs in two results of `reading`, indices (N,) by factor.

    The recogniser errs on both sides in the same way: its own readings of real faces are what the
    generated ones are compared with, not the true factors.

    Raises:
        SettingError: the readings have other factors.
    """
    if real.keys() != made.keys():
        raise SettingError(f"Other factors were read: {sorted(real)} and {sorted(made)}.")
    values = []
    for factor, truth in real.items():
        for index, name in enumerate(names(factor)):
            shares = [
                proportion(int((side == index).sum()), len(side), name=f"{factor}: {name}")
                for side in (truth, made[factor])
            ]
            values.append(Value(factor, name, *shares))
    return Coverage(tuple(values))


# --- One bench -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What was measured of one generator.

    Attributes:
        fid: with the face recogniser's features.
        swd: by level of the pyramid.
        coverage: of the factors' values.
    """

    fid: Score
    swd: Distances
    coverage: Coverage

    def facts(self) -> dict[str, object]:
        """The figures as plain values, for a header or a file."""
        by_size = {str(size): asdict(found) for size, found in self.swd.by_size.items()}
        kept = {f"{each.factor}: {each.name}": each.kept for each in self.coverage.frequent}
        lost = [f"{each.factor}: {each.name}" for each in self.coverage.lost]
        return {"fid": asdict(self.fid), "swd": by_size, "kept": kept, "lost": lost}


class Bench:
    """The instruments, set up once, with held-out faces to compare with.

    Args:
        count: real faces, and as many generated ones for FID and coverage.
        size: pixels a side.
        patches: faces a side for the sliced Wasserstein distance, at most ``count``.
        draws: for FID's interval.
        data: instead of rendered faces: at least 2 · ``count`` images of any kind. Coverage then
            says what a recogniser of rendered faces takes them for, and nothing more.

    Raises:
        SettingError: fewer images in ``data`` than that, or ``patches`` not from 1 to ``count``.
    """

    def __init__(
        self,
        count: int = 5000,
        size: int = 64,
        *,
        patches: int = 2000,
        draws: int = 3,
        data: Dataset | None = None,
    ) -> None:
        data = faces(2 * count, size, seed=HELD_OUT) if data is None else data
        if len(data) < 2 * count or not 1 <= patches <= count:
            raise SettingError(f"{2 * count} images and {patches=} up to {count} are needed.")
        self.count, self.patches, self.draws = count, patches, draws
        self.images, self.others = data.fields["image"][: 2 * count].split(count)
        self.recogniser = recognise.load("faces")
        self.statistics = metrics.RealStatistics(self.images, metrics.recogniser_extractor("faces"))
        self.read = reading(self.recogniser, self.images)

    def measure(self, generator: dcgan.LatentGenerator, *, seed: int = 0) -> Report:
        """Measure a generator at its last stage.

        Args:
            generator: z (N, latent) → (N, 3, size, size) in about [-1, 1].
            seed: of the samples.
        """
        draw = dcgan.sampler(generator)
        score = metrics.fid_of(draw, self.statistics, count=self.count, draws=self.draws, seed=seed)
        made = draw(self.count, runtime.generator(seed))
        return self._report(score, made)

    def floor(self) -> Report:
        """What other real faces reach: no generator can be expected to do better."""
        return self._report(metrics.fid(self.statistics, self.others), self.others / 255)

    def _report(self, score: Score, made: Tensor) -> Report:
        pair = self.images[: self.patches] / 255, made[: self.patches]
        read = reading(self.recogniser, made)
        return Report(score, progan_distance.swd(*pair), coverage(self.read, read))


# --- The study -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """What ``coursekit train progan --recipe study`` found about leaving ingredients out.

    Attributes:
        about: data, schedule, and the ``floor`` that real faces reach.
        runs: each with ``run``, ``seed``, and the figures of `Report.facts`; or ``broken``, the
            term that was no number any more, and the step.
    """

    about: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> list[str]:
        """The variants, in the order they were run."""
        return list(dict.fromkeys(run["run"] for run in self.runs))

    def of(self, name: str, figure: Callable[[Mapping[str, Any]], float]) -> list[float]:
        """One figure of a variant, seed by seed; NaN for a run that broke down.

        Raises:
            SettingError: there is no such variant.
        """
        found = [run for run in self.runs if run["run"] == name]
        if not found:
            raise SettingError(f"No variant {name!r}; there are {', '.join(self.names)}.")
        return [float("nan") if "broken" in run else figure(run) for run in found]


def fid_of(run: Mapping[str, Any]) -> float:
    """A run's FID."""
    return run["fid"]["value"]


def swd_of(run: Mapping[str, Any], size: int | None = None) -> float:
    """A run's sliced Wasserstein distance × 1000, averaged over all levels or at one, in pixels."""
    levels = run["swd"] if size is None else {str(size): run["swd"][str(size)]}
    return sum(each["value"] for each in levels.values()) / len(levels)


def load_study(path: Path | None = None) -> Study:
    """The study that was made for the course, or another one.

    Raises:
        DataError: it is missing or damaged.
    """
    path = path or checkpoints.path_of("progan", "study").with_suffix(".json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = content.pop("runs")
        if not all("broken" in run or {"run", "seed", "fid", "swd"} <= run.keys() for run in runs):
            raise KeyError("a run without figures")
        return Study(content, runs)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"There is no sound study {path}. Take it from a complete checkout of the course, or "
            "make it with `coursekit train progan --recipe study`."
        ) from error
