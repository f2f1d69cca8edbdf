"""If: the branch that sizes decide upon, or a selection between what both branches return."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph.copying import write_out
from ..graph.dims import same_shape
from ..graph.emitter import Emitter
from ..graph.operators import Fact, has
from ..graph.rewriting import rewrite_nodes
from ..graph.sizes import known_sizes
from ..graph.tensors import captured, is_float


def resolve_conditionals(graph: gs.Graph) -> gs.Graph | None:
    """Replace every If that needs none.

    Where sizes that are known decide, the branch taken is written out. Where activations decide
    and the branches read activations, both are, and Where selects: an If has no derivative of its
    own, and both copies of a network must be free to take another branch. That is done only where
    neither branch can fail and both return the same shapes; other Ifs stay.
    """
    return rewrite_nodes(graph, {"If": _resolved})


def _resolved(emit: Emitter, node: gs.Node) -> list[gs.Tensor | None] | None:
    branches = [node.attrs["then_branch"], node.attrs["else_branch"]]
    if any(isinstance(v, gs.Graph) for b in branches for n in b.nodes for v in n.attrs.values()):
        return None
    (condition,) = node.inputs
    decision = decided(condition)
    if decision is not None:
        taken: list[gs.Tensor | None] = [*_written(emit, branches[0 if decision else 1])]
        _forget(branches)
        return taken
    if not captured(node) or not all(map(_can_be_computed, branches)):
        return None
    pairs = list(zip(*(branch.outputs for branch in branches), strict=True))
    if not all(a.shape is not None and same_shape(a.shape, b.shape) for a, b in pairs):
        return None
    if not all(is_float(a) and is_float(b) for a, b in pairs):
        return None
    results = zip(*(_written(emit, branch) for branch in branches), strict=True)
    selected: list[gs.Tensor | None] = []
    for (a, b), (outer, _) in zip(results, pairs, strict=True):
        chosen = emit.Where(condition, a, b)
        chosen.shape = outer.shape
        selected.append(chosen)
    _forget(branches)
    return selected


def _forget(branches: list[gs.Graph]) -> None:
    """Let the tensors around no longer count the branches' nodes among their readers."""
    for branch in branches:
        for node in branch.nodes:
            node.inputs.clear()


def _can_be_computed(branch: gs.Graph) -> bool:
    return all(has(node, Fact.TOTAL) for node in branch.nodes)


def _written(emit: Emitter, branch: gs.Graph) -> list[gs.Tensor]:
    return write_out(emit, branch, {}, "branch", shapes=True)


def decided(condition: gs.Tensor) -> bool | None:
    """What a condition is, where constants and known sizes tell."""
    value = known_sizes(condition)
    if value is None or value.size != 1 or value.item() is None:
        return None
    return bool(value.item())
