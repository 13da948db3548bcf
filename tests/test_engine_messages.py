"""What a check says and how: certainty, two mistakes at once, smallest inputs, languages, looks."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import IPython.core.formatters
import pytest
import torch
from torch import Tensor

from coursekit.core.errors import CheckFailed, CourseError, SettingError
from coursekit.exercises import engine, messages, registry
from coursekit.exercises.engine import Case, Exercise, Mistake, Property, Result, check
from coursekit.exercises.results import CHECK_MIME


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gram(features: Tensor) -> Tensor:
    rows = features.flatten(2)
    return rows @ rows.mT / rows.shape[2]


def detached(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda features: right(features.detach()) + 0 * features.sum()


def turned(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda features: -right(features)


GRAM = Exercise(
    id="demo.gram",
    title="Gram matrix",
    points=2,
    stub="",
    reference=gram,
    cases=(
        Case("two pictures", lambda: (random(2, 3, 4, 5),)),
        Case("one row", lambda: (random(1, 3, 1, 8, seed=1),)),
    ),
    hints=("One.", "Two.", "Three."),
    mistakes=(
        Mistake(
            "not divided", lambda f: gram(f) * f[0, 0].numel(), "It grows with M.", "M is missing."
        ),
        Mistake("divided by H", lambda f: gram(f) * f.shape[3], "Too large.", "H is no M."),
        Mistake("sign", turned, "It is negative.", "a minus.", wraps=True),
        Mistake("detached", detached, "Nothing is learned.", "a detach().", wraps=True),
    ),
    properties=(
        Property(
            "order of positions",
            lambda answer, f: torch.allclose(answer(f.flip(3)), answer(f), atol=1e-5),
            "The order of the positions matters to yours.",
        ),
        Property(
            "descent",
            lambda answer, f: bool(answer(0.5 * f).norm() < answer(f).norm()),
            "A step does not help.",
            layer="behaviour",
        ),
    ),
)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(answer: Any, exercise: Exercise = GRAM, **options: Any) -> Result:
        module = types.ModuleType("coursekit.exercises.demo")
        module.EXERCISES = (exercise,)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(registry, "TOPICS", (*registry.TOPICS, "demo"))
        return check(exercise.id, answer, **options)

    return run


# --- Certainty ------------------------------------------------------------------------------------


def test_a_mistake_that_does_the_same_everywhere_is_certain(ask) -> None:
    result = ask(lambda f: f.flatten(2) @ f.flatten(2).mT)
    assert (result.layer, result.mistake, result.certainty) == ("values", "not divided", "certain")
    assert "Yours does what this mistake does, in all 2 cases." in str(result)


def test_other_gradients_make_it_likely(ask) -> None:
    result = ask(lambda f: f.flatten(2).detach() @ f.flatten(2).mT)
    assert (result.mistake, result.certainty) == ("not divided", "likely")
    assert "other gradients" in str(result)


def test_one_case_alone_makes_it_possible(ask) -> None:
    result = ask(lambda f: gram(f) * (20 if len(f) == 2 else 3))
    assert (result.mistake, result.certainty) == ("not divided", "possible")
    assert "here, not everywhere" in str(result)


def test_of_two_that_agree_on_a_case_the_one_that_agrees_on_all_is_named(ask) -> None:
    mistakes = (
        Mistake("twenty", lambda f: gram(f) * 20, "Twenty times.", "20."),
        *GRAM.mistakes,
    )
    exercise = dataclasses.replace(GRAM, mistakes=mistakes)
    assert ask(lambda f: f.flatten(2) @ f.flatten(2).mT, exercise).mistake == "not divided"
    assert ask(lambda f: gram(f) * 20, exercise).mistake == "twenty"


def test_right_answers_are_sure_of_nothing(ask) -> None:
    assert ask(gram).certainty == ""


# --- Mistakes that wrap, alone and on top of another ----------------------------------------------


def test_a_mistake_may_be_a_wrapper_of_the_reference(ask) -> None:
    result = ask(lambda f: -gram(f))
    assert (result.mistake, result.certainty) == ("sign", "certain")
    cut = ask(lambda f: gram(f).detach())
    assert (cut.layer, cut.mistake) == ("gradient", "detached")


def test_two_mistakes_at_once_are_both_named(ask) -> None:
    result = ask(lambda f: -f.flatten(2) @ f.flatten(2).mT)
    assert result.mistake == "not divided + sign"
    assert result.certainty == "certain"
    assert "Two things at once. It grows with M." in str(result)
    assert "It is negative. Likely cause: a minus." in str(result)
    three = ask(lambda f: gram(f).detach() * f[0, 0].numel())
    assert (three.mistake, three.certainty) == ("not divided", "likely")


# --- Properties -----------------------------------------------------------------------------------


def test_a_property_is_tried_on_inputs_that_are_no_case(ask) -> None:
    known = [case.make()[0] for case in GRAM.cases]

    def learnt_by_heart(features: Tensor) -> Tensor:
        if any(features.shape == k.shape and torch.equal(features, k) for k in known):
            return gram(features)
        return gram(features) + features.flatten(2)[:, :, :1]

    result = ask(learnt_by_heart)
    assert (result.status, result.layer) == ("wrong", "property")
    assert "The order of the positions matters to yours." in str(result)
    assert "two pictures" in str(result)


def test_an_error_inside_a_property_is_told(ask) -> None:
    known = [case.make()[0] for case in GRAM.cases]

    def fails_elsewhere(features: Tensor) -> Tensor:
        if not any(features.shape == k.shape and torch.equal(features, k) for k in known):
            raise ValueError("never seen")
        return gram(features)

    result = ask(fails_elsewhere)
    assert result.layer == "property"
    assert "An input that is allowed makes it fail" in str(result)
    assert "ValueError: never seen" in str(result)


def test_behaviour_comes_last(ask) -> None:
    known = GRAM.cases[0].make()[0]

    def grows_when_halved(features: Tensor) -> Tensor:
        return gram(features) * (100 if features.norm() < 0.9 * known.norm() else 1)

    result = ask(grows_when_halved, dataclasses.replace(GRAM, cases=GRAM.cases[:1]))
    assert (result.layer, "A step does not help." in str(result)) == ("behaviour", True)


# --- The smallest input, and what explains a difference -------------------------------------------


def plain(exercise: Exercise = GRAM) -> Exercise:
    return dataclasses.replace(exercise, mistakes=(), properties=())


def test_the_input_is_cut_down_while_the_answer_is_still_wrong(ask) -> None:
    text = str(ask(lambda f: gram(f).triu(), plain()))
    shape = re.search(
        r"smallest input found with a wrong result: \((\d+), (\d+), (\d+), (\d+)\)", text
    )
    assert shape is not None, text
    assert [int(n) for n in shape.groups()] == [1, 2, 1, 1]
    numbers = re.search(r"\(1, 2, 1, 1\): ([-\d.]+), ([-\d.]+)\.", text)
    a, b = (float(n) for n in numbers.groups())
    assert re.search(r"Expected ([-\d.]+, ){3}", text)
    expected = [float(n) for n in re.search(r"Expected (.*)", text)[1].split(", ")]
    got = [float(n) for n in re.search(r"Got +(.*)", text)[1].split(", ")]
    assert expected == pytest.approx([a * a, a * b, a * b, b * b], rel=1e-3)
    assert got == pytest.approx([a * a, a * b, 0, b * b], rel=1e-3)
    assert "Ratio    1, 1, 0, 1" in text


def test_what_only_goes_wrong_for_two_images_keeps_two_images(ask) -> None:
    text = str(ask(lambda f: gram(f[:1]).expand(len(f), -1, -1), plain()))
    assert "wrong result: (2, 1, 1, 1)" in text


def test_arguments_that_belong_together_are_cut_together(ask) -> None:
    pair = Exercise(
        id="demo.pair",
        title="Pair",
        points=1,
        stub="",
        reference=lambda x, y: (x * y["b"]).sum(1),
        cases=(Case("a pair", lambda: (random(4, 6), {"b": random(4, 6, seed=1)})),),
        hints=(),
    )
    text = str(ask(lambda x, y: (x + y["b"]).sum(1), pair))
    assert re.search(r"wrong result: \(1, 1\): [-\d.]+; \(1, 1\): [-\d.]+\.", text), text


def test_a_wrong_shape_is_explained_in_the_check(ask) -> None:
    text = str(ask(lambda f: gram(f)[0], plain()))
    assert "shape (3, 3); expected (2, 3, 3)" in text
    assert "right for one image; the batch dimension is missing" in text


# --- One catalogue of sentences -------------------------------------------------------------------

NORTHERN = {
    "wrong": "{title}: ikke ennå. {message}",
    "passed": "{title}: riktig, {cases} ganger.",
    "mistake": "{symptom} Kanskje: {cause}",
    "downstream course": "",
    "demo.gram/title": "Gram-matrise",
    "demo.gram/hint/1": "En.",
    "demo.gram/case/two pictures": "to bilder",
    "demo.gram/mistake/not divided/symptom": "Den vokser.",
    "demo.gram/mistake/not divided/cause": "M mangler.",
    "demo.gram/property/order of positions": "Rekkefølgen teller.",
}


@pytest.fixture
def northern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = tmp_path / "xx.json"
    file.write_text(json.dumps(NORTHERN), encoding="utf-8")
    monkeypatch.setattr(messages, "FOLDER", tmp_path)
    yield file
    messages.use(None)


@pytest.mark.parametrize("way", ["variable", "path", "call"])
def test_another_language_needs_no_code(ask, northern, monkeypatch, way: str) -> None:
    if way == "call":
        messages.use("xx")
    else:
        value = "xx" if way == "variable" else str(northern)
        monkeypatch.setenv("COURSEKIT_LANGUAGE", value)
    assert str(ask(gram)) == "Gram-matrise: riktig, 2 ganger."
    wrong = ask(lambda f: f.flatten(2) @ f.flatten(2).mT)
    assert str(wrong).startswith("Gram-matrise: ikke ennå. Den vokser. Kanskje: M mangler.")
    assert wrong.mistake == "not divided"
    assert wrong.hint() == "Hint 1 of 3: En."
    assert "to bilder" in str(ask(lambda f: gram(f) + random(1, 3, 3, seed=3)))


def test_a_language_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"'zz'.*Choose from en"):
        messages.use("zz")
    monkeypatch.setenv("COURSEKIT_LANGUAGE", "en")
    assert messages.say("True") == "yes"


def test_every_sentence_comes_from_the_catalogue() -> None:
    """Each key that the engine asks for exists, and none is left over."""
    folder = Path(engine.__file__).parent
    names = "engine blocking compare guard heat matching messages progress results running shrink"
    code = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in names.split())
    before, _, after = code.partition("ENGLISH = {")
    code = before + after.partition("\n}\n")[2]
    for key in messages.ENGLISH:
        assert re.search(f"[\"']{key}[\"']", code) or key in ("True", "False"), key
    asked = set(re.findall(r'\bsay\(\s*"([^"]+)"', code))
    assert asked <= set(messages.ENGLISH)
    assert len(asked) > 30


# --- How it looks ---------------------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    """Collects tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attributes}))
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_difference_is_drawn(ask) -> None:
    from PIL import Image

    page = ask(lambda f: gram(f).triu(), plain())._repr_html_()
    tags = Tags(page)
    assert tags.open == []
    # What a notebook that is not trusted leaves standing: plain tags, inline styles.
    assert {tag for tag, _ in tags.found} == {"div", "br", "small", "table", "tr", "td", "img"}
    assert {key for _, attributes in tags.found for key in attributes} == {"style", "alt", "src"}
    pictures = [attributes["src"] for tag, attributes in tags.found if tag == "img"]
    assert len(pictures) == 3
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    assert sum(map(len, pictures)) < 10_000
    difference = Image.open(io.BytesIO(base64.b64decode(pictures[2].split(",")[1])))
    colours = [difference.getpixel((x, y)) for y in (10, 110) for x in (10, 110)]
    white = (255, 255, 255)
    assert [colour == white for colour in colours] == [True, True, False, True]


