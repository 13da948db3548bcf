"""References and inputs for the exercises of topic 04, and a small training that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from coursekit import fast_style_networks, texture
from coursekit.core.losses import gram_matrix
from coursekit.core.runtime import generator
from coursekit.exercises.engine import Unusable

# --- References ----------------------------------------------------------------------------------


def residual_block(
    x: Tensor,
    conv1: Callable[[Tensor], Tensor],
    norm1: Callable[[Tensor], Tensor],
    conv2: Callable[[Tensor], Tensor],
    norm2: Callable[[Tensor], Tensor],
) -> Tensor:
    """As `fast_style_networks.ResidualBlock`, its layers given."""
    return x + norm2(conv2(functional.relu(norm1(conv1(x)))))


def enlarge(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Nearest neighbours, a mirrored border, a 3×3 convolution of stride 1."""
    x = functional.interpolate(x, scale_factor=2, mode="nearest")
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), weight, bias)


def style_term(
    features: Mapping[str, Tensor], grams: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """`texture.texture_loss`, with a batch against one style."""
    return texture.texture_loss(features, grams, weights)


def training_step(
    network: nn.Module, optimiser: Optimizer, objective: Any, photographs: Tensor
) -> Tensor:
    """`fast_style.training_step` written out; the sum of its terms."""
    content = objective.content_features(photographs)
    loss = sum(objective(network(photographs), content).values())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


# --- Inputs --------------------------------------------------------------------------------------


def _random(*shape: int, seed: int, shift: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)) + shift


def maps(seed: int = 0) -> Tensor:
    """Two images whose channels differ in mean and spread."""
    spread = torch.tensor([0.3, 1.0, 2.5, 0.7]).view(1, 4, 1, 1)
    maps = _random(2, 4, 5, 7, seed=seed) * spread + spread
    maps[1] = maps[1] * 2 - 1
    return maps


def affine() -> tuple[Tensor, Tensor]:
    return torch.linspace(0.5, 2, 4), torch.linspace(-1, 1, 4)


def flat_maps() -> Tensor:
    """One channel without contrast, one that has hardly any."""
    maps = _random(1, 4, 4, 3, seed=3)
    maps[:, 1] = 0.5
    maps[:, 2] = 1e-2 * maps[:, 2]
    return maps


def _layers(seed: int) -> tuple[nn.Module, ...]:
    """Two convolutions and two norms, their weights given."""
    convolutions = [fast_style_networks.convolution(3, 3, 3) for _ in range(2)]
    norms = [nn.InstanceNorm2d(3, affine=True) for _ in range(2)]
    parts = [part for pair in zip(convolutions, norms, strict=True) for part in pair]
    with torch.no_grad():
        for number, weight in enumerate(w for part in parts for w in part.parameters()):
            weight.copy_(_random(*weight.shape, seed=seed + number))
    return tuple(part.requires_grad_(False) for part in parts)


def block_inputs(*shape: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (_random(*shape, seed=0), *_layers(seed=20))


def enlarge_inputs(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    channels = shape[1]
    return lambda: (
        _random(*shape, seed=0),
        _random(4, channels, 3, 3, seed=1),
        _random(4, seed=2),
    )


def feature_pair(count: int) -> Callable[[], tuple[Tensor, ...]]:
    """Images that differ in energy, so that it matters which is divided by what."""
    sizes = torch.linspace(1, 3, count).view(count, 1, 1, 1)
    return lambda: tuple(_random(count, 4, 5, 6, seed=s) * sizes**s for s in (1, 2))


def style_inputs(count: int) -> Callable[[], tuple[Any, ...]]:
    def make() -> tuple[Any, ...]:
        shapes = {"relu1_2": (count, 3, 6, 8), "relu2_2": (count, 5, 3, 4)}
        features = {n: _random(*shape, seed=i) for i, (n, shape) in enumerate(shapes.items())}
        grams = {n: gram_matrix(f.flip(2, 3)[:1] * 1.5 + 0.2) for n, f in features.items()}
        return features, grams, {"relu1_2": 0.5, "relu2_2": 3.0}

    return make


# --- A small training, and what is measured on it ------------------------------------------------


class SmallObjective:
    """Content and style by a network of one layer, with the interface of `fast_style.Objective`."""

    def __init__(self) -> None:
        self.extractor = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        _set(self.extractor, seed=5)
        self.extractor.requires_grad_(False)
        self.gram = gram_matrix(_random(1, 4, 5, 5, seed=9))

    @torch.no_grad()
    def content_features(self, photographs: Tensor) -> Tensor:
        return self.extractor(photographs)

    def __call__(self, paintings: Tensor, content: Tensor) -> dict[str, Tensor]:
        features = self.extractor(paintings)
        return {
            "content": (features - content).square().mean(),
            "style": (gram_matrix(features) - self.gram).square().mean(),
        }


def _set(module: nn.Module, seed: int) -> None:
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            weight.copy_(0.3 * _random(*weight.shape, seed=seed + number, shift=0.0))


def training(optimiser: Callable[..., Optimizer], rate: float) -> Callable[[], tuple[Any, ...]]:
    def make() -> tuple[Any, ...]:
        network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 3, 1))
        _set(network, seed=1)
        photographs = torch.rand(2, 3, 6, 5, generator=generator(7))
        return network, optimiser(network.parameters(), rate), SmallObjective(), photographs

    return make


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.parameters()]).clone()


AUTOGRAD = {
    "modified by an inplace operation": "The weights were changed between the painting and "
    "backward(): optimiser.step() comes last.",
    "does not require grad": "The loss does not depend on the network's weights. Is it computed "
    "from the photographs, under no_grad, or from something detached?",
}


def _stepped(answer: Callable[..., Any], *arguments: Any) -> Any:
    """The answer's loss; autograd's errors in the words of the exercise."""
    try:
        return answer(*arguments)
    except RuntimeError as error:
        for part, sentence in AUTOGRAD.items():
            if part in str(error):
                raise Unusable(sentence) from error
        raise


def three_steps(
    answer: Callable[..., Any],
    network: nn.Module,
    optimiser: Optimizer,
    objective: SmallObjective,
    photographs: Tensor,
) -> dict[str, Any]:
    """The loss before each of three steps, whose weights have moved, and how the networks are."""
    start, critic = _weights(network), _weights(objective.extractor)
    facts: dict[str, Any] = {}
    for number in (1, 2, 3):
        loss = _stepped(answer, network, optimiser, objective, photographs)
        if not isinstance(loss, Tensor | float) or torch.as_tensor(loss).numel() != 1:
            raise Unusable("Return the loss before the step: one number.")
        moved = _weights(network) - start
        facts[f"the loss (step {number})"] = torch.as_tensor(loss).detach().reshape(())
        facts[f"the network learns (step {number})"] = bool(moved.abs().max() > 0)
        facts[f"how the network's weights moved (step {number})"] = moved
    judges = objective.extractor.parameters()
    return facts | {
        "the loss network stays as it was": torch.equal(critic, _weights(objective.extractor)),
        "the loss network is still frozen": not any(each.requires_grad for each in judges),
        "the painter is still in training mode": network.training,
    }
