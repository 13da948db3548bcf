"""``coursekit train``: what it hands to a recipe, and what it does with what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coursekit import cli, recipes
from coursekit.core import runtime


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _recipe(asked: list[Any], names: tuple[str, ...]) -> Any:
    def recipe(folder: Path, **options: int) -> list[Path]:
        """Write files of a mebibyte."""
        asked.append((folder, options))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"0" * 2**20)
        return [folder / name for name in names]

    return recipe


def test_train_hands_on_what_was_given(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(recipes, "find", lambda *_: _recipe(asked, ("a.zip", "b.zip")))
    assert cli.main(["train", "dcgan"]) == 0
    assert cli.main(["train", "wgan", "--recipe", "study", "--steps", "7", "--seed", "0"]) == 0
    assert cli.main(["train", "wgan", "--folder", "elsewhere"]) == 0
    assert asked == [
        (Path("runs/dcgan-course"), {}),
        (Path("runs/wgan-study"), {"steps": 7, "seed": 0}),
        (Path("elsewhere"), {}),
    ]
    out = capsys.readouterr().out
    assert out.count("1.00 MiB") == 6
    assert str(Path("runs/dcgan-course/a.zip")) in out


def test_train_publishes_when_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: here / "data")
    monkeypatch.setattr(recipes, "find", lambda *_: _recipe([], ("a.zip",)))
    published = here / "data" / "checkpoints" / "dcgan" / "a.zip"
    cli.main(["train", "dcgan"])
    assert not published.exists()
    assert cli.main(["train", "dcgan", "--publish"]) == 0
    assert published.stat().st_size == 2**20
    assert str(published) in capsys.readouterr().out


def test_train_stopped_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "find", lambda *_: _recipe([], ()))
    monkeypatch.setattr(recipes, "publish", lambda *_: pytest.fail("nothing to publish"))
    assert cli.main(["train", "dcgan", "--publish"]) == 130
    out = capsys.readouterr().out
    assert "The same command goes on" in out and str(Path("runs/dcgan-course")) in out


@pytest.mark.parametrize("arguments", [["gatys"], ["dcgan", "--recipe", "none"]])
def test_train_without_such_a_recipe(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("There is no recipe") and "dcgan --recipe course" in error
    assert error.count("\n") == 1
