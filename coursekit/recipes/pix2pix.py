"""The recipe of topic 10: line drawings get their colours, or any other pairs their other half."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coursekit import pix2pix, pix2pix_measure, pix2pix_tasks
from coursekit.core import checkpoints, runtime, training
from coursekit.datasets.base import Dataset

# Differs from Isola et al. 2017 (batches of 1, rates of 2e-4): with 16 pictures a step, larger
# steps are as safe and several times as quick.
BATCH, RATES = 16, (1e-3, 4e-4)
SHIFT = 4  # pixels by which a pair is moved before each look
SHOWN, PREVIEWS, FRAMES = 8, 18, 8  # pictures a frame, looks, frames that the film keeps


def course(
    folder: Path,
    *,
    data: str = "emoji",
    size: int = 64,
    steps: int = 18_000,
    seed: int = 0,
    width: int = 20,
    max_width: int = 60,
    patch_layers: int = 1,
    l1_weight: float = pix2pix.L1_WEIGHT,
    precision: str = "auto",
    progress: bool = True,
) -> list[Path]:
    """Train the generator that notebook 10 loads, or one on other pairs by one argument.

    L1 and the conditional game together (eq. 4). A small U-Net that halves the picture down to one
    position, so that it can see the whole drawing, and a PatchGAN of 16 pixels. Pairs are moved by
    up to 4 pixels and mirrored before each look; the weights are averaged; the learning rates fall
    to zero over the second half. The header holds what `pix2pix_measure` finds on held-out pairs
    with the half-precision weights, beside the nearest neighbour of the training set.

    Args:
        folder: keeps a ``checkpoint.pt`` while it trains, and the results.
        data: as in `pix2pix_tasks.pairs`: a task such as ``"emoji"``, a published set such as
            ``"facades"``, or a folder of pictures A|B.
        size: pixels a side, a power of 2.
        steps: training steps of 16 pairs.
        seed: of everything.
        width, max_width: of the U-Net.
        patch_layers: of the discriminator; 1 sees 16 pixels, 2 sees 34.
        l1_weight: λ.
        precision: of the networks while training, as in `core.training.autocast`.
        progress: show a progress bar.

    Returns:
        The checkpoint and its timeline; nothing if it was interrupted.
    """
    known, held_out = (pix2pix_tasks.pairs(data, split, size) for split in ("train", "test"))
    settings = {"width": width, "depth": min(size.bit_length() - 1, 8), "max_width": max_width}
    runtime.seed_everything(seed)
    game = make_game(settings, patch_layers, l1_weight, precision, runtime.best_device())
    result = train(game, known, held_out, folder, steps, seed, progress)
    if result.interrupted:
        return []
    generator = game.ema.module.cpu().half().float()  # what the file will hold
    generator.precision = "float32"
    about = {
        "recipe": "pix2pix course",
        "data": f"{known.info.name}: {len(known):,} pairs, {size}×{size}, {known.info.source}",
        "steps": result.steps,
        "seed": seed,
        "settings": settings,
        "training": {"patch_layers": patch_layers, "l1_weight": l1_weight, "batch": BATCH},
        "measured": measured(generator, known, held_out),
    }
    film = result.timeline.thinned(FRAMES)
    return [
        checkpoints.save(generator, folder / "course.safetensors", about),
        film.save(folder / "course.timeline.zip"),
    ]


def make_game(
    settings: dict[str, Any],
    patch_layers: int,
    l1_weight: float,
    precision: str,
    device: torch.device,
    *,
    adversarial: bool = True,
) -> pix2pix.Game[pix2pix.UNetGenerator]:
    """The networks and the objective of the recipe; without its game where that is not wanted."""
    generator = pix2pix.UNetGenerator(**settings, precision=precision).to(device)
    discriminator = pix2pix.PatchDiscriminator(width=32, layers=patch_layers, precision=precision)
    return pix2pix.Game(
        generator,
        discriminator.to(device),
        adversarial=adversarial,
        l1_weight=l1_weight,
        learning_rates=RATES,
    )


def train(
    game: pix2pix.Game,
    known: Dataset,
    held_out: Dataset,
    folder: Path,
    steps: int,
    seed: int,
    progress: bool,
) -> training.TrainingResult:
    """Play the game as the recipe does: moved pairs, rates that fall over the second half."""
    device = next(game.generator.parameters()).device
    batches = training.Batches(known, min(BATCH, len(known)), seed=seed, device=device)
    shown = held_out.batch(range(min(SHOWN, len(held_out))))["input"]
    return pix2pix.train(
        game,
        batches,
        shift=SHIFT,
        flip=True,
        rate=lambda number: min(2 * (steps - number + 1) / steps, 1.0),
        steps=steps,
        folder=folder,
        seed=seed,
        preview=lambda: pix2pix.translate(game.ema.module, shown),
        previews=PREVIEWS,
        progress=progress,
        about=f"Pix2Pix on {len(known):,} pairs ({known.info.name}); held-out inputs",
    )


def measured(
    generator: pix2pix.UNetGenerator, known: Dataset, held_out: Dataset
) -> dict[str, dict[str, object]]:
    """Held-out error of the generator, of the nearest neighbour, and of their difference."""
    batch = held_out.batch(range(len(held_out)))
    nearest = pix2pix_measure.nearest_neighbour(known.fields["input"], held_out.fields["input"])
    remembered = known.batch(nearest)["target"]
    ours, theirs = (
        pix2pix_measure.measure(output, batch["target"], batch["region"])
        for output in (pix2pix.translate(generator, batch["input"]), remembered)
    )
    true = pix2pix_measure.colourfulness(batch["target"], batch["region"])
    return {
        "generator": _means(ours),
        "nearest neighbour": _means(theirs),
        "generator - nearest neighbour": _means(
            {name: ours[name] - theirs[name] for name in ("L1", "LPIPS")}
        ),
        "true": _means({"colourfulness": true}),
    }


def _means(values: dict[str, Tensor]) -> dict[str, object]:
    return {name: asdict(pix2pix_measure.mean(each, name)) for name, each in values.items()}
