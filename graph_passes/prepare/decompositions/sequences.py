"""Sequences of tensors whose length is known, and products along an axis, without either."""

from __future__ import annotations

import numpy as np

from ...graph.emitter import Emitter
from ...graph.tensors import Node, is_constant, optional_input, producer_of, rank_of
from ...graph.terms import NodeView, Term
from .registry import FOR_DEEPLIFT, decomposition


@decomposition("SequenceAt")
def sequence_at(emit: Emitter, node: NodeView) -> Term | None:
    """The element at a known place."""
    position = node.inputs[1]
    elements = _elements(emit, node.inputs[0]) if is_constant(position) else None
    if elements is None:
        return None
    place = int(position.values.item())
    return elements[place] if -len(elements) <= place < len(elements) else None


@decomposition("ConcatFromSequence")
def concat_from_sequence(emit: Emitter, node: NodeView) -> Term | None:
    """All elements joined, along an axis of theirs or a new one."""
    elements = _elements(emit, node.inputs[0])
    if not elements:
        return None
    axis = node.attrs["axis"]
    if node.attrs.get("new_axis", 0):
        elements = [emit.Unsqueeze(element, [axis]) for element in elements]
    return emit.Concat(*elements, axis=axis)


@decomposition("SequenceLength")
def sequence_length(emit: Emitter, node: NodeView) -> Term | None:
    """How many elements there are."""
    elements = _elements(emit, node.inputs[0])
    return None if elements is None else emit.constant(np.asarray(len(elements), np.int64))


def _elements(emit: Emitter, sequence: Term) -> list[Term] | None:
    """A sequence's tensors, where it is known how many there are."""
    maker = producer_of(sequence)
    if maker is None:
        return None
    if maker.op == "SequenceConstruct":
        return list(maker.inputs)
    if maker.op == "SequenceEmpty":
        return []
    if maker.op == "Identity":
        return _elements(emit, maker.inputs[0])
    if maker.op == "SequenceInsert":
        return _with_another(emit, maker)
    return _parts(emit, maker) if maker.op == "SplitToSequence" else None


def _with_another(emit: Emitter, node: Node) -> list[Term] | None:
    elements, place = _elements(emit, node.inputs[0]), optional_input(node, 2)
    if elements is None or not (place is None or is_constant(place)):
        return None
    at = len(elements) if place is None else int(place.values.item())
    at = at + len(elements) if at < 0 else at
    return [*elements[:at], node.inputs[1], *elements[at:]]


def _parts(emit: Emitter, node: Node) -> list[Term] | None:
    """What SplitToSequence cuts x into: parts of 1, of one length or of several."""
    x, split = node.inputs[0], optional_input(node, 1)
    if x.shape is None or not (split is None or is_constant(split)):
        return None
    axis = node.attrs.get("axis", 0) % rank_of(x)
    whole = x.shape[axis]
    if split is not None and split.values.ndim:
        lengths = split.values.tolist()
    elif isinstance(whole, int):
        size = 1 if split is None else int(split.values.item())
        lengths = [min(size, whole - begin) for begin in range(0, whole, size)]
    else:
        return None
    ends = np.cumsum(lengths).tolist()
    pieces = zip([0, *ends], ends, strict=False)
    parts: list[Term] = [emit.Slice(x, [begin], [end], [axis]) for begin, end in pieces]
    if split is None and not node.attrs.get("keepdims", 1):
        return [emit.Squeeze(part, [axis]) for part in parts]
    return parts


@decomposition("ReduceProd", table=FOR_DEEPLIFT)
def product(emit: Emitter, node: NodeView) -> Term | None:
    """Halves multiplied with each other until one element is left along each axis."""
    x, axes = node.inputs[0], optional_input(node, 1)
    if x.shape is None or not (axes is None or is_constant(axes)):
        return None
    rank = rank_of(x)
    chosen = range(rank) if axes is None else [int(axis) % rank for axis in axes.values]
    if not all(isinstance(x.shape[axis], int) and x.shape[axis] > 0 for axis in chosen):
        return None
    result: Term = x
    for axis in chosen:
        length = x.shape[axis]
        while length > 1:
            half = length // 2
            low = emit.Slice(result, [0], [half], [axis])
            high = emit.Slice(result, [half], [2 * half], [axis])
            left = low * high
            if length % 2:
                last = emit.Slice(result, [2 * half], [length], [axis])
                left = emit.Concat(left, last, axis=axis)
            result, length = left, half + length % 2
    if node.attrs.get("keepdims", 1):
        return result
    return emit.Squeeze(result, list(chosen))
