"""Pixel optimisation on problems whose answer is known, and on everything that can go wrong."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor

from coursekit.core import optimise
from coursekit.core.errors import OptimisationError, SettingError
from coursekit.core.optimise import coarse_to_fine, optimise_pixels


def image(size: int = 6, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


TARGET = image(seed=7)


def distance(x: Tensor) -> dict[str, Tensor]:
    return {"distance": (x - TARGET).square().sum()}


def run(loss=distance, start: Tensor | None = None, **settings):
    start = image() if start is None else start
    return optimise_pixels(loss, start, **{"progress": False, "steps": 30, **settings})


# --- It finds known minima ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "lr", "steps"), [("lbfgs", None, 8), ("adam", 0.05, 250), ("sgd", 0.25, 40)]
)
def test_a_quadratic_reaches_its_minimum(method: str, lr: float | None, steps: int) -> None:
    result = run(method=method, lr=lr, steps=steps)
    torch.testing.assert_close(result.image, TARGET, rtol=0, atol=2e-3)
    assert result.loss < 1e-4
    assert result.steps == steps
    assert not result.interrupted


def test_plain_gradient_descent_takes_the_steps_of_the_formula() -> None:
    """x ← x - lr · 2 (x - target): the error shrinks by 1 - 2 lr a step."""
    start, rate = image(), 0.1
    seen: list[Tensor] = []
    run(method="sgd", lr=rate, steps=5, callback=lambda step, x, entry: seen.append(x))
    for step, x in enumerate(seen):
        expected = TARGET + (1 - 2 * rate) ** step * (start - TARGET)
        torch.testing.assert_close(x, expected)


def test_adams_first_step_is_the_learning_rate_in_every_pixel() -> None:
    seen: list[Tensor] = []
    run(
        method="adam", lr=0.03, steps=2, callback=lambda step, x, entry: seen.append(x), bounds=None
    )
    change = seen[1] - seen[0]
    torch.testing.assert_close(change, -0.03 * (seen[0] - TARGET).sign(), rtol=1e-3, atol=1e-5)


def test_lbfgs_beats_gradient_descent_on_an_ill_conditioned_quadratic() -> None:
    scales = torch.logspace(0, 2, 108).view(1, 3, 6, 6)

    def loss(x: Tensor) -> Tensor:
        return (scales * (x - TARGET).square()).sum() / 2

    quick = run(loss, method="lbfgs", steps=40).loss
    slow = run(loss, method="sgd", lr=0.01, steps=40).loss
    assert quick < 0.05 * slow


def test_rosenbrock() -> None:
    def rosenbrock(x: Tensor) -> Tensor:
        a, b = x.flatten()[:2]
        return (1 - a) ** 2 + 100 * (b - a**2) ** 2

    start = torch.tensor([0.3, 0.9]).view(1, 1, 1, 2)
    result = run(rosenbrock, start, steps=400, lr=0.2, bounds=(0, 2))
    torch.testing.assert_close(result.image.flatten(), torch.ones(2), rtol=0, atol=0.02)


@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd"])
def test_each_step_is_one_evaluation(method: str) -> None:
    calls = 0

    def loss(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return (x**4).sum() + (x - TARGET).abs().sum()

    result = run(loss, steps=17, method=method, lr=0.01)
    assert calls == 17 == result.steps == len(result.history)


@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd"])
def test_the_same_start_gives_exactly_the_same(method: str) -> None:
    first, second = (run(method=method, lr=0.1, steps=9) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert first.curve() == second.curve()


def test_the_returned_image_is_the_best_one_seen() -> None:
    """A learning rate far too high for the end: the loss rises again."""
    seen: dict[float, Tensor] = {}

    def watch(step: int, x: Tensor, entry: dict[str, float]) -> None:
        seen[entry["total"]] = x

    result = run(method="sgd", lr=1.2, steps=6, bounds=None, callback=watch)
    assert result.curve() != sorted(result.curve(), reverse=True)
    assert result.loss == min(seen)
    assert torch.equal(result.image, seen[min(seen)])
    assert distance(result.image)["distance"].item() == result.loss


# --- What goes in and what comes out --------------------------------------------------------------


@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd"])
def test_the_start_is_not_changed(method: str) -> None:
    start = image().requires_grad_()
    before = start.detach().clone()
    result = run(start=start, method=method, steps=3)
    assert torch.equal(start.detach(), before)
    assert start.grad is None
    assert not result.image.requires_grad
    assert result.image.data_ptr() != start.data_ptr()


@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd"])
def test_bounds_hold_in_everything_that_comes_back(method: str) -> None:
    far = TARGET.double() * 6 - 3

    def loss(x: Tensor) -> Tensor:
        assert x.min() >= 0.2
        assert x.max() <= 0.7
        return (x - far).square().sum()

    rate = {"lbfgs": 1.0, "adam": 0.02, "sgd": 0.1}[method]
    result = run(
        loss, image().double(), method=method, lr=rate, steps=150, bounds=(0.2, 0.7), snapshots=4
    )
    # The best point of the box is the target, clamped.
    torch.testing.assert_close(result.image, far.clamp(0.2, 0.7), rtol=0, atol=1e-3)
    for _, snapshot in result.snapshots:
        assert snapshot.min() >= 0.2
        assert snapshot.max() <= 0.7


def test_bounds_none_lets_pixels_go_anywhere() -> None:
    result = run(lambda x: (x - 5).square().sum(), bounds=None, steps=10)
    torch.testing.assert_close(result.image, torch.full((1, 3, 6, 6), 5.0), rtol=1e-3, atol=1e-3)


def test_channels_last_and_strided_starts() -> None:
    start = image(8)
    expected = run(lambda x: (x**2).sum(), start, steps=4)
    strided = torch.zeros(1, 3, 8, 16)
    strided[..., ::2] = start
    for same in (start.to(memory_format=torch.channels_last), strided[..., ::2]):
        result = run(lambda x: (x**2).sum(), same, steps=4)
        assert torch.equal(result.image, expected.image)
        assert result.image.is_contiguous()


def test_history_keys_and_curve() -> None:
    result = run(
        lambda x: {"content": (x - TARGET).square().sum(), "tv": 0.1 * x.abs().sum()}, steps=5
    )
    assert [set(entry) for entry in result.history] == [
        {"step", "seconds", "total", "content", "tv"}
    ] * 5
    assert result.curve("step") == [1, 2, 3, 4, 5]
    seconds = result.curve("seconds")
    assert seconds == sorted(seconds)
    assert result.seconds == seconds[-1] > 0
    for entry in result.history:
        assert entry["total"] == pytest.approx(entry["content"] + entry["tv"], rel=1e-5)
    with pytest.raises(KeyError):
        result.curve("style")


def test_a_single_tensor_is_a_term_called_loss() -> None:
    result = run(lambda x: x.square().sum(), steps=2)
    assert set(result.history[0]) == {"step", "seconds", "total", "loss"}
    assert result.history[0]["loss"] == result.history[0]["total"]


def test_terms_may_be_numbers_and_of_several_types() -> None:
    result = run(
        lambda x: {"a": x.square().sum(), "b": x.sum().bfloat16(), "off": 0.0, "zero": 0}, steps=3
    )
    assert result.history[-1]["off"] == 0
    start = image().double()
    loose = run(lambda x: (x - TARGET.double()).square().sum(), start, steps=3)
    assert loose.image.dtype == torch.float64
    first = (start - TARGET.double()).square().sum().item()
    assert loose.history[0]["total"] == first  # to all 16 digits


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [
        (1, 3, [1]),
        (10, 0, []),
        (10, 1, [10]),
        (10, 2, [1, 10]),
        (100, 3, [1, 10, 100]),
        (4, 9, [1, 2, 3, 4]),
    ],
)
def test_snapshot_steps(steps: int, count: int, expected: list[int]) -> None:
    result = run(steps=steps, snapshots=count)
    assert [step for step, _ in result.snapshots] == expected


@pytest.mark.parametrize("steps", [5, 6, 7, 12, 30, 200])
def test_as_many_snapshots_as_asked_for(steps: int) -> None:
    chosen = sorted(optimise._snapshot_steps(steps, 5))
    assert len(chosen) == 5
    assert (chosen[0], chosen[-1]) == (1, steps)


def test_snapshots_are_the_images_of_their_steps() -> None:
    seen: dict[int, Tensor] = {}
    result = run(
        method="adam",
        steps=12,
        snapshots=4,
        callback=lambda step, x, entry: seen.update({step: x}),
    )
    assert len({id(x) for x in seen.values()}) == 12
    for step, snapshot in result.snapshots:
        assert torch.equal(snapshot, seen[step])
    assert not torch.equal(seen[1], seen[2])  # copies, not one tensor that goes on changing


def test_a_callback_cannot_spoil_the_run() -> None:
    expected = run(steps=5)
    result = run(steps=5, callback=lambda step, x, entry: x.zero_())
    assert torch.equal(result.image, expected.image)


def test_seconds_stop_it() -> None:
    def slow(x: Tensor) -> Tensor:
        time.sleep(0.02)
        return x.square().sum()

    result = run(slow, steps=10_000, seconds=0.2)
    assert 1 <= result.steps < 50
    assert not result.interrupted


def test_the_progress_bar_says_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    run(steps=3, progress=True)
    assert "lbfgs" in capsys.readouterr().err
    run(steps=3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_it_works_inside_no_grad_and_inference_mode(mode, method: str) -> None:
    expected = run(method=method, steps=4)
    with mode():
        result = run(method=method, steps=4, start=image())
    assert torch.equal(result.image, expected.image)


def test_a_batch_is_optimised_together() -> None:
    start, goal = image(batch=2), image(seed=3, batch=2)
    result = run(lambda x: (x - goal).square().sum(), start, steps=10)
    torch.testing.assert_close(result.image, goal, rtol=0, atol=1e-3)


# --- Interrupts and accidents ---------------------------------------------------------------------


def interrupt_after(count: int):
    calls = 0

    def loss(x: Tensor) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls > count:
            raise KeyboardInterrupt
        return distance(x)

    return loss


@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd"])
def test_an_interrupt_in_the_loss_keeps_the_best_image(method: str) -> None:
    result = run(interrupt_after(4), method=method, lr=0.1)
    assert result.interrupted
    assert result.steps == 4
    assert distance(result.image)["distance"].item() == result.loss == min(result.curve())


def test_an_interrupt_in_the_callback_keeps_the_step_before_it() -> None:
    def stop(step: int, x: Tensor, entry: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    result = run(callback=stop)
    assert result.interrupted
    assert result.steps == 3


def test_an_interrupt_before_the_first_step_gives_the_start_within_bounds() -> None:
    result = run(interrupt_after(0), start=image() * 3 - 1)
    assert result.interrupted
    assert result.steps == 0
    assert math.isnan(result.loss)
    assert torch.equal(result.image, (image() * 3 - 1).clamp(0, 1))


@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_is_named(method: str, bad: float) -> None:
    calls = 0

    def loss(x: Tensor) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        return {**distance(x), "style": x.sum() * (bad if calls == 4 else 1e-3)}

    with pytest.raises(OptimisationError, match=r"Step 4: the term 'style'") as caught:
        run(loss, method=method, lr=0.1)
    result = caught.value.result
    assert result.steps == 3
    assert torch.isfinite(result.image).all()
    assert result.loss == min(result.curve())
    assert isinstance(caught.value, ArithmeticError)


def test_a_gradient_that_is_not_finite() -> None:
    # The root has a finite value and an infinite slope at 0.
    with pytest.raises(OptimisationError, match="the gradient") as caught:
        run(lambda x: x.sqrt().sum(), torch.zeros(1, 3, 4, 4))
    assert torch.equal(caught.value.result.image, torch.zeros(1, 3, 4, 4))


def test_a_sum_that_overflows_names_the_sum() -> None:
    with pytest.raises(OptimisationError, match="the sum of all terms"):
        run(lambda x: {"a": x.sum() * 0 + 3e38, "b": x.sum() * 0 + 3e38})


def test_a_learning_rate_that_is_far_too_high() -> None:
    with pytest.raises(OptimisationError, match="'loss'") as caught:
        run(lambda x: (x**4).sum(), method="sgd", lr=1e6, bounds=None)
    assert torch.isfinite(caught.value.result.image).all()


def test_other_errors_of_the_loss_pass_through() -> None:
    def broken(x: Tensor) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(broken)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "newton"},
        {"steps": 0},
        {"seconds": 0.0},
        {"start": torch.zeros(1, 3, 4, 4, dtype=torch.uint8)},
        {"start": torch.full((1, 3, 4, 4), float("nan"))},
    ],
    ids=["method", "steps", "seconds", "integers", "nan"],
)
def test_settings_that_cannot_work(settings) -> None:
    with pytest.raises(SettingError):
        run(**settings)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda x: x.detach().square().sum(), "does not depend on the image"),
        (lambda x: torch.ones(3, requires_grad=True).sum(), "does not depend on the image"),
        (
            lambda x: {"content": x.square().sum((1, 2, 3)), "tv": 0.0},
            r"'content' has shape \(1,\)",
        ),
        (lambda x: {}, "empty"),
    ],
    ids=["detached", "of something else", "not summed", "empty"],
)
def test_losses_that_cannot_work(loss, match: str) -> None:
    with pytest.raises(SettingError, match=match):
        run(loss)


# --- Coarse to fine -------------------------------------------------------------------------------


def toward_grey(size: int):
    def loss(x: Tensor) -> dict[str, Tensor]:
        assert min(x.shape[-2:]) == size
        return {"grey": (x - 0.5).square().mean()}

    return loss


def test_coarse_to_fine_goes_through_the_sizes() -> None:
    result = coarse_to_fine(
        toward_grey,
        image(20)[..., :16, :],
        (4, 8, 16),
        (3, 2, 4),
        method="adam",
        snapshots=2,
        progress=False,
    )
    assert result.image.shape == (1, 3, 16, 20)
    assert result.curve("size") == [4] * 3 + [8] * 2 + [16] * 4
    assert result.curve("step") == list(range(1, 10))
    assert result.curve("seconds") == sorted(result.curve("seconds"))
    assert [step for step, _ in result.snapshots] == [1, 3, 4, 5, 6, 9]
    assert [tuple(x.shape[-2:]) for _, x in result.snapshots[::2]] == [(4, 5), (8, 10), (16, 20)]
    assert result.steps == 9
    # The loss goes on falling where the size changes: the result is carried over.
    totals = result.curve()
    assert totals[3] < totals[0]
    assert totals[5] < totals[3]


def test_the_loss_of_coarse_to_fine_belongs_to_the_last_size() -> None:
    def make(size: int):
        return lambda x: (x - 0.5).square().sum()  # a sum: small images cost less

    result = coarse_to_fine(make, image(16), (2, 16), 2, method="adam", progress=False)
    assert (result.image - 0.5).square().sum().item() == pytest.approx(result.loss)
    assert result.loss > min(result.curve())


def test_coarse_to_fine_keeps_values_outside_0_and_1_when_there_are_no_bounds() -> None:
    start = image(8) * 10 - 5
    result = coarse_to_fine(
        lambda size: lambda x: 0 * x.sum(), start, [8], 1, bounds=None, progress=False
    )
    torch.testing.assert_close(result.image, start)


def test_an_interrupt_ends_all_sizes() -> None:
    result = coarse_to_fine(lambda size: interrupt_after(2), image(6), (6, 12), 5, progress=False)
    assert result.interrupted
    assert result.steps == 2
    assert result.image.shape[-1] == 6


def test_an_error_at_the_second_size_keeps_the_history_of_the_first() -> None:
    def make(size: int):
        return lambda x: {"odd": x.sum() * (float("nan") if size == 12 else 1)}

    with pytest.raises(OptimisationError, match="'odd'") as caught:
        coarse_to_fine(make, image(6), (6, 12), 3, progress=False)
    assert caught.value.result.curve("step") == [1, 2, 3]
    assert torch.isfinite(caught.value.result.image).all()


@pytest.mark.parametrize(
    ("sizes", "steps"), [((), 3), ((16, 8), 3), ((8, 8), 3), ((8, 16), (3,)), ((8, 16), 0)]
)
def test_sizes_that_cannot_work(sizes, steps) -> None:
    with pytest.raises(SettingError):
        coarse_to_fine(lambda size: lambda x: x.square().sum(), image(8), sizes, steps)
