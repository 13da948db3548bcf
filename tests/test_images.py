"""Pictures in every shape that files, PIL, numpy and torch give them, and those that are none."""

from __future__ import annotations

import gc
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import resize as skimage_resize

from coursekit.core.errors import CourseError, ImageError
from coursekit.core.images import load_image, resize

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) in 0 … 255."""
    assert tensor.dtype == torch.float32
    assert tensor.shape[:2] == (1, 3)
    assert tensor.is_contiguous()
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    return tensor[0].permute(1, 2, 0).numpy() * 255


def assert_grey(tensor: torch.Tensor, expected: np.ndarray) -> None:
    """All channels equal ``expected`` in 0 … 1."""
    found = as_array(tensor) / 255
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 3, 2), atol=1e-6)


# --- Sources --------------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    picture = Image.fromarray(RGB)
    path = tmp_path / "Кошка и 猫.png"
    picture.save(path)
    data = path.read_bytes()
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    with path.open("rb") as file:
        found = [
            load_image(source)
            for source in (path, str(path), data, io.BytesIO(data), file, picture, RGB, tensor)
        ]
    for each in found:
        np.testing.assert_allclose(as_array(each), RGB, atol=1e-4)
    assert torch.equal(load_image(tensor[None]), found[0])


def test_files_are_closed(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("a.gif", "a.png"):
            load_image(tmp_path / name)
        gc.collect()
    assert not [each for each in caught if issubclass(each.category, ResourceWarning)]


# Corner colours of a 2×3 picture after the orientation is undone; the file holds `stored`.
_UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
_STORED = {
    1: _UPRIGHT,
    2: _UPRIGHT[:, ::-1],
    3: _UPRIGHT[::-1, ::-1],
    4: _UPRIGHT[::-1],
    5: _UPRIGHT.T,
    6: np.rot90(_UPRIGHT, 1),
    7: _UPRIGHT[::-1, ::-1].T,
    8: np.rot90(_UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", _STORED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    """EXIF 2.3, section 4.6.4: 6 means that the top of the scene is on the right of the data."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Each value fills a block, so that JPEG keeps it apart from its neighbours.
    stored = np.kron(_STORED[orientation], np.ones((16, 16), np.uint8))
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    found = as_array(load_image(data))
    assert found.shape == (32, 48, 3)
    np.testing.assert_allclose(found[8::16, 8::16, 0], _UPRIGHT, atol=2)


def test_cmyk_jpeg() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 60))
    found = as_array(load_image(encoded(red.convert("CMYK"), "JPEG", quality=95)))
    np.testing.assert_allclose(found, np.broadcast_to([200, 30, 60], (16, 16, 3)), atol=4)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    assert load_image(Image.new(mode, (3, 2))).shape == (1, 3, 2, 3)


