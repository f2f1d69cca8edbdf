"""auto_pad to explicit pads: numbers where the sizes are known, a Pad node where they are not."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.rewriting import rewrite_nodes
from ..graph.tensors import is_constant

_WINDOWED = ("Conv", "MaxPool", "AveragePool", "LpPool")


def explicit_pads(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite every auto_pad of a windowed operator, ConvTranspose's output_shape, and Pad's axes.

    SAME: the output has ceil(H / s) elements, so the pads sum to max((ceil(H / s) - 1) s + d (k -
    1) + 1 - H, 0), the odd one at the end (SAME_UPPER) or at the begin (SAME_LOWER).
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


def _split(total: int, lower: bool) -> tuple[int, int]:
    """Half each; the odd one first when `lower`."""
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


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
    lengths = list(node.inputs[0].shape[2:])
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    node.attrs.pop("ceil_mode", None)
    pairs = []
    for length, r, s in zip(lengths, reach, strides, strict=True):
        if s == 1:
            total = r
        elif isinstance(length, int):
            total = max((-(-length // s) - 1) * s + r + 1 - length, 0)
        else:
            return _pad_at_run_time(emit, node, reach, strides, mode == "SAME_LOWER")
        pairs.append(_split(total, mode == "SAME_LOWER"))
    _set_pads(node, pairs)
    return None


def _pad_at_run_time(emit: Emitter, node: gs.Node, reach, strides, lower: bool) -> gs.Tensor:
    """Pad by what the input's size asks for, then the same operator without pads."""
    x = node.inputs[0]
    axes = list(range(2, 2 + len(reach)))
    lengths = emit.dims(x, 2)
    windows = emit.Div(emit.Add(lengths, [s - 1 for s in strides]), list(strides))
    spans = emit.Add(
        emit.Mul(emit.Sub(windows, [1] * len(axes)), list(strides)), [r + 1 for r in reach]
    )
    total = emit.Max(emit.Sub(spans, lengths), [0])
    half = emit.Div(total, [2])
    rest = emit.Sub(total, half)
    amounts = emit.Concat(*((rest, half) if lower else (half, rest)), axis=0)
    attributes = {k: v for k, v in node.attrs.items() if k not in ("auto_pad", "pads")}

    def run(value, fill):
        padded = emit.pad(value, amounts, axes, 2 + len(axes), fill)
        padded.shape = [*list(value.shape)[:2], *[None] * len(axes)]
        return emit(node.op, padded, *node.inputs[1:], **attributes)

    if node.op == "MaxPool":
        return run(x, float(np.finfo(x.dtype).min))
    if node.op == "AveragePool" and not attributes.get("count_include_pad", 0):
        ones = emit.filled_like(x, 1.0)
        return emit.Div(run(x, 0.0), run(ones, 0.0))
    return run(x, 0.0)


def _pad_transposed(emit: Emitter, node: gs.Node) -> None:
    """ConvTranspose: pads sum to (H - 1) s + output_padding + d (k - 1) + 1 - output length."""
    mode = node.attrs.pop("auto_pad", "NOTSET")
    wanted = node.attrs.get("output_shape")
    if mode == "VALID" or (mode == "NOTSET" and not wanted):
        return
    kernel, strides, dilations = _window(node)
    extra = list(node.attrs.get("output_padding") or [0] * len(kernel))
    lengths = list(node.inputs[0].shape[2:])
    pairs = []
    for axis, length in enumerate(lengths):
        beyond = extra[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        if wanted:
            if not isinstance(length, int):
                node.attrs["auto_pad"] = mode
                return
            total = (length - 1) * strides[axis] + beyond - list(wanted)[-len(kernel) :][axis]
        else:
            total = beyond - strides[axis]
        if total < 0:
            extra[axis] -= total
        pairs.append(_split(max(total, 0), mode != "SAME_UPPER"))
    node.attrs.pop("output_shape", None)
    node.attrs["output_padding"] = extra
    _set_pads(node, pairs)
