"""Student's code, run so that the notebook outlives it.

A `Guard` watches over one check. While the student's function runs, it

- is stopped when the time of the check is over. On the main thread of Linux and macOS a timer's
  signal does that, elsewhere a second thread raises the error in the first. Both wait for a call
  into C (one huge product, ``time.sleep`` on Windows) to return. `OutOfTime` is no `Exception`, so
  that ``except Exception`` cannot swallow it, and it comes again every half second where a bare
  ``except`` does;
- gets a few GiB of memory at most (Linux: a limit on the process's data, which torch, numpy and
  Python answer with their own errors; elsewhere, or once CUDA is in use, there is no limit but the
  system's). A limit on the address space would be no good: torch reserves more than it uses;
- prints at most `LINES` lines;
- leaves random numbers, grad mode, the default dtype and the recursion limit as they were.

An interrupt by the user goes through, and waits for the moment that tidying up takes.

It does not stop code that means harm: grading runs students' code and belongs in a sandbox.
"""

from __future__ import annotations

import ctypes
import io
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

import numpy as np
import torch

from coursekit.exercises.declarations import PACKAGE
from coursekit.exercises.messages import say

SECONDS = {"ci": 10.0}
DEFAULT_SECONDS = 20.0
AGAIN = 0.5
LINES, CHARACTERS = 40, 8000
MEMORY = 4 * 2**30


class OutOfTime(BaseException):
    """The time of the check is over."""


def seconds_allowed() -> float:
    """How long a student's code may run in one check: ``COURSEKIT_CHECK_SECONDS``, or 20 s.

    10 s on the preset ``ci``.
    """
    given = os.environ.get("COURSEKIT_CHECK_SECONDS", "")
    try:
        return max(float(given), 0.05)
    except ValueError:
        return SECONDS.get(os.environ.get("COURSEKIT_PRESET", ""), DEFAULT_SECONDS)


class Guard:
    """Runs the student's code in one check; the time of all calls counts together.

    Attributes:
        seconds: how long the calls may take together.
        drawn: which global random numbers the last call drew.
        seeded: whose global seed it set.
        memory: the limit of the last call in bytes, 0 without one.
    """

    def __init__(self, seconds: float | None = None, interrupts: Interrupts | None = None) -> None:
        self.seconds = seconds_allowed() if seconds is None else seconds
        self.interrupts = interrupts or Interrupts()
        self.drawn: set[str] = set()
        self.seeded: set[str] = set()
        self.memory = 0
        self._left = self.seconds
        self._printed = _Printed()

    def run(
        self,
        call: Callable[[], Any],
        *,
        show: bool = True,
        within: AbstractContextManager[Any] | None = None,
    ) -> Any:
        """Return ``call()``. ``show`` lets a few lines of its output through.

        Raises:
            OutOfTime: it took too long. Whatever else it raises comes through as it is.
        """
        seed_all(0)
        before, started = _Surroundings(), time.monotonic()
        clock, seeds = _clock()(max(self._left, 0.05)), _Seeds()
        around = within or nullcontext()
        around.__enter__()
        try:
            try:
                self.memory = _limit_memory()
                self._printed.divert(show)
                seeds.watch()
                clock.start()
                self.interrupts.open()
                return call()
            finally:
                # An interrupt or the clock may strike here, each once: the rest is done below.
                self.interrupts.close()
                clock.active = False
        finally:
            self.interrupts.close()
            _stop(clock)
            around.__exit__(None, None, None)
            _free_memory(self.memory)
            self._printed.restore()
            self.seeded = seeds.restore()
            self.drawn = before.drawn() - self.seeded
            before.restore()
            self._left -= time.monotonic() - started

    def say_what_was_cut(self) -> None:
        """Print one line if lines were left out."""
        if self._printed.cut:
            print("… " + say("printed", count=f"{self._printed.cut:,}"))
            self._printed.cut = 0


# --- Interrupts ----------------------------------------------------------------------------------


