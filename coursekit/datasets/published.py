"""Published data sets in the course's one look, downloaded once when there is a network.

What a paper's authors offer for download is fetched into the cache. Nothing of it comes with the
course, and most of it may be used for research and teaching only: see each set's ``licence``.
A ``size`` is the side of a square in pixels.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from coursekit.core import runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset, Fields, Info, cached
from coursekit.datasets.collections import check_sizes, squares, to_bytes
from coursekit.datasets.translation import paired, unpaired

if TYPE_CHECKING:
    import numpy as np

__all__ = ["celeba", "fashion_mnist", "lfw", "mnist", "olivetti", "paired", "unpaired"]

T = TypeVar("T")
CELEBA_SPLITS = ("train", "valid", "test", "all")
_LFW_SIDE = 125  # the face, with hair and chin, in the middle of LFW's 250 pixels


def mnist(split: str = "train", *, count: int | None = None) -> Dataset:
    """MNIST (LeCun et al. 1998) through torchvision: 60,000 to train on, 10,000 to test on.

    Fields: ``image`` uint8 (N, 1, 28, 28), ``label`` int64 (N,), the digit.

    Raises:
        SettingError: the split is neither ``"train"`` nor ``"test"``, or the count is below 1.
        DataError: the set is neither in the cache nor to be had.
    """
    licence = "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)"
    return _idx("MNIST", "handwritten digits", licence, split, count)


def fashion_mnist(split: str = "train", *, count: int | None = None) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017) through torchvision: clothes, 60,000 and 10,000.

    Fields: ``image`` uint8 (N, 1, 28, 28), ``label`` int64 (N,), one of ten kinds.

    Raises:
        SettingError: the split is neither ``"train"`` nor ``"test"``, or the count is below 1.
        DataError: the set is neither in the cache nor to be had.
    """
    return _idx("FashionMNIST", "pieces of clothing", "MIT (Zalando)", split, count)


def _idx(name: str, content: str, licence: str, split: str, count: int | None) -> Dataset:
    from torchvision import datasets

    _check_split(split, ("train", "test"))
    check_sizes(28, count)
    make: Callable[..., Any] = getattr(datasets, name)
    root = _folder(name, lambda place: make(place, download=True))
    found = _opened(root, lambda: make(root, train=split == "train", download=False))
    fields = {"image": found.data[:count, None], "label": found.targets[:count].long()}
    info = Info(name.lower(), content, licence, synthetic=False, source="torchvision")
    return Dataset(info, fields)


def celeba(split: str = "train", size: int = 64, *, count: int | None = 20_000) -> Dataset:
    """CelebA (Liu et al. 2015), aligned faces, through torchvision; needs the package gdown.

    Fields: ``image`` uint8 (N, 3, size, size), the middle square of 178 pixels made smaller;
    ``identity`` int64 (N,); and one int64 (N,) field of 0 and 1 for each of the 40 attributes,
    its name in lower case: ``"eyeglasses"``, ``"smiling"`` … The archive has 1.4 GB.

    Args:
        split: ``"train"``, ``"valid"``, ``"test"`` or ``"all"``.
        size: pixels a side.
        count: the first so many, in the published order; None for all.

    Raises:
        SettingError: no such split, or a size or count below 1.
        DataError: the set is neither in the cache nor to be had.
    """
    from torchvision import datasets

    _check_split(split, CELEBA_SPLITS)
    check_sizes(size, count)
    root = _folder("CelebA", lambda place: datasets.CelebA(place, download=True))
    key = {"split": split, "size": size, "count": count, "version": 1}

    def read() -> Fields:
        found = _opened(root, lambda: datasets.CelebA(root, split, download=False))
        files = [root / found.base_folder / "img_align_celeba" / name for name in found.filename]
        factors = {"identity": found.identity[:, 0]}
        # The header ends with a space, so torchvision finds one name too many.
        names = [name.lower() for name in found.attr_names if name]
        factors |= {name: found.attr[:, index] for index, name in enumerate(names)}
        return _read_all(files[:count], size, factors)

    licence = "for non-commercial research, say its authors"
    info = Info("celeba", "faces of celebrities", licence, synthetic=False, source="torchvision")
    return Dataset(info, cached("celeba", key, read))


def _read_all(files: Sequence[Path], size: int, factors: Fields) -> Fields:
    pictures = squares(((file.name, file) for file in files), size, where=files[0].parent.name)
    if len(pictures) != len(files):
        raise DataError(f"{len(files) - len(pictures)} pictures in {files[0].parent} are damaged.")
    rows = {name: field[: len(files)].long() for name, field in factors.items()}
    return {"image": torch.stack(pictures), **rows}


