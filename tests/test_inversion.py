"""Topic 01 against hand-computed numbers, other implementations and properties."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from coursekit import inversion
from coursekit.core.errors import ImageError, LayerError, SettingError, ShapeError
from coursekit.core.features import FeatureExtractor
from coursekit.core.perceptual import LPIPS
from coursekit.core.runtime import generator
from coursekit.datasets.photos import photo
from coursekit.exercises import engine
from coursekit.exercises.inversion import EXERCISES

QUIET = dict(progress=False)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


@pytest.fixture(scope="module")
def cat() -> Tensor:
    return photo("chelsea", 48, crop=True)


@pytest.fixture(scope="module")
def shallow() -> FeatureExtractor:
    return FeatureExtractor("vgg16", ["conv2_1"])


# --- The objective ---


def test_feature_loss_by_hand() -> None:
    target = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)  # energy 25
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0], [4.0, 6.0]]).view(3, 2, 1, 1)
    errors = inversion.relative_errors(features, target)
    assert torch.allclose(errors, torch.tensor([0.0, 1.0, 5 / 25]))
    assert inversion.feature_loss(features, target).item() == pytest.approx(0.4)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_feature_loss_does_not_depend_on_the_scale_of_a_layer(factor: float) -> None:
    features, target = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    expected = inversion.feature_loss(features, target)
    assert torch.allclose(inversion.feature_loss(factor * features, factor * target), expected)


def test_feature_loss_refuses_maps_that_do_not_match() -> None:
    with pytest.raises(ShapeError, match="cannot be compared"):
        inversion.feature_loss(rand(1, 3, 4, 4), rand(1, 3, 4, 5))
    with pytest.raises(ShapeError, match="cannot be compared"):
        inversion.feature_loss(rand(2, 3, 4, 4), rand(3, 3, 4, 4))
    with pytest.raises(ShapeError, match="zero everywhere"):
        inversion.feature_loss(rand(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))


def test_tv_prior_by_hand() -> None:
    image = torch.tensor([[0.0, 3.0, 3.0], [4.0, 0.0, 0.0]]).view(1, 1, 2, 3)
    # Two positions have a right and a lower neighbour: (3, 4) and (0, -3).
    assert inversion.tv_prior(image, beta=2).item() == pytest.approx((25 + 9) / 6)
    assert inversion.tv_prior(image, beta=1).item() == pytest.approx((5 + 3) / 6, rel=1e-4)


def test_tv_prior_does_not_depend_on_the_size() -> None:
    ramps = [torch.arange(float(n)).expand(1, 3, n, n) / 50 for n in (20, 200)]
    small, large = (inversion.tv_prior(ramp).item() for ramp in ramps)
    assert small == pytest.approx(large, rel=0.12)


def test_gradients_against_finite_differences() -> None:
    def network(images: Tensor) -> dict[str, Tensor]:
        return {"layer": torch.sin(3 * images[..., ::2, ::2]) * images[..., 1::2, 1::2]}

    target = network(rand(1, 3, 4, 6, seed=1).double())["layer"]
    loss = inversion.objective(network, "layer", target, weight=0.7)
    start = rand(2, 3, 4, 6).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: tuple(loss(x).values()), start)


def test_objective_terms_and_bad_settings(cat: Tensor, shallow: FeatureExtractor) -> None:
    target = inversion.features_of(shallow, "conv2_1", cat)
    terms = inversion.objective(shallow, "conv2_1", target, weight=2.0, beta=2.0)(cat)
    assert terms["features"].item() == 0
    assert terms["tv"].item() == pytest.approx(2 * inversion.tv_prior(cat, 2.0).item())
    for bad in (dict(weight=-1.0), dict(weight=1.0, beta=0.0)):
        with pytest.raises(SettingError, match="weight"):
            inversion.objective(shallow, "conv2_1", target, **bad)


# --- Inversion ---


def test_white_noise_is_seeded_grey_and_in_range() -> None:
    noise = inversion.white_noise((40, 50), seed=3, amplitude=0.05)
    assert noise.shape == (1, 3, 40, 50)
    assert torch.equal(noise, inversion.white_noise((40, 50), seed=3, amplitude=0.05))
    assert not torch.equal(noise, inversion.white_noise((40, 50), seed=4, amplitude=0.05))
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.std().item() == pytest.approx(0.05, rel=0.05)
    loud = inversion.white_noise((40, 50), amplitude=5)
    assert loud.min() == 0 and loud.max() == 1


@pytest.mark.parametrize(("network", "layer"), [("vgg16", "conv2_1"), ("alexnet", "conv2")])
def test_inversion_lowers_the_loss_and_finds_the_picture(
    network: str, layer: str, cat: Tensor
) -> None:
    result = inversion.invert(network, layer, cat, steps=30, **QUIET)
    features = result.curve("features")
    assert result.loss < 0.2 * result.curve()[0]
    assert min(features) < 0.2 * features[0]
    start = inversion.white_noise((48, 48))
    assert LPIPS()(result.image, cat) < 0.6 * LPIPS()(start, cat)
    error = inversion.feature_errors(network, layer, result.image, cat)[0]
    assert min(abs(error - each) for each in features) < 1e-4


def test_the_same_seed_gives_the_same_image(cat: Tensor, shallow: FeatureExtractor) -> None:
    first, again, other = (
        inversion.invert(shallow, "conv2_1", cat, seed=seed, steps=5, noise=0.1, **QUIET).image
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_original_is_a_perfect_start(cat: Tensor, shallow: FeatureExtractor) -> None:
    result = inversion.invert(shallow, "conv2_1", cat, weight=0, start=cat, steps=1, **QUIET)
    assert result.loss == 0
    assert torch.equal(result.image, cat)


def test_only_the_features_of_the_original_are_used() -> None:
    """The last column of 50 pixels is out of sight for AlexNet's conv1 (kernel 11, stride 4,
    padding 2): its last window covers columns 38 to 48."""
    image = photo("chelsea", 50, crop=True)
    changed = image.clone()
    changed[..., 49] = 1 - changed[..., 49]
    one, two = (inversion.invert("alexnet", "conv1", i, steps=4, **QUIET) for i in (image, changed))
    assert torch.equal(one.image, two.image)


def test_more_weight_gives_a_smoother_image(cat: Tensor, shallow: FeatureExtractor) -> None:
    results = [
        inversion.invert(shallow, "conv2_1", cat, weight=weight, steps=15, **QUIET)
        for weight in (0.0, 1.0, 100.0)
    ]
    roughness = [inversion.tv_prior(result.image).item() for result in results]
    errors = [min(result.curve("features")) for result in results]
    assert roughness[0] > roughness[1] > roughness[2]
    assert errors[2] > errors[0]


def test_the_weight_depends_on_the_network(cat: Tensor) -> None:
    for network, layer in (("alexnet", "conv1"), ("vgg16", "conv1_1")):
        weight = inversion.TV_WEIGHTS[network]
        default, same, other = (
            inversion.invert(network, layer, cat, steps=1, **given, **QUIET).curve("tv")[0]
            for given in ({}, dict(weight=weight), dict(weight=2 * weight))
        )
        assert default == same == pytest.approx(other / 2)


def test_an_extractor_is_taken_as_it_is_or_cut_anew() -> None:
    whole = FeatureExtractor("vgg16", ["conv1_1", "conv1_2"])
    assert inversion.as_extractor(whole, "conv1_2") is whole
    cut = inversion.as_extractor(whole, "relu2_1")
    assert (cut.network, tuple(cut.layers)) == ("vgg16", ("relu2_1",))
    assert tuple(inversion.as_extractor("alexnet", "conv2").layers) == ("conv2",)


def test_errors_of_invert(cat: Tensor) -> None:
    with pytest.raises(LayerError, match="conv9_1"):
        inversion.invert("vgg16", "conv9_1", cat)
    with pytest.raises(SettingError, match="resnet"):
        inversion.invert("resnet", "conv1_1", cat)
    with pytest.raises(ImageError, match="too small"):
        inversion.invert("vgg16", "conv5_3", cat[..., :8, :8])


def test_gradient_step_goes_downhill(cat: Tensor, shallow: FeatureExtractor) -> None:
    target = inversion.features_of(shallow, "conv2_1", cat)
    start = inversion.white_noise((48, 48))

    def loss(images: Tensor) -> Tensor:
        return inversion.feature_loss(shallow(images)["conv2_1"], target)

    before, kept = loss(start).item(), start.clone()
    after = loss(inversion.gradient_step(start, loss, rate=1.0)).item()
    assert after < before
    assert torch.equal(start, kept)


def test_conv_layers_and_sweep(cat: Tensor) -> None:
    assert inversion.conv_layers("alexnet") == ("conv1", "conv2", "conv3", "conv4", "conv5")
    assert len(inversion.conv_layers("vgg16")) == 13
    swept = inversion.invert_layers("alexnet", cat, ["conv1", "conv3"], steps=3, **QUIET)
    assert list(swept) == ["conv1", "conv3"]
    assert all(result.steps == 3 for result in swept.values())


def test_difference_map() -> None:
    images = torch.zeros(2, 3, 4, 5)
    images[1, 0, 2, 3] = 1.0  # deviation 1/2 in one of three channels
    found = inversion.difference_map(images)
    assert found.shape == (4, 5)
    assert found[2, 3].item() == pytest.approx(0.5 / 3)
    assert found.sum().item() == pytest.approx(0.5 / 3)
    with pytest.raises(ShapeError, match="two images"):
        inversion.difference_map(images[:1])


# --- Distances ---


def test_pixel_distances_by_hand() -> None:
    black = torch.zeros(2, 3, 4, 4)
    others = black + torch.tensor([0.1, 1.0]).view(2, 1, 1, 1)
    assert torch.allclose(inversion.squared_error(others, black), torch.tensor([0.01, 1.0]))
    assert torch.allclose(inversion.psnr(others, black), torch.tensor([20.0, 0.0]), atol=1e-4)
    assert inversion.psnr(black, black).tolist() == [math.inf, math.inf]


def test_ssim_of_flat_pictures_by_hand() -> None:
    """Without variance only the first factor of Wang et al. 2004, eq. 13, is left."""
    first, second, c1 = 0.3, 0.7, 0.01**2
    expected = 1 - (2 * first * second + c1) / (first**2 + second**2 + c1)
    flat = torch.ones(1, 3, 12, 15)
    found = inversion.dissimilarity(first * flat, second * flat)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_ssim_is_zero_for_twins_and_ignores_nothing(cat: Tensor) -> None:
    others = torch.cat([cat, 1 - cat, inversion.blur(cat, 1.5)])
    twin, negative, blurred = inversion.dissimilarity(cat.expand(3, -1, -1, -1), others).tolist()
    assert abs(twin) < 1e-6 < blurred < 1 < negative
    with pytest.raises(ShapeError, match="11 pixels"):
        inversion.dissimilarity(cat[..., :10, :10], cat[..., :10, :10])


def test_unit_feature_distance_by_hand() -> None:
    first = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # (1,0), (2,0)
    second = torch.tensor([[0.0, 5.0], [3.0, 0.0]]).view(1, 2, 1, 2)  # (0,3), (5,0)
    # Right angle: 2; same direction, other length: 0.
    assert inversion.unit_feature_distance(first, second).tolist() == [1.0]
    assert inversion.unit_feature_distance(first, -first).tolist() == [4.0]
    assert inversion.unit_feature_distance(0 * first, second).tolist() == [1.0]


def test_distances_refuse_sizes_that_differ() -> None:
    for distance in (inversion.squared_error, inversion.psnr, inversion.dissimilarity):
        with pytest.raises(ShapeError, match="one size"):
            distance(rand(1, 3, 16, 16), rand(1, 3, 16, 17))


# --- Distortions ---


@pytest.mark.parametrize("kind", inversion.DISTORTIONS)
def test_distortions_are_pure_seeded_and_ordered(kind: str, cat: Tensor) -> None:
    function, strengths = inversion.DISTORTIONS[kind]
    kept = cat.clone()
    made = [function(cat, strength, 5) for strength in strengths]
    assert torch.equal(cat, kept)
    assert torch.equal(made[0], function(cat, strengths[0], 5))
    assert all(each.shape == cat.shape and each.min() >= 0 and each.max() <= 1 for each in made)
    errors = [inversion.squared_error(each, cat).item() for each in made]
    assert 0 < errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("kind", ["noise", "shift", "colour"])
def test_the_seed_matters(kind: str, cat: Tensor) -> None:
    function, strengths = inversion.DISTORTIONS[kind]
    results = {tuple(function(cat, strengths[1], seed).flatten().tolist()) for seed in range(8)}
    assert len(results) > 1


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    grey = torch.full((1, 3, 64, 64), 0.5)
    found = inversion.noise(grey, 0.1, seed=3) - grey
    assert found.std().item() == pytest.approx(0.1, rel=0.03)
    assert abs(found.mean().item()) < 0.005


def test_shift_moves_pixels() -> None:
    image = torch.zeros(1, 3, 9, 11)
    image[..., 4, 5] = 1.0
    for seed in range(4):
        where = inversion.shift(image, 2, seed)[0, 0].nonzero().tolist()
        assert len(where) == 1
        assert {abs(where[0][0] - 4), abs(where[0][1] - 5)} == {2}


def test_blur_keeps_the_mean_and_matches_the_formula() -> None:
    image = torch.zeros(1, 3, 21, 21)
    image[..., 10, 10] = 1.0
    blurred = inversion.blur(image, 1.2)[0, 0]
    assert blurred.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (blurred[10, 12] / blurred[10, 10]).item() == pytest.approx(math.exp(-4 / 2.88), 1e-4)


def test_colour_adds_a_vector_of_that_length() -> None:
    grey = torch.full((1, 3, 4, 4), 0.5)
    change = (inversion.colour(grey, 0.2, 3) - grey)[0, :, 0, 0]
    assert change.norm().item() == pytest.approx(0.2, rel=1e-5)


def test_jpeg_refuses_a_quality_out_of_range(cat: Tensor) -> None:
    with pytest.raises(SettingError, match="quality"):
        inversion.jpeg(cat, 0)


# --- The two-alternatives test ---


def _patches(cat: Tensor) -> Tensor:
    return torch.cat([cat[..., :24, :24], cat[..., 24:, 24:], cat[..., :24, 24:]])


def _mean_shift(images: Tensor, others: Tensor) -> Tensor:
    """Sees colour and nothing else."""
    return (images.mean(dim=(2, 3)) - others.mean(dim=(2, 3))).square().sum(1)


@pytest.fixture(scope="module")
def trials(cat: Tensor) -> list[inversion.Trial]:
    metrics = {"L2": inversion.squared_error, "PSNR": _negative_psnr, "mean": _mean_shift}
    return inversion.two_alternatives(_patches(cat), metrics, seed=1)


def _negative_psnr(images: Tensor, others: Tensor) -> Tensor:
    return 100 - inversion.psnr(images, others)


def test_trials_are_all_pairs_of_different_kinds(trials: list[inversion.Trial]) -> None:
    assert len(trials) == 3 * (15 * 14 // 2 - 5 * 3)
    assert all(trial.names[0].split()[0] != trial.names[1].split()[0] for trial in trials)
    kinds = [trial.names[0].split()[0] for trial in trials]
    assert 0.1 < kinds.count("blur") / len(trials) < 0.3  # sides are random


def test_distances_belong_to_the_pictures_shown(trials: list[inversion.Trial]) -> None:
    for trial in trials[::17]:
        for index, picture in enumerate((trial.left, trial.right)):
            expected = (picture - trial.reference).square().mean().item()
            assert trial.distances["L2"][index] == pytest.approx(expected, rel=1e-4)
        near = min((0, 1), key=lambda side: trial.distances["L2"][side])
        assert trial.closer("L2") == near
        assert trial.margin("L2") >= 1


def test_agreement_counts(trials: list[inversion.Trial]) -> None:
    table = inversion.agreement(trials, ["L2", "PSNR", "mean"])
    count = len(trials)
    assert [table[i][i] for i in range(3)] == [count] * 3
    assert table[0][1] == count  # PSNR is a decreasing function of L2
    assert table[0][2] == table[2][0] == table[1][2] < count


def test_disagreements_are_disagreements(trials: list[inversion.Trial]) -> None:
    chosen = inversion.disagreements(trials, "mean", ["L2", "PSNR"], count=3)
    assert chosen
    for trial in chosen:
        assert trial.closer("L2") == trial.closer("PSNR") != trial.closer("mean")
    assert len({trial.patch for trial in chosen}) == len(chosen)
    assert inversion.disagreements(trials, "L2", ["PSNR"]) == []


def test_two_alternatives_is_deterministic_and_refuses_nothing_to_compare(cat: Tensor) -> None:
    metrics = {"L2": inversion.squared_error}
    runs = [inversion.two_alternatives(_patches(cat), metrics, seed=4) for _ in range(2)]
    assert [t.distances for t in runs[0]] == [t.distances for t in runs[1]]
    with pytest.raises(SettingError, match="metric"):
        inversion.two_alternatives(_patches(cat), {})


# --- Exercises ---


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_stub_reference_and_every_mistake(exercise: engine.Exercise) -> None:
    space: dict[str, object] = {}
    exec(exercise.stub, space)
    assert engine.check(exercise.id, space[exercise.id.split(".")[1]]).status == "not started"
    assert engine.check(exercise.id, exercise.reference).passed
    assert len(exercise.mistakes) >= 3 and len(exercise.hints) == 3
    for mistake in exercise.mistakes:
        result = engine.check(exercise.id, mistake.of(exercise.reference))
        assert result.status == "wrong"
        assert result.mistake == mistake.name, str(result)


def _alternative_total_variation(images: Tensor) -> Tensor:
    return sum(images.diff(dim=axis).pow(2).sum() for axis in (2, 3)) / len(images)


def _alternative_feature_loss(features: Tensor, target: Tensor) -> Tensor:
    return torch.stack(
        [
            (features[i] - target[i % len(target)]).pow(2).sum()
            / target[i % len(target)].pow(2).sum()
            for i in range(len(features))
        ]
    ).mean()


def _alternative_step(images: Tensor, loss: object, rate: float) -> Tensor:
    pixels = torch.nn.Parameter(images.clone())
    loss(pixels).backward()
    with torch.no_grad():
        return torch.clamp(pixels - rate * pixels.grad, min=0, max=1)


def _alternative_unit_distance(features: Tensor, others: Tensor) -> Tensor:
    units = [each / (each.norm(dim=1, keepdim=True) + 1e-8) for each in (features, others)]
    return (units[0] - units[1]).pow(2).sum(1).flatten(1).mean(1)


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("inversion.total_variation", _alternative_total_variation),
        ("inversion.feature_loss", _alternative_feature_loss),
        ("inversion.gradient_step", _alternative_step),
        (
            "inversion.psnr",
            lambda a, b: 20 * torch.log10(1 / (a - b).pow(2).mean((1, 2, 3)).sqrt()),
        ),
        ("inversion.unit_feature_distance", _alternative_unit_distance),
    ],
)
def test_other_right_answers_pass(id: str, answer: object) -> None:
    assert engine.check(id, answer).passed
