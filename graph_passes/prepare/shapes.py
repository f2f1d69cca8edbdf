"""Shapes: inferred again by ONNX, and what is computed from known ones as constants."""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from ..graph.inference import inferred
from ..graph.operators import Fact, has
from ..graph.sizes import size_read
from ..graph.tensors import is_constant
from .conditionals import resolve_conditionals
from .folding import fold


def infer_shapes(graph: gs.Graph) -> gs.Graph:
    """The same graph with every shape and type that ONNX's inference can tell."""
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.inputs:
            tensor.shape = None
    return gs.import_onnx(with_shapes(gs.export_onnx(graph, do_type_check=False)))


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what ONNX's inference, following sizes as values too, can tell; in place."""
    found, graph = inferred(model), model.graph
    for part in ("node", "output", "value_info"):
        graph.ClearField(part)
        getattr(graph, part).extend(getattr(found, part))
    return model


def fold_sizes(graph: gs.Graph, grown: int | None = None) -> gs.Graph | None:
    """Compute what follows from known shapes, and decide the Ifs that it decides; see `fold`.

    One round: what it makes constant may have made further shapes known.
    """
    changed = _sizes_to_constants(graph)
    if changed:
        fold(graph, grown)
    if resolve_conditionals(graph):
        fold(graph, grown)
        changed = True
    return graph if changed else None


def _sizes_to_constants(graph: gs.Graph) -> bool:
    """Replace Shape and Size of known shapes by constants; True when there were any."""
    found = False
    for node in graph.nodes:
        if not has(node, Fact.SIZES) or is_constant(node.inputs[0]):
            continue
        value = size_read(node)
        if value is None:
            continue
        output = node.outputs[0]
        node.outputs.clear()
        output.to_constant(value)
        found = True
    return found