def test_large_results_stay_small_on_the_page(ask) -> None:
    wide = dataclasses.replace(plain(), cases=(Case("wide", lambda: (random(2, 90, 3, 3),)),))
    page = ask(lambda f: gram(f) + random(90, 90, seed=2), wide)._repr_html_()
    assert page.count("data:image/png") == 3
    assert len(page) < 12_000


def test_nothing_is_drawn_where_there_is_nothing_to_see(ask) -> None:
    for answer in (gram, lambda f: gram(f)[0], lambda f: None, lambda f: gram(f).detach()):
        assert "<img" not in ask(answer)._repr_html_()


def test_the_bundle_has_text_page_and_data(ask) -> None:
    bundle = ask(lambda f: f.flatten(2) @ f.flatten(2).mT)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", CHECK_MIME}
    assert bundle[CHECK_MIME] == {
        "id": "demo.gram",
        "status": "wrong",
        "layer": "values",
        "mistake": "not divided",
        "points": 2,
    }
    json.dumps(bundle)


# --- What later cells run, and grading ------------------------------------------------------------


def mine(features: Tensor) -> Tensor:
    return torch.einsum("nchw,ndhw->ncd", features, features) / features[0, 0].numel()


def test_later_cells_run_the_courses_own_function(ask) -> None:
    assert ask(mine).function is gram
    wrong = ask(lambda f: f, use="mine")
    assert wrong.function is gram
    assert str(wrong).endswith("Later cells use the course's own function.")

    def untouched(features: Tensor) -> Tensor:
        raise NotImplementedError("your turn")

    assert ask(untouched, use="mine").function is gram
    assert str(ask(untouched)).endswith("Later cells use the course's own function meanwhile.")


