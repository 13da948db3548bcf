"""Bad inputs of topics 08 and 09."""

from __future__ import annotations

import torch
from bad_inputs import (
    case,
    critic,
    dcgan_pair,
    digit_pair,
    ones,
    picture,
    sgd,
)

from coursekit import (
    cgan,
    wgan,
)
from coursekit.core import training
from coursekit.core.errors import (
    DataError,
    SettingError,
    ShapeError,
    WeightsError,
)

PAIRS = picture(16, count=2)


def step(real: object, fake: object, **settings: object) -> object:
    return wgan.critic_step(critic(), sgd(critic()), real, fake, **settings)


WGAN = [
    case(
        "wgan: samples of two sizes",
        lambda: wgan.wasserstein_1d(ones(4), ones(5)),
        ShapeError,
        "(5,) & equally many",
    ),
    case(
        "wgan: samples of nothing",
        lambda: wgan.wasserstein_1d(ones(0), ones(0)),
        ShapeError,
        "(0,) & (N,)",
    ),
    case(
        "wgan: slopes between two sizes",
        lambda: wgan.lipschitz_quotients(critic(), picture(16), picture(32)),
        ShapeError,
        "(1, 3, 32, 32) & (N, 3, 16, 16)",
    ),
    case(
        "wgan: weights clipped to nothing",
        lambda: wgan.clip_weights(critic(), 0),
        SettingError,
        "limit=0 & above 0",
    ),
    case(
        "wgan: a penalty without pairs",
        lambda: wgan.gradient_penalty(critic(), PAIRS, picture(16, count=3)),
        ShapeError,
        "(3, 3, 16, 16) & in pairs",
    ),
    case(
        "wgan: three places for two pairs",
        lambda: wgan.gradient_penalty(critic(), PAIRS, PAIRS, epsilon=ones(3)),
        ShapeError,
        "(3,) & (2,)",
    ),
    case(
        "wgan: a penalty under batch normalisation",
        lambda: wgan.gradient_penalty(dcgan_pair()[1], PAIRS, PAIRS),
        SettingError,
        "blocks.1.1 & layer_normalised()",
    ),
    case(
        "wgan: between two sizes",
        lambda: wgan.interpolate(picture(16), picture(32)),
        ShapeError,
        "(1, 3, 32, 32) & in pairs",
    ),
    case(
        "wgan: a critic of 20 pixels",
        lambda: wgan.convolutional_critic(4, 20),
        SettingError,
        "size=20 & 8, 16, 32, 64",
    ),
    case(
        "wgan: a negative penalty",
        lambda: step(PAIRS, PAIRS, penalty_weight=-1),
        SettingError,
        "penalty_weight=-1 & 0 or more",
    ),
    case(
        "wgan: a negative limit",
        lambda: step(PAIRS, PAIRS, clip=-1),
        SettingError,
        "limit=-1 & above 0",
    ),
    case(
        "wgan: fakes of another size",
        lambda: wgan.generator_step(critic(), sgd(critic()), picture(32, count=2)),
        ShapeError,
        "(2, 3, 32, 32) & (N, 3, 16, 16)",
    ),
    case(
        "wgan: a critic that never learns",
        lambda: wgan.WassersteinGame(dcgan_pair()[0], critic(), n_critic=0),
        SettingError,
        "n_critic=0 & 1 step or more",
    ),
    case(
        "wgan: a game with a negative limit",
        lambda: wgan.WassersteinGame(dcgan_pair()[0], critic(), clip=-0.1),
        SettingError,
        "clip=-0.1 & above 0",
    ),
    case(
        "wgan: a tensor for a data set",
        lambda: wgan.train(
            wgan.WassersteinGame(dcgan_pair()[0], critic(), n_critic=1),
            training.Batches(PAIRS, 2),
            steps=1,
            progress=False,
        ),
        DataError,
        "a tensor & image",
    ),
    case(
        "wgan: no such checkpoint",
        lambda: wgan.load_generator("cats"),
        WeightsError,
        "cats.safetensors & coursekit train",
    ),
]

DIGITS, LABEL = picture(32, count=2, channels=1), torch.tensor([0, 1])

