"""What is computed while a graph is prepared: how much it is, and ONNX's reference for it.

Which operators may be is a fact of each (`Fact.EVALUATED`, `Fact.FOLDED`). Anything else stays in
the graph as a node: its values are then known to nobody but the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from .operators import operator
from .tensors import is_constant, onnx_type


def indices_fit(kind: str, operands: Sequence[Any]) -> bool:
    """Whether the indices lie within what they are of, as far as its longest axis goes.

    ONNX's reference implementation counts a larger one down, one length at a time.

    Args:
        kind: the operator.
        operands: arrays, None for an omitted one.
    """
    place = operator(kind).indices
    if place is None or len(operands) <= place or operands[place] is None:
        return True
    longest = max(np.shape(operands[0]), default=1)
    indices = np.asarray(operands[place])
    return not indices.size or bool(-longest <= indices.min() and indices.max() < longest)


def most_made(inputs: Sequence[Sequence[int]]) -> int:
    """Elements that an operator makes at most where values decide: 8 for each that goes in."""
    return 8 * sum(math.prod(shape) for shape in inputs)


def work_of(kind: str, attrs: Mapping[str, Any], inputs: Sequence[Sequence[int]], made: int) -> int:
    """Multiplications that an operator takes, about: at least one for each element it touches.

    Args:
        kind: the operator.
        attrs: its attributes.
        inputs: shapes of its operands, those that are known.
        made: elements of its outputs.
    """
    read = sum(math.prod(shape) for shape in inputs)
    longest = max((max(shape, default=1) for shape in inputs), default=1)
    if kind in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul") and inputs:
        return read + made * max(inputs[0], default=1)
    if kind in ("Conv", "ConvInteger", "QLinearConv"):
        weight = inputs[3 if kind == "QLinearConv" and len(inputs) > 3 else 1]
        return read + made * math.prod(weight[1:])
    if kind == "ConvTranspose":
        return read + math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if "kernel_shape" in attrs:
        return read + made * math.prod(attrs["kernel_shape"])
    if kind == "LRN":
        return read + made * min(int(attrs.get("size", 1)), longest)
    if kind in ("Einsum", "NonMaxSuppression"):
        return math.prod(max(math.prod(shape), 1) for shape in inputs[:3])
    if kind in ("DFT", "STFT", "Det"):
        products = math.prod(max(math.prod(shape), 1) for shape in inputs[:3])
        return (products + made) * longest
    return read + made


def by_reference(
    node: gs.Node, values: Sequence[np.ndarray | None], opset: int
) -> list[np.ndarray]:
    """What ONNX's reference implementation makes of a node's operands; None: one left out."""
    from onnx.reference import ReferenceEvaluator

    names = ["" if value is None else f"x{k}" for k, value in enumerate(values)]
    feeds = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx_type(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    outputs = [tensor.name for tensor in node.outputs]
    plain = onnx.helper.make_node(node.op, names, outputs, **plain_attributes(node))
    results = [
        onnx.helper.make_tensor_value_info(t.name, onnx_type(t.dtype or np.float32), None)
        for t in node.outputs
    ]
    graph = onnx.helper.make_graph([plain], "arithmetic", inputs, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]


def plain_attributes(node: gs.Node) -> dict[str, Any]:
    """The node's attributes as ONNX's helpers take them."""
    return {
        name: onnx.numpy_helper.from_array(value.values) if is_constant(value) else value
        for name, value in node.attrs.items()
    }
