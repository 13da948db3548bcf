"""Pictures in and out, for any size, type, layout and content."""

from __future__ import annotations

import io
import math
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from property_inputs import NO_FLOATS, NO_NUMBERS, SEEDS, pictures, refused, shapes
from torch import Tensor

from coursekit.core.errors import ImageError
from coursekit.core.images import load_image, resize, save_image, to_array, to_pil
from coursekit.core.recogniser import unit_images
from coursekit.core.show import tile

pytestmark = pytest.mark.properties

SIDES = st.integers(1, 20)
LOSSLESS = ("png", "bmp", "tiff", "ppm", "tga")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def bytes_of(height: int, width: int, seed: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)[: 2 if channels == 0 else 3]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


# --- Reading --------------------------------------------------------------------------------------


@given(SIDES, SIDES, SEEDS, st.sampled_from(("PNG", "BMP", "TIFF", "PPM", "WEBP")))
def test_a_lossless_file_gives_every_byte_back(h: int, w: int, seed: int, kind: str) -> None:
    array = bytes_of(h, w, seed)
    settings = {"lossless": True} if kind == "WEBP" else {}
    image = load_image(encoded(Image.fromarray(array), kind, **settings))
    assert image.shape == (1, 3, h, w) and image.dtype == torch.float32
    assert np.array_equal(to_array(image), array)


@given(SIDES, SIDES, SEEDS, st.integers(1, 95))
def test_a_jpeg_file_keeps_size_and_range(h: int, w: int, seed: int, quality: int) -> None:
    image = load_image(encoded(Image.fromarray(bytes_of(h, w, seed)), "JPEG", quality=quality))
    assert image.shape == (1, 3, h, w)
    assert image.min() >= 0 and image.max() <= 1


@given(
    SIDES,
    SIDES,
    SEEDS,
    st.sampled_from(("uint8", "uint16", ">u2", "float16", "float32", "float64", ">f4", "bool")),
    st.sampled_from((0, 1, 3, 4)),
    st.sampled_from(("C", "F", "mirrored", "every second")),
)
def test_an_array_of_any_type_and_layout_is_taken_for_what_it_is(
    h: int, w: int, seed: int, kind: str, channels: int, layout: str
) -> None:
    share = bytes_of(h, w, seed, channels) / 255
    dtype = np.dtype(kind)
    whole = np.iinfo(dtype).max if dtype.kind == "u" else 1
    array = np.round(share * whole).astype(dtype) if dtype.kind in "ub" else share.astype(dtype)
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "mirrored":
        array = array[::-1, ::-1]
    elif layout == "every second":
        array = array[::2, ::2]
    values = array.astype(np.float64) / whole
    values = values[..., None] if channels == 0 else values
    if channels == 4:
        values = values[..., :3] * values[..., 3:] + 1 - values[..., 3:]
    expected = np.broadcast_to(values, (*values.shape[:2], 3))

    image = load_image(array)
    assert image.shape == (1, 3, *array.shape[:2]) and image.is_contiguous()
    assert np.allclose(image[0].permute(1, 2, 0).numpy(), expected, atol=1e-3)
    assert image.min() >= 0 and image.max() <= 1


@given(pictures(dtypes=(torch.float16, torch.float32, torch.float64, torch.bfloat16)), SEEDS)
def test_a_tensor_comes_back_as_it_was(images: Tensor, seed: int) -> None:
    found = load_image(images)
    assert torch.equal(found, images.float())
    found.zero_()
    assert torch.equal(load_image(images), images.float()), "shares memory with what was given"
    grey = images[:, :1]
    assert torch.equal(load_image(grey), grey.float().expand(-1, 3, -1, -1))
    assert torch.equal(load_image(images[0]), images[:1].float())


