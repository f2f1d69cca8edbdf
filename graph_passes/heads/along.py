"""A model at other points than its input: K of them for each of N inputs, as one batch of K N.

Points along a path, noisy copies, hidden windows: what a method's `mover` makes of the input. The
score's gradient there, or the score alone, is what the method then adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..backward.multipliers import decomposed
from ..backward.polyphase import in_phases
from ..backward.walk import backward, carried_back, check_supported
from ..finish import SEED, working_copy
from ..graph.copying import copy_nodes
from ..graph.dims import same_shape
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.operators import Fact, has
from ..graph.ordering import sort_nodes
from ..graph.reach import Reach, find_reach
from ..graph.tensors import Value, is_constant
from ..graph.twins import nodes_between, sizes_and_values_of
from ..rules.table import GRADIENT, gradient_rules
from ..select.score import score_of, where_to_begin
from ..select.subject import Source, Subject
from .asking import add_baseline_input
from .walks import Walk

# How many points, as axes are called.
POINTS = f"{RESERVED}points"

# (emitter, subject, source) -> the points of one explained input, [K, N, ...], and whatever the
# method will want of them.
Mover = Callable[[Emitter, Subject, Source], tuple[gs.Tensor, Any]]


class Place(NamedTuple):
    """One explained input at its points.

    Attributes:
        source: the input.
        points: as one batch, [K N, ...].
        known: what the mover returned beside them.
        baseline: what they are compared with, in the same shape; None: nothing.
    """

    source: Source
    points: gs.Tensor
    known: Any
    baseline: Any = None


class Moved(NamedTuple):
    """A model at K points for each of N inputs, as a graph that lacks its outputs.

    Attributes:
        emit: for what is still missing.
        subject: the working copy.
        points: K, int64 [1].
        end: the logits, or what a last layer makes them of, [K N, ...].
        seeds: d score / d end, [K N, ...].
        places: one for each explained input.
        path: between the inputs and `end`, as it was before.
    """

    emit: Emitter
    subject: Subject
    points: gs.Tensor
    end: gs.Tensor
    seeds: gs.Tensor
    places: list[Place]
    path: Reach


def points_at_once(subject: Subject, most: int, inputs: int, passes: int) -> int:
    """K: how many points of each of N inputs go through the graph together."""
    given = len(subject.graph.inputs) > len(subject.sources)
    if isinstance(subject.batch, int) or given or subject.coupled is not None:
        return 1
    return max(1, min(most // inputs, passes))


def moved(
    subject: Subject,
    given: Sequence[gs.Variable],
    mover: Mover,
    walk: Walk | None,
    from_logits: bool = False,
) -> Moved:
    """The model at the points that the mover makes.

    Args:
        subject: what is explained.
        given: what the mover reads, inputs of the graph; the first has K elements on its first
            axis.
        mover: see `Mover`.
        walk: what will be walked back there; None: nothing.
        from_logits: whether the seed is one of the logits whatever the walk goes by; else of where
            that begins (`begins_at_logits`).

    Raises:
        UnsupportedModelError: an operator on the path without a rule of the walk's table.
    """
    subject = working_copy(subject)
    table = GRADIENT if walk is None else walk.table
    if table.simple:
        subject = decomposed(subject)
    graph = subject.graph
    end = subject.weighed if from_logits or not table.linear else where_to_begin(subject)
    if walk is not None and not table.simple:
        in_phases(graph, {tensor.name for tensor in (*subject.starts, end)})
    # First of all: behind an operator that nobody knows, shapes are unknown too.
    path = find_reach(graph, subject.starts, [end])
    # A prefix of its own: the Loop model holds this graph's constants beside those of `endpoints`.
    emit = table.emitter(graph, "path")
    if walk is not None and not table.compares:
        check_supported(path, table.rules(emit), walk.title)
    seed = gs.Variable(SEED, dtype=end.dtype, shape=_free_shape("seed", end))
    readers = [list(start.outputs) for start in subject.starts]
    computed = sizes_and_values_of(graph, subject.starts)
    places = []
    for source in subject.sources:
        points, known = mover(emit, subject, source)
        places.append(Place(source, _as_batch(emit, points, source.start), known))
    graph.inputs.extend([seed, *given])
    _rename_batch(subject, computed, [place.points for place in places])
    count = emit.Shape(given[0], start=0, end=1)
    _hold(emit, subject, count)
    for start, nodes, place in zip(subject.starts, readers, places, strict=True):
        for node in nodes:
            node.inputs = [place.points if t is start else t for t in node.inputs]
    sort_nodes(graph)
    ones = emit.constant(np.ones(len(end.shape) - 1, np.int64))
    seeds = emit.Tile(seed, emit.Concat(count, ones, axis=0))
    seeds.shape = end.shape
    end = places[0].points if end is subject.start else end
    if table.compares:
        places = _with_twins(emit, subject, count, places, end)
    return Moved(emit, subject, count, end, seeds, places, path)


def _hold(emit: Emitter, subject: Subject, count: gs.Tensor) -> None:
    """Let the network go on at all K points with what it picks at the input itself.

    A copy of what lies ahead of the picks computes them there.
    """
    if not subject.held:
        return

    def fresh(node: gs.Node, tensor: gs.Tensor) -> gs.Tensor:
        del node
        return gs.Variable(emit.name("held"), dtype=tensor.dtype, shape=tensor.shape)

    graph, made = subject.graph, dict[str, gs.Tensor]()
    readers = [list(tensor.outputs) for tensor in subject.held]
    ahead = nodes_between(graph, subject.starts, subject.held, shapes=True)
    copy_nodes(graph, ahead, made, fresh, lambda node: emit.name(f"held_{node.op}"))
    for tensor, nodes in zip(subject.held, readers, strict=True):
        ones = emit.constant(np.ones(len(tensor.shape) - 1, np.int64))
        repeated = emit.Tile(made[tensor.name], emit.Concat(count, ones, axis=0))
        repeated.shape = tensor.shape
        for node in nodes:
            node.inputs = [repeated if t is tensor else t for t in node.inputs]


def _with_twins(
    emit: Any, subject: Subject, count: gs.Tensor, places: list[Place], end: gs.Tensor
) -> list[Place]:
    """The same beside a copy of the network at the baselines, each repeated for all K points."""
    pairs = []
    for place in places:
        start = place.source.start
        ahead = emit.Concat(count, emit.shape(start), axis=0)
        baseline = emit.Expand(add_baseline_input(emit, subject, place.source), ahead)
        repeated = _as_batch(emit, baseline, start)
        repeated.shape = place.points.shape
        pairs.append((place.points, repeated))
    emit.add_twins(pairs, [end])
    return [p._replace(baseline=b) for p, (_, b) in zip(places, pairs, strict=True)]


def begins_at_logits(walk: Walk) -> bool:
    """Whether a walk begins at the logits, and so takes the seed that is one of them."""
    return not walk.table.linear


def _as_batch(emit: Emitter, points: gs.Tensor, start: gs.Tensor) -> gs.Tensor:
    """[K, N, ...] as [K N, ...]."""
    rest = emit.dims(start, 1) if len(start.shape) > 1 else emit.constant(np.zeros(0, np.int64))
    return emit.Reshape(points, emit.Concat([-1], rest, axis=0))


def _by_point(emit: Emitter, count: gs.Tensor, start: gs.Tensor) -> gs.Tensor:
    """The sizes of [K, N, ...], with -1 for N: a 0, of no inputs, would stand for a copy."""
    parts = [count, emit.constant(np.full(1, -1))]
    if len(start.shape) > 1:
        parts.append(emit.dims(start, 1))
    return emit.Concat(*parts, axis=0)


def forget_inputs(at: Moved) -> None:
    """Leave the model's own inputs out that nothing reads any more, but for the explained ones."""
    graph, explained = at.subject.graph, [source.input for source in at.subject.sources]
    graph.inputs = [t for t in graph.inputs if t.outputs or t in explained]


