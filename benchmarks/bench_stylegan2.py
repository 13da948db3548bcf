"""A training step of StyleGAN2 at 64×64, against plain code and two packages.

Batch 8, 256 channels (128 at 64 pixels), 512 dimensions of z, 8 mapping layers. A step is one round
of the game, the discriminator's update and the generator's, and the share of the two regularisers
that falls to it: R1 after every 16th step, path length, on half a batch, after every 4th. The three
parts are timed one by one and added up. Every side plays the same round, with the same losses and
optimisers; only the networks differ:

- *plain*: the course's architecture written as the paper has it. Weights are built for every
  sample and convolved in groups; images are resampled by inserting zeros, padding and filtering;
  maps lie in memory one after the other. It begins with the course's weights.
- *stylegan2-torch*: the same architecture. It does not run on a CPU as shipped: it needs a compiled
  filter, for which the plain one stands in here. In *channelwise* every channel of every sample is
  an image of its own, as in the code that it descends from when that has no compiled filter. Its
  images are grey, which is a little less to do.
- *stylegan2-pytorch*: an architecture of its own with as many channels; its discriminator is half
  as large again. It asks for a GPU when imported, and is told that there is one.
- *course, grouped* and *course, scaled* (only with `--sides`): every modulated convolution in one
  of its two formulations.

The course aims at 0.45 of stylegan2-pytorch's time and 0.4 of stylegan2-torch's. What is left to
gain is in the last table: most of a step are the networks' convolutions, which every side computes.
Where these alone take longer than the aim, no code around them can meet it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import math
import statistics
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest import mock

import harness
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit import stylegan2, stylegan2_discriminator, stylegan2_networks
from coursekit.bench_results import Side, Table, duration
from coursekit.core import runtime

PARTS = {"step": 1, "path length": 4, "R1": 16}  # each comes after every so many steps
R1, PATH = 1.0, 2.0
PEERS = ("stylegan2-torch", "stylegan2-pytorch")
WAYS = {f"course, {way}": way for way in ("grouped", "scaled")}
CHANNELWISE = "stylegan2-torch, channelwise"


@dataclass
class Networks:
    """What a round needs to know of a side.

    Attributes:
        generator, discriminator: for the optimisers.
        style: z (N, latent) → one w for each layer.
        draw: those → images.
        judge: images → logits (N,).
        inside: entered around every part.
        channels: of the images.
    """

    generator: nn.Module
    discriminator: nn.Module
    style: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor], Tensor]
    judge: Callable[[Tensor], Tensor]
    inside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    channels: int = 3


class Synthesis(nn.Module):
    """Lets `stylegan2.path_length_step` ask for ``generator.synthesis`` of any side."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.synthesis = networks.draw


class Judge(nn.Module):
    """A discriminator that gives (N,), whatever the package's own gives."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.network, self.ask = networks.discriminator, networks.judge

    def forward(self, images: Tensor) -> Tensor:
        return self.ask(images).flatten()


# --- Plain code ----------------------------------------------------------------------------------


def plain_modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    kernel: Tensor | None = None,
    way: str = "",
) -> Tensor:
    """Karras et al. 2020, equations 1 to 3, as they stand: weights for every sample."""
    count, inputs = x.shape[:2]
    own = weight[None] * style[:, None, :, None, None]
    if demodulate:
        own = own * (own.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x, side = x.reshape(1, count * inputs, *x.shape[2:]), weight.shape[-1]
    if kernel is None:
        found = F.conv2d(x, own.flatten(0, 1), padding=side // 2, groups=count)
    else:
        turned = own.transpose(1, 2).flatten(0, 1)
        found = F.conv_transpose2d(x, turned, stride=2, groups=count)
        found = plain_upfirdn(found, kernel, padding=(1, 1), gain=4.0)
    return found.reshape(count, -1, *found.shape[2:])


def plain_upfirdn(
    x: Tensor,
    kernel: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int] = (0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Zeros after every pixel, padding, one convolution a channel; torch differentiates it."""
    count, channels, height, width = x.shape
    wide = x.new_zeros(count, channels, height, up, width, up)
    wide[:, :, :, 0, :, 0] = x
    wide = F.pad(wide.reshape(count, channels, height * up, width * up), (*padding, *padding))
    weight = (kernel.flip(0, 1) * gain).to(x).expand(channels, 1, -1, -1)
    return F.conv2d(wide, weight, stride=down, groups=channels)


def plain_upsample(x: Tensor, kernel: Tensor) -> Tensor:
    return plain_upfirdn(x, kernel, up=2, padding=(2, 1), gain=4.0)


