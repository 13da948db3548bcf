"""How the course's own checkpoints are made: ``coursekit train TOPIC --recipe NAME``.

A recipe is a function ``recipe(folder, **options)`` that trains, keeps everything it needs to go on
in ``folder``, and returns the files it made. It says in its docstring what it does and how long it
takes. It writes its results below the folder; `publish` copies them to the course's data.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coursekit.core import checks, runtime
from coursekit.core.atomic import replacing
from coursekit.core.errors import DataError, SettingError

Recipe = Callable[..., Sequence[Path]]

RECIPES: dict[str, dict[str, str]] = {
    "fast_style": {"course": "coursekit.recipes.fast_style:course"},
    "wct": {"course": "coursekit.recipes.wct:course"},
    "dfi": {"course": "coursekit.recipes.dfi:course"},
    "dcgan": {"course": "coursekit.recipes.dcgan:course"},
    "wgan": {"course": "coursekit.recipes.wgan:course"},
    "cgan": {"course": "coursekit.recipes.cgan:course"},
    "pix2pix": {
        "course": "coursekit.recipes.pix2pix:course",
        "study": "coursekit.recipes.pix2pix_study:study",
        "applications": "coursekit.recipes.pix2pix_study:applications",
        "control": "coursekit.recipes.pix2pix_study:control",
    },
    "cyclegan": {
        "course": "coursekit.recipes.cyclegan:course",
        "study": "coursekit.recipes.cyclegan:study",
        "discs": "coursekit.recipes.cyclegan:discs",
    },
    "spade": {
        "course": "coursekit.recipes.spade:course",
        "study": "coursekit.recipes.spade:study",
    },
    "progan": {
        "course": "coursekit.recipes.progan:course",
        "study": "coursekit.recipes.progan:study",
        "pace": "coursekit.recipes.progan:pace",
    },
    "stylegan2": {
        "course": "coursekit.recipes.stylegan2:course",
        "study": "coursekit.recipes.stylegan2:study",
    },
    "segment": {"scenes": "coursekit.recipes.segment:course"},
    "recognise": {
        "digits": "coursekit.recipes.recognise:digits",
        "faces": "coursekit.recipes.recognise:faces",
    },
}


def find(topic: str, name: str = "course") -> Recipe:
    """The recipe ``name`` of a topic.

    Raises:
        SettingError: there is none; the message lists those there are.
    """
    if topic not in RECIPES or name not in RECIPES[topic]:
        known = ", ".join(f"{t} --recipe {n}" for t, names in RECIPES.items() for n in names)
        raise SettingError(f"There is no recipe {name!r} for {topic!r}. There are: {known}.")
    module, function = RECIPES[topic][name].split(":")
    return getattr(importlib.import_module(module), function)


def accepted(recipe: Recipe, given: Mapping[str, object]) -> dict[str, object]:
    """Those of the arguments ``given`` that are not ``None``.

    Raises:
        SettingError: the recipe has no argument of that name, or steps or a size below 1.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    counts = {n: v for n, v in chosen.items() if n in ("steps", "size") and isinstance(v, int)}
    checks.at_least(1, **counts)
    known = inspect.signature(recipe).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in known.values())
    unknown = [f"--{name}" for name in chosen if name not in known]
    if unknown and not takes_all:
        raise SettingError(f"This recipe does not take {', '.join(unknown)}; leave that out.")
    return chosen


def publish(files: Sequence[Path], topic: str) -> list[Path]:
    """Copy a recipe's results to the course's data, each one at once or not at all.

    Raises:
        DataError: one of them cannot be copied. An older file of that name is still there.
    """
    folder = runtime.data_dir() / "checkpoints" / topic
    return [_copy(file, folder / file.name) for file in files]


def _copy(file: Path, target: Path) -> Path:
    try:
        with replacing(target) as half:
            shutil.copyfile(file, half)
    except OSError as error:
        raise DataError(f"{file} cannot be copied to {target}: {error}.") from error
    return target
