"""Topic 14: pictures from label maps, with a style (SPADE, also called GauGAN, Park et al. 2019).

From formula to result: the painter (generator and style encoder), the two training steps with every
loss term by name, and `paint`, which uses what was learned. The layers are in
`coursekit.spade_networks`, the loss terms in `coursekit.spade_losses`, the measures in
`coursekit.spade_measure`.

Networks take and give pictures in [-1, 1], everything else is in [0, 1]; label maps are int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.core import checkpoints, checks, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.images import check_images
from coursekit.dcgan import from_unit, sample_latent, to_unit
from coursekit.spade_losses import (
    PerceptualLoss,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    kl_divergence,
    reparameterise,
)
from coursekit.spade_networks import (
    SPADE,
    ConcatGenerator,
    Generator,
    MultiscaleDiscriminator,
    SPADEBlock,
    StyleEncoder,
    normalise,
    one_hot,
    resize_labels,
)

__all__ = [
    "SPADE",
    "ConcatGenerator",
    "Game",
    "Generator",
    "MultiscaleDiscriminator",
    "Painter",
    "PerceptualLoss",
    "SPADEBlock",
    "StyleEncoder",
    "Weights",
    "discriminator_step",
    "feature_matching",
    "from_unit",
    "generator_step",
    "hinge_discriminator",
    "hinge_generator",
    "kl_divergence",
    "load",
    "normalise",
    "one_hot",
    "paint",
    "reparameterise",
    "resize_labels",
    "sample_latent",
    "style_of",
    "to_unit",
    "train",
]


class Painter(nn.Module):
    """What paints: a generator and, if it takes style codes, the encoder that makes them.

    Park et al. 2019, appendix A.

    Attributes:
        generator: label planes (and style codes) → pictures in [-1, 1].
        encoder: pictures → mean and log-variance of their style; None without styles.

    Raises:
        SettingError: codes of different lengths, or an encoder that nobody listens to.
    """

    def __init__(self, generator: Generator, encoder: StyleEncoder | None = None) -> None:
        super().__init__()
        made = encoder.latent if encoder is not None else 0
        if made != generator.latent:
            raise SettingError(
                f"The encoder makes codes of {made} numbers, the generator takes "
                f"{generator.latent}."
            )
        self.generator, self.encoder = generator, encoder

    def forward(self, planes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """G(m, z) with the style z of ``images``, and the KL divergence of that style (0 without).

        Args:
            planes: one-hot label maps (N, classes, H, W).
            images: the true pictures (N, 3, H, W) in [-1, 1].
        """
        if self.encoder is None:
            return self.generator(planes), torch.zeros((), device=planes.device)
        mean, log_variance = self.encoder(images)
        z = reparameterise(mean, log_variance, torch.randn_like(mean))
        return self.generator(planes, z), kl_divergence(mean, log_variance)


# --- The training step ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Weights of the generator's terms beside the hinge term; 0 leaves a term out.

    The defaults are the paper's (appendix A).

    Raises:
        SettingError: a weight below 0.
    """

    features: float = 10.0
    perceptual: float = 10.0
    kl: float = 0.05

    def __post_init__(self) -> None:
        checks.at_least(0, features=self.features, perceptual=self.perceptual, kl=self.kl)


def discriminator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    planes: Tensor,
    images: Tensor,
    fake: Tensor,
) -> dict[str, Tensor]:
    """One step of the discriminator: true pairs above 1, generated pairs below −1 (appendix A).

    Args:
        discriminator: planes and pictures → its opinion, as `MultiscaleDiscriminator`.
        optimiser: of the discriminator's parameters.
        planes: one-hot label maps (N, classes, H, W).
        images: true pictures (N, 3, H, W) in [-1, 1].
        fake: G(m, z), like ``images``; no gradient goes back to the generator.
    """
    real = discriminator(planes, images)
    made = discriminator(planes, fake.detach())
    loss = hinge_discriminator(real, made)

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    means = {"d_real": real[0][-1].detach().mean(), "d_fake": made[0][-1].detach().mean()}
    return {"d_loss": loss.detach(), **means}


def generator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    planes: Tensor,
    images: Tensor,
    fake: Tensor,
    kl: Tensor,
    *,
    weights: Weights = Weights(),
    perceptual: nn.Module | None = None,
) -> dict[str, Tensor]:
    """One step of generator and encoder: hinge + λ_F · features + λ_V · VGG + λ_KL · KL.

    Park et al. 2019, appendix A.

    Args:
        discriminator: it is only asked; its weights get no gradient.
        optimiser: of the painter's parameters.
        planes, images: as in `discriminator_step`.
        fake, kl: what the painter gave, (N, 3, H, W) and a scalar, with their graph.
        weights: of the terms.
        perceptual: the VGG term; left out if there is none.
    """
    with dcgan.frozen(discriminator):
        opinion = discriminator(planes, fake)
    with torch.no_grad():
        target = discriminator(planes, images)
    terms = {"g_loss": hinge_generator(opinion)}
    loss = terms["g_loss"] + weights.kl * kl
    if weights.features:
        terms["features"] = feature_matching(target, opinion)
        loss = loss + weights.features * terms["features"]
    if perceptual is not None and weights.perceptual:
        terms["perceptual"] = perceptual(fake, images)
        loss = loss + weights.perceptual * terms["perceptual"]

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {name: value.detach() for name, value in (terms | {"kl": kl}).items()}


