"""Drawing canvases for notebooks, on ipycanvas: a sketch, and a painter of label maps.

Import them from `coursekit.widgets`. The drawing itself is a `coursekit.canvas.Raster` in the
kernel: what the browser shows is a copy of it, so that it survives a reload of the page, and so
that a canvas can be drawn on from code where no browser is.
"""

from __future__ import annotations

import html
import io
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
import torch
from ipywidgets import Layout
from PIL import Image
from torch import Tensor

from coursekit.canvas import Box, Point, Raster
from coursekit.core.errors import CourseError, ImageError, SettingError, ShapeError
from coursekit.core.images import load_image, resize, to_pil

Callback = Callable[[Tensor], None]
DRAW, ERASE, FILL = "draw", "erase", "fill"
_TOOLS = {"✏ draw": DRAW, "⌫ erase": ERASE, "▧ fill": FILL}
_NO_CANVAS = (
    "ipycanvas is not installed here, so nothing can be drawn with the mouse: upload a picture, or "
    "use .load() and .stroke(). To draw: <code>pip install ipycanvas</code>, then restart."
)


class Painter(ipywidgets.VBox):
    """A canvas with its tools; `sketch` and `label_painter` make the two kinds.

    Attributes:
        value: the drawing as a tensor.
        picture: what the canvas shows, (1, 3, size, size) in [0, 1].
        tool: ``"draw"``, ``"erase"`` or ``"fill"``.
        ink: the value that the brush paints.
        width: of the brush in pixels of the picture.

    Raises:
        SettingError: a scale below 1.
    """

    def __init__(self, raster: Raster, palette: np.ndarray, scale: int, ink: int, width: float):
        if scale < 1:
            raise SettingError(
                f"scale={scale}: a pixel of the picture takes 1 of the screen or more."
            )
        self.raster, self.palette, self.scale = raster, palette, scale
        self.tool, self.ink, self.width, self.message = DRAW, ink, width, ipywidgets.HTML()
        self._line: list[Point] = []
        self._callbacks: list[_Throttled] = []
        self._stage = _stage(self)
        super().__init__(
            [*self._tools(), self.message, self._stage], layout=Layout(align_items="flex-start")
        )
        self._show()

    # --- what a drawing is ------------------------------------------------------------------

    @property
    def value(self) -> Tensor:
        """The drawing as a tensor."""
        raise NotImplementedError

    @property
    def picture(self) -> Tensor:
        """What the canvas shows, (1, 3, size, size) in [0, 1]."""
        shown = torch.from_numpy(self.palette[self.raster.values])
        return shown.movedim(-1, 0)[None].float() / 255

    def _read(self, values: Tensor) -> np.ndarray:
        """A tensor like `value` as the raster's numbers."""
        raise NotImplementedError

    def _read_picture(self, picture: Tensor) -> np.ndarray:
        """Any picture (1, 3, H, W) in [0, 1] as the raster's numbers."""
        raise NotImplementedError

    # --- drawing from code ------------------------------------------------------------------

    def stroke(
        self, points: Sequence[Point], *, ink: int | None = None, width: float | None = None
    ) -> None:
        """Draw a line through points (x, y) in pixels of the picture, as one stroke of the mouse.

        Args:
            points: one makes a dot.
            ink: what to paint; the chosen ink by default.
            width: of the brush; the chosen one by default.

        Raises:
            SettingError: no points, or an ink or width that cannot be used.
        """
        self._change(
            lambda: self.raster.stroke(
                points, self.ink if ink is None else ink, self.width if width is None else width
            )
        )

    def fill(self, point: Point, *, ink: int | None = None) -> None:
        """Fill the area around a point; arguments as for `stroke`."""
        self._change(lambda: self.raster.fill(point, self.ink if ink is None else ink))

    def _change(self, change: Callable[[], object]) -> None:
        self.raster.remember()
        try:
            change()
        except CourseError:
            self.raster.undo()
            raise
        self._changed()

    def load(self, values: Tensor) -> None:
        """Put a drawing in its place; can be undone.

        Args:
            values: of the form of `value`.

        Raises:
            ShapeError: another size.
            SettingError: a value that cannot be painted. The drawing stays as it was.
        """
        self.raster.load(self._read(values))
        self._changed()

    def undo(self) -> None:
        """Take the last stroke back; nothing if there is none."""
        if self.raster.undo():
            self._changed()

    def clear(self) -> None:
        """Begin anew; can be undone."""
        self.raster.clear()
        self._changed()

    def on_change(self, callback: Callback, *, every: float = 0.3) -> None:
        """Call ``callback(value)`` whenever the drawing changes.

        Args:
            callback: while a stroke is drawn it is called at most every so many seconds, and once
                more at its end.
            every: seconds, counted from the end of the last call.
        """
        self._callbacks.append(_Throttled(callback, every))

    def _changed(self, box: Box | None = None, *, finished: bool = True) -> None:
        self._show(box)
        for each in self._callbacks:
            each(lambda: self.value, finished)

    # --- the mouse --------------------------------------------------------------------------

    def press(self, x: float, y: float) -> None:
        """The mouse goes down at (x, y), in pixels of the screen."""
        self.raster.remember()
        point = (x / self.scale, y / self.scale)
        if self.tool == FILL:
            self.raster.fill(point, self.ink)
            self._changed()
            return
        self._line = [point]
        self._draw(self._line)

    def move(self, x: float, y: float) -> None:
        """The mouse moves to (x, y); draws while it is down."""
        if self._line:
            self._line = [self._line[-1], (x / self.scale, y / self.scale)]
            self._draw(self._line)

    def release(self, *_: float) -> None:
        """The mouse goes up or leaves the canvas: the stroke has ended."""
        if self._line:
            self._line = []
            self._changed(box=(0, 0, 0, 0))

    def _draw(self, points: Sequence[Point]) -> None:
        ink = self.raster.background if self.tool == ERASE else self.ink
        self._changed(self.raster.stroke(points, ink, self.width), finished=False)

    # --- what is seen -----------------------------------------------------------------------

    def _show(self, box: Box | None = None) -> None:
        """Send the part of the drawing that changed to the browser."""
        left, top, right, bottom = box or (0, 0, *self.raster.fine.shape)
        if right <= left or bottom <= top:
            return
        if isinstance(self._stage, ipywidgets.Image):
            self._stage.value = self._png()
            return
        colours = self.palette[self.raster.fine[top:bottom, left:right]]
        ratio = self.scale / self.raster.detail
        # Whole pixels of the screen, for the part has to lie where it lay.
        rows, columns = (_places(*ends, ratio) for ends in ((top, bottom), (left, right)))
        pixels = colours[rows - top][:, columns - left]
        first = int(np.ceil(left * ratio)), int(np.ceil(top * ratio))
        self._stage.put_image_data(np.ascontiguousarray(pixels), *first)

    def _png(self) -> bytes:
        buffer, side = io.BytesIO(), self.raster.size * self.scale
        whole = Image.fromarray(self.palette[self.raster.fine])
        whole.resize((side, side), Image.Resampling.NEAREST).save(buffer, "png")
        return buffer.getvalue()

    def _tools(self) -> list[ipywidgets.Widget]:
        tools = ipywidgets.ToggleButtons(
            options=_TOOLS, value=self.tool, style={"button_width": "80px"}
        )
        tools.observe(lambda change: setattr(self, "tool", change["new"]), names="value")
        width = ipywidgets.FloatSlider(
            value=self.width,
            min=0.5,
            max=max(self.raster.size / 6, 1.0),
            step=0.5,
            description="brush",
            readout_format=".1f",
            layout=Layout(width="280px"),
            style={"description_width": "40px"},
        )
        width.observe(lambda change: setattr(self, "width", change["new"]), names="value")
        undo, clear = (
            ipywidgets.Button(description=name, layout=Layout(width="70px"))
            for name in ("↶ undo", "✕ clear")
        )
        undo.on_click(lambda _: self.undo())
        clear.on_click(lambda _: self.clear())
        upload = ipywidgets.FileUpload(
            accept="image/*", multiple=False, description="upload", layout=Layout(width="110px")
        )
        upload.observe(lambda change: self._uploaded(change["new"]), names="value")
        rows = [[tools], [width], [undo, clear, upload]]  # no wider than a canvas of 320 pixels
        return [ipywidgets.HBox(row, layout=Layout(flex_flow="row wrap")) for row in rows]

    def _uploaded(self, files: Any) -> None:
        """A file came: ipywidgets 8 gives a tuple of dicts, ipywidgets 7 a dict of dicts."""
        entries = list(files.values()) if isinstance(files, dict) else list(files)
        if not entries:
            return
        try:
            self.raster.load(self._read_picture(load_image(bytes(entries[-1]["content"]))))
        except (ImageError, SettingError, ShapeError) as error:
            self.message.value = f"<b>Not loaded:</b> {html.escape(str(error))}"
            return
        self.message.value = ""
        self._changed()


