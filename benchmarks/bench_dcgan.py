"""A training step of DCGAN at its published size, against a plain loop.

64×64, latent 100, width 64, batch 64. A step is one round of the game: the discriminator's update
on real and generated images, then the generator's. Both sides begin with the same weights and see
the same batch.

- *plain loop*: the usual script. A sigmoid at the discriminator's end and `BCELoss`; real and
  generated images one after the other, each with its own backward pass; one fake for both updates,
  the discriminator's weights gathering gradients in the generator's update too, as they do there;
  the usual memory format.
- *course*: `dcgan.discriminator_step` and `dcgan.generator_step`, as `dcgan.Game.step` calls them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator

import harness
import torch
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.bench_results import Table
from coursekit.core import runtime

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


def plain(made: dcgan.Generator, judge: dcgan.Discriminator, precision: str, width: int) -> Step:
    """The usual loop, with weights copied from the course's networks."""
    generator = harness.same_weights(plain_generator(width), made)
    discriminator = harness.same_weights(plain_discriminator(width), judge)
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


def check_agreement(width: int, batch: int, precision: str) -> str:
    tolerances = (2e-3, 1e-2) if precision == "float32" else (5e-2, 5e-2)
    steps = sides(width, precision)
    return harness.same_losses(steps, lambda number: inputs(batch, number), tolerances)


def inputs(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    random = runtime.generator(seed)
    real = torch.rand(batch, 3, SIZE, SIZE, generator=random) * 2 - 1
    return real, torch.randn(batch, dcgan.LATENT, generator=random)


def steps(options: argparse.Namespace, precision: str) -> Table:
    check = check_agreement(options.width, options.batch, precision)
    real, z = inputs(options.batch, 0)
    calls = {
        name: lambda step=step: step(real, z)
        for name, step in sides(options.width, precision).items()
    }
    names = list(calls)
    return harness.table(
        f"a step, {precision}",
        harness.race(calls, options),
        check=check,
        peaks=harness.peaks(options, names, "--precision", precision),
    )


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """Two steps."""
    step, batch = sides(options.width, options.precision)[name], inputs(options.batch, 0)
    return lambda: [step(*batch) for _ in range(2)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, default=64, help="ngf and ndf")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    for precision in harness.precisions(options):
        yield steps(options, precision)
    if not harness.multiplies_bfloat16(options):
        yield harness.WITHOUT_BFLOAT16


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=15, peak=peak, add_options=add_options)
