"""What every path crosses, and what stands before and behind a tensor."""

from __future__ import annotations

from collections.abc import Callable, Container

import onnx_graphsurgeon as gs

from ..graph.operators import Fact, has
from ..graph.reach import Reach
from .positions.flow import Flow


def dominators(path: Reach, start: gs.Variable) -> list[gs.Variable]:
    """Tensors before the score that every path from the start to it crosses, in order.

    One sweep over the nodes in order keeps the number of tensors that are made but not used up: a
    tensor is crossed by every path exactly if, once it is made, nothing else made before it is used
    later.
    """
    last_use: dict[str, int] = {}
    for index, node in enumerate(path.nodes):
        for operand in path.operands(node):
            last_use[node.inputs[operand].name] = index
    open_until = last_use.get(start.name, -1)
    crossed = []
    for index, node in enumerate(path.nodes):
        made = [t for t in node.outputs if t.name in path.varying and t.name in last_use]
        if open_until <= index and len(made) == 1:
            crossed.append(made[0])
        open_until = max([open_until, *(last_use[t.name] for t in made)])
    return crossed


def behind_weights(path: Reach) -> set[str]:
    """Names of the tensors that a Conv, Gemm or the like stands before: the rest is the image."""
    learnt: set[str] = set()
    for node in path.nodes:
        if has(node, Fact.WEIGHTED) or any(t.name in learnt for t in node.inputs):
            learnt.update(t.name for t in node.outputs)
    return learnt


def feeds_weights(tensor: gs.Variable, path: Reach) -> bool:
    """True when a Conv, Gemm or the like stands between this tensor and the score."""
    return any(has(node, Fact.WEIGHTED) for node in nodes_behind(tensor, path))


def nodes_behind(tensor: gs.Variable, path: Reach) -> list[gs.Node]:
    """The path's nodes that depend on a tensor."""
    reached, nodes = {tensor.name}, []
    for node in path.nodes:
        if any(t.name in reached for t in node.inputs):
            nodes.append(node)
            reached.update(t.name for t in node.outputs)
    return nodes


def last_of_a_branch(
    tensor: gs.Variable,
    path: Reach,
    weighing: Container[int],
    fits: Callable[[gs.Variable], bool],
) -> str | None:
    """The last tensor that fits behind a tensor and some of these nodes (by id), if there is one.

    Of a tensor that is the last which every path crosses: then only a branch goes through it.
    """
    reached, found = set[str](), None
    for node in nodes_behind(tensor, path):
        if id(node) in weighing or any(t.name in reached for t in node.inputs):
            reached.update(made.name for made in node.outputs)
            found = next((made.name for made in node.outputs if fits(made)), found)
    return found


def crossed_by_places(path: Reach, flow: Flow, base: gs.Variable) -> list[gs.Variable]:
    """Tensors behind `base` that all of its places go through until attention reads them.

    The same sweep, over those operands alone through which places reach the score. Nothing is
    crossed any more where the first of them are read as keys or values; nothing at all where some
    are pooled instead: `base` itself is what is pooled then.
    """
    told, last_use = {base.name}, {}
    made_at: dict[int, list[gs.Variable]] = {}
    left = len(path.nodes)
    for index, node in enumerate(path.nodes):
        operands = [k for k in path.operands(node) if (index, k) in flow.carried]
        read = told.intersection(node.inputs[k].name for k in operands)
        if read:
            made_at[index] = [t for t in node.outputs if flow.still_told(t)]
            told.update(t.name for t in made_at[index])
            last_use.update(dict.fromkeys(read, index))
            if not made_at[index]:
                if node.op not in ("MatMul", "Einsum") or len(path.operands(node)) < 2:
                    return []
                left = min(left, index)
    open_until, crossed = last_use.get(base.name, left), []
    for index, made in made_at.items():
        if open_until <= index < left and len(made) == 1:
            crossed.append(made[0])
        open_until = max([open_until, *(last_use.get(t.name, left) for t in made)])
    return crossed
