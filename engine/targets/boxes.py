"""What a detector found: its outputs as boxes, one list of all, the strongest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from ... import InvalidInputError
from ...graph_passes.finish import IR_VERSION
from ...graph_passes.select.box_layout import OWN, ROOT, SHARE, SIDES, SIGMOID, SOFTMAX, Layout
from ...graph_passes.select.detector import Detector
from ...graph_passes.select.subject import OBJECTNESS
from ...models.text import counted
from .anchored import distances, priors, unit_anchors
from .candidates import (
    Candidates,
    Found,
    are_chances,
    around,
    candidates_of,
    grid_of,
    own_rows,
    table_of,
)
from .positions import sides_of
from .target import About, Answer

# What counts as found, and how much boxes of one class may overlap (Ultralytics' own numbers).
CONFIDENCE, OVERLAP = 0.25, 0.45
# `Layout`'s numbers of boxes that are what the output holds.
AS_THEY_ARE: dict[str, Any] = {"offset": np.zeros((1, SIDES)), "factor": np.ones((1, SIDES))}
# What labels of "no object" have in them.
_NONE = ("background", "object", "none", "n/a", "nothing")
# So many of the strongest are looked at.
_MOST = 1000


def boxes_in(about: About, answer: Answer) -> list[Found]:
    """The boxes that a detector found, the strongest first; at least the strongest candidate.

    Raises:
        InvalidInputError: the outputs are none that it knows.
    """
    detector = about.subject.detector
    assert detector is not None
    candidates = candidates_of(layout_of(about, answer), detector, answer)
    chances = candidates.chances
    order = np.argsort(-chances, axis=None, kind="stable")[:_MOST]
    strongest = [divmod(int(k), chances.shape[1]) for k in order]
    kept = [pair for pair in strongest if chances[pair] >= CONFIDENCE] or strongest[:1]
    if not candidates.layout.picked and len(kept) > 1:
        kept = _suppressed(candidates, kept, answer)
    return [candidates.found(a, c, answer.scores.ndim == 1) for a, c in kept]


def layout_of(about: About, answer: Answer) -> Layout:
    """How a detector's outputs are read, as its answer tells it.

    Raises:
        InvalidInputError: the outputs are none that it knows.
    """
    detector = about.subject.detector
    assert detector is not None
    return _READERS[detector.form](detector, about, answer)


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


def _mixed(detector: Detector, about: About, answer: Answer) -> Layout:
    """Boxes and scores side by side, [A, K] or [K, A]: YOLO's of all versions, YOLOX, NanoDet.

    Which numbers are scores is seen: they are another before their Sigmoid.
    """
    whole, raw = own_rows(detector, answer, detector.boxes[0]).astype(np.float64), answer.scores
    changed = np.abs(whole - raw) > 1e-6 * (1 + np.abs(whole))
    # Where few places are filled both are alike: then places come first, as picked boxes have it.
    turned = _mixing(changed, 1) < _mixing(changed, 0) / 2
    if turned:
        whole, changed = whole.T, changed.T
    first, last = _score_columns(changed)
    columns: dict[str, Any] = {"parts": (detector.boxes[:1],), "turned": turned}
    columns["beside"] = whole.shape[1]
    listed = _listed(whole, first, last, turned)
    if listed is not None:
        sides = tuple(range(listed.sides, listed.sides + SIDES))
        middles = detector.middles and listed.sides + SIDES == first
        columns |= {"sides": sides, "labels": listed.labels, "picked": True, "middles": middles}
        columns |= {"classes": tuple(range(first, last)), "within": sides_of(about, answer)}
        return Layout(**columns, **AS_THEY_ARE)
    _check_columns(about, whole.shape[1], first, last)
    if first == 0:
        sides, classes = tuple(range(last, whole.shape[1])), tuple(range(last))
        cells, strides = grid_of(about, answer, len(whole))
        columns["beside"] = last
        return Layout(classes=classes, sides=sides, **columns, **around(cells, strides))
    sides, objectness = tuple(range(first - SIDES, first)), None
    if not detector.middles and _has_objectness(about, last - first, turned):
        first, objectness = first + 1, first
    columns |= {"classes": tuple(range(first, last)), "objectness": objectness, "sides": sides}
    layout = Layout(**columns, **AS_THEY_ARE, middles=True, within=sides_of(about, answer))
    in_cells = _in_cells(*grid_of(about, answer, len(whole))) if detector.raw else {}
    return layout._replace(**in_cells)


def _score_columns(changed: np.ndarray) -> tuple[int, int]:
    """The first of the scores' columns, and the one behind the last."""
    # Places that the file left empty are the same before the Sigmoid: they tell nothing.
    filled = changed[changed.any(axis=1)]
    columns = np.flatnonzero(filled.mean(axis=0) > 0.5) if len(filled) else np.zeros(0, int)
    first = int(columns[0]) if len(columns) else 0
    behind = np.flatnonzero(np.diff(columns) != 1)
    last = int(columns[behind[0] if len(behind) else -1]) + 1 if len(columns) else 0
    return first, last


def _in_cells(cells: np.ndarray, strides: np.ndarray) -> dict[str, Any]:
    """cx = (column + b0) s, w = exp(b2) s."""
    offset = np.concatenate([cells * strides, np.zeros(cells.shape)], axis=1)
    factor = np.tile(strides, SIDES).astype(np.float64)
    return {"offset": offset, "factor": factor, "growth": 1.0, "middles": True}


class _Listed(NamedTuple):
    """Where a row of a picked box has its first coordinate and its class."""

    sides: int
    labels: int


