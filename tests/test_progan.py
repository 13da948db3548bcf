"""ProGAN's game: the schedule, real images at a stage, both steps, the average, exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit import dcgan, progan, wgan
from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.timeline import Timeline
from coursekit.datasets.base import Dataset, Info
from coursekit.exercises import progan_training
from coursekit.progan import Feed, Game, Level, Schedule, Stage, Widths

WIDTHS = Widths(16, base=32, most=8)
SCHEDULE = Schedule((Level(4, 4, 0, 12), Level(8, 4, 16, 8), Level(16, 2, 6, 4)))


def pictures(count: int = 24, size: int = 16, seed: int = 3) -> Dataset:
    """Smooth random pictures, so that averaging them down leaves something."""
    coarse = torch.rand(count, 3, 4, 4, generator=runtime.generator(seed))
    image = F.interpolate(coarse, size=size, mode="bilinear").mul(255).round().byte()
    info = Info("toys", "toy pictures", "MIT", synthetic=True, source="a test")
    return Dataset(info, {"image": image})


def small_game(seed: int = 0, schedule: Schedule = SCHEDULE, **settings: object) -> Game:
    torch.manual_seed(seed)
    return Game(*progan.networks(WIDTHS, latent=6, **settings), schedule)


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


# --- The schedule


def test_the_published_schedule() -> None:
    """Appendix A: 800k images a phase, 16 a batch up to 128 pixels, then 14, 6, 3."""
    schedule = progan.published()
    assert [level.resolution for level in schedule.levels] == [4 * 2**n for n in range(9)]
    assert [level.batch for level in schedule.levels] == [16] * 6 + [14, 6, 3]
    assert schedule.levels[0].steps == 50_000
    assert schedule.levels[1].steps == 100_000
    assert abs(schedule.images - 17 * 800_000) <= sum(level.batch for level in schedule.levels)
    assert progan.published(64).levels == schedule.levels[:5]
    with pytest.raises(SettingError, match="size=48"):
        progan.published(48)


def test_every_step_has_its_place() -> None:
    places = [SCHEDULE.at(number) for number in range(1, SCHEDULE.steps + 1)]
    assert SCHEDULE.steps == 3 + 6 + 5 and SCHEDULE.images == 12 + 24 + 10
    assert [place.stage.resolution for place in places] == [4] * 3 + [8] * 6 + [16] * 5
    alphas = [place.stage.alpha for place in places]
    assert alphas[:3] == [1, 1, 1]
    assert alphas[3:9] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert alphas[9:] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert [place.level.batch for place in places] == [4] * 9 + [2] * 5
    assert SCHEDULE.at(SCHEDULE.steps + 100).stage == Stage(16)
    with pytest.raises(SettingError, match="from 1"):
        SCHEDULE.at(0)


@pytest.mark.parametrize(("fade", "stable"), [(5, 7), (9, 2)])
def test_the_exercise_agrees_with_the_schedule(fade: int, stable: int) -> None:
    """One image a step: then images seen and steps are the same."""
    levels = [Level(r, 1, fade if r > 4 else 0, stable) for r in (4, 8, 16)]
    schedule = Schedule(tuple(levels))
    for images in range(60):
        asked = progan_training.stage_at(images, 4, 16, fade, stable)
        assert asked == pytest.approx(tuple(schedule.at(images + 1).stage))


def test_other_schedules_made_from_one() -> None:
    twice, little = SCHEDULE.scaled(2), SCHEDULE.scaled(0.01)
    assert twice.images == 2 * SCHEDULE.images
    assert [level[:2] for level in little.levels] == [level[:2] for level in SCHEDULE.levels]
    assert little.steps == 5  # a step a phase, the first level has one phase
    plain, at_once = SCHEDULE.without_fade_in(), SCHEDULE.at_once()
    assert plain.images == at_once.images == SCHEDULE.images
    assert all(plain.at(number).stage.alpha == 1 for number in range(1, plain.steps + 1))
    assert [level.resolution for level in at_once.levels] == [16]
    with pytest.raises(SettingError, match="share"):
        SCHEDULE.scaled(0)


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (Level(4, 4, 0, 8), Level(16, 4, 8, 8)),
        (Level(4, 4, 8, 8),),
        (Level(4, 0, 0, 8),),
        (Level(4, 4, 0, 0),),
        (Level(4, 4, 0, 8), Level(8, 4, -8, 16)),
    ],
)
def test_what_is_no_schedule_is_refused(levels: tuple[Level, ...]) -> None:
    with pytest.raises(SettingError):
        Schedule(levels)


def test_a_game_needs_networks_of_all_resolutions() -> None:
    with pytest.raises(SettingError, match="resolution=32"):
        small_game(schedule=Schedule((Level(32, 2, 0, 4),)))


# --- Real images


def test_real_images_are_averaged_down() -> None:
    images = torch.rand(2, 3, 16, 16, generator=runtime.generator(4))
    found = progan.real_at(images, Stage(4))
    assert found.shape == (2, 3, 4, 4)
    torch.testing.assert_close(found[1, 2, 0, 3], images[1, 2, :4, 12:].mean())
    torch.testing.assert_close(progan.real_at(images, Stage(16)), images)


def test_real_images_fade_in_as_generated_ones_do() -> None:
    images = torch.rand(2, 3, 16, 16, generator=runtime.generator(5))
    start, middle, end = (progan.real_at(images, Stage(8, alpha)) for alpha in (0.0, 0.3, 1.0))
    coarse = progan.real_at(images, Stage(4))
    torch.testing.assert_close(start, F.interpolate(coarse, scale_factor=2))
    torch.testing.assert_close(middle, 0.7 * start + 0.3 * end)


@pytest.mark.parametrize("shape", [(2, 3, 16, 12), (2, 3, 20, 20), (3, 16, 16)])
def test_images_that_cannot_be_averaged_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="averaged down"):
        progan.real_at(torch.zeros(shape), Stage(16, 0.5))


def test_a_feed_gives_each_level_its_batches_and_goes_on() -> None:
    feed = Feed(pictures(), SCHEDULE, seed=7)
    shapes = [tuple(feed.take(SCHEDULE.at(number)).shape) for number in (1, 4, 9, 11)]
    assert shapes == [(4, 3, 4, 4), (4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 16, 16)]
    second = Feed(pictures(), SCHEDULE, seed=7)
    second.load_state_dict(feed.state_dict())
    other = Feed(pictures(), SCHEDULE, seed=8)
    place = SCHEDULE.at(9)
    expected = feed.take(place)
    assert torch.equal(second.take(place), expected)
    assert not torch.equal(other.take(place), expected)
    with pytest.raises(SettingError, match="another schedule"):
        Feed(pictures(), SCHEDULE.scaled(2), seed=7).load_state_dict(feed.state_dict())


# --- The steps


def inputs(resolution: int = 8) -> tuple[Tensor, Tensor]:
    random = runtime.generator(11)
    return tuple(torch.randn(4, 3, resolution, resolution, generator=random) for _ in range(2))


def test_the_critic_s_step_follows_the_formula() -> None:
    """One step of gradient descent against the loss of appendix A.1, written out here."""
    stage, (real, fake) = Stage(8, 0.4), inputs()
    critic = small_game().critic
    names, parameters = zip(*critic.named_parameters(), strict=True)
    before = values(critic)
    torch.manual_seed(5)
    share = torch.rand(4).view(-1, 1, 1, 1)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, stage).sum(), between, create_graph=True)
    scores = critic(real, stage)
    drift, penalty = (scores**2).mean(), ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    loss = critic(fake, stage).mean() - scores.mean() + 3 * penalty + 0.2 * drift
    slopes = dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))

    torch.manual_seed(5)
    optimiser = torch.optim.SGD(critic.parameters(), lr=0.01)
    terms = progan.discriminator_step(
        critic, optimiser, real, fake, stage, penalty_weight=3.0, drift_weight=0.2
    )
    assert set(terms) == {"wasserstein", "penalty", "drift", "d_real", "d_fake"}
    assert not any(term.requires_grad for term in terms.values())
    torch.testing.assert_close(terms["penalty"], penalty.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["drift"], drift.detach(), rtol=1e-4, atol=1e-5)
    for name, now in values(critic).items():
        moved = 0 if slopes[name] is None else 0.01 * slopes[name]
        torch.testing.assert_close(now, before[name] - moved, rtol=1e-4, atol=1e-5)


def test_drift_alone_brings_the_scores_back() -> None:
    """Nothing to tell apart and no penalty: only the distance from 0 is left."""
    torch.manual_seed(0)
    critic, (real, _) = progan.networks(WIDTHS, latent=6)[1], inputs()
    with torch.no_grad():
        critic.blocks["4"][-1].bias += 5.0
    optimiser = torch.optim.SGD(critic.parameters(), lr=1e-2)
    found = []
    for _ in range(30):
        terms = progan.discriminator_step(
            critic, optimiser, real, real, Stage(8), penalty_weight=0.0, drift_weight=1.0
        )
        found.append(float(terms["d_real"].abs()))
    assert found[-1] < 0.8 * found[0]


def test_the_generator_s_step_leaves_the_critic() -> None:
    game, stage = small_game(), Stage(8, 0.5)
    before = values(game.critic)
    fake = game.generator(dcgan.sample_latent(4, 6, seed=1), stage)
    terms = progan.generator_step(game.critic, game.g_optimiser, fake, stage)
    assert set(terms) == {"g_loss"} and torch.isfinite(terms["g_loss"])
    for name, now in game.critic.state_dict().items():
        assert torch.equal(now, before[name])
    assert all(p.grad is None and p.requires_grad for p in game.critic.parameters())
    assert any(p.grad is not None for p in game.generator.parameters())


@pytest.mark.parametrize("number", [1, 4, 6, 10])
def test_a_step_moves_the_layers_in_use_and_no_others(number: int) -> None:
    game = small_game()
    before = values(game.generator), values(game.critic)
    stage = SCHEDULE.at(number).stage
    game.step(number, Feed(pictures(), SCHEDULE))
    assert game.place == SCHEDULE.at(number)
    for old, network in zip(before, (game.generator, game.critic), strict=True):
        for name, now in network.state_dict().items():
            part, resolution = name.split(".")[:2]
            used = int(resolution) <= stage.resolution
            if "rgb" in part:  # at the stage; of the resolution below too, while fading
                below = stage.alpha < 1 and int(resolution) == stage.resolution // 2
                used = int(resolution) == stage.resolution or below
            if not used:
                assert torch.equal(now, old[name]), name
            elif "weight" in name and stage.alpha not in (0, 1):
                assert not torch.equal(now, old[name]), name


@pytest.mark.parametrize("ingredient", ["equalised", "pixel_norm", "minibatch_stddev"])
def test_a_game_without_an_ingredient_is_another_game(ingredient: str) -> None:
    """The same seed, the same images: what was left out is felt, and the game goes on."""
    rules = progan.Ingredients(**{ingredient: False})
    found = []
    for game in (small_game(), small_game(rules=rules)):
        feed = Feed(pictures(), SCHEDULE)
        torch.manual_seed(9)
        terms = [game.step(number, feed) for number in (4, 5)]
        assert all(torch.isfinite(term) for each in terms for term in each.values())
        found.append(float(terms[-1]["d_fake"]))
    assert abs(found[0] - found[1]) > 1e-4


def test_bfloat16_says_about_the_same() -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        game = small_game(precision=precision)
        torch.manual_seed(9)
        found.append(game.step(6, Feed(pictures(), SCHEDULE)))
    for name in ("wasserstein", "penalty", "d_real"):
        first, second = (float(each[name]) for each in found)
        assert second == pytest.approx(first, abs=0.1, rel=0.1), name


def test_colours_are_learned_at_4_pixels() -> None:
    """Red pictures: after a few rounds the generator's are red as well."""
    image = torch.zeros(32, 3, 4, 4, dtype=torch.uint8)
    image[:, 0] = 255
    red = Dataset(pictures().info, {"image": image})
    schedule = Schedule((Level(4, 8, 0, 800),))
    game = small_game(schedule=schedule)
    game.learning_rate = 5e-3
    for optimiser in (game.g_optimiser, game.d_optimiser):
        optimiser.param_groups[0]["lr"] = 5e-3
    z = dcgan.sample_latent(16, 6, seed=1)

    def error() -> float:
        made = progan.samples(game.generator, z, Stage(4))
        return float((made - image[:16] / 255).abs().mean())

    before = error()
    progan.train(game, Feed(red, schedule), preview=None, progress=False)
    assert error() < 0.5 * before


