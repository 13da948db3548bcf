"""The recipes of topic 12: faces that grow from 4×4 pixels, what each ingredient is worth, pace."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from coursekit import dcgan, progan, progan_measure
from coursekit.core import checkpoints, runtime, show
from coursekit.core.atomic import write_text
from coursekit.core.errors import SettingError, TrainingError
from coursekit.core.images import save_image
from coursekit.core.timeline import Timeline
from coursekit.datasets.base import Dataset
from coursekit.datasets.collections import folder_dataset
from coursekit.datasets.faces import faces
from coursekit.progan import Game, Ingredients, Level, Schedule, Stage, Widths

SIZE, BASE, MOST, LATENT = 64, 512, 128, 128
COUNT, HELD_OUT = 20_000, 5000  # rendered faces to train on, and to measure with
PRECISION = "float32"
SCHEDULE = Schedule(
    (
        Level(4, batch=16, fade=0, stable=25_488),
        Level(8, batch=16, fade=25_488, stable=25_488),
        Level(16, batch=16, fade=34_000, stable=34_000),
        Level(32, batch=16, fade=42_496, stable=59_488),
        Level(64, batch=16, fade=50_992, stable=102_000),
        Level(128, batch=8, fade=50_992, stable=102_000),
    )
)
PREVIEWS, FRAMES = 160, 3  # looks along the training, and how many of them a level keeps
SHEET = 64  # samples on the sheet, none left out
CHECKPOINT_EVERY = 250


def course(
    folder: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    size: int = SIZE,
    photos: Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Grow the generator of faces from 4×4 to 64×64 pixels that notebook 12 loads.

    The paper's settings but for their size: at most 128 maps instead of 512, 128 latent
    dimensions, `SCHEDULE` instead of 800,000 images a phase. How long it takes on a machine is
    what ``coursekit train progan --recipe pace`` says.

    Args:
        folder: keeps ``checkpoint.pt`` while it trains, and the results.
        steps: training steps in all; every phase of the schedule shrinks or grows with it.
        seed: of everything.
        size: pixels at the end: 8, 16, 32, 64 or 128.
        photos: a folder of pictures to train on instead of rendered faces; each is cut to the
            square in its middle.
        progress: show a progress bar.

    Returns:
        The checkpoint, its timeline and a sheet of samples; nothing if it was interrupted.

    Raises:
        DataError: a folder without pictures.
        SettingError: a size that the schedule does not have, or fewer pictures than a batch.
    """
    schedule = planned(size, steps)
    data = faces(COUNT, size, seed=seed) if photos is None else folder_dataset(photos, size)
    game, result = train(folder, schedule, data, seed=seed, steps=steps, progress=progress)
    if result.interrupted:
        return []
    about = {
        "recipe": "progan course",
        "data": f"{len(data):,} {data.info.content}, {size}×{size}",
        "steps": result.steps,
        "seed": seed,
        **progan.facts(game),
    }
    if photos is None:
        bench = progan_measure.Bench(HELD_OUT, size, patches=min(HELD_OUT, 2000))
        about["measured"] = bench.measure(in_half_precision(game)).facts()
        about["floor"] = bench.floor().facts()
    film = progan.thinned(result.timeline, schedule, FRAMES)
    return [
        checkpoints.save(game.ema.module, folder / "course.safetensors", about),
        film.save(folder / "course.timeline.zip"),
        sheet(in_half_precision(game), folder / "course.jpg"),
    ]


def planned(size: int, steps: int | None = None) -> Schedule:
    """`SCHEDULE` up to a size, with about so many steps.

    Raises:
        SettingError: a size that it does not have.
    """
    sizes = [level.resolution for level in SCHEDULE.levels]
    if size not in sizes[1:]:
        raise SettingError(f"size={size} is none of {sizes[1:]}.")
    schedule = Schedule(SCHEDULE.levels[: sizes.index(size) + 1])
    return schedule if steps is None else schedule.scaled(steps / schedule.steps)


