"""The benchmarks: the command that runs them all, what it keeps, and the page made from it."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from coursekit import bench, bench_page, bench_results, cli
from coursekit.bench_results import Measured, Ratio, Report, Side, Table
from coursekit.core.errors import DataError, SettingError

TOP = Path(__file__).parents[1]
SCRIPTS = sorted((TOP / "benchmarks").glob("bench_*.py"))
SHARED = {
    "--rounds",
    "--threads",
    "--clock",
    "--device",
    "--bfloat16",
    "--memory",
    "--json",
    "--peak",
}

# Stands in for a script: it measures nothing and keeps a result, unless it does something else.
TOY = '''
"""{title}.

What {title} is about.
"""
import os, signal, sys, time
from pathlib import Path
from coursekit import bench, bench_results
from coursekit.bench_results import Measured, Report, Table, sides

with open("runs.txt", "a") as runs:
    print(sys.argv[0], file=runs)
{first}
words = bench.without_json(sys.argv[1:])
measured = Measured("2026-01-02", words, {{"torch": "2.5"}}, "a toy", 1, "cpu", 0.5, 1.0)
table = Table("a step", sides({{"plain": [0.2, 0.4], "course": [0.1, 0.1]}}), 2, "equal")
report = Report("{title}", (table,), (), measured)
file = Path(sys.argv[sys.argv.index("--json") + 1])
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(bench_results.text({{"{title}": report}}), encoding="utf-8")
'''
TEMPLATE = """
{%- for s in sections %}# {{ s.title }}
{{ s.text }}
{% for r in s.reports %}{{ r | measured }}
{% for t in r.tables %}{{ t | table }}
{% endfor %}{% endfor %}{% endfor %}"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a checkout whose benchmarks are toys; keywords are what a toy does first."""

    def make(**firsts: str) -> Path:
        folder = tmp_path / "benchmarks"
        folder.mkdir(exist_ok=True)
        shutil.copy(TOP / "benchmarks" / "harness.py", folder)
        (folder / "README.md.j2").write_text(TEMPLATE, encoding="utf-8")
        for name, first in firsts.items():
            text = TOY.format(title=name, first=first).lstrip()
            (folder / f"bench_{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(bench, "checkout", lambda: tmp_path)
        monkeypatch.setattr(bench, "BENCHES", dict.fromkeys(firsts, ("cpu",)))
        return tmp_path

    return make


def runs(top: Path) -> list[str]:
    """The names of the toys that were started, in order."""
    lines = (top / "runs.txt").read_text(encoding="utf-8").splitlines()
    return [Path(line).stem.removeprefix("bench_") for line in lines]


# --- The scripts of the course -------------------------------------------------------------------


def test_every_script_is_registered_and_the_other_way_round() -> None:
    assert sorted(bench.BENCHES) == sorted(path.stem.removeprefix("bench_") for path in SCRIPTS)


def test_the_committed_page_is_what_only_write_makes() -> None:
    reports = bench_results.read(TOP / "benchmarks" / bench_page.RESULTS)
    page = (TOP / "benchmarks" / bench_page.PAGE).read_text(encoding="utf-8")
    assert page == bench_page.render(TOP, reports), "python -m benchmarks --only-write"
    for key, report in reports.items():
        assert key.partition("-")[0] in bench.BENCHES and report.tables
        assert str(TOP) not in str(report) and str(Path.home()) not in str(report)


def test_the_links_of_the_committed_page_lead_to_its_headings() -> None:
    page = (TOP / "benchmarks" / bench_page.PAGE).read_text(encoding="utf-8")
    anchors = {bench_page.anchor(head) for head in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links and links <= anchors


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_what_it_compares_and_repeats_no_shared_option(path: Path) -> None:
    title, text = bench.about(path)
    assert title and not title.endswith(".") and text
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    added = [c for c in calls if getattr(c.func, "attr", "") == "add_argument"]
    own = {c.args[0].value for c in added if isinstance(c.args[0], ast.Constant)}
    assert not own & SHARED
    assert any(getattr(c.func, "attr", "") == "main" for c in calls), "harness.main is not called"


# So little work that each takes seconds, and a side whose memory is measured.
SMALL = {
    "gatys": (["--size=32", "--steps=2"], "plain loop"),
    "fast_style": (["--size=32", "--batch=1", "--width=4", "--paint=32"], ""),
    "wct": (["--size=32"], "five levels"),
    "dfi": (["--size=64", "--faces=1"], ""),
    "dcgan": (["--width=8", "--batch=4"], "plain loop"),
    "pix2pix": (["--width=8", "--size=64"], "plain loop"),
    "cyclegan": (["--width=4", "--blocks=1", "--size=32"], "plain loop"),
    "stylegan2": (["--most=8", "--batch=2", "--sides", "plain", "course, float32"], "plain"),
    "spade": (["--batch=2"], "plain loop"),
    "datasets": (["--count=4"], ""),
    "import": ([], ""),
}


def run_script(name: str, *words: str) -> str:
    command = [sys.executable, str(bench.script(TOP, name)), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", bench.BENCHES)
def test_a_script_runs_alone_and_keeps_what_it_printed(name: str, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    words = [*SMALL[name][0], "--rounds=1", "--threads=1", "--bfloat16=no", "--no-memory"]
    printed = run_script(name, *words, f"--json={file}")
    (report,) = bench_results.read(file).values()
    assert report.name == name and report.measured.threads == 1
    assert report.measured.arguments == tuple(words)
    for table in report.tables:
        assert bench_results.markdown(table) in printed
        assert all(side.milliseconds is None or side.milliseconds > 0 for side in table.sides)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (_, side) in SMALL.items() if side])
def test_a_script_measures_the_memory_of_a_side(name: str) -> None:
    words, side = SMALL[name]
    precision = ["--precision=float32"] if name in ("dcgan", "pix2pix", "cyclegan") else []
    peak, before = run_script(name, *words, *precision, "--peak", side).split()[-2:]
    assert float(peak) >= float(before) > 100


# --- Running -------------------------------------------------------------------------------------


def test_one_that_stops_does_not_stop_the_others(
    toys: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    top = toys(one="", broken="sys.exit('out of paint')", two="")
    assert cli.main(["bench"]) == 1
    assert runs(top) == ["one", "broken", "two"]
    said = capfd.readouterr()
    assert "out of paint" in said.err and "Stopped with an error: broken" in said.err
    assert "[3/3] two" in said.out
    page = (top / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert page.count("| course | 100 ms | 0.38 (0.31 to 0.44) |") == 2
    assert sorted(bench_results.read(top / "benchmarks" / "results.json")) == ["one", "two"]


def test_resume_measures_what_is_missing_or_was_measured_otherwise(
    toys: Callable[..., Path],
) -> None:
    top = toys(one="", broken="sys.exit(3)")
    assert cli.main(["bench", "--no-write"]) == 1
    toys(one="", broken="")  # mended
    assert cli.main(["bench", "--no-write", "--resume"]) == 0
    assert runs(top) == ["one", "broken", "broken"]
    assert cli.main(["bench", "one", "--resume", "--rounds", "7"]) == 0
    assert runs(top) == ["one", "broken", "broken", "one"]
    for text in ("{", "{}"):  # half a file, an empty one
        (top / "build" / "bench" / "one.json").write_text(text, encoding="utf-8")
        assert cli.main(["bench", "one", "--resume", "--rounds", "7"]) == 0
    assert runs(top)[4:] == ["one", "one"]


def test_an_older_result_is_not_taken_for_that_of_a_run_that_stopped(
    toys: Callable[..., Path],
) -> None:
    top = toys(one="")
    assert cli.main(["bench"]) == 0
    toys(one="sys.exit(3)")
    assert cli.main(["bench"]) == 1
    assert not (top / "build" / "bench" / "one.json").exists()
    assert list(bench_results.read(top / "benchmarks" / "results.json")) == ["one"]  # as it was


def test_ctrl_c_keeps_what_is_measured(toys: Callable[..., Path]) -> None:
    stop = "os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    top = toys(one="", two=stop, three="")
    program = f"""
        import sys
        from pathlib import Path
        from coursekit import bench
        bench.checkout = lambda: Path({str(top)!r})
        bench.BENCHES = dict.fromkeys(("one", "two", "three"), ("cpu",))
        sys.exit(bench.main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 130, done.stderr
    assert "two was interrupted" in done.stderr and "kept: 1 of 3" in done.stderr
    assert "Traceback" not in done.stderr and runs(top) == ["one", "two"]
    assert [path.name for path in (top / "build" / "bench").iterdir()] == ["one.json"]
    assert not (top / "benchmarks" / "README.md").exists()


def test_the_page_is_written_when_all_are_run_or_it_is_asked_for(
    toys: Callable[..., Path],
) -> None:
    top = toys(one="", two="")
    page = top / "benchmarks" / "README.md"
    assert cli.main(["bench", "one"]) == 0 and not page.exists()
    assert cli.main(["bench", "--no-write"]) == 0 and not page.exists()
    assert cli.main(["bench", "one", "--write", "--threads", "1"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "with `python benchmarks/bench_one.py --threads 1`: 2 rounds, one thread, " in text
    assert "bench_two" not in text and "What two is about." in text


def test_a_partial_run_leaves_the_tables_of_the_others(toys: Callable[..., Path]) -> None:
    top = toys(one="", two="")
    assert cli.main(["bench"]) == 0
    before = bench_results.read(top / "benchmarks" / "results.json")
    assert cli.main(["bench", "two", "--rounds", "9", "--write"]) == 0
    after = bench_results.read(top / "benchmarks" / "results.json")
    assert after["one"] == before["one"]
    assert after["two"].measured.arguments == ("--rounds", "9")


def test_only_write_makes_the_same_page_again(toys: Callable[..., Path]) -> None:
    top = toys(one="")
    assert cli.main(["bench"]) == 0
    page = top / "benchmarks" / "README.md"
    text = page.read_text(encoding="utf-8")
    page.write_text("overwritten by hand", encoding="utf-8")
    assert cli.main(["bench", "--only-write"]) == 0
    assert page.read_text(encoding="utf-8") == text and runs(top) == ["one"]


def test_a_device_that_a_script_cannot_measure_on_is_left_out(
    toys: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    top = toys(one="", two="")
    monkeypatch.setitem(bench.BENCHES, "two", ("cpu", "cuda"))
    assert cli.main(["bench", "--device", "cuda:0"]) == 0
    assert runs(top) == ["two"]
    assert "one is left out: it measures on cpu only." in capfd.readouterr().out
    assert list(bench_results.read(top / "benchmarks" / "results.json")) == ["two-cuda"]


def test_a_name_that_no_benchmark_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "gatsy"]) == 1
    assert "no benchmark 'gatsy'. Choose from gatys, " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--threads", "two"], ["--device", "tpu"]])
def test_an_option_that_cannot_be_is_told(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", *words])
    assert words[1] in capsys.readouterr().err


def test_outside_a_checkout_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "COURSE_TOML", tmp_path / "package" / "course.toml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=r"not in the installed package\. Go to a checkout"):
        bench.checkout()
    monkeypatch.chdir(TOP)
    assert bench.checkout() == TOP


# --- The harness ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("harness", TOP / "benchmarks" / "harness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REAL = '''
"""A race of two sums.

Text.
"""
import harness

def sums(count):
    return lambda: bytearray(count)

def peak(options, name):
    return sums(int(options.small) * (50 if name == "wide" else 1) * 2**20)

def measure(options):
    yield from harness.missing("pystiche")
    calls = {"narrow": sums(1), "wide": sums(2**20)}
    peaks = harness.peaks(options, list(calls))
    yield harness.table("a sum", harness.race(calls, options), peaks=peaks)

def add_options(parser):
    parser.add_argument("--small", default=1)

if __name__ == "__main__":
    harness.main(__file__, measure, rounds=3, peak=peak, add_options=add_options)
'''


@pytest.mark.slow
def test_a_script_measures_with_the_harness(toys: Callable[..., Path]) -> None:
    top = toys()
    script = top / "benchmarks" / "bench_sums.py"
    script.write_text(REAL.lstrip(), encoding="utf-8")
    words = ["--small", "2", "--threads", "1"]
    command = [sys.executable, str(script), *words, "--json", str(top / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (report,) = bench_results.read(top / "found.json").values()
    assert report.measured.arguments == tuple(words) and "torch" in report.measured.versions
    (table,) = report.tables
    assert table.rounds == 3 and bench_results.markdown(table) in done.stdout
    narrow, wide = table.sides
    assert wide.ratios["narrow"].median > 1 and not narrow.ratios
    if sys.platform == "linux":  # elsewhere what was taken before counts too
        assert wide.peak - wide.before == pytest.approx(100, abs=20)
        assert narrow.peak - narrow.before == pytest.approx(2, abs=20)
    if "pystiche" not in report.measured.versions:
        (note,) = report.notes
        assert "pystiche is not installed" in note and "pip install" in note


def test_sides_take_turns(harness: ModuleType) -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    options = _options(rounds=3, clock="wall")
    seconds = harness.race(calls, options, warm_up=1)
    assert order == list("ab" * 4)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def _options(**values: object) -> object:
    return type("Options", (), values)


def test_other_losses_stop_a_script(harness: ModuleType) -> None:
    def side(*losses: float) -> Callable[[int], dict[str, float]]:
        return lambda number: {"loss": losses[number]}

    def agree(other: Callable[[int], dict[str, float]]) -> str:
        steps = {"plain": side(1, 2, 3), "course": other}
        return harness.same_losses(steps, lambda number: (number,), (0.01, 0.1))

    assert "3 steps agree to 3.3e-02" in agree(side(1, 2, 3.1))
    with pytest.raises(SystemExit, match=r"course, loss of step 1: 1\.05"):
        agree(side(1.05, 2, 3))
    with pytest.raises(SystemExit, match="course, loss of step 3"):
        agree(side(1, 2, 3.5))


def test_bfloat16_is_left_out_where_the_processor_is_known_to_lack_it(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*found: str, ask: str = "auto", device: str = "cpu") -> bool:
        monkeypatch.setattr(harness, "_processor", lambda: ("", list(found)))
        return harness.multiplies_bfloat16(_options(bfloat16=ask, device=device))

    assert measured("AVX2", "bfloat16") and measured("AMX") and measured()
    assert not measured("AVX2") and not measured("AMX", ask="no")
    assert measured("AVX2", ask="yes") and measured("AVX2", device="cuda")


# --- Results -------------------------------------------------------------------------------------

REPORT = Report(
    "toy",
    (
        Table(
            "a step",
            bench_results.sides(
                {"plain": [2.0, 4.0, 2.0], "course": [1.0, 1.0, 1.0], "other": [4.0, 4.0, 4.0]},
                references=["plain", "other"],
                peaks={"course": (900.4, 700.0)},
                more={"course": {"error": "1e-3"}},
            ),
            3,
            "equal to 1e-3",
            ("A note.",),
        ),
    ),
    ("Left out.",),
    Measured("2026-11-28", ("--rounds", "3"), {"torch": "2.5"}, "a machine", 2, "wall", None, 9.5),
)


def test_a_table_has_median_ratios_with_spread_and_memory() -> None:
    head, _, *rows = bench_results.markdown(REPORT.tables[0]).splitlines()[:5]
    cells = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in (head, *rows)]
    assert cells[0] == ["a step", "median", "÷ plain", "÷ other", "error", "peak MiB (before)"]
    assert cells[1][:4] == ["plain", "2.00 s", "1", "0.50 (0.50 to 0.75)"]
    assert cells[2] == [
        "course", "1.00 s", "0.50 (0.38 to 0.50)", "0.25 (0.25 to 0.25)", "1e-3", "900 (700)"
    ]  # fmt: skip
    text = bench_results.markdown(REPORT.tables[0])
    assert text.endswith("\n\nChecked first: equal to 1e-3.\n\nA note.")


def test_a_ratio_is_that_of_neighbours_and_has_no_spread_after_one_round() -> None:
    # The machine was twice as slow in the second round: the ratio does not see it.
    assert bench_results.ratio([1.0, 2.0, 1.0], [2.0, 4.0, 2.0]) == Ratio(0.5, 0.5, 0.5)
    single = bench_results.ratio([1.0], [4.0])
    assert single == Ratio(0.25) and str(single) == "0.25"


def test_columns_that_no_side_fills_are_left_out() -> None:
    table = Table("kind", (Side("a", more={"x": "1"}), Side("b")), 1)
    assert bench_results.markdown(table).splitlines()[0] == "| kind | x |"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0.04, "0.0 ms"),
        (7.44, "7.4 ms"),
        (99.96, "100 ms"),
        (612.4, "612 ms"),
        (999.6, "1.00 s"),
        (9994, "9.99 s"),
        (9996, "10.0 s"),
        (12345, "12.3 s"),
    ],
)
def test_durations_have_about_three_digits(milliseconds: float, text: str) -> None:
    assert bench_results.duration(milliseconds) == text


def test_results_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(bench_results.text({"toy": REPORT}), encoding="utf-8")
    assert bench_results.read(path) == {"toy": REPORT}


@pytest.mark.parametrize("text", ["", "[]", '{"toy": {}}', '{"toy": {"tables": 1}}', '{"a": 3}'])
def test_what_is_no_result_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"results\.json holds no results of benchmarks"):
        bench_results.read(path)
    data = json.loads(bench_results.text({"toy": REPORT}))
    data["toy"]["tables"][0]["sides"][0]["colour"] = "red"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match="colour"):
        bench_results.read(path)


def test_the_sentence_under_a_heading_has_no_promise_in_it() -> None:
    assert bench_page.measured(REPORT) == (
        "Measured on 2026-11-28 with `python benchmarks/bench_toy.py --rounds 3`: 3 rounds, "
        "2 threads, a machine. torch 2.5."
    )


def test_a_script_without_a_docstring_or_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        bench.about(tmp_path / "bench_x.py")
    (tmp_path / "bench_x.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no docstring"):
        bench.about(tmp_path / "bench_x.py")
