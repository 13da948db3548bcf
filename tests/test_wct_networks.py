"""Topic 05: the mirrored decoders, their training, and whole stylisations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coursekit import wct, wct_networks
from coursekit.core import checkpoints, training
from coursekit.core.errors import ImageError, SettingError, ShapeError, WeightsError
from coursekit.core.features import layer_names
from coursekit.datasets.crops import Crops
from coursekit.datasets.photos import photo
from coursekit.datasets.styles import style_image
from coursekit.recipes import wct as recipe
from coursekit.wct_networks import (
    COURSE_WIDTHS,
    LEVELS,
    Autoencoder,
    Decoder,
    begin_from,
    begin_linear,
    calibrate,
    cosine,
    fit_front,
    layer_of,
    load_decoder,
    measure,
    reconstruction_terms,
    train_decoder,
)


@pytest.fixture(scope="module")
def cat() -> Tensor:
    return photo("cat", 64, crop=True)


@pytest.fixture(scope="module")
def model() -> wct.Universal:
    """Levels 1 to 3 of the course."""
    return wct.load((1, 2, 3))


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


# --- The decoders --------------------------------------------------------------------------------


def test_published_decoders_have_the_mirrors_parameters() -> None:
    """Counted by hand: 3·3·in·out weights and out biases for each mirrored convolution."""
    by_hand = {1: 64 * 27 + 3}
    by_hand[2] = by_hand[1] + (9 * 128 * 64 + 64) + (9 * 64 * 64 + 64)
    by_hand[3] = by_hand[2] + (9 * 256 * 128 + 128) + (9 * 128 * 128 + 128)
    by_hand[4] = by_hand[3] + (9 * 512 * 256 + 256) + 2 * (9 * 256 * 256 + 256)
    by_hand[5] = by_hand[4] + 3 * (9 * 512 * 512 + 512)
    assert {level: count(Decoder(level)) for level in LEVELS} == by_hand
    assert list(by_hand.values()) == [1_731, 112_451, 555_075, 2_915_139, 9_994_563]


def test_a_decoder_is_the_encoder_in_a_mirror() -> None:
    encoder = layer_names("vgg16")
    forwards = encoder[: encoder.index("relu4_1") + 1]
    mirrored = [n.replace("pool", "up") for n in reversed(forwards) if not n.startswith("relu")]
    backwards = [name for name, _ in Decoder(4).named_children() if not name.startswith("relu")]
    assert backwards == mirrored
    layers = dict(Decoder(4).named_children())
    assert (layers["conv4_1"].in_channels, layers["conv4_1"].out_channels) == (512, 256)
    assert (layers["conv1_1"].in_channels, layers["conv1_1"].out_channels) == (64, 3)
    assert layers["conv3_2"].padding_mode == "reflect"
    assert list(layers)[-1] == "conv1_1"  # linear at the end


@pytest.mark.parametrize("level", LEVELS)
def test_a_decoder_doubles_the_size_once_a_pooling(level: int) -> None:
    decoder = Decoder(level, COURSE_WIDTHS)
    with torch.no_grad():
        images = decoder(torch.rand(2, decoder.channels, 2, 3))
    assert images.shape == (2, 3, 2 * 2 ** (level - 1), 3 * 2 ** (level - 1))
    assert layer_of(level) == f"relu{level}_1"


def test_five_course_decoders_stay_under_their_limit() -> None:
    assert 2 * sum(count(Decoder(level, COURSE_WIDTHS)) for level in LEVELS) < 4_500_000


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(SettingError, match="level"):
        Decoder(6)
    with pytest.raises(SettingError, match="widths"):
        Decoder(4, (64, 128))
    with pytest.raises(ShapeError, match="128"):
        Decoder(2)(torch.rand(1, 64, 4, 4))
    with pytest.raises(ShapeError, match="2×2"):
        Decoder(2)(torch.rand(1, 128, 1, 4))
    with pytest.raises(SettingError, match="cannot begin"):
        begin_from(Decoder(4, COURSE_WIDTHS), Decoder(2, COURSE_WIDTHS))


def test_calibration_gives_every_channel_mean_0_and_deviation_1() -> None:
    torch.manual_seed(0)
    decoder, features = Decoder(3, COURSE_WIDTHS), 5 * torch.rand(4, 256, 8, 8).square()
    calibrate(decoder, features)
    x = features
    with torch.no_grad():
        for name, layer in decoder.named_children():
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                last = name == "conv1_1"
                mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)
                wanted = (0.45, 0.1) if last else (0.0, 1.0)
                torch.testing.assert_close(
                    mean, torch.full_like(mean, wanted[0]), atol=1e-3, rtol=0
                )
                torch.testing.assert_close(std, torch.full_like(std, wanted[1]), rtol=1e-3, atol=0)


def test_a_deeper_decoder_begins_as_the_shallower_one_ends() -> None:
    torch.manual_seed(0)
    shallower, deeper = Decoder(2, COURSE_WIDTHS), Decoder(3, COURSE_WIDTHS)
    begin_from(deeper, shallower)
    for name in ("conv1_2.weight", "conv1_1.bias"):
        assert torch.equal(deeper.state_dict()[name], shallower.state_dict()[name])
    assert deeper.conv2_1.weight.shape != shallower.conv2_1.weight.shape


def test_the_linear_start_is_least_squares_through_few_numbers() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=random) + 3
    y = x @ torch.randn(6, 4, generator=random) + 0.1 * torch.randn(200, 4, generator=random)

    def error(rank: int) -> float:
        into, shift, out, mean = wct_networks._reduced_rank(x, y, rank, ridge=1e-9)
        middle = x @ into.T + shift
        torch.testing.assert_close(middle.std(0), torch.ones(rank), atol=1e-3, rtol=0)
        return float((middle @ out.T + mean - y).square().sum())

    with_one = torch.cat([x, torch.ones(200, 1)], 1)
    exact = torch.linalg.lstsq(with_one, y).solution
    best = float((with_one @ exact - y).square().sum())
    assert error(4) == pytest.approx(best, rel=1e-2)
    assert error(1) > error(2) > error(3) > error(4)


def test_a_deep_decoder_begins_near_the_shallower_one(cat: Tensor) -> None:
    """Before any training its picture is nearer to the photograph than a flat one."""
    shallower, images = load_decoder(2), photo("coffee", 64, crop=True)
    torch.manual_seed(0)
    autoencoder = Autoencoder(Decoder(3, COURSE_WIDTHS))
    calibrate(autoencoder.decoder, autoencoder.encode(images))
    begin_from(autoencoder.decoder, shallower)
    begin_linear(autoencoder, shallower, images)
    with torch.no_grad():
        assert ((autoencoder(images) - images) ** 2).mean() < 0.6 * images.var()


def test_the_front_learns_the_shallower_decoders_activations(cat: Tensor) -> None:
    torch.manual_seed(0)
    autoencoder, shallower = Autoencoder(Decoder(3, COURSE_WIDTHS)), load_decoder(2)
    calibrate(autoencoder.decoder, autoencoder.encode(cat))
    begin_from(autoencoder.decoder, shallower)
    before = {k: v.clone() for k, v in autoencoder.decoder.state_dict().items()}
    history = fit_front(autoencoder, shallower, cat, steps=40, learning_rate=0.03, batch=1)
    assert history[-1] < 0.7 * history[0]
    after = autoencoder.decoder.state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"conv3_1", "conv2_2", "conv2_1"}  # the copied layers stay


# --- Autoencoders and their loss -----------------------------------------------------------------


@pytest.mark.parametrize("size", [(33, 47), (32, 32), (50, 64)])
def test_pictures_of_odd_sizes_come_back_in_their_size(size: tuple[int, int]) -> None:
    autoencoder = Autoencoder(Decoder(4, COURSE_WIDTHS))
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        features = autoencoder.encode(image)
        assert features.shape == (1, 512, -(-size[0] // 8), -(-size[1] // 8))
        assert autoencoder(image).shape == image.shape


def test_pictures_that_are_too_small_are_refused() -> None:
    autoencoder = Autoencoder(Decoder(4, COURSE_WIDTHS))
    with pytest.raises(ImageError, match="at least"):
        autoencoder.encode(torch.rand(1, 3, 12, 40))


def test_loss_is_the_formula_written_out_and_trains_the_decoder_alone(cat: Tensor) -> None:
    torch.manual_seed(1)
    autoencoder = Autoencoder(Decoder(2, COURSE_WIDTHS))
    terms = reconstruction_terms(autoencoder, cat, feature_weight=3.0)
    (terms["pixel"] + terms["feature"]).backward()

    decoder = Decoder(2, COURSE_WIDTHS)
    decoder.load_state_dict(autoencoder.decoder.state_dict())
    phi = autoencoder.encoder(cat)["relu2_1"].detach()
    output = decoder(phi)
    pixel = ((output - cat) ** 2).sum() / ((cat - cat.mean()) ** 2).sum()
    found = autoencoder.encoder(output)["relu2_1"]
    feature = 3 * ((found - phi) ** 2).sum() / (phi**2).sum()
    # var() divides by one less.
    torch.testing.assert_close(terms["pixel"], pixel, rtol=1e-3, atol=0)
    torch.testing.assert_close(terms["feature"], feature, rtol=1e-3, atol=0)
    (pixel + feature).backward()
    for mine, theirs in zip(autoencoder.decoder.parameters(), decoder.parameters(), strict=True):
        difference = float((mine.grad - theirs.grad).norm())
        assert difference < 1e-2 * float(theirs.grad.norm())
    assert all(each.grad is None for each in autoencoder.encoder.parameters())


class Broken(Crops):
    """Photographs that can be read three times only."""

    reads = 0

    def batch(self, indices, device="cpu"):
        self.reads += 1
        if self.reads > 3:
            raise OSError("the disk is gone")
        return super().batch(indices, device)


def test_training_goes_on_exactly_where_it_was_stopped(cat: Tensor, tmp_path: Path) -> None:
    def train(folder: str, kind: type[Crops] = Crops) -> dict[str, Tensor]:
        torch.manual_seed(0)
        autoencoder = Autoencoder(Decoder(1, COURSE_WIDTHS))
        batches = training.Batches(kind([cat, 1 - cat], 32, count=8), 2)
        settings = dict(folder=tmp_path / folder, checkpoint_every=3, progress=False)
        train_decoder(autoencoder, batches, steps=6, precision="float32", **settings)
        return autoencoder.decoder.state_dict()

    whole = train("whole")
    with pytest.raises(OSError, match="disk"):
        train("parts", Broken)
    resumed = train("parts")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_the_rate_falls_along_half_a_cosine() -> None:
    found = [cosine(number, 4) for number in (1, 2, 3, 4)]
    assert found == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])


def test_a_level_learns(cat: Tensor) -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(Decoder(1, COURSE_WIDTHS))
    batches = training.Batches(Crops([cat], 48, count=40), 2)
    result = train_decoder(autoencoder, batches, steps=40, progress=False, log_every=10)
    assert result.curve("pixel")[-1] < 0.7 * result.curve("pixel")[0]


def test_the_recipe_needs_photographs(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--photos"):
        recipe.course(tmp_path)


@pytest.mark.slow
def test_the_recipe_writes_five_decoders_that_load(tmp_path: Path, monkeypatch) -> None:
    from coursekit.core.images import save_image

    monkeypatch.setattr(recipe, "EXAMPLES", {4: 8, 5: 8})
    monkeypatch.setattr(recipe, "FRONT_STEPS", {5: 2})
    monkeypatch.setattr(recipe, "HELD_OUT", ("chelsea",))

    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate(("cat", "coffee")):
        save_image(photo(name, 160), photos / f"{number}.png")
    files = recipe.course(tmp_path / "run", photos=photos, steps=2, progress=False)
    assert [file.name for file in files] == [f"level{level}.safetensors" for level in LEVELS]
    for level, file in zip(LEVELS, files, strict=True):
        about = checkpoints.read(file).about
        assert about["data"].startswith("2 photographs")
        assert load_decoder(level, file).level == level
        assert set(about["measured"]) == {"psnr", "lpips"}
    with pytest.raises(WeightsError, match="holds level 1"):
        load_decoder(2, files[0])


# --- The course's checkpoints --------------------------------------------------------------------


def test_checkpoints_say_what_they_reach_and_reach_it() -> None:
    about = {level: checkpoints.load("wct", f"level{level}").about for level in LEVELS}
    images = recipe.held_out()
    for level in (1, 2):
        found = measure(Autoencoder(load_decoder(level)), images)
        said = about[level]["measured"]
        assert abs(found["psnr"] - said["psnr"]) < 0.3
        assert abs(found["lpips"] - said["lpips"]) < 0.02
    psnr = [about[level]["measured"]["psnr"] for level in LEVELS]
    assert psnr[0] > psnr[2] > 18
    assert all(about[level]["steps"] > 100 for level in LEVELS)


def test_all_checkpoints_together_stay_under_their_limit() -> None:
    files = list(checkpoints.path_of("wct", "level1").parent.glob("*"))
    assert sum(file.stat().st_size for file in files) < 4_500_000 + 150_000


# --- Whole stylisations --------------------------------------------------------------------------


def test_stylise_is_the_chain_written_out(cat: Tensor, model: wct.Universal) -> None:
    style = style_image("night_strokes", 72)
    found = wct.stylise(model, cat, style, levels=(3, 2), strength=0.7)
    picture = cat
    with torch.no_grad():
        for level in (3, 2):
            autoencoder = Autoencoder(load_decoder(level))
            fc = autoencoder.encoder(picture)[layer_of(level)]
            fs = autoencoder.encoder(style)[layer_of(level)]
            features = 0.7 * wct.colour(wct.whiten(fc), fs) + 0.3 * fc
            picture = autoencoder.decoder(features).clamp(0, 1)
    assert found.shape == cat.shape
    assert float((found - picture).abs().max()) < 2e-2


def test_strength_0_is_a_reconstruction(cat: Tensor, model: wct.Universal) -> None:
    found = wct.stylise(model, cat, style_image("pebbles", 64), levels=(2,), strength=0.0)
    with torch.no_grad():
        torch.testing.assert_close(found, model.autoencoder(2)(cat).clamp(0, 1))


def test_pictures_may_differ_in_size_and_be_odd(model: wct.Universal) -> None:
    content = photo("coffee", (45, 61))
    steps: list[Tensor] = []
    found = wct.stylise(model, content, style_image("pebbles", 53), levels=(3, 1), steps=steps)
    assert found.shape == content.shape
    assert len(steps) == 2 and torch.equal(steps[-1], found)
    assert float(found.min()) >= 0 and float(found.max()) <= 1


def test_style_brings_its_colours(cat: Tensor, model: wct.Universal) -> None:
    style = style_image("night_strokes", 64, crop=True)
    found = wct.stylise(model, cat, style, levels=(2, 1))
    before = (cat.mean((2, 3)) - style.mean((2, 3))).norm()
    after = (found.mean((2, 3)) - style.mean((2, 3))).norm()
    assert after < 0.4 * before


def test_two_styles_by_shares_and_by_mask(cat: Tensor, model: wct.Universal) -> None:
    first, second = style_image("night_strokes", 64), style_image("dotted_garden", 64)
    alone = wct.stylise(model, cat, first, levels=(2,))
    shares = wct.stylise(model, cat, [first, second], levels=(2,), shares=[1, 0])
    torch.testing.assert_close(shares, alone)
    mask = torch.zeros(40, 30)
    mask[:, :15] = 1
    mixed = wct.stylise(model, cat, [first, second], levels=(2,), mask=mask)
    swapped = wct.stylise(model, cat, [second, first], levels=(2,), mask=1 - mask)
    torch.testing.assert_close(mixed, swapped, atol=2e-3, rtol=0)
    everywhere = wct.stylise(model, cat, [first, second], levels=(2,), mask=torch.ones(8, 8))
    torch.testing.assert_close(everywhere, alone, atol=2e-3, rtol=0)


def test_a_texture_comes_from_noise_by_its_seed(model: wct.Universal) -> None:
    style = style_image("pebbles", 64)
    first, again, other = (
        wct.texture(model, style, (40, 56), seed=seed, levels=(2, 1)) for seed in (0, 0, 1)
    )
    assert first.shape == (1, 3, 40, 56)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_wrong_requests_are_refused(cat: Tensor, model: wct.Universal) -> None:
    style = style_image("pebbles", 64)
    with pytest.raises(SettingError, match="levels"):
        wct.stylise(model, cat, style, levels=(5,))
    with pytest.raises(SettingError, match="levels"):
        wct.stylise(model, cat, style, levels=())
    with pytest.raises(SettingError, match="share"):
        wct.stylise(model, cat, [style, style], levels=(1,), shares=[1.0])
    with pytest.raises(SettingError, match="two styles"):
        wct.stylise(model, cat, style, levels=(1,), mask=torch.ones(4, 4))
    with pytest.raises(ImageError, match="at least"):
        wct.stylise(model, cat, style[..., :4, :4], levels=(1,))
    with pytest.raises(SettingError, match="by their levels"):
        wct.Universal({2: Autoencoder(Decoder(1))})


def test_the_encoders_share_their_weights(model: wct.Universal) -> None:
    kernels = {id(each.encoder.body.conv1_1.weight) for each in model.autoencoders.values()}
    assert kernels == {id(model.style_encoder.body.conv1_1.weight)}
