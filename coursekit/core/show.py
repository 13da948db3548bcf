"""Figures: rows of images, before/after, sweeps, curves, convergence strips.

Every function returns a matplotlib ``Figure``. It appears when it is the last line of a notebook
cell; inside a loop, hand it to ``display``. ``figure.savefig("name.png")`` keeps it. ``size`` is
the height of a picture in inches; less where the figure would be wider than a page.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.core.images import load_image, to_array
from coursekit.core.images import tile as tile  # with the figures, where notebooks look for it

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from coursekit.core.estimates import Estimate
    from coursekit.core.optimise import PixelResult
    from coursekit.core.timeline import Timeline

Picture: TypeAlias = "Tensor | np.ndarray | Image.Image"
Line: TypeAlias = "Sequence[float] | tuple[Sequence[float], Sequence[float]]"

_LABEL_GREY = "0.4"
_LABEL_POINTS, _HEADING_POINTS = 8.0, 12.0
_WIDEST = 14.0  # inches; a notebook page shrinks what is wider, and its text with it
_GAP = 0.08  # inches between pictures


def images(
    pictures: Sequence[Picture] | Tensor,
    titles: Sequence[str] | None = None,
    *,
    label: str | None = None,
    columns: int | None = None,
    size: float = 2.6,
    heading: str | None = None,
) -> Figure:
    """Pictures side by side, all at the same height, with their titles.

    Args:
        pictures: a sequence of (3, H, W) or (1, 3, H, W) tensors in [0, 1], PIL images or uint8
            arrays; or one tensor (N, 3, H, W).
        titles: one a picture.
        label: a line at the foot: weights, data, preset, steps (`Run.label`).
        columns: pictures in a row; by default all of them up to six.
        size: height of a picture in inches; less where the row would be wider than a page.
        heading: a line at the top.

    Raises:
        SettingError: no pictures, no column, or another number of titles than of pictures.
        ImageError: something among them is no picture.
    """
    arrays = [_array(picture) for picture in pictures]
    if not arrays or (titles is not None and len(titles) != len(arrays)):
        count = "no" if titles is None else len(titles)
        raise SettingError(f"{len(arrays)} pictures and {count} titles; give one title a picture.")
    if columns is not None and columns < 1:
        raise SettingError(f"{columns} columns cannot hold pictures; give 1 or more.")
    columns = min(columns or 6, len(arrays))
    rows = math.ceil(len(arrays) / columns)
    aspect = max(array.shape[1] / array.shape[0] for array in arrays)
    size = min(size, (_WIDEST / columns - _GAP) / aspect)
    width = size * aspect
    wrapped = [_wrap(title, width, 10) for title in titles or [""] * len(arrays)]
    height = size + _GAP + _line_height(wrapped, 10)
    figure, margin = Figure(layout="constrained"), _margin(columns * width, heading, label)
    figure.set_size_inches(columns * (width + _GAP), rows * height + margin)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, axis in enumerate(axes):
        axis.axis("off")
        if index < len(arrays):
            _draw(axis, arrays[index], wrapped[index])
            # One box for all: a wide picture must not be limited by its width, and become lower.
            axis.set_box_aspect(1 / aspect)
            axis.set_aspect("equal", adjustable="datalim")
    return _finish(figure, heading, label)


def _array(picture: Picture) -> np.ndarray:
    return to_array(picture if isinstance(picture, Tensor) else load_image(picture))


def _draw(axis: Axes, array: np.ndarray, title: str | None = None) -> None:
    # Small pictures are shown with their pixels as squares, large ones smoothed.
    smooth = "nearest" if max(array.shape[:2]) < 100 else "antialiased"
    axis.imshow(array, interpolation=smooth)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    if title:
        axis.set_title(title, fontsize=10)


def _wrap(text: str, width: float, points: float) -> str:
    """Break lines of ``text`` that are longer than ``width`` inches at that font size."""
    letters = max(int(width * 72 / (0.57 * points)), 8)
    lines = [textwrap.wrap(line, letters, break_long_words=False) for line in text.split("\n")]
    return "\n".join("\n".join(line) for line in lines)


def _line_height(texts: Sequence[str], points: float) -> float:
    """Inches that the tallest of the texts takes."""
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    return lines * 1.25 * points / 72 + (0.08 if lines else 0)


def _margin(width: float, heading: str | None, label: str | None) -> float:
    """Inches for the heading and the label, so that they take nothing from the pictures."""
    above = _line_height([_wrap(heading or "", width, _HEADING_POINTS)], _HEADING_POINTS)
    return above + _line_height([_wrap(label or "", width, _LABEL_POINTS)], _LABEL_POINTS)


def _finish(figure: Figure, heading: str | None, label: str | None) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=_GAP / 2, h_pad=_GAP / 2, wspace=0, hspace=0)
    figure.set_layout_engine(layout)
    width = figure.get_figwidth()
    if heading:
        figure.suptitle(_wrap(heading, width, _HEADING_POINTS), fontsize=_HEADING_POINTS)
    if label:
        text = _wrap(label, width, _LABEL_POINTS)
        figure.supxlabel(text, fontsize=_LABEL_POINTS, color=_LABEL_GREY)
    if any("\n" in axis.get_title() for axis in figure.axes):
        # One pass is not enough where tall titles make the pictures smaller.
        layout.execute(figure)
    return figure


def before_after(
    before: Picture,
    after: Picture,
    titles: tuple[str, str] = ("before", "after"),
    *,
    label: str | None = None,
    size: float = 3.6,
) -> Figure:
    """Two pictures, the reference on the left."""
    return images([before, after], titles, label=label, size=size)


def sweep(
    grid: Sequence[Sequence[Picture]],
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    row_name: str = "",
    column_name: str = "",
    label: str | None = None,
    size: float = 2.0,
) -> Figure:
    """A table of pictures over two parameters: ``grid[i][j]`` belongs to rows[i], columns[j].

    Raises:
        SettingError: the grid is empty, or not as large as its rows and columns have names.
    """
    if not len(rows) or not len(columns):
        raise SettingError("The grid is empty; give at least one row and one column.")
    if len(grid) != len(rows) or any(len(line) != len(columns) for line in grid):
        raise SettingError(f"The grid is not {len(rows)} rows of {len(columns)} pictures.")
    arrays = [[_array(picture) for picture in line] for line in grid]
    aspect = arrays[0][0].shape[1] / arrays[0][0].shape[0]
    size = min(size, ((_WIDEST - 0.5) / len(columns) - _GAP) / aspect)
    above = [_wrap(str(name), size * aspect, 10) for name in columns]
    beside = [_wrap(str(name), size, 10) for name in rows]
    width = len(columns) * (size * aspect + _GAP) + _line_height(beside, 10)
    width += _line_height([row_name], 11)
    height = len(rows) * (size + _GAP) + _line_height(above, 10)
    figure, margin = Figure(layout="constrained"), _margin(width, column_name, label)
    figure.set_size_inches(width, height + margin)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, line in enumerate(arrays):
        for j, array in enumerate(line):
            _draw(axes[i, j], array, above[j] if i == 0 else None)
        axes[i, 0].set_ylabel(beside[i], fontsize=10)
    if row_name:
        figure.supylabel(row_name, fontsize=11)
    return _finish(figure, column_name or None, label)


def curves(
    lines: Mapping[str, Line],
    xlabel: str = "step",
    ylabel: str = "loss",
    *,
    log: bool = False,
    label: str | None = None,
    heading: str | None = None,
) -> Figure:
    """Lines by name; each is its y values, or a pair (x values, y values).

    Raises:
        SettingError: no lines, or x and y of different lengths.
    """
    if not lines:
        raise SettingError("There are no lines to draw.")
    figure = Figure((6.5, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, line in lines.items():
        axis.plot(*_x_and_y(name, line), label=name, linewidth=1.6)
    _dress(axis, xlabel, ylabel, log)
    if len(lines) > 1:
        axis.legend(frameon=False, fontsize=9)
    return _finish(figure, heading, label)


def _x_and_y(name: str, line: Line) -> tuple[Sequence[float], Sequence[float]]:
    x, y = line if isinstance(line, tuple) else (range(1, len(line) + 1), line)
    if len(x) != len(y):
        raise SettingError(f"The line {name!r} has {len(x)} x values and {len(y)} y values.")
    return x, y


def _dress(axis: Axes, xlabel: str, ylabel: str, log: bool) -> None:
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    if log:
        axis.set_yscale("log")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)


_CURVES = 2.4  # inches that the curves under a strip are high


def convergence(
    result: PixelResult,
    *,
    label: str | None = None,
    heading: str | None = None,
    size: float = 1.8,
) -> Figure:
    """The snapshots of an optimisation in a strip, over the curves of its loss terms.

    Raises:
        SettingError: the result holds no snapshots: optimise with ``snapshots=6``.
    """
    if not result.snapshots:
        raise SettingError("The result holds no snapshots. Optimise with snapshots=6 or so.")
    arrays = [_array(image) for _, image in result.snapshots]
    aspect, count = arrays[0].shape[1] / arrays[0].shape[0], len(arrays)
    size = min(size, (_WIDEST / count - _GAP) / aspect)
    width = max(count * (size * aspect + _GAP), 6.5)
    figure = Figure(layout="constrained")
    figure.set_size_inches(width, size + 0.3 + _CURVES + _margin(width, heading, label))
    grid = figure.add_gridspec(2, count, height_ratios=[size + 0.3, _CURVES])
    for index, (step, _) in enumerate(result.snapshots):
        _draw(figure.add_subplot(grid[0, index]), arrays[index], f"step {step}")
    _terms(figure.add_subplot(grid[1, :]), result)
    return _finish(figure, heading, label)


def _terms(axis: Axes, result: PixelResult) -> None:
    first = result.history[0]
    names = [name for name in first if name not in ("step", "seconds", "size")]
    if len(names) == 2:  # a single term is the total
        names = ["total"]
    lines = {name: [entry.get(name, math.nan) for entry in result.history] for name in names}
    for name, values in lines.items():
        axis.plot(result.curve("step"), values, label=name, linewidth=1.6)
    for step, _ in result.snapshots:
        axis.axvline(step, color="0.85", linewidth=0.8, zorder=0)
    positive = all(value > 0 or math.isnan(value) for line in lines.values() for value in line)
    _dress(axis, "step", "loss", log=positive)
    axis.set_xscale("log")
    if len(names) > 1:
        axis.legend(frameon=False, fontsize=9)


def training(
    pictures: Tensor,
    history: Sequence[Mapping[str, float]],
    *,
    heading: str | None = None,
    label: str | None = None,
) -> Figure:
    """Where a training stands: samples (N, C, H, W) in [0, 1] above the curves of its terms."""
    tiles = _array(tile(pictures))
    width = 9.0
    height = width * tiles.shape[0] / tiles.shape[1]
    figure = Figure(layout="constrained")
    figure.set_size_inches(width, height + _CURVES + _margin(width, heading, label))
    grid = figure.add_gridspec(2, 1, height_ratios=[height, _CURVES])
    top = figure.add_subplot(grid[0])
    top.axis("off")
    _draw(top, tiles)
    axis = figure.add_subplot(grid[1])
    known = dict.fromkeys(name for entry in history for name in entry)
    names = [name for name in known if name not in ("step", "seconds")]
    for name in names:
        steps = [entry["step"] for entry in history]
        axis.plot(steps, [entry.get(name, math.nan) for entry in history], label=name)
    _dress(axis, "step", "", log=False)
    if names:
        # Above the curves, which go where they like.
        legend = axis.legend(frameon=False, fontsize=9, ncols=len(names), loc="lower right")
        legend.set_bbox_to_anchor((1.0, 1.0), transform=axis.transAxes)
    return _finish(figure, heading, label)


def timeline(
    film: Timeline, count: int = 4, *, label: str | None = None, size: float = 2.6
) -> Figure:
    """A training at a glance: ``count`` of its sample grids, the first and the last among them.

    Raises:
        SettingError: the timeline is empty.
    """
    if not len(film):
        raise SettingError("The timeline is empty: train with preview=.")
    film = film.thinned(count)
    titles = [f"step {step:,}" for step in film.steps]
    columns = 1 if film.picture(0).shape[-1] > 3 * film.picture(0).shape[-2] else 2
    return images(film.pictures(), titles, columns=columns, size=size, label=label or film.about)


def estimates(
    table: Mapping[str, Mapping[str, Estimate]],
    xlabel: str = "share",
    *,
    label: str | None = None,
    heading: str | None = None,
    zero: bool = False,
) -> Figure:
    """Measured numbers with their intervals: a line for each row, a colour for each way.

    Args:
        table: row → way → estimate; every row has the same ways.
        xlabel: what the numbers are.
        label: a line at the foot.
        heading: a line at the top.
        zero: draw a line at 0, for differences: an interval that touches it may be chance.

    Raises:
        SettingError: no rows, or rows with different ways.
    """
    ways = list(next(iter(table.values()), {}))
    if not ways or any(list(row) != ways for row in table.values()):
        raise SettingError("Give at least one row, and the same ways in each.")
    figure = Figure((7.5, 1.0 + 0.28 * len(table) * (len(ways) + 0.5)), layout="constrained")
    axis = figure.subplots()
    for i, way in enumerate(ways):
        offset = (i - (len(ways) - 1) / 2) * 0.22
        for j, row in enumerate(table.values()):
            _interval(axis, row[way], j + offset, f"C{i}", way if j == 0 else None)
    axis.set_yticks(range(len(table)), list(table))
    axis.set_ylim(len(table) - 0.5, -0.5)
    if zero:
        axis.axvline(0, color="0.4", linewidth=0.8)
    _dress(axis, xlabel, "", log=False)
    if len(ways) > 1:
        axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _finish(figure, heading, label)


def _interval(axis: Axes, estimate: Estimate, height: float, colour: str, name: str | None) -> None:
    low, high = estimate.interval or (estimate.value, estimate.value)
    axis.plot([low, high], [height, height], color=colour, linewidth=2)
    axis.plot([estimate.value], [height], "o", color=colour, label=name)
