"""Gradients of reductions. Axes are an input (opset 18 and later), constant or not."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.tensors import rank_of
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
composite = partial(gradient, family=Family.COMPOSITE)


def reduction_axes(node: gs.Node) -> gs.Tensor | list[int] | None:
    """The axes that a Reduce node sums away.

    An input tensor, all of them, or None for none at all.
    """
    if len(node.inputs) > 1 and node.inputs[1].name:
        return node.inputs[1]
    if node.attrs.get("noop_with_empty_axes", 0):
        return None
    return list(range(rank_of(node.inputs[0])))


def keep_axes(emit: Emitter, node: gs.Node, value: gs.Tensor) -> gs.Tensor:
    """A reduction's output (or its cotangent) with the reduced axes back in place, of length 1."""
    axes = reduction_axes(node)
    if axes is None or node.attrs.get("keepdims", 1):
        return value
    return emit("Unsqueeze", value, axes)


@linear("ReduceSum")
def reduce_sum(emit, node, dy):
    """dx = dy at every element that was summed."""
    return emit.expand_like(keep_axes(emit, node, dy), node.inputs[0])


@linear("ReduceMean")
def reduce_mean(emit, node, dy):
    """dx = dy / n at every element, n = how many were averaged."""
    share = shared_out(emit, node, dy, reduction_axes(node))
    return emit.expand_like(keep_axes(emit, node, share), node.inputs[0])


def shared_out(
    emit: Emitter, node: gs.Node, dy: gs.Tensor, axes: gs.Tensor | list[int] | None
) -> gs.Tensor:
    """dy / n, n = how many elements along `axes` each output of a mean was made of.

    n comes in as many axes as dy has: ONNX Runtime's CPU provider divides [1, 1280, 1, 1] by a
    number without axes in 22 us, by one with four in 1 us.
    """
    x, y = node.inputs[0], node.outputs[0]
    ones = [1] * len(y.shape or [])
    numbers = axes.values.tolist() if isinstance(axes, gs.Constant) else axes
    if isinstance(numbers, list) and x.shape is not None:
        dims = [x.shape[axis] for axis in numbers]
        if is_static(dims):
            return emit.div(dy, emit.constant(np.full(ones, np.prod(dims)), dy.dtype))
    count = emit.cast_like(emit.div(emit("Size", x), emit("Size", y)), dy)
    return emit.div(dy, emit("Reshape", count, ones) if ones else count)


@gradient("ReduceMax", "ReduceMin", family=Family.MAXIMUM)
def reduce_extremum(emit, node, dy):
    """dx_i = dy [x_i = y] / (number of elements that equal y): ties split evenly."""
    return emit.gated(keep_axes(emit, node, dy), extremum_share(emit, node))


def extremum_share(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """[x_i = y] / sum_j [x_j = y], in x's shape."""
    x = node.inputs[0]
    hit = emit.cast_like(emit("Equal", x, keep_axes(emit, node, node.outputs[0])), x)
    axes = reduction_axes(node)
    return hit if axes is None else emit.div(hit, emit("ReduceSum", hit, axes, keepdims=1))


@composite("ReduceL1")
def reduce_l1(emit, node, dy):
    """dx = dy sign(x)."""
    return emit.mul(keep_axes(emit, node, dy), emit("Sign", node.inputs[0]))


@composite("ReduceL2")
def reduce_l2(emit, node, dy):
    """dx = dy x / y, and 0 where y = 0."""
    y = keep_axes(emit, node, node.outputs[0])
    safe = emit.add(y, emit.cast_like(emit("Equal", y, 0.0), y))
    return emit.mul(emit.div(keep_axes(emit, node, dy), safe), node.inputs[0])


@composite("ReduceSumSquare")
def reduce_sum_square(emit, node, dy):
    """dx = 2 dy x."""
    return emit.mul(emit.mul(keep_axes(emit, node, dy), node.inputs[0]), 2.0)


@composite("ReduceLogSum")
def reduce_log_sum(emit, node, dy):
    """y = ln s: dx = dy / s = dy e^-y."""
    slope = emit.mul(dy, emit("Exp", emit.neg(node.outputs[0])))
    return emit.expand_like(keep_axes(emit, node, slope), node.inputs[0])


@composite("ReduceLogSumExp")
def reduce_log_sum_exp(emit, node, dy):
    """dx = dy e^(x - y)."""
    share = emit("Exp", emit.sub(node.inputs[0], keep_axes(emit, node, node.outputs[0])))
    return emit.mul(keep_axes(emit, node, dy), share)


@composite("ReduceProd")
def reduce_prod(emit, node, dy):
    """dx_i = dy times the product of the others: y / x_i, with zeros counted apart."""
    x, axes = node.inputs[0], reduction_axes(node)
    if axes is None:
        return dy

    def product(values):
        return emit("ReduceProd", values, axes, keepdims=1)

    def total(values):
        return emit("ReduceSum", values, axes, keepdims=1)

    return emit.mul(keep_axes(emit, node, dy), product_of_others(emit, x, product, total))


def product_of_others(emit: Emitter, x: gs.Tensor, product, total) -> gs.Tensor:
    """For each factor the product of its group without it.

    `product` and `total` multiply and add up each group, with one result for each factor's place.
    With z zeros in the group and P the product of the rest: P / x_i if z = 0; P if x_i is the only
    zero; else 0.
    """
    zero = emit.cast_like(emit("Equal", x, 0.0), x)
    filled = emit.add(x, zero)
    zeros, rest = total(zero), product(filled)
    others = emit.sub(zeros, zero)
    return emit.mul(emit.div(rest, filled), emit.cast_like(emit("Equal", others, 0.0), x))
