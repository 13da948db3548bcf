"""Topic 03: the loss against its formula written out, and that optimising it does what it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit import gatys
from coursekit.core.errors import LayerError, SettingError
from coursekit.core.features import FeatureExtractor
from coursekit.datasets.paintings import style
from coursekit.datasets.photos import photo

LAYERS = ("relu1_1", "relu2_1")


@pytest.fixture(scope="module")
def cat() -> Tensor:
    return photo("cat", 40)


@pytest.fixture(scope="module")
def night() -> Tensor:
    return style("night_strokes", 48).image


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(layers=[*LAYERS, "relu2_2"])


def random_grams(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = {"a": torch.randn(1, 3, 9, generator=generator), "b": torch.randn(1, 4, 9)}
    return {name: each @ each.mT for name, each in rows.items()}


def test_loss_is_the_formula_written_out(cat, night, extractor) -> None:
    """Equations 1, 4, 5 and 7 with einsum, each term over that of an empty image."""
    grams = gatys.gram_targets(extractor, night)
    grams = {name: grams[name] for name in LAYERS}
    loss = gatys.transfer_loss(
        extractor, cat, grams, content_weight=2.0, style_weight=3.0, content_layers=["relu2_2"]
    )
    x = torch.rand(cat.shape, generator=torch.Generator().manual_seed(1))
    found = loss(x)

    fx, fp, fa = extractor(x), extractor(cat), extractor(night)
    content = (fx["relu2_2"] - fp["relu2_2"]).square().sum() / fp["relu2_2"].square().sum()
    errors, empty = [], []
    for name in LAYERS:
        g, a = (
            torch.einsum("nchw,ndhw->ncd", f[name], f[name]) / f[name][0, 0].numel()
            for f in (fx, fa)
        )
        scale = 4 * g.shape[1] ** 2
        errors.append((g - a).square().sum() / scale)
        empty.append(a.square().sum() / scale)
    roots = [each.sqrt() for each in empty]
    styled = sum(e / (root * sum(roots)) for e, root in zip(errors, roots, strict=True))
    torch.testing.assert_close(found["content"], 2 * content, rtol=1e-4, atol=0)
    torch.testing.assert_close(found["style"], 3 * styled, rtol=1e-4, atol=0)


def test_loss_of_an_image_without_features_is_the_weights(cat, night, extractor) -> None:
    class Blind(torch.nn.Module):
        layers = extractor.layers
        blind = False

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            features = extractor(images)
            return {n: 0 * f if self.blind else f for n, f in features.items()}

    network = Blind()
    grams = {n: gatys.gram_targets(extractor, night)[n] for n in LAYERS}
    loss = gatys.transfer_loss(
        network, cat, grams, content_weight=2.0, style_weight=7.0, content_layers=["relu2_2"]
    )
    network.blind = True
    terms = loss(cat)
    assert float(terms["content"]) == pytest.approx(2.0, rel=1e-4)
    assert float(terms["style"]) == pytest.approx(7.0, rel=1e-4)


def test_targets_are_reached_by_their_own_pictures(cat, extractor) -> None:
    grams = {n: gatys.gram_targets(extractor, cat)[n] for n in LAYERS}
    terms = gatys.transfer_loss(extractor, cat, grams, content_layers=["relu2_2"])(cat)
    assert set(terms) == {"content", "style"}
    assert float(terms["content"]) == 0
    assert float(terms["style"]) < 1e-8


def test_gradient_is_the_directional_derivative(cat, night, extractor) -> None:
    grams = {n: gatys.gram_targets(extractor, night)[n] for n in LAYERS}
    loss = gatys.transfer_loss(
        extractor, cat, grams, content_layers=["relu2_2"], smoothness_weight=1.0
    )
    x = (cat + 0.1 * torch.randn(cat.shape, generator=torch.Generator().manual_seed(2))).double()
    extractor.double()
    try:
        x.requires_grad_(True)
        total = sum(term.double() for term in loss(x).values())
        (gradient,) = torch.autograd.grad(total, x)
        direction = gradient / gradient.norm()
        with torch.no_grad():
            ends = [
                sum(t.double() for t in loss(x + s * direction).values()) for s in (1e-3, -1e-3)
            ]
        numeric = (ends[0] - ends[1]) / 2e-3
        assert float(numeric) == pytest.approx(float(gradient.norm()), rel=2e-2)
    finally:
        extractor.float()


def test_mixing_is_the_weighted_mean_and_minimises_the_sum_of_losses() -> None:
    grams = [random_grams(1), random_grams(2)]
    mixed = gatys.mix_grams(grams, [3, 1])
    for name, each in mixed.items():
        torch.testing.assert_close(each, 0.75 * grams[0][name] + 0.25 * grams[1][name])
    point = {name: each.clone().requires_grad_(True) for name, each in mixed.items()}
    total = sum(
        share * (point[name] - gram[name]).square().sum()
        for share, gram in zip((0.75, 0.25), grams, strict=True)
        for name in point
    )
    total.backward()
    assert all(float(each.grad.abs().max()) < 1e-4 for each in point.values())


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0]])
def test_mixing_refuses_weights_that_make_no_mean(weights) -> None:
    with pytest.raises(SettingError, match="one weight"):
        gatys.mix_grams([random_grams(1), random_grams(2)], weights)


def test_starting_images(cat) -> None:
    assert torch.equal(gatys.starting_image(cat), cat)
    noise = gatys.starting_image(cat, "noise", seed=3)
    assert torch.equal(noise, gatys.starting_image(cat, "noise", seed=3))
    assert not torch.equal(noise, gatys.starting_image(cat, "noise", seed=4))
    assert noise.shape == cat.shape
    assert noise.min() >= 0 and noise.max() <= 1
    own = torch.rand(cat.shape)
    assert torch.equal(gatys.starting_image(cat, own), own)
    for wrong in ("photo", torch.rand(1, 3, 4, 4)):
        with pytest.raises(SettingError, match="start is"):
            gatys.starting_image(cat, wrong)


SETTINGS = {"style_layers": LAYERS, "content_layers": ("relu2_1",), "progress": False}


def test_stylise_lowers_both_sides_and_is_repeatable(cat, night) -> None:
    first = gatys.stylise(cat, night, steps=12, **SETTINGS)
    again = gatys.stylise(cat, night, steps=12, **SETTINGS)
    assert torch.equal(first.image, again.image)
    assert first.image.shape == cat.shape
    assert first.loss < first.history[0]["total"]
    assert first.history[-1]["style"] < 0.2 * first.history[0]["style"]
    assert first.history[0]["content"] == 0


def test_more_style_weight_leaves_less_content(cat, night) -> None:
    content = []
    for weight in (0.1, 10.0):
        result = gatys.stylise(cat, night, steps=15, style_weight=weight, **SETTINGS)
        best = min(result.history, key=lambda entry: entry["total"])
        content.append(best["content"])
    assert content[0] < content[1]


def test_one_share_of_two_is_one_style(cat, night) -> None:
    sea = style("woodblock_sea", 48).image
    alone = gatys.stylise(cat, night, steps=4, **SETTINGS)
    mixed = gatys.stylise(cat, [night, sea], mix=[1, 0], steps=4, **SETTINGS)
    torch.testing.assert_close(mixed.image, alone.image)
    half = gatys.stylise(cat, [night, sea], steps=4, **SETTINGS)
    assert not torch.allclose(half.image, alone.image, atol=1e-3)


def test_coarse_to_fine_ends_at_the_size_of_the_content(cat, night) -> None:
    result = gatys.stylise(cat, night, sizes=[20, 40], steps=[3, 2], **SETTINGS)
    assert result.image.shape == cat.shape
    assert [entry["size"] for entry in result.history] == [20, 20, 20, 40, 40]


def test_average_pooling_is_the_default_and_max_is_an_argument(cat, night) -> None:
    def run(**network) -> Tensor:
        return gatys.stylise(cat, night, steps=3, network=network, **SETTINGS).image

    assert torch.equal(run(), run(pool="avg"))
    assert not torch.equal(run(), run(pool="max"))


def test_unknown_layer_is_named(cat, night) -> None:
    with pytest.raises(LayerError, match="relu9_9"):
        gatys.stylise(cat, night, style_layers=["relu9_9"], steps=1)


def test_keep_colours_keeps_chroma_and_takes_luminance(cat, night) -> None:
    skimage = pytest.importorskip("skimage.color")
    grey_ish = 0.4 + 0.2 * cat  # far from the bounds: nothing is clamped
    other = 0.4 + 0.2 * F.interpolate(night, cat.shape[-2:])
    kept = gatys.keep_colours(other, grey_ish)

    def yiq(image: Tensor):
        return skimage.rgb2yiq(image[0].permute(1, 2, 0).double().numpy())

    torch.testing.assert_close(
        torch.tensor(yiq(kept)[..., 0]), torch.tensor(yiq(other)[..., 0]), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor(yiq(kept)[..., 1:]), torch.tensor(yiq(grey_ish)[..., 1:]), atol=2e-3, rtol=0
    )


def test_content_targets_are_features_and_their_energy_is_half_their_square(cat, extractor) -> None:
    targets = gatys.content_targets(extractor, cat, ["relu2_2", "relu1_1"])
    assert list(targets) == ["relu2_2", "relu1_1"]
    features = extractor(cat)
    for name, target in targets.items():
        assert not target.requires_grad
        torch.testing.assert_close(target, features[name])
    energies = gatys.content_energies({"flat": torch.zeros(1, 2, 3, 3), **targets})
    expected = 0.5 * float(features["relu2_2"].double().square().sum())
    assert energies["relu2_2"] == pytest.approx(expected, rel=1e-4)
    assert 0 < energies["flat"] < 1e-9


def test_luminance_matching_gives_mean_and_deviation(cat, night) -> None:
    content, grey = 0.4 + 0.1 * gatys.luminance(cat), gatys.luminance(night)
    matched = gatys.match_luminance(grey, content)
    assert float(matched.mean()) == pytest.approx(float(content.mean()), abs=1e-4)
    assert float(matched.std()) == pytest.approx(float(content.std()), abs=1e-4)
    flat = torch.full((1, 3, 4, 4), 0.5)
    assert torch.isfinite(gatys.match_luminance(flat, content)).all()


@pytest.mark.parametrize("way", ["luminance", "matched"])
def test_colours_stay_nearer_to_the_content(cat, night, way) -> None:
    settings = {"steps": 10, **SETTINGS}
    plain = gatys.stylise(cat, night, **settings).image
    kept = gatys.stylise_keeping_colours(cat, night, way=way, **settings).image

    def chroma(image: Tensor) -> Tensor:
        return gatys.rgb_to_yiq(image)[:, 1:].mean(dim=(2, 3))

    distance = [(chroma(each) - chroma(cat)).norm() for each in (kept, plain)]
    assert distance[0] < distance[1]


def test_unknown_way_to_keep_colours(cat, night) -> None:
    with pytest.raises(SettingError, match="luminance"):
        gatys.stylise_keeping_colours(cat, night, way="sepia", steps=1)
