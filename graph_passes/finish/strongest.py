"""The strongest box of a detector as a file's target, which the graph itself chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..select.box_layout import (
    IN_ORDER,
    MOSTLY,
    OWN,
    ROOT,
    SHARE,
    SIDES,
    SIGMOID,
    SMALL,
    SOFTMAX,
    Layout,
)
from ..select.subject import Subject
from . import SCORE
from .resampling import DOUBLE, FLOAT, INT64
from .target_input import EXPLAINED, finished, put, target_taken_out, with_outputs

# Less than any chance.
_NEVER = -1.0
# Whose Sigmoid is 0 or 1, before its exponent overflows.
_FARTHEST = 700.0


def strongest_target(
    model: onnx.ModelProto, subject: Subject, layout: Layout, label: int | None, column: int | None
) -> onnx.ModelProto:
    """The model with its input `target` replaced by the place of each row's strongest box.

    It is the first of the largest chances, which no suppression takes away. The file returns its
    `explained_box`, float32 [N, 4], x0, y0, x1, y1 in pixels of the model's input,
    `explained_class`, int64 [N], and `explained_chance` and `explained_score`, float32 [N].

    Args:
        model: of `with_target`.
        subject: what is explained.
        layout: how the head is read.
        label: of that class alone; None: of all.
        column: of the table, which is explained in place of the class's score; or None.
    """
    graph = gs.import_onnx(model)
    target, tensors = target_taken_out(graph), graph.tensors()
    head = _Head(Emitter(graph, "strongest"), layout, tensors, subject)
    emit = head.emit
    classes = layout.classes
    if label is not None and layout.labels is None:
        classes = classes[label : label + 1]
    flat = emit.Reshape(_chances(head, classes, label), [0, -1])
    best = emit.ArgMax(flat, axis=1, keepdims=1)
    best = emit.term(best)
    a = emit.term(best / np.int64(len(classes)))
    c = best - a * np.int64(len(classes))
    row = _numbers_of(head, a)
    scored = emit.Gather(np.asarray(classes, np.int64), c, axis=0)
    if column is not None:
        scored = c * np.int64(0) + np.int64(column)
    place = _place(head, a, scored)
    put(graph, (place, target))
    own = c + np.int64(label or 0)
    if layout.labels is not None:
        own = emit.Cast(emit.Slice(row, [layout.labels], [layout.labels + 1], [1]), to=INT64)
    found = {
        EXPLAINED.box: emit.Cast(_corners(head, row, a), to=FLOAT),
        EXPLAINED.class_: emit.Squeeze(own, [1]),
        EXPLAINED.chance: emit.Cast(
            emit.Squeeze(emit.GatherElements(flat, best, axis=1), [1]), to=FLOAT
        ),
        EXPLAINED.score: emit.Cast(_score(head, place), to=FLOAT),
    }
    with_outputs(graph, found)
    return finished(graph, model)


class _Head(NamedTuple):
    """A detector's head inside a graph."""

    emit: Emitter
    layout: Layout
    tensors: Mapping[str, gs.Tensor]
    subject: Subject

    @property
    def alone(self) -> bool:
        """Whether the outputs have no batch axis."""
        return self.subject.detector is not None and self.subject.detector.alone

    def table(self) -> Any:
        """The outputs side by side, double [N, A, K]."""
        parts = [self._part(names) for names in self.layout.parts]
        return parts[0] if len(parts) == 1 else self.emit.Concat(*parts, axis=2)

    def _part(self, names: Sequence[str]) -> Any:
        lists = [self._list(self.tensors[name]) for name in names]
        return lists[0] if len(lists) == 1 else self.emit.Concat(*lists, axis=1)

    def _list(self, tensor: gs.Tensor) -> Any:
        """An output as [N, A, k]."""
        emit, rank = self.emit, len(tensor.shape) + self.alone
        found = emit.Unsqueeze(tensor, [0]) if self.alone else tensor
        found = emit.Unsqueeze(found, [2]) if rank == 2 else found
        found = emit.Transpose(found, perm=[0, 2, 1]) if self.layout.turned else found
        return emit.Cast(found, to=DOUBLE)

    def columns(self, tensor: Any, columns: Sequence[int]) -> Any:
        """Some of the numbers of each candidate, [N, A, k], or of one, [N, k]."""
        return self.emit.Gather(tensor, [*columns], axis=-1)


