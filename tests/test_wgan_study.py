"""Topic 08's study: the probe, the correlations, critics in the plane, and what is committed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coursekit import dcgan, wgan, wgan_study
from coursekit.core import checkpoints, runtime, timeline
from coursekit.core.errors import DataError, SettingError
from coursekit.recipes import wgan as recipe
from coursekit.wgan_study import Protocol, Study


def small_networks() -> tuple[nn.Module, nn.Module]:
    return dcgan.MLPGenerator(4, 8), dcgan.MLPDiscriminator(8)


def mean_of_first_layer(generator: nn.Module) -> dict[str, float]:
    return {"fid": generator.layers[0].weight.double().mean().item()}


# --- Watching a training -------------------------------------------------------------------------


@pytest.mark.parametrize("method", wgan_study.METHODS)
def test_every_method_is_seen_after_the_same_number_of_updates(method: str) -> None:
    run = wgan_study.observe(
        method, small_networks, mean_of_first_layer, updates=30, looks=3, batch=8
    )
    assert [record["updates"] for record in run.records] == [10, 20, 30]
    last = mean_of_first_layer(run.generator)["fid"]
    assert run.records[-1]["fid"] == last != run.records[0]["fid"]
    assert not run.interrupted
    clipped = max(p.abs().max().item() for p in run.critic.parameters()) <= wgan.CLIP + 1e-8
    assert clipped == (method == "clipping")


def test_looking_does_not_change_the_training_and_a_resume_sees_the_same(tmp_path: Path) -> None:
    def seen(looks: int, folder: Path | None = None) -> wgan_study.StudyRun:
        return wgan_study.observe(
            "penalty",
            small_networks,
            mean_of_first_layer,
            updates=40,
            looks=looks,
            batch=8,
            folder=folder,
        )

    often, seldom = seen(4), seen(2)
    assert [r["fid"] for r in often.records[1::2]] == [r["fid"] for r in seldom.records]
    first = seen(4, tmp_path)
    again = seen(4, tmp_path)  # everything comes from the checkpoint
    assert often.records == first.records == again.records


def test_the_records_hold_the_means_since_the_look_before() -> None:
    probe = wgan_study.Probe(2, lambda: {"fid": 0.0})
    for number, value in enumerate([1.0, 3.0, 10.0, 20.0], 1):
        probe.after(number, {"loss": torch.tensor(value)})
    assert [(r["step"], r["loss"]) for r in probe.records] == [(2, 2.0), (4, 15.0)]


def test_updates_must_divide_and_methods_must_exist() -> None:
    with pytest.raises(SettingError, match="31 updates"):
        wgan_study.observe("penalty", small_networks, mean_of_first_layer, updates=31, looks=3)
    with pytest.raises(SettingError, match="no method 'LSGAN'"):
        wgan_study.make_game("LSGAN", *small_networks())


def test_bad_networks_have_four_hidden_layers_and_nothing_that_helps() -> None:
    generator, critic = wgan_study.bad_networks()
    assert isinstance(generator, wgan_study.PlainGenerator)
    kinds = [type(part) for part in generator.layers]
    assert kinds == [nn.Linear, nn.ReLU] * 4 + [nn.Linear]
    images = generator(torch.randn(2, generator.latent))
    assert images.shape == (2, 1, 28, 28) and images.abs().max() <= 1
    assert critic(images).shape == (2,)


def test_good_networks_are_those_of_topic_07_with_128_units() -> None:
    generator, critic = wgan_study.good_networks()
    assert isinstance(generator, dcgan.MLPGenerator) and isinstance(critic, dcgan.MLPDiscriminator)
    widths = {part.out_features for part in generator.modules() if isinstance(part, nn.Linear)}
    assert widths == {128, 28 * 28}


def test_a_loss_as_the_distance_that_it_stands_for() -> None:
    """A discriminator that always says ½ has the loss 2 log 2: the distributions are one."""
    assert wgan_study.distance("GAN", {"d_loss": 2 * math.log(2)}) == pytest.approx(0)
    assert wgan_study.distance("GAN", {"d_loss": 0.0}) == pytest.approx(math.log(2))
    assert wgan_study.distance("penalty", {"critic_loss": -2.5}) == 2.5


# --- Reading it ----------------------------------------------------------------------------------


def made_up(slope: dict[str, float]) -> Study:
    """Runs whose loss is a straight function of FID, so that every ρ is known."""
    runs = []
    for method in wgan_study.METHODS:
        for seed in range(3):
            fids = [100.0, 50.0, 60.0, 20.0, 30.0, 10.0, 12.0, 5.0]
            losses = [slope[method] * fid for fid in fids]
            if method == "GAN":
                terms = [{"d_loss": 2 * (math.log(2) - x), "g_loss": -x} for x in losses]
            else:
                terms = [{"critic_loss": -x} for x in losses]
            records = [
                {"updates": 10 * i, "fid": fid, "classes": [100] * 10, **term}
                for i, (fid, term) in enumerate(zip(fids, terms, strict=True))
            ]
            runs.append({"networks": "good", "method": method, "seed": seed, "records": records})
    return Study(Protocol(warm_up=1, checkpoints=8), "made up", runs)


def test_correlations_of_losses_whose_order_is_known() -> None:
    found = made_up({"GAN": -1.0, "clipping": 2.0, "penalty": 0.1}).correlations()
    assert found["GAN: log 2 − L_D/2"]["values"].value == pytest.approx(-1)
    assert found["GAN: L_G"]["values"].value == pytest.approx(1)
    for name in ("clipping: −L_critic", "WGAN-GP: −L_critic"):
        assert found[name]["values"].value == pytest.approx(1)
        assert found[name]["changes"].value == pytest.approx(1)
        # Without the warm-up: ranks 6 7 4 5 2 3 1 against 1 … 7.
        assert found[name]["clock"].value == pytest.approx(1 - 6 * 106 / (7 * 48))


def test_modes_are_the_classes_with_a_share() -> None:
    assert wgan_study.modes([100] * 10) == 10
    assert wgan_study.modes([0, 0, 980, 20, 0, 0, 0, 0, 0, 0]) == 2
    assert wgan_study.modes([0, 0, 981, 19, 0, 0, 0, 0, 0, 0]) == 1


def test_a_study_is_what_was_saved(tmp_path: Path) -> None:
    study = made_up({"GAN": 1.0, "clipping": 1.0, "penalty": 1.0})
    found = wgan_study.load(wgan_study.save(study, tmp_path / "study.json"))
    assert found == study
    (tmp_path / "study.json").write_text("{}")
    for name in ("study.json", "none.json"):
        with pytest.raises(DataError, match="coursekit train wgan"):
            wgan_study.load(tmp_path / name)


# --- Critics in the plane ------------------------------------------------------------------------


def test_gradients_at_each_layer_by_hand() -> None:
    """Two linear layers in a row: at the last −1/N or 1/N a score, before it times its weight."""
    critic = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        critic[1].weight.copy_(torch.tensor([[3.0, 4.0]]))
    real, fake = torch.ones(4, 2), torch.zeros(4, 2)
    last = math.sqrt(8 * (1 / 4) ** 2)
    found = wgan_study.activation_gradients(critic, real, fake)
    assert found == pytest.approx([5 * last, last])


def test_a_vanished_gradient_is_not_rounded_to_zero() -> None:
    """1e-25 is a number in float32, its square is none."""
    critic = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    nn.init.constant_(critic[1].weight, 1e-25)
    found = wgan_study.activation_gradients(critic, torch.ones(1, 1), torch.zeros(1, 1))
    assert found == pytest.approx([1e-25 * math.sqrt(2), math.sqrt(2)], rel=1e-6, abs=0)


def test_with_clipping_the_gradient_vanishes_or_explodes_with_depth() -> None:
    """Gulrajani et al. 2017, fig. 1b, for critics whose weights have all reached ±c."""
    points = wgan_study.eight_heaps(32, runtime.generator(0))
    ratios = {}
    for c in (0.01, 0.3):
        runtime.seed_everything(0)
        critic = wgan_study.plain_network(2, *[64] * 6, 1)
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.copy_(c * torch.sign(parameter + 0.02))
        gradients = wgan_study.activation_gradients(critic, points, points + 1)
        ratios[c] = gradients[0] / gradients[-1]
    assert ratios[0.01] < 1e-2 and ratios[0.3] > 1e2


def test_a_critic_alone_learns_the_distance_of_two_heaps() -> None:
    """Points at 0 and at 3, so that a slope s costs λ(s − 1)² − 3s: least at 1 + 3/(2λ)."""
    heaps = torch.zeros(16, 1), torch.full((16, 1), 3.0)
    runtime.seed_everything(0)
    critic = wgan_study.plain_network(1, 32, 32, 1)
    wgan_study.fit_critic(critic, lambda: heaps, steps=250, penalty_weight=50, learning_rate=5e-3)
    apart = (critic(heaps[0]) - critic(heaps[1])).mean().item()
    assert apart == pytest.approx(3 * (1 + 3 / 100), rel=0.1)
    clipped = wgan_study.plain_network(1, 8, 1)
    wgan_study.fit_critic(clipped, lambda: heaps, steps=3, clip=0.02)
    assert max(each.abs().max().item() for each in clipped.parameters()) <= 0.02 + 1e-8


def test_heaps_lie_on_a_circle_and_a_surface_is_the_critic() -> None:
    points = wgan_study.eight_heaps(400, runtime.generator(0), spread=0.01)
    assert points.norm(dim=1).sub(2).abs().max() < 0.1

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1] + 10 * x[:, 1:]

    axis, scores = wgan_study.surface(Sum(), extent=1.0, points=3)
    torch.testing.assert_close(axis, torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(scores[2], torch.tensor([9.0, 10.0, 11.0]))


# --- What is committed ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_the_course_s_study_has_every_run_of_its_protocol(first: bool) -> None:
    study = wgan_study.load(first=first)
    assert study.protocol == (wgan_study.FIRST if first else Protocol())
    runs = [(run["networks"], run["method"], run["seed"]) for run in study.runs]
    assert sorted(runs) == sorted(recipe.plan(study.protocol))
    for run in study.runs:
        good = run["networks"] == "good"
        looks = study.protocol.checkpoints if good else study.protocol.bad_checkpoints
        updates = study.protocol.updates if good else study.protocol.bad_updates
        assert len(run["records"]) == looks
        assert run["records"][-1]["updates"] == updates
        counts = {sum(record["classes"]) for record in run["records"]}
        assert counts == {study.protocol.samples}
    for row in study.correlations().values():
        assert all(-1 <= estimate.value <= 1 for estimate in row.values())


def test_the_course_s_generator_is_small_and_reproduces_its_own_figures() -> None:
    path = checkpoints.path_of("wgan", "course")
    assert path.stat().st_size < 500_000
    assert path.with_name("course.timeline.zip").stat().st_size < 250_000
    generator, checkpoint = wgan.load_generator()
    measured = wgan_study.Instrument()(generator)
    # Weights in half precision: nearly the same images.
    assert measured["fid"] == pytest.approx(checkpoint.about["metrics"]["fid"], rel=0.1)
    assert wgan_study.modes(measured["classes"]) == 10
    film = timeline.of_topic("wgan")
    assert film.steps[0] == 0 and film.steps[-1] == checkpoint.about["steps"]


@pytest.mark.slow
def test_the_recipe_makes_all_its_files_and_goes_on_where_it_was(tmp_path: Path) -> None:
    short = Protocol(
        updates=50, checkpoints=5, warm_up=1, seeds=(0, 1), samples=120, bad_updates=10,
        bad_checkpoints=2,
    )  # fmt: skip
    first = recipe.study(tmp_path, short, progress=False)
    assert [file.name for file in first] == ["study.json", "bad-gan.png", "bad-penalty.png"]
    content = json.loads(first[0].read_text())
    first[0].unlink()
    assert json.loads(recipe.study(tmp_path, short, progress=False)[0].read_text()) == content
    made = recipe.generator(tmp_path, steps=2, progress=False)
    assert [file.name for file in made] == ["course.safetensors", "course.timeline.zip"]
    assert checkpoints.read(made[0]).about["metrics"]["classes"]
