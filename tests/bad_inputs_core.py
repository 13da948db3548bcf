"""Bad inputs of the core."""

from __future__ import annotations

import os
from unittest import mock

import torch
from bad_inputs import (
    LABELS,
    NAN,
    RANDOM,
    broken,
    case,
    flat,
    in_bytes,
    ones,
    picture,
    vgg,
)

from coursekit.core import (
    budget,
    estimates,
    features,
    gan_doctor,
    gan_signals,
    losses,
    metrics,
    optimise,
    perceptual,
    recognise,
    recogniser,
    runtime,
    segmenter,
    show,
    training,
)
from coursekit.core.errors import (
    ImageError,
    LayerError,
    OptimisationError,
    SettingError,
    ShapeError,
    TrainingError,
    WeightsError,
)

QUIET = {"progress": False, "steps": 2}


def optimised(loss: object, start: object = None, **settings: object) -> object:
    start = picture(8) if start is None else start
    return optimise.optimise_pixels(loss, start, **QUIET | settings)


def trained(step: object, **settings: object) -> object:
    state = {"network": torch.nn.Linear(1, 1)}
    return training.run(step, state, **{"steps": 1, "progress": False} | settings)


def with_environment(name: str, value: str) -> object:
    with mock.patch.dict(os.environ, {name: value}):
        return runtime.setup(quiet=True)


TOY = metrics.Extractor("toy", flat, channels=3)

