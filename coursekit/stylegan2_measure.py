"""Topic 13, measured: FID, perceptual path length, linear separability, and diversity by factor.

The factors of rendered faces are known, and the course's recogniser reads them off generated
pictures: what Karras et al. 2019 (section 4) ask of Z and W is answered with intervals.

Source: none; measures of this course.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from coursekit import dcgan
from coursekit.core import metrics, runtime
from coursekit.core.errors import SettingError
from coursekit.core.estimates import LEVEL, Estimate, Score, mean_interval, proportion
from coursekit.datasets.faces import FACTORS, faces
from coursekit.dcgan_latent import slerp
from coursekit.progan_layers import pixel_norm
from coursekit.stylegan2_networks import Generator
from coursekit.stylegan2_styles import draw_w, pictures

if TYPE_CHECKING:
    from coursekit.core.recogniser import Recogniser

SPACES = ("z", "w")
HELD_OUT = 1200  # the seed of the faces that nothing is trained on
COUNT = 5000
Distance = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def in_float32(generator: Generator) -> Iterator[None]:
    """Inside, the layers work in float32: differences of pictures need all the digits."""
    before, generator.synthesis.precision = generator.synthesis.precision, "float32"
    try:
        yield
    finally:
        generator.synthesis.precision = before


# --- FID -----------------------------------------------------------------------------------------


def real_statistics(count: int = COUNT, size: int = 64) -> metrics.RealStatistics:
    """Held-out rendered faces, ``size`` pixels a side, as the course's face recogniser sees them.

    Raises:
        WeightsError: the recogniser is missing or damaged.
    """
    images = faces(count, size, seed=HELD_OUT).fields["image"]
    return metrics.RealStatistics(images, metrics.recogniser_extractor("faces"))


def sampler(generator: Generator) -> metrics.Generate:
    """The generator as `core.metrics.fid_of` asks for it; the noise is the fixed one."""

    def draw(count: int, random: torch.Generator) -> Tensor:
        z = torch.randn(count, generator.latent, generator=random)
        device = next(generator.parameters()).device
        with torch.no_grad():
            return pictures(generator, generator.mapping(z.to(device)))

    return draw


def fid(
    generator: Generator, real: metrics.RealStatistics, *, count: int = 2000, draws: int = 3
) -> Score:
    """FID (Heusel et al. 2017) with an interval over draws, and the extractor's name; ψ = 1."""
    return metrics.fid_of(sampler(generator), real, count=count, draws=draws)


# --- Perceptual path length ----------------------------------------------------------------------


@torch.no_grad()
def path_length(
    generator: Generator,
    distance: Distance,
    space: str = "w",
    *,
    count: int = 500,
    epsilon: float = 1e-4,
    ends: bool = False,
    batch: int = 50,
    seed: int = 0,
) -> Estimate:
    """E[d(g(t), g(t + ε)) / ε²] along random walks (Karras et al. 2019, equations 2 and 3).

    In Z the walk is a `slerp` of two normalised z, in W a straight line between two w. The noise is
    the fixed one, so that styles alone move the picture. Differs from the paper: the whole picture
    counts, not a crop of the face, because a rendered face fills it.

    Args:
        generator: computes in float32 here.
        distance: (N, C, S, S) twice, in [0, 1] → (N,), such as `core.perceptual.LPIPS`.
        space: ``"z"`` or ``"w"``.
        count: pairs.
        epsilon: ε.
        ends: t = 0 instead of t even in [0, 1].
        batch: pairs at once.
        seed: of the pairs and of t; the same pairs of z for both spaces.

    Returns:
        The mean with Student's t interval.

    Raises:
        SettingError: no such space.
    """
    if space not in SPACES:
        raise SettingError(f"There is no {space=}; choose from {', '.join(SPACES)}.")
    random = runtime.generator(seed)
    first, second = (torch.randn(count, generator.latent, generator=random) for _ in range(2))
    place = torch.rand(count, 1, generator=random) * (not ends)
    device, found = next(generator.parameters()).device, []
    with in_float32(generator):
        for a, b, t in zip(*(each.split(batch) for each in (first, second, place)), strict=True):
            a, b, t = a.to(device), b.to(device), t.to(device)
            near, far = _two_places(generator, space, a, b, t, epsilon)
            found.append(distance(_unclamped(generator, near), _unclamped(generator, far)))
    steps = torch.cat(found).double().cpu() / epsilon**2
    return mean_interval(steps, name=f"perceptual path length in {space.upper()}")


