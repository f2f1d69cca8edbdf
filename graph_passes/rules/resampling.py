"""Gradient of Resize: linear and separable, so one matrix product for each resized axis."""

from __future__ import annotations

import numpy as np

from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, onnx_type, optional_input, rank_of
from ..graph.terms import NodeView, Term
from .registry import Family, gradient


@gradient("Resize", family=Family.LINEAR)
def resize(op, node, dy):
    """y = x A_1 A_2 ... along the axes: dx = dy A_1^T A_2^T ...

    A_k, [input length, output length], is what the operator itself makes of the identity matrix, so
    every mode, coordinate transformation and antialiasing is served alike.
    """
    rank = rank_of(node.x)
    named = [axis % rank for axis in node.attrs.get("axes") or range(rank)]
    for position, axis in enumerate(named):
        if _unchanged(node, position, axis):
            continue
        if node.attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch":
            matrix = _axis_matrix(op, node, position, axis, len(named))
        else:
            matrix = _axis_matrix_of_all(op, node, axis, named)
        dy = _product_along(op, dy, matrix, axis, rank)
    return dy


def _unchanged(node: NodeView, position: int, axis: int) -> bool:
    """True when the operator certainly leaves this axis alone."""
    scales = _given(node, 2)
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return axis < 2
    if scales is not None:
        return is_constant(scales) and float(scales.values[position]) == 1.0
    before, after = node.x.shape[axis], node.y.shape[axis]
    if isinstance(before, int) and isinstance(after, int):
        return before == after
    return axis < 2 or (before is not None and before == after)


def _given(node: NodeView, index: int) -> Term | None:
    """An optional input, or None; tf2onnx fills the place of an omitted one with an empty array."""
    tensor = optional_input(node, index)
    return None if tensor is not None and is_constant(tensor) and not tensor.values.size else tensor


def _axis_matrix(op: Emitter, node: NodeView, position: int, axis: int, count: int) -> Term:
    """The [input length, output length] matrix of one axis.

    Resize of the identity along its columns.
    """
    y = node.y
    length = op.dims(node.x, axis, axis + 1)
    identity = op.Unsqueeze(_identity(op, node.x, length), [0, 1])
    attributes = {
        k: v for k, v in node.attrs.items() if k not in ("axes", "keep_aspect_ratio_policy")
    }
    attributes["extrapolation_value"] = 0.0
    roi, scales = _given(node, 1), _given(node, 2)
    if roi is not None:
        begin = op.Slice(roi, [position], [position + 1], [0])
        end = op.Slice(roi, [position + count], [position + count + 1], [0])
        front = op.constant(np.zeros(3, roi.dtype))
        back = op.constant(np.ones(3, roi.dtype))
        roi = op.Concat(front, begin, back, end, axis=0)
    if scales is not None:
        scale = op.Slice(scales, [position], [position + 1], [0])
        scales = op.Concat(op.constant(np.ones(3, np.float32)), scale, axis=0)
        matrix = op.Resize(identity, roi, scales, **attributes)
    else:
        sizes = op.Concat([1, 1], length, op.dims(y, axis, axis + 1), axis=0)
        matrix = op.Resize(identity, roi, None, sizes, **attributes)
    return op.Squeeze(matrix, [0, 1])


def _identity(op: Emitter, x: Term, length: Term) -> Term:
    """The identity matrix of a size known or not, in x's type."""
    zero = op.single(0, x.dtype, "zero")
    blank = op.ConstantOfShape(op.Concat(length, length, axis=0), value=zero)
    return op.EyeLike(blank, dtype=onnx_type(x.dtype))


def _axis_matrix_of_all(op: Emitter, node: NodeView, axis: int, named: list[int]) -> Term:
    """The same where the axes have one scale together, so that one axis alone would get another.

    Row i is what the operator makes of an image that is 1 at place i of the axis, everywhere else
    along the other axes, and so the same along these afterwards.
    """
    x = node.x
    length = op.dims(x, axis, axis + 1)
    line = [1 if other != axis else -1 for other in named]
    rows = op.Reshape(_identity(op, x, length), op.Concat(length, line, axis=0))
    sides = [op.dims(x, other, other + 1) for other in named]
    images = op.Expand(rows, op.Concat(length, *sides, axis=0))
    attributes = dict(node.attrs)
    attributes["axes"] = [2 + place for place in range(len(named))]
    attributes["extrapolation_value"] = 0.0
    images = op.Unsqueeze(images, [1])
    resized = op.Resize(images, _given(node, 1), _given(node, 2), node.inputs[3], **attributes)
    others = [2 + place for place, other in enumerate(named) if other != axis]
    first = op.Slice(resized, [0] * len(others), [1] * len(others), others)
    return op.Reshape(first, op.Concat(length, [-1], axis=0))


def _product_along(op: Emitter, dy, matrix, axis: int, rank: int) -> Term:
    """dy contracted with the matrix's second axis, along one axis of dy."""
    if axis == rank - 2:
        return matrix @ dy
    transposed = op.Transpose(matrix, perm=[1, 0])
    if axis == rank - 1:
        return dy @ transposed
    perm = [a for a in range(rank) if a != axis] + [axis]
    moved = op.Transpose(dy, perm=perm) @ transposed
    return op.Transpose(moved, perm=[int(a) for a in np.argsort(perm)])
