"""Figures of topic 13: what ProGAN, StyleGAN and StyleGAN2 are made of, as columns of boxes.

Drawn from lists of `Step`, top to bottom in the order in which a picture passes through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from coursekit.core.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "layer": "#d9e6f2",
    "statistics": "#f6c8b8",
    "style": "#cfe8cf",
    "learned": "#eeeeee",
    "sum": "#ffffff",
}
_WIDE, _HIGH = 2.6, 0.62  # of a box, in units of a step


@dataclass(frozen=True)
class Step:
    """One box.

    Attributes:
        text: what happens there.
        kind: a key of `COLOURS`: ``"layer"``, ``"statistics"`` (something is measured on the
            maps), ``"style"``, ``"learned"`` (a constant) or ``"sum"``.
        left: learned numbers that go in: w, b.
        right: what else goes in: A (a style), B (noise).
        box: number of the grey box around it, in which one style is active; 0 for none.
    """

    text: str
    kind: str = "layer"
    left: str = ""
    right: str = ""
    box: int = 0


GENERATORS: Mapping[str, Sequence[Step]] = {
    "ProGAN": (
        Step("latent z", "learned"),
        Step("normalise"),
        Step("linear, to 4×4"),
        Step("conv 3×3", left="w, b"),
        Step("upsample"),
        Step("conv 3×3", left="w, b"),
        Step("conv 3×3", left="w, b"),
        Step("… to RGB"),
    ),
    "StyleGAN: mapping f": (
        Step("latent z", "learned"),
        Step("normalise"),
        *(Step(f"linear {number}") for number in (1, 2, 3)),
        Step("… 8 in all"),
        Step("w", "style"),
        Step("A: one affine\nmap a layer", "style"),
    ),
    "StyleGAN: synthesis g": (
        Step("constant 4×4", "learned"),
        Step("+ noise", "sum", right="B"),
        Step("AdaIN", "style", right="A"),
        Step("conv 3×3", left="w, b"),
        Step("+ noise", "sum", right="B"),
        Step("AdaIN", "style", right="A"),
        Step("upsample"),
        Step("… to RGB"),
    ),
}

REVISION: Mapping[str, Sequence[Step]] = {
    "(a) StyleGAN": (
        Step("constant 4×4", "learned"),
        Step("+ noise", "sum", right="B"),
        Step("AdaIN", "statistics", right="A"),
        Step("conv 3×3", left="w, b"),
        Step("+ noise", "sum", right="B"),
        Step("AdaIN", "statistics", right="A"),
        Step("upsample"),
        Step("conv 3×3", left="w, b"),
        Step("+ noise", "sum", right="B"),
        Step("AdaIN", "statistics", right="A"),
    ),
    "(b) the same, AdaIN split": (
        Step("constant 4×4", "learned"),
        Step("+", "sum", "b₁", "B"),
        Step("norm mean/std", "statistics"),
        Step("mod mean/std", "style", right="A", box=1),
        Step("conv 3×3", left="w₂", box=1),
        Step("+", "sum", "b₂", "B", box=1),
        Step("norm mean/std", "statistics", box=1),
        Step("mod mean/std", "style", right="A", box=2),
        Step("upsample", box=2),
        Step("conv 3×3", left="w₃", box=2),
        Step("+", "sum", "b₃", "B", box=2),
        Step("norm mean/std", "statistics", box=2),
    ),
    "(c) revised": (
        Step("constant 4×4", "learned"),
        Step("mod std", "style", right="A", box=1),
        Step("conv 3×3", left="w₂", box=1),
        Step("norm std", "statistics", box=1),
        Step("+", "sum", "b₂", "B"),
        Step("mod std", "style", right="A", box=2),
        Step("upsample", box=2),
        Step("conv 3×3", left="w₃", box=2),
        Step("norm std", "statistics", box=2),
        Step("+", "sum", "b₃", "B"),
    ),
    "(d) demodulated weights": (
        Step("constant 4×4", "learned"),
        Step("conv 3×3 by\ndemod(mod(w₂))", "style", "w₂", "A", box=1),
        Step("+", "sum", "b₂", "B"),
        Step("upsample", box=2),
        Step("conv 3×3 by\ndemod(mod(w₃))", "style", "w₃", "A", box=2),
        Step("+", "sum", "b₃", "B"),
    ),
}


def columns(panels: Mapping[str, Sequence[Step]], *, label: str | None = None) -> Figure:
    """Columns of boxes side by side, `GENERATORS` or `REVISION` or one's own.

    Those two are after Karras et al. 2019, Figure 1, and Karras et al. 2020, Figure 2.

    Args:
        panels: title → steps, the first on top.
        label: a line at the foot.

    Raises:
        SettingError: no panels, or a kind of box that has no colour.
    """
    kinds = {step.kind for steps in panels.values() for step in steps} - set(COLOURS)
    if not panels or kinds:
        raise SettingError(f"{len(panels)} columns, unknown kinds {sorted(kinds)}.")
    most = max(len(steps) for steps in panels.values())
    figure = Figure((2.7 * len(panels), 0.5 + 0.5 * most), layout="constrained")
    for axis, (title, steps) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axis.set_title(title, fontsize=10)
        axis.set_xlim(-2.4, 2.4)
        axis.set_ylim(-most + 0.4, 0.6)
        axis.axis("off")
        _shade(axis, steps)
        for place, step in enumerate(steps):
            _draw(axis, -place, step)
            if place:
                _arrow(axis, (0, 1 - place - _HIGH / 2), (0, -place + _HIGH / 2))
    if label:
        figure.supxlabel(label, fontsize=8, color="0.4")
    return figure


def _shade(axis: Axes, steps: Sequence[Step]) -> None:
    """A grey box behind the steps of each number."""
    for number in sorted({step.box for step in steps} - {0}):
        places = [place for place, step in enumerate(steps) if step.box == number]
        top, bottom = -places[0] + 0.43, -places[-1] - 0.43
        axis.add_patch(
            FancyBboxPatch(
                (-1.5, bottom), 3.0, top - bottom, "round,pad=0.02", fc="0.86", ec="none", zorder=0
            )
        )


def _draw(axis: Axes, height: float, step: Step) -> None:
    axis.add_patch(
        FancyBboxPatch(
            (-_WIDE / 2, height - _HIGH / 2),
            _WIDE,
            _HIGH,
            "round,pad=0,rounding_size=0.12",
            fc=COLOURS[step.kind],
            ec="0.35",
            lw=0.8,
        )
    )
    size = 7.5 if "\n" in step.text else 8.5
    axis.text(0, height, step.text, ha="center", va="center", fontsize=size, linespacing=1.1)
    for text, side in ((step.left, -1), (step.right, 1)):
        if text:
            axis.text(side * 2.05, height, text, ha="center", va="center", fontsize=9)
            _arrow(axis, (side * 1.8, height), (side * _WIDE / 2, height))


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "lw": 0.8, "color": "0.35"})
