"""The extractor against torchvision's own networks, torch's own errors and finite differences."""

from __future__ import annotations

import copy
import functools
import re

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import vgg

from coursekit.core import runtime, weights
from coursekit.core.errors import ImageError, LayerError, SettingError
from coursekit.core.features import FeatureExtractor, layer_names, receptive_field

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
# The paper names written out once more, independently of the package.
VGG16 = [
    "conv1_1",
    "relu1_1",
    "conv1_2",
    "relu1_2",
    "pool1",
    "conv2_1",
    "relu2_1",
    "conv2_2",
    "relu2_2",
    "pool2",
    "conv3_1",
    "relu3_1",
    "conv3_2",
    "relu3_2",
    "conv3_3",
    "relu3_3",
    "pool3",
    "conv4_1",
    "relu4_1",
    "conv4_2",
    "relu4_2",
    "conv4_3",
    "relu4_3",
    "pool4",
    "conv5_1",
    "relu5_1",
    "conv5_2",
    "relu5_2",
    "conv5_3",
    "relu5_3",
    "pool5",
]
ALEXNET = [
    "conv1",
    "relu1",
    "pool1",
    "conv2",
    "relu2",
    "pool2",
    "conv3",
    "relu3",
    "conv4",
    "relu4",
    "conv5",
    "relu5",
    "pool5",
]


def picture(size: int | tuple[int, int] = 64, batch: int = 1, seed: int = 0) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@functools.cache
def torchvision_features(network: str) -> nn.Sequential:
    """torchvision's layers with the same weights, and no in-place ReLU."""
    with torch.device("meta"):
        built = models.alexnet() if network == "alexnet" else models.vgg16()
    features = built.features.to_empty(device="cpu")
    state = weights.load(network)
    features.load_state_dict({key.removeprefix("features."): v for key, v in state.items()})
    for layer in features:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return features.eval().requires_grad_(False)


def run(layers: nn.Sequential, images: Tensor) -> list[Tensor]:
    found, x = [], (images - MEAN) / STD
    for layer in layers:
        x = layer(x)
        found.append(x)
    return found


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < tolerance, f"relative error {error:.2g}"


# --- Values ---------------------------------------------------------------------------------------


