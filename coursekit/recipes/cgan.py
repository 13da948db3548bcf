"""The recipe of topic 09: conditional GANs on digits, one by projection, one by concatenation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from coursekit import cgan, cgan_measure
from coursekit.core import checkpoints, recognise, runtime, training
from coursekit.datasets.digits import digits

NAMES = {"projection": "course", "concatenation": "concatenation"}
WIDTHS, BATCH = (24, 16), 64
PREVIEWS, FRAMES = 18, 12  # looks along the training, and how many of them the film keeps
RATES = (1e-3, 4e-4)  # of G and D: five and two times DCGAN's, three times as quick to here
# The discriminator would learn 4,000 digits by heart; moved ones are as good as new ones.
AUGMENT = recognise.Augmentation(shift=1.0, rotation=6.0, scale=0.06, shear=0.06)


def course(folder: Path, *, steps: int = 3000, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train the two generators of digits that notebook 09 loads, first by projection.

    The same generator, data and settings for both; only the discriminator hears the label in
    another way. Real digits under wrong labels count as wrong pairs too. Stabilisers: averaged
    weights, real images labelled 0.9, real digits moved by up to a pixel, 6 degrees and 6 % before
    each look, learning rates that fall to zero over the last third. Each file's header holds what
    `cgan_measure.Bench` found on its half-precision weights.

    Args:
        folder: keeps a ``checkpoint.pt`` a way while it trains, and the results.
        steps: training steps a way.
        seed: of everything.
        progress: show a progress bar.

    Returns:
        Two checkpoints and the timeline of the first; nothing if it was interrupted.
    """
    bench, files = cgan_measure.Bench(), []
    for way, name in NAMES.items():
        game, result = _train(way, folder / way, steps, seed, progress)
        if result.interrupted:
            return []
        facts = {"way": way, "steps": result.steps, "seed": seed}
        files.append(_save(game.ema.module, folder / f"{name}.safetensors", bench, facts))
        if name == "course":
            film = result.timeline.thinned(FRAMES)
            files.append(film.save(folder / "course.timeline.zip"))
    return files


def make_game(way: str, device: torch.device) -> cgan.Game:
    """The networks and settings of the recipe."""
    generator = cgan.Generator(width=WIDTHS[0]).to(device)
    discriminator = cgan.Discriminator(way, width=WIDTHS[1]).to(device)
    return cgan.Game(
        generator, discriminator, learning_rates=RATES, real_label=0.9, mismatched=True
    )


def _train(
    way: str, folder: Path, steps: int, seed: int, progress: bool
) -> tuple[cgan.Game, training.TrainingResult]:
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(way, device)
    batches = training.Batches(digits("train", size=cgan.SIZE), BATCH, seed=seed, device=device)
    result = cgan.train(
        game,
        batches,
        augment=AUGMENT,
        rate=lambda number: min(3 * (steps - number + 1) / steps, 1.0),
        steps=steps,
        folder=folder,
        seed=seed,
        previews=PREVIEWS,
        progress=progress,
        about=f"conditional GAN by {way}, {len(batches.data):,} digits of MNIST",
    )
    return game, result


def _save(
    generator: cgan.Generator, path: Path, bench: cgan_measure.Bench, facts: dict[str, object]
) -> Path:
    """Measure what the file will hold, weights in half precision, and write it."""
    generator = generator.cpu().half().float()
    found = bench.measure(generator)
    about = {
        "recipe": "cgan course",
        "data": "4,000 digits of MNIST, 32×32",
        "settings": {"width": WIDTHS[0]},
        "measured": {
            "agreement": asdict(found.agreement),
            "by class": {str(digit): each.value for digit, each in found.by_class.items()},
            "modes reached": asdict(found.coverage),
            "spread": asdict(found.spread),
            "held-out digits": bench.ceiling(),
        },
    }
    return checkpoints.save(generator, path, about | facts)