def plain_downsample(x: Tensor, kernel: Tensor) -> Tensor:
    return plain_upfirdn(x, kernel, down=2, padding=(1, 1))


def plain_blur(x: Tensor, kernel: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    return plain_upfirdn(x, kernel, padding=(padding, padding), gain=gain)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Inside, the course's networks use the functions above."""
    changes = [
        (stylegan2_networks, "modulated_conv2d", plain_modulated_conv2d),
        (stylegan2_networks, "upsample", plain_upsample),
        (stylegan2_discriminator, "downsample", plain_downsample),
        (stylegan2_discriminator, "blur", plain_blur),
    ]
    with contextlib.ExitStack() as stack:
        for change in changes:
            stack.enter_context(mock.patch.object(*change))
        yield


@contextlib.contextmanager
def always(way: str) -> Iterator[None]:
    """Inside, every modulated convolution takes one of its two formulations."""
    usual = stylegan2_networks.modulated_conv2d

    def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, **options: object) -> Tensor:
        return usual(x, weight, style, **options | {"way": way})

    with mock.patch.object(stylegan2_networks, "modulated_conv2d", modulated_conv2d):
        yield


# --- The sides -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What is compared: 64 pixels, a resolution r has min(base / r, most) channels."""

    size: int = 64
    base: int = 8192
    most: int = 256
    latent: int = 512
    batch: int = 8
    device: str = "cpu"

    @property
    def sizes(self) -> stylegan2.Sizes:
        return stylegan2.Sizes(self.size, base=self.base, most=self.most)


def course(setting: Setting, precision: str = "float32", inside: object = None) -> Networks:
    torch.manual_seed(0)
    made = stylegan2.Generator(setting.sizes, latent=setting.latent, precision=precision)
    judge = stylegan2.Discriminator(setting.sizes, precision=precision)
    made, judge = made.to(setting.device), judge.to(setting.device)
    return Networks(
        made, judge, made.styles, made.synthesis, judge, inside or contextlib.nullcontext
    )


def plain(setting: Setting) -> Networks:
    """The course's networks and weights, in the usual memory format, inside of `plainly`."""
    found = course(setting, inside=plainly)
    for network in (found.generator, found.discriminator):
        network.to(memory_format=torch.contiguous_format)
    return found


def stylegan2_torch(setting: Setting, channelwise: bool = False) -> Networks:
    """Plain code stands in for its extension, which only a CUDA compiler could build."""
    with mock.patch("torch.utils.cpp_extension.load", lambda *args, **options: None):
        package = importlib.import_module("stylegan2_torch")
    plain = {
        "upfirdn2d": _channelwise if channelwise else _filtered,
        "fused_leaky_relu": _leaky_relu,
    }
    places = [
        (module, name, function)
        for module in [m for n, m in sys.modules.items() if n.startswith("stylegan2_torch.")]
        for name, function in plain.items()
        if callable(getattr(module, name, None))
    ]

    @contextlib.contextmanager
    def inside() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for place in places:
                stack.enter_context(mock.patch.object(*place))
            yield

    torch.manual_seed(0)
    channels = {r: setting.sizes.width(r) for r in setting.sizes.resolutions}
    made = package.Generator(setting.size, setting.latent, 8, 0.01, channels)
    judge = package.Discriminator(setting.size, channels)
    made, judge = made.to(setting.device), judge.to(setting.device)

    def style(z: Tensor) -> Tensor:
        return made.mapping(z)[:, None].repeat(1, made.n_w_plus, 1)

    def draw(w: Tensor) -> Tensor:
        return made([w], input_type="w_plus")

    return Networks(made, judge, style, draw, judge, inside, channels=1)


def _filtered(
    x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)
) -> Tensor:
    return plain_upfirdn(x, kernel, up=up, down=down, padding=pad)


def _leaky_relu(
    x: Tensor, bias: Tensor | None = None, negative_slope: float = 0.2, scale: float = 2**0.5
) -> Tensor:
    if bias is not None:
        x = x + bias.view(1, -1, *[1] * (x.dim() - 2))
    return F.leaky_relu(x, negative_slope) * scale


def _channelwise(
    x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)
) -> Tensor:
    found = _filtered(x.reshape(-1, 1, *x.shape[2:]), kernel, up, down, pad)
    return found.reshape(*x.shape[:2], *found.shape[2:])


