"""Topic 07, second half: what the latent space of a trained generator knows.

Walks between two z, arithmetic on averages of three and the pose vector from four left and four
right (Radford et al. 2016, §6). Recognisers read the generated pictures, so that each claim becomes
a share with an interval, next to a random control. Filters switched off: `coursekit.dcgan_filters`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from coursekit.core import checks, runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import Estimate, mean_interval, proportion
from coursekit.dcgan import Generator, sample_latent, samples

if TYPE_CHECKING:
    from coursekit.core.recogniser import Recogniser

KEPT = ("skin", "hair_colour", "hair", "beard", "glasses")


# --- Walks and arithmetic ------------------------------------------------------------------------


def slerp(start: Tensor, end: Tensor, share: Tensor | float) -> Tensor:
    """Spherical interpolation from ``start`` to ``end``, both (…, latent), at ``share`` in [0, 1].

    sin((1 − t)ω)/sin ω · a + sin(tω)/sin ω · b with ω the angle between them. It keeps the length
    that normal vectors have; the straight line between two of them passes closer to the origin
    than any sample that the generator was trained on (Shoemake 1985; for generators White 2016).
    A vector of zeros has no direction: it counts as being at right angles to all others.
    """
    share = torch.as_tensor(share, dtype=start.dtype)
    smallest = torch.finfo(start.dtype).tiny
    unit_a = start / start.norm(dim=-1, keepdim=True).clamp_min(smallest)
    unit_b = end / end.norm(dim=-1, keepdim=True).clamp_min(smallest)
    omega = (unit_a * unit_b).sum(-1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return ((1 - share) * omega).sin() / omega.sin() * start + (share * omega).sin() / (
        omega.sin()
    ) * end


def walk(latents: Tensor, steps: int = 8) -> Tensor:
    """A path through the rows of ``latents`` (n, latent): (n − 1) · steps + 1 points by `slerp`.

    Radford et al. 2016, §6.1.

    Raises:
        ShapeError, SettingError: fewer than two points, or no step.
    """
    if latents.dim() != 2 or len(latents) < 2:
        raise ShapeError(f"A walk has two or more points (n, latent), not {tuple(latents.shape)}.")
    checks.at_least(1, steps=steps)
    shares = torch.arange(steps)[:, None] / steps
    legs = [slerp(a, b, shares) for a, b in itertools.pairwise(latents)]
    return torch.cat([*legs, latents[-1:]])


def arithmetic(plus: Tensor, minus: Tensor, target: Tensor) -> Tensor:
    """z = mean(plus) − mean(minus) + mean(target), the lecture's "glasses" sum (§6.3.2).

    Args:
        plus: z of pictures with the attribute, (n, latent); Radford et al. average three,
            because the sum of single vectors is unstable.
        minus: z of like pictures without it.
        target: z of the pictures that are to get it, (n, latent).

    Returns:
        One vector (latent,).

    Raises:
        ShapeError: a set that is empty, or vectors of another length.
    """
    checks.same_width(plus=plus, minus=minus, target=target)
    return plus.mean(0) - minus.mean(0) + target.mean(0)


def pose_vector(left: Tensor, right: Tensor) -> Tensor:
    """mean(right) − mean(left): the "turn" vector from four faces each way (§6.3.2, fig. 8).

    Errors as `arithmetic`."""
    checks.same_width(left=left, right=right)
    return right.mean(0) - left.mean(0)


def random_like(vector: Tensor, *, seed: int) -> Tensor:
    """A random direction of the same length: the control for `arithmetic` and `pose_vector`.

    One for each of (…, latent), in the same shape.
    """
    noise = torch.randn(vector.shape, generator=runtime.generator(seed))
    return noise * vector.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)


# --- Measured ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Samples of a generator and what a recogniser reads off them.

    Attributes:
        latents: (N, latent).
        factors: each (N,), by name.
    """

    latents: Tensor
    factors: Mapping[str, Tensor]

    def where(self, name: str, low: float, high: float) -> Tensor:
        """Indices of the samples whose factor lies in [low, high].

        Raises:
            SettingError: the recogniser does not read this factor.
        """
        if name not in self.factors:
            raise SettingError(f"There is no factor {name!r}, only {', '.join(self.factors)}.")
        value = self.factors[name]
        return ((value >= low) & (value <= high)).nonzero().flatten()


def read(generator: Generator, recogniser: Recogniser, latents: Tensor) -> dict[str, Tensor]:
    """What the recogniser reads off the pictures of ``latents``: factor → (N,)."""
    return recogniser.predict(samples(generator, latents))


