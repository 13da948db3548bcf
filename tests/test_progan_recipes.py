"""The recipes of topic 12, in small: faces, a folder of pictures, the study, the pace."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from coursekit import progan, progan_measure, recipes
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import DataError, SettingError, TrainingError
from coursekit.core.images import load_image, save_image
from coursekit.core.timeline import Timeline, of_topic
from coursekit.progan import Level, Schedule
from coursekit.recipes import progan as recipe

TINY = Schedule((Level(4, 4, 0, 8), Level(8, 4, 8, 8), Level(16, 4, 8, 8)))


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))
    sizes = {"SIZE": 16, "BASE": 16, "MOST": 4, "LATENT": 4, "COUNT": 12, "HELD_OUT": 130}
    study = {"STUDY": TINY, "STUDY_COUNT": 12, "STUDY_FACES": 130, "SEEDS": 1, "SHOWN": 2}
    for name, value in {**sizes, **study, "SCHEDULE": TINY}.items():
        monkeypatch.setattr(recipe, name, value)
    monkeypatch.setattr(runtime, "best_device", lambda: torch.device("cpu"))


def test_the_course_s_schedule_is_sound() -> None:
    """Of the recipe itself, as it is before it is made small."""
    import importlib

    real = importlib.reload(recipe)
    schedule = real.planned(64)
    assert [level.resolution for level in schedule.levels] == [4, 8, 16, 32, 64]
    assert real.planned(128).levels[:5] == schedule.levels
    assert abs(real.planned(64, 1000).steps - 1000) <= len(schedule.levels)
    assert [level.resolution for level in real.STUDY.levels] == [4, 8, 16, 32]
    with pytest.raises(SettingError, match="size=4 is none"):
        real.planned(4)


def test_faces_are_grown_published_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recipe.course(tmp_path / "run", size=16, seed=4, progress=False)
    names = ["course.safetensors", "course.timeline.zip", "course.jpg"]
    assert [file.name for file in files] == names
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path / "data")
    monkeypatch.setattr(recipes.runtime, "data_dir", lambda: tmp_path / "data")
    recipes.publish(files, "progan")
    generator, checkpoint = progan.load_generator()
    about = checkpoint.about
    assert about["steps"] == TINY.steps and about["seed"] == 4
    assert Schedule(about["schedule"]) == TINY
    assert checkpoint.label().startswith("progan course, 12 faces with every factor known, 16×16")
    assert {"fid", "swd", "kept", "lost"} == set(about["measured"]) == set(about["floor"])
    assert progan.samples(generator, torch.zeros(2, 4)).shape == (2, 3, 16, 16)
    film = of_topic("progan")
    stages = {TINY.at(max(step, 1)).stage.resolution for step in film.steps}
    assert film.steps[0] == 0 and stages == {4, 8, 16}
    assert load_image(files[2]).shape == (1, 3, 8 * 18 + 2, 8 * 18 + 2)


def test_a_stopped_course_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while the second level fades in; the file is that of a whole run."""
    whole = recipe.course(tmp_path / "whole", size=16, progress=False)
    play = progan.Game.play

    def interrupted(game: progan.Game, place: progan.Place, feed: progan.Feed):
        if place.stage.resolution == 8 and place.seen == 4:
            signal.raise_signal(signal.SIGINT)
        return play(game, place, feed)

    monkeypatch.setattr(progan.Game, "play", interrupted)
    assert recipe.course(tmp_path / "run", size=16, progress=False) == []
    monkeypatch.setattr(progan.Game, "play", play)
    files = recipe.course(tmp_path / "run", size=16, progress=False)
    first, second = (checkpoints.read(found[0]).weights for found in (whole, files))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert Timeline.load(whole[1]).steps == Timeline.load(files[1]).steps


def test_any_folder_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = torch.Generator().manual_seed(1)
    for number in range(6):
        save_image(torch.rand(1, 3, 20, 30, generator=random), folder / f"{number}.png")
    files = recipe.course(tmp_path / "run", size=8, photos=folder, progress=False)
    about = checkpoints.read(files[0]).about
    assert about["data"] == "6 pictures, 8×8" and "measured" not in about
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture"):
        recipe.course(tmp_path / "other", photos=tmp_path / "empty", size=8, progress=False)


def test_the_study_leaves_out_one_thing_at_a_time() -> None:
    runs = recipe.runs(TINY)
    everything = runs["all"]
    assert len(runs) == 6 and everything.rules == progan.ALL
    for name, run in runs.items():
        other_rules = run.rules != everything.rules
        other_schedule = run.schedule != everything.schedule
        assert other_rules + other_schedule == (name != "all"), name
        assert run.schedule.images == everything.schedule.images


def test_the_study_is_made_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One variant breaks down on the way: it is said so, and the others go on."""
    train = recipe.train

    def breaks(folder: Path, *arguments: object, **options: object):
        game, result = train(folder, *arguments, **options)
        if not options["rules"].equalised:
            raise TrainingError("Step 3: …", result=result, term="penalty", checkpoint=None)
        return game, result

    monkeypatch.setattr(recipe, "train", breaks)
    monkeypatch.setattr(
        recipe,
        "runs",
        lambda schedule: {
            "all": recipe.Run(progan.ALL, schedule),
            "broken": recipe.Run(progan.Ingredients(equalised=False), schedule),
        },
    )
    files = recipe.study(tmp_path, progress=False)
    assert [file.name for file in files] == ["study.json", "study.timeline.zip"]
    found = progan_measure.load_study(files[0])
    assert found.names == ["all", "broken"]
    assert found.of("all", progan_measure.fid_of)[0] > 0
    assert found.runs[1]["broken"] == "penalty"
    assert found.about["floor"]["fid"]["value"] < found.runs[0]["fid"]["value"]
    film = Timeline.load(files[1])
    assert len(film) == 2 and film.picture(0).shape == film.picture(1).shape


def test_the_pace_is_timed_at_every_resolution(tmp_path: Path, capsys) -> None:
    (file,) = recipe.pace(tmp_path / "run", steps=1)
    found = json.loads(file.read_text())
    each = found["seconds a step"]
    assert {size: sorted(times) for size, times in each.items()} == {
        "4": ["stable"],
        "8": ["fade", "stable"],
        "16": ["fade", "stable"],
    }
    assert all(t["clock"] > 0 for times in each.values() for t in times.values())
    by_hand = sum(t["clock"] * 2 for times in each.values() for t in times.values()) / 3600
    assert found["hours"]["clock"] == pytest.approx(by_hand, abs=0.006)
    assert json.loads(capsys.readouterr().out) == found
