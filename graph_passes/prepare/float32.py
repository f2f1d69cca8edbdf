"""Half precision to float32: explanations are computed in float32 whatever the file stores."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.names import RESERVED
from ..graph.tensors import onnx_type

_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_FLOAT32 = np.dtype(np.float32)


def to_float32(graph: gs.Graph) -> gs.Graph | None:
    """Compute in float32; graph inputs and outputs keep their types, behind Casts."""
    tensors = graph.tensors()
    if not any(_is_half(tensor.dtype) for tensor in tensors.values()):
        return None
    declared = {id(t): t.dtype for t in [*graph.inputs, *graph.outputs] if _is_half(t.dtype)}
    for tensor in tensors.values():
        if not _is_half(tensor.dtype):
            continue
        if isinstance(tensor, gs.Constant):
            tensor.values = np.asarray(tensor.values).astype(np.float32)
        else:
            tensor.dtype = _FLOAT32
    for node in graph.nodes:
        if "to" in node.attrs and node.attrs["to"] in _HALF:
            node.attrs["to"] = onnx.TensorProto.FLOAT
        value = node.attrs.get("value")
        if isinstance(value, gs.Constant) and _is_half(value.dtype):
            value.values = np.asarray(value.values).astype(np.float32)
    for index, tensor in enumerate(list(graph.inputs)):
        if id(tensor) in declared:
            _cast_input(graph, index, declared[id(tensor)])
    for index, tensor in enumerate(list(graph.outputs)):
        if id(tensor) in declared:
            _cast_output(graph, index, declared[id(tensor)])
    return graph


def _is_half(dtype) -> bool:
    return dtype is not None and onnx_type(dtype) in _HALF


def _cast_input(graph: gs.Graph, index: int, dtype) -> None:
    inner = graph.inputs[index]
    name = inner.name
    inner.name = f"{RESERVED}float32/{name}"
    outer = gs.Variable(name, dtype=dtype, shape=inner.shape)
    graph.inputs[index] = outer
    node = gs.Node("Cast", inner.name, {"to": onnx.TensorProto.FLOAT}, [outer], [inner])
    graph.nodes.insert(0, node)


def _cast_output(graph: gs.Graph, index: int, dtype) -> None:
    inner = graph.outputs[index]
    name = inner.name
    inner.name = f"{RESERVED}float32/{name}"
    outer = gs.Variable(name, dtype=dtype, shape=inner.shape)
    graph.outputs[index] = outer
    graph.nodes.append(gs.Node("Cast", name, {"to": onnx_type(dtype)}, [inner], [outer]))
