"""What detectors' heads have in common: candidates, grids, and boxes in several spellings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.box_layout import (
    IN_ORDER,
    MOSTLY,
    ROOT,
    SHARE,
    SIDES,
    SIGMOID,
    SMALL,
    SOFTMAX,
    Layout,
)
from ...graph_passes.select.detector import Detector
from ...models.text import counted
from .positions import sides_of
from .target import About, Answer

# Whose Sigmoid is 0 or 1, before its exponent overflows.
_FARTHEST = 700.0
# Of the scales of detectors, the usual ones first.
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32), (8,), (16,), (4,))


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
        layout: how they are read.
        table: [A, K], the numbers of each.
        corners: [A, 4], x0, y0, x1, y1.
        chances: [A, C], 0 to 1.
    """

    layout: Layout
    table: np.ndarray
    corners: np.ndarray
    chances: np.ndarray

    def found(self, a: int, c: int, plain: bool) -> Found:
        """A candidate as a box of one class.

        plain: whether the scores are a list, without an axis for the numbers beside them.
        """
        layout, row = self.layout, self.table[a]

        def place(k: int) -> tuple[int, ...]:
            return (a,) if plain else (k, a) if layout.turned else (a, k)

        x0, y0, x1, y1 = map(float, self.corners[a])
        label = c if layout.labels is None else int(row[layout.labels])
        own, sides = layout.objectness, layout.sides
        held = own is not None and own < layout.beside
        there = len(sides) == SIDES and max(sides) < layout.beside
        return Found(
            (x0, y0, x1, y1),
            label,
            float(self.chances[a, c]),
            place(layout.classes[c]),
            (place(own), float(row[own])) if own is not None and held else None,
            tuple(map(place, sides)) if there else (),
        )


def candidates_of(layout: Layout, detector: Detector, answer: Answer) -> Candidates:
    """What a detector answered, read by its layout."""
    table = table_of(layout.parts, detector, answer)
    table = table.T if layout.turned else table
    return Candidates(layout, table, _corners(layout, table), _chances(layout, table))


def table_of(parts: Sequence[Sequence[str]], detector: Detector, answer: Answer) -> np.ndarray:
    """A detector's outputs side by side, float64 [A, K]."""
    rows = [[own_rows(detector, answer, name) for name in names] for names in parts]
    columns = [np.concatenate([_listed(r) for r in part]) for part in rows]
    return np.concatenate(columns, axis=1).astype(np.float64)


def _listed(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _corners(layout: Layout, table: np.ndarray) -> np.ndarray:
    found = _values(layout, table)
    if layout.within is not None and _are_parts(found):
        height, width = layout.within
        found = found * np.array([width, height, width, height])
    middles = not _in_order(found) if layout.seen else layout.middles
    return corners_of(found) if middles else found


def _values(layout: Layout, table: np.ndarray) -> np.ndarray:
    """v of `Layout`, [A, 4]."""
    numbers = table[:, layout.sides] if layout.sides else np.zeros((len(table), SIDES))
    if layout.in_bins:
        numbers = _means(numbers)
    if layout.growth is not None:
        lengths = np.exp(layout.growth * numbers[:, 2:])
        numbers = np.concatenate([numbers[:, :2], lengths], axis=1)
    return layout.offset + layout.factor * numbers


def _means(bins: np.ndarray) -> np.ndarray:
    """The expectation of 0, 1 ... under each side's Softmax over its bins."""
    count = bins.shape[1] // SIDES
    parts = np.exp(bins - bins.max(initial=0.0)).reshape(len(bins), SIDES, count)
    return (parts * np.arange(count)).sum(axis=2) / parts.sum(axis=2)


def _chances(layout: Layout, table: np.ndarray) -> np.ndarray:
    classes, own = list(layout.classes), layout.objectness
    chances = table[:, classes]
    if layout.chance == SIGMOID:
        chances = sigmoid(chances)
    elif layout.chance in (SHARE, SOFTMAX):
        parts = table[:, : layout.among]
        if layout.chance == SOFTMAX:
            parts = np.exp(parts - parts.max(axis=1, keepdims=True))
        chances = (parts / parts.sum(axis=1, keepdims=True))[:, classes]
    elif own is not None and layout.chance == ROOT:
        chances = np.sqrt(np.clip(chances, 0, 1) * np.clip(table[:, [own]], 0, 1))
    elif own is not None:
        chances = chances * table[:, [own]]
    if layout.labels is None:
        return chances
    return np.where(table[:, [layout.labels]] < 0, 0.0, chances)


def own_rows(detector: Detector, answer: Answer, name: str) -> np.ndarray:
    """An output's row; of an output without rows all of it."""
    values = np.asarray(answer.of_all.outputs[name])
    if detector.alone:
        return values
    return values[answer.row] if len(values) == len(answer.of_all.scores) else values


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-np.clip(values.astype(np.float64), -_FARTHEST, _FARTHEST)))


def corners_of(middles: np.ndarray) -> np.ndarray:
    """cx, cy, w, h -> x0, y0, x1, y1."""
    half = middles[:, 2:] / 2
    return np.concatenate([middles[:, :2] - half, middles[:, :2] + half], axis=1)


def _are_parts(boxes: np.ndarray) -> bool:
    """Whether boxes [A, 4] are of parts of the input's sides."""
    # Places that the file left empty are zeros.
    filled = np.abs(boxes[(boxes != 0).any(axis=1)])
    return filled.size > 0 and bool((filled <= SMALL).sum() >= MOSTLY * filled.size)


def _in_order(boxes: np.ndarray) -> bool:
    """Whether boxes are corners, whichever of the two ways they are written: those are in order."""
    return bool((boxes[:, 2:] >= boxes[:, :2]).all(axis=1).sum() > IN_ORDER * len(boxes))


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


def around(cells: np.ndarray, strides: np.ndarray) -> dict[str, Any]:
    """`Layout`'s numbers of distances to the four sides: corners are (cell -/+ distance) s."""
    offset = np.tile(cells * strides, 2)
    return {"offset": offset, "factor": strides * np.array([-1.0, -1.0, 1.0, 1.0])}
