"""Random numbers inside a graph: a function of a seed, a sample and a place, and of nothing else.

So a file gives the same numbers wherever and however often it runs, and so does each row of a
batch. ONNX's own random operators go on from run to run, and differ between runtimes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.tensors import onnx_type

# A prime for which x -> x^5 is a permutation of 0 .. P - 1, whose products fit into int64.
P = 2**31 - 1
# Odd numbers without a meaning, below P.
_PLACE, _SAMPLE, _SEED, _FIRST, _SECOND, _THIRD = (
    *(1_103_515_245, 1_640_531_527, 69_069),
    *(805_459_861, 1_518_500_249, 22_468_225),
)


def hashed(emit: Emitter, samples: gs.Tensor, places: gs.Tensor, seed: int) -> gs.Tensor:
    """h = ((((a i + b k + c seed) mod P)^5 + d)^5 + e)^5 mod P, int64 [K, n] from 0 to P - 1.

    Fifth powers mix all digits; two numbers that differ keep on differing.

    Args:
        emit: adds to the graph.
        samples: their numbers k, int64 [K].
        places: numbers i of what each sample has numbers for, int64 [n].
        seed: from 0 to P - 1.
    """
    column = emit.Unsqueeze(emit.Mul(samples, np.int64(_SAMPLE)), [1])
    first = emit.Add(emit.Mul(places, np.int64(_PLACE)), np.int64(seed * _SEED + _FIRST))
    # Each part below P before they meet: their sum is then far below 2^63.
    value = emit.Add(_mod(emit, column), _mod(emit, first))
    for more in (_SECOND, _THIRD, _FIRST):
        value = _fifth_power(emit, _mod(emit, emit.Add(value, np.int64(more))))
    return value


def uniform(emit: Emitter, samples: gs.Tensor, places: gs.Tensor, seed: int, dtype: Any):
    """Numbers between 0 and 1, [K, n]: (h + 1/2) / P."""
    wide = emit.Cast(hashed(emit, samples, places, seed), to=onnx.TensorProto.DOUBLE)
    return emit.Cast(emit.Mul(emit.Add(wide, 0.5), 1.0 / P), to=onnx_type(dtype))


def normal(emit: Emitter, samples: gs.Tensor, count: gs.Tensor, seed: int, dtype: Any):
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
    half = emit.Div(emit.Add(count, np.int64(1)), np.int64(2))
    places = emit.Range(np.int64(0), half, np.int64(1))
    u = uniform(emit, samples, emit.Mul(places, np.int64(2)), seed, dtype)
    v = uniform(emit, samples, emit.Add(emit.Mul(places, np.int64(2)), np.int64(1)), seed, dtype)
    radius = emit.Sqrt(emit.Mul(emit.Log(u), -2.0))
    angle = emit.Mul(v, 2 * math.pi)
    both = [emit.Mul(radius, emit(op, angle)) for op in ("Cos", "Sin")]
    numbers = emit.Concat(*both, axis=1)
    return emit.Slice(numbers, [0], emit.Unsqueeze(count, [0]), [1])


def _fifth_power(emit: Emitter, value: gs.Tensor) -> gs.Tensor:
    square = _mod(emit, emit.Mul(value, value))
    fourth = _mod(emit, emit.Mul(square, square))
    return _mod(emit, emit.Mul(fourth, value))


def _mod(emit: Emitter, value: gs.Tensor) -> gs.Tensor:
    return emit.Mod(value, np.int64(P))
