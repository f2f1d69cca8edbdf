"""Gradients of Conv, ConvTranspose, MatMul and Gemm."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..graph.subscripts import subscripts, unused_letters
from ..graph.tensors import is_constant, onnx_type, rank_of
from .convolution import (
    convolution_window,
    input_gradient,
    weight_gradient,
)
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
bilinear = partial(gradient, family=Family.BILINEAR)


@bilinear("Conv")
def conv(op, node, dy):
    """y = W * x + b: dx = W^T * dy, the transposed convolution."""
    window = convolution_window(node)
    return input_gradient(op, dy, node.inputs[1], node.x, window)


@bilinear("Conv", operand=1)
def conv_weight(op, node, dy):
    """dW[m, c, k] = sum over n, o of dy[n, m, o] x[n, c, s o + d k - p]."""
    return weight_gradient(op, dy, node.x, node.inputs[1], convolution_window(node))


@linear("Conv", "ConvTranspose", operand=2)
def conv_bias(op, node, dy):
    """db[m] = sum over n, o of dy[n, m, o]."""
    rank = rank_of(node.x)
    return op.ReduceSum(dy, [0, *range(2, rank)], keepdims=0)


@bilinear("ConvTranspose")
def conv_transpose(op, node, dy):
    """The transpose of a transposed convolution is the convolution itself: dx = W * dy."""
    window = convolution_window(node)
    dx = op.Conv(
        dy,
        node.inputs[1],
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        group=window.group,
        kernel_shape=window.kernel,
    )
    if any(p >= s for p, s in zip(window.output_padding, window.strides, strict=True)):
        axes = list(range(2, 2 + len(window.kernel)))
        dx = op.Slice(dx, [0] * len(axes), op.dims(node.x, 2), axes)
    return dx


@bilinear("ConvTranspose", operand=1)
def conv_transpose_weight(op, node, dy):
    """As Conv's, with x and dy exchanged: y = W^T * x is what x = W * y would send back."""
    return weight_gradient(op, node.x, dy, node.inputs[1], convolution_window(node))


@bilinear("MatMul")
def matmul_left(op, node, dy):
    """Y = A B: dA = dY B^T, summed over broadcast batch axes."""
    a, b = node.inputs
    return _sum_batch(op, dy @ transposed(op, b), node.y, a)


@bilinear("MatMul", operand=1)
def matmul_right(op, node, dy):
    """Y = A B: dB = A^T dY, summed over broadcast batch axes."""
    a, b = node.inputs
    if a.shape is not None and b.shape is not None and len(b.shape) == 2 < len(a.shape):
        # One product over all rows, instead of one for each batch that is summed afterwards.
        a = op.Reshape(a, op.Concat([-1], op.dims(a, len(a.shape) - 1), axis=0))
        dy = op.Reshape(dy, op.Concat([-1], op.dims(b, 1), axis=0))
        return op.Transpose(a, perm=[1, 0]) @ dy
    return _sum_batch(op, transposed(op, a) @ dy, node.y, b)


def _sum_batch(op, gradient_, y, operand):
    """Sum a MatMul gradient over the batch axes along which its operand was broadcast."""
    shape = None
    if y.shape is not None and operand.shape is not None:
        shape = [*list(y.shape)[:-2], *list(operand.shape)[-2:]]
    return op.sum_to(gradient_, shape, operand)


def transposed(op, matrix):
    """The last two axes exchanged."""
    if matrix.shape is None:
        return op.Einsum(matrix, equation="...ij->...ji")
    rank = len(matrix.shape)
    perm = [*range(rank - 2), rank - 1, rank - 2]
    if is_constant(matrix):
        return op.constant(np.transpose(matrix.values, perm))
    result = op.Transpose(matrix, perm=perm)
    result.shape = [matrix.shape[axis] for axis in perm]
    return result


@bilinear("Gemm")
def gemm_left(op, node, dy):
    """Y = alpha A' B' + beta C (' as transA, transB say): dA' = alpha dY B'^T."""
    alpha, trans_a, trans_b = _gemm_attributes(node)
    b = node.inputs[1]
    if trans_a:
        return op.Gemm(b, dy, alpha=alpha, transA=trans_b, transB=1)
    return op.Gemm(dy, b, alpha=alpha, transB=1 - trans_b)


