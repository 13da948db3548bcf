"""Wrong implementations for the exercises of topic 04, as people write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from coursekit.core.losses import gram_matrix

Weights = Mapping[str, float]
Maps = Mapping[str, Tensor]

# --- Instance normalisation ----------------------------------------------------------------------


def normalised(
    over: tuple[int, ...] = (2, 3),
    *,
    correction: int = 0,
    root: Callable[[Tensor, float], Tensor] = lambda variance, e: (variance + e).sqrt(),
    detached: bool = False,
    affine: str = "both",
) -> Callable[..., Tensor]:
    """Instance normalisation with one thing wrong."""

    def wrong(features: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
        variance, mean = torch.var_mean(features, dim=over, keepdim=True, correction=correction)
        if detached:
            variance, mean = variance.detach(), mean.detach()
        x = (features - mean) / root(variance, epsilon)
        x = x if affine == "shift" else x * scale[:, None, None]
        return x if affine == "scale" else x + shift[:, None, None]

    return wrong


def shifted_first(features: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """γ (x̂ + β)."""
    plain = normalised()(features, torch.ones_like(scale), torch.zeros_like(shift), epsilon)
    return (plain + shift[:, None, None]) * scale[:, None, None]


# --- The residual block --------------------------------------------------------------------------

Layer = Callable[[Tensor], Tensor]


def relu_after_the_sum(x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer) -> Tensor:
    return functional.relu(x + norm2(conv2(functional.relu(norm1(conv1(x))))))


def no_skip(x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer) -> Tensor:
    return norm2(conv2(functional.relu(norm1(conv1(x)))))


def relu_before_the_sum(
    x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer
) -> Tensor:
    return x + functional.relu(norm2(conv2(functional.relu(norm1(conv1(x))))))


def no_relu(x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer) -> Tensor:
    return x + norm2(conv2(norm1(conv1(x))))


def relu_before_the_norm(
    x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer
) -> Tensor:
    return x + norm2(conv2(norm1(functional.relu(conv1(x)))))


def skip_from_the_middle(
    x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer
) -> Tensor:
    x = functional.relu(norm1(conv1(x)))
    return x + norm2(conv2(x))


def one_convolution_twice(
    x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer
) -> Tensor:
    return x + norm1(conv1(functional.relu(norm1(conv1(x)))))


def second_norm_missing(
    x: Tensor, conv1: Layer, norm1: Layer, conv2: Layer, norm2: Layer
) -> Tensor:
    return x + conv2(functional.relu(norm1(conv1(x))))


# --- Enlarging -----------------------------------------------------------------------------------


def enlarged(
    mode: str = "nearest", padding: str = "reflect", *, biased: bool = True
) -> Callable[..., Tensor]:
    """Enlarge and convolve with one thing wrong."""

    def wrong(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        smooth = {} if mode == "nearest" else {"align_corners": False}
        x = functional.interpolate(x, scale_factor=2, mode=mode, **smooth)
        x = x if padding == "none" else functional.pad(x, (1, 1, 1, 1), mode=padding)
        return functional.conv2d(x, weight, bias if biased else None)

    return wrong


def convolved_first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), weight, bias)
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def padded_first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The mirror is made of small pixels and enlarged with them: one large pixel each way."""
    x = functional.interpolate(functional.pad(x, (1, 1, 1, 1), mode="reflect"), scale_factor=2)
    return functional.conv2d(x[..., 1:-1, 1:-1], weight, bias)


def transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The paper's convolution of stride 1/2."""
    return functional.conv_transpose2d(
        x, weight.transpose(0, 1).contiguous(), bias, stride=2, padding=1, output_padding=1
    )


# --- The content loss ----------------------------------------------------------------------------


def half_the_sum(features: Tensor, target: Tensor) -> Tensor:
    return (features - target).square().sum() / (2 * len(features))


def batch_summed(features: Tensor, target: Tensor) -> Tensor:
    return (features - target).square().sum() / features[0].numel()


def per_position(features: Tensor, target: Tensor) -> Tensor:
    return (features - target).square().sum() / features[:, 0].numel()


def share(features: Tensor, target: Tensor) -> Tensor:
    error, energy = ((each.square().flatten(1).sum(1)) for each in (features - target, target))
    return (error / energy).mean()


def root_mean_square(features: Tensor, target: Tensor) -> Tensor:
    return (features - target).square().mean().sqrt()


def absolute(features: Tensor, target: Tensor) -> Tensor:
    return (features - target).abs().mean()


def features_detached(features: Tensor, target: Tensor) -> Tensor:
    return (features.detach() - target).square().mean()


# --- The style loss ------------------------------------------------------------------------------


def style_with(
    gram: Callable[[Tensor], Tensor] = gram_matrix,
    *,
    weighted: bool = True,
    reduce: str = "mean",
    first_only: bool = False,
    divided: bool = True,
) -> Callable[[Maps, Maps, Weights], Tensor]:
    """The style loss with one thing wrong."""

    def wrong(features: Maps, grams: Maps, weights: Weights) -> Tensor:
        total = []
        for name, target in list(grams.items())[: 1 if first_only else None]:
            squares = (gram(features[name]) - target).square().sum(dim=(1, 2))
            squares = squares / (4 * target.shape[-1] ** 2) if divided else squares
            one = squares.mean() if reduce == "mean" else squares.sum()
            total.append(one * weights[name] if weighted else one)
        return torch.stack(total).sum()

    return wrong


def mean_gram(features: Tensor) -> Tensor:
    return gram_matrix(features).mean(dim=0, keepdim=True)


def plain_gram(features: Tensor) -> Tensor:
    return gram_matrix(features, normalise=False)


def centred_gram(features: Tensor) -> Tensor:
    return gram_matrix(features - features.mean(dim=(2, 3), keepdim=True))


# --- The training step ---------------------------------------------------------------------------


def summed(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def stepped(
    order: str = "zero, backward, step",
    *,
    term: Callable[[dict[str, Tensor]], Tensor] = summed,
    content_of: str = "photographs",
    steps: int = 1,
) -> Callable[..., Tensor]:
    """A training step with one thing wrong."""

    def wrong(
        network: nn.Module, optimiser: Optimizer, objective: Any, photographs: Tensor
    ) -> Tensor:
        for _ in range(steps):
            paintings = network(photographs)
            shown = photographs if content_of == "photographs" else paintings
            loss = term(objective(paintings, objective.content_features(shown)))
            moves: dict[str, Callable[[], object]] = {
                "zero": optimiser.zero_grad,
                "backward": loss.backward,
                "step": optimiser.step,
            }
            for move in order.split(", "):
                moves[move]()
        return loss.detach()

    return wrong


def everything_trained(
    network: nn.Module, optimiser: Optimizer, objective: Any, photographs: Tensor
) -> Tensor:
    """The loss network is given to an optimiser too."""
    content = objective.content_features(photographs)
    objective.extractor.requires_grad_(True)
    second = torch.optim.SGD(objective.extractor.parameters(), lr=0.05)
    loss = sum(objective(network(photographs), content).values())
    optimiser.zero_grad()
    second.zero_grad()
    loss.backward()
    optimiser.step()
    second.step()
    return loss.detach()


def loss_after_the_step(
    network: nn.Module, optimiser: Optimizer, objective: Any, photographs: Tensor
) -> Tensor:
    content = objective.content_features(photographs)
    stepped()(network, optimiser, objective, photographs)
    return sum(objective(network(photographs), content).values()).detach()