@dataclass
class Game:
    """Painter and discriminator, their optimisers, and the step that plays one round.

    Attributes:
        painter: generator and style encoder.
        discriminator: of label planes and pictures.
        weights: of the generator's terms.
        perceptual: the VGG term, or None.
        learning_rates: of painter and discriminator; Adam with β = (0, 0.9), and D four times as
            fast as G (two time scales, Heusel et al. 2017), as in the paper.
        ema_decay: of the averaged painter. Differs from Park et al. 2019, who use the last weights,
            because the average is calmer after a short training.
    """

    painter: Painter
    discriminator: nn.Module
    weights: Weights = field(default_factory=Weights)
    perceptual: nn.Module | None = None
    learning_rates: tuple[float, float] = (1e-4, 4e-4)
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        rates, betas = self.learning_rates, (0.0, 0.9)
        self.g_optimiser = torch.optim.Adam(self.painter.parameters(), rates[0], betas)
        self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), rates[1], betas)
        self.ema = training.EMA(self.painter, self.ema_decay)

    def slow_down(self, share: float) -> None:
        """Set both learning rates to this share of what they were at the beginning."""
        optimisers = self.g_optimiser, self.d_optimiser
        for optimiser, rate in zip(optimisers, self.learning_rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * share

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""
        return {
            "painter": self.painter,
            "discriminator": self.discriminator,
            "g_optimiser": self.g_optimiser,
            "d_optimiser": self.d_optimiser,
            "ema": self.ema,
        }

    def step(self, labels: Tensor, images: Tensor) -> dict[str, Tensor]:
        """One round: the discriminator's step, then the painter's, on the same fakes.

        Args:
            labels: whole numbers (N, H, W).
            images: their true pictures (N, 3, H, W) in [0, 1].
        """
        planes = one_hot(labels.long(), self.painter.generator.labels)
        images = from_unit(images)
        fake, kl = self.painter(planes, images)
        terms = discriminator_step(self.discriminator, self.d_optimiser, planes, images, fake)
        return terms | generator_step(
            self.discriminator,
            self.g_optimiser,
            planes,
            images,
            fake,
            kl,
            weights=self.weights,
            perceptual=self.perceptual,
        )


def train(
    game: Game,
    batches: training.Batches,
    *,
    rate: Callable[[int], float] | None = None,
    shown: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    **options: Any,
) -> training.TrainingResult:
    """Play the game on pictures with label maps.

    Args:
        game: networks and weights.
        batches: each a dict with ``"image"`` (N, 3, H, W) in [0, 1] and ``"labels"`` (N, H, W).
        rate: step → share of the learning rates to use; all of them by default.
        shown: the batch that the preview paints, in its own styles; the first eight by default.
        seed: of everything that is drawn.
        options: for `core.training.run`.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    if "preview" not in options:
        few = shown or batches.first(8)
        options["preview"] = lambda: paint(
            game.ema.module, few["labels"].long(), style_of(game.ema.module, few["image"])
        )

    def step(number: int) -> dict[str, Tensor]:
        if rate is not None:
            game.slow_down(rate(number))
        batch = with_fields(next(batches), "labels", "image")
        return game.step(batch["labels"], batch["image"])

    return training.run(step, game.state() | {"batches": batches}, seed=seed, **options)


# --- Using it ------------------------------------------------------------------------------------


@torch.no_grad()
def paint(
    painter: Painter, labels: Tensor, style: Tensor | None = None, *, batch: int = 50
) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1], on the CPU, of label maps.

    Args:
        painter: as `load` gives it; it is used in eval mode and left as it was.
        labels: int64 (N, H, W).
        style: codes (N, latent), or (1, latent) for all; drawn from N(0, 1) by default, from the
            global random numbers. None for a painter without styles.
        batch: pictures at a time.

    Raises:
        ShapeError: no map, maps of another size, or codes that do not fit them.
        SettingError: a class that the painter does not know, or a batch below 1.
    """
    checks.at_least(1, batch=batch)
    if not len(labels):
        raise ShapeError(f"There is no label map: {tuple(labels.shape)}; give (N, H, W).")
    generator, before = painter.generator, painter.training
    device = next(generator.parameters()).device
    planes = one_hot(labels, generator.labels)
    if style is None and generator.latent:
        style = sample_latent(len(labels), generator.latent)
    if style is not None:
        style = _one_each(style, len(labels))
    painter.eval()
    try:
        parts = []
        for start in range(0, len(labels), batch):
            part = slice(start, start + batch)
            codes = () if style is None else (style[part].to(device),)
            parts.append(to_unit(generator(planes[part].to(device), *codes)).clamp(0, 1).cpu())
        return torch.cat(parts)
    finally:
        painter.train(before)


def _one_each(style: Tensor, count: int) -> Tensor:
    if style.dim() != 2 or len(style) not in (1, count):
        raise ShapeError(
            f"Style codes {tuple(style.shape)} for {count} maps: give one (1, latent) for all, or "
            f"({count}, latent)."
        )
    return style.expand(count, -1)


@torch.no_grad()
def style_of(painter: Painter, images: Tensor) -> Tensor | None:
    """The style codes μ (N, latent) of pictures (N, 3, H, W) in [0, 1]; None without an encoder.

    Raises:
        ImageError: no pictures in [0, 1].
        ShapeError: pictures of another size than the encoder's.
    """
    encoder = painter.encoder
    if encoder is None:
        return None
    check_images(images, "pictures")
    device, before = next(painter.parameters()).device, painter.training
    painter.eval()
    try:
        return encoder(from_unit(images.to(device)))[0].cpu()
    finally:
        painter.train(before)


def load(name: str = "course") -> tuple[Painter, checkpoints.Checkpoint]:
    """A painter that was trained for the course, in eval mode, and its header.

    Args:
        name: of the checkpoint; ``"course"`` paints scenes of 64 pixels in any style.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("spade", name)

    def make(generator: dict[str, Any], encoder: dict[str, Any]) -> Painter:
        return Painter(Generator(**generator), StyleEncoder(**encoder))

    return checkpoint.network(make, "painter"), checkpoint