def test_after_a_pass_ones_own_may_be_used(ask) -> None:
    result = ask(mine, use="mine")
    assert result.function is mine
    assert str(result).endswith("Later cells use your function.")
    with pytest.raises(SettingError, match=r"'his'.*mine"):
        ask(mine, use="his")


def test_grading_shows_and_raises(ask, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COURSEKIT_GRADING", "1")
    assert ask(mine).passed
    assert "correct" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match=r"demo\.gram: wrong") as caught:
        ask(lambda f: -gram(f))
    assert isinstance(caught.value, CourseError | AssertionError)
    assert caught.value.result.mistake == "sign"
    assert "It is negative." in capsys.readouterr().out

    def untouched(features: Tensor) -> Tensor:
        raise NotImplementedError("your turn")

    with pytest.raises(CheckFailed, match="not started"):
        ask(untouched)
    monkeypatch.setenv("COURSEKIT_GRADING", "0")
    assert ask(untouched).status == "not started"


def test_writing_to_stderr_costs_no_points(ask, monkeypatch, capsys) -> None:
    """nbgrader gives none to a cell that does, and every warning of Python's is written there."""

    def warning(features: Tensor) -> Tensor:
        print("this is slow", file=sys.stderr)
        return gram(features)

    assert ask(warning).passed
    assert "this is slow" in capsys.readouterr().err
    monkeypatch.setenv("COURSEKIT_GRADING", "1")
    assert ask(warning).passed
    written = capsys.readouterr()
    assert not written.err
    assert "this is slow" in written.out


