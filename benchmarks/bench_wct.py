"""Whitening and colouring: four ways to the root, a whole stylisation, its memory.

``python benchmarks/bench_wct.py`` prints three tables. Errors are those of the transformed
features against float64 with symmetric roots by eigh; ratios of time are against the formulas of
the paper written down as they are, in float64 with SVD. The stylisation runs with the decoders in
data/checkpoints/wct.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import harness
import torch
from torch import Tensor

from coursekit import wct
from coursekit.core.features import FeatureExtractor
from coursekit.core.runtime import generator
from coursekit.datasets.photos import photo
from coursekit.datasets.styles import style_image

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
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
def features() -> dict[str, Pair]:
    """Content and style features: of the network, and with variances over six powers of ten."""
    extractor = FeatureExtractor(layers=["relu4_1", "relu5_1"], padding="reflect")
    content, style = (extractor(each) for each in pictures(512))
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


def report_methods(rounds: int, clock: str) -> None:
    inputs = features()
    sides: dict[str, Callable[[Pair], Tensor]] = {PLAIN: plain}
    sides |= {
        name: functools.partial(transfer, method=method, dtype=dtype)
        for name, (method, dtype) in SIDES.items()
    }
    sides[ALONE] = float32_alone
    # float32 inputs are doubled once, beforehand, so that the conversion is not timed.
    rows = [[name] for name in sides]
    for pair in inputs.values():
        wide = tuple(each.double() for each in pair)
        exact = wct.wct(*wide)
        given = {n: wide if n == PLAIN or "float64" in n else pair for n in sides}
        seconds = harness.race(
            {n: functools.partial(side, given[n]) for n, side in sides.items()},
            rounds,
            clock=CLOCKS[clock],
        )
        for row, (name, side) in zip(rows, sides.items(), strict=True):
            ratio = harness.ratio(seconds[name], seconds[PLAIN])
            row += [
                f"{statistics.median(seconds[name]) * 1e3:.0f} ms",
                f"{ratio:.2f}",
                error(side(given[name]), exact),
            ]
    head = [x for name in inputs for x in (name, "÷ the paper's", "error")]
    print(harness.table(["512 channels", *head], rows))


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
        "five levels": lambda: wct.stylise(model, content, style),
        "its convolutions alone": convolutions,
    }


def report_stylisation(size: int, rounds: int, clock: str) -> None:
    sides = stylisation(size)
    seconds = harness.race(sides, rounds, warm_up=1, clock=CLOCKS[clock])
    rows = [
        [
            name,
            f"{statistics.median(times):.2f} s",
            f"{harness.ratio(times, seconds['its convolutions alone']):.2f}",
        ]
        for name, times in seconds.items()
    ]
    print(harness.table([f"{size}×{size}", "median", "÷ its convolutions"], rows))


def report_memory(size: int, threads: int) -> None:
    if sys.platform == "win32":
        print("Memory is not measured on Windows.")
        return
    rows = []
    for what in ("imports and images only", "networks loaded", "one stylisation"):
        options = ["--peak", what, "--size", str(size), "--threads", str(threads)]
        rows.append([what, harness.in_new_process(__file__, *options)])
    print(harness.table(["a process of its own", "peak resident MiB"], rows))


def print_peak(what: str, size: int) -> None:
    content, style = pictures(size)
    model = None if what.startswith("imports") else wct.load()
    harness.reset_peak()
    if what == "one stylisation" and model is not None:
        wct.stylise(model, content, style)
    print(f"{harness.peak_memory():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor seconds of all threads, with OMP_WAIT_POLICY=passive (busy machine)",
    )
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        return print_peak(options.peak, options.size)
    print(time.strftime("%Y-%m-%d"), harness.machine(options.threads), "\n")
    report_methods(options.rounds, options.clock)
    print()
    report_stylisation(options.size, max(options.rounds // 2, 1), options.clock)
    print()
    report_memory(options.size, options.threads)
    return None


if __name__ == "__main__":
    main()
