"""Topic 13, projection: which styles would draw this picture? (Karras et al. 2020, section 5)

Gradient descent on w, or on one w for each layer (W+), until the generated picture is like the
given one for LPIPS. The noise maps are fitted too and kept noise-like by a penalty, so that they
do not swallow what the styles should explain.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from coursekit import dcgan
from coursekit.core import checks, runtime
from coursekit.core.errors import OptimisationError, SettingError, ShapeError
from coursekit.core.images import check_range
from coursekit.core.interrupts import stop_button
from coursekit.stylegan2_networks import Generator, StyledConv, Synthesis
from coursekit.stylegan2_styles import draw_w

SPACES = ("w", "w+")
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Projection:
    """The best styles found for each picture.

    Attributes:
        styles: one w for each layer, (N, count, latent).
        noise: the maps that belong to each picture, by layer, (N, 1, H, W).
        picture: what the styles draw with that noise, (N, C, S, S) in [0, 1].
        distance: LPIPS to the target, (N,); the lowest on the way.
        history: one dict a step: ``distance`` (mean over the pictures) and ``noise`` (penalty).
        interrupted: whether it was stopped by hand before its end.
    """

    styles: Tensor
    noise: dict[str, Tensor]
    picture: Tensor
    distance: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False


def noise_penalty(noise: Tensor) -> Tensor:
    """How much noise maps are like themselves one pixel further, at every scale.

    Σ over scales of (mean n_ij n_i,j+1)² + (mean n_ij n_i+1,j)² (2020, appendix D). From one scale
    to the next 2×2 pixels are averaged and doubled, which keeps white noise at variance 1; the
    last one is 8×8.

    Args:
        noise: (N, 1, S, S).

    Returns:
        (N,).
    """
    level, total = noise, noise.new_zeros(len(noise))
    while True:
        for axis in (2, 3):
            likeness = (level * level.roll(1, dims=axis)).flatten(1).mean(dim=1)
            total = total + likeness.square()
        if level.shape[-1] <= 8:
            return total
        level = 2 * F.avg_pool2d(level, 2)


def step_size(step: int, steps: int, *, rise: float = 0.05, fall: float = 0.25) -> float:
    """The share of the learning rate at step 1 … ``steps``: up over the first 5 %, a cosine down
    over the last 25 % (Karras et al. 2020, appendix D)."""
    place = (step - 1) / steps
    down = min(1.0, (1 - place) / fall)
    return (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, step / (steps * rise))


def project(
    generator: Generator,
    targets: Tensor,
    distance: Distance,
    *,
    space: str = "w",
    steps: int = 300,
    learning_rate: float = 0.1,
    exploration: float = 0.05,
    noise_weight: float = 1e5,
    fit_noise: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> Projection:
    """Find styles that draw the targets.

    Begins at the mean of w. During the first three quarters, noise that gets smaller is added to
    w, in units of its spread, so that the search does not stay in the nearest valley.

    Differs from Karras et al. 2020: in W+ every layer has its own w (Abdal et al. 2019).

    Args:
        generator: not changed.
        targets: (N, C, S, S) in [0, 1], of the generator's size.
        distance: (N, C, S, S) twice, in [0, 1] → (N,), such as `core.perceptual.LPIPS`.
        space: ``"w"``, one w for all layers, or ``"w+"``.
        steps: of Adam.
        learning_rate: the highest.
        exploration: the added noise at the beginning, in standard deviations of w.
        noise_weight: of `noise_penalty`.
        fit_noise: whether the noise maps are fitted, or stay as they are.
        seed: of the noise that is added to w.
        progress: show a progress bar.

    Returns:
        The best of what was seen. Ctrl-C (or the stop button) finishes the step and returns what
        there is; a second one does so at once.

    Raises:
        SettingError: no such space, or no steps.
        ShapeError: targets of another size.
        ImageError: targets outside [0, 1].
        OptimisationError: the distance is not finite any more; ``.result`` has the best so far.
    """
    _check(generator, targets, space, steps, learning_rate)
    with torch.inference_mode(False), torch.enable_grad():
        search = _Search(generator, targets, distance, space, fit_noise, seed)
        optimiser = torch.optim.Adam([search.w, *search.fitted_noise], learning_rate)
        with (
            stop_button() as stop,
            tqdm(total=steps, desc=space, disable=not progress, leave=False) as bar,
        ):
            try:
                for step in range(1, steps + 1):
                    if stop.is_set():
                        break
                    for group in optimiser.param_groups:
                        group["lr"] = learning_rate * step_size(step, steps)
                    spread = exploration * max(0.0, 1 - (step - 1) / steps / 0.75) ** 2
                    optimiser.zero_grad()
                    search.evaluate(spread, noise_weight).backward()
                    optimiser.step()
                    search.normalise_noise()
                    bar.update()
            except KeyboardInterrupt:  # the second Ctrl-C
                stop.set()
            search.result.interrupted = stop.is_set()
    return search.result


def _check(
    generator: Generator, targets: Tensor, space: str, steps: int, learning_rate: float
) -> None:
    if space not in SPACES or steps < 1:
        raise SettingError(f"{space=}, {steps=}: choose from {', '.join(SPACES)}, and 1 or more.")
    checks.above(0, learning_rate=learning_rate)
    sizes = generator.synthesis.sizes
    wanted = (sizes.channels, sizes.size, sizes.size)
    if targets.dim() != 4 or targets.shape[1:] != wanted:
        raise ShapeError(
            f"Targets are {tuple(targets.shape)}, not (N, {', '.join(map(str, wanted))})."
        )
    check_range(targets, "targets")


class _Search:
    """One projection: what is searched, on a copy of the synthesis network, and the best so far."""

    def __init__(
        self,
        generator: Generator,
        targets: Tensor,
        distance: Distance,
        space: str,
        fit_noise: bool,
        seed: int,
    ) -> None:
        device = next(generator.parameters()).device
        self.targets, self.distance = targets.to(device), distance
        self.random = runtime.generator(seed)
        self.synthesis = copy.deepcopy(generator.synthesis).eval().requires_grad_(False)
        w = draw_w(generator, 2000, seed=seed).to(device)
        self.spread = (w - w.mean(dim=0)).square().sum().div(len(w)).sqrt() / w.shape[1] ** 0.5
        layers = 1 if space == "w" else self.synthesis.count
        self.w = w.mean(dim=0).repeat(len(targets), layers, 1).requires_grad_()
        self.noise = _own_noise(self.synthesis, len(targets), fit_noise)
        self.result = Projection(
            self.w.detach().expand(-1, self.synthesis.count, -1).clone(),
            {name: values.detach().clone() for name, values in self.noise.items()},
            torch.zeros_like(self.targets),
            torch.full((len(targets),), math.inf),
        )

    @property
    def fitted_noise(self) -> list[Tensor]:
        """The maps that are searched too."""
        return [values for values in self.noise.values() if values.requires_grad]

    def evaluate(self, spread: float, noise_weight: float) -> Tensor:
        """The loss at the present place, moved a little; remembers what is better than before."""
        moved = torch.randn(self.w.shape, generator=self.random).to(self.w)
        styles = (self.w + spread * self.spread * moved).expand(-1, self.synthesis.count, -1)
        picture = dcgan.to_unit(self.synthesis(styles, noise="const"))
        distances = self.distance(picture.clamp(0, 1), self.targets)
        penalty = torch.stack([noise_penalty(values).sum() for values in self.noise.values()]).sum()
        # Outside [0, 1] the clamp has no slope: what leaves the range is called back.
        outside = (picture - picture.clamp(0, 1)).square().flatten(1).sum(dim=1)
        self._remember(
            styles.detach(), picture.detach(), distances.detach(), float(penalty.detach())
        )
        return (distances + outside).sum() + noise_weight * penalty

    def _remember(self, styles: Tensor, picture: Tensor, distances: Tensor, penalty: float) -> None:
        best, distances = self.result, distances.cpu()
        if not torch.isfinite(distances).all():
            raise OptimisationError(
                "The distance is not finite any more; lower the learning rate. The best so far is "
                "in the error's .result.",
                best,
            )
        best.history.append({"distance": float(distances.mean()), "noise": penalty})
        better = distances < best.distance
        if not better.any():
            return
        best.distance[better] = distances[better]
        best.styles[better], best.picture[better] = styles[better], picture[better].clamp(0, 1)
        for name, values in self.noise.items():
            best.noise[name][better] = values.detach()[better]

    @torch.no_grad()
    def normalise_noise(self) -> None:
        """Mean 0 and variance 1 for every map that is fitted: only its pattern counts."""
        for values in self.fitted_noise:
            values.sub_(values.mean(dim=(2, 3), keepdim=True))
            values.mul_(values.square().mean(dim=(2, 3), keepdim=True).add(1e-8).rsqrt())


def noisy_layers(synthesis: Synthesis) -> dict[str, StyledConv]:
    """The layers that add noise, by name.

    Source: none; asks a network what it has.
    """
    named: dict[str, nn.Module] = dict(synthesis.named_modules())
    return {name: layer for name, layer in named.items() if isinstance(layer, StyledConv)}


def _own_noise(synthesis: Synthesis, count: int, fitted: bool) -> dict[str, Tensor]:
    """Give the layers noise maps for each of ``count`` pictures, (count, 1, H, W) by layer."""
    found = {}
    for name, layer in noisy_layers(synthesis).items():
        own = layer.noise_const.detach().repeat(count, 1, 1, 1)
        layer.noise_const = found[name] = own.requires_grad_(fitted)
    return found


@torch.no_grad()
def drawn_again(generator: Generator, styles: Tensor, noise: dict[str, Tensor]) -> Tensor:
    """Pictures (N, C, S, S) in [0, 1] of styles with the noise maps of a `Projection`.

    Source: none; runs a trained network.

    Raises:
        SettingError: a map belongs to no layer of this generator.
    """
    synthesis = copy.deepcopy(generator.synthesis)
    layers = noisy_layers(synthesis)
    for name, values in noise.items():
        if name not in layers:
            raise SettingError(f"There is no layer {name!r}, only {', '.join(layers)}.")
        layers[name].noise_const = values
    return dcgan.to_unit(synthesis(styles, noise="const")).clamp(0, 1)
