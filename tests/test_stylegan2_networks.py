"""StyleGAN2's networks: published sizes and names, styles, noise, and every variant on the way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from coursekit import stylegan2_networks as networks
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.runtime import generator
from coursekit.stylegan2_discriminator import Conv, Discriminator, DiscriminatorBlock, Epilogue
from coursekit.stylegan2_layers import filter_2d, upfirdn
from coursekit.stylegan2_networks import (
    Generator,
    Linear,
    Mapping,
    Sizes,
    Synthesis,
    SynthesisBlock,
    ToRGB,
    mix,
)

SMALL = Sizes(16, base=128, most=16)


def small(**settings: str) -> Generator:
    torch.manual_seed(0)
    return Generator(SMALL, latent=8, mapping_layers=2, **settings)


def latents(count: int = 3, size: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(count, size, generator=generator(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- sizes and names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "g", "d"), [(256, 30_034_338, 28_864_129), (64, 27_032_600, 26_488_833)]
)
def test_published_numbers_of_parameters(size: int, g: int, d: int) -> None:
    with torch.device("meta"):
        assert count(Generator(Sizes(size))) == g
        assert count(Discriminator(Sizes(size))) == d


def test_parameters_have_the_published_names_and_shapes() -> None:
    """Written down from NVIDIA's published state dicts for 64 pixels, without filters."""
    with torch.device("meta"):
        generator_, discriminator = Generator(Sizes(64)), Discriminator(Sizes(64))
    found = {name: tuple(p.shape) for name, p in generator_.named_parameters()}
    wanted = {f"mapping.fc{i}.weight": (512, 512) for i in range(8)}
    wanted |= {f"mapping.fc{i}.bias": (512,) for i in range(8)}
    wanted["synthesis.b4.const"] = (512, 4, 4)
    for resolution in (4, 8, 16, 32, 64):
        for layer in ("conv0", "conv1") if resolution > 4 else ("conv1",):
            name = f"synthesis.b{resolution}.{layer}"
            wanted |= {f"{name}.affine.weight": (512, 512), f"{name}.affine.bias": (512,)}
            wanted |= {f"{name}.weight": (512, 512, 3, 3), f"{name}.bias": (512,)}
            wanted[f"{name}.noise_strength"] = ()
        name = f"synthesis.b{resolution}.torgb"
        wanted |= {f"{name}.affine.weight": (512, 512), f"{name}.affine.bias": (512,)}
        wanted |= {f"{name}.weight": (3, 512, 1, 1), f"{name}.bias": (3,)}
    assert found == wanted
    names = {name.rpartition(".")[0] for name, _ in discriminator.named_parameters()}
    each = {f"b{r}.{layer}" for r in (64, 32, 16, 8) for layer in ("conv0", "conv1", "skip")}
    assert names == each | {"b64.fromrgb", "b4.conv", "b4.fc", "b4.out"}
    assert dict(discriminator.named_parameters())["b4.conv.weight"].shape == (512, 513, 3, 3)


def test_sizes() -> None:
    sizes = Sizes(64, base=1024, most=64)
    assert sizes.resolutions == [4, 8, 16, 32, 64]
    assert [sizes.width(r) for r in sizes.resolutions] == [64, 64, 64, 32, 16]
    for wrong in ({"size": 48}, {"size": 4}, {"size": 64, "base": 32}, {"channels": 0}):
        with pytest.raises(SettingError):
            Sizes(**wrong)


# --- layers -------------------------------------------------------------------------------------


def test_a_multiplier_slows_a_layer_down_and_changes_nothing_at_the_start() -> None:
    torch.manual_seed(0)
    x = latents(400, 256)
    slow, usual = Linear(256, 64, multiplier=0.01), Linear(256, 64)
    assert slow(x).std().item() == pytest.approx(1, abs=0.1)
    for layer in (slow, usual):
        before = layer(x).detach()
        optimiser = torch.optim.SGD(layer.parameters(), 1e-3)
        layer(x).sum().backward()
        optimiser.step()
        layer.moved = (layer(x).detach() - before).abs().mean().item()
    assert slow.moved == pytest.approx(usual.moved * 1e-4, rel=0.05)


