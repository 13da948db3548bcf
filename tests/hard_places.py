"""What a student does in odd surroundings: ``python hard_places.py FOLDER`` does all of it there.

A process of its own, so that the time zone, the locale and the variables are those of its start.
Everything that can be wrong ends it with a traceback; what was right is printed as one line.
"""

from __future__ import annotations

import datetime
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from training_toy import Toy, same

from coursekit import cli, notebooks
from coursekit.core import checkpoints, images, training
from coursekit.core.timeline import Timeline
from coursekit.datasets import base, collections


def pictures(here: Path) -> None:
    """Saved, loaded and read as a folder, under names that need UTF-8."""
    place = here / "мои снимки [1]"
    place.mkdir()
    for name in ("кошка (2).png", "ёж №1.jpg", "x y.bmp"):
        path = images.save_image(torch.rand(3, 8, 9), place / name)
        assert images.load_image(path).shape == (1, 3, 8, 9)
        assert images.load_image(str(path)).shape == (1, 3, 8, 9)
    (place / "не снимок.txt").write_text("слова", encoding="utf-8")
    found = collections.folder_dataset(place, 4)
    assert len(found) == 3


def training_and_resume(here: Path) -> None:
    """A training, stopped and gone on with, ends as the undisturbed one."""
    whole = Toy()
    whole.run(9, here / "целиком")
    expected = whole.everything()
    for start, stop in enumerate((4, 9)):
        toy = Toy(start=start)
        toy.run(stop, here / "по частям")
    assert same(toy.everything(), expected)
    assert training.restore(here / "по частям", Toy().state()) == 9


def course_checkpoint(here: Path) -> None:
    """Facts in any letters; the date is UTC's wherever the clock stands."""
    path = here / "сеть (1).safetensors"
    facts = {"recipe": "проба", "data": "лица", "steps": 1, "seed": 0, "settings": {}}
    checkpoints.save(torch.nn.Linear(2, 2), path, facts)
    about = checkpoints.read(path).about
    assert about["recipe"] == "проба"
    now = datetime.datetime.now(datetime.timezone.utc).date()
    assert abs(datetime.date.fromisoformat(about["date"]) - now) <= datetime.timedelta(days=1)


def film(here: Path) -> None:
    """The same training gives the same file in every time zone."""
    made = Timeline(about="лица")
    made.add(1, torch.zeros(1, 3, 4, 4), {"loss": 0.5})
    raw = made.save(here / "фильм.zip").read_bytes()
    assert Timeline.load(here / "фильм.zip") == made
    print("film", base.digest({"raw": torch.frombuffer(bytearray(raw), dtype=torch.uint8)})[:12])


def data_set(here: Path) -> None:
    """Kept where the cache may be written, and right where it may not."""
    made = {"image": torch.arange(12, dtype=torch.uint8)}
    for _ in range(2):
        found = base.cached("проба", {"size": 2}, lambda: made)
        assert torch.equal(found["image"], made["image"])


def notebook_commands(here: Path) -> None:
    """badge and strip on a copy of the notebooks; the letters in it stay what they are."""
    place = here / "notebooks"
    place.mkdir()
    for name in ("00_start_here.ipynb", "03_gatys.ipynb"):
        shutil.copy(notebooks.paths()[0].parent / name, place / name)
    shutil.copy(notebooks.COURSE_TOML, here / "course.toml")
    notebooks.COURSE_TOML, notebooks.folder = here / "course.toml", lambda: place
    before = json.loads((place / "03_gatys.ipynb").read_text(encoding="utf-8"))
    assert cli.main(["badge", "somebody/else"]) == 0
    assert cli.main(["strip"]) == 0
    raw = (place / "03_gatys.ipynb").read_bytes()
    assert b"somebody/else" in raw and b"\r" not in raw and "стил".encode() in raw
    assert len(json.loads(raw)["cells"]) == len(before["cells"])


def page(here: Path) -> None:
    """render of one notebook, as it lies."""
    out = here / "страницы"
    assert (
        cli.main(["render", str(here / "notebooks" / "00_start_here.ipynb"), "--out", str(out)])
        == 0
    )
    (made,) = out.glob("00*.html")
    assert "<title" in made.read_text(encoding="utf-8")


def commands(here: Path) -> None:
    """doctor looks at everything and says what is missing, fetch lists what there is not."""
    assert cli.main(["doctor"]) in (0, 1)
    assert cli.main(["fetch", "нет такого"]) == 1
    assert cli.main(["exercises", "gatys"]) == 0


STEPS: tuple[Callable[[Path], None], ...] = (
    pictures,
    training_and_resume,
    course_checkpoint,
    film,
    data_set,
    notebook_commands,
    page,
    commands,
)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for step in STEPS:
        step(folder)
        print("did", step.__name__, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
