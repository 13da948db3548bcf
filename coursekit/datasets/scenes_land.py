"""Mountains, hills, lake, meadow and road, painted from back to front."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from coursekit.datasets.scenes_canvas import COVER, WET, Canvas, Mirror, Paint, colour, index_of
from coursekit.datasets.scenes_factors import ROAD_KINDS, WINTER
from coursekit.datasets.scenes_noise import CELLS, bell, clip, hashed, mix, smoothstep, tiles
from coursekit.datasets.scenes_terrain import EYE, HILLS, LAKE, MEADOW, MOUNTAINS, Terrain

# One colour a season: spring, summer, autumn, winter.
GRASS = colour("7cb342", "5f9a3a", "a89a45", "e4ebf4")
GRASS_DRY = colour("a8c256", "90a848", "b98a3c", "cfd9e8")
WOODS = colour("4c8a4a", "36713f", "9c6a2e", "7d8f9c")
ROCK, ROCK_WARM, SNOW = colour("74757f", "8a7a6c", "f2f6fc")
ALPINE = colour("5f8a55", "557f4e", "8c8450", "b9c4d2")
SAND, TRACK, PAVED, LINE = colour("cdbb8e", "a88f68", "74757b", "e9e4cf")
FLOWERS = colour("fff4f4", "ffd84a", "e86a8a", "b58ae0")
_ROOTS = 0.006  # how far the feet of distant trees reach below their line
_BINS = 256  # points along the crest at which its slope is known


class Painter:
    """Paints the land of a batch of scenes on a canvas.

    Args:
        canvas: of N scenes.
        factors: of the same N scenes.

    Attributes:
        side_light: see `side_light`; winter: 1 or 0; both (N, 1, 1).
    """

    def __init__(self, canvas: Canvas, factors: Mapping[str, Tensor]) -> None:
        self.canvas, self.factors, self.terrain = canvas, factors, Terrain(factors)
        self.side_light = side_light(factors)[:, None, None]
        self.winter = (self.of("season") == WINTER).float()

    def of(self, name: str) -> Tensor:
        """A factor as (N, 1, 1)."""
        return self.factors[name].float()[:, None, None]

    def random(self, purpose: int) -> Tensor:
        """A number in [0, 1) a scene, (N, 1, 1)."""
        return hashed(self.factors["texture"], purpose)[:, None, None]

    def seasonal(self, colours: Tensor) -> Tensor:
        """One colour a scene (3, N, 1, 1) out of four (4, 3)."""
        return colours[self.factors["season"]].T[:, :, None, None]

    def ground(self) -> Tensor:
        """The class of meadows and hills, (N, 1, 1)."""
        return mix(index_of("grass"), index_of("snow"), self.winter)

    def contour(self, height: Tensor) -> Tensor:
        """Heights (N, S) as (N, 1, S)."""
        return height[:, None]

    def noise(self, kind: str, u: Tensor, v: Tensor, purpose: int, cells: float) -> Tensor:
        """Noise at (u, v) cells from a place of the scene's own; ``cells`` across the picture."""
        u = u + self.random(purpose) * CELLS
        v = v + self.random(purpose + 1) * CELLS
        return getattr(tiles(), kind).at(u, v, cells / self.canvas.side)

    def paint(self) -> None:
        """Paint all of the land."""
        self.mountains()
        self.hills()
        self.lake()
        self.meadow()

    # --- mountains -------------------------------------------------------------------------------

    def mountains(self) -> None:
        """Two ranges, the far one paler, with lit and shaded faces and snow above a line."""
        for far in (True, False):
            self._range(far)

    def _range(self, far: bool) -> None:
        canvas, rows = self.canvas, self.canvas.rows(MOUNTAINS)
        x, y, purpose = canvas.x, canvas.y[:, rows], 70 if far else 80
        crest = self.contour(self.terrain.crest(x[0], far))
        below = (y - crest).clamp(min=0)
        rough = 0.5 + 0.5 * self.of("mountain_roughness")
        warp = self.noise("fractal", x * 5, y * 5, purpose, 5)
        facing = self._slope(far, x + warp * (0.02 + 0.35 * below))
        lean = x + 0.10 * warp
        gullies = self.noise("facing", lean * 5, (y - crest * 0.7) * 3.2, purpose + 2, 4)
        face = facing + gullies * 1.5 * rough
        if not far:  # too pale behind to be seen
            cracks = self.noise("facing", lean * 13, (y - crest * 0.7) * 7, purpose + 4, 10)
            face = face + cracks * 0.5 * rough
        light = clip(0.52 - 0.46 * self.side_light * face.clamp(-1.1, 1.1) - 0.1 * warp)
        snow = self._snow(y, warp, face)
        own = mix(self._slopes(y, warp, gullies), SNOW[:, None, None, None], snow)
        base = 0.50 if far else 0.24
        haze = (base + 1.1 * below * smoothstep(0.25, 0.55, y)) * (0.55 + 0.6 * self.of("haze"))
        alpha = canvas.edge(y - crest)
        paint = Paint(own, light, haze.clamp(max=0.85), index_of("mountain"))
        canvas.paint(rows, alpha, paint)
        canvas.relabel(rows, alpha * snow, "snow")

    def _slopes(self, y: Tensor, warp: Tensor, gullies: Tensor) -> Tensor:
        """Colour of the mountains without snow: rock, with meadows at the foot."""
        rock = mix(ROCK[:, None, None, None], ROCK_WARM[:, None, None, None], clip(0.5 + warp))
        green = smoothstep(0.38, 0.50, y + 0.12 * warp + 0.02 * gullies)
        return mix(rock * (0.92 + 0.16 * gullies), self.seasonal(ALPINE), green)

    def _slope(self, far: bool, x: Tensor) -> Tensor:
        """How far the mountain faces left at x, (N, R, S): the slope of the crest above it."""
        line = (torch.arange(_BINS + 9) - 4) / _BINS
        crest = self.terrain.crest(line[None], far)
        slope = (crest[:, 8:] - crest[:, :-8]) * (_BINS / 8)
        index = (x * _BINS).clamp(0, _BINS).to(torch.int64)
        slope = torch.gather(slope, 1, index.flatten(1)).view(index.shape)
        return -(slope * 1.3).clamp(-1, 1)

    def _snow(self, y: Tensor, warp: Tensor, face: Tensor) -> Tensor:
        """Share of snow: above a ragged line, which comes down in winter."""
        deep = clip(self.of("snow") + 0.45 * self.winter)
        line = mix(0.02, 0.46, deep) + 0.07 * warp + 0.02 * face
        return smoothstep(0.018, -0.018, y - line) * (deep > 0.02)

    # --- hills -----------------------------------------------------------------------------------

    def hills(self) -> None:
        """Distant hills with woods on them, then the nearer ones."""
        canvas, rows, x = self.canvas, self.canvas.rows(HILLS), self.canvas.x
        y = canvas.y[:, rows]
        back, middle = self.contour(self.terrain.back(x[0])), self.terrain.middle(x[0])
        patch = self.noise("fractal", x * 5, y * 20, 90, 8)
        pale = 0.55 + 0.6 * self.of("haze")
        self._woods(rows, y - back, self.terrain.woods(x[0], 0), 0.28 * pale)
        for height, haze in ((back + 0.006, 0.34 * pale), (self.contour(middle), 0.15 * pale)):
            own = mix(self.seasonal(GRASS), self.seasonal(GRASS_DRY), clip(0.5 + patch))
            light = self._sloped(height) + 0.10 * patch
            alpha = canvas.edge(y - height)
            canvas.paint(rows, alpha, Paint(own, clip(light), haze, self.ground()))
        for row, down in ((1, 0.002), (2, 0.026)):
            foot = y - self.contour(middle) - down
            self._woods(rows, foot, self.terrain.woods(x[0], row), 0.14 * pale)

    def _woods(self, rows: slice, below: Tensor, height: Tensor, haze: Tensor) -> None:
        """A row of distant trees; ``below`` is how far a pixel is below their feet."""
        height = self.contour(height)
        alpha = self.canvas.edge(torch.minimum(below + height, _ROOTS - below)) * (height > 0.004)
        leaves = self.noise("fractal", self.canvas.x * 16, self.canvas.y[:, rows] * 26, 94, 20)
        light = clip(0.55 + 0.4 * leaves - 6 * (below + 0.5 * height))
        own = self.seasonal(WOODS) * (0.9 + 0.3 * leaves)
        self.canvas.paint(rows, alpha, Paint(own, light, haze, index_of("tree")))

    def _sloped(self, contour: Tensor) -> Tensor:
        """Light on ground that runs like its contour (N, 1, S)."""
        step = 4 * self.canvas.side // 64
        slope = (contour.roll(-step, -1) - contour.roll(step, -1)) * (self.canvas.side / (2 * step))
        slope[..., :step] = slope[..., step : step + 1]
        slope[..., -step:] = slope[..., -step - 1 : -step]
        return 0.66 + 1.1 * self.side_light * slope.clamp(-0.3, 0.3)

    # --- the lake --------------------------------------------------------------------------------

    def lake(self) -> None:
        """Still water up to the meadow, with the land beyond upside down in it."""
        scenes = self.factors["water"].nonzero()[:, 0]
        if len(scenes) == 0:
            return
        canvas, rows = self.canvas, self.canvas.rows(LAKE)
        y, shore = canvas.y[:, rows], self.terrain.shore()[scenes, :, None]
        below = y - shore
        ripple = self.noise("fractal", canvas.x * 3, 9 / (y - EYE), 100, 20)[scenes]
        source = self._reflected(shore - below.clamp(min=0) * 2.4, ripple, below)
        around = (canvas.x - self.of("sun_x")[scenes]) / (0.03 + 0.25 * below.clamp(min=0))
        glitter = bell(around, 1.0) * smoothstep(0.02, 0.5, ripple)
        canvas.mirror = Mirror(scenes, rows, source, glitter)
        self._pour(canvas.mirror, canvas.edge(below))

    def _reflected(self, height: Tensor, ripple: Tensor, below: Tensor) -> Tensor:
        side = self.canvas.side
        height = height + ripple * (0.012 + 0.25 * below.clamp(min=0))
        row = (height * side).clamp(0, side - 1).to(torch.int64)
        column = torch.arange(side) + (ripple * (0.02 * side)).to(torch.int64)
        return row * side + column.clamp(0, side - 1)

    def _pour(self, mirror: Mirror, alpha: Tensor) -> None:
        planes, rows, scenes = self.canvas.planes, mirror.rows, mirror.scenes
        index = mirror.source.flatten(1)
        for plane in planes[: COVER + 1]:
            image = torch.gather(plane[scenes].flatten(1), 1, index).view(mirror.source.shape)
            plane[scenes, rows] = mix(plane[scenes, rows], image, alpha)
        planes[WET][scenes, rows] = alpha.expand_as(mirror.source)
        labels = self.canvas.labels[scenes, rows]
        self.canvas.labels[scenes, rows] = mix(labels, index_of("water"), alpha.round())

    # --- the meadow ------------------------------------------------------------------------------

    def meadow(self) -> None:
        """The ground in front: grass in patches, blades nearby, flowers, a shore, a road."""
        canvas, rows, x = self.canvas, self.canvas.rows(MEADOW), self.canvas.x
        y = canvas.y[:, rows]
        top = self.contour(self.terrain.front(x[0]))
        away = 1 / (y - EYE).clamp(min=0.08)
        across = (x - 0.5) * away
        patch = self.noise("fractal", across * 1.1, away * 1.3, 110, 6)
        tufts = self.noise("fractal", across * 4, away * 4, 112, 30)
        blades = self.noise("fractal", across * 13, away * 4, 120, 26)
        near, calm = smoothstep(0.62, 1.0, y), 1 - 0.6 * self.winter
        own = mix(self.seasonal(GRASS), self.seasonal(GRASS_DRY), clip(0.42 + 0.7 * patch))
        own = own * (1 + calm * (0.10 * tufts + 0.17 * near * blades)) * (1.03 - 0.14 * near)
        own = self._flowers(own, across, away, near)
        own = self._bank(own, y - top)
        light = self._sloped(top) + calm * (0.12 * patch + 0.07 * tufts)
        haze = near_haze(y, self.of("haze"))
        alpha = canvas.edge(y - top)
        canvas.paint(rows, alpha, Paint(own, clip(light), haze, self.ground()))
        self._road(rows, y, alpha)

    def _flowers(self, own: Tensor, across: Tensor, away: Tensor, near: Tensor) -> Tensor:
        much = self.seasonal(torch.tensor([[1.0], [0.7], [0.0], [0.0]]))[0]
        spots = self.noise("fractal", across * 9, away * 9, 114, 40)
        where = smoothstep(0.46, 0.60, spots) * much * (0.35 + 0.65 * near)
        kind = (self.random(116) * len(FLOWERS)).long()[:, 0, 0]
        return mix(own, FLOWERS[kind].T[:, :, None, None], where)

    def _bank(self, own: Tensor, below: Tensor) -> Tensor:
        """A strip of sand where the meadow meets the lake."""
        strip = smoothstep(0.014, 0.004, below) * self.of("water")
        return mix(own, SAND[:, None, None, None], strip * 0.8)

    def _road(self, rows: slice, y: Tensor, meadow: Tensor) -> None:
        middle, half = self.terrain.road(y[:, :, 0])
        off, half = self.canvas.x - middle[..., None], half[..., None]
        paved = (self.of("road") == ROAD_KINDS.index("paved")).float()
        across = off / half
        away = 1 / (y - EYE)
        wear = self.noise("fractal", across * 0.8, away * 3, 118, 12)
        inside = half * (1 + (1 - paved) * 0.25 * wear) - off.abs()
        alpha = self.canvas.edge(inside) * meadow * (self.of("road") > 0)
        track = TRACK[:, None, None, None] * (1 + 0.18 * wear)
        verge = bell(across, 0.32) * clip(0.55 + wear)
        track = mix(track, self.seasonal(GRASS) * 0.95, verge)
        gaps = away * 1.5 - (away * 1.5).floor() < 0.5
        dashes = self.canvas.edge(0.05 * half - off.abs()) * gaps
        edges = self.canvas.edge(0.035 * half - (off.abs() - 0.88 * half).abs())
        tarmac = PAVED[:, None, None, None] * (1 + 0.10 * wear)
        tarmac = mix(tarmac, LINE[:, None, None, None], 0.85 * torch.maximum(dashes, edges))
        own = mix(track, tarmac, paved)
        snow = self.winter * clip(0.25 + wear * 0.8)
        own = mix(own, self.seasonal(GRASS), snow)
        paint = Paint(own, 0.66 + 0.06 * wear, label=index_of("road"))
        self.canvas.paint(rows, alpha, paint)


def side_light(factors: Mapping[str, Tensor]) -> Tensor:
    """How far the light falls from the right (positive) or left, (N,), from -1 to 1.

    Never near 0: light from straight behind would show no relief.
    """
    offset = factors["sun_x"] * 2 - 1
    return offset.sign() * (0.5 + 0.5 * offset.abs())


def near_haze(y: Tensor, haze: Tensor) -> Tensor:
    """How pale the meadow and what stands on it is at height ``y``."""
    return 0.10 * smoothstep(0.8, 0.58, y) * (0.4 + haze)
