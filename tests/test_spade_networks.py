"""Topic 14: generators, encoder and discriminator; their published sizes and their checks."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from coursekit import spade, spade_study
from coursekit import spade_networks as networks
from coursekit.core import runtime, training
from coursekit.core.errors import SettingError, ShapeError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def labels(*shape: int, classes: int = 3, seed: int = 7) -> Tensor:
    return torch.randint(classes, shape, generator=runtime.generator(seed))


def planes(count: int, size: int, classes: int = 3, seed: int = 7) -> Tensor:
    return spade.one_hot(labels(count, size, size, classes=classes, seed=seed), classes)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stirred(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """With weights that say something: the published start is close to 0."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data.copy_(scale * normal(*parameter.shape, seed=100 + number))
    return module


def small_generator(**options: object) -> networks.Generator:
    settings = {"labels": 3, "width": 2, "size": 16, "hidden": 4, "doublings": 2} | options
    return networks.Generator(**settings)


# --- Sizes of the paper


@pytest.mark.parametrize(
    ("kind", "settings", "size"),
    [
        (networks.Generator, {}, 97_480_899),
        (networks.Generator, {"latent": 256}, 112_626_883),
        (networks.StyleEncoder, {}, 10_463_424),
        (
            networks.MultiscaleDiscriminator,
            {},
            # Four layers and the logits; biases where no instance norm takes them away again.
            2 * (16 * (187 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1),
        ),
    ],
)
def test_networks_have_the_published_sizes(kind: type, settings: dict, size: int) -> None:
    with torch.device("meta"):
        assert count(kind(**settings)) == size


def test_the_published_generator_grows_as_in_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """8×8 with 1024 channels; two blocks at 16×16; then half the channels at twice the size."""
    nothing = contextlib.nullcontext()  # autocast knows no device without memory
    monkeypatch.setattr(training, "autocast", lambda device, precision: nothing)
    with torch.device("meta"):
        generator = networks.Generator(latent=256)
        seen: list[tuple[int, ...]] = []
        for block in generator.blocks:
            block.register_forward_hook(
                lambda module, given, made: seen.append((*given[0].shape[1:3], made.shape[1]))
            )
        made = generator.eval()(torch.zeros(1, 184, 256, 256), torch.zeros(1, 256))
    assert made.shape == (1, 3, 256, 256)
    assert seen == [
        (1024, 8, 1024),
        (1024, 16, 1024),
        (1024, 16, 1024),
        (1024, 32, 512),
        (512, 64, 256),
        (256, 128, 128),
        (128, 256, 64),
    ]


def test_the_published_encoder_halves_down_to_four() -> None:
    with torch.device("meta"):
        encoder = networks.StyleEncoder()
    widths = [part.out_channels for part in encoder.network if isinstance(part, nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 512, 512]
    assert encoder.mean.in_features == encoder.log_variance.in_features == 512 * 16


def test_the_sides_of_the_comparison_have_equally_many_parameters() -> None:
    sizes = [count(kind(**spade_study.SHARED, **made)) for kind, made in spade_study.WAYS.values()]
    assert abs(sizes[0] / sizes[1] - 1) < 2e-3


# --- Spectral normalisation


def normalised(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if parametrize.is_parametrized(part)]


def test_where_weights_are_spectrally_normalised() -> None:
    """In the generator the blocks' own convolutions, not those that make γ and β."""
    generator = small_generator(latent=4)
    inside = normalised(generator)
    convolutions = {f"blocks.{i}.convolutions.{j}" for i in range(4) for j in range(2)}
    assert set(inside) == convolutions | {"blocks.3.shortcut"}
    judge = networks.MultiscaleDiscriminator(3, width=2, layers=3, scales=1)
    assert normalised(judge) == ["scales.0.parts.1.0", "scales.0.parts.2.0"]
    encoder = networks.StyleEncoder(2, 16, 4)
    assert normalised(encoder) == ["network.0", "network.3"]


def test_the_largest_singular_value_is_1() -> None:
    block = networks.SPADEBlock(6, 4, 3, hidden=4)
    for part in (*block.convolutions, block.shortcut):
        original = part.parametrizations.weight.original
        original.data.copy_(3 * normal(*original.shape, seed=original.numel()))
    for _ in range(60):  # one power iteration each
        block(normal(2, 6, 4, 4), planes(2, 4))
    for part in (*block.convolutions, block.shortcut):
        matrix = part.weight.detach().flatten(1)
        assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(1, abs=0.02)
        raw = part.parametrizations.weight.original.detach().flatten(1)
        assert float(torch.linalg.matrix_norm(raw, 2)) > 2


# --- The generators


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"latent": 5},
        {"norm": "instance"},
        {"doublings": 3, "size": 24},
        {"max_width": 3, "width": 3},
    ],
)
@pytest.mark.parametrize("kind", [networks.Generator, networks.ConcatGenerator])
@torch.no_grad()
def test_pictures_have_the_size_and_the_range(kind: type, settings: dict) -> None:
    made = {"labels": 3, "width": 2, "size": 16, "hidden": 4, "doublings": 2} | settings
    generator = stirred(kind(**made))
    z = (normal(2, made["latent"]),) if "latent" in made else ()
    found = generator(planes(2, made["size"]), *z)
    assert found.shape == (2, 3, made["size"], made["size"])
    assert float(found.abs().max()) <= 1 and found.dtype == torch.float32
    assert float(found.std()) > 0.01


