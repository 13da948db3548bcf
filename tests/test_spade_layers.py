"""Topic 14: label planes, the SPADE layer and its blocks, against other words of the formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import spade
from coursekit import spade_networks as networks
from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.exercises import spade as exercises


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def labels(*shape: int, classes: int = 3, seed: int = 7) -> Tensor:
    return torch.randint(classes, shape, generator=runtime.generator(seed))


def planes(count: int, size: int, classes: int = 3, seed: int = 7) -> Tensor:
    return spade.one_hot(labels(count, size, size, classes=classes, seed=seed), classes)


def stirred(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """With weights that say something: the published start is close to 0."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data.copy_(scale * normal(*parameter.shape, seed=100 + number))
    return module


def small_generator(**options: object) -> networks.Generator:
    settings = {"labels": 3, "width": 2, "size": 16, "hidden": 4, "doublings": 2} | options
    return networks.Generator(**settings)


# --- Label planes


def test_one_hot_by_hand() -> None:
    found = spade.one_hot(torch.tensor([[[0, 2], [1, 1]]]), 3)
    expected = [[[1, 0], [0, 0]], [[0, 0], [1, 1]], [[0, 1], [0, 0]]]
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.tensor([expected], dtype=torch.float32))


def test_one_hot_is_torch_s_and_can_be_taken_back() -> None:
    maps = labels(3, 5, 4, classes=6)
    found = spade.one_hot(maps, 6)
    assert torch.equal(found, F.one_hot(maps, 6).movedim(3, 1).float())
    assert torch.equal(found.argmax(dim=1), maps)
    assert spade.one_hot(maps[:0], 6).shape == (0, 6, 5, 4)


