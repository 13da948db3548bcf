"""Topic 10, the study: the paper's ablations and the lecture's applications as data, and what came.

`OBJECTIVES` and `PATCHES` are the ablations of Isola et al. 2017 (sections 4.2 to 4.4) on emoji, at
a size that two CPU cores can train; `APPLICATIONS` are the lecture's. Within a block everything is
the same but what its variants name: data, steps, batch, seed, learning rates, generator width. All
were written down before any of them was trained, and none was trained twice; the learning rates
come from two trials of 500 steps, L1 + cGAN on emoji, looked at on a part of the training half.

The intervals are over the held-out drawings. They do not say what another training seed would give.

Source: none; how a study of this course is made and kept.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import pix2pix, pix2pix_measure, pix2pix_tasks
from coursekit.core import checkpoints, images, runtime, training
from coursekit.core.atomic import write_text
from coursekit.core.errors import DataError, SettingError
from coursekit.core.estimates import Estimate
from coursekit.datasets.base import Dataset
from coursekit.pix2pix_networks import PatchDiscriminator, UNetGenerator

SHOWN = 8  # held-out pairs whose pictures are kept: the first ones, none left out
TRUTH, NEIGHBOUR, INPUT = "the true picture", "nearest neighbour", "the input, unchanged"
LEARNING_RATES = (1e-3, 5e-4)  # of G and D: small networks, few steps; the paper has 2e-4 for both
PRECISION = "auto"
_DIGITS = 5


@dataclass(frozen=True)
class Variant:
    """One training of the study.

    Attributes:
        name: as in the table.
        task: of `pix2pix_tasks.TASKS`.
        size: of the pictures.
        adversarial: whether there is a discriminator in the objective.
        l1_weight: λ; 0 leaves L1 out.
        skips: whether the generator is a U-Net or an encoder and decoder.
        layers: of the discriminator, which decide its receptive field.
        moved: whether pairs are mirrored and shifted before each look; not those with a palette.
        steps, batch: how long, on how many pairs a step.
        width, max_width: of the generator.
        d_width: of the discriminator.
        seed: of weights, order and dropout.
    """

    name: str
    task: str = "emoji"
    size: int = 64
    adversarial: bool = True
    l1_weight: float = 100.0
    skips: bool = True
    layers: int = 2
    moved: bool = True
    steps: int = 1200
    batch: int = 8
    width: int = 24
    max_width: int = 160
    d_width: int = 24
    seed: int = 0

    @property
    def depth(self) -> int:
        """Halvings down to one pixel."""
        return self.size.bit_length() - 1


def _objectives() -> tuple[Variant, ...]:
    ways = {"L1": (False, 100.0), "cGAN": (True, 0.0), "L1 + cGAN": (True, 100.0)}
    return tuple(
        Variant(
            name if skips else f"{name}, no skips",
            adversarial=adversarial,
            l1_weight=weight,
            skips=skips,
        )
        for skips in (True, False)
        for name, (adversarial, weight) in ways.items()
    )


def _patches() -> tuple[Variant, ...]:
    names = {0: "PixelGAN (1)", 1: "PatchGAN (16)", 3: "PatchGAN (70)", 4: "ImageGAN (142)"}
    return tuple(
        Variant(name, size=128, layers=layers, steps=700, width=16, max_width=128, d_width=16)
        for layers, name in names.items()
    )


def _applications() -> tuple[Variant, ...]:
    tasks = ("scenes", "night", "grey", "background", "palette")
    return tuple(Variant(task, task, moved=task != "palette", steps=800) for task in tasks)


OBJECTIVES, PATCHES, APPLICATIONS = _objectives(), _patches(), _applications()
BLOCKS: Mapping[str, tuple[Variant, ...]] = {
    "objectives": OBJECTIVES,
    "patches": PATCHES,
    "applications": APPLICATIONS,
}
REFERENCE = {"objectives": "L1 + cGAN", "patches": "PatchGAN (70)"}


# --- Carrying it out -----------------------------------------------------------------------------


def make_game(variant: Variant, device: torch.device | str = "cpu") -> pix2pix.Game[UNetGenerator]:
    """The networks and the objective of a variant."""
    generator = UNetGenerator(
        width=variant.width,
        depth=variant.depth,
        max_width=variant.max_width,
        skips=variant.skips,
        precision=PRECISION,
    )
    discriminator = PatchDiscriminator(
        width=variant.d_width, layers=variant.layers, precision=PRECISION
    )
    return pix2pix.Game(
        generator.to(device),
        discriminator.to(device),
        adversarial=variant.adversarial,
        l1_weight=variant.l1_weight,
        learning_rates=LEARNING_RATES,
    )


def train(variant: Variant, folder: Path | None = None, *, progress: bool = True) -> Trained:
    """Train one variant; a second call with the same folder goes on where the first stopped.

    The learning rates fall to zero over the last third.

    Args:
        variant: what to train.
        folder: keeps ``checkpoint.pt``.
        progress: show a progress bar.
    """
    device = runtime.best_device()
    runtime.seed_everything(variant.seed)
    game = make_game(variant, device)
    data = pix2pix_tasks.task(variant.task, "train", variant.size)
    batches = training.Batches(data, variant.batch, seed=variant.seed, device=device)
    result = pix2pix.train(
        game,
        batches,
        shift=2 if variant.moved else 0,
        flip=variant.moved,
        rate=lambda number: min(3 * (variant.steps - number + 1) / variant.steps, 1.0),
        steps=variant.steps,
        folder=folder,
        checkpoint_every=100,
        seed=variant.seed,
        progress=progress,
        about=f"{variant.name}, {variant.task}, {variant.size} pixels",
    )
    return Trained(game.ema.module, result)


@dataclass(frozen=True)
class Trained:
    """The averaged generator and how its training went."""

    generator: nn.Module
    result: training.TrainingResult


def judge(output: Tensor, held_out: Dataset) -> dict[str, list[float]]:
    """`pix2pix_measure.MEASURES` of each held-out pair, in their order.

    Args:
        output: (N, 3, H, W) in [0, 1], one a held-out pair.
        held_out: the pairs.
    """
    batch = held_out.batch(torch.arange(len(held_out)))
    found = pix2pix_measure.measure(output, batch["target"], batch["region"])
    return {name: [round(v, _DIGITS) for v in each.tolist()] for name, each in found.items()}


def outputs(generator: nn.Module, held_out: Dataset) -> Tensor:
    """What the generator makes of every held-out input, (N, 3, H, W) in [0, 1]."""
    inputs = held_out.batch(torch.arange(len(held_out)))["input"]
    return pix2pix.translate(generator, inputs)


def baselines(train_half: Dataset, held_out: Dataset) -> dict[str, Tensor]:
    """What needs no training, by name, (N, 3, H, W) each: the truth first."""
    batch = held_out.batch(torch.arange(len(held_out)))
    nearest = pix2pix_measure.nearest_neighbour(
        train_half.fields["input"], held_out.fields["input"]
    )
    return {
        TRUTH: batch["target"],
        NEIGHBOUR: train_half.batch(nearest)["target"],
        INPUT: batch["input"],
    }


# --- The result ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of one variant or baseline.

    Attributes:
        name: of the variant or baseline.
        about: the variant's settings, seconds and parameters; empty for a baseline.
        values: by measure, one number a held-out pair.
        pictures: uint8 (SHOWN, 3, H, W), of the first held-out pairs.
    """

    name: str
    about: Mapping[str, Any]
    values: Mapping[str, Sequence[float]] = field(repr=False)
    pictures: Tensor = field(repr=False)

    def estimate(self, measure: str) -> Estimate:
        """The mean over the held-out pairs, with its interval."""
        return pix2pix_measure.mean(torch.tensor(self.values[measure]), measure)

    def against(self, other: Outcome, measure: str) -> Estimate:
        """This one minus the other, pair by pair."""
        first, second = (torch.tensor(each.values[measure]) for each in (self, other))
        name = f"{measure}, {self.name} − {other.name}"
        return pix2pix_measure.paired_difference(first, second, name)


