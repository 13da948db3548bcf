"""The segmenter learns, its scores agree with scikit-learn's, and it survives the disk."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from sklearn import metrics
from torch import Tensor

from coursekit.core import checkpoints, segmenter
from coursekit.core.errors import ImageError, SettingError, ShapeError, WeightsError
from coursekit.core.runtime import generator
from coursekit.datasets.scenes import CLASSES
from coursekit.recipes import segment as recipe

NAMES = ("ground", "square", "line")
ABOUT = {"recipe": "drawings", "data": "60 drawings", "steps": 60, "seed": 0}


def drawings(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """A bright square and a dark line on grey, 16 pixels a side, with their label maps."""
    draw = generator(seed)
    images = torch.full((count, 3, 16, 16), 128, dtype=torch.uint8)
    labels = torch.zeros(count, 16, 16, dtype=torch.long)
    for index in range(count):
        top, left = torch.randint(0, 10, (2,), generator=draw).tolist()
        row = int(torch.randint(0, 16, (1,), generator=draw))
        images[index, :, top : top + 6, left : left + 6] = 230
        labels[index, top : top + 6, left : left + 6] = 1
        images[index, :, row], labels[index, row] = 20, 2
    return images, labels


@functools.cache
def trained() -> segmenter.Segmenter:
    return segmenter.fit(*drawings(60, seed=0), 3, steps=60, batch=10, width=4)


def random_maps(count: int = 5, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels 6 × 7 and predictions that are right about two times in three."""
    draw = generator(seed)
    labels = torch.randint(0, 3, (count, 6, 7), generator=draw)
    other = torch.randint(0, 3, (count, 6, 7), generator=draw)
    return torch.where(torch.rand(labels.shape, generator=draw) < 0.5, labels, other), labels


# --- scores -------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn() -> None:
    predicted, labels = random_maps()
    found = segmenter.score(predicted, labels, NAMES)
    true, called = labels.flatten().numpy(), predicted.flatten().numpy()
    assert found.pixel_accuracy.value == pytest.approx(metrics.accuracy_score(true, called))
    by_class = metrics.jaccard_score(true, called, average=None)
    assert [each.value for each in found.iou.values()] == pytest.approx(list(by_class))
    assert found.mean_iou.value == pytest.approx(by_class.mean())
    assert found.mean_of(["line", "ground"]).value == pytest.approx(by_class[[2, 0]].mean())
    assert (found.counts.sum(0).numpy() == metrics.confusion_matrix(true, called)).all()


def test_a_confusion_matrix_by_hand() -> None:
    labels = torch.tensor([[[0, 0, 1, 2]], [[1, 1, 1, 1]]])
    predicted = torch.tensor([[[0, 1, 1, 1]], [[1, 1, 0, 1]]])
    counts = segmenter.confusion(predicted, labels, 3)
    assert counts.tolist() == [[[1, 1, 0], [0, 1, 0], [0, 1, 0]], [[0, 0, 0], [1, 3, 0], [0, 0, 0]]]
    assert segmenter.ious(counts.sum(0)).tolist() == pytest.approx([1 / 3, 4 / 7, 0.0])


def test_intervals_hold_the_value_and_shrink_with_more_pictures() -> None:
    few = segmenter.score(*random_maps(10), NAMES)
    many = segmenter.score(*random_maps(160), NAMES)
    for found in (few, many):
        for each in (found.pixel_accuracy, found.mean_iou, found.mean_of(NAMES[:2])):
            assert each.covers(each.value)
    widths = [each.interval[1] - each.interval[0] for each in (few.mean_iou, many.mean_iou)]
    assert widths[1] < 0.5 * widths[0]
    again = segmenter.score(*random_maps(10), NAMES)
    assert again.mean_iou == few.mean_iou


