"""From StyleGAN to StyleGAN2: the variants, how much one place dominates, the constructed case."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from coursekit import stylegan2_adain as adain_
from coursekit import stylegan2_styles as styles_
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator as random
from coursekit.stylegan2_networks import Generator, Sizes

SMALL = Sizes(16, base=128, most=16)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed))


# --- variants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(adain_.VARIANTS))
def test_every_variant_plays(name: str) -> None:
    torch.manual_seed(0)
    variant = adain_.VARIANTS[name]
    game = adain_.make_game(variant, SMALL, latent=8, path_every=1, r1_every=1)
    terms = game.step(1, torch.rand(4, 3, 16, 16, generator=random(1)))
    assert all(torch.as_tensor(value).isfinite() for value in terms.values())
    assert ("r1" in terms) == ("path_length" in terms) == (name == "+ R1 / path length")
    assert game.generator.mapping.layers == (0 if name == "Z → AdaIN" else 8)


def test_the_variants_differ_in_one_step_each() -> None:
    """Each row of the table changes what its name says, and nothing else."""
    rows = list(adain_.VARIANTS.values())
    changed = [
        {key for key in vars(a) if getattr(a, key) != getattr(b, key)}
        for a, b in itertools.pairwise(rows)
    ]
    assert changed == [{"mapping_layers"}, {"block"}, {"output", "critic"}, {"r1", "path_weight"}]
    assert rows[-1] == adain_.Variant()


# --- dominance ----------------------------------------------------------------------------------


def test_dominance_by_hand() -> None:
    flat = torch.zeros(1, 1, 4, 4)
    assert adain_.dominance(flat).item() == 0.0
    one = flat.clone()
    one[0, 0, 1, 2] = 5.0
    # One pixel of 16: (1 − 1/16)² of (1 − 1/16)² + 15 / 16².
    assert adain_.dominance(one).item() == pytest.approx(15 / 16)
    half = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 4, 4)
    assert adain_.dominance(half).item() == pytest.approx(1 / 16)
    assert adain_.dominance(half, window=3).item() == pytest.approx(9 / 16)


def test_dominance_does_not_see_scale_and_shift() -> None:
    maps = normal(2, 3, 8, 8, seed=1)
    found = adain_.dominance(maps, 3)
    assert found.shape == (2, 3)
    assert torch.allclose(adain_.dominance(7 * maps - 2, 3), found, atol=1e-5)
    with pytest.raises(SettingError, match="odd number"):
        adain_.dominance(maps, 2)
    with pytest.raises(ShapeError, match="9 pixels or more"):
        adain_.dominance(maps, 9)


def test_noise_has_no_droplets() -> None:
    small, large = (adain_.dominance_of_noise(size, maps=300) for size in (8, 32))
    assert large < small < 0.4
    assert large == pytest.approx(2 * math.log(2 * 32**2) / 32**2, rel=0.4)


@pytest.mark.parametrize("block", ["adain", "demodulated"])
def test_droplets_are_found_where_they_were_put(block: str) -> None:
    torch.manual_seed(0)
    made = Generator(SMALL, latent=8, mapping_layers=1, block=block).eval().requires_grad_(False)
    calm = {each.layer: each for each in adain_.find_droplets(made, count=8, window=1)}
    assert set(calm) == {"b16.conv0", "b16.conv1"}
    layer = made.synthesis.b16.conv1
    assert calm["b16.conv1"].dominated < 0.5
    layer.noise_strength.fill_(1.0)
    layer.noise_const.zero_()
    layer.noise_const[3, 4] = 1e4
    found = {each.layer: each for each in adain_.find_droplets(made, count=8, window=1)}
    assert found["b16.conv1"].median > 0.9
    assert found["b16.conv1"].dominated > 0.9
    assert found["b16.conv0"] == calm["b16.conv0"]


def test_activations_are_the_layers_outputs_and_leave_no_hooks() -> None:
    torch.manual_seed(0)
    made = Generator(SMALL, latent=8, mapping_layers=1)
    w = styles_.draw_w(made, 2, seed=1)
    found = adain_.activations(made, w)
    assert [tuple(maps.shape) for maps in found.values()] == [
        (2, 16, 4, 4),
        (2, 16, 8, 8),
        (2, 16, 8, 8),
        (2, 8, 16, 16),
        (2, 8, 16, 16),
    ]
    assert not any(m._forward_hooks for m in made.synthesis.modules())


# --- the case constructed -----------------------------------------------------------------------


def test_a_spike_is_one_pixel_of_every_map() -> None:
    maps = normal(2, 3, 5, 5, seed=2)
    spiked = adain_.with_spike(maps, 10.0, (1, 2))
    difference = spiked - maps
    assert torch.allclose(difference[:, :, 1, 2], 10 * maps.std(dim=(2, 3), unbiased=False))
    difference[:, :, 1, 2] = 0
    assert not difference.any()


def test_one_pixel_turns_a_map_down_under_adain_and_not_under_demodulation() -> None:
    study = adain_.study_spike((0, 30, 300), size=32)
    assert study.rest["demodulation"] == pytest.approx([1, 1, 1], abs=1e-4)
    assert study.rest["AdaIN"][0] == pytest.approx(1, abs=1e-4)
    assert study.rest["AdaIN"] == pytest.approx(study.predicted, rel=0.1)
    assert study.rest["AdaIN"][2] < 0.15
    assert study.predicted[1] == pytest.approx(1 / math.sqrt(1 + 900 * 1023 / 1024**2))