def make_pool(
    generator: Generator, recogniser: Recogniser, count: int = 4000, *, seed: int = 0
) -> Pool:
    """Draw ``count`` samples and read them."""
    latents = sample_latent(count, generator.latent, seed=seed)
    return Pool(latents, read(generator, recogniser, latents))


def draw(pool: Pool, among: Tensor, groups: int, size: int, *, seed: int) -> Tensor:
    """``groups`` random groups of ``size`` different samples: (groups, size, latent).

    ``among`` holds the indices (n,) that may be drawn.

    Raises:
        SettingError: fewer than ``size`` samples to draw from.
    """
    if len(among) < size:
        raise SettingError(
            f"Only {len(among)} samples have what is asked for; {size} are needed. Draw a larger "
            "pool."
        )
    random = runtime.generator(seed)
    order = [torch.randperm(len(among), generator=random)[:size] for _ in range(groups)]
    return pool.latents[among[torch.stack(order)]]


@dataclass(frozen=True)
class ArithmeticStudy:
    """How often adding an attribute works, against a random vector of the same length.

    Attributes:
        attribute: the factor that was to be gained.
        gained, kept, both: by way (``"arithmetic"``, ``"random"``) the share of triplets in which
            the attribute is there afterwards, all other factors are read as before, and both.
        kept_each: by way, the share for each of the other factors.
    """

    attribute: str
    gained: dict[str, Estimate]
    kept: dict[str, Estimate]
    both: dict[str, Estimate]
    kept_each: dict[str, dict[str, Estimate]]


def study_arithmetic(
    generator: Generator,
    recogniser: Recogniser,
    pool: Pool,
    attribute: str = "glasses",
    *,
    triplets: int = 500,
    size: int = 3,
    target_size: int = 3,
    alike: bool = True,
    seed: int = 0,
) -> ArithmeticStudy:
    """Add an attribute to faces without it (§6.3.2), many times, and count.

    Each trial draws ``size`` faces with the attribute, as many without it (that agree in all other
    factors if ``alike``), and ``target_size`` other faces without it. "Before" is the picture of
    the target's mean, "after" that of `arithmetic`; the control adds `random_like` the same
    difference. Targets whose own picture shows the attribute are passed over, so that there is
    always something to gain.

    Raises:
        SettingError: the recogniser does not read the attribute or anything that should stay, or
            the pool has too few samples.
    """
    others = other_factors(pool.factors, attribute)
    agree = others if alike else ()
    plus, minus = draw_alike(pool, attribute, agree, triplets, size, seed=seed)
    target = _without(generator, recogniser, pool, attribute, triplets, target_size, seed + 1)
    before = read(generator, recogniser, target)
    shift = plus.mean(1) - minus.mean(1)
    moved = {"arithmetic": shift, "random": random_like(shift, seed=seed + 2)}
    tallies = {
        way: _tally(before, read(generator, recogniser, target + v), attribute, others)
        for way, v in moved.items()
    }
    return ArithmeticStudy(
        attribute,
        gained={way: tally[0] for way, tally in tallies.items()},
        kept={way: tally[1] for way, tally in tallies.items()},
        both={way: tally[2] for way, tally in tallies.items()},
        kept_each={way: tally[3] for way, tally in tallies.items()},
    )


