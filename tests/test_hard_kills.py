"""SIGKILL and SIGINT at random moments of every trainer and every pixel optimiser."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from hard_trainers import TRAINERS, bytes_of
from torch import Tensor

from coursekit import dfi, dfi_identity, gatys, inversion, stylegan2, texture
from coursekit import stylegan2_projection as projection
from coursekit.core import interrupts, optimise
from coursekit.core.runtime import generator
from coursekit.recipes import RECIPES

PACKAGE = str(Path(optimise.__file__).parents[1])

# --- Trainers -------------------------------------------------------------------------------------


def run_lives(checkout: Path, folder: Path, count: int, steps: int) -> list[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    program = checkout / "tests" / "training_kills.py"
    done = subprocess.run(
        [sys.executable, str(program), str(folder), str(count), str(steps)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has neither fork nor SIGKILL")
def test_every_trainer_is_killed_and_interrupted_and_ends_as_if_undisturbed(
    tmp_path: Path, checkout: Path
) -> None:
    told = run_lives(checkout, tmp_path, count=2, steps=9)
    assert [line.split(": 2 lives")[0] for line in told] == list(TRAINERS)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has neither fork nor SIGKILL")
def test_every_trainer_ended_again_and_again_ends_as_if_undisturbed(
    tmp_path: Path, checkout: Path
) -> None:
    told = run_lives(checkout, tmp_path, count=6, steps=30)
    assert [line.split(":")[0] for line in told] == list(TRAINERS)
    lived = [int(line.split(": ")[1].split(" ")[0]) for line in told]
    assert min(lived) >= 3 and sum(lived) >= 5 * len(lived)


def test_every_topic_that_trains_is_among_the_trainers() -> None:
    letters = {"".join(filter(str.isalnum, name)).lower() for name in TRAINERS}
    for topic in RECIPES:
        wanted = topic.replace("_", "").removesuffix("er").replace("recognise", "recogniser")
        assert any(name.startswith(wanted) for name in letters), topic


# --- Pixel optimisers -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Python's usual handler; a shell's background job begins without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Moments:
    """Counts the lines that the package runs, and presses Ctrl-C at some of them.

    Args:
        at: numbers of lines, from 1; one that stands there twice is pressed twice.
        file: count the lines of files that end so.
    """

    def __init__(self, *at: int, file: str = "") -> None:
        self.at, self.file, self.lines = at, file, 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGE) or not path.endswith(self.file):
            return None
        if event == "line":
            self.lines += 1
            for _ in range(self.at.count(self.lines)):
                signal.raise_signal(signal.SIGINT)
        return self

    def __enter__(self) -> Moments:
        self.before = sys.gettrace()  # that of a coverage measurement
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)


def picture(size: int = 32, seed: int = 1) -> Tensor:
    return bytes_of(1, 3, size, size, seed=seed).float() / 255


def distance(image: Tensor) -> dict[str, Tensor]:
    target = torch.linspace(0, 1, image.numel()).view_as(image)
    return {"distance": (image - target).square().mean()}


def generated() -> tuple[stylegan2.Generator, Tensor]:
    torch.manual_seed(0)
    sizes = stylegan2.Sizes(8, base=64, most=8)
    made = stylegan2.Generator(sizes, latent=6, mapping_layers=2).eval().requires_grad_(False)
    return made, picture(8)


def squared(images: Tensor, others: Tensor) -> Tensor:
    return (images - others).square().flatten(1).sum(dim=1)


QUIET: dict[str, Any] = {"progress": False}
OPTIMISERS: dict[str, Callable[[], Any]] = {
    "L-BFGS": lambda: optimise.optimise_pixels(distance, picture(4), steps=2, **QUIET),
    "Adam": lambda: optimise.optimise_pixels(
        distance, picture(4), steps=2, method="adam", snapshots=2, **QUIET
    ),
    "coarse to fine": lambda: optimise.coarse_to_fine(
        lambda size: distance, picture(8), [4, 8], 1, method="adam", **QUIET
    ),
    "inversion": lambda: inversion.invert("vgg16", "conv1_2", picture(), steps=4, **QUIET),
    "texture": lambda: texture.synthesise(picture(), "pool1", steps=3, coarse_steps=2, **QUIET),
    "style": lambda: gatys.stylise(
        picture(),
        picture(seed=2),
        content_layers=["relu1_2"],
        style_layers=["relu1_1"],
        sizes=[16, 32],
        steps=2,
        **QUIET,
    ),
    "DFI": lambda: dfi.reconstruct(
        lambda images: images.flatten(1),
        torch.rand(1, 192, generator=generator(0)),
        picture(8),
        steps=4,
        **QUIET,
    ),
    "DFI with identity": lambda: dfi_identity.reconstruct_mixed(
        lambda images: images.flatten(1),
        dfi_identity.IdentityNetwork(size=16, width=4).eval(),
        torch.rand(1, 768, generator=generator(0)),
        picture(16),
        0.5,
        steps=4,
        **QUIET,
    ),
    "projection": lambda: projection.project(*generated(), squared, steps=3, **QUIET),
}


def steps_of(result: Any) -> int:
    return len(result.history)


def press(name: str, whole: Any, *at: int, file: str = "") -> Any:
    """The optimiser's result when Ctrl-C comes at a line; None when it came outside the search.

    It was stopped on demand, unless the search was over, and says so.
    """
    with Moments(*at, file=file):
        try:
            result = OPTIMISERS[name]()
        except KeyboardInterrupt:
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            return None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert result.interrupted or steps_of(result) == steps_of(whole), at
    image = result.picture if isinstance(result, projection.Projection) else result.image
    assert bool(torch.isfinite(image).all()), at
    assert float(image.min()) >= 0 and float(image.max()) <= 1, at
    return result


@pytest.mark.parametrize("name", ["L-BFGS", "Adam", "coarse to fine"])
def test_an_interrupt_between_any_two_lines_keeps_the_best_image(name: str) -> None:
    """One run for every line of optimise.py that it comes through, with Ctrl-C at that line."""
    with Moments(file="optimise.py") as counted:
        whole = OPTIMISERS[name]()
    assert counted.lines > 60
    kept = []
    for line in range(1, counted.lines + 1):
        result = press(name, whole, line, file="optimise.py")
        if result is None:
            continue
        kept.append(line)
        assert [entry["step"] for entry in result.history] == list(range(1, result.steps + 1))
        if result.history:
            shown = float(distance(result.image)["distance"])
            assert shown == pytest.approx(result.loss, abs=1e-6), line
    # It is lost only before the search begins and on the way out of the function.
    assert kept == list(range(kept[0], kept[-1] + 1))
    assert kept[0] < 45 and counted.lines - kept[-1] <= 3


@pytest.mark.parametrize("name", ["L-BFGS", "Adam"])
def test_a_second_interrupt_stops_at_once_and_keeps_the_best_image(name: str) -> None:
    with Moments(file="optimise.py") as counted:
        whole = OPTIMISERS[name]()
    for line in range(60, counted.lines - 8, 4):
        result = press(name, whole, line, line, file="optimise.py")
        assert result.interrupted
        shown = float(distance(result.image)["distance"])
        assert not result.history or shown <= result.loss + 1e-6


def press_at_random(name: str, count: int, seed: int) -> None:
    with Moments() as counted:
        whole = OPTIMISERS[name]()
    chance, kept = random.Random(seed), 0
    for _ in range(count):
        result = press(name, whole, chance.randint(1, counted.lines))
        if result is not None:
            kept += 1
            found, expected = (
                [e.get("total", e.get("distance")) for e in each.history]
                for each in (result, whole)
            )
            assert found == pytest.approx(expected[: len(found)], rel=1e-3)
    assert kept


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_interrupt_at_a_random_moment_keeps_what_there_is(name: str) -> None:
    press_at_random(name, 3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMISERS)
def test_interrupts_at_many_random_moments_keep_what_there_is(name: str) -> None:
    press_at_random(name, 25, seed=2)


def test_a_button_inside_a_button_is_the_same_one() -> None:
    with interrupts.stop_button() as outer:
        with interrupts.stop_button() as inner:
            signal.raise_signal(signal.SIGINT)
        assert inner is outer and outer.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_between_two_sizes_is_heard() -> None:
    """While the larger targets are computed, which takes a while."""

    def make_loss(size: int) -> optimise.Loss:
        if size == 8:
            signal.raise_signal(signal.SIGINT)
        return distance

    result = optimise.coarse_to_fine(make_loss, picture(8), [4, 8], 3, **QUIET)
    assert result.interrupted
    assert result.steps == 3 and result.image.shape[-1] == 4
