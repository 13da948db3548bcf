"""The recipes of topic 11: day ↔ night without pairs, and what each term of the loss is worth."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from coursekit import cyclegan, cyclegan_measure, cyclegan_shapes, pix2pix
from coursekit.core import checkpoints, runtime, training
from coursekit.core.atomic import write_text
from coursekit.core.estimates import mean_interval
from coursekit.core.timeline import Timeline
from coursekit.datasets import scenes
from coursekit.datasets.base import Dataset

SETTINGS: dict[str, Any] = {"width": 24, "blocks": 4, "halvings": 1}
# 34×34 patches
JUDGE: dict[str, Any] = {"channels": 3, "width": 32, "layers": 2, "norm": "instance"}
SCENES, BATCH, SHOWN = 2000, 1, 4
RATE, PRECISION = 4e-4, "auto"
PREVIEWS, FRAMES = 16, 9  # looks along the training, and how many of them the film keeps

RUNS = {
    "all terms": cyclegan.Objective(),
    "no identity": cyclegan.Objective(identity=0.0),
    "no cycle": cyclegan.Objective(cycle=0.0),
    "neither": cyclegan.Objective(cycle=0.0, identity=0.0),
}
PAIRS = ("pairs", "pairs, longer")
SHEET = 6  # pictures each way in the film of the study

DISCS, HELD_OUT_DISCS = 1000, 40
SMALL: dict[str, Any] = {"width": 12, "blocks": 2, "halvings": 1}
SMALL_JUDGE: dict[str, Any] = {"channels": 3, "width": 16, "layers": 2, "norm": "instance"}
# The discs are 4 % of a picture: with the paper's λ = 10 their colour hardly counts. No identity
# term, which would show F coloured discs that are not translations.
INSIST = cyclegan.Objective(cycle=100.0, identity=0.0)


def course(folder: Path, *, steps: int = 14000, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train the two generators that notebook 11 loads: day → night and night → day.

    2,000 scenes by day and 2,000 others by night, 64 px, one of each a step, both mirrored at
    random. Four residual blocks of 48 maps at half the size, 34×34 patches, least squares, λ = 10,
    identity 5, a pool of 50, linear decay over the second half; twice the paper's learning rate,
    because the training is so much shorter; averaged weights. About half an hour of one core.

    Args:
        folder: keeps a ``checkpoint.pt`` while it trains, and the results.
        steps: training steps.
        seed: of everything.
        progress: show a progress bar.

    Returns:
        The checkpoint and its timeline; nothing if it was interrupted.
    """
    game, result = train(cyclegan.Objective(), folder, steps, seed, progress)
    if result.interrupted:
        return []
    translators = in_half_precision(game.ema.module)
    about = {
        "recipe": "cyclegan course",
        "data": f"{SCENES:,} scenes by day and {SCENES:,} others by night, 64×64",
        "steps": result.steps,
        "seed": seed,
        "settings": SETTINGS,
        "measured": measured(translators),
    }
    film = result.timeline.thinned(FRAMES).save(folder / "course.timeline.zip")
    return [checkpoints.save(translators, folder / "course.safetensors", about), film]


def make_game(objective: cyclegan.Objective, seed: int, device: torch.device) -> cyclegan.Game:
    """The networks and settings of the recipes."""
    generators = [cyclegan.ResNetGenerator(**SETTINGS, precision=PRECISION) for _ in range(2)]
    judge_x, judge_y = (
        cyclegan.PatchDiscriminator(**JUDGE, precision=PRECISION).to(device) for _ in range(2)
    )
    translators = cyclegan.Translators(*generators).to(device)
    return cyclegan.Game(translators, judge_x, judge_y, objective, learning_rate=RATE, seed=seed)


