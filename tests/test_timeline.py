"""The film of a training: what goes in comes out, in order, in one file that is always the same."""

from __future__ import annotations

import itertools
import random
import zipfile
from pathlib import Path

import pytest
import torch

from coursekit.core import runtime, timeline
from coursekit.core.errors import DataError
from coursekit.core.show import tile
from coursekit.core.timeline import Timeline, frame_steps


def pictures(value: float, count: int = 4) -> torch.Tensor:
    return torch.full((count, 3, 16, 16), value)


def film(count: int = 5, about: str = "greys") -> Timeline:
    made = Timeline(about=about)
    for index in range(count):
        made.add(10 * index, pictures(index / max(count - 1, 1)), {"loss": 1.0 / (index + 1)})
    return made


# --- Frames ---------------------------------------------------------------------------------------


def test_frames_come_out_as_they_went_in() -> None:
    made = film()
    assert len(made) == 5
    assert made.steps == [0, 10, 20, 30, 40]
    assert [terms["loss"] for _, _, terms in made.frames] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    for index, shown in enumerate(made.pictures()):
        expected = tile(pictures(index / 4))[None]
        assert shown.shape == expected.shape
        assert float((shown - expected)[..., 4:12, 4:12].abs().max()) < 0.06  # JPEG


def test_pictures_of_one_channel_and_a_single_one() -> None:
    made = Timeline()
    made.add(1, torch.rand(6, 1, 8, 8), {})
    made.add(2, torch.rand(1, 1, 8, 8), {})
    assert made.picture(0).shape == (1, 3, 12, 62)  # six of 8 and seven gaps of 2
    assert made.picture(1).shape[:2] == (1, 3)


def test_a_step_is_kept_once_and_the_order_holds() -> None:
    made = film(3)
    before = list(made.frames)
    for step in (20, 5, 0):
        made.add(step, pictures(0.9), {})
    assert made.frames == before


def test_terms_are_copied() -> None:
    terms, made = {"loss": 1.0}, Timeline()
    made.add(1, pictures(0.5), terms)
    terms["loss"] = 7.0
    assert made.frames[0][2] == {"loss": 1.0}


@pytest.mark.parametrize(("last", "count"), [(1000, 10), (24_000, 24), (7, 3), (3, 24), (1, 1)])
def test_frame_steps_are_denser_at_the_beginning(last: int, count: int) -> None:
    steps = frame_steps(last, count)
    assert steps == sorted(set(steps))
    assert steps[-1] == last
    assert steps[0] >= 1 and len(steps) <= count
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert all(b >= a - 1 for a, b in itertools.pairwise(gaps))  # up to rounding
    if last > count**2:
        assert len(steps) == count


@pytest.mark.parametrize("count", [2, 3, 4, 7, 10])
@pytest.mark.parametrize("frames", [1, 4, 9, 10, 11, 25])
def test_thinning_keeps_the_ends(frames: int, count: int) -> None:
    whole = film(frames)
    thin = whole.thinned(count)
    assert len(thin) == min(frames, count)
    assert thin.frames[0] == whole.frames[0]
    assert thin.frames[-1] == whole.frames[-1]
    assert thin.about == whole.about
    assert thin.steps == sorted(set(thin.steps))
    assert set(thin.steps) <= set(whole.steps)
    gaps = [b - a for a, b in itertools.pairwise(thin.steps)]
    assert not gaps or max(gaps) - min(gaps) <= 10
    assert len(whole) == frames


# --- Files ----------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    made, path = film(about="лица, 20 000"), tmp_path / "new" / "course.timeline.zip"
    assert made.save(path) == path
    assert Timeline.load(path) == made
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    empty = Timeline(about="nothing")
    assert Timeline.load(empty.save(tmp_path / "empty.zip")) == empty


def test_the_same_training_gives_the_same_file(tmp_path: Path) -> None:
    first, second = (film().save(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert archive.namelist()[:2] == ["timeline.json", "00000000.jpg"]


def test_saving_replaces_at_once_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    path = film().save(tmp_path / "film.zip")
    before = path.read_bytes()

    def fails(*arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fails)
    with pytest.raises(DataError, match="No space left on device"):
        film(9).save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["film.zip"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no timeline .*nothing\.zip"):
        Timeline.load(tmp_path / "nothing.zip")


def other_zip(path: Path, name: str, content: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("other.json", "{}"),
        ("timeline.json", "{"),
        ("timeline.json", "[]"),
        ("timeline.json", '{"about": ""}'),
        ("timeline.json", '{"about": "", "frames": [{"step": 3, "terms": {}}]}'),
        ("timeline.json", '{"about": "", "frames": [{"step": "a", "terms": {}}]}'),
        ("timeline.json", '{"about": "", "frames": 4}'),
    ],
)
def test_a_foreign_zip_file(name: str, content: str, tmp_path: Path) -> None:
    other_zip(tmp_path / "film.zip", name, content)
    with pytest.raises(DataError, match="damaged or is no training timeline"):
        Timeline.load(tmp_path / "film.zip")


def test_a_damaged_file_is_refused_or_harmless(tmp_path: Path) -> None:
    path, made, chance = tmp_path / "film.zip", film(), random.Random(0)
    raw = made.save(path).read_bytes()
    for cut in (0, 10, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(DataError, match="damaged"):
            Timeline.load(path)
    refused = 0
    for _ in range(200):
        where = chance.randrange(len(raw))
        path.write_bytes(raw[:where] + bytes([raw[where] ^ 16]) + raw[where + 1 :])
        try:
            assert Timeline.load(path) == made
        except DataError:
            refused += 1
    assert refused > 100
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError):
        Timeline.load(path)


def test_the_timeline_of_a_topic(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    folder = tmp_path / "checkpoints" / "dcgan"
    film().save(folder / "course.timeline.zip")
    film(2).save(folder / "other.timeline.zip")
    assert timeline.of_topic("dcgan") == film()
    assert timeline.of_topic("dcgan", "other") == film(2)
    with pytest.raises(DataError, match="There is no timeline"):
        timeline.of_topic("wgan")
