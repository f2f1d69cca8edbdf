"""What a detector found: its outputs as boxes, one list of all, the strongest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from ... import InvalidInputError
from ...graph_passes.finish import IR_VERSION
from ...graph_passes.select.detector import Detector
from ...graph_passes.select.subject import OBJECTNESS
from ...models.text import counted
from .anchored import distances, priors, unit_anchors
from .candidates import (
    SIDES,
    Candidates,
    Found,
    any_corners,
    are_chances,
    corners_of,
    grid_of,
    in_pixels,
    own_rows,
    sigmoid,
)
from .positions import sides_of
from .target import About, Answer

# What counts as found, and how much boxes of one class may overlap (Ultralytics' own numbers).
CONFIDENCE, OVERLAP = 0.25, 0.45
# So many of the strongest are looked at.
_MOST = 1000


def boxes_in(about: About, answer: Answer) -> list[Found]:
    """The boxes that a detector found, the strongest first; at least the strongest candidate.

    Raises:
        InvalidInputError: the outputs are none that it knows.
    """
    detector = about.subject.detector
    assert detector is not None
    candidates = _READERS[detector.form](detector, about, answer)
    chances, labels = candidates.chances, candidates.labels
    order = np.argsort(-chances, axis=None, kind="stable")[:_MOST]
    strongest = [divmod(int(k), chances.shape[1]) for k in order]
    kept = [pair for pair in strongest if chances[pair] >= CONFIDENCE] or strongest[:1]
    if not candidates.picked and len(kept) > 1:
        kept = _suppressed(candidates, kept, answer)
    return [
        Found(
            _four(candidates.corners[a]),
            c if labels is None else int(labels[a]),
            float(chances[a, c]),
            candidates.place(a, c),
            *_beside(candidates, a),
        )
        for a, c in kept
    ]


def _beside(
    candidates: Candidates, a: int
) -> tuple[tuple[tuple[int, ...], float] | None, tuple[tuple[int, ...], ...]]:
    """A box's objectness and the places of its coordinates, where they are known."""
    at, own, first = candidates.beside, candidates.objectness, candidates.sides
    if at is None:
        return None, ()
    sides = tuple(at(a, first + k) for k in range(SIDES))
    return None if own is None else (at(a, own[0]), float(own[1][a])), sides


def _four(corners: np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, corners)
    return x0, y0, x1, y1


def _suppressed(
    candidates: Candidates, pairs: list[tuple[int, int]], answer: Answer
) -> list[tuple[int, int]]:
    """Those that no stronger box of their class overlaps."""
    classes = sorted({c for _, c in pairs})
    scores = np.zeros((1, len(classes), len(pairs)), np.float32)
    for k, (a, c) in enumerate(pairs):
        scores[0, classes.index(c), k] = candidates.chances[a, c]
    corners = candidates.corners[[a for a, _ in pairs]].astype(np.float32)[None]
    found = answer.of_all.run(_suppression(), {"boxes": corners, "scores": scores})["chosen"]
    return [pairs[k] for k in sorted(int(k) for k in found[:, 2])]


@cache
def _suppression() -> onnx.ModelProto:
    """ONNX's NonMaxSuppression as a model; a box suppresses those of its own class alone."""
    value = helper.make_tensor_value_info
    inputs = [value("boxes", TensorProto.FLOAT, [1, "A", 4])]
    inputs += [value("scores", TensorProto.FLOAT, [1, "C", "A"])]
    constants = [
        helper.make_tensor("most", TensorProto.INT64, [], [_MOST]),
        helper.make_tensor("overlap", TensorProto.FLOAT, [], [OVERLAP]),
        helper.make_tensor("least", TensorProto.FLOAT, [], [0.0]),
    ]
    node = helper.make_node(
        "NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["chosen"]
    )
    outputs = [value("chosen", TensorProto.INT64, ["K", 3])]
    graph = helper.make_graph([node], "suppression", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 11)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _mixed(detector: Detector, about: About, answer: Answer) -> Candidates:
    """Boxes and scores side by side, [A, K] or [K, A]: YOLO's of all versions, YOLOX, NanoDet.

    Which numbers are scores is seen: they are another before their Sigmoid.
    """
    whole, raw = own_rows(detector, answer, detector.boxes[0]).astype(np.float64), answer.scores
    changed = np.abs(whole - raw) > 1e-6 * (1 + np.abs(whole))
    # Where few places are filled both are alike: then places come first, as picked boxes have it.
    turned = _mixing(changed, 1) < _mixing(changed, 0) / 2
    if turned:
        whole, changed = whole.T, changed.T
    # Places that the file left empty are the same before the Sigmoid: they tell nothing.
    filled = changed[changed.any(axis=1)]
    columns = np.flatnonzero(filled.mean(axis=0) > 0.5) if len(filled) else np.zeros(0, int)
    first = int(columns[0]) if len(columns) else 0
    behind = np.flatnonzero(np.diff(columns) != 1)
    last = int(columns[behind[0] if len(behind) else -1]) + 1 if len(columns) else 0

    def place(a: int, c: int) -> tuple[int, ...]:
        return (scores_from + c, a) if turned else (a, scores_from + c)

    def beside(a: int, k: int) -> tuple[int, ...]:
        return (k, a) if turned else (a, k)

    scores_from = first
    if _listed(whole, first, last) is None:
        _check_columns(about, whole.shape[1], first, last)
    listed = _listed(whole, first, last)
    if listed is not None:
        corners = in_pixels(whole[:, listed.sides : listed.sides + 4], sides_of(about, answer))
        labels = whole[:, listed.labels].astype(int)
        # Rows of class -1 mean none.
        chances = np.where(labels[:, None] < 0, 0.0, whole[:, first:last])
        own = {"picked": True, "beside": beside, "sides": listed.sides}
        return Candidates(corners, chances, labels, place, **own)
    if last - first == 1 and whole.shape[1] > last and _are_numbers(whole[:, last]) and not turned:
        corners, labels = whole[:, first - 4 : first], whole[:, last].astype(int)
        corners = in_pixels(
            corners_of(corners) if detector.middles else corners, sides_of(about, answer)
        )
        own = {"picked": True, "beside": beside, "sides": first - 4}
        return Candidates(corners, whole[:, first:last], labels, place, **own)
    if first == 0:
        corners = _from_bins(whole[:, last:], about, answer)
        return Candidates(corners, whole[:, :last], None, place)
    boxes, chances, objectness = whole[:, first - 4 : first], whole[:, first:last], None
    if not detector.middles and _has_objectness(about, chances.shape[1], turned):
        scores_from, objectness = first + 1, (first, chances[:, 0])
        chances = chances[:, 1:] * chances[:, :1]
    if detector.raw:
        cells, strides = grid_of(about, answer, len(boxes))
        middles, sizes = (boxes[:, :2] + cells) * strides, np.exp(boxes[:, 2:]) * strides
        boxes = np.concatenate([middles, sizes], axis=1)
    boxes = in_pixels(boxes, sides_of(about, answer))
    own = {"beside": beside, "objectness": objectness, "sides": first - 4}
    return Candidates(corners_of(boxes), chances, None, place, **own)