def _chances(head: _Head, classes: Sequence[int], label: int | None) -> Any:
    """How sure the model is of each candidate and class, double [N, A, classes]."""
    emit, layout, table = head.emit, head.layout, head.table()
    if layout.chance == SIGMOID:
        chances = _sigmoid(emit, head.columns(table, classes))
    elif layout.chance in (SHARE, SOFTMAX):
        among = range(layout.among)
        parts = emit.term(head.columns(table, among))
        if layout.chance == SOFTMAX:
            parts = emit.Exp(parts - emit.ReduceMax(parts, [2], keepdims=1))
        shares = emit.term(parts) / emit.ReduceSum(parts, [2], keepdims=1)
        chances = head.columns(shares, classes)
    else:
        chances = head.columns(table, classes)
    if layout.objectness is not None:
        objectness = head.columns(table, [layout.objectness])
        if layout.chance == ROOT:
            chances = emit.Sqrt(_unit(emit, chances) * _unit(emit, objectness))
        else:
            assert layout.chance == OWN, "a head with an objectness has chances"
            chances = emit.term(chances) * objectness
    return chances if layout.labels is None else _of_label(head, table, chances, label)


def _of_label(head: _Head, table: Any, chances: Any, label: int | None) -> Any:
    """Chances of picked boxes: 0 of no class, and less than any of other classes than the label."""
    emit, zero = head.emit, _double(head.emit, 0.0)
    assert head.layout.labels is not None
    labels = head.columns(table, [head.layout.labels])
    chances = emit.Where(emit.Less(labels, zero), zero, chances)
    if label is None:
        return chances
    own = emit.Equal(labels, _double(emit, float(label)))
    return emit.Where(own, chances, _double(emit, _NEVER))


def _double(emit: Emitter, value: float) -> Any:
    """A number as a double."""
    return emit.constant(value, np.dtype(np.float64))


def _sigmoid(emit: Emitter, logits: Any) -> Any:
    ends = [_double(emit, end) for end in (-_FARTHEST, _FARTHEST)]
    held = emit.term(emit.Min(emit.Max(logits, ends[0]), ends[1]))
    return 1.0 / (emit.term(emit.Exp(-held)) + 1.0)


def _unit(emit: Emitter, values: Any) -> Any:
    """Numbers held between 0 and 1."""
    low, high = (_double(emit, end) for end in (0.0, 1.0))
    return emit.term(emit.Min(emit.Max(values, low), high))


def _numbers_of(head: _Head, a: Any) -> Any:
    """All numbers of one candidate of each row, double [N, K]; a: [N, 1]."""
    emit = head.emit
    return emit.GatherND(head.table(), a, batch_dims=1)


def _place(head: _Head, a: Any, k: Any) -> Any:
    """Where a candidate's number is among the scores, behind the batch axis: int64 [N, axes]."""
    shape = head.subject.logits.shape
    if shape is not None and len(shape) == 2:
        return a
    return head.emit.Concat(*((k, a) if head.layout.turned else (a, k)), axis=1)


def _score(head: _Head, place: Any) -> Any:
    """What is explained, [N]: as the method's graph has it, or else the number in its place."""
    known = head.tensors.get(SCORE)
    if known is not None:
        head.emit.graph.outputs = [t for t in head.emit.graph.outputs if t is not known]
        return known
    return head.emit.GatherND(head.tensors[head.subject.logits.name], place, batch_dims=1)