def test_names_are_those_of_the_papers() -> None:
    assert layer_names("vgg16") == tuple(VGG16)
    assert layer_names("alexnet") == tuple(ALEXNET)
    assert len(layer_names("vgg19")) == len(vgg.make_layers(vgg.cfgs["E"], batch_norm=False))
    assert [n for n in layer_names("vgg19") if n.startswith("conv4")] == [
        f"conv4_{i}" for i in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(("network", "names"), [("vgg16", VGG16), ("alexnet", ALEXNET)])
def test_every_layer_equals_torchvision(network: str, names: list[str]) -> None:
    images = picture((72, 88), batch=2)
    found = FeatureExtractor(network, names)(images)
    expected = run(torchvision_features(network), images)
    assert list(found) == names
    assert len(expected) == len(names)
    for name, reference in zip(names, expected, strict=True):
        assert_close(found[name], reference)


@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
@pytest.mark.parametrize("padding", ["reflect", "replicate", "circular"])
def test_padding_equals_a_network_built_by_hand(network: str, padding: str) -> None:
    """`nn.functional.pad` before an unpadded convolution; average pooling in the same run."""
    images, last = picture((80, 64)), "pool3" if network == "vgg16" else "conv4"
    x = (images - MEAN) / STD
    for name, layer in zip(layer_names(network), torchvision_features(network), strict=True):
        if isinstance(layer, nn.Conv2d):
            margin = layer.padding[0]
            x = nn.functional.pad(x, (margin,) * 4, mode=padding)
            x = nn.functional.conv2d(x, layer.weight, layer.bias, layer.stride)
        elif isinstance(layer, nn.MaxPool2d):
            x = nn.functional.avg_pool2d(x, layer.kernel_size, layer.stride)
        else:
            x = x.clamp_min(0)
        if name == last:
            break
    extractor = FeatureExtractor(network, last, padding=padding, pool="avg")
    assert_close(extractor(images)[last], x)


def test_average_pooling_is_not_maximum_pooling() -> None:
    images = picture(32)
    found = [
        FeatureExtractor("vgg16", ["relu1_2", "pool1"], pool=p)(images) for p in ("max", "avg")
    ]
    before = found[1]["relu1_2"]
    blocks = before.unfold(2, 2, 2).unfold(3, 2, 2)
    torch.testing.assert_close(found[1]["pool1"], blocks.mean(dim=(-2, -1)))
    torch.testing.assert_close(found[0]["pool1"], blocks.amax(dim=(-2, -1)))


def test_random_weights_come_from_the_seed_alone() -> None:
    images = picture(16)

    def make(seed: int) -> Tensor:
        return FeatureExtractor("vgg16", "relu2_1", weights="random", seed=seed)(images)["relu2_1"]

    first = make(3)
    torch.rand(7)  # the global generator is not used …
    state = torch.get_rng_state()
    assert torch.equal(make(3), first)
    assert torch.equal(torch.get_rng_state(), state)  # … nor touched
    assert not torch.equal(make(4), first)


def test_random_weights_have_he_variance() -> None:
    extractor = FeatureExtractor("vgg16", "conv3_2", weights="random")
    for layer in extractor.body:
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * 9
            assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
            assert not layer.bias.any()


@pytest.mark.parametrize(("able", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_it_is_multiplied(able, expected, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "multiplies_bfloat16", lambda device: able)
    extractor = FeatureExtractor("alexnet", ["relu2"], weights="random", precision="auto")
    assert extractor.dtype == expected


def test_bfloat16_is_close() -> None:
    images = picture(48)
    exact = FeatureExtractor("vgg16", ["relu2_1", "relu4_1"])(images)
    rough = FeatureExtractor("vgg16", ["relu2_1", "relu4_1"], precision="bfloat16")(images)
    for name, expected in exact.items():
        assert rough[name].dtype == torch.bfloat16
        cosine = nn.functional.cosine_similarity(
            rough[name].float().flatten(), expected.flatten(), dim=0
        )
        assert cosine > 0.999


def test_a_batch_equals_its_images_one_by_one() -> None:
    images, extractor = picture((40, 56), batch=2), FeatureExtractor("vgg16", ["conv2_2", "pool3"])
    together = extractor(images)
    for index in range(2):
        for name, alone in extractor(images[index : index + 1]).items():
            assert_close(together[name][index : index + 1], alone)


def test_memory_format_of_the_images_does_not_matter() -> None:
    images, extractor = picture((24, 30)), FeatureExtractor("vgg16", ["conv1_2", "relu2_1"])
    expected = extractor(images)
    strided = torch.zeros(1, 3, 30, 24).mT.copy_(images)
    for same in (images.to(memory_format=torch.channels_last), strided):
        for name, found in extractor(same).items():
            assert_close(found, expected[name])


# --- In-place ReLU --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("vgg16", ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]),
        ("vgg16", ["conv2_1"]),
        ("vgg16", ["conv1_2", "relu2_2"]),
        ("alexnet", ["conv1", "relu1", "pool1", "conv2"]),
    ],
)
def test_a_relu_never_overwrites_what_was_asked_for(network: str, layers: list[str]) -> None:
    images, names = picture(40), list(layer_names(network))
    found = FeatureExtractor(network, layers)(images)
    expected = run(torchvision_features(network)[: names.index(layers[-1]) + 1], images)
    for name in layers:
        reference = expected[names.index(name)]
        assert_close(found[name], reference)
        if name.startswith("conv"):
            assert found[name].min() < 0


def test_gradients_through_conv_and_relu_together_equal_those_of_torchvision() -> None:
    layers = ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "conv2_1"]
    image, again = picture(16).requires_grad_(), picture(16).requires_grad_()
    found = FeatureExtractor("vgg16", layers)(image)
    sum((i + 1) * each.square().mean() for i, each in enumerate(found.values())).backward()
    reference = run(torchvision_features("vgg16")[:6], again)
    chosen = [reference[VGG16.index(name)] for name in layers]
    sum((i + 1) * each.square().mean() for i, each in enumerate(chosen)).backward()
    assert_close(image.grad, again.grad)


# --- Frozen, and yet differentiable ---------------------------------------------------------------


def test_frozen_and_always_in_evaluation_mode() -> None:
    extractor = FeatureExtractor("alexnet", "relu2")
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert extractor.train() is extractor
    assert not any(module.training for module in extractor.modules())
    holder = nn.Sequential(extractor, nn.Dropout())
    holder.train()
    assert not extractor.training
    assert holder[1].training


