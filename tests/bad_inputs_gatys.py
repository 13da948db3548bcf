"""Bad inputs of topics 03 and 04."""

from __future__ import annotations

from bad_inputs import (
    NAN,
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
    fast_style,
    fast_style_networks,
    gatys,
)
from coursekit.core.errors import (
    ImageError,
    LayerError,
    SettingError,
    ShapeError,
    WeightsError,
)


def stylise(content: object, style: object, **settings: object) -> object:
    layers = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1",)}
    return gatys.stylise(content, style, **layers | QUIET | {"network": RANDOM} | settings)


def loss(**settings: object) -> object:
    return gatys.transfer_loss(
        vgg("relu1_1", "relu2_1"), picture(), grams(), **{"content_layers": ["relu2_1"]} | settings
    )


GATYS = [
    case(
        "gatys: a content layer that was not asked for",
        lambda: gatys.content_targets(vgg("relu1_1"), picture(), ["relu4_2"]),
        LayerError,
        "relu4_2 & relu1_1",
    ),
    case(
        "gatys: energies without a batch",
        lambda: gatys.content_energies({"relu1_1": ones(3, 8, 8)}),
        ShapeError,
        "(3, 8, 8) & (N, C, H, W)",
    ),
    case(
        "gatys: two weights for one style",
        lambda: gatys.mix_grams([grams()], [1, 2]),
        SettingError,
        "[1, 2] & each of 1 styles",
    ),
    case(
        "gatys: a negative share",
        lambda: gatys.mix_grams([grams(), grams()], [1, -1]),
        SettingError,
        "[1, -1] & 0 or more",
    ),
    case(
        "gatys: shares of nothing",
        lambda: gatys.mix_grams([grams(), grams()], [0, 0]),
        SettingError,
        "[0, 0] & not all of them 0",
    ),
    case(
        "gatys: styles of other layers",
        lambda: gatys.mix_grams([{"a": ones(1, 2, 2)}, {"b": ones(1, 2, 2)}], [1, 1]),
        LayerError,
        "different layers",
    ),
    case(
        "gatys: a negative style weight",
        lambda: loss(style_weight=-1),
        SettingError,
        "style_weight=-1 & 0 or more",
    ),
    case(
        "gatys: a content weight of NaN",
        lambda: loss(content_weight=NAN),
        SettingError,
        "content_weight=nan & 0 or more",
    ),
    case(
        "gatys: a picture of another size",
        lambda: loss()(picture(16)),
        ShapeError,
        "(1, 128, 8, 8) & same image size",
    ),
    case(
        "gatys: a start that is none",
        lambda: gatys.starting_image(picture(), "style"),
        SettingError,
        "'style' & 'content', 'noise'",
    ),
    case(
        "gatys: a start of another size",
        lambda: gatys.starting_image(picture(), picture(16)),
        SettingError,
        "(1, 3, 16, 16) & (1, 3, 32, 32)",
    ),
    case("gatys: no styles", lambda: stylise(picture(), []), SettingError, "0 styles & one weight"),
    case(
        "gatys: shares for one style",
        lambda: stylise(picture(), picture(), mix=[0.5, 0.5]),
        SettingError,
        "[0.5, 0.5] & each of 1 styles",
    ),
    case(
        "gatys: an array for the content",
        lambda: stylise(picture().numpy(), picture()),
        ImageError,
        "content & ndarray & load_image()",
    ),
    case(
        "gatys: the name of a painting",
        lambda: stylise(picture(), "starry_night"),
        ImageError,
        "style & str & load_image()",
    ),
    case(
        "gatys: a style, channels last",
        lambda: stylise(picture(), channels_last(picture())),
        ImageError,
        "style & (32, 32, 3) & permute(2, 0, 1)",
    ),
    case(
        "gatys: a style up to 255",
        lambda: stylise(picture(), 255 * picture()),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "gatys: a content from -1 to 1",
        lambda: stylise(2 * picture() - 1, picture()),
        ImageError,
        "-1 to 1 & undo the normalisation",
    ),
    case(
        "gatys: a grey style",
        lambda: stylise(picture(), picture(channels=1)),
        ImageError,
        "(1, 1, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "gatys: a content with NaN",
        lambda: stylise(broken(picture()), picture()),
        ImageError,
        "NaN & 0 … 1",
    ),
    case(
        "gatys: no such style layer",
        lambda: stylise(picture(), picture(), style_layers=["relu1_9"]),
        LayerError,
        "'relu1_9' & relu1_1",
    ),
    case(
        "gatys: too small a picture",
        lambda: stylise(picture(4), picture(), content_layers=["relu4_2"]),
        ImageError,
        "4×4 & at least 8",
    ),
    case(
        "gatys: sizes that fall",
        lambda: stylise(picture(), picture(), sizes=[32, 16]),
        SettingError,
        "[32, 16] & ascend",
    ),
    case(
        "gatys: no sizes",
        lambda: stylise(picture(), picture(), sizes=[]),
        SettingError,
        "[] & ascend",
    ),
    case(
        "gatys: colours of another size",
        lambda: gatys.keep_colours(picture(), picture(16)),
        ShapeError,
        "(1, 3, 16, 16) & one size",
    ),
    case(
        "gatys: luminance of a grey picture",
        lambda: gatys.luminance(picture(channels=1)),
        ShapeError,
        "(1, 1, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "gatys: no such way to keep colours",
        lambda: gatys.stylise_keeping_colours(picture(), picture(), way="hsv"),
        SettingError,
        "way='hsv' & 'luminance' or 'matched'",
    ),
]


