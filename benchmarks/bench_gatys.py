"""A closure of Gatys style transfer, against a plain loop and pystiche.

256×256, VGG-16, content relu4_2, style relu1_1 … relu5_1. A closure is what L-BFGS evaluates:
forward, losses, backward to the image. Every side has the same weights and images and computes the
same loss.

- *plain loop*: torchvision's layers, frozen, cut after relu5_1, nothing computed twice, ReLU not in
  place, the usual memory format.
- *pystiche as shipped*: its documented classes. Its encoder computes gradients of its weights.
- *pystiche, frozen*: the same with `requires_grad_(False)`, by hand.

pystiche is from 2021; the one shim that a newer torchvision needs is in the script.

What bfloat16 costs is measured where it is faster: so many steps of L-BFGS with each precision,
both results judged by the float32 loss.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import harness
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from coursekit import gatys
from coursekit.bench_results import Side as Row
from coursekit.bench_results import Table
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


def check_agreement(losses: dict[str, Objective], image: Tensor) -> str:
    """Stop unless every float32 side has the plain loop's gradient.

    Rounding flips a few ReLUs and maxima, so that the gradients differ by about 1e-3.
    """
    expected, farthest = gradient(losses["plain loop"], image), 0.0
    for name, loss in losses.items():
        error = float((gradient(loss, image) - expected).norm() / expected.norm())
        if "bfloat16" not in name and error > 5e-3:
            sys.exit(f"{name} computes something else: its gradient is {error:.1%} away.")
        farthest = farthest if "bfloat16" in name else max(farthest, error)
    return f"the gradients in float32 are at most {farthest:.1e} of their length apart"


def closures(options: argparse.Namespace, names: list[str]) -> Table:
    content, style = pictures(options.size)
    losses = {name: SIDES[name](content, style) for name in names}
    image = gatys.starting_image(content, "noise", seed=1)
    check = check_agreement(losses, image)
    starts = {name: image.clone().requires_grad_(True) for name in losses}
    calls = {name: lambda name=name: closure(losses[name], starts[name]) for name in losses}
    return harness.table(
        f"one closure, {options.size} px",
        harness.race(calls, options),
        check=check,
        references=[name for name in losses if "course" not in name],
        peaks=harness.peaks(options, names),
    )


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """Three closures."""
    content, style = pictures(options.size)
    loss, image = SIDES[name](content, style), content.clone().requires_grad_(True)
    return lambda: [closure(loss, image) for _ in range(3)]


def cost_of_bfloat16(options: argparse.Namespace) -> Table:
    """Gradients side by side, then a whole optimisation with each, judged in float32."""
    content, style = pictures(options.size)
    sides = {name: SIDES[name](content, style) for name in ("course, float32", "course, bfloat16")}
    exact, rough = sides.values()
    rows = []
    for kind in ("content", "noise"):
        start = gatys.starting_image(content, kind, seed=0)
        runs = [
            optimise_pixels(each, start, steps=options.steps, progress=False)
            for each in sides.values()
        ]
        final, cost = (float(exact(run.image).detach()) for run in runs)
        angles = [
            torch.cosine_similarity(gradient(exact, at), gradient(rough, at), dim=0)
            for at in (start, runs[0].image)
        ]
        more = {
            "cosine of the gradients at the start": f"{angles[0]:.3f}",
            "at float32's end": f"{angles[1]:.3f}",
            "final loss in float32": f"{final:.4g}",
            "with bfloat16": f"{cost / final - 1:+.1%}",
        }
        rows.append(Row(kind, more=more))
    return Table(f"{options.steps} steps of L-BFGS from", tuple(rows), 1)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--steps", type=int, default=120, help="of L-BFGS, 0 to skip them")


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    yield from harness.missing("pystiche")
    with_bfloat16 = harness.multiplies_bfloat16(options)
    yield closures(
        options,
        [
            name
            for name in SIDES
            if (with_bfloat16 or "bfloat16" not in name)
            and (harness.is_there("pystiche") or "pystiche" not in name)
        ],
    )
    if not with_bfloat16:
        yield harness.WITHOUT_BFLOAT16
    elif options.steps:
        yield cost_of_bfloat16(options)


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=11, peak=peak, add_options=add_options)
