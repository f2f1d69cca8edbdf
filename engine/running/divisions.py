"""Divisions of integers that ONNX Runtime would die of: made to fail as any other node does.

The processor stops a program that divides an integer by 0, or the least one by -1. Where a file
has such a division, and the divisor is not known to be another number, a Gather is put before it
that finds nothing there in these cases, which is an error that can be caught; in all others it adds
0 to the divisor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

from ...graph_passes.graph.inference import without_weights
from ...graph_passes.graph.names import RESERVED, bodies_of

_SIGNED = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
_INTEGERS = (
    *_SIGNED,
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
)
_BY_NAME = {f"tensor({name.lower()})": number for name, number in TensorProto.DataType.items()}
_NAME = f"{RESERVED}division"
# Divisors that are looked at; more of them are guarded.
_MOST_READ = 2**16


def is_division(message: str) -> bool:
    """Whether an error of ONNX Runtime's is one of a node that this put there."""
    return _NAME in message


def guarded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy in which no division of integers can end the process.

    Functions that divide are written out for it: in them a type is whatever the caller's is.
    """
    inner = any(map(_may_end, (node for f in model.functions for node in f.node)))
    if not inner and not any(map(_may_end, _all_nodes(model))):
        return model
    light = inliner.inline_local_functions(without_weights(model, _MOST_READ)) if inner else model
    if not _guard(light.graph, {}, {}, dry=True):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy = inliner.inline_local_functions(copy) if inner else copy
    _guard(copy.graph, {}, {}, dry=False)
    return copy


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    waiting = list(model.graph.node)
    while waiting:
        node = waiting.pop()
        yield node
        for body in bodies_of(node):
            waiting.extend(body.node)


def _may_end(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Div", "Mod") and node.domain in ("", "ai.onnx")


def _guard(
    graph: onnx.GraphProto,
    outer: Mapping[str, int],
    numbers: dict[str, int],
    dry: bool,
    inside: dict[int, Mapping[str, int]] | None = None,
) -> bool:
    """Put what is needed before each division, in place; returns whether any needs it.

    inside: gains, for this graph, the types of its tensors by name.
    """
    inside = {} if inside is None else inside
    types = dict(outer)
    inside[id(graph)] = types
    values = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    types |= values | {v.name: v.type.tensor_type.elem_type for v in graph.input}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    types |= {name: tensor.data_type for name, tensor in constants.items()}
    nodes, needed = [], False
    for node in graph.node:
        for body in bodies_of(node):
            needed |= _guard(body, types, numbers, dry, inside)
        _learn(node, types, constants, inside)
        kind = types.get(node.input[1], 0) if _may_end(node) and len(node.input) == 2 else 0
        if kind in _INTEGERS and not _is_safe(constants.get(node.input[1]), kind):
            needed = True
            if not dry:
                number = numbers.setdefault("", 0)
                numbers[""] = number + 1
                nodes += _before(node, kind, f"{_NAME}/{number}")
        nodes.append(node)
    if needed and not dry:
        plain = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(plain)
    return needed


def _learn(
    node: onnx.NodeProto,
    types: dict[str, int],
    constants: dict[str, TensorProto],
    inside: Mapping[int, Mapping[str, int]],
) -> None:
    """Take down the types of what a node makes, as its operator's schema has them."""
    if node.op_type == "Constant" and node.output:
        tensor = _constant(node.output[0], {a.name: a for a in node.attribute})
        if tensor is not None:
            constants[node.output[0]] = tensor
            types[node.output[0]] = tensor.data_type
        return
    for place, name in enumerate(node.output):
        if name and not types.get(name):
            types[name] = _type_of(node, place, types, inside)


