"""Small problems for the exercises of topic 07 on networks, and what is measured on them.

A measure runs an answer that returns a module, changes one or trains, and returns what is
compared with the reference's, by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coursekit.core.runtime import generator as randomness
from coursekit.exercises.engine import Unusable

Answer = Callable[..., Any]
Facts = dict[str, "Tensor | int | bool"]

# --- Small problems ------------------------------------------------------------------------------


def _numbers(*shape: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=randomness(seed)) + shift


def _filled(module: nn.Module, seed: int) -> nn.Module:
    """The same weights every time, whatever the state of the global random numbers."""
    random = randomness(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=random))
    return module


def points() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """G makes points of the plane; 5 real ones, z of 3."""
    generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    discriminator = nn.Sequential(
        nn.Linear(2, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1), nn.Flatten(0)
    )
    networks = _filled(generator, 1), _filled(discriminator, 2)
    return *networks, _numbers(5, 2, seed=3, shift=1), _numbers(3, 3, seed=4)


def pictures() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """G makes pictures of 4×4 pixels; 2 real ones, z of 4."""
    generator = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), nn.ConvTranspose2d(3, 1, 4), nn.Tanh())
    discriminator = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(3, 1, 4), nn.Flatten(0)
    )
    networks = _filled(generator, 5), _filled(discriminator, 6)
    return *networks, _numbers(2, 1, 4, 4, seed=7, shift=0.5), _numbers(4, 3, seed=8)


def game(
    problem: Callable[[], tuple[nn.Module, nn.Module, Tensor, Tensor]],
    optimiser: Callable[..., Optimizer],
    *rates: float,
) -> Callable[[], tuple[Any, ...]]:
    """The arguments of a round, with the optimisers' rates for G and D."""

    def make() -> tuple[Any, ...]:
        generator, discriminator, real, z = problem()
        networks = generator, discriminator
        optimisers = [optimiser(n.parameters(), r) for n, r in zip(networks, rates, strict=True)]
        return *networks, *optimisers, real, z

    return make


def adam(parameters: Any, rate: float) -> Optimizer:
    """Adam as the topic uses it."""
    return torch.optim.Adam(parameters, rate, betas=(0.5, 0.999))


def network() -> tuple[nn.Module]:
    """Layers of every kind, some of them nested, and biases that are not 0 or not there."""
    inner = nn.Sequential(nn.Conv2d(64, 64, 4), nn.LeakyReLU(0.2), nn.Linear(256, 256))
    outer = nn.Sequential(
        nn.ConvTranspose2d(64, 64, 4, bias=False), nn.BatchNorm2d(65536), nn.ReLU(), inner
    )
    random = randomness(0)
    with torch.no_grad():
        for part in outer.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                part.weight.copy_(torch.rand(part.weight.shape, generator=random) / 10 - 0.05)
            bias = getattr(part, "bias", None)
            if bias is not None:
                bias.fill_(0.5)
    return (outer,)


def one_layer() -> tuple[nn.Module]:
    """One convolution, wide enough for its weights to be measured."""
    layer = nn.Conv2d(64, 64, 4)
    return (_filled(layer, 9),)


