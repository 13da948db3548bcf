"""Topic 12: a generator that grows from 4×4 pixels upwards (Karras et al. 2018).

From formula to result: real images at a stage of the growth, the loss (WGAN-GP with drift), the two
training steps, the average that grows, and the game that plays them along a schedule. The layers
are in `coursekit.progan_layers`, the growing networks in `coursekit.progan_networks`, the schedule
in `coursekit.progan_schedule`, and what is measured in `coursekit.progan_measure`.

Every ingredient can be left out: `Ingredients` switches the equalised learning rate, pixel norm and
minibatch standard deviation; `Schedule.without_fade_in` and `Schedule.at_once` leave out the
fading in, and the growth.

Networks take and give images in about [-1, 1], everything else is in [0, 1].
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit import dcgan, wgan
from coursekit.core import checkpoints, recording, runtime, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError, ShapeError
from coursekit.progan_networks import ALL, Critic, Generator, Ingredients, Stage, Widths, fade
from coursekit.progan_schedule import Level, Place, Schedule, published, thinned

__all__ = [
    "ALL",
    "Critic",
    "Feed",
    "Game",
    "Generator",
    "GrowingEMA",
    "Ingredients",
    "Level",
    "Place",
    "Schedule",
    "Stage",
    "Widths",
    "discriminator_step",
    "facts",
    "fade",
    "frame",
    "generator_step",
    "load_generator",
    "networks",
    "published",
    "real_at",
    "samples",
    "thinned",
    "train",
]

PENALTY_WEIGHT = wgan.PENALTY_WEIGHT  # λ
DRIFT_WEIGHT = 1e-3  # ε_drift in appendix A.1
LEARNING_RATE, BETAS = 1e-3, (0.0, 0.99)  # of Adam, appendix A.1


# --- Real images at a stage ----------------------------------------------------------------------


def real_at(images: Tensor, stage: Stage) -> Tensor:
    """Real images as the critic is shown them at a stage.

    Averaged down to its resolution; while layers are faded in, also blended with the half
    resolution, as the generator's images are (figure 2).

    Args:
        images: (N, C, S, S), S a multiple of the stage's resolution.
        stage: where the networks stand.

    Returns:
        (N, C, r, r).

    Raises:
        ShapeError: images that cannot be averaged down evenly.
    """
    r = stage.resolution
    halved = r >= 1 and not (stage.fading and r % 2)
    square = images.dim() == 4 and images.shape[2] == images.shape[3]
    if not halved or not square or images.shape[2] % r:
        raise ShapeError(f"{tuple(images.shape)} cannot be averaged down to {r}×{r} pixels.")
    small = F.avg_pool2d(images, images.shape[2] // r)
    if not stage.fading:
        return small
    return fade(F.interpolate(F.avg_pool2d(small, 2), scale_factor=2), small, stage.alpha)


class Feed:
    """Endless real images for every level of a schedule, that a checkpoint can go on from.

    Each resolution has batches of its own size (appendix A.1).

    Args:
        data: with ``"image"`` (N, C, S, S), S at least the last resolution.
        schedule: whose batch sizes to use.
        seed: of the order; every level has its own.
        device: where the images go.

    Raises:
        SettingError: fewer images than a batch.
    """

    def __init__(
        self,
        data: training.Indexed,
        schedule: Schedule,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.schedule, self.device = schedule, runtime.find_device(device)
        self.batches = {
            level.resolution: training.Batches(
                data, level.batch, seed=100 * seed + number, device=device
            )
            for number, level in enumerate(schedule.levels)
        }

    def take(self, place: Place) -> Tensor:
        """The next batch at a place of the schedule: (N, C, r, r) in [0, 1]."""
        batch = next(self.batches[place.level.resolution])
        images = with_fields(batch, "image")["image"]
        return real_at(images, place.stage)

    def state_dict(self) -> dict[str, Any]:
        """The schedule, and how far each level has been read."""
        each = {str(r): batches.state_dict() for r, batches in self.batches.items()}
        return {"schedule": [list(level) for level in self.schedule.levels], "batches": each}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            SettingError: it was written under another schedule, or for other data.
        """
        known = Schedule(tuple(Level(*each) for each in state["schedule"]))
        if known != self.schedule:
            raise SettingError(
                f"The checkpoint was written under another schedule ({known.steps} steps) than "
                f"this one ({self.schedule.steps}). Use the same, or another folder."
            )
        for r, batches in self.batches.items():
            batches.load_state_dict(state["batches"][str(r)])


# --- The training steps --------------------------------------------------------------------------


