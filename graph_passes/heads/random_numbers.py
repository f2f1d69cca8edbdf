"""Random numbers inside a graph: a function of a seed, a sample and a place, and of nothing else.

So a file gives the same numbers wherever and however often it runs, and so does each row of a
batch. ONNX's own random operators go on from run to run, and differ between runtimes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from ..graph.emitter import Emitter
from ..graph.tensors import Value, onnx_type

# A prime for which x -> x^5 is a permutation of 0 .. P - 1, whose products fit into int64.
P = 2**31 - 1
# Odd numbers without a meaning, below P.
_PLACE, _SAMPLE, _SEED, _FIRST, _SECOND, _THIRD = (
    *(1_103_515_245, 1_640_531_527, 69_069),
    *(805_459_861, 1_518_500_249, 22_468_225),
)


def hashed(emit: Emitter, samples: Value, places: Value, seed: int) -> Any:
    """h = ((((a i + b k + c seed) mod P)^5 + d)^5 + e)^5 mod P, int64 [K, n] from 0 to P - 1.

    Fifth powers mix all digits; two numbers that differ keep on differing.

    Args:
        emit: adds to the graph.
        samples: their numbers k, int64 [K].
        places: numbers i of what each sample has numbers for, int64 [n].
        seed: from 0 to P - 1.
    """
    column = emit.Unsqueeze(emit.term(samples) * np.int64(_SAMPLE), [1])
    first = emit.term(places) * np.int64(_PLACE) + np.int64(seed * _SEED + _FIRST)
    # Each part below P before they meet: their sum is then far below 2^63.
    value = _mod(emit, column) + _mod(emit, first)
    for more in (_SECOND, _THIRD, _FIRST):
        value = _fifth_power(emit, _mod(emit, value + np.int64(more)))
    return value


def uniform(emit: Emitter, samples: Value, places: Value, seed: int, dtype: Any):
    """Numbers between 0 and 1, [K, n]: (h + 1/2) / P."""
    wide = emit.Cast(hashed(emit, samples, places, seed), to=onnx.TensorProto.DOUBLE)
    return emit.Cast((wide + 0.5) * (1.0 / P), to=onnx_type(dtype))


def normal(emit: Emitter, samples: Value, count: Value, seed: int, dtype: Any):
    """Numbers of mean 0 and variance 1, [K, n]: sqrt(-2 ln u) cos(2 pi v), and with sin.

    Box, Muller: A Note on the Generation of Random Normal Deviates (1958). Half of the n numbers
    are made with the cosine, the others with the sine of the same two uniform ones.

    Args:
        emit: adds to the graph.
        samples: their numbers, int64 [K].
        count: n, int64 [].
        seed: from 0 to P - 1.
        dtype: of what comes out.
    """
    half = (emit.term(count) + np.int64(1)) / np.int64(2)
    places = emit.Range(np.int64(0), half, np.int64(1))
    u = uniform(emit, samples, places * np.int64(2), seed, dtype)
    v = uniform(emit, samples, places * np.int64(2) + np.int64(1), seed, dtype)
    radius = emit.Sqrt(emit.Log(u) * -2.0)
    angle = v * (2 * math.pi)
    both = [radius * emit(op, angle) for op in ("Cos", "Sin")]
    numbers = emit.Concat(*both, axis=1)
    return emit.Slice(numbers, [0], emit.Unsqueeze(count, [0]), [1])


def _fifth_power(emit: Emitter, value: Any) -> Any:
    square = _mod(emit, value * value)
    fourth = _mod(emit, square * square)
    return _mod(emit, fourth * value)


def _mod(emit: Emitter, value: Value) -> Any:
    return emit.Mod(value, np.int64(P))
