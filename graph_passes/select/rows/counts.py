"""Where the number of rows becomes part of the values, and not only of the sizes.

Sizes are followed from Shape and Size of what has rows. As the argument of a Reshape or an Expand
they change no value; multiplied with data, compared, or as the number of a row, they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.tensors import captured, is_constant, operator_name, optional_input
from ...rules.registry import GRADIENTS, Family, Trait, operators
from .places import Lost, Place

# What a tensor without rows has of their number: which of its elements depend on it (True: any
# may), or, where only its size does, SIZED: the same numbers again and again.
SIZED = "sized"
Count: TypeAlias = "np.ndarray | bool | str"
_Found = Mapping[str, "Place | Lost"]

# Which operand only says how large a result is.
_SIZE_OPERAND = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Tile": 1}
# Which keep what is the same everywhere the same.
_MOVES = {"Transpose", "Reshape", "Expand", "Tile", "Unsqueeze", "Squeeze", "Flatten", "Identity"}
_COMPARES = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Where"}
_UNIFORM = {*operators(Trait.ALIGNS), *_MOVES, *_COMPARES, "Cast", "CastLike", "Concat", "Gather"}
_UNIFORM |= {"Slice", "Not"}
_ELEMENTWISE = {*_COMPARES, "Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Pow"}
_BY_ELEMENT: dict[str, Callable[..., np.ndarray]] = {
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(np.ravel(axes).tolist())),
    "Squeeze": lambda x, axes=None: np.squeeze(
        x, None if axes is None else tuple(np.ravel(axes).tolist())
    ),
    "Gather": lambda x, indices, axis=0: np.take(x, indices, axis),
    "Reshape": lambda x, shape: np.reshape(x, tuple(shape.tolist())),
}


def counted(node: gs.Node, found: _Found, counts: Mapping[str, Count]) -> Count | Lost | None:
    """What a node's first output has of the number of rows; Lost: what has rows depends on it.

    Args:
        node: any one.
        found: where rows are, see `follow_rows`.
        counts: what the tensors before have of their number.
    """
    rowed = [found[t.name] for t in node.inputs if t.name in found]
    if node.op in ("Shape", "Size"):
        return _of_shape(node, found, counts)
    own = {k: counts[t.name] for k, t in enumerate(node.inputs) if t.name in counts}
    if not captured(node).isdisjoint(counts):
        # The body of an If or a Loop.
        return _lost(node) if rowed or not captured(node).isdisjoint(found) else True
    if not own:
        return None
    size = _SIZE_OPERAND.get(node.op)
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
    entry = GRADIENTS.get((operator_name(node), 0))
    elementwise = entry is not None and entry.family is Family.ELEMENTWISE
    return elementwise or operator_name(node) in _UNIFORM


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
    """The marks, or None where nothing is marked."""
    return marks if marks.any() else None


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
        return np.concatenate(marks, node.attrs["axis"])
    if node.op in ("Identity", "Cast", "Neg", "Abs", "Sqrt", "Not", "Floor", "Ceil"):
        return marks[0]
    if node.op == "Slice":
        limits = [optional_input(node, k) for k in (1, 2, 3, 4)]
        starts, ends, axes, steps = (_numbers(t) for t in limits)
        index = [slice(None)] * marks[0].ndim
        for i, (start, end) in enumerate(zip(starts or [], ends or [], strict=True)):
            axis = i if axes is None else int(axes[i])
            index[axis] = slice(int(start), int(end), None if steps is None else int(steps[i]))
        return marks[0][tuple(index)]
    if node.op in _BY_ELEMENT:
        rest = [t.values for t in node.inputs[1:] if t.name]
        return np.asarray(_BY_ELEMENT[node.op](marks[0], *rest, **_plain(node)))
    if node.op in _ELEMENTWISE:
        result = marks[0]
        for other in marks[1:]:
            result = np.logical_or(result, other)
        return result
    raise NotImplementedError(node.op)


def _plain(node: gs.Node) -> dict[str, int]:
    return {"axis": node.attrs["axis"]} if "axis" in node.attrs else {}


def _numbers(tensor: Any) -> list[int] | None:
    """A constant operand's whole numbers; None: it is left out."""
    return None if tensor is None else tensor.values.tolist()
