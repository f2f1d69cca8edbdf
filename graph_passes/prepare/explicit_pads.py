"""auto_pad to explicit pads: numbers where the sizes are known, a Pad node where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.emitter import Emitter
from ..graph.operators import Fact, operators
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant
from .exact_windows import halves, pooled_padded

_WINDOWED = ("Conv", *sorted(operators(Fact.POOLS)))


def explicit_pads(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite every auto_pad that is left, ConvTranspose's output_shape, and Pad's axes.

    What is left are convolutions, and pools over sizes that are not known. SAME: a Conv's output
    has ceil(H / s) elements, so the pads sum to max((ceil(H / s) - 1) s + d (k - 1) + 1 - H, 0),
    the odd one at the end (SAME_UPPER) or at the begin (SAME_LOWER).
    """
    rewrites = {op: _pad_same for op in _WINDOWED}
    rewrites |= {"ConvTranspose": _pad_transposed, "Pad": _pad_every_axis}
    implicit = [id(n) for n in graph.nodes if n.op in rewrites and _is_implicit(n)]
    rewrite_nodes(graph, rewrites, lambda node: id(node) in implicit)
    return graph if implicit else None


def _is_implicit(node: gs.Node) -> bool:
    return not {"auto_pad", "output_shape"}.isdisjoint(node.attrs) or node.op == "Pad"


def _pad_every_axis(emit: Emitter, node: gs.Node) -> None:
    """Amounts for the axes named become amounts for all axes (why: `Emitter.pad`)."""
    if len(node.inputs) < 4 or node.inputs[0].shape is None:
        return
    amounts, axes = node.inputs[1], node.inputs[3]
    if not (is_constant(amounts) and is_constant(axes)):
        return
    rank = len(node.inputs[0].shape)
    places = [int(axis) % rank for axis in axes.values]
    everywhere = np.zeros(2 * rank, np.int64)
    everywhere[[*places, *(rank + place for place in places)]] = amounts.values
    node.inputs = [node.inputs[0], emit.constant(everywhere), *node.inputs[2:3]]


def _window(node: gs.Node) -> tuple[list[int], list[int], list[int]]:
    """Kernel, strides and dilations."""
    kernel = node.attrs.get("kernel_shape") or list(node.inputs[1].shape[2:])
    ones = [1] * len(kernel)
    return list(kernel), node.attrs.get("strides") or ones, node.attrs.get("dilations") or ones


def _set_pads(node: gs.Node, pairs: list[tuple[int, int]]) -> None:
    node.attrs.pop("auto_pad", None)
    node.attrs["pads"] = [b for b, _ in pairs] + [e for _, e in pairs]


def _pad_same(emit: Emitter, node: gs.Node) -> gs.Tensor | None:
    mode = node.attrs.get("auto_pad", "NOTSET")
    kernel, strides, dilations = _window(node)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        if mode == "VALID":
            _set_pads(node, [(0, 0)] * len(kernel))
        node.attrs.pop("auto_pad", None)
        return None
    if node.op != "Conv":
        return _pool_at_run_time(emit, node, kernel, strides, mode == "SAME_LOWER")
    lengths = list(node.inputs[0].shape[2:])
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pairs = []
    for length, r, s in zip(lengths, reach, strides, strict=True):
        if s == 1:
            total = r
        elif isinstance(length, int):
            total = max((-(-length // s) - 1) * s + r + 1 - length, 0)
        else:
            return _conv_at_run_time(emit, node, reach, strides, mode == "SAME_LOWER")
        pairs.append(halves(total, mode == "SAME_LOWER"))
    _set_pads(node, pairs)
    return None


def _missing(emit: Emitter, x: gs.Tensor, reach: list[int], strides: list[int]) -> Any:
    """(ceil(H / s) - 1) s + reach + 1 - H, for each spatial axis."""
    lengths = emit.dims(x, 2)
    windows = (lengths + [s - 1 for s in strides]) / list(strides)
    return (windows - [1] * len(reach)) * list(strides) + [r + 1 for r in reach] - lengths


def _conv_at_run_time(emit: Emitter, node: gs.Node, reach, strides, lower: bool) -> gs.Tensor:
    """Pad by what the input's size asks for, then the same operator without pads."""
    x, axes = node.inputs[0], list(range(2, 2 + len(reach)))
    total = emit.Max(_missing(emit, x, reach, strides), [0])
    half = total / [2]
    rest = total - half
    amounts = emit.Concat(*((rest, half) if lower else (half, rest)), axis=0)
    attributes = {k: v for k, v in node.attrs.items() if k not in ("auto_pad", "pads")}
    padded = emit.pad(x, amounts, axes, 2 + len(axes))
    padded.shape = [*list(x.shape)[:2], *[None] * len(axes)]
    return emit.Conv(padded, *node.inputs[1:], **attributes)


def _pool_at_run_time(emit: Emitter, node: gs.Node, kernel, strides, lower: bool) -> gs.Tensor:
    """The pads of `same_pads`, by the input's size: integers are divided towards 0.

    With these, ceil_mode adds a window only where a window is dilated.
    """
    x = node.inputs[0]
    if node.attrs.get("ceil_mode", 0) and max(node.attrs.get("dilations") or [1]) > 1:
        raise UnsupportedModelError(
            f"{node.op} (node {node.name!r}) with auto_pad, ceil_mode and dilations over a size "
            "that the file does not fix is not supported"
        )
    total = _missing(emit, x, [k - 1 for k in kernel], strides)
    begin = (total + [1] * len(kernel) if lower else total) / [2]
    amounts = emit.Concat(begin, total - begin, axis=0)
    attributes = {k: v for k, v in node.attrs.items() if k not in ("auto_pad", "pads", "ceil_mode")}
    return pooled_padded(emit, node.op, x, amounts, attributes)


def _pad_transposed(emit: Emitter, node: gs.Node) -> None:
    """ConvTranspose: pads sum to (H - 1) s + output_padding + d (k - 1) + 1 - output length."""
    mode, wanted = node.attrs.get("auto_pad", "NOTSET"), node.attrs.get("output_shape")
    if not wanted:
        node.attrs.pop("auto_pad", None)
        return
    kernel, strides, dilations = _window(node)
    extra = list(node.attrs.get("output_padding") or [0] * len(kernel))
    pairs = []
    for axis, length in enumerate(list(node.inputs[0].shape[2:])):
        if not isinstance(length, int):
            return
        beyond = extra[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        total = (length - 1) * strides[axis] + beyond - list(wanted)[-len(kernel) :][axis]
        if total < 0:
            extra[axis] -= total
        pairs.append(halves(max(total, 0), mode != "SAME_UPPER"))
    del node.attrs["output_shape"]
    node.attrs["output_padding"] = extra
    _set_pads(node, pairs)
