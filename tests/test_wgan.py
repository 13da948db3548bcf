"""Topic 08: formulas against hand-computed numbers, and that the two steps do what they say."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from coursekit import dcgan, wgan
from coursekit.core import runtime, training
from coursekit.core.errors import SettingError, ShapeError, TrainingError


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed), dtype=dtype)


def small_critic(seed: int = 0) -> nn.Module:
    runtime.seed_everything(seed)
    return dcgan.MLPDiscriminator(hidden=12, size=4)


# --- The distance --------------------------------------------------------------------------------


def test_distance_of_two_points_is_their_distance_and_of_a_shift_the_shift() -> None:
    assert wgan.wasserstein_1d(torch.tensor([1.0]), torch.tensor([-2.5])).item() == 3.5
    sample = numbers(50)
    shuffled = sample[torch.randperm(50, generator=runtime.generator(1))]
    assert wgan.wasserstein_1d(sample, shuffled + 0.75).item() == pytest.approx(0.75, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_distance_is_scipys(seed: int) -> None:
    first, second = numbers(40, seed=seed), 2 * numbers(40, seed=seed + 50) + 0.3
    expected = scipy.stats.wasserstein_distance(first.numpy(), second.numpy())
    assert wgan.wasserstein_1d(first, second).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (2, 3)), ((0,), (0,))])
def test_distance_needs_equally_many_numbers(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ShapeError, match="equally many"):
        wgan.wasserstein_1d(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("weight", [10.0, 100.0])
def test_a_trained_critic_reaches_the_known_distance_and_the_known_excess(weight: float) -> None:
    """Kantorovich–Rubinstein: the largest mean difference of a 1-Lipschitz critic is W₁.

    The penalty is soft. With a slope s everywhere the critic maximises sW − λ(s − 1)², so that
    s = 1 + W/2λ, and the loss reads sW.
    """
    real, fake = numbers(256, 1, seed=1), 0.5 * numbers(256, 1, seed=2) + 6.0
    critic = nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))  # two heaps apart: a line is the best
    nn.init.constant_(critic[0].weight, -0.1)
    optimiser = torch.optim.SGD(critic.parameters(), 0.3 / weight)
    for _ in range(60):
        terms = wgan.critic_step(critic, optimiser, real, fake, penalty_weight=weight)
    true = wgan.wasserstein_1d(real[:, 0], fake[:, 0]).item()
    slope = 1 + true / (2 * weight)
    assert -terms["critic_loss"].item() == pytest.approx(slope * true, rel=1e-3)
    steepness = wgan.lipschitz_quotients(critic, real, fake)
    torch.testing.assert_close(steepness, torch.full((256,), slope), rtol=1e-3, atol=0)


def test_quotients_of_a_linear_critic_are_the_projections() -> None:
    weight = torch.tensor([3.0, 4.0])
    first = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    second = first + torch.tensor([[0.6, 0.8], [-0.8, 0.6]])  # along the weight, and across it
    quotients = wgan.lipschitz_quotients(lambda x: x @ weight, first, second)
    torch.testing.assert_close(quotients, torch.tensor([5.0, 0.0]), atol=1e-5, rtol=0)


# --- The losses ----------------------------------------------------------------------------------


def test_losses_by_hand() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0, 4.0])
    assert wgan.critic_loss(real, fake).item() == -1.0
    assert wgan.generator_loss(fake).item() == -1.0
    assert wgan.drift_penalty(real).item() == 5.0


def test_losses_are_differences_a_common_shift_changes_the_critics_loss_not() -> None:
    real, fake = numbers(6), numbers(6, seed=1)
    shifted = wgan.critic_loss(real + 7, fake + 7)
    torch.testing.assert_close(shifted, wgan.critic_loss(real, fake))


# --- Clipping ------------------------------------------------------------------------------------


def test_clipping_touches_what_is_outside_alone_and_keeps_the_tensors() -> None:
    critic = small_critic()
    before = {n: p.detach().clone() for n, p in critic.named_parameters()}
    same = [p.data_ptr() for p in critic.parameters()]
    wgan.clip_weights(critic, 0.05)
    assert [p.data_ptr() for p in critic.parameters()] == same
    for name, parameter in critic.named_parameters():
        inside = before[name].abs() <= 0.05
        assert torch.equal(parameter[inside], before[name][inside])
        assert torch.equal(parameter[~inside], 0.05 * before[name][~inside].sign())
        assert parameter.requires_grad


@pytest.mark.parametrize("limit", [0.0, -0.1, float("nan")])
def test_clipping_needs_a_limit(limit: float) -> None:
    with pytest.raises(SettingError, match="above 0"):
        wgan.clip_weights(small_critic(), limit)


# --- The gradient penalty ------------------------------------------------------------------------


def test_penalty_of_a_linear_critic_depends_on_its_weight_alone() -> None:
    """D(x) = w·x has the slope w everywhere: (‖w‖ − 1)², with derivative 2(‖w‖ − 1) w/‖w‖."""
    weight = torch.tensor([3.0, 0.0, 4.0, 0.0], requires_grad=True)
    real, fake = numbers(7, 1, 2, 2), numbers(7, 1, 2, 2, seed=1)
    penalty = wgan.gradient_penalty(lambda x: x.flatten(1) @ weight, real, fake)
    assert penalty.item() == pytest.approx(16.0)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, torch.tensor([4.8, 0.0, 6.4, 0.0]))


def test_penalty_of_a_quadratic_critic_by_hand_at_the_points_in_between() -> None:
    """D(x) = ‖x‖²/2 has the slope x: the penalty says where the points lie, one ε a pair."""
    real, fake = torch.tensor([[4.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    epsilon = torch.tensor([0.5, 0.25])  # points (2, 0) and (0, 0.5)
    found = wgan.gradient_penalty(
        lambda x: x.square().sum(1) / 2, real, fake, epsilon=epsilon
    ).item()
    assert found == pytest.approx(((2 - 1) ** 2 + (0.5 - 1) ** 2) / 2)


def test_random_epsilons_are_one_a_pair_between_0_and_1_and_reproducible() -> None:
    real, fake = torch.ones(500, 3), torch.zeros(500, 3)
    points = wgan.interpolate(real, fake, generator=runtime.generator(3))
    again = wgan.interpolate(real, fake, generator=runtime.generator(3))
    assert torch.equal(points, again)
    assert torch.equal(points[:, 0], points[:, 2])  # the same for all elements of a pair
    assert len(points[:, 0].unique()) > 490
    assert points.min() >= 0 and points.max() < 1
    assert points.mean().item() == pytest.approx(0.5, abs=0.05)


def test_double_backward_of_the_penalty_is_exact() -> None:
    """Gradcheck: the derivative with respect to the critic's weights, in double precision."""
    real, fake = (numbers(4, 1, 2, 3, seed=seed, dtype=torch.float64) for seed in (0, 1))
    epsilon = torch.rand(4, generator=runtime.generator(2), dtype=torch.float64)
    weights = [
        numbers(*shape, seed=seed, dtype=torch.float64).requires_grad_()
        for seed, shape in enumerate([(6, 5), (5,), (5,)])
    ]

    def penalty(first: Tensor, bias: Tensor, second: Tensor) -> Tensor:
        critic = lambda x: (x.flatten(1) @ first + bias).tanh() @ second  # noqa: E731
        return wgan.gradient_penalty(critic, real, fake, epsilon=epsilon)

    assert torch.autograd.gradcheck(penalty, weights)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_penalty_of_a_network_agrees_with_finite_differences(layer_norm: bool) -> None:
    """The slope from small steps of each pixel, image by image, against autograd's."""
    runtime.seed_everything(1)
    critic = wgan.convolutional_critic(4, 8, 1, layer_norm=layer_norm).double()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(10 if parameter.dim() > 1 else 1)
    real, fake = (numbers(2, 1, 8, 8, seed=seed, dtype=torch.float64) for seed in (0, 1))
    epsilon = torch.tensor([0.3, 0.8], dtype=torch.float64)
    # The forward pass ends in float32, so the steps are not too small.
    points, step = wgan.interpolate(real, fake, epsilon), 1e-2
    norms = []
    with torch.no_grad():
        for point in points:
            moves = step * torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
            slope = (critic(point + moves) - critic(point - moves)) / (2 * step)
            norms.append(slope.norm().item())
    expected = sum((norm - 1) ** 2 for norm in norms) / 2
    found = wgan.gradient_penalty(critic, real, fake, epsilon=epsilon).item()
    assert found == pytest.approx(expected, rel=0.02)


