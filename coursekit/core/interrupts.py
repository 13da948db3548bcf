"""Ctrl-C and a notebook's stop button: a request to end well, heard between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class _Ask:
    """The handler while a button is out: sets the event, and puts back what was there before."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.before = signal.signal(signal.SIGINT, self)

    def __call__(self, number: int, frame: object) -> None:
        self.stop.set()
        self.put_back()

    def put_back(self) -> None:
        signal.signal(signal.SIGINT, self.before)


@contextlib.contextmanager
def stop_button() -> Iterator[threading.Event]:
    """Ctrl-C asks to stop after the current step; a second one stops at once.

    The event is set by the first. Inside another button it is the same one. Outside the main
    thread, where Python hears no signals, it is never set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield threading.Event()
        return
    present = signal.getsignal(signal.SIGINT)
    if isinstance(present, _Ask):
        yield present.stop
        return
    ask = _Ask()
    try:
        yield ask.stop
    finally:
        ask.put_back()
