"""Pictures with named axes, as a spectrogram's: their ground, and maps in the same geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .arrays import WIDTH, resized
from .heatmap import INK, PAPER
from .lettering import text_width, wrap, write

_LEFT, _BELOW, _SIZE = 100, 84, 28
_TALL = (200, 900)


def _inner(shape: Sequence[int]) -> tuple[int, int]:
    """(width, height) of the picture itself, of so many rows and columns."""
    rows, columns = shape
    width = WIDTH - _LEFT
    return width, int(np.clip(width * rows / columns, *_TALL))


def with_axes(picture: Image.Image, names: Sequence[str]) -> Image.Image:
    """A picture with the names of its rows and columns beside it, and their first and last place.

    names: of the axis downwards, and of the axis to the right.
    """
    columns, rows = picture.size
    size = width, height = _inner((rows, columns))
    ground = Image.new("RGB", (WIDTH, height + _BELOW), PAPER)
    ground.paste(picture.resize(size, Image.Resampling.NEAREST), (_LEFT, 0))
    draw = ImageDraw.Draw(ground)
    down, across = ((wrap(name, _SIZE, 400, 1) or [""])[0] for name in names)
    write(draw, (_LEFT, height + 4), "0", _SIZE, INK)
    write(draw, (WIDTH, height + 4), str(columns - 1), _SIZE, INK, 1.0)
    write(draw, (_LEFT + width / 2, height + 40), across, _SIZE, INK, 0.5)
    write(draw, (_LEFT - 8, 0), "0", _SIZE, INK, 1.0)
    write(draw, (_LEFT - 8, height - 36), str(rows - 1), _SIZE, INK, 1.0)
    upright = Image.new("RGB", (round(text_width(down, _SIZE)) + 4, 40), PAPER)
    write(ImageDraw.Draw(upright), (2, 0), down, _SIZE, INK)
    turned = upright.rotate(90, expand=True)
    ground.paste(turned, (2, max((height - turned.height) // 2, 0)))
    return ground


def axes_map(values: np.ndarray) -> np.ndarray:
    """Evidence [rows, columns] in the same geometry."""
    width, height = _inner(values.shape)
    found = np.zeros((height + _BELOW, WIDTH), np.float32)
    found[:height, _LEFT:] = resized(values, (width, height))
    return found
