"""The latent space on toys whose answers are known: every share is counted a second way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from latent_toys import LATENT, SCALE, Reader, Toy, normal, truth
from torch import Tensor, nn

from coursekit import dcgan, dcgan_latent
from coursekit.core.errors import SettingError, ShapeError
from coursekit.dcgan_latent import (
    Pool,
    arithmetic,
    draw,
    draw_alike,
    make_pool,
    other_factors,
    pose_vector,
    random_like,
    read,
    slerp,
    study_arithmetic,
    study_yaw,
    walk,
)

# --- Interpolation --------------------------------------------------------------------------------


def angle(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a.double(), b.double(), dim=-1).acos()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_slerp_against_the_formula(share: float) -> None:
    a, b = normal(50, seed=1), 2 * normal(50, seed=2)
    x, y = a.double().numpy(), b.double().numpy()
    omega = math.acos(x @ y / math.sqrt((x @ x) * (y @ y)))
    expected = (math.sin((1 - share) * omega) * x + math.sin(share * omega) * y) / math.sin(omega)
    np.testing.assert_allclose(slerp(a, b, share).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_slerp_begins_and_ends_where_it_should() -> None:
    a, b = normal(4, 30, seed=1), normal(4, 30, seed=2)
    assert torch.equal(slerp(a, b, 0), a)
    assert torch.equal(slerp(a, b, 1), b)
    torch.testing.assert_close(slerp(a, a, 0.3), a, rtol=1e-4, atol=1e-5)


def test_slerp_turns_evenly_and_keeps_the_length() -> None:
    a, b = (7 * nn.functional.normalize(normal(5, 40, seed=seed)) for seed in (1, 2))
    for share in (0.25, 0.5, 0.75):
        point = slerp(a, b, share)
        torch.testing.assert_close(point.norm(dim=1), torch.full((5,), 7.0))
        torch.testing.assert_close(angle(a, point), share * angle(a, b), rtol=1e-4, atol=1e-4)
    straight = (a + b) / 2
    assert bool((straight.norm(dim=1) < 6).all())  # why one does not walk straight


def test_a_walk_passes_its_points_in_even_steps() -> None:
    points = nn.functional.normalize(normal(4, 20)) * 3
    path = walk(points, 5)
    assert path.shape == (16, 20)
    torch.testing.assert_close(path[::5], points)
    for leg in range(3):
        parts = [angle(path[5 * leg + i], path[5 * leg + i + 1]) for i in range(5)]
        whole = angle(points[leg], points[leg + 1])
        torch.testing.assert_close(torch.stack(parts), whole.expand(5) / 5, rtol=1e-3, atol=1e-4)
    assert torch.equal(walk(points[:2], 1), points[:2])


@pytest.mark.parametrize("shape", [(1, 20), (20,), (2, 3, 4)])
def test_a_walk_needs_two_points(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="two or more points"):
        walk(torch.ones(shape))


# --- Vectors --------------------------------------------------------------------------------------


def test_arithmetic_by_hand() -> None:
    plus = torch.tensor([[3.0, 0.0], [6.0, 3.0], [0.0, 0.0]])
    minus = torch.tensor([[1.0, 1.0], [1.0, 4.0]])
    target = torch.tensor([[10.0, 0.0], [20.0, 2.0]])
    assert arithmetic(plus, minus, target).tolist() == [3 - 1 + 15, 1 - 2.5 + 1]


def test_pose_vector_by_hand() -> None:
    left = torch.tensor([[-1.0, 4.0], [-3.0, 2.0]])
    right = torch.tensor([[5.0, 4.0], [1.0, 4.0]])
    assert pose_vector(left, right).tolist() == [5, 1]


def test_the_control_has_the_same_length_and_another_direction() -> None:
    vectors = normal(200, 50) * torch.linspace(0.1, 9, 200)[:, None]
    control = random_like(vectors, seed=3)
    torch.testing.assert_close(control.norm(dim=1), vectors.norm(dim=1))
    cosines = torch.cosine_similarity(vectors, control, dim=1)
    assert abs(float(cosines.mean())) < 4 / (200 * 50) ** 0.5
    assert torch.equal(control, random_like(vectors, seed=3))
    assert not torch.equal(control, random_like(vectors, seed=4))
    assert random_like(vectors[0], seed=1).shape == (50,)


@pytest.mark.parametrize(
    ("read", "stay"),
    [(("glasses", "hair", "beard", "yaw"), ["hair", "beard"]), (("glasses", "skin"), ["skin"])],
)
def test_what_should_stay_is_what_is_read_and_not_the_attribute(
    read: tuple[str, ...], stay: list[str]
) -> None:
    assert other_factors(dict.fromkeys(read, torch.zeros(1)), "glasses") == stay


# --- Pools ----------------------------------------------------------------------------------------


def test_a_pool_is_read_off_its_pictures() -> None:
    pool = make_pool(Toy(), Reader(), 300, seed=4)
    assert torch.equal(pool.latents, dcgan.sample_latent(300, LATENT, seed=4))
    expected = truth(pool.latents)
    assert torch.equal(pool.factors["glasses"], expected["glasses"])
    torch.testing.assert_close(pool.factors["yaw"], expected["yaw"], rtol=0, atol=1e-3)
    assert 0 < float(expected["glasses"].float().mean()) < 1
    again = read(Toy(), Reader("yaw"), pool.latents[:7])
    assert list(again) == ["yaw"] and torch.equal(again["yaw"], pool.factors["yaw"][:7])


def test_where() -> None:
    pool = Pool(torch.zeros(5, 2), {"yaw": torch.tensor([-3.0, 1.0, 2.0, 0.5, 1.5])})
    assert pool.where("yaw", 1, 2).tolist() == [1, 2, 4]
    assert pool.where("yaw", 5, 9).tolist() == []
    with pytest.raises(SettingError, match="no factor 'glasses', only yaw"):
        pool.where("glasses", 1, 1)


def test_groups_are_drawn_from_those_asked_for_without_repeats() -> None:
    pool = Pool(torch.arange(40.0)[:, None], {})
    among = torch.arange(10, 18)
    groups = draw(pool, among, 200, 3, seed=1)
    assert groups.shape == (200, 3, 1)
    rows = [set(group.flatten().tolist()) for group in groups]
    assert all(len(row) == 3 for row in rows)
    assert set.union(*rows) == set(range(10, 18))
    assert len({frozenset(row) for row in rows}) > 40  # of 56
    assert torch.equal(groups, draw(pool, among, 200, 3, seed=1))
    assert not torch.equal(groups, draw(pool, among, 200, 3, seed=2))
    with pytest.raises(SettingError, match=r"Only 8 samples .* 9 are needed"):
        draw(pool, among, 2, 9, seed=1)


# --- Arithmetic, measured -------------------------------------------------------------------------


def clusters() -> Pool:
    """Glasses at z[0] = 5, none at −1; hair and beard of all kinds."""
    z = torch.zeros(400, LATENT)
    z[:, 0] = torch.tensor([5.0, -1.0]).repeat(200)
    z[:, 1:3] = normal(400, 2, seed=8) * 2
    return Pool(z, truth(z))


def shares(z: Tensor, moved: Tensor, entangled: bool = False) -> tuple[float, float, float]:
    """Gained, kept, both: counted in z, without pictures."""
    before, after = ((each.clone(), each) for each in (z, moved))
    for each, _ in (before, after):
        each[:, 1] += entangled * each[:, 0]
    first, second = truth(before[0]), truth(after[0])
    gained = second["glasses"] == 1
    kept = (first["hair"] == second["hair"]) & (first["beard"] == second["beard"])
    return tuple(float(hits.float().mean()) for hits in (gained, kept, gained & kept))


@pytest.mark.parametrize(("entangled", "alike"), [(False, True), (False, False), (True, True)])
def test_arithmetic_is_counted_right(entangled: bool, alike: bool) -> None:
    pool, count, seed = clusters(), 60, 5
    options = {"triplets": count, "size": 4, "target_size": 2, "alike": alike, "seed": seed}
    study = study_arithmetic(Toy(entangled), Reader(), pool, **options)
    agree = ("hair", "beard") if alike else ()
    plus, minus = draw_alike(pool, "glasses", agree, count, 4, seed=seed)
    target = draw(pool, pool.where("glasses", 0, 0), 3 * count, 2, seed=seed + 1).mean(1)[:count]
    shift = plus.mean(1) - minus.mean(1)
    ways = {"arithmetic": shift, "random": random_like(shift, seed=seed + 2)}
    for way, shift in ways.items():
        expected = shares(target, target + shift, entangled)
        found = study.gained[way], study.kept[way], study.both[way]
        assert [share.value for share in found] == pytest.approx(expected)
        assert all(share.count == count for share in found)
        assert all(share.interval[0] <= share.value <= share.interval[1] for share in found)
    assert study.gained["arithmetic"].value == 1
    assert 0 < study.gained["random"].value < 0.9
    assert study.kept_each["arithmetic"].keys() == {"hair", "beard"}


def test_what_is_kept_is_told_for_each_factor() -> None:
    """Nothing but glasses differs between the clusters; entangled, hair always turns."""
    z = torch.zeros(80, LATENT)
    z[:, 0] = torch.tensor([5.0, -1.0]).repeat(40)
    pool = Pool(z, truth(z))
    for entangled in (False, True):
        study = study_arithmetic(Toy(entangled), Reader(), pool, triplets=20)
        assert study.gained["arithmetic"].value == 1
        assert study.kept["arithmetic"].value == study.both["arithmetic"].value == 1 - entangled
        each = study.kept_each["arithmetic"]
        assert (each["hair"].value, each["beard"].value) == (1 - entangled, 1)


class Middle(Reader):
    """Glasses where z[0] is near 0: the mean of some samples without them has them."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        read = super().predict(images)
        z = (images[:, 0].flatten(1) * 2 - 1) * SCALE
        return read | {"glasses": (z[:, 0].abs() < 0.6).long()}


