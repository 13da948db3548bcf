"""The course's checkpoints: half precision in the file, float32 outside, a header that tells."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from coursekit.core import checkpoints, runtime
from coursekit.core.errors import WeightsError

FACTS: dict[str, Any] = {
    "recipe": "test course",
    "data": "12 greys",
    "steps": 1234,
    "seed": 7,
    "settings": {"width": 4, "rules": [1, 2]},
}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )


def test_what_was_saved_comes_back_in_float32(tmp_path: Path) -> None:
    module, path = network(), tmp_path / "new" / "course.safetensors"
    module[1].num_batches_tracked.fill_(70_000)
    assert checkpoints.save(module, path, FACTS) == path
    found = checkpoints.read(path)
    assert found.weights.keys() == module.state_dict().keys()
    for name, weight in module.state_dict().items():
        assert found.weights[name].dtype == weight.dtype
        torch.testing.assert_close(found.weights[name], weight, rtol=2**-11, atol=1e-7)
    assert found.weights["0.weight"].dtype == torch.float32
    assert int(found.weights["1.num_batches_tracked"]) == 70_000
    network(1).load_state_dict(found.weights)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_file_holds_half_precision_and_the_module_is_left_alone(tmp_path: Path) -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    path = checkpoints.save(module, tmp_path / "c.safetensors", FACTS)
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor("0.weight").dtype == torch.float16
        assert torch.equal(file.get_tensor("0.weight"), before["0.weight"].half())
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_header_says_what_it_is(tmp_path: Path) -> None:
    path = checkpoints.save(network(), tmp_path / "c.safetensors", FACTS | {"FID": 12.5})
    found = checkpoints.read(path)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    assert found.about.pop("date") in {
        str(today),
        str(today - datetime.timedelta(1)),  # it was midnight
    }
    assert found.about == FACTS | {"FID": 12.5}
    assert found.label() == "test course, 12 greys, 1,234 steps"
    dated = checkpoints.save(network(), path, FACTS | {"date": "2026-01-02"})
    assert checkpoints.read(dated).about["date"] == "2026-01-02"


@pytest.mark.parametrize("fact", sorted(FACTS))
def test_a_missing_fact_is_named(fact: str, tmp_path: Path) -> None:
    facts = {name: value for name, value in FACTS.items() if name != fact}
    with pytest.raises(WeightsError, match=f"must say its {fact}"):
        checkpoints.save(network(), tmp_path / "c.safetensors", facts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [65_520.0, -1e6, float("inf"), float("nan")])
def test_what_half_precision_cannot_hold_is_refused(value: float, tmp_path: Path) -> None:
    module, path = network(), tmp_path / "c.safetensors"
    checkpoints.save(module, path, FACTS)
    before = path.read_bytes()
    module[1].running_var[2] = value
    with pytest.raises(WeightsError, match=r"1\.running_var has values that half precision"):
        checkpoints.save(module, path, FACTS)
    assert path.read_bytes() == before
    module[1].running_var[2] = 65_504.0
    checkpoints.save(module, path, FACTS)


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = checkpoints.save(network(), tmp_path / "c.safetensors", FACTS)
    before = path.read_bytes()

    def fails(weights, file, metadata) -> None:
        Path(file).write_bytes(b"the beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fails)
    with pytest.raises(WeightsError, match="No space left on device"):
        checkpoints.save(network(1), path, FACTS)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_topic_s_checkpoint(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    assert checkpoints.path_of("dcgan") == tmp_path / "checkpoints/dcgan/course.safetensors"
    for name in ("course", "second"):
        facts = FACTS | {"recipe": f"dcgan {name}"}
        checkpoints.save(network(), checkpoints.path_of("dcgan", name), facts)
        assert checkpoints.load("dcgan", name).about["recipe"] == f"dcgan {name}"
    with pytest.raises(WeightsError, match=r"There is no checkpoint .*coursekit train"):
        checkpoints.load("wgan")


@pytest.mark.parametrize(
    "header",
    [None, {}, {"about": "{"}, {"about": "null"}, {"about": "[1]"}, {"about": '{"recipe": "r"}'}],
)
def test_a_file_that_does_not_say_what_it_is(header, tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "c.safetensors", header)
    with pytest.raises(WeightsError, match=r"does not say what it is|is damaged"):
        checkpoints.read(tmp_path / "c.safetensors")


def test_a_damaged_file(tmp_path: Path) -> None:
    path, chance = tmp_path / "c.safetensors", random.Random(0)
    raw = checkpoints.save(network(), path, FACTS).read_bytes()
    length = int.from_bytes(raw[:8], "little") + 8
    for cut in (0, 4, 100, length, len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(WeightsError, match="is damaged"):
            checkpoints.read(path)
    refused = 0
    for _ in range(200):
        where = chance.randrange(length)
        path.write_bytes(raw[:where] + bytes([raw[where] ^ 16]) + raw[where + 1 :])
        try:
            checkpoints.read(path)
        except WeightsError:
            refused += 1
    assert refused > 50
    path.write_bytes(b"PK\x03\x04 something else entirely")
    with pytest.raises(WeightsError, match="is damaged"):
        checkpoints.read(path)
    with pytest.raises(WeightsError):
        checkpoints.read(tmp_path)