def discriminator_step(
    critic: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    stage: Stage,
    *,
    penalty_weight: float = PENALTY_WEIGHT,
    drift_weight: float = DRIFT_WEIGHT,
) -> dict[str, Tensor]:
    """One step of the critic: real images up, generated ones down, slope near 1, scores near 0.

    It minimises E[D(G(z))] − E[D(x)] + λ E[(‖∇D(x̂)‖ − 1)²] + ε_drift E[D(x)²] (appendix A.1).
    With minibatch standard deviation a score depends on the batch, and so does its slope, as in
    the authors' own code.

    Args:
        critic: (images (N, C, r, r) in [-1, 1], stage) → scores (N,).
        optimiser: of its parameters.
        real: as `real_at` gives them, in [-1, 1].
        fake: images of the generator at that stage, (N, C, r, r); no gradient goes back to it.
        stage: where the networks stand.
        penalty_weight: λ.
        drift_weight: ε_drift, which keeps the scores near 0: the other terms only know
            differences of scores.

    Returns:
        Each term by itself, and the mean scores.
    """
    judge = functools.partial(critic, stage=stage)
    real_scores, fake_scores = judge(real.detach()), judge(fake.detach())
    wasserstein = wgan.critic_loss(real_scores, fake_scores)
    penalty = wgan.gradient_penalty(judge, real, fake)
    drift = wgan.drift_penalty(real_scores)
    loss = wasserstein + penalty_weight * penalty + drift_weight * drift

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    terms = {"wasserstein": wasserstein, "penalty": penalty, "drift": drift}
    terms |= {"d_real": real_scores.mean(), "d_fake": fake_scores.mean()}
    return {name: value.detach() for name, value in terms.items()}


def generator_step(
    critic: nn.Module, optimiser: torch.optim.Optimizer, fake: Tensor, stage: Stage
) -> dict[str, Tensor]:
    """One step of the generator: up the critic's slope, −E[D(G(z))] (appendix A.1).

    Args:
        critic: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        fake: images of the generator at the stage, (N, C, r, r), with their graph.
        stage: where the networks stand.
    """
    with dcgan.frozen(critic):
        loss = wgan.generator_loss(critic(fake, stage))

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {"g_loss": loss.detach()}


# --- The game ------------------------------------------------------------------------------------


class GrowingEMA(training.EMA[Generator]):
    """An average of the generator's weights (appendix A.1) in which every level has its own age.

    Layers that have not been used yet are left alone. Differs from Karras et al. 2018, whose decay
    is 0.999 from the first step: here the average of layers that come in late forgets what it
    began with as quickly as that of the first layers did.

    Attributes:
        resolution: how far the generator has grown; the game sets it.
        ages: updates by resolution.
    """

    def __init__(self, module: Generator, decay: float = 0.999) -> None:
        super().__init__(module, decay)
        self.resolution, self.ages = 4, dict.fromkeys(module.widths.resolutions, 0)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average of the layers in use towards the network as it is now."""
        self.updates += 1
        for r in self.ages:
            if r > self.resolution:
                break
            self.ages[r] += 1
            share = 1 - min(self.decay, (1 + self.ages[r]) / (10 + self.ages[r]))
            training.move(_of(self.module, r), _of(self.source, r), share)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the ages."""
        grown = {"resolution": self.resolution, "ages": dict(self.ages)}
        return super().state_dict() | grown

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        super().load_state_dict(state)
        self.resolution, self.ages = state["resolution"], dict(state["ages"])


def _of(generator: Generator, resolution: int) -> list[nn.Parameter]:
    """The parameters of one level."""
    parts = generator.blocks[str(resolution)], generator.to_rgb[str(resolution)]
    return [parameter for part in parts for parameter in part.parameters()]


def networks(
    widths: Widths,
    *,
    latent: int,
    rules: Ingredients = ALL,
    precision: str = "float32",
    device: torch.device | str = "cpu",
) -> tuple[Generator, Critic]:
    """A generator and a critic of the same widths (Table 2), with the same ingredients.

    Their features lie in memory channel by channel at each pixel, where average pooling and its
    gradient are several times as fast on a CPU.
    """
    made = Generator(widths, latent=latent, rules=rules, precision=precision)
    judge = Critic(widths, rules=rules, precision=precision)
    for network in (made, judge):
        network.to(runtime.find_device(device)).to(memory_format=torch.channels_last)
    return made, judge