def stylegan2_pytorch(setting: Setting) -> Networks:
    """Its module asks for a GPU and more when it is imported; these networks need none of it."""
    unused = {name: types.ModuleType(name) for name in ("aim", "vector_quantize_pytorch")}
    unused["vector_quantize_pytorch"].VectorQuantize = None
    with (
        mock.patch.dict(sys.modules, unused),
        mock.patch.object(torch.cuda, "is_available", lambda: True),
    ):
        package = importlib.import_module("stylegan2_pytorch.stylegan2_pytorch")

    torch.manual_seed(0)
    last = setting.sizes.width(setting.size)
    options = {"fmap_max": setting.most}
    mapping = package.StyleVectorizer(setting.latent, 8)
    made = package.Generator(setting.size, setting.latent, last // 2, **options)
    judge = package.Discriminator(setting.size, last // 4, **options)
    both = nn.ModuleList([mapping, made]).to(setting.device)
    judge = judge.to(setting.device)

    def draw(w: Tensor) -> Tensor:
        return made(w, torch.rand(len(w), setting.size, setting.size, 1, device=w.device))

    def style(z: Tensor) -> Tensor:
        return mapping(z)[:, None].repeat(1, made.num_layers, 1)

    return Networks(both, judge, style, draw, lambda images: judge(images)[0])


def sides(setting: Setting) -> dict[str, Callable[[], Networks]]:
    """Every side that is there, those in `WAYS` included."""
    found = {
        "plain": lambda: plain(setting),
        "course, float32": lambda: course(setting),
        "course, bfloat16": lambda: course(setting, "bfloat16"),
        **{
            name: lambda way=way: course(setting, inside=functools.partial(always, way))
            for name, way in WAYS.items()
        },
    }
    makers = {"stylegan2-torch": stylegan2_torch, "stylegan2-pytorch": stylegan2_pytorch}
    for name in PEERS:
        if harness.is_there(name):
            found[name] = lambda name=name: makers[name](setting)
    if PEERS[0] in found:
        found[CHANNELWISE] = lambda: stylegan2_torch(setting, channelwise=True)
    return found


def chosen(setting: Setting, options: argparse.Namespace) -> list[str]:
    """The names given, else all but `WAYS`, and bfloat16 where it makes sense."""
    there = list(sides(setting))
    for name in options.sides or ():
        if name not in there:
            raise SystemExit(f"There is no side {name!r} here, only {', '.join(there)}.")
    left_out = {*WAYS} if harness.multiplies_bfloat16(options) else {*WAYS, "course, bfloat16"}
    return options.sides or [name for name in there if name not in left_out]


# --- A round -------------------------------------------------------------------------------------


def parts(networks: Networks, setting: Setting) -> dict[str, Callable[[], dict[str, float]]]:
    """The three parts of a round, each of which makes an update."""
    rates = {"lr": 2e-3, "betas": (0.0, 0.99)}
    g_optimiser = torch.optim.Adam(networks.generator.parameters(), **rates)
    d_optimiser = torch.optim.Adam(networks.discriminator.parameters(), **rates)
    judge, holder, goal = Judge(networks), Synthesis(networks), stylegan2.PathLength()
    goal.to(setting.device)
    random = runtime.generator(0)
    shape = setting.batch, networks.channels, setting.size, setting.size
    real = (2 * torch.rand(shape, generator=random) - 1).to(setting.device)
    z = torch.randn(setting.batch, setting.latent, generator=random).to(setting.device)

    def step() -> dict[str, Tensor]:
        fake = networks.draw(networks.style(z))
        terms = stylegan2.discriminator_step(judge, d_optimiser, real, fake)
        return terms | stylegan2.generator_step(judge, g_optimiser, fake)

    def path() -> dict[str, Tensor]:
        styles = networks.style(z[: setting.batch // 2])
        weight = PATH * PARTS["path length"]
        return stylegan2.path_length_step(holder, g_optimiser, goal, styles, weight)

    def r1() -> dict[str, Tensor]:
        return stylegan2.r1_step(judge, d_optimiser, real, R1 * PARTS["R1"])

    def ready(part: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            with networks.inside():  # reading the terms waits for a GPU
                return {name: float(value) for name, value in part().items()}

        return run

    return dict(zip(PARTS, map(ready, (step, path, r1)), strict=True))


def check_agreement(setting: Setting) -> str:
    """Stop unless plain code and the course report the same terms of the first of each part."""
    small = Setting(setting.size, 1024, 32, 32, 4, setting.device)
    farthest = 0.0
    for part in PARTS:
        found = []
        for name in ("plain", "course, float32"):
            run = parts(sides(small)[name](), small)[part]
            torch.manual_seed(1)
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                found.append(run())
        for name, value in found[0].items():
            if not math.isclose(value, found[1][name], rel_tol=2e-3, abs_tol=2e-4):
                sys.exit(f"{part}, {name}: plain {value:.6f}, course {found[1][name]:.6f}.")
            farthest = max(farthest, abs(value - found[1][name]) / max(abs(value), 0.1))
    return (
        "plain code and the course report the same terms of every part in a small network, "
        f"to {farthest:.1e}"
    )


def amortised(seconds: dict[str, list[float]], name: str) -> list[float]:
    """Seconds of a step with its share of both regularisers, for each round."""
    columns = zip(*(seconds[f"{name}/{part}"] for part in PARTS), strict=True)
    return [sum(s / n for s, n in zip(c, PARTS.values(), strict=True)) for c in columns]


def steps(setting: Setting, names: list[str], options: argparse.Namespace) -> Table:
    check = check_agreement(setting)
    made = {name: sides(setting)[name]() for name in names}
    race = {
        f"{name}/{part}": run
        for name, networks in made.items()
        for part, run in parts(networks, setting).items()
    }
    seconds = harness.race(race, options, warm_up=1)
    return harness.table(
        f"a step, batch {setting.batch}, {setting.most} channels",
        {name: amortised(seconds, name) for name in names},
        check=check,
        references=[name for name in names if not name.startswith("course")] or names[:1],
        more={name: _apart(seconds, name) for name in names},
        peaks=harness.peaks(options, names),
        notes=[
            f"Parameters, generator and discriminator: {'; '.join(map(_counts, made.items()))}."
        ],
    )


def _apart(seconds: dict[str, list[float]], name: str) -> dict[str, str]:
    """The three parts in cells of their own."""
    medians = {part: statistics.median(seconds[f"{name}/{part}"]) for part in PARTS}
    titles = {"step": "of it G and D", "path length": "a path length step", "R1": "an R1 step"}
    return {titles[part]: duration(1e3 * median) for part, median in medians.items()}


def _counts(side: tuple[str, Networks]) -> str:
    name, networks = side
    pair = networks.generator, networks.discriminator
    counts = [sum(p.numel() for p in network.parameters()) / 1e6 for network in pair]
    return f"{name} {counts[0]:.1f} and {counts[1]:.1f} million"


# --- Memory, and where the time goes -------------------------------------------------------------


def peak(options: argparse.Namespace, name: str) -> Callable[[], object]:
    """A round of everything."""
    setting = setting_of(options)
    runs = parts(sides(setting)[name](), setting)
    return lambda: [run() for run in runs.values()]


def profile(setting: Setting, name: str, shown: int = 8) -> Table:
    """The operations of one step by their own time, the regularisers left out."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    run = parts(sides(setting)[name](), setting)["step"]
    run()
    on_gpu = "cuda" in setting.device
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with watch(activities=activities) as watched:
        run()
    events = watched.key_averages()
    taken = {e.key: e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events}
    counts, total = {event.key: event.count for event in events}, sum(taken.values())
    rows = [
        Side(
            key,
            more={"share of the time": f"{taken[key] / total:.0%}", "calls": str(counts[key])},
        )
        for key in sorted(taken, key=taken.get, reverse=True)[:shown]
    ]
    alone = sum(time for key, time in taken.items() if "convolution" in key) / 1e3
    whole = duration(sum(taken.values()) / 1e3)
    note = f"Convolutions alone, filters among them: {duration(alone)} of these {whole}."
    notes = () if on_gpu else (note,)
    return Table(f"where a step's time goes: {name}", tuple(rows), 1, notes=notes)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--most", type=int, default=256, help="channels at most; half at 64 px")
    parser.add_argument("--sides", nargs="+", help="all but the two formulations by default")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, only")


def setting_of(options: argparse.Namespace) -> Setting:
    base = options.most * 32  # half as many channels at 64 pixels as at most
    return Setting(base=base, most=options.most, batch=options.batch, device=options.device)


def measure(options: argparse.Namespace) -> Iterator[Table | str]:
    setting = setting_of(options)
    yield from harness.missing(*PEERS)
    names = chosen(setting, options)
    if not options.profile:
        yield steps(setting, names, options)
    if not harness.multiplies_bfloat16(options):
        yield harness.WITHOUT_BFLOAT16
    for name in names:
        if name.startswith("course, ") or options.profile:
            yield profile(setting, name)


if __name__ == "__main__":
    harness.main(__file__, measure, rounds=5, peak=peak, add_options=add_options)
