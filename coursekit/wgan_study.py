"""Topic 08, second half: what was measured about critics, and the notebook's experiments.

Does the loss track quality? `Protocol` says how that is asked; it was written down before any
loss was compared with any FID, and the recipe of topic 08 carries it out. The rest looks at
critics in two dimensions and at a generator that is badly built on purpose.

Source: none; experiments of this course.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import dcgan, wgan
from coursekit.core import checkpoints, metrics, recognise, runtime, training
from coursekit.core.atomic import write_text
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.base import Dataset
from coursekit.datasets.digits import digits

METHODS = ("GAN", "clipping", "penalty")
Record = dict[str, Any]


# --- The protocol --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protocol:
    """How the loss is compared with the quality; fixed before any loss was compared with a FID.

    * Data: the course's 4,000 training digits, 28×28, in batches of 64.
    * Networks: `dcgan.MLPGenerator` and `dcgan.MLPDiscriminator` with 128 hidden units, the same
      for all methods. No batch normalisation. Per seed the same initial weights and the same
      order of the data.
    * Methods: ``"GAN"``: non-saturating, Adam 2e-4, β₁ = 0.5, one update of the discriminator for
      one of the generator. ``"clipping"``: c = 0.01, RMSProp 5e-5. ``"penalty"``: λ = 10,
      Adam 1e-4, β = (0, 0.9). Both with five updates of the critic for one of the generator.
    * Length: ``updates`` of the discriminator or critic for every method, so that the plain GAN's
      generator has five times as many updates as the others.
    * Checkpoints: ``checkpoints``, evenly spaced. The first ``warm_up`` of them are left out.
    * The loss at a checkpoint: the mean over all updates since the checkpoint before, turned so
      that it is the distance that it stands for: minus the critic's loss; for the GAN
      log 2 − L_D/2, which would be the Jensen–Shannon divergence if D were the best one
      (Arjovsky et al. 2017, fig. 4). For the GAN also the generator's loss as it is.
    * The quality at a checkpoint: FID of ``samples`` images of the generator itself (no average
      of weights), always from the same z, against the 1,000 held-out digits, with the features of
      the course's digit recogniser.
    * The answer: Spearman's ρ between loss and FID over the checkpoints of a run, averaged over
      ``seeds``, with Student's t interval over them. A loss that tracks quality has ρ near 1.
    * Beside it: ρ between the number of updates and FID (what the clock alone tells), and ρ
      between the changes of loss and FID from one checkpoint to the next.

    A first run of this protocol with 3,000 updates (`FIRST`) ended before any method had drawn a
    digit. Its answer is kept and shown beside the second one. Changed were the lengths and the
    number of checkpoints, and with it the warm-up (4 of 20 checkpoints, 3 of 15 before: a fifth
    both times), and nothing else.

    For a badly built generator (`bad_networks`) the methods ``"GAN"`` and ``"penalty"`` train for
    ``bad_updates``, with the same seeds. Reported at the end: FID, and on how many of the ten
    classes the recogniser puts at least 2 % of the samples.
    """

    updates: int = 12_000
    checkpoints: int = 20
    warm_up: int = 4
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 1000
    batch: int = 64
    bad_updates: int = 8000
    bad_checkpoints: int = 4


FIRST = Protocol(updates=3000, checkpoints=15, warm_up=3, bad_updates=3000, bad_checkpoints=3)


def make_game(
    method: str, generator: dcgan.LatentGenerator, critic: nn.Module
) -> dcgan.Game | wgan.WassersteinGame:
    """The game of a method, with its paper's settings.

    Raises:
        SettingError: there is no such method.
    """
    if method == "GAN":
        return dcgan.Game(generator, critic)
    if method not in METHODS:
        raise SettingError(f"There is no method {method!r}; choose from {', '.join(METHODS)}.")
    return wgan.WassersteinGame(generator, critic, clip=wgan.CLIP if method == "clipping" else None)


class PlainGenerator(dcgan.LatentGenerator):
    """z → digits through hidden layers with ReLU and nothing that would help: no normalisation.

    ``size`` pixels a side.
    """

    def __init__(
        self, latent: int = 64, hidden: int = 128, layers: int = 4, size: int = 28
    ) -> None:
        super().__init__()
        self.latent = latent
        self.layers = plain_network(latent, *[hidden] * layers, size * size)
        self.shape = (1, size, size)

    def forward(self, latent: Tensor) -> Tensor:
        """Images (N, 1, size, size) in [-1, 1]."""
        return self.layers(latent).tanh().unflatten(1, self.shape)


def good_networks() -> tuple[dcgan.LatentGenerator, nn.Module]:
    """The fully connected networks of topic 07."""
    return dcgan.MLPGenerator(hidden=128), dcgan.MLPDiscriminator(hidden=128)


def bad_networks() -> tuple[dcgan.LatentGenerator, nn.Module]:
    """Four hidden ReLU layers for the generator, no normalisation anywhere.

    After Arjovsky et al. 2017, §4.3 (four layers of 512 units); 128 units here, for digits.
    """
    return PlainGenerator(), dcgan.MLPDiscriminator(hidden=128)


class Instrument:
    """Measures a generator of digits: FID, and how its samples spread over the classes."""

    def __init__(self, samples: int = 1000, seed: int = 0) -> None:
        self.recogniser = recognise.load("digits")
        test = digits("test")
        self.extractor = metrics.digit_extractor()
        self.real = metrics.RealStatistics(test.fields["image"], self.extractor)
        self.samples, self.seed = samples, seed

    @torch.no_grad()
    def __call__(self, generator: dcgan.LatentGenerator) -> Record:
        """``fid``, and ``classes``: how many samples are read as 0, 1, …, 9."""
        z = dcgan.sample_latent(self.samples, generator.latent, seed=self.seed)
        images = dcgan.samples(generator, z)
        if images.shape[-1] == 32:  # digits of 28 pixels with a border of 2
            images = images[..., 2:-2, 2:-2]
        features = self.extractor(images)
        labels = self.recogniser.heads["label"](features).argmax(1)
        fid = self.real.frechet_distance(features)
        return {"fid": round(fid, 4), "classes": labels.bincount(minlength=10).tolist()}


class Probe:
    """Looks at a training every so many steps; what it saw is kept in the training's checkpoint.

    Attributes:
        records: ``step``, the mean of each term since the last look, and what was measured.
    """

    def __init__(self, every: int, measure: Callable[[], Record]) -> None:
        self.every, self.measure = every, measure
        self.records: list[Record] = []
        self.sums: dict[str, float] = {}

    def after(self, number: int, terms: Mapping[str, Tensor]) -> None:
        """Take note of a step's terms, each a scalar, and look if it is time."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(torch.as_tensor(value).detach())
        if number % self.every == 0:
            means = {name: round(total / self.every, 6) for name, total in self.sums.items()}
            self.records.append({"step": number, **means, **self.measure()})
            self.sums = {}

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"records": self.records, "sums": self.sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.records, self.sums = list(state["records"]), dict(state["sums"])


