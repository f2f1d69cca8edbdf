"""What detectors' heads have in common: candidates, grids, and boxes in several spellings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.detector import Detector
from ...models.text import counted
from .positions import sides_of
from .target import About, Answer

# Coordinates of which nine in ten are up to this are parts of the input's sides.
_PARTS = 1.5
# Of the scales of detectors, the usual ones first.
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32), (8,), (16,), (4,))
# Sides of a box.
SIDES = 4


class Found(NamedTuple):
    """A box.

    Attributes:
        corners: x0, y0, x1, y1 in the model's input, whose pixels count from its top left corner.
        label: the number of its class.
        chance: how sure the model is, 0 to 1.
        place: of its class's score, behind the batch axis.
        objectness: the place of its objectness, and how large it is; None: there is none.
        sides: of its four coordinates; () where they stand in another output.
    """

    corners: tuple[float, float, float, float]
    label: int
    chance: float
    place: tuple[int, ...]
    objectness: tuple[tuple[int, ...], float] | None = None
    sides: tuple[tuple[int, ...], ...] = ()


class Candidates(NamedTuple):
    """All that a detector looked at: A places of C classes.

    Attributes:
        corners: [A, 4], x0, y0, x1, y1.
        chances: [A, C], 0 to 1.
        labels: [A], the classes of boxes that were picked, of which C is 1; else None.
        place: (a, c) -> the place of the score behind the batch axis.
        picked: whether the file has suppressed what overlaps already.
        beside: (a, k) -> the place of the number k in a's row, where boxes and scores stand side by
            side.
        objectness: k of the objectness and its numbers [A], where the scores have one.
        sides: k of the first of the four coordinates.
    """

    corners: np.ndarray
    chances: np.ndarray
    labels: np.ndarray | None
    place: Callable[[int, int], tuple[int, ...]]
    picked: bool = False
    beside: Callable[[int, int], tuple[int, ...]] | None = None
    objectness: tuple[int, np.ndarray] | None = None
    sides: int = 0


def own_rows(detector: Detector, answer: Answer, name: str) -> np.ndarray:
    """An output's row; of an output without rows all of it."""
    values = np.asarray(answer.of_all.outputs[name])
    if detector.alone:
        return values
    return values[answer.row] if len(values) == len(answer.of_all.scores) else values


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def corners_of(middles: np.ndarray) -> np.ndarray:
    """cx, cy, w, h -> x0, y0, x1, y1."""
    half = middles[:, 2:] / 2
    return np.concatenate([middles[:, :2] - half, middles[:, :2] + half], axis=1)


def in_pixels(boxes: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Boxes of parts of the input's sides in pixels; others as they are."""
    height, width = sides
    parts = boxes.size > 0 and float(np.quantile(np.abs(boxes), 0.9)) <= _PARTS
    return boxes * np.array([width, height, width, height]) if parts else boxes


def any_corners(boxes: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Boxes as corners, whichever of the two ways they are written: corners are in order."""
    boxes = in_pixels(boxes.astype(np.float64), sides)
    ordered = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    return boxes if ordered.mean() > 0.99 else corners_of(boxes)


def are_chances(values: np.ndarray) -> bool:
    """Whether numbers lie between 0 and 1, as probabilities do."""
    return bool(values.size > 0 and values.min() >= 0 and values.max() <= 1)


def cells_of(rows: int, columns: int) -> np.ndarray:
    """(column, row) of each cell, row by row."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x.reshape(-1), y.reshape(-1)], axis=1)


def grid_of(
    about: About, answer: Answer, count: int, known: Sequence[tuple[int, ...]] = _STRIDES
) -> tuple[np.ndarray, np.ndarray]:
    """The cell [A, 2] and the stride [A, 1] of each place of a detector's scales.

    known: the strides that they may have.

    Raises:
        InvalidInputError: no strides give as many places.
    """
    height, width = sides_of(about, answer)
    for strides in known:
        cells, sizes = [], []
        for stride in strides:
            cells.append(cells_of(-(-height // stride), -(-width // stride)))
            sizes.append(np.full((len(cells[-1]), 1), stride))
        whole = np.concatenate(cells)
        if len(whole) and count % len(whole) == 0 and count // len(whole) in (1, 2, 3):
            each = count // len(whole)
            return np.repeat(whole, each, axis=0), np.repeat(np.concatenate(sizes), each, axis=0)
    raise InvalidInputError(
        f"{counted(count, 'place')} of an input of {height} x {width}: no strides that detectors "
        "have give so many; "
        "name one score by its index tuple"
    )
