"""The lie of the land: where mountains, hills, shore, meadow and road run across the picture.

Heights are fractions of the picture, y down from the top; every function takes x (or y) of shape
(N, n) and returns one value for each, so that contours and the feet of houses agree exactly.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from coursekit.datasets.scenes_noise import hashed, mix, smoothstep, tiles

EYE = 0.45  # height of the eye: where a plain would meet the sky
# Rows that each part of the land can reach, as fractions of the picture.
MOUNTAINS, HILLS, LAKE, MEADOW = (0.0, 0.62), (0.38, 0.72), (0.54, 0.92), (0.52, 1.0)


class Terrain:
    """Contours of a batch of N scenes.

    Args:
        factors: as `sample_factors` returns them.
    """

    def __init__(self, factors: Mapping[str, Tensor]) -> None:
        self._factors = factors

    def _of(self, name: str) -> Tensor:
        return self._factors[name].float()[:, None]

    def _random(self, purpose: int) -> Tensor:
        return hashed(self._factors["texture"], purpose)[:, None]

    def _line(self, x: Tensor, cells: float, purpose: int, kind: str = "smooth") -> Tensor:
        """Noise along x, ``cells`` bumps across the picture, another line for each purpose."""
        u = x * cells + self._random(purpose) * 32
        return getattr(tiles(), kind).at(u, self._random(purpose + 1) * 32 + 0.5)

    def crest(self, x: Tensor, far: bool) -> Tensor:
        """Top of the mountains: the pale range behind (``far``) or the one before it."""
        rough, height = self._of("mountain_roughness"), self._of("mountain_height")
        purpose, cells = (10, 3.1) if far else (20, 2.3)
        round_ = 1 - self._line(x, cells, purpose).abs() * 1.6
        jagged = (self._line(x, cells, purpose, "ridged") - 0.45) * 2.1
        peaks = mix(round_, jagged, 0.3 + 0.7 * rough)
        whole = 0.72 + 0.45 * self._line(x, 1.3, purpose + 2)
        if far:
            return 0.47 - (0.05 + 0.24 * height) * peaks * whole
        return 0.52 - (0.03 + 0.41 * height) * peaks * whole

    def back(self, x: Tensor) -> Tensor:
        """Top of the distant hills, without the trees on them."""
        high = 0.3 + 0.7 * self._of("hill_height")
        return 0.495 - 0.055 * high * self._line(x, 1.9, 30) - 0.01 * high

    def middle(self, x: Tensor) -> Tensor:
        """Top of the hills beyond the lake."""
        high = 0.25 + 0.75 * self._of("hill_height")
        return 0.545 - 0.05 * high * self._line(x, 1.4, 40)

    def shore(self) -> Tensor:
        """Height (N, 1) of the far shore; below the picture where there is no lake."""
        level = 0.60 - 0.015 * self._of("water_level")
        return torch.where(self._of("water") > 0, level, torch.full_like(level, 2.0))

    def front(self, x: Tensor) -> Tensor:
        """Top of the meadow in front."""
        high, lake = self._of("hill_height"), self._of("water")
        dry = 0.61 - 0.05 * (0.3 + 0.7 * high) * self._line(x, 1.1, 50)
        dry = dry - 0.07 * self._of("hill_tilt") * (0.5 - x)
        wet = 0.655 + 0.13 * self._of("water_level") + 0.05 * self._line(x, 1.3, 50)
        wet = wet - 0.11 * self._of("hill_tilt") * (0.5 - x)
        return mix(dry, wet, lake)

    def ground(self, x: Tensor, depth: Tensor) -> Tensor:
        """Where something stands on the meadow: ``depth`` 0 on its crest, 1 in front."""
        top = self.front(x) + 0.012
        return top + (1.0 - top) * depth

    @staticmethod
    def scale(y: Tensor) -> Tensor:
        """Size of a thing that stands at ``y``: 0 at the height of the eye, 1 in front."""
        return (y - EYE) / (1 - EYE)

    def road(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Middle and half the width of the road at height ``y``."""
        back = ((1 - y) / (1 - EYE - 0.12)).clamp(0, 1)
        start, bend = self._of("road_x"), self._of("road_bend")
        swing = back * back * (0.75 - 0.5 * back) * 2
        middle = start + (0.5 - start) * 0.5 * back + bend * 0.32 * swing
        width = 0.065 + 0.045 * (self._of("road") - 1).clamp(min=0)
        return middle, width * self.scale(y).clamp(min=0) + 0.002

    def woods(self, x: Tensor, row: int) -> Tensor:
        """Height of distant trees, 0 where there are none.

        Row 0 stands on the distant hills, 1 and 2 on the nearer ones.
        """
        much = 1.1 - 1.85 * self._of("forest") + (0.0, 0.1, 0.25)[row]
        there = self._line(x, (2.2, 4.0, 4.5)[row], 60 + 4 * row) - much
        tips = self._line(x, 26.0, 62 + 4 * row, "ridged") + 0.25 * self._line(x, 60.0, 64)
        tall = (0.034, 0.020, 0.026)[row]
        return smoothstep(-0.1, 0.2, there) * tall * (0.25 + tips)