@bilinear("Gemm", operand=1)
def gemm_right(op, node, dy):
    """Y = alpha A' B' + beta C: dB' = alpha A'^T dY."""
    alpha, trans_a, trans_b = _gemm_attributes(node)
    a = node.x
    if trans_b:
        return op.Gemm(dy, a, alpha=alpha, transA=1, transB=trans_a)
    return op.Gemm(a, dy, alpha=alpha, transA=1 - trans_a)


@linear("Gemm", operand=2, broadcasts=True)
def gemm_addend(op, node, dy):
    """Y = alpha A' B' + beta C: dC = beta dY."""
    return dy * node.attrs.get("beta", 1.0)


def _gemm_attributes(node):
    """Attributes alpha, transA, transB."""
    attributes = node.attrs
    return attributes.get("alpha", 1.0), attributes.get("transA", 0), attributes.get("transB", 0)


@bilinear("Einsum", operand=None)
def einsum(op, node, dy, operand):
    """y = sum of products: dx_k = the same sum with dy in x_k's place and x_k's letters as result.

    A letter that x_k has twice counts as two, under an identity: sum x_ii b_i = sum x_ij e_ij b_i.
    Letters that only x_k has were summed away in y: dy is repeated along them.
    """
    terms, _, result = node.attrs["equation"].replace(" ", "").partition("->")
    if sorted(terms) == sorted(result) and len(set(terms) - {"."}) == len(terms.replace(".", "")):
        return op.Einsum(dy, equation=f"{result}->{terms}")  # a transpose, of any rank
    letters, result = subscripts(node)
    x = node.inputs[operand]
    own, identities = _repeats_as_identities(op, x, letters, operand)
    others = [(letters[k], t) for k, t in enumerate(node.inputs) if k != operand] + identities
    elsewhere = set(result).union(*(term for term, _ in others))
    found = "".join(letter for letter in own if letter in elsewhere)
    equation = ",".join([result, *(term for term, _ in others)]) + f"->{found}"
    dx = op.Einsum(dy, *(tensor for _, tensor in others), equation=equation)
    lost = [axis for axis, letter in enumerate(own) if letter not in elsewhere]
    if lost:
        dx = op.Unsqueeze(dx, lost)
    spans = _spans(own, [(own, x), *others])
    equal = all(len(span) == 1 and None not in span for span in spans)
    if lost or not equal:
        # Other operands may be 1 long where x is not ...
        dx = op.Expand(dx, op.shape(x))
    # ... and the other way round.
    return dx if equal else op.sum_to(dx, [_longest(span) for span in spans], x)


def _repeats_as_identities(op, x, letters, operand):
    """x's letters, each once: a repeated one is renamed, an identity matrix says that it is."""
    free = iter(unused_letters("".join(letters)))
    own, identities = "", []
    for axis, letter in enumerate(letters[operand]):
        if letter in own:
            first, letter = own.index(letter), next(free)
            identities.append((own[first] + letter, _identity(op, x, first, axis)))
        own += letter
    return own, identities


def _identity(op, x, first, second):
    """The identity matrix whose sides are two axes of x."""
    sides = op.Concat(op.dims(x, first, first + 1), op.dims(x, second, second + 1), axis=0)
    if is_constant(sides):
        return op.constant(np.eye(*sides.values, dtype=x.dtype))
    matrix = op.EyeLike(op.filled(sides, 0, x.dtype, "zero"), dtype=onnx_type(x.dtype))
    matrix.shape = [x.shape[first], x.shape[second]]
    return matrix


def _spans(own, terms):
    """For each of x's letters the lengths that it has in all operands, None where unknown."""
    spans = {letter: set() for letter in own}
    for term, tensor in terms:
        shape = [None] * len(term) if tensor.shape is None else tensor.shape
        for letter, dim in zip(term, shape, strict=True):
            if letter in spans:
                spans[letter].add(dim)
    return list(spans.values())


def _longest(span):
    """The length that is not 1; None where it is not known."""
    longest = max((dim for dim in span if isinstance(dim, int)), default=1)
    if longest > 1:
        return longest
    return next(iter(span)) if len(span) == 1 else None
