"""What the exercises of topic 05 are tried on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core.runtime import generator


def maps(*shape: int, seed: int) -> Tensor:
    """Features whose channels correlate, with sizes and means of their own."""
    random = generator(seed)
    n, c, h, w = shape
    mix = 0.4 * torch.randn(n, c, c, generator=random) + torch.eye(c)
    mix = mix * torch.linspace(0.7, 1.8, c).view(1, c, 1)
    means = torch.linspace(2, -1, c).view(1, c, 1) * torch.arange(1, n + 1).view(n, 1, 1)
    return (mix @ torch.randn(n, c, h * w, generator=random) + means).view(shape)


def stacks(*shapes: tuple[int, ...]) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(maps(*shape, seed=index) for index, shape in enumerate(shapes))


def nearly_repeated_channel() -> tuple[Tensor]:
    """One direction has about 1e-7 of the largest variance."""
    features = maps(1, 5, 6, 9, seed=4)
    noise = 0.002 * torch.randn(1, 6, 9, generator=generator(17))
    features[:, 3] = features[:, 0] - features[:, 1] + noise
    return (features,)


def weak_second() -> tuple[Tensor]:
    """A batch in which one threshold cannot serve both pictures."""
    features = maps(2, 5, 6, 9, seed=18)
    features[1] *= 1e-3
    return (features,)


def white(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def one_style() -> tuple[Tensor, Tensor]:
    return white(3, 4, 5, 6, seed=5), maps(1, 4, 7, 4, seed=6)


def two_styles() -> tuple[Tensor, Tensor]:
    return white(2, 4, 3, 8, seed=7), maps(2, 4, 9, 6, seed=8)


def poor_style() -> tuple[Tensor, Tensor]:
    """A style of rank 3: rounding leaves some of the other nine eigenvalues below 0."""
    style = maps(1, 12, 1, 4, seed=19)
    style[:, (2, 7)] = 0
    return white(2, 12, 3, 5, seed=20), style


def blended(strength: float) -> Callable[[], tuple[Tensor, Tensor, float]]:
    return lambda: (maps(2, 3, 4, 5, seed=9), maps(2, 3, 4, 5, seed=10), strength)


def several(*shares: float) -> Callable[[], tuple[list[Tensor], list[float]]]:
    return lambda: ([maps(2, 3, 4, 5, seed=11 + k) for k in range(len(shares))], list(shares))


def masked(height: int, width: int) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    def make() -> tuple[Tensor, Tensor, Tensor]:
        mask = torch.rand(1, 1, height, width, generator=generator(14))
        mask = (mask + torch.linspace(-0.3, 0.6, width)).clamp(0, 1).square()
        return maps(2, 3, 4, 6, seed=12), maps(2, 3, 4, 6, seed=13), mask

    return make


def encode(picture: Tensor, level: int) -> Tensor:
    """A toy encoder: smaller maps and other channels the deeper the level."""
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator(level)))[0]
    pooled = F.avg_pool2d(picture, level) if level > 1 else picture
    return torch.einsum("dc,nchw->ndhw", turn, pooled)


def decode(features: Tensor, level: int) -> Tensor:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator(level)))[0]
    picture = torch.einsum("cd,nchw->ndhw", turn, features)
    return F.interpolate(picture, scale_factor=level) if level > 1 else picture


def toy_transform(content: Tensor, style: Tensor) -> Tensor:
    """Mean and deviation over all positions and channels: enough to see what goes where."""
    shifted = content - content.mean((2, 3), keepdim=True)
    return 1.3 * shifted + style.mean((2, 3), keepdim=True)


def levels(*levels: int) -> Callable[[], tuple[object, ...]]:
    def make() -> tuple[object, ...]:
        content = torch.rand(2, 3, 12, 24, generator=generator(15))
        style = torch.rand(1, 3, 24, 12, generator=generator(16)).square()
        styles = {level: (1 + 0.2 * level) * encode(style, level) for level in (1, 2, 3, 4)}
        return content, styles, encode, decode, toy_transform, levels

    return make
