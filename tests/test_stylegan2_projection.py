"""Projection: the noise penalty, the step size, both spaces, interrupts and bad distances."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from coursekit import stylegan2_projection as projection
from coursekit import stylegan2_styles as styles_
from coursekit.core.errors import OptimisationError, SettingError, ShapeError
from coursekit.core.runtime import generator as random
from coursekit.stylegan2_networks import Generator, Sizes


@pytest.fixture
def small() -> Generator:
    torch.manual_seed(0)
    made = Generator(Sizes(16, base=128, most=16), latent=8, mapping_layers=2)
    with torch.no_grad():
        for layer in projection.noisy_layers(made.synthesis).values():
            layer.noise_strength.fill_(0.1)
    return made.eval().requires_grad_(False)


def squared(images: Tensor, others: Tensor) -> Tensor:
    return (images - others).square().flatten(1).sum(dim=1)


def targets(small: Generator, count: int = 2) -> Tensor:
    return styles_.pictures(small, styles_.draw_w(small, count, seed=7))


# --- parts --------------------------------------------------------------------------------------


def test_the_noise_penalty_by_hand() -> None:
    """Stripes of +1 and −1: like themselves one pixel down, the opposite one pixel to the right."""
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert projection.noise_penalty(stripes).item() == pytest.approx(2.0)
    flat = torch.ones(1, 1, 16, 16)  # 16 × 16: 1 + 1; doubled at 8 × 8: 16 + 16
    assert projection.noise_penalty(flat).item() == pytest.approx(2 + 32)


def test_white_noise_costs_little_and_every_map_counts_alone() -> None:
    white = torch.randn(3, 1, 64, 64, generator=random(1))
    smooth = torch.nn.functional.avg_pool2d(white, 5, 1, 2) * 5
    pair = projection.noise_penalty(torch.cat([white, smooth]))
    assert pair.shape == (6,)
    assert float(pair[:3].max()) < 0.1 * float(pair[3:].min())
    assert pair[4].item() == pytest.approx(projection.noise_penalty(smooth[1:2]).item(), rel=1e-4)


def test_the_step_size_rises_stays_and_falls() -> None:
    sizes = [projection.step_size(step, 100) for step in range(1, 101)]
    assert sizes[0] == pytest.approx(0.2)
    assert sizes[4:75] == pytest.approx([1.0] * 71)
    assert sizes[75:] == sorted(sizes[75:], reverse=True)
    assert sizes[-1] < 0.01
    assert projection.step_size(88, 100) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 13 / 25))


# --- projecting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_projection_comes_nearer_and_says_how(small: Generator, space: str) -> None:
    wanted = targets(small)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    found = projection.project(
        small, wanted, squared, space=space, steps=40, noise_weight=10.0, progress=False
    )
    start = styles_.pictures(small, styles_.draw_w(small, 2000, seed=0).mean(0)[None])
    assert (found.distance < 0.7 * squared(start, wanted)).all()
    assert found.styles.shape == (2, small.synthesis.count, 8)
    same = (found.styles == found.styles[:, :1]).all()
    assert bool(same) == (space == "w")
    assert len(found.history) == 40
    assert min(entry["distance"] for entry in found.history) >= float(found.distance.mean()) - 1e-5
    assert not found.interrupted
    assert torch.allclose(squared(found.picture, wanted), found.distance, rtol=1e-3)
    again = projection.drawn_again(small, found.styles, found.noise)
    assert torch.allclose(again, found.picture, atol=1e-4)
    after = small.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_fitted_noise_stays_noise_and_can_be_left_out(small: Generator) -> None:
    wanted = targets(small)
    options = {"steps": 12, "progress": False}
    fitted = projection.project(small, wanted, squared, **options)
    for values in fitted.noise.values():
        assert values.shape[:2] == (2, 1)
        if values.shape[-1] > 4:
            assert torch.allclose(values.mean((2, 3)), torch.zeros(2, 1), atol=0.3)
    left = projection.project(small, wanted, squared, fit_noise=False, **options)
    layers = projection.noisy_layers(small.synthesis)
    for name, values in left.noise.items():
        assert torch.equal(values[1, 0], layers[name].noise_const)
    with pytest.raises(SettingError, match="no layer 'b99'"):
        projection.drawn_again(small, left.styles, {"b99": torch.zeros(1, 1, 4, 4)})


def test_each_picture_keeps_its_own_best(small: Generator) -> None:
    """A second picture that gets worse does not take the first one's best away."""
    calls = []

    def distance(images: Tensor, others: Tensor) -> Tensor:
        calls.append(images.detach())
        number = float(len(calls))
        return torch.stack([images[0].mean() * 0 + 10 - number, images[1].mean() * 0 + number])

    found = projection.project(small, targets(small), distance, steps=5, progress=False)
    assert found.distance.tolist() == [5.0, 1.0]
    assert torch.allclose(found.picture[0], calls[4][0])
    assert torch.allclose(found.picture[1], calls[0][1])


def test_an_interrupt_keeps_the_best(small: Generator) -> None:
    calls = []

    def distance(images: Tensor, others: Tensor) -> Tensor:
        calls.append(squared(images, others).detach())
        if len(calls) == 8:
            raise KeyboardInterrupt
        return squared(images, others)

    found = projection.project(small, targets(small), distance, steps=50, progress=False)
    assert found.interrupted
    assert len(found.history) == 7
    assert torch.allclose(found.distance, torch.stack(calls[:7]).amin(dim=0))


def test_a_distance_that_is_not_finite_is_told_with_the_best(small: Generator) -> None:
    calls = []

    def distance(images: Tensor, others: Tensor) -> Tensor:
        calls.append(1)
        return squared(images, others) * (math.nan if len(calls) == 4 else 1.0)

    with pytest.raises(OptimisationError, match="not finite") as told:
        projection.project(small, targets(small), distance, steps=9, progress=False)
    assert torch.isfinite(told.value.result.distance).all()
    assert len(told.value.result.history) == 3


def test_wrong_requests_are_refused(small: Generator) -> None:
    wanted = targets(small)
    for settings in ({"space": "z"}, {"steps": 0}):
        with pytest.raises(SettingError, match="choose from w, w"):
            projection.project(small, wanted, squared, progress=False, **settings)
    with pytest.raises(ShapeError, match=r"not \(N, 3, 16, 16\)"):
        projection.project(small, wanted[..., :8], squared, progress=False)
