"""Where the exercises are: one module a topic, found by name when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from coursekit.core.errors import SettingError
from coursekit.topics import TOPICS

if TYPE_CHECKING:
    from coursekit.exercises.declarations import Exercise

DEMONSTRATION = "start"  # shown in notebook 00; it belongs to no topic and is noted nowhere


def find(id: str) -> Exercise:
    """The exercise called ``id``, such as ``"texture.gram_matrix"``.

    Raises:
        SettingError: there is none; the message lists those of the topic, or the topics.
    """
    topic = str(id).split(".")[0]
    if topic not in (*TOPICS, DEMONSTRATION):
        raise SettingError(f"There is no exercise {id!r}. Topics: {', '.join(TOPICS)}.")
    known = {exercise.id: exercise for exercise in of_topic(topic)}
    if id not in known:
        raise SettingError(f"There is no exercise {id!r}. In this topic: {', '.join(known)}.")
    return known[id]


def of_topic(topic: str) -> tuple[Exercise, ...]:
    """All exercises of a topic, in the order of the notebook."""
    return importlib.import_module(f"coursekit.exercises.{topic}").EXERCISES
