"""Topic 11, the study: what each term of the loss is worth, read back from the files.

`coursekit train cyclegan --recipe study` trains and measures; `load` reads what it wrote. Every
number is a mean over the same 200 held-out scenes, with Student's t interval over the scenes: it
does not say what another training seed would give.

Source: none; what a study of this course has found.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coursekit.core import checkpoints
from coursekit.core.errors import DataError, SettingError
from coursekit.core.estimates import Estimate
from coursekit.core.timeline import Timeline

MEASURES: Mapping[str, tuple[str, int]] = {  # which way is better, digits behind the point
    "LPIPS": ("↓", 3),
    "PSNR": ("↑", 1),
    "label accuracy": ("↑", 3),
}
WAYS = ("day → night", "night → day")
UNPAIRED = ("all terms", "no identity", "no cycle", "neither")
PAIRED = ("pairs", "pairs, longer")
_SIDE, _GAP, _COLUMNS = 64, 2, 8  # of the film's sheets, as `core.show.tile` lays them out
_REMEDY = (
    "Take it from a complete checkout of the course, or make it with "
    "`coursekit train cyclegan --recipe study`."
)


# --- A table of measures -------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Table:
    """Measures with their intervals, a line a translation; shows itself in a notebook.

    Attributes:
        rows: name → measure → estimate. A measure that a row lacks stays empty.
        measures: the columns, in order: names of `MEASURES`.
    """

    rows: Mapping[str, Mapping[str, Estimate]]
    measures: tuple[str, ...] = tuple(MEASURES)

    def cells(self) -> list[tuple[str, ...]]:
        """The head and the rows as text."""
        head = ("", *(f"{measure} {MEASURES[measure][0]}" for measure in self.measures))
        lines = [
            (name, *(_cell(row.get(measure), MEASURES[measure][1]) for measure in self.measures))
            for name, row in self.rows.items()
        ]
        return [head, *lines]

    def __str__(self) -> str:
        cells = self.cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = ([html.escape(cell) for cell in row] for row in self.cells())
        top = "".join(f"<th>{cell}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return ""
    if estimate.interval is None:
        return f"{estimate.value:.{digits}f}"
    low, high = estimate.interval
    return f"{estimate.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


# --- What the recipe wrote -----------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """The runs of the recipe.

    Attributes:
        runs: by name, `UNPAIRED` and then `PAIRED`: what ``study.json`` holds of each.
        sheets: by name, the first held-out days by night (N, 3, 64, 64) in [0, 1]; behind them,
            for runs without pairs, as many nights by day.
        seed: of all trainings.
        scenes: how many of each heap were trained on.
    """

    runs: Mapping[str, Mapping[str, Any]]
    sheets: Mapping[str, Tensor]
    seed: int
    scenes: int

    def steps(self, run: str) -> int:
        """How long a run was trained.

        Raises:
            SettingError: there is no such run.
        """
        return int(self._find(run)["steps"])

    def estimates(self, run: str, way: str = WAYS[0]) -> dict[str, Estimate]:
        """The measures of one run and way, by name.

        Raises:
            SettingError: there is no such run, or it was not measured that way.
        """
        facts = self._find(run)
        if way not in facts:
            there = ", ".join(name for name in WAYS if name in facts)
            raise SettingError(f"{run!r} was measured {there}, not {way!r}.")
        return {name: _estimate(found) for name, found in facts[way].items()}

    def kept(self, run: str) -> dict[str, Estimate]:
        """What is not seen from the twin: ``cycle of days`` and ``nights kept``.

        Mean absolute errors in grey levels of 255: of F(G(x)) to x, and of G(y) to y.

        Raises:
            SettingError: there is no such run, or it was trained on pairs and has no way back.
        """
        facts = self._find(run)
        if "cycle of days" not in facts:
            raise SettingError(f"{run!r} has one generator and no way back.")
        return {name: _estimate(facts[name]) for name in ("cycle of days", "nights kept")}

    def table(self, way: str = WAYS[0]) -> Table:
        """All runs that were measured that way."""
        return Table({run: self.estimates(run, way) for run in self.runs if way in self.runs[run]})

    def nights(self, run: str) -> Tensor:
        """The first held-out days by night, (N, 3, 64, 64) in [0, 1].

        Raises:
            SettingError: there is no such run.
        """
        self._find(run)
        return self.sheets[run].chunk(2)[0] if run in UNPAIRED else self.sheets[run]

    def days(self, run: str) -> Tensor:
        """The first held-out nights by day, (N, 3, 64, 64) in [0, 1].

        Raises:
            SettingError: there is no such run, or it knows one direction only.
        """
        if "cycle of days" not in self._find(run):
            raise SettingError(f"{run!r} translates day to night only.")
        return self.sheets[run].chunk(2)[1]

    def _find(self, run: str) -> Mapping[str, Any]:
        if run not in self.runs:
            raise SettingError(f"There is no run {run!r}; there are {', '.join(self.runs)}.")
        return self.runs[run]


def _estimate(facts: Mapping[str, Any]) -> Estimate:
    low, high = facts["interval"]
    return Estimate(**{**facts, "interval": (low, high)})


def load(path: Path | None = None) -> Study:
    """The study that was made for the course, or another one.

    Args:
        path: a ``study.json`` with its ``study.timeline.zip`` beside it.

    Raises:
        DataError: one of the two files is missing or damaged, or they do not belong together.
    """
    path = path or checkpoints.path_of("cyclegan", "study").with_suffix(".json")
    film = Timeline.load(path.with_suffix(".timeline.zip"))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs, sheets = content["runs"], [cut(picture) for picture in film.pictures()]
        study = Study(
            runs,
            dict(zip(runs, sheets, strict=True)),
            seed=int(content["seed"]),
            scenes=int(content["scenes"]),
        )
        _check(study)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"There is no sound study {path.name}. {_REMEDY}") from error
    return study


def _check(study: Study) -> None:
    """Raise ValueError, KeyError or TypeError unless everything can be read."""
    if list(study.runs) != [*UNPAIRED, *PAIRED]:
        raise ValueError(f"Runs {list(study.runs)}.")
    for run in study.runs:
        study.steps(run)
        for way in WAYS[: 2 if run in UNPAIRED else 1]:
            missing = set(MEASURES) - set(study.estimates(run, way))
            if missing:
                raise ValueError(f"{run}, {way}: no {missing}.")
        if run in UNPAIRED:
            study.kept(run)


def cut(sheet: Tensor) -> Tensor:
    """The pictures (N, 3, 64, 64) of a sheet (1, 3, H, W) that `core.show.tile` laid out.

    White places at the end, where a row is not full, are left out.

    Raises:
        ValueError: the sheet is not one of 64-pixel pictures.
    """
    step = _SIDE + _GAP
    rows, columns = ((side - _GAP) // step for side in sheet.shape[-2:])
    if (rows * step + _GAP, columns * step + _GAP) != tuple(sheet.shape[-2:]):
        raise ValueError(f"{tuple(sheet.shape)} is no sheet of {_SIDE}-pixel pictures.")
    places = [(r * step + _GAP, c * step + _GAP) for r in range(rows) for c in range(columns)]
    found = [sheet[0, :, top : top + _SIDE, left : left + _SIDE] for top, left in places]
    return torch.stack([picture for picture in found if float(picture.mean()) < 0.98])
