"""Topic 11: losses, pool, decay and steps against independent statements; networks; resume."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import cyclegan
from coursekit.core import runtime, training
from coursekit.core.errors import DataError, SettingError, ShapeError, WeightsError
from coursekit.pix2pix_networks import PatchDiscriminator


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=runtime.generator(seed))


def small_translators() -> cyclegan.Translators:
    runtime.seed_everything(1)
    one = {"width": 4, "blocks": 1, "halvings": 1}
    return cyclegan.Translators(cyclegan.ResNetGenerator(**one), cyclegan.ResNetGenerator(**one))


def small_judge() -> nn.Module:
    return PatchDiscriminator(3, width=4, layers=1, norm="instance")


def small_game(**options: object) -> cyclegan.Game:
    translators = small_translators()
    return cyclegan.Game(translators, small_judge(), small_judge(), **options)


def picture_batches(seed: int, batch: int = 1) -> training.Batches:
    return training.Batches(Pictures(seed), batch, seed=seed)


class Pictures:
    """Six random pictures that look like a data set."""

    def __init__(self, seed: int) -> None:
        self.images = normal(6, 3, 16, 16, seed=seed).sigmoid()

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, device: object = "cpu") -> dict[str, Tensor]:
        return {"image": self.images[indices]}


# --- The losses


def test_least_squares_by_hand() -> None:
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([[0.0, 2.0, -1.0]])
    d_loss = ((0 + 0.25) / 2 + (0 + 4 + 1) / 3) / 2
    assert float(cyclegan.lsgan_discriminator_loss(real, fake)) == pytest.approx(d_loss)
    assert float(cyclegan.lsgan_generator_loss(fake)) == pytest.approx((1 + 1 + 4) / 3)


def test_least_squares_is_mse_and_so_are_its_gradients() -> None:
    real, fake = (normal(2, 1, 3, 4, seed=seed).requires_grad_() for seed in (1, 2))
    found = cyclegan.lsgan_discriminator_loss(real, fake)
    expected = F.mse_loss(real, torch.ones_like(real)) / 2 + F.mse_loss(fake, 0 * fake) / 2
    torch.testing.assert_close(found, expected)
    found.backward()
    torch.testing.assert_close(real.grad, (real.detach() - 1) / real.numel())
    torch.testing.assert_close(fake.grad, fake.detach() / fake.numel())
    (gradient,) = torch.autograd.grad(cyclegan.lsgan_generator_loss(fake), fake)
    torch.testing.assert_close(gradient, 2 * (fake.detach() - 1) / fake.numel())


def test_the_best_discriminator_of_least_squares() -> None:
    """Where both densities are equal, D = ½ is best (Mao et al. 2017, eq. 4)."""
    losses = {
        score: float(cyclegan.lsgan_discriminator_loss(*[torch.tensor([score])] * 2))
        for score in (0.3, 0.45, 0.5, 0.55, 0.7)
    }
    assert min(losses, key=losses.get) == 0.5


@pytest.mark.parametrize("loss", [cyclegan.cycle_loss, cyclegan.identity_loss])
def test_l1_terms(loss) -> None:
    images, others = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1).requires_grad_()
    value = loss(images, others)
    torch.testing.assert_close(value, F.l1_loss(others, images))
    value.backward()
    torch.testing.assert_close(others.grad, (others.detach() - images).sign() / images.numel())
    with pytest.raises(ShapeError, match="same picture"):
        loss(images, others[:1])


# --- The pool


def test_the_pool_fills_before_it_exchanges() -> None:
    pool, images = cyclegan.ImagePool(4), normal(4, 1, 2, 2)
    assert torch.equal(pool.query(images[:3]), images[:3])
    assert torch.equal(pool.query(images[3:]), images[3:])
    assert torch.equal(torch.stack(pool.images), images)


def test_a_pool_of_nothing_returns_everything() -> None:
    pool, images = cyclegan.ImagePool(0), normal(5, 1, 2, 2)
    assert torch.equal(pool.query(images), images) and not pool.images
    with pytest.raises(SettingError, match="size=-1"):
        cyclegan.ImagePool(-1)


def test_no_picture_is_lost_or_doubled() -> None:
    """What is shown and what is kept at the end are together all pictures that ever came."""
    pool, came, shown = cyclegan.ImagePool(5, seed=3), [], []
    for number in range(40):
        images = torch.full((2, 1, 1, 1), float(number)) + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
        came += images.flatten().tolist()
        shown += pool.query(images).flatten().tolist()
    while_filling = Counter(came[:5])
    kept = [float(image) for image in pool.images]
    assert Counter(shown) + Counter(kept) == Counter(came) + while_filling


def test_half_of_the_pictures_are_exchanged() -> None:
    pool = cyclegan.ImagePool(10, seed=0)
    pool.query(normal(10, 1, 1, 1))
    new = torch.arange(1000.0).view(-1, 1, 1, 1) + 100
    same = int((pool.query(new) == new).sum())
    assert abs(same - 500) < 4 * math.sqrt(250)  # four standard deviations of a fair coin


def test_the_pool_keeps_no_gradient_and_no_view() -> None:
    pool, images = cyclegan.ImagePool(2), normal(2, 1, 2, 2).requires_grad_()
    shown = pool.query(images)
    assert not shown.requires_grad
    before = torch.stack(pool.images).clone()
    with torch.no_grad():
        images.zero_()
        shown.zero_()
    assert torch.equal(torch.stack(pool.images), before)


def test_the_pool_goes_on_from_its_state() -> None:
    first, second = cyclegan.ImagePool(3, seed=1), cyclegan.ImagePool(3, seed=9)
    first.query(normal(8, 1, 2, 2))
    second.load_state_dict(first.state_dict())
    more = normal(9, 1, 2, 2, seed=2)
    assert torch.equal(first.query(more), second.query(more))
    empty = cyclegan.ImagePool(3)
    second.load_state_dict(empty.state_dict())
    assert second.images == []


# --- The decay


def test_linear_decay_by_hand() -> None:
    shares = [cyclegan.linear_decay(step, 10) for step in range(1, 11)]
    assert shares == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert cyclegan.linear_decay(4, 4, 0.0) == pytest.approx(0.25)
    for step, constant in ((0, 0.5), (11, 0.5), (1, 1.0), (1, -0.1)):
        with pytest.raises(SettingError, match="no such place"):
            cyclegan.linear_decay(step, 10, constant)


def test_the_decay_of_the_paper() -> None:
    """100 epochs flat, then straight to 0 at epoch 200, by torch's own scheduler."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    paper = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda e: 1 - max(0, e - 100) / 100)
    for epoch in range(1, 201):
        assert cyclegan.linear_decay(epoch, 200) == pytest.approx(paper.get_last_lr()[0])
        optimiser.step()
        paper.step()