@given(SIDES, SIDES, SEEDS, st.sampled_from(("L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "F")))
def test_any_mode_of_pil_becomes_rgb_in_range(h: int, w: int, seed: int, mode: str) -> None:
    picture = Image.fromarray(bytes_of(h, w, seed))
    image = load_image(
        picture.convert("L").convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)
    )
    assert image.shape == (1, 3, h, w)
    assert image.min() >= 0 and image.max() <= 1
    if mode in ("L", "1", "LA"):
        assert torch.equal(image[:, 0], image[:, 1]) and torch.equal(image[:, 0], image[:, 2])


@given(pictures(batch=(1, 1)), st.sampled_from((*NO_NUMBERS, -0.5, 1.5, 255.0)))
def test_one_pixel_out_of_range_is_refused(image: Tensor, value: float) -> None:
    image[0, -1, -1, -1] = value
    assert isinstance(refused(load_image, image), ImageError)
    assert isinstance(refused(load_image, image[0].permute(1, 2, 0).numpy()), ImageError)


@given(
    st.lists(st.integers(0, 5), max_size=5).map(tuple) | shapes((1, 2), (1, 5), (1, 3)),
    st.sampled_from((*NO_FLOATS, torch.float32)),
)
def test_whatever_is_no_picture_is_refused_by_name(shape: tuple[int, ...], kind) -> None:
    tensor = torch.zeros(shape).to(kind)
    channels = shape[-3] if len(shape) in (3, 4) else 0
    fits = channels in (1, 3) and 0 not in shape and not kind.is_complex
    if fits:
        assert load_image(tensor).shape == (shape[0] if len(shape) == 4 else 1, 3, *shape[-2:])
    else:
        assert isinstance(refused(load_image, tensor), ImageError)
    array = tensor.numpy()
    deep = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    known = kind in (torch.uint8, torch.bool, torch.float32)
    if deep and 0 not in shape and known:
        assert load_image(array).shape == (1, 3, *shape[:2])
    else:
        assert isinstance(refused(load_image, array), ImageError)


@given(st.binary(max_size=60) | st.text(string.printable + "\0éя", max_size=30))
def test_bytes_and_names_that_are_no_picture_are_refused(thing: bytes | str) -> None:
    assert isinstance(refused(load_image, thing), ImageError)


BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"\xff\xd8\xff", b"P6 9 9 255\n")


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, about what is missing
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=60))
def test_the_beginning_of_a_picture_is_none(beginning: bytes, rest: bytes) -> None:
    assert isinstance(refused(load_image, beginning + rest), ImageError)


# --- Sizes ----------------------------------------------------------------------------------------


@given(pictures(channels=(1, 4), sides=(1, 24)), st.integers(1, 30))
def test_resizing_by_the_shorter_side_keeps_the_proportions(images: Tensor, size: int) -> None:
    height, width = images.shape[-2:]
    found = resize(images, size)
    assert found.shape[:2] == images.shape[:2]
    assert min(found.shape[-2:]) == size
    longer = size * max(height, width) / min(height, width)
    assert abs(max(found.shape[-2:]) - longer) <= 1
    assert (height < width) == (found.shape[-2] < found.shape[-1]) or longer - size < 1


@given(
    pictures(channels=(1, 4)),
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.sampled_from((torch.float32, torch.float64, torch.float16)),
)
def test_resizing_stays_in_range_and_keeps_type_and_flat_colours(
    images: Tensor, size: tuple[int, int], kind: torch.dtype
) -> None:
    found = resize(images.to(kind), size)
    assert found.shape == (*images.shape[:2], *size) and found.dtype == kind
    assert found.min() >= images.min() - 2e-3 and found.max() <= images.max() + 2e-3
    flat = images[..., :1, :1].expand_as(images).to(kind)
    assert torch.allclose(resize(flat, size), flat[..., :1, :1].expand_as(found), atol=2e-3)