def test_what_was_shown_is_no_value_of_a_cell(ask, monkeypatch) -> None:
    """nbgrader would take a value for points, and say that it is no number."""
    formatter = IPython.core.formatters.DisplayFormatter()
    formats, _ = formatter.format(ask(mine))
    assert "correct" in formats["text/plain"] and "correct" in formats["text/html"]
    monkeypatch.setenv("COURSEKIT_GRADING", "1")
    assert formatter.format(ask(mine)) == ({}, {})


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ([{"a": 1}], "a list with a dict"),
        ({"a": "b"}, "a dict with a str"),
        ({"a": None}, "a dict with a NoneType"),
        ("b", "a str"),
    ],
)
def test_what_came_back_is_named(ask, output: object, said: str) -> None:
    assert f"The function returned {said}; expected one tensor" in str(ask(lambda f: output))


# --- The promise of notebook 02 -------------------------------------------------------------------

FIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "not divided by M": lambda f: torch.einsum("nchw,ndhw->ncd", f, f),
    "divided by C·M": lambda f: torch.einsum("nchw,ndhw->ncd", f, f) / f[0].numel(),
    "positions by positions": lambda f: f.flatten(2).mT @ f.flatten(2) / f[0, 0].numel(),
    "batch flattened together": lambda f: (
        f.transpose(0, 1).flatten(1) @ f.transpose(0, 1).flatten(1).T / f[:, 0].numel()
    ).expand(len(f), -1, -1),
    "mean removed": lambda f: torch.stack([torch.cov(x.flatten(1), correction=0) for x in f]),
}


def test_five_wrong_gram_matrices_are_told_five_different_correct_things() -> None:
    results = {name: check("texture.gram_matrix", answer) for name, answer in FIVE.items()}
    assert {name: result.mistake for name, result in results.items()} == {n: n for n in FIVE}
    assert len({result.message for result in results.values()}) == 5
    assert all(result.certainty == "certain" for result in results.values())
