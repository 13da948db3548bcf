"""StyleGAN2's styles: truncation, mixing, noise, walks, and editing along a known factor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit import stylegan2_styles as styles_
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import SettingError, ShapeError, WeightsError
from coursekit.core.runtime import generator as random
from coursekit.stylegan2_networks import Generator, Sizes, StyledConv

SMALL = Sizes(16, base=128, most=16)


@pytest.fixture
def small() -> Generator:
    torch.manual_seed(0)
    made = Generator(SMALL, latent=8, mapping_layers=2).eval().requires_grad_(False)
    made.mapping.w_avg.copy_(normal(8, seed=9))
    for layer in made.synthesis.modules():
        if isinstance(layer, StyledConv):
            layer.noise_strength.fill_(0.5)
    return made


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=random(seed))


# --- truncation and mixing ----------------------------------------------------------------------


def test_truncation_by_hand() -> None:
    w, mean = torch.tensor([[3.0, 5.0]]), torch.tensor([1.0, 1.0])
    assert styles_.truncate(w, mean, 0.5).tolist() == [[2.0, 3.0]]
    assert styles_.truncate(w, mean, 0.0).tolist() == [[1.0, 1.0]]
    assert styles_.truncate(w, mean, -1.0).tolist() == [[-1.0, -3.0]]
    each = w[:, None].repeat(1, 3, 1)
    assert styles_.truncate(each, mean, 0.5, layers=2).tolist() == [[[2, 3], [2, 3], [3, 5]]]
    with pytest.raises(SettingError, match="layers=2 needs w for each layer"):
        styles_.truncate(w, mean, 0.5, layers=2)


def test_truncation_is_the_networks_own(small: Generator) -> None:
    w = normal(3, 8, seed=1)
    found = styles_.truncate(w, small.mapping.w_avg, 0.7)
    assert torch.allclose(found, small.mapping.truncate(w, 0.7))


@pytest.mark.parametrize("bounds", [(8, 16), (8, 32), (4, 8)])
def test_style_groups_are_those_of_their_resolutions(bounds: tuple[int, int]) -> None:
    sizes = Sizes(64, base=256, most=8)
    groups = styles_.style_groups(sizes, bounds)
    assert tuple(groups) == styles_.GROUPS
    indices = list(range(10))
    assert [i for group in groups.values() for i in indices[group]] == indices
    made = Generator(sizes, latent=4, mapping_layers=1)
    first, own = 0, {}
    for resolution in sizes.resolutions:  # the styles of the convolutions, as `Synthesis` counts
        layers = made.synthesis.get_submodule(f"b{resolution}").layers
        own |= {first + number: resolution for number in range(len(layers))}
        first += len(layers)
    for name, low, high in zip(styles_.GROUPS, (0, *bounds), (*bounds, 64), strict=True):
        found = {own[i] for i in indices[groups[name]] if i in own}
        assert found == {r for r in sizes.resolutions if low < r <= high}, name


def test_layers_are_replaced_and_nothing_else_moves() -> None:
    a, b = normal(2, 5, 3, seed=1), normal(1, 5, 3, seed=2)
    mixed = styles_.replace_layers(a, b, slice(1, 3))
    assert torch.equal(mixed[:, 1:3], b[:, 1:3].expand(2, -1, -1))
    assert torch.equal(mixed[:, [0, 3, 4]], a[:, [0, 3, 4]])
    assert torch.equal(a, normal(2, 5, 3, seed=1))
    with pytest.raises(ShapeError, match=r"must be\s+\(N, count, latent\)"):
        styles_.replace_layers(a, b[:, :4], slice(0, 1))


def test_the_mixing_matrix_has_b_in_rows_and_a_in_columns(small: Generator) -> None:
    a, b = small.styles(normal(3, 8, seed=1)), small.styles(normal(2, 8, seed=2))
    nothing = styles_.mixing_matrix(small, a, b, slice(0, 0))
    assert nothing.shape == (2, 3, 3, 16, 16)
    assert torch.allclose(nothing[0], styles_.pictures(small, a), atol=1e-5)
    assert torch.allclose(nothing[0], nothing[1], atol=1e-5)
    everything = styles_.mixing_matrix(small, a, b, slice(None))
    expected = styles_.pictures(small, b)
    assert torch.allclose(everything[:, 0], expected, atol=1e-5)
    assert torch.allclose(everything[:, 2], expected, atol=1e-5)


# --- noise --------------------------------------------------------------------------------------


def test_noise_deviation_is_zero_without_noise_and_the_same_again(small: Generator) -> None:
    w = styles_.draw_w(small, 2, seed=3)
    before = torch.random.get_rng_state()
    mean, deviation = styles_.noise_deviation(small, w, draws=6, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert mean.shape == (2, 3, 16, 16)
    assert deviation.shape == (2, 16, 16)
    assert float(deviation.min()) >= 0
    assert float(deviation.mean()) > 1e-3
    again = styles_.noise_deviation(small, w, draws=6, seed=1)[1]
    assert torch.allclose(deviation, again, atol=1e-5)
    with styles_.noise_only_at(small, ()):
        calm, none = styles_.noise_deviation(small, w, draws=3)
        assert float(none.max()) < 1e-4
        assert torch.allclose(calm, styles_.pictures(small, w, noise="none"), atol=1e-4)
    with pytest.raises(SettingError, match="two or more"):
        styles_.noise_deviation(small, w, draws=1)


def test_noise_at_one_resolution_and_back(small: Generator) -> None:
    layers = [m for m in small.synthesis.modules() if isinstance(m, StyledConv)]
    with pytest.raises(RuntimeError), styles_.noise_only_at(small, (16,)):
        heard = {layer.resolution for layer in layers if float(layer.noise_strength)}
        assert heard == {16}
        raise RuntimeError
    assert all(float(layer.noise_strength) == 0.5 for layer in layers)


# --- walks --------------------------------------------------------------------------------------


def test_walks_pass_their_points_in_equal_steps() -> None:
    points = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 8.0]])
    path = styles_.walk(points, 4)
    assert path.shape == (9, 2)
    assert torch.allclose(path[[0, 4, 8]], points)
    assert path[1].tolist() == [1.0, 0.0]
    closed = styles_.walk(points, 4, closed=True)
    assert closed.shape == (12, 2)
    assert torch.allclose(closed[-1], torch.tensor([1.0, 2.0]))  # one step before the first point
    assert styles_.walk(normal(2, 5, 3, seed=1), 3).shape == (4, 5, 3)
    with pytest.raises(ShapeError, match="two or more points"):
        styles_.walk(points[:1])


# --- editing ------------------------------------------------------------------------------------


def test_a_direction_raises_its_factor_by_one_deviation() -> None:
    """With w ~ N(0, Σ) and a factor that is linear in w, the step is Σβ / √(βᵀΣβ)."""
    spread = torch.tensor([3.0, 1.0, 0.5])
    w = normal(4000, 3, seed=1) * spread
    beta = torch.tensor([0.0, 2.0, 0.0])
    factor = w @ beta
    along = styles_.direction(w, factor, ridge=1e-6)
    assert torch.allclose(along, torch.tensor([0.0, 1.0, 0.0]), atol=0.1)
    moved = styles_.edit(w, along, 1.5) @ beta
    assert float((moved - factor).mean()) == pytest.approx(1.5 * float(factor.std()), rel=0.05)


def test_a_direction_stays_where_the_w_are() -> None:
    """Two coordinates that always go together move together, though one of them would do."""
    common = normal(2000, 1, seed=2)
    w = torch.cat([common, common + 0.05 * normal(2000, 1, seed=3)], dim=1)
    along = styles_.direction(w, (w[:, 0] > 0).long(), ridge=1e-4)
    assert float(along[0]) == pytest.approx(float(along[1]), rel=0.1)
    with pytest.raises(SettingError, match="same value everywhere"):
        styles_.direction(w, torch.ones(2000))
    with pytest.raises(ShapeError, match="needed"):
        styles_.direction(w, torch.ones(3))


def test_edits_can_be_kept_to_some_layers() -> None:
    w, along = normal(2, 4, 3, seed=1), normal(3, seed=2)
    edited = styles_.edit(w, along, 2.0, slice(0, 1))
    assert torch.allclose(edited[:, 0], w[:, 0] + 2 * along)
    assert torch.equal(edited[:, 1:], w[:, 1:])


class Brightness:
    """Reads how bright a picture is, and whether its left half is brighter than the right."""

    spec = {"bright": "regression", "left": "binary"}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        half = images.shape[-1] // 2
        left, right = images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3))
        return {"bright": images.mean((1, 2, 3)), "left": (left > right).long()}


def test_an_edit_study_moves_its_factor_more_than_chance_does(small: Generator) -> None:
    reader = Brightness()
    w = styles_.draw_w(small, 400, seed=5)
    along = styles_.direction(w, reader.predict(styles_.pictures(small, w))["bright"])
    study = styles_.study_edit(
        small, reader, "bright", along, amounts=(-1.5, 0.0, 1.5), count=80, seed=6
    )
    assert study.amounts == [-1.5, 0.0, 1.5]
    low, middle, high = (each.value for each in study.reading["direction"])
    assert low < middle < high
    control = [each.value for each in study.reading["random"]]
    assert high - low > 2 * abs(control[-1] - control[0])
    assert study.kept["direction"][1].value == 1.0
    with pytest.raises(SettingError, match="no factor 'beard'"):
        styles_.study_edit(small, reader, "beard", along, count=4)


# --- the course's generator ---------------------------------------------------------------------


def test_the_generator_is_loaded_as_it_was_saved(
    small: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "data_dir", lambda: tmp_path)
    with pytest.raises(WeightsError, match="no checkpoint"):
        styles_.load_generator()
    settings = {"sizes": {"size": 16, "base": 128, "most": 16}, "latent": 8, "mapping_layers": 2}
    about = {"recipe": "stylegan2 r", "data": "d", "steps": 1, "seed": 0, "settings": settings}
    checkpoints.save(small, checkpoints.path_of("stylegan2"), about)
    loaded, checkpoint = styles_.load_generator()
    assert checkpoint.about["settings"] == settings
    assert not loaded.training
    w = normal(2, 8, seed=1)
    assert torch.allclose(styles_.pictures(loaded, w), styles_.pictures(small, w), atol=0.02)