def olivetti(size: int = 64) -> Dataset:
    """Olivetti faces (Samaria and Harter 1994) through scikit-learn: 40 people, ten times each.

    Fields: ``image`` uint8 (400, 1, size, size), ``identity`` int64 (400,).

    Raises:
        SettingError: the size is below 1.
        DataError: the set is neither in the cache nor to be had.
    """
    from sklearn.datasets import fetch_olivetti_faces

    from coursekit.core.images import resize

    check_sizes(size, None)
    found = _from_sklearn("Olivetti faces", fetch_olivetti_faces)
    image = resize(_unit(found.images)[:, None], size).clamp(0, 1)
    fields = {"image": to_bytes(image), "identity": torch.from_numpy(found.target).long()}
    licence = "free for research (AT&T Laboratories Cambridge)"
    info = Info("olivetti", "faces in grey", licence, synthetic=False, source="scikit-learn")
    return Dataset(info, fields)


def lfw(size: int = 64, *, count: int | None = None, per_person: int = 1) -> Dataset:
    """Labeled Faces in the Wild (Huang et al. 2007), funneled, through scikit-learn.

    Fields: ``image`` uint8 (N, 3, size, size), the middle 125 pixels of 250; ``identity`` int64.

    Args:
        size: pixels a side.
        count: the first so many of scikit-learn's (shuffled) order; all 13,233 by default.
        per_person: only people with at least so many pictures.

    Raises:
        SettingError: a size or count below 1.
        DataError: the set is neither in the cache nor to be had, or nobody has so many pictures.
    """
    from sklearn.datasets import fetch_lfw_people

    check_sizes(size, count)
    middle = slice(62, 62 + _LFW_SIDE)
    found = _from_sklearn(
        "Labeled Faces in the Wild",
        fetch_lfw_people,
        color=True,
        resize=(size + 0.5) / _LFW_SIDE,  # scikit-learn rounds down
        slice_=(middle, middle),
        min_faces_per_person=per_person,
    )
    image = _unit(found.images[:count]).permute(0, 3, 1, 2).contiguous()
    identity = torch.from_numpy(found.target[:count]).long()
    licence = "not stated; photographs from the news, for research"
    info = Info("lfw", "faces of people", licence, synthetic=False, source="scikit-learn")
    return Dataset(info, {"image": to_bytes(image), "identity": identity})


def _unit(pictures: np.ndarray) -> torch.Tensor:
    """Float in [0, 1]: releases of scikit-learn differ in whether they divide by 255."""
    tensor = torch.from_numpy(pictures).float()
    return tensor / 255 if tensor.max() > 1.5 else tensor


def _from_sklearn(title: str, fetch: Callable[..., Any], **settings: object) -> Any:
    """What ``fetch`` returns; scikit-learn compares the SHA-256 of what it downloads."""
    home = runtime.cache_dir() / "published" / "scikit-learn"
    try:
        home.mkdir(parents=True, exist_ok=True)
        return fetch(data_home=home, download_if_missing=not runtime.offline(), **settings)
    except ValueError as error:  # it is there, but not with these settings
        raise DataError(f"{title}: {_last_line(error)}") from error
    except Exception as error:  # urllib's, scikit-learn's and joblib's own
        raise _not_to_be_had(title, home, error) from error


# --- what the adapters share -------------------------------------------------------------------


def _check_split(split: str, splits: Sequence[str]) -> None:
    if split not in splits:
        raise SettingError(f"There is no split {split!r}; choose one of {', '.join(splits)}.")


def _folder(name: str, download: Callable[[Path], object]) -> Path:
    """The set's folder in the cache: ``download`` fills it once, whole or not at all."""
    from filelock import FileLock

    place = runtime.cache_dir() / "published" / name
    if place.is_dir():
        return place
    try:
        if runtime.offline():
            raise DataError("COURSEKIT_OFFLINE is set")
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f"{name}.lock")):
            if not place.is_dir():
                for left in place.parent.glob(f"{name}.*/"):  # of a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{name}.") as half:
                    download(Path(half) / name)
                    (Path(half) / name).rename(place)
    except Exception as error:  # torchvision's, urllib's and gdown's own
        raise _not_to_be_had(name, place, error) from error
    return place


def _not_to_be_had(title: str, place: Path, error: Exception) -> DataError:
    reason = "COURSEKIT_OFFLINE is set" if runtime.offline() else _last_line(error)
    return DataError(
        f"{title} is not in the cache and could not be fetched ({reason}); try again online, or "
        f"copy {place} from a computer that has it."
    )


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _opened(place: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        raise DataError(
            f"{place} cannot be read ({error}); delete that folder to fetch it again."
        ) from error
