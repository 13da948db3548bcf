"""Rendered scenes: exact, true to their factors and labels, and readable at night."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit.core.errors import SettingError, ShapeError
from coursekit.datasets import base, scenes_houses, scenes_noise
from coursekit.datasets import scenes as landscapes
from coursekit.datasets.scenes import (
    CLASSES,
    FACTORS,
    PALETTE,
    SEASONS,
    Rendered,
    colourise,
    render,
    sample_factors,
    scenes,
    unpaired,
)
from coursekit.datasets.scenes_terrain import Terrain

EMPTY = dict(tree_count=0, house_count=0, forest=0, road="none", water="no", cloudiness=0)
ONE_HOUSE = dict(EMPTY, season="summer", house_count=1, house_x=0.5, house_depth=0.4)

# Mean brightness of four scenes by day, then by night.
VERSION_1 = [0.54, 0.5955, 0.6044, 0.5752, 0.3176, 0.3736, 0.376, 0.3165]


@pytest.fixture(scope="module")
def drawn() -> tuple[dict[str, Tensor], Rendered]:
    """Many scenes of all kinds, drawn once."""
    factors = sample_factors(64, seed=4)
    return factors, render(factors)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    return tmp_path


def share(rendered: Rendered, *names: str) -> Tensor:
    """How much of each scene has one of these labels, (N,)."""
    classes = torch.tensor([CLASSES.index(name) for name in names])
    return torch.isin(rendered.labels.long(), classes).float().mean(dim=(1, 2))


def class_means(picture: Tensor, labels: Tensor) -> Tensor:
    """Mean colour (N, classes, 3) of each class; NaN where fewer than 16 pixels show it."""
    one_hot = torch.nn.functional.one_hot(labels.long(), len(CLASSES)).float()
    total = torch.einsum("nchw,nhwk->nkc", picture.float() / 255, one_hot)
    count = one_hot.sum(dim=(1, 2))[..., None]
    return torch.where(count >= 16, total / count, torch.nan)


def luminance(picture: Tensor) -> Tensor:
    weights = torch.tensor([0.2126, 0.7152, 0.0722])  # Rec. 709
    return torch.einsum("nchw,c->nhw", picture.float() / 255, weights)


def one(factors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: factor[index : index + 1] for name, factor in factors.items()}


def same(a: Rendered, b: Rendered) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# --- factors ---------------------------------------------------------------------------------


def test_every_factor_has_its_shape_type_and_range() -> None:
    factors = sample_factors(300, seed=1)
    assert list(factors) == list(FACTORS)
    for name, factor in FACTORS.items():
        value = factors[name]
        assert value.shape == ((300,) if factor.slots == 1 else (300, factor.slots))
        assert value.dtype == (torch.int64 if factor.whole else torch.float32)
        assert factor.low <= value.min() and value.max() <= factor.high, name
        assert value.float().std() > 0.1 * (factor.high - factor.low), f"{name} hardly differs"
        assert not factor.values or len(factor.values) == factor.high + 1


def test_factors_are_a_prefix_and_follow_the_seed() -> None:
    few, many, other = sample_factors(7), sample_factors(40), sample_factors(7, seed=1)
    assert all(torch.equal(few[name], many[name][:7]) for name in FACTORS)
    assert not torch.equal(few["texture"], other["texture"])


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    render(sample_factors(2), 32)
    assert torch.equal(before, torch.random.get_rng_state())


def test_fixed_values_are_used_and_the_other_draws_stay() -> None:
    free = sample_factors(5)
    fixed = sample_factors(
        5, season="winter", snow=torch.linspace(0, 1, 5), house_kind=["church", "cottage", 1]
    )
    assert (fixed["season"] == SEASONS.index("winter")).all()
    assert torch.equal(fixed["snow"], torch.linspace(0, 1, 5))
    assert fixed["house_kind"].tolist() == [[3, 0, 1]] * 5
    kept = [name for name in FACTORS if name not in ("season", "snow", "house_kind")]
    assert all(torch.equal(free[name], fixed[name]) for name in kept)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (dict(moon=1), "no factor 'moon'"),
        (dict(sun_x=2.0), "sun_x .* from 0.08 to 0.92"),
        (dict(sun_x=float("nan")), "sun_x"),
        (dict(tree_count=1.5), "whole numbers"),
        (dict(season="rain"), "spring, summer, autumn, winter"),
        (dict(house_kind=["church", "tent", "church"]), "house_kind"),
        (dict(tree_x=torch.zeros(5)), r"\(4, 12\)"),
        (dict(snow=torch.zeros(3)), r"\(4,\)"),
        (dict(snow=1j), "complex"),
    ],
)
def test_values_that_no_scene_can_have(fixed: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        sample_factors(4, **fixed)


def test_no_scenes_no_factors_no_size() -> None:
    with pytest.raises(SettingError, match="1 or more"):
        sample_factors(0)
    with pytest.raises(SettingError, match="1 or more"):
        unpaired(0)
    factors = sample_factors(2)
    for size in (31, 513):
        with pytest.raises(SettingError, match="32 to 512"):
            render(factors, size)
    with pytest.raises(SettingError, match="lack sun_x"):
        render({name: factors[name] for name in factors if name != "sun_x"})
    with pytest.raises(SettingError, match="snow"):
        render(factors | {"snow": factors["snow"] + 2})
    with pytest.raises(SettingError, match="no scene"):
        render({name: factor[:0] for name, factor in factors.items()})


def test_houses_stand_off_the_road() -> None:
    factors = sample_factors(200, road="paved")
    terrain = Terrain(factors)
    y = terrain.ground(factors["house_x"], factors["house_depth"])
    middle, half = terrain.road(y)
    at_the_border = (factors["house_x"] <= -0.05) | (factors["house_x"] >= 1.05)
    assert ((factors["house_x"] - middle).abs() > half)[~at_the_border].all()


# --- exactness -------------------------------------------------------------------------------


def test_a_scene_does_not_depend_on_its_neighbours_or_threads(drawn) -> None:
    factors, whole = drawn
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = render({name: factor[order] for name, factor in factors.items()})
    assert same(shuffled, Rendered(*(field[order] for field in whole)))
    for index in (0, 31, 32, 63):
        alone = render(one(factors, index))
        assert same(alone, Rendered(*(field[index : index + 1] for field in whole)))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads != 3 else 2)
        some = render({name: factor[:16] for name, factor in factors.items()})
    finally:
        torch.set_num_threads(threads)
    assert same(some, Rendered(*(field[:16] for field in whole)))


def test_pictures_are_those_of_this_version() -> None:
    """If this fails because a picture was meant to change, raise VERSION: old caches are stale."""
    assert landscapes.VERSION == 1
    drawn = render(sample_factors(4, seed=7), 32)
    means = torch.cat([p.float().mean((1, 2, 3)) for p in (drawn.day, drawn.night)]) / 255
    assert means.tolist() == pytest.approx(VERSION_1, abs=1e-3)


def test_rendering_does_not_touch_its_factors_and_takes_a_whole_batch(drawn) -> None:
    factors, whole = drawn
    before = {name: factor.clone() for name, factor in factors.items()}
    by_day = render(factors | {"labels": whole.labels}, night=False)
    assert by_day.night is None
    assert torch.equal(by_day.day, whole.day) and torch.equal(by_day.labels, whole.labels)
    assert all(torch.equal(before[name], factors[name]) for name in FACTORS)


def test_types_and_shapes(drawn) -> None:
    _, whole = drawn
    assert whole.day.shape == whole.night.shape == (64, 3, 64, 64)
    assert whole.labels.shape == (64, 64, 64)
    assert {field.dtype for field in whole} == {torch.uint8}
    assert set(whole.labels.unique().tolist()) == set(range(len(CLASSES)))


def test_every_size_shows_the_same_scene() -> None:
    factors = sample_factors(6, seed=2)
    small, large = render(factors, 64), render(factors, 128)
    halved = torch.nn.functional.avg_pool2d(large.day.float(), 2)
    assert (halved - small.day).abs().mean() < 8  # grey levels: fine leaves and stars differ
    assert (large.labels[:, ::2, ::2] == small.labels).float().mean() > 0.9
    assert render(one(factors, 0), 256).day.shape == (1, 3, 256, 256)


@pytest.mark.parametrize("end", ["low", "high"])
def test_the_ends_of_every_range_can_be_drawn(end: str) -> None:
    extreme = {name: getattr(factor, end) for name, factor in FACTORS.items()}
    picture = render(sample_factors(1, **extreme)).day.float()
    assert picture.std() > 20


# --- factors show ----------------------------------------------------------------------------


def test_what_is_not_there_has_no_label() -> None:
    bare = render(sample_factors(12, season="summer", snow=0, **EMPTY))
    absent = set(CLASSES) - {"sky", "sun or moon", "mountain", "grass"}
    assert share(bare, *absent).max() == 0
    for name, present, labels in (
        ("tree_count", dict(tree_count=8), ["tree"]),
        ("house_count", dict(house_count=2), ["wall", "roof", "window"]),
        ("forest", dict(forest=1), ["tree"]),
        ("road", dict(road="track"), ["road"]),
        ("water", dict(water="yes"), ["water"]),
        ("cloudiness", dict(cloudiness=0.8), ["cloud"]),
    ):
        shown = render(sample_factors(12, season="summer", **(EMPTY | present)))
        for label in labels:
            assert (share(shown, label) > 0).float().mean() > 0.8, (name, label)


@pytest.mark.parametrize(
    ("name", "label", "grows"),
    [
        ("cloudiness", "cloud", 0.2),
        ("snow", "snow", 0.02),
        ("mountain_height", "mountain", 0.04),
        ("forest", "tree", 0.02),
        ("water_level", "water", 0.05),
    ],
)
def test_more_of_a_factor_is_more_of_its_class(name: str, label: str, grows: float) -> None:
    rest = EMPTY | dict(season="summer", water="yes", mountain_height=0.8, snow=0)
    rest.pop(name, None)
    little, much = (render(sample_factors(16, **rest, **{name: v})) for v in (0.1, 0.9))
    assert (share(much, label) - share(little, label)).mean() > grows


def test_sun_stands_where_its_factors_say() -> None:
    place = dict(sun_x=0.3, sun_y=0.1, mountain_height=0)
    scene = render(sample_factors(4, **(EMPTY | place)), 128)
    rows, columns = (scene.labels == CLASSES.index("sun or moon")).nonzero()[:, 1:].float().T / 128
    assert columns.mean().item() == pytest.approx(0.3, abs=0.01)
    assert rows.mean().item() == pytest.approx(0.1, abs=0.01)


def test_light_falls_from_the_side_of_the_sun() -> None:
    oak = EMPTY | dict(tree_count=1, tree_kind="oak", tree_x=0.5, tree_depth=0.6, season="summer")
    left, right = (render(sample_factors(8, **oak, sun_x=x), 128) for x in (0.1, 0.9))
    tree = (left.labels == CLASSES.index("tree")).float()
    brighter = luminance(right.day) - luminance(left.day)
    side = torch.linspace(-1, 1, 128).expand_as(brighter)
    assert ((brighter * side * tree).sum((1, 2)) / tree.sum((1, 2)) > 0).all()


def test_winter_is_white_and_labelled_so() -> None:
    winter, summer = (render(sample_factors(8, **EMPTY, season=s)) for s in ("winter", "summer"))
    assert share(winter, "grass").max() == 0 and share(winter, "snow").min() > 0.3
    assert share(summer, "grass").min() > 0.3
    ground = class_means(winter.day, winter.labels)[:, CLASSES.index("snow")]
    assert (ground > 0.5).all() and (ground.amax(1) - ground.amin(1) < 0.25).all()


def test_the_nearer_thing_hides_the_farther_one() -> None:
    both = dict(tree_count=1, tree_x=0.5, tree_kind="oak", tree_size=1.0)
    before, behind = (
        render(sample_factors(6, **(ONE_HOUSE | both), tree_depth=depth)) for depth in (0.5, 0.3)
    )
    house = ("wall", "roof", "window", "door")
    assert (share(before, *house) < 0.8 * share(behind, *house)).all()


# --- day and night ---------------------------------------------------------------------------


def test_lamps_count_at_night_only() -> None:
    lit, dark = (render(sample_factors(8, **ONE_HOUSE, house_lit=on), 128) for on in (1, 0))
    assert torch.equal(lit.day, dark.day) and torch.equal(lit.labels, dark.labels)
    window = CLASSES.index("window")
    warm, cold = (class_means(r.night, r.labels)[:, window] for r in (lit, dark))
    assert (warm[:, 0] - warm[:, 2] > 0.1).all(), "a lit window is yellow"
    assert (warm.mean(1) > cold.mean(1) + 0.2).all()
    spread = (lit.night.float() - dark.night.float()).sum(1) > 6
    assert (spread.sum((1, 2)) > 2 * (lit.labels == window).sum((1, 2))).all(), "and glows"


def test_night_is_darker_and_bluer(drawn) -> None:
    _, whole = drawn
    day, night = luminance(whole.day).mean((1, 2)), luminance(whole.night).mean((1, 2))
    assert (night < 0.75 * day).all()
    blue = whole.night.float().mean((2, 3))
    assert (blue[:, 2] > 1.15 * blue[:, 0]).all()


def test_night_can_be_read(drawn) -> None:
    """Neighbouring classes differ by more than 20 of 255 grey levels in half of the scenes.

    One or two levels are as much as an eye can just tell apart on a screen, so this is ten times
    as much; the ground is above a tenth of full brightness, where displays still show detail.
    """
    _, whole = drawn
    means = class_means(whole.night, whole.labels)
    for pair in (
        ("sky", "mountain"), ("sky", "tree"), ("sky", "cloud"), ("grass", "tree"),
        ("grass", "road"), ("grass", "water"), ("grass", "wall"), ("wall", "roof"),
        ("wall", "window"), ("mountain", "grass"), ("mountain", "snow"),
    ):  # fmt: skip
        first, second = (means[:, CLASSES.index(name)] for name in pair)
        apart = (first - second).norm(dim=1)
        apart = apart[~apart.isnan()]
        assert len(apart) > 10 and apart.median() > 20 / 255, (pair, apart.median())
    assert (luminance(whole.night)[:, 40:].mean((1, 2)) > 0.1).all()


def test_labels_agree_with_the_colours_of_the_day(drawn) -> None:
    _, whole = drawn
    means = class_means(whole.day, whole.labels)
    mean = {name: means[:, k].nanmean(0) for k, name in enumerate(CLASSES)}
    red, green, blue = 0, 1, 2
    assert mean["sky"].argmax() == blue and mean["water"][blue] > mean["grass"][blue] + 0.2
    assert mean["grass"].argmax() == green and mean["tree"].argmax() == green
    assert mean["roof"].argmax() == red and mean["door"].argmax() == red
    assert mean["sun or moon"].min() > 0.85 and mean["cloud"].min() > 0.8
    assert mean["snow"].min() > mean["mountain"].max() + 0.1
    for name in ("road", "mountain"):
        assert mean[name].max() - mean[name].min() < 0.12, f"{name} is nearly grey"
    assert mean["window"].mean() < mean["wall"].mean() - 0.1


def test_labels_end_where_the_picture_changes(drawn) -> None:
    """Across a border between two labels the picture changes far more than elsewhere."""
    _, whole = drawn
    for picture in (whole.day, whole.night):
        step = (picture[..., 1:].float() - picture[..., :-1].float()).abs().mean(1)
        border = whole.labels[..., 1:] != whole.labels[..., :-1]
        assert step[border].mean() > 3 * step[~border].mean()


def test_clouds_and_ridges_do_not_repeat() -> None:
    """No shift of a mountain range along itself brings it back: its correlation stays low."""
    factors = sample_factors(16, mountain_height=1.0, mountain_roughness=1.0)
    crest = Terrain(factors).crest(torch.linspace(0, 1, 256)[None], far=False)
    crest = crest - crest.mean(1, keepdim=True)
    for shift in range(48, 160, 4):
        a, b = crest[:, shift:], crest[:, :-shift]
        correlation = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()
        assert correlation.mean() < 0.4 and correlation.max() < 0.95


# --- the data sets ---------------------------------------------------------------------------


def test_data_set_has_pictures_labels_and_factors(cache: Path) -> None:
    data = scenes(6, 32)
    assert len(data) == 6 and data.pictures == ("image", "night")
    assert set(data.fields) == {"image", "night", "labels", *FACTORS}
    again = render(data.fields, 32)
    assert torch.equal(again.day, data.fields["image"])
    assert torch.equal(again.night, data.fields["night"])
    assert torch.equal(again.labels, data.fields["labels"])
    assert data[2]["image"].max() <= 1 and data[2]["labels"].dtype == torch.uint8
    assert "6 × landscapes" in data.describe() and "rendered" in data.describe()
    assert len(data.sheet(2, columns=2).axes) == 4


def test_data_set_is_a_prefix_and_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = scenes(3, 32), scenes(5, 32)
    assert few.digest() == many.take(range(3)).digest()
    assert few.digest() != scenes(3, 32, seed=1).digest()

    def never(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(landscapes, "render", never)
    assert scenes(3, 32).digest() == few.digest()
    monkeypatch.setattr(landscapes, "VERSION", landscapes.VERSION + 1)
    with pytest.raises(AssertionError, match="rendered again"):
        scenes(3, 32)


def test_unpaired_halves_share_no_scene_and_keep_their_twins(cache: Path) -> None:
    by_day, by_night = unpaired(5, 32)
    assert len(by_day) == len(by_night) == 5
    assert not set(by_day.fields["texture"].tolist()) & set(by_night.fields["texture"].tolist())
    day, night = render(by_day.fields, 32), render(by_night.fields, 32)
    assert torch.equal(by_day.fields["image"], day.day)
    assert torch.equal(by_day.fields["twin"], day.night)
    assert torch.equal(by_night.fields["image"], night.night)
    assert torch.equal(by_night.fields["twin"], night.day)
    assert by_day.pictures == by_night.pictures == ("image",)
    assert "night" not in by_day.fields and "by night" in by_night.describe()
    assert unpaired(3, 32)[1].digest() == by_night.take(range(3)).digest()


def test_labels_as_pictures(drawn) -> None:
    _, whole = drawn
    picture = colourise(whole.labels)
    assert picture.shape == whole.day.shape and picture.dtype == torch.uint8
    n, y, x = 3, 20, 40
    assert tuple(picture[n, :, y, x].tolist()) == PALETTE[int(whole.labels[n, y, x])]
    assert len(set(PALETTE)) == len(CLASSES) == len(PALETTE)
    for wrong in (whole.labels[0], whole.labels.float(), whole.labels + 200):
        with pytest.raises(ShapeError):
            colourise(wrong)


# --- parts -----------------------------------------------------------------------------------


def test_noise_has_no_edge_and_keeps_its_level() -> None:
    tile = scenes_noise.tiles().fractal
    u, v = torch.rand(2, 500, generator=torch.Generator().manual_seed(0)) * 20
    around = tile.at(u + scenes_noise.CELLS, v - scenes_noise.CELLS)
    assert torch.allclose(tile.at(u, v), around, atol=1e-3)
    side = scenes_noise.SIDE
    centre = (torch.tensor([7.5]) / side * scenes_noise.CELLS,) * 2
    assert torch.allclose(tile.at(*centre), tile.levels[0].view(side, side)[7, 7], atol=1e-5)
    fine, coarse = tile.at(u, v).std(), tile.at(u, v, step=0.5).std()
    assert 0 < coarse < fine


def test_hashed_numbers_are_even_and_differ_by_purpose() -> None:
    texture = torch.arange(4000) * 3
    first, second = scenes_noise.hashed(texture, 1), scenes_noise.hashed(texture, 2)
    bins = torch.histc(first, 10, 0, 1)
    assert first.min() >= 0 and first.max() < 1 and (bins - 400).abs().max() < 80
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 0.06
    assert torch.equal(first[::7], scenes_noise.hashed(texture[::7], 1))


def test_faces_of_houses_are_convex() -> None:
    """The middle of every face lies inside all its edges, and its corners on two of them."""
    for house in scenes_houses.HOUSES:
        for _, corners in house:
            planes = torch.tensor(scenes_houses._half_planes(corners))
            points = torch.tensor([*corners, torch.tensor(corners).mean(0).tolist()])
            inside = points @ planes[:, :2].T + planes[:, 2]
            assert inside[-1].min() > 0 and inside[:-1].min() > -1e-6
            assert ((inside[:-1].abs() < 1e-6).sum(1) == 2).all()


def test_info_says_that_scenes_are_rendered(cache: Path) -> None:
    data = scenes(1, 32)
    assert isinstance(data, base.Dataset) and data.info.synthetic and data.info.licence == "MIT"
