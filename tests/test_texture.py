"""Topic 02: colour transfer, Gram targets, texture loss, synthesis, and its exercises."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from skimage.color import rgb2yiq
from torch import Tensor

from coursekit import texture, texture_quiz
from coursekit.core.errors import ImageError, LayerError, SettingError, ShapeError
from coursekit.core.features import FeatureExtractor
from coursekit.core.images import load_image
from coursekit.core.losses import gram_matrix
from coursekit.core.runtime import data_dir, generator
from coursekit.datasets.photos import photo
from coursekit.exercises import engine


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


@pytest.fixture
def image() -> Tensor:
    return noise(2, 3, 9, 14)


@pytest.fixture
def reference() -> Tensor:
    """Dark, reddish, with channels that vary together."""
    grey = noise(1, 1, 12, 7, seed=1)
    return (0.3 * grey + 0.2 * noise(1, 3, 12, 7, seed=2)) * torch.tensor([1.5, 0.8, 0.4]).view(
        1, 3, 1, 1
    )


@pytest.fixture(scope="module")
def small_network() -> FeatureExtractor:
    return FeatureExtractor("vgg16", ("conv1_1", "pool1"), weights="random", seed=3)


# --- Colour spaces


def test_lalphabeta_of_grey_is_lightness_alone() -> None:
    """Equal cone responses have α = β = 0, up to the rounding of the published matrix."""
    grey = torch.full((1, 3, 1, 1), 0.5)
    light, alpha, beta = texture.rgb_to_lalphabeta(grey).flatten().tolist()
    assert light == pytest.approx(math.sqrt(3) * math.log10(0.5 + 1 / 255), abs=2e-3)
    assert abs(alpha) < 2e-3 and abs(beta) < 2e-3


def test_lalphabeta_by_hand() -> None:
    """Pure red: cones 0.3811, 0.1967, 0.0241, then eqs. 4–6 of the paper on paper."""
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    long, middle, short = (math.log10(c + 1 / 255) for c in (0.3811, 0.1967, 0.0241))
    expected = [
        (long + middle + short) / math.sqrt(3),
        (long + middle - 2 * short) / math.sqrt(6),
        (long - middle) / math.sqrt(2),
    ]
    np.testing.assert_allclose(texture.rgb_to_lalphabeta(red).flatten(), expected, rtol=1e-5)


def test_yiq_is_scikit_images(image: Tensor) -> None:
    found = texture.rgb_to_yiq(image[:1])[0].permute(1, 2, 0).numpy()
    expected = rgb2yiq(image[0].permute(1, 2, 0).double().numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (texture.rgb_to_yiq, texture.yiq_to_rgb),
        (texture.rgb_to_lalphabeta, texture.lalphabeta_to_rgb),
    ],
    ids=["yiq", "lalphabeta"],
)
def test_colour_spaces_round_trip(
    there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], image: Tensor
) -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]]).T.reshape(1, 3, 2, 2)
    for each in (image, corners):
        torch.testing.assert_close(back(there(each)), each, atol=1e-5, rtol=0)


def test_lalphabeta_decorrelates_photographs() -> None:
    """What the space is for: its channels correlate less than R, G and B do, on average."""

    def correlation(images: Tensor) -> float:
        table = np.corrcoef(images[0].flatten(1).numpy())
        return float(np.abs(table[np.triu_indices(3, 1)]).mean())

    photographs = [photo(name, 64) for name in ("astronaut", "china", "chelsea", "rocket")]
    before = [correlation(each) for each in photographs]
    after = [correlation(texture.rgb_to_lalphabeta(each)) for each in photographs]
    assert all(b < a for a, b in zip(before, after, strict=True))
    assert sum(after) < 0.7 * sum(before)


# --- Colour transfer


def test_channel_statistics_by_hand() -> None:
    """1, 3 has mean 2 and deviation 1; 10, 30 has 20 and 10."""
    image = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    reference = torch.tensor([10.0, 30.0, 10.0, 30.0]).view(1, 1, 2, 2)
    found = texture.match_channel_statistics(image, reference)
    torch.testing.assert_close(found, torch.tensor([10.0, 30.0]).view(1, 1, 1, 2))


def test_channel_statistics_are_the_references(image: Tensor, reference: Tensor) -> None:
    found = texture.match_channel_statistics(image, reference).numpy()
    expected = np.broadcast_to(reference.numpy(), (2, *reference.shape[1:]))
    np.testing.assert_allclose(found.mean((2, 3)), expected.mean((2, 3)), atol=1e-6)
    np.testing.assert_allclose(found.std((2, 3)), expected.std((2, 3)), atol=1e-6)


def test_a_flat_channel_becomes_the_references_mean(reference: Tensor) -> None:
    flat = torch.full((1, 3, 5, 5), 0.3)
    found = texture.match_channel_statistics(flat, reference)
    expected = reference.mean((2, 3), keepdim=True).expand_as(found)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_covariance_is_numpys(image: Tensor) -> None:
    found = texture.colour_covariance(image)
    for each, covariance in zip(image, found, strict=True):
        expected = np.cov(each.flatten(1).numpy(), bias=True)
        np.testing.assert_allclose(covariance, expected, atol=1e-6)


def test_match_covariance_gives_the_references(image: Tensor, reference: Tensor) -> None:
    found = texture.match_covariance(image, reference)
    assert found.dtype == image.dtype
    for each in found:
        expected = np.cov(reference[0].flatten(1).numpy(), bias=True)
        np.testing.assert_allclose(np.cov(each.flatten(1).numpy(), bias=True), expected, atol=1e-6)
    means = reference.mean((2, 3)).expand(2, 3)
    torch.testing.assert_close(found.mean((2, 3)), means, atol=1e-6, rtol=0)


def test_match_covariance_to_itself_changes_nothing(image: Tensor) -> None:
    """The symmetric roots cancel; Cholesky factors would, too, but a transposed root would not."""
    torch.testing.assert_close(texture.match_covariance(image, image), image, atol=1e-5, rtol=0)


def test_match_covariance_of_a_grey_picture_is_finite(reference: Tensor) -> None:
    grey = noise(1, 1, 8, 8).expand(1, 3, 8, 8)
    found = texture.match_covariance(grey, reference)
    assert torch.isfinite(found).all()
    # One direction of colour is all that a grey picture has.
    assert np.linalg.matrix_rank(np.cov(found[0].flatten(1).numpy()), tol=1e-6) == 1


def test_channels_apart_miss_the_correlation_that_covariance_matches(
    image: Tensor, reference: Tensor
) -> None:
    """The reason for the lecture's second version of colour transfer."""
    expected = np.corrcoef(reference[0].flatten(1).numpy())[0, 1]
    apart = texture.match_channel_statistics(image, reference)[0].flatten(1).numpy()
    together = texture.match_covariance(image, reference)[0].flatten(1).numpy()
    assert abs(np.corrcoef(apart)[0, 1] - expected) > 0.3
    assert np.corrcoef(together)[0, 1] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("space", texture.SPACES)
