"""Right answers of topic 10 in other words, and what must hold for every right answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.exercises.engine import Property

Map = Callable[[Tensor], Tensor]
Answer = Callable[..., Any]

# --- The skip connection


def decode_with_a_stack(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
    rest = list(encoded)
    x = layers[0](rest.pop())
    for layer in layers[1:]:
        mirror = rest.pop()
        x = layer(torch.cat((x, mirror), 1) if skips else x)
    return x


def decode_by_recursion(layers: list[Map], encoded: list[Tensor], skips: bool = True) -> Tensor:
    if len(layers) == 1:
        return layers[0](encoded[-1])
    inner = decode_by_recursion(layers[:-1], encoded[1:], skips)
    return layers[-1](torch.concatenate([inner, encoded[0]], dim=1) if skips else inner)


def _nothing_to_join(
    answer: Answer, layers: list[Map], encoded: list[Tensor], skips: bool = True
) -> bool:
    found = answer(layers[:1], encoded[-1:], skips)
    return torch.allclose(found, layers[0](encoded[-1]), atol=1e-5)


def _outermost_joins_last(
    answer: Answer, layers: list[Map], encoded: list[Tensor], skips: bool = True
) -> bool:
    """The first layer of the encoder is seen by the last layer of the decoder, and by no other."""
    first, seen = encoded[0].detach().clone().requires_grad_(), []

    def watched(layer: Map) -> Map:
        def call(x: Tensor) -> Tensor:
            seen.append(x.requires_grad)  # whether the outermost features are in it
            return layer(x)

        return call

    answer([watched(layer) for layer in layers], [first, *encoded[1:]], skips)
    return seen == [False] * (len(layers) - 1) + [skips]


DECODE = (
    Property(
        "a decoder of one layer has nothing to join",
        _nothing_to_join,
        "A decoder of one layer gets the innermost features and nothing else.",
    ),
    Property(
        "the outermost features are seen by the last layer alone",
        _outermost_joins_last,
        "The first features of the encoder reach the last layer of the decoder, and no other one.",
    ),
)


# --- The receptive field


def seen_by_steps(convolutions: list[tuple[int, int]]) -> int:
    seen, step = 1, 1
    for kernel, stride in convolutions:
        seen += (kernel - 1) * step
        step *= stride
    return seen


def seen_by_recursion(convolutions: list[tuple[int, int]]) -> int:
    if not convolutions:
        return 1
    (kernel, stride), *behind = convolutions
    return stride * seen_by_recursion(behind) + kernel - stride


SEEN = (
    Property(
        "a 1×1 convolution of stride 1 sees no more",
        lambda answer, convolutions: (
            int(answer([(1, 1), *convolutions, (1, 1)])) == int(answer(convolutions))
        ),
        "A 1×1 convolution of stride 1, in front or behind, changes nothing.",
    ),
    Property(
        "without a convolution a logit sees its own pixel",
        lambda answer, convolutions: int(answer([])) == 1,
        "Without any convolution a logit sees one pixel: its own.",
    ),
)


# --- The objectives


def combined_by_cross_entropy(
    fake_logits: Tensor, fake: Tensor, target: Tensor, l1_weight: float
) -> Tensor:
    fooled = F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))
    return fooled + l1_weight * F.l1_loss(fake, target)


def combined_by_logsigmoid(
    fake_logits: Tensor, fake: Tensor, target: Tensor, l1_weight: float
) -> Tensor:
    distance = torch.abs(target - fake).sum() / fake.numel()
    return l1_weight * distance - F.logsigmoid(fake_logits).mean()


def _twins(answer: Answer, *arguments: Any) -> bool:
    """Twice the same batch costs what it costs once."""
    twice = [torch.cat([a, a]) if isinstance(a, Tensor) else a for a in arguments]
    return torch.allclose(answer(*twice), answer(*arguments), rtol=1e-4)


TWINS = (
    Property(
        "a batch of twins costs what one costs",
        _twins,
        "Twice the same batch must cost what it costs once: means, not sums.",
    ),
)


def judged_by_cross_entropy(
    discriminator: Map, source: Tensor, target: Tensor, fake: Tensor
) -> Tensor:
    terms = []
    for output, label in ((target, 1.0), (fake.detach(), 0.0)):
        logits = discriminator(torch.cat([source, output], dim=1))
        terms.append(F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label)))
    return torch.stack(terms).mean()


def judged_at_once(discriminator: Map, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
    outputs = torch.cat([target, fake.detach()])
    logits = discriminator(torch.cat([source.repeat(2, 1, 1, 1), outputs], dim=1))
    real, made = logits.chunk(2)
    return -0.5 * (F.logsigmoid(real) + F.logsigmoid(-made)).mean()


# --- Dropout as noise


def noise_by_apply(network: nn.Module) -> None:
    network.train(False)

    def draw(part: nn.Module) -> None:
        if isinstance(part, nn.Dropout):
            part.train()

    network.apply(draw)


def noise_by_name(network: nn.Module) -> nn.Module:
    for part in network.modules():
        part.training = type(part).__name__ == "Dropout"
    return network
