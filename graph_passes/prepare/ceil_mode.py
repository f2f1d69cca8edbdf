"""ceil_mode of pools as pads that say the same, where the sizes are known.

ONNX's shape inference counts a last window that begins in the padding behind the input; ONNX
Runtime, as PyTorch, leaves it out. With pads instead, nobody has to decide.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.rewriting import Rewrite, rewrite_nodes

_POOLS = ("MaxPool", "AveragePool", "LpPool")


def exact_windows(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite the first pools with ceil_mode over known sizes.

    What lies behind one has a wrong shape until shapes are inferred again: to be repeated.
    """
    doubtful: set[str] = set()
    chosen: set[int] = set()
    for node in graph.nodes:
        if not doubtful.isdisjoint(tensor.name for tensor in node.inputs):
            doubtful.update(tensor.name for tensor in node.outputs)
        elif node.op in _POOLS and node.attrs.get("ceil_mode", 0):
            chosen.add(id(node))
            doubtful.update(tensor.name for tensor in node.outputs)
    rewrites: dict[str, Rewrite] = dict.fromkeys(_POOLS, _ceil_mode_as_pads)
    return rewrite_nodes(graph, rewrites, lambda node: id(node) in chosen)


def window_count(length: int, reach: int, stride: int, begin: int, end: int) -> int:
    """Windows of a pool in ceil mode: ceil((H + p + q - reach) / s) + 1, begun before H + p."""
    count = -(-(length + begin + end - reach) // stride) + 1
    return count - 1 if (count - 1) * stride >= length + begin else count


def _ceil_mode_as_pads(emit: Emitter, node: gs.Node) -> list | None:
    if not node.attrs.get("ceil_mode", 0):
        return None
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    x = node.inputs[0]
    kernel = list(node.attrs["kernel_shape"])
    axes = len(kernel)
    if x.shape is None or not is_static(list(x.shape)[2:]):
        return None
    strides, dilations = (
        list(node.attrs.get(key) or [1] * axes) for key in ("strides", "dilations")
    )
    pads = list(node.attrs.get("pads") or [0] * (2 * axes))
    begins, ends = pads[:axes], pads[axes:]
    needed = []
    for axis, length in enumerate(list(x.shape)[2:]):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        count = window_count(length, reach, strides[axis], begins[axis], ends[axis])
        last = (count - 1) * strides[axis] + reach
        needed.append(max(last - length - begins[axis], 0))
    attributes = {k: v for k, v in node.attrs.items() if k not in ("ceil_mode", "auto_pad")}
    beyond = [n > e for n, e in zip(needed, ends, strict=True)]
    if node.op == "AveragePool" and node.attrs.get("count_include_pad", 0) and any(beyond):
        # The file's own pads count as elements of a window, what ceil_mode adds does not.
        own = [min(n, e) for n, e in zip(needed, ends, strict=True)]
        x = emit.pad(x, [*begins, *own], list(range(2, 2 + axes)), 2 + axes)
        begins, needed = [0] * axes, [n - e for n, e in zip(needed, own, strict=True)]
        attributes["count_include_pad"] = 0
    attributes["pads"] = [*begins, *needed]
    return emit.many(node.op, len(node.outputs), x, *node.inputs[1:], **attributes)
