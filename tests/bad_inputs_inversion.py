"""Bad inputs of topic 01."""

from __future__ import annotations

from bad_inputs import NAN, QUIET, broken, case, channels_last, in_bytes, ones, picture, vgg

from coursekit import (
    inversion,
)
from coursekit.core.errors import (
    ImageError,
    LayerError,
    SettingError,
    ShapeError,
)


def invert(image: object, layer: str = "relu1_1", **settings: object) -> object:
    return inversion.invert(vgg("relu1_1", "relu2_1"), layer, image, **QUIET | settings)


def answers(patches: object, **metrics: object) -> object:
    return inversion.two_alternatives(patches, metrics or {"L2": inversion.squared_error})


CASES = [
    case(
        "inversion: no such network",
        lambda: inversion.invert("vgg61", "conv1_1", picture()),
        SettingError,
        "'vgg61' & vgg16, vgg19, alexnet",
    ),
    case(
        "inversion: a layer misspelt",
        lambda: invert(picture(), "conv9_9"),
        LayerError,
        "'conv9_9' & conv1_1",
    ),
    case(
        "inversion: channels last",
        lambda: invert(channels_last(picture())),
        ImageError,
        "(32, 32, 3) & (N, 3, H, W) & permute(2, 0, 1)",
    ),
    case(
        "inversion: no batch",
        lambda: invert(picture()[0]),
        ImageError,
        "(3, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "inversion: a grey picture",
        lambda: invert(picture(channels=1)),
        ImageError,
        "(1, 1, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "inversion: bytes", lambda: invert(in_bytes(picture())), ImageError, "torch.uint8 & 0 … 1"
    ),
    case(
        "inversion: values up to 255",
        lambda: invert(255 * picture()),
        ImageError,
        "0 to 255 & 0 … 1 & Divide by 255",
    ),
    case(
        "inversion: a picture with NaN",
        lambda: invert(broken(picture())),
        ImageError,
        "NaN & 0 … 1",
    ),
    case(
        "inversion: an array",
        lambda: invert(picture().numpy()),
        ImageError,
        "ndarray & load_image()",
    ),
    case("inversion: a path", lambda: invert("cat.jpg"), ImageError, "str & load_image()"),
    case(
        "inversion: a start of another size",
        lambda: invert(picture(), start=picture(16)),
        ShapeError,
        "(1, 64, 16, 16) & (1, 64, 32, 32)",
    ),
    case(
        "inversion: no step",
        lambda: invert(picture(), steps=0),
        SettingError,
        "steps=0 & at least 1",
    ),
    case(
        "inversion: no time",
        lambda: invert(picture(), seconds=-1),
        SettingError,
        "seconds=-1 & at least 1",
    ),
    case(
        "inversion: no such method",
        lambda: invert(picture(), method="rmsprop"),
        SettingError,
        "'rmsprop' & lbfgs, adam, sgd",
    ),
    case(
        "inversion: a negative step size",
        lambda: invert(picture(), lr=-1.0),
        SettingError,
        "lr=-1.0 & above 0",
    ),
    case(
        "inversion: negative snapshots",
        lambda: invert(picture(), snapshots=-2),
        SettingError,
        "snapshots=-2 & 0 images or more",
    ),
    case(
        "inversion: a seed in words",
        lambda: invert(picture(), seed="one"),
        SettingError,
        "seed='one' & whole number",
    ),
    case(
        "inversion: a negative weight",
        lambda: invert(picture(), weight=-1),
        SettingError,
        "weight=-1 & >= 0",
    ),
    case(
        "inversion: a weight of NaN",
        lambda: invert(picture(), weight=NAN),
        SettingError,
        "weight=nan & >= 0",
    ),
    case(
        "inversion: an exponent of 0",
        lambda: invert(picture(), beta=0),
        SettingError,
        "beta=0 & > 0",
    ),
    case(
        "inversion: maps of two sizes",
        lambda: inversion.feature_loss(ones(1, 4, 8, 8), ones(1, 4, 4, 4)),
        ShapeError,
        "(1, 4, 8, 8) & (1, 4, 4, 4) & one layer",
    ),
    case(
        "inversion: a silent target",
        lambda: inversion.relative_errors(ones(1, 4, 8, 8), 0 * ones(1, 4, 8, 8)),
        ShapeError,
        "zero everywhere & earlier layer",
    ),
    case(
        "inversion: one pixel has no variation",
        lambda: inversion.tv_prior(picture(1)),
        ShapeError,
        "(1, 3, 1, 1) & 2×2",
    ),
    case(
        "inversion: noise of no size",
        lambda: inversion.white_noise((0, 32)),
        ImageError,
        "(0, 32) & from 1",
    ),
    case(
        "inversion: a layer that was not asked for",
        lambda: inversion.features_of(vgg("relu1_1"), "relu5_1", picture()),
        LayerError,
        "relu5_1 & relu1_1",
    ),
    case(
        "inversion: convolutions of no network",
        lambda: inversion.conv_layers("resnet50"),
        SettingError,
        "'resnet50' & vgg16",
    ),
    case(
        "inversion: no layer at all",
        lambda: inversion.invert_layers("vgg16", picture(), []),
        LayerError,
        "no layer & name some",
    ),
    case(
        "inversion: a difference of one",
        lambda: inversion.difference_map(picture()),
        ShapeError,
        "(1, 3, 32, 32) & two images",
    ),
    case(
        "inversion: L2 of two sizes",
        lambda: inversion.squared_error(picture(), picture(16)),
        ShapeError,
        "(1, 3, 16, 16) & one size",
    ),
    case(
        "inversion: SSIM of a stamp",
        lambda: inversion.dissimilarity(picture(8), picture(8)),
        ShapeError,
        "(8, 8) & 11 pixels",
    ),
    case(
        "inversion: distance of two layers",
        lambda: inversion.unit_feature_distance(ones(1, 4, 4, 4), ones(1, 5, 4, 4)),
        ShapeError,
        "(1, 5, 4, 4) & one size",
    ),
    case(
        "inversion: a negative blur",
        lambda: inversion.blur(picture(), -1),
        SettingError,
        "sigma=-1 & 0 pixels or more",
    ),
    case(
        "inversion: JPEG of quality 0",
        lambda: inversion.jpeg(picture(), 0),
        SettingError,
        "0 & 1 … 95",
    ),
    case(
        "inversion: one kind of distortion",
        lambda: inversion.two_alternatives(
            picture(), {"L2": inversion.squared_error}, distortions={"blur": (inversion.blur, (1,))}
        ),
        SettingError,
        "two kinds",
    ),
    case(
        "inversion: a metric that returns nothing",
        lambda: answers(picture(), mine=lambda a, b: None),
        SettingError,
        "'mine' & None & (1,)",
    ),
    case(
        "inversion: a metric over the whole batch",
        lambda: answers(picture(), mine=lambda a, b: (a - b).mean()),
        SettingError,
        "'mine' & () & (1,)",
    ),
    case(
        "inversion: patches without a batch",
        lambda: answers(picture()[0]),
        ImageError,
        "(3, 32, 32) & (N, 3, H, W)",
    ),
    case(
        "inversion: a metric nobody measured",
        lambda: inversion.agreement(answers(picture(16)), ["LPIPS"]),
        SettingError,
        "'LPIPS' & L2",
    ),
    case(
        "inversion: a loss for each pixel",
        lambda: inversion.gradient_step(picture(4), lambda x: x, 0.1),
        SettingError,
        "(1, 3, 4, 4) & one number",
    ),
]
