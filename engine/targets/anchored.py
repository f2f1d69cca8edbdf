"""Boxes that are offsets to anchors, which the file does not hold: SCRFD, RetinaFace, BlazeFace.

Each with the anchors that its authors' code makes; distances and offsets as they are there.
"""

from __future__ import annotations

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.detector import Detector
from ...models.text import counted
from .candidates import Candidates, are_chances, cells_of, corners_of, grid_of, own_rows, sigmoid
from .positions import sides_of
from .target import About, Answer

# RetinaFace's two anchors of a cell, in strides, and its variances.
_SIZES, _VARIANCES = (2.0, 4.0), (0.1, 0.2)


def distances(detector: Detector, about: About, answer: Answer) -> Candidates:
    """SCRFD: corners are (cell -/+ distance) s; one list of all scales, scores are chances."""
    scores, boxes = (
        np.concatenate([own_rows(detector, answer, name) for name in names]).astype(np.float64)
        for names in (detector.scores, detector.boxes)
    )
    cells, strides = grid_of(about, answer, len(boxes))
    corners = np.concatenate([cells - boxes[:, :2], cells + boxes[:, 2:]], axis=1) * strides
    chances = scores.reshape(len(boxes), -1)
    if not are_chances(chances):
        chances = sigmoid(chances)
    return Candidates(corners, chances, None, lambda a, c: (a, c))


def priors(detector: Detector, about: About, answer: Answer) -> Candidates:
    """RetinaFace: two anchors of 2 and 4 strides in the middle of each cell.

    cx = px + 0.1 b0 pw, w = pw exp(0.2 b2); of two classes the first is the background.
    """
    boxes = own_rows(detector, answer, detector.boxes[0]).astype(np.float64)
    cells, strides = grid_of(about, answer, len(boxes))
    if not np.array_equal(cells[0::2], cells[1::2]):
        raise InvalidInputError(
            f"{counted(len(boxes), 'place')}: RetinaFace has two anchors a cell; name one score by "
            "its index tuple"
        )
    wide = strides * np.tile(_SIZES, len(boxes) // 2)[:, None]
    middles = (cells + 0.5) * strides + _VARIANCES[0] * boxes[:, :2] * wide
    sizes = wide * np.exp(_VARIANCES[1] * boxes[:, 2:])
    own, raw = own_rows(detector, answer, detector.scores[0]).astype(np.float64), answer.scores
    if not are_chances(own):
        own = np.exp(raw - raw.max(axis=1, keepdims=True))
    chances = (own / own.sum(axis=1, keepdims=True))[:, 1:]
    corners = corners_of(np.concatenate([middles, sizes], axis=1))
    return Candidates(corners, chances, None, lambda a, c: (a, c + 1))


def unit_anchors(detector: Detector, about: About, answer: Answer) -> Candidates:
    """BlazeFace: offsets in pixels to the middle of each cell: cx = px + b0, w = b2."""
    boxes = own_rows(detector, answer, detector.boxes[0])[:, :4].astype(np.float64)
    height, width = sides_of(about, answer)
    middles = np.concatenate(
        [
            np.repeat((cells_of(height // stride, width // stride) + 0.5) * stride, each, axis=0)
            for stride, each in detector.anchors
        ]
    )
    own = own_rows(detector, answer, detector.scores[0]).astype(np.float64).reshape(len(boxes), -1)
    chances = own if are_chances(own) else sigmoid(np.clip(own, -100, 100))
    boxes = np.concatenate([boxes[:, :2] + middles, boxes[:, 2:]], axis=1)
    return Candidates(corners_of(boxes), chances, None, lambda a, c: (a, c))
