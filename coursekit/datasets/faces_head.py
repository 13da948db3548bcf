"""Rendered faces: the head as a turned egg, its light, its hair, neck and shirt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coursekit.datasets import sdf
from coursekit.datasets.sdf import Canvas

MASK_CLASSES = (
    "background",
    "back hair",
    "cloth",
    "neck",
    "ear",
    "skin",
    "nose",
    "eye",
    "iris",
    "brow",
    "lip",
    "mouth",
    "beard",
    "hair",
    "glasses",
)
LABEL = {name: index for index, name in enumerate(MASK_CLASSES)}

SKIN = torch.tensor(
    [
        [0.98, 0.86, 0.78],
        [0.95, 0.78, 0.65],
        [0.87, 0.67, 0.51],
        [0.75, 0.54, 0.38],
        [0.59, 0.40, 0.28],
        [0.44, 0.29, 0.21],
    ]
)
HAIR = torch.tensor(
    [
        [0.13, 0.12, 0.14],
        [0.24, 0.16, 0.13],
        [0.40, 0.25, 0.16],
        [0.49, 0.22, 0.14],
        [0.76, 0.40, 0.18],
        [0.88, 0.70, 0.42],
        [0.66, 0.66, 0.68],
    ]
)
SHIRTS = torch.tensor(
    [
        [0.25, 0.38, 0.56],
        [0.24, 0.55, 0.58],
        [0.36, 0.56, 0.42],
        [0.86, 0.72, 0.38],
        [0.87, 0.52, 0.34],
        [0.78, 0.34, 0.34],
        [0.82, 0.55, 0.60],
        [0.50, 0.38, 0.58],
        [0.90, 0.88, 0.84],
        [0.28, 0.29, 0.34],
    ]
)
BACKGROUNDS = torch.tensor(
    [
        [0.60, 0.76, 0.86],
        [0.58, 0.80, 0.78],
        [0.68, 0.82, 0.66],
        [0.88, 0.86, 0.66],
        [0.95, 0.80, 0.62],
        [0.94, 0.72, 0.64],
        [0.90, 0.74, 0.80],
        [0.76, 0.72, 0.88],
        [0.84, 0.85, 0.88],
        [0.62, 0.68, 0.80],
    ]
)


@dataclass(frozen=True)
class Style:
    """A hair style: where the hairline runs and how far the hair reaches.

    Attributes:
        top: height of the hairline above the nose, in half heads (-1 is the crown).
        fall: how far the line comes down beside the parting.
        part: the angle of the parting from the middle of the face.
        temple: the angle at which the hair reaches down the side.
        side: how far down it reaches there (height in the picture).
        rise: how much it adds to the height of the head.
        wide: its width in head widths.
        length: down to where it hangs (height in the picture); -1 for short hair.
        hang: half the width of the hanging part in head widths.
        wave: how wavy the outline is.
        quiff, bun: whether there is hair piled up in front or on top.
        ears: whether the ears show.
    """

    top: float
    fall: float
    part: float
    temple: float
    side: float
    rise: float
    wide: float
    length: float = -1.0
    hang: float = 1.0
    wave: float = 0.0
    quiff: float = 0.0
    bun: float = 0.0
    ears: float = 0.0


STYLES = {
    "crop": Style(-0.60, 0.10, 0.0, 1.10, 0.02, 0.05, 1.035, ears=1),
    "swept": Style(-0.62, 0.34, -0.55, 1.12, 0.08, 0.12, 1.07, ears=1),
    "quiff": Style(-0.58, 0.06, 0.0, 1.10, 0.02, 0.06, 1.03, quiff=1, ears=1),
    "bob": Style(-0.40, 0.03, 0.0, 0.98, 2.0, 0.12, 1.12, 0.46, 1.16),
    "long": Style(-0.74, 0.62, 0.0, 1.00, 2.0, 0.09, 1.09, 1.6, 1.13),
    "wavy": Style(-0.70, 0.52, 0.50, 1.02, 2.0, 0.14, 1.13, 0.95, 1.24, wave=0.035),
    "curly": Style(-0.50, 0.06, 0.0, 1.04, 0.16, 0.18, 1.28, wave=0.028),
    "bun": Style(-0.62, 0.12, 0.0, 1.14, 0.06, 0.05, 1.035, bun=1, ears=1),
}


class Head:
    """Everything that does not depend on which feature is drawn: coordinates, turn and light.

    Args:
        factors: of one chunk of faces, each (N,).
        canvas: to be painted on.

    Attributes:
        t: the continuous factors, each (N, 1, 1).
        x, y: coordinates that roll with the head, (N, h, w).
        turn, back: sine and cosine of the yaw.
        angle: the angle around the head from the middle of the face, radians, (N, h, w).
        outline: the shape of the head.
        tone: how much light falls on each pixel of the head, in [0, 1].
    """

    MIDDLE = -0.01  # height of the middle of the head in the picture
    PIVOT = 0.30  # the head rolls around this height

    def __init__(self, factors: dict[str, Tensor], canvas: Canvas) -> None:
        self.t = {n: v.double()[:, None, None] for n, v in factors.items()}
        self.choice = {n: v for n, v in factors.items() if v.dtype == torch.int64}
        t = self.t
        self.turn, self.back = torch.sin(t["yaw"]), torch.cos(t["yaw"])
        self.half_width = t["face_width"] * (1 + 0.10 * self.turn**2)
        self.half_height = t["face_height"] + 0.025 * t["mouth_open"]
        self.middle = self.MIDDLE + 0.025 * t["mouth_open"]
        self.shift = -0.20 * self.turn
        self.eye_y = self.MIDDLE - 0.03
        self.mouth_y = self.MIDDLE + 0.56 * t["face_height"]
        self._to_float32()
        self._coordinates(canvas)

    def _to_float32(self) -> None:
        """Per-face numbers are worked out in double, so that chunks do not matter to a bit."""
        for name in ("turn", "back", "half_width", "half_height", "middle", "shift", "mouth_y"):
            setattr(self, name, getattr(self, name).float())
        self.roll = (torch.cos(self.t["roll"]).float(), torch.sin(self.t["roll"]).float())
        self.t = {n: v.float() for n, v in self.t.items()}

    def _coordinates(self, canvas: Canvas) -> None:
        cosine, sine = self.roll
        below = canvas.y - self.PIVOT
        self.x = cosine * canvas.x + sine * below
        self.y = -sine * canvas.x + cosine * below + self.PIVOT
        v = (self.y - self.middle) / self.half_height
        u = (self.x - self._centre(v)) / self._width(v)
        square = self._square(v)
        radius = torch.sqrt(u * u + v * v - square * u * u * v * v + 1e-9)
        self.outline = (radius - 1) * self.half_width
        self.u, self.v = u, v
        held = v.clamp(max=0.25)  # below the cheeks the hair hangs straight down
        across = (self.x - self._centre(held)) / (self._width(held) * self._edge(held))
        self.angle = torch.asin(across.clamp_(-1, 1)) - self.t["yaw"]

    def _square(self, v: Tensor) -> Tensor:
        return torch.where(v > 0, 0.15 + 0.40 * self.t["jaw"], 0.25)

    def _centre(self, v: Tensor) -> Tensor:
        """The middle of the outline at a height: a turned chin runs ahead of the skull."""
        low = v.clamp(0, 1)
        return self.shift + self.turn * self.half_width * (0.50 * low * low - 0.04)

    def _width(self, v: Tensor) -> Tensor:
        low = v.clamp(0, 1)
        return self.half_width * (1 - (0.30 - 0.14 * self.t["jaw"]) * low * low)

    def _edge(self, v: Tensor) -> Tensor:
        """Half the width of the outline at a height, in units of `_width`."""
        square = v * v
        inside = (1 - square) / (1 - self._square(v) * square)
        return torch.sqrt(inside.clamp(min=0.09))

    def point(self, angle: Tensor | float, height: Tensor, radius: float = 1.0) -> Tensor:
        """Where a point of the face stands across the picture, (N, 1, 1).

        Args:
            angle: from the middle of the face, radians.
            height: in the picture before rolling.
            radius: distance from the axis of the head in head radii (the nose is further out).
        """
        v = (height - self.middle) / self.half_height
        reach = radius * self._width(v) * self._edge(v)
        return self._centre(v) + reach * torch.sin((angle + self.t["yaw"]).double()).float()

    def narrowing(self, angle: float | Tensor) -> Tensor:
        """How much narrower something on the face looks because it is turned away, (N, 1, 1)."""
        return torch.cos((angle + self.t["yaw"]).double()).float().clamp(min=0.3)

    def colours(self, canvas: Canvas, hairline: Tensor) -> None:
        """Work out light and colours, given the distance to the hair above the face."""
        t = self.t
        depth = torch.sqrt((1 - 0.9 * self.u**2 - 0.6 * self.v**2).clamp_(min=0.02))
        self.normal_light = 0.42 * self.u * t["light"] - 0.26 * self.v + 0.80 * depth
        tone = sdf.step(self.normal_light, 0.05, 1.0)
        shade = (1 - hairline.clamp(0, 0.13) / 0.13) * 0.30
        self.tone = (tone - shade).clamp_(0, 1)[:, None]
        self.skin = SKIN[self.choice["skin"]][:, :, None, None]
        self.shadow = self.skin * torch.tensor([0.78, 0.67, 0.64])[:, None, None]
        self.lit = self.skin + (1 - self.skin) * torch.tensor([0.22, 0.18, 0.14])[:, None, None]
        self.flesh = torch.lerp(self.shadow, self.lit, self.tone)
        self.hair = HAIR[self.choice["hair_colour"]][:, :, None, None]


def circle(colours: Tensor, place: Tensor) -> Tensor:
    """A colour on a closed circle of colours, (N, 3, 1, 1); ``place`` in [0, 1] is (N, 1, 1)."""
    position = place.flatten().double() * len(colours)
    first = position.long() % len(colours)
    rest = (position - position.floor()).float()[:, None]
    blend = torch.lerp(colours[first], colours[(first + 1) % len(colours)], rest)
    return blend[:, :, None, None]


class Hair:
    """The hair of a chunk of faces: outline, hairline and colour.

    Attributes:
        outline: the shape of all hair.
        line: distance below the hairline: positive on the bare face.
    """

    def __init__(self, head: Head) -> None:
        table = torch.tensor([list(vars(s).values()) for s in STYLES.values()])
        chosen = table[head.choice["hair"]]
        self.s = {n: chosen[:, i, None, None] for i, n in enumerate(vars(STYLES["crop"]))}
        self.head = head
        self.outline = self._outline()
        self.line = self._line()

    def _outline(self) -> Tensor:
        head, s = self.head, self.s
        full = 0.6 + 0.8 * head.t["hair_volume"]
        width = head.half_width * (1 + (s["wide"] - 1) * full)
        height = head.half_height * (0.80 + s["rise"] * full)
        x = head.x - head.shift + 0.13 * head.turn
        y = head.y - head.middle
        bumps = s["wave"] * self._waves()
        cap = sdf.ellipse(x, y + 0.20 * head.half_height, width, height)
        cap = self._piled(cap, x, y)
        long = (s["length"] > 0).float()
        column = torch.lerp(width * 0.93, head.half_width * s["hang"], sdf.step(y, -0.15, 0.45))
        below = head.y - s["length"] + 0.05 * (x / width) ** 2
        hanging = -sdf.join(column + 0.5 * bumps - x.abs(), -below, 0.16)
        hanging = torch.maximum(hanging, -y - 0.12)
        joined = sdf.join(cap, hanging + (1 - long) * 9, 0.04)
        return joined - bumps

    def _waves(self) -> Tensor:
        """Curls all around short hair; waves along hair that hangs."""
        head, s = self.head, self.s
        curls = torch.sin(15 * head.x) * torch.sin(15 * head.y + 1)
        waves = torch.sin(10 * head.y + 2) * sdf.step(head.y, -0.30, 0.15)
        return torch.where(s["length"] > 0, waves * head.x.sign(), curls)

    def _piled(self, cap: Tensor, x: Tensor, y: Tensor) -> Tensor:
        head, s = self.head, self.s
        high = head.half_height
        lean = 0.10 * head.half_width
        quiff = sdf.ellipse(
            x - lean - 0.12 * head.turn, y + 0.84 * high, 0.78 * head.half_width, 0.27 * high
        )
        bun = sdf.ellipse(x + 0.10 * head.turn, y + 1.02 * high, 0.20, 0.16)
        cap = sdf.join(cap, quiff + (1 - s["quiff"]) * 9, 0.12)
        return sdf.join(cap, bun + (1 - s["bun"]) * 9, 0.03)

    def _line(self) -> Tensor:
        head, s = self.head, self.s
        beside = (head.angle - s["part"]).abs()
        drop = s["fall"] * sdf.step(beside, -0.15, 1.25) + 0.05 * head.angle**2
        line = head.middle + head.half_height * (s["top"] + drop)
        curls = torch.where(s["length"] > 0, 0.0, 0.6 * s["wave"])
        line = line + curls * torch.sin(13 * head.angle)
        turned = head.angle.abs()
        to_side = sdf.step(turned, s["temple"] - 0.20, s["temple"] + 0.12)
        line = line + (s["side"] - line) * to_side
        nape = torch.maximum(s["side"], head.middle + 0.42)
        line = line + (nape - line) * sdf.step(turned, 1.58, 1.85)
        return (head.y - line) * (1 - 0.45 * to_side * (1 - to_side) * 4)

    def colour(self) -> Tensor:
        """Hair with a broad sheen and a few wide strands, (N, 3, h, w)."""
        head = self.head
        light = 0.30 * head.u * head.t["light"] - 0.35 * head.v
        strands = 0.05 * torch.sin(9 * head.angle + 3 * head.v) * sdf.step(head.v, -1.0, -0.6)
        tone = (0.72 + 0.30 * light.clamp(-1, 1) + strands)[:, None]
        sheen = sdf.bump(head.v + 0.66 - 0.22 * head.angle**2, 0.16)
        sheen = sheen * sdf.bump(head.angle - 0.5 * head.t["light"], 1.3)
        return head.hair * tone + (0.10 * sheen)[:, None] * (0.5 + head.hair)

    def paint_back(self, canvas: Canvas) -> None:
        """What is seen behind neck and shoulders."""
        behind = torch.maximum(self.outline, self.line_behind())
        canvas.paint(behind, self.head.hair * 0.58, LABEL["back hair"], soft=0.03)

    def line_behind(self) -> Tensor:
        """The lower end of the hair at the back."""
        head, s = self.head, self.s
        return head.y - torch.where(s["length"] > 0, s["length"], head.middle + 0.36)

    def paint_front(self, canvas: Canvas) -> None:
        """Hair over the forehead and beside the face."""
        front = torch.maximum(self.outline, self.line)
        canvas.paint(front, self.colour(), LABEL["hair"], soft=0.03)


def paint_background(head: Head, canvas: Canvas) -> None:
    """A soft wall with the light on one side."""
    base = circle(BACKGROUNDS, head.t["background"])
    other = circle(BACKGROUNDS, (head.t["background"] + 0.12) % 1.0)
    bright = (0.72 + 0.36 * head.t["background_light"])[:, None]
    side = canvas.x * head.t["light"] * 0.5
    glow = sdf.bump(torch.sqrt(canvas.x**2 + (canvas.y + 0.1) ** 2), 1.5)
    level = (0.92 + 0.22 * (glow - 0.5) + 0.10 * side - 0.06 * canvas.y)[:, None]
    mixed = torch.lerp(base, other, (0.5 + 0.5 * canvas.y - side).clamp(0, 1)[:, None])
    canvas.image.copy_(mixed * level * bright)


def paint_body(head: Head, canvas: Canvas) -> None:
    """Neck and shirt."""
    at = canvas.window(-1, 1, 0.2, 1)
    x, y = canvas.x[at], canvas.y[at]
    neck_x = x - head.shift * 0.6
    neck = neck_x.abs() - 0.50 * head.half_width - 0.10 * (y - 0.80).clamp(min=0)
    chin = head.middle + head.half_height
    under = sdf.step(y, chin - 0.15, chin + 0.28)[:, None]
    flesh = torch.lerp(head.shadow * 0.86, head.skin * 0.96, under)
    canvas.paint(neck, flesh, LABEL["neck"], at=at)
    slope = 0.78 + 0.30 * (x * x) - 0.06 * sdf.bump(x, 0.36)
    shoulders = (slope - y) * 0.9
    neckline = -sdf.ellipse(neck_x, y - 0.62, 0.38, 0.22)
    shirt = circle(SHIRTS, head.t["shirt"])
    tone = (0.90 + 0.16 * x * head.t["light"] - 0.12 * (y - 0.8).abs())[:, None]
    cloth = torch.maximum(shoulders, neckline)
    canvas.paint(cloth, shirt * tone, LABEL["cloth"], at=at)
    collar = torch.maximum(cloth, neckline.neg().abs() - 0.035)
    canvas.paint(collar, shirt * tone * 0.84, at=at, soft=0.02)


def paint_head(head: Head, canvas: Canvas) -> None:
    """Skin, with colour in the cheeks."""
    canvas.paint(head.outline, head.flesh, LABEL["skin"])
    height = head.middle + 0.26
    warm = head.skin * torch.tensor([1.0, 0.74, 0.70])[:, None, None]
    for side in (-1, 1):
        at = (
            canvas.window(-0.75, 0.45, -0.1, 0.6)
            if side < 0
            else canvas.window(-0.45, 0.75, -0.1, 0.6)
        )
        x = head.x[:, at[0], at[1]] - head.point(side * 0.62, height)
        y = head.y[:, at[0], at[1]] - height
        cheek = sdf.ellipse(x, y, 0.15 * head.narrowing(side * 0.62), 0.11)
        cheek = torch.maximum(cheek, head.outline[:, at[0], at[1]] + 0.09)
        canvas.paint(cheek, warm, at=at, soft=0.18, opacity=0.25)


def paint_ears(head: Head, hair: Hair, canvas: Canvas) -> None:
    """The ears, where the hair leaves them free; the head hides what is turned away."""
    height = head.middle + 0.03
    at = canvas.window(-1, 1, -0.35, 0.45)
    y = head.y[:, at[0], at[1]] - height
    turned = (1.44 - head.angle[:, at[0], at[1]].abs()) * 0.4
    turned = torch.where(head.outline[:, at[0], at[1]] > 0, -1.0, turned)
    for side in (-1, 1):
        hidden = 0.25 * side * (side * head.turn).clamp(min=0)
        x = head.x[:, at[0], at[1]] - head.point(side * 1.52, height) - side * 0.02 + hidden
        ear = torch.maximum(sdf.ellipse(x - 0.15 * side * y * -1, y, 0.085, 0.15), turned)
        canvas.paint(ear, head.skin * 0.93, LABEL["ear"], at=at, opacity=hair.s["ears"])
        inner = torch.maximum(sdf.ellipse(x - side * 0.012, y - 0.005, 0.04, 0.085), turned)
        canvas.paint(inner, head.shadow, at=at, soft=0.05, opacity=hair.s["ears"] * 0.8)
