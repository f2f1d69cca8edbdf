"""Optional values that are known to be there, which is how exporters write them, go away."""

from __future__ import annotations

import numpy as np
import onnx

from ... import UnsupportedModelError
from ..graph.names import bodies_of

_OPTIONALS = ("Optional", "OptionalGetElement", "OptionalHasElement")


def without_optionals(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Rewrite, in place: Optional(x) and OptionalGetElement(x) are x, OptionalHasElement(x) true.

    Raises:
        UnsupportedModelError: an optional that may be empty.
    """
    for value in model.graph.input:
        if value.type.WhichOneof("value") == "optional_type":
            raise UnsupportedModelError(f"input {value.name!r} may be empty (an optional type)")
    return model if _rewrite(model.graph) else None


def _rewrite(graph: onnx.GraphProto) -> bool:
    changed = False
    for value in graph.output:
        if value.type.WhichOneof("value") == "optional_type":
            inner = onnx.TypeProto()
            inner.CopyFrom(value.type.optional_type.elem_type)
            value.type.CopyFrom(inner)
            changed = True
    for node in graph.node:
        if node.domain in ("", "ai.onnx") and node.op_type in _OPTIONALS:
            if not node.input or not node.input[0]:
                raise UnsupportedModelError(
                    f"{node.op_type} (node {node.name or node.output[0]!r}): an optional that is "
                    "empty is not supported"
                )
            changed = True
            del node.attribute[:]
            if node.op_type == "OptionalHasElement":
                del node.input[:]
                true = onnx.numpy_helper.from_array(np.asarray(True))
                node.attribute.append(onnx.helper.make_attribute("value", true))
                node.op_type = "Constant"
            else:
                node.op_type = "Identity"
        for body in bodies_of(node):
            changed |= _rewrite(body)
    return changed
