"""The guard's second clock, a thread's, leaves the interpreter as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRACED = """
import sys
from coursekit.exercises import guard

guard._clock = lambda: guard._ThreadClock
late = sys.argv[1] == "late"

def call():
    while late:
        pass
    return 1

outcomes = set()
for _ in range(3):
    try:
        outcomes.add(guard.Guard(0.05).run(call))
    except guard.OutOfTime:
        outcomes.add("out of time")

def plain(number):
    return number + 1

sys.settrace(lambda *event: None)
print(sum(plain(number) for number in range(100)), *outcomes)
"""


@pytest.mark.parametrize(("when", "outcome"), [("in time", "1"), ("late", "out of time")])
def test_a_debugger_works_afterwards(when: str, outcome: str) -> None:
    """CPython 3.11 stood still at the first traced call, once an error had been taken back."""
    script = [sys.executable, "-c", TRACED, when]
    done = subprocess.run(script, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == f"5050 {outcome}"
