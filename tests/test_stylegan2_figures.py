"""The columns of boxes of topic 13."""

from __future__ import annotations

import pytest

from coursekit import stylegan2_figures as figures
from coursekit.core.errors import SettingError


@pytest.mark.parametrize("panels", [figures.GENERATORS, figures.REVISION])
def test_every_step_is_drawn_in_its_column(panels):
    figure = figures.columns(panels, label="drawn by the course")
    for axis, (title, steps) in zip(figure.axes, panels.items(), strict=True):
        written = [text.get_text() for text in axis.texts]
        assert axis.get_title() == title
        for step in steps:
            assert {step.text, step.left, step.right} - {""} <= set(written)
        boxes = len({step.box for step in steps} - {0})
        assert len(axis.patches) == len(steps) + boxes


def test_statistics_disappear_in_the_last_step_of_the_revision():
    kinds = [[step.kind for step in steps] for steps in figures.REVISION.values()]
    assert all("statistics" in each for each in kinds[:3])
    assert "statistics" not in kinds[3]


def test_a_style_never_leaves_its_grey_box():
    for title, steps in figures.REVISION.items():
        if title.startswith("(a)"):
            continue
        assert all(step.box for step in steps if step.kind == "style")


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(SettingError, match="0 columns"):
        figures.columns({})
    with pytest.raises(SettingError, match="unknown kinds \\['magic'\\]"):
        figures.columns({"one": (figures.Step("x", "magic"),)})