class _Listed(NamedTuple):
    """Where a row of a picked box has its first coordinate and its class."""

    sides: int
    labels: int


def _listed(whole: np.ndarray, first: int, last: int) -> _Listed | None:
    """The order of rows [M, 6] or [M, 7] that do not hold the box, its score and its class so.

    Paddle's are class, score, box; YOLOv7's image, box, class, score.
    """
    columns = whole.shape[1]
    if (columns, first, last) == (6, 1, 2) and _are_numbers(whole[:, 0]):
        return _Listed(2, 0)
    if (columns, first, last) == (7, 6, 7) and _are_numbers(whole[:, [0, 5]]):
        return _Listed(1, 5)
    return None


def _check_columns(about: About, count: int, first: int, last: int) -> None:
    """Refuse an output whose numbers are no boxes and scores.

    Raises:
        InvalidInputError: there is no room for four corners ahead of the scores, nor for bins
            behind them.
    """
    bins = count - last
    in_bins = first == 0 and bins >= 2 * SIDES and bins % SIDES == 0
    if last == first or not (first >= SIDES or in_bins):
        raise InvalidInputError(
            f"output {about.subject.output.name!r}: expected boxes and scores side by side, got "
            f"{counted(last - first, 'score')} behind {first} of {counted(count, 'number')}; name "
            "one by its index tuple"
        )


def _mixing(changed: np.ndarray, axis: int) -> float:
    """How much scores and other numbers stand mixed in the lines along an axis, 0 to 1/2.

    About 0 along the places, of which each number is a score for all or for none; along a place's
    numbers it is the share of the fewer, 4 of 84 for instance.
    """
    part = changed.mean(axis=axis)
    return float(np.minimum(part, 1 - part).mean()) if part.size else 0.0


def _are_numbers(values: np.ndarray) -> bool:
    """Whether they are classes' numbers: whole, and not all of them one fraction."""
    return bool((values == np.round(values)).all() and (values >= -1).all())


def _has_objectness(about: About, count: int, turned: bool) -> bool:
    """Whether the first score is the objectness: told by the labels, else by the layout.

    [N, A, 5 + C] is YOLOv5's and YOLOX's, [N, 4 + C, A] the later ones'.
    """
    if about.labels and len(about.labels) in (count, count - 1):
        return len(about.labels) == count - 1
    return not turned and count > 1


def _from_bins(bins: np.ndarray, about: About, answer: Answer) -> np.ndarray:
    """NanoDet's: distances to the four sides, each the expectation over bins, in strides."""
    count = bins.shape[1] // SIDES
    parts = np.exp(bins.reshape(len(bins), SIDES, count) - bins.max())
    distances = (parts * np.arange(count)).sum(axis=2) / parts.sum(axis=2)
    cells, strides = grid_of(about, answer, len(bins))
    middle = cells * strides
    ahead, behind = distances[:, :2] * strides, distances[:, 2:] * strides
    return np.concatenate([middle - ahead, middle + behind], axis=1)


