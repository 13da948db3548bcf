"""The recognisers that the course measures with: ``coursekit train recognise --recipe digits``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coursekit.core import recognise
from coursekit.core.recogniser import Recogniser

DIGIT_STEPS, FACE_STEPS = 4000, 2500
FACE_SPEC: dict[str, int | str] = {
    "glasses": "binary",
    "beard": "binary",
    "moustache": "binary",
    "hair": 8,
    "hair_colour": 7,
    "skin": 6,
    "yaw": "regression",
    "smile": "regression",
}


def train_digits(
    name: str = "digits",
    *,
    steps: int = DIGIT_STEPS,
    batch: int = 100,
    seed: int = 0,
    folder: Path | None = None,
) -> Recogniser:
    """Which of the ten digits: trained on the 4,000 of the course, measured on the other 1,000.

    Args:
        name: of the course's file, or a path ending in ``.safetensors``.
        steps, batch, seed, folder: as for `recognise.fit`.
    """
    from coursekit.datasets.digits import digits

    train, test = digits("train"), digits("test")
    recogniser = recognise.fit(
        train.fields["image"],
        {"label": train.fields["label"]},
        {"label": 10},
        steps=steps,
        batch=batch,
        seed=seed,
        folder=folder,
        # The scale also covers the data set's 32- and 64-pixel digits, which have a border.
        augment=recognise.Augmentation(shift=2, rotation=12, scale=0.2, shear=0.2),
        held_out=(test.fields["image"], {"label": test.fields["label"]}),
        report=_progress(steps),
    )
    recognise.save(recogniser, name, data=train.describe(), steps=steps, seed=seed)
    return recogniser


def _progress(steps: int, every: int = 500) -> Callable[[int, float], None]:
    def show(step: int, loss: float) -> None:
        if (step + 1) % every == 0:
            print(f"step {step + 1:,} of {steps:,}: loss {loss:.3f}", flush=True)

    return show


def train_faces(
    name: str = "faces",
    *,
    steps: int = FACE_STEPS,
    batch: int = 64,
    seed: int = 0,
    folder: Path | None = None,
) -> Recogniser:
    """Eight factors of rendered faces: trained on 18,000 of 20,000, measured on the other 2,000.

    The pictures are moved a little and dithered, so that the small faults of generated pictures,
    which it is there to read, are nothing new.

    Args:
        name: of the course's file, or a path ending in ``.safetensors``.
        steps, batch, seed, folder: as for `recognise.fit`.
    """
    from coursekit.datasets.faces import faces

    data, held_out = faces(20_000, 64, seed=0), 2_000
    targets = {factor: data.fields[factor] for factor in FACE_SPEC}
    targets["glasses"] = (targets["glasses"] > 0).long()
    parts = (slice(0, len(data) - held_out), slice(len(data) - held_out, None))
    train, test = (
        (data.fields["image"][part], {k: v[part] for k, v in targets.items()}) for part in parts
    )
    recogniser = recognise.fit(
        *train,
        FACE_SPEC,
        steps=steps,
        batch=batch,
        seed=seed,
        folder=folder,
        size=64,
        features=128,
        augment=recognise.Augmentation(shift=2, rotation=3, scale=0.05, shear=0.03, noise=0.05),
        held_out=test,
        report=_progress(steps),
    )
    recognise.save(recogniser, name, data=data.describe(), steps=steps, seed=seed)
    return recogniser


def digits(folder: Path, *, steps: int = DIGIT_STEPS, seed: int = 0) -> list[Path]:
    """Train the digit recogniser; its file lies in ``folder``, with ``checkpoint.pt`` to go on."""
    return _as_recipe(train_digits, folder / "digits.safetensors", steps, seed)


def faces(folder: Path, *, steps: int = FACE_STEPS, seed: int = 0) -> list[Path]:
    """Train the face recogniser; its file lies in ``folder``, with ``checkpoint.pt`` to go on."""
    return _as_recipe(train_faces, folder / "faces.safetensors", steps, seed)


def _as_recipe(train: Callable[..., Recogniser], path: Path, steps: int, seed: int) -> list[Path]:
    trained = train(str(path), steps=steps, seed=seed, folder=path.parent)
    for target, figures in trained.report.items():
        print(f"{target}: " + "; ".join(str(figure) for figure in figures.values()))
    return [path]
