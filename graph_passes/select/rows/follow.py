"""Where the rows of a batch lie in every tensor, and where they are no longer apart.

The batch is followed from the inputs' first axis through every operator, so that it is found on
whatever axis it ends (time-first outputs, a recurrent network's states), and an operator that takes
rows together is found by its structure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.operators import Fact, facts_of, has
from ...graph.tensors import captured, read_by
from .counts import Count, counted
from .places import Lost, Place, Rows
from .through import rows_through, unknown


def follow_rows(graph: gs.Graph, starts: Mapping[str, Place]) -> dict[str, Place | Lost]:
    """For every tensor that depends on the rows of `starts` (by name) where they are.

    A tensor that is not in the result is the same for all rows.
    """
    found: dict[str, Place | Lost] = dict(starts)
    counts: dict[str, Count] = {}
    made: dict[str, Place] = {}
    for node in graph.nodes:
        count = counted(node, found, counts)
        if isinstance(count, Lost):
            found.update({output.name: count for output in node.outputs if output.name})
            continue
        if count is not None:
            own = _made_rows(node, counts, made)
            if own is not None and count is True:
                # Rows that the file makes itself, a state's first ones, say: they stay apart, too.
                found.update({output.name: own for output in node.outputs if output.name})
                continue
            counts.update({output.name: count for output in node.outputs if output.name})
            made.update({t.name: own for t in node.outputs if t.name and own is not None})
        # Sizes say nothing of rows.
        if has(node, Fact.NO_DATA) or found.keys().isdisjoint(read_by(node)):
            continue
        rows = _outputs_of(node, found)
        several = rows if isinstance(rows, list) else [rows] * len(node.outputs)
        for output, own in zip(node.outputs, several, strict=False):
            if output.name and own is not None:
                found[output.name] = own
    return found


def _made_rows(
    node: gs.Node, counts: Mapping[str, Count], made: Mapping[str, Place]
) -> Place | None:
    """Where a node has the same row again and again, one for each of the batch; None: nowhere.

    Args:
        node: that has no operand with rows.
        counts: what of its operands depends on their number.
        made: where those operands have such rows.
    """
    own = {k: tensor.name for k, tensor in enumerate(node.inputs) if tensor.name in counts}
    size = facts_of(node).sizes
    if size is not None and set(own) == {size}:
        return _repeated(node, counts[own[size]], size)
    places = {k: made[name] for k, name in own.items() if name in made}
    if not own or len(places) < len(own) or not captured(node).isdisjoint(counts):
        return None
    rows = rows_through(node, places)
    return rows if isinstance(rows, Place) else None


def _repeated(node: gs.Node, count: Count, size: int) -> Place | None:
    """The axis along which a node repeats what it makes, where its size alone says how often."""
    marked = np.flatnonzero(count) if isinstance(count, np.ndarray) and count.ndim == 1 else []
    if len(marked) != 1 or node.op not in ("ConstantOfShape", "Expand"):
        return None
    assert isinstance(count, np.ndarray)
    data = () if size == 0 else node.inputs[0].shape
    if data is None:
        return None
    axis = max(len(data), len(count)) - len(count) + int(marked[0])
    own = axis - max(len(count) - len(data), 0)
    return Place(axis) if own < 0 or own >= len(data) or data[own] == 1 else None


def _outputs_of(node: gs.Node, found: Mapping[str, Place | Lost]) -> Rows | list[Rows]:
    operands = {k: found[t.name] for k, t in enumerate(node.inputs) if t.name in found}
    if node.op == "CastLike" and operands.pop(1, None) and not operands:
        return None
    for rows in operands.values():
        if isinstance(rows, Lost):
            return rows
    places = {k: rows for k, rows in operands.items() if isinstance(rows, Place)}
    return rows_through(node, places) if places else unknown(node)
