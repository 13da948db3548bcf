"""Topic 10: the tasks as pairs, and the measures against independent statements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit import pix2pix_measure as measure
from coursekit import pix2pix_tasks as tasks
from coursekit.core.errors import DataError, SettingError, ShapeError
from coursekit.core.perceptual import LPIPS
from coursekit.datasets import emoji, scenes
from coursekit.datasets.base import Dataset, Info

RENDERED = ("scenes", "night", "grey", "background")


def pictures(count: int = 3, height: int = 32, width: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


# --- Tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tasks.TASKS)
@pytest.mark.parametrize("split", tasks.SPLITS)
def test_every_task_has_inputs_targets_and_regions_of_one_size(name: str, split: str) -> None:
    data = tasks.task(name, split, 64, count=4)
    assert data.pictures == ("input", "target")
    assert data.fields["input"].shape == data.fields["target"].shape == (4, 3, 64, 64)
    assert data.fields["region"].shape == (4, 1, 64, 64)
    assert data.fields["region"].dtype == torch.bool
    assert data.fields["region"].flatten(1).any(dim=1).all()
    assert not torch.equal(data.fields["input"], data.fields["target"])
    assert tasks.TASKS[name].title in data.describe()


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_halves_share_no_target(name: str) -> None:
    halves = [tasks.task(name, split, 64, count=12).fields["target"] for split in tasks.SPLITS]
    same = (halves[0][:, None] == halves[1][None]).flatten(2).all(dim=2)
    assert not same.any()


def test_an_emoji_is_asked_for_by_its_lines_and_judged_where_it_is_drawn() -> None:
    data, source = tasks.task("emoji", "test", 64, count=5), emoji.emoji("test", 64, count=5)
    assert torch.equal(data.fields["input"], source.fields["line"].expand(-1, 3, -1, -1))
    assert torch.equal(data.fields["target"], source.fields["image"])
    assert torch.equal(data.fields["region"], source.fields["drawn"])


def test_scenes_come_from_their_label_maps_and_night_is_the_same_scene() -> None:
    source = scenes.scenes(3, 32, seed=tasks.SEEDS["test"])
    by_labels, by_day = (tasks.task(name, "test", 32, count=3) for name in ("scenes", "night"))
    assert torch.equal(by_labels.fields["input"], scenes.colourise(source.fields["labels"]))
    assert torch.equal(by_labels.fields["target"], by_day.fields["input"])
    assert torch.equal(by_day.fields["target"], source.fields["night"])


def test_a_face_keeps_its_pixels_and_loses_its_background() -> None:
    data = tasks.task("background", "test", 32, count=6)
    drawn, target, region = (data.fields[name] for name in ("input", "target", "region"))
    inside = -torch.nn.functional.max_pool2d(-region.float(), 3, 1, 1) > 0  # without the edge
    outside = torch.nn.functional.max_pool2d(region.float(), 3, 1, 1) == 0
    assert torch.equal(drawn[inside.expand_as(drawn)], target[inside.expand_as(drawn)])
    assert (target[outside.expand_as(target)] == 255).all()
    assert (drawn[outside.expand_as(drawn)] != 255).float().mean() > 0.5


def test_grey_is_the_brightness_pil_computes() -> None:
    image = (pictures(1) * 255).round().to(torch.uint8)
    expected = np.asarray(Image.fromarray(image[0].permute(1, 2, 0).numpy()).convert("L"))
    found = tasks.grey(image)
    assert found.dtype == torch.uint8
    assert (found[0, 0].int() - torch.from_numpy(expected.astype(np.int32))).abs().max() <= 1
    assert torch.equal(found[:, 0], found[:, 2])
    assert torch.allclose(tasks.grey(image.float() / 255), found / 255, atol=0.5 / 255 + 1e-6)


def test_a_palette_holds_the_flat_colours_by_their_share() -> None:
    picture = torch.zeros(3, 10, 20, dtype=torch.uint8)
    for rows, colour in ((slice(0, 5), (200, 30, 40)), (slice(5, 8), (20, 120, 240))):
        picture[:, rows] = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)
    picture[:, 9, :2] = torch.tensor((0, 255, 0), dtype=torch.uint8).view(3, 1)  # one per cent
    found = tasks.palette(picture, torch.ones(1, 10, 20, dtype=torch.bool))
    assert found.tolist() == [[200, 30, 40], [20, 120, 240], [255] * 3, [255] * 3]


def test_a_palette_does_not_look_outside_the_region_and_joins_near_colours() -> None:
    picture = torch.full((3, 4, 6), 90, dtype=torch.uint8)
    picture[:, :2] = 95
    picture[:, :, 3:] = 200
    region = torch.zeros(1, 4, 6, dtype=torch.bool)
    region[:, :, :3] = True
    assert tasks.palette(picture, region, 2).tolist() in (
        [[90] * 3, [255] * 3],
        [[95] * 3, [255] * 3],
    )


def test_the_strip_of_colours_lies_at_the_lower_edge_in_order() -> None:
    drawings = torch.ones(2, 3, 32, 40)
    colours = torch.rand(2, 4, 3)
    painted = tasks.add_palette(drawings, colours)
    assert torch.equal(painted[:, :, :30], drawings[:, :, :30])
    for index in range(4):
        block = painted[:, :, 30:, 10 * index : 10 * index + 10]
        assert torch.equal(block, colours[:, index, :, None, None].expand_as(block))
    assert torch.equal(drawings, torch.ones(2, 3, 32, 40))  # not changed in place


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.task("cats"),
        lambda: tasks.task("emoji", "val"),
        lambda: tasks.pairs("facades", "validation"),
    ],
)
def test_an_unknown_task_or_split_is_refused(call: object) -> None:
    with pytest.raises(SettingError, match="choose"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.grey(torch.rand(2, 1, 4, 4)),
        lambda: tasks.add_palette(torch.rand(2, 3, 4, 4), torch.rand(3, 4, 3)),
        lambda: measure.l1(pictures(), pictures(2)),
        lambda: measure.l1(pictures(), pictures(), torch.ones(3, 32, 40)),
        lambda: measure.l1(pictures(), pictures(), torch.zeros(3, 1, 32, 40)),
        lambda: measure.colourfulness(torch.rand(2, 1, 4, 4)),
        lambda: measure.nearest_neighbour(pictures(), torch.rand(1, 3, 8, 8)),
        lambda: measure.paired_difference(torch.rand(3), torch.rand(4), "L1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: object) -> None:
    with pytest.raises(ShapeError, match=r"\(|pixel"):
        call()


# --- Pairs from anywhere --------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Twenty pictures A|B: A is grey of the number, B its complement."""
    for number in range(20):
        both = np.full((24, 48, 3), 10 * number, dtype=np.uint8)
        both[:, 24:] = 255 - 10 * number
        Image.fromarray(both).save(tmp_path / f"{number:02d}.png")
    return tmp_path