class Sketch(Painter):
    """Black lines on white; `value` is float (1, 3, size, size) in [0, 1], ``size`` in pixels."""

    def __init__(self, size: int, start: Tensor | None, scale: int) -> None:
        grey = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        raster = Raster(size, background=255, smooth=True)
        super().__init__(raster, grey, scale, ink=0, width=max(size / 40, 1.0))
        if start is not None:
            self.load(start)

    @property
    def value(self) -> Tensor:
        """The drawing, float (1, 3, size, size) in [0, 1]: 1 is white."""
        return self.picture

    def _read(self, values: Tensor) -> np.ndarray:
        size = self.raster.size
        if values.dim() != 4 or values.shape[2:] != (size, size) or values.shape[0] != 1:
            raise ShapeError(f"A sketch is (1, 3, {size}, {size}), not {tuple(values.shape)}.")
        return self._read_picture(values)

    def _read_picture(self, picture: Tensor) -> np.ndarray:
        size = self.raster.size
        grey = resize(picture.detach().cpu().mean(dim=1, keepdim=True).clamp(0, 1), (size, size))
        return (grey[0, 0].clamp(0, 1) * 255).round().to(torch.int64).numpy()


class LabelPainter(Painter):
    """A class for every pixel; `value` is int64 (1, size, size).

    Raises:
        SettingError: fewer than 2 classes or more than 256, or not one colour for each.
    """

    def __init__(
        self,
        size: int,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        start: Tensor | None,
        scale: int,
    ) -> None:
        if len(classes) != len(palette) or not 2 <= len(classes) <= 256:
            raise SettingError(
                f"{len(classes)} classes and {len(palette)} colours: give each of 2 to 256 classes "
                "one colour."
            )
        self.classes, self._buttons = tuple(classes), list[ipywidgets.Button]()
        raster = Raster(size, highest=len(classes) - 1)
        super().__init__(raster, np.array(palette, np.uint8), scale, ink=1, width=size / 12)
        self.choose(self.classes[1])
        if start is not None:
            self.load(start)

    @property
    def value(self) -> Tensor:
        """The label map, int64 (1, size, size)."""
        return torch.from_numpy(self.raster.values.astype(np.int64))[None]

    def choose(self, name: str) -> None:
        """Take a class as the brush.

        Raises:
            SettingError: there is no such class.
        """
        if name not in self.classes:
            raise SettingError(f"No class {name!r}; there are {', '.join(self.classes)}.")
        self.ink = self.classes.index(name)
        for button, each in zip(self._buttons, self.classes, strict=True):
            button.icon = "check" if each == name else ""
            button.layout.border = "3px solid black" if each == name else "1px solid #999"

    def _tools(self) -> list[ipywidgets.Widget]:
        for name, colour in zip(self.classes, self.palette.tolist(), strict=True):
            button = ipywidgets.Button(
                description=name, tooltip=f"paint {name}", layout=Layout(width="104px", padding="0")
            )
            button.style.button_color = "#{:02x}{:02x}{:02x}".format(*colour)
            bright = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 140
            if hasattr(button.style, "text_color"):  # ipywidgets 8
                button.style.text_color = "black" if bright else "white"
            button.on_click(lambda _, name=name: self.choose(name))
            self._buttons.append(button)
        legend = Layout(flex_flow="row wrap", width=f"{max(self.raster.size * self.scale, 330)}px")
        return [ipywidgets.HBox(self._buttons, layout=legend), *super()._tools()]

    def _read(self, values: Tensor) -> np.ndarray:
        size = self.raster.size
        if values.is_floating_point() or values.shape not in ((1, size, size), (size, size)):
            raise ShapeError(
                f"A label map is whole numbers (1, {size}, {size}), not {values.dtype} "
                f"{tuple(values.shape)}."
            )
        return values.detach().cpu().reshape(size, size).numpy()

    def _read_picture(self, picture: Tensor) -> np.ndarray:
        """A picture in the colours of the classes: every pixel gets the class nearest to it."""
        size = self.raster.size
        small = to_pil(picture).resize((size, size), Image.Resampling.NEAREST)
        pixels = np.asarray(small, dtype=np.int64).reshape(-1, 1, 3)
        distance = ((pixels - self.palette.astype(np.int64)) ** 2).sum(-1)
        return distance.argmin(1).reshape(size, size)


