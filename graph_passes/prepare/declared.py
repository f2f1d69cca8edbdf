"""Sizes that attributes and constants declare, held to the limits before anybody makes use of them.

Shape inference makes a message of each axis and each output, and rules make kernels of windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import Shape, describe
from ..graph.limits import hold
from ..graph.names import bodies_of
from ..graph.operators import Fact, has, operator
from ..graph.tensors import is_constant, operator_name

MOST_AXES = 64
"""Axes of one tensor: numpy's limit."""
# Attributes of a number for each axis, and of how many outputs there are.
_WINDOW = ("pads", "kernel_shape", "strides", "dilations", "output_padding", "output_shape")
_LENGTHS, _COUNT = (*_WINDOW, "shape", "axes", "perm"), "num_outputs"
# ONNX Runtime multiplies and adds these without looking, and dies of some that are larger.
_LARGEST = 2**31 - 1


def check_declared(model: onnx.ModelProto) -> None:
    """Refuse tensors of more axes, or nodes of more outputs, than anybody can have.

    Raises:
        UnsupportedModelError: naming the tensor or the node.
    """
    for graph in _graphs(model):
        lengths: dict[str, int] = {}
        for tensor in _constants(graph):
            lengths[tensor.name] = tensor.dims[0] if len(tensor.dims) == 1 else 1
            _check_axes(f"initializer {tensor.name!r}", len(tensor.dims))
        for value in (*graph.input, *graph.output, *graph.value_info):
            _check_axes(f"tensor {value.name!r}", len(value.type.tensor_type.shape.dim))
        _check_nodes(graph.node, lengths)
    for function in model.functions:
        _check_nodes(function.node, {})


def _check_nodes(nodes: Iterable[onnx.NodeProto], lengths: dict[str, int]) -> None:
    for node in nodes:
        what = f"{node.op_type} (node {node.name or next(iter(node.output), '')!r})"
        for attribute in node.attribute:
            if attribute.name == _COUNT:
                hold("operands", f"outputs of {what}", max(attribute.i, len(node.output)))
            elif attribute.name in _LENGTHS:
                _check_axes(what, len(attribute.ints) // (2 if attribute.name == "pads" else 1))
            if attribute.name in _WINDOW and max(map(abs, attribute.ints), default=0) > _LARGEST:
                raise UnsupportedModelError(
                    f"{what}: expected {attribute.name} of at most {_LARGEST:,}, got "
                    f"{list(attribute.ints)}"
                )
        # Unsqueeze, too, has an operand with a number for each axis.
        operand = 1 if node.op_type == "Unsqueeze" else operator(node.op_type).sizes
        if operand is not None and operand < len(node.input):
            _check_axes(what, lengths.get(node.input[operand], 0))


def _check_axes(what: str, count: int) -> None:
    if count > MOST_AXES:
        raise UnsupportedModelError(f"{what}: expected at most {MOST_AXES} axes, got {count:,}")


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    waiting = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    while waiting:
        for body in bodies_of(waiting.pop()):
            yield body
            waiting.extend(body.node)


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and what Constant nodes hold under the names of their outputs."""
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                dims = attribute.t.dims if attribute.HasField("t") else [len(attribute.ints)]
                yield onnx.TensorProto(name=node.output[0], dims=dims)


def check_windows(graph: gs.Graph, extra: int) -> None:
    """Hold the kernels that rules make of windows to the limit on constants.

    A window of k elements along an axis, or of a stride s, takes max(k, s); a convolution's for
    each pair of channels; the points of a box of RoiAlign count as one window.

    Args:
        graph: with shapes.
        extra: what the file's own size adds to the limit.

    Raises:
        UnsupportedModelError: naming the node.
    """
    for node in graph.nodes:
        for body in node.attrs.values():
            if isinstance(body, gs.Graph):
                check_windows(body, extra)
        what = f"{node.op} (node {node.name or next((t.name for t in node.outputs), '')!r})"
        if has(node, Fact.CONVOLVES):
            _check_groups(what, node.attrs.get("group", 1), node.inputs[1].shape)
        kernel = list(node.attrs.get("kernel_shape") or [])
        strides = list(node.attrs.get("strides") or [])
        channels = 1
        if has(node, Fact.CONVOLVES) and is_constant(node.inputs[1]):
            channels = math.prod(node.inputs[1].shape[:2])
            kernel = list(node.inputs[1].shape[2:])
        if operator_name(node) == "LRN":
            kernel = [int(node.attrs.get("size", 1))]
        if operator_name(node) == "RoiAlign":
            points = max(int(node.attrs.get("sampling_ratio", 0)), 1)
            kernel = [points * int(node.attrs.get(f"output_{k}", 1)) for k in ("height", "width")]
        if not all(isinstance(n, int) for n in (*kernel, *strides)):
            continue
        strides += [1] * (len(kernel) - len(strides))
        sides = [max(k, s) for k, s in zip(kernel, strides, strict=False)]
        size = 4 * channels * math.prod(sides)
        hold("constant_bytes", f"bytes of the windows of {what}", size, extra)


def _check_groups(what: str, groups: int, weight: Shape) -> None:
    """Refuse a convolution of more groups than channels."""
    first = weight[0] if weight else None
    if groups < 1 or (isinstance(first, int) and groups > first):
        raise UnsupportedModelError(
            f"{what}: expected 1 to {first} groups for weights {describe(weight)}, got {groups:,}"
        )


def longest_string(model: onnx.ModelProto) -> int:
    """Bytes of the longest string that a model has, at least those of a number's text."""
    most = 32
    for graph in _graphs(model):
        tensors = [t for t in graph.initializer if t.data_type == onnx.TensorProto.STRING]
        for node in graph.node:
            for attribute in node.attribute:
                texts = (attribute.s, *attribute.strings, *attribute.t.string_data)
                most = max(most, *map(len, texts))
        most = max([most, *(len(text) for tensor in tensors for text in tensor.string_data)])
    return most
