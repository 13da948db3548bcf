"""Topic 08's figures: what stands in the drawing is what was handed in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coursekit import wgan_figures
from coursekit.wgan_study import METHODS, Protocol, Study


class Plane(nn.Module):
    """The score of a point is its first coordinate."""

    def forward(self, points: Tensor) -> Tensor:
        return points[:, 0]


def test_slopes_draw_each_line_over_both_heaps() -> None:
    axis = torch.linspace(-1, 1, 5)
    lines = {"critic": 2 * axis, "discriminator": axis.square()}
    figure = wgan_figures.slopes(axis, lines, torch.zeros(50), torch.ones(50), label="drawn")
    plots = [each for each in figure.axes if each.get_title()]
    assert [each.get_title() for each in plots] == list(lines)
    for plot, values in zip(plots, lines.values(), strict=True):
        np.testing.assert_allclose(plot.lines[0].get_ydata(), values.numpy())
    heaps = [each for each in figure.axes if not each.get_title()]
    assert all(len(each.containers) == 2 for each in heaps)


@pytest.mark.parametrize("limit", [None, 0.5])
def test_weights_are_all_counted(limit: float | None) -> None:
    critics = {"one": nn.Linear(20, 10), "two": nn.Linear(3, 1)}
    figure = wgan_figures.weights(critics, limit=limit)
    counted = [sum(bar.get_height() for bar in axis.patches) for axis in figure.axes]
    assert counted == [210, 4]
    dashed = [[line.get_xdata()[0] for line in axis.lines] for axis in figure.axes]
    assert dashed == [[] if limit is None else [-limit, limit]] * 2


def test_surfaces_show_the_points() -> None:
    real, fake = torch.rand(7, 2), -torch.rand(9, 2)
    (axis,) = wgan_figures.surfaces({"plane": Plane()}, real, fake).axes
    drawn = [np.asarray(each.get_offsets()) for each in axis.collections[-2:]]
    np.testing.assert_allclose(drawn[0], fake.numpy())
    np.testing.assert_allclose(drawn[1], real.numpy())
    assert axis.get_xlim() == axis.get_ylim() == (-3, 3)


def test_a_figure_is_a_picture_of_its_size() -> None:
    figure = wgan_figures.weights({"one": nn.Linear(3, 1)})
    picture = wgan_figures.as_picture(figure, dots_per_inch=50)
    width, height = figure.get_size_inches() * 50
    assert picture.shape == (1, 3, round(height), round(width))
    assert picture.min() < 0.9 and picture.max() == 1  # something on white


def test_tracking_draws_distances_and_fid_of_every_seed() -> None:
    runs = [
        {
            "networks": "good",
            "method": method,
            "seed": seed,
            "records": [
                {"updates": 10 * i, "fid": 90 / i, "d_loss": 0.2 * i, "critic_loss": -1.5 / i}
                for i in (1, 2, 3)
            ],
        }
        for method in METHODS
        for seed in (0, 1)
    ]
    figure = wgan_figures.tracking(Study(Protocol(warm_up=1, checkpoints=3), "made up", runs))
    above, below = figure.axes[: len(METHODS)], figure.axes[len(METHODS) :]
    for method, losses, scores in zip(METHODS, above, below, strict=True):
        by_hand = [math.log(2) - 0.1 * i if method == "GAN" else 1.5 / i for i in (1, 2, 3)]
        assert len(losses.lines) == len(scores.lines) == 2
        np.testing.assert_allclose(losses.lines[0].get_ydata(), by_hand)
        np.testing.assert_allclose(scores.lines[1].get_ydata(), [90, 45, 30])
