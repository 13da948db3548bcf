"""Topic 11: the study as it is read back, its table, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coursekit import cyclegan, cyclegan_networks, cyclegan_shapes, cyclegan_study
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.core.estimates import Estimate
from coursekit.core.show import tile
from coursekit.core.timeline import Timeline
from coursekit.recipes import cyclegan as recipe

SHOWN = 6


def estimate(value: float, name: str = "LPIPS") -> dict[str, object]:
    interval = [value - 0.01, value + 0.01]
    return {"name": name, "value": value, "interval": interval, "count": 200, "level": 0.95}


def measured(value: float) -> dict[str, object]:
    return {name: estimate(value, name) for name in (*cyclegan_study.MEASURES, "mean IoU")}


def sheet(seed: int, count: int) -> Tensor:
    """Pictures of one colour each, so that JPEG keeps them; the last one nearly white."""
    colours = 0.8 * torch.rand(count, 3, 1, 1, generator=runtime.generator(seed))
    colours[-1] = 0.9
    return colours.expand(count, 3, 64, 64)


def write(folder: Path) -> Path:
    """A study as the recipe writes it, with made-up figures."""
    runs, film = {}, Timeline(about="made up")
    for number, name in enumerate((*cyclegan_study.UNPAIRED, *cyclegan_study.PAIRED)):
        unpaired = name in cyclegan_study.UNPAIRED
        facts = {"day → night": measured(0.1 * (number + 1)), "steps": 100 + number}
        if unpaired:
            facts |= {"night → day": measured(0.5), "cycle of days": estimate(7.0)}
            facts |= {"nights kept": estimate(3.0), "weights": {"cycle": 10.0, "identity": 5.0}}
        runs[name] = facts
        film.add(number + 1, sheet(number, (2 if unpaired else 1) * SHOWN), {})
    path = folder / "study.json"
    about = {"recipe": "cyclegan study", "seed": 3, "scenes": 40, "runs": runs}
    path.write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
    film.save(folder / "study.timeline.zip")
    return path


def change(path: Path, edit) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_study_is_read_back(tmp_path: Path) -> None:
    study = cyclegan_study.load(write(tmp_path))
    assert (study.seed, study.scenes, study.steps("no cycle")) == (3, 40, 102)
    found = study.estimates("no identity")["PSNR"]
    assert found == Estimate("PSNR", 0.2, (0.19, pytest.approx(0.21)), 200)
    assert study.estimates("neither", "night → day")["LPIPS"].value == 0.5
    assert {name: each.value for name, each in study.kept("all terms").items()} == {
        "cycle of days": 7.0,
        "nights kept": 3.0,
    }


def test_its_pictures_are_cut_apart(tmp_path: Path) -> None:
    study = cyclegan_study.load(write(tmp_path))
    whole = sheet(1, 2 * SHOWN)
    for found, expected in (
        (study.nights("no identity"), whole[:SHOWN]),
        (study.days("no identity"), whole[SHOWN:]),
        (study.nights("pairs"), sheet(4, SHOWN)),
    ):
        assert found.shape == expected.shape
        middle = (..., slice(16, 48), slice(16, 48))  # JPEG mixes the rim with its neighbours
        torch.testing.assert_close(found[middle], expected[middle], atol=0.03, rtol=0)


@pytest.mark.parametrize("count", [2, 6, 8, 11, 16])
def test_cut_undoes_tile(count: int) -> None:
    pictures = 0.9 * torch.rand(count, 3, 64, 64, generator=runtime.generator(count))
    assert torch.equal(cyclegan_study.cut(tile(pictures)[None]), pictures)
    with pytest.raises(ValueError, match="64-pixel"):
        cyclegan_study.cut(tile(pictures[..., :32])[None])


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    study = cyclegan_study.load(write(tmp_path))
    for ask in (study.steps, study.estimates, study.kept, study.nights, study.days):
        with pytest.raises(SettingError, match="no run 'everything'; there are all terms"):
            ask("everything")
    with pytest.raises(SettingError, match="was measured day → night, not 'night → day'"):
        study.estimates("pairs", "night → day")
    with pytest.raises(SettingError, match="no way back"):
        study.kept("pairs")
    with pytest.raises(SettingError, match="day to night only"):
        study.days("pairs, longer")


def test_the_table_has_a_line_a_run_and_says_which_way_is_better(tmp_path: Path) -> None:
    study = cyclegan_study.load(write(tmp_path))
    table = study.table()
    assert list(table.rows) == [*cyclegan_study.UNPAIRED, *cyclegan_study.PAIRED]
    assert list(study.table("night → day").rows) == list(cyclegan_study.UNPAIRED)
    head, first, *_ = str(table).splitlines()
    assert head.split("  ")[-1] == "label accuracy ↑" and "LPIPS ↓" in head
    assert first.split() == ["all", "terms", "0.100", "(0.090", "to", "0.110)", "0.1", "(0.1",
                             "to", "0.1)", "0.100", "(0.090", "to", "0.110)"]  # fmt: skip
    assert repr(table) == str(table)
    shown = table._repr_html_()
    assert shown.count("<tr>") == 7 and "<td>0.300 (0.290 to 0.310)</td>" in shown


def test_a_table_may_have_gaps_and_single_measurements() -> None:
    once = Estimate("LPIPS", 0.25, None, 1)
    table = cyclegan_study.Table({"a <b>": {"LPIPS": once}}, ("LPIPS", "PSNR"))
    assert table.cells()[1] == ("a <b>", "0.250", "")
    assert "a &lt;b&gt;" in table._repr_html_()


# --- Damage


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.pop("runs"),
        lambda content: content["runs"].pop("no cycle"),
        lambda content: content["runs"].update(more=content["runs"]["pairs"]),
        lambda content: content["runs"]["pairs"].pop("day → night"),
        lambda content: content["runs"]["all terms"].pop("night → day"),
        lambda content: content["runs"]["all terms"].pop("cycle of days"),
        lambda content: content["runs"]["all terms"]["day → night"].pop("PSNR"),
        lambda content: content["runs"]["neither"]["day → night"]["LPIPS"].pop("interval"),
        lambda content: content["runs"]["neither"]["day → night"].update(LPIPS=0.1),
        lambda content: content["runs"]["neither"].pop("steps"),
        lambda content: content.pop("seed"),
        lambda content: content.update(runs=[1, 2]),
    ],
)
def test_a_study_that_lacks_something_is_refused(tmp_path: Path, edit) -> None:
    path = write(tmp_path)
    change(path, edit)
    with pytest.raises(DataError, match=r"no sound study study\.json.*--recipe study"):
        cyclegan_study.load(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text("[1", encoding="utf-8")
    with pytest.raises(DataError, match="no sound study"):
        cyclegan_study.load(path)
    path.unlink()
    with pytest.raises(DataError, match="no sound study"):
        cyclegan_study.load(path)
    write(tmp_path)
    film = Timeline(about="of other runs")
    film.add(1, sheet(0, SHOWN), {})
    film.save(tmp_path / "study.timeline.zip")
    with pytest.raises(DataError, match="no sound study"):
        cyclegan_study.load(path)
    (tmp_path / "study.timeline.zip").unlink()
    with pytest.raises(DataError, match="no timeline"):
        cyclegan_study.load(path)


# --- The course's own study


def test_the_course_s_study_says_what_the_notebook_says() -> None:
    study = cyclegan_study.load()
    assert len({study.steps(name) for name in cyclegan_study.UNPAIRED}) == 1
    assert study.steps("pairs") == study.steps("all terms") < study.steps("pairs, longer")
    for way in cyclegan_study.WAYS:
        whole, neither = (study.estimates(name, way) for name in ("all terms", "neither"))
        assert whole["LPIPS"].interval[1] < neither["LPIPS"].interval[0]
        assert whole["label accuracy"].interval[0] > neither["label accuracy"].interval[1]
    kept = {name: study.kept(name)["nights kept"] for name in ("all terms", "no identity")}
    assert kept["no identity"].interval[0] > kept["all terms"].interval[1]
    assert study.nights("neither").shape == study.days("no cycle").shape == (6, 3, 64, 64)
    assert study.nights("pairs").shape == (6, 3, 64, 64)


# --- How far a generator sees


def seen(blocks: int, halvings: int, place: int, size: int = 128) -> tuple[int, int]:
    """How far the input reaches that moves one output pixel, left and right, by its gradient."""
    network = cyclegan_networks.ResNetGenerator(width=2, blocks=blocks, halvings=halvings)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm2d | nn.ReLU | nn.Tanh):
                setattr(module, name, nn.Identity())
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.05)
    x = torch.zeros(1, 3, size, size, requires_grad=True)
    centre = size // 2 + place
    network(x)[0, 0, centre, centre].backward()
    columns = x.grad[0].abs().sum(dim=(0, 1)).nonzero().flatten()
    return centre - int(columns[0]), int(columns[-1]) - centre


@pytest.mark.parametrize(("blocks", "halvings"), [(0, 0), (1, 0), (0, 1), (2, 1), (3, 2)])
def test_reach_is_what_the_gradient_says(blocks: int, halvings: int) -> None:
    found = min(min(seen(blocks, halvings, place)) for place in range(2**halvings))
    assert cyclegan_networks.reach(blocks, halvings) == found


def test_reach_at_the_published_settings() -> None:
    assert cyclegan_networks.reach(9, 2) == 81
    with pytest.raises(SettingError, match="count from 0"):
        cyclegan_networks.reach(-1, 2)


# --- The hidden message


def test_the_discs_checkpoint_hides_a_message_that_noise_destroys() -> None:
    translators, checkpoint = cyclegan.load("discs")
    assert checkpoint.about["recipe"] == "cyclegan discs"
    coloured = cyclegan_shapes.discs(20, seed=77).batch(range(20))["image"]
    blue = cyclegan_shapes.discs(20, colour=cyclegan_shapes.BLUE, seed=77)
    blue = blue.batch(range(20))["image"]

    def error(start: Tensor) -> float:
        back = cyclegan.translate(translators.to_x, start, noisy=True)
        return float(cyclegan_shapes.colour_error(back, coloured).mean())

    made = cyclegan.translate(translators.to_y, coloured)
    assert float(cyclegan_shapes.colour_error(made, blue).mean()) < 0.1
    noise = torch.randn(made.shape, generator=runtime.generator(5))
    assert 2 * error(made) < error(made + 0.3 * noise)
    assert 3 * error(made) < error(blue)


@pytest.mark.slow
def test_the_recipe_of_the_discs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "DISCS", 8)
    (weights,) = recipe.discs(tmp_path, steps=2, progress=False)
    about = checkpoints.read(weights).about
    assert about["steps"] == 2 and about["settings"] == recipe.SMALL
    assert about["measured"]["translation to blue"]["count"] == recipe.HELD_OUT_DISCS
