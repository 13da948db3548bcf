"""Wrong answers that nobody thought of are rejected: references changed by a program."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_exercises import EXERCISES
from torch import Tensor

from coursekit import cli
from coursekit.core.errors import SettingError
from coursekit.core.runtime import generator
from coursekit.exercises import engine, equivalent, score
from coursekit.exercises.engine import Case, Exercise
from coursekit.exercises.mutate import mutants


def _half(values: Tensor) -> Tensor:
    return values / 2


def spread(values: Tensor, others: Tensor, power: int = 2) -> Tensor:
    """Something with a bit of everything."""
    if values.shape != others.shape:
        raise ValueError("sizes")
    with torch.no_grad():
        centre = others.mean(dim=(0, 1), keepdim=True)
    scaled = _half(values - centre.detach())
    return -scaled.pow(power).sum(1).sqrt()


def test_every_kind_of_change_is_made() -> None:
    names = {mutant.name for mutant in mutants(spread)}
    for expected in (
        "values - centre.detach() -> values + centre.detach()",
        "values - centre.detach() -> centre.detach() - values",
        "values - centre.detach() -> values",
        "centre.detach() -> centre",
        "scaled.pow(power).sum(1).sqrt() -> scaled.pow(power).sum(1)",
        "scaled.pow(power).sum(1) -> scaled.pow(power).mean(1)",
        "-scaled.pow(power).sum(1).sqrt() -> scaled.pow(power).sum(1).sqrt()",
        "(0, 1) -> (0,)",
        "(0, 1) -> (1,)",
        "1 -> 2",
        "1 -> 0",
        "True -> False",
        "with torch.no_grad(): -> if True:",
        "_half values / 2 -> values * 2",
        "_half 2 -> 3",
        "others -> others[:1]",
        "values -> others",
        "_half(values - centre.detach()) -> values - centre.detach()",
    ):
        assert any(name.split(" (")[0] == expected or name == expected for name in names), expected
    assert not any("sizes" in name or "ValueError" in name for name in names)


def test_mutants_run_in_their_module_and_leave_the_function_alone() -> None:
    values, others = torch.rand(3, 4), torch.rand(3, 4)
    before = spread(values, others)
    results = {}
    for mutant in mutants(spread):
        try:
            results[mutant.name] = mutant.function(values, others)
        except Exception:
            continue
    assert torch.equal(spread(values, others), before)
    centre = others.mean(dim=(0, 1), keepdim=True)
    plus = results["values - centre.detach() -> values + centre.detach()"]
    assert torch.allclose(plus, -((values + centre) / 2).norm(dim=1))
    double = results["_half values / 2 -> values * 2"]
    assert torch.allclose(double, 4 * before)


def gram(features: Tensor) -> Tensor:
    rows = features.flatten(2)
    return rows @ rows.mT / rows.shape[2]


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


WEAK = Exercise(
    id="demo.gram",
    title="Gram",
    points=1,
    stub="",
    reference=gram,
    cases=(Case("one", lambda: (made(1, 4, 2, 2),)),),
    hints=(),
    gradient=False,
)


def test_the_score_sees_the_holes_of_a_weak_exercise() -> None:
    found = score.score(WEAK)
    assert found.survivors == ()  # what passes computes the same on inputs of such cases
    fixed = dataclasses.replace(WEAK, cases=(Case("ones", lambda: (torch.ones(1, 2, 2, 1),)),))
    holes = score.score(fixed)
    assert "rows.shape[2] -> rows.shape" not in holes.equivalent
    assert len(holes.survivors) >= 1
    assert holes.share < 0.95


def test_what_a_person_calls_equivalent_counts_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = dataclasses.replace(WEAK, cases=(Case("ones", lambda: (torch.ones(1, 2, 2, 1),)),))
    names = score.score(fixed).survivors
    monkeypatch.setattr(score, "EQUIVALENT", {"demo.gram": dict.fromkeys(names, "a test")})
    found = score.score(fixed)
    assert (found.survivors, found.share) == ((), 1.0)
    assert set(names) <= set(found.equivalent)


def test_the_list_of_equivalents_is_about_mutants_that_exist() -> None:
    known = {exercise.id: exercise for exercise in EXERCISES}
    for id, reasons in equivalent.EQUIVALENT.items():
        names = {mutant.name for mutant in mutants(known[id].reference)}
        assert set(reasons) <= names
        assert all(reasons.values())


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_a_sample_of_the_mutants_is_rejected(exercise: Exercise) -> None:
    found = score.score(exercise, step=13)
    assert found.share >= 0.95, found.survivors


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_of_all_mutants_nineteen_in_twenty_are_rejected(exercise: Exercise) -> None:
    found = score.score(exercise)
    assert found.rejected >= 3
    assert found.share >= 0.95, found.survivors


def test_the_command_lists_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["exercises", "gatys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(engine.of_topic("gatys"))
    assert "rejected" not in lines[0]
    assert "gatys.content_loss" in lines[1]
    assert cli.main(["exercises", "nonsense"]) == 1
    assert "There is no topic 'nonsense'" in capsys.readouterr().err
    (only,) = list(score.table(["dcgan"], scored=False))[7:8]
    assert only.startswith("dcgan.")
    with pytest.raises(SettingError):
        engine.find("nonsense.x")
