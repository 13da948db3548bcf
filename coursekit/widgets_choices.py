"""What a canvas is used with: a menu of drawings to begin from, and one of reference pictures.

Import them from `coursekit.widgets`.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets
from ipywidgets import Layout
from torch import Tensor

from coursekit.core.errors import ImageError, SettingError
from coursekit.core.images import load_image, resize, to_pil

if TYPE_CHECKING:
    from coursekit.widgets_canvas import Painter

_WIDE = {"description_width": "initial"}


def drawing_menu(
    canvas: Painter, drawings: Mapping[str, Tensor], *, title: str = "load a map"
) -> ipywidgets.Dropdown:
    """A menu that puts one of several drawings on the canvas; the canvas's undo takes it back.

    It goes back to its title at once, so that the same drawing can be loaded again.

    Args:
        canvas: as `sketch` or `label_painter` gives it.
        drawings: by name, each in the form of the canvas's ``value``.
        title: what the menu shows.

    Raises:
        SettingError: no drawings.
    """
    if not drawings:
        raise SettingError("A menu needs at least one drawing.")
    menu = ipywidgets.Dropdown(
        # "" and not None: with None nothing is selected, and no title is shown.
        options=[(f"{title} …", ""), *((name, name) for name in drawings)],
        value="",
    )

    def chosen(change: dict[str, Any]) -> None:
        if change["new"]:
            canvas.load(drawings[change["new"]])
            menu.value = ""

    menu.observe(chosen, names="value")
    return menu


class ReferenceMenu(ipywidgets.HBox):
    """A menu of reference pictures, shown ``side`` pixels wide and high; see `reference_menu`.

    Attributes:
        chosen: the picture in use, (1, 3, H, W) in [0, 1].
        menu: the drop-down list; its ``value`` is the name of the picture in use.
    """

    def __init__(
        self,
        pictures: Mapping[str, Tensor],
        use: Callable[[Tensor], object],
        title: str,
        side: int,
    ) -> None:
        self.pictures, self.use, self.side = dict(pictures), use, side
        first = next(iter(self.pictures))
        self.menu = ipywidgets.Dropdown(
            options=list(self.pictures), value=first, description=title, style=_WIDE
        )
        self.message = ipywidgets.HTML()
        self._image = ipywidgets.Image(
            format="png", layout=Layout(width=f"{side}px", height=f"{side}px")
        )
        upload = ipywidgets.FileUpload(accept="image/*", description="your own")
        upload.observe(lambda change: self._uploaded(change["new"]), names="value")
        self.menu.observe(lambda change: self._choose(change["new"]), names="value")
        super().__init__(
            [self.menu, upload, self._image, self.message],
            layout=Layout(align_items="center", flex_flow="row wrap"),
        )
        self._choose(first)

    def _choose(self, name: str) -> None:
        self.chosen = self.pictures[name]
        buffer = io.BytesIO()
        to_pil(resize(self.chosen, (self.side, self.side)).clamp(0, 1)).save(buffer, "png")
        self._image.value = buffer.getvalue()
        self.use(self.chosen)

    def _uploaded(self, files: Any) -> None:
        """A file came: ipywidgets 8 gives a tuple of dicts, ipywidgets 7 a dict of dicts."""
        named = dict(files) if isinstance(files, dict) else {each["name"]: each for each in files}
        for name, file in named.items():
            size = self.chosen.shape[-1]
            try:
                picture = load_image(bytes(file["content"]), size, crop=True)
            except ImageError as error:
                self.message.value = f"<b>Not loaded:</b> {html.escape(str(error))}"
                return
            self.message.value = ""
            known, self.pictures[name] = name in self.pictures, picture
            if known and self.menu.value == name:
                self._choose(name)
                continue
            if not known:
                self.menu.options = [*self.menu.options, name]
            self.menu.value = name


def reference_menu(
    pictures: Mapping[str, Tensor],
    use: Callable[[Tensor], object],
    *,
    title: str = "style from",
    side: int = 96,
) -> ReferenceMenu:
    """A menu of reference pictures with a button to upload one's own, and the picture in use.

    Args:
        pictures: by name, each (1, 3, S, S) in [0, 1], all of one size; the first is chosen at
            once. A picture of one's own is cut to the square in its middle, of that size.
        use: called with the picture (1, 3, S, S) whenever one is chosen, also at the beginning.
        title: in front of the menu.
        side: of the picture that is shown, in pixels of the screen.

    Raises:
        SettingError: no pictures.
    """
    if not pictures:
        raise SettingError("A menu needs at least one picture.")
    return ReferenceMenu(pictures, use, title, side)
