"""Budgets: texts that are times, times in words, and how many steps fit."""

from __future__ import annotations

import pytest

from coursekit.core.budget import Pace, duration, parse_budget
from coursekit.core.errors import SettingError


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("90 s", 90),
        ("90s", 90),
        ("45 sec", 45),
        ("45 secs", 45),
        ("1 second", 1),
        ("30 seconds", 30),
        ("4 min", 240),
        ("4min", 240),
        ("4 mins", 240),
        ("  4 Minutes ", 240),
        ("0.5 minute", 30),
        ("1.5 h", 5400),
        ("2 hours", 7200),
        ("1 hour", 3600),
        ("1 h 20 min", 4800),
        ("1h30min 5s", 5405),
        (1e-5, 1e-5),
    ],
)
def test_budgets_that_can_be_read(budget, seconds) -> None:
    assert parse_budget(budget) == seconds


@pytest.mark.parametrize(
    "budget",
    ["", "s", "min", "4 m", "4 parsecs", "four min", "4,5 min", "-4 min", "1 h 20", "4 min!"]
    + ["nan", "inf", "1e3", ".5 h", "4 min 4", 0, -1, 0.0, float("nan"), float("inf"), True, None],
)
def test_budgets_that_cannot(budget) -> None:
    with pytest.raises(SettingError, match=r"is no time\. Write '90 s', '4 min' or '1\.5 h'"):
        parse_budget(budget)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (240, "4 min"),
        (5340, "89 min"),
        (5399, "1 h 30 min"),
        (7200, "2 h 0 min"),
        (4 * 3600 + 1200, "4 h 20 min"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_budget_the_plan_is_known() -> None:
    pace = Pace(0, 100, None)
    assert pace.known
    assert pace.last == 100
    assert not any(pace.after_step(number, number * 1e6) for number in range(1, 101))
    assert pace.last == 100


def test_a_plan_changes_once() -> None:
    """Two steps to warm up, eight that are timed."""
    pace = Pace(30, None, 100)
    changed = [pace.after_step(30 + done, 0.2 * done) for done in range(1, 20)]
    assert changed.index(True) == 9
    assert sum(changed) == 1
    assert pace.known
    assert pace.last == 30 + 500
    said = "0.2 s a step on this device: 2 min are enough for about 500 steps."
    assert pace.sentence == said


def test_what_does_not_fit_is_said() -> None:
    pace = Pace(0, 1000, 100)
    for number in range(1, 11):
        pace.after_step(number, 2.0 * number)
    assert pace.last == 50
    assert pace.sentence.endswith("about 50 steps. All 1,000 would take 33 min.")


def test_a_clock_that_stands_still() -> None:
    pace = Pace(0, 20, 5)
    for number in range(1, 21):
        pace.after_step(number, 0.0)
    assert pace.known
    assert pace.last == 20
