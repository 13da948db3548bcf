"""Whitening and colouring: four ways to the root, and a whole stylisation.

512 channels. *As the paper writes it*: its two equations one after the other, in float64 with SVD.
Errors are relative, against float64 with symmetric roots by eigh. The third pair of features has
variances over six powers of ten: there the course's eigh goes over to float64, which costs time,
and *float32 alone* shows what that is good for. A part of Cholesky's and most of Newton–Schulz's
error is the small number that they add to the diagonal; Cholesky's colours are turned besides.

The stylisation runs all five levels on a pair of pictures with the course's decoders, against its
own encoders and decoders without a transform.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator

import harness
import torch
from torch import Tensor

from coursekit import wct
from coursekit.bench_results import Table
from coursekit.core.features import FeatureExtractor
from coursekit.core.runtime import generator
from coursekit.datasets.photos import photo
from coursekit.datasets.styles import style_image

# Name -> (method, type of the features).
SIDES: dict[str, tuple[str, torch.dtype]] = {
    "svd, float64": ("svd", torch.float64),
    "eigh, float64": ("eigh", torch.float64),
    "svd, float32": ("svd", torch.float32),
    "eigh, the course's": ("eigh", torch.float32),
    "cholesky, float32": ("cholesky", torch.float32),
    "newton_schulz, float32": ("newton_schulz", torch.float32),
}
PLAIN, ALONE = "as the paper writes it", "eigh, float32 alone"
Pair = tuple[Tensor, Tensor]


def pictures(size: int) -> Pair:
    """A photograph and one of the project's own style images, (1, 3, size, size)."""
    return photo("astronaut", size, crop=True), style_image("night_strokes", size, crop=True)


@torch.no_grad()
def features(size: int) -> dict[str, Pair]:
    """Content and style features: of the network, and with variances over six powers of ten."""
    extractor = FeatureExtractor(layers=["relu4_1", "relu5_1"], padding="reflect")
    content, style = (extractor(each) for each in pictures(size))
    found = {f"{name}, {content[name].shape[-1]}²": (content[name], style[name]) for name in style}
    return found | {"ill-conditioned, 64²": (steep(6, 0), steep(2, 1))}


def steep(decades: float, seed: int, channels: int = 512, side: int = 64) -> Tensor:
    """Features whose variances fall evenly over so many powers of ten."""
    options = dict(generator=generator(seed), dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(channels, channels, **options))
    size = torch.logspace(0, -decades / 2, channels, dtype=torch.float64)
    rows = turn @ (size[:, None] * torch.randn(channels, side * side, **options)) + 1
    return rows.view(1, channels, side, side).float()


def transfer(pair: Pair, method: str, dtype: torch.dtype) -> Tensor:
    content, style = (each.to(dtype) for each in pair)
    return wct.wct(content, style, method=method)


def plain(pair: Pair) -> Tensor:
    """Equations 2 and 3 one after the other, each root by SVD, in the type of the features."""
    (content, mean, root), (_, style_mean, style_root) = map(_decomposed, pair, (-0.5, 0.5))
    coloured = style_root @ (root @ (content.flatten(2) - mean)) + style_mean
    return coloured.view_as(content)


def _decomposed(features: Tensor, exponent: float) -> tuple[Tensor, Tensor, Tensor]:
    rows = features.flatten(2)
    mean = rows.mean(2, keepdim=True)
    centred = rows - mean
    vectors, values, _ = torch.linalg.svd(centred @ centred.mT / rows.shape[2])
    kept = torch.where(values > 1e-5 * values[..., :1], values**exponent, 0)
    return features, mean, vectors @ torch.diag_embed(kept) @ vectors.mT


def float32_alone(pair: Pair) -> Tensor:
    """What the course would get if it never went over to float64."""
    from coursekit import wct_roots

    trusted, wct_roots.TRUSTED = wct_roots.TRUSTED, float("inf")
    try:
        return transfer(pair, "eigh", torch.float32)
    finally:
        wct_roots.TRUSTED = trusted


def error(found: Tensor, expected: Tensor) -> str:
    return f"{float((found.double() - expected).norm() / expected.norm()):.1e}"


def methods() -> dict[str, Callable[[Pair], Tensor]]:
    found: dict[str, Callable[[Pair], Tensor]] = {PLAIN: plain}
    found |= {
        name: functools.partial(transfer, method=method, dtype=dtype)
        for name, (method, dtype) in SIDES.items()
    }
    return found | {ALONE: float32_alone}


def transforms(name: str, pair: Pair, options: argparse.Namespace) -> Table:
    sides = methods()
    # float32 inputs are doubled once, beforehand, so that the conversion is not timed.
    wide = tuple(each.double() for each in pair)
    exact = wct.wct(*wide)
    given = {n: wide if n == PLAIN or "float64" in n else pair for n in sides}
    calls = {n: functools.partial(side, given[n]) for n, side in sides.items()}
    return harness.table(
        name,
        harness.race(calls, options, warm_up=1),
        more={n: {"error": error(side(given[n]), exact)} for n, side in sides.items()},
    )


def stylisation(size: int) -> dict[str, Callable[[], object]]:
    """The whole of five levels, and the same encoders and decoders without a transform."""
    model = wct.load()
    content, style = pictures(size)

    @torch.no_grad()
    def convolutions() -> None:
        model.style_features(style)
        for level in wct.COARSE_TO_FINE:
            autoencoder = model.autoencoder(level)
            autoencoder.decode(autoencoder.encode(content), content.shape[-2:])

    return {
        "its convolutions alone": convolutions,
        "five levels": lambda: wct.stylise(model, content, style),
    }


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """One stylisation; the networks are there before."""
    return stylisation(options.size)[name]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=512, help="side of the pictures in pixels")


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    for name, pair in features(options.size).items():
        yield transforms(name, pair, options)
    sides = stylisation(options.size)
    yield harness.table(
        f"a picture of {options.size}×{options.size}",
        harness.race(sides, options, rounds=max(options.rounds // 2, 1), warm_up=1),
        peaks=harness.peaks(options, list(sides)),
    )


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=7, peak=peak, add_options=add_options)