def test_colour_transfer_stays_a_picture(space: str, image: Tensor, reference: Tensor) -> None:
    found = texture.colour_transfer(image, reference, space)
    assert found.shape == image.shape
    assert found.min() >= 0 and found.max() <= 1
    before = (image.mean((2, 3)) - reference.mean((2, 3))).norm()
    after = (found.mean((2, 3)) - reference.mean((2, 3))).norm()
    assert after < before / 3


def test_colour_functions_refuse_what_they_cannot_take(image: Tensor) -> None:
    with pytest.raises(SettingError, match="rgb, lalphabeta, covariance"):
        texture.colour_transfer(image, image, "hsv")
    for function in (texture.rgb_to_yiq, texture.rgb_to_lalphabeta, texture.yiq_to_rgb):
        with pytest.raises(ShapeError, match=r"N, 3, H, W"):
            function(image[:, :2])
    for function in (texture.match_channel_statistics, texture.match_covariance):
        with pytest.raises(ShapeError, match="same C"):
            function(image, image[:, :2])
        with pytest.raises(ShapeError):
            function(image[0], image[0])


# --- Gram matrices and the texture loss


def test_gram_forgets_where(image: Tensor) -> None:
    """Permuting the positions of the features leaves their Gram matrix as it was, exactly."""
    features = noise(1, 5, 6, 8)
    order = torch.randperm(48, generator=generator(1))
    mixed = features.flatten(2)[..., order].view_as(features)
    torch.testing.assert_close(gram_matrix(mixed), gram_matrix(features), atol=1e-6, rtol=1e-6)
    shifted = features.roll((2, 3), dims=(2, 3))
    torch.testing.assert_close(gram_matrix(shifted), gram_matrix(features), atol=1e-6, rtol=1e-6)


