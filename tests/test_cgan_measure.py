"""Topic 09, the measurements: counts by hand, and instruments that tell good from bad."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from coursekit import cgan, cgan_measure
from coursekit.core.errors import SettingError, ShapeError
from coursekit.datasets.digits import digits


def reads(*found: int):
    return lambda images: torch.tensor(found)


IMAGES, ASKED = torch.zeros(6, 1, 32, 32), torch.tensor([0, 0, 0, 1, 1, 2])


def test_agreement_is_the_share_read_as_asked() -> None:
    found = cgan_measure.agreement(reads(0, 0, 1, 1, 0, 2), IMAGES, ASKED)
    assert found.value == pytest.approx(4 / 6) and found.count == 6
    # Wilson's interval for 4 of 6, with z = 1.959964.
    assert found.interval == pytest.approx((0.300, 0.903), abs=1e-3)


def test_agreement_by_class_divides_by_what_was_asked_for() -> None:
    found = cgan_measure.agreement_by_class(reads(0, 0, 1, 1, 0, 2), IMAGES, ASKED)
    assert {digit: each.value for digit, each in found.items()} == {
        0: pytest.approx(2 / 3),
        1: 0.5,
        2: 1.0,
    }


def test_asked_samples_ask_for_each_class_in_turn() -> None:
    generator = cgan.Generator(latent=4, width=4).eval()
    images, asked = cgan_measure.asked_samples(generator, 25, seed=3)
    assert images.shape == (25, 1, 32, 32) and asked.tolist() == [i % 10 for i in range(25)]
    again, _ = cgan_measure.asked_samples(generator, 25, seed=3)
    other, _ = cgan_measure.asked_samples(generator, 25, seed=4)
    assert torch.equal(images, again) and not torch.equal(images, other)


@pytest.fixture(scope="module")
def real() -> tuple[Tensor, Tensor]:
    batch = digits("train", size=32, count=600).batch(torch.arange(600))
    return batch["image"], batch["label"]


@pytest.fixture(scope="module")
def modes(real) -> cgan_measure.Modes:
    return cgan_measure.fit_modes(*real, modes=5, components=12)


def test_its_own_digits_reach_every_mode(modes, real) -> None:
    assert modes.coverage(*real) == 1.0
    found = modes.reached(*real)
    assert sorted(found) == list(range(10)) and all(len(each) == 5 for each in found.values())


def test_a_collapsed_class_reaches_one_mode_and_has_no_spread(modes, real) -> None:
    images, label = real
    one = torch.stack([images[label == digit][0] for digit in range(10)])
    collapsed = one[label]
    assert modes.coverage(collapsed, label) <= 10.01 / 50
    assert modes.spread(collapsed, label) == pytest.approx(0, abs=1e-4)
    assert modes.spread(images, label) > 1


def test_noise_and_other_classes_reach_few_modes(modes, real) -> None:
    images, label = real
    assert modes.coverage(torch.rand_like(images), label) == 0
    assert modes.coverage(images, (label + 1) % 10) < 0.7 * modes.coverage(images, label)


def test_new_digits_reach_more_modes_the_more_there_are(modes) -> None:
    fresh = digits("test", size=32).batch(torch.arange(400))
    few = modes.coverage(fresh["image"][:50], fresh["label"][:50])
    many = modes.coverage(fresh["image"], fresh["label"])
    assert few < many and many > 0.7


def test_axes_are_orthonormal_and_centres_are_means_of_their_digits(modes, real) -> None:
    images, label = real
    torch.testing.assert_close(modes.axes.T @ modes.axes, torch.eye(12), rtol=0, atol=1e-4)
    points = modes.project(images[label == 3])
    nearest = torch.cdist(points, modes.centres[3]).argmin(dim=1)
    for mode in range(5):
        mean = points[nearest == mode].mean(dim=0)
        torch.testing.assert_close(mean, modes.centres[3][mode], rtol=1e-3, atol=1e-2)


def test_what_cannot_be_measured_is_named(modes, real) -> None:
    images, label = real
    with pytest.raises(SettingError, match="hold no 90 clusters"):
        cgan_measure.fit_modes(images, label, modes=90)
    with pytest.raises(ShapeError, match="grey"):
        modes.project(torch.zeros(2, 3, 32, 32))


@pytest.mark.slow
def test_the_bench_rates_the_course_above_a_generator_that_does_not_listen() -> None:
    bench = cgan_measure.Bench()
    ceiling = bench.ceiling()
    assert ceiling["agreement"] >= 0.97 and ceiling["coverage"] > 0.85
    course, _ = cgan.load_generator()
    good = bench.measure(course, draws=2)
    assert good.agreement.value >= 0.95 and good.spread.value > 0.8
    assert good.coverage.value > 0.85 * ceiling["coverage"]
    bad = bench.measure(cgan.Generator(width=4).eval(), draws=2)
    assert bad.agreement.value < 0.3 and bad.coverage.value < 0.2