# --- The networks


def test_parameters_at_the_published_settings() -> None:
    count = sum(p.numel() for p in cyclegan.ResNetGenerator().parameters())
    assert count == 11_378_179
    judge = PatchDiscriminator(3, norm="instance")
    assert sum(p.numel() for p in judge.parameters()) == 2_764_737


def test_the_layers_of_the_paper() -> None:
    """c7s1-64, d128, d256, nine R256, u128, u64, c7s1-3: kernel, stride, channels, in order."""
    layers = [
        (type(m).__name__, m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels)
        for m in cyclegan.ResNetGenerator().modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    residual = ("Conv2d", 3, 1, 256, 256)
    assert layers == [
        ("Conv2d", 7, 1, 3, 64),
        ("Conv2d", 3, 2, 64, 128),
        ("Conv2d", 3, 2, 128, 256),
        *[residual] * 18,
        ("ConvTranspose2d", 3, 2, 256, 128),
        ("ConvTranspose2d", 3, 2, 128, 64),
        ("Conv2d", 7, 1, 64, 3),
    ]
    norms = [m for m in cyclegan.ResNetGenerator().modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 23 and not any(norm.affine for norm in norms)


def test_a_generator_keeps_the_size_and_the_range() -> None:
    for halvings, size in ((0, (8, 5)), (1, (12, 10)), (2, (8, 16)), (3, (16, 24))):
        network = cyclegan.ResNetGenerator(width=2, blocks=1, halvings=halvings)
        out = network(normal(2, 3, *size))
        assert out.shape == (2, 3, *size) and out.abs().max() <= 1
    assert cyclegan.ResNetGenerator(1, 2, width=2, blocks=0)(normal(1, 1, 8, 8)).shape[1] == 2


def test_a_generator_names_what_it_cannot_take() -> None:
    network = cyclegan.ResNetGenerator(width=2, blocks=1)
    for shape, words in (
        ((1, 3, 10, 8), "multiples of 4"),
        ((1, 3, 4, 8), "from 8"),
        ((1, 1, 8, 8), r"\(N, 3, H, W\)"),
        ((3, 8, 8), r"\(N, 3, H, W\)"),
    ):
        with pytest.raises(ShapeError, match=words):
            network(normal(*shape))
    for settings in ({"width": 0}, {"blocks": -1}, {"halvings": -1}):
        with pytest.raises(SettingError, match="from 0"):
            cyclegan.ResNetGenerator(**settings)


def test_a_residual_block_by_hand() -> None:
    block, x = cyclegan.ResidualBlock(3), normal(2, 3, 5, 6)
    first, second = (m for m in block.modules() if isinstance(m, nn.Conv2d))

    def layer(x: Tensor, conv: nn.Conv2d) -> Tensor:
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), conv.weight, conv.bias)
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt()

    expected = x + layer(layer(x, first).relu(), second)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def test_pictures_of_a_batch_do_not_meet() -> None:
    """Instance normalisation: what becomes of a picture does not depend on its neighbours."""
    network, x = small_translators().to_y, normal(3, 3, 16, 16)
    alone = torch.cat([network(each) for each in x.split(1)])
    torch.testing.assert_close(network(x), alone, rtol=1e-3, atol=1e-4)


