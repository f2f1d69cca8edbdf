"""Which output is explained where nobody says: what is shaped like classes and lies deepest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..graph.dims import Dim, Shape, describe
from ..graph.operators import Fact, has
from ..graph.reach import find_reach
from ..graph.tensors import is_float, producer_of
from .ending import TAIL, ending_of

# Numbers for a place that are the corners of a box.
_CORNERS = 4
_PICTURE = 4
# Axes of a list of boxes.
_LISTED = 3
# Beyond that many outputs nobody looks which stands before which.
_MOST = 16


class Chosen(NamedTuple):
    """The explained output, and others that could be meant, in words."""

    output: gs.Variable
    others: tuple[str, ...]


class _Candidate(NamedTuple):
    """An output that depends on what is explained.

    Attributes:
        output: it.
        logits: what stands before its final activation.
        likeness: to scores of classes, 3 to 0; see `_likeness`.
        depth: layers with weights on the longest way to it.
        ends: whether it ends in an activation.
        boxes: whether Sigmoids' numbers stand beside others in it, as a detector's scores do.
    """

    output: gs.Variable
    logits: gs.Variable
    likeness: int
    depth: int
    ends: bool
    boxes: bool


def choose_output(
    graph: gs.Graph,
    inputs: Sequence[gs.Variable],
    starts: Sequence[gs.Variable],
    name: str | None = None,
) -> Chosen:
    """The output of that name, or the one that is most like scores of classes.

    Left out is what is on the way to others: attention that weighs what comes next, an embedding
    behind which the last layer stands. Of the rest the most alike wins, then scores beside boxes
    (not the masks that they weigh), then the deepest (an auxiliary head branches off early), then
    one that ends in an activation, then the first.

    Raises:
        InvalidInputError: no output has that name.
        UnsupportedModelError: no float output depends on all of `starts`.
    """
    floats = [t for t in graph.outputs if is_float(t)]
    if name is not None:
        floats = [t for t in graph.outputs if t.name == name]
        if not floats:
            known = ", ".join(repr(t.name) for t in graph.outputs)
            raise InvalidInputError(f"the model has no output {name!r}; it has {known}")
    behind = [find_reach(graph, [start], []).varying - {start.name} for start in starts]
    reached = [t for t in floats if all(t.name in names for names in behind)]
    if not reached:
        found = ", ".join(f"{t.name!r} ({t.dtype})" for t in graph.outputs) or "none"
        named = " and ".join(repr(start.name) for start in starts)
        raise UnsupportedModelError(
            f"no float output depends on the input {named} through differentiable "
            f"operators; the model's outputs: {found}"
        )
    reached = [t for t in reached if 0 not in (t.shape or ())] or _refused_as_empty(reached[0])
    if len(reached) == 1:
        return Chosen(reached[0], ())
    depths = _depths(graph, starts)
    # A picture that is handed back is no state.
    pictures = [t for t in inputs if len(t.shape or []) >= _PICTURE]
    shapes = [t.shape for t in graph.inputs if all(t is not picture for picture in pictures)]
    batch = (inputs[0].shape or [None])[0]
    candidates = [_candidate(output, depths, batch, shapes) for output in reached]
    ends = [c for c in candidates if not _is_on_the_way(graph, c, candidates)] or candidates
    # Of equal ones max takes the first.
    best = max(ends, key=lambda c: (c.likeness, c.boxes, c.depth, c.ends))
    others = tuple(
        f"{c.output.name!r} {describe(c.output.shape)}"
        for c in ends
        if c.logits.name != best.logits.name
    )
    return Chosen(best.output, others)


def _refused_as_empty(output: gs.Variable) -> NoReturn:
    raise UnsupportedModelError(
        f"output {output.name!r} {describe(output.shape)} holds no numbers, and so no score"
    )


def _candidate(
    output: gs.Variable, depths: dict[str, int], batch: Dim, others: Sequence[Shape]
) -> _Candidate:
    ending = ending_of(output)
    depth = depths.get(ending.tensor.name, 0)
    ends = ending.activation is not None
    state = any(may_be_alike(output.shape, shape) for shape in others)
    elsewhere = state or _has_batch_elsewhere(output.shape, batch)
    likeness = 0 if elsewhere else _likeness(output.shape)
    return _Candidate(output, ending.tensor, likeness, depth, ends, _has_boxes(output))


def _has_boxes(output: gs.Variable) -> bool:
    """Whether an output [N, A, K] has Sigmoids' numbers beside others, moved or not."""
    if output.shape is None or len(output.shape) != _LISTED:
        return False
    node = producer_of(output)
    while node is not None and node.op in TAIL:
        node = producer_of(node.inputs[0])
    if node is None or node.op != "Concat":
        return False
    scores = [ending_of(t).activation is not None for t in node.inputs]
    return any(scores) and not all(scores)


def may_be_alike(a: Shape, b: Shape) -> bool:
    """True where the shapes have as many axes, and no axis that certainly differs."""
    if not a or not b or len(a) != len(b):
        return False
    return all(
        p == q or not (isinstance(p, int) and isinstance(q, int)) for p, q in zip(a, b, strict=True)
    )


def _has_batch_elsewhere(shape: Shape, batch: Dim) -> bool:
    """Whether rows lie on another axis than the first, as a recurrent network's states have it."""
    if not shape or not isinstance(batch, str) or shape[0] == batch:
        return False
    return isinstance(shape[0], int) or batch in list(shape)[1:]


def _likeness(shape: Shape) -> int:
    """3: a score for each class; 2: for each class and place; 1: one score, boxes; 0: unknown.

    States that the model is handed back, and rows on another axis, count as 0 as well.
    """
    if shape is None:
        return 0
    lengths = [dim for dim in list(shape)[1:] if dim != 1]
    if len(lengths) <= 1:
        return 3 if lengths else 1
    one_for_a_place = len(shape) == 4 and len(lengths) == 2
    boxes = len(shape) == 3 and _CORNERS in lengths
    return 1 if one_for_a_place or boxes else 2


def _depths(graph: gs.Graph, starts: Sequence[gs.Variable]) -> dict[str, int]:
    """For each tensor behind the starts how many layers with weights lie on the longest way."""
    found = {start.name: 0 for start in starts}
    for node in graph.nodes:
        ahead = [found[t.name] for t in node.inputs if t.name in found]
        if ahead:
            depth = max(ahead) + has(node, Fact.WEIGHTED)
            found.update({t.name: depth for t in node.outputs if t.name})
    return found


def _is_on_the_way(
    graph: gs.Graph, candidate: _Candidate, candidates: Sequence[_Candidate]
) -> bool:
    """Whether layers with weights make another output of it."""
    if len(candidates) > _MOST:
        return False
    for other in candidates:
        if other.depth > candidate.depth and other.logits.name != candidate.logits.name:
            path = find_reach(graph, [candidate.logits], [other.logits])
            if any(has(node, Fact.WEIGHTED) for node in path.nodes):
                return True
    return False
