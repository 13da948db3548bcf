"""A topic has a room in every wing of the house: the README's checklist for a new topic."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from coursekit import notebooks, recipes
from coursekit.exercises import engine

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
DATA = (TOP / "data" / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((TOP / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# A notebook and its module have the lecture's name for the topic, except where that is two words.
MODULES = {"gram_textures": "texture", "inversion_tv": "inversion", "gan_dcgan": "dcgan"}
TOPICS = {path: MODULES.get(path.stem[3:], path.stem[3:]) for path in NOTEBOOKS[1:]}


def sections(notebook: Path) -> set[str]:
    """The numbers of a notebook's sections."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return set(re.findall(r"^## (\d+) ·", text, flags=re.M))


def test_there_are_fifteen_notebooks_in_lecture_order() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(15)]
    assert list(TOPICS.values()) == list(engine.TOPICS)


@pytest.mark.parametrize("notebook", TOPICS, ids=TOPICS.values())
def test_a_topic_has_a_room_in_every_wing(notebook: Path) -> None:
    topic = TOPICS[notebook]
    for place in (f"coursekit/{topic}.py", f"coursekit/exercises/{topic}.py"):
        assert (TOP / place).is_file(), f"{place} is missing"
    assert list((TOP / "tests").glob(f"test_{topic}*.py")), f"no tests/test_{topic}.py"
    rows = [line for line in README.splitlines() if line.startswith(f"| [{notebook.stem[:2]} ")]
    assert len(rows) == 1 and f"(notebooks/{notebook.name})" in rows[0]
    assert f"(data/pictures/{notebook.stem}.jpg)" in README
    shown = notebooks.picture(notebooks.read(notebook))
    picture = TOP / "data" / "pictures" / f"{notebook.stem}.jpg"
    assert shown == picture.read_bytes(), "run: coursekit pictures"


@pytest.mark.parametrize("folder", sorted((TOP / "data" / "checkpoints").iterdir()), ids=str)
def test_a_checkpoint_has_a_recipe_and_a_row_that_says_what_it_learned_from(folder: Path) -> None:
    for name in recipes.RECIPES[folder.name]:
        assert callable(recipes.find(folder.name, name))
    assert f"| `{folder.name}/` |" in DATA


def test_the_lecture_s_slides_lead_to_sections_that_exist() -> None:
    table = README.split("| slides of the lecture | here |")[1].split("</details>")[0]
    links = re.findall(r"\[(\d\d)\]\(notebooks/(\S+?)\) · ([\d, ]+)", table)
    assert {number for number, _, _ in links} == {path.stem[:2] for path in NOTEBOOKS}
    for number, name, places in links:
        path = TOP / "notebooks" / name
        assert path.name.startswith(number) and path.is_file()
        missing = set(places.replace(" ", "").strip(",").split(",")) - sections(path)
        assert not missing, f"{name} has no section {missing}"
