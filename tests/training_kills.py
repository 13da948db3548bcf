"""Kill a small DCGAN's training at random moments, again and again; compare how it ends.

``python tests/training_kills.py FOLDER``: a process of its own, so that it can be forked safely.
The children are killed with SIGKILL a random time after a random step: inside a step or while a
checkpoint is written, since every second step writes one.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from coursekit import dcgan
from coursekit.core import runtime, training
from coursekit.datasets.base import Dataset, Info

KILLS, STEPS, EVERY = 20, 330, 2
LONGEST = 12  # steps that a child may do before its kill; 20 of them stay below STEPS
INFO = Info("noise", "random images", "none", True, "the test")


def train(folder: Path, report: Callable[[int], None] = lambda number: None) -> dict[str, object]:
    """The whole training from scratch, or from where the folder stands; its final state."""
    torch.manual_seed(0)
    image = torch.randint(0, 256, (40, 3, 8, 8), generator=runtime.generator(1))
    data = Dataset(INFO, {"image": image.to(torch.uint8)})
    networks = dcgan.Generator(8, 4, 8), dcgan.Discriminator(4, 8)
    game = dcgan.Game(*networks, real_label=0.9, r1=1.0, r1_every=4)
    play = game.step

    def step(number: int, real: torch.Tensor) -> dict[str, torch.Tensor]:
        report(number)
        return play(number, real)

    game.step = step
    options = {"steps": STEPS, "folder": folder, "checkpoint_every": EVERY, "previews": 8}
    batches = training.Batches(data, 6)
    options |= {"log_every": 7, "progress": False, "rate": lambda number: 1 - number / (2 * STEPS)}
    result = dcgan.train(game, batches, **options)
    state = game.state() | {"batches": batches}
    learnt = {name: part.state_dict() for name, part in state.items()}
    terms = [{k: v for k, v in entry.items() if k != "seconds"} for entry in result.history]
    return {"learnt": learnt, "terms": terms, "frames": result.timeline.frames}


def one_life(folder: Path, chance: random.Random) -> tuple[int, int]:
    """Start or resume the training in a child and kill it; its first and its last step."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            train(folder, lambda number: os.write(writing, number.to_bytes(4, "little")))
        finally:
            os._exit(1)  # it should have been killed
    os.close(writing)
    steps = [int.from_bytes(os.read(reading, 4), "little")]
    for _ in range(chance.randrange(LONGEST)):
        steps.append(int.from_bytes(os.read(reading, 4), "little"))
    time.sleep(chance.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit("The child ended before it was killed.")
    while number := os.read(reading, 4):
        steps.append(int.from_bytes(number, "little"))
    os.close(reading)
    return steps[0], steps[-1]


def flat(content: object) -> list[object]:
    """Tensors as bytes, and everything else as it is."""
    if isinstance(content, torch.Tensor):
        return [content.dtype, content.numpy().tobytes()]
    if isinstance(content, dict):
        return [part for key, value in content.items() for part in [key, *flat(value)]]
    if isinstance(content, (list, tuple)):
        return [part for value in content for part in flat(value)]
    return [content]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    chance, before, unfinished = random.Random(0), 0, 0
    for _ in range(KILLS):
        first, last = one_life(folder / "killed", chance)
        unfinished += (folder / "killed" / "checkpoint.pt.part").exists()
        # It went on from a checkpoint, from the last one: at most a step of it was lost.
        if (first - 1) % EVERY or not before - EVERY < first <= before + 1:
            sys.exit(f"Killed in step {before}, the next process went on with step {first}.")
        before = last
    ended, undisturbed = train(folder / "killed"), train(folder / "undisturbed")
    for name, expected in undisturbed.items():
        if flat(ended[name]) != flat(expected):
            sys.exit(f"{name} differs from the undisturbed run.")
    print(f"{KILLS} kills up to step {before}, {unfinished} of them while a checkpoint was written")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
