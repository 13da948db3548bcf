"""Topic 13, what styles are good for: truncation, mixing, noise, walks, and editing a known factor.

Styles are w, one for a whole image (N, latent) or one for each layer (N, count, latent); the first
layers are the coarsest. Pictures that leave this module are in [0, 1].
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coursekit import dcgan
from coursekit.core import checkpoints, checks, runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import Estimate, mean_interval, proportion
from coursekit.stylegan2_networks import Generator, Sizes, StyledConv

if TYPE_CHECKING:
    from coursekit.core.recogniser import Recogniser

GROUPS = ("coarse", "middle", "fine")


def load_generator(name: str = "course") -> tuple[Generator, checkpoints.Checkpoint]:
    """The generator of faces that was trained for the course, in eval mode, and its header.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("stylegan2", name)

    def make(sizes: dict[str, Any], **settings: Any) -> Generator:
        return Generator(Sizes(**sizes), **settings)

    return checkpoint.network(make, "generator of faces"), checkpoint


@torch.no_grad()
def pictures(
    generator: Generator, styles: Tensor, *, noise: str = "const", batch: int = 100
) -> Tensor:
    """Styles (N, latent) or (N, count, latent) → pictures (N, C, S, S) in [0, 1], on the CPU.

    Source: none; runs a trained network.

    Args:
        generator: its synthesis network is used.
        styles: w, as above.
        noise: as for `Synthesis.forward`.
        batch: how many at once.
    """
    device = next(generator.parameters()).device
    parts = [
        generator.synthesis(some.to(device), noise=noise).cpu() for some in styles.split(batch)
    ]
    return dcgan.to_unit(torch.cat(parts)).clamp(0, 1)


@torch.no_grad()
def draw_w(generator: Generator, count: int, *, seed: int) -> Tensor:
    """w = f(z) (Karras et al. 2019, section 2) of z ~ N(0, 1): (count, latent), on the CPU."""
    z = dcgan.sample_latent(count, generator.latent, seed=seed)
    device = next(generator.parameters()).device
    return torch.cat([generator.mapping(some.to(device)).cpu() for some in z.split(1000)])


# --- Truncation ----------------------------------------------------------------------------------


def truncate(w: Tensor, mean: Tensor, psi: float, layers: int | None = None) -> Tensor:
    """w′ = w̄ + ψ (w − w̄) (Karras et al. 2019, section 2 and appendix B).

    ψ = 1 leaves w as it is, ψ = 0 gives the mean face, a negative ψ its "anti-face".

    Args:
        w: (N, latent) or (N, count, latent).
        mean: w̄, (latent,), such as ``generator.mapping.w_avg``.
        psi: ψ.
        layers: only the first so many layers are truncated, so that the details keep their
            variety; all of them by default. Needs w for each layer.

    Raises:
        SettingError: ``layers`` below 0 or without w for each layer, or a psi that is not finite.
        ShapeError: a mean of another length.
    """
    checks.finite(psi=psi)
    _fits(w, mean)
    nearer = mean + psi * (w - mean)
    if layers is None:
        return nearer
    if w.dim() != 3:
        raise SettingError(f"layers={layers} needs w for each layer, not {tuple(w.shape)}.")
    checks.at_least(0, layers=layers)
    return torch.cat([nearer[:, :layers], w[:, layers:]], dim=1)


def _fits(w: Tensor, vector: Tensor) -> None:
    if vector.shape != w.shape[-1:]:
        raise ShapeError(
            f"w is {tuple(w.shape)}; a vector ({w.shape[-1]},) is needed, not "
            f"{tuple(vector.shape)}."
        )


# --- Mixing --------------------------------------------------------------------------------------


def style_groups(sizes: Sizes, bounds: tuple[int, int] = (8, 16)) -> dict[str, slice]:
    """Which styles are coarse, middle and fine.

    Karras et al. 2019 (figure 3) call 4–8 coarse, 16–32 middle and 64–1024 fine. Differs from
    them by default: a picture of 64 pixels shows at 32 pixels what theirs shows at 512.

    Args:
        sizes: of the generator.
        bounds: the last resolution that is coarse, and the last one that is middle.

    Returns:
        `GROUPS` → slice of the ``count`` styles; together they are all of them.

    Raises:
        SettingError: the second bound below the first.
    """
    if bounds[0] > bounds[1]:
        raise SettingError(f"bounds={bounds}: the coarse styles end before the middle ones.")
    edges = [sum(2 for each in sizes.resolutions if each <= bound) for bound in bounds]
    first, second, last = *edges, 2 * len(sizes.resolutions)
    # 4×4 has one convolution, every other resolution two, and the image layer has the last style.
    first, second = max(first - 1, 0), max(second - 1, 0)
    return dict(
        zip(GROUPS, (slice(0, first), slice(first, second), slice(second, last)), strict=True)
    )


