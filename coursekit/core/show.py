"""Figures: rows of images, before/after, sweeps, curves, convergence strips.

Every function returns a matplotlib ``Figure``. It appears when it is the last line of a notebook
cell; inside a loop, hand it to ``display``. ``figure.savefig("name.png")`` keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.core.images import to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from coursekit.core.optimise import PixelResult

Picture: TypeAlias = "Tensor | np.ndarray | Image.Image"
Line: TypeAlias = "Sequence[float] | tuple[Sequence[float], Sequence[float]]"

_LABEL_GREY = "0.45"


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
        size: height of a picture in inches.
        heading: a line at the top.

    Raises:
        SettingError: no pictures, or another number of titles than of pictures.
    """
    arrays = [_array(picture) for picture in pictures]
    if not arrays or (titles is not None and len(titles) != len(arrays)):
        count = "no" if titles is None else len(titles)
        raise SettingError(f"{len(arrays)} pictures and {count} titles; give one title a picture.")
    columns = min(columns or 6, len(arrays))
    rows = math.ceil(len(arrays) / columns)
    aspect = max(array.shape[1] / array.shape[0] for array in arrays)
    lines = max((title.count("\n") + 1 for title in titles), default=0) if titles else 0
    figure = Figure((columns * size * aspect, rows * (size + 0.2 * lines)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, axis in enumerate(axes):
        axis.axis("off")
        if index < len(arrays):
            _draw(axis, arrays[index], titles[index] if titles else None)
    return _finish(figure, heading, label)


def _array(picture: Picture) -> np.ndarray:
    if isinstance(picture, Tensor):
        return to_array(picture)
    return np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)


def _draw(axis: Axes, array: np.ndarray, title: str | None = None) -> None:
    # Small pictures are shown with their pixels as squares, large ones smoothed.
    smooth = "nearest" if max(array.shape[:2]) < 100 else "antialiased"
    axis.imshow(array, interpolation=smooth, cmap="gray" if array.ndim == 2 else None)
    axis.set_xticks([])
    axis.set_yticks([])
    if title:
        axis.set_title(title, fontsize=10)


def _finish(figure: Figure, heading: str | None, label: str | None) -> Figure:
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)
    if heading:
        figure.suptitle(heading, fontsize=12)
    if label:
        figure.supxlabel(label, fontsize=7.5, color=_LABEL_GREY)
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
        SettingError: the grid is not as large as the names of its rows and columns say.
    """
    if len(grid) != len(rows) or any(len(line) != len(columns) for line in grid):
        raise SettingError(f"The grid is not {len(rows)} rows of {len(columns)} pictures.")
    arrays = [[_array(picture) for picture in line] for line in grid]
    height, width = arrays[0][0].shape[:2]
    figure = Figure(
        (len(columns) * size * width / height + 0.5, len(rows) * size + 0.7), layout="constrained"
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, line in enumerate(arrays):
        for j, array in enumerate(line):
            _draw(axes[i, j], array, str(columns[j]) if i == 0 else None)
        axes[i, 0].set_ylabel(str(rows[i]), fontsize=10)
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
    height, width = arrays[0].shape[:2]
    count = len(arrays)
    figure = Figure((max(count * size * width / height, 6.5), size + 2.7), layout="constrained")
    grid = figure.add_gridspec(2, count, height_ratios=[size, 2.3])
    for index, (step, _) in enumerate(result.snapshots):
        _draw(figure.add_subplot(grid[0, index]), arrays[index], f"step {step}")
    _terms(figure.add_subplot(grid[1, :]), result)
    return _finish(figure, heading, label)


def _terms(axis: Axes, result: PixelResult) -> None:
    first = result.history[0]
    names = [name for name in first if name not in ("step", "seconds", "size")]
    names = [name for name in names if not (name == "loss" and len(names) == 2)]
    for name in names:
        values = [entry.get(name, math.nan) for entry in result.history]
        axis.plot(result.curve("step"), values, label=name, linewidth=1.6)
    for step, _ in result.snapshots:
        axis.axvline(step, color="0.85", linewidth=0.8, zorder=0)
    _dress(axis, "step", "loss", log=all(v > 0 for n in names for v in result.curve(n)))
    axis.set_xscale("log")
    if len(names) > 1:
        axis.legend(frameon=False, fontsize=9)


def heat(values: Tensor, *, title: str | None = None, label: str | None = None) -> Figure:
    """One map (H, W) in false colours with its scale."""
    flat = torch.squeeze(values.detach()).float().cpu().numpy()
    figure = Figure((3.6, 3.0), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(flat, cmap="magma")
    axis.axis("off")
    axis.set_title(title or "", fontsize=10)
    figure.colorbar(drawn, ax=axis, shrink=0.85)
    return _finish(figure, None, label)
