"""Things to move in a notebook: a slider over pictures made beforehand, a live preview, a canvas.

The drawing canvases `sketch` and `label_painter` are in `coursekit.widgets_canvas`, what stands
beside them in `coursekit.widgets_answer` (`draw_and_see`) and `coursekit.widgets_choices`
(`drawing_menu`, `reference_menu`); they are imported when they are first used.
"""

from __future__ import annotations

import importlib
import io
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.core.images import resize, to_pil
from coursekit.core.timeline import Timeline, of_topic

if TYPE_CHECKING:
    import ipywidgets

    from coursekit.core import training
    from coursekit.widgets_answer import draw_and_see
    from coursekit.widgets_canvas import label_painter, sketch
    from coursekit.widgets_choices import drawing_menu, reference_menu

__all__ = [
    "draw_and_see",
    "drawing_menu",
    "label_painter",
    "live_preview",
    "live_training",
    "picture_slider",
    "real_sides",
    "reference_menu",
    "replay",
    "sketch",
    "which_is_real",
]

Callback = Callable[[int, Tensor, dict[str, float]], None]
_CANVASES = dict.fromkeys(("sketch", "label_painter"), "coursekit.widgets_canvas")
_MENUS = dict.fromkeys(("drawing_menu", "reference_menu"), "coursekit.widgets_choices")
_LATER = _CANVASES | _MENUS | {"draw_and_see": "coursekit.widgets_answer"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def picture_slider(
    pictures: Sequence[Tensor],
    labels: Sequence[object],
    name: str = "",
    *,
    start: int = 0,
    height: int = 320,
) -> ipywidgets.VBox:
    """A slider that leafs through pictures (1, 3, H, W) in [0, 1], one label a picture.

    Nothing is computed while it moves, so that it follows the hand on any machine. Put a static
    figure of the same pictures beside it, for those who read without a kernel.

    Args:
        pictures: what to leaf through.
        labels: shown beside the slider.
        name: what the slider changes, such as ``"β/α"``.
        start: the picture to begin with.
        height: in pixels on the screen.

    Raises:
        SettingError: no pictures, another number of labels, or ``start`` beyond the last one.
    """
    import ipywidgets

    if not pictures or len(pictures) != len(labels) or not 0 <= start < len(pictures):
        raise SettingError(
            f"{len(pictures)} pictures, {len(labels)} labels, start={start}: give one label a "
            "picture and begin with one of them."
        )
    files = [_jpeg(picture, height) for picture in pictures]
    options = [(str(label), index) for index, label in enumerate(labels)]
    slider = ipywidgets.SelectionSlider(
        options=options,
        value=start,
        description=name,
        continuous_update=True,
        layout=ipywidgets.Layout(width="420px"),
    )
    image = ipywidgets.Image(value=files[start], format="jpeg", height=height)
    slider.observe(lambda change: setattr(image, "value", files[change["new"]]), names="value")
    return ipywidgets.VBox([slider, image])


def which_is_real(
    pairs: Sequence[tuple[str, Tensor, Tensor]], *, seed: int = 0, height: int = 240
) -> ipywidgets.VBox:
    """A quiz: two pictures side by side, one real, one made; click on the real one.

    Args:
        pairs: (title, real, made), images (1, 3, H, W) in [0, 1].
        seed: which side the real one is on (`real_sides`).
        height: of a picture in pixels on the screen.

    Raises:
        SettingError: no pairs.
    """
    import ipywidgets

    sides = real_sides(len(pairs), seed)
    pictures = [ipywidgets.Image(format="jpeg", height=height) for _ in range(2)]
    buttons = [ipywidgets.Button(description="This one is real") for _ in range(2)]
    said = ipywidgets.HTML()
    state = {"pair": 0, "right": 0}

    def show_pair() -> None:
        title, real, made = pairs[state["pair"]]
        both = (real, made) if sides[state["pair"]] == 0 else (made, real)
        for picture, image in zip(pictures, both, strict=True):
            picture.value = _jpeg(image, height)
        said.value += f"<br>{state['pair'] + 1} of {len(pairs)}: {title}"

    def answer(side: int) -> None:
        right = side == sides[state["pair"]]
        state["right"] += right
        state["pair"] += 1
        said.value = "<b>Right.</b>" if right else "<b>No: that one was made.</b>"
        if state["pair"] < len(pairs):
            show_pair()
            return
        for button in buttons:
            button.disabled = True
        said.value += f"<br>You found {state['right']} of {len(pairs)} real ones."

    for side, button in enumerate(buttons):
        button.on_click(lambda _, side=side: answer(side))
    show_pair()
    columns = [ipywidgets.VBox(each) for each in zip(pictures, buttons, strict=True)]
    return ipywidgets.VBox([ipywidgets.HBox(columns), said])


def real_sides(count: int, seed: int = 0) -> list[int]:
    """For each pair of a quiz the side of the real picture: 0 is left, 1 is right.

    Raises:
        SettingError: no pairs.
    """
    if count < 1:
        raise SettingError("A quiz needs at least one pair of pictures.")
    return [random.Random(f"{seed}-{index}").randrange(2) for index in range(count)]


def _jpeg(picture: Tensor, height: int) -> bytes:
    buffer, shown = io.BytesIO(), picture.detach().cpu()
    shown = shown if shown.dim() == 4 else shown[None]
    if shown.shape[-2] != height:
        width = max(round(shown.shape[-1] * height / shown.shape[-2]), 1)
        shown = resize(shown.clamp(0, 1), (height, width))
    to_pil(shown).save(buffer, "jpeg", quality=88)
    return buffer.getvalue()


def live_preview(every: float = 1.0, height: int = 240) -> Callback:
    """A callback for `optimise_pixels` that redraws one picture in the output while it works.

    Args:
        every: seconds between two pictures.
        height: in pixels on the screen.
    """
    from IPython import display

    handle = display.DisplayHandle()
    shown = [0.0]

    def preview(step: int, image: Tensor, entry: dict[str, float]) -> None:
        if shown[0] and time.perf_counter() - shown[0] < every:
            return
        picture = display.Image(_jpeg(image[:1], height), format="jpeg")
        (handle.update if shown[0] else handle.display)(picture)
        shown[0] = time.perf_counter()

    return preview


def live_training(every: float = 2.0) -> training.Callback:
    """A callback for `core.training.run` that redraws one figure: the samples and the losses.

    Args:
        every: at least so many seconds between two drawings.
    """
    from IPython import display

    from coursekit.core import show

    handle = display.DisplayHandle()
    shown = [0.0]

    def draw(step: int, pictures: Tensor, history: list[dict[str, float]]) -> None:
        if shown[0] and time.perf_counter() - shown[0] < every:
            return
        figure, buffer = show.training(pictures, history, heading=f"step {step:,}"), io.BytesIO()
        figure.savefig(buffer, format="jpeg", dpi=80, pil_kwargs={"quality": 80})
        picture = display.Image(buffer.getvalue(), format="jpeg")
        (handle.update if shown[0] else handle.display)(picture)
        shown[0] = time.perf_counter()

    return draw


def replay(topic: str | Timeline, name: str = "course", *, height: int = 200) -> ipywidgets.VBox:
    """Play a training back with a slider: samples and losses, without training anything.

    Args:
        topic: a topic whose course checkpoint was trained with a timeline, such as ``"dcgan"``;
            or a timeline of your own, ``result.timeline``.
        name: of the checkpoint.
        height: of the pictures in pixels on the screen.

    Raises:
        DataError: the topic has no timeline.
        SettingError: the timeline is empty.
    """
    timeline = of_topic(topic, name) if isinstance(topic, str) else topic
    labels = [
        "  ".join([f"step {step:,}", *(f"{name} {value:.3g}" for name, value in terms.items())])
        for step, _, terms in timeline.frames
    ]
    start = max(len(timeline) - 1, 0)
    return picture_slider(timeline.pictures(), labels, "training", start=start, height=height)
