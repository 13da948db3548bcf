"""Topic 10, the study: what is kept is whole, what is read is what was written, the control."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coursekit import pix2pix, pix2pix_measure, pix2pix_study, pix2pix_tasks
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset, Info
from coursekit.pix2pix_networks import receptive_field
from coursekit.pix2pix_study import INPUT, NEIGHBOUR, TRUTH, Block, Outcome, Trained, Variant
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


def test_a_game_is_what_its_variant_says() -> None:
    variant = Variant("mine", size=32, adversarial=False, l1_weight=7.0, width=4, d_width=4)
    game = pix2pix_study.make_game(variant)
    assert variant.depth == 5 == game.generator.depth
    assert (game.adversarial, game.l1_weight) == (False, 7.0)
    assert game.learning_rates == pix2pix_study.LEARNING_RATES
    sees = receptive_field(variant.layers)
    assert sees == 34 and receptive_field(pix2pix_study.PATCHES[0].layers) == 1


def test_a_variant_is_trained_goes_on_and_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = {"train": pairs(12, seed=4), "test": pairs(9, seed=5)}
    monkeypatch.setattr(pix2pix_tasks, "task", lambda name, half, size: halves[half])
    small = {"width": 4, "max_width": 8, "d_width": 4, "layers": 1, "batch": 2, "steps": 3}
    variant = Variant("mine", **small, seed=6)
    trained = pix2pix_study.train(variant, tmp_path, progress=False)
    assert isinstance(trained, Trained) and trained.result.steps == 3
    again = pix2pix_study.train(variant, tmp_path, progress=False)
    assert again.result.steps == 3
    made = pix2pix_study.outputs(trained.generator, halves["test"])
    assert torch.equal(made, pix2pix_study.outputs(again.generator, halves["test"]))
    assert made.shape == (9, 3, 64, 64) and made.min() >= 0 and made.max() <= 1
    about = pix2pix_study.settings(variant, trained)
    assert {name: about[name] for name in small} == small and about["seed"] == 6
    parameters = sum(each.numel() for each in trained.generator.parameters())
    assert about["generator parameters"] == parameters
    kept = pix2pix_study.shown(made)
    assert kept.dtype == torch.uint8 and kept.shape == (pix2pix_study.SHOWN, 3, 64, 64)
    torch.testing.assert_close(kept / 255, made[: len(kept)], atol=0.5 / 255 + 1e-6, rtol=0)


def test_baselines_need_no_training_and_the_truth_has_no_error() -> None:
    train, test = pairs(4, seed=7), pairs(9, seed=8)
    train.fields["input"][2] = test.fields["input"][5]  # so that its neighbour is known
    found = pix2pix_study.baselines(train, test)
    assert list(found) == [TRUTH, NEIGHBOUR, INPUT]
    assert torch.equal(found[TRUTH], test.fields["target"] / 255)
    assert torch.equal(found[INPUT], test.fields["input"] / 255)
    assert torch.equal(found[NEIGHBOUR][5], train.fields["target"][2] / 255)
    scores = {name: pix2pix_study.judge(each, test) for name, each in found.items()}
    assert set(scores[TRUTH]) == set(pix2pix_measure.MEASURES)
    assert scores[TRUTH]["L1"] == scores[TRUTH]["LPIPS"] == [0.0] * 9
    upper = (found[INPUT] - found[TRUTH])[:, :, :32].abs().mean((1, 2, 3))
    assert scores[INPUT]["L1"] == pytest.approx(upper.tolist(), abs=1e-5)


def test_the_folder_of_the_checkpoint_stays_small() -> None:
    folder = checkpoints.path_of("pix2pix").parent
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2_000_000
