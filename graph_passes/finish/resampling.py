"""Pictures of any size brought to another one inside a graph, as Pillow does it.

A row of the result is a weighted mean of rows, and a column of columns, so that a resized picture
is two products of matrices: D P A', with D [h, H] and A [w, W]. The weights come from the sizes as
the graph runs. ONNX's own Resize with `antialias` rounds and cuts its filters in other places, and
many runtimes do not have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto

from ..graph.emitter import Emitter
from ..graph.terms import Term

DOUBLE, FLOAT, INT64 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64
# Pillow holds the weights for 8-bit pixels as so many parts of 1.
_PARTS, _UPPER = 2.0**22, 2.0**11
_LEAST = 1e-8


class Taps(NamedTuple):
    """Along one axis, which pixels the result is made of, in pixels of the source.

    Attributes:
        first: the centre of the result's first pixel, double [1].
        step: from one of the result's pixels to the next, double [1].
        count: of the result's pixels, int64 [1].
        length: of the source, int64 [1].
    """

    first: Any
    step: Any
    count: Any
    length: Any


def triangle(emit: Emitter, t: Term) -> Any:
    """max(1 - |t|, 0)."""
    return emit.Max(1.0 - abs(t), emit.constant(0.0, t.dtype))


def cubic(emit: Emitter, t: Term) -> Any:
    """1.5 |t|^3 - 2.5 |t|^2 + 1 up to 1, then -0.5 |t|^3 + 2.5 |t|^2 - 4 |t| + 2 up to 2.

    Both are 0 at 1, and the second at 2, so that the sum of the two, held there, is the whole.
    """
    near, far = _held(emit, abs(t), 0.0, 1.0), _held(emit, abs(t), 1.0, 2.0)
    return (1.5 * near - 2.5) * near * near + 1.0 - 0.5 * (((far - 5.0) * far + 8.0) * far - 4.0)


def lanczos(emit: Emitter, t: Term) -> Any:
    """sinc(t) sinc(t / 3) up to 3, with sinc(t) = sin(pi t) / (pi t)."""
    angle = math.pi * _held(emit, abs(t), _LEAST, 3.0)
    third = angle / 3.0
    return emit.Sin(angle) / angle * (emit.Sin(third) / third)


FILTERS: dict[str, Callable[[Emitter, Any], Any]] = {
    "bilinear": triangle,
    "bicubic": cubic,
    "lanczos": lanczos,
}


def _held(emit: Emitter, value: Any, low: float, high: float) -> Any:
    """Values between two; of doubles without Clip, which older runtimes have of floats alone."""
    ends = [emit.constant(end, value.dtype) for end in (low, high)]
    if value.dtype == np.float64:
        return emit.term(emit.Min(emit.Max(value, ends[0]), ends[1]))
    return emit.Clip(value, *ends)


def doubled(emit: Emitter, count: Any) -> Any:
    """A count as a double, in which Python computes sizes."""
    return emit.Cast(count, to=DOUBLE)


def steps(emit: Emitter, count: Any) -> Any:
    """0 ... count - 1 as doubles; count: int64 [1]."""
    return emit.Cast(counted(emit, count), to=DOUBLE)


def counted(emit: Emitter, count: Any) -> Any:
    """0 ... count - 1; count: int64 [1]."""
    return emit.Range(np.int64(0), emit.Squeeze(count, [0]), np.int64(1))


def weights(emit: Emitter, kernel: str, taps: Taps, *, before: Any = None) -> Any:
    """A row for each pixel of the result, [count, length], that sums to 1.

    w[i, x] = f((x + 1/2 - c[i]) / s) / sum, with c[i] = first + i step and s = max(step, 1): where
    it shrinks, the filter is wider, so that each of the source's pixels counts.

    before: pixels ahead of the source's first that count as well, int64 [1]; None: none.
    """
    centres = emit.Unsqueeze(steps(emit, taps.count) * taps.step + taps.first, [1])
    places = emit.Unsqueeze(steps(emit, taps.length) + 0.5, [0])
    if before is not None:
        places = places - doubled(emit, before)
    stretch = emit.Max(taps.step, emit.constant(1.0, np.float64))
    found = FILTERS[kernel](emit, (places - centres) * (1.0 / stretch))
    return found / emit.ReduceSum(found, [1], keepdims=1)


class Parts(NamedTuple):
    """Weights as Pillow holds them for 8-bit pixels, w = round(f 2^22) / 2^22, in two parts.

    Products of grey levels with such weights have more bits than float32. With `upper`, the nearest
    multiples of 2^-11, and `lower`, the rest, they are exact.
    """

    upper: Any
    lower: Any


def in_parts(emit: Emitter, found: Any) -> Parts:
    """Weights of `weights`, float32."""
    held = emit.term(emit.Round(found * _PARTS) / _PARTS)
    upper = emit.Round(held * _UPPER) / _UPPER
    return Parts(*(emit.term(emit.Cast(part, to=FLOAT)) for part in (upper, held - upper)))


def in_levels(emit: Emitter, value: Any) -> Any:
    """Whole grey levels, floor(v + 1/2) held between 0 and 255, where nothing must be exact."""
    return _held(emit, emit.Floor(emit.term(value) + 0.5), 0.0, 255.0)


def whole(emit: Emitter, upper: Any, lower: Any) -> Any:
    """Whole grey levels, floor(u + l + 1/2) held between 0 and 255.

    In steps that float32 takes without rounding: floor(u + 1/2), and the floor of what is left.
    """
    above = upper + 0.5
    levels = emit.Floor(above)
    return _held(emit, levels + emit.Floor(above - levels + lower), 0.0, 255.0)


def across_rows(emit: Emitter, image: Any, parts: Parts) -> Any:
    """P A' in whole grey levels; P: float32 [C, H, W], A: [w, W]."""
    turned = [emit.Transpose(part, perm=[1, 0]) for part in parts]
    return whole(emit, *(emit.term(image) @ part for part in turned))


