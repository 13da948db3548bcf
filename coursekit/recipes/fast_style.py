"""The recipe of topic 04: one network a style, trained on photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import fast_style
from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError
from coursekit.core.images import load_image
from coursekit.datasets import paintings, styles
from coursekit.datasets.crops import Crops
from coursekit.datasets.photos import photo
from coursekit.fast_style_networks import TransformerNetwork

STYLES = ("great_wave", "starry_night", "stained_glass")
WIDTH, SIZE, BATCH, COUNT = 16, 128, 2, 40_000
STYLE_SIZE = 256  # shorter side in pixels: its strokes fit into a crop
RATE = 1e-3
HELD_OUT = ("chelsea", "china", "coffee", "astronaut")
PREVIEWS, FRAMES = 18, 6  # looks along a training, and how many of them the film keeps


def course(
    folder: Path,
    *,
    steps: int = 2000,
    seed: int = 0,
    progress: bool = True,
    style: str | None = None,
    photos: Path | None = None,
) -> list[Path]:
    """Train one network for ``style``, or the three that notebook 04 loads.

    Half the published width. Adam at 1e-3, falling to zero over the last third. The first of the
    three begins with random weights, the others begin with what the first has learned; all take
    the same steps. Each file's header holds the loss on photographs that the network never saw,
    its weights in half precision.

    Differs from Johnson et al. 2016: crops of 128 pixels of a few hundred photographs and 2,000
    steps of two, for 80,000 photographs at 256 pixels and 40,000 steps of four.

    Args:
        folder: keeps a ``checkpoint.pt`` a style while it trains, and the results.
        steps: training steps of each style.
        seed: of everything.
        progress: show a progress bar.
        style: a painting or a style of the course by name, or a picture's path.
        photos: a folder of photographs to train on; a few hundred will do.

    Returns:
        A checkpoint a style and the timeline of the first; nothing if it was interrupted.

    Raises:
        SettingError: no photographs, or a style that is neither a name nor a file.
        DataError: a painting that is not to be had, or a folder without photographs.
    """
    if photos is None:
        raise SettingError(
            "Training needs photographs: --photos DIR with a few hundred of them. The course's own "
            "networks saw the 500 of BSDS500, which is not shipped with it."
        )
    pictures = {name: find_style(name) for name in (STYLES if style is None else (style,))}
    data, files, first = Crops(photos, SIZE, count=COUNT, seed=seed), [], None
    for name, picture in pictures.items():
        network, stem = make_network(seed, first), Path(name).stem
        result = _train(network, picture, data, folder / stem, steps, seed, progress)
        if result.interrupted:
            return []
        facts = {"steps": result.steps, "seed": seed, "style": stem}
        facts |= {"data": f"{len(data.pictures)} photographs of {Path(photos).name}, {SIZE}×{SIZE}"}
        facts |= {"begins with": "random weights" if first is None else next(iter(pictures))}
        files.append(_save(network, picture, folder / f"{stem}.safetensors", facts))
        if first is None:
            first = network
            film = "course" if style is None else stem
            files.append(result.timeline.thinned(FRAMES).save(folder / f"{film}.timeline.zip"))
    return files


def find_style(name: str) -> Tensor:
    """A style by name or path, (1, 3, h, w) in [0, 1], its shorter side `STYLE_SIZE` pixels.

    Raises:
        SettingError: neither.
        DataError: a painting that is not to be had. No other picture is used in its place.
        ImageError: the file is no picture.
    """
    if name in styles.STYLES:
        return styles.style_image(name, STYLE_SIZE)
    if name in paintings.PAINTINGS:
        return load_image(paintings.fetch(name), STYLE_SIZE)
    if Path(name).is_file():
        return load_image(name, STYLE_SIZE)
    known = ", ".join((*paintings.PAINTINGS, *styles.STYLES))
    raise SettingError(f"There is no style and no file {name!r}. Give a path, or one of {known}.")


def make_network(seed: int, start: nn.Module | None = None) -> TransformerNetwork:
    """The network of the recipe, with random weights or those of ``start``."""
    runtime.seed_everything(seed)
    network = TransformerNetwork(WIDTH, precision="auto").to(runtime.best_device())
    if start is not None:
        network.load_state_dict(start.state_dict())
    return network


def held_out(size: int = 256) -> list[Tensor]:
    """Photographs that no training of the course sees, (1, 3, H, W), ``size`` pixels or more."""
    return [photo(name, size).to(runtime.best_device()) for name in HELD_OUT]


def _train(
    network: nn.Module,
    style: Tensor,
    data: Crops,
    folder: Path,
    steps: int,
    seed: int,
    progress: bool,
) -> training.TrainingResult:
    device = runtime.best_device()
    objective = fast_style.Objective(style.to(device), precision="auto")
    batches = training.Batches(data, BATCH, seed=seed, device=device)
    shown = torch.cat([photo(name, 160, crop=True) for name in HELD_OUT])
    return fast_style.train(
        network,
        objective,
        batches,
        learning_rate=RATE,
        rate=lambda number: min(3 * (steps - number + 1) / steps, 1.0),
        shown=shown,
        steps=steps,
        folder=folder,
        seed=seed,
        previews=PREVIEWS,
        checkpoint_every=100,
        progress=progress,
        about=f"fast style transfer, {folder.name}, {len(data.pictures)} photographs",
    )


def _save(network: nn.Module, style: Tensor, path: Path, facts: dict[str, Any]) -> Path:
    """Measure what the file will hold, weights in half precision, and write it."""
    device = runtime.best_device()
    kept = TransformerNetwork(WIDTH).to(device)
    kept.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    objective, pictures = fast_style.Objective(style.to(device)), held_out()
    about = {
        "recipe": "fast_style course",
        "settings": {"width": WIDTH},
        "style size": STYLE_SIZE,
        "weights of the loss": {
            "style": objective.style_weight,
            "smoothness": objective.smoothness_weight,
        },
        "measured": {
            "photographs": f"{', '.join(HELD_OUT)} at 256 pixels, never trained on",
            "paintings": fast_style.evaluate(kept, objective, pictures),
            "photographs as they are": fast_style.evaluate(nn.Identity(), objective, pictures),
        },
    }
    return checkpoints.save(kept, path, about | facts)


__all__ = ["course", "find_style", "held_out", "make_network"]
