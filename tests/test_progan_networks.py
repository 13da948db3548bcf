"""ProGAN's networks: published sizes, growth without a jump, and each ingredient's switch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator
from coursekit.progan_layers import EqualisedConv2d
from coursekit.progan_networks import (
    ALL,
    Conv,
    Critic,
    Generator,
    Ingredients,
    Stage,
    Widths,
    convolution,
    fade,
)

SMALL = Widths(16, base=64, most=16)
STAGES = [Stage(4), Stage(8, 0.3), Stage(8), Stage(16, 0.7), Stage(16)]


def pair(rules: Ingredients = ALL, **settings: object) -> tuple[Generator, Critic]:
    torch.manual_seed(0)
    return Generator(SMALL, latent=8, rules=rules, **settings), Critic(SMALL, rules=rules)


def latents(count: int = 4) -> Tensor:
    return torch.randn(count, 8, generator=generator(1))


def images(resolution: int, count: int = 4) -> Tensor:
    return torch.randn(count, 3, resolution, resolution, generator=generator(2))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- sizes --------------------------------------------------------------------------------------


def test_published_numbers_of_parameters() -> None:
    """Table 2 of the paper: 23.1 M each, with one layer to or from RGB. The sum by hand for G."""
    with torch.device("meta"):
        made, judge = Generator(), Critic()
    convs = [(512, 512, 16), (512, 512, 9)] + [(512, 512, 9)] * 6
    for before, after in ((512, 256), (256, 128), (128, 64), (64, 32), (32, 16)):
        convs += [(before, after, 9), (after, after, 9)]
    by_hand = sum(before * after * k + after for before, after, k in [*convs, (16, 3, 1)])
    others = [layer for size, layer in made.to_rgb.items() if size != "1024"]
    assert count(made) - sum(map(count, others)) == by_hand == 23_071_507
    others = [layer for size, layer in judge.from_rgb.items() if size != "1024"]
    assert round((count(judge) - sum(map(count, others))) / 1e6, 1) == 23.1


def test_widths() -> None:
    assert [Widths().at(r) for r in Widths().resolutions] == [512] * 4 + [256, 128, 64, 32, 16]
    assert SMALL.resolutions == [4, 8, 16] and [SMALL.at(r) for r in (4, 8, 16)] == [16, 16, 8]
    for wrong in ({"size": 48}, {"size": 2}, {"size": 64, "base": 16}, {"channels": 0}):
        with pytest.raises(SettingError):
            Widths(**wrong)


# --- growth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_images_and_scores_of_every_stage(stage: Stage) -> None:
    made, judge = pair()
    found = made(latents(), stage)
    assert found.shape == (4, 3, stage.resolution, stage.resolution)
    assert judge(found, stage).shape == (4,)


@pytest.mark.parametrize("resolution", [8, 16])
def test_a_new_layer_begins_without_a_jump(resolution: int) -> None:
    """At α = 0 nothing has changed yet: the images are the old ones, the scores too."""
    made, judge = pair()
    old, new = Stage(resolution // 2), Stage(resolution, 0.0)
    wanted = F.interpolate(made(latents(), old), scale_factor=2)
    assert torch.allclose(made(latents(), new), wanted, atol=1e-6)
    large = images(resolution)
    assert torch.allclose(judge(large, new), judge(F.avg_pool2d(large, 2), old), atol=1e-5)


def test_fading_is_linear_in_alpha() -> None:
    made, _ = pair()
    ends = [made(latents(), Stage(16, alpha)) for alpha in (0.0, 0.999999)]
    half = made(latents(), Stage(16, 0.5))
    assert torch.allclose(half, (ends[0] + ends[1]) / 2, atol=1e-4)
    assert torch.allclose(made(latents(), Stage(16)), ends[1], atol=1e-4)
    assert fade(torch.zeros(1), torch.ones(1), 0.25).item() == 0.25
    with pytest.raises(ShapeError):
        fade(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8), 0.5)


def test_only_layers_in_use_get_a_gradient() -> None:
    made, judge = pair()
    judge(made(latents(), Stage(8, 0.5)), Stage(8, 0.5)).sum().backward()
    used = {name for name, p in made.named_parameters() if p.grad is not None}
    assert used == {n for n, _ in made.named_parameters() if ".16." not in n}
    used = {name for name, p in judge.named_parameters() if p.grad is not None}
    assert used == {n for n, _ in judge.named_parameters() if ".16." not in n}


# --- ingredients --------------------------------------------------------------------------------


def test_the_learning_rate_is_equalised_or_not_and_the_start_is_the_same_in_kind() -> None:
    made, _ = pair()
    assert any(isinstance(layer, EqualisedConv2d) for layer in made.modules())
    plain, _ = pair(Ingredients(equalised=False))
    assert not any(isinstance(layer, EqualisedConv2d) for layer in plain.modules())
    spread = [float(each(latents(64)).std().detach()) for each in (made, plain)]
    assert 0.5 < spread[0] / spread[1] < 2
    assert made.blocks["16"][1].conv.weight.std() > 0.9
    assert plain.blocks["16"][1].conv.weight.std() < 0.3


def test_a_convolution_begins_alike_with_and_without_the_equalised_rate() -> None:
    """What differs is where the constant gain / √fan_in stands: outside the weights, or in them."""
    torch.manual_seed(0)
    equalised = convolution(16, 32, 3, ALL, gain=1.5)
    plain = convolution(16, 32, 3, Ingredients(equalised=False), gain=1.5)
    assert isinstance(equalised, EqualisedConv2d) and isinstance(plain, nn.Conv2d)
    assert float(equalised.weight.detach().std()) == pytest.approx(1, rel=0.05)
    assert float(plain.weight.detach().std()) == pytest.approx(1.5 / 12, rel=0.05)  # √(16 · 9) = 12
    assert not plain.bias.any() and not equalised.bias.any()
    x = torch.randn(2, 16, 5, 7, generator=generator(3))
    by_hand = F.conv2d(x, equalised.weight * 1.5 / 12, padding=1)
    torch.testing.assert_close(equalised(x), by_hand)
    torch.testing.assert_close(plain(x), F.conv2d(x, plain.weight, padding=1))
    assert convolution(16, 4, 4, ALL, padding=3)(x).shape == (2, 4, 8, 10)


def test_what_follows_a_convolution() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 5, 7, generator=generator(3))
    layer = Conv(6, 4, 3, ALL)
    found = layer(x)
    before = layer.conv(x)
    torch.testing.assert_close(found, torch.where(before < 0, 0.2 * before, before))
    normalised = Conv(6, 4, 3, ALL, normalise=True)
    normalised.load_state_dict(layer.state_dict())
    length = found.square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(normalised(x), found / length, rtol=1e-4, atol=1e-5)
    without = Conv(6, 4, 3, Ingredients(pixel_norm=False), normalise=True)
    without.load_state_dict(layer.state_dict())
    assert torch.equal(without(x), found)


def _largest(rules: Ingredients) -> float:
    """The largest mean square of features in a generator whose weights have grown threefold."""
    made, _ = pair(rules)
    seen = []
    for block in made.blocks.values():
        block.register_forward_hook(lambda *given: seen.append(float(given[2].square().mean())))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)
        made(latents())
    return max(seen)


def test_pixel_norm_keeps_the_features_of_a_generator_that_runs_away() -> None:
    assert _largest(Ingredients()) == pytest.approx(1, abs=1e-3)
    assert _largest(Ingredients(pixel_norm=False)) > 100


def test_a_critic_sees_its_batch_through_the_minibatch_deviation_alone() -> None:
    for seen in (True, False):
        _, judge = pair(Ingredients(minibatch_stddev=seen))
        many = images(16)
        alone = torch.cat([judge(one[None].repeat(4, 1, 1, 1))[:1] for one in many])
        assert torch.allclose(judge(many), alone, atol=1e-4) is not seen


def test_bfloat16_is_near_float32_and_gives_float32_back() -> None:
    exact, _ = pair()
    quick, _ = pair(precision="bfloat16")
    quick.load_state_dict(exact.state_dict())
    found, wanted = quick(latents(), Stage(16, 0.5)), exact(latents(), Stage(16, 0.5))
    assert found.dtype == torch.float32
    assert (found - wanted).square().mean().sqrt() < 0.05 * wanted.std()


@pytest.mark.parametrize("stage", [Stage(32), Stage(6), Stage(8, 1.5), Stage(8, -0.1)])
def test_a_stage_that_is_none(stage: Stage) -> None:
    made, judge = pair()
    for call in (lambda: made(latents(), stage), lambda: judge(images(8), stage)):
        with pytest.raises(SettingError, match=r"resolution=|alpha="):
            call()


def test_inputs_that_do_not_fit() -> None:
    made, judge = pair()
    with pytest.raises(ShapeError, match=r"\(N, 8\)"):
        made(torch.zeros(2, 9))
    with pytest.raises(ShapeError, match=r"not \(N, 3, 8, 8\)"):
        judge(images(16), Stage(8))
