"""A graph at one size: its symbolic dimensions replaced by typical numbers.

Only there does it show which axes are cut into patches, and what a pooling leaves of a map. One
sweep over the nodes computes the arithmetic of shapes, and infers each output's shape from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import defs, shape_inference

from ..graph.dims import is_static
from ..graph.evaluated import by_reference, indices_fit, plain_attributes
from ..graph.operators import Fact, has
from ..graph.ordering import prune
from ..graph.sizes import COMPUTED, compute, most_of, size_read
from ..graph.tensors import is_constant, is_float, onnx_type
from .subject import Subject

# What a symbolic axis stands for: of pictures, of volumes' depth, of sound, of rows of tokens.
_PICTURE, _DEPTH, _SOUND, _TOKENS = 224, 32, 4000, 32
# Constants up to this size may belong to the arithmetic of shapes; what one operator makes of them
# has at most so many elements, and all of it together.
_SMALL, _MOST, _MOST_IN_ALL = 4096, 2**20, 2**24
# NonZero makes an index for each axis.
_MOST_RANK = 64


def typical_graph(subject: Subject, batch: int, keep: Sequence[str] = ()) -> gs.Graph:
    """The subject's graph with static shapes, as far as numbers for its symbols give them.

    Args:
        subject: is not changed; its own graph is returned where all shapes are static already.
        batch: what a symbolic batch is replaced by.
        keep: names of tensors that stay, whatever reads them.
    """
    tensors = subject.graph.tensors().values()
    if all(is_static(t.shape) for t in tensors if isinstance(t, gs.Variable) and t.name):
        return subject.graph
    moved = subject.copy()
    graph = moved.graph
    own = graph.tensors()
    for tensor in (moved.logits, moved.decided, *(own[name] for name in keep)):
        if all(output is not tensor for output in graph.outputs):
            # What no output needs would be dropped.
            graph.outputs.append(tensor)
    sizes: dict[str | None, int] = {subject.batch: batch} if isinstance(subject.batch, str) else {}
    for tensor in sorted(graph.inputs, key=lambda t: t.name != subject.input.name):
        if tensor.shape is not None:
            given = [_typical(tensor, axis, batch) for axis in range(len(tensor.shape))]
            tensor.shape = [
                dim if isinstance(dim, int) else sizes.setdefault(dim, size)
                for dim, size in zip(tensor.shape, given, strict=True)
            ]
    left = _MOST_IN_ALL
    for node in graph.nodes:
        values = _computed(node, graph.opset, min(_MOST, left))
        if values is None:
            _infer(node, graph.opset)
            continue
        left -= sum(value.size for value in values)
        outputs = list(node.outputs)
        node.outputs.clear()
        for output, value in zip(outputs, values, strict=False):
            output.to_constant(np.array(value, order="C"))
    return prune(graph)


def _typical(tensor: gs.Variable, axis: int, batch: int) -> int:
    rank = len(tensor.shape)
    if axis == 0:
        return batch
    if rank >= 4:
        return _PICTURE if axis >= rank - 2 or rank == 4 else _DEPTH
    return _SOUND if is_float(tensor) else _TOKENS


def _computed(node: gs.Node, opset: int, most: int) -> list[np.ndarray] | None:
    """What the node makes of constants; None where it depends on more, or on too much.

    Only operators on a list, and only what has at most `most` elements, as is known before.
    """
    if not has(node, Fact.EVALUATED):
        return None
    size = size_read(node) if has(node, Fact.SIZES) else None
    if size is not None:
        return [size]
    present = [tensor for tensor in node.inputs if tensor.name]
    small = all(is_constant(t) and np.prod(t.shape) <= _SMALL for t in present)
    if not present or not small or any(isinstance(v, gs.Graph) for v in node.attrs.values()):
        return None
    if any(np.asarray(tensor.values).dtype.kind not in "biuf" for tensor in present):
        return None
    values = [tensor.values if tensor.name else None for tensor in node.inputs]
    try:
        if _most_made(node, present, opset) > most or not indices_fit(node.op, values):
            return None
        if node.op in COMPUTED:
            made = [np.asarray(compute(node.op, node.attrs, values))]
        else:
            made = by_reference(node, values, opset)
        # A Cast makes strings, too.
        return made if all(value.dtype.kind in "biuf" for value in made) else None
    except Exception:
        # Only its shape is missed then, and what stands behind it has no known places.
        return None


def _most_made(node: gs.Node, present: list[gs.Tensor], opset: int) -> float:
    """Elements that the node makes of these operands, at the most; infinity where nobody knows."""
    shapes = [t.shape for t in present]
    most = most_of(node.op, shapes)
    if most is not None:
        return most
    if has(node, Fact.BY_VALUES):
        return _MOST_RANK * sum(map(math.prod, shapes))
    _infer(node, opset)
    shapes = [t.shape for t in node.outputs if t.name]
    known = all(shape is not None and is_static(shape) for shape in shapes)
    return sum(math.prod(shape) for shape in shapes) if known else math.inf


def _infer(node: gs.Node, opset: int) -> None:
    """Give the node's outputs the shapes that follow from its operands'; else none."""
    for output in node.outputs:
        output.shape = None
    if node.domain not in (None, "", "ai.onnx"):
        return
    types, data = {}, {}
    for tensor in node.inputs:
        if tensor.name and tensor.dtype is not None:
            shape = None if tensor.shape is None else list(tensor.shape)
            types[tensor.name] = onnx.helper.make_tensor_type_proto(onnx_type(tensor.dtype), shape)
            if is_constant(tensor) and np.prod(tensor.shape or ()) <= _SMALL:
                data[tensor.name] = onnx.numpy_helper.from_array(tensor.values, tensor.name)
    try:
        plain = onnx.helper.make_node(
            node.op,
            [t.name for t in node.inputs],
            [t.name for t in node.outputs],
            **plain_attributes(node),
        )
        found = shape_inference.infer_node_outputs(
            defs.get_schema(node.op, opset),
            plain,
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid("", opset)],
        )
    except Exception:
        # A body of If, Loop or Scan, or shapes that do not fit: no shape is known behind it.
        return
    for output in node.outputs:
        inferred = found.get(output.name)
        if inferred is not None and inferred.tensor_type.HasField("shape"):
            dims = inferred.tensor_type.shape.dim
            output.shape = [
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                for dim in dims
            ]