def make_game(schedule: Schedule, rules: Ingredients = progan.ALL, *, device: torch.device) -> Game:
    """The networks and settings of the recipes."""
    widths = Widths(schedule.levels[-1].resolution, base=BASE, most=MOST)
    networks = progan.networks(
        widths, latent=LATENT, rules=rules, precision=PRECISION, device=device
    )
    return Game(*networks, schedule)


def train(
    folder: Path | None,
    schedule: Schedule,
    data: Dataset,
    *,
    rules: Ingredients = progan.ALL,
    seed: int = 0,
    steps: int | None = None,
    previews: int = PREVIEWS,
    progress: bool = True,
) -> tuple[Game, progan.training.TrainingResult]:
    """One training along a schedule."""
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(schedule, rules, device=device)
    result = progan.train(
        game,
        progan.Feed(data, schedule, seed=seed, device=device),
        steps=steps or schedule.steps,
        folder=folder,
        checkpoint_every=CHECKPOINT_EVERY,
        seed=seed,
        previews=previews,
        progress=progress,
        about=f"ProGAN, {len(data):,} {data.info.content}",
    )
    return game, result


def in_half_precision(game: Game) -> progan.Generator:
    """The averaged generator as the file holds it: rounded, on the CPU, in float32."""
    rounded = progan.networks(
        game.generator.widths, latent=game.generator.latent, rules=game.generator.rules
    )[0]
    weights = {name: value.half().float() for name, value in game.ema.module.state_dict().items()}
    rounded.load_state_dict(weights)
    return rounded.eval().requires_grad_(False)


def sheet(generator: progan.Generator, path: Path, seed: int = 2) -> Path:
    """The first samples in a grid; always from the same z, none left out."""
    z = dcgan.sample_latent(SHEET, generator.latent, seed=seed)
    save_image(show.tile(progan.samples(generator, z))[None], path)
    return path


# --- What each ingredient is worth ---------------------------------------------------------------

STUDY = Schedule(
    (
        Level(4, batch=16, fade=0, stable=8000),
        Level(8, batch=16, fade=6000, stable=6000),
        Level(16, batch=16, fade=8000, stable=8000),
        Level(32, batch=16, fade=12_000, stable=16_000),
    )
)
STUDY_COUNT, STUDY_FACES, SEEDS, SHOWN = 6000, 2000, 2, 16


class Run(NamedTuple):
    """One variant of the study: ingredients, and how the networks grow."""

    rules: Ingredients
    schedule: Schedule


def runs(schedule: Schedule) -> dict[str, Run]:
    """Everything, and everything but one ingredient."""
    left_out = {
        "no equalised learning rate": Ingredients(equalised=False),
        "no pixel norm": Ingredients(pixel_norm=False),
        "no minibatch stddev": Ingredients(minibatch_stddev=False),
    }
    return {
        "all": Run(progan.ALL, schedule),
        **{name: Run(rules, schedule) for name, rules in left_out.items()},
        "no fade-in": Run(progan.ALL, schedule.without_fade_in()),
        "no growth": Run(progan.ALL, schedule.at_once()),
    }


