r"""Square roots of covariance matrices: the two halves of whitening and colouring.

Four ways to them. Only the symmetric root is the one of the paper; "cholesky" is another root of
the same matrix, and its result has the right covariance but is turned in the space of features.

Source: none; linear algebra of textbooks, in the precision that features need.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coursekit.core.errors import SettingError, ShapeError
from coursekit.texture import eigen_power

# Directions with less than this share of the largest variance are left out (Li et al. 2017's code
# leaves out eigenvalues below 1e-5, whatever the features' size).
FLOOR = 1e-5
# A direction that deviates by less than 1e-5 of the features' root mean square is rounding.
FLAT = 1e-10
# Where float32 would change whitened features by more than this share, float64 takes over.
TRUSTED = 5e-4
_ITERATIONS = 40


def moments(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Mean :math:`m` (N, C, 1) and covariance :math:`\frac1M \bar f \bar f^\top` (N, C, C).

    Args:
        features: (N, C, H, W).
        weights: how much each position counts, (1, 1, H, W) of 0 or more; all alike by default.

    Raises:
        ShapeError: not four dimensions, no floats, or weights of another size.
        SettingError: a weight below 0.
    """
    if features.dim() != 4 or not features.numel() or not features.is_floating_point():
        raise ShapeError(
            f"Expected feature maps of floats (N, C, H, W), got {tuple(features.shape)} of "
            f"{features.dtype}."
        )
    rows = features.flatten(2)
    if weights is None:
        mean = rows.mean(2, keepdim=True)
        centred = rows - mean
        return mean, _gram(centred) / rows.shape[2]
    if weights.shape != (1, 1, *features.shape[2:]):
        raise ShapeError(
            f"Weights {tuple(weights.shape)} do not fit maps {tuple(features.shape)}; expected "
            f"(1, 1, {features.shape[2]}, {features.shape[3]})."
        )
    shares = weights.flatten(2).to(rows)
    if not ((shares >= 0) & shares.isfinite()).all():
        raise SettingError("The weights of the positions must be numbers of 0 or more.")
    shares = shares / shares.sum().clamp_min(torch.finfo(rows.dtype).tiny)
    mean = (rows * shares).sum(2, keepdim=True)
    centred = (rows - mean) * shares.sqrt()
    return mean, _gram(centred)