def test_shifting_the_image_hardly_changes_the_gram(small_network: FeatureExtractor) -> None:
    """With circular padding, a shift by whole pooling windows changes nothing at all."""
    picture = noise(1, 3, 16, 16)
    circular = FeatureExtractor("vgg16", ("pool1",), weights="random", padding="circular")
    before, after = (
        texture.gram_targets(circular, each)["pool1"] for each in (picture, picture.roll(4, 3))
    )
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
    before, after = (
        texture.gram_targets(small_network, each)["pool1"] for each in (picture, picture.roll(4, 3))
    )
    assert 1e-6 < ((before - after).norm() / before.norm()) < 0.2


def test_gram_targets_are_constants(small_network: FeatureExtractor) -> None:
    picture = noise(1, 3, 8, 12).requires_grad_()
    targets = texture.gram_targets(small_network, picture)
    assert list(targets) == ["conv1_1", "pool1"]
    assert not any(target.requires_grad for target in targets.values())
    features = small_network(picture)["pool1"].detach()
    expected = torch.einsum("nihw,njhw->nij", features, features) / (4 * 6)
    torch.testing.assert_close(targets["pool1"], expected, rtol=1e-4, atol=1e-6)


def test_texture_loss_by_hand() -> None:
    """Two channels, two positions, all by hand."""
    features = {"a": torch.tensor([[1.0, 3.0], [0.0, 2.0]]).view(1, 2, 1, 2)}
    # F Fᵀ / 2 = [[5, 3], [3, 2]]; differences from the target 1, 1, 1, 2: squares sum to 7.
    targets = {"a": torch.tensor([[[4.0, 2.0], [2.0, 0.0]]])}
    assert float(texture.texture_loss(features, targets)) == pytest.approx(7 / 16)
    assert float(texture.texture_loss(features, targets, {"a": 4})) == pytest.approx(7 / 4)


def test_texture_loss_against_einsum() -> None:
    features = {"x": noise(2, 4, 3, 5), "y": noise(2, 6, 2, 2, seed=1)}
    targets = {"y": noise(1, 6, 6, seed=2), "x": noise(1, 4, 4, seed=3)}
    expected = {}
    for name, each in features.items():
        gram = np.einsum("nihw,njhw->nij", each, each) / each[0, 0].numel()
        squares = ((gram - targets[name].numpy()) ** 2).sum((1, 2)) / (4 * each.shape[1] ** 2)
        expected[name] = squares.mean()
    equal = float(texture.texture_loss(features, targets))
    assert equal == pytest.approx(sum(expected.values()) / 2, rel=1e-5)
    weighted = float(texture.texture_loss(features, targets, {"x": 3.0, "y": 0.0}))
    assert weighted == pytest.approx(3 * expected["x"], rel=1e-5)


def test_texture_loss_gradient_is_the_papers() -> None:
    """Gatys et al. 2015, eq. 6: dE/dF = (1 / N²M) (G − A) F, here with G and A divided by M."""
    features = noise(1, 4, 3, 5).requires_grad_()
    target = gram_matrix(noise(1, 4, 3, 5, seed=1))
    (found,) = torch.autograd.grad(texture.texture_loss({"a": features}, {"a": target}), features)
    rows = features.detach().flatten(2)
    expected = (gram_matrix(features.detach()) - target) @ rows / (4**2 * 15)
    torch.testing.assert_close(found.flatten(2), expected, rtol=1e-4, atol=1e-7)


def test_colour_matching_gradient(image: Tensor, reference: Tensor) -> None:
    start = image[:1, :, :3, :4].double().requires_grad_()
    goal = reference[..., :4, :3].double().requires_grad_()
    assert torch.autograd.gradcheck(texture.match_channel_statistics, (start, goal))
    assert torch.autograd.gradcheck(texture.match_covariance, (start, goal))
    assert torch.autograd.gradcheck(texture.rgb_to_lalphabeta, (start,))


def test_texture_loss_names_what_is_missing() -> None:
    features, targets = {"pool1": noise(1, 2, 3, 3)}, {"pool2": noise(1, 2, 2)}
    with pytest.raises(LayerError, match=r"pool2.*pool1"):
        texture.texture_loss(features, targets)
    with pytest.raises(LayerError, match="empty"):
        texture.texture_loss(features, {})
    with pytest.raises(SettingError, match="one weight"):
        texture.texture_loss(features, {"pool1": noise(1, 2, 2)}, {"pool3": 1.0})


