"""Topic 14: scenes and scores, the comparison of two ways, and the recipes in small."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit import recipes, spade, spade_measure, spade_study
from coursekit.core import checkpoints, runtime, segmenter
from coursekit.core.errors import DataError, SettingError, ShapeError
from coursekit.core.timeline import Timeline, of_topic
from coursekit.datasets import scenes
from coursekit.recipes import spade as recipe
from coursekit.spade_study import MEASURES, WAYS, Run, Study

COUNT = 8  # scenes on the bench: by day and by night, more than the seven that styles move by


@pytest.fixture(scope="module")
def bench() -> spade_measure.Bench:
    return spade_measure.Bench(COUNT)


def tiny_painter(latent: int = 4) -> spade.Painter:
    runtime.seed_everything(3)
    settings = {"labels": len(scenes.CLASSES), "width": 2, "size": 64, "hidden": 2, "doublings": 3}
    encoder = spade.StyleEncoder(2, 64, latent) if latent else None
    painter = spade.Painter(spade.Generator(**settings, latent=latent), encoder)
    for number, parameter in enumerate(painter.parameters()):
        draw = runtime.generator(number)
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return painter.eval()


# --- Scenes


def test_every_scene_is_there_by_day_and_by_night() -> None:
    data = spade_measure.both_times(3, 5, size=32)
    found = data.batch(range(6))
    rendered = scenes.scenes(3, 32, seed=5).batch(range(3))
    assert torch.equal(found["image"][:3], rendered["image"])
    assert torch.equal(found["image"][3:], rendered["night"])
    assert torch.equal(found["labels"][:3], found["labels"][3:])
    assert torch.equal(found["labels"][:3], rendered["labels"])
    by_day = spade_measure.by_day(3, 5, size=32)
    assert len(by_day) == 3 and set(by_day.batch(range(3))) == {"image", "labels"}
    assert torch.equal(by_day.batch(range(3))["image"], found["image"][:3])


def test_held_out_scenes_are_not_those_of_the_training() -> None:
    held_out, seen = (
        spade_measure.by_day(2, seed, size=32).batch(range(2))["labels"]
        for seed in (spade_measure.HELD_OUT, spade_measure.TRAINING)
    )
    assert not torch.equal(held_out, seen)


def test_rare_classes_are_rare() -> None:
    labels = spade_measure.by_day(300).batch(range(300))["labels"].long()
    share = labels.flatten().bincount(minlength=len(scenes.CLASSES)) / labels.numel()
    rare = {name for name, part in zip(scenes.CLASSES, share.tolist(), strict=True) if part < 0.01}
    assert rare == set(spade_measure.RARE)


# --- Scores


def test_figures_by_hand() -> None:
    """Two pictures of 4 pixels; a class of `RARE` is called another one once."""
    names = ("sky", "window", "door")
    truth = torch.tensor([[[0, 0], [1, 1]], [[0, 0], [0, 2]]])
    found = torch.tensor([[[0, 0], [1, 0]], [[0, 0], [0, 2]]])
    figures = spade_measure.figures(segmenter.score(found, truth, names))
    assert figures["pixel accuracy"].value == pytest.approx(7 / 8)
    assert figures["mean IoU"].value == pytest.approx((5 / 6 + 1 / 2 + 1) / 3)
    assert figures["rare mean IoU"].value == pytest.approx((1 / 2 + 1) / 2)
    plain = segmenter.score(truth.clamp(max=0), truth.clamp(max=0), names)
    assert set(spade_measure.figures(plain)) == {"pixel accuracy", "mean IoU"}


def test_the_share_of_real_is_a_ratio_of_right_pixels() -> None:
    names, draw = ("a", "b"), runtime.generator(0)
    truth = torch.randint(2, (40, 6, 6), generator=draw)
    wrong = torch.rand(40, 6, 6, generator=draw) < 0.2
    real = segmenter.score(truth, truth, names)
    half = segmenter.score(torch.where(wrong, 1 - truth, truth), truth, names)
    found = spade_measure.relative(half, real)
    assert found.value == pytest.approx(1 - float(wrong.double().mean()))
    low, high = found.interval
    assert low < found.value < high and high - low < 0.1
    same = spade_measure.relative(half, half)
    assert same.value == 1 and same.interval == (1.0, 1.0)  # paired: both draw the same maps
    assert found == spade_measure.relative(half, real)
    with pytest.raises(SettingError, match="20 pictures against 40"):
        spade_measure.relative(segmenter.score(truth[:20], truth[:20], names), real)


def test_true_pictures_score_high_and_other_maps_do_not(bench: spade_measure.Bench) -> None:
    real = bench.score(bench.images)
    assert real.pixel_accuracy.value > 0.9
    other = bench.score(bench.images.roll(1, dims=0))
    assert other.pixel_accuracy.value < real.pixel_accuracy.value - 0.1
    assert float(bench.distance(bench.images).abs().max()) < 1e-3
    with pytest.raises(ShapeError):
        bench.score(bench.images[:3])


def test_a_report_measures_every_style(bench: spade_measure.Bench) -> None:
    painter = tiny_painter()
    report = bench.measure(painter)
    assert tuple(report.scores) == tuple(report.lpips) == spade_measure.STYLES
    pictures = spade.paint(painter, bench.labels, spade.style_of(painter, bench.images))
    expected = (bench.segmenter.predict(pictures) == bench.labels).double().mean()
    assert report.scores["its own"].pixel_accuracy.value == pytest.approx(float(expected), abs=0.01)
    near = float(bench.distance(pictures).mean())
    assert report.lpips["its own"].value == pytest.approx(near, rel=0.02)
    real = report.scores["its own"].pixel_accuracy.value / report.real.pixel_accuracy.value
    assert report.relative("its own").value == pytest.approx(real)
    with pytest.raises(SettingError, match="No style 'mine'; there are its own"):
        report.relative("mine")
    facts = json.loads(json.dumps(report.facts()))
    assert set(facts) == {"real pictures", "painted, style"}
    inside = facts["painted, style"]["random"]
    assert {"pixel accuracy", "mean IoU", "share of real", "LPIPS"} <= set(inside)
    assert inside["LPIPS"]["count"] == 2 * COUNT


def test_the_styles_are_what_they_are_called(bench: spade_measure.Bench) -> None:
    painter = tiny_painter()
    styles = bench.styles(painter, seed=2)
    own = spade.style_of(painter, bench.images)
    torch.testing.assert_close(styles["its own"], own)
    torch.testing.assert_close(styles["another picture's"][7], own[0])
    assert torch.equal(styles["random"], spade.sample_latent(len(own), 4, seed=2))
    assert not torch.equal(styles["random"], bench.styles(painter, seed=3)["random"])
    assert bench.styles(tiny_painter(0)) == {"none": None}


# --- The comparison


def made_up(gap: float = 0.1, seeds: int = 3) -> Study:
    """SPADE better by ``gap``, and by a little more from seed to seed."""
    runs = [
        Run(
            way,
            seed,
            5,
            1000 + number,
            1.5,
            dict.fromkeys(MEASURES, 0.5 + 0.02 * seed - gap * number),
        )
        for number, way in enumerate(WAYS)
        for seed in reversed(range(seeds))
    ]
    draw = runtime.generator(0)
    flat = torch.rand(4, 3, 3, 1, 1, generator=draw).expand(-1, -1, -1, 16, 16).contiguous()
    names = ("label map", *WAYS, "true picture")
    return Study(runs, dict.fromkeys(MEASURES, 0.9), dict(zip(names, flat, strict=True)))


def test_values_come_in_the_order_of_the_seeds() -> None:
    study = made_up()
    assert study.values("SPADE", "mean IoU") == pytest.approx([0.5, 0.52, 0.54])
    assert study.estimate("SPADE", "mean IoU").value == pytest.approx(0.52)
    for way, measure in (("pix2pixHD", "mean IoU"), ("SPADE", "FID")):
        with pytest.raises(SettingError, match=r"SPADE.*mean IoU"):
            study.values(way, measure)


def test_an_advantage_is_paired_by_seed() -> None:
    found = made_up(0.1).advantage("mean IoU")
    assert found.value == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1), abs=1e-6)  # the same gap at every seed
    wide = made_up(0.1).estimate("SPADE", "mean IoU").interval
    assert wide[1] - wide[0] > 0.05
    assert made_up(-0.2).advantage("mean IoU").value == pytest.approx(-0.2)


def test_the_table_says_everything() -> None:
    head, first, second, gap, real = made_up().rows()
    assert head == ["generator", "parameters", *MEASURES]
    assert [first[0], second[0], gap[0], real[0]] == [
        "SPADE", "concatenation", "SPADE − concatenation", "true pictures"
    ]  # fmt: skip
    assert first[1] == "1,000" and second[1] == "1,001"
    # Student's t with 2 degrees of freedom: 4.303 · 0.02 / √3 = 0.0497
    assert first[2] == "0.520 (0.470 to 0.570)" and second[2] == "0.420 (0.370 to 0.470)"
    assert gap[2] == "0.100 (0.100 to 0.100)" and real[2] == "0.900"
    assert len({len(row) for row in (head, first, second, gap, real)}) == 1


def test_a_study_is_kept_and_read(tmp_path: Path) -> None:
    study = made_up()
    paths = spade_study.save(study, tmp_path)
    assert [path.name for path in paths] == ["study.json", "study.jpg"]
    found = spade_study.load(paths[0])
    assert found.runs == study.runs and found.real == study.real
    assert list(found.pictures) == list(study.pictures)
    for name, row in study.pictures.items():
        inside = (..., slice(4, -4), slice(4, -4))  # JPEG mixes colours across borders
        torch.testing.assert_close(found.pictures[name][inside], row[inside], rtol=0, atol=0.05)
    assert found.rows() == study.rows()


def test_the_course_s_own_study_is_looked_for_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    with pytest.raises(DataError, match="--recipe study"):
        spade_study.load()
    folder = tmp_path / "checkpoints" / "spade"
    folder.mkdir(parents=True)
    spade_study.save(made_up(), folder)
    assert spade_study.load().rows() == made_up().rows()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "study.jpg").unlink(),
        lambda folder: (folder / "study.json").write_text("{"),
        lambda folder: (folder / "study.json").write_text("[]"),
        lambda folder: (folder / "study.json").write_text('{"rows": [], "runs": [], "real": {}}'),
        lambda folder: (folder / "study.jpg").write_bytes(b"no picture"),
    ],
    ids=["no sheet", "half a file", "a list", "no rows", "no picture"],
)
def test_a_damaged_study_is_named(tmp_path: Path, damage) -> None:
    path = spade_study.save(made_up(), tmp_path)[0]
    damage(tmp_path)
    with pytest.raises(DataError, match=r"no sound study at study\.json"):
        spade_study.load(path)


def test_both_ways_play_the_same_game() -> None:
    games = [spade_study.make_game(way) for way in WAYS]
    for game in games:
        assert game.perceptual is None and game.painter.encoder is None
        assert game.learning_rates == spade_study.RATES
    sizes = [sum(p.numel() for p in game.discriminator.parameters()) for game in games]
    assert sizes[0] == sizes[1]
    kinds = [type(game.painter.generator) for game in games]
    assert kinds == [spade.Generator, spade.ConcatGenerator]
    with pytest.raises(SettingError, match="no way 'U-Net'; there are SPADE, concatenation"):
        spade_study.make_game("U-Net")


def test_the_rows_that_a_study_keeps(bench: spade_measure.Bench) -> None:
    painted = {way: bench.images.roll(number + 1, 0) for number, way in enumerate(WAYS)}
    rows = spade_study.rows_of(bench, painted)
    assert list(rows) == ["label map", *WAYS, "true picture"]
    assert all(row.shape == (spade_study.SHOWN, 3, 64, 64) for row in rows.values())
    assert all(row.dtype == torch.uint8 for row in rows.values())
    assert torch.equal(rows["label map"], scenes.colourise(bench.labels[: spade_study.SHOWN]))
    unit = rows["true picture"].float() / 255
    torch.testing.assert_close(unit, bench.images[: spade_study.SHOWN], rtol=0, atol=0.003)


def test_judge_gives_the_figures_of_pictures(bench: spade_measure.Bench) -> None:
    found = spade_study.judge(bench, bench.images)
    assert tuple(found) == MEASURES
    right = (bench.segmenter.predict(bench.images) == bench.labels).double().mean()
    assert found["pixel accuracy"] == pytest.approx(float(right), abs=1e-4)
    assert spade_study.judge(bench, bench.images.roll(1, 0))["mean IoU"] < found["mean IoU"]


# --- The recipes, in small


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both recipes with few scenes, tiny networks and VGG-16 without its file."""
    classes = len(scenes.CLASSES)
    generator = {"labels": classes, "size": 64, "width": 2, "hidden": 2, "doublings": 3}
    changes = {
        "GENERATOR": generator | {"latent": 3},
        "ENCODER": {"width": 2, "size": 64, "latent": 3},
        "JUDGE": {"labels": classes, "width": 2, "layers": 2},
        "SCENES": 8,
        "BATCH": 2,
        "PRECISION": "float32",
    }
    for name, value in changes.items():
        monkeypatch.setattr(recipe, name, value)
    perceptual = spade.PerceptualLoss
    monkeypatch.setattr(
        spade,
        "PerceptualLoss",
        lambda **options: perceptual({"relu1_1": 1.0}, weights="random", **options),
    )
    for name in ("JUDGE", "SCENES", "BATCH", "PRECISION"):
        monkeypatch.setattr(spade_study, name, changes[name])
    shared = {"labels": classes, "size": 64, "doublings": 3}
    monkeypatch.setattr(spade_study, "SHARED", shared)
    ways = {
        "SPADE": (spade.Generator, {"width": 2, "hidden": 2}),
        "concatenation": (spade.ConcatGenerator, {"width": 2}),
    }
    monkeypatch.setattr(spade_study, "WAYS", ways)
    bench = spade_measure.Bench
    monkeypatch.setattr(spade_measure, "Bench", lambda count=COUNT, **kw: bench(count, **kw))
    monkeypatch.setattr(runtime, "best_device", lambda: torch.device("cpu"))
    yield


