"""Topic 08: a critic in place of a discriminator, and a loss that means a distance.

From formula to result: the Wasserstein distance in one dimension, the losses of Arjovsky et al.
2017, the two ways to keep the critic 1-Lipschitz (clipping its weights; the gradient penalty of
Gulrajani et al. 2017), critics without batch normalisation, and the two training steps. What was
measured about all this is in `coursekit.wgan_study`.

The networks are those of topic 07: images in [-1, 1], one number an image. That number is no
logit here, and no sigmoid is put after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.core import checkpoints, checks, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError, ShapeError

Critic = Callable[[Tensor], Tensor]
Network = TypeVar("Network", bound=nn.Module)

CLIP = 0.01  # c in Arjovsky et al. 2017, algorithm 1
PENALTY_WEIGHT = 10.0  # λ in Gulrajani et al. 2017, algorithm 1
N_CRITIC = 5  # in both

# --- The distance --------------------------------------------------------------------------------


def wasserstein_1d(first: Tensor, second: Tensor) -> Tensor:
    """W₁ between two samples of numbers, (N,) each: sort both, pair them, average |difference|.

    Arjovsky et al. 2017, eq. 1. In one dimension the cheapest way to move one heap of earth onto
    another is in order.

    Raises:
        ShapeError: the samples are not (N,) and (N,), with the same N of 1 or more.
    """
    if first.dim() != 1 or first.shape != second.shape or not len(first):
        raise ShapeError(
            f"Expected two samples of equally many numbers (N,), got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    return (first.sort().values - second.sort().values).abs().mean()


def lipschitz_quotients(critic: Critic, first: Tensor, second: Tensor) -> Tensor:
    """|f(x) − f(y)| / ‖x − y‖ for pairs of inputs (N, …): (N,), none above 1 if f is 1-Lipschitz.

    The norm runs over all elements of a pair. Pairs of twins give NaN.
    """
    rise = (critic(first) - critic(second)).abs().flatten()
    return rise / (first - second).flatten(1).norm(dim=1)


# --- The losses ----------------------------------------------------------------------------------


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """What the critic minimises: E[D(G(z))] − E[D(x)].

    Arjovsky et al. 2017, eq. 2: the distance W(P_r, P_g) is the largest value of
    E[D(x)] − E[D(G(z))] over all 1-Lipschitz D. So minus this loss estimates the distance.

    Args:
        real_scores: (N,) or any shape, the critic's numbers for real images.
        fake_scores: the same for generated images.
    """
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """What the generator minimises: −E[D(G(z))] (Arjovsky et al. 2017, theorem 3).

    Scores are (N,) or of any shape.
    """
    return -fake_scores.mean()


def drift_penalty(real_scores: Tensor) -> Tensor:
    """E[D(x)²] on real images, with a small weight: it ties the critic to 0.

    The loss only knows differences of scores, so all of them may wander off together (Karras et
    al. 2018, appendix A.1, with the weight 0.001). Scores are (N,) or of any shape.
    """
    return real_scores.square().mean()


# --- Keeping the critic Lipschitz ----------------------------------------------------------------


@torch.no_grad()
def clip_weights(critic: nn.Module, limit: float = CLIP) -> None:
    """Put every parameter back into [−limit, limit], in place (Arjovsky et al. 2017, alg. 1).

    Raises:
        SettingError: the limit is not above 0.
    """
    if not limit > 0:
        raise SettingError(f"limit={limit} leaves no weights; give a number above 0.")
    for parameter in critic.parameters():
        parameter.clamp_(-limit, limit)


def gradient_penalty(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    *,
    epsilon: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """E[(‖∇D(x̂)‖₂ − 1)²] at x̂ = εx + (1 − ε)G(z), one random ε for each pair.

    Gulrajani et al. 2017, eq. 3, to be weighted by λ. The norm is that of one pair's gradient
    over all its elements. Differentiable once more with respect to the critic's weights.

    Args:
        critic: images (N, …) → one score an image.
        real: (N, …) in the critic's range.
        fake: the same shape; no gradient goes back to it, nor to ``real``.
        epsilon: (N,), instead of random numbers from [0, 1).
        generator: for the random ε; the global random numbers otherwise.

    Raises:
        ShapeError: real and fake differ in shape, or ε is not (N,).
        SettingError: the critic has batch normalisation.
    """
    refuse_batch_norm(critic)
    between = interpolate(real.detach(), fake.detach(), epsilon, generator).requires_grad_(True)
    # The sum over the batch: each score depends on its own image alone.
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = gradient.flatten(1).norm(dim=1)
    return (norm - 1).square().mean()


def interpolate(
    real: Tensor,
    fake: Tensor,
    epsilon: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """εx + (1 − ε)y, with one ε for each of the N pairs (Gulrajani et al. 2017, algorithm 1).

    Arguments and errors as for `gradient_penalty`."""
    if real.shape != fake.shape or real.dim() < 2:
        raise ShapeError(
            f"Real and generated images come in pairs (N, …), not as {tuple(real.shape)} and "
            f"{tuple(fake.shape)}."
        )
    if epsilon is None:
        device = generator.device if generator else real.device
        epsilon = torch.rand(len(real), generator=generator, device=device).to(real)
    if epsilon.shape != (len(real),):
        raise ShapeError(f"epsilon is {tuple(epsilon.shape)}; expected one a pair, ({len(real)},).")
    epsilon = epsilon.reshape(-1, *[1] * (real.dim() - 1))
    return epsilon * real + (1 - epsilon) * fake


def refuse_batch_norm(critic: object) -> None:
    """Do nothing if the critic has no batch normalisation.

    Raises:
        SettingError: it has; then a score depends on the other images of the batch, and there is
            no gradient of one image alone (Gulrajani et al. 2017, §4).
    """
    parts = critic.named_modules() if isinstance(critic, nn.Module) else ()
    for name, part in parts:
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise SettingError(
                f"The critic has batch normalisation ({name}): its scores depend on the whole "
                "batch, and the penalty asks for the gradient of one image. Use "
                "Guidelines(batch_norm=False) or layer_normalised()."
            )


# --- Critics -------------------------------------------------------------------------------------


def convolutional_critic(
    width: int = 64, size: int = 64, channels: int = 3, *, layer_norm: bool = False
) -> dcgan.Discriminator:
    """DCGAN's discriminator without batch normalisation, with layer normalisation if asked.

    Gulrajani et al. 2017, §4, advise so. Arguments as for `dcgan.Generator`."""
    if layer_norm:
        return layer_normalised(dcgan.Discriminator(width, size, channels))
    rules = dcgan.Guidelines(batch_norm=False)
    return dcgan.Discriminator(width, size, channels, rules=rules)


def layer_normalised(network: Network) -> Network:
    """Put layer normalisation where a network of convolutions has batch normalisation.

    Mean and variance are taken over channels and positions of one image; scale and shift stay
    one a channel (Ba et al. 2016 have one an element). The network is changed and returned.
    """
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, nn.GroupNorm(1, child.num_features))
    return network


# --- The training step ---------------------------------------------------------------------------


def critic_step(
    critic: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    *,
    penalty_weight: float = 0.0,
    clip: float | None = None,
    drift_weight: float = 0.0,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """One step of the critic: real images up, generated ones down, the slope kept near 1.

    Algorithm 1 of Arjovsky et al. 2017 or, with a penalty, algorithm 1 of Gulrajani et al. 2017.

    Args:
        critic: images (N, …) → scores.
        optimiser: of the critic's parameters.
        real: images of the data set, (N, …).
        fake: images of the generator, of the same shape; no gradient goes back to it.
        penalty_weight: λ of the gradient penalty; 0 leaves it out.
        clip: c of the weight clipping after the step; ``None`` leaves it out.
        drift_weight: of the drift penalty; 0 leaves it out.
        generator: for the penalty's random ε.

    Returns:
        The loss without penalties, the penalty if there is one, and the mean scores.

    Raises:
        SettingError: a weight below 0, a limit of the clipping that is not above it, or a critic
            with batch normalisation under a penalty.
    """
    checks.at_least(0, penalty_weight=penalty_weight, drift_weight=drift_weight)
    real_scores = critic(real.detach())
    fake_scores = critic(fake.detach())
    loss = total = critic_loss(real_scores, fake_scores)
    terms = {"critic_loss": loss}
    if penalty_weight:
        terms["penalty"] = gradient_penalty(critic, real, fake, generator=generator)
        total = total + penalty_weight * terms["penalty"]
    if drift_weight:
        terms["drift"] = drift_penalty(real_scores)
        total = total + drift_weight * terms["drift"]

    optimiser.zero_grad(set_to_none=True)
    total.backward()
    optimiser.step()
    if clip is not None:
        clip_weights(critic, clip)
    terms |= {"d_real": real_scores.mean(), "d_fake": fake_scores.mean()}
    return {name: value.detach() for name, value in terms.items()}


def generator_step(
    critic: nn.Module, optimiser: torch.optim.Optimizer, fake: Tensor
) -> dict[str, Tensor]:
    """One step of the generator: up the critic's slope.

    Algorithm 1 of Arjovsky et al. 2017 and of Gulrajani et al. 2017.

    Args:
        critic: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        fake: images of the generator, (N, …), with their graph.
    """
    with dcgan.frozen(critic):
        loss = generator_loss(critic(fake))

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {"g_loss": loss.detach()}


@dataclass
class WassersteinGame:
    """Generator and critic, their optimisers, and the step that plays one round.

    With ``clip`` it is algorithm 1 of Arjovsky et al. 2017 (RMSProp, learning rate 5e-5); without
    it, algorithm 1 of Gulrajani et al. 2017 (gradient penalty; Adam, 1e-4, β = (0, 0.9)).

    Attributes:
        generator: z (N, latent) → images; it must have the attribute ``latent``.
        critic: images → scores.
        clip: c; ``None`` for the gradient penalty.
        penalty_weight: λ; not used with ``clip``.
        n_critic: steps of the critic for one of the generator.
        learning_rate: of both networks; the paper's by default.
        drift_weight: of the drift penalty.
        ema_decay: of the averaged generator.

    Raises:
        SettingError: a critic with batch normalisation and a gradient penalty; ``n_critic``
            below 1; a weight below 0 or a limit that is not above it.
    """

    generator: dcgan.LatentGenerator
    critic: nn.Module
    clip: float | None = None
    penalty_weight: float = PENALTY_WEIGHT
    n_critic: int = N_CRITIC
    learning_rate: float | None = None
    drift_weight: float = 0.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if self.n_critic < 1:
            raise SettingError(f"n_critic={self.n_critic}: the critic takes 1 step or more.")
        checks.at_least(0, penalty_weight=self.penalty_weight, drift_weight=self.drift_weight)
        checks.above(0, clip=1 if self.clip is None else self.clip)
        if self.clip is None and self.penalty_weight:
            refuse_batch_norm(self.critic)
        self.g_optimiser, self.c_optimiser = map(self._optimiser, (self.generator, self.critic))
        self.ema = training.EMA(self.generator, self.ema_decay)

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        if self.clip is not None:
            return torch.optim.RMSprop(network.parameters(), self.learning_rate or 5e-5)
        return torch.optim.Adam(network.parameters(), self.learning_rate or 1e-4, (0.0, 0.9))

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""
        return {
            "generator": self.generator,
            "critic": self.critic,
            "g_optimiser": self.g_optimiser,
            "c_optimiser": self.c_optimiser,
            "ema": self.ema,
        }

    def step(self, batches: training.Batches) -> dict[str, Tensor]:
        """One round: ``n_critic`` steps of the critic, each on new images, then the generator's.

        Args:
            batches: each a dict with ``"image"`` (N, C, H, W) in [0, 1].

        Returns:
            The critic's terms, averaged over its steps, and the generator's loss.
        """
        sums: dict[str, Tensor] = {}
        for _ in range(self.n_critic):
            real = dcgan.from_unit(with_fields(next(batches), "image")["image"])
            with torch.no_grad():
                fake = self._fake(real)
            for name, value in self._critic_step(real, fake).items():
                sums[name] = sums.get(name, 0) + value
        terms = {name: value / self.n_critic for name, value in sums.items()}
        return terms | generator_step(self.critic, self.g_optimiser, self._fake(real))

    def _critic_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return critic_step(
            self.critic,
            self.c_optimiser,
            real,
            fake,
            penalty_weight=0.0 if self.clip is not None else self.penalty_weight,
            clip=self.clip,
            drift_weight=self.drift_weight,
        )

    def _fake(self, real: Tensor) -> Tensor:
        return self.generator(dcgan.sample_latent(len(real), self.generator.latent).to(real.device))


def train(
    game: WassersteinGame, batches: training.Batches, **options: Any
) -> training.TrainingResult:
    """Play the game on the images of a data set.

    Args:
        game: networks and settings.
        batches: each a dict with ``"image"`` (N, C, H, W) in [0, 1].
        options: for `core.training.run`; a step is one of the generator. By default the preview
            is 16 samples of the averaged generator from fixed z.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    shown = dcgan.sample_latent(16, game.generator.latent, seed=1).to(batches.device)
    options.setdefault("preview", lambda: dcgan.to_unit(game.ema.module(shown)))
    return training.run(
        lambda number: game.step(batches), game.state() | {"batches": batches}, **options
    )


def load_generator(name: str = "course") -> tuple[dcgan.Generator, checkpoints.Checkpoint]:
    """The generator of digits that was trained for the course, in eval mode, and its header.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("wgan", name)
    return checkpoint.network(dcgan.Generator, "generator of digits"), checkpoint
