"""Stopped and gone on with, a training ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_toy import Toy, same, without_seconds

from coursekit.core import training
from coursekit.core.errors import SettingError

STEPS = 23


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[torch.Tensor], training.TrainingResult]:
    toy = Toy()
    result = toy.run(STEPS, preview=toy.preview, previews=6)
    return toy.everything(), result


def disturb() -> None:
    """What another cell of a notebook may do between two runs."""
    torch.manual_seed(77)
    random.seed(77)
    np.random.seed(77)


# --- Going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [[1], [5], [22], [3, 7, 8, 16]], ids=str)
def test_a_resumed_training_ends_with_exactly_the_same(stops, undisturbed, tmp_path: Path) -> None:
    for start, stop in enumerate([*stops, STEPS]):
        disturb()
        toy = Toy(start=start)  # every part is new, with other weights
        result = toy.run(stop, tmp_path)
        assert result.steps == stop
    assert same(toy.everything(), undisturbed[0])


@pytest.mark.parametrize("every", [4, 9])
def test_a_training_that_was_killed_goes_on_from_its_last_checkpoint(
    every: int, undisturbed, tmp_path: Path
) -> None:
    """Killed in the middle of a step: what came after the checkpoint is done again."""
    toy = Toy()

    def dies(number: int):
        if number == 14:
            raise MemoryError("killed")
        return toy.step(number)

    options = {"checkpoint_every": every, "progress": False, "log_every": 5, "previews": 6}
    with pytest.raises(MemoryError):
        training.run(
            dies, toy.state(), steps=STEPS, folder=tmp_path, preview=toy.preview, **options
        )
    disturb()
    toy = Toy(start=4)
    result = toy.run(STEPS, tmp_path, checkpoint_every=every, preview=toy.preview, previews=6)
    assert len(toy.drawn) == STEPS - 13 // every * every
    assert same(toy.everything(), undisturbed[0])
    expected = undisturbed[1]
    assert without_seconds(result.history) == without_seconds(expected.history)
    assert result.timeline.frames == expected.timeline.frames


@pytest.mark.parametrize("left_out", ["net", "optimiser", "schedule", "ema", "batches", "random"])
def test_every_part_of_the_state_is_needed(left_out: str, undisturbed, tmp_path: Path) -> None:
    """The comparison sees it when one part is not brought back."""
    for start, stop in enumerate([10, STEPS]):
        toy = Toy(start=start)
        state = {name: part for name, part in toy.state().items() if name != left_out}
        training.run(toy.step, state, steps=stop, folder=tmp_path, progress=False)
    assert not same(toy.everything(), undisturbed[0])


def test_history_seconds_go_on(tmp_path: Path) -> None:
    first = Toy().run(10, tmp_path)
    second = Toy().run(20, tmp_path)
    assert second.history[:2] == first.history
    seconds = second.curve("seconds")
    assert seconds == sorted(seconds)
    assert second.seconds > first.seconds > 0


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    toy = Toy()
    first = toy.run(8, tmp_path, preview=toy.preview)
    learnt, written = toy.everything(), (tmp_path / "checkpoint.pt").read_bytes()
    toy = Toy(start=3)
    again = toy.run(8, tmp_path, preview=toy.preview)
    assert same(toy.everything(), learnt)
    assert not toy.drawn
    assert again.steps == 8
    assert not again.interrupted
    assert again.history == first.history
    assert again.timeline.frames == first.timeline.frames
    assert (tmp_path / "checkpoint.pt").read_bytes() == written
    assert Toy().run(5, tmp_path).steps == 8


def test_resume_false_starts_anew(tmp_path: Path) -> None:
    Toy(start=1).run(9, tmp_path)
    toy = Toy()
    result = toy.run(6, tmp_path, resume=False)
    learnt, fresh = toy.everything(), Toy()
    fresh.run(6)
    assert same(learnt, fresh.everything())
    assert result.steps == 6
    assert training.restore(tmp_path, Toy().state()) == 6


# --- A checkpoint that does not fit ---------------------------------------------------------------


def other_layers(toy: Toy) -> None:
    toy.net = nn.Linear(6, 2)


def other_kind(toy: Toy) -> None:
    toy.net, toy.random = toy.random, toy.net


def other_name(toy: Toy) -> None:
    toy.state = lambda: {"critic": toy.net}


def other_optimiser(toy: Toy) -> None:
    groups = [{"params": [weight]} for weight in toy.net.parameters()]
    toy.optimiser = torch.optim.Adam(groups, 0.01)


def other_order(toy: Toy) -> None:
    toy.batches.seed = 1


def other_data(toy: Toy) -> None:
    toy.batches.data = toy.batches.data[:20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_layers, "'net' in .* does not fit"),
        (other_kind, "'(net|random)' in .* does not fit"),
        (other_name, r"holds \[.*\], the training \['critic'\]"),
        (other_optimiser, "'optimiser' in .* does not fit"),
        (other_order, "23 entries with seed 0, these from 23 with seed 1"),
        (other_data, "23 entries with seed 0, these from 20"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(change, message, tmp_path: Path) -> None:
    Toy(start=1).run(6, tmp_path)
    written = (tmp_path / "checkpoint.pt").read_bytes()
    toy = Toy()
    change(toy)
    before = [part for name in ("net", "ema") for part in training_tensors(getattr(toy, name))]
    with pytest.raises(SettingError, match=message):
        toy.run(20, tmp_path)
    assert not toy.drawn
    assert (tmp_path / "checkpoint.pt").read_bytes() == written
    after = [part for name in ("net", "ema") for part in training_tensors(getattr(toy, name))]
    assert same(before, after)  # not half of one and half of the other
    assert toy.batches.drawn == 0


def training_tensors(part: object) -> list[torch.Tensor]:
    if isinstance(part, torch.Generator):
        return [part.get_state()]
    return [tensor.clone() for tensor in part.state_dict().values() if torch.is_tensor(tensor)]


# --- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's usual handler; a shell's background job begins without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_at(number: int, toy: Toy):
    def step(now: int):
        if now == number:
            signal.raise_signal(signal.SIGINT)
        return toy.step(now)

    return step


@pytest.mark.parametrize("number", [1, 7, 15])
def test_an_interrupt_finishes_the_step_and_saves(number: int, undisturbed, tmp_path: Path) -> None:
    toy, before = Toy(), signal.getsignal(signal.SIGINT)
    options = {"progress": False, "log_every": 5, "previews": 6}
    result = training.run(
        interrupted_at(number, toy),
        toy.state(),
        steps=STEPS,
        folder=tmp_path,
        preview=toy.preview,
        **options,
    )
    assert result.interrupted
    assert result.steps == len(toy.drawn) == number
    assert result.checkpoint == tmp_path / "checkpoint.pt"
    assert signal.getsignal(signal.SIGINT) is before
    disturb()
    toy = Toy(start=6)
    result = toy.run(STEPS, tmp_path, preview=toy.preview, previews=6)
    assert not result.interrupted
    assert same(toy.everything(), undisturbed[0])
    assert without_seconds(result.history) == without_seconds(undisturbed[1].history)
    assert result.timeline.frames == undisturbed[1].timeline.frames


def test_an_interrupt_in_the_last_step_is_no_interrupt() -> None:
    toy = Toy()
    result = training.run(interrupted_at(4, toy), toy.state(), steps=4, progress=False)
    assert result.steps == 4
    assert not result.interrupted


def test_a_second_interrupt_stops_at_once(ctrl_c, tmp_path: Path) -> None:
    toy, before = Toy(), signal.getsignal(signal.SIGINT)

    def step(number: int):
        if number == 6:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return toy.step(number)

    with pytest.raises(KeyboardInterrupt):
        training.run(
            step, toy.state(), steps=9, folder=tmp_path, checkpoint_every=4, progress=False
        )
    assert len(toy.drawn) == 5
    assert signal.getsignal(signal.SIGINT) is before
    assert training.restore(tmp_path, Toy().state()) == 4


def test_the_handler_is_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError):
        training.run(lambda number: {"loss": 1 / 0}, {}, steps=2, progress=False)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_training_in_another_thread(undisturbed, tmp_path: Path) -> None:
    toy, results = Toy(), []
    thread = threading.Thread(target=lambda: results.append(toy.run(STEPS, tmp_path)))
    thread.start()
    thread.join()
    assert results[0].steps == STEPS
    assert same(toy.everything(), undisturbed[0])
    assert training.restore(tmp_path, Toy().state()) == STEPS


@pytest.mark.parametrize(("rank", "writes"), [("0", True), ("1", False), ("12", False)])
def test_one_process_of_several_writes(rank: str, writes: bool, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RANK", rank)
    result = Toy().run(9, tmp_path / "run", checkpoint_every=2)
    assert result.steps == 9
    assert (tmp_path / "run").exists() == writes


# --- SIGKILL --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has neither fork nor SIGKILL")
def test_twenty_kills_at_random_moments(tmp_path: Path, checkout: Path) -> None:
    """A DCGAN, ended 20 times: the weights at the end are those of the undisturbed run.

    Every other trainer: test_hard_kills.py.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [
            sys.executable,
            str(checkout / "tests" / "training_kills.py"),
            str(tmp_path),
            *("20", "330", "DCGAN"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DCGAN: 20 lives" in done.stdout