CGAN = [
    case(
        "cgan: a class beyond the last",
        lambda: cgan.label_weights(torch.tensor([3, 10])),
        SettingError,
        "3 to 10 & 0 to 9",
    ),
    case(
        "cgan: a negative class",
        lambda: cgan.label_weights(torch.tensor([-1])),
        SettingError,
        "-1 & 0 to 9",
    ),
    case(
        "cgan: half a class",
        lambda: cgan.label_weights(torch.tensor([1.5])),
        ShapeError,
        "torch.float32 (1,) & int64 (N,)",
    ),
    case(
        "cgan: weights of nine classes",
        lambda: cgan.label_weights(ones(2, 9)),
        ShapeError,
        "(2, 9) & (N, 10)",
    ),
    case(
        "cgan: a list of classes",
        lambda: cgan.label_weights([1, 2]),
        ShapeError,
        "[1, 2] & torch.tensor",
    ),
    case(
        "cgan: fewer labels than vectors",
        lambda: cgan.join_latent(ones(3, 8), LABEL),
        ShapeError,
        "2 labels & 3 entries",
    ),
    case(
        "cgan: vectors like pictures",
        lambda: cgan.join_latent(ones(2, 8, 1, 1), LABEL),
        ShapeError,
        "(2, 8, 1, 1) & 2 dimensions",
    ),
    case(
        "cgan: digits without channels",
        lambda: cgan.join_planes(ones(2, 32, 32), LABEL),
        ShapeError,
        "(2, 32, 32) & 4 dimensions",
    ),
    case(
        "cgan: a path of one step",
        lambda: cgan.class_path(0, 1, 1),
        SettingError,
        "steps=1 & two ends",
    ),
    case(
        "cgan: a path to no class",
        lambda: cgan.class_path(0, 12, 5),
        SettingError,
        "0 to 12 & 0 to 9",
    ),
    case(
        "cgan: a label of 2",
        lambda: cgan.discriminator_loss(ones(2), ones(2), real_label=2),
        SettingError,
        "real_label=2 & (0, 1]",
    ),
    case(
        "cgan: another than class 11",
        lambda: cgan.wrong_labels(torch.tensor([11])),
        SettingError,
        "11 & 0 to 9",
    ),
    case(
        "cgan: another than the only class",
        lambda: cgan.wrong_labels(torch.tensor([0]), 1),
        SettingError,
        "classes=1 & 2 or more",
    ),
    case(
        "cgan: digits of 30 pixels",
        lambda: cgan.Generator(size=30),
        SettingError,
        "size=30 & 8, 16, 32, 64",
    ),
    case(
        "cgan: vectors of another length",
        lambda: digit_pair()[0](ones(2, 9), LABEL),
        ShapeError,
        "(2, 9) & (N, 8)",
    ),
    case(
        "cgan: no such way",
        lambda: cgan.Discriminator("embedding"),
        SettingError,
        "'embedding' & 'projection'",
    ),
    case(
        "cgan: digits in colour",
        lambda: digit_pair()[1](picture(32, count=2), LABEL),
        ShapeError,
        "(2, 3, 32, 32) & (N, 1, 32, 32)",
    ),
    case(
        "cgan: three digits, two labels",
        lambda: digit_pair()[1](picture(32, count=3, channels=1), LABEL),
        ShapeError,
        "2 labels & 3 entries",
    ),
    case(
        "cgan: digits of another size",
        lambda: cgan.discriminator_step(
            digit_pair()[1], sgd(digit_pair()[1]), DIGITS, picture(28, count=2, channels=1), LABEL
        ),
        ShapeError,
        "(2, 1, 28, 28) & (N, 1, 32, 32)",
    ),
    case(
        "cgan: no such loss",
        lambda: cgan.generator_step(
            digit_pair()[1], sgd(digit_pair()[0]), DIGITS, LABEL, kind="hinge"
        ),
        SettingError,
        "'hinge' & 'saturating'",
    ),
    case(
        "cgan: samples without a label each",
        lambda: cgan.samples(digit_pair()[0], ones(3, 8), LABEL),
        ShapeError,
        "2 labels & 3 entries",
    ),
    case(
        "cgan: a sheet of no columns",
        lambda: cgan.sheet(digit_pair()[0], 0),
        SettingError,
        "count=0 & 1 or more",
    ),
    case(
        "cgan: a walk to class 10",
        lambda: cgan.walk(digit_pair()[0], 0, 10),
        SettingError,
        "0 to 10 & 0 to 9",
    ),
    case(
        "cgan: a walk of one step",
        lambda: cgan.walk(digit_pair()[0], 0, 1, 1),
        SettingError,
        "steps=1 & two ends",
    ),
    case(
        "cgan: no such checkpoint",
        lambda: cgan.load_generator("letters"),
        WeightsError,
        "letters.safetensors & coursekit train",
    ),
    case(
        "cgan: a tensor for a data set",
        lambda: cgan.train(
            cgan.Game(*digit_pair()), training.Batches(DIGITS, 2), steps=1, progress=False
        ),
        DataError,
        "a tensor & image and label",
    ),
]

CASES = [*WGAN, *CGAN]
