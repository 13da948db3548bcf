"""Topic 09: a generator that is told what to make. Conditional GANs on digits.

From formula to result: the conditional losses and steps, and what the label is good for: the sheet,
the walk between two classes. A label as numbers and the networks that hear it, by concatenation
(Mirza & Osindero 2014) or by projection (Miyato & Koyama 2018), are in `coursekit.cgan_networks`.
How well a generator listens, and how much variety it keeps, is in `coursekit.cgan_measure`.

Networks take and give images in [-1, 1], as those of topic 07 do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.cgan_networks import (
    CLASSES,
    LATENT,
    SIZE,
    WAYS,
    Discriminator,
    Generator,
    check_count,
    class_path,
    join_latent,
    join_planes,
    label_weights,
    projection_logit,
)
from coursekit.core import checkpoints, checks, losses, recognise, runtime, show, training
from coursekit.core.batches import with_fields

__all__ = [
    "CLASSES",
    "LATENT",
    "SIZE",
    "WAYS",
    "Discriminator",
    "Game",
    "Generator",
    "as_picture",
    "class_path",
    "discriminator_loss",
    "discriminator_step",
    "generator_step",
    "join_latent",
    "join_planes",
    "label_weights",
    "load_generator",
    "overview",
    "projection_logit",
    "samples",
    "sheet",
    "train",
    "walk",
    "wrong_labels",
]

# --- The conditional game ------------------------------------------------------------------------


def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    mismatched_logits: Tensor | None = None,
    *,
    real_label: float = 1.0,
) -> Tensor:
    """−E[log D(x, y)] − E[log(1 − D(G(z, y), y))] (Mirza & Osindero 2014, eq. 2).

    With ``mismatched_logits`` there are two ways to be wrong, half the weight each: an image that
    was made, and a real image under another image's label (Reed et al. 2016, algorithm 1).

    Args:
        real_logits: (N,), real images with their own labels.
        fake_logits: (N,), generated images with the labels they were made for.
        mismatched_logits: (N,), real images with wrong labels; left out by default.
        real_label: as in `dcgan.discriminator_loss`.
    """
    loss = dcgan.discriminator_loss(real_logits, fake_logits, real_label=real_label)
    if mismatched_logits is None:
        return loss
    return (
        loss + dcgan.discriminator_loss(real_logits, mismatched_logits, real_label=real_label)
    ) / 2


def wrong_labels(label: Tensor, classes: int = CLASSES) -> Tensor:
    """For each class index (N,) another one (Reed et al. 2016), all others equally likely.

    From the global random numbers.

    Raises:
        SettingError: an index that is no class, or fewer than two classes.
    """
    checks.at_least(2, classes=classes)
    label_weights(label, classes)
    return (label + torch.randint(1, classes, label.shape, device=label.device)) % classes


# --- The training step ---------------------------------------------------------------------------


def discriminator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    label: Tensor,
    *,
    mismatched: bool = False,
    real_label: float = 1.0,
    r1: float = 0.0,
) -> dict[str, Tensor]:
    """One step of the discriminator: real pairs up, generated pairs down (eq. 2).

    Args:
        discriminator: images (N, C, H, W) in [-1, 1] and labels → logits (N,).
        optimiser: of the discriminator's parameters.
        real: images of the data set, (N, C, H, W).
        fake: images that the generator made for the same labels; no gradient goes back to it.
        label: (N,) of both.
        mismatched: real images with wrong labels count as wrong pairs too.
        real_label: as in `dcgan.discriminator_loss`.
        r1: weight γ of the R1 penalty; 0 leaves it out.

    Returns:
        The loss and the mean logits, without gradients.
    """
    real = real.detach().requires_grad_(r1 > 0)
    real_logits = discriminator(real, label)
    fake_logits = discriminator(fake.detach(), label)
    wrong = discriminator(real.detach(), wrong_labels(label)) if mismatched else None
    loss = discriminator_loss(real_logits, fake_logits, wrong, real_label=real_label)
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
    label: Tensor,
    *,
    kind: str = "non-saturating",
) -> dict[str, Tensor]:
    """One step of the generator: make D take (fake, label) for a real pair (eq. 2).

    Args:
        discriminator: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        fake: images of the generator, (N, C, H, W), with their graph.
        label: (N,), what they were made for.
        kind: as in `dcgan.generator_loss`.
    """
    with dcgan.frozen(discriminator):
        loss = dcgan.generator_loss(discriminator(fake, label), kind)

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {"g_loss": loss.detach()}


@dataclass
class Game(dcgan.TwoPlayers[Generator]):
    """The game of topic 07 with labels: both networks are told the class (eq. 2).

    Attributes:
        generator: z (N, latent) and labels (N,) → images.
        discriminator: images and labels → logits.
        learning_rates, kind, real_label, r1, r1_every, ema_decay: as in `dcgan.Game`.
        mismatched: real images with wrong labels count as wrong pairs too.
    """

    generator: Generator
    discriminator: nn.Module
    learning_rates: tuple[float, float] = (2e-4, 2e-4)
    kind: str = "non-saturating"
    real_label: float = 1.0
    r1: float = 0.0
    r1_every: int = 16
    ema_decay: float = 0.999
    mismatched: bool = False

    def step(self, number: int, real: Tensor, label: Tensor) -> dict[str, Tensor]:
        """One round: the discriminator's step, then the generator's, on the same fakes.

        Args:
            number: of the step, from 1.
            real: images (N, C, H, W) in [0, 1].
            label: (N,), theirs; the generator is asked for the same classes.
        """
        z = dcgan.sample_latent(len(real), self.generator.latent).to(real.device)
        fake = self.generator(z, label)
        r1 = self.r1 * self.r1_every if number % self.r1_every == 0 else 0.0
        d_terms = discriminator_step(
            self.discriminator,
            self.d_optimiser,
            dcgan.from_unit(real),
            fake,
            label,
            mismatched=self.mismatched,
            real_label=self.real_label,
            r1=r1,
        )
        return d_terms | generator_step(
            self.discriminator, self.g_optimiser, fake, label, kind=self.kind
        )


def train(
    game: Game,
    batches: training.Batches,
    *,
    augment: recognise.Augmentation | None = None,
    rate: Callable[[int], float] | None = None,
    seed: int = 0,
    **options: Any,
) -> training.TrainingResult:
    """Play the game on a data set with labels.

    Args:
        game: networks and settings.
        batches: each a dict with ``"image"`` (N, C, H, W) in [0, 1] and ``"label"`` (N,).
        augment: how real images are moved before each look, so that the discriminator cannot
            learn a small data set by heart. What it does, the generator learns to do as well.
        rate: step → share of the learning rates to use; all of them by default.
        seed: of everything that is drawn.
        options: for `core.training.run`; by default the preview is `overview` of the
            averaged generator.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    random = runtime.generator(seed)

    def step(number: int) -> dict[str, Tensor]:
        if rate is not None:
            game.slow_down(rate(number))
        batch = with_fields(next(batches), "image", "label")
        image = augment.apply(batch["image"], random) if augment else batch["image"]
        return game.step(number, image, batch["label"])

    options.setdefault("preview", lambda: overview(game.ema.module))
    state = game.state() | {"batches": batches, "random": random}
    return training.run(step, state, seed=seed, **options)


