"""The check engine on answers that return modules, work in place, train, or draw at random."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coursekit.exercises import registry
from coursekit.exercises.compare import agree, few
from coursekit.exercises.engine import Case, Exercise, Mistake, Result, Unusable, check


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exercise, Any], Result]:
    """Check an answer to an exercise that no topic has."""

    def run(exercise: Exercise, answer: Any) -> Result:
        module = types.ModuleType("coursekit.exercises.demo")
        module.EXERCISES = (exercise,)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(registry, "TOPICS", (*registry.TOPICS, "demo"))
        return check(exercise.id, answer)

    return run


# --- An answer that returns a module --------------------------------------------------------------


def make_layer(width: int, bias: bool = True, double: bool = False) -> nn.Module:
    return nn.Linear(2, width * (2 if double else 1), bias=bias)


def measure_layer(answer: Callable[..., Any], width: int) -> dict[str, Any]:
    layer = answer(width)
    if not isinstance(layer, nn.Module):
        raise Unusable(f"Expected a module, got {type(layer).__name__}.")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.5)
    weights = sum(parameter.numel() for parameter in layer.parameters())
    return {
        "weights": weights,
        "bias": any(p.dim() == 1 for p in layer.parameters()),
        "output": layer(torch.ones(3, 2)).detach(),
    }


LAYER = Exercise(
    id="demo.layer",
    title="A layer",
    points=1,
    stub='def layer(width):\n    raise NotImplementedError("your turn")',
    reference=make_layer,
    cases=(Case("width 4", lambda: (4,)),),
    hints=(),
    mistakes=(
        Mistake("no bias", lambda width: make_layer(width, bias=False), "No shift.", "bias=False"),
        Mistake("double", lambda width: make_layer(width, double=True), "Too wide.", "2 *"),
    ),
    gradient=False,
    measure=measure_layer,
)


class OwnLayer(nn.Module):
    """The same layer, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.matrix = nn.Parameter(torch.zeros(2, width))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix + self.shift


def test_modules_are_compared_by_what_is_measured(ask) -> None:
    assert ask(LAYER, make_layer).passed
    assert ask(LAYER, OwnLayer).passed
    assert ask(LAYER, lambda width: nn.Sequential(make_layer(width), nn.Identity())).passed


def test_a_wrong_module_is_named(ask) -> None:
    bare = ask(LAYER, lambda width: nn.Linear(2, width, bias=False))
    assert (bare.status, bare.layer, bare.mistake) == ("wrong", "behaviour", "no bias")


def test_a_wrong_shape_is_named_too(ask) -> None:
    wide = ask(LAYER, lambda width: nn.Linear(2, 8))
    assert (wide.layer, wide.mistake) == ("contract", "double")
    assert "Too wide. Likely cause: 2 *" in str(wide)


def test_a_fact_without_a_name_is_told_as_it_is(ask) -> None:
    plain = dataclasses.replace(LAYER, mistakes=())
    text = str(ask(plain, lambda width: nn.Linear(2, width, bias=False)))
    assert "weights: expected 12, got 8" in text
    only_bias = dataclasses.replace(
        plain, measure=lambda answer, width: {"bias": measure_layer(answer, width)["bias"]}
    )
    text = str(ask(only_bias, lambda width: nn.Linear(2, width, bias=False)))
    assert "bias: expected yes, got no" in text


def test_the_measure_says_what_it_cannot_use(ask) -> None:
    result = ask(LAYER, lambda width: torch.zeros(2, width))
    assert (result.layer, result.mistake) == ("contract", None)
    assert "Case “width 4”: Expected a module, got Tensor." in str(result)


def test_the_stub_and_a_module_without_forward(ask) -> None:
    space: dict[str, Any] = {}
    exec(LAYER.stub, space)
    assert ask(LAYER, space["layer"]).status == "not started"
    begun = ask(LAYER, lambda width: nn.Module())
    assert (begun.status, begun.layer) == ("wrong", "contract")
    assert "NotImplementedError" in begun.message


def test_an_error_inside_a_students_module_quotes_its_line(ask) -> None:
    class Broken(OwnLayer):
        def forward(self, x: Tensor) -> Tensor:
            return x.nonsense()

    def answer(width: int) -> nn.Module:
        return Broken(width)

    text = str(ask(LAYER, answer))
    assert "`return x.nonsense()`, raised AttributeError" in text


# --- Answers that change what they are given ------------------------------------------------------

IN_PLACE = Exercise(
    id="demo.fill",
    title="Fill",
    points=1,
    stub="",
    reference=lambda x: x.fill_(1.0),
    cases=(Case("three zeros", lambda: (torch.zeros(3),)),),
    hints=(),
    gradient=False,
)


