"""Bad inputs of topic 13."""

from __future__ import annotations

from bad_inputs import (
    NAN,
    SIZES,
    case,
    ones,
    picture,
    squared,
    styled,
    styles,
)

from coursekit import (
    stylegan2,
    stylegan2_adain,
    stylegan2_discriminator,
    stylegan2_layers,
    stylegan2_measure,
    stylegan2_networks,
    stylegan2_projection,
    stylegan2_styles,
)
from coursekit.core.errors import (
    ImageError,
    SettingError,
    ShapeError,
    WeightsError,
)

MEAN = ones(8)


def project(targets: object, **settings: object) -> object:
    settings = {"steps": 1, "progress": False} | settings
    return stylegan2_projection.project(styled()[0], targets, squared, **settings)


def noisy_at(resolution: int) -> None:
    with stylegan2_styles.noise_only_at(styled()[0], [resolution]):
        pass


CASES = [
    case(
        "stylegan2: a size that is no power of two",
        lambda: stylegan2_networks.Sizes(24),
        SettingError,
        "size=24 & 8, 16, 32, 64",
    ),
    case(
        "stylegan2: no channels",
        lambda: stylegan2_networks.Sizes(16, base=1),
        SettingError,
        "base=1 & no channels left",
    ),
    case(
        "stylegan2: no such block",
        lambda: stylegan2_networks.Generator(SIZES, latent=8, block="spade"),
        SettingError,
        "block='spade' & 'adain'",
    ),
    case(
        "stylegan2: no such output",
        lambda: stylegan2_networks.Generator(SIZES, latent=8, output="dense"),
        SettingError,
        "output='dense' & 'skip', 'plain'",
    ),
    case(
        "stylegan2: minus one layer",
        lambda: stylegan2_networks.Generator(SIZES, latent=8, mapping_layers=-1),
        SettingError,
        "layers=-1 & 0 or more",
    ),
    case(
        "stylegan2: vectors of another length",
        lambda: styled()[0](ones(2, 9)),
        ShapeError,
        "(2, 9) & (N, 8)",
    ),
    case(
        "stylegan2: no such noise",
        lambda: styled()[0](ones(2, 8), noise="gauss"),
        SettingError,
        "noise='gauss' & 'random', 'const'",
    ),
    case(
        "stylegan2: a psi of NaN",
        lambda: styled()[0](ones(2, 8), psi=NAN),
        SettingError,
        "psi=nan & finite",
    ),
    case(
        "stylegan2: styles for other layers",
        lambda: styled()[0].synthesis(ones(2, 3, 8)),
        ShapeError,
        "(2, 3, 8) & (N, 6, 8)",
    ),
    case(
        "stylegan2: a crossover behind the last layer",
        lambda: stylegan2_networks.mix(styles(), styles(), 99),
        SettingError,
        "crossover=99 & 0 … 6",
    ),
    case(
        "stylegan2: two batches mixed",
        lambda: stylegan2_networks.mix(styles(), styles(3), 1),
        ShapeError,
        "(2, 6, 8) & (3, 6, 8)",
    ),
    case(
        "stylegan2: pictures of another size",
        lambda: styled()[1](picture(32, count=4)),
        ShapeError,
        "(4, 3, 32, 32) & (N, 3, 16",
    ),
    case(
        "stylegan2: a batch that groups do not divide",
        lambda: styled()[1](picture(16, count=6)),
        ShapeError,
        "batch of 6 & groups of 4",
    ),
    case(
        "stylegan2: no such critic",
        lambda: stylegan2_discriminator.Discriminator(SIZES, critic="dense"),
        SettingError,
        "critic='dense' & residual, plain",
    ),
    case(
        "stylegan2: a step every minus one",
        lambda: stylegan2.lazy(0.1, (0.0, 0.9), -1),
        SettingError,
        "every=-1 & 1 step or more",
    ),
    case(
        "stylegan2: paths under other noise",
        lambda: stylegan2.path_lengths(picture(16), styles(1), picture(32)),
        ShapeError,
        "noise (1, 3, 32, 32) & (N, C, H, W)",
    ),
    case(
        "stylegan2: pictures that no style made",
        lambda: stylegan2.path_lengths(picture(16), styles(1), picture(16)),
        ShapeError,
        "(1, 6, 8) & requires_grad",
    ),
    case(
        "stylegan2: a mean that runs away",
        lambda: stylegan2.PathLength(1.5),
        SettingError,
        "decay=1.5 & 0 … 1",
    ),
    case(
        "stylegan2: a probability of 2",
        lambda: stylegan2.mixed_styles(styled()[0], ones(2, 8), probability=2),
        SettingError,
        "probability=2 & 0 … 1",
    ),
    case(
        "stylegan2: a filter that lets nothing through",
        lambda: stylegan2_layers.filter_2d((1, -1)),
        SettingError,
        "(1, -1) & low-pass",
    ),
    case(
        "stylegan2: enlarged by 0",
        lambda: stylegan2_layers.upfirdn(picture(8), stylegan2_layers.filter_2d(), up=0),
        SettingError,
        "up=0 & from 1",
    ),
    case(
        "stylegan2: demodulation for other channels",
        lambda: stylegan2_layers.demodulation(ones(4, 3, 3, 3), ones(2, 5)),
        ShapeError,
        "(2, 5) & (N, C_in)",
    ),
    case(
        "stylegan2: features of other channels",
        lambda: stylegan2_layers.modulated_conv2d(ones(2, 3, 8, 8), ones(4, 5, 3, 3), ones(2, 3)),
        ShapeError,
        "(4, 5, 3, 3) & (C_out, C_in, k, k)",
    ),
    case(
        "stylegan2: no such way",
        lambda: stylegan2_layers.modulated_conv2d(
            ones(2, 3, 8, 8), ones(4, 3, 3, 3), ones(2, 3), way="fast"
        ),
        SettingError,
        "'fast' & scaled, grouped",
    ),
    case(
        "stylegan2: AdaIN for other channels",
        lambda: stylegan2_layers.adain(ones(2, 3, 8, 8), ones(2, 4), ones(2, 3)),
        ShapeError,
        "(2, 4) & (N, C)",
    ),
    case(
        "stylegan2: truncation to another mean",
        lambda: stylegan2_styles.truncate(ones(2, 8), ones(9), 0.5),
        ShapeError,
        "(9,) & (8,)",
    ),
    case(
        "stylegan2: truncation by NaN",
        lambda: stylegan2_styles.truncate(ones(2, 8), MEAN, NAN),
        SettingError,
        "psi=nan & finite",
    ),
    case(
        "stylegan2: some layers of one w",
        lambda: stylegan2_styles.truncate(ones(2, 8), MEAN, 0.5, layers=2),
        SettingError,
        "layers=2 & (2, 8)",
    ),
    case(
        "stylegan2: no w",
        lambda: stylegan2_styles.draw_w(styled()[0], 0, seed=0),
        SettingError,
        "count=0 & 1 or more",
    ),
    case(
        "stylegan2: styles replaced in another batch",
        lambda: stylegan2_styles.replace_layers(styles(), styles(3), slice(0, 2)),
        ShapeError,
        "(3, 6, 8) & (N, count, latent)",
    ),
    case(
        "stylegan2: middle styles before coarse ones",
        lambda: stylegan2_styles.style_groups(SIZES, (32, 8)),
        SettingError,
        "(32, 8) & coarse",
    ),
    case(
        "stylegan2: a deviation of one draw",
        lambda: stylegan2_styles.noise_deviation(styled()[0], styles(), draws=1),
        SettingError,
        "draws=1 & two or more",
    ),
    case("stylegan2: noise at 7 pixels", lambda: noisy_at(7), SettingError, "[7] & [4, 8, 16]"),
    case(
        "stylegan2: a walk of one point",
        lambda: stylegan2_styles.walk(styles(1)),
        ShapeError,
        "(1, 6, 8) & two or more",
    ),
    case(
        "stylegan2: a walk without steps",
        lambda: stylegan2_styles.walk(styles(), 0),
        SettingError,
        "steps=0 & 1 or more",
    ),
    case(
        "stylegan2: a factor of other faces",
        lambda: stylegan2_styles.direction(ones(4, 8), ones(3)),
        ShapeError,
        "(3,) & (N, latent)",
    ),
    case(
        "stylegan2: a factor that never changes",
        lambda: stylegan2_styles.direction(ones(4, 8), ones(4)),
        SettingError,
        "same value & nothing says",
    ),
    case(
        "stylegan2: an edit in another space",
        lambda: stylegan2_styles.edit(styles(), ones(9), 1.0),
        ShapeError,
        "(9,) & (8,)",
    ),
    case(
        "stylegan2: an edit by NaN",
        lambda: stylegan2_styles.edit(styles(), MEAN, NAN),
        SettingError,
        "amount=nan & finite",
    ),
    case(
        "stylegan2: no such space",
        lambda: project(picture(16), space="z"),
        SettingError,
        "space='z' & w, w+",
    ),
    case(
        "stylegan2: a target of another size",
        lambda: project(picture(32)),
        ShapeError,
        "(1, 3, 32, 32) & (N, 3, 16, 16)",
    ),
    case(
        "stylegan2: a target up to 255",
        lambda: project(255 * picture(16)),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "stylegan2: a negative learning rate",
        lambda: project(picture(16), learning_rate=-1),
        SettingError,
        "learning_rate=-1 & above 0",
    ),
    case(
        "stylegan2: noise for no layer",
        lambda: stylegan2_projection.drawn_again(styled()[0], styles(), {"b7": ones(1)}),
        SettingError,
        "'b7' & b4.conv1",
    ),
    case(
        "stylegan2: a window without a middle",
        lambda: stylegan2_adain.dominance(ones(1, 2, 8, 8), 2),
        SettingError,
        "window=2 & odd",
    ),
    case(
        "stylegan2: a spike outside",
        lambda: stylegan2_adain.with_spike(ones(1, 2, 8, 8), 3.0, (9, 9)),
        ShapeError,
        "(9, 9) & (1, 2, 8, 8)",
    ),
    case(
        "stylegan2: a path length in no space",
        lambda: stylegan2_measure.path_length(styled()[0], squared, "y"),
        SettingError,
        "space='y' & z, w",
    ),
    case(
        "stylegan2: a penalty every minus one",
        lambda: stylegan2.Game(*styled(), r1_every=-1),
        SettingError,
        "r1_every=-1 & positive",
    ),
    case(
        "stylegan2: no such checkpoint",
        lambda: stylegan2_styles.load_generator("ffhq"),
        WeightsError,
        "ffhq.safetensors & coursekit train",
    ),
]