@dataclass
class StudyRun:
    """One training of a study: its records, the generator as it is then, and whether it ended."""

    records: list[Record]
    generator: dcgan.LatentGenerator
    interrupted: bool
    critic: nn.Module


def observe(
    method: str,
    networks: Callable[[], tuple[dcgan.LatentGenerator, nn.Module]],
    measure: Callable[[dcgan.LatentGenerator], Record],
    *,
    updates: int,
    looks: int,
    seed: int = 0,
    batch: int = 64,
    data: Dataset | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> StudyRun:
    """Train by one method and measure the generator at ``looks`` evenly spaced checkpoints.

    Args:
        method: one of `METHODS`.
        networks: makes a generator and a critic.
        measure: of a generator, such as an `Instrument`.
        updates: of the discriminator or critic, in all.
        looks: how often to measure.
        seed: of weights, data order and everything drawn.
        batch: images a step.
        data: digits by default.
        folder: keeps ``checkpoint.pt``; a second call goes on from it.
        progress: show a progress bar.

    Raises:
        SettingError: the updates cannot be divided into so many looks.
    """
    runtime.seed_everything(seed)
    game = make_game(method, *networks())
    for_one = 1 if isinstance(game, dcgan.Game) else game.n_critic
    every, left = divmod(updates, looks * for_one)
    if left or not every:
        raise SettingError(
            f"{updates} updates are not {looks} times {for_one} or a multiple of it."
        )
    batches = training.Batches(data or digits("train"), batch, seed=seed)
    probe = Probe(every, lambda: measure(game.generator))

    def step(number: int) -> Mapping[str, Tensor]:
        if isinstance(game, dcgan.Game):
            terms = game.step(number, next(batches)["image"])
        else:
            terms = game.step(batches)
        probe.after(number, terms)
        return terms

    result = training.run(
        step,
        game.state() | {"batches": batches, "probe": probe},
        steps=every * looks,
        folder=folder,
        checkpoint_every=every,
        seed=seed,
        log_every=every,
        progress=progress,
    )
    for record in probe.records:
        record["updates"] = record["step"] * for_one
    critic = game.discriminator if isinstance(game, dcgan.Game) else game.critic
    return StudyRun(probe.records, game.generator, result.interrupted, critic)


# --- Reading the study ---------------------------------------------------------------------------


def distance(method: str, record: Record) -> float:
    """A record's loss as the distance that it stands for; see `Protocol`."""
    if method == "GAN":
        return math.log(2) - record["d_loss"] / 2
    return -record["critic_loss"]


@dataclass(frozen=True)
class Study:
    """What the recipe of topic 08 measured.

    Attributes:
        protocol: the settings.
        extractor: the name of FID's instrument.
        runs: each with ``networks`` (``"good"``, ``"bad"``), ``method``, ``seed``, ``records``.
    """

    protocol: Protocol
    extractor: str
    runs: Sequence[Record]

    def of(self, method: str, networks: str = "good") -> list[Record]:
        """The runs of one method, by seed."""
        found = [r for r in self.runs if (r["method"], r["networks"]) == (method, networks)]
        return sorted(found, key=lambda run: run["seed"])

    def series(self, method: str, loss: Callable[[Record], float]) -> list[tuple[list, list]]:
        """(losses, FIDs) of each run, without the warm-up."""
        kept = [run["records"][self.protocol.warm_up :] for run in self.of(method)]
        return [([loss(r) for r in records], [r["fid"] for r in records]) for records in kept]

    def correlations(self) -> dict[str, dict[str, metrics.Estimate]]:
        """Spearman's ρ with FID by loss: of its ``values`` and ``changes``, and the ``clock``."""
        losses = {
            "GAN: log 2 − L_D/2": ("GAN", lambda record: distance("GAN", record)),
            "GAN: L_G": ("GAN", lambda record: record["g_loss"]),
            "clipping: −L_critic": ("clipping", lambda record: distance("clipping", record)),
            "WGAN-GP: −L_critic": ("penalty", lambda record: distance("penalty", record)),
        }
        found = {}
        for name, (method, loss) in losses.items():
            pairs = self.series(method, loss)
            found[name] = {
                "values": _rho(pairs),
                "changes": _rho([(_changes(x), _changes(y)) for x, y in pairs]),
                "clock": _rho(self.series(method, lambda record: record["updates"])),
            }
        return found

    def robustness(self) -> dict[str, dict[str, list]]:
        """For the badly built generator by method: ``fid`` and ``modes`` at the end, by seed."""
        found = {}
        for method in ("GAN", "penalty"):
            last = [run["records"][-1] for run in self.of(method, "bad")]
            found[method] = {
                "fid": [record["fid"] for record in last],
                "modes": [modes(record["classes"]) for record in last],
            }
        return found


def modes(classes: Sequence[int], share: float = 0.02) -> int:
    """How many classes hold at least that share of the samples."""
    return sum(count >= share * sum(classes) for count in classes)


def _changes(values: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(values)]


def _rho(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> metrics.Estimate:
    runs = [index for index, (x, _) in enumerate(pairs) for _ in x]
    x, y = (list(itertools.chain(*side)) for side in zip(*pairs, strict=True))
    return metrics.spearman(x, y, seed=0, runs=runs)


def save(study: Study, path: Path) -> Path:
    """Write a study as JSON."""
    content = {"protocol": asdict(study.protocol), "extractor": study.extractor}
    lines = ",\n".join(json.dumps(run) for run in study.runs)
    head = json.dumps(content, indent=1)[:-2]
    write_text(path, f'{head},\n "runs": [\n{lines}\n]}}\n')
    return path


def load(path: Path | None = None, *, first: bool = False) -> Study:
    """The study that ``coursekit train wgan`` made for the course, its first run, or another one.

    Raises:
        DataError: it is missing or damaged.
    """
    name = "study-first" if first else "study"
    path = path or checkpoints.path_of("wgan", name).with_suffix(".json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        settings = content["protocol"]
        protocol = Protocol(**{**settings, "seeds": tuple(settings["seeds"])})
        return Study(protocol, content["extractor"], content["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"There is no sound study {path}. Take it from a complete checkout of the course, or "
            "make it with `coursekit train wgan`."
        ) from error


# --- Critics in two dimensions -------------------------------------------------------------------


def plain_network(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def eight_heaps(count: int, random: torch.Generator, spread: float = 0.1) -> Tensor:
    """Points (count, 2) in eight heaps on a circle of radius 2."""
    angle = torch.randint(8, (count,), generator=random) * (math.pi / 4)
    centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + spread * torch.randn(count, 2, generator=random)


def fit_critic(
    critic: nn.Module,
    draw: Callable[[], tuple[Tensor, Tensor]],
    *,
    steps: int,
    clip: float | None = None,
    penalty_weight: float = wgan.PENALTY_WEIGHT,
    learning_rate: float | None = None,
) -> training.TrainingResult:
    """Train a critic alone, against a generator that stands still.

    Args:
        critic: changed.
        draw: returns (real, fake), the batch of a step.
        steps: of the critic.
        clip, penalty_weight, learning_rate: as for `wgan.WassersteinGame`.
    """
    game = wgan.WassersteinGame(
        PlainGenerator(1, 1, 1, 1),  # not asked for anything
        critic,
        clip=clip,
        penalty_weight=penalty_weight,
        learning_rate=learning_rate,
    )

    def step(number: int) -> Mapping[str, Tensor]:
        weight = 0.0 if clip is not None else penalty_weight
        return wgan.critic_step(critic, game.c_optimiser, *draw(), penalty_weight=weight, clip=clip)

    state = {"critic": critic, "optimiser": game.c_optimiser}
    return training.run(step, state, steps=steps, progress=False)


def activation_gradients(critic: nn.Sequential, real: Tensor, fake: Tensor) -> list[float]:
    """‖∂L/∂h‖ of the critic's loss L for the output h of each linear layer, from the first on.

    Gulrajani et al. 2017, fig. 1b: with clipped weights it vanishes or explodes with depth. Points,
    real and generated, are (N, D).
    """
    kept: list[Tensor] = []
    x = torch.cat([real, fake])
    for layer in critic:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            kept.append(x)
    loss = wgan.critic_loss(x[: len(real)], x[len(real) :])
    # In float32 the squares of a vanished gradient would be 0.
    return [each.double().norm().item() for each in torch.autograd.grad(loss, kept)]


@torch.no_grad()
def surface(critic: nn.Module, extent: float = 3.0, points: int = 80) -> tuple[Tensor, Tensor]:
    """The critic's scores over the plane: the axis (points,), and scores (points, points)."""
    axis = torch.linspace(-extent, extent, points)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return axis, critic(torch.stack([x.flatten(), y.flatten()], 1)).reshape(points, points)
