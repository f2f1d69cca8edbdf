"""Products, quotients, softmax, reductions and pools as simpler operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.emitter import Emitter
from ...graph.subscripts import subscripts
from ...graph.tensors import is_constant, is_float, optional_input, producer_of, rank_of
from ...graph.terms import NodeView, Term
from ...rules.pooling import pooling_window, sum_over_windows
from ...rules.reductions import keep_axes
from .registry import FOR_DEEPLIFT, decomposition
from .selection import masked


@decomposition("MatMul")
def vector_product(emit: Emitter, node: NodeView) -> Term | None:
    """MatMul of a vector is one of a matrix with a single row or column, which is dropped again."""
    a, b = node.inputs
    ranks = [None if t.shape is None else len(t.shape) for t in (a, b)]
    if 1 not in ranks:
        return None
    left = emit.Unsqueeze(a, [0]) if ranks[0] == 1 else a
    right = emit.Unsqueeze(b, [1]) if ranks[1] == 1 else b
    dropped = [axis for axis, rank in zip((-2, -1), ranks, strict=True) if rank == 1]
    return emit.Squeeze(left @ right, dropped)


@decomposition("Mul", table=FOR_DEEPLIFT)
def division(emit: Emitter, node: NodeView) -> Term | None:
    """a (1 / b) = a / b, and a (1 / sqrt(b)), a b^-p likewise: a quotient has a rule of its own.

    A mask that is multiplied becomes a float function.
    """
    if (product := masked(emit, node)) is not None:
        return product
    for value, inverse in (node.inputs, node.inputs[::-1]):
        divisor = _divisor(emit, inverse)
        if divisor is not None and not is_constant(value):
            return value / divisor
    return None


def _divisor(emit: Emitter, tensor: Term) -> Term | None:
    """b, for a tensor that is 1 / b."""
    node = producer_of(tensor)
    if node is None:
        return None
    if node.op == "Reciprocal":
        return node.inputs[0]
    if node.op == "Div" and is_constant(node.inputs[0]) and np.all(node.inputs[0].values == 1):
        return node.inputs[1]
    if node.op == "Pow" and is_constant(node.inputs[1]) and np.all(node.inputs[1].values < 0):
        exponent = -np.asarray(node.inputs[1].values)
        return emit.Pow(node.inputs[0], emit.constant(exponent))
    if node.op in ("Identity", "Cast") and is_float(node.inputs[0]):
        return _divisor(emit, node.inputs[0])
    return None


@decomposition("Softmax", table=FOR_DEEPLIFT)
def softmax(emit: Emitter, node: NodeView) -> Term:
    """y = e / sum(e), e = exp(x - max x)."""
    x, axis = node.inputs[0], node.attrs.get("axis", -1)
    exponential = emit.Exp(x - emit.ReduceMax(x, [axis], keepdims=1))
    total = emit.ReduceSum(exponential, [axis], keepdims=1)
    return exponential * emit.Reciprocal(total)


@decomposition("LogSoftmax", table=FOR_DEEPLIFT)
def log_softmax(emit: Emitter, node: NodeView) -> Term:
    """y = (x - max x) - ln sum exp(x - max x)."""
    x, axis = node.inputs[0], node.attrs.get("axis", -1)
    shifted = x - emit.ReduceMax(x, [axis], keepdims=1)
    total = emit.ReduceSum(emit.Exp(shifted), [axis], keepdims=1)
    return shifted - emit.Log(total)


def _reduced(emit: Emitter, node: NodeView, x: Term) -> Term:
    """ReduceSum of x over what the node reduces."""
    return emit.ReduceSum(x, *node.inputs[1:], **node.attrs)


@decomposition("ReduceL1", table=FOR_DEEPLIFT)
def reduce_l1(emit: Emitter, node: NodeView) -> Term:
    """y = sum |x|."""
    return _reduced(emit, node, abs(node.inputs[0]))


@decomposition("ReduceSumSquare", table=FOR_DEEPLIFT)
def reduce_sum_square(emit: Emitter, node: NodeView) -> Term:
    """y = sum x^2."""
    return _reduced(emit, node, node.inputs[0] * node.inputs[0])


@decomposition("ReduceL2", table=FOR_DEEPLIFT)
def reduce_l2(emit: Emitter, node: NodeView) -> Term:
    """y = sqrt(sum x^2)."""
    return emit.Sqrt(reduce_sum_square(emit, node))


@decomposition("ReduceLogSum", table=FOR_DEEPLIFT)
def reduce_log_sum(emit: Emitter, node: NodeView) -> Term:
    """y = ln sum x."""
    return emit.Log(_reduced(emit, node, node.inputs[0]))


@decomposition("ReduceLogSumExp", table=FOR_DEEPLIFT)
def reduce_log_sum_exp(emit: Emitter, node: NodeView) -> Term:
    """y = m + ln sum e^(x - m), m = max x."""
    x = node.inputs[0]
    top = emit.ReduceMax(x, *node.inputs[1:], **node.attrs)
    shifted = x - keep_axes(emit, node, top)
    return top + emit.Log(_reduced(emit, node, emit.Exp(shifted)))


@decomposition("LpPool", table=FOR_DEEPLIFT)
def lp_pool(emit: Emitter, node: NodeView) -> Term:
    """y = (sum over the window of |x|^p)^(1/p)."""
    p = emit.constant(float(node.attrs.get("p", 2)), node.inputs[0].dtype)
    powers = emit.Pow(abs(node.inputs[0]), p)
    powers.shape = node.inputs[0].shape
    # The node itself will be gone: another tells how many windows there are.
    pooled = emit.LpPool(node.inputs[0], **node.attrs)
    pooled.shape = node.outputs[0].shape
    total = sum_over_windows(emit, powers, pooled, pooling_window(node))
    return emit.Pow(total, emit.Reciprocal(p))


@decomposition("GlobalLpPool")
def global_lp_pool(emit: Emitter, node: NodeView) -> Term:
    """y = (sum over all positions of |x|^p)^(1/p): a norm over the spatial axes."""
    x, p = node.inputs[0], node.attrs.get("p", 2)
    axes = list(range(2, rank_of(x)))
    if p in (1, 2):
        return emit(f"ReduceL{p}", x, axes, keepdims=1)
    exponent = emit.constant(float(p), x.dtype)
    total = emit.ReduceSum(emit.Pow(abs(x), exponent), axes, keepdims=1)
    return emit.Pow(total, emit.Reciprocal(exponent))


@decomposition("Det")
def determinant(emit: Emitter, node: NodeView) -> Term | None:
    """Laplace's expansion along the first row, for square matrices of known size up to 4."""
    size = node.inputs[0].shape[-1] if node.inputs[0].shape else None
    if not isinstance(size, int) or size > 4:
        return None
    return _determinant(emit, node.inputs[0], size)


