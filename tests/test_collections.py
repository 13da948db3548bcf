"""Data sets of pictures at hand: a folder, and patches of the course's photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from serving import picture

from coursekit.core.errors import DataError, SettingError
from coursekit.datasets import collections
from coursekit.datasets.collections import folder_dataset, patches

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "holiday"
    place.mkdir()
    (place / "b.png").write_bytes(picture(RED, GREEN, BLUE))
    (place / "A.jpg").write_bytes(picture(BLUE, form="PNG"))
    (place / ".hidden.png").write_bytes(picture(RED))
    (place / "below").mkdir()
    return place


def test_a_folder_becomes_middle_squares_by_name(folder: Path) -> None:
    data = folder_dataset(folder, 16)
    assert data.fields["image"].shape == (2, 3, 16, 16)
    assert [tuple(image[:, 8, 8].tolist()) for image in data.fields["image"]] == [BLUE, GREEN]
    assert torch.equal(data.fields["image"][1].flatten(1).amin(1), torch.tensor(GREEN).byte())


def test_it_is_described_without_the_path(folder: Path) -> None:
    line = folder_dataset(folder, 16, licence="my own").describe()
    assert line == "holiday: 2 × pictures, 16×16, real; a folder; my own"


def test_unreadable_files_are_named_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "b.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("not a picture")
    assert len(folder_dataset(folder, 16)) == 2
    out = capsys.readouterr().out
    assert out == "Skipped 2 in holiday, not readable as pictures: broken.png, notes.txt\n"


def test_count_takes_the_first_readable_ones(folder: Path) -> None:
    (folder / "A.jpg").write_text("not a picture")
    data = folder_dataset(folder, 16, count=1)
    assert tuple(data.fields["image"][0, :, 8, 8].tolist()) == GREEN


def test_no_folder_and_no_picture(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(DataError, match="holds no picture"):
        folder_dataset(tmp_path)
    with pytest.raises(DataError, match="There is no folder"):
        folder_dataset(tmp_path / "absent")


@pytest.mark.parametrize("settings", [{"size": 0}, {"count": 0}, {"count": -3}])
def test_sizes_below_one(folder: Path, settings: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="must be 1 or more"):
        folder_dataset(folder, **settings)


# --- patches -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_patches_are_exact_for_a_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = patches(24, 16)
    assert first.fields["image"].shape == (24, 3, 16, 16) and first.fields["photo"].shape == (24,)
    assert patches(24, 16, seed=1).digest() != first.digest()
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    state = torch.get_rng_state()
    assert patches(24, 16).digest() == first.digest()
    assert torch.equal(torch.get_rng_state(), state)


def test_patches_come_from_the_photograph_they_name() -> None:
    """Where ``photo`` says brick, the square is grey; a flower's is not."""
    data = patches(12, 32, names=("brick", "flower"))
    assert set(data.fields["photo"].tolist()) == {0, 1}
    for image, photo in zip(data.fields["image"], data.fields["photo"], strict=True):
        assert torch.equal(image[0], image[2]) == (photo == 0)


def test_a_whole_square_is_that_of_the_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the full size there is one place down, and the side is the photograph's."""
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 20, 40).contiguous()
    monkeypatch.setattr(collections.photos, "photo", lambda name: ramp)
    image = collections._cut(("chelsea",), 40, 20, seed=0)["image"]
    whole = collections.to_bytes(ramp)[0]
    strips = [whole[..., left : left + 20] for left in range(21)]
    strips += [strip.flip(-1) for strip in strips]
    found = [next(i for i, s in enumerate(strips) if torch.equal(s, square)) for square in image]
    assert len({index % 21 for index in found}) > 8
    assert 8 < sum(index >= 21 for index in found) < 32  # about half are mirrored


def test_patches_show_details_and_wholes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a ramp the contrast of a patch tells its side: from 16 to 256 pixels of 256."""
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 256, 256).contiguous()
    monkeypatch.setattr(collections.photos, "photo", lambda name: ramp)
    image = collections._cut(("chelsea",), 200, 16, seed=0)["image"][:, 0, 0].float()
    sides = (image.amax(1) - image.amin(1)) / 255 * 256
    assert sides.min() < 20 and sides.max() > 220
    assert 0.35 < (sides < 64).float().mean() < 0.65  # evenly in the logarithm


def test_patches_that_cannot_be_cut() -> None:
    with pytest.raises(SettingError, match="choose 300 or less"):
        patches(4, 301)
    with pytest.raises(SettingError, match="must be 1 or more"):
        patches(0)
    with pytest.raises(SettingError, match=r"No 64-pixel squares in \[\]"):
        patches(4, names=())
    with pytest.raises(DataError, match="'dog'"):
        patches(4, names=("dog",))


def test_patches_say_whose_photographs_they_are() -> None:
    line = patches(8, 32).describe()
    assert "squares of 6 photographs" in line and "CC BY 2.0, CC0, public domain" in line