def test_targets_lack_the_attribute() -> None:
    z = torch.zeros(90, LATENT)
    z[:, 0] = torch.tensor([0.0, 1.0, 1.0, 1.0, -1.0]).repeat(18)
    factors = truth(z) | {"glasses": (z[:, 0] == 0).long()}
    targets = dcgan_latent._without(Toy(), Middle(), Pool(z, factors), "glasses", 15, 3, seed=0)
    assert targets.shape == (15, LATENT)
    assert bool((targets[:, 0].abs() == 1).all())  # not ±1/3, which most means of three are
    z[:, 0] = torch.tensor([0.0, 0.3, 0.3, 0.3, -0.3]).repeat(18)
    with pytest.raises(SettingError, match="Too few averages lack 'glasses': 0 of 15"):
        dcgan_latent._without(Toy(), Middle(), Pool(z, factors), "glasses", 15, 3, seed=0)


def test_arithmetic_needs_something_to_measure() -> None:
    pool = clusters()
    with pytest.raises(SettingError, match="no factor 'hat'"):
        study_arithmetic(Toy(), Reader(), pool, "hat", triplets=5)
    with pytest.raises(SettingError, match="reads none of"):
        few = {name: pool.factors[name] for name in ("glasses", "yaw")}
        study_arithmetic(Toy(), Reader("glasses", "yaw"), Pool(pool.latents, few), triplets=5)
    lonely = Pool(pool.latents[1::2], truth(pool.latents[1::2]))
    with pytest.raises(SettingError, match="no 3 samples with and 3 without 'glasses' that agree"):
        study_arithmetic(Toy(), Reader(), lonely, triplets=5)
    with pytest.raises(SettingError, match=r"without 'glasses'\. Draw a larger pool"):
        study_arithmetic(Toy(), Reader(), lonely, triplets=5, alike=False)


