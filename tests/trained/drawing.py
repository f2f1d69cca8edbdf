"""Pictures with known contents: shapes on a noisy ground, and lines of characters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 96
NAMES = ("circle", "square", "triangle")
SIZES = 20, 40
LINE = 32, 128
LETTERS = tuple("0123456789AEHKTX")


class Picture(NamedTuple):
    """A picture and what is in it.

    Attributes:
        pixels: uint8 [H, W, 3].
        boxes: [K, 4], x0, y0, x1, y1 in pixels, of what is in it.
        labels: [K], the numbers of their classes.
        masks: bool [K, H, W], their pixels.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def _ground(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Another shade at each corner, and noise."""
    corners = random.uniform(60, 190, (2, 2, 1, 1, 3))
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    top, bottom = (own[0] * (1 - x) + own[1] * x for own in corners)
    return top * (1 - y) + bottom * y + random.normal(0, 8, (height, width, 3))


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    """Far from every ground: each channel is dark or light."""
    dark, light = random.integers(0, 30, 3), random.integers(225, 256, 3)
    r, g, b = np.where(random.random(3) < 0.5, dark, light)
    return int(r), int(g), int(b)


def _apart(box: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]) -> bool:
    x0, y0, x1, y1 = box
    return all(x1 + 2 < a or c + 2 < x0 or y1 + 2 < b or d + 2 < y0 for a, b, c, d in others)


def shapes(random: np.random.Generator) -> Picture:
    """One to three shapes apart from each other."""
    pixels, boxes, labels, masks = _ground(random, SIDE, SIDE), [], [], []
    wanted = int(random.integers(1, 4))
    for _ in range(40):
        if len(boxes) == wanted:
            break
        w, h = (int(n) for n in random.integers(SIZES[0], SIZES[1] + 1, 2))
        x, y = int(random.integers(0, SIDE - w)), int(random.integers(0, SIDE - h))
        box, label = (x, y, x + w, y + h), int(random.integers(len(NAMES)))
        if not _apart(box, boxes):
            continue
        mask = _mask(label, box)
        pixels[mask] = np.array(_colour(random)) + random.normal(0, 4, (int(mask.sum()), 3))
        boxes.append(box)
        labels.append(label)
        masks.append(mask)
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Picture(whole, np.array(boxes, float), np.array(labels), np.array(masks))


def _mask(label: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = Image.new("1", (SIDE, SIDE))
    draw, (x0, y0, x1, y1) = ImageDraw.Draw(image), box
    corners = x0, y0, x1 - 1, y1 - 1
    if NAMES[label] == "circle":
        draw.ellipse(corners, fill=1)
    elif NAMES[label] == "square":
        draw.rectangle(corners, fill=1)
    else:
        draw.polygon([(x0, y1 - 1), (x1 - 1, y1 - 1), ((x0 + x1) // 2, y0)], fill=1)
    return np.asarray(image)


def line(random: np.random.Generator) -> Picture:
    """Three to six characters beside each other, dark on light; each is a box."""
    height, width = LINE
    image = Image.new("L", (width, height), int(random.integers(190, 250)))
    draw = ImageDraw.Draw(image)
    labels = random.integers(0, len(LETTERS), int(random.integers(3, 7)))
    font = ImageFont.load_default(size=float(random.integers(20, 25)))
    x, boxes, masks = float(random.integers(3, 12)), [], []
    top, ink = int(random.integers(0, 6)), int(random.integers(0, 80))
    for label in labels:
        x0, y0, x1, y1 = draw.textbbox((x, top), LETTERS[label], font=font)
        draw.text((x, top), LETTERS[label], font=font, fill=ink)
        boxes.append((x0, y0, x1, y1))
        mask = np.zeros(LINE, bool)
        mask[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
        masks.append(mask)
        x = x1 + int(random.integers(2, 6))
    gray = np.asarray(image, float) + random.normal(0, 6, LINE)
    pixels = np.clip(np.rint(gray), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    return Picture(pixels, np.array(boxes, float), labels, np.array(masks))
