"""ceil_mode and auto_pad as pads that say the same, where ONNX's inference has other sizes.

What counts is what ONNX Runtime computes. Its SAME pads of a pool leave the dilation out, and are
negative where the kernel is smaller than the stride; those of a ConvTranspose never add to the
output, so that a kernel smaller than the stride leaves less than H s. ONNX's shape inference counts
a last window that begins in the padding behind the input, too; ONNX Runtime, as PyTorch, does not.
With pads instead, nobody has to decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.operators import Fact, has, operators
from ..graph.rewriting import Rewrite, rewrite_nodes

SAME = ("SAME_UPPER", "SAME_LOWER")


def exact_windows(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite the first pools and transposed convolutions whose inferred sizes may be wrong.

    What lies behind one has a wrong shape until shapes are inferred again: to be repeated.
    """
    doubtful: set[str] = set()
    chosen: set[int] = set()
    for node in graph.nodes:
        if not doubtful.isdisjoint(tensor.name for tensor in node.inputs):
            doubtful.update(tensor.name for tensor in node.outputs)
        elif _is_doubtful(node):
            chosen.add(id(node))
            doubtful.update(tensor.name for tensor in node.outputs)
    rewrites: dict[str, Rewrite] = dict.fromkeys(operators(Fact.POOLS), _pool)
    rewrites["ConvTranspose"] = _transposed
    return rewrite_nodes(graph, rewrites, lambda node: id(node) in chosen)


def _is_doubtful(node: gs.Node) -> bool:
    mode = node.attrs.get("auto_pad", "NOTSET")
    if node.op == "ConvTranspose":
        return mode in SAME and not node.attrs.get("output_shape")
    return has(node, Fact.POOLS) and (mode in SAME or bool(node.attrs.get("ceil_mode", 0)))


