"""Gradients of Scatter operators, TopK, MaxUnpool and Col2Im."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from .pooling import scatter_to_positions
from .reductions import product_of_others
from .registry import Family, gradient

linear = partial(gradient, family=Family.LINEAR)
composite = partial(gradient, family=Family.COMPOSITE)


def _scatter(emit: Emitter, node: gs.Node, data, updates, reduction: str) -> gs.Tensor:
    """The node's own scattering, of other data and updates."""
    kept = {k: v for k, v in node.attrs.items() if k != "reduction"}
    return emit(node.op, data, node.inputs[1], updates, reduction=reduction, **kept)


def _gather(emit: Emitter, node: gs.Node, values) -> gs.Tensor:
    """For each update what stands where it went."""
    if node.op == "ScatterND":
        return emit("GatherND", values, node.inputs[1])
    return emit("GatherElements", values, node.inputs[1], axis=node.attrs.get("axis", 0))


def _survivors(emit: Emitter, node: gs.Node) -> gs.Tensor:
    """Which updates are still there afterwards, as numbers: where two meet, one is lost.

    Read off the operator itself, by scattering the updates' own positions.
    """
    data, updates = node.inputs[0], node.inputs[2]
    count = emit("Size", updates)
    ids = emit("Reshape", emit("Range", np.int64(0), count, np.int64(1)), emit.shape(updates))
    minus = gs.Constant(emit.name("nobody"), np.full(1, -1, np.int64))
    nobody = emit("ConstantOfShape", emit.shape(data), value=minus)
    landed = _gather(emit, node, _scatter(emit, node, nobody, ids, "none"))
    return emit.cast_like(emit("Equal", landed, ids), updates)


def _reduction(node: gs.Node) -> str:
    return node.attrs.get("reduction", "none")


@linear("ScatterElements", "ScatterND")
def scatter_data(emit, node, dy):
    """dx: dy where no update went (none), dy (add), and see `_shares` for mul, min and max."""
    if _reduction(node) == "add":
        return dy
    if _reduction(node) == "none":
        return _scatter(emit, node, dy, emit.filled_like(node.inputs[2], 0.0), "none")
    return emit.mul(dy, _shares(emit, node)[0])


@linear("ScatterElements", "ScatterND", operand=2)
def scatter_updates(emit, node, dy):
    """dupdates: dy where each update went; nothing for one that another update replaced."""
    arrived = _gather(emit, node, dy)
    if _reduction(node) == "add":
        return arrived
    if _reduction(node) == "none":
        return emit.mul(arrived, _survivors(emit, node))
    return emit.mul(arrived, _shares(emit, node)[1])


def _shares(emit: Emitter, node: gs.Node) -> tuple[gs.Tensor, gs.Tensor]:
    """dy / d data and dy / d updates at their places, for products, minima and maxima."""
    data, updates = node.inputs[0], node.inputs[2]
    if _reduction(node) == "mul":
        return _product_shares(emit, node)
    y = node.outputs[0]
    kept = emit.cast_like(emit("Equal", data, y), data)
    won = emit.cast_like(emit("Equal", updates, _gather(emit, node, y)), updates)
    count = _scatter(emit, node, kept, won, "add")
    return emit.div(kept, count), emit.div(won, _gather(emit, node, count))


def _product_shares(emit: Emitter, node: gs.Node) -> tuple[gs.Tensor, gs.Tensor]:
    """The product of the other factors of each place, for its datum and for its updates."""
    data, updates = node.inputs[0], node.inputs[2]

    def group(values_of_data, values_of_updates, reduction):
        return _scatter(emit, node, values_of_data, values_of_updates, reduction)

    def filled(values):
        return emit.add(values, zeros_of(values))

    def zeros_of(values):
        return emit.cast_like(emit("Equal", values, 0.0), values)

    rest = group(filled(data), filled(updates), "mul")
    zeros = group(zeros_of(data), zeros_of(updates), "add")
    of_data = product_of_others(emit, data, lambda _: rest, lambda _: zeros)
    rest_there, zeros_there = _gather(emit, node, rest), _gather(emit, node, zeros)
    of_updates = product_of_others(emit, updates, lambda _: rest_there, lambda _: zeros_there)
    return of_data, of_updates


@composite("TopK")
def top_k(emit, node, dy, *_):
    """dx = dy at the elements that were chosen, 0 elsewhere."""
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1)
    return emit(
        "ScatterElements", emit.filled_like(x, 0.0), node.outputs[1], dy, axis=axis, reduction="add"
    )


@linear("MaxUnpool")
def max_unpool(emit, node, dy):
    """dx = dy where each x went.

    Read off the operator itself, by unpooling the positions 1, 2, ... (exact up to 2^24).
    """
    x = node.inputs[0]
    count = emit("Size", x)
    numbers = emit("Range", np.int64(1), emit.add(count, np.int64(1)), np.int64(1))
    numbers = emit("Reshape", emit("Cast", numbers, to=1), emit.shape(x))
    landed = emit("Cast", emit("MaxUnpool", numbers, *node.inputs[1:], **node.attrs), to=7)
    with_nowhere = gs.Constant(emit.name("zero"), np.zeros(1, x.dtype))
    slots = emit(
        "ConstantOfShape", emit("Reshape", emit.add(count, np.int64(1)), [1]), value=with_nowhere
    )
    slots.shape = [None]
    landed_flat = scatter_to_positions(emit, dy, landed, slots)
    return emit.reshape_like(emit("Slice", landed_flat, [1], [2**31], [0]), x)


@linear("Col2Im")
def col2im(emit, node, dy):
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
        lengths = [emit("Gather", t, np.asarray([axis])) for t in (image, block)]
        padding = (pads[axis], pads[axis + axes])
        place = _column_places(emit, lengths, strides[axis], dilations[axis], padding)
        # [block, windows] of this axis among those of all axes: blocks first, then windows.
        parts = emit(
            "Unsqueeze", place, [a + b for b in (0, axes) for a in range(axes) if a != axis]
        )
        within = emit("And", emit("GreaterOrEqual", parts, 0), emit("Less", parts, lengths[0]))
        held = emit("Min", emit("Max", parts, 0), emit.sub(lengths[0], [1]))
        flat = held if flat is None else emit.add(emit.mul(flat, lengths[0]), held)
        inside = within if inside is None else emit("And", inside, within)
    pixels = emit("Reshape", dy, [0, 0, -1])
    taken = emit("Gather", pixels, emit("Reshape", flat, [-1]), axis=2)
    kept = emit.keep_where(taken, emit("Reshape", inside, [-1]))
    return emit.reshape_like(kept, x)


def _column_places(emit: Emitter, lengths, stride: int, dilation: int, padding) -> gs.Tensor:
    """s l - p + d j for all j (rows) and l (columns) along one axis."""
    image, block = lengths
    zero, one = np.int64(0), np.int64(1)
    reach = emit.mul(emit.sub(block, [1]), [dilation])
    room = emit.sub(emit.sub(emit.add(image, [sum(padding)]), reach), [1])
    count = emit("Squeeze", emit.add(emit.div(room, [stride]), [1]), [0])
    windows = emit.sub(emit.mul(emit("Range", zero, count, one), [stride]), [padding[0]])
    steps = emit.mul(emit("Range", zero, emit("Squeeze", block, [0]), one), [dilation])
    return emit.add(emit("Unsqueeze", steps, [1]), emit("Unsqueeze", windows, [0]))
