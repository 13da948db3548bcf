"""Topic 04: network, loss, training step, flicker, recipe: each against what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit import fast_style, gatys
from coursekit.core import checkpoints, training
from coursekit.core.errors import CourseError, DataError, ImageError, SettingError, WeightsError
from coursekit.core.features import FeatureExtractor
from coursekit.core.images import save_image
from coursekit.core.optimise import optimise_pixels
from coursekit.datasets.crops import Crops
from coursekit.datasets.paintings import style
from coursekit.datasets.photos import photo
from coursekit.fast_style_networks import (
    ResidualBlock,
    Stage,
    TransformerNetwork,
    check_photographs,
    convolution,
    instance_norm,
    layer_table,
    normalisation,
)
from coursekit.recipes import fast_style as recipe


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def small(seed: int = 0, **settings: object) -> TransformerNetwork:
    """A small network whose residual block takes part: trained ones do not begin at 0."""
    torch.manual_seed(seed)
    network = TransformerNetwork(4, 1, **settings)
    if settings.get("norm") != "none":
        nn.init.ones_(network.body[0].norm2.weight)
    return network


@pytest.fixture(scope="module")
def night() -> Tensor:
    return style("night_strokes", 48).image


@pytest.fixture(scope="module")
def objective(night: Tensor) -> fast_style.Objective:
    return fast_style.Objective(night)


# --- The network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "count"), [(32, 1_679_235), (16, 424_899)])
def test_the_network_has_the_published_number_of_parameters(width: int, count: int) -> None:
    network = TransformerNetwork(width)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert not list(network.buffers())  # instance normalisation keeps no running statistics


def test_the_table_of_layers_is_that_of_the_paper() -> None:
    rows = layer_table(TransformerNetwork(32), (64, 96))
    assert [row[1] for row in rows] == [
        "32 × 64 × 96",
        "64 × 32 × 48",
        "128 × 16 × 24",
        *["128 × 16 × 24"] * 5,
        "64 × 32 × 48",
        "32 × 64 × 96",
        "3 × 64 × 96",
    ]
    assert sum(int(row[2].replace(",", "")) for row in rows) == 1_679_235


@pytest.mark.parametrize("size", [(5, 5), (6, 9), (7, 13), (33, 18), (64, 64)])
def test_any_size_comes_back_as_it_was(size: tuple[int, int]) -> None:
    out = small()(noise(2, 3, *size))
    assert out.shape == (2, 3, *size)
    assert 0 <= float(out.detach().min()) <= float(out.detach().max()) <= 1


@pytest.mark.parametrize("shape", [(1, 3, 4, 30), (1, 3, 30, 4), (3, 30, 30), (1, 1, 30, 30)])
def test_what_the_network_cannot_take_is_said(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"too small|Expected images"):
        small()(noise(*shape))
    with pytest.raises(ImageError):
        fast_style.paint(small(), noise(*shape))
    with pytest.raises(ImageError):
        check_photographs(noise(*shape))
    check_photographs(noise(1, 3, 5, 5))


def test_a_convolution_sees_a_mirror_and_a_layer_is_normalised_or_not() -> None:
    layer, images = convolution(3, 2, 5, stride=2), noise(2, 3, 9, 12)
    mirrored = F.pad(images, [2] * 4, mode="reflect")
    expected = F.conv2d(mirrored, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(images), expected)
    own, shared, none = (normalisation(kind, 3)(images) for kind in ("instance", "batch", "none"))
    torch.testing.assert_close(own.mean((2, 3)), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(shared.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert torch.equal(none, images)
    with pytest.raises(SettingError, match="instance, batch, none"):
        normalisation("layer", 3)


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"blocks": 0}, {"norm": "layer"}, {"precision": "float8"}]
)
def test_unknown_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        TransformerNetwork(**settings)


def test_a_margin_cut_off_an_odd_picture_is_the_last_rows_and_columns() -> None:
    """Nothing moves: an odd picture is painted like the one that has a row and a column more."""
    network = small(norm="none")
    picture = noise(1, 3, 64, 64)
    whole, odd = (
        fast_style.paint(network, picture),
        fast_style.paint(network, picture[..., :63, :61]),
    )
    assert torch.allclose(whole[..., :30, :30], odd[..., :30, :30], atol=1e-5)


def test_bfloat16_paints_nearly_the_same() -> None:
    picture = noise(1, 3, 32, 40)
    exact, rough = (fast_style.paint(small(precision=p), picture) for p in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32
    assert float((exact - rough).abs().max()) < 0.1


def test_instance_norm_is_torch_s_and_its_gradient_too() -> None:
    x = noise(2, 3, 4, 5).double().requires_grad_()
    scale, shift = (noise(3, seed=s).double().requires_grad_() for s in (1, 2))
    mine = instance_norm(x, scale, shift)
    theirs = F.instance_norm(x, weight=scale, bias=shift)
    assert torch.allclose(mine, theirs, atol=1e-12)
    weights = noise(*mine.shape, seed=3).double()
    grads = [torch.autograd.grad((y * weights).sum(), [x, scale, shift]) for y in (mine, theirs)]
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*grads, strict=True))


def test_instance_norm_forgets_contrast_and_brightness() -> None:
    x, one, zero = noise(2, 3, 8, 8).double(), torch.ones(3).double(), torch.zeros(3).double()
    changed = instance_norm(0.1 * x + 5, one, zero, 0.0)
    assert torch.allclose(changed, instance_norm(x, one, zero, 0.0), atol=1e-9)


def test_the_layers_of_the_network_normalise_as_the_function_does() -> None:
    stage, x = Stage(3, 4, 3), noise(2, 3, 6, 7)
    expected = F.relu(instance_norm(stage.conv(x), stage.norm.weight, stage.norm.bias))
    assert torch.allclose(stage(x), expected, atol=1e-5)


def test_a_residual_block_adds_and_mirrors_its_borders() -> None:
    block, x = ResidualBlock(3), noise(2, 3, 6, 7)
    assert torch.equal(block(x), x)  # as it begins
    nn.init.ones_(block.norm2.weight)

    def convolved(layer: nn.Conv2d, maps: Tensor) -> Tensor:
        return F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="reflect"), layer.weight, layer.bias)

    inside = F.relu(F.instance_norm(convolved(block.conv1, x)))
    expected = x + F.instance_norm(convolved(block.conv2, inside))
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_enlarging_repeats_pixels() -> None:
    stage = Stage(1, 1, 3, upsample=2, norm="none")
    with torch.no_grad():
        stage.conv.weight.zero_()[..., 1, 1] = 1  # the convolution hands its input through
        stage.conv.bias.zero_()
    x = noise(1, 1, 3, 4)
    assert torch.equal(stage(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_with_instance_norm_a_picture_is_painted_alike_in_every_company() -> None:
    pictures = noise(3, 3, 16, 16)
    together = small()(pictures)
    alone = small()(pictures[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)
    batch = small(norm="batch").train()
    assert not torch.allclose(batch(pictures)[:1], batch(pictures[:1]), atol=1e-3)


# --- The loss -------------------------------------------------------------------------------------


def test_the_content_loss_by_hand() -> None:
    target = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 2.0]]]])
    features = target + torch.tensor([[[[0.0, 5.0]]], [[[1.0, 0.0]]]])
    found = fast_style.perceptual_content_loss(features, target)
    assert found.item() == pytest.approx((25 / 2 + 1 / 2) / 2)


def test_the_content_loss_is_torch_s_and_its_gradient_too() -> None:
    features, target = noise(2, 3, 4, 5).double().requires_grad_(), noise(2, 3, 4, 5, seed=1)
    sides = [f(features, target.double()) for f in (fast_style.perceptual_content_loss, F.mse_loss)]
    assert torch.allclose(*sides)
    assert torch.allclose(*(torch.autograd.grad(side, features)[0] for side in sides))


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(CourseError):
        fast_style.perceptual_content_loss(noise(1, 3, 4, 5), noise(1, 3, 4, 4))


def test_the_loss_of_one_photograph_is_the_one_that_gatys_minimises(objective, night) -> None:
    """Value and gradient, against `gatys.transfer_loss` with its own extractor."""
    cat = photo("cat", 40)
    extractor = FeatureExtractor(layers=fast_style.STYLE_LAYERS)
    theirs = gatys.transfer_loss(
        extractor,
        cat,
        gatys.gram_targets(extractor, night),
        # Gatys' term is a share of the energy, Johnson's a mean of squares.
        content_weight=float(extractor(cat)[fast_style.CONTENT_LAYER].square().mean()),
        style_weight=fast_style.STYLE_WEIGHT,
        content_layers=[fast_style.CONTENT_LAYER],
        smoothness_weight=fast_style.SMOOTHNESS_WEIGHT,
    )
    sides = []
    for loss in (objective.of(cat), theirs):
        x = noise(*cat.shape, seed=3).requires_grad_()
        terms = loss(x)
        sum(terms.values()).backward()
        sides.append((terms, x.grad))
    for name in ("content", "style", "smoothness"):
        assert sides[0][0][name].item() == pytest.approx(sides[1][0][name].item(), rel=1e-3)
    error = (sides[0][1] - sides[1][1]).norm() / sides[1][1].norm()
    assert float(error) < 1e-2


def test_the_loss_of_a_batch_is_the_mean_over_its_photographs(objective) -> None:
    photographs, paintings = noise(3, 3, 24, 32), noise(3, 3, 24, 32, seed=1)
    whole = objective(paintings, objective.content_features(photographs))
    for name in whole:
        singles = [
            float(
                objective(paintings[i : i + 1], objective.content_features(photographs[i : i + 1]))[
                    name
                ]
            )
            for i in range(3)
        ]
        assert float(whole[name]) == pytest.approx(sum(singles) / 3, rel=1e-3)


def test_the_painting_that_equals_its_photograph_has_no_content_loss(objective, night) -> None:
    photographs = noise(2, 3, 24, 32)
    terms = objective(photographs, objective.content_features(photographs))
    assert float(terms["content"]) == pytest.approx(0, abs=1e-6)
    itself = objective(night, objective.content_features(night))
    assert float(itself["style"]) == pytest.approx(0, abs=1e-5)


def test_content_features_come_from_a_network_that_ends_there(objective) -> None:
    deepest = list(dict(objective._content.body.named_children()))[-1]
    assert deepest == fast_style.CONTENT_LAYER
    photographs = noise(1, 3, 24, 24)
    full = objective.extractor(photographs)[fast_style.CONTENT_LAYER]
    assert torch.allclose(objective.content_features(photographs), full, atol=1e-4)
    assert not objective.content_features(photographs).requires_grad


def test_the_objective_refuses_what_is_no_picture(night) -> None:
    with pytest.raises(ImageError):
        fast_style.Objective(night[0])
    with pytest.raises(CourseError):
        fast_style.Objective(night, content_layer="relu9_9")


# --- Training -------------------------------------------------------------------------------------


def weights_of(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_a_step_moves_the_painter_and_nobody_else(objective) -> None:
    network = small()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    before = weights_of(network), weights_of(objective.extractor)
    terms = fast_style.training_step(network, optimiser, objective, noise(2, 3, 20, 24))
    assert set(terms) == {"content", "style", "smoothness"}
    assert not any(term.requires_grad for term in terms.values())
    moved = (weights_of(network) - before[0]).abs()
    assert (moved > 0).float().mean() > 0.8  # a bias before a normalisation has no effect
    assert torch.equal(weights_of(objective.extractor), before[1])
    assert all(p.grad is None for p in objective.extractor.parameters())


def test_a_step_follows_the_gradient_of_the_whole_loss(objective) -> None:
    photographs, networks = noise(2, 3, 20, 24), [small(), small()]
    optimiser = torch.optim.SGD(networks[0].parameters(), 0.01)
    fast_style.training_step(networks[0], optimiser, objective, photographs)
    terms = objective(networks[1](photographs), objective.content_features(photographs))
    total = terms["content"] + terms["style"] + terms["smoothness"]
    gradients = torch.autograd.grad(total, list(networks[1].parameters()))
    for mine, theirs, slope in zip(
        networks[0].parameters(), networks[1].parameters(), gradients, strict=True
    ):
        assert torch.allclose(mine, theirs - 0.01 * slope, atol=1e-5)


def trained(folder: Path, steps: int, night: Tensor) -> tuple[nn.Module, training.TrainingResult]:
    network = small(1)
    objective = fast_style.Objective(night, style_layers=("relu1_2",), content_layer="relu1_2")
    batches = training.Batches(Crops([photo("cat", 64)], 32, count=20), 2)
    result = fast_style.train(
        network,
        objective,
        batches,
        rate=lambda number: 1 / number,
        shown=noise(2, 3, 16, 16),
        steps=steps,
        folder=folder,
        progress=False,
    )
    return network, result


def test_training_lowers_the_loss_and_goes_on_exactly(tmp_path: Path, night) -> None:
    whole, result = trained(tmp_path / "whole", 6, night)
    assert result.timeline.steps[0] == 0
    assert len(result.timeline) >= 3
    trained(tmp_path / "parts", 3, night)
    resumed, again = trained(tmp_path / "parts", 6, night)
    assert again.steps == 6
    assert torch.allclose(weights_of(whole), weights_of(resumed), atol=1e-6)


def test_many_steps_on_one_photograph_lower_the_loss_by_much(night) -> None:
    network, photograph = small(2), photo("cat", 32)
    objective = fast_style.Objective(night, style_layers=("relu1_2", "relu2_2"))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    before = fast_style.evaluate(network, objective, [photograph])
    for _ in range(25):
        fast_style.training_step(network, optimiser, objective, photograph)
    after = fast_style.evaluate(network, objective, [photograph])
    assert after["total"] < 0.8 * before["total"]


def test_paint_keeps_the_mode_and_makes_no_graph() -> None:
    for mode in (True, False):
        network = small(norm="batch").train(mode)
        out = fast_style.paint(network, noise(1, 3, 16, 16))
        assert network.training is mode
        assert not out.requires_grad


def test_evaluate_averages_over_photographs_of_any_size(objective) -> None:
    pictures = [noise(1, 3, 20, 24), noise(1, 3, 33, 17, seed=1)]
    parts = [fast_style.evaluate(small(), objective, [each]) for each in pictures]
    both = fast_style.evaluate(small(), objective, pictures)
    for name in ("content", "style", "smoothness", "total"):
        assert both[name] == pytest.approx((parts[0][name] + parts[1][name]) / 2, rel=1e-4)
    as_it_is = fast_style.evaluate(nn.Identity(), objective, pictures)
    assert as_it_is["content"] == pytest.approx(0, abs=1e-6)


# --- Flicker --------------------------------------------------------------------------------------


def test_a_pan_shows_the_same_colours_a_shift_apart() -> None:
    frames = fast_style.pan(noise(1, 3, 20, 40), (12, 20), 3, frames=4)
    assert frames.shape == (4, 3, 12, 20)
    assert torch.equal(frames[0, ..., 3:], frames[1, ..., :-3])
    assert float(fast_style.flicker(frames, 3, border=0).max()) == 0
    assert float(fast_style.flicker(frames, 2, border=0).mean()) > 0.1


def test_flicker_by_hand() -> None:
    frames = torch.zeros(3, 3, 4, 6)
    frames[1] = 0.3
    frames[2] = 0.4
    change = fast_style.flicker(frames, 1, border=1)
    assert change.shape == (2, 3)
    assert torch.allclose(change, torch.full((2, 3), 0.2))


@pytest.mark.parametrize(
    ("size", "shift", "frames"),
    [((30, 20), 1, 3), ((12, 38), 2, 3), ((12, 12), 1, 1), ((9, 9), -1, 3)],
)
def test_a_pan_that_does_not_fit_is_refused(size, shift, frames) -> None:
    with pytest.raises(SettingError, match="need 2 frames or more"):
        fast_style.pan(noise(1, 3, 20, 40), size, shift, frames)


def test_frames_too_small_for_the_border_are_refused() -> None:
    with pytest.raises(SettingError, match="leave nothing"):
        fast_style.flicker(noise(2, 3, 20, 20), 4, border=10)


# --- The recipe and its results -------------------------------------------------------------------


def test_training_without_photographs_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--photos"):
        recipe.course(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        recipe.course(tmp_path, style="night_strokes", photos=tmp_path / "nowhere")
    with pytest.raises(SettingError, match="no style and no file 'nothing'"):
        recipe.find_style("nothing")


@pytest.mark.slow
def test_the_recipe_makes_a_network_of_any_style(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recipe, "HELD_OUT", ("chelsea",))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("coffee", "rocket"):
        save_image(photo(name, 170), pictures / f"{name}.jpg")
    save_image(style("dotted_garden", 120).image, tmp_path / "garden.png")
    files = recipe.course(
        tmp_path / "run",
        steps=2,
        progress=False,
        style=str(tmp_path / "garden.png"),
        photos=pictures,
    )
    assert [file.name for file in files] == ["garden.safetensors", "garden.timeline.zip"]
    about = checkpoints.read(files[0]).about
    assert (about["steps"], about["style"], about["settings"]) == (2, "garden", {"width": 16})
    assert about["data"].startswith("2 photographs")
    assert set(about["measured"]["paintings"]) == {"content", "style", "smoothness", "total"}
    assert about["measured"]["photographs as they are"]["content"] == 0


@pytest.mark.parametrize("name", recipe.STYLES)
def test_the_course_s_networks_paint_what_they_were_trained_for(name: str) -> None:
    """On a photograph they never saw, by far nearer to the style than the photograph is."""
    network, checkpoint = fast_style.load_network(name)
    measured = checkpoint.about["measured"]
    assert measured["paintings"]["total"] < 0.8 * measured["photographs as they are"]["total"]
    cat = photo("cat", 96)
    painting = fast_style.paint(network, cat)
    assert painting.shape == cat.shape
    assert float((painting - cat).abs().mean()) > 0.02
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_header_s_figures_hold_for_a_style_that_the_project_ships() -> None:
    """Measured again, at a smaller size: the loss is of that order."""
    network, checkpoint = fast_style.load_network("stained_glass")
    objective = fast_style.Objective(recipe.find_style("stained_glass"))
    cat = photo("cat", 128)
    painted = fast_style.evaluate(network, objective, [cat])
    untouched = fast_style.evaluate(nn.Identity(), objective, [cat])
    assert painted["style"] < 0.5 * untouched["style"]
    assert painted["total"] < 0.85 * untouched["total"]
    assert checkpoint.about["weights of the loss"]["style"] == objective.style_weight


def test_the_course_s_files_are_small() -> None:
    folder = checkpoints.path_of("fast_style").parent
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3_000_000


def test_a_network_that_is_not_there_is_said() -> None:
    with pytest.raises(WeightsError, match="no checkpoint"):
        fast_style.load_network("mona_lisa")


@pytest.mark.slow
def test_pixels_reach_the_network_s_loss_by_the_same_objective() -> None:
    """Both are judged by one function, so that equal loss means something."""
    network, _ = fast_style.load_network("stained_glass")
    objective = fast_style.Objective(recipe.find_style("stained_glass"))
    cat = photo("cat", 64)
    target = fast_style.evaluate(network, objective, [cat])["total"]
    result = optimise_pixels(objective.of(cat), cat, steps=40, progress=False)
    assert result.history[0]["total"] > target > result.loss
