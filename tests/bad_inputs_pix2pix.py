"""Bad inputs of topics 10 and 11."""

from __future__ import annotations

import torch
from bad_inputs import (
    SHELF,
    broken,
    case,
    in_bytes,
    ones,
    patches,
    picture,
    sgd,
    translators,
    unet,
)

from coursekit import (
    cyclegan,
    cyclegan_measure,
    cyclegan_networks,
    pix2pix,
    pix2pix_measure,
    pix2pix_networks,
    pix2pix_tasks,
)
from coursekit.core import training
from coursekit.core.errors import (
    DataError,
    ImageError,
    SettingError,
    ShapeError,
    WeightsError,
)

SIDE = picture(16)


def learn(target: object = SIDE, **settings: object) -> object:
    return pix2pix.generator_step(patches(), sgd(unet()), SIDE, target, SIDE, **settings)


PIX2PIX = [
    case(
        "pix2pix: a pair of two sizes",
        lambda: pix2pix.pair(SIDE, picture(32)),
        ShapeError,
        "(1, 3, 32, 32) & one size",
    ),
    case(
        "pix2pix: a pair without a batch",
        lambda: pix2pix.pair(SIDE[0], SIDE[0]),
        ShapeError,
        "(3, 16, 16) & (N, C, H, W)",
    ),
    case(
        "pix2pix: a label of 0",
        lambda: pix2pix.discriminator_loss(ones(2), ones(2), real_label=0),
        SettingError,
        "real_label=0 & (0, 1]",
    ),
    case(
        "pix2pix: a grey target",
        lambda: pix2pix.l1_loss(SIDE, picture(16, channels=1)),
        ShapeError,
        "(1, 1, 16, 16) & (1, 3, 16, 16)",
    ),
    case(
        "pix2pix: nothing to learn",
        lambda: learn(adversarial=False, l1_weight=0),
        SettingError,
        "adversarial=True & nothing to learn",
    ),
    case(
        "pix2pix: a negative weight",
        lambda: learn(l1_weight=-1),
        SettingError,
        "l1_weight=-1 & 0 or more",
    ),
    case(
        "pix2pix: a target of another size",
        lambda: learn(picture(32)),
        ShapeError,
        "(1, 3, 32, 32) & (1, 3, 16, 16)",
    ),
    case(
        "pix2pix: a grey drawing to judge",
        lambda: pix2pix.discriminator_step(
            patches(), sgd(patches()), picture(16, channels=1), SIDE, SIDE
        ),
        ShapeError,
        "(1, 4, 16, 16) & (N, 6, H, W)",
    ),
    case(
        "pix2pix: a negative jitter",
        lambda: pix2pix.jitter(SIDE, SIDE, torch.Generator(), shift=-2),
        SettingError,
        "shift=-2 & 0 or more",
    ),
    case(
        "pix2pix: a side that cannot be halved",
        lambda: pix2pix.translate(unet(), picture(20)),
        ShapeError,
        "20 × 20 & multiples of 8",
    ),
    case(
        "pix2pix: four channels",
        lambda: pix2pix.translate(unet(), picture(16, channels=4)),
        ShapeError,
        "(1, 4, 16, 16) & (N, 3, H, W)",
    ),
    case(
        "pix2pix: no batch",
        lambda: pix2pix.translate(unet(), SIDE[0]),
        ShapeError,
        "(3, 16, 16) & (N, 3, H, W)",
    ),
    case(
        "pix2pix: values up to 255",
        lambda: pix2pix.translate(unet(), 255 * SIDE),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "pix2pix: bytes",
        lambda: pix2pix.translate(unet(), in_bytes(SIDE)),
        ImageError,
        "torch.uint8 & 0 … 1",
    ),
    case(
        "pix2pix: a drawing with NaN",
        lambda: pix2pix.translate(unet(), broken(SIDE)),
        ImageError,
        "NaN & 0 … 1",
    ),
    case(
        "pix2pix: no drawings",
        lambda: pix2pix.translate(unet(), SIDE[:0]),
        ImageError,
        "no images & (0, 3, 16, 16)",
    ),
    case(
        "pix2pix: batches of none",
        lambda: pix2pix.translate(unet(), SIDE, batch=0),
        SettingError,
        "batch=0 & 1 or more",
    ),
    case(
        "pix2pix: too small for a patch",
        lambda: pix2pix.patch_logits(
            pix2pix_networks.PatchDiscriminator(6, width=4), picture(8), picture(8)
        ),
        ShapeError,
        "8 × 8 & 24 pixels",
    ),
    case(
        "pix2pix: no such checkpoint",
        lambda: pix2pix.load("shoes"),
        WeightsError,
        "shoes.safetensors & coursekit train",
    ),
    case(
        "pix2pix: no width",
        lambda: pix2pix_networks.UNetGenerator(width=0),
        SettingError,
        "width=0 & from 1",
    ),
    case(
        "pix2pix: all dropped out",
        lambda: pix2pix_networks.UNetGenerator(dropout=1.0),
        SettingError,
        "dropout=1.0 & [0, 1)",
    ),
    case(
        "pix2pix: no such norm",
        lambda: pix2pix_networks.PatchDiscriminator(norm="layer"),
        SettingError,
        "norm='layer' & 'instance'",
    ),
    case(
        "pix2pix: a patch of no layers",
        lambda: pix2pix_networks.patch_box(-1, 0, 0),
        SettingError,
        "layers=-1 & 0 layers or more",
    ),
    case(
        "pix2pix: no such task",
        lambda: pix2pix_tasks.task("shoes"),
        SettingError,
        "'shoes' & emoji, scenes",
    ),
    case(
        "pix2pix: no such split",
        lambda: pix2pix_tasks.task("grey", "validation"),
        SettingError,
        "'validation' & train, test",
    ),
    case(
        "pix2pix: neither folder nor set",
        lambda: pix2pix_tasks.pairs("nowhere"),
        DataError,
        "'nowhere' & facades, maps",
    ),
    case(
        "pix2pix: no such published set",
        lambda: pix2pix_tasks.published("cats"),
        SettingError,
        "'cats' & facades, maps",
    ),
    case(
        "pix2pix: an empty folder",
        lambda: pix2pix_tasks.folder(SHELF / "void"),
        DataError,
        "void & JPEG or PNG",
    ),
    case(
        "pix2pix: a folder of texts",
        lambda: pix2pix_tasks.folder(SHELF / "texts", held_out=0.5),
        SettingError,
        "1 pictures & one half empty",
    ),
    case(
        "pix2pix: no pictures of a folder",
        lambda: pix2pix_tasks.folder(SHELF / "texts", count=0),
        SettingError,
        "count=0 & 1 or more",
    ),
    case(
        "pix2pix: grey already",
        lambda: pix2pix_tasks.grey(picture(16, channels=1)),
        ShapeError,
        "(1, 1, 16, 16) & (N, 3, H, W)",
    ),
    case(
        "pix2pix: palettes of other drawings",
        lambda: pix2pix_tasks.add_palette(picture(16, count=2), ones(3, 4, 3)),
        ShapeError,
        "(3, 4, 3) & (N, k, 3)",
    ),
    case(
        "pix2pix: a region without a channel",
        lambda: pix2pix_tasks.palette(in_bytes(SIDE[0]), ones(16, 16).bool()),
        ShapeError,
        "(16, 16) & (1, H, W)",
    ),
    case(
        "pix2pix: measured on another region",
        lambda: pix2pix_measure.l1(SIDE, SIDE, ones(1, 1, 8, 8)),
        ShapeError,
        "(1, 1, 8, 8) & (1, 1, 16, 16)",
    ),
]


