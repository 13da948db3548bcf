r"""Topic 04, fast style transfer (Johnson, Alahi & Fei-Fei 2016).

Gatys et al. minimise a loss over the pixels of one picture. Here a network :math:`f_W` is trained
to minimise the same loss over all photographs, once for each style:
:math:`W^* = \arg\min_W E_x[\,L(f_W(x), x)\,]` (eq. 1). Afterwards a painting costs one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coursekit.core import checkpoints, checks, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError
from coursekit.core.features import FeatureExtractor
from coursekit.core.images import check_images
from coursekit.core.losses import content_loss, total_variation
from coursekit.core.optimise import Loss
from coursekit.fast_style_networks import TransformerNetwork, check_photographs
from coursekit.texture import balanced_weights, gram_targets, texture_loss

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"
STYLE_WEIGHT = 20.0
SMOOTHNESS_WEIGHT = 1.0


def perceptual_content_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Feature reconstruction loss :math:`\frac{1}{CHW} \lVert \phi(\hat y) - \phi(x) \rVert^2`,
    averaged over the batch (Johnson et al. 2016, eq. 2).

    Args:
        features: :math:`\phi(\hat y)` of the paintings, (N, C, H, W).
        target: :math:`\phi(x)` of the photographs, (N, C, H, W).

    Returns:
        A scalar.

    Raises:
        ShapeError: the maps differ in size, or are not four-dimensional.
    """
    return 2 * content_loss(features, target) / features[0].numel()


class Objective:
    r"""The loss that a style's network is trained on: content, style and smoothness
    (Johnson et al. 2016, eq. 5).

    The style's Gram matrices are computed once. Content features of the photographs come from a
    second network that is cut where they are read: the deeper layers would be computed for nothing.

    Differs from Johnson et al. 2016: the style term is the relative one of `gatys.transfer_loss`, 1
    for a picture without any features whatever the style, so that one weight does for all styles;
    and content is compared at relu2_2, as the widely used PyTorch version does, where the paper's
    figure 2 has relu3_3.

    Args:
        style: the style image, (1, 3, h, w) in [0, 1]; its size decides that of the strokes.
        content_layer: where content is compared.
        style_layers: where Gram matrices are compared.
        content_weight: :math:`\lambda_c`.
        style_weight: :math:`\lambda_s`.
        smoothness_weight: :math:`\lambda_{TV}`, of the squared total variation per value.
        precision: of the frozen network, as in `FeatureExtractor`.

    Raises:
        ImageError: the style is no picture in [0, 1].
        SettingError: a weight below 0, or no such precision.
        LayerError: a layer that VGG-16 does not have.
    """

    def __init__(
        self,
        style: Tensor,
        *,
        content_layer: str = CONTENT_LAYER,
        style_layers: Sequence[str] = STYLE_LAYERS,
        content_weight: float = 1.0,
        style_weight: float = STYLE_WEIGHT,
        smoothness_weight: float = SMOOTHNESS_WEIGHT,
        precision: str = "float32",
    ) -> None:
        check_images(style, "style")
        check_photographs(style)
        weights = {"content_weight": content_weight, "style_weight": style_weight}
        checks.at_least(0, **weights, smoothness_weight=smoothness_weight)
        self.content_layer, self.content_weight = content_layer, content_weight
        self.style_weight, self.smoothness_weight = style_weight, smoothness_weight
        layers = dict.fromkeys([*style_layers, content_layer])
        make = lambda names: FeatureExtractor(layers=names, precision=precision).to(style.device)  # noqa: E731
        self.extractor, self._content = make(layers), make([content_layer])
        self.grams = gram_targets(make(style_layers), style)
        self.layer_weights = balanced_weights(self.grams, total=1.0)

    @torch.no_grad()
    def content_features(self, photographs: Tensor) -> Tensor:
        """What the paintings of ``photographs`` (N, 3, H, W) must keep: (N, C, h, w)."""
        return self._content(photographs)[self.content_layer]

    def __call__(self, paintings: Tensor, content: Tensor) -> dict[str, Tensor]:
        """The weighted terms ``{"content", "style", "smoothness"}``, averaged over the batch.

        Args:
            paintings: (N, 3, H, W) in [0, 1].
            content: of `content_features`.
        """
        features = self.extractor(paintings)
        content = perceptual_content_loss(features[self.content_layer], content)
        style = texture_loss(features, self.grams, self.layer_weights)
        smoothness = total_variation(paintings) / paintings[0].numel()
        return {
            "content": self.content_weight * content,
            "style": self.style_weight * style,
            "smoothness": self.smoothness_weight * smoothness,
        }

    def of(self, photograph: Tensor) -> Loss:
        """The loss as a function of the pixels alone, for `optimise_pixels`."""
        content = self.content_features(photograph)
        return lambda image: self(image, content)


# --- The training step ---------------------------------------------------------------------------


def training_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    objective: Objective,
    photographs: Tensor,
) -> dict[str, Tensor]:
    """One step (eq. 1): paint a batch, ask the frozen network what is wrong, change the painter.

    Args:
        network: photographs to paintings, (N, 3, H, W) in [0, 1].
        optimiser: of the network's parameters; those of the objective stay what they are.
        objective: the loss.
        photographs: (N, 3, H, W) in [0, 1].

    Returns:
        The terms of the loss, without gradients.
    """
    content = objective.content_features(photographs)
    paintings = network(photographs)
    terms = objective(paintings, content)

    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    optimiser.step()
    return {name: term.detach() for name, term in terms.items()}


