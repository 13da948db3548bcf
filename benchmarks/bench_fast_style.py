"""Fast style: a training step against the usual script, a painting against a closure of Gatys.

A step: paint two crops of 128×128 with a network of width 16, evaluate the perceptual loss, update.
All sides have the same painter, weights, photographs and loss.

- *usual script*: VGG-16 frozen, content features through all four layers, float32.
- *course*: `fast_style.training_step` as the recipe calls it.

A painting is one pass of the network; a closure of Gatys et al. evaluates the same objective once,
and a picture takes some hundred of them.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator

import harness
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from coursekit import fast_style
from coursekit.bench_results import Table
from coursekit.core import weights
from coursekit.core.features import IMAGENET_MEAN, IMAGENET_STD, layer_names
from coursekit.datasets.photos import photo
from coursekit.datasets.styles import style_image
from coursekit.fast_style_networks import TransformerNetwork

CLOSURE = "Gatys closure"
PHOTOGRAPHS = ("chelsea", "coffee", "astronaut", "rocket")
Step = Callable[[Tensor], None]
Trained = tuple[nn.Module, Step]


class PlainVGG(nn.Module):
    """torchvision's layers up to relu4_3, frozen: the four outputs of the usual script."""

    def __init__(self) -> None:
        super().__init__()
        names = layer_names("vgg16")
        self.layers = make_layers(cfgs["D"], batch_norm=False)[: names.index("relu4_3") + 1]
        self.wanted = {names.index(name): name for name in fast_style.STYLE_LAYERS}
        loaded = weights.load("vgg16")
        state = {key.removeprefix("features."): value for key, value in loaded.items()}
        self.layers.load_state_dict({key: state[key] for key in self.layers.state_dict()})
        self.requires_grad_(False)
        self.mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x, found = (images - self.mean) / self.std, {}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.wanted:
                found[self.wanted[index]] = x.clone()  # the next ReLU may work in place
        return found


def plain_gram(features: Tensor) -> Tensor:
    n, c, h, w = features.shape
    rows = features.reshape(n, c, h * w)
    return rows.bmm(rows.transpose(1, 2)) / (h * w)


def plain_step(network: nn.Module, style: Tensor) -> Step:
    """The usual script: one network of four outputs for paintings and photographs, float32."""
    vgg, judge = PlainVGG(), fast_style.Objective(style)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    with torch.no_grad():
        grams = {name: plain_gram(features) for name, features in vgg(style).items()}

    def step(photographs: Tensor) -> None:
        optimiser.zero_grad()
        paintings = network(photographs)
        features = vgg(paintings)
        with torch.no_grad():
            kept = vgg(photographs)
        layer = fast_style.CONTENT_LAYER
        loss = functional.mse_loss(features[layer], kept[layer])
        for name, target in grams.items():
            # The course's weights: of each layer, and of the mean of squares it is written with.
            weight = judge.style_weight * judge.layer_weights[name] / 4
            found = plain_gram(features[name])
            loss = loss + weight * functional.mse_loss(found, target.expand_as(found))
        across = (paintings[..., 1:] - paintings[..., :-1]).square().sum()
        down = (paintings[..., 1:, :] - paintings[..., :-1, :]).square().sum()
        loss = loss + judge.smoothness_weight * (across + down) / paintings.numel()
        loss.backward()
        optimiser.step()

    return step


def course_step(network: nn.Module, style: Tensor, precision: str) -> Step:
    """`fast_style.training_step` as the recipe calls it."""
    objective = fast_style.Objective(style, precision=precision)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)

    def step(photographs: Tensor) -> None:
        fast_style.training_step(network, optimiser, objective, photographs)

    return step


def make_sides(width: int, style: Tensor, precisions: list[str]) -> dict[str, Trained]:
    torch.manual_seed(0)
    network = TransformerNetwork(width)
    for block in network.body:  # they begin at 0, and a gradient of 0 would compare nothing
        nn.init.ones_(block.norm2.weight)
    own = copy.deepcopy(network)
    sides = {"usual script": (own, plain_step(own, style))}
    for precision in precisions:
        own = copy.deepcopy(network)
        own.precision = precision
        sides[f"course, {precision}"] = own, course_step(own, style, precision)
    return sides


