"""Masks [y > low] and [y < high] as numbers, kept cheap: they were half of a gradient pass."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import Value, is_constant
from ..graph.terms import Term

# Every normal float32 above 0 times this is over 1.
_STEEP = 3e38
# The least bound whose steepness, 2^24 over it, is a float32 number with room to multiply.
_LEAST = 2.0**-100


def above(op: Emitter, y: Term, low: Term | float) -> Term:
    """[y > low] in y's type."""
    return _step(op, y, low, 1.0)


def below(op: Emitter, y: Term, high: Term | float) -> Term:
    """[y < high] in y's type."""
    return _step(op, y, high, -1.0)


def _step(op: Emitter, y: Term, bound: Term | float, sign: float) -> Term:
    """clip(a (y - bound), 0, 1) with a so steep that it is exact, as one HardSigmoid.

    Exact: a is a power of two, so a y and a bound are, and their difference is where y is near the
    bound. (At bound 0 only y below 1.2e-38, which most hardware flushes to 0, get a part of their
    gradient.) One pass over the numbers, where a comparison and its Cast take two: a gradient pass
    of EfficientNet-Lite0 takes 3.0 plain forward passes instead of 3.5 (1 thread, 4 points; 3.2 by
    depthwise convolutions, which stay in ONNX Runtime's blocked layout but are slow themselves).
    """
    value = _number(bound)
    if value is None or y.dtype != np.float32 or not _has_steepness(value):
        return op.cast_like(y > bound if sign > 0 else y < bound, y)
    slope = sign * steepness(value)
    mask = op.HardSigmoid(y, alpha=slope, beta=-slope * value)
    mask.shape = y.shape
    return mask


def binds(bound: Value, never: float) -> bool:
    """False for a bound that is the infinity which no number lies beyond."""
    return not (is_constant(bound) and np.all(bound.values == never))


def _has_steepness(value: float) -> bool:
    """Whether `steepness` is a float32 number: not for bounds so small that it overflows."""
    return value == 0 or _LEAST <= abs(value) < math.inf


def _number(bound: Value | float) -> float | None:
    if isinstance(bound, gs.Tensor | Term):
        single = is_constant(bound) and bound.values.size == 1
        return float(bound.values.item()) if single else None
    return float(bound)


def steepness(value: float) -> float:
    """A power of two that carries the float32 neighbours of `value` at least 1 away from it."""
    if value == 0:
        return _STEEP
    return 2.0 ** (24 - math.floor(math.log2(abs(value))))
