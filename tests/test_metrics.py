"""FID and KID against their formulas by hand; PSNR and SSIM against scikit-image."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch
from scipy import linalg
from skimage import metrics as skimage_metrics
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import metrics
from coursekit.core.errors import ImageError, SettingError, ShapeError, WeightsError
from coursekit.core.metrics import Extractor, RealStatistics, fid, fid_of, kid
from coursekit.core.runtime import generator
from coursekit.datasets.digits import digits


def identity(dimensions: int = 2, name: str = "pixels") -> Extractor:
    """The first values of an image are its features."""
    return Extractor(name, lambda images: images.flatten(1)[:, :dimensions], channels=1)


def as_images(features: Tensor) -> Tensor:
    """Vectors (N, D) in [0, 1] as images (N, 1, 1, D)."""
    return features[:, None, None, :]


def cloud(count: int, mean: float, spread: float, seed: int, dimensions: int = 2) -> Tensor:
    noise = torch.rand(count, dimensions, generator=generator(seed))
    return as_images((mean + spread * (noise - 0.5)).clamp(0, 1))


@functools.cache
def digit_images(split: str, count: int) -> Tensor:
    return digits(split).fields["image"][:count].float() / 255


@functools.cache
def real_digits() -> RealStatistics:
    return RealStatistics(digit_images("test", 500), metrics.digit_extractor())


class TestFID:
    def test_one_dimension_by_hand(self) -> None:
        """(μ₁ − μ₂)² + (σ₁ − σ₂)², with the sample's own mean and variance."""
        real, fake = cloud(400, 0.4, 0.6, 0, 1), cloud(300, 0.7, 0.2, 1, 1)
        a, b = real.double().flatten().numpy(), fake.double().flatten().numpy()
        expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
        assert fid(real, fake, identity(1)).value == pytest.approx(expected, rel=1e-6)

    def test_two_correlated_dimensions_against_scipys_matrix_root(self) -> None:
        mix = torch.tensor([[0.5, 0.3], [0.0, 0.4]])
        real = as_images(cloud(500, 0.5, 1.0, 0).squeeze() @ mix)
        fake = as_images(cloud(500, 0.4, 0.7, 1).squeeze() @ mix.T)
        a, b = (x.double().flatten(1).numpy() for x in (real, fake))
        first, second = np.cov(a.T), np.cov(b.T)
        root = linalg.sqrtm(first @ second).real
        gap = ((a.mean(0) - b.mean(0)) ** 2).sum()
        expected = gap + np.trace(first + second - 2 * root)
        assert fid(real, fake, identity()).value == pytest.approx(expected, rel=1e-6)

    def test_two_by_two_covariances_in_closed_form(self) -> None:
        """tr √(AB) of 2×2 matrices is √(tr(AB) + 2 √det(AB)): no eigenvalues at all."""
        real, fake = cloud(300, 0.5, 0.9, 2), cloud(300, 0.5, 0.5, 3)
        a, b = (x.double().flatten(1).numpy() for x in (real, fake))
        first, second = np.cov(a.T), np.cov(b.T)
        product = first @ second
        root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
        expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second) - 2 * root
        assert fid(real, fake, identity()).value == pytest.approx(expected, rel=1e-6)

    def test_a_set_with_itself_is_zero_also_where_the_covariance_has_no_full_rank(self) -> None:
        known = real_digits()
        scale = float(known.features.var(dim=0).sum())
        assert known.frechet_distance(known.features) < 1e-5 * scale
        few = torch.rand(120, 1, 1, 300, generator=generator(0))
        with pytest.warns(UserWarning, match="rank deficient"):
            assert fid(few, few, identity(300)).value < 1e-4

    def test_it_rises_with_noise_and_with_blur(self) -> None:
        held_out, noise = digit_images("train", 500), torch.rand(500, 1, 28, 28)
        values = [
            fid(real_digits(), (1 - share) * held_out + share * noise).value
            for share in (0.0, 0.15, 0.3, 0.5)
        ]
        assert values == sorted(values)
        assert values[-1] > 5 * values[0]
        blurred = [F.avg_pool2d(held_out, k, 1, k // 2) for k in (1, 3, 5, 7)]
        values = [fid(real_digits(), images).value for images in blurred]
        assert values == sorted(values)
        assert values[-1] > 5 * values[0]

    def test_the_real_side_is_computed_once(self) -> None:
        seen: list[int] = []

        def counting(images: Tensor) -> Tensor:
            seen.append(len(images))
            return images.flatten(1)

        known = RealStatistics(cloud(200, 0.5, 1, 0), Extractor("c", counting, channels=1))
        assert sum(seen) == 200
        first, second = (fid(known, cloud(150, 0.5, s, 1)).value for s in (0.4, 0.9))
        assert sum(seen) == 200 + 2 * 150
        assert fid(known, cloud(150, 0.5, 0.4, 1)).value == first != second

    def test_too_few_images_are_refused_and_few_are_marked(self) -> None:
        with pytest.raises(SettingError, match="FID from 99 images"):
            fid(cloud(500, 0.5, 1, 0), cloud(99, 0.5, 1, 1), identity())
        with pytest.raises(SettingError, match="FID from 20 images"):
            fid(cloud(20, 0.5, 1, 0), cloud(500, 0.5, 1, 1), identity())
        wide = cloud(110, 0.5, 1, 0, 110)
        with pytest.warns(UserWarning, match="110 images for 110 features"):
            assert "rank deficient" in str(fid(wide, wide, identity(110)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fid(cloud(111, 0.5, 1, 0, 110), cloud(111, 0.5, 1, 1, 110), identity(110))

    def test_one_draw_has_no_interval_and_says_so(self) -> None:
        score = fid(cloud(100, 0.5, 1, 0), cloud(100, 0.5, 1, 1), identity())
        assert score.interval is None
        assert "no interval" in str(score)

    def test_why_there_is_a_minimum(self) -> None:
        """Real digits against real digits, as a share of real against blurred digits."""
        extractor, train = metrics.digit_extractor(), digit_images("train", 500)
        blurred = F.avg_pool2d(train, 3, 1, 1)

        def share(count: int) -> float:
            real = RealStatistics(digit_images("test", count), extractor)
            clean, blur = (real.frechet_distance(extractor(x[:count])) for x in (train, blurred))
            return clean / blur

        assert 0.4 < share(metrics.FID_MINIMUM // 4) < 0.6
        assert 0.15 < share(metrics.FID_MINIMUM) < 0.25
        assert share(5 * metrics.FID_MINIMUM) < 0.06


class TestRepeatedDraws:
    def generate(self, count: int, source: torch.Generator) -> Tensor:
        return as_images(0.2 + 0.6 * torch.rand(count, 2, generator=source))

    def test_the_interval_is_students_over_the_draws(self) -> None:
        known = RealStatistics(cloud(300, 0.5, 1, 9), identity())
        score = fid_of(self.generate, known, count=200, draws=4, seed=3)
        values = np.array(
            [fid(known, self.generate(200, generator(3 + i))).value for i in range(4)]
        )
        half = 3.182446 * values.std(ddof=1) / 2  # t of 3 degrees of freedom, 97.5 %
        assert score.value == pytest.approx(values.mean())
        assert score.interval == pytest.approx((values.mean() - half, values.mean() + half))
        assert (score.count, score.real_count) == (200, 300)

    def test_the_interval_covers_the_mean_over_many_draws(self) -> None:
        known = RealStatistics(cloud(300, 0.5, 1, 9), identity())
        values = [fid(known, self.generate(120, generator(s))).value for s in range(300)]
        hits = 0
        for start in range(0, 300, 5):
            drawn = metrics.mean_interval(values[start : start + 5])
            hits += drawn.covers(float(np.mean(values)))
        assert 50 <= hits <= 60  # of 60; 95 % are 57

    def test_the_same_seed_gives_the_same_score(self) -> None:
        real = cloud(200, 0.5, 1, 0)
        first, again, other = (
            fid_of(self.generate, real, identity(), count=100, draws=2, seed=s) for s in (1, 1, 2)
        )
        assert first == again
        assert first.value != other.value

    def test_misuse(self) -> None:
        known = RealStatistics(cloud(200, 0.5, 1, 0), identity())
        with pytest.raises(SettingError, match="two draws"):
            fid_of(self.generate, known, count=100, draws=1)
        with pytest.raises(SettingError, match="same images for different seeds"):
            fid_of(lambda n, g: cloud(n, 0.5, 1, 0), known, count=100)
        with pytest.raises(SettingError, match="asked for 100 images and gave 7"):
            fid_of(lambda n, g: self.generate(7, g), known, count=100)
        with pytest.raises(SettingError, match="Say which extractor"):
            fid_of(self.generate, cloud(200, 0.5, 1, 0), count=100)
        with pytest.raises(SettingError, match="by pixels, not others"):
            fid(known, cloud(200, 0.5, 1, 0), identity(name="others"))


class TestKID:
    def direct(self, x: Tensor, y: Tensor) -> float:
        """The unbiased squared MMD of Bińkowski et al. 2018, eq. 4, pair by pair."""

        def kernel(a: Tensor, b: Tensor) -> float:
            return (float(a @ b) / len(a) + 1) ** 3

        m, n = len(x), len(y)
        within = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
        other = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
        across = sum(kernel(a, b) for a in x for b in y)
        return within / m / (m - 1) + other / n / (n - 1) - 2 * across / m / n

    def test_against_a_direct_double_loop(self) -> None:
        real, fake = cloud(24, 0.4, 0.8, 0, 3), cloud(24, 0.6, 0.5, 1, 3)
        score = kid(real, fake, identity(3), subsets=2, subset_size=12, seed=5)
        draw = generator(5)
        sides = [
            side.double().flatten(1)[torch.randperm(24, generator=draw)].split(12)
            for side in (real, fake)
        ]
        values = [self.direct(a, b) for a, b in zip(*sides, strict=True)]
        assert score.value == pytest.approx(np.mean(values), rel=1e-9)
        half = 12.7062047 * np.std(values, ddof=1) / np.sqrt(2)  # t, 1 degree of freedom
        assert score.interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))

    def test_it_is_unbiased_and_its_interval_covers(self) -> None:
        """Two sets from one distribution: zero on average, inside 95 % of the intervals."""
        scores = [
            kid(cloud(60, 0.5, 1, 2 * s), cloud(60, 0.5, 1, 2 * s + 1), identity(), subsets=6)
            for s in range(100)
        ]
        values = np.array([score.value for score in scores])
        assert abs(values.mean()) < 3 * values.std() / 10
        assert 88 <= sum(score.covers(0.0) for score in scores) <= 100
        assert (values < 0).any()

    def test_order_of_degradation(self) -> None:
        train = digit_images("train", 500)
        values = [
            kid(real_digits(), F.avg_pool2d(train, k, 1, k // 2), subsets=5).value
            for k in (1, 3, 5, 7)
        ]
        assert values == sorted(values)

    def test_seeds_and_defaults(self) -> None:
        real, fake = cloud(100, 0.5, 1, 0), cloud(80, 0.6, 1, 1)
        one, two, three = (kid(real, fake, identity(), seed=s) for s in (0, 0, 1))
        assert one == two
        assert one.value != three.value
        assert (one.count, one.real_count) == (80, 100)
        assert metrics.kid_of(
            TestRepeatedDraws().generate, real, identity(), count=50, seed=1
        ) == metrics.kid_of(TestRepeatedDraws().generate, real, identity(), count=50, seed=1)

    @pytest.mark.parametrize(("subsets", "size"), [(1, 10), (5, 21), (2, 1), (60, None)])
    def test_too_few_images(self, subsets: int, size: int | None) -> None:
        with pytest.raises(SettingError, match="disjoint subsets"):
            kid(
                cloud(100, 0.5, 1, 0),
                cloud(100, 0.5, 1, 1),
                identity(),
                subsets=subsets,
                subset_size=size,
            )


class TestExtractors:
    def test_batches_do_not_matter_and_bytes_equal_floats(self) -> None:
        extractor = metrics.digit_extractor()
        images = digits("test").fields["image"][:50]
        whole = extractor(images)
        assert whole.shape == (50, 64)
        extractor.batch = 7
        torch.testing.assert_close(extractor(images.float() / 255), whole)
        assert not whole.requires_grad

    def test_the_name_changes_with_the_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from coursekit.core import recognise

        before = metrics.digit_extractor().name
        assert before.startswith("digits recogniser ")
        other = recognise.load("digits")
        other.heads["label"].bias += 1
        monkeypatch.setattr(recognise, "load", lambda *_: other)
        assert metrics.digit_extractor().name != before

    def test_vgg_is_the_mean_over_positions_of_a_layer(self) -> None:
        from coursekit.core.features import FeatureExtractor

        images = torch.rand(2, 3, 32, 32, generator=generator(0))
        extractor = metrics.vgg_extractor("relu2_2")
        maps = FeatureExtractor("vgg16", "relu2_2")(images)["relu2_2"]
        torch.testing.assert_close(extractor(images), maps.flatten(2).mean(2))
        assert extractor.name.startswith("VGG-16 relu2_2 mean ")
        grey = images.mean(1, keepdim=True)
        torch.testing.assert_close(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)))

    def test_the_default_layer_sees_a_whole_picture_of_64_pixels(self) -> None:
        from coursekit.core.features import receptive_field

        assert receptive_field("vgg16", "relu4_3") == 92
        assert receptive_field("vgg16", "relu5_1") == 132

    def test_inception_offline_is_one_sentence(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: object
    ) -> None:
        monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(WeightsError, match="Inception-v3 is not cached"):
            metrics.inception_extractor()

    def test_inception_with_a_failing_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from torchvision.models import Inception_V3_Weights

        def fail(*_: object, **__: object) -> None:
            raise OSError("no route")

        monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
        monkeypatch.setattr(Inception_V3_Weights, "get_state_dict", fail)
        with pytest.raises(WeightsError, match=r"could not be fetched \(no route\)"):
            metrics._downloaded(Inception_V3_Weights.IMAGENET1K_V1)

    @pytest.mark.slow
    def test_inception_features_are_what_its_last_layer_reads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With random weights: the real ones are 108 MB from the network."""
        from torchvision.models import inception_v3

        torch.manual_seed(0)
        reference = inception_v3(init_weights=False, aux_logits=True).eval()
        monkeypatch.setattr(metrics, "_downloaded", lambda _: reference.state_dict())
        images = torch.rand(2, 3, 299, 299, generator=generator(0))
        found = metrics.inception_extractor()(images)
        assert found.shape == (2, 2048)
        with torch.no_grad():
            torch.testing.assert_close(
                reference.fc(found), reference(2 * images - 1), atol=1e-4, rtol=1e-4
            )

    def test_wrong_images_and_wrong_networks(self) -> None:
        with pytest.raises(ImageError, match="tanh"):
            metrics.digit_extractor()(-torch.ones(2, 1, 28, 28))
        with pytest.raises(ShapeError, match=r"expected \(N, D\)"):
            Extractor("maps", lambda images: images)(torch.rand(2, 3, 4, 4))
        with pytest.raises(ShapeError, match="not finite"):
            Extractor("log", lambda x: (x.flatten(1) * 0).log())(torch.rand(2, 3, 4, 4))


class TestAgainstScikitImage:
    def pair(self, colour: bool) -> tuple[Tensor, Tensor]:
        channels = 3 if colour else 1
        clean = torch.rand(2, channels, 40, 33, generator=generator(0))
        clean = F.avg_pool2d(clean, 5, 1, 2)
        noise = 0.2 * torch.rand(2, channels, 40, 33, generator=generator(1))
        return (0.8 * clean + noise).clamp(0, 1), clean

    @pytest.mark.parametrize("colour", [True, False])
    def test_psnr(self, colour: bool) -> None:
        images, clean = self.pair(colour)
        expected = [
            skimage_metrics.peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1)
            for a, b in zip(images, clean, strict=True)
        ]
        assert metrics.psnr(images, clean).tolist() == pytest.approx(expected, rel=1e-5)
        assert metrics.psnr(clean, clean).isinf().all()

    @pytest.mark.parametrize("colour", [True, False])
    def test_ssim(self, colour: bool) -> None:
        images, clean = self.pair(colour)
        expected = [
            skimage_metrics.structural_similarity(
                a.numpy(),
                b.numpy(),
                data_range=1,
                channel_axis=0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in zip(images, clean, strict=True)
        ]
        assert metrics.ssim(images, clean).tolist() == pytest.approx(expected, abs=1e-4)
        torch.testing.assert_close(metrics.ssim(clean, clean), torch.ones(2))

    def test_sizes_that_differ(self) -> None:
        with pytest.raises(ShapeError, match="of one size"):
            metrics.psnr(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 17))
        with pytest.raises(ShapeError, match="11 pixels"):
            metrics.ssim(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
