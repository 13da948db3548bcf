"""Files that lie: another topic's, another network's, made to do harm. Each is refused by name."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from training_toy import Toy

from coursekit import (
    cgan,
    cyclegan,
    dcgan,
    dfi_identity,
    fast_style,
    pix2pix,
    progan,
    report,
    spade,
    stylegan2_styles,
    wct_networks,
    wgan,
)
from coursekit.core import (
    checkpoints,
    images,
    metrics,
    recognise,
    runtime,
    segmenter,
    training,
    weight_sources,
)
from coursekit.core.errors import DataError, WeightsError
from coursekit.core.timeline import Timeline
from coursekit.datasets import archives, base

# How each topic reads its own, from the path that data/checkpoints gives it.
LOADERS: dict[str, tuple[str, Callable[[], object]]] = {
    "fast_style": ("great_wave", fast_style.load_network),
    "wct": ("level3", lambda: wct_networks.load_decoder(3)),
    "dfi": ("identity", dfi_identity.load_identity),
    "dcgan": ("course", dcgan.load_generator),
    "wgan": ("course", wgan.load_generator),
    "cgan": ("course", cgan.load_generator),
    "pix2pix": ("course", pix2pix.load),
    "cyclegan": ("course", cyclegan.load),
    "progan": ("course", progan.load_generator),
    "stylegan2": ("course", stylegan2_styles.load_generator),
    "spade": ("course", spade.load),
    "segment": ("scenes", segmenter.load),
    "recognise": ("digits", lambda: recognise.load("digits")),
}
FACTS = {"recipe": "r", "data": "d", "steps": 1, "seed": 0, "settings": {}}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of one's own; where the course's checkpoints really lie is returned."""
    real = runtime.data_dir()
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    return real


# --- Another topic's, another network's -----------------------------------------------------------


def test_every_folder_of_checkpoints_is_tried_here() -> None:
    folders = (runtime.data_dir() / "checkpoints").iterdir()
    assert {folder.name for folder in folders} == set(LOADERS)


@pytest.mark.parametrize("topic", LOADERS)
def test_a_checkpoint_of_any_other_topic_is_refused(topic: str, data: Path) -> None:
    name, load = LOADERS[topic]
    path = checkpoints.path_of(topic, name)
    path.parent.mkdir(parents=True)
    for other, (theirs, _) in LOADERS.items():
        shutil.copy(data / "checkpoints" / other / f"{theirs}.safetensors", path)
        if other == topic:
            load()
            continue
        with pytest.raises(WeightsError, match=rf"{path.name} .*take a fresh copy") as told:
            load()
        assert len(str(told.value)) < 400


@pytest.mark.parametrize("topic", LOADERS)
def test_weights_that_do_not_fit_their_header_are_refused(topic: str, data: Path) -> None:
    """The right header over the weights of a network that was changed."""
    name, load = LOADERS[topic]
    found = checkpoints.read(data / "checkpoints" / topic / f"{name}.safetensors")
    path = checkpoints.path_of(topic, name)
    path.parent.mkdir(parents=True)
    first, *rest = found.weights
    for weights in (
        {each: found.weights[each] for each in rest},
        found.weights | {"a layer too many": torch.zeros(2)},
        found.weights | {first: torch.zeros(1, 2, 3)},
    ):
        save_file(weights, path, {"about": json.dumps(found.about)})
        with pytest.raises(WeightsError, match=rf"{path.name} is no "):
            load()


@pytest.mark.parametrize(
    "settings", [None, 3, "words", [], {"latent": "many"}, {"size": -1}, {"no such setting": 1}]
)
def test_settings_that_are_none_are_refused(settings: object, data: Path) -> None:
    path = checkpoints.path_of("dcgan")
    path.parent.mkdir(parents=True)
    about = FACTS | {"recipe": "dcgan r", "settings": settings, "date": "2026-01-01"}
    save_file({"w": torch.zeros(2)}, path, {"about": json.dumps(about)})
    with pytest.raises(WeightsError, match=r"course\.safetensors is no generator of faces"):
        dcgan.load_generator()


