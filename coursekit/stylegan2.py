"""Topic 13: a generator that is steered by styles (Karras et al. 2019, 2020).

From formula to result: the game with its two lazy regularisers, the four training steps, and the
game that plays them. The layers are in `coursekit.stylegan2_layers`, the networks in
`coursekit.stylegan2_networks` and `coursekit.stylegan2_discriminator`.

Networks take and give images in [-1, 1], everything else is in [0, 1].
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.core import checks, losses, recording, training
from coursekit.core.errors import SettingError, ShapeError
from coursekit.stylegan2_discriminator import Discriminator
from coursekit.stylegan2_networks import Generator, Sizes, mix

__all__ = [
    "Discriminator",
    "Game",
    "Generator",
    "PathLength",
    "Sizes",
    "discriminator_step",
    "generator_step",
    "lazy",
    "mix",
    "mixed_styles",
    "path_length_step",
    "path_lengths",
    "r1_step",
    "train",
]  # fmt: skip


# --- Regularisers --------------------------------------------------------------------------------


def lazy(
    learning_rate: float, betas: tuple[float, float], every: int
) -> tuple[float, tuple[float, float]]:
    """Adam's settings when a regulariser is a step of its own after every ``every`` steps.

    With c = every / (every + 1): λ′ = c · λ and β′ = β^c (2020, appendix B), so that the larger
    number of steps changes neither the speed nor the memory. 0 means no such steps.

    Raises:
        SettingError: a negative number of steps.
    """
    if every < 0:
        raise SettingError(f"every={every}: a step comes after 1 step or more, or never (0).")
    share = every / (every + 1) if every else 1.0
    return learning_rate * share, (betas[0] ** share, betas[1] ** share)


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """‖Jᵀ_w y‖₂: how far an image moves, in a random direction y, when w moves (2020, eq. 4).

    J_w = ∂g(w)/∂w is never built: Jᵀ y is the gradient of the scalar g(w) · y.

    Args:
        images: g(w), (N, C, H, W), computed from ``styles``.
        styles: one w for each layer, (N, L, latent); their mean square over the layers counts.
        noise: y from N(0, 1), of the images' shape. It is divided by √(H·W), so that the lengths
            do not depend on the resolution.

    Returns:
        (N,), differentiable once more.

    Raises:
        ShapeError: noise of another shape, or images that do not depend on the styles.
    """
    checks.one_shape("(N, C, H, W)", 4, images=images, noise=noise)
    if styles.dim() != 3 or not images.requires_grad:
        raise ShapeError(
            f"The images must be computed from styles (N, L, latent), got {tuple(styles.shape)}; "
            "styles need requires_grad, and nothing on the way a .detach()."
        )
    scale = (images.shape[2] * images.shape[3]) ** 0.5
    scalar = (images * noise).sum() / scale
    (gradient,) = torch.autograd.grad(scalar, styles, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


class PathLength(nn.Module):
    """E[(‖Jᵀ_w y‖₂ − a)²]: steps of one size in w change the image by one size (2020, eq. 4).

    a is the running mean of the lengths themselves: the goal is set while training.

    Args:
        decay: the weight of the old mean; a moves by (1 − decay) of the way.

    Raises:
        SettingError: a decay outside of [0, 1].
    """

    mean: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        checks.share(decay=decay)
        self.decay = decay
        self.register_buffer("mean", torch.zeros([]))

    def forward(self, lengths: Tensor) -> Tensor:
        """The penalty for lengths (N,); moves the mean first."""
        self.mean.lerp_(lengths.detach().mean(), 1 - self.decay)
        return (lengths - self.mean).square().mean()


def mixed_styles(
    generator: Generator, z: Tensor, *, probability: float = 0.9, update_average: bool = True
) -> Tensor:
    """Styles for training: with some probability the later layers get another z (2019, §3.1).

    So that neighbouring layers do not learn to rely on each other.

    Args:
        generator: its mapping network is used.
        z: (N, latent).
        probability: of mixing, once for the whole batch; the second z and the crossover are drawn
            from the global random numbers.
        update_average: move the mean of w, as for `Mapping`.

    Returns:
        (N, count, latent).

    Raises:
        SettingError: a probability outside of [0, 1].
    """
    checks.share(probability=probability)
    count = generator.synthesis.count
    styles = generator.mapping(z, update_average=update_average)[:, None].expand(-1, count, -1)
    if not probability:
        return styles
    other = generator.mapping(torch.randn_like(z))[:, None].expand(-1, count, -1)
    # As `mix`, but without a look at the random numbers: they may be a GPU's.
    mixes = torch.rand((), device=z.device) < probability
    crossover = torch.randint(1, count, (), device=z.device)
    others = (torch.arange(count, device=z.device) >= crossover) & mixes
    return torch.where(others[:, None], other, styles)


# --- The training steps --------------------------------------------------------------------------


def discriminator_step(
    discriminator: nn.Module, optimiser: torch.optim.Optimizer, real: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    """One step of the discriminator on the logistic loss (2020, appendix B).

    Args:
        discriminator: images (N, C, H, W) in [-1, 1] → logits (N,).
        optimiser: of its parameters.
        real, fake: images (N, C, H, W); no gradient goes back to the generator.
    """
    real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
    loss = dcgan.discriminator_loss(real_logits, fake_logits)

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    means = {"d_real": real_logits.detach().mean(), "d_fake": fake_logits.detach().mean()}
    return {"d_loss": loss.detach(), **means}


def r1_step(
    discriminator: nn.Module, optimiser: torch.optim.Optimizer, real: Tensor, weight: float
) -> dict[str, Tensor]:
    """One step on γ/2 · E[‖∇D(x)‖²] alone (Mescheder et al. 2018).

    Args:
        discriminator, optimiser, real: as for `discriminator_step`.
        weight: γ, times the number of steps between two such ones.
    """
    images = real.detach().requires_grad_()
    penalty = losses.r1_penalty(discriminator(images), images)

    optimiser.zero_grad(set_to_none=True)
    (weight / 2 * penalty).backward()
    optimiser.step()
    return {"r1": penalty.detach()}


def generator_step(
    discriminator: nn.Module, optimiser: torch.optim.Optimizer, fake: Tensor
) -> dict[str, Tensor]:
    """One step of the generator on the non-saturating loss (2020, appendix B).

    Args:
        discriminator: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        fake: images of the generator, (N, C, H, W), with their graph.
    """
    with dcgan.frozen(discriminator):
        loss = dcgan.generator_loss(discriminator(fake))

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {"g_loss": loss.detach()}


def path_length_step(
    generator: Generator,
    optimiser: torch.optim.Optimizer,
    penalty: PathLength,
    styles: Tensor,
    weight: float,
) -> dict[str, Tensor]:
    """One step of the generator on the path length penalty alone (2020, section 3.2).

    Args:
        generator: its synthesis network is used.
        optimiser: of its parameters.
        penalty: with the running mean of the lengths.
        styles: (N, count, latent) with their graph: the mapping network learns too.
        weight: of the penalty, times the number of steps between two such ones.
    """
    images = generator.synthesis(styles)
    noise = torch.randn_like(images, memory_format=torch.contiguous_format)  # the same in any order
    lengths = path_lengths(images, styles, noise)
    loss = penalty(lengths)

    optimiser.zero_grad(set_to_none=True)
    (weight * loss).backward()
    optimiser.step()
    return {"path_length": lengths.detach().mean(), "path_penalty": loss.detach()}


@dataclass
class Game:
    """Both networks, their optimisers, and the step that plays one round (2020, appendix B).

    Attributes:
        generator, discriminator: the networks.
        learning_rate: of both, Adam with β = (0, 0.99); corrected by `lazy`.
        r1: γ; 0 leaves the penalty out.
        r1_every: steps between two of R1.
        path_weight: of the path length penalty; 0 leaves it out.
        path_every: steps between two of the path length, each on half a batch.
        mixing: probability of style mixing.
        ema_images: after so many images the averaged generator has forgotten half.

    Raises:
        SettingError: an interval below 1, or ``ema_images`` not above 0.
    """

    generator: Generator
    discriminator: Discriminator
    learning_rate: float = 2e-3
    r1: float = 1.0
    r1_every: int = 16
    path_weight: float = 2.0
    path_every: int = 4
    mixing: float = 0.9
    ema_images: float = 10_000.0

    def __post_init__(self) -> None:
        if min(self.r1_every, self.path_every) < 1 or self.ema_images <= 0:
            raise SettingError(
                f"r1_every={self.r1_every}, path_every={self.path_every} and "
                f"ema_images={self.ema_images} must be positive; a weight of 0 leaves a term out."
            )
        rate, betas = self.learning_rate, (0.0, 0.99)
        g_rate, g_betas = lazy(rate, betas, self.path_every if self.path_weight else 0)
        d_rate, d_betas = lazy(rate, betas, self.r1_every if self.r1 else 0)
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), g_rate, g_betas)
        self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), d_rate, d_betas)
        self.learning_rates = {"g": g_rate, "d": d_rate}
        self.path_length = PathLength().to(self.generator.mapping.w_avg.device)
        self.recorder = recording.Recorder()
        # Differs from the paper in nothing but the unit: a decay for each step, from `step`.
        self.ema = training.EMA(self.generator)

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""
        names = ("generator", "discriminator", "g_optimiser", "d_optimiser", "path_length", "ema")
        return {name: getattr(self, name) for name in names}

    def step(self, number: int, real: Tensor) -> training.Terms:
        """One round: D, and now and then R1; then G, and now and then the path length.

        Args:
            number: of the step, from 1.
            real: images (N, C, H, W) in [0, 1].
        """
        self.ema.decay = 0.5 ** (len(real) / self.ema_images)
        for optimiser in (self.g_optimiser, self.d_optimiser):
            recording.prepare(optimiser)
        with_r1 = bool(self.r1) and number % self.r1_every == 0
        with_path = bool(self.path_weight) and number % self.path_every == 0
        play = functools.partial(self.play, with_r1=with_r1, with_path=with_path)
        return self.recorder((real.shape, with_r1, with_path), play, real)

    def play(self, real: Tensor, *, with_r1: bool, with_path: bool) -> dict[str, Tensor]:
        """One round on images (N, C, H, W) in [0, 1], with the regularisers that are due."""
        real = dcgan.from_unit(real)
        fake = self.generator.synthesis(self._styles(real, len(real)))
        terms = discriminator_step(self.discriminator, self.d_optimiser, real, fake)
        if with_r1:
            weight = self.r1 * self.r1_every
            terms |= r1_step(self.discriminator, self.d_optimiser, real, weight)
        terms |= generator_step(self.discriminator, self.g_optimiser, fake)
        if with_path:
            styles, weight = self._styles(real, -(-len(real) // 2)), self.path_weight
            step = self.generator, self.g_optimiser, self.path_length, styles
            terms |= path_length_step(*step, weight * self.path_every)
        return terms

    def _styles(self, real: Tensor, count: int) -> Tensor:
        z = torch.randn(count, self.generator.latent, device=real.device)
        return mixed_styles(self.generator, z, probability=self.mixing)

    def slow_down(self, share: float) -> None:
        """Set both learning rates to this share of what they were at the beginning."""
        recording.set_rate(self.g_optimiser, self.learning_rates["g"] * share)
        recording.set_rate(self.d_optimiser, self.learning_rates["d"] * share)


def train(
    game: Game,
    batches: training.Batches,
    *,
    rate: Callable[[int], float] | None = None,
    **options: Any,
) -> training.TrainingResult:
    """Play the game on the images of a data set; arguments as for `dcgan.train`."""
    return dcgan.train(game, batches, rate=rate, **options)