def test_brightness_of_the_input_is_forgotten_by_instance_norm() -> None:
    """One line that breaks it: a grey veil over the whole picture is taken off again."""
    network, x = small_translators().to_y, normal(1, 3, 16, 16)
    torch.testing.assert_close(network(0.3 * x + 0.2), network(x), rtol=1e-2, atol=2e-3)


# --- The steps


class Counting(nn.Module):
    """A generator that adds a number it learns, and counts how often it is asked."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.shift, self.calls = nn.Parameter(torch.tensor(start)), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.shift


class Mean(nn.Module):
    """A discriminator: a weight times the mean of the picture."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.mean(dim=(1, 2, 3))


def test_generator_step_by_hand() -> None:
    """Shifts g = 0.5, f = -0.25; D(x) = mean: every term is arithmetic."""
    translators = cyclegan.Translators(Counting(0.5), Counting(-0.25))
    judges = Mean(2.0), Mean(1.0)
    optimiser = torch.optim.SGD(translators.parameters(), 0.01)
    x, y = torch.full((2, 1, 2, 3), 0.1), torch.full((2, 1, 2, 3), 0.2)
    objective = cyclegan.Objective(cycle=10.0, identity=5.0)
    terms, fake_y, fake_x = cyclegan.generator_step(
        translators, *judges, optimiser, x, y, objective
    )
    torch.testing.assert_close(fake_y, x + 0.5)
    torch.testing.assert_close(fake_x, y - 0.25)
    adversarial = (0.6 - 1) ** 2 + (2 * -0.05 - 1) ** 2
    assert float(terms["g_adversarial"]) == pytest.approx(adversarial)
    assert float(terms["cycle"]) == pytest.approx(2 * 0.25)
    assert float(terms["identity"]) == pytest.approx(0.5 + 0.25)
    by_g = 2 * (0.6 - 1) + 10 * 2 + 5
    by_f = 2 * (2 * -0.05 - 1) * 2 + 10 * 2 - 5
    assert translators.to_y.shift.item() == pytest.approx(0.5 - 0.01 * by_g, rel=1e-4)
    assert translators.to_x.shift.item() == pytest.approx(-0.25 - 0.01 * by_f, rel=1e-4)
    assert all(judge.weight.grad is None and judge.weight.requires_grad for judge in judges)
    assert not (fake_y.requires_grad or fake_x.requires_grad)


