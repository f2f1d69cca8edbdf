"""Squeeze says its axes, where they are known."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.names import RESERVED
from ..graph.tensors import is_constant, optional_input


def say_squeezed_axes(graph: gs.Graph) -> gs.Graph | None:
    """A Squeeze without axes, or with none in the list, takes all of length 1 away.

    Which they are is written down where the shape is known. An empty list means the same to ONNX
    Runtime, and to ONNX's inference nothing: it is dropped elsewhere.
    """
    changed = False
    for number, node in enumerate(graph.nodes):
        axes = optional_input(node, 1) if node.op == "Squeeze" else None
        empty = axes is not None and is_constant(axes) and axes.values.size == 0
        if node.op != "Squeeze" or not (axes is None or empty):
            continue
        shape = node.inputs[0].shape
        if empty:
            node.inputs.pop(1)
            changed = True
        if is_static(shape):
            ones = np.asarray([a for a, dim in enumerate(shape) if dim == 1], np.int64)
            if len(ones):
                node.inputs.append(gs.Constant(f"{RESERVED}squeezed/{number}", ones))
            else:
                node.op = "Identity"
            changed = True
    return graph if changed else None
