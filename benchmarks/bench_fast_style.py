"""One training step of fast style transfer against the usual script; one pass against Gatys.

``python benchmarks/bench_fast_style.py`` prints two tables. First a training step (paint a batch,
loss, backward into the painter, Adam): all sides have the same painter, weights, photographs and
loss, and the script stops if their gradients differ. Then what a painting costs: one pass of the
network against one closure of Gatys et al. on the same objective.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import harness
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from coursekit import fast_style
from coursekit.core import weights
from coursekit.core.features import IMAGENET_MEAN, IMAGENET_STD, layer_names
from coursekit.datasets.photos import photo
from coursekit.datasets.styles import style_image
from coursekit.fast_style_networks import TransformerNetwork

PHOTOGRAPHS = ("chelsea", "coffee", "astronaut", "rocket")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Step = Callable[[Tensor], None]


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


def make_sides(width: int, style: Tensor) -> dict[str, tuple[nn.Module, Step]]:
    torch.manual_seed(0)
    network = TransformerNetwork(width)
    for block in network.body:  # they begin at 0, and a gradient of 0 would compare nothing
        nn.init.ones_(block.norm2.weight)
    sides = {}
    for name, precision in {"course, float32": "float32", "course, bfloat16": "bfloat16"}.items():
        own = copy.deepcopy(network)
        own.precision = precision
        sides[name] = own, course_step(own, style, precision)
    own = copy.deepcopy(network)
    return sides | {"usual script": (own, plain_step(own, style))}


def gradient(network: nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten() for weight in network.parameters()])


def check_agreement(sides: dict[str, tuple[nn.Module, Step]], photographs: Tensor) -> None:
    """Stop unless the float32 sides have the same gradient; say how far bfloat16 is."""
    for _, step in sides.values():
        step(photographs)
    found = {name: gradient(network) for name, (network, _) in sides.items()}
    expected = found.pop("usual script")
    for name, each in found.items():
        cosine = float(torch.cosine_similarity(each, expected, dim=0))
        error = float((each - expected).norm() / expected.norm())
        print(f"{name}: cosine to the usual script's gradient {cosine:.4f}, {error:.2%} away")
        if "bfloat16" not in name and error > 1e-2:
            sys.exit(f"{name} computes something else.")


def report(title: str, seconds: dict[str, list[float]], reference: str) -> None:
    rows = [
        [
            name,
            f"{statistics.median(times) * 1e3:.0f} ms",
            f"{harness.ratio(times, seconds[reference]):.3f}",
        ]
        for name, times in seconds.items()
    ]
    print(harness.table([title, "median", f"÷ {reference}"], rows), "\n")


def painting_sides(size: int, style: Tensor) -> dict[str, Callable[[], object]]:
    """One pass of three networks, one closure of two precisions, on one photograph."""
    picture = photo("astronaut", size, crop=True)
    torch.manual_seed(0)
    networks = {
        f"pass, width {width}, {precision}": TransformerNetwork(width, precision=precision)
        for width, precision in ((32, "float32"), (16, "float32"), (16, "bfloat16"))
    }
    sides = {
        name: lambda network=network: fast_style.paint(network, picture)
        for name, network in networks.items()
    }
    for precision in ("float32", "bfloat16"):
        loss = fast_style.Objective(style, precision=precision).of(picture)
        sides[f"Gatys closure, {precision}"] = lambda loss=loss: closure(loss, picture)
    return sides


def closure(loss: Callable[[Tensor], dict[str, Tensor]], picture: Tensor) -> None:
    image = picture.clone().requires_grad_(True)
    sum(loss(image).values()).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="of the crops of a training step")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--width", type=int, default=16, help="of the painter that is trained")
    parser.add_argument("--paint", type=int, default=512, help="side of the picture painted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor seconds of all threads, with OMP_WAIT_POLICY=passive (busy machine)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module="torchvision")
    style, clock = style_image("stained_glass", 256), CLOCKS[options.clock]
    squares = [photo(name, options.size, crop=True) for name in PHOTOGRAPHS]
    photographs = torch.cat(squares)[torch.arange(options.batch) % len(squares)]
    print(time.strftime("%Y-%m-%d"), harness.machine(options.threads), f"{options.clock} clock\n")

    sides = make_sides(options.width, style)
    check_agreement(sides, photographs)
    print()
    steps = {name: lambda step=step: step(photographs) for name, (_, step) in sides.items()}
    title = f"a training step, {options.batch} × {options.size} px, width {options.width}"
    report(title, harness.race(steps, options.rounds, clock=clock), "usual script")
    passes = painting_sides(options.paint, style)
    title = f"one painting, {options.paint} px"
    report(title, harness.race(passes, max(options.rounds // 2, 3), clock=clock), list(passes)[-2])


if __name__ == "__main__":
    main()