DEEP = np.array([[0, 1000, 30000], [65535, 257, 12]], dtype=np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_depth(kind: str) -> None:
    assert_grey(load_image(encoded(Image.fromarray(DEEP), kind)), DEEP / 65535)


def test_a_dark_16_bit_picture_stays_dark() -> None:
    dark = np.full((4, 4), 200, dtype=np.uint16)
    assert_grey(load_image(encoded(Image.fromarray(dark), "PNG")), dark / 65535)
    assert_grey(load_image(Image.fromarray(dark)), dark / 65535)


def test_32_bit_and_float_grey() -> None:
    assert_grey(load_image(Image.fromarray(DEEP.astype(np.int32))), DEEP / 65535)
    unit = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    assert_grey(load_image(Image.fromarray(unit)), unit)
    assert_grey(load_image(Image.fromarray(unit * 255)), unit)
    assert_grey(load_image(encoded(Image.fromarray(unit), "TIFF")), unit)
    for bad in (unit - 0.5, unit * 1e6, np.full((2, 2), np.nan, np.float32)):
        with pytest.raises(ImageError, match="scale it"):
            load_image(Image.fromarray(bad.astype(np.float32)))


def test_black_and_white_of_one_bit() -> None:
    bits = np.array([[True, False, True], [False, False, True]])
    assert_grey(load_image(encoded(Image.fromarray(bits), "PNG")), bits.astype(float))
    assert_grey(load_image(bits), bits.astype(float))


def test_grey_with_and_without_transparency() -> None:
    grey = np.array([[10, 200], [90, 0]], dtype=np.uint8)
    alpha = np.array([[255, 0], [255, 0]], dtype=np.uint8)
    assert_grey(load_image(encoded(Image.fromarray(grey), "PNG")), grey / 255)
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = np.array([[10, 255], [90, 255]]) / 255
    assert_grey(load_image(encoded(both, "PNG")), expected)
    assert_grey(load_image(both.convert("La")), expected)


def test_transparent_parts_lie_on_white() -> None:
    """Alpha compositing over white: c · a + 255 · (1 - a)."""
    rgba = np.dstack([RGB, np.linspace(0, 255, 35).astype(np.uint8).reshape(5, 7)])
    alpha = rgba[..., 3:] / 255
    expected = RGB * alpha + 255 * (1 - alpha)
    for source in (encoded(Image.fromarray(rgba), "PNG"), rgba, Image.fromarray(rgba)):
        np.testing.assert_allclose(as_array(load_image(source)), expected, atol=1)
    premultiplied = Image.fromarray(rgba).convert("RGBa")
    np.testing.assert_allclose(as_array(load_image(premultiplied)), expected, atol=3)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_colour(kind: str) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("L")
    picture = picture.convert("P")
    picture.putdata([0, 1, 2, 1])
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    plain = as_array(load_image(encoded(picture, kind)))
    assert plain[0].tolist() == [[255, 0, 0], [0, 255, 0]]
    found = as_array(load_image(encoded(picture, kind, transparency=1)))
    assert found[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert found[1].tolist() == [[0, 0, 255], [255, 255, 255]]


def test_rgb_with_a_transparent_colour() -> None:
    picture = Image.fromarray(np.array([[[9, 8, 7], [50, 60, 70]]], dtype=np.uint8))
    found = as_array(load_image(encoded(picture, "PNG", transparency=(9, 8, 7))))
    assert np.round(found).tolist() == [[[255, 255, 255], [50, 60, 70]]]


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for ending in ("gif", "png", "webp"):
        path = tmp_path / f"many.{ending}"
        options = {"lossless": True} if ending == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        for source in (path, path.read_bytes()):
            found = as_array(load_image(source))
            assert (found == [255, 0, 0]).all()


# --- Files that are no pictures -------------------------------------------------------------------


def _damaged(tmp_path: Path, kind: str) -> Path:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP"])
def test_truncated_files(tmp_path: Path, kind: str) -> None:
    path = _damaged(tmp_path, kind)
    with pytest.raises(ImageError, match=path.name):
        load_image(path)
    with pytest.raises(ImageError, match="bytes"):
        load_image(path.read_bytes())


def test_a_truncated_picture_that_the_caller_opened(tmp_path: Path) -> None:
    with (
        Image.open(_damaged(tmp_path, "JPEG")) as picture,
        pytest.raises(ImageError, match="cannot be read"),
    ):
        load_image(picture)


def test_any_cut_and_any_flipped_byte_is_a_named_error_or_a_picture() -> None:
    data = encoded(Image.fromarray(np.kron(RGB, np.ones((4, 4, 1), np.uint8))), "PNG")
    generator = np.random.default_rng(2)
    refused = 0
    for _ in range(60):
        broken = bytearray(data)
        broken[generator.integers(0, len(data))] ^= int(generator.integers(1, 256))
        for attempt in (bytes(broken), data[: generator.integers(0, len(data))]):
            try:
                assert load_image(attempt).shape[:2] == (1, 3)
            except ImageError:
                refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "not a picture"), (b"Dear diary", "not a picture"), (b"\x00" * 500, "not a picture")],
)
def test_files_with_something_else(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "thing.jpg"
    path.write_bytes(content)
    for source in (path, content, io.BytesIO(content)):
        with pytest.raises(ImageError, match=match):
            load_image(source)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file .*нет\.png"):
        load_image(tmp_path / "нет.png")
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path)
    assert issubclass(ImageError, (CourseError, ValueError))


@pytest.mark.parametrize("thing", [None, 5, {}, "a\0b", [1, 2]])
def test_things_that_are_no_source(thing: object) -> None:
    with pytest.raises(ImageError):
        load_image(thing)


@pytest.mark.parametrize("factor", [1.5, 3.0])  # PIL warns above the limit, refuses above twice it
def test_decompression_bombs(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10_000 / factor))
    with pytest.raises(ImageError, match="larger than"):
        load_image(data)


# --- Arrays and tensors ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_arrays_lie_in_0_to_1(dtype: type) -> None:
    values = np.linspace(0, 1, 30).reshape(5, 6).astype(dtype)
    assert_grey(load_image(values), values.astype(np.float64))
    assert_grey(load_image(values[..., None]), values.astype(np.float64))
    assert_grey(load_image(values[::-1, ::2]), values[::-1, ::2].astype(np.float64))


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_arrays(order: str) -> None:
    assert_grey(load_image(DEEP.astype(order)), DEEP / 65535)


def test_floating_arrays_with_alpha() -> None:
    rgba = np.array([[[0.2, 0.4, 0.6, 0.5], [1.0, 0.0, 0.0, 1.0]]])
    found = as_array(load_image(rgba)) / 255
    np.testing.assert_allclose(found, [[[0.6, 0.7, 0.8], [1, 0, 0]]], atol=1e-6)


