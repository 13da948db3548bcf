"""Photographs inside installed packages, and folders of pictures."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from coursekit.core.errors import DataError
from coursekit.datasets import photos


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a photograph must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("name", photos.PHOTOS)
def test_every_photograph_is_there_as_described(name: str) -> None:
    entry = photos.PHOTOS[name]
    image = photos.photo(name)
    width, height = entry.size
    assert image.shape == (1, 3, height, width) and image.dtype == torch.float32
    assert image.min() >= 0 and 0.3 < image.max() <= 1
    assert entry.kind in ("photograph", "texture")
    assert entry.title and entry.credit and entry.licence


def test_the_values_are_those_of_the_packages() -> None:
    from skimage import data
    from sklearn.datasets import load_sample_image

    for name, array in (("coffee", data.coffee()), ("flower", load_sample_image("flower.jpg"))):
        expected = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None] / 255
        assert torch.allclose(photos.photo(name), expected, atol=1 / 255)


def test_the_cat_is_chelsea() -> None:
    assert torch.equal(photos.photo("cat", 48), photos.photo("chelsea", 48))


def test_size_is_the_shorter_side_and_crop_a_square() -> None:
    assert photos.photo("chelsea", 60).shape == (1, 3, 60, 90)
    assert photos.photo("chelsea", 60, crop=True).shape == (1, 3, 60, 60)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'dog'.*chelsea.*gravel.*cat"):
        photos.photo("dog")


def test_a_package_without_the_file_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_folder_of", lambda package: Path("nowhere"))
    with pytest.raises(DataError, match="install that package again"):
        photos.photo("brick")


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(DataError, match="pip install no_such_package"):
        photos._folder_of("no_such_package")


def test_textures_are_listed() -> None:
    assert {"brick", "grass", "gravel", "pebbles", "autumn_leaves"} <= set(photos.TEXTURES)


def test_a_folder_is_read_in_order_and_bad_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, shade in (("b.png", 100), ("A.jpg", 200), ("c.png", 0)):
        Image.new("RGB", (40, 30), (shade,) * 3).save(tmp_path / name)
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").write_text("not looked at")
    (tmp_path / "subfolder").mkdir()
    pictures = photos.folder(tmp_path, 24, crop=True)
    assert [round(float(p.mean()) * 255) for p in pictures] == [200, 100, 0]
    assert all(p.shape == (1, 3, 24, 24) for p in pictures)
    out = capsys.readouterr().out
    assert "Skipped 2" in out and "broken.png, notes.txt" in out and ".hidden" not in out


def test_a_good_folder_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "grey.png")
    assert photos.folder(tmp_path)[0].shape == (1, 3, 30, 40)
    assert capsys.readouterr().out == ""


def test_many_bad_files_are_counted() -> None:
    assert photos._list([str(i) for i in range(10)]).endswith("7 and 2 more")


def test_an_empty_or_absent_folder_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        photos.folder(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        photos.folder(tmp_path / "absent")


def test_the_contact_sheet_names_every_picture() -> None:
    sheet = photos.contact_sheet(["cat", "brick"])
    assert isinstance(sheet, Figure)
    assert [axis.get_title().split("\n")[0] for axis in sheet.axes] == ["chelsea", "brick"]
