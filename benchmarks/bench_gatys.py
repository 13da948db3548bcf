"""One closure of Gatys style transfer, the course against a plain loop and against pystiche.

``python benchmarks/bench_gatys.py`` prints three tables: time, what bfloat16 costs, memory.
A closure is one evaluation that L-BFGS asks for: forward, losses, backward to the image. All
sides compute the same loss from the same weights and images; the script stops if they do not.
pystiche is optional: ``pip install --no-deps pystiche==1.0.1``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import harness
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from coursekit import gatys
from coursekit.core import weights
from coursekit.core.features import IMAGENET_MEAN, IMAGENET_STD, FeatureExtractor, layer_names
from coursekit.core.optimise import optimise_pixels
from coursekit.datasets.photos import photo
from coursekit.datasets.styles import style_image
from coursekit.texture import balanced_weights, gram_targets

CONTENT, STYLE = "relu4_2", gatys.STYLE_LAYERS
STYLE_WEIGHT = 10.0
Objective = Callable[[Tensor], Tensor]
Side = Callable[[Tensor, Tensor], Objective]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def course(content: Tensor, style: Tensor, precision: str = "float32") -> Objective:
    """The course's own functions, as `coursekit.gatys.stylise` puts them together."""
    extractor = FeatureExtractor(layers=[*STYLE, CONTENT], precision=precision)
    grams = gram_targets(FeatureExtractor(layers=STYLE, precision=precision), style)
    loss = gatys.transfer_loss(extractor, content, grams, style_weight=STYLE_WEIGHT)
    return lambda image: torch.stack(list(loss(image).values())).sum()


def course_weights(content: Tensor, style: Tensor) -> tuple[float, dict[str, float]]:
    """What the course multiplies the content loss and each layer's style loss with."""
    extractor = FeatureExtractor(layers=[*STYLE, CONTENT])
    energy = gatys.content_energies(gatys.content_targets(extractor, content, [CONTENT]))
    grams = gram_targets(FeatureExtractor(layers=STYLE), style)
    shares = balanced_weights(grams, total=1.0)
    return 1 / energy[CONTENT], {name: STYLE_WEIGHT * share for name, share in shares.items()}


def course_bfloat16(content: Tensor, style: Tensor) -> Objective:
    return course(content, style, "bfloat16")


def plain(content: Tensor, style: Tensor) -> Objective:
    """The usual loop over torchvision's layers: frozen, cut, nothing computed twice."""
    names = layer_names("vgg16")
    net = make_layers(cfgs["D"], batch_norm=False)[: names.index("relu5_1") + 1]
    for layer in net:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    state = {key.removeprefix("features."): value for key, value in weights.load("vgg16").items()}
    net.load_state_dict({key: state[key] for key in net.state_dict()})
    net.requires_grad_(False).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def features(image: Tensor) -> dict[str, Tensor]:
        x, found = (image - mean) / std, {}
        for name, layer in zip(names, net, strict=False):
            x = layer(x)
            if name == CONTENT or name in STYLE:
                found[name] = x
        return found

    def gram(maps: Tensor) -> Tensor:
        rows = maps.flatten(2)
        return rows @ rows.transpose(1, 2) / rows.shape[2]

    target = features(content)[CONTENT]
    style_features = features(style)
    grams = {name: gram(style_features[name]) for name in STYLE}
    content_weight, style_weights = course_weights(content, style)

    def loss(image: Tensor) -> Tensor:
        found = features(image)
        total = content_weight / 2 * ((found[CONTENT] - target) ** 2).sum()
        for name, wanted in grams.items():
            error = ((gram(found[name]) - wanted) ** 2).mean() / 4
            total = total + style_weights[name] * error
        return total

    return loss


def pystiche_shipped(content: Tensor, style: Tensor, frozen: bool = False) -> Objective:
    """pystiche 1.0.1 through its public classes, with the weights of its losses made equal."""
    enc, loss = _import_pystiche()
    encoder = enc.vgg16_multi_layer_encoder(pretrained=False)
    encoder.load_state_dict(weights.load("vgg16"), strict=False)
    content_weight, style_weights = course_weights(content, style)
    # Its losses are means where the paper's are sums.
    with torch.no_grad():
        content_weight *= FeatureExtractor(layers=CONTENT)(content)[CONTENT].numel()
    if frozen:
        encoder.requires_grad_(False).eval()
    criterion = loss.PerceptualLoss(
        loss.FeatureReconstructionLoss(
            encoder.extract_encoder(CONTENT), score_weight=content_weight / 2
        ),
        loss.MultiLayerEncodingLoss(
            encoder,
            STYLE,
            lambda layer, weight: loss.GramLoss(layer, score_weight=weight),
            layer_weights=[style_weights[name] / 4 for name in STYLE],
        ),
    )
    criterion.set_content_image(content)
    criterion.set_style_image(style)
    return criterion


def pystiche_frozen(content: Tensor, style: Tensor) -> Objective:
    return pystiche_shipped(content, style, frozen=True)


def _import_pystiche() -> tuple[Any, Any]:
    """Import it beside a newer torchvision.

    The one shim: torchvision dropped the tables ``model_urls`` in 2022, which pystiche reads at
    import. Empty ones do: the weights come from the course's cache.
    """
    for name in ("vgg", "alexnet"):
        module = importlib.import_module(f"torchvision.models.{name}")
        tables = {"vgg16": ""} if name == "vgg" else {"alexnet": ""}
        module.model_urls = tables
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pystiche.enc"), importlib.import_module("pystiche.loss")


