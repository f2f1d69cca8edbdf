"""Finding attention: who reads whom among the tokens, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.operators import Fact, has
from ..graph.reach import Reach, find_reach
from ..graph.tensors import Value, operator_name
from .rows.follow import follow_rows
from .rows.places import Place, Rows
from .subject import Subject
from .typical import typical_graph

# What stands between a Softmax and the values: a Dropout that is none, a guard of masked rows.
_KEEPS = Fact.COPIES
# And between the product of queries and keys and the Softmax: a scale, a mask, a bias, too.
_SCALES = _KEEPS | Fact.ARITHMETIC


class Attention(NamedTuple):
    """One layer's attention.

    Attributes:
        weights: its Softmax's output, [N, heads, queries, keys] or [N x heads, queries, keys].
        mixed: what the weights make of the values, with queries and channels last.
        heads_first: whether heads stand before rows, [heads, N, queries, keys].
        apart: whether heads have an axis of their own.
        queries, keys: how many of each there are, at a typical size of the input.
    """

    weights: gs.Variable
    mixed: gs.Variable
    heads_first: bool
    apart: bool
    queries: int
    keys: int

    def moved_to(self, graph: gs.Graph) -> Attention:
        """The same in a copy of the graph, whose tensors have the same names."""
        tensors = graph.tensors()
        own = {name: tensors[getattr(self, name).name] for name in ("weights", "mixed")}
        return self._replace(**own)


def find_attentions(subject: Subject) -> list[Attention]:
    """Every layer of attention between the explained input and the score, in their order.

    All of them are over the same tokens; the last one may have fewer queries, as a pooling has.

    Args:
        subject: what is explained; it is not changed.

    Raises:
        UnsupportedModelError: there is none, a Softmax on the way is something else, or tokens
            change in number (windows, merging, cross attention): naming the node.
    """
    path = find_reach(subject.graph, subject.starts, [subject.logits])
    softmaxes = [node for node in path.nodes if node.op == "Softmax"]
    if not softmaxes:
        raise UnsupportedModelError(
            f"no attention between {subject.input.name!r} and the score: no Softmax of queries "
            "times keys that weighs values"
        )
    # Two sizes of a batch that may have any: what grows with it holds its rows.
    batches = (2, 3) if isinstance(subject.batch, str) else (subject.batch or 1,)
    sizes = {batch: typical_graph(subject, batch).tensors() for batch in batches}
    rows = follow_rows(subject.graph, {s.input.name: Place(0) for s in subject.sources})
    layers: list[Attention] = []
    for node in softmaxes:
        name = node.outputs[0].name
        shapes = {n: list(t[name].shape or ()) if name in t else [] for n, t in sizes.items()}
        layers.append(_attention(node, path, shapes, rows.get(name)))
    tokens = layers[0].keys
    for one in layers:
        last = one is layers[-1]
        if one.keys != tokens or not (one.queries == tokens or last):
            raise UnsupportedModelError(
                "attention is followed over tokens that stay the same from layer to layer; "
                f"queries x keys of {one.weights.name!r} are {one.queries} x {one.keys}, of the "
                f"first one {layers[0].queries} x {tokens} (windows, merged tokens or cross "
                "attention?)"
            )
    return layers


def _attention(
    node: gs.Node,
    path: Reach,
    shapes: Mapping[int, Sequence[int]],
    rows: Rows,
) -> Attention:
    """The attention that a Softmax belongs to.

    Args:
        node: the Softmax.
        path: from the explained input to the score.
        shapes: of what it makes, by the number of rows in the batch.
        rows: where those are, as far as that can be followed.

    Raises:
        UnsupportedModelError: it belongs to none that can be followed.
    """
    weights = node.outputs[0]
    shape = next(iter(shapes.values()))
    rank = len(shape)
    product = None if node.attrs.get("axis", -1) not in (-1, rank - 1) else _reader(weights, path)
    if rank not in (3, 4) or product is None or not _of_products(node.inputs[0], path):
        raise UnsupportedModelError(
            f"{operator_name(node)} (node {node.name or weights.name!r}) is no attention "
            "that can be followed: expected a Softmax over the last axis of queries times keys, "
            "which weighs values"
        )
    axis = _batch_axis(shapes, rows)
    if axis is None:
        raise UnsupportedModelError(
            f"the attention {weights.name!r} has weights {list(shape)}, and which of its "
            "axes holds the batch cannot be told (windows? else a file of a fixed batch may help)"
        )
    queries, keys = (int(shape[place]) for place in (-2, -1))
    return Attention(weights, product.outputs[0], axis == 1, rank > 3, queries, keys)


def _batch_axis(shapes: Mapping[int, Sequence[int]], rows: Rows) -> int | None:
    """0 or 1; None: another one, or not known. Where heads lie in the same axis, behind the rows.

    Args:
        shapes: by the number of rows.
        rows: where they are, if it could be followed.
    """
    ((batch, shape), *_) = shapes.items()
    if len(shape) == 4:
        found = [a for a in (0, 1) if all(one[a] == n for n, one in shapes.items())]
        return found[0] if found else None
    behind = isinstance(rows, Place) and rows[:2] == (0, 1)
    return 0 if behind or (len(shapes) == 1 and batch == 1) else None


def _of_products(tensor: Value, path: Reach) -> bool:
    """Whether it is a product of queries and keys, scaled and masked."""
    while tensor.inputs and (has(tensor.inputs[0], _SCALES) or tensor.inputs[0].op == "Where"):
        varying = [t for t in tensor.inputs[0].inputs if t.name in path.varying]
        if len(varying) != 1:
            return False
        tensor = varying[0]
    made = tensor.inputs[0] if tensor.inputs else None
    # The queries of a pooling are weights.
    return made is not None and made.op == "MatMul" and made.inputs[1].name in path.varying


def _reader(weights: gs.Variable, path: Reach) -> gs.Node | None:
    """The product whose left side the weights are, with computed values on the right."""
    tensor, on_path = weights, {id(node) for node in path.nodes}
    while True:
        readers = [node for node in tensor.outputs if id(node) in on_path]
        if len(readers) != 1:
            return None
        (node,) = readers
        if not has(node, _KEEPS) and node.op != "Where":
            break
        tensor = node.outputs[0]
    left = node.inputs[0] is tensor and node.inputs[-1] is not tensor
    return node if left and node.op == "MatMul" and len(path.operands(node)) == 2 else None
