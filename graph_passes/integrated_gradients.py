"""Integrated Gradients: the gradient averaged along the way from the baseline.

Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (2017).

Two graphs: `endpoints` scores both ends of the path, `gradient_chunk` does some of its points. The
module `path_loop` makes one model of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxplain import UnsupportedModelError
from onnxplain.graph_passes.backward import (
    Path,
    backward,
    check_supported,
    find_path,
    gradient_rules,
)
from onnxplain.graph_passes.deeplift import add_baseline_input, per_token
from onnxplain.graph_passes.dims import same_shape
from onnxplain.graph_passes.emit import Emitter, is_constant
from onnxplain.graph_passes.finish import (
    ATTRIBUTION,
    BASELINE_SCORE,
    RESOLVED_TARGET,
    SCORE,
    SEED,
    finish,
    working_copy,
)
from onnxplain.graph_passes.names import RESERVED
from onnxplain.graph_passes.ordering import sort_nodes
from onnxplain.graph_passes.polyphase import in_phases
from onnxplain.graph_passes.score import (
    add_target_input,
    first_cotangent,
    make_seed,
    score_of,
    where_to_begin,
)
from onnxplain.graph_passes.subject import Source, Subject
from onnxplain.graph_passes.twins import TwinEmitter, sizes_and_values_of

# Inputs of the graphs that do some points of the path.
ALPHAS = f"{RESERVED}alphas"
WEIGHTS = f"{RESERVED}weights"
_POINTS = f"{RESERVED}points"
# The input that a chunk adds its part of the attribution to.
TOTAL = f"{RESERVED}total"


def endpoints(subject: Subject, target_width: int | None = None) -> onnx.ModelProto:
    """A model of (input, target, baseline): both scores, the resolved target and the seed."""
    subject = working_copy(subject)
    emit = TwinEmitter(subject.graph)
    target = add_target_input(subject.graph, target_width)
    baselines = [add_baseline_input(emit, subject, source) for source in subject.sources]
    emit.add_twins(list(zip(subject.starts, baselines, strict=True)), [subject.logits])
    seed = make_seed(emit, subject, target)
    outputs = {
        SCORE: score_of(emit, subject.logits, seed.weights),
        BASELINE_SCORE: score_of(emit, emit.twin(subject.logits), seed.weights),
        RESOLVED_TARGET: seed.target,
        SEED: first_cotangent(emit, subject, seed),
    }
    return finish(subject.graph, outputs)


def gradient_chunk(subject: Subject) -> onnx.ModelProto:
    """A model of (input, baseline, seed, alphas [K], weights [K], total) that adds to the total.

    attribution = total + (x - x') sum_k weights_k d score / d x at x' + alphas_k (x - x') (equation
    1, as a sum). The K points of all N inputs go through the graph as one batch of K N; where the
    file fixes its batch, K must be 1. A total of ones as sizes stands for nothing so far.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    weights = gs.Variable(WEIGHTS, dtype=subject.start.dtype, shape=[_POINTS])
    along = _gradients_along(subject, [_POINTS], weights)
    emit, subject = along.emit, along.subject
    emit.graph.inputs.append(weights)
    outputs = {}
    for line in along.lines:
        start = line.source.start
        part = emit.mul(line.slopes, line.difference)
        part.shape = start.shape
        part = per_token(emit, line.source, part)
        name = subject.name_of(TOTAL, line.source)
        rank = len(start.shape) - line.source.embedded
        shape = [f"{name}_dim{axis}" for axis in range(rank)]
        total = gs.Variable(name, dtype=start.dtype, shape=shape)
        emit.graph.inputs.append(total)
        attribution = emit.add(part, total)
        attribution.shape = part.shape
        outputs[subject.name_of(ATTRIBUTION, line.source)] = attribution
    return finish(emit.graph, outputs, own_outputs=False)


def path_gradients(subject: Subject) -> onnx.ModelProto:
    """A model of (input, baseline, seed, alphas [K, N]) for points chosen one after the other.

    Its outputs, for each of K points of each of N inputs: `attribution` [K, N, ...], the gradient
    times (x - x'), and the score there, [K, N], without the bias of a last layer: only differences
    of these scores count. Where the file fixes its batch, K must be 1.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    along = _gradients_along(subject, [_POINTS, f"{RESERVED}path_batch"])
    emit, subject = along.emit, along.subject
    score = emit.cast_like(score_of(emit, along.end, along.seeds), subject.start)
    shape = emit("Concat", along.points, np.array([-1]), axis=0)
    outputs: dict[str, gs.Tensor] = {SCORE: emit("Reshape", score, shape)}
    for line in along.lines:
        part = emit.mul(line.slopes, emit("Unsqueeze", line.difference, [0]))
        outputs[subject.name_of(ATTRIBUTION, line.source)] = per_token(emit, line.source, part)
    for tensor in outputs.values():
        tensor.dtype = subject.start.dtype
    return finish(emit.graph, outputs, own_outputs=False)


class _Line(NamedTuple):
    """One explained input's way from its baseline.

    Attributes:
        source: the input.
        difference: x - x', [N, ...].
        slopes: d score / d x at each point, [K, N, ...]; or their weighted sum, [N, ...].
    """

    source: Source
    difference: gs.Tensor
    slopes: gs.Tensor


class _Along(NamedTuple):
    """Gradients at points of the path, as a graph that lacks its outputs.

    Attributes:
        emit: for what is still missing.
        subject: the working copy.
        points: K, int64 [1].
        end: the logits, or what a last layer makes them of, [K N, ...].
        seeds: d score / d end, [K N, ...].
        lines: one for each explained input.
    """

    emit: Emitter
    subject: Subject
    points: gs.Tensor
    end: gs.Tensor
    seeds: gs.Tensor
    lines: list[_Line]


def _gradients_along(
    subject: Subject, axes: list[str], weights: gs.Variable | None = None
) -> _Along:
    """The backward pass at points x' + alphas (x - x').

    `axes` names those of `alphas`: K points, or K points for each of N inputs. With `weights` the
    slopes are summed over the points: as early as they can be, behind the first operator that is
    not linear, since the adjoint of a sum is cheaper than the adjoints of its terms.
    """
    subject = working_copy(subject)
    graph = subject.graph
    end = where_to_begin(subject)
    in_phases(graph, {tensor.name for tensor in (*subject.starts, end)})
    # First of all: behind an operator that nobody knows, shapes are unknown too.
    path = find_path(graph, subject.starts, [end])
    check_supported(path, gradient_rules, "Integrated Gradients")
    # A prefix of its own: the Loop model holds this graph's constants beside those of `endpoints`.
    emit = Emitter(graph, "path")
    seed = gs.Variable(SEED, dtype=end.dtype, shape=_free_shape("seed", end))
    alphas = gs.Variable(ALPHAS, dtype=subject.start.dtype, shape=axes)
    readers = [list(start.outputs) for start in subject.starts]
    computed = sizes_and_values_of(graph, subject.starts)
    moved = [_points(emit, subject, source, alphas) for source in subject.sources]
    graph.inputs.extend([seed, alphas])
    _rename_batch(subject, computed, [points for points, _ in moved])
    for start, nodes, (points, _) in zip(subject.starts, readers, moved, strict=True):
        for node in nodes:
            node.inputs = [points if t is start else t for t in node.inputs]
    sort_nodes(graph)
    count = emit("Shape", alphas, start=0, end=1)
    ones = emit.constant(np.ones(len(end.shape) - 1, np.int64))
    seeds = emit("Tile", seed, emit("Concat", count, ones, axis=0))
    seeds.shape = end.shape
    points = [points for points, _ in moved]
    end = points[0] if end is subject.start else end
    turns = points if weights is None else [_end_of_linear(path, point) for point in points]
    slopes = backward(emit, gradient_rules, [(end, seeds)], turns, "Integrated Gradients", True)
    lines = []
    for slope, turn, source, (point, difference) in zip(
        slopes, turns, subject.sources, moved, strict=True
    ):
        shape = emit.shape(source.start)
        if weights is None:
            shape = emit("Concat", count, shape, axis=0)
        if slope is None:
            slope = emit("Expand", emit.constant(0.0, source.start.dtype), shape)
        elif weights is None:
            slope = emit("Reshape", slope, shape)
        else:
            total = _summed(emit, slope, weights, turn, source.start)
            slope = _through_linear(emit, total, turn, point, source.start)
        lines.append(_Line(source, difference, slope))
    explained = [source.input for source in subject.sources]
    graph.inputs = [t for t in graph.inputs if t.outputs or t in explained]
    return _Along(emit, subject, count, end, seeds, lines)


def _end_of_linear(path: Path, tensor: gs.Tensor) -> gs.Tensor:
    """The last tensor that depends on `tensor` alone, and linearly, by convolutions mostly."""
    while True:
        readers = [node for node in tensor.outputs if any(node is other for other in path.nodes)]
        if len(readers) != 1:
            return tensor
        (node,) = readers
        others = [t for t in node.inputs if t is not tensor and t.name]
        made = node.outputs[0]
        affine = node.op == "Conv" or (
            node.op in ("Add", "Sub", "Mul", "Div") and same_shape(made.shape, tensor.shape)
        )
        if not affine or node.inputs[0] is not tensor or not all(map(is_constant, others)):
            return tensor
        tensor = made


def _summed(
    emit: Emitter, slope: gs.Tensor, weights: gs.Tensor, at: gs.Tensor, start: gs.Tensor
) -> gs.Tensor:
    """sum_k weights_k slope_k, [N, ...] of slopes [K N, ...].

    As a product of matrices: 0.03 ms for [2, 3, 224, 224], by Mul and ReduceSum 0.6 ms.
    """
    rows = emit("Concat", emit("Shape", weights), [-1], axis=0)
    total = emit("MatMul", emit("Unsqueeze", weights, [0]), emit("Reshape", slope, rows))
    shape = emit("Concat", emit.dims(start, 0, 1), emit.dims(at, 1), axis=0)
    total = emit("Reshape", total, shape)
    total.shape = [*start.shape[:1], *at.shape[1:]]
    return total


def _through_linear(
    emit: Emitter, slope: gs.Tensor, end: gs.Tensor, point: gs.Tensor, start: gs.Tensor
) -> gs.Tensor:
    """The slope [N, ...] at `end`, taken back to `point` and declared to have `start`'s batch."""
    if end is point:
        return slope
    before = len(emit.graph.nodes)
    (back,) = backward(emit, gradient_rules, [(end, slope)], [point], "Integrated Gradients")
    assert back is not None, "linear operators hand something on"
    for node in emit.graph.nodes[before:]:
        for tensor in node.outputs:
            if tensor.shape is not None and tensor.shape[:1] == end.shape[:1]:
                tensor.shape = [*start.shape[:1], *tensor.shape[1:]]
    return back


