"""Softmax written out (exp(x - max x) / sum) back to one operator."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant, producer_of


def fuse_softmax(graph: gs.Graph) -> gs.Graph | None:
    """Div(Exp(Sub(x, ReduceMax(x))), ReduceSum(Exp(...))) over one kept axis becomes Softmax(x).

    So exporters that write it out get their scores before the Softmax, and a rule that is stable.
    """
    return rewrite_nodes(graph, {"Div": _softmax})


def _softmax(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    exponential, total = (producer_of(tensor) for tensor in node.inputs)
    if exponential is None or total is None or exponential.op != "Exp" or total.op != "ReduceSum":
        return None
    if total.inputs[0] is not node.inputs[0]:
        return None
    shifted = producer_of(exponential.inputs[0])
    if shifted is None or shifted.op != "Sub":
        return None
    x, top = shifted.inputs[0], producer_of(shifted.inputs[1])
    if top is None or top.op != "ReduceMax" or top.inputs[0] is not x:
        return None
    axis = _one_kept_axis(total)
    rank = None if x.shape is None else len(x.shape)
    if axis is None or rank is None or _one_kept_axis(top) is None:
        return None
    if axis % rank != (_one_kept_axis(top) or 0) % rank:
        return None
    return emit.Softmax(x, axis=axis)


def _one_kept_axis(node: gs.Node) -> int | None:
    """The only axis of a reduction that keeps it, or None."""
    if not node.attrs.get("keepdims", 1) or len(node.inputs) < 2 or not is_constant(node.inputs[1]):
        return None
    axes = node.inputs[1].values.reshape(-1)
    return int(axes[0]) if len(axes) == 1 else None