def study(
    folder: Path, *, steps: int | None = None, seed: int = 0, progress: bool = True
) -> list[Path]:
    """Train short runs at 32×32, each with one ingredient left out, and measure them.

    Every run is shown as many real images, in batches of 16. It is done twice, with two seeds:
    what differs less between two variants than between two seeds is not known. A variant that
    breaks down is kept as broken down.

    Args:
        folder: keeps a ``checkpoint.pt`` a run while it trains, and the results.
        steps: training steps a run, instead of the 4,000 of `STUDY`.
        seed: the first of two.
        progress: show a progress bar.

    Returns:
        ``study.json`` and a film with a frame of samples a run; nothing if it was interrupted.
    """
    schedule = STUDY if steps is None else STUDY.scaled(steps / STUDY.steps)
    size = schedule.levels[-1].resolution
    data = faces(STUDY_COUNT, size, seed=seed)
    bench = progan_measure.Bench(STUDY_FACES, size, patches=STUDY_FACES // 2, draws=2)
    found, film = [], Timeline(about="ProGAN with one ingredient left out, one frame a run")
    for offset in range(SEEDS):
        for name, run in runs(schedule).items():
            place = folder / f"{name.replace(' ', '-')}-{seed + offset}"
            made = _studied(place, run, data, bench, seed=seed + offset, progress=progress)
            if made is None:
                return []
            record, pictures = made
            found.append({"run": name, "seed": seed + offset, **record})
            film.add(len(film) + 1, pictures, {"seed": seed + offset})
    about = {
        "recipe": "progan study",
        "data": f"{len(data):,} {data.info.content}, {size}×{size}",
        "schedule": [list(level) for level in schedule.levels],
        "floor": bench.floor().facts(),
        "runs": found,
    }
    path = folder / "study.json"
    write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return [path, film.save(folder / "study.timeline.zip")]


def _studied(
    folder: Path,
    run: Run,
    data: Dataset,
    bench: progan_measure.Bench,
    *,
    seed: int,
    progress: bool,
) -> tuple[dict[str, object], torch.Tensor] | None:
    """What is known of one run, and its samples; None if it was interrupted."""
    options: dict[str, Any] = {"seed": seed, "previews": 1, "progress": progress}
    size = run.schedule.levels[-1].resolution
    try:
        game, result = train(folder, run.schedule, data, rules=run.rules, **options)
    except TrainingError as error:
        return {"broken": str(error.term), "steps": error.result.steps}, torch.zeros(
            SHOWN, 3, size, size
        )
    if result.interrupted:
        return None
    generator = in_half_precision(game)
    measured = bench.measure(generator).facts()
    z = dcgan.sample_latent(SHOWN, generator.latent, seed=2)
    record = {"steps": result.steps, "seconds": round(result.seconds), **measured}
    return record, progan.samples(generator, z)


# --- How long it takes ---------------------------------------------------------------------------


def pace(folder: Path, *, steps: int = 3, seed: int = 0) -> list[Path]:
    """Time a few steps at every resolution of `course`, and reckon how long all of it takes.

    Args:
        folder: for the result.
        steps: timed at each resolution while fading in, and as many after that.
        seed: of everything.

    Returns:
        ``pace.json``: seconds a step by resolution, on the clock and of the processor, and hours
        for the whole schedule by both. Where other programs run, the clock says more.
    """
    device = runtime.best_device()
    runtime.seed_everything(seed)
    schedule, data = planned(SIZE), faces(200, SIZE, seed=seed)
    game, feed = make_game(schedule, device=device), progan.Feed(data, schedule, device=device)
    found: dict[str, dict[str, dict[str, float]]] = {}
    totals = {"clock": 0.0, "processor": 0.0}
    for level in schedule.levels:
        each = found[str(level.resolution)] = {}
        for phase, stage in (("fade", 0.5), ("stable", 1.0)):
            count = getattr(level, phase) / level.batch
            if not count:
                continue
            place = progan.Place(level, Stage(level.resolution, stage), 0)
            each[phase] = _timed(game, feed, place, steps)
            for clock, seconds in each[phase].items():
                totals[clock] += seconds * count / 3600
    about = {
        "recipe": "progan pace",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": PRECISION,
        "seconds a step": found,
        "hours": {clock: round(total, 2) for clock, total in totals.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pace.json"
    write_text(path, json.dumps(about, indent=1) + "\n")
    print(json.dumps(about, indent=1))
    return [path]


def _timed(game: Game, feed: progan.Feed, place: progan.Place, steps: int) -> dict[str, float]:
    """Seconds a step at a place, after one that is not counted."""
    for number in range(steps + 1):
        if number == 1:
            clock, processor = time.perf_counter(), time.process_time()
        terms = game.play(place, feed)
        float(terms["g_loss"])  # waits for the device
    return {
        "clock": round((time.perf_counter() - clock) / steps, 4),
        "processor": round((time.process_time() - processor) / steps, 4),
    }
