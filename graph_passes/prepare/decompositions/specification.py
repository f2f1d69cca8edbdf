"""Operators replaced by the bodies that ONNX's own specification gives them."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TypeProto, defs, inliner, shape_inference

from .... import UnsupportedModelError

_DOMAIN = "onnxplain.specification"

# Operators with a body in simpler ones, and without a rule here.
BY_SPECIFICATION = {
    "Attention",
    "CenterCropPad",
    "GroupNormalization",
    "LinearAttention",
    "NegativeLogLikelihoodLoss",
    "RMSNormalization",
    "RotaryEmbedding",
    "SoftmaxCrossEntropyLoss",
    "SwiGLU",
}


def expand_functions(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Replace each of `BY_SPECIFICATION` by its body: as a function of its own, then inlined.

    Raises:
        UnsupportedModelError: a body depends on a type that shape inference cannot tell.
    """
    if not any(_is_expanded(node) for node in model.graph.node):
        return None
    version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    model = _inferred(model)
    types = _types(model.graph)
    known = {value.name for value in model.graph.value_info}
    for tensor in model.graph.initializer:
        # The inliner asks for the type of all that is read, and does not look for it here.
        if tensor.name not in known:
            model.graph.value_info.append(onnx.ValueInfoProto(name=tensor.name))
            model.graph.value_info[-1].type.CopyFrom(types[tensor.name])
    for number, node in enumerate(model.graph.node):
        if _is_expanded(node):
            function = _body(node, version, types)
            function.name, function.domain = f"{node.op_type}_{number}", _DOMAIN
            model.functions.append(function)
            node.op_type, node.domain = function.name, _DOMAIN
    model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    inlined = inliner.inline_local_functions(model, convert_version=True)
    kept = [o for o in inlined.opset_import if o.domain != _DOMAIN]
    del inlined.opset_import[:]
    inlined.opset_import.extend(kept)
    return expand_functions(inlined) or inlined


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """With types and shapes, also behind what ONNX infers none for: GroupNormalization.

    To inference that one is an InstanceNormalization, which makes the same of what it takes.
    """
    nodes = model.graph.node
    renamed = [n for n, node in enumerate(nodes) if _is(node, "GroupNormalization")]
    for number in renamed:
        nodes[number].op_type = "InstanceNormalization"
    model = shape_inference.infer_shapes(model, data_prop=True)
    for number in renamed:
        model.graph.node[number].op_type = "GroupNormalization"
    return model


def _is(node: onnx.NodeProto, *names: str) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in names


def _is_expanded(node: onnx.NodeProto) -> bool:
    return _is(node, *BY_SPECIFICATION)


def _types(graph: onnx.GraphProto) -> dict[str, TypeProto]:
    types = {v.name: v.type for v in [*graph.input, *graph.value_info, *graph.output]}
    for tensor in graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return types


def _body(node: onnx.NodeProto, version: int, types: dict[str, TypeProto]) -> onnx.FunctionProto:
    """The operator's function body for this node's attributes and input types."""
    # onnx's own stub lacks some of its methods.
    schema: Any = defs.get_schema(node.op_type, version)
    if schema.has_function:
        text = schema.function_body.SerializeToString()
    else:
        given = [types.get(name, TypeProto()).SerializeToString() for name in node.input]
        text = schema.get_context_dependent_function(node.SerializeToString(), given)
    function = onnx.FunctionProto.FromString(text)
    if not function.node:
        raise UnsupportedModelError(
            f"{node.op_type} (node {node.name!r}): its specification gives no body for these inputs"
        )
    return function