def test_balanced_weights_share_the_loss() -> None:
    """A picture without features costs 10,000; each layer's part goes with its Gram's size."""
    targets = {"a": noise(1, 3, 3), "b": 100 * noise(1, 5, 5)}
    weights = texture.balanced_weights(targets)
    nothing = {"a": torch.zeros(1, 3, 2, 2), "b": torch.zeros(1, 5, 4, 4)}
    assert float(texture.texture_loss(nothing, targets, weights)) == pytest.approx(1e4, rel=1e-5)
    a, b = (
        float(texture.texture_loss(nothing, targets, {"a": 0.0, "b": 0.0, name: weights[name]}))
        for name in "ab"
    )
    assert a / b == pytest.approx(float(targets["a"].norm() / 3 / (targets["b"].norm() / 5)))


# --- Synthesis


@pytest.fixture(scope="module")
def stripes() -> Tensor:
    wave = 0.5 + 0.4 * torch.sin(torch.arange(32) * 1.1)
    tint = torch.tensor([1.0, 0.7, 0.4]).view(1, 3, 1, 1)
    return (wave.view(1, 1, 1, 32) * tint).expand(1, 3, 32, 32).contiguous()


def settings(**changes: object) -> dict[str, object]:
    return {
        "size": 32,
        "steps": 25,
        "coarse_steps": 0,
        "weights": "random",
        "progress": False,
        **changes,
    }


def test_layers_up_to_grow() -> None:
    assert list(texture.LAYERS_UP_TO) == ["conv1_1", "pool1", "pool2", "pool3", "pool4"]
    assert texture.LAYERS_UP_TO["pool2"] == ("conv1_1", "pool1", "pool2")
    for depth, layers in texture.LAYERS_UP_TO.items():
        assert layers[-1] == depth


def test_noise_has_the_textures_colours() -> None:
    original = 0.4 + 0.2 * noise(1, 3, 20, 20, seed=5)
    start = texture.texture_noise(original, (24, 40), seed=1)
    assert start.shape == (1, 3, 24, 40)
    torch.testing.assert_close(start.mean((2, 3)), original.mean((2, 3)), atol=1e-4, rtol=0)
    assert torch.equal(start, texture.texture_noise(original, (24, 40), seed=1))
    assert not torch.equal(start, texture.texture_noise(original, (24, 40), seed=2))


def test_synthesis_lowers_the_loss_and_repeats(stripes: Tensor) -> None:
    first = texture.synthesise(stripes, "pool2", **settings(steps=40))
    assert first.loss < first.history[0]["total"] / 10
    again = texture.synthesise(stripes, "pool2", **settings(steps=40))
    assert torch.equal(first.image, again.image)
    other = texture.synthesise(stripes, "pool2", **settings(steps=2, seed=1))
    assert first.history[0]["total"] != other.history[0]["total"]


def test_synthesis_with_the_trained_network(stripes: Tensor) -> None:
    result = texture.synthesise(stripes, "pool1", **settings(weights="imagenet"))
    assert result.loss < result.history[0]["total"] / 10
    assert result.image.shape == stripes.shape


def test_synthesis_matches_the_colours_at_the_end(stripes: Tensor) -> None:
    matched = texture.synthesise(stripes, "conv1_1", **settings(steps=3)).image
    free = texture.synthesise(stripes, "conv1_1", **settings(steps=3, match_colours=False)).image
    goal = stripes.mean((2, 3))
    assert (matched.mean((2, 3)) - goal).norm() < (free.mean((2, 3)) - goal).norm()


def test_synthesis_coarse_to_fine_and_other_sizes(stripes: Tensor) -> None:
    result = texture.synthesise(stripes, "pool1", **settings(size=48, steps=4, coarse_steps=6))
    assert result.image.shape == (1, 3, 48, 48)
    assert [entry["size"] for entry in result.history] == [24] * 6 + [48] * 4


def test_synthesis_refuses_what_it_cannot_use(stripes: Tensor) -> None:
    with pytest.raises(LayerError, match="conv1_1, pool1, pool2, pool3, pool4"):
        texture.synthesise(stripes, "relu9", **settings())
    with pytest.raises(LayerError, match="relu9"):
        texture.synthesise(stripes, ("relu9",), **settings())
    with pytest.raises(ImageError, match="texture must be"):
        texture.synthesise(stripes[0], "pool1", **settings())
    with pytest.raises(ShapeError, match="one texture"):
        texture.synthesise(stripes.repeat(2, 1, 1, 1), "pool1", **settings())
    with pytest.raises(SettingError, match="weight"):
        texture.synthesise(stripes, "pool1", **settings(layer_weights={"pool1": 1.0}))


