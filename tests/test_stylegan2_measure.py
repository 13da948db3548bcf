"""StyleGAN2, measured: path length and separability where they are known, and shares by factor."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coursekit import stylegan2_measure as measure
from coursekit.core import metrics
from coursekit.core.errors import SettingError
from coursekit.core.estimates import proportion
from coursekit.core.runtime import generator as random
from coursekit.datasets.base import Dataset, Info
from coursekit.datasets.faces import faces
from coursekit.stylegan2_networks import Generator, Sizes

SMALL = Sizes(16, base=64, most=8)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed))


def squared(images: Tensor, others: Tensor) -> Tensor:
    return (images - others).double().square().flatten(1).sum(dim=1)


class Linear(nn.Module):
    """g(w) = A w as a picture, behind a mapping that stretches one direction."""

    class Painter(nn.Module):
        def __init__(self, matrix: Tensor) -> None:
            super().__init__()
            self.matrix = nn.Parameter(matrix)
            self.precision, self.sizes = "float32", Sizes(8, base=64, most=4)

        def forward(self, w: Tensor, *, noise: str) -> Tensor:
            assert noise == "const"
            return (w.double() @ self.matrix.double()).unflatten(1, (3, 8, 8))

    def __init__(self, stretch: float = 1.0) -> None:
        super().__init__()
        self.latent = 4
        self.synthesis = self.Painter(torch.linalg.qr(normal(192, 4, seed=1))[0].T)
        self.factors = torch.tensor([stretch, 1.0, 1.0, 1.0])

    def mapping(self, z: Tensor) -> Tensor:
        return nn.functional.normalize(z, dim=1) * self.factors


# --- perceptual path length ---------------------------------------------------------------------


def test_the_path_length_of_a_rotation_is_known() -> None:
    """In W: ‖w₂ − w₁‖² / 4 (to_unit halves), 2 (1 − cos) on average 2. In Z: ω² / 4."""
    made = Linear()
    w = measure.path_length(made, squared, "w", count=2000, epsilon=1e-3)
    assert w.covers(2 / 4) or w.value == pytest.approx(0.5, rel=0.05)
    z = measure.path_length(made, squared, "z", count=2000, epsilon=1e-3)
    first, second = normal(2000, 4, seed=2), normal(2000, 4, seed=3)
    angle = nn.functional.cosine_similarity(first, second).acos()
    assert z.value == pytest.approx(float(angle.square().mean()) / 4, rel=0.08)
    assert w.count == z.count == 2000


def test_path_lengths_at_the_ends_and_in_no_space() -> None:
    made = Linear()
    whole = measure.path_length(made, squared, "w", count=40, epsilon=1e-3)
    ends = measure.path_length(made, squared, "w", count=40, epsilon=1e-3, ends=True)
    assert ends.value == pytest.approx(whole.value, rel=1e-3)  # straight lines: the same speed
    with pytest.raises(SettingError, match="space='x'"):
        measure.path_length(made, squared, "x")


def test_path_lengths_of_the_real_network_are_computed_in_float32() -> None:
    torch.manual_seed(0)
    made = Generator(SMALL, latent=6, mapping_layers=1, precision="bfloat16").eval()
    seen = []

    def distance(images: Tensor, others: Tensor) -> Tensor:
        seen.append(made.synthesis.precision)
        return squared(images, others)

    coarse, fine = (
        measure.path_length(made, distance, "w", count=20, epsilon=e) for e in (1e-2, 1e-3)
    )
    assert set(seen) == {"float32"}
    assert made.synthesis.precision == "bfloat16"
    assert fine.value == pytest.approx(coarse.value, rel=0.1)  # the step is divided out


def test_float32_is_lent_and_given_back_after_an_error_too() -> None:
    made = Generator(SMALL, latent=6, mapping_layers=1, precision="bfloat16").eval()
    w = made.mapping(normal(2, 6, seed=1))
    wanted = made.synthesis(w, noise="const")
    with measure.in_float32(made):
        inside = made.synthesis(w, noise="const")
    assert not torch.equal(inside, wanted)  # bfloat16 has 8 bits of it
    torch.testing.assert_close(inside, wanted, rtol=0.1, atol=0.1 * float(wanted.detach().std()))
    assert torch.equal(made.synthesis(w, noise="const"), wanted)
    with pytest.raises(ZeroDivisionError), measure.in_float32(made):
        1 / 0  # noqa: B018
    assert made.synthesis.precision == "bfloat16"


# --- separability -------------------------------------------------------------------------------


def test_conditional_entropy_by_hand() -> None:
    truth = np.array([0, 0, 1, 1])
    assert measure.conditional_entropy(truth, truth) == 0.0
    assert measure.conditional_entropy(truth, np.zeros(4, int)) == pytest.approx(math.log(2))
    half = measure.conditional_entropy(truth, np.array([0, 0, 0, 1]))
    assert half == pytest.approx(3 / 4 * -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))


def sides_of(value: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    return {"side": (torch.arange(len(value)), (value > 0).long())}


def test_a_plane_separates_what_is_linear_and_nothing_else() -> None:
    points = normal(1200, 3, seed=4)
    flat = measure._separability("w", points, sides_of(points[:, 0]), 50, 0)
    bent = measure._separability("z", points, sides_of(points[:, 0] * points[:, 1]), 50, 0)
    assert flat.accuracy["side"].value > 0.95
    assert flat.score.value < 1.3 < 1.8 < bent.score.value
    assert not flat.score.overlaps(bent.score)
    assert bent.score.value == pytest.approx(math.exp(bent.entropy["side"].value))


class Reader:
    """Reads bright (real), left (binary), never (binary, the same for all), kind (a class)."""

    spec = {"bright": "regression", "left": "binary", "never": "binary", "kind": 3}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        bright = images.mean((1, 2, 3))
        kind = (3 * bright).long().clamp(max=2)
        soft = self.probabilities(images)
        return {"bright": bright, "kind": kind} | {n: (p > 0.5).long() for n, p in soft.items()}

    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        half = images.shape[-1] // 2
        gap = images[..., :half].mean((1, 2, 3)) - images[..., half:].mean((1, 2, 3))
        return {"left": (8 * gap).sigmoid(), "never": torch.full((len(images),), 0.1)}


def test_the_certain_half_is_kept_and_constant_attributes_are_left_out() -> None:
    images = torch.rand(40, 3, 8, 8, generator=random(5))
    images[::2, ..., :4] /= 2
    images[1::2, ..., 4:] /= 2
    images *= torch.linspace(0.5, 1, 40)[:, None, None, None]
    sides = measure.certain_sides(Reader(), images)
    assert set(sides) == {"bright", "left"}
    chosen, side = sides["left"]
    assert len(chosen) == len(side) == 20
    likely = Reader().probabilities(images)["left"]
    dropped = [i for i in range(40) if i not in chosen.tolist()]
    assert float((likely[chosen] - 0.5).abs().min()) >= float((likely[dropped] - 0.5).abs().max())


def test_separability_has_both_spaces_on_the_same_attributes() -> None:
    torch.manual_seed(0)
    made = Generator(SMALL, latent=6, mapping_layers=2).eval().requires_grad_(False)
    found = measure.separability(made, Reader(), count=400, resamples=20)
    assert set(found) == {"z", "w"}
    assert set(found["z"].entropy) == set(found["w"].entropy) >= {"bright"}
    for each in found.values():
        assert each.score.interval[0] <= each.score.interval[1]
        assert each.score.value >= 1.0


# --- diversity ----------------------------------------------------------------------------------


def test_a_share_compares_generated_with_real() -> None:
    fewer = measure.Share("hair", "bob", proportion(20, 100), proportion(5, 100))
    more = measure.Share("hair", "long", proportion(10, 100), proportion(25, 100))
    assert (fewer.ratio, more.ratio) == pytest.approx((0.25, 2.5))
    found = measure.Coverage([more, fewer], least=0.05)
    assert found.lost == [fewer] and found.rarest is fewer


class White(Linear):
    """Every picture is white."""

    class Painter(Linear.Painter):
        def forward(self, w: Tensor, *, noise: str) -> Tensor:
            return torch.ones(len(w), 3, 8, 8)


def test_coverage_reads_real_and_generated_faces_with_one_recogniser(monkeypatch) -> None:
    """Of the real ones 30 of 40 are bright, all the generated ones are."""

    def real(count: int, size: int, *, seed: int) -> Dataset:
        assert (count, size, seed) == (40, 8, measure.HELD_OUT)
        image = torch.zeros(40, 3, 8, 8, dtype=torch.uint8)
        image[10:] = 255
        return Dataset(Info("toys", "toys", "none", True, "a test"), {"image": image})

    class Brightness:
        spec = {"bright": "binary"}

        def predict(self, images: Tensor) -> dict[str, Tensor]:
            return {"bright": (images.float().mean((1, 2, 3)) > 0.5).long()}

    monkeypatch.setattr(measure, "faces", real)
    found = measure.coverage(White(), Brightness(), count=40)
    ratios = {share.value: share.ratio for share in found.shares}
    assert ratios == pytest.approx({"no": 0.0, "yes": 40 / 30})
    assert [share.value for share in found.lost] == ["no"]
    rare = measure.coverage(White(), Brightness(), count=40, least=0.3)
    assert [share.value for share in rare.shares] == ["yes"]  # dark ones are 25 %: not asked for


def test_lost_values_are_named() -> None:
    spec = {"beard": "binary", "hair": 3, "yaw": "regression"}
    real = {
        "beard": torch.tensor([1] * 30 + [0] * 70),
        "hair": torch.tensor([0] * 60 + [1] * 38 + [2] * 2),
        "yaw": torch.linspace(-1, 1, 100),
    }
    made = {
        "beard": torch.tensor([1] * 10 + [0] * 90),
        "hair": torch.tensor([0] * 50 + [1] * 50),
        "yaw": torch.zeros(100),
    }
    found = measure.compared(spec, real, made)
    names = [(share.factor, share.value) for share in found.shares]
    hair = measure.value_names("hair", 3)[:2]  # the third has 2 %: nobody asks for it
    thirds = [("yaw", f"{each} third") for each in ("lower", "middle", "upper")]
    assert names == [("beard", "no"), ("beard", "yes"), *[("hair", h) for h in hair], *thirds]
    lost = [(share.factor, share.value) for share in found.lost]
    assert lost == [("beard", "yes"), thirds[0], thirds[2]]
    assert found.rarest.ratio == 0.0
    assert found.shares[1].ratio == pytest.approx(1 / 3)


def test_values_have_the_data_sets_names() -> None:
    assert measure.value_names("glasses", "binary") == ("no", "yes")
    assert len(measure.value_names("hair", 8)) == 8
    assert measure.value_names("unknown", 2) == ("0", "1")


def test_fid_names_its_extractor_and_draws_from_the_random_numbers_given() -> None:
    torch.manual_seed(0)
    made = Generator(SMALL, latent=6, mapping_layers=1).eval().requires_grad_(False)
    draw = measure.sampler(made)
    one, again, other = (draw(3, random(seed)) for seed in (1, 1, 2))
    assert one.shape == (3, 3, 16, 16)
    assert torch.allclose(one, again, atol=1e-5)
    assert not torch.allclose(one, other, atol=1e-2)


def test_fid_knows_held_out_faces_from_other_faces_and_from_no_faces() -> None:
    """With the course's own recogniser, which is part of every checkout."""
    real = measure.real_statistics(300, 16)
    assert len(real) == 300
    itself = metrics.fid(real, faces(300, 16, seed=measure.HELD_OUT).fields["image"])
    others = metrics.fid(real, faces(300, 16, seed=measure.HELD_OUT + 1).fields["image"])
    assert itself.value == pytest.approx(0, abs=1e-2) and itself.value < others.value
    torch.manual_seed(0)
    made = Generator(SMALL, latent=6, mapping_layers=1).eval().requires_grad_(False)
    found = measure.fid(made, real, count=300, draws=2)
    assert found.value > 10 * others.value
    assert "faces recogniser" in found.extractor and found.real_count == 300
    assert found.interval[0] <= found.value <= found.interval[1]
