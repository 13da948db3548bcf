"""Equalised learning rate, pixel norm and minibatch standard deviation against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator
from coursekit.progan_layers import (
    EqualisedConv2d,
    EqualisedLinear,
    equalised_scale,
    minibatch_stddev,
    pixel_norm,
)


def test_the_constant_is_he_s() -> None:
    assert equalised_scale(8) == pytest.approx(0.5)
    assert equalised_scale(16, gain=1.0) == pytest.approx(0.25)
    with pytest.raises(SettingError, match="fan_in=0"):
        equalised_scale(0)


def test_a_linear_layer_by_hand() -> None:
    layer = EqualisedLinear(2, 1, bias=0.5, multiplier=0.1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[30.0, -10.0]]))
    # c = √2/√2 = 1; times the multiplier 0.1: 3 · 2 − 1 · 1 + 0.05
    assert layer(torch.tensor([[2.0, 1.0]])).item() == pytest.approx(5.05)


@pytest.mark.parametrize(("before", "after", "kernel"), [(3, 5, 3), (4, 2, 1)])
def test_a_convolution_is_torch_s_with_scaled_weights(before: int, after: int, kernel: int) -> None:
    torch.manual_seed(0)
    layer, x = EqualisedConv2d(before, after, kernel), torch.randn(2, before, 6, 7)
    plain = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    with torch.no_grad():
        layer.bias.uniform_(-1, 1)
        plain.weight.copy_(layer.weight * math.sqrt(2 / (before * kernel**2)))
        plain.bias.copy_(layer.bias)
    assert torch.allclose(layer(x), plain(x), atol=1e-5)


def test_variance_survives_a_deep_stack_without_any_initialisation_rule() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 256)
    for _ in range(8):
        x = torch.relu(EqualisedLinear(256, 256)(x))
    assert 0.3 < x.square().mean().item() < 3


def test_adam_moves_effective_weights_of_every_layer_equally_fast() -> None:
    """The dynamic range of the effective weights does not decide how fast they learn (§4.1)."""

    def moved(layer: EqualisedLinear) -> float:
        optimiser, before = (
            torch.optim.Adam(layer.parameters(), 0.01),
            layer.weight.detach().clone(),
        )
        layer(torch.ones(4, layer.weight.shape[1])).sum().backward()
        optimiser.step()
        change = layer.weight.detach() - before
        return float(change.abs().max() / before.std())

    torch.manual_seed(0)
    assert moved(EqualisedLinear(16, 64)) == pytest.approx(
        moved(EqualisedLinear(1024, 64)), rel=0.1
    )


def test_pixel_norm_by_hand_and_as_a_property() -> None:
    x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    root = math.sqrt(12.5)
    assert pixel_norm(x).flatten().tolist() == pytest.approx([3 / root, 4 / root])
    x = torch.randn(2, 5, 3, 4, generator=generator(0))
    assert torch.allclose(pixel_norm(x).square().mean(1), torch.ones(2, 3, 4), atol=1e-4)
    assert torch.allclose(pixel_norm(7 * x), pixel_norm(x), atol=1e-5)
    assert pixel_norm(torch.zeros(1, 4)).isfinite().all()
    x = x[:, :, :2, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(pixel_norm, x)


def test_minibatch_stddev_by_hand() -> None:
    x = torch.tensor([[0.0, 10.0], [4.0, 10.0]]).view(2, 2, 1, 1)
    found = minibatch_stddev(x, epsilon=0.0)
    # feature 1: deviation 2, feature 2: deviation 0; their mean is 1
    assert torch.equal(found[:, :2], x) and found[:, 2].flatten().tolist() == [1.0, 1.0]


def test_groups_are_images_that_lie_apart() -> None:
    x = torch.randn(6, 3, 2, 5, generator=generator(0))
    found = minibatch_stddev(x, group=3, epsilon=0.0)[:, 3]
    assert found.shape == (6, 2, 5)
    for first in (0, 1):
        members = x[first::2]
        wanted = members.std(dim=0, unbiased=False).mean()
        assert torch.allclose(found[first::2], wanted.expand(3, 2, 5), atol=1e-6)


def test_equal_images_give_nothing_and_a_finite_gradient() -> None:
    x = torch.ones(4, 2, 3, 3, requires_grad=True)
    found = minibatch_stddev(x)[:, 2]
    assert found.max() < 1e-3
    found.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    with pytest.raises(ShapeError, match="batch of 6"):
        minibatch_stddev(torch.ones(6, 2, 3, 3))
    with pytest.raises(ShapeError, match="N, C, H, W"):
        minibatch_stddev(torch.ones(4, 2))
