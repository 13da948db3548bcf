"""Feature maps of pretrained networks, by the layer names that papers use.

VGG: Simonyan & Zisserman 2015 (``conv1_1, relu1_1, … pool5``); AlexNet: Krizhevsky 2014, the
one-tower version (``conv1, relu1, pool1, … pool5``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coursekit.core import runtime
from coursekit.core import weights as pretrained
from coursekit.core.errors import ImageError, LayerError, SettingError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Output channels of each block's convolutions; "M" pools. Simonyan & Zisserman 2015, table 1.
_VGG_BLOCKS = {
    "vgg16": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    "vgg19": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
# (output channels, kernel, stride, padding, pooled afterwards).
_ALEXNET = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
NETWORKS = ("vgg16", "vgg19", "alexnet")
_PADDINGS = ("zeros", "reflect", "replicate", "circular")


def layer_names(network: str = "vgg16") -> tuple[str, ...]:
    """All layers of ``network`` in order.

    Raises:
        SettingError: there is no such network.
    """
    return tuple(_layers(network))


@functools.cache
def _layers(network: str) -> dict[str, nn.Module]:
    """Name -> layer with no memory behind its parameters; `FeatureExtractor` makes real ones."""
    if network not in NETWORKS:
        raise SettingError(f"There is no network {network!r}. Choose one of {', '.join(NETWORKS)}.")
    with torch.device("meta"):
        return dict(_alexnet() if network == "alexnet" else _vgg(_VGG_BLOCKS[network]))


def _vgg(blocks: tuple[tuple[int, ...], ...]) -> Iterable[tuple[str, nn.Module]]:
    channels = 3
    for block, widths in enumerate(blocks, start=1):
        for index, width in enumerate(widths, start=1):
            yield f"conv{block}_{index}", nn.Conv2d(channels, width, 3, padding=1)
            yield f"relu{block}_{index}", nn.ReLU()
            channels = width
        yield f"pool{block}", nn.MaxPool2d(2, 2)


def _alexnet() -> Iterable[tuple[str, nn.Module]]:
    channels = 3
    for index, (width, kernel, stride, padding, pooled) in enumerate(_ALEXNET, start=1):
        yield f"conv{index}", nn.Conv2d(channels, width, kernel, stride, padding)
        yield f"relu{index}", nn.ReLU()
        if pooled:
            yield f"pool{index}", nn.MaxPool2d(3, 2)
        channels = width


class FeatureExtractor(nn.Module):
    """A frozen pretrained network, cut after the last layer asked for.

    Args:
        network: ``"vgg16"``, ``"vgg19"`` or ``"alexnet"``.
        layers: the layers whose feature maps are wanted, by their paper names.
        pool: ``"max"`` as trained, or ``"avg"`` (Gatys et al. 2016, section 2: smoother results).
        padding: how convolutions see beyond the border: ``"zeros"`` as trained, ``"reflect"``,
            ``"replicate"`` or ``"circular"``.
        weights: ``"imagenet"``, or ``"random"`` (He initialisation from ``seed``).
        precision: ``"float32"``; ``"bfloat16"``: much faster where it is multiplied
            (benchmarks/README.md has gain and cost), much slower elsewhere; or ``"auto"``: bfloat16
            if the course's device multiplies it, `core.runtime.best_device`. Feature maps come
            back in that type; the losses of the course sum in float32.

    Raises:
        LayerError: a layer that the network does not have; the message lists those it has.
        SettingError: another argument that is not one of the above.
        WeightsError: the weights are neither in the cache nor to be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: str = "vgg16",
        layers: Iterable[str] = ("relu4_2",),
        *,
        pool: str = "max",
        padding: str = "zeros",
        weights: str = "imagenet",
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.network, self.layers = network, tuple([layers] if isinstance(layers, str) else layers)
        names = _check_layers(network, self.layers)
        _check_choice("pool", pool, ("max", "avg"))
        _check_choice("padding", padding, _PADDINGS)
        _check_choice("weights", weights, ("imagenet", "random"))
        _check_choice("precision", precision, ("float32", "bfloat16", "auto"))
        depth = 1 + max(names.index(layer) for layer in self.layers)
        self.body = _build(network, names[:depth], pool, padding)
        _fill(self.body, network, weights, seed)
        self._set_inplace()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        # With ReLU in place, what the course gains over a plain loop (benchmarks/bench_gatys.py).
        self.body.to(memory_format=torch.channels_last)
        if precision == "auto" and runtime.multiplies_bfloat16(runtime.best_device()):
            precision = "bfloat16"
        if precision == "bfloat16":
            self._narrow()
        self.requires_grad_(False).eval()

    def _narrow(self) -> None:
        """Compute in bfloat16 from the second convolution on.

        The first one sees pixels, and 8 bits of mantissa round away what a step changes: that
        was most of the error in the gradient.
        """
        self.body.to(torch.bfloat16)
        if len(self._convolutions()) > 1:
            self.body[0].float()

    def _convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.body if isinstance(layer, nn.Conv2d)]

    def _set_inplace(self) -> None:
        """Let a ReLU overwrite its convolution's output unless somebody asked for that output."""
        previous = ""
        for name, layer in self.body.named_children():
            if isinstance(layer, nn.ReLU):
                layer.inplace = previous not in self.layers
            previous = name

    @property
    def dtype(self) -> torch.dtype:
        """The type of the feature maps, also after ``.double()`` or ``.to(torch.bfloat16)``."""
        return self._convolutions()[-1].weight.dtype

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each requested layer."""
        found, channels = {}, 3
        for name, layer in self.body.named_children():
            channels = layer.out_channels if isinstance(layer, nn.Conv2d) else channels
            found[name] = channels
        return {name: found[name] for name in self.layers}

    @property
    def minimum_size(self) -> int:
        """The shortest side, in pixels, for which every requested feature map has a pixel."""
        size = 1
        for layer in reversed(list(self.body)):
            kernel, stride, padding = _geometry(layer)
            size = max((size - 1) * stride + kernel - 2 * padding, 1)
            if isinstance(layer, nn.Conv2d) and layer.padding_mode in ("reflect", "circular"):
                # torch mirrors at most all pixels but the border's, and wraps around once.
                size = max(size, padding + (layer.padding_mode == "reflect"))
        return size

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stay in evaluation mode: the network is a measuring instrument."""
        return super().train(False)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] less ImageNet's means, over its standard deviations."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, H, W) in [0, 1] to ``{layer: (N, C, h, w)}``, in network order.

        Raises:
            ImageError: not (N, 3, H, W), or smaller than ``minimum_size``.
        """
        self._check_images(images)
        dtype = self.dtype
        x = self.normalise(images).to(self._convolutions()[0].weight.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        for name, layer in self.body.named_children():
            x = layer(x).to(dtype)
            if name in self.layers:
                found[name] = x
        return found

    def _check_images(self, images: Tensor) -> None:
        if images.dim() != 4 or images.shape[1] != 3:
            raise ImageError(f"Expected images (N, 3, H, W), got {tuple(images.shape)}.")
        if not images.is_floating_point():
            raise ImageError(f"Expected images of floats in 0 … 1, got {images.dtype}.")
        if min(images.shape[-2:]) < self.minimum_size:
            deepest = list(self.body.named_children())[-1][0]
            raise ImageError(
                f"Images of {images.shape[-2]}×{images.shape[-1]} pixels are too small for "
                f"{deepest} of {self.network}: at least {self.minimum_size} are needed."
            )

    def extra_repr(self) -> str:
        """What stands between the brackets when the network is printed."""
        return f"{self.network}, layers={list(self.layers)}"


def of_layers(features: Mapping[str, Tensor], layers: Iterable[str]) -> dict[str, Tensor]:
    """The feature maps of some layers, ``{layer: (N, C, h, w)}``.

    Raises:
        LayerError: the extractor was not asked for one of them.
    """
    missing = [layer for layer in layers if layer not in features]
    if missing:
        raise LayerError(
            f"There are features of {', '.join(features)}, not of {', '.join(missing)}. Name the "
            "layers that you want when you make the extractor."
        )
    return {layer: features[layer] for layer in layers}


def _check_layers(network: str, layers: tuple[str, ...]) -> list[str]:
    names = list(layer_names(network))
    unknown = [layer for layer in layers if layer not in names]
    if unknown or not layers:
        wrong = f"no layer {', '.join(map(repr, unknown))}" if unknown else "layers to choose from"
        raise LayerError(f"{network} has {wrong}. Ask for one or more of: {', '.join(names)}.")
    return names


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingError(f"{name}={value!r} is not known. Choose one of {', '.join(choices)}.")


def _build(network: str, names: list[str], pool: str, padding: str) -> nn.Sequential:
    body = nn.Sequential()
    for name in names:
        layer = _layers(network)[name]
        if isinstance(layer, nn.Conv2d):
            built: nn.Module = nn.utils.skip_init(
                nn.Conv2d,
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                padding_mode=padding,
            )
        elif isinstance(layer, nn.MaxPool2d):
            kind = nn.MaxPool2d if pool == "max" else nn.AvgPool2d
            built = kind(layer.kernel_size, layer.stride)
        else:
            built = nn.ReLU()
        body.add_module(name, built)
    return body


@torch.no_grad()
def _fill(body: nn.Sequential, network: str, weights: str, seed: int) -> None:
    convolutions = [layer for layer in body if isinstance(layer, nn.Conv2d)]
    if weights == "random":
        generator = torch.Generator().manual_seed(seed)
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        return
    state = pretrained.load(network)
    keys = sorted(state, key=lambda key: int(key.split(".")[1]))
    kernels = [key for key in keys if key.endswith("weight")]
    for layer, key in zip(convolutions, kernels, strict=False):
        bias = state[key.replace("weight", "bias")]
        layer.load_state_dict({"weight": state[key], "bias": bias})


def _geometry(layer: nn.Module) -> tuple[int, int, int]:
    def first(value: Any) -> int:
        return value if isinstance(value, int) else value[0]

    if isinstance(layer, nn.ReLU):
        return 1, 1, 0
    return first(layer.kernel_size), first(layer.stride), first(layer.padding)


def receptive_field(network: str, layer: str) -> int:
    """Side, in input pixels, of the square that one unit of ``layer`` sees.

    Raises:
        LayerError: the network has no such layer.
        SettingError: there is no such network.
    """
    _check_layers(network, (layer,))
    size, jump = 1, 1
    for name, each in _layers(network).items():
        kernel, stride, _ = _geometry(each)
        size, jump = size + (kernel - 1) * jump, jump * stride
        if name == layer:
            return size
    raise LayerError(layer)
