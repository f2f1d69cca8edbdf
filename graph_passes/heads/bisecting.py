"""A round of an adaptive path as a graph: measure points, put them in order, choose the next ones.

What `engine/running/adaptive.py` does on the host, for a file: the same points in the same order.
R paths go together, each with points of its own, as in a file of a fixed batch; mostly R is 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..finish import ATTRIBUTION, SCORE, exported
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.ordering import prune
from ..graph.tensors import onnx_type
from ..select.subject import Subject
from .path import ALPHAS, path_gradients
from .path_error import estimated, known_sample, on_sample, taken
from .path_state import (
    DOUBLE,
    FAR,
    FLOAT,
    INT64,
    NONE,
    Rule,
    State,
    left_of,
    right_of,
    state_inputs,
    state_outputs,
    trapezoid,
    widths,
)
from .quadrature import NARROWEST, ROUNDING
from .settling import settled, surplus_of
from .walks import Walk

# Tensors that one round hands to the next: what comes in, and what goes out.
BEFORE, BEHIND = f"{RESERVED}before", f"{RESERVED}behind"
GO_ON = f"{BEHIND}/go_on"
_END = 2**31


def bisecting_round(subject: Subject, walk: Walk, rule: Rule) -> onnx.ModelProto:
    """A model of what `path_gradients` takes and a state, which returns the next state.

    Its first output says whether there is anything left to measure.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    model = path_gradients(subject, walk)
    graph = gs.import_onnx(model)
    emit = Emitter(graph, "bisect")
    tensors, before = graph.tensors(), state_inputs(emit, BEFORE, rule)
    names = [subject.name_of(ATTRIBUTION, source) for source in subject.sources]
    chunk = emit.Slice(before.pending, [0], [rule.at_once], [1])
    rest = emit.Slice(before.pending, [rule.at_once], [_END], [1])
    # Who has no point goes along at the baseline; nobody looks at it.
    alphas = emit.Transpose(emit.Max(chunk, np.float64(0)), perm=[1, 0])
    _put(graph, emit.Cast(alphas, to=onnx_type(tensors[ALPHAS].dtype)), tensors[ALPHAS])
    gradients = _gradients(emit, [tensors[name] for name in names], chunk)
    scores = emit.Transpose(emit.Cast(tensors[SCORE], to=DOUBLE), perm=[1, 0])
    state = _inserted(emit, before, chunk, scores, gradients, rule)
    state, go_on = _chosen(emit, state, rest, rule)
    go_on.name, go_on.shape = GO_ON, []
    graph.outputs = [go_on, *state_outputs(state, BEHIND, rule)]
    prune(graph)
    return exported(graph, model)


def _put(graph: gs.Graph, made: gs.Tensor, given: gs.Tensor) -> None:
    """What was made in place of an input."""
    graph.inputs = [tensor for tensor in graph.inputs if tensor is not given]
    graph.nodes.append(gs.Node("Identity", given.name, {}, [made], [given]))


def _gradients(emit: Emitter, parts: list[gs.Tensor], chunk: Any) -> Any:
    """Gradients times (x - x') of all explained inputs, float32 [R, K, elements]."""
    sizes = emit.Concat(emit.Shape(emit.Transpose(chunk, perm=[1, 0])), [-1], axis=0)
    flat = [emit.Reshape(emit.Cast(part, to=FLOAT), sizes) for part in parts]
    joined = flat[0] if len(flat) == 1 else emit.Concat(*flat, axis=2)
    return emit.Transpose(joined, perm=[1, 0, 2])