def train(
    objective: cyclegan.Objective, folder: Path, steps: int, seed: int, progress: bool
) -> tuple[cyclegan.Game, training.TrainingResult]:
    """One training of day ↔ night under an objective."""
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(objective, seed, device)
    by_day, by_night = scenes.unpaired(SCENES, 64, seed=0)
    days, nights = scenes.unpaired(SHOWN, 64, seed=cyclegan_measure.HELD_OUT)
    shown = days.batch(range(SHOWN))["image"], nights.batch(range(SHOWN))["image"]
    result = cyclegan.train(
        game,
        training.Batches(by_day, BATCH, seed=2 * seed, device=device),
        training.Batches(by_night, BATCH, seed=2 * seed + 1, device=device),
        steps=steps,
        shown=shown,
        folder=folder,
        seed=seed,
        log_every=max(steps // 100, 1),
        previews=PREVIEWS,
        progress=progress,
        about=f"CycleGAN, {SCENES:,} scenes by day, {SCENES:,} others by night",
    )
    return game, result


def in_half_precision(translators: cyclegan.Translators) -> cyclegan.Translators:
    """The generators as the file holds them: rounded, in eval mode, on the CPU, in float32."""
    rounded = copy.deepcopy(translators).cpu().half().float()
    rounded.to_y.precision = rounded.to_x.precision = "float32"
    return rounded.eval()


def measured(translators: cyclegan.Translators, count: int = 200) -> dict[str, object]:
    """What `cyclegan_measure.Bench` finds on held-out scenes, in both directions."""
    found: dict[str, object] = {}
    for name, night_to_day in (("day → night", False), ("night → day", True)):
        bench = cyclegan_measure.Bench(count, night_to_day=night_to_day)
        generator = translators.to_x if night_to_day else translators.to_y
        found[name] = bench.measure(cyclegan.translate(generator, bench.images)).facts()
    return found


# --- What each term is worth ---------------------------------------------------------------------


def study(
    folder: Path, *, steps: int = 2000, pair_steps: int = 6000, seed: int = 0, progress: bool = True
) -> list[Path]:
    """Train the short runs that notebook 11 compares: terms left out, and the bound with pairs.

    Every run without pairs has the networks, scenes, seed, steps and decay of the others; only the
    weights of `RUNS` differ. The last two have the same generator, trained by day → night alone as
    in topic 10 (L1 and a conditional 34×34 discriminator) on the *true* pairs: once for as many
    steps, and once for ``pair_steps``, whose look at the pairs is what translation without pairs is
    measured against. All are measured on the same 200 held-out scenes. About 20 minutes of one
    core.

    Args:
        folder: keeps a ``checkpoint.pt`` a run while it trains, and the results.
        steps: training steps a run.
        pair_steps: of the last run.
        seed: of everything.
        progress: show a progress bar.

    Returns:
        ``study.json`` and a film with one frame a run (held-out days by night, nights by day);
        nothing if it was interrupted.
    """
    found, film = {}, Timeline(about="one frame a run: " + ", ".join([*RUNS, *PAIRS]))
    for name, objective in RUNS.items():
        game, result = train(objective, folder / name.replace(" ", "_"), steps, seed, progress)
        if result.interrupted:
            return []
        translators = in_half_precision(game.ema.module)
        found[name] = facts_of(translators) | {"weights": objective._asdict(), "steps": steps}
        film.add(len(film) + 1, samples(translators), {})
    for name, length in zip(PAIRS, (steps, pair_steps), strict=True):
        paired, result = train_on_pairs(folder / name.replace(" ", "_"), length, seed, progress)
        if result.interrupted:
            return []
        bench, to_y = cyclegan_measure.Bench(), paired.ema.module.cpu().eval()
        made = cyclegan.translate(to_y, bench.images)
        found[name] = {"day → night": bench.measure(made).facts(), "steps": length}
        film.add(len(film) + 1, made[:SHEET], {})
    about = {"recipe": "cyclegan study", "seed": seed, "scenes": SCENES, "runs": found}
    path = folder / "study.json"
    write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return [path, film.save(folder / "study.timeline.zip")]


def facts_of(translators: cyclegan.Translators) -> dict[str, object]:
    """`measured`, and what is not seen from the twin: the cycle, and what is left alone."""
    bench = cyclegan_measure.Bench()
    there = cyclegan.translate(translators.to_y, bench.images)
    ways = {
        "cycle of days": (translators.to_x, there, bench.images),
        "nights kept": (translators.to_y, bench.twins, bench.twins),
    }
    errors = {name: cyclegan_measure.way_back(*way, [0.0])[0] for name, way in ways.items()}
    return measured(translators) | {name: asdict(error) for name, error in errors.items()}


def samples(translators: cyclegan.Translators) -> torch.Tensor:
    """The first held-out days by night, and the first nights by day, (2 · SHEET, 3, 64, 64)."""
    days, nights = scenes.unpaired(SHEET, 64, seed=cyclegan_measure.HELD_OUT)
    halves = (translators.to_y, days), (translators.to_x, nights)
    return torch.cat(
        [cyclegan.translate(to, data.batch(range(SHEET))["image"]) for to, data in halves]
    )


def train_on_pairs(
    folder: Path, steps: int, seed: int, progress: bool
) -> tuple[pix2pix.Game, training.TrainingResult]:
    """The same generator under topic 10's objective, on days with their true nights."""
    device = runtime.best_device()
    runtime.seed_everything(seed)
    generator = cyclegan.ResNetGenerator(**SETTINGS, precision=PRECISION).to(device)
    judge = cyclegan.PatchDiscriminator(**JUDGE | {"channels": 6}, precision=PRECISION).to(device)
    game = pix2pix.Game(generator, judge, learning_rates=(RATE, RATE))
    days, _ = scenes.unpaired(SCENES, 64, seed=0)
    fields = {"input": days.fields["image"], "target": days.fields["twin"]}
    batches = training.Batches(
        Dataset(days.info, fields, ("input", "target")), BATCH, seed=2 * seed, device=device
    )
    result = pix2pix.train(
        game,
        batches,
        flip=True,
        rate=lambda number: cyclegan.linear_decay(number, steps),
        seed=seed,
        steps=steps,
        folder=folder,
        log_every=max(steps // 100, 1),
        preview=None,
        progress=progress,
    )
    return game, result


# --- Many colours to one -------------------------------------------------------------------------


def discs(folder: Path, *, steps: int = 1500, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train discs of all colours ↔ blue discs, where only a hidden message can close the cycle.

    1,000 pictures each, 32 px, four of each a step; two residual blocks of 24 maps, λ = 100, no
    identity term. About two minutes of one core.

    Args:
        folder: keeps a ``checkpoint.pt`` while it trains, and the result.
        steps: training steps.
        seed: of weights, order and pool.
        progress: show a progress bar.

    Returns:
        The checkpoint; nothing if it was interrupted.
    """
    device = runtime.best_device()
    runtime.seed_everything(seed)
    translators = cyclegan.Translators(*[cyclegan.ResNetGenerator(**SMALL) for _ in range(2)])
    judge_x, judge_y = (cyclegan.PatchDiscriminator(**SMALL_JUDGE).to(device) for _ in range(2))
    game = cyclegan.Game(
        translators.to(device),
        judge_x,
        judge_y,
        INSIST,
        learning_rate=1e-3,
        ema_decay=0.995,
        seed=seed,
    )
    coloured = cyclegan_shapes.discs(DISCS, seed=5)
    blue = cyclegan_shapes.discs(DISCS, colour=cyclegan_shapes.BLUE, seed=4)
    result = cyclegan.train(
        game,
        training.Batches(coloured, 4, seed=2 * seed + 1, device=device),
        training.Batches(blue, 4, seed=2 * seed + 2, device=device),
        steps=steps,
        mirrored=False,
        folder=folder,
        seed=seed,
        progress=progress,
    )
    if result.interrupted:
        return []
    rounded = in_half_precision(game.ema.module)
    about = {
        "recipe": "cyclegan discs",
        "data": f"{DISCS:,} discs of all colours and {DISCS:,} blue ones, 32×32",
        "steps": result.steps,
        "seed": seed,
        "settings": SMALL,
        "measured": colours_measured(rounded),
    }
    return [checkpoints.save(rounded, folder / "discs.safetensors", about)]


def colours_measured(translators: cyclegan.Translators) -> dict[str, object]:
    """`cyclegan_shapes.colour_error` on held-out discs: there, and the way back from two starts."""
    places = range(HELD_OUT_DISCS)
    coloured = cyclegan_shapes.discs(len(places), seed=15).batch(places)["image"]
    blue_discs = cyclegan_shapes.discs(len(places), colour=cyclegan_shapes.BLUE, seed=15)
    blue = blue_discs.batch(places)["image"]
    there = cyclegan.translate(translators.to_y, coloured)
    found = {
        "translation to blue": cyclegan_shapes.colour_error(there, blue),
        "back from the translation": cyclegan_shapes.colour_error(
            cyclegan.translate(translators.to_x, there), coloured
        ),
        "back from true blue discs": cyclegan_shapes.colour_error(
            cyclegan.translate(translators.to_x, blue), coloured
        ),
    }
    return {name: asdict(mean_interval(each, name=name)) for name, each in found.items()}
