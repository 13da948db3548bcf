"""The doctor's signals by hand, and what it concludes from signals made by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.core import gan_doctor
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.gan_doctor import WINDOW, GanDoctor, Verdict, gradient_norm
from coursekit.core.gan_signals import checkerboard, diversity
from coursekit.core.runtime import generator
from coursekit.datasets.digits import digits


def names(verdict: Verdict) -> list[str]:
    return [finding.name for finding in verdict.findings]


def real_digits(side: int) -> Tensor:
    """64 digits in [0, 1], (64, 1, side, side)."""
    images = digits("train", count=64).fields["image"].float() / 255
    return F.interpolate(images, (side, side), mode="area")


def observe(
    doctor: GanDoctor, step: int, real_at: float = 1.0, fake_at: float = -1.0, **more: object
) -> None:
    doctor.observe(
        step, real_logits=torch.full((8,), real_at), fake_logits=torch.full((8,), fake_at), **more
    )


def after(doctor: GanDoctor, signals: list[dict[str, object]], start: int = 2000) -> Verdict:
    for index, signal in enumerate(signals):
        observe(doctor, start + index, **signal)
    return doctor.verdict()


class TestWindow:
    def test_nothing_and_little_is_too_early(self) -> None:
        doctor = GanDoctor()
        assert doctor.verdict().status == "too early"
        assert after(doctor, [{}] * (WINDOW - 1)).status == "too early"
        assert "4 of 5 observations" in str(doctor.verdict())
        assert after(doctor, [{}]).status == "healthy"

    def test_one_good_moment_ends_a_finding_and_one_bad_one_makes_none(self) -> None:
        bad = {"real_at": 20.0, "fake_at": -20.0}
        assert after(GanDoctor(), [bad] * WINDOW).status == "ill"
        assert after(GanDoctor(), [bad] * (WINDOW - 1) + [{}]).status == "healthy"
        assert after(GanDoctor(), [{}] * WINDOW + [bad]).status == "healthy"

    def test_it_wants_every_so_many_steps(self) -> None:
        assert [step for step in range(1, 31) if GanDoctor(10).wants(step)] == [10, 20, 30]


class TestSaturation:
    @pytest.mark.parametrize(
        ("fake", "status"), [(-3.0, "healthy"), (-4.5, "watch"), (-6.0, "ill")]
    )
    def test_by_the_probability_that_samples_get(self, fake: float, status: str) -> None:
        verdict = after(GanDoctor(), [{"real_at": 5.0, "fake_at": fake}] * WINDOW)
        assert verdict.status == status
        assert names(verdict) == ["discriminator saturated"] * (status != "healthy")

    def test_not_where_it_is_often_wrong(self) -> None:
        """Everything is called false: D is unsure of the real ones, so nothing is saturated."""
        assert after(GanDoctor(), [{"real_at": -5.0, "fake_at": -9.0}] * WINDOW).status == "healthy"

    def test_a_critic_cannot_saturate(self) -> None:
        wgan = GanDoctor(kind="wgan")
        assert after(wgan, [{"real_at": 40.0, "fake_at": -40.0}] * WINDOW).status == "healthy"


class TestGradient:
    def signals(self, *norms: float) -> list[dict[str, object]]:
        return [{"generator_gradient_norm": n} for n in norms for _ in range(WINDOW)]

    @pytest.mark.parametrize(
        ("end", "status"), [(0.2, "healthy"), (0.04, "watch"), (0.01, "ill"), (0.0, "ill")]
    )
    def test_against_the_largest_it_has_been(self, end: float, status: str) -> None:
        verdict = after(GanDoctor(), self.signals(0.1, 1.0, end))
        assert verdict.status == status

    def test_none_from_the_start_is_a_lost_graph(self) -> None:
        verdict = after(GanDoctor(), self.signals(0.0))
        assert names(verdict) == ["generator gradient vanished"]
        assert "nothing flows back" in str(verdict)

    def test_a_parameter_without_gradient_counts_as_none(self) -> None:
        weight = nn.Parameter(torch.tensor([3.0, 4.0]))
        assert gradient_norm([weight]) == 0
        weight.grad = torch.tensor([3.0, 4.0])
        other = nn.Parameter(torch.zeros(1))
        other.grad = torch.tensor([12.0])
        assert gradient_norm([weight, other]) == pytest.approx(13)


class TestDiversity:
    def test_by_hand(self) -> None:
        """A square of side 1 against one of side 4: mean (4 + 2√2)/6, nearest 1, four times."""
        square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        assert diversity(square, 4 * square) == pytest.approx((0.25, 0.25))
        assert diversity(square, square) == pytest.approx((1, 1))

    def test_two_groups_are_seen_by_the_nearest_neighbour_alone(self) -> None:
        draw = generator(0)
        real = torch.rand(64, 1, 16, 16, generator=draw)
        modes = torch.rand(2, 1, 16, 16, generator=draw).repeat_interleave(32, 0)
        mean, nearest = diversity(modes, real)
        assert mean > 0.4
        assert nearest < 1e-6
        verdict = after(GanDoctor(), [{"samples": modes, "real": real}] * WINDOW)
        assert names(verdict) == ["mode collapse"]
        assert "fall into a few groups" in str(verdict)

    def test_texture_is_not_diversity(self) -> None:
        """One picture under different noise per pixel is still one picture."""
        draw, real = generator(0), real_digits(28)
        noisy = (real[:1] + 0.1 * torch.randn(64, 1, 28, 28, generator=draw)).clamp(0, 1)
        assert diversity(noisy, real)[0] < gan_doctor.COLLAPSED_MEAN[1]

    def test_it_waits_for_the_warm_up(self) -> None:
        same = {"samples": torch.zeros(8, 2), "real": torch.rand(8, 2)}
        assert after(GanDoctor(warm_up=3000), [same] * WINDOW).status == "healthy"
        assert "from step 3,000 on" in str(after(GanDoctor(warm_up=3000), [same] * WINDOW))
        assert after(GanDoctor(warm_up=2000), [same] * WINDOW).status == "ill"


class TestCheckerboard:
    def pattern(self, stride: int, strength: float) -> Tensor:
        """Real digits with every ``stride``-th row and column lighter."""
        images = real_digits(32)
        images[..., ::stride, :] += strength
        images[..., :, ::stride] += strength
        return images

    @pytest.mark.parametrize("stride", [2, 4])
    def test_the_stride_is_named(self, stride: int) -> None:
        real = real_digits(32)
        excess, found = checkerboard(self.pattern(stride, 0.05), real)
        assert found == stride
        assert excess > gan_doctor.CHECKERBOARD_EXCESS[1]

    def test_more_of_it_is_a_larger_excess_and_none_is_about_one(self) -> None:
        torch.manual_seed(0)
        real = real_digits(32)
        found = [checkerboard(self.pattern(2, s), real)[0] for s in (0.0, 0.01, 0.03, 0.1)]
        assert found == sorted(found)
        assert found[0] < 2

    def test_stripes_of_another_period_and_noise_are_none(self) -> None:
        real = real_digits(32)
        striped = real.clone()
        striped[..., ::5, :] += 0.1
        assert checkerboard(striped, real)[0] < 2
        noisy = real + 0.1 * torch.randn(real.shape, generator=generator(0))
        assert checkerboard(noisy, real)[0] < 4

    def test_verdict(self) -> None:
        real = real_digits(32)
        signal = {"samples": self.pattern(4, 0.1), "real": real}
        verdict = after(GanDoctor(), [signal] * WINDOW)
        assert names(verdict) == ["checkerboard"]
        assert "every 4 pixels" in str(verdict)

    def test_sizes_without_such_a_spectrum_are_left_out(self) -> None:
        for shape in ((8, 1, 8, 8), (8, 1, 30, 30), (8, 5)):
            doctor = GanDoctor()
            batch = torch.rand(shape, generator=generator(0))
            observe(doctor, 1, samples=batch, real=batch)
            assert doctor.observations[0].excess is None
            assert doctor.observations[0].mean_distance == pytest.approx(1)


class TestNumbers:
    @pytest.mark.parametrize(
        "signal",
        [
            {"real_at": float("nan")},
            {"fake_at": float("inf")},
            {"terms": {"d_loss": float("nan")}},
            {"generator_gradient_norm": float("inf")},
            {"samples": torch.full((8, 2), float("nan")), "real": torch.rand(8, 2)},
        ],
    )
    def test_not_finite_is_said_at_once(self, signal: dict[str, object]) -> None:
        verdict = after(GanDoctor(), [signal])
        assert (verdict.status, names(verdict)) == ("ill", ["numbers not finite"])

    def test_the_term_is_named(self) -> None:
        terms = {"d_loss": 1.0, "g_loss": float("nan")}
        assert "g_loss" in after(GanDoctor(), [{"terms": terms}]).findings[0].sentence

    @pytest.mark.parametrize(
        ("kind", "logit", "status"),
        [
            ("gan", 30.0, "healthy"),
            ("gan", 60.0, "watch"),
            ("gan", 200.0, "ill"),
            ("wgan", 200.0, "healthy"),
            ("wgan", 1e4, "watch"),
            ("wgan", 1e5, "ill"),
        ],
    )
    def test_huge_answers(self, kind: str, logit: float, status: str) -> None:
        doctor = GanDoctor(kind=kind)
        for step in range(WINDOW):
            doctor.observe(
                step,
                real_logits=torch.full((8,), logit),
                fake_logits=torch.tensor([-1.0, 1.0] * 8),
            )
        assert doctor.verdict().status == status

    def test_a_critic_may_drift(self) -> None:
        """Scores of a million, one apart: nothing but a constant."""
        signal = {"real_at": 1e6, "fake_at": 1e6 - 1}
        assert after(GanDoctor(kind="wgan"), [signal] * WINDOW).status == "healthy"

    def test_a_term_that_grows(self) -> None:
        growing = [{"terms": {"gp": 2.0 * 4**i, "ok": 500.0}} for i in range(WINDOW)]
        verdict = after(GanDoctor(kind="wgan"), growing)
        assert names(verdict) == ["numbers exploding"]
        assert "gp grew 256 times" in verdict.findings[0].sentence
        small = [{"terms": {"gp": 0.002 * 4**i}} for i in range(WINDOW)]
        assert after(GanDoctor(kind="wgan"), small).status == "healthy"
        restless = [{"terms": {"gp": v}} for v in (10.0, 900.0, 20.0, 5.0, 700.0)]
        assert after(GanDoctor(kind="wgan"), restless).status == "healthy"


class TestShowing:
    def test_text_and_page(self) -> None:
        signal = {"real_at": 20.0, "fake_at": -20.0, "generator_gradient_norm": 0.5}
        verdict = after(GanDoctor(), [signal] * WINDOW)
        lines = str(verdict).splitlines()
        assert lines[0] == "GAN doctor, step 2,004: ill"
        assert lines[1].startswith("discriminator saturated (ill): D tells 100% of the images")
        assert "G gradient 0.5" in lines[2]
        page = verdict._repr_html_()
        assert "<b>GAN doctor, step 2,004: ill</b>" in page
        assert page.count("<br>") == len(lines) - 1

    def test_the_worst_comes_first(self) -> None:
        signal = {
            "real_at": 5.0,
            "fake_at": -4.5,
            "samples": torch.zeros(8, 2),
            "real": torch.rand(8, 2),
        }
        verdict = after(GanDoctor(), [signal] * WINDOW)
        assert [f.severity for f in verdict.findings] == ["ill", "watch"]


@pytest.mark.parametrize("arguments", [{"every": 0}, {"kind": "vae"}, {"warm_up": -1}])
def test_settings_that_are_none(arguments: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        GanDoctor(**arguments)


@pytest.mark.parametrize(
    ("samples", "real"),
    [
        (torch.rand(8, 2), None),
        (torch.rand(7, 2), torch.rand(8, 2)),
        (torch.rand(8, 2), torch.rand(8, 3)),
        (torch.rand(8, 1, 16, 16), torch.rand(8, 1, 32, 32)),
    ],
)
def test_samples_that_cannot_be_compared(samples: Tensor, real: Tensor | None) -> None:
    with pytest.raises(ShapeError, match="same size"):
        observe(GanDoctor(), 1, samples=samples, **({} if real is None else {"real": real}))
