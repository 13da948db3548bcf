"""Topic 14: the terms of the loss against independent statements, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from coursekit import spade
from coursekit.core import runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.features import FeatureExtractor
from coursekit.exercises import spade_terms as exercises

Opinion = list[list[Tensor]]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def opinion(seed: int, scales: int = 2) -> Opinion:
    """Two layers of features and the logits, for each scale."""
    shapes = ((2, 3, 5, 4), (2, 4, 3, 3), (2, 1, 4, 2))
    return [
        [normal(*shape, seed=seed + 10 * scale + n) for n, shape in enumerate(shapes)]
        for scale in range(scales)
    ]


def logits(*values: list[float]) -> Opinion:
    """An opinion with nothing but logits, a list a scale."""
    return [[torch.tensor(each).view(len(each), 1, 1, 1)] for each in values]


def leaves(found: Opinion) -> list[Tensor]:
    return [layer.requires_grad_() for scale in found for layer in scale]


# --- Hinge


def test_hinge_by_hand() -> None:
    real, fake = logits([2.0, 0.5], [-1.0]), logits([-3.0, 0.0], [1.0])
    # First scale: (0 + 0.5) / 2 and (0 + 1) / 2; second: 2 and 2; the mean of 0.75 and 4.
    assert float(spade.hinge_discriminator(real, fake)) == pytest.approx((0.75 + 4) / 2)
    assert float(spade.hinge_generator(fake)) == pytest.approx((1.5 - 1) / 2)


def test_hinge_is_torch_s_with_its_gradient() -> None:
    real, fake = opinion(1, 1), opinion(50, 1)
    given = leaves(real) + leaves(fake)
    found = spade.hinge_discriminator(real, fake)
    up, down = real[0][-1].flatten(), fake[0][-1].flatten()
    ones = torch.ones_like(up)
    expected = F.hinge_embedding_loss(up, -ones) + F.hinge_embedding_loss(-down, -ones)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss, given, allow_unused=True) for loss in (found, expected)]
    for mine, theirs in zip(*slopes, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs)


def test_a_logit_right_by_a_margin_is_left_alone() -> None:
    real, fake = logits([1.5, 0.9]), logits([-1.5, -0.9])
    given = leaves(real) + leaves(fake)
    slopes = torch.autograd.grad(spade.hinge_discriminator(real, fake), given)
    assert [each.flatten().tolist() for each in slopes] == [[0.0, -0.5], [0.0, 0.5]]
    (slope,) = torch.autograd.grad(spade.hinge_generator(fake), fake[0][-1])
    assert slope.flatten().tolist() == [-0.5, -0.5]


# --- Feature matching


def test_feature_matching_by_hand() -> None:
    real = [[torch.zeros(1, 1, 1, 2), torch.ones(1, 2, 1, 1), torch.zeros(1, 1, 1, 1)]]
    fake = [[torch.tensor([[[[1.0, -2.0]]]]), torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1)]]
    assert float(spade.feature_matching(real, fake)) == pytest.approx(1.5 + 1)
    wider = [*real, [torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)]]
    other = [*fake, [torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 1, 1, 1)]]
    assert float(spade.feature_matching(wider, other)) == pytest.approx((2.5 + 3) / 2)


def test_feature_matching_gives_the_true_side_no_gradient() -> None:
    real, fake = opinion(1), opinion(50)
    ours, theirs = leaves(real), leaves(fake)
    loss = spade.feature_matching(real, fake)
    slopes = torch.autograd.grad(loss, ours + theirs, allow_unused=True)
    assert all(each is None for each in slopes[: len(ours)])
    for x, y, slope in zip(ours, theirs, slopes[len(ours) :], strict=True):
        if y.shape[1] == 1:  # the logits
            assert slope is None
        else:
            torch.testing.assert_close(slope, (y - x).sign() / (2 * y.numel()))


def test_the_losses_are_the_exercises() -> None:
    real, fake = opinion(3, 3), opinion(70, 3)
    both = exercises.hinge_losses(real, fake)
    torch.testing.assert_close(spade.hinge_discriminator(real, fake), both["d_loss"])
    torch.testing.assert_close(spade.hinge_generator(fake), both["g_loss"])
    found = spade.feature_matching(real, fake)
    torch.testing.assert_close(found, exercises.feature_matching(real, fake))
    mean, log_variance = normal(3, 5), normal(3, 5, seed=1)
    found = spade.kl_divergence(mean, log_variance)
    torch.testing.assert_close(found, exercises.kl_divergence(mean, log_variance))


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (opinion(1), opinion(2, 1), "2 scales and at 1"),
        ([], [], "0 scales"),
        ([[normal(2, 3, 4, 4), normal(2, 1, 2, 2)]], [[normal(2, 1, 2, 2)]], "one discriminator"),
        ([[normal(1, 3, 4, 4)] * 2], [[normal(2, 3, 4, 4)] * 2], r"\(1, 3, 4, 4\)"),
    ],
)
def test_opinions_that_do_not_match_are_named(real: Opinion, fake: Opinion, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        spade.feature_matching(real, fake)
    if "scales" in words:
        with pytest.raises(ShapeError, match=words):
            spade.hinge_discriminator(real, fake)


# --- The style's distribution


def test_kl_is_torch_s_with_its_gradient() -> None:
    mean, log_variance = normal(4, 6).requires_grad_(), normal(4, 6, seed=1).requires_grad_()
    found = spade.kl_divergence(mean, log_variance)
    made = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(made, torch.distributions.Normal(0.0, 1.0))
    expected = expected.sum() / 4
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss, (mean, log_variance)) for loss in (found, expected)]
    for mine, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_kl_by_hand_and_at_the_prior() -> None:
    zero = torch.zeros(3, 2)
    assert float(spade.kl_divergence(zero, zero)) == 0
    mean = torch.tensor([[1.0, 0.0], [0.0, -3.0]])
    assert float(spade.kl_divergence(mean, torch.zeros(2, 2))) == pytest.approx((1 + 9) / 4)
    variance = torch.tensor([[4.0]])
    expected = (4 - torch.tensor(4.0).log() - 1) / 2
    assert float(spade.kl_divergence(torch.zeros(1, 1), variance.log())) == pytest.approx(
        float(expected)
    )
    for wrong in (zero[:, :1], zero[0]):
        with pytest.raises(ShapeError, match=r"\(N, latent\)"):
            spade.kl_divergence(wrong, zero)


def test_a_reparameterised_draw_has_the_moments_and_a_gradient() -> None:
    mean, log_variance = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 2.0]])
    noise = normal(20_000, 2)
    drawn = spade.reparameterise(mean, log_variance, noise)
    torch.testing.assert_close(drawn.mean(dim=0), mean[0], rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.var(dim=0).log(), log_variance[0], rtol=0, atol=0.06)
    given = [each.clone().requires_grad_() for each in (mean, log_variance)]
    slopes = torch.autograd.grad(spade.reparameterise(*given, noise[:1]).sum(), given)
    torch.testing.assert_close(slopes[0], torch.ones(1, 2))
    torch.testing.assert_close(slopes[1], noise[:1] * (log_variance / 2).exp() / 2)


# --- The VGG term


def test_the_perceptual_loss_in_other_words() -> None:
    layers = {"relu1_1": 0.5, "relu2_1": 2.0}
    loss = spade.PerceptualLoss(layers, precision="float32", weights="random")
    images = normal(2, 3, 16, 16).tanh().requires_grad_()
    target = normal(2, 3, 16, 16, seed=1).tanh().requires_grad_()
    found = loss(images, target)
    network = FeatureExtractor("vgg16", tuple(layers), weights="random")
    sides = [network((each + 1) / 2) for each in (images, target)]
    expected = sum(
        weight * (sides[0][layer] - sides[1][layer]).abs().mean()
        for layer, weight in layers.items()
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    slopes = torch.autograd.grad(found, (images, target), allow_unused=True)
    assert slopes[1] is None
    (wanted,) = torch.autograd.grad(expected, images)
    torch.testing.assert_close(slopes[0], wanted, rtol=1e-3, atol=1e-6)
    assert float(loss(target, target).detach()) == 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    with pytest.raises(SettingError, match="a layer to compare"):
        spade.PerceptualLoss({}, weights="random")


def test_bfloat16_changes_the_perceptual_loss_little() -> None:
    images, target = normal(2, 3, 32, 32).tanh(), normal(2, 3, 32, 32, seed=1).tanh()
    exact, rough = (
        float(spade.PerceptualLoss(precision=each, weights="random")(images, target))
        for each in ("float32", "bfloat16")
    )
    assert rough == pytest.approx(exact, rel=0.03)