def transformer() -> fast_style_networks.TransformerNetwork:
    return fast_style_networks.TransformerNetwork(width=4, blocks=1)


FAST_STYLE = [
    case(
        "fast_style: maps of two sizes",
        lambda: fast_style.perceptual_content_loss(ones(1, 2, 3, 3), ones(1, 2, 4, 4)),
        ShapeError,
        "(1, 2, 3, 3) & same image size",
    ),
    case(
        "fast_style: no such content layer",
        lambda: fast_style.Objective(picture(), content_layer="relu2_9"),
        LayerError,
        "'relu2_9' & relu2_2",
    ),
    case(
        "fast_style: a negative weight",
        lambda: fast_style.Objective(picture(), style_weight=-1),
        SettingError,
        "style_weight=-1 & 0 or more",
    ),
    case(
        "fast_style: a style up to 255",
        lambda: fast_style.Objective(255 * picture()),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "fast_style: no such precision",
        lambda: fast_style.Objective(picture(), precision="half"),
        SettingError,
        "'half' & float32",
    ),
    case(
        "fast_style: a photograph, channels last",
        lambda: fast_style.paint(transformer(), channels_last(picture())),
        ImageError,
        "(32, 32, 3) & permute(2, 0, 1)",
    ),
    case(
        "fast_style: a photograph of 3 pixels",
        lambda: fast_style.paint(transformer(), picture(3)),
        ImageError,
        "3×3 & 5 or more",
    ),
    case(
        "fast_style: bytes",
        lambda: fast_style.paint(transformer(), in_bytes(picture())),
        ImageError,
        "torch.uint8 & 0 … 1",
    ),
    case(
        "fast_style: bytes to the network itself",
        lambda: transformer()(in_bytes(picture())),
        ImageError,
        "torch.uint8 & 0 … 1",
    ),
    case(
        "fast_style: no photograph to measure on",
        lambda: fast_style.evaluate(transformer(), None, []),
        SettingError,
        "no photograph & one or more",
    ),
    case(
        "fast_style: no such network",
        lambda: fast_style.load_network("mona_lisa"),
        WeightsError,
        "mona_lisa & coursekit train",
    ),
    case(
        "fast_style: another topic's checkpoint",
        lambda: fast_style.load_network("../wct/level1"),
        WeightsError,
        "wct & fast_style",
    ),
    case(
        "fast_style: a window larger than the photograph",
        lambda: fast_style.pan(picture(), (64, 64), 2),
        SettingError,
        "64×64 & (1, 3, 32, 32)",
    ),
    case(
        "fast_style: one frame",
        lambda: fast_style.flicker(picture(), 2, border=2),
        SettingError,
        "(1, 3, 32, 32) & two frames",
    ),
    case(
        "fast_style: borders that leave nothing",
        lambda: fast_style.flicker(picture(count=2), 2, border=16),
        SettingError,
        "32×32 & smaller border",
    ),
    case(
        "fast_style: no such norm",
        lambda: fast_style_networks.TransformerNetwork(4, 1, norm="layer"),
        SettingError,
        "'layer' & instance, batch, none",
    ),
    case(
        "fast_style: no width",
        lambda: fast_style_networks.TransformerNetwork(0, 1),
        SettingError,
        "width=0 & from 1",
    ),
    case(
        "fast_style: a scale for other channels",
        lambda: fast_style_networks.instance_norm(ones(2, 3, 4, 4), ones(4), ones(4)),
        ShapeError,
        "(2, 3, 4, 4) & (C,)",
    ),
]

CASES = [*GATYS, *FAST_STYLE]
