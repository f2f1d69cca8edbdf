"""Integrated Gradients as one model: the path's ends, and a Loop over chunks of its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, compose, helper, numpy_helper

from onnxplain.graph_passes.deeplift import delta_of
from onnxplain.graph_passes.emit import Emitter
from onnxplain.graph_passes.finish import BASELINE_SCORE, SCORE, finish
from onnxplain.graph_passes.integrated_gradients import TOTAL
from onnxplain.graph_passes.names import RESERVED

# What the names inside the Loop begin with.
_STEP = f"{RESERVED}step/"


def integrated_gradients(
    ends: onnx.ModelProto,
    chunk: onnx.ModelProto,
    sources: Mapping[str, str],
    points: np.ndarray,
    weights: np.ndarray,
) -> onnx.ModelProto:
    """One model of (input, target, baseline): `ends`, then a Loop of `chunk` over the points.

    Args:
        ends: what `endpoints` made.
        chunk: what `gradient_chunk` made.
        sources: for each of its outputs the explained input, whose shape the attribution has.
        points: [chunks, K], see `chunks_of`.
        weights: [chunks, K].
    """
    model = onnx.ModelProto()
    model.CopyFrom(ends)
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    body = compose.add_prefix_graph(
        chunk.graph, _STEP, rename_inputs=False, rename_outputs=False, rename_initializers=False
    )
    graph.initializer.extend(t for t in body.initializer if t.name not in known)
    for name, rows in (("alphas", points), ("weights", weights)):
        graph.initializer.append(numpy_helper.from_array(rows, f"{RESERVED}all_{name}"))
    trips = numpy_helper.from_array(np.asarray(len(points), np.int64), f"{RESERVED}trips")
    graph.initializer.append(trips)
    for output in body.output:
        shape, zero = (f"{RESERVED}{kind}_{output.name}" for kind in ("shape", "nothing"))
        value = helper.make_tensor("zero", output.type.tensor_type.elem_type, [1], [0.0])
        graph.node.append(helper.make_node("Shape", [sources[output.name]], [shape]))
        graph.node.append(helper.make_node("ConstantOfShape", [shape], [zero], value=value))
    names = [output.name for output in body.output]
    inputs = [f"{RESERVED}trips", "", *(f"{RESERVED}nothing_{name}" for name in names)]
    loop = helper.make_node("Loop", inputs, names, name=f"{RESERVED}path", body=_loop_body(body))
    graph.node.append(loop)
    graph.output.extend(body.output)
    return _with_delta(model, names)


def _loop_body(body: onnx.GraphProto) -> onnx.GraphProto:
    """total = chunk(alphas[i], weights[i], total), for each explained input.

    Input, baseline and seed come from the graph around.
    """
    step, before, after = (f"{RESERVED}loop/{name}" for name in ("number", "before", "after"))
    row = [
        helper.make_node("Gather", [f"{RESERVED}all_{name}", step], [f"{RESERVED}{name}"])
        for name in ("alphas", "weights")
    ]
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
    inputs += [value for value in body.input if value.name.startswith(TOTAL)]
    for output in body.output:
        element = output.type.tensor_type.elem_type
        rank = len(output.type.tensor_type.shape.dim)
        free = [f"{_STEP}{output.name}_dim{axis}" for axis in range(rank)]
        outputs.append(helper.make_tensor_value_info(parts[output.name], element, free))
    # Without declared shapes ONNX Runtime leaves its blocked layout at every product.
    return helper.make_graph(nodes, "step", inputs, outputs, value_info=body.value_info)


def _with_delta(model: onnx.ModelProto, attributions: Sequence[str]) -> onnx.ModelProto:
    """Add the output `delta`."""
    graph = gs.import_onnx(model)
    tensors = graph.tensors()
    emit = Emitter(graph, "delta")
    parts = [tensors[name] for name in attributions]
    delta = delta_of(emit, parts, tensors[SCORE], tensors[BASELINE_SCORE])
    return finish(graph, {"delta": delta})
