"""One training step of CycleGAN at its published width, the course against a plain PyTorch loop.

``python benchmarks/bench_cyclegan.py`` prints a table for each precision. A step is one round of
the game on one picture of each heap: both generators' update (adversarial, cycle and identity
terms), then each discriminator's on fakes from its pool. The plain loop is the one that most
scripts have: six separate passes through the generators, a backward pass for real and one for made
pictures in the discriminators, the usual memory format. Both sides begin with the same weights;
the script stops if they do not take the same steps.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator

import harness
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import cyclegan
from coursekit.core import runtime

PRECISIONS = ("float32", "bfloat16")
SIDES = ("plain loop", "course")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
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


def same_weights(target: nn.Module, source: nn.Module) -> nn.Module:
    values = [value.detach().clone() for value in source.state_dict().values()]
    target.load_state_dict(dict(zip(target.state_dict(), values, strict=True)))
    return target.to(memory_format=torch.contiguous_format)


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
    to_y = same_weights(plain_generator(width, blocks), game.translators.to_y)
    to_x = same_weights(plain_generator(width, blocks), game.translators.to_x)
    judge_x = same_weights(plain_discriminator(width), game.discriminator_x)
    judge_y = same_weights(plain_discriminator(width), game.discriminator_y)
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


def check_agreement(options: argparse.Namespace, precision: str, rounds: int = 3) -> None:
    """Stop unless both sides report the same losses, step after step."""
    steps = {side: make(side, options.width, options.blocks, precision) for side in SIDES}
    for number in range(rounds):
        pair = inputs(options.size, options.batch, number)
        expected, found = (steps[side](*pair) for side in SIDES)
        for name, value in expected.items():
            # Adam makes full steps of gradients that are rounding errors, from the first step on.
            tolerance = (1e-3 if number == 0 else 2e-2) if precision == "float32" else 5e-2
            if abs(found[name] - value) > tolerance * max(abs(value), 1):
                sys.exit(f"{name} of step {number + 1}: {found[name]:.5f} against {value:.5f}.")


def report(options: argparse.Namespace, precision: str) -> Iterator[list[str]]:
    """A row a side."""
    pair = inputs(options.size, options.batch, 0)
    steps = {side: make(side, options.width, options.blocks, precision) for side in SIDES}
    seconds = harness.race(
        {side: lambda step=step: step(*pair) for side, step in steps.items()},
        options.rounds,
        warm_up=1,
        clock=CLOCKS[options.clock],
    )
    reference = seconds[SIDES[0]]
    for side, times in seconds.items():
        yield [
            f"{side}, {precision}",
            *harness.summary(times, reference),
            peak(options, side, precision),
        ]


def peak(options: argparse.Namespace, side: str, precision: str) -> str:
    """MiB that a process of its own takes for three steps of one side."""
    sizes = [f"--{name}={getattr(options, name)}" for name in ("width", "blocks", "size", "batch")]
    alone = ["--alone", side, "--precision", precision, "--threads", str(options.threads)]
    return harness.in_new_process(__file__, *sizes, *alone)


def measure_alone(options: argparse.Namespace) -> None:
    """What `peak` starts: three steps, then the highest resident memory in MiB."""
    step = make(options.alone, options.width, options.blocks, options.precision[0])
    for number in range(3):
        step(*inputs(options.size, options.batch, number))
    print(f"{harness.peak_memory():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64, help="of generators and discriminators")
    parser.add_argument("--blocks", type=int, default=6, help="6 for 128 pixels, 9 for 256")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on a busy machine")
    parser.add_argument("--alone", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds counts from 2: one round has no spread.")
    torch.set_num_threads(options.threads)
    if options.alone:
        measure_alone(options)
        return
    about = f"width {options.width}, {options.blocks} blocks, {options.size} px, {options.batch} of"
    print(time.strftime("%Y-%m-%d"), harness.machine(options.threads), f"{about} each heap")
    rows = []
    for precision in options.precision:
        check_agreement(options, precision)
        rows += report(options, precision)
    head = ["one step", "median", "fastest", "÷ plain loop", "middle half", "peak MiB"]
    print(harness.table(head, rows))


if __name__ == "__main__":
    main()
