"""Mutants that a person has called equivalent, by exercise: what was changed, and why it is right.

`score` finds most by itself: those that compute the same on other random inputs too. Here are the
others, such as a small number that only keeps a division from 0.
"""

from __future__ import annotations

EQUIVALENT: dict[str, dict[str, str]] = {}