class Interrupts(AbstractContextManager["Interrupts"]):
    """Ctrl-C reaches the student's code at once, and waits while the check tidies up.

    Between `open` and `close` an interrupt goes where it always goes; elsewhere it is kept, and
    goes there at the next `open` or at the end.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._open = self._waiting = False

    def __enter__(self) -> Interrupts:
        before = signal.getsignal(signal.SIGINT)
        if callable(before) and threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGINT, self._hear)
        return self

    def _hear(self, number: int, frame: Any) -> None:
        self._waiting = True
        if self._open:
            self._pass_on(frame)

    def _pass_on(self, frame: Any = None) -> None:
        self._open = self._waiting = False
        self._before(signal.SIGINT, frame)

    def open(self) -> None:
        """From here on an interrupt is heard."""
        self._open = True
        if self._waiting:
            self._pass_on()

    def close(self) -> None:
        """From here on an interrupt waits."""
        self._open = False

    def __exit__(self, *error: object) -> None:
        self._open = False
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            if self._waiting:
                self._pass_on()


# --- Time ----------------------------------------------------------------------------------------


class _SignalClock:
    """The alarm of POSIX, which only the main thread hears."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.active = seconds, True
        self._before: tuple[Any, tuple[float, float], float] | None = None

    def start(self) -> None:
        handler = signal.getsignal(signal.SIGALRM)
        self._before = handler, signal.getitimer(signal.ITIMER_REAL), time.monotonic()
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN)

    def _ring(self, number: int, frame: Any) -> None:
        if self.active:
            raise OutOfTime

    def stop(self) -> None:
        self.active = False
        if self._before is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        handler, (delay, interval), started = self._before
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if delay:  # somebody else's alarm goes on
            left = max(delay - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


class _ThreadClock:
    """A second thread that raises the error in the first, at its next line of Python."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.active = seconds, True
        self._lock, self._done = threading.Lock(), threading.Event()
        self._rang = False
        self._thread: threading.Thread | None = None
        self._target = threading.get_ident()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        wait = self.seconds
        while not self._done.wait(wait):
            with self._lock:
                if self.active:
                    self._rang = True
                    _raise_in(self._target, OutOfTime)
            wait = AGAIN

    def stop(self) -> None:
        with self._lock:
            self.active = False
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        if self._rang:
            self._hear_the_last()

    def _hear_the_last(self) -> None:
        """Let what may not have been heard strike here, and not in the code that follows.

        Taking it back (with NULL) would leave CPython 3.11 with a flag that says "something is
        waiting" for ever: it is slower from then on, and stands still under a debugger.
        """
        try:
            _raise_in(self._target, OutOfTime)
            while True:
                time.sleep(0)
        except OutOfTime:
            self._rang = False


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _stop(clock: _SignalClock | _ThreadClock) -> None:
    while True:
        try:
            return clock.stop()
        except OutOfTime:  # it struck just before
            continue


def _clock() -> type[_SignalClock] | type[_ThreadClock]:
    main = threading.current_thread() is threading.main_thread()
    return _SignalClock if main and hasattr(signal, "setitimer") else _ThreadClock


# --- Memory --------------------------------------------------------------------------------------


def _limit_memory() -> int:
    """Lower the limit on the process's data; return by how much it may grow, 0 without a limit."""
    if not sys.platform.startswith("linux") or torch.cuda.is_initialized():
        return 0
    import resource

    try:
        room = min(MEMORY, int(0.7 * _kilobytes("/proc/meminfo", "MemAvailable") * 1024))
        wanted = _kilobytes("/proc/self/status", "VmData") * 1024 + room
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if resource.RLIM_INFINITY not in (soft, wanted) and soft <= wanted:
            return 0  # there is a lower one already
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    except (OSError, ValueError):
        return 0
    _BEFORE.append(soft)
    return room


_BEFORE: list[int] = []


def _free_memory(limited: int) -> None:
    if limited:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (_BEFORE.pop(), hard))


