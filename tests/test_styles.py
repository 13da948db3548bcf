"""The project's own pictures: the committed files are what the code paints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coursekit.core.errors import DataError, SettingError
from coursekit.datasets import brush, styles

FAST = ("stained_glass", "woodblock_sea", "dotted_garden", "pebbles", "autumn_leaves")
NAMES = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in styles.STYLES
]


def committed(name: str) -> Image.Image:
    return Image.open(styles.STYLES[name].path).convert("RGB")


def blocks(picture: np.ndarray, count: int = 16) -> np.ndarray:
    side = len(picture) // count
    return picture.astype(float).reshape(count, side, count, side, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("name", styles.STYLES)
def test_the_committed_file_is_a_rich_picture(name: str) -> None:
    path = styles.STYLES[name].path
    picture = np.asarray(committed(name)).astype(float)
    assert picture.shape == (512, 512, 3)
    assert 60_000 < path.stat().st_size < 160_000
    # Texture at every scale: no octave of the difference of box averages is empty.
    for side in (1, 2, 4, 8, 16):
        fine = picture.reshape(512 // side, side, 512 // side, side, 3).mean(axis=(1, 3))
        coarse = fine.reshape(256 // side, 2, 256 // side, 2, 3).mean(axis=(1, 3))
        detail = fine - coarse.repeat(2, axis=0).repeat(2, axis=1)
        assert detail.std() > 4, f"nothing happens at {side} pixels"


@pytest.mark.parametrize("name", NAMES)
def test_the_code_paints_the_committed_file(name: str) -> None:
    """At a quarter of the size: the same composition and colours, block by block."""
    small = styles.render(name, 128)
    reference = np.asarray(committed(name).resize((128, 128), Image.Resampling.BOX))
    assert small.shape == (128, 128, 3) and small.dtype == np.uint8
    assert np.abs(blocks(small) - blocks(reference)).mean() < 6
    assert np.abs(blocks(small[:, ::-1]) - blocks(reference)).mean() > 12  # not by accident


@pytest.mark.slow
@pytest.mark.parametrize("name", styles.STYLES)
def test_the_code_paints_the_committed_file_at_full_size(name: str) -> None:
    difference = np.abs(styles.render(name).astype(float) - np.asarray(committed(name)))
    assert difference.mean() < 12  # what JPEG quality 80 loses on such texture


def test_painting_is_deterministic() -> None:
    first, second = styles.render("pebbles", 64), styles.render("pebbles", 64)
    assert np.array_equal(first, second)


def test_a_style_loads_as_a_tensor() -> None:
    image = styles.style_image("night_strokes", 64, crop=True)
    assert image.shape == (1, 3, 64, 64) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1


def test_unknown_names_and_sizes_are_named_errors() -> None:
    with pytest.raises(DataError, match="night_strokes, fire_fjord"):
        styles.style_image("mona_lisa")
    with pytest.raises(SettingError, match="at least 32"):
        styles.render("pebbles", 8)


def test_a_missing_file_says_how_to_render_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(styles, "data_dir", lambda: tmp_path)
    with pytest.raises(DataError, match=r"python -m coursekit\.datasets\.styles pebbles"):
        styles.style_image("pebbles")


def test_the_command_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    styles.main(["pebbles", "--size", "64", "--out", str(tmp_path)])
    assert Image.open(tmp_path / "pebbles.jpg").size == (64, 64)
    assert "pebbles.jpg: 64×64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["pebbles", "nosuch"], "called 'nosuch'"),
        (["pebbles", "--size", "8"], "at least 32 pixels"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        styles.main([*wrong, "--out", str(tmp_path)])
    assert caught.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_later_strokes_cover_earlier_ones() -> None:
    canvas = brush.Canvas(32, np.zeros(3, np.float32))
    across = np.linspace([0.1, 0.5], [0.9, 0.5], 8)[None].astype(np.float32)
    plain = brush.Brush(0.3, vary=0, jitter=0, streak=0, dry=0)
    for colour in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
        canvas.lay(across, np.float32([colour]), plain)
    middle = canvas.colour[canvas.side // 2, canvas.side // 2]
    assert np.allclose(middle, (0, 1, 0))
    assert np.allclose(canvas.colour[2, 2], 0)  # the corner is bare


def test_streamlines_follow_the_field() -> None:
    x, y = brush.grid(64)
    circles = brush.unit(np.stack([-(y - 0.5), x - 0.5], axis=-1))
    path = brush.trace(circles, np.float32([[0.8, 0.5]]), np.float32([0.4]), 64)[0]
    assert np.allclose(np.hypot(*(path - 0.5).T), 0.3, atol=0.01)
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(0.4, rel=0.03)
