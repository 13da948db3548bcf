"""Topic 11: translation without pairs. CycleGAN (Zhu et al. 2017).

From formula to result: the least-squares game, the two terms that stand in for the missing pairs
(cycle consistency and identity), the pool of old fakes, the decay of the learning rate, the two
training steps, and the game that plays them. X and Y are the two heaps of pictures; G: X → Y is
called ``to_y`` and F: Y → X is called ``to_x``. The networks are in `coursekit.cyclegan_networks`,
the measurements against the hidden twin in `coursekit.cyclegan_measure`.

Networks take and give pictures in [-1, 1], as those of topics 07 and 10 do; `translate` and what
is shown are in [0, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from coursekit.core import checkpoints, checks, runtime, show, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError, ShapeError
from coursekit.cyclegan_networks import ResidualBlock, ResNetGenerator
from coursekit.datasets import scenes, translation
from coursekit.datasets.base import Dataset
from coursekit.datasets.collections import folder_dataset
from coursekit.dcgan import from_unit, frozen
from coursekit.pix2pix import translate
from coursekit.pix2pix_networks import PatchDiscriminator

__all__ = [
    "Game",
    "ImagePool",
    "Objective",
    "PatchDiscriminator",
    "ResNetGenerator",
    "ResidualBlock",
    "Translators",
    "cycle",
    "cycle_loss",
    "discriminator_step",
    "generator_step",
    "identity_loss",
    "linear_decay",
    "load",
    "lsgan_discriminator_loss",
    "lsgan_generator_loss",
    "overview",
    "train",
    "translate",
    "two_heaps",
]


# --- The heaps -----------------------------------------------------------------------------------


def two_heaps(
    data: str | tuple[Path | str, Path | str] = "scenes",
    count: int | None = 2000,
    size: int = 64,
    *,
    split: str = "train",
    seed: int = 0,
) -> tuple[Dataset, Dataset]:
    """X and Y, pictures that do not belong together; field "image" of each.

    Args:
        data: ``"scenes"``, rendered days and nights (with the hidden "twin" and "labels"); the name
            of a published set, such as ``"horse2zebra"`` or ``"monet2photo"``, fetched once; or two
            folders of pictures of your own.
        count: at most so many of each; ``None`` for all of a published set or folder.
        size: pixels a side.
        split: of a published set, ``"train"`` or ``"test"``.
        seed: of the scenes.

    Raises:
        SettingError: no such set, or scenes without a count.
        DataError: a folder without pictures, or a set that is not to be had.
    """
    if not isinstance(data, str):
        if len(data) != 2:
            raise SettingError(f"{len(data)} folders are no two heaps; give one for X, one for Y.")
        x, y = data
        return folder_dataset(x, size, count=count), folder_dataset(y, size, count=count)
    if data != "scenes":
        return translation.unpaired(data, split, size, count=count)
    if count is None:
        raise SettingError("Scenes are rendered as they are asked for; give a count.")
    return scenes.unpaired(count, size, seed=seed)


# --- The losses ----------------------------------------------------------------------------------


def lsgan_discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """½ E[(D(y) − 1)²] + ½ E[D(G(x))²]: real to 1, made to 0, as a regression (Mao et al. 2017).

    The half is that of the paper's appendix 7.1: it slows D down relative to G.

    Args:
        real_scores: D's output for real pictures, any shape; no sigmoid.
        fake_scores: the same for made ones; the two may differ in shape.
    """
    return ((real_scores - 1).square().mean() + fake_scores.square().mean()) / 2


def lsgan_generator_loss(fake_scores: Tensor) -> Tensor:
    """E[(D(G(x)) − 1)²]: G wants its pictures to score 1 (section 4). Scores of any shape."""
    return (fake_scores - 1).square().mean()


def cycle_loss(images: Tensor, cycled: Tensor) -> Tensor:
    """E‖F(G(x)) − x‖₁, one direction of eq. 2, as a mean over pixels and channels.

    Raises:
        ShapeError: the two differ in shape.
    """
    _same_shape(images, cycled)
    return (cycled - images).abs().mean()


def identity_loss(images: Tensor, mapped: Tensor) -> Tensor:
    """E‖G(y) − y‖₁: what is in the target heap already is to stay as it is (section 5.2).

    Raises:
        ShapeError: the two differ in shape.
    """
    _same_shape(images, mapped)
    return (mapped - images).abs().mean()


def _same_shape(images: Tensor, others: Tensor) -> None:
    if images.shape != others.shape:
        raise ShapeError(
            f"{tuple(images.shape)} against {tuple(others.shape)}: a picture is compared with what "
            "became of this same picture."
        )


# --- The pool of old fakes, and the learning rate -------------------------------------------------


class ImagePool:
    """The last fakes, mixed with older ones: D is not to forget what G did before (section 4).

    Until it is full, every picture is kept and returned. Then, for each picture in turn, with
    probability ½ the picture itself is returned; otherwise a random kept one, whose place the new
    picture takes (Shrivastava et al. 2017).

    Args:
        size: how many pictures are kept, 50 in the paper; 0 returns everything as it is.
        seed: of the pool's own random numbers.

    Raises:
        SettingError: a negative size.
    """

    def __init__(self, size: int = 50, *, seed: int = 0) -> None:
        if size < 0:
            raise SettingError(f"size={size}: a pool keeps 0 pictures or more.")
        self.size, self.random = size, runtime.generator(seed)
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) for the discriminator, of the same shape and without gradients."""
        return torch.stack([self._exchange(image) for image in images.detach()])

    def _exchange(self, image: Tensor) -> Tensor:
        if self.size == 0:
            return image
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if torch.rand((), generator=self.random) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self.random))
        old, self.images[place] = self.images[place], image.clone()
        return old

    def state_dict(self) -> dict[str, Any]:
        """The kept pictures and the state of the random numbers."""
        kept = torch.stack(self.images) if self.images else torch.empty(0)
        return {"images": kept, "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.images = list(state["images"])
        self.random.set_state(state["random"].cpu())


def linear_decay(step: int, steps: int, constant: float = 0.5) -> float:
    """The share of the learning rate to use: 1 at first, then straight down to 0.

    The paper (section 4) keeps it for 100 epochs and lets it fall over the next 100.

    Args:
        step: number of the step, from 1.
        steps: how many there are; behind the last one the share would be 0.
        constant: the part of the training that keeps the full rate.

    Raises:
        SettingError: a step outside 1 … ``steps``, or a part outside [0, 1).
    """
    if not 1 <= step <= steps or not 0 <= constant < 1:
        raise SettingError(f"step={step} of {steps}, constant={constant}: no such place.")
    left = (steps - (step - 1)) / steps
    return min(left / (1 - constant), 1.0)


# --- The training step ---------------------------------------------------------------------------


class Translators(nn.Module):
    """The two generators (section 3). Attributes: ``to_y`` (G of the paper), ``to_x`` (F)."""

    def __init__(self, to_y: ResNetGenerator, to_x: ResNetGenerator) -> None:
        super().__init__()
        self.to_y, self.to_x = to_y, to_x


class Objective(NamedTuple):
    """The weights of the generators' loss.

    Attributes:
        cycle: λ of eq. 3.
        identity: of each identity term, half of λ in section 5.2; 0 leaves them out.
    """

    cycle: float = 10.0
    identity: float = 5.0


def discriminator_step(
    discriminator: nn.Module, optimiser: torch.optim.Optimizer, real: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    """One step of one discriminator (section 4): patches of real pictures to 1, of made ones to 0.

    Args:
        discriminator: pictures (N, C, H, W) in [-1, 1] → scores (N, 1, h, w), one a patch.
        optimiser: of the discriminator's parameters.
        real: pictures of its heap, (N, C, H, W).
        fake: translations into its heap, (N, C, H, W), mostly from the pool; no gradient goes back
            to them.
    """
    loss = lsgan_discriminator_loss(discriminator(real), discriminator(fake.detach()))

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {"d_loss": loss.detach()}


def generator_step(
    translators: Translators,
    discriminator_x: nn.Module,
    discriminator_y: nn.Module,
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    objective: Objective,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """One step of both generators: fool D, come back, leave alone what is right already (eq. 3).

    Args:
        translators: both generators.
        discriminator_x, discriminator_y: only asked; their weights get no gradient.
        optimiser: of both generators' parameters.
        x, y: pictures of the two heaps, (N, C, H, W) in [-1, 1]. Nothing says that they belong
            together.
        objective: the weights.

    Returns:
        The terms by name, and the translations (in Y and in X) for the discriminators' pools.
    """
    to_y, to_x = translators.to_y, translators.to_x
    fake_y, same_y = _translation_and_identity(to_y, x, y, objective.identity)
    fake_x, same_x = _translation_and_identity(to_x, y, x, objective.identity)

    with frozen(discriminator_x), frozen(discriminator_y):
        adversarial = lsgan_generator_loss(discriminator_y(fake_y))
        adversarial = adversarial + lsgan_generator_loss(discriminator_x(fake_x))
    terms, loss = {"g_adversarial": adversarial}, adversarial
    if objective.cycle:
        cycle = cycle_loss(x, to_x(fake_y)) + cycle_loss(y, to_y(fake_x))
        terms, loss = terms | {"cycle": cycle}, loss + objective.cycle * cycle
    if same_y is not None and same_x is not None:
        identity = identity_loss(y, same_y) + identity_loss(x, same_x)
        terms, loss = terms | {"identity": identity}, loss + objective.identity * identity

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {name: term.detach() for name, term in terms.items()}, fake_y.detach(), fake_x.detach()


def _translation_and_identity(
    generator: nn.Module, source: Tensor, target: Tensor, identity: float
) -> tuple[Tensor, Tensor | None]:
    """What becomes of a source and of a target picture: one pass, since no layer mixes pictures."""
    if not identity:
        return generator(source), None
    both = generator(torch.cat([source, target]))
    return both[: len(source)], both[len(source) :]


@dataclass
class Game:
    """Two generators, two discriminators, and the step that plays one round.

    Attributes:
        translators: both generators.
        discriminator_x, discriminator_y: pictures → scores of their patches.
        objective: the weights of the generators' loss.
        learning_rate: of all four, Adam with β₁ = 0.5 (section 4: 0.0002).
        pool: how many old fakes each discriminator keeps seeing.
        ema_decay: of the averaged generators.
        seed: of the pools.

    Raises:
        SettingError: a weight below 0, a learning rate that is not above 0, or a negative pool.
    """

    translators: Translators
    discriminator_x: nn.Module
    discriminator_y: nn.Module
    objective: Objective = field(default_factory=Objective)
    learning_rate: float = 2e-4
    pool: int = 50
    ema_decay: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        checks.at_least(0, cycle=self.objective.cycle, identity=self.objective.identity)
        checks.above(0, learning_rate=self.learning_rate)

        def adam(module: nn.Module) -> torch.optim.Optimizer:
            return torch.optim.Adam(module.parameters(), self.learning_rate, (0.5, 0.999))

        self.g_optimiser = adam(self.translators)
        self.x_optimiser, self.y_optimiser = adam(self.discriminator_x), adam(self.discriminator_y)
        self.pool_x = ImagePool(self.pool, seed=2 * self.seed)
        self.pool_y = ImagePool(self.pool, seed=2 * self.seed + 1)
        # Differs from Zhu et al. 2017, who take the last weights: here the results come from
        # averaged ones, because the training is an order of magnitude shorter.
        self.ema = training.EMA(self.translators, self.ema_decay)

    def state(self) -> dict[str, Any]:
        """What `core.training.run` has to keep."""
        networks = ("translators", "discriminator_x", "discriminator_y", "ema")
        others = ("g_optimiser", "x_optimiser", "y_optimiser", "pool_x", "pool_y")
        return {name: getattr(self, name) for name in networks + others}

    def step(self, number: int, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """One round: the generators' step, then each discriminator's on fakes from its pool.

        Args:
            number: of the step, from 1.
            x, y: pictures of the two heaps (N, C, H, W) in [0, 1].
        """
        x, y = from_unit(x), from_unit(y)
        judges = self.discriminator_x, self.discriminator_y
        terms, fake_y, fake_x = generator_step(
            self.translators, *judges, self.g_optimiser, x, y, self.objective
        )
        for judge, optimiser, real, fake in (
            (judges[0], self.x_optimiser, x, self.pool_x.query(fake_x)),
            (judges[1], self.y_optimiser, y, self.pool_y.query(fake_y)),
        ):
            loss = discriminator_step(judge, optimiser, real, fake)["d_loss"]
            terms["d_loss"] = terms.get("d_loss", 0) + loss
        return terms

    def slow_down(self, share: float) -> None:
        """Set the learning rates to this share of what they were at the beginning."""
        for optimiser in (self.g_optimiser, self.x_optimiser, self.y_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * share


def train(
    game: Game,
    batches_x: training.Batches,
    batches_y: training.Batches,
    *,
    steps: int,
    shown: tuple[Tensor, Tensor] | None = None,
    mirrored: bool = True,
    **options: Any,
) -> training.TrainingResult:
    """Play the game on two heaps of pictures.

    Args:
        game: networks and settings.
        batches_x, batches_y: each a dict with ``"image"`` (N, C, H, W) in [0, 1]. Other entries
            are not looked at.
        steps: how many; the learning rate falls over the second half of them.
        shown: pictures of X and of Y in [0, 1], whose `overview` is the preview.
        mirrored: show every second picture from the other side.
        options: for `core.training.run`.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    if shown is not None:
        options.setdefault("preview", lambda: overview(game.ema.module, *shown))

    def draw(batches: training.Batches) -> Tensor:
        images = with_fields(next(batches), "image")["image"]
        return images.flip(-1) if mirrored and torch.rand(()) < 0.5 else images

    def step(number: int) -> dict[str, Tensor]:
        game.slow_down(linear_decay(number, steps))
        return game.step(number, draw(batches_x), draw(batches_y))

    state = game.state() | {"batches_x": batches_x, "batches_y": batches_y}
    return training.run(step, state, steps=steps, **options)


# --- What comes out ------------------------------------------------------------------------------


def cycle(translators: Translators, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """x, G(x), F(G(x)) and y, F(y), G(F(y)), six tensors (N, C, H, W) in [0, 1] (figure 4)."""
    for start, first, second in (
        (x, translators.to_y, translators.to_x),
        (y, translators.to_x, translators.to_y),
    ):
        there = translate(first, start)
        yield from (start, there, translate(second, there))


def overview(translators: Translators, x: Tensor, y: Tensor) -> Tensor:
    """The rows of `cycle` as one picture (1, 3, H', W') with white gaps; a column a picture."""
    rows = torch.cat([part.cpu() for part in itertools.chain(cycle(translators, x, y))])
    return show.tile(rows, len(x))[None]


def load(name: str = "course") -> tuple[Translators, checkpoints.Checkpoint]:
    """The generators that were trained for the course, in eval mode, and their header.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("cyclegan", name)

    def make(**settings: Any) -> Translators:
        return Translators(ResNetGenerator(**settings), ResNetGenerator(**settings))

    return checkpoint.network(make, "pair of generators"), checkpoint
