"""Students' code that loops, recurses, floods, draws or stops: the check survives, and says so."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coursekit.exercises import engine, guard, registry
from coursekit.exercises.engine import Case, Exercise, Result, check
from coursekit.exercises.guard import Guard, OutOfTime

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit of Linux")
ALARM = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")


def double(x: Tensor) -> Tensor:
    return 2 * x


DOUBLE = Exercise(
    id="demo.double",
    title="Double",
    points=1,
    stub="",
    reference=double,
    cases=(Case("six numbers", lambda: (torch.linspace(-1, 1, 6).view(2, 3),)),),
    hints=("Twice.",),
)


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("coursekit.exercises.demo")
    module.EXERCISES = (DOUBLE,)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "TOPICS", (*registry.TOPICS, "demo"))
    monkeypatch.setenv("COURSEKIT_CHECK_SECONDS", "0.6")


def state() -> dict[str, Any]:
    """Everything that a check must leave as it was."""
    found = {
        "stdout": sys.stdout,
        "stderr": sys.stderr,
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "recursion": sys.getrecursionlimit(),
        "interrupt": signal.getsignal(signal.SIGINT),
        "torch": torch.get_rng_state().tolist(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],
        "random": random.getstate(),
        "threads": threading.active_count(),
        "seed functions": (torch.manual_seed, np.random.seed, random.seed),
    }
    if hasattr(signal, "setitimer"):
        found["alarm"] = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    if sys.platform.startswith("linux"):
        import resource

        found["data"] = resource.getrlimit(resource.RLIMIT_DATA)
    return found


@pytest.fixture(autouse=True)
def nothing_changes(demo: None) -> Iterator[None]:
    before = state()
    yield
    assert state() == before
    assert check("demo.double", double).passed


# --- Time -----------------------------------------------------------------------------------------


def loops(x: Tensor) -> Tensor:
    while True:
        x = x + 1


def swallows(x: Tensor) -> Tensor:
    while True:
        try:
            x = x + 1
        except Exception:
            continue


def swallows_all(x: Tensor) -> Tensor:
    ends = 0
    while ends < 2:
        try:
            while True:
                x = x + 1
        except:  # noqa: E722 — that is what is tried
            ends += 1
    while True:
        x = x + 1


def sleeps(x: Tensor) -> Tensor:
    time.sleep(60)
    return 2 * x


@pytest.mark.parametrize("answer", [loops, swallows, swallows_all])
def test_a_loop_without_an_end_is_cut(answer: Callable[..., Any]) -> None:
    start = time.monotonic()
    result = check("demo.double", answer)
    assert (result.status, result.layer) == ("wrong", "contract")
    assert "the 0.6 seconds that a check has were over" in result.message
    assert re.search(r"It was at line \d+, `(x = x \+ 1|while True:|try:)`", result.message)
    assert time.monotonic() - start < 20


@ALARM
def test_sleeping_is_cut_too() -> None:
    start = time.monotonic()
    assert "seconds that a check has" in str(check("demo.double", sleeps))
    assert time.monotonic() - start < 30


def test_a_loop_is_cut_on_another_thread_too() -> None:
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(check("demo.double", loops)))
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert "seconds that a check has" in found[0].message


def test_the_other_clock_works_on_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what happens on Windows."""
    monkeypatch.setattr(guard, "_clock", lambda: guard._ThreadClock)
    for answer in (loops, swallows_all):
        assert "seconds that a check has" in check("demo.double", answer).message
    assert check("demo.double", double).passed


def test_all_calls_of_a_check_share_the_time() -> None:
    watch = Guard(0.5)
    with guard.kept():
        watch.run(lambda: time.sleep(0.4))
        with pytest.raises(OutOfTime):
            watch.run(lambda: [None for _ in iter(int, 1)])
        assert Guard(5).run(lambda: 3) == 3


@ALARM
def test_somebody_elses_alarm_goes_on() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        check("demo.double", double)
        deadline = time.monotonic() + 20
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        assert heard == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_how_long_a_check_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard.seconds_allowed() == 0.6
    monkeypatch.delenv("COURSEKIT_CHECK_SECONDS")
    monkeypatch.setenv("COURSEKIT_PRESET", "ci")
    assert guard.seconds_allowed() == 10
    monkeypatch.setenv("COURSEKIT_PRESET", "quick")
    assert guard.seconds_allowed() == 20
    monkeypatch.setenv("COURSEKIT_CHECK_SECONDS", "soon")
    assert guard.seconds_allowed() == 20


# --- Recursion, memory, output, the end of Python -------------------------------------------------


def recurses(x: Tensor) -> Tensor:
    return recurses(x) + 1