def test_no_gradient_goes_back_to_the_images() -> None:
    real, fake = numbers(3, 1, 4, 4).requires_grad_(), numbers(3, 1, 4, 4, seed=1).requires_grad_()
    wgan.gradient_penalty(small_critic(), real, fake).backward()
    assert real.grad is None and fake.grad is None


def test_pairs_and_epsilons_must_fit() -> None:
    critic, real = small_critic(), numbers(3, 1, 4, 4)
    with pytest.raises(ShapeError, match="pairs"):
        wgan.gradient_penalty(critic, real, real[:2])
    with pytest.raises(ShapeError, match="one a pair"):
        wgan.gradient_penalty(critic, real, real, epsilon=torch.rand(3, 1, 1, 1))


# --- Critics -------------------------------------------------------------------------------------


def test_a_critic_with_batch_norm_is_refused_and_named() -> None:
    critic = dcgan.Discriminator(4, 16, 1)
    images = numbers(2, 1, 16, 16)
    with pytest.raises(SettingError, match=r"blocks\.1\.1.*whole batch"):
        wgan.gradient_penalty(critic, images, images)
    generator = dcgan.Generator(8, 4, 16, 1)
    with pytest.raises(SettingError, match="batch normalisation"):
        wgan.WassersteinGame(generator, critic)
    wgan.WassersteinGame(generator, critic, clip=0.01)  # Arjovsky et al. 2017 have it
    with pytest.raises(SettingError, match=r"blocks\.1\.1"):
        wgan.refuse_batch_norm(critic)
    wgan.refuse_batch_norm(wgan.layer_normalised(critic))
    wgan.refuse_batch_norm(lambda images: images.sum((1, 2, 3)))  # a formula has no parts


