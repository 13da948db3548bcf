"""Topic 09: the label's ways in against independent statements, steps, resume, the checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import cgan, cgan_measure, cgan_networks, dcgan
from coursekit.core import checkpoints, recognise, runtime, training
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.timeline import of_topic
from coursekit.datasets.digits import digits


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def small_game(way: str = "projection", **options: object) -> cgan.Game:
    runtime.seed_everything(1)
    generator = cgan.Generator(latent=4, width=4)
    return cgan.Game(generator, cgan.Discriminator(way, width=4), **options)


# --- The label as numbers


def test_indices_become_one_hot_rows_and_weights_stay() -> None:
    weights = cgan.label_weights(torch.tensor([2, 0, 2]), 3)
    assert weights.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert weights.dtype == torch.float32
    mixed = torch.tensor([[0.25, 0.75, 0.0]])
    assert cgan.label_weights(mixed, 3) is mixed
    assert cgan.label_weights(torch.empty(0, dtype=torch.long)).shape == (0, 10)


@pytest.mark.parametrize(
    ("label", "error", "words"),
    [
        (torch.tensor([0, 10]), SettingError, "from 0 to 10"),
        (torch.tensor([-1, 3]), SettingError, "from -1 to 3"),
        (torch.tensor([0.0, 1.0]), ShapeError, "float32"),
        (torch.tensor([0, 1], dtype=torch.int32), ShapeError, "int32"),
        (torch.tensor([[0], [1]]), ShapeError, r"\(2, 1\)"),
        (torch.ones(2, 9), ShapeError, r"\(2, 9\)"),
        (torch.ones(2, 10, dtype=torch.long), ShapeError, "int64"),
        (torch.tensor(3), ShapeError, r"\(\)"),
    ],
)
def test_a_label_that_is_none_is_named(label: Tensor, error: type, words: str) -> None:
    for network, first in (
        (cgan.Generator(latent=4, width=4), normal(2, 4)),
        (cgan.Discriminator("concatenation", width=4), normal(2, 1, 32, 32)),
        (cgan.Discriminator("projection", width=4), normal(2, 1, 32, 32)),
        (cgan.Discriminator("none", width=4), normal(2, 1, 32, 32)),
    ):
        with pytest.raises(error, match=words):
            network(first, label)


def test_as_many_labels_as_images() -> None:
    for way in cgan.WAYS:
        with pytest.raises(ShapeError, match="3 labels for 2"):
            cgan.Discriminator(way, width=4)(normal(2, 1, 32, 32), torch.tensor([1, 2, 3]))
    with pytest.raises(ShapeError, match="1 labels for 2"):
        cgan.Generator(latent=4, width=4)(normal(2, 4), torch.tensor([1]))
    with pytest.raises(ShapeError, match="1 labels for 2"):
        cgan.samples(cgan.Generator(latent=4, width=4), normal(2, 4), torch.tensor([1]))


def test_join_planes_by_hand() -> None:
    images = normal(2, 3, 4, 5)
    joined = cgan.join_planes(images, torch.tensor([1, 0]), 2)
    assert joined.shape == (2, 5, 4, 5)
    assert torch.equal(joined[:, :3], images)
    assert joined[0, 3].eq(0).all() and joined[0, 4].eq(1).all()
    assert joined[1, 3].eq(1).all() and joined[1, 4].eq(0).all()


def test_planes_before_a_convolution_are_a_bias_a_class() -> None:
    """Away from the border, concatenating label planes adds one number a class and channel."""
    images, label = normal(5, 2, 9, 9), torch.tensor([0, 1, 2, 1, 0])
    layer = nn.Conv2d(2 + 3, 4, 3)
    whole = layer(cgan.join_planes(images, label, 3))
    plain = F.conv2d(images, layer.weight[:, :2], layer.bias)
    bias = layer.weight[:, 2:].sum(dim=(2, 3))  # (channels, classes)
    torch.testing.assert_close(whole, plain + bias[:, label].T[:, :, None, None])


def test_concatenating_to_z_adds_a_start_a_class() -> None:
    """The first layer of G sees z and, separately, one 4×4 map that belongs to the class."""
    generator, z = cgan.Generator(latent=4, width=4), normal(3, 4)
    label, first = torch.tensor([7, 0, 7]), generator.network.blocks[0][0]
    whole = first(cgan.join_latent(z, label)[:, :, None, None])
    from_z = torch.einsum("nd,dchw->nchw", z, first.weight[:4])
    torch.testing.assert_close(whole, from_z + first.weight[4:][label])


def test_class_path_by_hand() -> None:
    path = cgan.class_path(3, 1, 3, 4)
    assert path.tolist() == [[0, 0, 0, 1], [0, 0.5, 0, 0.5], [0, 1, 0, 0]]
    with pytest.raises(SettingError, match="steps=1"):
        cgan.class_path(0, 1, 1)
    with pytest.raises(SettingError, match="0 to 9"):
        cgan.class_path(0, 10, 5)


def test_labels_are_as_many_as_the_things_beside_them() -> None:
    weights = torch.eye(10)[:3]
    cgan_networks.check_count(normal(3, 4), weights, 2)
    with pytest.raises(ShapeError, match=r"2 dimensions.*\(3, 1, 8, 8\)"):
        cgan_networks.check_count(normal(3, 1, 8, 8), weights, 2)
    with pytest.raises(ShapeError, match="3 labels for 2 entries"):
        cgan_networks.check_count(normal(2, 1, 8, 8), weights, 4)


# --- The losses and the projection


def test_discriminator_loss_by_hand() -> None:
    zero = torch.zeros(3)
    assert float(cgan.discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0, 1.0])
    mismatched = torch.tensor([0.5, 0.5, 0.5])
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    up = -math.log(sigmoid(2.0))
    made = -(math.log(1 - sigmoid(-1.0)) + math.log(1 - sigmoid(1.0))) / 2
    wrong = -math.log(1 - sigmoid(0.5))
    assert float(cgan.discriminator_loss(real, fake)) == pytest.approx(up + made)
    found = float(cgan.discriminator_loss(real, fake, mismatched))
    assert found == pytest.approx(up + (made + wrong) / 2)


def test_discriminator_loss_is_binary_cross_entropy() -> None:
    real, fake = normal(6, seed=1), normal(6, seed=2)
    expected = F.binary_cross_entropy_with_logits(real, torch.full((6,), 0.9))
    expected = expected + F.binary_cross_entropy_with_logits(fake, torch.zeros(6))
    torch.testing.assert_close(cgan.discriminator_loss(real, fake, real_label=0.9), expected)


def test_projection_logit_is_the_bilinear_form() -> None:
    phi, y, v, psi = normal(5, 7), normal(5, 3, seed=1), normal(3, 7, seed=2), normal(5, seed=3)
    expected = torch.einsum("nk,kd,nd->n", y, v, phi) + psi
    torch.testing.assert_close(cgan.projection_logit(phi, y, v, psi), expected)


def test_projection_gradients_are_the_formulas() -> None:
    """∂/∂φ = Vᵀy, and the gradient of V's row k sums φ over the images of class k."""
    phi, v = normal(4, 6).requires_grad_(), normal(3, 6, seed=1).requires_grad_()
    label = torch.tensor([2, 0, 2, 1])
    cgan.projection_logit(phi, cgan.label_weights(label, 3), v, torch.zeros(4)).sum().backward()
    torch.testing.assert_close(phi.grad, v.detach()[label])
    torch.testing.assert_close(v.grad[2], phi.detach()[[0, 2]].sum(0))


