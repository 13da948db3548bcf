"""The recipe of topic 07: DCGAN on rendered faces."""

from __future__ import annotations

from pathlib import Path

import torch

from coursekit import dcgan
from coursekit.core import checkpoints, runtime, training
from coursekit.datasets.faces import faces

WIDTH, SIZE, BATCH, COUNT = 32, 64, 64, 20_000
FRAMES = 14  # of the film; each is about 25 KB


def course(
    folder: Path, *, steps: int = 18_000, seed: int = 0, progress: bool = True
) -> list[Path]:
    """Train the generator of faces at 64×64 that notebook 07 loads.

    Half the published width (32), non-saturating loss, the averaged generator. Radford's settings
    but for the usual stabilisers: the discriminator's label for real images is 0.9, R1 with γ = 1
    at every 16th step, and both learning rates fall to zero over the last third.

    Args:
        folder: keeps ``checkpoint.pt`` while it trains, and the results.
        steps: training steps.
        seed: of everything.
        progress: show a progress bar.

    Returns:
        The checkpoint and the timeline.
    """
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(device)
    data = faces(COUNT, SIZE, seed=seed)
    batches = training.Batches(data, BATCH, seed=seed, device=device)
    about = f"DCGAN, {len(data):,} rendered faces"
    result = dcgan.train(
        game,
        batches,
        rate=lambda number: min(3 * (steps - number + 1) / steps, 1.0),
        steps=steps,
        folder=folder,
        seed=seed,
        progress=progress,
        about=about,
    )
    if result.interrupted:
        return []
    facts = {
        "recipe": "dcgan course",
        "data": f"{len(data):,} rendered faces, {SIZE}×{SIZE}",
        "steps": result.steps,
        "seed": seed,
        "settings": {"latent": dcgan.LATENT, "width": WIDTH, "size": SIZE},
    }
    return [
        checkpoints.save(game.ema.module, folder / "course.safetensors", facts),
        result.timeline.thinned(FRAMES).save(folder / "course.timeline.zip"),
    ]


def make_game(device: torch.device) -> dcgan.Game:
    """The networks and settings of the recipe."""
    generator = dcgan.Generator(width=WIDTH, size=SIZE, precision="auto").to(device)
    discriminator = dcgan.Discriminator(width=WIDTH, size=SIZE, precision="auto").to(device)
    return dcgan.Game(generator, discriminator, real_label=0.9, r1=1.0)
