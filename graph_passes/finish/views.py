"""What of a photo the model saw, as the ground of a picture, inside a graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..graph.emitter import Emitter
from ..graph.terms import Term
from . import look
from .preprocessing import Framing, Side, placed
from .resampling import FLOAT, INT64, Taps, doubled, in_levels, planes, weights

_KERNEL = "lanczos"


class Shown(NamedTuple):
    """The ground of a picture, and its size.

    Attributes:
        pixels: whole grey levels, float32 [N, 3, h, w].
        height: int64 [1].
        width: int64 [1].
    """

    pixels: Any
    height: Any
    width: Any


def view_of_photo(emit: Emitter, photo: Any, framing: Framing) -> Shown:
    """What the model sees of a photo, uint8 [H, W, 3], fitted into a picture.

    "stretch": all of it; "crop": the part that is cut out; "pad": the photo on its canvas.
    """
    if framing.resize == "pad":
        return _on_canvas(emit, photo, framing)
    if framing.resize == "crop":
        sides = placed(emit, photo, framing)
        low, high = zip(*(_cut(emit, side) for side in sides), strict=True)
        photo = emit.Slice(photo, emit.Concat(*low, axis=0), emit.Concat(*high, axis=0), [0, 1])
    lengths = [emit.Shape(photo, start=axis, end=axis + 1) for axis in (0, 1)]
    pixels = emit.Unsqueeze(planes(emit, photo), [0])
    return fitted(emit, pixels, *lengths)


def view_of_input(emit: Emitter, x: Any, framing: Framing) -> Shown:
    """What a tensor [N, C, H, W] or [N, H, W, C] shows, its normalisation undone, fitted.

    pixel = (x std + mean) / scale, whole, held between 0 and 255.
    """
    if framing.channel_axis == 3:
        x = emit.Transpose(x, perm=[0, 3, 1, 2])
    values = emit.term(emit.Cast(x, to=FLOAT)) * _planes(framing.factor) + _planes(framing.shift)
    levels = emit.Clip(emit.Round(values), emit.constant(0.0), emit.constant(255.0))
    order = [0, 0, 0] if framing.order is None else [framing.order.index(c) for c in range(3)]
    if order != [0, 1, 2]:
        levels = emit.Gather(levels, order, axis=1)
    return fitted(emit, levels, emit.Shape(x, start=2, end=3), emit.Shape(x, start=3, end=4))


def _planes(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).reshape(1, -1, 1, 1)


def fitted(emit: Emitter, pixels: Any, height: Any, width: Any) -> Shown:
    """Pixels [N, 3, H, W] in the size of a picture; the lengths are int64 [1]."""
    sides = _fit(emit, doubled(emit, height), doubled(emit, width))
    down, across = (
        _turned(emit, weights(emit, _KERNEL, taps_between(emit, length, side)))
        for length, side in zip((height, width), sides, strict=True)
    )
    rows = in_levels(emit, emit.term(pixels) @ across)
    return Shown(in_levels(emit, emit.Transpose(down, perm=[1, 0]) @ rows), *sides)


def _turned(emit: Emitter, found: Any) -> Any:
    return emit.Transpose(emit.Cast(found, to=FLOAT), perm=[1, 0])


def taps_between(emit: Emitter, length: Any, count: Any) -> Taps:
    """All of a side of `length` pixels as `count`: centres (i + 1/2) length / count."""
    step = doubled(emit, length) / doubled(emit, count)
    return Taps(step * 0.5, step, count, length)


def _fit(emit: Emitter, height: Any, width: Any) -> tuple[Any, Any]:
    """(height, width), doubles [1], scaled until they just fit, int64 [1] each."""
    most = look.WITHIN
    scale = emit.Min(float(most[0]) / width, float(most[1]) / height)
    height, width = (_at_least_one(emit, emit.Round(side * scale)) for side in (height, width))
    return emit.Cast(height, to=INT64), emit.Cast(width, to=INT64)


def _at_least_one(emit: Emitter, value: Any) -> Any:
    return emit.term(emit.Max(value, emit.constant(1.0, np.float64)))


def _cut(emit: Emitter, side: Side) -> tuple[Any, Any]:
    """Where the part of a photo that "crop" keeps begins and ends, in the photo's pixels."""
    length = doubled(emit, side.length)
    step = length / side.resized
    end = emit.Min((doubled(emit, side.count) - side.ahead) * step, length)
    start = emit.term(emit.Min(emit.Round(-side.ahead * step), length - 1.0))
    # A photo of a few pixels, or a very long one, may round to nothing.
    end = emit.Max(emit.Round(end), start + 1.0)
    return emit.Cast(start, to=INT64), emit.Cast(end, to=INT64)


def _on_canvas(emit: Emitter, photo: Any, framing: Framing) -> Shown:
    """A padded photo, as large as it is, on its canvas, and that fitted into a picture.

    At once, by weights over the photo's pixels and as many of the padding as the canvas has.
    """
    sides = placed(emit, photo, framing)
    zooms = [doubled(emit, side.length) / side.resized for side in sides]
    longest = float(max(framing.size))
    zoom = emit.Min(emit.Max(*zooms), emit.constant(framing.longest / longest, np.float64))
    zoom = emit.term(emit.Max(zoom, emit.constant(1.0 / longest, np.float64)))
    wholes = [_at_least_one(emit, emit.Round(doubled(emit, s.count) * zoom)) for s in sides]
    sizes = _fit(emit, *wholes)
    down, across = (
        _with_padding(emit, side, zoom, whole, size)
        for side, whole, size in zip(sides, wholes, sizes, strict=True)
    )
    fill = np.asarray(framing.fill, np.float32).reshape(1, 3, 1, 1)
    image = emit.Unsqueeze(planes(emit, photo), [0])
    turned = emit.Transpose(across[0], perm=[1, 0])
    rows = in_levels(emit, emit.term(image) @ turned + across[1] * fill)
    beside = emit.Unsqueeze(down[1], [1])
    return Shown(in_levels(emit, down[0] @ rows + emit.term(beside) * fill), *sizes)


def _with_padding(emit: Emitter, side: Side, zoom: Any, whole: Any, size: Any) -> tuple[Term, Term]:
    """Weights over a photo's side, [size, length], and what of each sum falls on padding, [size].

    zoom: the canvas's pixels for one of the input, double [1]; whole: all of them along this side.
    """
    inner = _at_least_one(emit, emit.Round(side.resized * zoom))
    ahead = emit.Round(side.ahead * zoom)
    length = doubled(emit, side.length)
    finer = length / inner
    step = whole / doubled(emit, size) * finer
    before = emit.Cast(emit.Ceil(ahead * finer), to=INT64)
    behind = emit.Cast(emit.Ceil((whole - ahead - inner) * finer), to=INT64)
    behind = emit.Max(behind, np.int64(0))
    taps = Taps(step * 0.5 - ahead * finer, step, size, side.length + before + behind)
    found = weights(emit, _KERNEL, taps, before=before)
    own = emit.Cast(emit.Slice(found, before, emit.term(before) + side.length, [1]), to=FLOAT)
    rest = 1.0 - emit.term(emit.ReduceSum(own, [1], keepdims=0))
    return emit.term(own), rest
