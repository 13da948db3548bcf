"""Public-domain paintings, fetched once and kept; the project's own pictures stand in offline.

The course carries the facts (address, SHA-256, title, artist, year, licence), never the files.
A missing painting is never replaced in silence: one printed sentence says which one is missing,
what is shown in its place, and how to get it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from coursekit.core import runtime
from coursekit.core.errors import DataError
from coursekit.datasets import photos, styles

if TYPE_CHECKING:
    from torch import Tensor

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
LOCK_SECONDS = 120.0
_NEURAL_STYLE_PT = (
    "https://raw.githubusercontent.com/ProGamerGov/neural-style-pt/"
    "72514050755394270abf526252cb9ff95c20dcf2/examples/inputs/"
)
_GORDICALEKSA = (
    "https://raw.githubusercontent.com/gordicaleksa/pytorch-neural-style-transfer/"
    "a244dc61797f920a62146d98de92384352a4d3a2/data/style-images/"
)


@dataclass(frozen=True)
class Painting:
    """What is known of one file. ``stand_in`` names the style or photograph used offline."""

    name: str
    title: str
    artist: str
    year: int
    stand_in: str
    url: str
    sha256: str
    licence: str = "public domain"
    kind: str = "painting"

    @property
    def path(self) -> Path:
        """Where the file lies in the cache once it is fetched."""
        return runtime.cache_dir() / "paintings" / f"{self.name}.jpg"

    @property
    def credit(self) -> str:
        """Artist and year."""
        return f"{self.artist}, {self.year}"


_ALL = (
    Painting(
        "starry_night",
        "The Starry Night",
        "Vincent van Gogh",
        1889,
        "night_strokes",
        _NEURAL_STYLE_PT + "starry_night.jpg",
        "0592ab0f7b51b3ce72608a95e53880bd93971e5b48f93a0ce8dfd3cbccf3d098",
    ),
    Painting(
        "the_scream",
        "The Scream",
        "Edvard Munch",
        1893,
        "fire_fjord",
        _NEURAL_STYLE_PT + "the_scream.jpg",
        "f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee",
    ),
    Painting(
        "great_wave",
        "The Great Wave off Kanagawa (crop)",
        "Katsushika Hokusai",
        1831,
        "woodblock_sea",
        _GORDICALEKSA + "wave_crop.jpg",
        "474ac51f1b064bfb3eaee068dea0f51bce8c2a798ff507693d451c989bd4a589",
    ),
    Painting(
        "edtaonisl",
        "Edtaonisl",
        "Francis Picabia",
        1913,
        "cubist_shards",
        _GORDICALEKSA + "edtaonisl.jpg",
        "6993247396a33b7297b4dc0f59e8114f223ac5a3ab604f251f9f5e25c592e44f",
    ),
    Painting(
        "night_cafe",
        "The Night Café",
        "Vincent van Gogh",
        1888,
        "stained_glass",
        _GORDICALEKSA + "vg_la_cafe.jpg",
        "af361f26d92524b959967ca1dda27f4127e9a89a51fd23ae0e9cb88add859d62",
    ),
    Painting(
        "olive_trees",
        "Olive trees",
        "Vincent van Gogh",
        1889,
        "dotted_garden",
        _GORDICALEKSA + "vg_olive.jpg",
        "5010a5df69376b0368faa2f2991b39a5fe77221689567c0df9c1a87b415806b3",
    ),
    Painting(
        "shipwreck",
        "The Shipwreck of the Minotaur",
        "J. M. W. Turner",
        1810,
        "fire_fjord",
        _NEURAL_STYLE_PT + "shipwreck.jpg",
        "4f7cf34e3cd4a5daaf3f421f059ca9a01aaa2a3afd7243d6670c9c8bc001a213",
    ),
    Painting(
        "tahiti_women",
        "Tahitian women",
        "Paul Gauguin",
        1890,
        "stained_glass",
        _GORDICALEKSA + "tahiti_guaguin.jpg",
        "8486376e546d9940485bdfc6a2317e3829e232467f6a74c6659098f5ec64d0e6",
    ),
    Painting(
        "vangogh_self",
        "Self-portrait with straw hat",
        "Vincent van Gogh",
        1887,
        "dotted_garden",
        _GORDICALEKSA + "vg_self.jpg",
        "5f20d17cecdf061f35f8e45047205fc379f4f0ebedb9453d9d7c66b1dd2c0592",
    ),
    Painting(
        "wheat_field",
        "Wheat Field with Cypresses",
        "Vincent van Gogh",
        1889,
        "night_strokes",
        _GORDICALEKSA + "vg_wheat_field.jpg",
        "da6959c2bc8e874f09df0cdce63dd86a1f11b61bf560ff498e1dfe483cdf8a81",
    ),
    Painting(
        "tubingen",
        "Neckarfront in Tübingen",
        "Andreas Praefcke",
        2003,
        "china",
        _NEURAL_STYLE_PT + "tubingen.jpg",
        "e67d1869f01fd805385c681a80d9ebcf0f70ea4a5fe6127f0606bb1c7f4bf506",
        licence="CC BY 3.0",
        kind="photograph",
    ),
)
PAINTINGS: dict[str, Painting] = {entry.name: entry for entry in _ALL}


@dataclass(frozen=True)
class StyleImage:
    """A picture with its credit: ``image`` is (1, 3, H, W) in [0, 1].

    ``painted_by_project`` is True for a picture of the project's own. ``in_place_of`` is the name
    that was asked for when another picture had to stand in, else None.
    """

    image: Tensor
    name: str
    title: str
    credit: str
    licence: str
    painted_by_project: bool
    in_place_of: str | None = None

    @property
    def caption(self) -> str:
        """Title and credit in one line, for a figure; says so when it stands in for another."""
        line = f"{self.title} ({self.credit})"
        return f"{line}, in place of {self.in_place_of}" if self.in_place_of else line


def style(
    name: str = "starry_night", size: int | tuple[int, int] | None = None, *, crop: bool = False
) -> StyleImage:
    """A painting of :data:`PAINTINGS`, or a picture of the project by its own name.

    A painting that is neither cached nor reachable is replaced by its ``stand_in``: one sentence
    is printed and the result says so. size: shorter side in pixels, or (height, width); crop: cut
    the middle square. Raises DataError for an unknown name.
    """
    if name in styles.STYLES:
        return _own(name, size, crop)
    return _painting_or_stand_in(_find(name, "painting"), size, crop)


def content(
    name: str = "tubingen", size: int | tuple[int, int] | None = None, *, crop: bool = False
) -> StyleImage:
    """A photograph with its credit: ``tubingen`` (fetched), or any of ``photos.PHOTOS``.

    Offline a photograph of :mod:`photos` stands in for ``tubingen`` as in :func:`style`. size:
    shorter side in pixels, or (height, width); crop: cut the middle square. Raises DataError for an
    unknown name.
    """
    if name in photos.PHOTOS or name in photos.ALIASES:
        return _photo(name, size, crop)
    return _painting_or_stand_in(_find(name, "photograph"), size, crop)


def _find(name: str, kind: str | None = None) -> Painting:
    entry = PAINTINGS.get(name)
    if entry is None or kind not in (None, entry.kind):
        known = [e.name for e in PAINTINGS.values() if kind in (None, e.kind)]
        own: dict[str | None, Iterable[str]] = {
            "painting": styles.STYLES,
            "photograph": photos.PHOTOS,
        }
        known += own.get(kind, [])
        raise DataError(
            f"There is no {kind or 'painting'} called {name!r}; choose one of {', '.join(known)}."
        )
    return entry


def _own(
    name: str,
    size: int | tuple[int, int] | None,
    crop: bool,
    in_place_of: str | None = None,
) -> StyleImage:
    entry = styles.find(name)
    image = styles.style_image(name, size, crop=crop)
    return StyleImage(
        image, name, entry.title, entry.credit, entry.licence, True, in_place_of=in_place_of
    )


def _photo(
    name: str,
    size: int | tuple[int, int] | None,
    crop: bool,
    in_place_of: str | None = None,
) -> StyleImage:
    entry = photos.find(name)
    image = photos.photo(name, size, crop=crop)
    own = entry.package == photos.PROJECT
    return StyleImage(
        image, entry.name, entry.title, entry.credit, entry.licence, own, in_place_of=in_place_of
    )


def _painting_or_stand_in(
    entry: Painting, size: int | tuple[int, int] | None, crop: bool
) -> StyleImage:
    from coursekit.core.images import load_image

    try:
        path = fetch(entry.name)
    except MissingPainting as error:
        load = _own if entry.stand_in in styles.STYLES else _photo
        other = load(entry.stand_in, size, crop, in_place_of=entry.title)
        print(_sentence(entry, other, error.reason))
        return other
    image = load_image(path, size, crop=crop)
    return StyleImage(image, entry.name, entry.title, entry.credit, entry.licence, False)


def _sentence(entry: Painting, other: StyleImage, reason: str) -> str:
    return (
        f"“{entry.title}” ({entry.credit}) is not in the cache ({reason}); “{other.title}” "
        f"({other.credit}) is used in its place; to get it, connect to the internet once and run: "
        "coursekit fetch paintings"
    )


# --- the cache ---------------------------------------------------------------------------------

_failures: dict[str, str] = {}  # host or address -> what went wrong, for the life of the process


def forget_failures() -> None:
    """Try hosts and addresses again that failed earlier in this process."""
    _failures.clear()


def cached(name: str) -> bool:
    """Whether the file is in the cache, whole and unchanged. Fetches nothing.

    Raises DataError for an unknown name.
    """
    entry = _find(name)
    return entry.path.is_file() and _sha256(entry.path) == entry.sha256


def fetch(name: str, *, progress: bool = True) -> Path:
    """The path of a painting in the cache, fetched when it is not there.

    A damaged file is set aside as ``*.corrupt`` and fetched again. Two processes that ask at once
    fetch it once. A host that did not answer is not tried again in this process (see
    :func:`forget_failures`). Raises DataError for an unknown name, and MissingPainting, which is
    one, when it is not to be had.
    """
    entry = _find(name)
    if cached(name):
        return entry.path
    _refuse_if_hopeless(entry)
    from filelock import FileLock, Timeout

    try:
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.path.with_suffix(".lock"), timeout=LOCK_SECONDS):
            if not cached(name):
                _set_aside(entry.path)
                _download(entry, progress)
    except Timeout:
        raise _missing(entry, "another process has been fetching it for too long") from None
    except OSError as error:
        raise _missing(entry, f"the cache cannot be written: {error.strerror}") from error
    return entry.path


def _refuse_if_hopeless(entry: Painting) -> None:
    """Fail at once when the user is offline or the host or the address failed before."""
    if runtime.offline():
        raise _missing(entry, "COURSEKIT_OFFLINE is set")
    for key in (urlsplit(entry.url).netloc, entry.url):
        if key in _failures:
            raise _missing(entry, _failures[key])


class MissingPainting(DataError):
    """A painting is neither in the cache nor to be had; ``reason`` says why in a few words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def _missing(entry: Painting, reason: str) -> MissingPainting:
    return MissingPainting(
        f"The {entry.kind} {entry.name!r} is not in the cache and could not be fetched "
        f"({reason}); connect to the internet once and run `coursekit fetch paintings`, "
        f"or put the file there as {entry.path}.",
        reason,
    )


