"""One layer of attention: the Softmax of queries times keys, and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.operators import Fact, facts_of, has
from ..graph.reach import Reach
from ..graph.tensors import Value, operator_name
from .rows.places import Place, Rows

# What stands between a Softmax and the values: a Dropout that is none, a guard of masked rows.
_KEEPS = Fact.COPIES
# And between the product of queries and keys and the Softmax: a scale, a mask, a bias, too.
_SCALES = _KEEPS | Fact.ARITHMETIC

# All tensors of a graph at one size, by the number of rows in the batch.
Sizes: TypeAlias = "Mapping[int, Mapping[str, gs.Tensor]]"


class Role(Enum):
    """Whose tokens an attention is over.

    SELF: the input's own, which read one another; or a pooling's query, which reads them.
    QUERIES: a decoder's queries, which read one another.
    CROSS: a decoder's queries, which read the input's tokens.
    """

    SELF = "self attention"
    QUERIES = "self attention of a decoder's queries"
    CROSS = "cross attention"


class Attention(NamedTuple):
    """One layer's attention.

    Attributes:
        weights: its Softmax's output, [N, heads, queries, keys] or [N x heads, queries, keys].
        mixed: what the weights make of the values, with queries and channels last.
        asking, asked, values: what its products are made of: queries, keys turned, values.
        heads_first: whether heads stand before rows, [heads, N, queries, keys].
        apart: whether heads have an axis of their own.
        queries, keys: how many of each there are, at a typical size of the input.
        role: whose tokens they are.
    """

    weights: gs.Variable
    mixed: gs.Variable
    asking: gs.Tensor
    asked: gs.Tensor
    values: gs.Tensor
    heads_first: bool
    apart: bool
    queries: int
    keys: int
    role: Role = Role.SELF

    def moved_to(self, graph: gs.Graph) -> Attention:
        """The same in a copy of the graph, whose tensors have the same names."""
        tensors = graph.tensors()
        names = ("weights", "mixed", "asking", "asked", "values")
        return self._replace(**{name: tensors[getattr(self, name).name] for name in names})


def attention_of(
    node: gs.Node,
    path: Reach,
    sizes: Sizes,
    rows: Mapping[str, Rows],
    given: bool = False,
) -> Attention:
    """The attention that a Softmax belongs to.

    Args:
        node: the Softmax.
        path: what its queries and keys are computed on.
        sizes: the graph's tensors at typical sizes.
        rows: where the batch's rows are, as far as that can be followed.
        given: whether what its products are made of may be constants.

    Raises:
        UnsupportedModelError: it belongs to none that can be followed.
    """
    weights = node.outputs[0]
    shapes = {
        batch: list(at[weights.name].shape or ()) if weights.name in at else []
        for batch, at in sizes.items()
    }
    shape = next(iter(shapes.values()))
    rank = len(shape)
    last = node.attrs.get("axis", -1) in (-1, rank - 1)
    reader = _reader(weights, path, given) if last else None
    product = _of_products(node.inputs[0], path, given)
    if rank not in (3, 4) or reader is None or product is None:
        raise UnsupportedModelError(
            f"{operator_name(node)} (node {node.name or weights.name!r}) is no attention "
            "that can be followed: expected a Softmax over the last axis of queries times keys, "
            "which weighs values"
        )
    axis = _batch_axis(shapes, rows.get(weights.name))
    if axis is None:
        raise UnsupportedModelError(
            f"the attention {weights.name!r} has weights {list(shape)}, and which of its "
            "axes holds the batch cannot be told (windows? else a file of a fixed batch may help)"
        )
    return Attention(
        weights=weights,
        mixed=reader.outputs[0],
        asking=product.inputs[0],
        asked=product.inputs[1],
        values=reader.inputs[1],
        heads_first=axis == 1,
        apart=rank > 3,
        queries=int(shape[-2]),
        keys=int(shape[-1]),
    )


def _batch_axis(shapes: Mapping[int, Sequence[int]], rows: Rows) -> int | None:
    """0 or 1; None: another one, or not known. Where heads lie in the same axis, behind the rows.

    Args:
        shapes: by the number of rows.
        rows: where they are, if it could be followed.
    """
    ((batch, shape), *_) = shapes.items()
    if len(shape) == 4:
        known = all(len(one) == 4 for one in shapes.values())
        found = [a for a in (0, 1) if known and all(one[a] == n for n, one in shapes.items())]
        return found[0] if found else None
    behind = isinstance(rows, Place) and rows[:2] == (0, 1)
    return 0 if behind or (len(shapes) == 1 and batch == 1) else None


def _of_products(tensor: Value, path: Reach, given: bool) -> gs.Node | None:
    """The product of queries and keys that it is, scaled and masked; None: it is none."""
    while tensor.inputs and (has(tensor.inputs[0], _SCALES) or tensor.inputs[0].op == "Where"):
        varying = [t for t in tensor.inputs[0].inputs if t.name in path.varying]
        if len(varying) != 1:
            return None
        tensor = varying[0]
    made = tensor.inputs[0] if tensor.inputs else None
    # The queries of a pooling are weights.
    if made is None or made.op != "MatMul":
        return None
    return made if given or made.inputs[1].name in path.varying else None


def _reader(weights: gs.Variable, path: Reach, given: bool) -> gs.Node | None:
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
    computed = given or len(path.operands(node)) == 2
    return node if left and node.op == "MatMul" and computed else None


def repeated(graph: gs.Graph) -> list[str]:
    """Names of what may have a row for each of the batch's, made of one for all: by sizes given."""
    return [
        node.outputs[0].name
        for node in graph.nodes
        if facts_of(node).sizes is not None and not has(node, Fact.RESHAPES)
    ]


def rows_made(graph: gs.Graph, sizes: Sizes) -> dict[str, Place]:
    """Where rows begin that do not come from an input: an axis is as long as the batch."""
    found: dict[str, Place] = {}
    for name in repeated(graph):
        if len(sizes) < 2 or not all(name in at and at[name].shape for at in sizes.values()):
            continue
        shapes = {n: list(at[name].shape) for n, at in sizes.items()}
        rank = min(map(len, shapes.values()))
        axes = [a for a in range(rank) if all(shape[a] == n for n, shape in shapes.items())]
        if len(axes) == 1:
            found[name] = Place(axes[0])
    return found
