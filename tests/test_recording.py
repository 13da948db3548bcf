"""Recorded steps: nothing changes without a GPU, and with one the numbers stay the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from coursekit import progan, stylegan2
from coursekit.core import recording
from coursekit.core.recording import Recorder

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="records on a GPU only")


def doubled(x: Tensor) -> dict[str, Tensor]:
    return {"twice": 2 * x}


def test_without_a_gpu_every_call_is_the_step_s() -> None:
    recorder = Recorder()
    for value in range(6):
        assert float(recorder("key", doubled, torch.tensor(float(value)))["twice"]) == 2 * value
    assert not recorder.recordings


class Replay:
    """Stands in for a CUDA graph: plays the step on what lies at its places."""

    def __init__(self, step: Callable[..., dict[str, Tensor]], places: tuple[Tensor, ...]) -> None:
        self.step, self.places, self.terms = step, places, {"twice": torch.zeros(())}

    def replay(self) -> None:
        self.terms["twice"].copy_(self.step(*self.places)["twice"])


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As if there were a GPU; notes how each step was played."""
    how: list[str] = []

    def aside(step: Callable[..., dict[str, Tensor]], inputs: tuple[Tensor, ...]) -> object:
        how.append("aside")
        return step(*inputs)

    def record(step: Callable[..., dict[str, Tensor]], inputs: tuple[Tensor, ...]) -> object:
        how.append("recorded")
        replay = Replay(step, tuple(each.clone() for each in inputs))
        return replay, replay.places, replay.terms

    monkeypatch.setattr(recording, "_on_gpu", lambda inputs: True)
    monkeypatch.setattr(recording, "_aside", aside)
    monkeypatch.setattr(recording, "_record", record)
    return how


def test_a_step_is_recorded_after_three_plays_and_then_gets_new_inputs(noted: list[str]) -> None:
    recorder = Recorder()
    for value in range(7):
        assert float(recorder("key", doubled, torch.tensor(float(value)))["twice"]) == 2 * value
    assert noted == ["aside", "aside", "aside", "recorded"]


def test_every_key_has_its_own_recording(noted: list[str]) -> None:
    recorder = Recorder()
    for value in range(5):
        recorder("a", doubled, torch.tensor(float(value)))
    recorder("b", doubled, torch.ones(3))
    assert noted == ["aside", "aside", "aside", "recorded", "aside"]
    assert list(recorder.recordings) == ["a"]


def test_a_copy_has_no_recordings(noted: list[str]) -> None:
    recorder = Recorder()
    for value in range(4):
        recorder("key", doubled, torch.tensor(float(value)))
    copied = copy.deepcopy(recorder)
    assert recorder.recordings and not copied.recordings
    copied("key", doubled, torch.tensor(1.0))
    assert noted[-1] == "aside"


def test_on_a_cpu_an_optimiser_has_plain_numbers_again() -> None:
    optimiser = torch.optim.Adam(nn.Linear(2, 2).parameters(), lr=0.25)
    for group in optimiser.param_groups:  # as a checkpoint of a GPU has them
        group.update(capturable=True, lr=torch.tensor(0.25))
    recording.prepare(optimiser)
    recording.prepare(optimiser)
    assert optimiser.param_groups[0]["capturable"] is False
    assert optimiser.param_groups[0]["lr"] == 0.25
    assert not isinstance(optimiser.param_groups[0]["lr"], Tensor)


def test_a_rate_is_set_where_a_recording_reads_it() -> None:
    optimiser = torch.optim.Adam(nn.Linear(2, 2).parameters(), lr=0.25)
    recording.set_rate(optimiser, 0.5)
    assert optimiser.param_groups[0]["lr"] == 0.5
    place = torch.tensor(0.25)
    optimiser.param_groups[0]["lr"] = place
    recording.set_rate(optimiser, 0.125)
    assert optimiser.param_groups[0]["lr"] is place
    assert float(place) == 0.125


@GPU
def test_stylegan2_s_round_can_be_recorded() -> None:
    torch.manual_seed(0)
    sizes = stylegan2.Sizes(16, base=128, most=8)
    game = stylegan2.Game(
        stylegan2.Generator(sizes, latent=8).cuda(), stylegan2.Discriminator(sizes).cuda()
    )
    real = torch.rand(8, 3, 16, 16, device="cuda")
    for number in range(1, 81):
        game.slow_down(1 - number / 100)
        terms = {name: float(value) for name, value in game.step(number, real).items()}
        assert all(abs(value) < 1e4 for value in terms.values())
    assert len(game.recorder.recordings) == 3
    assert set(terms) >= {"d_loss", "g_loss", "r1", "path_length"}


@GPU
def test_progan_s_round_can_be_recorded_and_fades() -> None:
    torch.manual_seed(0)
    schedule = progan.Schedule((progan.Level(4, 8, 0, 64), progan.Level(8, 8, 80, 80)))
    made = progan.networks(progan.Widths(8, base=64, most=8), latent=8, device="cuda")
    game = progan.Game(*made, schedule)
    data = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)

    class Pictures:
        def __len__(self) -> int:
            return len(data)

        def batch(self, indices: Tensor, device: torch.device) -> dict[str, Tensor]:
            return {"image": data[indices].to(device).float() / 255}

    feed = progan.Feed(Pictures(), schedule, device="cuda")
    for number in range(1, schedule.steps + 1):
        terms = game.step(number, feed)
        assert all(abs(float(value)) < 1e4 for value in terms.values())
    assert len(game.recorder.recordings) == 3