def _gram(rows: Tensor, parts: int = 4) -> Tensor:
    """X Xᵀ of (N, C, M): by blocks of rows from the diagonal on, as the rest is a mirror image.

    Four parts take 5/8 of the multiplications of one product.
    """
    count = rows.shape[1]
    size = max(-(-count // parts), 1)
    gram = rows.new_zeros(len(rows), count, count)
    for begin in range(0, count, size):
        end = min(begin + size, count)
        gram[:, begin:end, begin:] = rows[:, begin:end] @ rows[:, begin:].mT
        gram[:, end:, begin:end] = gram[:, begin:end, end:].mT
    return gram


def least_variance(mean: Tensor, covariance: Tensor) -> Tensor:
    """(N, 1): a variance below it is rounding, not signal (`FLAT` times the mean square)."""
    variance = covariance.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    return FLAT * (variance + mean.square().mean(1))


def root(
    covariance: Tensor,
    exponent: float,
    method: str = "eigh",
    *,
    floor: float = FLOOR,
    least: Tensor | float = 0.0,
) -> Tensor:
    r"""A factor of a covariance matrix: :math:`\Sigma^{1/2}` or :math:`\Sigma^{-1/2}`.

    Args:
        covariance: (N, C, C), symmetric and positive semi-definite.
        exponent: 0.5 or -0.5.
        method: ``"eigh"``: the symmetric root through eigenvectors, in float64 where float32 is
            not enough (`rounding`); ``"svd"``: the same through singular vectors;
            ``"newton_schulz"``: the same by iteration, matrix products only; ``"cholesky"``: the
            triangular root, another matrix.
        floor: for -0.5, directions with a smaller share of the largest eigenvalue get 0. The two
            methods without eigenvectors cannot leave directions out: they add that share to the
            diagonal instead.
        least: (N, 1), an absolute floor (`least_variance`).

    Returns:
        (N, C, C), in the type of ``covariance``.

    Raises:
        SettingError: another method or exponent.
        ShapeError: numbers that are not finite.
    """
    if method not in _METHODS or exponent not in (0.5, -0.5):
        raise SettingError(
            f"There is no root {exponent} by {method!r}. Choose 0.5 or -0.5 and one of "
            f"{', '.join(METHODS)}."
        )
    if not 0 <= floor < 1:
        raise SettingError(f"floor={floor} is no share of the largest variance; give 0 … 1.")
    if not torch.isfinite(covariance).all():
        raise ShapeError("The features hold NaN or infinite values; no root can be taken of them.")
    least = torch.as_tensor(least).to(covariance)
    return _METHODS[method](covariance, exponent, floor if exponent < 0 else 0.0, least)


def _by_eigh(covariance: Tensor, exponent: float, floor: float, least: Tensor) -> Tensor:
    found = _eigenpairs(covariance)
    if covariance.dtype == torch.float32 and not _good_enough(found, exponent, floor):
        # On the CPU: Apple's GPUs have no double precision.
        wide, limit = covariance.cpu().double(), least.cpu().double()
        return _by_eigh(wide, exponent, floor, limit).to(covariance)
    values, vectors = found or torch.linalg.eigh(covariance)
    return eigen_power(values, vectors, exponent, _limit(values[..., -1:], floor, least))


def _eigenpairs(covariance: Tensor) -> tuple[Tensor, Tensor] | None:
    """Eigenvalues and eigenvectors, or ``None`` where the library fails.

    In float32 it does, with an error or without a word and NaN, on matrices of very low rank: 512
    channels at 3×5 positions are enough.
    """
    try:
        values, vectors = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:
        return None
    whole = torch.isfinite(values).all() and torch.isfinite(vectors).all()
    return (values, vectors) if whole else None


def _good_enough(found: tuple[Tensor, Tensor] | None, exponent: float, floor: float) -> bool:
    return found is not None and (exponent > 0 or rounding(found[0], floor) <= TRUSTED)


def _by_svd(covariance: Tensor, exponent: float, floor: float, least: Tensor) -> Tensor:
    vectors, values, _ = torch.linalg.svd(covariance)
    return eigen_power(values, vectors, exponent, _limit(values[..., :1], floor, least))


def _limit(largest: Tensor, floor: float, least: Tensor) -> Tensor:
    return torch.maximum(floor * largest, least.expand_as(largest))


def _by_cholesky(covariance: Tensor, exponent: float, floor: float, least: Tensor) -> Tensor:
    lower = torch.linalg.cholesky(_lifted(covariance, floor, least))
    if exponent > 0:
        return lower
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, identity, upper=False)


def _by_newton_schulz(covariance: Tensor, exponent: float, floor: float, least: Tensor) -> Tensor:
    """The coupled iteration Y -> Σ^½, Z -> Σ^-½ (Higham 2008, "Functions of Matrices", eq. 6.35).

    It squares its error in each turn once it is near; small eigenvalues grow by 9/4 a turn until
    then, so that a condition of 10⁵ takes about 15 turns.
    """
    lifted = _lifted(covariance, floor, least)
    size = torch.linalg.matrix_norm(lifted, keepdim=True)
    identity = torch.eye(lifted.shape[-1], dtype=lifted.dtype, device=lifted.device)
    y, z = lifted / size, identity.expand_as(lifted)
    for _ in range(_ITERATIONS):
        product = z @ y
        step = (3 * identity - product) / 2
        y, z = y @ step, step @ z
        if (product - identity).abs().max() < 10 * torch.finfo(y.dtype).eps:
            break
    return y * size.sqrt() if exponent > 0 else z / size.sqrt()


def _lifted(covariance: Tensor, floor: float, least: Tensor) -> Tensor:
    """Add to the diagonal what makes the matrix safely positive definite."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    # No eigenvector, no largest eigenvalue: the trace is an upper bound of it.
    smallest = max(floor, 4 * torch.finfo(covariance.dtype).eps)
    lift = _limit(diagonal.sum(-1, keepdim=True), smallest, least)
    # The square of the smallest lift must still be a number, or flat features would divide by 0.
    lift = lift.clamp_min(torch.finfo(covariance.dtype).tiny ** 0.5)
    return covariance + torch.diag_embed(lift.expand_as(diagonal))


_METHODS: dict[str, Callable[[Tensor, float, float, Tensor], Tensor]] = {
    "eigh": _by_eigh,
    "svd": _by_svd,
    "cholesky": _by_cholesky,
    "newton_schulz": _by_newton_schulz,
}
METHODS = tuple(_METHODS)


def rounding(values: Tensor, floor: float = FLOOR) -> float:
    r"""How much rounding of the eigenvalues' own type may change whitened features, as a share:
    :math:`\epsilon\,\sqrt{\text{mean}_i\,(\lambda_{max}/\lambda_i)^2}` over those kept.

    Values are (…, C), in ascending order. An eigenvalue is computed to about ε·λ_max, whatever its
    own size.
    """
    largest = values[..., -1:].clamp_min(torch.finfo(values.dtype).tiny)
    ratio = torch.where(values > floor * largest, largest / values, 0.0)
    kept = (ratio > 0).sum(-1).clamp_min(1)
    share = (ratio.square().sum(-1) / kept).sqrt()
    return float(share.max()) * torch.finfo(values.dtype).eps / 2