def test_mapping_sees_only_the_direction_of_z_and_tracks_the_mean() -> None:
    torch.manual_seed(0)
    mapping, z = Mapping(8, 2), latents(64)
    assert torch.allclose(mapping(z), mapping(3 * z), atol=1e-5)
    assert torch.equal(mapping.w_avg, torch.zeros(8))
    w = mapping(z, update_average=True)
    assert torch.allclose(mapping.w_avg, 0.002 * w.mean(dim=0), atol=1e-6)
    assert torch.allclose(mapping.truncate(w, 0.0), mapping.w_avg.expand_as(w))
    assert torch.allclose(mapping.truncate(w, 1.0), w, atol=1e-6)
    half = mapping.truncate(w, 0.5)
    assert torch.allclose(half - mapping.w_avg, 0.5 * (w - mapping.w_avg), atol=1e-6)
    with pytest.raises(ShapeError, match=r"\(N, 8\)"):
        mapping(latents(2, 9))


@pytest.mark.parametrize("block", networks.BLOCKS)
@pytest.mark.parametrize("output", networks.OUTPUTS)
def test_every_variant_makes_images_that_every_parameter_changes(block: str, output: str) -> None:
    model = small(block=block, output=output)
    images = model(latents())
    assert images.shape == (3, 3, 16, 16) and images.isfinite().all()
    images.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    rgb = [name for name, _ in model.named_parameters() if name.endswith("torgb.weight")]
    assert len(rgb) == (3 if output == "skip" else 1)


def test_an_adain_layer_sets_the_statistics_of_its_maps_and_a_demodulated_one_does_not() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(2, 6, 8, 8), latents(2)
    layers = {
        block: networks.StyledConv(6, 5, 8, 8, up=False, block=block) for block in networks.BLOCKS
    }
    scale, bias = layers["adain"].affine(w).chunk(2, dim=1)
    found = layers["adain"](x, w, "none")
    assert torch.allclose(found.mean(dim=(2, 3)), bias, atol=1e-5)
    assert torch.allclose(found.std(dim=(2, 3), unbiased=False), scale.abs(), atol=1e-4)
    means = layers["demodulated"](x, w, "none").mean(dim=(2, 3))
    assert means.std() > 0.05


def twice(image: Tensor) -> Tensor:
    """Zeros between the pixels, the filter, gain 4: by the definition of `upfirdn`."""
    return upfirdn(image, filter_2d(), up=2, padding=(2, 1), gain=4.0)


def test_an_image_layer_weighs_the_channels_by_the_style_of_each_pixel_s_sample() -> None:
    torch.manual_seed(0)
    layer, x, w = ToRGB(6, 3, 8), torch.randn(2, 6, 4, 5), latents(2)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    style = w @ layer.affine.weight.T / 8**0.5 + 1
    by_hand = torch.einsum("oc,nc,nchw->nohw", layer.weight[..., 0, 0], style, x) / 6**0.5
    by_hand = by_hand + layer.bias.view(3, 1, 1)
    torch.testing.assert_close(layer(x, w), by_hand, rtol=1e-4, atol=1e-5)


def test_a_block_adds_its_image_to_the_one_before_enlarged() -> None:
    torch.manual_seed(0)
    options = {"block": "demodulated", "to_rgb": True}
    first, second = (
        SynthesisBlock(before, 6, 8, size, 3, **options) for before, size in ((0, 4), (6, 8))
    )
    styles = torch.randn(2, 4, 8)
    x, image = first(None, None, styles, "none")
    again, _ = first(None, torch.zeros(2, 3, 2, 2), styles, "none")
    assert torch.equal(x, again) and x.shape == (2, 6, 4, 4) and image.shape == (2, 3, 4, 4)
    wide, alone = second(x, None, styles[:, 1:], "none")
    same, both = second(x, image, styles[:, 1:], "none")
    assert torch.equal(wide, same) and wide.shape == (2, 6, 8, 8)
    torch.testing.assert_close(both, alone + twice(image), rtol=1e-4, atol=1e-5)
    silent = SynthesisBlock(6, 6, 8, 8, 3, block="demodulated", to_rgb=False)
    assert silent(x, None, styles, "none")[1] is None