def test_projection_discriminator_is_psi_plus_the_label_term() -> None:
    network, images = cgan.Discriminator(width=4).eval(), normal(4, 1, 32, 32)
    label = torch.tensor([1, 1, 5, 9])
    features = network.features(images)
    unlabelled = network.network(images)  # DCGAN's own logit is ψ(φ(x))
    expected = unlabelled + (network.embedding[label] * features).sum(1)
    torch.testing.assert_close(network(images, label), expected, rtol=1e-4, atol=1e-5)


def test_wrong_labels_are_all_wrong_and_all_occur() -> None:
    runtime.seed_everything(0)
    label = torch.arange(10).repeat(100)
    wrong = cgan.wrong_labels(label)
    assert not (wrong == label).any()
    assert wrong.min() >= 0 and wrong.max() <= 9
    assert set(wrong[label == 4].tolist()) == {0, 1, 2, 3, 5, 6, 7, 8, 9}


# --- Networks


def test_shapes_ranges_and_parameter_counts() -> None:
    generator = cgan.Generator()
    count = sum(p.numel() for p in generator.parameters())
    # [z, y] -> 96×4×4 -> 48×8×8 -> 24×16×16 -> 1×32×32, and batch norm's two numbers a channel.
    kernels = 16 * (42 * 96 + 96 * 48 + 48 * 24 + 24 * 1)
    assert count == kernels + 2 * (96 + 48 + 24)
    images = generator(normal(3, cgan.LATENT), torch.tensor([0, 5, 9]))
    assert images.shape == (3, 1, 32, 32) and images.abs().max() <= 1
    sizes = {
        way: sum(p.numel() for p in cgan.Discriminator(way, width=16).parameters())
        for way in cgan.WAYS
    }
    assert sizes["projection"] - sizes["none"] == 10 * 16 * 64  # V: classes × (4·4·64)
    assert sizes["concatenation"] - sizes["none"] == 10 * 16 * 16  # ten more input planes
    for way in cgan.WAYS:
        assert cgan.Discriminator(way)(images, torch.tensor([0, 5, 9])).shape == (3,)


