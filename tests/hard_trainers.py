"""Every trainer of the course in its smallest form: a few steps, a fraction of a second each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coursekit import (
    cgan,
    cyclegan,
    dcgan,
    dfi_identity,
    fast_style,
    pix2pix,
    progan,
    spade,
    stylegan2,
    wct_networks,
    wgan,
    wgan_study,
)
from coursekit.core import recognise, runtime, segmenter, snapshot, training
from coursekit.datasets.base import Dataset, Info
from coursekit.datasets.crops import Crops
from coursekit.recipes import dfi as dfi_recipe

Options = dict[str, Any]
EVERY = 2  # steps between two checkpoints
INFO = Info("noise", "random images", "none", True, "the test")


def bytes_of(*shape: int, levels: int = 256, seed: int = 1) -> Tensor:
    random = runtime.generator(seed)
    return torch.randint(levels, shape, generator=random, dtype=torch.uint8)


def pictures(count: int, channels: int, size: int, **fields: Tensor) -> Dataset:
    return Dataset(INFO, {"image": bytes_of(count, channels, size, size), **fields})


def _dcgan(options: Options) -> None:
    networks = dcgan.Generator(8, 4, 8), dcgan.Discriminator(4, 8)
    game = dcgan.Game(*networks, real_label=0.9, r1=1.0, r1_every=4)
    batches = training.Batches(pictures(40, 3, 8), 6)
    dcgan.train(game, batches, rate=lambda number: 1 - number / 1000, previews=8, **options)


def _wgan(options: Options, **settings: Any) -> None:
    networks = dcgan.MLPGenerator(3, 8, 4), dcgan.MLPDiscriminator(8, 4)
    game = wgan.WassersteinGame(*networks, **settings)
    wgan.train(game, training.Batches(pictures(40, 1, 4), 6), **options)


def _wgan_study(options: Options) -> None:
    wgan_study.observe(
        "penalty",
        lambda: (dcgan.MLPGenerator(4, 8), dcgan.MLPDiscriminator(8)),
        lambda generator: {"fid": generator.layers[0].weight.double().mean().item()},
        updates=10 * options["steps"],
        looks=options["steps"],
        batch=4,
        data=pictures(20, 1, 28),
        folder=options["folder"],
    )


def _cgan(options: Options) -> None:
    game = cgan.Game(cgan.Generator(latent=4, width=4), cgan.Discriminator("projection", width=4))
    data = pictures(20, 1, 32, label=torch.arange(20) % 10)
    augment = recognise.Augmentation(shift=1, noise=0.05)
    cgan.train(game, training.Batches(data, 4), augment=augment, **options)


def _pix2pix(options: Options) -> None:
    generator = pix2pix.UNetGenerator(width=4, depth=3)
    game = pix2pix.Game(generator, pix2pix.PatchDiscriminator(width=4, layers=1))
    drawn = bytes_of(12, 3, 16, 16)
    data = Dataset(INFO, {"input": drawn, "target": drawn.flip(1)}, ("input", "target"))
    pix2pix.train(game, training.Batches(data, 3), shift=2, flip=True, **options)


def _cyclegan(options: Options) -> None:
    one: dict[str, int] = {"width": 4, "blocks": 1, "halvings": 1}
    generators = (cyclegan.ResNetGenerator(**one) for _ in range(2))
    judges = (cyclegan.PatchDiscriminator(3, width=4, layers=1, norm="instance") for _ in range(2))
    game = cyclegan.Game(cyclegan.Translators(*generators), *judges, pool=3)
    heaps = (training.Batches(pictures(6, 3, 16), 1, seed=seed) for seed in range(2))
    cyclegan.train(game, *heaps, **options)


def _progan(options: Options) -> None:
    levels = (progan.Level(4, 4, 0, 8), progan.Level(8, 4, 12, 8), progan.Level(16, 2, 6, 400))
    schedule = progan.Schedule(levels)
    networks = progan.networks(progan.Widths(16, base=32, most=8), latent=6)
    game = progan.Game(*networks, schedule)
    progan.train(game, progan.Feed(pictures(12, 3, 16), schedule), **options)


def _stylegan2(options: Options) -> None:
    sizes = stylegan2.Sizes(8, base=64, most=8)
    generator = stylegan2.Generator(sizes, latent=6, mapping_layers=2)
    game = stylegan2.Game(generator, stylegan2.Discriminator(sizes), r1_every=3, path_every=2)
    stylegan2.train(game, training.Batches(pictures(12, 3, 8), 4), **options)


def _spade(options: Options) -> None:
    network = spade.Generator(labels=3, width=2, size=16, hidden=4, doublings=2, latent=4)
    painter = spade.Painter(network, spade.StyleEncoder(2, 16, 4))
    judge = spade.MultiscaleDiscriminator(3, width=2, layers=2, scales=2)
    data = pictures(8, 3, 16, labels=bytes_of(8, 16, 16, levels=3))
    spade.train(spade.Game(painter, judge), training.Batches(data, 4), **options)


def _fast_style(options: Options) -> None:
    layers = {"style_layers": ("relu1_2",), "content_layer": "relu1_2"}
    objective = fast_style.Objective(pictures(1, 3, 32).batch([0])["image"], **layers)
    network = fast_style.TransformerNetwork(4, 1)
    crops = Crops([pictures(1, 3, 48).batch([0])["image"]], 32, count=8)
    fast_style.train(network, objective, training.Batches(crops, 2), **options)


def _wct(options: Options) -> None:
    autoencoder = wct_networks.Autoencoder(wct_networks.Decoder(2, wct_networks.COURSE_WIDTHS))
    crops = Crops([pictures(1, 3, 48).batch([0])["image"]], 32, count=8)
    wct_networks.train_decoder(
        autoencoder, training.Batches(crops, 2), precision="float32", **options
    )


def _dfi(options: Options) -> None:
    data = dfi_identity.people(8, 8, size=16, seed=0)
    network = dfi_identity.IdentityNetwork(size=16, width=4)
    dfi_recipe.train(network, data, options["steps"], 0, options["folder"], progress=False)


def _segmenter(options: Options) -> None:
    labels = bytes_of(12, 16, 16, levels=3)
    segmenter.fit(
        bytes_of(12, 3, 16, 16),
        labels,
        3,
        steps=options["steps"],
        batch=4,
        width=2,
        folder=options["folder"],
    )


def _recogniser(options: Options) -> None:
    recognise.fit(
        bytes_of(20, 1, 16, 16),
        {"side": torch.arange(20) % 2, "place": torch.rand(20, generator=runtime.generator(2))},
        {"side": 2, "place": "regression"},
        steps=options["steps"],
        batch=4,
        size=16,
        width=4,
        features=8,
        augment=recognise.Augmentation(noise=0.1),
        folder=options["folder"],
    )


TRAINERS: dict[str, Callable[[Options], None]] = {
    "fast style": _fast_style,
    "WCT decoder": _wct,
    "DFI identity": _dfi,
    "DCGAN": _dcgan,
    "WGAN": _wgan,
    "WGAN, clipped": lambda options: _wgan(options, clip=0.01),
    "WGAN study": _wgan_study,
    "cGAN": _cgan,
    "Pix2Pix": _pix2pix,
    "CycleGAN": _cyclegan,
    "ProGAN": _progan,
    "StyleGAN2": _stylegan2,
    "SPADE": _spade,
    "segmenter": _segmenter,
    "recogniser": _recogniser,
}


class Ended:
    """How a training ended: all that it learnt, what it told, and whether it was stopped."""

    def __init__(self, state: training.State, result: training.TrainingResult) -> None:
        self.learnt = {name: snapshot._state_of(part) for name, part in state.items()}
        self.terms = [{k: v for k, v in e.items() if k != "seconds"} for e in result.history]
        self.frames = result.timeline.frames
        self.steps, self.interrupted = result.steps, result.interrupted

    def differs(self, other: Ended) -> list[str]:
        """What is not the same in both, bit for bit."""
        names = ("learnt", "terms", "frames", "steps", "interrupted")
        return [n for n in names if flat(getattr(self, n)) != flat(getattr(other, n))]


def flat(content: object) -> list[object]:
    """Tensors as bytes, and everything else as it is."""
    if isinstance(content, Tensor):
        return [content.dtype, content.contiguous().numpy().tobytes()]
    if isinstance(content, dict):
        return [part for key, value in content.items() for part in [key, *flat(value)]]
    if isinstance(content, (list, tuple)):
        return [part for value in content for part in flat(value)]
    return [content]


def play(name: str, folder: Path | None, steps: int, hear: Callable[[int], None]) -> Ended:
    """Train, or go on where the folder stands; ``hear`` is told of every step as it begins.

    All trainers come to `training.run` in the end: that is where the steps are heard.
    """
    real, seen = training.run, []

    def watched(step: training.Step, state: training.State, **options: Any) -> Any:
        def heard(number: int) -> training.Terms:
            hear(number)
            return step(number)

        result = real(heard, state, **options | {"checkpoint_every": EVERY, "log_every": 3})
        seen.append(Ended(state, result))
        return result

    torch.manual_seed(0)
    training.run = watched
    try:
        TRAINERS[name]({"steps": steps, "folder": folder, "progress": False})
    except KeyboardInterrupt:
        if not seen:
            raise
    finally:
        training.run = real
    return seen[-1]
