"""A second copy of the forward graph, for the baseline.

Each tensor's twin is its value at the baseline.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from .copying import copy_nodes
from .emitter import Emitter
from .names import of_the_baseline
from .operators import Fact, has
from .tensors import Value, captured, read_by
from .terms import Emitted, NodeView


class TwinEmitter(Emitter):
    """An emitter that knows every tensor's and node's twin in the baseline's copy of the graph."""

    def __init__(self, graph: gs.Graph, prefix: str = "explain"):
        super().__init__(graph, prefix)
        self._starts: set[str] = set()
        self._changing: set[str] = set()
        self._tensors: dict[str, gs.Tensor] = {}
        self._nodes: dict[int, gs.Node] = {}

    def add_twins(
        self,
        baselines: Sequence[tuple[gs.Tensor, gs.Tensor]],
        ends: Sequence[gs.Tensor],
        shapes: bool = False,
        held: Collection[gs.Tensor] = (),
    ) -> None:
        """Copy every node between the starts and `ends`, with baselines in the place of the starts.

        `baselines` pairs each start with its baseline.

        What does not depend on the input's values is shared. So are Shape and Size, since baseline
        and input have one shape, unless `shapes` asks for a copy that needs nothing of the input;
        and what is `held`: it is at the baseline as it is at the input.

        Raises:
            UnsupportedModelError: a subgraph reads what depends on the input.
        """
        starts = [start for start, _ in baselines]
        self._starts.update(start.name for start in starts)
        self._changing = _followed(self.graph, starts, False, held)[1]
        self._tensors.update({start.name: baseline for start, baseline in baselines})
        for node in nodes_between(self.graph, starts, ends, shapes, held):
            inside = sorted(captured(node) & self._changing)
            if inside:
                raise UnsupportedModelError(
                    f"the subgraph of {node.op} (node {node.name or 'unnamed'!r}) reads "
                    f"{inside[0]!r}, which depends on the input"
                )
            copied = copy_nodes(self.graph, [node], self._tensors, self._twin_of, _twin_name)
            self._nodes[id(node)] = copied[0]

    def _twin_of(self, node: gs.Node, tensor: gs.Tensor) -> gs.Tensor:
        del node
        return Emitted(self, self.name("baseline"), tensor.dtype, tensor.shape)

    def twin(self, tensor: Value) -> Any:
        """The tensor's value at the baseline; itself where it does not depend on the input."""
        return self.term(self._tensors.get(tensor.name, tensor))

    def twin_node(self, node: NodeView) -> NodeView:
        """The node's copy at the baseline; itself where it does not depend on the input."""
        twin = self._nodes.get(id(node.node))
        return node if twin is None else NodeView(self, twin)

    def depends(self, tensor: Value) -> bool:
        """True when the tensor's value changes with the input's."""
        return tensor.name in self._changing and tensor.name in self._tensors


def _twin_name(node: gs.Node) -> str:
    return of_the_baseline(node.name or node.outputs[0].name)


def changing_names(graph: gs.Graph, starts: Sequence[gs.Tensor]) -> set[str]:
    """Names of the tensors, of any type, whose values change with those of `starts`."""
    return _depending(graph, starts, shapes=False)


def sizes_and_values_of(graph: gs.Graph, starts: Sequence[gs.Tensor]) -> set[str]:
    """Names of the tensors that depend on the values of `starts`, or on their sizes."""
    return _depending(graph, starts, shapes=True)


def _depending(graph: gs.Graph, starts: Sequence[gs.Tensor], shapes: bool) -> set[str]:
    """Names of the tensors that depend on `starts`, with `shapes` also if only on their size."""
    return _followed(graph, starts, shapes)[1]


def _followed(
    graph: gs.Graph, starts: Sequence[gs.Tensor], shapes: bool, held: Collection[gs.Tensor] = ()
) -> tuple[list[gs.Node], set[str]]:
    """The nodes that depend on `starts`, and the names of what they make.

    Without `shapes` a Shape or Size ends the way, but for tensors whose length the values decide:
    as many boxes as NonMaxSuppression keeps, as many places as NonZero finds. What is `held` ends
    it, too.
    """
    given = {tensor.name for tensor in held}
    nodes, changing, counted = [], {start.name for start in starts}, set[str]()
    for node in graph.nodes:
        read = read_by(node)
        known = not shapes and has(node, Fact.SIZES) and counted.isdisjoint(read)
        made = [t.name for t in node.outputs if t.name]
        if known or changing.isdisjoint(read) or not given.isdisjoint(made):
            continue
        nodes.append(node)
        changing.update(made)
        if has(node, Fact.BY_VALUES) or not counted.isdisjoint(read):
            counted.update(made)
    return nodes, changing


def nodes_between(
    graph: gs.Graph,
    starts: Sequence[gs.Tensor],
    ends: Sequence[gs.Tensor],
    shapes: bool,
    held: Collection[gs.Tensor] = (),
) -> list[gs.Node]:
    """Nodes of any type that depend on `starts` and reach one of `ends`, in order.

    With `shapes` also those that depend on sizes alone; without what is ahead of `held` alone.
    """
    dependent, _ = _followed(graph, starts, shapes, held)
    needed = {tensor.name for tensor in ends}
    chosen = []
    for node in reversed(dependent):
        if any(t.name in needed for t in node.outputs):
            chosen.append(node)
            needed.update(read_by(node))
    return chosen[::-1]
