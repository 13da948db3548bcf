"""Wrong answers to the exercises of topic 08 that people write, each as code that runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coursekit import wgan

Critic = Callable[[Tensor], Tensor]

# --- The gradient penalty ------------------------------------------------------------------------


def slopes(critic: Critic, points: Tensor, *, create_graph: bool = True) -> Tensor:
    """Gradients of the scores with respect to the points, one row a point."""
    points = points.detach().requires_grad_(True)
    scores = critic(points).sum()
    (gradient,) = torch.autograd.grad(scores, points, create_graph=create_graph)
    return gradient.flatten(1)


def _between(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    return wgan.interpolate(real, fake, epsilon)


def along_the_width(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """ε of shape (N,) times (N, C, H, W): it fits the last dimension, where that is N too."""
    return (slopes(critic, epsilon * real + (1 - epsilon) * fake).norm(dim=1) - 1).square().mean()


def one_epsilon(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The first ε for the whole batch."""
    points = epsilon[0] * real + (1 - epsilon[0]) * fake
    return (slopes(critic, points).norm(dim=1) - 1).square().mean()


def batch_norm_of_gradient(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """One norm over the gradients of the whole batch."""
    return (slopes(critic, _between(real, fake, epsilon)).norm() - 1).square()


def no_graph(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """Without create_graph: the right number, from which nothing can be learned."""
    gradient = slopes(critic, _between(real, fake, epsilon), create_graph=False)
    return (gradient.norm(dim=1) - 1).square().mean()


def on_real(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The slope at the real images only."""
    return (slopes(critic, real).norm(dim=1) - 1).square().mean()


def on_fake(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The slope at the generated images only."""
    return (slopes(critic, fake).norm(dim=1) - 1).square().mean()


def squared_norm(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """(‖∇‖² − 1)²: the root is forgotten."""
    gradient = slopes(critic, _between(real, fake, epsilon))
    return (gradient.square().sum(dim=1) - 1).square().mean()


def unsquared(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """‖∇‖ − 1 without the square around it."""
    return (slopes(critic, _between(real, fake, epsilon)).norm(dim=1) - 1).mean()


def absolute(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """|‖∇‖ − 1| in place of the square."""
    return (slopes(critic, _between(real, fake, epsilon)).norm(dim=1) - 1).abs().mean()


def mean_over_elements(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The root of the mean square in place of the root of the sum."""
    gradient = slopes(critic, _between(real, fake, epsilon))
    return (gradient.square().mean(dim=1).sqrt() - 1).square().mean()


def norm_per_channel(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The norm along dim=1 of a picture that was not flattened: one for each pixel."""
    points = _between(real, fake, epsilon)
    gradient = slopes(critic, points).view_as(points)
    return (gradient.norm(dim=1) - 1).square().mean()


def mean_of_scores(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The gradient of the mean score: each slope is N times too flat."""
    gradient = slopes(critic, _between(real, fake, epsilon)) / len(real)
    return (gradient.norm(dim=1) - 1).square().mean()


def one_sided(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """max(0, ‖∇‖ − 1)²: a slope below 1 costs nothing."""
    norm = slopes(critic, _between(real, fake, epsilon)).norm(dim=1)
    return (norm - 1).clamp(min=0).square().mean()


def zero_centred(critic: Critic, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """‖∇‖², as in R1: pulled to 0, not to 1."""
    return slopes(critic, _between(real, fake, epsilon)).square().sum(dim=1).mean()


# --- Clipping ------------------------------------------------------------------------------------


def clipped(change: Callable[[str, Tensor, float], Tensor]) -> Callable[..., None]:
    """An answer to the clipping exercise that changes every parameter in its own way."""

    def wrong(critic: nn.Module, limit: float) -> None:
        with torch.no_grad():
            for name, parameter in critic.named_parameters():
                parameter.copy_(change(name, parameter, limit))

    return wrong


def linear_layers_only(critic: nn.Module, limit: float) -> None:
    for layer in critic.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data.clamp_(-limit, limit)
            layer.bias.data.clamp_(-limit, limit)


def parameters_replaced(critic: nn.Module, limit: float) -> None:
    for layer in critic.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(parameter.detach().clamp(-limit, limit)))


def frozen(critic: nn.Module, limit: float) -> None:
    for parameter in critic.parameters():
        parameter.requires_grad_(False).clamp_(-limit, limit)
