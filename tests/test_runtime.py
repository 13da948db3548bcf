"""Presets, seeds, folders, labels, and what `import coursekit` must not do."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import coursekit
from coursekit.core import runtime
from coursekit.core.errors import CourseError, DataError, SettingError


@pytest.fixture(autouse=True)
def restore_threads():
    """`setup` may change torch's threads; the other tests keep theirs."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# --- Presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "variable", "device", "expected"),
    [
        (None, None, "cpu", "quick"),
        (None, None, "cuda", "full"),
        (None, None, "mps", "full"),
        (None, "", "cpu", "quick"),
        (None, "ci", "cuda", "ci"),
        ("full", "ci", "cpu", "full"),
        ("quick", None, "cuda", "quick"),
    ],
)
def test_the_preset_is_the_argument_then_the_variable_then_the_device(
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    variable: str | None,
    device: str,
    expected: str,
) -> None:
    monkeypatch.delenv("COURSEKIT_PRESET", raising=False)
    if variable is not None:
        monkeypatch.setenv("COURSEKIT_PRESET", variable)
    monkeypatch.setattr(runtime, "best_device", lambda: torch.device(device))
    assert runtime.setup(argument, quiet=True).preset == expected


def test_a_wrong_preset_lists_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"'fast'.*ci, quick, full"):
        runtime.setup("fast")
    monkeypatch.setenv("COURSEKIT_PRESET", "CI")
    with pytest.raises(SettingError, match="COURSEKIT_PRESET"):
        runtime.setup()
    assert issubclass(SettingError, (CourseError, ValueError))


@pytest.mark.parametrize("preset", ["ci", "quick", "full"])
def test_pick(preset: str) -> None:
    run = runtime.Run(preset, torch.device("cpu"), 0)
    assert (
        run.pick(ci=1, quick=(2, 3), full=None) == {"ci": 1, "quick": (2, 3), "full": None}[preset]
    )
    with pytest.raises(TypeError):
        run.pick(ci=1, quick=2)  # every preset has a value


def test_label() -> None:
    run = runtime.Run("quick", torch.device("cpu"), 7)
    assert run.label(weights="VGG-16 ImageNet", data="chelsea", steps=200) == (
        "weights VGG-16 ImageNet · data chelsea · steps 200 · preset quick · seed 7"
    )
    assert run.label() == "preset quick · seed 7"


def test_setup_says_what_it_chose(capsys: pytest.CaptureFixture[str]) -> None:
    run = runtime.setup("ci", seed=3)
    line = capsys.readouterr().out
    for fact in (coursekit.__version__, torch.__version__, "preset ci", "seed 3"):
        assert fact in line
    assert line.count("\n") == 1
    assert (run.preset, run.seed) == ("ci", 3)
    runtime.setup("ci", quiet=True)
    assert capsys.readouterr().out == ""


# --- Seeds and threads ----------------------------------------------------------------------------


def draw() -> list[float]:
    return [random.random(), np.random.rand(), torch.rand(1).item()]


@pytest.mark.parametrize("seed", [0, 1, 2**40, -5])
def test_setup_seeds_python_numpy_and_torch(seed: int) -> None:
    runtime.setup("ci", seed=seed, quiet=True)
    first = draw()
    assert draw() != first
    runtime.setup("ci", seed=seed, quiet=True)
    assert draw() == first
    runtime.seed_everything(seed + 1)
    assert not set(draw()) & set(first)


def test_a_generator_stands_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = torch.rand(3, generator=runtime.generator(5))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(torch.rand(3, generator=runtime.generator(5)), first)
    assert not torch.equal(torch.rand(3, generator=runtime.generator(6)), first)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_THREADS", "1")
    runtime.setup("ci", quiet=True)
    assert torch.get_num_threads() == 1
    monkeypatch.setenv("COURSEKIT_THREADS", "")
    runtime.setup("ci", quiet=True)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " ", "²"])
def test_threads_that_cannot_be(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("COURSEKIT_THREADS", value)
    with pytest.raises(SettingError, match="COURSEKIT_THREADS"):
        runtime.setup("ci", quiet=True)


# --- Folders and flags ----------------------------------------------------------------------------


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "кэш"))
    assert runtime.cache_dir() == tmp_path / "кэш"
    assert not (tmp_path / "кэш").exists()  # asking writes nothing
    monkeypatch.setenv("COURSEKIT_CACHE", "~/somewhere")
    assert runtime.cache_dir() == Path.home() / "somewhere"
    monkeypatch.delenv("COURSEKIT_CACHE")
    assert runtime.cache_dir().is_absolute()
    assert "coursekit" in runtime.cache_dir().parts[-1]


def test_data_dir(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert runtime.data_dir() == checkout / "data"
    # An installed wheel carries its own copy inside the package.
    package = tmp_path / "site" / "coursekit"
    (package / "core").mkdir(parents=True)
    monkeypatch.setattr(runtime, "__file__", str(package / "core" / "runtime.py"))
    with pytest.raises(DataError, match="Install the package again"):
        runtime.data_dir()
    (package / "_data").mkdir()
    (package / "_data" / "README.md").touch()
    assert runtime.data_dir() == package / "_data"


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)]
)
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool) -> None:
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("COURSEKIT_OFFLINE", value)
    assert runtime.offline() is expected


def test_colab_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert not runtime.in_colab()
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260101")
    assert runtime.in_colab()


def test_inline_jpeg_outside_a_notebook_does_nothing() -> None:
    assert runtime.inline_jpeg() is False


# --- Imports --------------------------------------------------------------------------------------

HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "matplotlib",
    "PIL",
    "skimage",
    "sklearn",
    "scipy",
    "tqdm",
)
LIGHT = (
    "coursekit",
    "coursekit.core.errors",
    "coursekit.core.runtime",
    "coursekit.core.weights",
    "coursekit.cli",
    "coursekit.doctor",
)


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert python(code) == "[]"


def test_names_are_found_on_first_use() -> None:
    code = (
        "import sys, coursekit; before = 'torch' in sys.modules; "
        "coursekit.losses.gram_matrix; print(before, 'torch' in sys.modules)"
    )
    assert python(code) == "False True"


def test_every_name_of_the_package_exists() -> None:
    for name in coursekit.__all__:
        assert getattr(coursekit, name) is not None
    assert set(coursekit.__all__) <= set(dir(coursekit))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = coursekit.nonsense


@pytest.mark.parametrize(("bf16", "amx"), [(True, False), (False, True), (False, False)])
def test_a_processor_multiplies_bfloat16_if_it_says_so(bf16: bool, amx: bool, monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert runtime.multiplies_bfloat16(torch.device("cpu")) == (bf16 or amx)


def test_a_processor_that_cannot_be_asked_does_not(monkeypatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not runtime.multiplies_bfloat16(torch.device("cpu"))
    assert not runtime.multiplies_bfloat16(torch.device("mps"))


@pytest.mark.parametrize(("major", "able"), [(7, False), (8, True), (9, True)])
def test_gpus_multiply_bfloat16_from_capability_8_on(major: int, able: bool, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert runtime.multiplies_bfloat16(torch.device("cuda")) == able


def test_nothing_asks_for_bfloat16_outright(checkout: Path) -> None:
    """Where a processor has no instructions for it, it took up to 20 times as long as float32."""
    places = [*checkout.glob("coursekit/**/*.py"), *checkout.glob("notebooks/*.ipynb")]
    quoted = re.compile(r"[^`]\\?\"bfloat16\\?\"")
    asked = {p.stem for p in places if quoted.search(p.read_text(encoding="utf-8"))}
    assert asked == {"features", "training"}, 'write precision="auto"'
