"""A measured number never stands alone: value, interval, how many, and what it was measured with.

The intervals: Wilson 1927 for a share; Student's t for a mean; a bootstrap over the points for a
rank correlation; Zou & Donner 2008 ("MOVER") for differences and means of other estimates.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

from coursekit.core.errors import SettingError

Interval: TypeAlias = tuple[float, float]
Values: TypeAlias = "Sequence[float] | np.ndarray | Tensor"

LEVEL = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A number estimated from ``count`` things, with its interval.

    Attributes:
        name: what it is: ``"accuracy"``.
        value: the estimate itself.
        interval: (low, high) at ``level``; ``None`` where one measurement cannot give one.
        count: how many things it was estimated from.
        level: of the interval, 0.95 unless something else was asked for.
    """

    name: str
    value: float
    interval: Interval | None
    count: int
    level: float = LEVEL

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies in the interval.

        Raises:
            SettingError: this estimate has no interval.
        """
        if self.interval is None:
            raise SettingError(f"{self.name} was measured once and has no interval; repeat it.")
        return self.interval[0] <= value <= self.interval[1]

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals touch.

        Raises:
            SettingError: one of the two has no interval.
        """
        if self.interval is None or other.interval is None:
            raise SettingError(f"{self.name} was measured once and has no interval; repeat it.")
        return self.interval[0] <= other.interval[1] and other.interval[0] <= self.interval[1]

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} {self._interval()}, N = {self.count:,}"

    def _interval(self) -> str:
        if self.interval is None:
            return "(one draw: no interval)"
        return f"({self.level:.0%} interval {self.interval[0]:.4g} to {self.interval[1]:.4g})"


@dataclass(frozen=True)
class Score(Estimate):
    """An `Estimate` that depends on a feature extractor, and says on which.

    Two scores are compared (``a < b``, ``a - b``, `compare`) only where that means something: the
    same score, by the same extractor, and for FID from equally many images, because FID falls
    with their number (Bińkowski et al. 2018, section 4).

    Attributes:
        name, value, interval, count, level: as for `Estimate`.
        extractor: its name with a digest of its weights.
        real_count: how many real images the score was measured against.
        note: a warning that belongs to the number; printed with it.
    """

    extractor: str = ""
    real_count: int = 0
    note: str = ""

    def __str__(self) -> str:
        note = f"; {self.note}" if self.note else ""
        against = f" against {self.real_count:,} real" if self.real_count else ""
        return f"{super().__str__()}{against}; {self.extractor}{note}"

    def comparable(self, other: Score) -> None:
        """Do nothing if the two scores may be compared.

        Raises:
            SettingError: they differ in the score, the extractor, or FID's number of images.
        """
        if not isinstance(other, Score):
            raise SettingError(f"{self.name} compares with another Score, not with {other!r}.")
        if self.name != other.name:
            raise SettingError(f"{self.name} and {other.name} are not on one scale.")
        if self.extractor != other.extractor:
            raise SettingError(
                f"{self.name} by {self.extractor} and by {other.extractor} are not on one scale; "
                "measure both with the same extractor."
            )
        counts = (self.count, self.real_count), (other.count, other.real_count)
        if self.name == "FID" and counts[0] != counts[1]:
            raise SettingError(
                f"FID falls with the number of images: {counts[0]} (generated, real) and "
                f"{counts[1]} cannot be compared; measure both with equally many."
            )

    def __lt__(self, other: Score) -> bool:
        self.comparable(other)
        return self.value < other.value

    def __gt__(self, other: Score) -> bool:
        self.comparable(other)
        return self.value > other.value

    def __sub__(self, other: Score) -> Estimate:
        """The difference; its interval takes the two as independent (Zou & Donner 2008)."""
        self.comparable(other)
        return difference(self, other)


@dataclass(frozen=True)
class Comparison:
    """Scores side by side, by name, in the order given; made by `compare`."""

    scores: Mapping[str, Score]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(name, value, interval, N) as text."""
        return [
            (name, f"{s.value:.4g}", s._interval().strip("()"), f"{s.count:,}")
            for name, s in self.scores.items()
        ]

    @property
    def heading(self) -> str:
        """The score and the extractor that all rows share."""
        first = next(iter(self.scores.values()))
        return f"{first.name} by {first.extractor}"

    def __str__(self) -> str:
        rows = [("", "value", "interval", "N"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        return "\n".join([self.heading, *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{c}</th>" for c in ("", "value", "interval", "N"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return (
            f"<table><caption>{html.escape(self.heading)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def compare(scores: Mapping[str, Score]) -> Comparison:
    """A table of scores of one kind by one extractor.

    Raises:
        SettingError: there are none, or they are not on one scale.
    """
    if not scores:
        raise SettingError("There is nothing to compare; give at least one score by name.")
    first = next(iter(scores.values()))
    for score in scores.values():
        first.comparable(score)
    return Comparison(dict(scores))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first`` − ``second`` of two independent estimates (Zou & Donner 2008)."""
    value, interval = first.value - second.value, None
    if first.interval and second.interval:
        down = math.hypot(first.value - first.interval[0], second.interval[1] - second.value)
        up = math.hypot(first.interval[1] - first.value, second.value - second.interval[0])
        interval = (value - down, value + up)
    count = min(first.count, second.count)
    return Estimate(f"difference of {first.name}", value, interval, count, first.level)