# --- Exercises

EXERCISES = engine.of_topic("texture")
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise_stub_and_reference(exercise: engine.Exercise) -> None:
    namespace: dict[str, object] = {}
    exec(exercise.stub, namespace)
    stub = namespace[exercise.id.split(".")[1]]
    assert engine.check(exercise.id, stub).status == "not started"
    assert engine.check(exercise.id, exercise.reference).passed
    assert len(exercise.hints) == 3 and len(exercise.mistakes) >= 3


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=[f"{e.id}-{m.name}" for e, m in MISTAKES]
)
def test_every_mistake_is_named(exercise: engine.Exercise, mistake: engine.Mistake) -> None:
    result = engine.check(exercise.id, mistake.of(exercise.reference))
    assert (result.status, result.mistake) == ("wrong", mistake.name)


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1.0])
def test_eigen_power_is_scipys_and_leaves_small_directions_null(exponent: float) -> None:
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    matrix = root @ root.T + torch.eye(4)
    values, vectors = torch.linalg.eigh(matrix)
    found = texture.eigen_power(values[None], vectors[None], exponent, torch.zeros(1, 1))
    expected = scipy.linalg.fractional_matrix_power(matrix.numpy(), exponent)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-10)
    largest = texture.eigen_power(values[None], vectors[None], exponent, values[None, 2:3])
    axis = vectors[:, 3:]
    torch.testing.assert_close(largest[0], values[3] ** exponent * axis @ axis.T)


# --- The quiz


def test_quiz_files_are_what_the_index_says() -> None:
    folder = data_dir() / "quiz"
    entries = json.loads((folder / "quiz.json").read_text("utf-8"))
    assert [entry["name"] for entry in entries] == list(texture_quiz.PAIRS)
    for entry in entries:
        real, made = (load_image(folder / entry[key]) for key in ("real", "made"))
        assert real.shape == made.shape == (1, 3, texture_quiz.SIZE, texture_quiz.SIZE)
        assert max((folder / entry[key]).stat().st_size for key in ("real", "made")) < 20_000
        torch.testing.assert_close(real.mean(), made.mean(), atol=0.03, rtol=0)
        assert (real - made).abs().mean() > 0.02, "the twin is a copy"
        source = texture_quiz.PAIRS[entry["name"]].real()
        assert (real - source).abs().mean() < 0.03, "the real one is not from that square"
        assert entry["credit"] and entry["licence"] and entry["how"]["seed"] == entry["seed"]


def test_quiz_pairs_are_made_by_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dataclasses.replace(texture_quiz.PAIRS["gravel"], steps=1, coarse_steps=1)
    monkeypatch.setitem(texture_quiz.PAIRS, "gravel", quick)
    index = texture_quiz.write(["gravel"], tmp_path)
    (entry,) = json.loads(index.read_text("utf-8"))
    assert entry["how"]["steps"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gravel_made.jpg",
        "gravel_real.jpg",
        "quiz.json",
    ]
    with pytest.raises(SettingError, match="gravel, grass"):
        texture_quiz.write(["sand"], tmp_path)


def test_a_quiz_pair_says_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dataclasses.replace(texture_quiz.PAIRS["grass"], steps=1, coarse_steps=1, seed=4)
    monkeypatch.setitem(texture_quiz.PAIRS, "grass", quick)
    entry = texture_quiz.make_quiz_pair("grass", tmp_path, progress=False)
    settings = {"up_to": "pool4", "steps": 1, "coarse_steps": 1, "seed": 4}
    assert entry["how"] == {"function": "coursekit.texture.synthesise", **settings}
    assert {path.name for path in tmp_path.iterdir()} == {entry["real"], entry["made"]}


def test_the_quiz_s_command_makes_the_pairs_that_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(texture_quiz, "write", lambda names: (asked.append(names), "there")[1])
    texture_quiz.main(["grass", "wood"])
    texture_quiz.main([])
    assert asked == [["grass", "wood"], list(texture_quiz.PAIRS)]
    assert capsys.readouterr().out == "there\nthere\n"


def test_the_quiz_s_command_refuses_an_unknown_pair_before_it_makes_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(texture_quiz, "data_dir", lambda: tmp_path)
    with pytest.raises(SystemExit) as caught:
        texture_quiz.main(["grass", "nosuch"])
    assert caught.value.code == 2 and "no pair 'nosuch'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