def down_columns(emit: Emitter, image: Any, parts: Parts) -> Any:
    """D P in whole grey levels; P: float32 [C, H, W], D: [h, H]."""
    return whole(emit, *(part @ image for part in parts))


class Sides(NamedTuple):
    """The lengths of a picture and of what it is resized to, doubles [1]."""

    height: Any
    width: Any
    new_height: Any
    new_width: Any


def resampled(emit: Emitter, photo: Any, down: Parts, across: Parts, tall: Any = None) -> Any:
    """D P A' in whole grey levels, which each of the two products is rounded to: [3, h, w].

    Args:
        emit: of the graph.
        photo: P, uint8 [H, W, 3].
        down: D, [h, H].
        across: A, [w, W].
        tall: whether columns come first, bool [1]; None: rows do, P A'.
    """
    if tall is None:
        return down_columns(emit, across_rows(emit, planes(emit, photo), across), down)
    # The order that is not wanted has but one pixel to do.
    rows_first = _parted(emit, photo, down, across, ~emit.term(tall))
    rows = down_columns(emit, across_rows(emit, rows_first[0], rows_first[2]), rows_first[1])
    columns_first = _parted(emit, photo, down, across, tall)
    columns = across_rows(
        emit, down_columns(emit, columns_first[0], columns_first[1]), columns_first[2]
    )
    return emit.Where(tall, columns, rows)


def _parted(
    emit: Emitter, photo: Any, down: Parts, across: Parts, wanted: Any
) -> tuple[Any, Parts, Parts]:
    """P, float32 [3, H, W], D and A; where they are not wanted, of its first pixel alone."""
    ends = emit.Where(wanted, emit.Shape(photo, start=0, end=2), [1, 1])
    image = planes(emit, emit.Slice(photo, [0, 0], ends, [0, 1]))
    sides = [emit.Slice(ends, [k], [k + 1]) for k in (0, 1)]
    down, across = (
        Parts(*(emit.term(emit.Slice(part, [0], side, [1])) for part in parts))
        for parts, side in zip((down, across), sides, strict=True)
    )
    return image, down, across


def planes(emit: Emitter, photo: Any) -> Any:
    """uint8 [H, W, 3] as float32 [3, H, W]."""
    return emit.Cast(emit.Transpose(photo, perm=[2, 0, 1]), to=FLOAT)


def is_tall(emit: Emitter, sides: Sides) -> Any:
    """Whether Pillow, from 13 on, resizes columns first: 0 < H - h > 2 (W - w), bool [1]."""
    less = sides.height - sides.new_height
    wider = emit.Greater(less, 2.0 * (sides.width - sides.new_width))
    return emit.And(wider, emit.Greater(less, 0.0))


def nearest(emit: Emitter, taps: Taps, skipped: Any) -> Any:
    """For each pixel of the result the source's pixel that holds its centre, int64 [count].

    As Pillow finds it: the step is added again and again, also over the result's first pixels that
    are left out.

    skipped: how many those are, int64 [1].
    """
    more = emit.Expand(taps.step, skipped + taps.count - [1])
    sums = emit.CumSum(emit.Concat(taps.first, more, axis=0), np.asarray(0))
    own = emit.Cast(emit.Floor(emit.Slice(sums, skipped, skipped + taps.count)), to=INT64)
    return emit.Min(emit.Max(own, np.int64(0)), taps.length - [1])
