"""The training loop: what it calls, counts, times and keeps; batches, averages, precision."""

from __future__ import annotations

import itertools
import math
import random
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from training_toy import Toy, same, without_seconds

from coursekit.core import training
from coursekit.core.errors import SettingError
from coursekit.datasets.base import Dataset, Info


def run(step, steps: int | None = 10, **options) -> training.TrainingResult:
    return training.run(step, {}, steps=steps, **{"progress": False, **options})


# --- Steps and history ----------------------------------------------------------------------------


def test_the_step_is_called_with_its_number() -> None:
    numbers: list[int] = []

    def step(number: int) -> dict[str, float]:
        numbers.append(number)
        return {"loss": 0.0}

    result = run(step, 12)
    assert numbers == list(range(1, 13))
    assert result.steps == 12
    assert not result.interrupted
    assert result.checkpoint is None


@pytest.mark.parametrize(
    ("log_every", "steps", "expected"),
    [
        (1, 3, [(1, 1.0), (2, 4.0), (3, 9.0)]),
        (3, 6, [(3, 14 / 3), (6, 77 / 3)]),
        (4, 6, [(4, 7.5), (6, 30.5)]),  # the last entry is the mean of the two left over
        (50, 3, [(3, 14 / 3)]),
    ],
)
def test_an_entry_is_the_mean_since_the_last_one(log_every, steps, expected) -> None:
    result = run(lambda n: {"square": torch.tensor(float(n**2))}, steps, log_every=log_every)
    found = [(entry["step"], entry["square"]) for entry in result.history]
    assert [step for step, _ in found] == [step for step, _ in expected]
    np.testing.assert_allclose([v for _, v in found], [v for _, v in expected])


def test_terms_may_be_tensors_and_numbers_and_keep_no_graph() -> None:
    weight = torch.ones(1, requires_grad=True)
    result = run(lambda n: {"a": (weight * n).sum(), "b": n, "c": np.float32(2)}, 2, log_every=2)
    assert without_seconds(result.history) == [{"step": 2, "a": 1.5, "b": 1.5, "c": 2.0}]
    assert all(type(value) in (int, float) for value in result.history[0].values())


def test_curves() -> None:
    def step(number: int) -> dict[str, float]:
        return {"loss": float(number)} | ({"late": 1.0} if number > 1 else {})

    result = run(step, 3, log_every=1)
    assert result.curve("step") == [1, 2, 3]
    assert result.curve("loss") == [1, 2, 3]
    late = result.curve("late")
    assert math.isnan(late[0])
    assert late[1:] == [1, 1]
    with pytest.raises(SettingError, match=r"no 'gain'; it has step, seconds, loss, late"):
        result.curve("gain")
    with pytest.raises(SettingError, match="it has nothing"):
        training.TrainingResult().curve("loss")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": None}, "how long to train"),
        ({"steps": 0}, "count from 1"),
        ({"steps": -3}, "count from 1"),
        ({"checkpoint_every": 0}, "count from 1"),
        ({"log_every": 0}, "count from 1"),
        ({"previews": 0}, "count from 1"),
        ({"budget": "soon"}, "is no time"),
    ],
)
def test_settings_that_cannot_be(options, message) -> None:
    with pytest.raises(SettingError, match=message):
        run(lambda number: pytest.fail("it trained"), **options)


def test_a_step_that_returns_no_terms() -> None:
    with pytest.raises(SettingError, match=r"step\(1\) returned None; return the terms by name"):
        run(lambda number: None)


# --- Seeds ----------------------------------------------------------------------------------------


def test_the_same_seed_gives_exactly_the_same() -> None:
    learnt, histories = [], []
    for pollution in (0, 1):
        toy = Toy()
        torch.manual_seed(pollution)
        random.seed(pollution)
        np.random.seed(pollution)
        histories.append(without_seconds(toy.run(11, seed=8).history))
        learnt.append(toy.everything())
    assert same(*learnt)
    assert histories[0] == histories[1]
    other = Toy()
    other.run(11, seed=9)
    assert not same(other.everything(), learnt[0])


# --- Previews -------------------------------------------------------------------------------------


def wasteful(toy: Toy):
    def preview() -> Tensor:
        random.random()
        np.random.rand(3)
        return toy.preview() + 0 * torch.rand(1)

    return preview


def test_a_preview_does_not_change_the_training() -> None:
    """Nor does drawing it, whatever the two take from the global random numbers."""
    plain, watched, steps = Toy(), Toy(), []

    def callback(step: int, pictures: Tensor, history: list) -> None:
        steps.append(step)
        assert not pictures.requires_grad
        random.random(), np.random.rand(), torch.rand(2)

    plain.run(20)
    expected = plain.everything()
    result = watched.run(20, preview=wasteful(watched), callback=callback, previews=5)
    assert same(watched.everything(), expected)
    assert steps == result.timeline.steps == [0, 1, 3, 7, 13, 20]


