"""The arithmetic of sizes, indices and masks: what its operators make of numbers, in one table.

Numbers come as arrays of any type. Where some of them are not known the arrays hold Python's own
numbers, and None for those.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from .dims import is_static
from .operators import Fact, has
from .tensors import is_constant, numpy_type, operator_name, producer_of

# An array of sizes; None stands for one that is not known.
Sizes: TypeAlias = Any
# (attributes, operands) -> the result.
Computed = Callable[..., Sizes]

# Sizes are few, and so are the operators between a size and what it decides.
_MOST, _LONGEST = 64, 100


def compute(op: str, attrs: Mapping[str, Any], operands: Sequence[Any]) -> Sizes:
    """What an operator of `COMPUTED` makes of its operands; None for one that is left out.

    Raises:
        ValueError, IndexError, TypeError, ZeroDivisionError: of such operands it makes nothing, or
            what is not known decides where elements go.
    """
    return COMPUTED[op](attrs, *operands)


def known_sizes(tensor: gs.Tensor) -> Sizes | None:
    """The numbers of a tensor as far as constants and known shapes tell; None: they do not.

    Args:
        tensor: of a graph without a cycle.
    """
    return _known(tensor, {}, 0)


def shape_read(node: gs.Node) -> list[Any] | None:
    """The dimensions that a Shape or Size reads of its operand; None: it has no known rank."""
    shape = node.inputs[0].shape if node.inputs else None
    return (
        None if shape is None else list(shape)[node.attrs.get("start", 0) : node.attrs.get("end")]
    )


def size_read(node: gs.Node) -> np.ndarray | None:
    """What a Shape or Size returns, int64; None where that is not known yet."""
    part = shape_read(node)
    if part is None or not is_static(node.inputs[0].shape):
        return None
    return np.asarray(part if node.op == "Shape" else np.prod(part), np.int64)


def _known(tensor: gs.Tensor, found: dict[str, Sizes | None], depth: int) -> Sizes | None:
    """`found`: what is known of tensors asked for before; `depth`: operators on the way here."""
    if tensor.name not in found:
        found[tensor.name] = None if depth > _LONGEST else _made(tensor, found, depth)
    return found[tensor.name]


def _made(tensor: gs.Tensor, found: dict[str, Sizes | None], depth: int) -> Sizes | None:
    if is_constant(tensor):
        return np.asarray(tensor.values).astype(object) if tensor.values.size <= _MOST else None
    node = producer_of(tensor)
    if node is None:
        return None
    name = operator_name(node)
    if name == "Shape":
        part = shape_read(node)
        sizes = [dim if isinstance(dim, int) else None for dim in part or []]
        return None if part is None else np.asarray(sizes, dtype=object)
    if name not in COMPUTED:
        return None
    operands = [_known(t, found, depth + 1) if t.name else None for t in node.inputs]
    present = [value for t, value in zip(node.inputs, operands, strict=True) if t.name]
    if any(value is None or value.size > _MOST for value in present):
        return None
    try:
        return np.asarray(compute(name, node.attrs, operands), dtype=object)
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        return None


def _each(function: Callable[..., Any]) -> Computed:
    """Element by element; unknown wherever an operand is."""

    def one(*values: Any) -> Any:
        return None if None in values else function(*values)

    def apply(_attrs: Mapping[str, Any], *operands: Any) -> Sizes:
        if any(value.dtype == object for value in operands):
            return np.frompyfunc(one, len(operands), 1)(*operands)
        return function(*operands)

    return apply


def _divided(a: Any, b: Any) -> Any:
    """a / b, of whole numbers rounded towards 0."""
    if np.asarray(a).dtype.kind not in "iu":
        return a / b
    if not np.all(b):
        raise ZeroDivisionError
    return abs(a) // abs(b) * np.sign(a) * np.sign(b)


def _largest(*values: Any) -> Any:
    return reduce(np.maximum, values)


def _smallest(*values: Any) -> Any:
    return reduce(np.minimum, values)


def _numbers(values: Any) -> tuple[int, ...]:
    """Whole numbers that must be known."""
    return tuple(int(value) for value in np.ravel(values))


def _gather(attrs: Mapping[str, Any], data: Any, indices: Any) -> Sizes:
    return np.take(data, np.asarray(indices).astype(np.int64), axis=attrs.get("axis", 0))


def _slice(_attrs: Mapping[str, Any], data: Any, starts: Any, ends: Any, *rest: Any) -> Sizes:
    axes, steps = (*rest, None, None)[:2]
    count = len(np.ravel(starts))
    chosen = range(count) if axes is None else _numbers(axes)
    every = (1,) * count if steps is None else _numbers(steps)
    index: list[slice] = [slice(None)] * np.ndim(data)
    for axis, start, end, step in zip(chosen, _numbers(starts), _numbers(ends), every, strict=True):
        # A negative step goes on to before the first element, which no negative end can say.
        beyond = step < 0 and end < -data.shape[axis]
        index[axis] = slice(start, None if beyond else end, step)
    return data[tuple(index)]


def _squeeze(_attrs: Mapping[str, Any], data: Any, axes: Any = None) -> Sizes:
    return np.squeeze(data, None if axes is None else _numbers(axes))


def _unsqueeze(_attrs: Mapping[str, Any], data: Any, axes: Any) -> Sizes:
    return np.expand_dims(data, _numbers(axes))


def _reshape(attrs: Mapping[str, Any], data: Any, shape: Any) -> Sizes:
    lengths = _numbers(shape)
    if not attrs.get("allowzero", 0):
        lengths = tuple(data.shape[k] if dim == 0 else dim for k, dim in enumerate(lengths))
    return np.reshape(data, lengths)


def _cast(attrs: Mapping[str, Any], data: Any) -> Sizes:
    """Numbers of which some are not known stay Python's own."""
    return data if data.dtype == object else data.astype(numpy_type(attrs["to"]))


def _not(value: Any) -> Any:
    return not value if isinstance(value, bool) else np.logical_not(value)


MOVING: dict[str, Computed] = {
    "Concat": lambda attrs, *parts: np.concatenate(parts, attrs["axis"]),
    "Gather": _gather,
    "Identity": lambda attrs, x: x,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
"""What only moves elements, whatever they are."""

COMPUTED: dict[str, Computed] = {
    **MOVING,
    "Add": _each(python.add),
    "And": _each(python.and_),
    "Cast": _cast,
    "Div": _each(_divided),
    "Equal": _each(python.eq),
    "Greater": _each(python.gt),
    "GreaterOrEqual": _each(python.ge),
    "Less": _each(python.lt),
    "LessOrEqual": _each(python.le),
    "Max": _each(_largest),
    "Min": _each(_smallest),
    "Mul": _each(python.mul),
    "Not": _each(_not),
    "Or": _each(python.or_),
    "Sub": _each(python.sub),
    "Where": _each(lambda chosen, a, b: np.where(chosen, a, b)[()]),
}
"""The arithmetic that exporters write, a hundred times faster than ONNX's reference does it."""


def most_of(op: str, shapes: Sequence[Sequence[int]]) -> int | None:
    """Elements that an operator of `COMPUTED` makes at the most; None for another one."""
    if op not in COMPUTED:
        return None
    if has(op, Fact.ALIGNS):
        return int(np.prod(np.broadcast_shapes(*map(tuple, shapes)), dtype=object))
    sizes = [int(np.prod(shape, dtype=object)) for shape in shapes]
    return int(np.prod(sizes, dtype=object)) if op == "Gather" else sum(sizes)
