"""Time budgets: read "4 min", time the first steps, say how many fit."""

from __future__ import annotations

import math
import re
from numbers import Real

from coursekit.core.errors import SettingError

_UNITS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_NUMBER, _UNIT = r"\d+(?:\.\d+)?", r"\s*([a-z]+)\s*"
_WARM_UP = 2  # steps: the first ones allocate memory and choose algorithms
_SAMPLE_STEPS, _SAMPLE_SECONDS = 8, 2.0  # time this many, or for this long


def parse_budget(budget: str | float) -> float:
    """Seconds of a budget: a number of seconds, or text such as ``"90 s"``, ``"1 h 20 min"``.

    Raises:
        SettingError: it cannot be read, or is not positive.
    """
    number = isinstance(budget, Real) and not isinstance(budget, bool)
    seconds = float(budget) if number else _seconds(str(budget).strip().lower())
    if not 0 < seconds < math.inf:
        raise SettingError(f"The budget {budget!r} is no time. Write '90 s', '4 min' or '1.5 h'.")
    return seconds


def _seconds(text: str) -> float:
    """NaN where it is no time."""
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if not re.fullmatch(f"({_NUMBER}{_UNIT})+", text):
        return math.nan
    parts = re.findall(f"({_NUMBER}){_UNIT}", text)
    return sum(
        float(each) * _UNITS.get(unit.removesuffix("s") or "s", math.nan) for each, unit in parts
    )


def duration(seconds: float) -> str:
    """A time in seconds, in words: ``"45 s"``, ``"4 min"``, ``"1 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """How many steps a budget allows, known once the first steps were timed.

    Args:
        first: steps already done.
        steps: the last step that is wanted, or ``None``.
        seconds: the budget, or ``None``.

    Attributes:
        last: the step to stop at, as far as is known now.
        known: whether the first steps were timed, or nothing depends on them.
        sentence: what fits, in words.
    """

    def __init__(self, first: int, steps: int | None, seconds: float | None) -> None:
        self.first, self.steps, self.seconds = first, steps, seconds
        self.last = steps if steps is not None else first + 1_000_000_000
        self.sentence = ""
        self._warm = 0.0
        self.known = seconds is None

    def after_step(self, number: int, elapsed: float) -> bool:
        """Take note of the time; return whether the plan changed."""
        done = number - self.first
        if done == _WARM_UP:
            self._warm = elapsed
        if self.seconds is not None and elapsed >= self.seconds:
            self.last = number  # the time is over, whatever was planned
        if self.known or self.seconds is None or done <= _WARM_UP:
            return False
        timed = elapsed - self._warm
        if done - _WARM_UP < _SAMPLE_STEPS and timed < _SAMPLE_SECONDS:
            return False
        self.known = True
        return self._fit(number, self.seconds, elapsed, timed / (done - _WARM_UP))

    def _fit(self, number: int, seconds: float, elapsed: float, each: float) -> bool:
        fits = number + max(int((seconds - elapsed) / max(each, 1e-9)), 0)
        wanted = self.steps if self.steps is not None else fits
        self.last = min(fits, wanted)
        self.sentence = f"{each:.2g} s a step on this device: {duration(seconds)} are enough "
        self.sentence += f"for about {fits - self.first:,} steps."
        if self.steps is not None and wanted > fits:
            whole = duration(elapsed + each * (wanted - number))
            self.sentence += f" All {wanted - self.first:,} would take {whole}."
        return True
