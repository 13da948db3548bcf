"""Strokes, filling and undoing on the raster, by hand and as properties."""

from __future__ import annotations

import numpy as np
import pytest

from coursekit.canvas import Raster
from coursekit.core.errors import SettingError, ShapeError


def test_a_dot_is_a_disc_of_its_width() -> None:
    raster = Raster(32)
    raster.stroke([(16, 16)], 7, 9)
    rows, columns = np.nonzero(raster.values)
    assert set(np.unique(raster.values)) == {0, 7}
    assert abs((raster.values == 7).sum() - np.pi * 4.5**2) < 14
    assert rows.min() + rows.max() == 31 and columns.min() + columns.max() == 31
    distance = np.hypot(rows + 0.5 - 16, columns + 0.5 - 16)
    assert distance.max() <= 5.3


def test_a_stroke_joins_its_points_and_leaves_the_rest() -> None:
    raster = Raster(20)
    raster.stroke([(2, 10), (18, 10)], 1, 2)
    assert raster.values[9:11, 3:17].all()
    assert raster.values.sum() <= 2 * 16 + 8
    assert not raster.values[:8].any() and not raster.values[12:].any()


def test_x_is_the_column_and_y_the_row() -> None:
    raster = Raster(16)
    raster.stroke([(12, 3)], 1, 2)
    assert raster.values[3, 12] == 1 and raster.values[12, 3] == 0


def test_the_box_holds_everything_that_changed() -> None:
    draw = np.random.default_rng(0)
    for smooth in (False, True):
        for _ in range(30):
            raster = Raster(24, smooth=smooth)
            points = [tuple(draw.uniform(-5, 30, 2)) for _ in range(draw.integers(1, 4))]
            left, top, right, bottom = raster.stroke(points, 9, draw.uniform(0.5, 8))
            outside = raster.fine.copy()
            outside[top:bottom, left:right] = 0
            assert not outside.any()


def test_smooth_lines_have_soft_edges_and_classes_have_none() -> None:
    for smooth in (True, False):
        raster = Raster(16, background=255, smooth=smooth)
        raster.stroke([(2.3, 3.1), (13.2, 11.7)], 0, 1.5)
        between = (raster.values > 10) & (raster.values < 245)
        assert between.any() == smooth
        assert raster.values.min() < 60


def test_points_outside_are_allowed() -> None:
    raster = Raster(10)
    raster.stroke([(-50, 5), (1e9, 5)], 1, 2)
    assert raster.values[5].all() and not raster.values[0].any()
    raster.stroke([(500, 500)], 1, 3)
    raster.fill((-1, 3), 1)
    raster.fill((10, 3), 1)
    assert not raster.values[0].any()


def test_filling_stops_at_a_line() -> None:
    for smooth in (False, True):
        raster = Raster(20, smooth=smooth)
        corners = [(4, 4), (16, 4), (16, 16), (4, 16), (4, 4)]
        raster.stroke(corners, 200, 2)
        raster.fill((10, 10), 90)
        assert (raster.values[7:13, 7:13] == 90).all()
        assert raster.values[0, 0] == 0 and raster.values[4, 10] == 200
        raster.fill((0, 0), 30)
        assert raster.values[19, 19] == 30 and raster.values[10, 10] == 90


def test_filling_does_not_leak_through_a_corner_or_wrap_around() -> None:
    raster = Raster(4)
    raster.load(np.eye(4, dtype=np.int64))
    raster.fill((3.5, 0.5), 5)
    assert raster.values[0, 3] == 5 and raster.values[3, 0] == 0
    bright = Raster(4, background=255, smooth=True)
    bright.stroke([(0.5, 0.5)], 0, 1)
    bright.fill((3.5, 3.5), 128)
    assert bright.values[0, 0] < 60 and bright.values[3, 3] == 128


def test_undo_goes_back_step_by_step() -> None:
    raster, seen = Raster(8), []
    for value in range(1, 4):
        seen.append(raster.values)
        raster.remember()
        raster.stroke([(value, value)], value, 1)
    for before in reversed(seen):
        assert raster.undo() and (raster.values == before).all()
    assert not raster.undo()
    raster.stroke([(1, 1)], 3, 2)
    drawn = raster.values
    raster.clear()
    assert not raster.values.any() and raster.undo() and (raster.values == drawn).all()
    raster.load(np.full((8, 8), 2))
    assert (raster.values == 2).all() and raster.undo() and (raster.values == drawn).all()


def test_only_so_much_is_remembered() -> None:
    raster = Raster(4)
    for value in range(200):
        raster.remember()
        raster.stroke([(1, 1)], value, 1)
    count = 0
    while raster.undo():
        count += 1
    assert count == 50


def test_values_are_a_copy() -> None:
    raster = Raster(4)
    raster.values[:] = 9
    assert not raster.values.any()


def test_bad_input_changes_nothing() -> None:
    raster = Raster(8, highest=3)
    for points, value, width in (
        ([], 1, 1),
        ([(float("nan"), 1)], 1, 1),
        ([(1, 1)], 4, 1),
        ([(1, 1)], -1, 1),
        ([(1, 1)], 1, 0),
    ):
        with pytest.raises(SettingError):
            raster.stroke(points, value, width)
    with pytest.raises(SettingError, match="values are 0 to 3"):
        raster.load(np.full((8, 8), 4))
    with pytest.raises(ShapeError, match=r"\(8, 8\)"):
        raster.load(np.zeros((8, 9), dtype=int))
    with pytest.raises(ShapeError, match="float64"):
        raster.load(np.zeros((8, 8)))
    with pytest.raises(SettingError):
        raster.fill((1, 1), 9)
    assert not raster.values.any() and not raster.undo()
    for wrong in ({"size": 0}, {"size": 4, "background": 9, "highest": 3}):
        with pytest.raises(SettingError):
            Raster(**wrong)
