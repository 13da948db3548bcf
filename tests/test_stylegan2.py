"""StyleGAN2's game: its regularisers against their formulas, its steps, and exact repetition."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from coursekit import stylegan2
from coursekit.core import training
from coursekit.core.errors import SettingError
from coursekit.core.runtime import generator, seed_everything
from coursekit.stylegan2 import Game, PathLength, lazy, mixed_styles, path_lengths

SIZES = stylegan2.Sizes(8, base=64, most=8)


def small(**settings: object) -> Game:
    seed_everything(0)
    made = stylegan2.Generator(SIZES, latent=6, mapping_layers=2)
    return Game(made, stylegan2.Discriminator(SIZES), **settings)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


# --- regularisers -------------------------------------------------------------------------------


def test_lazy_settings_by_hand() -> None:
    rate, betas = lazy(0.002, (0.0, 0.99), 16)
    assert rate == pytest.approx(0.002 * 16 / 17)
    assert betas == pytest.approx((0.0, 0.99 ** (16 / 17)))
    assert lazy(0.002, (0.5, 0.99), 0) == (0.002, (0.5, 0.99))
    with pytest.raises(SettingError, match="every=-1"):
        lazy(0.002, (0.0, 0.99), -1)


def linear_images(matrix: Tensor, styles: Tensor) -> Tensor:
    """g(w) = Σ_l A w_l as images of 2 × 3 × 4."""
    return (styles @ matrix.t()).sum(dim=1).unflatten(1, (2, 3, 4))


def test_path_lengths_of_a_linear_generator_are_those_of_its_matrix() -> None:
    matrix, styles, y = noise(24, 5), noise(3, 4, 5, seed=2).requires_grad_(), noise(3, 2, 3, 4)
    found = path_lengths(linear_images(matrix, styles), styles, y)
    wanted = (y.flatten(1) @ matrix / math.sqrt(12)).norm(dim=1)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_an_orthogonal_generator_has_paths_of_one_length() -> None:
    """The penalty is least where J is orthogonal up to a scale (2020, section 3)."""
    matrix = torch.linalg.qr(noise(400, 100))[0]
    styles = noise(50, 1, 100, seed=2).requires_grad_()

    def spread(matrix: Tensor) -> float:
        images = (styles @ matrix.t()).sum(dim=1).unflatten(1, (1, 20, 20))
        found = path_lengths(images, styles, noise(50, 1, 20, 20, seed=3))
        return float((found.std() / found.mean()).detach())

    stretched = matrix * torch.linspace(0, 3, 100).pow(4)
    assert spread(matrix) < 0.7 * spread(stretched)


def test_path_lengths_have_the_derivative_of_finite_differences() -> None:
    y = noise(2, 1, 2, 2, seed=3).double()

    def lengths(styles: Tensor) -> Tensor:
        images = styles.sum(dim=1)[:, :4].pow(3).unflatten(1, (1, 2, 2))
        return path_lengths(images, styles, y)

    assert torch.autograd.gradcheck(lengths, noise(2, 2, 4).double().requires_grad_())


def test_the_goal_of_the_path_length_follows_the_lengths() -> None:
    penalty = PathLength(decay=0.9)
    lengths = torch.tensor([2.0, 4.0], requires_grad=True)
    found = penalty(lengths)  # the mean moves from 0 to 0.3
    assert penalty.mean.item() == pytest.approx(0.3)
    assert found.item() == pytest.approx((1.7**2 + 3.7**2) / 2)
    found.backward()
    assert lengths.grad.tolist() == pytest.approx([1.7, 3.7])
    for _ in range(200):
        penalty(lengths)
    assert penalty.mean.item() == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_round_is_the_same_in_any_order_of_memory(order: torch.memory_format) -> None:
    """The networks are made in channels_last; neither terms nor random draws depend on it."""

    def terms(game: Game) -> dict[str, float]:
        torch.manual_seed(5)
        real, z = noise(4, 3, 8, 8), noise(4, 6, seed=2)
        fake = game.generator.synthesis(game.generator.styles(z))
        found = stylegan2.discriminator_step(game.discriminator, game.d_optimiser, real, fake)
        found |= stylegan2.r1_step(game.discriminator, game.d_optimiser, real, 2.0)
        learner = game.generator, game.g_optimiser, game.path_length
        found |= stylegan2.path_length_step(*learner, game.generator.styles(z), 2.0)
        return {name: float(value) for name, value in found.items()}

    usual, game = small(), small()
    weights = [p for p in game.discriminator.parameters() if p.dim() == 4 and p.shape[-1] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    for network in (game.generator, game.discriminator):
        network.to(memory_format=order)
    assert terms(game) == pytest.approx(terms(usual), rel=1e-4, abs=1e-5)


def test_styles_are_mixed_with_the_probability_given() -> None:
    game, z = small(), noise(2, 6)

    def mixtures(probability: float) -> list[int]:
        found = []
        for _ in range(60):
            styles = mixed_styles(game.generator, z, probability=probability, update_average=False)
            assert styles.shape == (2, 4, 6)
            same = (styles == styles[:, :1]).all(dim=2).all(dim=0)
            found.append(int(same.sum()))
        return found

    assert set(mixtures(0.0)) == {4}
    assert set(mixtures(1.0)) == {1, 2, 3}  # the crossover lies between two layers
    assert 4 in mixtures(0.5) and min(mixtures(0.5)) < 4
    assert torch.equal(game.generator.mapping.w_avg, torch.zeros(6))


# --- steps --------------------------------------------------------------------------------------


class Plane(nn.Module):
    """D(x) = a · x, whose gradient is a everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.a


