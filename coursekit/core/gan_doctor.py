"""A GAN doctor: measured signals of a running game, and a verdict in plain words.

The training loop hands over what it has anyway, every so many steps; the doctor keeps a few
numbers of it. A finding needs to hold over a window of observations, so that one odd batch is no
illness. Every threshold is a named constant with the measurement that it rests on.
"""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.gan_signals import (
    SMALLEST,
    checkerboard,
    discriminator_accuracy,
    diversity,
    gradient_norm,
)

__all__ = ["Finding", "GanDoctor", "Observation", "Verdict", "gradient_norm"]

KINDS = ("gan", "wgan")
STATUSES = ("too early", "healthy", "watch", "ill")
WINDOW = 5  # observations over which a signal must hold

# Each pair is (watch, ill). "Healthy" means the games on digits of tests/test_gan_doctor.py (slow
# ones included): a fully connected GAN for 2,500 steps and a DCGAN for 1,500.

# A healthy DCGAN tells nearly all images apart in a third of the observations and more: accuracy
# alone says little.
SATURATED_ACCURACY = 0.98
# Mean D(G(z)). Healthy games fall below that for a moment but stay above 0.025 somewhere in every
# window; with a generator that stands still it is below 0.005 within 200 steps. The gradient of
# the saturating loss is this number times that of the logit.
SATURATED_PROBABILITY = (0.02, 0.005)
# The gradient's length against the largest it has been (medians over a window). It falls below
# 0.02 with the saturating loss against a fast discriminator, where healthy games keep a fifth.
VANISHED_SHARE = (0.05, 0.02)
NO_GRADIENT = 1e-7  # nothing at all flows back: a .detach() too many, or D beyond float32
# Mean distance between samples and distance to the nearest one, as shares of real images'.
# Healthy games have passed both by step 1,000; one and the same picture gives 0 and 0.
COLLAPSED_MEAN = (0.4, 0.25)
COLLAPSED_NEAREST = (0.15, 0.05)
# Peak of the spectrum against real images. From step 1,000 on the median over a window of healthy
# games stays below 4, and so does upsampling before a convolution from the start. A kernel of 3
# with stride 2 begins with more than 20; grids that a person sees on the samples have 10 and more.
CHECKERBOARD_EXCESS = (8.0, 25.0)
# Logits of healthy games reach 33 for a moment; medians over a window stay below 35 with room to
# spare (6 to 17 were measured). exp(88) is the largest that float32 holds, and float16, which
# counts for an unbounded critic, ends at 65,504.
HUGE_LOGIT = {"gan": (50.0, 88.0), "wgan": (6e3, 6e4)}
GROWTH = 10.0  # times within a window is a run-away, once the numbers are
GROWTH_FLOOR = 100.0  # this large: from 0.1 to 1 is just a beginning


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: ``severity`` is ``"watch"`` or ``"ill"``."""

    name: str
    severity: str
    sentence: str
    evidence: Mapping[str, float]
    advice: str

    def __str__(self) -> str:
        return f"{self.name} ({self.severity}): {self.sentence} {self.advice}"


@dataclass(frozen=True)
class Verdict:
    """What the doctor says after ``step`` steps.

    Attributes:
        status: ``"healthy"``, ``"watch"``, ``"ill"``; or ``"too early"`` before a full window.
        findings: what is wrong, the worst first.
        measured: the signals of the last observation, by name.
        note: what could not be judged yet.
    """

    status: str
    step: int
    findings: tuple[Finding, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        measured = ", ".join(f"{name} {value:.3g}" for name, value in self.measured.items())
        lines = [f"GAN doctor, step {self.step:,}: {self.status}", *map(str, self.findings)]
        return "\n".join(lines + [f"Measured: {measured}."] * bool(measured) + [self.note]).rstrip()

    def _repr_html_(self) -> str:
        colour = {"healthy": "#2a7f3f", "watch": "#b07400", "ill": "#b3261e"}
        head, *rest = (html.escape(line) for line in str(self).splitlines())
        shade = colour.get(self.status, "#666")
        return (
            f'<div style="border-left:4px solid {shade};padding-left:0.8em">'
            f"<b>{head}</b>{''.join(f'<br>{line}' for line in rest)}</div>"
        )


@dataclass(frozen=True)
class Observation:
    """The numbers of one look at the game; ``None`` where nothing was handed over."""

    step: int
    finite: bool
    accuracy: float
    probability: float
    gap: float
    largest: float
    terms: Mapping[str, float]
    gradient: float | None
    mean_distance: float | None
    nearest: float | None
    excess: float | None
    stride: int

    def measured(self, kind: str) -> dict[str, float]:
        """The signals by the names that the verdict prints."""
        named = {
            "D accuracy": self.accuracy if kind == "gan" else None,
            "logits apart": self.gap,
            "G gradient": self.gradient,
            "diversity": self.mean_distance,
            "nearest": self.nearest,
            "checkerboard": self.excess,
        }
        return {name: value for name, value in named.items() if value is not None}


class GanDoctor:
    """Watches a GAN during training.

    ```
    doctor = GanDoctor(every=50)
    ...
    if doctor.wants(step):
        doctor.observe(step, real_logits=real_logits, fake_logits=fake_logits,
                       generator_gradient_norm=gradient_norm(generator.parameters()),
                       samples=fake, real=real)
    print(doctor.verdict())
    ```

    Args:
        every: steps between two observations.
        kind: ``"gan"`` (logits of a probability) or ``"wgan"`` (unbounded scores: nothing there
            saturates, and the zero between real and generated means nothing).
        warm_up: steps before diversity and checkerboards are judged. An untrained generator gives
            one grey picture with a faint pattern, and that is no illness.

    Raises:
        SettingError: an unknown kind, or ``every`` below 1.
    """

    def __init__(self, every: int = 50, *, kind: str = "gan", warm_up: int = 1000) -> None:
        if kind not in KINDS or every < 1 or warm_up < 0:
            raise SettingError(
                f"GanDoctor(every={every}, kind={kind!r}, warm_up={warm_up}): "
                f"the kind is one of {', '.join(KINDS)}, every counts from 1."
            )
        self.every, self.kind, self.warm_up = every, kind, warm_up
        self.observations: list[Observation] = []

    def wants(self, step: int) -> bool:
        """Whether it is time for an observation."""
        return step % self.every == 0

    @torch.no_grad()
    def observe(
        self,
        step: int,
        *,
        real_logits: Tensor,
        fake_logits: Tensor,
        generator_gradient_norm: float | Tensor | None = None,
        samples: Tensor | None = None,
        real: Tensor | None = None,
        terms: Mapping[str, float | Tensor] | None = None,
    ) -> Observation:
        """Take the numbers of this step.

        Args:
            step: counted from 1.
            real_logits, fake_logits: the discriminator's answers, of any shape, before any sigmoid.
            generator_gradient_norm: see `gradient_norm`; before the optimiser's step.
            samples, real: generated and real images (N, C, H, W) in one range, or vectors (N, D);
                at least 8 of each. From different z.
            terms: loss terms by name.

        Raises:
            ShapeError: samples without real ones, fewer than 8, or of another size.
        """
        numbers = {name: float(value) for name, value in (terms or {}).items()}
        gradient = None if generator_gradient_norm is None else float(generator_gradient_norm)
        scores = [logits.detach().float().flatten() for logits in (real_logits, fake_logits)]
        seen = _look_at(samples, real)
        both = torch.cat(scores)
        finite = bool(torch.isfinite(both).all()) and seen.finite
        finite = finite and all(map(math.isfinite, [*numbers.values(), gradient or 0.0]))
        # A critic's scores may drift together; only their spread means something.
        centre = both.median() if self.kind == "wgan" else 0.0
        found = Observation(
            step=step,
            finite=finite,
            accuracy=discriminator_accuracy(*scores),
            probability=float(scores[1].sigmoid().mean()),
            gap=float(scores[0].mean() - scores[1].mean()),
            largest=float((both - centre).abs().max()),
            terms=numbers,
            gradient=gradient,
            mean_distance=seen.mean,
            nearest=seen.nearest,
            excess=seen.excess,
            stride=seen.stride,
        )
        self.observations.append(found)
        return found

    def examine(
        self,
        step: int,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: Tensor,
        real: Tensor,
        *,
        loss: Callable[[Tensor], Tensor],
        terms: Mapping[str, float | Tensor] | None = None,
    ) -> Observation:
        """Observe from outside a training loop: one forward and backward pass of its own.

        Nothing in the networks changes: no gradient is left behind, and batch-norm statistics are
        put back.

        Args:
            step, terms: as for `observe`.
            generator: latent -> images.
            discriminator: images -> logits.
            latent: a batch of different z, (N, …).
            real: real images (N, C, H, W) as the discriminator gets them, most often in [-1, 1].
            loss: the generator's loss, of its samples' logits.
        """
        kept = [buffer.clone() for net in (generator, discriminator) for buffer in net.buffers()]
        weights = [p for p in generator.parameters() if p.requires_grad]
        with torch.enable_grad():
            samples = generator(latent)
            fake_logits, real_logits = discriminator(samples), discriminator(real)
            gradients = torch.autograd.grad(loss(fake_logits), weights, allow_unused=True)
        buffers = [buffer for net in (generator, discriminator) for buffer in net.buffers()]
        with torch.no_grad():
            for buffer, before in zip(buffers, kept, strict=True):
                buffer.copy_(before)
        norms = [g.float().norm() for g in gradients if g is not None]
        return self.observe(
            step,
            real_logits=real_logits,
            fake_logits=fake_logits,
            generator_gradient_norm=torch.stack(norms).norm() if norms else 0.0,
            samples=samples,
            real=real,
            terms=terms,
        )

    def verdict(self) -> Verdict:
        """What the last `WINDOW` observations say; numbers that are not finite count at once."""
        seen = self.observations
        if not seen:
            return Verdict("too early", 0, note="Nothing was observed yet.")
        window, step = seen[-WINDOW:], seen[-1].step
        if not seen[-1].finite:
            return Verdict("ill", step, (_not_finite(seen[-1]),), seen[-1].measured(self.kind))
        found = [_huge(window, self.kind), _growing(window)] if len(window) > 1 else []
        if len(window) == WINDOW:
            found += self._sustained(window)
        findings = tuple(sorted(filter(None, found), key=lambda f: f.severity != "ill"))
        status = findings[0].severity if findings else "healthy"
        if not findings and len(window) < WINDOW:
            status = "too early"
        return Verdict(status, step, findings, seen[-1].measured(self.kind), self._note(window))

    def _sustained(self, window: Sequence[Observation]) -> list[Finding | None]:
        found = [_vanished(window, self.observations)]
        if self.kind == "gan":
            found.append(_saturated(window))
        if window[0].step >= self.warm_up:
            found += [_collapsed(window), _checkered(window)]
        return found

    def _note(self, window: Sequence[Observation]) -> str:
        if len(window) < WINDOW:
            return f"{len(window)} of {WINDOW} observations so far."
        if window[0].step < self.warm_up and window[-1].mean_distance is not None:
            return f"Diversity and pattern are judged from step {self.warm_up:,} on."
        return ""


@dataclass(frozen=True)
class _Look:
    """What the samples of one observation say."""

    finite: bool = True
    mean: float | None = None
    nearest: float | None = None
    excess: float | None = None
    stride: int = 0


def _look_at(samples: Tensor | None, real: Tensor | None) -> _Look:
    if samples is None:
        return _Look()
    if real is None or samples.shape[1:] != real.shape[1:] or min(len(samples), len(real)) < 8:
        other = "none" if real is None else str(tuple(real.shape))
        raise ShapeError(
            f"Samples {tuple(samples.shape)} need real ones of the same size beside them, at "
            f"least 8 of each; got {other}."
        )
    samples, real = samples.detach().float(), real.detach().float()
    if not torch.isfinite(samples).all():
        return _Look(finite=False)
    mean, nearest = diversity(samples, real)
    sides = samples.shape[2:]
    if samples.dim() != 4 or min(sides) < SMALLEST or any(side % 4 for side in sides):
        return _Look(mean=mean, nearest=nearest)
    excess, stride = checkerboard(samples, real)
    return _Look(mean=mean, nearest=nearest, excess=excess, stride=stride)


# --- The findings: a window of observations -> what is wrong, or None ----------------------------


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def _above(value: float, limits: tuple[float, float]) -> str | None:
    return "ill" if value >= limits[1] else "watch" if value >= limits[0] else None


def _below(value: float, limits: tuple[float, float]) -> str | None:
    return "ill" if value <= limits[1] else "watch" if value <= limits[0] else None


def _not_finite(last: Observation) -> Finding:
    bad = [name for name, value in last.terms.items() if not math.isfinite(value)]
    where = ", ".join(bad) if bad else "the logits, the gradient or the samples"
    return Finding(
        "numbers not finite",
        "ill",
        f"NaN or infinity in {where}.",
        {"step": last.step},
        "Go back to the last good checkpoint, with a lower learning rate.",
    )


def _huge(window: Sequence[Observation], kind: str) -> Finding | None:
    largest = _median([seen.largest for seen in window])
    severity = _above(largest, HUGE_LOGIT[kind])
    if severity is None:
        return None
    return Finding(
        "numbers exploding",
        severity,
        f"The discriminator's answers reach {largest:.3g}; soon the exponential overflows.",
        {"largest": largest},
        "Lower the learning rates, or add a gradient penalty; are the images in [-1, 1]?",
    )


def _growing(window: Sequence[Observation]) -> Finding | None:
    curves = {"the answers of D": [seen.largest for seen in window]}
    for name in window[-1].terms:
        curves[name] = [abs(seen.terms.get(name, math.inf)) for seen in window]
    grown = {name: curve[-1] / max(curve[0], 1e-12) for name, curve in curves.items()}
    name = max(grown, key=lambda each: grown[each] * (curves[each][-1] >= GROWTH_FLOOR))
    steady = all(a < b for a, b in zip(curves[name], curves[name][1:], strict=False))
    if not steady or grown[name] < GROWTH or curves[name][-1] < GROWTH_FLOOR:
        return None
    return Finding(
        "numbers exploding",
        "ill",
        f"{name} grew {grown[name]:.3g} times since step {window[0].step:,}, to "
        f"{curves[name][-1]:.3g}.",
        {"growth": grown[name], "last": curves[name][-1]},
        "Lower the learning rates before it becomes NaN.",
    )


def _saturated(window: Sequence[Observation]) -> Finding | None:
    accuracy = min(seen.accuracy for seen in window)
    # Every observation of the window has to be this bad.
    probability = max(seen.probability for seen in window)
    severity = _below(probability, SATURATED_PROBABILITY)
    if accuracy < SATURATED_ACCURACY or severity is None:
        return None
    gap = _median([seen.gap for seen in window])
    return Finding(
        "discriminator saturated",
        severity,
        f"D tells {accuracy:.0%} of the images apart, its logits lie {gap:.3g} apart, and it gives "
        f"samples a probability of {probability:.2g} at most.",
        {"accuracy": accuracy, "probability": probability, "gap": gap},
        "Is G learning at all (its learning rate)? If so, slow D down, add R1, or smooth labels.",
    )


def _vanished(window: Sequence[Observation], all_seen: Sequence[Observation]) -> Finding | None:
    recent = [seen.gradient for seen in window if seen.gradient is not None]
    if len(recent) < WINDOW:
        return None
    now, norms = _median(recent), [s.gradient for s in all_seen if s.gradient is not None]
    top = max(_median(norms[i : i + WINDOW]) for i in range(len(norms) - WINDOW + 1))
    share = now / top if top > NO_GRADIENT else 0.0
    severity = _below(share, VANISHED_SHARE)
    if severity is None:
        return None
    compared = f"{share:.2%} of the largest it has been" if share else "nothing flows back"
    return Finding(
        "generator gradient vanished",
        severity,
        f"The length of G's gradient is {now:.2g}: {compared}.",
        {"gradient": now, "share": share},
        "Use the non-saturating loss or a Wasserstein critic; if there never was a gradient, look "
        "for a .detach() or no_grad between G and its loss.",
    )


def _collapsed(window: Sequence[Observation]) -> Finding | None:
    means = [seen.mean_distance for seen in window if seen.mean_distance is not None]
    near = [seen.nearest for seen in window if seen.nearest is not None]
    if len(means) < WINDOW:
        return None
    mean, nearest = max(means), max(near)
    severities = (_below(mean, COLLAPSED_MEAN), _below(nearest, COLLAPSED_NEAREST))
    if not any(severities):
        return None
    alike = "are nearly the same for every z" if severities[0] else "fall into a few groups"
    return Finding(
        "mode collapse",
        "ill" if "ill" in severities else "watch",
        f"Samples {alike}: they lie {mean:.2f} times as far apart as real images, and "
        f"{nearest:.2f} times from their nearest neighbour.",
        {"mean distance": mean, "nearest": nearest},
        "Does G read z? If so, slow it down, let D see whole batches, or change to WGAN-GP.",
    )


def _checkered(window: Sequence[Observation]) -> Finding | None:
    seen = [each for each in window if each.excess is not None]
    if len(seen) < WINDOW:
        return None
    excess = _median([each.excess or 0.0 for each in seen])
    severity = _above(excess, CHECKERBOARD_EXCESS)
    if severity is None:
        return None
    stride = seen[-1].stride
    return Finding(
        "checkerboard",
        severity,
        f"A pattern that repeats every {stride} pixels stands {excess:.1f} times further out of "
        "the spectrum than in real images.",
        {"excess": excess, "stride": stride},
        "Use a kernel that the stride divides, or upsample first and convolve then.",
    )
