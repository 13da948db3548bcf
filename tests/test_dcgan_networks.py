"""DCGAN's networks: the published ones, each guideline as a switch, and how weights begin."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from coursekit.core.errors import SettingError, ShapeError
from coursekit.dcgan_networks import (
    ALL,
    Discriminator,
    Generator,
    Guidelines,
    MLPDiscriminator,
    MLPGenerator,
    initialise,
)

SWITCHES = ("strided", "batch_norm", "fully_convolutional", "relu", "leaky_relu")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def census(module: nn.Module) -> Counter[str]:
    """How many layers of each kind."""
    leaves = (part for part in module.modules() if not list(part.children()))
    return Counter(type(part).__name__ for part in leaves)


def change(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    names = sorted(before.keys() | after.keys())
    return {n: after[n] - before[n] for n in names if after[n] != before[n]}


# --- The published networks -----------------------------------------------------------------------


def plain_generator(latent: int, width: int) -> nn.Sequential:
    """Radford et al. 2016, figure 1, written down layer by layer."""
    return nn.Sequential(
        nn.ConvTranspose2d(latent, 8 * width, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(8 * width, 4 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def plain_discriminator(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 8 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False),
    )


def twins(course: nn.Module, plain: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Both with the course's weights."""
    values = [value.clone() for value in course.state_dict().values()]
    names = plain.state_dict().keys()
    plain.load_state_dict(dict(zip(names, values, strict=True)))
    return course, plain


def test_published_sizes() -> None:
    generator, discriminator = Generator(), Discriminator()
    assert generator.latent == 100
    assert parameters(generator) == parameters(plain_generator(100, 64)) == 3_576_704
    assert parameters(discriminator) == parameters(plain_discriminator(64)) == 2_765_568


@pytest.mark.parametrize("training", [True, False])
def test_the_generator_is_the_published_one(training: bool) -> None:
    course, plain = twins(Generator(10, 4), plain_generator(10, 4))
    z = normal(5, 10)
    found = course.train(training)(z)
    expected = plain.train(training)(z[:, :, None, None])
    assert found.shape == (5, 3, 64, 64)
    torch.testing.assert_close(found, expected)
    assert_same_gradients(course, plain, found, expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_discriminator_is_the_published_one(training: bool) -> None:
    course, plain = twins(Discriminator(4), plain_discriminator(4))
    images = normal(5, 3, 64, 64)
    found = course.train(training)(images)
    expected = plain.train(training)(images).flatten()
    assert found.shape == (5,)
    torch.testing.assert_close(found, expected)
    assert_same_gradients(course, plain, found, expected)


def assert_same_gradients(
    course: nn.Module, plain: nn.Module, found: Tensor, expected: Tensor
) -> None:
    """And the same running averages of the batch normalisation."""
    weights = normal(*found.shape, seed=3)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for a, b in zip(course.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)
    for a, b in zip(course.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


# --- Guidelines -----------------------------------------------------------------------------------


def without(*names: str) -> Guidelines:
    return replace(ALL, **dict.fromkeys(names, False))


@pytest.mark.parametrize(
    ("switch", "in_generator", "in_discriminator"),
    [
        ("strided", {"ConvTranspose2d": -4, "Conv2d": 4, "Upsample": 4}, {"MaxPool2d": 4}),
        ("batch_norm", {"BatchNorm2d": -4}, {"BatchNorm2d": -3}),
        (
            "fully_convolutional",
            {"ConvTranspose2d": -1, "Flatten": 1, "Linear": 2, "ReLU": 1, "Unflatten": 1},
            {"Conv2d": -1, "Flatten": 1, "LeakyReLU": 1, "Linear": 2},
        ),
        ("relu", {"ReLU": -4, "Sigmoid": 4}, {}),
        ("leaky_relu", {}, {"LeakyReLU": -4, "ReLU": 4}),
    ],
)
def test_a_switch_changes_what_it_says(switch, in_generator, in_discriminator) -> None:
    rules = without(switch)
    for network, expected in ((Generator, in_generator), (Discriminator, in_discriminator)):
        before, after = network(width=2), network(width=2, rules=rules)
        assert change(census(before), census(after)) == expected


def test_without_strides_sizes_change_in_other_layers() -> None:
    rules = without("strided")
    strides = {
        part.stride[0]
        for network in (Generator(width=2, rules=rules), Discriminator(2, rules=rules))
        for part in network.modules()
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
    }
    assert strides == {1}


def test_batch_norm_is_neither_at_the_output_nor_at_the_input() -> None:
    generator, discriminator = Generator(width=2), Discriminator(2)
    assert census(generator.blocks[-1]) == {"ConvTranspose2d": 1, "Tanh": 1}
    assert census(discriminator.blocks[0]) == {"Conv2d": 1, "LeakyReLU": 1}
    assert census(discriminator.blocks[-1]) == {"Conv2d": 1}


def test_biases_stand_in_where_batch_norm_is_missing() -> None:
    """Beside batch norm a bias does nothing: its mean is taken away."""
    for rules, expected in ((ALL, 0), (without("batch_norm"), 4)):
        biases = [p for p in Generator(width=2, rules=rules).modules() if has_conv_bias(p)]
        assert len(biases) == expected
    assert sum(map(has_conv_bias, Discriminator(2).modules())) == 0
    assert sum(map(has_conv_bias, Discriminator(2, rules=without("batch_norm")).modules())) == 3


def has_conv_bias(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None


def test_slopes() -> None:
    slopes = [p.negative_slope for p in Discriminator(2).modules() if isinstance(p, nn.LeakyReLU)]
    assert slopes == [0.2] * 4


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize(
    "off", [c for count in range(6) for c in itertools.combinations(SWITCHES, count)], ids=str
)
def test_every_combination_is_a_working_pair(off: tuple[str, ...], size: int) -> None:
    rules = without(*off)
    generator, discriminator = (
        Generator(6, 2, size, rules=rules),
        Discriminator(2, size, rules=rules),
    )
    images = generator(normal(3, 6))
    logits = discriminator(images)
    assert images.shape == (3, 3, size, size)
    assert images.abs().max() <= 1
    assert logits.shape == (3,)
    logits.sum().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None for p in network.parameters())


# --- Sizes and shapes -----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_sizes(size: int, channels: int) -> None:
    generator, discriminator = Generator(5, 2, size, channels), Discriminator(2, size, channels)
    images = generator(normal(2, 5))
    assert images.shape == (2, channels, size, size)
    assert discriminator(images).shape == (2,)


@pytest.mark.parametrize("size", [0, -8, 4, 7, 12, 28, 63, 65, 100])
def test_sizes_that_cannot_be_reached(size: int) -> None:
    for network in (Generator, Discriminator):
        with pytest.raises(SettingError, match=f"size={size} must be 4 doubled"):
            network(size=size)


@pytest.mark.parametrize("shape", [(5,), (2, 6), (2, 5, 1, 1), (0,)])
def test_wrong_latent_vectors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"this generator takes \(N, 5\)"):
        Generator(5, 2, 8)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 3, 16, 16), (2, 3, 8, 16)])