# --- Sampling ------------------------------------------------------------------------------------


@torch.no_grad()
def samples(generator: Generator, latent: Tensor, label: Tensor, *, batch: int = 100) -> Tensor:
    """Images (N, C, H, W) in [0, 1] on the CPU for vectors (N, latent) and N labels.

    Raises:
        ShapeError: not as many labels as vectors.
    """
    device = next(generator.parameters()).device
    weights = label_weights(label, generator.classes)
    check_count(latent, weights, 2)
    parts = [
        dcgan.to_unit(generator(z.to(device), y.to(device))).cpu()
        for z, y in zip(latent.split(batch), weights.split(batch), strict=True)
    ]
    return torch.cat(parts).clamp(0, 1)


def sheet(generator: Generator, columns: int = 10, *, seed: int = 1) -> Tensor:
    """Every class with the same few z: (classes, columns, C, H, W) in [0, 1].

    A row is a class, a column is one z. Nothing is picked: the z are the first of their seed.
    """
    z = dcgan.sample_latent(columns, generator.latent, seed=seed).repeat(generator.classes, 1)
    label = torch.arange(generator.classes).repeat_interleave(columns)
    return samples(generator, z, label).unflatten(0, (generator.classes, columns))


def walk(generator: Generator, first: int, second: int, steps: int = 9, *, seed: int = 1) -> Tensor:
    """From one class to another with z held: (steps, C, H, W) in [0, 1]."""
    z = dcgan.sample_latent(1, generator.latent, seed=seed).expand(steps, -1)
    return samples(generator, z, class_path(first, second, steps, generator.classes))


def as_picture(sheet: Tensor) -> Tensor:
    """A sheet (rows, columns, C, H, W) as one picture (1, 3, H', W') with white gaps."""
    return show.tile(sheet.flatten(0, 1), sheet.shape[1])[None]


def overview(generator: Generator, rows: int = 4, *, seed: int = 1) -> Tensor:
    """One wide picture (1, 3, H', W'): a column is a class, a row is one z."""
    return as_picture(sheet(generator, rows, seed=seed).transpose(0, 1))


def load_generator(name: str = "course") -> tuple[Generator, checkpoints.Checkpoint]:
    """A generator that was trained for the course, in eval mode, and its header.

    Args:
        name: ``"course"`` (conditioned by projection) or ``"concatenation"``.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("cgan", name)
    return checkpoint.network(Generator, "generator of digits"), checkpoint
