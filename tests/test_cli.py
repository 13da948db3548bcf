"""The command ``coursekit`` and what stands under it: notebooks as files, runs, HTML pages."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from coursekit import cli, execute, notebooks
from coursekit.core import weights
from coursekit.core.errors import DataError, SettingError, WeightsError

FORMULA = (
    "The loss is $\\frac{1}{2}\\sum_{i,j} (F_{ij} - P_{ij})^2$ and `$HOME` is code.\n\n$$G = FF^T$$"
)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": f"c{abs(hash(text)) % 10**8}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
        "outputs": [],
        "execution_count": None,
    }


def _text(text: str) -> dict[str, Any]:
    cell = _code(text)
    del cell["outputs"], cell["execution_count"]
    return {**cell, "cell_type": "markdown"}


def _write(folder: Path, name: str, *cells: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    notebook = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = folder / name
    notebooks.write(path, notebooks.strip(notebook))
    return path


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout in a folder with Cyrillic letters: course.toml, two notebooks, a README."""
    top = tmp_path / "мой курс"
    package = top / "coursekit"
    package.mkdir(parents=True)
    (package / "course.toml").write_text('# where\nrepository = "OWNER/NAME"\n')
    monkeypatch.setattr(notebooks, "COURSE_TOML", package / "course.toml")
    for name in ("00_start_here.ipynb", "03_gatys.ipynb"):
        badge = notebooks.badge_line(name, "OWNER/NAME")
        _write(
            top / "notebooks",
            name,
            _text(f"{badge}\n\n# Titel — заголовок\n\n{FORMULA}"),
            _code(notebooks.setup_cell("OWNER/NAME")),
        )
    (top / "README.md").write_text(
        "git clone https://github.com/OWNER/NAME\n"
        "https://colab.research.google.com/github/OWNER/NAME/blob/main/notebooks/x.ipynb\n"
        "`coursekit badge OWNER/NAME`\nhttps://github.com/OWNER/NAMESAKE\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(top)
    return top


def test_help_and_errors_come_without_torch() -> None:
    code = (
        "import sys\nfrom coursekit import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.splitlines()[-1] == "False" and "doctor" in out


@pytest.mark.parametrize("which", ["3", "03", "gatys", "03_gatys", "03_gatys.ipynb"])
def test_a_notebook_is_found_by_number_and_name(course: Path, which: str) -> None:
    assert notebooks.find(which) == course / "notebooks" / "03_gatys.ipynb"


def test_an_unknown_notebook_lists_those_that_exist(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "99"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "00_start_here, 03_gatys" in error


def test_without_notebooks_it_says_where_it_looked(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(notebooks, "COURSE_TOML", empty / "coursekit" / "course.toml")
    monkeypatch.chdir(empty)
    with pytest.raises(DataError, match="no course notebooks here"):
        notebooks.paths()
    monkeypatch.chdir(course)
    assert notebooks.folder() == course / "notebooks"


def test_badge_rewrites_everything_once(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (course / "notebooks" / "03_gatys.ipynb").read_text(encoding="utf-8")
    assert cli.main(["badge", "ada-l/image.synthesis_2"]) == 0
    assert notebooks.repository() == "ada-l/image.synthesis_2"
    after = (course / "notebooks" / "03_gatys.ipynb").read_text(encoding="utf-8")
    assert after == before.replace("OWNER/NAME", "ada-l/image.synthesis_2")
    assert (course / "README.md").read_text(encoding="utf-8").splitlines() == [
        "git clone https://github.com/ada-l/image.synthesis_2",
        "https://colab.research.google.com/github/ada-l/image.synthesis_2/blob/main/notebooks/x.ipynb",
        "`coursekit badge OWNER/NAME`",
        "https://github.com/OWNER/NAMESAKE",
    ]
    assert "4 files changed" in capsys.readouterr().out
    cli.main(["badge", "ada-l/image.synthesis_2"])
    assert "0 files changed" in capsys.readouterr().out


def test_badge_gives_one_to_a_notebook_without(course: Path) -> None:
    path = _write(course / "notebooks", "04_new.ipynb", _text("# New"), _code("1"))
    cli.main(["badge", "OWNER/NAME"])
    badge = notebooks.badge_line("04_new.ipynb", "OWNER/NAME")
    assert notebooks.source(notebooks.read(path)["cells"][0]) == f"{badge}\n\n# New"


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "a/..", "a/b.git", "-a/b", "a b/c", "a/b;c"])
def test_badge_refuses_what_is_no_repository(course: Path, name: str) -> None:
    with pytest.raises(SettingError, match="OWNER/NAME"):
        notebooks.rewrite_repository(name)
    assert notebooks.repository() == "OWNER/NAME"


def test_strip_removes_widgets_and_this_machine(course: Path) -> None:
    view = {"output_type": "display_data", "metadata": {}, "data": {notebooks.WIDGET_VIEW: {}}}
    kept = {"output_type": "stream", "name": "stdout", "text": ["kept\n"]}
    cell = {**_code("1"), "outputs": [view, kept], "metadata": {"execution": {}, "tags": ["x"]}}
    path = course / "notebooks" / "03_gatys.ipynb"
    dirty = {"cells": [cell], "metadata": {"widgets": {}}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(dirty))
    assert cli.main(["strip", "03"]) == 0
    clean = notebooks.read(path)
    assert clean["cells"][0]["outputs"] == [kept]
    assert clean["cells"][0]["metadata"] == {"tags": ["x"]}
    assert "widgets" not in clean["metadata"]
    assert not notebooks.write(path, notebooks.strip(clean))


def test_notebooks_are_written_as_jupyter_writes_them(course: Path) -> None:
    import nbformat

    path = course / "notebooks" / "03_gatys.ipynb"
    assert nbformat.writes(nbformat.read(path, 4)) + "\n" == path.read_text(encoding="utf-8")


def test_a_broken_notebook_is_one_sentence(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (course / "notebooks" / "03_gatys.ipynb").write_text("{")
    assert cli.main(["run", "03"]) == 1
    assert "not a readable notebook" in capsys.readouterr().err


def test_fetch_says_what_it_can_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fetch", "vgg17"]) == 1
    error = capsys.readouterr().err
    assert "'vgg17'" in error and "vgg16" in error and error.count("\n") == 1


def test_fetch_takes_the_course_s_weights_and_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def fake(name: str) -> Path:
        asked.append(name)
        (tmp_path / name).write_bytes(b"0" * 2**20)
        return tmp_path / name

    monkeypatch.setattr(weights, "fetch", fake)
    assert cli.main(["fetch"]) == 0
    assert asked == list(weights.COURSE_NAMES) and "vgg19" not in asked
    assert capsys.readouterr().out.count("1.00 MiB") == len(asked)

    def fails(name: str) -> Path:
        raise WeightsError("No network.")

    monkeypatch.setattr(weights, "fetch", fails)
    assert cli.main(["fetch", "alexnet"]) == 1
    assert capsys.readouterr().err == "No network.\n"


def test_run_executes_and_a_second_run_does_not(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(
        course / "notebooks",
        "03_gatys.ipynb",
        _text(f"# Заголовок\n\n{FORMULA}"),
        _code("import os, sys\nos.environ['COURSEKIT_PRESET']"),
        _code("sys.executable, 6 * 7"),
        _code(f"display({{'image/png': '{PIXEL}'}}, raw=True)"),
        _code("import ipywidgets\nipywidgets.IntSlider()"),
    )
    before = path.read_bytes()
    out = course / "build"
    assert cli.main(["run", "03", "--preset", "ci", "--out", str(out)]) == 0
    page = (out / "03_gatys.html").read_text(encoding="utf-8")
    shown = html.unescape(re.sub("<[^>]*>", "", page))
    assert "'ci'" in shown and f"({sys.executable!r}, 42)" in shown and "Заголовок" in page
    assert "data:image/png;base64" in page
    assert "<mfrac>" in page and 'display="block"' in page and "$HOME" in page
    assert "Here stands a control" in page
    assert execute.external_references(page) == [] and "<script" not in page
    assert path.read_bytes() == before
    cli.main(["run", "03", "--preset", "ci", "--out", str(out)])
    assert "Nothing has changed" in capsys.readouterr().out
    _write(course / "notebooks", "03_gatys.ipynb", _code("'changed'"))
    cli.main(["run", "03", "--preset", "ci", "--out", str(out)])
    assert "changed" in (out / "03_gatys.html").read_text(encoding="utf-8")


def test_an_error_in_a_cell_leaves_a_marked_page(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(
        course / "notebooks",
        "03_gatys.ipynb",
        _code("print('before')"),
        _code("\nvalue = 1\n1 / 0"),
        _code("print('after')"),
    )
    assert cli.main(["run", "gatys"]) == 1
    error = capsys.readouterr().err
    assert "code cell 2 (value = 1)" in error and "ZeroDivisionError" in error
    assert "\x1b" not in error and "run_notebook" not in error
    page = (course / "build" / "03_gatys.html").read_text(encoding="utf-8")
    assert "Unfinished: stopped by an error in code cell 2" in page and "before" in page
    assert "coursekit-run" not in page


def test_a_dead_kernel_is_told(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(course / "notebooks", "03_gatys.ipynb", _code("import os\nos._exit(1)"))
    assert cli.main(["run", "03"]) == 1
    assert "The kernel died" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("keeps", [False, True], ids=["plain", "cell_keeps_its_best"])
def test_ctrl_c_ends_the_kernel(course: Path, keeps: bool) -> None:
    wait = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)"
    if keeps:
        wait = wait.replace("time.sleep(60)", "try: time.sleep(60)\nexcept KeyboardInterrupt: 1")
    path = _write(course / "notebooks", "03_gatys.ipynb", _code(wait), _code("time.sleep(60)"))
    process = subprocess.Popen(
        [sys.executable, "-m", "coursekit.cli", "run", str(path)],
        cwd=course.parent,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    pid = course / "notebooks" / "pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=45)
    assert process.returncode == 130 and error.strip().endswith("Stopped.")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert "interrupted in code cell 1" in (course.parent / "build" / "03_gatys.html").read_text()


def test_render_writes_what_lies_there(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["render", "--out", "pages"]) == 0
    printed, progress = capsys.readouterr()
    names = ["00_start_here.html", "03_gatys.html", "index.html"]
    assert [Path(line).name for line in printed.split("\n") if line] == names
    assert "2/2" in progress
    page = (course / "pages" / "03_gatys.html").read_text(encoding="utf-8")
    assert execute.external_references(page) == []
    assert re.search(r'<a href="https://colab[^"]*03_gatys.ipynb"[^>]*>Open in Colab</a>', page)
    assert "nothing was executed" in page.split("<body")[1]


def test_render_leaves_the_page_of_a_run_alone(course: Path) -> None:
    places = ["build", "build/notebooks-quick"]
    ran = [course / place / "03_gatys.html" for place in places]
    for page in ran:
        page.parent.mkdir(exist_ok=True)
        page.write_text("took minutes", encoding="utf-8")
    assert cli.main(["render"]) == 0
    assert [page.read_text(encoding="utf-8") for page in ran] == ["took minutes"] * 2
    assert (course / "build" / "notebooks" / "03_gatys.html").is_file()


def test_an_output_folder_that_is_a_file(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (course / "pages").touch()
    assert cli.main(["render", "--out", "pages"]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_external_references_are_seen() -> None:
    page = (
        '<link rel="x" href="https://a/b.css"><script src="https://c/d.js"></script>'
        '<img alt="" src="data:image/png;base64,AA"><a href="https://e"></a>'
        "<style>@import 'https://f/g.css'; h { background: url(https://i/j.png) }</style>"
    )
    found = execute.external_references(page)
    assert found == ["https://c/d.js", "https://a/b.css", "https://f/g.css", "https://i/j.png"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("`$a$`", "`$a$`"),
        ("```\n$a$\n```", "```\n$a$\n```"),
        ("costs 5$ or 6$ each", "costs 5$ or 6$ each"),
        (r"\$a$", r"\$a$"),
    ],
)
def test_what_is_no_formula_is_left_alone(text: str, kept: str) -> None:
    formulas: list[str] = []
    assert execute.formulas_to_mathml(text, formulas) == kept
    assert not formulas


def test_rendered_page_has_whole_formulas_and_plain_output(tmp_path: Path) -> None:
    """As the notebooks lie in the repository: outputs as lists of lines."""
    printed = {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]}
    shown = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/html": ["<b>right</b>"], "text/plain": ["right"]},
    }
    code = {"cell_type": "code", "id": "b", "metadata": {}, "execution_count": 1, "source": ["1"]}
    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["So $\\frac12 x_i$ is."]}
    notebook = {
        "cells": [text, {**code, "outputs": [printed, shown]}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    target = tmp_path / "page.html"
    execute.write_html(notebook, target, source=tmp_path / "page.ipynb")
    page = target.read_text(encoding="utf-8")
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in page
    assert "<msub><mi>x</mi><mi>i</mi></msub>" in page
    body = page.split("<body")[1]
    assert "placeholder" not in body and "$" not in body and "['" not in body
    assert "one\ntwo\n" in body and "<b>right</b>" in body


def test_an_answer_is_folded_on_a_rendered_page(tmp_path: Path) -> None:
    lines = "<details><summary><b>Answer</b></summary>\n\nIt was *b*, $x^2$.\n\n</details>\n\nOn."
    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": lines}
    notebook = {"cells": [text], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    target = tmp_path / "page.html"
    execute.write_html(notebook, target, source=tmp_path / "page.ipynb")
    fold = BeautifulSoup(target.read_text(encoding="utf-8"), "html.parser").find("details")
    assert fold.find("summary").get_text() == "Answer"
    assert "It was b," in fold.get_text() and fold.find("msup")
    assert "On." not in fold.get_text()


# --- The ledger -----------------------------------------------------------------------------------


def test_ledger_prints_a_topic_in_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ledger", "wct"]) == 0
    assert "Li et al. 2017, eq. 2" in capsys.readouterr().out
    assert cli.main(["ledger", "wct", "gatys", "--format", "json"]) == 0
    assert {row["topic"] for row in json.loads(capsys.readouterr().out)} == {"wct", "gatys"}
    assert cli.main(["ledger", "vae", "--format", "markdown"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("There is no topic 'vae'") and error.count("\n") == 1


# --- For instructors ------------------------------------------------------------------------------


def test_solve_and_release_write_what_they_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebooks, "repository", lambda: "ada/course")
    assert cli.main(["solve", "02", "-o", str(tmp_path / "solved")]) == 0
    assert cli.main(["release", "02", "-o", str(tmp_path / "course")]) == 0
    solved, source, advice = capsys.readouterr().out.splitlines()
    assert Path(solved) == (tmp_path / "solved" / "02_gram_textures.ipynb").resolve()
    assert Path(source).parent.name == "02_gram_textures" and Path(source).is_file()
    assert "nbgrader generate_assignment" in advice
    monkeypatch.setattr(notebooks, "repository", lambda: notebooks.UNNAMED)
    assert cli.main(["release", "02", "-o", str(tmp_path / "course")]) == 0
    assert "coursekit badge NAME/REPOSITORY first" in capsys.readouterr().out


def test_a_report_of_nothing_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path), "-o", str(tmp_path / "report.html")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("No check has left a result") and error.count("\n") == 1


BUFFERED = """
from coursekit import cli

def doctor(options):
    print("well")

cli.doctor = doctor
raise SystemExit(cli.main(["doctor"]))
"""


@pytest.mark.parametrize(
    "program",
    [
        ["-m", "coursekit", "exercises"],
        ["-c", BUFFERED],
    ],
    ids=["flushed", "buffered"],
)
def test_a_closed_pipe_ends_it_quietly(program: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(120) == 141 and said == b""


def _shows(*pictures: bytes, tags: tuple[str, ...] = ("picture",)) -> dict[str, Any]:
    encoded = [base64.b64encode(picture).decode() for picture in pictures]
    outputs = [
        {"output_type": "display_data", "data": {"image/jpeg": text}, "metadata": {}}
        for text in encoded
    ]
    return {**_code("1"), "outputs": outputs, "metadata": {"tags": list(tags)}}


def test_the_picture_of_a_notebook_is_the_last_one_of_the_tagged_cell() -> None:
    cells = [_shows(b"other", tags=()), _shows(b"first", b"last"), _shows(b"late")]
    assert notebooks.picture({"cells": cells}) == b"last"
    assert notebooks.picture({"cells": cells[:1]}) is None


def test_a_tagged_cell_without_a_picture_is_told() -> None:
    with pytest.raises(DataError, match="shows no picture"):
        notebooks.picture({"cells": [_shows()]})


def test_pictures_are_written_once(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = notebooks.paths()[0]
    notebook = notebooks.read(path)
    notebook["cells"].append(_shows(b"jpeg"))
    notebooks.write(path, notebook)
    assert cli.main(["pictures"]) == 0 and cli.main(["pictures", path.stem]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("written") and second.endswith("as it should be")
    target = path.parents[1] / "data" / "pictures" / f"{path.stem}.jpg"
    assert target.read_bytes() == b"jpeg"