@dataclass(frozen=True)
class Block:
    """All outcomes on one set of held-out pairs.

    Attributes:
        name: of `BLOCKS`, or a task for an application.
        inputs: uint8 (SHOWN, 3, H, W).
        outcomes: by name: variants in the order of the study, then baselines.
    """

    name: str
    inputs: Tensor = field(repr=False)
    outcomes: Mapping[str, Outcome] = field(repr=False)

    def estimates(self, measure: str) -> dict[str, Estimate]:
        """By name, without those for which the measure says nothing (the truth's error is 0)."""
        return {
            name: outcome.estimate(measure)
            for name, outcome in self.outcomes.items()
            if measure == "colourfulness" or name != TRUTH
        }

    def differences(self, measure: str, reference: str) -> dict[str, Estimate]:
        """Of every variant and of the nearest neighbour: itself − the reference, pair by pair.

        Raises:
            SettingError: there is no such reference.
        """
        if reference not in self.outcomes:
            raise SettingError(f"No {reference!r}; there are {', '.join(self.outcomes)}.")
        base = self.outcomes[reference]
        return {
            name: outcome.against(base, measure)
            for name, outcome in self.outcomes.items()
            if name not in (reference, TRUTH, INPUT)
        }

    def rows(self) -> list[tuple[str, ...]]:
        """(name, then each measure with its interval) as text."""
        return [
            (name, *(_cell(name, outcome, measure) for measure in pix2pix_measure.MEASURES))
            for name, outcome in self.outcomes.items()
        ]

    def __str__(self) -> str:
        rows = [("", *pix2pix_measure.MEASURES), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        names = ("L1 ↓", "LPIPS ↓", "colourfulness")
        head = "".join(f"<th>{name}</th>" for name in ("", *names))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def grid(self, names: Sequence[str]) -> list[list[Tensor]]:
        """Rows of pictures for `show.sweep`: the inputs, then the outcomes of these names.

        Each picture is (1, 3, H, W).
        """
        rows = [self.inputs, *(self.outcomes[name].pictures for name in names)]
        return [[picture[None] for picture in row] for row in rows]


def _cell(name: str, outcome: Outcome, measure: str) -> str:
    if name == TRUTH and measure != "colourfulness":
        return "0"
    found, places = outcome.estimate(measure), 1 if measure == "colourfulness" else 3
    low, high = found.interval or (found.value, found.value)
    return f"{found.value:.{places}f} ({low:.{places}f} to {high:.{places}f})"


# --- Keeping it ----------------------------------------------------------------------------------


def save(block: Block, folder: Path, stem: str, *, ending: str = ".jpg") -> list[Path]:
    """Write a block as ``STEM.json`` and one picture: rows of pictures without gaps.

    Args:
        block: what to keep.
        folder: where.
        stem: of the two files.
        ending: of the picture, ``".jpg"`` or ``".png"``.

    Returns:
        The two files.
    """
    rows = [block.inputs, *(outcome.pictures for outcome in block.outcomes.values())]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    facts = [
        {"name": each.name, "about": dict(each.about), "values": dict(each.values)}
        for each in block.outcomes.values()
    ]
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in facts)
    picture = images.save_image(sheet, folder / f"{stem}{ending}", quality=75)
    text = f'{{"block": {json.dumps(block.name)}, "picture": "{picture.name}", "outcomes": [\n'
    path = folder / f"{stem}.json"
    write_text(path, f"{text}{lines}\n]}}\n")
    return [path, picture]