def test_a_measure_may_let_its_arguments_be_changed(ask) -> None:
    def twice(answer: Callable[[Tensor], Any], x: Tensor) -> Tensor:
        answer(x)
        answer(x)
        return x

    assert "in place" in str(ask(IN_PLACE, lambda x: x.fill_(1.0)))
    measured = dataclasses.replace(IN_PLACE, measure=twice)
    assert ask(measured, lambda x: x.fill_(1.0)).passed
    result = ask(measured, lambda x: x.add_(1.0))
    assert (result.layer, result.status) == ("behaviour", "wrong")
    assert "2 times what is expected" in str(result)


# --- Random numbers -------------------------------------------------------------------------------

NOISE = Exercise(
    id="demo.noise",
    title="Noise",
    points=1,
    stub="",
    reference=lambda n: 2 * torch.randn(n),
    cases=(Case("five", lambda: (5,)),),
    hints=(),
    mistakes=(Mistake("uniform", lambda n: 2 * torch.rand(n), "Only positive.", "rand"),),
)


def test_random_answers_draw_the_same_numbers(ask) -> None:
    assert ask(NOISE, lambda n: torch.randn(n) * 2).passed
    assert ask(NOISE, lambda n: torch.rand(n) * 2).mistake == "uniform"
    assert ask(NOISE, lambda n: torch.randn(n) * 3).status == "wrong"


def test_a_random_answer_leaves_the_notebooks_random_numbers(ask) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ask(NOISE, lambda n: torch.randn(n) * 2)
    ask(LAYER, make_layer)
    assert torch.equal(torch.rand(2), expected)


# --- Mistakes that break the contract -------------------------------------------------------------

LOGARITHM = Exercise(
    id="demo.logsigmoid",
    title="Logarithm",
    points=1,
    stub="",
    reference=nn.functional.logsigmoid,
    cases=(Case("far out", lambda: (torch.tensor([-200.0, 1.0, 200.0]),)),),
    hints=(),
    mistakes=(
        Mistake("of 1 - x", lambda x: (1 - x.sigmoid()).log(), "Turned over.", "1 - x"),
        Mistake("unstable", lambda x: x.sigmoid().log(), "Infinite.", "log(0)"),
        Mistake("summed", lambda x: nn.functional.logsigmoid(x).sum(), "One number.", "sum"),
    ),
)


def test_infinities_have_names(ask) -> None:
    result = ask(LOGARITHM, lambda x: torch.log(1 / (1 + torch.exp(-x))))
    assert (result.layer, result.mistake) == ("contract", "unstable")
    assert ask(LOGARITHM, lambda x: (1 - x.sigmoid()).log()).mistake == "of 1 - x"


def test_infinities_elsewhere_have_none(ask) -> None:
    result = ask(LOGARITHM, lambda x: x.sigmoid().log() * torch.tensor([1.0, 1.0, torch.nan]))
    assert (result.layer, result.mistake) == ("contract", None)
    assert "NaN or infinite" in str(result)


def test_a_shape_has_a_name_only_with_the_mistakes_values(ask) -> None:
    assert ask(LOGARITHM, lambda x: nn.functional.logsigmoid(x).sum()).mistake == "summed"
    other = ask(LOGARITHM, lambda x: x.sum())
    assert (other.layer, other.mistake) == ("contract", None)
    assert "shape (); expected (3,)" in str(other)


def test_the_mistake_that_agrees_in_every_part_wins(ask) -> None:
    pair = Exercise(
        id="demo.pair",
        title="Pair",
        points=1,
        stub="",
        reference=lambda x: (x, x),
        cases=(Case("two", lambda: (torch.tensor([1.0, 2.0]),)),),
        hints=(),
        mistakes=(
            Mistake("first", lambda x: (-x, x), "First turned.", "-"),
            Mistake("both", lambda x: (-x, -x), "Both turned.", "-"),
        ),
    )
    assert ask(pair, lambda x: (-x, -x)).mistake == "both"
    assert ask(pair, lambda x: (-x, 3 * x)).mistake == "first"


def test_agree_with_infinities() -> None:
    inf, nan = torch.inf, torch.nan
    odd = torch.tensor([1.0, inf, nan, -inf])
    assert agree(odd.clone(), odd, 1e-4)
    assert not agree(torch.tensor([1.1, inf, nan, -inf]), odd, 1e-4)
    assert not agree(torch.tensor([1.0, -inf, nan, -inf]), odd, 1e-4)
    assert not agree(odd, torch.tensor([1.0, 2.0, 3.0, 4.0]), 1e-4)


def test_few_says_yes_and_no() -> None:
    assert few(torch.tensor([True, False])) == "yes, no"
    assert few(torch.arange(8)) == "0, 1, 2, 3, 4, 5, …"
