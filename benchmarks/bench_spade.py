"""A training step of SPADE as the course trains it, against a plain loop; painting a map.

The networks that `coursekit train spade --recipe course` trains: 64×64, width 16, batch 8, with
feature matching, the VGG term and the style encoder. A step is one round of the game: the
discriminator's update, then the painter's. All sides begin with the same weights, see the same
batch and draw the same styles.

- *plain loop*: what the paper's code does, written plainly. γ and β by a convolution each; the
  picture painted anew for each of the two updates; the discriminator gathering gradients in the
  painter's update too; the usual memory format; float32.
- *one painting*: the same, with one picture for both updates.
- *course*: `spade.Game.step`. The training uses bfloat16 where it is faster.

Painting is what the canvas of notebook 14 waits for.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator

import harness
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import bench_results, spade, spade_measure
from coursekit.bench_results import Side, Table, duration
from coursekit.core import runtime
from coursekit.recipes import spade as recipe

TERMS = ("d_loss", "g_loss", "features", "perceptual", "kl")
CHECKED = (1e-5, 1e-5)  # learning rates so small that rounding does not lead the sides apart
Rates = tuple[float, float]
Step = Callable[[Tensor, Tensor], dict[str, float]]


# --- The plain loop ------------------------------------------------------------------------------


def plainly(module: nn.Module) -> nn.Module:
    """A copy with the same weights in the usual memory format."""
    return copy.deepcopy(module).to(memory_format=torch.contiguous_format)


class PlainSPADE(nn.Module):
    """The layer as the paper writes it, γ and β by a convolution each."""

    def __init__(self, layer: spade.SPADE) -> None:
        super().__init__()
        self.norm, self.shared = plainly(layer.norm), plainly(layer.shared)
        hidden, channels = layer.shared.out_channels, layer.gamma_beta.out_channels // 2
        self.gamma, self.beta = (nn.Conv2d(hidden, channels, 3, padding=1) for _ in range(2))
        for name in ("weight", "bias"):
            both = getattr(layer.gamma_beta, name).detach().chunk(2)
            for convolution, values in zip((self.gamma, self.beta), both, strict=True):
                getattr(convolution, name).data.copy_(values)

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        planes = F.interpolate(planes, size=x.shape[2:], mode="nearest")
        hidden = F.relu(self.shared(planes))
        return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class PlainBlock(nn.Module):
    """The residual block."""

    def __init__(self, block: spade.SPADEBlock) -> None:
        super().__init__()
        self.first, self.second = (PlainSPADE(norm) for norm in block.norms)
        self.convolutions = plainly(block.convolutions)
        self.learned = block.shortcut is not None
        if self.learned:
            self.third, self.shortcut = PlainSPADE(block.shortcut_norm), plainly(block.shortcut)

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        straight = self.shortcut(self.third(x, planes)) if self.learned else x
        x = self.convolutions[0](F.leaky_relu(self.first(x, planes), 0.2))
        x = self.convolutions[1](F.leaky_relu(self.second(x, planes), 0.2))
        return straight + x


class PlainPainter(nn.Module):
    """Encoder and generator."""

    def __init__(self, painter: spade.Painter) -> None:
        super().__init__()
        generator, encoder = painter.generator, painter.encoder
        self.start = generator.start
        self.first, self.last = plainly(generator.first), plainly(generator.last)
        self.blocks = nn.ModuleList(PlainBlock(block) for block in generator.blocks)
        self.network = plainly(encoder.network)
        self.mean, self.log_variance = plainly(encoder.mean), plainly(encoder.log_variance)

    def forward(self, planes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network(images).flatten(1)
        mean, log_variance = self.mean(features), self.log_variance(features)
        z = torch.randn_like(mean) * torch.exp(0.5 * log_variance) + mean
        x = self.first(z).view(len(z), -1, self.start, self.start)
        for number, block in enumerate(self.blocks):
            if number not in (0, 2):
                x = F.interpolate(x, scale_factor=2)
            x = block(x, planes)
        kl = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp()) / len(z)
        return torch.tanh(self.last(F.leaky_relu(x, 0.2))), kl


class PlainJudge(nn.Module):
    """The discriminator at all scales."""

    def __init__(self, judge: spade.MultiscaleDiscriminator) -> None:
        super().__init__()
        self.scales = nn.ModuleList(plainly(scale.parts) for scale in judge.scales)

    def forward(self, planes: Tensor, images: Tensor) -> list[list[Tensor]]:
        x, found = torch.cat([planes, images], dim=1), []
        for scale in self.scales:
            layers, y = [], x
            for part in scale:
                y = part(y)
                layers.append(y)
            found.append(layers)
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return found


class PlainVGG(nn.Module):
    """Σ wᵢ · mean |φᵢ(x) − φᵢ(y)|, both pictures through the frozen network."""

    def __init__(self, loss: spade.PerceptualLoss) -> None:
        super().__init__()
        self.weights, self.network = loss.weights, loss.network
        self.body = plainly(loss.network.body).float()
        for layer in self.body:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def features(self, images: Tensor) -> dict[str, Tensor]:
        x, found = self.network.normalise((images + 1) / 2), {}
        for name, layer in self.body.named_children():
            x = layer(x)
            found[name] = x
        return found

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        found, wanted = self.features(images), self.features(target)
        return sum(w * F.l1_loss(found[n], wanted[n].detach()) for n, w in self.weights.items())


def plain(game: spade.Game, classes: int, *, twice: bool) -> Step:
    """The usual loop on copies of the game's networks; ``twice`` paints for each update."""
    painter, judge = PlainPainter(game.painter), PlainJudge(game.discriminator)
    vgg, weights = PlainVGG(game.perceptual), game.weights
    rates, betas = game.learning_rates, (0.0, 0.9)
    g_optimiser = torch.optim.Adam(painter.parameters(), rates[0], betas)
    d_optimiser = torch.optim.Adam(judge.parameters(), rates[1], betas)

    def step(labels: Tensor, images: Tensor) -> dict[str, float]:
        planes = F.one_hot(labels.long(), classes).permute(0, 3, 1, 2).float()
        images = images * 2 - 1
        fake, kl = painter(planes, images)

        d_optimiser.zero_grad()
        real, made = judge(planes, images), judge(planes, fake.detach())
        d_loss = 0.0
        for ours, theirs in zip(real, made, strict=True):
            d_loss = d_loss - torch.clamp(ours[-1] - 1, max=0).mean()
            d_loss = d_loss - torch.clamp(-theirs[-1] - 1, max=0).mean()
        d_loss = d_loss / len(real)
        d_loss.backward()
        d_optimiser.step()

        if twice:
            fake, kl = painter(planes, images)
        g_optimiser.zero_grad()
        made, real = judge(planes, fake), judge(planes, images)
        g_loss = -sum(scale[-1].mean() for scale in made) / len(made)
        features = 0.0
        for ours, theirs in zip(real, made, strict=True):
            for x, y in zip(ours[:-1], theirs[:-1], strict=True):
                features = features + F.l1_loss(y, x.detach()) / len(made)
        perceptual = vgg(fake, images)
        loss = g_loss + weights.features * features + weights.perceptual * perceptual
        (loss + weights.kl * kl).backward()
        g_optimiser.step()
        values = (d_loss, g_loss, features, perceptual, kl)
        return {name: value.item() for name, value in zip(TERMS, values, strict=True)}

    return step


