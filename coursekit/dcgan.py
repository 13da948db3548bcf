"""Topic 07: the adversarial game on digits, and DCGAN on faces.

From formula to result: the two losses of the game (Goodfellow et al. 2014), the two training steps,
and the game that plays them. The networks, with the guidelines of Radford et al. 2016 as switches,
are in `coursekit.dcgan_networks`; what the latent space of a trained generator knows is in
`coursekit.dcgan_latent`; switching its filters off in `coursekit.dcgan_filters`.

Networks take and give images in [-1, 1], as the generator's tanh does; `to_unit` and `from_unit`
go to [0, 1] and back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.core import checkpoints, checks, losses, recording, runtime, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError
from coursekit.core.gan_doctor import gradient_norm
from coursekit.dcgan_networks import (
    ALL,
    LATENT,
    Discriminator,
    Generator,
    Guidelines,
    LatentGenerator,
    MLPDiscriminator,
    MLPGenerator,
    initialise,
)

if TYPE_CHECKING:
    from coursekit.core.gan_doctor import GanDoctor

Network = TypeVar("Network", bound=nn.Module)

__all__ = [
    "ALL",
    "LATENT",
    "Discriminator",
    "Game",
    "Generator",
    "Guidelines",
    "LatentGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "TwoPlayers",
    "discriminator_loss",
    "discriminator_step",
    "from_unit",
    "frozen",
    "generator_loss",
    "generator_step",
    "initialise",
    "load_generator",
    "optimal_discriminator",
    "sample_latent",
    "sampler",
    "samples",
    "to_unit",
    "train",
]


# --- The game ------------------------------------------------------------------------------------


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0
) -> Tensor:
    """What the discriminator minimises: −E[log D(x)] − E[log(1 − D(G(z)))].

    Goodfellow et al. 2014, eq. 1, with D = sigmoid(logit), so that
    −log D = softplus(−logit) and −log(1 − D) = softplus(logit).

    Args:
        real_logits: (N,) or any shape, before the sigmoid, for real images.
        fake_logits: the same for generated images.
        real_label: 1, or 0.9 for one-sided label smoothing (Salimans et al. 2016, §3.4).

    Raises:
        SettingError: a label outside (0, 1].
    """
    if not 0 < real_label <= 1:
        raise SettingError(f"real_label={real_label} is no probability in (0, 1].")
    real_part = real_label * F.softplus(-real_logits) + (1 - real_label) * F.softplus(real_logits)
    return real_part.mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor, kind: str = "non-saturating") -> Tensor:
    """What the generator minimises.

    ``"saturating"`` is the game as it is written, E[log(1 − D(G(z)))]: its gradient vanishes where
    the discriminator is sure. ``"non-saturating"`` is −E[log D(G(z))], the one that is used
    (Goodfellow et al. 2014, §3). Logits are (N,) or of any shape, the loss is a scalar.

    Raises:
        SettingError: the kind is neither.
    """
    if kind == "non-saturating":
        return F.softplus(-fake_logits).mean()
    if kind == "saturating":
        return -F.softplus(fake_logits).mean()
    raise SettingError(f"There is no generator loss {kind!r}: 'non-saturating' or 'saturating'.")


def optimal_discriminator(real_density: Tensor, fake_density: Tensor) -> Tensor:
    """D*(x) = p_data / (p_data + p_g), the best answer to a fixed generator (prop. 1).

    Of densities at the same points, of any shape.

    Raises:
        ShapeError: the densities are not at the same points.
    """
    checks.one_shape("(N,)", real_density.dim(), real=real_density, fake=fake_density)
    return real_density / (real_density + fake_density)


def sample_latent(count: int, size: int = LATENT, *, seed: int | None = None) -> Tensor:
    """z ~ N(0, 1), shape (count, size); from the global random numbers unless a seed is given.

    Each of the ``count`` vectors has ``size`` numbers.

    Differs from Radford et al. 2016, who draw from a uniform distribution on [-1, 1]: a normal
    one is the custom today, and its averages and walks are easier to reason about.

    Raises:
        SettingError: a count or a size below 1.
    """
    checks.at_least(1, count=count, size=size)
    random = None if seed is None else runtime.generator(seed)
    return torch.randn(count, size, generator=random)


def to_unit(images: Tensor) -> Tensor:
    """From the generator's [-1, 1], the range of tanh (Radford et al. 2016, §4), to [0, 1].

    Any shape.
    """
    return (images + 1) / 2


def from_unit(images: Tensor) -> Tensor:
    """From [0, 1] to the [-1, 1] that the networks work in (Radford et al. 2016, §4); any shape."""
    return images * 2 - 1


# --- The training step ---------------------------------------------------------------------------


def discriminator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    *,
    real_label: float = 1.0,
    r1: float = 0.0,
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> dict[str, Tensor]:
    """One step of the discriminator: real images up, generated ones down.

    Goodfellow et al. 2014, algorithm 1, with one such step for one of the generator.

    Args:
        discriminator: images (N, C, H, W) in [-1, 1] → logits (N,).
        optimiser: of the discriminator's parameters.
        real: images of the data set, (N, C, H, W).
        fake: images of the generator, of the same shape; no gradient goes back to it.
        real_label: as in `discriminator_loss`.
        r1: weight γ of the R1 penalty (Mescheder et al. 2018); 0 leaves it out.
        watch: is shown the logits of the real and of the generated images.

    Returns:
        The loss and the mean logits, without gradients.

    Raises:
        SettingError: a label outside (0, 1], or ``r1`` below 0.
    """
    checks.at_least(0, r1=r1)
    real = real.detach().requires_grad_(r1 > 0)
    real_logits = discriminator(real)
    fake_logits = discriminator(fake.detach())
    if watch is not None:
        watch(real_logits.detach(), fake_logits.detach())
    loss = discriminator_loss(real_logits, fake_logits, real_label=real_label)
    penalty = losses.r1_penalty(real_logits, real) if r1 > 0 else 0.0

    optimiser.zero_grad(set_to_none=True)
    (loss + r1 / 2 * penalty).backward()
    optimiser.step()
    means = {"d_real": real_logits.detach().mean(), "d_fake": fake_logits.detach().mean()}
    return {"d_loss": loss.detach(), **means}


def generator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    fake: Tensor,
    *,
    kind: str = "non-saturating",
) -> dict[str, Tensor]:
    """One step of the generator: make the discriminator take ``fake`` for real.

    Goodfellow et al. 2014, algorithm 1.

    Args:
        discriminator: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        fake: images of the generator, (N, C, H, W), with their graph.
        kind: as in `generator_loss`.
    """
    with frozen(discriminator):
        loss = generator_loss(discriminator(fake), kind)

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {"g_loss": loss.detach()}


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, the module's weights ask for no gradient: a third of its backward pass is saved."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class TwoPlayers(Generic[Network]):
    """A generator and a discriminator with their optimisers: what every game of two has.

    The step is each game's own. Adam with β₁ = 0.5, as Radford et al. 2016, §4.

    Raises:
        SettingError: not two learning rates above 0, or a decay that is no share.
    """

    generator: Network
    discriminator: nn.Module
    learning_rates: tuple[float, float]
    ema_decay: float

    def __post_init__(self) -> None:
        rates, betas = self.learning_rates, (0.5, 0.999)
        if (
            not isinstance(rates, Sequence)
            or len(rates) != 2
            or not all(rate > 0 for rate in rates)
        ):
            raise SettingError(f"learning_rates={rates}: give those of G and D, two above 0.")
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), rates[0], betas)
        self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), rates[1], betas)
        self.ema = training.EMA(self.generator, self.ema_decay)

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "g_optimiser": self.g_optimiser,
            "d_optimiser": self.d_optimiser,
            "ema": self.ema,
        }

    def slow_down(self, share: float) -> None:
        """Set both learning rates to this share of what they were at the beginning."""
        for optimiser, rate in zip(
            (self.g_optimiser, self.d_optimiser), self.learning_rates, strict=True
        ):
            recording.set_rate(optimiser, rate * share)


@dataclass
class Game(TwoPlayers[LatentGenerator]):
    """Two networks, their optimisers, and the step that plays one round.

    Attributes:
        generator: z (N, latent) → images; it must have the attribute ``latent``.
        discriminator: images → logits.
        learning_rates: of G and D; Adam with β₁ = 0.5, as Radford et al. 2016.
        kind: the generator's loss.
        real_label: the discriminator's label for real images.
        r1: weight γ of the R1 penalty; 0 leaves it out.
        r1_every: the penalty is taken at every so many steps, times as many (Karras et al. 2020).
        ema_decay: of the averaged generator.
        doctor: looks on at every so many steps, if given.

    Raises:
        SettingError: ``r1`` below 0, or ``r1_every`` below 1.
    """

    generator: LatentGenerator
    discriminator: nn.Module
    learning_rates: tuple[float, float] = (2e-4, 2e-4)
    kind: str = "non-saturating"
    real_label: float = 1.0
    r1: float = 0.0
    r1_every: int = 16
    ema_decay: float = 0.999
    doctor: GanDoctor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, r1_every=self.r1_every)
        checks.at_least(0, r1=self.r1)

    def step(self, number: int, real: Tensor) -> dict[str, Tensor]:
        """One round: the discriminator's step, then the generator's, on the same fakes.

        Args:
            number: of the step, from 1.
            real: images (N, C, H, W) in [0, 1].
        """
        z = sample_latent(len(real), self.generator.latent).to(real.device)
        fake = self.generator(z)
        logits: list[Tensor] = []
        r1 = self.r1 * self.r1_every if number % self.r1_every == 0 else 0.0
        d_terms = discriminator_step(
            self.discriminator,
            self.d_optimiser,
            from_unit(real),
            fake,
            real_label=self.real_label,
            r1=r1,
            watch=lambda *pair: logits.extend(pair),
        )
        g_terms = generator_step(self.discriminator, self.g_optimiser, fake, kind=self.kind)
        if self.doctor is not None and number % self.doctor.every == 0:
            self._consult(self.doctor, number, logits, fake, real, d_terms | g_terms)
        return d_terms | g_terms

    def _consult(
        self,
        doctor: GanDoctor,
        number: int,
        logits: Sequence[Tensor],
        fake: Tensor,
        real: Tensor,
        terms: Mapping[str, Tensor],
    ) -> None:
        doctor.observe(
            number,
            real_logits=logits[0],
            fake_logits=logits[1],
            generator_gradient_norm=gradient_norm(self.generator.parameters()),
            samples=to_unit(fake.detach()),
            real=real,
            terms=terms,
        )


class _Playable(Protocol):
    """What `train` asks of a game of images alone, such as topic 13's."""

    generator: Any
    ema: training.EMA[Any]

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""

    def step(self, number: int, real: Tensor) -> training.Terms:
        """One round."""

    def slow_down(self, share: float) -> None:
        """Set the learning rates to this share of what they were at the beginning."""


