"""Where the number of rows becomes part of the values, and not only of the sizes.

Sizes are followed from Shape and Size of what has rows. As the argument of a Reshape or an Expand
they change no value; multiplied with data, compared, or as the number of a row, they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.operators import Fact, facts_of, has
from ...graph.sizes import MOVING, compute
from ...graph.tensors import captured, is_constant, operator_name
from .places import Lost, Place

# What a tensor without rows has of their number: which of its elements depend on it (True: any
# may), or, where only its size does, SIZED: the same numbers again and again.
SIZED = "sized"
Count: TypeAlias = "np.ndarray | bool | str"
_Found = Mapping[str, "Place | Lost"]


def counted(node: gs.Node, found: _Found, counts: Mapping[str, Count]) -> Count | Lost | None:
    """What a node's first output has of the number of rows; Lost: what has rows depends on it.

    Args:
        node: any one.
        found: where rows are, see `follow_rows`.
        counts: what the tensors before have of their number.
    """
    rowed = [found[t.name] for t in node.inputs if t.name in found]
    if has(node, Fact.SIZES):
        return _of_shape(node, found, counts)
    own = {k: counts[t.name] for k, t in enumerate(node.inputs) if t.name in counts}
    if not captured(node).isdisjoint(counts):
        # The body of an If or a Loop.
        return _lost(node) if rowed or not captured(node).isdisjoint(found) else True
    if not own:
        return None
    size = facts_of(node).sizes
    data = {k: count for k, count in own.items() if k != size}
    if not data:
        return None if rowed else SIZED
    if rowed:
        return None if _is_harmless(node, data, found) else _lost(node)
    if all(isinstance(count, str) for count in data.values()):
        return SIZED if _keeps_uniform(node) else True
    return _by_element(node, own)


def _keeps_uniform(node: gs.Node) -> bool:
    """Whether what is the same everywhere stays so."""
    return has(node, Fact.ALIGNS) or (has(node, Fact.MOVES) and not has(node, Fact.FILLS))


def _lost(node: gs.Node) -> Lost:
    named = f"{operator_name(node)} (node {node.name or node.outputs[0].name!r})"
    return Lost("unknown", f"{named} computes with how many rows there are")


def _of_shape(node: gs.Node, found: _Found, counts: Mapping[str, Count]) -> Count | None:
    tensor = node.inputs[0]
    place, shape = found.get(tensor.name), tensor.shape
    if place is None and counts.get(tensor.name) is not None:
        return True if counts[tensor.name] == SIZED else None
    if place is None:
        return None
    if node.op == "Size" or isinstance(place, Lost) or shape is None:
        return True
    marks = np.arange(len(shape)) == place.axis
    return _any(marks[node.attrs.get("start", 0) : node.attrs.get("end")])


def _any(marks: np.ndarray) -> np.ndarray | None:
    """The marks, or None where nothing is marked; numpy's operators make scalars of one element."""
    return np.asarray(marks) if marks.any() else None


def _is_harmless(node: gs.Node, data: Mapping[int, Count], found: _Found) -> bool:
    """Whether a node with rows takes no value from the number of rows."""
    if all(isinstance(count, str) for count in data.values()):
        return True
    place = found.get(node.inputs[0].name)
    if node.op == "Resize" and set(data) == {3} and isinstance(place, Place):
        marks = data[3]
        return isinstance(marks, np.ndarray) and not np.delete(marks, place.axis).any()
    # As a shape of its own it says nothing of values; joined with rows' numbers it does.
    return node.op == "CastLike" and set(data) == {1}


def _by_element(node: gs.Node, own: Mapping[int, Count]) -> Count | None:
    """Which elements depend on it, of what is computed from sizes alone."""
    marks = []
    for k, tensor in enumerate(node.inputs):
        if not tensor.name:
            continue
        count = own.get(k)
        if isinstance(count, np.ndarray):
            marks.append(count)
        elif count is not None:
            return True
        elif is_constant(tensor):
            marks.append(np.zeros(np.shape(tensor.values), bool))
        elif tensor.shape is not None and all(isinstance(d, int) for d in tensor.shape):
            marks.append(np.zeros(tuple(tensor.shape), bool))
        else:
            return True
    try:
        return _any(_marks_behind(node, marks))
    except Exception:  # shapes that do not fit, an operator that is not known here: any may
        return True


def _marks_behind(node: gs.Node, marks: list[np.ndarray]) -> np.ndarray:
    if node.op == "Concat":
        return compute(node.op, node.attrs, marks)
    if node.op in MOVING:
        rest = [t.values if t.name else None for t in node.inputs[1:]]
        return compute(node.op, node.attrs, [marks[0], *rest])
    if has(node, Fact.ALIGNS) and not has(node, Fact.ONE_OPERAND):
        result = marks[0]
        for other in marks[1:]:
            result = np.logical_or(result, other)
        return result
    raise NotImplementedError(node.op)
