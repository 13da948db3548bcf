"""How the course's own checkpoints are made: ``coursekit train TOPIC --recipe NAME``.

A recipe is a function ``recipe(folder, **options)`` that trains, keeps everything it needs to go on
in ``folder``, and returns the files it made. It says in its docstring what it does and how long it
takes. It writes its results below the folder; `publish` copies them to the course's data.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from coursekit.core import runtime
from coursekit.core.errors import SettingError

Recipe = Callable[..., Sequence[Path]]

RECIPES: dict[str, dict[str, str]] = {
    "dcgan": {"course": "coursekit.recipes.dcgan:course"},
    "wgan": {"course": "coursekit.recipes.wgan:course"},
    "cgan": {"course": "coursekit.recipes.cgan:course"},
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


def publish(files: Sequence[Path], topic: str) -> list[Path]:
    """Copy a recipe's results to the course's data, each one at once or not at all."""
    target = runtime.data_dir() / "checkpoints" / topic
    target.mkdir(parents=True, exist_ok=True)
    copied = []
    for file in files:
        temporary = target / f"{file.name}.part"
        shutil.copyfile(file, temporary)
        os.replace(temporary, target / file.name)
        copied.append(target / file.name)
    return copied
