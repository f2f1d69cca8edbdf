"""Where the rows of a batch lie in every tensor, and where they are no longer apart.

The batch is followed from the inputs' first axis through every operator, so that it is found on
whatever axis it ends (time-first outputs, a recurrent network's states), and an operator that takes
rows together is found by its structure.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ...graph.operators import Fact, has
from ...graph.tensors import read_by
from .counts import Count, counted
from .places import Lost, Place, Rows
from .through import rows_through, unknown


def follow_rows(graph: gs.Graph, starts: Mapping[str, Place]) -> dict[str, Place | Lost]:
    """For every tensor that depends on the rows of `starts` (by name) where they are.

    A tensor that is not in the result is the same for all rows.
    """
    found: dict[str, Place | Lost] = dict(starts)
    counts: dict[str, Count] = {}
    for node in graph.nodes:
        count = counted(node, found, counts)
        if isinstance(count, Lost):
            found.update({output.name: count for output in node.outputs if output.name})
            continue
        if count is not None:
            counts.update({output.name: count for output in node.outputs if output.name})
        # Sizes say nothing of rows.
        if has(node, Fact.NO_DATA) or found.keys().isdisjoint(read_by(node)):
            continue
        rows = _outputs_of(node, found)
        several = rows if isinstance(rows, list) else [rows] * len(node.outputs)
        for output, own in zip(node.outputs, several, strict=False):
            if output.name and own is not None:
                found[output.name] = own
    return found


def _outputs_of(node: gs.Node, found: Mapping[str, Place | Lost]) -> Rows | list[Rows]:
    operands = {k: found[t.name] for k, t in enumerate(node.inputs) if t.name in found}
    if node.op == "CastLike" and operands.pop(1, None) and not operands:
        return None
    for rows in operands.values():
        if isinstance(rows, Lost):
            return rows
    places = {k: rows for k, rows in operands.items() if isinstance(rows, Place)}
    return rows_through(node, places) if places else unknown(node)
