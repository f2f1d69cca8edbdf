"""Gradients of pooling.

Pads are explicit, as `prepare` leaves them; ceil_mode and dilation are general.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.emitter import Emitter
from ..graph.tensors import Node, Value
from ..graph.terms import NodeView, Term
from .convolution import Window, by_transposed_convolution
from .reductions import shared_out
from .registry import Family, gradient


def pooling_window(node: Node) -> Window:
    """The window of a pooling node."""
    kernel = list(node.attrs["kernel_shape"])
    axes = len(kernel)
    return Window(
        kernel,
        list(node.attrs.get("strides") or [1] * axes),
        list(node.attrs.get("pads") or [0] * (2 * axes)),
        list(node.attrs.get("dilations") or [1] * axes),
    )


def scatter_to_positions(op: Emitter, values, positions, like) -> Term:
    """Zeros of `like`'s shape to which each value is added at its flat position."""
    zeros = op.Reshape(op.filled_like(like, 0.0), [-1])
    flat = op.ScatterElements(
        zeros, op.Reshape(positions, [-1]), op.Reshape(values, [-1]), axis=0, reduction="add"
    )
    return op.reshape_like(flat, like)


def max_positions(op: Emitter, node: NodeView) -> Term:
    """The flat index in x of each maximum of a MaxPool; the first one wins."""
    if node.attrs.get("storage_order", 0):
        row_major = {k: v for k, v in node.attrs.items() if k != "storage_order"}
        indices = op.many("MaxPool", 2, node.x, **row_major)[1]
        indices.dtype = np.dtype(np.int64)
        return indices
    return node.output(1, "indices", np.int64, node.y.shape)


@gradient("MaxPool", family=Family.MAXIMUM)
def max_pool(op, node, dy, *_):
    """dx[i] = sum of dy over the windows whose (first) maximum is x[i]."""
    return scatter_to_positions(op, dy, max_positions(op, node), node.x)


def global_positions(op: Emitter, node: NodeView) -> tuple[Term, Term]:
    """GlobalMaxPool's x as [N, C, positions], and the first maximum's position, [N, C, 1]."""
    flat = op.Reshape(node.x, [0, 0, -1])
    return flat, op.ArgMax(flat, axis=2, keepdims=1)


def scatter_globally(op: Emitter, node: NodeView, values, positions, flat) -> Term:
    """Zeros of x's shape, with one value for each channel at its position."""
    zeros = op.filled_like(flat, 0.0)
    values = op.Reshape(values, [0, 0, 1])
    dx = op.ScatterElements(zeros, positions, values, axis=2)
    return op.reshape_like(dx, node.x)


@gradient("GlobalMaxPool", family=Family.MAXIMUM)
def global_max_pool(op, node, dy):
    """dx[n, c, i] = dy[n, c] at the first maximum of the channel, 0 elsewhere."""
    flat, positions = global_positions(op, node)
    return scatter_globally(op, node, dy, positions, flat)


@gradient("GlobalAveragePool", family=Family.LINEAR)
def global_average_pool(op, node, dy):
    """dx = dy / (H W ...), at every position."""
    x = node.x
    space = None if x.shape is None else list(range(2, len(x.shape)))
    return op.expand_like(shared_out(op, node, dy, space), x)


@gradient("AveragePool", family=Family.LINEAR)
def average_pool(op, node, dy):
    """dx[i] = sum over the windows that hold i of dy / (the window's divisor).

    The divisor (with count_include_pad or without, at borders, in ceil mode) is read off the
    operator: pooling ones gives (valid elements / divisor), and a convolution of ones counts the
    valid elements.
    """
    x = node.x
    window = pooling_window(node)
    ones_shape = op.Concat([1, 1], op.dims(x, 2), axis=0)
    ones = op.filled(ones_shape, 1, x.dtype, "one")
    valid = _convolve_ones(op, ones, node.y, window)
    mean_of_ones = op.AveragePool(ones, **node.attrs)
    return spread_over_windows(op, dy * mean_of_ones / valid, node, window)


def spread_over_windows(op: Emitter, dy, node: NodeView, window: Window) -> Term:
    """The adjoint of `sum_over_windows`: to each x the sum of dy over the windows it is in."""
    x, y = node.x, node.y
    flat = op.Reshape(dy, op.Concat([-1, 1], op.dims(y, 2), axis=0))
    flat.shape = [None, 1, *list(y.shape)[2:]]
    like = op.Reshape(x, op.Concat([-1, 1], op.dims(x, 2), axis=0))
    like.shape = [None, 1, *list(x.shape)[2:]]
    kernel = op.constant(np.ones([1, 1, *window.kernel], x.dtype))
    return op.reshape_like(by_transposed_convolution(op, flat, kernel, like, window), x)


@gradient("LpPool", family=Family.COMPOSITE)
def lp_pool(op, node, dy):
    """y = (sum |x|^p)^(1/p): dx = sign(x) |x|^(p-1) sum over windows of dy / y^(p-1).

    A window whose y is 0 sends nothing.
    """
    x, y, p = node.x, node.y, float(node.attrs.get("p", 2))
    window = pooling_window(node)
    if p == 1:
        return op.Sign(x) * spread_over_windows(op, dy, node, window)
    empty = op.cast_like(op.Equal(y, 0), y)
    scale = op.Pow(y + empty, op.constant(p - 1, y.dtype))
    spread = spread_over_windows(op, dy / scale, node, window)
    power = op.Pow(abs(x), op.constant(p - 1, x.dtype))
    return op.Sign(x) * power * spread


def sum_over_windows(op: Emitter, x: Value, y: Value, window: Window) -> Any:
    """The sum of x over each window, in the shape of the pooled y."""
    single = op.Concat([-1, 1], op.dims(x, 2), axis=0)
    total = _convolve_ones(op, op.Reshape(x, single), y, window)
    return op.reshape_like(total, y)


def _convolve_ones(op: Emitter, ones, y, window: Window) -> Term:
    """The sum over each window of a tensor with one channel, at the windows that y has."""
    axes = len(window.kernel)
    # In ceil mode the last window may start up to stride - 1 further: room for it, and cut to y's
    # length.
    ends = [p + s - 1 for p, s in zip(window.pads[axes:], window.strides, strict=True)]
    counts = op.Conv(
        ones,
        op.constant(np.ones([1, 1, *window.kernel], ones.dtype)),
        strides=window.strides,
        dilations=window.dilations,
        pads=[*window.pads[:axes], *ends],
        kernel_shape=window.kernel,
    )
    spatial = list(range(2, 2 + axes))
    return op.Slice(counts, [0] * axes, op.dims(y, 2), spatial)
