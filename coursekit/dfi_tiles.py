"""Large pictures in tiles: the same features, loss and gradient, with the memory of one tile.

A feature sees only its receptive field. A tile with a margin of that width gives, in its inner
part, exactly the features of the whole picture.

Source: none; the same numbers as without tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.core.features import receptive_field
from coursekit.dfi import DeepSpace

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Tile:
    """A rectangle of the picture with its surroundings, (top, bottom, left, right) in pixels.

    Attributes:
        inner: what the tile answers for; the inner parts cover the picture without overlap.
        outer: what the network has to see for that.
        size: height and width of the picture.
    """

    inner: tuple[int, int, int, int]
    outer: tuple[int, int, int, int]
    size: tuple[int, int]

    def cut(self, images: Tensor) -> Tensor:
        """The outer rectangle of (N, C, H, W), in any range."""
        top, bottom, left, right = self.outer
        return images[..., top:bottom, left:right]

    def inside(self, features: Tensor, stride: int) -> Tensor:
        """The inner part of the tile's own feature map (N, C, h, w), one a ``stride`` of pixels."""
        rows = self._range(0, stride, features.shape[-2])
        columns = self._range(1, stride, features.shape[-1])
        return features[..., rows, columns]

    def of_whole(self, features: Tensor, stride: int) -> Tensor:
        """The same part of the whole picture's feature map; shapes as for `inside`."""
        (top, bottom, left, right), (height, width) = self.inner, self.size
        rows = slice(top // stride, None if bottom == height else bottom // stride)
        return features[..., rows, left // stride : None if right == width else right // stride]

    def _range(self, axis: int, stride: int, length: int) -> slice:
        start, end = self.inner[2 * axis : 2 * axis + 2]
        begin = self.outer[2 * axis]
        last = length if end == self.size[axis] else (end - begin) // stride
        return slice((start - begin) // stride, last)


def strides(space: DeepSpace) -> dict[str, int]:
    """Pixels from one feature to the next, by layer: a pooling layer doubles them."""
    found, stride = {}, 1
    for name, _ in space.extractor.body.named_children():
        stride *= 2 if name.startswith("pool") else 1
        found[name] = stride
    return {name: found[name] for name in space.layers}


def tiles(space: DeepSpace, height: int, width: int, size: int = 128) -> Iterator[Tile]:
    """The tiles of a picture, inner parts of ``size`` pixels a side.

    Raises:
        SettingError: ``size`` is not a multiple of the deepest layer's stride.
    """
    stride = max(strides(space).values())
    if size < 1 or size % stride:
        raise SettingError(f"Tiles of {size} pixels do not fit features {stride} pixels apart.")
    field = max(receptive_field(space.extractor.network, layer) for layer in space.layers)
    margin = -(-field // (2 * stride)) * stride  # half a field, rounded up to whole features
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
            # The last row or column would be too thin for a feature of its own.
            outer = (
                *(max(top - margin, 0), min(bottom + margin, height)),
                *(max(left - margin, 0), min(right + margin, width)),
            )
            yield Tile((top, bottom, left, right), outer, (height, width))


@torch.no_grad()
def tiled_maps(space: DeepSpace, images: Tensor, *, size: int = 128) -> Maps:
    """As `DeepSpace.maps` for large images, ``size`` pixels at a time; without gradients.

    Images are (N, 3, H, W) in [0, 1].
    """
    found: Maps = {}
    steps, (height, width) = strides(space), images.shape[-2:]
    for tile in tiles(space, height, width, size):
        for name, each in space.maps(tile.cut(images)).items():
            if name not in found:
                whole = (height // steps[name], width // steps[name])
                found[name] = each.new_zeros(*each.shape[:2], *whole)
            part = tile.of_whole(found[name], steps[name])
            part.copy_(tile.inside(each, steps[name])[..., : part.shape[-2], : part.shape[-1]])
    return found


def tiled_distance(
    space: DeepSpace, target: Mapping[str, Tensor], *, size: int = 128
) -> Callable[[Tensor], Tensor]:
    r"""The first term of `dfi.reconstruction_loss` for large images.

    Value and gradient are those of the whole picture, the memory is that of one tile. The margins
    cost time: they are computed more than once.

    Args:
        space: φ.
        target: feature maps as from `tiled_maps`, shifted.
        size: inner side of a tile in pixels.

    Returns:
        A function of the images (N, 3, H, W); use it in a loss for `optimise_pixels`.
    """
    steps = strides(space)
    length = sum(each[0].numel() for each in target.values())

    def distance(tile: Tile, pixels: Tensor) -> Tensor:
        total = pixels.new_zeros(())
        for name, each in space.maps(pixels).items():
            wanted = tile.of_whole(target[name], steps[name])
            found = tile.inside(each, steps[name])[..., : wanted.shape[-2], : wanted.shape[-1]]
            total = total + (found - wanted).square().sum()
        return total / (2 * length * len(pixels))

    def loss(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        places = list(tiles(space, height, width, size))
        return _Tiled.apply(images, distance, places)

    return loss


class _Tiled(torch.autograd.Function):
    """Differentiates every tile at once, so that no tile's activations outlive it."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, distance: Callable[[Tile, Tensor], Tensor], places: list[Tile]
    ) -> Tensor:
        gradient, total = torch.zeros_like(images), images.new_zeros(())
        for tile in places:
            pixels = tile.cut(images).detach().requires_grad_(True)
            with torch.enable_grad():
                part = distance(tile, pixels)
            tile.cut(gradient).add_(torch.autograd.grad(part, pixels)[0])
            total += part.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None
