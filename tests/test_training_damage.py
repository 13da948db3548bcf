"""Damaged checkpoints, full disks, values that are not finite: told, and nothing good is lost."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
from training_toy import Toy, same

from coursekit.core import training
from coursekit.core.errors import TrainingError, WeightsError


def weights(toy: Toy) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in toy.net.state_dict().values()]


# --- A checkpoint that is damaged -----------------------------------------------------------------


def flipped(raw: bytes, where: int) -> bytes:
    return raw[:where] + bytes([raw[where] ^ 4]) + raw[where + 1 :]


def damages(raw: bytes, weight: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "half": raw[: len(raw) // 2],
        "without its end": raw[:-1],
        "text": b"not a checkpoint",
        "pickle": b"\x80\x04K\x01.",
        "one bit of a weight": flipped(raw, raw.index(weight)),
        "one bit of the structure": flipped(raw, raw.index(b"history")),
    }


def test_a_damaged_checkpoint_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    toy, path = Toy(), tmp_path / "checkpoint.pt"
    toy.run(6, tmp_path)
    weight = toy.net[0].weight.detach().numpy().tobytes()
    for what, content in damages(path.read_bytes(), weight).items():
        path.write_bytes(content)
        fresh = Toy(start=2)
        before = weights(fresh)
        with pytest.raises(WeightsError, match="damaged or is no checkpoint"):
            fresh.run(9, tmp_path)
        assert path.read_bytes() == content, what
        assert same(before, weights(fresh)), what
        with pytest.raises(WeightsError, match="damaged"):
            training.restore(tmp_path, fresh.state())


def test_every_flipped_bit_and_every_cut_is_noticed_or_harmless(tmp_path: Path) -> None:
    path, chance = tmp_path / "checkpoint.pt", random.Random(0)
    toy = Toy()
    toy.run(6, tmp_path)
    learnt, raw = toy.everything(), path.read_bytes()
    refused = 0
    for _ in range(30):
        where = chance.randrange(len(raw))
        path.write_bytes(flipped(raw, where))
        fresh = Toy(start=2)
        try:
            training.restore(tmp_path, fresh.state())
        except WeightsError:
            refused += 1
        else:  # the padding between two entries of the zip file
            assert same(fresh.everything(), learnt), where
    assert refused > 10


class Rogue:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "it ran")


def test_code_in_a_checkpoint_never_runs(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "checkpoint.pt"
    content = {"format": 1, "state": {}, "random": Rogue(mark)}
    torch.save(content, path)
    torch.load(path, weights_only=False)
    assert mark.read_text() == "it ran"
    mark.unlink()
    with pytest.raises(WeightsError, match="damaged"):
        Toy().run(3, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [{}, [1], {"format": 2, "state": {}}, {"format": 1}])
def test_a_file_of_another_version_is_refused(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsError, match="not written by this version"):
        Toy().run(3, tmp_path)


def test_restore_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no checkpoint"):
        training.restore(tmp_path, Toy().state())


# --- Writing fails --------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """The system refuses every write beyond 4 KiB."""
    resource = pytest.importorskip("resource")
    Toy().run(4, tmp_path)
    written = (tmp_path / "checkpoint.pt").read_bytes()
    assert len(written) > 4096
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    toy = Toy()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(WeightsError, match=r"cannot be written.*last checkpoint is untouched"):
            toy.run(9, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "checkpoint.pt").read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert Toy().run(9, tmp_path).steps == 9


def test_a_failing_write_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch) -> None:
    Toy().run(4, tmp_path)
    written = (tmp_path / "checkpoint.pt").read_bytes()

    def fails(content, file) -> None:
        file.write(b"the beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(WeightsError, match="No space left on device"):
        Toy().run(9, tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(WeightsError, match="cannot be written"):
        Toy().run(2, tmp_path / "run")


# --- A value that is not finite -------------------------------------------------------------------


def test_a_term_that_is_not_finite_is_named(tmp_path: Path) -> None:
    toy = Toy()

    def step(number: int):
        terms = toy.step(number)
        return terms | {"penalty": torch.tensor(float("inf" if number == 9 else 1))}

    with pytest.raises(
        TrainingError, match=r"Step 9: the term 'penalty' is inf\..*step 8:"
    ) as told:
        training.run(
            step, toy.state(), steps=20, folder=tmp_path, checkpoint_every=4, progress=False
        )
    error = told.value
    assert error.term == "penalty"
    assert error.checkpoint == tmp_path / "checkpoint.pt"
    assert error.result.steps == 8
    fresh = Toy(start=5)
    assert training.restore(tmp_path, fresh.state()) == 8
    found, expected = fresh.everything(), Toy()
    expected.run(8)
    assert same(found, expected.everything())


@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_weights_that_are_not_finite_are_never_saved(log_every: int, tmp_path: Path) -> None:
    toy = Toy()

    def step(number: int):
        terms = toy.step(number)
        if number == 8:  # the last step before a checkpoint; the loss does not show it yet
            toy.net[4].bias.data.fill_(float("nan"))
        return terms

    options = {"checkpoint_every": 4, "progress": False, "log_every": log_every}
    with pytest.raises(TrainingError, match=r"Step 8: weights of 'net' .*from step 4") as told:
        training.run(step, toy.state(), steps=20, folder=tmp_path, **options)
    assert told.value.term == "net"
    assert training.restore(tmp_path, toy.state()) == 4
    assert all(bool(torch.isfinite(weight).all()) for weight in toy.net.parameters())


def test_the_average_is_looked_at_too(tmp_path: Path) -> None:
    toy = Toy()
    toy.ema.module[0].weight[0, 0] = float("inf")
    with pytest.raises(TrainingError, match="weights of 'ema'"):
        toy.run(3, tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_folder_there_is_no_way_back() -> None:
    toy = Toy()
    toy.net[0].weight.data[0, 0] = float("nan")
    with pytest.raises(
        TrainingError, match=r"Step 1: the term 'loss' is nan\. There is no"
    ) as told:
        toy.run(3)
    assert told.value.checkpoint is None
    with pytest.raises(TrainingError, match=r"weights of 'net' are not finite\. There is no"):
        training.run(lambda number: {"loss": 0.0}, toy.state(), steps=1, progress=False)


class OnGPU(torch.Tensor):
    """A term that says it lies on a GPU: it is not read before it has to be."""

    is_cuda = True


@pytest.mark.parametrize(("log_every", "step"), [(100, 4), (3, 3)])
def test_a_term_on_a_gpu_is_looked_at_when_logged_or_saved(log_every, step, tmp_path) -> None:
    toy = Toy()

    def bad(number: int):
        value = torch.tensor(math.nan if number == 2 else 1.0).as_subclass(OnGPU)
        return toy.step(number) | {"penalty": value}

    options = {"checkpoint_every": 4, "progress": False, "log_every": log_every}
    with pytest.raises(TrainingError, match=f"Step {step}: the term 'penalty' is nan") as told:
        training.run(bad, toy.state(), steps=20, folder=tmp_path, **options)
    assert told.value.term == "penalty"
    assert not list(tmp_path.iterdir())
