"""Topic 07: the adversarial game on digits, and DCGAN on faces.

From formula to result: the two losses of the game (Goodfellow et al. 2014), small fully connected
networks for it, the convolutional ones of Radford et al. 2016 with each of their guidelines as a
switch, and the two training steps. What the latent space of a trained generator knows is in
`coursekit.dcgan_latent`.

Networks take and give images in [-1, 1], as the generator's tanh does; `to_unit` and `from_unit`
go to [0, 1] and back.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.core import checkpoints, losses, runtime, training
from coursekit.core.errors import SettingError, ShapeError

LATENT = 100  # dimensions of z in Radford et al. 2016


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
    (Goodfellow et al. 2014, §3).

    Raises:
        SettingError: the kind is neither.
    """
    if kind == "non-saturating":
        return F.softplus(-fake_logits).mean()
    if kind == "saturating":
        return -F.softplus(fake_logits).mean()
    raise SettingError(f"There is no generator loss {kind!r}: 'non-saturating' or 'saturating'.")


def optimal_discriminator(real_density: Tensor, fake_density: Tensor) -> Tensor:
    """D*(x) = p_data / (p_data + p_g), the best answer to a fixed generator (prop. 1)."""
    return real_density / (real_density + fake_density)


def sample_latent(count: int, size: int = LATENT, *, seed: int | None = None) -> Tensor:
    """z ~ N(0, 1), shape (count, size); from the global random numbers unless a seed is given.

    Differs from Radford et al. 2016, who draw from a uniform distribution on [-1, 1]: a normal
    one is the custom today, and its averages and walks are easier to reason about.
    """
    random = None if seed is None else runtime.generator(seed)
    return torch.randn(count, size, generator=random)


def to_unit(images: Tensor) -> Tensor:
    """From the generator's [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def from_unit(images: Tensor) -> Tensor:
    """From [0, 1] to the [-1, 1] that the networks work in."""
    return images * 2 - 1


# --- Fully connected networks, for digits --------------------------------------------------------


class MLPGenerator(nn.Module):
    """z (N, latent) → (N, channels, size, size) in [-1, 1] through two hidden layers."""

    def __init__(
        self, latent: int = 64, hidden: int = 256, size: int = 28, channels: int = 1
    ) -> None:
        super().__init__()
        self.latent, self.shape = latent, (channels, size, size)
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, math.prod(self.shape)),
            nn.Tanh(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Images for latent vectors."""
        return self.layers(latent).unflatten(1, self.shape)