def _points(
    emit: Emitter, subject: Subject, source: Source, alphas: gs.Tensor
) -> tuple[gs.Tensor, gs.Tensor]:
    """x' + alphas (x - x') as one batch [K N, ...], and x - x' [N, ...]."""
    start = source.start
    rank, given = len(start.shape), len(alphas.shape)
    baseline = add_baseline_input(emit, subject, source)
    # Zero stands for an axis that stays as it is.
    column = emit("Reshape", alphas, [0] * given + [1] * (rank + 1 - given))
    difference = emit.sub(start, baseline)
    points = emit.add(emit.mul(column, emit("Unsqueeze", difference, [0])), baseline)
    rest = emit.dims(start, 1) if rank > 1 else emit.constant(np.zeros(0, np.int64))
    return emit("Reshape", points, emit("Concat", [-1], rest, axis=0)), difference


def _rename_batch(subject: Subject, computed: set[str], points: Sequence[gs.Tensor]) -> None:
    """Give the points, and all that is computed from them, a batch of their own.

    `computed` names it, with what is no float and so off the path: comparisons, say.
    ONNX Runtime may give tensors of one declared shape one buffer, so the points' batch of K N must
    not go by the name of the inputs' batch of N.
    """
    new, tensors = f"{RESERVED}path_rows", subject.graph.tensors()
    names = {start.shape[0] for start in subject.starts if isinstance(start.shape[0], str)}
    for name in computed:
        tensor = tensors[name]
        if tensor.shape is not None and not any(tensor is start for start in subject.starts):
            tensor.shape = [new if dim in names else dim for dim in tensor.shape]
    for start, moved in zip(subject.starts, points, strict=True):
        moved.shape = [new if dim in names else dim for dim in start.shape[:1]] + start.shape[1:]


def _free_shape(name: str, like: gs.Tensor) -> list[str]:
    if like.shape is None:
        raise UnsupportedModelError(f"the number of axes of {like.name!r} cannot be inferred")
    return [f"{RESERVED}{name}_dim{axis}" for axis in range(len(like.shape))]


def chunks_of(
    points: np.ndarray, weights: np.ndarray, size: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights as rows of `size`, [chunks, size].

    The last row is filled with weight 0.
    """
    missing = -len(points) % size
    points = np.concatenate([points, np.full(missing, points[-1])])
    weights = np.concatenate([weights, np.zeros(missing)])
    return (
        points.reshape(-1, size).astype(dtype),
        weights.reshape(-1, size).astype(dtype),
    )
