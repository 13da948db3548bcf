"""Adapters for sets of torchvision and scikit-learn, against small files of the same layout."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from serving import Server, closed_port, gzipped, picture, tar_of, zip_of
from sklearn.datasets import _lfw, _olivetti_faces
from sklearn.datasets._base import RemoteFileMetadata
from torchvision.datasets import MNIST, CelebA, FashionMNIST, celeba, utils

from coursekit.core.errors import DataError, SettingError
from coursekit.datasets import published
from coursekit.datasets.digits import digits

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def left_over(cache: Path) -> set[str]:
    files = (cache / "published").rglob("*")
    return {file.name for file in files if file.is_file() and file.suffix != ".lock"}


def one_sentence(error: BaseException) -> bool:
    return "\n" not in str(error) and len(str(error)) < 600


# --- MNIST and Fashion-MNIST ---------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """Yann LeCun's format: type, dimensions, sizes, bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzipped(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


def images_of(labels: list[int]) -> np.ndarray:
    return np.array(labels)[:, None, None] * np.ones((1, 28, 28), int)


@pytest.fixture
def mnist_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Picture i has the value of its label everywhere."""
    for name, labels in (("train", [3, 1, 4, 1, 5]), ("t10k", [9, 2])):
        server.files[f"/{name}-images-idx3-ubyte.gz"] = idx(images_of(labels))
        server.files[f"/{name}-labels-idx1-ubyte.gz"] = idx(np.array(labels))
    resources = [(n[1:], hashlib.md5(data).hexdigest()) for n, data in server.files.items()]
    for kind in (MNIST, FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", [server.address + "/"])
        monkeypatch.setattr(kind, "resources", resources)
    return server


@pytest.mark.parametrize("load", [published.mnist, published.fashion_mnist])
def test_mnist_has_the_look_of_every_set(mnist_server: Server, load: object) -> None:
    train, test = load("train"), load("test")
    assert train.fields["label"].tolist() == [3, 1, 4, 1, 5]
    assert test.fields["label"].tolist() == [9, 2]
    assert train.fields["image"].shape == (5, 1, 28, 28)
    assert torch.equal(train.fields["image"][:, 0, 5, 5].long(), train.fields["label"])
    assert load("train", count=2).fields["label"].tolist() == [3, 1]
    assert "5 ×" in train.describe() and "28×28, real; torchvision" in train.describe()


def test_mnist_is_fetched_once(mnist_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first, hits = published.mnist().digest(), mnist_server.hits.copy()
    assert published.mnist().digest() == first and mnist_server.hits == hits
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    assert published.mnist().digest() == first


def test_full_digits_are_those_of_mnist(mnist_server: Server) -> None:
    assert digits("all", full=True).fields["label"].tolist() == [3, 1, 4, 1, 5, 9, 2]
    padded = digits("test", full=True, size=32).fields["image"]
    assert padded.shape == (2, 1, 32, 32) and padded[0, 0, 0, 0] == 0 and padded[0, 0, 9, 9] == 9


@pytest.mark.parametrize("broken", ["half", "other", "absent"])
def test_a_bad_download_leaves_nothing(mnist_server: Server, cache: Path, broken: str) -> None:
    path = "/t10k-labels-idx1-ubyte.gz"
    whole = mnist_server.files.pop(path)
    if broken == "half":
        mnist_server.files[path] = whole
        mnist_server.short.add(path)
    if broken == "other":
        mnist_server.files[path] = idx(np.array([7, 7]))
    with pytest.raises(DataError, match="MNIST is not in the cache and could not") as told:
        published.mnist()
    assert one_sentence(told.value) and left_over(cache) == set()
    mnist_server.files[path] = whole
    mnist_server.short.clear()
    assert len(published.mnist()) == 5


def test_a_damaged_folder_says_what_to_delete(mnist_server: Server, cache: Path) -> None:
    published.mnist()
    (raw,) = cache.rglob("train-images-idx3-ubyte")
    raw.write_bytes(raw.read_bytes()[:100])
    with pytest.raises(DataError, match="delete that folder to fetch it again"):
        published.mnist()


def test_unknown_splits_and_counts() -> None:
    with pytest.raises(SettingError, match="'val'; choose one of train, test"):
        published.mnist("val")
    with pytest.raises(SettingError, match="train, valid, test, all"):
        published.celeba("val")
    for call in (
        lambda: published.mnist(count=0),
        lambda: published.celeba(size=0),
        lambda: published.olivetti(0),
        lambda: published.lfw(count=0),
    ):
        with pytest.raises(SettingError, match="must be 1 or more"):
            call()


SETS = {
    "MNIST": published.mnist,
    "FashionMNIST": published.fashion_mnist,
    "CelebA": published.celeba,
    "Olivetti faces": published.olivetti,
    "Labeled Faces in the Wild": published.lfw,
}


@pytest.mark.parametrize("title", SETS)
def test_offline_every_set_refuses_in_one_sentence(
    title: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    with pytest.raises(DataError, match=f"{title} is not in the cache.*COURSEKIT_OFFLINE") as told:
        SETS[title]()
    assert one_sentence(told.value) and not left_over(cache)


# --- CelebA --------------------------------------------------------------------------------------

# Two in each split: torchvision cannot read a split of one.
PEOPLE = {"000001.jpg": RED, "000002.jpg": GREEN, "000003.jpg": BLUE, "000004.jpg": RED}


def _table(rows: list[str], header: str = "") -> bytes:
    names = list(PEOPLE)
    lines = [f"{name} {row}" for name, row in zip(names, rows, strict=True)]
    above = [str(len(rows)), header] if header else []
    return "\n".join([*above, *lines, ""]).encode()


@pytest.fixture
def celeba_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    pictures = {
        f"img_align_celeba/{name}": picture(colour, colour, side=20)
        for name, colour in PEOPLE.items()
    }
    server.files |= {
        "/img_align_celeba.zip": zip_of(pictures),
        "/list_attr_celeba.txt": _table(
            ["-1  1", " 1 -1", " 1  1", " 1  1"], "Eyeglasses Smiling "
        ),
        "/identity_CelebA.txt": _table(["7", "8", "7", "9"]),
        "/list_bbox_celeba.txt": _table(["1 2 3 4"] * 4, "x y w h"),
        "/list_landmarks_align_celeba.txt": _table(["1 2"] * 4, "x y"),
        "/list_eval_partition.txt": _table(["0", "0", "2", "2"]),
    }
    files = [(n, hashlib.md5(data).hexdigest(), n[1:]) for n, data in server.files.items()]
    monkeypatch.setattr(CelebA, "file_list", files)

    def download(identity: str, root: str, filename: str, md5: str) -> None:
        utils.download_url(server.address + identity, root, filename, md5)

    monkeypatch.setattr(celeba, "download_file_from_google_drive", download)
    return server


def test_celeba_has_a_field_for_each_attribute(celeba_server: Server) -> None:
    data = published.celeba("train", 8)
    assert set(data.fields) == {"image", "identity", "eyeglasses", "smiling"}
    assert data.fields["image"][:, :, 4, 4].tolist() == [list(RED), list(GREEN)]
    assert data.fields["image"].shape == (2, 3, 8, 8)
    assert data.fields["eyeglasses"].tolist() == [0, 1]
    assert data.fields["smiling"].tolist() == [1, 0]
    assert data.fields["identity"].tolist() == [7, 8]
    assert "non-commercial" in data.describe()


def test_celeba_splits_and_counts(celeba_server: Server) -> None:
    assert published.celeba("test", 8).fields["identity"].tolist() == [7, 9]
    hits = celeba_server.hits.copy()
    assert len(published.celeba("all", 8, count=None)) == 4
    assert len(published.celeba("all", 8, count=1)) == 1
    assert celeba_server.hits == hits


def test_celeba_with_a_damaged_picture_says_so(celeba_server: Server, cache: Path) -> None:
    published.celeba("test", 8)
    (file,) = cache.rglob("000001.jpg")
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"1 pictures in .* are damaged"):
        published.celeba("train", 8)


def test_celeba_without_gdown_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DataError, match="pip install gdown"):
        published.celeba()
    assert left_over(cache) == set()


# --- scikit-learn --------------------------------------------------------------------------------


def _remote(server: Server, name: str, data: bytes) -> RemoteFileMetadata:
    server.files[f"/{name}"] = data
    return RemoteFileMetadata(name, f"{server.address}/{name}", hashlib.sha256(data).hexdigest())


@pytest.fixture
def olivetti_server(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """Face i has the grey i // 2 in its left half, 0 in its right one."""
    faces = np.zeros((400, 64, 64), np.uint8)
    faces[:, :, :32] = (np.arange(400) // 2)[:, None, None]
    columns = faces.transpose(0, 2, 1).reshape(400, -1).T  # stored column by column
    savemat(tmp_path / "faces.mat", {"faces": columns}, do_compression=True)
    remote = _remote(server, "faces.mat", (tmp_path / "faces.mat").read_bytes())
    monkeypatch.setattr(_olivetti_faces, "FACES", remote)
    return server


def test_olivetti(olivetti_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    data = published.olivetti()
    assert data.fields["image"].shape == (400, 1, 64, 64)
    assert data.fields["identity"].bincount().tolist() == [10] * 40
    grey = data.fields["image"][:, 0, 30, 10].float()
    assert torch.allclose(grey, torch.arange(400).div(2, rounding_mode="floor") / 199 * 255, atol=1)
    assert data.fields["image"][..., 40:].max() == 0
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    assert published.olivetti(32).fields["image"].shape == (400, 1, 32, 32)
    assert olivetti_server.hits["/faces.mat"] == 1


def test_olivetti_with_another_digest_is_refused(
    olivetti_server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = _olivetti_faces.FACES._replace(checksum="0" * 64)
    monkeypatch.setattr(_olivetti_faces, "FACES", wrong)
    with pytest.raises(DataError, match="Olivetti faces is not in the cache") as told:
        published.olivetti()
    assert one_sentence(told.value) and left_over(cache) == set()


@pytest.fixture
def lfw_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Ada has two pictures, Bob one, of 250 pixels a side."""
    files = {}
    for name, colour in (("Ada/Ada_0001", RED), ("Ada/Ada_0002", GREEN), ("Bob/Bob_0001", BLUE)):
        files[f"lfw_funneled/{name}.jpg"] = picture(colour, side=250)
    archive = _remote(server, "lfw-funneled.tgz", tar_of(files))
    monkeypatch.setattr(_lfw, "FUNNELED_ARCHIVE", archive)
    monkeypatch.setattr(_lfw, "TARGETS", (_remote(server, "pairs.txt", b"1\n"),))
    return server


def test_lfw(lfw_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    data = published.lfw(32)
    assert data.fields["image"].shape == (3, 3, 32, 32)
    seen = {tuple(image[:, 9, 9].tolist()) for image in data.fields["image"]}
    assert seen == {RED, GREEN, BLUE}
    assert sorted(data.fields["identity"].tolist()) == [0, 0, 1]
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    assert len(published.lfw(32, count=2)) == 2
    assert published.lfw(32, per_person=2).fields["identity"].tolist() == [0, 0]
    assert published.lfw(50).fields["image"].shape == (3, 3, 50, 50)
    assert lfw_server.hits["/lfw-funneled.tgz"] == 1
    with pytest.raises(DataError, match="min_faces_per_person=5 is too restrictive"):
        published.lfw(32, per_person=5)


def test_an_unreachable_host_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [closed_port() + "/"])
    with pytest.raises(DataError, match=r"could not be fetched \(.*refused") as told:
        published.mnist()
    assert one_sentence(told.value)
