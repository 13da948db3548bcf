"""How ProGAN grows, as data: resolutions, batch sizes, and images a phase (Karras et al. 2018).

The appendix A of the paper is the schedule `published`; every other one is made in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from coursekit.core.errors import SettingError
from coursekit.core.timeline import Timeline
from coursekit.progan_networks import Stage

PHASE = 800_000  # images a phase, appendix A
BATCHES = {4: 16, 8: 16, 16: 16, 32: 16, 64: 16, 128: 16, 256: 14, 512: 6, 1024: 3}  # appendix A


class Level(NamedTuple):
    """One resolution of a training: a row of the schedule (appendix A.1).

    Attributes:
        resolution: of the images, in pixels.
        batch: images a step.
        fade: real images shown while the newest layers are faded in.
        stable: real images shown after that.
    """

    resolution: int
    batch: int
    fade: int
    stable: int

    @property
    def steps(self) -> int:
        """Training steps at this resolution."""
        return math.ceil((self.fade + self.stable) / self.batch)


class Place(NamedTuple):
    """Where a step of the training stands.

    Source: none; holds values.

    Attributes:
        level: the row of the schedule.
        stage: resolution and α.
        seen: real images shown at this resolution before the step.
    """

    level: Level
    stage: Stage
    seen: int


@dataclass(frozen=True)
class Schedule:
    """How the networks grow (section 2), as data: one `Level` a resolution, twice the one before.

    What a step does follows from its number alone, so that a training can stop anywhere.

    Raises:
        SettingError: no level, resolutions that do not double, a level without an image, or
            something to fade into at the beginning.
    """

    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(Level(*each) for each in self.levels))
        sizes = [level.resolution for level in self.levels]
        doubled = [sizes[0] * 2**number for number in range(len(sizes))]
        if sizes != doubled or min(sizes, default=0) < 1:
            raise SettingError(f"Resolutions {sizes} must double from level to level.")
        for level in self.levels:
            if min(level.batch, level.fade + level.stable) < 1 or min(level[2:]) < 0:
                raise SettingError(f"{level} shows no image; give numbers of images.")
        if self.levels[0].fade:
            raise SettingError(f"{self.levels[0]} is the first: there is nothing to fade from.")

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return sum(level.steps for level in self.levels)

    @property
    def images(self) -> int:
        """Real images shown in all."""
        return sum(level.steps * level.batch for level in self.levels)

    def at(self, number: int) -> Place:
        """Where step ``number``, from 1, stands; after the last one everything stays as it is.

        α is the share of the level's ``fade`` images that have been shown: 0 in the first step at
        a resolution, in which the images are still the old ones, only larger.

        Raises:
            SettingError: a number below 1.
        """
        if number < 1:
            raise SettingError(f"Steps count from 1; there is no step {number}.")
        left = number - 1
        for level in self.levels:
            if left < level.steps or level is self.levels[-1]:
                break
            left -= level.steps
        seen = left * level.batch
        alpha = min(seen / level.fade, 1.0) if level.fade else 1.0
        return Place(level, Stage(level.resolution, alpha), seen)

    def scaled(self, share: float) -> Schedule:
        """The same with this share of the images, but no phase is lost.

        Raises:
            SettingError: a share that is no number above 0.
        """
        if not 0 < share < math.inf:
            raise SettingError(f"share={share} leaves no schedule; give a number above 0.")

        def some(images: int, batch: int) -> int:
            return max(round(images * share / batch), 1) * batch if images else 0

        levels = [
            level._replace(fade=some(level.fade, level.batch), stable=some(level[3], level.batch))
            for level in self.levels
        ]
        return Schedule(tuple(levels))

    def without_fade_in(self) -> Schedule:
        """As many images at each resolution, but new layers come in at once."""
        return Schedule(
            tuple(each._replace(fade=0, stable=each.fade + each.stable) for each in self.levels)
        )

    def at_once(self) -> Schedule:
        """No growth: all images at the last resolution."""
        last = self.levels[-1]
        return Schedule((last._replace(fade=0, stable=self.images),))


def published(size: int = 1024) -> Schedule:
    """The schedule of appendix A: 800,000 images a phase, batches of 16 and fewer from 256 pixels.

    Raises:
        SettingError: a size that the paper does not have.
    """
    if size not in BATCHES:
        raise SettingError(f"size={size} is none of {list(BATCHES)}.")
    sizes = [each for each in BATCHES if each <= size]
    return Schedule(tuple(Level(r, BATCHES[r], PHASE if r > 4 else 0, PHASE) for r in sizes))


def thinned(timeline: Timeline, schedule: Schedule, count: int) -> Timeline:
    """At most ``count`` frames of each level of the schedule, and what stood at the beginning.

    Source: none; shortens a film.
    """
    kept = [each for each in timeline.frames if each[0] == 0]
    for level in schedule.levels:
        mine = [each for each in timeline.frames if each[0] and schedule.at(each[0]).level == level]
        kept += Timeline(mine).thinned(count).frames
    return Timeline(kept, timeline.about)
