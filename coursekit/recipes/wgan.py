"""The recipe of topic 08: the study of losses, and a WGAN-GP of digits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import dcgan, wgan, wgan_study
from coursekit.core import checkpoints, runtime, show, training
from coursekit.core.images import save_image
from coursekit.datasets.digits import digits
from coursekit.wgan_study import Protocol, Study, StudyRun

SETTINGS: dict[str, Any] = {"latent": 64, "width": 16, "size": 32, "channels": 1}
CRITIC_WIDTH, BATCH, LEARNING_RATE = 12, 64, 3e-4
SHOWN, FRAMES = 40, 11
PROTOCOL = Protocol()

Networks = Callable[[], tuple[dcgan.LatentGenerator, nn.Module]]


def course(folder: Path, *, steps: int = 2000, seed: int = 0, progress: bool = True) -> list[Path]:
    """Make everything that notebook 08 loads: the study, then the generator of digits.

    The study is `wgan_study.Protocol`: fifteen short trainings on digits, twice. The generator is
    DCGAN's, the critic DCGAN's discriminator without batch normalisation, both narrow; WGAN-GP at
    the published settings, but for a learning rate three times as large, because it is short.
    All of it took 37 minutes on one thread of a machine that had other work to do.

    Args:
        folder: keeps checkpoints while it works, and the results.
        steps: of the generator of digits; the study has its own protocol.
        seed: of the generator of digits.
        progress: show progress.

    Returns:
        The study's first run and the study, pictures of its badly built generators, the checkpoint
        and its timeline; nothing if it was interrupted.
    """
    first = study(folder / "first", wgan_study.FIRST, progress=progress)
    second = first and study(folder, progress=progress)
    made = second and generator(folder, steps=steps, seed=seed, progress=progress)
    if not made:
        return []
    kept = folder / "study-first.json"
    shutil.copyfile(first[0], kept)
    return [kept, *second, *made]


# --- The study -----------------------------------------------------------------------------------


def study(folder: Path, protocol: Protocol = PROTOCOL, *, progress: bool = True) -> list[Path]:
    """Carry out the protocol; a run that has ended is not done again.

    Returns:
        ``study.json`` and two pictures, or nothing if it was interrupted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    instrument = wgan_study.Instrument(protocol.samples)
    runs, pictures = [], []
    for name, method, seed in plan(protocol):
        found = _run(folder, name, method, seed, protocol, instrument, progress)
        if found.interrupted:
            return []
        about = {"networks": name, "method": method, "seed": seed}
        runs.append({**about, "records": found.records})
        if name == "bad" and seed == protocol.seeds[0]:
            pictures.append(_picture(found.generator, folder / f"bad-{method.lower()}.png"))
    done = Study(protocol, instrument.extractor.name, runs)
    return [wgan_study.save(done, folder / "study.json"), *pictures]


def plan(protocol: Protocol) -> list[tuple[str, str, int]]:
    """Which networks, by which method, with which seed: every run of the study."""
    good = [("good", method, seed) for seed in protocol.seeds for method in wgan_study.METHODS]
    bad = [("bad", method, seed) for seed in protocol.seeds for method in ("GAN", "penalty")]
    return good + bad


def _run(
    folder: Path,
    name: str,
    method: str,
    seed: int,
    protocol: Protocol,
    instrument: wgan_study.Instrument,
    progress: bool,
) -> StudyRun:
    networks: Networks = wgan_study.good_networks
    updates, looks = protocol.updates, protocol.checkpoints
    if name == "bad":
        networks = wgan_study.bad_networks
        updates, looks = protocol.bad_updates, protocol.bad_checkpoints
    found = wgan_study.observe(
        method,
        networks,
        instrument,
        updates=updates,
        looks=looks,
        seed=seed,
        batch=protocol.batch,
        folder=folder / f"{name}-{method.lower()}-{seed}",
    )
    if progress:
        last = found.records[-1] if found.records else {}
        print(f"{name} networks, {method}, seed {seed}: FID {last.get('fid')}", flush=True)
    return found


def _picture(generator: dcgan.LatentGenerator, path: Path) -> Path:
    """The first samples in a grid; always from the same z, none left out."""
    z = dcgan.sample_latent(SHOWN, generator.latent, seed=1)
    save_image(show.tile(dcgan.samples(generator, z))[None], path)
    return path


# --- The generator of digits ---------------------------------------------------------------------


def generator(folder: Path, *, steps: int, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train the generator of digits at 32×32; nothing is returned if it was interrupted."""
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(device)
    data = digits("train", size=SETTINGS["size"])
    batches = training.Batches(data, BATCH, seed=seed, device=device)
    shown = dcgan.sample_latent(SHOWN, SETTINGS["latent"], seed=1).to(device)
    result = wgan.train(
        game,
        batches,
        steps=steps,
        folder=folder / "generator",
        checkpoint_every=100,
        seed=seed,
        progress=progress,
        preview=lambda: _preview(game, shown),
        about=f"WGAN-GP, {len(data):,} digits",
    )
    if result.interrupted:
        return []
    facts = {
        "recipe": "wgan course",
        "data": f"{len(data):,} digits of MNIST, {SETTINGS['size']}×{SETTINGS['size']}",
        "steps": result.steps,
        "seed": seed,
        "settings": SETTINGS,
        "metrics": wgan_study.Instrument()(game.ema.module),
    }
    return [
        checkpoints.save(game.ema.module, folder / "course.safetensors", facts),
        result.timeline.thinned(FRAMES).save(folder / "course.timeline.zip"),
    ]


def make_game(device: torch.device) -> wgan.WassersteinGame:
    """The networks and settings of the generator of digits."""
    made = dcgan.Generator(**SETTINGS).to(device)
    critic = wgan.convolutional_critic(CRITIC_WIDTH, SETTINGS["size"], SETTINGS["channels"])
    return wgan.WassersteinGame(
        made, critic.to(device), learning_rate=LEARNING_RATE, ema_decay=0.99
    )


def _preview(game: wgan.WassersteinGame, shown: Tensor) -> Tensor:
    return dcgan.to_unit(game.ema.module(shown))
