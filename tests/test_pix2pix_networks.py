"""Topic 10's networks: published sizes, the forward pass written out, receptive fields."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import pix2pix_networks as networks
from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.pix2pix_networks import PatchDiscriminator, UNetGenerator


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stirred(module: nn.Module) -> nn.Module:
    """Weights and running statistics that are not those of the start, in eval mode."""
    for number, value in enumerate(module.state_dict().values()):
        if value.is_floating_point():
            value.copy_(0.3 * normal(*value.shape, seed=number).abs() + 0.05)
            value.mul_(normal(*value.shape, seed=-1 - number).sign() if value.dim() == 4 else 1)
    return module.eval()


# --- U-Net


def test_the_published_generator_has_the_published_size() -> None:
    with torch.device("meta"):
        assert count(UNetGenerator()) == 54_413_955


def test_small_generators_have_the_size_that_their_widths_give() -> None:
    for skips in (True, False):
        network = UNetGenerator(width=4, depth=4, max_width=8, skips=skips)
        down = [(3, 4), (4, 8), (8, 8), (8, 8)]
        seen = 2 if skips else 1
        up = [(8, 8), (seen * 8, 8), (seen * 8, 4), (seen * 4, 3)]
        kernels = 16 * sum(before * after for before, after in down + up)
        norms = 2 * (8 + 8) + 2 * (8 + 8 + 4)  # two layers on the way down, three on the way up
        assert count(network) == kernels + norms + 3  # and the bias of the last layer


@pytest.mark.parametrize("skips", [True, False])
def test_the_forward_pass_written_out(skips: bool) -> None:
    network = stirred(UNetGenerator(2, 3, width=3, depth=3, skips=skips))
    weights, x = network.state_dict(), normal(2, 2, 16, 24)

    def norm(x: Tensor, name: str) -> Tensor:
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var"))
        mean, variance = (part[None, :, None, None] for part in parts)
        scale, shift = (weights[f"{name}.{p}"][None, :, None, None] for p in ("weight", "bias"))
        return scale * (x - mean) / (variance + 1e-5).sqrt() + shift

    def double(x: Tensor, name: str, bias: Tensor | None = None) -> Tensor:
        return F.conv_transpose2d(x.relu(), weights[name], bias, stride=2, padding=1)

    def half(x: Tensor, name: str) -> Tensor:
        return F.conv2d(torch.where(x > 0, x, 0.2 * x), weights[name], stride=2, padding=1)

    first = F.conv2d(x, weights["down.0.0.weight"], stride=2, padding=1)
    second = norm(half(first, "down.1.1.weight"), "down.1.2")
    third = half(second, "down.2.1.weight")
    y = norm(double(third, "up.0.1.weight"), "up.0.2")
    y = norm(double(torch.cat([y, second], 1) if skips else y, "up.1.1.weight"), "up.1.2")
    y = torch.cat([y, first], 1) if skips else y
    expected = double(y, "up.2.1.weight", weights["up.2.1.bias"]).tanh()
    found = network(x)
    assert found.shape == (2, 3, 16, 24)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_in_the_first_three_layers_of_the_decoder() -> None:
    with torch.device("meta"):
        network = UNetGenerator()
    where = [any(isinstance(part, nn.Dropout) for part in layer) for layer in network.up]
    assert where == [True, True, True, False, False, False, False, False]
    assert not any(isinstance(part, nn.Dropout) for part in network.down.modules())
    assert not any(isinstance(p, nn.Dropout) for p in UNetGenerator(width=2, dropout=0.0).modules())


def test_normalisation_is_where_the_paper_has_it() -> None:
    with torch.device("meta"):
        network = UNetGenerator()

    def normed(layers: nn.ModuleList) -> list[bool]:
        return [any(isinstance(part, nn.BatchNorm2d) for part in layer) for layer in layers]

    assert normed(network.down) == [False] + [True] * 6 + [False]
    assert normed(network.up) == [True] * 7 + [False]
    widths = [layer[-2].out_channels if len(layer) == 3 else None for layer in network.down]
    assert widths[1:7] == [128, 256, 512, 512, 512, 512]


def test_noise_is_drawn_inside_the_context_alone() -> None:
    network = UNetGenerator(width=4, depth=3).eval()
    x = normal(1, 3, 8, 8)
    plain = network(x)
    with network.noisy():
        drawn = [network(x) for _ in range(4)]
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        assert not any(part.training for part in norms)
    assert not any(torch.equal(*pair) for pair in itertools.combinations(drawn, 2))
    assert torch.equal(network(x), plain)
    network.train()
    with network.noisy():
        pass
    assert all(part.training for part in network.modules())


def test_every_pixel_of_the_input_can_reach_every_pixel_of_the_output() -> None:
    """Down to one position, the generator sees the whole picture; with less depth it does not."""
    for depth, whole in ((5, True), (2, False)):
        network = stirred(UNetGenerator(1, 1, width=2, depth=depth)).double()
        x = normal(1, 1, 32, 32).double().requires_grad_()
        (gradient,) = torch.autograd.grad(network(x)[0, 0, 0, 0], x)
        assert bool(gradient[0, 0, 31, 31] != 0) is whole


def test_decode_without_and_with_skips_by_hand() -> None:
    encoded = [torch.full((1, 1, 1, 1), value) for value in (1.0, 10.0, 100.0)]
    seen: list[list[float]] = []

    def layer(x: Tensor) -> Tensor:
        seen.append(x.flatten().tolist())
        return x.sum(1, keepdim=True) + 0.5

    assert networks.decode([layer] * 3, encoded).item() == 112.5
    assert seen == [[100.0], [100.5, 10.0], [111.0, 1.0]]
    assert networks.decode([layer] * 3, encoded, skips=False).item() == 101.5


def test_bfloat16_gives_float32_and_about_the_same() -> None:
    generator, judge = UNetGenerator(width=8, depth=3), PatchDiscriminator(width=8, layers=1)
    for network, x in ((generator, normal(2, 3, 16, 16)), (judge, normal(2, 6, 16, 16))):
        network.eval()
        with torch.no_grad():
            plain = network(x)
            network.precision = "bfloat16"
            half = network(x)
        assert half.dtype == torch.float32
        assert float((half - plain).norm() / plain.norm()) < 0.1


# --- PatchGAN


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 2_768_705),
        ({"channels": 3, "norm": "instance"}, 2_764_737),
        # PixelGAN: 6 -> 64 -> 128 -> 1, all 1×1; two biases, and batch norm's two numbers.
        ({"layers": 0}, 6 * 64 + 64 + 64 * 128 + 2 * 128 + 128 + 1),
        ({"layers": 1}, 16 * (6 * 64 + 64 * 128 + 128) + 64 + 2 * 128 + 1),
    ],
)
def test_discriminators_have_the_published_sizes(settings: dict, size: int) -> None:
    with torch.device("meta"):
        assert count(PatchDiscriminator(**settings)) == size


def test_the_paper_s_imagegan_is_five_layers_of_its_widths() -> None:
    """C64-C128-C256-C512-C512-C512, then one logit; 70 pixels are C64-C128-C256-C512."""
    for layers, widths in ((5, [64, 128, 256, 512, 512, 512, 1]), (3, [64, 128, 256, 512, 1])):
        with torch.device("meta"):
            network = PatchDiscriminator(layers=layers).network
        found = [part.out_channels for part in network if isinstance(part, nn.Conv2d)]
        assert found == widths


def test_receptive_fields_are_those_of_the_paper() -> None:
    assert [networks.receptive_field(n) for n in range(6)] == [1, 16, 34, 70, 142, 286]
    with pytest.raises(SettingError, match="layers=-1"):
        networks.receptive_field(-1)


@pytest.mark.parametrize("layers", range(4))
@pytest.mark.parametrize("place", [(0, 0), (3, 5), (-1, -1)])
def test_a_logit_sees_its_box_and_nothing_else(layers: int, place: tuple[int, int]) -> None:
    """By gradients: which pixels move the logit, in float64 with weights that cannot cancel."""
    height, width = 80, 96
    network = PatchDiscriminator(2, width=2, layers=layers).double().eval()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.01)
    x = normal(1, 2, height, width).abs().double().requires_grad_()
    logits = network(x)
    row, column = (index % size for index, size in zip(place, logits.shape[2:], strict=True))
    (gradient,) = torch.autograd.grad(logits[0, 0, row, column], x)
    moved = gradient.abs().sum(dim=(0, 1)) > 0
    top, left, bottom, right = networks.patch_box(layers, row, column)
    expected = torch.zeros(height, width, dtype=torch.bool)
    expected[max(top, 0) : bottom, max(left, 0) : right] = True
    assert torch.equal(moved, expected)


@pytest.mark.slow
def test_the_imagegan_sees_286_pixels_by_gradients() -> None:
    network = PatchDiscriminator(1, width=1, layers=5).double().eval()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.01)
    x = normal(1, 1, 352, 352).abs().double().requires_grad_()
    logits = network(x)
    (gradient,) = torch.autograd.grad(logits[0, 0, 4, 4], x)
    rows, columns = (gradient[0, 0].abs().sum(dim).nonzero()[:, 0] for dim in (1, 0))
    assert len(rows) == len(columns) == 286
    box = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    assert box == networks.patch_box(5, 4, 4)


def test_a_patch_is_judged_the_same_wherever_it_stands() -> None:
    """The discriminator is a convolution: what moves by its stride moves one logit."""
    network = stirred(PatchDiscriminator(3, width=2, layers=2, norm="batch"))
    x = normal(1, 3, 64, 64)
    logits, moved = network(x), network(x.roll(4, dims=2))
    inside = slice(5, -5)  # where no padding is seen
    torch.testing.assert_close(moved[:, :, 6:-4, inside], logits[:, :, 5:-5, inside])


def test_instance_norm_has_no_weights_and_no_memory() -> None:
    network = PatchDiscriminator(3, width=4, norm="instance")
    assert all("running" not in name for name in network.state_dict())
    x = normal(2, 3, 32, 32)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UNetGenerator(width=0), "width=0"),
        (lambda: UNetGenerator(depth=1), "depth=1"),
        (lambda: UNetGenerator(dropout=1.0), "dropout=1.0"),
        (lambda: PatchDiscriminator(width=0), "width=0"),
        (lambda: PatchDiscriminator(layers=-1), "layers=-1"),
        (lambda: PatchDiscriminator(norm="layer"), "norm='layer'"),
    ],
)
def test_bad_settings_are_named(make, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        make()


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (UNetGenerator(width=2, depth=3), (2, 1, 16, 16), r"\(N, 3, H, W\)"),
        (UNetGenerator(width=2, depth=3), (3, 16, 16), r"\(3, 16, 16\)"),
        (UNetGenerator(width=2, depth=3), (1, 3, 12, 16), "multiples of 8"),
        (PatchDiscriminator(width=2), (1, 3, 64, 64), r"\(N, 6, H, W\)"),
        (PatchDiscriminator(width=2), (1, 6, 20, 64), "fewer layers"),
    ],
)
def test_pictures_that_do_not_fit_are_named(
    network: nn.Module, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ShapeError, match=words):
        network(torch.zeros(shape))


@pytest.mark.parametrize("layers", range(4))
def test_the_smallest_picture_leaves_one_logit(layers: int) -> None:
    least = 3 * 2**layers if layers else 1
    network = PatchDiscriminator(6, width=2, layers=layers).eval()
    assert network(torch.zeros(1, 6, least, least)).shape == (1, 1, 1, 1)


def test_weights_begin_as_in_the_paper() -> None:
    runtime.seed_everything(0)
    network = UNetGenerator(width=16, depth=4)
    kernels = torch.cat([p.detach().flatten() for p in network.parameters() if p.dim() == 4])
    assert abs(float(kernels.std()) - 0.02) < 0.001 and abs(float(kernels.mean())) < 0.001
