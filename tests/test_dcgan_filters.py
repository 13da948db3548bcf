"""Filters switched off, on toys whose answers are known and against a forward hook."""

from __future__ import annotations

import pytest
import torch
from latent_toys import LATENT, Reader, Toy, normal, truth
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator as random_numbers
from coursekit.dcgan_filters import (
    boxes_to_positions,
    filter_weights,
    strongest,
    study_filters,
    without_filters,
)


def test_boxes_by_hand() -> None:
    """Maps of 4×4 on pictures of 8×8: centres at 1, 3, 5 and 7."""
    boxes = torch.tensor([[2.0, 0.0, 6.0, 4.0], [5.0, 3.0, 5.0, 7.0], [3.2, 0.0, 4.8, 8.0]])
    found = boxes_to_positions(boxes, 4, 8)
    expected = torch.zeros(3, 4, 4, dtype=torch.bool)
    expected[0, 0:2, 1:3] = True
    expected[1, 1:4, 2] = True  # a centre on the edge is inside
    assert torch.equal(found, expected)
    assert boxes_to_positions(torch.tensor([[0.0, 0.0, 64.0, 64.0]]), 8, 64).all()


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 2, 4)])
def test_boxes_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Boxes have the shape \(N, 4\)"):
        boxes_to_positions(torch.zeros(shape), 4, 8)


def planted() -> tuple[Tensor, Tensor]:
    """Map 3 is larger inside the region, map 1 smaller; the others are noise."""
    inside = torch.zeros(12, 8, 8, dtype=torch.bool)
    inside[:, 2:5, 1:4] = True
    maps = normal(12, 6, 8, 8)
    maps[:, 3] += 2.0 * inside
    maps[:, 1] -= 1.0 * inside
    return maps, inside


def test_the_map_that_speaks_for_the_region_is_found() -> None:
    maps, inside = planted()
    weights = filter_weights(maps, inside)
    assert weights.shape == (6,)
    assert int(weights.argmax()) == 3
    assert int(weights.argmin()) == 1
    noise = weights[[0, 2, 4, 5]].abs().max()
    assert float(noise) < 0.3 * float(weights[3])
    assert strongest(weights, 1).tolist() == [3]
    assert torch.equal(weights, filter_weights(maps, inside))
    assert not torch.equal(weights, filter_weights(maps, inside, seed=1))


def test_the_unit_of_a_map_does_not_matter() -> None:
    maps, inside = planted()
    scales = torch.tensor([1.0, 0.01, 5.0, 100.0, 1.0, 1.0])[:, None, None]
    found = filter_weights(maps * scales + 3 * scales, inside)
    torch.testing.assert_close(found, filter_weights(maps, inside), rtol=1e-3, atol=1e-4)


def test_strength_holds_the_weights_closer_to_zero() -> None:
    maps, inside = planted()
    norms = [float(filter_weights(maps, inside, strength=s).norm()) for s in (1e-4, 0.01, 1.0)]
    assert norms == sorted(norms)
    assert norms[0] < 0.2 * norms[2]


def test_regions_that_cannot_be() -> None:
    maps, inside = planted()
    for region in (torch.zeros_like(inside), torch.ones_like(inside)):
        with pytest.raises(SettingError, match="cover some positions, and leave some out"):
            filter_weights(maps, region)
    for wrong in (inside[:11], inside[:, :4], inside[0]):
        with pytest.raises(ShapeError, match="do not fit"):
            filter_weights(maps, wrong)
    with pytest.raises(ShapeError, match="do not fit"):
        filter_weights(maps[0], inside)


def test_strongest() -> None:
    weights = torch.tensor([0.3, -2.0, 0.9, 0.0, 0.5])
    assert strongest(weights, 2).tolist() == [2, 4]
    assert strongest(weights, 9).tolist() == [2, 4, 0]
    assert strongest(-weights.abs(), 3).tolist() == []


@pytest.mark.parametrize("block", [1, 2, 3])
def test_filters_are_off_as_if_a_hook_had_zeroed_them(block: int) -> None:
    generator = dcgan.Generator(6, 3, 16).eval()
    z, filters = normal(130, 6), torch.tensor([0, 2])  # more than one batch

    def zero(module: nn.Module, given: object, result: Tensor) -> Tensor:
        result = result.clone()
        result[:, filters] = 0
        return result

    whole = dcgan.samples(generator, z)
    found = without_filters(generator, z, block, filters)
    handle = generator.blocks[block - 1].register_forward_hook(zero)
    expected = dcgan.samples(generator, z)
    handle.remove()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert float((found - whole).abs().max()) > 1e-4
    nothing = without_filters(generator, z, block, torch.tensor([], dtype=torch.long))
    torch.testing.assert_close(nothing, whole, rtol=0, atol=1e-6)


def test_switching_off_changes_neither_latents_nor_weights() -> None:
    """Before the first block the maps are z itself."""
    generator = dcgan.Generator(6, 3, 8).eval()
    z = normal(3, 6)
    before = z.clone()
    found = without_filters(generator, z, 0, torch.tensor([1]))
    assert torch.equal(z, before)
    before[:, 1] = 0
    torch.testing.assert_close(found, dcgan.samples(generator, before))


def test_what_goes_with_the_filters_is_counted() -> None:
    z, seed = normal(50, LATENT, seed=2), 3
    z[:, 0] = z[:, 0].abs() + 0.1  # all wear glasses
    weights = torch.tensor([5.0, 1.0, -1.0, 2.0, -2.0, -3.0])  # 0, then 3, then 1
    study = study_filters(Toy(), Reader(), z, "glasses", 1, weights, counts=(1, 2, 3), seed=seed)
    assert study.counts == [1, 2, 3]
    assert [share.value for share in study.gone["chosen"]] == [1, 1, 1]
    hairy = float((z[:, 1] > 0).float().mean())
    assert [share.value for share in study.kept["chosen"]] == pytest.approx([1, 1, 1 - hairy])
    order = torch.randperm(LATENT, generator=random_numbers(seed))
    for index, count in enumerate((1, 2, 3)):
        off = z.clone()
        off[:, order[:count]] = 0
        first, second = truth(z), truth(off)
        gone = float((second["glasses"] == 0).float().mean())
        kept = (first["hair"] == second["hair"]) & (first["beard"] == second["beard"])
        assert study.gone["random"][index].value == gone
        assert study.kept["random"][index].value == pytest.approx(float(kept.float().mean()))
        assert study.gone["random"][index].count == 50


def test_filters_of_an_attribute_that_is_not_read() -> None:
    with pytest.raises(SettingError, match="no factor 'hat'"):
        study_filters(Toy(), Reader(), normal(5, LATENT), "hat", 1, torch.ones(LATENT))