def _two_places(
    generator: Generator, space: str, a: Tensor, b: Tensor, t: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """w at t and at t + ε."""
    if space == "w":
        a, b = generator.mapping(a), generator.mapping(b)
        return torch.lerp(a, b, t), torch.lerp(a, b, t + epsilon)
    a, b = pixel_norm(a), pixel_norm(b)  # of one length, so that the walk has one speed
    return generator.mapping(slerp(a, b, t)), generator.mapping(slerp(a, b, t + epsilon))


def _unclamped(generator: Generator, w: Tensor) -> Tensor:
    """Pictures about in [0, 1]: a clamp would hide steps at black and white."""
    return dcgan.to_unit(generator.synthesis(w, noise="const"))


# --- Linear separability -------------------------------------------------------------------------


@dataclass(frozen=True)
class Separability:
    """How well one plane tells an attribute's two sides apart, in Z or in W.

    Attributes:
        space: ``"z"`` or ``"w"``.
        entropy: by attribute, the conditional entropy H(Y | X) in nats on held-out points: Y is
            what the recogniser reads, X the side of the plane. 0 is perfect.
        accuracy: by attribute, how often X is Y on held-out points.
        score: exp(Σ H(Y | X)) over the attributes (2019, section 4.2); 1 is perfect.
    """

    space: str
    entropy: dict[str, Estimate]
    accuracy: dict[str, Estimate]
    score: Estimate


def separability(
    generator: Generator,
    recogniser: Recogniser,
    *,
    count: int = 4000,
    resamples: int = 300,
    seed: int = 0,
) -> dict[str, Separability]:
    """Linear separability of Z and of W on the same samples.

    For every binary attribute and every real one (cut at its median), the more certain half of the
    samples is kept; a linear SVM is fitted on half of those and judged on the other half.

    Differs from Karras et al. 2019: 4,000 samples instead of 200,000, and therefore judged on
    points that the plane was not fitted to; six or so attributes instead of 40.

    Args:
        generator, recogniser: of faces.
        count: samples.
        resamples: of the bootstrap over held-out points.
        seed: of the samples, the halves and the bootstrap.

    Returns:
        By space. An attribute that the generator shows in fewer than 2 % of the certain samples,
        or in more than 98 %, is left out, because there is nothing to separate.

    Raises:
        SettingError: no attribute is left.
    """
    z = dcgan.sample_latent(count, generator.latent, seed=seed)
    w = draw_w(generator, count, seed=seed)
    images = pictures(generator, w)
    sides = certain_sides(recogniser, images)
    if not sides:
        raise SettingError("Every sample has the same attributes: there is nothing to separate.")
    return {
        space: _separability(space, points, sides, resamples, seed)
        for space, points in (("z", z), ("w", w))
    }


def certain_sides(recogniser: Recogniser, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """By attribute: indices of the more certain half of the images, and their side, 0 or 1.

    As in Karras et al. 2019, section 4.2. Images are (N, 3, H, W) in [0, 1]; indices and sides are
    two of (N // 2,).
    """
    read, likely = recogniser.predict(images), recogniser.probabilities(images)
    found = {}
    for name, kind in recogniser.spec.items():
        if isinstance(kind, int):
            continue
        value = likely[name] if kind == "binary" else read[name]
        middle = 0.5 if kind == "binary" else float(value.median())
        order = (value - middle).abs().argsort(descending=True)[: len(images) // 2]
        side = (value[order] > middle).long()
        if 0.02 < float(side.float().mean()) < 0.98:
            found[name] = order, side
    return found


def _separability(
    space: str,
    points: Tensor,
    sides: Mapping[str, tuple[Tensor, Tensor]],
    resamples: int,
    seed: int,
) -> Separability:
    random = np.random.default_rng(seed)
    entropy, accuracy, drawn = {}, {}, []
    for name, (chosen, side) in sides.items():
        judged, said = _judged(points[chosen].numpy(), side.numpy(), random)
        order = random.integers(0, len(judged), (resamples, len(judged)))
        runs = np.array([conditional_entropy(judged[each], said[each]) for each in order])
        entropy[name] = _bootstrapped(name, conditional_entropy(judged, said), runs, len(judged))
        accuracy[name] = proportion(int((judged == said).sum()), len(judged), name=name)
        drawn.append(runs)
    total = math.exp(sum(each.value for each in entropy.values()))
    count = sum(each.count for each in entropy.values())
    score = _bootstrapped("separability", total, np.exp(np.sum(drawn, axis=0)), count)
    return Separability(space, entropy, accuracy, score)


def _judged(
    points: np.ndarray, side: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The true and the predicted side of the half that the plane was not fitted to."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    order = random.permutation(len(side))
    fitted, held_out = np.array_split(order, 2)
    plane = make_pipeline(StandardScaler(), LinearSVC(C=0.01, dual=False))
    plane.fit(points[fitted], side[fitted])
    return side[held_out], plane.predict(points[held_out])


def conditional_entropy(truth: np.ndarray, said: np.ndarray) -> float:
    """H(Y | X) in nats: how much is unknown about the truth (0/1) once the prediction is known.

    Karras et al. 2019, section 4.2.
    """
    total = 0.0
    for each in (0, 1):
        there = truth[said == each]
        for share in (there.mean(), 1 - there.mean()) if len(there) else ():
            total -= len(there) / len(truth) * share * math.log(share) if share else 0.0
    return total


def _bootstrapped(name: str, value: float, runs: np.ndarray, count: int) -> Estimate:
    low, high = np.quantile(runs, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(name, value, (float(low), float(high)), count)


# --- Diversity -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """One value of one factor: how often it is read off real and off generated faces."""

    factor: str
    value: str
    real: Estimate
    generated: Estimate

    @property
    def ratio(self) -> float:
        """Generated / real."""
        return self.generated.value / self.real.value


@dataclass(frozen=True)
class Coverage:
    """Which values of the known factors a generator still draws.

    Attributes:
        shares: of every value that at least ``least`` of the real faces have.
        least: see there.
    """

    shares: list[Share]
    least: float

    @property
    def lost(self) -> list[Share]:
        """Values that keep less than half their frequency."""
        return [share for share in self.shares if share.ratio < 0.5]

    @property
    def rarest(self) -> Share:
        """The value that lost most."""
        return min(self.shares, key=lambda share: share.ratio)


def coverage(
    generator: Generator,
    recogniser: Recogniser,
    *,
    count: int = COUNT,
    least: float = 0.05,
    seed: int = 0,
) -> Coverage:
    """Draw ``count`` samples without truncation and read every factor the recogniser knows.

    Real-valued factors are cut in three at the thirds of the real faces. The real faces are read
    by the recogniser too: its errors are then on both sides.

    Args:
        generator, recogniser: of faces.
        count: samples, and held-out real faces.
        least: values that are rarer than this among the real faces are not asked for.
        seed: of the samples.
    """
    size = generator.synthesis.sizes.size
    real = recogniser.predict(faces(count, size, seed=HELD_OUT).fields["image"])
    made = recogniser.predict(pictures(generator, draw_w(generator, count, seed=seed)))
    return compared(recogniser.spec, real, made, least)


def compared(
    spec: Mapping[str, int | str],
    real: Mapping[str, Tensor],
    made: Mapping[str, Tensor],
    least: float = 0.05,
) -> Coverage:
    """`coverage` of readings (N,) by factor."""
    shares = []
    for factor, kind in spec.items():
        one, other, names = real[factor], made[factor], value_names(factor, kind)
        if kind == "regression":
            edges = one.quantile(torch.tensor([1 / 3, 2 / 3]))
            one, other = torch.bucketize(one, edges), torch.bucketize(other, edges)
        for number, name in enumerate(names):
            first, second = (
                proportion(int((each == number).sum()), len(each), name=name)
                for each in (one, other)
            )
            if first.value >= least:
                shares.append(Share(factor, name, first, second))
    return Coverage(shares, least)


def value_names(factor: str, kind: int | str) -> tuple[str, ...]:
    """What the values that the recogniser gives are called."""
    if kind == "regression":
        return ("lower third", "middle third", "upper third")
    known = FACTORS[factor].values if factor in FACTORS else ()
    if kind == "binary":
        return ("no", "yes")
    return known or tuple(map(str, range(int(kind))))
