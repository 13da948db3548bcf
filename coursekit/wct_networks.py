r"""The autoencoders of universal style transfer: VGG-16 forwards, a trained mirror backwards.

Li, Fang, Yang, Wang, Lu & Yang 2017, "Universal Style Transfer via Feature Transforms" (NIPS),
section 3.1: one decoder for each of relu1_1 … relu5_1, trained for reconstruction alone. No style
image is ever seen in training.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core import checkpoints, runtime, training
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.features import FeatureExtractor
from coursekit.core.losses import channel_statistics
from coursekit.core.metrics import psnr
from coursekit.core.perceptual import LPIPS

LEVELS = (1, 2, 3, 4, 5)
# Channels of VGG's five blocks, and convolutions in front of each pooling.
_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 3, 3, 3)
# Channels inside a decoder, blocks 1 … 4: a mirror has those of the encoder.
PUBLISHED_WIDTHS = _CHANNELS[:4]
# Five slim decoders of the course take 4.4 MB in half precision, five published ones 27.
COURSE_WIDTHS = (48, 64, 96, 112)


def layer_of(level: int) -> str:
    """Where a level cuts the encoder: ``"relu1_1"`` … ``"relu5_1"``.

    Raises:
        SettingError: the level is none of 1 … 5.
    """
    if level not in LEVELS:
        raise SettingError(f"There is no level {level!r}. Choose one of {LEVELS}.")
    return f"relu{level}_1"


class Decoder(nn.Sequential):
    """The encoder in a mirror: (N, C, h, w) at ``relu{level}_1`` -> images (N, 3, H, W).

    Li et al. 2017, section 3.1. Every convolution has its twin with inputs and outputs exchanged,
    every ReLU comes after such a twin, and max pooling becomes nearest-neighbour upsampling by 2.
    Convolutions mirror their input at the border. The last one has no ReLU; its output is not
    clamped.

    Args:
        level: 1 … 5; H = h · 2^(level - 1).
        widths: channels inside the decoder in VGG's blocks 1 … ``level`` - 1; the encoder's as
            published. More may be given. The input always has the encoder's channels.

    Raises:
        SettingError: no such level, or not one width a block.
    """

    def __init__(self, level: int, widths: Sequence[int] = PUBLISHED_WIDTHS) -> None:
        layer_of(level)
        if len(widths) < level - 1 or any(width < 1 for width in widths):
            raise SettingError(f"Level {level} needs {level - 1} widths from 1, got {widths}.")
        super().__init__(OrderedDict(_mirror(level, list(widths))))
        self.level, self.widths = level, tuple(widths[: level - 1])
        self.to(memory_format=torch.channels_last)

    @property
    def channels(self) -> int:
        """Channels of the features that it decodes."""
        return _CHANNELS[self.level - 1]

    def forward(self, features: Tensor) -> Tensor:
        """Decode (N, C, h, w).

        Raises:
            ShapeError: other channels, or maps of a single row or column where torch would have
                nothing to mirror.
        """
        if features.dim() != 4 or features.shape[1] != self.channels:
            raise ShapeError(
                f"The decoder of {layer_of(self.level)} takes (N, {self.channels}, h, w), got "
                f"{tuple(features.shape)}."
            )
        if min(features.shape[-2:]) < 2:
            raise ShapeError(
                f"Maps of {features.shape[-2]}×{features.shape[-1]} are too small to decode: "
                "2×2 at least."
            )
        features = features.contiguous(memory_format=torch.channels_last)
        return super().forward(features)


def _mirror(level: int, widths: list[int]) -> list[tuple[str, nn.Module]]:
    """(name of the mirrored layer, layer) from ``conv{level}_1`` back to ``conv1_1``."""
    layers: list[tuple[str, nn.Module]] = []
    channels = _CHANNELS[level - 1]
    for block in range(level, 0, -1):
        count = 1 if block == level else _CONVOLUTIONS[block - 1]
        for index in range(count, 0, -1):
            out = widths[block - 1] if index > 1 else (3, *widths)[block - 1]
            name = f"{block}_{index}"
            layers.append((f"conv{name}", _convolution(channels, out)))
            layers.append((f"relu{name}", nn.ReLU(inplace=True)))
            channels = out
        layers.append((f"up{block - 1}", nn.Upsample(scale_factor=2)))
    return layers[:-2]  # nothing comes after the last convolution


def _convolution(channels: int, out: int) -> nn.Conv2d:
    """Begin nearly as an orthogonal map at the middle of the kernel (Xiao et al. 2018).

    Eleven layers of the usual random kernels forget what came in; a decoder must not.
    """
    layer = nn.Conv2d(channels, out, 3, padding=1, padding_mode="reflect")
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    kernel, bias = layer.parameters()
    with torch.no_grad():
        kernel.mul_(0.1)
        kernel[:, :, 1, 1] += nn.init.orthogonal_(torch.empty(out, channels))
        bias.zero_()
    return layer


def begin_from(decoder: Decoder, shallower: Decoder) -> None:
    """Copy the decoder of the level above, all but its first convolution, into ``decoder``.

    Both end alike. What is left to learn is how to get from the deeper features to there.

    Raises:
        SettingError: ``shallower`` is not one level less deep, or of other widths.
    """
    if shallower.level != decoder.level - 1 or shallower.widths != decoder.widths[:-1]:
        raise SettingError(
            f"Level {decoder.level} with widths {decoder.widths} cannot begin from level "
            f"{shallower.level} with widths {shallower.widths}."
        )
    first = f"conv{shallower.level}_1"
    kept = {k: v for k, v in shallower.state_dict().items() if not k.startswith(first)}
    decoder.load_state_dict(kept, strict=False)


@torch.no_grad()
def calibrate(decoder: Decoder, features: Tensor) -> None:
    """Set the decoder's beginning so that every channel has mean 0 and deviation 1 before ReLU.

    For features (N, C, h, w) like these. VGG's are positive and of any size: without this, a deep
    decoder begins as a constant and stays one. The last layer begins at deviation 0.1 around grey.
    (Krähenbühl et al. 2016,
    "Data-dependent initializations of convolutional neural networks".)
    """
    x, last = features, list(decoder)[-1]
    for layer in decoder:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            mean, std = channel_statistics(x.transpose(0, 1).flatten(1)[None, :, None])
            scale = (0.1 if layer is last else 1.0) / std.clamp_min(1e-6)
            shift = (0.45 if layer is last else 0.0) - mean * scale
            kernel, bias = layer.parameters()
            kernel.mul_(scale.view(-1, 1, 1, 1))
            bias.copy_(bias * scale.flatten() + shift.flatten())
            x = x * scale + shift


class Autoencoder(nn.Module):
    """The frozen encoder up to one level and its decoder (section 3.1); pictures of any size.

    Args:
        decoder: its level decides where the encoder is cut.
        precision: of the encoder, as in `FeatureExtractor`; ``"auto"`` for training.

    Raises:
        WeightsError: VGG-16 is neither in the cache nor to be had.
    """

    def __init__(self, decoder: Decoder, precision: str = "float32") -> None:
        super().__init__()
        self.decoder, self.level = decoder, decoder.level
        # Differs from the trained network: it saw zeros beyond the border. The paper's code
        # mirrors in the encoder too, which keeps frames out of the statistics.
        self.encoder = FeatureExtractor(
            "vgg16", layer_of(self.level), padding="reflect", precision=precision
        )

    def encode(self, images: Tensor) -> Tensor:
        """Features (N, C, ⌈H / 2^(level-1)⌉, …) of images (N, 3, H, W) in [0, 1].

        Sides that pooling does not divide are mirrored up to the next size that it does.

        Raises:
            ImageError: not images, or smaller than ``encoder.minimum_size``.
        """
        self.encoder._check_images(images)
        return self.encoder(_padded(images, 2 ** (self.level - 1)))[layer_of(self.level)]

    def decode(self, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Images (N, 3, H, W), not clamped; cut to ``size`` (H, W), that of the encoded image."""
        images = self.decoder(features.to(next(self.decoder.parameters()).dtype))
        return images if size is None else images[..., : size[0], : size[1]]

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images (N, 3, H, W) in [0, 1]; not clamped."""
        return self.decode(self.encode(images), images.shape[-2:])


def _padded(images: Tensor, multiple: int) -> Tensor:
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return F.pad(images, (0, right, 0, below), mode="reflect") if below or right else images


# --- A start for deep decoders -------------------------------------------------------------------


@torch.no_grad()
def begin_linear(autoencoder: Autoencoder, shallower: Decoder, images: Tensor) -> None:
    """Set the layers in front of those that `begin_from` copied to the best linear guess.

    Least squares from the features to what the shallower decoder makes of its own in its first
    convolution, averaged over 2×2. The guess passes the layers between as pairs of opposite sign,
    of which ReLU lets one through. From random layers there, colours take far longer to appear.

    Args:
        autoencoder: its decoder has begun from ``shallower``.
        shallower: the trained decoder of the level above.
        images: photographs (N, 3, H, W) in [0, 1], sides divisible by 16; thousands of positions in
            all.
    """
    features, wanted = _features_and_wanted(autoencoder, shallower, images)
    front = _front(autoencoder.decoder, shallower)
    first, *between, last = [layer for layer in front if isinstance(layer, nn.Conv2d)]
    rank = min(first.out_channels // 2, last.out_channels)
    pooled = _positions(F.avg_pool2d(wanted, 2))
    into, shift, out, mean = _reduced_rank(_positions(features), pooled, rank)
    for layer in (first, *between, last):
        kernel, bias = layer.parameters()
        kernel[:, :, 1, 1] = 0
        bias.zero_()
    for layer in between:
        layer.weight[:, :, 1, 1].fill_diagonal_(1)
    kernel, bias = first.parameters()
    kernel[: 2 * rank, :, 1, 1] = torch.cat([into, -into])
    bias[: 2 * rank] = torch.cat([shift, -shift])
    kernel, bias = last.parameters()
    kernel[:, : 2 * rank, 1, 1] = torch.cat([out, -out], dim=1)
    bias.copy_(mean)


def fit_front(
    autoencoder: Autoencoder,
    shallower: Decoder,
    images: Tensor,
    steps: int,
    learning_rate: float = 0.01,
    batch: int = 16,
) -> list[float]:
    """Train the layers that `begin_linear` set to reach the shallower decoder's activations.

    The features are computed once, the maps are small, and no gradient goes through VGG or through
    the layers near the pixels: a step costs a fraction of one on the loss of the paper.

    Args:
        autoencoder, shallower, images: as for `begin_linear`.
        steps: of Adam.
        learning_rate: the highest; it falls as `cosine` says.
        batch: pictures a step.

    Returns:
        The loss of each step: mean squared error over the variance of the activations.
    """
    features, wanted = _features_and_wanted(autoencoder, shallower, images)
    front = _front(autoencoder.decoder, shallower)
    optimiser, variance = _optimiser(front), wanted.var()
    random = runtime.generator(0)
    history = []
    for number in range(1, steps + 1):
        chosen = torch.randint(len(images), (batch,), generator=random)
        found = nn.Sequential(*front)(features[chosen])
        loss = F.mse_loss(found, wanted[chosen]) / variance
        _update(optimiser, loss, learning_rate * cosine(number, steps))
        history.append(float(loss.detach()))
    return history


@torch.no_grad()
def _features_and_wanted(
    autoencoder: Autoencoder, shallower: Decoder, images: Tensor
) -> tuple[Tensor, Tensor]:
    """What the decoder reads, and what the shallower one's first convolution makes of its own."""
    above, read = Autoencoder(shallower, "auto").to(images.device), next(iter(shallower))
    parts = images.split(8)
    features = [autoencoder.encode(part).float() for part in parts]
    wanted = [read(above.encode(part).float()) for part in parts]
    return torch.cat(features), torch.cat(wanted)


