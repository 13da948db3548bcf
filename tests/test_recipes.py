"""Recipes: each name leads to a function, results are copied whole, and one is made in small."""

from __future__ import annotations

import inspect
import shutil
import signal
from pathlib import Path

import pytest
import torch

from coursekit import dcgan, recipes
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.core.timeline import of_topic
from coursekit.recipes import dcgan as dcgan_recipe

ENTRIES = [(topic, name) for topic, names in recipes.RECIPES.items() for name in names]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The course's data folder, empty."""
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path / "data")
    return tmp_path / "data"


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("topic", "name"), ENTRIES)
def test_every_recipe_is_there_and_takes_what_the_command_gives(topic: str, name: str) -> None:
    recipe = recipes.find(topic, name)
    first, *others = inspect.signature(recipe).parameters.values()
    assert first.name == "folder"
    assert {"steps", "seed"} <= {parameter.name for parameter in others}
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)
    assert inspect.getdoc(recipe)


@pytest.mark.parametrize(("topic", "name"), [("dcgan", "quick"), ("gatys", "course"), ("", "")])
def test_an_unknown_recipe_lists_those_there_are(topic: str, name: str) -> None:
    with pytest.raises(SettingError, match=f"no recipe '{name}' for '{topic}'") as told:
        recipes.find(topic, name)
    assert all(f"{topic} --recipe {name}" in str(told.value) for topic, name in ENTRIES)


def _with_style(folder: Path, *, steps: int = 3, style: str | None = None) -> list[Path]:
    return []


def test_a_recipe_gets_what_was_given_and_refuses_what_it_does_not_take() -> None:
    given = {"steps": None, "style": "starry_night", "photos": None}
    assert recipes.accepted(_with_style, given) == {"style": "starry_night"}
    with pytest.raises(SettingError, match="does not take --photos;"):
        recipes.accepted(_with_style, given | {"photos": Path("photos")})


# --- Copies ---------------------------------------------------------------------------------------


def test_publish_copies_into_the_topic_s_folder(tmp_path: Path, data: Path) -> None:
    files = [tmp_path / "course.safetensors", tmp_path / "course.timeline.zip"]
    for number in (1, 2):  # the second time over the first
        for file in files:
            file.write_text(f"{file.name} {number}")
        copied = recipes.publish(files, "dcgan")
        assert copied == [data / "checkpoints" / "dcgan" / file.name for file in files]
        assert [file.read_text() for file in copied] == [f"{file.name} {number}" for file in files]
        assert {file.name for file in copied[0].parent.iterdir()} == {file.name for file in files}
    assert all(file.is_file() for file in files)


def test_a_copy_that_fails_leaves_the_old_file(tmp_path: Path, data: Path, monkeypatch) -> None:
    file = tmp_path / "course.safetensors"
    file.write_text("old")
    recipes.publish([file], "dcgan")
    file.write_text("new and longer")

    def fails(source: Path, target: Path) -> None:
        Path(target).write_text("new a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(DataError, match=r"cannot be copied .*No space left"):
        recipes.publish([file], "dcgan")
    folder = data / "checkpoints" / "dcgan"
    assert [each.name for each in folder.iterdir()] == [file.name]
    assert (folder / file.name).read_text() == "old"
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "data_dir", lambda: data)
    with pytest.raises(DataError, match="cannot be copied"):
        recipes.publish([tmp_path / "missing"], "dcgan")


# --- The faces, in small --------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))
    for name, value in {"WIDTH": 2, "SIZE": 16, "BATCH": 4, "COUNT": 8}.items():
        monkeypatch.setattr(dcgan_recipe, name, value)
    monkeypatch.setattr(runtime, "best_device", lambda: torch.device("cpu"))


def test_faces_are_trained_published_and_loaded(small, tmp_path: Path, data: Path) -> None:
    files = dcgan_recipe.course(tmp_path / "run", steps=3, seed=4, progress=False)
    assert [file.name for file in files] == ["course.safetensors", "course.timeline.zip"]
    recipes.publish(files, "dcgan")
    generator, checkpoint = dcgan.load_generator()
    assert checkpoint.about["steps"] == 3
    assert checkpoint.about["seed"] == 4
    assert checkpoint.label() == "dcgan course, 8 rendered faces, 16×16, 3 steps"
    pictures = dcgan.samples(generator, dcgan.sample_latent(2, seed=1))
    assert pictures.shape == (2, 3, 16, 16)
    film = of_topic("dcgan")
    assert film.steps == [0, 1, 2, 3]
    assert film.about == "DCGAN, 8 rendered faces"


def test_an_interrupted_recipe_returns_nothing_and_goes_on(
    small, tmp_path: Path, monkeypatch
) -> None:
    whole = dcgan_recipe.course(tmp_path / "whole", steps=5, progress=False)
    step = dcgan.Game.step

    def interrupted(game: dcgan.Game, number: int, real: torch.Tensor):
        if number == 2:
            signal.raise_signal(signal.SIGINT)
        return step(game, number, real)

    monkeypatch.setattr(dcgan.Game, "step", interrupted)
    assert dcgan_recipe.course(tmp_path / "run", steps=5, progress=False) == []
    monkeypatch.setattr(dcgan.Game, "step", step)
    files = dcgan_recipe.course(tmp_path / "run", steps=5, progress=False)
    first, second = (checkpoints.read(found[0]).weights for found in (whole, files))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole[1].read_bytes() == files[1].read_bytes()