def draw_alike(
    pool: Pool, attribute: str, others: Sequence[str], groups: int, size: int, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Groups with and without the attribute that agree in all of ``others``.

    As in the paper's sums (§6.3.2), where a smiling *woman* and a neutral *woman* are subtracted:
    what the two have in common should cancel.

    Returns:
        Two tensors (groups, size, latent): with, and without.

    Raises:
        SettingError: the pool holds no ``size`` faces each way that agree in ``others``.
    """
    has = pool.factors[attribute] == 1
    kinds = torch.stack([torch.zeros_like(has).long(), *(pool.factors[n] for n in others)], 1)
    _, kind = kinds.unique(dim=0, return_inverse=True)
    sides = [[(kind == k) & side for side in (has, ~has)] for k in range(int(kind.max()) + 1)]
    cells = [pair for pair in sides if min(int(side.sum()) for side in pair) >= size]
    if not cells:
        agree = f" that agree in {', '.join(others)}" if others else ""
        samples_of_both = f"{size} samples with and {size} without {attribute!r}{agree}"
        raise SettingError(f"There are no {samples_of_both}. Draw a larger pool.")
    random = runtime.generator(seed)
    picked = torch.randint(len(cells), (groups,), generator=random).tolist()
    drawn = [[_some(side, size, random) for side in cells[cell]] for cell in picked]
    having, lacking = (torch.stack(side) for side in zip(*drawn, strict=True))
    return pool.latents[having], pool.latents[lacking]


def _some(among: Tensor, size: int, random: torch.Generator) -> Tensor:
    indices = among.nonzero().flatten()
    return indices[torch.randperm(len(indices), generator=random)[:size]]


def other_factors(factors: Mapping[str, Tensor], attribute: str) -> list[str]:
    """What should stay as it was when ``attribute`` changes: those of `KEPT` that are read.

    Args:
        factors: by name, as `read` gives them.
        attribute: the one that changes.

    Raises:
        SettingError: the attribute is not read, or nothing that should stay.
    """
    if attribute not in factors:
        raise SettingError(f"There is no factor {attribute!r}, only {', '.join(factors)}.")
    others = [name for name in KEPT if name in factors and name != attribute]
    if not others:
        raise SettingError(f"The recogniser reads none of {', '.join(KEPT)} but the attribute.")
    return others


def _without(
    generator: Generator,
    recogniser: Recogniser,
    pool: Pool,
    attribute: str,
    count: int,
    size: int,
    seed: int,
) -> Tensor:
    """Means of ``size`` samples without the attribute, whose own picture lacks it too."""
    groups = draw(pool, pool.where(attribute, 0, 0), 3 * count, size, seed=seed).mean(1)
    lacking = (read(generator, recogniser, groups)[attribute] == 0).nonzero().flatten()
    if len(lacking) < count:
        raise SettingError(f"Too few averages lack {attribute!r}: {len(lacking)} of {count}.")
    return groups[lacking[:count]]


def _tally(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], attribute: str, others: Sequence[str]
) -> tuple[Estimate, Estimate, Estimate, dict[str, Estimate]]:
    gained = after[attribute] == 1
    same = {name: before[name] == after[name] for name in others}
    kept = torch.stack(list(same.values())).all(0)
    shares = [
        proportion(int(hits.sum()), len(hits), name=name)
        for name, hits in (("gained", gained), ("kept", kept), ("both", gained & kept))
    ]
    each = {n: proportion(int(hits.sum()), len(hits), name=n) for n, hits in same.items()}
    return shares[0], shares[1], shares[2], each


@dataclass(frozen=True)
class YawStudy:
    """How a walk along the pose vector turns faces, against random directions.

    Attributes:
        places: the multiples of the vector that were added.
        yaw: by way (``"pose"``, ``"random"``) the mean yaw read at each place.
        correlation: by way, the mean over faces of the correlation of place and yaw.
        kept: by way, the share of faces whose other factors are read alike at both ends.
    """

    places: list[float]
    yaw: dict[str, list[float]]
    correlation: dict[str, Estimate]
    kept: dict[str, Estimate]


def study_yaw(
    generator: Generator,
    recogniser: Recogniser,
    vector: Tensor,
    *,
    faces: int = 500,
    places: Sequence[float] = (-0.5, -0.25, 0.0, 0.25, 0.5),
    seed: int = 0,
) -> YawStudy:
    """Walk many faces along the pose vector (§6.3.2) and read how they are turned.

    Args:
        generator: of faces.
        recogniser: must read ``yaw``.
        vector: `pose_vector`, (latent,).
        faces: how many faces walk; each has its own random direction as the control.
        places: multiples of the vector to add.
        seed: of the faces and the random directions.

    Raises:
        SettingError: the recogniser does not read ``yaw``, or nothing that should stay.
    """
    start = sample_latent(faces, generator.latent, seed=seed)
    ways = {
        "pose": vector.expand_as(start),
        "random": random_like(vector.expand_as(start), seed=seed + 1),
    }
    yaw, correlation, kept = {}, {}, {}
    for way, direction in ways.items():
        readings = [read(generator, recogniser, start + t * direction) for t in places]
        others = other_factors(readings[0], "yaw")
        turned = torch.stack([reading["yaw"] for reading in readings], 1)
        yaw[way] = turned.mean(0).tolist()
        correlation[way] = mean_interval(_correlations(turned, places), name="correlation")
        hits = torch.stack([readings[0][name] == readings[-1][name] for name in others]).all(0)
        kept[way] = proportion(int(hits.sum()), faces, name="kept")
    return YawStudy(list(places), yaw, correlation, kept)


def _correlations(values: Tensor, places: Sequence[float]) -> np.ndarray:
    """The correlation of each row (N, places) with ``places``; 0 for a row that is constant."""
    x = torch.tensor(places, dtype=torch.float64)
    x, y = x - x.mean(), (values - values.mean(1, keepdim=True)).double()
    length = (y.norm(dim=1) * x.norm()).clamp(min=1e-12)
    return ((y * x).sum(1) / length).numpy()
