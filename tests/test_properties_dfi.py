"""Topic 06 for any vectors, faces and K; alignment; and the optimisation of pixels under it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from property_inputs import NO_NUMBERS, SEEDS, SHARES, bad_shapes, pictures, random, refused
from torch import Tensor

from coursekit import dfi, dfi_align
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.optimise import LEARNING_RATES, coarse_to_fine, optimise_pixels
from coursekit.dfi_identity import cosine_margin_loss, mixed_loss

pytestmark = pytest.mark.properties

METHODS = st.sampled_from(sorted(LEARNING_RATES))


def flat(images: Tensor) -> Tensor:
    """A space φ without a network: the pixels themselves."""
    return images.flatten(1)


# --- Step 2: the k nearest ------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 6), st.integers(-1, 11), SEEDS, st.floats(0.1, 10))
def test_the_nearest_are_k_different_ones_the_nearest_first(
    count: int, size: int, k: int, seed: int, factor: float
) -> None:
    query, collection = random((size,), seed), random((count, size), seed + 1)
    if not 1 <= k <= count:
        assert isinstance(refused(dfi.nearest, query, collection, k), SettingError)
        return
    found = dfi.nearest(query, collection, k)
    assert found.dtype == torch.int64 and len(set(found.tolist())) == k
    cosine = torch.cosine_similarity(collection, query[None], dim=1)
    chosen = cosine[found]
    assert bool((chosen.diff() <= 1e-6).all())
    others = cosine[[index for index in range(count) if index not in found.tolist()]]
    assert not len(others) or others.max() <= chosen.min() + 1e-6
    again = dfi.nearest(factor * query, 3 * collection, k)
    torch.testing.assert_close(cosine[again], chosen, atol=1e-5, rtol=0)
    whole = cosine[dfi.nearest(query, collection, count)]
    torch.testing.assert_close(whole[:k], chosen, atol=1e-5, rtol=0)


@given(st.integers(1, 6), st.integers(1, 4), SEEDS)
def test_a_member_is_its_own_nearest(count: int, size: int, seed: int) -> None:
    collection = random((count, size + 2), seed)
    for index, member in enumerate(collection):
        assert int(dfi.nearest(member, collection, 1)) == index


@given(bad_shapes(2), st.integers(1, 3))
def test_collections_that_are_none_have_no_nearest(shape: tuple[int, ...], k: int) -> None:
    refused(dfi.nearest, torch.ones(3), torch.ones(shape), k)
    if shape != (3,):
        refused(dfi.nearest, torch.ones(shape), torch.ones(4, 3), k)


# --- Step 3: the attribute vector, and strengths --------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_the_vector_from_a_set_to_itself_is_nothing(
    some: int, others: int, size: int, seed
) -> None:
    target, source = random((some, size), seed), random((others, size), seed + 1)
    vector = dfi.attribute_vector(target, source)
    torch.testing.assert_close(vector, -dfi.attribute_vector(source, target))
    assert not dfi.attribute_vector(target, target).any()
    torch.testing.assert_close(
        dfi.attribute_vector(target.repeat(3, 1), source.flip(0)), vector, atol=1e-5, rtol=1e-4
    )
    images = target[:, :, None, None], source[:, :, None, None]
    torch.testing.assert_close(
        dfi.vector_between(flat, images[1], images[0], batch=2), vector, atol=1e-5, rtol=1e-4
    )


@given(bad_shapes(2))
def test_sets_that_are_none_have_no_vector(shape: tuple[int, ...]) -> None:
    wrong, good = torch.ones(shape), torch.ones(2, 3)
    assert isinstance(refused(dfi.attribute_vector, wrong, wrong), ShapeError)
    assert isinstance(refused(dfi.attribute_vector, good, wrong), ShapeError)
    empty = torch.ones(0, 3, 2, 2)
    assert isinstance(refused(dfi.vector_between, flat, empty, torch.ones(1, 3, 2, 2)), ShapeError)


@given(
    st.integers(1, 4),
    st.integers(1, 6),
    SEEDS,
    st.floats(-2, 2, width=32),
    st.sampled_from(dfi.SCALINGS),
)
def test_strength_0_is_identity_and_the_way_is_straight(
    count: int, size: int, seed: int, beta: float, scaling: str
) -> None:
    features, vector = random((count, size), seed), random((size,), seed + 1)
    assert torch.equal(dfi.shift(features, vector, 0.0, scaling=scaling), features)
    full = dfi.shift(features, vector, 1.0, scaling=scaling) - features
    part = dfi.shift(features, vector, beta, scaling=scaling) - features
    scale = float(full.abs().max())
    torch.testing.assert_close(part, beta * full, atol=1e-4 * (1 + scale), rtol=1e-3)
    each = torch.full((count,), beta)
    torch.testing.assert_close(
        dfi.shift(features, vector.expand(count, -1), each, scaling=scaling), features + part
    )
    if scaling == "paper":  # a short vector goes as far: its length is divided out
        longer = dfi.shift(features, 2 * vector, 1.0, scaling=scaling) - features
        torch.testing.assert_close(2 * longer, full, atol=1e-4 * (1 + scale), rtol=1e-3)


@given(st.sampled_from(NO_NUMBERS), st.text("plainer", max_size=6), st.integers(2, 4))
def test_strengths_and_scalings_that_do_not_exist_are_refused(beta, scaling: str, count) -> None:
    assume(scaling not in dfi.SCALINGS)
    features, vector = torch.ones(count, 3), torch.ones(3)
    assert isinstance(refused(dfi.shift, features, vector, beta), SettingError)
    assert isinstance(refused(dfi.shift, features, vector, 1.0, scaling=scaling), SettingError)
    assert isinstance(refused(dfi.shift, features, vector[1:], 1.0), ShapeError)
    assert isinstance(refused(dfi.shift, features[:1], torch.ones(count, 3), 1.0), ShapeError)
    assert isinstance(refused(dfi.shift, features, vector, torch.ones(count + 1)), ShapeError)
    # There is no direction between two sets that are the same.
    assert isinstance(refused(dfi.shift, features, 0 * vector, 1.0, scaling="paper"), SettingError)


@given(pictures(), pictures(), st.floats(-2, 2))
def test_the_edit_of_pixels_is_a_picture(images: Tensor, others: Tensor, beta: float) -> None:
    size = images.shape[1:]
    source, target = others[..., :1, :1].expand(-1, *size), images
    sets = [(source, target)] * len(images)
    found = dfi.pixel_edit(images, sets, beta)
    assert found.shape == images.shape and found.min() >= 0 and found.max() <= 1
    assert torch.equal(dfi.pixel_edit(images, sets, 0.0), images)
    assert isinstance(refused(dfi.pixel_edit, images, sets[1:], beta), SettingError)


@given(st.lists(st.integers(1, 3), max_size=3), st.integers(-1, 6), SEEDS)
def test_points_on_a_line_are_evenly_spaced(shape: list[int], count: int, seed: int) -> None:
    first, last = random(shape, seed), random(shape, seed + 1)
    if count < 2:
        assert isinstance(refused(dfi.line, first, last, count), SettingError)
        return
    found = dfi.line(first, last, count)
    assert found.shape == (count, *shape)
    assert torch.equal(found[0], first) and torch.equal(found[-1], last)
    steps = found.diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=1e-5, rtol=1e-3)


# --- Step 4: losses and pixels --------------------------------------------------------------------


@given(pictures(sides=(2, 5)), SEEDS, SHARES, st.floats(0, 3))
def test_the_mixed_loss_goes_from_one_term_to_the_other(images, seed: int, share, weight) -> None:
    features, target = flat(images), random((len(images), images[0].numel()), seed)
    vectors, wanted = random((len(images), 4), seed + 1), random((len(images), 4), seed + 2)
    ends = [mixed_loss(features, target, vectors, wanted, end) for end in (0.0, 1.0)]
    found = mixed_loss(features, target, vectors, wanted, share)
    torch.testing.assert_close(found, (1 - share) * ends[0] + share * ends[1])
    assert min(ends) >= 0 and ends[1] <= 2 + 1e-6
    assert float(mixed_loss(features, features, vectors, 3 * vectors, share)) < 1e-5
    terms = dfi.reconstruction_loss(features, target, images, tv_weight=weight)
    assert min(terms.values()) >= 0
    torch.testing.assert_close(terms["features"], ends[0])
    wrong = target[:, 1:]
    assert isinstance(refused(mixed_loss, features, wrong, vectors, wanted, share), ShapeError)
    assert isinstance(refused(dfi.reconstruction_loss, features, wrong, images), ShapeError)


@given(st.integers(1, 5), st.integers(2, 4), st.integers(1, 5), SEEDS, st.floats(0.1, 5))
def test_a_margin_makes_the_right_person_harder(
    count: int, size: int, people: int, seed: int, factor: float
) -> None:
    embeddings, centres = random((count, size), seed), random((people, size), seed + 1)
    labels = torch.arange(count) % people
    plain = cosine_margin_loss(embeddings, centres, labels, margin=0.0)
    harder = cosine_margin_loss(embeddings, centres, labels, margin=0.3)
    assert 0 <= plain <= harder + 1e-5
    scaled = cosine_margin_loss(factor * embeddings, 2 * centres, labels, margin=0.0)
    torch.testing.assert_close(scaled, plain, atol=1e-4, rtol=1e-3)
    for wrong in (labels + people, labels - people, labels[1:]):
        refused(cosine_margin_loss, embeddings, centres, wrong)


@given(pictures(sides=(1, 5)), SEEDS, METHODS, st.integers(1, 12), st.integers(0, 4))
def test_an_optimisation_never_ends_worse_nor_out_of_bounds(
    start: Tensor, seed: int, method: str, steps: int, snapshots: int
) -> None:
    goal, before = random(start.shape, seed), start.clone()

    def loss(images: Tensor) -> dict[str, Tensor]:
        return {"far": (images - goal).square().sum(), "bright": images.abs().sum()}

    result = optimise_pixels(
        loss, start, steps=steps, method=method, snapshots=snapshots, progress=False
    )
    assert torch.equal(start, before), "the start was changed"
    assert result.image.shape == start.shape and not result.image.requires_grad
    assert result.image.min() >= 0 and result.image.max() <= 1
    assert result.steps == steps and len(result.snapshots) == min(snapshots, steps)
    assert result.loss <= result.history[0]["total"]
    assert float(sum(loss(result.image).values())) == pytest.approx(result.loss, rel=1e-4)
    assert all(
        low["step"] + 1 == high["step"]
        for low, high in zip(result.history, result.history[1:], strict=False)
    )


@given(
    st.one_of(
        st.fixed_dictionaries({"steps": st.integers(-3, 0)}),
        st.fixed_dictionaries({"lr": st.sampled_from((*NO_NUMBERS, 0.0, -1.0))}),
        st.fixed_dictionaries({"seconds": st.sampled_from((math.nan, -math.inf, 0.0, -1.0))}),
        st.fixed_dictionaries({"method": st.text("adamsg", max_size=5)}),
        st.fixed_dictionaries({"snapshots": st.integers(-3, -1)}),
        st.fixed_dictionaries({"bounds": st.sampled_from(((1.0, 0.0), (math.nan, 1.0), (0, 0)))}),
    )
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, object]) -> None:
    assume(settings.get("method") not in LEARNING_RATES)
    start = torch.full((1, 3, 2, 2), 0.5)
    error = refused(optimise_pixels, lambda x: x.square().sum(), start, progress=False, **settings)
    assert isinstance(error, SettingError)


@given(
    st.lists(st.integers(-1, 9), max_size=4),
    st.integers(1, 3) | st.lists(st.integers(1, 3), max_size=4),
    pictures(batch=(1, 1), sides=(2, 9)),
)
def test_coarse_to_fine_ends_at_the_last_size(sizes, steps, start: Tensor) -> None:
    def make(size: int):
        return lambda images: (images - 0.5).square().sum()

    counts = [steps] * len(sizes) if isinstance(steps, int) else steps
    ascends = bool(sizes) and sizes == sorted(set(sizes)) and sizes[0] >= 1
    if not ascends or len(counts) != len(sizes):
        refused(coarse_to_fine, make, start, sizes, steps, progress=False)
        return
    result = coarse_to_fine(make, start, sizes, steps, progress=False)
    assert min(result.image.shape[2:]) == sizes[-1]
    assert result.steps == sum(counts)
    assert [entry["size"] for entry in result.history] == [
        size for size, count in zip(sizes, counts, strict=True) for _ in range(count)
    ]


# --- Alignment ------------------------------------------------------------------------------------


@given(
    st.integers(1, 3),
    st.integers(3, 7),
    SEEDS,
    st.floats(-3.1, 3.1),
    st.floats(0.2, 5),
    st.floats(-9, 9),
    st.sampled_from(dfi_align.KINDS),
)
def test_a_known_transform_is_found_again(
    count: int, points: int, seed: int, angle: float, scale: float, offset: float, kind: str
) -> None:
    known = random((count, points, 2), seed, torch.float64)
    # Points on one line do not say what happens across it.
    assume(bool((torch.linalg.svdvals(known - known.mean(1, keepdim=True))[:, -1] > 0.1).all()))
    turn = (
        scale
        * torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        ).double()
    )
    matrix = torch.cat([turn, torch.tensor([[offset], [-offset]])], dim=1).double()
    target = dfi_align.move_points(known, matrix.expand(count, 2, 3))
    found = dfi_align.fit(known, target, kind)
    torch.testing.assert_close(found, matrix.expand(count, 2, 3), atol=1e-6, rtol=1e-6)
    assert float(dfi_align.residual(known, found, target).max()) < 1e-6


@given(st.integers(1, 3), st.integers(3, 6), SEEDS)
def test_a_similarity_never_mirrors_and_an_affine_map_fits_no_worse(
    count: int, points: int, seed: int
) -> None:
    known, target = (random((count, points, 2), seed + i, torch.float64) for i in range(2))
    similar, affine = (dfi_align.fit(known, target, kind) for kind in dfi_align.KINDS)
    assert bool((torch.linalg.det(similar[:, :, :2]) >= -1e-9).all())
    worse, better = (dfi_align.residual(known, each, target) for each in (similar, affine))
    assert bool((better <= worse + 1e-6).all())
    still = dfi_align.fit(known[:, :1].expand_as(known), target, "similarity")
    assert bool(torch.isfinite(still).all()), "all points in one place"


@given(pictures(channels=(1, 3)), st.integers(-4, 4), st.integers(-4, 4))
def test_warping_by_whole_pixels_moves_every_pixel(images: Tensor, right: int, down: int) -> None:
    height, width = images.shape[2:]
    move = torch.tensor([[1.0, 0, right], [0, 1, down]]).expand(len(images), 2, 3)
    found = dfi_align.warp(images, move)
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    torch.testing.assert_close(found, images[:, :, rows][..., columns], atol=1e-4, rtol=0)


@given(pictures(), SEEDS, st.integers(0, 3))
def test_warping_keeps_the_range_or_is_refused(images: Tensor, seed: int, wrong: int) -> None:
    matrices = random((len(images), 2, 3), seed) + torch.eye(3)[:2]
    assume(bool((torch.linalg.det(matrices[:, :, :2].double()).abs() > 1e-3).all()))
    found = dfi_align.warp(images, matrices)
    assert found.shape == images.shape
    assert found.min() >= -1e-5 and found.max() <= 1 + 1e-5
    flattened = matrices.clone()
    flattened[0, wrong % 2] = 0  # everything on one line: it cannot be undone
    refused(dfi_align.warp, images, flattened)
    matrices[0, 0, wrong % 3] = math.nan
    refused(dfi_align.warp, images, matrices)
    refused(dfi_align.warp, images, matrices[:, :, :2])


@given(
    st.integers(0, 4),
    st.sampled_from((0, 0, 0, 1)),
    st.sampled_from((2, 2, 2, 1, 3)),
    st.sampled_from(dfi_align.KINDS),
)
def test_landmarks_that_are_none_are_refused(points: int, more: int, axes: int, kind: str) -> None:
    other = points + more
    known, target = torch.rand(2, points, axes), torch.rand(1, other, axes)
    least = 2 if kind == "similarity" else 3
    if points == other >= least and axes == 2:
        assert dfi_align.fit(known, target, kind).shape == (2, 2, 3)
    else:
        assert isinstance(refused(dfi_align.fit, known, target, kind), ShapeError)
    assert isinstance(refused(dfi_align.fit, known, target, kind + "s"), SettingError)


@given(pictures(batch=(1, 3), sides=(2, 8)), st.integers(1, 4), SEEDS)
def test_misaligned_faces_keep_their_landmarks(images: Tensor, points: int, seed: int) -> None:
    landmarks = 8 * torch.rand(len(images), points, 2)
    still, places = dfi_align.misalign(
        images, landmarks, shift=0.0, rotation=0.0, scale=0.0, seed=seed
    )
    torch.testing.assert_close(still, images, atol=1e-4, rtol=0)
    torch.testing.assert_close(places, landmarks)
    moved, places = dfi_align.misalign(images, landmarks, seed=seed)
    assert moved.shape == images.shape and places.shape == landmarks.shape
    assert not torch.equal(places, landmarks)
    if points > 1:
        before, after = (each.diff(dim=1).norm(dim=2) for each in (landmarks, places))
        factor = after / before.clamp_min(1e-3)
        assert bool((factor.log().abs()[before > 0.1] <= 0.15 + 1e-3).all())