# --- The average that grows


def test_layers_that_are_not_in_use_are_left_alone() -> None:
    game = small_game()
    with torch.no_grad():
        for parameter in game.generator.parameters():
            parameter += 1.0
    before = values(game.ema.module)
    game.ema.resolution = 8
    game.ema.update()
    assert game.ema.ages == {4: 1, 8: 1, 16: 0}
    for name, now in game.ema.module.state_dict().items():
        moved = 0.0 if ".16." in name else 1 - 2 / 11
        torch.testing.assert_close(now, before[name] + moved, msg=name)


def test_a_new_level_is_as_quick_as_the_first_one_was() -> None:
    """Ages differ: the old layers move little, the new ones take most of the new value."""
    game = small_game()
    game.ema.ages[4], game.ema.resolution = 20_000, 8
    with torch.no_grad():
        for parameter in game.generator.parameters():
            parameter += 1.0
    before = values(game.ema.module)
    game.ema.update()
    now = game.ema.module.state_dict()
    old, new = "blocks.4.1.conv.weight", "blocks.8.1.conv.weight"
    torch.testing.assert_close(now[old], before[old] + 0.001)
    torch.testing.assert_close(now[new], before[new] + 9 / 11)


def test_the_average_follows_its_formula_and_goes_on_where_it_stopped() -> None:
    network = small_game().generator
    average = progan.GrowingEMA(network, decay=0.25)
    average.resolution, wanted = 8, values(network)["blocks.8.0.conv.weight"]
    for age in (1, 2, 3, 4):
        with torch.no_grad():
            network.blocks["8"][0].conv.weight += age
        kept = min(0.25, (1 + age) / (10 + age))  # 2/11, then 3/12 and the decay itself
        wanted = kept * wanted + (1 - kept) * network.blocks["8"][0].conv.weight.detach()
        average.update()
        torch.testing.assert_close(average.module.blocks["8"][0].conv.weight, wanted)
    resumed = progan.GrowingEMA(small_game(seed=1).generator, decay=0.25)
    resumed.load_state_dict(average.state_dict())
    assert (resumed.resolution, resumed.ages, resumed.updates) == (8, {4: 4, 8: 4, 16: 0}, 4)
    for name, value in resumed.module.state_dict().items():
        assert torch.equal(value, average.module.state_dict()[name]), name


