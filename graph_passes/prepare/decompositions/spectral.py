"""STFT as frames times matrices of cosines and sines."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ...graph.emitter import Emitter
from .registry import decomposition


def _waves(emit: Emitter, rows: gs.Tensor, length: gs.Tensor, columns: gs.Tensor, like: gs.Tensor):
    """cos and sin of 2 pi k n / length, [rows, columns]; the product k n is taken modulo length."""
    zero, one = np.int64(0), np.int64(1)
    n = emit.Unsqueeze(emit.Range(zero, rows, one), [1])
    k = emit.Unsqueeze(emit.Range(zero, columns, one), [0])
    turn = emit.cast_like(emit.Mod(emit.Mul(n, k), length), like)
    angle = emit.Mul(emit.Div(turn, emit.cast_like(length, like)), 2 * np.pi)
    return emit.Cos(angle), emit.Sin(angle)


def _scalar(emit: Emitter, tensor: gs.Tensor) -> gs.Tensor:
    return emit.Cast(emit.Reshape(tensor, emit.constant(np.zeros(0, np.int64))), to=7)


def _parts(emit: Emitter, x: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor | None]:
    """Real and imaginary part of [..., 1 or 2], without that axis."""
    real = emit.Gather(x, np.asarray(0), axis=-1)
    return real, emit.Gather(x, np.asarray(1), axis=-1) if x.shape[-1] == 2 else None


def _transform(emit: Emitter, x, waves) -> tuple[gs.Tensor, gs.Tensor]:
    """(a + ib) (cos - i sin) along the last axis; returns the real and imaginary part."""
    real, imaginary = x
    cos, sine = waves[0], emit.Neg(waves[1])
    y_real, y_imaginary = emit.MatMul(real, cos), emit.MatMul(real, sine)
    if imaginary is not None:
        y_real = emit.Sub(y_real, emit.MatMul(imaginary, sine))
        y_imaginary = emit.Add(y_imaginary, emit.MatMul(imaginary, cos))
    return y_real, y_imaginary


@decomposition("STFT")
def stft(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    """Frames of the signal, times the window, each through a DFT: [N, frames, bins, 2]."""
    signal, step = node.inputs[:2]
    window = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2].name else None
    given = len(node.inputs) > 3 and node.inputs[3].name
    if signal.shape is None or (not given and window is None):
        return None
    step = _scalar(emit, step)
    if given:
        length = _scalar(emit, node.inputs[3])
    else:
        assert window is not None
        length = emit.Squeeze(emit.dims(window, 0, 1), [0])
    if len(signal.shape) == 2:
        signal = emit.Unsqueeze(signal, [-1])
        signal.shape = [*list(node.inputs[0].shape), 1]
    total = emit.Squeeze(emit.dims(signal, 1, 2), [0])
    zero, one = np.int64(0), np.int64(1)
    count = emit.Add(emit.Div(emit.Sub(total, length), step), one)
    starts = emit.Mul(emit.Range(zero, count, one), step)
    places = emit.Add(emit.Unsqueeze(starts, [1]), emit.Range(zero, length, one))
    frames = emit.Gather(signal, places, axis=1)
    frames.shape = [None, None, None, signal.shape[-1]]
    parts = _parts(emit, frames)
    if window is not None:
        parts = tuple(None if p is None else emit.Mul(p, window) for p in parts)
    one_sided = node.attrs.get("onesided", 1)
    bins = emit.Add(emit.Div(length, np.int64(2)), one) if one_sided else length
    waves = _waves(emit, length, length, bins, signal)
    results = _transform(emit, parts, waves)
    return emit.Concat(*(emit.Unsqueeze(part, [-1]) for part in results), axis=-1)
