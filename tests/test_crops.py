"""Crops of photographs: the same ones every time, from inside, and fit for training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit.core import training
from coursekit.core.errors import DataError, SettingError
from coursekit.core.images import save_image
from coursekit.datasets import photos
from coursekit.datasets.crops import Crops


def ramp(height: int, width: int) -> Tensor:
    """A picture in which red tells the row, green the column, and blue is 1."""
    down = torch.linspace(0, 1, height).view(-1, 1).expand(height, width)
    across = torch.linspace(0, 1, width).expand(height, width)
    return torch.stack([down, across, torch.ones(height, width)])[None]


def test_an_entry_is_the_same_whenever_and_in_whatever_batch_it_is_asked_for() -> None:
    pictures = [photos.photo("chelsea"), photos.photo("coffee")]
    crops, again = Crops(pictures, 32, count=10), Crops(pictures, 32, count=10)
    batch = crops.batch([7, 0, 7])["image"]
    assert batch.shape == (3, 3, 32, 32) and batch.dtype == torch.float32
    assert batch.min() >= 0 and batch.max() <= 1
    assert torch.equal(batch[0], batch[2]) and torch.equal(batch[0], again[7])
    assert not torch.equal(crops[0], crops[2])  # the same photograph, another square
    assert not torch.equal(crops[0], Crops(pictures, 32, count=10, seed=1)[0])


def test_a_crop_is_an_upright_square_of_its_photograph() -> None:
    """Red grows downwards; green grows to the right or, mirrored, to the left."""
    crops = Crops([ramp(60, 90)], 20, count=60)
    squares = crops.batch(range(60))["image"]
    down, across = squares[:, 0].diff(dim=1), squares[:, 1].diff(dim=2)
    assert squares[:, 2].min() > 0.999
    assert (down.mean((1, 2)) > 0).all()
    mirrored = across.mean((1, 2)) < 0
    assert 10 < mirrored.sum() < 50
    # In a picture of 60 × 90 a step down is 90/60 of a step across: squares are not stretched.
    ratio = down.mean((1, 2)) * 59 / (across.mean((1, 2)).abs() * 89)
    assert torch.allclose(ratio, torch.ones(60), atol=0.05)
    # The shortest side is the whole height, the largest zoom shows single pixels.
    steps = down.mean((1, 2)) * 59
    assert steps.min() < 1.4 and steps.max() > 2.2


def test_photographs_take_turns() -> None:
    shades = [torch.full((1, 3, 8, 8), shade / 255) for shade in (10, 20, 30)]
    found = Crops(shades, 8, count=7).batch(range(7))["image"].amax((1, 2, 3)) * 255
    assert found.round().tolist() == [10, 20, 30, 10, 20, 30, 10]


def test_a_folder_with_subfolders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "фото").mkdir()
    save_image(ramp(20, 30), tmp_path / "a.png")
    save_image(ramp(30, 20), tmp_path / "фото" / "b.png")
    save_image(ramp(9, 40), tmp_path / "small.png")
    (tmp_path / "notes.txt").write_text("no picture")
    crops = Crops(tmp_path, 12, count=4)
    assert [tuple(each.shape) for each in crops.pictures] == [(3, 20, 30), (3, 30, 20)]
    assert "notes.txt" in capsys.readouterr().out


def test_training_draws_from_it() -> None:
    batches = training.Batches(Crops([ramp(16, 16)], 8, count=6), 4, seed=3)
    assert next(batches)["image"].shape == (4, 3, 8, 8)


def test_what_cannot_be_cropped_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        Crops(tmp_path / "none", 8)
    with pytest.raises(DataError, match="No picture with sides of 64"):
        Crops([ramp(16, 80)], 64)
    with pytest.raises(SettingError, match=r"\(1, 3, H, W\)"):
        Crops([ramp(16, 16)[0]], 8)
    with pytest.raises(SettingError, match="must be 1 or more"):
        Crops([ramp(16, 16)], 0)
    with pytest.raises(IndexError, match="no 4"):
        Crops([ramp(16, 16)], 8, count=4)[4]
