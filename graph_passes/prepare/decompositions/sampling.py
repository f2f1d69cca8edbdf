"""Operators that read an image at fractional places: GridSample, RoiAlign, DeformConv.

Each is a weighted sum of elements gathered from the image, the weights being functions of the
place. Written so, the gradients of image and places both follow from the simple operators' rules.
"""

from __future__ import annotations

import itertools

import numpy as np

from ...graph.emitter import Emitter
from ...graph.tensors import optional_input, rank_of
from ...graph.terms import NodeView, Term
from .registry import decomposition


def _length(emit: Emitter, x: Term, axis: int, like: Term) -> Term:
    """One dimension of x as a float, [1]."""
    return emit.cast_like(emit.dims(x, axis, axis + 1), like)


def gather_places(emit: Emitter, x: Term, places: list[Term]) -> Term:
    """x [N, C, spatial...] at integral places [N, P] for each axis: [N, C, P]."""
    flat = None
    for axis, place in enumerate(places, start=2):
        index = emit.Cast(place, to=7)
        length = emit.dims(x, axis, axis + 1)
        flat = index if flat is None else flat * length + index
    rows = emit.Unsqueeze(flat, [1])
    shape = emit.Concat(emit.dims(x, 0, 2), emit.Shape(flat, start=1), axis=0)
    return emit.GatherElements(emit.Reshape(x, [0, 0, -1]), emit.Expand(rows, shape), axis=2)


def _inside(emit: Emitter, place: Term, length: Term) -> Term:
    """1 where 0 <= place < length, else 0."""
    low = emit.GreaterOrEqual(place, 0.0)
    return emit.cast_like(emit.And(low, emit.Less(place, length)), place)


def _clamp(emit: Emitter, place: Term, length: Term) -> Term:
    return emit.Max(emit.Min(place, length - 1.0), 0.0)


def _reflect(emit: Emitter, place: Term, length: Term, align: bool) -> Term:
    """Fold a place back and forth between the borders: 0 and L-1 (aligned), or -1/2 and L-1/2."""
    low = 0.0 if align else -0.5
    span = emit.Max(length - 1.0, 1e-6) if align else length
    distance = abs(place - low)
    turns = emit.Floor(distance / span)
    rest = distance - turns * span
    odd = turns - emit.Floor(turns * 0.5) * 2.0
    back = span - rest
    folded = rest * (1.0 - odd) + back * odd
    return folded + low


def _cubic_weights(emit: Emitter, t: Term) -> list[Term]:
    """Keys' cubic convolution with a = -0.75 at distances 1 + t, t, 1 - t, 2 - t."""
    a = -0.75

    def near(d):
        return (d * (a + 2) - (a + 3)) * d * d + 1.0

    def far(d):
        inner = (d - 5.0) * d + 8.0
        return (inner * d - 4.0) * a

    back = 1.0 - t
    return [far(t + 1.0), near(t), near(back), far(back + 1.0)]


def _taps(emit: Emitter, place: Term, mode: str) -> list[tuple[Term, Term | None]]:
    """Along one axis: the integral places that are read, each with its weight (None is 1)."""
    if mode == "nearest":
        return [(emit.Round(place), None)]
    first = emit.Floor(place)
    t = place - first
    if mode == "linear":
        return [(first, 1.0 - t), (first + 1.0, t)]
    offsets = (-1.0, 0.0, 1.0, 2.0)
    weights = _cubic_weights(emit, t)
    return [(first + k, w) for k, w in zip(offsets, weights, strict=True)]


