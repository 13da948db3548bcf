"""A training step of CycleGAN at its published width, against a plain loop.

Width 64, 6 residual blocks, 70×70 patches, one picture of each heap; 128×128 pixels (the paper's
for 6 blocks) and 64×64. A step is one round of the game: both generators' update with the
adversarial, cycle and identity terms, then each discriminator's on fakes from its pool. Both sides
begin with the same weights.

- *plain loop*: the usual script. Six separate passes through the generators; in the discriminators
  a pass and a backward pass each for real and made pictures; the usual memory format.
- *course*: `cyclegan.Game.step`. A translation and an identity share one pass, real and made
  pictures one backward pass, and the discriminators are in channels_last; its averaged weights are
  not part of the step on either side. It holds more memory: the averaged generators are kept, and a
  shared pass holds two pictures' maps at once.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterator

import harness
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import cyclegan
from coursekit.bench_results import Table
from coursekit.core import runtime

SIDES = ("plain loop", "course")
RATE, BETAS, POOL = 2e-4, (0.5, 0.999), 50
CYCLE, IDENTITY = 10.0, 5.0
Step = Callable[[Tensor, Tensor], dict[str, float]]


# --- The plain loop ------------------------------------------------------------------------------


class PlainBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def plain_generator(width: int, blocks: int) -> nn.Sequential:
    """c7s1-k, d2k, d4k, the blocks, u2k, uk, c7s1-3 (Zhu et al. 2017, appendix 7.2)."""
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width)]
    layers.append(nn.ReLU(True))
    for before in (width, 2 * width):
        layers += [
            nn.Conv2d(before, 2 * before, 3, 2, 1),
            nn.InstanceNorm2d(2 * before),
            nn.ReLU(True),
        ]
    layers += [PlainBlock(4 * width) for _ in range(blocks)]
    for before in (4 * width, 2 * width):
        layers += [
            nn.ConvTranspose2d(before, before // 2, 3, 2, 1, 1),
            nn.InstanceNorm2d(before // 2),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def plain_discriminator(width: int) -> nn.Sequential:
    """C64-C128-C256-C512 of 70×70 patches."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for before, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
        layers += [
            nn.Conv2d(before, 2 * before, 4, stride, 1),
            nn.InstanceNorm2d(2 * before),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


class PlainPool:
    """50 old fakes, as most scripts write it."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        shown = []
        for image in images.detach():
            if len(self.images) < POOL:
                self.images.append(image)
                shown.append(image)
            elif random.random() > 0.5:
                place = random.randrange(POOL)
                shown.append(self.images[place].clone())
                self.images[place] = image
            else:
                shown.append(image)
        return torch.stack(shown)


def plain(game: cyclegan.Game, precision: str, width: int, blocks: int) -> Step:
    """The usual loop, with weights copied from the course's networks."""
    to_y = harness.same_weights(plain_generator(width, blocks), game.translators.to_y)
    to_x = harness.same_weights(plain_generator(width, blocks), game.translators.to_x)
    judge_x = harness.same_weights(plain_discriminator(width), game.discriminator_x)
    judge_y = harness.same_weights(plain_discriminator(width), game.discriminator_y)
    both = itertools.chain(to_y.parameters(), to_x.parameters())
    g_optimiser = torch.optim.Adam(both, RATE, BETAS)
    judges = itertools.chain(judge_x.parameters(), judge_y.parameters())
    d_optimiser = torch.optim.Adam(judges, RATE, BETAS)
    pool_x, pool_y = PlainPool(), PlainPool()

    def forward(network: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return network(images).float()

    def to_target(scores: Tensor, target: float) -> Tensor:
        return F.mse_loss(scores, torch.full_like(scores, target))

    def step(x: Tensor, y: Tensor) -> dict[str, float]:
        for judge in (judge_x, judge_y):
            judge.requires_grad_(False)
        g_optimiser.zero_grad()
        identity = F.l1_loss(forward(to_y, y), y) + F.l1_loss(forward(to_x, x), x)
        fake_y, fake_x = forward(to_y, x), forward(to_x, y)
        adversarial = to_target(forward(judge_y, fake_y), 1)
        adversarial = adversarial + to_target(forward(judge_x, fake_x), 1)
        cycle = F.l1_loss(forward(to_x, fake_y), x) + F.l1_loss(forward(to_y, fake_x), y)
        (adversarial + CYCLE * cycle + IDENTITY * identity).backward()
        g_optimiser.step()

        for judge in (judge_x, judge_y):
            judge.requires_grad_(True)
        d_optimiser.zero_grad()
        d_loss = 0.0
        for judge, real, fake in (
            (judge_x, x, pool_x.query(fake_x)),
            (judge_y, y, pool_y.query(fake_y)),
        ):
            for images, target in ((real, 1.0), (fake, 0.0)):
                loss = to_target(forward(judge, images), target) / 2
                loss.backward()
                d_loss += loss.item()
        d_optimiser.step()
        terms = {"g_adversarial": adversarial, "cycle": cycle, "identity": identity}
        return {name: term.item() for name, term in terms.items()} | {"d_loss": d_loss}

    return step


# --- The course ----------------------------------------------------------------------------------


def make_game(width: int, blocks: int, precision: str) -> cyclegan.Game:
    torch.manual_seed(0)
    generators = [
        cyclegan.ResNetGenerator(width=width, blocks=blocks, precision=precision) for _ in range(2)
    ]
    judges = [
        cyclegan.PatchDiscriminator(3, width=width, norm="instance", precision=precision)
        for _ in range(2)
    ]
    objective = cyclegan.Objective(CYCLE, IDENTITY)
    return cyclegan.Game(
        cyclegan.Translators(*generators), *judges, objective, learning_rate=RATE, pool=POOL
    )


def course(game: cyclegan.Game) -> Step:
    """`coursekit.cyclegan.Game.step`, which takes pictures in [0, 1]."""

    def step(x: Tensor, y: Tensor) -> dict[str, float]:
        terms = game.step(1, (x + 1) / 2, (y + 1) / 2)
        return {name: float(term) for name, term in terms.items()}

    return step


# --- The race ------------------------------------------------------------------------------------


def make(side: str, width: int, blocks: int, precision: str) -> Step:
    game = make_game(width, blocks, precision)
    return course(game) if side == "course" else plain(game, precision, width, blocks)


def inputs(size: int, batch: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = runtime.generator(1000 + seed)
    return tuple(torch.rand(batch, 3, size, size, generator=draw) * 2 - 1 for _ in "xy")


def check_agreement(options: argparse.Namespace, size: int, precision: str) -> str:
    tolerances = (1e-3, 2e-2) if precision == "float32" else (5e-2, 5e-2)
    steps = {side: make(side, options.width, options.blocks, precision) for side in SIDES}
    return harness.same_losses(
        steps, lambda number: inputs(size, options.batch, number), tolerances
    )


def steps(options: argparse.Namespace, size: int, precision: str) -> Table:
    check, pair = check_agreement(options, size, precision), inputs(size, options.batch, 0)
    made = {side: make(side, options.width, options.blocks, precision) for side in SIDES}
    calls = {side: lambda step=step: step(*pair) for side, step in made.items()}
    return harness.table(
        f"a step, {size} px, {precision}",
        harness.race(calls, options, warm_up=1),
        check=check,
        peaks=harness.peaks(options, SIDES, "--size", str(size), "--precision", precision),
    )


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """Two steps."""
    step = make(name, options.width, options.blocks, options.precision)
    pair = inputs(options.size[0], options.batch, 0)
    return lambda: [step(*pair) for _ in range(2)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, default=64, help="of generators and discriminators")
    parser.add_argument("--blocks", type=int, default=6, help="6 for 128 pixels, 9 for 256")
    parser.add_argument("--size", type=int, nargs="+", default=[128, 64], help="a table each")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    for size in options.size:
        for precision in harness.precisions(options):
            yield steps(options, size, precision)
    if not harness.multiplies_bfloat16(options):
        yield harness.WITHOUT_BFLOAT16


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=7, peak=peak, add_options=add_options)
