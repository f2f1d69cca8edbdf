"""Where a slope may be infinite: the roots, quotients and logarithms that are not kept off 0.

Behind such an operator a cotangent may be infinite where a mask is 0, and their product would be
NaN where PyTorch selects and gets 0: sqrt(relu(x)) at x < 0. The walk asks `doubtful` which
cotangents these are, and masks there select, too, which ONNX Runtime does several times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.operators import Fact, facts_of, has
from ..graph.tensors import Node, is_constant


class Sign(IntEnum):
    """What is known of a tensor's elements."""

    ANY = 0
    NEVER_NEGATIVE = 1
    POSITIVE = 2


class Signs:
    """The signs that a graph's structure shows, found in one pass over its nodes in order."""

    def __init__(self, nodes: Iterable[gs.Node]):
        self._known: dict[str, Sign] = {}
        for node in nodes:
            sign = self._of_output(node)
            if sign:
                self._known.update((output.name, sign) for output in node.outputs)

    def of(self, tensor: gs.Tensor) -> Sign:
        """The sign of a constant's values, or of what a node makes."""
        if not is_constant(tensor):
            return self._known.get(tensor.name, Sign.ANY)
        values = np.asarray(tensor.values)
        if not values.size or values.dtype.kind not in "iuf" or not np.all(values >= 0):
            return Sign.ANY
        return Sign.POSITIVE if np.all(values > 0) else Sign.NEVER_NEGATIVE

    def _of_output(self, node: gs.Node) -> Sign:
        operands = [tensor for tensor in node.inputs if tensor.name]
        if has(node, Fact.POSITIVE):
            return Sign.POSITIVE
        if not operands:
            return Sign.ANY
        signs = [self.of(tensor) for tensor in operands]
        own = Sign.NEVER_NEGATIVE if has(node, Fact.NEVER_NEGATIVE) else Sign.ANY
        if node.op in ("Add", "Sum"):
            own = max(signs) if min(signs) else Sign.ANY
        elif node.op == "Max":
            own = max(signs)
        elif node.op == "Clip":
            low = signs[1] if len(node.inputs) > 1 and node.inputs[1].name else Sign.ANY
            own = max(low, signs[0] if len(operands) == 1 + bool(low) else Sign.ANY)
        elif node.op == "Where":
            own = min(signs[1:])
        elif node.op == "Mul" and operands[0] is operands[-1]:
            own = max(signs[0], Sign.NEVER_NEGATIVE)
        elif node.op == "Reciprocal":
            own = signs[0]
        elif node.op == "Pow":
            exponent = np.asarray(operands[1].values) if is_constant(operands[1]) else None
            even = exponent is not None and bool(np.all(exponent % 2 == 0))
            own = max(signs[0], Sign.NEVER_NEGATIVE if even else Sign.ANY)
        elif has(node, Fact.KEEPS_SIGNS):
            own = min(signs)
        elif has(node, Fact.KEEPS_SIGN):
            own = signs[0]
        return own


def is_singular(node: gs.Node, varying: Sequence[int], signs: Signs) -> bool:
    """True when the slope by a varying operand may be infinite at a value that occurs."""
    if has(node, Fact.STEEP_AT_ENDS):
        return True
    pole = facts_of(node).pole
    if pole is None or signs.of(node.inputs[pole]) == Sign.POSITIVE:
        return False
    return not _is_bounded_power(node) if node.op == "Pow" else pole in varying


def _is_bounded_power(node: gs.Node) -> bool:
    """Whether the slope of x^p is finite at 0: p is 0, or 1 and more."""
    exponent = node.inputs[1]
    values = np.asarray(exponent.values) if is_constant(exponent) else None
    return values is not None and bool(np.all((values >= 1) | (values == 0)))


def is_steep(node: Node) -> bool:
    """True when the slope may be infinite at a number that an operand takes."""
    return has(node, Fact.STEEP_AT_ENDS) or facts_of(node).pole is not None


def doubtful(
    graph: gs.Graph, nodes: Sequence[gs.Node], operands: Callable[[gs.Node], Sequence[int]]
) -> set[int]:
    """The nodes (by id) whose own cotangents may be infinite.

    Args:
        graph: the whole graph, in order.
        nodes: of the path, in order.
        operands: node -> its varying operands.
    """
    signs = Signs(graph.nodes)
    found: set[int] = set()
    names: set[str] = set()
    for node in reversed(nodes):
        reached = any(tensor.name in names for tensor in node.outputs)
        if reached:
            found.add(id(node))
        varying = operands(node)
        if reached or is_singular(node, varying, signs):
            names.update(node.inputs[k].name for k in varying)
    return found