def _places(first: int, last: int, ratio: float) -> np.ndarray:
    """For each pixel of the screen in a part of the raster, the raster's pixel it shows."""
    screen = np.arange(int(np.ceil(first * ratio)), int(np.ceil(last * ratio)))
    return np.floor(screen / ratio).astype(int)


class _Throttled:
    """A callback that is called at most every so many seconds, but always at the end."""

    def __init__(self, callback: Callback, every: float) -> None:
        self.callback, self.every, self.last = callback, every, -float("inf")

    def __call__(self, value: Callable[[], Tensor], finished: bool) -> None:
        if finished or time.perf_counter() - self.last >= self.every:
            self.callback(value())
            self.last = time.perf_counter()


def _stage(painter: Painter) -> Any:
    """The ipycanvas that shows a painter's drawing, or a plain picture where there is none."""
    side = painter.raster.size * painter.scale
    layout = Layout(width=f"{side}px", height=f"{side}px")
    try:
        import ipycanvas
    except ImportError:
        painter.message.value = _NO_CANVAS
        return ipywidgets.Image(format="png", layout=layout)
    _enable_in_colab()
    layout.border = "1px solid #888"
    canvas = ipycanvas.Canvas(width=side, height=side, layout=layout)
    canvas.on_mouse_down(painter.press)
    canvas.on_mouse_move(painter.move)
    canvas.on_mouse_up(painter.release)
    canvas.on_mouse_out(painter.release)
    canvas.on_touch_start(lambda touches: painter.press(*touches[0]))
    canvas.on_touch_move(lambda touches: painter.move(*touches[0]))
    canvas.on_touch_end(painter.release)
    canvas.on_touch_cancel(painter.release)

    def again() -> None:
        # A page that was loaded again knows nothing of what was sent before, not even which canvas
        # the last commands were for.
        ipycanvas.canvas._CANVAS_MANAGER._current_canvas = None
        painter._show()

    canvas.on_client_ready(again)
    return canvas