# --- The course ----------------------------------------------------------------------------------


def make_game(precision: str, rates: Rates = recipe.RATES) -> spade.Game:
    """The networks of the course's recipe, from one seed."""
    runtime.seed_everything(0)
    painter = spade.Painter(
        spade.Generator(**recipe.GENERATOR, precision=precision),
        spade.StyleEncoder(**recipe.ENCODER, precision=precision),
    )
    judge = spade.MultiscaleDiscriminator(**recipe.JUDGE, precision=precision)
    perceptual = spade.PerceptualLoss(precision=precision)
    return spade.Game(painter, judge, perceptual=perceptual, learning_rates=rates)


def course(precision: str, rates: Rates) -> Step:
    """`coursekit.spade.Game.step`."""
    game = make_game(precision, rates)

    def step(labels: Tensor, images: Tensor) -> dict[str, float]:
        terms = game.step(labels, images)
        return {name: float(terms[name]) for name in TERMS}

    return step


def plain_side(twice: bool, rates: Rates) -> Step:
    return plain(make_game("float32", rates), recipe.GENERATOR["labels"], twice=twice)


SIDES: dict[str, Callable[[Rates], Step]] = {
    "plain loop": lambda rates: plain_side(True, rates),
    "plain loop, one painting": lambda rates: plain_side(False, rates),
    "course, float32": lambda rates: course("float32", rates),
    "course, bfloat16": lambda rates: course("bfloat16", rates),
}
# How far each may be from the second one: the first draws other styles for its second painting.
TOLERANCES = dict(zip(SIDES, (0.05, 0.0, 5e-3, 0.1), strict=True))