def test_a_level_of_wct_in_another_s_place_is_refused(data: Path) -> None:
    path = checkpoints.path_of("wct", "level3")
    path.parent.mkdir(parents=True)
    shutil.copy(data / "checkpoints" / "wct" / "level2.safetensors", path)
    with pytest.raises(WeightsError, match="holds level 2, not 3"):
        wct_networks.load_decoder(3)


# --- Headers made to do harm ----------------------------------------------------------------------


def _header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


LYING_HEADERS = {
    "says that it is longer than the file": _header(b'{"a":1}', 2**62),
    "says that it has 90 MB": _header(b"{}", 90_000_000),
    "is as long as it says, and empty": _header(b" " * 1_000_000),
    "nests a hundred thousand deep": _header(b'{"a":' + b"[" * 100_000),
    "names a tensor of 10^18 values": _header(
        b'{"w":{"dtype":"F16","shape":[1000000000,1000000000],"data_offsets":[0,2]}}' + b"00"
    ),
    "lets two tensors overlap": _header(
        b'{"v":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},'
        b'"w":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}'
    )
    + b"00",
    "points behind the end": _header(
        b'{"w":{"dtype":"F16","shape":[1],"data_offsets":[900,902]}}' + b"00"
    ),
}


@pytest.mark.parametrize("lie", LYING_HEADERS)
def test_a_header_that_lies_is_refused_wherever_it_is_read(
    lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(LYING_HEADERS[lie])
    with pytest.raises(WeightsError, match="damaged"):
        checkpoints.read(path)
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    made = base.cached("toy", {}, lambda: {"image": torch.ones(2)})
    (cached,) = (tmp_path / "datasets").iterdir()
    cached.write_bytes(LYING_HEADERS[lie])
    assert torch.equal(base.cached("toy", {}, lambda: dict(made))["image"], torch.ones(2))


def test_facts_that_nest_a_hundred_thousand_deep_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"w": torch.zeros(2)}, path, {"about": "[" * 100_000})
    with pytest.raises(WeightsError, match="damaged"):
        checkpoints.read(path)


# --- Films and training checkpoints: zip files ----------------------------------------------------


def _film(step: int | str = 3) -> str:
    return json.dumps({"about": "", "frames": [{"step": step, "terms": {}}]})


