"""Figures: what is on them, how large it is, and that no text runs into another."""

from __future__ import annotations

import io
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from coursekit.core import show
from coursekit.core.errors import ImageError, SettingError
from coursekit.core.estimates import Estimate
from coursekit.core.optimise import PixelResult, coarse_to_fine, optimise_pixels
from coursekit.core.timeline import Timeline

LABEL = "weights VGG-16 ImageNet · data chelsea · steps 200 · preset quick · seed 0"


def picture(height: int = 24, width: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def optimised(snapshots: int = 4, steps: int = 12) -> PixelResult:
    return optimise_pixels(
        lambda x: {"content": (x - 0.5).square().sum(), "tv": x.diff(dim=3).square().sum()},
        picture(),
        steps=steps,
        method="adam",
        snapshots=snapshots,
        progress=False,
    )


def texts(figure: Figure) -> list:
    found = [axis.title for axis in figure.axes if axis.get_title()]
    found += [axis.yaxis.label for axis in figure.axes if axis.get_ylabel()]
    found += [axis.xaxis.label for axis in figure.axes if axis.get_xlabel()]
    above = (figure._suptitle, figure._supxlabel, figure._supylabel)
    return found + [text for text in above if text is not None and text.get_text()]


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.images]


def assert_well_laid_out(figure: Figure) -> None:
    """Draw it; every text lies on the paper and touches neither another text nor a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    paper = figure.bbox
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= paper.x1 + 1, text
        assert box.y1 <= paper.y1 + 1, text
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (first, second)
    for axis in figure.axes:
        for image in axis.images:
            extent = image.get_window_extent(renderer).padded(-2)
            assert not [text for text, box in boxes if box.overlaps(extent)]
    assert figure.get_figwidth() <= 15


def picture_heights(figure: Figure) -> list[float]:
    """Inches that each picture takes, after the layout was computed."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        image.get_window_extent(canvas.get_renderer()) for a in figure.axes for image in a.images
    ]
    return [box.height / figure.dpi for box in boxes]


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 13])
@pytest.mark.parametrize("shape", [(24, 24), (20, 50), (50, 20)])
def test_rows_of_pictures(count: int, shape: tuple[int, int]) -> None:
    pictures = [picture(*shape, seed=seed) for seed in range(count)]
    names = [f"picture {index}" for index in range(count)]
    figure = show.images(pictures, names, label=LABEL, heading="Many pictures")
    assert titles(figure) == names
    assert len(shown(figure)) == count
    for found, expected in zip(shown(figure), pictures, strict=True):
        np.testing.assert_allclose(found, expected[0].permute(1, 2, 0) * 255, atol=0.51)
    assert figure._suptitle.get_text().split() == ["Many", "pictures"]
    assert figure._supxlabel.get_text().replace("\n", " ") == LABEL
    assert_well_laid_out(figure)
    heights = picture_heights(figure)
    assert max(heights) - min(heights) < 0.02
    assert min(heights) > 0.8


def test_pictures_have_the_size_asked_for_when_there_is_room() -> None:
    for heading, label in ((None, None), ("Heading", LABEL)):
        figure = show.images([picture()] * 3, list("abc"), size=2.0, heading=heading, label=label)
        assert picture_heights(figure) == pytest.approx([2.0] * 3, abs=0.12)


@pytest.mark.parametrize("shapes", [[(30, 40), (40, 30), (20, 20)], [(200, 300), (200, 320)]])
@pytest.mark.parametrize("title", ["a", "a title that takes more than one line under a picture"])
def test_mixed_shapes_have_the_same_height(shapes: list[tuple[int, int]], title: str) -> None:
    names = [title, *"bc"][: len(shapes)]
    figure = show.images([picture(*shape) for shape in shapes], names, label=LABEL)
    assert_well_laid_out(figure)
    heights = picture_heights(figure)
    assert max(heights) < 1.002 * min(heights)