def _enable_in_colab() -> None:
    """Colab shows widgets that are not its own only when asked to."""
    if "google.colab" in sys.modules:
        from google.colab import output

        output.enable_custom_widget_manager()


def sketch(size: int = 64, *, start: Tensor | None = None, scale: int = 5) -> Sketch:
    """A canvas for a line drawing: black on white.

    Its ``value`` is float (1, 3, size, size) in [0, 1]; ``on_change(callback)`` tells of every
    change, ``stroke``, ``fill``, ``undo``, ``clear`` and ``load`` draw from code.

    Args:
        size: pixels a side of the drawing.
        start: a drawing to begin with, (1, 3, size, size) in [0, 1].
        scale: pixels of the screen for one of the drawing.

    Raises:
        SettingError: a size or scale below 1.
        ShapeError: a start of another size.
    """
    return Sketch(size, start, scale)


def label_painter(
    size: int = 64,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    start: Tensor | None = None,
    scale: int = 5,
) -> LabelPainter:
    """A canvas for a label map: the classes are the brushes.

    Its ``value`` is int64 (1, size, size); the rest is as for `sketch`. An uploaded picture is read
    by the nearest colours of the palette.

    Args:
        size: pixels a side of the map.
        classes: their names; the first is the background.
        palette: (red, green, blue) from 0 to 255 for each class.
        start: a map to begin with, whole numbers (1, size, size).
        scale: pixels of the screen for one of the map.

    Raises:
        SettingError: classes and colours that do not fit each other, a size or scale below 1.
        ShapeError: a start of another size.
    """
    return LabelPainter(size, classes, palette, start, scale)