def _write_zip(path: Path, entries: dict[str, bytes | str], kind: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _peak(call: Callable[[], object]) -> int:
    """The most bytes that Python's own objects took while ``call`` raised DataError."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="damaged or is no training timeline"):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _lie_about_size(path: Path, name: bytes, size: int) -> None:
    """Overwrite an entry's size in the zip's directory."""
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(name) - 46
    assert raw[entry : entry + 4] == b"PK\x01\x02"
    raw[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize("bomb", ["timeline.json", "00000003.jpg"])
def test_a_film_that_grows_when_unpacked_is_refused_unread(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "film.zip"
    entries = {"timeline.json": _film(), "00000003.jpg": b"x"} | {bomb: bytes(40_000_000)}
    _write_zip(path, entries, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 500_000
    assert _peak(lambda: Timeline.load(path)) < 5_000_000


def test_a_film_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.zip"
    _write_zip(path, {"timeline.json": _film(), "00000003.jpg": b"x" * 100})
    _lie_about_size(path, b"00000003.jpg", 2**31)
    assert _peak(lambda: Timeline.load(path)) < 20_000_000


def test_a_film_with_a_thousand_names_for_one_picture_is_refused(tmp_path: Path) -> None:
    """Entries that overlap: what would come out is a thousand times what lies there."""
    path, count, size = tmp_path / "film.zip", 1000, 300_000
    frames = [{"step": step, "terms": {}} for step in range(count)]
    _write_zip(path, {"timeline.json": json.dumps({"about": "", "frames": frames})})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("00000000.jpg", bytes(size))
        entry = archive.getinfo("00000000.jpg")
        for step in range(1, count):
            other = zipfile.ZipInfo(f"{step:08d}.jpg")
            for fact in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, fact, getattr(entry, fact))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
        archive._didModify = True
    assert path.stat().st_size < 2 * size
    assert _peak(lambda: Timeline.load(path)) < 20_000_000


OUTSIDE = ("../outside.jpg", "/outside.jpg", "C:\\outside.jpg", "..\\outside.jpg")


def test_names_that_point_elsewhere_are_never_opened(tmp_path: Path) -> None:
    """A film is read in memory, by its own names alone: nothing is written, nothing else read."""
    place = tmp_path / "inside"
    place.mkdir()
    path = place / "film.zip"
    _write_zip(path, {"timeline.json": _film(), "00000003.jpg": b"x"} | dict.fromkeys(OUTSIDE, "y"))
    assert Timeline.load(path).frames == [(3, b"x", {})]
    _write_zip(path, {"timeline.json": _film("../../outside")} | dict.fromkeys(OUTSIDE, "y"))
    with pytest.raises(DataError, match="no training timeline"):
        Timeline.load(path)
    assert [each.name for each in tmp_path.rglob("*")] == ["inside", "film.zip"]


def test_a_training_checkpoint_that_grows_when_unpacked_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Toy().run(3, tmp_path)
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    largest = max(entries, key=lambda name: len(entries[name]))
    entries[largest] = bytes(40_000_000)
    _write_zip(path, entries, zipfile.ZIP_DEFLATED)
    toy = Toy(start=1)
    read = []
    monkeypatch.setattr(torch, "load", lambda *_, **__: read.append(1))
    with pytest.raises(WeightsError, match="is damaged or is no checkpoint"):
        toy.run(5, tmp_path)
    assert not toy.drawn and not read


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """That of a network which has the same parts under the same names."""
    small = dcgan.Game(dcgan.Generator(8, 4, 8), dcgan.Discriminator(4, 8))
    pictures = torch.rand(12, 3, 8, 8)

    def run(game: dcgan.Game) -> training.TrainingResult:
        batches = training.Batches(pictures, 4)

        def step(number: int) -> training.Terms:
            return game.step(number, next(batches))

        state = game.state() | {"batches": batches}
        return training.run(step, state, steps=2, folder=tmp_path, progress=False)

    run(small)
    larger = dcgan.Game(dcgan.Generator(8, 6, 8), dcgan.Discriminator(6, 8))
    before = {k: v.clone() for k, v in larger.generator.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit"):
        run(larger)
    assert all(torch.equal(v, before[k]) for k, v in larger.generator.state_dict().items())


# --- Pickles that want to run ---------------------------------------------------------------------


class Rogue:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.target, "it ran")


def _torch_hub(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's weights: torch takes what lies in its own cache as it is."""
    _in_torchs_cache(path, "vgg16-397923af.pth", monkeypatch)
    weight_sources.from_torchvision("vgg16", progress=False)


def _inception(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _in_torchs_cache(path, "inception_v3_google-0cc3c7bd.pth", monkeypatch)
    metrics.inception_extractor()


def _in_torchs_cache(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = path.parent / "hub"
    (hub / "checkpoints").mkdir(parents=True)
    shutil.copy(path, hub / "checkpoints" / name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))


def _torchmetrics(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS heads out of an installed torchmetrics."""
    folder = path.parent / "functional" / "image" / "lpips_models"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / "vgg.pth")
    spec = type("Spec", (), {"origin": str(path.parent / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: spec)
    weight_sources.from_torchmetrics("lpips_vgg", progress=False)


READERS: dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "a training's checkpoint": lambda path, _: Toy().run(3, path.parent),
    "a checkpoint to restore": lambda path, _: training.restore(path.parent, Toy().state()),
    "a checkpoint of the course": lambda path, _: checkpoints.read(path),
    "a film": lambda path, _: Timeline.load(path),
    "a picture": lambda path, _: images.load_image(path),
    "torchvision's weights": _torch_hub,
    "torchvision's Inception": _inception,
    "torchmetrics' heads": _torchmetrics,
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize("reader", READERS)
def test_a_pickle_never_runs_wherever_files_are_read(
    reader: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "checkpoint.pt"
    content = {"format": 1, "state": {}, "random": Rogue(mark), "lin0.model.1.weight": Rogue(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert mark.read_text() == "it ran"
    mark.unlink()
    with monkeypatch.context() as patch, pytest.raises(Exception) as told:
        READERS[reader](path, patch)
    assert not mark.exists()
    assert type(told.value).__module__ == "coursekit.core.errors"


def test_no_code_of_the_course_reads_pickles_without_a_guard(checkout: Path) -> None:
    """torch.load says weights_only, pickle and numpy's pickles stand in one place."""
    loads = []
    for file in sorted((checkout / "coursekit").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        lines = [line.strip() for line in text.splitlines()]
        loads += [line for line in lines if "torch.load(" in line]
        reads = re.findall(r"pickle\.loads?\(|Unpickler\(|allow_pickle=True|joblib\.load", text)
        assert not reads or file.name == "weight_sources.py", (file.name, reads)
    assert loads and all("weights_only=True" in line for line in loads)


# --- Archives and submissions ---------------------------------------------------------------------


def _many_in_a_zip(path: Path, count: int) -> None:
    _write_zip(path, {f"facades/train/{number}.jpg": b"" for number in range(count)})


def _many_in_a_tar(path: Path, count: int) -> None:
    with gzip.open(path, "wb") as file:
        file.write(tarfile.TarInfo("facades/train/1.jpg").tobuf() * count + bytes(1024))


@pytest.mark.parametrize(("kind", "write"), [(".zip", _many_in_a_zip), (".tar.gz", _many_in_a_tar)])
def test_an_archive_of_too_many_entries_is_refused(
    kind: str, write: Callable[[Path, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, many = tmp_path / f"facades{kind}", 1000
    monkeypatch.setattr(archives, "MOST_ENTRIES", many)
    for count in (many, many + 1):
        write(path, count)
        read: list[int] = []
        if count == many:
            assert len(list(archives.members(path, lambda inside: True))) == many
            continue
        with pytest.raises(DataError, match=rf"facades{kind} is refused.* 1,000 entries are"):
            for _ in archives.members(path, lambda inside: True):
                read.append(1)
        assert len(read) <= many


def test_the_sets_that_are_published_have_fewer_entries_than_that() -> None:
    assert archives.MOST_ENTRIES > 2 * 138_767  # edges2handbags


def test_submissions_of_another_form_are_told(tmp_path: Path) -> None:
    """JSON without an end, and of another form: told, and the others are read."""
    top = tmp_path / "submitted"
    (top / "ada").mkdir(parents=True)
    entry: dict[str, Any] = {"exercises": {"dcgan.bce": {"status": "passed"}}}
    (top / "ada" / "progress.json").write_text(json.dumps(entry))
    (top / "deep.json").write_text("[" * 100_000)
    (top / "mallory").mkdir()
    (top / "mallory" / "n.ipynb").write_text('{"cells": [{"outputs": 3, "cell_type": "code"}]}')
    entry["exercises"]["dcgan.bce"]["mistakes"] = 3
    (top / "eve.json").write_text(json.dumps(entry))
    found = report.read(top)
    assert found.students == ("ada",)
    names = ["deep.json", "eve.json", "mallory/n.ipynb"]
    assert [told.partition(" ")[0] for told in found.unreadable] == names


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right on Windows")
def test_a_link_out_of_the_submissions_is_not_followed(tmp_path: Path) -> None:
    secret, top = tmp_path / "secret", tmp_path / "submitted"
    for place, student in ((secret, "teacher"), (top, "ada")):
        (place / student).mkdir(parents=True)
        entry = {"exercises": {f"dcgan.{student}": {"status": "passed"}}}
        (place / student / "progress.json").write_text(json.dumps(entry))
    (top / "mallory").symlink_to(secret, target_is_directory=True)
    (top / "eve.json").symlink_to(secret / "teacher" / "progress.json")
    found = report.read(top)
    assert found.students == ("ada",)
    assert found.unreadable == ("eve.json is a link; hand in the file itself.",)