def play(**objective: float) -> cyclegan.Game:
    return cyclegan.Game(translators(), patches(3), patches(3), cyclegan.Objective(**objective))


CYCLEGAN = [
    case(
        "cyclegan: no such heaps",
        lambda: cyclegan.two_heaps("zebra2horse"),
        SettingError,
        "'zebra2horse' & horse2zebra",
    ),
    case(
        "cyclegan: scenes without a count",
        lambda: cyclegan.two_heaps("scenes", None),
        SettingError,
        "Scenes & give a count",
    ),
    case(
        "cyclegan: minus one scene",
        lambda: cyclegan.two_heaps("scenes", -1),
        SettingError,
        "-1 scenes & 1 or more",
    ),
    case(
        "cyclegan: scenes of no size",
        lambda: cyclegan.two_heaps("scenes", 2, 0),
        SettingError,
        "size=0 & 32 to 512",
    ),
    case(
        "cyclegan: one folder for two heaps",
        lambda: cyclegan.two_heaps(("days",)),
        SettingError,
        "1 folders & one for Y",
    ),
    case(
        "cyclegan: folders that are not there",
        lambda: cyclegan.two_heaps(("days", "nights")),
        DataError,
        "'days' & path of a folder",
    ),
    case(
        "cyclegan: no such split",
        lambda: cyclegan.two_heaps("horse2zebra", split="val"),
        SettingError,
        "'val' & 'train' or 'test'",
    ),
    case(
        "cyclegan: a cycle that ends elsewhere",
        lambda: cyclegan.cycle_loss(SIDE, picture(16, channels=1)),
        ShapeError,
        "(1, 1, 16, 16) & this same picture",
    ),
    case(
        "cyclegan: an identity of another size",
        lambda: cyclegan.identity_loss(SIDE, picture(32)),
        ShapeError,
        "(1, 3, 32, 32) & this same picture",
    ),
    case(
        "cyclegan: a pool of minus one",
        lambda: cyclegan.ImagePool(-1),
        SettingError,
        "size=-1 & 0 pictures or more",
    ),
    case(
        "cyclegan: a decay over no steps",
        lambda: cyclegan.linear_decay(5, 0),
        SettingError,
        "step=5 of 0 & no such place",
    ),
    case(
        "cyclegan: a side that 4 does not divide",
        lambda: translators().to_y(picture(18)),
        ShapeError,
        "18 × 18 & multiples of 4",
    ),
    case(
        "cyclegan: a grey picture",
        lambda: translators().to_y(picture(16, channels=1)),
        ShapeError,
        "(1, 1, 16, 16) & (N, 3, H, W)",
    ),
    case(
        "cyclegan: minus one block",
        lambda: cyclegan_networks.ResNetGenerator(blocks=-1),
        SettingError,
        "blocks=-1 & from 0",
    ),
    case(
        "cyclegan: the reach of minus one block",
        lambda: cyclegan_networks.reach(-1, 2),
        SettingError,
        "blocks=-1 & from 0",
    ),
    case(
        "cyclegan: a negative cycle weight",
        lambda: play(cycle=-1.0),
        SettingError,
        "cycle=-1.0 & 0 or more",
    ),
    case(
        "cyclegan: a tensor for a data set",
        lambda: cyclegan.train(
            play(), training.Batches(SIDE, 1), training.Batches(SIDE, 1), steps=1, progress=False
        ),
        DataError,
        "a tensor & image",
    ),
    case(
        "cyclegan: no steps",
        lambda: cyclegan.train(
            play(), training.Batches(SIDE, 1), training.Batches(SIDE, 1), steps=0
        ),
        SettingError,
        "steps & from 1",
    ),
    case(
        "cyclegan: colours without a batch",
        lambda: cyclegan_measure.colour_transfer(SIDE, SIDE[0]),
        ShapeError,
        "(3, 16, 16) & (N, C, H, W)",
    ),
    case(
        "cyclegan: no such checkpoint",
        lambda: cyclegan.load("apples"),
        WeightsError,
        "apples.safetensors & coursekit train",
    ),
    case(
        "cyclegan: another topic's checkpoint",
        lambda: cyclegan.load("../pix2pix/course"),
        WeightsError,
        "'pix2pix course' & 'cyclegan'",
    ),
]

CASES = [*PIX2PIX, *CYCLEGAN]
