"""What the check engine must let pass, must not let pass, and must not say."""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from coursekit.core import losses
from coursekit.exercises import blocking, engine, registry
from coursekit.exercises.compare import relation
from coursekit.exercises.engine import Case, Exercise, Mistake, Result, check

EXERCISES = [exercise for topic in engine.TOPICS for exercise in engine.of_topic(topic)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(
        answer: Callable[..., Any], reference: Callable[..., Any], *cases: Any, **more: Any
    ) -> Result:
        named = tuple(Case(f"case {i}", make) for i, make in enumerate(cases))
        exercise = Exercise("demo.it", "It", 1, "", reference, named, (), **more)
        module = types.ModuleType("coursekit.exercises.demo")
        module.EXERCISES = (exercise,)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(registry, "TOPICS", (*registry.TOPICS, "demo"))
        return check("demo.it", answer)

    return run


# --- Numbers --------------------------------------------------------------------------------------


def test_a_whole_number_may_stand_for_one_with_a_fraction(ask) -> None:
    cases = (lambda: (0.5,)), (lambda: (3.0,))
    assert ask(lambda x: min(1, x), lambda x: min(1.0, x), *cases).passed
    assert not ask(lambda x: x > 0, lambda x: min(1.0, x), *cases).passed
    assert ask(lambda x: 2.0, lambda x: 2, *cases).layer == "contract"


def test_one_number_of_numpy_is_a_number(ask) -> None:
    case = lambda: ([3, 4],)  # noqa: E731
    assert ask(lambda sides: np.prod(sides), lambda sides: sides[0] * sides[1], case).passed
    assert ask(lambda sides: np.float32(1.5), lambda sides: 1.5, case).passed
    assert not ask(lambda sides: np.prod(sides) + 1, lambda sides: 12, case).passed


# --- Inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda xs, pairs: (xs.pop(0) + xs.pop(0)).sum(),
        lambda xs, pairs: (pairs.reverse(), (xs[0] + xs[1]).sum())[1],
        lambda xs, pairs: (xs[0].requires_grad_(True) + xs[1]).sum(),
    ],
    ids=["a list emptied", "a list turned round", "a gradient asked for"],
)
def test_inputs_stay_as_they_were(ask, answer: Callable[..., Any]) -> None:
    case = lambda: ([random(2), random(2, seed=1)], [(3, 1), (5, 2)])  # noqa: E731
    right = lambda xs, pairs: (xs[0] + xs[1]).sum()  # noqa: E731
    assert ask(right, right, case).passed
    result = ask(answer, right, case)
    assert result.layer == "contract"
    assert "in place" in str(result)


class Critic(NamedTuple):
    weight: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return images.square() @ self.weight


def slope(critic: Critic, images: Tensor) -> Tensor:
    points = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return gradient.square().sum()


def slope_by_backward(critic: Critic, images: Tensor) -> Tensor:
    points = images.detach().requires_grad_(True)
    critic(points).sum().backward(create_graph=True)
    return points.grad.square().sum()


@pytest.mark.filterwarnings("ignore:Using backward")
def test_gradients_may_not_be_left_in_a_network(ask) -> None:
    case = lambda: (Critic(random(3)), random(4, 3, seed=1))  # noqa: E731
    assert ask(slope, slope, case).passed
    result = ask(slope_by_backward, slope, case)
    assert result.layer == "gradient"
    assert "leaves gradients behind" in str(result)


# --- Gradients that nobody needs ------------------------------------------------------------------


def test_what_is_constant_may_be_detached(ask) -> None:
    case = lambda: (random(2, 3), random(2, 3, seed=1))  # noqa: E731
    right = lambda x, target: (x - target).square().sum()  # noqa: E731
    fixed = lambda x, target: (x - target.detach()).square().sum()  # noqa: E731
    nothing = lambda x, target: (x - target).detach().square().sum()  # noqa: E731
    assert ask(fixed, right, case).layer == "gradient"
    assert ask(fixed, right, case, constants=("target",)).passed
    assert ask(right, right, case, constants=("target",)).passed
    assert ask(nothing, right, case, constants=("target",)).layer == "gradient"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_constants_are_parameters(exercise: Exercise) -> None:
    assert set(exercise.constants) <= set(inspect.signature(exercise.reference).parameters)


def test_a_twin_is_closed(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_open", 0)
    case = lambda: (random(1, 3, 4, 4),)  # noqa: E731
    right = lambda f: f.flatten(2) @ f.flatten(2).mT / 16  # noqa: E731
    renamed = lambda f: losses.gram_matrix(f)  # noqa: E731
    assert ask(renamed, right, case).passed
    assert "gram_matrix" in str(ask(renamed, right, case, twins=(losses.gram_matrix,)))


# --- Messages -------------------------------------------------------------------------------------


def test_of_one_number_what_is_said_fits_what_is_shown(ask) -> None:
    case = lambda: (random(4, 6).abs() + 0.1,)  # noqa: E731
    text = str(ask(lambda x: x.sum() / 6, lambda x: x.mean(), case))
    factor, expected, got = map(
        float, re.search(r"([\d.]+) times.*\nExpected ([\d.]+)\nGot +([\d.]+)", text).groups()
    )
    assert factor == pytest.approx(4, rel=1e-3) and got / expected == pytest.approx(4, rel=1e-3)
    assert "everywhere" not in text
    assert re.search(r"There [\d.]+ is expected, and yours is [\d.]+\.", text)


def test_a_mistake_is_not_named_where_a_right_case_speaks_against_it(ask) -> None:
    """Without a guard 0 / 0 is NaN in both, but pictures that vary are right."""
    case = (lambda: (random(2, 5),)), (lambda: (torch.ones(1, 5),))
    right = lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-8)  # noqa: E731
    bare = lambda x: (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)  # noqa: E731
    batch = Mistake("batch", lambda x: (x - x.mean()) / x.std(), "Shared.", "over the batch.")
    unguarded = Mistake("no guard", bare, "A flat row becomes NaN.", "0 / 0.")
    assert ask(bare, right, *case, mistakes=(batch,)).mistake is None
    assert ask(bare, right, *case, mistakes=(batch, unguarded)).mistake == "no guard"
    assert ask(batch.wrong, right, *case, mistakes=(batch,)).mistake == "batch"


def test_one_yes_in_common_names_no_mistake(ask) -> None:
    def measure(answer: Callable[..., Any], x: Tensor) -> dict[str, Any]:
        moved, drawn = answer(x)
        return {"moved": moved, "drawn": drawn}

    nothing = Mistake("nothing", lambda x: (False, 0), "Nothing moves.", "no step.")
    result = ask(
        lambda x: (False, 3),
        lambda x: (True, 5),
        lambda: (random(2),),
        measure=measure,
        mistakes=(nothing,),
    )
    assert (result.status, result.mistake) == ("wrong", None)


@pytest.mark.parametrize("turned", [(3, 3, 3), (1, 3, 1)])
def test_what_is_nearly_right_is_not_called_turned(turned: tuple[int, ...]) -> None:
    target = torch.full(turned, 2.0)
    target.view(-1)[len(target.view(-1)) // 2] = 3.0  # its own mirror image
    text = relation(target + 5e-4 * random(*turned), target)
    assert "order" not in text and "backwards" not in text