# --- What is measured ----------------------------------------------------------------------------


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def _number(value: Any, name: str) -> Tensor:
    """One number as a tensor without shape."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    if isinstance(value, float | int):
        return torch.tensor(float(value))
    found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise Unusable(f"Expected {name} as one number, got {found}.")


def _gradient(loss: Tensor, module: nn.Module) -> Tensor:
    """The gradient of all weights in one row; 0 where none arrives."""
    weights = [p for p in module.parameters() if p.requires_grad]
    if not loss.requires_grad or not weights:
        return torch.zeros_like(_weights(module))
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    pairs = zip(weights, found, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def reached(
    answer: Answer, generator: nn.Module, discriminator: nn.Module, real: Tensor, z: Tensor
) -> Facts:
    """The loss, and which weights its gradient reaches."""
    loss = _number(answer(generator, discriminator, real, z), "the loss")
    both = [*generator.parameters(), *discriminator.parameters()]
    if any(parameter.grad is not None for parameter in both):
        raise Unusable("Return the loss and leave .backward() to the caller.")
    return {
        "the loss": loss.detach(),
        "the discriminator's gradient": _gradient(loss, discriminator),
        "the generator's gradient": _gradient(loss, generator),
        "all weights can still learn": all(parameter.requires_grad for parameter in both),
        **_modes(generator, discriminator),
    }


def _modes(generator: nn.Module, discriminator: nn.Module) -> Facts:
    """Whether a network was left in eval(), where batch normalisation does something else."""
    return {
        "the generator is still in training mode": generator.training,
        "the discriminator is still in training mode": discriminator.training,
    }


def block_facts(answer: Answer, before: int, after: int) -> Facts:
    """How the block is made, and what it computes with weights that are given."""
    block = answer(before, after)
    if not isinstance(block, nn.Module):
        found = block.__name__ if isinstance(block, type) else type(block).__name__
        raise Unusable(f"Expected a module, such as torch.nn.Sequential(…), got {found}.")
    _set_weights(block)
    output = block(_numbers(2, before, 5, 3, seed=1))
    if not isinstance(output, Tensor):
        raise Unusable(f"The block's output is no tensor but {type(output).__name__}.")
    return {
        "transposed convolutions": _count(block, nn.ConvTranspose2d),
        "batch normalisations": _count(block, nn.BatchNorm2d),
        "parameters": sum(parameter.numel() for parameter in block.parameters()),
        "negative values come out": bool((output < 0).any()),
        "the output": output.detach(),
    }


def _count(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


def _set_weights(block: nn.Module) -> None:
    """Weights that depend on their shape alone, not on the order in which layers were declared."""
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.6 * _numbers(*parameter.shape, seed=2))
        for part in block.modules():
            if isinstance(part, nn.BatchNorm2d) and part.affine:
                part.weight.copy_(torch.linspace(0.5, 1.5, part.num_features))
                part.bias.copy_(torch.linspace(-0.4, 0.6, part.num_features))


def statistics(answer: Answer, module: nn.Module) -> Facts:
    """How each layer's weights are distributed, its largest bias, and whether they can learn."""
    before = list(module.parameters())
    answer(module)
    after = list(module.parameters())
    facts: Facts = {}
    for part in module.modules():
        name = type(part).__name__
        weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
        if weight is not None:
            # Around 0, so that the tolerance follows the deviation.
            middle = 1.0 if isinstance(part, nn.BatchNorm2d) else 0.0
            around = weight.detach() - middle
            moments = f"{name}: mean - {middle:.0f} and deviation of the weights"
            facts[moments] = torch.stack([around.mean(), around.std()])
            within = f"{name}: share of the weights within one deviation"
            facts[within] = (around.abs() < 0.02).float().mean()
        if bias is not None:
            facts[f"{name}: largest bias"] = bias.detach().abs().max()
    same = len(before) == len(after) and all(map(operator.is_, before, after))
    facts["the parameters are still the same objects"] = same
    facts["all weights can still learn"] = all(each.requires_grad for each in after)
    return facts


AUTOGRAD = {
    "modified by an inplace operation": "The generator's loss was computed before the "
    "discriminator's step, which has changed the weights since. Ask the discriminator again "
    "after its step.",
    "backward through the graph a second time": "The discriminator's backward() went through the "
    "generator as well and used up its graph. Detach the images in the discriminator's step.",
}


def _played(answer: Answer, *players: Any) -> tuple[Any, Any]:
    """Both losses of a round; autograd's errors in the words of the game."""
    try:
        losses = answer(*players)
    except RuntimeError as error:
        for part, sentence in AUTOGRAD.items():
            if part in str(error):
                raise Unusable(sentence) from error
        raise
    if not isinstance(losses, tuple | list) or len(losses) != 2:
        raise Unusable("Expected two losses, the discriminator's and the generator's.")
    return losses[0], losses[1]


def three_rounds(
    answer: Answer,
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: Optimizer,
    d_optimiser: Optimizer,
    real: Tensor,
    z: Tensor,
) -> Facts:
    """Both losses and how far the weights have moved after rounds 1 and 3."""
    networks = {"discriminator": discriminator, "generator": generator}
    starts = {name: _weights(network) for name, network in networks.items()}
    facts: Facts = {}
    for number in (1, 2, 3):
        players = generator, discriminator, g_optimiser, d_optimiser, real, z
        losses = _played(answer, *players)
        for (name, network), loss in zip(networks.items(), losses, strict=True):
            moved = _weights(network) - starts[name]
            facts[f"the {name} learns (round {number})"] = bool(moved.abs().max() > 0)
            facts[f"the {name}'s loss (round {number})"] = _number(loss, "each loss").detach()
            facts[f"how the {name}'s weights moved (round {number})"] = moved
    return facts | _modes(generator, discriminator)