@decomposition("AffineGrid")
def affine_grid(emit: Emitter, node: NodeView) -> Term | None:
    """grid[n, place] = theta[n] . (x, y, [z,] 1) over an image's places, -1..1 along each axis."""
    theta, size = node.inputs
    if theta.shape is None or theta.shape[1] not in (2, 3):
        return None
    axes = int(theta.shape[1])
    lengths = emit.Slice(size, [2], [2 + axes], [0])
    coordinates = []
    for axis in range(axes):
        length = emit.Gather(lengths, np.asarray(axis))
        steps = emit.cast_like(emit.Range(np.int64(0), length, np.int64(1)), theta)
        count = emit.cast_like(length, theta)
        if node.attrs.get("align_corners", 0):
            line = steps * 2.0 / (count - 1.0) - 1.0
        else:
            line = (steps * 2.0 + 1.0) / count - 1.0
        column = emit.Reshape(line, [-1 if a == axis else 1 for a in range(axes)])
        coordinates.append(emit.Reshape(emit.Expand(column, lengths), [-1, 1]))
    ones = coordinates[0] * 0.0 + 1.0
    base = emit.Concat(*coordinates[::-1], ones, axis=1)
    grid = base @ emit.Transpose(theta, perm=[0, 2, 1])
    return emit.Reshape(grid, emit.Concat(emit.dims(theta, 0, 1), lengths, [axes], axis=0))


@decomposition("GridSample")
def grid_sample(emit: Emitter, node: NodeView) -> Term:
    """y[n, c, p] = sum over taps of weight(grid[n, p]) x[n, c, tap]; the grid is -1..1 per axis."""
    x, grid = node.inputs
    axes = rank_of(x) - 2
    mode: str = node.attrs.get("mode", "linear")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    padding = node.attrs.get("padding_mode", "zeros")
    align = bool(node.attrs.get("align_corners", 0))
    points = emit.Reshape(grid, emit.Concat(emit.dims(grid, 0, 1), [-1, axes], axis=0))
    lengths = [_length(emit, x, 2 + k, x) for k in range(axes)]
    taps = []
    for k, length in enumerate(lengths):
        # The grid's last axis counts x first, then y, then z.
        unit = emit.Gather(points, np.asarray(axes - 1 - k), axis=2)
        taps.append(_axis_taps(emit, unit, length, mode, padding, align))
    y = _weighted_sum(emit, x, taps)
    shape = emit.Concat(emit.dims(x, 0, 2), emit.Shape(grid, start=1, end=axes + 1), axis=0)
    return emit.Reshape(y, shape)


def _axis_taps(emit: Emitter, unit, length, mode: str, padding: str, align: bool):
    """Places inside the image and their weights, for grid values -1..1 along one axis."""
    half = (unit + 1.0) * 0.5
    place = half * (length - 1.0) if align else half * length - 0.5
    if mode != "cubic":
        place = _bring_inside(emit, place, length, padding, align)
    taps = []
    for tap, weight in _taps(emit, place, mode):
        if padding == "zeros":
            inside = _inside(emit, tap, length)
            weight = inside if weight is None else weight * inside
        elif mode == "cubic":
            tap = _bring_inside(emit, tap, length, padding, align)
        taps.append((_clamp(emit, tap, length), weight))
    return taps


def _bring_inside(emit: Emitter, place, length, padding: str, align: bool) -> Term:
    if padding == "zeros":
        return place
    if padding == "reflection":
        place = _reflect(emit, place, length, align)
    return _clamp(emit, place, length)


def _weighted_sum(emit: Emitter, x: Term, taps) -> Term:
    """[N, C, P]: the sum over all combinations of taps, one for each axis."""
    return emit.sum(_weighted_values(emit, x, taps))


def _weighted_values(emit: Emitter, x: Term, taps) -> list[Term]:
    """For each combination of taps, one for each axis, its weight times its element: [N, C, P]."""
    values = []
    for combination in itertools.product(*taps):
        value = gather_places(emit, x, [place for place, _ in combination])
        weights = [w for _, w in combination if w is not None]
        if weights:
            weight = weights[0]
            for other in weights[1:]:
                weight = weight * other
            value = value * emit.Unsqueeze(weight, [1])
        values.append(value)
    return values


