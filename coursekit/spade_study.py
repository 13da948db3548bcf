"""Topic 14, compared: does it matter *how* the label map comes in?

SPADE against `ConcatGenerator`: the same blocks at the same sizes, the same number of parameters to
a thousandth, the same discriminator, loss, data, number of steps and seeds. The one is told the map
at the normalisation, the other by planes stacked beside the features.

Source: none; a study of this course.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coursekit import spade, spade_measure
from coursekit.core import checkpoints, images, runtime, training
from coursekit.core.atomic import write_text
from coursekit.core.errors import DataError, SettingError
from coursekit.core.estimates import Estimate, mean_interval
from coursekit.datasets.scenes import CLASSES, colourise

SHARED: dict[str, Any] = {"labels": len(CLASSES), "size": 64, "doublings": 4}
WAYS: dict[str, tuple[type[spade.Generator | spade.ConcatGenerator], dict[str, Any]]] = {
    "SPADE": (spade.Generator, {"width": 16, "max_width": 48, "hidden": 32}),
    "concatenation": (spade.ConcatGenerator, {"width": 26, "max_width": 76}),
}
JUDGE: dict[str, Any] = {"labels": len(CLASSES), "width": 32, "layers": 3}
MEASURES = ("pixel accuracy", "mean IoU", "rare mean IoU")
SEEDS, STEPS, SCENES, BATCH, HELD_OUT, SHOWN = (0, 1, 2), 450, 2000, 8, 200, 8
RATES, PRECISION, DECAY = (8e-4, 8e-4), "auto", 0.98
STEM = "study"


@dataclass(frozen=True)
class Run:
    """One training of the comparison and its scores on held-out maps.

    Attributes:
        way: a name of `WAYS`.
        seed, steps: of the training.
        parameters: of the generator.
        seconds: that the training took.
        figures: by name of `MEASURES`.
    """

    way: str
    seed: int
    steps: int
    parameters: int
    seconds: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Study:
    """All trainings with what real pictures score, and some pictures of the first seed.

    Attributes:
        runs: as many of each way.
        real: by name of `MEASURES`, the segmenter on the true pictures.
        pictures: by row, ``"label map"``, each of `WAYS`, ``"true picture"``: (M, 3, H, W) in
            [0, 1], the first held-out maps.
    """

    runs: Sequence[Run]
    real: Mapping[str, float]
    pictures: Mapping[str, Tensor]

    def values(self, way: str, measure: str) -> list[float]:
        """One number a seed, in the order of the seeds.

        Raises:
            SettingError: no such way or measure.
        """
        if way not in WAYS or measure not in MEASURES:
            raise SettingError(f"{way!r} is of {list(WAYS)}, {measure!r} of {list(MEASURES)}.")
        runs = sorted((run for run in self.runs if run.way == way), key=lambda run: run.seed)
        return [run.figures[measure] for run in runs]

    def estimate(self, way: str, measure: str) -> Estimate:
        """The mean over the seeds, with Student's t interval."""
        return mean_interval(self.values(way, measure), name=f"{measure}, {way}")

    def advantage(self, measure: str) -> Estimate:
        """SPADE minus concatenation, seed by seed: the mean and its interval."""
        ours, theirs = (torch.tensor(self.values(way, measure)) for way in WAYS)
        return mean_interval(ours - theirs, name=f"{measure}, SPADE − concatenation")

    def rows(self) -> list[list[str]]:
        """The table: a row a way with every figure's mean over the seeds and its interval."""
        head = ["generator", "parameters", *MEASURES]
        body = []
        for way in WAYS:
            parameters = next(run.parameters for run in self.runs if run.way == way)
            cells = [_cell(self.estimate(way, measure)) for measure in MEASURES]
            body.append([way, f"{parameters:,}", *cells])
        gap = ["SPADE − concatenation", "", *(_cell(self.advantage(each)) for each in MEASURES)]
        real = ["true pictures", "", *(f"{self.real[measure]:.3f}" for measure in MEASURES)]
        return [head, *body, gap, real]


