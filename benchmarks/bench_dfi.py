"""A closure of DFI's reconstruction, against plain loops; what tiles cost.

Two faces of 128×128, VGG-16 with average pooling, relu2_1, relu3_1, relu4_1, relu5_1, targets once.
A closure is what L-BFGS evaluates: features, the distance to the target, total variation, the
gradient of the pixels. All sides have the same weights and compute the same loss.

- *plain loop*: the whole of VGG-16 in float32, one pass.
- *one pass a layer*: the same, run again for each layer.
- *tiles of 64*: the course's loss with the memory of one tile, for large pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import harness
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from coursekit import dfi, dfi_faces, dfi_tiles
from coursekit.bench_results import Table
from coursekit.core import weights
from coursekit.core.features import IMAGENET_MEAN, IMAGENET_STD, layer_names
from coursekit.core.losses import total_variation

Objective = Callable[[Tensor], Tensor]
BETA = 1.2
TILES = "course, float32, tiles of 64"


def course(faces: Tensor, others: Tensor, precision: str) -> Objective:
    """The course's own functions, as `dfi.reconstruct` puts them together."""
    space = dfi.DeepSpace(faces, precision=precision)
    with torch.no_grad():
        target = dfi.shift(space(faces), space(others) - space(faces), BETA)

    def loss(images: Tensor) -> Tensor:
        return sum(dfi.reconstruction_loss(space(images), target, images).values())

    return loss


def in_tiles(faces: Tensor, others: Tensor) -> Objective:
    """The same loss with the memory of one tile of 64 pixels, float32."""
    space = dfi.DeepSpace(faces, precision="float32")
    here, there = (dfi_tiles.tiled_maps(space, each, size=64) for each in (faces, others))
    target = {name: torch.lerp(here[name], there[name], BETA) for name in here}
    distance = dfi_tiles.tiled_distance(space, target, size=64)
    return lambda x: distance(x) + dfi.TV_WEIGHT * total_variation(x) / x[0].numel()


def network() -> nn.Sequential:
    """All convolutions of torchvision's VGG-16, not cut, average pooling, ReLU not in place."""
    net = make_layers(cfgs["D"], batch_norm=False)
    state = {key.removeprefix("features."): value for key, value in weights.load("vgg16").items()}
    net.load_state_dict(state)
    for index, layer in enumerate(net):
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
        if isinstance(layer, nn.MaxPool2d):
            net[index] = nn.AvgPool2d(2, 2)
    return net.requires_grad_(False).eval()


def plain(faces: Tensor, others: Tensor, passes: int = 1) -> Objective:
    """The usual loop: float32, the whole of VGG-16, targets once; one pass, or one a layer."""
    net, names = network(), layer_names("vgg16")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def one_pass(images: Tensor, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        x, found = (images - mean) / std, {}
        for name, layer in zip(names, net, strict=True):
            x = layer(x)
            if name in wanted:
                found[name] = x
        return found

    def features(images: Tensor) -> dict[str, Tensor]:
        if passes == 1:
            return one_pass(images, dfi.LAYERS)
        return {name: one_pass(images, (name,))[name] for name in dfi.LAYERS}

    with torch.no_grad():
        here, there = features(faces), features(others)
        scales = {name: each.mean() for name, each in here.items()}
        target = {name: (f + BETA * (there[name] - f)) / scales[name] for name, f in here.items()}
    length = sum(each[0].numel() for each in target.values())

    def loss(images: Tensor) -> Tensor:
        found = features(images)
        error = sum(((found[n] / scales[n] - t) ** 2).sum() for n, t in target.items())
        smooth = ((images[..., 1:] - images[..., :-1]) ** 2).sum()
        smooth = smooth + ((images[..., 1:, :] - images[..., :-1, :]) ** 2).sum()
        return error / (2 * length * len(images)) + dfi.TV_WEIGHT * smooth / images.numel()

    return loss


def closure(objective: Objective, start: Tensor) -> tuple[float, Tensor]:
    """Loss and gradient of the pixels."""
    images = start.clone().requires_grad_(True)
    total = objective(images)
    total.backward()
    return float(total.detach()), images.grad


def compare(sides: dict[str, Objective], start: Tensor) -> dict[str, float]:
    """Cosine of each side's gradient with the plain loop's.

    Raises:
        SystemExit: a float32 side computes another loss.
    """
    wanted, slope = closure(sides["plain loop"], start)
    cosines = {}
    for name, objective in sides.items():
        found, other = closure(objective, start)
        cosines[name] = float(torch.cosine_similarity(slope.flatten(), other.flatten(), dim=0))
        near = (0.03, 0.98) if "bfloat16" in name else (1e-3, 0.9999)
        if abs(found / wanted - 1) > near[0] or cosines[name] < near[1]:
            raise SystemExit(f"{name} computes {found:.6g}, the plain loop {wanted:.6g}.")
    return cosines


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--faces", type=int, default=2, help="faces at once")


def side(name: str, faces: Tensor, others: Tensor) -> Objective:
    """The objective of a row of the table."""
    if name == "plain loop":
        return plain(faces, others)
    if name == "one pass a layer":
        return plain(faces, others, passes=len(dfi.LAYERS))
    if name == TILES:
        return in_tiles(faces, others)
    return course(faces, others, name.removeprefix("course, "))


def begin(options: argparse.Namespace) -> tuple[dfi_faces.HeldOut, Tensor]:
    """Faces with their twins, and the pictures that a closure starts from."""
    torch.manual_seed(0)
    held = dfi_faces.held_out(options.faces, options.size, "glasses")
    return held, (held.image + 0.02 * torch.randn(held.image.shape)).clamp(0, 1)


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """One closure."""
    held, start = begin(options)
    objective = side(name, held.image, held.twin)
    return lambda: closure(objective, start)


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    held, start = begin(options)
    precisions = [f"course, {precision}" for precision in harness.precisions(options)]
    names = ["plain loop", "one pass a layer", *precisions, TILES]
    sides = {name: side(name, held.image, held.twin) for name in names}
    cosines = compare(sides, start)
    calls = {name: lambda each=each: closure(each, start) for name, each in sides.items()}
    yield harness.table(
        f"one closure, {options.faces} × {options.size} px",
        harness.race(calls, options),
        check="losses in float32 agree to 0.1 %, gradients as the last column says",
        more={name: {"cosine of gradients": f"{each:.4f}"} for name, each in cosines.items()},
        peaks=harness.peaks(options, names),
    )
    if not harness.multiplies_bfloat16(options):
        yield harness.WITHOUT_BFLOAT16


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=10, peak=peak, add_options=add_options)