def scores_at(at: Moved) -> gs.Tensor:
    """The score at each point, [K, N]; without a last layer's bias, unless seeded at the logits."""
    score = at.emit.cast_like(score_of(at.emit, at.end, at.seeds), at.subject.start)
    return at.emit.Reshape(score, at.emit.Concat(at.points, [-1], axis=0))


def attributions_at(at: Moved, walk: Walk, weights: gs.Variable | None = None) -> list[gs.Tensor]:
    """What a walk makes at each point, [K, N, ...], for each explained input.

    With `weights` [K] they are summed over the points, [N, ...].

    Raises:
        UnsupportedModelError: an operator on the path without a rule.
    """
    if walk.table is GRADIENT and walk.made is None:
        return slopes_at(at, walk.title, weights)
    emit = at.emit
    seeds = walk.seeds(emit.term(at.end), at.seeds)
    points = [place.points for place in at.places]
    found = carried_back(emit, walk.table, [(at.end, seeds)], points, walk.title, True)
    attributions = []
    for brought, place in zip(found, at.places, strict=True):
        start = place.source.start
        part = emit.filled_like(place.points, 0.0) if brought is None else emit.term(brought)
        if walk.made is not None:
            part = walk.made(emit, part, place.points, place.baseline)
        if weights is None:
            shape = _by_point(emit, at.points, start)
            attributions.append(emit.Reshape(part, shape))
        else:
            attributions.append(summed(emit, part, weights, place.points, start))
    forget_inputs(at)
    return attributions


