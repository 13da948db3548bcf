"""Pictures in and out: files, PIL images and arrays <-> float tensors (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

import io
import numbers
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.transforms.v2 import functional as transforms
from torchvision.utils import make_grid

from coursekit.core.atomic import replacing
from coursekit.core.errors import ImageError, SettingError

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
)


def load_image(
    source: Source, size: int | tuple[int, int] | None = None, *, crop: bool = False
) -> torch.Tensor:
    """Read a picture into a float32 tensor (1, 3, H, W) in [0, 1].

    Args:
        source: anything PIL reads (path, bytes, open file), a PIL image, a numpy array
            (H, W), (H, W, 1|3|4) or a tensor (3, H, W), (1|N, 3, H, W). EXIF orientation is
            applied, CMYK, grey, palette and 16-bit pictures become RGB, and transparent parts
            are laid on white.
        size: the shorter side in pixels, or (height, width).
        crop: cut out the square in the middle first.

    Raises:
        ImageError: the source is missing, damaged, too large, empty, or not a picture.
    """
    if isinstance(source, torch.Tensor):
        image = _from_tensor(source)
    elif isinstance(source, np.ndarray):
        image = _from_array(source)
    else:
        image = _to_float(_rgb_array(_open(source)))
    if crop:
        image = transforms.center_crop(image, [min(image.shape[-2:])] * 2)
    return image if size is None else resize(image, size).clamp(0, 1)


def _open(source: str | os.PathLike[str] | bytes | IO[bytes] | Image.Image) -> Image.Image:
    path = isinstance(source, (str, os.PathLike))
    if not (path or isinstance(source, (bytes, Image.Image)) or hasattr(source, "read")):
        raise ImageError(
            f"{str(source)[:40]!r} is no picture. Give a path, bytes, a file, a PIL image, an "
            "array or a tensor."
        )
    name = str(source) if path else f"The data ({type(source).__name__})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(source, bytes):
                source = io.BytesIO(source)
            image = source if isinstance(source, Image.Image) else Image.open(source)
            image.load()
            if path and getattr(image, "is_animated", False):
                first = image.copy()  # PIL keeps the file of an animation open for its next frame
                image.close()
                return first
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {name}. Check the path and the spelling.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} is larger than {Image.MAX_IMAGE_PIXELS:,} pixels. Make it smaller first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture that PIL can read. Try JPEG or PNG.") from error
    except (OSError, SyntaxError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise ImageError(f"{name} cannot be read as a picture ({error}).") from error
    return image


def _rgb_array(image: Image.Image) -> np.ndarray:
    deep_png = image.mode == "I" and image.format == "PNG"  # 16 bits, as older Pillow reads them
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image, full=deep_png or ";16" in image.mode)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _deep_grey(image: Image.Image, full: bool) -> np.ndarray:
    """16-bit, 32-bit and float grey: PIL would clip these to 255 instead of scaling them.

    ``full`` says that white is 65535; otherwise the largest value has to tell.
    """
    grey = np.asarray(image).astype(np.float64)
    if not np.isfinite(grey).all() or grey.min() < 0:
        raise ImageError("The grey picture has negative or non-finite values; scale it to 0 … 1.")
    top = 65535.0 if full or grey.max() > 255 else 255.0
    top = 1.0 if image.mode == "F" and grey.max() <= 1 else top
    if grey.max() > top:
        raise ImageError(f"The grey picture has values up to {grey.max():g}; scale it to 0 … 1.")
    return np.repeat((grey / top)[..., None], 3, axis=2).astype(np.float32)


def _to_float(array: np.ndarray) -> torch.Tensor:
    """(H, W, 3), uint8 in 0 … 255 or float in 0 … 1 -> (1, 3, H, W)."""
    if min(array.shape[:2]) == 0:
        raise ImageError("The picture is empty: its width or height is 0.")
    tensor = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].contiguous()
    tensor = tensor.float().div(255) if array.dtype == np.uint8 else tensor.float()
    return tensor.clamp(0, 1)


def _from_array(array: np.ndarray) -> torch.Tensor:
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = " It looks like (channels, height, width): use array.transpose(1, 2, 0)."
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise ImageError(
            f"An array of shape {shape} is no picture; expected (height, width) or "
            f"(height, width, 1 | 3 | 4).{hint if first else ''}"
        )
    values = _scaled(array)
    if values.shape[2] == 4:
        values = values[..., :3] * values[..., 3:] + (1 - values[..., 3:])
    return _to_float(np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values)


def _scaled(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.float32)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:  # in either byte order
        return array.astype(np.float32) / np.iinfo(array.dtype).max
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"An array of type {array.dtype} has no known range; use uint8 or float.")
    _check_range(float(np.min(array, initial=0)), float(np.max(array, initial=0)))
    return array.astype(np.float32)


def _check_range(low: float, high: float) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("The picture has NaN or infinite values; it should lie in 0 … 1.")
    if low < -1e-3 or high > 1 + 1e-3:
        hint = " Divide by 255." if high > 2 else " Clamp it, or undo the normalisation."
        raise ImageError(f"The picture's values run from {low:g} to {high:g}, not 0 … 1.{hint}")


def _from_tensor(tensor: torch.Tensor) -> torch.Tensor:
    image = tensor.detach()
    if image.is_complex():
        raise ImageError(f"A tensor of {image.dtype} is no picture; use uint8, or floats in 0 … 1.")
    if image.dim() == 3:
        image = image[None]
    if image.dim() != 4 or image.shape[1] not in (1, 3):
        raise ImageError(
            f"A tensor of shape {tuple(tensor.shape)} is no picture; expected (3, H, W) or "
            "(N, 3, H, W)."
        )
    if image.numel() == 0:
        raise ImageError("The picture is empty: one of its sides is 0.")
    image = _unit(image)
    # NaN compares as false both ways, so it is looked for by the sum.
    _check_range(float(image.min() + 0 * image.sum()), float(image.max()))
    return image.clamp(0, 1).repeat(1, 3 // image.shape[1], 1, 1)


def _unit(image: torch.Tensor) -> torch.Tensor:
    """uint8 in 0 … 255 -> float32 in 0 … 1; other types are in 0 … 1 already."""
    return image.float().div(255) if image.dtype == torch.uint8 else image.float()


def check_images(images: torch.Tensor, name: str = "images") -> None:
    """Raise ImageError unless (N, 3, H, W), floating, finite and in [0, 1]; for what users give.

    Args:
        images: what should be pictures.
        name: what the user calls them.
    """
    if not isinstance(images, torch.Tensor):
        raise ImageError(
            f"The {name} must be a tensor (N, 3, H, W) in [0, 1], not a {type(images).__name__}. "
            "load_image() makes one of a file or an array."
        )
    if images.dim() != 4 or images.shape[1] != 3 or not images.numel():
        hint = " Put the channels first: permute(2, 0, 1)[None]." if _channels_last(images) else ""
        raise ImageError(
            f"The {name} must be a tensor (N, 3, H, W), got {tuple(images.shape)}.{hint}"
        )
    check_range(images, name)


def check_range(images: torch.Tensor, name: str = "images") -> None:
    """Raise ImageError unless floating, finite and in [0, 1], whatever the shape."""
    if not images.is_floating_point():
        raise ImageError(f"The {name} must be floats in 0 … 1, not {images.dtype}; divide by 255.")
    if not images.numel():
        raise ImageError(f"There are no {name}: {tuple(images.shape)}.")
    _check_range(float(images.min() + 0 * images.sum()), float(images.max()))


def _channels_last(images: torch.Tensor) -> bool:
    return images.dim() == 3 and images.shape[-1] in (1, 3, 4)


def sides_of(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels of a picture to be made, from one number for both or a pair.

    Raises:
        ImageError: not one or two whole numbers from 1.
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    whole = all(isinstance(side, numbers.Integral) and side >= 1 for side in sides)
    if len(sides) != 2 or not whole:
        raise ImageError(f"size={size!r} is none; give whole pixels from 1, or (height, width).")
    return int(sides[0]), int(sides[1])


def resize(images: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """Resize (N, C, H, W) with antialiasing; ``size`` is the shorter side or (height, width).

    Raises:
        ImageError: the size is not one or two whole numbers from 1.
    """
    height, width = sides_of(size)
    sides = [height, width] if isinstance(size, Sequence) else [height]
    return transforms.resize(images, sides, antialias=True)


def to_array(image: torch.Tensor) -> np.ndarray:
    """One picture (3, H, W) or (1, 3, H, W) in [0, 1] as a uint8 array (H, W, 3), rounded.

    Values outside [0, 1] are clamped; a uint8 tensor keeps its values.

    Raises:
        ImageError: more than one picture, another shape, or NaN.
    """
    flat = image.detach()
    flat = flat[0] if flat.dim() == 4 and flat.shape[0] == 1 else flat
    if flat.dim() != 3 or flat.shape[0] not in (1, 3) or not flat.numel():
        raise ImageError(f"Expected one picture (3, H, W), got {tuple(image.shape)}.")
    if torch.isnan(flat).any():
        raise ImageError("The picture has NaN values and cannot be shown.")
    flat = _unit(flat).clamp(0, 1).mul(255).round().byte().expand(3, -1, -1)
    return flat.permute(1, 2, 0).cpu().numpy()


def to_pil(image: torch.Tensor) -> Image.Image:
    """One picture (3, H, W) or (1, 3, H, W) in [0, 1] as a PIL image."""
    return Image.fromarray(to_array(image))


def save_image(image: torch.Tensor, path: str | os.PathLike[str], *, quality: int = 92) -> Path:
    """Write one picture, (3, H, W) or (1, 3, H, W), to ``path``, which is returned.

    The path's ending chooses the format. The file appears whole or not at all.

    Raises:
        ImageError: PIL knows no format of that ending, or the folder is missing.
    """
    path, picture = Path(path), to_pil(image)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ImageError(
            f"Cannot write {str(path)!r}: PIL writes no format of that ending. Try .png or .jpg."
        )
    if not path.parent.is_dir():
        raise ImageError(f"Cannot write {str(path)!r}: there is no folder {str(path.parent)!r}.")
    try:
        with replacing(path) as half:
            picture.save(half, quality=quality)
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot write {str(path)!r} ({error}).") from error
    return path


def tile(pictures: torch.Tensor, columns: int = 8) -> torch.Tensor:
    """Pictures (N, 1 | 3, H, W) in [0, 1] as one picture (3, H', W') with white gaps.

    Raises:
        ImageError: another shape, or no picture.
        SettingError: no column.
    """
    if pictures.dim() != 4 or pictures.shape[1] not in (1, 3) or not pictures.numel():
        raise ImageError(f"Expected pictures (N, 1 | 3, H, W), got {tuple(pictures.shape)}.")
    if columns < 1:
        raise SettingError(f"{columns} columns cannot hold pictures; give 1 or more.")
    return make_grid(pictures, nrow=min(columns, len(pictures)), padding=2, pad_value=1.0)
