"""The recipes of topic 14: scenes from label maps with a style, and SPADE against concatenation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from coursekit import spade, spade_measure, spade_study
from coursekit.core import checkpoints, runtime, training
from coursekit.datasets.scenes import CLASSES

GENERATOR: dict[str, Any] = {
    "labels": len(CLASSES), "width": 16, "size": 64, "latent": 32, "hidden": 32, "doublings": 4,
    "max_width": 48,
}  # fmt: skip
ENCODER: dict[str, Any] = {"width": 16, "size": 64, "latent": 32, "max_width": 64}
JUDGE: dict[str, Any] = {"labels": len(CLASSES), "width": 32, "layers": 3}
SCENES, BATCH, PRECISION = 4000, 8, "auto"
RATES = (8e-4, 8e-4)  # of G and D: eight times and twice the paper's, for a training so short
PREVIEWS, FRAMES = 16, 8  # looks along the training, and how many of them the film keeps


def course(folder: Path, *, steps: int = 3600, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train the painter that notebook 14 loads: scenes of 64 pixels by day and by night.

    8,000 pictures of 4,000 scenes, all terms of the paper's loss. About half an hour of one core.

    Args:
        folder: keeps a ``checkpoint.pt`` while it trains, and the results.
        steps: training steps of 8 pictures.
        seed: of everything.
        progress: show a progress bar.

    Returns:
        The checkpoint and its timeline; nothing if it was interrupted.
    """
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(device)
    data = spade_measure.both_times(SCENES)
    held_out = spade_measure.both_times(4, spade_measure.HELD_OUT)
    result = spade.train(
        game,
        training.Batches(data, BATCH, seed=seed, device=device),
        rate=lambda number: min(3 * (steps - number + 1) / steps, 1.0),
        shown=held_out.batch(range(8)),
        steps=steps,
        folder=folder,
        seed=seed,
        log_every=max(steps // 100, 1),
        previews=PREVIEWS,
        progress=progress,
        about=f"SPADE, {SCENES:,} scenes by day and by night",
    )
    if result.interrupted:
        return []
    painter = in_half_precision(game.ema.module)
    about = {
        "recipe": "spade course",
        "data": f"{SCENES:,} scenes by day and by night, 64×64",
        "steps": result.steps,
        "seed": seed,
        "settings": {"generator": GENERATOR, "encoder": ENCODER},
        "measured": spade_measure.Bench().measure(painter).facts(),
    }
    film = result.timeline.thinned(FRAMES).save(folder / "course.timeline.zip")
    return [checkpoints.save(painter, folder / "course.safetensors", about), film]


def make_game(device: torch.device) -> spade.Game:
    """The networks and settings of the recipe."""
    generator = spade.Generator(**GENERATOR, precision=PRECISION)
    encoder = spade.StyleEncoder(**ENCODER, precision=PRECISION)
    return spade.Game(
        spade.Painter(generator, encoder).to(device),
        spade.MultiscaleDiscriminator(**JUDGE, precision=PRECISION).to(device),
        perceptual=spade.PerceptualLoss(precision=PRECISION).to(device),
        learning_rates=RATES,
    )


def in_half_precision(painter: spade.Painter) -> spade.Painter:
    """The painter as the file holds it: rounded, in eval mode, on the CPU, in float32."""
    rounded = copy.deepcopy(painter).cpu().half().float()
    rounded.generator.precision = "float32"
    if rounded.encoder is not None:
        rounded.encoder.precision = "float32"
    return rounded.eval()


def study(
    folder: Path,
    *,
    steps: int = spade_study.STEPS,
    seed: int = 0,
    seeds: int = len(spade_study.SEEDS),
    held_out: int = spade_study.HELD_OUT,
    progress: bool = True,
) -> list[Path]:
    """Compare SPADE with concatenation: short trainings of both, seed by seed, about 15 minutes.

    A training that has ended is not done again, and one that was stopped goes on.

    Args:
        folder: keeps a checkpoint a training, and the results.
        steps: of each training.
        seed: the first one.
        seeds: how many of each.
        held_out: maps to measure on.
        progress: show progress.

    Returns:
        ``study.json`` and ``study.jpg``; nothing if it was interrupted.
    """
    bench, runs = spade_measure.Bench(held_out, night=False), []
    painted: dict[str, torch.Tensor] = {}
    for number in range(seed, seed + seeds):
        for way in spade_study.WAYS:
            place = folder / f"{way}-{number}"
            painter, result = spade_study.train(way, number, steps, folder=place, progress=progress)
            if result.interrupted:
                return []
            pictures = spade.paint(in_half_precision(painter), bench.labels)
            painted.setdefault(way, pictures)
            figures = spade_study.judge(bench, pictures)
            parameters = sum(each.numel() for each in painter.generator.parameters())
            seconds = round(result.seconds, 1)
            runs.append(spade_study.Run(way, number, result.steps, parameters, seconds, figures))
            if progress:
                print(runs[-1], flush=True)
    rows = spade_study.rows_of(bench, painted)
    real = spade_study.judge(bench, bench.images)
    return spade_study.save(spade_study.Study(runs, real, rows), folder)
