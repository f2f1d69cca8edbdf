"""Replacing one node by several: what decompositions and canonical forms are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeAlias

import onnx_graphsurgeon as gs

from .emitter import Emitter
from .tensors import Value, operator_name
from .terms import NodeView, lowered

# What takes the place of a node's first output (a list: of several), or None: the node stays.
Results: TypeAlias = "Value | list[Any] | None"
Rewrite = Callable[[Emitter, gs.Node], Results]
# The same, written as rules are: what goes in are terms.
Formula = Callable[[Emitter, NodeView], Results]


def of_terms(formula: Formula) -> Rewrite:
    """The rewrite by a formula."""

    @wraps(formula)
    def rewrite(emit: Emitter, node: gs.Node) -> Results:
        return formula(emit, NodeView(emit, node))

    return rewrite


def rewrite_nodes(
    graph: gs.Graph, rewrites: Mapping[str, Rewrite], only=None, prefix: str = "rewritten"
) -> gs.Graph | None:
    """Replace, in place, every node whose operator has a rewrite; returns the graph, or None.

    Args:
        graph: changed in place; the new nodes stand where the old one stood.
        rewrites: operator -> rewrite.
        only: a predicate on nodes; None takes all.
        prefix: what the names of new tensors begin with.
    """
    emit = Emitter(graph, prefix, bounded=True)
    changed, position = False, 0
    while position < len(graph.nodes):
        node = graph.nodes[position]
        rewrite = rewrites.get(operator_name(node))
        if rewrite is None or (only is not None and not only(node)):
            position += 1
            continue
        before = len(graph.nodes)
        result = rewrite(emit, node)
        emitted = graph.nodes[before:]
        del graph.nodes[before:]
        if result is None:
            position += 1
            continue
        results = result if isinstance(result, list) else [result]
        _under_its_names(node, emitted, results)
        graph.nodes[position : position + 1] = emitted
        position += len(emitted)
        changed = True
    return graph if changed else None


def _under_its_names(
    node: gs.Node, emitted: list[gs.Node], results: Sequence[Value | None]
) -> None:
    """Add to the emitted nodes what hands on their results, by the names of the node's outputs."""
    outputs = list(node.outputs)
    node.outputs.clear()
    node.inputs.clear()
    for output, result in zip(outputs, results, strict=False):
        if result is not None and output.name:
            # Under the old node's name, since users name layers by their nodes too.
            name = (node.name if output is outputs[0] else None) or output.name
            emitted.append(gs.Node("Identity", name, {}, [lowered(result)], [output]))
