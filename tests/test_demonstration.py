"""The exercise that notebook 00 shows: it works as every other, and is noted nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import stub_of
from PIL import Image

from coursekit.exercises import engine, progress, registry, start
from coursekit.exercises.engine import check
from coursekit.topics import TOPICS

(GREY,) = start.EXERCISES


def test_grey_is_what_pillow_calls_grey() -> None:
    picture = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    pixels = (picture[0].movedim(0, -1) * 255).round().byte()
    theirs = np.asarray(Image.fromarray(pixels.numpy()).convert("L"))
    mine = start.grey(pixels.movedim(-1, 0)[None].double())
    np.testing.assert_allclose(mine[0, 0].numpy(), theirs, atol=1)


def test_it_belongs_to_no_topic() -> None:
    assert GREY.topic == registry.DEMONSTRATION not in TOPICS
    assert GREY.points == 0


@pytest.mark.parametrize("mistake", GREY.mistakes, ids=lambda mistake: mistake.name)
def test_its_mistakes_are_named(mistake: engine.Mistake) -> None:
    assert check("start.grey", mistake.wrong).mistake == mistake.name


def test_what_is_shown_is_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "me.json"))
    assert check("start.grey", stub_of(GREY)).status == "not started"
    red_green_blue = torch.tensor([[0.299, 0.587, 0.114]])
    assert check("start.grey", lambda x: torch.einsum("kc,nchw->nkhw", red_green_blue, x)).passed
    assert not progress.read() and not list(tmp_path.iterdir())