def _listed(whole: np.ndarray, first: int, last: int, turned: bool) -> _Listed | None:
    """The order of rows of picked boxes; None: they are none.

    Most hold box, score and class; Paddle's are class, score, box; YOLOv7's image, box, class,
    score.
    """
    columns = whole.shape[1]
    if (columns, first, last) == (6, 1, 2) and _are_numbers(whole[:, 0]):
        return _Listed(2, 0)
    if (columns, first, last) == (7, 6, 7) and _are_numbers(whole[:, [0, 5]]):
        return _Listed(1, 5)
    behind = first >= SIDES and last - first == 1 and columns > last and not turned
    return _Listed(first - SIDES, last) if behind and _are_numbers(whole[:, last]) else None


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


def _pairs(detector: Detector, about: About, answer: Answer) -> Layout:
    """Boxes [Q, 4] beside scores [Q, C]: DETR and its kin, SSD, UltraFace."""
    raw = answer.scores
    own = own_rows(detector, answer, detector.scores[0]).astype(np.float64)
    probabilities = are_chances(own)
    count = raw.shape[1]
    last = count - 1
    # "No object" is the first class or the last, and that of most places.
    most = max((0, last), key=lambda c: float(raw[:, c].mean()))
    known = bool(about.labels) and len(about.labels or ()) == last
    none = detector.softmax or (known and not probabilities)
    columns = {"parts": (detector.scores[:1], detector.boxes[:1]), "beside": count}
    columns |= _beside(count, sides_of(about, answer))
    seen = not probabilities and last and not _all_objects(about, count)
    if none or (seen and _excludes(raw, most)):
        kept, chance = tuple(c for c in range(count) if c != most), SHARE
        chance = SHARE if probabilities else SOFTMAX
        return Layout(classes=kept, chance=chance, among=count, **columns)
    chance = OWN if probabilities else SIGMOID
    return Layout(classes=tuple(range(count)), chance=chance, **columns)


def _beside(first: int, sides: tuple[int, int], rows_first: bool = False) -> dict[str, Any]:
    """Of boxes in an output of their own: corners or middles, in pixels or parts."""
    order = [1, 0, 3, 2] if rows_first else [0, 1, 2, 3]
    columns = tuple(first + k for k in order)
    return {"sides": columns, "seen": True, "within": sides, **AS_THEY_ARE}


def _all_objects(about: About, count: int) -> bool:
    """Whether the labels say of every class what it is, and of none that it is no object."""
    labels = about.labels or ()
    ends = [label.lower() for label in (*labels[:1], *labels[-1:])]
    return len(labels) == count and not any(word in end for end in ends for word in _NONE)


def _excludes(raw: np.ndarray, most: int) -> bool:
    """Whether a class is the best by far in most places, as "no object" is."""
    others = np.delete(raw, most, axis=1).max(axis=1)
    return bool(((raw[:, most] > others).mean() > 0.6) and (np.exp(raw[:, most]).mean() > 1))


def _picked(detector: Detector, about: About, answer: Answer) -> Layout:
    """Boxes that the file picked, with a score and a class each."""
    parts = (detector.scores[:1], detector.boxes[:1], (detector.labels or "",))
    columns = _beside(1, sides_of(about, answer), detector.rows_first)
    return Layout(parts, (0,), labels=1 + SIDES, picked=True, beside=1, **columns)


def _scored(detector: Detector, about: About, answer: Answer) -> Layout:
    """MMDeploy's dets [K, 5] and labels [K]."""
    parts, sides = (detector.boxes[:1], (detector.labels or "",)), tuple(range(SIDES))
    own = {"labels": SIDES + 1, "picked": True, "beside": SIDES + 1}
    own["within"] = sides_of(about, answer)
    return Layout(parts, (SIDES,), sides, **AS_THEY_ARE, **own)


def _scales(detector: Detector, about: About, answer: Answer) -> Layout:
    """YuNet: cx = (column + b0) s, w = exp(b2) s; chance = sqrt(class objectness)."""
    count, classes = len(answer.scores), own_rows(detector, answer, detector.scores[0]).shape[1]
    own: dict[str, Any] = {"chance": ROOT}
    parts, first = (detector.scores, detector.boxes, detector.objectness), 0
    if about.subject.part == OBJECTNESS:
        # It is an output of its own, and what is explained.
        parts, first = (detector.objectness, *parts[:2]), 1
    own["objectness"] = 0 if first else classes + SIDES
    own["beside"] = 1 if first else classes
    sides = tuple(range(first + classes, first + classes + SIDES))
    own |= _in_cells(*grid_of(about, answer, count, [_named_strides(detector)]))
    return Layout(parts, tuple(range(first, first + classes)), sides, **own)


def _named_strides(detector: Detector) -> tuple[int, ...]:
    """Of outputs that are called by them: 8, 16 of cls_8, cls_16."""
    return tuple(int(name.rpartition("_")[2]) for name in detector.scores)


def _cells(detector: Detector, about: About, answer: Answer) -> Layout:
    """Scores without boxes: each place's cell, s wide and s high, stands for its box."""
    count, classes = answer.scores.shape
    own = table_of((detector.scores,), detector, answer)
    cells, strides = grid_of(about, answer, count, [_named_strides(detector)])
    corners = np.concatenate([cells * strides, (cells + 1) * strides], axis=1)
    chance = OWN if are_chances(own) else SIGMOID
    given = (tuple(range(classes)), (), corners, np.zeros((1, SIDES)))
    return Layout((detector.scores,), *given, chance=chance, beside=classes)


_READERS: dict[str, Callable[[Detector, About, Answer], Layout]] = {
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