def _corners(head: _Head, row: Any, a: Any) -> Any:
    """x0, y0, x1, y1 of one candidate of each row, double [N, 4]."""
    emit, layout = head.emit, head.layout
    own = _of_candidate(emit, layout.offset, a), _of_candidate(emit, layout.factor, a)
    found = _values(head, row, *own)
    every = None
    if layout.within is not None or layout.seen:
        every = _values(head, head.table(), layout.offset, layout.factor)
    if layout.within is not None:
        height, width = layout.within
        sides = np.asarray([width, height, width, height], np.float64)
        found = emit.term(emit.Where(_are_parts(emit, every), found * sides, found))
    middle, half = _pair(emit, found, 0), _pair(emit, found, 2) * 0.5
    around = emit.Concat(middle - half, middle + half, axis=-1)
    if layout.seen:
        return emit.Where(_in_order(emit, every), found, around)
    return around if layout.middles else found


def _are_parts(emit: Emitter, boxes: Any) -> Any:
    """Whether boxes [N, A, 4] are of parts of the input's sides, as most small ones are: [N, 1]."""
    size = abs(emit.term(boxes))
    filled = emit.Greater(emit.ReduceMax(size, [2], keepdims=1), _double(emit, 0.0))
    small = emit.And(filled, emit.LessOrEqual(size, _double(emit, SMALL)))
    count = _count(emit, filled) * float(SIDES)
    there = emit.Greater(count, _double(emit, 0.0))
    return emit.And(there, emit.GreaterOrEqual(_count(emit, small), count * MOSTLY))


def _in_order(emit: Emitter, boxes: Any) -> Any:
    """Whether nearly all boxes [N, A, 4] have their corners in order: [N, 1]."""
    apart = _pair(emit, boxes, 2) - _pair(emit, boxes, 0)
    ordered = emit.GreaterOrEqual(emit.ReduceMin(apart, [2], keepdims=1), _double(emit, 0.0))
    count = emit.term(emit.Cast(emit.Shape(boxes, start=1, end=2), to=DOUBLE))
    return emit.Greater(_count(emit, ordered), count * IN_ORDER)


def _count(emit: Emitter, conditions: Any) -> Any:
    """How many of each row hold, double [N, 1]."""
    numbers = emit.Cast(conditions, to=DOUBLE)
    return emit.term(emit.ReduceSum(emit.Reshape(numbers, [0, -1]), [1], keepdims=1))


def _values(head: _Head, table: Any, offset: Any, factor: Any) -> Any:
    """v of `Layout`, of all candidates [N, A, 4] or of one [N, 4]."""
    emit, layout = head.emit, head.layout
    if not layout.sides:
        return emit.term(offset)
    numbers = emit.term(head.columns(table, layout.sides))
    if layout.in_bins:
        numbers = _means(emit, numbers, len(layout.sides) // SIDES)
    if layout.growth is not None:
        lengths = emit.Exp(_pair(emit, numbers, 2) * layout.growth)
        numbers = emit.term(emit.Concat(_pair(emit, numbers, 0), lengths, axis=-1))
    return emit.term(numbers * factor) + offset


def _of_candidate(emit: Emitter, numbers: np.ndarray, a: Any) -> Any:
    """A candidate's own of [A, 4], or what [1, 4] has for all: double [N, 4]."""
    table = np.asarray(numbers, np.float64)
    at = a if len(table) > 1 else a * np.int64(0)
    return emit.term(emit.Reshape(emit.Gather(table, at, axis=0), [0, SIDES]))


def _pair(emit: Emitter, numbers: Any, first: int) -> Any:
    return emit.term(emit.Slice(numbers, [first], [first + 2], [-1]))


def _means(emit: Emitter, bins: Any, count: int) -> Any:
    """The expectation of 0, 1 ... under each side's Softmax over its bins: [N, 4]."""
    apart = emit.Reshape(bins, [0, SIDES, count])
    parts = emit.Exp(emit.term(apart) - emit.ReduceMax(apart, [2], keepdims=1))
    numbered = emit.term(parts) * np.arange(count, dtype=np.float64)
    weighed = emit.ReduceSum(numbered, [2], keepdims=0)
    return emit.term(weighed) / emit.ReduceSum(parts, [2], keepdims=0)