def _set_aside(path: Path) -> None:
    if path.is_file():
        aside = path.with_suffix(".corrupt")
        os.replace(path, aside)
        print(f"{path.name} is damaged; set aside as {aside.name}, fetching it again.")


def _download(entry: Painting, progress: bool) -> None:
    """Fetch one file: to a temporary name, hash checked, then moved into place (pooch does it)."""
    import pooch
    import requests

    shown = progress and sys.stderr is not None
    get = pooch.HTTPDownloader(progressbar=shown, timeout=(CONNECT_SECONDS, READ_SECONDS))
    host = urlsplit(entry.url).netloc
    try:
        with _quiet(pooch.get_logger()):
            pooch.retrieve(
                entry.url,
                known_hash=f"sha256:{entry.sha256}",
                fname=entry.path.name,
                path=entry.path.parent,
                downloader=get,
            )
    except requests.HTTPError as error:
        status = getattr(error.response, "status_code", "with an error")
        raise _remember(entry, entry.url, f"{host} answers {status}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _remember(entry, entry.url, "the download broke off") from error
    except requests.RequestException as error:
        raise _remember(entry, host, f"{host} cannot be reached") from error
    except ValueError as error:  # what pooch raises for another SHA-256
        raise _remember(entry, entry.url, "the file at its address has changed") from error


def _remember(entry: Painting, key: str, reason: str) -> MissingPainting:
    _failures[key] = reason
    return _missing(entry, reason)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """pooch prints an absolute path for every download; a notebook should not carry it."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
