"""Wrong implementations that people write in topic 14, for the catalogue of named mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit.exercises.spade_cases import Map, Norm, Opinion

Answer = Callable[..., Any]
Losses = dict[str, Tensor]

# --- The layer -----------------------------------------------------------------------------------


def _times(normal: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return normal * (1 + gamma) + beta


def modulate_with(
    *,
    over: tuple[int, ...] = (0, 2, 3),
    correction: int = 0,
    divisor: Callable[[Tensor, float], Tensor] = lambda variance, eps: (variance + eps).sqrt(),
    centred: bool = True,
    statistics: Map = lambda value: value,
    modulate: Callable[[Tensor, Tensor, Tensor], Tensor] = _times,
) -> Answer:
    """The layer with one thing wrong."""

    def wrong(features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5) -> Tensor:
        variance, mean = torch.var_mean(features, dim=over, keepdim=True, correction=correction)
        variance, mean = statistics(variance), statistics(mean)
        normal = (features - mean if centred else features) / divisor(variance, epsilon)
        return modulate(normal, gamma, beta)

    return wrong


def _whole_picture(values: Tensor) -> Tensor:
    return values.mean(dim=(2, 3), keepdim=True)


INSTANCE = modulate_with(over=(2, 3))
LAYER = modulate_with(over=(1, 2, 3))
PIXEL = modulate_with(over=(1,))
UNBIASED = modulate_with(correction=1)
NOT_CENTRED = modulate_with(centred=False)
BY_THE_VARIANCE = modulate_with(divisor=lambda variance, eps: variance + eps)
EPSILON_OUTSIDE = modulate_with(divisor=lambda variance, eps: variance.sqrt() + eps)
EPSILON_FORGOTTEN = modulate_with(divisor=lambda variance, eps: (variance + 1e-12).sqrt())
EPSILON_FIXED = modulate_with(divisor=lambda variance, eps: (variance + 1e-5).sqrt())
STATISTICS_DETACHED = modulate_with(statistics=Tensor.detach)
GAMMA_ALONE = modulate_with(modulate=lambda normal, gamma, beta: normal * gamma + beta)
BETA_SCALED = modulate_with(modulate=lambda normal, gamma, beta: (normal + beta) * (1 + gamma))
EXCHANGED = modulate_with(modulate=lambda normal, gamma, beta: _times(normal, beta, gamma))
ONE_FOR_ALL = modulate_with(
    modulate=lambda normal, gamma, beta: _times(normal, _whole_picture(gamma), _whole_picture(beta))
)


def modulated_first(features: Tensor, gamma: Tensor, beta: Tensor, epsilon: float = 1e-5) -> Tensor:
    return F.batch_norm(_times(features, gamma, beta), None, None, training=True, eps=epsilon)


# --- Label maps ----------------------------------------------------------------------------------

Size = tuple[int, int]


def _planes(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def resized_with(resize: Callable[[Tensor, Size], Tensor]) -> Answer:
    """Planes that are made right, then resized wrong."""

    def wrong(labels: Tensor, classes: int, size: Size) -> Tensor:
        return resize(_planes(labels, classes), size)

    return wrong


BILINEAR = resized_with(lambda planes, size: F.interpolate(planes, size, mode="bilinear"))
AREA = resized_with(F.adaptive_avg_pool2d)
LARGEST = resized_with(F.adaptive_max_pool2d)
MIDDLE = resized_with(lambda planes, size: F.interpolate(planes, size, mode="nearest-exact"))
WIDTH_FIRST = resized_with(lambda planes, size: F.interpolate(planes, size[::-1]))
CUT_OUT = resized_with(
    lambda planes, size: F.pad(planes, (0, size[1] - planes.shape[3], 0, size[0] - planes.shape[2]))
)


def numbers_mixed(labels: Tensor, classes: int, size: Size) -> Tensor:
    small = F.interpolate(labels[:, None].float(), size, mode="bilinear")
    return _planes(small[:, 0].round().long(), classes)


def channels_last(labels: Tensor, classes: int, size: Size) -> Tensor:
    return F.interpolate(_planes(labels, classes), size).permute(0, 2, 3, 1)


def viewed(labels: Tensor, classes: int, size: Size) -> Tensor:
    planes = F.one_hot(labels, classes).view(len(labels), classes, *labels.shape[1:])
    return F.interpolate(planes.float(), size)


def whole_numbers(labels: Tensor, classes: int, size: Size) -> Tensor:
    return F.interpolate(_planes(labels, classes), size).long()


def classes_of_the_map(labels: Tensor, classes: int, size: Size) -> Tensor:
    return F.interpolate(_planes(labels, int(labels.max()) + 1), size)


# --- Hinge ---------------------------------------------------------------------------------------


def _mean_of(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).mean()


def _last(opinion: Opinion) -> list[Tensor]:
    return [scale[-1] for scale in opinion]


def hinge_with(
    *,
    real: Map = lambda logits: F.relu(1 - logits).mean(),
    fake: Map = lambda logits: F.relu(1 + logits).mean(),
    wanted: Map = lambda logits: -logits.mean(),
    pick: Callable[[Opinion], list[Tensor]] = _last,
    over: Callable[[list[Tensor]], Tensor] = _mean_of,
    half: float = 1.0,
) -> Answer:
    """Hinge losses with one thing wrong."""

    def wrong(real_opinion: Opinion, fake_opinion: Opinion) -> Losses:
        ours, theirs = pick(real_opinion), pick(fake_opinion)
        d_loss = over([real(x) + fake(y) for x, y in zip(ours, theirs, strict=True)])
        return {"d_loss": half * d_loss, "g_loss": over([wanted(y) for y in theirs])}

    return lambda real, fake: wrong(real, fake)


def _joined(opinion: Opinion) -> list[Tensor]:
    return [torch.cat([scale[-1].flatten() for scale in opinion])]


NO_MARGIN = hinge_with(real=lambda logits: -logits.mean(), fake=lambda logits: logits.mean())
MARGIN_OF_ZERO = hinge_with(
    real=lambda logits: F.relu(-logits).mean(), fake=lambda logits: F.relu(logits).mean()
)
SIDES_SWAPPED = hinge_with(
    real=lambda logits: F.relu(1 + logits).mean(), fake=lambda logits: F.relu(1 - logits).mean()
)
CROSS_ENTROPY = hinge_with(
    real=lambda logits: F.softplus(-logits).mean(),
    fake=lambda logits: F.softplus(logits).mean(),
    wanted=lambda logits: F.softplus(-logits).mean(),
)
HINGE_OF_THE_MEAN = hinge_with(
    real=lambda logits: F.relu(1 - logits.mean()), fake=lambda logits: F.relu(1 + logits.mean())
)
HINGE_SQUARED = hinge_with(
    real=lambda logits: F.relu(1 - logits).square().mean(),
    fake=lambda logits: F.relu(1 + logits).square().mean(),
)
GENERATORS_HINGE = hinge_with(wanted=lambda logits: F.relu(1 - logits).mean())
GENERATORS_SIGN = hinge_with(wanted=torch.mean)
SCALES_SUMMED = hinge_with(over=lambda parts: torch.stack(parts).sum())
SCALES_JOINED = hinge_with(pick=_joined)
FIRST_SCALE = hinge_with(pick=lambda opinion: [opinion[0][-1]])
FIRST_LAYER = hinge_with(pick=lambda opinion: [scale[0] for scale in opinion])
ALL_LAYERS = hinge_with(pick=lambda opinion: [layer for scale in opinion for layer in scale])
D_HALVED = hinge_with(half=0.5)


# --- Feature matching ----------------------------------------------------------------------------


def match_with(
    *,
    distance: Callable[[Tensor, Tensor], Tensor] = F.l1_loss,
    layers: Callable[[Sequence[Tensor]], Sequence[Tensor]] = lambda scale: scale[:-1],
    over_layers: Callable[[Tensor], Tensor] = torch.sum,
    over_scales: Callable[[Tensor], Tensor] = torch.mean,
    scales: slice = slice(None),
    target: Map = Tensor.detach,
    made: Map = lambda features: features,
) -> Answer:
    """Feature matching with one thing wrong."""

    def wrong(real: Opinion, fake: Opinion) -> Tensor:
        found = []
        for ours, theirs in zip(real[scales], fake[scales], strict=True):
            pairs = zip(layers(ours), layers(theirs), strict=True)
            found.append(over_layers(torch.stack([distance(made(y), target(x)) for x, y in pairs])))
        return over_scales(torch.stack(found))

    return wrong


LOGITS_TOO = match_with(layers=lambda scale: scale)
LOGITS_ALONE = match_with(layers=lambda scale: scale[-1:])
LAST_FEATURES = match_with(layers=lambda scale: scale[-2:-1])
MATCH_SQUARED = match_with(distance=F.mse_loss)
MATCH_SUMMED = match_with(distance=lambda y, x: (y - x).abs().sum())
MATCH_SIGNED = match_with(distance=lambda y, x: (y - x).mean())
MEANS_MATCHED = match_with(distance=lambda y, x: (y.mean(dim=0) - x.mean(dim=0)).abs().mean())
LAYERS_AVERAGED = match_with(over_layers=torch.mean)
MATCH_SCALES_SUMMED = match_with(over_scales=torch.sum)
MATCH_FIRST_SCALE = match_with(scales=slice(1))
REAL_NOT_DETACHED = match_with(target=lambda features: features)
FAKE_DETACHED = match_with(made=lambda features: features.detach() + 0 * features)


# --- KL ------------------------------------------------------------------------------------------


def kl_with(
    each: Callable[[Tensor, Tensor], Tensor] = lambda m, v: m.square() + v.exp() - v - 1,
    reduced: Map = lambda terms: terms.sum(dim=1).mean(),
    half: float = 0.5,
) -> Answer:
    """The divergence with one thing wrong."""

    def wrong(mean: Tensor, log_variance: Tensor) -> Tensor:
        return half * reduced(each(mean, log_variance))

    return wrong


NO_HALF = kl_with(half=1.0)
SIGN_TURNED = kl_with(half=-0.5)
CODE_AVERAGED = kl_with(reduced=torch.mean)
BATCH_SUMMED = kl_with(reduced=torch.sum)
LOG_SIGMA = kl_with(lambda m, v: m.square() + (2 * v).exp() - 2 * v - 1)
SIGMA_FOR_VARIANCE = kl_with(lambda m, v: m.square() + (v / 2).exp() - v - 1)
LOG_LEFT_OUT = kl_with(lambda m, v: m.square() + v.exp() - 1)
ONE_LEFT_OUT = kl_with(lambda m, v: m.square() + v.exp() - v)
MEAN_NOT_SQUARED = kl_with(lambda m, v: m.abs() + v.exp() - v - 1)
OTHER_DIRECTION = kl_with(lambda m, v: (1 + m.square()) / v.exp() + v - 1)
LENGTHS = kl_with(lambda m, v: m.square() + v.square())


# --- The residual block --------------------------------------------------------------------------

Layers = Sequence[Callable[..., Tensor]]


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _norm_relu_convolution(norm: Norm, convolution: Map, x: Tensor, planes: Tensor) -> Tensor:
    return convolution(_leaky(norm(x, planes)))


def _learned(norm: Norm, shortcut: Map, x: Tensor, planes: Tensor) -> Tensor:
    return shortcut(norm(x, planes))


def block_with(
    *,
    half: Callable[[Norm, Map, Tensor, Tensor], Tensor] = _norm_relu_convolution,
    learned: Callable[[Norm, Map, Tensor, Tensor], Tensor] = _learned,
    numbers: tuple[int, int] = (0, 1),
    join: Callable[[Tensor, Tensor], Tensor] = torch.add,
    late: bool = False,
) -> Answer:
    """A residual block with one thing wrong."""

    def wrong(
        x: Tensor,
        planes: Tensor,
        norms: Layers,
        convolutions: Layers,
        shortcut_norm: Norm | None = None,
        shortcut: Map | None = None,
    ) -> Tensor:
        way = x
        for number, convolution in zip(numbers, convolutions, strict=True):
            way = half(norms[number], convolution, way, planes)
        straight = way if late else x
        if shortcut is not None and shortcut_norm is not None:
            straight = learned(shortcut_norm, shortcut, straight, planes)
        return join(straight, way)

    return wrong


CONVOLVED_FIRST = block_with(half=lambda n, c, x, planes: _leaky(n(c(x), planes)))
ACTIVATED_FIRST = block_with(half=lambda n, c, x, planes: c(n(_leaky(x), planes)))
NO_ACTIVATION = block_with(half=lambda n, c, x, planes: c(n(x, planes)))
RELU = block_with(half=lambda n, c, x, planes: c(F.relu(n(x, planes))))
DEFAULT_SLOPE = block_with(half=lambda n, c, x, planes: c(F.leaky_relu(n(x, planes))))
SHORTCUT_NOT_NORMALISED = block_with(learned=lambda n, s, x, planes: s(x))
SHORTCUT_ACTIVATED = block_with(learned=lambda n, s, x, planes: s(_leaky(n(x, planes))))
SHORTCUT_TURNED = block_with(learned=lambda n, s, x, planes: n(s(x), planes))
SAME_NORM_TWICE = block_with(numbers=(0, 0))
NORMS_EXCHANGED = block_with(numbers=(1, 0))
SHORTCUT_LATE = block_with(late=True)
NO_SHORTCUT = block_with(join=lambda straight, way: way)
AVERAGED = block_with(join=lambda straight, way: (straight + way) / 2)
ACTIVATED_LAST = block_with(join=lambda straight, way: _leaky(straight + way))
SHORTCUT_DETACHED = block_with(join=lambda straight, way: straight.detach() + way)
