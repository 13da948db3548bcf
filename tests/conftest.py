"""Options and surroundings that every test shares."""

from __future__ import annotations

import os
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coursekit.exercises.engine import Exercise

# Before anything imports torch: tests run small, and one thread a worker leaves none to fight for.
os.environ.setdefault("COURSEKIT_PRESET", "ci")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Checks note what is done: not in the user's own file. Kernels that tests start inherit this.
_PROGRESS = Path(tempfile.mkdtemp(prefix="coursekit-progress-"))
os.environ["COURSEKIT_PROGRESS"] = str(_PROGRESS / "progress.json")
# hypothesis keeps tables in the working folder unless it is told where.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(_PROGRESS / "hypothesis"))


def pytest_configure(config: pytest.Config) -> None:
    """How many examples a property is tried on: few, or many with ``--slow``; always the same."""
    from hypothesis import Phase, settings

    # No limit of time for one example, nothing remembered from run to run, one failure at a time.
    common: dict[str, Any] = {"deadline": None, "database": None, "report_multiple_bugs": False}
    common["phases"] = (Phase.explicit, Phase.generate, Phase.shrink)
    settings.register_profile("usual", max_examples=25, derandomize=True, **common)
    settings.register_profile("thorough", max_examples=100, derandomize=True, **common)
    many = config.getoption("--slow") or config.getoption("--only-slow")
    settings.load_profile("thorough" if many else "usual")


def pytest_unconfigure() -> None:
    shutil.rmtree(_PROGRESS, ignore_errors=True)


@pytest.fixture(autouse=True)
def course_functions_may_be_handed_in() -> Iterator[None]:
    """Tests check references and wrong answers that call them; test_blocking blocks them again."""
    from coursekit.exercises import blocking

    with blocking.off():
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests as well")
    parser.addoption("--only-slow", action="store_true", help="run the slow tests alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for: deselected, not skipped, so that a skip stays a sign."""
    slow, only = config.getoption("--slow"), config.getoption("--only-slow")

    def wanted(item: pytest.Item) -> bool:
        is_slow = item.get_closest_marker("slow") is not None
        if only and item.get_closest_marker("properties"):
            return True  # again, on more examples
        return is_slow if only else (slow or not is_slow)

    chosen = [item for item in items if wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = chosen


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The top of the repository."""
    return Path(__file__).resolve().parents[1]


def stub_of(exercise: Exercise) -> Callable[..., Any]:
    """Run the stub as a notebook cell would."""
    namespace: dict[str, Any] = {}
    exec(exercise.stub, namespace)
    functions = [v for v in namespace.values() if isinstance(v, types.FunctionType)]
    assert len(functions) == 1
    return functions[0]
