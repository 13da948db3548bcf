"""Intervals: by hand, against scipy, and by how often they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from coursekit.core import estimates
from coursekit.core.errors import SettingError
from coursekit.core.estimates import (
    Estimate,
    Score,
    average,
    compare,
    mean_interval,
    proportion,
    spearman,
)


def score(value: float, extractor: str = "digits", name: str = "FID", count: int = 500) -> Score:
    return Score(name, value, (value - 1, value + 1), count, 0.95, extractor, 500)


class TestProportion:
    def test_wilson_by_hand(self) -> None:
        z, n, share = 1.959964, 50, 45 / 50
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        root = math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        half = z * root / (1 + z**2 / n)
        found = proportion(45, 50)
        assert found.value == 0.9
        assert found.interval == pytest.approx((centre - half, centre + half), rel=1e-6)

    def test_none_and_all_have_a_width_inside_zero_and_one(self) -> None:
        low, high = proportion(0, 20).interval or (1, 0)
        assert (low, high) == (0, pytest.approx(0.161, abs=1e-3))
        low, high = proportion(20, 20).interval or (1, 0)
        assert (low, high) == (pytest.approx(0.839, abs=1e-3), 1)

    def test_it_covers(self) -> None:
        hits = np.random.default_rng(0).binomial(80, 0.93, size=500)
        assert 460 <= sum(proportion(int(k), 80).covers(0.93) for k in hits) <= 495

    @pytest.mark.parametrize(("successes", "total"), [(1, 0), (-1, 5), (6, 5)])
    def test_no_share(self, successes: int, total: int) -> None:
        with pytest.raises(SettingError, match="no share"):
            proportion(successes, total)


class TestMean:
    def test_student(self) -> None:
        values = [3.0, 5.0, 4.0]
        found = mean_interval(values)
        expected = stats.t.interval(0.95, 2, 4, stats.sem(values))
        assert (found.value, found.count) == (4, 3)
        assert found.interval == pytest.approx(expected)

    def test_it_covers_with_three_values(self) -> None:
        draws = np.random.default_rng(0).normal(2, 1, size=(500, 3))
        assert 460 <= sum(mean_interval(row).covers(2) for row in draws) <= 490

    @pytest.mark.parametrize("values", [[1.0], [1.0, float("nan")], torch.ones(2, 2)])
    def test_misuse(self, values: object) -> None:
        with pytest.raises(SettingError):
            mean_interval(values)


class TestSpearman:
    def test_value_is_scipys_also_with_ties(self) -> None:
        draw = np.random.default_rng(0)
        x = draw.integers(0, 8, 40)
        y = x + draw.integers(0, 6, 40)
        expected = stats.spearmanr(x, y).statistic
        assert spearman(x, y, seed=0).value == pytest.approx(expected)

    def test_only_the_order_counts(self) -> None:
        x = torch.linspace(0.1, 5, 12)
        found = spearman(x, x.exp(), seed=0)
        assert (found.value, found.interval) == (pytest.approx(1), pytest.approx((1, 1)))
        assert spearman(x, 1 / x, seed=0).value == pytest.approx(-1)

    def test_it_covers(self) -> None:
        """Pairs of normals with ρ = 0.6: Spearman's is 6/π · asin(0.3) = 0.582."""
        draw, hits = np.random.default_rng(0), 0
        for index in range(100):
            x, noise = draw.normal(size=(2, 60))
            hits += spearman(x, 0.6 * x + 0.8 * noise, seed=index).covers(0.582)
        assert 87 <= hits <= 99

    def test_the_seed_decides(self) -> None:
        x, y = np.random.default_rng(1).normal(size=(2, 20))
        assert spearman(x, y, seed=0) == spearman(x, y, seed=0) != spearman(x, y, seed=1)

    def test_over_runs_it_is_students_interval_of_one_value_a_run(self) -> None:
        draw = np.random.default_rng(2)
        x, runs = draw.normal(size=30), np.repeat([7, 8, 9], 10)
        y = x + draw.normal(size=30)
        each = [stats.spearmanr(x[runs == r], y[runs == r]).statistic for r in (7, 8, 9)]
        found = spearman(x, y, seed=0, runs=runs.tolist())
        low, high = stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))
        assert (found.value, found.count) == (pytest.approx(np.mean(each)), 3)
        assert found.interval == pytest.approx((max(low, -1), min(high, 1)))

    @pytest.mark.parametrize(
        ("x", "y"),
        [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3]), ([1, 2, 3, 4], [5, 5, 5, 5])],
    )
    def test_misuse(self, x: list[float], y: list[float]) -> None:
        with pytest.raises(SettingError):
            spearman(x, y, seed=0)