def _kilobytes(file: str, name: str) -> int:
    with open(file, encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    raise ValueError(name)


def is_memory_error(error: BaseException) -> bool:
    """Whether torch, numpy or Python says that there is not enough memory."""
    told = ("not enough memory", "can't allocate memory", "out of memory", "Storage size calculat")
    return isinstance(error, MemoryError) or any(text in str(error) for text in told)


# --- Output --------------------------------------------------------------------------------------


class _Printed:
    """Lets `LINES` lines through to where they would have gone, and counts the rest."""

    def __init__(self) -> None:
        self.cut = 0
        self._lines, self._characters = LINES, CHARACTERS
        self._real: tuple[TextIO, TextIO] | None = None

    def divert(self, show: bool) -> None:
        self._real = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (_Valve(self, each if show else None) for each in self._real)

    def restore(self) -> None:
        if self._real is not None:
            sys.stdout, sys.stderr = self._real
            self._real = None

    def pass_on(self, text: str, to: TextIO) -> None:
        lines = text.count("\n")
        if self._characters <= 0 or self._lines <= 0:
            self.cut += lines
            return
        kept = "".join(text.splitlines(keepends=True)[: self._lines])[: self._characters]
        self.cut += lines - kept.count("\n")
        self._lines -= kept.count("\n")
        self._characters -= len(kept)
        to.write(kept if self._characters > 0 else kept + "…\n")


class _Valve(io.TextIOBase):
    """What stands in for stdout or stderr."""

    def __init__(self, printed: _Printed, to: TextIO | None) -> None:
        self._printed, self._to = printed, to

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._to is not None:
            self._printed.pass_on(text, self._to)
        return len(text)


# --- Random numbers and settings -----------------------------------------------------------------


def seed_all(seed: int) -> None:
    """Everybody draws the same random numbers, so that an initialisation can be compared too."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


class _Surroundings:
    """What a notebook shares with the code that is checked."""

    def __init__(self) -> None:
        self._random = _random_states()
        self._grad, self._dtype = torch.is_grad_enabled(), torch.get_default_dtype()
        self._recursion = sys.getrecursionlimit()

    def drawn(self) -> set[str]:
        """Whose random numbers have been drawn since."""
        now = _random_states()
        return {name for name, state in self._random.items() if not _same(state, now[name])}

    def restore(self) -> None:
        torch.set_rng_state(self._random["torch"])
        np.random.set_state(self._random["numpy"])
        random.setstate(self._random["random"])
        torch.set_grad_enabled(self._grad)
        torch.set_default_dtype(self._dtype)
        sys.setrecursionlimit(self._recursion)


class kept(AbstractContextManager):
    """Random numbers and settings stay what they are."""

    def __enter__(self) -> None:
        self._before = _Surroundings()

    def __exit__(self, *error: object) -> None:
        self._before.restore()


def _random_states() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "random": random.getstate(),
    }


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first[1], np.ndarray):
        return np.array_equal(first[1], second[1]) and first[2:] == second[2:]
    return first == second


class _Seeds:
    """Notices when code outside of the course sets a global seed."""

    PLACES = (
        (torch, "manual_seed", "torch"),
        (torch, "seed", "torch"),
        (torch.random, "manual_seed", "torch"),
        (np.random, "seed", "numpy"),
        (random, "seed", "random"),
    )

    def __init__(self) -> None:
        self._set: set[str] = set()
        self._real: list[tuple[Any, str, Any]] = []

    def watch(self) -> None:
        for place, name, whose in self.PLACES:
            real = getattr(place, name)
            self._real.append((place, name, real))
            setattr(place, name, self._noticing(real, whose))

    def _noticing(self, real: Callable[..., Any], whose: str) -> Callable[..., Any]:
        def seed(*arguments: Any, **keywords: Any) -> Any:
            if not sys._getframe(1).f_code.co_filename.startswith(PACKAGE):
                self._set.add(whose)
            return real(*arguments, **keywords)

        return seed

    def restore(self) -> set[str]:
        for place, name, real in self._real:
            setattr(place, name, real)
        self._real = []
        return self._set