def test_the_average_of_a_run_at_rest_is_the_network() -> None:
    game = small_game()
    game.ema.resolution = 16
    for _ in range(5):
        game.ema.update()
    for name, now in game.ema.module.state_dict().items():
        torch.testing.assert_close(now, game.generator.state_dict()[name])


# --- Training, and going on


def short(folder: Path | None, steps: int, **options: object) -> Game:
    runtime.seed_everything(0)
    game = small_game(precision=options.pop("precision", "float32"))
    feed = Feed(pictures(), SCHEDULE, seed=1)
    options.setdefault("preview", None)
    progan.train(game, feed, steps=steps, folder=folder, progress=False, **options)
    return game


@pytest.mark.parametrize("stop", [3, 5, 9, 11])
def test_resume_is_exact_across_growth(tmp_path: Path, stop: int) -> None:
    """Stopped before a level, while it fades in, after it, and in the last one."""
    whole = short(None, SCHEDULE.steps)
    short(tmp_path, stop)
    resumed = short(tmp_path, SCHEDULE.steps)
    for name in ("generator", "critic"):
        first, second = (getattr(game, name).state_dict() for game in (whole, resumed))
        assert all(torch.equal(first[key], second[key]) for key in first)
    first, second = (game.ema.module.state_dict() for game in (whole, resumed))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert whole.ema.ages == resumed.ema.ages == {4: 14, 8: 11, 16: 5}