def raises_the_limit(x: Tensor) -> Tensor:
    sys.setrecursionlimit(5000)
    return recurses(x)


@pytest.mark.parametrize("answer", [recurses, raises_the_limit])
def test_recursion_without_an_end(answer: Callable[..., Any]) -> None:
    result = check("demo.double", answer)
    assert "calls itself without an end" in result.message
    assert "return recurses(x) + 1" in result.message


def too_large(x: Tensor) -> Tensor:
    return 2 * x + torch.zeros(10**13)[:6].view_as(x)


def too_large_for_the_limit(x: Tensor) -> Tensor:
    return 2 * x + torch.ones(6 * 2**30, dtype=torch.uint8).sum()


def too_large_in_numpy(x: Tensor) -> Tensor:
    return 2 * x + float(np.ones(2**30 - 1).sum())


def too_long_a_list(x: Tensor) -> Tensor:
    return 2 * x + len([0] * 10**9)


def grows(x: Tensor) -> Tensor:
    pieces = []
    while True:
        pieces.append(torch.ones(2**28, dtype=torch.uint8))


def test_more_memory_than_any_machine_has() -> None:
    assert "asks for more memory" in check("demo.double", too_large).message


@LINUX
@pytest.mark.parametrize(
    "answer", [too_large_for_the_limit, too_large_in_numpy, too_long_a_list, grows]
)
def test_more_memory_than_a_check_gets(
    answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MEMORY", 2**30)
    monkeypatch.setenv("COURSEKIT_CHECK_SECONDS", "20")
    message = check("demo.double", answer).message
    assert "asks for more memory than there is for a check (1.0 GiB" in message
    assert "Line " in message


def floods(x: Tensor) -> Tensor:
    for number in range(100_000):
        print("line", number)
    print("to stderr", file=sys.stderr)
    return 2 * x


def long_line(x: Tensor) -> Tensor:
    print("x" * 10**6)
    return 2 * x


def test_printing_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COURSEKIT_CHECK_SECONDS", "30")
    assert check("demo.double", floods).passed
    shown = capsys.readouterr().out.splitlines()
    assert shown[: guard.LINES] == [f"line {number}" for number in range(guard.LINES)]
    assert shown[guard.LINES :] == [
        f"… {100_001 - guard.LINES:,} more lines of your output were cut."
    ]
    assert check("demo.double", long_line).passed
    assert len(capsys.readouterr().out) < 2 * guard.CHARACTERS


def test_a_few_lines_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    def talks(x: Tensor) -> Tensor:
        print(tuple(x.shape))
        return 2 * x

    assert check("demo.double", talks).passed
    assert capsys.readouterr().out == "(2, 3)\n"


def test_the_end_of_python() -> None:
    def ends(x: Tensor) -> Tensor:
        sys.exit(3)

    def odd(x: Tensor) -> Tensor:
        raise GeneratorExit("odd")

    assert "asks Python to end" in check("demo.double", ends).message
    assert "GeneratorExit: odd" in check("demo.double", odd).message


# --- What comes back ------------------------------------------------------------------------------


async def waits(x: Tensor) -> Tensor:
    return 2 * x


STRANGE: dict[str, tuple[Callable[..., Any], str]] = {
    "None": (lambda x: None, "returned None.*`return`"),
    "numpy": (lambda x: (2 * x).numpy(), "returned a ndarray of numpy.*Stay in torch"),
    "a number of numpy": (lambda x: np.float32(2), r"shape \(\); expected \(2, 3\)"),
    "a generator": (lambda x: (2 * each for each in x), "returned a generator.*`yield`"),
    "a coroutine": (waits, "is `async`.*plain `def`"),
    "a function": (lambda x: double, "returned a function.*brackets"),
    "a class": (lambda x: Tensor, "returned a function.*brackets"),
    "text": (lambda x: "2", "a str; expected one tensor"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STRANGE)
def test_strange_results_are_told_apart(name: str) -> None:
    answer, message = STRANGE[name]
    result = check("demo.double", answer)
    assert result.layer == "contract"
    assert re.search(message, result.message), result.message


# --- Random numbers and settings ------------------------------------------------------------------


def seeds_torch(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return 2 * x


def seeds_numpy_and_random(x: Tensor) -> Tensor:
    np.random.seed(1)
    random.seed(1)
    return 2 * x


def test_setting_a_global_seed_is_wrong() -> None:
    result = check("demo.double", seeds_torch)
    assert (result.status, result.layer) == ("wrong", "contract")
    assert "sets the global seed of torch" in result.message
    assert "seed of numpy, random" in check("demo.double", seeds_numpy_and_random).message


def draws(x: Tensor) -> Tensor:
    torch.rand(3), np.random.rand(2), random.random()
    return 2 * x


def test_drawing_random_numbers_is_worth_a_word() -> None:
    result = check("demo.double", draws)
    assert result.passed
    assert "draws random numbers from numpy, random, torch" in str(result)
    wrong = check("demo.double", lambda x: 2 * x + torch.rand(2, 3))
    assert wrong.layer == "values"
    assert "draws random numbers from torch" in str(wrong)


def test_settings_are_put_back() -> None:
    def changes(x: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        sys.setrecursionlimit(2000)
        sys.stdout = None
        return 2 * x

    result = check("demo.double", changes)
    assert (result.status, result.layer) == ("wrong", "gradient")


# --- Frames and interrupts ------------------------------------------------------------------------


def helper(x: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x, x)


def calls_a_helper(x: Tensor) -> Tensor:
    return helper(x)


def test_only_the_students_own_lines_are_shown() -> None:
    message = check("demo.double", calls_a_helper).message
    assert "`return helper(x)`" in message
    assert "`return torch.nn.functional.conv2d(x, x)`, raised RuntimeError" in message
    assert "coursekit" not in message
    assert "guard" not in message


def test_a_line_in_a_library_is_not_the_students() -> None:
    message = check("demo.double", lambda x: np.linalg.inv(np.zeros((2, 3)))).message
    assert "np.linalg.inv(np.zeros((2, 3)))" in message
    assert "LinAlgError" in message


@ALARM
def test_an_interrupt_goes_through_and_leaves_everything_as_it_was() -> None:
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        check("demo.double", loops)
    timer.join()


@ALARM
def test_interrupts_at_any_moment_leave_everything_as_it_was() -> None:
    """Before, while and after the student's code runs; tidying up is never cut short."""
    for answer in (double, lambda x: 3 * x):
        check("demo.double", answer)  # what torch imports late is there
    before, chance = state(), random.Random(0)
    for number in range(60):
        answer = double if number % 2 else (lambda x: 2 * x.flip(1))
        timer = threading.Timer(0.03 * chance.random(), os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            for _ in range(1000):
                engine.judge(DOUBLE, answer)
        timer.join()
        assert state() == before


def test_a_check_inside_an_answer() -> None:
    def asks(x: Tensor) -> Tensor:
        return 2 * x if check("demo.double", double).passed else x

    assert check("demo.double", asks).passed


# --- A real kernel --------------------------------------------------------------------------------

CELLS = (
    """
import coursekit, torch
def total_variation(images):
    while True:
        pass
coursekit.check("inversion.total_variation", total_variation)
""",
    """
def total_variation(images):
    return total_variation(images) + torch.zeros(10**13)
coursekit.check("inversion.total_variation", total_variation)
""",
    """
def total_variation(images):
    return torch.zeros(10**13).sum()
coursekit.check("inversion.total_variation", total_variation)
""",
    """
from coursekit.core.losses import total_variation as theirs
coursekit.check("inversion.total_variation", lambda images: theirs(images))
""",
    """
def total_variation(images):
    across = images[..., :, 1:] - images[..., :, :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    return (across.square().sum() + down.square().sum()) / len(images)
coursekit.check("inversion.total_variation", total_variation)
""",
)


def test_a_kernel_survives(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=tmp_path)
    bundles = [cell.outputs[0]["data"] for cell in notebook.cells]
    assert ["not yet" in bundle["text/plain"] for bundle in bundles] == [True] * 4 + [False]
    words = (
        "seconds that a check has",
        "calls itself",
        "more memory",
        "Write it yourself",
        "correct",
    )
    for bundle, word in zip(bundles, words, strict=True):
        assert word in bundle["text/plain"]
        facts = bundle["application/vnd.coursekit.check+json"]
        assert facts["id"] == "inversion.total_variation"
        assert facts["points"] == 2
    nbformat.validate(notebook)


def test_a_kernel_survives_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the notebook's client interrupts the kernel long before the check's own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("COURSEKIT_CHECK_SECONDS", "300")
    start = 'import coursekit\ncoursekit.check("inversion.total_variation", lambda images: images)'
    cells = [nbformat.v4.new_code_cell(c.strip()) for c in (start, CELLS[0], CELLS[-1])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook,
        timeout_func=lambda cell: 3 if "while True" in cell.source else 120,
        interrupt_on_timeout=True,
        allow_errors=True,
        kernel_name="python3",
    )
    client.execute(cwd=tmp_path)
    interrupted, passed = (cell.outputs[-1] for cell in notebook.cells[1:])
    assert interrupted["ename"] == "KeyboardInterrupt"
    assert "correct" in passed["data"]["text/plain"]
