"""Topic 10: from a picture to a picture, learned from pairs (Pix2Pix, Isola et al. 2017).

From formula to result: the conditional game on pairs, with an L1 term beside it; the two training
steps; and `translate`, which uses what was learned. U-Net and PatchGAN are in
`coursekit.pix2pix_networks`, the pairs in `coursekit.pix2pix_tasks`, the measures in
`coursekit.pix2pix_measure`.

Networks take and give pictures in [-1, 1], everything else is in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.core import checkpoints, checks, runtime, training
from coursekit.core.batches import with_fields
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.images import check_range
from coursekit.dcgan import Network, from_unit, to_unit
from coursekit.pix2pix_networks import (
    PatchDiscriminator,
    UNetGenerator,
    init_weights,
    patch_box,
    receptive_field,
)

__all__ = [
    "L1_WEIGHT",
    "Game",
    "PatchDiscriminator",
    "UNetGenerator",
    "discriminator_loss",
    "discriminator_step",
    "from_unit",
    "generator_step",
    "init_weights",
    "jitter",
    "l1_loss",
    "load",
    "pair",
    "patch_box",
    "patch_logits",
    "receptive_field",
    "to_unit",
    "train",
    "translate",
]

L1_WEIGHT = 100.0  # λ of the paper


# --- The objective -------------------------------------------------------------------------------


def pair(source: Tensor, output: Tensor) -> Tensor:
    """What the discriminator judges: x and y as one picture of more channels (eq. 1).

    Args:
        source: x, (N, C, H, W).
        output: y or G(x), (N, C', H, W).

    Returns:
        (N, C + C', H, W).

    Raises:
        ShapeError: another number or size of pictures.
    """
    if (
        source.dim() != 4
        or source.shape[0::2] != output.shape[0::2]
        or (source.shape[-1] != output.shape[-1])
    ):
        raise ShapeError(
            f"{tuple(source.shape)} and {tuple(output.shape)} are no pairs (N, C, H, W) of one "
            "size."
        )
    return torch.cat([source, output], dim=1)


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, real_label: float = 1.0
) -> Tensor:
    """−½ (E[log D(x, y)] + E[log(1 − D(x, G(x)))]), the mean over pictures and patches.

    Isola et al. 2017, eq. 1. The half is theirs (§3.3): D learns at half the pace of G.

    Args:
        real_logits, fake_logits: (N, 1, h, w), one logit a patch; any shape.
        real_label: as in `dcgan.discriminator_loss`.
    """
    return dcgan.discriminator_loss(real_logits, fake_logits, real_label=real_label) / 2


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """E[‖y − G(x)‖₁] as a mean over all values (eq. 3), of pictures in [-1, 1].

    Raises:
        ShapeError: the pictures differ in shape.
    """
    if output.shape != target.shape:
        raise ShapeError(f"Shapes differ: {tuple(output.shape)} and {tuple(target.shape)}.")
    return F.l1_loss(output, target)


# --- The training step ---------------------------------------------------------------------------


def discriminator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: Tensor,
    target: Tensor,
    fake: Tensor,
    *,
    real_label: float = 1.0,
) -> dict[str, Tensor]:
    """One step of the discriminator: true pairs up, generated pairs down (eq. 1).

    Args:
        discriminator: pairs (N, C + C', H, W) in [-1, 1] → logits (N, 1, h, w).
        optimiser: of the discriminator's parameters.
        source: x, inputs (N, C, H, W) in [-1, 1].
        target: y, the true outputs (N, C', H, W).
        fake: G(x), like the target; no gradient goes back to the generator.
        real_label: as in `dcgan.discriminator_loss`.

    Returns:
        The loss and the mean logits, without gradients.
    """
    real_logits = discriminator(pair(source, target))
    fake_logits = discriminator(pair(source, fake.detach()))
    loss = discriminator_loss(real_logits, fake_logits, real_label=real_label)

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    means = {"d_real": real_logits.detach().mean(), "d_fake": fake_logits.detach().mean()}
    return {"d_loss": loss.detach(), **means}


def generator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: Tensor,
    target: Tensor,
    fake: Tensor,
    *,
    adversarial: bool = True,
    l1_weight: float = L1_WEIGHT,
) -> dict[str, Tensor]:
    """One step of the generator: G* = arg min max L_cGAN(G, D) + λ L_L1(G) (eq. 4).

    Args:
        discriminator: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        source: x, inputs (N, C, H, W) in [-1, 1].
        target: y, the true outputs (N, C', H, W).
        fake: G(x), like the target, with its graph.
        adversarial: off leaves L_cGAN out.
        l1_weight: λ; 0 leaves L1 out.

    Returns:
        Each term unweighted, without gradients.

    Raises:
        SettingError: both terms are off, or a weight below 0.
    """
    checks.at_least(0, l1_weight=l1_weight)
    if not adversarial and not l1_weight:
        raise SettingError("Neither adversarial=True nor an l1_weight: there is nothing to learn.")
    terms, loss = {}, torch.zeros((), device=fake.device)
    if adversarial:
        with dcgan.frozen(discriminator):
            terms["g_loss"] = dcgan.generator_loss(discriminator(pair(source, fake)))
        loss = loss + terms["g_loss"]
    if l1_weight:
        terms["l1"] = l1_loss(fake, target)
        loss = loss + l1_weight * terms["l1"]

    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return {name: value.detach() for name, value in terms.items()}


@dataclass
class Game(dcgan.TwoPlayers[Network]):
    """Both networks, their optimisers, the objective, and the step that plays one round.

    Attributes:
        generator: x (N, C, H, W) → G(x), in [-1, 1].
        discriminator: pairs → logits (N, 1, h, w).
        adversarial: off trains without the discriminator, on L1 alone.
        l1_weight: λ; 0 trains on the discriminator alone.
        learning_rates: of G and D; Adam with β₁ = 0.5, as in the paper.
        real_label: the discriminator's label for true pairs; 1 in the paper.
        ema_decay: of the averaged generator. Differs from Isola et al. 2017, who use the last
            weights, because the average is calmer after a short training.
    """

    generator: Network
    discriminator: nn.Module
    adversarial: bool = True
    l1_weight: float = L1_WEIGHT
    learning_rates: tuple[float, float] = (2e-4, 2e-4)
    real_label: float = 1.0
    ema_decay: float = 0.999

    def step(self, number: int, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """One round: the discriminator's step, then the generator's, on the same fakes.

        Args:
            number: of the step, from 1.
            source: inputs (N, C, H, W) in [0, 1].
            target: true outputs (N, C', H, W) in [0, 1].
        """
        source, target = from_unit(source), from_unit(target)
        fake, terms = self.generator(source), {}
        if self.adversarial:
            terms = discriminator_step(
                self.discriminator,
                self.d_optimiser,
                source,
                target,
                fake,
                real_label=self.real_label,
            )
        return terms | generator_step(
            self.discriminator,
            self.g_optimiser,
            source,
            target,
            fake,
            adversarial=self.adversarial,
            l1_weight=self.l1_weight,
        )


def train(
    game: Game,
    batches: training.Batches,
    *,
    shift: int = 0,
    flip: bool = False,
    rate: Callable[[int], float] | None = None,
    seed: int = 0,
    **options: Any,
) -> training.TrainingResult:
    """Play the game on pairs.

    Args:
        game: networks and objective.
        batches: each a dict with ``"input"`` and ``"target"`` (N, C, H, W) in [0, 1].
        shift, flip: how pairs are moved before each look, as `jitter` does it.
        rate: step → share of the learning rates to use; all of them by default.
        seed: of everything that is drawn.
        options: for `core.training.run`; by default the preview is what the averaged generator
            makes of the first eight inputs.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    random = runtime.generator(seed)
    if "preview" not in options:
        shown = with_fields(batches.first(8), "input")["input"]
        options["preview"] = lambda: translate(game.ema.module, shown)

    def step(number: int) -> dict[str, Tensor]:
        if rate is not None:
            game.slow_down(rate(number))
        batch = with_fields(next(batches), "input", "target")
        moved = jitter(batch["input"], batch["target"], random, shift=shift, flip=flip)
        return game.step(number, *moved)

    state = game.state() | {"batches": batches, "random": random}
    return training.run(step, state, seed=seed, **options)


def jitter(
    source: Tensor, target: Tensor, random: torch.Generator, *, shift: int = 4, flip: bool = True
) -> tuple[Tensor, Tensor]:
    """Move each pair by up to ``shift`` pixels and mirror every second one, both halves alike.

    Differs from Isola et al. 2017 (§6.2), who enlarge by 286 / 256 and cut out: a pen line of one
    pixel would be blurred by that. What moves in is the border, repeated.

    Args:
        source, target: (N, C, H, W) each.
        random: draws on the CPU.
        shift: pixels in each direction; 0 leaves them in place.
        flip: mirror left and right with probability ½.

    Returns:
        Two tensors of the same shapes.

    Raises:
        ShapeError: no pairs.
        SettingError: a shift below 0.
    """
    checks.at_least(0, shift=shift)
    both = pair(source, target)
    if shift:
        height, width = both.shape[-2:]
        wide = F.pad(both, (shift,) * 4, mode="replicate")
        corners = torch.randint(2 * shift + 1, (len(both), 2), generator=random).tolist()
        moved = [
            picture[:, top : top + height, left : left + width]
            for picture, (top, left) in zip(wide, corners, strict=True)
        ]
        both = torch.stack(moved)
    if flip:
        turned = torch.rand(len(both), generator=random).to(both.device) < 0.5
        both = torch.where(turned[:, None, None, None], both.flip(-1), both)
    return both.split([source.shape[1], target.shape[1]], dim=1)


# --- Using it ------------------------------------------------------------------------------------


@torch.no_grad()
def translate(
    generator: nn.Module,
    images: Tensor,
    *,
    noise: bool = False,
    seed: int | None = None,
    batch: int = 32,
    noisy: bool = False,
) -> Tensor:
    """G(x) in [0, 1], on the CPU.

    Differs from Isola et al. 2017 (§3.3), who leave dropout on and normalise with the statistics
    of the test batch of 1: without noise the same drawing gets the same colours, alone or among
    others, and a drawing changes under the pen only where it was changed.

    Args:
        generator: as `load` gives it; it is used in eval mode and left as it was.
        images: (N, C, H, W) in [0, 1]; one channel is repeated where the generator takes more.
        noise: leave dropout on, as the paper does: every call gives another answer.
        seed: of that noise; the global random numbers by default.
        batch: pictures at a time.
        noisy: noise was added to the images, which may lead out of [0, 1].

    Raises:
        ShapeError: pictures that the generator cannot take.
        ImageError: values outside of [0, 1], or no floats.
        SettingError: a batch below 1.
    """
    checks.at_least(1, batch=batch)
    if not noisy:
        check_range(images)
    device, before = next(generator.parameters()).device, generator.training
    channels = getattr(generator, "in_channels", images.shape[1])
    if images.dim() == 4 and images.shape[1] == 1:
        images = images.expand(-1, channels, -1, -1)
    generator.eval()
    try:
        with torch.random.fork_rng(enabled=noise and seed is not None):
            if noise and seed is not None:
                torch.manual_seed(seed)
            return torch.cat(
                [_translated(generator, part.to(device), noise) for part in images.split(batch)]
            )
    finally:
        generator.train(before)


def _translated(generator: Any, images: Tensor, noise: bool) -> Tensor:
    if not noise:
        return to_unit(generator(from_unit(images))).clamp(0, 1).cpu()
    with generator.noisy():
        return to_unit(generator(from_unit(images))).clamp(0, 1).cpu()


@torch.no_grad()
def patch_logits(discriminator: nn.Module, source: Tensor, output: Tensor) -> Tensor:
    """What D thinks of each patch (§3.2.2): logits (N, 1, h, w) of pairs in [0, 1].

    Positive: more likely real. Batch normalisation is in eval mode for the call.
    """
    before = discriminator.training
    try:
        return discriminator.eval()(pair(from_unit(source), from_unit(output)))
    finally:
        discriminator.train(before)


def load(name: str = "course") -> tuple[UNetGenerator, checkpoints.Checkpoint]:
    """A generator that was trained for the course, in eval mode, and its header.

    Args:
        name: of the checkpoint; ``"course"`` colours line drawings of 64 pixels.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    checkpoint = checkpoints.load("pix2pix", name)
    return checkpoint.network(UNetGenerator, "U-Net"), checkpoint