@pytest.mark.parametrize(
    ("objective", "calls", "names"),
    [
        (cyclegan.Objective(), 2, {"g_adversarial", "cycle", "identity"}),
        (cyclegan.Objective(identity=0), 2, {"g_adversarial", "cycle"}),
        (cyclegan.Objective(cycle=0), 1, {"g_adversarial", "identity"}),
        (cyclegan.Objective(0, 0), 1, {"g_adversarial"}),
    ],
)
def test_a_term_of_weight_0_costs_nothing(objective, calls: int, names: set) -> None:
    translators = cyclegan.Translators(Counting(0.5), Counting(-0.25))
    optimiser = torch.optim.SGD(translators.parameters(), 0.1)
    x = normal(1, 1, 2, 2)
    terms, *_ = cyclegan.generator_step(
        translators, Mean(1.0), Mean(1.0), optimiser, x, x, objective
    )
    assert set(terms) == names
    assert translators.to_y.calls == translators.to_x.calls == calls


def test_discriminator_step_by_hand() -> None:
    judge = Mean(2.0)
    optimiser = torch.optim.SGD(judge.parameters(), 0.1)
    real, fake = torch.full((1, 1, 2, 2), 0.75), torch.full((1, 1, 2, 2), -0.5, requires_grad=True)
    terms = cyclegan.discriminator_step(judge, optimiser, real, fake)
    assert float(terms["d_loss"]) == pytest.approx((0.5**2 + 1) / 2)
    gradient = (2 * 0.5 * 0.75 + 2 * -1.0 * -0.5) / 2
    assert judge.weight.item() == pytest.approx(2 - 0.1 * gradient)
    assert fake.grad is None


def test_a_round_moves_all_four_and_feeds_the_pools() -> None:
    game = small_game()
    parts = [game.translators, game.discriminator_x, game.discriminator_y]
    before = [[p.detach().clone() for p in part.parameters()] for part in parts]
    terms = game.step(1, normal(2, 3, 16, 16).sigmoid(), normal(2, 3, 16, 16, seed=1).sigmoid())
    assert set(terms) == {"g_adversarial", "cycle", "identity", "d_loss"}
    for part, old in zip(parts, before, strict=True):
        moved = [not torch.equal(p, o) for p, o in zip(part.parameters(), old, strict=True)]
        assert sum(moved) > len(moved) / 2  # biases before a normalisation have no gradient
    assert len(game.pool_x.images) == len(game.pool_y.images) == 2


def test_old_fakes_come_from_the_right_heap() -> None:
    game = small_game(pool=1)
    x, y = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.9)
    with torch.no_grad():
        fake_y = game.translators.to_y(2 * x - 1)[0]
    game.step(1, x, y)
    torch.testing.assert_close(game.pool_y.images[0], fake_y, rtol=1e-3, atol=1e-4)


