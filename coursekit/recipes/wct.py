"""The recipe of topic 05: five slim decoders for VGG-16, trained for reconstruction."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError
from coursekit.datasets import photos as course_photos
from coursekit.datasets.crops import Crops
from coursekit.wct_networks import (
    COURSE_WIDTHS,
    LEVELS,
    Autoencoder,
    Decoder,
    layer_of,
    load_decoder,
    measure,
    train_decoder,
)

SIZE, BATCH = 128, 2
# Steps of each level as a share of the number asked for; the deep ones have more to learn.
SHARES = {1: 0.36, 2: 0.28, 3: 0.72, 4: 1.0, 5: 1.0}
RATES = {1: 0.05, 2: 0.05, 3: 0.05, 4: 0.03, 5: 0.01}
# Crops for the start of the deep levels, and steps on their activations before the paper's loss.
EXAMPLES, FRONT_STEPS = {4: 64, 5: 2048}, {5: 2500}
HELD_OUT = ("chelsea", "coffee", "china", "astronaut")


def course(
    folder: Path,
    *,
    photos: Path | str | None = None,
    steps: int = 5500,
    seed: int = 0,
    progress: bool = True,
) -> list[Path]:
    """Train the five decoders that notebook 05 loads, the shallow ones first.

    Slim decoders (`wct_networks.COURSE_WIDTHS`), 128-pixel crops of photographs, two a batch, the
    encoder in bfloat16 where the machine multiplies it. Each level from 3 on begins as the one
    above it ends; levels 4 and 5 set the layers before that to a linear guess, and level 5 trains
    them by themselves first. Each file's header holds what the decoder reaches on photographs it
    has not seen (`measure`). An hour and a quarter on one CPU core that multiplies bfloat16.

    Args:
        folder: keeps a ``checkpoint.pt`` a level while it trains, and the results. A level that
            is done is not trained again.
        photos: a folder of photographs to train on; its subfolders count.
        steps: training steps of level 4; the others take their share (`SHARES`).
        seed: of everything.
        progress: show a progress bar.

    Returns:
        Five checkpoints; nothing if it was interrupted.

    Raises:
        SettingError: no folder of photographs.
        DataError: no such folder, or nothing in it that is large enough.
    """
    if photos is None:
        raise SettingError(
            "This recipe needs photographs to learn from: give a folder with --photos DIR, such "
            "as the 500 images of BSDS500."
        )
    crops = Crops(photos, SIZE, count=20_000, seed=seed)
    files: list[Path] = []
    for level in LEVELS:
        count = max(round(steps * SHARES[level]), 1)
        # What the file of the level above holds, so that a resumed run goes on from the same.
        shallower = load_decoder(level - 1, files[-1]) if level > 2 else None
        autoencoder, result = _train(level, crops, folder, count, seed, progress, shallower)
        if result.interrupted:
            return []
        files.append(_save(autoencoder, folder, len(crops.pictures), result.steps, seed))
    return files


def held_out() -> list[Tensor]:
    """Four photographs from other sources than the training set, shorter side 256."""
    return [course_photos.photo(name, 256) for name in HELD_OUT]


def _train(
    level: int,
    crops: Crops,
    folder: Path,
    steps: int,
    seed: int,
    progress: bool,
    shallower: Decoder | None,
) -> tuple[Autoencoder, training.TrainingResult]:
    device = runtime.best_device()
    runtime.seed_everything(seed)
    decoder = Decoder(level, COURSE_WIDTHS)
    count = EXAMPLES.get(level)
    examples = crops.batch(range(count), device)["image"] if count else None
    autoencoder = Autoencoder(decoder, precision="auto").to(device)
    result = train_decoder(
        autoencoder,
        training.Batches(crops, BATCH, seed=seed, device=device),
        steps=steps,
        shallower=shallower,
        examples=examples,
        front_steps=FRONT_STEPS.get(level, 0),
        learning_rate=RATES[level],
        folder=folder / f"level{level}",
        checkpoint_every=100,
        seed=seed,
        progress=progress,
        about=f"decoder of {layer_of(level)}, {len(crops.pictures)} photographs",
    )
    return autoencoder, result


def _save(autoencoder: Autoencoder, folder: Path, photographs: int, steps: int, seed: int) -> Path:
    """Measure what the file will hold, weights in half precision, and write it."""
    decoder = autoencoder.decoder.cpu().half().float()
    about = {
        "recipe": "wct course",
        "data": f"{photographs} photographs, crops of {SIZE}×{SIZE}",
        "steps": steps,
        "seed": seed,
        "settings": {"level": decoder.level, "widths": list(decoder.widths)},
        "held out": list(HELD_OUT),
        "measured": measure(Autoencoder(decoder), held_out()),
    }
    return checkpoints.save(decoder, folder / f"level{decoder.level}.safetensors", about)
