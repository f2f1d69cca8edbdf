"""Stages as one model: what runs once, and a Loop over what runs again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, compose, helper, numpy_helper

from ..finish import BASELINE_SCORE, SCORE, finish
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from .asking import TOTAL, delta_of

# What the names inside the Loop begin with.
_STEP = f"{RESERVED}step/"


def looped(
    first: onnx.ModelProto,
    repeated: onnx.ModelProto,
    rows: Mapping[str, np.ndarray],
    shaped: Mapping[str, str],
) -> onnx.ModelProto:
    """One model: `first`, then a Loop of `repeated` over its rows.

    Args:
        first: returns what `repeated` reads, beside inputs of its own.
        repeated: adds to totals, see `heads.total_input`.
        rows: an array [runs, ...] for each input that every run has its own value of.
        shaped: outputs whose totals begin with zeros in the shape of another tensor; the others'
            begin with ones as sizes.
    """
    model = onnx.ModelProto()
    model.CopyFrom(first)
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    body = compose.add_prefix_graph(
        repeated.graph, _STEP, rename_inputs=False, rename_outputs=False, rename_initializers=False
    )
    graph.initializer.extend(t for t in body.initializer if t.name not in known)
    graph.initializer.extend(numpy_helper.from_array(v, _all_of(name)) for name, v in rows.items())
    (runs,) = {len(values) for values in rows.values()}
    graph.initializer.append(numpy_helper.from_array(np.asarray(runs, np.int64), f"{RESERVED}runs"))
    for output in body.output:
        _begin_with_zeros(graph, output, shaped.get(output.name))
    _take_further_inputs(graph, body, rows)
    names = [output.name for output in body.output]
    inputs = [f"{RESERVED}runs", "", *(f"{RESERVED}nothing_{name}" for name in names)]
    inside = _loop_body(body, rows)
    graph.node.append(helper.make_node("Loop", inputs, names, name=f"{RESERVED}path", body=inside))
    graph.output.extend(body.output)
    return model


def _all_of(name: str) -> str:
    return f"{RESERVED}all_{name}"


def _begin_with_zeros(
    graph: onnx.GraphProto, output: onnx.ValueInfoProto, like: str | None
) -> None:
    shape, zero = (f"{RESERVED}{kind}_{output.name}" for kind in ("shape", "nothing"))
    value = helper.make_tensor("zero", output.type.tensor_type.elem_type, [1], [0.0])
    if like is None:
        sizes = np.ones(len(output.type.tensor_type.shape.dim), np.int64)
        graph.initializer.append(numpy_helper.from_array(sizes, shape))
    else:
        graph.node.append(helper.make_node("Shape", [like], [shape]))
    graph.node.append(helper.make_node("ConstantOfShape", [shape], [zero], value=value))


def _take_further_inputs(
    graph: onnx.GraphProto, body: onnx.GraphProto, rows: Mapping[str, np.ndarray]
) -> None:
    """Add what only the Loop reads to the model's inputs."""
    totals = {f"{TOTAL}_{output.name}" for output in body.output}
    known = {value.name for value in (*graph.input, *graph.initializer)}
    known |= {name for node in graph.node for name in node.output}
    graph.input.extend(
        value
        for value in body.input
        if value.name not in known and value.name not in rows and value.name not in totals
    )


def _loop_body(body: onnx.GraphProto, rows: Mapping[str, np.ndarray]) -> onnx.GraphProto:
    """totals = repeated(row i, totals); everything else comes from the graph around."""
    step, before, after = (f"{RESERVED}loop/{name}" for name in ("number", "before", "after"))
    row = [helper.make_node("Gather", [_all_of(name), step], [name]) for name in rows]
    parts = {output.name: f"{_STEP}{output.name}" for output in body.output}
    nodes = [*row, *body.node]
    for node in nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = parts.get(name, name)
    nodes.append(helper.make_node("Identity", [before], [after]))
    inputs = [
        helper.make_tensor_value_info(step, TensorProto.INT64, []),
        helper.make_tensor_value_info(before, TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info(after, TensorProto.BOOL, [])]
    totals = {value.name: value for value in body.input}
    for output in body.output:
        inputs.append(totals[f"{TOTAL}_{output.name}"])
        element = output.type.tensor_type.elem_type
        rank = len(output.type.tensor_type.shape.dim)
        free = [f"{_STEP}{output.name}_dim{axis}" for axis in range(rank)]
        outputs.append(helper.make_tensor_value_info(parts[output.name], element, free))
    # Without declared shapes ONNX Runtime leaves its blocked layout at every product.
    return helper.make_graph(nodes, "step", inputs, outputs, value_info=body.value_info)


def with_delta(model: onnx.ModelProto, attributions: Sequence[str], apart: bool) -> onnx.ModelProto:
    """The model with the further output `delta`; see `delta_of`."""
    graph = gs.import_onnx(model)
    tensors = graph.tensors()
    emit = Emitter(graph, "delta")
    parts = [tensors[name] for name in attributions]
    delta = delta_of(emit, parts, tensors[SCORE], tensors[BASELINE_SCORE], apart)
    return finish(graph, {"delta": delta})
