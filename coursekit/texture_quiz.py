"""The pairs of the quiz "which one is real?": a crop of a photograph and its synthetic twin.

``python -m coursekit.texture_quiz`` makes all of ``data/quiz/`` again, or the pairs named.

Source: none; the quiz of this course.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from coursekit.core.errors import CourseError, SettingError
from coursekit.core.images import load_image, resize, save_image
from coursekit.core.runtime import data_dir
from coursekit.datasets.photos import PHOTOS, photo
from coursekit.texture import synthesise

SIZE = 160
QUALITY = 85


@dataclass(frozen=True)
class QuizPair:
    """Which square of which photograph is real, and how `synthesise` makes its twin.

    Attributes:
        name: of the pair.
        photo: a name of `coursekit.datasets.photos`.
        top, left, side: the square, in pixels of the photograph.
        seed, steps, coarse_steps: passed to `synthesise`.
    """

    name: str
    photo: str
    top: int
    left: int
    side: int
    seed: int = 1
    steps: int = 300
    coarse_steps: int = 200

    def real(self) -> Tensor:
        """The square of the photograph, (1, 3, 160, 160) in [0, 1]."""
        rows, columns = slice(self.top, self.top + self.side), slice(self.left, None)
        return resize(photo(self.photo)[..., rows, columns][..., : self.side], SIZE)


PAIRS = {
    pair.name: pair
    for pair in (
        QuizPair("gravel", "gravel", 100, 150, 320),
        QuizPair("grass", "grass", 150, 20, 320),
        QuizPair("stars", "hubble_deep_field", 400, 500, 300),
        QuizPair("tissue", "immunohistochemistry", 0, 0, 256),
        QuizPair("trees", "china", 330, 30, 95),
        QuizPair("wood", "coffee", 290, 490, 110),
    )
}


def make_quiz_pair(name: str, folder: Path, *, progress: bool = True) -> dict[str, object]:
    """Write ``<name>_real.jpg`` and ``<name>_made.jpg`` into ``folder``.

    Returns:
        What the quiz says of the pair: files, source, credit, licence and how it was made.

    Raises:
        SettingError: there is no such pair.
    """
    _check(name)
    pair, source = PAIRS[name], PHOTOS[PAIRS[name].photo]
    settings: dict[str, Any] = {
        "steps": pair.steps,
        "coarse_steps": pair.coarse_steps,
        "seed": pair.seed,
    }
    made = synthesise(pair.real(), "pool4", **settings, progress=progress).image
    files = {"real": f"{name}_real.jpg", "made": f"{name}_made.jpg"}
    save_image(pair.real(), folder / files["real"], quality=QUALITY)
    save_image(made, folder / files["made"], quality=QUALITY)
    how = {"function": "coursekit.texture.synthesise", "up_to": "pool4", **settings}
    facts = {"title": source.title, "credit": source.credit, "licence": source.licence}
    return {**asdict(pair), **files, **facts, "how": how}


def _check(name: str) -> None:
    if name not in PAIRS:
        raise SettingError(f"There is no pair {name!r}. Choose from {', '.join(PAIRS)}.")


def write(names: Sequence[str] = tuple(PAIRS), folder: Path | None = None) -> Path:
    """Make the pairs and bring ``quiz.json`` up to date. Returns the path of that file.

    Raises:
        SettingError: there is no such pair; then none is made.
    """
    for name in names:
        _check(name)
    folder = folder or data_dir() / "quiz"
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "quiz.json"
    known = json.loads(index.read_text("utf-8")) if index.is_file() else []
    entries = {entry["name"]: entry for entry in known}
    for name in names:
        entries[name] = make_quiz_pair(name, folder)
        ordered = [entries[each] for each in PAIRS if each in entries]
        index.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return index


def load() -> list[tuple[str, Tensor, Tensor]]:
    """The pairs that the project carries: (name, real, made), images (1, 3, 160, 160)."""
    folder = data_dir() / "quiz"
    entries = json.loads((folder / "quiz.json").read_text("utf-8"))
    return [
        (each["name"], load_image(folder / each["real"]), load_image(folder / each["made"]))
        for each in entries
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: make all pairs, or those named."""
    parser = argparse.ArgumentParser(prog="python -m coursekit.texture_quiz", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PAIRS), help="pairs (default: all)")
    try:
        print(write(parser.parse_args(arguments).names))
    except CourseError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