def test_the_course_s_painter_is_trained_published_and_loaded(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recipe.course(tmp_path / "run", steps=3, seed=4, progress=False)
    assert [file.name for file in files] == ["course.safetensors", "course.timeline.zip"]
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path / "data")
    recipes.publish(files, "spade")
    painter, checkpoint = spade.load()
    about = checkpoint.about
    assert about["steps"] == 3 and about["seed"] == 4 and about["recipe"] == "spade course"
    assert set(about["measured"]["painted, style"]) == set(spade_measure.STYLES)
    data = spade_measure.both_times(2)
    found = data.batch(range(4))
    style = spade.style_of(painter, found["image"])
    assert spade.paint(painter, found["labels"].long(), style).shape == (4, 3, 64, 64)
    film = Timeline.load(files[1])
    assert film.steps[-1] == 3 and 2 <= len(film) <= recipe.FRAMES


def test_an_interrupted_course_returns_nothing_and_goes_on(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recipe.course(tmp_path / "whole", steps=4, progress=False)
    plain = spade.Game.step

    def stopped(game: spade.Game, labels: Tensor, images: Tensor) -> dict[str, Tensor]:
        if game.ema.updates == 1:
            signal.raise_signal(signal.SIGINT)
        return plain(game, labels, images)

    monkeypatch.setattr(spade.Game, "step", stopped)
    assert recipe.course(tmp_path / "run", steps=4, progress=False) == []
    monkeypatch.setattr(spade.Game, "step", plain)
    files = recipe.course(tmp_path / "run", steps=4, progress=False)
    first, second = (checkpoints.read(found[0]).weights for found in (whole, files))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_painter_for_the_file_is_rounded_and_plain() -> None:
    painter = tiny_painter().train()
    painter.generator.precision = painter.encoder.precision = "bfloat16"
    rounded = recipe.in_half_precision(painter)
    assert rounded is not painter and not rounded.training and painter.training
    assert rounded.generator.precision == rounded.encoder.precision == "float32"
    assert painter.generator.precision == "bfloat16"
    for mine, theirs in zip(
        rounded.state_dict().values(), painter.state_dict().values(), strict=True
    ):
        expected = theirs.half().float() if theirs.is_floating_point() else theirs
        assert torch.equal(mine, expected) and mine.dtype == expected.dtype


def test_the_study_compares_both_ways_and_goes_on_where_it_stopped(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = {"steps": 2, "seeds": 2, "held_out": COUNT, "progress": False}
    files = recipe.study(tmp_path / "run", **options)
    assert [file.name for file in files] == ["study.json", "study.jpg"]
    study = spade_study.load(files[0])
    done = [(run.way, run.seed, run.steps) for run in study.runs]
    assert done == [(way, seed, 2) for seed in (0, 1) for way in ("SPADE", "concatenation")]
    assert all(set(run.figures) == set(MEASURES) for run in study.runs)
    assert list(study.pictures) == ["label map", "SPADE", "concatenation", "true picture"]
    assert len(study.pictures["SPADE"]) == COUNT
    assert study.real["pixel accuracy"] > 0.9
    monkeypatch.setattr(spade.Game, "step", lambda *given: pytest.fail("trained again"))
    again = spade_study.load(recipe.study(tmp_path / "run", **options)[0])
    timeless = [
        [dataclasses.replace(run, seconds=0.0) for run in each.runs] for each in (study, again)
    ]
    assert timeless[0] == timeless[1]
    assert capsys.readouterr().out == ""


def test_an_interrupted_study_returns_nothing(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = spade.Game.step

    def stopped(game: spade.Game, labels: Tensor, images: Tensor) -> dict[str, Tensor]:
        signal.raise_signal(signal.SIGINT)
        return plain(game, labels, images)

    monkeypatch.setattr(spade.Game, "step", stopped)
    options = {"steps": 2, "seeds": 1, "held_out": COUNT, "progress": False}
    assert recipe.study(tmp_path, **options) == []
    assert not (tmp_path / "study.json").exists()


# --- What is committed


def test_the_course_s_painter_shows_what_the_map_says(bench: spade_measure.Bench) -> None:
    """At least nine tenths of what true pictures score, and each in the style it was given."""
    painter, checkpoint = spade.load()
    assert not painter.training and checkpoint.about["recipe"] == "spade course"
    header = checkpoint.about["measured"]["painted, style"]
    assert all(header[style]["share of real"]["interval"][0] >= 0.9 for style in header)
    report = bench.measure(painter)
    for style in spade_measure.STYLES:
        assert report.relative(style).value > 0.9
        found = report.scores[style].pixel_accuracy.value
        assert found == pytest.approx(header[style]["pixel accuracy"]["value"], abs=0.05)
    assert report.lpips["its own"].value < report.lpips["random"].value


def test_the_course_s_painter_knows_day_from_night(bench: spade_measure.Bench) -> None:
    """The same maps in the styles of the other half of the pictures: the light changes sides."""
    painter, _ = spade.load()
    style = spade.style_of(painter, bench.images)
    days, nights = spade.paint(painter, bench.labels, style.roll(COUNT, dims=0)).chunk(2)
    assert float(days.mean()) < float(bench.images[:COUNT].mean()) - 0.1
    assert float(nights.mean()) > float(bench.images[COUNT:].mean()) + 0.1


def test_the_course_s_film_ends_with_the_training() -> None:
    film = of_topic("spade")
    assert 4 <= len(film) <= recipe.FRAMES + 1
    assert film.steps[-1] == spade.load()[1].about["steps"]


def test_the_course_s_study_is_a_fair_one() -> None:
    study = spade_study.load()
    for way in WAYS:
        runs = [run for run in study.runs if run.way == way]
        assert sorted(run.seed for run in runs) == list(spade_study.SEEDS)
        assert {run.steps for run in runs} == {spade_study.STEPS}
    counts = [next(r.parameters for r in study.runs if r.way == way) for way in WAYS]
    assert abs(counts[0] / counts[1] - 1) < 2e-3
    assert study.real["pixel accuracy"] > 0.9
    assert list(study.pictures) == ["label map", *WAYS, "true picture"]
    assert all(row.shape == (spade_study.SHOWN, 3, 64, 64) for row in study.pictures.values())
    assert len(study.rows()) == 5


@pytest.mark.parametrize("way", WAYS)
def test_one_training_of_the_study_is_the_same_from_the_same_seed(way: str, small: None) -> None:
    first, second, other = (
        spade_study.train(way, seed, steps=2, progress=False)[0] for seed in (1, 1, 2)
    )
    numbers = [torch.cat([p.flatten() for p in each.parameters()]) for each in (first, second)]
    torch.testing.assert_close(*numbers)
    assert not torch.equal(numbers[0], torch.cat([p.flatten() for p in other.parameters()]))
