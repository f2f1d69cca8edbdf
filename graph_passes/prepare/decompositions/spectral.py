"""STFT as frames times matrices of cosines and sines."""

from __future__ import annotations

import numpy as np

from ...graph.emitter import Emitter
from ...graph.tensors import optional_input
from ...graph.terms import NodeView, Term
from .registry import decomposition


def _waves(emit: Emitter, rows: Term, length: Term, columns: Term, like: Term):
    """cos and sin of 2 pi k n / length, [rows, columns]; the product k n is taken modulo length."""
    zero, one = np.int64(0), np.int64(1)
    n = emit.Unsqueeze(emit.Range(zero, rows, one), [1])
    k = emit.Unsqueeze(emit.Range(zero, columns, one), [0])
    turn = emit.cast_like(emit.Mod(n * k, length), like)
    angle = turn / emit.cast_like(length, like) * (2 * np.pi)
    return emit.Cos(angle), emit.Sin(angle)


def _scalar(emit: Emitter, tensor: Term) -> Term:
    return emit.Cast(emit.Reshape(tensor, emit.constant(np.zeros(0, np.int64))), to=7)


def _parts(emit: Emitter, x: Term) -> tuple[Term, Term | None]:
    """Real and imaginary part of [..., 1 or 2], without that axis."""
    real = emit.Gather(x, np.asarray(0), axis=-1)
    return real, emit.Gather(x, np.asarray(1), axis=-1) if x.shape[-1] == 2 else None


def _transform(emit: Emitter, x, waves) -> tuple[Term, Term]:
    """(a + ib) (cos - i sin) along the last axis; returns the real and imaginary part."""
    real, imaginary = x
    cos, sine = waves[0], -waves[1]
    y_real, y_imaginary = real @ cos, real @ sine
    if imaginary is not None:
        y_real = y_real - imaginary @ sine
        y_imaginary = y_imaginary + imaginary @ cos
    return y_real, y_imaginary


@decomposition("STFT")
def stft(emit: Emitter, node: NodeView) -> Term | None:
    """Frames of the signal, times the window, each through a DFT: [N, frames, bins, 2]."""
    signal, step = node.inputs[:2]
    window = optional_input(node, 2)
    given = optional_input(node, 3) is not None
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
    count = (total - length) / step + one
    starts = emit.Range(zero, count, one) * step
    places = emit.Unsqueeze(starts, [1]) + emit.Range(zero, length, one)
    frames = emit.Gather(signal, places, axis=1)
    frames.shape = [None, None, None, signal.shape[-1]]
    parts = _parts(emit, frames)
    if window is not None:
        parts = tuple(None if p is None else p * window for p in parts)
    one_sided = node.attrs.get("onesided", 1)
    bins = length / np.int64(2) + one if one_sided else length
    waves = _waves(emit, length, length, bins, signal)
    results = _transform(emit, parts, waves)
    return emit.Concat(*(emit.Unsqueeze(part, [-1]) for part in results), axis=-1)