def _type_of(
    node: onnx.NodeProto,
    place: int,
    types: Mapping[str, int],
    inside: Mapping[int, Mapping[str, int]],
) -> int:
    """The type of one output of a node; 0: not known."""
    attributes = {a.name: a for a in node.attribute}
    if "to" in attributes and node.op_type == "Cast":
        return attributes["to"].i
    if node.op_type == "ConstantOfShape":
        return attributes["value"].t.data_type if "value" in attributes else TensorProto.FLOAT
    for body in bodies_of(node):
        # The first that a loop's body returns is whether it goes on; all behind are its outputs.
        returned = [value.name for value in body.output][node.op_type == "Loop" :]
        if place < len(returned):
            return inside.get(id(body), {}).get(returned[place], 0)
    try:
        schema = onnx.defs.get_schema(node.op_type, domain=node.domain)
    except onnx.defs.SchemaError:
        return 0
    kind = schema.outputs[min(place, len(schema.outputs) - 1)].type_str
    inputs = schema.inputs
    for number, name in enumerate(node.input):
        if types.get(name) and inputs and inputs[min(number, len(inputs) - 1)].type_str == kind:
            return types[name]
    allowed = [c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == kind]
    only = allowed[0] if allowed and len(allowed[0]) == 1 else [kind]
    return _BY_NAME.get(only[0], 0)


def _constant(name: str, attributes: Mapping[str, onnx.AttributeProto]) -> TensorProto | None:
    if "value" in attributes:
        return attributes["value"].t
    for key in ("value_int", "value_ints"):
        if key in attributes:
            value = helper.get_attribute_value(attributes[key])
            return numpy_helper.from_array(np.asarray(value, np.int64), name)
    return None


def _is_safe(divisor: TensorProto | None, kind: int) -> bool:
    """Whether it is known that nothing is divided by 0, or by -1."""
    if divisor is None or math.prod(divisor.dims) > _MOST_READ:
        return False
    if divisor.data_location == TensorProto.EXTERNAL:
        return False
    values = numpy_helper.to_array(divisor)
    return bool(np.all(values != 0)) and (kind not in _SIGNED or bool(np.all(values != -1)))


def _before(node: onnx.NodeProto, kind: int, name: str) -> Iterable[onnx.NodeProto]:
    """Nodes that make a divisor which is `node`'s, or an error; `node` takes it instead.

    y = b + Gather([0], bad), where bad is 1 for b = 0, and for b = -1 and a the least number.
    """
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    a, b = node.input

    def constant(key: str, values) -> onnx.NodeProto:
        tensor = numpy_helper.from_array(np.asarray(values), f"{name}/{key}")
        return helper.make_node("Constant", [], [f"{name}/{key}"], value=tensor)

    def make(op: str, reads: list[str], key: str, **attributes) -> onnx.NodeProto:
        output = f"{name}/{key}"
        return helper.make_node(op, reads, [output], name=f"{output}_node", **attributes)

    to_int64 = {"to": int(TensorProto.INT64)}
    yield constant("zero", np.zeros((), dtype))
    yield constant("zeros", np.zeros(1, dtype))
    # In 64 bits, in which every version of ONNX compares; of unsigned ones no two are taken as one.
    yield make("Cast", [b], "b", **to_int64)
    yield constant("none", np.zeros((), np.int64))
    yield make("Equal", [f"{name}/b", f"{name}/none"], "is_zero")
    bad = "is_zero"
    if kind in _SIGNED:
        yield make("Cast", [a], "a", **to_int64)
        yield constant("minus", np.asarray(-1, np.int64))
        yield constant("least", np.asarray(np.iinfo(dtype).min, np.int64))
        yield make("Equal", [f"{name}/b", f"{name}/minus"], "is_minus")
        yield make("Equal", [f"{name}/a", f"{name}/least"], "is_least")
        yield make("And", [f"{name}/is_minus", f"{name}/is_least"], "is_over")
        yield make("Or", [f"{name}/is_zero", f"{name}/is_over"], "is_bad")
        bad = "is_bad"
    yield make("Cast", [f"{name}/{bad}"], "index", **to_int64)
    yield make("Gather", [f"{name}/zeros", f"{name}/index"], "nothing")
    yield make("Cast", [f"{name}/nothing"], "nothing_64", **to_int64)
    yield make("Add", [f"{name}/b", f"{name}/nothing_64"], "sum")
    yield make("Cast", [f"{name}/sum"], "divisor", to=kind)
    node.input[1] = f"{name}/divisor"