@given(pictures(), st.integers(1, 30))
def test_a_cropped_picture_is_the_square_in_the_middle(images: Tensor, size: int) -> None:
    height, width = images.shape[-2:]
    side = min(height, width)
    found = load_image(images, crop=True)
    assert found.shape[-2:] == (side, side)
    rows, columns = images.unfold(2, side, 1).unfold(3, side, 1).shape[2:4]
    options = [
        images[..., top : top + side, left : left + side]
        for top in {(rows - 1) // 2, rows // 2}
        for left in {(columns - 1) // 2, columns // 2}
    ]
    assert any(torch.equal(found, option) for option in options)
    assert load_image(images, size, crop=True).shape[-2:] == (size, size)


@given(
    st.one_of(
        st.integers(-5, 0),
        st.tuples(st.integers(-2, 0), st.integers(1, 5)),
        st.sampled_from((*NO_NUMBERS, (), (4, 4, 4), "4", "four", (2.0, math.nan), None, 2.5)),
    )
)
def test_sizes_that_are_none_are_refused_by_name(size: object) -> None:
    assert isinstance(refused(resize, torch.zeros(1, 3, 6, 8), size), ImageError)


# --- Writing --------------------------------------------------------------------------------------


@given(pictures(batch=(1, 1), channels=(1, 3)).filter(lambda p: p.shape[1] != 2))
def test_to_array_rounds_and_clamps(image: Tensor) -> None:
    array = to_array(image)
    assert array.dtype == np.uint8 and array.shape == (*image.shape[-2:], 3)
    off = (torch.from_numpy(array.copy()).permute(2, 0, 1) / 255 - image[0]).abs()
    assert off.max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(to_array(3 * image - 1), to_array((3 * image - 1).clamp(0, 1)))
    assert np.array_equal(np.asarray(to_pil(image)), array)


@given(pictures(batch=(1, 1)), st.sampled_from(LOSSLESS))
def test_saved_and_loaded_is_the_same_picture(folder: Path, image: Tensor, kind: str) -> None:
    path = save_image(image, folder / f"снимок 1.{kind}")
    assert np.array_equal(to_array(load_image(path)), to_array(image))
    assert [each.name for each in folder.iterdir()] == [path.name]
    path.unlink()


NAMES = st.text(string.ascii_letters + string.digits + " .\0/\\é*", max_size=12)


@given(NAMES, st.sampled_from(("", ".png", ".jpg", ".psd", ".txt", ".gif", "..", ".PNG")))
def test_any_name_is_written_to_or_refused_by_name(folder: Path, name: str, ending: str) -> None:
    room = folder / "names"
    room.mkdir(exist_ok=True)
    target = f"{room}/{name.replace('/..', '')}{ending}"
    try:
        path = save_image(torch.zeros(3, 2, 2), target)
    except ImageError as error:
        assert str(error).endswith(".")
    else:
        assert load_image(path).shape == (1, 3, 2, 2)
        path.unlink()
    left = [each.name for each in room.rglob("*") if each.is_file()]
    assert left == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PIL's, of rare formats
@given(st.sampled_from(sorted(Image.registered_extensions())), st.sampled_from((3, 8, 40)))
def test_every_ending_is_written_or_refused_by_name(folder: Path, ending: str, side: int) -> None:
    path = folder / f"picture{ending}"
    try:
        save_image(torch.zeros(3, side, side), path)
    except ImageError:
        assert not path.exists()
    else:
        path.unlink()


@given(st.sampled_from(("", ".", "/", "..")))
def test_a_folder_is_no_file_to_write_to(path: str) -> None:
    assert isinstance(refused(save_image, torch.zeros(3, 2, 2), path), ImageError)


@given(shapes(batch=(0, 2), channels=(0, 5), sides=(0, 3)))
def test_what_cannot_be_shown_is_refused(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    if shape[0] == 1 and shape[1] in (1, 3) and 0 not in shape:
        assert to_array(image).shape == (*shape[2:], 3)
    else:
        assert isinstance(refused(to_array, image), ImageError)
    broken = torch.full((1, 3, *(side + 1 for side in shape[2:])), 0.5)
    broken[0, -1, -1, -1] = math.nan
    assert isinstance(refused(to_array, broken), ImageError)


# --- For the networks -----------------------------------------------------------------------------


@given(pictures(channels=(1, 3)).filter(lambda p: p.shape[1] != 2), st.sampled_from((1, 3)))
def test_unit_images_give_the_channels_asked_for(images: Tensor, channels: int) -> None:
    found = unit_images(images, channels)
    assert found.shape == (len(images), channels, *images.shape[2:])
    assert found.min() >= 0 and found.max() <= 1
    whole = unit_images((images * 255).round().byte(), channels)
    assert torch.allclose(whole, found, atol=1 / 255)


@given(pictures(), st.sampled_from((*NO_NUMBERS, -0.5, 1.5, 255.0)))
def test_unit_images_refuse_what_is_out_of_range(images: Tensor, value: float) -> None:
    images[-1, 0, 0, 0] = value
    assert isinstance(refused(unit_images, images, 3), ImageError)


@given(pictures(batch=(1, 5), channels=(1, 3)).filter(lambda p: p.shape[1] != 2), st.integers(1, 7))
def test_a_tile_holds_every_picture_once(images: Tensor, columns: int) -> None:
    found, (count, _, height, width) = tile(images, columns), images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    assert found.shape == (3, rows * (height + 2) + 2, columns * (width + 2) + 2) or count == 1
    if count > 1:
        for index, image in enumerate(images):
            top = 2 + index // columns * (height + 2)
            left = 2 + index % columns * (width + 2)
            part = found[:, top : top + height, left : left + width]
            assert torch.equal(part, image.expand(3, -1, -1))


@given(shapes(batch=(0, 2), channels=(0, 4), sides=(0, 2)), st.integers(-2, 2))
def test_a_tile_of_nothing_is_refused(shape: tuple[int, ...], columns: int) -> None:
    if 0 in shape or columns < 1:
        refused(tile, torch.zeros(shape), columns)
