"""Upsample, and Resize as opset 10 had it: kept from the version converter, which changes them.

Until opset 10 an output pixel i lay at i / scale, and "nearest" took the pixel before it (the one
behind it where the axis shrinks, as ONNX Runtime has it). The converter writes the half-pixel
places that opset 11 made its default.
"""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.emitter import Emitter
from ..graph.names import RESERVED, bodies_of
from ..graph.tensors import is_constant
from ..graph.terms import NodeView, Term
from .decompositions.registry import decomposition

_DOMAIN = "onnxplain.until_opset_10"


def hide_old_resizing(model: onnx.ModelProto, version: int) -> None:
    """Put Upsample and Resize into a domain of their own, in place, before the opset is raised."""
    if version <= 10 and _hide(model.graph, model.graph):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))


def _hide(graph: onnx.GraphProto, main: onnx.GraphProto) -> bool:
    found = False
    for node in graph.node:
        if node.op_type in ("Upsample", "Resize") and node.domain in ("", "ai.onnx"):
            if len(node.input) < 2:
                scales = next(a.floats for a in node.attribute if a.name == "scales")
                name = f"{RESERVED}scales/{node.output[0]}"
                values = np.asarray(scales, np.float32)
                main.initializer.append(onnx.numpy_helper.from_array(values, name))
                node.input.append(name)
            kept = [a for a in node.attribute if a.name == "mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.op_type, node.domain = "Resize", _DOMAIN
            found = True
        for body in bodies_of(node):
            found |= _hide(body, main)
    return found


@decomposition(f"{_DOMAIN}.Resize")
def old_resize(emit: Emitter, node: NodeView) -> Term | None:
    """Resize with asymmetric places; "nearest" downwards, and upwards along axes that shrink."""
    x, scales = node.inputs
    mode = node.attrs.get("mode", "nearest")
    mode = mode.decode() if isinstance(mode, bytes) else mode

    def resize(value, factors, nearest):
        return emit.Resize(
            value,
            None,
            factors,
            mode="linear" if mode in ("linear", "bilinear") else mode,
            coordinate_transformation_mode="asymmetric",
            nearest_mode=nearest,
        )

    if mode != "nearest":
        return resize(x, scales, "floor")
    if not is_constant(scales):
        # Which axes grow is known only as it runs; the other step leaves each as it is.
        larger, smaller = emit.Max(scales, 1.0), emit.Min(scales, 1.0)
        return resize(resize(x, larger, "floor"), smaller, "ceil")
    factors = np.asarray(scales.values, np.float32)
    larger, smaller = np.maximum(factors, 1), np.minimum(factors, 1)
    y = x
    if (larger > 1).any() or not (smaller < 1).any():
        y = resize(y, emit.constant(larger), "floor")
    return resize(y, emit.constant(smaller), "ceil") if (smaller < 1).any() else y