def _pairs(detector: Detector, about: About, answer: Answer) -> Candidates:
    """Boxes [Q, 4] beside scores [Q, C]: DETR and its kin, SSD, UltraFace."""
    boxes, raw = own_rows(detector, answer, detector.boxes[0]), answer.scores
    own = own_rows(detector, answer, detector.scores[0]).astype(np.float64)
    probabilities = are_chances(own)
    last = raw.shape[1] - 1
    # "No object" is the first class or the last, and that of most places.
    most = max((0, last), key=lambda c: float(raw[:, c].mean()))
    known = bool(about.labels) and len(about.labels or ()) == last
    none = detector.softmax or (known and not probabilities)
    if none or (not probabilities and last and _excludes(raw, most)):
        parts = own if probabilities else np.exp(raw - raw.max(axis=1, keepdims=True))
        parts = parts / parts.sum(axis=1, keepdims=True)
        kept = [c for c in range(raw.shape[1]) if c != most]
        corners = any_corners(boxes, sides_of(about, answer))
        return Candidates(corners, parts[:, kept], None, lambda a, c: (a, kept[c]))
    chances = own if probabilities else sigmoid(raw)
    corners = any_corners(boxes, sides_of(about, answer))
    return Candidates(corners, chances, None, lambda a, c: (a, c))


def _excludes(raw: np.ndarray, most: int) -> bool:
    """Whether a class is the best by far in most places, as "no object" is."""
    others = np.delete(raw, most, axis=1).max(axis=1)
    return bool(((raw[:, most] > others).mean() > 0.6) and (np.exp(raw[:, most]).mean() > 1))


def _picked(detector: Detector, about: About, answer: Answer) -> Candidates:
    """Boxes that the file picked, with a score and a class each."""
    boxes = own_rows(detector, answer, detector.boxes[0])
    boxes = boxes[:, [1, 0, 3, 2]] if detector.rows_first else boxes
    corners = any_corners(boxes, sides_of(about, answer))
    chances = own_rows(detector, answer, detector.scores[0]).reshape(-1, 1).astype(np.float64)
    labels = own_rows(detector, answer, detector.labels or "").reshape(-1).astype(int)
    return Candidates(corners, chances, labels, lambda a, c: (a,), picked=True)


def _scored(detector: Detector, about: About, answer: Answer) -> Candidates:
    """MMDeploy's dets [K, 5] and labels [K]."""
    whole = own_rows(detector, answer, detector.boxes[0]).astype(np.float64)
    labels = own_rows(detector, answer, detector.labels or "").reshape(-1).astype(int)
    corners = in_pixels(whole[:, :4], sides_of(about, answer))
    return Candidates(
        corners, whole[:, 4:], labels, lambda a, c: (a, 4), picked=True, beside=lambda a, k: (a, k)
    )


def _scales(detector: Detector, about: About, answer: Answer) -> Candidates:
    """YuNet: cx = (column + b0) s, w = exp(b2) s; chance = sqrt(class objectness)."""
    parts = (detector.scores, detector.boxes, detector.objectness)
    scores, boxes, objectness = (
        np.concatenate([own_rows(detector, answer, name) for name in names]).astype(np.float64)
        for names in parts
    )
    cells, strides = grid_of(about, answer, len(boxes), [_named_strides(detector)])
    middles = [(boxes[:, :2] + cells) * strides, np.exp(boxes[:, 2:4]) * strides]
    chances = np.sqrt(np.clip(scores, 0, 1) * np.clip(objectness, 0, 1))
    corners = corners_of(np.concatenate(middles, 1))
    own = {}
    if about.subject.part == OBJECTNESS:
        own = {"beside": lambda a, k: (a, k), "objectness": (0, objectness[:, 0])}
    return Candidates(corners, chances, None, lambda a, c: (a, c), **own)


def _named_strides(detector: Detector) -> tuple[int, ...]:
    """Of outputs that are called by them: 8, 16 of cls_8, cls_16."""
    return tuple(int(name.rpartition("_")[2]) for name in detector.scores)


def _cells(detector: Detector, about: About, answer: Answer) -> Candidates:
    """Scores without boxes: each place's cell, s wide and s high, stands for its box."""
    raw = answer.scores
    own = np.concatenate([own_rows(detector, answer, name) for name in detector.scores])
    chances = own.astype(np.float64) if are_chances(own) else sigmoid(raw)
    cells, strides = grid_of(about, answer, len(raw), [_named_strides(detector)])
    corners = np.concatenate([cells * strides, (cells + 1) * strides], axis=1)
    return Candidates(corners, chances, None, lambda a, c: (a, c))


_READERS: dict[str, Callable[[Detector, About, Answer], Candidates]] = {
    "mixed": _mixed,
    "pairs": _pairs,
    "picked": _picked,
    "scored": _scored,
    "scales": _scales,
    "cells": _cells,
    "distances": distances,
    "priors": priors,
    "unit anchors": unit_anchors,
}


def overlap(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """The part of two boxes' union that both have."""
    ends, begins = np.minimum(a[2:], b[2:]), np.maximum(a[:2], b[:2])
    both = float(np.prod(np.maximum(ends - begins, 0)))
    areas = sum(float((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b))
    return both / (areas - both) if areas > both else 0.0
