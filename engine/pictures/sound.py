"""Sounds along time: their waveforms as a ground, and maps in the same geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .arrays import WIDTH, resized
from .heatmap import INK, PAPER, finite
from .lettering import wrap, write

_RULE = (196, 196, 202)
_TALL, _AXIS, _TICKS = (140, 320), 72, 5
# Channels beyond so many share the height of a picture.
_WHOLE = 720
# Columns of a map: twice as wide as a picture's pixels, so that each can be seen.
COLUMNS = WIDTH // 4


def _lane(count: int) -> int:
    return int(np.clip(_WHOLE // count, *_TALL))


def waveform(
    x: np.ndarray, rate: float | None, names: Sequence[str] = (), note: str = ""
) -> Image.Image:
    """The ground of a sound [C, T]: what each column's samples reach, over a time axis.

    Args:
        x: samples.
        rate: how many a second; None: not known, and samples are counted.
        names: of channels.
        note: what there is to say of the sound.
    """
    count, length = x.shape
    tall = _lane(count)
    ground = Image.new("RGB", (WIDTH, tall * count + _AXIS), PAPER)
    draw = ImageDraw.Draw(ground)
    x, _ = finite(np.asarray(x, np.float64))
    for place, line in enumerate(x):
        top, middle = place * tall, place * tall + tall / 2
        reach = (tall / 2 - 8) / (float(np.abs(line).max()) or 1.0)
        low, high = _columns(line)
        for column, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            ends = middle - most * reach - 1, middle - least * reach + 1
            draw.line([(column, ends[0]), (column, ends[1])], fill=INK)
        draw.line([(0, top + tall), (WIDTH, top + tall)], fill=_RULE, width=2)
        if names:
            write(draw, (6, top + 4), (wrap(names[place], 24, WIDTH - 12, 1) or [""])[0], 24, INK)
    below = tall * count
    for part in np.linspace(0, 1, _TICKS):
        text = f"{part * length / rate:.3g} s" if rate else str(round(part * length))
        at = float(part) * (WIDTH - 8) + 4
        draw.line([(at, below), (at, below + 8)], fill=INK, width=2)
        write(draw, (at, below + 10), text, 24, INK, float(part))
    write(draw, (4, below + 40), note, 24, INK)
    return ground


def _columns(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest sample of each of the picture's columns."""
    if len(line) < 2 * WIDTH:
        places = np.linspace(0, len(line) - 1, WIDTH)
        values = np.interp(places, np.arange(len(line)), line)
        after = np.append(values[1:], values[-1:])
        return np.minimum(values, after), np.maximum(values, after)
    starts = _starts(len(line), WIDTH)
    return np.minimum.reduceat(line, starts), np.maximum.reduceat(line, starts)


def _starts(length: int, columns: int) -> np.ndarray:
    return np.linspace(0, length, columns, endpoint=False).astype(int)


def pooled(values: np.ndarray, mean: bool) -> np.ndarray:
    """Evidence [C, T] in at most `COLUMNS` columns: the sum of each, or the mean of its places."""
    length = values.shape[1]
    if length <= COLUMNS:
        return values
    starts = _starts(length, COLUMNS)
    sums = np.add.reduceat(values, starts, axis=1)
    return sums / np.diff(np.append(starts, length)) if mean else sums


def waveform_map(values: np.ndarray, limit: float, count: int) -> np.ndarray:
    """Evidence [C, K], or [1, K] for all of so many channels, behind their waveforms."""
    del limit
    tall = _lane(count)
    found = np.zeros((tall * count + _AXIS, WIDTH), np.float32)
    for place, line in enumerate(np.broadcast_to(values, (count, values.shape[1]))):
        found[place * tall : (place + 1) * tall] = resized(line[None], (WIDTH, 1), between=False)
    return found