def _front(decoder: Decoder, shallower: Decoder) -> list[nn.Module]:
    """The layers up to the one at which ``shallower`` begins, that one included."""
    layers = dict(decoder.named_children())
    return list(layers.values())[: list(layers).index(f"conv{shallower.level}_1") + 1]


def _optimiser(layers: Iterable[nn.Module]) -> torch.optim.Adam:
    """Adam with a group a convolution, which knows the root mean square of its weights."""
    groups = [
        {
            "params": list(each.parameters()),
            "size": float(each.weight.detach().square().mean().sqrt()),
        }
        for each in layers
        if isinstance(each, nn.Conv2d)
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99))


def _update(optimiser: torch.optim.Adam, loss: Tensor, rate: float) -> None:
    """One step, each group at its share of the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["size"]
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _positions(maps: Tensor) -> Tensor:
    """(N, C, h, w) -> (N·h·w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _reduced_rank(
    x: Tensor, y: Tensor, rank: int, ridge: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least squares y ≈ out (into x + shift) + mean through ``rank`` numbers of deviation 1.

    Args:
        x: (P, C).
        y: (P, D).

    Returns:
        into (rank, C), shift (rank,), out (D, rank), mean (D,), float32.
    """
    x, y = x.double(), y.double()
    centre, mean = x.mean(0), y.mean(0)
    x, y = x - centre, y - mean
    square = x.T @ x
    square.diagonal().add_(ridge * square.diagonal().mean())
    whole = torch.linalg.solve(square, x.T @ y)
    directions = torch.linalg.svd(x @ whole, full_matrices=False).Vh[:rank]
    into = directions @ whole.T
    size = (x @ into.T).std(0)
    into = into / size[:, None]
    out = directions.T * size
    return into.float(), -(into @ centre).float(), out.float(), mean.float()


# --- Training ------------------------------------------------------------------------------------


def reconstruction_terms(
    autoencoder: Autoencoder, images: Tensor, feature_weight: float = 1.0
) -> dict[str, Tensor]:
    r"""The loss of a decoder (Li et al. 2017, eq. 1):
    :math:`\lVert I_o - I_i \rVert^2 + \lambda \lVert \Phi(I_o) - \Phi(I_i) \rVert^2`.

    Differs from Li et al. 2017: each term is divided by what it is for a flat answer (the
    variance of the pixels, the mean square of the features), so that λ means the same at every
    level.

    Args:
        autoencoder: features :math:`\Phi` are those that its decoder starts from.
        images: :math:`I_i`, (N, 3, H, W) in [0, 1].
        feature_weight: :math:`\lambda`, 1 in the paper.

    Returns:
        ``{"pixel": …, "feature": …}``, two scalars whose sum is the loss.
    """
    with torch.no_grad():
        features = autoencoder.encode(images)
    output = autoencoder.decode(features, images.shape[-2:]).float()
    found = autoencoder.encode(output)
    pixel = F.mse_loss(output, images) / images.var().clamp_min(1e-4)
    energy = features.float().square().mean().clamp_min(1e-4)
    feature = F.mse_loss(found.float(), features.float()) / energy
    return {"pixel": pixel, "feature": feature_weight * feature}


def train_decoder(
    autoencoder: Autoencoder,
    batches: training.Batches,
    *,
    steps: int,
    shallower: Decoder | None = None,
    examples: Tensor | None = None,
    front_steps: int = 0,
    learning_rate: float = 0.05,
    feature_weight: float = 1.0,
    precision: str = "auto",
    **settings: Any,
) -> training.TrainingResult:
    """Train the decoder of an autoencoder (section 3.1); the encoder stays as it is.

    Adam. Each layer's rate is a share of the root mean square of its weights at the start: features
    of VGG differ in size from layer to layer, and the weights that read them with them.

    Args:
        autoencoder: as `Autoencoder` makes it.
        batches: of ``{"image": (n, 3, size, size)}``.
        steps: in all, those before a resume included.
        shallower: the trained decoder of the level above, to begin from (`begin_from`).
        examples: photographs for a linear start of what is not copied (`begin_linear`).
        front_steps: steps that these layers train by themselves after that (`fit_front`).
        learning_rate: that share at its highest: it rises for 40 steps and falls to zero along
            half a cosine.
        feature_weight: λ, see `reconstruction_terms`.
        precision: of the decoder's forward pass while training.
        settings: those of `coursekit.core.training.run`.
    """
    decoder = autoencoder.decoder
    optimiser = _optimiser(decoder)

    def begin(images: Tensor) -> None:
        calibrate(decoder, autoencoder.encode(images).float())
        if shallower is not None:
            begin_from(decoder, shallower)
        if shallower is not None and examples is not None:
            begin_linear(autoencoder, shallower, examples)
        if shallower is not None and examples is not None and front_steps:
            fit_front(autoencoder, shallower, examples, front_steps)
        for group, fresh in zip(
            optimiser.param_groups, _optimiser(decoder).param_groups, strict=True
        ):
            group["size"] = fresh["size"]

    def step(number: int) -> dict[str, Tensor]:
        images = next(batches)["image"]
        if number == 1:
            begin(images)
        rate = learning_rate * min(number / 40, 1) * cosine(number, steps)
        with training.autocast(images.device, precision):
            terms = reconstruction_terms(autoencoder, images, feature_weight)
        _update(optimiser, terms["pixel"] + terms["feature"], rate)
        return terms

    state = {"decoder": decoder, "optimiser": optimiser, "batches": batches}
    return training.run(step, state, steps=steps, **settings)


def cosine(number: int, steps: int) -> float:
    """Half a cosine from 1 at the first step to 0 after the last (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * (number - 1) / steps))


# --- Measuring and loading -----------------------------------------------------------------------


@torch.no_grad()
def measure(
    autoencoder: Autoencoder, images: Sequence[Tensor], distance: LPIPS | None = None
) -> dict[str, float]:
    """How close reconstructions come: mean PSNR (dB, more is better) and LPIPS (less is better).

    Args:
        autoencoder: encoder and decoder of one level.
        images: pictures (1, 3, H, W) in [0, 1], of any size.
        distance: an `LPIPS` that is there already.
    """
    distance = (distance or LPIPS()).to(images[0].device)
    found = [autoencoder(image).clamp(0, 1) for image in images]
    pairs = list(zip(found, images, strict=True))
    return {
        "psnr": sum(float(psnr(each, image)) for each, image in pairs) / len(pairs),
        "lpips": sum(float(distance(each, image)) for each, image in pairs) / len(pairs),
    }


def load_decoder(level: int, path: Path | str | None = None) -> Decoder:
    """A trained decoder of the course, or one that the recipe wrote to ``path``.

    Raises:
        SettingError: no such level.
        WeightsError: the file is missing, damaged, or of another level.
    """
    layer_of(level)
    path = checkpoints.path_of("wct", f"level{level}") if path is None else path
    kept = checkpoints.read(path)
    decoder = kept.network(Decoder, "decoder")
    if decoder.level != level:
        raise WeightsError(f"{path} holds level {decoder.level}, not {level}.")
    return decoder