def test_the_label_matters_unless_it_is_dropped() -> None:
    images, first, second = normal(2, 1, 32, 32), torch.tensor([0, 1]), torch.tensor([2, 1])
    for way in cgan.WAYS:
        runtime.seed_everything(0)
        network = cgan.Discriminator(way, width=4).eval()
        with torch.no_grad():
            one, two = network(images, first), network(images, second)
        assert bool(one[0] != two[0]) is (way != "none")
        assert bool(one[1] == two[1])  # each image is judged by its own label alone


def test_bad_arguments_are_named() -> None:
    with pytest.raises(SettingError, match="projection"):
        cgan.Discriminator("addition")
    with pytest.raises(SettingError, match="size=28"):
        cgan.Generator(size=28)
    with pytest.raises(ShapeError, match="adds the label itself"):
        cgan.Generator(latent=4, width=4)(normal(2, 5), torch.tensor([1, 2]))
    for way in cgan.WAYS:
        with pytest.raises(ShapeError, match=r"\(2, 1, 28, 28\).*\(N, 1, 32, 32\)"):
            cgan.Discriminator(way, width=4)(normal(2, 1, 28, 28), torch.tensor([1, 2]))


# --- Steps and training


@pytest.mark.parametrize("way", cgan.WAYS)
def test_the_discriminator_step_lowers_its_loss_and_leaves_the_generator(way: str) -> None:
    game = small_game(way)
    real, label = torch.rand(8, 1, 32, 32) * 2 - 1, torch.arange(8)
    fake = game.generator(normal(8, 4), label)
    found = []
    for _ in range(12):
        terms = cgan.discriminator_step(game.discriminator, game.d_optimiser, real, fake, label)
        found.append(float(terms["d_loss"]))
    assert found[-1] < found[0]
    assert set(terms) == {"d_loss", "d_real", "d_fake"}
    assert not any(term.requires_grad for term in terms.values())
    assert all(p.grad is None for p in game.generator.parameters())


def test_the_generator_step_leaves_the_discriminator() -> None:
    game = small_game()
    label = torch.arange(8)
    before = [p.clone() for p in game.discriminator.parameters()]
    fake = game.generator(normal(8, 4), label)
    terms = cgan.generator_step(game.discriminator, game.g_optimiser, fake, label)
    assert torch.isfinite(terms["g_loss"])
    for old, new in zip(before, game.discriminator.parameters(), strict=True):
        assert torch.equal(old, new) and new.grad is None and new.requires_grad
    assert any(p.grad.abs().sum() > 0 for p in game.generator.parameters())


def test_mismatched_pairs_teach_the_label() -> None:
    """Two black and white classes: with wrong pairs D learns which goes with which."""
    runtime.seed_everything(0)
    label = torch.arange(8) % 2
    real = (label * 2.0 - 1)[:, None, None, None].expand(8, 1, 32, 32).contiguous()
    network = cgan.Discriminator(width=4)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(25):
        fake = torch.randn(8, 1, 32, 32)
        cgan.discriminator_step(network, optimiser, real, fake, label, mismatched=True)
    network.eval()
    with torch.no_grad():
        assert (network(real, label) > network(real, 1 - label)).all()


def test_r1_changes_the_step() -> None:
    weights = []
    for r1 in (0.0, 10.0):
        game = small_game()
        real, label = torch.rand(4, 1, 32, 32), torch.arange(4)
        fake = game.generator(normal(4, 4), label)
        cgan.discriminator_step(game.discriminator, game.d_optimiser, real, fake, label, r1=r1)
        weights.append(game.discriminator.network.blocks[0][0].weight.detach().clone())
    assert not torch.equal(*weights)