class MLPDiscriminator(nn.Module):
    """(N, channels, size, size) → one logit an image, through two hidden layers."""

    def __init__(self, hidden: int = 256, size: int = 28, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size * size, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,)."""
        return self.layers(images).flatten()


# --- DCGAN ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guidelines:
    """The guidelines of Radford et al. 2016, §3, each of which can be switched off.

    Attributes:
        strided: strided convolutions in D and fractionally-strided ones in G; off: max pooling in
            D, nearest-neighbour upsampling in G.
        batch_norm: batch normalisation in both, except G's output and D's input layer.
        fully_convolutional: no fully connected hidden layers; off: one in G and one in D.
        relu: ReLU in G and tanh at its output; off: sigmoid in G's hidden layers.
        leaky_relu: LeakyReLU with slope 0.2 in D; off: ReLU.
    """

    strided: bool = True
    batch_norm: bool = True
    fully_convolutional: bool = True
    relu: bool = True
    leaky_relu: bool = True


ALL = Guidelines()


def _levels(size: int) -> int:
    """How many times 4 is doubled to reach ``size``."""
    levels = int(math.log2(size / 4)) if size >= 8 else 0
    if levels < 1 or 4 * 2**levels != size:
        raise SettingError(f"size={size} must be 4 doubled a few times: 8, 16, 32, 64 or 128.")
    return levels


class Generator(nn.Module):
    """DCGAN's generator: z (N, latent) → (N, channels, size, size) in [-1, 1].

    At the published setting (latent 100, width 64, size 64) it has 3,576,704 parameters.

    Args:
        latent: dimensions of z.
        width: channels before the last layer (ngf); each level before it has twice as many.
        size: of the image in pixels, 4 · 2ⁿ.
        channels: of the image.
        rules: guidelines to follow.
        precision: of the forward pass, as in `core.training.autocast`.

    Raises:
        SettingError: the size cannot be reached from 4 by doubling.
    """

    def __init__(
        self,
        latent: int = LATENT,
        width: int = 64,
        size: int = 64,
        channels: int = 3,
        *,
        rules: Guidelines = ALL,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.latent, self.precision = latent, precision
        widths = [width * 2**level for level in reversed(range(_levels(size)))]
        blocks = [_first_block(latent, widths[0], rules)]  # 1x1 -> 4x4
        for before, after in itertools.pairwise(widths):  # each doubles the size
            blocks.append(_up_block(before, after, rules))
        blocks.append(nn.Sequential(*_up(widths[-1], channels, rules), nn.Tanh()))
        self.blocks = nn.ModuleList(blocks)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, latent: Tensor) -> Tensor:
        """Images for latent vectors.

        Raises:
            ShapeError: the vectors are not (N, latent).
        """
        return self.from_block(self.up_to_block(latent, len(self.blocks)), len(self.blocks))

    def up_to_block(self, latent: Tensor, count: int) -> Tensor:
        """Activations (N, C, h, w) after the first ``count`` blocks."""
        if latent.dim() != 2 or latent.shape[1] != self.latent:
            raise ShapeError(
                f"Latent vectors have the shape {tuple(latent.shape)}; this generator takes "
                f"(N, {self.latent})."
            )
        x = latent[:, :, None, None].contiguous(memory_format=torch.channels_last)
        with training.autocast(latent.device, self.precision):
            for block in self.blocks[:count]:
                x = block(x)
        return x.float()

    def from_block(self, activations: Tensor, count: int) -> Tensor:
        """Images from the activations after the first ``count`` blocks."""
        x = activations
        with training.autocast(x.device, self.precision):
            for block in self.blocks[count:]:
                x = block(x)
        return x.float()


class Discriminator(nn.Module):
    """DCGAN's discriminator: (N, channels, size, size) in [-1, 1] → one logit an image (N,).

    At the published setting (width 64, size 64) it has 2,765,568 parameters. Arguments as in
    `Generator`; ``width`` is ndf.
    """

    def __init__(
        self,
        width: int = 64,
        size: int = 64,
        channels: int = 3,
        *,
        rules: Guidelines = ALL,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.precision, self.shape = precision, (channels, size, size)
        widths = [width * 2**level for level in range(_levels(size))]
        # No batch normalisation at the input: it would hide the images' own statistics.
        blocks = [nn.Sequential(*_down(channels, widths[0], rules), _d_activation(rules))]
        for before, after in itertools.pairwise(widths):  # each halves the size
            blocks.append(_down_block(before, after, rules))
        blocks.append(_last_block(widths[-1], rules))  # 4x4 -> 1x1
        self.blocks = nn.Sequential(*blocks)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,).

        Raises:
            ShapeError: the images have another size or number of channels.
        """
        if images.dim() != 4 or tuple(images.shape[1:]) != self.shape:
            raise ShapeError(
                f"Images have the shape {tuple(images.shape)}; this discriminator takes "
                f"(N, {', '.join(map(str, self.shape))})."
            )
        with training.autocast(images.device, self.precision):
            logits = self.blocks(images.contiguous(memory_format=torch.channels_last))
        return logits.flatten().float()


def _g_activation(rules: Guidelines) -> nn.Module:
    return nn.ReLU(inplace=True) if rules.relu else nn.Sigmoid()


def _d_activation(rules: Guidelines) -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True) if rules.leaky_relu else nn.ReLU(inplace=True)


def _norm(channels: int, rules: Guidelines) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if rules.batch_norm else []


def _first_block(latent: int, width: int, rules: Guidelines) -> nn.Sequential:
    layers: list[nn.Module] = []
    if not rules.fully_convolutional:
        layers = [nn.Flatten(), nn.Linear(latent, 4 * width), _g_activation(rules)]
        layers += [nn.Linear(4 * width, 16 * width), nn.Unflatten(1, (width, 4, 4))]
    else:
        layers = [nn.ConvTranspose2d(latent, width, 4, bias=not rules.batch_norm)]
    return nn.Sequential(*layers, *_norm(width, rules), _g_activation(rules))


def _up(before: int, after: int, rules: Guidelines, bias: bool = False) -> list[nn.Module]:
    if rules.strided:
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)]
    upsample = nn.Upsample(scale_factor=2, mode="nearest")
    return [upsample, nn.Conv2d(before, after, 3, padding=1, bias=bias)]


def _up_block(before: int, after: int, rules: Guidelines) -> nn.Sequential:
    up = _up(before, after, rules, bias=not rules.batch_norm)
    return nn.Sequential(*up, *_norm(after, rules), _g_activation(rules))


def _down(before: int, after: int, rules: Guidelines, bias: bool = False) -> list[nn.Module]:
    if rules.strided:
        return [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)]
    return [nn.Conv2d(before, after, 3, padding=1, bias=bias), nn.MaxPool2d(2)]


def _down_block(before: int, after: int, rules: Guidelines) -> nn.Sequential:
    down = _down(before, after, rules, bias=not rules.batch_norm)
    return nn.Sequential(*down, *_norm(after, rules), _d_activation(rules))


def _last_block(width: int, rules: Guidelines) -> nn.Sequential:
    if rules.fully_convolutional:
        return nn.Sequential(nn.Conv2d(width, 1, 4, bias=False))
    hidden = nn.Linear(16 * width, 4 * width)
    return nn.Sequential(nn.Flatten(), hidden, _d_activation(rules), nn.Linear(4 * width, 1))


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02²), batch-norm scales from N(1, 0.02²), biases 0 (Radford, §4)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
        if getattr(part, "bias", None) is not None:
            nn.init.zeros_(part.bias)


