"""Topic 06: alignment, collections with attributes, source and target sets, identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import transform
from torch import Tensor
from torch.nn import functional as F

from coursekit import dfi, dfi_align, dfi_faces, dfi_identity, dfi_measure
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import DataError, SettingError, ShapeError, WeightsError
from coursekit.datasets import published
from coursekit.datasets.base import Dataset, Info
from coursekit.datasets.faces import render
from coursekit.recipes import dfi as recipe


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=runtime.generator(seed))


class Pixels:
    """φ = the pixels, with the one method that a gallery calls."""

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def embed(self, images: Tensor) -> Tensor:
        return self(dfi.as_float(images))


# --- Alignment


def test_similarity_is_scikit_images() -> None:
    points, target = 60 * noise(4, 8, 2), 60 * noise(4, 8, 2, seed=1)
    found = dfi_align.similarity_transform(points.double(), target.double())
    for p, q, matrix in zip(points, target, found, strict=True):
        wanted = transform.estimate_transform("similarity", p.double().numpy(), q.double().numpy())
        np.testing.assert_allclose(matrix.numpy(), wanted.params[:2], atol=1e-8)


def test_a_similarity_undoes_a_turn_a_scale_and_a_move() -> None:
    points = 50 * noise(2, 6, 2)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    moved = 1.7 * points @ turn.mT + torch.tensor([3.0, -11.0])
    matrices = dfi_align.similarity_transform(moved, points)
    torch.testing.assert_close(dfi_align.move_points(moved, matrices), points, atol=1e-3, rtol=0)
    assert float(dfi_align.residual(moved, matrices, points).max()) < 1e-3


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    points = 50 * noise(1, 6, 2)
    mirrored = points * torch.tensor([-1.0, 1.0])
    matrix = dfi_align.similarity_transform(points, mirrored)[0]
    assert float(torch.linalg.det(matrix[:, :2])) > 0


def test_affine_is_the_least_squares_solution() -> None:
    points, target = 60 * noise(3, 7, 2), 60 * noise(1, 7, 2, seed=1)
    found = dfi_align.affine_transform(points.double(), target.double())
    rows = np.concatenate([points[1].double().numpy(), np.ones((7, 1))], axis=1)
    wanted = np.linalg.lstsq(rows, target[0].double().numpy(), rcond=None)[0].T
    np.testing.assert_allclose(found[1].numpy(), wanted, atol=1e-8)
    similar = dfi_align.similarity_transform(points, target)
    apart = [dfi_align.residual(points, m.float(), target).mean() for m in (found, similar)]
    assert apart[0] <= apart[1]


def test_warp_is_scikit_images() -> None:
    image = noise(1, 1, 20, 31)
    matrix = torch.tensor([[[0.9, -0.2, 3.0], [0.15, 1.05, -2.0]]])
    found = dfi_align.warp(image, matrix)[0, 0]
    # There the middle of the first pixel is at 0, here at 0.5.
    half, whole = np.eye(3), np.eye(3)
    half[:2, 2], whole[:2] = 0.5, matrix[0].numpy()
    inverse = np.linalg.inv(np.linalg.inv(half) @ whole @ half)
    wanted = transform.warp(image[0, 0].double().numpy(), inverse, mode="edge", order=1)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)


def test_warp_brings_landmarks_where_they_should_be() -> None:
    """A bright spot at a landmark is at the moved landmark afterwards, also in a wide picture."""
    image = torch.zeros(1, 1, 30, 50)
    image[0, 0, 12, 20] = 1.0
    matrix = torch.tensor([[[1.2, 0.1, 2.0], [-0.1, 1.2, 3.0]]])
    spot = dfi_align.move_points(torch.tensor([[[20.5, 12.5]]]), matrix)[0, 0]
    moved = dfi_align.warp(image, matrix)[0, 0]
    row, column = divmod(int(moved.argmax()), 50)
    assert abs(column + 0.5 - float(spot[0])) <= 1 and abs(row + 0.5 - float(spot[1])) <= 1


def test_misaligning_moves_pictures_and_landmarks_together() -> None:
    factors = dfi_faces.portrait_factors(3, seed=4)
    image, _, marks = render(factors, 64)
    moved, there = dfi_align.misalign(image, marks, seed=5)
    back = dfi_align.warp(moved, dfi_align.similarity_transform(there, marks))
    middle = (slice(None), slice(None), slice(20, 44), slice(20, 44))
    assert F.mse_loss(moved[middle], image[middle]) > 4 * F.mse_loss(back[middle], image[middle])
    assert torch.equal(dfi_align.misalign(image, marks, seed=5)[0], moved)
    assert not torch.equal(dfi_align.misalign(image, marks, seed=6)[0], moved)


def test_wrong_landmarks_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 points"):
        dfi_align.similarity_transform(noise(2, 1, 2), noise(2, 1, 2))
    with pytest.raises(ShapeError):
        dfi_align.affine_transform(noise(3, 4, 2), noise(2, 4, 2))
    with pytest.raises(ShapeError, match="matrices"):
        dfi_align.warp(noise(2, 3, 8, 8), noise(1, 2, 3))
    with pytest.raises(SettingError, match="similarity"):
        dfi_align.fit(noise(1, 4, 2), noise(1, 4, 2), "thin plate")


# --- Rendered portraits


def test_portraits_have_every_attribute_about_half_the_time() -> None:
    factors = dfi_faces.portrait_factors(400, seed=1)
    for name in ("glasses", "beard", "smile"):
        assert 0.35 < dfi_faces.has(factors, name).float().mean() < 0.65
    assert factors["yaw"].abs().max() <= 0.55 * dfi_faces.TURN + 1e-6
    few = dfi_faces.portrait_factors(7, seed=1)
    assert all(torch.equal(few[name], factors[name][:7]) for name in few)


@pytest.mark.parametrize("attribute", dfi_faces.ATTRIBUTES)
def test_a_twin_differs_in_the_attribute_alone(attribute: str) -> None:
    faces = dfi_faces.held_out(3, 32, attribute)
    assert not dfi_faces.has(faces.factors, attribute).any()
    twins = dfi_faces.twin(faces.factors, attribute)
    assert dfi_faces.has(twins, attribute).all()
    changed = {name for name in twins if not torch.equal(twins[name], faces.factors[name])}
    assert changed == set(dfi_faces.ATTRIBUTES[attribute].present)
    assert faces.image.shape == faces.twin.shape == (3, 3, 32, 32)
    assert bool((faces.image != faces.twin).flatten(1).any(dim=1).all())


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(SettingError, match="glasses, beard"):
        dfi_faces.held_out(2, 32, "hat")


# --- A folder with a table


def folder(place: Path, rows: list[str], count: int = 3) -> Path:
    place.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 30), (80 * number, 10, 20)).save(place / f"{number}.png")
    (place / "attributes.csv").write_text("\n".join(rows) + "\n")
    return place


def test_a_folder_with_a_table(tmp_path: Path) -> None:
    rows = ["file,Glasses,Smiling,eye_x,eye_y", "0.png,1,-1,20,15", "2.png,0,1,5,30"]
    data = dfi_faces.attribute_folder(folder(tmp_path / "faces", rows), 15)
    assert data.fields["image"].shape == (2, 3, 15, 15)
    assert data.fields["image"][1, 0].float().mean() == pytest.approx(160, abs=1)
    assert data.fields["glasses"].tolist() == [1, 0] and data.fields["smiling"].tolist() == [0, 1]
    # The middle square leaves 5 columns out on the left; 30 pixels become 15.
    assert data.fields["landmarks"].tolist() == [[[7.5, 7.5]], [[0.0, 15.0]]]
    same = dfi_faces.collection(tmp_path / "faces", 15, count=1)
    assert len(same) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["file,glasses", "0.png,yes"], "glasses.*'yes'"),
        (["file,glasses"], "no rows"),
        (["file,glasses", "0.png"], "shorter"),
        (["file,glasses", "9.png,1"], "missing"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dfi_faces.attribute_folder(folder(tmp_path / "faces", rows), 16)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"attributes\.csv"):
        dfi_faces.collection(tmp_path, 16)


def test_celeba_by_one_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def celeba(split: str, size: int, *, count: int | None) -> Dataset:
        asked.update(split=split, size=size, count=count)
        return Dataset(
            Info("celeba", "faces", "research", False, "torchvision"),
            {"image": torch.zeros(4, 3, size, size, dtype=torch.uint8), "smiling": torch.arange(4)},
        )

    monkeypatch.setattr(published, "celeba", celeba)
    data = dfi_faces.collection("celeba", 20, count=4)
    assert data.info.name == "celeba" and asked == {"split": "train", "size": 20, "count": 4}


# --- Source and target sets


@pytest.fixture
def gallery() -> dfi_faces.Gallery:
    return dfi_faces.Gallery(dfi_faces.portraits(40, 32), Pixels(), search_size=16, align=None)


def test_sets_have_the_attribute_or_not_and_match_the_rest(gallery: dfi_faces.Gallery) -> None:
    fields, face = gallery.data.fields, dfi_faces.held_out(1, 32, "glasses")
    match = {"beard": 1}
    source, target = gallery.sets(face.image, "glasses?", k=4, match=match)
    pictures = dfi.as_float(fields["image"])
    for chosen, wanted in ((source, 0), (target, 1)):
        for picture in chosen:
            index = int((pictures - picture).abs().flatten(1).sum(1).argmin())
            assert fields["glasses?"][index] == wanted and fields["beard"][index] == 1


def test_the_sets_are_the_nearest_of_their_kind(gallery: dfi_faces.Gallery) -> None:
    face = dfi_faces.held_out(1, 32, "beard").image
    where = gallery.data.fields["beard?"] == 1
    few, many = (gallery.neighbours(face, where, k) for k in (3, 9))
    assert torch.equal(few, many[:3]) and bool(where[many].all())


def test_a_part_of_a_gallery_is_a_gallery_of_that_part(gallery: dfi_faces.Gallery) -> None:
    face = dfi_faces.held_out(1, 32, "glasses").image
    where = gallery.data.fields["beard"] == 1
    part = gallery.take(where)
    assert len(part.data) == int(where.sum()) < len(gallery.data)
    found, wanted = (
        part.sets(face, "glasses?", k=3),
        gallery.sets(face, "glasses?", k=3, match={"beard": 1}),
    )
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])


def test_a_face_of_the_collection_is_its_own_neighbour_unless_excluded(
    gallery: dfi_faces.Gallery,
) -> None:
    index = int((gallery.data.fields["glasses?"] == 0).nonzero()[0])
    face = dfi.as_float(gallery.data.fields["image"][index : index + 1])
    source, _ = gallery.sets(face, "glasses?", k=1)
    assert torch.equal(source, face)
    source, _ = gallery.sets(face, "glasses?", k=1, exclude=index)
    assert not torch.equal(source, face)


def test_more_neighbours_than_there_are_is_an_error(gallery: dfi_faces.Gallery) -> None:
    face = dfi_faces.held_out(1, 32, "glasses").image
    with pytest.raises(SettingError, match="larger collection"):
        gallery.sets(face, "glasses?", k=40)
    with pytest.raises(SettingError, match="no attribute 'hat'"):
        gallery.sets(face, "hat")


def test_an_aligned_gallery_brings_the_sets_to_the_face() -> None:
    """Snapshots of one face, each turned, scaled and moved, come to lie on it."""
    face = dfi_faces.held_out(1, 48, "glasses")
    many = face.image.expand(8, -1, -1, -1), face.landmarks.expand(8, -1, -1)
    moved, there = dfi_align.misalign(*many, seed=1)
    image = (moved * 255).round().byte()
    fields = {"image": image, "landmarks": there, "glasses?": torch.arange(8) % 2}
    snapshots = Dataset(Info("snapshots", "one face", "MIT", True, "test"), fields)
    apart = {}
    for kind in (None, "similarity", "affine"):
        found = dfi_faces.Gallery(snapshots, Pixels(), search_size=16, align=kind)
        sets = found.sets(face.image, "glasses?", k=4, landmarks=face.landmarks)
        middle = torch.cat(sets)[:, :, 12:36, 12:36] - face.image[:, :, 12:36, 12:36]
        apart[kind] = float(middle.square().mean())
    assert apart["similarity"] < 0.3 * apart[None] and apart["affine"] < 0.3 * apart[None]


def test_alignment_needs_landmarks(gallery: dfi_faces.Gallery) -> None:
    data = Dataset(gallery.data.info, {"image": gallery.data.fields["image"]})
    with pytest.raises(DataError, match="align=None"):
        dfi_faces.Gallery(data, Pixels())
    aligned = dfi_faces.Gallery(gallery.data, Pixels(), search_size=16)
    with pytest.raises(SettingError, match="landmarks"):
        aligned.sets(noise(1, 3, 32, 32), "glasses?", k=2)
    with pytest.raises(SettingError, match="similarity"):
        dfi_faces.Gallery(gallery.data, Pixels(), align="warp")


# --- Measures


def mean_square(images: Tensor, others: Tensor) -> Tensor:
    return (images - others).square().mean(dim=(1, 2, 3))


def test_the_share_of_the_way_that_is_left() -> None:
    faces = dfi_faces.held_out(3, 32, "beard")
    assert dfi_measure.remaining(mean_square, faces.image, faces).tolist() == [1, 1, 1]
    assert dfi_measure.remaining(mean_square, faces.twin, faces).tolist() == [0, 0, 0]
    half = torch.lerp(faces.image, faces.twin, 0.5)
    found = dfi_measure.remaining(mean_square, half, faces)
    torch.testing.assert_close(found, torch.full((3,), 0.25))
    row = dfi_measure.table({"half": found + torch.tensor([0.0, 0.1, -0.1])})["half"]
    assert row.value == pytest.approx(0.25) and row.covers(0.25)


def test_the_sets_of_held_out_faces_are_those_of_each(gallery: dfi_faces.Gallery) -> None:
    faces = dfi_faces.held_out(2, 32, "glasses")
    found = dfi_measure.sets_of(gallery, faces, "glasses", k=2, match=["eye_colour"])
    for number, sets in enumerate(found):
        eyes = int(faces.factors["eye_colour"][number])
        image = faces.image[number : number + 1]
        expected = gallery.sets(image, "glasses", k=2, match={"eye_colour": eyes})
        assert all(torch.equal(a, b) for a, b in zip(sets, expected, strict=True))
    assert not torch.equal(found[0][0], found[1][0])


def test_identity_distance_is_one_less_the_cosine() -> None:
    def angles(images: Tensor) -> Tensor:
        turn = images.flatten(1)[:, 0]
        return torch.stack([turn.cos(), turn.sin()], dim=1)

    first, second = torch.zeros(3, 1, 1, 1), torch.tensor([0.0, torch.pi / 3, torch.pi])
    found = dfi_measure.identity_distance(angles)(first, second.view(3, 1, 1, 1))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 2.0]))


def test_somebody_else_keeps_everything_but_the_head() -> None:
    factors = dfi_faces.portrait_factors(5, seed=2)
    other = dfi_measure.somebody_else(factors)
    changed = {name for name in other if not torch.equal(other[name], factors[name])}
    assert changed == set(dfi_identity.MEASURES)


def test_attribute_against_person_by_hand() -> None:
    face = torch.zeros(2, 1, 1, 1)
    changed, other = face + torch.tensor([2.0, 4.0]).view(2, 1, 1, 1), face + 2
    found = dfi_measure.attribute_against_person(mean_square, face, changed, other)
    assert found.value == pytest.approx((0 + 2) / 2)  # squares 4 and 16 against 4
    with pytest.raises(SettingError, match="same"):
        dfi_measure.attribute_against_person(mean_square, face, face, other)


# --- The identity network


def test_the_identity_network_gives_unit_vectors_of_any_size_of_picture() -> None:
    network = dfi_identity.IdentityNetwork(size=32, width=8, embedding=12, seed=3)
    vectors = network.embed(noise(5, 3, 48, 48), batch=2)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    again = dfi_identity.IdentityNetwork(size=32, width=8, embedding=12, seed=3)
    assert torch.equal(again.embed(noise(5, 3, 48, 48), batch=2), vectors)


def test_the_checkpoints_network_is_small() -> None:
    count = sum(p.numel() for p in dfi_identity.IdentityNetwork().parameters())
    assert count == 197_800 and 2 * count < 1_000_000


def test_cosine_margin_loss_by_hand() -> None:
    """Two people, axes as centres, a picture on the first axis: cosines 1 and 0."""
    loss = dfi_identity.cosine_margin_loss(
        torch.tensor([[3.0, 0.0]]),
        torch.tensor([[0.5, 0.0], [0.0, 9.0]]),
        torch.tensor([0]),
        scale=2.0,
        margin=0.25,
    )
    right, wrong = np.exp(2 * 0.75), np.exp(0.0)
    assert float(loss) == pytest.approx(-np.log(right / (right + wrong)), rel=1e-5)
    with pytest.raises(ShapeError):
        dfi_identity.cosine_margin_loss(noise(1, 2), noise(2, 3), torch.tensor([0]))


def test_without_margin_it_is_cross_entropy_of_cosines_with_its_gradient() -> None:
    vectors, centres = noise(4, 6).requires_grad_(), noise(3, 6, seed=1).requires_grad_()
    labels = torch.tensor([0, 2, 1, 1])
    found = dfi_identity.cosine_margin_loss(vectors, centres, labels, scale=5, margin=0)
    cosines = F.cosine_similarity(vectors[:, None], centres[None], dim=2)
    wanted = F.cross_entropy(5 * cosines, labels)
    torch.testing.assert_close(found, wanted)
    mine = torch.autograd.grad(found, (vectors, centres))
    theirs = torch.autograd.grad(wanted, (vectors, centres))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_people_keep_their_person_and_change_the_rest() -> None:
    data = dfi_identity.people(3, 4, size=16, seed=1)
    assert data.fields["image"].shape == (12, 3, 16, 16)
    for name in dfi_identity.PERSON:
        values = data.fields[name].view(3, 4)
        assert bool((values == values[:, :1]).all())
    assert len(data.fields["jaw"].unique()) == 3
    measures = dfi_identity.standardised(data)
    assert measures.shape == (12, len(dfi_identity.MEASURES)) and measures.abs().max() <= 1


class _Reader:
    """A network that knows everybody by the red of their first pixel, but for some noise."""

    def __init__(self, error: float) -> None:
        self.error = error

    def embed(self, images: Tensor) -> Tensor:
        angle = images[:, 0, 0, 0].float() / 255 * 3 + self.error * noise(len(images))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_verification_of_somebody_who_knows_and_somebody_who_guesses() -> None:
    who = torch.arange(20).repeat_interleave(3)
    images = (who * 12)[:, None, None, None].expand(-1, 3, 2, 2).to(torch.uint8)
    info = Info("people", "people", "MIT", True, "test")
    data = Dataset(info, {"image": images.contiguous(), "person": who})
    sure = dfi_identity.verification(_Reader(0.0), data, resamples=20)
    guess = dfi_identity.verification(_Reader(100.0), data, resamples=20)
    assert sure["AUC"].value == pytest.approx(1) and sure["accuracy"].value == pytest.approx(1)
    assert 0.3 < guess["AUC"].value < 0.7
    assert guess["AUC"].interval[0] <= guess["AUC"].value <= guess["AUC"].interval[1]


def test_auc_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    who = torch.arange(8).repeat_interleave(4)
    vectors = F.normalize(noise(32, 5) - 0.5 + 0.3 * noise(8, 5, seed=1)[who], dim=1)
    cosines, same = vectors @ vectors.T, who[:, None] == who[None]
    above = torch.ones(32, 32).triu(1).bool()
    wanted = roc_auc_score(same[above].numpy(), cosines[above].numpy())
    assert dfi_identity._auc(cosines, same, who, who.unique()) == pytest.approx(wanted, abs=1e-6)


def test_mixed_loss_by_hand() -> None:
    features, target = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    vectors, wanted = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    found = dfi_identity.mixed_loss(features, target, vectors, wanted, 0.25)
    assert float(found) == pytest.approx(0.75 * (4 / 2 / 2) + 0.25 * 1)
    with pytest.raises(ShapeError):
        dfi_identity.mixed_loss(features, target, vectors, noise(2, 2), 0.5)


def test_with_identity_alone_nothing_moves() -> None:
    network = dfi_identity.IdentityNetwork(size=32, width=4).eval().requires_grad_(False)
    face = noise(1, 3, 32, 32)
    target = torch.zeros(1, 3 * 32 * 32)
    settings = {"steps": 4, "tv_weight": 0.0, "progress": False}
    still = dfi_identity.reconstruct_mixed(Pixels(), network, target, face, 1.0, **settings)
    moved = dfi_identity.reconstruct_mixed(Pixels(), network, target, face, 0.2, **settings)
    assert float((still.image - face).abs().max()) < 0.05
    assert float((moved.image - face).abs().mean()) > 0.02


def test_a_short_training_lowers_its_losses_and_can_be_kept(tmp_path: Path) -> None:
    data = dfi_identity.people(8, 8, size=32, seed=0)
    network = dfi_identity.IdentityNetwork(size=32, width=8)
    result, average = recipe.train(network, data, 60, 0, progress=False)
    assert result.curve("who")[-1] < result.curve("who")[0]
    about = {"recipe": "dfi", "data": "8", "steps": 60, "seed": 0, "settings": network.settings}
    path = checkpoints.save(average, tmp_path / "identity.safetensors", about)
    found = dfi_identity.IdentityNetwork(**checkpoints.read(path).about["settings"])
    found.load_state_dict(checkpoints.read(path).weights)
    faces = data.batch(torch.arange(4))["image"]
    torch.testing.assert_close(found.embed(faces), average.embed(faces), atol=2e-2, rtol=0)


def test_the_courses_network_knows_people_that_it_never_saw() -> None:
    network = dfi_identity.load_identity()
    report = network.about["report"]
    assert report["AUC, people"]["value"] > 0.8
    found = dfi_identity.verification(network, dfi_identity.people(24, 3, seed=4_321), resamples=10)
    assert found["AUC"].value > 0.75


def test_a_missing_identity_network_is_named() -> None:
    with pytest.raises(WeightsError, match="nobody"):
        dfi_identity.load_identity("nobody")