def test_the_callback_gets_the_pictures_and_the_history() -> None:
    seen: list[tuple[int, float, int]] = []
    run(
        lambda number: {"loss": float(number)},
        6,
        log_every=2,
        preview=lambda: torch.full((2, 3, 4, 4), 1.7),
        previews=3,
        callback=lambda step, x, history: seen.append((step, float(x.max()), len(history))),
    )
    assert seen == [(0, 1.0, 0), (1, 1.0, 0), (3, 1.0, 1), (6, 1.0, 3)]  # clamped to [0, 1]


def test_frames_carry_the_latest_terms_and_what_it_is_about() -> None:
    timeline = run(
        lambda number: {"loss": float(number)},
        4,
        log_every=2,
        preview=lambda: torch.rand(4, 3, 4, 4),
        previews=2,
        about="noise",
    ).timeline
    assert timeline.about == "noise"
    assert [(step, terms) for step, _, terms in timeline.frames] == [
        (0, {}),
        (1, {}),
        (4, {"loss": 3.5}),
    ]


# --- Budgets --------------------------------------------------------------------------------------


class Clock:
    """A clock that only a step moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(training, "time", types.SimpleNamespace(perf_counter=lambda: self.now))

    def step(self, *seconds: float):
        """A step that takes these times, the last of them from then on."""
        times = itertools.chain(seconds, itertools.repeat(seconds[-1]))

        def step(number: int) -> dict[str, float]:
            self.now += next(times)
            return {"loss": 1.0}

        return step


@pytest.mark.parametrize(
    ("budget", "seconds", "steps"),
    [
        ("20 s", (0.5,), 40),
        ("20 s", (4.0, 4.0, 0.5), 26),  # two slow steps to warm up do not count as usual
        ("1 min", (3.0,), 20),
        (60, (3.0,), 20),
        ("10 s", (25.0,), 1),  # the time is over after the first step
        ("10 s", (0.5, 0.5, 4.0), 4),  # a single step is timed: two seconds of it are enough
    ],
)
def test_a_budget_ends_in_time(budget, seconds, steps, monkeypatch) -> None:
    clock = Clock(monkeypatch)
    result = run(clock.step(*seconds), None, budget=budget)
    assert result.steps == steps
    assert result.seconds == pytest.approx(clock.now - 1000)
    assert result.history[-1]["step"] == steps
    assert not result.interrupted


def test_steps_end_before_the_budget_does(monkeypatch) -> None:
    assert run(Clock(monkeypatch).step(0.5), 15, budget="1 h").steps == 15


def test_it_is_said_what_fits(monkeypatch, capsys) -> None:
    clock = Clock(monkeypatch)
    result = run(clock.step(0.5), 100, budget="20 s", progress=True)
    assert result.steps == 40
    said = "0.5 s a step on this device: 20 s are enough for about 40 steps. All 100 would take"
    assert said in capsys.readouterr().out


def test_the_budget_counts_for_this_call_and_seconds_for_all(tmp_path: Path, monkeypatch) -> None:
    options = {"folder": tmp_path, "budget": "20 s"}
    assert run(Clock(monkeypatch).step(0.5), None, **options).steps == 40
    result = run(Clock(monkeypatch).step(0.5), None, **options)
    assert result.steps == 80
    assert result.seconds == pytest.approx(40)


def test_previews_are_planned_once_the_steps_are_known(monkeypatch) -> None:
    preview = lambda: torch.rand(1, 3, 4, 4)  # noqa: E731
    result = run(Clock(monkeypatch).step(0.5), None, budget="20 s", preview=preview, previews=4)
    assert result.timeline.steps == [0, 10, 22, 40]  # 2 was over when the plan was made


# --- Batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("entries", "size"), [(12, 4), (13, 4), (7, 7), (5, 1)])
def test_an_epoch_is_a_permutation(entries: int, size: int) -> None:
    batches = training.Batches(torch.arange(entries), size)
    assert iter(batches) is batches
    whole = entries // size
    epochs = [torch.cat([next(batches) for _ in range(whole)]).tolist() for _ in range(4)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == whole * size
        assert set(epoch) <= set(range(entries))
    if entries > 1:
        assert epochs[0] != epochs[1] != epochs[2]
    assert batches.drawn == 4 * whole


def test_the_order_depends_on_the_seed_and_the_number_alone() -> None:
    data = torch.arange(10)
    forward = [training.Batches(data, 3, seed=4).indices(number) for number in range(9)]
    backward = training.Batches(data, 3, seed=4)
    torch.manual_seed(99)
    for number in (8, 2, 5, 0, 7, 1, 6, 3, 4):
        assert torch.equal(backward.indices(number), forward[number])
    drawn = training.Batches(data, 3, seed=4)
    assert torch.equal(torch.stack([next(drawn) for _ in range(9)]), torch.stack(forward))
    other = training.Batches(data, 3, seed=5)
    assert any(not torch.equal(other.indices(n), forward[n]) for n in range(3))


def test_batches_of_a_data_set_go_to_the_device() -> None:
    image = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 4, 4).contiguous()
    fields = {"image": image, "label": torch.arange(6)}
    data = Dataset(Info("greys", "greys", "none", True, "the test"), fields)
    batches = training.Batches(data, 2, device="meta")
    assert {field.device.type for field in next(batches).values()} == {"meta"}
    batch = next(training.Batches(data, 4))
    assert batch["image"].shape == (4, 3, 4, 4)
    torch.testing.assert_close(batch["image"][:, 0, 0, 0] * 255, batch["label"].float())


@pytest.mark.parametrize("size", [0, -1, 6])
def test_batches_that_do_not_fit(size: int) -> None:
    with pytest.raises(SettingError, match=f"batch_size={size} does not fit 5 entries"):
        training.Batches(torch.arange(5), size)


def test_first_gives_the_data_in_its_own_order_and_draws_nothing() -> None:
    image = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    data = Dataset(Info("six", "six", "none", True, "the test"), {"image": image})
    looked, untouched = (training.Batches(data, 2, seed=3) for _ in range(2))
    torch.testing.assert_close(looked.first(3)["image"].flatten() * 255, torch.arange(3.0))
    assert len(looked.first(50)["image"]) == 6
    assert looked.drawn == 0
    assert torch.equal(next(looked)["image"], next(untouched)["image"])
    assert training.Batches(torch.arange(5, 9), 2).first(3).tolist() == [5, 6, 7]
    assert training.Batches(data, 2, device="meta").first(2)["image"].is_meta


# --- Averages -------------------------------------------------------------------------------------


def test_the_average_is_the_formula_s() -> None:
    """decay 0.5 is above (1 + t)/(10 + t) up to t = 8, so that the first steps use the latter."""
    source = nn.Linear(1, 1, bias=False)
    source.weight.data.fill_(10.0)
    ema, expected = training.EMA(source, 0.5), 10.0
    for step in range(1, 13):
        source.weight.data.fill_(float(step))
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        assert decay == 0.5 or step < 8
        expected = decay * expected + (1 - decay) * step
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-6)
    assert ema.updates == 12


def test_the_average_takes_buffers_along() -> None:
    source = nn.BatchNorm1d(2)
    ema = training.EMA(source, 0.9)
    source(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))  # momentum 0.1: running mean 0.2, 0.4
    ema.update()
    share = 1 - 2 / 11
    torch.testing.assert_close(ema.module.running_mean, share * torch.tensor([0.2, 0.4]))
    assert int(ema.module.num_batches_tracked) == 1  # a count is copied, not averaged


def test_the_average_keeps_what_spectral_norm_promises() -> None:
    """Its singular vectors are unit vectors, however far they turn."""
    torch.manual_seed(3)
    source = parametrizations.spectral_norm(nn.Linear(12, 12, bias=False))
    ema = training.EMA(source, 0.95)
    for _ in range(60):
        # Towards another random matrix each time: a mean of its vectors would be near 0.
        source.parametrizations.weight.original.data.lerp_(torch.randn(12, 12), 0.2)
        source(torch.randn(4, 12))
        ema.update()
    vectors = [buffer for name, buffer in ema.module.named_buffers() if name[-2:] in ("_u", "_v")]
    assert len(vectors) == 2
    for each in vectors:
        assert float(each.norm()) == pytest.approx(1.0, abs=1e-4)
    kept = source.parametrizations.weight[0]
    assert torch.equal(ema.module.parametrizations.weight[0]._u, kept._u)


def test_the_average_is_a_frozen_copy_in_eval_mode() -> None:
    source = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    ema = training.EMA(source)
    assert not ema.module.training
    assert source.training
    assert not any(weight.requires_grad for weight in ema.module.parameters())
    assert all(weight.requires_grad for weight in source.parameters())
    before = ema.module[0].weight.clone()
    source[0].weight.data.add_(1)
    assert torch.equal(ema.module[0].weight, before)


def test_run_updates_every_average_once_a_step() -> None:
    source = nn.Linear(2, 2)
    averages = {"slow": training.EMA(source), "fast": training.EMA(source, 0.5)}
    state = {"net": source, **averages}
    training.run(lambda number: {"loss": 0.0}, state, steps=7, progress=False)
    assert [ema.updates for ema in averages.values()] == [7, 7]


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, math.nan])
def test_a_decay_that_is_no_share(decay: float) -> None:
    with pytest.raises(SettingError, match="is no share"):
        training.EMA(nn.Linear(1, 1), decay)


# --- Precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_precision_of_a_matrix_product_on_the_cpu(precision, expected) -> None:
    with training.autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize(("able", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_it_is_multiplied(able, expected, monkeypatch) -> None:
    monkeypatch.setattr(training.runtime, "multiplies_bfloat16", lambda device: able)
    with training.autocast(torch.device("cpu"), "auto"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_an_unknown_precision() -> None:
    with pytest.raises(SettingError, match="no precision 'float16'"):
        training.autocast(torch.device("cpu"), "float16")