# --- The training step ---------------------------------------------------------------------------


def discriminator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    *,
    real_label: float = 1.0,
    r1: float = 0.0,
) -> dict[str, Tensor]:
    """One step of the discriminator: real images up, generated ones down.

    Args:
        discriminator: images (N, C, H, W) in [-1, 1] → logits (N,).
        optimiser: of the discriminator's parameters.
        real: images of the data set.
        fake: images of the generator; no gradient goes back to it.
        real_label: as in `discriminator_loss`.
        r1: weight γ of the R1 penalty (Mescheder et al. 2018); 0 leaves it out.

    Returns:
        The loss and the mean logits, without gradients.
    """
    real = real.detach().requires_grad_(r1 > 0)
    real_logits = discriminator(real)
    fake_logits = discriminator(fake.detach())
    loss = discriminator_loss(real_logits, fake_logits, real_label=real_label)
    penalty = losses.r1_penalty(real_logits, real) if r1 > 0 else 0.0

    optimiser.zero_grad(set_to_none=True)
    (loss + r1 / 2 * penalty).backward()
    optimiser.step()
    return {"d_loss": loss.detach(), "d_real": real_logits.mean(), "d_fake": fake_logits.mean()}


def generator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    fake: Tensor,
    *,
    kind: str = "non-saturating",
) -> dict[str, Tensor]:
    """One step of the generator: make the discriminator take ``fake`` for real.

    Args:
        discriminator: it is only asked; its weights get no gradient.
        optimiser: of the generator's parameters.
        fake: images of the generator, with their graph.
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


@dataclass
class Game:
    """Two networks, their optimisers, and the step that plays one round.

    Attributes:
        generator: z (N, latent) → images; it must have the attribute ``latent``.
        discriminator: images → logits.
        learning_rates: of G and D; Adam with β₁ = 0.5, as Radford et al. 2016.
        kind: the generator's loss.
        real_label: the discriminator's label for real images.
        r1: weight γ of the R1 penalty; 0 leaves it out.
        r1_every: the penalty is taken at every so many steps, times as many (Karras et al. 2020).
    """

    generator: nn.Module
    discriminator: nn.Module
    learning_rates: tuple[float, float] = (2e-4, 2e-4)
    kind: str = "non-saturating"
    real_label: float = 1.0
    r1: float = 0.0
    r1_every: int = 16
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        rates, betas = self.learning_rates, (0.5, 0.999)
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), rates[0], betas)
        self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), rates[1], betas)
        self.ema = training.EMA(self.generator, self.ema_decay)

    def state(self) -> dict[str, object]:
        """What `core.training.run` has to keep."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "g_optimiser": self.g_optimiser,
            "d_optimiser": self.d_optimiser,
            "ema": self.ema,
        }

    def step(self, number: int, real: Tensor) -> dict[str, Tensor]:
        """One round: the discriminator's step, then the generator's, on the same fakes.

        Args:
            number: of the step, from 1.
            real: images (N, C, H, W) in [0, 1].
        """
        z = sample_latent(len(real), self.generator.latent).to(real.device)
        fake = self.generator(z)
        r1 = self.r1 * self.r1_every if number % self.r1_every == 0 else 0.0
        d_terms = discriminator_step(
            self.discriminator,
            self.d_optimiser,
            from_unit(real),
            fake,
            real_label=self.real_label,
            r1=r1,
        )
        return d_terms | generator_step(self.discriminator, self.g_optimiser, fake, kind=self.kind)


def train(game: Game, batches: training.Batches, **options: object) -> training.TrainingResult:
    """Play the game on the images of a data set.

    Args:
        game: networks and settings.
        batches: each a dict with ``"image"`` (N, C, H, W) in [0, 1].
        options: for `core.training.run`; by default the preview is 16 samples of the averaged
            generator from fixed z.

    Returns:
        The training's result; the networks in ``game`` have changed.
    """
    shown = sample_latent(16, game.generator.latent, seed=1).to(batches.device)
    options.setdefault("preview", lambda: to_unit(game.ema.module(shown)))
    return training.run(
        lambda number: game.step(number, next(batches)["image"]),
        game.state() | {"batches": batches},
        **options,
    )


@torch.no_grad()
def samples(generator: nn.Module, latent: Tensor, *, batch: int = 100) -> Tensor:
    """Images (N, C, H, W) in [0, 1] for latent vectors (N, latent), a batch at a time."""
    device = next(generator.parameters()).device
    parts = [to_unit(generator(z.to(device))).cpu() for z in latent.split(batch)]
    return torch.cat(parts).clamp(0, 1)


def sampler(generator: nn.Module) -> Callable[[int, torch.Generator], Tensor]:
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
    generator = Generator(**checkpoint.about["settings"])
    generator.load_state_dict(checkpoint.weights)
    return generator.eval().requires_grad_(False), checkpoint
