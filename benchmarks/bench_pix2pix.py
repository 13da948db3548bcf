"""One training step of Pix2Pix at its published size, the course against a plain PyTorch loop.

``python benchmarks/bench_pix2pix.py`` prints a table for each precision. A step is one round of the
game on a batch of pairs: the discriminator's update on true and generated pairs, then the
generator's with L1. The plain loop is the one that most scripts have: binary cross entropy with
logits against tensors of ones and zeros, true and generated pairs one after the other, the
discriminator frozen in the generator's update, the usual memory format. Both sides begin with the
same weights; the script stops if they do not take the same steps.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable

import harness
import torch
from torch import Tensor, nn

from coursekit import pix2pix
from coursekit.core import runtime

PRECISIONS = ("float32", "bfloat16")
SIDES = ("plain loop", "course")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
RATE, BETAS, L1_WEIGHT = 2e-4, (0.5, 0.999), 100.0
Step = Callable[[Tensor, Tensor], dict[str, float]]


# --- The plain loop ------------------------------------------------------------------------------


class PlainUNet(nn.Module):
    """The published U-Net in the usual memory format."""

    def __init__(self, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        widths = [min(width * 2**level, 8 * width) for level in range(depth)]
        down = [nn.Sequential(nn.Conv2d(3, widths[0], 4, 2, 1, bias=False))]
        for before, after in itertools.pairwise(widths[:-1]):
            convolution = nn.Conv2d(before, after, 4, 2, 1, bias=False)
            down.append(nn.Sequential(nn.LeakyReLU(0.2), convolution, nn.BatchNorm2d(after)))
        last = nn.Conv2d(widths[-2], widths[-1], 4, 2, 1, bias=False)
        down.append(nn.Sequential(nn.LeakyReLU(0.2), last))
        up, seen = [], widths[-1]
        for number, after in enumerate(reversed(widths[:-1])):
            convolution = nn.ConvTranspose2d(seen, after, 4, 2, 1, bias=False)
            noise = [nn.Dropout(dropout)] if number < 3 else []
            up.append(nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(after), *noise))
            seen = 2 * after
        up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(seen, 3, 4, 2, 1), nn.Tanh()))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for layer in self.down:
            x = layer(x)
            features.append(x)
        x = self.up[0](features.pop())
        for layer in self.up[1:]:
            x = layer(torch.cat([x, features.pop()], 1))
        return x


def plain_discriminator(width: int) -> nn.Sequential:
    """The 70×70 PatchGAN in the usual memory format."""
    layers: list[nn.Module] = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    for before, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
        layers += [
            nn.Conv2d(before, 2 * before, 4, stride, 1, bias=False),
            nn.BatchNorm2d(2 * before),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


def same_weights(target: nn.Module, source: nn.Module) -> nn.Module:
    values = [value.detach().clone() for value in source.state_dict().values()]
    names = target.state_dict().keys()
    target.load_state_dict(dict(zip(names, values, strict=True)))
    return target.to(memory_format=torch.contiguous_format)


def plain(
    generator: nn.Module, discriminator: nn.Module, optimisers: Callable, precision: str
) -> Step:
    g_optimiser, d_optimiser = optimisers(generator), optimisers(discriminator)
    criterion, distance = nn.BCEWithLogitsLoss(), nn.L1Loss()

    def forward(network: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return network(x).float()

    def step(source: Tensor, target: Tensor) -> dict[str, float]:
        fake = forward(generator, source)
        discriminator.requires_grad_(True)
        d_optimiser.zero_grad()
        real_logits = forward(discriminator, torch.cat([source, target], 1))
        d_real = criterion(real_logits, torch.ones_like(real_logits))
        fake_logits = forward(discriminator, torch.cat([source, fake.detach()], 1))
        d_fake = criterion(fake_logits, torch.zeros_like(fake_logits))
        d_loss = (d_real + d_fake) * 0.5
        d_loss.backward()
        d_optimiser.step()

        discriminator.requires_grad_(False)
        g_optimiser.zero_grad()
        logits = forward(discriminator, torch.cat([source, fake], 1))
        g_loss, l1 = criterion(logits, torch.ones_like(logits)), distance(fake, target)
        (g_loss + l1 * L1_WEIGHT).backward()
        g_optimiser.step()
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item(), "l1": l1.item()}

    return step


# --- The course ----------------------------------------------------------------------------------


def course(
    generator: nn.Module, discriminator: nn.Module, optimisers: Callable, precision: str
) -> Step:
    """The two functions that `coursekit.pix2pix.Game.step` calls."""
    generator.precision = discriminator.precision = precision
    g_optimiser, d_optimiser = optimisers(generator), optimisers(discriminator)

    def step(source: Tensor, target: Tensor) -> dict[str, float]:
        fake = generator(source)
        terms = pix2pix.discriminator_step(discriminator, d_optimiser, source, target, fake)
        terms |= pix2pix.generator_step(
            discriminator, g_optimiser, source, target, fake, l1_weight=L1_WEIGHT
        )
        return {name: float(terms[name]) for name in ("d_loss", "g_loss", "l1")}

    return step


# --- The race ------------------------------------------------------------------------------------


def side(name: str, options: argparse.Namespace, precision: str, dropout: float = 0.5) -> Step:
    """One of `SIDES`, every time with the same weights."""
    torch.manual_seed(0)
    width, depth = options.width, options.size.bit_length() - 1
    generator = pix2pix.UNetGenerator(width=width, depth=depth, dropout=dropout)
    discriminator = pix2pix.PatchDiscriminator(width=width)

    def adam(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), RATE, BETAS)

    if name == "course":
        return course(generator, discriminator, adam, precision)
    networks = PlainUNet(width, depth, dropout), plain_discriminator(width)
    copies = map(same_weights, networks, (generator, discriminator))
    return plain(*copies, adam, precision)


def check_agreement(options: argparse.Namespace, precision: str, rounds: int = 3) -> None:
    """Stop unless both sides report the same losses, step after step; without dropout."""
    steps = {name: side(name, options, precision, dropout=0.0) for name in SIDES}
    for number in range(rounds):
        pair = inputs(options, number)
        expected, found = (steps[name](*pair) for name in SIDES)
        for name, value in expected.items():
            # Adam makes full steps of gradients that are rounding errors, from the first step on.
            tolerance = (2e-3 if number == 0 else 2e-2) if precision == "float32" else 5e-2
            if abs(found[name] - value) > tolerance * max(abs(value), 1):
                sys.exit(f"{name} of step {number + 1}: {found[name]:.5f} against {value:.5f}.")


def inputs(options: argparse.Namespace, seed: int) -> tuple[Tensor, Tensor]:
    shape, random = (options.batch, 3, options.size, options.size), runtime.generator(seed)
    source, target = (torch.rand(shape, generator=random) * 2 - 1 for _ in range(2))
    return source, target


def report(options: argparse.Namespace, precision: str) -> None:
    steps, pair = {name: side(name, options, precision) for name in SIDES}, inputs(options, 0)
    races = {name: lambda step=step: step(*pair) for name, step in steps.items()}
    seconds = harness.race(races, options.rounds, clock=CLOCKS[options.clock])
    reference, rows = seconds["plain loop"], []
    for name, times in seconds.items():
        rows.append(
            [
                name,
                *harness.summary(times, reference),
                f"{min(times) / min(reference):.2f}",
                peak_of(name, options, precision),
            ]
        )
    head = [f"one step, {precision}", "median", "fastest", "÷ plain loop", "middle half"]
    print(harness.table([*head, "fastest ÷ fastest", "peak MiB"], rows))


def peak_of(name: str, options: argparse.Namespace, precision: str) -> str:
    """Of two steps in a process of its own."""
    given = {"peak": name, "width": options.width, "size": options.size, "batch": options.batch}
    given |= {"threads": options.threads, "precision": precision}
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return harness.in_new_process(__file__, *words)


def print_peak(options: argparse.Namespace) -> None:
    step, pair = side(options.peak, options, options.precision[0]), inputs(options, 0)
    harness.reset_peak()
    for _ in range(2):
        step(*pair)
    print(f"{harness.peak_memory():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64, help="ngf and ndf")
    parser.add_argument("--size", type=int, default=256, help="pixels a side, a power of 2")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor seconds of all threads, with OMP_WAIT_POLICY=passive (busy machine)",
    )
    parser.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds counts from 2: one round has no spread.")
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        print_peak(options)
        return
    print(
        time.strftime("%Y-%m-%d"),
        harness.machine(options.threads),
        f"width {options.width}, batch {options.batch}, {options.size} px",
    )
    for precision in options.precision:
        check_agreement(options, precision)
        print()
        report(options, precision)


if __name__ == "__main__":
    main()
