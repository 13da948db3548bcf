"""Bad inputs of topic 05."""

from __future__ import annotations

import torch
from bad_inputs import (
    NAN,
    SHELF,
    broken,
    case,
    channels_last,
    ones,
    picture,
    universal,
)

from coursekit import (
    wct,
    wct_networks,
    wct_roots,
)
from coursekit.core.errors import (
    ImageError,
    SettingError,
    ShapeError,
    WeightsError,
)

MAPS = torch.linspace(-1, 1, 256).view(1, 4, 8, 8).sin()


def transfer(content: object, style: object, **settings: object) -> object:
    return wct.stylise(universal(), content, style, **{"levels": (1,)} | settings)


CASES = [
    case(
        "wct: maps without a batch",
        lambda: wct.whiten(MAPS[0]),
        ShapeError,
        "(4, 8, 8) & (N, C, H, W)",
    ),
    case("wct: whole numbers", lambda: wct.whiten(MAPS.long()), ShapeError, "torch.int64 & floats"),
    case(
        "wct: no such root", lambda: wct.whiten(MAPS, method="qr"), SettingError, "'qr' & eigh, svd"
    ),
    case("wct: maps with NaN", lambda: wct.whiten(broken(MAPS)), ShapeError, "NaN"),
    case(
        "wct: a negative floor",
        lambda: wct.whiten(MAPS, floor=-1),
        SettingError,
        "floor=-1 & 0 … 1",
    ),
    case(
        "wct: a style of other channels",
        lambda: wct.colour(MAPS, ones(1, 5, 8, 8)),
        ShapeError,
        "(1, 5, 8, 8) & same C",
    ),
    case(
        "wct: two styles for three pictures",
        lambda: wct.colour(ones(3, 4, 8, 8), ones(2, 4, 8, 8)),
        ShapeError,
        "2 styles for 3 pictures & one for each",
    ),
    case(
        "wct: a blend of two sizes",
        lambda: wct.blend(MAPS, MAPS[..., 1:], 0.5),
        ShapeError,
        "(1, 4, 8, 7) & (1, 4, 8, 8)",
    ),
    case(
        "wct: a blend by NaN",
        lambda: wct.blend(MAPS, MAPS, NAN),
        SettingError,
        "strength=nan & 0 is the content",
    ),
    case(
        "wct: an infinite strength",
        lambda: wct.wct(MAPS, MAPS, float("inf")),
        SettingError,
        "strength=inf & 1 the style",
    ),
    case(
        "wct: weights of another size",
        lambda: wct.wct(MAPS, MAPS, weights=ones(1, 1, 4, 4)),
        ShapeError,
        "(1, 1, 4, 4) & (1, 1, 8, 8)",
    ),
    case(
        "wct: negative weights",
        lambda: wct.wct(MAPS, MAPS, weights=-ones(1, 1, 8, 8)),
        SettingError,
        "weights & 0 or more",
    ),
    case(
        "wct: a map between other channels",
        lambda: wct.transfer_map(MAPS, ones(1, 5, 8, 8)),
        ShapeError,
        "(1, 5, 8, 8) & same C",
    ),
    case(
        "wct: AdaIN by NaN",
        lambda: wct.adain(MAPS, MAPS, NAN),
        SettingError,
        "strength=nan & 0 is the content",
    ),
    case(
        "wct: colouring without a batch",
        lambda: wct.colour_only(MAPS[0], MAPS),
        ShapeError,
        "(4, 8, 8) & (N, C, H, W)",
    ),
    case(
        "wct: no styles to mix",
        lambda: wct.mix_styles([], []),
        SettingError,
        "0 styles & one share",
    ),
    case(
        "wct: a negative share",
        lambda: wct.mix_styles([MAPS, MAPS], [1, -1]),
        SettingError,
        "[1, -1] & 0 or more",
    ),
    case(
        "wct: styles of two sizes",
        lambda: wct.mix_styles([MAPS, ones(1, 4, 5, 5)], [1, 1]),
        ShapeError,
        "(1, 4, 5, 5) & one content picture",
    ),
    case(
        "wct: a mask without a batch",
        lambda: wct.mix_by_mask(MAPS, MAPS, ones(8, 8)),
        ShapeError,
        "(8, 8) & (1, 1, h, w)",
    ),
    case("wct: a mask up to 255", lambda: wct.as_mask(255 * ones(8, 8)), ImageError, "255 & 0 … 1"),
    case(
        "wct: a mask that is not there",
        lambda: wct.as_mask("mask.png"),
        ImageError,
        "mask.png & Check the path",
    ),
    case(
        "wct: no autoencoders",
        lambda: wct.Universal({}),
        SettingError,
        "by their levels & {4: …, 5: …}",
    ),
    case(
        "wct: no levels",
        lambda: transfer(picture(), picture(), levels=()),
        SettingError,
        "levels=[] & (1, 2)",
    ),
    case(
        "wct: a level that the model lacks",
        lambda: transfer(picture(), picture(), levels=(5,)),
        SettingError,
        "levels=[5] & (1, 2)",
    ),
    case(
        "wct: a strength of NaN",
        lambda: transfer(picture(), picture(), strength=NAN),
        SettingError,
        "strength=nan & 1 the style",
    ),
    case(
        "wct: a mask for one style",
        lambda: transfer(picture(), picture(), mask=ones(8, 8)),
        SettingError,
        "1 styles & two styles",
    ),
    case("wct: no styles", lambda: transfer(picture(), []), SettingError, "0 styles & one share"),
    case(
        "wct: a content, channels last",
        lambda: transfer(channels_last(picture()), picture()),
        ImageError,
        "content & (32, 32, 3) & permute(2, 0, 1)",
    ),
    case(
        "wct: a style up to 255",
        lambda: transfer(picture(), 255 * picture()),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "wct: a style's path",
        lambda: transfer(picture(), "wave.jpg"),
        ImageError,
        "style & str & load_image()",
    ),
    case(
        "wct: a texture of no size",
        lambda: wct.texture(universal(), picture(), -4),
        ImageError,
        "size=-4 & from 1",
    ),
    case("wct: no such level", lambda: wct.load((6,)), SettingError, "6 & (1, 2, 3, 4, 5)"),
    case(
        "wct: a folder without decoders",
        lambda: wct.load((1,), "nowhere"),
        WeightsError,
        "nowhere & coursekit train",
    ),
    case(
        "wct: too few widths",
        lambda: wct_networks.Decoder(4, (8,)),
        SettingError,
        "(8,) & 3 widths",
    ),
    case(
        "wct: features of another level",
        lambda: wct_networks.Decoder(2, (4,))(ones(1, 64, 8, 8)),
        ShapeError,
        "(1, 64, 8, 8) & (N, 128, h, w)",
    ),
    case(
        "wct: another level's file",
        lambda: wct_networks.load_decoder(2, SHELF / "level1.safetensors"),
        WeightsError,
        "level 1 & not 2",
    ),
    case(
        "wct: another topic's file",
        lambda: wct_networks.load_decoder(2, SHELF / "dcgan.safetensors"),
        WeightsError,
        "dcgan.safetensors & fresh copy",
    ),
    case(
        "wct: a third root",
        lambda: wct_roots.root(torch.eye(3)[None], 0.3),
        SettingError,
        "0.3 & 0.5 or -0.5",
    ),
]