def _determinant(emit: Emitter, matrix: Term, size: int) -> Term:
    if size == 1:
        return emit.Squeeze(matrix, [-1, -2])
    total: Any = None
    for column in range(size):
        row_element = emit.Gather(matrix, np.asarray(0), axis=-2)
        element = emit.Gather(row_element, np.asarray(column), axis=-1)
        below = emit.Gather(matrix, np.arange(1, size), axis=-2)
        others = np.asarray([k for k in range(size) if k != column])
        minor = _determinant(emit, emit.Gather(below, others, axis=-1), size - 1)
        term = element * minor
        total = term if total is None else total - term if column % 2 else total + term
    return total


@decomposition("Einsum")
def einsum(emit: Emitter, node: NodeView) -> Term | None:
    """More than two operands: contracted one after the other, from the left."""
    if len(node.inputs) <= 2:
        return None
    if "..." in node.attrs["equation"] and any(x.shape is None for x in node.inputs):
        return None
    letters, result = subscripts(node)
    left, value = letters[0], node.inputs[0]
    for k, (term, operand) in enumerate(zip(letters[1:], node.inputs[1:], strict=True), start=1):
        later = set(result).union(*letters[k + 1 :])
        kept = "".join(c for c in dict.fromkeys(left + term) if c in later)
        kept = result if k == len(letters) - 1 else kept
        value = emit.Einsum(value, operand, equation=f"{left},{term}->{kept}")
        left = kept
    return value


@decomposition("TensorScatter")
def tensor_scatter(emit: Emitter, node: NodeView) -> Term:
    """Each update written from its batch's own index on, round the end where circular."""
    past, update = node.inputs[:2]
    axis = node.attrs.get("axis", -2) % rank_of(past)
    length = emit.Squeeze(emit.dims(update, axis, axis + 1), [0])
    places = emit.Range(np.int64(0), length, np.int64(1))
    column = [-1 if a == axis else 1 for a in range(rank_of(past))]
    places = emit.Reshape(places, column)
    if optional_input(node, 2) is not None:
        first = [-1 if a == 0 else 1 for a in range(rank_of(past))]
        places = places + emit.Reshape(node.inputs[2], first)
    if node.attrs.get("mode", "linear") == "circular":
        places = emit.Mod(places, emit.dims(past, axis, axis + 1))
    indices = emit.Expand(places, emit.shape(update))
    return emit.ScatterElements(past, indices, update, axis=axis)


@decomposition("Clip", table=FOR_DEEPLIFT)
def clip(emit: Emitter, node: NodeView) -> Term | None:
    """min(max(x, low), high), where a bound is computed at run time."""
    bounds = node.inputs[1:]
    if all(bound is None or is_constant(bound) for bound in bounds):
        return None
    y = node.inputs[0]
    for op, bound in zip(("Max", "Min"), bounds, strict=False):
        y = y if bound is None else emit(op, y, bound)
    return y
