"""Label maps, regions and drawings of any size: topics 10 and 14 and what judges them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from property_inputs import NO_FLOATS, NO_NUMBERS, SEEDS, bad_shapes, pictures, random, refused
from torch import Tensor

from coursekit import pix2pix_measure
from coursekit.canvas import Raster
from coursekit.core.errors import CourseError, SettingError, ShapeError
from coursekit.core.segmenter import confusion, ious, score
from coursekit.datasets.colour_labels import labels_of, palette_of
from coursekit.datasets.faces_factors import FACTORS, change, sample_factors
from coursekit.spade_networks import one_hot, resize_labels

pytestmark = pytest.mark.properties

SIDES = st.integers(1, 7)
# Far enough from each other that no noise of a JPEG file could make one of another.
COLOURS = ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 200, 0), (0, 0, 255), (120, 120, 120))


def whole(shape: tuple[int, ...], classes: int, seed: int) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def noise(shape: torch.Size) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@st.composite
def label_maps(draw, classes: int = 5) -> Tensor:
    """Maps (N, H, W): of all classes, of one, of one with a single pixel of another."""
    shape = (draw(st.integers(1, 3)), draw(SIDES), draw(SIDES))
    kind, found = draw(st.sampled_from(("all", "one", "pixel"))), whole(shape, classes, draw(SEEDS))
    if kind == "all":
        return found
    alone = found[:1, :1, :1].expand(shape).clone()
    if kind == "pixel":
        alone[-1, -1, -1] = (alone[-1, -1, -1] + 1) % classes
    return alone


# --- Planes ---------------------------------------------------------------------------------------


@given(label_maps(), st.integers(5, 8))
def test_planes_say_which_class_every_pixel_is(labels: Tensor, classes: int) -> None:
    planes = one_hot(labels, classes)
    count, height, width = labels.shape
    assert planes.shape == (count, classes, height, width) and planes.dtype == torch.float32
    assert torch.equal(planes.argmax(1), labels)
    assert torch.equal(planes.sum(1), torch.ones(labels.shape))
    assert set(planes.unique().tolist()) <= {0.0, 1.0}


@given(label_maps(), st.integers(-2, 8), st.integers(-3, 9))
def test_classes_that_do_not_exist_are_refused(labels: Tensor, classes: int, value: int) -> None:
    labels[-1, -1, -1] = value
    if int(labels.min()) >= 0 and int(labels.max()) < classes:
        assert torch.equal(one_hot(labels, classes).argmax(1), labels)
    else:
        assert isinstance(refused(one_hot, labels, classes), SettingError)


@given(bad_shapes(3), st.sampled_from((*NO_FLOATS, torch.float32)))
def test_maps_of_another_shape_or_type_are_refused(shape: tuple[int, ...], kind) -> None:
    if len(shape) != 3:
        assert isinstance(refused(one_hot, torch.zeros(shape, dtype=torch.long), 3), ShapeError)
    if kind != torch.int64:
        assert isinstance(refused(one_hot, torch.zeros(1, 2, 2).to(kind), 3), ShapeError)


@given(label_maps(), SIDES, SIDES, st.integers(1, 4))
def test_resized_planes_mix_no_classes(labels: Tensor, height: int, width: int, times: int) -> None:
    planes = one_hot(labels, 5)
    found = resize_labels(planes, (height, width))
    assert found.shape == (len(labels), 5, height, width)
    assert torch.equal(found.sum(1), torch.ones(len(labels), height, width))
    assert set(found.argmax(1).unique().tolist()) <= set(labels.unique().tolist())
    larger = resize_labels(planes, (times * labels.shape[1], times * labels.shape[2]))
    assert torch.equal(larger[..., ::times, ::times], planes)
    assert isinstance(refused(resize_labels, planes, (height, 0)), CourseError)


# --- Colours of classes ---------------------------------------------------------------------------


@given(label_maps(), st.permutations(COLOURS), SEEDS)
def test_labels_in_colours_are_read_back_through_noise(labels: Tensor, colours, seed) -> None:
    table = torch.tensor(colours[:5], dtype=torch.int64)
    painted = table[labels].movedim(-1, 1)
    assert torch.equal(labels_of(painted.byte(), colours[:5]), labels.byte())
    noisy = (painted + 6 * random(painted.shape, seed)).round().clamp(0, 255).byte()
    assert torch.equal(labels_of(noisy, colours[:5]), labels.byte())
    found = palette_of(painted.byte(), 6)
    there = [colours[index] for index in labels.unique().tolist()]
    assert sorted(found) == sorted(there)
    counts = [int((labels == colours.index(each)).sum()) for each in found]
    assert counts == sorted(counts, reverse=True)


@given(pictures(), st.integers(-1, 4))
def test_a_palette_has_at_most_so_many_colours_far_apart(images: Tensor, classes: int) -> None:
    coloured = (images * 255).byte()
    if classes < 1:
        assert isinstance(refused(palette_of, coloured, classes), SettingError)
        return
    # Like the picture's first colour, and yet another in every pixel.
    shades = (images[:, :, :1, :1] * 200 + 55 * noise(images.shape)).byte()
    for each in (coloured, shades):
        found = palette_of(each, classes)
        assert 1 <= len(found) <= classes and all(0 <= c <= 255 for rgb in found for c in rgb)
        read = labels_of(each, found)
        assert read.shape == (len(images), *images.shape[2:]) and int(read.max()) < len(found)
        for first, second in itertools.combinations(found, 2):
            assert math.dist(first, second) >= 39


@given(
    bad_shapes(),
    st.lists(st.lists(st.sampled_from((-1, 0, 256, math.nan)), max_size=4), max_size=2),
)
def test_colours_that_are_none_are_refused(shape: tuple[int, ...], palette) -> None:
    assert isinstance(refused(labels_of, torch.zeros(shape).byte(), COLOURS), ShapeError)
    assert isinstance(refused(palette_of, torch.zeros(shape).byte(), 3), ShapeError)
    assert isinstance(refused(labels_of, torch.zeros(1, 3, 2, 2), COLOURS), ShapeError)
    if not palette or any(len(each) != 3 or set(each) != {0} for each in palette):
        assert isinstance(refused(labels_of, torch.zeros(1, 3, 2, 2).byte(), palette), SettingError)


# --- Scores ---------------------------------------------------------------------------------------


@given(label_maps(4), SEEDS)
def test_confusion_counts_every_pixel_once(labels: Tensor, seed: int) -> None:
    predicted = whole(tuple(labels.shape), 4, seed)
    counts = confusion(predicted, labels, 4)
    assert counts.shape == (len(labels), 4, 4)
    assert torch.equal(counts.sum((0, 2)), labels.flatten().bincount(minlength=4)), "truth in rows"
    assert torch.equal(counts.sum(0), confusion(labels, predicted, 4).sum(0).T)
    assert int(counts.diagonal(dim1=1, dim2=2).sum()) == int((predicted == labels).sum())
    found = ious(counts.sum(0))
    known = found[~found.isnan()]
    assert bool(((known >= 0) & (known <= 1)).all())
    perfect = ious(confusion(labels, labels, 4).sum(0))
    present = torch.zeros(4, dtype=torch.bool)
    present[labels.unique()] = True
    assert torch.equal(perfect[present], torch.ones(int(present.sum())).double())
    assert bool(perfect[~present].isnan().all())


@given(label_maps(3), st.integers(-2, 6), st.sampled_from((torch.float32, torch.complex64)))
def test_predictions_that_are_none_are_not_counted(labels: Tensor, value: int, kind) -> None:
    wrong = labels.clone()
    wrong[0, 0, 0] = value
    if not 0 <= value < 3:
        assert isinstance(refused(confusion, wrong, labels, 3), ShapeError)
        assert isinstance(refused(confusion, labels, wrong, 3), ShapeError)
    assert isinstance(refused(confusion, labels.to(kind), labels, 3), ShapeError)
    assert isinstance(refused(confusion, labels[0], labels, 3), ShapeError)
    assert isinstance(refused(confusion, labels[:0], labels[:0], 3), ShapeError)
    assert isinstance(refused(score, labels[:1], labels[:1], ("a", "b", "c")), SettingError)


# --- Regions of a picture -------------------------------------------------------------------------


@given(pictures(sides=(1, 8)), SEEDS, st.booleans())
def test_measures_of_a_region_see_nothing_else(images: Tensor, seed: int, tiny: bool) -> None:
    region = whole((len(images), 1, *images.shape[2:]), 2, seed).bool()
    if tiny:
        region[:] = False
    region[..., 0, 0] = True
    other = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))
    changed = torch.where(region, images, other)
    for measure in (
        pix2pix_measure.colourfulness,
        pix2pix_measure.colour_spread,
        pix2pix_measure.sharpness,
    ):
        found = measure(images, region)
        assert found.shape == (len(images),) and bool(torch.isfinite(found).all())
        assert found.min() >= 0
        torch.testing.assert_close(measure(changed, region), found, atol=1e-3, rtol=1e-4)
    assert not pix2pix_measure.l1(images, changed, region).any()
    whole_picture = torch.ones_like(region)
    torch.testing.assert_close(
        pix2pix_measure.l1(images, other, whole_picture), pix2pix_measure.l1(images, other)
    )
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert pix2pix_measure.colourfulness(grey).max() < 1e-3


@given(pictures(sides=(1, 5)), bad_shapes())
def test_regions_without_a_pixel_are_refused(images: Tensor, shape: tuple[int, ...]) -> None:
    empty = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    for measure in (
        pix2pix_measure.colourfulness,
        pix2pix_measure.colour_spread,
        pix2pix_measure.sharpness,
    ):
        assert isinstance(refused(measure, images, empty), ShapeError)
        assert isinstance(refused(measure, images, torch.ones(shape).bool()), ShapeError)
        refused(measure, torch.ones(shape))
    assert isinstance(refused(pix2pix_measure.l1, images, images[:, :2]), ShapeError)


@given(pictures(batch=(1, 4)), st.integers(1, 4))
def test_a_known_drawing_is_its_own_nearest_neighbour(images: Tensor, times: int) -> None:
    known = torch.cat([images] * times)
    found = pix2pix_measure.nearest_neighbour(known, images)
    small = [
        torch.nn.functional.adaptive_avg_pool2d(each, min(16, *images.shape[2:]))
        for each in (known[found], images)
    ]
    torch.testing.assert_close(small[0], small[1], atol=1e-3, rtol=0)
    other = torch.zeros(1, 3, images.shape[2] + 1, images.shape[3])
    assert isinstance(refused(pix2pix_measure.nearest_neighbour, known, other), ShapeError)


# --- Drawing --------------------------------------------------------------------------------------

PLACES = st.floats(-20, 40) | st.sampled_from((1e9, -1e9))
STROKES = st.tuples(
    st.lists(st.tuples(PLACES, PLACES), min_size=1, max_size=4),
    st.integers(0, 9),
    st.floats(0.1, 30),
)


@given(st.integers(1, 16), st.booleans(), st.lists(STROKES, max_size=4), st.integers(0, 9))
def test_what_is_drawn_can_be_undone(size: int, smooth: bool, strokes, background: int) -> None:
    raster = Raster(size, background=background, smooth=smooth, highest=9)
    seen = [raster.values]
    for points, value, width in strokes:
        raster.remember()
        left, top, right, bottom = raster.stroke(points, value, width)
        side = len(raster.fine)
        assert 0 <= left <= side and 0 <= bottom <= side
        outside = np.ones((side, side), dtype=bool)
        outside[top:bottom, left:right] = False
        assert np.array_equal(raster.fine[outside], raster._past[-1][outside])
        seen.append(raster.values)
        assert raster.values.shape == (size, size) and raster.values.max() <= 9
    for before in reversed(seen[:-1]):
        assert raster.undo()
        assert np.array_equal(raster.values, before)
    assert not raster.undo()
    raster.clear()
    assert (raster.values == background).all()


@given(st.integers(1, 12), SEEDS, st.tuples(PLACES, PLACES), st.integers(0, 9))
def test_filling_twice_is_filling_once(size: int, seed: int, point, value: int) -> None:
    raster = Raster(size, highest=9)
    drawing = whole((size, size), 3, seed).numpy()
    raster.load(drawing)
    assert np.array_equal(raster.values, drawing)
    raster.fill(point, value)
    once = raster.values
    raster.fill(point, value)
    assert np.array_equal(raster.values, once)
    changed = once != drawing
    assert (once[changed] == value).all() and len(set(drawing[changed].tolist())) <= 1
    if 0 <= point[0] < size and 0 <= point[1] < size:
        assert once[int(point[1]), int(point[0])] == value
    else:
        assert not changed.any()


@given(
    st.sampled_from(NO_NUMBERS),
    st.sampled_from((-1, 10, 256, 0.5, math.nan)),
    st.sampled_from((0.0, -1.0, math.nan)),
    st.sampled_from(([], [(1, 2, 3)], [(1,)], [(1, 2), (3,)], [1, 2, 3], [("a", "b")])),
    st.integers(-2, 0),
)
def test_strokes_that_cannot_be_drawn_are_refused(place, value, width, points, size) -> None:
    raster = Raster(4, highest=9)
    good = [(1.0, 2.0)]
    assert isinstance(refused(raster.stroke, [(place, 1.0)], 1, 2), SettingError)
    assert isinstance(refused(raster.stroke, good, value, 2), SettingError)
    assert isinstance(refused(raster.stroke, good, 1, width), SettingError)
    assert isinstance(refused(raster.stroke, points, 1, 2), SettingError)
    assert isinstance(refused(raster.fill, (1.0, place), 1), SettingError)
    assert isinstance(refused(raster.fill, (1.0, 1.0), value), SettingError)
    assert isinstance(refused(Raster, size), SettingError)
    assert isinstance(refused(Raster, 4, background=10, highest=9), SettingError)
    assert (raster.values == 0).all(), "a refused stroke left something behind"


# --- Known factors --------------------------------------------------------------------------------


@given(st.integers(-1, 6), SEEDS, st.sampled_from(sorted(FACTORS)), st.floats(-2, 8, width=32))
def test_factors_are_in_range_and_fixing_one_leaves_the_others(
    count: int, seed: int, name: str, value: float
) -> None:
    if count < 1:
        assert isinstance(refused(sample_factors, count, seed=seed), SettingError)
        return
    drawn, (low, high) = sample_factors(count, seed=seed), FACTORS[name].range
    for each, factor in FACTORS.items():
        assert drawn[each].shape == (count,)
        assert factor.range[0] <= drawn[each].min() and drawn[each].max() <= factor.range[1]
    inside = low <= value <= high and (not FACTORS[name].values or value == round(value))
    if not inside:
        assume(not low - 1e-5 <= value <= high + 1e-5 or FACTORS[name].values)
        assert isinstance(refused(change, drawn, **{name: value}), SettingError)
        assert isinstance(refused(sample_factors, count, seed=seed, **{name: value}), SettingError)
        return
    fixed = sample_factors(count, seed=seed, **{name: value})
    for each, values in change(drawn, **{name: value}).items():
        assert torch.equal(values, fixed[each])
        assert each == name or torch.equal(values, drawn[each])


@given(st.integers(2, 8), st.integers(1, 7), SEEDS)
def test_the_first_faces_do_not_depend_on_how_many_are_drawn(many: int, few: int, seed) -> None:
    assume(few < many)
    longer, shorter = (sample_factors(count, seed=seed) for count in (many, few))
    assert all(torch.equal(longer[name][:few], shorter[name]) for name in FACTORS)
