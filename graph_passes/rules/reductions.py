"""Gradients of reductions. Axes are an input (opset 18 and later), constant or not."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.tensors import Node, Value, is_constant, optional_input, rank_of
from ..graph.terms import NodeView, Term
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
composite = partial(gradient, family=Family.COMPOSITE)


def reduction_axes(node: Node) -> Value | list[int]:
    """The axes that a Reduce node sums away: an input tensor (never an empty one), or all."""
    axes = optional_input(node, 1)
    return list(range(rank_of(node.inputs[0]))) if axes is None else axes


def keep_axes(op: Emitter, node: Node, value: Value) -> Any:
    """A reduction's output (or its cotangent) with the reduced axes back in place, of length 1."""
    return value if node.attrs.get("keepdims", 1) else op.Unsqueeze(value, reduction_axes(node))


@linear("ReduceSum")
def reduce_sum(op, node, dy):
    """dx = dy at every element that was summed."""
    return op.expand_like(keep_axes(op, node, dy), node.x)


@linear("ReduceMean")
def reduce_mean(op, node, dy):
    """dx = dy / n at every element, n = how many were averaged."""
    share = shared_out(op, node, dy, reduction_axes(node))
    return op.expand_like(keep_axes(op, node, share), node.x)


def shared_out(op: Emitter, node: NodeView, dy: Term, axes: Any) -> Term:
    """dy / n, n = how many elements along `axes` each output of a mean was made of.

    n comes in as many axes as dy has: ONNX Runtime's CPU provider divides [1, 1280, 1, 1] by a
    number without axes in 22 us, by one with four in 1 us.
    """
    x, y = node.x, node.y
    ones = [1] * len(y.shape or [])
    numbers = axes.values.tolist() if is_constant(axes) else axes
    if isinstance(numbers, list) and x.shape is not None:
        dims = [x.shape[axis] for axis in numbers]
        if is_static(dims):
            return dy / op.constant(np.full(ones, np.prod(dims)), dy.dtype)
    count = op.cast_like(op.Size(x) / op.Size(y), dy)
    return dy / (op.Reshape(count, ones) if ones else count)


@gradient("ReduceMax", "ReduceMin", family=Family.MAXIMUM)
def reduce_extremum(op, node, dy):
    """dx_i = dy [x_i = y] / (number of elements that equal y): ties split evenly."""
    return op.gated(keep_axes(op, node, dy), extremum_share(op, node))


def extremum_share(op: Emitter, node: NodeView) -> Term:
    """[x_i = y] / sum_j [x_j = y], in x's shape."""
    x = node.x
    hit = op.cast_like(op.Equal(x, keep_axes(op, node, node.y)), x)
    return hit / op.ReduceSum(hit, reduction_axes(node), keepdims=1)


@composite("ReduceL1")
def reduce_l1(op, node, dy):
    """dx = dy sign(x)."""
    return keep_axes(op, node, dy) * op.Sign(node.x)


@composite("ReduceL2")
def reduce_l2(op, node, dy):
    """dx = dy x / y, and 0 where y = 0."""
    y = keep_axes(op, node, node.y)
    safe = y + op.cast_like(op.Equal(y, 0), y)
    return keep_axes(op, node, dy) / safe * node.x


@composite("ReduceSumSquare")
def reduce_sum_square(op, node, dy):
    """dx = 2 dy x."""
    return keep_axes(op, node, dy) * node.x * 2


@composite("ReduceLogSum")
def reduce_log_sum(op, node, dy):
    """y = ln s: dx = dy / s = dy e^-y."""
    slope = dy * op.Exp(-node.y)
    return op.expand_like(keep_axes(op, node, slope), node.x)


@composite("ReduceLogSumExp")
def reduce_log_sum_exp(op, node, dy):
    """dx = dy e^(x - y)."""
    share = op.Exp(node.x - keep_axes(op, node, node.y))
    return keep_axes(op, node, dy) * share


@composite("ReduceProd")
def reduce_prod(op, node, dy):
    """dx_i = dy times the product of the others: y / x_i, with zeros counted apart."""
    x, axes = node.x, reduction_axes(node)

    def product(values):
        return op.ReduceProd(values, axes, keepdims=1)

    def total(values):
        return op.ReduceSum(values, axes, keepdims=1)

    return keep_axes(op, node, dy) * product_of_others(op, x, product, total)


def product_of_others(op: Emitter, x: Term, product, total) -> Term:
    """For each factor the product of its group without it.

    `product` and `total` multiply and add up each group, with one result for each factor's place.
    With z zeros in the group and P the product of the rest: P / x_i if z = 0; P if x_i is the only
    zero; else 0.
    """
    zero = op.cast_like(op.Equal(x, 0), x)
    filled = x + zero
    zeros, rest = total(zero), product(filled)
    others = zeros - zero
    return rest / filled * op.cast_like(op.Equal(others, 0), x)
