"""What something makes of a drawing, beside the canvas, while it is drawn.

Import `draw_and_see` from `coursekit.widgets`.
"""

from __future__ import annotations

import html
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets
from ipywidgets import Layout
from PIL import Image
from torch import Tensor

from coursekit.core.images import to_pil

if TYPE_CHECKING:
    from coursekit.widgets_canvas import Painter


class Answering(ipywidgets.HBox):
    """A canvas and what something makes of the drawing, side by side; made by `draw_and_see`.

    Attributes:
        canvas: the painter.
        answer: the last answer (1, 3, H, W), or None if there is none.
    """

    def __init__(
        self, canvas: Painter, respond: Callable[[Tensor], Tensor], every: float, title: str
    ) -> None:
        self.canvas, self.respond = canvas, respond
        self.answer: Tensor | None = None
        side = f"{canvas.raster.size * canvas.scale}px"
        self._image = ipywidgets.Image(format="png", layout=Layout(width=side, height=side))
        self._said = ipywidgets.HTML()
        heading = ipywidgets.HTML(f"<b>{html.escape(title)}</b>" if title else "")
        answered = ipywidgets.VBox(
            [heading, self._said, self._image],
            layout=Layout(align_items="flex-start", margin="0 0 0 16px"),
        )
        super().__init__(
            [canvas, answered], layout=Layout(align_items="flex-end", flex_flow="row wrap")
        )
        canvas.on_change(self.update, every=every)
        self.update(canvas.value)

    def update(self, value: Tensor | None = None) -> None:
        """Ask again, also when something else than the drawing has changed."""
        began = time.perf_counter()
        try:
            answer = self.respond(self.canvas.value if value is None else value).detach().cpu()
            self.answer = answer
            self._image.value = _png(answer, self.canvas.raster.size * self.canvas.scale)
        except Exception as error:  # the student's own function: the drawing must not be lost
            self._said.value = html.escape(f"{type(error).__name__}: {error}")
            return
        self._said.value = f"answered in {1000 * (time.perf_counter() - began):.0f} ms"


def _png(picture: Tensor, side: int) -> bytes:
    buffer = io.BytesIO()
    shown = to_pil(picture.clamp(0, 1))
    shown.resize((side, side), Image.Resampling.NEAREST).save(buffer, "png")
    return buffer.getvalue()


def draw_and_see(
    canvas: Painter, respond: Callable[[Tensor], Tensor], *, every: float = 0.3, title: str = ""
) -> Answering:
    """The canvas on the left, on the right what ``respond`` makes of the drawing, while you draw.

    An error in ``respond`` is shown beside the picture; the drawing is not lost.

    Args:
        canvas: a `sketch` or a `label_painter`.
        respond: the canvas's value → a picture (1, 3, H, W) in [0, 1].
        every: seconds between two answers while a stroke is drawn.
        title: above the answer.
    """
    return Answering(canvas, respond, every, title)
