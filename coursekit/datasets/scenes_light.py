"""The same scene by day and by night: sky, clouds, sun or moon, and the light on the land."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.datasets.scenes_canvas import COVER, HAZE, LAMP, LIGHT, WET, Canvas, Mirror, colour
from coursekit.datasets.scenes_land import side_light
from coursekit.datasets.scenes_noise import CELLS, bell, clip, hashed, mix, smoothstep, tiles

SKY = (0.0, 0.62)  # rows that the sky is painted on
ORB = 0.042  # radius of sun and moon
_STARS = 90


@dataclass(frozen=True)
class Light:
    """Colours of one time of day, each (3, N, 1, 1) or broadcast to it.

    Attributes:
        zenith, horizon: of the sky.
        orb, glow: the disc, and what it adds around itself.
        cloud, cloud_shade: clouds facing the light and away from it.
        ambient, direct: on everything, and on what faces the light.
        haze: what distance fades to.
        deep: of deep water.
        lamp: of a lit window.
        grey: share of the colour that this light takes away.
        stars: brightness of the stars.
    """

    zenith: Tensor
    horizon: Tensor
    orb: Tensor
    glow: Tensor
    cloud: Tensor
    cloud_shade: Tensor
    ambient: Tensor
    direct: Tensor
    haze: Tensor
    deep: Tensor
    lamp: Tensor
    grey: float
    stars: float


def _paint(code: str) -> Tensor:
    return colour(code).T[:, :, None, None]


def daylight(factors: Mapping[str, Tensor]) -> Light:
    """Warmer the lower the sun, duller under clouds."""
    low = _scenes(((factors["sun_y"] - 0.08) / 0.22).square())
    dull = _scenes(factors["cloudiness"].square()) * 0.75
    grey = _paint("c4ccd6")
    horizon = mix(mix(_paint("cfe3f2"), _paint("ffdcae"), low), grey, dull)
    return Light(
        zenith=mix(mix(_paint("3f83d6"), _paint("5a86c4"), low), _paint("8fa3ba"), dull),
        horizon=horizon,
        orb=mix(_paint("fffdf0"), _paint("fff8d8"), low),
        glow=mix(_paint("a89a70"), _paint("b08a40"), low) * (1 - 0.5 * dull),
        cloud=mix(_paint("ffffff"), _paint("fff1dc"), low) * (1 - 0.1 * dull),
        cloud_shade=mix(_paint("a9b6c9"), _paint("b3a5b5"), low) * (1 - 0.12 * dull),
        ambient=mix(_paint("8391a8"), _paint("8a8ca2"), low) * (1 + 0.1 * dull),
        direct=mix(_paint("9c9480"), _paint("b08c58"), low) * (1 - 0.45 * dull),
        haze=mix(horizon, _paint("b9cbe0"), torch.tensor(0.55)),
        deep=_paint("2f6f9c"),
        lamp=_paint("000000"),
        grey=0.0,
        stars=0.0,
    )


def moonlight(factors: Mapping[str, Tensor]) -> Light:
    """Blue and low, yet bright enough to read the land by."""
    dull = _scenes(factors["cloudiness"].square()) * 0.5
    horizon = mix(_paint("425c98"), _paint("3f5078"), dull)
    return Light(
        zenith=mix(_paint("0a1436"), _paint("141d3a"), dull),
        horizon=horizon,
        orb=_paint("f4f1dc"),
        glow=_paint("3c4a70"),
        cloud=_paint("8c9cc4"),
        cloud_shade=_paint("2b3763"),
        ambient=_paint("344774"),
        direct=_paint("7386b0"),
        haze=mix(horizon, _paint("22325f"), torch.tensor(0.8)),
        deep=_paint("14264f"),
        lamp=_paint("ffc860"),
        grey=0.5,
        stars=1.0,
    )


def _scenes(value: Tensor) -> Tensor:
    return value[:, None, None]


class Sky:
    """Where clouds, sun or moon and stars stand: the same by day and by night.

    Args:
        canvas: of N scenes; takes the labels of the sky.
        factors: of the same N scenes.
    """

    def __init__(self, canvas: Canvas, factors: Mapping[str, Tensor]) -> None:
        self.factors, self.rows = factors, canvas.rows(SKY)
        self.x, self.y, self.side = canvas.x, canvas.y[:, self.rows], canvas.side
        dx, dy = self.x - self._of("sun_x"), self.y - self._of("sun_y")
        self.away = (dx * dx + dy * dy).sqrt()
        self.disc = canvas.edge(ORB - self.away)
        self.alpha, self.bright = self._clouds()
        canvas.relabel(self.rows, self.disc, "sun or moon")
        canvas.relabel(self.rows, self.alpha, "cloud")

    def _of(self, name: str) -> Tensor:
        return self.factors[name][:, None, None]

    def _clouds(self) -> tuple[Tensor, Tensor]:
        """How dense the clouds are and how much light they get, both (N, R, S)."""
        far = 0.62 / (0.66 - self.y).clamp(min=0.05)
        u, v = (self.x - 0.5) * far, far * 1.5
        toward = side_light(self.factors)[:, None, None]
        here = self._density(u, v)
        there = self._density(u + 0.08 * toward, v - 0.09)
        cover = self._of("cloudiness")
        floor = mix(0.62, -0.55, cover)
        alpha = smoothstep(0, 0.34, here - floor) * smoothstep(0.56, 0.36, self.y)
        bright = clip(0.62 + 1.5 * (here - there) - 0.35 * clip(here - floor))
        return alpha * clip(cover * 8), bright

    def _density(self, u: Tensor, v: Tensor) -> Tensor:
        shift = [hashed(self.factors["texture"], k)[:, None, None] * CELLS for k in (130, 131, 132)]
        large = tiles().smooth.at(u * 1.3 + shift[2], v * 1.3 + shift[0], 4 / self.side)
        fine = tiles().fractal.at(u * 3 + shift[0], v * 3 + shift[1], 6 / self.side)
        return 0.75 * large + fine

    def shine(self, light: Light) -> Tensor:
        """The sky in this light, (3, N, S, S); below its rows the colour of the horizon."""
        high = smoothstep(0.0, 0.52, self.y)
        sky = mix(light.zenith, light.horizon, high * (1.6 - 0.6 * high))
        glow = light.glow * (bell(self.away, 0.30) + 0.9 * bell(self.away, 0.08))
        sky = sky + glow * (1 - 0.75 * sky)
        if light.stars:
            sky = sky + self._stars() * (light.stars * (1 - high))
        sky = mix(sky, self._face(light), self.disc)
        lit = light.cloud + light.glow * bell(self.away, 0.25)
        clouds = mix(light.cloud_shade, lit, self.bright)
        whole = light.horizon.expand(3, len(self.away), self.side, self.side).clone()
        whole[:, :, self.rows] = mix(sky, clouds, self.alpha)
        return whole

    def _face(self, light: Light) -> Tensor:
        """The disc: the moon has its dark plains."""
        if not light.stars:
            return light.orb
        plains = tiles().fractal.at((self.x - self._of("sun_x")) * 22, self._dy() * 22)
        return light.orb * (0.97 - 0.22 * smoothstep(0.0, 0.35, plains))

    def _dy(self) -> Tensor:
        return self.y - self._of("sun_y")

    def _stars(self) -> Tensor:
        """Points of light (N, R, S), of one pixel of a picture of 128, whatever the size."""
        count, height, side = len(self.away), self.away.shape[1], self.side
        number = self.factors["texture"][:, None] + torch.arange(_STARS)
        x, y = hashed(number, 140) * side, hashed(number, 141) * height
        bright = hashed(number, 142).square() * 0.85 + 0.12
        radius = side / 220
        span = torch.arange(-int(radius + 1.5), int(radius + 1.5) + 1)
        rows = (y.floor().long()[..., None, None] + span[:, None]).expand(-1, -1, -1, len(span))
        columns = (x.floor().long()[..., None, None] + span).expand_as(rows)
        dx, dy = columns + 0.5 - x[..., None, None], rows + 0.5 - y[..., None, None]
        value = clip(radius + 0.5 - (dx * dx + dy * dy).sqrt()) * bright[..., None, None]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < side)
        index = torch.where(inside, rows * side + columns, 0).flatten(1)
        stars = torch.zeros(count, height * side)
        stars.scatter_reduce_(1, index, (value * inside).flatten(1), "amax")
        return stars.view(count, height, side)


def shine(canvas: Canvas, sky: Sky, light: Light) -> Tensor:
    """Light a painted canvas: colours (3, N, S, S) in [0, 1]."""
    planes, open_sky = canvas.planes, sky.shine(light)
    if canvas.mirror is not None:
        _mirror_sky(canvas.mirror, open_sky)
    own = planes[:3]
    if light.grey:
        luminance = 0.3 * own[0] + 0.5 * own[1] + 0.2 * own[2]
        own = mix(own, luminance, torch.tensor(light.grey))
    land = own * (light.ambient + light.direct * planes[LIGHT])
    land = mix(land, light.haze * planes[COVER], planes[HAZE])
    picture = open_sky * (1 - planes[COVER]) + land
    if canvas.mirror is not None:
        _water(canvas, canvas.mirror, picture, light)
    return clip(picture + light.lamp * planes[LAMP] * (1 - picture))


def _mirror_sky(mirror: Mirror, sky: Tensor) -> None:
    """Replace the sky behind a lake by its reflection, in place."""
    index = mirror.source.flatten(1)
    for plane in sky:
        image = torch.gather(plane[mirror.scenes].flatten(1), 1, index)
        plane[mirror.scenes, mirror.rows] = image.view(mirror.source.shape)


def _water(canvas: Canvas, mirror: Mirror, picture: Tensor, light: Light) -> None:
    """Tint what is seen in the lake, the more the nearer, and let it glitter; in place."""
    y = canvas.y[:, mirror.rows]
    wet = canvas.planes[WET][mirror.scenes, mirror.rows]
    share = wet * (0.22 + 1.1 * (y - 0.6).clamp(0, 0.35))
    part = picture[:, mirror.scenes, mirror.rows]
    deep = mix(part, light.deep, share)
    glow = light.glow.expand(-1, canvas.count, -1, -1)[:, mirror.scenes]
    sparkle = glow * (wet * mirror.glitter * 1.4)
    picture[:, mirror.scenes, mirror.rows] = deep + sparkle