SIDES: dict[str, Side] = {
    "plain loop": plain,
    "course, float32": course,
    "course, bfloat16": course_bfloat16,
    "pystiche as shipped": pystiche_shipped,
    "pystiche, frozen": pystiche_frozen,
}


def pictures(size: int) -> tuple[Tensor, Tensor]:
    """The cat and one of the project's own style images, (1, 3, size, size)."""
    return photo("chelsea", size, crop=True), style_image("night_strokes", size, crop=True)


def closure(loss: Objective, image: Tensor) -> float:
    """What L-BFGS calls: the total loss, its gradient in ``image.grad``."""
    image.grad = None
    total = loss(image)
    total.backward()
    return total.item()


def gradient(loss: Objective, image: Tensor) -> Tensor:
    image = image.clone().requires_grad_(True)
    closure(loss, image)
    return image.grad.flatten()


def check_agreement(losses: dict[str, Objective], image: Tensor) -> None:
    """Stop unless every float32 side has the plain loop's gradient.

    Rounding flips a few ReLUs and maxima, so that the gradients differ by about 1e-3.
    """
    expected = gradient(losses["plain loop"], image)
    for name, loss in losses.items():
        error = float((gradient(loss, image) - expected).norm() / expected.norm())
        if "bfloat16" not in name and error > 5e-3:
            sys.exit(f"{name} computes something else: its gradient is {error:.1%} away.")


def report_time(losses: dict[str, Objective], image: Tensor, rounds: int, clock: str) -> None:
    start = {name: image.clone().requires_grad_(True) for name in losses}
    seconds = harness.race(
        {name: lambda name=name: closure(losses[name], start[name]) for name in losses},
        rounds,
        clock=CLOCKS[clock],
    )
    versus = [name for name in losses if "course" not in name]
    rows = [
        [name, f"{statistics.median(times) * 1e3:.0f} ms", f"{min(times) * 1e3:.0f} ms"]
        + [f"{harness.ratio(times, seconds[other]):.2f}" for other in versus]
        for name, times in seconds.items()
    ]
    print(harness.table(["one closure", "median", "fastest", *(f"÷ {v}" for v in versus)], rows))


def report_bfloat16(losses: dict[str, Objective], content: Tensor, steps: int) -> None:
    """Gradients side by side, then a whole optimisation with each, judged in float32."""
    exact, rough = losses["course, float32"], losses["course, bfloat16"]
    noise = gatys.starting_image(content, "noise", seed=0)
    rows = []
    for name, start in {"content": content, "noise": noise}.items():
        runs = [
            optimise_pixels(each, start, steps=steps, progress=False) for each in (exact, rough)
        ]
        final, cost = (float(exact(run.image).detach()) for run in runs)
        angles = [
            torch.cosine_similarity(gradient(exact, at), gradient(rough, at), dim=0)
            for at in (start, runs[0].image)
        ]
        rows.append(
            [name, *(f"{a:.3f}" for a in angles), f"{final:.4g}", f"{cost / final - 1:+.1%}"]
        )
    head = ["start", "cosine at the start", "cosine at the end", "final loss", "with bfloat16"]
    print(harness.table(head, rows))


def report_memory(names: list[str], size: int, threads: int) -> None:
    """Each side in a process of its own: the highest resident memory of three closures."""
    if sys.platform == "win32":
        print("Memory is not measured on Windows.")
        return
    rows = []
    for name in ["", *names]:
        options = ["--peak", name, "--size", str(size), "--threads", str(threads)]
        rows.append([name or "imports and images only", harness.in_new_process(__file__, *options)])
    print(harness.table(["a process of its own", "peak resident MiB"], rows))


def print_peak(name: str, size: int) -> None:
    content, style = pictures(size)
    loss = SIDES[name](content, style) if name else None
    harness.reset_peak()
    image = content.clone().requires_grad_(True)
    for _ in range(3 if loss else 0):
        closure(loss, image)
    print(f"{harness.peak_memory():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=120, help="of L-BFGS, 0 to skip them")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor seconds of all threads, with OMP_WAIT_POLICY=passive (busy machine)",
    )
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module="torchvision")
    if options.peak is not None:
        return print_peak(options.peak, options.size)
    sides = dict(SIDES)
    if importlib.util.find_spec("pystiche") is None:
        print("pystiche is not installed: pip install --no-deps pystiche==1.0.1", file=sys.stderr)
        sides = {name: side for name, side in sides.items() if "pystiche" not in name}
    content, style = pictures(options.size)
    losses = {name: side(content, style) for name, side in sides.items()}
    image = gatys.starting_image(content, "noise", seed=1)
    check_agreement(losses, image)
    print(time.strftime("%Y-%m-%d"), harness.machine(options.threads), f"{options.size} px\n")
    report_time(losses, image, options.rounds, options.clock)
    print()
    if options.steps:
        report_bfloat16(losses, content, options.steps)
        print()
    report_memory(list(sides), options.size, options.threads)
    return None


if __name__ == "__main__":
    main()
