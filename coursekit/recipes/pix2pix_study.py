"""The recipes of topic 10 that make its tables: the ablations and the lecture's applications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from coursekit import pix2pix, pix2pix_study, pix2pix_tasks
from coursekit.core import runtime
from coursekit.core.errors import DataError
from coursekit.datasets.base import Dataset
from coursekit.pix2pix_study import Block, Outcome, Variant
from coursekit.recipes import pix2pix as recipe


def study(
    folder: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    held_out: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Carry out the two ablations of the paper on emoji: objectives and skips, and patches.

    Ten short trainings, `pix2pix_study.OBJECTIVES` at 64 pixels and `pix2pix_study.PATCHES` at 128.
    A variant that has ended is not trained again, and one that was stopped goes on.

    Args:
        folder: keeps a checkpoint and a result a variant, and the tables.
        steps: of every variant; those of the protocol by default.
        seed: of every variant.
        held_out: how many held-out drawings to measure on; all by default.
        progress: show progress.

    Returns:
        ``study-objectives`` and ``study-patches``, each a ``.json`` and a ``.jpg``; those that are
        complete, if it was interrupted.
    """
    files = []
    for name in ("objectives", "patches"):
        variants = _changed(pix2pix_study.BLOCKS[name], steps, seed)
        files += _block(folder, f"study-{name}", name, variants, held_out, progress)
    return files


def applications(
    folder: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    held_out: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Train one small network for each application of the lecture; only what it makes is kept.

    Args:
        folder, steps, seed, held_out, progress: as for `study`.

    Returns:
        For each task ``applications-TASK.json`` and ``.jpg``.
    """
    files = []
    for variant in _changed(pix2pix_study.APPLICATIONS, steps, seed):
        stem = f"applications-{variant.task}"
        files += _block(folder, stem, variant.task, [variant], held_out, progress)
    return files


def control(
    folder: Path, *, steps: int | None = None, seed: int = 0, progress: bool = True
) -> list[Path]:
    """Train the course's network a second time, on L1 alone, and measure both.

    Everything but the objective is that of the course's checkpoint, its number of steps too. What
    comes out says what the game is good for after a training of that length. About 25 minutes on
    one core.

    Args:
        folder, steps, seed, progress: as for `study`; the checkpoint's steps by default.

    Returns:
        ``study-control.json`` and ``.jpg``; nothing if it was interrupted.

    Raises:
        WeightsError: the course's checkpoint is missing.
    """
    painter, course = pix2pix.load()
    about = course.about
    known, held_out = (pix2pix_tasks.task("emoji", half, 64) for half in ("train", "test"))
    runtime.seed_everything(seed)
    game = recipe.make_game(
        about["settings"],
        about["training"]["patch_layers"],
        about["training"]["l1_weight"],
        pix2pix_study.PRECISION,
        runtime.best_device(),
        adversarial=False,
    )
    steps = steps or about["steps"]
    result = recipe.train(game, known, held_out, folder, steps, seed, progress)
    if result.interrupted:
        return []
    alone = pix2pix_study.outputs(game.ema.module, held_out)
    facts = {"L1 + cGAN": about["steps"], "L1": steps}
    made = {"L1 + cGAN": pix2pix_study.outputs(painter, held_out), "L1": alone}
    outcomes = {}
    for name, pictures in (made | pix2pix_study.baselines(known, held_out)).items():
        said = {"steps": facts[name], "recipe": about["recipe"]} if name in facts else {}
        outcomes[name] = _judged(name, said, pictures, held_out)
    done = Block("control", held_out.fields["input"][: pix2pix_study.SHOWN], outcomes)
    return pix2pix_study.save(done, folder, "study-control")


def _changed(variants: Sequence[Variant], steps: int | None, seed: int) -> list[Variant]:
    return [replace(each, steps=steps or each.steps, seed=seed) for each in variants]


def _block(
    folder: Path,
    stem: str,
    name: str,
    variants: Sequence[Variant],
    count: int | None,
    progress: bool,
) -> list[Path]:
    """Every variant, then the baselines; nothing if it was interrupted."""
    first = variants[0]
    held_out = pix2pix_tasks.task(first.task, "test", first.size, count=count)
    outcomes = {}
    for variant in variants:
        found = _outcome(folder / stem, variant, held_out, progress)
        if found is None:
            return []
        outcomes[variant.name] = found
    known = pix2pix_tasks.task(first.task, "train", first.size)
    for baseline, made in pix2pix_study.baselines(known, held_out).items():
        outcomes[baseline] = _judged(baseline, {}, made, held_out)
    done = Block(name, held_out.fields["input"][: pix2pix_study.SHOWN], outcomes)
    return pix2pix_study.save(done, folder, stem)


def _outcome(folder: Path, variant: Variant, held_out: Dataset, progress: bool) -> Outcome | None:
    """The kept result of this very variant, or a new one; None if it was interrupted."""
    stem = "".join(c if c.isalnum() else "-" for c in variant.name)
    folder.mkdir(parents=True, exist_ok=True)
    kept = _kept(folder / f"{stem}.json", variant, len(held_out))
    if kept is not None:
        return kept
    trained = pix2pix_study.train(variant, folder / stem, progress=progress)
    if trained.result.interrupted:
        return None
    made = pix2pix_study.outputs(trained.generator, held_out)
    about = pix2pix_study.settings(variant, trained)
    found = _judged(variant.name, about, made, held_out)
    inputs = held_out.fields["input"][: pix2pix_study.SHOWN]
    pix2pix_study.save(
        Block(variant.name, inputs, {variant.name: found}), folder, stem, ending=".png"
    )
    if progress:
        measured = ", ".join(str(found.estimate(name)) for name in ("L1", "LPIPS"))
        print(f"{variant.task}, {variant.name}: {measured}", flush=True)
    return found


def _kept(path: Path, variant: Variant, pairs: int) -> Outcome | None:
    try:
        found = pix2pix_study.read(path).outcomes[variant.name]
    except (DataError, KeyError):
        return None
    same = all(found.about.get(name) == value for name, value in asdict(variant).items())
    return found if same and len(found.values["L1"]) == pairs else None


def _judged(name: str, about: dict[str, object], made: torch.Tensor, held_out: Dataset) -> Outcome:
    values = pix2pix_study.judge(made, held_out)
    return Outcome(name, about, values, pix2pix_study.shown(made))
