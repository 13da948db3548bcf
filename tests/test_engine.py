"""The check engine on answers of every kind, and every exercise that the course has."""

from __future__ import annotations

import dataclasses
import functools
import html
import inspect
import linecache
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import stub_of
from torch import Tensor, nn

import coursekit
from coursekit.core.errors import SettingError
from coursekit.exercises import registry
from coursekit.exercises.engine import Case, Exercise, Mistake, Result, check
from coursekit.exercises.messages import ENGLISH

# --- An exercise of the test's own: Gram matrices -------------------------------------------------

STUB = '''
def gram(features, normalise=True):
    """Gram matrices (N, C, C)."""
    raise NotImplementedError("your turn")
'''


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(features: Tensor, normalise: bool = True) -> Tensor:
    rows = features.flatten(2)
    gram = rows @ rows.mT
    return gram / rows.shape[2] if normalise else gram


def not_divided(features: Tensor, normalise: bool = True) -> Tensor:
    return reference(features, normalise=False)


def detached(features: Tensor, normalise: bool = True) -> Tensor:
    return reference(features.detach(), normalise)


def crashes(features: Tensor, normalise: bool = True) -> Tensor:
    raise ValueError("a mistake of the catalogue that cannot even run")


GRAM = Exercise(
    id="demo.gram",
    title="Gram matrix",
    points=2,
    stub=STUB,
    reference=reference,
    cases=(
        Case("two images", lambda: (random(2, 3, 4, 5),)),
        Case(
            "plain sum",
            lambda: (random(1, 4, 2, 3, seed=1),),
            keywords=lambda: {"normalise": False},
        ),
    ),
    hints=("Look at <the formula>.", "One row a channel.", "flatten, then multiply"),
    mistakes=(
        Mistake("crashes", crashes, "It crashes.", "No cause."),
        Mistake("not divided", not_divided, "Values grow with the size.", "M is missing."),
        Mistake("cut", detached, "Nothing is learned.", "A <detach>."),
    ),
)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exercise], None]:
    """Make an exercise findable under its own id, as a topic of its own."""

    def register(*exercises: Exercise) -> None:
        topic = exercises[0].id.split(".")[0]
        module = types.ModuleType(f"coursekit.exercises.{topic}")
        module.EXERCISES = exercises
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(registry, "TOPICS", (*registry.TOPICS, topic))

    return register


@pytest.fixture
def ask(use) -> Callable[[Any], Result]:
    use(GRAM)
    return functools.partial(check, "demo.gram")


# --- Right answers and untouched ones -------------------------------------------------------------


def test_the_stub_is_not_started(ask) -> None:
    result = ask(stub_of(GRAM))
    assert (result.status, result.layer, result.passed) == ("not started", "", False)
    assert "not started" in str(result)


def test_an_answer_that_crashes_in_a_library_is_not_an_untouched_one(ask) -> None:
    """A module without a forward: torch itself raises NotImplementedError."""

    def begun(features: Tensor, normalise: bool = True) -> Tensor:
        return nn.Module()(features)

    result = ask(begun)
    assert (result.status, result.layer) == ("wrong", "contract")
    assert "NotImplementedError" in result.message
    assert "return nn.Module()(features)" in result.message


class Module(nn.Module):
    def forward(self, features: Tensor, normalise: bool = True) -> Tensor:
        return reference(features, normalise)


