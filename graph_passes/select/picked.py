"""What a detector's file picks its boxes from: the scores ahead of TopK, NonMaxSuppression, a mask.

Which box stands in which place of such an output depends on the picture. A box that is explained
is one place ahead of all picking, the same in every other picture: the baseline, a masked copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.operators import Fact, has
from ..graph.reach import find_reach
from ..graph.tensors import is_constant, is_float, producer_of
from ..graph.twins import changing_names
from .rows.places import Place, Rows
from .sigmoid_parts import moves

# What picks the greatest.
_BEST = "TopK", "ReduceMax"
# What says where the greatest is.
_PLACES = "TopK", "ArgMax"


class Head(NamedTuple):
    """What scores are picked from, the rows first.

    Attributes:
        tensor: all its numbers: its only part, or [N, K], the parts' behind each other.
        parts: the tensors that the elements come from.
    """

    tensor: gs.Tensor
    parts: tuple[gs.Tensor, ...]

    def moved_to(self, tensors: Mapping[str, gs.Tensor]) -> Head:
        """The same in another graph that has its tensors, by name."""
        return Head(tensors[self.tensor.name], tuple(tensors[t.name] for t in self.parts))


def picked_from(
    graph: gs.Graph, logits: gs.Variable, starts: Sequence[gs.Tensor], rows: Mapping[str, Rows]
) -> Head | None:
    """What the elements of `logits` are picked from by values; the graph gains its tensor.

    None: nothing is picked, or a tensor has no rows on its first axis.
    """
    changing = changing_names(graph, starts)
    picked = _picked_names(graph, changing)
    if logits.name not in picked:
        return None
    varying = find_reach(graph, starts, [logits]).varying
    found = _heads(logits, picked, varying, rows)
    if not found:
        return None
    if len(found) == 1:
        return Head(found[0], tuple(found))
    emit = Emitter(graph, "picked")
    flat = [emit.cast_like(emit.Flatten(t, axis=1), logits) for t in found]
    whole = emit.Concat(*flat, axis=1)
    whole.shape = [found[0].shape[0], None]
    return Head(whole, tuple(found))


def picks_inside(
    graph: gs.Graph, starts: Sequence[gs.Tensor], end: gs.Tensor, rows: Mapping[str, Rows]
) -> tuple[gs.Variable, ...]:
    """Which places TopK or ArgMax picked, for the network to go on with ahead of `end`.

    So RT-DETR's queries come from the encoder: those of its places whose scores are best. With
    other places a query is another, and its score is no score of the same box. Each found tensor
    has its rows first. TopK's values are read by its places from here on.
    """
    changing = changing_names(graph, starts)
    path = find_reach(graph, starts, [end])
    waiting = [
        node.inputs[1]
        for node in path.nodes
        if _reads_by_index(node) and 0 in path.operands(node) and node.inputs[1].name in changing
    ]
    found, seen = dict[str, gs.Variable](), set[str]()
    while waiting:
        one = waiting.pop()
        node = producer_of(one)
        if one.name in seen or one.name not in changing or is_float(one) or node is None:
            continue
        seen.add(one.name)
        if node.op not in _PLACES:
            waiting += node.inputs
        elif rows.get(one.name) == Place(0) and one.shape:
            found[one.name] = one
    for tensor in found.values():
        _by_its_places(graph, tensor.inputs[0])
    return tuple(found.values())


def _by_its_places(graph: gs.Graph, node: gs.Node) -> None:
    """Let what reads TopK's values read its input in the places that it says."""
    values = node.outputs[0]
    if node.op != "TopK" or not values.outputs or any(values is t for t in graph.outputs):
        return
    own = Emitter(graph, "picks").GatherElements(
        node.inputs[0], node.outputs[1], axis=node.attrs.get("axis", -1)
    )
    own.shape = values.shape
    for reader in list(values.outputs):
        reader.inputs = [own if t is values else t for t in reader.inputs]


def _picked_names(graph: gs.Graph, changing: set[str]) -> set[str]:
    """Names of the tensors whose elements come from further ahead, which ones by the values."""
    picked = set[str]()
    for node in graph.nodes:
        ahead = _moved(node)
        if ahead and (_picks(node, changing) or any(t.name in picked for t in ahead)):
            picked.update(t.name for t in node.outputs if is_float(t))
    return picked


def _picks(node: gs.Node, changing: set[str]) -> bool:
    """Whether a node picks by values itself."""
    if node.op in _BEST:
        return True
    return _reads_by_index(node) and node.inputs[1].name in changing


def _reads_by_index(node: gs.Node) -> bool:
    return has(node, Fact.BY_INDEX) or node.op == "Gather"


def _heads(
    tensor: gs.Tensor, picked: set[str], varying: set[str], rows: Mapping[str, Rows]
) -> list[gs.Tensor]:
    """The tensors ahead of all picks that its elements come from, each once, their rows first.

    Nothing, if one has its rows elsewhere.
    """
    found: dict[str, gs.Tensor] = {}
    waiting, seen = [tensor], set[str]()
    while waiting:
        one = waiting.pop()
        if one.name in seen or one.name not in varying:
            continue
        seen.add(one.name)
        first = rows.get(one.name) == Place(0)
        if first and one.name not in picked:
            found[one.name] = one
            continue
        ahead = _moved(producer_of(one))
        if not ahead:
            return []
        waiting += reversed(ahead)
    return list(found.values())


def _moved(node: gs.Node | None) -> list[gs.Tensor]:
    """The inputs whose elements a node moves to its output, or weighs and adds; else none."""
    if node is None:
        return []
    constant = [is_constant(t) for t in node.inputs]
    if node.op in ("Add", "Sub") and not any(constant):
        return list(node.inputs)
    if (node.op == "Mul" and any(constant)) or (node.op == "Div" and constant[1]):
        return [t for t, fixed in zip(node.inputs, constant, strict=True) if not fixed]
    if node.op == "Concat":
        own = list(node.inputs)
    elif node.op == "ScatterND" and node.attrs.get("reduction", "none") == "none":
        own = [node.inputs[0], node.inputs[2]]
    elif moves(node) or node.op in _BEST:
        own = [node.inputs[0]]
    else:
        return []
    return [t for t in own if not is_constant(t)]
