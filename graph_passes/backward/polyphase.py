"""Strided convolutions of inverted residuals, rewritten to work on one phase after the other.

Phase r of a signal x is x[s q + r], for q = 0, 1, ...; with strides s and t along rows and columns
an image has s t of them (Vaidyanathan: Multirate Digital Filters, Filter Banks, Polyphase Networks,
and Applications: A Tutorial (1990)).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.lowering import for_gpu
from ..graph.operators import Fact, has
from ..graph.ordering import prune
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant, optional_input, producer_of
from ..rules.convolution import PhaseTaps, Window, convolution_window, phase_taps
from ..rules.registry import is_elementwise

# Numbers of an image's activation below which the further operators take what the layout gives.
_WORTH = 2**18


def in_phases(graph: gs.Graph, keep: Collection[str]) -> None:
    """Rewrite, in place: pointwise Conv, activation, strided Conv; where the first one widens.

    The first two treat every pixel alike, so they may as well run on phases of the few channels
    before them, and the strided convolution becomes a sum of small ones of stride 1, one for each
    phase. Forward nothing is gained. On the way back the phases of the few channels are interleaved
    instead of those of the many, in ONNX Runtime's plain layout, and all that happens to the many
    stays in its blocked layout: a gradient pass of EfficientNet-Lite0, whose blocks widen 6 times
    before they stride, takes 14.9 ms for each point instead of 16.7 (two at once, 2 CPU cores).
    A Pad of zeros before a Conv becomes a part of the Conv's pads first, as Keras' files need it.
    DeepLIFT gains nothing (24.9 ms, 25.2 without), since its activations leave that layout anyway.

    Args:
        graph: changed in place.
        keep: names of tensors that must stay, beside the graph's outputs.
    """
    if for_gpu():
        return
    kept = {*keep, *(tensor.name for tensor in graph.outputs)}
    for node in graph.nodes:
        if node.op == "Conv":
            _take_over_zeros(node, kept)
    rewrite_nodes(graph, {"Conv": partial(_by_phases, kept=kept)})
    # What the head works on (logits copied past what stands behind the final activation) is no
    # output of the graph.
    prune(graph, keep)


def _take_over_zeros(node: gs.Node, kept: Collection[str]) -> None:
    """Zeros that a Pad puts around the pixels, for this Conv alone, into the Conv's own pads."""
    x = node.inputs[0]
    pad = producer_of(x)
    if pad is None or pad.op != "Pad" or len(x.outputs) != 1 or x.name in kept:
        return
    if pad.attrs.get("mode", "constant") != "constant" or optional_input(pad, 3) is not None:
        return
    fill = optional_input(pad, 2)
    constants = [pad.inputs[1], *([] if fill is None else [fill])]
    if not all(map(is_constant, constants)) or (fill is not None and fill.values.any()):
        return
    amounts = pad.inputs[1].values.reshape(2, -1)
    if amounts[:, :2].any() or amounts.min() < 0:
        return
    around = amounts[:, 2:].reshape(-1).tolist()
    own = node.attrs.get("pads") or [0] * len(around)
    node.attrs["pads"] = [a + b for a, b in zip(around, own, strict=True)]
    node.inputs[0] = pad.inputs[0]
    pad.inputs.clear()


def _by_phases(emit: Emitter, node: gs.Node, kept: Collection[str]) -> gs.Tensor | None:
    """y = sum over phases r of Conv(x_r, w_r), with x_r computed from the block's input."""
    y = node.outputs[0]
    nodes = _nodes_before(emit, node, kept) if _strides_evenly(node) else None
    if nodes is None:
        return None
    window, weight = convolution_window(node), node.inputs[1].values
    parts = _parts(window, node.inputs[0].shape[2:], y.shape[2:])
    if any(part is not None and min(part.pads) < 0 for part in parts):
        return None
    total, bias = None, node.inputs[2:]
    for few, part in zip(_phases(emit, nodes[0].inputs[0], window), parts, strict=True):
        if part is None:
            continue
        taps = emit.constant(weight[(..., *part.taps)])
        filtered = emit.Conv(
            _repeated(emit, nodes, few),
            taps,
            *bias,
            pads=part.pads,
            strides=[1, 1],
            group=window.group,
            kernel_shape=list(taps.shape[2:]),
        )
        bias = []
        filtered.shape = y.shape
        total = filtered if total is None else emit.sum([total, filtered])
    return total


def _strides_evenly(node: gs.Node) -> bool:
    """A Conv of images with constant weights and strides that divide the image's known lengths."""
    x, y = node.inputs[0].shape, node.outputs[0].shape
    if not all(map(is_constant, node.inputs[1:])) or x is None or len(x) != 4 or y is None:
        return False
    window = convolution_window(node)
    if window.strides == [1, 1] or window.dilations != [1, 1] or not is_static([*x[2:], *y[2:]]):
        return False
    if node.inputs[1].shape[1] * window.group * x[2] * x[3] < _WORTH:
        return False
    return not any(length % stride for length, stride in zip(x[2:], window.strides, strict=True))


