"""Bad inputs of topic 14."""

from __future__ import annotations

from bad_inputs import (
    LABELS,
    RANDOM,
    case,
    in_bytes,
    ones,
    painter,
    picture,
)

from coursekit import (
    spade,
    spade_losses,
    spade_networks,
)
from coursekit.core.errors import (
    ImageError,
    LayerError,
    SettingError,
    ShapeError,
    WeightsError,
)


def modulated(features: object, planes: object) -> object:
    return spade_networks.SPADE(4, 5, hidden=4)(features, planes)


CASES = [
    case(
        "spade: a class beyond the last",
        lambda: spade_networks.one_hot(LABELS + 5, 5),
        SettingError,
        "5 to 5 & 0 to 4",
    ),
    case(
        "spade: a negative class",
        lambda: spade_networks.one_hot(LABELS - 1, 5),
        SettingError,
        "-1 & 0 to 4",
    ),
    case(
        "spade: labels as floats",
        lambda: spade_networks.one_hot(LABELS.float(), 5),
        ShapeError,
        "torch.float32 & int64 (N, H, W)",
    ),
    case(
        "spade: a picture for a map",
        lambda: spade_networks.one_hot(picture(), 5),
        ShapeError,
        "(1, 3, 32, 32) & int64 (N, H, W)",
    ),
    case(
        "spade: no such norm",
        lambda: spade_networks.SPADE(4, 5, norm="layer"),
        SettingError,
        "norm='layer' & 'batch', 'instance'",
    ),
    case(
        "spade: no hidden channels",
        lambda: spade_networks.SPADE(4, 5, hidden=0),
        SettingError,
        "hidden=0 & from 1",
    ),
    case(
        "spade: planes of other classes",
        lambda: modulated(ones(1, 4, 8, 8), ones(1, 6, 8, 8)),
        ShapeError,
        "(1, 6, 8, 8) & (N, 5, H, W)",
    ),
    case(
        "spade: a size that cannot be doubled to",
        lambda: spade_networks.Generator(5, 4, 33),
        SettingError,
        "size=33 & multiple of 32",
    ),
    case(
        "spade: labels for planes",
        lambda: painter().generator(LABELS),
        ShapeError,
        "(2, 32, 32) & (N, 5, 32, 32)",
    ),
    case(
        "spade: planes of another size",
        lambda: painter().generator(ones(1, 5, 16, 16)),
        ShapeError,
        "(1, 5, 16, 16) & (N, 5, 32, 32)",
    ),
    case(
        "spade: a style for a painter without",
        lambda: painter().generator(ones(1, 5, 32, 32), ones(1, 8)),
        ShapeError,
        "(1, 8) & Style codes",
    ),
    case(
        "spade: an encoder of 20 pixels",
        lambda: spade_networks.StyleEncoder(4, 20),
        SettingError,
        "size=20 & 8, 16, 32",
    ),
    case(
        "spade: one layer to match",
        lambda: spade_networks.MultiscaleDiscriminator(5, layers=1),
        SettingError,
        "layers=1 & from 2",
    ),
    case(
        "spade: pictures of another size",
        lambda: spade_networks.MultiscaleDiscriminator(5, width=4, layers=2)(
            ones(1, 5, 32, 32), picture(16)
        ),
        ShapeError,
        "(1, 3, 16, 16) & (N, 5, H, W)",
    ),
    case(
        "spade: opinions of other layers",
        lambda: spade_losses.feature_matching([[ones(1, 2, 3, 3)]], [[ones(1, 2, 4, 4)] * 2]),
        ShapeError,
        "(1, 2, 4, 4) & one discriminator",
    ),
    case(
        "spade: no opinions",
        lambda: spade_losses.feature_matching([], []),
        ShapeError,
        "0 scales & from 1",
    ),
    case(
        "spade: a divergence of two lengths",
        lambda: spade_losses.kl_divergence(ones(2, 3), ones(2, 4)),
        ShapeError,
        "(2, 4) & (N, latent)",
    ),
    case(
        "spade: noise of another length",
        lambda: spade_losses.reparameterise(ones(2, 3), ones(2, 3), ones(2, 4)),
        ShapeError,
        "noise (2, 4) & (n, D)",
    ),
    case(
        "spade: no layers to compare",
        lambda: spade_losses.PerceptualLoss({}, **RANDOM),
        SettingError,
        "needs a layer",
    ),
    case(
        "spade: no such layer",
        lambda: spade_losses.PerceptualLoss({"relu8_1": 1.0}, **RANDOM),
        LayerError,
        "'relu8_1' & relu1_1",
    ),
    case(
        "spade: compared at two sizes",
        lambda: spade_losses.PerceptualLoss({"relu1_1": 1.0}, **RANDOM)(picture(), picture(16)),
        ShapeError,
        "target (1, 3, 16, 16) & one shape",
    ),
    case(
        "spade: an encoder nobody listens to",
        lambda: spade.Painter(painter().generator, spade_networks.StyleEncoder(4, 32, 8)),
        SettingError,
        "8 numbers & takes 0",
    ),
    case(
        "spade: a negative weight",
        lambda: spade.Weights(kl=-1.0),
        SettingError,
        "kl=-1.0 & 0 or more",
    ),
    case(
        "spade: a picture to paint",
        lambda: spade.paint(painter(), picture()),
        ShapeError,
        "(1, 3, 32, 32) & int64 (N, H, W)",
    ),
    case(
        "spade: a class that it cannot paint",
        lambda: spade.paint(painter(), LABELS + 7),
        SettingError,
        "7 to 7 & 0 to 4",
    ),
    case(
        "spade: a map of another size",
        lambda: spade.paint(painter(), LABELS[:, :16, :16]),
        ShapeError,
        "(2, 5, 16, 16) & (N, 5, 32, 32)",
    ),
    case(
        "spade: no maps",
        lambda: spade.paint(painter(), LABELS[:0]),
        ShapeError,
        "(0, 32, 32) & (N, H, W)",
    ),
    case(
        "spade: batches of none",
        lambda: spade.paint(painter(), LABELS, batch=0),
        SettingError,
        "batch=0 & 1 or more",
    ),
    case(
        "spade: three styles for two maps",
        lambda: spade.paint(painter(8), LABELS, ones(3, 8)),
        ShapeError,
        "(3, 8) & (2, latent)",
    ),
    case(
        "spade: a style of another length",
        lambda: spade.paint(painter(8), LABELS, ones(2, 9)),
        ShapeError,
        "(2, 9) & (2, 8)",
    ),
    case(
        "spade: the style of a picture up to 255",
        lambda: spade.style_of(painter(8), 255 * picture()),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "spade: the style of bytes",
        lambda: spade.style_of(painter(8), in_bytes(picture())),
        ImageError,
        "torch.uint8 & 0 … 1",
    ),
    case(
        "spade: the style of a smaller picture",
        lambda: spade.style_of(painter(8), picture(16)),
        ShapeError,
        "(1, 3, 16, 16) & (N, 3, 32, 32)",
    ),
    case(
        "spade: no such checkpoint",
        lambda: spade.load("coco"),
        WeightsError,
        "coco.safetensors & coursekit train",
    ),
]