def test_training_resumes_and_repeats(tmp_path: Path) -> None:
    def run(folder: Path | None, stop_behind: int | None = None) -> list[Tensor]:
        game = small_game(pool=2)
        options = {"progress": False, "folder": folder, "seed": 3, **_stopped(stop_behind)}
        cyclegan.train(game, picture_batches(0), picture_batches(1), steps=6, **options)
        return [p.detach().clone() for p in game.ema.module.parameters()]

    whole = run(None)
    for one, other in zip(whole, run(None), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_behind=3)
    for one, other in zip(whole, run(tmp_path), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def _stopped(behind: int | None) -> dict:
    """Options that stop the training behind a number of steps, as a power cut would."""
    if behind is None:
        return {}

    def callback(step: int, pictures: Tensor, history: list) -> None:
        if step >= behind:
            raise KeyboardInterrupt

    preview = {"preview": lambda: torch.zeros(1, 3, 2, 2), "previews": 100, "callback": callback}
    return preview | {"checkpoint_every": 1}


def test_the_learning_rate_of_all_three_optimisers_falls() -> None:
    game = small_game(learning_rate=1e-3)
    game.slow_down(0.25)
    for optimiser in (game.g_optimiser, game.x_optimiser, game.y_optimiser):
        assert [group["lr"] for group in optimiser.param_groups] == [2.5e-4]
        assert optimiser.defaults["betas"] == (0.5, 0.999)


# --- The heaps


def test_scenes_of_the_two_heaps_are_different_ones() -> None:
    by_day, by_night = cyclegan.two_heaps("scenes", 3, 32, seed=5)
    assert len(by_day) == len(by_night) == 3
    assert not torch.equal(by_day.fields["twin"], by_night.fields["image"])
    with pytest.raises(SettingError, match="give a count"):
        cyclegan.two_heaps("scenes", None)
    with pytest.raises(SettingError, match="horse2zebra"):
        cyclegan.two_heaps("horses")


def test_two_folders_of_ones_own(tmp_path: Path) -> None:
    from PIL import Image

    for folder, count in (("a", 3), ("b", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.new("RGB", (20, 16), (40 * number, 0, 0)).save(
                tmp_path / folder / f"{number}.png"
            )
    x, y = cyclegan.two_heaps((tmp_path / "a", tmp_path / "b"), None, 8)
    assert (len(x), len(y)) == (3, 2) and x.fields["image"].shape == (3, 3, 8, 8)
    with pytest.raises(DataError, match="no picture"):
        (tmp_path / "c").mkdir()
        cyclegan.two_heaps((tmp_path / "a", tmp_path / "c"), None, 8)


# --- What comes out


def test_translate_keeps_the_order_and_the_range() -> None:
    network, images = small_translators().to_y, normal(5, 3, 16, 16).sigmoid()
    whole = cyclegan.translate(network, images)
    assert whole.shape == images.shape and whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(cyclegan.translate(network, images, batch=2), whole)
    torch.testing.assert_close(whole, (network(2 * images - 1) + 1).detach() / 2)


def test_the_overview_shows_six_rows() -> None:
    translators, x = small_translators(), normal(3, 3, 16, 16).sigmoid()
    parts = list(cyclegan.cycle(translators, x, x))
    torch.testing.assert_close(parts[2], cyclegan.translate(translators.to_x, parts[1]))
    torch.testing.assert_close(parts[5], cyclegan.translate(translators.to_y, parts[4]))
    picture = cyclegan.overview(translators, x, x)
    assert picture.shape[:2] == (1, 3)
    assert picture.shape[2] >= 6 * 16 and picture.shape[3] >= 3 * 16


def test_the_course_checkpoint() -> None:
    translators, checkpoint = cyclegan.load()
    assert checkpoint.about["recipe"] == "cyclegan course"
    assert not translators.training and not any(p.requires_grad for p in translators.parameters())
    for direction in ("day → night", "night → day"):
        assert checkpoint.about["measured"][direction]["LPIPS"]["count"] == 200
    with pytest.raises(WeightsError, match="no checkpoint"):
        cyclegan.load("nothing")
