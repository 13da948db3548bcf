"""Topic 06: the four steps, the line between two images, tiles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import dfi, dfi_tiles
from coursekit.core.errors import LayerError, SettingError, ShapeError
from coursekit.core.losses import total_variation
from coursekit.core.runtime import generator
from coursekit.exercises import engine


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


@pytest.fixture(scope="module")
def space() -> dfi.DeepSpace:
    layers = ("relu1_2", "relu3_1")
    return dfi.DeepSpace(noise(2, 3, 32, 32), layers, weights="random", precision="float32")


def flat(images: Tensor) -> Tensor:
    """The simplest feature space: the pixels themselves."""
    return images.flatten(1)


# --- Deep features


def test_features_are_all_layers_end_to_end_with_mean_activation_one(space: dfi.DeepSpace) -> None:
    examples = noise(2, 3, 32, 32)
    features, maps = space(examples), space.maps(examples)
    assert features.shape == (2, 64 * 32 * 32 + 256 * 8 * 8)
    assert all(float(each.mean()) == pytest.approx(1, rel=1e-4) for each in maps.values())
    assert torch.equal(features[:, : 64 * 32 * 32], maps["relu1_2"].flatten(1))


def test_embedding_in_batches_of_bytes_is_the_same(space: dfi.DeepSpace) -> None:
    images = (noise(5, 3, 16, 24) * 255).to(torch.uint8)
    found = space.embed(images, batch=2)
    torch.testing.assert_close(found, space(images.float() / 255).detach(), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(LayerError, match="relu9_1"):
        dfi.DeepSpace(noise(1, 3, 32, 32), ("relu9_1",), weights="random")


def test_the_papers_layers_are_the_first_after_the_last_three_poolings() -> None:
    assert dfi.PAPER_LAYERS == ("relu3_1", "relu4_1", "relu5_1")
    assert set(dfi.PAPER_LAYERS) < set(dfi.LAYERS)


# --- Nearest neighbours


def test_nearest_by_hand() -> None:
    collection = torch.tensor([[0.0, 3.0], [10.0, 0.1], [1.0, 1.0], [-5.0, 0.0]])
    assert dfi.nearest(torch.tensor([2.0, 0.0]), collection, 3).tolist() == [1, 2, 0]


def test_nearest_ignores_lengths_and_agrees_with_a_full_sort() -> None:
    query, collection = noise(7) - 0.5, noise(20, 7, seed=1) - 0.5
    found = dfi.nearest(query, collection, 20)
    cosines = F.cosine_similarity(collection, query[None])
    assert torch.equal(found, cosines.argsort(descending=True))
    stretched = collection * torch.linspace(0.1, 9, 20)[:, None]
    assert torch.equal(dfi.nearest(3 * query, stretched, 20), found)


@pytest.mark.parametrize("k", [0, 5])
def test_more_neighbours_than_faces_are_refused(k: int) -> None:
    with pytest.raises(SettingError, match="1 … 4"):
        dfi.nearest(noise(3), noise(4, 3), k)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError):
        dfi.nearest(noise(3), noise(4, 2), 1)


# --- The vector and the shift


def test_attribute_vector_by_hand_and_its_gradient() -> None:
    target = torch.tensor([[1.0, 2.0], [3.0, 6.0]], requires_grad=True)
    source = torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 5.0], [1.0, 2.0]], requires_grad=True)
    vector = dfi.attribute_vector(target, source)
    assert vector.tolist() == [1.0, 2.0]
    vector.sum().backward()
    assert target.grad.eq(0.5).all() and source.grad.eq(-0.25).all()


def test_empty_sets_are_refused() -> None:
    with pytest.raises(ShapeError, match="not empty"):
        dfi.attribute_vector(noise(0, 3), noise(2, 3))


def test_beta_one_brings_the_source_mean_to_the_target_mean() -> None:
    target, source = noise(6, 5), noise(4, 5, seed=1)
    vector = dfi.attribute_vector(target, source)
    moved = dfi.shift(source, vector, 1.0)
    torch.testing.assert_close(moved.mean(0), target.mean(0))


def test_scaling_of_the_paper_by_hand() -> None:
    vector = torch.tensor([2.0, 0.0])  # mean square 2
    moved = dfi.shift(torch.zeros(2, 2), vector, torch.tensor([0.4, 1.0]), scaling="paper")
    torch.testing.assert_close(moved, torch.tensor([[0.4, 0.0], [1.0, 0.0]]))


def test_scaling_of_the_paper_does_not_depend_on_the_length_of_the_vector() -> None:
    """What is left of w is its direction, and the change of φ along it: ⟨Δφ, w⟩ = β D."""
    vector = noise(9) - 0.5
    for factor in (0.1, 7.0):
        moved = dfi.shift(torch.zeros(1, 9), factor * vector, 0.3, scaling="paper")
        assert float(moved[0] @ (factor * vector)) == pytest.approx(0.3 * 9, rel=1e-5)


def test_another_scaling_is_refused() -> None:
    with pytest.raises(SettingError, match="plain"):
        dfi.shift(noise(1, 2), noise(2), 1.0, scaling="unit")


# --- The objective


def test_reconstruction_loss_by_hand() -> None:
    features, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)
    images = torch.zeros(2, 3, 2, 2)
    images[0, 0, 0, 0] = 1.0  # two differences of 1
    terms = dfi.reconstruction_loss(features, target, images, tv_weight=3.0)
    assert float(terms["features"]) == pytest.approx((5 / 2 / 2) / 2)
    assert float(terms["tv"]) == pytest.approx(3 * (2 / 2) / 12)


def test_reconstruction_loss_has_the_gradient_of_its_formula_and_none_for_the_target() -> None:
    features, target = noise(3, 5).requires_grad_(), noise(3, 5, seed=1).requires_grad_()
    images = noise(3, 3, 4, 6).requires_grad_()
    terms = dfi.reconstruction_loss(features, target, images, tv_weight=0.5)
    sum(terms.values()).backward()
    torch.testing.assert_close(features.grad, (features - target).detach() / 15)
    assert target.grad is None
    copy = images.detach().requires_grad_()
    (0.5 * total_variation(copy) / copy[0].numel()).backward()
    torch.testing.assert_close(images.grad, copy.grad)


def test_a_target_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError):
        dfi.reconstruction_loss(noise(2, 4), noise(1, 4), noise(2, 3, 4, 4))


# --- Reconstruction and edits


def test_in_pixel_space_an_edit_is_the_sum() -> None:
    """With φ = the pixels, no TV and β inside [0, 1], step 4 has an exact answer."""
    faces = 0.3 + 0.2 * noise(2, 3, 6, 5)
    sets = [(noise(4, 3, 6, 5, seed=s), noise(3, 3, 6, 5, seed=s + 9)) for s in (1, 2)]
    beta = torch.tensor([0.2, 0.4])
    result = dfi.edit(flat, faces, sets, beta, steps=60, tv_weight=0.0, progress=False)
    torch.testing.assert_close(result.image, dfi.pixel_edit(faces, sets, beta), atol=2e-2, rtol=0)


def test_an_edit_comes_nearer_to_its_target(space: dfi.DeepSpace) -> None:
    faces, other = noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1)
    with torch.no_grad():
        target = torch.lerp(space(faces), space(other), 0.3)
    result = dfi.reconstruct(space, target, faces, steps=12, progress=False)
    assert result.loss < 0.8 * result.history[0]["total"]
    again = dfi.reconstruct(space, target, faces, steps=12, progress=False)
    assert torch.equal(result.image, again.image)


def test_smoothness_makes_smoother_edits(space: dfi.DeepSpace) -> None:
    faces = noise(1, 3, 32, 32)
    target = space(faces).detach()
    rough, smooth = (
        dfi.reconstruct(space, target, faces, steps=8, tv_weight=weight, progress=False)
        for weight in (0.0, 50.0)
    )
    assert total_variation(smooth.image) < 0.9 * total_variation(rough.image)


def test_one_pair_of_sets_a_face() -> None:
    with pytest.raises(SettingError, match="2 faces and 1"):
        dfi.edit(flat, noise(2, 3, 4, 4), [(noise(1, 3, 4, 4),) * 2], 1.0)


def test_vectors_of_image_sets_are_those_of_their_features(space: dfi.DeepSpace) -> None:
    source, target = noise(5, 3, 16, 16), noise(3, 3, 16, 16, seed=1)
    found = dfi.vector_between(space, source, target, batch=2)
    wanted = dfi.attribute_vector(space(target), space(source)).detach()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_vectors_of_sets_are_those_between_them_and_shared_pairs_are_computed_once() -> None:
    """A space that counts the pictures it sees."""
    seen = []

    def counting(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1)

    one, two = [(noise(4, 3, 6, 5, seed=s), noise(3, 3, 6, 5, seed=s + 9)) for s in (1, 2)]
    found = dfi.vectors_of(counting, [one, two, one])
    assert sum(seen) == 2 * (4 + 3)
    wanted = [(target.mean(0) - source.mean(0)).flatten() for source, target in (one, two, one)]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_an_edit_takes_vectors_in_place_of_sets() -> None:
    faces = 0.3 + 0.2 * noise(2, 3, 6, 5)
    sets = [(noise(4, 3, 6, 5, seed=s), noise(3, 3, 6, 5, seed=s + 9)) for s in (1, 2)]
    settings = {"steps": 3, "progress": False}
    images = [
        dfi.edit(flat, faces, given, 0.4, **settings).image
        for given in (sets, dfi.vectors_of(flat, sets))
    ]
    assert torch.equal(*images)
    with pytest.raises(SettingError, match="2 faces and 1"):
        dfi.edit(flat, faces, dfi.vectors_of(flat, sets[:1]), 0.4)
    with pytest.raises(SettingError, match="no sets"):
        dfi.vectors_of(flat, [])


# --- Lines


def test_a_line_goes_from_end_to_end_in_equal_steps() -> None:
    points = dfi.line(torch.tensor([0.0, 4.0]), torch.tensor([1.0, 0.0]), 5)
    assert points.tolist() == [[0, 4], [0.25, 3], [0.5, 2], [0.75, 1], [1, 0]]
    with pytest.raises(SettingError, match="ends"):
        dfi.line(noise(2), noise(2), 1)


def test_the_line_in_pixel_space_is_the_cross_fade() -> None:
    first, last = noise(1, 3, 4, 6), noise(1, 3, 4, 6, seed=1)
    result = dfi.feature_line(flat, first, last, 4, steps=40, tv_weight=0.0, progress=False)
    torch.testing.assert_close(result.image, dfi.line(first[0], last[0], 4), atol=2e-2, rtol=0)


# --- Tiles


@pytest.mark.parametrize(
    ("height", "width", "size", "pool"),
    [(64, 96, 32, "avg"), (76, 83, 48, "max"), (60, 64, 64, "avg")],
)
def test_tiles_give_the_features_loss_and_gradient_of_the_whole(
    height: int, width: int, size: int, pool: str
) -> None:
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    examples, images = noise(1, 3, 32, 32), noise(2, 3, height, width)
    space = dfi.DeepSpace(examples, layers, weights="random", precision="float32", pool=pool)
    whole, tiled = space.maps(images), dfi_tiles.tiled_maps(space, images, size=size)
    for name in layers:
        torch.testing.assert_close(tiled[name], whole[name], rtol=1e-3, atol=1e-4)
    target = {name: 1.3 * each.detach() for name, each in whole.items()}
    pixels, same = images.clone().requires_grad_(), images.clone().requires_grad_()
    plain = dfi.reconstruction_loss(
        space(pixels), torch.cat([each.flatten(1) for each in target.values()], 1), pixels
    )["features"]
    in_tiles = dfi_tiles.tiled_distance(space, target, size=size)(same)
    plain.backward()
    (2 * in_tiles).backward()
    assert in_tiles.item() == pytest.approx(plain.item(), rel=1e-4)
    scale = float(pixels.grad.abs().max())
    torch.testing.assert_close(same.grad / 2, pixels.grad, rtol=1e-3, atol=1e-4 * scale)


def test_tiles_cover_the_picture_once(space: dfi.DeepSpace) -> None:
    covered = torch.zeros(50, 70)
    for tile in dfi_tiles.tiles(space, 50, 70, 16):
        top, bottom, left, right = tile.inner
        covered[top:bottom, left:right] += 1
    assert bool((covered == 1).all())


def test_strides_double_at_every_pooling(space: dfi.DeepSpace) -> None:
    assert dfi_tiles.strides(space) == {"relu1_2": 1, "relu3_1": 4}


def test_tiles_that_do_not_fit_the_stride_are_refused(space: dfi.DeepSpace) -> None:
    with pytest.raises(SettingError, match="4 pixels apart"):
        list(dfi_tiles.tiles(space, 64, 64, 30))


# --- Exercises: right answers written differently


def _nearest_by_sorting(query: Tensor, collection: Tensor, k: int) -> Tensor:
    distance = 1 - (collection @ query) / (collection.norm(dim=1) * query.norm())
    return torch.argsort(distance)[:k]


def _nearest_by_library(query: Tensor, collection: Tensor, k: int) -> Tensor:
    return F.cosine_similarity(query.unsqueeze(0), collection, dim=1).topk(k)[1]


def _vector_by_sums(target: Tensor, source: Tensor) -> Tensor:
    return target.sum(0) / target.shape[0] - source.sum(0) / source.shape[0]


def _vector_by_product(target: Tensor, source: Tensor) -> Tensor:
    ones = [torch.full((1, len(each)), 1 / len(each)) for each in (target, source)]
    return (ones[0] @ target - ones[1] @ source).squeeze(0)


def _shift_by_loop(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    rows = vector.expand_as(features)
    return torch.stack([f + b * w for f, w, b in zip(features, rows, beta, strict=True)])


def _shift_by_einsum(features: Tensor, vector: Tensor, beta: Tensor) -> Tensor:
    return features + torch.einsum("n,nd->nd", beta, vector.expand_as(features))


def _objective_by_mse(
    features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float
) -> dict[str, Tensor]:
    count = images.shape[1] * images.shape[2] * images.shape[3]
    return {
        "features": 0.5 * F.mse_loss(features, target.detach()),
        "tv": tv_weight * total_variation(images) / count,
    }


def _objective_by_hand(
    features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float
) -> dict[str, Tensor]:
    each = ((features - target.data) ** 2).sum(1) / (2 * features.shape[1])
    across = (images.diff(dim=3) ** 2).sum() + (images.diff(dim=2) ** 2).sum()
    return {"features": each.mean(), "tv": tv_weight * across / images.numel()}


def _similarity_of_complex_numbers(points: Tensor, target: Tensor) -> Tensor:
    """x + iy: a turn and a scale are one complex factor, fitted by least squares."""
    p, q = (torch.view_as_complex(each.contiguous()) for each in (points, target))
    q = q.expand_as(p)
    centred = p - p.mean(1, keepdim=True)
    factor = (centred.conj() * q).sum(1) / centred.abs().square().sum(1)
    offset = q.mean(1) - factor * p.mean(1)
    rows = [factor.real, -factor.imag, offset.real, factor.imag, factor.real, offset.imag]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def _similarity_by_normal_equations(points: Tensor, target: Tensor) -> Tensor:
    found = []
    for p, q in zip(points, target.expand_as(points), strict=True):
        x, y, one, zero = p[:, 0], p[:, 1], torch.ones(len(p)), torch.zeros(len(p))
        rows = [torch.stack([x, -y, one, zero], 1), torch.stack([y, x, zero, one], 1)]
        a, b, tx, ty = torch.linalg.lstsq(torch.cat(rows), q.T.reshape(-1, 1)).solution[:, 0]
        found.append(torch.stack([a, -b, tx, b, a, ty]).view(2, 3))
    return torch.stack(found)


def _mixed_by_means(
    features: Tensor, target: Tensor, vectors: Tensor, wanted: Tensor, share: float
) -> Tensor:
    apart = 1 - (F.normalize(vectors, dim=1) * F.normalize(wanted.detach(), dim=1)).sum(1)
    return torch.lerp(F.mse_loss(features, target.detach()) / 2, apart.mean(), share)


def _mixed_by_rows(
    features: Tensor, target: Tensor, vectors: Tensor, wanted: Tensor, share: float
) -> Tensor:
    total = features.new_zeros(())
    for f, t, v, w in zip(features, target.data, vectors, wanted.data, strict=True):
        near = ((f - t) ** 2).sum() / (2 * len(f))
        total = total + (1 - share) * near + share * (1 - v @ w / (v.norm() * w.norm()))
    return total / len(features)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("dfi.nearest", _nearest_by_sorting),
        ("dfi.nearest", _nearest_by_library),
        ("dfi.attribute_vector", _vector_by_sums),
        ("dfi.attribute_vector", _vector_by_product),
        ("dfi.shift", _shift_by_loop),
        ("dfi.shift", _shift_by_einsum),
        ("dfi.reconstruction_loss", _objective_by_mse),
        ("dfi.reconstruction_loss", _objective_by_hand),
        ("dfi.similarity_transform", _similarity_of_complex_numbers),
        ("dfi.similarity_transform", _similarity_by_normal_equations),
        ("dfi.mixed_loss", _mixed_by_means),
        ("dfi.mixed_loss", _mixed_by_rows),
    ],
)
def test_other_right_answers_pass(exercise: str, answer: object) -> None:
    result = engine.check(exercise, answer)
    assert result.passed, str(result)
