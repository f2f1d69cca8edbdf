"""The contract's input `target` of an exported file, in front of the places that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.ordering import prune, sort_nodes
from ..graph.tensors import onnx_type
from ..select.embedding import VERSUS, at_unit_length
from ..select.ending import is_probability
from ..select.rows.places import Place
from ..select.score import BEST, PLACE_WEIGHTS, PLACES
from ..select.subject import Subject
from . import DECIDED, exported, free_names

TARGET = "target"


class Explained(NamedTuple):
    """What outputs are called that say what a file has chosen to explain."""

    box: str = "explained_box"
    mask: str = "explained_mask"
    class_: str = "explained_class"
    chance: str = "explained_chance"
    score: str = "explained_score"


EXPLAINED = Explained()
INT32 = onnx.TensorProto.INT32
_ROWS = f"{RESERVED}explained"
_SHAPES: dict[str, list[Any]] = {
    EXPLAINED.box: [_ROWS, 4],
    EXPLAINED.mask: [_ROWS, f"{RESERVED}down", f"{RESERVED}across"],
    EXPLAINED.class_: [_ROWS],
    EXPLAINED.chance: [_ROWS],
    EXPLAINED.score: [_ROWS],
}
# No axis is that long.
_FAR = 2**40


def with_target(model: onnx.ModelProto, subject: Subject) -> onnx.ModelProto:
    """The model with `target` in place of places and weights.

    It is int64 [N], a class, of which -1 is the best; where one score is named by its index tuple,
    [N, axes behind the first]. Of a score for each pixel a class stands for all of its score's
    places that the model predicts to be of it. Where the score is a cosine there is no target, but
    `versus`: float [N, D], what each embedding is compared with, of any length.
    """
    graph = gs.import_onnx(model)
    emit = Emitter(graph, "target")
    tensors = graph.tensors()
    places, weights = tensors[PLACES], tensors[PLACE_WEIGHTS]
    if subject.cosine:
        __put_versus(emit, subject, places, weights)
        return finished(graph, model)
    shape: list[Any] = [f"{RESERVED}targets"]
    if subject.by_index:
        shape.append(places.shape[1] - 1)
    target = gs.Variable(TARGET, dtype=np.dtype(np.int64), shape=shape)
    inputs = [target if t is places else t for t in graph.inputs]
    graph.inputs = [t for t in inputs if t is not weights]
    if subject.per_class:
        found = _of_class(emit, subject, target, places.shape[1])
    elif subject.by_index:
        found = emit.Concat(_rows(emit, target), _from_zero(emit, target), axis=1)
    else:
        found = emit.Transpose(emit.NonZero(_mask(emit, subject, target, tensors)), perm=[1, 0])
    ones = emit.filled(emit.Shape(found, start=0, end=1), 1.0, weights.dtype)
    put(graph, (found, places), (ones, weights))
    return finished(graph, model)


def fixed_target(
    model: onnx.ModelProto, subject: Subject, index: int | Sequence[int]
) -> onnx.ModelProto:
    """The model with its input `target` replaced by one target for every row.

    Args:
        model: of `with_target`.
        subject: what is explained.
        index: a class, -1 for the best, or an index tuple.
    """
    graph = gs.import_onnx(model)
    emit = Emitter(graph, "target")
    target = target_taken_out(graph)
    # Outputs have their rows first; where the one explained does not, there is one sample.
    apart = subject.rows.get(subject.output.name) == Place(0)
    counted = graph.tensors()[subject.output.name if apart else subject.input.name]
    value = np.asarray(index, np.int64)
    sizes = emit.Shape(counted, start=0, end=1) if apart else emit.constant(np.ones(1, np.int64))
    if value.ndim:
        sizes = emit.Concat(sizes, emit.constant(np.asarray(value.shape, np.int64)), axis=0)
    put(graph, (emit.Expand(emit.constant(value), sizes), target))
    if not subject.per_class and not subject.by_index and not value.ndim:
        with_outputs(graph, _explained_pixels(emit, subject, target))
    return finished(graph, model)


def _explained_pixels(emit: Emitter, subject: Subject, target: gs.Tensor) -> dict[str, Any]:
    """Which pixels of which class are explained, and the sum of their scores."""
    tensors = emit.graph.tensors()
    mask = _mask(emit, subject, target, tensors)
    axes = [1, 2, 3]
    place, scores = subject.class_axis, tensors[subject.logits.name]
    held = emit.Cast(mask, to=onnx_type(scores.dtype))
    summed = emit.ReduceSum(emit.term(scores) * held, axes, keepdims=0)
    pixels = [axis for axis in axes if axis != place]
    any_of = emit.ReduceMax(emit.Cast(mask, to=INT32), pixels, keepdims=0)
    region = emit.ReduceMax(emit.Cast(mask, to=INT32), [place], keepdims=0)
    # Of a class that is predicted nowhere the number that was asked for is left.
    first = emit.ArgMax(any_of, axis=1, keepdims=0)
    asked = emit.Where(emit.Equal(target, BEST), first, target)
    return {
        EXPLAINED.mask: emit.Cast(region, to=onnx.TensorProto.BOOL),
        EXPLAINED.class_: asked,
        EXPLAINED.score: emit.Cast(summed, to=onnx.TensorProto.FLOAT),
    }


def target_taken_out(graph: gs.Graph) -> gs.Tensor:
    """The input `target`, which the graph has no longer."""
    target = next(tensor for tensor in graph.inputs if tensor.name == TARGET)
    graph.inputs = [tensor for tensor in graph.inputs if tensor is not target]
    return target


def with_outputs(graph: gs.Graph, found: Mapping[str, Any]) -> None:
    """Return further tensors, under these names.

    Raises:
        UnsupportedModelError: the model has an input or output of such a name.
    """
    free_names(graph, [*found])
    for name, tensor in found.items():
        named = gs.Variable(name, dtype=tensor.dtype, shape=_SHAPES[name])
        graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [named]))
        graph.outputs.append(named)


def put(graph: gs.Graph, *pairs: tuple[gs.Tensor, gs.Tensor]) -> None:
    """What was made in place of what it stands for: by its name, as a Loop's body knows it."""
    for made, named in pairs:
        graph.nodes.append(gs.Node("Identity", named.name, {}, [made], [named]))


def finished(graph: gs.Graph, model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as the model that it was made of, without what nothing reads."""
    sort_nodes(graph)
    prune(graph)
    return exported(graph, model)


def __put_versus(emit: Emitter, subject: Subject, places: gs.Tensor, weights: gs.Tensor) -> None:
    """`versus` as places and weights: every place of a row, with versus / max(|versus|, 1e-12)."""
    graph, length = emit.graph, subject.logits.shape[1]
    rows = f"{RESERVED}targets"
    versus = gs.Variable(VERSUS, dtype=np.dtype(np.float32), shape=[rows, length])
    inputs = [versus if t is places else t for t in graph.inputs]
    graph.inputs = [t for t in inputs if t is not weights]
    every = emit.filled(emit.Shape(versus), 1.0, np.dtype(np.float32))
    found = emit.Transpose(emit.NonZero(every), perm=[1, 0])
    own = emit.Cast(versus, to=onnx_type(weights.dtype))
    unit = emit.Reshape(at_unit_length(emit, own), [-1])
    put(graph, (found, places), (unit, weights))


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
