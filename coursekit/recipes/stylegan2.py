"""The recipes of topic 13: faces at 64×64, and the steps from StyleGAN to StyleGAN2 in small."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coursekit import (
    dcgan,
    stylegan2,
    stylegan2_adain,
    stylegan2_measure,
    stylegan2_projection,
    stylegan2_styles,
)
from coursekit.core import checkpoints, recognise, runtime, show, training
from coursekit.core.atomic import write_text
from coursekit.core.images import save_image
from coursekit.core.metrics import RealStatistics
from coursekit.core.perceptual import LPIPS
from coursekit.datasets.base import Dataset
from coursekit.datasets.faces import faces
from coursekit.stylegan2_adain import VARIANTS, Variant

SIZES = {"size": 64, "base": 512, "most": 128}
LATENT, BATCH, COUNT, R1 = 128, 16, 20_000, 0.2
# With the equalised rate a step of Adam moves a layer's output by about λ·√inputs: narrow layers
# need a larger λ to learn at the pace of the published ones, which are up to 64 times as wide.
LEARNING_RATE = 6e-3
SAMPLES, FRAMES = 5000, 14  # measured on; frames of the film
PRECISION = "float32"

STUDY_SIZES = {"size": 64, "base": 512, "most": 64}
STUDY_SAMPLES, STUDY_PAIRS, SHOWN = 2000, 300, 24
KEPT = {"+ mapping network": "study-adain", "+ demodulation": "study-demodulated"}


def course(
    folder: Path,
    *,
    steps: int = 26_250,
    seed: int = 0,
    data: Dataset | None = None,
    progress: bool = True,
) -> list[Path]:
    """Train the generator of faces at 64×64 that notebook 13 loads.

    StyleGAN2 whole: skip generator, residual discriminator, style mixing, R1 at every 16th step and
    path length at every 4th. Narrow (8 maps at 64 pixels, at most 128), 16 images a step. Differs
    from Karras et al. 2020: learning rates three times as high (`LEARNING_RATE` says why), which
    fall to zero twice (`rate`), because the training is short; a smaller γ, because there are
    fewer pixels; no noise in the layers of the last resolution. A step took 0.21 s on two cores.

    Args:
        folder: keeps ``checkpoint.pt`` while it trains, and the results.
        steps: training steps.
        seed: of everything.
        data: square images of the recipe's size, instead of the rendered faces.
        progress: show a progress bar.

    Returns:
        The checkpoint and its timeline; nothing if it was interrupted.
    """
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(device)
    own, data = data is None, data or faces(COUNT, SIZES["size"], seed=seed)
    what = "rendered faces" if own else data.info.name
    batches = training.Batches(data, BATCH, seed=seed, device=device)
    result = stylegan2.train(
        game,
        batches,
        rate=lambda number: rate(number, steps),
        steps=steps,
        folder=folder,
        seed=seed,
        progress=progress,
        about=f"StyleGAN2, {len(data):,} {what}",
    )
    if result.interrupted:
        return []
    generator = in_half_precision(game.ema.module.cpu().eval())
    about = {
        "recipe": "stylegan2 course",
        "data": f"{len(data):,} {what}, {SIZES['size']}×{SIZES['size']}",
        "steps": result.steps,
        "seed": seed,
        "settings": {"sizes": SIZES, "latent": LATENT, "precision": "float32"},
        "measured": measured(generator) if own else {},
    }
    film = result.timeline.thinned(FRAMES).save(folder / "course.timeline.zip")
    return [checkpoints.save(generator, folder / "course.safetensors", about), film]


def rate(number: int, steps: int) -> float:
    """The share of the learning rates at a step: two cycles, each falling to zero at its end.

    A warm restart as in Loshchilov and Hutter 2017 (arXiv:1608.03983, section 3), with straight
    lines: the first cycle takes two thirds of the steps, and a cycle falls over its last third.

    Args:
        number: of the step, from 1.
        steps: of the whole training.
    """
    restart = 2 * steps // 3
    begin, end = (0, restart) if number <= restart else (restart, steps)
    return min(3 * (end - number + 1) / (end - begin), 1.0)


def make_game(device: torch.device) -> stylegan2.Game:
    """The networks and settings of the recipe ``course``."""
    game = stylegan2_adain.make_game(
        Variant(r1=R1),
        stylegan2.Sizes(**SIZES),
        latent=LATENT,
        precision=PRECISION,
        device=device,
        learning_rate=LEARNING_RATE,
    )
    # The strengths start at 0. With eight maps, noise stood in for every fine detail: specks.
    for layer in stylegan2_projection.noisy_layers(game.generator.synthesis).values():
        layer.noise_strength.requires_grad_(layer.resolution < SIZES["size"])
    return game


def in_half_precision(module: dcgan.Network) -> dcgan.Network:
    """A copy with the weights that `checkpoints.save` keeps: what is measured is what is kept."""
    rounded = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in (*rounded.parameters(), *rounded.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return rounded


def measured(generator: stylegan2.Generator) -> dict[str, object]:
    """FID and the diversity by factor, for the checkpoint's header."""
    size = generator.synthesis.sizes.size
    with stylegan2_measure.in_float32(generator):
        real = stylegan2_measure.real_statistics(SAMPLES, size)
        score = stylegan2_measure.fid(generator, real, count=min(SAMPLES, 2000))
        found = stylegan2_measure.coverage(generator, recognise.load("faces"), count=SAMPLES)
    lost = [f"{share.factor}: {share.value}" for share in found.lost]
    rarest = found.rarest
    return {
        "FID": asdict(score),
        "values asked for": len(found.shares),
        "values that lost half": lost,
        "lowest ratio": [f"{rarest.factor}: {rarest.value}", round(rarest.ratio, 3)],
    }