@pytest.mark.parametrize("output", networks.OUTPUTS)
def test_the_picture_is_the_sum_of_the_images_of_all_resolutions(output: str) -> None:
    torch.manual_seed(0)
    synthesis, made = Synthesis(SMALL, 8, output=output), {}
    for name, layer in synthesis.named_modules():
        if isinstance(layer, ToRGB):
            layer.register_forward_hook(lambda _, __, out, name=name: made.update({name: out}))
    found = synthesis(torch.randn(2, synthesis.count, 8), noise="none")
    wanted = {"skip": ["b4.torgb", "b8.torgb", "b16.torgb"], "plain": ["b16.torgb"]}[output]
    assert list(made) == wanted and synthesis.count == 6
    total = made[wanted[0]]
    for name in wanted[1:]:
        total = twice(total) + made[name]
    torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-5)


# --- styles and noise ---------------------------------------------------------------------------


def test_one_style_is_the_same_as_that_style_in_every_layer() -> None:
    model = small()
    styles = model.styles(latents())
    assert styles.shape == (3, 6, 8)
    every = model.synthesis(styles, noise="const")
    assert torch.allclose(every, model.synthesis(styles[:, 0], noise="const"), atol=1e-5)


def test_a_style_reaches_its_own_layer_and_those_after_it() -> None:
    """Coarse styles may change everything; the last one changes the last layer to RGB alone."""
    model = small()
    styles = model.styles(latents(1))
    model.synthesis(styles, noise="none")
    seen: dict[str, Tensor] = {}
    for name, layer in model.synthesis.named_modules():
        if name.endswith(("conv0", "conv1", "torgb")):
            layer.register_forward_hook(
                lambda _, given, __, name=name: seen.__setitem__(name, given[1])
            )
    numbered = torch.arange(6.0).view(1, 6, 1).expand(1, 6, 8)
    model.synthesis(numbered, noise="none")
    order = {name: int(w[0, 0]) for name, w in seen.items()}
    assert order == {
        "b4.conv1": 0,
        "b4.torgb": 1,
        "b8.conv0": 1,
        "b8.conv1": 2,
        "b8.torgb": 3,
        "b16.conv0": 3,
        "b16.conv1": 4,
        "b16.torgb": 5,
    }


def test_mixing() -> None:
    first, second = torch.zeros(2, 6, 8), torch.ones(2, 6, 8)
    assert mix(first, second, 2)[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1]
    assert torch.equal(mix(first, second, 0), second)
    assert torch.equal(mix(first, second, 6), first)
    with pytest.raises(SettingError, match="crossover=7"):
        mix(first, second, 7)
    with pytest.raises(ShapeError):
        mix(first, second[:1], 2)


def test_noise_is_random_constant_or_none() -> None:
    model, z = small(), latents()
    assert torch.equal(model(z, noise="random"), model(z, noise="none"))  # strengths start at 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
    assert not torch.equal(model(z), model(z))
    assert torch.equal(model(z, noise="const"), model(z, noise="const"))
    assert not torch.equal(model(z, noise="const"), model(z, noise="none"))
    with pytest.raises(SettingError, match="noise='much'"):
        model(z, noise="much")


def test_truncation_to_zero_makes_all_images_the_same() -> None:
    model = small()
    images = model(latents(), psi=0.0, noise="none")
    assert torch.allclose(images, images[:1].expand_as(images), atol=1e-5)


def test_bad_styles_and_settings() -> None:
    model = small()
    with pytest.raises(ShapeError, match=r"\(N, 6, 8\)"):
        model.synthesis(torch.zeros(2, 5, 8))
    for wrong in ({"block": "batch"}, {"output": "residual"}):
        with pytest.raises(SettingError, match="choose from"):
            small(**wrong)


