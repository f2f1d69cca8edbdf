"""Boxes that are offsets to anchors, which the file does not hold: SCRFD, RetinaFace, BlazeFace.

Each with the anchors that its authors' code makes; distances and offsets as they are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.box_layout import OWN, SHARE, SIDES, SIGMOID, SOFTMAX, Layout
from ...graph_passes.select.detector import Detector
from ...models.text import counted
from .candidates import are_chances, around, cells_of, grid_of, own_rows, table_of
from .positions import sides_of
from .target import About, Answer

# RetinaFace's two anchors of a cell, in strides, and its variances.
_SIZES, _VARIANCES = (2.0, 4.0), (0.1, 0.2)


def distances(detector: Detector, about: About, answer: Answer) -> Layout:
    """SCRFD: corners are (cell -/+ distance) s; one list of all scales, scores are chances."""
    table = table_of((detector.scores, detector.boxes), detector, answer)
    classes = table.shape[1] - SIDES
    own = around(*grid_of(about, answer, len(table)))
    chance = OWN if are_chances(table[:, :classes]) else SIGMOID
    return _layout(detector, classes, **own, chance=chance)


def priors(detector: Detector, about: About, answer: Answer) -> Layout:
    """RetinaFace: two anchors of 2 and 4 strides in the middle of each cell.

    cx = px + 0.1 b0 pw, w = pw exp(0.2 b2); of two classes the first is the background.
    """
    own = own_rows(detector, answer, detector.scores[0])
    cells, strides = grid_of(about, answer, len(own))
    if not np.array_equal(cells[0::2], cells[1::2]):
        raise InvalidInputError(
            f"{counted(len(own), 'place')}: RetinaFace has two anchors a cell; name one score by "
            "its index tuple"
        )
    wide = strides * np.tile(_SIZES, len(own) // 2)[:, None]
    offset = np.concatenate([(cells + 0.5) * strides, np.zeros(cells.shape)], axis=1)
    factor = wide * np.array([_VARIANCES[0], _VARIANCES[0], 1.0, 1.0])
    chance = SHARE if are_chances(own) else SOFTMAX
    found = _layout(detector, 2, offset, factor, middles=True, growth=_VARIANCES[1])
    return found._replace(classes=(1,), chance=chance, among=2)


def unit_anchors(detector: Detector, about: About, answer: Answer) -> Layout:
    """BlazeFace: offsets in pixels to the middle of each cell: cx = px + b0, w = b2."""
    height, width = sides_of(about, answer)
    middles = np.concatenate(
        [
            np.repeat((cells_of(height // stride, width // stride) + 0.5) * stride, each, axis=0)
            for stride, each in detector.anchors
        ]
    )
    offset = np.concatenate([middles, np.zeros(middles.shape)], axis=1)
    chance = OWN if are_chances(own_rows(detector, answer, detector.scores[0])) else SIGMOID
    return _layout(detector, 1, offset, np.ones((1, SIDES)), middles=True, chance=chance)


def _layout(
    detector: Detector, classes: int, offset: np.ndarray, factor: np.ndarray, **more: Any
) -> Layout:
    """Scores, and behind them boxes whose first four numbers are theirs."""
    sides = tuple(range(classes, classes + SIDES))
    parts = (detector.scores, detector.boxes)
    return Layout(parts, tuple(range(classes)), sides, offset, factor, beside=classes, **more)