# --- The study -----------------------------------------------------------------------------------


def study(folder: Path, *, steps: int = 3000, seed: int = 0, progress: bool = True) -> list[Path]:
    """The steps from StyleGAN to StyleGAN2, each trained alike and measured alike.

    Five trainings of `stylegan2_adain.VARIANTS` on rendered faces at 64×64: the same data, batches
    of 16, learning rates, widths (8 maps at 64 pixels, at most 64) and number of steps. Measured at
    the end, on the averaged generator: FID, perceptual path length, and how much single places
    dominate the maps. A variant that has ended is not trained again, and one that was stopped goes
    on. A variant took 37 to 96 s on a GPU that seven trainings shared.

    Args:
        folder: keeps a folder a variant, and the results.
        steps: of every variant.
        seed: of every variant.
        progress: show progress bars.

    Returns:
        ``study.json``, a sheet of samples a variant, and the generators of `KEPT`; nothing if it
        was interrupted.
    """
    data = faces(COUNT, STUDY_SIZES["size"], seed=seed)
    real = stylegan2_measure.real_statistics(SAMPLES, STUDY_SIZES["size"])
    rows, files = {}, []
    for name, variant in VARIANTS.items():
        own = folder / f"{list(VARIANTS).index(name)}"
        generator = _trained(own, variant, data, steps, seed, progress)
        if generator is None:
            return []
        rows[name] = _row(own / "row.json", generator, real)
        stem = f"study-{list(VARIANTS).index(name)}"
        files.append(_sheet(generator, folder / f"{stem}.jpg"))
        if name in KEPT:
            files.append(
                _kept(generator, folder / f"{KEPT[name]}.safetensors", variant, steps, seed)
            )
        if progress:
            print(f"{name}: FID {rows[name]['FID']['value']:.3g}", flush=True)
    return [_write(folder / "study.json", rows, steps, seed), *files]


def _trained(
    folder: Path, variant: Variant, data: Dataset, steps: int, seed: int, progress: bool
) -> stylegan2.Generator | None:
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = stylegan2_adain.make_game(
        variant,
        stylegan2.Sizes(**STUDY_SIZES),
        latent=LATENT,
        precision=PRECISION,
        device=device,
        ema_images=2000.0,
    )
    batches = training.Batches(data, BATCH, seed=seed, device=device)
    result = stylegan2.train(
        game,
        batches,
        steps=steps,
        folder=folder,
        seed=seed,
        log_every=max(steps // 100, 1),
        preview=None,
        progress=progress,
    )
    return None if result.interrupted else in_half_precision(game.ema.module.cpu().eval())


def _row(path: Path, generator: stylegan2.Generator, real: RealStatistics) -> Mapping[str, Any]:
    """What is measured of a variant; kept in its folder, so that it is measured once."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    distance = LPIPS()
    with stylegan2_measure.in_float32(generator):
        score = stylegan2_measure.fid(generator, real, count=STUDY_SAMPLES)
        lengths = {
            space: asdict(
                stylegan2_measure.path_length(generator, distance, space, count=STUDY_PAIRS)
            )
            for space in stylegan2_measure.SPACES
        }
        places = [asdict(each) for each in stylegan2_adain.find_droplets(generator)]
    row = {"FID": asdict(score), "path length": lengths, "dominance": places}
    write_text(path, json.dumps(row, ensure_ascii=False))
    return row


def _sheet(generator: stylegan2.Generator, path: Path) -> Path:
    """The first samples, always of the same z and none left out."""
    w = stylegan2_styles.draw_w(generator, SHOWN, seed=1)
    save_image(show.tile(_pictures(generator, w))[None], path)
    return path


def _pictures(generator: stylegan2.Generator, w: Tensor) -> Tensor:
    with stylegan2_measure.in_float32(generator):
        return stylegan2_styles.pictures(generator, w)


def _kept(
    generator: stylegan2.Generator, path: Path, variant: Variant, steps: int, seed: int
) -> Path:
    names = ("block", "output", "mapping_layers")
    settings = {name: getattr(variant, name) for name in names}
    about = {
        "recipe": "stylegan2 study",
        "data": f"{COUNT:,} rendered faces, {STUDY_SIZES['size']}×{STUDY_SIZES['size']}",
        "steps": steps,
        "seed": seed,
        "settings": {"sizes": STUDY_SIZES, "latent": LATENT, **settings},
    }
    return checkpoints.save(generator, path, about)


def _write(path: Path, rows: Mapping[str, object], steps: int, seed: int) -> Path:
    head = {
        "recipe": "stylegan2 study",
        "steps": steps,
        "batch": BATCH,
        "seed": seed,
        "sizes": STUDY_SIZES,
        "variants": {name: asdict(variant) for name, variant in VARIANTS.items()},
        "rows": rows,
    }
    write_text(path, json.dumps(head, indent=1, ensure_ascii=False) + "\n")
    return path
