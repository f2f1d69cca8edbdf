"""Strided convolutions of an inverted residual, rewritten to run one phase at a time.

Phase r of a signal x is x[s q + r], for q = 0, 1, ...; with stride s in both directions there are
s * s of them (Vaidyanathan: Multirate Digital Filters, Filter Banks, Polyphase Networks (1990)).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

import onnx_graphsurgeon as gs

from onnxplain.graph_passes.dims import is_static
from onnxplain.graph_passes.emit import Emitter, is_constant, producer_of
from onnxplain.graph_passes.lowering import for_gpu
from onnxplain.graph_passes.rewriting import rewrite_nodes
from onnxplain.graph_passes.rules.convolution import Window, convolution_window
from onnxplain.graph_passes.rules.registry import GRADIENTS, Family

# What works on each element by itself, beside activations; constants may differ by channel.
_ARITHMETIC = {"Add", "Sub", "Mul", "Div"}


def in_phases(graph: gs.Graph, keep: Collection[str]) -> None:
    """Rewrite, in place, pointwise Conv -> activation -> strided Conv to work on phases.

    A pointwise convolution and an activation do the same to every pixel, so they may as well run on
    the phases of the few channels before them, and the strided convolution becomes a sum of small
    ones of stride 1, one for each phase. Forward nothing is gained; but on the way back it is the
    few channels whose phases are interleaved, in the plain layout, and all that happens to the many
    stays in ONNX Runtime's blocked layout: see the module `rules.convolution` for the other way.

    A gradient pass of EfficientNet-Lite0, whose blocks widen 6 times before they stride, takes
    XXX ms instead of YYY (two points at once, 2 CPU cores).

    Args:
        graph: changed in place.
        keep: names of tensors that must stay, beside the graph's outputs.
    """
    if for_gpu():
        return
    kept = {*keep, *(tensor.name for tensor in graph.outputs)}
    if rewrite_nodes(graph, {"Conv": partial(_strided, kept=kept)}):
        graph.cleanup(remove_unused_graph_inputs=False).toposort()


class _Block(NamedTuple):
    """What lies before a strided convolution.

    Attributes:
        pointwise: the Conv of kernel 1 that makes many channels out of few.
        between: the nodes from there to the strided one, in order.
    """

    pointwise: gs.Node
    between: list[gs.Node]


def _strided(emit: Emitter, node: gs.Node, kept: Collection[str]) -> gs.Tensor | None:
    """The strided Conv as the sum over phases r of Conv(x_r, w_r)."""
    x, y = node.inputs[0], node.outputs[0]
    if not all(is_constant(t) for t in node.inputs[1:]) or x.shape is None or len(x.shape) != 4:
        return None
    window = convolution_window(node)
    size = x.shape[2:]
    if window.strides == [1, 1] or window.dilations != [1, 1]:
        return None
    if not is_static(size) or not is_static(y.shape[1:]):
        return None
    if any(length % stride for length, stride in zip(size, window.strides, strict=True)):
        return None
    parts = _parts(window, size, y.shape[2:])
    block = _block_before(node, kept)
    if block is None or parts is None:
        return None
    total, bias = None, node.inputs[2:]
    for few, part in zip(_phases(emit, block.pointwise.inputs[0], window), parts, strict=True):
        if part is None:
            continue
        many = _copied(emit, block, few)
        weight = emit.constant(node.inputs[1].values[(..., *part.taps)])
        filtered = emit(
            "Conv",
            many,
            weight,
            *bias,
            pads=part.pads,
            strides=[1, 1],
            group=window.group,
            kernel_shape=list(weight.shape[2:]),
        )
        bias = []
        filtered.shape = y.shape
        total = filtered if total is None else emit.sum([total, filtered])
    return total


class _Part(NamedTuple):
    """The taps of a kernel that see one phase, and the pads of the convolution with them."""

    taps: tuple[slice, slice]
    pads: list[int]


def _parts(window: Window, size, out) -> list[_Part | None] | None:
    """One for each phase, row by row; None in the place of a phase that no tap sees.

    None altogether where a pad would be negative.
    """
    along = [
        [_along(window, axis, r, size[axis], out[axis]) for r in range(window.strides[axis])]
        for axis in (0, 1)
    ]
    if any(found is not None and min(found[1:]) < 0 for axis in along for found in axis):
        return None
    return [
        None
        if down is None or across is None
        else _Part((down[0], across[0]), [down[1], across[1], down[2], across[2]])
        for down in along[0]
        for across in along[1]
    ]


def _along(window: Window, axis: int, r: int, size: int, out: int):
    """Along one axis: the taps that see phase r, and the pads before and after its elements.

    y[o] = sum_j w[j] x[s o + j - p], and x[s o + j - p] is element o + (j - p - r) / s of phase r
    for the taps j that make it a whole number.
    """
    stride, pad = window.strides[axis], window.pads[axis]
    first = (r + pad) % stride
    taps = range(first, window.kernel[axis], stride)
    if not taps:
        return None
    before = (pad + r - first) // stride
    after = out - size // stride + len(taps) - 1 - before
    return slice(first, None, stride), before, after


def _block_before(node: gs.Node, kept: Collection[str]) -> _Block | None:
    """The nodes back to a pointwise Conv of fewer channels, if `node` alone sees what they make."""
    between: list[gs.Node] = []
    pointwise, waiting = None, [node.inputs[0]]
    while waiting:
        maker = producer_of(waiting.pop())
        if maker is None:
            return None
        if maker is pointwise or any(maker is other for other in between):
            continue
        if maker.op == "Conv":
            if pointwise is not None or not _widens(maker):
                return None
            pointwise = maker
        elif _by_element(maker):
            between.append(maker)
            waiting += [t for t in maker.inputs if t.name and not is_constant(t)]
        else:
            return None
    if pointwise is None:
        return None
    inside = [pointwise, *between]
    for maker in inside:
        (made,) = maker.outputs
        readers = [*between, node]
        if made.name in kept or not all(any(r is q for q in readers) for r in made.outputs):
            return None
    return _Block(pointwise, _in_order(pointwise, between))


def _in_order(pointwise: gs.Node, between: list[gs.Node]) -> list[gs.Node]:
    """Each node behind those that it reads."""
    known, ordered = {pointwise.outputs[0].name}, []
    while len(ordered) < len(between):
        for node in between:
            made = node.outputs[0].name
            if made not in known and all(
                is_constant(t) or not t.name or t.name in known for t in node.inputs
            ):
                known.add(made)
                ordered.append(node)
    return ordered


def _widens(node: gs.Node) -> bool:
    """A pointwise Conv with constant weights, from few channels to at least twice as many."""
    if len(node.inputs[1].shape) != 4 or not all(is_constant(t) for t in node.inputs[1:]):
        return False
    window = convolution_window(node)
    plain = window.kernel == window.strides == [1, 1] and not any(window.pads)
    many, few = node.inputs[1].shape[:2]
    return plain and window.group == 1 and 2 * few <= many


def _by_element(node: gs.Node) -> bool:
    """An operator that treats every pixel alike."""
    if node.domain not in (None, "", "ai.onnx") or len(node.outputs) != 1:
        return False
    entry = GRADIENTS.get((node.op, 0)) or GRADIENTS.get((node.op, None))
    activation = entry is not None and entry.family is Family.ELEMENTWISE
    return (activation or node.op in _ARITHMETIC) and all(
        not is_constant(t) or _fits_every_pixel(t) for t in node.inputs if t.name
    )


def _fits_every_pixel(constant: gs.Tensor) -> bool:
    """A single number, or one for each channel."""
    shape = list(constant.shape)
    return constant.values.size == 1 or (len(shape) >= 3 and shape[-2:] == [1, 1])


def _phases(emit: Emitter, x: gs.Tensor, window: Window) -> list[gs.Tensor]:
    """x_r [N, C, H / s, W / s] for every phase, row by row.

    By Reshape and Split, whose adjoint is the Concat that interleaves fastest.
    """
    rows, columns = window.strides
    low, narrow = x.shape[2] // rows, x.shape[3] // columns
    # Zero stands for an axis that stays as it is.
    grid = emit("Reshape", x, [0, 0, low, rows, narrow, columns])
    grid.shape = [*x.shape[:2], low, rows, narrow, columns]
    parts = [one for row in _cut(emit, grid, 3) for one in _cut(emit, row, 5)]
    phases = [emit("Reshape", part, [0, 0, low, narrow]) for part in parts]
    for phase in phases:
        phase.shape = [*x.shape[:2], low, narrow]
    return phases


def _cut(emit: Emitter, value: gs.Tensor, axis: int) -> list[gs.Tensor]:
    """Slices of length 1 along an axis."""
    count = value.shape[axis]
    if count == 1:
        return [value]
    parts = emit.many("Split", count, value, axis=axis, num_outputs=count)
    for part in parts:
        part.shape = [*value.shape[:axis], 1, *value.shape[axis + 1 :]]
    return parts


def _copied(emit: Emitter, block: _Block, few: gs.Tensor) -> gs.Tensor:
    """The block's pointwise Conv and all behind it once more, for one phase."""
    made = {block.pointwise.inputs[0].name: few}
    value = few
    for node in (block.pointwise, *block.between):
        operands = [made.get(t.name, t) if t.name else None for t in node.inputs]
        value = emit(node.op, *operands, **node.attrs)
        like = node.outputs[0]
        value.dtype = like.dtype
        value.shape = None if like.shape is None else [*like.shape[:2], *few.shape[2:]]
        made[like.name] = value
    return value