def test_batch_norm_mixes_images_layer_norm_does_not() -> None:
    """Why it is refused: the score of an image with and without another companion."""
    image, others = numbers(1, 1, 16, 16), numbers(2, 1, 16, 16, seed=1)

    def moved(critic: nn.Module) -> float:
        scores = [critic(torch.cat([image, other[None]]))[0] for other in others]
        return (scores[0] - scores[1]).abs().item()

    assert moved(dcgan.Discriminator(4, 16, 1)) > 1e-3
    for layer_norm in (False, True):
        assert moved(wgan.convolutional_critic(4, 16, 1, layer_norm=layer_norm)) < 1e-6


def test_layer_norm_stands_where_batch_norm_stood() -> None:
    with_batch_norm = dcgan.Discriminator(4, 32, 1)
    places = [n for n, p in with_batch_norm.named_modules() if isinstance(p, nn.BatchNorm2d)]
    critic = wgan.convolutional_critic(4, 32, 1, layer_norm=True)
    found = [n for n, p in critic.named_modules() if isinstance(p, nn.GroupNorm)]
    assert found == places and places
    assert not any(isinstance(p, nn.BatchNorm2d) for p in critic.modules())


# --- The steps -----------------------------------------------------------------------------------


def test_the_critics_step_is_sgd_on_the_written_out_loss() -> None:
    """One step with plain SGD against the derivative of the formula, taken apart."""
    critic = small_critic()
    twin = copy.deepcopy(critic)
    real, fake = numbers(5, 1, 4, 4), numbers(5, 1, 4, 4, seed=1)
    optimiser = torch.optim.SGD(critic.parameters(), 0.1)
    for parameter in critic.parameters():  # stale gradients must not count
        parameter.grad = torch.ones_like(parameter)
    terms = wgan.critic_step(
        critic,
        optimiser,
        real,
        fake,
        penalty_weight=10.0,
        drift_weight=0.5,
        generator=runtime.generator(4),
    )
    epsilon = torch.rand(5, generator=runtime.generator(4))
    loss = twin(fake).mean() - twin(real).mean() + 0.5 * twin(real).square().mean()
    penalty = wgan.gradient_penalty(twin, real, fake, epsilon=epsilon)
    gradients = torch.autograd.grad(loss + 10 * penalty, list(twin.parameters()))
    for new, old, gradient in zip(critic.parameters(), twin.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient)
    assert terms["penalty"].item() == pytest.approx(penalty.item())
    assert terms["critic_loss"].item() == pytest.approx(
        (terms["d_fake"] - terms["d_real"]).item(), abs=1e-6
    )
    assert not any(value.requires_grad for value in terms.values())


def test_after_a_clipped_step_all_weights_are_inside() -> None:
    critic = small_critic()
    optimiser = torch.optim.RMSprop(critic.parameters(), 0.1)
    wgan.critic_step(critic, optimiser, numbers(4, 1, 4, 4), numbers(4, 1, 4, 4), clip=0.02)
    assert max(p.abs().max().item() for p in critic.parameters()) <= 0.02


def game_of(seed: int = 0, **settings: object) -> wgan.WassersteinGame:
    runtime.seed_everything(seed)
    generator = dcgan.MLPGenerator(latent=3, hidden=8, size=4)
    return wgan.WassersteinGame(generator, dcgan.MLPDiscriminator(hidden=8, size=4), **settings)


