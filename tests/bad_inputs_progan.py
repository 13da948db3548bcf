"""Bad inputs of topic 12."""

from __future__ import annotations

import torch
from bad_inputs import (
    case,
    growing,
    ones,
    picture,
)

from coursekit import (
    progan,
    progan_distance,
    progan_layers,
    progan_networks,
    progan_schedule,
)
from coursekit.core.errors import (
    SettingError,
    ShapeError,
    WeightsError,
)


def draw(stage: progan_networks.Stage) -> object:
    return growing()[0](ones(2, 8), stage)


CASES = [
    case(
        "progan: a size that is no power of two",
        lambda: progan_networks.Widths(48),
        SettingError,
        "size=48 & 8, 16, 32, 64",
    ),
    case(
        "progan: no channels",
        lambda: progan_networks.Widths(16, base=0),
        SettingError,
        "base=0 & no channels left",
    ),
    case(
        "progan: a stage of 12 pixels",
        lambda: draw(progan_networks.Stage(12)),
        SettingError,
        "resolution=12 & [4, 8, 16]",
    ),
    case(
        "progan: a stage beyond the last",
        lambda: draw(progan_networks.Stage(64)),
        SettingError,
        "resolution=64 & [4, 8, 16]",
    ),
    case(
        "progan: faded in by half too much",
        lambda: draw(progan_networks.Stage(8, 1.5)),
        SettingError,
        "alpha=1.5 & from 0 to 1",
    ),
    case(
        "progan: vectors of another length",
        lambda: growing()[0](ones(2, 9)),
        ShapeError,
        "(2, 9) & (N, 8)",
    ),
    case(
        "progan: pictures of another size",
        lambda: growing()[1](picture(32, count=4)),
        ShapeError,
        "(4, 3, 32, 32) & (N, 3, 16, 16)",
    ),
    case(
        "progan: a batch that groups do not divide",
        lambda: growing()[1](picture(16, count=6)),
        ShapeError,
        "batch of 6 & groups of 4",
    ),
    case(
        "progan: a fade between two sizes",
        lambda: progan_networks.fade(picture(8), picture(16), 0.5),
        ShapeError,
        "(1, 3, 8, 8) & (1, 3, 16, 16)",
    ),
    case(
        "progan: 20 pixels to 16",
        lambda: progan.real_at(picture(20), progan_networks.Stage(16)),
        ShapeError,
        "(1, 3, 20, 20) & 16×16",
    ),
    case(
        "progan: a layer without an input",
        lambda: progan_layers.equalised_scale(0),
        SettingError,
        "fan_in=0 & needs an input",
    ),
    case(
        "progan: a number has no pixels",
        lambda: progan_layers.pixel_norm(torch.tensor(1.0)),
        ShapeError,
        "() & (N, C, H, W)",
    ),
    case(
        "progan: deviation of vectors",
        lambda: progan_layers.minibatch_stddev(ones(4, 3)),
        ShapeError,
        "(4, 3) & (N, C, H, W)",
    ),
    case(
        "progan: groups of none",
        lambda: progan_layers.minibatch_stddev(ones(6, 3, 4, 4), 0),
        ShapeError,
        "batch of 6 & groups of 0",
    ),
    case(
        "progan: a published size of 48",
        lambda: progan_schedule.published(48),
        SettingError,
        "size=48 & [4, 8, 16",
    ),
    case(
        "progan: step 0",
        lambda: progan_schedule.published(64).at(0),
        SettingError,
        "step 0 & from 1",
    ),
    case(
        "progan: a schedule scaled to nothing",
        lambda: progan_schedule.published(64).scaled(0),
        SettingError,
        "share=0 & above 0",
    ),
    case(
        "progan: fewer pictures than a batch",
        lambda: progan.Feed(picture(16, count=3), progan_schedule.published(64)),
        SettingError,
        "batch_size=16 & 3 entries",
    ),
    case(
        "progan: a pyramid of no levels",
        lambda: progan_distance.laplacian_pyramid(picture(16), 0),
        SettingError,
        "levels=0 & one level or more",
    ),
    case(
        "progan: a side that cannot be halved",
        lambda: progan_distance.laplacian_pyramid(picture(20), 4),
        ShapeError,
        "(1, 3, 20, 20) & halved 3 times",
    ),
    case(
        "progan: unequal sets",
        lambda: progan_distance.swd(picture(16, count=2), picture(16, count=3)),
        ShapeError,
        "(3, 3, 16, 16) & equally many",
    ),
    case(
        "progan: stamps",
        lambda: progan_distance.swd(picture(4, count=2), picture(4, count=2)),
        ShapeError,
        "(2, 3, 4, 4) & 16 pixels or more",
    ),
    case(
        "progan: one repeat has no spread",
        lambda: progan_distance.swd(picture(16, count=2), picture(16, count=2), repeats=1),
        SettingError,
        "repeats=1 & from 2",
    ),
    case(
        "progan: no such checkpoint",
        lambda: progan.load_generator("celeba"),
        WeightsError,
        "celeba.safetensors & coursekit train",
    ),
]