def average(estimates: Sequence[Estimate], name: str) -> Estimate:
    """The mean of independent estimates, each with its interval (Zou & Donner 2008).

    Raises:
        SettingError: there are none, or one has no interval.
    """
    intervals = [each.interval for each in estimates if each.interval is not None]
    if not estimates or len(intervals) < len(estimates):
        raise SettingError("An average needs estimates that have intervals.")
    size = len(estimates)
    value = sum(each.value for each in estimates) / size
    pairs = list(zip(estimates, intervals, strict=True))
    down = math.hypot(*(each.value - low for each, (low, _) in pairs)) / size
    up = math.hypot(*(high - each.value for each, (_, high) in pairs)) / size
    count = sum(each.count for each in estimates)
    return Estimate(name, value, (value - down, value + up), count, estimates[0].level)


def proportion(
    successes: int, total: int, *, name: str = "share", level: float = LEVEL
) -> Estimate:
    """A share with Wilson's interval, which stays in [0, 1] and has a width at 0 and at 1.

    Raises:
        SettingError: ``total`` is not positive, ``successes`` lies outside 0 … ``total``, or the
            level is no share.
    """
    _check_level(level)
    from scipy.stats import binomtest

    if total < 1 or not 0 <= successes <= total:
        raise SettingError(f"{successes} of {total} is no share.")
    test = binomtest(int(successes), int(total))
    low, high = test.proportion_ci(confidence_level=level, method="wilson")
    return Estimate(name, successes / total, (float(low), float(high)), int(total), level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise SettingError(f"level={level} is no share of cases; give 0.95 for 95 %.")


def mean_interval(values: Values, *, name: str = "mean", level: float = LEVEL) -> Estimate:
    """The mean of independent values with Student's t interval.

    Raises:
        SettingError: fewer than two values, one that is not finite, or a level that is no share.
    """
    _check_level(level)
    from scipy.stats import t

    array = _vector(values, 2)
    value, spread = float(array.mean()), float(array.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, len(array) - 1)) * spread / math.sqrt(len(array))
    return Estimate(name, value, (value - half, value + half), len(array), level)


def spearman(
    x: Values, y: Values, *, seed: int, runs: Sequence[object] | None = None, level: float = LEVEL
) -> Estimate:
    """Spearman's rank correlation of ``x`` and ``y``.

    Args:
        x, y: equally many values.
        seed: of the bootstrap.
        runs: which run (training seed) each point comes from. Without it, points are taken as
            independent and resampled. Points along one training run are not independent: with
            ``runs`` the value is the mean of one correlation a run, and the interval is
            Student's t over the runs, cut to [−1, 1].
        level: of the interval.

    Raises:
        SettingError: fewer than four points (a run), different lengths, or constant values.
    """
    if runs is not None:
        return _spearman_of_runs(x, y, np.asarray(runs), level)
    pairs = _pairs(x, y)
    order = np.random.default_rng(seed).integers(0, pairs.shape[1], (_RESAMPLES, pairs.shape[1]))
    drawn = _rank_correlation(pairs[0][order], pairs[1][order])
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail))
    value = float(_rank_correlation(*pairs))
    return Estimate("Spearman ρ", value, (float(low), float(high)), pairs.shape[1], level)


def _spearman_of_runs(x: Values, y: Values, runs: np.ndarray, level: float) -> Estimate:
    first, second = _vector(x, 4), _vector(y, 4)
    if not len(first) == len(second) == len(runs):
        raise SettingError(f"x, y and runs have {len(first)}, {len(second)}, {len(runs)} entries.")
    each = [
        float(_rank_correlation(*_pairs(first[runs == run], second[runs == run])))
        for run in dict.fromkeys(runs.tolist())
    ]
    mean = mean_interval(each, name="mean Spearman ρ over runs", level=level)
    low, high = mean.interval or (-1.0, 1.0)
    return Estimate(mean.name, mean.value, (max(low, -1.0), min(high, 1.0)), len(each), level)


def _pairs(x: Values, y: Values) -> np.ndarray:
    first, second = _vector(x, 4), _vector(y, 4)
    if len(first) != len(second):
        raise SettingError(f"A correlation needs pairs; got {len(first)} and {len(second)} values.")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise SettingError("A correlation with values that never change is not defined.")
    return np.stack([first, second])


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks along the last axis; NaN where one side is constant."""
    from scipy.stats import rankdata

    first, second = (rankdata(v, axis=-1) - (v.shape[-1] + 1) / 2 for v in (x, y))
    spread = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(-1) / spread


def _vector(values: Values, least: int) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least:
        raise SettingError(f"Expected {least} numbers or more, got an array {array.shape}.")
    if not np.isfinite(array).all():
        raise SettingError("The values hold NaN or infinity; leave those out, and say so.")
    return array
