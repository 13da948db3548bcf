"""Topic 12, the measurements: counts by hand, instruments that tell good from bad, the study."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coursekit import progan_measure
from coursekit.core import recognise
from coursekit.core.errors import DataError, SettingError
from coursekit.datasets.faces import faces
from coursekit.datasets.faces_factors import FACTORS
from coursekit.progan_measure import Coverage


def readings(*counts: int) -> dict[str, Tensor]:
    """So many faces of each skin tone."""
    return {"skin": torch.repeat_interleave(torch.arange(6), torch.tensor(counts))}


REAL = readings(30, 30, 20, 16, 4, 0)


# --- Coverage


def test_shares_are_counted_and_compared() -> None:
    found = progan_measure.coverage(REAL, readings(45, 14, 10, 31, 0, 0))
    values = {value.name: value for value in found.values}
    names = FACTORS["skin"].values
    assert list(values) == list(names)
    assert values[names[0]].real.value == pytest.approx(0.30)
    assert values[names[0]].made.value == pytest.approx(0.45)
    assert values[names[1]].kept == pytest.approx(14 / 30)
    assert values[names[2]].kept == pytest.approx(0.5)
    assert math.isnan(values[names[5]].kept)
    # The fifth has 4 % and does not count; half the frequency is enough.
    assert [value.name for value in found.lost] == [names[1]]
    assert [value.name for value in found.frequent] == [names[i] for i in (1, 2, 0, 3)]
    assert "1 of 4 frequent values" in str(found) and names[1] in str(found)


def test_the_same_faces_keep_everything() -> None:
    found = progan_measure.coverage(REAL, REAL)
    assert not found.lost and all(value.kept == 1 for value in found.frequent)


def test_other_factors_are_refused() -> None:
    with pytest.raises(SettingError, match="Other factors"):
        progan_measure.coverage(REAL, {"hair": REAL["skin"]})


@pytest.fixture(scope="module")
def recogniser() -> nn.Module:
    return recognise.load("faces")


def test_every_index_has_a_name(recogniser: nn.Module) -> None:
    data = faces(60, 64, seed=77)
    read = progan_measure.reading(recogniser, data.fields["image"])
    assert set(read) == set(recogniser.spec)
    for factor, index in read.items():
        assert index.shape == (60,) and index.dtype == torch.int64
        assert index.min() >= 0 and index.max() < len(progan_measure.names(factor))


@pytest.mark.parametrize(
    ("factor", "value", "band"),
    [("yaw", -0.5, "left"), ("yaw", 0.0, "ahead"), ("yaw", 0.5, "right"), ("smile", 0.95, "up")],
)
def test_bands_mean_what_they_say(
    recogniser: nn.Module, factor: str, value: float, band: str
) -> None:
    data = faces(30, 64, seed=78, glasses="none", **{factor: value})
    read = progan_measure.reading(recogniser, data.fields["image"])[factor]
    index = progan_measure.names(factor).index(band)
    assert (read == index).float().mean() > 0.8


# --- The bench


class Faces(nn.Module):
    """A generator that hands out real faces, or faces of a kind; one a latent vector."""

    latent = 1

    def __init__(self, **fixed: object) -> None:
        super().__init__()
        images = faces(400, 64, seed=79, **fixed).fields["image"]
        self.images = nn.Parameter(2 * (images.float() / 255) - 1, requires_grad=False)

    def forward(self, z: Tensor) -> Tensor:
        place = (z[:, 0] * 1000).long() % len(self.images)
        return self.images[place]


@pytest.fixture(scope="module")
def bench() -> progan_measure.Bench:
    return progan_measure.Bench(300, patches=150, draws=2)


def test_faces_without_beards_are_missed_by_coverage(bench: progan_measure.Bench) -> None:
    good, bad = (bench.measure(Faces(**fixed)) for fixed in ({}, {"beard": "no", "yaw": 0.0}))
    assert good.fid < bad.fid
    assert not good.coverage.lost
    lost = {(value.factor, value.name) for value in bad.coverage.lost}
    assert {("beard", "yes"), ("yaw", "left"), ("yaw", "right")} <= lost
    assert ("yaw", "ahead") not in lost


def test_noise_is_farther_at_the_finest_level(bench: progan_measure.Bench) -> None:
    """Grain on real faces: FID may be kind to it, the level of 64 pixels is not."""
    clean, grainy = Faces(), Faces()
    random = torch.Generator().manual_seed(5)
    grainy.images += 0.3 * torch.randn(grainy.images.shape, generator=random)
    first, second = (bench.measure(each).swd.by_size for each in (clean, grainy))
    assert list(first) == [64, 32, 16]
    assert second[64].value > 2 * first[64].value
    rise = {size: second[size].value / first[size].value for size in first}
    assert rise[64] > rise[16]


def test_real_faces_reach_the_floor(bench: progan_measure.Bench) -> None:
    floor = bench.floor()
    assert floor.fid.interval is None and "faces recogniser" in floor.fid.extractor
    assert isinstance(floor.coverage, Coverage) and not floor.coverage.lost
    facts = floor.facts()
    assert json.loads(json.dumps(facts)) == json.loads(json.dumps(facts))
    assert set(facts) == {"fid", "swd", "kept", "lost"} and set(facts["swd"]) == {"64", "32", "16"}


def test_a_bench_needs_twice_as_many_images() -> None:
    with pytest.raises(SettingError, match="200 images"):
        progan_measure.Bench(100, data=faces(60, 64, seed=77))


# --- The study


def run(name: str, seed: int, fid: float) -> dict[str, object]:
    swd = {"32": {"value": 4.0}, "16": {"value": 2.0}}
    return {"run": name, "seed": seed, "fid": {"value": fid}, "swd": swd}


def test_a_study_is_read_by_variant(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    broken = {"run": "none", "seed": 1, "broken": "penalty", "steps": 7}
    runs = [run("all", 0, 5.0), run("none", 0, 9.0), run("all", 1, 6.0), broken]
    path.write_text(json.dumps({"data": "toys", "runs": runs}))
    found = progan_measure.load_study(path)
    assert found.about == {"data": "toys"} and found.names == ["all", "none"]
    assert found.of("all", progan_measure.fid_of) == [5.0, 6.0]
    assert found.of("none", progan_measure.swd_of) == [3.0, pytest.approx(math.nan, nan_ok=True)]
    assert progan_measure.swd_of(runs[0], 32) == 4.0
    with pytest.raises(SettingError, match="all, none"):
        found.of("some", progan_measure.fid_of)


@pytest.mark.parametrize("text", ["", "{}", '{"runs": [{"run": "all"}]}', "[1]"])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(DataError, match="no sound study"):
        progan_measure.load_study(path)
    with pytest.raises(DataError, match="no sound study"):
        progan_measure.load_study(tmp_path / "nothing.json")
