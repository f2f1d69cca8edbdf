"""Scores before their Sigmoid, wherever it stands: behind it there may be no more than moves.

A detector's output holds boxes and scores side by side, picked and sorted perhaps; each score is a
Sigmoid's somewhere ahead. Moved in the same way, what goes into that Sigmoid is the score's logit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import is_constant, producer_of
from .sigmoid_parts import Kinds, kinds_of, moves

# The numbers of a box.
_SIDES = 4
# No file has so many moves behind each other.
_DEEPEST = 200


class Raw(NamedTuple):
    """An output with the logits of what is a Sigmoid's in it.

    Attributes:
        tensor: in the output's shape; what is no Sigmoid's is as it was.
        leaves: what went into the Sigmoids that were left out.
        others: the operators that make the rest, in the order in which it stands there.
        boxed: whether the four numbers of a box stand ahead that are Sigmoids', too, as DETR's are.
    """

    tensor: gs.Variable
    leaves: tuple[gs.Tensor, ...]
    others: tuple[str, ...]
    boxed: bool = False


def before_sigmoids(graph: gs.Graph, output: gs.Variable) -> Raw | None:
    """The output as if the Sigmoids ahead of its moves had not been applied; None: there are none.

    The graph gains the moves of what goes into them.
    """
    walk = _Walk(graph)
    found = walk.raw(output, 0)
    if found is None or found is output:
        return None
    return Raw(found, tuple(walk.leaves), tuple(walk.others), walk.boxed)


class _Walk:
    """A walk back from an output, which writes each move again where a Sigmoid is ahead of it."""

    def __init__(self, graph: gs.Graph):
        self.leaves: list[gs.Tensor] = []
        self.others: list[str] = []
        self.boxed = False
        self._emit = Emitter(graph, "raw")
        self._found: dict[str, gs.Variable] = {}
        self._kinds: dict[tuple, Kinds] = {}

    def raw(self, tensor: gs.Tensor, depth: int) -> Any:
        """The tensor before its Sigmoids; itself where there are none."""
        if tensor.name not in self._found:
            self._found[tensor.name] = self._raw(tensor, depth)
        return self._found[tensor.name]

    def _raw(self, tensor: gs.Tensor, depth: int) -> Any:
        node, kinds = producer_of(tensor), kinds_of(tensor, self._kinds)
        if node is None or depth > _DEEPEST or True not in kinds:
            return self._other(tensor)
        if node.op == "Sigmoid":
            self.leaves.append(node.inputs[0])
            return node.inputs[0]
        if moves(node) or (node.op == "ReduceMax" and False not in kinds):
            return self._moved(tensor, node, depth)
        if node.op == "ScatterND":
            return self._scattered(tensor, node, depth)
        if node.op == "Concat":
            return self._side_by_side(tensor, node, depth)
        if node.op == "TopK" and tensor is node.outputs[0]:
            return self._picked(tensor, node, depth)
        factor = _class_factor(node)
        if factor is not None:
            return self._product(tensor, node, factor, depth)
        return self._other(tensor)

    def _other(self, tensor: gs.Tensor) -> Any:
        """Itself, and a note of the operator that made it ahead of all moves."""
        made, node = tensor, producer_of(tensor)
        while node is not None and (moves(node) or node.op == "Concat"):
            made = node.inputs[0]
            node = producer_of(made)
        if not is_constant(made):
            self.others.append("" if node is None else node.op)
        return tensor

    def _scattered(self, tensor: gs.Tensor, node: gs.Node, depth: int) -> Any:
        """What is written into other numbers: each before its Sigmoids."""
        data, places, updates = node.inputs
        own = [self.raw(data, depth + 1), places, self.raw(updates, depth + 1)]
        return self._again(tensor, node, own)

    def _moved(self, tensor: gs.Tensor, node: gs.Node, depth: int) -> Any:
        return self._again(tensor, node, [self.raw(node.inputs[0], depth + 1)], node.inputs[1:])

    def _side_by_side(self, tensor: gs.Tensor, node: gs.Node, depth: int) -> Any:
        """Parts behind each other; four numbers ahead of other Sigmoids' are a box, as it is."""
        begin, place = len(self.leaves), len(self.others)
        ahead, *rest = node.inputs
        parts = [self.raw(ahead, depth + 1)]
        end = len(self.leaves)
        parts += [self.raw(t, depth + 1) for t in rest]
        classes = any(part is not own for part, own in zip(parts[1:], rest, strict=True))
        if parts[0] is not ahead and classes and _length(ahead, node.attrs["axis"]) == _SIDES:
            parts[0], self.boxed = ahead, True
            del self.leaves[begin:end]
            self.others.insert(place, "Sigmoid")
        return self._again(tensor, node, parts)

    def _again(self, tensor, node: gs.Node, parts: list, more=()) -> Any:
        """The node once more, with other inputs."""
        if all(own is t for own, t in zip(parts, node.inputs, strict=False)):
            return tensor
        made = self._emit.many(node.op, len(node.outputs), *parts, *more, **node.attrs)
        for own, other in zip(made, node.outputs, strict=True):
            own.shape = other.shape
        return made[next(k for k, t in enumerate(node.outputs) if t is tensor)]

    def _picked(self, tensor: gs.Tensor, node: gs.Node, depth: int) -> Any:
        """What TopK picks, by the places that it says: a Sigmoid keeps the order."""
        whole = self.raw(node.inputs[0], depth + 1)
        if whole is node.inputs[0]:
            return tensor
        axis = node.attrs.get("axis", -1)
        picked = self._emit.GatherElements(whole, node.outputs[1], axis=axis)
        picked.shape = tensor.shape
        return picked

    def _product(self, tensor, node: gs.Node, factor: int, depth: int) -> Any:
        """Of objectness times class the class: its logit, in the product's shape."""
        own = self.raw(node.inputs[factor], depth + 1)
        return tensor if own is node.inputs[factor] else own


def _length(tensor: gs.Tensor, axis: int) -> Any:
    """How long a tensor is along an axis, where that is known."""
    shape = tensor.shape
    return None if not shape or not -len(shape) <= axis < len(shape) else shape[axis]


def _class_factor(node: gs.Node) -> int | None:
    """Which factor of a product is as large as it; None: both or neither are."""
    if node.op != "Mul" or len(node.inputs) != 2 or node.outputs[0].shape is None:
        return None
    whole = list(node.outputs[0].shape)
    alike = [list(t.shape or []) == whole for t in node.inputs]
    ones = [bool(t.shape) and t.shape[-1] == 1 for t in node.inputs]
    for k in (0, 1):
        if alike[k] and ones[1 - k] and not alike[1 - k]:
            return k
    return None
