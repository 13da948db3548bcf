"""A kernel that dies in the middle of a notebook: run again from the set-up, it ends well."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coursekit import execute, notebooks

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

DIE = """import os, signal, threading
threading.Timer({after}, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
"""


class Session:
    """A notebook in a kernel of this Python, cell by cell, as a student runs it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.node = nbformat.read(notebooks.find(name), as_version=4)
        self.client = nbclient.NotebookClient(
            self.node,
            km=execute._kernel_manager(),
            timeout=300,
            resources={"metadata": {"path": str(folder)}},
        )

    def cells(self, last: int | None = None) -> list[int]:
        """The code cells from the set-up to ``last``, or to the end."""
        wanted = range(len(self.node.cells) if last is None else last + 1)
        return [i for i in wanted if self.node.cells[i].cell_type == "code"]

    def first_with(self, text: str) -> int:
        return next(i for i in self.cells() if text in self.node.cells[i].source)

    async def run(self, cells: list[int]) -> None:
        for index in cells:
            await self.client.async_execute_cell(self.node.cells[index], index)

    async def ask(self, source: str) -> str:
        """What a line prints."""
        cell = nbformat.v4.new_code_cell(source)
        self.node.cells.append(cell)
        await self.client.async_execute_cell(cell, len(self.node.cells) - 1)
        return "".join(output.text for output in cell.outputs)

    async def die_in(self, index: int, after: float) -> None:
        """Run a cell in which the kernel is killed, as by a full memory."""
        before = self.node.cells[index].source
        self.node.cells[index].source = DIE.format(after=after) + before
        with pytest.raises(nbclient.exceptions.DeadKernelError):
            await self.run([index])
            await self.ask("import time; time.sleep(30)")
        self.node.cells[index].source = before

    async def restart(self) -> None:
        await self.client.km.restart_kernel(now=True)
        self.client.kc.stop_channels()
        await self.client.async_start_new_kernel_client()


@pytest.fixture
def quietly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COURSEKIT_PRESET", "ci")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    return


def in_a_kernel(session: Session, story: Callable[[Session], Any]) -> None:
    async def all_of_it() -> None:
        async with session.client.async_setup_kernel():
            await story(session)

    asyncio.run(all_of_it())


@pytest.mark.slow
@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize(
    ("name", "training"), [("01_inversion_tv", "optimise_pixels("), ("07_gan_dcgan", "played =")]
)
def test_a_notebook_whose_kernel_died_in_a_training_runs_again_to_its_end(
    name: str, training: str, tmp_path: Path
) -> None:
    session = Session(name, tmp_path)
    where = next(i for i in session.cells() if training in session.node.cells[i].source and i > 2)

    async def story(session: Session) -> None:
        await session.run(session.cells(where - 1))
        await session.die_in(where, after=0.2)
        await session.restart()
        last = None if name.startswith("01") else where + 2
        await session.run(session.cells(last))

    in_a_kernel(session, story)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("quietly")
def test_a_training_with_a_folder_goes_on_after_its_kernel_died(tmp_path: Path) -> None:
    """Notebook 12, with a folder of one's own as its comment advises."""
    session = Session("12_progan", tmp_path)
    where = session.first_with("grown_up = progan.train")
    before = session.node.cells[where - 1]
    own = f"runs = type('Folder', (), {{'name': {str(tmp_path / 'мои сети')!r}}})"
    before.source, found = re.subn(r"runs = tempfile\.TemporaryDirectory\(\).*", own, before.source)
    assert found == 1
    needed = [i for i in session.cells(where) if i <= 2 or i >= where - 1]

    async def story(session: Session) -> None:
        await session.run(needed[:-1])
        first = await session.ask("print([entry['seconds'] for entry in first.history])")
        await session.die_in(where, after=0.1)
        await session.restart()
        await session.run(needed)
        again = await session.ask("print([entry['seconds'] for entry in first.history])")
        assert again == first != "[]\n"  # the same steps, not others as good
        steps = await session.ask("print(first.steps, grown_up.steps, live_schedule.steps)")
        started, ended, planned = map(int, steps.split())
        assert started < ended == planned

    in_a_kernel(session, story)
    assert [path.name for path in (tmp_path / "мои сети").iterdir()] == ["checkpoint.pt"]