@dataclass
class Game:
    """Both networks, their optimisers, and the step that plays one round at its place.

    The generator takes one step for one of the critic (n_critic = 1, appendix A.1).

    Attributes:
        generator, critic: networks that hold all resolutions of the schedule.
        schedule: how they grow.
        learning_rate: of both networks; Adam with β = (0, 0.99).
        penalty_weight, drift_weight: as for `discriminator_step`.
        ema_decay: of the averaged generator, a step.
        place: where the last step stood.

    Raises:
        SettingError: a resolution of the schedule that the networks do not have.
    """

    generator: Generator
    critic: Critic
    schedule: Schedule
    learning_rate: float = LEARNING_RATE
    penalty_weight: float = PENALTY_WEIGHT
    drift_weight: float = DRIFT_WEIGHT
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        for level in self.schedule.levels:
            self.generator.widths.check(Stage(level.resolution))
            self.critic.widths.check(Stage(level.resolution))
        parameters = self.generator.parameters(), self.critic.parameters()
        self.g_optimiser, self.d_optimiser = (
            torch.optim.Adam(each, self.learning_rate, BETAS) for each in parameters
        )
        self.ema = GrowingEMA(self.generator, self.ema_decay)
        self.place, self.recorder = self.schedule.at(1), recording.Recorder()

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""
        names = ("generator", "critic", "g_optimiser", "d_optimiser", "ema")
        return {name: getattr(self, name) for name in names}

    def step(self, number: int, feed: Feed) -> training.Terms:
        """One round at the place that the schedule gives to step ``number``, from 1."""
        return self.play(self.schedule.at(number), feed)

    def play(self, place: Place, feed: Feed) -> training.Terms:
        """One round: the critic's step, then the generator's, on the same latent vectors.

        Args:
            place: of the schedule.
            feed: real images.
        """
        self.place, self.ema.resolution = place, place.stage.resolution
        for optimiser in (self.g_optimiser, self.d_optimiser):
            recording.prepare(optimiser)
        real = dcgan.from_unit(feed.take(place))
        z = dcgan.sample_latent(len(real), self.generator.latent).to(real.device)
        alpha = torch.tensor(place.stage.alpha, device=real.device)
        return self.recorder((real.shape, place.stage.fading), self._round, real, z, alpha)

    def _round(self, real: Tensor, z: Tensor, alpha: Tensor) -> dict[str, Tensor]:
        stage = Stage(real.shape[2], alpha if self.place.stage.fading else 1.0)
        fake = self.generator(z, stage)
        weights = {"penalty_weight": self.penalty_weight, "drift_weight": self.drift_weight}
        terms = discriminator_step(self.critic, self.d_optimiser, real, fake, stage, **weights)
        return terms | generator_step(self.critic, self.g_optimiser, fake, stage)


def train(game: Game, feed: Feed, **options: Any) -> training.TrainingResult:
    """Play the game along its schedule.

    Args:
        game: networks and settings.
        feed: real images, for the game's schedule.
        options: for `core.training.run`; by default as many steps as the schedule has, and as
            preview 16 samples of the averaged generator from fixed z at the stage it has reached,
            enlarged to the last resolution.

    Returns:
        The training's result; the networks in ``game`` have changed.

    Raises:
        SettingError: the feed is for another schedule.
    """
    if feed.schedule != game.schedule:
        raise SettingError("The feed has another schedule than the game; make it for the same.")
    shown = dcgan.sample_latent(16, game.generator.latent, seed=1).to(feed.device)
    size = game.schedule.levels[-1].resolution
    options.setdefault("steps", game.schedule.steps)
    options.setdefault("preview", lambda: frame(game.ema.module, shown, game.place.stage, size))
    state = game.state() | {"feed": feed}
    return training.run(lambda number: game.step(number, feed), state, **options)


# --- Samples -------------------------------------------------------------------------------------


def frame(generator: nn.Module, latent: Tensor, stage: Stage, size: int) -> Tensor:
    """Samples at a stage, their pixels enlarged to ``size``: (N, C, size, size) in [0, 1].

    Source: none; pictures for a film.
    """
    images = dcgan.to_unit(generator(latent, stage)).clamp(0, 1)
    return F.interpolate(images, size=size, mode="nearest")


@torch.no_grad()
def samples(
    generator: nn.Module, latent: Tensor, stage: Stage | None = None, *, batch: int = 100
) -> Tensor:
    """Images (N, C, r, r) in [0, 1] for latent vectors (N, latent), the last stage by default."""
    device = next(generator.parameters()).device
    parts = [dcgan.to_unit(generator(z.to(device), stage)).cpu() for z in latent.split(batch)]
    return torch.cat(parts).clamp(0, 1)


def facts(game: Game) -> dict[str, Any]:
    """What a checkpoint's header says, so that `load_generator` can build the network again.

    Source: none; settings as plain values.
    """
    widths = asdict(game.generator.widths)
    rules = asdict(game.generator.rules)
    levels = [list(level) for level in game.schedule.levels]
    return {
        "settings": {"widths": widths, "latent": game.generator.latent, "rules": rules},
        "schedule": levels,
    }


def load_generator(name: str = "course") -> tuple[Generator, checkpoints.Checkpoint]:
    """The averaged generator that was trained for the course, in eval mode, and its header.

    ``Schedule(checkpoint.about["schedule"])`` says how it was trained.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("progan", name)

    def make(widths: dict[str, Any], latent: int, rules: dict[str, Any]) -> Generator:
        return Generator(Widths(**widths), latent=latent, rules=Ingredients(**rules))

    return checkpoint.network(make, "growing generator"), checkpoint
