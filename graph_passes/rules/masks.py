"""Masks [y > low] and [y < high] as numbers, kept cheap: they were half of a gradient pass."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.graph_passes.emit import Emitter, is_constant

# Every normal float32 above 0 times this is over 1.
_STEEP = 3e38


def above(emit: Emitter, y: gs.Tensor, low: gs.Tensor | float) -> gs.Tensor:
    """[y > low] in y's type."""
    return _step(emit, y, low, 1.0)


def below(emit: Emitter, y: gs.Tensor, high: gs.Tensor | float) -> gs.Tensor:
    """[y < high] in y's type."""
    return _step(emit, y, high, -1.0)


def _step(emit: Emitter, y: gs.Tensor, bound: gs.Tensor | float, sign: float) -> gs.Tensor:
    value = _number(bound)
    if value is not None and emit.blocked_layout and _follows_convolution(y):
        return _by_convolution(emit, y, value, sign)
    return emit.cast_like(emit("Greater" if sign > 0 else "Less", y, bound), y)


def _number(bound: gs.Tensor | float) -> float | None:
    if isinstance(bound, gs.Tensor):
        single = is_constant(bound) and bound.values.size == 1
        return float(bound.values.item()) if single else None
    return float(bound)


def _follows_convolution(y: gs.Tensor) -> bool:
    """True for a float32 map from a Conv, maybe clipped: ONNX Runtime holds it blocked."""
    if y.shape is None or len(y.shape) != 4 or y.dtype != np.float32:
        return False
    channels = y.shape[1]
    if not isinstance(channels, int) or channels % 16:
        return False
    node = y.inputs[0] if y.inputs else None
    if node is not None and node.op in ("Relu", "Clip"):
        x = node.inputs[0]
        node = x.inputs[0] if x.inputs else None
    return node is not None and node.op == "Conv"


def steepness(value: float) -> float:
    """A power of two that carries the float32 neighbours of `value` at least 1 away from it."""
    if value == 0:
        return _STEEP
    return 2.0 ** (24 - math.floor(math.log2(abs(value))))


def _by_convolution(emit: Emitter, y: gs.Tensor, bound: float, sign: float) -> gs.Tensor:
    """clip(a (y - bound), 0, 1) with a so steep that it is exact, as a depthwise 1 x 1 Conv.

    ONNX Runtime's CPU provider keeps convolutions (with a fused Clip) and products in its blocked
    layout; a comparison or Cast makes it reorder y, the cotangent and their product. Exact: a is a
    power of two, so a y and a bound are, and their difference is where y is near the bound. (At
    bound 0 only y below 1.2e-38, which most hardware flushes to 0, get a part of their gradient.)
    """
    channels = int(y.shape[1])
    slope = sign * steepness(bound)
    weight = emit.constant(np.full((channels, 1, 1, 1), slope, np.float32))
    bias = emit.constant(np.full(channels, -slope * bound, np.float32))
    scaled = emit("Conv", y, weight, bias, group=channels, kernel_shape=[1, 1])
    scaled.shape = y.shape
    return emit("Clip", scaled, 0.0, 1.0)