def slopes_at(at: Moved, title: str, weights: gs.Variable | None = None) -> list[gs.Tensor]:
    """d score / d x at each point, [K, N, ...], for each explained input.

    With `weights` [K] the slopes are summed over the points, [N, ...]: as early as they can be,
    behind the first operator that is not linear, since the adjoint of a sum is cheaper than the
    adjoints of its terms.
    """
    emit, count = at.emit, at.points
    points = [place.points for place in at.places]
    turns = points if weights is None else [_end_of_linear(at.path, point) for point in points]
    found = backward(emit, gradient_rules, [(at.end, at.seeds)], turns, title, True)
    slopes = []
    for slope, turn, place in zip(found, turns, at.places, strict=True):
        start = place.source.start
        if slope is None:
            shape = emit.shape(start)
            shape = shape if weights is not None else emit.Concat(count, shape, axis=0)
            slope = emit.Expand(emit.constant(0.0, start.dtype), shape)
        elif weights is None:
            slope = emit.Reshape(slope, _by_point(emit, count, start))
        else:
            total = summed(emit, slope, weights, turn, start)
            slope = _through_linear(emit, total, turn, place.points, start, title)
        slopes.append(slope)
    forget_inputs(at)
    return slopes


def _end_of_linear(path: Reach, tensor: gs.Tensor) -> gs.Tensor:
    """The last tensor that depends on `tensor` alone, and linearly, by convolutions mostly."""
    while True:
        readers = [node for node in tensor.outputs if any(node is other for other in path.nodes)]
        if len(readers) != 1:
            return tensor
        (node,) = readers
        others = [t for t in node.inputs if t is not tensor and t.name]
        made = node.outputs[0]
        affine = node.op == "Conv" or (
            has(node, Fact.ARITHMETIC) and same_shape(made.shape, tensor.shape)
        )
        if not affine or node.inputs[0] is not tensor or not all(map(is_constant, others)):
            return tensor
        tensor = made


def summed(
    emit: Emitter, slope: Value, weights: gs.Tensor, at: gs.Tensor, start: gs.Tensor
) -> gs.Tensor:
    """sum_k weights_k slope_k, [N, ...] of slopes [K N, ...].

    As a product of matrices: 0.03 ms for [2, 3, 224, 224], by Mul and ReduceSum 0.6 ms.
    """
    rows = emit.Concat(emit.Shape(weights), [-1], axis=0)
    total = emit.Unsqueeze(weights, [0]) @ emit.Reshape(slope, rows)
    total = emit.Reshape(total, emit.Concat([-1], emit.dims(at, 1), axis=0))
    total.shape = [*start.shape[:1], *at.shape[1:]]
    return total


def _through_linear(
    emit: Emitter,
    slope: gs.Tensor,
    end: gs.Tensor,
    point: gs.Tensor,
    start: gs.Tensor,
    title: str,
) -> gs.Tensor:
    """The slope [N, ...] at `end`, taken back to `point` and declared to have `start`'s batch."""
    if end is point:
        return slope
    before = len(emit.graph.nodes)
    (back,) = backward(emit, gradient_rules, [(end, slope)], [point], title)
    assert back is not None, "linear operators hand something on"
    for node in emit.graph.nodes[before:]:
        for tensor in node.outputs:
            if tensor.shape is not None and tensor.shape[:1] == end.shape[:1]:
                tensor.shape = [*start.shape[:1], *tensor.shape[1:]]
    return back


def _rename_batch(subject: Subject, computed: set[str], points: Sequence[gs.Tensor]) -> None:
    """Give the points, and all that is computed from them, a batch of their own.

    `computed` names it, with what is no float and so off the path: comparisons, say.
    ONNX Runtime may give tensors of one declared shape one buffer, so the points' batch of K N must
    not go by the name of the inputs' batch of N.
    """
    new, tensors = f"{RESERVED}path_rows", subject.graph.tensors()
    names = {start.shape[0] for start in subject.starts if isinstance(start.shape[0], str)}
    for name in computed:
        tensor = tensors[name]
        if tensor.shape is not None and not any(tensor is start for start in subject.starts):
            tensor.shape = [new if dim in names else dim for dim in tensor.shape]
    for start, moved in zip(subject.starts, points, strict=True):
        moved.shape = [new if dim in names else dim for dim in start.shape[:1]] + start.shape[1:]


def _free_shape(name: str, like: gs.Tensor) -> list[str]:
    if like.shape is None:
        raise UnsupportedModelError(f"the number of axes of {like.name!r} cannot be inferred")
    return [f"{RESERVED}{name}_dim{axis}" for axis in range(len(like.shape))]
