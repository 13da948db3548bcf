"""The recipes of topic 11: day ↔ night without pairs, and what each term of the loss is worth."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from coursekit import cyclegan, cyclegan_measure
from coursekit.core import checkpoints, runtime, training
from coursekit.datasets import scenes

SETTINGS = {"width": 24, "blocks": 4, "halvings": 1}
JUDGE = {"channels": 3, "width": 32, "layers": 2, "norm": "instance"}  # 34×34 patches
SCENES, BATCH, SHOWN = 2000, 1, 4
RATE, PRECISION = 4e-4, "bfloat16"
PREVIEWS, FRAMES = 16, 9  # looks along the training, and how many of them the film keeps


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
    judges = [
        cyclegan.PatchDiscriminator(**JUDGE, precision=PRECISION).to(device) for _ in range(2)
    ]
    translators = cyclegan.Translators(*generators).to(device)
    return cyclegan.Game(translators, *judges, objective, learning_rate=RATE, seed=seed)


def train(
    objective: cyclegan.Objective, folder: Path, steps: int, seed: int, progress: bool
) -> tuple[cyclegan.Game, training.TrainingResult]:
    """One training of day ↔ night under an objective."""
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(objective, seed, device)
    by_day, by_night = scenes.unpaired(SCENES, 64, seed=0)
    held_out = scenes.unpaired(SHOWN, 64, seed=cyclegan_measure.HELD_OUT)
    shown = tuple(half.batch(range(SHOWN))["image"] for half in held_out)
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
    found = {}
    for name, night_to_day in (("day → night", False), ("night → day", True)):
        bench = cyclegan_measure.Bench(count, night_to_day=night_to_day)
        generator = translators.to_x if night_to_day else translators.to_y
        found[name] = bench.measure(cyclegan.translate(generator, bench.images)).facts()
    return found