def test_an_r1_step_by_hand() -> None:
    plane, real = Plane(), noise(5, 1, 1, 2)
    optimiser = torch.optim.SGD(plane.parameters(), 0.1)
    terms = stylegan2.r1_step(plane, optimiser, real, weight=2.0)
    assert terms["r1"].item() == pytest.approx(25)
    # γ/2 ‖a‖² has the gradient γ a = (6, 8).
    assert plane.a.tolist() == pytest.approx([2.4, 3.2])
    assert not real.requires_grad


def test_each_step_moves_its_own_network_alone() -> None:
    game, real = small(), noise(4, 3, 8, 8)
    fake = game.generator.synthesis(mixed_styles(game.generator, noise(4, 6)))
    before = [parameter.clone() for parameter in game.generator.parameters()]
    terms = stylegan2.discriminator_step(game.discriminator, game.d_optimiser, real, fake)
    assert set(terms) == {"d_loss", "d_real", "d_fake"}
    stylegan2.r1_step(game.discriminator, game.d_optimiser, real, 16.0)
    assert all(map(torch.equal, before, game.generator.parameters()))
    before = [parameter.clone() for parameter in game.discriminator.parameters()]
    stylegan2.generator_step(game.discriminator, game.g_optimiser, fake)
    styles = mixed_styles(game.generator, noise(2, 6))
    path = game.generator, game.g_optimiser, game.path_length, styles
    assert set(stylegan2.path_length_step(*path, 8.0)) == {"path_length", "path_penalty"}
    assert all(map(torch.equal, before, game.discriminator.parameters()))
    assert all(parameter.requires_grad for parameter in game.discriminator.parameters())


def test_the_path_length_step_teaches_the_mapping_network_too() -> None:
    game = small()
    weight = game.generator.mapping.fc0.weight
    before = weight.clone()
    styles = mixed_styles(game.generator, noise(4, 6))
    path = game.generator, game.g_optimiser, game.path_length, styles
    stylegan2.path_length_step(*path, 8.0)
    assert not torch.equal(before, weight)


def test_regularisers_come_when_it_is_their_turn() -> None:
    game, real = small(r1_every=3, path_every=2), torch.rand(4, 3, 8, 8, generator=generator(0))
    seen = {number: set(game.step(number, real)) for number in (1, 2, 3, 6)}
    lazily = {"r1", "path_length", "path_penalty"}
    assert [len(seen[number] & lazily) for number in (1, 2, 3, 6)] == [0, 2, 1, 3]
    without = small(r1=0.0, path_weight=0.0)
    assert not set(without.step(48, real)) & lazily
    assert without.learning_rates == {"g": 2e-3, "d": 2e-3}
    assert game.ema.decay == pytest.approx(0.5 ** (4 / 10_000))


def test_slowing_down_starts_from_the_corrected_rates() -> None:
    game = small(r1_every=1, path_every=3)
    game.slow_down(0.5)
    rates = [o.param_groups[0]["lr"] for o in (game.g_optimiser, game.d_optimiser)]
    assert rates == pytest.approx([2e-3 * 3 / 4 / 2, 2e-3 / 2 / 2])
    for wrong in ({"r1_every": 0}, {"path_every": 0}, {"ema_images": 0.0}):
        with pytest.raises(SettingError, match="must be positive"):
            small(**wrong)


def test_every_term_stays_finite_and_the_discriminator_learns() -> None:
    game = small(path_every=2, r1_every=4)
    real = torch.rand(8, 3, 8, 8, generator=generator(0)).round()  # black or white, never grey
    gaps = [game.step(number, real) for number in range(1, 31)]
    assert all(value.isfinite() for terms in gaps for value in terms.values())
    gap = [float(terms["d_real"] - terms["d_fake"]) for terms in gaps]
    assert sum(gap[-5:]) > sum(gap[:5])


def test_a_training_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    data = torch.rand(16, 3, 8, 8, generator=generator(0))

    class Pictures:
        def __len__(self) -> int:
            return len(data)

        def batch(self, indices: Tensor, device: object = "cpu") -> dict[str, Tensor]:
            return {"image": data[indices]}

    def run(folder: Path, *lengths: int) -> Tensor:
        for steps in lengths:
            game = small(path_every=2, r1_every=3)
            batches = training.Batches(Pictures(), 4, seed=0)
            stylegan2.train(game, batches, steps=steps, folder=folder, seed=0, progress=False)
        return _state(game)

    once, twice = run(tmp_path / "once", 9), run(tmp_path / "twice", 4, 9)
    assert torch.equal(once, twice)


def _state(game: Game) -> Tensor:
    every = [*game.ema.module.state_dict().values(), game.path_length.mean]
    return torch.cat([value.flatten() for value in every])
