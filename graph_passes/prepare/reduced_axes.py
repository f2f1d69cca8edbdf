"""Reductions that say what they reduce: over axes that are named, or over all.

An empty list of axes means all of them, or none (`noop_with_empty_axes`), and whether a computed
list is empty shows at run time only. Behind this pass, nobody has to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import onnx_type, optional_input, producer_of

# What each reduction does to a single element, which is all that is left of one over no axes.
_OF_ONE: dict[str, Callable[[Emitter, Any], Any]] = {
    "ReduceSum": lambda emit, x: emit.Identity(x),
    "ReduceMean": lambda emit, x: emit.Identity(x),
    "ReduceMax": lambda emit, x: emit.Identity(x),
    "ReduceMin": lambda emit, x: emit.Identity(x),
    "ReduceProd": lambda emit, x: emit.Identity(x),
    "ReduceL1": lambda emit, x: abs(x),
    "ReduceL2": lambda emit, x: abs(x),
    "ReduceSumSquare": lambda emit, x: x * x,
    "ReduceLogSum": lambda emit, x: emit.Log(x),
    "ReduceLogSumExp": lambda emit, x: emit.Identity(x),
}


def reduced_axes(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite every reduction whose axes are, or may be, empty."""
    doubtful = [id(n) for n in graph.nodes if n.op in _OF_ONE and not says_its_axes(n)]
    rewrite_nodes(graph, dict.fromkeys(_OF_ONE, _rewritten), lambda node: id(node) in doubtful)
    return graph if doubtful else None


def says_its_axes(node: gs.Node) -> bool:
    """Whether a reduction's axes certainly hold one, or are left out and so are all."""
    if "noop_with_empty_axes" in node.attrs:
        return False
    axes = optional_input(node, 1)
    return axes is None or bool(_length(axes)) or _holds_one(producer_of(axes))


def _length(axes: gs.Tensor) -> int | None:
    """How many axes a tensor names; None: shown at run time."""
    length = axes.shape[0] if axes.shape else None
    return length if isinstance(length, int) else None


def _holds_one(maker: gs.Node | None) -> bool:
    """Whether axes are joined from several parts of which one certainly holds some."""
    return maker is not None and maker.op == "Concat" and any(map(_length, maker.inputs))


def _rewritten(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    noop = node.attrs.pop("noop_with_empty_axes", 0)
    axes = optional_input(node, 1)
    length = 0 if axes is None else _length(axes)
    if length:
        return None
    if length == 0 and not noop:
        node.inputs = node.inputs[:1]
        return None
    if length == 0:
        return _OF_ONE[node.op](emit, emit.term(node.inputs[0]))
    return _shown_later(emit, node, noop)


def _shown_later(emit: Emitter, node: gs.Node, noop: int) -> gs.Tensor:
    """Over a further first axis of length 1, too: then there always is one.

    Where an empty list means all, the axes are axes + all [0 : rank (axes is empty)].
    """
    x, axes = node.inputs
    axes = emit.Where(emit.Less(axes, [0]), axes, emit.term(axes) + np.asarray([1]))
    parts = [emit.constant(np.asarray([0])), axes]
    if not noop:
        rank = emit.Shape(emit.Shape(x))
        every = emit.Range(np.int64(1), emit.Squeeze(rank + np.asarray([1]), [0]), np.int64(1))
        empty = emit.Cast(emit.Equal(emit.Shape(axes), [0]), to=onnx_type(np.int64))
        parts.append(emit.Slice(every, [0], rank * empty, [0]))
    y = emit(node.op, emit.Unsqueeze(x, [0]), emit.Concat(*parts, axis=0), **node.attrs)
    return emit.Squeeze(y, [0]) if node.attrs.get("keepdims", 1) else y