class Pictures:
    """A data set of random pictures that counts how often it was asked."""

    def __init__(self, count: int = 40) -> None:
        self.images, self.asked = torch.rand(count, 1, 4, 4, generator=runtime.generator(0)), 0

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, device: object = "cpu") -> dict[str, Tensor]:
        self.asked += 1
        return {"image": self.images[indices]}


def weights_of(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_each_step_changes_its_own_network_alone() -> None:
    game = game_of()
    generator, critic = weights_of(game.generator), weights_of(game.critic)
    fake = game.generator(numbers(6, 3))
    wgan.critic_step(game.critic, game.c_optimiser, numbers(6, 1, 4, 4), fake, penalty_weight=10.0)
    assert torch.equal(weights_of(game.generator), generator)
    assert all(p.grad is None for p in game.generator.parameters())
    moved = weights_of(game.critic)
    assert not torch.equal(moved, critic)
    stale = [p.grad.clone() for p in game.critic.parameters()]
    wgan.generator_step(game.critic, game.g_optimiser, game.generator(numbers(6, 3)))
    assert torch.equal(weights_of(game.critic), moved)
    now = [p.grad for p in game.critic.parameters()]
    assert all(map(torch.equal, stale, now))
    assert all(p.requires_grad for p in game.critic.parameters())
    assert not torch.equal(weights_of(game.generator), generator)


def test_the_generators_step_goes_up_the_critics_slope() -> None:
    game, z = game_of(), numbers(6, 3)
    before = game.critic(game.generator(z)).mean()
    optimiser = torch.optim.SGD(game.generator.parameters(), 0.01)
    wgan.generator_step(game.critic, optimiser, game.generator(z))
    assert game.critic(game.generator(z)).mean() > before


def test_a_round_has_n_critic_critic_steps_on_new_images() -> None:
    game, pictures = game_of(n_critic=3), Pictures()
    batches = training.Batches(pictures, 8)
    terms = game.step(batches)
    assert pictures.asked == 3 and batches.drawn == 3
    assert set(terms) == {"critic_loss", "penalty", "d_real", "d_fake", "g_loss"}
    states = game.c_optimiser.state.values()
    assert {int(state["step"]) for state in states} == {3}
    assert {int(state["step"]) for state in game.g_optimiser.state.values()} == {1}


def test_the_papers_optimisers() -> None:
    clipped, penalised = game_of(clip=0.01), game_of()
    assert isinstance(clipped.c_optimiser, torch.optim.RMSprop)
    assert clipped.c_optimiser.defaults["lr"] == 5e-5
    assert isinstance(penalised.g_optimiser, torch.optim.Adam)
    assert penalised.g_optimiser.defaults["lr"] == 1e-4
    assert penalised.g_optimiser.defaults["betas"] == (0.0, 0.9)
    with pytest.raises(SettingError, match="n_critic"):
        game_of(n_critic=0)


@pytest.mark.parametrize("settings", [{}, {"clip": 0.05}], ids=["penalty", "clipping"])
def test_the_same_seed_gives_the_same_weights_and_another_does_not(settings: dict) -> None:
    def trained(seed: int) -> Tensor:
        game = game_of(seed, **settings)
        wgan.train(game, training.Batches(Pictures(), 8), steps=4, seed=seed, progress=False)
        return torch.cat([weights_of(game.generator), weights_of(game.critic)])

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_a_resumed_training_ends_with_exactly_the_same_weights(tmp_path: Path) -> None:
    def trained(parts: list[int], folder: Path | None) -> wgan.WassersteinGame:
        for steps in parts:
            game = game_of(3)
            batches = training.Batches(Pictures(), 8, seed=2)
            wgan.train(game, batches, steps=steps, folder=folder, seed=5, progress=False)
        return game

    whole, parted = trained([9], None), trained([2, 5, 9], tmp_path)
    for name, part in whole.state().items():
        mine = parted.state()[name].state_dict()
        assert str(part.state_dict()) == str(mine), name
    assert torch.equal(weights_of(whole.critic), weights_of(parted.critic))
    assert torch.equal(weights_of(whole.ema.module), weights_of(parted.ema.module))


def test_without_any_constraint_the_loss_runs_away_and_the_guard_speaks() -> None:
    game = game_of(penalty_weight=0.0, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"critic_loss|g_loss|d_real|d_fake"):
        wgan.train(game, training.Batches(Pictures(), 8), steps=50, progress=False)
