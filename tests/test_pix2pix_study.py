"""Topic 10, the study: what is kept is whole, what is read is what was written, the control."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coursekit import pix2pix, pix2pix_study, pix2pix_tasks
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset, Info
from coursekit.pix2pix_study import INPUT, NEIGHBOUR, TRUTH, Block, Outcome
from coursekit.recipes import pix2pix_study as recipes


def pairs(count: int, seed: int, size: int = 64) -> Dataset:
    """Noise and its channels in another order; the upper half counts."""
    random = runtime.generator(seed)
    drawn = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=random)
    region = torch.zeros(count, 1, size, size, dtype=torch.bool)
    region[:, :, : size // 2] = True
    fields = {"input": drawn, "target": drawn.flip(1), "region": region}
    return Dataset(Info("pairs", "noise", "none", True, "the test"), fields, ("input", "target"))


@pytest.mark.parametrize("name", ["objectives", "patches"])
def test_an_ablation_holds_every_variant_and_every_baseline_on_the_same_drawings(name: str) -> None:
    block = pix2pix_study.load(name)
    variants = pix2pix_study.BLOCKS[name]
    assert [*block.outcomes] == [*(each.name for each in variants), TRUTH, NEIGHBOUR, INPUT]
    for variant in variants:  # each was trained as the protocol says
        about = block.outcomes[variant.name].about
        for setting in ("steps", "batch", "seed", "layers", "skips", "adversarial", "l1_weight"):
            assert about[setting] == getattr(variant, setting)
    held_out = len(pix2pix_tasks.task("emoji", "test", 64))
    for outcome in block.outcomes.values():
        assert all(len(values) == held_out for values in outcome.values.values())
        assert outcome.pictures.shape[0] == pix2pix_study.SHOWN


@pytest.mark.parametrize("task", [each.task for each in pix2pix_study.APPLICATIONS])
def test_every_application_beats_its_nearest_neighbour(task: str) -> None:
    difference = pix2pix_study.load(task).differences("LPIPS", task)[NEIGHBOUR]
    assert difference.interval is not None and difference.interval[0] > 0


def test_the_control_was_measured_on_the_checkpoint_s_drawings_after_as_many_steps() -> None:
    block, about = pix2pix_study.load("control"), pix2pix.load()[1].about
    assert {block.outcomes[name].about["steps"] for name in ("L1", "L1 + cGAN")} == {about["steps"]}
    for measure in ("L1", "LPIPS"):
        kept = about["measured"]["generator"][measure]
        found = block.outcomes["L1 + cGAN"].estimate(measure)
        assert found.count == kept["count"]
        assert found.value == pytest.approx(kept["value"], abs=1e-3)


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    shown = torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8, generator=runtime.generator(1))
    values = {"L1": [0.25, 0.5], "LPIPS": [0.0, 1.0], "colourfulness": [3.0, 4.0]}
    outcomes = {name: Outcome(name, {"steps": 3}, values, shown.flip(1)) for name in ("one", "two")}
    files = pix2pix_study.save(Block("mine", shown, outcomes), tmp_path, "mine", ending=".png")
    found = pix2pix_study.read(files[0])
    assert found.name == "mine" and [*found.outcomes] == ["one", "two"]
    assert torch.equal(found.inputs, shown)
    assert torch.equal(found.outcomes["two"].pictures, shown.flip(1))
    assert found.outcomes["one"].values == values and found.outcomes["one"].about == {"steps": 3}
    assert found.outcomes["one"].against(found.outcomes["two"], "L1").value == 0
    assert "0.375" in str(found) and "<td>0.375" in found._repr_html_()


def test_a_damaged_or_unknown_study_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "study-mine.json"
    damaged.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="--recipe study"):
        pix2pix_study.read(damaged)
    with pytest.raises(SettingError, match="control"):
        pix2pix_study.load("nothing")
    with pytest.raises(SettingError, match="nobody"):
        pix2pix_study.load("control").differences("L1", "nobody")


def test_the_control_trains_on_l1_alone_and_measures_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = {"train": pairs(20, seed=2), "test": pairs(9, seed=3)}
    monkeypatch.setattr(pix2pix_tasks, "task", lambda name, half, size: halves[half])
    games = []
    train = recipes.recipe.train
    monkeypatch.setattr(
        recipes.recipe, "train", lambda game, *rest: (games.append(game), train(game, *rest))[1]
    )
    files = recipes.control(tmp_path, steps=2, progress=False)
    assert [file.name for file in files] == ["study-control.json", "study-control.jpg"]
    assert not games[0].adversarial and games[0].l1_weight == 100
    block = pix2pix_study.read(files[0])
    assert [*block.outcomes] == ["L1 + cGAN", "L1", TRUTH, NEIGHBOUR, INPUT]
    assert block.outcomes["L1"].about["steps"] == 2
    assert block.outcomes["L1 + cGAN"].about["steps"] == pix2pix.load()[1].about["steps"]
    assert all(len(each.values["LPIPS"]) == 9 for each in block.outcomes.values())


def test_the_folder_of_the_checkpoint_stays_small() -> None:
    folder = checkpoints.path_of("pix2pix").parent
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2_000_000
