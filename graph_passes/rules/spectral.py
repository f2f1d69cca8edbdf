"""Gradient of DFT: the adjoint of a Fourier transform is the transform with the other sign."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from .registry import Family, gradient


@gradient("DFT", family=Family.LINEAR)
def dft(emit, node, dy):
    """X = F x: dx = F^H dy, where F^H is L times the inverse transform (and 1 / L times, inverted).

    One-sided transforms lost the bins that repeat the others: their dy is 0. An inverse one-sided
    transform counted the bins between the first and the Nyquist bin twice. Input that was cut or
    zero-filled to L gets its dx filled or cut, and real input the real part.
    """
    x = node.inputs[0]
    inverse, one_sided = node.attrs.get("inverse", 0), node.attrs.get("onesided", 0)
    axis = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2].name else None
    axes = emit.constant(np.asarray([-2], np.int64)) if axis is None else _vector(emit, axis)
    own = emit("Gather", emit("Shape", x), axes)
    length = _length(emit, node, axes, own, bool(inverse and one_sided))
    if one_sided and not inverse:
        dy = _resized(emit, dy, axes, length)
    flat = emit("DFT", dy, None, emit("Squeeze", axes, [0]), inverse=0 if inverse else 1)
    scale = emit.cast_like(length, dy)
    dx = emit.div(flat, scale) if inverse else emit.mul(flat, scale)
    if inverse and one_sided:
        dx = emit.mul(dx, _repeats(emit, axes, own, length, dx))
    dx = _resized(emit, dx, axes, own)
    last = emit("Slice", emit("Shape", x), [-1], [2**31])
    return emit("Slice", dx, [0], last, [-1])


def _vector(emit: Emitter, tensor: gs.Tensor) -> gs.Tensor:
    return emit("Cast", emit("Reshape", tensor, [-1]), to=7)


def _length(emit: Emitter, node: gs.Node, axes, own, from_half: bool) -> gs.Tensor:
    """L, int64 [1]: given, the input's length, or 2 (bins - 1) for an inverse one-sided one."""
    if len(node.inputs) > 1 and node.inputs[1].name:
        return _vector(emit, node.inputs[1])
    return emit.mul(emit.sub(own, [1]), [2]) if from_half else own


def _resized(emit: Emitter, value: gs.Tensor, axes, length) -> gs.Tensor:
    """Cut or zero-filled at the end of the axis."""
    missing = emit.sub(length, emit("Gather", emit("Shape", value), axes))
    amounts = emit("Concat", [0], missing, axis=0)
    return emit("Pad", value, amounts, emit.constant(0.0, value.dtype), axes)


def _repeats(emit: Emitter, axes, bins, length, like) -> gs.Tensor:
    """How often each bin counts along the axis: 1 or 2, and 0 behind the Nyquist bin."""
    end = emit("Gather", emit("Shape", like), axes)
    zero, one = np.int64(0), np.int64(1)
    numbers = emit("Range", zero, emit("Squeeze", end, [0]), one)
    doubled = emit.mul(numbers, [2])
    first = emit.cast_like(emit("Equal", numbers, zero), like)
    nyquist = emit.cast_like(emit("Equal", doubled, length), like)
    below = emit.cast_like(emit("Less", doubled, length), like)
    count = emit.add(emit.sub(emit.mul(below, 2.0), first), nyquist)
    rank = emit("Size", emit("Shape", like))
    ones = gs.Constant(emit.name("one"), np.ones(1, np.int64))
    shape = emit("ConstantOfShape", emit("Reshape", rank, [1]), value=ones)
    shape = emit("ScatterElements", shape, _positive(emit, axes, rank), end, axis=0)
    return emit("Reshape", count, shape)


def _positive(emit: Emitter, axes, rank) -> gs.Tensor:
    return emit("Mod", emit.add(axes, rank), rank)
