"""Maps made fit to be seen, inside a graph: cells found, blurred, and their scale's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph.emitter import Emitter
from . import look
from .resampling import FLOAT, INT64, counted, doubled

_FAR = 1e9
# A blur that leaves everything as it is.
_NONE = 1e-3


def between_cells(emit: Emitter, maps: Any) -> Any:
    """Maps [N, H, W] without the crosses and corners that linear interpolation leaves.

    Each blurred by somewhat less than half a cell of its own; one that is not drawn between cells
    stays as it is.
    """
    across = emit.Transpose(maps, perm=[0, 2, 1])
    cells = [cell_lengths(emit, emit.term(one)) for one in (maps, across)]
    both = emit.And(*(emit.Greater(cell, 0.0) for cell in cells))
    sigmas = [emit.Where(both, look.BETWEEN * cell, emit.constant(_NONE)) for cell in cells]
    sigmas = [emit.term(emit.Unsqueeze(sigma, [2])) for sigma in sigmas]
    # Knots lie at most the whole length apart.
    widest = [look.BETWEEN * _float(emit, emit.dims(maps, axis, axis + 1)) for axis in (1, 2)]
    return blurred(emit, maps, sigmas, widest)


def cell_lengths(emit: Emitter, maps: Any) -> Any:
    """How far the knots of piecewise linear maps [N, L, ...] lie apart along L, [N, 1].

    Between knots second differences are 0; 0 where the maps are not of that kind. Bends side by
    side are one knot, in their middle.
    """
    bent = _bends(emit, maps)
    inner, outer = _ahead(emit, bent), _behind(emit, bent)
    begins, ends = inner * (1.0 - outer), outer * (1.0 - inner)
    # The first bend of each run, and the last: in order, those of a run belong together.
    first, last = (_places(emit, flags) for flags in (begins, ends))
    knots = (first + 1.0 + last) * 0.5
    count = emit.term(emit.ReduceSum(begins, [1], keepdims=1))
    wall = emit.filled(emit.Shape(count), _FAR, np.float32)
    gaps = emit.term(_ahead(emit, emit.Concat(knots, wall, axis=1))) - knots
    places = emit.Unsqueeze(counted(emit, emit.Shape(gaps, start=1, end=2)), [0])
    known = emit.Less(emit.Cast(places, to=FLOAT), count - 1.0)
    gap = _middle(emit, _sorted(emit, emit.Where(known, gaps, emit.constant(_FAR))), count - 1.0)
    bends = emit.ReduceSum(bent, [1], keepdims=1)
    length = emit.Cast(emit.Shape(maps, start=1, end=2), to=FLOAT)
    most = (emit.term(length) - 2.0) * (1.0 - look.LEAST_STRAIGHT)
    good = emit.And(emit.GreaterOrEqual(bends, 2.0), emit.LessOrEqual(bends, most + 1e-3))
    good = emit.And(good, emit.GreaterOrEqual(count, 2.0))
    good = emit.And(good, emit.GreaterOrEqual(gap, look.LEAST_CELL))
    return emit.term(emit.Where(good, gap, emit.constant(0.0)))


def _bends(emit: Emitter, maps: Any) -> Any:
    """1 where maps [N, L, ...] bend along L, else 0, and 0 at both ends: [N, L], of L = 1 two."""
    slopes = _ahead(emit, maps) - _behind(emit, maps)
    bends = emit.ReduceMax(abs(_ahead(emit, slopes) - _behind(emit, slopes)), [2], keepdims=0)
    largest = emit.ReduceMax(abs(maps), [1, 2], keepdims=0)
    largest = emit.Unsqueeze(_or_one(emit, largest), [1])
    bent = emit.Cast(emit.Greater(bends, emit.term(largest) * look.STRAIGHT), to=FLOAT)
    return emit.term(emit.pad(bent, [1, 1], [1], 2))


def _or_one(emit: Emitter, value: Any) -> Any:
    return emit.Where(emit.Equal(value, 0.0), emit.constant(1.0), value)


def _ahead(emit: Emitter, value: Any) -> Any:
    """Without the first along axis 1."""
    return emit.term(emit.Slice(value, [1], [2**31 - 1], [1]))


def _behind(emit: Emitter, value: Any) -> Any:
    """Without the last along axis 1."""
    return emit.term(emit.Slice(value, [0], [-1], [1]))


def _places(emit: Emitter, flags: Any) -> Any:
    """The places of ones in rows of flags [N, L], the lowest first; far behind them the rest."""
    places = emit.Unsqueeze(counted(emit, emit.Shape(flags, start=1, end=2)), [0])
    found = emit.Where(emit.Greater(flags, 0.5), emit.Cast(places, to=FLOAT), emit.constant(_FAR))
    return emit.term(_sorted(emit, found))


def _sorted(emit: Emitter, rows: Any) -> Any:
    """Each row [N, L] in order, the lowest first."""
    length = emit.Shape(rows, start=1, end=2)
    return _top(emit, rows, length, largest=0)


def _top(emit: Emitter, rows: Any, count: Any, **how: Any) -> Any:
    """So many values of each row [N, L], the largest first."""
    values, places = emit.many("TopK", 2, rows, count, axis=1, **how)
    places.dtype = np.dtype(np.int64)
    return values


def _middle(emit: Emitter, rows: Any, counts: Any) -> Any:
    """The median of the first so many of each row, which is in order; counts: float [N, 1]."""
    both = [emit.Floor((counts - 1.0) * 0.5), emit.Floor(counts * 0.5)]
    places = [emit.Max(emit.Cast(one, to=INT64), np.int64(0)) for one in both]
    low, high = (emit.term(emit.GatherElements(rows, place, axis=1)) for place in places)
    return (low + high) * 0.5


def _float(emit: Emitter, value: Any) -> Any:
    return emit.term(emit.Cast(value, to=FLOAT))


def blurred(emit: Emitter, maps: Any, sigmas: Sequence[Any], widest: Sequence[Any]) -> Any:
    """Maps [N, H, W] after a Gaussian blur along both axes, mirrored at the edges.

    sigmas: down and across, float [N, 1, 1] or [1, 1, 1]; widest: what they are at most, by the
    maps' size alone, float [1].
    """
    sizes = [emit.dims(maps, axis, axis + 1) for axis in (1, 2)]
    left, right = (
        blur_weights(emit, size, sigma, most)
        for size, sigma, most in zip(sizes, sigmas, widest, strict=True)
    )
    return emit.term(left) @ maps @ emit.Transpose(right, perm=[0, 2, 1])


def blur_weights(emit: Emitter, length: Any, sigma: Any, most: Any) -> Any:
    """Rows that blur, [N, L, L]: sums of G over all that a mirror shows at one place.

    G[i, m] = exp(-((m - i) / sigma)^2 / 2) where |m - i| <= ceil(3 sigma), over their sum; what is
    at place m of the endless mirrored line is min(m mod 2 L, 2 L - 1 - m mod 2 L).

    length: int64 [1]; sigma: float [N, 1, 1]; most: float [1], see `blurred`.
    """
    radius = emit.term(emit.Ceil(3.0 * sigma))
    widest = emit.Cast(emit.Ceil(3.0 * most), to=INT64)
    line = emit.term(counted(emit, emit.term(length) + emit.term(widest) * 2)) - widest
    offsets = emit.Unsqueeze(line, [0]) - emit.term(emit.Unsqueeze(counted(emit, length), [1]))
    offsets = emit.term(emit.Unsqueeze(emit.Cast(offsets, to=FLOAT), [0]))
    ratio = offsets / sigma
    bell = emit.Exp(ratio * ratio * -0.5)
    bell = emit.Where(emit.LessOrEqual(abs(offsets), radius), bell, emit.constant(0.0))
    bell = emit.term(bell) / emit.ReduceSum(bell, [2], keepdims=1)
    period = emit.term(length) * 2
    place = emit.term(emit.Mod(line, period))
    place = emit.Unsqueeze(emit.Min(place, period - place - [1]), [1])
    shown = emit.Equal(place, emit.Unsqueeze(counted(emit, length), [0]))
    return bell @ emit.Cast(shown, to=FLOAT)


def regions(emit: Emitter, maps: Any) -> tuple[Any, Any]:
    """Net evidence by region of maps [N, H, W], and the percentile that their colours end at.

    Blurred by a part of the longer side; of small maps left as they are.
    """
    longer = emit.Max(emit.dims(maps, 1, 2), emit.dims(maps, 2, 3))
    sigma = _float(emit, longer) / float(look.REGION)
    narrow = emit.Less(sigma, look.LEAST_BLUR)
    own = emit.Reshape(emit.Where(narrow, emit.constant(_NONE), sigma), [1, 1, 1])
    ends = [emit.constant(end, np.float64) for end in (look.END_OF_ELEMENTS, look.END_OF_REGIONS)]
    both = [emit.term(own)] * 2
    return blurred(emit, maps, both, [emit.term(emit.Reshape(own, [1]))] * 2), emit.Where(
        narrow, *ends
    )


def percentile(emit: Emitter, rows: Any, part: Any) -> Any:
    """The value below which so many of each row's [N, n] lie, between two if need be: [N, 1].

    part: in percent, double [1].
    """
    length = emit.Shape(rows, start=1, end=2)
    place = (doubled(emit, length) - 1.0) * (emit.term(part) / 100.0)
    below = emit.term(emit.Floor(place))
    rest = emit.term(emit.Cast(place - below, to=FLOAT))
    count = emit.term(length) - emit.Cast(below, to=INT64)
    largest = _top(emit, rows, count)
    low = emit.term(emit.Gather(largest, count - [1], axis=1))
    high = emit.term(emit.Gather(largest, emit.Max(count - [2], np.int64(0)), axis=1))
    return low + rest * (high - low)


def end_of_scale(emit: Emitter, maps: Any, part: Any = None) -> Any:
    """The magnitude at the end of the colours, [N, 1, 1]: a percentile, else the largest.

    Of a map that is 0 everywhere, 1.
    """
    rows = emit.Flatten(abs(maps), axis=1)
    largest = emit.ReduceMax(rows, [1], keepdims=1)
    if part is not None:
        found = percentile(emit, rows, part)
        largest = emit.Where(emit.Equal(found, 0.0), largest, found)
    return emit.term(emit.Unsqueeze(_or_one(emit, largest), [2]))