def test_groups_that_are_alike() -> None:
    """What the two sides are subtracted for is all that tells them apart."""
    pool = clusters()
    plus, minus = draw_alike(pool, "glasses", ("hair", "beard"), 50, 3, seed=1)
    assert plus.shape == minus.shape == (50, 3, LATENT)
    kinds = set()
    for one, other in zip(plus, minus, strict=True):
        first, second = truth(one), truth(other)
        assert first["glasses"].tolist() == [1] * 3
        assert second["glasses"].tolist() == [0] * 3
        for name in ("hair", "beard"):
            assert len({*first[name].tolist(), *second[name].tolist()}) == 1
        assert len(one.unique(dim=0)) == len(other.unique(dim=0)) == 3
        kinds.add((int(first["hair"][0]), int(first["beard"][0])))
    assert len(kinds) == 4
    again = draw_alike(pool, "glasses", ("hair", "beard"), 50, 3, seed=1)
    assert torch.equal(plus, again[0])
    assert torch.equal(minus, again[1])


# --- Yaw, measured --------------------------------------------------------------------------------


def test_yaw_is_read_along_the_walk() -> None:
    places, faces, seed = (-1.0, -0.25, 0.5, 2.0), 80, 6
    vector = 2.0 * torch.eye(LATENT)[3]
    study = study_yaw(Toy(), Reader(), vector, faces=faces, places=places, seed=seed)
    start = dcgan.sample_latent(faces, LATENT, seed=seed)
    directions = {
        "pose": vector.expand(faces, -1),
        "random": random_like(vector.expand(faces, -1), seed=seed + 1),
    }
    assert study.places == list(places)
    for way, direction in directions.items():
        means = [float((start + t * direction)[:, 3].mean()) for t in places]
        np.testing.assert_allclose(study.yaw[way], means, atol=1e-3)
        # z[3] is linear in the place: the correlation is the sign of the direction.
        expected = float(direction[:, 3].sign().mean())
        assert study.correlation[way].value == pytest.approx(expected, abs=1e-3)
        first, last = (truth(start + t * direction) for t in (places[0], places[-1]))
        names = ("glasses", "hair", "beard")
        alike = torch.stack([first[name] == last[name] for name in names]).all(0)
        assert study.kept[way].value == pytest.approx(float(alike.float().mean()))
        assert study.kept[way].count == study.correlation[way].count == faces
    assert study.correlation["pose"].value == pytest.approx(1)
    assert study.kept["pose"].value == 1
    assert abs(study.correlation["random"].value) < 0.4


def test_faces_that_do_not_turn_have_no_correlation() -> None:
    vector = 2.0 * torch.eye(LATENT)[4]  # nothing reads z[4]
    study = study_yaw(Toy(), Reader(), vector, faces=20)
    assert study.correlation["pose"].value == pytest.approx(0, abs=1e-6)
    values = torch.tensor([[1.0, 2, 3], [3, 2, 1], [5, 5, 5], [0, 1, 0]])
    found = dcgan_latent._correlations(values, [-1.0, 0.0, 1.0])
    np.testing.assert_allclose(found, [1, -1, 0, 0], atol=1e-12)


def test_yaw_must_be_read() -> None:
    for reader in (Reader("glasses", "hair"), Reader("yaw")):
        with pytest.raises(SettingError, match=r"no factor 'yaw'|reads none of"):
            study_yaw(Toy(), reader, torch.ones(LATENT), faces=5)