@decomposition("DeformConv")
def deform_conv(emit: Emitter, node: NodeView) -> Term | None:
    """y = W . columns + b, the columns read at the window's places moved by offset, times mask.

    x [N, C, H, W], offset [N, 2 g k, H', W'] as (row, column) pairs for g groups of channels and
    k window elements.
    """
    x, weight, offset = node.inputs[:3]
    if rank_of(x) != 4 or weight.shape is None or not all(isinstance(d, int) for d in weight.shape):
        return None
    kernel = [int(k) for k in weight.shape[2:]]
    groups, offset_groups = node.attrs.get("group", 1), node.attrs.get("offset_group", 1)
    size = kernel[0] * kernel[1]
    batch, output = emit.dims(x, 0, 1), emit.Shape(offset, start=2)
    by_element = emit.Concat(batch, [offset_groups, size, 2, -1], axis=0)
    moves = emit.Reshape(offset, by_element)
    places = _deformed_places(emit, node, moves, kernel, output)
    # One image for each group of channels that shares its offsets.
    split = emit.Concat(batch * [offset_groups], [-1], emit.dims(x, 2), axis=0)
    image = emit.Reshape(x, split)
    image.shape = [None, None, *list(x.shape)[2:]]
    taps = []
    for axis, place in enumerate(places):
        flat = emit.Reshape(place, emit.Concat(batch * [offset_groups], [-1], axis=0))
        length = _length(emit, x, 2 + axis, x)
        taps.append(_axis_taps_zero(emit, flat, length))
    columns = _weighted_sum(emit, image, taps)
    shape = emit.Concat(batch, [offset_groups, -1, size], emit.ReduceProd(output), axis=0)
    columns = emit.Reshape(columns, shape)
    if optional_input(node, 4) is not None:
        mask_shape = emit.Concat(batch, [offset_groups, 1, size, -1], axis=0)
        columns = columns * emit.Reshape(node.inputs[4], mask_shape)
    per_group = emit.Concat(batch, [groups, weight.shape[1] * size, -1], axis=0)
    columns = emit.Reshape(columns, per_group)
    kernels = emit.Reshape(weight, [1, groups, weight.shape[0] // groups, -1])
    product = kernels @ columns
    y = emit.Reshape(product, emit.Concat(batch, [weight.shape[0]], output, axis=0))
    if optional_input(node, 3) is not None:
        y = y + emit.Reshape(node.inputs[3], [-1, 1, 1])
    return y


def _deformed_places(emit: Emitter, node: NodeView, moves, kernel, output) -> list[Term]:
    """For each spatial axis, s o - p + d j + offset: [N, groups, k, positions]."""
    strides = node.attrs.get("strides") or [1, 1]
    dilations = node.attrs.get("dilations") or [1, 1]
    pads = node.attrs.get("pads") or [0, 0, 0, 0]
    places = []
    for axis in (0, 1):
        count = emit.Gather(output, np.asarray(axis))
        steps = emit.Range(np.int64(0), count, np.int64(1))
        start = steps * [strides[axis]] - [pads[axis]]
        column = emit.Reshape(start, [-1, 1] if axis == 0 else [1, -1])
        grid = emit.Reshape(emit.Expand(column, output), [1, -1])
        within = np.indices(kernel)[axis].reshape(-1, 1) * dilations[axis]
        base = emit.cast_like(grid + within.astype(np.int64), moves)
        places.append(emit.Gather(moves, np.asarray(axis), axis=3) + base)
    return places


def _axis_taps_zero(emit: Emitter, place: Term, length: Term):
    """Linear taps, 0 outside the image."""
    taps = []
    for tap, weight in _taps(emit, place, "linear"):
        inside = _inside(emit, tap, length)
        taps.append((_clamp(emit, tap, length), inside if weight is None else weight * inside))
    return taps


@decomposition("RoiAlign")
def roi_align(emit: Emitter, node: NodeView) -> Term:
    """y = mean over each bin's sampling points of x, read linearly.

    Or the maximum over the points' four neighbours, each times its weight, as ONNX Runtime and the
    operator's reference have it.
    """
    x, rois, indices = node.inputs
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    scaled = rois * node.attrs.get("spatial_scale", 1.0)
    scaled = scaled - (0.5 if mode == "half_pixel" else 0.0)
    corners = [emit.Gather(scaled, np.asarray([k]), axis=1) for k in range(4)]
    sides = []
    for axis, name in enumerate(("output_height", "output_width")):
        low, bins = corners[1 - axis], node.attrs.get(name, 1)
        extent = corners[3 - axis] - low
        extent = extent if mode == "half_pixel" else emit.Max(extent, 1.0)
        size = extent / float(bins)
        sides.append(_bin_points(emit, low, size, bins, node.attrs.get("sampling_ratio", 0)))
    (rows, row_shares), (columns, column_shares) = sides
    split = emit.Concat([0, 0], emit.Shape(rows, start=1), axis=0)
    split = emit.Concat(split, emit.Shape(columns, start=1), axis=0)
    taps = []
    rows, columns = emit.Reshape(rows, [0, -1, 1]), emit.Reshape(columns, [0, 1, -1])
    for axis, (own, other) in enumerate(((rows, columns), (columns, rows))):
        grid = own + other * 0.0
        length = _length(emit, x, 2 + axis, x)
        taps.append(_roi_taps(emit, emit.Reshape(grid, [0, -1]), length))
    images = emit.Gather(x, indices, axis=0)
    images.shape = [None, *list(x.shape)[1:]]
    values = _weighted_values(emit, images, taps)
    shares = [emit.Reshape(row_shares, [0, 1, 1, -1, 1, 1])]
    shares.append(emit.Reshape(column_shares, [0, 1, 1, 1, 1, -1]))
    if node.attrs.get("mode", "avg") == "max":
        best = emit.ReduceMax(emit.Reshape(emit.Max(*values), split), [3, 5], keepdims=0)
        for share in shares:  # 0 where a bin has no points
            total = emit.ReduceSum(share, [3, 5], keepdims=0)
            best = emit.keep_where(best, emit.Greater(total, 0.0))
        return best
    weighed = emit.Reshape(emit.sum(values), split)
    for share in shares:
        weighed = weighed * share
    return emit.ReduceSum(weighed, [3, 5], keepdims=0)


def _bin_points(emit: Emitter, low: Term, size: Term, bins: int, ratio: int) -> tuple[Term, Term]:
    """Along one axis the sampling points [R, bins, points], and their shares [R, points].

    low, size: [R, 1], where the first bin begins, and how long a bin is.
    ratio: points in a bin; 0 takes ceil(size) of them: then there are as many as the longest bin
        has, and where a bin has fewer its last one stands again, without a share in its mean.
    """
    if ratio > 0:
        needed = size * 0.0 + float(ratio)
        most = emit.constant(np.asarray(ratio, np.int64))
    else:
        needed = emit.Max(emit.Ceil(size), 0.0)
        largest = emit.ReduceMax(emit.Reshape(needed, [-1]), [0], keepdims=0)
        most = emit.Cast(emit.Max(largest, 1.0), to=7)
    index = emit.cast_like(emit.Range(np.int64(0), most, np.int64(1)), size)
    count = emit.Max(needed, 1.0)
    held = emit.Min(index, count - 1.0)
    within = emit.Unsqueeze((held + 0.5) / count, [1])
    starts = np.arange(bins, dtype=np.float32).reshape(1, -1, 1)
    along = emit.Unsqueeze(size, [2]) * (within + starts)
    shares = emit.cast_like(emit.Less(index, needed), count) / count
    return emit.Unsqueeze(low, [2]) + along, shares


def _roi_taps(emit: Emitter, place: Term, length: Term):
    """Linear taps of places held to the image; nothing for places over one pixel outside."""
    near = emit.And(emit.GreaterOrEqual(place, -1.0), emit.LessOrEqual(place, length))
    near = emit.cast_like(near, place)
    held = _clamp(emit, place, length)
    return [
        (_clamp(emit, tap, length), near * weight)
        for tap, weight in _taps(emit, held, "linear")
        if weight is not None
    ]