def test_another_schedule_does_not_go_on(tmp_path: Path) -> None:
    short(tmp_path, 4)
    game = small_game(schedule=SCHEDULE.scaled(2))
    feed = Feed(pictures(), game.schedule, seed=1)
    with pytest.raises(SettingError, match="another schedule"):
        progan.train(game, feed, folder=tmp_path, progress=False)


def test_a_feed_of_another_schedule_is_refused() -> None:
    with pytest.raises(SettingError, match="another schedule"):
        progan.train(small_game(), Feed(pictures(), SCHEDULE.scaled(2)), progress=False)


def test_the_film_begins_with_4_pixels_and_ends_with_all() -> None:
    seen: dict[int, Tensor] = {}
    game = small_game()
    result = progan.train(
        game,
        Feed(pictures(), SCHEDULE),
        previews=100,
        callback=lambda step, shown, history: seen.update({step: shown}),
        progress=False,
    )
    assert result.steps == SCHEDULE.steps and list(seen) == [0, *range(1, 15)]
    assert result.timeline.steps == list(seen)
    for step, shown in seen.items():
        assert shown.shape == (16, 3, 16, 16) and 0 <= shown.min() <= shown.max() <= 1
        stage = SCHEDULE.at(max(step, 1)).stage
        coarse = F.avg_pool2d(shown, 16 // stage.resolution)
        torch.testing.assert_close(shown, F.interpolate(coarse, size=16))
    still_4 = F.avg_pool2d(seen[4], 4)  # α = 0: as large as before, no finer
    torch.testing.assert_close(seen[4], F.interpolate(still_4, size=16))
    assert (seen[14] - F.interpolate(F.avg_pool2d(seen[14], 2), size=16)).abs().max() > 1e-3


def test_a_thinned_film_keeps_every_level() -> None:
    frames = [(step, b"jpeg", {}) for step in range(SCHEDULE.steps + 1)]
    film = progan.thinned(Timeline(frames, "toys"), SCHEDULE, 2)
    assert film.steps == [0, 1, 3, 4, 9, 10, 14] and film.about == "toys"


# --- Samples and checkpoints


def test_a_frame_repeats_its_pixels() -> None:
    def drawn(latent: Tensor, stage: Stage) -> Tensor:
        assert stage == Stage(2, 0.5)
        return latent.view(1, 1, 2, 2)

    shown = progan.frame(drawn, torch.tensor([-1.0, 0.0, 1.0, 3.0]), Stage(2, 0.5), 4)
    rows = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert shown.tolist() == [[rows]]  # to [0, 1], and what lies outside is clamped


def test_samples_do_not_depend_on_the_batch() -> None:
    generator, z = small_game().generator.eval(), dcgan.sample_latent(5, 6, seed=2)
    whole = progan.samples(generator, z, Stage(8, 0.5))
    assert whole.shape == (5, 3, 8, 8) and 0 <= whole.min() <= whole.max() <= 1
    torch.testing.assert_close(
        progan.samples(generator, z, Stage(8, 0.5), batch=2), whole, rtol=1e-3, atol=1e-4
    )
    assert progan.samples(generator, z).shape == (5, 3, 16, 16)


def test_a_checkpoint_is_loaded_with_its_settings_and_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    game = small_game(rules=progan.Ingredients(equalised=False))
    about = {"recipe": "progan toy", "data": "toys", "steps": 1, "seed": 0, **progan.facts(game)}
    checkpoints.save(game.ema.module, checkpoints.path_of("progan"), about)
    generator, checkpoint = progan.load_generator()
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    assert generator.widths == WIDTHS and not generator.rules.equalised
    assert Schedule(checkpoint.about["schedule"]) == SCHEDULE
    z = dcgan.sample_latent(2, 6, seed=3)
    torch.testing.assert_close(
        progan.samples(generator, z), progan.samples(game.ema.module, z), atol=0.02, rtol=0.02
    )
    with pytest.raises(WeightsError, match="nobody"):
        progan.load_generator("nobody")


def test_the_critic_may_be_asked_by_the_penalty_of_topic_08() -> None:
    """Its scores depend on the batch, through one channel; batch norm it has none."""
    real, fake = inputs(4)
    critic = small_game().critic
    found = wgan.gradient_penalty(lambda images: critic(images, Stage(4)), real, fake)
    assert torch.isfinite(found)
    assert isinstance(small_game().ema, training.EMA)