def window_count(length: int, reach: int, stride: int, begin: int, end: int) -> int:
    """Windows of a pool in ceil mode: ceil((H + p + q - reach) / s) + 1, begun before H + p."""
    count = -(-(length + begin + end - reach) // stride) + 1
    return count - 1 if (count - 1) * stride >= length + begin else count


def same_pads(length: Any, stride: int, kernel: int, lower: bool) -> tuple[int, int]:
    """SAME pads of a pool: (ceil(H / s) - 1) s + k - H in all, halves rounded towards 0.

    For a stride of 1 they are k - 1, whatever H is.
    """
    total = kernel - 1 if stride == 1 else (-(-length // stride) - 1) * stride + kernel - length
    begin = int((total + 1 if lower else total) / 2)
    return begin, total - begin


def halves(total: int, lower: bool) -> tuple[int, int]:
    """Half each; the odd one first when `lower`."""
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def _transposed(emit: Emitter, node: gs.Node) -> Any:
    """ConvTranspose: pads sum to max(output_padding + d (k - 1) + 1 - s, 0), for H s elements."""
    kernel = list(node.attrs.get("kernel_shape") or node.inputs[1].shape[2:])
    strides, dilations = (
        list(node.attrs.get(key) or [1] * len(kernel)) for key in ("strides", "dilations")
    )
    extra = list(node.attrs.get("output_padding") or [0] * len(kernel))
    attributes = {k: v for k, v in node.attrs.items() if k != "auto_pad"}
    totals = [
        max(e + (k - 1) * d + 1 - s, 0)
        for e, k, d, s in zip(extra, kernel, dilations, strides, strict=True)
    ]
    pairs = [halves(total, node.attrs["auto_pad"] == "SAME_LOWER") for total in totals]
    attributes["pads"] = [begin for begin, _ in pairs] + [end for _, end in pairs]
    return emit.ConvTranspose(*node.inputs, **attributes)


def _pool(emit: Emitter, node: gs.Node) -> list | None:
    """One whose pads and last windows are said; None where that waits for sizes."""
    x, kernel = node.inputs[0], list(node.attrs["kernel_shape"])
    axes = len(kernel)
    if x.shape is None:
        return None
    mode = node.attrs.get("auto_pad", "NOTSET")
    strides, dilations = (
        list(node.attrs.get(key) or [1] * axes) for key in ("strides", "dilations")
    )
    lengths = list(x.shape)[2:]
    moving = [length for length, s in zip(lengths, strides, strict=True) if s > 1]
    if not is_static(moving if mode in SAME and max(dilations) == 1 else lengths):
        return None
    ceil = bool(node.attrs.get("ceil_mode", 0)) and is_static(lengths)
    pads = list(node.attrs.get("pads") or [0] * (2 * axes))
    begins, ends = pads[:axes], pads[axes:]
    if mode in SAME:
        pairs = [
            same_pads(length, s, k, mode == "SAME_LOWER")
            for length, s, k in zip(lengths, strides, kernel, strict=True)
        ]
        begins, ends = [begin for begin, _ in pairs], [end for _, end in pairs]
    elif mode == "VALID":
        begins, ends = [0] * axes, [0] * axes
    wanted = list(ends)
    if ceil:
        for axis, length in enumerate(lengths):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            count = window_count(length, reach, strides[axis], begins[axis], ends[axis])
            last = (count - 1) * strides[axis] + reach
            wanted[axis] = max(last - length - begins[axis], 0)
    attributes = {k: v for k, v in node.attrs.items() if k not in ("ceil_mode", "auto_pad", "pads")}
    return _with_pads(emit, node, attributes, (begins, ends, wanted))


def _with_pads(emit: Emitter, node: gs.Node, attributes: dict, amounts) -> list:
    """The pool over so much padding: the file's own, and up to `wanted` what ceil_mode adds."""
    begins, ends, wanted = amounts
    if node.op == "AveragePool" and node.attrs.get("ceil_mode", 0) and min(*begins, *ends) < 0:
        # What such a window's mean is divided by is ONNX Runtime's own secret.
        raise UnsupportedModelError(
            f"AveragePool (node {node.name!r}) with ceil_mode and auto_pad whose kernel is smaller "
            "than its stride is not supported"
        )
    x, axes = node.inputs[0], len(begins)
    places, rank = list(range(2, 2 + axes)), 2 + axes
    beyond = [w > e for w, e in zip(wanted, ends, strict=True)]
    if node.op == "AveragePool" and attributes.get("count_include_pad", 0) and any(beyond):
        # The file's own pads count as elements of a window, what ceil_mode adds does not.
        own = [min(w, e) for w, e in zip(wanted, ends, strict=True)]
        x = emit.pad(x, [*begins, *own], places, rank)
        x.shape = _padded_shape(node.inputs[0].shape, [*begins, *own])
        begins, wanted = [0] * axes, [w - e for w, e in zip(wanted, own, strict=True)]
        attributes = {**attributes, "count_include_pad": 0}
    pads, kernel = [*begins, *wanted], list(node.attrs["kernel_shape"])
    # ONNX Runtime takes pads from 0 to below the kernel's size, whatever its dilation.
    if all(0 <= pad < kernel[place % axes] for place, pad in enumerate(pads)):
        return emit.many(node.op, len(node.outputs), x, **attributes, pads=pads)
    return [pooled_padded(emit, node.op, x, pads, attributes)]


def _padded_shape(shape: Any, pads: list[int]) -> list:
    axes = len(pads) // 2
    return [*shape[:2], *(shape[2 + a] + pads[a] + pads[axes + a] for a in range(axes))]


def pooled_padded(emit: Emitter, op: str, x: Any, amounts: Any, attributes: dict) -> Any:
    """A pool without pads over an input with `amounts` (or a tensor of them) around it.

    What is added never is a maximum, and counts in averages only where the node says so.
    """
    axes = len(attributes["kernel_shape"])
    # Without pads of its own it says nothing.
    plain = {k: v for k, v in attributes.items() if k != "count_include_pad"}

    def run(value: Any, fill: float) -> Any:
        padded = emit.pad(value, amounts, list(range(2, 2 + axes)), 2 + axes, fill)
        padded.shape = [*list(value.shape)[:2], *[None] * axes]
        return emit(op, padded, **plain)

    if op == "MaxPool":
        return run(x, float(np.finfo(x.dtype).min))
    included = attributes.get("count_include_pad", 0)
    if op == "AveragePool" and isinstance(amounts, list):
        # ONNX Runtime fuses a Pad of zeros into the pool, which then cannot have such pads.
        around = run(emit.filled_like(x, 0.0), 1.0)
        total = run(x, 1.0) - around
        return total if included else total / (1.0 - around)
    if op == "AveragePool" and not included:
        return run(x, 0.0) / run(emit.filled_like(x, 1.0), 0.0)
    return run(x, 0.0)
