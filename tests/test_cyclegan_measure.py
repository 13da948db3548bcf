"""Topic 11: the baselines, the ruler, what the cycle hides, and the two tasks with discs."""

from __future__ import annotations

import colorsys
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coursekit import cyclegan, cyclegan_measure, cyclegan_shapes
from coursekit.core import checkpoints, metrics, runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.datasets import scenes
from coursekit.recipes import cyclegan as recipe


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=runtime.generator(seed))


@pytest.fixture(scope="module")
def bench() -> cyclegan_measure.Bench:
    return cyclegan_measure.Bench(6)


def test_everything_comes_with_the_other_time_of_the_day() -> None:
    by_day, by_night = scenes.unpaired(3, 32, seed=9)
    images, twins, labels = cyclegan_measure.everything(by_day)
    assert torch.equal(images, by_day.fields["image"] / 255)
    assert torch.equal(twins, by_day.fields["twin"] / 255)
    assert labels.dtype == torch.long and torch.equal(labels, by_day.fields["labels"].long())
    assert images.mean() > twins.mean()
    nights, days, _ = cyclegan_measure.everything(by_night)
    assert nights.mean() < days.mean()


# --- Translations that cost nothing


def test_one_colour_is_the_mean_of_the_heap() -> None:
    heap, images = pictures(3, 3, 4, 5), pictures(2, 3, 6, 6, seed=1)
    found = cyclegan_measure.constant_colour(images, heap)
    assert found.shape == images.shape
    expected = heap.transpose(0, 1).flatten(1).mean(dim=1)
    torch.testing.assert_close(found[1, :, 5, 2], expected)
    assert float(found.flatten(2).var(dim=2).max()) < 1e-10


def test_colour_transfer_has_the_heaps_statistics() -> None:
    heap = 0.2 * pictures(4, 3, 6, 6) + 0.4  # narrow, so that nothing is cut
    images = pictures(3, 3, 8, 5, seed=1)
    found = cyclegan_measure.colour_transfer(images, heap)
    mean = heap.mean(dim=(0, 2, 3))
    deviation = heap.std(dim=(2, 3), correction=0).mean(dim=0)
    for picture in found:
        torch.testing.assert_close(picture.mean(dim=(1, 2)), mean, rtol=1e-3, atol=1e-4)
        spread = picture.std(dim=(1, 2), correction=0)
        torch.testing.assert_close(spread, deviation, rtol=1e-3, atol=1e-4)
    bright = cyclegan_measure.colour_transfer(images, pictures(2, 3, 4, 4) * 4 - 1)
    assert bright.min() >= 0 and bright.max() <= 1


def test_colour_transfer_keeps_the_drawing() -> None:
    """An affine map a channel: what is brighter than its neighbour stays brighter."""
    images = pictures(1, 3, 4, 4)
    found = cyclegan_measure.colour_transfer(images, 0.1 * pictures(2, 3, 4, 4, seed=2) + 0.5)
    for before, after in zip(images[0], found[0], strict=True):
        assert torch.equal(before.flatten().argsort(), after.flatten().argsort())


# --- The ruler


def test_the_twin_is_perfect(bench: cyclegan_measure.Bench) -> None:
    report = bench.measure((bench.twins + 1e-3).clamp(0, 1))
    assert report["LPIPS"].value < 1e-3
    assert report["PSNR"].value > 50
    assert report["label accuracy"].value == pytest.approx(bench.ceiling().value, abs=0.02)


def test_the_report_is_what_its_parts_say(bench: cyclegan_measure.Bench) -> None:
    report = bench.measure(bench.images)
    torch.testing.assert_close(report.each["PSNR"], metrics.psnr(bench.images, bench.twins))
    found = bench.segmenter.predict(bench.images)
    share = (found == bench.labels).double().mean()
    assert report["label accuracy"].value == pytest.approx(float(share), abs=1e-6)
    assert set(report.facts()) == {*cyclegan_measure.MEASURES, "mean IoU"}
    assert json.loads(json.dumps(report.facts()))["LPIPS"]["count"] == 6
    with pytest.raises(SettingError, match="No measure 'FID'"):
        report["FID"]


def test_an_advantage_is_paired(bench: cyclegan_measure.Bench) -> None:
    first = bench.measure(bench.images)
    second = bench.measure(cyclegan_measure.constant_colour(bench.images, bench.twins))
    found = first.advantage(second, "PSNR")
    assert found.value == pytest.approx(first["PSNR"].value - second["PSNR"].value, rel=1e-4)
    none = first.advantage(first, "PSNR")
    assert none.value == 0 and none.interval == (0, 0)
    fewer = cyclegan_measure.Report({"PSNR": torch.ones(3)}, first.mean_iou)
    with pytest.raises(SettingError, match="6 pictures against 3"):
        first.advantage(fewer, "PSNR")


def test_night_to_day_is_the_other_half() -> None:
    bench = cyclegan_measure.Bench(2, night_to_day=True)
    assert bench.images.mean() < bench.twins.mean()  # nights are darker than their days
    _, by_night = scenes.unpaired(2, 64, seed=cyclegan_measure.HELD_OUT)
    assert torch.equal(bench.images, by_night.batch(range(2))["image"])


def test_the_baselines_are_the_three(bench: cyclegan_measure.Bench) -> None:
    reports = bench.baselines(pictures(2, 3, 8, 8))
    assert list(reports) == ["as it is", "one colour", "colour transfer"]


# --- The way back