def test_long_titles_and_labels_are_wrapped() -> None:
    long = "a title that is longer than its picture is wide"
    figure = show.images([picture()] * 4, [long] * 4, label=LABEL * 3, heading=long * 2, size=1.5)
    assert_well_laid_out(figure)
    assert [title.replace("\n", " ") for title in titles(figure)] == [long] * 4
    narrow = show.images([picture(40, 10)], label=LABEL)
    assert_well_laid_out(narrow)


def test_columns() -> None:
    figure = show.images(picture().repeat(5, 1, 1, 1), columns=2)
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (3, 2)
    assert len(shown(figure)) == 5


def test_every_kind_of_picture() -> None:
    array = np.linspace(0, 255, 16 * 16 * 3).astype(np.uint8).reshape(16, 16, 3)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    kinds = [array, array / 255, Image.fromarray(array), tensor, tensor / 255, (tensor / 255)[None]]
    for found in shown(show.images(kinds)):
        np.testing.assert_array_equal(found, array)
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert shown(show.images([clear]))[0].min() == 255  # transparent is white, not black


def test_grey_is_not_stretched_to_full_contrast() -> None:
    dull = np.full((8, 8), 0.5)
    dull[0, 0] = 0.51
    found = shown(show.images([dull, torch.from_numpy(dull)[None]]))
    assert all(
        each.min() >= 126 and each.max() <= 131 and each.shape == (8, 8, 3) for each in found
    )


@pytest.mark.parametrize(
    ("pictures", "settings", "error"),
    [
        ([], {}, SettingError),
        ([picture()], {"titles": ["a", "b"]}, SettingError),
        ([picture()] * 2, {"titles": []}, SettingError),
        ([picture()], {"columns": -1}, SettingError),
        ([picture()], {"columns": 0}, SettingError),
        ([torch.full((3, 4, 4), math.nan)], {}, ImageError),
        ([torch.zeros(2, 3, 4, 4)], {}, ImageError),
        ([np.zeros((3, 8, 9))], {}, ImageError),
    ],
)
def test_images_errors(pictures, settings, error) -> None:
    with pytest.raises(error):
        show.images(pictures, **settings)


def test_before_after() -> None:
    figure = show.before_after(picture(), picture(seed=1), label=LABEL)
    assert titles(figure) == ["before", "after"]
    assert_well_laid_out(figure)
    assert titles(show.before_after(picture(), picture(), ("x", "y"))) == ["x", "y"]


# --- sweep ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 24), (20, 45), (45, 20)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 5), (5, 4), (1, 9)])
def test_sweep(rows: int, columns: int, shape: tuple[int, int]) -> None:
    grid = [[picture(*shape, seed=10 * i + j) for j in range(columns)] for i in range(rows)]
    figure = show.sweep(
        grid,
        [f"relu{i + 1}_1" for i in range(rows)],
        [10.0**-j for j in range(columns)],
        row_name="layers",
        column_name="α/β",
        label=LABEL,
    )
    assert len(figure.axes) == rows * columns
    assert titles(figure) == [str(10.0**-j) for j in range(columns)]
    assert [a.get_ylabel() for a in figure.axes if a.get_ylabel()] == [
        f"relu{i + 1}_1" for i in range(rows)
    ]
    for index, found in enumerate(shown(figure)):
        expected = grid[index // columns][index % columns][0].permute(1, 2, 0) * 255
        np.testing.assert_allclose(found, expected, atol=0.51)
    assert_well_laid_out(figure)
    heights = picture_heights(figure)
    assert max(heights) - min(heights) < 0.02


@pytest.mark.parametrize(
    ("grid", "rows", "columns"),
    [
        ([], [], []),
        ([[]], ["a"], []),
        ([[picture()]], ["a", "b"], ["c"]),
        ([[picture()]], ["a"], ["c", "d"]),
        ([[picture()] * 2, [picture()]], ["a", "b"], ["c", "d"]),
    ],
)
def test_sweep_errors(grid, rows, columns) -> None:
    with pytest.raises(SettingError):
        show.sweep(grid, rows, columns)


# --- curves and convergence -----------------------------------------------------------------------


def test_curves() -> None:
    figure = show.curves(
        {"adam": [3.0, 2.0, 1.0], "sgd": ([10, 20], [5.0, 4.0])},
        "seconds",
        "total loss",
        log=True,
        label=LABEL,
        heading="Two methods",
    )
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axis.get_lines()}
    assert lines == {"adam": [[1, 3], [2, 2], [3, 1]], "sgd": [[10, 5], [20, 4]]}
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == (
        "seconds",
        "total loss",
        "log",
    )
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["adam", "sgd"]
    assert_well_laid_out(figure)
    assert show.curves({"one": [1.0, 2.0]}).axes[0].get_legend() is None


