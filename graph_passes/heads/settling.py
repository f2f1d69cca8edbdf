"""Letting gradients of an adaptive path go in a file, where more than enough are kept.

As `AdaptivePath._let_go` does: the least urgent intervals are closed for good, and their part of
the attribution is added up, until the store holds the gradients that are left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.emitter import Emitter
from .path_state import BIG, DOUBLE, INT64, Rule, State, beside, right_of, trapezoid, weighted
from .quadrature import FEWEST


def surplus_of(emit: Emitter, state: State, rule: Rule) -> Any:
    """How many gradients each path has more than the store holds, int64 [R, 1]."""
    size = emit.Shape(state.gradients, start=2, end=3)
    holds = emit.constant(np.asarray([rule.store // 4])) / emit.Max(size, [1])
    kept = emit.Cast(_kept(emit, state), to=INT64)
    count = emit.ReduceSum(kept, [1], keepdims=1)
    return emit.term(count) - emit.Max(holds, [FEWEST])


def _kept(emit: Emitter, state: State) -> Any:
    """Which points have a gradient, bool [R, n]."""
    places, points = emit.term(state.places), emit.term(state.points)
    return emit.term(emit.And(places >= np.int64(0), points <= 1.0))


def settled(
    emit: Emitter, state: State, urgency: Any, h: Any, real: Any, surplus: Any, active: Any
) -> State:
    """The state of which the store holds the gradients.

    Args:
        emit: adds to the graph.
        state: all of it.
        urgency: of each interval, float64 [R, n - 1].
        h: its length.
        real: whether it is one.
        surplus: of `surplus_of`.
        active: which paths let something go, bool [R, 1].
    """
    is_open = emit.And(right_of(emit, state.open), real)
    rank = _ranks(emit, urgency, is_open)
    # A point is let go with the last open interval beside it.
    last = emit.Max(*beside(emit, rank, -1.0))
    kept = _kept(emit, state)
    ranked, _ = emit.many(
        "TopK", 2, emit.Where(kept, last, BIG), emit.Shape(last, start=1, end=2), axis=1, largest=0
    )
    index = emit.Max(emit.term(surplus) - np.int64(1), np.int64(0))
    limit = emit.GatherElements(ranked, index, axis=1)
    closing = emit.And(emit.And(is_open, emit.term(rank) <= limit), active)
    weights = trapezoid(emit, h * emit.Cast(closing, to=DOUBLE))
    total = emit.term(state.settled) + weighted(emit, state, weights)
    left_open = emit.And(is_open, ~emit.term(closing))
    touching = emit.Max(*beside(emit, emit.Cast(left_open, to=INT64)))
    stays = emit.And(kept, emit.Or(~emit.term(active), emit.term(touching) > np.int64(0)))
    first = emit.Slice(state.open, [0], [1], [1])
    state = state._replace(settled=total, open=emit.Concat(first, left_open, axis=1))
    return _without(emit, state, stays)


def _ranks(emit: Emitter, urgency: Any, is_open: Any) -> Any:
    """0 of the least urgent open interval, and so on; -1 of a closed one; int64 [R, n - 1]."""
    key = emit.Where(is_open, urgency, np.array(np.inf))
    count = emit.Shape(key, start=1, end=2)
    _, order = emit.many("TopK", 2, key, count, axis=1, largest=0)
    order.dtype = np.dtype(np.int64)
    numbers = emit.Expand(_up_to(emit, count), emit.Shape(order))
    rank = emit.ScatterElements(emit.term(order) * np.int64(0), order, numbers, axis=1)
    return emit.Where(is_open, rank, np.int64(-1))


def _without(emit: Emitter, state: State, stays: Any) -> State:
    """The state that has the gradients of some points only."""
    counts = emit.ReduceSum(emit.Cast(stays, to=INT64), [1], keepdims=0)
    count = emit.ReduceMax(counts, [0], keepdims=1)
    key = emit.Where(stays, state.places, BIG)
    found, order = emit.many("TopK", 2, key, count, axis=1, largest=0)
    order.dtype = np.dtype(np.int64)
    last = emit.term(emit.Shape(state.gradients, start=1, end=2)) - np.int64(1)
    chosen = emit.Unsqueeze(emit.Min(found, last), [2])
    gradients = emit.GatherND(state.gradients, chosen, batch_dims=1)
    gradients.dtype = np.dtype(np.float32)
    numbers = emit.Expand(_up_to(emit, count), emit.Shape(order))
    nowhere = emit.term(state.places) * np.int64(0) - np.int64(1)
    places = emit.ScatterElements(nowhere, order, numbers, axis=1)
    return state._replace(gradients=gradients, places=emit.Where(stays, places, np.int64(-1)))


def _up_to(emit: Emitter, count: Any) -> Any:
    return emit.Range(np.int64(0), emit.Squeeze(count, [0]), np.int64(1))
