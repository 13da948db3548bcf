"""Bad inputs of topic 07."""

from __future__ import annotations

import torch
from bad_inputs import (
    case,
    dcgan_pair,
    in_bytes,
    ones,
    picture,
    sgd,
)

from coursekit import (
    dcgan,
    dcgan_filters,
    dcgan_latent,
    dcgan_networks,
)
from coursekit.core import training
from coursekit.core.errors import (
    DataError,
    SettingError,
    ShapeError,
    WeightsError,
)

SMALL = picture(16, count=2)


def judge(real: object, fake: object, **settings: object) -> object:
    network = dcgan_pair()[1]
    return dcgan.discriminator_step(network, sgd(network), real, fake, **settings)


def game(**settings: object) -> dcgan.Game:
    return dcgan.Game(*dcgan_pair(), **settings)


def pool() -> dcgan_latent.Pool:
    return dcgan_latent.Pool(ones(20, 8), {"glasses": ones(20), "yaw": ones(20)})


CASES = [
    case(
        "dcgan: a label above 1",
        lambda: dcgan.discriminator_loss(ones(4), ones(4), real_label=1.5),
        SettingError,
        "real_label=1.5 & (0, 1]",
    ),
    case(
        "dcgan: no such loss",
        lambda: dcgan.generator_loss(ones(4), "hinge"),
        SettingError,
        "'hinge' & 'non-saturating' or 'saturating'",
    ),
    case("dcgan: no vectors", lambda: dcgan.sample_latent(0), SettingError, "count=0 & 1 or more"),
    case(
        "dcgan: vectors of no length",
        lambda: dcgan.sample_latent(4, -3),
        SettingError,
        "size=-3 & 1 or more",
    ),
    case(
        "dcgan: densities at other points",
        lambda: dcgan.optimal_discriminator(ones(4), ones(5)),
        ShapeError,
        "fake (5,) & one shape",
    ),
    case(
        "dcgan: fakes of another size",
        lambda: judge(SMALL, picture(32, count=2)),
        ShapeError,
        "(2, 3, 32, 32) & (N, 3, 16, 16)",
    ),
    case(
        "dcgan: a label of 0",
        lambda: judge(SMALL, SMALL, real_label=0),
        SettingError,
        "real_label=0 & (0, 1]",
    ),
    case(
        "dcgan: a negative penalty",
        lambda: judge(SMALL, SMALL, r1=-1),
        SettingError,
        "r1=-1 & 0 or more",
    ),
    case(
        "dcgan: a size that is no power of two",
        lambda: dcgan_networks.Generator(size=48),
        SettingError,
        "size=48 & 8, 16, 32, 64",
    ),
    case(
        "dcgan: a discriminator of 100 pixels",
        lambda: dcgan_networks.Discriminator(size=100),
        SettingError,
        "size=100 & 8, 16, 32, 64",
    ),
    case(
        "dcgan: no width",
        lambda: dcgan_networks.Generator(width=0),
        SettingError,
        "width=0 & 1 or more",
    ),
    case(
        "dcgan: no channels",
        lambda: dcgan_networks.Discriminator(channels=0),
        SettingError,
        "channels=0 & 1 or more",
    ),
    case(
        "dcgan: vectors of another length",
        lambda: dcgan_pair()[0](ones(2, 9)),
        ShapeError,
        "(2, 9) & (N, 8)",
    ),
    case(
        "dcgan: vectors like pictures",
        lambda: dcgan_pair()[0](ones(2, 8, 1, 1)),
        ShapeError,
        "(2, 8, 1, 1) & (N, 8)",
    ),
    case(
        "dcgan: grey pictures",
        lambda: dcgan_pair()[1](picture(16, channels=1)),
        ShapeError,
        "(1, 1, 16, 16) & (N, 3, 16, 16)",
    ),
    case(
        "dcgan: bytes", lambda: dcgan_pair()[1](in_bytes(SMALL)), ShapeError, "torch.uint8 & floats"
    ),
    case(
        "dcgan: vectors for the other generator",
        lambda: dcgan_networks.MLPGenerator(8, 8, 8)(ones(2, 9)),
        ShapeError,
        "(2, 9) & (N, 8)",
    ),
    case(
        "dcgan: digits of another size",
        lambda: dcgan_networks.MLPDiscriminator(8, 8)(picture(16, channels=1)),
        ShapeError,
        "(1, 1, 16, 16) & (N, 1, 8, 8)",
    ),
    case(
        "dcgan: no such precision",
        lambda: dcgan_networks.Generator(8, 4, 16, precision="half")(ones(2, 8)),
        SettingError,
        "'half' & bfloat16",
    ),
    case(
        "dcgan: samples of other vectors",
        lambda: dcgan.samples(dcgan_pair()[0], ones(2, 9)),
        ShapeError,
        "(2, 9) & (N, 8)",
    ),
    case(
        "dcgan: samples in batches of none",
        lambda: dcgan.samples(dcgan_pair()[0], ones(2, 8), batch=0),
        SettingError,
        "batch=0 & 1 or more",
    ),
    case(
        "dcgan: no such checkpoint",
        lambda: dcgan.load_generator("cats"),
        WeightsError,
        "cats.safetensors & coursekit train",
    ),
    case(
        "dcgan: another topic's checkpoint",
        lambda: dcgan.load_generator("../cgan/course"),
        WeightsError,
        "'cgan course' & 'dcgan'",
    ),
    case(
        "dcgan: one learning rate for two",
        lambda: game(learning_rates=2e-4),
        SettingError,
        "learning_rates=0.0002 & two above 0",
    ),
    case(
        "dcgan: a negative learning rate",
        lambda: game(learning_rates=(-1, 1)),
        SettingError,
        "(-1, 1) & two above 0",
    ),
    case(
        "dcgan: an average that never moves",
        lambda: game(ema_decay=1.0),
        SettingError,
        "decay=1.0 & below 1",
    ),
    case(
        "dcgan: a penalty at no step",
        lambda: game(r1_every=0),
        SettingError,
        "r1_every=0 & 1 or more",
    ),
    case(
        "dcgan: a training without an end",
        lambda: dcgan.train(game(), training.Batches(SMALL, 2)),
        SettingError,
        "how long & steps=2000",
    ),
    case(
        "dcgan: a tensor for a data set",
        lambda: dcgan.train(game(), training.Batches(SMALL, 2), steps=1, progress=False),
        DataError,
        "a tensor & image",
    ),
    case(
        "core.batches: a batch larger than the data",
        lambda: training.Batches(picture(16, count=4), 5),
        SettingError,
        "batch_size=5 & 4 entries",
    ),
    case(
        "dcgan: a walk of one point",
        lambda: dcgan_latent.walk(ones(1, 8)),
        ShapeError,
        "(1, 8) & two or more",
    ),
    case(
        "dcgan: a walk without steps",
        lambda: dcgan_latent.walk(ones(2, 8), 0),
        SettingError,
        "steps=0 & 1 or more",
    ),
    case(
        "dcgan: sums of other lengths",
        lambda: dcgan_latent.arithmetic(ones(3, 8), ones(3, 8), ones(3, 9)),
        ShapeError,
        "target (3, 9) & (n, D)",
    ),
    case(
        "dcgan: a sum of nobody",
        lambda: dcgan_latent.arithmetic(ones(0, 8), ones(3, 8), ones(3, 8)),
        ShapeError,
        "plus (0, 8) & empty",
    ),
    case(
        "dcgan: nobody looks right",
        lambda: dcgan_latent.pose_vector(ones(3, 8), ones(0, 8)),
        ShapeError,
        "right (0, 8) & empty",
    ),
    case(
        "dcgan: a factor that nobody reads",
        lambda: pool().where("hat", 0, 1),
        SettingError,
        "'hat' & glasses, yaw",
    ),
    case(
        "dcgan: a pool too small",
        lambda: dcgan_latent.draw(pool(), torch.arange(2), 5, 3, seed=0),
        SettingError,
        "2 samples & 3 are needed",
    ),
    case(
        "dcgan: boxes of three numbers",
        lambda: dcgan_filters.boxes_to_positions(ones(2, 3), 8, 64),
        ShapeError,
        "(2, 3) & (N, 4)",
    ),
    case(
        "dcgan: positions of other maps",
        lambda: dcgan_filters.filter_weights(ones(2, 4, 8, 8), ones(2, 4, 4)),
        ShapeError,
        "(2, 4, 4) & (N, h, w)",
    ),
    case(
        "dcgan: boxes all over",
        lambda: dcgan_filters.filter_weights(ones(2, 4, 8, 8), ones(2, 8, 8).bool()),
        SettingError,
        "some positions & leave some out",
    ),
    case(
        "dcgan: a filter that is not there",
        lambda: dcgan_filters.without_filters(dcgan_pair()[0], ones(2, 8), 1, torch.tensor([999])),
        SettingError,
        "999 & 8 maps",
    ),
]