def test_a_folder_of_pairs_is_split_without_an_overlap(own: Path) -> None:
    train, test = (tasks.pairs(own, split, 16) for split in tasks.SPLITS)
    values = [set(half.fields["input"][:, 0, 0, 0].tolist()) for half in (train, test)]
    assert (len(train), len(test)) == (18, 2)
    assert not values[0] & values[1]
    for half in (train, test):
        assert torch.equal(half.fields["input"], 255 - half.fields["target"])
        assert half.fields["region"].all()
    assert len(tasks.pairs(str(own), "train", 16, count=3)) == 3


def test_subfolders_train_and_test_are_used_where_they_are(own: Path) -> None:
    for split, names in (("train", ("03", "04")), ("test", ("05",))):
        (own / split).mkdir()
        for name in names:
            (own / f"{name}.png").rename(own / split / f"{name}.png")
    assert tasks.pairs(own, "test", 16).fields["input"][:, 0, 0, 0].tolist() == [50]
    assert tasks.pairs(own, "train", 16).fields["input"][:, 0, 0, 0].tolist() == [30, 40]


def test_a_single_picture_in_the_folder_is_no_pair(own: Path) -> None:
    Image.new("RGB", (30, 30)).save(own / "01.png")
    with pytest.raises(DataError, match="twice as wide"):
        tasks.pairs(own, "train", 16)