def test_wrong_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"this discriminator takes \(N, 3, 8, 8\)"):
        Discriminator(2, 8)(torch.zeros(shape))


@pytest.mark.parametrize(("size", "channels", "latent"), [(28, 1, 64), (8, 3, 5)])
def test_fully_connected_networks(size: int, channels: int, latent: int) -> None:
    generator = MLPGenerator(latent, 16, size, channels)
    images = generator(normal(7, latent) * 50)
    assert images.shape == (7, channels, size, size)
    assert 0.99 < float(images.detach().abs().max()) <= 1
    logits = MLPDiscriminator(16, size, channels)(images)
    assert logits.shape == (7,)
    assert census(generator) == {"Linear": 3, "LeakyReLU": 2, "Tanh": 1}


# --- Block by block -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("off", ["", "fully_convolutional", "strided"])
def test_blocks_put_together_are_the_network(off: str, precision: str) -> None:
    rules = without(off) if off else ALL
    generator = Generator(6, 3, 32, rules=rules, precision=precision).eval()
    z = normal(4, 6)
    sides = []
    with torch.no_grad():
        images = generator(z)
        for count in range(len(generator.blocks) + 1):
            activations = generator.up_to_block(z, count)
            sides.append(activations.shape[-1])
            assert activations.dtype == torch.float32
            assert torch.equal(generator.from_block(activations, count), images)
    assert sides == [1, 4, 8, 16, 32]


def test_activations_by_hand() -> None:
    """The first block on its own: a full convolution of one position is a matrix product."""
    generator = Generator(6, 3, 8).eval()
    convolution, norm, _ = generator.blocks[0]
    z = normal(2, 6)
    raw = torch.einsum("nl,lchw->nchw", z, convolution.weight)
    scaled = raw / (1 + 1e-5) ** 0.5 * norm.weight[:, None, None]  # running mean 0, variance 1
    torch.testing.assert_close(generator.up_to_block(z, 1), scaled.relu())


# --- Weights at the start -------------------------------------------------------------------------


def test_initial_weights() -> None:
    torch.manual_seed(0)
    for network in (Generator(), Discriminator(), Generator(rules=without("fully_convolutional"))):
        for part in network.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert_normal(part.weight, 0.0)
            elif isinstance(part, nn.BatchNorm2d):
                assert_normal(part.weight, 1.0)
            bias = getattr(part, "bias", None)
            assert bias is None or not bias.any()


def assert_normal(weights: Tensor, mean: float) -> None:
    """Within four standard errors of N(mean, 0.02²)."""
    weights, count = weights.detach(), weights.numel()
    assert abs(float(weights.mean()) - mean) < 4 * 0.02 / count**0.5
    assert abs(float(weights.std()) - 0.02) < 4 * 0.02 / (2 * count) ** 0.5


def test_initialise_changes_any_network() -> None:
    torch.manual_seed(0)
    network = MLPDiscriminator(256, 8)
    initialise(network)
    for part in network.modules():
        if isinstance(part, nn.Linear):
            assert_normal(part.weight, 0.0)
            assert not part.bias.any()


def test_the_same_seed_gives_the_same_weights() -> None:
    def values(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return [*Generator(6, 2, 16).parameters(), *Discriminator(2, 16).parameters()]

    assert all(map(torch.equal, values(4), values(4)))
    assert not all(map(torch.equal, values(4), values(5)))


# --- Precision ------------------------------------------------------------------------------------


@torch.no_grad()
def test_bfloat16_is_close_to_float32() -> None:
    z = normal(8, 20)
    torch.manual_seed(0)
    generator, discriminator = Generator(20, 8, 32), Discriminator(8, 32)
    exact = generator(z)
    logits = discriminator(exact)
    generator.precision = discriminator.precision = "bfloat16"
    rough = generator(z)
    rough_logits = discriminator(exact)
    assert rough.dtype == rough_logits.dtype == torch.float32
    assert 0 < float((rough - exact).abs().max()) < 0.03 * float(exact.abs().max())
    assert 0 < float((rough_logits - logits).abs().max()) < 0.03 * float(logits.std())
    with pytest.raises(SettingError, match="no precision 'half'"):
        Generator(6, 2, 8, precision="half")(normal(1, 6))