def test_gradient_reaches_the_image_and_agrees_with_finite_differences() -> None:
    """Float64 throughout: a directional derivative to six digits."""
    extractor = FeatureExtractor("vgg16", ["relu1_2", "relu2_2"]).double()
    image = picture((12, 14)).double()

    def loss(x: Tensor) -> Tensor:
        return sum(each.square().sum() for each in extractor(x).values())

    leaf = image.clone().requires_grad_()
    loss(leaf).backward()
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-6
    numeric = (loss(image + step * direction) - loss(image - step * direction)) / (2 * step)
    assert (leaf.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-6)


def test_the_caller_may_change_its_type_and_copy_it() -> None:
    extractor = FeatureExtractor("vgg16", "relu1_1")
    images = picture(8)
    expected = extractor(images)["relu1_1"]
    twin = copy.deepcopy(extractor)
    assert torch.equal(twin(images)["relu1_1"], expected)
    found = twin.double()(images.double())["relu1_1"]
    assert found.dtype == twin.dtype == torch.float64
    assert_close(found.float(), expected)
    assert twin.to(torch.bfloat16)(images)["relu1_1"].dtype == torch.bfloat16
    assert torch.equal(extractor(images)["relu1_1"], expected)


def test_images_are_not_changed_and_weights_of_two_extractors_are_not_shared() -> None:
    images = picture(20)
    before = images.clone()
    first = FeatureExtractor("vgg16", "relu1_2")
    expected = first(images)["relu1_2"]
    assert torch.equal(images, before)
    second = FeatureExtractor("vgg16", "relu1_2")
    second.body[0].weight.zero_()
    assert torch.equal(first(images)["relu1_2"], expected)
    assert torch.equal(FeatureExtractor("vgg16", "relu1_2")(images)["relu1_2"], expected)


# --- Shape of the network -------------------------------------------------------------------------


def test_the_network_is_cut_after_the_last_layer() -> None:
    for last in ("conv1_1", "relu3_1", "pool4"):
        extractor = FeatureExtractor("vgg16", ["relu1_1", last] if last != "conv1_1" else [last])
        assert [name for name, _ in extractor.body.named_children()][-1] == last
        assert len(extractor.body) == VGG16.index(last) + 1
    # Order and repetition of the request do not matter; the answer is in network order.
    extractor = FeatureExtractor("vgg16", ["relu2_1", "conv1_1", "relu2_1"])
    assert list(extractor(picture(16))) == ["conv1_1", "relu2_1"]


@pytest.mark.parametrize(
    ("network", "last", "count"),
    [("vgg16", "pool5", 14_714_688), ("alexnet", "pool5", 2_469_696), ("vgg16", "conv1_1", 1_792)],
)
def test_numbers_of_parameters(network: str, last: str, count: int) -> None:
    extractor = FeatureExtractor(network, last, weights="random")
    assert sum(parameter.numel() for parameter in extractor.parameters()) == count


def test_vgg19_has_the_published_number_of_parameters() -> None:
    extractor = FeatureExtractor("vgg19", "pool5", weights="random")
    expected = vgg.make_layers(vgg.cfgs["E"], batch_norm=False)
    assert sum(p.numel() for p in extractor.parameters()) == 20_024_384
    assert [tuple(p.shape) for p in extractor.parameters()] == [
        tuple(p.shape) for p in expected.parameters()
    ]


@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
def test_channels_are_those_of_the_maps(network: str) -> None:
    names = layer_names(network)
    extractor = FeatureExtractor(network, names, weights="random")
    found = extractor(picture(extractor.minimum_size))
    assert extractor.channels == {name: maps.shape[1] for name, maps in found.items()}


SIZES = [
    ("vgg16", "conv1_1", "zeros"),
    ("vgg16", "relu3_3", "zeros"),
    ("vgg16", "relu3_1", "reflect"),
    ("vgg16", "pool4", "circular"),
    ("vgg16", "conv1_1", "circular"),
    ("vgg16", "pool2", "replicate"),
    ("alexnet", "relu1", "zeros"),
    ("alexnet", "pool1", "reflect"),
    ("alexnet", "conv2", "circular"),
    ("alexnet", "relu2", "reflect"),
    ("alexnet", "pool5", "zeros"),
    ("alexnet", "pool5", "reflect"),
]


