"""The recipes of topic 13, made in small: what they return, keep, and go on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from coursekit import recipes, stylegan2_measure, stylegan2_styles
from coursekit.core import recognise, runtime
from coursekit.core.timeline import of_topic
from coursekit.recipes import stylegan2 as recipe
from coursekit.stylegan2_adain import VARIANTS, Droplets
from coursekit.stylegan2_networks import Generator, Sizes


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))
    sizes = {"size": 16, "base": 64, "most": 4}
    settings = {"SIZES": sizes, "STUDY_SIZES": sizes, "LATENT": 6, "BATCH": 4, "COUNT": 8}
    counts = {"SAMPLES": 50, "STUDY_SAMPLES": 50, "STUDY_PAIRS": 4, "SHOWN": 4}
    for name, value in (settings | counts | {"PRECISION": "float32"}).items():
        monkeypatch.setattr(recipe, name, value)
    monkeypatch.setattr(runtime, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path / "data")


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No FID and no LPIPS: weights that a bare machine lacks. What was asked for is noted."""
    asked: list[str] = []

    def row(path: Path, generator: object, real: object) -> dict[str, object]:
        asked.append(path.parent.name)
        return {"FID": {"value": float(len(asked))}, "path length": {}, "dominance": []}

    monkeypatch.setattr(recipe, "_row", row)
    monkeypatch.setattr(recipe, "measured", lambda generator: {"FID": "not here"})
    monkeypatch.setattr(stylegan2_measure, "real_statistics", lambda count, size: None)
    return asked


def test_the_rate_falls_twice() -> None:
    shares = [recipe.rate(number, 18) for number in range(1, 19)]
    assert shares == [*[1.0] * 9, 0.75, 0.5, 0.25, *[1.0] * 5, 0.5]
    assert recipe.rate(1, 1) == 1


def test_faces_are_trained_published_and_loaded(small, unmeasured, tmp_path: Path) -> None:
    files = recipe.course(tmp_path / "run", steps=3, seed=4, progress=False)
    assert [file.name for file in files] == ["course.safetensors", "course.timeline.zip"]
    recipes.publish([files[0]], "stylegan2")
    recipes.publish([files[1]], "stylegan2")
    generator, checkpoint = stylegan2_styles.load_generator()
    assert checkpoint.about["steps"] == 3
    assert checkpoint.about["measured"] == {"FID": "not here"}
    assert checkpoint.label() == "stylegan2 course, 8 rendered faces, 16×16, 3 steps"
    w = stylegan2_styles.draw_w(generator, 2, seed=1)
    assert stylegan2_styles.pictures(generator, w).shape == (2, 3, 16, 16)
    assert float(generator.mapping.w_avg.abs().sum()) > 0
    assert of_topic("stylegan2").steps == [0, 1, 2, 3]


def test_the_study_is_one_protocol_and_is_not_done_twice(
    small, unmeasured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recipe.study(tmp_path / "run", steps=2, seed=1, progress=False)
    assert [file.name for file in files] == [
        "study.json",
        "study-0.jpg",
        "study-1.jpg",
        "study-adain.safetensors",
        "study-2.jpg",
        "study-demodulated.safetensors",
        "study-3.jpg",
        "study-4.jpg",
    ]
    found = json.loads(files[0].read_text(encoding="utf-8"))
    assert list(found["rows"]) == list(found["variants"]) == list(VARIANTS)
    assert found["steps"] == 2
    recipes.publish(files, "stylegan2")
    for name, block in (("study-adain", "adain"), ("study-demodulated", "demodulated")):
        generator, checkpoint = stylegan2_styles.load_generator(name)
        assert checkpoint.about["settings"]["block"] == block
        assert generator.synthesis.b16.conv1.block == block

    def fails(*arguments: object) -> None:
        raise AssertionError("a step was played again")

    monkeypatch.setattr("coursekit.stylegan2.Game.step", fails)
    again = recipe.study(tmp_path / "run", steps=2, seed=1, progress=False)
    assert again[0].read_text(encoding="utf-8") == files[0].read_text(encoding="utf-8")


def test_a_row_is_measured_once_and_kept(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole row, with stand-ins for the two instruments that need weights."""
    monkeypatch.setattr(recipe, "LPIPS", lambda: lambda a, b: (a - b).square().flatten(1).sum(1))
    real = stylegan2_measure.metrics.Score("FID", 12.5, (12.0, 13.0), 50, 0.95, "toy", 50)
    monkeypatch.setattr(stylegan2_measure, "fid", lambda generator, real, count: real)
    generator = recipe.make_game(torch.device("cpu")).generator.eval().requires_grad_(False)
    path = tmp_path / "row.json"
    first = recipe._row(path, generator, real)
    assert first["FID"]["extractor"] == "toy"
    assert set(first["path length"]) == {"z", "w"}
    assert [Droplets(**each).layer for each in first["dominance"]] == ["b16.conv0", "b16.conv1"]
    assert generator.synthesis.precision == "float32"
    assert recipe._row(path, None, None) == json.loads(path.read_text(encoding="utf-8"))


def test_what_is_measured_of_the_course_s_generator(small, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the course's own recogniser, which is part of every checkout."""
    monkeypatch.undo()
    monkeypatch.setattr(recipe, "SAMPLES", 110)
    torch.manual_seed(0)
    generator = Generator(Sizes(64, base=256, most=4), latent=6, mapping_layers=1)
    generator = generator.eval().requires_grad_(False)
    assert recognise.path_of("faces").is_file()
    with pytest.warns(UserWarning, match="rank deficient"):
        found = recipe.measured(generator)
    assert "faces recogniser" in found["FID"]["extractor"]
    assert 20 < found["values asked for"] < 40
    assert found["values that lost half"]  # an untrained generator draws one face
    assert found["lowest ratio"][1] < 0.5
