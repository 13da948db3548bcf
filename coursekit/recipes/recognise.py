"""Train the recognisers that the course measures with. Each writes one file and returns it.

python -m coursekit.recipes.recognise digits
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from coursekit.core import recognise
from coursekit.core.recogniser import Recogniser

DIGIT_STEPS = 4000


def train_digits(
    name: str = "digits", *, steps: int = DIGIT_STEPS, batch: int = 100, seed: int = 0
) -> Recogniser:
    """Which of the ten digits: trained on the 4,000 of the course, measured on the other 1,000.

    Args:
        name: of the course's file, or a path ending in ``.safetensors``.
        steps, batch, seed: as for `recognise.fit`.
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


RECIPES: dict[str, Callable[[], Recogniser]] = {"digits": train_digits}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one recogniser and print what it reaches on held-out pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    recogniser = RECIPES[parser.parse_args(arguments).name]()
    for target, figures in recogniser.report.items():
        print(f"{target}: " + "; ".join(str(figure) for figure in figures.values()))


if __name__ == "__main__":
    main()
