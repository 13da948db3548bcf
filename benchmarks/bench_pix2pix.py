"""A training step of Pix2Pix at its published size and at the course's, against a plain loop.

The published size is U-Net-256 of width 64 and the 70×70 PatchGAN with one pair of 256×256 pixels;
the course's has width 24 and 16 drawings of 64×64. A step is one round of the game: the
discriminator's update on the true and the generated pairs, then the generator's with L1. Both sides
begin with the same weights.

- *plain loop*: the usual script. `BCEWithLogitsLoss` against ones and zeros, one pass each for true
  and generated pairs, the discriminator frozen in the generator's update, the usual memory format.
- *course*: `pix2pix.discriminator_step` and `pix2pix.generator_step`, as `pix2pix.Game.step` calls
  them: the same passes in channels_last.

At the published size one pair leaves the convolutions little to do, and much of the step is Adam's,
over 57 million weights, the same on both sides.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import harness
import torch
from torch import Tensor, nn

from coursekit import pix2pix
from coursekit.bench_results import Table
from coursekit.core import runtime

SIDES = ("plain loop", "course")
RATE, BETAS, L1_WEIGHT = 2e-4, (0.5, 0.999), 100.0
Step = Callable[[Tensor, Tensor], dict[str, float]]


@dataclass(frozen=True)
class Setting:
    """Widths, pixels a side (a power of 2), pairs in a batch."""

    width: int
    size: int
    batch: int


SETTINGS = Setting(64, 256, 1), Setting(24, 64, 16)


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


def side(name: str, setting: Setting, precision: str, dropout: float = 0.5) -> Step:
    """One of `SIDES`, every time with the same weights."""
    torch.manual_seed(0)
    width, depth = setting.width, setting.size.bit_length() - 1
    generator = pix2pix.UNetGenerator(width=width, depth=depth, dropout=dropout)
    discriminator = pix2pix.PatchDiscriminator(width=width)

    def adam(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), RATE, BETAS)

    if name == "course":
        return course(generator, discriminator, adam, precision)
    networks = PlainUNet(width, depth, dropout), plain_discriminator(width)
    copies = map(harness.same_weights, networks, (generator, discriminator))
    return plain(*copies, adam, precision)


def check_agreement(setting: Setting, precision: str) -> str:
    """Without dropout: its draws depend on the memory format."""
    tolerances = (2e-3, 2e-2) if precision == "float32" else (5e-2, 5e-2)
    steps = {name: side(name, setting, precision, dropout=0.0) for name in SIDES}
    check = harness.same_losses(steps, lambda number: inputs(setting, number), tolerances)
    return f"without dropout, {check}"


def inputs(setting: Setting, seed: int) -> tuple[Tensor, Tensor]:
    shape, random = (setting.batch, 3, setting.size, setting.size), runtime.generator(seed)
    source, target = (torch.rand(shape, generator=random) * 2 - 1 for _ in range(2))
    return source, target


def steps(setting: Setting, options: argparse.Namespace, precision: str) -> Table:
    check, pair = check_agreement(setting, precision), inputs(setting, 0)
    made = {name: side(name, setting, precision) for name in SIDES}
    calls = {name: lambda step=step: step(*pair) for name, step in made.items()}
    words = [f"--{name}={value}" for name, value in vars(setting).items()]
    return harness.table(
        f"a step, {setting.size} px, width {setting.width}, batch {setting.batch}, {precision}",
        harness.race(calls, options),
        check=check,
        peaks=harness.peaks(options, SIDES, *words, f"--precision={precision}"),
    )


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """Two steps."""
    (setting,) = settings(options)
    step, pair = side(name, setting, options.precision), inputs(setting, 0)
    return lambda: [step(*pair) for _ in range(2)]


def settings(options: argparse.Namespace) -> list[Setting]:
    """Both, unless one is given."""
    given = {name: getattr(options, name) for name in ("width", "size", "batch")}
    given = {name: value for name, value in given.items() if value is not None}
    return [dataclasses.replace(SETTINGS[0], **given)] if given else list(SETTINGS)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, help="ngf and ndf; with --size or --batch: one table")
    parser.add_argument("--size", type=int, help="pixels a side, a power of 2")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision", help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    for setting in settings(options):
        for precision in harness.precisions(options):
            yield steps(setting, options, precision)
    if not harness.multiplies_bfloat16(options):
        yield harness.WITHOUT_BFLOAT16


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=11, peak=peak, add_options=add_options)
