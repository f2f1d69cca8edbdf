"""Gradients of operators that move, repeat, select or drop elements: all linear."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, optional_input, rank_of
from ..graph.terms import NodeView, Term
from .pooling import scatter_to_positions
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
# Positions that are written into a graph, 8 bytes each; more of them are counted when it runs.
_MOST_POSITIONS = 2**22


@linear("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op, node, dy):
    """dx = dy in x's shape."""
    return op.reshape_like(dy, node.x)


@linear("Transpose")
def transpose(op, node, dy):
    """dx = dy with the axes put back."""
    rank = rank_of(node.x)
    perm = node.attrs.get("perm") or list(range(rank))[::-1]
    return op.Transpose(dy, perm=[int(axis) for axis in np.argsort(perm)])


@linear("Concat", operand=None)
def concat(op, node, dy, operand):
    """dx_k = the part of dy that x_k became."""
    axis = node.attrs["axis"] % rank_of(node.y)
    dims = [None if x.shape is None else x.shape[axis] for x in node.inputs[: operand + 1]]
    known = [dim for dim in dims if isinstance(dim, int)]
    if len(known) == len(dims):
        end = sum(known)
        return op.Slice(dy, [end - known[-1]], [end], [axis])
    lengths = [op.dims(x, axis, axis + 1) for x in node.inputs[: operand + 1]]
    start = op.constant(np.zeros(1, np.int64))
    for length in lengths[:-1]:
        start = start + length
    return op.Slice(dy, start, start + lengths[-1], [axis])


@linear("Split")
def split(op, node, *dys):
    """dx = the parts' cotangents joined, zeros where none arrived."""
    parts = [
        op.filled_like(part, 0.0) if dy is None else dy
        for part, dy in zip(node.outputs, dys, strict=True)
    ]
    return op.Concat(*parts, axis=node.attrs.get("axis", 0))


@linear("Slice")
def slice_(op, node, dy):
    """dx = dy at the elements that were taken, 0 elsewhere."""
    starts = node.inputs[1]
    axes, steps = optional_input(node, 3), optional_input(node, 4)
    plain = is_constant(starts) and (
        steps is None or (is_constant(steps) and np.all(steps.values == 1))
    )
    if not plain or node.x.shape is None or not (axes is None or is_constant(axes)):
        return selection(op, node, dy)
    x, y = node.x, node.y
    rank = rank_of(x)
    numbers = range(len(starts.values)) if axes is None else axes.values
    if not len(numbers):
        return dy
    begins, ends, padded = [], [], []
    for start, axis in zip(starts.values.tolist(), numbers, strict=True):
        axis = int(axis) % rank
        length = op.dims(x, axis, axis + 1)
        begin = op.constant(np.asarray([start], np.int64))
        if start < 0:
            begin = op.Max(length + begin, [0])
        padded.append(axis)
        begins.append(begin)
        ends.append(length - begin - op.dims(y, axis, axis + 1))
    amounts = op.Concat(*begins, *ends, axis=0)
    return op.pad(dy, amounts, padded, rank)


def selection(op: Emitter, node: NodeView, dy: Term) -> Term:
    """Any operator whose outputs are copies of x's elements: dx[i] sums dy over those of x[i].

    Which element became which is read off the operator itself, by running it on x's positions.
    """
    x = node.x
    if is_static(x.shape) and math.prod(x.shape) <= _MOST_POSITIONS:
        positions = op.constant(np.arange(math.prod(x.shape), dtype=np.int64).reshape(x.shape))
    else:
        count = op.Size(x)
        positions = op.Reshape(op.Range(np.int64(0), count, np.int64(1)), op.shape(x))
    taken = op(node.op, positions, *node.inputs[1:], **node.attrs)
    return scatter_to_positions(op, dy, taken, x)


@linear("Gather", "GatherElements", "GatherND", "Tile", "Compress")
def take(op, node, dy):
    """dx[i] = sum of dy over the copies of x[i]."""
    return selection(op, node, dy)


@linear("Expand")
def expand(op, node, dy):
    """dx = dy summed over the repeated axes."""
    return op.sum_to(dy, node.y.shape, node.x)


@linear("Pad")
def pad(op, node, dy):
    """Constant mode: dx = dy without the border.

    Other modes repeat elements, whose dy are summed.
    """
    if node.attrs.get("mode", "constant") != "constant":
        x = node.inputs
        return selection(op, node.with_inputs([*x[:2], None, *x[3:]]), dy)
    amounts = -node.inputs[1]
    return op.Pad(dy, amounts, op.constant(0.0, dy.dtype), optional_input(node, 3))


@linear("DepthToSpace")
def depth_to_space(op, node, dy):
    """dx = dy put back."""
    if node.attrs.get("mode", "DCR") == "DCR":
        return op.SpaceToDepth(dy, blocksize=node.attrs["blocksize"])
    # Column-row-depth: [N, C, b, b, H, W] became [N, C, H, b, W, b].
    x, size = node.x, [node.attrs["blocksize"]]
    height, width = op.dims(x, 2, 3), op.dims(x, 3, 4)
    blocks = op.Concat(op.Shape(dy, end=2), height, size, width, size, axis=0)
    moved = op.Transpose(op.Reshape(dy, blocks), perm=[0, 1, 3, 5, 2, 4])
    return op.reshape_like(moved, x)


@linear("SpaceToDepth")
def space_to_depth(op, node, dy):
    """dx = dy put back."""
    return op.DepthToSpace(dy, blocksize=node.attrs["blocksize"], mode="DCR")


@linear("Trilu")
def trilu(op, node, dy):
    """dx = the same triangle of dy."""
    return op.Trilu(dy, *node.inputs[1:], **node.attrs)


@linear("CumSum")
def cumsum(op, node, dy):
    """dx[i] = sum of dy[j] over the j that x[i] was added to: the same sum from the other end."""
    attributes = dict(node.attrs)
    attributes["reverse"] = 1 - attributes.get("reverse", 0)
    return op.CumSum(dy, node.inputs[1], **attributes)