def gradient(network: nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten() for weight in network.parameters()])


def check_agreement(sides: dict[str, Trained], photographs: Tensor) -> str:
    """Stop unless the float32 sides have the same gradient; say how far bfloat16 is."""
    for _, step in sides.values():
        step(photographs)
    found = {name: gradient(network) for name, (network, _) in sides.items()}
    expected, said = found.pop("usual script"), []
    for name, each in found.items():
        cosine = float(torch.cosine_similarity(each, expected, dim=0))
        error = float((each - expected).norm() / expected.norm())
        if "bfloat16" not in name and error > 1e-2:
            sys.exit(f"{name} computes something else: its gradient is {error:.1%} away.")
        said.append(f"that of {name}, is {error:.1e} of its length away, cosine {cosine:.4f}")
    return f"from the usual script's gradient {'; '.join(said)}"


def painting_sides(
    size: int, style: Tensor, precisions: list[str]
) -> dict[str, Callable[[], object]]:
    """One closure, one pass of the published and the course's width, on one photograph."""
    picture = photo("astronaut", size, crop=True)
    torch.manual_seed(0)
    sides: dict[str, Callable[[], object]] = {}
    for precision in precisions:
        loss = fast_style.Objective(style, precision=precision).of(picture)
        sides[f"{CLOSURE}, {precision}"] = lambda loss=loss: closure(loss, picture)
    for width, precision in [(32, "float32"), *((16, each) for each in precisions)]:
        network = TransformerNetwork(width, precision=precision)
        name = f"pass, width {width}, {precision}"
        sides[name] = lambda network=network: fast_style.paint(network, picture)
    return sides


def closure(loss: Callable[[Tensor], dict[str, Tensor]], picture: Tensor) -> None:
    image = picture.clone().requires_grad_(True)
    sum(loss(image).values()).backward()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=128, help="of the crops of a training step")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--width", type=int, default=16, help="of the painter that is trained")
    parser.add_argument("--paint", type=int, default=512, help="side of the picture painted")


def crops(options: argparse.Namespace) -> Tensor:
    squares = [photo(name, options.size, crop=True) for name in PHOTOGRAPHS]
    return torch.cat(squares)[torch.arange(options.batch) % len(squares)]


def training(options: argparse.Namespace, style: Tensor, precisions: list[str]) -> Table:
    photographs = crops(options)
    sides = make_sides(options.width, style, precisions)
    check = check_agreement(sides, photographs)
    calls = {name: lambda step=step: step(photographs) for name, (_, step) in sides.items()}
    title = f"a training step, {options.batch} × {options.size} px, width {options.width}"
    seconds, peaks = harness.race(calls, options), harness.peaks(options, list(sides))
    return harness.table(title, seconds, check=check, peaks=peaks)


def painting(options: argparse.Namespace, style: Tensor, precisions: list[str]) -> Table:
    passes = painting_sides(options.paint, style, precisions)
    seconds = harness.race(passes, options, rounds=max(options.rounds // 2, 1), warm_up=1)
    peaks = harness.peaks(options, list(passes))
    return harness.table(f"one painting, {options.paint} px", seconds, peaks=peaks)


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """Two training steps, or one painting; the other sides are gone before."""
    precisions, style = harness.precisions(options), style_image("stained_glass", 256)
    sides = painting_sides(options.paint, style, precisions)
    if name in sides:
        return sides[name]
    del sides
    photographs = crops(options)
    _, step = make_sides(options.width, style, precisions)[name]
    return lambda: [step(photographs) for _ in range(2)]


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    precisions = harness.precisions(options)
    style = style_image("stained_glass", 256)
    yield training(options, style, precisions)
    yield painting(options, style, precisions)
    if "bfloat16" not in precisions:
        yield harness.WITHOUT_BFLOAT16


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=9, peak=peak, add_options=add_options)
