"""The contract's input `target` of an exported file, in front of the places that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.ordering import prune, sort_nodes
from ..select.ending import is_probability
from ..select.score import BEST, PLACE_WEIGHTS, PLACES
from ..select.subject import Subject
from . import DECIDED, exported

# No axis is that long.
_FAR = 2**40


def with_target(model: onnx.ModelProto, subject: Subject) -> onnx.ModelProto:
    """The model with `target` in place of places and weights.

    It is int64 [N], a class, of which -1 is the best; where one score is named by its index tuple,
    [N, axes behind the first]. Of a score for each pixel a class stands for all of its score's
    places that the model predicts to be of it.
    """
    graph = gs.import_onnx(model)
    emit = Emitter(graph, "target")
    tensors = graph.tensors()
    places, weights = tensors[PLACES], tensors[PLACE_WEIGHTS]
    shape: list[Any] = [f"{RESERVED}targets"]
    if subject.by_index:
        shape.append(places.shape[1] - 1)
    target = gs.Variable("target", dtype=np.dtype(np.int64), shape=shape)
    inputs = [target if t is places else t for t in graph.inputs]
    graph.inputs = [t for t in inputs if t is not weights]
    if subject.per_class:
        found = _of_class(emit, subject, target, places.shape[1])
    elif subject.by_index:
        found = emit.Concat(_rows(emit, target), _from_zero(emit, target), axis=1)
    else:
        found = emit.Transpose(emit.NonZero(_mask(emit, subject, target, tensors)), perm=[1, 0])
    ones = emit.filled(emit.Shape(found, start=0, end=1), 1.0, weights.dtype)
    # Under their names, by which a Loop's body knows them.
    for made, named in ((found, places), (ones, weights)):
        graph.nodes.append(gs.Node("Identity", named.name, {}, [made], [named]))
    sort_nodes(graph)
    prune(graph)
    return exported(graph, model)


def _rows(emit: Emitter, target: gs.Tensor) -> gs.Tensor:
    """0 ... N-1 as a column."""
    count = emit.Squeeze(emit.Shape(target, start=0, end=1), [0])
    return emit.Unsqueeze(emit.Range(np.int64(0), count, np.int64(1)), [1])


def _from_zero(emit: Emitter, target: gs.Tensor) -> gs.Tensor:
    """Negative numbers replaced by one that is out of range: they would count from the end."""
    return emit.Where(emit.Less(target, 0), emit.constant(np.asarray(_FAR, np.int64)), target)


def _of_class(emit: Emitter, subject: Subject, target: gs.Tensor, rank: int) -> gs.Tensor:
    """The place of each row's class."""
    known = emit.Where(emit.Equal(target, BEST), target, _from_zero(emit, target))
    rows, classes = _rows(emit, target), emit.Unsqueeze(known, [1])
    first = emit.constant(np.zeros(1, np.int64)) * rows
    axes = [classes if axis == subject.class_axis else first for axis in range(1, rank)]
    return emit.Concat(rows, *axes, axis=1)


def _mask(emit: Emitter, subject: Subject, target: gs.Tensor, tensors: Any) -> gs.Tensor:
    """[c = target[n]] [the model predicts c at (h, w)], bool [N, C, H, W].

    Top1: the class of most pixels. Of one class: [the model predicts it].
    """
    decided = tensors[DECIDED]
    if subject.classes == 1:
        limit = 0.5 if is_probability(subject.decided) else 0.0
        return emit.Greater(decided, emit.constant(limit, decided.dtype))
    axis = subject.class_axis
    pixels = [a for a in (1, 2, 3) if a != axis]
    predicted = emit.ArgMax(decided, axis=axis, keepdims=0)
    classes = emit.Shape(decided, start=axis, end=axis + 1)
    values = emit.constant(np.array([0, 1], np.float32))
    hot = emit.OneHot(predicted, classes, values, axis=axis)
    best = emit.ArgMax(emit.ReduceSum(hot, pixels, keepdims=0), axis=1, keepdims=0)
    chosen = emit.Where(emit.Equal(target, BEST), best, _from_zero(emit, target))
    chosen = emit.Unsqueeze(chosen, [1])
    # Scattered: OneHot is silent about a class that is out of range.
    none = emit.filled(emit.Concat(emit.Shape(target), classes, axis=0), 0.0, np.dtype(np.float32))
    ones = emit.filled(emit.Shape(chosen), 1.0, np.dtype(np.float32))
    wanted = emit.Unsqueeze(emit.ScatterElements(none, chosen, ones, axis=1), pixels)
    return emit.Cast(emit.term(hot) * wanted, to=onnx.TensorProto.BOOL)