class TestComparison:
    def test_smaller_and_greater(self) -> None:
        assert score(3) < score(4)
        assert score(4) > score(3)
        assert sorted([score(5), score(3)])[0].value == 3

    def test_another_extractor_is_refused_everywhere(self) -> None:
        ours, theirs = score(3), score(4, extractor="VGG")
        for attempt in (
            lambda: ours < theirs,
            lambda: ours > theirs,
            lambda: ours - theirs,
            lambda: min(ours, theirs),
            lambda: compare({"a": ours, "b": theirs}),
        ):
            with pytest.raises(SettingError, match="same extractor"):
                attempt()

    def test_another_score_or_number_of_images_is_refused(self) -> None:
        with pytest.raises(SettingError, match="FID and KID"):
            score(3) - score(3, name="KID")
        with pytest.raises(SettingError, match="equally many"):
            assert score(3) < score(3, count=1000)
        assert not score(3, name="KID", count=1000) < score(3, name="KID")
        with pytest.raises(SettingError, match="another Score"):
            score(3) - 2.0

    def test_the_interval_of_a_difference(self) -> None:
        """Half widths 1 and 1 make √2."""
        gap = score(7) - score(4)
        assert gap.value == 3
        assert gap.interval == pytest.approx((3 - math.sqrt(2), 3 + math.sqrt(2)))
        alone = Score("FID", 7, None, 500, 0.95, "digits", 500)
        assert (alone - score(4)).interval is None

    def test_a_difference_of_shares_is_newcombes_interval(self) -> None:
        """The example of Newcombe 1998 (56/70 against 48/80, method 10): 0.0524 to 0.3339."""
        gap = estimates.difference(proportion(56, 70), proportion(48, 80))
        assert gap.value == pytest.approx(0.2)
        assert gap.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)

    def test_an_average(self) -> None:
        found = average([proportion(9, 10), proportion(5, 10)], "balanced")
        assert found.value == pytest.approx(0.7)
        low, high = found.interval or (1, 0)
        assert proportion(5, 10).interval[0] < low < 0.7 < high < 1  # type: ignore[index]
        assert found.count == 20
        with pytest.raises(SettingError, match="An average needs"):
            average([], "nothing")

    def test_overlaps_and_covers(self) -> None:
        assert score(3).overlaps(score(4.5))
        assert not score(3).overlaps(score(5.5))
        assert score(3).covers(3.9)
        assert not score(3).covers(4.1)
        alone = Score("FID", 7, None, 500)
        for attempt in (lambda: alone.covers(7), lambda: score(3).overlaps(alone)):
            with pytest.raises(SettingError, match="has no interval"):
                attempt()


class TestPrinting:
    def test_a_score_always_shows_interval_count_and_extractor(self) -> None:
        text = str(score(12.3456))
        assert text == "FID 12.35 (95% interval 11.35 to 13.35), N = 500 against 500 real; digits"
        assert "rank deficient" in str(Score("FID", 1, None, 9, note="rank deficient"))

    def test_an_estimate(self) -> None:
        assert str(Estimate("share", 0.5, (0.4, 0.6), 1000)) == (
            "share 0.5 (95% interval 0.4 to 0.6), N = 1,000"
        )

    def test_a_table_has_one_row_a_score(self) -> None:
        table = compare({"GAN <b>": score(8), "WGAN": score(5)})
        lines = str(table).splitlines()
        assert lines[0] == "FID by digits"
        assert lines[2].startswith("GAN <b>")
        assert "7 to 9" in lines[2]
        assert "500" in lines[3]
        page = table._repr_html_()
        assert page.count("<tr>") == 3
        assert "GAN &lt;b&gt;" in page
        with pytest.raises(SettingError, match="nothing to compare"):
            compare({})
