"""Gradients of operators that move, repeat, select or drop elements: all linear."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, rank_of
from .pooling import scatter_to_positions
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)


@linear("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(emit, node, dy):
    """dx = dy in x's shape."""
    return emit.reshape_like(dy, node.inputs[0])


@linear("Transpose")
def transpose(emit, node, dy):
    """dx = dy with the axes put back."""
    rank = rank_of(node.inputs[0])
    perm = node.attrs.get("perm") or list(range(rank))[::-1]
    return emit("Transpose", dy, perm=[int(axis) for axis in np.argsort(perm)])


@linear("Concat", operand=None)
def concat(emit, node, dy, operand):
    """dx_k = the part of dy that x_k became."""
    axis = node.attrs["axis"] % rank_of(node.outputs[0])
    dims = [None if x.shape is None else x.shape[axis] for x in node.inputs[: operand + 1]]
    known = [dim for dim in dims if isinstance(dim, int)]
    if len(known) == len(dims):
        end = sum(known)
        return emit("Slice", dy, [end - known[-1]], [end], [axis])
    lengths = [emit.dims(x, axis, axis + 1) for x in node.inputs[: operand + 1]]
    start = emit.constant(np.zeros(1, np.int64))
    for length in lengths[:-1]:
        start = emit.add(start, length)
    return emit("Slice", dy, start, emit.add(start, lengths[-1]), [axis])


@linear("Split")
def split(emit, node, *dys):
    """dx = the parts' cotangents joined, zeros where none arrived."""
    parts = [
        emit.filled_like(part, 0.0) if dy is None else dy
        for part, dy in zip(node.outputs, dys, strict=True)
    ]
    return emit("Concat", *parts, axis=node.attrs.get("axis", 0))


@linear("Slice")
def slice_(emit, node, dy):
    """dx = dy at the elements that were taken, 0 elsewhere."""
    starts = node.inputs[1]
    steps = node.inputs[4] if len(node.inputs) > 4 and node.inputs[4].name else None
    axes = node.inputs[3] if len(node.inputs) > 3 and node.inputs[3].name else None
    plain = is_constant(starts) and (
        steps is None or (is_constant(steps) and np.all(steps.values == 1))
    )
    if not plain or node.inputs[0].shape is None or not (axes is None or is_constant(axes)):
        return selection(emit, node, dy)
    x, y = node.inputs[0], node.outputs[0]
    rank = rank_of(x)
    numbers = range(len(starts.values)) if axes is None else axes.values
    begins, ends, padded = [], [], []
    for start, axis in zip(starts.values.tolist(), numbers, strict=True):
        axis = int(axis) % rank
        length = emit.dims(x, axis, axis + 1)
        begin = emit.constant(np.asarray([start], np.int64))
        if start < 0:
            begin = emit("Max", emit.add(length, begin), [0])
        padded.append(axis)
        begins.append(begin)
        ends.append(emit.sub(emit.sub(length, begin), emit.dims(y, axis, axis + 1)))
    amounts = emit("Concat", *begins, *ends, axis=0)
    return emit.pad(dy, amounts, padded, rank)


def selection(emit: Emitter, node: gs.Node, dy: gs.Tensor) -> gs.Tensor:
    """Any operator whose outputs are copies of x's elements: dx[i] sums dy over those of x[i].

    Which element became which is read off the operator itself, by running it on x's positions.
    """
    x = node.inputs[0]
    if is_static(x.shape):
        positions = emit.constant(np.arange(int(np.prod(x.shape)), dtype=np.int64).reshape(x.shape))
    else:
        count = emit("Size", x)
        positions = emit("Reshape", emit("Range", np.int64(0), count, np.int64(1)), emit.shape(x))
    taken = emit(node.op, positions, *node.inputs[1:], **node.attrs)
    return scatter_to_positions(emit, dy, taken, x)


@linear("Gather", "GatherElements", "GatherND", "Tile", "Compress")
def take(emit, node, dy):
    """dx[i] = sum of dy over the copies of x[i]."""
    return selection(emit, node, dy)


@linear("Expand")
def expand(emit, node, dy):
    """dx = dy summed over the repeated axes."""
    return emit.sum_to(dy, node.outputs[0].shape, node.inputs[0])


@linear("Pad")
def pad(emit, node, dy):
    """Constant mode: dx = dy without the border.

    Other modes repeat elements, whose dy are summed.
    """
    if node.attrs.get("mode", "constant") != "constant":
        x = node.inputs
        inner = gs.Node("Pad", "positions", node.attrs, [*x[:2], gs.Variable.empty(), *x[3:]])
        result = selection(emit, inner, dy)
        inner.inputs.clear()
        return result
    amounts = emit("Neg", node.inputs[1])
    axes = node.inputs[3] if len(node.inputs) > 3 else None
    return emit("Pad", dy, amounts, emit.constant(0.0, dy.dtype), axes)


@linear("DepthToSpace")
def depth_to_space(emit, node, dy):
    """dx = dy put back."""
    if node.attrs.get("mode", "DCR") == "DCR":
        return emit("SpaceToDepth", dy, blocksize=node.attrs["blocksize"])
    # Column-row-depth: [N, C, b, b, H, W] became [N, C, H, b, W, b].
    x, size = node.inputs[0], [node.attrs["blocksize"]]
    height, width = emit.dims(x, 2, 3), emit.dims(x, 3, 4)
    blocks = emit("Concat", emit("Shape", dy, end=2), height, size, width, size, axis=0)
    moved = emit("Transpose", emit("Reshape", dy, blocks), perm=[0, 1, 3, 5, 2, 4])
    return emit.reshape_like(moved, x)


@linear("SpaceToDepth")
def space_to_depth(emit, node, dy):
    """dx = dy put back."""
    return emit("DepthToSpace", dy, blocksize=node.attrs["blocksize"], mode="DCR")


@linear("Trilu")
def trilu(emit, node, dy):
    """dx = the same triangle of dy."""
    return emit("Trilu", dy, *node.inputs[1:], **node.attrs)


@linear("CumSum")
def cumsum(emit, node, dy):
    """dx[i] = sum of dy[j] over the j that x[i] was added to: the same sum from the other end."""
    attributes = dict(node.attrs)
    attributes["reverse"] = 1 - attributes.get("reverse", 0)
    return emit("CumSum", dy, node.inputs[1], **attributes)
