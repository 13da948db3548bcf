"""The look that every data set has, and the cache under it."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from coursekit.core import show
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets import base
from coursekit.datasets.base import Dataset, Info, cached, digest

INFO = Info("squares", "grey squares", "CC0", synthetic=True, source="this test")


def squares(count: int = 10) -> Dataset:
    """Picture i has the value 20 i everywhere, its twin half of that; label i."""
    value = torch.arange(count)[:, None, None, None]
    image = (20 * value).expand(-1, 3, 6, 8).byte().contiguous()
    twin = (10 * value).expand(-1, 1, 6, 8).byte().contiguous()
    fields = {"image": image, "twin": twin, "label": torch.arange(count)}
    return Dataset(INFO, fields, ("image", "twin"))


def labels(data: Dataset) -> list[int]:
    return data.fields["label"].tolist()


def test_one_entry_is_float_in_the_unit_range() -> None:
    entry = squares()[3]
    assert entry["image"].shape == (3, 6, 8) and entry["twin"].shape == (1, 6, 8)
    assert torch.all(entry["image"] == torch.tensor(60.0) / 255)
    assert entry["label"].dtype == torch.int64 and entry["label"] == 3


def test_entries_count_from_the_end_too_and_there_are_no_others() -> None:
    data = squares()
    assert len(data) == 10 and data[-1]["label"] == 9
    for index in (10, -11):
        with pytest.raises(IndexError, match=f"10 entries; there is no {index}"):
            data[index]
    assert [int(entry["label"]) for entry in data] == list(range(10))


@pytest.mark.parametrize("indices", [[4, 1, 1], torch.tensor([4, 1, 1]), (4, 1, 1)])
def test_a_batch_is_in_the_order_asked_for(indices: Tensor | list[int]) -> None:
    batch = squares().batch(indices)
    assert batch["label"].tolist() == [4, 1, 1]
    assert batch["image"].shape == (3, 3, 6, 8) and batch["image"].dtype == torch.float32
    assert (batch["twin"][:, 0, 0, 0] * 255).round().tolist() == [40, 10, 10]


def test_a_mask_chooses_entries() -> None:
    data = squares()
    assert labels(data.take(data.fields["label"] % 4 == 1)) == [1, 5, 9]
    assert data.batch(data.fields["label"] > 7)["label"].tolist() == [8, 9]
    with pytest.raises(SettingError, match=r"shape \(3,\) cannot choose from 10"):
        data.take(torch.ones(3, dtype=torch.bool))


def test_take_keeps_what_the_set_is() -> None:
    some = squares().take([7, 0])
    assert labels(some) == [7, 0] and some.info == INFO and some.pictures == ("image", "twin")
    with pytest.raises(DataError, match=r"squares have \[0\] entries"):
        squares().take([])


def test_split_halves_are_disjoint_and_whole() -> None:
    train, test = squares().split(0.3)
    assert len(train) == 7 and len(test) == 3
    assert sorted(labels(train) + labels(test)) == list(range(10))
    assert labels(squares().split(0.3)[1]) == labels(test)
    assert labels(squares().split(0.3, seed=1)[1]) != labels(test)


@pytest.mark.parametrize("held_out", [0.0, 1.0, 0.01, -0.5])
def test_no_half_may_be_empty(held_out: float) -> None:
    with pytest.raises(SettingError, match="leaves one half empty"):
        squares().split(held_out)


def test_a_loader_takes_it() -> None:
    batches = list(DataLoader(squares(), batch_size=4))
    assert [len(batch["image"]) for batch in batches] == [4, 4, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"\[\] entries"),
        ({"image": torch.zeros(0, 3, 4, 4, dtype=torch.uint8)}, r"\[0\] entries"),
        (
            {"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "label": torch.zeros(3)},
            r"\[2, 3\] entries",
        ),
        (
            {"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "label": torch.tensor(1)},
            r"\[0, 2\] entries",
        ),
        ({"image": torch.zeros(2, 3, 4, 4)}, "'image' of squares is not a uint8"),
        ({"image": torch.zeros(2, 4, 4, dtype=torch.uint8)}, "'image' of squares is not"),
        ({"label": torch.zeros(2)}, "'image' of squares is not"),
    ],
)
def test_what_is_no_data_set_is_refused(fields: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset(INFO, fields)


def test_describe_says_what_it_is_and_whether_it_is_real() -> None:
    line = "squares: 10 × grey squares, 6×8, rendered, not photographed; this test; CC0"
    assert squares().describe() == line
    real = squares().renamed(synthetic=False, name="tiles")
    assert real.describe().startswith("tiles: 10 ×") and "6×8, real;" in real.describe()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was handed to `show.images`, which takes a while to draw it."""
    calls: list[dict[str, Any]] = []

    def images(pictures: list[Tensor], **settings: object) -> None:
        shades = [round(float(picture.mean()) * 255) for picture in pictures]
        calls.append({"shades": shades, "shape": pictures[0].shape, **settings})

    monkeypatch.setattr(show, "images", images)
    return calls


