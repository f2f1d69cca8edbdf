"""Integrated Gradients (Sundararajan et al.

2017): the gradient averaged along the way from the baseline.

Two graphs: `endpoints` scores both ends of the path, `gradient_chunk` does some of its points.
`integrated_gradients` puts both into one model, the chunks in a Loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, compose, helper, numpy_helper

from onnxplain import UnsupportedModelError
from onnxplain.graph_passes.backward import backward, check_supported, find_path, gradient_rules
from onnxplain.graph_passes.deeplift import add_baseline_input, delta_of, per_token
from onnxplain.graph_passes.emit import Emitter
from onnxplain.graph_passes.finish import (
    BASELINE_SCORE,
    RESOLVED_TARGET,
    SCORE,
    SEED,
    finish,
    working_copy,
)
from onnxplain.graph_passes.score import add_target_input, make_seed, score_of
from onnxplain.graph_passes.subject import Subject
from onnxplain.graph_passes.twins import TwinEmitter

# Inputs of the graphs that do some points of the path.
ALPHAS = "onnxplain/alphas"
WEIGHTS = "onnxplain/weights"


def endpoints(subject: Subject, target_width: int | None = None) -> onnx.ModelProto:
    """A model of (input, target, baseline) that returns both scores.

    The resolved target and the seed.
    """
    subject = working_copy(subject)
    emit = TwinEmitter(subject.graph)
    target = add_target_input(subject.graph, target_width)
    baseline = add_baseline_input(emit, subject)
    emit.add_twins([(subject.start, baseline)], [subject.logits])
    seed = make_seed(emit, subject, target)
    outputs = {
        SCORE: score_of(emit, subject.logits, seed.weights),
        BASELINE_SCORE: score_of(emit, emit.twin(subject.logits), seed.weights),
        RESOLVED_TARGET: seed.target,
        SEED: seed.weights,
    }
    return finish(subject.graph, outputs)


def gradient_chunk(subject: Subject) -> onnx.ModelProto:
    """A model of (input, baseline, seed, alphas [K], weights [K]): a part of the attribution.

    attribution part = (x - x') sum_k weights_k d score / d x at x' + alphas_k (x - x') (equation 1,
    as a sum). The K points of all N inputs go through the graph as one batch of K N; where the file
    fixes its batch, K must be 1.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    along = _gradients_along(subject, ["points"])
    emit, start = along.emit, along.subject.start
    weights = gs.Variable(WEIGHTS, dtype=start.dtype, shape=["points"])
    emit.graph.inputs.append(weights)
    column = [-1] + [1] * len(start.shape)
    weighted = emit.mul(along.slopes, emit("Reshape", weights, column))
    part = emit.mul(emit("ReduceSum", weighted, [0], keepdims=0), along.difference)
    part.shape = start.shape
    part = per_token(emit, along.subject, part)
    return finish(emit.graph, {"attribution": part}, own_outputs=False)


def path_gradients(subject: Subject) -> onnx.ModelProto:
    """A model of (input, baseline, seed, alphas [K, N]) for points chosen one after the other.

    Its outputs, for each of K points of each of N inputs: `attribution` [K, N, ...], the gradient
    times (x - x'), and the score there, [K, N]. Where the file fixes its batch, K must be 1.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    along = _gradients_along(subject, ["points", "path_batch"])
    emit = along.emit
    part = emit.mul(along.slopes, emit("Unsqueeze", along.difference, [0]))
    part = per_token(emit, along.subject, part)
    score = score_of(emit, along.logits, along.seeds)
    shape = emit("Concat", along.points, np.array([-1]), axis=0)
    outputs = {"attribution": part, SCORE: emit("Reshape", score, shape)}
    for tensor in outputs.values():
        tensor.dtype = along.subject.start.dtype
    return finish(emit.graph, outputs, own_outputs=False)


class _Along(NamedTuple):
    """Gradients at points of the path, as a graph that lacks its outputs.

    Attributes:
        emit: for what is still missing.
        subject: the working copy.
        points: K, int64 [1].
        difference: x - x', [N, ...].
        logits: [K N, ...].
        seeds: d score / d logits, [K N, ...].
        slopes: d score / d x at each point, [K, N, ...].
    """

    emit: Emitter
    subject: Subject
    points: gs.Tensor
    difference: gs.Tensor
    logits: gs.Tensor
    seeds: gs.Tensor
    slopes: gs.Tensor


def _gradients_along(subject: Subject, axes: list[str]) -> _Along:
    """The backward pass at points x' + alphas (x - x').

    `axes` names those of `alphas`: K points, or K points for each of N inputs.
    """
    subject = working_copy(subject)
    graph, start = subject.graph, subject.start
    # First of all: behind an operator that nobody knows, shapes are unknown too.
    path = find_path(graph, [start], [subject.logits])
    check_supported(path, gradient_rules, "Integrated Gradients")
    # A prefix of its own: the Loop model holds this graph's constants beside those of `endpoints`.
    emit = Emitter(graph, "path")
    readers = list(start.outputs)
    baseline = add_baseline_input(emit, subject)
    rank = len(start.shape)
    seed = gs.Variable(SEED, dtype=subject.logits.dtype, shape=_free_shape("seed", subject.logits))
    alphas = gs.Variable(ALPHAS, dtype=start.dtype, shape=axes)
    graph.inputs.extend([seed, alphas])
    # Zero stands for an axis that stays as it is.
    column = emit("Reshape", alphas, [0] * len(axes) + [1] * (rank + 1 - len(axes)))
    difference = emit.sub(start, baseline)
    points = emit.add(emit.mul(column, emit("Unsqueeze", difference, [0])), baseline)
    rest = emit.dims(start, 1) if rank > 1 else emit.constant(np.zeros(0, np.int64))
    points = emit("Reshape", points, emit("Concat", [-1], rest, axis=0))
    points.shape = _with_batch_of_points(subject)
    for node in readers:
        node.inputs = [points if t is start else t for t in node.inputs]
    graph.toposort()
    count = emit("Shape", alphas, start=0, end=1)
    ones = emit.constant(np.ones(len(subject.logits.shape) - 1, np.int64))
    seeds = emit("Tile", seed, emit("Concat", count, ones, axis=0))
    seeds.shape = subject.logits.shape
    logits = points if subject.logits is start else subject.logits
    (slopes,) = backward(emit, gradient_rules, [(logits, seeds)], [points], "Integrated Gradients")
    assert slopes is not None
    stacked = emit("Reshape", slopes, emit("Concat", count, emit.shape(start), axis=0))
    graph.inputs = [t for t in graph.inputs if t.outputs or t is subject.input]
    return _Along(emit, subject, count, difference, logits, seeds, stacked)


def _with_batch_of_points(subject: Subject) -> list:
    """The start's shape with a batch of its own; tensors behind it get that batch too.

    ONNX Runtime may give tensors of one declared shape one buffer, so the points' batch of K N must
    not go by the name of the inputs' batch of N.
    """
    old, new = subject.start.shape[0], "onnxplain/points"
    if not isinstance(old, str):
        return list(subject.start.shape)
    path = find_path(subject.graph, [subject.start], [subject.logits])
    for node in path.nodes:
        for tensor in node.outputs:
            if tensor.name in path.varying and tensor.shape is not None:
                tensor.shape = [new if dim == old else dim for dim in tensor.shape]
    return [new, *list(subject.start.shape)[1:]]


def _free_shape(name: str, like: gs.Tensor) -> list[str]:
    if like.shape is None:
        raise UnsupportedModelError(f"the number of axes of {like.name!r} cannot be inferred")
    return [f"{name}_dim{axis}" for axis in range(len(like.shape))]


def chunks_of(points: np.ndarray, weights: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights as rows of `size`, float32 [chunks, size].

    The last row is filled with weight 0.
    """
    missing = -len(points) % size
    points = np.concatenate([points, np.full(missing, points[-1])])
    weights = np.concatenate([weights, np.zeros(missing)])
    return (
        points.reshape(-1, size).astype(np.float32),
        weights.reshape(-1, size).astype(np.float32),
    )