@pytest.mark.parametrize(("network", "last", "padding"), SIZES)
def test_minimum_size_is_where_torch_itself_begins_to_work(
    network: str, last: str, padding: str
) -> None:
    extractor = FeatureExtractor(network, last, padding=padding, weights="random")

    def works(size: int) -> bool:
        try:
            return extractor.body(torch.zeros(1, 3, size, size + 40)).numel() > 0
        except RuntimeError:
            return False

    smallest = next(size for size in range(1, 300) if works(size))
    assert extractor.minimum_size == smallest
    assert extractor(picture((smallest + 40, smallest)))[last].numel() > 0
    if smallest > 1:
        with pytest.raises(ImageError, match=f"too small for {last}.*at least {smallest}"):
            extractor(picture((smallest + 40, smallest - 1)))


def test_minimum_size_depends_on_the_deepest_layer_not_on_the_order() -> None:
    extractor = FeatureExtractor("vgg16", ["pool3", "conv1_1"], weights="random")
    assert extractor.minimum_size == 8
    with pytest.raises(ImageError, match="pool3"):
        extractor(picture(7))


@pytest.mark.parametrize(
    ("network", "layer", "size"),
    [
        ("vgg16", "conv1_1", 97),
        ("vgg16", "relu2_2", 97),
        ("vgg16", "pool3", 128),
        ("alexnet", "conv1", 151),
        ("alexnet", "pool2", 231),
        ("alexnet", "relu3", 343),
    ],
)
def test_receptive_field_by_experiment(network: str, layer: str, size: int) -> None:
    """With positive weights and average pooling, what a unit sees is where its gradient is."""
    extractor = FeatureExtractor(network, layer, weights="random", pool="avg")
    for convolution in (each for each in extractor.body if isinstance(each, nn.Conv2d)):
        convolution.weight.fill_(1 / convolution.weight[0].numel())
    image = torch.full((1, 3, size, size), 0.9).requires_grad_()
    maps = extractor.double()(image.double())[layer]
    centre = maps.shape[-1] // 2
    maps[0, 0, centre, centre].backward()
    seen = image.grad[0, 0] != 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    side = (rows.max() - rows.min() + 1).item()
    assert columns.max() - columns.min() + 1 == side
    assert rows.min() > 0
    assert rows.max() < size - 1  # not cut off by the border
    assert receptive_field(network, layer) == side


def test_receptive_fields_known_from_the_literature() -> None:
    # Simonyan & Zisserman 2015, section 2.3: three 3×3 layers see 7×7.
    assert receptive_field("vgg16", "conv1_2") == 5
    assert receptive_field("vgg16", "pool5") == 212
    assert receptive_field("alexnet", "pool5") == 195


# --- Errors ---------------------------------------------------------------------------------------


def test_an_unknown_layer_lists_those_there_are() -> None:
    with pytest.raises(LayerError) as caught:
        FeatureExtractor("alexnet", ["relu1", "relu4_2", "conv9"])
    message = str(caught.value)
    assert "'relu4_2'" in message
    assert "'conv9'" in message
    assert "'relu1'" not in message
    listed = re.findall(r"(?:conv|relu|pool)\d\b(?!')", message)
    assert listed == ALEXNET
    with pytest.raises(LayerError, match="relu5_3"):
        receptive_field("vgg16", "relu6_1")
    with pytest.raises(LayerError, match="pool5"):
        FeatureExtractor("vgg16", [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", "resnet"),
        ("pool", "median"),
        ("padding", "same"),
        ("weights", "places"),
        ("precision", "int8"),
    ],
)
def test_unknown_settings_list_the_choices(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=value) as caught:
        FeatureExtractor(**{"layers": "relu1", "network": "alexnet", name: value})
    assert re.search(r"vgg19|avg|replicate|random|bfloat16", str(caught.value))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 4, 32, 32), (32, 32)])
def test_what_is_not_a_batch_of_colour_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"\(N, 3, H, W\)"):
        FeatureExtractor("alexnet", "relu1", weights="random")(torch.zeros(shape))


def test_a_layer_may_be_given_as_a_plain_string() -> None:
    assert list(FeatureExtractor("vgg16", "relu1_1")(picture(8))) == ["relu1_1"]
    assert "relu1_1" in repr(FeatureExtractor("vgg16", "relu1_1"))
