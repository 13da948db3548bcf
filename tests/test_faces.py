"""Rendered faces: the same every time, every factor in range, and the mask tells the truth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from coursekit.core.errors import SettingError
from coursekit.datasets import faces as portraits
from coursekit.datasets import faces_look, sdf
from coursekit.datasets.faces import (
    FACTORS,
    LANDMARKS,
    MASK_CLASSES,
    Rendered,
    change,
    render,
    same_person,
    sample_factors,
)

VERSION_1 = [
    0.5715,
    0.5519,
    0.5727,
    0.5755,
    0.4976,
    0.4886,
    0.4997,
    0.5094,
    0.4722,
    0.451,
    0.4696,
    0.4722,
]
BARE = dict(glasses="none", beard="no", moustache="no", hair="crop", mouth_open=0.0, eye_open=1.0)


def area(mask: Tensor, *names: str) -> Tensor:
    """How many pixels of each picture have one of these labels, (N,)."""
    classes = torch.tensor([MASK_CLASSES.index(name) for name in names])
    return torch.isin(mask.long(), classes).sum(dim=(1, 2))


def place(faces: Rendered, name: str) -> Tensor:
    """Where a landmark is in each picture, (N, 2)."""
    return faces.landmarks[:, LANDMARKS.index(name)]


def label_at(faces: Rendered, points: Tensor) -> list[str]:
    rows, columns = points[:, 1].long(), points[:, 0].long()
    return [MASK_CLASSES[m[r, c]] for m, r, c in zip(faces.mask, rows, columns, strict=True)]


def changed(before: Rendered, after: Rendered) -> Tensor:
    """Which pixels are not the same to a bit, (N, H, W)."""
    return (before.image != after.image).any(dim=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    return tmp_path


# --- the same every time ---------------------------------------------------------------------


def test_pictures_do_not_depend_on_the_run_or_the_chunk() -> None:
    factors = sample_factors(9, seed=4)
    first = render(factors)
    for chunk in (1, 4, 64):
        again = render(factors, chunk=chunk)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.image.shape == (9, 3, 64, 64) and first.image.dtype == torch.float32
    assert first.mask.shape == (9, 64, 64) and first.mask.dtype == torch.uint8
    assert first.landmarks.shape == (9, len(LANDMARKS), 2)
    assert first.image.min() >= 0 and first.image.max() <= 1


def test_a_face_does_not_depend_on_its_neighbours() -> None:
    factors = sample_factors(9)
    alone = render({name: values[7:8] for name, values in factors.items()})
    together = render(factors)
    assert all(torch.equal(a[0], b[7]) for a, b in zip(alone, together, strict=True))


def test_fewer_faces_are_the_first_of_more() -> None:
    few, more = portraits.faces(5, 32, seed=3), portraits.faces(9, 32, seed=3)
    assert set(few.fields) == {"image", "mask", "landmarks", *FACTORS}
    for name, field in few.fields.items():
        assert torch.equal(field, more.fields[name][:5]), name
    assert few.digest() != portraits.faces(5, 32, seed=4).digest()
    print(few.describe())


def test_the_cache_is_read_and_keyed_by_version(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = portraits.faces(4, 16).digest()
    drawn = []
    monkeypatch.setattr(portraits, "render", lambda *a: drawn.append(1) or render(*a))
    assert portraits.faces(4, 16).digest() == first and not drawn
    monkeypatch.setattr(portraits, "VERSION", portraits.VERSION + 1)
    assert portraits.faces(4, 16).digest() == first and drawn
    assert len(list(own_cache.glob("datasets/faces-*.safetensors"))) == 2


def test_these_are_the_faces_of_version_1() -> None:
    """A checkpoint was trained on them: whoever changes a picture must raise VERSION."""
    assert portraits.VERSION == 1
    faces = render(sample_factors(16))
    blocks = torch.nn.functional.avg_pool2d(faces.image, 32).mean(0).flatten()
    print([round(value, 4) for value in blocks.tolist()])
    assert torch.allclose(blocks, torch.tensor(VERSION_1), atol=5e-4)


# --- factors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_fills_its_range(name: str) -> None:
    factor, drawn = FACTORS[name], sample_factors(3000, seed=1)[name]
    low, high = factor.range
    assert drawn.dtype == (torch.int64 if factor.values else torch.float32)
    assert low - 1e-6 <= drawn.min() and drawn.max() <= high + 1e-6
    assert factor.kind in ("continuous", "binary", "categorical") and factor.meaning
    if factor.values:
        share = drawn.bincount(minlength=len(factor.values)) / len(drawn)
        wanted = torch.tensor(factor.weights or [1.0] * len(factor.values))
        print(dict(zip(factor.values, share.tolist(), strict=True)))
        assert torch.allclose(share, wanted / wanted.sum(), atol=0.04)
    else:
        assert drawn.min() < low + 0.01 * (high - low) and drawn.max() > high - 0.01 * (high - low)
        assert abs((drawn == low).float().mean() - factor.zeros) < 0.04


def test_factors_are_independent_of_one_another() -> None:
    drawn = torch.stack([v.float() for v in sample_factors(4000).values()])
    correlation = torch.corrcoef(drawn).fill_diagonal_(0).abs()
    print(f"largest of {len(FACTORS)}² correlations in 4,000 faces: {correlation.max():.3f}")
    assert correlation.max() < 0.07


def test_fixing_a_factor_leaves_the_others() -> None:
    free = sample_factors(50, seed=2)
    fixed = sample_factors(50, seed=2, hair="bob", yaw=torch.linspace(-0.55, 0.55, 50), beard=1)
    for name in FACTORS:
        assert torch.equal(free[name], fixed[name]) == (name not in ("hair", "yaw", "beard"))
    assert (fixed["hair"] == FACTORS["hair"].values.index("bob")).all()


def test_same_person_moves_and_stays_the_same_person() -> None:
    factors = sample_factors(6)
    poses = same_person(factors, 2, 10, seed=5, glasses="clear")
    for name, factor in FACTORS.items():
        if factor.group in ("pose", "expression"):
            assert poses[name].unique().numel() > 1, name
        elif name != "glasses":
            assert (poses[name] == factors[name][2]).all(), name
    assert (poses["glasses"] == 1).all()
    assert torch.equal(same_person(factors, -4, 10, seed=5)["yaw"], poses["yaw"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sample_factors(0), "at least 1"),
        (lambda: sample_factors(3, hat=1), "no factor 'hat'"),
        (lambda: sample_factors(3, yaw=0.7), "yaw must be in"),
        (lambda: sample_factors(3, yaw=float("nan")), "yaw must be in"),
        (lambda: sample_factors(3, yaw=[0.1, 0.2]), "shape"),
        (lambda: sample_factors(3, yaw="left"), "numbers, not names"),
        (lambda: sample_factors(3, hair="mohawk"), "Choose one of crop"),
        (lambda: sample_factors(3, hair=8), "whole number in"),
        (lambda: sample_factors(3, beard=0.5), "whole number in"),
        (lambda: change(sample_factors(3), glasses=-1), "glasses must be"),
        (lambda: same_person(sample_factors(3), 3, 2), "no face 3"),
        (lambda: render({"yaw": torch.zeros(2)}), "Missing factors"),
        (lambda: render(sample_factors(2) | {"yaw": torch.ones(2)}), "yaw must be in"),
        (lambda: render(sample_factors(2) | {"hat": torch.ones(2)}), "no factor 'hat'"),
        (lambda: render(sample_factors(2), 8), "size=8"),
        (lambda: render(sample_factors(2), chunk=0), "chunk=0"),
        (lambda: portraits.faces(2, 8), "size=8"),
    ],
)
def test_a_wrong_setting_is_named(call: object, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        call()


# --- one factor, one change ------------------------------------------------------------------


def test_glasses_change_nothing_far_from_the_eyes() -> None:
    factors = sample_factors(10, seed=7, glasses="none")
    without = render(factors)
    for kind in ("clear", "sunglasses"):
        worn = render(change(factors, glasses=kind))
        rows = changed(without, worn).any(dim=2).nonzero()
        eyes = (place(worn, "left eye") + place(worn, "right eye"))[rows[:, 0], 1] / 2
        distance = (rows[:, 1] - eyes).abs()
        share = changed(without, worn).float().mean()
        print(f"{kind}: {share:.1%} of the pixels, at most {distance.max():.1f} rows from the eyes")
        assert distance.max() < 10 and 0.02 < share < 0.12
        assert (area(worn.mask, "glasses") > 15).all()
        assert torch.equal(without.landmarks, worn.landmarks)
    assert (area(without.mask, "glasses") == 0).all()
    dark = render(change(factors, glasses="sunglasses"))
    assert (area(dark.mask, "eye", "iris") < area(without.mask, "eye", "iris")).all()


@pytest.mark.parametrize(("factor", "top"), [("beard", "left eye"), ("moustache", "nose")])
def test_facial_hair_is_below(factor: str, top: str) -> None:
    factors = sample_factors(10, seed=8, beard="no", moustache="no")
    shaven, grown = render(factors), render(change(factors, **{factor: "yes"}))
    assert (area(shaven.mask, "beard") == 0).all()
    assert (area(grown.mask, "beard") > 8).all()
    rows = changed(shaven, grown).any(dim=2).nonzero()
    assert (rows[:, 1] > place(grown, top)[rows[:, 0], 1] - 4).all()


@pytest.mark.parametrize(
    ("factor", "low", "high", "labels"),
    [
        ("mouth_open", 0.0, 1.0, ("mouth",)),
        ("lips", 0.024, 0.042, ("lip",)),
        ("eye_open", 0.0, 1.0, ("eye", "iris")),
        ("brow_width", 0.020, 0.034, ("brow",)),
        ("nose_width", 0.060, 0.095, ("nose",)),
        ("hair_volume", 0.0, 1.0, ("hair", "back hair")),
        ("face_width", 0.50, 0.57, ("skin",)),
    ],
)
def test_more_of_a_factor_is_more_in_the_mask(
    factor: str, low: float, high: float, labels: tuple[str, ...]
) -> None:
    factors = sample_factors(6, seed=9, **BARE)
    less = area(render(change(factors, **{factor: low})).mask, *labels).float()
    more = area(render(change(factors, **{factor: high})).mask, *labels).float()
    print(f"{factor}: {less.mean():.0f} → {more.mean():.0f} pixels of {' and '.join(labels)}")
    assert more.mean() > 1.1 * less.mean() and (more >= less).all()


def test_closed_eyes_show_no_iris_and_a_closed_mouth_no_teeth() -> None:
    faces = render(sample_factors(12, **BARE | dict(eye_open=0.0)))
    assert (area(faces.mask, "iris", "mouth") == 0).all()
    assert (area(faces.mask, "eye") > 0).all()


@pytest.mark.parametrize("factor", ["background", "shirt", "background_light"])
def test_the_scene_leaves_the_face(factor: str) -> None:
    factors = sample_factors(5, seed=3)
    other = {factor: (factors[factor] + 0.4) % 1.0}
    before, after = render(factors), render(change(factors, **other))
    assert torch.equal(before.mask, after.mask)
    inner = torch.isin(before.mask, torch.tensor([6, 7, 8]).to(torch.uint8))
    assert inner.any() and not (changed(before, after) & inner).any()
    assert changed(before, after).any()


def test_light_falls_from_its_side() -> None:
    factors = sample_factors(6, yaw=0.0, roll=0.0, **BARE)
    left, right = (render(change(factors, light=side)).image for side in (-1.0, 1.0))
    brighter = (right - left).mean(dim=1)[:, 24:44]
    assert brighter[:, :, 38:44].mean() > 0.02 and brighter[:, :, 20:26].mean() < -0.02


# --- the mask and the picture say the same ---------------------------------------------------


def test_skin_and_hair_have_their_colours() -> None:
    for factor, label, palette in (
        ("skin", "skin", faces_look.SKIN),
        ("hair_colour", "hair", faces_look.HAIR),
    ):
        for index, colour in enumerate(palette.values()):
            faces = render(sample_factors(2, **BARE | {factor: index}))
            inside = faces.mask == MASK_CLASSES.index(label)
            mean = faces.image.permute(0, 2, 3, 1)[inside].mean(0)
            error = (mean - torch.tensor(colour)).abs().max()
            assert error < 0.17, (factor, index, error)


@pytest.mark.parametrize("hair", FACTORS["hair"].values)
def test_nobody_is_bald(hair: str) -> None:
    factors = sample_factors(6, hair=hair, yaw=torch.linspace(-0.55, 0.55, 6))
    faces = render(factors)
    share = area(faces.mask, "hair").float() / 64**2
    middle = (place(faces, "left brow") + place(faces, "right brow")) / 2
    above = [m[: int(y), int(x)] for m, (x, y) in zip(faces.mask, middle, strict=True)]
    print(f"{hair}: {share.min():.0%} to {share.max():.0%} of the picture is hair")
    assert share.min() > 0.06
    assert all((line == MASK_CLASSES.index("hair")).any() for line in above)


def test_ears_show_only_under_short_hair() -> None:
    for hair, style in faces_look.STYLES.items():
        shown = area(render(sample_factors(3, hair=hair)).mask, "ear")
        assert ((shown > 3) if style.ears else (shown == 0)).all(), hair


def test_both_eyes_stay_in_sight() -> None:
    factors = sample_factors(16, yaw=torch.tensor([-0.55, 0.55]).repeat(8), **BARE)
    faces = render(factors)
    assert set(label_at(faces, place(faces, "left eye"))) <= {"eye", "iris"}
    assert set(label_at(faces, place(faces, "right eye"))) <= {"eye", "iris"}


# --- landmarks -------------------------------------------------------------------------------


def test_landmarks_lie_where_the_mask_says() -> None:
    faces = render(sample_factors(24, seed=6, **BARE | dict(mouth_open=0.3)))
    assert (faces.landmarks > 0).all() and (faces.landmarks < 64).all()
    assert set(label_at(faces, place(faces, "nose"))) == {"nose"}
    for side in ("left", "right"):
        assert set(label_at(faces, place(faces, f"{side} eye"))) <= {"eye", "iris"}
        assert set(label_at(faces, place(faces, f"{side} brow"))) <= {"brow"}
    chin = place(faces, "chin")
    face = {"skin", "neck"}
    assert set(label_at(faces, chin - torch.tensor([0.0, 2.0]))) == {"skin"}
    assert set(label_at(faces, chin + torch.tensor([0.0, 2.0]))) <= face | {"cloth"}
    middle = (place(faces, "left mouth") + place(faces, "right mouth")) / 2
    assert set(label_at(faces, middle)) <= {"lip", "mouth", "skin"}


def test_landmarks_scale_with_the_picture() -> None:
    factors = sample_factors(4)
    small, large = render(factors, 32), render(factors, 128)
    assert torch.allclose(small.landmarks * 4, large.landmarks, atol=1e-3)


def test_landmarks_turn_with_the_head() -> None:
    yaw = torch.linspace(-0.55, 0.55, 9)
    faces = render(same_person(sample_factors(1), 0, 9, yaw=yaw, roll=0.0, smile=0.5))
    eyes = (place(faces, "left eye") + place(faces, "right eye"))[:, 0] / 2
    nose = place(faces, "nose")[:, 0] - eyes
    mouth = (place(faces, "left mouth") + place(faces, "right mouth"))[:, 0]
    print(f"tip of the nose against the eyes: {nose[0]:.1f} … {nose[-1]:.1f} pixels")
    assert (nose.diff() > 0).all() and nose[0] < -1 and nose[-1] > 1 and abs(nose[4]) < 1e-3
    assert (mouth.diff() > 0).all()


def test_a_positive_roll_is_clockwise() -> None:
    faces = render(sample_factors(3, roll=[-0.12, 0.0, 0.12], yaw=0.0))
    lower = (place(faces, "right eye") - place(faces, "left eye"))[:, 1]
    assert lower[0] < -1 and abs(lower[1]) < 1e-4 and lower[2] > 1


def test_a_smile_lifts_the_corners_and_the_brow_factor_the_brows() -> None:
    factors = sample_factors(8, roll=0.0)
    sad, glad = (render(change(factors, smile=s, brow=s)) for s in (-1.0, 1.0))
    for name in ("left mouth", "right mouth", "left brow", "right brow"):
        assert (place(glad, name)[:, 1] < place(sad, name)[:, 1] - 1).all(), name
    assert torch.equal(place(glad, "nose"), place(sad, "nose"))


# --- the drawing kit -------------------------------------------------------------------------


def test_shapes_are_negative_inside() -> None:
    canvas = sdf.Canvas(1, 32, reach=2.0)
    x, y = canvas.x, canvas.y
    circle = sdf.ellipse(x, y, 1.0, 1.0)
    assert torch.allclose(circle, torch.sqrt(x * x + y * y) - 1, atol=1e-3)
    assert torch.equal(sdf.box(x, y, 0.5, 1.0) < 0, (x.abs() < 0.5) & (y.abs() < 1.0))
    pair = sdf.join(circle - 0.1, sdf.ellipse(x - 1.5, y, 1.0, 1.0), 0.3)
    assert (pair <= circle - 0.1 + 1e-6).all() and (pair < circle - 0.1).any()


def test_paint_covers_by_area_and_marks_the_middle() -> None:
    canvas = sdf.Canvas(2, 32)
    shape = sdf.ellipse(canvas.x, canvas.y, torch.tensor([0.5, 0.8])[:, None, None], 0.5)
    canvas.paint(shape, torch.ones(3, 1, 1), 3, opacity=torch.tensor([1.0, 0.4])[:, None, None])
    image = canvas.finish()
    areas = image[:, 0].mean(dim=(1, 2)) * 4 / torch.pi  # of a picture of side 2
    assert torch.allclose(areas, torch.tensor([0.25, 0.16]), atol=0.004)
    assert (canvas.label[0] == 3).float().mean() == pytest.approx(torch.pi / 16, abs=0.01)
    assert (canvas.label[1] == 0).all()


def test_a_window_lies_on_whole_pixels_and_inside() -> None:
    canvas = sdf.Canvas(1, 33, reach=0.9)
    rows, columns = canvas.window(-0.31, 2.0, -5.0, 0.111)
    assert rows.start == 0 and columns.stop == 66 and rows.stop % 2 == columns.start % 2 == 0
    part = sdf.crop(canvas.x, (rows, columns))
    edge = part.min() - canvas.pixel / 2
    assert -0.31 - 2 * canvas.pixel < edge <= -0.31
    whole, cut = sdf.Canvas(1, 33, 0.9), sdf.Canvas(1, 33, 0.9)
    shape = sdf.ellipse(canvas.x - 0.3, canvas.y + 0.3, 0.2, 0.2)[None]
    whole.paint(shape, torch.ones(3, 1, 1), 1)
    cut.paint(sdf.crop(shape, (rows, columns)), torch.ones(3, 1, 1), 1, at=(rows, columns))
    assert torch.equal(whole.image, cut.image) and torch.equal(whole.label, cut.label)


def test_steps_and_bumps() -> None:
    ramp = sdf.step(torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0]), 0.0, 2.0)
    assert ramp.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    bell = sdf.bump(torch.tensor([-2.0, 0.0, 2.0]), 2.0)
    assert bell.tolist() == [0.25, 1.0, 0.25]
