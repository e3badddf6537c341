"""Scenes: two quantities between 1 and 6, drawn side by side in a 56 x 56 image.

56 pixels make 4 x 4 patches of 14, merged 2 x 2 into four visual tokens, so the left quantity falls on two
tokens and the right one on the other two. Colours, background and small shifts are nuisance factors: an image
reveals nothing about where its question comes from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

IMAGE_SIZE = 56
HALF = IMAGE_SIZE // 2
VALUES = range(1, 7)

CATEGORIES: dict[str, tuple[str, ...]] = {
    "charts": ("bar", "marker"),
    "geometry": ("rectangle", "segment"),
    "science": ("gauge", "thermometer"),
    "commonsense": ("pile", "die"),
}
SKILLS: tuple[str, ...] = tuple(skill for skills in CATEGORIES.values() for skill in skills)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """The colours a scene may be drawn in, and the spread of its background noise (grey levels)."""

    inks: tuple[Colour, ...]
    papers: tuple[Colour, ...]
    noise: float = 0.0


TRAINING_STYLE = Style(
    inks=((200, 40, 40), (30, 80, 200), (20, 130, 60), (120, 50, 160), (40, 40, 40)),
    papers=((255, 255, 255), (250, 244, 228), (232, 240, 250)),
)
SHIFTED_STYLE = Style(
    inks=((190, 100, 10), (0, 120, 130), (170, 30, 110)),
    papers=((236, 236, 220), (222, 232, 222), (244, 226, 226)),
    noise=10.0,
)


@dataclass(frozen=True)
class Scene:
    """What one image shows: a skill and a value on each side. `seed` fixes the nuisance factors."""

    left_skill: str
    right_skill: str
    left: int
    right: int
    seed: int
    style: Style = TRAINING_STYLE


# The right value that each left value 1..6 never occurs with in training: a permutation without a pattern.
_HELD_OUT_RIGHT = (3, 6, 1, 5, 2, 4)


def held_out_pair(left: int, right: int) -> bool:
    """Whether a value pair is held out of every training set and caption: 6 of the 36.

    Each value still occurs in training on each side, with five of its six partners; only the combination is
    new.
    """
    return right == _HELD_OUT_RIGHT[left - 1]


def draw(scene: Scene) -> Image.Image:
    """The scene's RGB image, 56 x 56."""
    rng = random.Random(scene.seed)
    style = scene.style
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), rng.choice(style.papers))
    if style.noise:
        _add_noise(image, style.noise, rng)
    pen = ImageDraw.Draw(image)
    for origin, skill, value in ((0, scene.left_skill, scene.left), (HALF, scene.right_skill, scene.right)):
        dx, dy = rng.randint(-1, 1), rng.randint(-1, 1)
        _DRAWERS[skill](pen, origin + dx, dy, value, rng.choice(style.inks), rng)
    return image


def _add_noise(image: Image.Image, spread: float, rng: random.Random) -> None:
    pixels = image.tobytes()
    # One draw per pixel and channel would be slow in pure Python; 256 levels drawn once are enough.
    levels = [int(rng.gauss(0, spread)) for _ in range(256)]
    noise = rng.randbytes(len(pixels))
    image.frombytes(bytes(min(255, max(0, p + levels[n])) for p, n in zip(pixels, noise, strict=True)))


def _bar(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    del rng
    pen.rectangle((x + 8, y + 53 - 8 * value, x + 20, y + 53), fill=ink)
    pen.line((x + 4, y + 54, x + 24, y + 54), fill=ink)


def _marker(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    del rng
    pen.line((x + 5, y + 4, x + 5, y + 54), fill=ink)
    for tick in VALUES:
        pen.line((x + 5, y + 54 - 8 * tick, x + 7, y + 54 - 8 * tick), fill=ink)
    pen.ellipse((x + 12, y + 50 - 8 * value, x + 20, y + 58 - 8 * value), fill=ink)


def _rectangle(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    del rng
    top = y + 28 - 4 * value
    for row in range(value):
        pen.rectangle((x + 6, top + 8 * row, x + 21, top + 8 * row + 8), outline=ink)


def _segment(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    height = y + rng.choice((20, 28, 36))
    pen.rectangle((x + 2, height - 2, x + 2 + 4 * value, height + 2), fill=ink)
    pen.line((x + 2, height - 6, x + 2, height + 6), fill=ink)


def _gauge(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    del rng
    centre_x, centre_y = x + 14, y + 34
    pen.arc((centre_x - 12, centre_y - 12, centre_x + 12, centre_y + 12), 180, 360, fill=ink)
    angle = math.pi * (1 - (value - 1) / 5)
    tip = (centre_x + 11 * math.cos(angle), centre_y - 11 * math.sin(angle))
    pen.line((centre_x, centre_y, *tip), fill=ink, width=3)


def _thermometer(
    pen: ImageDraw.ImageDraw,
    x: int,
    y: int,
    value: int,
    ink: Colour,
    rng: random.Random,
) -> None:
    del rng
    pen.rectangle((x + 10, y + 4, x + 18, y + 44), outline=ink)
    pen.rectangle((x + 12, y + 43 - 6 * value, x + 16, y + 44), fill=ink)
    pen.ellipse((x + 8, y + 42, x + 20, y + 54), fill=ink)


def _pile(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    for place in rng.sample(range(6), value):
        left, top = x + 5 + 11 * (place % 2), y + 8 + 15 * (place // 2)
        pen.rectangle((left, top, left + 7, top + 7), fill=ink)


_PIPS = {1: (4,), 2: (0, 8), 3: (0, 4, 8), 4: (0, 2, 6, 8), 5: (0, 2, 4, 6, 8), 6: (0, 2, 3, 5, 6, 8)}


def _die(pen: ImageDraw.ImageDraw, x: int, y: int, value: int, ink: Colour, rng: random.Random) -> None:
    del rng
    pen.rectangle((x + 2, y + 16, x + 25, y + 39), outline=ink)
    for place in _PIPS[value]:
        left, top = x + 5 + 7 * (place % 3), y + 19 + 7 * (place // 3)
        pen.ellipse((left, top, left + 4, top + 4), fill=ink)


_DRAWERS: dict[str, Callable[[ImageDraw.ImageDraw, int, int, int, Colour, random.Random], None]] = {
    "bar": _bar,
    "marker": _marker,
    "rectangle": _rectangle,
    "segment": _segment,
    "gauge": _gauge,
    "thermometer": _thermometer,
    "pile": _pile,
    "die": _die,
}