@pytest.mark.parametrize(
    ("maps", "error", "words"),
    [
        (torch.zeros(2, 3, dtype=torch.long), ShapeError, r"int64 \(N, H, W\)"),
        (torch.zeros(1, 2, 3), ShapeError, "float32"),
        (torch.zeros(1, 2, 3, dtype=torch.uint8), ShapeError, "uint8"),
        (torch.tensor([[[0, 3]]]), SettingError, "0 to 3; there are classes 0 to 2"),
        (torch.tensor([[[-1, 1]]]), SettingError, "-1 to 1"),
    ],
)
def test_maps_that_are_none_are_named(maps: Tensor, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        spade.one_hot(maps, 3)


@pytest.mark.parametrize("size", [(4, 2), (16, 12), (8, 6), (3, 5), (24, 6)])
def test_resized_labels_come_from_the_pixel_at_the_same_share(size: tuple[int, int]) -> None:
    maps = labels(2, 8, 6, classes=5)
    found = spade.resize_labels(spade.one_hot(maps, 5), size).argmax(dim=1)
    rows = [i * 8 // size[0] for i in range(size[0])]
    columns = [j * 6 // size[1] for j in range(size[1])]
    assert torch.equal(found, maps[:, rows][:, :, columns])


def test_resized_planes_stay_planes() -> None:
    found = spade.resize_labels(planes(2, 16), (5, 7))
    assert torch.equal(found.sum(dim=1), torch.ones(2, 5, 7))
    assert set(found.unique().tolist()) == {0.0, 1.0}
    mixed = F.interpolate(planes(2, 16), (5, 7), mode="bilinear")
    assert ((mixed > 0) & (mixed < 1)).any()  # what the nearest pixel spares us


# --- The layer


@pytest.mark.parametrize(
    ("over", "theirs"),
    [
        ((0, 2, 3), lambda x: F.batch_norm(x, None, None, training=True)),
        ((2, 3), F.instance_norm),
        ((1, 2, 3), lambda x: F.layer_norm(x, x.shape[1:])),
    ],
)
def test_normalise_is_torch_s_with_its_gradient(over: tuple[int, ...], theirs) -> None:
    x = (2 * normal(3, 4, 5, 6) + 1).requires_grad_()
    found, expected = spade.normalise(x, over=over), theirs(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    towards = normal(*x.shape, seed=1)
    slopes = [torch.autograd.grad(y, x, towards)[0] for y in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-5)


def test_normalise_by_hand() -> None:
    """Mean 2 and variance 5: (x − 2) / √(5 + ε)."""
    x = torch.tensor([-1.0, 1.0, 3.0, 5.0]).view(1, 1, 2, 2)
    expected = torch.tensor([-3.0, -1.0, 1.0, 3.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(spade.normalise(x, epsilon=4.0), expected / 3)
    torch.testing.assert_close(spade.normalise(x), expected / math.sqrt(5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_layer_in_other_words(norm: str) -> None:
    """Two separate convolutions for γ and β, the map resized by index, the formula."""
    layer = stirred(networks.SPADE(5, 3, hidden=4, norm=norm))
    x, maps = 2 * normal(2, 5, 4, 4) - 1, labels(2, 8, 8)
    small = F.one_hot(maps[:, ::2, ::2], 3).movedim(3, 1).float()
    hidden = F.conv2d(small, layer.shared.weight, layer.shared.bias, padding=1).clamp(min=0)
    weight, bias = layer.gamma_beta.weight, layer.gamma_beta.bias
    gamma = F.conv2d(hidden, weight[:5], bias[:5], padding=1)
    beta = F.conv2d(hidden, weight[5:], bias[5:], padding=1)
    over = (0, 2, 3) if norm == "batch" else (2, 3)
    mean, variance = x.mean(over, keepdim=True), x.var(over, keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-5).sqrt() * (1 + gamma) + beta
    torch.testing.assert_close(layer(x, spade.one_hot(maps, 3)), expected, rtol=1e-4, atol=1e-4)


def test_the_layer_is_the_exercise_s() -> None:
    layer = stirred(networks.SPADE(4, 3, hidden=4))
    x, drawn = normal(2, 4, 8, 8), planes(2, 8)
    expected = exercises.normalise_and_modulate(x, *layer.modulation(drawn, (8, 8)))
    torch.testing.assert_close(layer(x, drawn), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_layer_is_right_for_features_and_weights() -> None:
    layer = stirred(networks.SPADE(2, 2, hidden=2)).double()
    x, drawn = normal(2, 2, 3, 3).double().requires_grad_(), planes(2, 3, 2).double()
    given = [x, *(p.detach().clone().requires_grad_() for p in layer.parameters())]
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, drawn))

    assert torch.autograd.gradcheck(call, given)


def test_an_untrained_layer_is_close_to_plain_normalisation() -> None:
    runtime.seed_everything(0)
    generator = small_generator()
    x = normal(2, generator.blocks[0].norms[0].norm.num_features, 4, 4, seed=1)
    found = generator.blocks[0].norms[0](x, planes(2, 16))
    torch.testing.assert_close(found, spade.normalise(x), rtol=0, atol=0.05)


@torch.no_grad()
def test_a_uniform_map_survives_spade_but_not_plain_normalisation() -> None:
    """The paper's wash-out: features that are the same everywhere are normalised to 0."""
    layer = stirred(networks.SPADE(4, 3, hidden=4, norm="instance"))
    results = []
    for number in range(3):
        uniform = spade.one_hot(torch.full((1, 8, 8), number), 3)
        features = F.conv2d(uniform, normal(4, 3, 1, 1, seed=5))
        assert float(spade.normalise(features, over=(2, 3)).abs().max()) < 1e-3
        results.append(layer(features, uniform))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert float((results[one] - results[other]).abs().max()) > 0.05


def test_batch_statistics_are_kept_for_eval_mode() -> None:
    layer = stirred(networks.SPADE(4, 3, hidden=4))
    assert [name for name, _ in layer.norm.named_parameters()] == []
    x, drawn = normal(6, 4, 8, 8) + 2, planes(6, 8)
    for _ in range(60):
        whole = layer(x, drawn)
    torch.testing.assert_close(layer.eval()(x, drawn), whole, rtol=0.05, atol=0.05)
    torch.testing.assert_close(layer(x[:1], drawn[:1]), layer(x, drawn)[:1], rtol=1e-4, atol=1e-5)
    instance = networks.SPADE(4, 3, hidden=4, norm="instance")
    assert not any("running" in name for name in instance.state_dict())


# --- The block


@pytest.mark.parametrize(("before", "after"), [(4, 4), (6, 3), (2, 5)])
def test_the_block_is_the_exercise_s(before: int, after: int) -> None:
    block = stirred(networks.SPADEBlock(before, after, 3, hidden=4)).eval()
    x, drawn = normal(2, before, 8, 8), planes(2, 16)
    learned = (block.shortcut_norm, block.shortcut) if before != after else ()
    expected = exercises.residual_block(x, drawn, block.norms, block.convolutions, *learned)
    found = block(x, drawn)
    assert found.shape == (2, after, 8, 8)
    torch.testing.assert_close(found, expected)
    assert (block.shortcut is None) == (before == after)


def test_a_concatenation_block_in_other_words() -> None:
    block = stirred(networks.ConcatBlock(4, 2, 3)).eval()
    x, maps = normal(2, 4, 4, 4), labels(2, 8, 8)
    small = F.one_hot(maps[:, ::2, ::2], 3).movedim(3, 1).float()
    expected = F.conv2d(x, block.shortcut.weight)
    for convolution in block.convolutions:
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = torch.cat([torch.where(x > 0, x, 0.2 * x), small], dim=1)
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=1)
    found = block(normal(2, 4, 4, 4), spade.one_hot(maps, 3))
    torch.testing.assert_close(found, expected + x, rtol=1e-4, atol=1e-4)
    assert networks.ConcatBlock(4, 4, 3).shortcut is None
