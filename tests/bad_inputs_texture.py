"""Bad inputs of topic 02."""

from __future__ import annotations

from bad_inputs import (
    QUIET,
    RANDOM,
    broken,
    case,
    channels_last,
    grams,
    in_bytes,
    ones,
    picture,
    vgg,
)

from coursekit import (
    texture,
)
from coursekit.core.errors import (
    ImageError,
    LayerError,
    SettingError,
    ShapeError,
)


def synthesise(image: object, up_to: object = "conv1_1", **settings: object) -> object:
    return texture.synthesise(image, up_to, **QUIET | RANDOM | settings)


CASES = [
    case(
        "texture: colours, channels last",
        lambda: texture.rgb_to_lalphabeta(channels_last(picture())),
        ShapeError,
        "(32, 32, 3) & (N, 3, H, W)",
    ),
    case(
        "texture: colours of a grey picture",
        lambda: texture.lalphabeta_to_rgb(picture(channels=1)),
        ShapeError,
        "(1, 1, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "texture: bytes in YIQ",
        lambda: texture.rgb_to_yiq(in_bytes(picture())),
        ShapeError,
        "torch.uint8 & floats",
    ),
    case(
        "texture: four channels in YIQ",
        lambda: texture.yiq_to_rgb(picture(channels=4)),
        ShapeError,
        "(1, 4, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "texture: statistics of other channels",
        lambda: texture.match_channel_statistics(picture(), picture(channels=1)),
        ShapeError,
        "(1, 1, 32, 32) & same C",
    ),
    case(
        "texture: two references for three",
        lambda: texture.match_channel_statistics(picture(8, count=3), picture(8, count=2)),
        ShapeError,
        "2 references for 3 & one each",
    ),
    case(
        "texture: covariance without a batch",
        lambda: texture.colour_covariance(picture()[0]),
        ShapeError,
        "(3, 32, 32) & (N, C, H, W)",
    ),
    case(
        "texture: covariance of NaN",
        lambda: texture.match_covariance(broken(picture()), picture()),
        ShapeError,
        "NaN",
    ),
    case(
        "texture: no such colour space",
        lambda: texture.colour_transfer(picture(), picture(), "lab"),
        SettingError,
        "'lab' & rgb, lalphabeta, covariance",
    ),
    case(
        "texture: colours of 255",
        lambda: texture.colour_transfer(picture(), 255 * picture()),
        ImageError,
        "0 to 255 & 0 … 1",
    ),
    case(
        "texture: Gram matrices of a grey picture",
        lambda: texture.gram_targets(vgg("relu1_1"), picture(channels=1)),
        ImageError,
        "(1, 1, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "texture: a target without features",
        lambda: texture.texture_loss({"relu1_1": ones(1, 4, 8, 8)}, {"relu3_1": ones(1, 4, 4)}),
        LayerError,
        "relu3_1 & relu1_1",
    ),
    case(
        "texture: no targets",
        lambda: texture.texture_loss({"relu1_1": ones(1, 4, 8, 8)}, {}),
        LayerError,
        "empty & relu1_1",
    ),
    case(
        "texture: weights of other layers",
        lambda: texture.texture_loss(
            {"relu1_1": ones(1, 4, 8, 8)}, {"relu1_1": ones(1, 4, 4)}, {"pool1": 1.0}
        ),
        SettingError,
        "pool1 & relu1_1",
    ),
    case(
        "texture: a negative weight",
        lambda: texture.texture_loss(
            {"relu1_1": ones(1, 4, 8, 8)}, {"relu1_1": ones(1, 4, 4)}, {"relu1_1": -1.0}
        ),
        SettingError,
        "-1.0 & 0 or more",
    ),
    case(
        "texture: balance of silence",
        lambda: texture.balanced_weights({"relu1_1": 0 * ones(1, 4, 4)}),
        ShapeError,
        "relu1_1 & zero",
    ),
    case(
        "texture: a negative total",
        lambda: texture.balanced_weights(grams(), total=-1.0),
        SettingError,
        "total=-1.0 & above 0",
    ),
    case(
        "texture: noise of no size",
        lambda: texture.texture_noise(picture(), 0),
        ImageError,
        "size=0 & from 1",
    ),
    case(
        "texture: no such depth",
        lambda: synthesise(picture(), "pool6"),
        LayerError,
        "'pool6' & pool4",
    ),
    case(
        "texture: no such layer",
        lambda: synthesise(picture(), ("relu1_1", "relu9_1")),
        LayerError,
        "'relu9_1' & relu1_1",
    ),
    case(
        "texture: no layers",
        lambda: synthesise(picture(), ()),
        LayerError,
        "layers to choose from & conv1_1",
    ),
    case(
        "texture: two textures",
        lambda: synthesise(picture(count=2)),
        ShapeError,
        "(2, 3, 32, 32) & one texture",
    ),
    case(
        "texture: channels last",
        lambda: synthesise(channels_last(picture())),
        ImageError,
        "(32, 32, 3) & permute(2, 0, 1)",
    ),
    case(
        "texture: values up to 255",
        lambda: synthesise(255 * picture()),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "texture: a texture with NaN",
        lambda: synthesise(broken(picture())),
        ImageError,
        "NaN & 0 … 1",
    ),
    case(
        "texture: a negative size",
        lambda: synthesise(picture(), size=-8),
        ImageError,
        "size=-8 & from 1",
    ),
    case(
        "texture: too small for the layer",
        lambda: synthesise(picture(8), "pool4"),
        ImageError,
        "4×4 & at least 16",
    ),
    case(
        "texture: no such pooling",
        lambda: synthesise(picture(), pool="mean"),
        SettingError,
        "pool='mean' & max, avg",
    ),
    case(
        "texture: no such weights",
        lambda: synthesise(picture(), weights="coco"),
        SettingError,
        "weights='coco' & imagenet, random",
    ),
    case(
        "texture: no such border",
        lambda: synthesise(picture(), padding="mirror"),
        SettingError,
        "padding='mirror' & reflect",
    ),
    case(
        "texture: no such precision",
        lambda: synthesise(picture(), precision="float16"),
        SettingError,
        "precision='float16' & bfloat16",
    ),
]
