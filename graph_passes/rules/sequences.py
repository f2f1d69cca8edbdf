"""Gradients of ReverseSequence and of OneHot's values: both linear."""

from __future__ import annotations

from .registry import Family, gradient


@gradient("ReverseSequence", family=Family.LINEAR)
def reverse_sequence(op, node, dy):
    """dx = dy reversed in the same places: doing it twice is doing nothing."""
    return op.ReverseSequence(dy, node.inputs[1], **node.attrs)


@gradient("OneHot", operand=2, family=Family.LINEAR)
def one_hot_values(op, node, dy):
    """y = on at each index, off elsewhere: d on = the sum of dy there, d off = that of the rest."""
    marks = op.constant([0, 1], dy.dtype)
    hit = op.OneHot(*node.inputs[:2], marks, axis=node.attrs.get("axis", -1))
    on = op.ReduceSum(dy * hit, keepdims=0)
    off = op.ReduceSum(dy, keepdims=0) - on
    parts = [op.Reshape(part, [1]) for part in (off, on)]
    return op.Concat(*parts, axis=0)