def test_curves_errors() -> None:
    with pytest.raises(SettingError, match="no lines"):
        show.curves({})
    with pytest.raises(SettingError, match=r"'adam'.*2 x values and 3 y values"):
        show.curves({"adam": ([1, 2], [1.0, 2.0, 3.0])})


@pytest.mark.parametrize("snapshots", [1, 2, 4, 8])
def test_convergence(snapshots: int) -> None:
    result = optimised(snapshots)
    figure = show.convergence(result, label=LABEL, heading="On the way")
    assert titles(figure) == [f"step {step}" for step, _ in result.snapshots]
    assert len(shown(figure)) == snapshots
    lines = {line.get_label(): line for line in figure.axes[-1].get_lines()}
    for term in ("total", "content", "tv"):
        np.testing.assert_allclose(lines[term].get_xdata(), range(1, 13))
        np.testing.assert_allclose(lines[term].get_ydata(), result.curve(term))
    assert figure.axes[-1].get_yscale() == "log"
    assert_well_laid_out(figure)


def test_convergence_of_one_term_draws_one_line_and_negative_losses_are_linear() -> None:
    result = optimise_pixels(
        lambda x: -x.mean(), picture(), steps=4, snapshots=2, method="adam", progress=False
    )
    axis = show.convergence(result).axes[-1]
    assert axis.get_legend() is None
    assert [line for line in axis.get_lines() if not line.get_label().startswith("_")] == [
        axis.get_lines()[0]
    ]
    assert axis.get_yscale() == "linear"


def test_convergence_through_several_sizes() -> None:
    def make(size: int):
        extra = {} if size == 8 else {"tv": torch.tensor(1.0)}
        return lambda x: {"grey": (x - 0.5).square().sum(), **extra}

    result = coarse_to_fine(make, picture(), (8, 24), 5, method="adam", snapshots=3, progress=False)
    figure = show.convergence(result, label=LABEL)
    assert len(titles(figure)) == 6
    heights = picture_heights(figure)
    assert max(heights) - min(heights) < 0.02


def test_convergence_without_snapshots() -> None:
    with pytest.raises(SettingError, match="snapshots=6"):
        show.convergence(optimised(snapshots=0))


# --- Trainings ------------------------------------------------------------------------------------


HISTORY = [
    {"step": 10, "seconds": 1.0, "d_loss": 1.4, "g_loss": 0.7},
    {"step": 20, "seconds": 2.0, "d_loss": 1.1, "g_loss": -0.9, "penalty": 0.1},
    {"step": 25, "seconds": 2.5, "d_loss": 0.8, "g_loss": 1.2, "penalty": 0.2},
]


