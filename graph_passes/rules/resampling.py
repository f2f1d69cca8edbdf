"""Gradient of Resize: linear and separable, so one matrix product for each resized axis."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, onnx_type, optional_input, rank_of
from .registry import Family, gradient


@gradient("Resize", family=Family.LINEAR)
def resize(emit, node, dy):
    """y = x A_1 A_2 ... along the axes: dx = dy A_1^T A_2^T ...

    A_k, [input length, output length], is what the operator itself makes of the identity matrix, so
    every mode, coordinate transformation and antialiasing is served alike.
    """
    rank = rank_of(node.inputs[0])
    named = [axis % rank for axis in node.attrs.get("axes") or range(rank)]
    for position, axis in enumerate(named):
        if _unchanged(node, position, axis):
            continue
        if node.attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch":
            matrix = _axis_matrix(emit, node, position, axis, len(named))
        else:
            matrix = _axis_matrix_of_all(emit, node, axis, named)
        dy = _product_along(emit, dy, matrix, axis, rank)
    return dy


def _unchanged(node: gs.Node, position: int, axis: int) -> bool:
    """True when the operator certainly leaves this axis alone."""
    scales = _given(node, 2)
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return axis < 2
    if scales is not None:
        return is_constant(scales) and float(scales.values[position]) == 1.0
    before, after = node.inputs[0].shape[axis], node.outputs[0].shape[axis]
    if isinstance(before, int) and isinstance(after, int):
        return before == after
    return axis < 2 or (before is not None and before == after)


def _given(node: gs.Node, index: int) -> gs.Tensor | None:
    """An optional input, or None; tf2onnx fills the place of an omitted one with an empty array."""
    tensor = optional_input(node, index)
    return None if tensor is not None and is_constant(tensor) and not tensor.values.size else tensor


def _axis_matrix(emit: Emitter, node: gs.Node, position: int, axis: int, count: int) -> gs.Tensor:
    """The [input length, output length] matrix of one axis.

    Resize of the identity along its columns.
    """
    y = node.outputs[0]
    length = emit.dims(node.inputs[0], axis, axis + 1)
    identity = emit("Unsqueeze", _identity(emit, node.inputs[0], length), [0, 1])
    attributes = {
        k: v for k, v in node.attrs.items() if k not in ("axes", "keep_aspect_ratio_policy")
    }
    attributes["extrapolation_value"] = 0.0
    roi, scales = _given(node, 1), _given(node, 2)
    if roi is not None:
        begin = emit("Slice", roi, [position], [position + 1], [0])
        end = emit("Slice", roi, [position + count], [position + count + 1], [0])
        front = emit.constant(np.zeros(3, roi.dtype))
        back = emit.constant(np.ones(3, roi.dtype))
        roi = emit("Concat", front, begin, back, end, axis=0)
    if scales is not None:
        scale = emit("Slice", scales, [position], [position + 1], [0])
        scales = emit("Concat", emit.constant(np.ones(3, np.float32)), scale, axis=0)
        matrix = emit("Resize", identity, roi, scales, **attributes)
    else:
        sizes = emit("Concat", [1, 1], length, emit.dims(y, axis, axis + 1), axis=0)
        matrix = emit("Resize", identity, roi, None, sizes, **attributes)
    return emit("Squeeze", matrix, [0, 1])


def _identity(emit: Emitter, x: gs.Tensor, length: gs.Tensor) -> gs.Tensor:
    """The identity matrix of a size known or not, in x's type."""
    zero = gs.Constant(emit.name("zero"), np.zeros(1, x.dtype))
    blank = emit("ConstantOfShape", emit("Concat", length, length, axis=0), value=zero)
    return emit("EyeLike", blank, dtype=onnx_type(x.dtype))


def _axis_matrix_of_all(emit: Emitter, node: gs.Node, axis: int, named: list[int]) -> gs.Tensor:
    """The same where the axes have one scale together, so that one axis alone would get another.

    Row i is what the operator makes of an image that is 1 at place i of the axis, everywhere else
    along the other axes, and so the same along these afterwards.
    """
    x = node.inputs[0]
    length = emit.dims(x, axis, axis + 1)
    line = [1 if other != axis else -1 for other in named]
    rows = emit("Reshape", _identity(emit, x, length), emit("Concat", length, line, axis=0))
    sides = [emit.dims(x, other, other + 1) for other in named]
    images = emit("Expand", rows, emit("Concat", length, *sides, axis=0))
    attributes = dict(node.attrs)
    attributes["axes"] = [2 + place for place in range(len(named))]
    attributes["extrapolation_value"] = 0.0
    images = emit("Unsqueeze", images, [1])
    resized = emit("Resize", images, _given(node, 1), _given(node, 2), node.inputs[3], **attributes)
    others = [2 + place for place, other in enumerate(named) if other != axis]
    first = emit("Slice", resized, [0] * len(others), [1] * len(others), others)
    return emit("Reshape", first, emit("Concat", length, [-1], axis=0))


def _product_along(emit: Emitter, dy, matrix, axis: int, rank: int) -> gs.Tensor:
    """dy contracted with the matrix's second axis, along one axis of dy."""
    if axis == rank - 2:
        return emit("MatMul", matrix, dy)
    transposed = emit("Transpose", matrix, perm=[1, 0])
    if axis == rank - 1:
        return emit("MatMul", dy, transposed)
    perm = [a for a in range(rank) if a != axis] + [axis]
    moved = emit("MatMul", emit("Transpose", dy, perm=perm), transposed)
    return emit("Transpose", moved, perm=[int(a) for a in np.argsort(perm)])
