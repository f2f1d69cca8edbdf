"""On which axis of the scores classes lie: where the last layer made them, and what moved it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_graphsurgeon as gs

from ..graph.dims import is_static, same_dim
from ..graph.operators import Fact, has
from ..graph.subscripts import subscripts
from ..graph.tensors import is_constant, optional_input, producer_of


def channel_axis(tensor: gs.Tensor) -> int | None:
    """The axis that the last layer made: 1 behind a convolution, the last behind a product.

    None where that is not known. Each tensor is looked at once: branches that meet again and again
    (a DenseNet, residuals) have more paths than can be walked.
    """
    found: dict[int, int | None] = {}
    waiting = [tensor]
    while waiting:
        last = waiting[-1]
        node = producer_of(last)
        made = _made_here(node, last)
        follow = _follower(node) if node is not None and made is None else None
        if node is None or follow is None or last.shape is None:
            found[id(last)] = made
            waiting.pop()
            continue
        given = node.inputs[:1] if has(node, Fact.ONE_OPERAND) else node.inputs
        data = [operand for operand in given if operand.name and not is_constant(operand)]
        missing = [operand for operand in data if id(operand) not in found]
        if missing:
            waiting += missing
            continue
        before = [(operand, found[id(operand)]) for operand in data]
        axes = {follow(node, operand, axis) for operand, axis in before if axis is not None}
        # Of several operands those that say nothing (a mask, say) leave it to the others.
        axes.discard(None)
        found[id(last)] = axes.pop() if len(axes) == 1 else None
        waiting.pop()
    return found[id(tensor)]


def chosen_along(tensor: gs.Tensor) -> int | None:
    """The axis along which the file itself takes the best of a tensor; None: it does not."""
    for node in tensor.outputs:
        if node.op in ("ArgMax", "TopK") and tensor.shape is not None:
            axis = node.attrs.get("axis", 0 if node.op == "ArgMax" else -1) % len(tensor.shape)
            return axis or None
    return None


def _made_here(node: gs.Node | None, tensor: gs.Tensor) -> int | None:
    """Where the layer that makes a tensor puts its channels; None: it is none, or unknown."""
    if node is None or tensor.shape is None:
        return None
    return _made_by(node, len(tensor.shape))


def _made_by(node: gs.Node, rank: int) -> int | None:
    """Where a layer with weights puts its channels."""
    if has(node, Fact.CHANNELS_SECOND):
        return 1
    if has(node, Fact.DENSE):
        if is_constant(node.inputs[1]):
            return rank - 1
        return rank - 2 if node.op == "MatMul" and is_constant(node.inputs[0]) else None
    if node.op == "Einsum" and any(map(is_constant, node.inputs)):
        letters, result = subscripts(node)
        pairs = list(zip(node.inputs, letters, strict=True))
        varying = {c for t, term in pairs if not is_constant(t) for c in term}
        new = [c for c in result if c not in varying]
        return result.index(new[0]) if len(new) == 1 else None
    return None


def _follower(node: gs.Node) -> Callable[[gs.Node, gs.Tensor, int], int | None] | None:
    """How an axis of an operand is found in the result; None: nobody knows."""
    if has(node, Fact.PERMUTES):
        return lambda node, operand, axis: axis_behind(node, axis)
    if node.op == "Gather":
        return _gathered
    if node.op == "Einsum":
        return _contracted
    if has(node, Fact.REDUCES):
        return _reduced
    return _aligned if has(node, Fact.ALIGNS | Fact.KEEPS_AXES) else None


def _aligned(node: gs.Node, operand: gs.Tensor, axis: int) -> int | None:
    """Shapes are aligned at the right; one that is broadcast there says nothing."""
    before, after = operand.shape, node.outputs[0].shape
    if before is None or after is None or len(before) > len(after):
        return None
    return axis + len(after) - len(before) if before[axis] != 1 or after[axis] == 1 else None


def _gathered(node: gs.Node, operand: gs.Tensor, axis: int) -> int | None:
    data, indices = operand.shape, node.inputs[1].shape
    if data is None or indices is None:
        return None
    along, rank = node.attrs.get("axis", 0) % len(data), len(indices)
    if axis == along:
        return axis if rank == 1 else None
    return axis if axis < along else axis + rank - 1


def _contracted(node: gs.Node, operand: gs.Tensor, axis: int) -> int | None:
    letters, result = subscripts(node)
    index = next(k for k, tensor in enumerate(node.inputs) if tensor is operand)
    letter = letters[index][axis]
    return result.index(letter) if letter in result else None


def _reduced(node: gs.Node, operand: gs.Tensor, axis: int) -> int | None:
    """None where the classes themselves are reduced."""
    axes = optional_input(node, 1)
    if operand.shape is None or axes is None or not is_constant(axes):
        return None
    gone = {int(a) % len(operand.shape) for a in axes.values.reshape(-1)}
    if axis in gone:
        return None
    return axis if node.attrs.get("keepdims", 1) else axis - sum(a < axis for a in gone)


def axis_behind(node: gs.Node, axis: int | None) -> int | None:
    """Where a node that moves axes puts one; None where that is not known."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if axis is None or has(node, Fact.COPIES | Fact.ARITHMETIC):
        return axis
    if node.op == "Transpose":
        perm = node.attrs.get("perm") or list(range(len(before or [])))[::-1]
        return list(perm).index(axis) if axis in perm else None
    if before is None or after is None:
        return None
    return _same_place(list(before), list(after), axis)


def two_readings(shape: Any) -> tuple[str, str] | None:
    """What [N, a, b, c] may hold, with channels second or last; None: one of them is no map."""
    _, a, b, c = shape
    if a == 1:
        return None
    return f"{a} classes over {b} x {c} places", f"{c} classes over {a} x {b} places"


def _same_place(before: list[Any], after: list[Any], axis: int) -> int | None:
    """The axis of a reshaped tensor with the same length and as many elements inside."""
    inside = before[axis + 1 :]
    for place in range(len(after) - 1, -1, -1):
        rest = after[place + 1 :]
        same = [dim for dim in rest if dim != 1] == [dim for dim in inside if dim != 1]
        alike = same or (is_static([*rest, *inside]) and math.prod(rest) == math.prod(inside))
        if alike and same_dim(after[place], before[axis]):
            return place
    return None