def test_tiles_are_the_pictures_with_white_gaps() -> None:
    pictures = torch.rand(5, 3, 6, 4)
    sheet = show.tile(pictures, columns=3)
    assert sheet.shape == (3, 2 + 2 * (6 + 2), 2 + 3 * (4 + 2))
    for index, each in enumerate(pictures):
        top, left = 2 + 8 * (index // 3), 2 + 6 * (index % 3)
        assert torch.equal(sheet[:, top : top + 6, left : left + 4], each)
    assert bool((sheet[:, :2] == 1).all()) and bool((sheet[:, :, :2] == 1).all())
    assert show.tile(torch.rand(2, 1, 6, 4)).shape == (3, 10, 14)


@pytest.mark.parametrize("count", [1, 3, 16, 40])
def test_a_training_shows_samples_over_its_terms(count: int) -> None:
    pictures = torch.rand(count, 3, 16, 16)
    figure = show.training(pictures, HISTORY, heading="step 25", label=LABEL)
    samples, axis = figure.axes
    np.testing.assert_allclose(
        np.asarray(samples.images[0].get_array()),
        show.tile(pictures).permute(1, 2, 0) * 255,
        atol=0.51,
    )
    lines = {line.get_label(): line.get_xydata() for line in axis.get_lines()}
    assert list(lines) == ["d_loss", "g_loss", "penalty"]
    assert lines["g_loss"].tolist() == [[10, 0.7], [20, -0.9], [25, 1.2]]
    assert math.isnan(lines["penalty"][0, 1])
    assert lines["penalty"][1:].tolist() == [[20, 0.1], [25, 0.2]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(lines)
    assert_well_laid_out(figure)


def test_the_legend_of_a_training_lies_above_the_curves() -> None:
    figure = show.training(torch.rand(4, 3, 16, 16), HISTORY)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axis = figure.axes[1]
    legend = axis.get_legend().get_window_extent(canvas.get_renderer())
    assert legend.y0 >= axis.get_window_extent(canvas.get_renderer()).y1 - 1


@pytest.mark.parametrize("zero", [False, True])
def test_a_line_at_zero_for_differences(zero: bool) -> None:
    figure = show.estimates({"a": {"d": Estimate("d", 2.0, (1.0, 3.0), 9)}}, zero=zero)
    (axis,) = figure.axes
    upright = [line for line in axis.get_lines() if list(line.get_xdata()) == [0, 0]]
    assert len(upright) == zero
    assert bool(axis.get_xlim()[0] <= 0) is zero


def test_a_training_that_has_not_begun() -> None:
    figure = show.training(torch.rand(4, 1, 8, 8), [], heading="step 0")
    assert not figure.axes[1].get_lines()
    assert figure.axes[1].get_legend() is None
    assert_well_laid_out(figure)


def film(frames: int, count: int = 16) -> Timeline:
    made = Timeline(about="DCGAN, 20 greys")
    for index in range(frames):
        made.add(1000 * index, torch.full((count, 3, 16, 16), index / 10), {})
    return made


@pytest.mark.parametrize(
    ("frames", "steps"),
    [(9, ["0", "3,000", "5,000", "8,000"]), (3, ["0", "1,000", "2,000"]), (1, ["0"])],
)
@pytest.mark.parametrize("pictures", [4, 16])
def test_a_timeline_at_a_glance(frames: int, steps: list[str], pictures: int) -> None:
    figure = show.timeline(film(frames, pictures))
    assert titles(figure) == [f"step {step}" for step in steps]
    for found, step in zip(shown(figure), steps, strict=True):
        grey = 25.5 * int(step.replace(",", "")) / 1000
        assert abs(float(found[8:12, 8:12].mean()) - grey) < 6  # JPEG
    assert figure._supxlabel.get_text() == "DCGAN, 20 greys"
    assert_well_laid_out(figure)


def test_a_timeline_of_more_frames_and_with_a_label() -> None:
    figure = show.timeline(film(9), 6, label=LABEL)
    assert len(titles(figure)) == 6
    assert figure._supxlabel.get_text().replace("\n", " ") == LABEL
    with pytest.raises(SettingError, match="timeline is empty"):
        show.timeline(Timeline())


# --- In a notebook --------------------------------------------------------------------------------


def test_figures_leave_no_pyplot_state_and_can_be_saved() -> None:
    before = plt.get_fignums()
    buffer = io.BytesIO()
    show.images([picture()], ["one"], label=LABEL).savefig(buffer, format="jpeg")
    assert plt.get_fignums() == before
    buffer.seek(0)
    with Image.open(buffer) as saved:
        assert saved.format == "JPEG"
        assert np.asarray(saved).std() > 10