RIGHT: dict[str, Callable[..., Any]] = {
    "the reference": reference,
    "einsum": lambda features, normalise=True: (
        torch.einsum("nchw,ndhw->ncd", features, features)
        / (features[0, 0].numel() if normalise else 1)
    ),
    "other names": lambda f, normalise=True: reference(f, normalise),
    "extra default arguments": lambda f, normalise=True, eps=0.0: reference(f, normalise) + eps,
    "any arguments": lambda *args, **kwargs: reference(*args, **kwargs),
    "float64": lambda f, normalise=True: reference(f.double(), normalise),
    "a module": Module(),
    "a partial": functools.partial(reference),
    "a method": Module().forward,
    "another memory format": lambda f, normalise=True: reference(f, normalise).mT.contiguous().mT,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(ask, name: str) -> None:
    result = ask(RIGHT[name])
    assert result.passed, str(result)
    assert (result.layer, result.mistake) == ("", None)
    assert "correct. 2 cases" in str(result)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_notebook_does_not_matter(ask, mode) -> None:
    with mode():
        assert ask(reference).passed
        assert ask(detached).layer == "gradient"


def test_a_check_touches_no_global_random_state(ask) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    ask(reference)
    assert torch.equal(torch.rand(2), expected)


# --- Wrong answers --------------------------------------------------------------------------------


def in_place(features: Tensor, normalise: bool = True) -> Tensor:
    result = reference(features.clone(), normalise)
    features.mul_(2)
    return result


def broken_line(features: Tensor, normalise: bool = True) -> Tensor:
    rows = features.flatten(2)
    return rows @ rows  # the student forgot to transpose


def overwrites(features: Tensor, normalise: bool = True) -> Tensor:
    """Right values, but what the product's backward pass needs is gone."""
    rows = features.flatten(2) * 1
    gram = rows @ rows.mT / (rows.shape[2] if normalise else 1)
    rows.zero_()
    return gram


WRONG: dict[str, tuple[Any, str, str]] = {
    "a result": (torch.zeros(2, 3, 3), "contract", r"Expected a function, got Tensor"),
    "a string": ("gram", "contract", r"got str"),
    "nothing as answer": (None, "contract", r"got NoneType"),
    "too few parameters": (lambda: 1, "contract", r"takes \(\); expected \(features, normalise\)"),
    "a missing keyword": (lambda features: 1, "contract", r"takes \(features\); expected"),
    "too many parameters": (lambda a, b, c: 1, "contract", r"takes \(a, b, c\)"),
    "no return": (lambda f, normalise=True: None, "contract", r"returned None.*`return`"),
    "numpy": (lambda f, normalise=True: reference(f, normalise).numpy(), "contract", r"a ndarray"),
    "text": (lambda f, normalise=True: "gram", "contract", r"a str; expected one tensor"),
    "a tuple": (lambda f, normalise=True: (f, f), "contract", r"2 tensors; expected one tensor"),
    "a dict": (lambda f, normalise=True: {"a": f}, "contract", r"1 tensors; expected one tensor"),
    "no batch": (
        lambda f, normalise=True: reference(f, normalise)[0],
        "contract",
        r"shape \(3, 3\); expected \(2, 3, 3\).*two images",
    ),
    "whole numbers": (
        lambda f, normalise=True: reference(f, normalise).long(),
        "contract",
        r"torch.int64; expected torch.float32",
    ),
    "NaN": (lambda f, normalise=True: reference(f, normalise) / 0 * 0, "contract", r"NaN"),
    "infinite": (lambda f, normalise=True: reference(f, normalise) / 0, "contract", r"NaN or inf"),
    "in place": (in_place, "contract", r"changed its input in place.*copy"),
    "an exception": (broken_line, "contract", r"Line \d+ of your code, `return rows @ rows"),
    "a builtin": (len, "contract|values", r"."),
    "scale": (
        lambda f, normalise=True: 3 * reference(f, normalise),
        "values",
        r"3 times what is expected",
    ),
    "sign": (lambda f, normalise=True: -reference(f, normalise), "values", r"Yours is -1 times"),
    "offset": (
        lambda f, normalise=True: reference(f, normalise) + 2,
        "values",
        r"larger by 2 every",
    ),
    "random": (
        lambda f, normalise=True: torch.rand(f.shape[0], f.shape[1], f.shape[1]),
        "values",
        r"The largest difference is",
    ),
    "zeros": (
        lambda f, normalise=True: f.new_zeros(f.shape[0], f.shape[1], f.shape[1]),
        "values",
        r".",
    ),
    "one image for all": (
        lambda f, normalise=True: reference(f[:1], normalise).expand(f.shape[0], -1, -1),
        "values",
        r"two images",
    ),
    "ignores the flag": (lambda f, normalise=True: reference(f), "values", r"plain sum"),
    "half a digit off": (
        lambda f, normalise=True: reference(f, normalise) * (1 + 5e-4 * random(1, f.shape[1], 1)),
        "values",
        r"The largest difference is",
    ),
    "part detached": (
        lambda f, normalise=True: (
            f.flatten(2) @ f.detach().flatten(2).mT / (f[0, 0].numel() if normalise else 1)
        ),
        "gradient",
        r"gradient differs",
    ),
    "overwritten": (overwrites, "gradient", r"backward pass fails.*in place"),
    "through numpy": (
        lambda f, normalise=True: reference(torch.from_numpy(f.detach().numpy().copy()), normalise),
        "gradient",
        r"Nothing is learned",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers(ask, name: str) -> None:
    answer, layer, message = WRONG[name]
    result = ask(answer)
    assert result.status == "wrong"
    assert not result.passed
    assert result.layer in layer.split("|")
    assert re.search(message, str(result), re.DOTALL), str(result)
    assert str(result).startswith("Gram matrix: not yet.")
    assert not str(result).count("{")


def test_an_exception_says_type_text_and_case(ask) -> None:
    text = str(ask(broken_line))
    assert "RuntimeError" in text
    assert "“two images”" in text
    line = inspect.getsourcelines(broken_line)[1] + 2
    assert f"Line {line} " in text


def test_an_exception_in_a_notebook_cell_quotes_its_line(ask) -> None:
    source = (
        "def mine(features, normalise=True):\n    half = features / 2\n    return half.nonsense()\n"
    )
    name = "<ipython-input-7-abc>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace: dict[str, Any] = {}
    exec(compile(source, name, "exec"), namespace)
    text = str(ask(namespace["mine"]))
    assert "Line 3 of your code, `return half.nonsense()`, raised AttributeError" in text


def test_named_mistakes_by_value(ask) -> None:
    result = ask(lambda f, normalise=True: torch.einsum("nchw,ndhw->ncd", f, f))
    assert (result.layer, result.mistake) == ("values", "not divided")
    assert "Values grow with the size. Likely cause: M is missing." in str(result)


def test_named_mistakes_by_gradient(ask) -> None:
    result = ask(lambda f, normalise=True: reference(f, normalise).detach())
    assert (result.layer, result.mistake) == ("gradient", "cut")
    assert "A <detach>." in str(result)


def test_an_unnamed_missing_gradient(use) -> None:
    use(dataclasses.replace(GRAM, mistakes=()))
    result = check("demo.gram", detached)
    assert result.layer == "gradient"
    assert "No gradient flows back" in str(result)
    use(dataclasses.replace(GRAM, mistakes=(), gradient=False))
    assert check("demo.gram", detached).passed


def test_interrupts_are_not_swallowed(ask) -> None:
    def stop(features: Tensor, normalise: bool = True) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(stop)


def test_values_and_expected_values_are_shown(use) -> None:
    exercise = Exercise(
        "small.double",
        "Double",
        1,
        "",
        lambda x: 2 * x,
        (Case("three numbers", lambda: (torch.tensor([1.0, 2.0, 4.0]),)),),
        (),
    )
    use(exercise)
    text = str(check("small.double", lambda x: x**2))
    assert "Expected 2, 4, 8" in text
    assert "Got      1, 4, 16" in text


# --- Other kinds of output ------------------------------------------------------------------------


def several(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((2, 3)), x.amax((2, 3))


def named(x: Tensor) -> dict[str, Tensor]:
    return dict(zip(("mean", "top"), several(x), strict=True))


CASES = (Case("a batch", lambda: (random(2, 3, 4, 5),)),)


def test_tuples(use) -> None:
    use(Exercise("pair.both", "Both", 1, "", several, CASES, ()))
    assert check("pair.both", several).passed
    assert check("pair.both", lambda x: list(several(x))).passed
    assert "3 tensors; expected 2 tensors" in str(check("pair.both", lambda x: (*several(x), x)))
    assert "one tensor; expected 2" in str(check("pair.both", lambda x: x))
    swapped = check("pair.both", lambda x: several(x)[::-1])
    assert swapped.layer == "values"
    assert "[0]" in str(swapped)
    only = check("pair.both", lambda x: (several(x)[0], several(x)[1].detach()))
    assert only.layer == "gradient"


def test_dicts(use) -> None:
    use(Exercise("dict.both", "Both", 1, "", named, CASES, ()))
    assert check("dict.both", named).passed
    assert check("dict.both", lambda x: dict(reversed(named(x).items()))).passed
    wrong = check("dict.both", lambda x: {"mean": x.mean((2, 3)), "max": x.amax((2, 3))})
    assert wrong.layer == "contract"
    assert "['max']" in str(wrong)
    assert "['top']" in str(wrong)


def test_numbers_and_whole_tensors(use) -> None:
    use(Exercise("count.cells", "Cells", 1, "", lambda x: x.shape[2] * x.shape[3], CASES, ()))
    assert check("count.cells", lambda x: x[0, 0].numel()).passed
    assert check("count.cells", lambda x: torch.tensor(20)).passed
    wrong = check("count.cells", lambda x: 60)
    assert wrong.layer == "values"
    assert "3 times" in str(wrong)
    assert check("count.cells", lambda x: 20.0).layer == "contract"


def test_an_input_that_is_a_dict_must_stay_whole(use) -> None:
    case = Case("maps", lambda: ({"a": random(1, 2), "b": random(1, 3)},))
    use(
        Exercise(
            "maps.sum", "Sum", 1, "", lambda maps: sum(m.sum() for m in maps.values()), (case,), ()
        )
    )

    def pops(maps: dict[str, Tensor]) -> Tensor:
        return maps.pop("a").sum() + maps.pop("b").sum()

    assert "in place" in str(check("maps.sum", pops))
    assert check("maps.sum", lambda maps: torch.cat(list(maps.values()), 1).sum()).passed


def test_the_tolerance_is_relative_to_the_largest_value(use) -> None:
    case = Case("large", lambda: (torch.tensor([1e6, 1.0]),), tolerance=1e-3)
    use(Exercise("near.same", "Same", 1, "", lambda x: x * 1, (case,), ()))
    assert check("near.same", lambda x: x * 1 + 900).passed
    assert not check("near.same", lambda x: x * 1 + 1100).passed


def test_zero_may_be_reached_with_rounding(use) -> None:
    use(Exercise("near.zero", "Zero", 1, "", lambda x: 0 * x, CASES, (), gradient=False))
    assert check("near.zero", lambda x: 0 * x + 1e-7).passed
    assert not check("near.zero", lambda x: 0 * x + 1e-4).passed


# --- Hints, looks and ids -------------------------------------------------------------------------


def test_hints_come_in_tiers(ask) -> None:
    result = ask(not_divided)
    given = [result.hint() for _ in range(5)]
    assert [text.split(":")[0] for text in given[:3]] == [f"Hint {i} of 3" for i in (1, 2, 3)]
    assert [hint in text for hint, text in zip(GRAM.hints, given, strict=False)] == [True] * 3
    assert given[3] == given[4] == ENGLISH["no more hints"]
    assert "Hint 1" in ask(not_divided).hint()


def test_html_is_escaped(ask) -> None:
    page = ask(lambda f, normalise=True: reference(f, normalise).detach())._repr_html_()
    assert "A &lt;detach&gt;." in page
    assert "<detach>" not in page

    def tricky(features: Tensor, normalise: bool = True) -> Tensor:
        raise ValueError("<script>alert('{x}')</script>")

    page = ask(tricky)._repr_html_()
    assert "<script>" not in page
    assert html.escape("<script>alert('{x}')</script>") in page


def test_html_shows_the_status_in_colour_and_offers_hints_when_wrong(ask) -> None:
    pages = [ask(answer)._repr_html_() for answer in (reference, not_divided, stub_of(GRAM))]
    assert len({page.split("solid ")[1][:7] for page in pages}) == 3
    assert ["hint()" in page for page in pages] == [False, True, False]
    assert pages[1].count("<div") == pages[1].count("</div>") == 1


def test_unknown_ids_list_what_there_is(use) -> None:
    with pytest.raises(SettingError, match=r"'nonsense\.x'.*texture"):
        check("nonsense.x", reference)
    with pytest.raises(SettingError):
        check("", reference)
    use(GRAM)
    with pytest.raises(SettingError, match=r"'demo\.gramm'.*demo\.gram"):
        check("demo.gramm", reference)


def test_check_is_a_name_of_the_package() -> None:
    assert coursekit.check is check
