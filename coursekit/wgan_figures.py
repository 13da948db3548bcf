"""Figures of topic 08: heaps and slopes, piles of weights, surfaces, and the study's curves.

Source: none; drawings of what was computed elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from torch import Tensor, nn

from coursekit.core.images import load_image
from coursekit.wgan_study import METHODS, Study, distance, surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "GAN": "GAN\nlog 2 − L_D/2",
    "clipping": "WGAN, clipping\n−L_critic",
    "penalty": "WGAN-GP\n−L_critic",
}
_REAL, _FAKE = "tab:blue", "tab:orange"


def _row(count: int, width: float = 3.4, height: float = 3.0) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure((count * width, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _foot(figure: Figure, label: str | None) -> Figure:
    if label:
        figure.supxlabel(label, fontsize=8, color="0.4")
    return figure


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def slopes(
    axis_values: Tensor,
    lines: Mapping[str, Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    label: str | None = None,
) -> Figure:
    """Scores along a line, one picture a critic, over the two heaps of numbers (N,)."""
    figure, axes = _row(len(lines), 4.4)
    for axis, (name, values) in zip(axes, lines.items(), strict=True):
        heaps = axis.twinx()
        heaps.hist(real.numpy(), 40, density=True, alpha=0.35, color=_REAL, label="real")
        heaps.hist(fake.numpy(), 40, density=True, alpha=0.35, color=_FAKE, label="fake")
        heaps.set_yticks([])
        heaps.set_ylim(0, 2.2)
        heaps.spines[:].set_visible(False)
        heaps.legend(frameon=False, fontsize=8, loc="upper right")
        axis.plot(axis_values.numpy(), values.numpy(), color="0.1", linewidth=1.8)
        axis.set_title(name, fontsize=10)
        _plain(axis)
    return _foot(figure, label)


def weights(
    critics: Mapping[str, nn.Module], *, limit: float | None = None, label: str | None = None
) -> Figure:
    """Histograms of all weights; dashed lines at ±limit."""
    figure, axes = _row(len(critics), 4.0, 2.6)
    for axis, (name, critic) in zip(axes, critics.items(), strict=True):
        values = nn.utils.parameters_to_vector(critic.parameters()).detach()
        axis.hist(values.numpy(), 61, color="tab:purple")
        axis.set_title(name, fontsize=10)
        axis.set_yticks([])
        axis.set_xlabel("weight")
        axis.locator_params(axis="x", nbins=5)
        for line in (-limit, limit) if limit else ():
            axis.axvline(line, color="0.3", linestyle="--", linewidth=0.8)
        _plain(axis)
    return _foot(figure, label)


def surfaces(
    critics: Mapping[str, nn.Module], real: Tensor, fake: Tensor, *, label: str | None = None
) -> Figure:
    """Level lines of critics over the plane, with the points (N, 2) they were trained on."""
    figure, axes = _row(len(critics), 2.9, 3.3)
    for axis, (name, critic) in zip(axes, critics.items(), strict=True):
        values, scores = surface(critic)
        axis.contourf(values, values, scores.numpy(), 14, cmap="viridis")
        axis.scatter(
            fake[:, 0].numpy(), fake[:, 1].numpy(), s=3, color="white", alpha=0.45, linewidths=0
        )
        axis.scatter(real[:, 0].numpy(), real[:, 1].numpy(), s=4, color="tab:red", linewidths=0)
        axis.set_title(name, fontsize=10)
        axis.set_aspect("equal")
        axis.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
    return _foot(figure, label)


def as_picture(figure: Figure, dots_per_inch: int = 100) -> Tensor:
    """A figure as a picture (1, 3, H, W) in [0, 1], for a slider."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch)
    buffer.seek(0)
    return load_image(buffer)


def tracking(study: Study, *, label: str | None = None) -> Figure:
    """Loss and FID over the training, one column a method, one line a seed."""
    figure = Figure((11.0, 4.6), layout="constrained")
    axes = figure.subplots(2, len(METHODS), sharex=True, squeeze=False)
    for column, method in enumerate(METHODS):
        above, below = axes[:, column]
        for run in study.of(method):
            updates = [record["updates"] for record in run["records"]]
            losses = [distance(method, record) for record in run["records"]]
            above.plot(updates, losses, linewidth=1.5, label=f"seed {run['seed']}")
            below.plot(updates, [record["fid"] for record in run["records"]], linewidth=1.5)
        _dress(above, below, study, method)
    axes[0, 0].set_ylabel("loss, read as\na distance")
    axes[1, 0].set_ylabel("FID (log scale)")
    axes[0, -1].legend(frameon=False, fontsize=8)
    return _foot(figure, label)


def _dress(above: Axes, below: Axes, study: Study, method: str) -> None:
    above.set_title(TITLES[method], fontsize=10)
    below.set_yscale("log")
    below.set_xlabel("updates of the discriminator or critic")
    warm_up = study.protocol.updates * study.protocol.warm_up / study.protocol.checkpoints
    for axis in (above, below):
        axis.axvspan(0, warm_up, color="0.94", zorder=0)
        axis.grid(alpha=0.25)
        _plain(axis)