def replace_layers(styles: Tensor, others: Tensor, layers: slice) -> Tensor:
    """A's styles, in some layers B's: both (N, count, latent), the batches may broadcast.

    Style mixing of Karras et al. 2019, section 3.1, for any group of layers.

    Raises:
        ShapeError: they are not styles for each layer of one generator, or the batches differ.
    """
    counts = {len(styles), len(others)} - {1}
    fit = styles.dim() == others.dim() == 3 and styles.shape[1:] == others.shape[1:]
    if not fit or len(counts) > 1:
        raise ShapeError(
            f"Styles are {tuple(styles.shape)} and {tuple(others.shape)}; both must be "
            "(N, count, latent)."
        )
    count = max(len(styles), len(others))
    mixed = styles.expand(count, -1, -1).clone()
    mixed[:, layers] = others.expand(count, -1, -1)[:, layers]
    return mixed


def mixing_matrix(generator: Generator, sources: Tensor, others: Tensor, layers: slice) -> Tensor:
    """The table on the lecture's slide (Karras et al. 2019, figure 3), for one group of layers.

    Args:
        generator: draws.
        sources: A, one a column, (A, count, latent).
        others: B, one a row, (B, count, latent).
        layers: the styles that come from B.

    Returns:
        (B, A, C, S, S) in [0, 1].
    """
    rows = [pictures(generator, replace_layers(sources, b[None], layers)) for b in others]
    return torch.stack(rows)


# --- Noise ---------------------------------------------------------------------------------------


