"""How long the values are that ONNX's shape inference would follow: it sets no bound to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import onnx

from .limits import hold
from .names import bodies_of
from .operators import Fact, has, operator

# Numbers of all values together: some 100 MB, and less than a second.
_MOST = 2**20
_COMBINED: dict[str, Callable[[Iterable[float]], float]] = {
    "Add": sum,
    "Sub": sum,
    "Mul": math.prod,
}
# Range (start, limit, delta).
_ENDS = 1
_WHOLE = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
# Larger than any size, and far from what a float cannot hold.
_HUGE = 2.0**64
Shapes = Mapping[str, onnx.TensorShapeProto]


class Value(NamedTuple):
    """At most how many numbers a tensor of one axis holds, and how large they are."""

    length: float
    largest: float


_UNKNOWN = Value(1, 1)


def follows_values(light: onnx.ModelProto, known: onnx.GraphProto) -> bool:
    """True where following values costs little.

    ONNX writes out each value of one axis that an Add, Cast, Concat and the like reads, known or
    not, 100 bytes a number: 60 nodes `Concat (t, t)` are 2**60 numbers.

    Args:
        light: a model without its weights.
        known: its graph with the shapes that are known without following values.

    Raises:
        UnsupportedModelError: a size that follows from sizes is more than the limit allows.
    """
    if light.functions:
        return False
    # Of other constants than whole numbers ONNX follows nothing.
    whole = [tensor for tensor in known.initializer if tensor.data_type in _WHOLE]
    values = {tensor.name: _constant(tensor) for tensor in whole}
    return _written_out(known, values) <= _MOST


def _written_out(graph: onnx.GraphProto, values: dict[str, Value]) -> float:
    """The numbers of all values that a graph would have ONNX write out."""
    shapes, total = _shapes(graph), 0.0
    for node in graph.node:
        total += sum(_written_out(body, dict(values)) for body in bodies_of(node))
        names, carried = list(node.input), has(node.op_type, Fact.CARRIED)
        makes = carried or has(node.op_type, Fact.NO_DATA) or _says_size(node) is not None
        if not makes and values.keys().isdisjoint(names):
            continue
        made = _made(node, values, shapes)
        values.update((name, _sized(made, shapes.get(name))) for name in node.output)
        if carried:
            every = (*names, *node.output)
            total += sum(_value(name, values, shapes).length for name in every)
    return total


def _says_size(node: onnx.NodeProto) -> int | None:
    """The operand that says how many numbers a node makes."""
    place = _ENDS if node.op_type == "Range" else operator(node.op_type).sizes
    return place if place is not None and place < len(node.input) else None


def _shapes(graph: onnx.GraphProto) -> Shapes:
    every = (*graph.input, *graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type for value in every}
    return {name: kind.shape for name, kind in kinds.items() if kind.HasField("shape")}


def _value(name: str, values: dict[str, Value], shapes: Shapes) -> Value:
    """What is known of a tensor; nothing was noted of what only computes from unknown numbers."""
    return values[name] if name in values else _sized(_UNKNOWN, shapes.get(name))


def _sized(made: Value, shape: onnx.TensorShapeProto | None) -> Value:
    """What is made, of a shape that may be known: a value of more axes than one is not followed."""
    if shape is None:
        return made
    if len(shape.dim) > 1:
        return Value(0, 1)
    lengths = [d.dim_value if d.HasField("dim_value") else made.length for d in shape.dim]
    return Value(math.prod(lengths), made.largest)


def _constant(tensor: onnx.TensorProto) -> Value:
    numbers = onnx.numpy_helper.to_array(tensor)
    largest = float(np.abs(numbers.astype(float)).max(initial=1))
    return Value(numbers.size if numbers.ndim < 2 else 0, largest)


def _made(node: onnx.NodeProto, values: dict[str, Value], shapes: Shapes) -> Value:
    """What a node makes of what it is given.

    Raises:
        UnsupportedModelError: more than the limit allows, which only such values tell.
    """
    op, place = node.op_type, _says_size(node)
    if has(op, Fact.SIZES):
        shape = shapes.get(node.input[0])
        dims = [float(d.dim_value) for d in shape.dim if d.dim_value > 0] if shape else []
        return Value(max(len(dims), 1), (math.prod if op == "Size" else max)([1.0, *dims]))
    given = [_value(name, values, shapes) for name in node.input] or [_UNKNOWN]
    along = next((a.i for a in node.attribute if a.name == "axis"), 0) if op == "Concat" else 0
    if along > 0:
        return Value(0, 1)  # of several axes
    length = (sum if op == "Concat" else max)(one.length for one in given)
    if place is not None:
        if given[place].length > 1:
            return Value(0, 1)  # a size of several axes
        what = f"bytes of {op} (node {node.name or node.output[0]!r})"
        hold("activations_bytes", what, 4 * int(given[place].largest))
        return Value(max(length, given[place].largest), 1)
    # Of operators of one tensor the others are parameters, such as the end of all slices.
    read = given[:1] if has(op, Fact.ONE_OPERAND) else given
    combined = _COMBINED.get(op, max)(one.largest for one in read)
    return Value(length, min(combined, _HUGE) if has(op, Fact.CARRIED) else 1)