def read(path: Path) -> Block:
    """Read what `save` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sheet = images.load_image(path.with_name(content["picture"]))[0].mul(255).round().byte()
        rows = sheet.chunk(len(content["outcomes"]) + 1, dim=1)
        pictures = [torch.stack(row.split(row.shape[1], dim=2)) for row in rows]
        outcomes = {
            each["name"]: Outcome(each["name"], each["about"], each["values"], shown)
            for each, shown in zip(content["outcomes"], pictures[1:], strict=True)
        }
        return Block(content["block"], pictures[0], outcomes)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(
            f"There is no sound study {path.name}. Take it from a complete checkout of the course, "
            "or make it with `coursekit train pix2pix --recipe study`."
        ) from error


def load(name: str) -> Block:
    """A block of the course's own study: ``"objectives"``, ``"patches"``, ``"control"`` or the task
    of an application.

    Raises:
        DataError: it is missing or damaged.
        SettingError: there is no such block.
    """
    tasks = [variant.task for variant in APPLICATIONS]
    studies = ["objectives", "patches", "control"]
    if name not in (*studies, *tasks):
        known = ", ".join([*studies, *tasks])
        raise SettingError(f"There is no block {name!r} in the study; there are {known}.")
    stem = f"applications-{name}" if name in tasks else f"study-{name}"
    return read(checkpoints.path_of("pix2pix", stem).with_suffix(".json"))


def settings(variant: Variant, trained: Trained) -> dict[str, Any]:
    """What the file keeps about a training."""
    parameters = sum(p.numel() for p in trained.generator.parameters())
    seconds = round(trained.result.seconds)
    return asdict(variant) | {"seconds": seconds, "generator parameters": parameters}


def shown(pictures: Tensor) -> Tensor:
    """The first pictures (N, 3, H, W) in [0, 1] as the study keeps them, uint8."""
    return pictures[:SHOWN].mul(255).round().byte()
