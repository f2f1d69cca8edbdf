"""Replacing one node by several: what decompositions and canonical forms are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_graphsurgeon as gs

from onnxplain.graph_passes.emit import Emitter

# (emit, node) -> the tensor that takes the place of the node's first output, or None to leave the
# node.
Rewrite = Callable[[Emitter, gs.Node], "gs.Tensor | None"]


def rewrite_nodes(graph: gs.Graph, rewrites: Mapping[str, Rewrite], only=None) -> bool:
    """Replace, in place, every node whose operator has a rewrite; True when anything changed.

    Args:
        graph: changed in place; the new nodes stand where the old one stood.
        rewrites: operator -> rewrite.
        only: a predicate on nodes; None takes all.
    """
    emit = Emitter(graph, "rewritten")
    changed = False
    for node in list(graph.nodes):
        rewrite = rewrites.get(node.op)
        if rewrite is None or node.domain not in (None, "", "ai.onnx"):
            continue
        if only is not None and not only(node):
            continue
        before = len(graph.nodes)
        result = rewrite(emit, node)
        emitted = graph.nodes[before:]
        del graph.nodes[before:]
        if result is not None:
            _put_in_place(graph, node, emitted, result)
            changed = True
    return changed


def _put_in_place(
    graph: gs.Graph, node: gs.Node, emitted: list[gs.Node], result: gs.Tensor
) -> None:
    position = next(i for i, other in enumerate(graph.nodes) if other is node)
    output = node.outputs[0]
    node.outputs.clear()
    node.inputs.clear()
    producer = result.inputs[0] if result.inputs else None
    if producer is not None and any(producer is other for other in emitted):
        slot = next(i for i, tensor in enumerate(producer.outputs) if tensor is result)
        for consumer in list(result.outputs):
            consumer.inputs = [output if t is result else t for t in consumer.inputs]
        producer.outputs[slot] = output
    else:
        emitted.append(gs.Node("Identity", output.name, {}, [result], [output]))
    graph.nodes[position : position + 1] = emitted
