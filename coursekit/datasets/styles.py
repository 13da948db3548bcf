"""Style images and textures that the project paints itself, so that the course needs no network.

The pictures lie in ``data/styles/`` as JPEG files. Each was rendered by the function named in
:data:`STYLES`; ``python -m coursekit.datasets.styles`` renders them all again.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coursekit.core.errors import CourseError, DataError, SettingError
from coursekit.core.runtime import data_dir

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 512
QUALITY = 80
CREDIT = "painted by the project's own code"
LICENCE = "CC BY 4.0"


@dataclass(frozen=True)
class Style:
    """One picture of the project: ``kind`` is 'style' (a scene) or 'texture' (alike everywhere)."""

    name: str
    title: str
    kind: str
    module: str
    credit: str = CREDIT
    licence: str = LICENCE

    @property
    def path(self) -> Path:
        """Where the rendered JPEG lies."""
        return data_dir() / "styles" / f"{self.name}.jpg"


_ALL = (
    Style("night_strokes", "Night in turning strokes", "style", "style_oils"),
    Style("fire_fjord", "Burning sky over an inlet", "style", "style_oils"),
    Style("dotted_garden", "Garden in dots of colour", "style", "style_oils"),
    Style("woodblock_sea", "Breaking waves, wood-block print", "style", "style_prints"),
    Style("stained_glass", "Sun and river in stained glass", "style", "style_panes"),
    Style("cubist_shards", "Overlapping planes", "style", "style_panes"),
    Style("pebbles", "Wet pebbles", "texture", "style_textures"),
    Style("autumn_leaves", "Fallen leaves", "texture", "style_textures"),
)
STYLES: dict[str, Style] = {style.name: style for style in _ALL}


def find(name: str) -> Style:
    """The entry called ``name``; DataError lists the names when there is none."""
    if name not in STYLES:
        known = ", ".join(STYLES)
        raise DataError(f"There is no style image called {name!r}; the project has {known}.")
    return STYLES[name]


def style_image(
    name: str, size: int | tuple[int, int] | None = None, *, crop: bool = False
) -> Tensor:
    """A picture of the project as a tensor (1, 3, H, W) in [0, 1].

    size: length of the shorter side in pixels, or (height, width); crop: cut the middle square.
    Raises DataError for an unknown name or a missing file.
    """
    from coursekit.core.images import load_image

    style = find(name)
    if not style.path.is_file():
        raise DataError(
            f"The style image {style.path.name} is missing from {style.path.parent}; "
            f"render it with: python -m coursekit.datasets.styles {name}"
        )
    return load_image(style.path, size, crop=crop)


def render(name: str, size: int = SIZE) -> NDArray[np.uint8]:
    """Paint the picture again, as bytes (size, size, 3); every call gives the same picture.

    ``size`` changes the resolution, not the composition. Takes 1–20 s at 512 pixels.

    Raises:
        SettingError: a size below 32 pixels.
    """
    if size < 32:
        raise SettingError(f"A style image needs at least 32 pixels a side, not {size}.")
    module = importlib.import_module(f"coursekit.datasets.{find(name).module}")
    paint: Callable[[int], NDArray[np.uint8]] = getattr(module, name)
    return paint(size)


def write(
    names: Sequence[str] = tuple(STYLES), folder: Path | None = None, size: int = SIZE
) -> list[Path]:
    """Render the pictures, ``size`` pixels a side, and save them as JPEG files; their paths.

    Raises:
        DataError: there is no such picture; then none is written.
        SettingError: a size below 32 pixels.
    """
    for name in names:
        find(name)
    folder = folder or data_dir() / "styles"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        path = folder / f"{name}.jpg"
        picture = Image.fromarray(render(name, size))
        picture.save(path, quality=QUALITY, optimize=True, progressive=True)
        print(f"{path.name}: {size}×{size}, {path.stat().st_size / 1000:.0f} kB")
        written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: render all pictures, or those named."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.datasets.styles", description=__doc__
    )
    parser.add_argument("names", nargs="*", help="pictures to render (default: all)")
    parser.add_argument("--size", type=int, default=SIZE, help="side in pixels (default: 512)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: data/styles)")
    given = parser.parse_args(arguments)
    try:
        write(given.names or tuple(STYLES), given.out, given.size)
    except CourseError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