def _cell(found: Estimate) -> str:
    low, high = found.interval or (float("nan"),) * 2
    return f"{found.value:.3f} ({low:.3f} to {high:.3f})"


# --- Carrying it out -----------------------------------------------------------------------------


def make_game(way: str, device: torch.device | str = "cpu") -> spade.Game:
    """One side of the comparison; no VGG term and no styles, the same for both.

    Raises:
        SettingError: no such way.
    """
    if way not in WAYS:
        raise SettingError(f"There is no way {way!r}; there are {', '.join(WAYS)}.")
    kind, settings = WAYS[way]
    generator = kind(**SHARED, **settings, precision=PRECISION)
    judge = spade.MultiscaleDiscriminator(**JUDGE, precision=PRECISION)
    return spade.Game(
        spade.Painter(generator).to(device), judge.to(device), learning_rates=RATES, ema_decay=DECAY
    )


def train(
    way: str, seed: int, steps: int = STEPS, *, folder: Path | None = None, progress: bool = True
) -> tuple[spade.Painter, training.TrainingResult]:
    """One training: hinge and feature matching on scenes by day.

    Returns:
        The averaged painter and the training's result.
    """
    device = runtime.best_device()
    runtime.seed_everything(seed)
    game = make_game(way, device)
    batches = training.Batches(spade_measure.by_day(SCENES), BATCH, seed=seed, device=device)
    result = spade.train(
        game,
        batches,
        rate=lambda number: min(3 * (steps - number + 1) / steps, 1.0),
        steps=steps,
        folder=folder,
        seed=seed,
        log_every=max(steps // 20, 1),
        previews=1,
        progress=progress,
        about=f"{way}, seed {seed}",
    )
    return game.ema.module, result


def judge(bench: spade_measure.Bench, pictures: Tensor) -> dict[str, float]:
    """The figures of pictures (N, 3, H, W) in [0, 1] of the bench's maps, by name of `MEASURES`."""
    found = spade_measure.figures(bench.score(pictures))
    return {name: round(each.value, 5) for name, each in found.items()}


# --- Keeping it ----------------------------------------------------------------------------------


def rows_of(bench: spade_measure.Bench, painted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pictures that a study keeps, uint8 (n, 3, H, W), by row; ``painted`` is in [0, 1]."""
    maps = {"label map": colourise(bench.labels[:SHOWN])}
    made = {**painted, "true picture": bench.images}
    return maps | {name: each[:SHOWN].mul(255).round().byte() for name, each in made.items()}


def save(study: Study, folder: Path, stem: str = STEM) -> list[Path]:
    """Write ``STEM.json`` and ``STEM.jpg``, a sheet with a row of pictures a name."""
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in study.pictures.values()], dim=1)
    picture = images.save_image(sheet, folder / f"{stem}.jpg", quality=92)
    facts = {
        "rows": list(study.pictures),
        "real": dict(study.real),
        "runs": [asdict(run) for run in study.runs],
    }
    path = folder / f"{stem}.json"
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return [path, picture]


def load(path: Path | None = None) -> Study:
    """The course's own study, or the one at ``path`` (its ``.json``).

    Raises:
        DataError: it is missing or damaged.
    """
    path = path or checkpoints.path_of("spade", STEM).with_suffix(".json")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        sheet = images.load_image(path.with_suffix(".jpg"))[0]
        rows = sheet.chunk(len(facts["rows"]), dim=1)
        pictures = [torch.stack(row.split(row.shape[1], dim=2)) for row in rows]
        runs = [Run(**each) for each in facts["runs"]]
        return Study(runs, facts["real"], dict(zip(facts["rows"], pictures, strict=True)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(
            f"There is no sound study at {path.name}. Take it from a complete checkout, or make it "
            "with `coursekit train spade --recipe study`."
        ) from error