# --- The race ------------------------------------------------------------------------------------


def inputs(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    data = spade_measure.both_times(batch, seed, size=recipe.GENERATOR["size"])
    found = data.batch(torch.arange(0, len(data), 2))
    return found["labels"], found["image"]


def check_agreement(batch: int, names: list[str], rounds: int = 3) -> str:
    """Stop unless the sides report the same losses, step after step."""
    farthest = dict.fromkeys(names, 0.0)
    steps = {name: SIDES[name](CHECKED) for name in names}
    for number in range(rounds):
        found = {}
        for name, step in steps.items():
            torch.manual_seed(number)  # the styles are drawn from the same noise
            found[name] = step(*inputs(batch, number))
        reference = found["plain loop, one painting"]
        for name, terms in found.items():
            for term, value in reference.items():
                error = abs(terms[term] - value) / max(abs(value), 0.1)
                farthest[name] = max(farthest[name], error)
                if error > TOLERANCES[name]:
                    sys.exit(
                        f"{name}, {term} of step {number + 1}: {terms[term]:.5f} against "
                        f"{value:.5f}."
                    )

    others = [f"{name} to {error:.1e}" for name, error in farthest.items() if error]
    return (
        f"the losses of {rounds} steps agree with those of one painting, {', '.join(others)} "
        "(the plain loop draws other styles for its second painting)"
    )


def training(options: argparse.Namespace) -> Table:
    given = inputs(options.batch, 0)
    names = [n for n in SIDES if "bfloat16" not in n or harness.multiplies_bfloat16(options)]
    check = check_agreement(options.batch, names)
    made = {name: SIDES[name](recipe.RATES) for name in names}
    calls = {name: lambda step=step: step(*given) for name, step in made.items()}
    seconds = harness.race(calls, options)
    return harness.table("a step", seconds, check=check, peaks=harness.peaks(options, names))


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """Three steps."""
    given, step = inputs(options.batch, 0), SIDES[name](recipe.RATES)
    return lambda: [step(*given) for _ in range(3)]


# --- Painting ------------------------------------------------------------------------------------


def painting(options: argparse.Namespace) -> Table:
    """What one map costs, as `coursekit.spade.load` gives the painter."""
    painter = make_game("float32").painter.eval().requires_grad_(False)
    labels, images = inputs(8, 1)
    style = spade.style_of(painter, images[:1])
    jobs = {
        "one map, style at hand": lambda: spade.paint(painter, labels[:1].long(), style),
        "one map, style from a picture": lambda: spade.paint(
            painter, labels[:1].long(), spade.style_of(painter, images[:1])
        ),
        "eight maps": lambda: spade.paint(painter, labels.long(), style),
    }
    rounds = 3 * options.rounds
    seconds = harness.race(jobs, options, rounds=rounds)
    rows = tuple(
        Side(each.name, each.milliseconds, more={"slowest": duration(1e3 * max(times))})
        for each, times in zip(bench_results.sides(seconds), seconds.values(), strict=True)
    )
    return Table("painting, float32", rows, rounds)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=recipe.BATCH)


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    yield training(options)
    yield painting(options)
    if not harness.multiplies_bfloat16(options):
        yield harness.WITHOUT_BFLOAT16


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=11, peak=peak, add_options=add_options)
