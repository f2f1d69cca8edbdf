"""Softmax written out (exp(x - max x) / sum) back to one operator."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import same_dim
from ..graph.emitter import Emitter
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant, producer_of


def fuse_softmax(graph: gs.Graph) -> gs.Graph | None:
    """Div(Exp(Sub(x, ReduceMax(x))), ReduceSum(Exp(...))) over one axis becomes Softmax(x).

    So exporters that write it out get their scores before the Softmax, and a rule that is stable.
    The axis is kept, or comes back by a Reshape or an Unsqueeze, with or without an Expand.
    """
    return rewrite_nodes(graph, {"Div": _softmax})


def _softmax(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    exponential = producer_of(node.inputs[0])
    if exponential is None or exponential.op != "Exp":
        return None
    shifted = producer_of(exponential.inputs[0])
    if shifted is None or shifted.op != "Sub":
        return None
    x = shifted.inputs[0]
    axis = _reduced_axis(node.inputs[1], "ReduceSum", node.inputs[0])
    if axis is None or axis != _reduced_axis(shifted.inputs[1], "ReduceMax", x):
        return None
    return emit.Softmax(x, axis=axis)


def _reduced_axis(tensor: gs.Tensor, op: str, x: gs.Tensor) -> int | None:
    """The axis of `x` over which `tensor` is its reduction, aligned with it; None: it is none."""
    node = producer_of(tensor)
    while node is not None and node.op == "Expand":
        tensor = node.inputs[0]
        node = producer_of(tensor)
    shape = tensor.shape
    while node is not None and (node.op in ("Reshape", "Unsqueeze") or _is_never_below(node)):
        tensor = next(t for t in node.inputs if not is_constant(t))
        node = producer_of(tensor)
    if node is None or node.op != op or node.inputs[0] is not x or x.shape is None:
        return None
    axes = node.inputs[1].values.reshape(-1) if _says_axes(node) else []
    if len(axes) != 1 or shape is None or len(shape) != len(x.shape):
        return None
    axis = int(axes[0]) % len(x.shape)
    kept = [1 if k == axis else dim for k, dim in enumerate(x.shape)]
    # Of several sizes that are not known a Reshape may have exchanged some.
    unknown = sum(not isinstance(dim, int) for dim in kept)
    alike = all(
        same_dim(a, b) or (unknown == 1 and not isinstance(b, int))
        for a, b in zip(shape, kept, strict=True)
    )
    return axis if alike else None


def _is_never_below(node: gs.Node) -> bool:
    """Whether a Max compares with -infinity alone, as JAX has it."""
    constants = [t for t in node.inputs if is_constant(t)]
    one = node.op == "Max" and len(node.inputs) == 2 and len(constants) == 1
    return one and bool(np.isneginf(constants[0].values).all())


def _says_axes(node: gs.Node) -> bool:
    return len(node.inputs) > 1 and is_constant(node.inputs[1])
