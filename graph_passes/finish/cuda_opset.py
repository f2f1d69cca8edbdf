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
from ..graph.terms import NodeView, Term
from .opset_facts import STANDARD, fits

OPSET = 18


def to_cuda_opset(graph: gs.Graph) -> None:
    """Write the graph in opset 18, in place; it stays as it is where a node needs a newer one."""
    if graph.opset <= OPSET or not _all_fit(graph, {"Gelu"}):
        return
    rewrite_nodes(graph, {"Gelu": of_terms(gelu)})
    declare(graph, OPSET)


def _all_fit(graph: gs.Graph, rewritten: set[str]) -> bool:
    return all(
        (node.op in rewritten or fits(node, graph.opset, OPSET))
        and all(map(_fit_inside, bodies(node)))
        for node in graph.nodes
    )


def _fit_inside(body: gs.Graph) -> bool:
    return _all_fit(body, set())


def bodies(node: gs.Node) -> list[gs.Graph]:
    """A node's subgraphs."""
    return [body for body in node.attrs.values() if isinstance(body, gs.Graph)]


def declare(graph: gs.Graph, opset: int) -> None:
    """Say, in place, that a graph is written in this opset, and so are its subgraphs."""
    graph.opset = opset
    others = [o for o in graph.import_domains or [] if o.domain not in STANDARD]
    graph.import_domains = [onnx.helper.make_opsetid("", opset), *others]
    for node in graph.nodes:
        for body in bodies(node):
            declare(body, opset)


def gelu(emit: Emitter, node: NodeView) -> Term:
    """x Phi(x), new in opset 20, in the form that ONNX Runtime fuses into one kernel again."""
    x = node.inputs[0]
    if node.attrs.get("approximate", "none") == "tanh":
        cube = x * x * x
        inner = (x + cube * 0.044715) * math.sqrt(2 / math.pi)
        gate = emit.Tanh(inner) + 1.0
    else:
        gate = emit.Erf(x / math.sqrt(2)) + 1.0
    return x * gate * 0.5