def test_a_source_that_is_nothing_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="facades"):
        tasks.pairs(tmp_path / "missing")


def test_one_picture_cannot_be_split(tmp_path: Path) -> None:
    Image.new("RGB", (32, 16)).save(tmp_path / "a.png")
    with pytest.raises(SettingError, match="leaves one half empty"):
        tasks.folder(tmp_path)


def test_a_published_set_goes_from_the_drawing_to_the_photograph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = {
        name: torch.full((2, 3, 8, 8), value, dtype=torch.uint8)
        for name, value in (("image", 200), ("edges", 10))
    }
    asked: list[object] = []

    def paired(*given: object, count: int | None) -> Dataset:
        asked.append((*given, count))
        return Dataset(Info("edges2shoes", "shoes", "none", False, "test"), fields, tuple(fields))

    monkeypatch.setattr(tasks.translation, "paired", paired)
    data = tasks.published("edges2shoes", "test", 8, count=2)
    assert asked == [("edges2shoes", "test", 8, 2)]
    assert torch.equal(data.fields["input"], fields["edges"])
    assert torch.equal(data.fields["target"], fields["image"])
    assert data.fields["region"].all()
    with pytest.raises(SettingError):
        monkeypatch.undo()
        tasks.published("cats")


# --- Measures -------------------------------------------------------------------------------------


def test_l1_counts_the_region_alone() -> None:
    target, region = torch.zeros(2, 3, 4, 5), torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    output = torch.ones_like(target)
    region[0, :, :2], region[1, :, 0, 0] = True, True
    output[0, :, 0], output[1] = 0.5, 0.25
    assert measure.l1(output, target, region).tolist() == pytest.approx([0.75, 0.25])
    assert measure.l1(output, target).tolist() == pytest.approx([0.875, 0.25])


