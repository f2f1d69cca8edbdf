"""Volumes as slices side by side: their ground, and maps in the same geometry."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .arrays import WIDTH, resized
from .heatmap import INK, PAPER, finite
from .lettering import write

# Slices that are shown at most, and side by side.
_MOST, _IN_ROW = 12, 4
_GAP, _TITLE = 12, 36


def chosen(count: int) -> np.ndarray:
    """Which of so many slices are shown: all, or some at equal distances."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, _MOST))).astype(int))


def _tiles(shape: tuple[int, ...]) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    """For each slice that is shown its number, its (left, top) and its (width, height)."""
    numbers = chosen(shape[0]).tolist()
    columns = min(_IN_ROW, len(numbers))
    height, width = shape[1:3]
    wide = (WIDTH - (columns - 1) * _GAP) / columns
    scale = min(wide / width, WIDTH / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    found = []
    for place, number in enumerate(numbers):
        row, column = divmod(place, columns)
        left = round(column * (wide + _GAP) + (wide - size[0]) / 2)
        found.append((number, (left, row * (size[1] + _TITLE + _GAP) + _TITLE), size))
    return found


def _height(tiles: list[tuple[int, tuple[int, int], tuple[int, int]]]) -> int:
    _, (_, top), (_, height) = tiles[-1]
    return top + height + 2


def slices(values: np.ndarray) -> Image.Image:
    """The ground of a volume [slices, height, width, channels]: the mean of channels, in grey."""
    grey, _ = finite(np.asarray(values, np.float64).mean(axis=3))
    low, high = float(grey.min()), float(grey.max())
    grey = (grey - low) * (255 / ((high - low) or 1.0))
    tiles = _tiles(grey.shape)
    ground = Image.new("RGB", (WIDTH, _height(tiles)), PAPER)
    draw = ImageDraw.Draw(ground)
    for number, (left, top), size in tiles:
        tile = Image.fromarray(np.rint(grey[number]).astype(np.uint8))
        ground.paste(tile.resize(size, Image.Resampling.BICUBIC), (left, top))
        write(draw, (left, top - _TITLE + 1), f"slice {number} of {len(grey)}", 26, INK)
    return ground


def slices_map(values: np.ndarray, limit: float) -> np.ndarray:
    """Evidence [slices, height, width], each slice over its own."""
    del limit
    tiles = _tiles(values.shape)
    found = np.zeros((_height(tiles), WIDTH), np.float32)
    for number, (left, top), size in tiles:
        found[top : top + size[1], left : left + size[0]] = resized(values[number], size)
    return found