def test_rounding_beyond_the_range_is_clamped() -> None:
    for source in (np.full((2, 2), 1.0005), torch.full((3, 2, 2), 1.0005)):
        assert load_image(source).max() == 1
        assert load_image(-source + 1).min() == 0


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((3, 8, 9)), "transpose"),
        (np.zeros((8, 9, 2)), "height, width"),
        (np.zeros((2, 8, 9, 3)), "height, width"),
        (np.zeros(8), "height, width"),
        (np.float64(3), "no picture|cannot be read"),
        (np.zeros((0, 5, 3)), "empty"),
        (np.zeros((5, 0), np.uint8), "empty"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), "infinite"),
        (np.full((4, 4), -np.inf), "infinite"),
        (RGB.astype(np.float64), "Divide by 255"),
        (RGB.astype(np.int64), "int64"),
        (np.full((4, 4), -0.5), "Clamp"),
        (np.full((4, 4), 1.5), "Clamp"),
        (np.array([["a"]]), "no known range"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, match: str) -> None:
    with pytest.raises(ImageError, match=match):
        load_image(array)


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(4, 8, 9), r"\(3, H, W\)"),
        (torch.zeros(8, 9), r"\(3, H, W\)"),
        (torch.zeros(8, 9, 3), r"\(3, H, W\)"),
        (torch.zeros(1, 2, 8, 9), r"\(3, H, W\)"),
        (torch.zeros(1, 3, 0, 9), "empty"),
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.full((3, 4, 4), float("inf")), "infinite"),
        (torch.randn(3, 9, 9), "Clamp|Divide"),
        (torch.full((3, 4, 4), 200.0), "Divide by 255"),
        (torch.full((3, 4, 4), 200), "Divide by 255"),
    ],
)
def test_tensors_that_are_no_pictures(tensor: torch.Tensor, match: str) -> None:
    with pytest.raises(ImageError, match=match):
        load_image(tensor)


def test_tensors_are_detached_and_not_shared() -> None:
    source = torch.rand(1, 3, 4, 5, requires_grad=True)
    found = load_image(source)
    assert not found.requires_grad
    found.zero_()
    assert source.detach().max() > 0
    grey = load_image(torch.rand(1, 4, 5))
    grey[:, 0] = 0  # each channel has memory of its own
    assert grey[:, 1].max() > 0
    assert load_image(torch.rand(3, 4, 5).bfloat16()).dtype == torch.float32
    batch = torch.rand(2, 3, 4, 5)
    assert torch.equal(load_image(batch), batch)


# --- Size and crop --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "crop", "shape"),
    [
        (None, False, (60, 90)),
        (30, False, (30, 45)),
        (120, False, (120, 180)),
        ((20, 50), False, (20, 50)),
        ([20, 50], False, (20, 50)),
        (np.int64(30), False, (30, 45)),
        (None, True, (60, 60)),
        (32, True, (32, 32)),
    ],
)
def test_size_is_the_shorter_side(size, crop: bool, shape: tuple[int, int]) -> None:
    picture = np.zeros((60, 90, 3), dtype=np.uint8)
    assert load_image(picture, size, crop=crop).shape == (1, 3, *shape)
    turned = load_image(picture.transpose(1, 0, 2), size, crop=crop).shape[2:]
    assert turned == (shape if isinstance(size, (tuple, list)) else shape[::-1])


def test_the_crop_is_the_middle() -> None:
    picture = np.zeros((4, 10), dtype=np.float32)
    picture[:, 3:7] = 1
    assert load_image(picture, crop=True).min() == 1


def test_resizing_is_antialiased_and_stays_in_range() -> None:
    """Thin lines average to their share; a smooth picture agrees with scikit-image."""
    lines = np.zeros((64, 64), dtype=np.float32)
    lines[:, ::8] = 1  # one column in eight: nothing where only neighbours are looked at
    assert (load_image(lines, 8)[..., 1:-1] - 1 / 8).abs().max() < 0.02
    y, x = np.mgrid[0:48, 0:64] / 64
    smooth = (np.sin(5 * x) * np.cos(4 * y) / 2 + 0.5).astype(np.float32)
    found = load_image(smooth, 24)[0, 0].numpy()
    np.testing.assert_allclose(
        found[2:-2, 2:-2], skimage_resize(smooth, (24, 32))[2:-2, 2:-2], atol=0.01
    )
    larger = load_image(RGB, 40)
    assert larger.min() >= 0
    assert larger.max() <= 1


@pytest.mark.parametrize("size", [0, -4, (0, 8), (8, -1)])
def test_sizes_that_cannot_be(size) -> None:
    with pytest.raises(ImageError, match="pixels from 1"):
        load_image(RGB, size)


def test_resize_keeps_what_is_no_picture() -> None:
    maps = torch.full((2, 5, 8, 8), -3.0)
    torch.testing.assert_close(resize(maps, 4), torch.full((2, 5, 4, 4), -3.0))
