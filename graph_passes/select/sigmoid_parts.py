"""Whether what moves bring to a tensor are Sigmoids' numbers: all, none, or some of them."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.operators import Fact, has
from ..graph.tensors import is_constant, is_float, optional_input, producer_of

Kinds = frozenset[bool]
_NOTHING, _OTHERS, _SIGMOIDS = frozenset[bool](), frozenset([False]), frozenset([True])
# No file has so many moves behind each other.
_DEEPEST = 200


def moves(node: gs.Node) -> bool:
    """Whether a node only moves, repeats or picks the elements of its first input."""
    if node.op == "Cast":
        return is_float(node.inputs[0]) and is_float(node.outputs[0])
    filled = has(node.op, Fact.FILLS) or node.op in ("Neg", "Where")
    return node.op == "Pad" or (has(node.op, Fact.MOVES) and not filled and node.op != "Concat")


def kinds_of(tensor: gs.Tensor, found: dict[tuple, Kinds], depth: int = 0) -> Kinds:
    """True for a Sigmoid's numbers, False for others; a part of a Concat counts by itself.

    Constants that are filled in count as nothing.

    Args:
        tensor: whose elements they are.
        found: what is known already, by tensor and part.
        depth: of the walk so far.
    """
    key = (tensor.name,)
    if key not in found:
        found[key] = _OTHERS
        found[key] = _kinds(tensor, found, depth)
    return found[key]


def _kinds(tensor: gs.Tensor, found: dict[tuple, Kinds], depth: int) -> Kinds:
    node = producer_of(tensor)
    if is_constant(tensor):
        return _NOTHING
    if node is None or depth > _DEEPEST:
        return _OTHERS
    if node.op == "Sigmoid":
        return _SIGMOIDS
    if node.op == "Concat":
        return _union(kinds_of(t, found, depth + 1) for t in node.inputs)
    if node.op == "ScatterND" and node.attrs.get("reduction", "none") == "none":
        return _union(kinds_of(node.inputs[k], found, depth + 1) for k in (0, 2))
    part = _part(node, tensor)
    if part is not None:
        return _along(node.inputs[0], *part, found, depth + 1)
    if moves(node) or node.op in ("TopK", "ReduceMax"):
        return kinds_of(node.inputs[0], found, depth + 1)
    if node.op == "Mul":
        return _SIGMOIDS & _union(kinds_of(t, found, depth + 1) for t in node.inputs) or _OTHERS
    return _OTHERS


def _union(several) -> Kinds:
    return frozenset().union(*several)


def _part(node: gs.Node, tensor: gs.Tensor) -> tuple[int, int, int] | None:
    """(axis, first, end) of what a Slice or a Split takes of its input along one axis."""
    shape = node.inputs[0].shape
    if node.op not in ("Slice", "Split") or not shape:
        return None
    if node.op == "Split":
        axis = node.attrs.get("axis", 0) % len(shape)
        first = 0
        for own in node.outputs:
            length = own.shape[axis] if own.shape else None
            if not isinstance(length, int):
                return None
            if own is tensor:
                return axis, first, first + length
            first += length
    limits = [optional_input(node, k) for k in (1, 2, 3, 4)]
    if any(t is not None and not (is_constant(t) and np.size(t.values) == 1) for t in limits):
        return None
    begin, end, axis, step = (None if t is None else int(np.ravel(t.values)[0]) for t in limits)
    axis = (axis or 0) % len(shape)
    if not isinstance(shape[axis], int) or step not in (None, 1):
        return None
    taken = range(shape[axis])[slice(begin, end)]
    return axis, taken.start, taken.stop


def _along(
    tensor: gs.Tensor, axis: int, first: int, end: int, found: dict[tuple, Kinds], depth: int
) -> Kinds:
    """Of elements `first` to `end` along an axis."""
    key = (tensor.name, axis, first, end)
    if key not in found:
        found[key] = _OTHERS
        found[key] = _kinds_along(tensor, axis, first, end, found, depth)
    return found[key]


def _kinds_along(
    tensor: gs.Tensor, axis: int, first: int, end: int, found: dict[tuple, Kinds], depth: int
) -> Kinds:
    node = producer_of(tensor)
    if node is None or depth > _DEEPEST:
        return kinds_of(tensor, found, depth)
    ahead = node.inputs[0] if node.inputs else tensor
    if node.op == "Transpose" and "perm" in node.attrs:
        return _along(ahead, node.attrs["perm"][axis], first, end, found, depth + 1)
    if node.op in ("Cast", "Identity"):
        return _along(ahead, axis, first, end, found, depth + 1)
    if _keeps_axis(node, axis):
        return _along(ahead, axis, first, end, found, depth + 1)
    if node.op == "Concat" and tensor.shape:
        return _parts(node, axis, first, end, found, depth)
    return kinds_of(tensor, found, depth)


def _keeps_axis(node: gs.Node, axis: int) -> bool:
    """Whether elements are picked along another axis alone, which keeps this one."""
    own, made = (t.shape for t in (node.inputs[0], node.outputs[0]))
    if (node.op != "TopK" and not has(node, Fact.BY_INDEX)) or "axis" not in node.attrs:
        return False
    return bool(own and made and len(own) == len(made)) and node.attrs["axis"] % len(own) != axis


def _parts(
    node: gs.Node, axis: int, first: int, end: int, found: dict[tuple, Kinds], depth: int
) -> Kinds:
    """Of those parts of a Concat that lie between two elements."""
    rank = len(node.outputs[0].shape)
    if node.attrs["axis"] % rank != axis:
        return _union(_along(t, axis, first, end, found, depth + 1) for t in node.inputs)
    place, several = 0, []
    for part in node.inputs:
        length = part.shape[axis] if part.shape else None
        if not isinstance(length, int):
            return _union(kinds_of(t, found, depth + 1) for t in node.inputs)
        begin, stop = max(first - place, 0), min(end - place, length)
        if begin < stop:
            several.append(_along(part, axis, begin, stop, found, depth + 1))
        place += length
    return _union(several)
