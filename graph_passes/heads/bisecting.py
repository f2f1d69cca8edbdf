"""A round of an adaptive path as a graph: measure points, put them in order, choose the next ones.

What `engine/running/adaptive.py` does on the host, for a file: the same points in the same order.
R paths go together, each with points of its own, as in a file of a fixed batch; mostly R is 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
from .walks import Walk

# Tensors that one round hands to the next: what comes in, and what goes out.
BEFORE, BEHIND = f"{RESERVED}before", f"{RESERVED}behind"
GO_ON = f"{BEHIND}/go_on"
# A place where no point is: in what is to be measured, and among what was, behind the last one.
_NONE, _FAR = -1.0, 2.0
_DOUBLE, _FLOAT = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT


class Rule(NamedTuple):
    """When a path is finished, and how it is followed.

    Attributes:
        steps: the most points.
        tolerance: of |delta| / |score's difference|, kept twice in a row; None: take all steps.
        at_once: points of each path in one round.
        narrowest: an interval of this length has no middle.
        rounding: what float32 leaves of a score, as a part of it.
    """

    steps: int
    tolerance: float | None
    at_once: int
    narrowest: float = 2.0**-20
    rounding: float = 1e-6


class State(NamedTuple):
    """What is known of R paths with n points each, ascending; those behind 1 are no points.

    Attributes:
        pending: points to measure, float64 [R, p]; negative ones are none.
        hits: rounds in a row that kept the tolerance, int64 [R].
        points: float64 [R, n]; so are all that follow.
        slopes: the sums of `gradients`.
        scores: of the model.
        distances: |g_i - g_{i-1}|, the length of the difference to the point before.
        places: where a point's gradient is, int64.
        gradients: float32 [R, n, elements], in the order in which they were measured.
    """

    pending: Any
    hits: Any
    points: Any
    slopes: Any
    scores: Any
    distances: Any
    places: Any
    gradients: Any


_INT64 = ("hits", "places")
_RANKS = {"hits": 1, "gradients": 3}


def state_inputs(emit: Emitter, side: str) -> State:
    """A state as further inputs of a graph."""
    found = []
    for name in State._fields:
        dtype = np.int64 if name in _INT64 else np.float64
        dtype = np.dtype(np.float32) if name == "gradients" else np.dtype(dtype)
        found.append(emit.input(f"{side}/{name}", dtype, _free(side, name)))
    return State(*found)


def state_outputs(state: State, side: str) -> list[gs.Tensor]:
    """A state as outputs of a graph: its tensors, under their names."""
    for name, tensor in zip(State._fields, state, strict=True):
        tensor.name, tensor.shape = f"{side}/{name}", _free(side, name)
    return [*state]


def _free(side: str, name: str) -> list[str]:
    """Lengths of their own: what grows from round to round must not count as of one shape."""
    return [f"{side}/{name}_dim{axis}" for axis in range(_RANKS.get(name, 2))]


def bisecting_round(subject: Subject, walk: Walk, rule: Rule) -> onnx.ModelProto:
    """A model of what `path_gradients` takes and a state, which returns the next state.

    Its first output says whether there is anything left to measure.

    Raises:
        UnsupportedModelError: an operator on the path without a gradient rule.
    """
    model = path_gradients(subject, walk)
    graph = gs.import_onnx(model)
    emit = Emitter(graph, "bisect")
    tensors, before = graph.tensors(), state_inputs(emit, BEFORE)
    names = [subject.name_of(ATTRIBUTION, source) for source in subject.sources]
    chunk = emit.Slice(before.pending, [0], [rule.at_once], [1])
    rest = emit.Slice(before.pending, [rule.at_once], [2**31], [1])
    # Who has no point goes along at the baseline; nobody looks at it.
    alphas = emit.Transpose(emit.Max(chunk, np.float64(0)), perm=[1, 0])
    _put(graph, emit.Cast(alphas, to=onnx_type(tensors[ALPHAS].dtype)), tensors[ALPHAS])
    gradients = _gradients(emit, [tensors[name] for name in names], chunk)
    scores = emit.Transpose(emit.Cast(tensors[SCORE], to=_DOUBLE), perm=[1, 0])
    state = _inserted(emit, before, chunk, scores, gradients)
    state, go_on = _chosen(emit, state, rest, rule)
    go_on.name, go_on.shape = GO_ON, []
    graph.outputs = [go_on, *state_outputs(state, BEHIND)]
    prune(graph)
    return exported(graph, model)


def _put(graph: gs.Graph, made: gs.Tensor, given: gs.Tensor) -> None:
    """What was made in place of an input."""
    graph.inputs = [tensor for tensor in graph.inputs if tensor is not given]
    graph.nodes.append(gs.Node("Identity", given.name, {}, [made], [given]))


def _gradients(emit: Emitter, parts: list[gs.Tensor], chunk: Any) -> Any:
    """Gradients times (x - x') of all explained inputs, float32 [R, K, elements]."""
    sizes = emit.Concat(emit.Shape(emit.Transpose(chunk, perm=[1, 0])), [-1], axis=0)
    flat = [emit.Reshape(emit.Cast(part, to=_FLOAT), sizes) for part in parts]
    joined = flat[0] if len(flat) == 1 else emit.Concat(*flat, axis=2)
    return emit.Transpose(joined, perm=[1, 0, 2])


def _inserted(emit: Emitter, before: State, chunk: Any, scores: Any, gradients: Any) -> State:
    """The state with what was measured at K points of each path, in order."""
    known = emit.Shape(before.points, start=1, end=2)
    count = emit.Shape(chunk, start=1, end=2)
    new = emit.Where(emit.term(chunk) < 0.0, np.float64(_FAR), chunk)
    places = emit.Range(
        *(emit.Squeeze(n, [0]) for n in (known, emit.term(known) + count)), np.int64(1)
    )
    slopes = emit.ReduceSum(emit.Cast(gradients, to=_DOUBLE), [2], keepdims=0)
    measured = {
        "points": new,
        "slopes": slopes,
        "scores": scores,
        "distances": emit.term(new) * 0.0,
        "places": emit.Expand(places, emit.Shape(chunk)),
    }
    joined = {
        name: emit.Concat(getattr(before, name), value, axis=1) for name, value in measured.items()
    }
    length = emit.Shape(joined["points"], start=1, end=2)
    points, order = emit.many("TopK", 2, joined["points"], length, axis=1, largest=0)
    order.dtype = np.dtype(np.int64)
    sorted_ = {
        name: emit.GatherElements(value, order, axis=1)
        for name, value in joined.items()
        if name != "points"
    }
    store = emit.Concat(before.gradients, gradients, axis=1)
    is_new = emit.term(sorted_["places"]) >= known
    distances = _measured_anew(emit, store, sorted_, is_new, count)
    state = before._replace(points=points, gradients=store, **sorted_)
    return state._replace(distances=distances)


def _measured_anew(emit: Emitter, store: Any, rows: dict[str, Any], is_new: Any, count: Any) -> Any:
    """The distances, those beside new points from the gradients themselves."""
    places = rows["places"]
    beside = emit.Or(_first(emit, is_new), _last(emit, is_new))
    length = emit.Shape(beside, start=1, end=2)
    # Each new point has an interval on either side; a distance may be measured twice.
    most = emit.Min(emit.term(count) * np.int64(2), length)
    _, intervals = emit.many("TopK", 2, emit.Cast(beside, to=_FLOAT), most, axis=1)
    intervals.dtype = np.dtype(np.int64)
    right = emit.term(intervals) + np.int64(1)
    ends = [_rows_at(emit, store, places, at) for at in (intervals, right)]
    lengths = emit.Sqrt(emit.ReduceSumSquare(ends[1] - ends[0], [2], keepdims=0))
    lengths = emit.Cast(lengths, to=_DOUBLE)
    return emit.ScatterElements(rows["distances"], right, lengths, axis=1)


def _rows_at(emit: Emitter, store: Any, places: Any, at: Any) -> Any:
    """The gradients of the points at these places of the order, [R, k, elements]."""
    found = emit.Unsqueeze(emit.GatherElements(places, at, axis=1), [2])
    return emit.term(emit.GatherND(store, found, batch_dims=1))


def _first(emit: Emitter, values: Any) -> Any:
    """All but the last, of the second axis."""
    return emit.term(emit.Slice(values, [0], [-1], [1]))


def _last(emit: Emitter, values: Any) -> Any:
    """All but the first, of the second axis."""
    return emit.term(emit.Slice(values, [1], [2**31], [1]))


def widths(emit: Emitter, points: Any) -> tuple[Any, Any]:
    """h of each interval, float64 [R, n - 1], and whether it is one: 0 and False behind the end."""
    real = _last(emit, points) <= 1.0
    width = _last(emit, points) - _first(emit, points)
    return emit.Where(real, width, np.float64(0)), real


def _chosen(emit: Emitter, state: State, rest: Any, rule: Rule) -> tuple[State, Any]:
    """The state with what is to be measured next; whether there is anything, and all is finite."""
    h, real = widths(emit, state.points)
    slopes = _first(emit, state.slopes) + _last(emit, state.slopes)
    rises = _last(emit, state.scores) - _first(emit, state.scores)
    residuals = emit.Where(real, h * slopes * 0.5 - rises, np.float64(0))
    over = emit.Shape(rest, start=1, end=2)
    waiting = emit.term(over) > np.int64(0)
    hits = state.hits
    if rule.tolerance is not None:
        kept = _is_kept(emit, state, residuals, rule)
        counted = (emit.term(hits) + np.int64(1)) * emit.Cast(kept, to=onnx.TensorProto.INT64)
        hits = emit.Where(waiting, hits, counted)
    else:
        hits = emit.Identity(hits)
    urgency = _share(emit, abs(residuals)) + _share(emit, h * _last(emit, state.distances))
    free = emit.And(real, h > rule.narrowest)
    middles = _middles(emit, state, urgency, free, hits, rule)
    # Nothing is chosen while something is waiting.
    count = emit.Where(waiting, np.int64(0), emit.Shape(middles, start=1, end=2))
    pending = emit.Concat(rest, emit.Slice(middles, [0], count, [1]), axis=1)
    there = emit.term(emit.Shape(pending, start=1, end=2)) > np.int64(0)
    finite = emit.ReduceSum((emit.term(state.slopes) + state.scores) * 0.0, keepdims=0)
    go_on = emit.And(emit.Squeeze(there, [0]), emit.Equal(finite, 0.0))
    return state._replace(pending=pending, hits=hits), go_on


def _is_kept(emit: Emitter, state: State, residuals: Any, rule: Rule) -> Any:
    """|delta| <= tolerance |F(x) - F(x')|, or rounding; bool [R]."""
    delta = abs(emit.ReduceSum(residuals, [1], keepdims=0))
    points = emit.term(state.points)
    real = emit.Cast(points <= 1.0, to=_DOUBLE)
    ends = emit.Cast(emit.Equal(points, 1.0), to=_DOUBLE), emit.Cast(
        emit.Equal(points, 0.0), to=_DOUBLE
    )
    last, first = (emit.ReduceSum(e * state.scores, [1], keepdims=0) for e in ends)
    assert rule.tolerance is not None, "no tolerance to keep"
    limit = abs(last - first) * rule.tolerance
    largest = emit.ReduceMax(abs(emit.term(state.scores)) * real, [1], keepdims=0)
    return emit.Or(delta <= limit, delta <= largest * rule.rounding)


def _share(emit: Emitter, values: Any) -> Any:
    """Each number's part of the sum; as it is where the sum is 0."""
    total = emit.ReduceSum(values, [1], keepdims=1)
    return emit.term(values) / emit.Where(emit.term(total) > 0.0, total, np.float64(1))


def _middles(emit: Emitter, state: State, urgency: Any, free: Any, hits: Any, rule: Rule) -> Any:
    """The middles of each path's most urgent intervals, float64 [R, up to `at_once`]."""
    ranked = emit.Where(free, urgency, np.float64(_NONE))
    most = emit.Min([rule.at_once], emit.Shape(ranked, start=1, end=2))
    found, intervals = emit.many("TopK", 2, ranked, most, axis=1)
    intervals.dtype = np.dtype(np.int64)
    left, right = (
        emit.GatherElements(side(emit, state.points), intervals, axis=1)
        for side in (_first, _last)
    )
    passes = emit.ReduceSum(
        emit.Cast(emit.term(state.points) <= 1.0, to=onnx.TensorProto.INT64), [1], keepdims=1
    )
    ranks = emit.Range(np.int64(0), emit.Squeeze(most, [0]), np.int64(1))
    within = emit.term(passes) + ranks < np.int64(rule.steps)
    open_ended = emit.Unsqueeze(emit.term(hits) < np.int64(2), [1])
    chosen = emit.And(emit.And(emit.term(found) >= 0.0, within), open_ended)
    middles = emit.Where(chosen, (emit.term(left) + right) * 0.5, np.float64(_NONE))
    # What is chosen comes first.
    counts = emit.ReduceSum(emit.Cast(chosen, to=onnx.TensorProto.INT64), [1], keepdims=0)
    used = emit.ReduceMax(counts, [0], keepdims=1)
    return emit.Slice(middles, [0], used, [1])
