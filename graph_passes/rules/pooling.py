"""Gradients of pooling.

Pads are explicit, as `prepare` leaves them; ceil_mode and dilation are general.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from .convolution import Window, by_transposed_convolution
from .reductions import shared_out
from .registry import Family, gradient


def pooling_window(node: gs.Node) -> Window:
    """The window of a pooling node."""
    kernel = list(node.attrs["kernel_shape"])
    axes = len(kernel)
    return Window(
        kernel,
        list(node.attrs.get("strides") or [1] * axes),
        list(node.attrs.get("pads") or [0] * (2 * axes)),
        list(node.attrs.get("dilations") or [1] * axes),
    )


def scatter_to_positions(emit: Emitter, values, positions, like) -> gs.Tensor:
    """Zeros of `like`'s shape to which each value is added at its flat position."""
    zeros = emit("Reshape", emit.filled_like(like, 0.0), [-1])
    flat = emit(
        "ScatterElements",
        zeros,
        emit("Reshape", positions, [-1]),
        emit("Reshape", values, [-1]),
        axis=0,
        reduction="add",
    )
    return emit.reshape_like(flat, like)


def max_positions(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """The flat index in x of each maximum of a MaxPool; the first one wins."""
    if node.attrs.get("storage_order", 0):
        row_major = {k: v for k, v in node.attrs.items() if k != "storage_order"}
        indices = emit.many("MaxPool", 2, node.inputs[0], **row_major)[1]
        indices.dtype = np.dtype(np.int64)
        return indices
    if len(node.outputs) < 2 or not node.outputs[1].name:
        indices = gs.Variable(emit.name("indices"), dtype=np.dtype(np.int64))
        indices.shape = node.outputs[0].shape
        if len(node.outputs) == 2:
            node.outputs[1] = indices
        else:
            node.outputs.append(indices)
    return node.outputs[1]


@gradient("MaxPool", family=Family.MAXIMUM)
def max_pool(emit, node, dy, *_):
    """dx[i] = sum of dy over the windows whose (first) maximum is x[i]."""
    return scatter_to_positions(emit, dy, max_positions(emit, node), node.inputs[0])


def global_positions(emit: Emitter, node: gs.Node) -> tuple[gs.Tensor, gs.Tensor]:
    """GlobalMaxPool's x as [N, C, positions], and the first maximum's position, [N, C, 1]."""
    flat = emit("Reshape", node.inputs[0], [0, 0, -1])
    return flat, emit("ArgMax", flat, axis=2, keepdims=1)


def scatter_globally(emit: Emitter, node: gs.Node, values, positions, flat) -> gs.Tensor:
    """Zeros of x's shape, with one value for each channel at its position."""
    zeros = emit.filled_like(flat, 0.0)
    values = emit("Reshape", values, [0, 0, 1])
    dx = emit("ScatterElements", zeros, positions, values, axis=2)
    return emit.reshape_like(dx, node.inputs[0])


@gradient("GlobalMaxPool", family=Family.MAXIMUM)
def global_max_pool(emit, node, dy):
    """dx[n, c, i] = dy[n, c] at the first maximum of the channel, 0 elsewhere."""
    flat, positions = global_positions(emit, node)
    return scatter_globally(emit, node, dy, positions, flat)


@gradient("GlobalAveragePool", family=Family.LINEAR)
def global_average_pool(emit, node, dy):
    """dx = dy / (H W ...), at every position."""
    x = node.inputs[0]
    space = None if x.shape is None else list(range(2, len(x.shape)))
    return emit.expand_like(shared_out(emit, node, dy, space), x)


@gradient("AveragePool", family=Family.LINEAR)
def average_pool(emit, node, dy):
    """dx[i] = sum over the windows that hold i of dy / (the window's divisor).

    The divisor (with count_include_pad or without, at borders, in ceil mode) is read off the
    operator: pooling ones gives (valid elements / divisor), and a convolution of ones counts the
    valid elements.
    """
    x = node.inputs[0]
    window = pooling_window(node)
    ones_shape = emit("Concat", [1, 1], emit.dims(x, 2), axis=0)
    one = gs.Constant(emit.name("one"), np.ones(1, x.dtype))
    ones = emit("ConstantOfShape", ones_shape, value=one)
    valid = _convolve_ones(emit, ones, node.outputs[0], window)
    mean_of_ones = emit("AveragePool", ones, **node.attrs)
    return spread_over_windows(emit, emit.div(emit.mul(dy, mean_of_ones), valid), node, window)


def spread_over_windows(emit: Emitter, dy, node: gs.Node, window: Window) -> gs.Tensor:
    """The adjoint of `sum_over_windows`: to each x the sum of dy over the windows it is in."""
    x, y = node.inputs[0], node.outputs[0]
    flat = emit("Reshape", dy, emit("Concat", [-1, 1], emit.dims(y, 2), axis=0))
    flat.shape = [None, 1, *list(y.shape)[2:]]
    like = emit("Reshape", x, emit("Concat", [-1, 1], emit.dims(x, 2), axis=0))
    like.shape = [None, 1, *list(x.shape)[2:]]
    kernel = emit.constant(np.ones([1, 1, *window.kernel], x.dtype))
    return emit.reshape_like(by_transposed_convolution(emit, flat, kernel, like, window), x)


@gradient("LpPool", family=Family.COMPOSITE)
def lp_pool(emit, node, dy):
    """y = (sum |x|^p)^(1/p): dx = sign(x) |x|^(p-1) sum over windows of dy / y^(p-1).

    A window whose y is 0 sends nothing.
    """
    x, y, p = node.inputs[0], node.outputs[0], float(node.attrs.get("p", 2))
    window = pooling_window(node)
    if p == 1:
        return emit.mul(emit("Sign", x), spread_over_windows(emit, dy, node, window))
    empty = emit.cast_like(emit("Equal", y, 0.0), y)
    scale = emit("Pow", emit.add(y, empty), emit.constant(p - 1, y.dtype))
    spread = spread_over_windows(emit, emit.div(dy, scale), node, window)
    power = emit("Pow", emit("Abs", x), emit.constant(p - 1, x.dtype))
    return emit.mul(emit.mul(emit("Sign", x), power), spread)


def sum_over_windows(emit: Emitter, x: gs.Tensor, y: gs.Tensor, window: Window) -> gs.Tensor:
    """The sum of x over each window, in the shape of the pooled y."""
    single = emit("Concat", [-1, 1], emit.dims(x, 2), axis=0)
    total = _convolve_ones(emit, emit("Reshape", x, single), y, window)
    return emit.reshape_like(total, y)


def _convolve_ones(emit: Emitter, ones, y, window: Window) -> gs.Tensor:
    """The sum over each window of a tensor with one channel, at the windows that y has."""
    axes = len(window.kernel)
    # In ceil mode the last window may start up to stride - 1 further: room for it, and cut to y's
    # length.
    ends = [p + s - 1 for p, s in zip(window.pads[axes:], window.strides, strict=True)]
    counts = emit(
        "Conv",
        ones,
        emit.constant(np.ones([1, 1, *window.kernel], ones.dtype)),
        strides=window.strides,
        dilations=window.dilations,
        pads=[*window.pads[:axes], *ends],
        kernel_shape=window.kernel,
    )
    spatial = list(range(2, 2 + axes))
    return emit("Slice", counts, [0] * axes, emit.dims(y, 2), spatial)