def train(
    game: _Playable,
    batches: training.Batches,
    *,
    rate: Callable[[int], float] | None = None,
    **options: Any,
) -> training.TrainingResult:
    """Play the game on the images of a data set.

    Args:
        game: networks and settings.
        batches: each a dict with ``"image"`` (N, C, H, W) in [0, 1].
        rate: step → share of the learning rates to use; all of them by default.
        options: for `core.training.run`; by default the preview is 16 samples of the averaged
            generator from fixed z.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    shown = sample_latent(16, game.generator.latent, seed=1).to(batches.device)
    options.setdefault("preview", lambda: to_unit(game.ema.module(shown)))

    def step(number: int) -> training.Terms:
        if rate is not None:
            game.slow_down(rate(number))
        return game.step(number, with_fields(next(batches), "image")["image"])

    return training.run(step, game.state() | {"batches": batches}, **options)


@torch.no_grad()
def samples(generator: nn.Module, latent: Tensor, *, batch: int = 100) -> Tensor:
    """Images (N, C, H, W) in [0, 1] for latent vectors (N, latent), a batch at a time.

    Raises:
        SettingError: a batch below 1.
    """
    checks.at_least(1, batch=batch)
    device = next(generator.parameters()).device
    parts = [to_unit(generator(z.to(device))).cpu() for z in latent.split(batch)]
    return torch.cat(parts).clamp(0, 1)


def sampler(generator: LatentGenerator) -> Callable[[int, torch.Generator], Tensor]:
    """The generator as `core.metrics.fid_of` asks for it: (count, random) → images in [0, 1]."""

    def draw(count: int, random: torch.Generator) -> Tensor:
        return samples(generator, torch.randn(count, generator.latent, generator=random))

    return draw


def load_generator(name: str = "course") -> tuple[Generator, checkpoints.Checkpoint]:
    """The generator of faces that was trained for the course, in eval mode, and its header.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("dcgan", name)
    return checkpoint.network(Generator, "generator of faces"), checkpoint
