"""Graphs for a GPU in the opset whose operators ONNX Runtime's CUDA provider has kernels for.

ONNX Runtime takes a kernel whose versions have no end only for the version they begin with. Opsets
19 to 25 give ConstantOfShape, Equal, Flatten, Identity, Pad, ReduceMax, Size, MaxPool and others
new versions that only take more types, and CUDA's kernels, which begin with older ones, are passed
over: 49 of the 683 nodes of the demo model's DeepLIFT would be computed on the CPU, with copies to
and fro. By the table of the tests, what is written in opset 18 finds a kernel for every node.
"""

from __future__ import annotations

import math

import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.rewriting import of_terms, rewrite_nodes
from ..graph.tensors import onnx_type
from ..graph.terms import NodeView, Term

OPSET = 18
_STANDARD = ("", "ai.onnx")
# Their attributes or defaults mean other things in opset 18.
_CHANGED = {"DFT", "GridSample", "GroupNormalization"}
# Values that attributes do not have in opset 18.
_LATER = {
    "mode": {"wrap"},
    "coordinate_transformation_mode": {"half_pixel_symmetric"},
}


def to_cuda_opset(graph: gs.Graph) -> None:
    """Write the graph in opset 18, in place; it stays as it is where a node needs a newer one."""
    if graph.opset <= OPSET or not _all_fit(graph, {"Gelu"}):
        return
    rewrite_nodes(graph, {"Gelu": of_terms(_gelu)})
    _declare(graph)


def _all_fit(graph: gs.Graph, rewritten: set[str]) -> bool:
    return all(
        (node.op in rewritten or _fits(node, graph.opset)) and all(map(_fit_inside, _bodies(node)))
        for node in graph.nodes
    )


def _fit_inside(body: gs.Graph) -> bool:
    return _all_fit(body, set())


def _bodies(node: gs.Node) -> list[gs.Graph]:
    return [body for body in node.attrs.values() if isinstance(body, gs.Graph)]


def _declare(graph: gs.Graph) -> None:
    graph.opset = OPSET
    others = [o for o in graph.import_domains or [] if o.domain not in _STANDARD]
    graph.import_domains = [onnx.helper.make_opsetid("", OPSET), *others]
    for node in graph.nodes:
        for body in _bodies(node):
            _declare(body)


def _fits(node: gs.Node, opset: int) -> bool:
    """Whether the node means the same in opset 18."""
    if node.domain and node.domain not in _STANDARD:
        return True
    if node.op in _CHANGED or not onnx.defs.has(node.op, OPSET):
        return False
    now, then = (onnx.defs.get_schema(node.op, version) for version in (opset, OPSET))
    if now.since_version == then.since_version:
        return True
    if then.deprecated or len(node.inputs) > then.max_input:
        return False
    if any(k not in then.attributes or v in _LATER.get(k, ()) for k, v in _set(node)):
        return False
    return _takes_types(node.inputs, then.inputs, then) and _takes_types(
        node.outputs, then.outputs, then
    )


def _set(node: gs.Node) -> list[tuple[str, object]]:
    """Attributes, with their values where those are words."""
    # Rounding up, later versions count the windows and their elements in another way.
    if node.op == "AveragePool" and node.attrs.get("ceil_mode"):
        return [("ceil_mode of later versions", 1)]
    return [(k, v if isinstance(v, str) else None) for k, v in node.attrs.items()]


def _takes_types(tensors, formal, schema: onnx.defs.OpSchema) -> bool:
    """Whether an operator takes these tensors; one of unknown type counts as taken."""
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    for index, tensor in enumerate(tensors):
        if not tensor.name or tensor.dtype is None:
            continue
        constraint = formal[min(index, len(formal) - 1)].type_str
        name = onnx.TensorProto.DataType.Name(onnx_type(tensor.dtype)).lower()
        if f"tensor({name})" not in allowed.get(constraint, [constraint]):
            return False
    return True


def _gelu(emit: Emitter, node: NodeView) -> Term:
    """x Phi(x), new in opset 20, in the form that ONNX Runtime fuses into one kernel again."""
    x = node.inputs[0]
    if node.attrs.get("approximate", "none") == "tanh":
        cube = x * x * x
        inner = (x + cube * 0.044715) * math.sqrt(2 / math.pi)
        gate = emit.Tanh(inner) + 1.0
    else:
        gate = emit.Erf(x / math.sqrt(2)) + 1.0
    return x * gate * 0.5
