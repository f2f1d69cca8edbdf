"""What a file knows of adaptive paths between two rounds, as tensors that a Loop carries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx

from ..graph.dims import Dim
from ..graph.emitter import Emitter
from .quadrature import FEWEST, SAMPLE, STORE

DOUBLE, FLOAT, INT64 = (getattr(onnx.TensorProto, name) for name in ("DOUBLE", "FLOAT", "INT64"))
# A place where no point is: in what is to be measured, and among what was, behind the last one.
NONE, FAR = -1.0, 2.0
# More than any place in a store.
BIG = np.int64(2**40)
_END = 2**31


class Rule(NamedTuple):
    """When a path is finished, and how it is followed.

    Attributes:
        steps: the most points.
        tolerance: of |delta| / |score's difference|, kept twice in a row; None: take all steps.
        map_tolerance: the same of the map's estimated error.
        at_once: points of each path in one round.
        elements: of a gradient; None: the file leaves that open.
        store: bytes of gradients to keep of each path.
    """

    steps: int
    tolerance: float | None
    map_tolerance: float | None
    at_once: int
    elements: Dim
    store: int = STORE

    @property
    def settles(self) -> bool:
        """Whether a path may have more gradients than are kept."""
        if not isinstance(self.elements, int):
            return True
        return self.steps > max(FEWEST, self.store // max(4 * self.elements, 1))

    @property
    def samples(self) -> bool:
        """Whether elements that stand for all are chosen on the way, and not at the end."""
        return self.settles or self.map_tolerance is not None

    @property
    def fields(self) -> tuple[str, ...]:
        """What of a `State` there is."""
        more = ("settled", "open") if self.settles else ()
        return (*_ALWAYS, *more, *(("known", "drawn", "scale", "rows") if self.samples else ()))


class State(NamedTuple):
    """What is known of R paths with n points each, ascending; those behind 1 are no points.

    Attributes:
        pending: points to measure, float64 [R, p]; negative ones are none.
        hits: rounds in a row that kept the tolerance, int64 [R].
        points: float64 [R, n]; so are all that follow.
        slopes: the sums of `gradients`.
        scores: of the model.
        distances: |g_i - g_{i-1}|, the length of the difference to the point before.
        places: where a point's gradient is, int64; -1 where it was let go.
        gradients: float32 [R, m, elements], in the order in which they were measured.
        settled: what intervals that are closed for good add to the attribution, float32
            [R, elements].
        open: whether the interval in front of a point may be bisected, bool.
        known: whether a path has a sample of elements, bool [R].
        drawn: its elements, int64 [R, k].
        scale: what each of them is multiplied by, float32 [R, k].
        rows: the sample at each point, float32 [R, n, k].
    """

    pending: Any
    hits: Any
    points: Any
    slopes: Any
    scores: Any
    distances: Any
    places: Any
    gradients: Any
    settled: Any = None
    open: Any = None
    known: Any = None
    drawn: Any = None
    scale: Any = None
    rows: Any = None


_ALWAYS = State._fields[:8]
_TYPES = {"hits": np.int64, "places": np.int64, "drawn": np.int64, "open": bool, "known": bool}
_TYPES |= dict.fromkeys(("gradients", "settled", "scale", "rows"), np.float32)
_RANKS = {"hits": 1, "known": 1, "gradients": 3, "rows": 3}


def state_inputs(emit: Emitter, side: str, rule: Rule) -> State:
    """A state as further inputs of a graph."""
    found = {
        name: emit.input(f"{side}/{name}", type_of(name), _free(side, name)) for name in rule.fields
    }
    return State(**found)


def state_outputs(state: State, side: str, rule: Rule) -> list[Any]:
    """A state as outputs of a graph: its tensors, under their names."""
    found = []
    for name in rule.fields:
        tensor = getattr(state, name)
        tensor.name, tensor.shape = f"{side}/{name}", _free(side, name)
        tensor.dtype = type_of(name)
        found.append(tensor)
    return found


def type_of(name: str) -> np.dtype:
    """The type of a state's tensor."""
    return np.dtype(_TYPES.get(name, np.float64))


def _free(side: str, name: str) -> list[str]:
    """Lengths of their own: what grows from round to round must not count as of one shape."""
    return [f"{side}/{name}_dim{axis}" for axis in range(_RANKS.get(name, 2))]


def at_the_beginning(emit: Emitter, rows: Any, elements: Any, points: np.ndarray, rule: Rule):
    """The state of R paths in which nothing is measured.

    Args:
        emit: adds to the graph.
        rows: R, int64 [1].
        elements: of a gradient, int64 [1].
        points: to measure first.
        rule: which fields there are.
    """
    few = emit.Min(elements, [SAMPLE])
    shapes = {
        "gradients": (rows, [0], elements),
        "settled": (rows, elements),
        "drawn": (rows, few),
        "scale": (rows, few),
        "rows": (rows, [0], few),
    }
    state = {"pending": emit.Expand(points[None], emit.Concat(rows, [1], axis=0))}
    for name in rule.fields[1:]:
        sizes = shapes.get(name, (rows, [0]))
        sizes = sizes[:1] if _RANKS.get(name) == 1 else sizes
        whole = rows if len(sizes) == 1 else emit.Concat(*sizes, axis=0)
        state[name] = emit.filled(whole, 0, type_of(name))
    return State(**state)


def left_of(emit: Emitter, values: Any) -> Any:
    """Of points, those at the left of an interval: all but the last, on the second axis."""
    return emit.term(emit.Slice(values, [0], [-1], [1]))


def right_of(emit: Emitter, values: Any) -> Any:
    """Of points, those at the right of an interval: all but the first, on the second axis."""
    return emit.term(emit.Slice(values, [1], [_END], [1]))


def beside(emit: Emitter, intervals: Any, fill: float = 0.0) -> tuple[Any, Any]:
    """For each point what is known of the interval in front of it and of that behind it."""
    wide = emit.pad(intervals, [1, 1], [1], 2, fill)
    return left_of(emit, wide), right_of(emit, wide)


def widths(emit: Emitter, points: Any) -> tuple[Any, Any]:
    """h of each interval, float64 [R, n - 1], and whether it is one: 0 and False behind the end."""
    real = right_of(emit, points) <= 1.0
    width = right_of(emit, points) - left_of(emit, points)
    return emit.term(emit.Where(real, width, np.float64(0))), real


def trapezoid(emit: Emitter, h: Any) -> Any:
    """Each point's weight, half the intervals beside it, float64 [R, n]."""
    before, behind = beside(emit, h)
    return (before + behind) * 0.5


def weighted(emit: Emitter, state: State, weights: Any) -> Any:
    """The weighted sum of the gradients that are kept, float32 [R, elements].

    A point without one has weight 0.
    """
    places = emit.term(state.places)
    count = emit.Shape(state.gradients, start=1, end=2)
    key = emit.Where(places < np.int64(0), BIG, places)
    _, order = emit.many("TopK", 2, key, count, axis=1, largest=0)
    order.dtype = np.dtype(np.int64)
    row = emit.Unsqueeze(emit.Cast(emit.GatherElements(weights, order, axis=1), to=FLOAT), [1])
    return emit.term(emit.Squeeze(row @ state.gradients, [1]))
