"""What nodes mean in other opsets than their own."""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from ..graph.tensors import onnx_type

STANDARD = ("", "ai.onnx")
# The opsets from which on attributes or defaults mean something else.
_CHANGED = {
    **{"DFT": (20,), "GridSample": (20,), "GroupNormalization": (21,)},
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), (13,)),
}
# Values that attributes have from an opset on.
_LATER = {
    "mode": {"wrap": 19},
    "coordinate_transformation_mode": {"half_pixel_symmetric": 19},
}
# Rounding up, later versions of AveragePool count the windows and their elements in another way.
_ROUNDING_UP = 19


def fits(node: gs.Node, opset: int, target: int) -> bool:
    """Whether a node of one opset means the same in an older one."""
    if node.domain and node.domain not in STANDARD:
        return True
    if _meaning_changed(node, opset, target):
        return False
    try:
        now, then = (onnx.defs.get_schema(node.op, version) for version in (opset, target))
    except onnx.defs.SchemaError:
        return False
    if now.since_version == then.since_version:
        return True
    if then.deprecated or len(node.inputs) > then.max_input:
        return False
    if len(node.inputs) < then.min_input or len(node.outputs) > then.max_output:
        return False
    if any(not _has_value(then, k, v, target) for k, v in node.attrs.items()):
        return False
    return _takes_types(node.inputs, then.inputs, then) and _takes_types(
        node.outputs, then.outputs, then
    )


def first_opset(node: gs.Node, opset: int, target: int) -> int:
    """The oldest opset above a target in which a node means what it does in its own."""
    return next((v for v in range(target + 1, opset) if fits(node, opset, v)), opset)


def _meaning_changed(node: gs.Node, opset: int, target: int) -> bool:
    if node.op == "AveragePool" and node.attrs.get("ceil_mode"):
        return target < _ROUNDING_UP <= opset
    changed = any(target < version <= opset for version in _CHANGED.get(node.op, ()))
    # Along the last axis alone a Softmax is what it was.
    return changed and not (_CHANGED[node.op] == (13,) and node.attrs.get("axis") == -1)


def _has_value(then: onnx.defs.OpSchema, name: str, value: object, target: int) -> bool:
    """Whether an older version has the attribute, and the word that it is set to."""
    if name not in then.attributes:
        return False
    since = _LATER.get(name, {}).get(value, 0) if isinstance(value, str) else 0
    return target >= since


def _takes_types(tensors, formal, schema: onnx.defs.OpSchema) -> bool:
    """Whether an operator takes these tensors; one of unknown type counts as taken."""
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    for index, tensor in enumerate(tensors):
        if not tensor.name or tensor.dtype is None:
            continue
        constraint = formal[min(index, len(formal) - 1)].type_str
        name = onnx.TensorProto.DataType.Name(onnx_type(tensor.dtype)).lower()
        if f"tensor({name})" not in allowed.get(constraint, [constraint]):
            return False
    return True


def without_defaults(node: gs.Node, opset: int, target: int) -> None:
    """Leaves out, in place, attributes that an older version lacks and that say nothing new.

    What an attribute left out means there is written down where the default has changed.
    """
    if (node.domain and node.domain not in STANDARD) or not onnx.defs.has(node.op, target):
        return
    now, then = (onnx.defs.get_schema(node.op, version) for version in (opset, target))
    for name, attribute in now.attributes.items():
        default = attribute.default_value
        if not default.name:
            continue
        value = onnx.helper.get_attribute_value(default)
        value = value.decode() if isinstance(value, bytes) else value
        if name not in then.attributes:
            if name in node.attrs and node.attrs[name] == value:
                del node.attrs[name]
        elif name not in node.attrs and then.attributes[name].default_value != default:
            node.attrs[name] = value
