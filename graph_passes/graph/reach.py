"""Reach: the nodes that depend on some tensors and lead to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

from .tensors import is_constant, is_float, read_by


class Reach(NamedTuple):
    """What lies between the explained tensors and the score."""

    nodes: list[gs.Node]
    varying: set[str]

    def operands(self, node: gs.Node) -> list[int]:
        """The node's operands that depend on the explained tensors."""
        return [k for k, tensor in enumerate(node.inputs) if tensor.name in self.varying]


def find_reach(graph: gs.Graph, start: Sequence[gs.Tensor], end: Sequence[gs.Tensor]) -> Reach:
    """Nodes that depend on a float tensor of `start` and reach one of `end`, in order."""
    varying = {tensor.name for tensor in start}
    dependent = []
    for node in graph.nodes:
        if not varying.isdisjoint(read_by(node)):
            dependent.append(node)
            varying.update(
                t.name for t in node.outputs if t.name and is_float(t) and not is_constant(t)
            )
    wanted = {tensor.name for tensor in end}
    nodes = []
    for node in reversed(dependent):
        if any(t.name in wanted and t.name in varying for t in node.outputs):
            nodes.append(node)
            wanted.update(varying.intersection(read_by(node)))
    return Reach(nodes[::-1], varying)