def train(
    network: nn.Module,
    objective: Objective,
    batches: training.Batches,
    *,
    learning_rate: float = 1e-3,
    rate: Callable[[int], float] | None = None,
    shown: Tensor | None = None,
    **options: Any,
) -> training.TrainingResult:
    """Train a network for one style (Adam; Johnson et al. 2016, section 4.1).

    Args:
        network: it is changed.
        objective: the style's loss.
        batches: each a dict with ``"image"`` (N, 3, H, W) in [0, 1].
        learning_rate: of Adam, 1e-3 in the paper.
        rate: step → share of the learning rate to use; all of it by default.
        shown: photographs of one size (N, 3, H, W) whose paintings are the preview.
        options: for `core.training.run` (``steps``, ``budget``, ``folder`` …).

    Returns:
        The training's result.

    Raises:
        SettingError, TrainingError, WeightsError: as `core.training.run`.
    """
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    if shown is not None:
        options.setdefault("preview", lambda: paint(network, shown))

    def step(number: int) -> dict[str, Tensor]:
        if rate is not None:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * rate(number)
        network.train()
        photographs = with_fields(next(batches), "image")["image"]
        return training_step(network, optimiser, objective, photographs)

    state = {"network": network, "optimiser": optimiser, "batches": batches}
    return training.run(step, state, **options)


@torch.no_grad()
def paint(network: nn.Module, photographs: Tensor) -> Tensor:
    """One pass without gradients, in evaluation mode: (N, 3, H, W) in [0, 1] to the same.

    The network is put back to the mode it was in.

    Raises:
        ImageError: no pictures in [0, 1], or too small for the network.
    """
    check_images(photographs, "photographs")
    before = network.training
    device = next((weight.device for weight in network.parameters()), photographs.device)
    try:
        return network.eval()(photographs.to(device)).to(photographs.device)
    finally:
        network.train(before)


def load_network(name: str = "great_wave") -> tuple[TransformerNetwork, checkpoints.Checkpoint]:
    """A network that was trained for the course, in eval mode, and its header.

    Raises:
        WeightsError: there is no such checkpoint, or it is damaged.
    """
    checkpoint = checkpoints.load("fast_style", name)
    return checkpoint.network(TransformerNetwork, "network for a style"), checkpoint


@torch.no_grad()
def evaluate(
    network: nn.Module, objective: Objective, photographs: Sequence[Tensor]
) -> dict[str, float]:
    """The terms of the loss and their ``total``, averaged over photographs of any sizes.

    Each is (N, 3, H, W) in [0, 1].

    Raises:
        SettingError: no photograph.
        ImageError: no pictures in [0, 1].
    """
    if not photographs:
        raise SettingError("There is no photograph to measure on; give one or more.")
    sums: dict[str, float] = {}
    for photograph in photographs:
        terms = objective(paint(network, photograph), objective.content_features(photograph))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term) / len(photographs)
    return sums | {"total": sum(sums.values())}


# --- A limitation: flicker -----------------------------------------------------------------------


def pan(photograph: Tensor, size: tuple[int, int], shift: int, frames: int = 4) -> Tensor:
    """A camera that moves to the right: windows of a photograph, ``shift`` pixels apart.

    Args:
        photograph: (1, 3, H, W) in [0, 1].
        size: (height, width) of a window; it is cut at half height.
        shift: whole pixels from frame to frame, so that nothing is resampled: a point of the scene
            has exactly the same colour in every frame of the input.
        frames: how many, 2 or more.

    Returns:
        (frames, 3, height, width).

    Raises:
        SettingError: the photograph is too small for that, or fewer than 2 frames or a negative
            shift.
    """
    height, width = photograph.shape[-2:]
    last = (frames - 1) * shift
    fits = 0 < size[0] <= height and 0 < size[1] <= width - last
    if frames < 2 or shift < 0 or photograph.dim() != 4 or not fits:
        raise SettingError(
            f"{frames} windows of {size[0]}×{size[1]} pixels, {shift} apart, need 2 frames or more "
            f"and a photograph (1, 3, H, W) of at least {size[0]}×{size[1] + last}; it is "
            f"{tuple(photograph.shape)}."
        )
    top = (height - size[0]) // 2
    rows = photograph[0, :, top : top + size[0]]
    return torch.stack([rows[..., k * shift : k * shift + size[1]] for k in range(frames)])


def flicker(frames: Tensor, shift: int, border: int = 16) -> Tensor:
    r"""How much a point of the scene changes between two frames of a `pan`:
    :math:`|y_{t+1}(i, j - s) - y_t(i, j)|`, averaged over colours and over pairs of frames.

    Args:
        frames: (T, 3, H, W), those of the pan or their paintings.
        shift: pixels from frame to frame.
        border: pixels left out on each side: what enters the picture there is another story.

    Returns:
        A map (H - 2 · border, W - shift - 2 · border); its mean is the flicker.

    Raises:
        SettingError: nothing would be left, fewer than two frames, or a negative shift.
    """
    if frames.dim() != 4 or len(frames) < 2 or min(shift, border) < 0:
        raise SettingError(
            f"{tuple(frames.shape)} with {shift=} and {border=}: give two frames (T, 3, H, W) or "
            "more, and whole pixels from 0."
        )
    height, width = frames.shape[-2:]
    if height <= 2 * border or width <= shift + 2 * border:
        raise SettingError(
            f"Frames of {height}×{width} pixels leave nothing after a shift of {shift} and "
            f"borders of {border}; take larger frames or a smaller border."
        )
    before, after = frames[:-1, :, :, shift:], frames[1:, :, :, : width - shift]
    change = (after - before).abs().mean(dim=(0, 1))
    return change[border : height - border, border : change.shape[1] - border]
