"""Published data sets in the course's one look, downloaded once when there is a network."""

from __future__ import annotations

from coursekit.core import runtime
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset, Info


def mnist(split: str = "train") -> Dataset:
    """MNIST (LeCun et al. 1998): 60,000 to train on, 10,000 to test on.

    Fields: ``image`` uint8 (N, 1, 28, 28), ``label`` int64 (N,).

    Raises:
        SettingError: the split is neither ``"train"`` nor ``"test"``.
        DataError: the set is neither in the cache nor to be had.
    """
    from torchvision import datasets

    if split not in ("train", "test"):
        raise SettingError(f"MNIST has the splits 'train' and 'test', not {split!r}.")
    root = runtime.cache_dir() / "published"
    try:
        found = datasets.MNIST(root, train=split == "train", download=not runtime.offline())
    except (RuntimeError, OSError) as error:
        reason = "COURSEKIT_OFFLINE is set" if runtime.offline() else str(error).splitlines()[0]
        raise DataError(
            f"MNIST is not in the cache and could not be fetched ({reason}); connect to the "
            "internet once, or use the 5,000 digits that come with the course: digits.digits()"
        ) from error
    info = Info("mnist", "handwritten digits", "CC BY-SA 3.0", synthetic=False, source="MNIST")
    return Dataset(info, {"image": found.data[:, None], "label": found.targets.long()})