CASES = [
    case(
        "core.losses: maps without a batch",
        lambda: losses.gram_matrix(ones(3, 4, 4)),
        ShapeError,
        "(3, 4, 4) & (N, C, H, W)",
    ),
    case(
        "core.losses: three targets for two",
        lambda: losses.content_loss(ones(2, 3, 4, 4), ones(3, 3, 4, 4)),
        ShapeError,
        "(3, 3, 4, 4) & one for each",
    ),
    case(
        "core.losses: Gram matrices of two layers",
        lambda: losses.style_loss(ones(2, 3, 3), ones(2, 4, 4)),
        ShapeError,
        "(2, 4, 4) & same layer",
    ),
    case(
        "core.losses: variation without a batch",
        lambda: losses.total_variation(ones(3, 4, 4)),
        ShapeError,
        "(3, 4, 4) & (N, C, H, W)",
    ),
    case(
        "core.losses: statistics without a batch",
        lambda: losses.channel_statistics(ones(3, 4, 4)),
        ShapeError,
        "(3, 4, 4) & (N, C, H, W)",
    ),
    case(
        "core.losses: statistics of two layers",
        lambda: losses.channel_statistics_loss(ones(1, 3, 4, 4), ones(1, 4, 4, 4)),
        ShapeError,
        "(1, 4, 4, 4) & same layer",
    ),
    case(
        "core.losses: logits from elsewhere",
        lambda: losses.r1_penalty(ones(2), ones(2, 3, 4, 4)),
        ShapeError,
        "(2, 3, 4, 4) & requires_grad_()",
    ),
    case(
        "core.features: no such network",
        lambda: features.layer_names("vgg11"),
        SettingError,
        "'vgg11' & vgg16, vgg19, alexnet",
    ),
    case(
        "core.features: a layer of the other network",
        lambda: features.FeatureExtractor("alexnet", ["relu1_1"], **RANDOM),
        LayerError,
        "'relu1_1' & relu1",
    ),
    case(
        "core.features: the field of no layer",
        lambda: features.receptive_field("vgg16", "fc6"),
        LayerError,
        "'fc6' & conv1_1",
    ),
    case(
        "core.features: too small a picture",
        lambda: vgg("pool5")(picture(16)),
        ImageError,
        "16×16 & at least 32",
    ),
    case(
        "core.features: bytes",
        lambda: vgg("relu1_1")(in_bytes(picture())),
        ImageError,
        "torch.uint8 & 0 … 1",
    ),
    case(
        "core.features: weights that are not there",
        lambda: features.FeatureExtractor(),
        WeightsError,
        "'vgg16' & coursekit fetch",
    ),
    case(
        "core.runtime: no such preset",
        lambda: runtime.setup("fast"),
        SettingError,
        "'fast' & ci, quick, full",
    ),
    case(
        "core.runtime: no such preset in the environment",
        lambda: with_environment("COURSEKIT_PRESET", "turbo"),
        SettingError,
        "'turbo' & COURSEKIT_PRESET",
    ),
    case(
        "core.runtime: threads in words",
        lambda: with_environment("COURSEKIT_THREADS", "two"),
        SettingError,
        "'two' & from 1",
    ),
    case(
        "core.runtime: half a seed",
        lambda: runtime.seed_everything(1.5),
        SettingError,
        "seed=1.5 & whole number",
    ),
    case(
        "core.runtime: a seed of 65 bits",
        lambda: runtime.generator(2**64),
        SettingError,
        "18446744073709551616 & 64 bits",
    ),
    case(
        "core.budget: soon", lambda: budget.parse_budget("soon"), SettingError, "'soon' & '4 min'"
    ),
    case("core.budget: no time", lambda: budget.parse_budget(0), SettingError, "0 & '90 s'"),
    case(
        "core.budget: less than no time",
        lambda: budget.parse_budget("-3 min"),
        SettingError,
        "'-3 min' & '1.5 h'",
    ),
    case(
        "core.budget: days",
        lambda: budget.parse_budget("4 days"),
        SettingError,
        "'4 days' & '1.5 h'",
    ),
    case(
        "core.optimise: a loss for each pixel",
        lambda: optimised(lambda x: x),
        SettingError,
        "(1, 3, 8, 8) & Sum or average",
    ),
    case(
        "core.optimise: a loss cut off",
        lambda: optimised(lambda x: x.detach().sum()),
        SettingError,
        "does not depend on the image & .detach()",
    ),
    case(
        "core.optimise: no terms",
        lambda: optimised(lambda x: {}),
        SettingError,
        "empty & must be a number",
    ),
    case(
        "core.optimise: no return",
        lambda: optimised(lambda x: None),
        SettingError,
        "None & return a tensor",
    ),
    case(
        "core.optimise: a loss in words",
        lambda: optimised(lambda x: {"style": "much"}),
        SettingError,
        "much & return a tensor",
    ),
    case(
        "core.optimise: a loss of NaN",
        lambda: optimised(lambda x: NAN * x.sum()),
        OptimisationError,
        "Step 1 & 'loss' & Lower the learning rate",
    ),
    case(
        "core.optimise: bounds the wrong way round",
        lambda: optimised(torch.sum, bounds=(1, 0)),
        SettingError,
        "(1, 0) & lower one first",
    ),
    case(
        "core.optimise: whole numbers",
        lambda: optimised(torch.sum, in_bytes(picture(8))),
        SettingError,
        "torch.uint8 & floating",
    ),
    case(
        "core.optimise: sizes that fall",
        lambda: optimise.coarse_to_fine(lambda size: torch.sum, picture(8), [8, 4], 2),
        SettingError,
        "[8, 4] & ascend",
    ),
    case(
        "core.optimise: steps for one of two sizes",
        lambda: optimise.coarse_to_fine(lambda size: torch.sum, picture(8), [4, 8], [2]),
        SettingError,
        "[2] & one of",
    ),
    case(
        "core.perceptual: no such network",
        lambda: perceptual.LPIPS("squeeze"),
        SettingError,
        "'squeeze' & 'alex' or 'vgg'",
    ),
    case(
        "core.batches: batches of none",
        lambda: training.Batches(picture(8, count=4), 0),
        SettingError,
        "batch_size=0 & 4 entries",
    ),
    case(
        "core.training: a decay above 1",
        lambda: training.EMA(torch.nn.Linear(1, 1), 1.5),
        SettingError,
        "decay=1.5 & below 1",
    ),
    case(
        "core.training: a budget in words",
        lambda: trained(lambda n: {}, budget="a while"),
        SettingError,
        "'a while' & '4 min'",
    ),
    case(
        "core.training: a step that returns nothing",
        lambda: trained(lambda n: None),
        SettingError,
        "step(1) & None & by name",
    ),
    case(
        "core.training: a term in words",
        lambda: trained(lambda n: {"loss": "big"}),
        SettingError,
        "'loss' & one number",
    ),
    case(
        "core.training: a term of three numbers",
        lambda: trained(lambda n: {"loss": ones(3)}),
        SettingError,
        "'loss' & one number",
    ),
    case(
        "core.training: a term of NaN",
        lambda: trained(lambda n: {"loss": torch.tensor(NAN)}),
        TrainingError,
        "Step 1 & 'loss' & learning rate",
    ),
    case(
        "core.training: a log at no step",
        lambda: trained(lambda n: {}, log_every=0),
        SettingError,
        "log_every & from 1",
    ),
    case(
        "core.training: a curve nobody kept",
        lambda: trained(lambda n: {"loss": torch.tensor(1.0)}).curve("d_loss"),
        SettingError,
        "'d_loss' & loss",
    ),
    case(
        "core.metrics: distances of unsaid features",
        lambda: metrics.fid(picture(8, count=4), picture(8, count=4)),
        SettingError,
        "which extractor & digit_extractor()",
    ),
    case(
        "core.metrics: FID of one picture",
        lambda: metrics.fid(picture(8), picture(8), TOY),
        SettingError,
        "1 images & 100 or more",
    ),
    case(
        "core.metrics: pictures up to 255",
        lambda: metrics.fid(255 * picture(8, count=4), picture(8, count=4), TOY),
        ImageError,
        "0 to 255 & 0 … 1",
    ),
    case(
        "core.metrics: pictures without a batch",
        lambda: metrics.fid(picture(8)[0], picture(8)[0], TOY),
        ImageError,
        "(3, 8, 8) & (N, 1 | 3, H, W)",
    ),
    case(
        "core.metrics: subsets larger than the set",
        lambda: metrics.kid(picture(8, count=4), picture(8, count=4), TOY, subset_size=9),
        SettingError,
        "10 disjoint subsets of 9 & 90 images",
    ),
    case(
        "core.metrics: one draw has no interval",
        lambda: metrics.fid_of(
            lambda n, r: picture(8, count=n), picture(8, count=4), TOY, count=4, draws=1
        ),
        SettingError,
        "not 1 & two draws or more",
    ),
    case(
        "core.metrics: PSNR of two sizes",
        lambda: metrics.psnr(picture(8), picture(9)),
        ShapeError,
        "(1, 3, 9, 9) & one size",
    ),
    case(
        "core.metrics: SSIM of a stamp",
        lambda: metrics.ssim(picture(8), picture(8)),
        ShapeError,
        "(1, 3, 8, 8) & 11 pixels",
    ),
    case(
        "core.metrics: features like pictures",
        lambda: metrics.Extractor("toy", lambda x: x)(picture(8)),
        ShapeError,
        "(1, 3, 8, 8) & (N, D)",
    ),
    case(
        "core.estimates: nothing to compare",
        lambda: estimates.compare({}),
        SettingError,
        "nothing to compare & at least one",
    ),
    case(
        "core.estimates: five of three",
        lambda: estimates.proportion(5, 3),
        SettingError,
        "5 of 3 & no share",
    ),
    case(
        "core.estimates: a level in percent",
        lambda: estimates.mean_interval([1.0, 2.0], level=95),
        SettingError,
        "level=95 & 0.95",
    ),
    case(
        "core.estimates: one value",
        lambda: estimates.mean_interval([1.0]),
        SettingError,
        "(1,) & 2 numbers or more",
    ),
    case(
        "core.estimates: a value of NaN",
        lambda: estimates.mean_interval([1.0, NAN]),
        SettingError,
        "NaN & leave those out",
    ),
    case(
        "core.estimates: a correlation of three",
        lambda: estimates.spearman([1, 2, 3], [1, 2, 3], seed=0),
        SettingError,
        "(3,) & 4 numbers or more",
    ),
    case(
        "core.gan_signals: one picture is not diverse",
        lambda: gan_signals.diversity(picture(8), picture(8)),
        ShapeError,
        "(1, 3, 8, 8) & two or more",
    ),
    case(
        "core.gan_doctor: no such patient",
        lambda: gan_doctor.GanDoctor(kind="vae"),
        SettingError,
        "'vae' & gan, wgan",
    ),
    case(
        "core.segmenter: no classes",
        lambda: segmenter.Segmenter(0),
        SettingError,
        "classes=0 & two classes",
    ),
    case(
        "core.segmenter: a class beyond the last",
        lambda: segmenter.confusion(LABELS, LABELS + 7, 3),
        ShapeError,
        "7 to 7",
    ),
    case(
        "core.recogniser: nothing to recognise",
        lambda: recogniser.Recogniser({}),
        SettingError,
        "empty & {'label': 10}",
    ),
    case(
        "core.recogniser: digits without a batch",
        lambda: recognise.load("digits").predict(ones(28, 28)),
        ImageError,
        "(28, 28) & (N, 1 | 3, H, W)",
    ),
    case(
        "core.show: two titles for one picture",
        lambda: show.images([picture(8)], ["a", "b"]),
        SettingError,
        "1 pictures and 2 titles & one title a picture",
    ),
    case(
        "core.show: no columns",
        lambda: show.images([picture(8)], columns=0),
        SettingError,
        "0 columns & 1 or more",
    ),
    case(
        "core.show: a picture with NaN",
        lambda: show.images([broken(picture(8))]),
        ImageError,
        "NaN & cannot be shown",
    ),
    case(
        "core.show: a grid with a hole",
        lambda: show.sweep([[picture(8)]], ["a"], ["b", "c"]),
        SettingError,
        "1 rows of 2 & not",
    ),
    case("core.show: no lines", lambda: show.curves({}), SettingError, "no lines"),
    case(
        "core.show: a line with a gap",
        lambda: show.curves({"loss": ([1, 2], [1])}),
        SettingError,
        "'loss' & 2 x values and 1 y values",
    ),
    case(
        "core.show: no snapshots",
        lambda: show.convergence(optimise.PixelResult(picture(8))),
        SettingError,
        "no snapshots & snapshots=6",
    ),
]
