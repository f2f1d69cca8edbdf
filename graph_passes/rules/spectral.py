"""Gradient of DFT: the adjoint of a Fourier transform is the transform with the other sign."""

from __future__ import annotations

import numpy as np

from ..graph.emitter import Emitter
from ..graph.tensors import optional_input
from ..graph.terms import NodeView, Term
from .registry import Family, gradient


@gradient("DFT", family=Family.LINEAR)
def dft(op, node, dy):
    """X = F x: dx = F^H dy, where F^H is L times the inverse transform (and 1 / L times, inverted).

    One-sided transforms lost the bins that repeat the others: their dy is 0. An inverse one-sided
    transform counted the bins between the first and the Nyquist bin twice. Input that was cut or
    zero-filled to L gets its dx filled or cut, and real input the real part.
    """
    x = node.x
    inverse, one_sided = node.attrs.get("inverse", 0), node.attrs.get("onesided", 0)
    axis = optional_input(node, 2)
    axes = op.constant(np.asarray([-2], np.int64)) if axis is None else _vector(op, axis)
    own = op.Gather(op.Shape(x), axes)
    length = _length(op, node, axes, own, bool(inverse and one_sided))
    if one_sided and not inverse:
        dy = _resized(op, dy, axes, length)
    flat = op.DFT(dy, None, op.Squeeze(axes, [0]), inverse=0 if inverse else 1)
    scale = op.cast_like(length, dy)
    dx = flat / scale if inverse else flat * scale
    if inverse and one_sided:
        dx = dx * _repeats(op, axes, own, length, dx)
    dx = _resized(op, dx, axes, own)
    last = op.Slice(op.Shape(x), [-1], [2**31])
    return op.Slice(dx, [0], last, [-1])


def _vector(op: Emitter, tensor: Term) -> Term:
    return op.Cast(op.Reshape(tensor, [-1]), to=7)


def _length(op: Emitter, node: NodeView, axes, own, from_half: bool) -> Term:
    """L, int64 [1]: given, the input's length, or 2 (bins - 1) for an inverse one-sided one."""
    given = optional_input(node, 1)
    if given is not None:
        return _vector(op, given)
    return (own - [1]) * [2] if from_half else own


def _resized(op: Emitter, value: Term, axes, length) -> Term:
    """Cut or zero-filled at the end of the axis."""
    missing = length - op.Gather(op.Shape(value), axes)
    amounts = op.Concat([0], missing, axis=0)
    return op.Pad(value, amounts, op.constant(0.0, value.dtype), axes)


def _repeats(op: Emitter, axes, bins, length, like) -> Term:
    """How often each bin counts along the axis: 1 or 2, and 0 behind the Nyquist bin."""
    end = op.Gather(op.Shape(like), axes)
    zero, one = np.int64(0), np.int64(1)
    numbers = op.Range(zero, op.Squeeze(end, [0]), one)
    doubled = numbers * [2]
    first = op.cast_like(op.Equal(numbers, zero), like)
    nyquist = op.cast_like(op.Equal(doubled, length), like)
    below = op.cast_like(doubled < length, like)
    count = below * 2 - first + nyquist
    rank = op.Size(op.Shape(like))
    ones = op.single(1, np.int64, "one")
    shape = op.ConstantOfShape(op.Reshape(rank, [1]), value=ones)
    shape = op.ScatterElements(shape, _positive(op, axes, rank), end, axis=0)
    return op.Reshape(count, shape)


def _positive(op: Emitter, axes, rank) -> Term:
    return op.Mod(axes + rank, rank)