@torch.no_grad()
@pytest.mark.parametrize("kind", [networks.Generator, networks.ConcatGenerator])
def test_the_map_and_the_style_both_move_the_picture(kind: type) -> None:
    generator = kind(3, 2, 16, 4, hidden=4, doublings=2)
    stirred(generator).eval()
    drawn, z = planes(2, 16), normal(2, 4, seed=3)
    first = generator(drawn, z)
    assert float((generator(drawn.roll(1, dims=1), z) - first).abs().mean()) > 1e-3
    assert float((generator(drawn, z + 1) - first).abs().mean()) > 1e-3


def test_without_a_style_the_generator_starts_from_the_map() -> None:
    """The first features are a convolution of the map at the smallest size."""
    generator = stirred(small_generator()).eval()
    seen: list[Tensor] = []
    generator.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    drawn = planes(2, 16)
    generator(drawn)
    expected = F.conv2d(drawn[:, :, ::4, ::4], generator.first.weight, generator.first.bias, 1, 1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_whole_generator_in_other_words() -> None:
    """Blocks one by one: doubled before each, but for the first and the second of the middle."""
    generator = stirred(small_generator(latent=4, doublings=3)).eval()
    drawn, z = planes(2, 16), normal(2, 4, seed=3)
    x = F.linear(z, generator.first.weight, generator.first.bias).view(2, 8, 2, 2)
    for block, doubled in zip(generator.blocks, (False, True, False, True, True), strict=True):
        if doubled:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = block(x, drawn)
    x = F.conv2d(torch.maximum(x, 0.2 * x), generator.last.weight, generator.last.bias, padding=1)
    torch.testing.assert_close(generator(drawn, z), x.tanh(), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_bfloat16_is_close_and_gives_float32() -> None:
    generator = stirred(small_generator(latent=4)).eval()
    drawn, z = planes(2, 16), normal(2, 4, seed=3)
    exact = generator(drawn, z)
    generator.precision = "bfloat16"
    found = generator(drawn, z)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    assert float((found - exact).abs().mean()) < 0.1 * float(exact.abs().mean())


def test_the_same_seed_gives_the_same_weights() -> None:
    made = []
    for seed in (0, 0, 1):
        runtime.seed_everything(seed)
        made.append(small_generator().state_dict())
    first, second, third = made
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


@torch.no_grad()
def test_weights_begin_with_glorot_s_normal() -> None:
    runtime.seed_everything(0)
    encoder = networks.StyleEncoder(16, 16, 8)
    original = encoder.network[3].parametrizations.weight.original
    expected = 0.02 * math.sqrt(2 / (9 * (16 + 32)))
    assert float(original.std()) == pytest.approx(expected, rel=0.05)
    linear = encoder.mean
    expected = 0.02 * math.sqrt(2 / (linear.in_features + linear.out_features))
    assert float(linear.weight.std()) == pytest.approx(expected, rel=0.05)
    assert float(linear.bias.abs().max()) == 0


# --- The encoder


def test_the_encoder_s_numbers_are_of_one_picture_alone() -> None:
    encoder = stirred(networks.StyleEncoder(2, 16, 5)).eval()
    images = normal(3, 3, 16, 16).tanh()
    mean, log_variance = encoder(images)
    assert mean.shape == log_variance.shape == (3, 5)
    alone = [torch.cat(each) for each in zip(*map(encoder, images.split(1)), strict=True)]
    torch.testing.assert_close(mean, alone[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_variance, alone[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mean, log_variance, atol=1e-2)


def test_the_encoder_in_other_words() -> None:
    encoder = stirred(networks.StyleEncoder(2, 16, 5)).eval()
    images = normal(2, 3, 16, 16, seed=4).tanh()
    x = images
    for index in (0, 3):
        x = F.conv2d(x, encoder.network[index].weight, stride=2, padding=1)
        x = F.leaky_relu(spade.normalise(x, over=(2, 3)), 0.2)
    assert x.shape == (2, 4, 4, 4)
    expected = F.linear(x.flatten(1), encoder.mean.weight, encoder.mean.bias)
    torch.testing.assert_close(encoder(images)[0], expected, rtol=1e-3, atol=1e-4)


# --- The discriminator


def test_an_opinion_has_every_layer_of_every_scale() -> None:
    judge = networks.MultiscaleDiscriminator(3, width=2, layers=3, scales=2)
    found = judge(planes(2, 16), normal(2, 3, 16, 16).tanh())
    sizes = [[tuple(layer.shape[1:]) for layer in scale] for scale in found]
    assert sizes == [
        [(2, 9, 9), (4, 5, 5), (8, 6, 6), (1, 7, 7)],
        [(2, 5, 5), (4, 3, 3), (8, 4, 4), (1, 5, 5)],
    ]


def test_the_second_scale_sees_the_pair_at_half_the_size() -> None:
    judge = stirred(networks.MultiscaleDiscriminator(3, width=2, layers=3, scales=2)).eval()
    drawn, images = planes(2, 16), normal(2, 3, 16, 16, seed=2).tanh()
    pair = torch.cat([drawn, images], dim=1)
    ones = F.avg_pool2d(torch.ones_like(pair), 3, 2, 1)
    halved = F.avg_pool2d(pair, 3, 2, 1) / ones  # the mean of what there is at the border
    found = judge(drawn, images)
    for scale, network, seen in zip(found, judge.scales, (pair, halved), strict=True):
        for mine, theirs in zip(scale, network(seen), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_scale_in_other_words() -> None:
    network = stirred(networks.PatchDiscriminator(5, width=2, layers=3)).eval()
    x, found = normal(2, 5, 16, 16, seed=6), []
    for number, stride in enumerate((2, 2, 1)):
        layer = network.parts[number][0]
        x = F.conv2d(x, layer.weight, layer.bias, stride=stride, padding=2)
        x = F.leaky_relu(spade.normalise(x, over=(2, 3)) if number else x, 0.2)
        found.append(x)
    last = network.parts[-1]
    found.append(F.conv2d(x, last.weight, last.bias, padding=2))
    for mine, theirs in zip(network(normal(2, 5, 16, 16, seed=6)), found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_discriminator_looks_at_the_map() -> None:
    judge = stirred(networks.MultiscaleDiscriminator(3, width=2, layers=3)).eval()
    images = normal(2, 3, 16, 16).tanh()
    first, other = (judge(planes(2, 16, seed=seed), images) for seed in (7, 8))
    assert all(not torch.equal(a[-1], b[-1]) for a, b in zip(first, other, strict=True))


# --- What cannot be


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: networks.SPADE(0, 3), "channels=0"),
        (lambda: networks.SPADE(4, 3, hidden=0), "hidden=0"),
        (lambda: networks.SPADE(4, 3, norm="layer"), "norm='layer'"),
        (lambda: small_generator(width=0), "width=0"),
        (lambda: small_generator(doublings=1), "doublings=1"),
        (lambda: small_generator(size=18), "multiple of 4"),
        (lambda: small_generator(size=0), "size=0"),
        (lambda: networks.StyleEncoder(2, 48), "size=48"),
        (lambda: networks.StyleEncoder(2, 4), "size=4"),
        (lambda: networks.StyleEncoder(0, 16), "width=0"),
        (lambda: networks.StyleEncoder(2, 16, 0), "latent=0"),
        (lambda: networks.MultiscaleDiscriminator(0), "labels=0"),
        (lambda: networks.MultiscaleDiscriminator(3, scales=0), "scales=0"),
        (lambda: networks.MultiscaleDiscriminator(3, layers=1), "layers=1"),
    ],
)
def test_bad_settings_are_named(make, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        make()


@pytest.mark.parametrize(
    ("latent", "given", "z", "words"),
    [
        (0, (2, 4, 16, 16), None, r"\(N, 3, 16, 16\), got \(2, 4, 16, 16\)"),
        (0, (2, 3, 16, 8), None, r"\(2, 3, 16, 8\)"),
        (0, (3, 16, 16), None, r"\(3, 16, 16\)"),
        (0, (2, 3, 16, 16), (2, 4), r"expected None, got \(2, 4\)"),
        (4, (2, 3, 16, 16), None, r"expected \(2, 4\), got None"),
        (4, (2, 3, 16, 16), (1, 4), r"expected \(2, 4\), got \(1, 4\)"),
        (4, (2, 3, 16, 16), (2, 5), r"got \(2, 5\)"),
    ],
)
def test_maps_and_codes_that_do_not_fit_are_named(
    latent: int, given: tuple[int, ...], z: tuple[int, ...] | None, words: str
) -> None:
    generator = small_generator(latent=latent)
    with pytest.raises(ShapeError, match=words):
        generator(torch.zeros(given), None if z is None else torch.zeros(z))


def test_pictures_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(N, 3, 16, 16\), got \(2, 3, 8, 16\)"):
        networks.StyleEncoder(2, 16, 4)(torch.zeros(2, 3, 8, 16))
    judge = networks.MultiscaleDiscriminator(3, width=2, layers=2)
    for drawn, images in (
        ((2, 4, 16, 16), (2, 3, 16, 16)),
        ((2, 3, 16, 16), (1, 3, 16, 16)),
        ((2, 3, 16, 16), (2, 3, 16, 8)),
    ):
        with pytest.raises(ShapeError, match=r"planes \(N, 3, H, W\)"):
            judge(torch.zeros(drawn), torch.zeros(images))