def test_lpips_of_pairs_is_that_of_the_network_pair_by_pair() -> None:
    first, second = pictures(3), pictures(3, seed=1)
    first[2] = second[2]
    found = measure.lpips(first, second, batch=2)
    network = LPIPS("alex")
    expected = [float(network(*pair)) for pair in zip(first.split(1), second.split(1), strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert found[2] == pytest.approx(0, abs=1e-6) and (found[:2] > 0.05).all()
    with pytest.raises(ShapeError):
        measure.lpips(first, pictures(3, height=40))


def test_colourfulness_is_that_of_the_paper_s_formula_in_numpy() -> None:
    image = pictures(2)
    for picture, found in zip(image, measure.colourfulness(image), strict=True):
        red, green, blue = (255 * picture.double().numpy()).reshape(3, -1)
        rg, yb = red - green, 0.5 * (red + green) - blue
        spread = np.sqrt(rg.std() ** 2 + yb.std() ** 2)
        expected = spread + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
        assert float(found) == pytest.approx(expected, rel=1e-4)


def test_colourfulness_of_a_region_is_that_of_its_pixels() -> None:
    image = pictures(1)
    region = torch.zeros(1, 1, 32, 40, dtype=torch.bool)
    region[..., 5:20, 3:30] = True
    cut = measure.colourfulness(image[..., 5:20, 3:30])
    assert measure.colourfulness(image, region).item() == pytest.approx(cut.item(), rel=1e-4)


def test_grey_has_no_colour_and_averaging_two_colours_takes_some() -> None:
    assert measure.colourfulness(tasks.grey(pictures())).max() < 1e-2
    red, blue = (torch.zeros(1, 3, 8, 8) for _ in range(2))
    red[:, 0], blue[:, 2] = 1.0, 1.0
    both = measure.colourfulness(torch.cat([red, blue, (red + blue) / 2]))
    assert both[2] < both[:2].mean()


def edge(columns: list[float]) -> torch.Tensor:
    """A red picture (1, 3, 4, W) whose redness changes from column to column."""
    shown = torch.zeros(1, 3, 4, len(columns))
    shown[0, 0] = torch.tensor(columns)
    return shown


def test_sharpness_of_an_edge_by_hand() -> None:
    # R from 0 to 1: rg changes by 255, yb by 127.5, in 4 of 4 · 3 + 3 · 4 pairs of neighbours.
    expected = (4 * (255**2 + 127.5**2) / 24) ** 0.5
    assert measure.sharpness(edge([0, 0, 1, 1])).item() == pytest.approx(expected, rel=1e-5)
    turned = edge([0, 0, 1, 1]).transpose(2, 3)
    assert measure.sharpness(turned).item() == pytest.approx(expected, rel=1e-5)


def test_an_edge_over_two_pixels_is_less_sharp_and_grey_has_no_colour_edges() -> None:
    sharp, blurred = (measure.sharpness(edge(each)) for each in ([0, 0, 1, 1], [0, 0.5, 1, 1]))
    assert (blurred / sharp).item() == pytest.approx(0.5**0.5, rel=1e-5)
    assert measure.sharpness(pictures()[:, :1].expand(-1, 3, -1, -1)).max() < 1e-3


def test_sharpness_of_a_region_does_not_see_its_border() -> None:
    shown = torch.cat([edge([0, 0, 1, 1]), edge([0, 0, 0, 1])])
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[..., :2] = True  # the edge of the first picture runs along the region's border
    assert measure.sharpness(shown, region).tolist() == [0, 0]
    assert (measure.sharpness(shown) > 1).all()
    with pytest.raises(ShapeError, match="3, H, W"):
        measure.sharpness(shown[:, :1])


def test_colour_spread_by_hand() -> None:
    shown = torch.ones(2, 3, 4, 4)
    shown[0, 0, :2], shown[1, 0, :2] = 0.2, 0.6  # the lower halves are white in both
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[:, :, :2] = True
    assert measure.colour_spread(shown, region).tolist() == pytest.approx([51, 51], rel=1e-4)
    assert measure.colour_spread(shown).tolist() == pytest.approx([25.5, 25.5], rel=1e-4)
    assert measure.colour_spread(shown[:1].expand(3, -1, -1, -1)).max() < 1e-3


def test_the_nearest_neighbour_of_a_drawing_is_itself_even_moved_by_a_pixel() -> None:
    known = emoji.emoji("train", 64, count=60).fields["line"]
    assert measure.nearest_neighbour(known, known[10:20]).tolist() == list(range(10, 20))
    moved = torch.full_like(known[10:20], 255)
    moved[..., 1:] = known[10:20][..., :-1]
    assert measure.nearest_neighbour(known, moved).tolist() == list(range(10, 20))


def test_the_interval_of_a_mean_has_the_width_of_student_s() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(3))
    found = measure.mean(values, "v")
    half = 1.972 * float(values.std()) / 200**0.5
    assert found.value == pytest.approx(float(values.mean()), abs=1e-6)
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * half, rel=0.15)
    assert found == measure.mean(values, "v")
    assert found.count == 200


def test_pairs_give_a_narrower_interval_than_two_means() -> None:
    hard = torch.rand(150, generator=torch.Generator().manual_seed(1))
    first, second = hard + 0.02 + 0.001 * torch.randn(150), hard
    paired = measure.paired_difference(first, second, "L1")
    assert paired.interval[0] > 0
    assert measure.mean(first, "a").overlaps(measure.mean(second, "b"))


@pytest.mark.parametrize(
    "values", [torch.rand(1), torch.rand(2, 2), torch.tensor([1.0, torch.nan])]
)
def test_a_mean_needs_two_finite_values(values: torch.Tensor) -> None:
    with pytest.raises(SettingError, match="finite"):
        measure.mean(values, "L1")


def test_all_measures_of_twins() -> None:
    image = pictures(2, 64, 64)
    found = measure.measure(image, image)
    assert list(found) == list(measure.MEASURES)
    assert found["L1"].tolist() == found["LPIPS"].tolist() == [0, 0]
    assert torch.equal(found["colourfulness"], measure.colourfulness(image))
    assert measure.measure(image, image.flip(0))["LPIPS"].min() > 0
