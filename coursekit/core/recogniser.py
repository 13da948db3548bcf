"""The network of the course's recognisers; `coursekit.core.recognise` trains and keeps them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from coursekit.core import runtime
from coursekit.core.errors import ImageError, SettingError
from coursekit.core.estimates import Estimate
from coursekit.core.images import resize

Spec: TypeAlias = "Mapping[str, int | str]"
Report: TypeAlias = dict[str, dict[str, Estimate]]

KINDS = ("binary", "regression")
_LAST_SIDE = 4  # the stride-2 blocks stop when the map is this small


class Recogniser(nn.Module):
    """Stride-2 convolutions with batch norm, a global average, one linear head a target.

    Args:
        spec: what to read off a picture: name -> number of classes, ``"binary"`` or
            ``"regression"``.
        size: side in pixels at which it looks; other sizes are resized.
        channels: 1 (grey) or 3.
        width: channels of the first convolution; each block doubles them up to ``features``.
        features: length of the feature vector before the heads.
        seed: of the initial weights.

    Attributes:
        report: accuracy and the like on held-out pictures, by target (see `evaluate`); empty
            until measured.
        name: ``"digits"`` once it was loaded under that name.
        header: what is known about its training: data, recipe, steps, seed, date.

    Raises:
        SettingError: a spec that is empty or names no known kind, or channels other than 1 and 3.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        spec: Spec,
        *,
        size: int = 28,
        channels: int = 1,
        width: int = 16,
        features: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_spec(spec)
        if channels not in (1, 3):
            raise SettingError(f"A picture has 1 or 3 channels, not {channels}.")
        self.spec, self.size, self.channels = dict(spec), size, channels
        self.width, self.feature_count = width, features
        self.report: Report = {}
        self.name = "unsaved"
        self.header: dict[str, Any] = {}
        self.body = _body(size, channels, width, features)
        self.heads = nn.ModuleDict(
            {name: nn.utils.skip_init(nn.Linear, features, _outputs(spec[name])) for name in spec}
        )
        # Mean and standard deviation of each target: regression is learnt in these units.
        self.register_buffer("centre", torch.zeros(len(spec)))
        self.register_buffer("spread", torch.ones(len(spec)))
        _initialise(self, runtime.generator(seed))

    def prepare(self, images: Tensor) -> Tensor:
        """Images (N, 1|3, H, W), float in [0, 1] or uint8 -> (N, channels, size, size) in [−1, 1].

        Raises:
            ImageError: another shape or range.
        """
        images = unit_images(images, self.channels)
        if images.shape[-2:] != (self.size, self.size):
            images = resize(images, (self.size, self.size))
        return 2 * images - 1

    def features(self, images: Tensor) -> Tensor:
        """The feature vectors (N, features) that the heads read; input as for `prepare`."""
        return self.body(self.prepare(images)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs by target: logits (N, classes), a logit (N,), or a standardised value (N,).

        Raises:
            ImageError: as `prepare`.
        """
        features = self.features(images)
        raw = {name: head(features) for name, head in self.heads.items()}
        return {n: r if isinstance(self.spec[n], int) else r.squeeze(1) for n, r in raw.items()}

    @torch.no_grad()
    def predict(self, images: Tensor, *, batch: int = 500) -> dict[str, Tensor]:
        """Decisions by target, each (N,) on the CPU, in evaluation mode; images as for `prepare`.

        A class index or 0/1 (int64), or the value in the target's own unit (float32).
        """
        return self._in_batches(self._decide, images, batch)

    @torch.no_grad()
    def probabilities(self, images: Tensor, *, batch: int = 500) -> dict[str, Tensor]:
        """Softmax (N, classes) or sigmoid (N,) of the classified targets, on the CPU.

        Images as for `prepare`.
        """
        return self._in_batches(self._soften, images, batch)

    def _decide(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        decided = {}
        for index, (name, raw) in enumerate(outputs.items()):
            if self.spec[name] == "regression":
                decided[name] = raw * self.spread[index] + self.centre[index]
            else:
                decided[name] = (raw > 0).long() if raw.dim() == 1 else raw.argmax(dim=1)
        return decided

    def _soften(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = {n: raw for n, raw in outputs.items() if self.spec[n] != "regression"}
        return {n: r.sigmoid() if r.dim() == 1 else r.softmax(dim=1) for n, r in kept.items()}

    def _in_batches(
        self,
        treat: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        images: Tensor,
        batch: int,
    ) -> dict[str, Tensor]:
        training, device = self.training, self.centre.device
        self.eval()
        try:
            parts = [treat(self(part.to(device))) for part in images.split(batch)]
        finally:
            self.train(training)
        return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}

    @property
    def accuracy(self) -> dict[str, Estimate]:
        """The first figure of `report` for each target: accuracy, or R² for a regression."""
        return {name: next(iter(figures.values())) for name, figures in self.report.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that build this network again."""
        return {
            "spec": self.spec,
            "size": self.size,
            "channels": self.channels,
            "width": self.width,
            "features": self.feature_count,
        }

    @property
    def digest(self) -> str:
        """SHA-256 over spec, names and values of the weights: the identity of the instrument."""
        total = hashlib.sha256(repr(sorted(self.spec.items())).encode())
        for name, tensor in sorted(self.state_dict().items()):
            total.update(f"{name}{tuple(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().numpy().tobytes())
        return total.hexdigest()

    def extra_repr(self) -> str:
        """What stands between the brackets when the network is printed."""
        return f"{self.spec}, {self.size}×{self.size}×{self.channels}"


def _check_spec(spec: Spec) -> None:
    if not spec:
        raise SettingError("The spec is empty; name one target or more, such as {'label': 10}.")
    for name, kind in spec.items():
        counted = isinstance(kind, int) and not isinstance(kind, bool) and kind >= 2
        if not counted and kind not in KINDS:
            raise SettingError(
                f"Target {name!r} is {kind!r}; give a number of classes from 2, 'binary' or "
                "'regression'."
            )


def _outputs(kind: int | str) -> int:
    return kind if isinstance(kind, int) else 1


def _body(size: int, channels: int, width: int, features: int) -> nn.Sequential:
    """28×28: 28 -> 14 -> 7 -> 4;  64×64: 64 -> 32 -> 16 -> 8 -> 4."""
    blocks = max(1, math.ceil(math.log2(size / _LAST_SIDE)))
    widths = [min(width * 2**index, features) for index in range(blocks)] + [features]
    layers: list[nn.Module] = []
    for index, outputs in enumerate(widths):
        stride = 1 if index == 0 else 2
        layers += [
            nn.utils.skip_init(nn.Conv2d, channels, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        channels = outputs
    return nn.Sequential(*layers)


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He initialisation from one generator, so that nothing else decides the weights."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def unit_images(images: Tensor, channels: int) -> Tensor:
    """Images (N, 1|3, H, W), float in [0, 1] or uint8 -> float32 (N, channels, H, W) in [0, 1].

    Raises:
        ImageError: another shape, or values outside [0, 1] (a generator's tanh gives [−1, 1]).
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ImageError(f"Expected images (N, 1 | 3, H, W), got {tuple(images.shape)}.")
    if images.dtype == torch.uint8:
        images = images.float() / 255
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also true for NaN
        hint = " Do they come from a tanh? Use (images + 1) / 2." if -1.01 < low < 0 else ""
        raise ImageError(f"The images run from {low:.3g} to {high:.3g}, not in 0 … 1.{hint}")
    images = images.float().clamp(0, 1)
    if images.shape[1] == 3 and channels == 1:
        return transforms.rgb_to_grayscale(images)
    return images.expand(-1, channels, -1, -1)