def _nodes_before(emit: Emitter, node: gs.Node, kept: Collection[str]) -> list[gs.Node] | None:
    """The widening pointwise Conv before `node` and what lies between, if all that is for it alone.

    In the order of the graph, so the Conv comes first.
    """
    inside, waiting = set(), [node.inputs[0]]
    while waiting:
        maker = producer_of(waiting.pop())
        if maker is None or not (_widens(maker) or _by_pixel(maker)):
            return None
        if id(maker) not in inside:
            inside.add(id(maker))
            if maker.op != "Conv":
                waiting += [t for t in maker.inputs if t.name and not is_constant(t)]
    nodes = [maker for maker in emit.graph.nodes if id(maker) in inside]
    readers = {id(reader) for maker in nodes for reader in maker.outputs[0].outputs}
    lost = any(maker.outputs[0].name in kept for maker in nodes)
    if lost or readers != {*inside, id(node)} - {id(nodes[0])}:
        return None
    return nodes if sum(maker.op == "Conv" for maker in nodes) == 1 else None


def _widens(node: gs.Node) -> bool:
    """A pointwise Conv of images, with constant weights, from few channels to twice as many."""
    weight = node.inputs[1] if node.op == "Conv" else None
    if weight is None or len(weight.shape) != 4 or not all(map(is_constant, node.inputs[1:])):
        return False
    window = convolution_window(node)
    plain = window.kernel == window.strides == [1, 1] and not any(window.pads)
    return plain and window.group == 1 and 2 * weight.shape[1] <= weight.shape[0]


def _by_pixel(node: gs.Node) -> bool:
    """An activation, or arithmetic with numbers that are the same for every pixel."""
    if node.domain not in (None, "", "ai.onnx") or len(node.outputs) != 1:
        return False
    alike = is_elementwise(node) or has(node, Fact.ARITHMETIC)
    constants = [t for t in node.inputs if t.name and is_constant(t)]
    return alike and all(t.values.size == 1 or list(t.shape[-2:]) == [1, 1] for t in constants)


class _Part(NamedTuple):
    """The taps of a kernel that see one phase, and the pads of a convolution with them."""

    taps: tuple[slice, slice]
    pads: list[int]


def _parts(window: Window, size: list[int], out: list[int]) -> list[_Part | None]:
    """One for each phase, row by row; None in the place of a phase that no tap sees.

    y[o] = sum_j w[j] x[s o + j - p], and x[s o + j - p] is element o + (j - p - r) / s of phase r
    for the taps j that make it a whole number. In the adjoint's words y[o] reaches from `after`
    elements before o to `before` elements behind it.
    """
    rows, columns = (
        [phase_taps(window, axis, r) for r in range(window.strides[axis])] for axis in (0, 1)
    )
    more = [o - h // s for o, h, s in zip(out, size, window.strides, strict=True)]
    return [
        _Part(
            (down.taps, across.taps),
            [down.after, across.after, more[0] + down.before, more[1] + across.before],
        )
        if _seen(down) and _seen(across)
        else None
        for down in rows
        for across in columns
    ]


def _seen(found: PhaseTaps) -> bool:
    return found.taps.start < found.taps.stop


def _phases(emit: Emitter, x: gs.Tensor, window: Window) -> Sequence[gs.Tensor]:
    """x_r [N, C, H / s, W / t] for every phase, row by row.

    By Reshape and Split, whose adjoint is the Concat that interleaves fastest.
    """
    rows, columns = window.strides
    low, narrow = x.shape[2] // rows, x.shape[3] // columns
    # Zero stands for an axis that stays as it is.
    grid = emit.Reshape(x, [0, 0, low, rows, narrow, columns])
    grid.shape = [*x.shape[:2], low, rows, narrow, columns]
    parts = [part for row in _cut(emit, grid, 3) for part in _cut(emit, row, 5)]
    phases = [emit.Reshape(part, [0, 0, low, narrow]) for part in parts]
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


def _repeated(emit: Emitter, nodes: list[gs.Node], few: gs.Tensor) -> gs.Tensor:
    """The nodes once more, from another input of the first one."""
    made = {nodes[0].inputs[0].name: few}
    value = few
    for node in nodes:
        operands = [made.get(t.name, t) if t.name else None for t in node.inputs]
        value = emit(node.op, *operands, **node.attrs)
        like = node.outputs[0]
        value.dtype = like.dtype
        value.shape = None if like.shape is None else [*like.shape[:2], *few.shape[2:]]
        made[like.name] = value
    return value
