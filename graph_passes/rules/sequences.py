"""Gradients of ReverseSequence and of OneHot's values: both linear."""

from __future__ import annotations

from .registry import Family, gradient


@gradient("ReverseSequence", family=Family.LINEAR)
def reverse_sequence(emit, node, dy):
    """dx = dy reversed in the same places: doing it twice is doing nothing."""
    return emit("ReverseSequence", dy, node.inputs[1], **node.attrs)


@gradient("OneHot", operand=2, family=Family.LINEAR)
def one_hot_values(emit, node, dy):
    """y = on at each index, off elsewhere: d on = the sum of dy there, d off = that of the rest."""
    marks = emit.constant([0, 1], dy.dtype)
    hit = emit("OneHot", *node.inputs[:2], marks, axis=node.attrs.get("axis", -1))
    on = emit("ReduceSum", emit.mul(dy, hit), keepdims=0)
    off = emit.sub(emit("ReduceSum", dy, keepdims=0), on)
    parts = [emit("Reshape", part, [1]) for part in (off, on)]
    return emit("Concat", *parts, axis=0)
