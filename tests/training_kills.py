"""Kill and interrupt every trainer at random moments, again and again; compare how it ends.

``python tests/training_kills.py FOLDER LIVES STEPS [NAMES]``: a process of its own, so that it can
be forked safely. A life is a child that goes on where the folder stands. It ends by SIGKILL or by
SIGINT a random time after a random step: inside a step, or while a checkpoint is written, since
every second step writes one. No life reaches the end: its last step but one waits for the signal.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from hard_trainers import EVERY, TRAINERS, Ended, play

INTERRUPTED, TOLD_NOTHING = 3, 4


def child(name: str, folder: Path, steps: int, writing: int) -> None:
    """Train until the signal comes, and say by the exit code how SIGINT was taken."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def hear(number: int) -> None:
        os.write(writing, number.to_bytes(4, "little"))
        while number == steps - 1 and signal.getsignal(signal.SIGINT) != signal.default_int_handler:
            time.sleep(0.001)

    try:
        ended = play(name, folder, steps, hear)
        os._exit(INTERRUPTED if ended.interrupted else TOLD_NOTHING)
    except BaseException:
        os._exit(TOLD_NOTHING)


def one_life(
    name: str, folder: Path, steps: int, longest: int, chance: random.Random, how: signal.Signals
) -> tuple[int, int]:
    """Start or resume the training in a child and end it; its first and its last step."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        child(name, folder, steps, writing)
    os.close(writing)
    seen = [int.from_bytes(os.read(reading, 4), "little")]
    most = max(steps - 1 - seen[0], 0)
    for _ in range(chance.randint(0, min(most, longest))):
        seen.append(int.from_bytes(os.read(reading, 4), "little"))
    time.sleep(chance.random() * min(0.02, 0.0006 * steps))
    os.kill(process, how)
    _, status = os.waitpid(process, 0)
    while number := os.read(reading, 4):
        seen.append(int.from_bytes(number, "little"))
    os.close(reading)
    killed = os.WIFSIGNALED(status)
    if how == signal.SIGKILL and not killed:
        sys.exit(f"{name}: it ended before it was killed.")
    if how == signal.SIGINT and (killed or os.WEXITSTATUS(status) != INTERRUPTED):
        sys.exit(f"{name}: an interrupt in step {seen[-1]} was not told ({status}).")
    return seen[0], seen[-1]


def kept(name: str, folder: Path) -> int:
    """The step that the folder's checkpoint was written after; it must be whole."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    return int(torch.load(path, weights_only=True)["step"])


def lives(name: str, folder: Path, count: int, steps: int, chance: random.Random) -> str:
    """End a training ``count`` times before its end; what happened, in a line."""
    before, halves, lived = 0, 0, 0
    signals = [signal.SIGKILL, signal.SIGINT]
    longest = max(2, steps // (count + 7))  # so that they stay below the end, all together
    for number in range(count):
        how = signals[number % 2] if number < 2 else chance.choice(signals)
        if kept(name, folder) >= steps - 2:
            break
        first, last = one_life(name, folder, steps, longest, chance, how)
        lived += 1
        halves += sum(".part" in each.name for each in folder.glob(".*")) if folder.exists() else 0
        # It went on from a checkpoint, from the last one: at most a step of it was lost.
        if not before - EVERY < first <= before + 1:
            sys.exit(f"{name}: ended in step {before}, it went on with step {first}.")
        step = kept(name, folder)
        if how == signal.SIGINT and step != last:
            sys.exit(f"{name}: interrupted in step {last}, the checkpoint is of step {step}.")
        before = last
    return f"{name}: {lived} lives up to step {before}, half a checkpoint left {halves} times"


def silent(number: int) -> None:
    """Nobody listens."""


def compare(name: str, folder: Path, steps: int) -> None:
    """The end of what was ended so often, and of what was never disturbed."""
    ended: Ended = play(name, folder / "ended", steps, silent)
    undisturbed = play(name, folder / "undisturbed", steps, silent)
    if differences := ended.differs(undisturbed):
        sys.exit(f"{name}: {', '.join(differences)} differ from the undisturbed run.")
    left = {each.name for each in (folder / "undisturbed").iterdir()}
    if left != {"checkpoint.pt"}:
        sys.exit(f"{name}: the undisturbed run left {sorted(left)}.")


def main(folder: Path, count: int, steps: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    chance = random.Random(0)
    told = [lives(n, folder / n / "ended", count, steps, chance) for n in names]
    for name, line in zip(names, told, strict=True):
        compare(name, folder / name, steps)
        print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] or list(TRAINERS))
