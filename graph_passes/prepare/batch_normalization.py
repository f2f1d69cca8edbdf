"""BatchNormalization at inference is y = a x + b; behind a Conv, a part of the Conv."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant


def fold_batch_normalization(graph: gs.Graph) -> gs.Graph | None:
    """Fold BatchNormalization into the Conv before it, or write it as y = a x + b."""
    outputs = {tensor.name for tensor in graph.outputs}
    found = [n for n in graph.nodes if n.op == "BatchNormalization"]
    for node in found:
        if all(is_constant(t) for t in node.inputs[1:5]):
            _fold_into_conv(node, outputs)
    rewrite_nodes(graph, {"BatchNormalization": as_affine})
    return graph if found else None


def _affine(node: gs.Node) -> tuple[np.ndarray, np.ndarray]:
    """a = scale / sqrt(var + epsilon) and b = bias - mean a, one per channel, in float64."""
    scale, bias, mean, variance = (t.values.astype(np.float64) for t in node.inputs[1:5])
    a = scale / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    return a, bias - mean * a


def _fold_into_conv(node: gs.Node, outputs: set[str]) -> None:
    """W' = a W, b' = a b + (bias - mean a), where nothing else reads the Conv's output."""
    x, y = node.inputs[0], node.outputs[0]
    conv = x.inputs[0] if x.inputs else None
    if conv is None or conv.op != "Conv" or len(x.outputs) != 1 or x.name in outputs:
        return
    if not all(is_constant(t) for t in conv.inputs[1:]):
        return
    a, b = _affine(node)
    weight = conv.inputs[1].values
    old = conv.inputs[2].values if len(conv.inputs) > 2 else 0.0
    a_column = a.reshape([-1] + [1] * (weight.ndim - 1))
    inputs = [
        conv.inputs[0],
        gs.Constant(f"{RESERVED}weight/{y.name}", (weight * a_column).astype(weight.dtype)),
        gs.Constant(f"{RESERVED}bias/{y.name}", (old * a + b).astype(weight.dtype)),
    ]
    node.outputs.clear()
    node.inputs.clear()
    conv.inputs = inputs
    conv.outputs = [y]


def as_affine(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    """y = a x + b (see `_affine`); with parameters computed at run time, the same written out."""
    if not node.inputs:
        return None
    x = node.inputs[0]
    shape = [-1] + [1] * (len(x.shape) - 2)
    if all(is_constant(t) for t in node.inputs[1:5]):
        a, b = _affine(node)
        scaled = emit.term(x) * emit.constant(a.reshape(shape), x.dtype)
        return scaled + emit.constant(b.reshape(shape), x.dtype)
    scale, bias, mean, variance = (emit.Reshape(t, shape) for t in node.inputs[1:5])
    deviation = emit.Sqrt(variance + node.attrs.get("epsilon", 1e-5))
    standard = (emit.term(x) - mean) / deviation
    return standard * scale + bias