def test_a_class_that_never_occurs_is_left_out() -> None:
    labels = torch.zeros(3, 4, 4, dtype=torch.long)
    labels[:, 2:] = 1
    found = segmenter.score(labels, labels, NAMES)
    assert list(found.iou) == ["ground", "square"] and found.mean_iou.value == 1
    with pytest.raises(SettingError, match=r"No class \['line'\]; there are ground, square"):
        found.mean_of(["line"])


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long), "whole numbers"),
        (torch.zeros(2, 4, 5).long(), torch.zeros(2, 4, 4).long(), r"predicted \(2, 4, 5\)"),
        (torch.zeros(2, 4, 4).long(), torch.full((2, 4, 4), 3), "labels runs from 3 to 3"),
        (torch.zeros(4, 4).long(), torch.zeros(4, 4).long(), "whole numbers"),
    ],
)
def test_label_maps_that_do_not_fit(predicted: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        segmenter.score(predicted, labels, NAMES)


def test_one_picture_gives_no_interval() -> None:
    with pytest.raises(SettingError, match="One picture"):
        segmenter.score(*random_maps(1), NAMES)


# --- the network --------------------------------------------------------------------------------


def test_it_learns_small_drawings() -> None:
    images, labels = drawings(20, seed=1)
    found = segmenter.score(trained().predict(images), labels, NAMES)
    assert found.pixel_accuracy.value > 0.9 and found.mean_iou.value > 0.7


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    data = drawings(8, seed=2)
    one, two = (segmenter.fit(*data, 3, steps=2, batch=4, width=2, seed=5) for _ in range(2))
    other = segmenter.fit(*data, 3, steps=2, batch=4, width=2, seed=6)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_mirrored_pictures_keep_their_labels() -> None:
    images, labels = drawings(30, seed=3)
    moved, wanted = segmenter._moved(images.float() / 255, labels.clone(), 0.0, generator(0))
    squares = (moved[:, 0] > 0.6).long() + 2 * (moved[:, 0] < 0.2).long()
    assert torch.equal(squares, wanted)
    assert 0 < int((wanted != labels).flatten(1).any(1).sum()) < 30


def test_predict_keeps_the_mode_and_takes_bytes_and_other_sizes() -> None:
    network = segmenter.Segmenter(3, width=2).train()
    images, _ = drawings(3, seed=0)
    found = network.predict(images, batch=2)
    assert network.training and found.shape == (3, 16, 16) and found.dtype == torch.int64
    assert torch.equal(found, network.predict(images.float() / 255))
    assert network.predict(torch.rand(2, 3, 24, 40)).shape == (2, 24, 40)


def test_pictures_that_do_not_fit() -> None:
    network = segmenter.Segmenter(3, width=2)
    with pytest.raises(ShapeError, match=r"\(20, 16\) pixels"):
        network(torch.rand(1, 3, 20, 16))
    with pytest.raises(ImageError):
        network(torch.rand(1, 3, 16, 16) * 255)
    for settings in ({"classes": 1}, {"classes": 3, "width": 0}):
        with pytest.raises(SettingError):
            segmenter.Segmenter(**settings)
    images, labels = drawings(4, seed=0)
    with pytest.raises(ShapeError):
        segmenter.fit(images, labels[:, :8], 3, steps=1)
    with pytest.raises(SettingError):
        segmenter.fit(images, labels, 3, steps=0)


# --- the disk -----------------------------------------------------------------------------------


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = segmenter.save(trained(), tmp_path / "drawings.safetensors", ABOUT)
    loaded, (images, _) = segmenter.load(path), drawings(5, seed=4)
    assert torch.equal(loaded.predict(images), trained().predict(images))
    assert loaded.name == "drawings" and loaded.header["settings"] == {"classes": 3, "width": 4}
    assert not any(each.requires_grad for each in loaded.parameters()) and not loaded.training


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    path = checkpoints.save(
        torch.nn.Linear(2, 2), tmp_path / "other.safetensors", ABOUT | {"settings": {}}
    )
    with pytest.raises(WeightsError, match="no segmenter"):
        segmenter.load(path)
    with pytest.raises(WeightsError):
        segmenter.load(tmp_path / "missing.safetensors")


def test_the_courses_segmenter_reads_scenes_by_day_and_by_night() -> None:
    network = segmenter.load("scenes")
    images, labels = recipe.scenes_by_day_and_night(30, seed=77)
    predicted, measured = network.predict(images), network.header["measured"]
    for time, half in (("day", slice(0, 30)), ("night", slice(30, None))):
        found = segmenter.score(predicted[half], labels[half].long(), CLASSES)
        assert found.pixel_accuracy.value == pytest.approx(
            measured[time]["pixel accuracy"]["value"], abs=0.04
        )


@pytest.mark.slow
def test_its_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "TRAIN", 40)
    monkeypatch.setattr(recipe, "HELD_OUT", 10)
    (path,) = recipe.course(tmp_path / "run", steps=2, progress=False)
    header = segmenter.load(path).header
    assert header["steps"] == 2 and set(header["measured"]) == {"day", "night"}
