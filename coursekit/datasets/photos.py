"""Photographs and textures that are on this machine already: no network, nothing to download.

Most lie inside the scikit-image and scikit-learn packages, two textures in the project's ``data/``.
The files are read directly: ``skimage.data`` would try to download a file that it cannot verify.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coursekit.core.errors import DataError, ImageError
from coursekit.core.runtime import data_dir
from coursekit.datasets.styles import STYLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

PROJECT = "coursekit"
_CC0 = "CC0"
_NO_LIMITS = "no known copyright restrictions"


@dataclass(frozen=True)
class Photo:
    """A picture and its credit. ``kind`` is 'photograph' or 'texture'; ``size`` is (width, height).

    ``credit`` and ``licence`` are what the package that carries the file states.
    """

    name: str
    title: str
    kind: str
    size: tuple[int, int]
    credit: str
    licence: str
    package: str
    file: str

    @property
    def path(self) -> Path:
        """Where the file lies; DataError when the package or the file is not there."""
        path = _folder_of(self.package) / self.file
        if not path.is_file():
            raise DataError(
                f"The picture {self.name!r} should lie in the package {self.package} as "
                f"{self.file}, but it does not; install that package again."
            )
        return path


def _folder_of(package: str) -> Path:
    """The folder of an installed package, found without importing it."""
    if package == PROJECT:
        return data_dir()
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        wanted = {"skimage": "scikit-image", "sklearn": "scikit-learn"}.get(package, package)
        raise DataError(f"The package {wanted} is not installed; run: pip install {wanted}")
    return Path(spec.submodule_search_locations[0])


def _skimage(
    name: str,
    kind: str,
    title: str,
    size: tuple[int, int],
    credit: str,
    licence: str,
    file: str = "",
) -> Photo:
    return Photo(
        name, title, kind, size, credit, licence, "skimage", f"data/{file or name + '.png'}"
    )


def _sklearn(name: str, title: str, credit: str) -> Photo:
    file = f"datasets/images/{name}.jpg"
    return Photo(name, title, "photograph", (640, 427), credit, "CC BY 2.0", "sklearn", file)


def _project(name: str) -> Photo:
    style = STYLES[name]
    file = f"styles/{name}.jpg"
    return Photo(
        name, style.title, "texture", (512, 512), style.credit, style.licence, PROJECT, file
    )


_ALL = (
    _skimage("chelsea", "photograph", "Chelsea the cat", (451, 300), "Stefan van der Walt", _CC0),
    _skimage(
        "astronaut",
        "photograph",
        "Eileen Collins, astronaut",
        (512, 512),
        "NASA Great Images",
        "public domain",
    ),
    _skimage(
        "coffee",
        "photograph",
        "A cup of coffee",
        (600, 400),
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        _CC0,
    ),
    _skimage(
        "rocket",
        "photograph",
        "Launch of a Falcon 9 with DSCOVR",
        (640, 427),
        "SpaceX Photos",
        "public domain",
        "rocket.jpg",
    ),
    _sklearn(
        "china", "A Chinese palace", "danielbuechele on Flickr, retrieved 2011 by Robert Layton"
    ),
    _sklearn(
        "flower",
        "A dahlia",
        "photograph page of vultilion on Flickr, retrieved 2011 by Robert Layton",
    ),
    _skimage("camera", "photograph", "A cameraman (grey)", (512, 512), "Lav Varshney", _CC0),
    _skimage(
        "hubble_deep_field",
        "photograph",
        "Hubble eXtreme Deep Field",
        (1000, 872),
        "NASA, HubbleSite",
        "public domain",
        "hubble_deep_field.jpg",
    ),
    _skimage(
        "retina",
        "photograph",
        "A human retina",
        (1411, 1411),
        "Mikael Häggström, WikiJournal of Medicine 1 (2), 2014",
        "CC0 1.0",
        "retina.jpg",
    ),
    _skimage("brick", "texture", "A brick wall (grey)", (512, 512), "CC0Textures, Bricks25", _CC0),
    _skimage("grass", "texture", "Grass (grey)", (512, 512), "linolafett, DeviantArt", _CC0),
    _skimage("gravel", "texture", "Gravel (grey)", (512, 512), "CC0Textures, Gravel04", _CC0),
    _skimage(
        "immunohistochemistry",
        "texture",
        "Colonic glands under the microscope",
        (512, 512),
        "Center for Microscopy and Molecular Imaging (CMMI)",
        _NO_LIMITS,
        "ihc.png",
    ),
    _project("pebbles"),
    _project("autumn_leaves"),
)
PHOTOS: dict[str, Photo] = {entry.name: entry for entry in _ALL}
ALIASES = {"cat": "chelsea"}
TEXTURES = tuple(entry.name for entry in _ALL if entry.kind == "texture")


def find(name: str) -> Photo:
    """The entry called ``name`` or by an alias; DataError lists the names when there is none."""
    entry = PHOTOS.get(ALIASES.get(name, name))
    if entry is None:
        known = ", ".join((*PHOTOS, *ALIASES))
        raise DataError(f"There is no photograph called {name!r}; choose one of {known}.")
    return entry


def photo(
    name: str = "chelsea", size: int | tuple[int, int] | None = None, *, crop: bool = False
) -> Tensor:
    """A photograph or texture as a float32 tensor (1, 3, H, W) in [0, 1]; grey ones have R=G=B.

    size: length of the shorter side in pixels, or (height, width); crop: cut the middle square.
    Raises DataError for an unknown name or a file that is not where it should be.
    """
    from coursekit.core.images import load_image

    return load_image(find(name).path, size, crop=crop)


def folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    *,
    crop: bool = False,
) -> list[Tensor]:
    """Every picture of a folder in the order of its file names, each (1, 3, H, W) in [0, 1].

    Hidden files and subfolders are left out. A file that is no picture, or a damaged one, is left
    out too: one printed line names them. ``size`` and ``crop`` as for `photo`. Raises DataError
    when there is no such folder or no picture in it.
    """
    from coursekit.core.images import load_image

    place = Path(path).expanduser()
    pictures: list[Tensor] = []
    skipped: list[str] = []
    for file in files_of(place):
        try:
            pictures.append(load_image(file, size, crop=crop))
        except ImageError:
            skipped.append(file.name)
    tell_skipped(skipped, place.name)
    if not pictures:
        raise DataError(f"The folder {str(path)!r} holds no picture; put JPEG or PNG files in it.")
    return pictures


def files_of(place: Path) -> list[Path]:
    """The files of a folder by name, hidden ones left out; DataError when there is no folder."""
    if not place.is_dir():
        raise DataError(
            f"There is no folder {str(place)!r}; give the path of a folder of pictures."
        )
    files = [f for f in place.iterdir() if f.is_file() and not f.name.startswith(".")]
    return sorted(files, key=lambda file: (file.name.casefold(), file.name))


def tell_skipped(names: Sequence[str], where: str) -> None:
    """Print one line that names the files left out, if there are any."""
    if names:
        print(f"Skipped {len(names)} in {where}, not readable as pictures: {_list(names)}")


def _list(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def contact_sheet(names: Sequence[str] | None = None, *, columns: int = 5) -> Figure:
    """All photographs and textures (or those named), as squares with their names and licences."""
    from coursekit.core import show

    entries = [find(name) for name in (names or PHOTOS)]
    squares = [photo(entry.name, 256, crop=True) for entry in entries]
    titles = [f"{entry.name}\n{entry.licence}" for entry in entries]
    return show.images(squares, titles, columns=columns, size=2.0)