# --- discriminator ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "down"), [(1, False), (3, False), (1, True), (3, True)])
def test_a_convolution_of_the_discriminator_by_hand(kernel: int, down: bool) -> None:
    """Filter at full size, convolve, take every second pixel: the order does not matter."""
    torch.manual_seed(0)
    layer, x = Conv(5, 4, kernel, down=down), torch.randn(2, 5, 8, 8)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, -0.5, 1.0, 0.0]))
    weight, pad = layer.weight / (5 * kernel**2) ** 0.5, kernel // 2
    if down:
        wide = upfirdn(x, filter_2d(), padding=(1 + pad, 1 + pad))
        wanted = nn.functional.conv2d(wide, weight, layer.bias)[:, :, ::2, ::2]
    else:
        wanted = nn.functional.conv2d(x, weight, layer.bias, padding=pad)
    wanted = torch.where(wanted < 0, 0.2 * wanted, wanted) * 2**0.5
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(x, gain=0.5), wanted / 2, rtol=1e-4, atol=1e-5)


def test_a_block_of_the_discriminator_is_half_of_each_branch_in_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    block = DiscriminatorBlock(6, 4, 3, "residual")
    inside = block.fromrgb(x)
    wanted = (block.skip(inside) + block.conv1(block.conv0(inside))) / 2**0.5
    torch.testing.assert_close(block(x), wanted)
    assert wanted.shape == (2, 4, 4, 4) and block.skip.bias is None
    plain = DiscriminatorBlock(6, 4, 0, "plain")
    assert plain.skip is None and plain.fromrgb is None
    torch.testing.assert_close(plain(inside), plain.conv1(plain.conv0(inside)))


def test_the_end_of_the_discriminator_sees_how_much_its_group_varies() -> None:
    torch.manual_seed(0)
    end, x = Epilogue(4, group=2), torch.randn(4, 4, 4, 4)
    deviation = x.unflatten(0, (2, 2)).std(dim=0, unbiased=False).mean(dim=(1, 2, 3))  # 0, 2; 1, 3
    channel = deviation.repeat(2).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    features = end.conv(torch.cat([x, channel], dim=1)).flatten(1)
    torch.testing.assert_close(end(x), end.out(end.fc(features))[:, 0], rtol=1e-4, atol=1e-5)
    assert end(x).shape == (4,)


@pytest.mark.parametrize("critic", ["residual", "plain"])
def test_a_logit_an_image_that_every_parameter_changes(critic: str) -> None:
    torch.manual_seed(0)
    model, images = Discriminator(SMALL, critic=critic), torch.randn(8, 3, 16, 16)
    logits = model(images)
    assert logits.shape == (8,) and 0.01 < logits.std() < 5
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    for wrong in (images[:, :1], images[..., :8], images[0]):
        with pytest.raises(ShapeError, match="not \\(N, 3, 16"):
            model(wrong)
    with pytest.raises(SettingError, match="critic='deep'"):
        Discriminator(SMALL, critic="deep")


def test_the_batch_is_seen_through_the_minibatch_deviation_alone() -> None:
    torch.manual_seed(0)
    model, images = Discriminator(SMALL, group=4), torch.randn(4, 3, 16, 16)
    alone = torch.cat([model(images[i : i + 1].expand(4, -1, -1, -1))[:1] for i in range(4)])
    assert not torch.allclose(model(images), alone, atol=1e-3)
    with torch.no_grad():
        model.b4.conv.weight[:, -1] = 0
    alone = torch.cat([model(images[i : i + 1]) for i in range(4)])
    assert torch.allclose(model(images), alone, atol=1e-4)


def test_bfloat16_is_near_float32_and_gives_float32_back() -> None:
    exact, z = small(), latents()
    quick = small(precision="bfloat16")
    quick.load_state_dict(exact.state_dict())
    found, wanted = quick(z, noise="none"), exact(z, noise="none")
    assert found.dtype == torch.float32
    assert (found - wanted).square().mean().sqrt() < 0.05 * wanted.std()
    torch.manual_seed(0)
    judge = Discriminator(SMALL)
    other = Discriminator(SMALL, precision="bfloat16")
    other.load_state_dict(judge.state_dict())
    wanted = wanted.detach()
    logits = judge(wanted).detach()
    assert (other(wanted) - logits).abs().max() < 0.1 * max(1.0, float(logits.abs().max()))


def test_a_copy_is_independent() -> None:
    model = small()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert model(latents(), noise="none").abs().sum() > 0
    assert twin(latents(), noise="none").abs().sum() == 0
