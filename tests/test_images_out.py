"""Tensors to files, arrays and PIL images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit.core.errors import ImageError
from coursekit.core.images import load_image, save_image, to_array, to_pil

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_png_comes_back_exactly(tmp_path: Path) -> None:
    path = save_image(load_image(RGB), tmp_path / "картина.png")
    assert path == tmp_path / "картина.png"
    assert np.array_equal(np.asarray(Image.open(path)), RGB)
    assert torch.equal(load_image(path), load_image(RGB))
    assert os.listdir(tmp_path) == ["картина.png"]


def test_jpeg_comes_back_nearly(tmp_path: Path) -> None:
    smooth = load_image(RGB, 40)
    rough, fine = (
        save_image(smooth, tmp_path / f"{quality}.jpg", quality=quality) for quality in (10, 95)
    )
    assert rough.stat().st_size < fine.stat().st_size
    assert (load_image(fine) - smooth).abs().mean() < 0.01


def test_to_array_rounds_and_clamps() -> None:
    values = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 7.0])
    found = to_array(values.view(1, 1, 1, 7).expand(1, 3, 1, 7))
    assert found.dtype == np.uint8
    assert found.shape == (1, 7, 3)
    assert found[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_to_array_takes_what_torch_has() -> None:
    tensor = load_image(RGB)
    for same in (
        tensor,
        tensor[0],
        tensor.double(),
        tensor.clone().requires_grad_(),
        tensor.to(memory_format=torch.channels_last),
        torch.from_numpy(RGB).permute(2, 0, 1),
    ):
        assert np.array_equal(to_array(same), RGB)
        assert np.array_equal(np.asarray(to_pil(same)), RGB)
    assert np.ptp(to_array(torch.rand(1, 4, 5)), axis=2).max() == 0


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2, 3, 4, 4),
        torch.zeros(4, 4),
        torch.zeros(4, 4, 3),
        torch.zeros(3, 0, 4),
        torch.full((3, 2, 2), float("nan")),
    ],
)
def test_what_cannot_be_shown(tensor: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        to_array(tensor)
    with pytest.raises(ImageError):
        save_image(tensor, tmp_path / "x.png")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["x.docx", "x", "missing/x.png", "folder.png"])
def test_a_failed_save_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="Cannot write"):
        save_image(load_image(RGB), tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.png"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_save_that_breaks_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = save_image(load_image(RGB), tmp_path / "x.png")
    before = path.read_bytes()

    def broken(self: Image.Image, target: Path, **options: object) -> None:
        Path(target).write_bytes(b"half")
        raise error

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises((ImageError, KeyboardInterrupt)):
        save_image(torch.zeros(3, 4, 4), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.png"]
