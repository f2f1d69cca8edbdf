"""Writing nodes out a second time: a branch, a step of a loop, the network at the baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from .emitter import Emitter


def copy_nodes(
    graph: gs.Graph,
    nodes: Iterable[gs.Node],
    made: dict[str, Any],
    fresh: Callable[[gs.Node, gs.Tensor], gs.Tensor],
    name: Callable[[gs.Node], str],
) -> list[gs.Node]:
    """Append a copy of each node; returns the copies.

    Args:
        graph: what they are appended to.
        nodes: in order.
        made: for a tensor's name what stands in its place; the copies' own outputs are added.
        fresh: (node, one of its outputs) -> the output of the copy.
        name: node -> the copy's name.
    """
    copies = []
    for node in nodes:
        inputs = [made.get(tensor.name, tensor) for tensor in node.inputs]
        outputs = [fresh(node, t) if t.name else gs.Variable.empty() for t in node.outputs]
        copy = gs.Node(node.op, name(node), dict(node.attrs), inputs, outputs, domain=node.domain)
        graph.nodes.append(copy)
        pairs = zip(node.outputs, outputs, strict=True)
        made.update({old.name: new for old, new in pairs if old.name})
        copies.append(copy)
    return copies


def write_out(
    emit: Emitter, body: gs.Graph, made: dict[str, Any], called: str, shapes: bool
) -> list[gs.Tensor]:
    """Emit a subgraph's nodes under new names; returns its outputs.

    Args:
        emit: what emits them.
        body: a subgraph without subgraphs.
        made: what stands in the place of its inputs, by name.
        called: what the nodes are named.
        shapes: whether shapes are the same there.
    """

    def fresh(node: gs.Node, tensor: gs.Tensor) -> gs.Tensor:
        shape = tensor.shape if shapes else None
        return gs.Variable(emit.name(node.op), dtype=tensor.dtype, shape=shape)

    made = dict(made)
    for node in body.nodes:
        value = node.attrs.get("value")
        if node.op == "Constant" and isinstance(value, gs.Constant):
            made[node.outputs[0].name] = emit.constant(np.asarray(value.values))
        else:
            copy_nodes(emit.graph, [node], made, fresh, lambda node: emit.name(called))
    return [made.get(tensor.name, tensor) for tensor in body.outputs]