def _inserted(
    emit: Emitter, before: State, chunk: Any, scores: Any, gradients: Any, rule: Rule
) -> State:
    """The state with what was measured at K points of each path, in order."""
    known = emit.Shape(before.gradients, start=1, end=2)
    count = emit.Shape(chunk, start=1, end=2)
    new = emit.Where(emit.term(chunk) < 0.0, np.float64(FAR), chunk)
    ends = known, emit.term(known) + count
    places = emit.Range(*(emit.Squeeze(end, [0]) for end in ends), np.int64(1))
    measured = {
        "points": new,
        "slopes": emit.ReduceSum(emit.Cast(gradients, to=DOUBLE), [2], keepdims=0),
        "scores": scores,
        "distances": emit.term(new) * 0.0,
        "places": emit.Expand(places, emit.Shape(chunk)),
    }
    if rule.settles:
        measured["open"] = emit.filled(emit.Shape(chunk), True, np.dtype(bool))
    joined = {
        name: emit.Concat(getattr(before, name), value, axis=1) for name, value in measured.items()
    }
    length = emit.Shape(joined["points"], start=1, end=2)
    points, order = emit.many("TopK", 2, joined.pop("points"), length, axis=1, largest=0)
    order.dtype = np.dtype(np.int64)
    rows = {name: emit.GatherElements(value, order, axis=1) for name, value in joined.items()}
    if rule.samples:
        more = on_sample(emit, gradients, before.drawn, before.scale)
        rows["rows"] = taken(emit, emit.Concat(before.rows, more, axis=1), order)
    store = emit.Concat(before.gradients, gradients, axis=1)
    state = before._replace(points=points, gradients=store, **rows)
    is_new = emit.term(state.places) >= known
    return state._replace(distances=_measured_anew(emit, state, is_new, count))


def _measured_anew(emit: Emitter, state: State, is_new: Any, count: Any) -> Any:
    """The distances, those beside new points from the gradients themselves."""
    is_new = emit.Cast(is_new, to=FLOAT)
    near = emit.Max(left_of(emit, is_new), right_of(emit, is_new))
    length = emit.Shape(near, start=1, end=2)
    # Each new point has an interval on either side.
    most = emit.Min(emit.term(count) * np.int64(2), length)
    found, intervals = emit.many("TopK", 2, near, most, axis=1)
    intervals.dtype = np.dtype(np.int64)
    right = emit.term(intervals) + np.int64(1)
    ends = [
        taken(emit, state.gradients, emit.GatherElements(state.places, at, axis=1))
        for at in (intervals, right)
    ]
    lengths = emit.Sqrt(emit.ReduceSumSquare(ends[1] - ends[0], [2], keepdims=0))
    old = emit.GatherElements(state.distances, right, axis=1)
    lengths = emit.Where(emit.term(found) > 0.0, emit.Cast(lengths, to=DOUBLE), old)
    return emit.ScatterElements(state.distances, right, lengths, axis=1)


def _chosen(emit: Emitter, state: State, rest: Any, rule: Rule) -> tuple[State, Any]:
    """The state with what is to be measured next; whether there is anything, and all is finite."""
    h, real = widths(emit, state.points)
    slopes = left_of(emit, state.slopes) + right_of(emit, state.slopes)
    rises = right_of(emit, state.scores) - left_of(emit, state.scores)
    residuals = emit.term(emit.Where(real, h * slopes * 0.5 - rises, np.float64(0)))
    urgency = _share(emit, abs(residuals)) + _share(emit, h * right_of(emit, state.distances))
    waiting = emit.term(emit.Shape(rest, start=1, end=2)) > np.int64(0)
    measured = ~emit.term(waiting)
    kept = None if rule.tolerance is None else _is_kept(emit, state, residuals, rule)
    state = _let_go(emit, state, urgency, measured, kept, rule)
    if kept is not None:
        if rule.map_tolerance is not None:
            kept = _map_is_kept(emit, state, emit.And(kept, measured), rule)
        counted = (emit.term(state.hits) + np.int64(1)) * emit.Cast(kept, to=INT64)
        state = state._replace(hits=emit.Where(waiting, state.hits, counted))
    else:
        state = state._replace(hits=emit.Identity(state.hits))
    middles = _middles(emit, state, urgency, rule)
    # Nothing is chosen while something is waiting.
    count = emit.Where(waiting, np.int64(0), emit.Shape(middles, start=1, end=2))
    pending = emit.Concat(rest, emit.Slice(middles, [0], count, [1]), axis=1)
    there = emit.term(emit.Shape(pending, start=1, end=2)) > np.int64(0)
    finite = emit.ReduceSum((emit.term(state.slopes) + state.scores) * 0.0, keepdims=0)
    go_on = emit.And(emit.Squeeze(there, [0]), emit.Equal(finite, 0.0))
    return state._replace(pending=pending), go_on


