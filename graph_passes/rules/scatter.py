"""Gradients of Scatter operators, TopK, MaxUnpool and Col2Im."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..graph.emitter import Emitter
from ..graph.terms import NodeView, Term
from .pooling import scatter_to_positions
from .reductions import product_of_others
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
composite = partial(gradient, family=Family.COMPOSITE)


def _scatter(op: Emitter, node: NodeView, data, updates, reduction: str) -> Term:
    """The node's own scattering, of other data and updates."""
    kept = {k: v for k, v in node.attrs.items() if k != "reduction"}
    return op(node.op, data, node.inputs[1], updates, reduction=reduction, **kept)


def _gather(op: Emitter, node: NodeView, values) -> Term:
    """For each update what stands where it went."""
    if node.op == "ScatterND":
        return op.GatherND(values, node.inputs[1])
    return op.GatherElements(values, node.inputs[1], axis=node.attrs.get("axis", 0))


def _survivors(op: Emitter, node: NodeView) -> Term:
    """Which updates are still there afterwards, as numbers: where two meet, one is lost.

    Read off the operator itself, by scattering the updates' own positions.
    """
    data, updates = node.x, node.inputs[2]
    count = op.Size(updates)
    ids = op.Reshape(op.Range(np.int64(0), count, np.int64(1)), op.shape(updates))
    nobody = op.filled_like(data, -1, np.int64, "nobody")
    landed = _gather(op, node, _scatter(op, node, nobody, ids, "none"))
    return op.cast_like(op.Equal(landed, ids), updates)


def _reduction(node: NodeView) -> str:
    return node.attrs.get("reduction", "none")


@linear("ScatterElements", "ScatterND")
def scatter_data(op, node, dy):
    """dx: dy where no update went (none), dy (add), and see `_shares` for mul, min and max."""
    if _reduction(node) == "add":
        return dy
    if _reduction(node) == "none":
        return _scatter(op, node, dy, op.filled_like(node.inputs[2], 0.0), "none")
    return dy * _shares(op, node)[0]


@linear("ScatterElements", "ScatterND", operand=2)
def scatter_updates(op, node, dy):
    """dupdates: dy where each update went; nothing for one that another update replaced."""
    arrived = _gather(op, node, dy)
    if _reduction(node) == "add":
        return arrived
    if _reduction(node) == "none":
        return arrived * _survivors(op, node)
    return arrived * _shares(op, node)[1]


def _shares(op: Emitter, node: NodeView) -> tuple[Term, Term]:
    """dy / d data and dy / d updates at their places, for products, minima and maxima."""
    data, updates = node.x, node.inputs[2]
    if _reduction(node) == "mul":
        return _product_shares(op, node)
    y = node.y
    kept = op.cast_like(op.Equal(data, y), data)
    won = op.cast_like(op.Equal(updates, _gather(op, node, y)), updates)
    count = _scatter(op, node, kept, won, "add")
    return kept / count, won / _gather(op, node, count)


def _product_shares(op: Emitter, node: NodeView) -> tuple[Term, Term]:
    """The product of the other factors of each place, for its datum and for its updates."""
    data, updates = node.x, node.inputs[2]

    def group(values_of_data, values_of_updates, reduction):
        return _scatter(op, node, values_of_data, values_of_updates, reduction)

    def filled(values):
        return values + zeros_of(values)

    def zeros_of(values):
        return op.cast_like(op.Equal(values, 0), values)

    rest = group(filled(data), filled(updates), "mul")
    zeros = group(zeros_of(data), zeros_of(updates), "add")
    of_data = product_of_others(op, data, lambda _: rest, lambda _: zeros)
    rest_there, zeros_there = _gather(op, node, rest), _gather(op, node, zeros)
    of_updates = product_of_others(op, updates, lambda _: rest_there, lambda _: zeros_there)
    return of_data, of_updates


@composite("TopK")
def top_k(op, node, dy, *_):
    """dx = dy at the elements that were chosen, 0 elsewhere."""
    x = node.x
    axis = node.attrs.get("axis", -1)
    return op.ScatterElements(
        op.filled_like(x, 0.0), node.outputs[1], dy, axis=axis, reduction="add"
    )


@linear("MaxUnpool")
def max_unpool(op, node, dy):
    """dx = dy where each x went.

    Read off the operator itself, by unpooling the positions 1, 2, ... (exact up to 2^24).
    """
    x = node.x
    count = op.Size(x)
    numbers = op.Range(np.int64(1), count + np.int64(1), np.int64(1))
    numbers = op.Reshape(op.Cast(numbers, to=1), op.shape(x))
    landed = op.Cast(op.MaxUnpool(numbers, *node.inputs[1:], **node.attrs), to=7)
    with_nowhere = op.single(0, x.dtype, "zero")
    slots = op.ConstantOfShape(op.Reshape(count + np.int64(1), [1]), value=with_nowhere)
    slots.shape = [None]
    landed_flat = scatter_to_positions(op, dy, landed, slots)
    return op.reshape_like(op.Slice(landed_flat, [1], [2**31], [0]), x)


@linear("Col2Im")
def col2im(op, node, dy):
    """dx[n, c k + j, l] = dy[n, c, place(j, l)]: each column element receives dy from its place.

    place = s l - p + d j for each axis; elements that fell on the padding get 0.
    """
    x, image, block = node.inputs
    axes = image.shape[0]
    ones = [1] * axes
    strides, dilations = (node.attrs.get(k) or ones for k in ("strides", "dilations"))
    pads = node.attrs.get("pads") or [0] * (2 * axes)
    flat = inside = None
    for axis in range(axes):
        lengths = [op.Gather(t, np.asarray([axis])) for t in (image, block)]
        padding = (pads[axis], pads[axis + axes])
        place = _column_places(op, lengths, strides[axis], dilations[axis], padding)
        # [block, windows] of this axis among those of all axes: blocks first, then windows.
        parts = op.Unsqueeze(place, [a + b for b in (0, axes) for a in range(axes) if a != axis])
        within = op.And(parts >= 0, parts < lengths[0])
        held = op.Min(op.Max(parts, 0), lengths[0] - [1])
        flat = held if flat is None else flat * lengths[0] + held
        inside = within if inside is None else op.And(inside, within)
    pixels = op.Reshape(dy, [0, 0, -1])
    taken = op.Gather(pixels, op.Reshape(flat, [-1]), axis=2)
    kept = op.keep_where(taken, op.Reshape(inside, [-1]))
    return op.reshape_like(kept, x)


def _column_places(op: Emitter, lengths, stride: int, dilation: int, padding) -> Term:
    """s l - p + d j for all j (rows) and l (columns) along one axis."""
    image, block = lengths
    zero, one = np.int64(0), np.int64(1)
    reach = (block - [1]) * [dilation]
    around = [sum(padding)]
    room = image + around - reach - [1]
    count = op.Squeeze(room / [stride] + [1], [0])
    windows = op.Range(zero, count, one) * [stride] - [padding[0]]
    steps = op.Range(zero, op.Squeeze(block, [0]), one) * [dilation]
    return op.Unsqueeze(steps, [1]) + op.Unsqueeze(windows, [0])