def short_training(folder: Path | None, steps: int, **options: object) -> dict[str, Tensor]:
    game = small_game(mismatched=True)
    batches = training.Batches(digits("train", size=32, count=40), 8)
    augment = recognise.Augmentation(shift=1.0)
    cgan.train(
        game,
        batches,
        steps=steps,
        folder=folder,
        augment=augment,
        rate=lambda number: 1 / number,
        progress=False,
        **options,
    )
    return game.ema.module.state_dict()


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not() -> None:
    first, second, third = (short_training(None, 4, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_resume_is_exact(tmp_path: Path) -> None:
    whole = short_training(None, 7)
    short_training(tmp_path, 3)
    resumed = short_training(tmp_path, 7)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_the_recipe_trains_saves_and_goes_on(tmp_path: Path, monkeypatch) -> None:
    from coursekit.recipes import cgan as recipe

    class Bench(cgan_measure.Bench):  # the same instruments, fewer images
        def measure(self, generator: nn.Module) -> cgan_measure.Report:
            return super().measure(generator, count=20, draws=2)

    monkeypatch.setattr(cgan_measure, "Bench", Bench)
    monkeypatch.setattr(recipe, "WIDTHS", (4, 4))
    monkeypatch.setattr(recipe, "BATCH", 8)
    files = recipe.course(tmp_path, steps=2, progress=False)
    assert {file.name for file in files} == {
        "course.safetensors",
        "course.timeline.zip",
        "concatenation.safetensors",
    }
    found = checkpoints.read(tmp_path / "course.safetensors")
    assert found.about["way"] == "projection" and found.about["steps"] == 2
    assert 0 <= found.about["measured"]["agreement"]["value"] <= 1
    again = recipe.course(tmp_path, steps=2, progress=False)
    assert [file.stat().st_size for file in again] == [file.stat().st_size for file in files]


# --- Samples


def test_a_sheet_has_a_class_a_row_and_a_z_a_column() -> None:
    runtime.seed_everything(0)
    generator = cgan.Generator(latent=4, width=4).eval()
    sheet = cgan.sheet(generator, 3, seed=5)
    assert sheet.shape == (10, 3, 1, 32, 32)
    assert sheet.min() >= 0 and sheet.max() <= 1
    z = dcgan.sample_latent(3, 4, seed=5)
    with torch.no_grad():
        expected = dcgan.to_unit(generator(z[2:], torch.tensor([7])))
    torch.testing.assert_close(sheet[7, 2], expected[0])
    assert torch.equal(sheet, cgan.sheet(generator, 3, seed=5))
    # 2 pixels between pictures and around them.
    assert cgan.as_picture(sheet).shape == (1, 3, 10 * 34 + 2, 3 * 34 + 2)
    assert cgan.overview(generator, 2).shape == (1, 3, 2 * 34 + 2, 10 * 34 + 2)


def test_a_walk_begins_and_ends_with_its_classes() -> None:
    generator = cgan.Generator(latent=4, width=4).eval()
    walk = cgan.walk(generator, 3, 8, 5, seed=2)
    column = cgan.sheet(generator, 1, seed=2)[:, 0]
    torch.testing.assert_close(walk[[0, -1]], column[[3, 8]])


# --- The course's checkpoints


def test_the_timeline_is_small_and_shows_ten_classes() -> None:
    timeline = of_topic("cgan")
    path = runtime.data_dir() / "checkpoints" / "cgan" / "course.timeline.zip"
    assert 10 <= len(timeline) <= 20 and path.stat().st_size < 250_000
    assert timeline.steps == sorted(timeline.steps) and "projection" in timeline.about
    assert timeline.picture(-1).shape == (1, 3, 4 * 34 + 2, 10 * 34 + 2)


@pytest.mark.parametrize("name", ["course", "concatenation"])
def test_a_checkpoint_says_what_it_is(name: str) -> None:
    generator, checkpoint = cgan.load_generator(name)
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    assert checkpoint.about["recipe"] == "cgan course" and "MNIST" in checkpoint.about["data"]
    assert checkpoints.path_of("cgan", name).stat().st_size < 700_000


def test_a_missing_checkpoint_is_named() -> None:
    with pytest.raises(WeightsError, match="nobody"):
        cgan.load_generator("nobody")


@pytest.mark.parametrize("name", ["course", "concatenation"])
def test_the_checkpoint_makes_what_it_is_asked_for(name: str) -> None:
    """Measured again, on other z than the header's number."""
    generator, checkpoint = cgan.load_generator(name)
    images, asked = cgan_measure.asked_samples(generator, 500, seed=77)
    found = cgan_measure.agreement(cgan_measure.reader(), images, asked)
    assert found.value >= 0.95
    assert found.overlaps(type(found)(**checkpoint.about["measured"]["agreement"]))