def test_on_a_sheet_twins_stand_under_each_other(drawn: list[dict[str, Any]]) -> None:
    squares().sheet(4, columns=3)
    white = [255, 255]
    assert drawn[0]["shades"] == [0, 20, 40] + [0, 10, 20] + [60, *white] + [30, *white]
    assert drawn[0]["columns"] == 3 and drawn[0]["shape"] == (3, 6, 8)
    assert drawn[0]["heading"] == squares().describe()
    squares().sheet(2)
    assert drawn[1]["shades"] == [0, 20] + [0, 10] and drawn[1]["columns"] == 2


def test_a_sheet_can_be_a_random_draw(drawn: list[dict[str, Any]]) -> None:
    for seed in (1, 1, None):
        squares().sheet(5, columns=5, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]
    squares().sheet(99, columns=10, seed=1)
    assert sorted(drawn[3]["shades"][:10]) == list(range(0, 200, 20))


def test_a_sheet_is_a_figure() -> None:
    figure = squares().sheet(2)
    assert isinstance(figure, Figure) and len(figure.axes) == 4


def test_the_digest_is_that_of_the_content() -> None:
    assert squares().digest() == squares().digest()
    assert squares().renamed(name="other").digest() == squares().digest()
    changed = squares()
    changed.fields["twin"][3, 0, 5, 7] += 1
    assert changed.digest() != squares().digest()
    fields = squares().fields
    assert digest({**fields, "label": fields["label"].int()}) != digest(fields)
    assert digest({"a": torch.zeros(2, 3)}) != digest({"a": torch.zeros(3, 2)})
    assert digest({"a": torch.zeros(2)}) != digest({"b": torch.zeros(2)})


def test_the_digest_does_not_depend_on_strides() -> None:
    table = torch.arange(12).reshape(3, 4)
    for part in (table[:, 1], table[:1, 2], table.T, table[:, ::2]):
        assert digest({"a": part}) == digest({"a": torch.tensor(part.tolist())})


# --- the cache -----------------------------------------------------------------------------------


class Maker:
    """Makes fields and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        mask = torch.tensor([True, False])
        return {"image": torch.arange(24).byte().reshape(2, 3, 2, 2), "mask": mask}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    return tmp_path / "datasets"


def test_the_second_time_comes_from_the_cache(folder: Path) -> None:
    make = Maker()
    first = cached("toy", {"size": 2}, make)
    second = cached("toy", {"size": 2}, make)
    assert make.calls == 1 and digest(first) == digest(second)
    assert second["mask"].dtype == torch.bool
    assert [file.suffix for file in folder.iterdir()] == [".safetensors"]


def test_another_key_is_another_content(folder: Path) -> None:
    make = Maker()
    for key in ({"size": 2}, {"size": 3}, {"size": 2, "seed": 0}):
        cached("toy", key, make)
    cached("toy", {"seed": 0, "size": 2}, make)  # the same key in another order
    assert make.calls == 3 and len(list(folder.iterdir())) == 3


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _change_a_pixel(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(bytes(whole))


def _drop_the_header(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [_cut_short, _change_a_pixel, _drop_the_header])
def test_a_damaged_copy_is_made_again(folder: Path, damage: object) -> None:
    make = Maker()
    first = cached("toy", {"size": 2}, make)
    (path,) = folder.iterdir()
    damage(path)
    assert digest(cached("toy", {"size": 2}, make)) == digest(first)
    assert make.calls == 2
    cached("toy", {"size": 2}, make)
    assert make.calls == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_text("a file where the folder should be")
    make = Maker()
    assert digest(cached("toy", {}, make)) == digest(make())
    assert "could not be written (" in capsys.readouterr().out
    assert folder.read_text() == "a file where the folder should be"


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    make = Maker()
    assert len(cached("toy", {}, make)["image"]) == 2
    assert "could not be written (No space left on device)" in capsys.readouterr().out
    assert list(folder.iterdir()) == []


def test_fields_need_not_be_contiguous(folder: Path) -> None:
    turned = torch.arange(6).reshape(2, 3).T
    assert torch.equal(cached("toy", {}, lambda: {"a": turned})["a"], turned)
    assert torch.equal(cached("toy", {}, Maker())["a"], turned)


def test_parts_are_drawn_in_order_by_as_many_threads_as_torch_has(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    limits, names = [], set()
    monkeypatch.setattr(torch, "set_num_threads", limits.append)

    def draw(part: int) -> int:
        names.add(threading.current_thread().name)
        time.sleep(0.02 if part == 0 else 0)
        return part * part

    assert base.in_parts(draw, range(6)) == [0, 1, 4, 9, 16, 25]
    assert set(limits[:-1]) == {1} and limits[-1] == 3, "one thread a part, then as before"
    assert threading.current_thread().name not in names


def test_a_part_that_fails_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        base.in_parts(lambda part: 1 // part, [1, 0])
    assert torch.get_num_threads() == before
