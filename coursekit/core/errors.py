"""The named errors of the course: each says what was wrong, what was expected and what to do."""

from __future__ import annotations

from typing import Any


class CourseError(Exception):
    """The base of every error that the course raises on purpose."""


class SettingError(CourseError, ValueError):
    """An argument, a preset or an environment variable has a value that cannot be used."""


class ImageError(CourseError, ValueError):
    """A picture cannot be read, or an array cannot be taken for a picture."""


class ShapeError(CourseError, ValueError):
    """A tensor has a shape or a type that the formula is not defined for."""


class LayerError(CourseError, ValueError):
    """A layer name that the network does not have."""


class WeightsError(CourseError, RuntimeError):
    """Pretrained weights are missing, damaged or cannot be fetched."""


class DataError(CourseError, RuntimeError):
    """A data set, a photograph or a painting is missing, damaged or cannot be fetched."""


class OptimisationError(CourseError, ArithmeticError):
    """An optimisation produced a value that is not finite.

    Attributes:
        result: the best result before that happened, or ``None`` if there is none.
    """

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class TrainingError(CourseError, ArithmeticError):
    """A training produced a loss or a weight that is not finite.

    Attributes:
        result: the history up to that step.
        term: the name of the term, or of the network, that is not finite.
        checkpoint: the last good checkpoint, or ``None``.
    """

    def __init__(
        self, message: str, *, result: Any = None, term: str = "", checkpoint: Any = None
    ) -> None:
        super().__init__(message)
        self.result, self.term, self.checkpoint = result, term, checkpoint


class CheckFailed(CourseError, AssertionError):
    """An answer did not pass its check while ``COURSEKIT_GRADING`` is set.

    Attributes:
        result: what the check said.
    """

    def __init__(self, message: str, *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result
