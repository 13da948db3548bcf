"""One training step of DCGAN at its published size, the course against a plain PyTorch loop.

``python benchmarks/bench_dcgan.py`` prints a table for each precision. A step is one round of the
game on a batch: the discriminator's update on real and generated images, then the generator's.
The plain loop is the one that most scripts have: a sigmoid at the discriminator's end and binary
cross entropy, real and generated images one after the other with a backward pass each, one fake
for both updates, the usual memory format. Both sides begin with the same weights; the script
stops if they do not take the same steps.
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

from coursekit import dcgan
from coursekit.core import runtime

PRECISIONS = ("float32", "bfloat16")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIZE, RATE, BETAS = 64, 2e-4, (0.5, 0.999)
Step = Callable[[Tensor, Tensor], dict[str, float]]


# --- The plain loop ------------------------------------------------------------------------------


def plain_generator(width: int) -> nn.Sequential:
    """The published generator in the usual memory format; its input is (N, latent, 1, 1)."""
    widths = [dcgan.LATENT, 8 * width, 4 * width, 2 * width, width]
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        stride, padding = (2, 1) if index else (1, 0)
        layers += [
            nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    last = nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False)
    return nn.Sequential(*layers, last, nn.Tanh())


def plain_discriminator(width: int) -> nn.Sequential:
    """The published discriminator with a sigmoid at its end."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False)]
    layers.append(nn.LeakyReLU(0.2, inplace=True))
    for before in (width, 2 * width, 4 * width):
        layers += [
            nn.Conv2d(before, 2 * before, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * before),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid())


def same_weights(target: nn.Module, source: nn.Module) -> nn.Module:
    values = [value.detach().clone() for value in source.state_dict().values()]
    names = target.state_dict().keys()
    target.load_state_dict(dict(zip(names, values, strict=True)))
    return target.to(memory_format=torch.contiguous_format)


def plain(made: dcgan.Generator, judge: dcgan.Discriminator, precision: str, width: int) -> Step:
    """The usual loop, with weights copied from the course's networks."""
    generator = same_weights(plain_generator(width), made)
    discriminator = same_weights(plain_discriminator(width), judge)
    g_optimiser = torch.optim.Adam(generator.parameters(), RATE, BETAS)
    d_optimiser = torch.optim.Adam(discriminator.parameters(), RATE, BETAS)
    criterion = nn.BCELoss()

    def forward(network: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return network(x).float()

    def step(real: Tensor, z: Tensor) -> dict[str, float]:
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        discriminator.zero_grad()
        d_real = criterion(forward(discriminator, real).view(-1), ones)
        d_real.backward()
        fake = forward(generator, z[:, :, None, None])
        d_fake = criterion(forward(discriminator, fake.detach()).view(-1), zeros)
        d_fake.backward()
        d_optimiser.step()

        generator.zero_grad()
        g_loss = criterion(forward(discriminator, fake).view(-1), ones)
        g_loss.backward()
        g_optimiser.step()
        return {"d_loss": d_real.item() + d_fake.item(), "g_loss": g_loss.item()}

    return step


# --- The course ----------------------------------------------------------------------------------


def course(generator: dcgan.Generator, discriminator: dcgan.Discriminator, precision: str) -> Step:
    """The two functions that `coursekit.dcgan.Game.step` calls."""
    generator.precision = discriminator.precision = precision
    g_optimiser = torch.optim.Adam(generator.parameters(), RATE, BETAS)
    d_optimiser = torch.optim.Adam(discriminator.parameters(), RATE, BETAS)

    def step(real: Tensor, z: Tensor) -> dict[str, float]:
        fake = generator(z)
        terms = dcgan.discriminator_step(discriminator, d_optimiser, real, fake)
        terms |= dcgan.generator_step(discriminator, g_optimiser, fake)
        return {name: float(terms[name]) for name in ("d_loss", "g_loss")}

    return step


# --- The race ------------------------------------------------------------------------------------


def sides(width: int, precision: str, seed: int = 0) -> dict[str, Step]:
    torch.manual_seed(seed)
    networks = dcgan.Generator(width=width, size=SIZE), dcgan.Discriminator(width, SIZE)
    steps = {"plain loop": plain(*networks, precision, width)}  # first: it copies the weights
    return steps | {"course": course(*networks, precision)}


def check_agreement(width: int, batch: int, precision: str, rounds: int = 3) -> None:
    """Stop unless both sides report the same losses, step after step."""
    steps = sides(width, precision)
    for number in range(rounds):
        real, z = inputs(batch, number)
        expected, found = steps["plain loop"](real, z), steps["course"](real, z)
        for name, value in expected.items():
            # Adam makes full steps of gradients that are rounding errors, from the first step on.
            tolerance = (2e-3 if number == 0 else 1e-2) if precision == "float32" else 5e-2
            if abs(found[name] - value) > tolerance * max(abs(value), 1):
                sys.exit(f"{name} of step {number + 1}: {found[name]:.5f} against {value:.5f}.")


def inputs(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    random = runtime.generator(seed)
    real = torch.rand(batch, 3, SIZE, SIZE, generator=random) * 2 - 1
    return real, torch.randn(batch, dcgan.LATENT, generator=random)


def report(width: int, batch: int, precision: str, rounds: int, clock: str) -> None:
    steps, (real, z) = sides(width, precision), inputs(batch, 0)
    seconds = harness.race(
        {name: lambda step=step: step(real, z) for name, step in steps.items()},
        rounds,
        clock=CLOCKS[clock],
    )
    reference = seconds["plain loop"]
    rows = []
    for name, times in seconds.items():
        rows.append(
            [
                name,
                *harness.summary(times, reference),
                f"{min(times) / min(reference):.2f}",
            ]
        )
    head = [f"one step, {precision}", "median", "fastest", "÷ plain loop", "middle half"]
    print(harness.table([*head, "fastest ÷ fastest"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64, help="ngf and ndf")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor seconds of all threads, with OMP_WAIT_POLICY=passive (busy machine)",
    )
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds counts from 2: one round has no spread.")
    torch.set_num_threads(options.threads)
    print(
        time.strftime("%Y-%m-%d"),
        harness.machine(options.threads),
        f"width {options.width}, batch {options.batch}, {SIZE} px",
    )
    for precision in options.precision:
        check_agreement(options.width, options.batch, precision)
        print()
        report(options.width, options.batch, precision, options.rounds, options.clock)


if __name__ == "__main__":
    main()