@torch.no_grad()
def noise_deviation(
    generator: Generator, styles: Tensor, *, draws: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Where the noise acts: pictures of the same styles under fresh noise (2019, figure 4).

    Args:
        generator: draws.
        styles: w, (N, …).
        draws: how many pictures of each; the paper has 100.
        seed: of the noise.

    Returns:
        The mean picture (N, C, S, S), and the standard deviation of each pixel over the draws,
        averaged over the channels, (N, S, S).

    Raises:
        SettingError: fewer than two draws.
    """
    if draws < 2:
        raise SettingError(f"{draws=}: a deviation needs two or more.")
    total = squares = torch.zeros((), dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(draws):
            picture = pictures(generator, styles, noise="random").double()
            total, squares = total + picture, squares + picture.square()
    mean = total / draws
    variance = (squares - draws * mean.square()) / (draws - 1)
    return mean.float(), variance.clamp(min=0).sqrt().mean(dim=1).float()


@contextlib.contextmanager
def noise_only_at(generator: Generator, resolutions: Collection[int]) -> Iterator[None]:
    """Inside, only the layers of these resolutions get noise (Karras et al. 2019, figure 5).

    Raises:
        SettingError: a resolution that the generator does not have.
    """
    there = generator.synthesis.sizes.resolutions
    if any(each not in there for each in resolutions):
        raise SettingError(f"resolutions={list(resolutions)}: choose from {list(there)}.")
    silent = [
        layer.noise_strength
        for layer in generator.synthesis.modules()
        if isinstance(layer, StyledConv) and layer.resolution not in resolutions
    ]
    before = [strength.detach().clone() for strength in silent]
    with torch.no_grad():
        for strength in silent:
            strength.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for strength, value in zip(silent, before, strict=True):
                strength.copy_(value)


# --- Walks ---------------------------------------------------------------------------------------


def walk(points: Tensor, steps: int = 8, *, closed: bool = False) -> Tensor:
    """A path in W through the rows of ``points`` (n, …): straight lines in equal steps.

    As Karras et al. 2019, section 4.1, go from w to w. Unlike in Z, straight lines do not leave the
    region that the generator was trained on: nothing says that w has one length.

    Returns:
        ((n − 1) · steps + 1, …), or (n · steps, …) if it is closed: the film then has no seam.

    Raises:
        ShapeError: fewer than two points.
        SettingError: no step.
    """
    checks.at_least(1, steps=steps)
    if len(points) < 2 or points.dim() < 2:
        raise ShapeError(f"A walk needs two or more points, not {tuple(points.shape)}.")
    stops = torch.cat([points, points[:1]]) if closed else points
    shares = (torch.arange(steps) / steps).view(-1, *[1] * (points.dim() - 1))
    legs = [torch.lerp(a[None], b[None], shares) for a, b in itertools.pairwise(stops)]
    return torch.cat(legs if closed else [*legs, stops[-1:]])


# --- Editing along a known factor ----------------------------------------------------------------


def direction(w: Tensor, values: Tensor, *, ridge: float = 1e-2) -> Tensor:
    """The change of w that raises a factor by one standard deviation and leaves the rest alone.

    A ridge regression of the factor on w gives the slope β. The step Σβ / √(βᵀΣβ), with Σ the
    covariance of w, is what w's with a higher value have in common: it stays among the w's that
    the mapping network gives, as the slope alone does not.

    Source: none; this course's own way.

    Args:
        w: (N, latent).
        values: of the factor, (N,): real, or 0 and 1.
        ridge: on the diagonal, as a share of w's mean variance.

    Returns:
        (latent,).

    Raises:
        ShapeError: the two do not fit.
        SettingError: the factor or w never changes, or a ridge below 0.
    """
    checks.at_least(0, ridge=ridge)
    if w.dim() != 2 or values.shape != w.shape[:1]:
        raise ShapeError(f"{tuple(w.shape)} and {tuple(values.shape)}: (N, latent), (N,) needed.")
    values = values.double()
    if len(values) < 2 or not values.std() > 0:
        raise SettingError("The factor has the same value everywhere: nothing says what moves it.")
    centred = w.double() - w.double().mean(dim=0)
    if not centred.any():
        raise SettingError("All w are the same: nothing in them moves the factor.")
    covariance = centred.T @ centred / (len(w) - 1)
    with_ridge = covariance + ridge * covariance.diagonal().mean() * torch.eye(w.shape[1])
    moments = centred.T @ (values - values.mean()) / (len(w) - 1)
    slope = torch.linalg.solve(with_ridge, moments)
    along = covariance @ slope
    return (along / (slope @ along).sqrt()).to(w.dtype)


def edit(w: Tensor, along: Tensor, amount: float, layers: slice = slice(None)) -> Tensor:
    """w + amount · direction in some layers: (N, latent) or (N, count, latent).

    Source: none; a sum.

    Raises:
        ShapeError: a direction of another length.
        SettingError: an amount that is not finite.
    """
    checks.finite(amount=amount)
    _fits(w, along)
    if w.dim() == 2:
        return w + amount * along
    edited = w.clone()
    edited[:, layers] += amount * along
    return edited


@dataclass(frozen=True)
class EditStudy:
    """What a step along a direction does, against a random step of the same length.

    Attributes:
        factor: the one that was to change.
        amounts: the multiples of the direction.
        reading: by way (``"direction"``, ``"random"``) the factor's mean reading at each amount.
        kept: by way and amount, the share of faces whose other named factors are read as before.
    """

    factor: str
    amounts: list[float]
    reading: dict[str, list[Estimate]]
    kept: dict[str, list[Estimate]]


def study_edit(
    generator: Generator,
    recogniser: Recogniser,
    factor: str,
    along: Tensor,
    *,
    amounts: Sequence[float] = (-2.0, -1.0, 0.0, 1.0, 2.0),
    count: int = 300,
    seed: int = 0,
) -> EditStudy:
    """Move many faces along a direction and let the recogniser read what became of them.

    Source: none; a measure of this course.

    Args:
        generator, recogniser: of faces.
        factor: one that the recogniser reads.
        along: (latent,), from `direction`, found on other faces than these.
        amounts: multiples of it.
        count: how many faces; each has its own random direction as the control.
        seed: of the faces and of the control.

    Raises:
        SettingError: the recogniser does not read the factor.
    """
    w = draw_w(generator, count, seed=seed)
    before = recogniser.predict(pictures(generator, w))
    if factor not in before:
        raise SettingError(f"There is no factor {factor!r}, only {', '.join(before)}.")
    noise = torch.randn(w.shape, generator=runtime.generator(seed + 1))
    ways = {"direction": along, "random": noise * along.norm() / noise.norm(dim=1, keepdim=True)}
    reading: dict[str, list[Estimate]] = {way: [] for way in ways}
    kept: dict[str, list[Estimate]] = {way: [] for way in ways}
    for way, step in ways.items():
        for amount in amounts:
            after = recogniser.predict(pictures(generator, w + amount * step))
            reading[way].append(mean_interval(after[factor].double(), name=factor))
            kept[way].append(_kept(recogniser.spec, before, after, factor))
    return EditStudy(factor, list(amounts), reading, kept)


def _kept(
    spec: Mapping[str, int | str],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    factor: str,
) -> Estimate:
    named = [name for name, kind in spec.items() if kind != "regression" and name != factor]
    same = torch.stack([before[name] == after[name] for name in named]).all(dim=0)
    return proportion(int(same.sum()), len(same), name="others kept")