def _let_go(
    emit: Emitter, state: State, urgency: Any, measured: Any, kept: Any, rule: Rule
) -> State:
    """The state with a sample where one is needed from now on, and no more than the store holds."""
    if not rule.samples:
        return state
    wanted = None
    if rule.map_tolerance is not None:
        wanted = kept
    surplus = active = None
    if rule.settles:
        surplus = surplus_of(emit, state, rule)
        over = emit.term(surplus) > np.int64(0)
        active = emit.And(over, measured)
        full = emit.Squeeze(over, [1])
        wanted = full if wanted is None else emit.Or(wanted, full)
    state = known_sample(emit, state, emit.And(wanted, measured), rule)
    if rule.settles:
        h, real = widths(emit, state.points)
        state = settled(emit, state, urgency, h, real, surplus, active)
    return state


def _is_kept(emit: Emitter, state: State, residuals: Any, rule: Rule) -> Any:
    """|delta| <= tolerance |F(x) - F(x')|, or rounding; bool [R]."""
    delta = abs(emit.term(emit.ReduceSum(residuals, [1], keepdims=0)))
    points = emit.term(state.points)
    places = [emit.Cast(emit.Equal(points, end), to=DOUBLE) for end in (0.0, 1.0)]
    first, last = (emit.ReduceSum(p * state.scores, [1], keepdims=0) for p in places)
    assert rule.tolerance is not None, "no tolerance to keep"
    limit = abs(emit.term(last) - first) * rule.tolerance
    real = emit.Cast(points <= 1.0, to=DOUBLE)
    largest = emit.ReduceMax(abs(emit.term(state.scores)) * real, [1], keepdims=0)
    return emit.Or(delta <= limit, delta <= emit.term(largest) * ROUNDING)


def _map_is_kept(emit: Emitter, state: State, kept: Any, rule: Rule) -> Any:
    """Whether the sum is kept and the map's estimated error, too; bool [R]."""

    def looked_at(inner: Emitter) -> list[Any]:
        h, _ = widths(inner, state.points)
        error = estimated(inner, state, state.rows, trapezoid(inner, h), rule.steps)
        assert rule.map_tolerance is not None, "no tolerance to keep"
        return [inner.And(kept, inner.term(error) <= rule.map_tolerance)]

    def not_yet(inner: Emitter) -> list[Any]:
        return [inner.Identity(kept)]

    some = emit.Cast(
        emit.ReduceMax(emit.Cast(kept, to=INT64), keepdims=0), to=onnx.TensorProto.BOOL
    )
    (found,) = emit.either(some, looked_at, not_yet, [np.dtype(bool)])
    return found


def _share(emit: Emitter, values: Any) -> Any:
    """Each number's part of the sum; as it is where the sum is 0."""
    total = emit.ReduceSum(values, [1], keepdims=1)
    return emit.term(values) / emit.Where(emit.term(total) > 0.0, total, np.float64(1))


def _middles(emit: Emitter, state: State, urgency: Any, rule: Rule) -> Any:
    """The middles of each path's most urgent intervals, float64 [R, up to `at_once`]."""
    h, real = widths(emit, state.points)
    free = emit.And(real, h > NARROWEST)
    if rule.settles:
        free = emit.And(free, right_of(emit, state.open))
    ranked = emit.Where(free, urgency, np.float64(NONE))
    most = emit.Min([rule.at_once], emit.Shape(ranked, start=1, end=2))
    found, intervals = emit.many("TopK", 2, ranked, most, axis=1)
    intervals.dtype = np.dtype(np.int64)
    left, right = (
        emit.GatherElements(side(emit, state.points), intervals, axis=1)
        for side in (left_of, right_of)
    )
    is_point = emit.Cast(emit.term(state.points) <= 1.0, to=INT64)
    passes = emit.ReduceSum(is_point, [1], keepdims=1)
    ranks = emit.Range(np.int64(0), emit.Squeeze(most, [0]), np.int64(1))
    within = emit.term(passes) + ranks < np.int64(rule.steps)
    open_ended = emit.Unsqueeze(emit.term(state.hits) < np.int64(2), [1])
    chosen = emit.And(emit.And(emit.term(found) >= 0.0, within), open_ended)
    middles = emit.Where(chosen, (emit.term(left) + right) * 0.5, np.float64(NONE))
    # What is chosen comes first.
    counts = emit.ReduceSum(emit.Cast(chosen, to=INT64), [1], keepdims=0)
    used = emit.ReduceMax(counts, [0], keepdims=1)
    return emit.Slice(middles, [0], used, [1])
