"""Bad inputs of widgets, quizzes, reports and exercises."""

from __future__ import annotations

import numpy as np
from bad_inputs import (
    SHELF,
    case,
    picture,
)

import coursekit
from coursekit import canvas, face_quiz, report, widgets, widgets_canvas, widgets_choices
from coursekit.core.errors import (
    DataError,
    SettingError,
    ShapeError,
)

CASES = [
    case(
        "widgets: two labels for one picture",
        lambda: widgets.picture_slider([picture(8)], ["a", "b"]),
        SettingError,
        "1 pictures, 2 labels & one label a picture",
    ),
    case(
        "widgets: a quiz without questions",
        lambda: widgets.which_is_real([]),
        SettingError,
        "at least one pair",
    ),
    case(
        "widgets: a film of no topic",
        lambda: widgets.replay("sculpture"),
        DataError,
        "sculpture & Train the topic",
    ),
    case(
        "widgets: a sketch of no size",
        lambda: widgets_canvas.sketch(0),
        SettingError,
        "size=0 & from 1",
    ),
    case(
        "widgets: a start of another size",
        lambda: widgets_canvas.sketch(16, start=picture(8)),
        ShapeError,
        "(1, 3, 8, 8) & (1, 3, 16, 16)",
    ),
    case(
        "widgets: classes without colours",
        lambda: widgets_canvas.label_painter(16, classes=["sky"], palette=[]),
        SettingError,
        "1 classes and 0 colours & one colour",
    ),
    case(
        "widgets: a menu of nothing",
        lambda: widgets_choices.reference_menu({}, print),
        SettingError,
        "at least one picture",
    ),
    case(
        "widgets: a stroke of negative width",
        lambda: canvas.Raster(8).stroke([(1, 1)], 1, -2),
        SettingError,
        "-2 & a width",
    ),
    case(
        "widgets: a drawing of floats",
        lambda: canvas.Raster(8).load(np.zeros((4, 4))),
        ShapeError,
        "float64 (4, 4) & (8, 8)",
    ),
    case(
        "quiz: photographs that are not there",
        lambda: face_quiz.pairs(2, photos="nowhere"),
        DataError,
        "'nowhere' & path of a folder",
    ),
    case(
        "quiz: no questions",
        lambda: face_quiz.pairs(0),
        SettingError,
        "count=0 & at least one pair",
    ),
    case(
        "report: submissions that are not there",
        lambda: report.write("nowhere", "report.html"),
        DataError,
        "'nowhere' & folder of submissions",
    ),
    case(
        "report: submissions without results",
        lambda: report.write(SHELF / "void", "report.html"),
        DataError,
        "void & Grade the notebooks",
    ),
    case(
        "exercises: one misspelt",
        lambda: coursekit.check("texture.gramm", len),
        SettingError,
        "'texture.gramm' & texture.gram_matrix",
    ),
    case(
        "exercises: one of no topic",
        lambda: coursekit.check("painting.gram", len),
        SettingError,
        "'painting.gram' & inversion, texture",
    ),
    case("exercises: none", lambda: coursekit.check(None, len), SettingError, "None & Topics"),
    case(
        "exercises: nobody's function",
        lambda: coursekit.check("texture.gram_matrix", len, use="yours"),
        SettingError,
        "yours & course & mine",
    ),
]
