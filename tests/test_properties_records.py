"""What trainings keep and count: batches, averages, budgets, timelines, checkpoints, estimates."""

from __future__ import annotations

import itertools
import math
import string
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from property_inputs import FLOATS, KINDS, NO_NUMBERS, SEEDS, filled, pictures, random, refused
from torch import Tensor, nn

from coursekit.core import checkpoints, estimates
from coursekit.core.budget import Pace, duration, parse_budget
from coursekit.core.errors import DataError, SettingError, WeightsError
from coursekit.core.images import to_array
from coursekit.core.runtime import generator, seed_everything
from coursekit.core.timeline import Timeline, frame_steps
from coursekit.core.training import EMA, Batches
from coursekit.datasets.base import Dataset, Info, digest
from coursekit.datasets.crops import Crops

pytestmark = pytest.mark.properties

WORDS = st.text(string.ascii_letters + string.digits + " _-.Я☃\n\"'", max_size=12)
NUMBERS = st.floats(-1e6, 1e6)
INFO = Info("toy", "toys", "CC0", True, "a test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


# --- Batches --------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(-1, 22), st.integers(0, 2**63 - 1), st.integers(1, 3))
def test_an_epoch_holds_every_entry_at_most_once(
    length: int, size: int, seed: int, epochs: int
) -> None:
    data = torch.arange(length)
    if not 1 <= size <= length:
        assert isinstance(refused(Batches, data, size), SettingError)
        return
    batches, each = Batches(data, size, seed=seed), length // size
    for _ in range(epochs):
        drawn = torch.cat([next(batches) for _ in range(each)]).tolist()
        assert len(drawn) == each * size == len(set(drawn))
        assert size * each < length or sorted(drawn) == list(range(length))
    again = Batches(data, size, seed=seed)
    for number in reversed(range(each * epochs)):
        found = again.indices(number)
        assert torch.equal(found, Batches(data, size, seed=seed).indices(number))


@given(st.integers(1, 20), st.integers(1, 4), SEEDS, st.integers(0, 30))
def test_batches_go_on_where_a_checkpoint_stands(
    length: int, size: int, seed: int, drawn: int
) -> None:
    size = min(size, length)
    first, second = (Batches(torch.arange(length), size, seed=seed) for _ in range(2))
    for _ in range(drawn):
        next(first)
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        assert torch.equal(next(first), next(second))
    other = Batches(torch.arange(length), size, seed=seed + 1)
    refused(other.load_state_dict, first.state_dict())
    longer = Batches(torch.arange(length + 1), size, seed=seed)
    refused(longer.load_state_dict, first.state_dict())


@given(st.integers(-(2**70), 2**70))
def test_a_seed_of_64_bits_gives_its_own_numbers(seed: int) -> None:
    if not -(2**63) <= seed < 2**64:
        assert isinstance(refused(generator, seed), SettingError)
        assert isinstance(refused(seed_everything, seed), SettingError)
        return
    first, second = (torch.rand(3, generator=generator(seed)) for _ in range(2))
    assert torch.equal(first, second)
    seed_everything(seed)
    before = torch.rand(3)
    seed_everything(seed)
    assert torch.equal(torch.rand(3), before)


# --- Averages -------------------------------------------------------------------------------------


@given(st.floats(-0.5, 1.5) | st.just(math.nan), st.integers(1, 6), SEEDS)
def test_an_average_stays_between_what_it_has_seen(decay: float, updates: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    if not 0 <= decay < 1:
        assert isinstance(refused(EMA, network, decay), SettingError)
        return
    average, seen = EMA(network, decay), [network[0].weight.detach().clone()]
    for number in range(updates):
        with torch.no_grad():
            network[0].weight.copy_(random((2, 2), seed + number))
        seen.append(network[0].weight.detach().clone())
        average.update()
        low, high = torch.stack(seen).amin(0), torch.stack(seen).amax(0)
        found = average.module[0].weight
        assert bool(((found >= low - 1e-5) & (found <= high + 1e-5)).all())
    twin = EMA(network, decay)
    twin.load_state_dict(average.state_dict())
    for first, second in ((average, twin),):
        first.update()
        second.update()
    assert torch.equal(average.module[0].weight, twin.module[0].weight)
    assert not any(p.requires_grad for p in average.module.parameters())


# --- Budgets --------------------------------------------------------------------------------------


@given(
    st.floats(1e-6, 1e17) | st.integers(1, 10**17),
    st.sampled_from((("", 1), ("s", 1), (" s", 1), ("min", 60), (" minutes", 60), ("  H ", 3600))),
)
def test_budgets_are_read_as_they_are_written(number: float, unit: tuple[str, int]) -> None:
    text, seconds = unit
    assert parse_budget(f"{number:.9f}{text}") == pytest.approx(number * seconds, abs=1e-5)
    assert parse_budget(number) == pytest.approx(number)


@given(st.floats(0.6, 1e6))
def test_a_duration_in_words_is_a_budget_again(seconds: float) -> None:
    slack = 0.5 if seconds < 90 else 30
    assert parse_budget(duration(seconds)) == pytest.approx(seconds, abs=slack + 1e-6)


@given(
    st.sampled_from((*NO_NUMBERS, 0, -1, -2.5, True, None, "", "9" * 400, "1e400"))
    | st.text(string.ascii_lowercase + " .-+:", max_size=8)
)
def test_budgets_that_are_no_time_are_refused(budget) -> None:
    assert isinstance(refused(parse_budget, budget), SettingError)


@given(
    st.integers(0, 50),
    st.none() | st.integers(1, 60),
    st.none() | st.floats(0.5, 600),
    st.lists(st.floats(0, 0.3), min_size=12, max_size=60),
)
def test_a_pace_never_plans_beyond_what_is_wanted(
    first: int, steps: int | None, seconds: float | None, times: list[float]
) -> None:
    wanted = None if steps is None else first + steps
    pace, elapsed, changes = Pace(first, wanted, seconds), 0.0, 0
    assert pace.known == (seconds is None)
    for number, each in enumerate(times, start=first + 1):
        if number > pace.last:
            break
        elapsed += each
        changes += pace.after_step(number, elapsed)
        assert pace.last >= number
        assert wanted is None or pace.last <= max(wanted, number)
        assert seconds is None or elapsed < seconds or pace.last == number
    assert changes <= 1 and (not changes or pace.sentence.endswith("."))


# --- Timelines ------------------------------------------------------------------------------------


@st.composite
def timelines(draw) -> Timeline:
    film = Timeline(about=draw(WORDS))
    for step in sorted(draw(st.sets(st.integers(0, 10**10), max_size=4))):
        terms = draw(st.dictionaries(WORDS, NUMBERS, max_size=3))
        film.add(step, draw(pictures(batch=(1, 3), sides=(1, 4))), terms)
    return film


@given(timelines())
def test_a_timeline_comes_back_as_it_was_saved(folder: Path, film: Timeline) -> None:
    found = Timeline.load(film.save(folder / "film.zip"))
    assert found == film
    assert [each.name for each in folder.glob("film*")] == ["film.zip"]
    for index, picture in enumerate(found.pictures()):
        assert picture.shape[:2] == (1, 3) and torch.equal(picture, film.picture(index))


@given(timelines(), st.integers(-1, 6))
def test_a_thinned_timeline_keeps_order_and_ends(film: Timeline, count: int) -> None:
    if count < 1:
        assert isinstance(refused(film.thinned, count), SettingError)
        return
    found = film.thinned(count)
    assert len(found) == min(count, len(film))
    assert found.steps == sorted(set(found.steps)) and set(found.steps) <= set(film.steps)
    if len(film):
        assert found.steps[0] == film.steps[0]
        assert count == 1 or found.steps[-1] == film.steps[-1]


@given(st.integers(1, 10**6), st.integers(1, 60))
def test_frames_rise_to_the_last_step_and_thin_out(last: int, count: int) -> None:
    steps = frame_steps(last, count)
    assert steps == sorted(set(steps)) and steps[-1] == last and steps[0] >= 1
    assert len(steps) <= count
    gaps = [b - a for a, b in itertools.pairwise([0, *steps])]
    assert gaps[-1] >= gaps[0] - 1


@given(st.binary(max_size=80))
def test_bytes_that_are_no_record_are_refused(folder: Path, content: bytes) -> None:
    path = folder / "broken"
    path.write_bytes(content)
    assert isinstance(refused(Timeline.load, path), DataError)
    assert isinstance(refused(checkpoints.read, path), WeightsError)


# --- Checkpoints ----------------------------------------------------------------------------------


class Weights(nn.Module):
    """A module of buffers of any shape, type and number."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        for index, each in enumerate(tensors):
            self.register_buffer(f"t{index}", each)


TENSORS = st.builds(
    filled,
    st.sampled_from(KINDS),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    SEEDS,
    st.sampled_from((*FLOATS, torch.int64, torch.uint8)),
)
FACTS = st.dictionaries(
    WORDS, st.recursive(NUMBERS | WORDS | st.booleans() | st.none(), st.lists, max_leaves=4)
)


@given(st.lists(TENSORS, max_size=3), FACTS)
def test_a_checkpoint_comes_back_in_float32(folder: Path, tensors: list[Tensor], more) -> None:
    about = more | {"recipe": "toy", "data": "x", "steps": 3, "seed": 0, "settings": {"width": 2}}
    path = checkpoints.save(Weights(tensors), folder / "toy.safetensors", about)
    found = checkpoints.read(path)
    assert found.about == {"date": found.about["date"], **about}
    assert len(found.weights) == len(tensors)
    for index, each in enumerate(tensors):
        back = found.weights[f"t{index}"]
        assert back.dtype == (torch.float32 if each.is_floating_point() else each.dtype)
        torch.testing.assert_close(back, each.half().float() if back.is_floating_point() else each)


@given(st.sampled_from(NO_NUMBERS), st.sampled_from((object(), {1}, b"x", Path("x"))))
def test_what_a_checkpoint_cannot_hold_is_refused(folder: Path, value: float, fact) -> None:
    about = {"recipe": "toy", "data": "x", "steps": 3, "seed": 0, "settings": {}}
    path = folder / "refused.safetensors"
    broken = Weights([torch.tensor([1.0, value])])
    assert isinstance(refused(checkpoints.save, broken, path, about), WeightsError)
    unreadable = about | {"measured": fact}
    assert isinstance(refused(checkpoints.save, Weights([]), path, unreadable), WeightsError)
    assert not list(folder.glob("refused*"))


# --- Data sets ------------------------------------------------------------------------------------


def dataset(length: int, seed: int) -> Dataset:
    image = torch.randint(256, (length, 1, 2, 2), generator=generator(seed)).byte()
    return Dataset(INFO, {"image": image, "number": torch.arange(length)})


@given(st.integers(1, 20), st.floats(-0.2, 1.2) | st.sampled_from(NO_NUMBERS), SEEDS)
def test_the_halves_of_a_data_set_are_all_of_it(length: int, share: float, seed: int) -> None:
    data = dataset(length, seed)
    if not math.isfinite(share) or not 0 < round(length * share) < length:
        assert isinstance(refused(data.split, share, seed=seed), SettingError)
        return
    train, test = data.split(share, seed=seed)
    assert len(test) == round(length * share)
    numbers = torch.cat([each.fields["number"] for each in (train, test)])
    assert torch.equal(numbers.sort().values, torch.arange(length))


@given(st.integers(1, 9), SEEDS, st.lists(st.integers(0, 8), max_size=6))
def test_entries_are_the_ones_asked_for_in_that_order(length: int, seed: int, chosen) -> None:
    data, where = dataset(length, seed), [each % length for each in chosen]
    batch = data.batch(where)
    assert batch["number"].tolist() == where
    assert torch.equal(batch["image"], data.fields["image"][where].float() / 255)
    for index in where:
        assert torch.equal(data[index]["image"], data[index - length]["image"])
    if where:
        assert data.take(where).digest() == data.take(torch.tensor(where)).digest()
    mask = torch.zeros(length, dtype=torch.bool)
    mask[where] = True
    assert data.batch(mask)["number"].tolist() == sorted(set(where))
    refused(data.batch, torch.ones(length + 1, dtype=torch.bool))
    for outside in (length, -length - 1):
        refused(data.batch, [outside])
        with pytest.raises(IndexError):
            data[outside]


@given(TENSORS, SEEDS)
def test_a_digest_sees_every_value_type_and_shape(tensor: Tensor, seed: int) -> None:
    before = digest({"a": tensor})
    assert digest({"a": tensor.clone()}) == before
    changed = tensor.clone()
    place = seed % tensor.numel()
    changed.view(-1)[place] = 7 if float(changed.view(-1)[place]) != 7 else 8
    others = [{"b": tensor}, {"a": changed}, {"a": tensor[None]}, {"a": tensor, "b": tensor}]
    assert before not in [digest(each) for each in others]


@given(
    st.lists(pictures(batch=(1, 1), sides=(1, 9)), max_size=3),
    st.integers(0, 6),
    st.integers(0, 9),
    SEEDS,
)
def test_crops_are_pictures_and_always_the_same(images, size: int, count: int, seed) -> None:
    if min(size, count) < 1 or not any(min(each.shape[2:]) >= size for each in images):
        refused(Crops, images, size, count=count, seed=seed)
        return
    crops, again = (Crops(images, size, count=count, seed=seed) for _ in range(2))
    batch = crops.batch(torch.arange(count))["image"]
    assert batch.shape == (count, 3, size, size)
    assert batch.min() >= 0 and batch.max() <= 1
    assert torch.equal(again[count - 1], batch[-1])
    assert to_array(batch[0]).shape == (size, size, 3)


# --- Estimates ------------------------------------------------------------------------------------

SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@given(st.integers(-1, 40), st.integers(-1, 40), st.floats(0.5, 0.999))
def test_a_share_lies_in_its_interval_and_that_in_0_to_1(some: int, total: int, level) -> None:
    if total < 1 or not 0 <= some <= total:
        assert isinstance(refused(estimates.proportion, some, total), SettingError)
        return
    found = estimates.proportion(some, total, level=level)
    low, high = found.interval
    assert -1e-9 <= low <= found.value + 1e-9 and found.value - 1e-9 <= high <= 1 + 1e-9
    wider = estimates.proportion(some, total, level=(1 + level) / 2).interval
    assert wider[0] <= low + 1e-9 and high <= wider[1] + 1e-9
    more = estimates.proportion(10 * some, 10 * total, level=level).interval
    assert more[1] - more[0] < high - low
    missed = estimates.proportion(total - some, total, level=level).interval
    assert missed == pytest.approx((1 - high, 1 - low), abs=1e-6)


@given(SAMPLES, st.floats(-100, 100), st.floats(-1e3, 1e3))
def test_the_interval_of_a_mean_follows_its_unit(
    values: list[float], factor: float, offset
) -> None:
    found = estimates.mean_interval(values)
    low, high = found.interval
    assert low <= found.value <= high and found.covers(found.value) and found.overlaps(found)
    moved = estimates.mean_interval([factor * each + offset for each in values])
    ends = sorted((factor * low + offset, factor * high + offset))
    assert moved.interval == pytest.approx(ends, rel=1e-6, abs=1e-4)
    assert estimates.mean_interval(values[::-1]).value == pytest.approx(found.value, abs=1e-6)


@given(SAMPLES, SAMPLES)
def test_differences_and_averages_keep_their_intervals_around_them(first, second) -> None:
    one, two = estimates.mean_interval(first), estimates.mean_interval(second)
    there, back = estimates.difference(one, two), estimates.difference(two, one)
    assert there.value == -back.value
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    both = estimates.average([one, two], "both")
    slack = 1e-6 * (1 + abs(both.value))
    assert both.interval[0] <= both.value + slack and both.value <= both.interval[1] + slack
    alone = estimates.average([one], "alone")
    assert alone.interval == pytest.approx(one.interval)


@given(
    st.lists(st.sampled_from((*NO_NUMBERS, 0.5, 1.0)), max_size=4),
    st.sampled_from((*NO_NUMBERS, 0.0, 1.0, -0.1, 95.0)),
)
def test_what_has_no_mean_or_level_is_refused(values: list[float], level: float) -> None:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        assert isinstance(refused(estimates.mean_interval, values), SettingError)
        assert isinstance(refused(estimates.spearman, values, values, seed=0), SettingError)
    assert isinstance(refused(estimates.mean_interval, [1.0, 2.0], level=level), SettingError)
    assert isinstance(refused(estimates.proportion, 1, 2, level=level), SettingError)


@given(st.lists(st.integers(-20, 20), min_size=4, max_size=9, unique=True), SEEDS)
def test_a_rank_correlation_sees_order_alone(values: list[int], seed: int) -> None:
    order = torch.randperm(len(values), generator=generator(seed)).tolist()
    found = estimates.spearman(values, order, seed=0)
    assert -1 - 1e-9 <= found.value <= 1 + 1e-9
    cubes = [each**3 for each in values]
    assert estimates.spearman(cubes, order, seed=0).value == pytest.approx(found.value)
    assert estimates.spearman(values, cubes, seed=0).value == pytest.approx(1)
    assert estimates.spearman([-each for each in values], order, seed=0).value == pytest.approx(
        -found.value
    )