class Same(nn.Module):
    """A generator that returns its input; it has a parameter, as translate asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images


def test_the_way_back_by_hand() -> None:
    """Through a generator that changes nothing, noise of σ costs E|σn| = σ √(2/π) of 255."""
    images = torch.full((4, 3, 40, 40), 0.5)
    errors = cyclegan_measure.way_back(Same(), images, images, [0.0, 0.05])
    assert errors[0].value == pytest.approx(0.0, abs=1e-3)
    assert errors[1].value == pytest.approx(255 * 0.05 * math.sqrt(2 / math.pi), rel=0.05)
    shifted = cyclegan_measure.way_back(Same(), images + 0.1, images, [0.0])[0]
    assert shifted.value == pytest.approx(25.5, rel=1e-3)


def test_the_noise_repeats() -> None:
    images = pictures(2, 3, 8, 8)
    twice = [cyclegan_measure.way_back(Same(), images, images, [0.1], seed=3)[0] for _ in range(2)]
    assert twice[0] == twice[1]


# --- Discs


def test_discs_lie_where_they_should() -> None:
    for side, low, high in (("left", 0.0, 0.5), ("right", 0.5, 1.0), ("anywhere", 0.0, 1.0)):
        images = cyclegan_shapes.discs(40, side=side, seed=2).batch(range(40))["image"]
        where = cyclegan_shapes.across(images)
        assert low < where.min() and where.max() < high
        half = cyclegan_shapes.ink(images).sum(dim=1)
        if side != "anywhere":
            empty = half[:, 16:] if side == "left" else half[:, :16]
            assert float(empty.abs().max()) == 0


def test_a_disc_is_round_and_of_its_colour() -> None:
    blue = cyclegan_shapes.discs(20, 64, colour=cyclegan_shapes.BLUE).batch(range(20))["image"]
    area = (cyclegan_shapes.ink(blue) > 0.3).sum(dim=(1, 2)).float()
    radius = (area / math.pi).sqrt() / 64
    assert radius.min() > 0.09 and radius.max() < 0.17
    middle = blue.flatten(2)[torch.arange(20), :, cyclegan_shapes.ink(blue).flatten(1).argmax(1)]
    expected = torch.tensor(cyclegan_shapes.BLUE).expand(20, 3)
    torch.testing.assert_close(middle, expected, atol=0.005, rtol=0)


def test_hues_are_those_of_the_colour_circle() -> None:
    turns = torch.linspace(0, 0.99, 12)
    expected = torch.tensor([colorsys.hsv_to_rgb(float(turn), 1.0, 1.0) for turn in turns])
    torch.testing.assert_close(cyclegan_shapes.hues(turns), 0.1 + 0.8 * expected, atol=1e-4, rtol=0)


def test_across_and_colour_error_by_hand() -> None:
    image = torch.full((1, 3, 4, 8), cyclegan_shapes.PAPER)
    assert cyclegan_shapes.across(image).isnan().all()
    image[:, :, 1, 6] = 0.2
    assert float(cyclegan_shapes.across(image)) == pytest.approx(6.5 / 8)
    other = image.clone()
    other[:, 0, 1, 6] = 0.8  # one of three channels is 0.6 off
    assert float(cyclegan_shapes.colour_error(other, image)) == pytest.approx(0.2)
    with pytest.raises(ShapeError, match="against"):
        cyclegan_shapes.colour_error(other, image[..., :4])
    with pytest.raises(ShapeError, match=r"\(N, 3, H, W\)"):
        cyclegan_shapes.across(image[:, :1])
    for wrong in ({"count": 0}, {"count": 1, "size": 8}, {"count": 1, "side": "top"}):
        with pytest.raises(SettingError, match="one of"):
            cyclegan_shapes.discs(**wrong)


# --- The recipes


@pytest.mark.slow
def test_the_recipes_make_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "SCENES", 8)
    monkeypatch.setattr(recipe, "measured", lambda translators: {"day → night": {}})
    weights, film = recipe.course(tmp_path / "course", steps=3, progress=False)
    about = checkpoints.read(weights).about
    assert about["steps"] == 3 and about["settings"] == recipe.SETTINGS and film.is_file()
    monkeypatch.setattr(recipe, "facts_of", lambda translators: {"nights kept": {}})
    small = {"steps": 2, "pair_steps": 3, "progress": False}
    results, film = recipe.study(tmp_path / "study", **small)
    runs = json.loads(results.read_text(encoding="utf-8"))["runs"]
    assert list(runs) == [*recipe.RUNS, *recipe.PAIRS]
    assert runs["pairs, longer"]["day → night"]["LPIPS"]["count"] == 200
    assert film.is_file()


def test_what_the_course_reaches_is_in_the_header_and_in_the_study() -> None:
    """The file is better than colour transfer in LPIPS and in label accuracy, intervals apart."""
    translators, checkpoint = cyclegan.load()
    bench = cyclegan_measure.Bench(40)
    made = bench.measure(cyclegan.translate(translators.to_y, bench.images))
    _, by_night = cyclegan.two_heaps("scenes", 100)
    heap = by_night.batch(range(100))["image"]
    cheap = bench.measure(cyclegan_measure.colour_transfer(bench.images, heap))
    assert made.advantage(cheap, "LPIPS").interval[1] < 0
    assert made.advantage(cheap, "label accuracy").interval[0] > 0
    header = checkpoint.about["measured"]["day → night"]["LPIPS"]["value"]
    assert made["LPIPS"].value == pytest.approx(header, abs=0.03)