def integrated_gradients(
    ends: onnx.ModelProto,
    chunk: onnx.ModelProto,
    source: str,
    points: np.ndarray,
    weights: np.ndarray,
) -> onnx.ModelProto:
    """One model of (input, target, baseline).

    `ends`, then a Loop over the rows of points, each through `chunk`.

    Args:
        ends: what `endpoints` made.
        chunk: what `gradient_chunk` made.
        source: the name of the explained input, whose shape the attribution has.
        points: [chunks, K], see `chunks_of`.
        weights: [chunks, K].
    """
    model = onnx.ModelProto()
    model.CopyFrom(ends)
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    body = compose.add_prefix_graph(
        chunk.graph, "step/", rename_inputs=False, rename_outputs=False, rename_initializers=False
    )
    graph.initializer.extend(t for t in body.initializer if t.name not in known)
    for name, rows in (("alphas", points), ("weights", weights)):
        graph.initializer.append(numpy_helper.from_array(rows, f"onnxplain/all_{name}"))
    rank = len(chunk.graph.output[0].type.tensor_type.shape.dim)
    loop_body = _loop_body(body, rank)
    element = chunk.graph.output[0].type.tensor_type.elem_type
    nodes = [
        helper.make_node("Shape", [source], ["onnxplain/shape"]),
        helper.make_node(
            "ConstantOfShape",
            ["onnxplain/shape"],
            ["onnxplain/nothing"],
            value=helper.make_tensor("zero", element, [1], [0.0]),
        ),
        helper.make_node(
            "Loop",
            ["onnxplain/trips", "", "onnxplain/nothing"],
            ["attribution"],
            name="onnxplain/path",
            body=loop_body,
        ),
    ]
    trips = numpy_helper.from_array(np.asarray(len(points), np.int64), "onnxplain/trips")
    graph.initializer.append(trips)
    graph.node.extend(nodes)
    output = helper.make_tensor_value_info("attribution", element, None)
    output.type.tensor_type.shape.CopyFrom(chunk.graph.output[0].type.tensor_type.shape)
    graph.output.append(output)
    return _with_delta(model)


def _loop_body(body: onnx.GraphProto, rank: int) -> onnx.GraphProto:
    """total += chunk(alphas[i], weights[i]).

    Input, baseline and seed come from the graph around.
    """
    free = [f"attribution_dim{axis}" for axis in range(rank)]
    row = [
        helper.make_node("Gather", [f"onnxplain/all_{name}", "i"], [f"onnxplain/{name}"])
        for name in ("alphas", "weights")
    ]
    nodes = [*row, *body.node]
    nodes.append(helper.make_node("Add", ["total", "attribution"], ["total_out"]))
    nodes.append(helper.make_node("Identity", ["go_on"], ["go_on_out"]))
    for node in nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == "attribution":
                    names[index] = "step/attribution"
    element = body.output[0].type.tensor_type.elem_type
    return helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total", element, free),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total_out", element, free),
        ],
    )


def _with_delta(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the output `delta`."""
    graph = gs.import_onnx(model)
    tensors = graph.tensors()
    emit = Emitter(graph, "delta")
    names = ("attribution", SCORE, BASELINE_SCORE)
    delta = delta_of(emit, *(tensors[name] for name in names))
    return finish(graph, {"delta": delta})
