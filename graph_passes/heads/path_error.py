"""The estimated error of an adaptive path's map, as a graph.

The formulas and why they hold are told in `engine/running/map_error.py`, which these follow line by
line; here for R paths at once, of which some may have fewer points: an interval behind a path's end
has no length, and what divides by it is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx

from ..graph.dims import Dim
from ..graph.emitter import Emitter
from .path_state import (
    DOUBLE,
    FLOAT,
    INT64,
    Rule,
    State,
    beside,
    left_of,
    right_of,
    trapezoid,
    type_of,
    weighted,
    widths,
)
from .quadrature import SAMPLE, SMOOTH

_MOST_BITS = 31


class Shares(NamedTuple):
    """What the error of each interval is put together from, float64 [R, n - 1] or [R, n - 2].

    Attributes:
        h: the intervals' lengths; 0 behind the end.
        inside: which intervals have an inner point at both ends.
        per_point: 1 / (h1 h2 (h1 + h2)) of each inner point; 0 behind the end.
        second: d_j of each, float32 [R, n - 2, elements].
        squares: |d_j|^2.
    """

    h: Any
    inside: Any
    per_point: Any
    second: Any
    squares: Any


def attribution_of(emit: Emitter, state: State, rule: Rule) -> Any:
    """The trapezoid sum over all intervals, float32 [R, elements]."""
    h, _ = widths(emit, state.points)
    if not rule.settles:
        return weighted(emit, state, trapezoid(emit, h))
    is_open = emit.Cast(right_of(emit, state.open), to=DOUBLE)
    return weighted(emit, state, trapezoid(emit, h * is_open)) + state.settled


def sampled(emit: Emitter, state: State, attribution: Any, rule: Rule) -> Any:
    """What stands for the gradients at each point, float32 [R, n, up to 2048 elements]."""
    if not rule.samples and isinstance(rule.elements, int) and rule.elements <= SAMPLE:
        return taken(emit, state.gradients, state.places)
    drawn, scale = _drawn(emit, attribution, rule.elements)
    rows = taken(emit, on_sample(emit, state.gradients, drawn, scale), state.places)
    if not rule.samples:
        return rows
    return emit.Where(emit.Unsqueeze(state.known, [1, 2]), state.rows, rows)


def known_sample(emit: Emitter, state: State, wanted: Any, rule: Rule) -> State:
    """The state with a sample for each path that wants one, bool [R], and has none."""
    now = emit.And(wanted, ~emit.term(state.known))

    def drawn_now(inner: Emitter) -> list[Any]:
        drawn, scale = _drawn(inner, attribution_of(inner, state, rule), rule.elements)
        rows = taken(inner, on_sample(inner, state.gradients, drawn, scale), state.places)
        column = inner.Unsqueeze(now, [1])
        return [
            inner.Or(state.known, now),
            inner.Where(column, drawn, state.drawn),
            inner.Where(column, scale, state.scale),
            inner.Where(inner.Unsqueeze(column, [2]), rows, state.rows),
        ]

    def as_before(inner: Emitter) -> list[Any]:
        return [inner.Identity(getattr(state, name)) for name in names]

    names = ("known", "drawn", "scale", "rows")
    some = emit.ReduceMax(emit.Cast(now, to=INT64), keepdims=0)
    some = emit.Cast(some, to=onnx.TensorProto.BOOL)
    found = emit.either(some, drawn_now, as_before, [type_of(name) for name in names])
    return state._replace(**dict(zip(names, found, strict=True)))


def on_sample(emit: Emitter, gradients: Any, drawn: Any, scale: Any) -> Any:
    """What stands for whole gradients [R, k, elements]."""
    ahead = emit.Concat(
        emit.Shape(gradients, start=0, end=2), emit.Shape(drawn, start=1, end=2), axis=0
    )
    wide = emit.Expand(emit.Unsqueeze(drawn, [1]), ahead)
    rows = emit.GatherElements(gradients, wide, axis=2)
    return emit.term(rows) * emit.Unsqueeze(scale, [1])


def taken(emit: Emitter, rows: Any, places: Any) -> Any:
    """Rows [R, n, ...] at places [R, k] of their second axis."""
    found = emit.GatherND(rows, emit.Unsqueeze(places, [2]), batch_dims=1)
    return emit.term(found)


def _drawn(emit: Emitter, attribution: Any, elements: Dim) -> tuple[Any, Any]:
    """Which elements are drawn, int64 [R, m], and what each is multiplied by, float32 [R, m]."""
    count = emit.Shape(attribution, start=1, end=2)
    wide = emit.Cast(count, to=DOUBLE)
    sizes = abs(emit.term(attribution))
    total = emit.ReduceSum(emit.Cast(sizes, to=DOUBLE), [1], keepdims=1)
    twice = emit.Where(emit.term(total) > 0.0, emit.term(total) * 2.0, np.float64(1))
    chance = sizes / emit.Cast(twice, to=FLOAT)
    used = emit.ReduceSum(emit.Cast(chance, to=DOUBLE), [1], keepdims=1)
    chance = chance + emit.Cast((1.0 - emit.term(used)) / wide, to=FLOAT)
    places = emit.CumSum(emit.Cast(chance, to=DOUBLE), np.array(1))
    most = emit.Min(count, [SAMPLE])
    marks = emit.Cast(emit.Range(*_to(emit, most)), to=DOUBLE) + 0.5
    marks = marks / emit.Cast(most, to=DOUBLE)
    end = emit.Slice(places, [-1], [2**31], [1])
    bits = elements.bit_length() if isinstance(elements, int) else _MOST_BITS
    drawn = _searched(emit, places, marks * end, count, bits)
    root = emit.Sqrt(emit.Cast(most, to=FLOAT) * emit.GatherElements(chance, drawn, axis=1))
    scale = 1.0 / emit.term(root)
    if isinstance(elements, int) and elements > SAMPLE:
        return drawn, scale
    # Of so few all.
    few = emit.term(count) <= np.int64(SAMPLE)
    every = emit.Expand(emit.Range(*_to(emit, most)), emit.Shape(drawn))
    return emit.Where(few, every, drawn), emit.Where(few, np.float32(1), scale)


def _to(emit: Emitter, count: Any) -> tuple[Any, Any, Any]:
    return np.int64(0), emit.Squeeze(count, [0]), np.int64(1)


def _searched(emit: Emitter, places: Any, marks: Any, count: Any, bits: int) -> Any:
    """The first index at which ascending numbers [R, n] are no less than each mark [R, m]."""
    low = emit.Cast(emit.term(marks) * 0.0, to=INT64)
    last = emit.term(count) - np.int64(1)
    high = low + last
    for _ in range(bits):
        middle = (low + high) / np.int64(2)
        less = emit.term(emit.GatherElements(places, middle, axis=1)) < marks
        low = emit.term(emit.Where(less, emit.Min(middle + np.int64(1), last), low))
        high = emit.term(emit.Where(less, high, middle))
    return high


def estimated(emit: Emitter, state: State, rows: Any, weights: Any, steps: int) -> Any:
    """E / |attribution| of each path, float64 [R]; 0 / 0 is 0.

    Args:
        emit: adds to the graph.
        state: the paths.
        rows: of `sampled`.
        weights: of the trapezoid, for each point in order, float64 [R, n].
        steps: the most points; below three there is no d_j, below four no two of them.
    """
    h, real = widths(emit, state.points)
    jumps = right_of(emit, rows) - left_of(emit, rows)
    variance = h * h * _squares(emit, jumps) / 12.0
    together = np.float64(0)
    if steps > 2:
        shares = _shares(emit, state, h, real, jumps)
        share = h * h * h / emit.Where(shares.inside, np.array(6.0), np.array(3.0))
        weight = (left_of(emit, share) + right_of(emit, share)) * shares.per_point
        together = _length(emit, weight, shares.second)
        before, behind = beside(emit, shares.per_point * shares.squares)
        bound = share * (before + behind)
        variance = emit.Min(variance, bound)
        if steps > 3:
            part = _share_of_jumps(emit, shares, variance)
            variance = emit.term(variance) * part * part
    size = _length(emit, weights, rows)
    spread = emit.ReduceSum(variance, [1], keepdims=0)
    error = emit.Sqrt(emit.term(spread) + together * together)
    none = emit.Equal(error, 0.0)
    return emit.Where(none, np.float64(0), emit.term(error) / emit.Where(none, np.float64(1), size))


def _shares(emit: Emitter, state: State, h: Any, real: Any, jumps: Any) -> Shares:
    before, after = left_of(emit, h), right_of(emit, h)
    inner = right_of(emit, real)
    volume = before * after * (before + after)
    per_point = emit.Cast(inner, to=DOUBLE) / emit.Where(inner, volume, np.float64(1))
    second = _column(emit, before * 0.5) * right_of(emit, jumps)
    second = second - _column(emit, after * 0.5) * left_of(emit, jumps)
    starts = left_of(emit, emit.term(state.points)) > 0.0
    ends = right_of(emit, emit.term(state.points)) < 1.0
    squares = _squares(emit, second)
    return Shares(h, emit.And(starts, ends), emit.term(per_point), second, squares)


def _share_of_jumps(emit: Emitter, shares: Shares, variance: Any) -> Any:
    """How much of a random walk each interval is, from 0 (smooth) to 1."""
    h, second, squares = shares.h, shares.second, shares.squares
    products = emit.ReduceSum(left_of(emit, second) * right_of(emit, second), [2], keepdims=0)
    products = emit.Cast(products, to=DOUBLE)
    sizes = emit.Sqrt(left_of(emit, squares) * right_of(emit, squares))
    there = emit.term(sizes) > 0.0
    cosine = emit.Where(
        there, emit.term(products) / emit.Where(there, sizes, np.float64(1)), np.float64(0)
    )
    outer, own = left_of(emit, left_of(emit, h)), right_of(emit, left_of(emit, h))
    after = right_of(emit, right_of(emit, h))
    inside = right_of(emit, left_of(emit, shares.inside))
    bottom = emit.Where(inside, (outer + own) * (own + after), np.float64(1))
    walk = -emit.Sqrt(outer * after / bottom)
    found = emit.Clip((SMOOTH - emit.term(cosine)) / (SMOOTH - walk), np.float64(0), np.float64(1))
    counted = emit.term(emit.Cast(inside, to=DOUBLE)) * right_of(emit, left_of(emit, variance))
    total = emit.ReduceSum(counted, [1], keepdims=1)
    some = emit.term(total) > 0.0
    mean = emit.ReduceSum(emit.term(found) * counted, [1], keepdims=1)
    mean = emit.term(mean) / emit.Where(some, total, np.float64(1))
    mean = emit.Where(some, mean, np.float64(1))
    return emit.term(emit.Where(shares.inside, emit.pad(found, [1, 1], [1], 2), mean))


def _column(emit: Emitter, values: Any) -> Any:
    return emit.term(emit.Unsqueeze(emit.Cast(values, to=FLOAT), [2]))


def _squares(emit: Emitter, rows: Any) -> Any:
    """Each row's sum of squares, float64 [R, n]."""
    return emit.term(emit.Cast(emit.ReduceSumSquare(rows, [2], keepdims=0), to=DOUBLE))


def _length(emit: Emitter, weights: Any, rows: Any) -> Any:
    """|sum of weighted rows|, float64 [R]."""
    row = emit.Unsqueeze(emit.Cast(weights, to=FLOAT), [1])
    total = emit.Cast(row @ rows, to=DOUBLE)
    return emit.term(emit.Sqrt(emit.ReduceSumSquare(total, [1, 2], keepdims=0)))
