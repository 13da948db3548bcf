"""Label maps read from pictures in which every class has a colour."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from coursekit.core.errors import SettingError, ShapeError
from coursekit.datasets import scenes
from coursekit.datasets.colour_labels import labels_of, palette_of


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return scenes.scenes(24, 64, seed=5).fields["labels"]


def _as_jpeg(pictures: Tensor, quality: int) -> Tensor:
    found = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture.movedim(0, -1).numpy()).save(buffer, "jpeg", quality=quality)
        array = np.asarray(Image.open(buffer).convert("RGB"))
        found.append(torch.from_numpy(array.copy()).movedim(-1, 0))
    return torch.stack(found)


def test_the_colours_of_the_palette_give_the_labels_back(maps: Tensor) -> None:
    assert torch.equal(labels_of(scenes.colourise(maps), scenes.PALETTE), maps)


def test_the_palette_is_found(maps: Tensor) -> None:
    pictures = scenes.colourise(maps)
    found = palette_of(pictures, 20)
    assert set(found) == {scenes.PALETTE[each] for each in maps.unique().tolist()}
    counts = [int((labels_of(pictures, found) == number).sum()) for number in range(len(found))]
    assert counts == sorted(counts, reverse=True)
    assert palette_of(pictures, 3) == found[:3]


def test_a_jpeg_file_costs_few_pixels(maps: Tensor) -> None:
    blurred = _as_jpeg(scenes.colourise(maps), 90)
    assert (labels_of(blurred, scenes.PALETTE) == maps).float().mean() > 0.97
    found = palette_of(blurred, 6)  # the six most frequent classes
    distance = torch.cdist(torch.tensor(found).float(), torch.tensor(scenes.PALETTE).float())
    assert distance.min(1).values.max() < 20


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ShapeError, match="uint8"):
        labels_of(torch.zeros(1, 3, 4, 4), scenes.PALETTE)
    with pytest.raises(ShapeError, match="uint8"):
        palette_of(torch.zeros(3, 4, 4, dtype=torch.uint8), 4)
    with pytest.raises(SettingError, match="1 to 256"):
        labels_of(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [])
    with pytest.raises(SettingError, match="counts from 1"):
        palette_of(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 0)
